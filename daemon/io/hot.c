/* hot: see hot.h.
 *
 * A turn is a timer of no time: the loop looks at its descriptors between two of them.
 */
#include "daemon/io/hot.h"
#include "daemon/base/clock.h"
#include <event2/event_struct.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <utlist.h>

#define HOT_TURNS 256 /* keeps the cost of a turn down when only some of many are busy */

struct hots {
    struct hot_calls calls;
    struct event turn;
    struct hot *list;
    unsigned count;
    unsigned busy_turns; /* so far, modulo UINT_MAX + 1 */
    unsigned watch_us;
    int64_t busy_at; /* clock_mono_us(), when any had something to do */
    bool in_turn, over;
};

/* Each of those that are hot now is looked at once, whatever is added or removed meanwhile. */
static bool serve_all(struct hots *all)
{
    bool busy = false;

    for (unsigned n = all->count; n && all->list; n--) {
        struct hot *h = all->list;
        DL_DELETE(all->list, h);
        DL_APPEND(all->list, h);
        busy |= all->calls.serve(h); /* h may be gone now */
    }
    all->busy_turns += busy;
    return busy;
}

/* Between two bursts some more looks are cheaper than being woken: by a client that has to ring,
 * or by Redis, from another processor. */
static bool keep_watch(struct hots *all, bool busy)
{
    if (!all->watch_us)
        return busy;
    int64_t now = clock_mono_us();
    if (busy)
        all->busy_at = now;
    else if (now - all->busy_at < all->watch_us)
        sched_yield();
    else
        return false;
    return true;
}

static void next_turn(struct hots *all)
{
    static const struct timeval at_once = {0};

    evtimer_add(&all->turn, &at_once);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct hots *all = arg;
    struct hot *h, *next;

    (void)fd;
    (void)what;
    all->in_turn = true;
    bool awake = keep_watch(all, serve_all(all));
    DL_FOREACH_SAFE (all->list, h, next)
        if ((!awake || all->busy_turns - h->since > HOT_TURNS) && all->calls.on_cold(h))
            hot_remove(all, h);
    all->in_turn = false;
    if (all->over)
        free(all);
    else if (all->list)
        next_turn(all);
}

void hot_add(struct hots *all, struct hot *h)
{
    h->since = all->busy_turns;
    if (h->is)
        return;
    h->is = true;
    if (!all->list && !all->in_turn)
        next_turn(all);
    DL_APPEND(all->list, h);
    all->count++;
}

void hot_remove(struct hots *all, struct hot *h)
{
    if (!h->is)
        return;
    h->is = false;
    DL_DELETE(all->list, h);
    all->count--;
}

struct hots *hots_new(struct event_base *base, const struct hot_calls *calls)
{
    struct hots *all = calloc(1, sizeof *all);

    if (!all)
        return NULL;
    all->calls = *calls;
    if (evtimer_assign(&all->turn, base, on_turn, all) == 0)
        return all;
    free(all);
    return NULL;
}

void hots_free(struct hots *all)
{
    if (!all)
        return;
    event_del(&all->turn);
    all->over = true;
    if (!all->in_turn)
        free(all);
}

void hots_set_watch(struct hots *all, unsigned us)
{
    all->watch_us = us;
}
