/* names: see names.h. */
#include "daemon/redis/names.h"
#include "protocol/cursor.h"
#include "protocol/path.h"
#include <string.h>

/* "Order:{c42}7", in parts. */
struct tagged {
    size_t model; /* "Order:" */
    size_t tag;   /* "c42"; 0: there is none */
};

static struct tagged take_apart(const struct names *n, const char *key, size_t len)
{
    struct tagged t = {0};
    const char *colon = n->tags ? memchr(key, ':', len) : NULL;
    if (colon == NULL)
        return t;
    t.model = (size_t)(colon + 1 - key);
    const char *open = key + t.model;
    const char *close = t.model < len && *open == '{' ? memchr(open, '}', len - t.model) : NULL;
    t.tag = close != NULL ? (size_t)(close - open - 1) : 0;
    return t;
}

void names_root(const struct names *n, const char *key, size_t len, struct buf *out)
{
    struct tagged t = {0};
    if (n->tags)
        t = take_apart(n, key, len);
    buf_append(out, "{", 1);
    pk_append(out, t.tag > 0 ? key + t.model + 1 : key, t.tag > 0 ? t.tag : len);
    buf_append(out, "}", 1);
    if (t.tag == 0)
        return;
    size_t head = t.model + t.tag + 2;
    buf_append(out, key, t.model);
    pk_append(out, key + head, len - head);
}

size_t names_root_len(const struct names *n, const char *key, size_t len)
{
    size_t escaped = pk_escaped_len(key, len);
    /* The braces around a tag are there already, and not as "{7b" and "{7d". */
    return n->tags && take_apart(n, key, len).tag > 0 ? escaped - 4 : escaped + 2;
}

size_t names_tag(const struct names *n, const char *key, size_t len, const char **tag)
{
    struct tagged t = take_apart(n, key, len);
    *tag = key + t.model;
    return t.tag > 0 ? t.tag + 2 : 0;
}

static bool append_unescaped(struct buf *key, const char *name, size_t len)
{
    if (!buf_grow(key, len) || !pk_unescape((char *)key->data + key->len, name, len, &len) ||
        !utf8_valid(key->data + key->len, len))
        return false;
    key->len += len;
    return true;
}

/* "Order:7" behind the tag. */
static bool append_tagged(struct buf *key, const char *tag, size_t tag_len, const char *rest,
                          size_t len)
{
    const char *colon = memchr(rest, ':', len);
    if (colon == NULL)
        return false;
    size_t model = (size_t)(colon + 1 - rest);
    buf_append(key, rest, model);
    buf_append(key, "{", 1);
    if (!append_unescaped(key, tag, tag_len))
        return false;
    buf_append(key, "}", 1);
    return append_unescaped(key, rest + model, len - model);
}

size_t names_read(const struct names *n, const char *name, size_t len, struct buf *key)
{
    size_t was = key->len;
    const char *close = len > 0 && *name == '{' ? memchr(name, '}', len) : NULL;
    if (close == NULL || close == name + 1)
        return 0;
    size_t tag = (size_t)(close - name - 1), head = tag + 2;
    const char *rest = close + 1, *slash = memchr(rest, '/', len - head);
    size_t left = slash != NULL ? (size_t)(slash - rest) : len - head;
    bool good = left == 0 ? append_unescaped(key, name + 1, tag)
                          : n->tags && append_tagged(key, name + 1, tag, rest, left);
    /* A tag that is written as if it were none is another's. */
    if (good && names_root_len(n, (char *)key->data + was, key->len - was) == head + left)
        return head + left;
    key->len = was;
    return 0;
}
