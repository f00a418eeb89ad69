/* deadlock: finds waits that go in a circle, on this host.
 *
 *   o asks for L ──► held by A, who waits for M ──► held by B, who waits for N ──► held by o
 *
 * Asked before a wait begins, so no circle is ever closed here; probe.h looks over several hosts.
 */
#ifndef RAPYERD_DEADLOCK_H
#define RAPYERD_DEADLOCK_H

#include "daemon/locks/locks.h"

/* Whether somebody who holds `wanted` waits, over however many others, for `o`: then -1 and
 * DEADLOCK, which names the members: of a long circle the first and the last ones. search: higher
 * than at any search of this table before. */
int deadlock_search(struct lock_owner *o, struct lock *wanted, uint64_t search, struct fault *f);

#endif
