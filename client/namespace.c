/* namespace: see namespace.h. */
#include "client/namespace.h"
#include "protocol/type.h"
#include <ctype.h>
#include <string.h>

void namespace_name(const char *space, const char *name, size_t len, struct buf *out)
{
    const char *colon = len ? memchr(name, ':', len) : NULL;
    size_t own = colon ? (size_t)(colon - name) : len;
    if (space && own && !memchr(name, '.', own)) {
        buf_append(out, space, strlen(space));
        buf_append(out, ".", 1);
    }
    buf_append(out, name, len);
}

static size_t word(const char *s, const char *end)
{
    const char *at = s;
    while (at < end && (isalnum((unsigned char)*at) || *at == '_' || *at == '.'))
        at++;
    return (size_t)(at - s);
}

void namespace_type(const char *space, const char *type, size_t len, struct buf *out)
{
    for (const char *at = type, *end = type + len; at < end;) {
        size_t n = word(at, end);
        bool is_enum = n == 4 && memcmp(at, "enum", 4) == 0;
        if (is_enum) /* its names are no models */
            n = (size_t)(end - at);
        else if (n == 0)
            n = 1;
        if (is_enum || (n == 1 && !word(at, end)) || type_reserved(at, n))
            buf_append(out, at, n);
        else
            namespace_name(space, at, n, out);
        at += n;
    }
}

/* One field, or the model itself: what is called `key` in the map goes through `change`. */
typedef void change_fn(const char *space, const char *text, size_t len, struct buf *out);

static int copy_value(struct cursor *in, struct buf *out)
{
    const uint8_t *p;
    size_t len;
    if (cursor_value(in, &p, &len) < 0)
        return -1;
    buf_append(out, p, len);
    return 0;
}

static int change_text(const char *space, change_fn *change, struct cursor *in, struct buf *out)
{
    struct buf changed = BUF_INIT;
    const char *text;
    size_t len;
    if (cursor_str(in, &text, &len) < 0)
        return copy_value(in, out); /* whoever reads it says what is wrong */
    change(space, text, len, &changed);
    pack_str(out, changed.len ? (char *)changed.data : "", changed.len);
    buf_free(&changed);
    return 0;
}

static bool is(const char *s, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(s, name, len) == 0;
}

static int change_field(const char *space, struct cursor *in, struct buf *out)
{
    uint32_t n;
    if (cursor_map(in, &n) < 0)
        return copy_value(in, out);
    pack_map(out, n);
    for (; n; n--) {
        const char *key;
        size_t len;
        if (cursor_str(in, &key, &len) < 0)
            return -1;
        pack_str(out, key, len);
        bool type = is(key, len, "type") || is(key, len, "was");
        if ((type ? change_text(space, namespace_type, in, out) : copy_value(in, out)) < 0)
            return -1;
    }
    return 0;
}

static int change_fields(const char *space, struct cursor *in, struct buf *out)
{
    uint32_t n;
    int rc = 0;
    if (cursor_array(in, &n) < 0)
        return copy_value(in, out);
    pack_array(out, n);
    for (; n && rc == 0; n--)
        rc = change_field(space, in, out);
    return rc;
}

int namespace_declaration(const char *space, struct cursor *in, struct buf *out)
{
    uint32_t n;
    int rc = 0;
    if (cursor_map(in, &n) < 0)
        return copy_value(in, out);
    pack_map(out, n);
    for (; n && rc == 0; n--) {
        const char *key;
        size_t len;
        if (cursor_str(in, &key, &len) < 0)
            return -1;
        pack_str(out, key, len);
        rc = is(key, len, "name")     ? change_text(space, namespace_name, in, out)
             : is(key, len, "fields") ? change_fields(space, in, out)
                                      : copy_value(in, out);
    }
    return rc;
}
