/* value: a MessagePack item as a tree of nodes, made in one allocation.
 *
 *   | node | node | node ... | the bytes, in which the texts stay |
 *     root   its items ...
 *
 * The root is where the block begins, so that freeing the root frees all.
 */
#ifndef RAPYER_CLIENT_VALUE_H
#define RAPYER_CLIENT_VALUE_H

#include "client/include/rapyer.h"
#include "protocol/buf.h"
#include "protocol/cursor.h"
#include "protocol/fault.h"

/* The first word of what %p may point to. */
#define TAG_VALUE 0x52617600u /* | kind */
#define TAG_DOC 0x52616400u
#define TAG_MASK 0xffffff00u

struct rapyer_value {
    uint32_t tag; /* TAG_VALUE | rapyer_kind */
    uint32_t len; /* bytes, items, pairs; of a datetime the nanoseconds */
    union {
        int64_t integer; /* INT, BOOL; seconds of a datetime */
        double real;
        const char *bytes;          /* STR, BYTES */
        struct rapyer_value *items; /* LIST: len of them, DICT: key, value, key, value */
    };
};

/* Copies the one value that these bytes are. items: how many there are in it, itself included, 0
 * if that was not counted yet. NULL: no memory, or f->code TOO_LARGE when it would take more than
 * max_memory bytes, BAD_FRAME when it is none. */
rapyer_value *value_parse(struct cursor in, uint64_t items, size_t max_memory, struct fault *f);
/* The same in two steps, for who fetches the bytes himself: room for so many nodes (cursor_count)
 * and for len bytes, to be put at *bytes; NULL: no memory. Then what is in them, whatever that is;
 * -1: not one value of at most so many nodes. */
rapyer_value *value_room(size_t nodes, size_t len, uint8_t **bytes);
int value_fill(rapyer_value *root, size_t nodes, size_t len);
void value_pack(const rapyer_value *v, struct buf *out);
/* What is at a path inside; NULL when there is nothing. */
const rapyer_value *value_at(const rapyer_value *v, const char *path, size_t len);

#endif
