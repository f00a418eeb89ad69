#include "daemon/base/clock.h"
#include "daemon/locks/locks.h"
#include "daemon/turn.h"
#include <stdlib.h>
#include <string.h>

#define HOUR 3600000

static struct event_base *base;
static struct locks *table;
static struct locks_limits limits;
static bool leased;  /* a lease comes as soon as it is wanted */
static bool freeing; /* a lock goes when nobody needs it */
static unsigned nwant, neased, nlost, nwaiting, nended;
static enum lock_mode wanted_mode;
static unsigned clock_of_events; /* counts what was told */

/* One request and what became of it. */
struct ask {
    enum lock_answer answer;
    struct wait *wait;
    struct hold *hold;  /* when granted */
    struct fault fault; /* when refused */
    unsigned told;      /* when, of clock_of_events; 0: not yet */
};

static unsigned lost_at; /* of clock_of_events */
static struct hold *lost_hold;

static void on_want(void *arg, struct lock *l, enum lock_mode mode)
{
    cr_assert_eq(arg, &limits);
    cr_assert(l->waits != NULL && !lock_closing(l) && l->covers < mode && l->waits->mode == mode);
    nwant++;
    wanted_mode = mode;
    if (leased)
        lock_cover(l, LOCK_EXCLUSIVE, 1);
}

static void on_eased(void *arg, struct lock *l)
{
    (void)arg;
    cr_assert(l->holds == NULL && l->nholds == 0 && l->pins == 0);
    cr_assert(l->waits == NULL || lock_closing(l) || l->covers < l->waits->mode);
    neased++;
    if (freeing && l->waits == NULL)
        cr_assert(lock_free(l));
}

static void on_lost(void *arg, struct hold *h)
{
    (void)arg;
    cr_assert(hold_lost(h) && h->lock == NULL && h->why.code == FAULT_LOCK_LOST);
    nlost++;
    lost_at = ++clock_of_events;
    lost_hold = h;
}

static void on_waiting(void *arg, struct wait *w)
{
    (void)arg;
    cr_assert(w->lock->covers < w->mode);
    cr_assert_null(w->probe);
    w->probe = w;
    nwaiting++;
}

static void on_ended(void *arg, struct wait *w)
{
    (void)arg;
    cr_assert_eq(w->probe, w, "ended, but never waiting");
    w->probe = NULL;
    nended++;
}

static void on_done(void *arg, struct hold *h, const struct fault *f)
{
    struct ask *a = arg;
    cr_assert_eq(a->told, 0, "told twice");
    cr_assert((h == NULL) != (f == NULL));
    a->told = ++clock_of_events;
    a->wait = NULL;
    a->hold = h;
    if (f != NULL)
        a->fault = *f;
}

static void setup(void)
{
    static const struct locks_callbacks cb = {.want = on_want,
                                              .eased = on_eased,
                                              .lost = on_lost,
                                              .waiting = on_waiting,
                                              .ended = on_ended};
    hash_seed = 1;
    limits = (struct locks_limits){.per_client = 100000, .turns = 16};
    leased = true;
    freeing = false;
    base = event_base_new();
    table = locks_new(base, &limits, &cb, &limits);
}

static void teardown(void)
{
    locks_free(table);
    cr_assert(turn_idle(base), "a timer is left");
    event_base_free(base);
    libevent_global_shutdown();
}

TestSuite(locks, .init = setup, .fini = teardown, .timeout = 60);

static struct lock_name named(const char *key)
{
    return (struct lock_name){
        .key = key, .key_len = strlen(key), .path = "", .action = "edit", .action_len = 4};
}

static struct lock_owner *owner(unsigned client, const char *name)
{
    struct lock_who who = {.client = client, .pid = (pid_t)(1000 + client), .program = "job"};
    return locks_owner(table, &who, name, strlen(name));
}

static struct lock *lock_of(const char *key)
{
    struct lock_name name = named(key);
    return locks_find(table, &name);
}

static struct ask *ask_of(struct ask *a, unsigned client, const char *who, const char *key,
                          enum lock_mode mode, int64_t wait, int64_t ttl)
{
    struct lock_name name = named(key);
    *a = (struct ask){0};
    unsigned before = clock_of_events;
    a->answer = locks_acquire(table, owner(client, who), &name, mode, wait, ttl, on_done, a,
                              &a->hold, &a->wait, &a->fault);
    cr_assert_eq(clock_of_events, before, "something was told from within");
    return a;
}

static void ask(struct ask *a, unsigned client, const char *key, enum lock_mode mode)
{
    ask_of(a, client, "", key, mode, -1, HOUR);
}

static enum lock_answer try(struct ask *a, unsigned client, const char *key, enum lock_mode mode)
{
    return ask_of(a, client, "", key, mode, 0, HOUR)->answer;
}

/* Takes a lock that is free, with the lease that this may need. */
static struct hold *get_of(unsigned client, const char *who, const char *key, enum lock_mode mode,
                           int64_t ttl)
{
    struct ask a;
    ask_of(&a, client, who, key, mode, -1, ttl);
    turn_settle(base);
    cr_assert(a.answer == LOCK_GRANTED || a.told > 0);
    cr_assert_not_null(a.hold);
    return a.hold;
}

static struct hold *get(unsigned client, const char *key, enum lock_mode mode)
{
    return get_of(client, "", key, mode, HOUR);
}

static void expect_text(const struct fault *f, enum fault_code code, const char *text)
{
    cr_assert_eq(f->code, code, "%s: %s", fault_name(f->code), f->text);
    cr_assert_not_null(strstr(f->text, text), "\"%s\" is not in: %s", text, f->text);
}

/* ---- order ---- */

Test(locks, first_come_first_served)
{
    struct ask asks[16];
    struct hold *h = get(100, "User:a", LOCK_EXCLUSIVE);
    int64_t fence = h->fence;
    for (unsigned i = 0; i < 16; i++) {
        ask(&asks[i], i, "User:a", LOCK_EXCLUSIVE);
        cr_assert_eq(asks[i].answer, LOCK_WAITS);
    }
    for (unsigned i = 0; i < 16; i++) {
        cr_assert(hold_release(h));
        /* Granted already, told from the loop. */
        h = lock_of("User:a")->holds;
        cr_assert_eq(lock_who(h->owner)->client, i);
        cr_assert_gt(h->fence, fence);
        fence = h->fence;
        cr_assert_eq(asks[i].told, 0);
        turn_settle(base);
        cr_assert_eq(asks[i].hold, h);
        cr_assert(i == 15 || asks[i + 1].told == 0);
    }
    neased = 0;
    cr_assert(hold_release(h));
    turn_settle(base);
    cr_assert_eq(neased, 1);
    cr_assert_eq(lock_of("User:a")->nwaits, 0);
}

Test(locks, other_names_are_other_locks)
{
    struct lock_name names[] = {
        {.key = "User:a", .key_len = 6, .path = "", .action = "edit", .action_len = 4},
        {.key = "User:b", .key_len = 6, .path = "", .action = "edit", .action_len = 4},
        {.key = "User:a", .key_len = 6, .path = "", .action = "read", .action_len = 4},
        {.key = "User:a",
         .key_len = 6,
         .path = "tag",
         .path_len = 3,
         .action = "edit",
         .action_len = 4},
        {.key = "User:a", .key_len = 6, .path = NULL, .action = "tagedit", .action_len = 7},
    };
    struct ask asks[5];
    for (unsigned i = 0; i < 5; i++) {
        asks[i] = (struct ask){0};
        locks_acquire(table, owner(i, ""), &names[i], LOCK_EXCLUSIVE, -1, HOUR, on_done, &asks[i],
                      &asks[i].hold, &asks[i].wait, &asks[i].fault);
    }
    turn_settle(base);
    for (unsigned i = 0; i < 5; i++)
        cr_assert_not_null(asks[i].hold);
    cr_assert_eq(locks_count(table), 5);
    cr_assert_str_eq(lock_key(asks[3].hold->lock), "User:a");
    cr_assert_str_eq(lock_path(asks[3].hold->lock), "tag");
    cr_assert_str_eq(lock_action(asks[3].hold->lock), "edit");
    freeing = true;
    for (unsigned i = 0; i < 5; i++)
        cr_assert(hold_release(asks[i].hold));
    turn_settle(base);
    cr_assert_eq(locks_count(table), 0);
    cr_assert_null(locks_first(table));
}

Test(locks, shared_together_exclusive_alone)
{
    struct hold *x = get(1, "User:a", LOCK_EXCLUSIVE);
    struct ask s[3], s_late[2], x_mid;
    for (unsigned i = 0; i < 3; i++)
        ask(&s[i], 10 + i, "User:a", LOCK_SHARED);
    ask(&x_mid, 20, "User:a", LOCK_EXCLUSIVE);
    for (unsigned i = 0; i < 2; i++)
        ask(&s_late[i], 30 + i, "User:a", LOCK_SHARED);
    hold_release(x);
    turn_settle(base);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_not_null(s[i].hold);
    cr_assert(s[0].told < s[1].told && s[1].told < s[2].told);
    cr_assert_eq(x_mid.told, 0);
    /* A shared request does not overtake the exclusive one that waits. */
    cr_assert_eq(s_late[0].told, 0);
    struct ask late;
    ask(&late, 40, "User:a", LOCK_SHARED);
    cr_assert_eq(late.answer, LOCK_WAITS);
    hold_release(s[1].hold);
    hold_release(s[0].hold);
    turn_settle(base);
    cr_assert_eq(x_mid.told, 0);
    hold_release(s[2].hold);
    turn_settle(base);
    cr_assert_not_null(x_mid.hold);
    cr_assert_eq(s_late[0].told, 0);
    hold_release(x_mid.hold);
    turn_settle(base);
    cr_assert(s_late[0].hold != NULL && s_late[1].hold != NULL && late.hold != NULL);
    cr_assert_eq(lock_of("User:a")->nholds, 3);
}

Test(locks, shared_joins_shared_at_once)
{
    struct ask a;
    get(1, "User:a", LOCK_SHARED);
    ask(&a, 2, "User:a", LOCK_SHARED);
    cr_assert_eq(a.answer, LOCK_GRANTED);
    ask(&a, 3, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(a.answer, LOCK_WAITS);
    lock_cancel(a.wait);
    ask(&a, 4, "User:a", LOCK_SHARED);
    cr_assert_eq(a.answer, LOCK_GRANTED);
}

/* ---- taking it again ---- */

Test(locks, an_owner_takes_it_again)
{
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    struct ask again, other;
    int64_t fence = h->fence;
    ask(&again, 1, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(again.answer, LOCK_GRANTED);
    cr_assert_eq(again.hold, h);
    ask(&again, 1, "User:a", LOCK_SHARED);
    cr_assert_eq(again.hold, h);
    cr_assert_eq(h->depth, 3);
    cr_assert_eq(h->fence, fence);
    cr_assert_eq(lock_of("User:a")->nholds, 1);
    /* Another line of execution of the same client is somebody else. */
    ask_of(&other, 1, "thread 2", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(other.answer, LOCK_WAITS);
    /* Also past those who wait. */
    ask(&again, 1, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(again.answer, LOCK_GRANTED);
    for (int i = 0; i < 3; i++)
        cr_assert_not(hold_release(h));
    turn_settle(base);
    cr_assert_eq(other.told, 0);
    cr_assert(hold_release(h));
    turn_settle(base);
    cr_assert_not_null(other.hold);
}

Test(locks, again_while_closing)
{
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    struct ask again;
    lock_wanted(lock_of("User:a"));
    cr_assert(lock_closing(lock_of("User:a")));
    ask(&again, 1, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(again.hold, h);
}

Test(locks, shared_does_not_become_exclusive)
{
    struct ask a;
    struct hold *h = get(1, "User:a", LOCK_SHARED);
    ask(&a, 1, "User:a", LOCK_SHARED);
    cr_assert_eq(a.hold, h);
    ask(&a, 1, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(a.answer, LOCK_REFUSED);
    expect_text(&a.fault, FAULT_DEADLOCK, "\"edit\" of User:a shared");
    cr_assert_eq(h->depth, 2);
}

/* Two requests of one owner wait: the second is answered as if it had come after the grant. */
Test(locks, again_while_waiting)
{
    struct hold *x = get(9, "User:a", LOCK_EXCLUSIVE), *h;
    struct ask first, other, second, third;
    ask(&first, 1, "User:a", LOCK_SHARED);
    ask(&other, 2, "User:a", LOCK_EXCLUSIVE);
    ask(&second, 1, "User:a", LOCK_SHARED);
    ask(&third, 1, "User:a", LOCK_EXCLUSIVE);
    hold_release(x);
    h = lock_of("User:a")->holds;
    cr_assert_eq(h->depth, 2);
    /* Nobody was told of it, so nobody can have its token. */
    cr_assert_null(locks_hold(table, 1, h->token));
    cr_assert_not(hold_release(h));
    turn_settle(base);
    cr_assert_eq(first.hold, h);
    cr_assert_eq(second.hold, h);
    expect_text(&third.fault, FAULT_DEADLOCK, "shared");
    cr_assert_eq(locks_hold(table, 1, h->token), h);
    cr_assert_not(hold_release(h));
    cr_assert_eq(other.told, 0);
    cr_assert(hold_release(h));
    turn_settle(base);
    cr_assert_not_null(other.hold);
}

/* ---- time ---- */

Test(locks, a_ttl_ends_a_hold)
{
    struct hold *other = get_of(5, "", "User:b", LOCK_SHARED, 20);
    turn_until(base, hold_lost(other));
    cr_assert_geq(clock_boot_ms(), other->since + 20);
    nlost = 0;

    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE), *again = NULL;
    uint64_t token = h->token;
    struct ask next;
    struct fault f;
    cr_assert_eq(hold_check(h, &f), 0);
    ask(&next, 2, "User:a", LOCK_EXCLUSIVE);
    hold_renew(h, 30);
    turn_until(base, next.told > 0);
    cr_assert_geq(clock_boot_ms(), h->deadline);
    cr_assert_not_null(next.hold);
    cr_assert_eq(nlost, 1);
    cr_assert_eq(lost_hold, h);
    cr_assert_lt(lost_at, next.told, "the loser is told first");
    /* Its token still says why, until it is let go of. */
    again = locks_hold(table, 1, token);
    cr_assert_eq(again, h);
    cr_assert_eq(h->name.key_len, 6);
    cr_assert_str_eq(h->name.key, "User:a");
    cr_assert_str_eq(h->name.path, "");
    cr_assert_str_eq(h->name.action, "edit");
    cr_assert_lt(hold_check(h, &f), 0);
    expect_text(&f, FAULT_LOCK_LOST,
                "\"edit\" of User:a was held for longer than its ttl of 30 ms");
    hold_renew(h, HOUR);
    cr_assert_lt(hold_check(h, &f), 0);
    cr_assert(hold_release(h));
    cr_assert_null(locks_hold(table, 1, token));
    cr_assert_eq(lock_of("User:a")->nholds, 1);
}

/* The daemon may have been stopped for a while, so that the timer is late. */
Test(locks, a_check_looks_at_the_clock)
{
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    struct ask next, again;
    struct fault f;
    ask(&next, 2, "User:a", LOCK_EXCLUSIVE);
    hold_renew(h, 20);
    while (clock_boot_ms() < h->deadline)
        ;
    cr_assert_lt(hold_check(h, &f), 0);
    expect_text(&f, FAULT_LOCK_LOST, "ttl");
    cr_assert_eq(lock_who(lock_of("User:a")->holds->owner)->client, 2);
    cr_assert_eq(nlost, 0);
    turn_settle(base);
    cr_assert_eq(nlost, 1);
    cr_assert_not_null(next.hold);
    hold_release(next.hold);

    /* Taking it again is no way around: it is a new hold. */
    struct hold *late = get(3, "User:a", LOCK_EXCLUSIVE);
    hold_renew(late, 20);
    while (clock_boot_ms() < late->deadline)
        ;
    ask(&again, 3, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(again.answer, LOCK_GRANTED);
    cr_assert_neq(again.hold, late);
    cr_assert(hold_lost(late));
    turn_settle(base);
    cr_assert_eq(nlost, 2);
}

Test(locks, renewing_moves_the_end)
{
    struct hold *longer = get(1, "User:a", LOCK_EXCLUSIVE);
    struct hold *shorter = get(2, "User:b", LOCK_EXCLUSIVE);
    struct hold *twice = get(3, "User:c", LOCK_EXCLUSIVE);
    struct hold *later = get(4, "User:d", LOCK_EXCLUSIVE);
    struct ask a;
    hold_renew(longer, 20);
    hold_renew(longer, HOUR);
    hold_renew(shorter, 60);
    hold_renew(twice, HOUR / 2);
    hold_renew(later, 20);
    hold_renew(later, 80);
    ask(&a, 3, "User:c", LOCK_EXCLUSIVE);
    cr_assert_eq(twice->ttl, HOUR);
    ask_of(&a, 3, "", "User:c", LOCK_EXCLUSIVE, -1, 20);
    cr_assert_eq(twice->ttl, HOUR, "taken again with a shorter ttl it keeps the longer one");
    turn_until(base, hold_lost(shorter));
    cr_assert_geq(clock_boot_ms(), shorter->deadline);
    turn_until(base, hold_lost(later));
    cr_assert_geq(clock_boot_ms(), later->deadline);
    cr_assert_not(hold_lost(longer));
    cr_assert_not(hold_lost(twice));
}

Test(locks, a_wait_ends_in_time)
{
    struct ask first, second, third, far;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    ask(&first, 2, "User:a", LOCK_EXCLUSIVE);
    ask(&second, 3, "User:a", LOCK_SHARED);
    ask_of(&third, 4, "", "User:a", LOCK_EXCLUSIVE, 30, HOUR);
    ask_of(&far, 5, "", "User:a", LOCK_EXCLUSIVE, HOUR, HOUR);
    int64_t began = clock_boot_ms();
    turn_until(base, third.told > 0);
    cr_assert_geq(clock_boot_ms() - began, 29);
    expect_text(&third.fault, FAULT_LOCK_TIMEOUT,
                "\"edit\" of User:a was not free within 30 ms: pid 1001 (job) has held it for ");
    expect_text(&third.fault, FAULT_LOCK_TIMEOUT, "2 wait before this one");
    cr_assert_eq(first.told + second.told + far.told, 0);
    cr_assert_eq(lock_of("User:a")->nwaits, 3);
    /* The first of the queue: what it was in the way of goes on. */
    hold_release(h);
    turn_settle(base);
    ask_of(&third, 6, "", "User:a", LOCK_EXCLUSIVE, 20, HOUR);
    hold_release(first.hold);
    turn_until(base, third.told > 0);
    cr_assert_not_null(second.hold);
    expect_text(&third.fault, FAULT_LOCK_TIMEOUT, "1 waits before this one");
}

Test(locks, a_timeout_lets_others_go_on)
{
    struct ask x, s;
    get(1, "User:a", LOCK_SHARED);
    ask_of(&x, 2, "", "User:a", LOCK_EXCLUSIVE, 20, HOUR);
    ask(&s, 3, "User:a", LOCK_SHARED);
    cr_assert_eq(s.answer, LOCK_WAITS);
    turn_until(base, s.told > 0);
    cr_assert_not_null(s.hold);
    cr_assert_lt(x.told, s.told);
}

/* The lease is over, but its timer is late. */
Test(locks, nothing_is_granted_on_a_lease_that_is_over)
{
    struct hold *h = get(1, "User:a", LOCK_SHARED);
    struct ask a;
    struct fault f;
    lock_of("User:a")->until = clock_boot_ms() - 1;
    ask(&a, 2, "User:a", LOCK_SHARED);
    cr_assert_eq(a.answer, LOCK_WAITS);
    cr_assert_lt(hold_check(h, &f), 0);
    expect_text(&f, FAULT_LOCK_LOST, "lease");
    turn_settle(base);
    cr_assert_eq(a.told, 0);
    fault_set(&f, FAULT_LOCK_LOST, "over");
    lock_uncover(lock_of("User:a"), &f);
    cr_assert_eq(lock_of("User:a")->until, 0);
    lock_advance(lock_of("User:a"));
    turn_settle(base);
    cr_assert_not_null(a.hold);
}

/* ---- only to try ---- */

Test(locks, a_try_is_refused_at_once)
{
    struct ask a, x;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(try(&a, 2, "User:a", LOCK_EXCLUSIVE), LOCK_REFUSED);
    expect_text(&a.fault, FAULT_LOCK_TIMEOUT, "was not free: pid 1001 (job) has held it for");
    cr_assert_eq(try(&a, 2, "User:a", LOCK_SHARED), LOCK_REFUSED);
    hold_release(h);
    h = get(1, "User:a", LOCK_SHARED);
    cr_assert_eq(try(&a, 2, "User:a", LOCK_SHARED), LOCK_GRANTED);
    cr_assert_eq(try(&a, 3, "User:a", LOCK_EXCLUSIVE), LOCK_REFUSED);
    expect_text(&a.fault, FAULT_LOCK_TIMEOUT, "and 1 more hold it");
    /* A waiter is in the way as well. */
    ask(&x, 4, "User:a", LOCK_EXCLUSIVE);
    cr_assert_eq(try(&a, 3, "User:a", LOCK_SHARED), LOCK_REFUSED);
    expect_text(&a.fault, FAULT_LOCK_TIMEOUT, "1 waits before this one");
    lock_cancel(x.wait);
    cr_assert_eq(try(&a, 3, "User:a", LOCK_SHARED), LOCK_GRANTED);
}

Test(locks, a_try_asks_for_the_lease)
{
    struct ask a, b, c;
    leased = false;
    cr_assert_eq(try(&a, 1, "User:a", LOCK_SHARED), LOCK_WAITS);
    cr_assert(a.wait->try);
    cr_assert_eq(try(&b, 2, "User:a", LOCK_SHARED), LOCK_WAITS, "the first is not in its way");
    cr_assert_eq(try(&c, 3, "User:a", LOCK_EXCLUSIVE), LOCK_REFUSED);
    turn_settle(base);
    cr_assert_eq(nwant, 1);
    cr_assert_eq(wanted_mode, LOCK_SHARED);
    ask(&c, 3, "User:a", LOCK_EXCLUSIVE);
    lock_elsewhere(lock_of("User:a"), "another host");
    turn_settle(base);
    expect_text(&a.fault, FAULT_LOCK_TIMEOUT,
                "\"edit\" of User:a was not free: another host has it");
    expect_text(&b.fault, FAULT_LOCK_TIMEOUT, "another host");
    cr_assert_eq(c.told, 0, "who waits is not refused");
    cr_assert_eq(nwant, 2, "what the first of the queue needs has changed");
    cr_assert_eq(wanted_mode, LOCK_EXCLUSIVE);
    lock_cancel(c.wait);

    cr_assert_eq(try(&a, 1, "User:a", LOCK_EXCLUSIVE), LOCK_WAITS);
    lock_cover(lock_of("User:a"), LOCK_EXCLUSIVE, 1);
    turn_settle(base);
    cr_assert_not_null(a.hold);
    cr_assert_eq(nwaiting, nended);
}

Test(locks, a_try_does_not_take_another_hosts_turn)
{
    struct ask a;
    get(1, "User:a", LOCK_SHARED);
    lock_wanted(lock_of("User:a"));
    cr_assert_eq(try(&a, 2, "User:a", LOCK_SHARED), LOCK_REFUSED);
    cr_assert_eq(a.fault.code, FAULT_LOCK_TIMEOUT);
}

/* ---- ends of waits ---- */

Test(locks, cancelled_waits)
{
    struct ask asks[4], s;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    for (unsigned i = 0; i < 4; i++)
        ask(&asks[i], 10 + i, "User:a", LOCK_EXCLUSIVE);
    lock_cancel(asks[1].wait); /* in the middle */
    lock_cancel(asks[0].wait); /* the first */
    lock_cancel(asks[3].wait); /* the last */
    hold_release(h);
    turn_settle(base);
    cr_assert_not_null(asks[2].hold);
    cr_assert_eq(asks[0].told + asks[1].told + asks[3].told, 0);
    hold_release(asks[2].hold);

    /* What it was in the way of is granted. */
    get(1, "User:a", LOCK_SHARED);
    ask(&asks[0], 2, "User:a", LOCK_EXCLUSIVE);
    ask(&s, 3, "User:a", LOCK_SHARED);
    lock_cancel(asks[0].wait);
    turn_settle(base);
    cr_assert_not_null(s.hold);
}

/* Between the grant and the loop. */
Test(locks, cancelled_when_granted_but_not_told)
{
    struct ask a, b;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    ask(&b, 3, "User:a", LOCK_EXCLUSIVE);
    hold_release(h);
    cr_assert_eq(lock_who(lock_of("User:a")->holds->owner)->client, 2);
    lock_cancel(a.wait);
    turn_settle(base);
    cr_assert_eq(a.told, 0);
    cr_assert_not_null(b.hold);
    cr_assert_eq(lock_of("User:a")->nholds, 1);
}

Test(locks, refused_waits)
{
    struct ask a, b;
    struct fault f;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    ask(&b, 3, "User:a", LOCK_EXCLUSIVE);
    fault_set(&f, FAULT_UNAVAILABLE, "Redis is away");
    lock_refuse(a.wait, &f);
    cr_assert_eq(a.told, 0, "told from the loop");
    lock_refuse(a.wait, &f); /* it is over already */
    turn_settle(base);
    expect_text(&a.fault, FAULT_UNAVAILABLE, "Redis is away");
    hold_release(h);
    lock_refuse(b.wait, &f); /* it is granted already */
    turn_settle(base);
    cr_assert_not_null(b.hold);
}

/* Lost before it was told: the grant comes first, then that it is gone. */
Test(locks, lost_when_granted_but_not_told)
{
    struct ask a;
    struct fault f;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    hold_release(h);
    fault_set(&f, FAULT_LOCK_LOST, "broken");
    cr_assert_eq(lock_break(lock_of("User:a"), &f), 1);
    turn_settle(base);
    cr_assert_not_null(a.hold);
    cr_assert(hold_lost(a.hold));
    cr_assert_eq(lost_hold, a.hold);
    cr_assert_lt(a.told, lost_at);
    cr_assert(hold_release(a.hold));
}

Test(locks, broken)
{
    struct ask x, s;
    struct fault f;
    struct hold *first = get(1, "User:a", LOCK_SHARED), *second = get(2, "User:a", LOCK_SHARED);
    ask(&x, 3, "User:a", LOCK_EXCLUSIVE);
    ask(&s, 4, "User:a", LOCK_SHARED);
    fault_set(&f, FAULT_LOCK_LOST, "somebody broke it");
    cr_assert_eq(lock_break(lock_of("User:a"), &f), 2);
    turn_settle(base);
    cr_assert_eq(nlost, 2);
    cr_assert(hold_lost(first) && hold_lost(second));
    cr_assert_str_eq(first->why.text, "somebody broke it");
    cr_assert_not_null(x.hold);
    cr_assert_eq(s.told, 0);
    hold_renew(first, 10); /* to no avail */
    cr_assert(hold_release(first));
    cr_assert(hold_release(second));
    cr_assert_not_null(x.hold->lock);
    cr_assert_eq(lock_break(lock_of("User:a"), &f), 1);
    turn_settle(base);
    cr_assert_not_null(s.hold);
}

/* ---- clients ---- */

Test(locks, a_client_that_is_gone_has_nothing)
{
    struct ask asks[6];
    struct fault f;
    struct hold *lost = get_of(1, "a", "User:lost", LOCK_EXCLUSIVE, HOUR);
    fault_set(&f, FAULT_LOCK_LOST, "broken");
    lock_break(lock_of("User:lost"), &f);
    turn_settle(base);
    cr_assert(hold_lost(lost));
    /* Client 1 holds a and b, by two owners, and waits for c; others wait for a, before and after
     * waits of client 1 itself. */
    get_of(1, "a", "User:a", LOCK_EXCLUSIVE, HOUR);
    get_of(1, "b", "User:b", LOCK_SHARED, HOUR);
    struct hold *c = get(2, "User:c", LOCK_SHARED);
    ask_of(&asks[0], 1, "a", "User:c", LOCK_EXCLUSIVE, -1, HOUR);
    ask_of(&asks[1], 3, "", "User:c", LOCK_SHARED, -1, HOUR);
    ask_of(&asks[2], 1, "c", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    ask_of(&asks[3], 3, "x", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    ask_of(&asks[4], 1, "d", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    ask_of(&asks[5], 4, "", "User:b", LOCK_EXCLUSIVE, -1, HOUR);
    locks_client_gone(table, 1);
    turn_settle(base);
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(asks[i].hold != NULL && asks[i].told > 0, i == 1 || i == 3 || i == 5);
    cr_assert_eq(asks[0].told + asks[2].told + asks[4].told, 0);
    cr_assert_eq(lock_of("User:a")->nholds, 1);
    cr_assert_eq(lock_of("User:a")->nwaits, 0);
    cr_assert_eq(lock_of("User:c")->holds, c);
    cr_assert_eq(lock_of("User:c")->nholds, 2);
    locks_client_gone(table, 1); /* nobody */
}

Test(locks, a_client_that_is_gone_is_not_told)
{
    struct ask a, b;
    struct fault f;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    get(2, "User:b", LOCK_EXCLUSIVE);
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    ask_of(&b, 2, "", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    hold_release(h); /* granted to 2, twice, which has also lost one, and was told of nothing yet */
    fault_set(&f, FAULT_LOCK_LOST, "broken");
    lock_break(lock_of("User:b"), &f);
    locks_client_gone(table, 2);
    turn_settle(base);
    cr_assert_eq(a.told + b.told + nlost, 0);
    cr_assert_eq(lock_of("User:a")->nholds, 0);
}

Test(locks, a_token_is_good_for_its_client_only)
{
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE), *second = get(1, "User:b", LOCK_SHARED);
    cr_assert_eq(locks_hold(table, 1, h->token), h);
    cr_assert_eq(locks_hold(table, 1, second->token), second);
    cr_assert_null(locks_hold(table, 2, h->token));
    cr_assert_null(locks_hold(table, 1, second->token + 1));
    cr_assert_null(locks_hold(table, 1, 0));
    cr_assert_lt(h->token, 1ull << 53, "a double holds it");
    uint64_t token = h->token;
    cr_assert(hold_release(h));
    cr_assert_null(locks_hold(table, 1, token));
}

Test(locks, a_client_has_only_so_many)
{
    struct ask a, b, other;
    struct fault f;
    limits.per_client = 3;
    struct hold *h = get_of(1, "x", "User:a", LOCK_EXCLUSIVE, HOUR);
    get(2, "User:b", LOCK_EXCLUSIVE);
    ask_of(&a, 1, "y", "User:b", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(a.answer, LOCK_WAITS);
    struct hold *lost = get_of(1, "z", "User:c", LOCK_EXCLUSIVE, HOUR);
    ask_of(&b, 1, "w", "User:d", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(b.answer, LOCK_REFUSED);
    expect_text(&b.fault, FAULT_BUSY, "3 locks");
    /* What it has it may take again; others have a limit of their own. */
    ask_of(&b, 1, "x", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(b.answer, LOCK_GRANTED);
    get(3, "User:d", LOCK_EXCLUSIVE);
    /* A lost one counts until it is let go of. */
    fault_set(&f, FAULT_LOCK_LOST, "broken");
    lock_break(lock_of("User:c"), &f);
    turn_settle(base);
    ask_of(&b, 1, "w", "User:e", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(b.answer, LOCK_REFUSED);
    cr_assert(hold_release(lost));
    ask_of(&b, 1, "w", "User:e", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(b.answer, LOCK_WAITS);
    lock_cancel(b.wait);
    lock_cancel(a.wait);
    hold_release(h);
    hold_release(h);
    ask_of(&other, 1, "w", "User:f", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_neq(other.answer, LOCK_REFUSED);
}

/* ---- deadlock ---- */

Test(locks, two_that_wait_for_each_other)
{
    struct ask a, b;
    get(1, "User:a", LOCK_EXCLUSIVE);
    struct hold *h = get(2, "User:b", LOCK_EXCLUSIVE);
    ask(&a, 1, "User:b", LOCK_EXCLUSIVE);
    cr_assert_eq(a.answer, LOCK_WAITS);
    ask_of(&b, 2, "", "User:a", LOCK_SHARED, HOUR, HOUR);
    cr_assert_eq(b.answer, LOCK_REFUSED);
    cr_assert_eq(b.fault.code, FAULT_DEADLOCK);
    cr_assert_str_eq(
        b.fault.text,
        "waiting would close a cycle of 2, where each waits for what the next one has: "
        "pid 1002 (job) for \"edit\" of User:a; pid 1001 (job) for \"edit\" of User:b");
    /* The one that was refused goes back, and all is well. */
    cr_assert_eq(try(&b, 2, "User:a", LOCK_SHARED), LOCK_REFUSED);
    cr_assert_eq(b.fault.code, FAULT_LOCK_TIMEOUT, "a try waits for nobody");
    hold_release(h);
    turn_settle(base);
    cr_assert_not_null(a.hold);
}

/* Three in a ring, with shared holders beside them. */
Test(locks, a_ring_of_three)
{
    struct ask a, b, c;
    for (unsigned i = 0; i < 5; i++) {
        char name[8] = {'s', (char)('0' + i)};
        get_of(20 + i, name, "User:b", LOCK_SHARED, HOUR);
    }
    get_of(1, "t1", "User:a", LOCK_EXCLUSIVE, HOUR);
    get_of(2, "t2", "User:b", LOCK_SHARED, HOUR);
    get_of(2, "t3", "User:c", LOCK_EXCLUSIVE, HOUR); /* another thread of the same client */
    ask_of(&a, 1, "t1", "User:b", LOCK_EXCLUSIVE, -1, HOUR);
    ask_of(&b, 2, "t2", "User:c", LOCK_SHARED, -1, HOUR);
    cr_assert_eq(a.answer, LOCK_WAITS);
    cr_assert_eq(b.answer, LOCK_WAITS);
    ask_of(&c, 2, "t3", "User:a", LOCK_SHARED, -1, HOUR);
    cr_assert_eq(c.answer, LOCK_REFUSED);
    expect_text(&c.fault, FAULT_DEADLOCK, "a cycle of 3");
    expect_text(&c.fault, FAULT_DEADLOCK,
                "pid 1002 (job) for \"edit\" of User:a; pid 1001 (job) for \"edit\" of User:b; "
                "pid 1002 (job) for \"edit\" of User:c");
}

/* A shared request waits behind an exclusive one, which waits for a shared hold. */
Test(locks, a_cycle_through_the_queue)
{
    struct ask x, p, r;
    get(1, "User:a", LOCK_SHARED);
    get(3, "User:b", LOCK_EXCLUSIVE);
    ask(&x, 2, "User:a", LOCK_EXCLUSIVE);
    ask(&p, 1, "User:b", LOCK_EXCLUSIVE);
    cr_assert_eq(p.answer, LOCK_WAITS);
    ask(&r, 3, "User:a", LOCK_SHARED);
    cr_assert_eq(r.answer, LOCK_REFUSED);
    cr_assert_eq(r.fault.code, FAULT_DEADLOCK);
    /* Without the exclusive one in between nobody would wait. */
    lock_cancel(x.wait);
    ask(&r, 3, "User:a", LOCK_SHARED);
    cr_assert_eq(r.answer, LOCK_GRANTED);
}

/* Closing, it also keeps shared ones from joining shared ones. */
Test(locks, a_cycle_through_a_closing_lock)
{
    struct ask p, r;
    get(1, "User:a", LOCK_SHARED);
    get(3, "User:b", LOCK_EXCLUSIVE);
    lock_wanted(lock_of("User:a"));
    ask(&p, 1, "User:b", LOCK_EXCLUSIVE);
    cr_assert_eq(p.answer, LOCK_WAITS);
    ask(&r, 3, "User:a", LOCK_SHARED);
    cr_assert_eq(r.fault.code, FAULT_DEADLOCK);
}

Test(locks, no_deadlock_where_there_is_none)
{
    struct ask a, b, c, d, e;
    /* A diamond: 1 waits for 2 and 3, which both wait for 4. */
    struct hold *h = get(4, "User:d", LOCK_EXCLUSIVE);
    get(1, "User:own", LOCK_EXCLUSIVE);
    get(2, "User:a", LOCK_SHARED);
    get(3, "User:a", LOCK_SHARED);
    ask(&b, 2, "User:d", LOCK_EXCLUSIVE);
    ask(&c, 3, "User:d", LOCK_EXCLUSIVE);
    ask(&a, 1, "User:a", LOCK_EXCLUSIVE);
    cr_assert(a.answer == LOCK_WAITS && b.answer == LOCK_WAITS && c.answer == LOCK_WAITS);
    /* Other owners of one client are other lines of execution. */
    get_of(4, "other", "User:e", LOCK_EXCLUSIVE, HOUR);
    ask_of(&d, 4, "other", "User:a", LOCK_EXCLUSIVE, -1, HOUR);
    cr_assert_eq(d.answer, LOCK_WAITS);
    /* Who holds nothing cannot be waited for. */
    ask(&e, 5, "User:own", LOCK_EXCLUSIVE);
    cr_assert_eq(e.answer, LOCK_WAITS);
    hold_release(h);
    turn_settle(base);
    cr_assert_not_null(b.hold);
}

#define CHAIN 10000

Test(locks, a_long_chain)
{
    static struct ask asks[CHAIN];
    char key[32], next[32];
    for (unsigned i = 0; i < CHAIN; i++) {
        snprintf(key, sizeof(key), "User:%u", i);
        ask(&asks[i], i, key, LOCK_EXCLUSIVE);
    }
    turn_settle(base);
    for (unsigned i = 0; i + 1 < CHAIN; i++) {
        snprintf(next, sizeof(next), "User:%u", i + 1);
        ask(&asks[i], i, next, LOCK_EXCLUSIVE);
        cr_assert_eq(asks[i].answer, LOCK_WAITS);
    }
    /* One who holds nothing waits at the end of it; one who does is no part of it. */
    ask(&asks[CHAIN - 1], CHAIN, "User:0", LOCK_SHARED);
    cr_assert_eq(asks[CHAIN - 1].answer, LOCK_WAITS);
    lock_cancel(asks[CHAIN - 1].wait);
    get(CHAIN, "User:apart", LOCK_EXCLUSIVE);
    ask(&asks[CHAIN - 1], CHAIN, "User:0", LOCK_SHARED);
    cr_assert_eq(asks[CHAIN - 1].answer, LOCK_WAITS);
    lock_cancel(asks[CHAIN - 1].wait);

    ask(&asks[CHAIN - 1], CHAIN - 1, "User:0", LOCK_EXCLUSIVE);
    cr_assert_eq(asks[CHAIN - 1].answer, LOCK_REFUSED);
    const struct fault *f = &asks[CHAIN - 1].fault;
    expect_text(f, FAULT_DEADLOCK, "a cycle of 10000");
    expect_text(f, FAULT_DEADLOCK, "pid 10999 (job) for \"edit\" of User:0; ");
    expect_text(f, FAULT_DEADLOCK, "pid 1000 (job) for \"edit\" of User:1; ");
    expect_text(f, FAULT_DEADLOCK, "more ...; ");
    const char *end = "pid 10998 (job) for \"edit\" of User:9999";
    cr_assert_str_eq(f->text + strlen(f->text) - strlen(end), end);
}

/* Names as long as they may be: both ends are named all the same. */
Test(locks, a_cycle_of_long_names)
{
    struct ask a, b;
    char x[301], y[301];
    memset(x, 'x', 300);
    memset(y, 'y', 300);
    x[300] = y[300] = '\0';
    get(1, x, LOCK_EXCLUSIVE);
    get(2, y, LOCK_EXCLUSIVE);
    ask(&a, 1, y, LOCK_EXCLUSIVE);
    ask(&b, 2, x, LOCK_EXCLUSIVE);
    expect_text(&b.fault, FAULT_DEADLOCK, "pid 1002 (job) for \"edit\" of xxxxxx");
    expect_text(&b.fault, FAULT_DEADLOCK, "...; pid 1001 (job) for \"edit\" of yyyyyy");
    cr_assert_lt(strlen(b.fault.text), FAULT_TEXT_MAX);
}

/* ---- the lease ---- */

Test(locks, nothing_without_a_lease)
{
    struct ask a, b;
    leased = false;
    ask(&a, 1, "User:a", LOCK_SHARED);
    ask(&b, 2, "User:a", LOCK_EXCLUSIVE);
    struct lock *l = lock_of("User:a");
    cr_assert_eq(a.answer, LOCK_WAITS);
    cr_assert_eq(nwant, 0, "said from the loop");
    cr_assert_eq(nwaiting, 2);
    turn_settle(base);
    cr_assert_eq(nwant, 1);
    cr_assert_eq(wanted_mode, LOCK_SHARED);
    lock_cover(l, LOCK_SHARED, 500);
    cr_assert_eq(l->nholds, 1);
    cr_assert_eq(l->holds->fence, 500);
    turn_settle(base);
    cr_assert_not_null(a.hold);
    cr_assert_eq(nended, 1);
    /* The next one needs more, and it is asked for before the others are through. */
    cr_assert_eq(nwant, 2);
    cr_assert_eq(wanted_mode, LOCK_EXCLUSIVE);
    lock_cover(l, LOCK_EXCLUSIVE, 400);
    cr_assert_eq(l->nholds, 1);
    hold_release(a.hold);
    turn_settle(base);
    cr_assert_not_null(b.hold);
    cr_assert_eq(b.hold->fence, 501, "fences never go back");
    cr_assert_eq(nended, 2);
    lock_advance(l);
    turn_settle(base);
    cr_assert_eq(nwant, 2);
}

Test(locks, a_lease_that_is_lost)
{
    struct ask w, t;
    struct fault f;
    struct hold *a = get(1, "User:a", LOCK_SHARED), *b = get(2, "User:a", LOCK_SHARED);
    struct lock *l = lock_of("User:a");
    ask(&w, 3, "User:a", LOCK_EXCLUSIVE);
    turn_settle(base);
    leased = false;
    unsigned want = nwant, waiting = nwaiting, eased = neased;
    fault_set(&f, FAULT_LOCK_LOST, "the lease ran out");
    lock_uncover(l, &f);
    cr_assert_eq(nwaiting, waiting + 1, "another host may have it now");
    turn_settle(base);
    cr_assert(hold_lost(a) && hold_lost(b));
    cr_assert_eq(nlost, 2);
    cr_assert_eq(neased, eased + 1);
    cr_assert_lt(hold_check(a, &f), 0);
    expect_text(&f, FAULT_LOCK_LOST, "the lease ran out");
    cr_assert_eq(w.told, 0);
    cr_assert_eq(nwant, want);
    lock_advance(l);
    turn_settle(base);
    cr_assert_eq(nwant, want + 1);
    /* A newcomer stands in line, and asks for nothing. */
    ask(&t, 4, "User:a", LOCK_EXCLUSIVE);
    turn_settle(base);
    cr_assert_eq(nwant, want + 1);
    lock_cover(l, LOCK_EXCLUSIVE, 1);
    turn_settle(base);
    cr_assert_not_null(w.hold);
    cr_assert_gt(w.hold->fence, b->fence);
    cr_assert_eq(t.told, 0);
    locks_client_gone(table, 3);
    turn_settle(base);
    cr_assert_not_null(t.hold);
    cr_assert_eq(nwaiting, nended);
}

Test(locks, another_hosts_turn)
{
    struct ask asks[6];
    limits.turns = 3;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    struct lock *l = lock_of("User:a");
    for (unsigned i = 0; i < 5; i++)
        ask(&asks[i], 10 + i, "User:a", LOCK_EXCLUSIVE);
    lock_wanted(l);
    lock_wanted(l); /* said again it changes nothing */
    cr_assert_not(lock_closing(l));
    leased = false;
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(hold_release(h));
        turn_settle(base);
        h = l->holds;
        lock_wanted(l);
    }
    cr_assert(lock_closing(l), "three more were granted");
    neased = 0;
    hold_release(h);
    cr_assert_null(l->holds);
    turn_settle(base);
    cr_assert_not_null(asks[2].hold);
    cr_assert_eq(asks[3].told, 0);
    cr_assert_eq(neased, 1);
    unsigned want = nwant;
    ask(&asks[5], 30, "User:a", LOCK_SHARED);
    turn_settle(base);
    cr_assert_eq(asks[5].told, 0, "nothing more is granted");
    cr_assert_eq(nwant, want, "nor asked for");

    /* The lease is given, and comes back. */
    struct fault f;
    fault_set(&f, FAULT_LOCK_LOST, "nobody sees this");
    lock_uncover(l, &f);
    cr_assert_not(lock_closing(l));
    cr_assert_eq(l->demand, LOCK_UNWANTED);
    lock_advance(l);
    turn_settle(base);
    cr_assert_eq(nwant, want + 1);
    cr_assert_eq(nlost, 0);
    lock_cover(l, LOCK_EXCLUSIVE, 1000);
    turn_settle(base);
    cr_assert_not_null(asks[3].hold);
    cr_assert_eq(asks[3].hold->fence, 1000);
}

Test(locks, another_hosts_turn_when_nobody_waits)
{
    struct ask a, b;
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    struct lock *l = lock_of("User:a");
    neased = 0;
    lock_wanted(l);
    cr_assert(lock_closing(l));
    turn_settle(base);
    cr_assert_eq(neased, 0);
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    hold_release(h);
    turn_settle(base);
    cr_assert_eq(neased, 1);
    cr_assert_eq(a.told, 0);
    /* It is not wanted any more: then it goes on here. */
    lock_unwanted(l);
    turn_settle(base);
    cr_assert_not_null(a.hold);
    /* Wanted while one waits: the turn is over when nobody waits any more. */
    ask(&b, 3, "User:a", LOCK_EXCLUSIVE);
    lock_wanted(l);
    cr_assert_not(lock_closing(l));
    hold_release(a.hold);
    cr_assert(lock_closing(l));
    turn_settle(base);
    cr_assert_not_null(b.hold);
    hold_release(b.hold);
    turn_settle(base);
    cr_assert_eq(neased, 2);
    /* Nobody has it: it is said at once. */
    lock_unwanted(l);
    lock_wanted(l);
    turn_settle(base);
    cr_assert_eq(neased, 3);
}

Test(locks, the_last_wait_goes_while_another_host_wants_it)
{
    struct ask a;
    get(1, "User:a", LOCK_EXCLUSIVE);
    struct lock *l = lock_of("User:a");
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    lock_wanted(l);
    cr_assert_not(lock_closing(l));
    lock_cancel(a.wait);
    cr_assert(lock_closing(l));
}

Test(locks, eased_when_the_only_wait_goes)
{
    struct ask a;
    leased = false;
    freeing = true;
    ask(&a, 1, "User:a", LOCK_EXCLUSIVE);
    turn_settle(base);
    cr_assert_eq(neased, 0);
    lock_cancel(a.wait);
    turn_settle(base);
    cr_assert_eq(neased, 1);
    cr_assert_eq(locks_count(table), 0);
}

Test(locks, writes_keep_a_lock)
{
    struct hold *h = get(1, "User:a", LOCK_EXCLUSIVE);
    struct lock *l = lock_of("User:a");
    struct ask a;
    lock_wanted(l);
    lock_pin(l);
    lock_pin(l);
    neased = 0;
    hold_release(h);
    turn_settle(base);
    cr_assert_eq(neased, 0);
    cr_assert_not(lock_free(l));
    lock_unpin(l);
    turn_settle(base);
    cr_assert_eq(neased, 0);
    lock_unpin(l);
    turn_settle(base);
    cr_assert_eq(neased, 1);
    ask(&a, 2, "User:a", LOCK_EXCLUSIVE);
    cr_assert_not(lock_free(l));
    lock_cancel(a.wait);
    cr_assert(lock_free(l)); /* before it is told that it is eased */
    turn_settle(base);
    cr_assert_eq(neased, 1);
}

/* ---- many ---- */

Test(locks, many_of_all)
{
    char key[32], who[32];
    static struct hold *holds[10000];
    static struct ask asks[10000];
    freeing = true;
    for (unsigned i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "User:%u", i);
        ask_of(&asks[i], 1, "one", key, LOCK_EXCLUSIVE, -1, HOUR);
    }
    turn_settle(base);
    for (unsigned i = 0; i < 10000; i++) {
        holds[i] = asks[i].hold;
        cr_assert_not_null(holds[i]);
        snprintf(who, sizeof(who), "owner %u", i);
        ask_of(&asks[i], 2, who, "User:5000", LOCK_SHARED, -1, HOUR);
        cr_assert_eq(asks[i].answer, LOCK_WAITS);
    }
    for (unsigned i = 0; i < 10000; i++)
        cr_assert(hold_release(holds[(i * 7919) % 10000]));
    turn_settle(base);
    for (unsigned i = 0; i < 10000; i++) {
        cr_assert_not_null(asks[i].hold);
        cr_assert_eq(locks_hold(table, 2, asks[i].hold->token), asks[i].hold);
    }
    cr_assert_eq(locks_count(table), 1);
    locks_client_gone(table, 2);
    turn_settle(base);
    cr_assert_eq(locks_count(table), 0);
}
