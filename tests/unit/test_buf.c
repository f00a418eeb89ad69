/* buf: growth, its one way to fail, and the shortest form of every item. */
#include "protocol/buf.h"

#include <criterion/criterion.h>

static void expect(struct buf *b, const char *bytes, size_t n, const char *what)
{
    cr_assert_not(b->failed, "%s", what);
    cr_assert_eq(b->len, n, "%s: %zu bytes, not %zu", what, b->len, n);
    cr_assert(memcmp(b->data, bytes, n) == 0, "%s", what);
    buf_clear(b);
}
#define EXPECT(b, literal) expect(b, literal, sizeof(literal) - 1, #literal)

Test(buf, append_grows_and_keeps_what_is_there)
{
    struct buf b = BUF_INIT;

    for (unsigned i = 0; i < 100000; i++)
        buf_append(&b, &(uint8_t){(uint8_t)i}, 1);
    cr_assert_eq(b.len, 100000u);
    cr_assert_geq(b.cap, b.len);
    for (unsigned i = 0; i < 100000; i++)
        cr_assert_eq(b.data[i], (uint8_t)i);
    buf_free(&b);
    cr_assert_null(b.data);
    cr_assert_eq(b.len + b.cap, 0u);
}

Test(buf, append_of_nothing_allocates_nothing)
{
    struct buf b = BUF_INIT;

    buf_append(&b, NULL, 0);
    cr_assert_null(b.data);
    cr_assert_not(b.failed);
}

Test(buf, a_failed_growth_stays_until_clear)
{
    struct buf b = BUF_INIT;

    buf_append(&b, "abc", 3);
    cr_assert_not(buf_grow(&b, SIZE_MAX));
    cr_assert(b.failed);
    buf_append(&b, "def", 3);
    pack_int(&b, 1);
    pack_map_close(&b, pack_map_open(&b), 1);
    buf_printf(&b, "%d", 5);
    cr_assert_eq(b.len, 3u);
    cr_assert(memcmp(b.data, "abc", 3) == 0);
    buf_clear(&b);
    buf_append(&b, "def", 3);
    EXPECT(&b, "def");
    buf_free(&b);
}

Test(buf, printf_of_any_length)
{
    struct buf b = BUF_INIT;
    char text[5001];

    memset(text, 'x', sizeof text);
    for (size_t n = 0; n < sizeof text; n += 31) {
        buf_clear(&b);
        buf_append(&b, "<", 1);
        buf_printf(&b, "%.*s", (int)n, text);
        buf_append(&b, ">", 1);
        cr_assert_eq(b.len, n + 2);
        cr_assert(memcmp(b.data + 1, text, n) == 0 && b.data[n + 1] == '>');
    }
    buf_free(&b);
}

Test(buf, shrink_gives_back_only_what_is_free)
{
    struct buf b = BUF_INIT;

    cr_assert(buf_grow(&b, 100000));
    buf_append(&b, "hello", 5);
    buf_shrink(&b, 4); /* holds more than that */
    cr_assert_geq(b.cap, 100000u);
    buf_shrink(&b, 64);
    cr_assert_eq(b.cap, 64u);
    cr_assert(memcmp(b.data, "hello", 5) == 0);
    buf_clear(&b);
    buf_shrink(&b, 0);
    cr_assert_null(b.data);
    cr_assert_eq(b.cap, 0u);
    buf_append(&b, "again", 5);
    EXPECT(&b, "again");
    buf_free(&b);
}

Test(buf, integers_in_their_shortest_form)
{
    struct buf b = BUF_INIT;

#define INT(v, literal) (pack_int(&b, v), EXPECT(&b, literal))
    INT(0, "\x00");
    INT(127, "\x7f");
    INT(128, "\xcc\x80");
    INT(255, "\xcc\xff");
    INT(256, "\xcd\x01\x00");
    INT(65535, "\xcd\xff\xff");
    INT(65536, "\xce\x00\x01\x00\x00");
    INT(UINT32_MAX, "\xce\xff\xff\xff\xff");
    INT((int64_t)UINT32_MAX + 1, "\xcf\x00\x00\x00\x01\x00\x00\x00\x00");
    INT(INT64_MAX, "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff");
    INT(-1, "\xff");
    INT(-32, "\xe0");
    INT(-33, "\xd0\xdf");
    INT(-128, "\xd0\x80");
    INT(-129, "\xd1\xff\x7f");
    INT(-32768, "\xd1\x80\x00");
    INT(-32769, "\xd2\xff\xff\x7f\xff");
    INT(INT32_MIN, "\xd2\x80\x00\x00\x00");
    INT((int64_t)INT32_MIN - 1, "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff");
    INT(INT64_MIN, "\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
    pack_uint(&b, 5);
    EXPECT(&b, "\x05");
    pack_uint(&b, UINT64_MAX);
    EXPECT(&b, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    buf_free(&b);
}

Test(buf, scalars)
{
    struct buf b = BUF_INIT;

    pack_nil(&b);
    pack_bool(&b, false);
    pack_bool(&b, true);
    EXPECT(&b, "\xc0\xc2\xc3");
    pack_float(&b, 1.0);
    EXPECT(&b, "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00");
    pack_float(&b, -0.0);
    EXPECT(&b, "\xcb\x80\x00\x00\x00\x00\x00\x00\x00");
    pack_cstr(&b, "");
    pack_str(&b, "a\0b", 3);
    EXPECT(&b, "\xa0\xa3"
               "a\0b");
    pack_bin(&b, "\xff", 1);
    EXPECT(&b, "\xc4\x01\xff");
    buf_free(&b);
}

Test(buf, lengths_choose_the_head)
{
    static const struct {
        size_t n;
        const char *str, *bin;
        size_t str_len, bin_len;
    } rows[] = {
        {31, "\xbf", "\xc4\x1f", 1, 2},
        {32, "\xd9\x20", "\xc4\x20", 2, 2},
        {255, "\xd9\xff", "\xc4\xff", 2, 2},
        {256, "\xda\x01\x00", "\xc5\x01\x00", 3, 3},
        {65535, "\xda\xff\xff", "\xc5\xff\xff", 3, 3},
        {65536, "\xdb\x00\x01\x00\x00", "\xc6\x00\x01\x00\x00", 5, 5},
    };
    struct buf b = BUF_INIT;
    char *body = calloc(1, 65536);

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pack_str(&b, body, rows[i].n);
        cr_assert_eq(b.len, rows[i].str_len + rows[i].n);
        cr_assert(memcmp(b.data, rows[i].str, rows[i].str_len) == 0);
        buf_clear(&b);
        pack_bin(&b, body, rows[i].n);
        cr_assert_eq(b.len, rows[i].bin_len + rows[i].n);
        cr_assert(memcmp(b.data, rows[i].bin, rows[i].bin_len) == 0);
        buf_clear(&b);
    }
    pack_array(&b, 15);
    pack_array(&b, 16);
    pack_array(&b, 65536);
    EXPECT(&b, "\x9f\xdc\x00\x10\xdd\x00\x01\x00\x00");
    pack_map(&b, 15);
    pack_map(&b, 16);
    pack_map(&b, 65536);
    EXPECT(&b, "\x8f\xde\x00\x10\xdf\x00\x01\x00\x00");
    free(body);
    buf_free(&b);
}

Test(buf, times_in_their_shortest_form)
{
    struct buf b = BUF_INIT;

    pack_time(&b, 0, 0);
    EXPECT(&b, "\xd6\xff\x00\x00\x00\x00");
    pack_time(&b, UINT32_MAX, 0);
    EXPECT(&b, "\xd6\xff\xff\xff\xff\xff");
    pack_time(&b, 1, 999999999);
    EXPECT(&b, "\xd7\xff\xee\x6b\x27\xfc\x00\x00\x00\x01");
    pack_time(&b, ((int64_t)1 << 34) - 1, 0);
    EXPECT(&b, "\xd7\xff\x00\x00\x00\x03\xff\xff\xff\xff");
    pack_time(&b, (int64_t)1 << 34, 1);
    EXPECT(&b, "\xc7\x0c\xff\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x00");
    pack_time(&b, -1, 5);
    EXPECT(&b, "\xc7\x0c\xff\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff");
    buf_free(&b);
}

Test(buf, open_containers_get_their_count_at_the_end)
{
    struct buf b = BUF_INIT;

    size_t map = pack_map_open(&b);
    pack_int(&b, 1);
    size_t array = pack_array_open(&b);
    pack_array_close(&b, array, 0);
    pack_map_close(&b, map, 0x01020304);
    EXPECT(&b, "\xdf\x01\x02\x03\x04\x01\xdd\x00\x00\x00\x00");
    buf_free(&b);
}
