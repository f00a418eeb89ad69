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
    struct hold *lock; /* a reference, or NULL */
    struct moves moves;
};

/* What one commit is about. */
struct batch {
    struct gathered *all;
    size_t n;
    struct hold **locks; /* references: under which it is done; each token once */
    size_t nlocks;
    bool unlocks; /* and which it releases */
};

struct pipeline {
    unsigned refs;
    rapyer *db;
    bool over;         /* the handle that began it is gone */
    struct hold *lock; /* a reference: the one it was begun under, or NULL */
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
        hold_unref(g->lock);
        home_unref(g->home);
    }
    b->n = 0;
}

static void count_flight(struct batch *b, int n)
{
    for (size_t i = 0; i < b->nlocks; i++)
        b->locks[i]->flights += (unsigned)n;
}

/* The end of a batch that was to be sent. f: NULL when it was done. */
static void finish(struct batch *b, const struct fault *f)
{
    for (size_t i = 0; i < b->nlocks; i++) {
        if (b->unlocks)
            hold_settle(b->locks[i], f, b->nlocks == 1);
        else if (f && b->nlocks == 1)
            hold_failed(b->locks[i], f);
    }
    settle(b, f == NULL);
    for (size_t i = 0; i < b->nlocks; i++)
        hold_unref(b->locks[i]);
    free(b->locks);
    free(b->all);
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
        struct batch tail = {.all = p->batch.all + to->n, .n = p->batch.n - to->n};
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
    hold_unref(p->lock);
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
                 struct home *home, bool saves, struct hold *lock, struct moves *moves,
                 rapyer_value **out)
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
    *g = (struct gathered){
        .start = start, .home = home_ref(home), .saves = saves, .lock = hold_ref(lock)};
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

static rapyer_doc *gathering_handle(rapyer_doc *at, struct pipeline *p, struct hold *lock)
{
    rapyer_doc *handle = handle_new(home_ref(at->home), at->path);
    if (!handle) {
        pipeline_unref(p);
        return NULL;
    }
    handle->pipeline = p;
    handle->lock = hold_ref(lock);
    return handle;
}

rapyer_doc *rapyer_begin(rapyer_doc *at)
{
    struct pipeline *p = NULL;
    if (at)
        p = at->pipeline ? pipeline_ref(at->pipeline) : pipeline_new(at->home->db);
    if (p && !at->pipeline)
        p->lock = hold_ref(at->lock);
    rapyer_doc *handle = p ? gathering_handle(at, p, at->lock) : NULL;
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
    return gathering_handle(doc, pipeline_ref(at->pipeline), doc->lock ? doc->lock : at->lock);
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

static int add_lock(struct batch *b, struct hold *lock)
{
    for (size_t i = b->nlocks; lock && i > 0; i--) {
        if (b->locks[i - 1]->token == lock->token &&
            b->locks[i - 1]->connection == lock->connection)
            return 0;
    }
    if (!lock)
        return 0;
    struct hold **more = reallocarray(b->locks, b->nlocks + 1, sizeof *more);
    if (!more)
        return db_no_memory(lock->db);
    b->locks = more;
    b->locks[b->nlocks++] = hold_ref(lock);
    return 0;
}

/* The locks that the pipeline and its operations are under, each of which must be held. */
static int add_locks(struct batch *b, struct hold *first)
{
    int rc = add_lock(b, first);
    for (size_t i = 0; rc == 0 && i < b->n; i++)
        rc = add_lock(b, b->all[i].lock);
    for (size_t i = 0; rc == 0 && i < b->nlocks; i++)
        rc = hold_check(b->locks[i]);
    for (size_t i = 0; rc == 0 && b->unlocks && i < b->nlocks; i++)
        b->locks[i]->state = HOLD_RELEASING;
    if (rc < 0)
        b->unlocks = false;
    return rc;
}

static void pack_tokens(const struct batch *b, struct buf *params)
{
    pack_array(params, (uint32_t)b->nlocks);
    for (size_t i = 0; i < b->nlocks; i++)
        pack_int(params, b->locks[i]->token);
}

/* pipeline [ops, {if_version?, lock?}?], or lock.release [tokens, ops, {if_version?}?] */
static uint32_t pack_commit(const struct pipeline *p, const struct batch *b, struct buf *params)
{
    bool guarded = b->nlocks && !b->unlocks;
    uint32_t options = (p->nversions > 0) + guarded;
    if (b->unlocks)
        pack_tokens(b, params);
    pack_array(params, (uint32_t)b->n);
    buf_append(params, p->ops.data, p->ops.len);
    if (options)
        pack_map(params, options);
    if (p->nversions) {
        pack_cstr(params, "if_version");
        pack_map(params, p->nversions);
        buf_append(params, p->versions.data, p->versions.len);
    }
    if (guarded) {
        pack_cstr(params, "lock");
        pack_tokens(b, params);
    }
    return 1u + b->unlocks + (options > 0);
}

/* Packs the request, and takes what it is about off the pipeline. -1: it cannot be sent; finish
 * the batch in any case. */
static int take(struct pipeline *p, bool unlock, struct buf *params, uint32_t *nparams,
                struct batch *b)
{
    *b = p->batch;
    b->unlocks = unlock;
    int rc = add_locks(b, p->lock);
    if (rc == 0)
        *nparams = pack_commit(p, b, params);
    p->batch = (struct batch){0};
    p->cap = 0;
    buf_clear(&p->ops);
    cut_back(p, &beginning);
    return rc;
}

static struct terms terms_of(const struct batch *b)
{
    return (struct terms){.connection = b->nlocks ? b->locks[0]->connection : 0};
}

static const char *method_of(const struct batch *b)
{
    return b->unlocks ? "lock.release" : "pipeline";
}

static int refuse_spoiled(struct pipeline *p)
{
    if (p->why.code)
        db_fail(p->db, &p->why);
    else
        db_no_memory(p->db);
    return -1;
}

/* What an unlock cannot be done with; the pipeline stays as it is. */
static int refuse_unlock(const rapyer_doc *at, const struct pipeline *p)
{
    int rc = 0;
    if (at->savepoint.inner)
        return db_failf(p->db, FAULT_BAD_VALUE,
                        "an inner block cannot be unlocked: rapyer_commit it, and unlock the "
                        "handle that began the pipeline");
    if (!p->lock)
        return db_failf(p->db, FAULT_BAD_VALUE, "the pipeline was not begun under a lock");
    if (p->lock->flights)
        rc = hold_check_release(p->lock);
    for (size_t i = 0; rc == 0 && i < p->batch.n; i++) {
        if (p->batch.all[i].lock && p->batch.all[i].lock->flights)
            rc = hold_check_release(p->batch.all[i].lock);
    }
    return rc;
}

/* 1: the commit is over, with 0 or -1 in *rc; 0: there is something to send. */
static int settled_here(rapyer_doc *at, bool unlock, int *rc)
{
    struct pipeline *p = begun(at);
    *rc = -1;
    if (!p || (unlock && refuse_unlock(at, p) < 0))
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
    return !unlock && p->batch.n == 0 && p->nversions == 0;
}

int pipeline_commit(rapyer_doc *at, bool unlock)
{
    struct buf params = BUF_INIT;
    struct batch b;
    struct fault f;
    uint32_t nparams;
    int rc;
    if (settled_here(at, unlock, &rc))
        return rc;
    struct pipeline *p = pipeline_ref(at->pipeline);
    if (take(p, unlock, &params, &nparams, &b) == 0) {
        struct terms terms = terms_of(&b);
        p->results = request_wait_on(p->db, &terms, method_of(&b), nparams, &params, NULL);
    }
    rc = p->results ? 0 : -1;
    if (rc < 0)
        db_fault(p->db, &f);
    finish(&b, rc < 0 ? &f : NULL);
    buf_free(&params);
    pipeline_unref(p);
    return rc;
}

int rapyer_commit(rapyer_doc *at)
{
    return pipeline_commit(at, false);
}

static void land(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                 const struct fault *f)
{
    static const struct fault none;
    struct batch *b = rq->arg;
    (void)how;
    count_flight(b, -1);
    finish(b, *result ? NULL : f ? f : &none);
    if (!*result)
        db_fail(db, f);
    if (rq->cb)
        rq->cb(db, *result, rq->user);
    free(b);
}

static const rapyer_value nothing = {.tag = TAG_VALUE | RAPYER_NULL};

int pipeline_send_commit(rapyer_doc *at, bool unlock, rapyer_callback *cb, void *user)
{
    struct buf params = BUF_INIT;
    struct fault f;
    uint32_t nparams;
    int rc;
    if (settled_here(at, unlock, &rc)) {
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
    rc = take(p, unlock, &params, &nparams, b);
    rq->terms = terms_of(b);
    if (rc == 0)
        rc = request_send(p->db, rq, method_of(b), nparams, &params);
    else
        free(rq);
    if (rc == 0)
        count_flight(b, 1);
    if (rc < 0) {
        db_fault(p->db, &f);
        finish(b, &f);
        free(b);
    }
    buf_free(&params);
    return rc;
}

int rapyer_send_commit(rapyer_doc *at, rapyer_callback *cb, void *user)
{
    return pipeline_send_commit(at, false, cb, user);
}
