/* scan: where a frame ends, whatever the pieces it comes in, and what is refused how early. */
#include "protocol/cursor.h"
#include "protocol/scan.h"

#include "random_value.h"
#include <criterion/criterion.h>
#include <msgpack.h>

#define LIMIT ((size_t)1 << 20)

static enum scan_status scan_all(const void *p, size_t n, size_t limit, size_t *at, struct fault *f)
{
    struct scan s;

    scan_init(&s, limit);
    enum scan_status status = scan_run(&s, p, n, f);
    *at = s.at;
    return status;
}

#define REFUSED(literal, limit, fault_code)                                              \
    do {                                                                                 \
        struct fault f_ = {0};                                                           \
        size_t at_;                                                                      \
        cr_assert_eq(scan_all(literal, sizeof(literal) - 1, limit, &at_, &f_), SCAN_BAD, \
                     #literal);                                                          \
        cr_assert_eq(f_.code, fault_code, "%s: %s", #literal, f_.text);                  \
    } while (0)
#define STATUS(literal, limit, expected)                                                           \
    do {                                                                                           \
        struct fault f_ = {0};                                                                     \
        size_t at_;                                                                                \
        cr_assert_eq(scan_all(literal, sizeof(literal) - 1, limit, &at_, &f_), expected, "%s: %s", \
                     #literal, f_.text);                                                           \
    } while (0)

/* Scans a copy of exactly n bytes, so that a sanitizer sees a read behind them. */
static enum scan_status scan_copy(struct scan *s, const uint8_t *data, size_t n, struct fault *f)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    enum scan_status status = scan_run(s, copy, n, f);
    free(copy);
    return status;
}

Test(scan, every_split_gives_what_the_whole_gives)
{
    uint64_t seed = 1;
    struct buf b = BUF_INIT;
    struct fault f;

    for (unsigned round = 0; round < 3000; round++) {
        buf_clear(&b);
        random_value(&b, &seed, 5);
        size_t frame = b.len, step = frame > 400 ? frame / 97 : 1;
        buf_append(&b, "\x93\xc1", 2); /* the next frame has begun */
        for (size_t cut = 0; cut <= frame; cut += step) {
            struct scan s;
            scan_init(&s, LIMIT);
            enum scan_status first = scan_copy(&s, b.data, cut, &f);
            cr_assert_eq(first, cut < frame ? SCAN_MORE : SCAN_DONE, "cut at %zu of %zu", cut,
                         frame);
            cr_assert_eq(scan_copy(&s, b.data, b.len, &f), SCAN_DONE);
            cr_assert_eq(s.at, frame);
            cr_assert_eq(s.items, cursor_count(cursor_of(b.data, frame)));
        }
    }
    buf_free(&b);
}

Test(scan, byte_by_byte_is_the_same_too)
{
    uint64_t seed = 2;
    struct buf b = BUF_INIT;
    struct fault f;

    for (unsigned round = 0; round < 2000; round++) {
        struct scan s;
        buf_clear(&b);
        random_value(&b, &seed, 5);
        scan_init(&s, LIMIT);
        for (size_t n = 0; n < b.len; n++)
            cr_assert_eq(scan_run(&s, b.data, n, &f), SCAN_MORE);
        cr_assert_eq(scan_run(&s, b.data, b.len, &f), SCAN_DONE);
        cr_assert_eq(s.at, b.len);
    }
    buf_free(&b);
}

Test(scan, agrees_with_msgpack_c_on_random_values)
{
    uint64_t seed = 3;
    struct buf b = BUF_INIT;

    for (unsigned round = 0; round < 5000; round++) {
        msgpack_unpacked u;
        struct fault f;
        size_t at, off = 0;

        buf_clear(&b);
        random_value(&b, &seed, 6);
        random_bytes(&b, &seed, 3);
        msgpack_unpacked_init(&u);
        cr_assert_eq(msgpack_unpack_next(&u, (char *)b.data, b.len, &off), MSGPACK_UNPACK_SUCCESS);
        cr_assert_eq(scan_all(b.data, b.len, LIMIT, &at, &f), SCAN_DONE);
        cr_assert_eq(at, off);
        msgpack_unpacked_destroy(&u);
    }
    buf_free(&b);
}

Test(scan, garbage_never_reads_outside)
{
    uint64_t seed = 4;
    struct buf b = BUF_INIT;
    struct fault f;

    for (unsigned round = 0; round < 20000; round++) {
        struct scan s;
        buf_clear(&b);
        random_bytes(&b, &seed, random_next(&seed) % 64);
        scan_init(&s, 4096);
        enum scan_status status = scan_copy(&s, b.data, b.len, &f);
        cr_assert(status != SCAN_DONE || (s.at > 0 && s.at <= b.len));
        cr_assert_leq(s.at, 4096u);
    }
    buf_free(&b);
}

Test(scan, the_byte_that_means_nothing)
{
    REFUSED("\xc1", LIMIT, FAULT_BAD_FRAME);
    REFUSED("\x94\x00\x01\xc1", LIMIT, FAULT_BAD_FRAME);
    STATUS("\xa1\xc1", LIMIT, SCAN_DONE); /* inside a body it is a byte like any other */
}

Test(scan, counts_that_cannot_fit_are_refused_from_their_head)
{
    REFUSED("\xdd\xff\xff\xff\xff", LIMIT, FAULT_TOO_LARGE);
    REFUSED("\xdf\xff\xff\xff\xff", LIMIT, FAULT_TOO_LARGE);
    REFUSED("\xdb\xff\xff\xff\xff", LIMIT, FAULT_TOO_LARGE);
    REFUSED("\xc6\xff\xff\xff\xff", LIMIT, FAULT_TOO_LARGE);
    REFUSED("\xc9\xff\xff\xff\xff", LIMIT, FAULT_TOO_LARGE);
    REFUSED("\x92\xdd\x00\x00\x00\x60", 100, FAULT_TOO_LARGE); /* 6 bytes, 96 items, 1 more */
    STATUS("\x92\xdd\x00\x00\x00\x5d", 100, SCAN_MORE);
    /* Each fits by itself; together they do not. */
    REFUSED("\x92\xdc\x00\x20\xdc\x00\x20\xdc\x00\x20\xdc\x00\x20", 100, FAULT_TOO_LARGE);
}

Test(scan, the_limit_is_exact)
{
    STATUS("\xa4"
           "abcd",
           5, SCAN_DONE);
    REFUSED("\xa4", 4, FAULT_TOO_LARGE);
    STATUS("\x92\xa1x\x01", 4, SCAN_DONE);
    REFUSED("\x92\xa1", 3, FAULT_TOO_LARGE); /* one more item is due behind the x */
    REFUSED("\xcb", 8, FAULT_TOO_LARGE);
    REFUSED("\xdb", 4, FAULT_TOO_LARGE); /* before its length is known */
    STATUS("\xdb", 5, SCAN_MORE);
    STATUS("\x01", 1, SCAN_DONE);
    REFUSED("\x01", 0, FAULT_TOO_LARGE);
}

/* depth arrays within each other, the innermost empty. */
static size_t nested(uint8_t *out, unsigned depth)
{
    memset(out, 0x91, depth - 1);
    out[depth - 1] = 0x90;
    return depth;
}

Test(scan, depth_32_passes_and_33_is_refused)
{
    uint8_t frame[64];
    struct fault f;
    size_t at;

    cr_assert_eq(scan_all(frame, nested(frame, 32), LIMIT, &at, &f), SCAN_DONE);
    cr_assert_eq(at, 32u);
    cr_assert_eq(scan_all(frame, nested(frame, 33), LIMIT, &at, &f), SCAN_BAD);
    cr_assert_eq(f.code, FAULT_BAD_FRAME);
}

Test(scan, depth_limit_is_that_of_msgpack_c)
{
    uint8_t frame[64];

    for (unsigned depth = 31; depth <= 34; depth++) {
        msgpack_zone zone;
        msgpack_object o;
        struct fault f;
        size_t at, off = 0, n = nested(frame, depth);

        msgpack_zone_init(&zone, 1024);
        bool theirs = msgpack_unpack((char *)frame, n, &off, &zone, &o) == MSGPACK_UNPACK_SUCCESS;
        cr_assert_eq(scan_all(frame, n, LIMIT, &at, &f) == SCAN_DONE, theirs, "%u", depth);
        msgpack_zone_destroy(&zone);
    }
}

Test(scan, depth_comes_back_after_a_container)
{
    struct buf b = BUF_INIT;
    struct fault f;
    uint8_t deep[31];
    size_t at;

    pack_map(&b, 50);
    for (unsigned i = 0; i < 100; i++)
        buf_append(&b, deep, nested(deep, 31));
    cr_assert_eq(scan_all(b.data, b.len, LIMIT, &at, &f), SCAN_DONE, "%s", f.text);
    cr_assert_eq(at, b.len);
    buf_free(&b);
}

Test(scan, a_body_is_stepped_over_before_it_is_there)
{
    struct scan s;
    struct fault f;

    scan_init(&s, LIMIT);
    cr_assert_eq(scan_run(&s, (const uint8_t *)"\xdb\x00\x01\x00\x00", 5, &f), SCAN_MORE);
    cr_assert_eq(s.at, 5u + 65536u);
}

/* Counts heads that were looked at: between two calls at only grows, and never by less than an
 * item; a call that moves nothing must have had nothing new to look at. */
Test(scan, sixteen_megabytes_byte_by_byte_are_linear)
{
    size_t items = (16u << 20) / 4;
    struct buf b = BUF_INIT;
    struct scan s;
    struct fault f;
    size_t before = 0, moves = 0;

    pack_array(&b, (uint32_t)items);
    for (size_t i = 0; i < items; i++)
        pack_int(&b, 300 + (int64_t)(i & 1) * 65300); /* cd xx xx, and ce xx xx xx xx */
    scan_init(&s, b.len);
    for (size_t n = 1; n <= b.len; n++) {
        enum scan_status status = scan_run(&s, b.data, n, &f);
        cr_assert_geq(s.at, before, "at went back");
        moves += s.at != before;
        before = s.at;
        if (status != (n < b.len ? SCAN_MORE : SCAN_DONE))
            cr_assert_fail("at %zu", n);
    }
    cr_assert_eq(s.at, b.len);
    cr_assert_eq(moves, items + 1, "each head was taken once");
    buf_free(&b);
}
