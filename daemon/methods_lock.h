/* methods_lock: what clients ask about locks, by name, and the desk that keeps what they ask for.
 *
 *   lock.acquire ─► ask: PLACING ─► TAKING ─► READING ─► answered
 *                   paths to pks,   one lock   the documents,
 *                   by exec         after the  fresh, by exec
 *                                   other, by locks
 *
 * An ask whose client is gone ends where it stands.
 */
#ifndef RAPYERD_METHODS_LOCK_H
#define RAPYERD_METHODS_LOCK_H

#include "daemon/exec.h"
#include "daemon/lease.h"
#include "daemon/locks.h"

struct desk;

struct desk *desk_new(struct exec *e, struct locks *locks, struct leases *leases);
/* After its sessions. */
void desk_free(struct desk *d);
/* The session is over: its locks are free, its asks end. */
void desk_client_gone(struct desk *d, struct session *s);
/* For locks_callbacks: tells a client that wanted to know. */
void desk_lost(struct desk *d, struct hold *h);

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
