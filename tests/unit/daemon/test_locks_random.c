/* The lock table against a model of it: everything at random, also from within the callbacks.
 *
 * The model is slow and simple. It knows what the header says: who holds and who waits, in order,
 * and which answers are still to be told. After each step the table must look the same. */
#include "daemon/locks/locks.h"
#include "daemon/turn.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCKS 4
#define CLIENTS 3
#define OWNERS 9 /* three of each client */
#define PER_CLIENT 7
#define TURNS 3
#define HOUR 3600000
#define MANY 256

enum stage { QUEUED, OVER, TOLD, DROPPED };

/* A request that had to wait. */
struct request {
    unsigned lock, owner;
    enum lock_mode mode;
    bool try;
    enum stage stage;
    struct wait *wait;    /* until it is told */
    struct grant *grant;  /* when it is over and was granted */
    enum fault_code code; /* when refused */
};

struct grant {
    unsigned lock, owner;
    enum lock_mode mode;
    unsigned depth, untold;
    bool lost, lost_told;
    struct hold *hold;
    uint64_t token;
};

struct place {
    bool there; /* the table has such a lock */
    enum lock_mode covers;
    bool closing, wanted;
    unsigned turns;
    int64_t fence;
    struct request *queue[MANY];
    unsigned nqueue;
    struct grant *grants[MANY];
    unsigned ngrants;
};

static struct event_base *base;
static struct locks *table;
static const struct locks_limits limits = {.per_client = PER_CLIENT, .turns = TURNS};
static struct place places[LOCKS];
static struct request **requests; /* not told and not dropped yet */
static unsigned nrequests, requests_cap;
static struct grant *lost[MANY]; /* not let go of */
static unsigned nlost;
static unsigned nelsewhere; /* waits that `waiting` was said of, and not `ended` */
static unsigned nested;     /* steps made from callbacks */
static bool quiet;          /* no more of them */
static unsigned counts[16]; /* that the test does what it is for */
static uint64_t seed;

static unsigned roll(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % n);
}

static struct lock_name name_of(unsigned i)
{
    static const char *const keys[LOCKS] = {"User:a", "User:b", "User:c", "User:d"};
    return (struct lock_name){.key = keys[i],
                              .key_len = 6,
                              .path = "",
                              .action = i % 2 == 0 ? "edit" : "read",
                              .action_len = 4};
}

static struct lock *lock_at(unsigned i)
{
    struct lock_name name = name_of(i);
    return locks_find(table, &name);
}

static struct lock_owner *owner_at(unsigned i)
{
    static const char *const names[3] = {"", "one", "two"};
    struct lock_who who = {.client = i / 3, .pid = (pid_t)(1 + i / 3), .program = "job"};
    return locks_owner(table, &who, names[i % 3], strlen(names[i % 3]));
}

static unsigned owner_number(const struct lock_owner *o)
{
    unsigned i = o->name_len == 0 ? 0 : o->name[0] == 'o' ? 1 : 2;
    return (unsigned)lock_who(o)->client * 3 + i;
}

/* ---- the model ---- */

static void remove_request(struct place *p, const struct request *r)
{
    for (unsigned i = 0; i < p->nqueue; i++)
        if (p->queue[i] == r) {
            memmove(&p->queue[i], &p->queue[i + 1], (--p->nqueue - i) * sizeof(p->queue[0]));
            return;
        }
    cr_assert_fail("it is not in the queue");
}

static void remove_grant(struct grant **list, unsigned *n, const struct grant *g)
{
    for (unsigned i = 0; i < *n; i++)
        if (list[i] == g) {
            memmove(&list[i], &list[i + 1], (--*n - i) * sizeof(list[0]));
            return;
        }
    cr_assert_fail("it is not in the list");
}

static struct grant *grant_of(const struct place *p, unsigned owner)
{
    for (unsigned i = 0; i < p->ngrants; i++)
        if (p->grants[i]->owner == owner)
            return p->grants[i];
    return NULL;
}

static bool fits(const struct place *p, enum lock_mode mode)
{
    for (unsigned i = 0; i < p->ngrants; i++)
        if (mode == LOCK_EXCLUSIVE || p->grants[i]->mode == LOCK_EXCLUSIVE)
            return false;
    return p->covers >= mode && !p->closing;
}

static struct grant *new_grant(unsigned lock, unsigned owner, enum lock_mode mode)
{
    struct place *p = &places[lock];
    struct grant *g = calloc(1, sizeof(*g));
    *g = (struct grant){.lock = lock, .owner = owner, .mode = mode, .depth = 1};
    p->grants[p->ngrants++] = g;
    if (p->wanted && ++p->turns >= TURNS)
        p->closing = true;
    return g;
}

static void over(struct place *p, struct request *r, struct grant *g, enum fault_code code)
{
    remove_request(p, r);
    r->stage = OVER;
    r->grant = g;
    r->code = code;
    if (g != NULL)
        g->untold++;
}

/* Whatever can be granted is granted. */
static void model_advance(unsigned lock)
{
    struct place *p = &places[lock];
    while (p->nqueue > 0 && fits(p, p->queue[0]->mode)) {
        struct request *r = p->queue[0];
        struct grant *g = new_grant(lock, r->owner, r->mode);
        over(p, r, g, FAULT_NONE);
        for (unsigned i = 0; i < p->nqueue;) {
            struct request *also = p->queue[i];
            if (also->owner != r->owner) {
                i++;
            } else if (also->mode <= g->mode) {
                g->depth++;
                over(p, also, g, FAULT_NONE);
            } else {
                over(p, also, NULL, FAULT_DEADLOCK);
            }
        }
    }
    if (p->wanted && p->nqueue == 0)
        p->closing = true;
}

static unsigned model_count(unsigned client)
{
    unsigned n = 0;
    for (unsigned i = 0; i < LOCKS; i++) {
        for (unsigned k = 0; k < places[i].ngrants; k++)
            n += places[i].grants[k]->owner / 3 == client;
        for (unsigned k = 0; k < places[i].nqueue; k++)
            n += places[i].queue[k]->owner / 3 == client;
    }
    for (unsigned k = 0; k < nlost; k++)
        n += lost[k]->owner / 3 == client;
    return n;
}

static bool model_in_the_way(const struct place *p, enum lock_mode mode)
{
    bool way = p->closing;
    for (unsigned i = 0; i < p->ngrants; i++)
        way = way || mode == LOCK_EXCLUSIVE || p->grants[i]->mode == LOCK_EXCLUSIVE;
    for (unsigned i = 0; i < p->nqueue; i++)
        way = way || mode == LOCK_EXCLUSIVE || p->queue[i]->mode == LOCK_EXCLUSIVE;
    return way;
}

/* Everybody who is waited for, until nobody is added any more. */
static bool model_deadlock(unsigned owner, unsigned lock)
{
    bool waited_for[OWNERS] = {false}, more = true;
    for (unsigned i = 0; i < places[lock].ngrants; i++)
        waited_for[places[lock].grants[i]->owner] = true;
    while (more) {
        more = false;
        for (unsigned i = 0; i < LOCKS; i++)
            for (unsigned q = 0; q < places[i].nqueue; q++)
                for (unsigned g = 0; waited_for[places[i].queue[q]->owner] && g < places[i].ngrants;
                     g++) {
                    unsigned o = places[i].grants[g]->owner;
                    more = more || !waited_for[o];
                    waited_for[o] = true;
                }
    }
    return waited_for[owner];
}

static void model_lose(unsigned lock)
{
    struct place *p = &places[lock];
    for (unsigned i = 0; i < p->ngrants; i++) {
        p->grants[i]->lost = true;
        lost[nlost++] = p->grants[i];
    }
    p->ngrants = 0;
}

static bool leaving; /* a client: nothing is granted until all it had is gone */

static void model_drop(struct grant *g)
{
    if (g->lost)
        remove_grant(lost, &nlost, g);
    else
        remove_grant(places[g->lock].grants, &places[g->lock].ngrants, g);
    if (!g->lost && !leaving)
        model_advance(g->lock);
    free(g);
}

static void forget_request(struct request *r)
{
    for (unsigned i = 0; i < nrequests; i++)
        if (requests[i] == r) {
            requests[i] = requests[--nrequests];
            free(r);
            return;
        }
    cr_assert_fail("no such request");
}

/* ---- comparing ---- */

static void same_holds(const struct lock *l, const struct place *p)
{
    unsigned n = 0, exclusive = 0;
    for (const struct hold *h = l->holds; h != NULL; h = h->next, n++) {
        cr_assert_lt(n, p->ngrants);
        struct grant *g = p->grants[n];
        if (g->hold == NULL) {
            /* Granted since we looked: each grant has a fence of its own. */
            g->hold = (struct hold *)h;
            g->token = h->token;
        }
        cr_assert_eq(g->hold, h);
        cr_assert_eq(owner_number(h->owner), g->owner);
        cr_assert(h->mode == g->mode && h->depth == g->depth && h->unannounced == g->untold);
        cr_assert(h->token == g->token && !hold_lost(h) && h->lock == l);
        exclusive += h->mode == LOCK_EXCLUSIVE;
    }
    cr_assert_eq(n, p->ngrants);
    cr_assert_eq(n, l->nholds);
    cr_assert(exclusive == 0 || n == 1);
    cr_assert(l->fence >= p->fence);
}

static void same_waits(const struct lock *l, const struct place *p)
{
    unsigned n = 0, exclusive = 0;
    for (const struct wait *w = l->waits; w != NULL; w = w->next, n++) {
        cr_assert_lt(n, p->nqueue);
        cr_assert_eq(p->queue[n]->wait, w);
        cr_assert(w->mode == p->queue[n]->mode && w->lock == l && w->try == p->queue[n]->try);
        cr_assert(w->elsewhere || w->mode <= l->covers);
        exclusive += w->mode == LOCK_EXCLUSIVE;
    }
    cr_assert_eq(n, p->nqueue);
    cr_assert(n == l->nwaits && exclusive == l->nexclusive);
    cr_assert(n == 0 || !fits(p, p->queue[0]->mode), "somebody was forgotten");
}

static void compare(void)
{
    unsigned elsewhere = 0, waits = 0;
    for (unsigned i = 0; i < LOCKS; i++) {
        struct place *p = &places[i];
        const struct lock *l = lock_at(i);
        cr_assert_eq(l != NULL, p->there);
        if (l == NULL) {
            cr_assert(p->nqueue == 0 && p->ngrants == 0);
            continue;
        }
        cr_assert(l->covers == (uint8_t)p->covers && lock_closing(l) == p->closing &&
                  (l->demand != LOCK_UNWANTED) == p->wanted && l->turns == p->turns);
        same_holds(l, p);
        same_waits(l, p);
        p->fence = l->fence;
        for (const struct wait *w = l->waits; w != NULL; w = w->next)
            elsewhere += w->elsewhere;
        waits += p->nqueue;
    }
    cr_assert_eq(elsewhere, nelsewhere);
    for (unsigned i = 0; i < nrequests; i++)
        waits -= requests[i]->stage == QUEUED;
    cr_assert_eq(waits, 0);
    for (unsigned i = 0; i < nlost; i++)
        cr_assert(hold_lost(lost[i]->hold) && lost[i]->hold->lock == NULL);
}

/* ---- steps ---- */

static lock_done_fn on_done;

static void step_acquire(void)
{
    unsigned lock = roll(LOCKS), owner = roll(OWNERS);
    enum lock_mode mode = roll(2) ? LOCK_EXCLUSIVE : LOCK_SHARED;
    int64_t wait = roll(4) == 0 ? 0 : roll(2) ? -1 : HOUR;
    struct place *p = &places[lock];
    struct grant *own = grant_of(p, owner);
    struct lock_name name = name_of(lock);
    struct request *r = calloc(1, sizeof(*r));
    struct hold *h = NULL;
    struct fault f = {0};
    bool full = model_count(owner / 3) >= PER_CLIENT, holds = false;
    for (unsigned i = 0; i < LOCKS; i++)
        holds = holds || grant_of(&places[i], owner) != NULL;
    *r = (struct request){.lock = lock, .owner = owner, .mode = mode, .try = wait == 0};
    enum lock_answer answer = locks_acquire(table, owner_at(owner), &name, mode, wait, HOUR,
                                            on_done, r, &h, &r->wait, &f);
    if (own != NULL && mode <= own->mode) {
        cr_assert_eq(answer, LOCK_GRANTED);
        cr_assert_eq(h, own->hold);
        own->depth++;
        counts[0]++;
    } else if (own != NULL) {
        cr_assert_eq(f.code, FAULT_DEADLOCK);
    } else if (full) {
        cr_assert_eq(f.code, FAULT_BUSY);
        counts[1]++;
    } else if (p->nqueue == 0 && fits(p, mode)) {
        cr_assert_eq(answer, LOCK_GRANTED);
        own = new_grant(lock, owner, mode);
        own->hold = h;
        own->token = h->token;
        cr_assert_gt(h->fence, p->fence);
        counts[2]++;
    } else if (wait == 0 && model_in_the_way(p, mode)) {
        cr_assert_eq(f.code, FAULT_LOCK_TIMEOUT);
        counts[3]++;
    } else if (holds && wait != 0 && model_deadlock(owner, lock)) {
        cr_assert_eq(f.code, FAULT_DEADLOCK);
        counts[4]++;
    } else {
        cr_assert_eq(answer, LOCK_WAITS);
        p->there = true;
        p->queue[p->nqueue++] = r;
        if (nrequests == requests_cap)
            requests = realloc(requests, (requests_cap += MANY) * sizeof(struct request *));
        requests[nrequests++] = r;
        counts[5]++;
        return;
    }
    cr_assert_eq(answer == LOCK_REFUSED, f.code != FAULT_NONE);
    free(r);
}

/* Some grant that its client was told of; NULL when there is none. */
static struct grant *some_grant(void)
{
    struct grant *all[LOCKS * MANY];
    unsigned n = 0;
    for (unsigned i = 0; i < LOCKS; i++)
        for (unsigned k = 0; k < places[i].ngrants; k++)
            all[n++] = places[i].grants[k];
    for (unsigned k = 0; k < nlost; k++)
        all[n++] = lost[k];
    return n > 0 ? all[roll(n)] : NULL;
}

static void step_release(void)
{
    struct grant *g = some_grant();
    if (g == NULL)
        return;
    struct hold *h = locks_hold(table, g->owner / 3, g->token);
    cr_assert_eq(h, g->depth > g->untold ? g->hold : NULL);
    cr_assert_null(locks_hold(table, g->owner / 3 + 1, g->token));
    if (h == NULL) {
        cr_assert_not(hold_release(g->hold));
        counts[6]++;
        return;
    }
    bool gone = hold_release(h);
    g->depth = g->lost ? g->untold : g->depth - 1;
    cr_assert_eq(gone, g->depth == 0);
    counts[7 + g->lost]++;
    if (gone)
        model_drop(g);
}

/* Ends a request that was not told yet. */
static void model_cancel(struct request *r)
{
    struct grant *g = r->grant;
    if (r->stage == QUEUED) {
        remove_request(&places[r->lock], r);
        if (!leaving)
            model_advance(r->lock);
    } else if (g != NULL) {
        g->untold--;
        if (--g->depth == 0)
            model_drop(g);
    }
    forget_request(r);
}

static void step_cancel(void)
{
    if (nrequests == 0)
        return;
    struct request *r = requests[roll(nrequests)];
    counts[9 + (r->stage == OVER)]++;
    lock_cancel(r->wait);
    model_cancel(r);
}

static void step_refuse(void)
{
    struct fault f;
    if (nrequests == 0)
        return;
    struct request *r = requests[roll(nrequests)];
    fault_set(&f, FAULT_UNAVAILABLE, "at random");
    lock_refuse(r->wait, &f);
    if (r->stage == QUEUED) {
        over(&places[r->lock], r, NULL, FAULT_UNAVAILABLE);
        model_advance(r->lock);
    }
}

static void step_client_gone(unsigned client)
{
    locks_client_gone(table, client);
    leaving = true;
    for (unsigned i = 0; i < nrequests;) {
        if (requests[i]->owner / 3 == client) {
            model_cancel(requests[i]);
        } else {
            i++;
        }
    }
    for (unsigned i = 0; i < LOCKS; i++)
        for (unsigned k = 0; k < places[i].ngrants;) {
            if (places[i].grants[k]->owner / 3 == client) {
                model_drop(places[i].grants[k]);
            } else {
                k++;
            }
        }
    for (unsigned k = 0; k < nlost;) {
        if (lost[k]->owner / 3 == client)
            model_drop(lost[k]);
        else
            k++;
    }
    leaving = false;
    for (unsigned i = 0; i < LOCKS; i++)
        model_advance(i);
    counts[11]++;
}

static void step_cover(void)
{
    unsigned i = roll(LOCKS);
    struct place *p = &places[i];
    enum lock_mode mode = roll(3) ? LOCK_EXCLUSIVE : LOCK_SHARED;
    struct lock *l = lock_at(i);
    if (l == NULL)
        return;
    for (unsigned k = 0; k < p->ngrants; k++)
        if (p->grants[k]->mode > mode)
            mode = LOCK_EXCLUSIVE;
    lock_cover(l, mode, roll(2) ? p->fence + 1 : 1);
    p->covers = mode;
    p->closing = p->wanted = false;
    p->turns = 0;
    model_advance(i);
}

static void step_uncover(void)
{
    unsigned i = roll(LOCKS);
    struct place *p = &places[i];
    struct lock *l = lock_at(i);
    struct fault f;
    if (l == NULL)
        return;
    fault_set(&f, FAULT_LOCK_LOST, "at random");
    lock_uncover(l, &f);
    p->covers = LOCK_NONE;
    p->closing = p->wanted = false;
    p->turns = 0;
    model_lose(i);
    counts[12]++;
}

static void step_wanted(void)
{
    unsigned i = roll(LOCKS);
    struct place *p = &places[i];
    struct lock *l = lock_at(i);
    if (l == NULL)
        return;
    if (roll(3) > 0) {
        lock_wanted(l);
        p->turns = p->wanted ? p->turns : 0;
        p->wanted = true;
        p->closing = p->closing || p->nqueue == 0;
    } else {
        lock_unwanted(l);
        p->wanted = p->closing = false;
        p->turns = 0;
        model_advance(i);
    }
}

static void step_break(void)
{
    unsigned i = roll(LOCKS);
    struct lock *l = lock_at(i);
    struct fault f;
    if (l == NULL)
        return;
    fault_set(&f, FAULT_LOCK_LOST, "broken at random");
    cr_assert_eq(lock_break(l, &f), places[i].ngrants);
    model_lose(i);
    model_advance(i);
}

static void step_elsewhere(void)
{
    unsigned i = roll(LOCKS);
    struct place *p = &places[i];
    struct lock *l = lock_at(i);
    if (l == NULL)
        return;
    lock_elsewhere(l, "another host");
    for (unsigned k = 0; k < p->nqueue;) {
        if (p->queue[k]->try) {
            over(p, p->queue[k], NULL, FAULT_LOCK_TIMEOUT);
            counts[13]++;
        } else {
            k++;
        }
    }
    model_advance(i);
}

static void step(void)
{
    unsigned dice = roll(100);
    if (dice < 45)
        step_acquire();
    else if (dice < 65)
        step_release();
    else if (dice < 70)
        step_cancel();
    else if (dice < 73)
        step_refuse();
    else if (dice < 75)
        step_client_gone(roll(CLIENTS));
    else if (dice < 87)
        step_cover();
    else if (dice < 90)
        step_uncover();
    else if (dice < 95)
        step_wanted();
    else if (dice < 97)
        step_break();
    else
        step_elsewhere();
    compare();
}

/* ---- callbacks ---- */

/* Callbacks may call everything. */
static void perhaps_step(void)
{
    if (quiet || roll(5) > 0)
        return;
    nested++;
    step();
}

static void on_done(void *arg, struct hold *h, const struct fault *f)
{
    struct request *r = arg;
    cr_assert_eq(r->stage, OVER);
    if (r->grant != NULL) {
        cr_assert_null(f);
        cr_assert_eq(h, r->grant->hold);
        r->grant->untold--;
        counts[14] += hold_lost(h);
    } else {
        cr_assert_null(h);
        cr_assert_eq(f->code, r->code);
    }
    forget_request(r);
    perhaps_step();
}

static unsigned place_of(const struct lock *l)
{
    for (unsigned i = 0; i < LOCKS; i++)
        if (lock_at(i) == l)
            return i;
    cr_assert_fail("an unknown lock");
    return 0;
}

static void on_want(void *arg, struct lock *l, enum lock_mode mode)
{
    const struct place *p = &places[place_of(l)];
    (void)arg;
    cr_assert(p->nqueue > 0 && p->queue[0]->mode == mode && p->covers < mode && !p->closing);
    perhaps_step();
}

static void on_eased(void *arg, struct lock *l)
{
    struct place *p = &places[place_of(l)];
    (void)arg;
    cr_assert(p->ngrants == 0 && (p->nqueue == 0 || p->closing || p->covers < p->queue[0]->mode));
    if (p->nqueue == 0 && roll(2)) {
        cr_assert(lock_free(l));
        p->there = p->closing = p->wanted = false;
        p->covers = LOCK_NONE;
        p->turns = 0;
        p->fence = 0;
        counts[15]++;
    }
    perhaps_step();
}

static void on_lost(void *arg, struct hold *h)
{
    (void)arg;
    for (unsigned i = 0; i < nlost; i++)
        if (lost[i]->hold == h) {
            cr_assert(!lost[i]->lost_told && lost[i]->untold == 0);
            lost[i]->lost_told = true;
            perhaps_step();
            return;
        }
    cr_assert_fail("nobody lost this");
}

static void on_waiting(void *arg, struct wait *w)
{
    (void)arg;
    (void)w;
    nelsewhere++;
}

static void on_ended(void *arg, struct wait *w)
{
    (void)arg;
    cr_assert(w->elsewhere);
    nelsewhere--;
}

/* Everything is let go of until nobody waits: whoever waits gets it at last. */
static void let_go(void)
{
    for (unsigned turn = 0; turn < 1000 && nrequests > 0; turn++) {
        for (unsigned i = 0; i < LOCKS; i++) {
            struct place *p = &places[i];
            if (!p->there)
                continue;
            lock_cover(lock_at(i), LOCK_EXCLUSIVE, 1);
            p->covers = LOCK_EXCLUSIVE;
            p->closing = p->wanted = false;
            p->turns = 0;
            model_advance(i);
        }
        compare();
        turn_settle(base);
        struct grant *g = some_grant();
        if (g != NULL) {
            bool gone;
            do {
                gone = hold_release(g->hold);
                g->depth = g->lost ? 0 : g->depth - 1;
            } while (!gone);
            model_drop(g);
        }
        compare();
    }
    cr_assert_eq(nrequests, 0, "somebody waits for ever");
}

static void run(uint64_t start, unsigned steps)
{
    static const struct locks_callbacks cb = {.want = on_want,
                                              .eased = on_eased,
                                              .lost = on_lost,
                                              .waiting = on_waiting,
                                              .ended = on_ended};
    seed = start;
    quiet = false;
    base = event_base_new();
    table = locks_new(base, &limits, &cb, NULL);
    memset(places, 0, sizeof(places));
    for (unsigned i = 0; i < steps; i++) {
        step();
        if (roll(3) == 0) {
            turn_settle(base);
            for (unsigned k = 0; k < nrequests; k++)
                cr_assert_eq(requests[k]->stage, QUEUED, "somebody was not told");
            for (unsigned k = 0; k < nlost; k++)
                cr_assert(lost[k]->lost_told);
        }
    }
    quiet = true;
    let_go();
    for (unsigned i = 0; i < CLIENTS; i++)
        step_client_gone(i);
    compare();
    turn_settle(base);
    cr_assert_eq(nelsewhere, 0);
    locks_free(table);
    cr_assert(turn_idle(base));
    event_base_free(base);
}

Test(locks_random, like_the_model, .timeout = 600)
{
    const char *full = getenv("RAPYER_FULL");
    unsigned seeds = full != NULL && *full != '\0' ? 2000 : 40;
    hash_seed = 1;
    for (unsigned i = 1; i <= seeds; i++)
        run(i, 10000);
    free(requests);
    libevent_global_shutdown();
    for (unsigned i = 0; i < 16; i++)
        cr_assert_gt(counts[i], 10, "%u: this never happened", i);
    cr_assert_gt(nested, 1000);
}
