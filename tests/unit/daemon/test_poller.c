/* poller: who is looked at, until when, and what may go while it is served. */
#include "daemon/io/poller.h"
#include "turn.h"
#include <stdlib.h>

static struct event_base *base;
static struct poller *all;

/* What happens when one of them is served. */
static struct thing {
    struct polled polled;
    unsigned served, slept;
    unsigned busy;    /* so many turns it has something to do */
    unsigned refuses; /* so many times it will not fall asleep */
    void (*then)(struct thing *t);
} * things[3];

static struct thing *thing_of(struct polled *p)
{
    return (struct thing *)p; /* the first member */
}

static bool serve(struct polled *p)
{
    struct thing *t = thing_of(p);
    bool busy = t->busy > 0;

    t->served++;
    if (busy) {
        t->busy--;
        poller_wake(all, p);
    }
    if (t->then)
        t->then(t);
    return busy;
}

static bool fall_asleep(struct polled *p)
{
    struct thing *t = thing_of(p);

    t->slept++;
    if (!t->refuses)
        return true;
    t->refuses--;
    return false;
}

static void begin(void)
{
    static const struct polled_calls calls = {serve, fall_asleep};

    base = event_base_new();
    all = poller_new(base, &calls);
    cr_assert(all);
    for (int i = 0; i < 3; i++) {
        things[i] = calloc(1, sizeof *things[i]);
        cr_assert(things[i]);
    }
}

static void end(void)
{
    poller_free(all);
    event_base_free(base);
    for (int i = 0; i < 3; i++)
        free(things[i]);
}

TestSuite(poller, .init = begin, .fini = end);

static bool asleep(int i)
{
    return !things[i]->polled.awake;
}

Test(poller, is_served_until_there_is_nothing_to_do)
{
    things[0]->busy = 5;
    poller_wake(all, &things[0]->polled);
    cr_assert_eq(things[0]->served, 0, "not inside the call");
    turn_until(base, asleep(0));
    cr_assert_eq(things[0]->served, 6);
    cr_assert_eq(things[0]->slept, 1);
    cr_assert(turn_idle(base), "then the loop may sleep");
}

Test(poller, added_twice_is_served_once_a_turn)
{
    poller_wake(all, &things[0]->polled);
    poller_wake(all, &things[0]->polled);
    turn_until(base, asleep(0));
    cr_assert_eq(things[0]->served, 1);
}

Test(poller, wakes_again_and_again)
{
    for (unsigned i = 1; i <= 3; i++) {
        poller_wake(all, &things[0]->polled);
        turn_until(base, asleep(0));
        cr_assert_eq(things[0]->served, i);
    }
}

Test(poller, stays_awake_while_it_will_not_fall_asleep)
{
    things[0]->refuses = 3;
    poller_wake(all, &things[0]->polled);
    turn_until(base, asleep(0));
    cr_assert_eq(things[0]->slept, 4);
    cr_assert_eq(things[0]->served, 4);
}

Test(poller, is_looked_at_while_another_is_busy_but_not_for_ever)
{
    things[0]->busy = 1000;
    poller_wake(all, &things[0]->polled);
    poller_wake(all, &things[1]->polled);
    turn_until(base, asleep(1));
    cr_assert_not(asleep(0));
    cr_assert_gt(things[1]->served, 100);
    cr_assert_lt(things[1]->served, 1000);
    turn_until(base, asleep(0));
    cr_assert_eq(things[0]->served, 1001);
}

Test(poller, descriptors_are_looked_at_between_turns)
{
    struct timeval now = {0};
    struct event *wake = event_new(base, -1, 0, turn_wake, NULL);

    things[0]->busy = UINT32_MAX;
    poller_wake(all, &things[0]->polled);
    event_add(wake, &now);
    turn_until(base, !evtimer_pending(wake, NULL));
    event_free(wake);
    poller_remove(all, &things[0]->polled);
}

Test(poller, is_watched_as_long_as_is_said)
{
    poller_set_watch(all, 100);
    things[0]->busy = 1;
    poller_wake(all, &things[0]->polled);
    double from = turn_now();
    turn_until(base, asleep(0));
    cr_assert_gt(turn_now() - from, 0.00009);
    cr_assert_gt(things[0]->served, 2);
}

/* Comes back after its watch is over. Looks at it, one after the other, until it is asleep. */
static unsigned looks(struct thing *t)
{
    unsigned before = t->served;
    t->busy = 1;
    poller_wake(all, &t->polled);
    turn_until(base, !t->polled.awake);
    return t->served - before;
}

Test(poller, who_does_not_come_back_in_time_is_watched_for_less_and_less)
{
    unsigned watched = 0;
    poller_set_watch(all, 100);
    cr_assert_gt(looks(things[0]), 2);
    for (int i = 0; i < 200; i++)
        watched += looks(things[0]) > 2;
    cr_assert(watched > 0 && watched <= 9, "%u", watched);
}

static void come_back(struct thing *t)
{
    t->busy = t->served % 8 == 0; /* after some looks in vain */
}

Test(poller, who_comes_back_is_watched_for_again)
{
    poller_set_watch(all, 100000);
    things[0]->polled.misses = 6;
    things[0]->polled.skips = 1;
    cr_assert_leq(looks(things[0]), 2);
    things[0]->then = come_back;
    things[0]->busy = 1;
    poller_wake(all, &things[0]->polled);
    turn_until(base, things[0]->served > 40);
    cr_assert_eq(things[0]->polled.misses, 0);
    poller_remove(all, &things[0]->polled);
}

Test(poller, one_who_comes_back_is_watched_for_though_others_do_not)
{
    poller_set_watch(all, 100);
    things[0]->polled.skips = 63;
    poller_wake(all, &things[0]->polled);
    cr_assert_gt(looks(things[1]), 2);
}

Test(poller, removed_is_not_served)
{
    poller_wake(all, &things[0]->polled);
    poller_wake(all, &things[1]->polled);
    poller_remove(all, &things[0]->polled);
    poller_remove(all, &things[0]->polled);
    turn_until(base, asleep(1));
    cr_assert_eq(things[0]->served, 0);
}

static void remove_all(struct thing *t)
{
    (void)t;
    for (int i = 0; i < 3; i++)
        poller_remove(all, &things[i]->polled);
}

Test(poller, all_may_be_removed_while_one_is_served)
{
    things[0]->then = remove_all;
    for (int i = 0; i < 3; i++)
        poller_wake(all, &things[i]->polled);
    turn_settle(base);
    cr_assert_eq(things[0]->served, 1);
    cr_assert_eq(things[1]->served + things[2]->served, 0);
    cr_assert(turn_idle(base));
}

static void free_itself(struct thing *t)
{
    poller_remove(all, &t->polled);
    for (int i = 0; i < 3; i++)
        if (things[i] == t)
            things[i] = NULL;
    free(t);
}

Test(poller, may_be_freed_while_it_is_served)
{
    things[0]->then = things[2]->then = free_itself;
    things[1]->busy = 3;
    for (int i = 0; i < 3; i++)
        poller_wake(all, &things[i]->polled);
    turn_until(base, asleep(1));
    cr_assert_eq(things[1]->served, 4);
    cr_assert_null(things[0]);
    cr_assert_null(things[2]);
}

static void add_another(struct thing *t)
{
    t->then = NULL;
    poller_wake(all, &things[1]->polled);
}

Test(poller, others_may_be_added_while_one_is_served)
{
    things[0]->then = add_another;
    poller_wake(all, &things[0]->polled);
    turn_until(base, asleep(0) && asleep(1));
    cr_assert_eq(things[1]->slept, 1);
}

static void end_all(struct thing *t)
{
    poller_remove(all, &t->polled);
    poller_free(all);
    all = NULL;
}

Test(poller, all_may_end_while_one_is_served)
{
    things[0]->then = end_all;
    poller_wake(all, &things[0]->polled);
    turn_until(base, things[0]->served);
    turn_settle(base);
    cr_assert_eq(things[0]->served, 1);
    cr_assert(turn_idle(base));
}
