/* container: what lists, dicts and their like have in common, and the table of them.
 *
 *   struct container     the head of every such node: which kind it is, how long, if it is here
 *   container_kinds[]    by type: what a kind looks like on the wire, how its elements are named,
 *                        what one of them means in Redis, and how its node does what all can
 *
 * Whoever walks a tree (builds, packs, emits, drops, loads it) goes by this table and knows no
 * kind by name; only the operations of a kind do. A container may be *unloaded*: it is known to
 * exist (or that it may), with its length as far as known, but its content is only in Redis. Single
 * elements of it may have been *picked*: read alone, by their names. Or it is *spoilt*: under its
 * key another program put what it cannot hold. Of its elements it then has those that could be made
 * out, so that they go with it when it is replaced or removed; nothing else can be done to it.
 */
#ifndef RAPYER_PROTOCOL_CONTAINER_H
#define RAPYER_PROTOCOL_CONTAINER_H

#include "protocol/cell.h"
#include "protocol/effect.h"
#include "protocol/schema.h"

struct container {
    uint32_t len;        /* as far as known, while it is unloaded */
    uint8_t type;        /* enum type_kind */
    uint8_t unloaded;    /* bool */
    uint8_t used;        /* bool: somebody has looked for what is in it (cache.h) */
    char *spoilt;        /* what is wrong with it in Redis; NULL: nothing that is known */
    struct dict *picked; /* unloaded: what is known of single elements, or NULL */
};

/* One element: on the way through a container, or on its way into one. */
struct element {
    const char *key; /* where elements are named by keys */
    size_t key_len;
    struct cell *cell;
    double score;     /* where they have one */
    struct cell made; /* what `cell` points to where the node holds none; borrows its bytes */
    size_t next;      /* the walk's own; 0 at the start */
};

/* How a path names one of the elements. */
enum named_by {
    BY_INDEX,
    BY_KEY,
    BY_NOTHING,
    BY_ITSELF /* there is one at most: what is behind the container's path is in it */
};

/* One of them: by its key, or its pk where it is a record of a list; or by its index, from 0. Of a
 * list also several, one behind the other. */
struct named {
    enum named_by by;
    const char *key;
    size_t len;
    size_t index;
    size_t count; /* BY_INDEX: so many from there on; 0: one */
};

struct container_kind {
    const char *name;    /* of the type, before <T> */
    enum item_kind wire; /* ITEM_ARRAY, or ITEM_MAP: with a key before each element */
    bool scored;         /* on the wire each is a pair: itself, and its score */
    bool values_only;    /* no atomic models */
    bool lone;           /* holds one at most; on the wire it is that one, or nil */
    enum named_by by;
    enum effect_kind put; /* what an element that is there means in Redis */
    struct container *(*fresh)(void);
    void (*empty)(struct container *c); /* frees the content */
    /* Frees the last n elements, and whatever helps to find one; only empty() may follow. NULL: it
     * is freed as a whole (reclaim.h). */
    void (*shed)(struct container *c, size_t n);
    void (*fill)(struct container *c, const struct container *from); /* a copy of its content */
    void (*reserve)(struct container *c, size_t n);                  /* room for n at once */
    /* In order; false at the end. No changes meanwhile. */
    bool (*next)(const struct container *c, struct element *e);
    /* Takes e's cell: behind the last one, or under its name in place of what is there. */
    void (*add)(struct container *c, const struct element *e);
    /* Whether there is one of that name; NULL: elements have none. */
    bool (*has)(const struct container *c, const struct element *e);
    /* Undo, of kinds whose elements have names: the one of this key was `old`, which it takes, or
     * not there when that is CELL_UNSET. Of members the key is what they are, and `old` their
     * score. */
    void (*restore)(struct container *c, const char *key, size_t len, struct cell old);
};
extern const struct container_kind *const container_kinds[TYPE_COUNT]; /* NULL: is none */

/* The kind of a field of this type, or NULL. Inside another container the same type is a value. */
static inline const struct container_kind *type_container(const struct type *t)
{
    return container_kinds[t->kind];
}
static inline const struct container_kind *container_kind(const struct container *c)
{
    return container_kinds[c->type];
}

struct container *container_new(enum type_kind kind);
void container_free(struct container *c);
struct container *container_copy(const struct container *c);
/* Says what is wrong with it. Its content stays, if it has any. */
void container_spoil(struct container *c, const char *why);
/* Drops the content. */
void container_unload(struct container *c, size_t known_len);
/* From unloaded to loaded and empty; not spoilt. */
void container_set_loaded(struct container *c);
void container_reserve(struct container *c, size_t n); /* loaded only */

/* Of an unloaded one. What is known under this name: a record or a value, of a record's index its
 * pk; CELL_UNSET: there was no such element. NULL: nothing is known. Whoever changes an entry of a
 * dict that is not loaded changes what is picked, too. */
struct cell *container_picked(const struct container *c, const struct named *which);
void container_pick(struct container *c, const struct named *which,
                    struct cell cell); /* takes it */
void container_forget(struct container *c);

/* The one that a lone container holds has this pk in Redis, and none on the wire. */
#define LONE_PK "1"

/* Can be read, and changed by its elements. */
static inline bool container_loaded(const struct container *c)
{
    return !c->unloaded && c->spoilt == NULL;
}
/* Of a loaded one; unloaded ones have no elements. */
static inline bool container_next(const struct container *c, struct element *e)
{
    return container_kind(c)->next(c, e);
}
static inline void container_add(struct container *c, const struct element *e)
{
    container_kind(c)->add(c, e);
}

/* What an element of a container of type t that is there means in Redis, on the container's key
 * (which is left out): of a record its pk. */
struct effect element_effect(const struct container *c, const struct type *t,
                             const struct element *e);

/* Whether a cell holds a container of this type. */
static inline bool cell_holds(const struct cell *c, enum type_kind kind)
{
    return c->kind == CELL_CONTAINER && c->container->type == kind;
}

/* What is wrong with a field or container that another program spoilt, else NULL. */
static inline const char *cell_wrong(const struct cell *c)
{
    if (c->kind == CELL_SPOILT)
        return (const char *)c->heap;
    return c->kind == CELL_CONTAINER ? c->container->spoilt : NULL;
}

#endif
