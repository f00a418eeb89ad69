/* operation: see operation.h. */
#include "client/operation.h"
#include "client/request.h"
#include "client/value.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void fail(struct operation *o, const struct fault *f)
{
    o->failed = db_fail(o->db, f);
}

void operation_begin(struct operation *o, rapyer_doc *at, enum op_kind kind, const char *path)
{
    *o = (struct operation){.kind = kind};
    o->pipeline = at ? at->pipeline : NULL;
    o->failed = handle_target(at, path, &o->target);
    if (o->failed == 0) {
        o->db = at->home->db;
        o->lock = hold_ref(at->lock);
    }
}

static struct embedding embedding_of(struct operation *o)
{
    struct embedding e = {.home = o->target.home,
                          .model = home_model(o->target.home),
                          .into = op_infos[o->kind].into,
                          .key = o->key,
                          .moves = &o->moves};
    e.path = target_path(&o->target, &e.path_len);
    return e;
}

void operation_value(struct operation *o, const char *fmt, va_list *ap)
{
    struct fault f;
    if (o->failed)
        return;
    struct embedding e = embedding_of(o);
    if (template_value(fmt, ap, embed_draft, &e, &o->args, &f) < 0)
        fail(o, &f);
    o->nargs++;
}

void operation_values(struct operation *o, const char *fmt, va_list *ap)
{
    struct fault f;
    if (o->failed)
        return;
    struct embedding e = embedding_of(o);
    template_embed *embed = op_infos[o->kind].into == INTO_ENTRY ? embed_value : embed_draft;
    if (template_values(fmt, ap, embed, &e, &o->args, &o->nargs, &f) < 0)
        fail(o, &f);
}

void operation_int(struct operation *o, int64_t v)
{
    pack_int(&o->args, v);
    o->nargs++;
}

void operation_range(struct operation *o, int64_t from, int64_t to)
{
    pack_map(&o->args, to == INT64_MAX ? 1 : 2);
    pack_cstr(&o->args, "from");
    pack_int(&o->args, from);
    if (to != INT64_MAX) {
        pack_cstr(&o->args, "to");
        pack_int(&o->args, to);
    }
    o->nargs++;
}

void operation_float(struct operation *o, double v)
{
    if (isinf(v))
        pack_nil(&o->args);
    else
        pack_float(&o->args, v);
    o->nargs++;
}

void operation_str(struct operation *o, const char *s)
{
    o->key = s ? s : "";
    pack_cstr(&o->args, o->key);
    o->nargs++;
}

/* ---- on a draft ---- */

static int read_local(struct operation *o, const struct buf *result, rapyer_value **out)
{
    struct cursor in = cursor_of(result->data, result->len);
    struct fault f;
    if (!result->len || !out)
        return 0;
    *out = value_parse(in, 0, SIZE_MAX, &f);
    return *out ? 0 : db_no_memory(o->db);
}

static int run_local(struct operation *o, rapyer_value **out)
{
    const struct op_info *info = &op_infos[o->kind];
    struct buf result = BUF_INIT;
    struct fault f;
    struct op op = {.kind = o->kind, .args = cursor_of(o->args.data, o->args.len)};
    struct home *h = o->target.home;
    op.path = target_path(&o->target, &op.path_len);
    op.nargs = o->nargs;
    if (op.nargs < info->min_args || op.nargs > info->max_args)
        return db_failf(o->db, FAULT_BAD_REQUEST, "%s takes %u to %u values behind the path",
                        info->name, info->min_args, info->max_args);
    h->draft = record_widen(h->draft);
    struct op_run env = {.root = h->draft, .max_value = MAX_VALUE, .fault = &f};
    if (op_run(&op, &env, &result) != OP_DONE) {
        buf_free(&result);
        return db_fail(o->db, &f);
    }
    moves_done(&o->moves, h);
    int rc = result.failed ? db_no_memory(o->db) : read_local(o, &result, out);
    buf_free(&result);
    return rc;
}

/* ---- at the daemon ---- */

static void pack_params(const struct operation *o, struct buf *out)
{
    size_t len;
    const char *path = target_path(&o->target, &len);
    pack_cstr(out, o->target.home->key);
    pack_str(out, path, len);
    buf_append(out, o->args.data, o->args.len);
    out->failed |= o->args.failed;
}

static int run_remote(struct operation *o, rapyer_value **out)
{
    struct buf params = BUF_INIT;
    pack_params(o, &params);
    moves_hold(&o->moves, true);
    rapyer_value *v = hold_request(o->lock, o->db, op_infos[o->kind].name, op_infos[o->kind].writes,
                                   2 + o->nargs, &params);
    moves_hold(&o->moves, false);
    buf_free(&params);
    if (!v)
        return -1;
    moves_done(&o->moves, o->target.home);
    if (out)
        *out = v;
    else
        rapyer_value_free(v);
    return 0;
}

static int gather(struct operation *o, rapyer_value **out)
{
    struct buf params = BUF_INIT;
    pack_params(o, &params);
    int rc = pipeline_add(o->pipeline, op_infos[o->kind].name, 2 + o->nargs, &params,
                          o->target.home, false, o->lock, &o->moves, out);
    buf_free(&params);
    return rc;
}

static void operation_free(struct operation *o)
{
    moves_free(&o->moves);
    buf_free(&o->args);
    target_free(&o->target);
    hold_unref(o->lock);
}

int operation_end(struct operation *o, rapyer_value **out)
{
    int rc = o->failed;
    if (out)
        *out = NULL;
    if (rc == 0 && o->args.failed)
        rc = db_no_memory(o->db);
    if (rc == 0 && o->target.home->state == HOME_DRAFT)
        rc = run_local(o, out);
    else if (rc == 0 && o->pipeline && (op_infos[o->kind].writes || o->kind == OP_IF))
        rc = gather(o, out);
    else if (rc == 0)
        rc = run_remote(o, out);
    if (rc < 0 && o->pipeline)
        pipeline_spoil(o->pipeline, op_infos[o->kind].name);
    operation_free(o);
    return rc;
}

/* ---- without waiting ---- */

struct flight {
    struct moves moves;
    struct home *to;
    struct hold *lock; /* a reference, or NULL */
    bool wrapped;      /* in a pipeline of one */
};

/* The error, as of the operation alone. */
static void refused(rapyer *db, struct flight *flight, const struct fault *f)
{
    if (!f) {
        db_no_memory(db);
        return;
    }
    struct fault own = *f;
    hold_failed(flight->lock, f);
    if (flight->wrapped)
        hold_unwrap_fault(&own);
    db_fail(db, &own);
}

static void land(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                 const struct fault *f)
{
    struct flight *flight = rq->arg;
    (void)how;
    moves_hold(&flight->moves, false);
    if (*result)
        moves_done(&flight->moves, flight->to);
    else
        refused(db, flight, f);
    if (flight->wrapped) {
        hold_unwrap(*result);
        flight->lock->flights--;
    }
    if (rq->cb)
        rq->cb(db, *result, rq->user);
    moves_free(&flight->moves);
    hold_unref(flight->lock);
    home_unref(flight->to);
    free(flight);
}

/* Queues rq, which it takes; under the lock if there is one. */
static int send_operation(struct operation *o, struct request *rq, bool wrapped)
{
    struct buf params = BUF_INIT, packed = BUF_INIT;
    const char *method = op_infos[o->kind].name;
    pack_params(o, &params);
    if (wrapped)
        hold_wrap(o->lock, method, 2 + o->nargs, &params, &packed);
    int rc = request_send(o->db, rq, wrapped ? "pipeline" : method, wrapped ? 2 : 2 + o->nargs,
                          wrapped ? &packed : &params);
    buf_free(&params);
    buf_free(&packed);
    return rc;
}

static int send_remote(struct operation *o, rapyer_callback *cb, void *user)
{
    if (hold_check(o->lock) < 0)
        return -1;
    struct flight *flight = calloc(1, sizeof *flight);
    struct request *rq = calloc(1, sizeof *rq);
    if (!flight || !rq) {
        free(flight);
        free(rq);
        return db_no_memory(o->db);
    }
    *flight = (struct flight){
        .moves = o->moves,
        .to = home_ref(o->target.home),
        .lock = hold_ref(o->lock),
        .wrapped = hold_wraps(o->lock, op_infos[o->kind].name, op_infos[o->kind].writes)};
    *rq = (struct request){.done = land, .cb = cb, .user = user, .arg = flight};
    if (o->lock)
        rq->terms.connection = o->lock->connection;
    if (send_operation(o, rq, flight->wrapped) < 0) {
        hold_unref(flight->lock);
        home_unref(flight->to);
        free(flight);
        return -1;
    }
    if (flight->wrapped)
        flight->lock->flights++;
    moves_hold(&o->moves, true);
    o->moves = (struct moves){0};
    return 0;
}

int operation_end_async(struct operation *o, rapyer_callback *cb, void *user)
{
    rapyer_value *v = NULL;
    rapyer *db = o->db;
    if (!o->failed && cb && o->pipeline && o->target.home->state != HOME_DRAFT)
        o->failed = db_failf(db, FAULT_BAD_REQUEST,
                             "an operation in a pipeline has no callback; rapyer_send_commit has");
    if (o->failed || o->pipeline || o->target.home->state == HOME_DRAFT) {
        if (operation_end(o, &v) < 0)
            return -1;
        if (cb)
            cb(db, v, user);
        rapyer_value_free(v);
        return 0;
    }
    int rc = send_remote(o, cb, user);
    operation_free(o);
    return rc;
}

int rapyer_send_op(rapyer_doc *at, rapyer_callback *cb, void *user, const char *op,
                   const char *path, const char *fmt, ...)
{
    struct operation o;
    int kind = op ? op_by_name(op, strlen(op)) : -1;
    va_list ap;
    if (at && kind < 0)
        return db_failf(at->home->db, FAULT_UNKNOWN_METHOD, "'%s' is no operation of the protocol",
                        op ? op : "");
    operation_begin(&o, at, (enum op_kind)kind, path);
    va_start(ap, fmt);
    operation_values(&o, fmt, &ap);
    va_end(ap);
    return operation_end_async(&o, cb, user);
}
