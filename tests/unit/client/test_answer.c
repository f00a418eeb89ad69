#include "client/template.h"
#include "client/value.h"
#include "random_value.h"
#include <criterion/criterion.h>
#include <stdlib.h>

static rapyer_value *value_of(const char *text)
{
    struct buf out = BUF_INIT;
    struct fault f;
    cr_assert_eq(template_value(text, NULL, NULL, NULL, &out, &f), 0, "%s", f.text);
    struct cursor in = cursor_of(out.data, out.len);
    rapyer_value *v = value_parse(in, 0, 1 << 20, &f);
    cr_assert_not_null(v);
    buf_free(&out);
    return v;
}

Test(answer, paths_lead_to_what_is_inside)
{
    rapyer_value *v = value_of("{name: Jane, '@pk': p0, stats: {logins: 3, rate: 0.5, 'a.b': yes},"
                               " posts: [{'@pk': p1, tags: [x, y]}, {'@pk': p2}], on: true}");
    cr_expect_str_eq(rapyer_str(v, "name", "?"), "Jane");
    cr_expect_str_eq(rapyer_str(v, "@pk", "?"), "p0");
    cr_expect_eq(rapyer_int(v, "stats.logins", 0), 3);
    cr_expect_eq(rapyer_float(v, "stats.rate", 0), 0.5);
    cr_expect_eq(rapyer_float(v, "stats.logins", 0), 3.0);
    cr_expect_str_eq(rapyer_str(v, "stats[\"a.b\"]", "?"), "yes");
    cr_expect_str_eq(rapyer_str(v, "posts[0].tags[-1]", "?"), "y");
    cr_expect(rapyer_bool(v, "on", false));
    cr_expect_not_null(rapyer_get(v, "posts[%s]", "p2"));
    cr_expect_eq(rapyer_get(v, "posts[%s]", "p1"), rapyer_get(v, "posts[%d]", 0));
    rapyer_value_free(v);
}

Test(answer, what_is_not_there_is_otherwise)
{
    rapyer_value *v = value_of("{name: Jane, n: 1, list: []}");
    cr_expect_eq(rapyer_int(v, "missing", -7), -7);
    cr_expect_eq(rapyer_int(v, "name", -7), -7);
    cr_expect_eq(rapyer_int(v, "name.deeper", -7), -7);
    cr_expect_eq(rapyer_int(v, "list[0]", -7), -7);
    cr_expect_eq(rapyer_int(v, "n..", -7), -7);
    cr_expect_eq(rapyer_int(v, "n[", -7), -7);
    cr_expect_null(rapyer_str(NULL, "x", NULL));
    cr_expect_eq(rapyer_len(NULL), 0);
    rapyer_value_free(v);
}

Test(answer, items_and_keys_in_order)
{
    rapyer_value *v = value_of("{b: [1, 2, 3], a: null}");
    cr_expect_eq(rapyer_len(v), 2);
    cr_expect_str_eq(rapyer_item_key(v, 0), "b");
    cr_expect_eq(rapyer_kind_of(rapyer_item(v, 1)), RAPYER_NULL);
    cr_expect_eq(rapyer_int(rapyer_item(rapyer_item(v, 0), 2), NULL, 0), 3);
    cr_expect_null(rapyer_item(v, 2));
    cr_expect_null(rapyer_item_key(v, 2));
    rapyer_value_free(v);
}

Test(answer, unpack_reads_several)
{
    rapyer_value *v = value_of("{name: Jane, n: 7, big: 5000000000, x: 2, tags: [a, b], r: 1.5}");
    char *name = NULL, *tag = NULL;
    int n = 0, small = 0;
    long long big = 0;
    double x = 0;
    void *tags = NULL;
    cr_expect_eq(rapyer_unpack(v, "{name: %ms, n: %d, big: %lld, x: %lf, tags: %p}", &name, &n,
                               &big, &x, &tags),
                 5);
    cr_expect_str_eq(name, "Jane");
    cr_expect_eq(n, 7);
    cr_expect_eq(big, 5000000000);
    cr_expect_eq(x, 2.0);
    cr_expect_eq(rapyer_len(tags), 2);
    cr_expect_eq(rapyer_unpack(v, "{'tags': [%ms], n: %d}", &tag, &n), 2);
    cr_expect_str_eq(tag, "a");
    cr_expect_eq(rapyer_unpack(v, "{n: %d, big: %d, x: %lf}", &n, &small, &x), 1);
    cr_expect_eq(rapyer_unpack(v, "{n: %d, none: %d}", &n, &small), 1);
    cr_expect_eq(rapyer_unpack(v, "[%d]", &n), 0);
    free(name);
    free(tag);
    rapyer_value_free(v);
}

Test(answer, an_answer_over_the_limit_is_refused)
{
    struct buf out = BUF_INIT;
    struct fault f;
    pack_array(&out, 1000);
    for (int i = 0; i < 1000; i++)
        pack_nil(&out);
    struct cursor in = cursor_of(out.data, out.len);
    size_t needed = 1001 * sizeof(struct rapyer_value) + out.len + 1;
    cr_expect_null(value_parse(in, 0, needed - 1, &f));
    cr_expect_eq(f.code, FAULT_TOO_LARGE);
    rapyer_value *v = value_parse(in, 0, needed, &f);
    cr_expect_not_null(v);
    rapyer_value_free(v);
    buf_free(&out);
}

Test(answer, bytes_that_end_early_are_refused)
{
    static const uint8_t cut[] = {0x92, 0x01};
    struct cursor in = cursor_of(cut, sizeof cut);
    struct fault f;
    cr_expect_null(value_parse(in, 0, 1 << 20, &f));
    cr_expect_eq(f.code, FAULT_BAD_FRAME);
}

/* Whether v holds what the next value of the cursor is. */
static bool same(const rapyer_value *v, struct cursor *in)
{
    struct item it;
    struct timespec time;
    rapyer_kind kind = rapyer_kind_of(v);
    cr_assert_eq(cursor_next(in, &it), 0);
    switch (it.kind) {
    case ITEM_NIL: return kind == RAPYER_NULL;
    case ITEM_BOOL: return kind == RAPYER_BOOL && rapyer_bool(v, "", !it.boolean) == it.boolean;
    case ITEM_INT: return kind == RAPYER_INT && rapyer_int(v, "", ~it.integer) == it.integer;
    case ITEM_UINT: return kind == RAPYER_FLOAT && rapyer_float(v, "", 0) == (double)it.uinteger;
    case ITEM_FLOAT: return kind == RAPYER_FLOAT && memcmp(&v->real, &it.real, sizeof it.real) == 0;
    case ITEM_STR:
    case ITEM_BIN:
    case ITEM_EXT:
        return kind == (it.kind == ITEM_STR ? RAPYER_STR : RAPYER_BYTES) &&
               rapyer_len(v) == it.bytes.len && rapyer_data(v, NULL)[it.bytes.len] == '\0' &&
               memcmp(rapyer_data(v, NULL), it.bytes.p, it.bytes.len) == 0;
    case ITEM_TIME:
        return kind == RAPYER_TIME && rapyer_time(v, &time) == 0 && time.tv_sec == it.time.sec &&
               time.tv_nsec == it.time.nsec;
    case ITEM_ARRAY:
    case ITEM_MAP: break;
    }
    bool map = it.kind == ITEM_MAP;
    if (kind != (map ? RAPYER_DICT : RAPYER_LIST) || rapyer_len(v) != it.count)
        return false;
    for (uint32_t i = 0; i < it.count; i++) {
        if (map && !same(&v->items[2 * (size_t)i], in))
            return false;
        if (!same(rapyer_item(v, i), in))
            return false;
    }
    return true;
}

/* Values of all kinds in all encodings; cut short they are refused, and not read past their end. */
Test(answer, holds_what_the_bytes_say)
{
    uint64_t seed = 7;
    struct fault f;
    for (unsigned round = 0; round < 3000; round++) {
        struct buf b = BUF_INIT;
        random_value(&b, &seed, 5);
        struct cursor in = cursor_of(b.data, b.len);
        rapyer_value *v = value_parse(in, 0, 1 << 24, &f);
        cr_assert_not_null(v);
        cr_assert(same(v, &in));
        rapyer_value_free(v);
        size_t cut = random_next(&seed) % b.len;
        uint8_t *part = malloc(cut + 1);
        memcpy(part, b.data, cut);
        cr_assert_null(value_parse(cursor_of(part, cut), 0, 1 << 24, &f));
        cr_assert_eq(f.code, FAULT_BAD_FRAME);
        free(part);
        buf_free(&b);
    }
}

/* What others count for it is not believed. */
Test(answer, more_items_than_there_is_room_for_are_refused)
{
    static const uint8_t three[] = {0x92, 0x01, 0x02}, two[] = {0x01, 0x02};
    struct fault f;
    cr_expect_null(value_parse(cursor_of(three, sizeof three), 2, 1 << 20, &f));
    cr_expect_null(value_parse(cursor_of(two, sizeof two), 2, 1 << 20, &f));
    cr_expect_eq(f.code, FAULT_BAD_FRAME);
    rapyer_value *v = value_parse(cursor_of(three, sizeof three), 7, 1 << 20, &f);
    cr_expect_eq(rapyer_int(v, "[1]", 0), 2);
    rapyer_value_free(v);
}

Test(answer, nesting_without_end_is_refused)
{
    uint8_t deep[100];
    struct fault f;
    memset(deep, 0x91, sizeof deep - 1);
    deep[sizeof deep - 1] = 0xc0;
    cr_expect_null(value_parse(cursor_of(deep, sizeof deep), 0, 1 << 20, &f));
    rapyer_value *v = value_parse(cursor_of(deep + 40, sizeof deep - 40), 0, 1 << 20, &f);
    cr_expect_not_null(v);
    rapyer_value_free(v);
}
