/* binding: models as C structs: packed from them, read into them, freed.
 *
 * Each walks the members with the types of the schema in hand:
 *
 *   rapyer_field  offset, size ─┐
 *                               ├─► one member
 *   struct field  type         ─┘
 */
#include "client/binding.h"
#include "client/embed.h"
#include "client/value.h"
#include <stdlib.h>
#include <string.h>

struct binding {
    rapyer *db;
    struct fault *fault;
};

static bool is_pk(const rapyer_field *field)
{
    return strcmp(field->name, "@pk") == 0;
}

static const struct type *type_of(const rapyer *db, const rapyer_model *m,
                                  const rapyer_field *field)
{
    const struct model *model = schema_model(db->schema, m->name, strlen(m->name));
    int i = model ? model_field(model, field->name, strlen(field->name)) : -1;
    return i < 0 ? NULL : model->fields[i].type;
}

static const rapyer_model *bound_model(const rapyer *db, const struct type *t)
{
    const struct declaration *d = db_declaration(db, t->model->name, strlen(t->model->name));
    return d ? d->model : NULL;
}

/* Of the C type for t; 0: it has none, a model without a struct. */
static size_t size_of(const rapyer *db, const struct type *t)
{
    switch (t->kind) {
    case TYPE_INT: return sizeof(int64_t);
    case TYPE_FLOAT: return sizeof(double);
    case TYPE_BOOL: return sizeof(bool);
    case TYPE_STR: return sizeof(char *);
    case TYPE_BYTES: return sizeof(rapyer_bytes);
    case TYPE_DATETIME: return sizeof(struct timespec);
    case TYPE_ANY: return sizeof(rapyer_value *);
    case TYPE_OPTIONAL: return sizeof(void *);
    case TYPE_LIST: return sizeof(rapyer_list);
    case TYPE_DICT: return sizeof(rapyer_dict);
    case TYPE_MODEL: {
        const rapyer_model *m = bound_model(db, t);
        return m ? m->size : 0;
    }
    }
    return 0;
}

/* Whether all models inside t have a struct. */
static bool has_struct(const rapyer *db, const struct type *t)
{
    for (; t; t = t->of) {
        if (size_of(db, t) == 0)
            return false;
    }
    return true;
}

static int check_member(rapyer *db, const rapyer_model *m, const rapyer_field *field,
                        struct fault *f)
{
    const struct type *t =
        is_pk(field) ? &(const struct type){.kind = TYPE_STR} : type_of(db, m, field);
    if (!t) /* a field of a name the schema has refused */
        return fault_set(f, FAULT_UNKNOWN_FIELD, "model %s has no field '%s'", m->name,
                         field->name);
    if (!has_struct(db, t))
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s.%s is bound to a member, but the model inside '%s' has no .size",
                         m->name, field->name, field->type);
    if (size_of(db, t) != field->size)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s.%s: the member has %zu bytes, the C type for '%s' has %zu", m->name,
                         field->name, field->size, field->type, size_of(db, t));
    if (m->size == 0 || field->offset + field->size > m->size)
        return fault_set(f, FAULT_BAD_SCHEMA, "%s.%s lies outside of the struct's .size of %zu",
                         m->name, field->name, m->size);
    return 0;
}

int binding_check(rapyer *db, const rapyer_model *m, struct fault *f)
{
    for (const rapyer_field *field = m->fields; field && field->name; field++) {
        if (field->size && check_member(db, m, field, f) < 0)
            return -1;
    }
    return 0;
}

/* ---- from structs ---- */

static void pack_struct(const struct binding *b, const rapyer_model *m, const void *s, bool with_pk,
                        struct buf *out);

static void pack_text(const char *s, struct buf *out)
{
    if (s)
        pack_cstr(out, s);
    else
        pack_nil(out);
}

/* An element of a list or dict of atomic models has a pk; a model in a field has none. */
static void pack_member(const struct binding *b, const struct type *t, const void *p, bool element,
                        struct buf *out)
{
    switch (t->kind) {
    case TYPE_INT: pack_int(out, *(const int64_t *)p); break;
    case TYPE_FLOAT: pack_float(out, *(const double *)p); break;
    case TYPE_BOOL: pack_bool(out, *(const bool *)p); break;
    case TYPE_STR: pack_text(*(char *const *)p, out); break;
    case TYPE_BYTES: {
        const rapyer_bytes *bytes = p;
        pack_bin(out, bytes->data, bytes->len);
        break;
    }
    case TYPE_DATETIME: {
        const struct timespec *time = p;
        pack_time(out, time->tv_sec, (uint32_t)time->tv_nsec);
        break;
    }
    case TYPE_ANY: value_pack(*(rapyer_value *const *)p, out); break;
    case TYPE_OPTIONAL: {
        const void *inside = *(void *const *)p;
        if (!inside)
            pack_nil(out);
        else
            pack_member(b, t->of, t->of->kind == TYPE_STR ? p : inside, false, out);
        break;
    }
    case TYPE_LIST: {
        const rapyer_list *list = p;
        size_t size = size_of(b->db, t->of);
        pack_array(out, (uint32_t)list->len);
        for (size_t i = 0; i < list->len; i++)
            pack_member(b, t->of, (const char *)list->items + i * size, true, out);
        break;
    }
    case TYPE_DICT: {
        const rapyer_dict *dict = p;
        size_t size = size_of(b->db, t->of);
        pack_map(out, (uint32_t)dict->len);
        for (size_t i = 0; i < dict->len; i++) {
            pack_cstr(out, dict->keys[i] ? dict->keys[i] : "");
            pack_member(b, t->of, (const char *)dict->values + i * size, true, out);
        }
        break;
    }
    case TYPE_MODEL: pack_struct(b, bound_model(b->db, t), p, element, out); break;
    }
}

/* A str that is NULL was not given: the field's default takes its place. */
static void pack_struct(const struct binding *b, const rapyer_model *m, const void *s, bool with_pk,
                        struct buf *out)
{
    size_t head = pack_map_open(out);
    uint32_t n = 0;
    for (const rapyer_field *field = m->fields; field->name; field++) {
        const char *p = (const char *)s + field->offset;
        const struct type *t = is_pk(field) ? NULL : type_of(b->db, m, field);
        bool text = is_pk(field) || (t && t->kind == TYPE_STR);
        if (!field->size || (is_pk(field) && (!with_pk || m->plain)) ||
            (text && !*(char *const *)p))
            continue;
        pack_cstr(out, field->name);
        if (text)
            pack_cstr(out, *(char *const *)p);
        else
            pack_member(b, t, p, false, out);
        n++;
    }
    pack_map_close(out, head, n);
}

/* ---- into structs ---- */

static int read_struct(const struct binding *b, const rapyer_model *m, const rapyer_value *v,
                       void *s);

static int mismatch(const struct binding *b, const char *wanted)
{
    return fault_set(b->fault, FAULT_BAD_TYPE, "the document holds no %s, where the struct has one",
                     wanted);
}

static int no_memory(const struct binding *b)
{
    b->fault->code = FAULT_COUNT; /* told apart by the caller */
    return -1;
}

static int read_member(const struct binding *b, const struct type *t, const rapyer_value *v,
                       void *p);

static int read_str(const struct binding *b, const rapyer_value *v, char **out)
{
    size_t len;
    const char *s = rapyer_kind_of(v) == RAPYER_STR ? rapyer_data(v, &len) : NULL;
    if (!s)
        return mismatch(b, "str");
    char *copy = malloc(len + 1);
    if (!copy)
        return no_memory(b);
    memcpy(copy, s, len + 1);
    *out = copy;
    return 0;
}

static int read_bytes(const struct binding *b, const rapyer_value *v, rapyer_bytes *out)
{
    size_t len;
    const char *s = rapyer_kind_of(v) == RAPYER_BYTES ? rapyer_data(v, &len) : NULL;
    if (!s)
        return mismatch(b, "bytes");
    out->data = malloc(len + 1);
    if (!out->data)
        return no_memory(b);
    memcpy(out->data, s, len);
    out->len = len;
    return 0;
}

static int read_any(const struct binding *b, const rapyer_value *v, rapyer_value **out)
{
    struct buf copy = BUF_INIT;
    struct fault f;
    value_pack(v, &copy);
    struct cursor in = cursor_of(copy.data, copy.len);
    *out = copy.failed ? NULL : value_parse(in, 0, SIZE_MAX, &f);
    buf_free(&copy);
    return *out ? 0 : no_memory(b);
}

static int read_optional(const struct binding *b, const struct type *t, const rapyer_value *v,
                         void **out)
{
    if (rapyer_kind_of(v) == RAPYER_NULL)
        return 0;
    if (t->of->kind == TYPE_STR)
        return read_str(b, v, (char **)out);
    *out = calloc(1, size_of(b->db, t->of));
    return *out ? read_member(b, t->of, v, *out) : no_memory(b);
}

/* len grows with what is filled in, so that a half-read list can be freed. */
static int read_list(const struct binding *b, const struct type *t, const rapyer_value *v,
                     rapyer_list *out)
{
    size_t size = size_of(b->db, t->of), n = rapyer_len(v);
    if (rapyer_kind_of(v) != RAPYER_LIST)
        return mismatch(b, "list");
    out->items = calloc(n ? n : 1, size);
    if (!out->items)
        return no_memory(b);
    while (out->len < n) {
        size_t i = out->len++;
        if (read_member(b, t->of, rapyer_item(v, i), (char *)out->items + i * size) < 0)
            return -1;
    }
    return 0;
}

static int read_dict(const struct binding *b, const struct type *t, const rapyer_value *v,
                     rapyer_dict *out)
{
    size_t size = size_of(b->db, t->of), n = rapyer_len(v);
    if (rapyer_kind_of(v) != RAPYER_DICT)
        return mismatch(b, "dict");
    out->keys = calloc(n ? n : 1, sizeof *out->keys);
    out->values = calloc(n ? n : 1, size);
    if (!out->keys || !out->values)
        return no_memory(b);
    while (out->len < n) {
        size_t i = out->len++;
        const char *key = rapyer_item_key(v, i);
        out->keys[i] = strdup(key ? key : "");
        if (!out->keys[i])
            return no_memory(b);
        if (read_member(b, t->of, rapyer_item(v, i), (char *)out->values + i * size) < 0)
            return -1;
    }
    return 0;
}

static int read_member(const struct binding *b, const struct type *t, const rapyer_value *v,
                       void *p)
{
    rapyer_kind kind = rapyer_kind_of(v);
    switch (t->kind) {
    case TYPE_INT:
        *(int64_t *)p = rapyer_int(v, "", 0);
        return kind == RAPYER_INT ? 0 : mismatch(b, "int");
    case TYPE_FLOAT:
        *(double *)p = rapyer_float(v, "", 0);
        return kind == RAPYER_INT || kind == RAPYER_FLOAT ? 0 : mismatch(b, "float");
    case TYPE_BOOL:
        *(bool *)p = rapyer_bool(v, "", false);
        return kind == RAPYER_BOOL ? 0 : mismatch(b, "bool");
    case TYPE_STR: return read_str(b, v, p);
    case TYPE_BYTES: return read_bytes(b, v, p);
    case TYPE_DATETIME: return rapyer_time(v, p) < 0 ? mismatch(b, "datetime") : 0;
    case TYPE_ANY: return read_any(b, v, p);
    case TYPE_OPTIONAL: return read_optional(b, t, v, p);
    case TYPE_LIST: return read_list(b, t, v, p);
    case TYPE_DICT: return read_dict(b, t, v, p);
    case TYPE_MODEL: return read_struct(b, bound_model(b->db, t), v, p);
    }
    return -1;
}

/* s is zeroed; on -1 it holds what was read so far. A field that is not there (never set, or
 * lazy) leaves its member zero. */
static int read_struct(const struct binding *b, const rapyer_model *m, const rapyer_value *v,
                       void *s)
{
    static const struct type text = {.kind = TYPE_STR};
    if (rapyer_kind_of(v) != RAPYER_DICT)
        return mismatch(b, m->name);
    for (const rapyer_field *field = m->fields; field->name; field++) {
        const rapyer_value *have = value_at(v, field->name, strlen(field->name));
        const struct type *t = is_pk(field) ? &text : type_of(b->db, m, field);
        if (field->size && have && read_member(b, t, have, (char *)s + field->offset) < 0)
            return -1;
    }
    return 0;
}

/* ---- freeing ---- */

static void free_struct(const rapyer *db, const rapyer_model *m, void *s);

static void free_member(const rapyer *db, const struct type *t, void *p)
{
    switch (t->kind) {
    case TYPE_STR:
    case TYPE_ANY: free(*(void **)p); break;
    case TYPE_BYTES: free(((rapyer_bytes *)p)->data); break;
    case TYPE_OPTIONAL:
        if (*(void **)p && t->of->kind != TYPE_STR)
            free_member(db, t->of, *(void **)p);
        free(*(void **)p);
        break;
    case TYPE_LIST: {
        rapyer_list *list = p;
        size_t size = size_of(db, t->of);
        for (size_t i = 0; i < list->len; i++)
            free_member(db, t->of, (char *)list->items + i * size);
        free(list->items);
        break;
    }
    case TYPE_DICT: {
        rapyer_dict *dict = p;
        size_t size = size_of(db, t->of);
        for (size_t i = 0; i < dict->len; i++) {
            free(dict->keys[i]);
            free_member(db, t->of, (char *)dict->values + i * size);
        }
        free(dict->keys);
        free(dict->values);
        break;
    }
    case TYPE_MODEL: free_struct(db, bound_model(db, t), p); break;
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_BOOL:
    case TYPE_DATETIME: break;
    }
}

static void free_struct(const rapyer *db, const rapyer_model *m, void *s)
{
    for (const rapyer_field *field = m->fields; field->name; field++) {
        char *p = (char *)s + field->offset;
        if (!field->size)
            continue;
        if (is_pk(field))
            free(*(char **)p);
        else
            free_member(db, type_of(db, m, field), p);
    }
    memset(s, 0, m->size);
}

/* ---- the calls ---- */

static int need_bound(rapyer *db, const rapyer_model *m)
{
    if (!db)
        return -1;
    const struct declaration *d = db_declaration(db, m->name, strlen(m->name));
    if (!d || d->model != m)
        return db_failf(db, FAULT_UNKNOWN_MODEL, "model %s is not declared here; rapyer_define it",
                        m->name);
    return m->size
               ? 0
               : db_failf(db, FAULT_BAD_SCHEMA, "model %s is bound to no struct (.size)", m->name);
}

/* model: "User", or "User:pk" when the pk is given from outside. */
static rapyer_doc *new_struct(rapyer *db, const rapyer_model *m, const char *model, const void *s,
                              bool with_pk)
{
    struct buf map = BUF_INIT;
    struct moves none = {0};
    struct binding b = {db, NULL};
    struct home *h = home_new(db, HOME_DRAFT);
    if (!h) {
        db_no_memory(db);
        return NULL;
    }
    pack_struct(&b, m, s, with_pk, &map);
    rapyer_doc *draft = draft_of(db, model, &map, h, &none);
    buf_free(&map);
    return draft;
}

rapyer_doc *rapyer_new_struct(rapyer *db, const rapyer_model *model, const void *s)
{
    return need_bound(db, model) < 0 ? NULL : new_struct(db, model, model->name, s, true);
}

int rapyer_save_struct(rapyer *db, const rapyer_model *model, const char *pk, const void *s)
{
    struct buf name = BUF_INIT;
    if (need_bound(db, model) < 0)
        return -1;
    buf_printf(&name, pk ? "%s:%s" : "%s", model->name, pk);
    buf_append(&name, "", 1);
    if (name.failed)
        return db_no_memory(db);
    rapyer_doc *draft = new_struct(db, model, (const char *)name.data, s, !pk);
    buf_free(&name);
    int rc = draft ? rapyer_save(draft) : -1;
    rapyer_free(draft);
    return rc;
}

int rapyer_to_struct(rapyer *db, const rapyer_model *model, const rapyer_value *v, void *s)
{
    struct fault f = {0};
    struct binding b = {db, &f};
    if (need_bound(db, model) < 0)
        return -1;
    memset(s, 0, model->size);
    if (read_struct(&b, model, v, s) == 0)
        return 0;
    free_struct(db, model, s);
    return f.code == FAULT_COUNT ? db_no_memory(db) : db_fail(db, &f);
}

int rapyer_get_struct(rapyer *db, const rapyer_model *model, const char *key, void *s)
{
    if (need_bound(db, model) < 0)
        return -1;
    rapyer_doc *doc = rapyer_open(db, key);
    rapyer_value *v = rapyer_fetch(doc);
    int rc = v ? rapyer_to_struct(db, model, v, s) : -1;
    rapyer_value_free(v);
    rapyer_free(doc);
    return rc;
}

void rapyer_struct_free(rapyer *db, const rapyer_model *model, void *s)
{
    if (s && need_bound(db, model) == 0)
        free_struct(db, model, s);
}
