/* cascade: doc.ttl with what the document refers to, and what that refers to, and so on.
 *
 *   doc.ttl ──► references in it ──► all of those at once ──► ... ──► one call that sets all the
 * ends
 *
 * All is read before anything is written: what is refused on the way has changed nothing. A
 * document that is reached again is looked into again only if more of a budget has come with that;
 * so circles end by themselves. Each gets the ttl of its own model, and the first one the seconds
 * that were given.
 */
#include "daemon/methods/cascade.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/methods/get_options.h"
#include "daemon/methods/methods.h"
#include "daemon/rules/rules.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define DEPTH_MAX 100000 /* as limits.max_resolve at most */

struct reached {
    UT_hash_handle hh;
    uint32_t budget;
    bool due;     /* to be looked into, with the next level */
    bool missing; /* it is not there, or nobody has declared its model */
    size_t len;
    char key[];
};

struct cascade {
    struct exec *exec;
    struct session *session; /* while a call of ours is on its way */
    uint64_t id;
    int64_t seconds;    /* for the first document; -1: its model's ttl */
    struct buf options; /* of the request, which is gone by then */
    struct cascade_options o;
    struct reached *all; /* in the order in which they were met */
    unsigned n;
};

/* ---- options ---- */

static int read_fields(struct cursor *in, struct cascade_options *o)
{
    const char *name;
    size_t len;
    if (cursor_array(in, &o->fields.n) < 0 || o->fields.n == 0)
        return -1;
    o->fields.names = *in;
    for (uint32_t i = 0; i < o->fields.n; i++)
        if (cursor_str(in, &name, &len) < 0)
            return -1;
    return 0;
}

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
    return cursor_map(&map, &n) == 0 ? read_plan(in, o) : read_fields(in, o);
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

static void forget(struct cascade *r)
{
    struct reached *s, *next;
    HASH_ITER (hh, r->all, s, next) {
        HASH_DEL(r->all, s);
        free(s);
    }
    buf_free(&r->options);
    free(r);
}

static void refuse(struct cascade *r, const struct fault *f)
{
    session_fault(r->session, r->id, f);
    forget(r);
}

static const struct model *model_of(const struct cascade *r, const char *key, size_t len)
{
    const char *colon = memchr(key, ':', len);
    return schema_model(exec_schema(r->exec), key, colon != NULL ? (size_t)(colon - key) : len);
}

/* Where no budget is left only a plan may go on; and of a document that is not to be written nobody
 * else would see whether it is there. */
static void reach(struct cascade *r, const char *key, size_t len, uint32_t budget)
{
    struct reached *s;
    struct fault none;
    HASH_FIND(hh, r->all, key, len, s);
    if (s != NULL && s->budget >= budget)
        return;
    if (s == NULL) {
        if (r->n > exec_config(r->exec)->max_resolve + 1)
            return; /* too many already */
        s = alloc_zeroed(1, sizeof(*s) + len);
        s->len = len;
        memcpy(s->key, key, len);
        HASH_ADD_KEYPTR(hh, r->all, s->key, s->len, s);
        s->missing = exec_check_key(r->exec, key, len, &none) < 0;
        r->n++;
    }
    s->budget = budget;
    const struct model *m = model_of(r, key, len);
    s->due = !s->missing && (budget > 0 || r->o.has_plan || m == NULL || m->ttl == 0);
}

struct onward {
    struct cascade *cascade;
    uint32_t budget;
};

static void refer(void *arg, const char *key, size_t len)
{
    const struct onward *to = arg;
    reach(to->cascade, key, len, to->budget);
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
        bool its = schema_model(exec_schema(r->exec), name, len) == m;
        for (; n > 0; n--) {
            struct ref_fields one = {in, 1, true};
            struct onward to = {.cascade = r};
            bool left;
            cursor_skip(&in);
            (void)read_budget(&in, &left, &to.budget);
            if (left && budget > 0)
                to.budget = budget - 1;
            if (its && (!left || budget > 0))
                refs_each(m, document, &one, refer, &to);
        }
    }
}

static void look_into(struct cascade *r, const struct reached *s, struct cursor document)
{
    const struct model *m = model_of(r, s->key, s->len);
    struct onward to = {r, s->budget - 1};
    if (m != NULL && r->o.has_plan)
        follow_plan(r, m, document, s->budget);
    else if (m != NULL && s->budget > 0)
        refs_each(m, document, &r->o.fields, refer, &to);
}

static int docs_of(struct call *c, struct fault *f)
{
    uint32_t n = 0;
    cursor_array(&c->request.params, &n);
    return params_docs(c, &c->request.params, n, f);
}

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
    HASH_ITER (hh, r->all, s, next)
        n += s->missing;
    for (unsigned i = 0; i < c->ndocs; i++)
        n += c->docs[i]->state == DOC_ABSENT;
    pack_array(out, n);
    HASH_ITER (hh, r->all, s, next)
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
    struct cascade *r = c->request.context;
    r->session = c->request.session;
    if (f != NULL) {
        refuse(r, f);
        return;
    }
    session_answer(r->session, r->id, out->data, out->len);
    forget(r);
}

static const struct method apply = {.name = "doc.ttl",
                                    .docs = docs_of,
                                    .run = apply_run,
                                    .finish = apply_finish,
                                    .needs = RIGHT_WRITE};

/* ---- one level: [[key, ...]] ---- */

static enum op_status level_run(struct call *c, struct buf *out)
{
    enum op_status all = OP_DONE;
    c->fresh_only = true;
    for (unsigned i = 0; i < c->ndocs; i++) {
        struct doc *d = c->docs[i];
        enum op_status st = call_known(c, d);
        if (st == OP_DONE)
            pack_str(out, d->key, d->key_len);
        if (st == OP_DONE && d->state == DOC_ABSENT)
            pack_nil(out);
        else if (st == OP_DONE)
            st = doc_pack(c, d, out);
        if (st == OP_REFUSED || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = st;
    }
    return all;
}

static void go_on(struct cascade *r);

static void level_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct cascade *r = c->request.context;
    r->session = c->request.session;
    if (f != NULL) {
        refuse(r, f);
        return;
    }
    struct cursor in = cursor_of(out->data, out->len);
    while (in.at < in.end) {
        const char *key = "";
        size_t len = 0;
        struct reached *s;
        (void)cursor_str(&in, &key, &len);
        HASH_FIND(hh, r->all, key, len, s);
        struct cursor document = in;
        if (cursor_nil(&document))
            s->missing = true;
        else
            look_into(r, s, document);
        cursor_skip(&in);
    }
    go_on(r);
}

static const struct method level = {
    .name = "doc.ttl", .docs = docs_of, .run = level_run, .finish = level_finish, .reads = true};

/* Packs the keys of those that are `due`, or of all that get a time to live. */
static unsigned pack_keys(struct cascade *r, bool due, struct buf *out)
{
    struct reached *s, *next;
    unsigned n = 0;
    HASH_ITER (hh, r->all, s, next) {
        const struct model *m = model_of(r, s->key, s->len);
        bool first = s == r->all;
        if (due ? !s->due : s->missing || (!first && (m == NULL || m->ttl == 0)))
            continue;
        if (due)
            s->due = false;
        pack_str(out, s->key, s->len);
        n++;
    }
    return n;
}

static void go_on(struct cascade *r)
{
    struct fault f;
    struct buf keys = BUF_INIT, params = BUF_INIT;
    unsigned max = exec_config(r->exec)->max_resolve;
    if (r->n > max + 1) {
        fault_set(&f, FAULT_TOO_LARGE,
                  "it refers to more than %u documents (limits.max_resolve), and none of them was "
                  "changed; ask for less depth, or for single fields",
                  max);
        refuse(r, &f);
        return;
    }
    unsigned n = pack_keys(r, true, &keys);
    const struct method *next = n > 0 ? &level : &apply;
    if (n == 0)
        n = pack_keys(r, false, &keys);
    pack_array(&params, n);
    buf_append(&params, keys.data, keys.len);
    exec_call(r->exec, next, r->session, r->id, cursor_of(params.data, params.len), 1, r);
    buf_free(&keys);
    buf_free(&params);
}

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
    const struct doc *d = call_doc_at(c, 0);
    struct fault none;
    if (f != NULL) {
        session_fault(c->request.session, c->request.id, f);
        return;
    }
    struct cascade *r = alloc_zeroed(1, sizeof(*r));
    r->exec = c->exec;
    r->session = c->request.session;
    r->id = c->request.id;
    r->seconds = -1;
    cursor_skip(&params);
    if (!cursor_nil(&params))
        (void)cursor_int(&params, &r->seconds);
    buf_append(&r->options, params.at, (size_t)(params.end - params.at));
    struct cursor options = cursor_of(r->options.data, r->options.len);
    (void)cascade_options(&options, &r->o, &none); /* it has been read before */
    reach(r, d->key, d->key_len, r->o.depth);
    r->all->due = false;
    look_into(r, r->all, cursor_of(out->data, out->len));
    go_on(r);
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
