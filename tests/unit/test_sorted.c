#include "protocol/tree.h"
#include "tests/unit/dice.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The naive one: the score of each member that there may be, NO where it is not there. */
#define MEMBERS 2000
#define NO (-1)
static int scores[MEMBERS];

static struct cell member_cell(int member)
{
    char text[40];
    int len =
        snprintf(text, sizeof text, member % 3 ? "%05d" : "a member that is long: %05d", member);

    return cell_str(text, (size_t)len);
}

static int order(const void *left, const void *right)
{
    int a = *(const int *)left, b = *(const int *)right;

    if (scores[a] != scores[b])
        return scores[a] - scores[b];
    if ((a % 3 == 0) != (b % 3 == 0))
        return a % 3 == 0 ? 1 : -1; /* digits are before letters */
    return a - b;
}

static void put_both(struct container *s, int member, int score)
{
    struct cell c = member_cell(member);
    double old = NO;

    cr_assert_eq(sorted_put(s, &c, score, &old), scores[member] != NO);
    cr_assert_eq(old, scores[member]);
    scores[member] = score;
    cell_free(&c);
}

static void take_both(struct container *s, int member)
{
    struct cell c = member_cell(member);
    double old = NO;

    cr_assert_eq(sorted_take(s, &c, &old), scores[member] != NO);
    cr_assert_eq(old, scores[member]);
    scores[member] = NO;
    cell_free(&c);
}

static void add_both(struct container *s, int member, int score)
{
    struct cell c = member_cell(member);

    container_add(s, &(struct element){.cell = &c, .score = score});
    scores[member] = score;
}

static size_t in_order(int out[MEMBERS])
{
    size_t n = 0;

    for (int i = 0; i < MEMBERS; i++)
        if (scores[i] != NO)
            out[n++] = i;
    qsort(out, n, sizeof *out, order);
    return n;
}

static void is_ranked(const struct container *s, const int *members, size_t rank)
{
    struct cell c = member_cell(members[rank]);
    double score;
    const struct cell *at = sorted_at(s, rank, &score);
    size_t below = rank;

    cr_assert(cell_equal(at, &c), "rank %zu", rank);
    cr_assert_eq(score, scores[members[rank]]);
    cr_assert_eq(sorted_rank(s, &c, score), rank);
    while (below > 0 && scores[members[below - 1]] == score)
        below--;
    cr_assert_eq(sorted_below(s, score), below);
    cell_free(&c);
}

static void compare(const struct container *s)
{
    int members[MEMBERS];
    size_t n = in_order(members), i = 0;

    cr_assert_eq(s->len, n);
    for (struct element e = {0}; container_next(s, &e); i++)
        cr_assert_eq(e.score, scores[members[i]]);
    cr_assert_eq(i, n);
    for (i = 0; i < n; i++)
        is_ranked(s, members, i);
    for (size_t step = 0; step < 100 && n > 0; step++)
        is_ranked(s, members, dice((uint32_t)n));
    cr_assert_eq(sorted_below(s, 1e9), n);
}

static void nothing(void)
{
    for (int i = 0; i < MEMBERS; i++)
        scores[i] = NO;
}

static void change(struct container *s, uint32_t grow, int many)
{
    int members[MEMBERS];
    size_t n;

    if (dice(100) < grow)
        put_both(s, (int)dice(MEMBERS), (int)dice(dice(2) ? 4 : 10000));
    else if (many == 0 || (n = in_order(members)) == 0)
        take_both(s, (int)dice(MEMBERS));
    else
        take_both(s, members[dice(2) ? 0 : n - 1]);
}

Test(sorted, does_what_a_table_of_scores_does)
{
    size_t before = tree_memory();
    struct container *s = container_new(TYPE_SORTED);

    nothing();
    for (int round = 0; round < 60; round++) {
        uint32_t grow = dice(101);
        for (int step = 0; step < 400; step++)
            change(s, grow, round % 4);
        compare(s);
    }
    struct container *copy = container_copy(s);
    compare(copy);
    change(copy, 100, 0);
    container_free(s);
    compare(copy);
    container_free(copy);
    cr_assert_eq(tree_memory(), before);
}

Test(sorted, takes_members_in_whatever_order_and_one_again)
{
    size_t before = tree_memory();

    for (int by = 1; by < 8; by += 2) {
        struct container *s = container_new(TYPE_SORTED);
        nothing();
        container_reserve(s, by == 1 ? 0 : MEMBERS);
        for (int i = 0; i < MEMBERS; i++)
            add_both(s, i * by % MEMBERS, by == 5 ? MEMBERS - i : i / by);
        compare(s);
        add_both(s, 7, 900);
        compare(s);
        container_free(s);
    }
    cr_assert_eq(tree_memory(), before);
}

Test(sorted, a_drained_one_gives_memory_back)
{
    size_t before = tree_memory();
    struct container *s = container_new(TYPE_SORTED);

    cr_assert_leq(tree_memory() - before, 96);
    nothing();
    for (int i = 0; i < MEMBERS; i++)
        put_both(s, i, (int)dice(10000));
    size_t full = tree_memory() - before;
    for (int i = 0; i < MEMBERS; i++)
        if (i % 200)
            take_both(s, i);
    compare(s);
    cr_assert_lt(tree_memory() - before, full / 20);
    container_free(s);
    cr_assert_eq(tree_memory(), before);
}
