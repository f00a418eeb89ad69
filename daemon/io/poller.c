/* poller: see poller.h.
 *
 * A turn is a timer of no time: the loop looks at its descriptors between two of them.
 */
#include "daemon/io/poller.h"
#include "daemon/base/clock.h"
#include "protocol/alloc.h"
#include <event2/event_struct.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <utlist.h>

#define AWAKE_TURNS 256 /* keeps the cost of a turn down when only some of many are busy */

struct poller {
    struct polled_calls calls;
    struct event turn;
    struct polled *list;
    unsigned count;
    unsigned busy_turns; /* so far, modulo UINT_MAX + 1 */
    unsigned watch_us;
    int64_t busy_at; /* clock_mono_us(), when any had something to do */
    bool watching;   /* the last turn found nothing, and all stayed awake */
    bool in_turn, over;
};

#define MISSES_MAX 6 /* watched for each 64th time at least */

/* Each of those that are awake now is looked at once, whatever is added or removed meanwhile. */
static bool serve_all(struct poller *all)
{
    bool busy = false;

    for (unsigned n = all->count; n && all->list; n--) {
        struct polled *p = all->list;
        DL_DELETE(all->list, p);
        DL_APPEND(all->list, p);
        busy |= all->calls.serve(p); /* p may be gone now */
    }
    all->busy_turns += busy;
    return busy;
}

static bool is_worth_it(const struct poller *all)
{
    const struct polled *p = all->list;

    while (p && p->skips)
        p = p->next;
    return p;
}

/* Between two bursts some more looks are cheaper than being woken: by a client that has to ring,
 * or by Redis, from another processor. */
static bool keep_watch(struct poller *all, bool busy)
{
    if (!all->watch_us)
        return busy;
    int64_t now = clock_mono_us();
    if (busy) {
        all->busy_at = now;
        all->watching = false;
        return true;
    }
    if (now - all->busy_at >= all->watch_us || (!all->watching && !is_worth_it(all)))
        return false;
    all->watching = true;
    sched_yield();
    return true;
}

/* It falls asleep, watched for or not. */
static void learn(const struct poller *all, struct polled *p)
{
    if (p->skips) {
        p->skips--;
    } else if (all->watching) {
        p->misses += p->misses < MISSES_MAX;
        p->skips = (uint8_t)((1u << p->misses) - 1);
    }
}

static void next_turn(struct poller *all)
{
    static const struct timeval at_once = {0};

    evtimer_add(&all->turn, &at_once);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct poller *all = arg;
    struct polled *p, *next;

    (void)fd;
    (void)what;
    all->in_turn = true;
    bool awake = keep_watch(all, serve_all(all));
    DL_FOREACH_SAFE (all->list, p, next)
        if ((!awake || all->busy_turns - p->busy_turn > AWAKE_TURNS) && all->calls.fall_asleep(p)) {
            if (!awake)
                learn(all, p);
            poller_remove(all, p);
        }
    all->watching &= awake;
    all->in_turn = false;
    if (all->over)
        free(all);
    else if (all->list)
        next_turn(all);
}

void poller_wake(struct poller *all, struct polled *p)
{
    p->busy_turn = all->busy_turns;
    if (p->awake && all->watching)
        p->misses = p->skips = 0; /* it was worth it */
    if (p->awake)
        return;
    p->awake = true;
    if (!all->list && !all->in_turn)
        next_turn(all);
    DL_APPEND(all->list, p);
    all->count++;
}

void poller_remove(struct poller *all, struct polled *p)
{
    if (!p->awake)
        return;
    p->awake = false;
    DL_DELETE(all->list, p);
    all->count--;
}

struct poller *poller_new(struct event_base *base, const struct polled_calls *calls)
{
    struct poller *all = alloc_zeroed(1, sizeof *all);

    all->calls = *calls;
    if (evtimer_assign(&all->turn, base, on_turn, all) == 0)
        return all;
    free(all);
    return NULL;
}

void poller_free(struct poller *all)
{
    if (!all)
        return;
    event_del(&all->turn);
    all->over = true;
    if (!all->in_turn)
        free(all);
}

void poller_set_watch(struct poller *all, unsigned us)
{
    all->watch_us = us;
}
