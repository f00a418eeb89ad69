#include "client/embed.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct address {
    char *street, *city;
};
struct task {
    char *pk, *title, *status;
    rapyer_list tags;
    rapyer_dict metadata;
};
struct project {
    char *name;
    int64_t stars;
    double rate;
    bool open;
    rapyer_bytes logo;
    struct timespec since;
    char *note;            /* optional<str> */
    int64_t *limit;        /* optional<int> */
    struct address office; /* plain */
    rapyer_list tasks;
    rapyer_value *extra;
};

static const rapyer_model Address = {
    .name = "Address",
    .plain = true,
    .size = sizeof(struct address),
    .fields = RAPYER_FIELDS(RAPYER_MEMBER(struct address, street, "str"),
                            RAPYER_MEMBER(struct address, city, "str", "''"))};
static const rapyer_model Task = {
    .name = "Task",
    .size = sizeof(struct task),
    .fields = RAPYER_FIELDS(RAPYER_PK(struct task, pk), RAPYER_MEMBER(struct task, title, "str"),
                            RAPYER_MEMBER(struct task, status, "str", "pending"),
                            RAPYER_MEMBER(struct task, tags, "list<str>"),
                            RAPYER_MEMBER(struct task, metadata, "dict<str>"))};
static const rapyer_model Settings = RAPYER_ATOMIC(
    "Settings", RAPYER_FIELD("theme", "str", "'light'"), RAPYER_FIELD("flags", "dict<bool>"));
static const rapyer_model Section =
    RAPYER_ATOMIC("Section", RAPYER_FIELD("name", "str"), RAPYER_FIELD("settings", "Settings"),
                  RAPYER_FIELD("tasks", "list<Task>"), RAPYER_FIELD("by_name", "dict<Task>"));
static const rapyer_model Project = {
    .name = "Project",
    .size = sizeof(struct project),
    .fields = RAPYER_FIELDS(
        RAPYER_MEMBER(struct project, name, "str"),
        RAPYER_MEMBER(struct project, stars, "int", "0"),
        RAPYER_MEMBER(struct project, rate, "float", "0.5"),
        RAPYER_MEMBER(struct project, open, "bool", "true"),
        RAPYER_MEMBER(struct project, logo, "bytes", "b''"),
        RAPYER_MEMBER(struct project, since, "datetime", "@'2024-01-01'"),
        RAPYER_MEMBER(struct project, note, "optional<str>"),
        RAPYER_MEMBER(struct project, limit, "optional<int>"),
        RAPYER_MEMBER(struct project, office, "Address", "{street: Main}"),
        RAPYER_FIELD("settings", "Settings"), RAPYER_MEMBER(struct project, tasks, "list<Task>"),
        RAPYER_FIELD("sections", "list<Section>"), RAPYER_LAZY("log", "list<str>"),
        RAPYER_MEMBER(struct project, extra, "any", "null"))};
static const rapyer_model Account = {
    .name = "Account",
    .key = "email",
    .fields = RAPYER_FIELDS(RAPYER_FIELD("email", "str"), RAPYER_FIELD("n", "int", "0"))};

struct wrong {
    int level;
};
static const rapyer_model Wrong = {
    .name = "Wrong",
    .size = sizeof(struct wrong),
    .fields = RAPYER_FIELDS(RAPYER_MEMBER(struct wrong, level, "int", "0"))};
static const rapyer_model bad_default = RAPYER_ATOMIC("Bad", RAPYER_FIELD("n", "int", "'text'"));
static const rapyer_model bad_template = RAPYER_ATOMIC("Bad", RAPYER_FIELD("n", "int", "{"));
static const rapyer_model bad_type = RAPYER_ATOMIC("Bad", RAPYER_FIELD("n", "integer"));

/* No daemon listens there: declarations stay with the connection, drafts need no more. */
static rapyer *local(void)
{
    rapyer *db = db_new("/nonexistent/rapyerd.sock");
    cr_assert_not_null(db);
    cr_assert_eq(rapyer_define(db, &Address, &Task, &Settings, &Section, &Project, &Account), -1);
    cr_assert_eq(rapyer_errcode(db), RAPYER_UNAVAILABLE, "%s", rapyer_errmsg(db));
    rapyer_clear_error(db);
    return db;
}

static void expect_error(rapyer *db, rapyer_error code, const char *part)
{
    cr_expect_eq(rapyer_errcode(db), code, "%s", rapyer_errmsg(db));
    cr_expect_not_null(strstr(rapyer_errmsg(db), part), "no '%s' in: %s", part, rapyer_errmsg(db));
    rapyer_clear_error(db);
}

#define ALL_WELL(db) cr_expect_eq(rapyer_errcode(db), RAPYER_OK, "%s", rapyer_errmsg(db))

Test(draft, operations_change_it_without_a_daemon)
{
    rapyer *db = local();
    rapyer_doc *p = rapyer_new(db, "Project", "{name: %s, sections: [{name: front}]}", "Site");
    int64_t stars;
    double rate;
    cr_expect_eq(rapyer_incr(p, "stars", 5, &stars), 0);
    cr_expect_eq(stars, 5);
    cr_expect_eq(rapyer_mulf(p, "rate", 3, &rate), 0);
    cr_expect_eq(rate, 1.5);
    cr_expect_eq(rapyer_update(p, "settings.flags", "{mail: %hhd, sms: false}", (bool)true), 0);
    cr_expect_eq(rapyer_set(p, "settings.theme", "dark"), 0);
    cr_expect_eq(rapyer_append(p, "sections[0].tasks", "{title: a}"), 1);
    cr_expect_eq(rapyer_extend(p, "sections[0].tasks[-1].tags", "[x, y]"), 2);
    cr_expect_eq(rapyer_insert(p, "sections[0].tasks[0].tags", 0, "%s", "w"), 3);
    rapyer_auto_value *some = rapyer_load_range(p, "sections[0].tasks[0].tags", 1, RAPYER_TO_END);
    cr_expect_eq(rapyer_len(some), 2);
    rapyer_auto_value *first = rapyer_load_range(p, "sections[0].tasks[0].tags", 0, -2);
    cr_expect_eq(rapyer_len(first), 1);
    cr_expect_str_eq(rapyer_str(first, "[0]", ""), "w");
    cr_expect_eq(rapyer_remove_range(p, "sections[0].tasks[0].tags", 1, 2), 1);
    cr_expect_eq(rapyer_dict_set(p, "sections[0].tasks[0].metadata", "who", "%s", "me"), 0);
    cr_expect_eq(rapyer_str_append(p, "name", "!"), 0);
    cr_expect_eq(rapyer_time_add(p, "since", 1.5), 0);
    cr_expect_eq(rapyer_dict_del(p, "settings.flags", "sms"), 1);
    cr_expect_eq(rapyer_dict_del(p, "settings.flags", "sms"), 0);
    ALL_WELL(db);

    rapyer_value *v = rapyer_fetch(p);
    cr_expect_str_eq(rapyer_str(v, "name", ""), "Site!");
    cr_expect_str_eq(rapyer_str(v, "settings.theme", ""), "dark");
    cr_expect(rapyer_bool(v, "settings.flags.mail", false));
    cr_expect_null(rapyer_get(v, "settings.flags.sms"));
    cr_expect_str_eq(rapyer_str(v, "sections[0].tasks[0].tags[1]", ""), "y");
    cr_expect_str_eq(rapyer_str(v, "sections[0].tasks[0].status", ""), "pending");
    cr_expect_str_eq(rapyer_str(v, "@pk", ""), rapyer_pk(p));
    cr_expect_null(rapyer_get(v, "log"));
    rapyer_value_free(v);
    v = rapyer_pop(p, "sections[0].tasks[0].tags", -1);
    cr_expect_str_eq(rapyer_str(v, "", ""), "y");
    rapyer_value_free(v);
    rapyer_free(p);
    rapyer_close(db);
}

Test(draft, wrong_values_are_refused_as_by_the_daemon)
{
    rapyer *db = local();
    cr_expect_null(rapyer_new(db, "Project", "{stars: 1}"));
    expect_error(db, RAPYER_BAD_VALUE, "name");
    cr_expect_null(rapyer_new(db, "Project", "{name: 5}"));
    expect_error(db, RAPYER_BAD_TYPE, "name");
    cr_expect_null(rapyer_new(db, "Project", "{name: x, nome: y}"));
    expect_error(db, RAPYER_UNKNOWN_FIELD, "nome");
    cr_expect_null(rapyer_new(db, "Projekt", "{}"));
    expect_error(db, RAPYER_UNKNOWN_MODEL, "Projekt");
    cr_expect_null(rapyer_new(db, "Address", "{street: x}"));
    expect_error(db, RAPYER_BAD_VALUE, "plain");
    cr_expect_null(rapyer_new(db, "Project:a\nb", "{name: x}"));
    expect_error(db, RAPYER_BAD_KEY, "control");

    rapyer_doc *p = rapyer_new(db, "Project", "{name: x}");
    cr_expect_eq(rapyer_append(p, "stars", "1"), -1);
    expect_error(db, RAPYER_BAD_TYPE, "stars");
    cr_expect_eq(rapyer_set(p, "open", "1"), -1);
    expect_error(db, RAPYER_BAD_TYPE, "open");
    cr_expect_null(rapyer_pop(p, "log", 0));
    expect_error(db, RAPYER_OUT_OF_RANGE, "log");
    cr_expect_eq(rapyer_set(p, "name", "'unclosed"), -1);
    expect_error(db, RAPYER_BAD_REQUEST, "not closed");
    rapyer_free(p);
    rapyer_close(db);
}

Test(draft, a_null_handle_keeps_the_first_reason)
{
    rapyer *db = local();
    rapyer_doc *none = rapyer_new(db, "Project", "{nome: x}");
    rapyer_doc *p = rapyer_new(db, "Project", "{name: x}");
    cr_expect_eq(rapyer_append(none, "log", "a"), -1);
    cr_expect_null(rapyer_at(none, "log"));
    cr_expect_eq(rapyer_save(none), -1);
    cr_expect_null(rapyer_fetch(none));
    cr_expect_eq(rapyer_append(p, "tasks", "%p", (void *)none), -1);
    expect_error(db, RAPYER_UNKNOWN_FIELD, "nome");
    rapyer_free(p);
    rapyer_close(db);
}

Test(draft, handles_follow_a_draft_into_another)
{
    rapyer *db = local();
    rapyer_doc *project = rapyer_new(db, "Project:p1", "{name: Site}");
    rapyer_doc *section = rapyer_new(db, "Section", "{name: Front}");
    rapyer_doc *one = rapyer_new(db, "Task:t1", "{title: one}");
    rapyer_doc *two = rapyer_new(db, "Task:t2", "{title: two}");
    rapyer_doc *tags = rapyer_at(one, "tags");
    cr_expect_eq(rapyer_append(tags, "", "early"), 1);
    cr_expect_eq(rapyer_extend(section, "tasks", "[%p, %p]", (void *)one, (void *)two), 2);
    cr_expect_str_eq(rapyer_path(one), "tasks[\"t1\"]");
    cr_expect_eq(rapyer_insert(section, "tasks", 0, "{title: zero}"), 3);
    cr_expect_eq(rapyer_append(tags, NULL, "later"), 2);
    cr_expect_eq(rapyer_append(project, "sections", "%p", (void *)section), 1);
    char path[200];
    snprintf(path, sizeof path, "sections[\"%s\"].tasks[\"t1\"].tags", rapyer_pk(section));
    cr_expect_str_eq(rapyer_path(tags), path);
    cr_expect_str_eq(rapyer_pk(one), "t1");
    cr_expect_null(rapyer_pk(tags));
    cr_expect(rapyer_is_draft(tags));
    cr_expect_eq(rapyer_append(tags, "", "late"), 3);
    ALL_WELL(db);

    rapyer_value *v = rapyer_fetch(project);
    cr_expect_str_eq(rapyer_str(v, "sections[0].tasks[1].tags[2]", ""), "late");
    cr_expect_str_eq(rapyer_str(v, "sections[0].tasks[2].title", ""), "two");
    rapyer_value_free(v);
    cr_expect_eq(rapyer_save(section), -1);
    expect_error(db, RAPYER_BAD_VALUE, "inside another draft");
    rapyer_free(project);
    cr_expect_eq(rapyer_append(tags, "", "kept"), 4);
    rapyer_free(section);
    rapyer_free(one);
    rapyer_free(two);
    rapyer_free(tags);
    rapyer_close(db);
}

Test(draft, models_go_into_fields_dicts_and_new_drafts)
{
    rapyer *db = local();
    rapyer_doc *settings = rapyer_new(db, "Settings", "{theme: dark}");
    rapyer_doc *task = rapyer_new(db, "Task", "{title: t}");
    rapyer_doc *other = rapyer_new(db, "Task", "{title: o}");
    rapyer_doc *section = rapyer_new(db, "Section", "{name: s, settings: %p, by_name: {'a b': %p}}",
                                     (void *)settings, (void *)task);
    ALL_WELL(db);
    cr_expect_str_eq(rapyer_path(settings), "settings");
    cr_expect_null(rapyer_pk(settings));
    cr_expect_str_eq(rapyer_path(task), "by_name[\"a b\"]");
    cr_expect_eq(rapyer_dict_set(section, "by_name", "k", "%p", (void *)other), 0);
    cr_expect_str_eq(rapyer_path(other), "by_name[\"k\"]");
    cr_expect_eq(rapyer_append(other, "tags", "x"), 1);
    cr_expect_eq(rapyer_update(settings, "flags", "{on: true}"), 0);
    rapyer_value *v = rapyer_fetch(section);
    cr_expect_str_eq(rapyer_str(v, "by_name.k.tags[0]", ""), "x");
    cr_expect_str_eq(rapyer_str(v, "settings.theme", ""), "dark");
    cr_expect(rapyer_bool(v, "settings.flags.on", false));
    rapyer_value_free(v);
    ALL_WELL(db);

    rapyer_doc *third = rapyer_new(db, "Task", "{title: 3}");
    cr_expect_null(third);
    rapyer_clear_error(db);
    third = rapyer_new(db, "Task", "{title: '3'}");
    rapyer_doc *p = rapyer_new(db, "Project", "{name: x}");
    cr_expect_eq(rapyer_append(p, "sections", "{name: s, tasks: [%p]}", (void *)third), -1);
    expect_error(db, RAPYER_BAD_PATH, "make that element a draft too");
    cr_expect_eq(rapyer_append(p, "sections", "%p", (void *)third), -1);
    expect_error(db, RAPYER_BAD_TYPE, "Section");
    cr_expect_eq(rapyer_extend(p, "tasks", "[%p, %p]", (void *)third, (void *)third), -1);
    expect_error(db, RAPYER_BAD_VALUE, "twice");
    cr_expect_eq(rapyer_append(p, "tasks", "%p", (void *)p), -1);
    expect_error(db, RAPYER_BAD_VALUE, "itself");
    cr_expect_eq(rapyer_append(p, "tasks", "%p", (void *)other), -1);
    expect_error(db, RAPYER_BAD_VALUE, "saved already");
    cr_expect(rapyer_is_draft(third));
    cr_expect_eq(rapyer_append(p, "tasks", "%p", (void *)third), 1);
    ALL_WELL(db);
    rapyer_free(p);
    rapyer_free(third);
    rapyer_free(section);
    rapyer_free(other);
    rapyer_free(task);
    rapyer_free(settings);
    rapyer_close(db);
}

Test(draft, keys_come_from_the_name_the_field_or_by_chance)
{
    rapyer *db = local();
    rapyer_doc *a = rapyer_new(db, "Account", "{email: 'jane@example.com'}");
    rapyer_doc *b = rapyer_new(db, "Account:joe@example.com", "{}");
    rapyer_doc *c = rapyer_new(db, "Task", "{title: x}"), *d = rapyer_new(db, "Task", "{title: x}");
    ALL_WELL(db);
    cr_expect_str_eq(rapyer_pk(a), "jane@example.com");
    rapyer_value *v = rapyer_fetch(b);
    cr_expect_str_eq(rapyer_str(v, "email", ""), "joe@example.com");
    rapyer_value_free(v);
    cr_expect_eq(strlen(rapyer_pk(c)), 36);
    cr_expect_str_neq(rapyer_pk(c), rapyer_pk(d));
    cr_expect_null(rapyer_key(a));
    cr_expect_null(rapyer_new(db, "Account:x", "{email: y}"));
    expect_error(db, RAPYER_BAD_VALUE, "pk");
    rapyer_free(a);
    rapyer_free(b);
    rapyer_free(c);
    rapyer_free(d);
    rapyer_close(db);
}

Test(draft, structs_go_there_and_back)
{
    rapyer *db = local();
    char *tags[] = {"a", "b"}, *keys[] = {"k"}, *values[] = {"v"};
    int64_t limit = 7;
    struct task tasks[] = {
        {.title = "one", .tags = {tags, 2}},
        {.pk = "t2", .title = "two", .status = "done", .metadata = {keys, values, 1}}};
    struct project in = {.name = "Site",
                         .stars = INT64_MAX,
                         .rate = 2.5,
                         .logo = {"\0\1", 2},
                         .since = {.tv_sec = 5, .tv_nsec = 6},
                         .limit = &limit,
                         .office = {"Main St", "Boston"},
                         .tasks = {tasks, 2}};
    struct project out;
    rapyer_doc *p = rapyer_new_struct(db, &Project, &in);
    ALL_WELL(db);
    rapyer_append(p, "log", "lazy");
    rapyer_value *v = rapyer_fetch(p);
    cr_assert_eq(rapyer_to_struct(db, &Project, v, &out), 0, "%s", rapyer_errmsg(db));
    rapyer_value_free(v);
    rapyer_free(p);
    cr_expect_str_eq(out.name, "Site");
    cr_expect_eq(out.stars, INT64_MAX);
    cr_expect_eq(out.rate, 2.5);
    cr_expect_eq(out.open, false);
    cr_expect_eq(out.logo.len, 2);
    cr_expect_eq(memcmp(out.logo.data, "\0\1", 2), 0);
    cr_expect_eq(out.since.tv_sec, 5);
    cr_expect_eq(out.since.tv_nsec, 6);
    cr_expect_null(out.note);
    cr_expect_eq(*out.limit, 7);
    cr_expect_str_eq(out.office.city, "Boston");
    cr_assert_eq(out.tasks.len, 2);
    struct task *t = out.tasks.items;
    cr_expect_str_eq(t[0].status, "pending");
    cr_expect_eq(strlen(t[0].pk), 36);
    cr_expect_str_eq(((char **)t[0].tags.items)[1], "b");
    cr_expect_str_eq(t[1].pk, "t2");
    cr_expect_str_eq(((char **)t[1].metadata.values)[0], "v");
    rapyer_struct_free(db, &Project, &out);
    cr_expect_null(out.name);
    rapyer_close(db);
}

struct older {
    int64_t rate;
};
static const rapyer_model Older = {
    .name = "Older",
    .size = sizeof(struct older),
    .fields = RAPYER_FIELDS(RAPYER_MEMBER(struct older, rate, "int", "0"))};

Test(draft, a_program_of_when_a_float_was_an_int_reads_whole_numbers)
{
    static const double rates[] = {-2.0, 0x1p62, 2.5, 0x1p63};
    rapyer *db = local();
    cr_assert_eq(models_declare(db, (const rapyer_model *[]){&Older, NULL}), 0, "%s",
                 rapyer_errmsg(db));
    for (int i = 0; i < 4; i++) {
        struct project in = {.name = "p", .rate = rates[i], .office = {"Main St", "Boston"}};
        struct older out;
        rapyer_doc *p = rapyer_new_struct(db, &Project, &in);
        rapyer_value *v = rapyer_fetch(p);
        ALL_WELL(db);
        cr_expect_eq(rapyer_to_struct(db, &Older, v, &out), i < 2 ? 0 : -1);
        if (i < 2)
            cr_expect_eq(out.rate, (int64_t)rates[i]);
        else
            expect_error(db, RAPYER_BAD_TYPE, "int");
        rapyer_value_free(v);
        rapyer_free(p);
    }
    rapyer_close(db);
}

Test(draft, a_struct_of_another_shape_is_refused)
{
    rapyer *db = local();
    cr_expect_eq(models_declare(db, (const rapyer_model *[]){&Wrong, NULL}), -1);
    expect_error(db, RAPYER_BAD_SCHEMA, "4 bytes");
    rapyer_value *v = NULL;
    struct task task;
    cr_expect_eq(rapyer_to_struct(db, &Task, v, &task), -1);
    expect_error(db, RAPYER_BAD_TYPE, "Task");
    rapyer_close(db);
}

Test(draft, a_model_that_is_wrong_is_refused_before_anything_is_sent)
{
    rapyer *db = local();
    cr_expect_eq(rapyer_define(db, &bad_default), -1);
    expect_error(db, RAPYER_BAD_TYPE, "n");
    cr_expect_eq(rapyer_define(db, &bad_template), -1);
    expect_error(db, RAPYER_BAD_SCHEMA, "default of Bad.n");
    cr_expect_eq(rapyer_define(db, &bad_type), -1);
    expect_error(db, RAPYER_UNKNOWN_MODEL, "integer");
    rapyer_close(db);
}

Test(draft, drafts_outlive_the_connection)
{
    rapyer *db = local();
    rapyer_doc *p = rapyer_new(db, "Project", "{name: x}");
    rapyer_doc *saved = rapyer_open(db, "Project:1");
    rapyer_close(db);
    cr_expect_eq(rapyer_append(p, "log", "'still here'"), 1);
    cr_expect_eq(rapyer_save(p), -1);
    cr_expect_null(rapyer_fetch(saved));
    rapyer_free(p);
    rapyer_free(saved);
}

static void count_call(rapyer *db, const rapyer_value *result, void *user)
{
    (void)db;
    *(int64_t *)user = rapyer_int(result, "", -1);
}

Test(draft, operations_that_do_not_wait_are_done_at_once)
{
    rapyer *db = local();
    rapyer_doc *p = rapyer_new(db, "Project", "{name: x}");
    int64_t length = 0;
    cr_expect_eq(rapyer_send_op(p, count_call, &length, "list.insert", "log", "0, %s", "a"), 0);
    cr_expect_eq(length, 1);
    cr_expect_eq(rapyer_send_op(p, count_call, &length, "list.append", "log", "a, b"), -1);
    expect_error(db, RAPYER_BAD_REQUEST, "list.append");
    cr_expect_eq(rapyer_send_op(p, NULL, NULL, "list.nothing", "log", NULL), -1);
    expect_error(db, RAPYER_UNKNOWN_METHOD, "list.nothing");
    cr_expect_eq(rapyer_pending(db), 0);
    rapyer_free(p);
    rapyer_close(db);
}
