/* Places that are watched, and what touches them. */
#include "daemon/watches/touched.h"
#include "tests/unit/model_text.h"
#include <criterion/criterion.h>

static struct schema *schema;
static const struct model *user;

static void setup(void)
{
    schema = schema_new();
    define(schema, "{'name': 'Task', 'kind': 'atomic', 'fields': ["
                   "{'name': 'title', 'type': 'str'}, {'name': 'tags', 'type': 'list<str>'}]}");
    define(schema, "{'name': 'Settings', 'kind': 'atomic', 'fields': ["
                   "{'name': 'theme', 'type': 'str'}, {'name': 'labels', 'type': 'dict<str>'}]}");
    define(schema,
           "{'name': 'User', 'kind': 'atomic', 'fields': ["
           "{'name': 'age', 'type': 'int'}, {'name': 'ages', 'type': 'list<int>'},"
           "{'name': 'settings', 'type': 'Settings'},"
           "{'name': 'tasks', 'type': 'list<Task>'}, {'name': 'teams', 'type': 'dict<Task>'}"
           "]}");
    user = schema_model(schema, "User", 4);
}

static void teardown(void)
{
    schema_free(schema);
}

TestSuite(region, .init = setup, .fini = teardown);

static struct region region(const char *path)
{
    struct region r;
    struct fault f;
    cr_assert_eq(region_read(&r, user, path, strlen(path), &f), 0, "%s: %s", path, f.text);
    return r;
}

static bool touches(const char *path, const char *suffix, const char *field)
{
    struct region r = region(path);
    /* Of their size, so that the sanitizer sees who looks behind them. */
    char *s = strdup(suffix);
    bool is = region_touched(&r, s, strlen(s), field, field ? strlen(field) : 0);
    free(s);
    region_free(&r);
    return is;
}

Test(region, a_document_is_touched_by_everything)
{
    cr_assert(touches("", "", NULL));
    cr_assert(touches("", "/tasks/t1/tags", NULL));
    cr_assert(touches("", "/unknown", NULL));
}

Test(region, a_field_is_touched_by_its_hash)
{
    cr_assert(touches("age", "", NULL));
    cr_assert(touches("age", "", "age"));
    cr_assert_not(touches("age", "", "ages"));
    cr_assert_not(touches("age", "", "settings.theme"));
    cr_assert_not(touches("age", "/ages", NULL), "a name that only begins the same");
    cr_assert(touches("settings.theme", "", "settings.theme"));
    cr_assert_not(touches("settings.theme", "/settings.labels", NULL));
}

Test(region, a_model_in_a_field_is_touched_by_its_fields_and_containers)
{
    cr_assert(touches("settings", "", "settings.theme"));
    cr_assert(touches("settings", "/settings.labels", NULL));
    cr_assert_not(touches("settings", "", "age"));
    cr_assert_not(touches("settings", "/tasks", NULL));
}

Test(region, a_container_is_touched_by_its_key_and_by_what_is_in_it)
{
    cr_assert(touches("ages", "/ages", NULL));
    cr_assert_not(touches("ages", "", NULL), "it is no field of the hash");
    cr_assert_not(touches("ages", "/age", NULL));
    cr_assert(touches("tasks", "/tasks/t1", "title"));
    cr_assert(touches("settings.labels[\"x\"]", "/settings.labels", NULL));
}

Test(region, an_element_is_touched_by_what_holds_it)
{
    cr_assert(touches("tasks[\"t1\"]", "/tasks", NULL), "it may have been removed");
    cr_assert(touches("tasks[\"t1\"]", "/tasks/t1", "title"));
    cr_assert(touches("tasks[\"t1\"]", "/tasks/t1/tags", NULL));
    cr_assert_not(touches("tasks[\"t1\"]", "/tasks/t12", NULL));
    cr_assert(touches("tasks[\"t1\"].tags", "/tasks", NULL));
    cr_assert_not(touches("tasks[\"t1\"].tags", "/tasks/t1", NULL));
    cr_assert(touches("tasks[\"t1\"].title", "/tasks/t1", NULL));
    cr_assert_not(touches("tasks[\"t1\"].title", "", NULL));
    cr_assert(touches("tasks[0].title", "/tasks/t9", NULL), "whatever stands there");
    cr_assert(touches("teams[\"core\"].title", "/teams/some-pk", NULL));
}

static void assert_path(const char *suffix, const char *field, const char *path)
{
    struct buf out = BUF_INIT;
    char *s = strdup(suffix);
    region_path(user, s, strlen(s), field, field ? strlen(field) : 0, &out);
    buf_append(&out, "", 1);
    cr_assert_str_eq((char *)out.data, path, "%s: %s", suffix, out.data);
    free(s);
    buf_free(&out);
}

Test(region, what_has_changed_has_a_path)
{
    assert_path("", NULL, "");
    assert_path("", "age", "age");
    assert_path("", "settings.theme", "settings.theme");
    assert_path("/settings.labels", NULL, "settings.labels");
    assert_path("/tasks", NULL, "tasks");
    assert_path("/tasks/t\"1", NULL, "tasks[\"t\\\"1\"]");
    assert_path("/tasks/t1", "title", "tasks[\"t1\"].title");
    assert_path("/tasks/t1/tags", NULL, "tasks[\"t1\"].tags");
    assert_path("/teams/pk", "title", "teams");
    /* What the model does not have, or what others have put there. */
    assert_path("/nope", NULL, "");
    assert_path("/nope/x/y", "z", "");
    assert_path("", "nope", "");
    assert_path("/", NULL, "");
    assert_path("//", "", "");
    assert_path("/tasks/", NULL, "tasks[\"\"]");
    assert_path("/ages/x", NULL, "ages");
    assert_path("x", NULL, "");
    assert_path("xages", NULL, "");
}

static void assert_packs(const struct touched *t, const char *paths)
{
    struct buf out = BUF_INIT;
    struct cursor in;
    uint32_t n;
    touched_pack(t, user, &out);
    in = cursor_of(out.data, out.len);
    if (paths == NULL) {
        cr_assert(cursor_nil(&in));
    } else {
        struct buf all = BUF_INIT;
        cr_assert_eq(cursor_array(&in, &n), 0);
        for (const char *s; n > 0; n--) {
            size_t len;
            cr_assert_eq(cursor_str(&in, &s, &len), 0);
            buf_printf(&all, "%.*s ", (int)len, s);
        }
        buf_append(&all, "", 1);
        cr_assert_str_eq((char *)all.data, paths);
        buf_free(&all);
    }
    cr_assert(cursor_done(&in));
    buf_free(&out);
}

Test(region, places_are_gathered_once)
{
    struct touched t = {.all = false}, part = {.all = false};
    touched_add(&t, "", 0, "age", 3);
    touched_add(&t, "/teams/a", 8, NULL, 0);
    touched_add(&t, "", 0, "age", 3);
    touched_add(&t, "/teams/b", 8, "title", 5);
    cr_assert_eq(t.n, 3);
    assert_packs(&t, "age teams ");
    struct region teams = region("teams");
    cr_assert(touched_join(&part, &t, &teams));
    assert_packs(&part, "teams ");
    struct region ages = region("ages");
    cr_assert_not(touched_join(&part, &t, &ages));
    touched_all(&t);
    cr_assert(touched_join(&part, &t, &ages));
    assert_packs(&part, NULL);
    region_free(&teams);
    region_free(&ages);
    touched_free(&t);
    touched_free(&part);
}

Test(region, more_places_than_are_told_are_anything)
{
    struct touched t = {.all = false};
    char suffix[40];
    for (int i = 0; i < TOUCHED_MAX; i++)
        touched_add(&t, suffix, (size_t)sprintf(suffix, "/tasks/t%d", i), NULL, 0);
    cr_assert_not(t.all);
    touched_add(&t, "", 0, NULL, 0);
    cr_assert(t.all);
    assert_packs(&t, NULL);
    touched_free(&t);
}

Test(region, long_places_are_anything)
{
    struct touched t = {.all = false};
    char *suffix = calloc(1, TOUCHED_BYTES);
    memset(suffix, 'x', TOUCHED_BYTES);
    touched_add(&t, suffix, TOUCHED_BYTES, NULL, 0);
    cr_assert(t.all);
    free(suffix);
    touched_free(&t);
}
