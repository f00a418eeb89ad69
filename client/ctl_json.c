/* ctl_json: see ctl_json.h. */
#include "client/ctl_json.h"
#include "client/timestamp.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int refuse(char *error, const char *what)
{
    snprintf(error, CTL_JSON_ERROR_MAX, "%s", what);
    return -1;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static int pack_base64(const char *s, size_t len, struct buf *out, char *error)
{
    struct buf bytes = BUF_INIT;
    uint32_t bits = 0;
    unsigned have = 0;
    int rc = 0;
    while (len && s[len - 1] == '=')
        len--;
    if (len % 4 == 1)
        rc = refuse(error, "\"$bytes\" is not base64: its length is impossible");
    for (size_t i = 0; rc == 0 && i < len; i++) {
        int digit = base64_digit(s[i]);
        if (digit < 0)
            rc = refuse(error, "\"$bytes\" is not base64");
        bits = bits << 6 | (uint32_t)(digit & 63);
        have += 6;
        if (have >= 8) {
            uint8_t byte = (uint8_t)(bits >> (have -= 8));
            buf_append(&bytes, &byte, 1);
        }
    }
    if (rc == 0)
        pack_bin(out, bytes.data, bytes.len);
    out->failed |= bytes.failed;
    buf_free(&bytes);
    return rc;
}

static int pack_iso(const char *s, size_t len, struct buf *out, char *error)
{
    int64_t sec;
    uint32_t nsec;
    if (timestamp_parse(s, len, &sec, &nsec) < 0)
        return refuse(error, "\"$time\" is not like 2024-01-31T12:00:00.5Z");
    pack_time(out, sec, nsec);
    return 0;
}

static int pack_json(const json_t *v, struct buf *out, char *error);

static int pack_pairs(const json_t *pairs, struct buf *out, char *error)
{
    pack_map(out, (uint32_t)json_array_size(pairs));
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        if (!json_is_array(pair) || json_array_size(pair) != 2)
            return refuse(error, "\"$map\" is no list of [key, value]");
        if (pack_json(json_array_get(pair, 0), out, error) < 0 ||
            pack_json(json_array_get(pair, 1), out, error) < 0)
            return -1;
    }
    return 0;
}

static int pack_object(const json_t *v, struct buf *out, char *error)
{
    json_t *bytes = json_object_get(v, "$bytes"), *time = json_object_get(v, "$time");
    json_t *special = bytes ? bytes : time, *pairs = json_object_get(v, "$map");
    const char *key;
    json_t *item;
    if (json_object_size(v) == 1 && json_is_string(special)) {
        const char *s = json_string_value(special);
        size_t len = json_string_length(special);
        return bytes ? pack_base64(s, len, out, error) : pack_iso(s, len, out, error);
    }
    if (json_object_size(v) == 1 && json_is_array(pairs))
        return pack_pairs(pairs, out, error);
    pack_map(out, (uint32_t)json_object_size(v));
    json_object_foreach((json_t *)(uintptr_t)v, key, item)
    {
        pack_cstr(out, key);
        if (pack_json(item, out, error) < 0)
            return -1;
    }
    return 0;
}

static int pack_items(const json_t *v, struct buf *out, char *error)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (pack_json(json_array_get(v, i), out, error) < 0)
            return -1;
    }
    return 0;
}

static int pack_json(const json_t *v, struct buf *out, char *error)
{
    switch (json_typeof(v)) {
    case JSON_NULL: pack_nil(out); return 0;
    case JSON_TRUE: pack_bool(out, true); return 0;
    case JSON_FALSE: pack_bool(out, false); return 0;
    case JSON_INTEGER: pack_int(out, json_integer_value(v)); return 0;
    case JSON_REAL: pack_float(out, json_real_value(v)); return 0;
    case JSON_STRING: pack_str(out, json_string_value(v), json_string_length(v)); return 0;
    case JSON_ARRAY:
        pack_array(out, (uint32_t)json_array_size(v));
        return pack_items(v, out, error);
    case JSON_OBJECT: return pack_object(v, out, error);
    }
    return refuse(error, "an unknown kind of JSON");
}

static json_t *parse(const char *text, size_t len, char *error)
{
    json_error_t why;
    json_t *v =
        json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (!v)
        snprintf(error, CTL_JSON_ERROR_MAX,
                 "not JSON: %s, line %d, column %d (a text is written \"in quotes\")", why.text,
                 why.line, why.column);
    return v;
}

int ctl_json_value(const char *text, size_t len, struct buf *out, char error[CTL_JSON_ERROR_MAX])
{
    json_t *v = parse(text, len, error);
    int rc = v ? pack_json(v, out, error) : -1;
    json_decref(v);
    return rc;
}

int ctl_json_items(const char *text, size_t len, struct buf *out, uint32_t *count,
                   char error[CTL_JSON_ERROR_MAX])
{
    json_t *v = parse(text, len, error);
    int rc = -1;
    if (v && json_is_array(v)) {
        *count = (uint32_t)json_array_size(v);
        rc = pack_items(v, out, error);
    } else if (v) {
        *count = 1;
        rc = pack_json(v, out, error);
    }
    json_decref(v);
    return rc;
}
