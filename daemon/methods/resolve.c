/* resolve: doc.get with what the document refers to, and what that refers to, in one answer. */
#include "daemon/methods/get_options.h"
#include "daemon/methods/graph.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include <stdlib.h>

struct resolving {
    struct graph graph;
    bool fresh, version;
    struct buf names;         /* of the fields, */
    struct ref_fields fields; /* which look into them */
    struct buf document;      /* that was asked for */
    struct buf found;         /* key, map, key, ... */
    uint32_t nfound;
};

static enum op_status level_run(struct call *c, struct buf *out)
{
    const struct resolving *r = c->request.context;
    struct get_options o = {.version = r->version};
    get_fresh(c, r->fresh);
    return get_all(c, c->request.params, &o, out);
}

static const struct method level = {.name = "doc.get",
                                    .docs = params_keys,
                                    .run = level_run,
                                    .finish = graph_finish,
                                    .reads = true};

static int read_one(struct graph *g, const struct reached *s, struct cursor document,
                    struct fault *f)
{
    struct resolving *r = (struct resolving *)g;
    const struct model *m = graph_model(g, s);
    struct buf *to = s == g->all ? &r->document : &r->found;
    struct cursor end = document;
    cursor_skip(&end);
    if (s != g->all) {
        pack_str(to, s->key, s->len);
        r->nfound++;
    }
    buf_append(to, document.at, (size_t)(end.at - document.at));
    if (m != NULL && s->budget > 0)
        graph_refer(g, m, document, &r->fields, s->budget - 1);
    return session_fits(g->session, r->document.len + r->found.len, f);
}

static void forget(struct graph *g)
{
    struct resolving *r = (struct resolving *)g;
    graph_clear(g);
    buf_free(&r->names);
    buf_free(&r->document);
    buf_free(&r->found);
    free(r);
}

static void answer(struct graph *g)
{
    struct resolving *r = (struct resolving *)g;
    struct buf *out = &r->document;
    const struct reached *s, *next;
    HASH_ITER (hh, g->all, s, next) {
        if (!s->missing)
            continue;
        pack_str(&r->found, s->key, s->len);
        pack_nil(&r->found);
        r->nfound++;
    }
    map_widen(out, 0, 1);
    pack_cstr(out, "@refs");
    pack_map(out, r->nfound);
    buf_append(out, r->found.data, r->found.len);
    if (session_fits(g->session, out->len, &g->fault) < 0) {
        graph_refuse(g, &g->fault);
        return;
    }
    session_answer(g->session, g->id, out->data, out->len);
    forget(g);
}

static const struct graph_use use = {.level = &level,
                                     .too_many = "; ask for less depth, or for single fields",
                                     .read = read_one,
                                     .end = answer,
                                     .forget = forget};

void resolve_begin(struct call *c, const struct fault *f, const struct buf *out)
{
    struct get_options o;
    struct fault none;
    struct cursor params = c->request.params;
    if (f != NULL) {
        session_fault(c->request.session, c->request.id, f);
        return;
    }
    cursor_skip(&params);
    (void)get_options(&params, true, &o, &none); /* it has been read before */
    struct resolving *r = alloc_zeroed(1, sizeof(*r));
    r->fresh = o.fresh;
    r->version = o.version;
    if (o.refs.n > 0)
        buf_append(&r->names, o.refs.names.at, (size_t)(o.refs.names.end - o.refs.names.at));
    r->fields = (struct ref_fields){.names = cursor_of(r->names.data, r->names.len), .n = o.refs.n};
    graph_begin(&r->graph, &use, c, o.depth > 0 ? o.depth : 1, out);
}
