/* cursor: reads MessagePack items one after the other from bytes that `scan` has passed.
 *
 * Pointers it hands out point into the frame. All functions are bounds-checked all the same: a
 * cursor over unscanned bytes fails, it never reads outside [at, end).
 */
#ifndef RAPYER_PROTOCOL_CURSOR_H
#define RAPYER_PROTOCOL_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
    const uint8_t *at, *end;
};

enum item_kind {
    ITEM_NIL,
    ITEM_BOOL,
    ITEM_INT,  /* fits int64 whatever its encoding */
    ITEM_UINT, /* above INT64_MAX */
    ITEM_FLOAT,
    ITEM_STR,
    ITEM_BIN,
    ITEM_TIME, /* ext -1 of 4, 8 or 12 bytes with nanoseconds < 10^9 */
    ITEM_EXT,  /* any other ext */
    ITEM_ARRAY,
    ITEM_MAP,
};

struct item {
    enum item_kind kind;
    union {
        bool boolean;
        int64_t integer;
        uint64_t uinteger;
        double real;
        struct {
            const uint8_t *p;
            uint32_t len;
            int8_t ext;
        } bytes; /* STR, BIN, EXT */
        struct {
            int64_t sec;
            uint32_t nsec;
        } time;
        uint32_t count; /* ARRAY: items, MAP: pairs, which follow in the stream */
    };
};

static inline struct cursor cursor_of(const void *p, size_t n)
{
    const uint8_t *at = p;
    return (struct cursor){at, n ? at + n : at}; /* nothing may be at NULL: an empty buf is */
}
static inline bool cursor_done(const struct cursor *c)
{
    return c->at == c->end;
}

/* The bytes of an item that one or two of them tell all about, as they do of most in a document;
 * 0: it has to be looked at. `have` > 0 bytes are there to look at. */
static inline size_t item_short(const uint8_t *p, size_t have)
{
    uint8_t head = *p;
    if ((head & 0xe0) == 0xa0)
        return 1 + (head & 0x1fu);
    if (head == 0xd9)
        return have > 1 ? 2 + (size_t)p[1] : 0;
    return head < 0x80 || head >= 0xe0 || head == 0xc0 || head == 0xc2 || head == 0xc3;
}

/* The next item; of a container only its head. -1 at the end of the bytes or on 0xc1. */
int cursor_next(struct cursor *c, struct item *it);
/* The next item without moving. */
int cursor_peek(const struct cursor *c, struct item *it);
/* Steps over one whole value, containers with all that is in them. Iterative. */
int cursor_skip(struct cursor *c);
/* Steps over one whole value and says where it was. */
int cursor_value(struct cursor *c, const uint8_t **p, size_t *len);

/* How many items these bytes are, containers and what is in them each counted for itself; 0: they
 * do not end where an item ends. */
uint64_t cursor_count(struct cursor c);

/* Each: 0 and moves when the next item has this kind, else -1 and does not move. */
int cursor_array(struct cursor *c, uint32_t *count);
int cursor_map(struct cursor *c, uint32_t *pairs);
int cursor_str(struct cursor *c, const char **s, size_t *len); /* takes bin too */
int cursor_int(struct cursor *c, int64_t *v);
int cursor_bool(struct cursor *c, bool *v);
int cursor_number(struct cursor *c, double *v); /* int or float */
bool cursor_nil(struct cursor *c);              /* true and moves when it is nil */

/* "int", "str", "map", ...: for messages. */
const char *item_kind_name(enum item_kind k);

/* Whether these bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool utf8_valid(const void *p, size_t n);
/* How many bytes, at most `most`, of n that are UTF-8 end where a character does. */
size_t utf8_cut(const char *s, size_t n, size_t most);

#endif
