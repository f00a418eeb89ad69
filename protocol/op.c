/* op: the table of operations, and the way all of them go: parse, resolve, check, change.
 *
 *   op.c ── place.c   where the path leads
 *      └─── op_number.c, op_value.c, op_list.c, op_dict.c   what each operation does there
 *              ├─── change.c   the tree, the effects, the undo log
 *              └─── inside.c   the same within a value
 */
#include "protocol/inside.h"
#include "protocol/work.h"

const struct op_info op_infos[OP_COUNT] = {
#define OP_INFO(id, wire, lo, hi, res, wr, into, handler) [OP_##id] = {wire, lo, hi, res, wr, into},
    OP_TABLE(OP_INFO)
#undef OP_INFO
};

/* Asked several times for each operation of a pipeline: the lengths tell most names apart. */
static const uint8_t name_lens[OP_COUNT] = {
#define OP_NAME_LEN(id, name, ...) sizeof(name) - 1,
    OP_TABLE(OP_NAME_LEN)
#undef OP_NAME_LEN
};

int op_by_name(const char *name, size_t len)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (name_lens[i] == len && memcmp(op_infos[i].name, name, len) == 0)
            return i;
    return -1;
}

int op_parse(enum op_kind kind, struct cursor *c, uint32_t nparams, struct op *op, struct fault *f)
{
    const struct op_info *info = &op_infos[kind];
    struct op got = {.kind = kind};
    if (nparams < 1u + info->min_args || nparams > 1u + info->max_args) {
        if (info->min_args == info->max_args)
            return fault_set(f, FAULT_BAD_REQUEST, "%s takes %u arguments behind key and path",
                             info->name, info->min_args);
        return fault_set(f, FAULT_BAD_REQUEST, "%s takes %u to %u arguments behind key and path",
                         info->name, info->min_args, info->max_args);
    }
    if (cursor_str(c, &got.path, &got.path_len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "%s: the path must be a str", info->name);
    if (!utf8_valid(got.path, got.path_len))
        return fault_set(f, FAULT_BAD_PATH, "%s: the path is not valid UTF-8", info->name);
    got.nargs = nparams - 1;
    const uint8_t *args = c->at;
    for (unsigned i = 0; i < got.nargs; i++)
        if (cursor_skip(c) < 0)
            return fault_set(f, FAULT_BAD_REQUEST, "%s: an argument is missing", info->name);
    got.args = (struct cursor){args, c->at};
    *op = got;
    return 0;
}

enum op_status value_unset(struct run *run, size_t path_len)
{
    char where[WHERE_MAX];
    int len = (int)(path_len < WHERE_MAX ? path_len : WHERE_MAX);
    run_where(run, where);
    if (run->at.kind == PLACE_ENTRY)
        return REFUSE(run, FAULT_NOT_FOUND, "there is no '%.*s'", len, where);
    return REFUSE(run, FAULT_NOT_FOUND, "'%.*s' was never set and has no default", len, where);
}

/* A record or container as a whole. */
static enum op_status load_tree(struct run *run)
{
    struct place *at = &run->at;
    size_t had = run->result->len;
    unsigned needed = run->needs->count;
    if (at->kind == PLACE_ROOT)
        record_pack(at->record, NULL, 0, false, "", 0, run->needs, run->result);
    else
        cell_pack(at->cell, at->type, at->name, at->len, run->needs, run->result);
    if (work_check(run->f) < 0)
        return OP_REFUSED;
    if (run->needs->count == needed)
        return OP_DONE;
    run->result->len = had;
    return run->env->needs ? OP_NEEDS : REFUSE(run, FAULT_INTERNAL, "a part of it is not loaded");
}

enum op_status run_load(struct run *run)
{
    struct place *at = &run->at;
    if (run->op->nargs > 0)
        return run_load_slice(run);
    if (at->kind == PLACE_ROOT || (at->kind == PLACE_FIELD && at->cell &&
                                   at->cell->kind != CELL_UNSET && !cell_is_value(at->cell)))
        return load_tree(run);
    if (at->kind != PLACE_FIELD && at->cell)
        return element_pack(run, at->cell, at->type);
    const uint8_t *p;
    size_t len;
    bool stored;
    enum op_status st = value_read(run, &p, &len, &stored);
    if (st != OP_DONE)
        return st;
    if (!p)
        return value_unset(run, run->op->path_len);
    buf_append(run->result, p, len);
    return OP_DONE;
}

enum op_status run_set(struct run *run)
{
    struct place *at = &run->at;
    struct cell v;
    if (at->kind == PLACE_ROOT)
        return REFUSE(run, FAULT_BAD_PATH,
                      "set needs the path of a field or element; use doc.save for the document");
    enum op_status st = check_not_key(run);
    if (st != OP_DONE)
        return st;
    if ((st = arg_cell(run, at->type, at->kind == PLACE_FIELD, NULL, at->cell, &v)) != OP_DONE)
        return st;
    return place_store(run, v);
}

static enum op_status (*const handlers[OP_COUNT])(struct run *run) = {
#define OP_HANDLER(id, wire, lo, hi, res, wr, into, handler) [OP_##id] = handler,
    OP_TABLE(OP_HANDLER)
#undef OP_HANDLER
};

static void unwanted(void *arg, struct cell *c, const struct type *t, const char *suffix,
                     size_t suffix_len)
{
    (void)arg, (void)c, (void)t, (void)suffix, (void)suffix_len;
}

/* A condition on what is not there is answered. */
static enum op_status not_there(struct run *run)
{
    run_computes(run);
    return if_nothing(run->op->args, run->result, run->f);
}

/* Whether the operation is about a container that the path ends at the name of, in another one. */
static bool enters(const struct run *run)
{
    const struct type *t = run->at.type;
    enum op_kind kind = run->op->kind;
    if ((kind == OP_LOAD && run->op->nargs == 0) || kind == OP_SET || !t)
        return false;
    if (run->at.kind == PLACE_FIELD)
        return kind != OP_IF && t->kind == TYPE_MAYBE && t->of->model->wraps;
    return type_atomic(t) && t->model->wraps;
}

enum op_status op_run_at(struct run *run, enum op_status st)
{
    bool asks = run->op->kind == OP_IF;
    if (st == OP_REFUSED && run->at.null && run->env->nothing)
        *run->env->nothing = true;
    if (st == OP_DONE && enters(run))
        st = place_enter(&run->at, !asks, run->needs, run->op->path_len, run->f);
    if (run->at.hidden && op_infos[run->op->kind].writes)
        run_computes(run);
    if (st == OP_REFUSED && run->at.inside > 0) {
        st = inside_run(run, run->at.inside);
        return st == OP_REFUSED && asks && run->f->code == FAULT_NOT_FOUND ? not_there(run) : st;
    }
    if (st == OP_REFUSED && asks &&
        (run->f->code == FAULT_NOT_FOUND || run->f->code == FAULT_OUT_OF_RANGE))
        return not_there(run);
    if (st == OP_DONE && inside_at(run))
        return inside_run(run, run->op->path_len);
    return st == OP_DONE ? handlers[run->op->kind](run) : st;
}

enum op_status op_run(const struct op *op, const struct op_run *env, struct buf *result)
{
    struct needs nothing = {.container = unwanted};
    struct run run; /* not zeroed: the place in it has a buffer of kilobytes */
    run.op = op;
    run.env = env;
    run.needs = env->needs ? env->needs : &nothing;
    run.args = op->args;
    run.result = result;
    run.f = env->fault;
    return op_run_at(&run, place_find(&run.at, env->root, op->path, op->path_len,
                                      op->kind == OP_LOAD, env->needs, NULL, env->fault));
}
