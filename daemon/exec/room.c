/* room: how much goes to Redis at once. A commit is carried out there in one piece, so whoever asks
 * for something small waits for the one in flight and for the one that gathers. Both are kept
 * short: what is heavy, by its estimate (work.h), waits for room, in the order in which it came.
 * What is small never does.
 *
 *   run ──(no room)──► stopped: nothing is changed yet ──► e->heavy ──first, room──► runs again
 */
#include "daemon/base/clock.h"
#include "daemon/exec/exec_inside.h"
#include <utlist.h>

#define WAITS_MS 200 /* for a moment without others; then it goes along with them */

/* A commit of so many ns is no burden to whom it is joined to. */
static uint64_t share(const struct exec *e)
{
    return (uint64_t)e->config->max_work * 1000000 / WORK_COMMAND;
}

/* What alone is more than a share goes when there is next to nothing else. */
static bool fits(const struct exec *e, const struct lane *l, uint64_t ns)
{
    uint64_t gathering = lane_gathering_work(l), in_flight = lane_in_flight_work(l);
    if (gathering + in_flight <= share(e) / 4)
        return true;
    return in_flight <= share(e) && gathering + ns <= share(e);
}

/* Small changes without end leave no such moment. */
static bool has_waited(const struct exec *e, const struct task *t)
{
    const struct lane *l = call_lane_of_first(&t->call);
    return t->heavy && lane_gathering_work(l) <= 2 * share(e) &&
           lane_in_flight_work(l) <= 2 * share(e) &&
           clock_mono_ms() - (t->deadline - (int64_t)e->config->queue_time) >= WAITS_MS;
}

bool room_for(void *arg, uint64_t ns)
{
    struct task *t = arg;
    struct exec *e = t->call.exec;
    if (t->call.run.ntouched > 0)
        return true;
    /* What is done again is in front of those who wait for its documents. */
    bool first = e->heavy == NULL || e->heavy == t || t->again_until != 0;
    t->no_room = !first || !(fits(e, call_lane_of_first(&t->call), ns) || has_waited(e, t));
    return !t->no_room;
}

void room_wait(struct exec *e, struct task *t)
{
    t->no_room = false;
    if (t->heavy)
        return;
    t->heavy = true;
    if (t->again_until != 0)
        DL_PREPEND2(e->heavy, t, prev_heavy, next_heavy);
    else
        DL_APPEND2(e->heavy, t, prev_heavy, next_heavy);
}

bool room_queues(struct exec *e, struct task *t)
{
    if (t->call.request.method->reads || e->heavy == NULL || t->heavy || t->again_until != 0)
        return false;
    t->is_long = false;
    room_wait(e, t);
    return true;
}

bool room_turn(const struct task *t)
{
    const struct exec *e = t->call.exec;
    const struct lane *l = call_lane_of_first(&t->call);
    return !t->heavy || (e->heavy == t && (fits(e, l, WORK_SMALL) || has_waited(e, t)));
}

void room_wake(struct exec *e)
{
    if (e->heavy != NULL)
        queue_wake_task(e, e->heavy);
}

void room_leave(struct exec *e, struct task *t)
{
    if (!t->heavy)
        return;
    t->heavy = false;
    DL_DELETE2(e->heavy, t, prev_heavy, next_heavy);
    room_wake(e);
}
