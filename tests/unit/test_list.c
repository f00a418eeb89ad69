#include "protocol/tree.h"
#include "tests/unit/dice.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define HEAD(l) ((struct container *)(l))

static int64_t int_at(struct list *l, size_t i)
{
    int64_t v = -1;

    cr_assert_eq(cell_get_int(list_at(l, i), &v), 0);
    return v;
}

#define MODEL_MAX 4000
static int64_t model[MODEL_MAX];
static size_t model_len;

static void insert_both(struct list *l, size_t i, int64_t v)
{
    list_insert(l, i, cell_int(v));
    memmove(model + i + 1, model + i, (model_len - i) * sizeof *model);
    model[i] = v;
    model_len++;
}

static void take_both(struct list *l, size_t i)
{
    struct cell c = list_take(l, i);
    int64_t v = -1;

    cr_assert_eq(cell_get_int(&c, &v), 0);
    cr_assert_eq(v, model[i]);
    cell_free(&c);
    model_len--;
    memmove(model + i, model + i + 1, (model_len - i) * sizeof *model);
}

static void compare(struct list *l)
{
    cr_assert_eq(list_len(l), model_len);
    for (size_t i = 0; i < model_len; i++)
        cr_assert_eq(int_at(l, i), model[i]);
}

/* Grows and shrinks in phases, mostly at one end or anywhere. */
Test(list, does_what_an_array_does)
{
    size_t before = tree_memory();
    struct list *l = list_new();

    for (int round = 0; round < 60; round++) {
        uint32_t grow = dice(101), how = dice(4);
        for (int step = 0; step < 500; step++) {
            if (model_len == 0 || (model_len < MODEL_MAX && dice(100) < grow)) {
                size_t i = how == 0 ? 0 : how == 1 ? model_len : dice((uint32_t)model_len + 1);
                insert_both(l, i, step * 1000 + round);
            } else {
                take_both(l, how == 0 ? model_len - 1 : how == 1 ? 0 : dice((uint32_t)model_len));
            }
        }
        compare(l);
    }
    container_free(HEAD(l));
    cr_assert_eq(tree_memory(), before);
}

Test(list, an_empty_one_is_small_and_a_drained_one_gives_memory_back)
{
    size_t before = tree_memory();
    struct list *l = list_new();

    cr_assert_leq(tree_memory() - before, 48);
    for (int i = 0; i < 10000; i++)
        list_insert(l, (size_t)i, cell_int(i));
    cr_assert_leq(tree_memory() - before, 10000 * sizeof(struct cell) * 8 / 5);
    for (int i = 0; i < 9990; i++) {
        struct cell c = list_take(l, 0);
        cell_free(&c);
    }
    cr_assert_leq(tree_memory() - before, 2048);
    cr_assert_eq(int_at(l, 0), 9990);
    cr_assert_eq(int_at(l, 9), 9999);
    container_free(HEAD(l));
}

/* A queue that is always about as long must not grow, in either direction. */
Test(list, a_queue_stays_within_its_memory)
{
    for (int front = 0; front < 2; front++) {
        size_t before = tree_memory();
        struct list *l = list_new();
        for (int i = 0; i < 100000; i++) {
            struct cell c;
            list_insert(l, front ? 0 : list_len(l), cell_int(i));
            if (list_len(l) > 100) {
                c = list_take(l, front ? list_len(l) - 1 : 0);
                cell_free(&c);
            }
        }
        cr_assert_leq(tree_memory() - before, 100 * sizeof(struct cell) * 4);
        cr_assert_eq(int_at(l, 0), front ? 99999 : 99900);
        container_free(HEAD(l));
    }
}

Test(list, replace_gives_back_the_old_one)
{
    size_t before = tree_memory();
    struct list *l = list_new();
    struct cell old;

    list_insert(l, 0, cell_str("a text that is on the heap", 26));
    old = list_replace(l, 0, cell_int(5));
    cr_assert_eq(old.kind, CELL_HEAP);
    cell_free(&old);
    cr_assert_eq(int_at(l, 0), 5);
    container_free(HEAD(l));
    cr_assert_eq(tree_memory(), before);
}

Test(list, unloading_keeps_the_length_only)
{
    size_t before = tree_memory();
    struct list *l = list_new();

    for (int i = 0; i < 50; i++)
        list_insert(l, 0, cell_str("a text that is on the heap", 26));
    container_unload(HEAD(l), 50);
    cr_assert_not(list_loaded(l));
    cr_assert_leq(tree_memory() - before, 48);
    cr_assert_eq(list_len(l), 50);
    list_adjust_len(l, 2);
    list_adjust_len(l, -3);
    cr_assert_eq(list_len(l), 49);
    list_adjust_len(l, -100);
    cr_assert_eq(list_len(l), 0);
    container_unload(HEAD(l), 7);
    container_set_loaded(HEAD(l));
    cr_assert(list_loaded(l));
    cr_assert_eq(list_len(l), 0);
    list_insert(l, 0, cell_int(1));
    list_adjust_len(l, 5);
    cr_assert_eq(list_len(l), 1, "the length of a loaded list is what is in it");
    container_set_loaded(HEAD(l));
    cr_assert_eq(list_len(l), 1, "loaded already");
    container_free(HEAD(l));
    cr_assert_eq(tree_memory(), before);
}

Test(list, a_copy_is_its_own)
{
    size_t before = tree_memory();
    struct list *l = list_new(), *copy, *away;

    for (int i = 0; i < 20; i++)
        list_insert(l, 0, cell_str("a text that is on the heap", 26));
    copy = (struct list *)container_copy(HEAD(l));
    container_unload(HEAD(l), 3);
    away = (struct list *)container_copy(HEAD(l));
    container_free(HEAD(l));
    cr_assert_eq(list_len(copy), 20);
    cr_assert_eq(list_at(copy, 19)->kind, CELL_HEAP);
    cr_assert_not(list_loaded(away));
    cr_assert_eq(list_len(away), 3);
    container_free(HEAD(away));
    container_free(HEAD(copy));
    cr_assert_eq(tree_memory(), before);
}

/* ---- records ---- */

static const struct type int_type = {.kind = TYPE_INT};
static struct field fields[] = {{.name = "a", .name_len = 1, .type = &int_type},
                                {.name = "b", .name_len = 1, .type = &int_type},
                                {.name = "c", .name_len = 1, .type = &int_type}};

static struct cell element(const struct model *m, int number)
{
    struct cell c = {0};
    char pk[32];

    c.record = record_new(m);
    c.kind = CELL_RECORD;
    c.record->pk = cell_str(pk, (size_t)snprintf(pk, sizeof pk, "element-%d", number));
    return c;
}

static struct record *by_number(struct list *l, int number)
{
    char pk[32];
    size_t len = (size_t)snprintf(pk, sizeof pk, "element-%d", number);

    return list_by_pk(l, pk, len);
}

static int64_t find_number(struct list *l, int number)
{
    char pk[32];
    size_t len = (size_t)snprintf(pk, sizeof pk, "element-%d", number);

    return list_find_pk(l, pk, len);
}

static int number_at(struct list *l, size_t i)
{
    const char *s;
    size_t len;
    int number = -1;

    cr_assert_eq(cell_get_str(&list_at(l, i)->record->pk, &s, &len), 0);
    sscanf(s, "element-%d", &number);
    return number;
}

/* Every number from 0 to 299 is asked for after each change: there, where, or not there. */
Test(list, records_are_found_by_pk_whatever_happened_before)
{
    struct model m = {.name = "M", .atomic = true, .nfields = 1, .fields = fields};
    size_t before = tree_memory();
    struct list *l = list_new();
    bool there[300] = {0};

    for (int step = 0; step < 3000; step++) {
        int number = (int)dice(300);
        uint32_t n = (uint32_t)list_len(l);
        /* Long phases of growing and of shrinking, through the size where the table begins. */
        bool grow = step / 500 % 2 == 0;
        if (there[number] && (!grow || dice(4) == 0)) {
            struct cell c = list_take(l, (size_t)find_number(l, number));
            cell_free(&c);
            there[number] = false;
        } else if (!there[number] && (grow || dice(4) == 0)) {
            list_insert(l, dice(n + 1), element(&m, number));
            there[number] = true;
        } else if (!there[number] && n) {
            size_t at = dice(n);
            struct cell old;
            there[number_at(l, at)] = false;
            old = list_replace(l, at, element(&m, number));
            cell_free(&old);
            there[number] = true;
        }
        for (int i = step % 7; i < 300; i += 7) {
            struct record *r = by_number(l, i);
            cr_assert_eq(r != NULL, there[i], "%d after step %d", i, step);
            if (r)
                cr_assert_eq(list_at(l, (size_t)find_number(l, i))->record, r);
            else
                cr_assert_eq(find_number(l, i), -1);
        }
    }
    container_free(HEAD(l));
    cr_assert_eq(tree_memory(), before);
}

Test(list, records_that_moved_are_found_where_they_are_now)
{
    struct model m = {.name = "M", .atomic = true, .nfields = 1, .fields = fields};
    size_t before = tree_memory();
    struct list *l = list_new();

    for (int i = 0; i < 100; i++)
        list_insert(l, (size_t)i, element(&m, i));
    cr_assert_not_null(by_number(l, 50));
    m.nfields = 3;
    for (int i = 0; i < 100; i++)
        list_at(l, (size_t)i)->record = record_widen(list_at(l, (size_t)i)->record);
    for (int i = 0; i < 100; i++) {
        struct cell c;
        cr_assert_eq(by_number(l, i), list_at(l, 0)->record);
        c = list_take(l, 0);
        cell_free(&c);
        cr_assert_null(by_number(l, i));
    }
    container_free(HEAD(l));
    cr_assert_eq(tree_memory(), before);
}
