#include "daemon/documents/layout.h"
#include "protocol/tree.h"
#include "protocol/type.h"
#include "protocol/value.h"
#include "tests/unit/model_text.h"
#include "tests/unit/random_value.h"
#include <criterion/criterion.h>
#include <math.h>
#include <time.h>

static struct schema *schema;
static struct fault fault;

static void setup(void)
{
    schema = schema_new();
    define(schema, "{'name': 'Address', 'kind': 'plain', 'fields': ["
                   "{'name': 'street', 'type': 'str'},"
                   "{'name': 'floor', 'type': 'int', 'default': 0}]}");
    define(schema, "{'name': 'Task', 'kind': 'atomic', 'fields': ["
                   "{'name': 'title', 'type': 'str', 'default': ''}]}");
}

static void teardown(void)
{
    schema_free(schema);
}

TestSuite(layout, .init = setup, .fini = teardown);

static const struct model *find(void *arg, const char *name, size_t len, struct fault *f)
{
    (void)f;
    return schema_model(arg, name, len);
}

static struct type *type_of(const char *text)
{
    struct type *t = NULL;
    cr_assert_eq(type_parse(text, strlen(text), find, schema, "test", &t, &fault), 0, "%s: %s",
                 text, fault.text);
    return t;
}

/* The cell of wire bytes, as a document would hold it. */
static struct cell cell_of(const struct type *t, const struct buf *wire)
{
    struct buf canonical = BUF_INIT;
    struct cursor in = cursor_of(wire->data, wire->len);
    cr_assert_eq(value_check(t, &in, &canonical, "test", &fault), 0, "%s", fault.text);
    struct cell c = cell_value(canonical.data, canonical.len);
    buf_free(&canonical);
    return c;
}

/* To raw and back; gives the raw string. */
static struct buf round_trip(const struct type *t, const struct buf *wire)
{
    struct cell c = cell_of(t, wire), back = {0};
    struct buf raw = BUF_INIT;
    layout_raw(t, &c, &raw);
    cr_assert_eq(layout_parse(t, raw.data, raw.len, &back, &fault), 0, "%s", fault.text);
    size_t len, back_len;
    const uint8_t *bytes = cell_bytes(&c, &len), *back_bytes = cell_bytes(&back, &back_len);
    cr_assert(len == back_len && memcmp(bytes, back_bytes, len) == 0, "\"%.*s\": %zu, %zu bytes",
              (int)raw.len, (char *)raw.data, len, back_len);
    cell_free(&c);
    cell_free(&back);
    return raw;
}

static void becomes(const char *type, struct buf wire, const void *expected, size_t len)
{
    struct type *t = type_of(type);
    struct buf raw = round_trip(t, &wire);
    cr_expect(raw.len == len && (len == 0 || memcmp(raw.data, expected, len) == 0),
              "%s: \"%.*s\" and not \"%.*s\"", type, (int)raw.len, (char *)raw.data, (int)len,
              (const char *)expected);
    buf_free(&raw);
    buf_free(&wire);
    free(t);
}

#define TEXT(s) s, sizeof(s) - 1

Test(layout, scalars_are_what_redis_works_on)
{
    becomes("int", item_of("0"), TEXT("0"));
    becomes("int", item_of("-17"), TEXT("-17"));
    becomes("int", item_of("9223372036854775807"), TEXT("9223372036854775807"));
    becomes("int", item_of("-9223372036854775808"), TEXT("-9223372036854775808"));
    becomes("float", item_of("7"), TEXT("7"));
    becomes("float", item_of("0.1"), TEXT("0.1"));
    becomes("float", item_of("-2.5e-300"), TEXT("-2.5e-300"));
    becomes("float", item_of("0.30000000000000004"), TEXT("0.30000000000000004"));
    becomes("bool", item_of("true"), TEXT("1"));
    becomes("bool", item_of("false"), TEXT("0"));
    becomes("str", item_of("''"), TEXT(""));
    becomes("str", item_of("'gr\xc3\xbc\xc3\x9f'"), TEXT("gr\xc3\xbc\xc3\x9f"));
}

Test(layout, bytes_are_themselves)
{
    struct buf wire = BUF_INIT;
    pack_bin(&wire, "\xc0", 1);
    becomes("bytes", wire, TEXT("\xc0"));
    wire = BUF_INIT;
    pack_bin(&wire, "a\0b", 3);
    becomes("bytes", wire, TEXT("a\0b"));
}

Test(layout, null_of_an_optional_is_one_byte)
{
    static const char *const types[] = {
        "optional<int>", "optional<float>",    "optional<bool>",
        "optional<str>", "optional<datetime>", "optional<bytes>",
        "optional<any>", "optional<Address>",  "optional<list<int>>"};
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        becomes(types[i], item_of("null"), TEXT("\xc0"));
    becomes("any", item_of("null"), TEXT("\xc0"));
    becomes("optional<int>", item_of("5"), TEXT("5"));
    becomes("optional<str>", item_of("'x'"), TEXT("x"));
    struct buf wire = BUF_INIT;
    pack_bin(&wire, "\xc0", 1);
    becomes("optional<bytes>", wire, TEXT("\xc4\x01\xc0"));
}

Test(layout, composite_values_are_messagepack)
{
    becomes("any", item_of("[1, 'a']"),
            TEXT("\x92\x01\xa1"
                 "a"));
    becomes("list<int>", item_of("[1, 2]"), TEXT("\x92\x01\x02"));
    becomes("dict<bool>", item_of("{'k': true}"), TEXT("\x81\xa1k\xc3"));
    becomes("Address", item_of("{'street': 's'}"),
            TEXT("\x82\xa6street\xa1s\xa5"
                 "floor\x00"));
}

static struct buf time_wire(int64_t sec, uint32_t nsec)
{
    struct buf b = BUF_INIT;
    pack_time(&b, sec, nsec);
    return b;
}

Test(layout, datetimes_are_iso_8601)
{
    becomes("datetime", time_wire(0, 0), TEXT("1970-01-01T00:00:00Z"));
    becomes("datetime", time_wire(-1, 999999999), TEXT("1969-12-31T23:59:59.999999999Z"));
    becomes("datetime", time_wire(951782400, 500000000), TEXT("2000-02-29T00:00:00.5Z"));
    becomes("datetime", time_wire(1704067200, 123456000), TEXT("2024-01-01T00:00:00.123456Z"));
    becomes("datetime", time_wire(1704067200, 1), TEXT("2024-01-01T00:00:00.000000001Z"));
    becomes("datetime", time_wire(-62135596800, 0), TEXT("0001-01-01T00:00:00Z"));
    becomes("datetime", time_wire(253402300799, 0), TEXT("9999-12-31T23:59:59Z"));
}

/* The C library's calendar is the judge. */
Test(layout, random_datetimes_agree_with_gmtime)
{
    uint64_t seed = 7;
    struct type *t = type_of("datetime");
    for (int i = 0; i < 20000; i++) {
        time_t sec = (time_t)(random_next(&seed) % 315537897600) - 62135596800;
        uint32_t nsec = random_next(&seed) % 3 ? 0 : (uint32_t)(random_next(&seed) % 1000000000);
        struct buf wire = time_wire(sec, nsec);
        struct buf raw = round_trip(t, &wire);
        struct tm tm;
        char expected[80];
        gmtime_r(&sec, &tm);
        snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        cr_assert_eq(memcmp(raw.data, expected, 19), 0, "%s: %.19s", expected, (char *)raw.data);
        buf_free(&raw);
        buf_free(&wire);
    }
    free(t);
}

Test(layout, random_numbers_come_back)
{
    uint64_t seed = 11;
    struct type *integer = type_of("int"), *real = type_of("optional<float>");
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_next(&seed);
        double d;
        memcpy(&d, &bits, sizeof(d));
        struct buf wire = BUF_INIT;
        pack_int(&wire, (int64_t)bits >> (random_next(&seed) % 64));
        struct buf raw = round_trip(integer, &wire);
        buf_free(&raw);
        buf_clear(&wire);
        pack_float(&wire, isfinite(d) ? d : 0.5);
        raw = round_trip(real, &wire);
        buf_free(&raw);
        buf_free(&wire);
    }
    free(integer);
    free(real);
}

static void pack_random(struct buf *b, uint64_t *seed, const struct type *t)
{
    char text[24];
    size_t n = random_next(seed) % sizeof(text);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(random_next(seed) % 128);
    switch (t->kind) {
    case TYPE_STR: pack_str(b, text, n); break;
    case TYPE_BYTES: pack_bin(b, text, n); break;
    case TYPE_INT: pack_int(b, (int64_t)random_next(seed)); break;
    case TYPE_DATETIME: pack_time(b, (int64_t)(random_next(seed) >> 31), (uint32_t)n); break;
    case TYPE_OPTIONAL:
        if (n % 3 == 0)
            pack_nil(b);
        else
            pack_random(b, seed, t->of);
        break;
    case TYPE_LIST:
        pack_array(b, (uint32_t)(n % 4));
        for (size_t i = 0; i < n % 4; i++)
            pack_random(b, seed, t->of);
        break;
    case TYPE_DICT:
        pack_map(b, (uint32_t)(n % 4));
        for (size_t i = 0; i < n % 4; i++) {
            pack_str(b, &"abcd"[i], 1);
            pack_random(b, seed, t->of);
        }
        break;
    default: pack_bool(b, n & 1);
    }
}

Test(layout, random_values_of_many_types_come_back)
{
    static const char *const types[] = {
        "str",       "optional<str>", "bytes", "optional<bytes>", "list<optional<bytes>>",
        "dict<str>", "bool",          "any",   "dict<list<int>>", "optional<list<datetime>>"};
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        struct type *t = type_of(types[i]);
        for (int round = 0; round < 1000; round++) {
            struct buf wire = BUF_INIT;
            pack_random(&wire, &seed, t);
            struct buf raw = round_trip(t, &wire);
            buf_free(&raw);
            buf_free(&wire);
        }
        free(t);
    }
}

static void refused(const char *type, const void *raw, size_t len, const char *says)
{
    struct type *t = type_of(type);
    struct cell c = {0};
    fault = (struct fault){0};
    cr_expect_eq(layout_parse(t, raw, len, &c, &fault), -1, "%s: \"%.*s\"", type, (int)len,
                 (const char *)raw);
    cr_expect_eq(fault.code, FAULT_CORRUPT, "%s: \"%.*s\"", type, (int)len, (const char *)raw);
    cr_expect_not_null(strstr(fault.text, says), "%s: %s", type, fault.text);
    cr_expect_eq(c.kind, CELL_UNSET);
    free(t);
}

Test(layout, an_int_is_what_hincrby_takes)
{
    refused("int", TEXT(""), "int expected");
    refused("int", TEXT("abc"), "\"abc\"");
    refused("int", TEXT("01"), "\"01\"");
    refused("int", TEXT("-0"), "\"-0\"");
    refused("int", TEXT("-"), "\"-\"");
    refused("int", TEXT("+1"), "\"+1\"");
    refused("int", TEXT(" 1"), "\" 1\"");
    refused("int", TEXT("1 "), "\"1 \"");
    refused("int", TEXT("1.0"), "\"1.0\"");
    refused("int", TEXT("9223372036854775808"), "9223372036854775808");
    refused("int", TEXT("-9223372036854775809"), "-9223372036854775809");
    refused("int", TEXT("\xc0"), "int expected");
}

Test(layout, a_float_is_a_finite_decimal)
{
    refused("float", TEXT(""), "float expected");
    refused("float", TEXT("nan"), "\"nan\"");
    refused("float", TEXT("inf"), "\"inf\"");
    refused("float", TEXT("1e999"), "\"1e999\"");
    refused("float", TEXT("0x10"), "\"0x10\"");
    refused("float", TEXT(" 1.5"), "\" 1.5\"");
    refused("float", TEXT("1.5\0"), "4 bytes");
    refused("float", TEXT("1.5.5"), "\"1.5.5\"");
}

Test(layout, other_scalars_are_checked)
{
    refused("bool", TEXT("true"), "1 or 0");
    refused("bool", TEXT(""), "1 or 0");
    refused("str", TEXT("\xff"), "UTF-8");
    refused("str", TEXT("\xc0"), "UTF-8");
    refused("datetime", TEXT("yesterday"), "\"yesterday\"");
    refused("datetime", TEXT("2024-02-30T00:00:00Z"), "2024-02-30");
    refused("datetime", TEXT("2023-02-29T00:00:00Z"), "2023-02-29");
    refused("datetime", TEXT("2024-13-01T00:00:00Z"), "2024-13");
    refused("datetime", TEXT("2024-01-01T24:00:00Z"), "T24");
    refused("datetime", TEXT("2024-01-01T00:00:60Z"), ":60Z");
    refused("datetime", TEXT("2024-01-01T00:00:00"), "2024-01-01T00:00:00\"");
    refused("datetime", TEXT("2024-01-01T00:00:00.Z"), "00.Z");
    refused("datetime", TEXT("2024-01-01T00:00:00.1234567890Z"), "1234567890Z");
    refused("datetime", TEXT("0000-01-01T00:00:00Z"), "0000");
    refused("datetime", TEXT("2024-01-01T00:00:00Zjunk"), "junk");
}

Test(layout, broken_messagepack_is_corrupt)
{
    refused("any", TEXT(""), "exactly one MessagePack value");
    refused("any", TEXT("\x92\x01"), "exactly one MessagePack value");
    refused("any", TEXT("\x01\x01"), "exactly one MessagePack value");
    refused("any", TEXT("\xc1"), "exactly one MessagePack value");
    refused("list<int>", TEXT("\x91\xa1x"), "list<int> expected");
    refused("list<int>", TEXT("\xc0"), "list<int> expected");
    refused("Address", TEXT("\x80"), "street");
    refused("any", TEXT("\xdf\xff\xff\xff\xff"), "exactly one MessagePack value");
}

Test(layout, a_long_finding_is_cut_in_the_message)
{
    char raw[5000];
    memset(raw, 'z', sizeof(raw));
    refused("int", raw, sizeof(raw), "... (5000 bytes)");
}

static void reads_as(const char *type, const void *raw, size_t len, const char *expected)
{
    struct type *t = type_of(type);
    struct cell c = {0};
    cr_assert_eq(layout_parse(t, raw, len, &c, &fault), 0, "%s: %s", type, fault.text);
    size_t n;
    const uint8_t *bytes = cell_bytes(&c, &n);
    cr_expect_str_eq(item_text(bytes, n), expected);
    cell_free(&c);
    free(t);
}

Test(layout, what_redis_or_others_write_differently_is_normalized)
{
    reads_as("float", TEXT("3.0e3"), "3000");
    reads_as("float", TEXT("10.6"), "10.6");
    reads_as("float", TEXT("+.5"), "0.5");
    reads_as("datetime", TEXT("2024-01-01T00:00:00.500Z"), "<1704067200.500000000>");
    reads_as("any", TEXT("\xd1\x00\x05"), "5");
    reads_as("Address", TEXT("\x81\xa6street\xd9\x01s"), "{'street': 's', 'floor': 0}");
}

/* HINCRBYFLOAT writes no exponent: three hundred digits are a number. */
Test(layout, long_floats_of_redis_are_read)
{
    char raw[320] = "1";
    memset(raw + 1, '0', 300);
    reads_as("float", raw, 301, "1.0000000000000001e+300");
}

Test(layout, elements_of_atomic_models_are_their_pk)
{
    const struct model *task = schema_model(schema, "Task", 4);
    struct type *t = type_of("list<Task>");
    struct record *r = record_new(task);
    struct buf raw = BUF_INIT;
    r->pk = cell_str("t-1", 3);
    struct cell c = {.record = r};
    c.kind = CELL_RECORD;
    layout_raw(t->of, &c, &raw);
    cr_expect(raw.len == 3 && memcmp(raw.data, "t-1", 3) == 0);
    struct cell back = {0};
    cr_assert_eq(layout_parse(t->of, raw.data, raw.len, &back, &fault), 0);
    cr_expect(cell_equal(&back, &r->pk));
    cell_free(&back);
    record_free(r);
    buf_free(&raw);
    free(t);
}

static const struct names plain = {.prefix = "rapyer"};
static const struct names tagged = {.prefix = "rapyer", .tags = true};

Test(layout, keys_hold_the_document_in_their_hash_tag)
{
    struct buf b = BUF_INIT;
    layout_key(&b, &plain, "User:42", 7, "/posts/p1/tags", 14);
    cr_expect(b.len == 30 && memcmp(b.data, "rapyer:{User:42}/posts/p1/tags", 30) == 0, "%zu %.*s",
              b.len, (int)b.len, (char *)b.data);
    buf_free(&b);
}

static const char *split_with(const struct names *names, const char *redis_key)
{
    static char text[128];
    const char *suffix;
    size_t suffix_len;
    struct buf key = BUF_INIT;
    bool ours = layout_split(names, redis_key, strlen(redis_key), &key, &suffix, &suffix_len);
    if (ours)
        snprintf(text, sizeof(text), "%.*s|%.*s", (int)key.len, (char *)key.data, (int)suffix_len,
                 suffix);
    buf_free(&key);
    if (!ours)
        return "none";
    return text;
}

static const char *split(const char *redis_key)
{
    return split_with(&plain, redis_key);
}

Test(layout, keys_are_taken_apart)
{
    cr_expect_str_eq(split("rapyer:{User:42}"), "User:42|");
    cr_expect_str_eq(split("rapyer:{User:42}/posts"), "User:42|/posts");
    cr_expect_str_eq(split("rapyer:{User:42}x"), "none");
    cr_expect_str_eq(split("rapyer:{User:42"), "none");
    cr_expect_str_eq(split("rapyer:{Page:{2fhome}/a{7db"), "Page:/home|/a{7db");
    cr_expect_str_eq(split("rapyer:{Page:/home}"), "none");
    cr_expect_str_eq(split("rapyer:{Page:{2Fhome}"), "none");
    cr_expect_str_eq(split("rapyer:{}"), "none");
    cr_expect_str_eq(split("rapyer:{User:\xc3\xa9}"), "User:\xc3\xa9|");
    cr_expect_str_eq(split("rapyer:{User:\xe9}"), "none");
    cr_expect_str_eq(split("rapyer:schema"), "none");
    cr_expect_str_eq(split("other:{User:42}"), "none");
    cr_expect_str_eq(split("rapy"), "none");
}

/* A pk that begins with {tag} is in the slot of the tag, and is read back from its name. */
static void expect_name(const struct names *names, const char *key, const char *root)
{
    struct buf b = BUF_INIT;
    char back[160], full[160];
    layout_key(&b, names, key, strlen(key), "/tags", 5);
    cr_expect_eq(b.len, layout_key_len(names, key, strlen(key), 5));
    buf_append(&b, "", 1);
    snprintf(full, sizeof(full), "%s/tags", root);
    cr_expect_str_eq((char *)b.data, full);
    snprintf(back, sizeof(back), "%s|/tags", key);
    cr_expect_str_eq(split_with(names, (char *)b.data), back);
    snprintf(back, sizeof(back), "%s|", key);
    cr_expect_str_eq(split_with(names, root), back);
    buf_free(&b);
}

Test(layout, a_tag_of_a_pk_stands_in_front)
{
    expect_name(&tagged, "Order:{c42}7", "rapyer:{c42}Order:7");
    expect_name(&tagged, "Customer:{c42}", "rapyer:{c42}Customer:");
    expect_name(&tagged, "Order:{a/b{c}d/{e}", "rapyer:{a{2fb{7bc}Order:d{2f{7be{7d");
    expect_name(&tagged, "Note:{Order:7}x", "rapyer:{Order:7}Note:x");
    expect_name(&tagged, "shop.Order:{c42}7", "rapyer:{c42}shop.Order:7");
}

Test(layout, what_is_no_tag_is_escaped)
{
    expect_name(&tagged, "Order:7", "rapyer:{Order:7}");
    expect_name(&tagged, "Order:7{c42}", "rapyer:{Order:7{7bc42{7d}");
    expect_name(&tagged, "Order:{}7", "rapyer:{Order:{7b{7d7}");
    expect_name(&tagged, "Order:{c42", "rapyer:{Order:{7bc42}");
    expect_name(&plain, "Order:{c42}7", "rapyer:{Order:{7bc42{7d7}");
}

Test(layout, each_document_has_one_name)
{
    cr_expect_str_eq(split_with(&tagged, "rapyer:{Order:{7bc42{7d7}"), "none");
    cr_expect_str_eq(split_with(&tagged, "rapyer:{c42}Order"), "none");
    cr_expect_str_eq(split_with(&tagged, "rapyer:{c42}Or}der:7"), "none");
    cr_expect_str_eq(split_with(&tagged, "rapyer:{}Order:7"), "none");
    cr_expect_str_eq(split_with(&plain, "rapyer:{c42}Order:7"), "none");
}
