/* refresh: a write to a document of a model that says so has what it refers to live on as well.
 *
 *   write ──committed──► what it refers to, by the models' refresh_ttl (graph) ──► touched
 *                                                                                  ──► answered
 *
 * The write is done by then, whatever becomes of the rest. In a cluster it is read and touched by
 * slots, each for itself, so what cannot be reached takes nothing else along.
 */
#ifndef RAPYERD_REFRESH_H
#define RAPYERD_REFRESH_H

#include "daemon/exec/call.h"

/* Whether the call, which went well, is answered by this with `out`, when that is done. */
bool refresh_answers(struct call *c, const struct buf *out);
/* The same of a call that has its own finish(), in that: whether `then` is called when it is done.
 */
bool refresh_then(struct call *c, void (*then)(void *arg), void *arg);

#endif
