/* hot: who is looked at, until when, and what may go while it is served. */
#include "daemon/io/hot.h"
#include "turn.h"
#include <stdlib.h>

static struct event_base *base;
static struct hots *all;

/* What happens when one of them is served. */
static struct thing {
    struct hot hot;
    unsigned served, cooled;
    unsigned busy;    /* so many turns it has something to do */
    unsigned refuses; /* so many times it will not become cold */
    void (*then)(struct thing *t);
} * things[3];

static struct thing *thing_of(struct hot *h)
{
    return (struct thing *)h; /* the first member */
}

static bool serve(struct hot *h)
{
    struct thing *t = thing_of(h);
    bool busy = t->busy > 0;

    t->served++;
    if (busy) {
        t->busy--;
        hot_add(all, h);
    }
    if (t->then)
        t->then(t);
    return busy;
}

static bool on_cold(struct hot *h)
{
    struct thing *t = thing_of(h);

    t->cooled++;
    if (!t->refuses)
        return true;
    t->refuses--;
    return false;
}

static void begin(void)
{
    static const struct hot_calls calls = {serve, on_cold};

    base = event_base_new();
    all = hots_new(base, &calls);
    cr_assert(all);
    for (int i = 0; i < 3; i++) {
        things[i] = calloc(1, sizeof *things[i]);
        cr_assert(things[i]);
    }
}

static void end(void)
{
    hots_free(all);
    event_base_free(base);
    for (int i = 0; i < 3; i++)
        free(things[i]);
}

TestSuite(hot, .init = begin, .fini = end);

static bool cold(int i)
{
    return !things[i]->hot.is;
}

Test(hot, is_served_until_there_is_nothing_to_do)
{
    things[0]->busy = 5;
    hot_add(all, &things[0]->hot);
    cr_assert_eq(things[0]->served, 0, "not inside the call");
    turn_until(base, cold(0));
    cr_assert_eq(things[0]->served, 6);
    cr_assert_eq(things[0]->cooled, 1);
    cr_assert(turn_idle(base), "then the loop may sleep");
}

Test(hot, added_twice_is_served_once_a_turn)
{
    hot_add(all, &things[0]->hot);
    hot_add(all, &things[0]->hot);
    turn_until(base, cold(0));
    cr_assert_eq(things[0]->served, 1);
}

Test(hot, becomes_hot_again_and_again)
{
    for (unsigned i = 1; i <= 3; i++) {
        hot_add(all, &things[0]->hot);
        turn_until(base, cold(0));
        cr_assert_eq(things[0]->served, i);
    }
}

Test(hot, stays_hot_while_it_will_not_become_cold)
{
    things[0]->refuses = 3;
    hot_add(all, &things[0]->hot);
    turn_until(base, cold(0));
    cr_assert_eq(things[0]->cooled, 4);
    cr_assert_eq(things[0]->served, 4);
}

Test(hot, is_looked_at_while_another_is_busy_but_not_for_ever)
{
    things[0]->busy = 1000;
    hot_add(all, &things[0]->hot);
    hot_add(all, &things[1]->hot);
    turn_until(base, cold(1));
    cr_assert_not(cold(0));
    cr_assert_gt(things[1]->served, 100);
    cr_assert_lt(things[1]->served, 1000);
    turn_until(base, cold(0));
    cr_assert_eq(things[0]->served, 1001);
}

Test(hot, descriptors_are_looked_at_between_turns)
{
    struct timeval now = {0};
    struct event *wake = event_new(base, -1, 0, turn_wake, NULL);

    things[0]->busy = UINT32_MAX;
    hot_add(all, &things[0]->hot);
    event_add(wake, &now);
    turn_until(base, !evtimer_pending(wake, NULL));
    event_free(wake);
    hot_remove(all, &things[0]->hot);
}

Test(hot, is_watched_as_long_as_is_said)
{
    hots_set_watch(all, 100);
    things[0]->busy = 1;
    hot_add(all, &things[0]->hot);
    double from = turn_now();
    turn_until(base, cold(0));
    cr_assert_gt(turn_now() - from, 0.00009);
    cr_assert_gt(things[0]->served, 2);
}

Test(hot, removed_is_not_served)
{
    hot_add(all, &things[0]->hot);
    hot_add(all, &things[1]->hot);
    hot_remove(all, &things[0]->hot);
    hot_remove(all, &things[0]->hot);
    turn_until(base, cold(1));
    cr_assert_eq(things[0]->served, 0);
}

static void remove_all(struct thing *t)
{
    (void)t;
    for (int i = 0; i < 3; i++)
        hot_remove(all, &things[i]->hot);
}

Test(hot, all_may_be_removed_while_one_is_served)
{
    things[0]->then = remove_all;
    for (int i = 0; i < 3; i++)
        hot_add(all, &things[i]->hot);
    turn_settle(base);
    cr_assert_eq(things[0]->served, 1);
    cr_assert_eq(things[1]->served + things[2]->served, 0);
    cr_assert(turn_idle(base));
}

static void free_itself(struct thing *t)
{
    hot_remove(all, &t->hot);
    for (int i = 0; i < 3; i++)
        if (things[i] == t)
            things[i] = NULL;
    free(t);
}

Test(hot, may_be_freed_while_it_is_served)
{
    things[0]->then = things[2]->then = free_itself;
    things[1]->busy = 3;
    for (int i = 0; i < 3; i++)
        hot_add(all, &things[i]->hot);
    turn_until(base, cold(1));
    cr_assert_eq(things[1]->served, 4);
    cr_assert_null(things[0]);
    cr_assert_null(things[2]);
}

static void add_another(struct thing *t)
{
    t->then = NULL;
    hot_add(all, &things[1]->hot);
}

Test(hot, others_may_be_added_while_one_is_served)
{
    things[0]->then = add_another;
    hot_add(all, &things[0]->hot);
    turn_until(base, cold(0) && cold(1));
    cr_assert_eq(things[1]->cooled, 1);
}

static void end_all(struct thing *t)
{
    hot_remove(all, &t->hot);
    hots_free(all);
    all = NULL;
}

Test(hot, all_may_end_while_one_is_served)
{
    things[0]->then = end_all;
    hot_add(all, &things[0]->hot);
    turn_until(base, things[0]->served);
    turn_settle(base);
    cr_assert_eq(things[0]->served, 1);
    cr_assert(turn_idle(base));
}
