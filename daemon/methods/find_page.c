/* find_page: see find_page.h. */
#include "daemon/methods/find_page.h"
#include "daemon/methods/methods.h"

static enum op_status source_holds(struct call *c, struct doc *d, const struct source *s,
                                   bool *holds)
{
    struct needs needs = call_needs(c, d);
    enum op_status st = comparison_holds(s->leaf, s->value, d->root, &needs, holds, &c->fault);
    if (st == OP_DONE && *holds && s->another != NULL)
        st = comparison_holds(s->another, 0, d->root, &needs, holds, &c->fault);
    return st;
}

/* Each document is an answer of the first source whose comparison holds for it, as an index also
 * finds what is only nearly so. What has too many elements is found in their place. */
static enum op_status is_first(struct call *c, struct doc *d, const struct page_find *pf,
                               bool *first)
{
    const struct source *now = pf->plan->chosen[pf->source];
    *first = true;
    if (pf->plan->nchosen == 1)
        return OP_DONE;
    enum op_status st = source_holds(c, d, now, first);
    for (unsigned i = 0; i < pf->source && st == OP_DONE && *first; i++) {
        const struct source *s = pf->plan->chosen[i];
        bool before = false;
        if (s->leaf != now->leaf || s->value != now->value)
            st = source_holds(c, d, s, &before);
        *first = !before;
    }
    return st;
}

static enum op_status pack_hit(struct call *c, struct doc *d, const struct page_find *pf,
                               uint32_t number, struct buf *out)
{
    struct needs needs = call_needs(c, d);
    enum op_status st = OP_DONE;
    pack_array(out, 3);
    pack_uint(out, number);
    if (pf->sort != NULL)
        st = expr_path_load(pf->sort, d->root, &needs, out, &c->fault);
    else
        pack_nil(out);
    if (st == OP_DONE && pf->get != NULL)
        return get_pack(c, d, pf->get, out);
    pack_nil(out);
    return st;
}

static enum op_status look_at(struct call *c, struct doc *d, const struct page_find *pf,
                              uint32_t number, uint32_t *hits, struct buf *out)
{
    bool holds = false, first = false;
    enum op_status st = call_known(c, d);
    if (st != OP_DONE || d->state == DOC_ABSENT)
        return st;
    struct needs needs = call_needs(c, d);
    work_add(1, WORK_DOCUMENT);
    st = expression_holds(pf->e, d->root, &needs, &holds, &c->fault);
    if (st == OP_DONE && holds)
        st = is_first(c, d, pf, &first);
    if (st != OP_DONE || !holds || !first)
        return st;
    size_t had = out->len;
    st = pack_hit(c, d, pf, number, out);
    if (st != OP_DONE)
        out->len = had;
    *hits += st == OP_DONE;
    return st;
}

static enum op_status page_run(struct call *c, struct buf *out)
{
    const struct page_find *pf = c->request.context;
    struct cursor keys = c->request.params;
    enum op_status all = OP_DONE;
    uint32_t n = 0, hits = 0;
    get_fresh(c, pf->fresh);
    cursor_array(&keys, &n);
    size_t array = pack_array_open(out);
    for (uint32_t i = 0; i < n; i++) {
        struct doc *d = params_doc_again(c, &keys);
        enum op_status st = look_at(c, d, pf, i, &hits, out);
        if (st == OP_REFUSED || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = st;
    }
    pack_array_close(out, array, hits);
    return all;
}

static void page_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct page_find *pf = c->request.context;
    pf->done(pf->arg, f, out);
}

static int page_docs(struct call *c, struct fault *f)
{
    const struct page_find *pf = c->request.context;
    c->asks = pf->method;
    return params_keys(c, f);
}

static const struct method page_method = {
    .name = "find", .docs = page_docs, .run = page_run, .finish = page_finish, .reads = true};

void find_page(struct exec *e, struct page_find *pf, struct session *s, uint64_t id,
               const struct buf *keys)
{
    exec_call(e, &page_method, s, id, cursor_of(keys->data, keys->len), 1, pf);
}
