/* effect: what one change of a tree means in Redis.
 *
 * Keys are named by their suffix behind the document's root key (op.h). A key is a list, whose
 * elements have numbers, or its elements have names: the fields of a hash, the members of a set.
 */
#ifndef RAPYER_PROTOCOL_EFFECT_H
#define RAPYER_PROTOCOL_EFFECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cell;
struct type;

enum effect_kind {
    EFFECT_FIELD_SET,
    EFFECT_FIELD_INCR, /* an int that had a value before; commutes with others' increments */
    EFFECT_FIELD_DEL,
    EFFECT_PUSH,
    EFFECT_PUSH_FRONT,
    EFFECT_LIST_SET,
    EFFECT_LIST_INSERT,
    EFFECT_LIST_REMOVE,
    EFFECT_DROP, /* DEL of the whole key */
};

/* Where a member of a sorted set stood that is taken out. */
enum effect_end {
    END_NONE, /* anywhere */
    END_LOWEST,
    END_HIGHEST
};

struct effect {
    enum effect_kind kind;
    const char *suffix; /* of the key */
    size_t suffix_len;
    uint8_t in;        /* FIELD_*: of what type the key is; 0: the hash of a record or dict */
    const char *field; /* FIELD_* of a hash; elsewhere `value` is what is named */
    size_t field_len;
    const struct type *type; /* of value */
    const struct cell *value;
    const struct cell *was; /* FIELD_SET, _INCR of a record's field: what was there; or NULL */
    double score;           /* FIELD_SET, where members have one; or as `end` says */
    uint8_t end; /* FIELD_DEL of a member: it is taken out as what stands at this end, and with the
                  * score that it had it is all that is answered */
    bool told;   /* FIELD_SET, _DEL of a member: whether that adds one (`now`: 1) or takes one
                  * out is the answer */
    union {
        struct {
            int64_t by, now; /* FIELD_INCR */
        };
        struct {
            size_t index, count, len_before; /* LIST_*; the last two of LIST_REMOVE alone */
        };
    };
};

/* Whoever wants to know is told after the tree was changed, in order. All of it is borrowed for
 * the call. */
typedef void effect_fn(void *arg, const struct effect *e);

#endif
