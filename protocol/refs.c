/* refs: see refs.h. */
#include "protocol/refs.h"
#include "protocol/container.h"
#include "protocol/path.h"
#include "protocol/type.h"
#include <string.h>

int ref_fields_read(struct cursor *in, struct ref_fields *fields)
{
    const char *name;
    size_t len;
    if (cursor_array(in, &fields->n) < 0 || fields->n == 0)
        return -1;
    fields->names = *in;
    for (uint32_t i = 0; i < fields->n; i++)
        if (cursor_str(in, &name, &len) < 0)
            return -1;
    return 0;
}

/* ---- in a document ---- */

struct walk {
    const struct ref_fields *fields;
    void (*visit)(void *arg, const char *key, size_t len);
    void *arg;
    struct buf path; /* where the walk is */
};

static bool begins(const struct buf *path, const char *name, size_t len)
{
    return path->len >= len && memcmp(path->data, name, len) == 0 &&
           (path->len == len || path->data[len] == '.');
}

static bool wanted(const struct walk *w)
{
    struct cursor names = w->fields->names;
    bool any = w->fields->n == 0;
    for (uint32_t i = 0; i < w->fields->n && !any; i++) {
        const char *name = "";
        size_t len = 0;
        (void)cursor_str(&names, &name, &len);
        any = begins(&w->path, name, len);
    }
    return any;
}

static bool refers(const struct ref_fields *fields, const struct type *t)
{
    return t->kind == TYPE_REF || (fields->texts && t->kind == TYPE_STR);
}

/* Through all containers. */
static const struct type *end_of(const struct type *t)
{
    for (;;) {
        if (t->kind == TYPE_MODEL && t->model->wraps)
            t = t->model->fields[0].type;
        else if (t->of != NULL)
            t = t->of;
        else
            return t;
    }
}

static void walk_value(struct walk *w, const struct type *t, struct cursor *in);

static void walk_model(struct walk *w, const struct model *m, struct cursor *in)
{
    uint32_t n;
    size_t base = w->path.len;
    if (m->wraps) { /* a container in another one */
        walk_value(w, m->fields[0].type, in);
        return;
    }
    if (cursor_map(in, &n) < 0) {
        cursor_skip(in); /* null */
        return;
    }
    for (; n > 0; n--) {
        const char *name = "";
        size_t len = 0;
        (void)cursor_str(in, &name, &len);
        int field = len > 0 ? model_field(m, name, len) : -1;
        if (field < 0) {
            cursor_skip(in); /* "@pk" and its like */
            continue;
        }
        buf_printf(&w->path, "%s%.*s", base > 0 ? "." : "", (int)len, name);
        walk_value(w, m->fields[field].type, in);
        w->path.len = base;
    }
}

static void walk_elements(struct walk *w, const struct type *t, struct cursor *in)
{
    uint32_t n = 0, two;
    bool keys = cursor_map(in, &n) == 0;
    if (!keys && cursor_array(in, &n) < 0) {
        cursor_skip(in);
        return;
    }
    for (; n > 0; n--) {
        if (keys)
            cursor_skip(in);
        bool scored = t->kind == TYPE_SORTED && cursor_array(in, &two) == 0;
        walk_value(w, t->of, in);
        if (scored)
            cursor_skip(in);
    }
}

static void walk_value(struct walk *w, const struct type *t, struct cursor *in)
{
    const char *key;
    size_t len;
    const struct type *end = end_of(t);
    if (end->kind != TYPE_MODEL && !refers(w->fields, end)) {
        cursor_skip(in);
    } else if (t->kind == TYPE_MODEL) {
        walk_model(w, t->model, in);
    } else if (t->kind == TYPE_OPTIONAL || t->kind == TYPE_MAYBE) {
        walk_value(w, t->of, in);
    } else if (t != end) {
        walk_elements(w, t, in);
    } else if (cursor_str(in, &key, &len) < 0) {
        cursor_skip(in); /* null */
    } else if (wanted(w)) {
        w->visit(w->arg, key, len);
    }
}

void refs_each(const struct model *m, struct cursor document, const struct ref_fields *fields,
               void (*visit)(void *arg, const char *key, size_t len), void *arg)
{
    struct walk w = {.fields = fields, .visit = visit, .arg = arg};
    walk_model(&w, m, &document);
    buf_free(&w.path);
}

/* ---- in models ---- */

struct models {
    const struct model *at[SCHEMA_MAX_MODELS];
    unsigned n;
};

static bool add(struct models *all, const struct model *m)
{
    for (unsigned i = 0; i < all->n; i++)
        if (all->at[i] == m)
            return false;
    if (all->n < SCHEMA_MAX_MODELS)
        all->at[all->n++] = m;
    return true;
}

/* What the model and those in it refer to; whether they refer to anything. */
static bool collect(const struct schema *s, const struct model *m, struct models *inside,
                    struct models *out)
{
    bool any = false;
    if (!add(inside, m))
        return false;
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct type *t = end_of(m->fields[i].type);
        if (t->kind == TYPE_MODEL)
            any |= collect(s, t->model, inside, out);
        if (t->kind != TYPE_REF)
            continue;
        const struct model *to = schema_model(s, t->names, strlen(t->names));
        any = true;
        if (to != NULL && out != NULL)
            (void)add(out, to);
    }
    return any;
}

/* Whether there may be references at a place "posts.author" of the model, or below. */
static bool leads(const struct schema *s, const struct model *m, const struct ref_fields *fields,
                  const char *path, size_t len)
{
    const char *end = path + len;
    while (m != NULL) {
        const char *dot = memchr(path, '.', (size_t)(end - path));
        size_t name = (size_t)((dot != NULL ? dot : end) - path);
        int field = name > 0 ? model_field(m, path, name) : -1;
        if (field < 0)
            return false;
        const struct type *t = end_of(m->fields[field].type);
        struct models inside = {.n = 0};
        if (dot == NULL)
            return refers(fields, t) ||
                   (t->kind == TYPE_MODEL && collect(s, t->model, &inside, NULL));
        m = t->kind == TYPE_MODEL ? t->model : NULL;
        path = dot + 1;
    }
    return false;
}

int refs_check(const struct schema *s, const struct model *m, const struct ref_fields *fields,
               unsigned depth, struct fault *f)
{
    struct models met = {.at = {m}, .n = 1};
    struct cursor names = fields->names;
    for (unsigned from = 0, level = 1; level < depth && from < met.n; level++) {
        unsigned to = met.n;
        for (; from < to; from++) {
            struct models inside = {.n = 0};
            (void)collect(s, met.at[from], &inside, &met);
        }
    }
    for (uint32_t i = 0; i < fields->n; i++) {
        const char *name = "";
        size_t len = 0;
        bool any = false;
        (void)cursor_str(&names, &name, &len);
        for (unsigned k = 0; k < met.n && !any; k++)
            any = leads(s, met.at[k], fields, name, len);
        if (!any)
            return fault_set(f, FAULT_BAD_PATH,
                             "'%.*s' leads to no reference in %s, nor in what it refers to; fields "
                             "are named without indexes and keys, as in \"posts.author\"",
                             (int)(len < 100 ? len : 100), name, m->name);
    }
    return 0;
}
