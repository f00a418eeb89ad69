/* lock_text: locks, and who is in whose way, in words for people. Knows the structs of locks.h.
 *
 * The texts are cut where a name is very long, so that what they are about stays readable within
 * FAULT_TEXT_MAX. The macros give a text that lives as long as the block they stand in.
 */
#ifndef RAPYERD_LOCK_TEXT_H
#define RAPYERD_LOCK_TEXT_H

#include "daemon/locks/locks.h"

struct lock_words {
    char text[260];
};
#define LOCK_WORDS ((struct lock_words){""}.text), sizeof(struct lock_words)

/* `"edit" of User:a, path address`, each of the three up to `max` bytes (64 fit). */
const char *lock_text(const struct lock *l, size_t max, char *text, size_t size);
/* `pid 11 (python3)` */
const char *lock_who_text(const struct lock_owner *o, char *text, size_t size);
/* `20 ms`, `3.2 s` */
const char *lock_span_text(int64_t ms, char *text, size_t size);

#define LOCK_TEXT(l) lock_text(l, 64, LOCK_WORDS)
#define LOCK_WHO_TEXT(o) lock_who_text(o, LOCK_WORDS)
#define LOCK_SPAN_TEXT(ms) lock_span_text(ms, LOCK_WORDS)

/* Queues longer than this are not counted to the end, so that many timeouts at once are cheap. */
#define LOCK_COUNTED 1000

/* Fill *f and return -1. LOCK_TIMEOUT: who has it. waited 0: it was only tried. before: the waits
 * before this one, up to LOCK_COUNTED. where: who else has it, or NULL; away: why Redis cannot be
 * asked, or NULL. */
int lock_timeout(struct fault *f, const struct lock *l, int64_t waited, unsigned before,
                 const char *where, const char *away);
/* DEADLOCK: the owner has it shared and asks for it exclusively. */
int lock_upgrade(struct fault *f, const struct lock *l);

#endif
