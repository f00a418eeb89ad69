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
 * fall due in the same turn go out together. */
#include "daemon/lease.h"
#include "daemon/lease_call.h"
#include "daemon/lock_text.h"
#include "daemon/log.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <event2/util.h>
#include <stdio.h>
#include <utlist.h>

#define ID_MAX 40
#define RETRY_SLACK_MS 5  /* after a lease must have run out */
#define RETRY_JITTER_MS 8 /* several daemons wait for the same moment */
#define LOG_MS 1000
#define RENEW_MAX 200      /* leases in one go, */
#define RENEW_PAUSE_MS 5   /* and then commits have their turn */
#define DEAF_RETRY_MS 1000 /* nobody can tell us that it is free */

struct lease {
    struct lease *prev, *next;           /* of all */
    struct lease *prev_held, *next_held; /* of those held, by `until` */
    struct lease *prev_due, *next_due;
    struct leases *all;
    struct lock *lock;
    enum lease_op op; /* in flight */
    bool due;
    enum lock_mode have;     /* counts here, until `until` */
    int64_t fence;           /* of the lease, while `have` */
    int64_t expiry;          /* of the lease, by Redis' clock: past it a late renewal is void */
    int64_t sent, until;     /* when its last good request was sent; when it ends here */
    int64_t tried;           /* when it was last to be renewed */
    int64_t seen;            /* the last fence given when it was renewed: has it been used since? */
    bool renew, unused;      /* to be renewed, given up */
    enum lock_mode queued;   /* asked for; we are told, or ask again, when it is free */
    bool in_queue, in_redis; /* Redis may have a place in the queue, a lease of ours */
    enum lock_mode wanted;   /* by another host, as last heard */
    bool heard;              /* a message while a request was in flight: its answer may be older */
    struct event *retry;
    size_t nelsewhere;
    char (*elsewhere)[ID_MAX];
};

struct breaking {
    lease_broken_fn *done;
    void *arg;
};

struct leases {
    const struct config *config;
    char id[ID_MAX];
    struct upstream *up;
    struct bus *bus;
    struct locks *locks;
    struct leases_callbacks cb;
    void *arg;
    struct event_base *base;
    struct lease *leases, *held, *due;
    struct lease_calls *calls;
    struct event *flush, *tick;
    int64_t
        soonest; /* the next renewals: not before; set when some went out, and by nothing else */
    struct event *away; /* ends the patience with a Redis that cannot be reached */
    bool given_up;      /* it has ended */
    unsigned lost;      /* holds were, since this was last logged */
    int64_t logged;
    char lost_why[FAULT_TEXT_MAX];
    struct event *report;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* ---- small things ---- */

static int64_t lease_length(const struct leases *ls)
{
    return ls->config->lock_lease;
}

/* Both clocks run on; neither is steered by more than this. */
static int64_t margin(int64_t length)
{
    return length / 50 + 2;
}

static void arm(struct event *e, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(e, &tv);
}

static bool unused_here(const struct lock *l)
{
    return l->nholds == 0 && l->pins == 0;
}

/* decide() will look at it in this turn of the loop, or when its answer is here. */
static void set_due(struct lease *le)
{
    struct leases *ls = le->all;
    if (le->due)
        return;
    le->due = true;
    DL_APPEND2(ls->due, le, prev_due, next_due);
    event_active(ls->flush, EV_TIMEOUT, 0);
}

static void forget_elsewhere(struct lease *le)
{
    le->nelsewhere = 0;
}

static void add_elsewhere(struct lease *le, const char *id, size_t len)
{
    if (le->nelsewhere == LEASE_ELSEWHERE_MAX || len == 0 || len >= ID_MAX)
        return;
    if (le->elsewhere == NULL)
        le->elsewhere = alloc_zeroed(LEASE_ELSEWHERE_MAX, ID_MAX);
    char *to = le->elsewhere[le->nelsewhere++];
    memcpy(to, id, len);
    to[len] = '\0';
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct lease *le = arg;
    (void)fd;
    (void)what;
    le->queued = LOCK_NONE;
    set_due(le);
}

static void retry_in(struct lease *le, int64_t ms)
{
    uint8_t jitter;
    evutil_secure_rng_get_bytes(&jitter, sizeof(jitter));
    if (le->retry == NULL && (le->retry = evtimer_new(le->all->base, on_retry, le)) == NULL)
        abort();
    if (!bus_listening(le->all->bus) && ms > DEAF_RETRY_MS)
        ms = DEAF_RETRY_MS;
    arm(le->retry, ms + RETRY_SLACK_MS + jitter % RETRY_JITTER_MS);
}

static void no_retry(struct lease *le)
{
    if (le->retry != NULL)
        event_del(le->retry);
}

static struct lease *lease_new(struct leases *ls, struct lock *l)
{
    struct lease *le = alloc_zeroed(1, sizeof(*le));
    le->all = ls;
    le->lock = l;
    l->lease = le;
    DL_APPEND(ls->leases, le);
    return le;
}

static void lease_free(struct lease *le)
{
    struct leases *ls = le->all;
    DL_DELETE(ls->leases, le);
    if (le->have != LOCK_NONE)
        DL_DELETE2(ls->held, le, prev_held, next_held);
    if (le->due)
        DL_DELETE2(ls->due, le, prev_due, next_due);
    if (le->retry != NULL)
        event_free(le->retry);
    free(le->elsewhere);
    free(le);
}

/* ---- having and losing ---- */

/* A request sent at `sent` was granted: it counts from then on. False: that is over already. */
static bool extend(struct lease *le, const struct lease_ask *ask)
{
    struct leases *ls = le->all;
    int64_t until = ask->sent + ask->length - margin(ask->length);
    if (until <= lock_now())
        return false;
    if (le->have != LOCK_NONE)
        DL_DELETE2(ls->held, le, prev_held, next_held);
    DL_APPEND2(ls->held, le, prev_held, next_held);
    le->sent = le->tried = ask->sent;
    le->until = le->lock->until = until;
    return true;
}

/* From here on nothing is granted on it. */
static void end_lease(struct lease *le, const struct fault *why)
{
    struct leases *ls = le->all;
    if (le->have == LOCK_NONE)
        return;
    le->have = LOCK_NONE;
    le->renew = le->unused = false;
    le->wanted = LOCK_NONE;
    DL_DELETE2(ls->held, le, prev_held, next_held);
    lease_calls_floor(ls->calls, le->lock->fence);
    lock_uncover(le->lock, why);
}

static void lose(struct lease *le, const struct fault *why)
{
    struct leases *ls = le->all;
    if (le->have == LOCK_NONE)
        return;
    if (le->lock->nholds > 0) {
        ls->lost++;
        memcpy(ls->lost_why, why->text, sizeof(ls->lost_why));
    }
    end_lease(le, why);
    set_due(le);
}

/* One line for all that one event has cost, and no more than one in LOG_MS. */
static void log_lost(struct leases *ls)
{
    int64_t since = lock_now() - ls->logged;
    if (ls->lost == 0)
        return;
    if (since < LOG_MS) {
        arm(ls->report, LOG_MS - since);
        return;
    }
    if (ls->lost == 1)
        log_warning("a lock is lost: %s", ls->lost_why);
    else
        log_warning("%u locks are lost; the last one: %s", ls->lost, ls->lost_why);
    ls->lost = 0;
    ls->logged = lock_now();
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    log_lost(arg);
}

static void lose_over(struct lease *le)
{
    struct fault f;
    int64_t ago = lock_now() - le->sent;
    if (upstream_state(le->all->up) != UPSTREAM_UP)
        fault_set(&f, FAULT_LOCK_LOST,
                  "%s: its lease in Redis ran out; Redis could not be reached for %s",
                  LOCK_TEXT(le->lock), LOCK_SPAN_TEXT(ago));
    else
        fault_set(&f, FAULT_LOCK_LOST,
                  "%s: its lease in Redis ran out; it was last renewed %s ago, as rapyerd or "
                  "Redis stood still, or Redis refused",
                  LOCK_TEXT(le->lock), LOCK_SPAN_TEXT(ago));
    lose(le, &f);
}

/* by: the daemon that has it now, or "". */
static void lose_taken(struct lease *le, const char *by)
{
    struct fault f;
    int64_t ago = lock_now() - le->sent;
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
    lose(le, &f);
}

/* ---- another host waits ---- */

/* Only readers are here, nothing they or others before them wrote is on its way, and a reader
 * elsewhere wants to join them. */
static bool can_share(const struct lease *le)
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

static void set_wanted(struct lease *le, enum lock_mode mode)
{
    le->wanted = mode;
    if (le->have == LOCK_NONE)
        return;
    if (mode == LOCK_NONE) {
        if (le->lock->wanted)
            lock_unwanted(le->lock);
    } else if (can_share(le)) {
        set_due(le);
    } else {
        lock_wanted(le->lock);
    }
}

/* ---- what comes next ---- */

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
    return l->closing || need != LOCK_NONE || (le->unused && l->nwaits == 0);
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
    if (le->renew)
        return LEASE_KEEP;
    if (gives_up(le, need)) {
        *mode = first_mode(le->lock);
        return LEASE_DROP;
    }
    if (can_share(le))
        return LEASE_SHARE;
    *mode = need;
    if (need != LOCK_NONE)
        return le->queued == need ? LEASE_NOTHING : only_tries(le->lock) ? LEASE_TRY : LEASE_TAKE;
    if (le->have != LOCK_NONE)
        return le->in_queue ? LEASE_LEAVE : LEASE_NOTHING;
    return le->in_queue || le->in_redis ? LEASE_DROP : LEASE_NOTHING;
}

/* ---- requests ---- */

static struct lock_name name_of(const struct lock *l)
{
    return (struct lock_name){.key = lock_key(l),
                              .path = lock_path(l),
                              .action = lock_action(l),
                              .key_len = l->key_len,
                              .path_len = l->path_len,
                              .action_len = l->action_len};
}

/* What changes here as the request is sent, not when it is answered: what is given up must not be
 * used while the request is on its way. */
static void before_sending(struct lease *le, enum lease_op op)
{
    if (op == LEASE_KEEP) {
        le->renew = false;
        le->seen = le->lock->fence;
        le->tried = lock_now();
    } else if (op == LEASE_DROP) {
        struct fault f;
        fault_set(&f, FAULT_LOCK_LOST, "rapyerd is stopping");
        end_lease(le, &f); /* its holds are gone, unless we are stopping */
        le->in_redis = true;
    } else if (op == LEASE_SHARE) {
        le->have = LOCK_SHARED;
        lock_cover(le->lock, LOCK_SHARED, 0);
    } else {
        le->in_redis = le->in_redis || op == LEASE_TAKE || op == LEASE_TRY;
    }
    le->in_queue = le->in_queue || op == LEASE_TAKE || op == LEASE_TRY || op == LEASE_DROP;
    le->heard = false;
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
    struct lock_name name = name_of(le->lock);
    struct lease_ask ask = {
        .op = op, .mode = mode, .have = le->have, .last = le->lock->fence, .whose = le};
    if (le->have != LOCK_NONE) {
        ask.fence = le->fence;
        ask.expiry = le->expiry;
    }
    before_sending(le, op);
    lease_calls_ask(ls->calls, &ask, &name);
}

static void refuse_waits(struct lease *le, bool tries_only, const struct fault *f)
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
    fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(le->all->up));
    refuse_waits(le, !le->all->given_up, &f);
}

static void on_away(evutil_socket_t fd, short what, void *arg)
{
    struct leases *ls = arg;
    struct lease *le;
    (void)fd;
    (void)what;
    ls->given_up = true;
    DL_FOREACH (ls->leases, le)
        set_due(le);
}

static void end_stop(struct leases *ls)
{
    if (!ls->stopping || !lease_calls_idle(ls->calls) || ls->due != NULL || ls->stopped == NULL)
        return;
    void (*stopped)(void *arg) = ls->stopped;
    ls->stopped = NULL;
    stopped(ls->stopped_arg);
}

static void flush(struct leases *ls)
{
    bool up = upstream_state(ls->up) == UPSTREAM_UP;
    for (struct lease *le; (le = ls->due) != NULL;) {
        DL_DELETE2(ls->due, le, prev_due, next_due);
        le->due = false;
        if (!up)
            refuse_away(le);
        else if (le->op == LEASE_NOTHING)
            look_at(le);
    }
    lease_calls_flush(ls->calls);
}

/* ---- renewal, and the end ---- */

static void plan_tick(struct leases *ls)
{
    const struct lease *first = ls->held;
    if (first == NULL) {
        event_del(ls->tick);
        return;
    }
    int64_t now = lock_now(), length = lease_length(ls);
    int64_t at = first->until;
    if (upstream_state(ls->up) == UPSTREAM_UP) {
        int64_t renewal = first->sent + length / 3;
        renewal = renewal < ls->soonest ? ls->soonest : renewal;
        at = renewal < at ? renewal : at;
    }
    arm(ls->tick, at - now + 1);
}

/* It was not used since it was renewed before: then it goes. */
static void renew(struct lease *le)
{
    const struct lock *l = le->lock;
    le->unused = unused_here(l) && l->nwaits == 0 && l->fence == le->seen;
    le->renew = !le->unused;
    set_due(le);
}

static void end_those_over(struct leases *ls)
{
    while (ls->held != NULL && ls->held->until <= lock_now())
        lose_over(ls->held);
    log_lost(ls);
}

/* Those that are due, or would soon be. True: there are more. */
static bool renew_some(struct leases *ls)
{
    int64_t now = lock_now(), length = lease_length(ls);
    unsigned n = 0;
    for (struct lease *le = ls->held; le != NULL; le = le->next_held) {
        if (le->sent + length / 4 > now)
            return false;
        if (le->op != LEASE_NOTHING || le->tried + length / 20 > now)
            continue;
        if (n++ == RENEW_MAX)
            return true;
        renew(le);
    }
    return false;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct leases *ls = arg;
    (void)fd;
    (void)what;
    end_those_over(ls);
    bool rest = upstream_state(ls->up) == UPSTREAM_UP && renew_some(ls);
    /* Those that are on their way, or were refused, have time until then. */
    ls->soonest = lock_now() + (rest ? RENEW_PAUSE_MS : lease_length(ls) / 20);
    flush(ls);
    plan_tick(ls);
}

/* In the turn of the loop in which something fell due, or was answered. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct leases *ls = arg;
    (void)fd;
    (void)what;
    flush(ls);
    log_lost(ls);
    plan_tick(ls);
    end_stop(ls);
}

/* ---- answers ---- */

/* Messages and answers come by two ways that have no order: a message that came while the request
 * was on its way may be newer than its answer. */
static void answer_wanted(struct lease *le, enum lock_mode wanted)
{
    if (wanted != LOCK_NONE || !le->heard)
        le->wanted = wanted;
    set_wanted(le, le->wanted);
}

static void cover(struct lease *le, enum lock_mode mode, int64_t first)
{
    struct leases *ls = le->all;
    le->have = mode;
    le->queued = LOCK_NONE;
    le->in_queue = false;
    le->in_redis = true;
    le->unused = false;
    le->seen = first - 1;
    no_retry(le);
    if (mode == LOCK_EXCLUSIVE)
        forget_elsewhere(le);
    lease_calls_floor(ls->calls, first);
    if (ls->cb.taken != NULL)
        ls->cb.taken(ls->arg, le->lock);
    lock_cover(le->lock, mode, first);
}

static void on_held(struct lease *le, const struct lease_ask *ask, const struct lease_answer *a)
{
    le->in_redis = true;
    if (ask->have != LOCK_NONE && ask->op != LEASE_DROP && le->have == LOCK_NONE)
        return; /* it has ended meanwhile: decide() gives it back, or takes one of a new fence */
    if (ask->op != LEASE_SHARE) {
        if (!extend(le, ask))
            return;
        le->fence = a->fence;
        le->expiry = a->expiry;
        if (a->first > 0)
            cover(le, a->mode, a->first);
    }
    answer_wanted(le, a->wanted);
}

static void on_queued(struct lease *le, const struct lease_ask *ask, const struct lease_answer *a)
{
    le->in_redis = le->have != LOCK_NONE;
    le->in_queue = ask->op != LEASE_TRY;
    forget_elsewhere(le);
    for (size_t i = 0; i < a->nids; i++)
        add_elsewhere(le, a->ids[i], strlen(a->ids[i]));
    if (ask->op != LEASE_TRY && !le->heard) {
        le->queued = ask->mode;
        retry_in(le, a->ms);
    }
    const char *where = lease_where(le->lock);
    lock_elsewhere(le->lock, where != NULL ? where : "another host");
}

static void on_error(struct lease *le, const struct lease_ask *ask, const char *why)
{
    struct fault f;
    if (ask->op == LEASE_KEEP || ask->op == LEASE_SHARE) {
        log_debug("a lease was not renewed: %s", why);
        return; /* it counts until it ends; it is tried again before */
    }
    if (ask->op == LEASE_DROP || ask->op == LEASE_LEAVE) {
        le->in_redis = le->have != LOCK_NONE; /* it runs out by itself */
        le->in_queue = false;
        return;
    }
    fault_set(&f, FAULT_UNAVAILABLE, "Redis would not give the lock: %s", why);
    le->queued = LOCK_NONE;
    refuse_waits(le, false, &f);
}

static void answer_break(struct breaking *b, const struct lease_answer *a)
{
    struct fault f;
    if (a->kind == LEASE_BROKE) {
        b->done(b->arg, a->count, NULL);
    } else {
        if (a->kind == LEASE_UNKNOWN)
            fault_set(&f, FAULT_UNAVAILABLE, "the link to Redis was lost; the lock may be broken");
        else
            fault_set(&f, FAULT_UNAVAILABLE, "Redis would not break the lock: %s", a->text);
        b->done(b->arg, 0, &f);
    }
    free(b);
}

static void on_lease(struct lease *le, const struct lease_ask *ask, const struct lease_answer *a)
{
    switch (a->kind) {
    case LEASE_UNKNOWN: le->queued = LOCK_NONE; break; /* all is asked anew when the link is up */
    case LEASE_HELD: on_held(le, ask, a); break;
    case LEASE_QUEUED: on_queued(le, ask, a); break;
    case LEASE_LOST:
        le->in_redis = false;
        lose_taken(le, a->nids > 0 ? a->ids[0] : "");
        break;
    case LEASE_FREE:
        le->in_redis = le->have != LOCK_NONE;
        le->in_queue = false;
        le->queued = LOCK_NONE;
        break;
    case LEASE_BROKE:
    case LEASE_ERROR: on_error(le, ask, a->text); break;
    }
    le->op = LEASE_NOTHING;
    set_due(le);
}

static void on_answer(void *arg, const struct lease_ask *ask, const struct lease_answer *a)
{
    struct leases *ls = arg;
    if (ask->op == LEASE_BREAK)
        answer_break(ask->whose, a);
    else if (ask->whose != NULL)
        on_lease(ask->whose, ask, a);
    event_active(ls->flush, EV_TIMEOUT, 0);
}

/* ---- messages ---- */

struct message {
    char what[16];
    struct lock_name name;
    struct cursor rest;
};

static int read_message(const void *payload, size_t len, struct message *m)
{
    uint32_t n;
    const char *what;
    size_t what_len;
    m->rest = cursor_of(payload, len);
    if (cursor_array(&m->rest, &n) < 0 || n < 4 || cursor_str(&m->rest, &what, &what_len) < 0 ||
        what_len >= sizeof(m->what) || cursor_str(&m->rest, &m->name.key, &m->name.key_len) < 0 ||
        cursor_str(&m->rest, &m->name.path, &m->name.path_len) < 0 ||
        cursor_str(&m->rest, &m->name.action, &m->name.action_len) < 0)
        return -1;
    memcpy(m->what, what, what_len);
    m->what[what_len] = '\0';
    return 0;
}

static struct lease *find(struct leases *ls, const struct lock_name *name)
{
    struct lock *l = locks_find(ls->locks, name);
    return l != NULL ? l->lease : NULL;
}

/* An offer. It counts only once it was taken: asking for it again does that. */
static void on_granted(struct leases *ls, struct message *m)
{
    struct lease *le = find(ls, &m->name);
    if (le != NULL) {
        le->heard = le->in_redis = true;
        le->queued = LOCK_NONE;
        set_due(le);
    } else if (upstream_state(ls->up) == UPSTREAM_UP) {
        struct lease_ask ask = {.op = LEASE_DROP}; /* nobody here wants it any more */
        lease_calls_ask(ls->calls, &ask, &m->name);
        lease_calls_flush(ls->calls);
    }
}

static void on_wanted(struct leases *ls, struct message *m)
{
    struct lease *le = find(ls, &m->name);
    const char *mode;
    size_t len;
    if (le == NULL || cursor_str(&m->rest, &mode, &len) < 0 || len != 1)
        return;
    le->heard = true;
    set_wanted(le, lease_mode(mode));
}

static void on_broken(struct leases *ls, struct message *m)
{
    struct lease *le = find(ls, &m->name);
    struct fault f;
    int64_t fence;
    if (le == NULL || le->have == LOCK_NONE || cursor_int(&m->rest, &fence) < 0 ||
        fence != le->fence)
        return;
    le->in_redis = false;
    fault_set(&f, FAULT_LOCK_LOST, "%s was broken by lock.break on another host",
              LOCK_TEXT(le->lock));
    lose(le, &f);
    log_lost(ls);
}

static void on_moved(struct leases *ls, struct message *m)
{
    struct lease *le = find(ls, &m->name);
    int64_t ms;
    const char *id;
    size_t len;
    if (le == NULL || cursor_int(&m->rest, &ms) < 0)
        return;
    le->heard = true;
    if (le->queued == LOCK_NONE)
        return;
    forget_elsewhere(le);
    while (cursor_str(&m->rest, &id, &len) == 0)
        add_elsewhere(le, id, len);
    retry_in(le, ms);
}

bool leases_message(struct leases *ls, const void *payload, size_t len)
{
    static const struct {
        const char *what;
        void (*fn)(struct leases *ls, struct message *m);
    } table[] = {
        {"granted", on_granted}, {"wanted", on_wanted}, {"broken", on_broken}, {"moved", on_moved}};
    struct message m;
    if (ls->stopping || read_message(payload, len, &m) < 0)
        return false;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (strcmp(m.what, table[i].what) == 0) {
            table[i].fn(ls, &m);
            return true;
        }
    return false;
}

/* ---- what others say ---- */

void leases_want(struct leases *ls, struct lock *l, enum lock_mode mode)
{
    (void)mode; /* the queue's head says it, at the moment it is asked for */
    set_due(l->lease != NULL ? l->lease : lease_new(ls, l));
}

void leases_eased(struct leases *ls, struct lock *l)
{
    set_due(l->lease != NULL ? l->lease : lease_new(ls, l));
}

void leases_link_up(struct leases *ls)
{
    struct lease *le;
    lease_calls_link_up(ls->calls);
    ls->given_up = false;
    event_del(ls->away);
    end_those_over(ls);
    DL_FOREACH (ls->leases, le) {
        le->queued = LOCK_NONE;
        le->renew = le->have != LOCK_NONE;
        set_due(le);
    }
    flush(ls);
    plan_tick(ls);
}

void leases_link_down(struct leases *ls)
{
    struct lease *le;
    arm(ls->away, ls->config->queue_time);
    DL_FOREACH (ls->leases, le)
        set_due(le); /* for those who only try */
    plan_tick(ls);
}

void leases_listening(struct leases *ls)
{
    struct lease *le;
    DL_FOREACH (ls->leases, le) {
        le->queued = LOCK_NONE;            /* was it granted? */
        le->renew = le->have != LOCK_NONE; /* is it wanted? */
        set_due(le);
    }
}

void leases_refused(struct leases *ls, struct lock *l, int64_t fence)
{
    struct lease *le = l->lease;
    if (le == NULL || le->have == LOCK_NONE || le->fence != fence)
        return;
    lose_taken(le, "");
    log_lost(ls);
}

void leases_break(struct leases *ls, const struct lock_name *name, lease_broken_fn *done, void *arg)
{
    struct fault f;
    if (upstream_state(ls->up) != UPSTREAM_UP) {
        fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(ls->up));
        done(arg, 0, &f);
        return;
    }
    struct breaking *b = alloc_zeroed(1, sizeof(*b));
    *b = (struct breaking){.done = done, .arg = arg};
    struct lease_ask ask = {.op = LEASE_BREAK, .whose = b};
    lease_calls_ask(ls->calls, &ask, name);
    lease_calls_flush(ls->calls);
}

void leases_stop(struct leases *ls, void (*done)(void *arg), void *arg)
{
    struct lease *le;
    ls->stopping = true;
    ls->stopped = done;
    ls->stopped_arg = arg;
    event_del(ls->tick);
    DL_FOREACH (ls->leases, le) {
        no_retry(le);
        set_due(le);
    }
    flush(ls);
    end_stop(ls);
}

/* ---- what others ask ---- */

void lease_redis_key(const struct leases *ls, const struct lock *l, struct buf *key)
{
    struct lock_name name = name_of(l);
    lease_key(ls->config, "lock", &name, key);
}

int64_t lease_fence(const struct lock *l)
{
    const struct lease *le = l->lease;
    return le != NULL && le->have != LOCK_NONE ? le->fence : 0;
}

int64_t lease_left(const struct lock *l)
{
    const struct lease *le = l->lease;
    return le != NULL && le->have != LOCK_NONE ? le->until - lock_now() : 0;
}

const char *lease_elsewhere_at(const struct lock *l, size_t i)
{
    const struct lease *le = l->lease;
    return le != NULL && i < le->nelsewhere ? le->elsewhere[i] : NULL;
}

const char *lease_elsewhere(const struct lock *l)
{
    const char *id = lease_elsewhere_at(l, 0);
    return id != NULL ? id : "";
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
                          struct upstream *up, struct bus *bus, struct locks *locks,
                          const struct leases_callbacks *cb, void *arg)
{
    struct leases *ls = alloc_zeroed(1, sizeof(*ls));
    ls->config = config;
    snprintf(ls->id, sizeof(ls->id), "%s", id);
    ls->up = up;
    ls->bus = bus;
    ls->locks = locks;
    ls->cb = *cb;
    ls->arg = arg;
    ls->base = base;
    ls->calls = lease_calls_new(config, ls->id, up, on_answer, ls);
    ls->flush = evtimer_new(base, on_flush, ls);
    ls->tick = evtimer_new(base, on_tick, ls);
    ls->away = evtimer_new(base, on_away, ls);
    ls->report = evtimer_new(base, on_report, ls);
    if (ls->flush == NULL || ls->tick == NULL || ls->away == NULL || ls->report == NULL)
        abort();
    ls->logged = lock_now() - LOG_MS;
    arm(ls->away, config->queue_time); /* Redis may not be there from the beginning */
    return ls;
}

void leases_free(struct leases *ls)
{
    if (ls == NULL)
        return;
    lease_calls_free(ls->calls);
    while (ls->leases != NULL)
        lease_free(ls->leases);
    event_free(ls->flush);
    event_free(ls->tick);
    event_free(ls->away);
    event_free(ls->report);
    free(ls);
}
