/* define: declarations taken into the registry, all that come together or none.
 *
 *   names ──► entries of new models, empty ──► their declarations
 *                                                       │
 *                those of stored models, compared ◄─────┘
 *                               │
 *                               └──► all models measured ──► check:  thrown away
 *                                                        ──► define: taken over
 *
 * Models may name each other in whatever order they come, and in circles: so each new one has its
 * entry, to which types can point, before any declaration is read. A plain model must be read
 * before those that hold it, as their defaults are checked by it. When something is refused the
 * entries go again, and with them what pointed there.
 */
#include "protocol/alloc.h"
#include "protocol/schema_private.h"

struct group {
    struct schema *schema;
    const struct cursor *declarations;
    struct plan *plans;
    size_t n, begun;
    struct measure *all;            /* by the models' numbers */
    const struct wrapper *wrappers; /* the last one before */
    struct fault *fault;
};

static struct entry *add_entry(struct schema *s, const struct declared *d)
{
    struct entry *e = alloc_zeroed(1, sizeof *e);
    e->model = (struct model){.name = alloc_text("%.*s", (int)d->len, d->name),
                              .atomic = d->atomic,
                              .key_field = -1,
                              .number = s->models++};
    HASH_ADD_KEYPTR(hh, s->by_name, e->model.name, strlen(e->model.name), e);
    return e;
}

/* Numbers go by the order, so the last ones go. */
static void remove_entry(struct schema *s, struct entry *e)
{
    HASH_DEL(s->by_name, e);
    s->models--;
    model_clear(&e->model);
    free(e);
}

static int begin_one(struct group *g, size_t i)
{
    struct declared d;
    struct plan *p = &g->plans[i];
    struct cursor in = g->declarations[i];
    if (declaration_head(&in, &d, g->fault) < 0)
        return -1;
    p->entry = schema_find(g->schema, d.name, d.len);
    for (size_t k = 0; k < i; k++)
        if (p->entry && g->plans[k].entry == p->entry)
            return fault_set(g->fault, FAULT_BAD_SCHEMA, "model '%.*s' is declared twice",
                             (int)d.len, d.name);
    if (p->entry)
        return 0;
    if (g->schema->models == SCHEMA_MAX_MODELS)
        return fault_set(g->fault, FAULT_BAD_SCHEMA,
                         "model '%.*s' would be one too many, at most %d are allowed", (int)d.len,
                         d.name, SCHEMA_MAX_MODELS);
    p->entry = add_entry(g->schema, &d);
    p->fresh = true;
    return 0;
}

/* What has not been read yet of the new models that are plain: nothing may hold one of these. */
static bool unread(void *arg, const struct model *m)
{
    const struct group *g = arg;
    for (size_t i = 0; i < g->n; i++)
        if (&g->plans[i].entry->model == m)
            return g->plans[i].fresh && !g->plans[i].read && !m->atomic;
    return false;
}

static int read_one(struct group *g, size_t i, bool *waits)
{
    struct plan *p = &g->plans[i];
    struct cursor in = g->declarations[i];
    p->draft.unread = unread;
    p->draft.arg = g;
    if (declaration_read(g->schema, &in, &p->draft, g->fault) < 0) {
        *waits = p->draft.waits;
        return -1;
    }
    p->read = true;
    if (!p->fresh)
        return 0;
    struct model *m = &p->entry->model, *draft = &p->draft.model;
    free(draft->name); /* the entry's is a key */
    draft->name = m->name;
    draft->number = m->number;
    *m = *draft;
    *draft = (struct model){.key_field = -1};
    p->added = m->nfields;
    p->changed = true;
    return 0;
}

/* Those whose plain models are there are read, until none waits for another. */
static int read_all(struct group *g)
{
    for (bool again = true, waits = true; again && waits;) {
        again = waits = false;
        for (size_t i = 0; i < g->n; i++) {
            bool later = false;
            if (g->plans[i].read)
                continue;
            if (read_one(g, i, &later) == 0)
                again = true;
            else if (!later)
                return -1;
            waits = waits || later;
        }
    }
    for (size_t i = 0; i < g->n; i++)
        if (!g->plans[i].read)
            return -1; /* each waits for another: the fault says of whom */
    return 0;
}

static int check_all(struct group *g)
{
    const struct schema *s = g->schema;
    uint32_t fields = s->fields;
    for (size_t i = 0; i < g->n; i++) {
        struct plan *p = &g->plans[i];
        if (!p->fresh && plan_compare(p, g->fault) < 0)
            return -1;
        fields += p->added;
        if (fields > SCHEMA_MAX_ALL_FIELDS)
            return fault_set(
                g->fault, FAULT_BAD_SCHEMA,
                "with model '%s' all models would have %u fields, at most %d are allowed",
                p->entry->model.name, fields, SCHEMA_MAX_ALL_FIELDS);
        unsigned revision = p->entry->model.revision;
        p->revision = revision + (p->changed ? 1 : 0);
        if (p->draft.revision > p->revision)
            p->revision = (unsigned)p->draft.revision;
        p->changed = p->revision != revision;
    }
    return 0;
}

static void group_free(struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        model_clear(&g->plans[i].draft.model);
    free(g->plans);
    free(g->all);
}

/* Nothing of it is taken over. */
static void group_drop(struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->plans[i].fresh)
            remove_entry(g->schema, g->plans[i].entry);
    group_free(g);
    wrappers_drop(g->schema->wrappers, g->wrappers);
}

static int group_make(struct schema *s, const struct cursor *declarations, size_t n,
                      struct group *g, struct fault *f)
{
    *g = (struct group){.schema = s,
                        .declarations = declarations,
                        .n = n,
                        .wrappers = s->wrappers->first,
                        .fault = f};
    g->plans = alloc_zeroed(n, sizeof *g->plans);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = begin_one(g, i);
    g->all = alloc_zeroed(s->models + 1, sizeof *g->all);
    if (rc == 0 && read_all(g) == 0 && measure_models(s, g->plans, n, g->all, f) == 0 &&
        check_all(g) == 0)
        return 0;
    group_drop(g);
    return -1;
}

static void take(struct schema *s, struct plan *p)
{
    struct model *m = &p->entry->model;
    if (!p->fresh && p->changed)
        plan_take(s, p);
    s->fields += p->added;
    s->growths += !p->fresh && (p->added || p->widened || p->indexed);
    m->nlazy = 0;
    for (uint32_t i = 0; i < m->nfields; i++)
        m->nlazy += m->fields[i].lazy;
    m->revision = p->revision;
}

int schema_define_all(struct schema *s, const struct cursor *declarations, size_t n,
                      const struct model **out, bool *changed, struct fault *f)
{
    struct group g;
    bool news = false;
    if (n == 0)
        return 0;
    if (group_make(s, declarations, n, &g, f) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        take(s, &g.plans[i]);
        out[i] = &g.plans[i].entry->model;
        changed[i] = g.plans[i].changed;
        news = news || (changed[i] && !g.plans[i].fresh);
    }
    for (struct entry *e = s->by_name; e; e = e->hh.next) {
        e->model.depth = g.all[e->model.number].depth;
        e->model.slots = g.all[e->model.number].slots;
    }
    group_free(&g);
    if (news && s->on_change)
        s->on_change(s->on_change_arg);
    return 0;
}

int schema_check_all(struct schema *s, const struct cursor *declarations, size_t n, bool *changed,
                     struct fault *f)
{
    struct group g;
    if (n == 0)
        return 0;
    if (group_make(s, declarations, n, &g, f) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        changed[i] = g.plans[i].changed;
    group_drop(&g);
    return 0;
}

int schema_define(struct schema *s, struct cursor *declaration, const struct model **out,
                  bool *changed, struct fault *f)
{
    int rc = schema_define_all(s, declaration, 1, out, changed, f);
    if (rc == 0)
        (void)cursor_skip(declaration);
    return rc;
}

int schema_check(struct schema *s, struct cursor *declaration, bool *changed, struct fault *f)
{
    int rc = schema_check_all(s, declaration, 1, changed, f);
    if (rc == 0)
        (void)cursor_skip(declaration);
    return rc;
}

struct restoring {
    struct schema *schema;
    const struct cursor *declarations;
    size_t n, left;
    bool *done, *lacks; /* taken; refused because another one is not there */
    const struct model **models;
    bool *changed;
    struct fault *fault; /* of the first that is left */
};

/* One after the other; whether any was taken. */
static bool restore_each(struct restoring *r)
{
    bool any = false, first = true;
    for (size_t i = 0; i < r->n; i++) {
        struct fault why;
        if (r->done[i])
            continue;
        if (schema_define_all(r->schema, &r->declarations[i], 1, r->models, r->changed, &why) ==
            0) {
            r->done[i] = any = true;
            r->left--;
            continue;
        }
        r->lacks[i] = why.code == FAULT_UNKNOWN_MODEL;
        if (first)
            *r->fault = why;
        first = false;
    }
    return any;
}

/* Those that may need each other. */
static void restore_circle(struct restoring *r)
{
    struct cursor *some = alloc_zeroed(r->n + 1, sizeof *some);
    struct fault why;
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (!r->done[i] && r->lacks[i])
            some[n++] = r->declarations[i];
    if (n > 1 && schema_define_all(r->schema, some, n, r->models, r->changed, &why) == 0) {
        for (size_t i = 0; i < r->n; i++)
            r->done[i] = r->done[i] || r->lacks[i];
        r->left -= n;
    }
    free(some);
}

int schema_restore(struct schema *s, const struct cursor *declarations, size_t n, bool *taken,
                   struct fault *f)
{
    struct restoring r = {.schema = s, .declarations = declarations, .n = n, .left = n, .fault = f};
    r.models = alloc_zeroed(n + 1, sizeof *r.models);
    r.changed = alloc_zeroed(n + 1, sizeof *r.changed);
    r.done = alloc_zeroed(n + 1, sizeof *r.done);
    r.lacks = alloc_zeroed(n + 1, sizeof *r.lacks);
    if (schema_define_all(s, declarations, n, r.models, r.changed, f) == 0) {
        r.left = 0;
        memset(r.done, true, n);
    }
    while (r.left && restore_each(&r))
        continue;
    if (r.left)
        restore_circle(&r);
    if (taken)
        memcpy(taken, r.done, n * sizeof *r.done);
    free(r.models);
    free(r.changed);
    free(r.done);
    free(r.lacks);
    return r.left ? -1 : 0;
}
