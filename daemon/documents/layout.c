/* The reading side trusts nothing: other programs may have written to our keys. It takes of a
 * scalar's text exactly what Redis' own commands would take (scalar.h), and normalizes MessagePack
 * that is valid but not canonical. */
#include "daemon/documents/layout.h"
#include "protocol/cursor.h"
#include "protocol/path.h"
#include "protocol/scalar.h"
#include "protocol/scan.h"
#include "protocol/tree.h"
#include "protocol/value.h"

#define RAW_NULL 0xC0
#define FOUND_MAX 40 /* bytes of the raw string that a message shows */

/* Keys */

void layout_key(struct buf *out, const struct names *names, const char *key, size_t key_len,
                const char *suffix, size_t suffix_len)
{
    buf_append(out, names->prefix, strlen(names->prefix));
    buf_append(out, ":", 1);
    names_root(names, key, key_len, out);
    buf_append(out, suffix, suffix_len);
}

size_t layout_key_len(const struct names *names, const char *key, size_t key_len, size_t suffix_len)
{
    return strlen(names->prefix) + 1 + names_root_len(names, key, key_len) + suffix_len;
}

void layout_pattern(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (memchr("*?[]\\^-", text[i], 7) != NULL)
            buf_append(out, "\\", 1);
        buf_append(out, text + i, 1);
    }
}

bool layout_split(const struct names *names, const char *redis_key, size_t len, struct buf *key,
                  const char **suffix, size_t *suffix_len)
{
    size_t head = strlen(names->prefix) + 1;
    if (len < head || memcmp(redis_key, names->prefix, head - 1) != 0 || redis_key[head - 1] != ':')
        return false;
    size_t root = names_read(names, redis_key + head, len - head, key);
    *suffix = redis_key + head + root;
    *suffix_len = len - head - root;
    return root > 0;
}

/* Types */

static const struct type *bare(const struct type *t)
{
    while (t->kind == TYPE_OPTIONAL)
        t = t->of;
    return t;
}

/* What is written as its text: a scalar, or the pk of an atomic element; NULL: MessagePack. A null
 * of optional<bytes> would look like the one byte C0, which is also a value: so these are packed,
 * too. */
static const struct scalar *scalar_in(const struct type *t)
{
    const struct type *in = bare(t);
    if (in->kind == TYPE_BYTES && t->kind == TYPE_OPTIONAL)
        return NULL;
    return scalar_of(type_atomic(in) ? TYPE_STR : in->kind);
}

/* Cell to raw */

void layout_raw(const struct type *t, const struct cell *c, struct buf *out)
{
    const struct cell *value = c->kind == CELL_RECORD ? &c->record->pk : c;
    if (!cell_is_value(value))
        return;
    size_t len;
    const uint8_t *bytes = cell_bytes(value, &len);
    if (scalar_in(t) == NULL) {
        buf_append(out, bytes, len);
        return;
    }
    struct cursor in = cursor_of(bytes, len);
    struct item it;
    if (cursor_next(&in, &it) < 0)
        return;
    if (it.kind == ITEM_NIL)
        buf_append(out, &(uint8_t){RAW_NULL}, 1);
    else
        scalar_in(t)->write(&it, out);
}

struct held *layout_lent(const struct type *t, const struct cell *c, const void **bytes,
                         size_t *len)
{
    struct item it;
    if (c->kind != CELL_HEAP || scalar_in(t) == NULL ||
        (bare(t)->kind != TYPE_STR && bare(t)->kind != TYPE_BYTES))
        return NULL;
    struct cursor in = cursor_of(c->heap, c->heap_len);
    if (cursor_next(&in, &it) < 0)
        return NULL;
    *bytes = it.bytes.p;
    *len = it.bytes.len;
    return cell_hold(c);
}

void layout_score(double score, struct buf *out)
{
    scalar_of(TYPE_FLOAT)->write(&(struct item){.kind = ITEM_FLOAT, .real = score}, out);
}

bool layout_read_score(const char *text, double *score)
{
    struct cell c;
    return scalar_of(TYPE_FLOAT)->read(NULL, text, strlen(text), &c) &&
           cell_get_float(&c, score) == 0;
}

/* Raw to cell */

static int corrupt(struct fault *f, const struct type *t, const char *expected, const char *raw,
                   size_t len)
{
    char name[TYPE_NAME_MAX];
    return fault_set(f, FAULT_CORRUPT, "%s expected (%s), found \"%.*s\"%s (%zu bytes)",
                     type_name(t, name, sizeof(name)), expected,
                     (int)(len < FOUND_MAX ? len : FOUND_MAX), raw, len > FOUND_MAX ? "..." : "",
                     len);
}

static struct cell cell_of_buf(struct buf *b)
{
    struct cell c = cell_value(b->data, b->len);
    buf_free(b);
    return c;
}

static int parse_packed(const struct type *t, const char *raw, size_t len, struct cell *out,
                        struct fault *f)
{
    struct scan scan;
    struct fault inner = {0};
    scan_init(&scan, len);
    if (len == 0 || scan_run(&scan, (const uint8_t *)raw, len, &inner) != SCAN_DONE ||
        scan.at != len)
        return corrupt(f, t, "exactly one MessagePack value", raw, len);
    struct cursor in = cursor_of(raw, len);
    struct buf b = BUF_INIT;
    if (value_check(t, &in, &b, "value", &inner) < 0) {
        char name[TYPE_NAME_MAX];
        buf_free(&b);
        return fault_set(f, FAULT_CORRUPT, "%s expected: %s", type_name(t, name, sizeof(name)),
                         inner.text);
    }
    *out = cell_of_buf(&b);
    return 0;
}

int layout_parse(const struct type *t, const void *raw, size_t len, struct cell *out,
                 struct fault *f)
{
    const char *s = len ? raw : "";
    if (scalar_in(t) == NULL)
        return parse_packed(t, s, len, out, f);
    if (t->kind == TYPE_OPTIONAL && len == 1 && (uint8_t)s[0] == RAW_NULL) {
        *out = cell_nil();
        return 0;
    }
    const struct scalar *scalar = scalar_in(t);
    return scalar->read(bare(t), s, len, out) ? 0 : corrupt(f, t, scalar->looks, s, len);
}
