/* lease_term: for how long a lease counts on this host (lease.h). It is extended when Redis has
 * granted it, renewed at each third of its length while it is used, and ends: given up, run out,
 * taken or broken. Those held stand in the order in which they end. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/leases/lease_inside.h"
#include "daemon/locks/lock_text.h"
#include <limits.h>
#include <string.h>

#define RENEW_MAX 200    /* leases in one go, */
#define RENEW_PAUSE_MS 5 /* and then commits have their turn */

static int64_t lease_length(const struct leases *ls)
{
    return ls->config->lock_lease;
}

/* Both clocks run on; neither is steered by more than this. */
static int64_t margin(int64_t length)
{
    return length / 50 + 2;
}

/* ---- having and losing ---- */

bool lease_extend(struct lease *le, const struct lease_request *request)
{
    struct leases *ls = le->all;
    int64_t until = request->sent + request->length - margin(request->length);
    if (until <= clock_boot_ms())
        return false;
    if (le->have != LOCK_NONE)
        DL_DELETE2(ls->held, le, prev_held, next_held);
    DL_APPEND2(ls->held, le, prev_held, next_held);
    le->sent = le->tried = request->sent;
    le->until = le->lock->until = until;
    return true;
}

void lease_renew(struct lease *le)
{
    if (le->have != LOCK_NONE)
        le->upkeep = LEASE_RENEWS;
}

void lease_end(struct lease *le, const struct fault *why)
{
    struct leases *ls = le->all;
    if (le->have == LOCK_NONE)
        return;
    le->have = LOCK_NONE;
    le->upkeep = LEASE_GOOD;
    le->wanted = LOCK_NONE;
    DL_DELETE2(ls->held, le, prev_held, next_held);
    lease_calls_floor(ls->calls, le->lock->fence);
    lock_uncover(le->lock, why);
}

void lease_lose(struct lease *le, const struct fault *why)
{
    struct leases *ls = le->all;
    if (le->have == LOCK_NONE)
        return;
    if (le->lock->nholds > 0) {
        ls->nlost++;
        memcpy(ls->lost_why, why->text, sizeof(ls->lost_why));
    }
    lease_end(le, why);
    lease_set_due(le);
}

void leases_log_lost(struct leases *ls)
{
    int64_t since = clock_boot_ms() - ls->logged;
    if (ls->nlost == 0)
        return;
    if (since < LOG_MS) {
        arm(ls->report, LOG_MS - since);
        return;
    }
    if (ls->nlost == 1)
        log_warning("a lock is lost: %s", ls->lost_why);
    else
        log_warning("%u locks are lost; the last one: %s", ls->nlost, ls->lost_why);
    ls->nlost = 0;
    ls->logged = clock_boot_ms();
}

static void lose_over(struct lease *le)
{
    struct fault f;
    int64_t ago = clock_boot_ms() - le->sent;
    if (!lease_slot_may_ask(le->slot))
        fault_set(&f, FAULT_LOCK_LOST,
                  "%s: its lease in Redis ran out; it could not be renewed for %s: %s",
                  LOCK_TEXT(le->lock), LOCK_SPAN_TEXT(ago), lease_slot_why(le->slot));
    else
        fault_set(&f, FAULT_LOCK_LOST,
                  "%s: its lease in Redis ran out; it was last renewed %s ago, as rapyerd or "
                  "Redis stood still, or Redis refused",
                  LOCK_TEXT(le->lock), LOCK_SPAN_TEXT(ago));
    lease_lose(le, &f);
}

void lease_lose_taken(struct lease *le, const char *by)
{
    struct fault f;
    int64_t ago = clock_boot_ms() - le->sent;
    if (*by != '\0')
        fault_set(&f, FAULT_LOCK_LOST,
                  "%s: another host (daemon %.8s) has it; Redis had lost its lease here, which was "
                  "renewed %s ago, or it was broken",
                  LOCK_TEXT(le->lock), by, LOCK_SPAN_TEXT(ago));
    else
        fault_set(&f, FAULT_LOCK_LOST,
                  "%s: its lease, which was renewed %s ago, is not in Redis any more; others may "
                  "have had it since",
                  LOCK_TEXT(le->lock), LOCK_SPAN_TEXT(ago));
    lease_lose(le, &f);
}

/* ---- renewal, and the end ---- */

void leases_plan_tick(struct leases *ls)
{
    const struct lease *first = ls->held;
    if (first == NULL) {
        event_del(ls->tick);
        return;
    }
    int64_t now = clock_boot_ms(), length = lease_length(ls);
    int64_t renewal = first->sent + length / 3;
    renewal = renewal < ls->soonest ? ls->soonest : renewal;
    arm(ls->tick, (renewal < first->until ? renewal : first->until) - now + 1);
}

/* It was not used since it was renewed before: then it goes. */
static void renew_or_drop(struct lease *le)
{
    const struct lock *l = le->lock;
    if (unused_here(l) && l->nwaits == 0 && l->fence == le->fence_renewed)
        le->upkeep = LEASE_UNUSED;
    else
        le->upkeep = LEASE_RENEWS;
    lease_set_due(le);
}

void leases_end_over(struct leases *ls)
{
    while (ls->held != NULL && ls->held->until <= clock_boot_ms())
        lose_over(ls->held);
    leases_log_lost(ls);
}

/* On a machine that is busy with others a pause is as long as these let it be. So the longer ago it
 * is that the oldest was renewed the more go at once: a commit that waits is a smaller loss than a
 * lock. */
static unsigned at_once(const struct leases *ls, int64_t now, int64_t length)
{
    int64_t age = ls->held != NULL ? now - ls->held->sent : 0;
    if (age > length / 2)
        return UINT_MAX;
    return age > length * 2 / 5 ? 10 * RENEW_MAX : RENEW_MAX;
}

/* Those that are due, or would soon be. True: there are more. */
static bool renew_some(struct leases *ls)
{
    int64_t now = clock_boot_ms(), length = lease_length(ls);
    unsigned n = 0, most = at_once(ls, now, length);
    for (struct lease *le = ls->held; le != NULL; le = le->next_held) {
        if (le->sent + length / 4 > now)
            return false;
        if (le->op != LEASE_NOTHING || le->tried + length / 20 > now ||
            !lease_slot_may_ask(le->slot))
            continue;
        if (n++ == most)
            return true;
        renew_or_drop(le);
    }
    return false;
}

void leases_renew(struct leases *ls)
{
    bool rest = renew_some(ls);
    /* Those that are on their way, or were refused, have time until then. */
    ls->soonest = clock_boot_ms() + (rest ? RENEW_PAUSE_MS : lease_length(ls) / 20);
}
