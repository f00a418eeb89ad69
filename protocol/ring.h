/* ring: bytes both ways between a client and the daemon, in memory that both map.
 *
 *     0  head     magic, bytes each way; written once, by the daemon
 *    64  client   put, taken, sleep: what the client says
 *   128  daemon   put, taken, sleep: what the daemon says
 *  4096  the client's bytes, `size` of them, then the daemon's
 *
 * Each side writes its own line and its own bytes alone. `put` and `taken` count bytes since the
 * beginning, modulo 2^32; byte n lies at n modulo size. What is on its way is put - taken of the
 * other side. Nobody waits for anybody here: a side with nothing to do says in `sleep` what it
 * wants to be woken for, looks once more, and sleeps until its bell rings, whatever that is, or
 * until the futex wakes it.
 *
 * The other side is not trusted: its counts are checked at each use, and its bytes are copied out
 * before anybody looks at them. One thread for each end.
 */
#ifndef RAPYER_PROTOCOL_RING_H
#define RAPYER_PROTOCOL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RING_MAGIC 0x474e4952u /* "RING" */
#define RING_MIN ((uint32_t)4096)
#define RING_MAX ((uint32_t)1 << 24)

/* What a sleeper wants to hear of, and how: bits of `sleep`; the bits above count the times. */
#define RING_BYTES 1u /* bytes for it to take */
#define RING_ROOM 2u  /* room to put more */
#define RING_FUTEX 4u /* it waits on the futex that the other side's `put` is, not for its bell */

struct ring_line;

struct ring {
    struct ring_line *mine;
    const struct ring_line *theirs;
    uint8_t *out;      /* mine */
    const uint8_t *in; /* theirs */
    uint32_t size;
    uint32_t put, taken; /* as in `mine`, where nobody else can write */
    uint32_t sleep;      /* the same */
    uint32_t rung;       /* the sleep of theirs that was ended by a bell already */
};

/* Whether a ring may have this size: a power of two, from RING_MIN to RING_MAX. */
bool ring_size_fits(uint64_t size);
/* Bytes of memory for a ring of this size. */
size_t ring_memory(uint32_t size);

/* The daemon's end, of zeroed memory that is a multiple of a page and not freed before r. */
void ring_init(struct ring *r, void *memory, uint32_t size);
/* The daemon's end of a ring that another process had before, with what that kept of it: what
 * stands in the memory a client can have changed. */
struct ring_kept {
    uint32_t put, taken, sleep;
};
struct ring_kept ring_keep(const struct ring *r);
void ring_resume(struct ring *r, void *memory, uint32_t size, struct ring_kept kept);
/* The client's end. -1: this memory of `len` bytes holds no ring of that size. */
int ring_join(struct ring *r, void *memory, size_t len, uint32_t size);

/* Copies in or out as much as there is room or are bytes; 0: none. -1: the other side's counts
 * are impossible, and nothing it says can be used any more. Then ask ring_bell. */
ssize_t ring_put(struct ring *r, const void *p, size_t n);
ssize_t ring_take(struct ring *r, void *p, size_t n);
/* Bytes that were put and that the other side has not taken; more than size: an impossible count.
 */
uint32_t ring_untaken(const struct ring *r);

/* After put (RING_BYTES) or take (RING_ROOM): what the other side sleeps with and waits for that;
 * it has to be woken then. Says so once for each sleep. */
enum ring_call { RING_QUIET, RING_CALL_BELL, RING_CALL_FUTEX };
enum ring_call ring_bell(struct ring *r, uint32_t what);

/* Announces sleep until there is what `wants` says. False: it is there already, do not sleep. */
bool ring_sleep(struct ring *r, uint32_t wants);
/* No bell is needed from now on. */
void ring_wake(struct ring *r);

/* The futex: a sleeper waits while it is r->taken (nothing came), a waker wakes one. -1: errno of
 * futex(2); ETIMEDOUT, EINTR, and EAGAIN when there is something already. */
int ring_futex_wait(struct ring *r, int timeout_ms);
void ring_futex_wake(struct ring *r);
void ring_futex_wake_both(struct ring *r, struct ring *other); /* in one call */

#endif
