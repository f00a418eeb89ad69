/* retained: committed batches that are kept, of all lanes together. */
#include "daemon/commit/retained.h"
#include <criterion/criterion.h>

static struct retained all;
static struct kept *a, *b;

static void begin(unsigned max, size_t max_bytes)
{
    a = b = NULL;
    all = (struct retained){.max = max, .max_bytes = max_bytes};
}

static void add(struct kept **lane, uint64_t number, size_t bytes)
{
    struct kept *k = retained_add(&all, lane, bytes);
    if (k == NULL)
        return;
    k->number = number;
    for (size_t i = 0; i < bytes; i++)
        buf_append(&k->resp, "x", 1);
}

static void end(void)
{
    retained_clear(&all, &a);
    retained_clear(&all, &b);
    cr_assert_eq(all.n, 0);
    cr_assert_eq(all.bytes, 0);
    retained_free(&all);
}

Test(retained, the_oldest_goes_whosever_it_is)
{
    begin(3, 1000);
    add(&a, 1, 10);
    add(&b, 1, 10);
    add(&b, 2, 10);
    add(&b, 3, 10);
    cr_assert_null(a);
    cr_assert_eq(b->number, 1);
    add(&a, 2, 10);
    cr_assert_eq(a->number, 2);
    cr_assert_eq(b->number, 2);
    end();
}

Test(retained, bytes_are_bounded_too)
{
    begin(100, 100);
    add(&a, 1, 60);
    add(&b, 1, 30);
    add(&b, 2, 30);
    cr_assert_null(a);
    cr_assert_eq(b->number, 1);
    cr_assert_eq(all.bytes, 60);
    end();
}

/* With a gap behind it nothing is of use. */
Test(retained, what_is_too_big_leaves_nothing)
{
    begin(100, 100);
    add(&a, 1, 60);
    add(&a, 2, 101);
    cr_assert_null(a);
    end();
}
