/* cell: one place in a document's tree, 16 bytes.
 *
 *   CELL_UNSET                       never set
 *   CELL_INLINE  | bytes[15] | tag   a value of up to 14 canonical MessagePack bytes
 *   CELL_HEAP    | ptr, len  | tag   a longer one
 *   CELL_RECORD / CONTAINER          owns the node it points to
 *   CELL_KEPT                        left out of a map; only while a tree is built (keep.h)
 *   CELL_SPOILT  | ptr, len  | tag   a field in which Redis holds what is no value of its type;
 *                                    ptr: a text that says what is wrong. It can be replaced and
 *                                    removed; who wants to read it reports it (tree.h, needs)
 *
 * A value is kept as its canonical MessagePack (value.h): reading a document out is copying
 * bytes. Zeroed memory is CELL_UNSET. A cell owns what it points to; copying the struct moves
 * the ownership.
 */
#ifndef RAPYER_PROTOCOL_CELL_H
#define RAPYER_PROTOCOL_CELL_H

#include "protocol/alloc.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record;
struct container; /* of any kind, see container.h */
struct list;
struct dict;
struct held;

enum cell_kind {
    CELL_UNSET,
    CELL_INLINE,
    CELL_HEAP,
    CELL_RECORD,
    CELL_CONTAINER,
    CELL_KEPT,
    CELL_SPOILT
};

#define CELL_INLINE_MAX 14

struct cell {
    union {
        struct {
            uint8_t small[CELL_INLINE_MAX];
            uint8_t small_len;
            uint8_t kind;
        };
        struct {
            union {
                uint8_t *heap;
                struct record *record;
                struct container *container;
                struct list *list;
                struct dict *dict;
            };
            uint32_t heap_len;
        };
    };
};
_Static_assert(sizeof(struct cell) == 16, "a cell is 16 bytes");

/* All memory of trees comes from here, so that the cache can bound it. Bytes now in use by all
 * trees of the calling thread, as malloc_usable_size counts them. A tree belongs to one thread. */
size_t tree_memory(void);
#define tree_alloc(n) tree_alloc_at(n, ALLOC_HERE) /* zeroed; never NULL (alloc.h) */
#define tree_realloc(p, n) tree_realloc_at(p, n, ALLOC_HERE)
void *tree_alloc_at(size_t n, const char *file, int line);
void *tree_realloc_at(void *p, size_t n, const char *file, int line);
void tree_free(void *p);

/* From canonical bytes (copied). */
struct cell cell_value(const void *bytes, size_t len);
struct cell cell_int(int64_t v);
struct cell cell_float(double v);
struct cell cell_str(const char *s, size_t len);
/* A str, or bytes, of two parts. */
struct cell cell_joined(bool text, const void *a, size_t a_len, const void *b, size_t b_len);
struct cell cell_nil(void);
struct cell cell_spoilt(const char *why);    /* copied; never empty */
struct cell cell_copy(const struct cell *c); /* deep */
void cell_free(struct cell *c);              /* deep; *c is CELL_UNSET afterwards */

/* Keeps a long value as it is, whatever becomes of its cell, until it is let go; NULL: it is none.
 * Not for cells that only look at what is another's (members of sets). */
struct held *cell_hold(const struct cell *c);
void held_let_go(struct held *h);

/* The canonical bytes of INLINE and HEAP; of SPOILT its text. */
static inline const uint8_t *cell_bytes(const struct cell *c, size_t *len)
{
    if (c->kind == CELL_INLINE) {
        *len = c->small_len;
        return c->small;
    }
    *len = c->heap_len;
    return c->heap;
}
static inline bool cell_is_value(const struct cell *c)
{
    return c->kind == CELL_INLINE || c->kind == CELL_HEAP;
}
bool cell_equal(const struct cell *a, const struct cell *b); /* values only */
bool cell_is_nil(const struct cell *c);
/* Of a value that is a str (a pk, say): its bytes; -1 when it is none. */
int cell_get_str(const struct cell *c, const char **s, size_t *len);
int cell_get_int(const struct cell *c, int64_t *v);
int cell_get_float(const struct cell *c, double *v);

#endif
