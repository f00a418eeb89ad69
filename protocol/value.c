/* value: from what a client sent to what is kept.
 *
 *   cursor ──► check by type ──► canonical bytes in out
 *                  │
 *                  └── place: a chain of steps on the stack, printed only when something is wrong
 *
 * Recursion is bounded by the declared nesting (SCHEMA_MAX_DEPTH) and, in an `any`, by
 * VALUE_ANY_DEPTH, whatever the bytes say.
 */
#include "protocol/value.h"
#include "protocol/alloc.h"
#include "protocol/container.h"
#include "protocol/path.h"
#include "protocol/scalar.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PLACE_SHOWN 240 /* bytes of a path that a message repeats */
#define FEW 16          /* keys up to which comparing all with all is cheapest */
#define FEW_FIELDS 64   /* fields up to which no memory is asked for */

struct place {
    const struct place *up; /* NULL: the root, s is the path so far */
    enum step_kind kind;
    const char *s;
    size_t len;
    int64_t index;
};

struct check {
    struct cursor *in;
    struct buf *out;
    struct fault *fault;
    size_t start; /* of our value in out */
};

static void place_print(const struct place *p, struct buf *b)
{
    if (!p->up) {
        buf_append(b, p->s, p->len);
        return;
    }
    place_print(p->up, b);
    if (p->kind == STEP_NAME)
        path_add_name(b, p->s, p->len);
    else if (p->kind == STEP_INDEX)
        path_add_index(b, p->index);
    else
        path_add_key(b, p->s, p->len);
}

static int refuse(const struct check *c, const struct place *at, enum fault_code code,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int refuse(const struct check *c, const struct place *at, enum fault_code code,
                  const char *fmt, ...)
{
    char what[FAULT_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    struct buf path = BUF_INIT;
    place_print(at, &path);
    if (path.failed || path.len == 0)
        fault_set(c->fault, code, "value: %s", what);
    else
        fault_set(c->fault, code, "%.*s%s: %s",
                  (int)(path.len < PLACE_SHOWN ? path.len : PLACE_SHOWN), (char *)path.data,
                  path.len > PLACE_SHOWN ? "..." : "", what);
    buf_free(&path);
    return -1;
}

static int refuse_type(const struct check *c, const struct place *at, const struct type *t,
                       const struct item *it)
{
    char name[TYPE_NAME_MAX];
    return refuse(c, at, FAULT_BAD_TYPE, "%s%s expected, found %s", type_name(t, name, sizeof name),
                  t->kind == TYPE_MODEL ? " (a map of its fields)" : "", item_kind_name(it->kind));
}

static int refuse_end(const struct check *c, const struct place *at)
{
    return refuse(c, at, FAULT_BAD_VALUE, "the bytes end inside the value");
}

static int next(const struct check *c, const struct place *at, struct item *it)
{
    return cursor_next(c->in, it) < 0 ? refuse_end(c, at) : 0;
}

/* After each piece of output: memory, and what defaults can make of a small input. */
static int check_room(const struct check *c, const struct place *at)
{
    if (c->out->failed)
        return refuse(c, at, FAULT_NO_MEMORY, "out of memory");
    if (c->out->len - c->start > VALUE_MAX_BYTES)
        return refuse(c, at, FAULT_TOO_LARGE, "a value has at most %u bytes", VALUE_MAX_BYTES);
    return 0;
}

static int check_scalar(const struct check *c, const struct place *at, const struct type *t,
                        const struct item *it)
{
    const struct scalar *scalar = scalar_of(t->kind);
    struct fault what;
    /* Of ext types only timestamps may be meant for one of ours. */
    if (!(scalar->takes >> it->kind & 1) || (it->kind == ITEM_EXT && it->bytes.ext != -1))
        return refuse_type(c, at, t, it);
    return scalar->check(t, it, c->out, &what) == 0 ? 0 : refuse(c, at, what.code, "%s", what.text);
}

/* Where a map's keys were written, to find the same one twice. */
struct key {
    size_t at, len; /* in out */
};

struct keys {
    struct key few[FEW], *all;
};

/* least: bytes that each entry has. */
static int keys_init(struct keys *k, const struct check *c, const struct place *at, uint32_t n,
                     unsigned least)
{
    k->all = k->few;
    if (n <= FEW)
        return 0;
    if (n > (size_t)(c->in->end - c->in->at) / least)
        return refuse_end(c, at);
    k->all = alloc_try(n, sizeof *k->all);
    if (!k->all)
        return refuse(c, at, FAULT_NO_MEMORY, "out of memory");
    return 0;
}

static void keys_free(struct keys *k)
{
    if (k->all != k->few)
        free(k->all);
}

static int key_compare(const void *a, const void *b, void *base)
{
    const struct key *x = a, *y = b;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp((uint8_t *)base + x->at, (uint8_t *)base + y->at, x->len);
}

/* The place of a map's entry, whose key may be anything. */
static struct place place_of_key(const struct place *up, struct cursor in)
{
    struct place p = {.up = up, .kind = STEP_KEY, .s = "?", .len = 1};
    struct item it;
    if (cursor_next(&in, &it) < 0)
        return p;
    if (it.kind == ITEM_STR) {
        p.s = (const char *)it.bytes.p;
        p.len = it.bytes.len;
    } else if (it.kind == ITEM_INT) {
        p.kind = STEP_INDEX;
        p.index = it.integer;
    }
    return p;
}

/* Sorts the keys when there are many. */
static int keys_unique(struct keys *k, const struct check *c, const struct place *at, uint32_t n)
{
    const struct key *twice = NULL;
    if (n <= FEW) {
        for (uint32_t i = 1; i < n && !twice; i++)
            for (uint32_t j = 0; j < i && !twice; j++)
                if (key_compare(&k->all[i], &k->all[j], c->out->data) == 0)
                    twice = &k->all[i];
    } else {
        qsort_r(k->all, n, sizeof *k->all, key_compare, c->out->data);
        for (uint32_t i = 1; i < n && !twice; i++)
            if (key_compare(&k->all[i], &k->all[i - 1], c->out->data) == 0)
                twice = &k->all[i];
    }
    if (!twice)
        return 0;
    struct place p = place_of_key(at, cursor_of(c->out->data + twice->at, twice->len));
    return refuse(c, &p, FAULT_BAD_VALUE, "the key is there twice");
}

static int check_any(const struct check *c, const struct place *at, unsigned depth);

static int any_array(const struct check *c, const struct place *at, uint32_t n, unsigned depth)
{
    pack_array(c->out, n);
    struct place p = {.up = at, .kind = STEP_INDEX};
    for (p.index = 0; p.index < n; p.index++)
        if (check_any(c, &p, depth) < 0)
            return -1;
    return 0;
}

static int any_pairs(const struct check *c, const struct place *at, uint32_t n, unsigned depth,
                     struct keys *keys)
{
    for (uint32_t i = 0; i < n; i++) {
        /* The place points into the input: out may move while the value is written. */
        struct place p = place_of_key(at, *c->in);
        struct key *key = &keys->all[i];
        key->at = c->out->len;
        if (check_any(c, at, depth) < 0)
            return -1;
        key->len = c->out->len - key->at;
        if (check_any(c, &p, depth) < 0)
            return -1;
    }
    return check_room(c, at) < 0 ? -1 : keys_unique(keys, c, at, n);
}

static int any_map(const struct check *c, const struct place *at, uint32_t n, unsigned depth)
{
    struct keys keys;
    if (keys_init(&keys, c, at, n, 2) < 0)
        return -1;
    pack_map(c->out, n);
    int done = any_pairs(c, at, n, depth, &keys);
    keys_free(&keys);
    return done;
}

static int check_any(const struct check *c, const struct place *at, unsigned depth)
{
    struct item it;
    if (next(c, at, &it) < 0 || check_room(c, at) < 0)
        return -1;
    static const struct type of_item[] = {
        [ITEM_BOOL] = {.kind = TYPE_BOOL},     [ITEM_INT] = {.kind = TYPE_INT},
        [ITEM_UINT] = {.kind = TYPE_INT},      [ITEM_FLOAT] = {.kind = TYPE_FLOAT},
        [ITEM_STR] = {.kind = TYPE_STR},       [ITEM_BIN] = {.kind = TYPE_BYTES},
        [ITEM_TIME] = {.kind = TYPE_DATETIME}, [ITEM_EXT] = {.kind = TYPE_DATETIME},
    };
    if (it.kind == ITEM_EXT && it.bytes.ext != -1)
        return refuse(c, at, FAULT_BAD_TYPE, "ext type %d is not known; timestamps (-1) are",
                      it.bytes.ext);
    if (it.kind == ITEM_NIL) {
        pack_nil(c->out);
        return 0;
    }
    if (it.kind != ITEM_ARRAY && it.kind != ITEM_MAP)
        return check_scalar(c, at, &of_item[it.kind], &it);
    if (depth == VALUE_ANY_DEPTH)
        return refuse(c, at, FAULT_BAD_VALUE, "an any nests at most %d containers",
                      VALUE_ANY_DEPTH);
    return it.kind == ITEM_ARRAY ? any_array(c, at, it.count, depth + 1)
                                 : any_map(c, at, it.count, depth + 1);
}

static int check_type(const struct check *c, const struct place *at, const struct type *t);

static int check_list(const struct check *c, const struct place *at, const struct type *of,
                      uint32_t n)
{
    pack_array(c->out, n);
    struct place p = {.up = at, .kind = STEP_INDEX};
    for (p.index = 0; p.index < n; p.index++)
        if (check_type(c, &p, of) < 0)
            return -1;
    return 0;
}

static int key_order(const void *a, const void *b, void *base)
{
    const struct key *x = a, *y = b;
    int order =
        memcmp((uint8_t *)base + x->at, (uint8_t *)base + y->at, x->len < y->len ? x->len : y->len);
    return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* The members from begin on, by their bytes: a set that is a value has one form. */
static int sort_members(const struct check *c, const struct place *at, struct keys *keys,
                        uint32_t n, size_t begin)
{
    struct buf sorted = BUF_INIT;
    qsort_r(keys->all, n, sizeof *keys->all, key_order, c->out->data);
    for (uint32_t i = 1; i < n; i++)
        if (key_order(&keys->all[i], &keys->all[i - 1], c->out->data) == 0)
            return refuse(c, at, FAULT_BAD_VALUE, "a member is there twice");
    for (uint32_t i = 0; i < n; i++)
        buf_append(&sorted, c->out->data + keys->all[i].at, keys->all[i].len);
    bool failed = sorted.failed;
    if (!failed && n > 0)
        memcpy(c->out->data + begin, sorted.data, sorted.len);
    buf_free(&sorted);
    return failed ? refuse(c, at, FAULT_INTERNAL, "out of memory") : 0;
}

static int set_items(const struct check *c, const struct place *at, const struct type *of,
                     uint32_t n, struct keys *keys)
{
    size_t begin = c->out->len;
    struct place p = {.up = at, .kind = STEP_INDEX};
    for (p.index = 0; p.index < n; p.index++) {
        struct key *key = &keys->all[p.index];
        key->at = c->out->len;
        if (check_type(c, &p, of) < 0)
            return -1;
        key->len = c->out->len - key->at;
    }
    return check_room(c, at) < 0 ? -1 : sort_members(c, at, keys, n, begin);
}

static int check_set(const struct check *c, const struct place *at, const struct type *of,
                     uint32_t n)
{
    struct keys keys;
    if (keys_init(&keys, c, at, n, 1) < 0)
        return -1;
    pack_array(c->out, n);
    int done = set_items(c, at, of, n, &keys);
    keys_free(&keys);
    return done;
}

static int check_scored(const struct check *c, const struct place *at, const struct type *of,
                        uint32_t n)
{
    pack_array(c->out, n);
    struct place p = {.up = at, .kind = STEP_INDEX};
    for (p.index = 0; p.index < n; p.index++) {
        double score;
        uint32_t two;
        if (cursor_array(c->in, &two) < 0 || two != 2)
            return refuse(c, &p, FAULT_BAD_TYPE, "a pair of a member and its score expected");
        pack_array(c->out, 2);
        if (check_type(c, &p, of) < 0)
            return -1;
        if (cursor_number(c->in, &score) < 0 || !isfinite(score))
            return refuse(c, &p, FAULT_BAD_VALUE, "the score must be a finite number");
        pack_float(c->out, score);
    }
    return check_room(c, at);
}

static int dict_pairs(const struct check *c, const struct place *at, const struct type *of,
                      uint32_t n, struct keys *keys)
{
    for (uint32_t i = 0; i < n; i++) {
        struct item it;
        if (next(c, at, &it) < 0)
            return -1;
        if (it.kind != ITEM_STR)
            return refuse(c, at, FAULT_BAD_TYPE, "a dict's keys are str, found %s",
                          item_kind_name(it.kind));
        struct place p = {
            .up = at, .kind = STEP_KEY, .s = (const char *)it.bytes.p, .len = it.bytes.len};
        if (!utf8_valid(it.bytes.p, it.bytes.len))
            return refuse(c, at, FAULT_BAD_VALUE, "a key is not valid UTF-8");
        keys->all[i].at = c->out->len;
        pack_str(c->out, p.s, p.len);
        keys->all[i].len = c->out->len - keys->all[i].at;
        if (check_type(c, &p, of) < 0)
            return -1;
    }
    return check_room(c, at) < 0 ? -1 : keys_unique(keys, c, at, n);
}

static int check_dict(const struct check *c, const struct place *at, const struct type *of,
                      uint32_t n)
{
    struct keys keys;
    if (keys_init(&keys, c, at, n, 2) < 0)
        return -1;
    pack_map(c->out, n);
    int done = dict_pairs(c, at, of, n, &keys);
    keys_free(&keys);
    return done;
}

/* "street, city, ...": the names of a model's fields, as many as fit. */
static void name_fields(const struct model *m, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[i];
        if (at + f->name_len + 8 > size) {
            memcpy(out + at, ", ...", 6);
            return;
        }
        if (i) {
            memcpy(out + at, ", ", 2);
            at += 2;
        }
        memcpy(out + at, f->name, f->name_len + 1);
        at += f->name_len;
    }
}

static int refuse_field(const struct check *c, const struct place *at, const struct model *m)
{
    char names[120];
    name_fields(m, names, sizeof names);
    return refuse(c, at, FAULT_UNKNOWN_FIELD, "no such field; %s has %s", m->name,
                  m->nfields ? names : "none");
}

/* Notes where each field's value is in the input. */
static int find_fields(const struct check *c, const struct place *at, const struct model *m,
                       uint32_t n, struct cursor *values)
{
    for (uint32_t i = 0; i < n; i++) {
        struct item it;
        if (next(c, at, &it) < 0)
            return -1;
        if (it.kind != ITEM_STR)
            return refuse(c, at, FAULT_BAD_TYPE, "the names of fields are str, found %s",
                          item_kind_name(it.kind));
        const char *name = (const char *)it.bytes.p;
        struct place p = {.up = at, .kind = STEP_NAME, .s = name, .len = it.bytes.len};
        if (!name_valid(name, it.bytes.len))
            p.kind = STEP_KEY; /* such as "@pk": quoted in the message */
        int field = model_field(m, name, it.bytes.len);
        if (field < 0)
            return refuse_field(c, &p, m);
        if (values[field].at)
            return refuse(c, &p, FAULT_BAD_VALUE, "the field is there twice");
        const uint8_t *value;
        size_t len;
        if (cursor_value(c->in, &value, &len) < 0)
            return refuse_end(c, &p);
        values[field] = cursor_of(value, len);
    }
    return 0;
}

static int write_fields(const struct check *c, const struct place *at, const struct model *m,
                        const struct cursor *values)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[i];
        struct place p = {.up = at, .kind = STEP_NAME, .s = f->name, .len = f->name_len};
        if (values[i].at || f->fallback)
            count++;
        else if (f->type->kind != TYPE_OPTIONAL)
            return refuse(c, &p, FAULT_BAD_VALUE, "the field is missing and has no default");
    }
    pack_map(c->out, count);
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[i];
        struct place p = {.up = at, .kind = STEP_NAME, .s = f->name, .len = f->name_len};
        struct cursor value = values[i];
        struct check inner = *c;
        inner.in = &value;
        if (value.at || f->fallback)
            buf_append(c->out, f->packed_name, f->packed_name_len);
        if (value.at && check_type(&inner, &p, f->type) < 0)
            return -1;
        if (!value.at && f->fallback)
            buf_append(c->out, f->fallback, f->fallback_len);
    }
    return check_room(c, at);
}

static int check_model(const struct check *c, const struct place *at, const struct model *m,
                       uint32_t n)
{
    struct cursor few[FEW_FIELDS], *values = few;
    if (m->nfields > FEW_FIELDS) {
        values = alloc_try(m->nfields, sizeof *values);
        if (!values)
            return refuse(c, at, FAULT_NO_MEMORY, "out of memory");
    }
    memset(values, 0, m->nfields * sizeof *values);
    int done = find_fields(c, at, m, n, values);
    if (done == 0)
        done = write_fields(c, at, m, values);
    if (values != few)
        free(values);
    return done;
}

static int check_optional(const struct check *c, const struct place *at, const struct type *t)
{
    if (!cursor_nil(c->in))
        return check_type(c, at, t->of);
    pack_nil(c->out);
    return 0;
}

/* What is not any or optional: the item's kind must be the type's. */
static int check_item(const struct check *c, const struct place *at, const struct type *t,
                      const struct item *it)
{
    const struct container_kind *container = type_container(t);
    if (scalar_of(t->kind))
        return check_scalar(c, at, t, it);
    if (type_atomic(t))
        return refuse(c, at, FAULT_INTERNAL, "an atomic model stands where a value is checked");
    if (it->kind != (container ? container->wire : ITEM_MAP))
        return refuse_type(c, at, t, it);
    if (!container)
        return check_model(c, at, t->model, it->count);
    if (it->kind == ITEM_MAP)
        return check_dict(c, at, t->of, it->count);
    if (container->scored)
        return check_scored(c, at, t->of, it->count);
    return container->has ? check_set(c, at, t->of, it->count)
                          : check_list(c, at, t->of, it->count);
}

static int check_type(const struct check *c, const struct place *at, const struct type *t)
{
    if (check_room(c, at) < 0)
        return -1;
    if (t->kind == TYPE_ANY)
        return check_any(c, at, 0);
    if (t->kind == TYPE_OPTIONAL)
        return check_optional(c, at, t);
    struct item it;
    return next(c, at, &it) < 0 ? -1 : check_item(c, at, t, &it);
}

int value_check(const struct type *t, struct cursor *in, struct buf *out, const char *where,
                struct fault *f)
{
    struct check c = {.in = in, .out = out, .fault = f, .start = out->len};
    struct place root = {.s = where, .len = strlen(where)};
    if (check_type(&c, &root, t) == 0 && check_room(&c, &root) == 0)
        return 0;
    out->len = c.start;
    return -1;
}

static size_t limit;

void value_set_limit(size_t bytes)
{
    limit = bytes;
}

int value_check_limit(const struct buf *value, const char *where, struct fault *f)
{
    if (limit == 0 || value->len <= limit)
        return 0;
    struct cursor in = cursor_of(value->data, value->len);
    struct item it;
    size_t len = value->len;
    if (cursor_next(&in, &it) == 0 && (it.kind == ITEM_STR || it.kind == ITEM_BIN))
        len = it.bytes.len;
    if (len <= limit)
        return 0;
    return fault_set(f, FAULT_TOO_LARGE, "%s: the value has %zu bytes, at most %zu are allowed",
                     where[0] != '\0' ? where : "value", len, limit);
}
