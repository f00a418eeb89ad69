/* lease: see lease.h; what happens in Redis is lease.lua.
 *
 *             take, try                          want ──► take (x instead of s)
 *   NONE ────────────────► asked ──held──► HELD ─────────────────────────────────┐
 *    ▲  ◄──────────────────┤    ▲            │ ◄──held, or queued and still s────┘
 *    │     nobody waits    │    │ granted,   │ keep: each third of the lease
 *    │     any more: leave │    │ moved,     │ share: only readers are here, another host
 *    │                  queued ─┘ run out    │        wants to read
 *    │                                       │
 *    └──free or queued── drop ◄──wanted, idle┘      ended, taken, broken ──► NONE, holds lost
 *
 * At most one request per lock is in flight. Whatever happens meanwhile only changes what is known
 * (the lock's queue, `have`, `queued`, ...) and marks the lease as `due`; decide() looks at it as
 * it is then, once the answer is here, and says which request comes next. It is called from the
 * loop alone, never from inside locks.c, so that it may change locks as it likes. Requests that
 * fall due in the same turn go out together.
 *
 * This file says what comes next; lease_term.c for how long a lease counts, lease_slot.c whether
 * Redis can be asked, and lease_news.c takes what Redis and other daemons tell. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/leases/lease_inside.h"
#include "protocol/alloc.h"
#include <stdio.h>

void lease_set_due(struct lease *le)
{
    struct leases *ls = le->all;
    if (le->due)
        return;
    le->due = true;
    DL_APPEND2(ls->due, le, prev_due, next_due);
    event_active(ls->flush, EV_TIMEOUT, 0);
}

struct lease *lease_new(struct leases *ls, struct lock *l)
{
    struct lease *le = alloc_zeroed(1, sizeof(*le));
    le->all = ls;
    le->lock = l;
    l->lease = le;
    DL_APPEND(ls->leases, le);
    struct lock_name name = lock_name_of(l);
    lease_slot_join(le, lease_slot_number(ls, &name));
    return le;
}

static void lease_free(struct lease *le)
{
    struct leases *ls = le->all;
    DL_DELETE(ls->leases, le);
    lease_slot_leave(le);
    if (le->have != LOCK_NONE)
        DL_DELETE2(ls->held, le, prev_held, next_held);
    if (le->due)
        DL_DELETE2(ls->due, le, prev_due, next_due);
    if (le->retry != NULL)
        event_free(le->retry);
    free(le->elsewhere);
    free(le);
}

/* ---- what comes next ---- */

bool lease_can_share(const struct lease *le)
{
    const struct lock *l = le->lock;
    if (le->have != LOCK_EXCLUSIVE || le->wanted != LOCK_SHARED || l->nholds == 0 || l->pins > 0)
        return false;
    for (const struct hold *h = l->holds; h != NULL; h = h->next)
        if (h->mode == LOCK_EXCLUSIVE)
            return false;
    for (const struct wait *w = l->waits; w != NULL; w = w->next)
        if (w->mode == LOCK_EXCLUSIVE)
            return false;
    return true;
}

/* What the first of the queue needs beyond the lease. */
static enum lock_mode need_of(const struct lease *le)
{
    const struct wait *first = le->lock->waits;
    return first != NULL && first->mode > le->have ? first->mode : LOCK_NONE;
}

static bool only_tries(const struct lock *l)
{
    for (const struct wait *w = l->waits; w != NULL; w = w->next)
        if (!w->try)
            return false;
    return true;
}

static enum lock_mode first_mode(const struct lock *l)
{
    return l->waits != NULL ? l->waits->mode : LOCK_NONE;
}

static bool gives_up(const struct lease *le, enum lock_mode need)
{
    const struct lock *l = le->lock;
    if (le->have == LOCK_NONE || !unused_here(l))
        return false;
    /* Needing more than it is: it would only be in the way of others. */
    return lock_closing(l) || need != LOCK_NONE || (le->upkeep == LEASE_UNUSED && l->nwaits == 0);
}

static enum lease_op decide_stopping(const struct lease *le)
{
    return le->have != LOCK_NONE || le->in_redis || le->in_queue ? LEASE_DROP : LEASE_NOTHING;
}

/* The next request, and the mode it is for. */
static enum lease_op decide(const struct lease *le, enum lock_mode *mode)
{
    enum lock_mode need = need_of(le);
    *mode = LOCK_NONE;
    if (le->all->stopping)
        return decide_stopping(le);
    /* First: in a Redis that has lost the lease only this one puts it back as it was, so that
     * commits under it can be applied again. */
    if (le->upkeep == LEASE_RENEWS)
        return LEASE_KEEP;
    if (gives_up(le, need)) {
        *mode = first_mode(le->lock);
        return LEASE_DROP;
    }
    if (lease_can_share(le))
        return LEASE_SHARE;
    *mode = need;
    if (need != LOCK_NONE)
        return le->queued == need ? LEASE_NOTHING : only_tries(le->lock) ? LEASE_TRY : LEASE_TAKE;
    if (le->have != LOCK_NONE)
        return le->in_queue ? LEASE_LEAVE : LEASE_NOTHING;
    return le->in_queue || le->in_redis ? LEASE_DROP : LEASE_NOTHING;
}

/* ---- requests ---- */

/* What changes here as the request is sent, not when it is answered: what is given up must not be
 * used while the request is on its way. */
static void before_sending(struct lease *le, enum lease_op op)
{
    bool gives_way = false;
    if (op == LEASE_KEEP) {
        le->upkeep = LEASE_GOOD;
        le->fence_renewed = le->lock->fence;
        le->tried = clock_boot_ms();
    } else if (op == LEASE_DROP) {
        struct fault f;
        gives_way = lock_closing(le->lock);
        fault_set(&f, FAULT_LOCK_LOST, "rapyerd is stopping");
        lease_end(le, &f); /* its holds are gone, unless we are stopping */
        le->in_redis = true;
    } else if (op == LEASE_SHARE) {
        le->have = LOCK_SHARED;
        lock_cover(le->lock, LOCK_SHARED, 0);
    } else {
        le->in_redis = le->in_redis || op == LEASE_TAKE || op == LEASE_TRY;
    }
    le->in_queue = le->in_queue || op == LEASE_TAKE || op == LEASE_TRY || op == LEASE_DROP;
    le->heard = false;
    le->gave_way = gives_way;
    le->op = op;
}

static void look_at(struct lease *le)
{
    struct leases *ls = le->all;
    enum lock_mode mode;
    enum lease_op op = decide(le, &mode);
    if (op == LEASE_NOTHING) {
        if (le->have == LOCK_NONE && le->lock->nwaits == 0 && unused_here(le->lock)) {
            struct lock *l = le->lock;
            lease_calls_floor(ls->calls, l->fence);
            l->lease = NULL;
            lease_free(le);
            if (!lock_free(l))
                log_error("a lock that nobody has was not to be freed");
        }
        return;
    }
    struct lock_name name = lock_name_of(le->lock);
    struct lease_request request = {
        .op = op, .mode = mode, .have = le->have, .last = le->lock->fence, .whose = le};
    if (le->have != LOCK_NONE) {
        request.fence = le->fence;
        request.expiry = le->expiry;
    }
    before_sending(le, op);
    lease_calls_request(ls->calls, le->slot->slot, &request, &name);
}

void lease_refuse_waits(struct lease *le, bool tries_only, const struct fault *f)
{
    struct lock *l = le->lock;
    uint64_t last = 0;
    for (const struct wait *w = l->waits; w != NULL; w = w->next)
        last = w->number > last ? w->number : last;
    for (;;) {
        struct wait *w = l->waits;
        while (w != NULL && (w->mode <= le->have || w->number > last || (tries_only && !w->try)))
            w = w->next;
        if (w == NULL)
            return;
        lock_refuse(w, f);
    }
}

/* While Redis cannot be asked: who only tries is told so at once, the others when it has been away
 * for as long as writes wait for it. */
static void refuse_away(struct lease *le)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", lease_slot_why(le->slot));
    lease_refuse_waits(le, !le->slot->given_up, &f);
}

static void flush(struct leases *ls)
{
    for (struct lease *le; (le = ls->due) != NULL;) {
        DL_DELETE2(ls->due, le, prev_due, next_due);
        le->due = false;
        if (!lease_slot_up(le->slot) || le->slot->given_up)
            refuse_away(le);
        if (le->op == LEASE_NOTHING && lease_slot_may_ask(le->slot))
            look_at(le);
    }
    lease_calls_flush(ls->calls);
}

static void end_stop(struct leases *ls)
{
    if (!ls->stopping || !lease_calls_idle(ls->calls) || ls->due != NULL || ls->stopped == NULL ||
        lease_slots_pause(ls))
        return;
    void (*stopped)(void *arg) = ls->stopped;
    ls->stopped = NULL;
    stopped(ls->stopped_arg);
}

/* ---- the turns of the loop ---- */

/* In the turn of the loop in which something fell due, or was answered. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct leases *ls = arg;
    (void)fd;
    (void)what;
    flush(ls);
    leases_log_lost(ls);
    leases_plan_tick(ls);
    end_stop(ls);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct leases *ls = arg;
    (void)fd;
    (void)what;
    leases_end_over(ls);
    leases_renew(ls);
    flush(ls);
    leases_plan_tick(ls);
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    leases_log_lost(arg);
}

/* ---- what others say ---- */

void leases_want(struct leases *ls, struct lock *l, enum lock_mode mode)
{
    (void)mode; /* the queue's head says it, at the moment it is asked for */
    lease_set_due(l->lease != NULL ? l->lease : lease_new(ls, l));
}

void leases_eased(struct leases *ls, struct lock *l)
{
    lease_set_due(l->lease != NULL ? l->lease : lease_new(ls, l));
}

void leases_links(struct leases *ls)
{
    leases_end_over(ls);
    lease_slots_look(ls);
    event_active(ls->flush, EV_TIMEOUT, 0); /* before commits go on, later in this turn */
}

void leases_link_up(struct leases *ls)
{
    lease_calls_link_up(ls->calls);
    leases_end_over(ls);
    lease_slots_look(ls);
    flush(ls);
    leases_plan_tick(ls);
}

void leases_link_down(struct leases *ls)
{
    lease_slots_look(ls);
    leases_plan_tick(ls);
}

void lease_renew_all(struct lease_slot *s)
{
    struct lease *le;
    DL_FOREACH2(s->leases, le, next_in_slot)
    {
        le->queued = LOCK_NONE; /* was it granted? */
        lease_renew(le);        /* is it wanted? */
        lease_set_due(le);
    }
}

void leases_listening(struct leases *ls, const struct upstream *up)
{
    for (struct lease_slot *s = ls->slots; s != NULL; s = s->hh.next) {
        if (lease_slot_link(s) == up)
            lease_renew_all(s);
    }
}

void leases_refused(struct leases *ls, struct lock *l, int64_t fence)
{
    struct lease *le = l->lease;
    if (le == NULL || le->have == LOCK_NONE || le->fence != fence)
        return;
    lease_lose_taken(le, "");
    leases_log_lost(ls);
}

void leases_stop(struct leases *ls, void (*done)(void *arg), void *arg)
{
    struct lease *le;
    ls->stopping = true;
    ls->stopped = done;
    ls->stopped_arg = arg;
    event_del(ls->tick);
    leases_end_breaks(ls);
    DL_FOREACH (ls->leases, le) {
        lease_no_retry(le);
        lease_set_due(le);
    }
    flush(ls);
    end_stop(ls);
}

/* ---- what others ask ---- */

void lease_redis_key(const struct leases *ls, const struct lock *l, struct buf *key)
{
    struct lock_name name = lock_name_of(l);
    lease_key(ls->names, "lock", &name, key);
}

int64_t lease_fence(const struct lock *l)
{
    const struct lease *le = l->lease;
    return le != NULL && le->have != LOCK_NONE ? le->fence : 0;
}

int64_t lease_left(const struct lock *l)
{
    const struct lease *le = l->lease;
    return le != NULL && le->have != LOCK_NONE ? le->until - clock_boot_ms() : 0;
}

const char *lease_elsewhere_at(const struct lock *l, size_t i)
{
    const struct lease *le = l->lease;
    return le != NULL && i < le->nelsewhere ? le->elsewhere[i] : NULL;
}

struct upstream *lease_link(const struct lock *l)
{
    const struct lease *le = l->lease;
    return lease_slot_link(le->slot);
}

const char *lease_elsewhere(const struct lock *l)
{
    const char *id = lease_elsewhere_at(l, 0);
    return id != NULL ? id : "";
}

const char *lease_away(const struct lock *l)
{
    const struct lease *le = l->lease;
    return le != NULL && (le->slot->since != 0 || !lease_slot_up(le->slot))
               ? lease_slot_why(le->slot)
               : NULL;
}

const char *lease_where(const struct lock *l)
{
    static char text[32 + ID_MAX];
    const char *id = lease_elsewhere_at(l, 0);
    if (id == NULL)
        return NULL;
    snprintf(text, sizeof(text), "another host (daemon %.8s)", id);
    return text;
}

/* ---- the whole ---- */

struct leases *leases_new(struct event_base *base, const struct config *config, const char *id,
                          struct router *router, const struct names *names, struct bus *bus,
                          struct locks *locks, const struct leases_callbacks *cb, void *arg)
{
    struct leases *ls = alloc_zeroed(1, sizeof(*ls));
    ls->config = config;
    snprintf(ls->id, sizeof(ls->id), "%s", id);
    ls->router = router;
    ls->names = names;
    ls->bus = bus;
    ls->locks = locks;
    ls->cb = *cb;
    ls->arg = arg;
    ls->base = base;
    ls->calls = lease_calls_new(config, ls->id, router, names, bus, leases_answer, ls);
    ls->flush = evtimer_new(base, on_flush, ls);
    ls->tick = evtimer_new(base, on_tick, ls);
    ls->report = evtimer_new(base, on_report, ls);
    ls->logged = clock_boot_ms() - LOG_MS;
    return ls;
}

void leases_free(struct leases *ls)
{
    if (ls == NULL)
        return;
    leases_end_breaks(ls);
    lease_calls_free(ls->calls);
    while (ls->leases != NULL)
        lease_free(ls->leases);
    event_free(ls->flush);
    event_free(ls->tick);
    event_free(ls->report);
    free(ls);
}
