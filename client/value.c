/* value: see value.h. The bytes are counted, copied, and seen through once where they are then: as
 * soon as the head of an item was read it is overwritten by the NUL of the text before it. */
#include "client/value.h"
#include "protocol/path.h"
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

#define MAX_DEPTH 64 /* of what no scan has passed */

struct filler {
    uint8_t *end;                     /* of the bytes */
    struct rapyer_value *next, *last; /* nodes that are free still */
};

static uint8_t *fill_items(struct filler *fl, uint8_t *at, struct rapyer_value *v, uint64_t n,
                           unsigned depth);

static inline void fill_text(struct rapyer_value *v, rapyer_kind kind, const uint8_t *p,
                             uint32_t len)
{
    *v = (struct rapyer_value){.tag = TAG_VALUE | kind, .len = len, .bytes = (const char *)p};
}

static inline void fill_int(struct rapyer_value *v, rapyer_kind kind, int64_t i)
{
    *v = (struct rapyer_value){.tag = TAG_VALUE | kind, .integer = i};
}

static void fill_float(struct rapyer_value *v, double d)
{
    *v = (struct rapyer_value){.tag = TAG_VALUE | RAPYER_FLOAT, .real = d};
}

static uint8_t *fill_container(struct filler *fl, uint8_t *at, struct rapyer_value *v,
                               rapyer_kind kind, uint32_t len, unsigned depth)
{
    uint64_t nodes = kind == RAPYER_DICT ? 2 * (uint64_t)len : len;
    if (nodes > (uint64_t)(fl->last - fl->next) || depth == MAX_DEPTH)
        return NULL;
    *v = (struct rapyer_value){.tag = TAG_VALUE | kind, .len = len, .items = fl->next};
    fl->next += nodes;
    return fill_items(fl, at, v->items, nodes, depth + 1);
}

/* Any item, in any form. */
static uint8_t *fill_any(struct filler *fl, uint8_t *at, struct rapyer_value *v, unsigned depth)
{
    struct cursor in = {at, fl->end};
    struct item it;
    if (cursor_next(&in, &it) < 0)
        return NULL;
    at += in.at - at;
    switch (it.kind) {
    case ITEM_NIL: fill_int(v, RAPYER_NULL, 0); break;
    case ITEM_BOOL: fill_int(v, RAPYER_BOOL, it.boolean); break;
    case ITEM_INT: fill_int(v, RAPYER_INT, it.integer); break;
    /* no field holds one; counters of admin.* might */
    case ITEM_UINT: fill_float(v, (double)it.uinteger); break;
    case ITEM_FLOAT: fill_float(v, it.real); break;
    case ITEM_STR: fill_text(v, RAPYER_STR, it.bytes.p, it.bytes.len); break;
    case ITEM_BIN:
    case ITEM_EXT: fill_text(v, RAPYER_BYTES, it.bytes.p, it.bytes.len); break;
    case ITEM_TIME:
        fill_int(v, RAPYER_TIME, it.time.sec);
        v->len = it.time.nsec;
        break;
    case ITEM_ARRAY: return fill_container(fl, at, v, RAPYER_LIST, it.count, depth);
    case ITEM_MAP: return fill_container(fl, at, v, RAPYER_DICT, it.count, depth);
    }
    return at;
}

/* Where the last one ends; NULL: that is no n items. Texts and small numbers, which are most of a
 * document, are seen through at once. */
static uint8_t *fill_items(struct filler *fl, uint8_t *at, struct rapyer_value *v, uint64_t n,
                           unsigned depth)
{
    uint8_t *end = fl->end;
    for (; n > 0; n--, v++) {
        uint8_t *begin = at;
        if (at == end)
            return NULL;
        uint32_t head = *at++, len = head & 0x1f;
        if ((head & 0xe0) == 0xa0 || (head == 0xd9 && at < end)) {
            if (head == 0xd9)
                len = *at++;
            if (len > (size_t)(end - at))
                return NULL;
            fill_text(v, RAPYER_STR, at, len);
            at += len;
        } else if (head < 0x80) {
            fill_int(v, RAPYER_INT, head);
        } else {
            at = fill_any(fl, begin, v, depth);
            if (!at)
                return NULL;
        }
        *begin = '\0';
    }
    return at;
}

rapyer_value *value_room(size_t nodes, size_t len, uint8_t **bytes)
{
    struct rapyer_value *root = malloc(nodes * sizeof(struct rapyer_value) + len + 1);
    if (root)
        *bytes = (uint8_t *)(root + nodes);
    return root;
}

int value_fill(rapyer_value *root, size_t nodes, size_t len)
{
    uint8_t *bytes = (uint8_t *)(root + nodes);
    struct filler fl = {bytes + len, root + 1, root + nodes};
    bytes[len] = '\0';
    return nodes > 0 && fill_items(&fl, bytes, root, 1, 0) == fl.end ? 0 : -1;
}

rapyer_value *value_parse(struct cursor in, uint64_t items, size_t max_memory, struct fault *f)
{
    size_t len = (size_t)(in.end - in.at);
    uint64_t nodes = items ? items : cursor_count(in);
    uint64_t memory = nodes * sizeof(struct rapyer_value) + len + 1;
    uint8_t *bytes;
    f->code = FAULT_NONE;
    if (nodes > 0 && memory > max_memory) {
        fault_set(f, FAULT_TOO_LARGE, "an answer would take %llu bytes of memory, the limit is %zu",
                  (unsigned long long)memory, max_memory);
        return NULL;
    }
    struct rapyer_value *root = value_room(nodes, len, &bytes);
    if (!root)
        return NULL;
    memcpy(bytes, in.at, len);
    if (value_fill(root, nodes, len) == 0)
        return root;
    free(root);
    fault_set(f, FAULT_BAD_FRAME, "an answer is not well-formed MessagePack");
    return NULL;
}

void rapyer_value_free(rapyer_value *v)
{
    free(v);
}

/* ---- writing ---- */

void value_pack(const rapyer_value *v, struct buf *out)
{
    switch (rapyer_kind_of(v)) {
    case RAPYER_NULL: pack_nil(out); break;
    case RAPYER_BOOL: pack_bool(out, v->integer != 0); break;
    case RAPYER_INT: pack_int(out, v->integer); break;
    case RAPYER_FLOAT: pack_float(out, v->real); break;
    case RAPYER_STR: pack_str(out, v->bytes, v->len); break;
    case RAPYER_BYTES: pack_bin(out, v->bytes, v->len); break;
    case RAPYER_TIME: pack_time(out, v->integer, v->len); break;
    case RAPYER_LIST:
        pack_array(out, v->len);
        for (uint32_t i = 0; i < v->len; i++)
            value_pack(&v->items[i], out);
        break;
    case RAPYER_DICT:
        pack_map(out, v->len);
        for (uint64_t i = 0; i < 2 * (uint64_t)v->len; i++)
            value_pack(&v->items[i], out);
        break;
    }
}

/* ---- looking ---- */

rapyer_kind rapyer_kind_of(const rapyer_value *v)
{
    return v ? (rapyer_kind)(v->tag & ~TAG_MASK) : RAPYER_NULL;
}

size_t rapyer_len(const rapyer_value *v)
{
    switch (rapyer_kind_of(v)) {
    case RAPYER_STR:
    case RAPYER_BYTES:
    case RAPYER_LIST:
    case RAPYER_DICT: return v->len;
    default: return 0;
    }
}

const rapyer_value *rapyer_item(const rapyer_value *v, size_t i)
{
    rapyer_kind kind = rapyer_kind_of(v);
    if (kind == RAPYER_LIST && i < v->len)
        return &v->items[i];
    if (kind == RAPYER_DICT && i < v->len)
        return &v->items[2 * i + 1];
    return NULL;
}

const char *rapyer_item_key(const rapyer_value *v, size_t i)
{
    if (rapyer_kind_of(v) != RAPYER_DICT || i >= v->len)
        return NULL;
    const rapyer_value *key = &v->items[2 * i];
    return rapyer_kind_of(key) == RAPYER_STR ? key->bytes : NULL;
}

static const rapyer_value *by_key(const rapyer_value *v, const char *key, size_t len)
{
    if (rapyer_kind_of(v) != RAPYER_DICT)
        return NULL;
    for (uint32_t i = 0; i < v->len; i++) {
        const rapyer_value *k = &v->items[2 * (size_t)i];
        if (k->len == len && k->tag == (TAG_VALUE | RAPYER_STR) &&
            (len == 0 || (k->bytes[0] == key[0] && memcmp(k->bytes, key, len) == 0)))
            return k + 1;
    }
    return NULL;
}

/* In a list of models a key is the pk of an element. */
static const rapyer_value *by_pk(const rapyer_value *v, const char *pk, size_t len)
{
    for (uint32_t i = 0; i < v->len; i++) {
        const rapyer_value *have = by_key(&v->items[i], "@pk", 3);
        if (rapyer_kind_of(have) == RAPYER_STR && have->len == len &&
            memcmp(have->bytes, pk, len) == 0)
            return &v->items[i];
    }
    return NULL;
}

static const rapyer_value *step_into(const rapyer_value *v, const struct step *s)
{
    rapyer_kind kind = rapyer_kind_of(v);
    if (s->kind == STEP_INDEX) {
        int64_t len = kind == RAPYER_LIST ? (int64_t)v->len : 0;
        int64_t i = s->index < 0 ? s->index + len : s->index;
        return i >= 0 && i < len ? &v->items[i] : NULL;
    }
    if (kind == RAPYER_LIST && s->kind == STEP_KEY)
        return by_pk(v, s->s, s->len);
    return by_key(v, s->s, s->len);
}

/* Brackets as in any path; a name here is any bytes up to the next . or [, so that "@pk" and
 * "weekly-summary" can be written without brackets. 0: at the end, -1: no path. */
static int next_step(const char **at, const char *end, bool first, struct path_reader *r,
                     struct step *s)
{
    struct fault ignored;
    if (*at == end)
        return 0;
    if (**at == '[') {
        path_read(r, *at, (size_t)(end - *at));
        r->steps = 1; /* brackets do not begin a path, but they may begin the rest of one */
        int rc = path_next(r, s, &ignored);
        *at = r->at;
        return rc;
    }
    if (!first && *(*at)++ != '.')
        return -1;
    const char *name = *at;
    while (*at < end && **at != '.' && **at != '[')
        ++*at;
    *s = (struct step){.kind = STEP_NAME, .s = name, .len = (size_t)(*at - name)};
    return *at == name ? -1 : 1;
}

const rapyer_value *value_at(const rapyer_value *v, const char *path, size_t len)
{
    const char *rest = path, *end = path + len;
    struct path_reader r;
    struct step s;
    int more;
    size_t name = 0;
    while (name < len && path[name] != '.' && path[name] != '[')
        name++;
    if (name == len) /* most paths are but a name */
        return len ? by_key(v, path, len) : v;
    while (v && (more = next_step(&rest, end, rest == path, &r, &s)) != 0) {
        if (more < 0)
            return NULL;
        v = step_into(v, &s);
    }
    return v;
}

static const rapyer_value *at(const rapyer_value *v, const char *path)
{
    return path && *path ? value_at(v, path, strlen(path)) : v;
}

int64_t rapyer_int(const rapyer_value *v, const char *path, int64_t otherwise)
{
    v = at(v, path);
    return rapyer_kind_of(v) == RAPYER_INT ? v->integer : otherwise;
}

double rapyer_float(const rapyer_value *v, const char *path, double otherwise)
{
    v = at(v, path);
    if (rapyer_kind_of(v) == RAPYER_INT)
        return (double)v->integer;
    return rapyer_kind_of(v) == RAPYER_FLOAT ? v->real : otherwise;
}

bool rapyer_bool(const rapyer_value *v, const char *path, bool otherwise)
{
    v = at(v, path);
    return rapyer_kind_of(v) == RAPYER_BOOL ? v->integer != 0 : otherwise;
}

const char *rapyer_str(const rapyer_value *v, const char *path, const char *otherwise)
{
    v = at(v, path);
    return rapyer_kind_of(v) == RAPYER_STR ? v->bytes : otherwise;
}

const char *rapyer_data(const rapyer_value *v, size_t *len)
{
    rapyer_kind kind = rapyer_kind_of(v);
    bool has = kind == RAPYER_STR || kind == RAPYER_BYTES;
    if (len)
        *len = has ? v->len : 0;
    return has ? v->bytes : NULL;
}

int rapyer_time(const rapyer_value *v, struct timespec *out)
{
    if (rapyer_kind_of(v) != RAPYER_TIME)
        return -1;
    *out = (struct timespec){.tv_sec = (time_t)v->integer, .tv_nsec = (long)v->len};
    return 0;
}
