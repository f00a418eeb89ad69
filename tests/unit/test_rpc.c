/* rpc: the envelope, taken apart and put together. */
#include "protocol/rpc.h"

#include <criterion/criterion.h>

static int parse(struct rpc *m, const char *bytes, size_t n, struct fault *f)
{
    return rpc_parse(m, (const uint8_t *)bytes, n, f);
}
#define PARSE(m, literal, f) parse(m, literal, sizeof(literal) - 1, f)

#define REFUSED(literal, expected_code)                                    \
    do {                                                                   \
        struct rpc m_;                                                     \
        struct fault f_ = {0};                                             \
        cr_assert_eq(PARSE(&m_, literal, &f_), -1, "%s", #literal);        \
        cr_assert_eq(f_.code, expected_code, "%s: %s", #literal, f_.text); \
    } while (0)

Test(rpc, request)
{
    struct rpc m;
    struct fault f;
    const char *s;
    size_t len;
    int64_t v;

    cr_assert_eq(PARSE(&m, "\x94\x00\x07\xa3set\x92\xa1k\x05", &f), 0);
    cr_assert_eq(m.kind, RPC_REQUEST);
    cr_assert(m.has_id && m.id == 7);
    cr_assert(m.method_len == 3 && memcmp(m.method, "set", 3) == 0);
    cr_assert_eq(m.nparams, 2u);
    cr_assert(cursor_str(&m.params, &s, &len) == 0 && *s == 'k');
    cr_assert(cursor_int(&m.params, &v) == 0 && v == 5);
    cr_assert(cursor_done(&m.params));
}

Test(rpc, notification)
{
    struct rpc m;
    struct fault f;

    cr_assert_eq(PARSE(&m, "\x93\x02\xa4ping\x90", &f), 0);
    cr_assert(m.kind == RPC_NOTIFY && !m.has_id && m.nparams == 0 && m.method_len == 4);
}

Test(rpc, method_name_as_bytes)
{
    struct rpc m;
    struct fault f;

    cr_assert_eq(PARSE(&m, "\x93\x02\xc4\x04ping\x90", &f), 0);
    cr_assert(m.method_len == 4 && memcmp(m.method, "ping", 4) == 0);
    cr_assert_eq(PARSE(&m, "\x94\x00\x01\xc5\x00\x03set\x90", &f), 0);
    cr_assert(m.method_len == 3);
}

Test(rpc, ids_in_every_encoding)
{
    struct rpc m;
    struct fault f;

#define ID(bytes, expected)                                                         \
    do {                                                                            \
        cr_assert_eq(PARSE(&m, "\x94\x00" bytes "\xa1m\x90", &f), 0, "%s", #bytes); \
        cr_assert(m.has_id &&m.id == (expected), "%s", #bytes);                     \
    } while (0)
    ID("\xd0\x05", 5u);
    ID("\xcc\x05", 5u);
    ID("\xcd\x00\x05", 5u);
    ID("\xce\xff\xff\xff\xff", UINT32_MAX);
    ID("\xcf\x00\x00\x00\x00\x00\x00\x00\x01", 1u);
    ID("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", UINT64_MAX);
    ID("\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 5u);
    cr_assert_eq(PARSE(&m, "\xdc\x00\x04\xd0\x00\x01\xa1m\xdd\x00\x00\x00\x00", &f), 0);
    cr_assert(m.kind == RPC_REQUEST && m.id == 1);
}

Test(rpc, ids_that_are_none)
{
    REFUSED("\x94\x00\xff\xa1m\x90", FAULT_BAD_FRAME);
    REFUSED("\x94\x00\xc0\xa1m\x90", FAULT_BAD_FRAME);
    REFUSED("\x94\x00\xa1"
            "1\xa1m\x90",
            FAULT_BAD_FRAME);
    REFUSED("\x94\x00\xca\x3f\x80\x00\x00\xa1m\x90", FAULT_BAD_FRAME);
}

Test(rpc, what_is_no_message)
{
    REFUSED("", FAULT_BAD_FRAME);
    REFUSED("G", FAULT_BAD_FRAME);
    REFUSED("\x80", FAULT_BAD_FRAME);
    REFUSED("\x90", FAULT_BAD_FRAME);
    REFUSED("\x91\x00", FAULT_BAD_FRAME);
    REFUSED("\x93\x00\x01\xa1m", FAULT_BAD_FRAME);
    REFUSED("\x95\x00\x01\xa1m\x90\x90", FAULT_BAD_FRAME);
    REFUSED("\x94\x02\xa1m\x90\xc0", FAULT_BAD_FRAME);
    REFUSED("\x94\x03\x01\xa1m\x90", FAULT_BAD_FRAME);
    REFUSED("\x94\xff\x01\xa1m\x90", FAULT_BAD_FRAME);
    REFUSED("\x94\xc0\x01\xa1m\x90", FAULT_BAD_FRAME);
}

Test(rpc, bad_method_or_params_keep_the_stream_and_the_id)
{
    struct rpc m;
    struct fault f;

    cr_assert_eq(PARSE(&m, "\x94\x00\x09\x01\x90", &f), -1);
    cr_assert(f.code == FAULT_BAD_REQUEST && m.has_id && m.id == 9);
    cr_assert_eq(PARSE(&m, "\x94\x00\x09\xa1m\x80", &f), -1);
    cr_assert(f.code == FAULT_BAD_REQUEST && m.has_id && m.id == 9);
    cr_assert_eq(PARSE(&m, "\x93\x02\xa1m\xc0", &f), -1);
    cr_assert(f.code == FAULT_BAD_REQUEST && m.kind == RPC_NOTIFY && !m.has_id);
}

Test(rpc, responses)
{
    struct rpc m;
    struct fault f;
    struct buf b = BUF_INIT;
    const char *s;
    size_t len;
    int64_t v;

    rpc_open_result(&b, 300);
    pack_int(&b, 5);
    cr_assert(b.len == 7 && memcmp(b.data, "\x94\x01\xcd\x01\x2c\xc0\x05", 7) == 0);
    cr_assert_eq(rpc_parse(&m, b.data, b.len, &f), 0);
    cr_assert(m.kind == RPC_RESPONSE && m.has_id && m.id == 300);
    cr_assert(cursor_nil(&m.error) && cursor_done(&m.error));
    cr_assert(cursor_int(&m.result, &v) == 0 && v == 5 && cursor_done(&m.result));

    fault_set(&f, FAULT_BAD_PATH, "no field x");
    buf_clear(&b);
    rpc_pack_error(&b, NULL, &f);
    cr_assert_eq(rpc_parse(&m, b.data, b.len, &f), 0);
    cr_assert(m.kind == RPC_RESPONSE && !m.has_id);
    cr_assert(cursor_str(&m.error, &s, &len) == 0);
    cr_assert(len == 20 && memcmp(s, "BAD_PATH: no field x", 20) == 0);
    cr_assert(cursor_nil(&m.result) && cursor_done(&m.result));

    buf_clear(&b);
    rpc_pack_error(&b, &(uint64_t){7}, &f);
    cr_assert_eq(rpc_parse(&m, b.data, b.len, &f), 0);
    cr_assert(m.has_id && m.id == 7);
    buf_free(&b);
}

Test(rpc, the_longest_text_fits)
{
    struct rpc m;
    struct fault f;
    struct buf b = BUF_INIT;
    const char *s;
    size_t len;

    fault_set(&f, FAULT_UNKNOWN_OUTCOME, "%1000d", 1);
    rpc_pack_error(&b, &(uint64_t){UINT64_MAX}, &f);
    cr_assert_eq(rpc_parse(&m, b.data, b.len, &f), 0);
    cr_assert(cursor_str(&m.error, &s, &len) == 0);
    cr_assert_eq(len, strlen("UNKNOWN_OUTCOME: ") + FAULT_TEXT_MAX - 1);
    buf_free(&b);
}

Test(rpc, requests_and_notifications_parse_back)
{
    struct rpc m;
    struct fault f;
    struct buf b = BUF_INIT;

    rpc_open_request(&b, 1, "doc.get");
    pack_array(&b, 0);
    cr_assert_eq(b.data[0], 0x94, "some clients look at this byte");
    cr_assert_eq(rpc_parse(&m, b.data, b.len, &f), 0);
    cr_assert(m.kind == RPC_REQUEST && m.id == 1 && m.method_len == 7 && m.nparams == 0);
    buf_clear(&b);
    rpc_open_notify(&b, "changed");
    pack_array(&b, 1);
    pack_nil(&b);
    cr_assert_eq(rpc_parse(&m, b.data, b.len, &f), 0);
    cr_assert(m.kind == RPC_NOTIFY && m.nparams == 1 && cursor_nil(&m.params));
    buf_free(&b);
}

Test(rpc, the_id_of_a_broken_beginning)
{
    uint64_t id = 99;

#define GUESS(literal) rpc_guess_id((const uint8_t *)literal, sizeof(literal) - 1, &id)
    cr_assert(GUESS("\x94\x00\x05") && id == 5);
    cr_assert(GUESS("\x94\x00\xcd\x01\x00\xc1") && id == 256);
    id = 99;
    cr_assert_not(GUESS(""));
    cr_assert_not(GUESS("\x94"));
    cr_assert_not(GUESS("\x94\x00"));
    cr_assert_not(GUESS("\x94\x00\xcd\x01"));
    cr_assert_not(GUESS("\x94\x00\xff"));
    cr_assert_not(GUESS("\x93\x02\x05"));
    cr_assert_not(GUESS("GET / HTTP/1.1\r\n"));
    cr_assert_eq(id, 99u);
}
