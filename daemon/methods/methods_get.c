/* methods_get: whole documents, or places in them, read. */
#include "daemon/base/clock.h"
#include "daemon/methods/get_options.h"
#include "daemon/methods/methods.h"
#include "daemon/rules/rules.h"
#include <string.h>

#define DEPTH_MAX 32

/* true: all references; or the fields that hold them. */
static int read_resolve(struct cursor *in, struct get_options *o)
{
    if (cursor_bool(in, &o->resolve) == 0)
        return 0;
    o->resolve = true;
    return ref_fields_read(in, &o->refs);
}

static int read_depth(struct cursor *in, struct get_options *o)
{
    int64_t depth;
    if (cursor_int(in, &depth) < 0 || depth < 1 || depth > DEPTH_MAX)
        return -1;
    o->depth = (unsigned)depth;
    return 0;
}

static int check_resolve(const struct get_options *o, struct fault *f)
{
    if (o->resolve && o->has_paths)
        return fault_set(f, FAULT_BAD_REQUEST, "resolve goes with whole documents, not with paths");
    if (!o->resolve && o->depth > 0)
        return fault_set(f, FAULT_BAD_REQUEST, "depth goes with resolve");
    if (o->resolve && o->touch)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "touch does not go with resolve; doc.ttl has cascade for what a document "
                         "refers to");
    return 0;
}

int get_options(struct cursor *in, bool present, struct get_options *o, struct fault *f)
{
    uint32_t n;
    *o = (struct get_options){0};
    if (!present || cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(
            f, FAULT_BAD_REQUEST,
            "the options should be a map {paths?, fresh?, version?, touch?, resolve?, depth?}");
    for (uint32_t i = 0; i < n; i++) {
        const char *name;
        size_t len;
        int rc = -1;
        if (params_str(in, "an option's name", &name, &len, f) < 0)
            return -1;
        if (len == 5 && memcmp(name, "fresh", 5) == 0) {
            rc = cursor_bool(in, &o->fresh);
        } else if (len == 7 && memcmp(name, "version", 7) == 0) {
            rc = cursor_bool(in, &o->version);
        } else if (len == 5 && memcmp(name, "touch", 5) == 0) {
            rc = cursor_bool(in, &o->touch);
        } else if (len == 5 && memcmp(name, "paths", 5) == 0) {
            rc = cursor_array(in, &o->npaths);
            o->has_paths = true;
            o->paths = *in;
            for (uint32_t j = 0; rc == 0 && j < o->npaths; j++) {
                const char *path;
                rc = cursor_str(in, &path, &len);
            }
        } else if (len == 7 && memcmp(name, "resolve", 7) == 0) {
            rc = read_resolve(in, o);
        } else if (len == 5 && memcmp(name, "depth", 5) == 0) {
            rc = read_depth(in, o);
        } else {
            return fault_set(f, FAULT_BAD_REQUEST,
                             "there is no option '%.*s'; there are paths, fresh, version, touch, "
                             "resolve and depth",
                             (int)(len < 100 ? len : 100), name);
        }
        if (rc < 0)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "option '%.*s' has the wrong type (fresh, version and touch are bool, "
                             "paths is a list of str, resolve true or a list of str, depth an int "
                             "from 1 to %d)",
                             (int)len, name, DEPTH_MAX);
    }
    return check_resolve(o, f);
}

/* What {version: true} adds to the map; how many pairs. */
static uint32_t pack_about(const struct call *c, const struct doc *d, struct buf *out)
{
    pack_cstr(out, "@v");
    pack_int(out, d->version);
    int64_t stale = call_stale_for(c, d);
    if (stale < 0)
        return 1;
    pack_cstr(out, "@stale");
    pack_int(out, stale);
    return 2;
}

/* path -> value; a path that leads to nothing (now) is left out, as an unset field is; one that
 * leads on from null, or to what an `any` does not hold now, gives nil. */
static enum op_status pack_paths(struct call *c, struct doc *d, const struct get_options *o,
                                 struct buf *out)
{
    struct cursor paths = o->paths;
    enum op_status all = OP_DONE;
    uint32_t n = 0;
    size_t map = pack_map_open(out);
    for (uint32_t i = 0; i < o->npaths; i++) {
        struct cursor path = paths;
        const char *s = "";
        size_t len = 0, before = out->len;
        cursor_str(&paths, &s, &len);
        pack_str(out, s, len);
        c->run.nothing = false;
        enum op_status st = run_op(c, d, OP_LOAD, &path, 1, NULL, out);
        if (st == OP_REFUSED && c->run.nothing) {
            pack_nil(out);
            c->fault.code = FAULT_NONE;
            st = OP_DONE;
        }
        if ((st == OP_REFUSED && c->fault.code != FAULT_NOT_FOUND) || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = st;
        if (st == OP_REFUSED)
            out->len = before;
        else
            n++;
    }
    if (all == OP_DONE && o->version)
        n += pack_about(c, d, out);
    pack_map_close(out, map, n);
    return all;
}

enum op_status doc_pack(struct call *c, struct doc *d, struct buf *out)
{
    struct needs needs = call_needs(c, d);
    size_t pk_len;
    const char *pk = doc_pk(d, &pk_len);
    record_pack(d->root, pk, pk_len, true, "", 0, &needs, out);
    if (work_check(&c->fault) < 0)
        return OP_REFUSED;
    return needs.count > 0 ? OP_NEEDS : OP_DONE;
}

void map_widen(struct buf *out, size_t at, uint32_t more)
{
    struct cursor in = cursor_of(out->data + at, out->len - at);
    struct buf head = BUF_INIT;
    uint32_t n = 0;
    cursor_map(&in, &n);
    size_t had = (size_t)(in.at - (out->data + at)), body = out->len - at - had;
    pack_map(&head, n + more);
    if (head.len > had && buf_grow(out, head.len - had))
        memmove(out->data + at + head.len, out->data + at + had, body);
    memcpy(out->data + at, head.data, head.len);
    out->len = at + head.len + body;
    buf_free(&head);
}

enum op_status get_pack(struct call *c, struct doc *d, const struct get_options *o, struct buf *out)
{
    if (o->has_paths)
        return pack_paths(c, d, o, out);
    size_t at = out->len;
    enum op_status st = doc_pack(c, d, out);
    if (st != OP_DONE || !o->version)
        return st;
    map_widen(out, at, pack_about(c, d, out));
    return OP_DONE;
}

enum op_status get_all(struct call *c, struct cursor keys, const struct get_options *o,
                       struct buf *out)
{
    enum op_status all = OP_DONE;
    uint32_t n = 0;
    cursor_array(&keys, &n);
    pack_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        struct doc *d = params_doc_again(c, &keys);
        enum op_status st = call_known(c, d);
        if (st == OP_DONE && d->state == DOC_ABSENT)
            pack_nil(out);
        else if (st == OP_DONE)
            st = get_pack(c, d, o, out);
        if (st == OP_REFUSED || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = st;
    }
    return all;
}

void get_fresh(struct call *c, bool fresh)
{
    if (!fresh)
        return;
    c->fresh_only = true;
    call_read_anew(c);
}

static const struct method doc_resolve, doc_get_touch, doc_get_many_touch;

/* The options stand behind the key or keys, but what they want is to be known first. */
static int options_ahead(struct call *c, struct get_options *o, const struct method *touching,
                         struct fault *f)
{
    struct cursor in = c->request.params;
    cursor_skip(&in);
    if (get_options(&in, c->request.nparams == 2, o, f) < 0)
        return -1;
    if (!o->touch)
        return 0;
    c->request.method = touching;
    c->needs = RIGHT_READ | RIGHT_WRITE;
    c->spares_unique = true;
    return 0;
}

static int get_docs(struct call *c, struct fault *f)
{
    struct get_options o;
    if (params_count(c, 1, 2, "[key, {paths?, fresh?, version?, touch?, resolve?, depth?}?]", f) <
            0 ||
        options_ahead(c, &o, &doc_get_touch, f) < 0 || params_doc(c, f) < 0)
        return -1;
    if (!o.resolve)
        return 0;
    c->request.method = &doc_resolve;
    return refs_check(exec_schema(c->exec), c->docs[0]->model, &o.refs, o.depth > 0 ? o.depth : 1,
                      f);
}

enum op_status doc_touch_all(struct call *c, const struct buf *out)
{
    int64_t now = clock_wall_ms();
    if (call_room(c, out) < 0)
        return OP_REFUSED;
    for (unsigned i = 0; i < c->ndocs; i++) {
        enum op_status st = OP_DONE;
        if (c->docs[i]->state == DOC_PRESENT)
            st = doc_may_touch(c, c->docs[i], now);
        if (st != OP_DONE)
            return st;
    }
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (c->docs[i]->state == DOC_PRESENT)
            doc_touch(c, c->docs[i], now);
    }
    return OP_DONE;
}

static enum op_status get_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    struct get_options o;
    cursor_skip(&c->request.params);
    get_options(&c->request.params, c->request.nparams == 2, &o, &c->fault);
    get_fresh(c, o.fresh);
    enum op_status st = call_present(c, d);
    if (st == OP_DONE)
        st = get_pack(c, d, &o, out);
    return st == OP_DONE && o.touch ? doc_touch_all(c, out) : st;
}

static int get_many_docs(struct call *c, struct fault *f)
{
    struct get_options o;
    struct cursor keys = c->request.params;
    uint32_t n;
    if (params_count(c, 1, 2, "[[key, ...], {paths?, fresh?, version?, touch?}?]", f) < 0)
        return -1;
    if (cursor_array(&keys, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "doc.get_many takes a list of keys first");
    if (options_ahead(c, &o, &doc_get_many_touch, f) < 0 || params_keys(c, f) < 0)
        return -1;
    return o.resolve ? fault_set(f, FAULT_BAD_REQUEST, "resolve is an option of doc.get") : 0;
}

static enum op_status get_many_run(struct call *c, struct buf *out)
{
    struct get_options o;
    struct cursor keys = c->request.params;
    cursor_skip(&c->request.params);
    get_options(&c->request.params, c->request.nparams == 2, &o, &c->fault);
    get_fresh(c, o.fresh);
    enum op_status st = get_all(c, keys, &o, out);
    return st == OP_DONE && o.touch ? doc_touch_all(c, out) : st;
}

static const struct method doc_resolve = {
    .name = "doc.get", .docs = get_docs, .run = get_run, .finish = resolve_begin, .reads = true};

/* They write, so what was true when the link was lost will not do. */
static const struct method doc_get_touch = {
    .name = "doc.get", .docs = get_docs, .run = get_run, .shows = true};
static const struct method doc_get_many_touch = {
    .name = "doc.get_many", .docs = get_many_docs, .run = get_many_run, .shows = true};

const struct method methods_get[] = {
    {.name = "doc.get", .docs = get_docs, .run = get_run, .reads = true},
    {.name = "doc.get_many", .docs = get_many_docs, .run = get_many_run, .reads = true},
    {.name = NULL},
};
