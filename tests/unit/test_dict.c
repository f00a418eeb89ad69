#include "protocol/tree.h"
#include "tests/unit/dice.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define HEAD(d) ((struct container *)(d))

/* The naive one: pairs in order of insertion, searched from the front. */
#define KEYS 400
struct pair {
    int key;
    int64_t value;
};
static struct pair model[KEYS];
static size_t model_len;

static int model_find(int key)
{
    for (size_t i = 0; i < model_len; i++)
        if (model[i].key == key)
            return (int)i;
    return -1;
}

static size_t key_text(int key, char out[64])
{
    /* Some keys are long, some short; one is empty. */
    if (key == 0)
        return 0;
    return (size_t)snprintf(out, 64, key % 3 ? "%d" : "a key that does not fit in place %d", key);
}

static void put_both(struct dict *d, int key, int64_t value)
{
    char text[64];
    size_t len = key_text(key, text);
    struct cell old = dict_put(d, text, len, cell_int(value));
    int at = model_find(key);
    int64_t v = 0;

    cr_assert_eq(old.kind == CELL_UNSET, at < 0);
    if (at >= 0) {
        cr_assert_eq(cell_get_int(&old, &v), 0);
        cr_assert_eq(v, model[at].value);
        model[at].value = value;
    } else {
        model[model_len++] = (struct pair){key, value};
    }
    cell_free(&old);
}

static void take_both(struct dict *d, int key)
{
    char text[64];
    struct cell old = dict_take(d, text, key_text(key, text));
    int at = model_find(key);
    int64_t v = 0;

    cr_assert_eq(old.kind == CELL_UNSET, at < 0);
    if (at >= 0) {
        cr_assert_eq(cell_get_int(&old, &v), 0);
        cr_assert_eq(v, model[at].value);
        model_len--;
        memmove(model + at, model + at + 1, (model_len - (size_t)at) * sizeof *model);
    }
    cell_free(&old);
}

static void compare(struct dict *d)
{
    size_t it = 0, n = 0, len;
    const char *key;
    struct cell *c;
    char text[64];
    int64_t v = 0;

    cr_assert_eq(dict_len(d), model_len);
    while (dict_next(d, &it, &key, &len, &c)) {
        cr_assert_lt(n, model_len);
        cr_assert_eq(len, key_text(model[n].key, text));
        cr_assert_eq(memcmp(key, text, len), 0);
        cr_assert_eq(cell_get_int(c, &v), 0);
        cr_assert_eq(v, model[n].value);
        n++;
    }
    cr_assert_eq(n, model_len);
    cr_assert_eq(dict_last(d, &key, &len, &c), model_len > 0);
    if (model_len) {
        cr_assert_eq(len, key_text(model[model_len - 1].key, text));
        cr_assert_eq(memcmp(key, text, len), 0);
    }
    for (int k = 0; k < KEYS; k++) {
        len = key_text(k, text);
        c = dict_get(d, text, len);
        cr_assert_eq(c != NULL, model_find(k) >= 0);
    }
}

Test(dict, does_what_a_list_of_pairs_does)
{
    size_t before = tree_memory();
    struct dict *d;

    dict_seed(0x5eed);
    d = dict_new();
    for (int round = 0; round < 300; round++) {
        uint32_t grow = dice(101), keys = round % 3 ? 24 : KEYS;
        for (int step = 0; step < 100; step++) {
            if (dice(100) < grow)
                put_both(d, (int)dice(keys), dice(1000000));
            else if (model_len && dice(3) == 0)
                take_both(d, model[dice(2) ? 0 : model_len - 1].key);
            else
                take_both(d, (int)dice(keys));
        }
        compare(d);
    }
    dict_free(d);
    cr_assert_eq(tree_memory(), before);
}

Test(dict, an_empty_one_is_small_and_a_drained_one_gives_memory_back)
{
    size_t before = tree_memory();
    struct dict *d = dict_new();
    char key[32];

    cr_assert_leq(tree_memory() - before, 48);
    for (int i = 0; i < 10000; i++)
        dict_put(d, key, (size_t)snprintf(key, sizeof key, "%d", i), cell_int(i));
    for (int i = 0; i < 9995; i++) {
        struct cell c = dict_take(d, key, (size_t)snprintf(key, sizeof key, "%d", i));
        cr_assert_neq(c.kind, CELL_UNSET);
    }
    cr_assert_eq(dict_len(d), 5);
    /* What was big enough to be mapped by itself keeps a page. */
    cr_assert_leq(tree_memory() - before, 2048 + 4096);
    dict_free(d);
    cr_assert_eq(tree_memory(), before);
}

/* The same key set and taken again and again, as a lock or a counter would be. */
Test(dict, holes_do_not_pile_up)
{
    size_t before = tree_memory();
    struct dict *d = dict_new();
    char key[32];
    struct cell c;

    for (int i = 0; i < 20; i++)
        dict_put(d, key, (size_t)snprintf(key, sizeof key, "%d", i), cell_int(i));
    for (int i = 0; i < 100000; i++) {
        size_t len = (size_t)snprintf(key, sizeof key, "%d", i % 20);
        c = dict_take(d, key, len);
        cr_assert_neq(c.kind, CELL_UNSET);
        dict_put(d, key, len, c);
    }
    cr_assert_eq(dict_len(d), 20);
    cr_assert_leq(tree_memory() - before, 4096);
    dict_free(d);
    cr_assert_eq(tree_memory(), before);
}

Test(dict, unloading_keeps_the_length_only)
{
    size_t before = tree_memory();
    struct dict *d = dict_new(), *copy;
    size_t it = 0, len;
    const char *key;
    struct cell *c;
    char text[32];

    for (int i = 0; i < 50; i++)
        dict_put(d, text, (size_t)snprintf(text, sizeof text, "%d", i), cell_int(i));
    copy = (struct dict *)container_copy(HEAD(d));
    container_unload(HEAD(d), 50);
    cr_assert_not(dict_loaded(d));
    cr_assert_eq(dict_len(d), 50);
    cr_assert_null(dict_get(d, "1", 1));
    cr_assert_not(dict_next(d, &it, &key, &len, &c));
    cr_assert_not(dict_last(d, &key, &len, &c));
    container_set_loaded(HEAD(d));
    cr_assert_eq(dict_len(d), 0);
    dict_put(d, "1", 1, cell_int(5));
    cr_assert_eq(dict_len(d), 1);
    cr_assert_eq(dict_len(copy), 50);
    cr_assert_not_null(dict_get(copy, "49", 2));
    dict_free(d);
    dict_free(copy);
    cr_assert_eq(tree_memory(), before);
}

/* Taking out and putting in all the time, in a big one: it is packed on the way, and each is found.
 */
Test(dict, a_big_one_is_packed_while_it_is_used)
{
    enum { N = 20000, ROUNDS = 100000 };
    static bool there[N];
    size_t before = tree_memory(), len = 0, most = 0;
    struct dict *d = dict_new();
    char key[32];

    for (int i = 0; i < ROUNDS; i++) {
        int k = (int)dice(N);
        size_t n = (size_t)snprintf(key, sizeof key, "key number %d", k);
        bool put = i < N || dice(i / 10000 % 2 ? 4 : 2) == 0; /* it grows, and shrinks */
        struct cell c = put ? dict_put(d, key, n, cell_int(k)) : dict_take(d, key, n);
        cr_assert_eq(c.kind != CELL_UNSET, there[k]);
        cell_free(&c);
        len = len - there[k] + put;
        there[k] = put;
        cr_assert_eq(dict_len(d), len);
        if (tree_memory() - before > most)
            most = tree_memory() - before;
        if (i % 97 == 0 && len > 0) {
            const char *last;
            size_t last_len;
            struct cell *value;
            cr_assert(dict_last(d, &last, &last_len, &value));
        }
    }
    for (int k = 0; k < N; k++) {
        size_t n = (size_t)snprintf(key, sizeof key, "key number %d", k);
        struct cell *c = dict_get(d, key, n);
        int64_t v = -1;
        cr_assert_eq(c != NULL, there[k]);
        cr_assert(!c || (cell_get_int(c, &v) == 0 && v == k));
    }
    size_t it = 0, seen = 0, key_len;
    const char *at;
    struct cell *value;
    while (dict_next(d, &it, &at, &key_len, &value))
        seen++;
    cr_assert_eq(seen, len);
    cr_assert_leq(most, N * 160);
    dict_free(d);
    cr_assert_eq(tree_memory(), before);
}
