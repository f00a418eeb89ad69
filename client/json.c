/* json: a value as JSON text. */
#include "client/json.h"
#include "client/timestamp.h"
#include "client/value.h"
#include "protocol/cursor.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_text(struct buf *out, const char *s, size_t len)
{
    buf_append(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_append(out, "\\n", 2);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_append(out, &s[i], 1);
    }
    buf_append(out, "\"", 1);
}

static void json_base64(struct buf *out, const uint8_t *p, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buf_append(out, "{\"$bytes\":\"", 11);
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t three = (uint32_t)p[i] << 16;
        three |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        three |= n > 2 ? p[i + 2] : 0;
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63],
                        n > 1 ? digits[three >> 6 & 63] : '=', n > 2 ? digits[three & 63] : '='};
        buf_append(out, four, sizeof four);
    }
    buf_append(out, "\"}", 2);
}

/* The shortest text that reads back as the same number, and not as an int. */
static void json_float(struct buf *out, double d)
{
    char text[40];
    if (!isfinite(d)) { /* JSON has none; no field holds one */
        buf_append(out, "null", 4);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    buf_append(out, text, strlen(text));
    if (!strpbrk(text, ".e"))
        buf_append(out, ".0", 2);
}

static void write_value(struct buf *out, const rapyer_value *v, bool exact);

/* Whether JSON could not tell what it was. */
static bool is_odd(const rapyer_value *v)
{
    bool odd = v->len == 1 && rapyer_kind_of(&v->items[0]) == RAPYER_STR && v->items[0].len > 0 &&
               v->items[0].bytes[0] == '$';
    for (uint32_t i = 0; i < v->len && !odd; i++) {
        const rapyer_value *key = &v->items[2 * (size_t)i];
        odd = rapyer_kind_of(key) != RAPYER_STR || memchr(key->bytes, '\0', key->len);
    }
    return odd;
}

static void json_pairs(struct buf *out, const rapyer_value *v)
{
    buf_printf(out, "{\"$map\":[");
    for (uint32_t i = 0; i < v->len; i++) {
        buf_printf(out, i ? ",[" : "[");
        write_value(out, &v->items[2 * (size_t)i], true);
        buf_append(out, ",", 1);
        write_value(out, &v->items[2 * (size_t)i + 1], true);
        buf_append(out, "]", 1);
    }
    buf_append(out, "]}", 2);
}

static void json_dict(struct buf *out, const rapyer_value *v, bool exact)
{
    buf_append(out, "{", 1);
    for (uint32_t i = 0; i < v->len; i++) {
        const rapyer_value *key = &v->items[2 * (size_t)i];
        if (i)
            buf_append(out, ",", 1);
        if (rapyer_kind_of(key) == RAPYER_STR) {
            json_text(out, key->bytes, key->len);
        } else { /* in an `any` only: the key's own JSON, as text */
            struct buf inner = BUF_INIT;
            json_value(&inner, key);
            json_text(out, (const char *)inner.data, inner.len);
            out->failed |= inner.failed;
            buf_free(&inner);
        }
        buf_append(out, ":", 1);
        write_value(out, key + 1, exact);
    }
    buf_append(out, "}", 1);
}

static void write_value(struct buf *out, const rapyer_value *v, bool exact)
{
    char time[TIMESTAMP_MAX];
    switch (rapyer_kind_of(v)) {
    case RAPYER_NULL: buf_append(out, "null", 4); break;
    case RAPYER_BOOL: buf_printf(out, "%s", v->integer ? "true" : "false"); break;
    case RAPYER_INT: buf_printf(out, "%lld", (long long)v->integer); break;
    case RAPYER_FLOAT: json_float(out, v->real); break;
    case RAPYER_STR: json_text(out, v->bytes, v->len); break;
    case RAPYER_BYTES: json_base64(out, (const uint8_t *)v->bytes, v->len); break;
    case RAPYER_TIME:
        buf_printf(out, "{\"$time\":\"%s\"}", timestamp_text(v->integer, v->len, time));
        break;
    case RAPYER_LIST:
        buf_append(out, "[", 1);
        for (uint32_t i = 0; i < v->len; i++) {
            if (i)
                buf_append(out, ",", 1);
            write_value(out, &v->items[i], exact);
        }
        buf_append(out, "]", 1);
        break;
    case RAPYER_DICT:
        if (exact && is_odd(v))
            json_pairs(out, v);
        else
            json_dict(out, v, exact);
        break;
    }
}

void json_value(struct buf *out, const rapyer_value *v)
{
    write_value(out, v, false);
}

void json_exact(struct buf *out, const rapyer_value *v)
{
    write_value(out, v, true);
}

char *rapyer_to_json(const rapyer_value *v)
{
    struct buf out = BUF_INIT;
    json_value(&out, v);
    buf_append(&out, "", 1);
    if (out.failed) {
        buf_free(&out);
        return NULL;
    }
    return (char *)out.data;
}
