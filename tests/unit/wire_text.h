/* wire_text: MessagePack for tests, from a text that can be read.
 *
 *   {name: 'User', n: -1, f: 1.5, ok: true, no: nil, list: [1, 2], raw: #c4026162#}
 *
 * Keys without quotes are str; so is what stands in single quotes ('' has no escapes). Numbers
 * are written in their shortest form, and what stands between two # is hexadecimal MessagePack
 * taken as it is: for what a text cannot say.
 */
#ifndef TESTS_UNIT_WIRE_TEXT_H
#define TESTS_UNIT_WIRE_TEXT_H

#include "protocol/buf.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static const char *wire_value(const char *p, struct buf *b);

static inline const char *wire_blank(const char *p)
{
    return p + strspn(p, " \n,:");
}

static inline const char *wire_items(const char *p, char close, bool map, struct buf *b)
{
    struct buf inner = BUF_INIT;
    uint32_t n = 0;
    for (p = wire_blank(p); *p != close; p = wire_blank(p), n++) {
        cr_assert_neq(*p, '\0', "the text of the test ends too early");
        p = wire_value(p, &inner);
    }
    if (map)
        pack_map(b, n / 2);
    else
        pack_array(b, n);
    buf_append(b, inner.data, inner.len);
    buf_free(&inner);
    return p + 1;
}

static inline const char *wire_number(const char *p, struct buf *b)
{
    char *end;
    if (p[strspn(p, "-0123456789")] == '.')
        pack_float(b, strtod(p, &end));
    else if (*p == '-')
        pack_int(b, strtoll(p, &end, 10));
    else
        pack_uint(b, strtoull(p, &end, 10));
    return end;
}

static inline const char *wire_raw(const char *p, struct buf *b)
{
    unsigned byte;
    for (; *p != '#'; p += 2) {
        cr_assert_eq(sscanf(p, "%2x", &byte), 1);
        buf_append(b, &(uint8_t){(uint8_t)byte}, 1);
    }
    return p + 1;
}

static inline const char *wire_word(const char *p, struct buf *b)
{
    size_t n = strcspn(p, " \n,:]}");
    if (n == 3 && memcmp(p, "nil", n) == 0)
        pack_nil(b);
    else if (n == 4 && memcmp(p, "true", n) == 0)
        pack_bool(b, true);
    else if (n == 5 && memcmp(p, "false", n) == 0)
        pack_bool(b, false);
    else
        pack_str(b, p, n);
    return p + n;
}

static inline const char *wire_value(const char *p, struct buf *b)
{
    p = wire_blank(p);
    if (*p == '{' || *p == '[')
        return wire_items(p + 1, *p == '{' ? '}' : ']', *p == '{', b);
    if (*p == '#')
        return wire_raw(p + 1, b);
    if (*p == '\'') {
        const char *end = strchr(p + 1, '\'');
        pack_str(b, p + 1, (size_t)(end - p - 1));
        return end + 1;
    }
    return (*p >= '0' && *p <= '9') || *p == '-' ? wire_number(p, b) : wire_word(p, b);
}

/* Appends the one value of the text. */
static inline void wire_pack(struct buf *b, const char *text)
{
    const char *end = wire_value(text, b);
    cr_assert_eq(*wire_blank(end), '\0', "left over in the text of the test: %s", end);
}

#endif
