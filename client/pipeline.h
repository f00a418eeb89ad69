/* pipeline: operations that are gathered here and sent as one request: all are done, or none.
 *
 *   rapyer_begin ──► handle ─┐
 *   rapyer_at, rapyer_join ──┴─► pipeline ── [op, op, op ...] ──► commit ──► daemon
 *
 * Gathering costs no round trip: an operation is packed behind the ones before it. The drafts in
 * it are held until the commit was answered, and move (or are free again) then. An operation
 * that is refused already here spoils the pipeline, so that a commit does the whole or nothing.
 */
#ifndef RAPYER_CLIENT_PIPELINE_H
#define RAPYER_CLIENT_PIPELINE_H

#include "client/embed.h"

struct pipeline *pipeline_ref(struct pipeline *p); /* NULL is fine */
void pipeline_unref(struct pipeline *p);
/* The handle is freed: what it has gathered and not committed is dropped. */
void pipeline_leave(struct pipeline *p, struct savepoint *from);

/* Gathers a call; takes moves when it returns 0. home: where it goes. saves: home is a draft that
 * becomes a document. lock: under which it
 * is done, or NULL. *out (may be NULL) gets a null, the answer is not there yet. */
int pipeline_add(struct pipeline *p, const char *method, uint32_t nparams, const struct buf *params,
                 struct home *home, bool saves, struct hold *lock, struct moves *moves,
                 rapyer_value **out);
/* The next operation is refused, for the reason that is with the connection. Returns -1. */
int pipeline_spoil(struct pipeline *p, const char *method);

/* rapyer_commit and rapyer_send_commit of the handle that rapyer_begin gave; unlock: and the
 * release, with the commit, of the locks that it is under. */
int pipeline_commit(rapyer_doc *at, bool unlock);
int pipeline_send_commit(rapyer_doc *at, bool unlock, rapyer_callback *cb, void *user);

#endif
