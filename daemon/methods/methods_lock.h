/* methods_lock: what clients ask about locks, by name. What takes its time is an ask (ask.h). */
#ifndef RAPYERD_METHODS_LOCK_H
#define RAPYERD_METHODS_LOCK_H

#include "daemon/exec/exec.h"

/* Plain methods, as in dispatch. */
void desk_acquire(struct desk *d, struct session *s, const struct rpc *msg);
void desk_acquire_many(struct desk *d, struct session *s, const struct rpc *msg);
void desk_release(struct desk *d, struct session *s, const struct rpc *msg);
void desk_renew(struct desk *d, struct session *s, const struct rpc *msg);
void desk_break(struct desk *d, struct session *s, const struct rpc *msg);
void desk_list(struct desk *d, struct session *s, const struct rpc *msg); /* admin.locks */

/* For pipelines: reads a token or a list of them and adds their leases to the call's guard.
 * -1: BAD_REQUEST, LOCK_LOST. */
int desk_read_tokens(struct call *c, struct cursor *in, struct fault *f);
/* Whether the call's locks are still held, as of now. -1: LOCK_LOST. */
int desk_check(struct call *c, struct fault *f);

#endif
