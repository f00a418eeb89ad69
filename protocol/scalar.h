/* scalar: the table of the types that hold one plain value.
 *
 *   from a client ──► check ──► canonical MessagePack (value.h) ──► write ──► text in Redis
 *                                           ▲                                     │
 *                                           └─────────────── read ◄───────────────┘
 *
 * The text is what Redis' own commands and other programs work on, so reading it trusts nothing:
 * it takes exactly what Redis would take (an int with a leading zero would make HINCRBY fail in
 * the middle of a transaction).
 */
#ifndef RAPYER_PROTOCOL_SCALAR_H
#define RAPYER_PROTOCOL_SCALAR_H

#include "protocol/cell.h"
#include "protocol/schema.h"

struct scalar {
    const char *name;
    unsigned takes; /* items of a client, as bits: 1 << ITEM_INT | ... */
    /* Appends the canonical form of such an item. -1: BAD_VALUE, OUT_OF_RANGE, ..., the text says
     * what, but not where. */
    int (*check)(const struct type *t, const struct item *it, struct buf *out, struct fault *f);
    void (*write)(const struct item *canonical, struct buf *text);
    bool (*read)(const struct type *t, const char *text, size_t len, struct cell *out);
    const char *looks; /* what `read` takes, for messages */
    bool named;        /* its name is followed by <names> */
};
extern const struct scalar scalars[TYPE_COUNT];

/* NULL: the type is none. */
static inline const struct scalar *scalar_of(enum type_kind kind)
{
    return scalars[kind].name ? &scalars[kind] : NULL;
}

#endif
