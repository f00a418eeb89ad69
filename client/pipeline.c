/* pipeline: see pipeline.h. */
#include "client/pipeline.h"
#include "client/request.h"
#include "client/value.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct gathered {
    size_t start; /* in ops */
    struct home *home;
    bool saves;
    struct moves moves;
};

/* What one commit is about. */
struct batch {
    struct gathered *all;
    size_t n;
};

struct pipeline {
    unsigned refs;
    rapyer *db;
    bool over; /* the handle that began it is gone */
    struct buf ops;
    struct batch batch;
    size_t cap;
    struct buf versions; /* key, version, key, version */
    uint32_t nversions;
    bool spoiled;
    size_t spoiled_at;
    struct fault why;        /* without a code: no memory */
    struct savepoint *begun; /* of the handles that rapyer_begin gave */
    rapyer_value *results;
};

/* ---- its life ---- */

struct pipeline *pipeline_ref(struct pipeline *p)
{
    if (p)
        p->refs++;
    return p;
}

static void settle(struct batch *b, bool done)
{
    for (size_t i = 0; i < b->n; i++) {
        struct gathered *g = &b->all[i];
        moves_hold(&g->moves, false);
        if (g->saves)
            g->home->in_flight = false;
        char *key = done && g->saves ? home_future_key(g->home) : NULL;
        if (key)
            home_goes_live(g->home, key);
        if (done)
            moves_done(&g->moves, g->home);
        else
            moves_free(&g->moves);
        home_unref(g->home);
    }
    b->n = 0;
}

static const struct savepoint beginning;

static void mark_here(const struct pipeline *p, struct savepoint *s)
{
    s->n = p->batch.n;
    s->nversions = p->nversions;
    s->versions_len = p->versions.len;
}

/* Drops what was gathered since. Blocks that began later begin here now. */
static void cut_back(struct pipeline *p, const struct savepoint *to)
{
    struct savepoint *s;
    if (to->n < p->batch.n) {
        struct batch tail = {p->batch.all + to->n, p->batch.n - to->n};
        p->ops.len = tail.all[0].start;
        settle(&tail, false);
        p->batch.n = to->n;
    }
    p->versions.len = to->versions_len;
    p->nversions = to->nversions;
    if (p->spoiled_at >= to->n)
        p->spoiled = false;
    DL_FOREACH (p->begun, s) {
        if (s->n > p->batch.n || s->nversions > p->nversions)
            mark_here(p, s);
    }
}

void pipeline_unref(struct pipeline *p)
{
    if (!p || --p->refs)
        return;
    cut_back(p, &beginning);
    buf_free(&p->ops);
    buf_free(&p->versions);
    free(p->batch.all);
    rapyer_value_free(p->results);
    db_unref(p->db);
    free(p);
}

void pipeline_leave(struct pipeline *p, struct savepoint *from)
{
    if (p && from->begins) {
        if (!from->joined)
            cut_back(p, from);
        p->over |= !from->inner;
        DL_DELETE(p->begun, from);
    }
    pipeline_unref(p);
}

static struct pipeline *pipeline_new(rapyer *db)
{
    struct pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        db_no_memory(db);
        return NULL;
    }
    p->refs = 1;
    p->db = db_ref(db);
    return p;
}

/* ---- gathering ---- */

int pipeline_spoil(struct pipeline *p, const char *method)
{
    const char *text = strchr(p->db->message, ':');
    if (p->spoiled)
        return -1;
    p->spoiled = true;
    p->spoiled_at = p->batch.n;
    p->why.code = FAULT_NONE;
    if (p->db->code != RAPYER_NO_MEMORY)
        fault_set(&p->why, (enum fault_code)p->db->code, "operation %zu (%s): %s", p->batch.n,
                  method, text ? text + 2 : "");
    return -1;
}

static struct gathered *next_place(struct pipeline *p)
{
    if (p->batch.n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        struct gathered *more = reallocarray(p->batch.all, cap, sizeof *more);
        if (!more)
            return NULL;
        p->batch.all = more;
        p->cap = cap;
    }
    return &p->batch.all[p->batch.n];
}

static rapyer_value *null_value(void)
{
    rapyer_value *v = calloc(1, sizeof *v);
    if (v)
        v->tag = TAG_VALUE | RAPYER_NULL;
    return v;
}

int pipeline_add(struct pipeline *p, const char *method, uint32_t nparams, const struct buf *params,
                 struct home *home, bool saves, struct moves *moves, rapyer_value **out)
{
    struct gathered *g = next_place(p);
    size_t start = p->ops.len;
    if (p->over)
        return db_failf(p->db, FAULT_BAD_REQUEST,
                        "the pipeline is over: the handle that rapyer_begin gave was freed");
    if (out && !(*out = null_value()))
        return db_no_memory(p->db);
    pack_array(&p->ops, 1 + nparams);
    pack_cstr(&p->ops, method);
    buf_append(&p->ops, params->data, params->len);
    if (!g || p->ops.failed || params->failed) {
        p->ops.len = start;
        p->ops.failed = false;
        db_no_memory(p->db);
        return pipeline_spoil(p, method);
    }
    *g = (struct gathered){.start = start, .home = home_ref(home), .saves = saves};
    if (moves) {
        g->moves = *moves;
        *moves = (struct moves){0};
    }
    moves_hold(&g->moves, true);
    home->in_flight |= saves;
    p->batch.n++;
    return 0;
}

/* ---- handles ---- */

static rapyer_doc *gathering_handle(rapyer_doc *at, struct pipeline *p)
{
    rapyer_doc *handle = handle_new(home_ref(at->home), at->path);
    if (handle)
        handle->pipeline = p;
    else
        pipeline_unref(p);
    return handle;
}

rapyer_doc *rapyer_begin(rapyer_doc *at)
{
    struct pipeline *p = NULL;
    if (at)
        p = at->pipeline ? pipeline_ref(at->pipeline) : pipeline_new(at->home->db);
    rapyer_doc *handle = p ? gathering_handle(at, p) : NULL;
    if (!handle)
        return NULL;
    handle->savepoint = (struct savepoint){.begins = true, .inner = at->pipeline != NULL};
    mark_here(p, &handle->savepoint);
    DL_APPEND(p->begun, &handle->savepoint);
    return handle;
}

rapyer_doc *rapyer_join(rapyer_doc *at, rapyer_doc *doc)
{
    if (!at || !doc)
        return NULL;
    if (!at->pipeline || at->home->db != doc->home->db) {
        db_failf(at->home->db, FAULT_BAD_VALUE,
                 at->pipeline ? "the document belongs to another connection than the pipeline"
                              : "rapyer_join takes the handle that rapyer_begin gave first");
        return NULL;
    }
    return gathering_handle(doc, pipeline_ref(at->pipeline));
}

/* NULL with an error when it is not a handle of rapyer_begin. */
static struct pipeline *begun(rapyer_doc *at)
{
    if (at && at->savepoint.begins)
        return at->pipeline;
    if (at)
        db_failf(at->home->db, FAULT_BAD_VALUE, "this takes the handle that rapyer_begin gave");
    return NULL;
}

void rapyer_abort(rapyer_doc *at)
{
    struct pipeline *p = begun(at);
    if (p && !at->savepoint.joined)
        cut_back(p, &at->savepoint);
}

const rapyer_value *rapyer_results(rapyer_doc *at)
{
    return at && at->pipeline ? at->pipeline->results : NULL;
}

int rapyer_if_version(rapyer_doc *at, int64_t version)
{
    if (!at)
        return -1;
    struct pipeline *p = at->pipeline;
    char *future = handle_is_whole(at) ? home_future_key(at->home) : NULL;
    const char *key = future ? future : rapyer_key(at);
    if (!p || !key) {
        free(future);
        return db_failf(at->home->db, FAULT_BAD_VALUE,
                        "rapyer_if_version takes a handle on a document in a pipeline");
    }
    size_t before = p->versions.len;
    pack_cstr(&p->versions, key);
    pack_int(&p->versions, version);
    free(future);
    if (p->versions.failed) {
        p->versions.len = before;
        p->versions.failed = false;
        db_no_memory(p->db);
        return pipeline_spoil(p, "rapyer_if_version");
    }
    p->nversions++;
    return 0;
}

/* ---- commit ---- */

/* Packs the request, and takes what it is about off the pipeline. */
static uint32_t take(struct pipeline *p, struct buf *params, struct batch *b)
{
    uint32_t nparams = 1;
    pack_array(params, (uint32_t)p->batch.n);
    buf_append(params, p->ops.data, p->ops.len);
    if (p->nversions) {
        nparams = 2;
        pack_map(params, 1);
        pack_cstr(params, "if_version");
        pack_map(params, p->nversions);
        buf_append(params, p->versions.data, p->versions.len);
    }
    *b = p->batch;
    p->batch = (struct batch){0};
    p->cap = 0;
    buf_clear(&p->ops);
    cut_back(p, &beginning);
    return nparams;
}

static int refuse_spoiled(struct pipeline *p)
{
    if (p->why.code)
        db_fail(p->db, &p->why);
    else
        db_no_memory(p->db);
    return -1;
}

/* 1: the commit is over, with 0 or -1 in *rc; 0: there is something to send. */
static int settled_here(rapyer_doc *at, int *rc)
{
    struct pipeline *p = begun(at);
    *rc = -1;
    if (!p)
        return 1;
    if (p->spoiled) {
        refuse_spoiled(p);
        if (!at->savepoint.inner)
            cut_back(p, &beginning);
        return 1;
    }
    *rc = 0;
    if (at->savepoint.inner) {
        at->savepoint.joined = true;
        return 1;
    }
    rapyer_value_free(p->results);
    p->results = NULL;
    return p->batch.n == 0 && p->nversions == 0;
}

int rapyer_commit(rapyer_doc *at)
{
    struct buf params = BUF_INIT;
    struct batch b;
    int rc;
    if (settled_here(at, &rc))
        return rc;
    struct pipeline *p = pipeline_ref(at->pipeline);
    uint32_t nparams = take(p, &params, &b);
    p->results = request_wait(p->db, "pipeline", nparams, &params);
    rc = p->results ? 0 : -1;
    settle(&b, rc == 0);
    free(b.all);
    buf_free(&params);
    pipeline_unref(p);
    return rc;
}

static void land(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                 const struct fault *f)
{
    struct batch *b = rq->arg;
    (void)how;
    settle(b, *result != NULL);
    if (!*result)
        db_fail(db, f);
    if (rq->cb)
        rq->cb(db, *result, rq->user);
    free(b->all);
    free(b);
}

static const rapyer_value nothing = {.tag = TAG_VALUE | RAPYER_NULL};

int rapyer_send_commit(rapyer_doc *at, rapyer_callback *cb, void *user)
{
    struct buf params = BUF_INIT;
    int rc;
    if (settled_here(at, &rc)) {
        if (rc == 0 && cb)
            cb(at->home->db, &nothing, user);
        return rc;
    }
    struct pipeline *p = at->pipeline;
    struct batch *b = calloc(1, sizeof *b);
    struct request *rq = calloc(1, sizeof *rq);
    if (!b || !rq) {
        free(b);
        free(rq);
        return db_no_memory(p->db);
    }
    *rq = (struct request){.done = land, .cb = cb, .user = user, .arg = b};
    uint32_t nparams = take(p, &params, b);
    rc = request_send(p->db, rq, "pipeline", nparams, &params);
    if (rc < 0) {
        settle(b, false);
        free(b->all);
        free(b);
    }
    buf_free(&params);
    return rc;
}
