/* cascade: doc.ttl with what the document refers to, and what that refers to, and so on.
 *
 *   doc.ttl ──► all that it leads to (graph) ──► one call that sets all the ends
 *
 * All is read before anything is written: what is refused on the way has changed nothing. Each gets
 * the ttl of its own model, and the first one the seconds that were given.
 */
#include "daemon/methods/cascade.h"
#include "daemon/base/clock.h"
#include "daemon/methods/graph.h"
#include "daemon/methods/methods.h"
#include "daemon/rules/rules.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define DEPTH_MAX 100000 /* as limits.max_resolve at most */

struct cascade {
    struct graph graph;
    int64_t seconds;    /* for the first document; -1: its model's ttl */
    struct buf options; /* of the request, which is gone by then */
    struct cascade_options o;
};

/* ---- options ---- */

static int read_budget(struct cursor *in, bool *left, uint32_t *budget)
{
    int64_t n = 0;
    *left = cursor_nil(in);
    if (!*left && (cursor_int(in, &n) < 0 || n < 0 || n > DEPTH_MAX))
        return -1;
    *budget = (uint32_t)n;
    return 0;
}

static int read_plan(struct cursor *in, struct cascade_options *o)
{
    const char *name;
    size_t len;
    uint32_t n, budget;
    bool left;
    if (cursor_map(in, &o->nmodels) < 0)
        return -1;
    o->has_plan = true;
    o->plan = *in;
    for (uint32_t i = 0; i < o->nmodels; i++) {
        if (cursor_str(in, &name, &len) < 0 || cursor_map(in, &n) < 0)
            return -1;
        for (; n > 0; n--)
            if (cursor_str(in, &name, &len) < 0 || read_budget(in, &left, &budget) < 0)
                return -1;
    }
    return 0;
}

static int read_cascade(struct cursor *in, struct cascade_options *o)
{
    if (cursor_bool(in, &o->cascade) == 0)
        return 0;
    struct cursor map = *in;
    uint32_t n;
    o->cascade = true;
    return cursor_map(&map, &n) == 0 ? read_plan(in, o) : ref_fields_read(in, &o->fields);
}

int cascade_options(struct cursor *in, struct cascade_options *o, struct fault *f)
{
    uint32_t n;
    int64_t depth = 0;
    *o = (struct cascade_options){.depth = DEPTH_MAX};
    if (cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "the options of doc.ttl are a map {cascade?, depth?}");
    for (; n > 0; n--) {
        const char *name;
        size_t len;
        if (params_str(in, "an option's name", &name, &len, f) < 0)
            return -1;
        if (len == 7 && memcmp(name, "cascade", 7) == 0) {
            if (read_cascade(in, o) < 0)
                return fault_set(f, FAULT_BAD_REQUEST,
                                 "cascade is true, a list of fields, or a map {model: {field: "
                                 "depth}} with depths from 0 to %d, or nil",
                                 DEPTH_MAX);
        } else if (len == 5 && memcmp(name, "depth", 5) == 0) {
            if (cursor_int(in, &depth) < 0 || depth < 1 || depth > DEPTH_MAX)
                return fault_set(f, FAULT_BAD_REQUEST, "depth is an int from 1 to %d", DEPTH_MAX);
            o->depth = (uint32_t)depth;
        } else {
            return fault_set(f, FAULT_BAD_REQUEST,
                             "there is no option '%.*s'; there are cascade and depth",
                             (int)(len < 100 ? len : 100), name);
        }
    }
    return depth > 0 && !o->cascade ? fault_set(f, FAULT_BAD_REQUEST, "depth goes with cascade")
                                    : 0;
}

static int check_plan(const struct call *c, const struct cascade_options *o, struct fault *f)
{
    struct schema *s = exec_schema(c->exec);
    struct cursor in = o->plan;
    for (uint32_t i = 0; i < o->nmodels; i++) {
        const char *name = "";
        size_t len = 0;
        uint32_t n = 0;
        (void)cursor_str(&in, &name, &len);
        (void)cursor_map(&in, &n);
        const struct model *m = schema_model(s, name, len);
        if (m == NULL)
            return fault_set(f, FAULT_UNKNOWN_MODEL,
                             "cascade names the model '%.*s', which nobody has declared",
                             (int)(len < 100 ? len : 100), name);
        for (; n > 0; n--) {
            struct ref_fields one = {in, 1, true};
            if (refs_check(s, m, &one, 1, f) < 0)
                return -1;
            cursor_skip(&in);
            cursor_skip(&in);
        }
    }
    return 0;
}

/* ---- what is reached ---- */

static void forget(struct graph *g)
{
    struct cascade *r = (struct cascade *)g;
    graph_clear(g);
    buf_free(&r->options);
    free(r);
}

/* Where no budget is left only a plan may go on; and of a document that is not to be written nobody
 * else would see whether it is there. */
static bool wants(const struct graph *g, const struct reached *s)
{
    const struct cascade *r = (const struct cascade *)g;
    const struct model *m = graph_model(g, s);
    return s->budget > 0 || r->o.has_plan || m == NULL || m->ttl == 0;
}

/* By the fields that the plan names for its model. */
static void follow_plan(struct cascade *r, const struct model *m, struct cursor document,
                        uint32_t budget)
{
    struct cursor in = r->o.plan;
    for (uint32_t i = 0; i < r->o.nmodels; i++) {
        const char *name = "";
        size_t len = 0;
        uint32_t n = 0;
        (void)cursor_str(&in, &name, &len);
        (void)cursor_map(&in, &n);
        bool its = schema_model(exec_schema(r->graph.exec), name, len) == m;
        for (; n > 0; n--) {
            struct ref_fields one = {in, 1, true};
            uint32_t to;
            bool left;
            cursor_skip(&in);
            (void)read_budget(&in, &left, &to);
            if (left && budget > 0)
                to = budget - 1;
            if (its && (!left || budget > 0))
                graph_refer(&r->graph, m, document, &one, to);
        }
    }
}

static int read_one(struct graph *g, const struct reached *s, struct cursor document,
                    struct fault *f)
{
    struct cascade *r = (struct cascade *)g;
    const struct model *m = graph_model(g, s);
    (void)f;
    if (m != NULL && r->o.has_plan)
        follow_plan(r, m, document, s->budget);
    else if (m != NULL && s->budget > 0)
        graph_refer(g, m, document, &r->o.fields, s->budget - 1);
    return 0;
}

static const struct method level = {.name = "doc.ttl",
                                    .docs = params_keys,
                                    .run = graph_read,
                                    .finish = graph_finish,
                                    .reads = true};

/* ---- the end: [[key, ...]], the first one is the one that was asked for ---- */

/* What its time to live becomes; -1: it is left as it is. */
static int64_t seconds_of(const struct cascade *r, const struct call *c, const struct doc *d)
{
    if (d == c->docs[0] && r->seconds >= 0)
        return r->seconds;
    return d->model->ttl > 0 ? d->model->ttl : -1;
}

static void answer(const struct cascade *r, struct call *c, struct buf *out)
{
    const struct reached *s, *next;
    uint32_t n = 0;
    pack_map(out, 2);
    pack_cstr(out, "ttl");
    size_t map = pack_map_open(out);
    for (unsigned i = 0; i < c->ndocs; i++) {
        struct doc *d = c->docs[i];
        if (d->state == DOC_ABSENT || seconds_of(r, c, d) < 0)
            continue;
        pack_str(out, d->key, d->key_len);
        pack_int(out, seconds_of(r, c, d));
        n++;
    }
    pack_map_close(out, map, n);
    pack_cstr(out, "missing");
    n = 0;
    HASH_ITER (hh, r->graph.all, s, next)
        n += s->missing;
    for (unsigned i = 0; i < c->ndocs; i++)
        n += c->docs[i]->state == DOC_ABSENT;
    pack_array(out, n);
    HASH_ITER (hh, r->graph.all, s, next)
        if (s->missing)
            pack_str(out, s->key, s->len);
    for (unsigned i = 0; i < c->ndocs; i++)
        if (c->docs[i]->state == DOC_ABSENT)
            pack_str(out, c->docs[i]->key, c->docs[i]->key_len);
}

static enum op_status apply_run(struct call *c, struct buf *out)
{
    const struct cascade *r = c->request.context;
    int64_t now = clock_wall_ms();
    enum op_status all = OP_DONE;
    c->fresh_only = true;
    for (unsigned i = 0; i < c->ndocs; i++) {
        enum op_status st = i == 0 ? call_present(c, c->docs[i]) : call_known(c, c->docs[i]);
        if (st == OP_DONE && c->docs[i]->state == DOC_PRESENT)
            st = doc_keys_known(c, c->docs[i]);
        if (st == OP_REFUSED)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = st;
    }
    if (all != OP_DONE)
        return all;
    answer(r, c, out);
    if (call_admit(c) < 0 || call_room(c, out) < 0)
        return OP_REFUSED;
    for (unsigned i = 0; i < c->ndocs; i++)
        if (c->docs[i]->state == DOC_PRESENT && doc_whole_check(c, c->docs[i]) < 0)
            return OP_REFUSED;
    for (unsigned i = 0; i < c->ndocs; i++) {
        struct doc *d = c->docs[i];
        int64_t seconds = seconds_of(r, c, d);
        if (d->state == DOC_PRESENT && seconds >= 0)
            doc_expire_at(c, d, seconds == 0 ? 0 : now + seconds * 1000);
    }
    return OP_DONE;
}

static void apply_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct graph *g = c->request.context;
    g->session = c->request.session;
    if (f != NULL) {
        graph_refuse(g, f);
        return;
    }
    session_answer(g->session, g->id, out->data, out->len);
    forget(g);
}

static const struct method apply = {.name = "doc.ttl",
                                    .docs = params_keys,
                                    .run = apply_run,
                                    .finish = apply_finish,
                                    .needs = RIGHT_WRITE};

/* All that get a time to live, the first one in any case. */
static void set_ends(struct graph *g)
{
    const struct reached *s, *next;
    struct buf params = BUF_INIT;
    uint32_t n = 0;
    size_t array = pack_array_open(&params);
    HASH_ITER (hh, g->all, s, next) {
        const struct model *m = graph_model(g, s);
        if (s->missing || (s != g->all && (m == NULL || m->ttl == 0)))
            continue;
        pack_str(&params, s->key, s->len);
        n++;
    }
    pack_array_close(&params, array, n);
    exec_call(g->exec, &apply, g->session, g->id, cursor_of(params.data, params.len), 1, g);
    buf_free(&params);
}

static const struct graph_use use = {
    .level = &level,
    .too_many = ", and none of them was changed; ask for less depth, or for single fields",
    .wants = wants,
    .read = read_one,
    .end = set_ends,
    .forget = forget};

/* ---- the document that was asked for ---- */

static int first_docs(struct call *c, struct fault *f)
{
    c->needs = RIGHT_READ | RIGHT_WRITE;
    return params_doc(c, f);
}

static enum op_status first_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    c->fresh_only = true;
    enum op_status st = call_present(c, d);
    return st == OP_DONE ? doc_pack(c, d, out) : st;
}

static void first_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct cursor params = c->request.params;
    struct fault none;
    if (f != NULL) {
        session_fault(c->request.session, c->request.id, f);
        return;
    }
    struct cascade *r = alloc_zeroed(1, sizeof(*r));
    r->seconds = -1;
    cursor_skip(&params);
    if (!cursor_nil(&params))
        (void)cursor_int(&params, &r->seconds);
    buf_append(&r->options, params.at, (size_t)(params.end - params.at));
    struct cursor options = cursor_of(r->options.data, r->options.len);
    (void)cascade_options(&options, &r->o, &none); /* it has been read before */
    graph_begin(&r->graph, &use, c, r->o.depth, out);
}

static const struct method first = {
    .name = "doc.ttl", .docs = first_docs, .run = first_run, .finish = first_finish, .reads = true};

int cascade_admit(struct call *c, const struct cascade_options *o, struct fault *f)
{
    c->request.method = &first;
    if (o->has_plan)
        return check_plan(c, o, f);
    return refs_check(exec_schema(c->exec), c->docs[0]->model, &o->fields, o->depth, f);
}
