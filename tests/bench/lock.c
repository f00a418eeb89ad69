/* lock: one client that takes a lock and gives it back, and several that hand one on. */
#include "bench.h"
#include "protocol/buf.h"
#include "protocol/rpc.h"
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* A connection with the two requests it sends: the acquire is a prebuilt frame, the release is
 * made for each token. */
struct locker {
    struct caller wire;
    struct buf acquire, release;
    size_t answers[2]; /* bytes of the last ones */
};

static void locker_open(struct locker *l, const char *socket, const char *frame)
{
    *l = (struct locker){0};
    caller_open(&l->wire, socket, frame);
    buf_append(&l->acquire, l->wire.request, l->wire.request_len);
}

static void locker_close(struct locker *l)
{
    caller_close(&l->wire);
    buf_free(&l->acquire);
    buf_free(&l->release);
}

static void exchange(struct locker *l, const struct buf *request, bool releasing)
{
    memcpy(l->wire.request, request->data, request->len);
    l->wire.request_len = request->len;
    caller_call(&l->wire);
    l->answers[releasing] = l->wire.answer_len;
}

static int64_t token_of(const struct caller *c)
{
    struct rpc answer;
    struct fault f;
    uint32_t n;

    if (rpc_parse(&answer, c->answer, c->answer_len, &f) < 0 || cursor_map(&answer.result, &n) < 0)
        die("the answer of lock.acquire is no map");
    for (; n > 0; n--) {
        const char *name;
        size_t len;
        int64_t token;
        if (cursor_str(&answer.result, &name, &len) < 0)
            break;
        if (len == 5 && memcmp(name, "token", 5) == 0 && cursor_int(&answer.result, &token) == 0)
            return token;
        cursor_skip(&answer.result);
    }
    die("the answer of lock.acquire has no token");
}

/* Acquires, and has the release ready. */
static void locker_acquire(struct locker *l)
{
    exchange(l, &l->acquire, false);
    buf_clear(&l->release);
    rpc_open_request(&l->release, 1, "lock.release");
    pack_array(&l->release, 1);
    pack_int(&l->release, token_of(&l->wire));
}

static void locker_release(struct locker *l)
{
    exchange(l, &l->release, true);
}

/* lock <socket> <acquire frame> <rounds>: median ns of acquire and release together; bytes of
 * acquire, its answer, release, its answer */
int lock_main(int argc, char **argv)
{
    struct locker l;

    if (argc != 4)
        die("lock <socket> <acquire frame> <rounds>");
    size_t rounds = strtoul(argv[3], NULL, 10);
    pin(0);
    locker_open(&l, argv[1], argv[2]);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        locker_acquire(&l);
        locker_release(&l);
        samples[i] = now_ns() - start;
    }
    printf("%llu %zu %zu %zu %zu\n", (unsigned long long)median(samples, rounds), l.acquire.len,
           l.answers[0], l.release.len, l.answers[1]);
    free(samples);
    locker_close(&l);
    return 0;
}

/* ---- handing on ---- */

/* Of all processes. What is not atomic belongs to whoever holds the lock. */
struct baton {
    atomic_int ready, asking, inside;
    atomic_bool go, stop;
    int last;          /* who released it last; -1: nobody has */
    bool awaited;      /* all others asked for it then */
    uint64_t released; /* when that was sent, now_ns() */
    size_t wanted, taken;
    uint64_t samples[];
};

/* Holds it until all others wait for it, and then a while longer, so that the daemon knows. */
static void hold(struct baton *b, int processes, uint64_t pause)
{
    while (atomic_load(&b->asking) < processes - 1 && !atomic_load(&b->stop))
        sched_yield();
    spin(pause);
}

static void take_turns(struct baton *b, struct locker *l, int number, int processes, uint64_t pause)
{
    while (!atomic_load(&b->stop)) {
        atomic_fetch_add(&b->asking, 1);
        locker_acquire(l);
        uint64_t granted = now_ns();
        if (atomic_fetch_add(&b->inside, 1) != 0)
            die("two processes hold the same lock");
        atomic_fetch_sub(&b->asking, 1);
        if (b->awaited && b->last != number && b->taken < b->wanted)
            b->samples[b->taken++] = granted - b->released;
        if (b->taken == b->wanted)
            atomic_store(&b->stop, true);
        hold(b, processes, pause);
        b->last = number;
        b->awaited = atomic_load(&b->asking) == processes - 1;
        atomic_fetch_sub(&b->inside, 1);
        b->released = now_ns();
        locker_release(l);
    }
}

static void run_locker(struct baton *b, char **argv, int number, int processes, uint64_t pause)
{
    struct locker l;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(0);
    locker_open(&l, argv[1], argv[2]);
    atomic_fetch_add(&b->ready, 1);
    while (!atomic_load(&b->go))
        usleep(1000);
    take_turns(b, &l, number, processes, pause);
    locker_close(&l);
    _exit(0);
}

/* handover <socket> <acquire frame> <processes> <hand-overs> <pause ns>: median ns from the
 * moment that a release is sent to the moment that another process, which waited, has its grant */
int handover_main(int argc, char **argv)
{
    if (argc != 6)
        die("handover <socket> <acquire frame> <processes> <hand-overs> <pause ns>");
    int processes = atoi(argv[3]), status, bad = 0;
    size_t wanted = strtoul(argv[4], NULL, 10);
    uint64_t pause = strtoul(argv[5], NULL, 10);
    struct baton *b = mmap(NULL, sizeof(*b) + wanted * sizeof(b->samples[0]),
                           PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (b == MAP_FAILED)
        die("no memory");
    b->last = -1;
    b->wanted = wanted;
    for (int i = 0; i < processes; i++) {
        if (fork() == 0)
            run_locker(b, argv, i, processes, pause);
    }
    while (atomic_load(&b->ready) < processes) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            die("a client died before the start");
        usleep(1000);
    }
    atomic_store(&b->go, true);
    while (wait(&status) > 0) {
        /* The others would wait for it. */
        bad += status != 0;
        atomic_store(&b->stop, bad > 0 || atomic_load(&b->stop));
    }
    if (bad)
        die("%d clients failed", bad);
    printf("%llu\n", (unsigned long long)median(b->samples, wanted));
    return 0;
}
