/* fuzz_schema: what becomes of any bytes as declarations, values of what they declare, and paths.
 *
 * The input is a run of MessagePack values. Maps are declarations, each checked and then defined
 * in one registry, and arrays of maps several that come together; a str is read as a path; anything
 * else is a value for the fields of the model defined last. Beyond not crashing:
 *   - check says what define does, and a refusal says why;
 *   - a model's own declaration defines it in another registry that knows the models in it;
 *   - limits hold whatever was declared;
 *   - a path that could be read is read the same when it is written again;
 *   - a canonical value is its own canonical form.
 */
#include "protocol/path.h"
#include "protocol/schema.h"
#include "protocol/value.h"
#include "tests/fuzz/fuzz.h"

static bool holds_text(const struct fault *f)
{
    return f->code != FAULT_NONE && f->code != FAULT_INTERNAL && f->text[0] &&
           utf8_valid(f->text, strlen(f->text));
}

/* A registry with all that is in another one. */
struct copying {
    struct buf bytes[64];
    struct cursor in[64];
    size_t n;
};

static void copy_model(const struct model *m, void *arg)
{
    struct copying *c = arg;
    require(m->depth <= SCHEMA_MAX_DEPTH && m->slots <= SCHEMA_MAX_SLOTS);
    require(m->nfields <= SCHEMA_MAX_FIELDS && m->revision > 0);
    if (c->n == 64)
        return;
    schema_pack(m, &c->bytes[c->n]);
    c->in[c->n] = cursor_of(c->bytes[c->n].data, c->bytes[c->n].len);
    c->n++;
}

static void compare_model(const struct model *m, void *arg)
{
    const struct model *other = schema_model(arg, m->name, strlen(m->name));
    require(other && other->nfields == m->nfields && other->revision == m->revision);
    require(other->depth == m->depth && other->slots == m->slots);
}

static void check_restore(const struct schema *s)
{
    struct copying c = {0};
    struct schema *copy = schema_new();
    struct fault f;
    schema_each(s, copy_model, &c);
    if (c.n < 64) {
        require(schema_restore(copy, c.in, c.n, NULL, &f) == 0);
        schema_each(s, compare_model, copy);
    }
    for (size_t i = 0; i < c.n; i++)
        buf_free(&c.bytes[i]);
    schema_free(copy);
}

static void check_define(struct schema *s, struct cursor in, const struct model **last)
{
    struct cursor first = in;
    struct fault f, why;
    bool would = false, changed = false;
    int check = schema_check(s, &first, &would, &f);
    require(schema_define(s, &in, last, &changed, &why) == check);
    require(check == 0 ? would == changed : holds_text(&f) && strcmp(f.text, why.text) == 0);
}

#define TOGETHER 16

/* All that are in an array, or none of them. */
static void check_define_all(struct schema *s, struct cursor in, const struct model **last)
{
    struct cursor declarations[TOGETHER];
    const struct model *models[TOGETHER];
    bool would[TOGETHER], changed[TOGETHER];
    struct fault f, why;
    const uint8_t *at;
    size_t len;
    uint32_t n;
    if (cursor_array(&in, &n) < 0 || n == 0 || n > TOGETHER)
        return;
    for (uint32_t i = 0; i < n; i++) {
        require(cursor_value(&in, &at, &len) == 0);
        declarations[i] = cursor_of(at, len);
    }
    int check = schema_check_all(s, declarations, n, would, &f);
    require(schema_define_all(s, declarations, n, models, changed, &why) == check);
    require(check == 0 || (holds_text(&f) && strcmp(f.text, why.text) == 0));
    for (uint32_t i = 0; check == 0 && i < n; i++)
        require(would[i] == changed[i]);
    if (check == 0)
        *last = models[n - 1];
}

static void check_value(struct cursor in, const struct type *t)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    struct fault f;
    if (!type_atomic(t) && !type_atomic(t->of ? t->of : t)) {
        if (value_check(t, &in, &once, "field", &f) == 0) {
            struct cursor again = cursor_of(once.data, once.len);
            require(value_check(t, &again, &twice, "field", &f) == 0);
            require(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
        } else {
            require(once.len == 0 && holds_text(&f));
        }
    }
    buf_free(&once);
    buf_free(&twice);
}

/* Writes the path that is read from `text`; false when it cannot be read. */
static bool rewrite_path(const char *text, size_t len, struct buf *out)
{
    struct path_reader r;
    struct step step;
    struct fault f;
    int more;
    path_read(&r, text, len);
    while ((more = path_next(&r, &step, &f)) > 0) {
        if (step.kind == STEP_NAME)
            path_add_name(out, step.s, step.len);
        else if (step.kind == STEP_INDEX)
            path_add_index(out, step.index);
        else
            path_add_key(out, step.s, step.len);
    }
    require(more == 0 || holds_text(&f));
    return more == 0;
}

static void check_path(const char *text, size_t len)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    if (rewrite_path(text, len, &once)) {
        require(rewrite_path((char *)once.data, once.len, &twice));
        require(once.len == twice.len);
        require(once.len == 0 || memcmp(once.data, twice.data, once.len) == 0);
    }
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct schema *s = schema_new();
    const struct model *last = NULL;
    struct cursor all = cursor_of(data, size);
    const uint8_t *at;
    size_t len;
    while (!cursor_done(&all) && cursor_value(&all, &at, &len) == 0) {
        struct cursor in = cursor_of(at, len);
        struct item it;
        require(cursor_peek(&in, &it) == 0);
        if (it.kind == ITEM_STR)
            check_path((const char *)it.bytes.p, it.bytes.len);
        if (it.kind == ITEM_MAP)
            check_define(s, in, &last);
        if (it.kind == ITEM_ARRAY)
            check_define_all(s, in, &last);
        for (uint32_t i = 0; last && i < last->nfields && i < 8; i++)
            check_value(in, last->fields[i].type);
    }
    check_restore(s);
    schema_free(s);
    return 0;
}
