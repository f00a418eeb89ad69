/* value: see value.h. Two passes over the scanned bytes: one counts nodes and text, one fills
 * them in. Depth is bounded by the scan (SCAN_MAX_DEPTH). */
#include "client/value.h"
#include "protocol/path.h"
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

struct size {
    uint64_t nodes, text;
};

static int measure(struct cursor in, struct size *size)
{
    uint64_t due = 1;
    struct item it;
    *size = (struct size){0};
    while (due) {
        if (cursor_next(&in, &it) < 0)
            return -1;
        due--;
        size->nodes++;
        if (it.kind == ITEM_STR || it.kind == ITEM_BIN || it.kind == ITEM_EXT)
            size->text += (uint64_t)it.bytes.len + 1;
        else if (it.kind == ITEM_ARRAY)
            due += it.count;
        else if (it.kind == ITEM_MAP)
            due += 2 * (uint64_t)it.count;
    }
    return 0;
}

struct filler {
    struct cursor in;
    struct rapyer_value *next;
    char *text;
};

static void fill_text(struct filler *fl, struct rapyer_value *v, const struct item *it)
{
    if (it->bytes.len)
        memcpy(fl->text, it->bytes.p, it->bytes.len);
    fl->text[it->bytes.len] = '\0';
    v->bytes = fl->text;
    v->len = it->bytes.len;
    fl->text += (size_t)it->bytes.len + 1;
}

static int fill(struct filler *fl, struct rapyer_value *v);

static int fill_items(struct filler *fl, struct rapyer_value *v, uint32_t len, uint64_t nodes)
{
    v->len = len;
    v->items = fl->next;
    fl->next += nodes;
    for (uint64_t i = 0; i < nodes; i++) {
        if (fill(fl, &v->items[i]) < 0)
            return -1;
    }
    return 0;
}

static int fill(struct filler *fl, struct rapyer_value *v)
{
    struct item it;
    rapyer_kind kind = RAPYER_NULL;
    int rc = 0;
    if (cursor_next(&fl->in, &it) < 0)
        return -1;
    *v = (struct rapyer_value){0};
    switch (it.kind) {
    case ITEM_NIL: break;
    case ITEM_BOOL:
        kind = RAPYER_BOOL;
        v->integer = it.boolean;
        break;
    case ITEM_INT:
        kind = RAPYER_INT;
        v->integer = it.integer;
        break;
    case ITEM_UINT: /* no field holds one; counters of admin.* might */
        kind = RAPYER_FLOAT;
        v->real = (double)it.uinteger;
        break;
    case ITEM_FLOAT:
        kind = RAPYER_FLOAT;
        v->real = it.real;
        break;
    case ITEM_STR:
        kind = RAPYER_STR;
        fill_text(fl, v, &it);
        break;
    case ITEM_BIN:
    case ITEM_EXT:
        kind = RAPYER_BYTES;
        fill_text(fl, v, &it);
        break;
    case ITEM_TIME:
        kind = RAPYER_TIME;
        v->integer = it.time.sec;
        v->len = it.time.nsec;
        break;
    case ITEM_ARRAY:
        kind = RAPYER_LIST;
        rc = fill_items(fl, v, it.count, it.count);
        break;
    case ITEM_MAP:
        kind = RAPYER_DICT;
        rc = fill_items(fl, v, it.count, 2 * (uint64_t)it.count);
        break;
    }
    v->tag = TAG_VALUE | (uint32_t)kind;
    return rc;
}

rapyer_value *value_parse(struct cursor *in, size_t max_memory, struct fault *f)
{
    struct size size;
    f->code = FAULT_NONE;
    if (measure(*in, &size) < 0) {
        fault_set(f, FAULT_BAD_FRAME, "an answer is not well-formed MessagePack");
        return NULL;
    }
    uint64_t bytes = size.nodes * sizeof(struct rapyer_value) + size.text;
    if (bytes > max_memory) {
        fault_set(f, FAULT_TOO_LARGE, "an answer would take %llu bytes of memory, the limit is %zu",
                  (unsigned long long)bytes, max_memory);
        return NULL;
    }
    struct rapyer_value *root = malloc((size_t)bytes);
    if (!root)
        return NULL;
    struct filler fl = {*in, root + 1, (char *)(root + size.nodes)};
    if (fill(&fl, root) < 0) { /* measured before: the same bytes */
        free(root);
        fault_set(f, FAULT_BAD_FRAME, "an answer is not well-formed MessagePack");
        return NULL;
    }
    *in = fl.in;
    return root;
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
        if (rapyer_kind_of(k) == RAPYER_STR && k->len == len && memcmp(k->bytes, key, len) == 0)
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
