/* Lists and dicts, of values and of records, in memory and not. */
#include "op_fixture.h"

#define DOC                                                                                  \
    "{name: Ann, tags: [x, y, z], nums: [1], scores: {a: 1, b: 2},"                          \
    " sections: [{'@pk': s1, name: One, tags: [q], tasks: [{'@pk': t1, title: T, tags: [r]," \
    " meta: {k: v}, conf: {hidden: [h]}, watchers: [{id: u1, badges: [b]}]}]},"              \
    " {'@pk': s2, name: Two}], team: {lead: {'@pk': m1, title: L, tags: [c]}}, users: [{id: u1}]}"

static struct fixture x;

static void open_doc(void)
{
    fixture_open(&x, DOC);
}

static void close_doc(void)
{
    fixture_close(&x);
}

TestSuite(op_list, .init = open_doc, .fini = close_doc);
TestSuite(op_dict, .init = open_doc, .fini = close_doc);
TestSuite(op_unloaded, .init = open_doc, .fini = close_doc);

Test(op_list, grows_at_any_place)
{
    fixture_does(&x, "list.append", "[tags, w]", "4");
    fixture_does(&x, "list.extend", "[tags, [a, b]]", "6");
    fixture_does(&x, "list.extend", "[tags, []]", "6");
    fixture_does(&x, "list.insert", "[tags, 0, first]", "7");
    fixture_does(&x, "list.insert", "[tags, -1, late]", "8");
    fixture_does(&x, "list.insert", "[tags, 8, last]", "9");
    fixture_does(&x, "doc.load", "[tags]", "[first, x, y, z, w, a, late, b, last]");
    fixture_refuses(&x, "list.insert", "[tags, 10, a]", FAULT_OUT_OF_RANGE, "9 elements");
    fixture_refuses(&x, "list.insert", "[tags, -10, a]", FAULT_OUT_OF_RANGE, "9 elements");
    fixture_refuses(&x, "list.insert", "[tags, x, a]", FAULT_BAD_TYPE, "index must be an int");
    fixture_refuses(&x, "list.append", "[tags, 1]", FAULT_BAD_TYPE, "tags");
    fixture_refuses(&x, "list.extend", "[tags, [a, 1]]", FAULT_BAD_TYPE, "tags[1]");
    fixture_refuses(&x, "list.append", "[name, a]", FAULT_BAD_TYPE, "'name' is str");
    fixture_refuses(&x, "list.append", "['', a]", FAULT_BAD_TYPE, "the document");
    fixture_does(&x, "list.append", "[grid, [1, 2]]", "1");
    fixture_does(&x, "list.append", "['grid[0]', 3]", "3");
}

Test(op_list, shrinks_from_any_place)
{
    fixture_does(&x, "list.set", "[tags, -1, Z]", NULL);
    fixture_does(&x, "list.pop", "[tags]", "Z");
    fixture_does(&x, "list.pop", "[tags, 0]", "x");
    fixture_refuses(&x, "list.pop", "[tags, 1]", FAULT_OUT_OF_RANGE, "1 elements");
    fixture_refuses(&x, "list.set", "[tags, 1, a]", FAULT_OUT_OF_RANGE, "1 elements");
    fixture_does(&x, "list.pop", "[tags, -1]", "y");
    fixture_refuses(&x, "list.pop", "[tags]", FAULT_OUT_OF_RANGE, "empty");
    fixture_does(&x, "list.extend", "[nums, [2, 3, 4, 5, 6, 7]]", "7");
    fixture_does(&x, "list.remove_range", "[nums, 1, 3]", "2");
    fixture_does(&x, "list.remove_range", "[nums, -2, 100]", "2");
    fixture_does(&x, "list.remove_range", "[nums, 2, 1]", "0");
    fixture_does(&x, "list.remove_range", "[nums, -100, 1]", "1");
    fixture_does(&x, "doc.load", "[nums]", "[4, 5]");
    fixture_does(&x, "list.clear", "[nums]", NULL);
    fixture_does(&x, "list.clear", "[nums]", NULL);
    fixture_does(&x, "doc.load", "[nums]", "[]");
}

Test(op_list, keeps_records_with_all_that_is_theirs)
{
    fixture_does(&x, "list.append", "['sections[0].tasks', {'@pk': t2, title: U, tags: [n]}]", "2");
    fixture_does(&x, "list.insert", "['sections[\"s1\"].tasks', 0, {'@pk': t0, title: F}]", "3");
    fixture_does(&x, "list.append", "['sections[0].tasks[\"t0\"].tags', a]", "1");
    fixture_does(&x, "num.incr", "['sections[0].tasks[\"t2\"].points', 4]", "5");
    fixture_does(&x, "dict.update", "['sections[0].tasks[1].meta', {k: w, l: v}]", NULL);
    fixture_does(&x, "list.set", "['sections[0].tasks', 1, {'@pk': t1, title: again}]", NULL);
    fixture_does(&x, "list.set", "['sections[0].tasks', 1, {'@pk': t9, title: other}]", NULL);
    fixture_does(&x, "list.pop", "['users', 0]", "{'@pk': u1, id: u1, karma: 0, badges: []}");
    fixture_does(&x, "list.pop", "['sections[0].tasks', 2]",
                 "{'@pk': t2, title: U, points: 5, tags: [n], meta: {}, conf: {theme: dark,"
                 " volume: 5, hidden: [], limits: {}}, watchers: []}");
    fixture_does(&x, "list.remove_range", "['sections', 0, 1]", "1");
    fixture_does(&x, "list.clear", "['sections']", NULL);
}

Test(op_list, has_each_pk_once)
{
    fixture_refuses(&x, "list.append", "[sections, {'@pk': s1, name: a}]", FAULT_BAD_VALUE, "s1");
    fixture_refuses(&x, "list.insert", "[sections, 0, {'@pk': s2, name: a}]", FAULT_BAD_VALUE,
                    "s2");
    fixture_refuses(&x, "list.set", "[sections, 0, {'@pk': s2, name: a}]", FAULT_BAD_VALUE, "s2");
    fixture_refuses(&x, "list.extend", "[sections, [{'@pk': s3, name: a}, {'@pk': s1, name: b}]]",
                    FAULT_BAD_VALUE, "s1");
    fixture_does(&x, "list.extend", "[sections, [{'@pk': s3, name: a}, {'@pk': s4, name: b}]]",
                 "4");
    fixture_refuses(&x, "list.append", "[users, {id: u1}]", FAULT_BAD_VALUE, "u1");
}

Test(op_dict, sets_and_takes_entries)
{
    fixture_does(&x, "dict.set", "[scores, c, 3]", NULL);
    fixture_does(&x, "dict.update", "[scores, {a: 9, d: 4}]", NULL);
    fixture_does(&x, "dict.del", "[scores, b]", "true");
    fixture_does(&x, "dict.del", "[scores, b]", "false");
    fixture_does(&x, "dict.pop", "[scores, a]", "9");
    fixture_does(&x, "dict.pop", "[scores, a, none]", "none");
    fixture_refuses(&x, "dict.pop", "[scores, a]", FAULT_NOT_FOUND, "'a'");
    fixture_does(&x, "dict.popitem", "[scores]", "[d, 4]");
    fixture_does(&x, "dict.popitem", "[scores]", "[c, 3]");
    fixture_refuses(&x, "dict.popitem", "[scores]", FAULT_NOT_FOUND, "empty");
    fixture_refuses(&x, "dict.set", "[scores, a, x]", FAULT_BAD_TYPE, "scores[\"a\"]");
    fixture_refuses(&x, "dict.set", "[scores, 1, 1]", FAULT_BAD_TYPE, "str");
    fixture_refuses(&x, "dict.set", "[scores, #a1ff#, 1]", FAULT_BAD_VALUE, "UTF-8");
    fixture_refuses(&x, "dict.update", "[scores, {a: 1, a: 2}]", FAULT_BAD_VALUE, "twice");
    fixture_refuses(&x, "dict.update", "[tags, {a: 1}]", FAULT_BAD_TYPE, "dict<>");
    fixture_does(&x, "dict.set", "[scores, '', 1]", NULL);
    fixture_does(&x, "dict.clear", "[scores]", NULL);
}

Test(op_dict, keeps_records_with_all_that_is_theirs)
{
    fixture_does(&x, "dict.set", "[team, aide, {'@pk': m2, title: A, tags: [f]}]", NULL);
    fixture_does(&x, "list.append", "['team[\"aide\"].tags', g]", "2");
    fixture_does(&x, "dict.update",
                 "[team, {aide: {'@pk': m1, title: x}, lead: {'@pk': m2, title: y, tags: [w]}}]",
                 NULL);
    fixture_refuses(&x, "dict.set", "[team, third, {'@pk': m1, title: z}]", FAULT_BAD_VALUE, "m1");
    fixture_refuses(&x, "dict.update", "[team, {a: {'@pk': n, title: z}, b: {'@pk': n, title: z}}]",
                    FAULT_BAD_VALUE, "'n'");
    fixture_does(&x, "dict.set", "[team, lead, {'@pk': m2, title: same}]", NULL);
    fixture_does(&x, "dict.pop", "['team', aide]",
                 "{'@pk': m1, title: x, points: 1, tags: [], meta: {}, conf: {theme: dark,"
                 " volume: 5, hidden: [], limits: {}}, watchers: []}");
    fixture_does(&x, "dict.del", "['team', lead]", "true");
    fixture_does(&x, "dict.set", "['sections[0].by', q, {'@pk': w, title: s, meta: {a: b}}]", NULL);
    fixture_does(&x, "dict.clear", "['sections[0].by']", NULL);
}

/* ---- what is not in memory ---- */

struct wanted {
    char suffix[128];
};

static void want(void *arg, struct cell *c, const struct type *t, const char *suffix,
                 size_t suffix_len)
{
    struct wanted *w = arg;
    cr_assert(c->kind == CELL_CONTAINER);
    cr_assert(type_container(t));
    cr_assert_lt(suffix_len, sizeof w->suffix);
    memcpy(w->suffix, suffix, suffix_len);
    w->suffix[suffix_len] = '\0';
}

static struct cell *field_of(struct record *r, const char *name)
{
    return record_slot(r, (uint32_t)model_field(r->model, name, strlen(name)));
}

static enum op_status run_text(const char *method, const char *params)
{
    struct buf p = BUF_INIT;
    wire_pack(&p, params);
    enum op_status st = fixture_run(&x, (enum op_kind)op_by_name(method, strlen(method)), &p);
    buf_free(&p);
    return st;
}

static void needs_first(const char *method, const char *params, const char *suffix)
{
    struct wanted w = {""};
    struct needs needs = {.container = want, .arg = &w};
    unsigned effects = x.redis.effects;
    x.needs = &needs;
    cr_assert_eq(run_text(method, params), OP_NEEDS, "%s %s %s", method, params, x.fault.text);
    cr_assert_str_eq(w.suffix, suffix, "%s %s", method, params);
    cr_assert_eq(needs.count, 1);
    cr_assert_eq(x.redis.effects, effects);
    cr_assert_eq(x.result.len, 0);
    x.needs = NULL;
    cr_assert_eq(run_text(method, params), OP_REFUSED);
    cr_assert_eq(x.fault.code, FAULT_INTERNAL);
}

Test(op_unloaded, appends_without_loading)
{
    struct list *tags = field_of(x.root, "tags")->list;
    container_unload((struct container *)tags, 3);
    cr_assert_eq(run_text("list.append", "[tags, w]"), OP_DONE);
    cr_assert(x.result.len == 1 && x.result.data[0] == 4);
    x.undo = undo_new();
    cr_assert_eq(run_text("list.extend", "[tags, [a, b]]"), OP_DONE);
    cr_assert(x.result.len == 1 && x.result.data[0] == 6);
    cr_assert_eq(mini_find(&x.redis, "/tags", 5)->n, 6);
    undo_rollback(x.undo);
    cr_assert_eq(list_len(tags), 4);
    cr_assert_eq(run_text("list.clear", "[tags]"), OP_DONE);
    cr_assert_null(mini_find(&x.redis, "/tags", 5));
    cr_assert(list_loaded(field_of(x.root, "tags")->list));
    undo_rollback(x.undo);
    cr_assert_eq(field_of(x.root, "tags")->list, tags);
    cr_assert_not(list_loaded(tags));
}

Test(op_unloaded, sets_entries_without_loading)
{
    container_unload(field_of(x.root, "scores")->container, 2);
    cr_assert_eq(run_text("dict.set", "[scores, c, 3]"), OP_DONE);
    cr_assert_eq(run_text("set", "['scores[\"a\"]', 9]"), OP_DONE);
    cr_assert_eq(run_text("dict.update", "[scores, {d: 1, e: 1}]"), OP_DONE);
    cr_assert_eq(mini_find(&x.redis, "/scores", 7)->n, 5);
    cr_assert_not(dict_loaded(field_of(x.root, "scores")->dict));
    cr_assert_eq(run_text("dict.clear", "[scores]"), OP_DONE);
    cr_assert_null(mini_find(&x.redis, "/scores", 7));
}

Test(op_unloaded, asks_for_what_it_must_see)
{
    container_unload(field_of(x.root, "tags")->container, 3);
    container_unload(field_of(x.root, "scores")->container, 2);
    needs_first("doc.load", "['tags[0]']", "/tags");
    needs_first("list.pop", "[tags]", "/tags");
    needs_first("list.insert", "[tags, 0, a]", "/tags");
    needs_first("list.set", "[tags, 0, a]", "/tags");
    needs_first("list.remove_range", "[tags, 0, 1]", "/tags");
    needs_first("doc.load", "[tags]", "/tags");
    needs_first("num.incr", "['scores[\"a\"]', 1]", "/scores");
    needs_first("doc.load", "['scores[\"a\"]']", "/scores");
    needs_first("dict.del", "[scores, a]", "/scores");
    needs_first("dict.pop", "[scores, a]", "/scores");
    needs_first("dict.popitem", "[scores]", "/scores");
}

Test(op_unloaded, asks_for_the_records_it_would_remove)
{
    struct record *s1 = list_at(field_of(x.root, "sections")->list, 0)->record;
    container_unload(field_of(s1, "tasks")->container, 1);
    needs_first("list.pop", "[sections, 0]", "/sections/s1/tasks");
    needs_first("list.remove_range", "[sections, 0, 2]", "/sections/s1/tasks");
    needs_first("list.clear", "[sections]", "/sections/s1/tasks");
    needs_first("list.append", "['sections[0].tasks', {title: a}]", "/sections/s1/tasks");
    needs_first("set", "['sections[\"s1\"]', {name: a}]", "/sections/s1/tasks");
    needs_first("set", "[sections, []]", "/sections/s1/tasks");
    needs_first("doc.load", "['sections[0]']", "/sections/s1/tasks");
    needs_first("doc.load", "['']", "/sections/s1/tasks");
    needs_first("set", "['sections[0].tasks[0].title', a]", "/sections/s1/tasks");
    container_unload(field_of(x.root, "sections")->container, 2);
    needs_first("list.clear", "[sections]", "/sections");
    container_unload(field_of(x.root, "team")->container, 1);
    needs_first("dict.set", "[team, lead, {title: a}]", "/team");
    needs_first("dict.clear", "[team]", "/team");
}
