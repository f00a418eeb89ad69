/* in_parts: doc.insert and doc.delete of documents in several slots of a cluster, slot by slot.
 *
 *   [documents, {parts: true}] ─► by slot ─► a call of exec for each slot ─► what was done, and not
 *
 * Each call is what the method is without the option: whole, or refused. One Redis has one slot.
 */
#ifndef RAPYERD_IN_PARTS_H
#define RAPYERD_IN_PARTS_H

#include "daemon/exec/exec.h"

/* The methods that have the option. */
bool in_parts_may(const char *method);
/* Whether it is given, in a request for one of them. */
bool in_parts_wanted(const struct rpc *msg);
/* Answers such a request. */
void in_parts_request(struct exec *e, const char *method, struct session *s, const struct rpc *msg);
/* A part of it has ended. */
void in_parts_finish(struct call *c, const struct fault *f, const struct buf *out);

#endif
