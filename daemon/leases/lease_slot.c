/* lease_slot: whether Redis can be asked for the leases of a slot (lease.h), and what comes of it
 * when it cannot.
 *
 *   asked ──answered──► all is well
 *     │ the link is lost                          │ its node has not got it, or is moving it
 *     ▼                                           ▼
 *   until it is up, or the slot has another one   2 ms, 4 ms, ... 100 ms later
 *
 * Leases count on meanwhile, to their end; who waits is told when it takes too long. They are asked
 * for again whenever their slot has another link than before, or that has been lost: Redis may have
 * forgotten them, another one count by another clock. A request that was lost may still be carried
 * out where it was sent, and come too late for a slot that went away and came back: it names the
 * lease that it is about by its fence and its end, and every write is checked where it is applied.
 */
#include "daemon/base/clock.h"
#include "daemon/leases/lease_inside.h"
#include "protocol/alloc.h"

#define PAUSE_MS 2
#define PAUSE_MAX_MS 100
#define QUIET_MS 1000 /* nobody has asked: what was before counts no more */

struct upstream *lease_slot_link(const struct lease_slot *s)
{
    return router_link(s->all->router, s->slot);
}

bool lease_slot_up(const struct lease_slot *s)
{
    return router_ready(s->all->router, lease_slot_link(s));
}

bool lease_slot_may_ask(const struct lease_slot *s)
{
    return lease_slot_up(s) && clock_boot_ms() >= s->next;
}

const char *lease_slot_why(const struct lease_slot *s)
{
    return router_why(s->all->router, s->slot);
}

/* ---- it cannot be asked ---- */

static void set_due(struct lease_slot *s)
{
    struct lease *le;
    DL_FOREACH2(s->leases, le, next_in_slot)
    lease_set_due(le);
}

static int64_t end_of_patience(const struct lease_slot *s)
{
    return s->since + s->all->config->queue_time;
}

static void plan(struct lease_slot *s)
{
    int64_t now = clock_boot_ms(), at = end_of_patience(s);
    if (lease_slot_up(s) && (s->next < at || s->given_up))
        at = s->next;
    else if (s->given_up)
        return;
    arm(s->timer, at - now);
}

/* Where the link is down who comes later is told at once; where it is up, only who waits now. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct lease_slot *s = arg;
    int64_t now = clock_boot_ms();
    (void)fd;
    (void)what;
    if (s->given_up && lease_slot_up(s)) {
        s->given_up = false;
        s->since = now;
    } else if (now >= end_of_patience(s)) {
        s->given_up = true;
    }
    if (s->given_up || !lease_slot_may_ask(s))
        plan(s);
    set_due(s);
}

static void begin_trouble(struct lease_slot *s)
{
    if (s->since != 0)
        return;
    s->since = clock_boot_ms();
    plan(s);
}

static void end_trouble(struct lease_slot *s)
{
    s->since = s->next = s->pause = 0;
    s->given_up = false;
    event_del(s->timer);
}

void lease_slot_answered(struct lease_slot *s)
{
    if (s->since != 0)
        end_trouble(s);
}

void lease_slot_unanswered(struct lease_slot *s)
{
    int64_t now = clock_boot_ms();
    if (s->since != 0 && now > s->next + QUIET_MS && lease_slot_up(s))
        end_trouble(s);
    begin_trouble(s);
    if (now >= s->next) { /* many may be told so at once */
        s->pause = s->pause == 0 ? PAUSE_MS : 2 * s->pause;
        if (s->pause > PAUSE_MAX_MS)
            s->pause = PAUSE_MAX_MS;
        s->next = now + s->pause;
    }
    plan(s);
}

/* ---- who has the slot ---- */

static void look(struct lease_slot *s)
{
    uint32_t epoch = router_epoch(s->all->router, s->slot);
    if (!lease_slot_up(s)) {
        begin_trouble(s);
        set_due(s); /* for those who only try */
    } else if (s->epoch != epoch) {
        s->epoch = epoch;
        end_trouble(s);
        lease_renew_all(s);
    }
}

void lease_slots_look(struct leases *ls)
{
    for (struct lease_slot *s = ls->slots; s != NULL; s = s->hh.next)
        look(s);
}

bool lease_slots_pause(const struct leases *ls)
{
    const struct lease_slot *s = ls->slots;
    while (s != NULL && (s->since == 0 || !lease_slot_up(s)))
        s = s->hh.next;
    return s != NULL;
}

/* ---- which leases ---- */

uint16_t lease_slot_number(const struct leases *ls, const struct lock_name *name)
{
    struct buf key = BUF_INIT;
    if (!router_is_cluster(ls->router))
        return 0;
    lease_key(ls->names, "lock", name, &key);
    uint16_t slot = router_slot(ls->router, (char *)key.data, key.len);
    buf_free(&key);
    return slot;
}

void lease_slot_join(struct lease *le, uint16_t slot)
{
    struct leases *ls = le->all;
    struct lease_slot *s;
    HASH_FIND(hh, ls->slots, &slot, sizeof(slot), s);
    if (s == NULL) {
        s = alloc_zeroed(1, sizeof(*s));
        s->all = ls;
        s->slot = slot;
        s->timer = evtimer_new(ls->base, on_timer, s);
        HASH_ADD(hh, ls->slots, slot, sizeof(s->slot), s);
        if (lease_slot_up(s))
            s->epoch = router_epoch(ls->router, slot);
        else
            begin_trouble(s);
    }
    le->slot = s;
    DL_APPEND2(s->leases, le, prev_in_slot, next_in_slot);
}

void lease_slot_leave(struct lease *le)
{
    struct lease_slot *s = le->slot;
    DL_DELETE2(s->leases, le, prev_in_slot, next_in_slot);
    if (s->leases != NULL)
        return;
    HASH_DELETE(hh, s->all->slots, s);
    event_free(s->timer);
    free(s);
}
