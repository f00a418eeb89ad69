/* unpack: a template read the other way: values into C variables (rapyer_unpack), and the path
 * of rapyer_get. */
#include "client/template.h"
#include "client/value.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *at;
    va_list *ap;
    int stored;
};

static void skip_space(struct reader *r)
{
    while (*r->at && strchr(" \t\r\n", *r->at))
        r->at++;
}

static bool skip(struct reader *r, char c)
{
    skip_space(r);
    if (*r->at != c)
        return false;
    r->at++;
    return true;
}

static bool starts(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    if (strncmp(r->at, text, n) != 0)
        return false;
    r->at += n;
    return true;
}

/* Each stores nothing and fails when the value is of another kind. */
static int store_int(struct reader *r, const rapyer_value *v, int width)
{
    rapyer_kind kind = rapyer_kind_of(v);
    if (kind != RAPYER_INT && kind != RAPYER_BOOL)
        return -1;
    if (width == 0 && (v->integer < INT_MIN || v->integer > INT_MAX))
        return -1;
    if (width == 1 && (v->integer < LONG_MIN || v->integer > LONG_MAX))
        return -1;
    if (width == 0)
        *va_arg(*r->ap, int *) = (int)v->integer;
    else if (width == 1)
        *va_arg(*r->ap, long *) = (long)v->integer;
    else
        *va_arg(*r->ap, long long *) = (long long)v->integer;
    return 0;
}

static int store_text(struct reader *r, const rapyer_value *v)
{
    if (rapyer_kind_of(v) != RAPYER_STR)
        return -1;
    char *copy = malloc((size_t)v->len + 1);
    if (!copy)
        return -1;
    memcpy(copy, v->bytes, (size_t)v->len + 1);
    *va_arg(*r->ap, char **) = copy;
    return 0;
}

static int store(struct reader *r, const rapyer_value *v)
{
    int rc = -1;
    if (starts(r, "%lld"))
        rc = store_int(r, v, 2);
    else if (starts(r, "%ld"))
        rc = store_int(r, v, 1);
    else if (starts(r, "%d"))
        rc = store_int(r, v, 0);
    else if (starts(r, "%ms"))
        rc = store_text(r, v);
    else if (starts(r, "%lf")) {
        rapyer_kind kind = rapyer_kind_of(v);
        if (kind == RAPYER_INT || kind == RAPYER_FLOAT) {
            *va_arg(*r->ap, double *) = rapyer_float(v, "", 0);
            rc = 0;
        }
    } else if (v && starts(r, "%p")) {
        *va_arg(*r->ap, void **) = (void *)(uintptr_t)v;
        rc = 0;
    }
    r->stored += rc == 0;
    return rc;
}

static int read_one(struct reader *r, const rapyer_value *v);

static int read_list(struct reader *r, const rapyer_value *v)
{
    for (size_t i = 0; !skip(r, ']'); i++) {
        if ((i && !skip(r, ',')) || read_one(r, rapyer_item(v, i)) < 0)
            return -1;
    }
    return 0;
}

/* A key is a bare word or in quotes (without escapes). */
static int read_key(struct reader *r, const char **key, size_t *len)
{
    skip_space(r);
    char quote = *r->at == '\'' || *r->at == '"' ? *r->at++ : '\0';
    *key = r->at;
    *len = quote ? strcspn(r->at, quote == '"' ? "\"" : "'") : strcspn(r->at, " \t\r\n:,}%");
    r->at += *len;
    if (quote && *r->at++ != quote)
        return -1;
    return skip(r, ':') ? 0 : -1;
}

static const rapyer_value *pair(const rapyer_value *v, const char *key, size_t len)
{
    for (size_t i = 0; i < rapyer_len(v); i++) {
        const char *have = rapyer_item_key(v, i);
        if (have && strlen(have) == len && memcmp(have, key, len) == 0)
            return rapyer_item(v, i);
    }
    return NULL;
}

static int read_dict(struct reader *r, const rapyer_value *v)
{
    const char *key;
    size_t len;
    for (bool first = true; !skip(r, '}'); first = false) {
        if ((!first && !skip(r, ',')) || read_key(r, &key, &len) < 0 ||
            read_one(r, pair(v, key, len)) < 0)
            return -1;
    }
    return 0;
}

static int read_one(struct reader *r, const rapyer_value *v)
{
    skip_space(r);
    if (skip(r, '{'))
        return rapyer_kind_of(v) == RAPYER_DICT ? read_dict(r, v) : -1;
    if (skip(r, '['))
        return rapyer_kind_of(v) == RAPYER_LIST ? read_list(r, v) : -1;
    return store(r, v);
}

int rapyer_unpack(const rapyer_value *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct reader r = {fmt, &ap, 0};
    read_one(&r, v);
    va_end(ap);
    return r.stored;
}

const rapyer_value *rapyer_get(const rapyer_value *v, const char *path_fmt, ...)
{
    struct buf path = BUF_INIT;
    struct fault ignored;
    va_list ap;
    va_start(ap, path_fmt);
    int rc = template_path(path_fmt, &ap, &path, &ignored);
    va_end(ap);
    v = rc < 0 || path.failed ? NULL : value_at(v, (const char *)path.data, path.len);
    buf_free(&path);
    return v;
}
