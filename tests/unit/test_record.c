#include "tests/unit/model_text.h"

static const char task_model[] = "{'name': 'Task', 'kind': 'atomic', 'key': 'id', 'fields': ["
                                 "{'name': 'id', 'type': 'str'},"
                                 "{'name': 'tags', 'type': 'list<str>'}]}";
static const char settings_model[] = "{'name': 'Settings', 'kind': 'atomic', 'fields': ["
                                     "{'name': 'theme', 'type': 'str', 'default': 'light'},"
                                     "{'name': 'flags', 'type': 'dict<bool>'}]}";
static const char project_model[] = "{'name': 'Project', 'kind': 'atomic', 'fields': ["
                                    "{'name': 'name', 'type': 'str'},"
                                    "{'name': 'stars', 'type': 'int', 'default': 0},"
                                    "{'name': 'due', 'type': 'optional<datetime>'},"
                                    "{'name': 'body', 'type': 'str', 'default': '', 'lazy': true},"
                                    "{'name': 'settings', 'type': 'Settings'},"
                                    "{'name': 'tags', 'type': 'list<str>', 'default': ['new']},"
                                    "{'name': 'matrix', 'type': 'list<list<int>>'},"
                                    "{'name': 'tasks', 'type': 'list<Task>'},"
                                    "{'name': 'owners', 'type': 'dict<Task>'}]}";

static struct schema *schema;
static const struct model *project, *settings, *task;
static size_t memory_before;

static void setup(void)
{
    dict_seed(1);
    schema = schema_new();
    task = define(schema, task_model);
    settings = define(schema, settings_model);
    project = define(schema, project_model);
    memory_before = tree_memory();
}

static void teardown(void)
{
    cr_assert_eq(tree_memory(), memory_before, "%zu bytes of trees left",
                 tree_memory() - memory_before);
    schema_free(schema);
}

TestSuite(record, .init = setup, .fini = teardown);

static void refused(const struct model *m, enum record_place place, const char *pk,
                    const char *text, const char *expected)
{
    struct record *r = NULL;
    const char *said = try_record(m, place, pk, text, &r);

    cr_assert_not_null(said, "%s was taken", text);
    cr_assert_str_eq(said, expected);
    cr_assert_null(r);
}

Test(record, what_is_left_out_is_filled_in)
{
    struct record *r = make_record(project, "p1", "{'name': 'x'}");

    cr_assert_str_eq(record_text(r, false),
                     "{'@pk': 'p1', 'name': 'x', 'stars': 0, 'body': '', 'settings': {'theme': "
                     "'light', 'flags': {}}, 'tags': ['new'], 'matrix': [], 'tasks': [], "
                     "'owners': {}}");
    record_free(r);
}

Test(record, what_is_written_out_can_be_built_from)
{
    static const char text[] =
        "{'@pk': 'p1', 'name': 'x', 'stars': -5, 'due': null, 'body': 'long', 'settings': "
        "{'theme': 'dark', 'flags': {'a': true, 'b': false}}, 'tags': [], 'matrix': [[1, 2], "
        "[]], 'tasks': [{'@pk': 't1', 'id': 't1', 'tags': ['a text that is on the heap', 'b']}], "
        "'owners': {'me': {'@pk': 't2', 'id': 't2', 'tags': []}}}";
    struct record *r = make_record(project, "p1", text), *copy = record_copy(r);

    cr_assert_str_eq(record_text(r, false), text);
    record_free(r);
    cr_assert_str_eq(record_text(copy, false), text);
    record_free(copy);
}

Test(record, fields_may_come_in_any_order_and_a_version_is_ignored)
{
    struct record *r =
        make_record(settings, "s", "{'@v': 7, 'flags': {'x': true}, 'theme': 'a', '@pk': 's'}");

    cr_assert_str_eq(record_text(r, false), "{'@pk': 's', 'theme': 'a', 'flags': {'x': true}}");
    record_free(r);
}

Test(record, lazy_fields_are_left_out_when_asked)
{
    struct record *r = make_record(project, "p1", "{'name': 'x', 'body': 'much'}");

    cr_assert_null(strstr(record_text(r, true), "'body':"));
    cr_assert_not_null(strstr(record_text(r, true), "'@lazy': ['body']"));
    cr_assert_not_null(strstr(record_text(r, false), "'body': 'much'"));
    record_free(r);
}

Test(record, pks_come_from_the_key_field_the_map_or_a_generator)
{
    struct record *r = make_record(project, NULL,
                                   "{'name': 'x', 'tasks': [{'@pk': 't1'}, {'id': 't2'}, "
                                   "{'id': 't3', '@pk': 't3'}]}");
    const char *s;
    size_t len;

    cr_assert_eq(cell_get_str(&r->pk, &s, &len), 0);
    cr_assert_eq(len, 36);
    cr_assert_eq(s[14], '4', "a random UUID");
    cr_assert_not_null(strstr(record_text(r, false),
                              "[{'@pk': 't1', 'id': 't1', 'tags': []}, {'@pk': 't2', 'id': 't2', "
                              "'tags': []}, {'@pk': 't3', 'id': 't3', 'tags': []}]"));
    record_free(r);
}

Test(record, generated_pks_differ)
{
    struct record *a = make_record(settings, NULL, "{}"), *b = make_record(settings, NULL, "{}");

    cr_assert_not(cell_equal(&a->pk, &b->pk));
    record_free(a);
    record_free(b);
}

Test(record, an_int_key_is_the_pk_in_decimal)
{
    const struct model *m = define(schema, "{'name': 'N', 'kind': 'atomic', 'key': 'id', 'fields': "
                                           "[{'name': 'id', 'type': 'int'}]}");
    struct record *r = make_record(m, "-12", "{}");

    cr_assert_str_eq(record_text(r, false), "{'@pk': '-12', 'id': -12}");
    record_free(r);
    r = make_record(m, NULL, "{'id': 34}");
    cr_assert_str_eq(record_text(r, false), "{'@pk': '34', 'id': 34}");
    record_free(r);
    refused(m, RECORD_ROOT, "012", "{}",
            "BAD_KEY: the document: the pk '012' must be a int: 64 bits in decimal");
    refused(m, RECORD_ROOT, "9223372036854775808", "{}",
            "BAD_KEY: the document: the pk '9223372036854775808' must be a int: 64 bits in "
            "decimal");
    refused(m, RECORD_ROOT, "5", "{'id': 6}",
            "BAD_VALUE: the document: the pk is '5' in one place and '6' in another");
}

Test(record, refusals_say_what_where_and_what_would_be_right)
{
    refused(project, RECORD_ROOT, "p", "{}", "BAD_VALUE: name is missing; it has no default");
    refused(project, RECORD_ROOT, "p", "[]",
            "BAD_TYPE: the document: expected Project, found list");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'name': 'y'}",
            "BAD_VALUE: name is there twice");
    refused(project, RECORD_ROOT, "p", "{'tags': [], 'tags': []}",
            "BAD_VALUE: tags is there twice");
    refused(project, RECORD_ROOT, "p", "{'nme': 'x'}",
            "UNKNOWN_FIELD: the document: Project has no field 'nme'; it has: name, stars, due, "
            "body, settings, tags, matrix, tasks, owners");
    refused(project, RECORD_ROOT, "p", "{5: 'x'}",
            "BAD_TYPE: the document: expected a str as key, found int");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'tags': {}}",
            "BAD_TYPE: tags: expected list<str>, found map");
    refused(project, RECORD_ROOT, "p",
            "{'name': 'x', 'settings': {'flags': {'a': true, 'a': true}}}",
            "BAD_VALUE: settings.flags[\"a\"]: the key is there twice");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'settings': null}",
            "BAD_TYPE: settings: expected Settings, found nil");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'tasks': [{'id': 'a'}, {'id': 'a'}]}",
            "BAD_VALUE: tasks[1]: another element has the pk 'a' already; pks are unique in a "
            "container");
    refused(project, RECORD_ROOT, "p",
            "{'name': 'x', 'owners': {'k': {'id': 'a'}, 'l': {'id': 'a'}}}",
            "BAD_VALUE: owners[\"l\"]: another element has the pk 'a' already; pks are unique in a "
            "container");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'tasks': [{}]}",
            "BAD_VALUE: tasks[0]: the key field 'id' of Task is missing");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'tasks': [{'id': 'a', '@pk': 'b'}]}",
            "BAD_VALUE: tasks[0]: the pk is 'b' in one place and 'a' in another");
    refused(project, RECORD_ROOT, "p", "{'@pk': 'q', 'name': 'x'}",
            "BAD_VALUE: the document: the pk is 'p' in one place and 'q' in another");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'settings': {'@pk': 'b'}}",
            "BAD_VALUE: settings: a model nested directly in another has no pk of its own; leave "
            "out '@pk'");
    refused(project, RECORD_ROOT, "p", "{'name': 'x', 'settings': {'@v': 1}}",
            "UNKNOWN_FIELD: settings: Settings has no field '@v'; it has: theme, flags");
}

/* The message itself is value.h's; that the place is right is ours. */
Test(record, a_bad_value_deep_down_is_named_by_its_path)
{
    struct record *r = NULL;
    const char *said =
        try_record(project, RECORD_ROOT, "p",
                   "{'name': 'x', 'tasks': [{'id': 'a'}, {'id': 'b', 'tags': ['x', 5]}]}", &r);

    cr_assert_not_null(said);
    cr_assert_not_null(strstr(said, "tasks[1].tags[1]"), "%s", said);
}

Test(record, pks_with_forbidden_characters_are_refused)
{
    static const char *const bad[] = {"{'id': 'a\x01'}", "{'id': ''}", "{'@pk': 'a\x7f'}"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct record *r = NULL;
        const char *said = try_record(task, RECORD_ELEMENT, NULL, bad[i], &r);
        cr_assert_not_null(said, "%s", bad[i]);
        cr_assert_eq(strncmp(said, "BAD_KEY: ", 9), 0, "%s", said);
    }
}

/* A few bytes that would become gigabytes. */
Test(record, what_a_small_message_can_make_is_bounded)
{
    static char text[131072];
    size_t n = 0;
    struct buf b = BUF_INIT;
    struct cursor c;
    struct fault f = {0};
    struct cell out;
    const struct model *wide;
    struct type of, list;

    n += (size_t)snprintf(text + n, sizeof text - n,
                          "{'name': 'Wide', 'kind': 'atomic', 'fields': [");
    for (int i = 0; i < 1000; i++)
        n +=
            (size_t)snprintf(text + n, sizeof text - n, "{'name': 'f%d', 'type': 'list<int>'},", i);
    snprintf(text + n, sizeof text - n, "]}");
    wide = define(schema, text);
    of = (struct type){.kind = TYPE_MODEL, .model = wide};
    list = (struct type){.kind = TYPE_LIST, .of = &of};
    pack_array(&b, 50000);
    for (int i = 0; i < 50000; i++)
        pack_map(&b, 0);
    c = cursor_of(b.data, b.len);
    cr_assert_eq(cell_build(&list, false, &c, "x", &out, &f), -1);
    cr_assert_eq(f.code, FAULT_TOO_LARGE);
    buf_free(&b);
}

Test(record, truncated_input_is_refused_at_every_byte)
{
    struct buf b =
        item_of("{'name': 'x', 'due': null, 'settings': {'theme': 'dark', 'flags': {'a': "
                "true}}, 'matrix': [[1, 2], []], 'tasks': [{'id': 't1', 'tags': ['a']}], "
                "'owners': {'me': {'id': 't2'}}}");

    for (size_t n = 0; n <= b.len; n++) {
        uint8_t *exact = malloc(n + 1);
        struct cursor c = cursor_of(exact + 1, n);
        struct record *r = NULL;
        struct fault f = {0};
        memcpy(exact + 1, b.data, n);
        if (record_build(project, RECORD_ROOT, "p", 1, &c, "", &r, &f) == 0) {
            cr_assert_eq(n, b.len);
            record_free(r);
        } else {
            cr_assert_lt(n, b.len);
        }
        free(exact);
    }
    buf_free(&b);
}

/* ---- elements, fields and cells ---- */

Test(record, a_list_as_element_is_a_value_and_as_field_a_list)
{
    struct type integer = {.kind = TYPE_INT}, list = {.kind = TYPE_LIST, .of = &integer};
    struct buf b = item_of("[1, 2]"), out = BUF_INIT;
    struct cell c;
    struct fault f;

    for (int element = 0; element < 2; element++) {
        struct cursor in = cursor_of(b.data, b.len);
        cr_assert_eq(cell_build(&list, element, &in, "x", &c, &f), 0);
        cr_assert_eq(c.kind, element ? CELL_INLINE : CELL_CONTAINER);
        cr_assert(cursor_done(&in));
        buf_clear(&out);
        cell_pack(&c, &list, "/x", 2, NULL, &out);
        cr_assert_str_eq(item_text(out.data, out.len), "[1, 2]");
        cell_free(&c);
    }
    buf_free(&b);
    buf_free(&out);
}

/* ---- what is not loaded ---- */

static char seen[1024];

static void note(void *arg, struct cell *c, const struct type *t, const char *suffix, size_t len)
{
    char type[TYPE_NAME_MAX];
    size_t n = strlen(seen);

    (void)arg;
    cr_assert(c->kind == CELL_CONTAINER && !container_loaded(c->container));
    snprintf(seen + n, sizeof seen - n, "%.*s %s; ", (int)len, suffix,
             type_name(t, type, sizeof type));
}

Test(record, what_is_not_loaded_is_asked_for_by_its_key)
{
    struct record *r = make_record(project, "p",
                                   "{'name': 'x', 'tasks': [{'id': 't1'}], 'owners': "
                                   "{'me': {'id': 't2'}}}");
    struct needs needs = {.container = note};
    struct buf b = BUF_INIT;
    struct cell *owner = dict_get(r->slots[8].dict, "me", 2);

    container_unload(r->slots[4].record->slots[1].container, 3);
    container_unload(r->slots[5].container, 1);
    container_unload(list_at(r->slots[7].list, 0)->record->slots[1].container, 0);
    container_unload(owner->record->slots[1].container, 0);
    record_pack(r, NULL, 0, true, "", 0, &needs, &b);
    cr_assert_str_eq(seen, "/settings.flags dict<bool>; /tags list<str>; /tasks/t1/tags list<str>; "
                           "/owners/t2/tags list<str>; ");
    cr_assert_eq(needs.count, 4);

    seen[0] = 0;
    cell_pack(&r->slots[4], project->fields[4].type, "/settings", 9, &needs, &b);
    cell_pack(&r->slots[7], project->fields[7].type, "/tasks", 6, &needs, &b);
    cell_pack(owner, project->fields[8].type->of, "/owners/t2", 10, &needs, &b);
    cell_pack(&r->slots[5], project->fields[5].type, "/tags", 5, &needs, &b);
    cr_assert_str_eq(seen, "/settings.flags dict<bool>; /tasks/t1/tags list<str>; /owners/t2/tags "
                           "list<str>; /tags list<str>; ");
    buf_free(&b);
    record_free(r);
}

/* ---- a model that gained fields ---- */

Test(record, an_older_record_reads_as_if_the_new_fields_were_never_set)
{
    const struct model *m =
        define(schema, "{'name': 'G', 'kind': 'atomic', 'fields': [{'name': 'a', 'type': 'int'}]}");
    struct record *r = make_record(m, "g", "{'a': 1}");
    static const char after[] = "{'@pk': 'g', 'a': 1, 'n': 7, 'l': [], 's': {'theme': 'light', "
                                "'flags': {}}}";

    define(schema, "{'name': 'G', 'kind': 'atomic', 'fields': [{'name': 'a', 'type': 'int'},"
                   "{'name': 'n', 'type': 'int', 'default': 7},"
                   "{'name': 'o', 'type': 'optional<int>'},"
                   "{'name': 'l', 'type': 'list<int>'}, {'name': 's', 'type': 'Settings'}]}");
    cr_assert_eq(m->nfields, 5);
    cr_assert_eq(r->nslots, 1);
    cr_assert_null(record_slot(r, 1));
    cr_assert_str_eq(record_text(r, false), after);
    r = record_widen(r);
    cr_assert_eq(r->nslots, 5);
    cr_assert_eq(record_slot(r, 1)->kind, CELL_UNSET);
    cr_assert(cell_holds(record_slot(r, 3), TYPE_LIST));
    cr_assert_eq(record_slot(r, 4)->kind, CELL_RECORD);
    cr_assert_str_eq(record_text(r, false), after);
    record_free(r);
}

Test(record, a_new_one_has_its_containers_and_nothing_else)
{
    struct record *r = record_new(project);
    struct buf b = BUF_INIT;

    cr_assert_eq(r->slots[0].kind, CELL_UNSET);
    cr_assert_eq(r->slots[4].kind, CELL_RECORD);
    cr_assert(cell_holds(&r->slots[7], TYPE_LIST));
    cr_assert(cell_holds(&r->slots[8], TYPE_DICT));
    record_pack(r, "given", 5, true, "", 0, NULL, &b);
    cr_assert_str_eq(item_text(b.data, b.len),
                     "{'@pk': 'given', '@lazy': ['body'], 'stars': 0, 'settings': {'theme': "
                     "'light', 'flags': {}}, "
                     "'tags': [], 'matrix': [], 'tasks': [], 'owners': {}}");
    buf_free(&b);
    record_free(r);
}

/* ---- what it costs ---- */

Test(record, a_document_in_memory_is_at_most_twice_its_size_on_the_wire)
{
    static char text[8192];
    size_t n = 0, before = tree_memory();
    const struct model *m;
    struct record *r;
    struct buf b = BUF_INIT;

    n += (size_t)snprintf(text, sizeof text, "{'name': 'K', 'kind': 'atomic', 'fields': [");
    for (int i = 0; i < 12; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{'name': 'text_%d', 'type': 'str'},", i);
    for (int i = 0; i < 4; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{'name': 'n_%d', 'type': 'int'},", i);
    snprintf(text + n, sizeof text - n,
             "{'name': 'l', 'type': 'list<str>'}, {'name': 'd', 'type': 'dict<int>'}]}");
    m = define(schema, text);
    n = (size_t)snprintf(text, sizeof text,
                         "{'l': ['one', 'two', 'three', 'four', 'five'],"
                         "'d': {'red': 1, 'green': 2, 'blue': 3},");
    for (int i = 0; i < 12; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "'text_%d': '%.*s',", i, 60 + i * 20 / 12,
                              "All of these words stand for what a document of a thousand bytes "
                              "is made of, more or less.");
    for (int i = 0; i < 4; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "'n_%d': %d,", i, i * 1000);
    snprintf(text + n, sizeof text - n, "}");
    r = make_record(m, "k1", text);
    record_pack(r, NULL, 0, false, "", 0, NULL, &b);
    cr_assert_geq(b.len, 1000);
    cr_assert_leq(tree_memory() - before, 2 * b.len, "%zu bytes in memory, %zu on the wire",
                  tree_memory() - before, b.len);
    record_free(r);
    buf_free(&b);
}
