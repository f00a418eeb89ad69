/* in_parts: see in_parts.h. */
#include "daemon/methods/in_parts.h"
#include "daemon/commit/lanes.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/refresh.h"
#include "daemon/redis/names.h"
#include "protocol/alloc.h"
#include <stdlib.h>

/* Calls that are on their way at a time, and the bytes of their params. */
#define AT_ONCE 512
#define AT_ONCE_BYTES (4u << 20)

struct document {
    uint16_t slot;
    const char *key;
    size_t key_len;
    const uint8_t *at; /* of the insert: [key, map]; of the delete: the key */
    size_t len;
};

/* The documents of one slot. */
struct part {
    struct in_parts *all;
    unsigned from, to;
    size_t bytes;
    struct buf params;
};

struct in_parts {
    struct exec *exec;
    struct session *session;
    uint64_t id;
    const struct method *method;
    bool inserts;
    struct buf params, options;
    struct document *documents;
    unsigned n, cap;
    struct part *parts;
    unsigned nparts, parts_cap, begun, pending;
    size_t bytes;
    int64_t deleted;
    struct buf saved, refused; /* packed: what the calls said; pairs of key and text */
    uint32_t nsaved, nrefused;
};

static void end(struct in_parts *p)
{
    session_settle(p->session);
    session_unref(p->session);
    for (unsigned i = 0; i < p->nparts; i++)
        buf_free(&p->parts[i].params);
    free(p->parts);
    free(p->documents);
    buf_free(&p->params);
    buf_free(&p->options);
    buf_free(&p->saved);
    buf_free(&p->refused);
    free(p);
}

static void answer(struct in_parts *p)
{
    struct buf *out = session_result(p->session, p->id);
    pack_map(out, 2);
    if (p->inserts) {
        pack_cstr(out, "saved");
        pack_array(out, p->nsaved);
        buf_append(out, p->saved.data, p->saved.len);
    } else {
        pack_cstr(out, "deleted");
        pack_int(out, p->deleted);
    }
    pack_cstr(out, "refused");
    pack_array(out, p->nrefused);
    buf_append(out, p->refused.data, p->refused.len);
    session_done(p->session);
    end(p);
}

/* ---- the calls ---- */

static void note_refused(struct in_parts *p, const struct part *part, const struct fault *f)
{
    char *text = alloc_text("%s: %s", fault_name(f->code), f->text);
    for (unsigned i = part->from; i < part->to; i++) {
        pack_array(&p->refused, 2);
        pack_str(&p->refused, p->documents[i].key, p->documents[i].key_len);
        pack_cstr(&p->refused, text);
    }
    p->nrefused += part->to - part->from;
    free(text);
}

static void note_done(struct in_parts *p, const struct buf *out)
{
    struct cursor in = cursor_of(out->data, out->len);
    int64_t deleted = 0;
    uint32_t n = 0;
    if (p->inserts) {
        cursor_array(&in, &n);
        buf_append(&p->saved, in.at, (size_t)(in.end - in.at));
        p->nsaved += n;
    } else {
        cursor_int(&in, &deleted);
        p->deleted += deleted;
    }
}

static void go_on(struct in_parts *p);

static void part_ended(void *arg)
{
    struct part *part = arg;
    part->all->bytes -= part->bytes;
    part->all->pending--;
    go_on(part->all);
}

void in_parts_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct part *part = c->request.context;
    if (f != NULL)
        note_refused(part->all, part, f);
    else
        note_done(part->all, out);
    if (f != NULL || !refresh_then(c, part_ended, part))
        part_ended(part);
}

static void begin_one(struct in_parts *p, struct part *part)
{
    uint32_t n = part->to - part->from;
    if (p->inserts)
        pack_array(&part->params, n);
    for (unsigned i = part->from; i < part->to; i++)
        buf_append(&part->params, p->documents[i].at, p->documents[i].len);
    buf_append(&part->params, p->options.data, p->options.len);
    part->bytes = part->params.len;
    p->bytes += part->bytes;
    exec_call(p->exec, p->method, p->session, p->id, cursor_of(part->params.data, part->params.len),
              (p->inserts ? 1 : n) + 1, part);
}

/* Calls may end while others are begun. */
static void go_on(struct in_parts *p)
{
    bool open = session_open(p->session);
    while (open && p->begun < p->nparts && p->pending < AT_ONCE && p->bytes < AT_ONCE_BYTES) {
        p->pending += 2; /* it, and this */
        begin_one(p, &p->parts[p->begun++]);
        p->pending--;
    }
    if (p->pending > 0)
        return;
    if (open)
        answer(p);
    else
        end(p); /* nobody waits any more */
}

/* ---- what is asked ---- */

bool in_parts_may(const char *method)
{
    return strcmp(method, "doc.insert") == 0 || strcmp(method, "doc.delete") == 0;
}

/* The options behind the documents; false: there are none. */
static bool find_options(const struct rpc *msg, struct cursor *options)
{
    struct cursor in = msg->params;
    uint32_t n;
    for (uint32_t i = 0; i + 1 < msg->nparams; i++)
        cursor_skip(&in);
    *options = in;
    return msg->nparams > 1 && cursor_map(&in, &n) == 0;
}

bool in_parts_wanted(const struct rpc *msg)
{
    struct cursor in;
    struct doc_parts_options o;
    struct fault f;
    return find_options(msg, &in) && doc_parts_options(&in, &o, &f) == 0 && o.parts;
}

static int by_slot(const void *a, const void *b)
{
    const struct document *x = a, *y = b;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    size_t len = x->key_len < y->key_len ? x->key_len : y->key_len;
    int c = memcmp(x->key, y->key, len);
    return c != 0 ? c : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

/* [key, map] or a key. */
static int read_document(struct in_parts *p, struct cursor *in, struct fault *f)
{
    struct document d = {.at = in->at};
    struct buf root = BUF_INIT;
    uint32_t two = 0;
    if (p->inserts && (cursor_array(in, &two) < 0 || two != 2))
        return fault_set(f, FAULT_BAD_REQUEST, "document %u is not [key, map]", p->n);
    if (params_str(in, "a key", &d.key, &d.key_len, f) < 0 ||
        exec_check_key(p->exec, d.key, d.key_len, f) < 0 ||
        exec_check_right(p->exec, p->session, p->method->name, d.key, d.key_len, RIGHT_WRITE, f) <
            0)
        return -1;
    if (p->inserts)
        cursor_skip(in);
    d.len = (size_t)(in->at - d.at);
    names_root(exec_names(p->exec), d.key, d.key_len, &root);
    d.slot = router_slot(lanes_router(exec_lanes(p->exec)), (char *)root.data, root.len);
    buf_free(&root);
    vec_push(p->documents, p->n, p->cap, d);
    return 0;
}

static int read_documents(struct in_parts *p, uint32_t nparams, struct fault *f)
{
    struct cursor in = cursor_of(p->params.data, p->params.len);
    uint32_t n = nparams - 1;
    if (p->inserts && (n != 1 || cursor_array(&in, &n) < 0))
        return fault_set(f, FAULT_BAD_REQUEST, "doc.insert takes [[[key, map], ...], options?]");
    for (uint32_t i = 0; i < n; i++) {
        if (read_document(p, &in, f) < 0)
            return -1;
    }
    if (p->n > 1)
        qsort(p->documents, p->n, sizeof(*p->documents), by_slot);
    for (unsigned i = 1; p->inserts && i < p->n; i++) {
        if (by_slot(&p->documents[i - 1], &p->documents[i]) == 0)
            return fault_set(f, FAULT_BAD_REQUEST, "%.*s is in the list twice",
                             (int)(p->documents[i].key_len < 80 ? p->documents[i].key_len : 80),
                             p->documents[i].key);
    }
    return 0;
}

static void divide(struct in_parts *p)
{
    for (unsigned from = 0, to; from < p->n; from = to) {
        for (to = from + 1; to < p->n && p->documents[to].slot == p->documents[from].slot;)
            to++;
        struct part part = {.all = p, .from = from, .to = to};
        vec_push(p->parts, p->nparts, p->parts_cap, part);
    }
}

void in_parts_request(struct exec *e, const char *method, struct session *s, const struct rpc *msg)
{
    struct in_parts *p = alloc_zeroed(1, sizeof(*p));
    struct cursor options;
    struct fault f;
    *p = (struct in_parts){.exec = e,
                           .session = session_ref(s),
                           .id = msg->id,
                           .inserts = strcmp(method, "doc.insert") == 0};
    p->method = p->inserts ? &doc_insert_part : &doc_delete_part;
    session_defer(s);
    buf_append(&p->params, msg->params.at, (size_t)(msg->params.end - msg->params.at));
    if (find_options(msg, &options))
        buf_append(&p->options, options.at, (size_t)(options.end - options.at));
    if (read_documents(p, msg->nparams, &f) < 0) {
        session_fault(s, msg->id, &f);
        end(p);
        return;
    }
    divide(p);
    go_on(p);
}
