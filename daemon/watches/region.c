/* region: see region.h. */
#include "daemon/watches/region.h"
#include "protocol/container.h"
#include "protocol/path.h"
#include <string.h>

/* Where the walk along a path stands. */
struct walk {
    struct region *r;
    const struct type *type;   /* of what is there; NULL: the document */
    const struct model *model; /* of the record there; NULL: it is none */
    bool container;            /* there */
    const char *joint;         /* between that record's name and its fields' */
    bool cut;                  /* what follows is looked at, and not taken over */
};

static int leads_nowhere(const char *path, size_t len, const char *why, struct fault *f)
{
    return fault_set(f, FAULT_BAD_PATH, "'%.*s': %s", (int)(len < 120 ? len : 120), path, why);
}

/* The path leads to a value, and on. */
static int inside_value(const struct walk *w, const char *path, size_t len, struct fault *f)
{
    char type[TYPE_NAME_MAX];
    return fault_set(f, FAULT_BAD_PATH,
                     "'%.*s' is %s, a value: there is nothing to lock or watch inside",
                     (int)(len < 120 ? len : 120), path, type_name(w->type, type, sizeof(type)));
}

/* Within a container all but atomic models are values. */
static void enter(struct walk *w, const struct type *t, bool container, const char *joint)
{
    w->type = t;
    w->model = type_atomic(t) ? t->model : NULL;
    w->container = container;
    w->joint = joint;
    if (!w->cut)
        w->r->container = container;
}

static int take_name(struct walk *w, const struct step *s, struct fault *f)
{
    int i = model_field(w->model, s->s, s->len);
    if (i < 0)
        return fault_set(f, FAULT_UNKNOWN_FIELD, "model %s has no field '%.*s'", w->model->name,
                         (int)s->len, s->s);
    if (!w->cut) {
        buf_append(&w->r->name, w->joint, 1);
        buf_append(&w->r->name, s->s, s->len);
        path_add_name(&w->r->path, s->s, s->len);
    }
    const struct type *t = w->model->fields[i].type;
    enter(w, t, type_container(t) != NULL, ".");
    return 0;
}

/* Whether elements are named by their pks. */
static bool has_pks(const struct type *t)
{
    return t->kind == TYPE_LIST && type_atomic(t->of) && !t->of->model->wraps;
}

/* An element of a list, or an entry of a dict. */
static int take_sub(struct walk *w, const struct step *s, struct fault *f)
{
    const struct type *t = w->type;
    bool pk = has_pks(t) && s->kind == STEP_KEY;
    if (pk && pk_check(s->s, s->len, f) < 0)
        return -1;
    if (pk && !w->cut) {
        buf_append(&w->r->name, "/", 1);
        pk_append(&w->r->name, s->s, s->len);
        path_add_key(&w->r->path, s->s, s->len);
    }
    w->cut = w->cut || !pk;
    enter(w, t->of, false, "/");
    return 0;
}

/* Into what an optional model holds. */
static void take_lone(struct walk *w)
{
    if (!w->cut)
        buf_append(&w->r->name, "/" LONE_PK, 2);
    enter(w, w->type->of, false, "/");
}

/* Into a container that is in another one. */
static void take_wrapped(struct walk *w)
{
    const struct field *f = &w->model->fields[0];
    if (!w->cut)
        buf_printf(&w->r->name, "%s%s", w->joint, f->name);
    enter(w, f->type, true, ".");
}

static int take_step(struct walk *w, const struct step *s, const char *path, size_t len,
                     struct fault *f)
{
    while ((w->container && w->type->kind == TYPE_MAYBE) || (w->model != NULL && w->model->wraps)) {
        if (w->model != NULL)
            take_wrapped(w);
        else
            take_lone(w);
    }
    enum type_kind kind = w->type != NULL ? w->type->kind : TYPE_MODEL;
    if (w->model != NULL && s->kind == STEP_NAME)
        return take_name(w, s, f);
    bool list = kind == TYPE_LIST && (s->kind == STEP_INDEX || has_pks(w->type));
    if ((list && s->kind != STEP_NAME) || (kind == TYPE_DICT && s->kind == STEP_KEY))
        return take_sub(w, s, f);
    return leads_nowhere(path, len, "it leads to nothing in this model", f);
}

int region_read(struct region *r, const struct model *m, const char *path, size_t len,
                struct fault *f)
{
    struct walk w = {.r = r, .model = m, .joint = "/"};
    struct path_reader reader;
    struct step s;
    int more;
    size_t at = 0; /* where the next step begins */
    *r = (struct region){.container = false};
    path_read(&reader, path, len);
    while ((more = path_next(&reader, &s, f)) > 0) {
        more = w.model == NULL && !w.container ? inside_value(&w, path, at, f)
                                               : take_step(&w, &s, path, len, f);
        if (more < 0)
            break;
        at = (size_t)(reader.at - path);
    }
    if (more < 0)
        region_free(r);
    return more;
}

void region_free(struct region *r)
{
    buf_free(&r->path);
    buf_free(&r->name);
}

/* ---- what touches it ---- */

/* The suffix of the hash of a model: fields and pks take turns in it. Else a container's. */
static bool of_record(const char *suffix, size_t len)
{
    unsigned slashes = 0;
    for (size_t i = 0; i < len; i++)
        slashes += suffix[i] == '/';
    return slashes % 2 == 0;
}

static bool begins(const void *s, size_t len, const void *with, size_t with_len)
{
    return len >= with_len && (with_len == 0 || memcmp(s, with, with_len) == 0);
}

/* The first is the second, or within it. */
static bool within(const char *s, size_t len, const char *of, size_t of_len)
{
    return begins(s, len, of, of_len) && (len == of_len || s[of_len] == '/' || s[of_len] == '.');
}

bool region_touched(const struct region *r, const char *suffix, size_t suffix_len,
                    const char *field, size_t field_len)
{
    const char *name = (const char *)r->name.data;
    size_t len = r->name.len;
    if (len == 0 || within(suffix, suffix_len, name, len))
        return true;
    if (!begins(name, len, suffix, suffix_len) || name[suffix_len] != '/')
        return false;
    if (!of_record(suffix, suffix_len))
        return true;
    /* Of this hash it can be a field. */
    const char *own = name + suffix_len + 1;
    size_t own_len = len - suffix_len - 1;
    if (r->container || memchr(own, '/', own_len) != NULL)
        return false;
    return field == NULL || within(field, field_len, own, own_len);
}

/* ---- what it is called ---- */

/* "settings.theme": the type of what is there; NULL: not all of that is known here. */
static const struct type *add_names(const struct model *m, const char *names, size_t len,
                                    struct buf *path)
{
    for (const char *end = names + len;;) {
        const char *dot = memchr(names, '.', (size_t)(end - names));
        size_t n = (size_t)((dot != NULL ? dot : end) - names);
        int i = m != NULL ? model_field(m, names, n) : -1;
        if (i < 0)
            return NULL;
        path_add_name(path, names, n);
        const struct type *t = m->fields[i].type;
        if (dot == NULL)
            return t;
        m = type_atomic(t) ? t->model : NULL;
        names = dot + 1;
    }
}

/* False: it is none. */
static bool add_pk(struct buf *path, const char *name, size_t len)
{
    char pk[PK_ESCAPED_MAX];
    if (len > sizeof(pk) || !pk_unescape(pk, name, len, &len))
        return false;
    path_add_key(path, pk, len);
    return true;
}

void region_path(const struct model *m, const char *suffix, size_t suffix_len, const char *field,
                 size_t field_len, struct buf *path)
{
    const char *at = suffix, *end = suffix + suffix_len;
    while (at < end && *at == '/') {
        const char *names = at + 1, *to = memchr(names, '/', (size_t)(end - names));
        const struct type *t =
            m != NULL && m->wraps
                ? m->fields[0].type
                : add_names(m, names, (size_t)((to != NULL ? to : end) - names), path);
        /* In a dict elements are called by their keys, which only the dict knows. */
        bool lone = t != NULL && t->kind == TYPE_MAYBE;
        if (to == NULL || t == NULL || (!has_pks(t) && !lone))
            return;
        const char *pk = to + 1, *next = memchr(pk, '/', (size_t)(end - pk));
        at = next != NULL ? next : end;
        if (!lone && !add_pk(path, pk, (size_t)(at - pk)))
            return;
        m = t->of->model;
    }
    if (field != NULL && at == end)
        (void)add_names(m, field, field_len, path);
}
