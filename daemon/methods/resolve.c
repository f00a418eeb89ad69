/* resolve: doc.get with what the document refers to, and what that refers to, and so on.
 *
 *   doc.get ──► references in it ──► all of those at once ──► references in them ──► ... ──► answer
 *
 * One call after the other, each about all documents of one level, so that a graph costs as many
 * round trips as it is deep. A document is read once, however many refer to it; so circles end by
 * themselves.
 */
#include "daemon/base/hash.h"
#include "daemon/methods/get_options.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include <stdlib.h>

struct seen {
    UT_hash_handle hh;
    size_t len;
    char key[];
};

struct resolving {
    struct exec *exec;
    struct session *session; /* while a call of ours is on its way */
    uint64_t id;
    bool fresh, version;
    unsigned depth;           /* levels that are still to come */
    struct buf names;         /* of the fields, */
    struct ref_fields fields; /* which look into them */
    struct seen *seen;
    unsigned nseen;      /* with the one that was asked for */
    struct buf document; /* that was asked for */
    struct buf found;    /* key, map or nil, key, ... */
    uint32_t nfound;
    struct buf keys; /* of the next level */
    uint32_t nkeys;
};

static void forget(struct resolving *r)
{
    struct seen *s, *next;
    HASH_ITER (hh, r->seen, s, next) {
        HASH_DEL(r->seen, s);
        free(s);
    }
    buf_free(&r->names);
    buf_free(&r->document);
    buf_free(&r->found);
    buf_free(&r->keys);
    free(r);
}

static bool see(struct resolving *r, const char *key, size_t len)
{
    struct seen *s;
    HASH_FIND(hh, r->seen, key, len, s);
    if (s != NULL)
        return false;
    s = alloc_zeroed(1, sizeof(*s) + len);
    s->len = len;
    memcpy(s->key, key, len);
    HASH_ADD_KEYPTR(hh, r->seen, s->key, s->len, s);
    r->nseen++;
    return true;
}

/* A reference: to be read next, or known not to be there, as nobody has declared its model. */
static void refer(void *arg, const char *key, size_t len)
{
    struct resolving *r = arg;
    struct fault none;
    if (r->nseen > exec_config(r->exec)->max_resolve + 1 || !see(r, key, len))
        return;
    bool known = exec_check_key(r->exec, key, len, &none) == 0;
    pack_str(known ? &r->keys : &r->found, key, len);
    if (!known)
        pack_nil(&r->found);
    r->nkeys += known;
    r->nfound += !known;
}

static void look_into(struct resolving *r, const char *key, size_t len, struct cursor document)
{
    const char *colon = memchr(key, ':', len);
    const struct model *m =
        schema_model(exec_schema(r->exec), key, colon != NULL ? (size_t)(colon - key) : len);
    if (m != NULL && r->depth > 0)
        refs_each(m, document, &r->fields, refer, r);
}

static void answer(struct resolving *r)
{
    struct buf *out = &r->document;
    map_widen(out, 0, 1);
    pack_cstr(out, "@refs");
    pack_map(out, r->nfound);
    buf_append(out, r->found.data, r->found.len);
    session_answer(r->session, r->id, out->data, out->len);
    forget(r);
}

static void refuse(struct resolving *r, const struct fault *f)
{
    session_fault(r->session, r->id, f);
    forget(r);
}

/* ---- one level: [[key, ...]] ---- */

static int level_docs(struct call *c, struct fault *f)
{
    uint32_t n = 0;
    cursor_array(&c->request.params, &n);
    return params_docs(c, &c->request.params, n, f);
}

static enum op_status level_run(struct call *c, struct buf *out)
{
    const struct resolving *r = c->request.context;
    struct get_options o = {.version = r->version};
    enum op_status all = OP_DONE;
    get_fresh(c, r->fresh);
    for (unsigned i = 0; i < c->ndocs; i++) {
        struct doc *d = c->docs[i];
        enum op_status st = call_known(c, d);
        if (st == OP_DONE)
            pack_str(out, d->key, d->key_len);
        if (st == OP_DONE && d->state == DOC_ABSENT)
            pack_nil(out);
        else if (st == OP_DONE)
            st = get_pack(c, d, &o, out);
        if (st == OP_REFUSED || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = st;
    }
    return all;
}

static void go_on(struct resolving *r);

static void level_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct resolving *r = c->request.context;
    struct fault full;
    r->session = c->request.session;
    if (f != NULL) {
        refuse(r, f);
        return;
    }
    buf_append(&r->found, out->data, out->len);
    r->nfound += r->nkeys;
    if (session_fits(r->session, r->found.len + r->document.len, &full) < 0) {
        refuse(r, &full);
        return;
    }
    struct cursor in = cursor_of(out->data, out->len);
    uint32_t n = r->nkeys;
    buf_clear(&r->keys);
    r->nkeys = 0;
    for (; n > 0; n--) {
        const char *key = "";
        size_t len = 0;
        (void)cursor_str(&in, &key, &len);
        look_into(r, key, len, in);
        cursor_skip(&in);
    }
    go_on(r);
}

static const struct method level = {
    .name = "doc.get", .docs = level_docs, .run = level_run, .finish = level_finish, .reads = true};

/* With the next level, if there is one. */
static void go_on(struct resolving *r)
{
    struct fault f;
    struct buf params = BUF_INIT;
    unsigned max = exec_config(r->exec)->max_resolve;
    if (r->nseen > max + 1) {
        fault_set(
            &f, FAULT_TOO_LARGE,
            "it refers to more than %u documents (limits.max_resolve); ask for less depth, or "
            "for single fields",
            max);
        refuse(r, &f);
        return;
    }
    if (r->nkeys == 0) {
        answer(r);
        return;
    }
    pack_array(&params, r->nkeys);
    buf_append(&params, r->keys.data, r->keys.len);
    r->depth--;
    exec_call(r->exec, &level, r->session, r->id, cursor_of(params.data, params.len), 1, r);
    buf_free(&params);
}

void resolve_begin(struct call *c, const struct fault *f, const struct buf *out)
{
    struct get_options o;
    struct fault none;
    struct cursor params = c->request.params;
    const struct doc *d = call_doc_at(c, 0);
    if (f != NULL) {
        session_fault(c->request.session, c->request.id, f);
        return;
    }
    cursor_skip(&params);
    (void)get_options(&params, true, &o, &none); /* it has been read before */
    struct resolving *r = alloc_zeroed(1, sizeof(*r));
    r->exec = c->exec;
    r->session = c->request.session;
    r->id = c->request.id;
    r->fresh = o.fresh;
    r->version = o.version;
    r->depth = o.depth > 0 ? o.depth : 1;
    if (o.refs.n > 0)
        buf_append(&r->names, o.refs.names.at, (size_t)(o.refs.names.end - o.refs.names.at));
    r->fields = (struct ref_fields){.names = cursor_of(r->names.data, r->names.len), .n = o.refs.n};
    buf_append(&r->document, out->data, out->len);
    (void)see(r, d->key, d->key_len);
    look_into(r, d->key, d->key_len, cursor_of(out->data, out->len));
    go_on(r);
}
