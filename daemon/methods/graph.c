/* graph: see graph.h. */
#include "daemon/methods/graph.h"
#include "daemon/methods/get_options.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include <stdlib.h>

void graph_clear(struct graph *g)
{
    struct reached *s, *next;
    HASH_ITER (hh, g->all, s, next) {
        HASH_DEL(g->all, s);
        free(s);
    }
}

void graph_refuse(struct graph *g, const struct fault *f)
{
    if (g->use->refuse != NULL) {
        g->use->refuse(g, f);
        return;
    }
    session_fault(g->session, g->id, f);
    g->use->forget(g);
}

const struct model *graph_model(const struct graph *g, const struct reached *s)
{
    return schema_model_of(exec_schema(g->exec), s->key, s->len);
}

/* ---- what is reached ---- */

void graph_reach(struct graph *g, const char *key, size_t len, uint32_t budget)
{
    struct reached *s;
    struct fault none;
    HASH_FIND(hh, g->all, key, len, s);
    if (s != NULL && s->budget >= budget)
        return;
    if (s == NULL) {
        if (g->n > exec_config(g->exec)->max_resolve + 1)
            return; /* too many already */
        s = alloc_zeroed(1, sizeof(*s) + len);
        s->len = len;
        memcpy(s->key, key, len);
        HASH_ADD_KEYPTR(hh, g->all, s->key, s->len, s);
        s->missing = exec_check_key(g->exec, key, len, &none) < 0;
        g->n++;
    }
    s->budget = budget;
    s->due = !s->missing && (g->use->wants == NULL || g->use->wants(g, s));
}

struct onward {
    struct graph *graph;
    uint32_t budget;
};

static void refer(void *arg, const char *key, size_t len)
{
    const struct onward *to = arg;
    graph_reach(to->graph, key, len, to->budget);
}

void graph_refer(struct graph *g, const struct model *m, struct cursor document,
                 const struct ref_fields *fields, uint32_t budget)
{
    struct onward to = {g, budget};
    refs_each(m, document, fields, refer, &to);
}

/* ---- levels ---- */

static unsigned pack_due(struct graph *g, struct buf *out)
{
    struct reached *s, *next;
    unsigned n = 0;
    HASH_ITER (hh, g->all, s, next) {
        if (!s->due)
            continue;
        s->due = false;
        pack_str(out, s->key, s->len);
        n++;
    }
    return n;
}

/* False: there is none that is due. */
static bool next_level(struct graph *g)
{
    struct buf keys = BUF_INIT, params = BUF_INIT;
    unsigned n = pack_due(g, &keys);
    pack_array(&params, n);
    buf_append(&params, keys.data, keys.len);
    g->calling = true;
    g->answered = false;
    if (n > 0)
        exec_call(g->exec, g->use->level, g->session, g->id, cursor_of(params.data, params.len), 1,
                  g);
    g->calling = false;
    buf_free(&keys);
    buf_free(&params);
    return n > 0;
}

/* Level after level, as long as they are answered at once: of a chain of documents that are in
 * memory each level within the one before would take the stack. */
void graph_run(struct graph *g)
{
    unsigned max = exec_config(g->exec)->max_resolve;
    do {
        if (g->fault.code == FAULT_NONE && g->n > max + 1)
            fault_set(&g->fault, FAULT_TOO_LARGE,
                      "it refers to more than %u documents (limits.max_resolve)%s", max,
                      g->use->too_many);
        if (g->fault.code != FAULT_NONE) {
            graph_refuse(g, &g->fault);
            return;
        }
        if (!next_level(g)) {
            g->use->end(g);
            return;
        }
    } while (g->answered);
}

enum op_status graph_read(struct call *c, struct buf *out)
{
    static const struct get_options whole;
    c->fresh_only = true;
    return get_all(c, c->request.params, &whole, out);
}

void graph_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct graph *g = c->request.context;
    struct cursor keys = c->request.params, in = {0};
    uint32_t n = 0;
    g->session = c->request.session;
    g->answered = true;
    if (f != NULL) {
        g->fault = *f;
    } else {
        in = cursor_of(out->data, out->len);
        (void)cursor_array(&keys, &n);
        (void)cursor_array(&in, &n);
    }
    for (; n > 0 && g->fault.code == FAULT_NONE; n--) {
        const char *key = "";
        size_t len = 0;
        struct reached *s;
        (void)cursor_str(&keys, &key, &len);
        HASH_FIND(hh, g->all, key, len, s);
        struct cursor document = in;
        cursor_skip(&in);
        if (cursor_nil(&document))
            s->missing = true;
        else
            (void)g->use->read(g, s, document, &g->fault);
    }
    if (!g->calling)
        graph_run(g);
}

void graph_open(struct graph *g, const struct graph_use *use, const struct call *c)
{
    g->use = use;
    g->exec = c->exec;
    g->session = c->request.session;
    g->id = c->request.id;
}

void graph_begin(struct graph *g, const struct graph_use *use, const struct call *c,
                 uint32_t budget, const struct buf *document)
{
    const struct doc *d = c->docs[0];
    graph_open(g, use, c);
    graph_reach(g, d->key, d->key_len, budget);
    g->all->due = false;
    (void)use->read(g, g->all, cursor_of(document->data, document->len), &g->fault);
    graph_run(g);
}
