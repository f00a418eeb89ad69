/* methods_lock: what clients ask about locks, by name. What takes its time is a lock_request. */
#ifndef RAPYERD_METHODS_LOCK_H
#define RAPYERD_METHODS_LOCK_H

#include "daemon/exec/exec.h"

/* Plain methods, as in dispatch. */
void lock_method_acquire(struct lock_requests *d, struct session *s, const struct rpc *msg);
void lock_method_acquire_many(struct lock_requests *d, struct session *s, const struct rpc *msg);
void lock_method_release(struct lock_requests *d, struct session *s, const struct rpc *msg);
void lock_method_cancel(struct lock_requests *d, struct session *s, const struct rpc *msg);
void lock_method_renew(struct lock_requests *d, struct session *s, const struct rpc *msg);
void lock_method_break(struct lock_requests *d, struct session *s, const struct rpc *msg);
void lock_method_list(struct lock_requests *d, struct session *s,
                      const struct rpc *msg); /* admin.locks */

/* For pipelines: reads a token or a list of them and adds their leases to the call's guard.
 * -1: BAD_REQUEST, LOCK_LOST. */
int lock_tokens_read(struct call *c, struct cursor *in, struct fault *f);
/* Whether the call's locks are still held, as of now. -1: LOCK_LOST. */
int lock_tokens_check(struct call *c, struct fault *f);

#endif
