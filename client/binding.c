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

/* What members of one type are like. */
struct bound {
    size_t size; /* 0: as its model's struct */
    /* An element of a list or dict of atomic models has a pk; a model in a field has none. */
    void (*pack)(const struct binding *b, const struct type *t, const void *p, bool element,
                 struct buf *out);
    int (*read)(const struct binding *b, const struct type *t, const rapyer_value *v, void *p);
    void (*free)(const rapyer *db, const struct type *t, void *p); /* NULL: owns nothing */
};
static const struct bound bounds[TYPE_COUNT];

static void pack_text_at(const struct binding *b, const struct type *t, const void *p, bool element,
                         struct buf *out);

static bool is_pk(const rapyer_field *field)
{
    return strcmp(field->name, "@pk") == 0;
}

static const struct type *type_of(const rapyer *db, const rapyer_model *m,
                                  const rapyer_field *field)
{
    const struct model *model = db_model(db, m->name, strlen(m->name));
    int i = model ? model_field(model, field->name, strlen(field->name)) : -1;
    return i < 0 ? NULL : model->fields[i].type;
}

/* Whether its member is a char *, which may be NULL. */
static bool is_text(const struct type *t)
{
    return bounds[t->kind].pack == pack_text_at;
}

static const rapyer_model *bound_model(const rapyer *db, const struct type *t)
{
    const struct declaration *d = db_declaration(db, t->model->name, strlen(t->model->name));
    return d ? d->model : NULL;
}

/* Of the C type for t; 0: it has none, a model without a struct. */
static size_t size_of(const rapyer *db, const struct type *t)
{
    t = type_within(t);
    const rapyer_model *m = t->kind == TYPE_MODEL ? bound_model(db, t) : NULL;
    return m ? m->size : bounds[t->kind].size;
}

/* Whether all models inside t have a struct. */
static bool has_struct(const rapyer *db, const struct type *t)
{
    for (; t; t = type_within(t)->of) {
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

static void pack_member(const struct binding *b, const struct type *t, const void *p, bool element,
                        struct buf *out)
{
    t = type_within(t);
    bounds[t->kind].pack(b, t, p, element, out);
}

#define PACKS(name, code)                                                                        \
    static void name(const struct binding *b, const struct type *t, const void *p, bool element, \
                     struct buf *out)                                                            \
    {                                                                                            \
        (void)b, (void)t, (void)element;                                                         \
        code;                                                                                    \
    }

PACKS(pack_int_at, pack_int(out, *(const int64_t *)p))
PACKS(pack_float_at, pack_float(out, *(const double *)p))
PACKS(pack_bool_at, pack_bool(out, *(const bool *)p))
PACKS(pack_text_at, pack_text(*(char *const *)p, out))
PACKS(pack_any_at, value_pack(*(rapyer_value *const *)p, out))
PACKS(pack_model_at, pack_struct(b, bound_model(b->db, t), p, element, out))

static void pack_bytes_at(const struct binding *b, const struct type *t, const void *p,
                          bool element, struct buf *out)
{
    const rapyer_bytes *bytes = p;
    (void)b, (void)t, (void)element;
    pack_bin(out, bytes->data, bytes->len);
}

static void pack_time_at(const struct binding *b, const struct type *t, const void *p, bool element,
                         struct buf *out)
{
    const struct timespec *time = p;
    (void)b, (void)t, (void)element;
    pack_time(out, time->tv_sec, (uint32_t)time->tv_nsec);
}

static void pack_optional_at(const struct binding *b, const struct type *t, const void *p,
                             bool element, struct buf *out)
{
    const void *inside = *(void *const *)p;
    (void)element;
    if (!inside)
        pack_nil(out);
    else
        pack_member(b, t->of, is_text(t->of) ? p : inside, false, out);
}

static void pack_list_at(const struct binding *b, const struct type *t, const void *p, bool element,
                         struct buf *out)
{
    const rapyer_list *list = p;
    size_t size = size_of(b->db, t->of);
    (void)element;
    pack_array(out, (uint32_t)list->len);
    for (size_t i = 0; i < list->len; i++)
        pack_member(b, t->of, (const char *)list->items + i * size, true, out);
}

static void pack_sorted_at(const struct binding *b, const struct type *t, const void *p,
                           bool element, struct buf *out)
{
    const rapyer_sorted *sorted = p;
    size_t size = size_of(b->db, t->of);
    (void)element;
    pack_array(out, (uint32_t)sorted->len);
    for (size_t i = 0; i < sorted->len; i++) {
        pack_array(out, 2);
        pack_member(b, t->of, (const char *)sorted->items + i * size, true, out);
        pack_float(out, sorted->scores[i]);
    }
}

static void pack_dict_at(const struct binding *b, const struct type *t, const void *p, bool element,
                         struct buf *out)
{
    const rapyer_dict *dict = p;
    size_t size = size_of(b->db, t->of);
    (void)element;
    pack_map(out, (uint32_t)dict->len);
    for (size_t i = 0; i < dict->len; i++) {
        pack_cstr(out, dict->keys[i] ? dict->keys[i] : "");
        pack_member(b, t->of, (const char *)dict->values + i * size, true, out);
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
        bool text = is_pk(field) || (t && is_text(t));
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
                       void *p)
{
    t = type_within(t);
    return bounds[t->kind].read(b, t, v, p);
}

/* The field has become a float since, by newer programs; most values are still whole numbers. */
static bool whole_number(const rapyer_value *v, int64_t *p)
{
    double d = rapyer_float(v, "", 0);
    if (d < -0x1p63 || d >= 0x1p63 || d != (double)(int64_t)d)
        return false;
    *p = (int64_t)d;
    return true;
}

static int read_int(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    (void)t;
    *(int64_t *)p = rapyer_int(v, "", 0);
    if (rapyer_kind_of(v) == RAPYER_FLOAT && whole_number(v, p))
        return 0;
    return rapyer_kind_of(v) == RAPYER_INT ? 0 : mismatch(b, "int");
}

static int read_float(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    rapyer_kind kind = rapyer_kind_of(v);
    (void)t;
    *(double *)p = rapyer_float(v, "", 0);
    return kind == RAPYER_INT || kind == RAPYER_FLOAT ? 0 : mismatch(b, "float");
}

static int read_bool(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    (void)t;
    *(bool *)p = rapyer_bool(v, "", false);
    return rapyer_kind_of(v) == RAPYER_BOOL ? 0 : mismatch(b, "bool");
}

static int read_text(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    size_t len;
    const char *s = rapyer_kind_of(v) == RAPYER_STR ? rapyer_data(v, &len) : NULL;
    (void)t;
    if (!s)
        return mismatch(b, "str");
    char *copy = malloc(len + 1);
    if (!copy)
        return no_memory(b);
    memcpy(copy, s, len + 1);
    *(char **)p = copy;
    return 0;
}

static int read_bytes(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    rapyer_bytes *out = p;
    size_t len;
    const char *s = rapyer_kind_of(v) == RAPYER_BYTES ? rapyer_data(v, &len) : NULL;
    (void)t;
    if (!s)
        return mismatch(b, "bytes");
    out->data = malloc(len + 1);
    if (!out->data)
        return no_memory(b);
    memcpy(out->data, s, len);
    out->len = len;
    return 0;
}

static int read_time(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    (void)t;
    return rapyer_time(v, p) < 0 ? mismatch(b, "datetime") : 0;
}

static int read_any(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    rapyer_value **out = p;
    struct buf copy = BUF_INIT;
    struct fault f;
    (void)t;
    value_pack(v, &copy);
    struct cursor in = cursor_of(copy.data, copy.len);
    *out = copy.failed ? NULL : value_parse(in, 0, SIZE_MAX, &f);
    buf_free(&copy);
    return *out ? 0 : no_memory(b);
}

static int read_optional(const struct binding *b, const struct type *t, const rapyer_value *v,
                         void *p)
{
    void **out = p;
    if (rapyer_kind_of(v) == RAPYER_NULL)
        return 0;
    if (is_text(t->of))
        return read_member(b, t->of, v, p);
    *out = calloc(1, size_of(b->db, t->of));
    return *out ? read_member(b, t->of, v, *out) : no_memory(b);
}

/* len grows with what is filled in, so that a half-read list can be freed. */
static int read_list(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    rapyer_list *out = p;
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

static int read_dict(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    rapyer_dict *out = p;
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

static int read_sorted(const struct binding *b, const struct type *t, const rapyer_value *v,
                       void *p)
{
    rapyer_sorted *out = p;
    size_t size = size_of(b->db, t->of), n = rapyer_len(v);
    if (rapyer_kind_of(v) != RAPYER_LIST)
        return mismatch(b, "list of members with scores");
    out->scores = alloc_try(n ? n : 1, sizeof *out->scores);
    out->items = calloc(n ? n : 1, size);
    if (!out->items || !out->scores)
        return no_memory(b);
    while (out->len < n) {
        const rapyer_value *pair = rapyer_item(v, out->len);
        size_t i = out->len++;
        if (read_member(b, t->of, rapyer_item(pair, 0), (char *)out->items + i * size) < 0)
            return -1;
        out->scores[i] = rapyer_float(rapyer_item(pair, 1), "", 0);
    }
    return 0;
}

static int read_model(const struct binding *b, const struct type *t, const rapyer_value *v, void *p)
{
    return read_struct(b, bound_model(b->db, t), v, p);
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
    t = type_within(t);
    if (bounds[t->kind].free)
        bounds[t->kind].free(db, t, p);
}

static void free_block(const rapyer *db, const struct type *t, void *p)
{
    (void)db, (void)t;
    free(*(void **)p);
}

static void free_bytes(const rapyer *db, const struct type *t, void *p)
{
    (void)db, (void)t;
    free(((rapyer_bytes *)p)->data);
}

static void free_optional(const rapyer *db, const struct type *t, void *p)
{
    if (*(void **)p && !is_text(t->of))
        free_member(db, t->of, *(void **)p);
    free(*(void **)p);
}

static void free_list(const rapyer *db, const struct type *t, void *p)
{
    rapyer_list *list = p;
    size_t size = size_of(db, t->of);
    for (size_t i = 0; i < list->len; i++)
        free_member(db, t->of, (char *)list->items + i * size);
    free(list->items);
}

static void free_sorted(const rapyer *db, const struct type *t, void *p)
{
    rapyer_sorted *sorted = p;
    size_t size = size_of(db, t->of);
    for (size_t i = 0; i < sorted->len; i++)
        free_member(db, t->of, (char *)sorted->items + i * size);
    free(sorted->items);
    free(sorted->scores);
}

static void free_dict(const rapyer *db, const struct type *t, void *p)
{
    rapyer_dict *dict = p;
    size_t size = size_of(db, t->of);
    for (size_t i = 0; i < dict->len; i++) {
        free(dict->keys[i]);
        free_member(db, t->of, (char *)dict->values + i * size);
    }
    free(dict->keys);
    free(dict->values);
}

static void free_model(const rapyer *db, const struct type *t, void *p)
{
    free_struct(db, bound_model(db, t), p);
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

/* ---- the table ---- */

static const struct bound bounds[TYPE_COUNT] = {
    [TYPE_INT] = {sizeof(int64_t), pack_int_at, read_int, NULL},
    [TYPE_FLOAT] = {sizeof(double), pack_float_at, read_float, NULL},
    [TYPE_BOOL] = {sizeof(bool), pack_bool_at, read_bool, NULL},
    [TYPE_STR] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_BYTES] = {sizeof(rapyer_bytes), pack_bytes_at, read_bytes, free_bytes},
    [TYPE_DATETIME] = {sizeof(struct timespec), pack_time_at, read_time, NULL},
    [TYPE_DECIMAL] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_DATE] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_TIME] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_TIMEDELTA] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_NAIVE] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_ZONED] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_UUID] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_ENUM] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_REF] = {sizeof(char *), pack_text_at, read_text, free_block},
    [TYPE_ANY] = {sizeof(rapyer_value *), pack_any_at, read_any, free_block},
    [TYPE_OPTIONAL] = {sizeof(void *), pack_optional_at, read_optional, free_optional},
    [TYPE_LIST] = {sizeof(rapyer_list), pack_list_at, read_list, free_list},
    [TYPE_DICT] = {sizeof(rapyer_dict), pack_dict_at, read_dict, free_dict},
    [TYPE_SET] = {sizeof(rapyer_list), pack_list_at, read_list, free_list},
    [TYPE_SORTED] = {sizeof(rapyer_sorted), pack_sorted_at, read_sorted, free_sorted},
    [TYPE_MAYBE] = {sizeof(void *), pack_optional_at, read_optional, free_optional},
    [TYPE_MODEL] = {0, pack_model_at, read_model, free_model},
};

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
    rapyer_value *v = rapyer_load(doc, ""); /* a struct cannot say what it lacks when it is saved */
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
