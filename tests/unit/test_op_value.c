/* Numbers, strings, bytes, datetimes, set and doc.load. */
#include "op_fixture.h"

#define DOC                                                                                \
    "{name: Ann, settings: {limits: {a: 1}}, tags: [x, y], nums: [7, -7], scores: {a: 1}," \
    " sections: [{'@pk': s1, name: One, tasks: [{'@pk': t1, title: T}]}],"                 \
    " team: {lead: {'@pk': m1, title: L}}, users: [{id: u1}]}"

static struct fixture x;

static void open_doc(void)
{
    fixture_open(&x, DOC);
}

static void close_doc(void)
{
    fixture_close(&x);
}

TestSuite(op_value, .init = open_doc, .fini = close_doc);

Test(op_value, counts_as_python_does)
{
    fixture_does(&x, "num.incr", "[n, 4]", "7");
    cr_assert_eq(x.redis.incrs, 1);
    fixture_does(&x, "num.mul", "[n, -1]", "-7");
    fixture_does(&x, "num.floordiv", "[n, 2]", "-4");
    fixture_does(&x, "num.incr", "[n, -3]", "-7");
    fixture_does(&x, "num.mod", "[n, 3]", "2");
    fixture_does(&x, "num.pow", "[n, 10]", "1024");
    fixture_does(&x, "num.div", "[n, -4]", "-256");
    fixture_does(&x, "num.mod", "['nums[-1]', 4]", "1");
    fixture_does(&x, "num.incr", "['nums[0]', 1]", "8");
    fixture_does(&x, "num.incr", "['scores[\"a\"]', 2]", "3");
    fixture_does(&x, "num.incr", "['settings.volume', 2]", "7");
    fixture_does(&x, "num.incr", "['sections[\"s1\"].tasks[0].conf.volume', 2]", "7");
    fixture_does(&x, "num.incr", "['team[\"lead\"].points', 2]", "3");
}

Test(op_value, counts_fractions)
{
    fixture_does(&x, "num.incr", "[score, 1]", "2.5");
    fixture_does(&x, "num.mul", "[score, -3]", "-7.5");
    fixture_does(&x, "num.floordiv", "[score, 2]", "-4.0");
    fixture_does(&x, "num.mod", "[score, 3]", "2.0");
    fixture_does(&x, "num.pow", "[score, -1]", "0.5");
    fixture_does(&x, "num.div", "[score, 4]", "0.125");
    fixture_does(&x, "num.incr", "['ratios[\"r\"]', 1]", "1.0");
    fixture_refuses(&x, "num.div", "[score, 0]", FAULT_BAD_VALUE, "zero");
    fixture_refuses(&x, "num.mod", "[score, 0.0]", FAULT_BAD_VALUE, "zero");
    fixture_does(&x, "set", "[score, -8.0]", NULL);
    fixture_refuses(&x, "num.pow", "[score, 0.5]", FAULT_BAD_VALUE, "not a number");
    fixture_refuses(&x, "num.pow", "[score, 100000]", FAULT_BAD_VALUE, "infinite");
}

Test(op_value, starts_at_zero_where_nothing_was_set)
{
    fixture_does(&x, "num.incr", "[hits, 5]", "5");
    cr_assert_eq(x.redis.incrs, 0);
    fixture_does(&x, "num.incr", "[hits, 5]", "10");
    cr_assert_eq(x.redis.incrs, 1);
    fixture_does(&x, "num.incr", "['scores[\"new\"]', 2]", "2");
    fixture_refuses(&x, "num.mul", "['scores[\"none\"]', 2]", FAULT_NOT_FOUND, "never set");
    fixture_refuses(&x, "num.mul", "['settings.level', 2]", FAULT_NOT_FOUND, "never set");
    fixture_does(&x, "set", "[hits, nil]", NULL);
    fixture_refuses(&x, "num.incr", "[hits, 1]", FAULT_BAD_TYPE, "null");
}

Test(op_value, refuses_what_does_not_fit)
{
    fixture_refuses(&x, "num.incr", "[n, 1.5]", FAULT_BAD_TYPE, "int");
    fixture_refuses(&x, "num.incr", "[name, 1]", FAULT_BAD_TYPE, "'name' is str");
    fixture_refuses(&x, "num.incr", "[settings, 1]", FAULT_BAD_TYPE, "Settings");
    fixture_refuses(&x, "num.incr", "['', 1]", FAULT_BAD_TYPE, "the document");
    fixture_refuses(&x, "num.incr", "[n, one]", FAULT_BAD_TYPE, "number");
    fixture_refuses(&x, "num.div", "[n, 2]", FAULT_BAD_VALUE, "num.floordiv");
    fixture_refuses(&x, "num.div", "[n, 0]", FAULT_BAD_VALUE, "zero");
    fixture_refuses(&x, "num.pow", "[n, -1]", FAULT_BAD_VALUE, "exponent");
    fixture_refuses(&x, "num.pow", "[n, 60]", FAULT_OUT_OF_RANGE, "64 bits");
    fixture_does(&x, "set", "[n, -9223372036854775808]", NULL);
    fixture_refuses(&x, "num.incr", "[n, -1]", FAULT_OUT_OF_RANGE, "64 bits");
    fixture_refuses(&x, "num.mul", "[n, -1]", FAULT_OUT_OF_RANGE, "64 bits");
    fixture_refuses(&x, "num.div", "[n, -1]", FAULT_OUT_OF_RANGE, "64 bits");
    fixture_refuses(&x, "num.floordiv", "[n, -1]", FAULT_OUT_OF_RANGE, "64 bits");
    fixture_refuses(&x, "num.incr", "[n, #cfffffffffffffffff#]", FAULT_OUT_OF_RANGE, "64 bits");
    fixture_does(&x, "num.mod", "[n, -1]", "0");
    fixture_does(&x, "set", "[n, -2]", NULL);
    fixture_does(&x, "num.pow", "[n, 63]", "-9223372036854775808");
    fixture_does(&x, "set", "[n, -1]", NULL);
    fixture_does(&x, "num.pow", "[n, 9223372036854775807]", "-1");
    fixture_refuses(&x, "num.incr", "[n]", FAULT_BAD_REQUEST, "1 arguments");
    fixture_refuses(&x, "list.pop", "[tags, 1, 2]", FAULT_BAD_REQUEST, "0 to 1");
    fixture_refuses(&x, "set", "[7, 1]", FAULT_BAD_REQUEST, "path");
}

Test(op_value, grows_strings_and_bytes)
{
    fixture_does(&x, "str.append", "[name, ' Lee']", "'Ann Lee'");
    fixture_does(&x, "str.repeat", "[name, 2]", "'Ann LeeAnn Lee'");
    fixture_does(&x, "str.append", "['tags[1]', z]", "yz");
    fixture_does(&x, "str.append", "['settings.theme', er]", "darker");
    fixture_does(&x, "str.repeat", "['tags[0]', 0]", "''");
    fixture_does(&x, "bytes.append", "[raw, #c4020102#]", "#c4020102#");
    fixture_does(&x, "bytes.append", "[raw, #c40103#]", "#c403010203#");
    fixture_refuses(&x, "str.repeat", "[name, -1]", FAULT_BAD_VALUE, "negative");
    fixture_refuses(&x, "str.append", "[note, x]", FAULT_NOT_FOUND, "never set");
    fixture_does(&x, "set", "[note, nil]", NULL);
    fixture_refuses(&x, "str.append", "[note, x]", FAULT_BAD_TYPE, "null");
    fixture_refuses(&x, "str.append", "[name, 1]", FAULT_BAD_TYPE, "name");
    fixture_refuses(&x, "str.append", "[name, #a1ff#]", FAULT_BAD_VALUE, "name");
    x.max_value = 20;
    fixture_refuses(&x, "str.repeat", "[name, 2]", FAULT_TOO_LARGE, "28");
    fixture_refuses(&x, "str.append", "[name, '1234567']", FAULT_TOO_LARGE, "21");
    fixture_does(&x, "str.append", "[name, '123456']", "'Ann LeeAnn Lee123456'");
    x.max_value = 0;
    fixture_refuses(&x, "str.repeat", "[name, 9223372036854775807]", FAULT_TOO_LARGE, "too long");
}

Test(op_value, moves_datetimes)
{
    fixture_does(&x, "datetime.add", "[at, 10]", "#d6ff0000000a#");
    fixture_does(&x, "datetime.add", "[at, -0.5]", "#d7ff7735940000000009#");
    fixture_does(&x, "datetime.add", "[at, 0.5]", "#d6ff0000000a#");
    fixture_does(&x, "datetime.add", "[at, -10]", "#d6ff00000000#");
    fixture_refuses(&x, "datetime.add", "[at, 253402300800]", FAULT_OUT_OF_RANGE, "9999");
    fixture_refuses(&x, "datetime.add", "[at, -62135596801]", FAULT_OUT_OF_RANGE, "9999");
    fixture_refuses(&x, "datetime.add", "[at, 9223372036854775807]", FAULT_OUT_OF_RANGE, "9999");
    fixture_refuses(&x, "datetime.add", "[at, #cb7ff0000000000000#]", FAULT_BAD_VALUE, "finite");
    fixture_refuses(&x, "datetime.add", "[at, x]", FAULT_BAD_TYPE, "seconds");
}

Test(op_value, sets_whatever_a_path_leads_to)
{
    fixture_does(&x, "set", "[name, Bob]", NULL);
    fixture_does(&x, "set", "[home, {street: Main}]", NULL);
    fixture_does(&x, "doc.load", "[home]", "{street: Main, city: Bonn}");
    fixture_does(&x, "set", "['settings.hidden', [a, b]]", NULL);
    fixture_does(&x, "set", "[settings, {theme: light, limits: {z: 9}}]", NULL);
    fixture_does(&x, "doc.load", "['settings.limits']", "{z: 9}");
    fixture_does(&x, "doc.load", "['settings.volume']", "5");
    fixture_does(&x, "set", "['tags[0]', new]", NULL);
    fixture_does(&x, "set", "['grid', [[1], [2, 3]]]", NULL);
    fixture_does(&x, "set", "['grid[1]', []]", NULL);
    fixture_does(&x, "doc.load", "[grid]", "[[1], []]");
    fixture_does(&x, "set", "['scores[\"b\"]', 4]", NULL);
    fixture_does(&x, "set", "['sections[0].tasks[\"t1\"].meta', {k: v}]", NULL);
    fixture_does(&x, "set", "['sections[0].tasks[\"t1\"]', {'@pk': t2, title: U}]", NULL);
    fixture_refuses(&x, "doc.load", "['sections[0].tasks[\"t1\"]']", FAULT_NOT_FOUND, "t1");
    fixture_does(&x, "set", "['team[\"aide\"]', {'@pk': m2, title: A}]", NULL);
    fixture_does(&x, "set", "['sections', [{'@pk': s9, name: N, tags: [q]}]]", NULL);
    fixture_does(&x, "doc.load", "['sections[\"s9\"].tags']", "[q]");
    fixture_does(&x, "set", "['team', {}]", NULL);
    fixture_does(&x, "set", "['users[0].karma', 5]", NULL);
}

Test(op_value, refuses_to_set_what_cannot_be)
{
    fixture_refuses(&x, "set", "['', {}]", FAULT_BAD_PATH, "doc.save");
    fixture_refuses(&x, "set", "[name, nil]", FAULT_BAD_TYPE, "name");
    fixture_refuses(&x, "set", "[name, 1]", FAULT_BAD_TYPE, "name");
    fixture_refuses(&x, "set", "['users[0].id', u2]", FAULT_BAD_VALUE, "key field");
    fixture_refuses(&x, "str.append", "['users[0].id', u2]", FAULT_BAD_VALUE, "key field");
    fixture_refuses(&x, "set", "[settings, {theme: 1}]", FAULT_BAD_TYPE, "theme");
    fixture_refuses(&x, "set", "[settings, nil]", FAULT_BAD_TYPE, "settings");
    fixture_refuses(&x, "set", "[tags, [a, 1]]", FAULT_BAD_TYPE, "tags");
    fixture_refuses(&x, "set", "['tags[2]', a]", FAULT_OUT_OF_RANGE, "2");
    fixture_refuses(&x, "set", "['team[\"aide\"]', {'@pk': m1, title: A}]", FAULT_BAD_VALUE, "m1");
}

Test(op_value, says_where_a_path_ends)
{
    fixture_refuses(&x, "doc.load", "[none]", FAULT_UNKNOWN_FIELD, "model Doc has no field 'none'");
    fixture_refuses(&x, "doc.load", "['settings.none']", FAULT_UNKNOWN_FIELD, "Settings");
    fixture_refuses(&x, "set", "['home.street', a]", FAULT_NOT_FOUND, "'home' was never set");
    fixture_refuses(&x, "set", "['grid[0]', a]", FAULT_OUT_OF_RANGE, "'grid' has 0 elements");
    fixture_refuses(&x, "doc.load", "['name.x']", FAULT_BAD_PATH, "'name' is str");
    fixture_refuses(&x, "doc.load", "['settings[0]']", FAULT_BAD_PATH, "model Settings");
    fixture_refuses(&x, "doc.load", "['tags.x']", FAULT_BAD_PATH, "[index]");
    fixture_refuses(&x, "doc.load", "['tags[\"x\"]']", FAULT_BAD_PATH, "[index]");
    fixture_refuses(&x, "doc.load", "['sections.x']", FAULT_BAD_PATH, "[\"pk\"]");
    fixture_refuses(&x, "doc.load", "['scores[0]']", FAULT_BAD_PATH, "[\"key\"]");
    fixture_refuses(&x, "doc.load", "['scores[\"q\"]']", FAULT_NOT_FOUND, "scores[\"q\"]");
    fixture_refuses(&x, "doc.load", "['team[\"q\"].title']", FAULT_NOT_FOUND, "q");
    fixture_refuses(&x, "doc.load", "['sections[\"q\"].name']", FAULT_NOT_FOUND, "q");
    fixture_refuses(&x, "doc.load", "['sections[-2].name']", FAULT_OUT_OF_RANGE, "1 elements");
    fixture_refuses(&x, "doc.load", "['note']", FAULT_NOT_FOUND, "never set");
    fixture_refuses(&x, "doc.load", "['tags[0][0]']", FAULT_BAD_PATH, "value");
    fixture_refuses(&x, "doc.load", "['tags[']", FAULT_BAD_PATH, "byte");
}

Test(op_value, loads_any_part)
{
    fixture_does(&x, "doc.load", "['sections[0].tasks[0].title']", "T");
    fixture_does(&x, "doc.load", "['users[\"u1\"]']", "{'@pk': u1, id: u1, karma: 0, badges: []}");
    fixture_does(&x, "doc.load", "['nums[-1]']", "-7");
    fixture_does(&x, "doc.load", "['score']", "1.5");
    fixture_does(&x, "doc.load", "[settings]",
                 "{theme: dark, volume: 5, hidden: [], limits: {a: 1}}");
}

Test(op_value, resolves_paths_to_pks)
{
    struct buf b = BUF_INIT;
    struct fault f;
    const char *path = "sections[-1].tasks[0].conf.limits[\"a\\\"b\"]";
    cr_assert_eq(path_resolve(x.root, path, strlen(path), NULL, &b, &f), 0);
    buf_append(&b, "", 1);
    cr_assert_str_eq((char *)b.data, "sections[\"s1\"].tasks[\"t1\"].conf.limits[\"a\\\"b\"]");
    b.len = 3;
    cr_assert_eq(path_resolve(x.root, "nums[-1]x", 9, NULL, &b, &f), -1);
    cr_assert_eq(b.len, 3);
    b.len = 0;
    cr_assert_eq(path_resolve(x.root, "nums[-1]", 8, NULL, &b, &f), 0);
    cr_assert(b.len == 7 && memcmp(b.data, "nums[1]", 7) == 0);
    buf_free(&b);
}

/* In this order, on DOC; whether what is told holds only for what was there. */
static const struct {
    const char *method, *params;
    bool computes;
} computing[] = {
    {"num.incr", "[n, 4]", false},
    {"num.incr", "['scores[\"a\"]', 1]", false},
    {"num.incr", "['scores[\"new\"]', 1]", true}, /* from nothing */
    {"num.incr", "['scores[\"new\"]', 1]", false},
    {"num.incr", "['nums[0]', 1]", true}, /* by its index */
    {"num.mul", "[n, 2]", true},
    {"num.div", "[n, 1]", true},
    {"num.floordiv", "[n, 1]", true},
    {"num.mod", "[n, 9]", true},
    {"num.pow", "[n, 2]", true},
    {"str.append", "[name, x]", true},
    {"str.repeat", "[name, 2]", true},
    {"set", "[name, x]", false},
    {"set", "['nums[0]', 1]", true},
    {"set", "[tags, [a, b, c]]", false},
    {"set", "['scores[\"a\"]', 1]", false},
    {"list.append", "[tags, d]", false},
    {"list.extend", "[tags, [e, f]]", false},
    {"list.insert", "[tags, 0, z]", false},
    {"list.insert", "[tags, 1, y]", true},
    {"list.insert", "[tags, 8, w]", true}, /* the end, if it still is */
    {"list.insert", "[tags, -9, w]", true},
    {"list.set", "[tags, 0, w]", true},
    {"list.pop", "[tags]", true},
    {"list.pop", "[tags, 0]", true},
    {"list.remove_range", "[tags, 0, 2]", true},
    {"list.remove_range", "[tags, 2, 2]", false}, /* nothing */
    {"list.clear", "[tags]", false},
    {"list.insert", "[tags, 0, z]", true}, /* in front of what is not there yet */
    {"dict.set", "[scores, b, 2]", false},
    {"dict.update", "[scores, {c: 3}]", false},
    {"dict.del", "[scores, a]", true},
    {"dict.pop", "[scores, none, 1]", false},
    {"dict.pop", "[scores, b]", true},
    {"dict.popitem", "[scores]", true},
    {"dict.clear", "[scores]", false},
    {"set", "['sections[0]', {'@pk': s1, name: New}]", true},
    {"set", "['sections[0].name', x]", false}, /* by its pk */
    {"dict.pop", "[team, lead]", true},
    {"list.pop", "[sections]", true},
    {"doc.load", "[name]", false},
};

Test(op_value, tells_what_it_computes)
{
    for (size_t i = 0; i < sizeof computing / sizeof *computing; i++) {
        struct buf p = BUF_INIT;
        int kind = op_by_name(computing[i].method, strlen(computing[i].method));
        wire_pack(&p, computing[i].params);
        cr_assert_eq(fixture_run(&x, (enum op_kind)kind, &p), OP_DONE, "%s %s: %s",
                     computing[i].method, computing[i].params, x.fault.text);
        cr_assert_eq(x.computes, computing[i].computes, "%s %s", computing[i].method,
                     computing[i].params);
        buf_free(&p);
    }
}

Test(op_table, knows_operations_by_their_whole_name)
{
    for (int i = 0; i < OP_COUNT; i++)
        cr_assert_eq(op_by_name(op_infos[i].name, strlen(op_infos[i].name)), i);
    cr_assert_eq(op_by_name("", 0), -1);
    cr_assert_eq(op_by_name("se", 2), -1);
    cr_assert_eq(op_by_name("sets", 4), -1);
    cr_assert_eq(op_by_name("set\0xy", 6), -1);
}
