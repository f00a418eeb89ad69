/* schema: the registry of models, and what a new declaration may change in it.
 *
 *   declaration ──► draft ──► compare with the stored model ──► sizes of all that contain it
 *                                                                      │
 *                                        check: throw the draft away ◄─┴─► define: take it over
 *
 * Everything is decided before anything is changed. Models refer to each other without cycles,
 * so that what they measure (depth, slots) can be worked out from the leaves upwards.
 */
#include "protocol/schema.h"
#include "protocol/alloc.h"
#include "protocol/container.h"
#include "protocol/declaration.h"
#include "protocol/type.h"
#include "protocol/value.h"
#include <stdio.h>
#define uthash_malloc(n) alloc_bytes(n)
#include <uthash.h>
#include <utlist.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FEW_FIELDS 8 /* looked through one by one */

struct entry {
    struct model model;
    UT_hash_handle hh;
};

/* A type that is no longer in force, and may be pointed to. */
struct former {
    struct former *next;
    const struct type *type;
};

/* The models that wrap inner types, the last one first. */
struct wrapper {
    struct wrapper *next;
    struct model model;
    struct field field;
};
struct wrappers {
    struct wrapper *first;
};

struct schema {
    struct entry *by_name; /* in order of definition */
    struct former *former;
    struct wrappers *wrappers;
    uint32_t models, fields, growths;
    void (*on_change)(void *arg);
    void *on_change_arg;
    int64_t known;
};

struct measure {
    unsigned depth;
    uint32_t slots;
};

/* What a declaration comes to. */
struct plan {
    struct declaration draft;
    struct entry *stored; /* NULL: the model is new */
    struct measure own;   /* of the model, with what is stored of it */
    struct measure *all;  /* by model number, when others grow too; else NULL */
    uint32_t added;       /* fields */
    bool widened;         /* a field that was there */
    bool changed;
    unsigned revision;
    const struct wrapper *wrappers; /* the last one before */
};

struct schema *schema_new(void)
{
    struct schema *s = alloc_try(1, sizeof(struct schema));
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    s->wrappers = alloc_zeroed(1, sizeof *s->wrappers);
    return s;
}

void field_clear(struct field *field)
{
    free(field->name);
    free((void *)field->type);
    free((void *)field->was);
    free(field->fallback);
    free(field->packed_name);
    *field = (struct field){0};
}

void model_clear(struct model *m)
{
    for (uint32_t i = 0; i < m->nfields; i++)
        field_clear(&m->fields[i]);
    free(m->fields);
    free(m->index);
    free(m->name);
    *m = (struct model){.key_field = -1};
}

/* Those that were made since `last` was the last one. */
static void wrappers_drop(struct wrappers *all, const struct wrapper *last)
{
    while (all->first != last) {
        struct wrapper *w = all->first;
        LL_DELETE(all->first, w);
        field_clear(&w->field);
        free(w->model.name);
        free(w);
    }
}

const struct model *schema_wrapper(void *schema, const struct type *inner)
{
    struct schema *s = schema;
    char name[TYPE_NAME_MAX];
    struct wrapper *w;
    type_name(inner, name, sizeof name);
    LL_FOREACH (s->wrappers->first, w)
        if (strcmp(w->model.name, name) == 0)
            return &w->model;
    struct type *own = type_copy(inner);
    type_wrap(own, schema_wrapper, s);
    w = alloc_zeroed(1, sizeof *w);
    w->field = (struct field){.name = alloc_text(WRAPPED_FIELD), .type = own};
    w->field.name_len = strlen(w->field.name);
    w->model = (struct model){.name = alloc_text("%s", name),
                              .atomic = true,
                              .wraps = true,
                              .key_field = -1,
                              .nfields = 1,
                              .fields = &w->field};
    LL_PREPEND(s->wrappers->first, w);
    return &w->model;
}

void schema_free(struct schema *s)
{
    struct entry *e, *next;
    if (!s)
        return;
    while (s->former) {
        struct former *first = s->former;
        LL_DELETE(s->former, first);
        free((void *)first->type);
        free(first);
    }
    HASH_ITER (hh, s->by_name, e, next) {
        HASH_DEL(s->by_name, e);
        model_clear(&e->model);
        free(e);
    }
    wrappers_drop(s->wrappers, NULL);
    free(s->wrappers);
    free(s);
}

static struct entry *find(const struct schema *s, const char *name, size_t len)
{
    struct entry *e;
    HASH_FIND(hh, s->by_name, name, len, e);
    return e;
}

const struct model *schema_model(const struct schema *s, const char *name, size_t len)
{
    struct entry *e = find(s, name, len);
    return e ? &e->model : NULL;
}

uint32_t schema_count(const struct schema *s)
{
    return s->models;
}

void schema_on_change(struct schema *s, void (*fn)(void *arg), void *arg)
{
    s->on_change = fn;
    s->on_change_arg = arg;
}

uint32_t schema_growths(const struct schema *s)
{
    return s->growths;
}

int64_t schema_known(const struct schema *s)
{
    return s->known;
}

void schema_know(struct schema *s, int64_t revision)
{
    if (revision > s->known)
        s->known = revision;
}

void schema_each(const struct schema *s, void (*visit)(const struct model *m, void *arg), void *arg)
{
    for (struct entry *e = s->by_name; e; e = e->hh.next)
        visit(&e->model, arg);
}

void model_index(struct model *m)
{
    free(m->index);
    m->index = NULL;
    if (m->nfields <= FEW_FIELDS)
        return;
    uint32_t size = FEW_FIELDS * 2;
    while (size < m->nfields * 2)
        size *= 2;
    m->index = alloc_zeroed(size, sizeof *m->index);
    m->index_mask = size - 1;
    for (uint32_t i = 0; i < m->nfields; i++) {
        uint32_t at = (uint32_t)XXH3_64bits(m->fields[i].name, m->fields[i].name_len);
        while (m->index[at & m->index_mask])
            at++;
        m->index[at & m->index_mask] = (uint16_t)(i + 1);
    }
}

static bool named(const struct field *field, const char *name, size_t len)
{
    return field->name_len == len && memcmp(field->name, name, len) == 0;
}

int model_field(const struct model *m, const char *name, size_t len)
{
    if (!m->index) {
        for (uint32_t i = 0; i < m->nfields; i++)
            if (named(&m->fields[i], name, len))
                return (int)i;
        return -1;
    }
    uint32_t at = (uint32_t)XXH3_64bits(name, len);
    for (uint16_t i; (i = m->index[at & m->index_mask]); at++)
        if (named(&m->fields[i - 1], name, len))
            return i - 1;
    return -1;
}

bool model_reaches(const struct model *from, const char *to, uint8_t *seen, struct buf *out)
{
    size_t mark = out->len;
    if (seen[from->number])
        return false;
    seen[from->number] = 1;
    buf_printf(out, "%s -> ", from->name);
    for (uint32_t i = 0; i < from->nfields; i++) {
        const struct model *inner = type_model(from->fields[i].type);
        if (!inner)
            continue;
        if (strcmp(inner->name, to) == 0) {
            buf_printf(out, "%s", to);
            return true;
        }
        if (model_reaches(inner, to, seen, out))
            return true;
    }
    out->len = mark;
    return false;
}

/* How deep a field's value nests and how many slots it takes. all: sizes that replace those of
 * the models, or NULL. */
static struct measure measure_type(const struct type *t, const struct measure *all)
{
    struct measure m = {.slots = 1};
    for (;; t = t->of) {
        t = type_within(t);
        if (type_container(t)) {
            m.depth += !type_container(t)->lone;
        } else if (t->kind == TYPE_ANY) {
            m.depth += VALUE_ANY_DEPTH;
            return m;
        } else if (t->kind == TYPE_MODEL) {
            m.depth += all ? all[t->model->number].depth : t->model->depth;
            return m;
        } else if (t->kind != TYPE_OPTIONAL) {
            return m;
        }
    }
}

static struct measure measure_field(const struct field *field, const struct measure *all)
{
    struct measure m = measure_type(field->type, all);
    if (type_atomic(field->type))
        m.slots += all ? all[field->type->model->number].slots : field->type->model->slots;
    return m;
}

static void measure_add(struct measure *sum, struct measure field)
{
    if (sum->depth < field.depth + 1)
        sum->depth = field.depth + 1;
    sum->slots += field.slots;
}

static int check_measure(const struct model *m, struct measure size, const char *why,
                         struct fault *f)
{
    if (size.depth > SCHEMA_MAX_DEPTH)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%smodel '%s' would nest %u containers, at most %d are allowed (every "
                         "model, list and dict is one, an any counts as %d)",
                         why, m->name, size.depth, SCHEMA_MAX_DEPTH, VALUE_ANY_DEPTH);
    if (size.slots > SCHEMA_MAX_SLOTS)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%smodel '%s' would have %u fields with those of the atomic models in "
                         "it, at most %d are allowed",
                         why, m->name, size.slots, SCHEMA_MAX_SLOTS);
    return 0;
}

/* The stored model grows: so do those that contain it, and they may become too big. Goes over
 * all models until nothing changes, at most once for each level of nesting. */
static int measure_all(const struct schema *s, struct plan *p, struct fault *f)
{
    char why[120];
    uint32_t own = p->stored->model.number;
    struct measure *all = p->all = alloc_zeroed(s->models, sizeof *all);
    snprintf(why, sizeof why, "because of what is new in '%s', ", p->stored->model.name);
    for (struct entry *e = s->by_name; e; e = e->hh.next)
        all[e->model.number] = (struct measure){e->model.depth, e->model.slots};
    all[own] = p->own;
    for (bool again = true; again;) {
        again = false;
        for (struct entry *e = s->by_name; e; e = e->hh.next) {
            struct measure size = {.depth = 1};
            if (e->model.number == own)
                continue;
            for (uint32_t i = 0; i < e->model.nfields; i++)
                measure_add(&size, measure_field(&e->model.fields[i], all));
            if (check_measure(&e->model, size, why, f) < 0)
                return -1;
            struct measure *known = &all[e->model.number];
            again = again || known->depth != size.depth || known->slots != size.slots;
            *known = size;
        }
    }
    return 0;
}

static bool same_default(const struct field *a, const struct field *b)
{
    if (!a->fallback || !b->fallback)
        return a->fallback == b->fallback;
    return a->fallback_len == b->fallback_len &&
           memcmp(a->fallback, b->fallback, a->fallback_len) == 0;
}

/* Whether documents that were stored without the field of m can do without it. If not, says
 * which field of which model is in the way: itself, or one of an atomic model inside. */
static bool dispensable(const struct model *m, const struct field *field, const struct model **of,
                        const struct field **way)
{
    if (field->fallback || field->type->kind == TYPE_OPTIONAL)
        return true;
    *of = m;
    *way = field;
    if (!type_atomic(field->type))
        return false;
    const struct model *inner = field->type->model;
    for (uint32_t i = 0; i < inner->nfields; i++)
        if (!dispensable(inner, &inner->fields[i], of, way))
            return false;
    return true;
}

static int check_new_field(const struct model *m, const struct field *field, struct fault *f)
{
    const struct field *way;
    const struct model *of;
    char name[TYPE_NAME_MAX];
    if (dispensable(m, field, &of, &way))
        return 0;
    type_name(way->type, name, sizeof name);
    if (way != field)
        return fault_set(f, FAULT_SCHEMA_CONFLICT,
                         "the new field '%s' of model '%s': stored documents lack it, and the "
                         "field '%s' (%s) of '%s' inside has no default",
                         field->name, m->name, way->name, name, of->name);
    return fault_set(f, FAULT_SCHEMA_CONFLICT,
                     "the new field '%s' of model '%s': stored documents lack it; give it a "
                     "default or the type optional<%s>",
                     field->name, m->name, name);
}

static int compare_head(const struct model *was, const struct model *now, struct fault *f)
{
    if (was->atomic != now->atomic)
        return fault_set(
            f, FAULT_SCHEMA_CONFLICT,
            "model '%s' is stored as %s and declared as %s; its kind cannot change, use a "
            "new name",
            was->name, was->atomic ? "atomic" : "plain", now->atomic ? "atomic" : "plain");
    const char *old_key = was->key_field < 0 ? NULL : was->fields[was->key_field].name;
    const char *new_key = now->key_field < 0 ? NULL : now->fields[now->key_field].name;
    if ((old_key && new_key) ? strcmp(old_key, new_key) == 0 : old_key == new_key)
        return 0;
    return fault_set(
        f, FAULT_SCHEMA_CONFLICT,
        "model '%s' is stored with %s%s and declared with %s%s; its key cannot change, "
        "use a new name",
        was->name, old_key ? "the key " : "no key", old_key ? old_key : "",
        new_key ? "the key " : "no key", new_key ? new_key : "");
}

/* The narrowest that the field was declared with. */
static const struct type *narrowest(const struct field *field)
{
    return field->was ? field->was : field->type;
}

static int refuse_type(const struct model *m, const struct field *was, const struct field *now,
                       bool fixed, struct fault *f)
{
    char old_type[TYPE_NAME_MAX], new_type[TYPE_NAME_MAX], wider[TYPE_WIDER_MAX] = "";
    if (!fixed)
        type_wider(was->type, wider, sizeof wider);
    return fault_set(f, FAULT_SCHEMA_CONFLICT,
                     "field '%s' of model '%s' is stored as %s and declared as %s; its type can%s"
                     "%s, for another use a new name",
                     was->name, m->name, type_name(was->type, old_type, sizeof old_type),
                     type_name(now->type, new_type, sizeof new_type),
                     wider[0] ? " only become " : "not change", wider);
}

/* What of a stored field the declared one changes. An older form of it than that in force was
 * declared by a program that does not know the newer yet: it changes nothing. */
struct edit {
    bool widens;   /* the type in force becomes a wider one */
    bool lowers;   /* it says that the field once was narrower than is known */
    bool defaults; /* the default is another */
    bool lazy;
};

static struct edit edit_of(const struct field *was, const struct field *now)
{
    bool newer = type_covers(now->type, was->type);
    return (struct edit){
        .widens = !type_covers(was->type, now->type),
        .lowers = !type_covers(narrowest(now), narrowest(was)),
        .defaults = newer && now->fallback && !same_default(was, now),
        .lazy = newer && was->lazy != now->lazy,
    };
}

#define WIDER_DEFAULT 8 /* bytes that a default takes more as a float */

static int compare_field(struct plan *p, int old, const struct field *now, size_t *defaults,
                         struct fault *f)
{
    const struct model *m = &p->stored->model;
    const struct field *was = &m->fields[old];
    bool fixed = old == m->key_field;
    if (fixed ? !type_equal(was->type, now->type) : !type_covers(now->type, narrowest(was)))
        return refuse_type(m, was, now, fixed, f);
    struct edit edit = edit_of(was, now);
    if (edit.defaults)
        *defaults = *defaults + now->fallback_len - was->fallback_len;
    else if (edit.widens && was->fallback)
        *defaults += WIDER_DEFAULT;
    p->widened = p->widened || edit.widens;
    p->changed = p->changed || edit.widens || edit.lowers || edit.defaults || edit.lazy;
    return 0;
}

static int compare(struct plan *p, struct fault *f)
{
    const struct model *was = &p->stored->model, *now = &p->draft.model;
    if (compare_head(was, now, f) < 0)
        return -1;
    p->changed = was->ttl != now->ttl || was->refresh_ttl != now->refresh_ttl;
    p->own = (struct measure){was->depth, was->slots};
    size_t defaults = 0;
    for (uint32_t i = 0; i < was->nfields; i++)
        defaults += was->fields[i].fallback_len;
    for (uint32_t i = 0; i < now->nfields; i++) {
        const struct field *field = &now->fields[i];
        int old = model_field(was, field->name, field->name_len);
        if (old >= 0) {
            if (compare_field(p, old, field, &defaults, f) < 0)
                return -1;
            continue;
        }
        defaults += field->fallback_len;
        if (check_new_field(was, field, f) < 0)
            return -1;
        measure_add(&p->own, measure_field(field, NULL));
        p->added++;
    }
    p->changed = p->changed || p->added;
    if (defaults > SCHEMA_MAX_DEFAULTS + SCHEMA_MAX_FIELDS)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "model '%s': the defaults, with those that are stored, have more than %d "
                         "bytes in all",
                         was->name, SCHEMA_MAX_DEFAULTS);
    if (was->nfields + p->added > SCHEMA_MAX_FIELDS)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "model '%s' would have %u fields with those that are stored, at most %d "
                         "are allowed",
                         was->name, was->nfields + p->added, SCHEMA_MAX_FIELDS);
    return 0;
}

static int plan_new(const struct schema *s, struct plan *p, struct fault *f)
{
    const struct model *m = &p->draft.model;
    p->changed = true;
    p->added = m->nfields;
    p->own = (struct measure){.depth = 1};
    for (uint32_t i = 0; i < m->nfields; i++)
        measure_add(&p->own, measure_field(&m->fields[i], NULL));
    if (s->models == SCHEMA_MAX_MODELS)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "model '%s' would be one too many, at most %d are allowed", m->name,
                         SCHEMA_MAX_MODELS);
    return check_measure(m, p->own, "", f);
}

static int plan_change(const struct schema *s, struct plan *p, struct fault *f)
{
    const struct model *was = &p->stored->model;
    if (compare(p, f) < 0 || check_measure(was, p->own, "", f) < 0)
        return -1;
    if (p->own.depth == was->depth && p->own.slots == was->slots)
        return 0;
    return measure_all(s, p, f);
}

static void plan_free(struct plan *p)
{
    model_clear(&p->draft.model);
    free(p->all);
}

/* Nothing of it is taken over. */
static void plan_drop(const struct schema *s, struct plan *p)
{
    plan_free(p);
    wrappers_drop(s->wrappers, p->wrappers);
}

static int plan_make(const struct schema *s, struct cursor *declaration, struct plan *p,
                     struct fault *f)
{
    *p = (struct plan){.wrappers = s->wrappers->first};
    if (declaration_read(s, declaration, &p->draft, f) < 0) {
        wrappers_drop(s->wrappers, p->wrappers);
        return -1;
    }
    const struct model *m = &p->draft.model;
    p->stored = find(s, m->name, strlen(m->name));
    int done = p->stored ? plan_change(s, p, f) : plan_new(s, p, f);
    if (done == 0 && s->fields + p->added > SCHEMA_MAX_ALL_FIELDS)
        done = fault_set(f, FAULT_BAD_SCHEMA,
                         "with model '%s' all models would have %u fields, at most %d are allowed",
                         m->name, s->fields + p->added, SCHEMA_MAX_ALL_FIELDS);
    if (done < 0) {
        plan_drop(s, p);
        return -1;
    }
    unsigned revision = p->stored ? p->stored->model.revision : 0;
    p->revision = revision + (p->changed ? 1 : 0);
    if (p->draft.revision > p->revision)
        p->revision = (unsigned)p->draft.revision;
    p->changed = p->revision != revision;
    return 0;
}

static struct entry *take_new(struct schema *s, struct plan *p)
{
    struct entry *e = alloc_zeroed(1, sizeof *e);
    e->model = p->draft.model;
    p->draft.model = (struct model){0};
    e->model.number = s->models++;
    HASH_ADD_KEYPTR(hh, s->by_name, e->model.name, strlen(e->model.name), e);
    return e;
}

static void keep_former(struct schema *s, const struct type *t)
{
    struct former *one = alloc_zeroed(1, sizeof *one);
    one->type = t;
    LL_PREPEND(s->former, one);
}

/* What is good for the narrower type is so for the wider; only its form may be another. */
static void widen_default(struct field *field)
{
    struct buf wider = BUF_INIT;
    struct fault f;
    struct cursor in = cursor_of(field->fallback, field->fallback_len);
    if (field->fallback && value_check(field->type, &in, &wider, field->name, &f) == 0) {
        free(field->fallback);
        field->fallback = alloc_copy(wider.data, wider.len);
        field->fallback_len = wider.len;
    }
    buf_free(&wider);
}

static void widen(struct schema *s, struct field *to, struct field *from)
{
    const struct type *before = to->type;
    if (type_covers(from->type, before)) {
        to->type = from->type;
        from->type = NULL;
    } else {
        to->type = type_join(before, from->type);
    }
    if (to->was)
        keep_former(s, before);
    else
        to->was = before;
    widen_default(to);
}

/* from->was is the narrowest that is known then. */
static void lower(struct schema *s, struct field *to, struct field *from)
{
    if (to->was)
        keep_former(s, to->was);
    to->was = from->was;
    from->was = NULL;
}

/* Moves one declared field into the stored model: at the end, or what of it is new. */
static void take_field(struct schema *s, struct model *m, struct field *from)
{
    int old = model_field(m, from->name, from->name_len);
    if (old < 0) {
        m->fields[m->nfields++] = *from;
        *from = (struct field){0};
        return;
    }
    struct field *to = &m->fields[old];
    struct edit edit = edit_of(to, from);
    if (edit.widens)
        widen(s, to, from);
    if (edit.lowers)
        lower(s, to, from);
    if (edit.lazy)
        to->lazy = from->lazy;
    if (!edit.defaults)
        return;
    free(to->fallback);
    to->fallback = from->fallback;
    to->fallback_len = from->fallback_len;
    from->fallback = NULL;
}

static void take_change(struct schema *s, struct plan *p)
{
    struct model *m = &p->stored->model, *draft = &p->draft.model;
    m->ttl = draft->ttl;
    m->refresh_ttl = draft->refresh_ttl;
    m->fields = alloc_resized(m->fields, m->nfields + p->added, sizeof *m->fields);
    for (uint32_t i = 0; i < draft->nfields; i++)
        take_field(s, m, &draft->fields[i]);
    model_index(m);
}

int schema_define(struct schema *s, struct cursor *declaration, const struct model **out,
                  bool *changed, struct fault *f)
{
    struct plan p;
    if (plan_make(s, declaration, &p, f) < 0)
        return -1;
    struct entry *e = p.stored;
    if (!e)
        e = take_new(s, &p);
    else if (p.changed)
        take_change(s, &p);
    s->fields += p.added;
    s->growths += p.stored && (p.added || p.widened);
    e->model.nlazy = 0;
    for (uint32_t i = 0; i < e->model.nfields; i++)
        e->model.nlazy += e->model.fields[i].lazy;
    e->model.depth = p.own.depth;
    e->model.slots = p.own.slots;
    e->model.revision = p.revision;
    for (struct entry *each = p.all ? s->by_name : NULL; each; each = each->hh.next) {
        each->model.depth = p.all[each->model.number].depth;
        each->model.slots = p.all[each->model.number].slots;
    }
    *out = &e->model;
    *changed = p.changed;
    if (p.stored && p.changed && s->on_change)
        s->on_change(s->on_change_arg);
    plan_free(&p);
    return 0;
}

int schema_check(const struct schema *s, struct cursor *declaration, bool *changed, struct fault *f)
{
    struct plan p;
    if (plan_make(s, declaration, &p, f) < 0)
        return -1;
    *changed = p.changed;
    plan_drop(s, &p);
    return 0;
}

/* Tries those that are left until none of them finds what it needs. */
int schema_restore(struct schema *s, const struct cursor *declarations, size_t n, bool *taken,
                   struct fault *f)
{
    bool *done = alloc_zeroed(n, sizeof *done);
    size_t left = n;
    for (bool again = true; again && left;) {
        bool first = true;
        again = false;
        for (size_t i = 0; i < n; i++) {
            const struct model *m;
            bool changed;
            struct fault why;
            struct cursor in = declarations[i];
            if (done[i])
                continue;
            if (schema_define(s, &in, &m, &changed, &why) == 0) {
                done[i] = again = true;
                left--;
            } else if (first) {
                first = false;
                *f = why;
            }
        }
    }
    if (taken)
        memcpy(taken, done, n * sizeof *done);
    free(done);
    return left ? -1 : 0;
}

static void pack_field(const struct field *field, struct buf *out)
{
    char type[TYPE_NAME_MAX];
    pack_map(out, 2 + (field->was ? 1 : 0) + (field->fallback ? 1 : 0) + (field->lazy ? 1 : 0));
    pack_cstr(out, "name");
    pack_str(out, field->name, field->name_len);
    pack_cstr(out, "type");
    pack_cstr(out, type_name(field->type, type, sizeof type));
    if (field->was) {
        pack_cstr(out, "was");
        pack_cstr(out, type_name(field->was, type, sizeof type));
    }
    if (field->fallback) {
        pack_cstr(out, "default");
        buf_append(out, field->fallback, field->fallback_len);
    }
    if (field->lazy) {
        pack_cstr(out, "lazy");
        pack_bool(out, true);
    }
}

void schema_pack(const struct model *m, struct buf *out)
{
    pack_map(out, 4 + (m->key_field >= 0 ? 1 : 0) + (m->ttl ? 1 : 0) + (m->refresh_ttl ? 1 : 0));
    pack_cstr(out, "name");
    pack_cstr(out, m->name);
    pack_cstr(out, "kind");
    pack_cstr(out, m->atomic ? "atomic" : "plain");
    if (m->key_field >= 0) {
        pack_cstr(out, "key");
        pack_cstr(out, m->fields[m->key_field].name);
    }
    if (m->ttl) {
        pack_cstr(out, "ttl");
        pack_int(out, m->ttl);
    }
    if (m->refresh_ttl) {
        pack_cstr(out, "refresh_ttl");
        pack_bool(out, true);
    }
    pack_cstr(out, "fields");
    pack_array(out, m->nfields);
    for (uint32_t i = 0; i < m->nfields; i++)
        pack_field(&m->fields[i], out);
    pack_cstr(out, "revision");
    pack_uint(out, m->revision);
}
