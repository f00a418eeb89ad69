/* build: a tree from its wire form, all of it checked.
 *
 *   map ──► fields one by one ──► pk ──► defaults for the rest ──► record
 *
 * A record under construction has no containers yet, so a slot that is set tells that its field
 * was there. The place that is being read is kept as text for the messages, in one buffer that
 * grows and shrinks with the depth. Nothing outlives a refusal.
 */
#include "protocol/keep.h"
#include "protocol/path.h"
#include "protocol/scalar.h"
#include "protocol/tree_private.h"
#include "protocol/value.h"
#include "protocol/work.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <uuid.h>

#define WHERE_MAX 256

/* One byte of input can ask for a record of many fields: this is where it ends, unless work.h has a
 * bound for it. */
#define BUILD_MAX_BYTES ((size_t)256 << 20)

struct building {
    struct fault *f;
    struct buf scratch;   /* the canonical form of the value at hand */
    size_t memory_before; /* tree_memory() at the start */
    unsigned depth;       /* containers around what is at hand, in the document */
    bool keeps;           /* something was left out of a map: "@lazy" */
    size_t len;
    char where[WHERE_MAX]; /* NUL-terminated */
};

struct text {
    const char *s; /* NULL: none */
    size_t len;
};

/* ---- the place, for messages ---- */

static void where_add(struct building *b, const char *s, size_t len)
{
    size_t left = WHERE_MAX - 1 - b->len;

    if (len > left)
        len = left;
    memcpy(b->where + b->len, s, len);
    b->len += len;
    b->where[b->len] = 0;
}

static void where_name(struct building *b, const char *s, size_t len)
{
    if (b->len)
        where_add(b, ".", 1);
    where_add(b, s, len);
}

static void where_index(struct building *b, uint32_t i)
{
    char digits[12], *at = digits + sizeof digits;

    *--at = ']';
    do
        *--at = (char)('0' + i % 10);
    while (i /= 10);
    *--at = '[';
    where_add(b, at, (size_t)(digits + sizeof digits - at));
}

static void where_key(struct building *b, const char *s, size_t len)
{
    where_add(b, "[\"", 2);
    where_add(b, s, len > 64 ? 64 : len);
    where_add(b, "\"]", 2);
}

static void where_back(struct building *b, size_t len)
{
    b->len = len;
    b->where[len] = 0;
}

static const char *here(const struct building *b)
{
    return b->len ? b->where : "the document";
}

static int wrong_type(struct building *b, const struct cursor *in, const char *expected)
{
    struct item it;

    return fault_set(b->f, FAULT_BAD_TYPE, "%s: expected %s, found %s", here(b), expected,
                     cursor_peek(in, &it) == 0 ? item_kind_name(it.kind) : "nothing");
}

static int unknown_field(struct building *b, const struct model *m, const char *name, size_t len)
{
    char has[160];
    size_t n = 0;

    has[0] = 0;
    for (uint32_t i = 0; i < m->nfields; i++) {
        if (n + m->fields[i].name_len + 8 > sizeof has) {
            n += (size_t)snprintf(has + n, sizeof has - n, ", ...");
            break;
        }
        n += (size_t)snprintf(has + n, sizeof has - n, "%s%s", i ? ", " : "", m->fields[i].name);
    }
    return fault_set(b->f, FAULT_UNKNOWN_FIELD, "%s: %s has no field '%.*s'; it has: %s", here(b),
                     m->name, (int)(len > 64 ? 64 : len), name, has);
}

/* ---- values and containers ---- */

static int build_record(struct building *b, const struct model *m, enum record_place place,
                        struct text pk, struct cursor *in, struct record **out);

/* Models may contain themselves: how deep that goes is counted here. */
static int check_depth(struct building *b, unsigned depth)
{
    if (depth <= SCHEMA_MAX_DEPTH)
        return 0;
    return fault_set(
        b->f, FAULT_BAD_VALUE,
        "%s: a document nests at most %d containers (every model, list and dict is one)", here(b),
        SCHEMA_MAX_DEPTH);
}

static unsigned value_depth(struct cursor *in)
{
    struct item it;
    unsigned deepest = 0;

    if (cursor_next(in, &it) != 0 || (it.kind != ITEM_ARRAY && it.kind != ITEM_MAP))
        return 0;
    for (uint32_t n = it.kind == ITEM_MAP ? it.count * 2 : it.count; n; n--) {
        unsigned depth = value_depth(in);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

/* Where the model alone does not say that it cannot be too deep. */
static int check_value_depth(struct building *b, const struct type *t)
{
    struct cursor in = cursor_of(b->scratch.data, b->scratch.len);

    if (scalar_of(type_bare(t)->kind) || b->depth + b->scratch.len <= SCHEMA_MAX_DEPTH)
        return 0;
    return check_depth(b, b->depth + value_depth(&in));
}

/* A long text, or bytes, is canonical as it came: it is not copied twice. False: it is none, or
 * wrong, and goes the way of all others. */
static bool build_long(const struct type *t, struct cursor *in, struct cell *out)
{
    struct cursor rest = *in;
    bool text = type_bare(t)->kind == TYPE_STR;
    struct item it;
    struct fault f;

    if ((!text && type_bare(t)->kind != TYPE_BYTES) || (size_t)(in->end - in->at) < WORK_LONG ||
        cursor_next(&rest, &it) != 0 || it.kind != (text ? ITEM_STR : ITEM_BIN) ||
        it.bytes.len < WORK_LONG || (text && !utf8_valid(it.bytes.p, it.bytes.len)))
        return false;
    struct buf view = {.data = (uint8_t *)(uintptr_t)in->at, .len = (size_t)(rest.at - in->at)};
    if (value_check_limit(&view, "", &f) != 0)
        return false;
    *out = cell_joined(text, it.bytes.p, it.bytes.len, NULL, 0);
    *in = rest;
    return true;
}

/* So is a short text, which most elements are: nothing else is to be seen to. */
static bool build_short(const struct type *t, struct cursor *in, struct cell *out)
{
    const uint8_t *at = in->at;

    if (t->kind != TYPE_STR || at >= in->end || (*at & 0xe0) != 0xa0)
        return false;
    size_t len = *at & 0x1f;
    if ((size_t)(in->end - at) <= len || !utf8_valid(at + 1, len))
        return false;
    *out = cell_value(at, 1 + len);
    in->at += 1 + len;
    return true;
}

static int build_value(struct building *b, const struct type *t, struct cursor *in,
                       struct cell *out)
{
    if (build_long(t, in, out)) {
        if (work_check(b->f) == 0)
            return 0;
        cell_free(out);
        return -1;
    }
    buf_clear(&b->scratch);
    if (value_check(t, in, &b->scratch, b->where, b->f) != 0 ||
        value_check_limit(&b->scratch, b->where, b->f) != 0 ||
        (b->depth > 2 && check_value_depth(b, t) != 0))
        return -1;
    *out = cell_value(b->scratch.data, b->scratch.len);
    if (out->kind != CELL_HEAP || out->heap_len < WORK_LONG || work_check(b->f) == 0)
        return 0;
    cell_free(out);
    return -1;
}

static int build_container(struct building *b, const struct type *t, struct cursor *in,
                           struct cell *out);

static struct cell random_pk(void)
{
    char uuid[37];
    uuid_t random;

    uuid_generate_random(random);
    uuid_unparse_lower(random, uuid);
    return cell_str(uuid, 36);
}

/* What is within another container has a pk that nobody sees. */
static int build_wrapped(struct building *b, const struct model *m, struct cursor *in,
                         struct cell *out)
{
    struct record *r = record_bare(m);

    work_add(1, WORK_RECORD);
    if (work_check(b->f) != 0 || build_container(b, m->fields[0].type, in, &r->slots[0]) != 0) {
        record_free(r);
        return -1;
    }
    r->pk = random_pk();
    memset(out, 0, sizeof *out);
    out->record = r;
    out->kind = CELL_RECORD;
    return 0;
}

static int build_element(struct building *b, const struct type *of, struct cursor *in,
                         struct cell *out)
{
    struct record *r;

    if (!type_atomic(of))
        return build_value(b, of, in, out);
    if (of->model->wraps)
        return build_wrapped(b, of->model, in, out);
    if (build_record(b, of->model, RECORD_ELEMENT, (struct text){0}, in, &r) != 0)
        return -1;
    memset(out, 0, sizeof *out);
    out->record = r;
    out->kind = CELL_RECORD;
    return 0;
}

static int same_pk(struct building *b, struct text pk)
{
    return fault_set(b->f, FAULT_BAD_VALUE,
                     "%s: another element has the pk '%.*s' already; pks are unique in a container",
                     here(b), (int)pk.len, pk.s);
}

static uint32_t plausible(uint32_t n, const struct cursor *in)
{
    size_t left = (size_t)(in->end - in->at);

    return n < left ? n : (uint32_t)left;
}

static int build_key(struct building *b, struct cursor *in, struct text *key)
{
    struct item it;

    if (cursor_peek(in, &it) != 0 || it.kind != ITEM_STR)
        return wrong_type(b, in, "a str as key");
    if (cursor_str(in, &key->s, &key->len) != 0)
        return wrong_type(b, in, "a str as key");
    if (!utf8_valid(key->s, key->len))
        return fault_set(b->f, FAULT_BAD_VALUE, "%s: a key is not valid UTF-8", here(b));
    return 0;
}

/* Where the i-th element is, and the key before it, if it has one. */
static int build_name(struct building *b, const struct container_kind *kind, uint32_t i,
                      struct cursor *in, struct element *e)
{
    struct text key;

    if (kind->wire != ITEM_MAP) {
        where_index(b, i);
        return 0;
    }
    if (build_key(b, in, &key) != 0)
        return -1;
    where_key(b, key.s, key.len);
    e->key = key.s;
    e->key_len = key.len;
    return 0;
}

static int build_scored(struct building *b, const struct type *of, struct cursor *in,
                        struct element *e)
{
    uint32_t n;

    if (cursor_array(in, &n) != 0 || n != 2)
        return wrong_type(b, in, "a pair of a member and its score");
    if (build_element(b, of, in, e->cell) != 0)
        return -1;
    if (cursor_number(in, &e->score) == 0 && isfinite(e->score))
        return 0;
    cell_free(e->cell);
    return fault_set(b->f, FAULT_BAD_VALUE, "%s: the score must be a finite number", here(b));
}

/* One element, added to the node; pks: those of the records that are there already, or NULL. */
static int build_one_of(struct building *b, const struct type *of, struct cursor *in,
                        struct container *node, struct element *e, struct dict *pks)
{
    const struct container_kind *kind = container_kind(node);
    struct cell old = {0};
    struct text pk;

    if ((kind->scored ? build_scored(b, of, in, e) : build_element(b, of, in, e->cell)) != 0)
        return -1;
    if (kind->has && kind->has(node, e)) {
        cell_free(e->cell);
        return fault_set(b->f, FAULT_BAD_VALUE, "%s: the %s is there twice", here(b),
                         kind->wire == ITEM_MAP ? "key" : "member");
    }
    container_add(node, e);
    if (pks && e->cell->kind == CELL_RECORD &&
        cell_get_str(&e->cell->record->pk, &pk.s, &pk.len) == 0)
        old = dict_put(pks, pk.s, pk.len, cell_nil());
    return old.kind == CELL_UNSET ? 0 : same_pk(b, pk);
}

static int build_elements(struct building *b, const struct type *t, uint32_t n, struct cursor *in,
                          struct container *node, struct dict *pks)
{
    size_t mark = b->len;
    uint64_t price = container_kind(node)->put == EFFECT_FIELD_SET ? WORK_NAMED : WORK_VALUE;

    for (uint32_t i = 0; i < n; i++) {
        struct cell c = {0};
        struct element e = {.cell = &c};
        work_add(1, price);
        if (work_check(b->f) != 0)
            return -1;
        if (build_name(b, container_kind(node), i, in, &e) != 0 ||
            build_one_of(b, t->of, in, node, &e, pks) != 0)
            return -1;
        where_back(b, mark);
    }
    return 0;
}

/* The one, which has no pk of its own, or nil. */
static int build_lone(struct building *b, const struct type *t, struct cursor *in, struct cell *out)
{
    struct cell c = {0};
    struct element e = {.cell = &c};

    *out = cell_blank(t);
    if (cursor_nil(in))
        return 0;
    if (t->of->model->wraps) {
        if (build_wrapped(b, t->of->model, in, &c) != 0) {
            cell_free(out);
            return -1;
        }
        cell_free(&c.record->pk);
        c.record->pk = cell_str(LONE_PK, strlen(LONE_PK));
    } else if (build_record(b, t->of->model, RECORD_LONE, (struct text){0}, in, &c.record) != 0) {
        cell_free(out);
        return -1;
    }
    c.kind = CELL_RECORD;
    container_add(out->container, &e);
    return 0;
}

static int build_container(struct building *b, const struct type *t, struct cursor *in,
                           struct cell *out)
{
    char name[TYPE_NAME_MAX];
    uint32_t n;
    bool map = type_container(t)->wire == ITEM_MAP;

    if (type_container(t)->lone)
        return build_lone(b, t, in, out);
    if ((map ? cursor_map(in, &n) : cursor_array(in, &n)) != 0)
        return wrong_type(b, in, type_name(t, name, sizeof name));
    if (check_depth(b, ++b->depth) != 0)
        return -1;
    *out = cell_blank(t);
    if (n)
        container_reserve(out->container, plausible(n, in));
    struct dict *pks = type_atomic(t->of) && n > 1 ? dict_new() : NULL;
    int rc = build_elements(b, t, n, in, out->container, pks);
    dict_free(pks);
    b->depth--;
    if (rc != 0)
        cell_free(out);
    return rc;
}

static int build_field(struct building *b, const struct type *t, struct cursor *in,
                       struct cell *out)
{
    struct record *r;

    if (type_container(t))
        return build_container(b, t, in, out);
    if (!type_atomic(t))
        return build_value(b, t, in, out);
    if (build_record(b, t->model, RECORD_INLINE, (struct text){0}, in, &r) != 0)
        return -1;
    memset(out, 0, sizeof *out);
    out->record = r;
    out->kind = CELL_RECORD;
    return 0;
}

/* ---- pks ---- */

#define KEY_TEXT 64 /* bytes of the longest text that is none on the wire */

/* What a key field holds, as a pk: its text in Redis. */
static int key_text(struct building *b, const struct field *f, const struct cell *c,
                    char text[KEY_TEXT], struct text *pk)
{
    struct buf written = BUF_INIT;
    struct item it;
    size_t len;
    const uint8_t *bytes = cell_bytes(c, &len);
    struct cursor in = cursor_of(bytes, len);

    if (cell_get_str(c, &pk->s, &pk->len) == 0)
        return 0;
    if (cell_is_value(c) && !cell_is_nil(c) && cursor_next(&in, &it) == 0)
        scalar_of(type_bare(f->type)->kind)->write(&it, &written);
    pk->len = written.len < KEY_TEXT ? written.len : 0;
    if (pk->len)
        memcpy(text, written.data, pk->len);
    pk->s = text;
    buf_free(&written);
    if (pk->len)
        return 0;
    where_name(b, f->name, f->name_len);
    return fault_set(b->f, FAULT_BAD_VALUE, "%s: the key field must hold a value", here(b));
}

int key_from_pk(const struct type *t, const char *pk, size_t len, struct cell *out, struct fault *f)
{
    const struct type *bare = type_bare(t);
    char name[TYPE_NAME_MAX];

    if (scalar_of(bare->kind)->read(bare, pk, len, out))
        return 0;
    return fault_set(f, FAULT_BAD_KEY, "the pk '%.*s' must be a %s: %s", (int)(len > 64 ? 64 : len),
                     pk, type_name(bare, name, sizeof name), scalar_of(bare->kind)->looks);
}

static int disagree(struct building *b, struct text a, struct text pk)
{
    return fault_set(b->f, FAULT_BAD_VALUE,
                     "%s: the pk is '%.*s' in one place and '%.*s' in another", here(b),
                     (int)(pk.len > 64 ? 64 : pk.len), pk.s, (int)(a.len > 64 ? 64 : a.len), a.s);
}

static bool text_equal(struct text a, struct text b)
{
    return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

/* By the model's key field, which is filled in from the pk where it is not there itself. */
static int pk_by_field(struct building *b, struct record *r, struct text *pk, char text[KEY_TEXT])
{
    const struct field *f = &r->model->fields[r->model->key_field];
    struct cell *slot = &r->slots[r->model->key_field];
    struct text key;

    if (slot->kind == CELL_KEPT)
        *slot = (struct cell){0}; /* the pk says it */
    struct fault why;
    if (slot->kind == CELL_UNSET && pk->s && key_from_pk(f->type, pk->s, pk->len, slot, &why) != 0)
        return fault_set(b->f, why.code, "%s: %s", here(b), why.text);
    if (slot->kind == CELL_UNSET && f->fallback)
        *slot = cell_value(f->fallback, f->fallback_len);
    if (slot->kind == CELL_UNSET)
        return fault_set(b->f, FAULT_BAD_VALUE, "%s: the key field '%s' of %s is missing", here(b),
                         f->name, r->model->name);
    if (key_text(b, f, slot, text, &key) != 0)
        return -1;
    if (pk->s && !text_equal(key, *pk))
        return disagree(b, key, *pk);
    *pk = key;
    return 0;
}

static int settle_pk(struct building *b, struct record *r, enum record_place place,
                     struct text given, struct text in_map)
{
    struct text pk = given.s ? given : in_map;
    char text[KEY_TEXT];

    if (place == RECORD_INLINE || place == RECORD_LONE) {
        if (place == RECORD_LONE)
            r->pk = cell_str(LONE_PK, strlen(LONE_PK));
        if (!in_map.s)
            return 0;
        return fault_set(b->f, FAULT_BAD_VALUE,
                         "%s: a model nested directly in another has no pk of its own; leave out "
                         "'@pk'",
                         here(b));
    }
    if (given.s && in_map.s && !text_equal(given, in_map))
        return disagree(b, in_map, given);
    if (r->model->key_field >= 0 && pk_by_field(b, r, &pk, text) != 0)
        return -1;
    if (pk.s && pk_check(pk.s, pk.len, b->f) != 0)
        return -1;
    r->pk = pk.s ? cell_str(pk.s, pk.len) : random_pk();
    return 0;
}

/* ---- records ---- */

static int build_default(struct building *b, const struct field *f, struct cell *slot)
{
    struct cursor empty = cursor_of("\x80", 1), fallback = cursor_of(f->fallback, f->fallback_len);
    bool container = type_container(f->type);

    if (f->fallback && (container || type_atomic(f->type)))
        return build_field(b, f->type, &fallback, slot);
    if (f->fallback) {
        *slot = cell_value(f->fallback, f->fallback_len);
    } else if (container) {
        *slot = cell_blank(f->type);
    } else if (type_atomic(f->type)) {
        return build_field(b, f->type, &empty, slot);
    } else if (f->type->kind != TYPE_OPTIONAL) {
        return fault_set(b->f, FAULT_BAD_VALUE, "%s is missing; it has no default", here(b));
    }
    return 0;
}

static int build_defaults(struct building *b, struct record *r)
{
    size_t mark = b->len;

    for (uint32_t i = 0; i < r->nslots; i++) {
        const struct field *f = &r->model->fields[i];
        if (r->slots[i].kind != CELL_UNSET)
            continue;
        where_name(b, f->name, f->name_len);
        if (build_default(b, f, &r->slots[i]) != 0)
            return -1;
        where_back(b, mark);
    }
    return 0;
}

static int build_pk(struct building *b, struct cursor *in, struct text *pk)
{
    struct item it;

    if (pk->s)
        return fault_set(b->f, FAULT_BAD_VALUE, "%s: '@pk' is there twice", here(b));
    if (cursor_nil(in))
        return 0;
    if (cursor_peek(in, &it) == 0 && it.kind == ITEM_STR && cursor_str(in, &pk->s, &pk->len) == 0)
        return pk_check(pk->s, pk->len, b->f);
    where_name(b, "@pk", 3);
    return wrong_type(b, in, "str");
}

/* Fields mostly come in declared order: look first where the last one leaves off. */
static int find_field(const struct model *m, struct text name, uint32_t likely)
{
    if (likely < m->nfields && m->fields[likely].name_len == name.len &&
        memcmp(m->fields[likely].name, name.s, name.len) == 0)
        return (int)likely;
    return model_field(m, name.s, name.len);
}

static int build_one(struct building *b, struct record *r, int field, struct cursor *in)
{
    const struct field *f = &r->model->fields[field];
    size_t mark = b->len;

    where_name(b, f->name, f->name_len);
    if (r->slots[field].kind != CELL_UNSET && r->slots[field].kind != CELL_KEPT)
        return fault_set(b->f, FAULT_BAD_VALUE, "%s is there twice", here(b));
    if (build_field(b, f->type, in, &r->slots[field]) != 0)
        return -1;
    where_back(b, mark);
    return 0;
}

/* The names of the fields that the map leaves out, to be kept as they are. One that is given all
 * the same counts as given. */
static int build_kept(struct building *b, struct record *r, struct cursor *in)
{
    struct text name;
    uint32_t n;

    if (cursor_array(in, &n) != 0)
        return wrong_type(b, in, "a list of fields' names as \"@lazy\"");
    for (; n; n--) {
        if (build_key(b, in, &name) != 0)
            return -1;
        int field = model_field(r->model, name.s, name.len);
        if (field < 0)
            return unknown_field(b, r->model, name.s, name.len);
        if (r->slots[field].kind == CELL_UNSET)
            r->slots[field].kind = CELL_KEPT;
        b->keeps = true;
    }
    return 0;
}

static int build_fields(struct building *b, struct record *r, enum record_place place,
                        struct cursor *in, struct text *pk)
{
    uint32_t n, likely = 0;
    struct text name;
    int field;

    if (cursor_map(in, &n) != 0)
        return wrong_type(b, in, r->model->name);
    for (; n; n--) {
        if (build_key(b, in, &name) != 0)
            return -1;
        if (text_equal(name, (struct text){"@pk", 3})) {
            if (build_pk(b, in, pk) != 0)
                return -1;
        } else if (text_equal(name, (struct text){"@lazy", 5})) {
            if (build_kept(b, r, in) != 0)
                return -1;
        } else if (place == RECORD_ROOT && (text_equal(name, (struct text){"@v", 2}) ||
                                            text_equal(name, (struct text){"@stale", 6}) ||
                                            text_equal(name, (struct text){"@refs", 5}))) {
            if (cursor_skip(in) != 0)
                return wrong_type(b, in, "a version");
        } else {
            field = find_field(r->model, name, likely);
            if (field < 0)
                return unknown_field(b, r->model, name.s, name.len);
            if (build_one(b, r, field, in) != 0)
                return -1;
            likely = (uint32_t)field + 1;
        }
    }
    return 0;
}

static int build_record(struct building *b, const struct model *m, enum record_place place,
                        struct text pk, struct cursor *in, struct record **out)
{
    struct record *r = record_bare(m);
    struct text in_map = {0};

    work_add(r->nslots, WORK_NAMED);
    work_add(place != RECORD_INLINE, WORK_RECORD);
    if (work_check(b->f) != 0 || check_depth(b, ++b->depth) != 0)
        (void)0; /* the fault is set */
    else if (!work_counted() && tree_memory() - b->memory_before > BUILD_MAX_BYTES)
        (void)fault_set(b->f, FAULT_TOO_LARGE, "%s: the value would take over %zu MB of memory",
                        here(b), BUILD_MAX_BYTES >> 20);
    else if (build_fields(b, r, place, in, &in_map) == 0 &&
             settle_pk(b, r, place, pk, in_map) == 0 && build_defaults(b, r) == 0) {
        b->depth--;
        *out = r;
        return 0;
    }
    record_free(r);
    return -1;
}

static struct building begin(const char *where, struct fault *f)
{
    struct building b = {.f = f, .memory_before = tree_memory()};

    where_add(&b, where, strlen(where));
    return b;
}

enum op_status record_rebuild(const struct model *m, enum record_place place, const char *pk,
                              size_t pk_len, struct cursor *in, const char *where,
                              const struct rebuild *from, struct record **out, struct fault *f)
{
    struct building b = begin(where, f);
    struct record *r;
    enum op_status st = OP_REFUSED;

    if (build_record(&b, m, place, (struct text){pk, pk_len}, in, &r) == 0) {
        st = b.keeps ? keep_record(r, from->record, from->suffix, from->suffix_len, from->needs, f)
                     : OP_DONE;
        if (st == OP_DONE)
            *out = r;
        else
            record_free(r);
        *from->kept = b.keeps;
    }
    buf_free(&b.scratch);
    return st;
}

enum op_status cell_rebuild(const struct type *t, bool element, struct cursor *in,
                            const char *where, const struct rebuild *from, struct cell *out,
                            struct fault *f)
{
    *from->kept = false;
    if (build_short(t, in, out))
        return OP_DONE;
    struct building b = begin(where, f);
    struct cell c;
    b.depth = from->depth;
    int rc = element ? build_element(&b, t, in, &c) : build_field(&b, t, in, &c);
    enum op_status st = rc == 0 ? OP_DONE : OP_REFUSED;

    if (rc == 0 && b.keeps)
        st = keep_cell(&c, t, from->cell, from->suffix, from->suffix_len, from->needs, f);
    if (st == OP_DONE)
        *out = c;
    else if (rc == 0)
        cell_free(&c);
    *from->kept = rc == 0 && b.keeps;
    buf_free(&b.scratch);
    return st;
}

static void unwanted(void *arg, struct cell *c, const struct type *t, const char *suffix,
                     size_t suffix_len)
{
    (void)arg, (void)c, (void)t, (void)suffix, (void)suffix_len;
}

/* There is nothing that could be kept. */
#define FROM_NOTHING \
    (&(struct rebuild){.needs = &(struct needs){.container = unwanted}, .kept = &(bool){false}})

int record_build(const struct model *m, enum record_place place, const char *pk, size_t pk_len,
                 struct cursor *in, const char *where, struct record **out, struct fault *f)
{
    return record_rebuild(m, place, pk, pk_len, in, where, FROM_NOTHING, out, f);
}

int cell_build(const struct type *t, bool element, struct cursor *in, const char *where,
               struct cell *out, struct fault *f)
{
    return cell_rebuild(t, element, in, where, FROM_NOTHING, out, f);
}
