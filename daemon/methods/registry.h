/* registry: the model declarations as Redis keeps them, in the hash <prefix>:@schema.
 *
 * Loaded whenever the link comes up, and written through: `define` is answered when Redis has
 * the declaration. Two daemons that define the same model at once are told apart by comparing
 * what is stored with what was read.
 */
#ifndef RAPYERD_REGISTRY_H
#define RAPYERD_REGISTRY_H

#include "daemon/clients/session.h"
#include "daemon/redis/upstream.h"
#include "protocol/schema.h"

struct registry;

struct registry *registry_new(struct schema *schema, struct upstream *up, const char *prefix,
                              void (*on_loaded)(void *arg), void *arg);
void registry_free(struct registry *r);
/* Reads what is stored; on_loaded follows, unless the link is lost before. */
void registry_load(struct registry *r);
bool registry_loaded(const struct registry *r); /* at least once */
/* Answers a define request. */
void registry_define(struct registry *r, struct session *s, const struct rpc *msg);

#endif
