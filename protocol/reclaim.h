/* reclaim: frees big trees a bit at a time, so that nobody waits while a million nodes are freed.
 *
 *   container_free ──(small, or nobody asked for this)──► freed at once
 *         └─────────(much was freed in this turn)──────► waits ──reclaim_some──► freed
 *
 * What waits belongs to nobody any more, and is still part of tree_memory(). One list a thread.
 */
#ifndef RAPYER_PROTOCOL_RECLAIM_H
#define RAPYER_PROTOCOL_RECLAIM_H

#include <stdbool.h>
#include <stddef.h>

struct container;

/* From here on big containers wait; on_waiting is called when one does and none did before. NULL:
 * all are freed at once, as at the start. */
void reclaim_later(void (*on_waiting)(void *arg), void *arg);
/* Frees about n elements of what waits, and lets as many be freed at once until the next call.
 * False: nothing waits any more. */
bool reclaim_some(size_t n);
bool reclaim_waiting(void);

/* For container_free: true, it is taken. */
bool reclaim_take(struct container *c);

#endif
