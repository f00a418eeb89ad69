/* indexes: see indexes.h. */
#include "daemon/documents/indexes.h"
#include "daemon/documents/layout.h"
#include "protocol/alloc.h"
#include "protocol/tree.h"
#include <stdlib.h>
#include <string.h>

#define RAW_NULL 0xC0 /* layout.h */

/* What there was before a model was declared in another way stays: somebody may look at it. */
struct former {
    struct former *next;
    struct indexes **models;
    unsigned n;
};

struct index_table {
    const struct schema *schema;
    uint32_t growths;
    struct indexes **models; /* by number; NULL: not known */
    unsigned n;
    struct former *former;
};

static const struct {
    enum index_kind kind;
    char sign;
} signs[] = {{INDEX_EXACT, '='}, {INDEX_TAGS, '='}, {INDEX_RANGE, '<'}, {INDEX_PREFIX, '^'}};

struct index_table *index_table_new(const struct schema *schema)
{
    struct index_table *t = alloc_zeroed(1, sizeof(*t));
    t->schema = schema;
    return t;
}

static void free_models(struct indexes **models, unsigned n)
{
    for (unsigned m = 0; m < n; m++) {
        for (unsigned i = 0; models[m] != NULL && i < models[m]->n; i++) {
            struct index *ix = &models[m]->all[i];
            free(ix->path);
            free(ix->id);
            free(ix->state);
            free(ix->suffix);
            free(ix->name);
            free(ix->fallback);
        }
        if (models[m] != NULL) {
            free(models[m]->all);
            buf_free(&models[m]->spec);
        }
        free(models[m]);
    }
    free(models);
}

void index_table_free(struct index_table *t)
{
    while (t->former != NULL) {
        struct former *f = t->former;
        t->former = f->next;
        free_models(f->models, f->n);
        free(f);
    }
    free_models(t->models, t->n);
    free(t);
}

static void set_aside(struct index_table *t)
{
    struct former *f = alloc_zeroed(1, sizeof(*f));
    *f = (struct former){.next = t->former, .models = t->models, .n = t->n};
    t->former = f;
    t->models = NULL;
    t->n = 0;
}

/* ---- what is declared ---- */

/* Where the walk through a model and those within is. */
struct walk {
    struct indexes *to;
    struct buf path, name;       /* of the model at hand: "settings.", or "" */
    const struct type *elements; /* of whose elements it is; NULL: of none */
    const char *suffix;
};

static char *text_of(const struct buf *prefix, const char *s)
{
    return alloc_text("%.*s%s", (int)prefix->len, prefix->len > 0 ? (char *)prefix->data : "", s);
}

/* The text that a field is read as where the hash lacks it. */
static void default_raw(const struct field *f, struct buf *out)
{
    if (f->fallback == NULL || type_container(f->type) != NULL)
        return;
    struct cell c = cell_value(f->fallback, f->fallback_len);
    layout_raw(f->type, &c, out);
    cell_free(&c);
}

static void add_one(struct walk *w, const struct model *m, uint32_t number, enum index_kind kind,
                    char sign)
{
    const struct field *f = &m->fields[number];
    struct indexes *to = w->to;
    struct buf raw = BUF_INIT;
    bool container = type_container(f->type) != NULL;
    to->all = alloc_resized(to->all, to->n + 1, sizeof(*to->all));
    struct index *ix = &to->all[to->n++];
    default_raw(f, &raw);
    *ix = (struct index){.kind = kind,
                         .declared = m,
                         .field = number,
                         .unique = kind == INDEX_EXACT && (f->indexes & INDEX_UNIQUE) &&
                                   w->elements == NULL,
                         .at = container             ? AT_CONTAINER
                               : w->elements != NULL ? AT_ELEMENTS
                                                     : AT_FIELD,
                         .type = container && f->type->kind == TYPE_DICT ? &type_str
                                 : container                             ? f->type->of
                                                                         : f->type,
                         .container = container ? f->type : w->elements,
                         .path = text_of(&w->path, f->name)};
    to->unique = to->unique || ix->unique;
    ix->id = alloc_text("%s%c", ix->path, sign);
    ix->state = index_state_name(to->model, ix);
    if (container)
        ix->suffix = alloc_text("/%s", ix->path);
    else
        ix->name = text_of(&w->name, f->name);
    if (w->elements != NULL)
        ix->suffix = alloc_str(w->suffix);
    if (!container && f->fallback != NULL) {
        ix->fallback = alloc_copy(raw.data, raw.len);
        ix->fallback_len = raw.len;
    }
    buf_free(&raw);
}

static void walk_model(struct walk *w, const struct model *m);

static void walk_inside(struct walk *w, const struct field *f)
{
    size_t path = w->path.len, name = w->name.len;
    if (type_atomic(f->type)) {
        buf_printf(&w->path, "%s.", f->name);
        buf_printf(&w->name, "%s.", f->name);
        walk_model(w, f->type->model);
    } else if (type_container(f->type) != NULL && type_atomic(f->type->of) && w->elements == NULL) {
        struct buf outer = w->name;
        char *suffix =
            alloc_text("/%.*s%s", (int)path, path > 0 ? (char *)w->path.data : "", f->name);
        buf_printf(&w->path, f->type->kind == TYPE_MAYBE ? "%s." : "%s[].", f->name);
        w->name = BUF_INIT;
        w->elements = f->type;
        w->suffix = suffix;
        walk_model(w, f->type->of->model);
        buf_free(&w->name);
        free(suffix);
        w->name = outer;
        w->elements = NULL;
        w->suffix = NULL;
    }
    w->path.len = path;
    w->name.len = name;
}

/* Of elements only what is in their own hash: what is in containers of theirs is not found. */
static void walk_model(struct walk *w, const struct model *m)
{
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[i];
        for (size_t s = 0; s < sizeof(signs) / sizeof(*signs); s++) {
            if ((f->indexes & signs[s].kind) && (w->elements == NULL || !type_container(f->type)))
                add_one(w, m, i, signs[s].kind, signs[s].sign);
        }
        walk_inside(w, f);
    }
}

/* ---- the same for index.lua ---- */

static void pack_text(struct buf *out, const char *s)
{
    if (s != NULL)
        pack_cstr(out, s);
    else
        pack_bool(out, false);
}

/* As Redis has it. */
static bool is_list(const struct type *t)
{
    return t->kind == TYPE_LIST || t->kind == TYPE_MAYBE;
}

/* [path, sign, by digits, suffix, how its container is read, and how its length is, hash field,
 * default, unique]; what it has not is false. */
static void pack_index(const struct index *ix, struct buf *out)
{
    const char *read = ix->container == NULL             ? NULL
                       : is_list(ix->container)          ? "LRANGE"
                       : ix->container->kind == TYPE_SET ? "SMEMBERS"
                       : ix->at == AT_CONTAINER          ? "HKEYS"
                                                         : "HVALS";
    pack_array(out, 9);
    pack_cstr(out, ix->path);
    pack_str(out, ix->id + strlen(ix->path), 1);
    pack_bool(out, index_by_digits(ix->type));
    pack_text(out, ix->suffix);
    pack_text(out, read);
    pack_text(out, ix->container == NULL             ? NULL
                   : is_list(ix->container)          ? "LLEN"
                   : ix->container->kind == TYPE_SET ? "SCARD"
                                                     : "HLEN");
    pack_text(out, ix->name);
    if (ix->fallback != NULL)
        pack_str(out, ix->fallback, ix->fallback_len);
    else
        pack_bool(out, false);
    pack_bool(out, ix->unique);
}

static struct indexes *learn(const struct model *m)
{
    struct indexes *to = alloc_zeroed(1, sizeof(*to));
    struct walk w = {.to = to};
    to->model = m;
    if (m->atomic)
        walk_model(&w, m);
    pack_array(&to->spec, to->n);
    for (unsigned i = 0; i < to->n; i++)
        pack_index(&to->all[i], &to->spec);
    buf_free(&w.path);
    buf_free(&w.name);
    return to;
}

const struct indexes *indexes_of(struct index_table *t, const struct model *m)
{
    if (t->growths != schema_growths(t->schema) && t->n > 0)
        set_aside(t);
    t->growths = schema_growths(t->schema);
    if (m->number >= t->n) {
        unsigned n = m->number + 16;
        t->models = alloc_resized(t->models, n, sizeof(struct indexes *));
        memset(t->models + t->n, 0, (n - t->n) * sizeof(struct indexes *));
        t->n = n;
    }
    if (t->models[m->number] == NULL)
        t->models[m->number] = learn(m);
    return t->models[m->number]->n > 0 ? t->models[m->number] : NULL;
}

const struct index *index_find(const struct indexes *all, const char *path, size_t len,
                               enum index_kind kind)
{
    for (unsigned i = 0; all != NULL && i < all->n; i++) {
        const struct index *ix = &all->all[i];
        if (ix->kind == kind && strlen(ix->path) == len && memcmp(ix->path, path, len) == 0)
            return ix;
    }
    return NULL;
}

const struct index *index_of_field(const struct indexes *all, const char *name, size_t len)
{
    for (unsigned i = 0; all != NULL && i < all->n; i++) {
        const struct index *ix = &all->all[i];
        if (ix->at == AT_FIELD && strlen(ix->name) == len && memcmp(ix->name, name, len) == 0)
            return ix;
    }
    return NULL;
}

bool index_null(const char *text, size_t len)
{
    return text == NULL || (len == 1 && (uint8_t)*text == RAW_NULL);
}

void index_head(const char *prefix, const char *tag, struct buf *out)
{
    buf_printf(out, "%s:@index", prefix);
    if (tag != NULL)
        buf_printf(out, "{%s}", tag);
}

void index_key(const char *prefix, const char *tag, const struct model *m, const struct index *ix,
               const char *text, size_t len, struct buf *out)
{
    index_head(prefix, tag, out);
    buf_printf(out, ":%s/%s", m->name, ix->id);
    if (ix->kind == INDEX_RANGE || ix->kind == INDEX_PREFIX)
        return;
    if (text == NULL) {
        buf_append(out, &(uint8_t){RAW_NULL}, 1);
    } else if (len == 2 && memcmp(text, "-0", 2) == 0) {
        buf_append(out, "0", 1);
    } else if (len <= INDEX_TEXT_MAX) {
        buf_append(out, text, len);
    } else {
        buf_append(out, text, INDEX_TEXT_HEAD);
        buf_printf(out, "#%zu#", len);
        buf_append(out, text + len - INDEX_TEXT_TAIL, INDEX_TEXT_TAIL);
    }
}

char *index_states_key(const char *prefix, bool cluster)
{
    return cluster ? alloc_text("%s:@index{%s:@schema}", prefix, prefix)
                   : alloc_text("%s:@index", prefix);
}

char *index_state_name(const struct model *m, const struct index *ix)
{
    return alloc_text("%s/%s", m->name, ix->id);
}

void index_state(const struct index *ix, struct buf *out)
{
    bool empty = ix->fallback != NULL && ix->fallback_len == 0;
    buf_append(out, empty ? "2" : "1", 1); /* an empty default is another one than none */
    if (ix->fallback != NULL)
        buf_append(out, ix->fallback, ix->fallback_len);
}

bool index_was_spoilt(const char *state, size_t len)
{
    return len > 0 && (*state == '!' || *state == '?');
}
