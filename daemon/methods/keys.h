/* keys: doc.keys, a page of the documents of a model, by SCAN; in a cluster of one master after the
 * other (listing.h). */
#ifndef RAPYERD_KEYS_H
#define RAPYERD_KEYS_H

#include "daemon/clients/session.h"
#include "daemon/exec/exec.h"

struct keys;
struct lister;

struct keys *keys_new(struct event_base *base, struct exec *exec);
void keys_free(struct keys *k);
/* Pages that wait for a node are refused, those to come as well. */
void keys_stop(struct keys *k);
/* What lists for it in a cluster; NULL: there is one Redis. */
struct lister *keys_lister(const struct keys *k);
/* Answers doc.keys [Model, {cursor?, count?}] -> {cursor, keys}. */
void keys_request(struct keys *k, struct session *s, const struct rpc *msg);

#endif
