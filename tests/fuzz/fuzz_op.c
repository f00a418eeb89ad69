/* fuzz_op: what operations and expressions do with any arguments, on a document that has every
 * kind.
 *
 * The input is a run of MessagePack arrays [method, path, args...]: the method a str, or a number
 * of the table; the path a str, or a number of those below. One that begins with nil is an
 * expression as find takes it. Beyond not crashing:
 *   - a refusal says why, and changes nothing;
 *   - what was done answers with one value, or with a version;
 *   - undone it is as if it had not been done, and what it came to fits its own model.
 */
#include "protocol/expression.h"
#include "protocol/scan.h"
#include "protocol/undo.h"
#include "tests/fuzz/fuzz.h"

#define MAX_VALUE 65536 /* bytes */

static const char *const task[] = {"title", "str", "points", "int", "tags", "list<str>", NULL};
static const char *const doc[] = {"name",   "str",
                                  "n",      "int",
                                  "x",      "float",
                                  "ok",     "bool",
                                  "raw",    "bytes",
                                  "at",     "datetime",
                                  "price",  "decimal",
                                  "any",    "any",
                                  "note",   "optional<str>",
                                  "who",    "ref<Task>",
                                  "tags",   "list<str>",
                                  "nums",   "list<int>",
                                  "scores", "dict<int>",
                                  "set",    "set<str>",
                                  "ints",   "set<int>",
                                  "q",      "sorted<str>",
                                  "grid",   "list<list<int>>",
                                  "lines",  "dict<list<str>>",
                                  "groups", "dict<set<int>>",
                                  "maybe",  "optional<list<int>>",
                                  "main",   "Task",
                                  "alt",    "optional<Task>",
                                  "tasks",  "list<Task>",
                                  "team",   "dict<Task>",
                                  "boards", "dict<list<Task>>",
                                  NULL};
static const char *const paths[] = {"",
                                    "name",
                                    "n",
                                    "x",
                                    "ok",
                                    "raw",
                                    "at",
                                    "price",
                                    "any",
                                    "note",
                                    "who",
                                    "tags",
                                    "nums",
                                    "scores",
                                    "set",
                                    "ints",
                                    "q",
                                    "grid",
                                    "lines",
                                    "groups",
                                    "maybe",
                                    "main",
                                    "alt",
                                    "tasks",
                                    "team",
                                    "boards",
                                    "tags[0]",
                                    "nums[-1]",
                                    "grid[0]",
                                    "grid[0][0]",
                                    "main.tags",
                                    "alt.points",
                                    "tasks[0].tags",
                                    "tasks[0]",
                                    "any[0]",
                                    "tasks[].tags",
                                    "team[\"a\"]",
                                    "boards[\"a\"]",
                                    "lines[\"a\"]",
                                    "groups[\"a\"]",
                                    "scores[\"a\"]"};

static const struct model *model(void)
{
    static struct schema *s;
    static const struct model *m;
    if (m == NULL) {
        s = schema_new();
        add_model(s, "Task", task);
        m = add_model(s, "Doc", doc);
    }
    return m;
}

static void unwanted(void *arg, struct cell *c, const struct type *t, const char *suffix,
                     size_t len)
{
    (void)arg, (void)c, (void)t, (void)suffix, (void)len;
    abort(); /* all is loaded */
}

static void pack(const struct record *r, struct buf *out)
{
    struct needs needs = {.container = unwanted};
    buf_clear(out);
    record_pack(r, "d", 1, false, "", 0, &needs, out);
}

static uint64_t digest_bytes(const uint8_t *p, const uint8_t *end)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a */
    for (; p < end; p++)
        h = (h ^ *p) * 0x100000001b3;
    return h;
}

static const struct type *type_below(const struct type *t, struct cursor name)
{
    const char *s;
    size_t len;
    int field = -1;
    if (t == NULL || t->kind != TYPE_MODEL)
        return t ? t->of : NULL;
    if (cursor_str(&name, &s, &len) == 0)
        field = model_field(t->model, s, len);
    return field < 0 ? NULL : t->model->fields[field].type;
}

/* The same for the same value, in whatever order maps have their keys and sets their members. */
static uint64_t digest(struct cursor *in, const struct type *t)
{
    const uint8_t *from = in->at;
    struct item it;
    uint64_t h = 1;
    require(cursor_next(in, &it) == 0);
    if (t != NULL)
        t = type_bare(type_within(t));
    if (it.kind == ITEM_MAP) {
        for (uint32_t i = 0; i < it.count; i++) {
            struct cursor name = *in;
            uint64_t key = digest(in, NULL);
            h += key * (digest(in, type_below(t, name)) | 1);
        }
    } else if (it.kind == ITEM_ARRAY) {
        bool ordered = t == NULL || t->kind != TYPE_SET;
        for (uint32_t i = 0; i < it.count; i++)
            h = (ordered ? h * 0x100000001b3 : h) + digest(in, t ? t->of : NULL);
    } else {
        h = digest_bytes(from, in->at);
    }
    return h * 0x9e3779b97f4a7c15 ^ (h >> 29);
}

static bool same(const struct buf *a, const struct buf *b)
{
    const struct type doc_type = {.kind = TYPE_MODEL, .model = model()};
    struct cursor in_a = cursor_of(a->data, a->len), in_b = cursor_of(b->data, b->len);
    return a->len == b->len && digest(&in_a, &doc_type) == digest(&in_b, &doc_type);
}

static void check_fault(const struct fault *f)
{
    require(f->code != FAULT_NONE && f->code != FAULT_INTERNAL && f->text[0] &&
            utf8_valid(f->text, strlen(f->text)));
}

static size_t values_in(const struct buf *b)
{
    struct cursor in = cursor_of(b->data, b->len);
    size_t n = 0;
    for (; !cursor_done(&in); n++)
        require(cursor_skip(&in) == 0);
    return n;
}

/* What an operation left can be read from what it answers with. */
static void check_build(const struct buf *packed)
{
    struct cursor in = cursor_of(packed->data, packed->len);
    struct record *again = NULL;
    struct buf twice = BUF_INIT;
    struct fault f = {.code = FAULT_NONE};
    if (record_build(model(), RECORD_ROOT, "d", 1, &in, "", &again, &f) < 0) {
        check_fault(&f); /* what was never set is missed */
        return;
    }
    pack(again, &twice);
    require(values_in(&twice) == 1);
    record_free(again);
    buf_free(&twice);
}

static void run(struct record *root, const struct op *op)
{
    struct buf before = BUF_INIT, after = BUF_INIT, result = BUF_INIT;
    struct needs needs = {.container = unwanted};
    struct fault f = {.code = FAULT_NONE};
    struct undo *undo = undo_new();
    struct op_run env = {
        .root = root, .undo = undo, .needs = &needs, .max_value = MAX_VALUE, .fault = &f};
    pack(root, &before);
    enum op_status st = op_run(op, &env, &result);
    pack(root, &after);
    require(st != OP_NEEDS);
    if (st == OP_REFUSED) {
        check_fault(&f);
        require(same(&before, &after));
    } else {
        require(values_in(&result) == (op_infos[op->kind].result != RESULT_VERSION));
        require(op_infos[op->kind].writes || same(&before, &after));
        check_build(&after);
    }
    if (st == OP_DONE && before.len + after.len < MAX_VALUE) {
        undo_rollback(undo);
        pack(root, &after);
        require(same(&before, &after));
        buf_clear(&result);
        require(op_run(op, &env, &result) == OP_DONE);
    }
    undo_commit(undo);
    undo_free(undo);
    buf_free(&before);
    buf_free(&after);
    buf_free(&result);
}

static void check_operation(struct record *root, struct cursor in, uint32_t n)
{
    struct cursor rest;
    const char *name;
    size_t len;
    int64_t number;
    int kind;
    if (n < 2)
        return;
    if (cursor_int(&in, &number) == 0)
        kind = (int)((uint64_t)number % OP_COUNT);
    else if (cursor_str(&in, &name, &len) < 0 || (kind = op_by_name(name, len)) < 0)
        return;
    struct buf params = BUF_INIT;
    rest = in;
    if (cursor_int(&rest, &number) == 0)
        pack_cstr(&params, paths[(uint64_t)number % (sizeof paths / sizeof *paths)]);
    else
        rest = in;
    buf_append(&params, rest.at, (size_t)(in.end - rest.at));
    struct cursor all = cursor_of(params.data, params.len);
    struct op op;
    struct fault f = {.code = FAULT_NONE};
    if (op_parse((enum op_kind)kind, &all, n - 1, &op, &f) == 0)
        run(root, &op);
    else
        check_fault(&f);
    buf_free(&params);
}

static void check_expression(struct record *root, struct cursor in)
{
    struct needs needs = {.container = unwanted};
    struct expr *e = NULL;
    struct fault f = {.code = FAULT_NONE};
    bool holds;
    if (expression_parse(model(), &in, &e, &f) < 0) {
        check_fault(&f);
        return;
    }
    enum op_status st = expression_holds(e, root, &needs, &holds, &f);
    require(st != OP_NEEDS);
    if (st == OP_REFUSED)
        check_fault(&f);
    expression_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record *root = record_new(model());
    struct cursor all = cursor_of(data, size);
    struct fault f;
    while (!cursor_done(&all)) {
        struct scan scan;
        struct cursor in;
        uint32_t n;
        scan_init(&scan, MAX_VALUE);
        if (scan_run(&scan, all.at, (size_t)(all.end - all.at), &f) != SCAN_DONE)
            break;
        in = cursor_of(all.at, scan.at);
        all.at += scan.at;
        if (cursor_array(&in, &n) < 0 || n == 0)
            continue;
        if (cursor_nil(&in))
            check_expression(root, in);
        else
            check_operation(root, in, n);
    }
    record_free(root);
    return 0;
}
