/* refresh: see refresh.h. */
#include "daemon/methods/refresh.h"
#include "daemon/base/log.h"
#include "daemon/commit/batch.h"
#include "daemon/methods/graph.h"
#include "daemon/methods/methods.h"
#include "daemon/rules/rules.h"
#include "protocol/alloc.h"
#include <stdlib.h>

struct refresh {
    struct graph graph;
    struct buf answer;       /* of the write, */
    void (*then)(void *arg); /* or who answers it */
    void *arg;
    unsigned written; /* documents, the first of the graph: they live on already */
    unsigned at;      /* while those are picked that are touched */
    bool told;        /* that something could not be read or touched */
};

static void answer(struct graph *g)
{
    struct refresh *r = (struct refresh *)g;
    void (*then)(void *arg) = r->then;
    void *arg = r->arg;
    if (then == NULL)
        session_answer(g->session, g->id, r->answer.data, r->answer.len);
    g->use->forget(g);
    if (then != NULL)
        then(arg);
}

static void forget(struct graph *g)
{
    struct refresh *r = (struct refresh *)g;
    graph_clear(g);
    buf_free(&r->answer);
    free(r);
}

/* Who wrote is not at fault. The first reason will do: mostly it is that of the others, too. */
static void lost(struct graph *g, const struct fault *f)
{
    struct refresh *r = (struct refresh *)g;
    if (!r->told)
        log_info("what %.*s refers to was not given more time: %s", (int)g->all->len, g->all->key,
                 f->text);
    r->told = true;
}

static void give_up(struct graph *g, const struct fault *f)
{
    lost(g, f);
    answer(g);
}

/* ---- what is read ---- */

static const struct method level = {.name = "doc.get",
                                    .docs = params_keys,
                                    .run = graph_read,
                                    .finish = graph_finish,
                                    .reads = true};

static bool wants(const struct graph *g, const struct reached *s)
{
    const struct model *m = graph_model(g, s);
    return m != NULL && m->cascades;
}

static int read_one(struct graph *g, const struct reached *s, struct cursor document,
                    struct fault *f)
{
    const struct model *m = graph_model(g, s);
    (void)f;
    for (uint32_t i = 0; m != NULL && i < m->nfields; i++) {
        const struct field *by = &m->fields[i];
        struct buf name = BUF_INIT;
        if (!by->refreshes || (by->refresh_depth < 0 && s->budget == 0))
            continue;
        pack_str(&name, by->name, by->name_len);
        struct ref_fields one = {cursor_of(name.data, name.len), 1, true};
        graph_refer(g, m, document, &one,
                    by->refresh_depth < 0 ? s->budget - 1 : (uint32_t)by->refresh_depth);
        buf_free(&name);
    }
    return 0;
}

/* ---- what is touched ---- */

/* Whoever may write the one may keep what it refers to, as the model says. */
static int touch_docs(struct call *c, struct fault *f)
{
    c->spares_unique = true;
    return params_keys(c, f);
}

static enum op_status touch_run(struct call *c, struct buf *out)
{
    enum op_status st = OP_DONE;
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (call_known(c, c->docs[i]) != OP_DONE)
            st = OP_NEEDS;
    }
    if (st == OP_DONE)
        st = doc_touch_all(c, out);
    if (st == OP_DONE)
        pack_nil(out);
    return st;
}

static void touch_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct graph *g = c->request.context;
    (void)out;
    g->session = c->request.session;
    if (f != NULL)
        lost(g, f);
    if (graph_ended(g))
        answer(g);
}

static const struct method touch = {.name = "doc.get",
                                    .docs = touch_docs,
                                    .run = touch_run,
                                    .finish = touch_finish,
                                    .needs = RIGHT_READ};

static bool lives_on(struct graph *g, struct reached *s)
{
    struct refresh *r = (struct refresh *)g;
    const struct model *m = graph_model(g, s);
    return r->at++ >= r->written && !s->missing && m != NULL && m->ttl != 0;
}

static void touch_them(struct graph *g)
{
    if (graph_ask(g, &touch, lives_on))
        answer(g);
}

static const struct graph_use use = {.level = &level,
                                     .lost = lost,
                                     .too_many = "",
                                     .wants = wants,
                                     .read = read_one,
                                     .end = touch_them,
                                     .refuse = give_up,
                                     .forget = forget};

/* ---- the write ---- */

static bool leads_on(const struct batch_doc *bd)
{
    return bd->doc->model->cascades && !bd->deleted && !batch_doc_only_ends(bd);
}

/* NULL: there is nothing to do. */
static struct refresh *open_for(struct call *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->run.ntouched; i++)
        n += leads_on(c->run.touched[i]);
    if (n == 0)
        return NULL;
    struct refresh *r = alloc_zeroed(1, sizeof(*r));
    graph_open(&r->graph, &use, c);
    for (unsigned i = 0; i < c->run.ntouched; i++) {
        const struct doc *d = c->run.touched[i]->doc;
        if (leads_on(c->run.touched[i]))
            graph_reach(&r->graph, d->key, d->key_len, UINT32_MAX);
    }
    r->written = r->graph.n;
    return r;
}

bool refresh_answers(struct call *c, const struct buf *out)
{
    struct refresh *r = open_for(c);
    if (r == NULL)
        return false;
    buf_append(&r->answer, out->data, out->len);
    graph_run(&r->graph);
    return true;
}

bool refresh_then(struct call *c, void (*then)(void *arg), void *arg)
{
    struct refresh *r = open_for(c);
    if (r == NULL)
        return false;
    r->then = then;
    r->arg = arg;
    graph_run(&r->graph);
    return true;
}
