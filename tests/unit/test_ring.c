/* ring: bytes at every offset, counts that wrap or lie, and a wake-up that is never lost. */
#include "protocol/ring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIZE RING_MIN
#define CLIENT_LINE 16 /* words from the beginning of the memory */
#define DAEMON_LINE 32
enum { PUT, TAKEN, SLEEP };

static uint32_t *memory;
static struct ring client, server;

static void begin(void)
{
    memory = aligned_alloc(4096, ring_memory(SIZE));
    memset(memory, 0, ring_memory(SIZE));
    ring_init(&server, memory, SIZE);
    cr_assert_eq(ring_join(&client, memory, ring_memory(SIZE), SIZE), 0);
}

static void end(void)
{
    free(memory);
}

TestSuite(ring, .init = begin, .fini = end);

/* Both have passed so many bytes each way already. */
static void count_from(uint32_t count)
{
    struct ring *ends[] = {&client, &server};

    for (int i = 0; i < 2; i++)
        ends[i]->put = ends[i]->taken = count;
    for (int what = PUT; what <= TAKEN; what++)
        memory[CLIENT_LINE + what] = memory[DAEMON_LINE + what] = count;
}

/* --- memory ------------------------------------------------------------------------------ */

Test(ring, sizes_are_powers_of_two_within_bounds)
{
    static const uint64_t good[] = {4096, 8192, 65536, 1 << 24};
    static const uint64_t bad[] = {0, 1, 2048, 4095, 4097, 12288, 1 << 25, (uint64_t)1 << 32};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert(ring_size_fits(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert(!ring_size_fits(bad[i]), "%llu", (unsigned long long)bad[i]);
    cr_assert_eq(ring_memory(65536), 4096 + 2 * 65536);
}

Test(ring, memory_of_another_kind_is_not_joined)
{
    struct ring r;

    cr_assert_eq(ring_join(&r, memory, ring_memory(SIZE) - 1, SIZE), -1, "too small");
    cr_assert_eq(ring_join(&r, memory, ring_memory(2 * SIZE), 2 * SIZE), -1, "of another size");
    cr_assert_eq(ring_join(&r, memory, ring_memory(SIZE), SIZE - 1), -1, "a size that is none");
    memory[0]++;
    cr_assert_eq(ring_join(&r, memory, ring_memory(SIZE), SIZE), -1, "magic");
}

/* --- bytes ------------------------------------------------------------------------------- */

static void pass(struct ring *from, struct ring *to, size_t n, uint8_t first)
{
    uint8_t sent[SIZE], got[SIZE];

    for (size_t i = 0; i < n; i++)
        sent[i] = (uint8_t)(first + i);
    cr_assert_eq(ring_put(from, sent, n), (ssize_t)n);
    cr_assert_eq(ring_take(to, got, sizeof got), (ssize_t)n);
    cr_assert_arr_eq(got, sent, n);
}

/* Steps of 37 come to each offset, and across the end in all ways. */
static void pass_at_all_offsets(void)
{
    for (unsigned i = 0; i < 2 * SIZE; i++) {
        pass(&client, &server, 37, (uint8_t)i);
        pass(&server, &client, 41, (uint8_t)i);
        pass(&client, &server, SIZE, (uint8_t)i);
    }
}

Test(ring, bytes_arrive_at_all_offsets)
{
    pass_at_all_offsets();
}

Test(ring, counts_wrap_around)
{
    count_from(UINT32_MAX - 3 * SIZE - 5);
    pass_at_all_offsets();
    cr_assert_lt(server.put, (uint32_t)1 << 31, "it went through zero");
}

Test(ring, takes_no_more_than_fits_and_gives_no_more_than_is_there)
{
    static const uint32_t begins[] = {0, UINT32_MAX - 100};
    uint8_t bytes[SIZE + 1] = {0};

    for (int i = 0; i < 2; i++) {
        count_from(begins[i]);
        cr_assert_eq(ring_take(&server, bytes, sizeof bytes), 0);
        cr_assert_eq(ring_put(&client, bytes, sizeof bytes), (ssize_t)SIZE);
        cr_assert_eq(ring_put(&client, bytes, 1), 0);
        cr_assert_eq(ring_take(&server, bytes, 100), 100);
        cr_assert_eq(ring_put(&client, bytes, sizeof bytes), 100);
        cr_assert_eq(ring_take(&server, bytes, sizeof bytes), (ssize_t)SIZE);
        cr_assert_eq(ring_take(&server, bytes, 1), 0);
    }
}

Test(ring, impossible_counts_are_refused)
{
    static const uint32_t lies[] = {SIZE + 1, (uint32_t)1 << 31, UINT32_MAX};
    uint8_t bytes[16] = {0};

    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        count_from(7);
        memory[CLIENT_LINE + PUT] = 7 + lies[i];
        cr_assert_eq(ring_take(&server, bytes, sizeof bytes), -1);
        cr_assert_eq(ring_put(&server, bytes, sizeof bytes), (ssize_t)sizeof bytes);
        cr_assert_not(ring_sleep(&server, RING_BYTES), "what is to be refused is to be looked at");
        count_from(7);
        memory[DAEMON_LINE + TAKEN] = 7 - lies[i];
        cr_assert_eq(ring_put(&client, bytes, sizeof bytes), -1);
        cr_assert_eq(memory[CLIENT_LINE + PUT], 7);
        cr_assert_not(ring_sleep(&client, RING_ROOM));
    }
}

Test(ring, the_other_side_cannot_change_what_was_counted_here)
{
    uint8_t bytes[16] = {0};

    cr_assert_eq(ring_put(&server, bytes, 10), 10);
    memory[DAEMON_LINE + PUT] = memory[DAEMON_LINE + TAKEN] = 12345;
    cr_assert_eq(ring_put(&server, bytes, 3), 3);
    cr_assert_eq(memory[DAEMON_LINE + PUT], 13);
}

/* --- sleep ------------------------------------------------------------------------------- */

Test(ring, who_is_awake_is_not_rung)
{
    pass(&client, &server, 1, 0);
    cr_assert_eq(ring_bell(&client, RING_BYTES), RING_QUIET);
    cr_assert_eq(ring_bell(&server, RING_ROOM), RING_QUIET);
}

Test(ring, who_sleeps_is_rung_once_and_only_for_what_he_wants)
{
    cr_assert(ring_sleep(&server, RING_BYTES));
    cr_assert_eq(ring_bell(&client, RING_ROOM), RING_QUIET);
    cr_assert_eq(ring_bell(&client, RING_BYTES), RING_CALL_BELL);
    cr_assert_eq(ring_bell(&client, RING_BYTES), RING_QUIET);
    ring_wake(&server);
    cr_assert_eq(ring_bell(&client, RING_BYTES), RING_QUIET);
    cr_assert(ring_sleep(&server, RING_BYTES));
    cr_assert_eq(ring_bell(&client, RING_BYTES), RING_CALL_BELL, "another sleep, another bell");
}

Test(ring, a_sleep_for_both_ends_with_either)
{
    uint8_t bytes[SIZE] = {0};

    cr_assert_eq(ring_put(&client, bytes, SIZE), (ssize_t)SIZE);
    cr_assert(ring_sleep(&client, RING_BYTES | RING_ROOM));
    cr_assert_eq(ring_bell(&server, RING_ROOM), RING_CALL_BELL);
    cr_assert_eq(ring_bell(&server, RING_BYTES), RING_QUIET);
    cr_assert(ring_sleep(&client, RING_BYTES | RING_ROOM | RING_FUTEX));
    cr_assert_eq(ring_bell(&server, RING_BYTES), RING_CALL_FUTEX);
    cr_assert_eq(ring_bell(&server, RING_ROOM), RING_QUIET);
}

Test(ring, nobody_falls_asleep_over_what_is_there)
{
    uint8_t byte = 0;

    cr_assert_not(ring_sleep(&client, RING_ROOM));
    cr_assert_eq(ring_put(&client, &byte, 1), 1);
    cr_assert_not(ring_sleep(&server, RING_BYTES));
    cr_assert_eq(ring_bell(&client, RING_BYTES), RING_QUIET, "it is awake again");
    cr_assert_eq(ring_futex_wait(&server, 10000), -1);
    cr_assert_eq(errno, EAGAIN);
}

Test(ring, the_futex_waits_no_longer_than_told)
{
    cr_assert(ring_sleep(&client, RING_BYTES | RING_FUTEX));
    cr_assert_eq(ring_futex_wait(&client, 1), -1);
    cr_assert_eq(errno, ETIMEDOUT);
}

/* --- two threads ------------------------------------------------------------------------- */

#define TOTAL ((size_t)4 << 20)
#define PATIENCE_MS 10000 /* a wake-up that takes so long was lost */

struct end {
    struct ring *ring;
    int bell, others_bell;
    bool futex;
    unsigned seed;
    size_t put, taken;
};

static void wake_other(struct end *e, uint32_t what)
{
    uint64_t one = 1;
    enum ring_call call = ring_bell(e->ring, what);

    if (call == RING_CALL_FUTEX)
        ring_futex_wake(e->ring);
    else if (call == RING_CALL_BELL)
        cr_assert_eq(write(e->others_bell, &one, sizeof one), (ssize_t)sizeof one);
}

static void wait_for_other(struct end *e)
{
    uint32_t wants = (e->taken < TOTAL ? RING_BYTES : 0) | (e->put < TOTAL ? RING_ROOM : 0);
    bool futex = e->futex && wants == RING_BYTES; /* the futex tells of bytes alone */
    uint64_t rings;

    if (!ring_sleep(e->ring, wants | (futex ? RING_FUTEX : 0)))
        return;
    if (futex) {
        if (ring_futex_wait(e->ring, PATIENCE_MS) < 0)
            cr_assert(errno == EAGAIN || errno == EINTR, "a wake-up was lost");
    } else {
        struct pollfd p = {.fd = e->bell, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, PATIENCE_MS), 1, "a wake-up was lost");
        cr_assert_eq(read(e->bell, &rings, sizeof rings), (ssize_t)sizeof rings);
    }
    ring_wake(e->ring);
}

static size_t some(struct end *e, size_t left)
{
    size_t n = 1 + (size_t)rand_r(&e->seed) % (rand_r(&e->seed) % 8 ? 64 : 2 * SIZE);

    return n < left ? n : left;
}

/* Byte n of each direction is n * 31, so that one that is lost or doubled shows. */
static bool put_some(struct end *e)
{
    uint8_t bytes[2 * SIZE];
    size_t n = some(e, TOTAL - e->put);

    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)((e->put + i) * 31);
    ssize_t put = ring_put(e->ring, bytes, n);
    cr_assert_geq(put, 0);
    if (put > 0)
        wake_other(e, RING_BYTES);
    e->put += (size_t)put;
    return put > 0;
}

static bool take_some(struct end *e)
{
    uint8_t bytes[2 * SIZE];
    ssize_t taken = ring_take(e->ring, bytes, some(e, TOTAL - e->taken));

    cr_assert_geq(taken, 0);
    if (taken > 0)
        wake_other(e, RING_ROOM);
    for (ssize_t i = 0; i < taken; i++)
        cr_assert_eq(bytes[i], (uint8_t)((e->taken + (size_t)i) * 31));
    e->taken += (size_t)taken;
    return taken > 0;
}

static void *run_end(void *arg)
{
    struct end *e = arg;

    while (e->put < TOTAL || e->taken < TOTAL) {
        bool busy = e->put < TOTAL && put_some(e);
        busy |= e->taken < TOTAL && take_some(e);
        if (!busy)
            wait_for_other(e);
    }
    return NULL;
}

static void hammer(bool futex)
{
    int bells[] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    struct end ends[] = {{&client, bells[0], bells[1], futex, 1, 0, 0},
                         {&server, bells[1], bells[0], false, 2, 0, 0}};
    pthread_t thread;

    count_from(UINT32_MAX - (uint32_t)TOTAL / 2);
    cr_assert_eq(pthread_create(&thread, NULL, run_end, &ends[0]), 0);
    run_end(&ends[1]);
    pthread_join(thread, NULL);
    close(bells[0]);
    close(bells[1]);
}

Test(ring, no_wake_up_is_lost_with_bells)
{
    hammer(false);
}

Test(ring, no_wake_up_is_lost_with_a_futex)
{
    hammer(true);
}

/* One falls asleep at the very moment at which the other puts a byte: if he has not seen the byte,
 * he has to be rung. Both begin at once, and at distances that change. */
#define ROUNDS 200000

static atomic_uint begun, met; /* the round; odd: to fall asleep, even: to wake up */
static bool slept;

static void await(atomic_uint *round, unsigned n)
{
    for (unsigned i = 1; atomic_load_explicit(round, memory_order_acquire) < n; i++)
        if (i % 1024 == 0)
            sched_yield();
}

static void linger(unsigned n)
{
    for (volatile unsigned i = 0; i < n; i++)
        ;
}

static void *fall_asleep(void *arg)
{
    uint8_t byte;

    for (unsigned round = 1; round <= ROUNDS; round += 2) {
        await(&begun, round);
        linger(round / 2 % 23);
        slept = ring_sleep(&server, RING_BYTES);
        atomic_store(&met, round);
        await(&begun, round + 1);
        ring_wake(&server);
        cr_assert_eq(ring_take(&server, &byte, 1), 1);
        atomic_store(&met, round + 1);
    }
    return arg;
}

Test(ring, who_falls_asleep_sees_the_bytes_or_is_rung)
{
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, fall_asleep, NULL), 0);
    for (unsigned round = 1; round <= ROUNDS; round += 2) {
        atomic_store_explicit(&begun, round, memory_order_release);
        linger(round / 2 % 17);
        ssize_t put = ring_put(&client, "x", 1);
        bool rung = ring_bell(&client, RING_BYTES) != RING_QUIET;
        await(&met, round);
        cr_assert_eq(put, 1);
        cr_assert(rung || !slept, "a wake-up was lost in round %u", round);
        atomic_store(&begun, round + 1);
        await(&met, round + 1);
    }
    pthread_join(thread, NULL);
}

/* Each side answers one byte with one: whoever sleeps is woken or nothing ever goes on. */
static void *echo(void *arg)
{
    struct end *e = arg;
    uint8_t byte;

    for (int i = 0; i < 20000; i++) {
        while (ring_take(e->ring, &byte, 1) == 0)
            wait_for_other(e);
        cr_assert_eq(ring_put(e->ring, &byte, 1), 1);
        wake_other(e, RING_BYTES);
    }
    return NULL;
}

static void ping_pong(bool futex)
{
    int bells[] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    struct end ends[] = {{&client, bells[0], bells[1], futex, 1, TOTAL, 0},
                         {&server, bells[1], bells[0], false, 2, TOTAL, 0}};
    pthread_t thread;

    cr_assert_eq(ring_put(&server, "x", 1), 1);
    cr_assert_eq(pthread_create(&thread, NULL, echo, &ends[0]), 0);
    echo(&ends[1]);
    pthread_join(thread, NULL);
    close(bells[0]);
    close(bells[1]);
}

Test(ring, one_byte_goes_to_and_fro_with_bells)
{
    ping_pong(false);
}

Test(ring, one_byte_goes_to_and_fro_with_a_futex)
{
    ping_pong(true);
}
