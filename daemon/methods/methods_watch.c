/* methods_watch: see methods_watch.h.
 *
 *   watch ─► watches_add ──(only notes)──► exec: the version, as Redis has it ─► answer ─► told
 *
 * The watch is there before the version is asked for, so nothing is missed in between.
 */
#include "daemon/methods/methods_watch.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include "protocol/path.h"
#include <stdlib.h>

struct asking {
    struct watches *watches;
    struct watch *watch;
    int64_t version; /* of the last run */
    size_t key_len;
    char key[];
};

/* ---- what a request says ---- */

struct words {
    const char *key;
    size_t key_len;
    bool model; /* "User:*" */
    struct region region;
};

/* [key, path?] */
static int read_words(const struct exec *e, const struct session *s, const struct rpc *msg,
                      struct words *out, struct fault *f)
{
    struct cursor in = msg->params;
    const char *path = "", *name, *pk;
    size_t path_len = 0, name_len, pk_len;
    if (msg->nparams < 1 || msg->nparams > 2)
        return fault_set(f, FAULT_BAD_REQUEST, "%.*s takes [key, path?]", (int)msg->method_len,
                         msg->method);
    if (params_str(&in, "the key", &out->key, &out->key_len, f) < 0 ||
        (msg->nparams == 2 && params_str(&in, "the path", &path, &path_len, f) < 0) ||
        exec_check_key(e, out->key, out->key_len, f) < 0 ||
        exec_check_right(e, s, "watch", out->key, out->key_len, RIGHT_READ, f) < 0 ||
        key_parse(out->key, out->key_len, &name, &name_len, &pk, &pk_len, f) < 0)
        return -1;
    out->model = pk_len == 1 && *pk == '*';
    return region_read(&out->region, schema_model(exec_schema(e), name, name_len), path, path_len,
                       f);
}

/* ---- the version ---- */

static int asking_docs(struct call *c, struct fault *f)
{
    const struct asking *a = c->request.context;
    call_check(c);
    c->fresh_only = true;
    return call_doc(c, a->key, a->key_len, f) != NULL ? 0 : -1;
}

/* {key, path, version}, of which the version is to follow. */
static void pack_head(struct buf *out, const char *key, size_t key_len, const struct region *r)
{
    pack_map(out, 3);
    pack_cstr(out, "key");
    pack_str(out, key, key_len);
    pack_cstr(out, "path");
    pack_str(out, (const char *)r->path.data, r->path.len);
    pack_cstr(out, "version");
}

static enum op_status asking_run(struct call *c, struct buf *out)
{
    struct asking *a = c->request.context;
    struct doc *d = call_doc_at(c, 0);
    enum op_status st = call_known(c, d);
    if (st != OP_DONE)
        return st;
    a->version = d->state == DOC_PRESENT ? d->version : 0;
    pack_head(out, a->key, a->key_len, watch_region(a->watch));
    pack_int(out, a->version);
    return OP_DONE;
}

static void asking_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct asking *a = c->request.context;
    if (f != NULL) {
        session_fault(c->request.session, c->request.id, f);
        watch_refused(a->watches, a->watch);
    } else {
        session_answer(c->request.session, c->request.id, out->data, out->len);
        watch_answered(a->watches, a->watch, a->version);
    }
    free(a);
}

static const struct method asking = {.name = "watch",
                                     .needs = RIGHT_READ,
                                     .docs = asking_docs,
                                     .run = asking_run,
                                     .finish = asking_finish,
                                     .reads = true};

/* ---- the methods ---- */

void watch_method_begin(struct exec *e, struct watches *w, struct session *s, const struct rpc *msg)
{
    struct words words;
    struct fault f;
    struct watch *watch = read_words(e, s, msg, &words, &f) == 0
                              ? watches_add(w, s, words.key, words.key_len, &words.region, &f)
                              : NULL;
    if (watch == NULL) {
        session_fault(s, msg->id, &f);
        return;
    }
    if (words.model) { /* its documents have versions, it has none */
        struct buf *out = session_result(s, msg->id);
        pack_head(out, words.key, words.key_len, watch_region(watch));
        pack_nil(out);
        session_done(s);
        watch_answered(w, watch, VERSION_UNKNOWN);
        return;
    }
    struct asking *a = alloc_zeroed(1, sizeof(*a) + words.key_len);
    a->watches = w;
    a->watch = watch;
    a->key_len = words.key_len;
    memcpy(a->key, words.key, words.key_len);
    exec_call(e, &asking, s, msg->id, cursor_of(NULL, 0), 0, a);
}

void watch_method_end(struct exec *e, struct watches *w, struct session *s, const struct rpc *msg)
{
    struct words words;
    struct fault f;
    if (read_words(e, s, msg, &words, &f) < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    bool was = watches_remove(w, s, words.key, words.key_len, &words.region);
    region_free(&words.region);
    pack_bool(session_result(s, msg->id), was);
    session_done(s);
}
