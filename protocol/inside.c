/* inside: see inside.h. */
#include "protocol/inside.h"
#include "protocol/tree_private.h"
#include "protocol/work.h"

/* Where the path of what is inside begins: a record with one field, or, of a plain model, its. */
struct inside {
    struct field field;
    struct model model;
    struct record *record;
    struct op_run env;
    struct run run;
};

static const struct type any = {.kind = TYPE_ANY};

/* What an `any` is: the type of what it holds. NULL: null. */
static const struct type *any_holds(const uint8_t *value, size_t len)
{
    static const struct type types[] = {
        [ITEM_BOOL] = {.kind = TYPE_BOOL},      [ITEM_INT] = {.kind = TYPE_INT},
        [ITEM_FLOAT] = {.kind = TYPE_FLOAT},    [ITEM_STR] = {.kind = TYPE_STR},
        [ITEM_BIN] = {.kind = TYPE_BYTES},      [ITEM_TIME] = {.kind = TYPE_DATETIME},
        [ITEM_ARRAY] = {TYPE_LIST, .of = &any}, [ITEM_MAP] = {TYPE_DICT, .of = &any},
    };
    struct cursor in = cursor_of(value, len);
    struct item it;
    if (cursor_next(&in, &it) < 0 || it.kind == ITEM_NIL || it.kind >= sizeof types / sizeof *types)
        return NULL;
    return types[it.kind].kind != TYPE_INT || it.kind == ITEM_INT ? &types[it.kind] : NULL;
}

bool inside_at(const struct run *run)
{
    const struct place *at = &run->at;
    enum op_kind kind = run->op->kind;
    if ((kind == OP_LOAD && run->op->nargs == 0) || kind == OP_SET || kind == OP_IF || !at->type)
        return false;
    if (at->cell && !cell_is_value(at->cell) && at->cell->kind != CELL_UNSET)
        return false;
    switch (type_bare(at->type)->kind) {
    case TYPE_ANY: return true;
    case TYPE_LIST:
    case TYPE_DICT:
    case TYPE_SET:
    case TYPE_SORTED: return at->kind != PLACE_FIELD || at->type->kind == TYPE_OPTIONAL;
    default: return false;
    }
}

/* The tree that the value is, and where in it the path begins. */
static enum op_status build(struct run *run, struct inside *in, const struct type *t,
                            const uint8_t *value, size_t len)
{
    char where[WHERE_MAX];
    struct cursor bytes = cursor_of(value, len);
    struct cell cell;
    run_where(run, where);
    if (t->kind == TYPE_MODEL)
        return record_build(t->model, RECORD_INLINE, NULL, 0, &bytes, where, &in->record, run->f) <
                       0
                   ? OP_REFUSED
                   : OP_DONE;
    if (cell_build(t, false, &bytes, where, &cell, run->f) < 0)
        return OP_REFUSED;
    in->field = (struct field){.name = "value", .name_len = 5, .type = t};
    in->model =
        (struct model){.name = "value", .key_field = -1, .nfields = 1, .fields = &in->field};
    in->record = record_bare(&in->model);
    in->record->slots[0] = cell;
    return OP_DONE;
}

/* The value that the tree has become, as the place takes it. */
static enum op_status pack(struct run *run, struct inside *in, const struct type *t,
                           struct cell *out)
{
    struct buf bytes = BUF_INIT;
    char where[WHERE_MAX];
    size_t max = run->env->max_value;
    enum op_status st = OP_DONE;
    bool kept = false;
    if (t->kind == TYPE_MODEL)
        record_pack(in->record, NULL, 0, false, "", 0, run->needs, &bytes);
    else
        cell_pack(&in->record->slots[0], t, "", 0, run->needs, &bytes);
    run_where(run, where);
    struct cursor all = cursor_of(bytes.data, bytes.len);
    if (bytes.failed)
        st = REFUSE(run, FAULT_BUSY, "%s: no memory for the value", run_name(run));
    else if (work_check(run->f) < 0)
        st = OP_REFUSED;
    else if (max > 0 && bytes.len > max)
        st = REFUSE(run, FAULT_TOO_LARGE,
                    "%s: the value that '%s' is in would have %zu bytes, at most %zu are allowed",
                    run_name(run), where, bytes.len, max);
    else
        st = cell_rebuild(
            run->at.type, run->at.kind != PLACE_FIELD, &all, where,
            &(struct rebuild){.depth = run->at.depth, .needs = run->needs, .kept = &kept}, out,
            run->f);
    buf_free(&bytes);
    return st;
}

/* Where nothing of it has changed nothing is written, if the answer needs no version. */
static bool same(const struct run *run, const struct cell *now, const uint8_t *was, size_t was_len)
{
    size_t len;
    const uint8_t *p = cell_bytes(now, &len);
    return op_infos[run->op->kind].result != RESULT_VERSION && len == was_len &&
           memcmp(p, was, len) == 0;
}

static enum op_status store(struct run *run, struct inside *in, const struct type *t,
                            const uint8_t *was, size_t was_len)
{
    struct cell now;
    enum op_status st = pack(run, in, t, &now);
    if (st != OP_DONE)
        return st;
    run_computes(run);
    if (!same(run, &now, was, was_len))
        return place_store(run, now);
    cell_free(&now);
    return OP_DONE;
}

static enum op_status run_in(struct run *run, struct inside *in, const struct type *t, size_t from)
{
    const struct op *op = run->op;
    in->env =
        (struct op_run){.root = run->env->root, /* an operand may be elsewhere in the document */
                        .needs = run->env->needs,
                        .max_value = run->env->max_value,
                        .fits = run->env->fits,
                        .fits_arg = run->env->fits_arg,
                        .nothing = run->env->nothing,
                        .elsewhere = run->env->elsewhere,
                        .elsewhere_arg = run->env->elsewhere_arg,
                        .fault = run->f};
    in->run.op = op;
    in->run.env = &in->env;
    in->run.needs = run->needs;
    in->run.args = run->args;
    in->run.result = run->result;
    in->run.f = run->f;
    enum op_status st = place_find_from(&in->run.at, in->record, t->kind == TYPE_MODEL ? NULL : t,
                                        op->path, op->path_len, from, run->f);
    return op_run_at(&in->run, st);
}

static enum op_status run_on(struct run *run, size_t from, const struct type *t,
                             const uint8_t *value, size_t len)
{
    size_t had = run->result->len;
    struct inside *in = tree_alloc(sizeof *in);
    enum op_status st = build(run, in, t, value, len);
    if (st == OP_DONE) {
        st = run_in(run, in, t, from);
        if (st == OP_DONE && op_infos[run->op->kind].writes)
            st = store(run, in, t, value, len);
        record_free(in->record);
    }
    if (st != OP_DONE)
        run->result->len = had;
    tree_free(in);
    return st;
}

/* What a tree of it costs, before it is made: its first level is taken apart, and put together
 * again; what is below that is copied. */
static int check_cost(struct run *run, const uint8_t *value, size_t len)
{
    struct cursor in = cursor_of(value, len);
    struct item it;
    uint64_t times = op_infos[run->op->kind].writes ? 2 : 1;
    if (cursor_next(&in, &it) < 0)
        return 0;
    if (it.kind == ITEM_MAP)
        work_add(it.count * times, WORK_INNER);
    else if (it.kind == ITEM_ARRAY)
        work_add(it.count * times, WORK_INNER_ITEM);
    work_add(len / 1024 * times, WORK_KIB);
    return work_check(run->f);
}

static void note_nothing(const struct run *run)
{
    if (run->env->nothing)
        *run->env->nothing = true;
}

static enum op_status run_inside(struct run *run, size_t from)
{
    char where[WHERE_MAX];
    const uint8_t *value;
    size_t len;
    bool stored;
    enum op_status st = value_read(run, &value, &len, &stored);
    if (st != OP_DONE)
        return st;
    if (!value)
        return value_unset(run, from);
    const struct type *t = type_bare(run->at.type);
    if (t->kind == TYPE_ANY)
        t = any_holds(value, len);
    struct cursor in = cursor_of(value, len);
    bool null = !t || cursor_nil(&in);
    if (null && run->op->kind == OP_IF)
        return value_unset(run, from);
    if (null) {
        note_nothing(run);
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%.*s' is null; set it first", run_name(run),
                      (int)(from < WHERE_MAX ? from : WHERE_MAX), run_where(run, where));
    }
    if (check_cost(run, value, len) < 0)
        return OP_REFUSED;
    st = run_on(run, from, t, value, len);
    if (st == OP_REFUSED && type_bare(run->at.type)->kind == TYPE_ANY &&
        (run->f->code == FAULT_BAD_PATH || run->f->code == FAULT_BAD_TYPE))
        note_nothing(run);
    return st;
}

enum op_status inside_run(struct run *run, size_t from)
{
    enum op_status st = run_inside(run, from);
    if (st == OP_REFUSED)
        run_computes(run); /* what was there decided */
    return st;
}
