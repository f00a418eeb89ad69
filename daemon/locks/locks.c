/* locks: see locks.h.
 *
 *   locks by name ──► holds, waits in order        tokens ──► hold
 *                       │       │                  own: (lock, owner) ──► hold, for taking it again
 *   clients by number ──► owners by name ──► holds, lost holds, waits, and waits that are over
 *
 * Each change is complete when its function returns: whatever can be granted is granted. What
 * somebody has to be told of it is put on a list, and told from the loop (lock_notify.c):
 *
 *   reports: lost holds    over: waits    noticed: locks where lease is to look
 *
 * So no callback runs while a list is walked here, and none is nested in another. All that is
 * done for one request takes no longer when there are many locks, owners or waits; but for the
 * search for a cycle, which follows those who wait.
 */
#include "daemon/base/clock.h"
#include "daemon/locks/deadlock.h"
#include "daemon/locks/lock_text.h"
#include "daemon/locks/locks_inside.h"
#include "protocol/alloc.h"
#include <assert.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

/* The key of `own` is these two together. */
#define OWN_LEN (2 * sizeof(void *))
_Static_assert(offsetof(struct hold, owner) == offsetof(struct hold, lock) + sizeof(void *),
               "lock and owner are one key");

/* ---- locks ---- */

static struct buf *name_join(struct locks *t, const struct lock_name *n)
{
    struct buf *b = &t->name;
    buf_clear(b);
    if (n->key_len > 0)
        buf_append(b, n->key, n->key_len);
    buf_append(b, "", 1);
    if (n->path_len > 0)
        buf_append(b, n->path, n->path_len);
    buf_append(b, "", 1);
    if (n->action_len > 0)
        buf_append(b, n->action, n->action_len);
    buf_append(b, "", 1);
    return b;
}

struct lock *locks_find(struct locks *t, const struct lock_name *name)
{
    const struct buf *b = name_join(t, name);
    struct lock *l;
    HASH_FIND(hh, t->locks, b->data, b->len, l);
    return l;
}

struct lock *lock_new(struct locks *t, const struct lock_name *name)
{
    const struct buf *b = name_join(t, name);
    struct lock *l = alloc_zeroed(1, sizeof(*l) + b->len);
    l->table = t;
    l->key_len = (uint32_t)name->key_len;
    l->path_len = (uint32_t)name->path_len;
    l->action_len = (uint32_t)name->action_len;
    memcpy(l->name, b->data, b->len);
    HASH_ADD(hh, t->locks, name, b->len, l);
    return l;
}

bool lock_free(struct lock *l)
{
    if (l->holds != NULL || l->waits != NULL || l->pins > 0)
        return false;
    lock_denotify(l);
    HASH_DELETE(hh, l->table->locks, l);
    free(l);
    return true;
}

struct lock *locks_first(struct locks *t)
{
    return t->locks;
}

size_t locks_count(const struct locks *t)
{
    return HASH_COUNT(t->locks);
}

void lock_pin(struct lock *l)
{
    l->pins++;
}

void lock_unpin(struct lock *l)
{
    assert(l->pins > 0);
    if (--l->pins == 0)
        lock_notify(l, NOTICE_EASED);
}

/* The only one that writes it. */
static void set_demand(struct lock *l, enum lock_demand to)
{
    assert(to != LOCK_CLOSING || l->demand != LOCK_UNWANTED);
    if (to == LOCK_UNWANTED)
        l->turns = 0;
    l->demand = to;
}

static bool lease_over(const struct lock *l, int64_t now)
{
    return l->until != 0 && now >= l->until;
}

static bool may_grant(const struct lock *l, enum lock_mode mode, int64_t now)
{
    return !lock_closing(l) && covered(l, mode) && !lease_over(l, now) &&
           (l->holds == NULL || (mode == LOCK_SHARED && l->holds->mode == LOCK_SHARED));
}

/* ---- holds ---- */

/* Never sooner than in ms; the loop's clock may be behind, and stands still while the machine is
 * suspended: whoever gets the event looks at clock_boot_ms(). */
void lock_timer_set(struct event *timer, int64_t ms)
{
    if (ms < 1)
        ms = 1;
    event_add(timer,
              &(struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000});
}

/* Its ttl as of now; the timer may come too early, but not too late. */
static void hold_until(struct hold *h, int64_t deadline, int64_t ttl)
{
    bool earlier = deadline < h->deadline;
    h->deadline = deadline;
    h->ttl = ttl;
    if (earlier)
        lock_timer_set(&h->timer, deadline - clock_boot_ms());
}

void hold_put(struct hold *h, int64_t ms)
{
    struct lock *l = h->lock;
    struct locks *t = l->table;
    event_assign(&h->timer, t->base, -1, 0, hold_timer, h);
    lock_timer_set(&h->timer, ms);
    DL_APPEND(l->holds, h);
    l->nholds++;
    DL_APPEND2(h->owner->holds, h, prev_of_owner, next_of_owner);
    h->owner->client->nlocks++;
    HASH_ADD(hh, t->tokens, token, sizeof(h->token), h);
    HASH_ADD(hh_own, t->own, lock, OWN_LEN, h);
}

static struct hold *hold_new(struct lock *l, struct lock_owner *o, enum lock_mode mode, int64_t ttl,
                             int64_t now)
{
    struct locks *t = l->table;
    struct hold *h = alloc_bytes(sizeof(*h));
    memset(h, 0, offsetof(struct hold, why)); /* which is long, and seldom needed */
    h->lock = l;
    h->owner = o;
    h->mode = mode;
    h->token = ++t->last_token;
    h->fence = ++l->fence;
    h->depth = 1;
    h->since = now;
    h->ttl = ttl;
    h->deadline = now + ttl;
    hold_put(h, ttl);
    if (l->demand == LOCK_WANTED && ++l->turns >= t->limits->turns)
        set_demand(l, LOCK_CLOSING);
    return h;
}

static struct hold *hold_of(const struct lock *l, const struct lock_owner *o)
{
    const void *key[2] = {l, o};
    struct hold *h;
    HASH_FIND(hh_own, l->table->own, key, OWN_LEN, h);
    return h;
}

/* One time more. */
static void hold_again(struct hold *h, int64_t ttl, int64_t now)
{
    h->depth++;
    if (now + ttl > h->deadline)
        hold_until(h, now + ttl, ttl);
}

/* Takes it out of its lock; the queue is not looked at. */
static void hold_leave(struct hold *h)
{
    struct lock *l = h->lock;
    HASH_DELETE(hh_own, l->table->own, h);
    DL_DELETE(l->holds, h);
    DL_DELETE2(h->owner->holds, h, prev_of_owner, next_of_owner);
    event_del(&h->timer);
    h->lock = NULL;
    if (--l->nholds == 0)
        lock_notify(l, NOTICE_EASED);
}

static void look_at_queue(struct lock *l);

/* The end of a hold, lost or not. */
static void hold_free(struct hold *h)
{
    struct lock_owner *o = h->owner;
    struct locks *t = o->client->table;
    struct lock *l = h->lock;
    if (l != NULL)
        hold_leave(h);
    else
        DL_DELETE2(o->lost, h, prev_of_owner, next_of_owner);
    if (h->state == HOLD_REPORTS)
        hold_denotify(h);
    HASH_DELETE(hh, t->tokens, h);
    o->client->nlocks--;
    free((char *)h->name.key);
    free(h);
    lock_owner_settle(o);
    if (l != NULL)
        look_at_queue(l);
}

void hold_set_state(struct hold *h, enum hold_state to)
{
    assert(to == h->state + 1);
    if (to == HOLD_LOST) {
        hold_leave(h);
        DL_APPEND2(h->owner->lost, h, prev_of_owner, next_of_owner);
    } else if (to == HOLD_REPORTS) {
        assert(h->unannounced == 0);
        hold_notify(h);
    } else {
        hold_denotify(h);
    }
    h->state = to;
}

/* The queue is not looked at. */
static void hold_lose(struct hold *h, const struct fault *why)
{
    const struct lock *l = h->lock;
    size_t len = (size_t)l->key_len + l->path_len + l->action_len + 3;
    char *name = alloc_bytes(len);
    memcpy(name, l->name, len);
    h->name = (struct lock_name){.key = name,
                                 .path = name + l->key_len + 1,
                                 .action = name + l->key_len + l->path_len + 2,
                                 .key_len = l->key_len,
                                 .path_len = l->path_len,
                                 .action_len = l->action_len};
    h->why = *why;
    hold_set_state(h, HOLD_LOST);
    if (h->unannounced == 0)
        hold_set_state(h, HOLD_REPORTS);
}

/* Loses it when its time is over. */
static bool hold_over(struct hold *h, int64_t now)
{
    struct lock *l = h->lock;
    struct fault why;
    if (now >= h->deadline)
        fault_set(&why, FAULT_LOCK_LOST,
                  "%s was held for longer than its ttl of %s; it should be renewed in time, or "
                  "taken with a longer ttl",
                  LOCK_TEXT(l), LOCK_SPAN_TEXT(h->ttl));
    else if (lease_over(l, now))
        fault_set(&why, FAULT_LOCK_LOST,
                  "%s: its lease in Redis ran out before it could be renewed", LOCK_TEXT(l));
    else
        return false;
    hold_lose(h, &why);
    look_at_queue(l);
    return true;
}

void hold_timer(evutil_socket_t fd, short what, void *arg)
{
    struct hold *h = arg;
    int64_t now = clock_boot_ms();
    (void)fd;
    (void)what;
    if (!hold_over(h, now))
        lock_timer_set(&h->timer, h->deadline - now);
}

struct hold *locks_hold(struct locks *t, uint64_t client, uint64_t token)
{
    struct hold *h;
    HASH_FIND(hh, t->tokens, &token, sizeof(token), h);
    if (h == NULL || h == t->nobodys || lock_who(h->owner)->client != client ||
        h->unannounced == h->depth)
        return NULL;
    return h;
}

int hold_check(struct hold *h, struct fault *f)
{
    if (!hold_lost(h) && !hold_over(h, clock_boot_ms()))
        return 0;
    *f = h->why;
    return -1;
}

bool hold_release(struct hold *h)
{
    if (h->depth == h->unannounced)
        return false; /* nobody can know the token yet */
    h->depth = hold_lost(h) ? h->unannounced : h->depth - 1;
    if (h->depth > 0)
        return false;
    hold_free(h);
    return true;
}

void hold_renew(struct hold *h, int64_t ttl)
{
    if (!hold_lost(h))
        hold_until(h, clock_boot_ms() + ttl, ttl);
}

static void lose_all(struct lock *l, const struct fault *why)
{
    while (l->holds != NULL)
        hold_lose(l->holds, why);
}

unsigned lock_break(struct lock *l, const struct fault *why)
{
    unsigned n = l->nholds;
    lose_all(l, why);
    look_at_queue(l);
    return n;
}

/* ---- waits ---- */

void wait_elsewhere(struct wait *w)
{
    struct locks *t = w->lock->table;
    if (w->elsewhere || covered(w->lock, w->mode))
        return;
    w->elsewhere = true;
    t->cb.waiting(t->arg, w);
}

/* Takes it out of the queue, of its owner's waits too; the queue is not looked at. */
static void wait_leave(struct wait *w)
{
    struct lock *l = w->lock;
    struct locks *t = l->table;
    if (w->elsewhere)
        t->cb.ended(t->arg, w);
    DL_DELETE(l->waits, w);
    l->nexclusive -= w->mode == LOCK_EXCLUSIVE;
    if (--l->nwaits == 0)
        lock_notify(l, NOTICE_EASED);
    DL_DELETE2(w->owner->waits, w, prev_of_owner, next_of_owner);
    w->owner->client->nlocks--;
    w->lock = NULL;
    if (w->timer != NULL)
        event_free(w->timer);
    w->timer = NULL;
}

/* It is over, and done will be told so. The queue is not looked at. */
static void wait_over(struct wait *w, struct hold *h, const struct fault *why)
{
    wait_leave(w);
    w->hold = h;
    if (h != NULL)
        h->unannounced++;
    else
        *(w->why = alloc_bytes(sizeof(*why))) = *why;
    wait_notify(w);
}

/* What else this owner asked for of the same lock is answered as if it had asked now. */
static void grant_again(struct hold *h, int64_t now)
{
    struct wait *w, *next;
    struct fault f;
    for (w = h->owner->waits; w != NULL; w = next) {
        next = w->next_of_owner;
        if (w->lock != h->lock)
            continue;
        if (h->mode >= w->mode) {
            hold_again(h, w->ttl, now);
            wait_over(w, h, NULL);
        } else {
            lock_upgrade(&f, h->lock);
            wait_over(w, NULL, &f);
        }
    }
}

/* Grants what may be granted; called whenever the first of the queue or what it waits for has
 * changed. */
static void advance(struct lock *l)
{
    int64_t now = l->waits != NULL ? clock_boot_ms() : 0;
    while (l->waits != NULL && may_grant(l, l->waits->mode, now)) {
        struct wait *w = l->waits;
        struct hold *h = hold_new(l, w->owner, w->mode, w->ttl, now);
        wait_over(w, h, NULL);
        grant_again(h, now);
    }
    if (l->demand == LOCK_WANTED && l->waits == NULL)
        set_demand(l, LOCK_CLOSING);
    if (l->waits != NULL && !lock_closing(l) && !covered(l, l->waits->mode))
        lock_notify(l, NOTICE_WANT);
}

static void look_at_queue(struct lock *l)
{
    if (l->table->leaving)
        lock_notify(l, NOTICE_QUEUE);
    else
        advance(l);
}

void lock_refuse(struct wait *w, const struct fault *f)
{
    struct lock *l = w->lock;
    if (l == NULL)
        return;
    bool first = w == l->waits;
    wait_over(w, NULL, f);
    if (first)
        advance(l);
}

void lock_cancel(struct wait *w)
{
    struct lock *l = w->lock;
    struct lock_owner *o = w->owner;
    struct hold *h = w->hold;
    if (l != NULL) {
        bool first = w == l->waits;
        wait_leave(w);
        free(w);
        lock_owner_settle(o);
        if (first)
            look_at_queue(l);
        return;
    }
    free(w->why);
    wait_free(o->client->table, w);
    if (h == NULL)
        return;
    hold_announced(h);
    if (--h->depth == 0)
        hold_free(h);
}

static const char *where(const struct lock *l)
{
    const struct locks *t = l->table;
    return t->cb.where != NULL ? t->cb.where(t->arg, l) : NULL;
}

static const char *away(const struct lock *l)
{
    const struct locks *t = l->table;
    return t->cb.away != NULL ? t->cb.away(t->arg, l) : NULL;
}

/* Those before it in the queue. */
static unsigned place(const struct wait *w)
{
    unsigned n = 0;
    for (const struct wait *first = w->lock->waits; w != first && n < LOCK_COUNTED; w = w->prev)
        n++;
    return n;
}

void wait_timer(evutil_socket_t fd, short what, void *arg)
{
    struct wait *w = arg;
    struct fault f;
    int64_t now = clock_boot_ms();
    (void)fd;
    (void)what;
    if (now < w->deadline) {
        lock_timer_set(w->timer, w->deadline - now);
        return;
    }
    lock_timeout(&f, w->lock, w->deadline - w->since, place(w), where(w->lock), away(w->lock));
    lock_refuse(w, &f);
}

void wait_put(struct wait *w, int64_t ms)
{
    struct lock *l = w->lock;
    if (w->deadline != 0) {
        w->timer = event_new(l->table->base, -1, 0, wait_timer, w);
        lock_timer_set(w->timer, ms);
    }
    DL_APPEND(l->waits, w);
    l->nwaits++;
    l->nexclusive += w->mode == LOCK_EXCLUSIVE;
    DL_APPEND2(w->owner->waits, w, prev_of_owner, next_of_owner);
    w->owner->client->nlocks++;
    if (w == l->waits)
        lock_notify(l, NOTICE_WANT);
}

static struct wait *wait_new(struct lock *l, struct lock_owner *o, enum lock_mode mode,
                             int64_t wait, int64_t ttl, int64_t now)
{
    struct wait *w = alloc_zeroed(1, sizeof(*w));
    w->lock = l;
    w->owner = o;
    w->mode = mode;
    w->since = now;
    w->ttl = ttl;
    w->try = wait == 0;
    w->number = ++l->table->last_wait;
    w->deadline = wait > 0 ? now + wait : 0;
    wait_put(w, wait);
    return w;
}

/* ---- acquire ---- */

/* Somebody of this host is in the way of one who does not want to wait, or the next turn is
 * another host's. */
static bool in_the_way(const struct lock *l, enum lock_mode mode)
{
    if (lock_closing(l))
        return true;
    if (mode == LOCK_EXCLUSIVE)
        return l->holds != NULL || l->waits != NULL;
    return l->nexclusive > 0 || (l->holds != NULL && l->holds->mode == LOCK_EXCLUSIVE);
}

static enum lock_answer refused(struct lock_owner *o)
{
    lock_owner_settle(o);
    return LOCK_REFUSED;
}

enum lock_answer locks_acquire(struct locks *t, struct lock_owner *o, const struct lock_name *name,
                               enum lock_mode mode, int64_t wait, int64_t ttl, lock_done_fn *done,
                               void *arg, struct hold **h, struct wait **w, struct fault *f)
{
    int64_t now = clock_boot_ms();
    struct lock *l = locks_find(t, name);
    struct hold *held = l != NULL && l->holds != NULL ? hold_of(l, o) : NULL;

    if (held != NULL && !hold_over(held, now)) {
        if (held->mode < mode) {
            lock_upgrade(f, l);
            return LOCK_REFUSED;
        }
        hold_again(held, ttl, now);
        *h = held;
        return LOCK_GRANTED;
    }
    if (o->client->nlocks >= t->limits->per_client) {
        fault_set(f, FAULT_BUSY,
                  "this connection holds and waits for %u locks, and may not have more "
                  "(locks.client_locks)",
                  o->client->nlocks);
        return refused(o);
    }
    if (l == NULL)
        l = lock_new(t, name);
    if (l->waits == NULL && may_grant(l, mode, now)) {
        *h = hold_new(l, o, mode, ttl, now);
        return LOCK_GRANTED;
    }
    if (wait == 0 && in_the_way(l, mode)) {
        lock_timeout(f, l, 0, l->nwaits < LOCK_COUNTED ? l->nwaits : LOCK_COUNTED, where(l),
                     away(l));
        return refused(o);
    }
    if (o->holds != NULL && deadlock_search(o, l, ++t->last_search, f) < 0)
        return LOCK_REFUSED;
    *w = wait_new(l, o, mode, wait, ttl, now);
    (*w)->done = done;
    (*w)->arg = arg;
    wait_elsewhere(*w);
    return LOCK_WAITS;
}

/* ---- what lease says ---- */

/* The lease covers less than before. */
static void all_elsewhere(struct lock *l)
{
    for (struct wait *w = l->waits; w != NULL; w = w->next)
        wait_elsewhere(w);
}

void lock_cover(struct lock *l, enum lock_mode covers, int64_t fence)
{
    bool less = (uint8_t)covers < l->covers;
    l->covers = (uint8_t)covers;
    set_demand(l, LOCK_UNWANTED);
    if (l->fence < fence - 1)
        l->fence = fence - 1;
    if (less)
        all_elsewhere(l);
    advance(l);
    lock_notify(l, NOTICE_EASED);
}

void lock_uncover(struct lock *l, const struct fault *why)
{
    l->covers = LOCK_NONE;
    l->until = 0;
    set_demand(l, LOCK_UNWANTED);
    lose_all(l, why);
    all_elsewhere(l);
    lock_notify(l, NOTICE_EASED);
}

void lock_wanted(struct lock *l)
{
    if (l->demand == LOCK_UNWANTED)
        set_demand(l, LOCK_WANTED);
    if (l->waits == NULL)
        set_demand(l, LOCK_CLOSING);
    lock_notify(l, NOTICE_EASED);
}

void lock_unwanted(struct lock *l)
{
    set_demand(l, LOCK_UNWANTED);
    advance(l);
}

void lock_advance(struct lock *l)
{
    advance(l);
}

void lock_elsewhere(struct lock *l, const char *who)
{
    struct wait *w, *next;
    struct fault f;
    for (w = l->waits; w != NULL; w = next) {
        next = w->next; /* nothing is granted in between */
        if (!w->try)
            continue;
        fault_set(&f, FAULT_LOCK_TIMEOUT, "%s was not free: %s has it", LOCK_TEXT(l), who);
        wait_over(w, NULL, &f);
    }
    advance(l);
}

uint64_t locks_new_search(struct locks *t)
{
    return ++t->last_search;
}

bool lock_owner_first_seen(struct lock_owner *o, uint64_t search)
{
    bool first = o->search != search;
    o->search = search;
    return first;
}

/* ---- the table ---- */

struct locks *locks_new(struct event_base *base, const struct locks_limits *limits,
                        const struct locks_callbacks *cb, void *arg)
{
    struct locks *t = alloc_zeroed(1, sizeof(*t));
    t->base = base;
    t->limits = limits;
    t->cb = *cb;
    t->arg = arg;
    t->notify = event_new(base, -1, 0, locks_notify, t);
    t->nobodys = alloc_zeroed(1, sizeof(*t->nobodys));
    HASH_ADD(hh, t->tokens, token, sizeof(t->nobodys->token), t->nobodys);
    HASH_ADD(hh_own, t->own, lock, OWN_LEN, t->nobodys);
    /* None that a daemon before has given; and such that a double can hold them. */
    if (getrandom(&t->last_token, sizeof(t->last_token), 0) != sizeof(t->last_token))
        abort();
    t->last_token = 1ull << 51 | (t->last_token & ((1ull << 51) - 1));
    return t;
}

void locks_client_gone(struct locks *t, uint64_t client)
{
    struct lock_client *c = lock_client_find(t, client);
    struct lock_owner *o, *next;
    struct lock *l;
    if (c == NULL)
        return;
    c->leaving = t->leaving = true; /* no hold goes from one of its owners to the other */
    HASH_ITER (hh, c->owners, o, next) {
        while (o->waits != NULL)
            lock_cancel(o->waits);
        while (o->over != NULL)
            lock_cancel(o->over);
        while (o->holds != NULL)
            hold_free(o->holds);
        while (o->lost != NULL)
            hold_free(o->lost);
        lock_owner_free(o);
    }
    HASH_DELETE(hh, t->clients, c);
    free(c);
    t->leaving = false;
    DL_FOREACH2(t->noticed, l, notice_next)
    {
        if (l->notices & NOTICE_QUEUE) {
            l->notices = NOTICE_WANT | NOTICE_EASED; /* not nothing, as it is in the list */
            advance(l);
        }
    }
}

static void ended_untold(void *arg, struct wait *w)
{
    (void)arg;
    (void)w;
}

void locks_free(struct locks *t)
{
    struct lock_client *c, *next_client;
    struct lock *l, *next_lock;
    t->cb.ended = ended_untold;
    HASH_ITER (hh, t->clients, c, next_client)
        locks_client_gone(t, c->who.client);
    HASH_ITER (hh, t->locks, l, next_lock) {
        l->pins = 0;
        lock_free(l);
    }
    HASH_DELETE(hh, t->tokens, t->nobodys);
    HASH_DELETE(hh_own, t->own, t->nobodys);
    free(t->nobodys);
    event_free(t->notify);
    buf_free(&t->name);
    free(t);
}
