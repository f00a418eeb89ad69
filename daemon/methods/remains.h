/* remains: the markers that daemons which were killed have left in Redis (commit/lane.h) are
 * removed when nothing was heard of those daemons for long enough.
 *
 *   each daemon ──now and then──► <prefix>:@daemons   hash: daemon -> "<ms> <ms>": when, by the
 *                                         │           clock of that Redis; its commit.forget_after
 *                                         ▼
 *   whoever sees one that is overdue, and has seen no sign of it for a while by his own clock, too
 *                                         │
 *                                         ▼
 *   its markers are removed (in a cluster those of all slots), and then its sign
 *
 * Nobody can know that it is dead. If it comes back after all its markers are missing, and what was
 * on its way is of unknown outcome, as behind any loss of state. In a cluster a missing marker may
 * also mean that a replica was promoted before it had the first commit, which is then applied
 * again. So a slot in which one was removed says when, and whose commits are from before that
 * applies nothing (lane_recovery.c).
 */
#ifndef RAPYERD_REMAINS_H
#define RAPYERD_REMAINS_H

#include "daemon/exec/exec.h"

struct remains;

struct remains *remains_new(struct event_base *base, struct exec *e, const char *id);
/* The end: this daemon leaves none. */
void remains_stop(struct remains *r);
/* Behind its exec, which tells it of requests on their way. */
void remains_free(struct remains *r);

#endif
