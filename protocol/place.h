/* place: where a path leads in a document's tree, and what that is called in Redis.
 *
 * The walk allocates nothing: the name is built in the place itself, which lives on the stack.
 *
 *   name    /posts/p1 / settings . theme
 *           |-------| ^ |--------------|
 *           0    base   hash field                 a scalar:    key [0,base), field (base,len)
 *           |--------------------------| len       a container: key [0,len)
 *
 * For an element or entry, [0,len) is the key of the container that holds it.
 */
#ifndef RAPYER_PROTOCOL_PLACE_H
#define RAPYER_PROTOCOL_PLACE_H

#include "protocol/op.h"

#define PLACE_NAME_MAX 8192

enum place_kind { PLACE_ROOT, PLACE_FIELD, PLACE_ELEMENT, PLACE_ENTRY };

struct place {
    enum place_kind kind;
    const struct type *type; /* of what is there; NULL for the root */
    struct cell *cell;       /* NULL: the root, or nothing is there */
    struct record *record;   /* the root, or the record that has the field */
    uint32_t slot;
    struct cell *container; /* ELEMENT, ENTRY: the field that holds it, and that field's type */
    const struct type *container_type;
    size_t index;              /* ELEMENT; not that of one picked by its pk */
    bool not_there;            /* ENTRY: so much is known, though the dict is not loaded */
    unsigned depth;            /* containers around the place, on the wire: models, lists, dicts */
    const struct record *lone; /* what the last optional on the way holds; NULL: there was none */
    bool null;                 /* refused because an optional on the way is null */
    bool hidden; /* the way led through what has no pk of its own (an optional, a container within
                  * another): whether that is still there only Redis can say */
    const char *key; /* ENTRY; into the path or the reader */
    size_t key_len;
    /* Refused because the path leads on into the value that is here, a list, dict, `any` or plain
     * model: how much of the path leads to it (inside.h). 0: not so. */
    size_t inside;
    size_t base, len;
    char name[PLACE_NAME_MAX + PK_ESCAPED_MAX + 8];
    struct path_reader reader;
};

/* Walks the path from root. A dict of values need not be loaded for one of its entries to be
 * named: then cell is NULL. `alone`: what is at the end is only looked at, so that one element of a
 * long container may be read without the others; else only on the way. `canonical` may be NULL;
 * else the path is appended to it with elements by pk. OP_REFUSED: BAD_PATH, UNKNOWN_FIELD,
 * NOT_FOUND, OUT_OF_RANGE. */
enum op_status place_find(struct place *p, struct record *root, const char *path, size_t path_len,
                          bool alone, struct needs *needs, struct buf *canonical, struct fault *f);

/* The same from within: path[0, from) has led to `type`, which is the field of a record `root`, or
 * the root itself (NULL), and the rest leads on from there. */
enum op_status place_find_from(struct place *p, struct record *root, const struct type *type,
                               const char *path, size_t path_len, size_t from, struct fault *f);

/* Where the way ended at a container that is in another one, or (`lone`) in an optional: on to it,
 * as to a field. */
enum op_status place_enter(struct place *p, bool lone, struct needs *needs, size_t path_len,
                           struct fault *f);

/* OP_DONE when this container (with this key in Redis) is loaded, else it is reported. */
enum op_status place_loaded(struct cell *container, const struct type *t, const char *key,
                            size_t key_len, struct needs *needs, struct fault *f);

/* OP_DONE when the elements [from, from + n) of the list at p, a field, are here: all of it is
 * loaded, or they are picked. Else they are asked for, or all of it where it is short or much of it
 * was picked already. As place_loaded. */
enum op_status place_slice(struct place *p, size_t from, size_t n, struct needs *needs,
                           struct fault *f);
/* One of these. */
struct cell *place_slice_at(const struct place *p, size_t i);

#endif
