/* cursor: see cursor.h. Decoding by hand: a typed read of a scanned frame costs a few
 * nanoseconds, and nothing is built that must be freed. */
#include "protocol/cursor.h"

#include <endian.h>
#include <string.h>

static inline uint64_t big_endian(const uint8_t *p, unsigned n)
{
    uint64_t eight;
    uint32_t four;

    if (n == sizeof eight) {
        memcpy(&eight, p, sizeof eight);
        return be64toh(eight);
    }
    if (n == sizeof four) {
        memcpy(&four, p, sizeof four);
        return be32toh(four);
    }
    return n == 2 ? (uint64_t)p[0] << 8 | p[1] : p[0];
}

static void set_uint(struct item *it, uint64_t v)
{
    if (v <= INT64_MAX) {
        it->kind = ITEM_INT;
        it->integer = (int64_t)v;
    } else {
        it->kind = ITEM_UINT;
        it->uinteger = v;
    }
}

/* The n big-endian bytes at p with their sign. */
static int64_t sign_extend(const uint8_t *p, unsigned n)
{
    unsigned shift = 64 - 8 * n;
    return (int64_t)(big_endian(p, n) << shift) >> shift;
}

static double read_float(const uint8_t *p, unsigned n)
{
    if (n == 4) {
        uint32_t bits = (uint32_t)big_endian(p, 4);
        float v;
        memcpy(&v, &bits, sizeof v);
        return (double)v;
    }
    uint64_t bits = big_endian(p, 8);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* An ext becomes a time when it is a timestamp in one of its three forms and makes sense. */
static void set_ext(struct item *it, int8_t type, const uint8_t *p, uint32_t len)
{
    it->kind = ITEM_EXT;
    if (type == -1 && (len == 4 || len == 8 || len == 12)) {
        int64_t sec;
        uint32_t nsec = 0;
        if (len == 4) {
            sec = (int64_t)big_endian(p, 4);
        } else if (len == 8) {
            uint64_t both = big_endian(p, 8); /* 30 bits of nanoseconds, 34 of seconds */
            sec = (int64_t)(both & 0x3ffffffffu);
            nsec = (uint32_t)(both >> 34);
        } else {
            nsec = (uint32_t)big_endian(p, 4);
            sec = sign_extend(p + 4, 8);
        }
        if (nsec < 1000000000u) {
            it->kind = ITEM_TIME;
            it->time.sec = sec;
            it->time.nsec = nsec;
            return;
        }
    }
    it->bytes.p = p;
    it->bytes.len = len;
    it->bytes.ext = type;
}

static int take_bytes(struct cursor *c, const uint8_t *p, enum item_kind kind, uint32_t len,
                      struct item *it)
{
    if ((size_t)(c->end - p) < len)
        return -1;
    it->kind = kind;
    it->bytes.p = p;
    it->bytes.len = len;
    it->bytes.ext = 0;
    c->at = p + len;
    return 0;
}

static int take_ext(struct cursor *c, const uint8_t *p, uint32_t len, struct item *it)
{
    if ((size_t)(c->end - p) < (size_t)len + 1)
        return -1;
    set_ext(it, (int8_t)p[0], p + 1, len);
    c->at = p + 1 + len;
    return 0;
}

static int take_count(struct cursor *c, const uint8_t *p, enum item_kind kind, uint32_t count,
                      struct item *it)
{
    it->kind = kind;
    it->count = count;
    c->at = p;
    return 0;
}

/* c4..c9 and d9..df: a length or count of n bytes, then what it is of. */
static int next_sized(struct cursor *c, uint8_t head, unsigned n, struct item *it)
{
    const uint8_t *p = c->at + 1;

    if ((size_t)(c->end - p) < n)
        return -1;
    uint32_t count = (uint32_t)big_endian(p, n);
    p += n;
    if (head <= 0xc6)
        return take_bytes(c, p, ITEM_BIN, count, it);
    if (head <= 0xc9)
        return take_ext(c, p, count, it);
    if (head <= 0xdb)
        return take_bytes(c, p, ITEM_STR, count, it);
    return take_count(c, p, head <= 0xdd ? ITEM_ARRAY : ITEM_MAP, count, it);
}

static int next_number(struct cursor *c, uint8_t head, struct item *it)
{
    static const uint8_t widths[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* ca .. d3 */
    const uint8_t *p = c->at + 1;
    unsigned n = widths[head - 0xca];

    if ((size_t)(c->end - p) < n)
        return -1;
    if (head <= 0xcb) {
        it->kind = ITEM_FLOAT;
        it->real = read_float(p, n);
    } else if (head <= 0xcf) {
        set_uint(it, big_endian(p, n));
    } else {
        it->kind = ITEM_INT;
        it->integer = sign_extend(p, n);
    }
    c->at = p + n;
    return 0;
}

int cursor_next(struct cursor *c, struct item *it)
{
    static const uint8_t bin_ext[] = {1, 2, 4, 1, 2, 4};          /* c4 .. c9 */
    static const uint8_t str_array_map[] = {1, 2, 4, 2, 4, 2, 4}; /* d9 .. df */

    if (c->at >= c->end)
        return -1;
    uint8_t head = *c->at;
    if (head < 0x80 || head >= 0xe0) {
        it->kind = ITEM_INT;
        it->integer = (int8_t)head;
        c->at++;
        return 0;
    }
    if (head < 0x90)
        return take_count(c, c->at + 1, ITEM_MAP, head & 0x0fu, it);
    if (head < 0xa0)
        return take_count(c, c->at + 1, ITEM_ARRAY, head & 0x0fu, it);
    if (head < 0xc0)
        return take_bytes(c, c->at + 1, ITEM_STR, head & 0x1fu, it);
    if (head <= 0xc3) {
        if (head == 0xc1)
            return -1;
        it->kind = head == 0xc0 ? ITEM_NIL : ITEM_BOOL;
        it->boolean = head == 0xc3;
        c->at++;
        return 0;
    }
    if (head <= 0xc9)
        return next_sized(c, head, bin_ext[head - 0xc4], it);
    if (head <= 0xd3)
        return next_number(c, head, it);
    if (head <= 0xd8)
        return take_ext(c, c->at + 1, 1u << (head - 0xd4), it);
    return next_sized(c, head, str_array_map[head - 0xd9], it);
}

int cursor_peek(const struct cursor *c, struct item *it)
{
    struct cursor copy = *c;
    return cursor_next(&copy, it);
}

int cursor_skip(struct cursor *c)
{
    struct cursor at = *c;
    struct item it;

    size_t first = at.at < at.end ? item_short(at.at, (size_t)(at.end - at.at)) : 0;
    if (first > 0 && first <= (size_t)(at.end - at.at)) {
        c->at += first;
        return 0;
    }

    for (uint64_t due = 1; due > 0; due--) {
        /* Every item takes a byte, so a count that lies ends here and not in a long loop. */
        uint64_t left = (uint64_t)(at.end - at.at);
        if (due > left)
            return -1;
        size_t size = item_short(at.at, left);
        if (size > 0 && size <= left) {
            at.at += size;
            continue;
        }
        if (cursor_next(&at, &it) < 0)
            return -1;
        if (it.kind == ITEM_ARRAY)
            due += it.count;
        else if (it.kind == ITEM_MAP)
            due += (uint64_t)it.count * 2;
    }
    *c = at;
    return 0;
}

int cursor_value(struct cursor *c, const uint8_t **p, size_t *len)
{
    const uint8_t *begin = c->at;

    if (cursor_skip(c) < 0)
        return -1;
    *p = begin;
    *len = (size_t)(c->at - begin);
    return 0;
}

uint64_t cursor_count(struct cursor c)
{
    struct item it;
    uint64_t n = 0;

    for (; c.at < c.end; n++) {
        size_t left = (size_t)(c.end - c.at), size = item_short(c.at, left);
        if (size > 0 && size <= left)
            c.at += size;
        else if (cursor_next(&c, &it) < 0)
            return 0;
    }
    return n;
}

/* The next item into *it when it has this kind; moves only then. */
static int next_of(struct cursor *c, enum item_kind kind, struct item *it)
{
    struct cursor after = *c;

    if (cursor_next(&after, it) < 0 || it->kind != kind)
        return -1;
    *c = after;
    return 0;
}

/* The typed reads look for the short forms first: they are nearly all there is in an envelope. */

int cursor_array(struct cursor *c, uint32_t *count)
{
    struct item it;
    if (c->at < c->end && (*c->at & 0xf0) == 0x90) {
        *count = *c->at++ & 0x0fu;
        return 0;
    }
    if (next_of(c, ITEM_ARRAY, &it) < 0)
        return -1;
    *count = it.count;
    return 0;
}

int cursor_map(struct cursor *c, uint32_t *pairs)
{
    struct item it;
    if (c->at < c->end && (*c->at & 0xf0) == 0x80) {
        *pairs = *c->at++ & 0x0fu;
        return 0;
    }
    if (next_of(c, ITEM_MAP, &it) < 0)
        return -1;
    *pairs = it.count;
    return 0;
}

int cursor_str(struct cursor *c, const char **s, size_t *len)
{
    struct cursor after = *c;
    struct item it;

    if (c->at < c->end && (*c->at & 0xe0) == 0xa0 && (*c->at & 0x1f) < c->end - c->at) {
        *len = *c->at & 0x1fu;
        *s = (const char *)c->at + 1;
        c->at += 1 + *len;
        return 0;
    }
    if (cursor_next(&after, &it) < 0 || (it.kind != ITEM_STR && it.kind != ITEM_BIN))
        return -1;
    *c = after;
    *s = (const char *)it.bytes.p;
    *len = it.bytes.len;
    return 0;
}

int cursor_int(struct cursor *c, int64_t *v)
{
    struct item it;
    if (c->at < c->end && *c->at < 0x80) {
        *v = *c->at++;
        return 0;
    }
    if (next_of(c, ITEM_INT, &it) < 0)
        return -1;
    *v = it.integer;
    return 0;
}

int cursor_bool(struct cursor *c, bool *v)
{
    struct item it;
    if (next_of(c, ITEM_BOOL, &it) < 0)
        return -1;
    *v = it.boolean;
    return 0;
}

int cursor_number(struct cursor *c, double *v)
{
    struct cursor after = *c;
    struct item it;

    if (cursor_next(&after, &it) < 0)
        return -1;
    switch (it.kind) {
    case ITEM_INT: *v = (double)it.integer; break;
    case ITEM_UINT: *v = (double)it.uinteger; break;
    case ITEM_FLOAT: *v = it.real; break;
    default: return -1;
    }
    *c = after;
    return 0;
}

bool cursor_nil(struct cursor *c)
{
    if (c->at == c->end || *c->at != 0xc0)
        return false;
    c->at++;
    return true;
}

const char *item_kind_name(enum item_kind k)
{
    switch (k) {
    case ITEM_NIL: return "nil";
    case ITEM_BOOL: return "bool";
    case ITEM_INT: return "int";
    case ITEM_UINT: return "int above 2^63-1";
    case ITEM_FLOAT: return "float";
    case ITEM_STR: return "str";
    case ITEM_BIN: return "bytes";
    case ITEM_TIME: return "datetime";
    case ITEM_EXT: return "ext";
    case ITEM_ARRAY: return "list";
    case ITEM_MAP: return "map";
    }
    return "nothing";
}
