#include "protocol/op.h"
#include "tests/unit/model_text.h"

static struct schema *schema;
static const struct model *project, *settings, *task;
static struct buf told; /* one line per effect */
static size_t memory_before;

static void tell(void *arg, const struct effect *e)
{
    static const char *const verbs[] = {[EFFECT_FIELD_SET] = "set",
                                        [EFFECT_FIELD_DEL] = "del",
                                        [EFFECT_PUSH] = "push",
                                        [EFFECT_DROP] = "drop"};
    char type[TYPE_NAME_MAX];
    const uint8_t *p;
    size_t n;

    (void)arg;
    cr_assert(e->kind < sizeof verbs / sizeof *verbs && verbs[e->kind]);
    buf_printf(&told, "%s '%.*s'", verbs[e->kind], (int)e->suffix_len, e->suffix);
    if (e->field_len)
        buf_printf(&told, " %.*s", (int)e->field_len, e->field);
    if (e->value) {
        p = cell_bytes(e->value, &n);
        buf_printf(&told, " %s %s", type_name(e->type, type, sizeof type), item_text(p, n));
    }
    buf_append(&told, "\n", 1);
}

static void setup(void)
{
    schema = schema_new();
    task =
        define(schema, "{'name': 'Task', 'kind': 'atomic', 'fields': ["
                       "{'name': 'title', 'type': 'str'}, {'name': 'tags', 'type': 'list<str>'}]}");
    settings = define(schema, "{'name': 'Settings', 'kind': 'atomic', 'fields': ["
                              "{'name': 'theme', 'type': 'str', 'default': 'light'},"
                              "{'name': 'lang', 'type': 'optional<str>'},"
                              "{'name': 'flags', 'type': 'dict<bool>'},"
                              "{'name': 'tasks', 'type': 'list<Task>'}]}");
    project = define(schema, "{'name': 'Project', 'kind': 'atomic', 'fields': ["
                             "{'name': 'name', 'type': 'str'},"
                             "{'name': 'due', 'type': 'optional<int>'},"
                             "{'name': 'settings', 'type': 'Settings'},"
                             "{'name': 'matrix', 'type': 'list<list<int>>'},"
                             "{'name': 'owners', 'type': 'dict<Task>'}]}");
    memory_before = tree_memory();
}

static void teardown(void)
{
    buf_free(&told);
    cr_assert_eq(tree_memory(), memory_before);
    schema_free(schema);
}

TestSuite(emit, .init = setup, .fini = teardown);

static struct record *sample(void)
{
    return make_record(project, "p",
                       "{'name': 'x', 'settings': {'flags': {'a': true}, 'tasks': [{'@pk': 't1', "
                       "'title': 'T', 'tags': ['u', 'v']}]}, 'matrix': [[1], []], 'owners': {'me': "
                       "{'@pk': 't2', 'title': 'U'}}}");
}

static const char *said(void)
{
    buf_append(&told, "", 1);
    return (const char *)told.data;
}

Test(emit, a_root_is_written_to_its_keys)
{
    struct record *r = sample();

    record_emit(r, "", "", tell, NULL);
    cr_assert_str_eq(said(), "set '' name str 'x'\n"
                             "set '' settings.theme str 'light'\n"
                             "set '/settings.flags' a bool true\n"
                             "push '/settings.tasks' str 't1'\n"
                             "set '/settings.tasks/t1' title str 'T'\n"
                             "push '/settings.tasks/t1/tags' str 'u'\n"
                             "push '/settings.tasks/t1/tags' str 'v'\n"
                             "push '/matrix' list<int> [1]\n"
                             "push '/matrix' list<int> []\n"
                             "set '/owners' me str 't2'\n"
                             "set '/owners/t2' title str 'U'\n");
    record_free(r);
}

Test(emit, an_element_and_an_inline_record_are_written_below_their_own)
{
    struct record *r = make_record(settings, "s", "{'lang': null, 'flags': {'a': true}}");

    record_emit(r, "/posts/s", "", tell, NULL);
    record_emit(r, "/posts/p", "deep.in.", tell, NULL);
    cr_assert_str_eq(said(), "set '/posts/s' theme str 'light'\n"
                             "set '/posts/s' lang optional<str> null\n"
                             "set '/posts/s/flags' a bool true\n"
                             "set '/posts/p' deep.in.theme str 'light'\n"
                             "set '/posts/p' deep.in.lang optional<str> null\n"
                             "set '/posts/p/deep.in.flags' a bool true\n");
    record_free(r);
}

Test(emit, all_keys_of_a_root_are_dropped)
{
    struct record *r = sample();

    cr_assert_eq(record_drop(r, "", "", NULL, tell, NULL), OP_DONE);
    cr_assert_str_eq(said(), "drop ''\n"
                             "drop '/settings.flags'\n"
                             "drop '/settings.tasks'\n"
                             "drop '/settings.tasks/t1'\n"
                             "drop '/settings.tasks/t1/tags'\n"
                             "drop '/matrix'\n"
                             "drop '/owners'\n"
                             "drop '/owners/t2'\n");
    record_free(r);
}

Test(emit, an_inline_record_is_taken_out_of_the_hash_it_shares)
{
    struct record *r = make_record(project, "p", "{'name': 'x', 'due': 5}");

    container_unload(r->slots[2].record->slots[2].container, 0);
    cr_assert_eq(record_drop(r, "/a/b", "in.", NULL, tell, NULL), OP_DONE);
    cr_assert_str_eq(said(), "del '/a/b' in.name\n"
                             "del '/a/b' in.due\n"
                             "del '/a/b' in.settings.theme\n"
                             "drop '/a/b/in.settings.flags'\n");
    record_free(r);
}

static unsigned asked;
static char asked_for[256];

static void note(void *arg, struct cell *c, const struct type *t, const char *suffix, size_t len)
{
    size_t n = strlen(asked_for);

    (void)arg, (void)c, (void)t;
    snprintf(asked_for + n, sizeof asked_for - n, "%.*s ", (int)len, suffix);
    asked++;
}

Test(emit, a_drop_that_cannot_see_all_asks_and_tells_nothing)
{
    struct record *r = sample();
    struct needs needs = {.container = note};

    container_unload(r->slots[2].record->slots[3].container, 1);
    container_unload(r->slots[4].container, 1);
    container_unload(r->slots[3].container, 2);
    cr_assert_eq(record_drop(r, "", "", &needs, tell, NULL), OP_NEEDS);
    cr_assert_str_eq(asked_for, "/settings.tasks /owners ");
    cr_assert_eq(needs.count, asked);
    cr_assert_eq(told.len, 0);
    container_set_loaded(r->slots[2].record->slots[3].container);
    container_set_loaded(r->slots[4].container);
    cr_assert_eq(record_drop(r, "", "", &needs, tell, NULL), OP_DONE);
    cr_assert_str_eq(said(), "drop ''\ndrop '/settings.flags'\ndrop '/matrix'\n",
                     "values need not be loaded to be dropped, nor empty containers");
    record_free(r);
}
