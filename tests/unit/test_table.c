/* table: every entry is found, whatever was put in and taken out, and no call moves many. */
#include "protocol/table.h"
#include <criterion/criterion.h>
#include <stdlib.h>

#define N 100000

struct thing {
    struct table_entry entry;
    int key;
};

static struct table table;
static struct thing things[N];

static uint64_t hash_of(int key)
{
    return (uint64_t)key * 0x9e3779b97f4a7c15u;
}

static struct thing *find(int key, uint64_t hash)
{
    for (struct table_entry *e = table_find(&table, hash); e; e = table_again(e))
        if (((struct thing *)e)->key == key)
            return (struct thing *)e;
    return NULL;
}

static void add(int key, uint64_t hash)
{
    things[key].key = key;
    table_add(&table, &things[key].entry, hash);
}

Test(table, buckets_of_any_number)
{
    for (size_t n = 1; n < 200; n++) {
        for (uint64_t hash = 0; hash < 1000; hash++) {
            size_t before = table_bucket(hash, n), after = table_bucket(hash, n + 1);
            cr_assert_lt(before, n);
            /* Whoever moves comes from one bucket, and goes to the new one. */
            if (after != before) {
                cr_assert_eq(after, n);
                cr_assert_eq(before, table_parent(n));
            }
        }
    }
}

Test(table, an_empty_one_has_nothing)
{
    cr_assert_null(find(1, hash_of(1)));
    table_clear(&table);
}

Test(table, what_is_put_in_is_found)
{
    for (int i = 0; i < N; i++) {
        add(i, hash_of(i));
        cr_assert_eq(table.count, (size_t)i + 1);
        cr_assert_leq(table.count, table.n);
    }
    for (int i = 0; i < N; i++)
        cr_assert_eq(find(i, hash_of(i)), &things[i]);
    cr_assert_null(find(N, hash_of(N)));
    for (int i = 0; i < N; i += 2)
        table_remove(&table, &things[i].entry);
    for (int i = 0; i < N; i++)
        cr_assert_eq(find(i, hash_of(i)), i % 2 ? &things[i] : NULL);
    for (int i = 1; i < N; i += 2)
        table_remove(&table, &things[i].entry);
    cr_assert_eq(table.count, 0);
    cr_assert_leq(table.cap, 64); /* it has given back what it had */
    add(7, hash_of(7));
    cr_assert_eq(find(7, hash_of(7)), &things[7]);
    table_clear(&table);
}

Test(table, a_step_moves_one_bucket)
{
    size_t before = 0;
    for (int i = 0; i < N; i++) {
        add(i, hash_of(i));
        if (i > 16)
            cr_assert_eq(table.n - before, 1, "%d", i);
        before = table.n;
    }
    table_clear(&table);
}

Test(table, hashes_may_be_the_same)
{
    for (int i = 0; i < 100; i++)
        add(i, 42);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(find(i, 42), &things[i]);
    table_remove(&table, &things[50].entry);
    cr_assert_null(find(50, 42));
    cr_assert_eq(find(49, 42), &things[49]);
    table_clear(&table);
}
