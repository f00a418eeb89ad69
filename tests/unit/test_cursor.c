/* cursor: typed reads in place, all encodings of a number, and agreement with msgpack-c. */
#include "protocol/cursor.h"

#include "random_value.h"
#include <criterion/criterion.h>
#include <msgpack.h>

#define CURSOR(literal) cursor_of(literal, sizeof(literal) - 1)

static struct item only(struct cursor c, const char *what)
{
    struct item it;
    cr_assert_eq(cursor_next(&c, &it), 0, "%s", what);
    cr_assert(cursor_done(&c), "%s: bytes are left", what);
    return it;
}
#define ONLY(literal) only(CURSOR(literal), #literal)

#define IS_INT(literal, v)                                \
    do {                                                  \
        struct item it_ = ONLY(literal);                  \
        cr_assert_eq(it_.kind, ITEM_INT, "%s", #literal); \
        cr_assert_eq(it_.integer, v, "%s", #literal);     \
    } while (0)

Test(cursor, integers_in_every_encoding)
{
    IS_INT("\x05", 5);
    IS_INT("\xcc\x05", 5);
    IS_INT("\xcd\x00\x05", 5);
    IS_INT("\xce\x00\x00\x00\x05", 5);
    IS_INT("\xcf\x00\x00\x00\x00\x00\x00\x00\x05", 5);
    IS_INT("\xd0\x05", 5);
    IS_INT("\xd1\x00\x05", 5);
    IS_INT("\xd2\x00\x00\x00\x05", 5);
    IS_INT("\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 5);
    IS_INT("\xcf\x00\x00\x00\x00\x00\x00\x00\x01", 1);
    IS_INT("\x7f", 127);
    IS_INT("\xe0", -32);
    IS_INT("\xff", -1);
    IS_INT("\xd0\xff", -1);
    IS_INT("\xd1\xff\xff", -1);
    IS_INT("\xd2\xff\xff\xff\xff", -1);
    IS_INT("\xd3\xff\xff\xff\xff\xff\xff\xff\xff", -1);
    IS_INT("\xd0\x80", -128);
    IS_INT("\xd1\x80\x00", -32768);
    IS_INT("\xd2\x80\x00\x00\x00", INT32_MIN);
    IS_INT("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", INT64_MIN);
    IS_INT("\xcc\xff", 255);
    IS_INT("\xcd\xff\xff", 65535);
    IS_INT("\xce\xff\xff\xff\xff", (int64_t)UINT32_MAX);
    IS_INT("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX);
}

Test(cursor, above_int64_is_its_own_kind)
{
    struct cursor c = CURSOR("\xcf\x80\x00\x00\x00\x00\x00\x00\x00");
    struct item it = only(c, "2^63");
    int64_t v;
    double d;

    cr_assert_eq(it.kind, ITEM_UINT);
    cr_assert_eq(it.uinteger, (uint64_t)INT64_MAX + 1);
    cr_assert_eq(cursor_int(&c, &v), -1);
    cr_assert_eq(cursor_number(&c, &d), 0);
    cr_assert(d == 9223372036854775808.0);
}

Test(cursor, floats_of_both_widths)
{
    struct item it = ONLY("\xca\x3f\xc0\x00\x00");
    cr_assert_eq(it.kind, ITEM_FLOAT);
    cr_assert(it.real == 1.5);
    it = ONLY("\xcb\xbf\xf8\x00\x00\x00\x00\x00\x00");
    cr_assert(it.real == -1.5);
}

Test(cursor, simple_kinds)
{
    struct item it;

    cr_assert_eq(ONLY("\xc0").kind, ITEM_NIL);
    it = ONLY("\xc2");
    cr_assert(it.kind == ITEM_BOOL && !it.boolean);
    it = ONLY("\xc3");
    cr_assert(it.kind == ITEM_BOOL && it.boolean);
    it = ONLY("\xa3"
              "abc");
    cr_assert(it.kind == ITEM_STR && it.bytes.len == 3 && memcmp(it.bytes.p, "abc", 3) == 0);
    it = ONLY("\xc4\x01\xff");
    cr_assert(it.kind == ITEM_BIN && it.bytes.len == 1 && it.bytes.p[0] == 0xff);
    it = ONLY("\xd4\x05\xaa");
    cr_assert(it.kind == ITEM_EXT && it.bytes.ext == 5 && it.bytes.len == 1);
    it = ONLY("\xc7\x00\x80");
    cr_assert(it.kind == ITEM_EXT && it.bytes.ext == -128 && it.bytes.len == 0);
    cr_assert(ONLY("\x93").kind == ITEM_ARRAY && ONLY("\x93").count == 3);
    cr_assert(ONLY("\xdc\x00\x03").count == 3);
    cr_assert(ONLY("\x82").kind == ITEM_MAP && ONLY("\x82").count == 2);
    cr_assert(ONLY("\xdf\x00\x00\x00\x02").count == 2);
}

#define IS_TIME(literal, s, ns)                            \
    do {                                                   \
        struct item it_ = ONLY(literal);                   \
        cr_assert_eq(it_.kind, ITEM_TIME, "%s", #literal); \
        cr_assert_eq(it_.time.sec, s, "%s", #literal);     \
        cr_assert_eq(it_.time.nsec, ns, "%s", #literal);   \
    } while (0)

Test(cursor, timestamps_of_4_8_and_12_bytes)
{
    IS_TIME("\xd6\xff\x00\x00\x00\x01", 1, 0u);
    IS_TIME("\xd6\xff\xff\xff\xff\xff", (int64_t)UINT32_MAX, 0u);
    IS_TIME("\xd7\xff\xee\x6b\x27\xfc\x00\x00\x00\x01", 1, 999999999u);
    IS_TIME("\xd7\xff\x00\x00\x00\x07\xff\xff\xff\xff", ((int64_t)1 << 34) - 1, 1u);
    IS_TIME("\xc7\x0c\xff\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff", -1, 5u);
    IS_TIME("\xc7\x0c\xff\x3b\x9a\xc9\xff\x80\x00\x00\x00\x00\x00\x00\x00", INT64_MIN, 999999999u);
    IS_TIME("\xc7\x04\xff\x00\x00\x00\x01", 1, 0u); /* not the shortest head */
    IS_TIME("\xc8\x00\x08\xff\x00\x00\x00\x04\x00\x00\x00\x01", 1, 1u);
}

Test(cursor, timestamps_that_make_no_sense_are_ext)
{
    /* nanoseconds of 10^9 */
    cr_assert_eq(ONLY("\xd7\xff\xee\x6b\x28\x00\x00\x00\x00\x01").kind, ITEM_EXT);
    cr_assert_eq(ONLY("\xd7\xff\xff\xff\xff\xfc\x00\x00\x00\x00").kind, ITEM_EXT);
    cr_assert_eq(ONLY("\xc7\x0c\xff\x3b\x9a\xca\x00\x00\x00\x00\x00\x00\x00\x00\x00").kind,
                 ITEM_EXT);
    /* other lengths, other types */
    cr_assert_eq(ONLY("\xd5\xff\x00\x00").kind, ITEM_EXT);
    cr_assert_eq(ONLY("\xc7\x00\xff").kind, ITEM_EXT);
    cr_assert_eq(ONLY("\xd6\x01\x00\x00\x00\x01").kind, ITEM_EXT);
}

Test(cursor, typed_reads_move_only_when_they_fit)
{
    struct cursor c = CURSOR("\x93\x81\xa1k\x07\xc3\xc0\xc4\x01z");
    const uint8_t *at = c.at;
    const char *s;
    size_t len;
    uint32_t n;
    int64_t v;
    bool yes;
    double d;

    cr_assert(cursor_map(&c, &n) < 0 && cursor_str(&c, &s, &len) < 0 && cursor_int(&c, &v) < 0 &&
              cursor_bool(&c, &yes) < 0 && cursor_number(&c, &d) < 0 && !cursor_nil(&c));
    cr_assert_eq(c.at, at);
    cr_assert(cursor_array(&c, &n) == 0 && n == 3);
    cr_assert(cursor_array(&c, &n) < 0);
    cr_assert(cursor_map(&c, &n) == 0 && n == 1);
    cr_assert(cursor_str(&c, &s, &len) == 0 && len == 1 && *s == 'k');
    struct cursor seven = c;
    cr_assert(cursor_number(&seven, &d) == 0 && d == 7.0);
    cr_assert(cursor_int(&c, &v) == 0 && v == 7);
    cr_assert(cursor_bool(&c, &yes) == 0 && yes);
    cr_assert(cursor_nil(&c));
    cr_assert(cursor_str(&c, &s, &len) == 0 && *s == 'z', "bin is taken as str");
    cr_assert(cursor_done(&c));
    cr_assert(cursor_nil(&c) == false);
}

Test(cursor, peek_does_not_move)
{
    struct cursor c = CURSOR("\x01\x02");
    struct item it;

    cr_assert(cursor_peek(&c, &it) == 0 && it.integer == 1);
    cr_assert(cursor_next(&c, &it) == 0 && it.integer == 1);
    cr_assert(cursor_peek(&c, &it) == 0 && it.integer == 2);
    cr_assert(cursor_next(&c, &it) == 0);
    cr_assert(cursor_peek(&c, &it) == -1);
    cr_assert(cursor_next(&c, &it) == -1);
}

Test(cursor, value_says_where_it_was)
{
    struct cursor c = CURSOR("\x92\x01\x81\xa1"
                             "a\x93\x01\x02\x03\x05");
    const uint8_t *p, *begin = c.at;
    size_t len;

    cr_assert(cursor_value(&c, &p, &len) == 0);
    cr_assert(p == begin && len == 9);
    cr_assert(cursor_value(&c, &p, &len) == 0 && p == begin + 9 && len == 1);
    cr_assert(cursor_value(&c, &p, &len) == -1);
}

Test(cursor, unscanned_bytes_fail_and_never_loop)
{
    struct cursor c = CURSOR("\xdd\xff\xff\xff\xff\x01\x02");
    const uint8_t *at = c.at;

    cr_assert_eq(cursor_skip(&c), -1);
    cr_assert_eq(c.at, at, "a failed skip does not move");
    c = CURSOR("\xdf\xff\xff\xff\xff");
    cr_assert_eq(cursor_skip(&c), -1);
    c = CURSOR("\x93\x01\xc1\x02");
    cr_assert_eq(cursor_skip(&c), -1);
    c = CURSOR("\xdb\xff\xff\xff\xff");
    cr_assert_eq(cursor_skip(&c), -1);
}

Test(cursor, short_forms_end_where_the_bytes_end)
{
    struct cursor cut = CURSOR("\xa3"
                               "ab"),
                  whole = CURSOR("\xa2"
                                 "ab"),
                  nothing = CURSOR("");
    const uint8_t *at = cut.at;
    const char *s;
    size_t len;
    uint32_t n;
    int64_t v;

    cr_assert(cursor_str(&cut, &s, &len) < 0 && cut.at == at);
    cr_assert(cursor_str(&whole, &s, &len) == 0 && len == 2 && cursor_done(&whole));
    cr_assert(cursor_str(&nothing, &s, &len) < 0 && cursor_int(&nothing, &v) < 0);
    cr_assert(cursor_array(&nothing, &n) < 0 && cursor_map(&nothing, &n) < 0);
    cut = CURSOR("\xdc\x00\x10");
    cr_assert(cursor_array(&cut, &n) == 0 && n == 16);
    cut = CURSOR("\xde\x00\x10");
    cr_assert(cursor_map(&cut, &n) == 0 && n == 16);
}

Test(cursor, skip_steps_over_what_next_reads)
{
    uint8_t bytes[300] = {0};

    for (unsigned head = 0; head <= 0xff; head++) {
        for (size_t n = 1; n <= sizeof bytes; n++) {
            struct item it;
            bytes[0] = (uint8_t)head;
            struct cursor read = cursor_of(bytes, n), skipped = read;
            int rc = cursor_next(&read, &it);
            for (uint32_t i = 0;
                 rc == 0 && (it.kind == ITEM_ARRAY || it.kind == ITEM_MAP) && i < it.count; i++) {
                struct item zero;
                rc = cursor_next(&read, &zero);
                if (rc == 0 && it.kind == ITEM_MAP)
                    rc = cursor_next(&read, &zero);
            }
            cr_assert_eq(cursor_skip(&skipped), rc, "%02x, %zu bytes", head, n);
            if (rc == 0)
                cr_assert_eq(skipped.at, read.at, "%02x, %zu bytes", head, n);
        }
    }
}

Test(cursor, skip_has_no_depth_limit)
{
    size_t n = 1000000;
    uint8_t *deep = malloc(n);

    memset(deep, 0x91, n);
    deep[n - 1] = 0xc0;
    struct cursor c = cursor_of(deep, n);
    cr_assert_eq(cursor_skip(&c), 0);
    cr_assert(cursor_done(&c));
    free(deep);
}

Test(cursor, truncated_values_fail_at_every_length)
{
    uint64_t seed = 5;
    struct buf b = BUF_INIT;

    for (unsigned round = 0; round < 1000; round++) {
        buf_clear(&b);
        random_value(&b, &seed, 4);
        for (size_t n = 0; n < b.len; n += 1 + b.len / 50) {
            uint8_t *copy = malloc(n ? n : 1);
            memcpy(copy, b.data, n);
            struct cursor c = cursor_of(copy, n);
            cr_assert_eq(cursor_skip(&c), -1);
            cr_assert_eq(c.at, copy);
            free(copy);
        }
    }
    buf_free(&b);
}

static void same(struct cursor *c, const msgpack_object *o);

/* msgpack-c may give NULL for nothing, which memcmp must not see. */
static bool same_bytes(const void *theirs, uint32_t n, const struct item *it)
{
    return n == it->bytes.len && (n == 0 || memcmp(theirs, it->bytes.p, n) == 0);
}

static void same_ext(const struct item *it, const msgpack_object *o)
{
    msgpack_timestamp t;

    cr_assert_eq(o->type, MSGPACK_OBJECT_EXT);
    if (it->kind == ITEM_TIME) {
        cr_assert(msgpack_object_to_timestamp(o, &t));
        cr_assert(t.tv_sec == it->time.sec && t.tv_nsec == it->time.nsec);
        return;
    }
    cr_assert(o->via.ext.type == it->bytes.ext);
    cr_assert(same_bytes(o->via.ext.ptr, o->via.ext.size, it));
    cr_assert(!msgpack_object_to_timestamp(o, &t) || t.tv_nsec >= 1000000000u);
}

static void same_container(struct cursor *c, const struct item *it, const msgpack_object *o)
{
    if (it->kind == ITEM_ARRAY) {
        cr_assert(o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == it->count);
        for (uint32_t i = 0; i < it->count; i++)
            same(c, &o->via.array.ptr[i]);
        return;
    }
    cr_assert(o->type == MSGPACK_OBJECT_MAP && o->via.map.size == it->count);
    for (uint32_t i = 0; i < it->count; i++) {
        same(c, &o->via.map.ptr[i].key);
        same(c, &o->via.map.ptr[i].val);
    }
}

static void same(struct cursor *c, const msgpack_object *o)
{
    struct item it;

    cr_assert_eq(cursor_next(c, &it), 0);
    switch (it.kind) {
    case ITEM_NIL: cr_assert_eq(o->type, MSGPACK_OBJECT_NIL); break;
    case ITEM_BOOL:
        cr_assert(o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean == it.boolean);
        break;
    case ITEM_INT:
        if (it.integer >= 0)
            cr_assert(o->type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
                      o->via.u64 == (uint64_t)it.integer);
        else
            cr_assert(o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && o->via.i64 == it.integer);
        break;
    case ITEM_UINT:
        cr_assert(o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 == it.uinteger);
        cr_assert_gt(it.uinteger, (uint64_t)INT64_MAX);
        break;
    case ITEM_FLOAT:
        cr_assert(o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64);
        cr_assert(o->via.f64 == it.real || (o->via.f64 != o->via.f64 && it.real != it.real));
        break;
    case ITEM_STR:
        cr_assert_eq(o->type, MSGPACK_OBJECT_STR);
        cr_assert(same_bytes(o->via.str.ptr, o->via.str.size, &it));
        break;
    case ITEM_BIN:
        cr_assert_eq(o->type, MSGPACK_OBJECT_BIN);
        cr_assert(same_bytes(o->via.bin.ptr, o->via.bin.size, &it));
        break;
    case ITEM_TIME:
    case ITEM_EXT: same_ext(&it, o); break;
    case ITEM_ARRAY:
    case ITEM_MAP: same_container(c, &it, o); break;
    }
}

Test(cursor, agrees_with_msgpack_c_on_random_values)
{
    uint64_t seed = 6;
    struct buf b = BUF_INIT;

    for (unsigned round = 0; round < 4000; round++) {
        msgpack_zone zone;
        msgpack_object o;
        size_t off = 0;

        buf_clear(&b);
        random_value(&b, &seed, 4);
        msgpack_zone_init(&zone, 4096);
        cr_assert_geq((int)msgpack_unpack((char *)b.data, b.len, &off, &zone, &o), 0);
        struct cursor c = cursor_of(b.data, b.len);
        same(&c, &o);
        cr_assert(cursor_done(&c));
        msgpack_zone_destroy(&zone);
    }
    buf_free(&b);
}

Test(cursor, reads_back_what_buf_packs)
{
    static const int64_t numbers[] = {0,   127,  128,       INT64_MAX, -1,
                                      -33, -129, INT32_MIN, INT64_MIN, UINT32_MAX};
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t v;
        buf_clear(&b);
        pack_int(&b, numbers[i]);
        struct cursor c = cursor_of(b.data, b.len);
        cr_assert(cursor_int(&c, &v) == 0 && v == numbers[i] && cursor_done(&c));
        buf_clear(&b);
        pack_time(&b, numbers[i], 999999999);
        struct item it = only(cursor_of(b.data, b.len), "time");
        cr_assert(it.kind == ITEM_TIME && it.time.sec == numbers[i] && it.time.nsec == 999999999u);
    }
    buf_free(&b);
}

Test(cursor, kinds_have_names)
{
    cr_assert_str_eq(item_kind_name(ITEM_INT), "int");
    cr_assert_str_eq(item_kind_name(ITEM_MAP), "map");
    cr_assert_str_eq(item_kind_name((enum item_kind)99), "nothing");
}
