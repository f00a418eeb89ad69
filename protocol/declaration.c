/* declaration: from {name, kind, fields: [...]} to a struct model.
 *
 *   map ──► spans (where each known key's value is) ──► names, kind ──► fields ──► defaults
 *
 * In this order whatever the order on the wire: a default can only be checked once its type and
 * its model's kind are known.
 */
#include "protocol/declaration.h"
#include "protocol/alloc.h"
#include "protocol/container.h"
#include "protocol/index.h"
#include "protocol/path.h"
#include "protocol/scalar.h"
#include "protocol/type.h"
#include "protocol/value.h"
#include <stdio.h>

struct span {
    const char *key;
    struct cursor value; /* at NULL: the key is not there, or nil where nil means absent */
};

/* Reads a map whose keys must be among spans; nil is as good as absent, but for a default. */
static int read_spans(struct cursor *in, struct span *spans, size_t n, const char *where,
                      struct fault *f)
{
    struct buf unknown = BUF_INIT;
    uint32_t pairs;
    int done = 0;
    if (cursor_map(in, &pairs) < 0)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: a map expected", where);
    for (uint32_t i = 0; i < pairs && done == 0; i++) {
        const char *key;
        size_t key_len, value_len, k = 0;
        const uint8_t *value;
        if (cursor_str(in, &key, &key_len) < 0 || cursor_value(in, &value, &value_len) < 0) {
            done = fault_set(f, FAULT_BAD_SCHEMA, "%s: the map's keys must be str", where);
            break;
        }
        while (k < n && (strlen(spans[k].key) != key_len || memcmp(spans[k].key, key, key_len)))
            k++;
        if (k == n)
            buf_printf(&unknown, "%s'%.*s'", unknown.len ? ", " : "",
                       (int)(key_len < 40 ? key_len : 40), key);
        else if (spans[k].value.at)
            done = fault_set(f, FAULT_BAD_SCHEMA, "%s: '%s' is there twice", where, spans[k].key);
        else
            spans[k].value = cursor_of(value, value_len);
    }
    if (done == 0 && unknown.len) {
        struct buf known = BUF_INIT;
        for (size_t k = 0; k < n; k++)
            buf_printf(&known, "%s%s", k ? ", " : "", spans[k].key);
        done = fault_set(f, FAULT_BAD_SCHEMA, "%s: unknown key %.*s; known are %.*s", where,
                         (int)(unknown.len < 160 ? unknown.len : 160), (char *)unknown.data,
                         (int)known.len, (char *)known.data);
        buf_free(&known);
    }
    buf_free(&unknown);
    for (size_t k = 0; k < n; k++)
        if (spans[k].value.at && strcmp(spans[k].key, "default") != 0 &&
            cursor_nil(&spans[k].value))
            spans[k].value.at = NULL;
    return done;
}

static int read_bool(struct span *s, bool *v, const char *where, struct fault *f)
{
    *v = false;
    if (s->value.at && cursor_bool(&s->value, v) < 0)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: '%s' must be true or false", where, s->key);
    return 0;
}

static int read_int(struct span *s, int64_t *v, const char *where, struct fault *f)
{
    *v = 0;
    if (s->value.at && (cursor_int(&s->value, v) < 0 || *v < 0))
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: '%s' must be an int from 0 on", where, s->key);
    return 0;
}

#define REFRESH_DEPTH_MAX 100000 /* as of doc.ttl */

/* "refers": what ends in a reference, or in a text or a model, which may be or have one. */
static bool may_refer(const struct type *t)
{
    while (t->of != NULL)
        t = t->of;
    return t->kind == TYPE_REF || t->kind == TYPE_STR || t->kind == TYPE_MODEL;
}

static int read_refreshing(struct cursor *in, struct model *m, const char *where, struct fault *f)
{
    const char *name;
    size_t len;
    int64_t depth = -1;
    struct field *field = NULL;
    if (cursor_str(in, &name, &len) < 0 ||
        (!cursor_nil(in) && (cursor_int(in, &depth) < 0 || depth < 0 || depth > REFRESH_DEPTH_MAX)))
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: 'refresh_ttl' is a map of field -> depth, nil or an int from 0 to %d",
                         where, REFRESH_DEPTH_MAX);
    for (uint32_t i = 0; i < m->nfields && field == NULL; i++) {
        if (m->fields[i].name_len == len && memcmp(m->fields[i].name, name, len) == 0)
            field = &m->fields[i];
    }
    if (field == NULL || !may_refer(field->type))
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: 'refresh_ttl' names '%.*s', which %s", where,
                         (int)(len < 100 ? len : 100), name,
                         field == NULL ? "is no field of it" : "refers to nothing");
    field->refreshes = true;
    field->refresh_depth = (int32_t)depth;
    return 0;
}

/* true, false, or by which of the fields it goes on. */
static int read_refresh(struct span *s, struct model *m, const char *where, struct fault *f)
{
    uint32_t n;
    if (!s->value.at || cursor_bool(&s->value, &m->refresh_ttl) == 0)
        return 0;
    if (cursor_map(&s->value, &n) < 0 || n == 0)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: '%s' must be true or false, or a map of field -> depth", where,
                         s->key);
    m->refresh_ttl = m->cascades = true;
    for (; n > 0; n--) {
        if (read_refreshing(&s->value, m, where, f) < 0)
            return -1;
    }
    return 0;
}

static int read_text(struct span *s, const char **text, size_t *len, const char *where,
                     struct fault *f)
{
    if (!s->value.at)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: '%s' is missing", where, s->key);
    if (cursor_str(&s->value, text, len) < 0)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: '%s' must be a str", where, s->key);
    return 0;
}

/* What fields of one declaration have in common while they are read. */
struct reading {
    const struct schema *schema;
    struct model *model;
    struct fault *fault;
    struct declaration *draft;
    size_t defaults; /* bytes of all so far */
    char where[160];
};

static const struct model *find_model(void *arg, const char *name, size_t len, struct fault *f)
{
    struct reading *r = arg;
    const struct model *m = schema_model(r->schema, name, len);
    if (!m || !r->draft->unread || !r->draft->unread(r->draft->arg, m))
        return m;
    r->draft->waits = true;
    fault_set(
        f, FAULT_BAD_SCHEMA,
        "%s: the plain model '%s' would contain itself: plain models are values; declare them "
        "with kind atomic, or keep the other's key in a field of type ref<%s>",
        r->where, m->name, m->name);
    return NULL;
}

/* Members have scores only in a field of an atomic model: as a part of a value nothing could work
 * with them. */
static int check_scored(struct reading *r, const struct type *t)
{
    char name[TYPE_NAME_MAX];
    for (const struct type *at = t; at; at = at->of) {
        const struct container_kind *kind = type_container(at);
        if (kind && kind->scored && (at != t || !r->model->atomic))
            return fault_set(r->fault, FAULT_BAD_SCHEMA,
                             "%s: type '%s': %s<T> can only be the type of a field of an atomic "
                             "model",
                             r->where, type_name(t, name, sizeof name), kind->name);
    }
    return 0;
}

/* An atomic model stands directly in a field of an atomic model, or in lists, dicts and optionals
 * there. */
static int check_placement(struct reading *r, const struct type *t)
{
    if (check_scored(r, t) < 0)
        return -1;
    const struct model *inner = type_model(t);
    if (!inner || !inner->atomic)
        return 0;
    if (!r->model->atomic)
        return fault_set(r->fault, FAULT_BAD_SCHEMA,
                         "%s: the plain model '%s' is one value and cannot hold the atomic model "
                         "'%s'; declare '%s' with kind plain, or '%s' with kind atomic",
                         r->where, r->model->name, inner->name, inner->name, r->model->name);
    const struct type *at = t;
    while (type_container(at) && !type_container(at)->values_only)
        at = at->of;
    if (at->kind == TYPE_MODEL)
        return 0;
    char name[TYPE_NAME_MAX];
    return fault_set(r->fault, FAULT_BAD_SCHEMA,
                     "%s: type '%s': the atomic model '%s' can only be a field's type, or in "
                     "lists, dicts and optionals; elsewhere declare it kind plain",
                     r->where, type_name(t, name, sizeof name), inner->name);
}

/* Counted as they come: each could be as big as a value may be. */
static int count_default(struct reading *r, size_t len)
{
    r->defaults += len;
    if (r->defaults <= SCHEMA_MAX_DEFAULTS)
        return 0;
    return fault_set(r->fault, FAULT_BAD_SCHEMA,
                     "model '%s': the defaults have more than %d bytes in all", r->model->name,
                     SCHEMA_MAX_DEFAULTS);
}

static void keep_default(struct field *field, const void *bytes, size_t len)
{
    field->fallback = alloc_copy(bytes, len);
    field->fallback_len = len;
}

/* Containers of atomic models, and atomic models, take no default but the empty one. */
static int read_empty_default(struct reading *r, struct field *field, struct cursor *in)
{
    const struct container_kind *kind = type_container(field->type);
    bool lone = kind && kind->lone, list = kind && kind->wire == ITEM_ARRAY;
    enum item_kind empty = lone ? ITEM_NIL : list ? ITEM_ARRAY : ITEM_MAP;
    struct item it;
    if (cursor_next(in, &it) == 0 && it.kind == empty && (lone || it.count == 0))
        return 0;
    char name[TYPE_NAME_MAX];
    return fault_set(r->fault, FAULT_BAD_VALUE,
                     "default of %s.%s: only %s can be the default of %s", r->model->name,
                     field->name,
                     lone   ? "null"
                     : list ? "the empty list"
                            : "the empty map",
                     type_name(field->type, name, sizeof name));
}

static int read_default(struct reading *r, struct field *field, struct cursor in)
{
    const struct type *t = field->type;
    const struct model *inner = type_model(t);
    const struct container_kind *container = type_container(t);
    bool atomic = inner && inner->atomic;
    if (atomic && in.at && read_empty_default(r, field, &in) < 0)
        return -1;
    if (r->model->atomic && container && (atomic || !in.at))
        keep_default(field,
                     container->lone                 ? "\xc0"
                     : container->wire == ITEM_ARRAY ? "\x90"
                                                     : "\x80",
                     1);
    if (atomic || !in.at)
        return 0;
    char where[2 * NAME_MAX_LEN + 16];
    snprintf(where, sizeof where, "default of %s.%s", r->model->name, field->name);
    struct buf value = BUF_INIT;
    int done = value_check(t, &in, &value, where, r->fault);
    if (done == 0)
        done = count_default(r, value.len);
    if (done == 0)
        keep_default(field, value.data, value.len);
    buf_free(&value);
    return done;
}

static int name_field(struct reading *r, struct field *field, const char *name, size_t len)
{
    if (!name_valid(name, len))
        return fault_set(r->fault, FAULT_BAD_SCHEMA,
                         "%s: '%.*s' cannot be a field's name; it has 1 to 64 letters, digits and "
                         "_, and does not begin with a digit",
                         r->where, (int)(len < 80 ? len : 80), name);
    field->name = alloc_copy(name, len);
    field->name_len = len;
    struct buf packed = BUF_INIT;
    pack_str(&packed, name, len);
    field->packed_name = alloc_copy(packed.data, packed.len);
    field->packed_name_len = packed.len;
    buf_free(&packed);
    return 0;
}

static int read_was(struct reading *r, struct field *field, struct span *s)
{
    char have[TYPE_NAME_MAX], had[TYPE_NAME_MAX];
    const char *text;
    size_t len;
    struct type *was;
    if (!s->value.at)
        return 0;
    if (read_text(s, &text, &len, r->where, r->fault) < 0 ||
        type_parse(text, len, find_model, r, r->where, &was, r->fault) < 0)
        return -1;
    field->was = was;
    type_wrap(was, schema_wrapper, (void *)(uintptr_t)r->schema);
    if (type_covers(field->type, was))
        return 0;
    return fault_set(r->fault, FAULT_BAD_SCHEMA, "%s: %s has not become of 'was' %s", r->where,
                     type_name(field->type, have, sizeof have), type_name(was, had, sizeof had));
}

static int read_indexes(struct reading *r, struct field *field, struct span *kinds,
                        struct span *unique)
{
    bool so = false;
    if ((kinds->value.at && index_read(&kinds->value, &field->indexes, r->where, r->fault) < 0) ||
        read_bool(unique, &so, r->where, r->fault) < 0)
        return -1;
    if (so)
        field->indexes |= INDEX_EXACT | INDEX_UNIQUE;
    return index_check(r->model, field, r->where, r->fault);
}

static int read_field(struct reading *r, struct cursor *in, uint32_t i)
{
    struct span spans[] = {{.key = "name"}, {.key = "type"},  {.key = "default"}, {.key = "lazy"},
                           {.key = "was"},  {.key = "index"}, {.key = "unique"}};
    struct field *field = &r->model->fields[i];
    const char *text;
    size_t len;
    struct type *type;
    snprintf(r->where, sizeof r->where, "model '%s', fields[%u]", r->model->name, i);
    if (read_spans(in, spans, 7, r->where, r->fault) < 0 ||
        read_text(&spans[0], &text, &len, r->where, r->fault) < 0 ||
        name_field(r, field, text, len) < 0)
        return -1;
    snprintf(r->where, sizeof r->where, "field '%s' of model '%s'", field->name, r->model->name);
    if (read_text(&spans[1], &text, &len, r->where, r->fault) < 0 ||
        type_parse(text, len, find_model, r, r->where, &type, r->fault) < 0)
        return -1;
    field->type = type;
    if (check_placement(r, type) < 0)
        return -1;
    type_wrap(type, schema_wrapper, (void *)(uintptr_t)r->schema);
    if (read_was(r, field, &spans[4]) < 0 ||
        read_bool(&spans[3], &field->lazy, r->where, r->fault) < 0)
        return -1;
    if (field->lazy && !r->model->atomic)
        return fault_set(r->fault, FAULT_BAD_SCHEMA,
                         "%s: a plain model is read whole, its fields cannot be lazy", r->where);
    if (read_default(r, field, spans[2].value) < 0)
        return -1;
    return read_indexes(r, field, &spans[5], &spans[6]);
}

/* Also refuses a name that is there twice: the index finds the first one only. */
static int check_fields(struct reading *r)
{
    struct model *m = r->model;
    model_index(m);
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *field = &m->fields[i];
        if (model_field(m, field->name, field->name_len) != (int)i)
            return fault_set(r->fault, FAULT_BAD_SCHEMA,
                             "model '%s': the field '%s' is there twice", m->name, field->name);
    }
    return 0;
}

static int read_fields(struct reading *r, struct span *s)
{
    struct model *m = r->model;
    uint32_t n;
    if (!s->value.at)
        return fault_set(r->fault, FAULT_BAD_SCHEMA, "model '%s': 'fields' is missing", m->name);
    if (cursor_array(&s->value, &n) < 0)
        return fault_set(r->fault, FAULT_BAD_SCHEMA, "model '%s': 'fields' must be a list",
                         m->name);
    if (n > SCHEMA_MAX_FIELDS)
        return fault_set(r->fault, FAULT_BAD_SCHEMA,
                         "model '%s' has %u fields, at most %d are allowed", m->name, n,
                         SCHEMA_MAX_FIELDS);
    m->fields = alloc_zeroed(n, sizeof *m->fields);
    m->nfields = n;
    int done = 0;
    for (uint32_t i = 0; i < n && done == 0; i++)
        done = read_field(r, &s->value, i);
    return done < 0 ? -1 : check_fields(r);
}

static int read_name(struct span *s, struct model *m, struct fault *f)
{
    const char *name;
    size_t len;
    if (read_text(s, &name, &len, "a model's declaration", f) < 0)
        return -1;
    if (!model_name_valid(name, len))
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "'%.*s' cannot be a model's name; it has 1 to 64 letters, digits and _, "
                         "does not begin with a digit, and may have a namespace before a dot",
                         (int)(len < 80 ? len : 80), name);
    if (type_reserved(name, len))
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "'%.*s' is a built-in type and cannot be a model's name", (int)len, name);
    m->name = alloc_copy(name, len);
    return 0;
}

static int read_kind(struct span *s, struct model *m, const char *where, struct fault *f)
{
    const char *kind;
    size_t len;
    if (read_text(s, &kind, &len, where, f) < 0)
        return -1;
    m->atomic = len == 6 && memcmp(kind, "atomic", 6) == 0;
    if (m->atomic || (len == 5 && memcmp(kind, "plain", 5) == 0))
        return 0;
    return fault_set(f, FAULT_BAD_SCHEMA, "%s: 'kind' must be atomic or plain, not '%.*s'", where,
                     (int)(len < 40 ? len : 40), kind);
}

static int read_key(struct span *s, struct model *m, const char *where, struct fault *f)
{
    const char *key;
    size_t len;
    m->key_field = -1;
    if (!s->value.at)
        return 0;
    if (!m->atomic)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: a plain model is a value and has no key", where);
    if (read_text(s, &key, &len, where, f) < 0)
        return -1;
    m->key_field = model_field(m, key, len);
    if (m->key_field < 0)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: the key '%.*s' is none of its fields", where,
                         (int)(len < 80 ? len : 80), key);
    const struct type *t = m->fields[m->key_field].type;
    char name[TYPE_NAME_MAX];
    if (!scalar_of(t->kind) || t->kind == TYPE_FLOAT || t->kind == TYPE_BOOL ||
        t->kind == TYPE_BYTES)
        return fault_set(
            f, FAULT_BAD_SCHEMA,
            "%s: the key field '%.*s' has type %s, a key is str, int, uuid, datetime, or "
            "another that is a text on the wire",
            where, (int)len, key, type_name(t, name, sizeof name));
    return 0;
}

enum { NAME, KIND, KEY, TTL, REFRESH_TTL, FIELDS, REVISION, SPANS };

static int read_parts(const struct schema *s, struct span *spans, struct declaration *d,
                      struct fault *f)
{
    struct model *m = &d->model;
    struct reading r = {.schema = s, .model = m, .draft = d, .fault = f};
    char where[NAME_MAX_LEN + 16];
    if (read_name(&spans[NAME], m, f) < 0)
        return -1;
    snprintf(where, sizeof where, "model '%s'", m->name);
    if (read_kind(&spans[KIND], m, where, f) < 0 || read_int(&spans[TTL], &m->ttl, where, f) < 0 ||
        read_int(&spans[REVISION], &d->revision, where, f) < 0)
        return -1;
    if (d->revision > INT32_MAX)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s: 'revision' is at most %d", where, INT32_MAX);
    if (read_fields(&r, &spans[FIELDS]) < 0 || read_refresh(&spans[REFRESH_TTL], m, where, f) < 0)
        return -1;
    if (!m->atomic && (m->ttl || m->refresh_ttl))
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: a plain model is a value and has no ttl of its own", where);
    return read_key(&spans[KEY], m, where, f);
}

static const struct span parts[SPANS] = {
    [NAME] = {.key = "name"},
    [KIND] = {.key = "kind"},
    [KEY] = {.key = "key"},
    [TTL] = {.key = "ttl"},
    [REFRESH_TTL] = {.key = "refresh_ttl"},
    [FIELDS] = {.key = "fields"},
    [REVISION] = {.key = "revision"},
};

int declaration_head(struct cursor *in, struct declared *out, struct fault *f)
{
    struct span spans[SPANS];
    struct model m = {.key_field = -1};
    char where[NAME_MAX_LEN + 16];
    memcpy(spans, parts, sizeof spans);
    if (read_spans(in, spans, SPANS, "a model's declaration", f) < 0)
        return -1;
    struct span name = spans[NAME];
    int rc = read_name(&spans[NAME], &m, f);
    if (rc == 0) {
        snprintf(where, sizeof where, "model '%s'", m.name);
        rc = read_kind(&spans[KIND], &m, where, f);
    }
    if (rc == 0)
        rc = cursor_str(&name.value, &out->name, &out->len);
    out->atomic = m.atomic;
    free(m.name);
    return rc;
}

int declaration_read(const struct schema *s, struct cursor *in, struct declaration *d,
                     struct fault *f)
{
    struct span spans[SPANS];
    memcpy(spans, parts, sizeof spans);
    d->model = (struct model){.key_field = -1};
    d->revision = 0;
    d->waits = false;
    if (read_spans(in, spans, SPANS, "a model's declaration", f) == 0 &&
        read_parts(s, spans, d, f) == 0)
        return 0;
    model_clear(&d->model);
    return -1;
}
