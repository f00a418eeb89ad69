/* item_text: MessagePack from and to a text like JSON with single quotes, for tests:
 * {'name': 'User', 'n': [1, 2.5, true, null]}. Strings have no escapes. */
#ifndef RAPYER_TESTS_ITEM_TEXT_H
#define RAPYER_TESTS_ITEM_TEXT_H

#include "protocol/buf.h"
#include "protocol/cursor.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *item_blank(const char *s)
{
    while (isspace((unsigned char)*s) || *s == ',' || *s == ':')
        s++;
    return s;
}

/* Not inlined: at -O3 gcc follows constant texts to branches that they never take. */
__attribute__((noinline, unused)) static const char *item_read(const char *s, struct buf *out)
{
    char *end;
    uint32_t n = 0;
    size_t at;

    s = item_blank(s);
    if (*s == '{' || *s == '[') {
        bool map = *s == '{';
        struct buf items = BUF_INIT;
        for (s = item_blank(s + 1); *s != '}' && *s != ']'; s = item_blank(s), n++)
            s = item_read(s, &items);
        if (map)
            pack_map(out, n / 2);
        else
            pack_array(out, n);
        if (items.len)
            buf_append(out, items.data, items.len);
        buf_free(&items);
        return s + 1;
    }
    if (*s == '\'') {
        at = strcspn(s + 1, "'");
        pack_str(out, s + 1, at);
        return s + at + 2;
    }
    if (strncmp(s, "null", 4) == 0)
        return pack_nil(out), s + 4;
    if (strncmp(s, "true", 4) == 0)
        return pack_bool(out, true), s + 4;
    if (strncmp(s, "false", 5) == 0)
        return pack_bool(out, false), s + 5;
    at = strspn(s, "+-0123456789.e");
    if (!at) {
        fprintf(stderr, "not a value: %s\n", s);
        abort();
    }
    if (memchr(s, '.', at) || memchr(s, 'e', at))
        pack_float(out, strtod(s, &end));
    else
        pack_int(out, strtoll(s, &end, 10));
    return s + at;
}

/* The MessagePack of text; the caller frees it with buf_free. */
static inline struct buf item_of(const char *text)
{
    struct buf b = BUF_INIT;

    item_read(text, &b);
    return b;
}

static inline void item_show_item(struct cursor *c, struct buf *out)
{
    struct item it;

    if (cursor_next(c, &it) != 0) {
        buf_append(out, "<bad>", 5);
        return;
    }
    switch (it.kind) {
    case ITEM_NIL: buf_append(out, "null", 4); break;
    case ITEM_BOOL: buf_printf(out, "%s", it.boolean ? "true" : "false"); break;
    case ITEM_INT: buf_printf(out, "%" PRId64, it.integer); break;
    case ITEM_UINT: buf_printf(out, "%" PRIu64, it.uinteger); break;
    case ITEM_FLOAT: buf_printf(out, "%.17g", it.real); break;
    case ITEM_STR: buf_printf(out, "'%.*s'", (int)it.bytes.len, (const char *)it.bytes.p); break;
    case ITEM_BIN:
    case ITEM_EXT: buf_printf(out, "<%u bytes>", it.bytes.len); break;
    case ITEM_TIME: buf_printf(out, "<%" PRId64 ".%09u>", it.time.sec, it.time.nsec); break;
    case ITEM_ARRAY:
        buf_append(out, "[", 1);
        for (uint32_t i = 0; i < it.count; i++) {
            if (i)
                buf_append(out, ", ", 2);
            item_show_item(c, out);
        }
        buf_append(out, "]", 1);
        break;
    case ITEM_MAP:
        buf_append(out, "{", 1);
        for (uint32_t i = 0; i < it.count; i++) {
            if (i)
                buf_append(out, ", ", 2);
            item_show_item(c, out);
            buf_append(out, ": ", 2);
            item_show_item(c, out);
        }
        buf_append(out, "}", 1);
        break;
    }
}

/* The text of all items in these bytes, in a static buffer: good until the next call. */
static inline const char *item_text(const void *p, size_t n)
{
    static char text[65536];
    struct buf out = BUF_INIT;
    struct cursor c = cursor_of(p, n);

    while (!cursor_done(&c) && out.len < sizeof text / 2) {
        const uint8_t *before = c.at;
        if (out.len)
            buf_append(&out, " ", 1);
        item_show_item(&c, &out);
        if (c.at == before)
            break;
    }
    snprintf(text, sizeof text, "%.*s", (int)out.len, out.len ? (const char *)out.data : "");
    buf_free(&out);
    return text;
}

#endif
