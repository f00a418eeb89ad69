/* value: what each type takes and refuses, the canonical bytes, the words of refusals; and for
 * random values and types, that what came out is taken again unchanged. */
#include "protocol/value.h"
#include "random_value.h"
#include "wire_text.h"
#include <math.h>

static struct schema *s;
static struct fault fault;

static const struct model *define(const char *text)
{
    struct buf b = BUF_INIT;
    const struct model *m = NULL;
    bool changed;
    wire_pack(&b, text);
    struct cursor in = cursor_of(b.data, b.len);
    cr_assert_eq(schema_define(s, &in, &m, &changed, &fault), 0, "%s: %s", text, fault.text);
    buf_free(&b);
    return m;
}

static void begin(void)
{
    s = schema_new();
    define("{name: Address, kind: plain, fields: [{name: street, type: str},"
           "{name: zip, type: int, default: 0}, {name: note, type: 'optional<str>'},"
           "{name: where, type: 'optional<str>', default: nil}]}");
    define("{name: Item, kind: plain, fields: [{name: name, type: str}, {name: price, type: int},"
           "{name: tags, type: 'list<str>', default: []}]}");
    define("{name: Order, kind: plain, fields: [{name: items, type: 'list<Item>'},"
           "{name: ship, type: 'optional<Address>'}]}");
    define("{name: Atom, kind: atomic, fields: []}");
}

static void end(void)
{
    schema_free(s);
}

TestSuite(value, .init = begin, .fini = end);

/* The type of that text: a field of a model that is defined for it. */
static const struct type *type_of(const char *text)
{
    static unsigned n;
    char declaration[300];
    snprintf(declaration, sizeof declaration,
             "{name: T%u, kind: atomic, fields: [{name: f, type: '%s'}]}", n++, text);
    return define(declaration)->fields[0].type;
}

/* Checks the bytes behind some that are there already, with others behind. */
static int check_bytes(const struct type *t, const struct buf *in, struct buf *out)
{
    struct buf more = BUF_INIT;
    buf_append(&more, in->data, in->len);
    pack_cstr(&more, "next");
    struct cursor c = cursor_of(more.data, more.len);
    buf_clear(out);
    buf_append(out, "before", 6);
    fault = (struct fault){0};
    int done = value_check(t, &c, out, "f", &fault);
    cr_assert(memcmp(out->data, "before", 6) == 0);
    if (done == 0) {
        cr_assert_eq(c.at, more.data + in->len, "the cursor is behind the value");
    } else {
        cr_assert_eq(done, -1);
        cr_assert_eq(out->len, 6u, "a refusal leaves out as it was");
        cr_assert_neq(fault.code, FAULT_NONE);
    }
    memmove(out->data, out->data + 6, out->len - 6);
    out->len -= 6;
    buf_free(&more);
    return done;
}

static void becomes(const char *type, const char *value, const char *canonical)
{
    struct buf in = BUF_INIT, out = BUF_INIT, want = BUF_INIT;
    wire_pack(&in, value);
    wire_pack(&want, canonical);
    cr_assert_eq(check_bytes(type_of(type), &in, &out), 0, "%s for %s: %s", value, type,
                 fault.text);
    cr_assert(out.len == want.len && memcmp(out.data, want.data, out.len) == 0, "%s for %s", value,
              type);
    buf_free(&in);
    buf_free(&out);
    buf_free(&want);
}

static void stays(const char *type, const char *value)
{
    becomes(type, value, value);
}

static void refused(const char *type, const char *value, enum fault_code code, const char *why)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    wire_pack(&in, value);
    cr_assert_eq(check_bytes(type_of(type), &in, &out), -1, "%s for %s", value, type);
    cr_assert_str_eq(fault.text, why);
    cr_assert_eq(fault.code, code, "%s", fault_name(fault.code));
    buf_free(&in);
    buf_free(&out);
}

Test(value, ints)
{
    stays("int", "0");
    stays("int", "-1");
    stays("int", "9223372036854775807");
    stays("int", "#d38000000000000000#");
    becomes("int", "#d005#", "5");
    becomes("int", "#d1ffff#", "-1");
    becomes("int", "#cf0000000000000001#", "1");
    becomes("int", "#cd00ff#", "255");
    refused("int", "9223372036854775808", FAULT_OUT_OF_RANGE,
            "f: 9223372036854775808 is above 9223372036854775807");
    refused("int", "1.0", FAULT_BAD_TYPE, "f: int expected, found float");
    refused("int", "true", FAULT_BAD_TYPE, "f: int expected, found bool");
    refused("int", "nil", FAULT_BAD_TYPE, "f: int expected, found nil");
    refused("int", "'1'", FAULT_BAD_TYPE, "f: int expected, found str");
}

Test(value, floats)
{
    stays("float", "1.5");
    becomes("float", "1", "1.0");
    becomes("float", "-7", "-7.0");
    becomes("float", "#ca3fc00000#", "1.5");
    becomes("float", "18446744073709551615", "18446744073709551616.0");
    stays("float", "#cb8000000000000000#");
    refused("float", "#cb7ff8000000000000#", FAULT_BAD_VALUE,
            "f: NaN is not a number that can be kept");
    refused("float", "#cb7ff0000000000000#", FAULT_BAD_VALUE,
            "f: infinity is not a number that can be kept");
    refused("float", "#caff800000#", FAULT_BAD_VALUE,
            "f: infinity is not a number that can be kept");
    refused("float", "true", FAULT_BAD_TYPE, "f: float expected, found bool");
    refused("float", "'1.5'", FAULT_BAD_TYPE, "f: float expected, found str");
}

Test(value, bools)
{
    stays("bool", "true");
    stays("bool", "false");
    refused("bool", "1", FAULT_BAD_TYPE, "f: bool expected, found int");
    refused("bool", "nil", FAULT_BAD_TYPE, "f: bool expected, found nil");
}

Test(value, strs_and_bytes)
{
    stays("str", "''");
    stays("str", "'caf\xc3\xa9'");
    becomes("str", "#d90161#", "a");
    becomes("str", "#db0000000161#", "a");
    refused("str", "#a1ff#", FAULT_BAD_VALUE, "f: the str is not valid UTF-8; bytes can hold it");
    refused("str", "#a3eda080#", FAULT_BAD_VALUE,
            "f: the str is not valid UTF-8; bytes can hold it");
    refused("str", "#c40161#", FAULT_BAD_TYPE, "f: str expected, found bytes");
    stays("bytes", "#c402ff00#");
    becomes("bytes", "#c500016b#", "#c4016b#");
    refused("bytes", "a", FAULT_BAD_TYPE, "f: bytes expected, found str");
}

Test(value, datetimes)
{
    stays("datetime", "#d6ff65920080#");
    becomes("datetime", "#d7ff0000000065920080#", "#d6ff65920080#");
    becomes("datetime", "#c70cff000000000000000065920080#", "#d6ff65920080#");
    becomes("datetime", "#c70cff0000000a0000000065920080#", "#d7ff0000002865920080#");
    stays("datetime", "#c70cff3b9ac9fffffffffffffffffe#");
    refused("datetime", "#d7ffee6b280065920080#", FAULT_BAD_VALUE,
            "f: a timestamp has 4, 8 or 12 bytes and less than 10^9 nanoseconds");
    refused("datetime", "#d5ff0000#", FAULT_BAD_VALUE,
            "f: a timestamp has 4, 8 or 12 bytes and less than 10^9 nanoseconds");
    refused("datetime", "#d60165920080#", FAULT_BAD_TYPE, "f: datetime expected, found ext");
    refused("datetime", "1704067200", FAULT_BAD_TYPE, "f: datetime expected, found int");
    refused("datetime", "'2024-01-01T00:00:00Z'", FAULT_BAD_TYPE,
            "f: datetime expected, found str");
}

Test(value, datetimes_lie_in_the_years_1_to_9999)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    const struct type *t = type_of("datetime");
    const struct {
        int64_t sec;
        int done;
    } cases[] = {{-62135596800, 0},  {-62135596801, -1}, {253402300799, 0},
                 {253402300800, -1}, {INT64_MIN, -1},    {INT64_MAX, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pack_time(&in, cases[i].sec, 999999999);
        cr_assert_eq(check_bytes(t, &in, &out), cases[i].done, "%zu", i);
        if (cases[i].done)
            cr_assert_eq(fault.code, FAULT_OUT_OF_RANGE);
        buf_clear(&in);
        buf_clear(&out);
    }
    buf_free(&in);
    buf_free(&out);
    refused("datetime", "#c70cff000000000000003afff44180#", FAULT_OUT_OF_RANGE,
            "f: the datetime lies outside the years 1 to 9999 (253402300800 s)");
}

Test(value, optionals)
{
    stays("optional<int>", "nil");
    stays("optional<int>", "5");
    stays("list<optional<str>>", "[nil, a]");
    refused("optional<int>", "a", FAULT_BAD_TYPE, "f: int expected, found str");
    stays("optional<Address>", "nil");
}

Test(value, lists)
{
    stays("list<int>", "[]");
    becomes("list<int>", "#dc0002d005cc06#", "[5, 6]");
    becomes("list<float>", "#dd000000021ccb4000000000000000#", "[28.0, 2.0]");
    refused("list<int>", "{}", FAULT_BAD_TYPE, "f: list<int> expected, found map");
    refused("list<int>", "[1, 2, a]", FAULT_BAD_TYPE, "f[2]: int expected, found str");
    refused("list<list<int>>", "[[1], [2, nil]]", FAULT_BAD_TYPE,
            "f[1][1]: int expected, found nil");
}

Test(value, dicts)
{
    stays("dict<int>", "{}");
    becomes("dict<int>", "#de0002d90162d005a16106#", "{b: 5, a: 6}");
    refused("dict<int>", "[]", FAULT_BAD_TYPE, "f: dict<int> expected, found list");
    refused("dict<int>", "{1: 2}", FAULT_BAD_TYPE, "f: a dict's keys are str, found int");
    refused("dict<int>", "#81c4016b02#", FAULT_BAD_TYPE, "f: a dict's keys are str, found bytes");
    refused("dict<int>", "#81a1ff02#", FAULT_BAD_VALUE, "f: a key is not valid UTF-8");
    refused("dict<int>", "{k: x}", FAULT_BAD_TYPE, "f[\"k\"]: int expected, found str");
    refused("dict<dict<int>>", "{'a\"b': {'c.d': nil}}", FAULT_BAD_TYPE,
            "f[\"a\\\"b\"][\"c.d\"]: int expected, found nil");
    refused("dict<int>", "{a: 1, b: 2, a: 3}", FAULT_BAD_VALUE, "f[\"a\"]: the key is there twice");
    refused("dict<int>", "#82a16101d9016102#", FAULT_BAD_VALUE, "f[\"a\"]: the key is there twice");
}

Test(value, plain_models)
{
    becomes("Address", "{zip: 5, street: a}", "{street: a, zip: 5, where: nil}");
    becomes("Address", "{where: x, note: n, street: a}", "{street: a, zip: 0, note: n, where: x}");
    becomes("Address", "{note: nil, street: a}", "{street: a, zip: 0, note: nil, where: nil}");
    becomes("Order", "{items: [{price: 1, name: n}]}", "{items: [{name: n, price: 1, tags: []}]}");
    refused("Address", "[]", FAULT_BAD_TYPE,
            "f: Address (a map of its fields) expected, found list");
    refused("Address", "{zip: 1}", FAULT_BAD_VALUE,
            "f.street: the field is missing and has no default");
    refused("Order", "{}", FAULT_BAD_VALUE, "f.items: the field is missing and has no default");
    refused("Address", "{street: a, zip: 1, town: b}", FAULT_UNKNOWN_FIELD,
            "f.town: no such field; Address has street, zip, note, where");
    refused("Address", "{street: a, '@pk': b}", FAULT_UNKNOWN_FIELD,
            "f[\"@pk\"]: no such field; Address has street, zip, note, where");
    refused("Address", "{street: a, street: b}", FAULT_BAD_VALUE,
            "f.street: the field is there twice");
    refused("Address", "{1: a}", FAULT_BAD_TYPE, "f: the names of fields are str, found int");
    refused("Address", "{street: nil}", FAULT_BAD_TYPE, "f.street: str expected, found nil");
    refused("list<Order>", "[{items: [{name: a, price: 1}, {name: b, price: x}]}]", FAULT_BAD_TYPE,
            "f[0].items[1].price: int expected, found str");
    refused("dict<Order>", "{k: {items: [], ship: {}}}", FAULT_BAD_VALUE,
            "f[\"k\"].ship.street: the field is missing and has no default");
}

Test(value, of_the_root_and_of_no_path)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    wire_pack(&in, "{street: 1}");
    struct cursor c = cursor_of(in.data, in.len);
    cr_assert_eq(value_check(type_of("Address"), &c, &out, "", &fault), -1);
    cr_assert_str_eq(fault.text, "street: str expected, found int");
    c = cursor_of(in.data, in.len);
    cr_assert_eq(value_check(type_of("int"), &c, &out, "", &fault), -1);
    cr_assert_str_eq(fault.text, "value: int expected, found map");
    c = cursor_of(in.data, in.len);
    cr_assert_eq(value_check(type_of("Item"), &c, &out, "items[2]", &fault), -1);
    cr_assert_str_eq(fault.text, "items[2].street: no such field; Item has name, price, tags");
    buf_free(&in);
    buf_free(&out);
}

Test(value, models_with_many_fields)
{
    struct buf b = BUF_INIT, text = BUF_INIT;
    buf_printf(&text, "{name: Big, kind: plain, fields: [");
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "{name: field%d, type: int, default: 7},", i);
    buf_printf(&text, "]}%c", 0);
    define((char *)text.data);
    const struct type *t = type_of("Big");
    wire_pack(&b, "{field299: 1, field0: 2}");
    struct buf out = BUF_INIT;
    cr_assert_eq(check_bytes(t, &b, &out), 0, "%s", fault.text);
    struct cursor c = cursor_of(out.data, out.len);
    uint32_t n;
    cr_assert_eq(cursor_map(&c, &n), 0);
    cr_assert_eq(n, 300u);
    for (uint32_t i = 0; i < n; i++) {
        char want[16];
        const char *name;
        size_t len;
        int64_t v;
        cr_assert_eq(cursor_str(&c, &name, &len), 0);
        cr_assert_eq(cursor_int(&c, &v), 0);
        snprintf(want, sizeof want, "field%u", i);
        cr_assert(len == strlen(want) && memcmp(name, want, len) == 0);
        cr_assert_eq(v, i == 0 ? 2 : i == 299 ? 1 : 7);
    }
    buf_clear(&b);
    buf_clear(&out);
    wire_pack(&b, "{field300: 1}");
    cr_assert_eq(check_bytes(t, &b, &out), -1);
    cr_assert_str_eq(fault.text, "f.field300: no such field; Big has field0, field1, field2, "
                                 "field3, field4, field5, field6, field7, field8, field9, field10, "
                                 "field11, field12, field13, ...");
    buf_free(&b);
    buf_free(&text);
    buf_free(&out);
}

Test(value, any)
{
    stays("any", "nil");
    stays("any", "[1, -1, 1.5, true, a, [], {}]");
    becomes("any", "#ca3fc00000#", "1.5");
    becomes("any", "#dc0002d005cc06#", "[5, 6]");
    becomes("any", "#de0001d9016bc500016b#", "{k: #c4016b#}");
    becomes("any", "{1: a, nil: b, 1.0: c, true: d, [x]: e}",
            "{1: a, nil: b, 1.0: c, true: d, [x]: e}");
    becomes("any", "#c70cff000000000000000065920080#", "#d6ff65920080#");
    refused("any", "#a1ff#", FAULT_BAD_VALUE, "f: the str is not valid UTF-8; bytes can hold it");
    refused("any", "[1, #cb7ff8000000000000#]", FAULT_BAD_VALUE,
            "f[1]: NaN is not a number that can be kept");
    refused("any", "{a: [#cbfff0000000000000#]}", FAULT_BAD_VALUE,
            "f[\"a\"][0]: infinity is not a number that can be kept");
    refused("any", "[9223372036854775808]", FAULT_OUT_OF_RANGE,
            "f[0]: 9223372036854775808 is above 9223372036854775807");
    refused("any", "#d4057f#", FAULT_BAD_TYPE, "f: ext type 5 is not known; timestamps (-1) are");
    refused("any", "#d4ff7f#", FAULT_BAD_VALUE,
            "f: a timestamp has 4, 8 or 12 bytes and less than 10^9 nanoseconds");
    refused("any", "{a: {b: 1, c: 2, b: 3}}", FAULT_BAD_VALUE,
            "f[\"a\"][\"b\"]: the key is there twice");
    refused("any", "#820101d00102#", FAULT_BAD_VALUE, "f[1]: the key is there twice");
    refused("any", "{[1]: 1, [1]: 2}", FAULT_BAD_VALUE, "f[\"?\"]: the key is there twice");
}

static void nested(struct buf *b, unsigned depth, bool maps)
{
    for (unsigned i = 0; i < depth; i++) {
        if (maps) {
            pack_map(b, 1);
            pack_cstr(b, "k");
        } else {
            pack_array(b, 1);
        }
    }
    pack_int(b, 1);
}

Test(value, any_nests_at_most_20)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    const struct type *any = type_of("any"), *list = type_of("list<any>");
    for (int maps = 0; maps < 2; maps++) {
        buf_clear(&in);
        buf_clear(&out);
        nested(&in, VALUE_ANY_DEPTH, maps);
        cr_assert_eq(check_bytes(any, &in, &out), 0, "%s", fault.text);
        cr_assert(in.len == out.len && memcmp(in.data, out.data, in.len) == 0);
        buf_clear(&in);
        buf_clear(&out);
        nested(&in, VALUE_ANY_DEPTH + 1, maps);
        cr_assert_eq(check_bytes(any, &in, &out), -1);
        cr_assert(strstr(fault.text, ": an any nests at most 20 containers"), "%s", fault.text);
        cr_assert_eq(fault.code, FAULT_BAD_VALUE);
    }
    buf_clear(&in);
    nested(&in, VALUE_ANY_DEPTH + 1, false);
    cr_assert_eq(check_bytes(list, &in, &out), 0, "declared containers do not count");
    buf_clear(&in);
    nested(&in, 100000, false);
    cr_assert_eq(check_bytes(any, &in, &out), -1);
    buf_free(&in);
    buf_free(&out);
}

/* A map of n keys, the last of which may be one that is there already. */
static int check_big_map(const char *type, uint32_t n, int64_t again)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    char key[32];
    pack_map(&in, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = again >= 0 && i == n - 1 ? (uint32_t)again : i;
        pack_str(&in, key, (size_t)snprintf(key, sizeof key, "key%u", k));
        pack_int(&in, i);
    }
    int done = check_bytes(type_of(type), &in, &out);
    if (done == 0)
        cr_assert(in.len == out.len && memcmp(in.data, out.data, in.len) == 0);
    buf_free(&in);
    buf_free(&out);
    return done;
}

Test(value, duplicate_keys_of_maps_of_every_size)
{
    for (uint32_t n = 2; n < 40; n++) {
        for (uint32_t again = 0; again < n - 1; again++) {
            char want[60];
            snprintf(want, sizeof want, "f[\"key%u\"]: the key is there twice", again);
            cr_assert_eq(check_big_map("any", n, again), -1);
            cr_assert_str_eq(fault.text, want);
            if (again % 7)
                continue;
            cr_assert_eq(check_big_map("dict<int>", n, again), -1);
            cr_assert_str_eq(fault.text, want);
        }
        cr_assert_eq(check_big_map("any", n, -1), 0, "%s", fault.text);
        cr_assert_eq(check_big_map("dict<int>", n, -1), 0, "%s", fault.text);
    }
}

Test(value, many_keys_take_little_time, .timeout = 20)
{
    cr_assert_eq(check_big_map("any", 200000, -1), 0);
    cr_assert_eq(check_big_map("dict<int>", 200000, -1), 0);
    cr_assert_eq(check_big_map("dict<int>", 200000, 77777), -1);
    cr_assert_str_eq(fault.text, "f[\"key77777\"]: the key is there twice");
}

Test(value, long_paths_are_cut)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    char key[1000];
    memset(key, 'k', sizeof key);
    pack_map(&in, 1);
    pack_str(&in, key, sizeof key);
    pack_nil(&in);
    cr_assert_eq(check_bytes(type_of("dict<int>"), &in, &out), -1);
    cr_assert(strstr(fault.text, "kkk...: int expected, found nil"), "%s", fault.text);
    cr_assert_lt(strlen(fault.text), 300u);
    buf_free(&in);
    buf_free(&out);
}

/* A few bytes whose defaults would fill memory. */
Test(value, what_defaults_add_is_bounded, .timeout = 60)
{
    struct buf text = BUF_INIT, in = BUF_INIT, out = BUF_INIT;
    buf_printf(&text, "{name: Fat, kind: plain, fields: [{name: a, type: str, default: '");
    for (int i = 0; i < 60000; i++)
        buf_append(&text, "x", 1);
    buf_append(&text, "'}]}", 5);
    define((char *)text.data);
    const struct type *t = type_of("list<Fat>");
    pack_array(&in, 100);
    for (int i = 0; i < 100; i++)
        pack_map(&in, 0);
    cr_assert_eq(check_bytes(t, &in, &out), 0);
    cr_assert_gt(out.len, 100 * 60000u);
    buf_clear(&in);
    buf_clear(&out);
    pack_array(&in, 100000);
    for (int i = 0; i < 100000; i++)
        pack_map(&in, 0);
    cr_assert_eq(check_bytes(t, &in, &out), -1);
    cr_assert_eq(fault.code, FAULT_TOO_LARGE);
    cr_assert(strstr(fault.text, ": a value has at most 67108864 bytes"), "%s", fault.text);
    buf_free(&text);
    buf_free(&in);
    buf_free(&out);
}

/* Of a str or bytes the content counts, of anything composite all of it. */
Test(value, a_limit_that_can_change)
{
    struct buf b = BUF_INIT;
    char text[101];
    memset(text, 'x', sizeof(text));
    pack_str(&b, text, 101);
    cr_assert_eq(value_check_limit(&b, "name", &fault), 0, "no limit at first");
    value_set_limit(100);
    cr_assert_eq(value_check_limit(&b, "name", &fault), -1);
    cr_assert_eq(fault.code, FAULT_TOO_LARGE);
    cr_assert_str_eq(fault.text, "name: the value has 101 bytes, at most 100 are allowed");
    buf_clear(&b);
    pack_bin(&b, text, 101);
    cr_assert_eq(value_check_limit(&b, "", &fault), -1);
    cr_assert_str_eq(fault.text, "value: the value has 101 bytes, at most 100 are allowed");
    buf_clear(&b);
    pack_str(&b, text, 100);
    cr_assert_eq(value_check_limit(&b, "name", &fault), 0);
    buf_clear(&b);
    pack_array(&b, 1);
    pack_str(&b, text, 97);
    cr_assert_eq(b.len, 100u);
    cr_assert_eq(value_check_limit(&b, "rows[0]", &fault), 0);
    buf_clear(&b);
    pack_array(&b, 1);
    pack_str(&b, text, 98);
    cr_assert_eq(value_check_limit(&b, "rows[0]", &fault), -1);
    value_set_limit(101);
    cr_assert_eq(value_check_limit(&b, "rows[0]", &fault), 0);
    value_set_limit(0);
    buf_free(&b);
}

Test(value, an_atomic_model_is_no_value)
{
    refused("Atom", "{}", FAULT_INTERNAL, "f: an atomic model stands where a value is checked");
}

/* Truncated at every place: refused, and nothing behind the end is read. */
Test(value, cut_bytes)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    const struct type *types[] = {type_of("any"), type_of("Order")};
    wire_pack(&in, "{items: [{name: n, price: 300, tags: [a, b]}], ship: {street: x, zip: 70000}}");
    for (size_t i = 0; i < 2; i++) {
        for (size_t n = 0; n < in.len; n++) {
            uint8_t *exact = malloc(n ? n : 1);
            memcpy(exact, in.data, n);
            struct cursor c = cursor_of(exact, n);
            cr_assert_eq(value_check(types[i], &c, &out, "f", &fault), -1, "%zu", n);
            cr_assert_eq(fault.code, FAULT_BAD_VALUE);
            cr_assert(strstr(fault.text, ": the bytes end inside the value"), "%s", fault.text);
            cr_assert_eq(out.len, 0u);
            free(exact);
        }
    }
    /* Counts of 4 G items in a few bytes. */
    const char *huge[] = {"#dfffffffff#", "#ddffffffff#", "#dfffffffffa16101#"};
    for (size_t i = 0; i < 3; i++) {
        buf_clear(&in);
        wire_pack(&in, huge[i]);
        for (size_t k = 0; k < 2; k++) {
            struct cursor c = cursor_of(in.data, in.len);
            cr_assert_eq(value_check(types[k], &c, &out, "f", &fault), -1);
            cr_assert_eq(out.len, 0u);
        }
    }
    buf_free(&in);
    buf_free(&out);
}

static const char *const property_types[] = {
    "any",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "datetime",
    "list<any>",
    "dict<any>",
    "optional<any>",
    "list<int>",
    "dict<float>",
    "Address",
    "list<Order>",
    "dict<Address>",
    "optional<Item>",
    "list<dict<any>>",
    "dict<list<optional<datetime>>>",
};
#define PROPERTY_TYPES (sizeof property_types / sizeof *property_types)

/* The property that a fuzzer can drive as well: refused leaving out untouched, or canonical. */
static int property(const struct type *t, const uint8_t *data, size_t len)
{
    struct buf out = BUF_INIT, again = BUF_INIT;
    struct cursor c = cursor_of(data, len);
    buf_append(&out, "x", 1);
    int done = value_check(t, &c, &out, "f", &fault);
    if (done < 0) {
        cr_assert(out.len == 1 && out.data[0] == 'x');
        cr_assert(fault.code != FAULT_NONE && fault.code != FAULT_INTERNAL && fault.text[0]);
    } else {
        cr_assert(c.at > data && c.at <= data + len);
        c = cursor_of(out.data + 1, out.len - 1);
        cr_assert_eq(value_check(t, &c, &again, "f", &fault), 0, "%s", fault.text);
        cr_assert(cursor_done(&c));
        cr_assert(again.len == out.len - 1 && memcmp(again.data, out.data + 1, again.len) == 0);
    }
    buf_free(&out);
    buf_free(&again);
    return done;
}

static uint32_t below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(random_next(state) % n);
}

/* A value that mostly fits the type, so that the property is tried on what is taken too. */
static void value_for(struct buf *b, uint64_t *state, const struct type *t, unsigned depth);

static void fields_for(struct buf *b, uint64_t *state, const struct model *m, unsigned depth)
{
    struct buf inner = BUF_INIT;
    uint32_t n = 0, from = below(state, m->nfields + 1);
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[(from + i) % m->nfields];
        if ((f->fallback || f->type->kind == TYPE_OPTIONAL) && below(state, 2))
            continue;
        pack_str(&inner, f->name, f->name_len);
        value_for(&inner, state, f->type, depth);
        n++;
    }
    random_sized(b, 0xde, 2, n);
    buf_append(b, inner.data, inner.len);
    buf_free(&inner);
}

static void value_for(struct buf *b, uint64_t *state, const struct type *t, unsigned depth)
{
    char key[16];
    uint32_t n = below(state, 40) == 0 ? 20 : below(state, 4);
    uint64_t bits = random_next(state);
    if (below(state, 60) == 0) {
        random_value(b, state, 3);
        return;
    }
    switch (t->kind) {
    case TYPE_INT: random_sized(b, 0xd3, 8, bits >> below(state, 64)); return;
    case TYPE_FLOAT:
        if (below(state, 2))
            random_sized(b, 0xca, 4, bits & 0xbfffffff);
        else
            pack_int(b, (int64_t)bits);
        return;
    case TYPE_BOOL: pack_bool(b, bits & 1); return;
    case TYPE_STR: random_sized(b, 0xdb, 4, n), buf_append(b, "abcdefghijklmnopqrst", n); return;
    case TYPE_BYTES: random_sized(b, 0xc6, 4, n), random_bytes(b, state, n); return;
    case TYPE_DATETIME:
        random_sized(b, 0xc7, 1, 12);
        random_sized(b, 0xff, 4, bits % 1000000000);
        random_sized(b, 0, 7, bits >> 32); /* 8 bytes, the first of them 0 */
        return;
    case TYPE_DECIMAL: pack_cstr(b, "-12.50"); return;
    case TYPE_DATE: pack_cstr(b, "2024-01-31"); return;
    case TYPE_TIME: pack_cstr(b, "23:59:59.5"); return;
    case TYPE_TIMEDELTA: pack_cstr(b, "-90.5"); return;
    case TYPE_NAIVE: pack_cstr(b, "2024-01-31T23:59:59.5"); return;
    case TYPE_ZONED: pack_cstr(b, "2024-01-31T23:59:59.5-02:30"); return;
    case TYPE_UUID: pack_cstr(b, "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d"); return;
    case TYPE_ENUM: pack_str(b, t->names, strcspn(t->names, "|")); return;
    case TYPE_REF: pack_cstr(b, "Address:1"); return;
    case TYPE_ANY: random_value(b, state, depth ? 4 : 1); return;
    case TYPE_OPTIONAL:
    case TYPE_MAYBE:
        if (bits & 1)
            pack_nil(b);
        else
            value_for(b, state, t->of, depth);
        return;
    case TYPE_LIST:
        random_sized(b, 0xdd, 4, n);
        while (n-- > 0)
            value_for(b, state, t->of, depth - 1);
        return;
    case TYPE_DICT:
        random_sized(b, 0xdf, 4, n);
        while (n-- > 0) {
            pack_str(b, key, (size_t)snprintf(key, sizeof key, "%u", n));
            value_for(b, state, t->of, depth - 1);
        }
        return;
    case TYPE_SET: /* of one member, or none: more might be the same */
        random_sized(b, 0xdd, 4, n % 2);
        if (n % 2)
            value_for(b, state, t->of, depth - 1);
        return;
    case TYPE_SORTED: pack_array(b, 0); return; /* never within a value */
    case TYPE_MODEL: fields_for(b, state, t->model, depth - 1); return;
    }
}

Test(value, canonical_form_is_taken_unchanged, .timeout = 60)
{
    struct buf b = BUF_INIT;
    uint64_t state = 42;
    unsigned taken[2] = {0};
    for (size_t i = 0; i < PROPERTY_TYPES; i++) {
        const struct type *t = type_of(property_types[i]);
        unsigned of_type = 0;
        for (unsigned round = 0; round < 1500; round++) {
            buf_clear(&b);
            if (round % 5 == 0)
                random_value(&b, &state, 5);
            else
                value_for(&b, &state, t, 5);
            int done = property(t, b.data, b.len);
            taken[done == 0]++;
            of_type += done == 0;
            if (round % 3 == 0 && b.len) {
                b.data[below(&state, (uint32_t)b.len)] ^= (uint8_t)(1u << below(&state, 8));
                property(t, b.data, b.len);
            }
        }
        cr_assert_gt(of_type, 100u, "%s: only %u were taken", property_types[i], of_type);
    }
    cr_assert_gt(taken[0], 1000u);
    buf_free(&b);
}
