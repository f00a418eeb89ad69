/* schema: the registry of models, and what a new declaration may change in one of them.
 *
 *   schema.c ── define.c    declarations, one or several at once: all is decided before anything
 * changes ├── declaration.c   what one of them says └── measure.c       how big all models are then
 */
#include "protocol/schema.h"
#include "protocol/alloc.h"
#include "protocol/container.h"
#include "protocol/index.h"
#include "protocol/schema_private.h"
#include "protocol/type.h"
#include "protocol/value.h"
#include <stdio.h>
#include <utlist.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FEW_FIELDS 8 /* looked through one by one */

struct schema *schema_new(void)
{
    struct schema *s = alloc_try(1, sizeof(struct schema));
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    s->wrappers = alloc_try(1, sizeof(*s->wrappers));
    if (s->wrappers == NULL) {
        free(s);
        return NULL;
    }
    memset(s->wrappers, 0, sizeof(*s->wrappers));
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

struct entry *schema_find(const struct schema *s, const char *name, size_t len)
{
    struct entry *e;
    HASH_FIND(hh, s->by_name, name, len, e);
    return e;
}

const struct model *schema_model(const struct schema *s, const char *name, size_t len)
{
    struct entry *e = schema_find(s, name, len);
    return e ? &e->model : NULL;
}

const struct model *schema_model_of(const struct schema *s, const char *key, size_t len)
{
    const char *colon = memchr(key, ':', len);
    return colon ? schema_model(s, key, (size_t)(colon - key)) : NULL;
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

/* By what the field is indexed when the declaration is taken. */
static uint8_t indexes_then(const struct plan *p, const struct field *was, const struct field *now)
{
    bool later = p->draft.revision > p->entry->model.revision;
    uint8_t stays = was->indexes & INDEX_UNIQUE ? INDEX_UNIQUE | INDEX_EXACT : 0;
    return later ? now->indexes | stays : was->indexes | now->indexes;
}

/* An exact index, which goes by texts, of ints and floats: it would not find the one by the other.
 */
static bool mixes_texts(const struct plan *p, const struct field *was, const struct field *now,
                        const struct edit *edit)
{
    const struct type *then = edit->widens ? now->type : was->type;
    bool was_int =
        type_bare(narrowest(was))->kind == TYPE_INT || type_bare(narrowest(now))->kind == TYPE_INT;
    uint8_t indexes = indexes_then(p, was, now);
    return was_int && type_bare(then)->kind == TYPE_FLOAT && (indexes & INDEX_EXACT) &&
           (edit->widens || indexes != was->indexes);
}

#define WIDER_DEFAULT 8 /* bytes that a default takes more as a float */

static int compare_field(struct plan *p, int old, const struct field *now, size_t *defaults,
                         struct fault *f)
{
    const struct model *m = &p->entry->model;
    const struct field *was = &m->fields[old];
    bool fixed = old == m->key_field;
    if (fixed ? !type_equal(was->type, now->type) : !type_covers(now->type, narrowest(was)))
        return refuse_type(m, was, now, fixed, f);
    if (now->indexes & ~was->indexes & INDEX_UNIQUE)
        return fault_set(f, FAULT_SCHEMA_CONFLICT,
                         "field '%s' of model '%s' is not unique, and there may be documents with "
                         "the same value; only a new field can be unique: declare one, and copy",
                         was->name, m->name);
    struct edit edit = edit_of(was, now);
    if (mixes_texts(p, was, now, &edit))
        return fault_set(f, FAULT_SCHEMA_CONFLICT,
                         "field '%s' of model '%s' was an int, and as a float has no exact index "
                         "and is not unique: what is stored of both has two texts, as 1000000 and "
                         "1e+06; a range index answers for =, or declare a new field, and copy",
                         was->name, m->name);
    if (edit.defaults)
        *defaults = *defaults + now->fallback_len - was->fallback_len;
    else if (edit.widens && was->fallback)
        *defaults += WIDER_DEFAULT;
    p->widened = p->widened || edit.widens;
    /* A document that lacks the field stands in the index with its default. */
    p->indexed = p->indexed || indexes_then(p, was, now) != was->indexes ||
                 (edit.defaults && was->indexes != 0);
    p->changed = p->changed || edit.widens || edit.lowers || edit.defaults || edit.lazy;
    return 0;
}

/* How a write to a document of m goes on by the field of this name. */
static const struct field *refreshing(const struct model *m, const struct field *like)
{
    int i = model_field(m, like->name, like->name_len);
    return i >= 0 && m->fields[i].refreshes ? &m->fields[i] : NULL;
}

static bool refreshes_by(const struct model *m, const struct model *of)
{
    for (uint32_t i = 0; i < of->nfields; i++) {
        const struct field *field = &of->fields[i], *other = refreshing(m, field);
        if (field->refreshes && (other == NULL || other->refresh_depth != field->refresh_depth))
            return false;
    }
    return true;
}

/* Who only knows `true` leaves it to others which fields lead on. */
static bool keeps_cascade(const struct model *now)
{
    return now->refresh_ttl && !now->cascades;
}

static bool refreshes_alike(const struct model *a, const struct model *b)
{
    return (!a->cascades && !b->cascades) || (refreshes_by(a, b) && refreshes_by(b, a));
}

int plan_compare(struct plan *p, struct fault *f)
{
    const struct model *was = &p->entry->model, *now = &p->draft.model;
    if (compare_head(was, now, f) < 0)
        return -1;
    p->changed = was->ttl != now->ttl || was->refresh_ttl != now->refresh_ttl ||
                 (!keeps_cascade(now) && !refreshes_alike(was, now));
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
        p->added++;
    }
    p->changed = p->changed || p->added || p->indexed;
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
static void take_field(struct schema *s, struct plan *p, struct field *from)
{
    struct model *m = &p->entry->model;
    int old = model_field(m, from->name, from->name_len);
    if (old < 0) {
        m->fields[m->nfields++] = *from;
        *from = (struct field){0};
        return;
    }
    struct field *to = &m->fields[old];
    struct edit edit = edit_of(to, from);
    if (from->refreshes) {
        to->refreshes = true;
        to->refresh_depth = from->refresh_depth;
    }
    to->indexes = indexes_then(p, to, from);
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

void plan_take(struct schema *s, struct plan *p)
{
    struct model *m = &p->entry->model, *draft = &p->draft.model;
    m->ttl = draft->ttl;
    m->refresh_ttl = draft->refresh_ttl;
    bool keeps = keeps_cascade(draft);
    m->cascades = keeps ? m->cascades : draft->cascades;
    for (uint32_t i = 0; i < m->nfields && !keeps; i++)
        m->fields[i].refreshes = false;
    m->fields = alloc_resized(m->fields, m->nfields + p->added, sizeof *m->fields);
    for (uint32_t i = 0; i < draft->nfields; i++)
        take_field(s, p, &draft->fields[i]);
    model_index(m);
}

static void pack_field(const struct field *field, struct buf *out)
{
    char type[TYPE_NAME_MAX];
    pack_map(out, 2 + (field->was ? 1 : 0) + (field->fallback ? 1 : 0) + (field->lazy ? 1 : 0) +
                      index_pairs(field));
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
    index_pack(field, out);
}

static void pack_refresh(const struct model *m, struct buf *out)
{
    uint32_t n = 0;
    pack_cstr(out, "refresh_ttl");
    if (!m->cascades) {
        pack_bool(out, true);
        return;
    }
    for (uint32_t i = 0; i < m->nfields; i++)
        n += m->fields[i].refreshes;
    pack_map(out, n);
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *field = &m->fields[i];
        if (!field->refreshes)
            continue;
        pack_str(out, field->name, field->name_len);
        if (field->refresh_depth < 0)
            pack_nil(out);
        else
            pack_int(out, field->refresh_depth);
    }
}

static void pack_model(const struct model *m, const struct field *instead, uint32_t at,
                       uint32_t revision, struct buf *out)
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
    if (m->refresh_ttl)
        pack_refresh(m, out);
    pack_cstr(out, "fields");
    pack_array(out, m->nfields);
    for (uint32_t i = 0; i < m->nfields; i++)
        pack_field(instead && i == at ? instead : &m->fields[i], out);
    pack_cstr(out, "revision");
    pack_uint(out, revision);
}

void schema_pack(const struct model *m, struct buf *out)
{
    pack_model(m, NULL, 0, m->revision, out);
}

void schema_pack_unindexed(const struct model *m, uint32_t field, uint8_t kinds, struct buf *out)
{
    struct field now = m->fields[field];
    now.indexes &= (uint8_t)~kinds;
    pack_model(m, &now, field, m->revision + 1, out);
}
