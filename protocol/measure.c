/* measure: how deep the values of models nest, and how many fields are directly in them.
 *
 *   Doc ──► Node ◄──┐      Node contains itself, through a list, dict or optional: how deep it goes
 *           └───────┘      is for each document to say (build.c counts), so that way counts as
 * empty
 *
 * Models that contain each other are found as the strongly connected parts of the graph (Tarjan):
 * each part is complete after all that it leads to, so that each model is looked at once. Within a
 * part no model may hold another directly, or as a value: that would have no end.
 */
#include "protocol/alloc.h"
#include "protocol/container.h"
#include "protocol/schema_private.h"
#include "protocol/type.h"
#include "protocol/value.h"
#include <stdio.h>

/* One model, with what a plan adds to it. */
struct node {
    const struct model *model;
    const struct model *more; /* the draft, or NULL */
    uint32_t seen;            /* when; 0: not yet */
    uint32_t low;             /* the earliest that it leads back to */
    uint32_t part;            /* 0: not known yet */
};

struct measuring {
    struct node *nodes; /* by the models' numbers */
    struct measure *out;
    uint8_t *color; /* of the search for endless ones: 1 while it is on the way, 2 behind it */
    uint32_t *stack;
    uint32_t on_stack, seen, parts;
    const char *first; /* the name of a model that is declared */
    struct fault *f;
};

/* The fields of a node, one after the other; NULL at the end. */
static const struct field *next_field(const struct node *n, uint32_t *i)
{
    uint32_t own = n->model->nfields;
    if (*i < own)
        return &n->model->fields[(*i)++];
    while (n->more && *i < own + n->more->nfields) {
        const struct field *f = &n->more->fields[(*i)++ - own];
        if (model_field(n->model, f->name, f->name_len) < 0)
            return f;
    }
    return NULL;
}

/* It holds the other one without anything in between that could be empty. */
static bool directly(const struct node *n, const struct field *f)
{
    return !n->model->atomic || type_atomic(f->type);
}

/* "A -> B -> A": along what is held directly, within one part. */
static bool find_chain(const struct measuring *m, uint32_t from, uint32_t to, bool *been,
                       struct buf *out)
{
    size_t mark = out->len;
    const struct node *n = &m->nodes[from];
    buf_printf(out, "%s -> ", n->model->name);
    been[from] = true;
    const struct field *f;
    for (uint32_t i = 0; (f = next_field(n, &i)) != NULL;) {
        const struct model *inner = type_model(f->type);
        if (!inner || !directly(n, f) || m->nodes[inner->number].part != n->part)
            continue;
        if (inner->number == to) {
            buf_printf(out, "%s", inner->name);
            return true;
        }
        if (!been[inner->number] && find_chain(m, inner->number, to, been, out))
            return true;
    }
    out->len = mark;
    return false;
}

/* A node that leads back to itself, reached from this one; -1: there is none. */
static int64_t find_endless(const struct measuring *m, uint32_t from)
{
    const struct node *n = &m->nodes[from];
    const struct field *f;
    int64_t found = -1;
    m->color[from] = 1;
    for (uint32_t i = 0; found < 0 && (f = next_field(n, &i)) != NULL;) {
        const struct model *inner = type_model(f->type);
        if (!inner || !directly(n, f) || m->nodes[inner->number].part != n->part)
            continue;
        if (m->color[inner->number] == 1)
            found = inner->number;
        else if (m->color[inner->number] == 0)
            found = find_endless(m, inner->number);
    }
    m->color[from] = 2;
    return found;
}

static int check_endless(const struct measuring *m, uint32_t number, uint32_t all)
{
    int64_t found = m->color[number] ? -1 : find_endless(m, number);
    if (found < 0)
        return 0;
    struct buf chain = BUF_INIT;
    bool *been = alloc_zeroed(all, sizeof *been);
    const struct model *model = m->nodes[found].model;
    int rc = -1;
    if (find_chain(m, (uint32_t)found, (uint32_t)found, been, &chain))
        rc = fault_set(m->f, FAULT_BAD_SCHEMA,
                       "model '%s' would contain itself without end: %.*s; %s", model->name,
                       (int)(chain.len < 200 ? chain.len : 200), (char *)chain.data,
                       model->atomic ? "put an optional, list or dict in between"
                                     : "plain models are values: declare them with kind atomic, or "
                                       "keep the other's key in a field of type ref<>");
    free(been);
    buf_free(&chain);
    return rc;
}

/* How deep a field nests and how many slots it takes, in the node n. */
static struct measure measure_field(const struct measuring *m, const struct node *n,
                                    const struct field *f)
{
    struct measure sum = {.slots = 1};
    for (const struct type *t = f->type;; t = t->of) {
        t = type_within(t);
        if (type_container(t)) {
            sum.depth += !type_container(t)->lone;
        } else if (t->kind == TYPE_ANY) {
            sum.depth += VALUE_ANY_DEPTH;
            return sum;
        } else if (t->kind == TYPE_MODEL) {
            uint32_t inner = t->model->number;
            if (m->nodes[inner].part != n->part)
                sum.depth += m->out[inner].depth;
            if (type_atomic(f->type))
                sum.slots += m->out[inner].slots;
            return sum;
        } else if (t->kind != TYPE_OPTIONAL) {
            return sum;
        }
    }
}

static int measure_node(const struct measuring *m, uint32_t number)
{
    const struct node *n = &m->nodes[number];
    struct measure size = {.depth = 1};
    char why[120] = "";
    const struct field *f;
    for (uint32_t i = 0; (f = next_field(n, &i)) != NULL;) {
        struct measure one = measure_field(m, n, f);
        size.depth = size.depth < one.depth + 1 ? one.depth + 1 : size.depth;
        size.slots += one.slots;
    }
    m->out[number] = size;
    if (strcmp(n->model->name, m->first) != 0)
        snprintf(why, sizeof why, "because of what is new in '%s', ", m->first);
    if (size.depth > SCHEMA_MAX_DEPTH)
        return fault_set(m->f, FAULT_BAD_SCHEMA,
                         "%smodel '%s' would nest %u containers, at most %d are allowed (every "
                         "model, list and dict is one, an any counts as %d)",
                         why, n->model->name, size.depth, SCHEMA_MAX_DEPTH, VALUE_ANY_DEPTH);
    if (size.slots > SCHEMA_MAX_SLOTS)
        return fault_set(m->f, FAULT_BAD_SCHEMA,
                         "%smodel '%s' would have %u fields with those of the atomic models in "
                         "it, at most %d are allowed",
                         why, n->model->name, size.slots, SCHEMA_MAX_SLOTS);
    return 0;
}

/* The part whose first node this is: all that is on the stack from it on. */
static int close_part(struct measuring *m, uint32_t number, uint32_t all)
{
    uint32_t from = m->on_stack;
    m->parts++;
    do
        m->nodes[m->stack[--from]].part = m->parts;
    while (m->stack[from] != number);
    for (uint32_t i = from; i < m->on_stack; i++)
        if (check_endless(m, m->stack[i], all) < 0 || measure_node(m, m->stack[i]) < 0)
            return -1;
    m->on_stack = from;
    return 0;
}

static int visit(struct measuring *m, uint32_t number, uint32_t all)
{
    struct node *n = &m->nodes[number];
    const struct field *f;
    n->seen = n->low = ++m->seen;
    m->stack[m->on_stack++] = number;
    for (uint32_t i = 0; (f = next_field(n, &i)) != NULL;) {
        const struct model *inner = type_model(f->type);
        if (!inner)
            continue;
        const struct node *to = &m->nodes[inner->number];
        if (!to->seen && visit(m, inner->number, all) < 0)
            return -1;
        if (!to->part && to->low < n->low)
            n->low = to->low;
    }
    return n->low == n->seen ? close_part(m, number, all) : 0;
}

int measure_models(const struct schema *s, const struct plan *plans, size_t n, struct measure *out,
                   struct fault *f)
{
    struct measuring m = {.out = out, .first = plans[0].entry->model.name, .f = f};
    int rc = 0;
    m.nodes = alloc_zeroed(s->models, sizeof *m.nodes);
    m.stack = alloc_zeroed(s->models, sizeof *m.stack);
    m.color = alloc_zeroed(s->models, sizeof *m.color);
    for (const struct entry *e = s->by_name; e; e = e->hh.next)
        m.nodes[e->model.number].model = &e->model;
    for (size_t i = 0; i < n; i++)
        if (!plans[i].fresh)
            m.nodes[plans[i].entry->model.number].more = &plans[i].draft.model;
    for (uint32_t i = 0; i < s->models && rc == 0; i++)
        if (!m.nodes[i].seen)
            rc = visit(&m, i, s->models);
    free(m.nodes);
    free(m.stack);
    free(m.color);
    return rc;
}
