/* lease_news: what this daemon hears of leases (lease.h): answers to what it asked of Redis, and
 * messages of other daemons; a timer where neither may come. What is heard changes what is known of
 * the lease and marks it as due; lease.c does the rest. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/leases/lease_inside.h"
#include "daemon/locks/lock_text.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <event2/util.h>
#include <string.h>

#define BREAK_AGAIN_MS 20
#define LOOKS 4            /* in the length of a lease, of who waits for it */
#define RETRY_SLACK_MS 5   /* after a lease must have run out */
#define RETRY_JITTER_MS 8  /* several daemons wait for the same moment */
#define DEAF_RETRY_MS 1000 /* nobody can tell us that it is free */
/* Messages come from whoever may PUBLISH, so what one costs is bounded: */
#define FALSE_PAUSE_MAX_MS 256 /* after those that were not true, */
#define UNASKED_MAX 100        /* and offers that are given back in a second; the others run out */

/* ---- who has it ---- */

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

/* ---- another host waits ---- */

static void set_wanted(struct lease *le, enum lock_mode mode)
{
    le->wanted = mode;
    if (le->have == LOCK_NONE)
        return;
    if (mode == LOCK_NONE) {
        if (le->lock->demand != LOCK_UNWANTED)
            lock_unwanted(le->lock);
    } else if (lease_can_share(le)) {
        lease_set_due(le);
    } else {
        lock_wanted(le->lock);
    }
}

/* ---- no news ---- */

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct lease *le = arg;
    (void)fd;
    (void)what;
    le->queued = LOCK_NONE;
    if (le->wished != LOCK_NONE)
        set_wanted(le, le->wished);
    le->wished = LOCK_NONE;
    lease_set_due(le);
}

static void make_retry(struct lease *le)
{
    if (le->retry == NULL)
        le->retry = evtimer_new(le->all->base, on_retry, le);
}

/* Who waits asks again within the length of a lease after Redis has last put it off. */
static void retry_in(struct lease *le, int64_t ms)
{
    uint8_t jitter;
    int64_t now = clock_boot_ms();
    if (ms > le->retry_latest - now)
        ms = le->retry_latest - now;
    evutil_secure_rng_get_bytes(&jitter, sizeof(jitter));
    make_retry(le);
    if (!bus_listening(le->all->bus, lease_slot_link(le->slot)) && ms > DEAF_RETRY_MS)
        ms = DEAF_RETRY_MS;
    le->retry_at = now + ms;
    arm(le->retry, ms + RETRY_SLACK_MS + jitter % RETRY_JITTER_MS);
}

/* The first time nothing, then twice as long each time. */
static int64_t false_pause(unsigned times)
{
    return times < 2 ? 0 : times > 9 ? FALSE_PAUSE_MAX_MS : 1 << (times - 2);
}

/* It may be had: asks at once, or soon where that was not true lately. */
static void ask_again(struct lease *le)
{
    int64_t pause = false_pause(le->false_offers), now = clock_boot_ms();
    le->offered = true;
    if (pause == 0)
        le->queued = LOCK_NONE;
    else if (le->retry_at > now + pause)
        retry_in(le, pause);
    lease_set_due(le);
}

void lease_no_retry(struct lease *le)
{
    le->wished = LOCK_NONE;
    if (le->retry != NULL)
        event_del(le->retry);
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
    le->upkeep = LEASE_GOOD;
    le->fence_renewed = first - 1;
    lease_no_retry(le);
    if (mode == LOCK_EXCLUSIVE)
        forget_elsewhere(le);
    lease_calls_floor(ls->calls, first);
    if (ls->cb.taken != NULL)
        ls->cb.taken(ls->arg, le->lock);
    lock_cover(le->lock, mode, first);
}

static void on_held(struct lease *le, const struct lease_request *request,
                    const struct lease_answer *a)
{
    le->in_redis = true;
    if (request->have != LOCK_NONE && request->op != LEASE_DROP && le->have == LOCK_NONE)
        return; /* it has ended meanwhile: decide() gives it back, or takes one of a new fence */
    le->offered = false;
    le->false_offers = 0;
    if (le->gave_way && a->wanted == LOCK_NONE)
        le->wishes_from = clock_boot_ms() + false_pause(++le->false_wishes);
    if (request->op != LEASE_SHARE) {
        /* Without a first fence it says that we go on having it: not if it has ended meanwhile. */
        bool goes_on = le->have != LOCK_NONE;
        if ((!goes_on && a->first <= 0) || !lease_extend(le, request))
            return;
        le->fence = a->fence;
        le->expiry = a->expiry;
        if (a->first > 0)
            cover(le, a->mode, a->first);
    }
    answer_wanted(le, a->wanted);
}

static void on_queued(struct lease *le, const struct lease_request *request,
                      const struct lease_answer *a)
{
    le->in_redis = le->have != LOCK_NONE;
    le->in_queue = request->op != LEASE_TRY;
    forget_elsewhere(le);
    for (size_t i = 0; i < a->nids; i++)
        add_elsewhere(le, a->ids[i], strlen(a->ids[i]));
    le->false_wishes = 0;
    le->false_offers += le->offered;
    le->offered = false;
    if (request->op != LEASE_TRY) {
        le->queued = request->mode;
        le->retry_latest = clock_boot_ms() + le->all->config->lock_lease;
        /* Redis' clock may be set back: from the next look at it on the lease counts for no longer
         * than its length. */
        int64_t look = (int64_t)le->all->config->lock_lease / LOOKS;
        retry_in(le, a->ms < look ? a->ms : look);
        if (le->heard)
            ask_again(le);
    }
    const char *where = lease_where(le->lock);
    lock_elsewhere(le->lock, where != NULL ? where : "another host");
}

static void on_error(struct lease *le, const struct lease_request *request, const char *why)
{
    struct fault f;
    if (request->op == LEASE_KEEP || request->op == LEASE_SHARE) {
        log_debug("a lease was not renewed: %s", why);
        return; /* it counts until it ends; it is tried again before */
    }
    if (request->op == LEASE_DROP || request->op == LEASE_LEAVE) {
        le->in_redis = le->have != LOCK_NONE; /* it runs out by itself */
        le->in_queue = false;
        return;
    }
    fault_set(&f, FAULT_UNAVAILABLE, "Redis would not give the lock: %s", why);
    le->queued = LOCK_NONE;
    lease_refuse_waits(le, false, &f);
}

static void on_lease(struct lease *le, const struct lease_request *request,
                     const struct lease_answer *a)
{
    if (a->kind == LEASE_UNKNOWN || a->kind == LEASE_UNDONE)
        lease_slot_unanswered(le->slot);
    else
        lease_slot_answered(le->slot);
    switch (a->kind) {
    case LEASE_UNDONE:
    case LEASE_UNKNOWN: /* all is asked anew when it can be */
        le->queued = LOCK_NONE;
        lease_renew(le);
        break;
    case LEASE_HELD: on_held(le, request, a); break;
    case LEASE_QUEUED: on_queued(le, request, a); break;
    case LEASE_LOST:
        le->in_redis = false;
        lease_lose_taken(le, a->nids > 0 ? a->ids[0] : "");
        break;
    case LEASE_FREE:
        le->in_redis = le->have != LOCK_NONE;
        le->in_queue = false;
        le->queued = LOCK_NONE;
        break;
    case LEASE_BROKE:
    case LEASE_ERROR: on_error(le, request, a->text); break;
    }
    le->op = LEASE_NOTHING;
    lease_set_due(le);
}

/* Asked for again while its slot is on the move, but not when a link was lost: who has the lock by
 * then may be another one. */
struct breaking {
    struct breaking *prev, *next;
    struct leases *all;
    lease_broken_fn *done;
    void *arg;
    uint16_t slot;
    int64_t until;      /* it is asked for again */
    struct event *wait; /* pending: until it is asked for */
    size_t key_len, path_len, action_len;
    char text[];
};

static void end_break(struct breaking *b, int64_t count, const struct fault *f)
{
    DL_DELETE(b->all->breaks, b);
    b->done(b->arg, count, f);
    event_free(b->wait);
    free(b);
}

static struct upstream *link_of(const struct breaking *b)
{
    return router_link(b->all->router, b->slot);
}

static void ask_break(struct breaking *b)
{
    struct leases *ls = b->all;
    struct lease_request request = {.op = LEASE_BREAK, .whose = b};
    struct lock_name name = {.key = b->text,
                             .key_len = b->key_len,
                             .path = b->text + b->key_len,
                             .path_len = b->path_len,
                             .action = b->text + b->key_len + b->path_len,
                             .action_len = b->action_len};
    struct fault f;
    if (!router_ready(ls->router, link_of(b))) {
        fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(link_of(b)));
        end_break(b, 0, &f);
        return;
    }
    lease_calls_request(ls->calls, b->slot, &request, &name);
    lease_calls_flush(ls->calls);
}

static void answer_break(struct breaking *b, const struct lease_answer *a)
{
    struct fault f;
    if (a->kind == LEASE_UNDONE && clock_boot_ms() < b->until && !b->all->stopping) {
        arm(b->wait, BREAK_AGAIN_MS);
    } else if (a->kind == LEASE_BROKE) {
        end_break(b, a->count, NULL);
    } else {
        if (a->kind == LEASE_UNKNOWN)
            fault_set(&f, FAULT_UNAVAILABLE, "the link to Redis was lost; the lock may be broken");
        else if (a->kind == LEASE_UNDONE)
            fault_set(&f, FAULT_UNAVAILABLE, "%s", router_why(b->all->router, b->slot));
        else
            fault_set(&f, FAULT_UNAVAILABLE, "Redis would not break the lock: %s", a->text);
        end_break(b, 0, &f);
    }
}

void leases_end_breaks(struct leases *ls)
{
    static const struct lease_answer undone = {.kind = LEASE_UNDONE};
    struct breaking *b, *next;
    DL_FOREACH_SAFE (ls->breaks, b, next) {
        if (event_pending(b->wait, EV_TIMEOUT, NULL))
            answer_break(b, &undone);
    }
}

static void on_break_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ask_break(arg);
}

void leases_break(struct leases *ls, const struct lock_name *name, lease_broken_fn *done, void *arg)
{
    size_t len = name->key_len + name->path_len + name->action_len;
    struct breaking *b = alloc_zeroed(1, sizeof(*b) + len);
    b->all = ls;
    b->done = done;
    b->arg = arg;
    b->slot = lease_slot_number(ls, name);
    b->until = clock_boot_ms() + ls->config->queue_time;
    b->wait = evtimer_new(ls->base, on_break_time, b);
    b->key_len = name->key_len;
    b->path_len = name->path_len;
    b->action_len = name->action_len;
    char *at = mempcpy(b->text, name->key, name->key_len);
    at = mempcpy(at, name->path, name->path_len);
    memcpy(at, name->action, name->action_len);
    DL_APPEND(ls->breaks, b);
    ask_break(b);
}

void leases_answer(void *arg, const struct lease_request *request, const struct lease_answer *a)
{
    struct leases *ls = arg;
    if (request->op == LEASE_BREAK)
        answer_break(request->whose, a);
    else if (request->whose != NULL)
        on_lease(request->whose, request, a);
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

/* One more that nobody here has asked for. */
static bool may_give_back(struct leases *ls)
{
    int64_t second = clock_boot_ms() / 1000;
    if (second != ls->second)
        ls->unasked = 0;
    ls->second = second;
    return ls->unasked < UNASKED_MAX && ++ls->unasked;
}

/* An offer. It counts only once it was taken: asking for it again does that. */
static void on_granted(struct leases *ls, struct message *m)
{
    struct lease *le = find(ls, &m->name);
    if (le != NULL && le->op != LEASE_NOTHING) {
        le->heard = le->in_redis = true;
    } else if (le != NULL && le->queued != LOCK_NONE) {
        le->in_redis = true;
        ask_again(le);
    } else if (le != NULL && le->have == LOCK_NONE && may_give_back(ls)) {
        le->in_redis = true;
        lease_set_due(le);
    } else if (le == NULL && may_give_back(ls)) {
        struct lease_request request = {.op = LEASE_DROP}; /* nobody here wants it any more */
        lease_calls_request(ls->calls, lease_slot_number(ls, &m->name), &request, &m->name);
        lease_calls_flush(ls->calls);
    }
}

static void on_wanted(struct leases *ls, struct message *m)
{
    struct lease *le = find(ls, &m->name);
    const char *mode;
    size_t len;
    int64_t now = clock_boot_ms();
    if (le == NULL || cursor_str(&m->rest, &mode, &len) < 0 || len != 1)
        return;
    le->heard = true;
    if (now >= le->wishes_from) {
        set_wanted(le, lease_mode(mode));
    } else if (le->have != LOCK_NONE && le->wished == LOCK_NONE && le->queued == LOCK_NONE) {
        le->wished = lease_mode(mode);
        make_retry(le);
        arm(le->retry, le->wishes_from - now);
    }
}

static void on_removed(struct leases *ls, struct message *m, const char *how)
{
    struct lease *le = find(ls, &m->name);
    struct fault f;
    int64_t fence;
    if (le == NULL || le->have == LOCK_NONE || cursor_int(&m->rest, &fence) < 0 ||
        fence != le->fence)
        return;
    le->in_redis = false;
    fault_set(&f, FAULT_LOCK_LOST, "%s %s", LOCK_TEXT(le->lock), how);
    lease_lose(le, &f);
    leases_log_lost(ls);
}

static void on_broken(struct leases *ls, struct message *m)
{
    on_removed(ls, m, "was broken by lock.break on another host");
}

static void on_over(struct leases *ls, struct message *m)
{
    on_removed(ls, m, "is another host's now: its lease here ran out by the clock of Redis");
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
    if (!le->offered) /* else it asks soon */
        retry_in(le, ms);
}

bool leases_message(struct leases *ls, const void *payload, size_t len)
{
    static const struct {
        const char *what;
        void (*fn)(struct leases *ls, struct message *m);
    } table[] = {{"granted", on_granted},
                 {"wanted", on_wanted},
                 {"broken", on_broken},
                 {"over", on_over},
                 {"moved", on_moved}};
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
