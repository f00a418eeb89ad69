#include "client/template.h"
#include "client/value.h"
#include <criterion/criterion.h>
#include <stdlib.h>

static rapyer_value *value_of(const char *text)
{
    struct buf out = BUF_INIT;
    struct fault f;
    cr_assert_eq(template_value(text, NULL, NULL, NULL, &out, &f), 0, "%s", f.text);
    struct cursor in = cursor_of(out.data, out.len);
    rapyer_value *v = value_parse(&in, 1 << 20, &f);
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
    cr_expect_null(value_parse(&in, 16000, &f));
    cr_expect_eq(f.code, FAULT_TOO_LARGE);
    rapyer_value *v = value_parse(&in, 16016, &f);
    cr_expect_not_null(v);
    rapyer_value_free(v);
    buf_free(&out);
}

Test(answer, bytes_that_end_early_are_refused)
{
    static const uint8_t cut[] = {0x92, 0x01};
    struct cursor in = cursor_of(cut, sizeof cut);
    struct fault f;
    cr_expect_null(value_parse(&in, 1 << 20, &f));
    cr_expect_eq(f.code, FAULT_BAD_FRAME);
}
