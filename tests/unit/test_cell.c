#include "protocol/buf.h"
#include "protocol/tree.h"
#include <criterion/criterion.h>
#include <string.h>

Test(cell, small_values_take_no_memory_of_their_own)
{
    size_t before = tree_memory();
    struct cell c = cell_str("thirteen byte", 13);

    cr_assert_eq(c.kind, CELL_INLINE);
    cr_assert_eq(tree_memory(), before);
    cell_free(&c);
    c = cell_str("fourteen bytes", 14);
    cr_assert_eq(c.kind, CELL_HEAP);
    cr_assert_geq(tree_memory(), before + 15);
    cell_free(&c);
    cr_assert_eq(c.kind, CELL_UNSET);
    cr_assert_eq(tree_memory(), before);
}

Test(cell, ints_are_packed_as_the_writer_packs_them)
{
    static const int64_t edges[] = {
        0,         1,  127, 128, 255,  256,  65535,  65536,  4294967295,    4294967296,
        INT64_MAX, -1, -32, -33, -128, -129, -32768, -32769, -2147483648LL, -2147483649LL,
        INT64_MIN};

    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        struct cell c = cell_int(edges[i]);
        struct buf b = BUF_INIT;
        size_t len;
        const uint8_t *p = cell_bytes(&c, &len);
        int64_t back = 7;

        pack_int(&b, edges[i]);
        cr_assert_eq(b.len, len, "%lld", (long long)edges[i]);
        cr_assert_eq(memcmp(b.data, p, len), 0, "%lld", (long long)edges[i]);
        cr_assert_eq(cell_get_int(&c, &back), 0);
        cr_assert_eq(back, edges[i]);
        buf_free(&b);
    }
}

Test(cell, floats_come_back_and_ints_can_be_read_as_floats)
{
    struct cell f = cell_float(-0.1), i = cell_int(3), s = cell_str("3", 1);
    double v = 0;
    int64_t n;

    cr_assert_eq(cell_get_float(&f, &v), 0);
    cr_assert_float_eq(v, -0.1, 0);
    cr_assert_eq(cell_get_float(&i, &v), 0);
    cr_assert_float_eq(v, 3.0, 0);
    cr_assert_eq(cell_get_float(&s, &v), -1);
    cr_assert_eq(cell_get_int(&f, &n), -1);
}

Test(cell, strs_of_all_header_sizes_come_back)
{
    static const size_t sizes[] = {0, 1, 13, 14, 31, 32, 255, 256, 65535, 65536, 70000};
    static char text[70000];
    size_t before = tree_memory();

    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct cell c = cell_str(text, sizes[i]), copy = cell_copy(&c);
        struct buf b = BUF_INIT;
        const char *s;
        size_t len, n;
        const uint8_t *p = cell_bytes(&c, &n);

        pack_str(&b, text, sizes[i]);
        cr_assert_eq(b.len, n);
        cr_assert_eq(memcmp(b.data, p, n), 0);
        cr_assert_eq(cell_get_str(&copy, &s, &len), 0);
        cr_assert_eq(len, sizes[i]);
        cr_assert_eq(memcmp(s, text, len), 0);
        cr_assert(cell_equal(&c, &copy));
        cell_free(&c);
        cell_free(&copy);
        buf_free(&b);
    }
    cr_assert_eq(tree_memory(), before);
}

Test(cell, a_str_that_lies_about_its_length_is_none)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\xa2x", 2},     {"\xa1xy", 3},        {"\xd9", 1},       {"\xd9\x02x", 3},
               {"\xda\x00", 2},  {"\xda\x00\x02x", 4}, {"\xdb\0\0\0", 4}, {"\xdb\0\0\0\x02x", 6},
               {"\xc4\x01x", 3}, {"\x01", 1}};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cell c = cell_value(bad[i].bytes, bad[i].len);
        const char *s;
        size_t len;
        cr_assert_eq(cell_get_str(&c, &s, &len), -1, "%zu", i);
    }
}

Test(cell, nil_and_unset_are_told_apart)
{
    struct cell nil = cell_nil(), unset = {0}, zero = cell_int(0), other = cell_nil();

    cr_assert(cell_is_nil(&nil));
    cr_assert_not(cell_is_nil(&unset));
    cr_assert_not(cell_is_nil(&zero));
    cr_assert(cell_equal(&nil, &other));
    cr_assert_not(cell_equal(&nil, &unset));
    cr_assert_not(cell_equal(&nil, &zero));
}

Test(cell, memory_is_counted_through_resizing)
{
    size_t before = tree_memory();
    char *p = tree_alloc(100);

    for (int i = 0; i < 100; i++)
        cr_assert_eq(p[i], 0);
    p = tree_realloc(p, 100000);
    cr_assert_geq(tree_memory(), before + 100000);
    p = tree_realloc(p, 10);
    cr_assert_leq(tree_memory(), before + 4096);
    tree_free(p);
    tree_free(NULL);
    cr_assert_eq(tree_memory(), before);
}
