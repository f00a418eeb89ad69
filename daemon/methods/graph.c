/* graph: see graph.h. */
#include "daemon/methods/graph.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/layout.h"
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

static uint16_t slot_of_key(const struct graph *g, const char *key, size_t len)
{
    struct buf root = BUF_INIT;
    layout_key(&root, exec_names(g->exec), key, len, "", 0);
    uint16_t slot = router_slot(lanes_router(exec_lanes(g->exec)), (char *)root.data, root.len);
    buf_free(&root);
    return slot;
}

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
        s->slot = g->use->lost != NULL ? slot_of_key(g, key, len) : 0;
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

/* The next keys of `picked`, which are of one slot, in a call. */
static struct reached **call_some(struct graph *g, const struct method *m, struct reached **picked,
                                  struct reached **last)
{
    struct buf params = BUF_INIT;
    struct reached **end = picked;
    while (end < last && (*end)->slot == (*picked)->slot)
        end++;
    pack_array(&params, (uint32_t)(end - picked));
    for (; picked < end; picked++)
        pack_str(&params, (*picked)->key, (*picked)->len);
    g->pending++;
    exec_call(g->exec, m, g->session, g->id, cursor_of(params.data, params.len), 1, g);
    buf_free(&params);
    return end;
}

static int by_slot(const void *a, const void *b)
{
    const struct reached *x = *(struct reached *const *)a, *y = *(struct reached *const *)b;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

bool graph_ask(struct graph *g, const struct method *m,
               bool (*picks)(struct graph *g, struct reached *s))
{
    struct reached **picked = alloc_zeroed(g->n, sizeof(*picked)), **at = picked, **last = picked;
    struct reached *s, *next;
    HASH_ITER (hh, g->all, s, next) {
        if (picks(g, s))
            *last++ = s;
    }
    if (g->use->lost != NULL)
        qsort(picked, (size_t)(last - picked), sizeof(*picked), by_slot);
    g->pending = 1; /* this */
    while (at < last)
        at = call_some(g, m, at, last);
    free(picked);
    return graph_ended(g);
}

bool graph_ended(struct graph *g)
{
    return --g->pending == 0;
}

static bool take_due(struct graph *g, struct reached *s)
{
    bool due = s->due;
    (void)g;
    s->due = false;
    return due;
}

static bool any_due(const struct graph *g)
{
    const struct reached *s = g->all;
    while (s != NULL && !s->due)
        s = s->hh.next;
    return s != NULL;
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
        if (!any_due(g)) {
            g->use->end(g);
            return;
        }
    } while (graph_ask(g, g->use->level, take_due));
}

enum op_status graph_read(struct call *c, struct buf *out)
{
    static const struct get_options whole;
    c->fresh_only = true;
    return get_all(c, c->request.params, &whole, out);
}

static struct reached *next_key(const struct graph *g, struct cursor *keys)
{
    struct reached *s;
    const char *key = "";
    size_t len = 0;
    (void)cursor_str(keys, &key, &len);
    HASH_FIND(hh, g->all, key, len, s);
    return s;
}

static void take_documents(struct graph *g, struct cursor keys, uint32_t n, const struct buf *out)
{
    struct cursor in = cursor_of(out->data, out->len);
    (void)cursor_array(&in, &n);
    for (; n > 0 && g->fault.code == FAULT_NONE; n--) {
        struct reached *s = next_key(g, &keys);
        struct cursor document = in;
        cursor_skip(&in);
        if (cursor_nil(&document))
            s->missing = true;
        else
            (void)g->use->read(g, s, document, &g->fault);
    }
}

void graph_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct graph *g = c->request.context;
    struct cursor keys = c->request.params;
    uint32_t n = 0;
    g->session = c->request.session;
    (void)cursor_array(&keys, &n);
    if (f == NULL) {
        take_documents(g, keys, n, out);
    } else if (g->use->lost == NULL) {
        g->fault = *f;
    } else {
        g->use->lost(g, f);
        for (; n > 0; n--)
            next_key(g, &keys)->missing = true;
    }
    if (graph_ended(g))
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
