/* ring: see ring.h.
 *
 * Two orders matter. Bytes are written before the count that tells of them (release), and read
 * after it (acquire). And whoever goes to sleep writes `sleep` and then looks at the counts, while
 * the other one writes a count and then looks at `sleep`: with a full fence between the two on
 * both sides, at least one of them sees what the other wrote, and no wake-up is lost.
 */
#include "protocol/ring.h"
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINE_AT ((size_t)64)
#define BYTES_AT ((size_t)4096)
#define WANTS (RING_BYTES | RING_ROOM | RING_FUTEX)

struct ring_head {
    uint32_t magic, size;
};

struct ring_line {
    _Atomic uint32_t put, taken, sleep;
    uint32_t unused[13];
};

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "processes cannot share a lock");
_Static_assert(sizeof(struct ring_line) == LINE_AT, "a line of its own for each side");

bool ring_size_fits(uint64_t size)
{
    return size >= RING_MIN && size <= RING_MAX && (size & (size - 1)) == 0;
}

size_t ring_memory(uint32_t size)
{
    return BYTES_AT + 2 * (size_t)size;
}

static void set_up(struct ring *r, uint8_t *memory, uint32_t size, bool daemon)
{
    struct ring_line *client_line = (struct ring_line *)(memory + LINE_AT);
    uint8_t *client_bytes = memory + BYTES_AT;

    *r = (struct ring){
        .mine = client_line + (daemon ? 1 : 0),
        .theirs = client_line + (daemon ? 0 : 1),
        .out = client_bytes + (daemon ? size : 0),
        .in = client_bytes + (daemon ? 0 : size),
        .size = size,
    };
}

void ring_init(struct ring *r, void *memory, uint32_t size)
{
    struct ring_head *head = memory;

    head->magic = RING_MAGIC;
    head->size = size;
    set_up(r, memory, size, true);
}

int ring_join(struct ring *r, void *memory, size_t len, uint32_t size)
{
    const struct ring_head *head = memory;

    if (!ring_size_fits(size) || len < ring_memory(size) || head->magic != RING_MAGIC ||
        head->size != size)
        return -1;
    set_up(r, memory, size, false);
    return 0;
}

struct ring_kept ring_keep(const struct ring *r)
{
    return (struct ring_kept){r->put, r->taken, r->sleep};
}

void ring_resume(struct ring *r, void *memory, uint32_t size, struct ring_kept kept)
{
    set_up(r, memory, size, true);
    r->put = kept.put;
    r->taken = kept.taken;
    r->sleep = kept.sleep;
}

/* --- bytes ------------------------------------------------------------------------------- */

static uint32_t load(const _Atomic uint32_t *count)
{
    return atomic_load_explicit(count, memory_order_acquire);
}

/* Bytes that wait to be taken here, or were put here and not taken yet: more than size is a lie. */
static uint32_t arrived(const struct ring *r)
{
    return load(&r->theirs->put) - r->taken;
}

uint32_t ring_untaken(const struct ring *r)
{
    return r->put - load(&r->theirs->taken);
}

ssize_t ring_put(struct ring *r, const void *p, size_t n)
{
    uint32_t used = ring_untaken(r), at = r->put & (r->size - 1);

    if (used > r->size)
        return -1;
    if (n > r->size - used)
        n = r->size - used;
    size_t first = n < r->size - at ? n : r->size - at;
    memcpy(r->out + at, p, first);
    memcpy(r->out, (const uint8_t *)p + first, n - first);
    r->put += (uint32_t)n;
    atomic_store_explicit(&r->mine->put, r->put, memory_order_release);
    return (ssize_t)n;
}

ssize_t ring_take(struct ring *r, void *p, size_t n)
{
    uint32_t there = arrived(r), at = r->taken & (r->size - 1);

    if (there > r->size)
        return -1;
    if (n > there)
        n = there;
    size_t first = n < r->size - at ? n : r->size - at;
    memcpy(p, r->in + at, first);
    memcpy((uint8_t *)p + first, r->in, n - first);
    r->taken += (uint32_t)n;
    atomic_store_explicit(&r->mine->taken, r->taken, memory_order_release);
    return (ssize_t)n;
}

/* --- sleep ------------------------------------------------------------------------------- */

enum ring_call ring_bell(struct ring *r, uint32_t what)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t sleep = atomic_load_explicit(&r->theirs->sleep, memory_order_relaxed);

    if (!(sleep & what) || sleep == r->rung)
        return RING_QUIET;
    r->rung = sleep;
    return sleep & RING_FUTEX ? RING_CALL_FUTEX : RING_CALL_BELL;
}

static void say(struct ring *r, uint32_t wants)
{
    r->sleep = (r->sleep & ~WANTS) + (wants ? WANTS + 1 : 0) + wants;
    atomic_store_explicit(&r->mine->sleep, r->sleep, memory_order_relaxed);
}

bool ring_sleep(struct ring *r, uint32_t wants)
{
    say(r, wants);
    atomic_thread_fence(memory_order_seq_cst);
    if (((wants & RING_BYTES) && arrived(r)) ||
        ((wants & RING_ROOM) && ring_untaken(r) != r->size)) {
        ring_wake(r);
        return false;
    }
    return true;
}

void ring_wake(struct ring *r)
{
    say(r, 0);
}

/* --- the futex --------------------------------------------------------------------------- */

int ring_futex_wait(struct ring *r, int timeout_ms)
{
    struct timespec time = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};

    return (int)syscall(SYS_futex, &r->theirs->put, FUTEX_WAIT, r->taken, &time, NULL, 0);
}

void ring_futex_wake(struct ring *r)
{
    syscall(SYS_futex, &r->mine->put, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The kernel wakes at the second word when an operation on it, here adding nothing, finds what it
 * is compared with: anything but what it cannot be. */
void ring_futex_wake_both(struct ring *r, struct ring *other)
{
    int never = other->put == 0 ? 1 : 0;
    int op = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_NE, never);

    syscall(SYS_futex, &r->mine->put, FUTEX_WAKE_OP, 1, (void *)1, &other->mine->put, op);
}
