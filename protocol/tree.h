/* tree: a document in memory: records of fields, lists and dicts, down to values.
 *
 *   record User ─┬─ name            cell (value)
 *                ├─ settings        cell → record Settings (inline: shares User's hash in Redis)
 *                ├─ tags            cell → list of values
 *                └─ posts           cell → list of records, each with a pk
 *
 * The daemon caches these and the client keeps drafts in them; the same code, so the same
 * rules. A container may be *unloaded* (container.h).
 *
 * The shapes, by field type of an atomic model:
 *   atomic model       -> record, always there once the parent is (never CELL_UNSET)
 *   list<T>, dict<T>   -> list, dict, always there; elements are records when T is atomic
 *   optional<T>, T atomic -> a container of its own kind, always there: empty, or with one record
 *   set<T>, sorted<T>  -> set, sorted, always there; members are values
 *   everything else    -> value, or CELL_UNSET (from Redis also CELL_SPOILT)
 * Mutators here do not check types and do not know undo; op.h does both.
 */
#ifndef RAPYER_PROTOCOL_TREE_H
#define RAPYER_PROTOCOL_TREE_H

#include "protocol/container.h"

struct record {
    const struct model *model;
    struct cell pk;      /* str; CELL_UNSET in an inline record */
    uint32_t nslots;     /* may be below model->nfields after a redefinition */
    struct cell slots[]; /* by field index */
};

/* A double-ended vector with a gap at the front, so that both ends are O(1) amortized. A list
 * of more than 16 records keeps an index from pk to record. */
struct list;

/* A map in order of insertion: entries in one array, and an index of hashes from 16 entries. */
struct dict;

/* What a field holds from the start: a record, a container, or CELL_UNSET for a value. */
struct cell cell_blank(const struct type *t);

/* An empty record of this model with its containers and inline records; scalars unset. */
struct record *record_new(const struct model *m);
void record_free(struct record *r);
struct record *record_copy(const struct record *r);
/* Makes room for the fields that a redefinition added; the record may move. Inline records and
 * containers that were added are created. */
struct record *record_widen(struct record *r);
/* The slot of a field, or NULL when the record is older than the field. */
struct cell *record_slot(struct record *r, uint32_t field);

/* What all containers can (container.h), by name. */
struct list *list_new(void);
static inline bool list_loaded(const struct list *l)
{
    return container_loaded((const struct container *)l);
}
static inline size_t list_len(const struct list *l) /* known length also when unloaded */
{
    return ((const struct container *)l)->len;
}
void list_adjust_len(struct list *l, int64_t by); /* unloaded only */
struct cell *list_at(struct list *l, size_t i);   /* i < len, loaded; valid until a change */
void list_insert(struct list *l, size_t i, struct cell c);         /* i <= len; takes c */
struct cell list_replace(struct list *l, size_t i, struct cell c); /* gives back the old one */
struct cell list_take(struct list *l, size_t i);                   /* removes and gives back */
/* Records only: by pk; the index of the element or -1. list_by_pk is O(1) on big lists. */
int64_t list_find_pk(const struct list *l, const char *pk, size_t len);
struct record *list_by_pk(const struct list *l, const char *pk, size_t len);

struct dict *dict_new(void);
void dict_free(struct dict *d);
static inline bool dict_loaded(const struct dict *d)
{
    return container_loaded((const struct container *)d);
}
static inline size_t dict_len(const struct dict *d)
{
    return ((const struct container *)d)->len;
}
struct cell *dict_get(struct dict *d, const char *key, size_t len); /* NULL: not there */
/* Sets and gives back the old value (CELL_UNSET: was not there). Takes c. */
struct cell dict_put(struct dict *d, const char *key, size_t len, struct cell c);
struct cell dict_take(struct dict *d, const char *key, size_t len); /* CELL_UNSET: not there */
/* In order of insertion: *it starts at 0; false at the end. No changes meanwhile. */
bool dict_next(const struct dict *d, size_t *it, const char **key, size_t *len, struct cell **c);
/* The pair inserted last (for popitem); false when empty. */
bool dict_last(const struct dict *d, const char **key, size_t *len, struct cell **c);

/* A set is a dict whose keys are the canonical bytes of its members. */
struct dict *set_members(const struct container *set);
bool set_has(const struct container *set, const struct cell *member);
struct cell set_member(const char *key, size_t len); /* of a key; borrows its bytes */

/* Members by score, those of the same score by their text in Redis; the lowest has rank 0. Loaded.
 */
bool sorted_score(const struct container *sorted, const struct cell *member, double *score);
size_t sorted_rank(const struct container *sorted, const struct cell *member, double score);
size_t sorted_below(const struct container *sorted, double score); /* how many are lower */
const struct cell *sorted_at(const struct container *sorted, size_t rank, double *score);
/* Sets a score; whether the member was there, and with which. */
bool sorted_put(struct container *sorted, const struct cell *member, double score, double *old);
bool sorted_take(struct container *sorted, const struct cell *member, double *score);

/* Seeds the hashes of all dicts; call once, before any dict exists, with random bits. */
void dict_seed(uint64_t seed);

/* Collects unloaded containers that something needs, and what of it another program spoilt
 * (cell_wrong). The daemon loads the ones and tries again, and refuses for the others; drafts never
 * have any. Suffixes are the Redis key behind the root key (op.h). Of a long container one element
 * may be enough: element() then, if there is such. */
struct needs {
    void (*container)(void *arg, struct cell *c, const struct type *t, const char *suffix,
                      size_t suffix_len);
    void (*element)(void *arg, struct cell *c, const struct type *t, const char *suffix,
                    size_t suffix_len, const struct named *which);
    void *arg;
    unsigned count; /* how many were reported */
};
static inline void needs_add(struct needs *n, const struct cell *c, const struct type *t,
                             const char *suffix, size_t suffix_len)
{
    n->container(n->arg, (struct cell *)(uintptr_t)c, t, suffix, suffix_len);
    n->count++;
}

/* What pks are, as a type: for effects. */
extern const struct type type_str;

/* Appends the wire form of a record: map of "@pk" (when it has one, else `pk`, which may be
 * NULL) and the fields: values as they are, unset ones with a default as that default, unset
 * ones without left out, records and containers inside in the same way. Lazy fields are left out
 * when skip_lazy. Unloaded containers on the way are reported to *needs (never packed; when
 * needs->count grew the output is not usable and must be cut back by the caller). `suffix` is
 * the record's own ("" for a root); see op.h for how it grows. */
void record_pack(const struct record *r, const char *pk, size_t pk_len, bool skip_lazy,
                 const char *suffix, size_t suffix_len, struct needs *needs, struct buf *out);
/* The same for any cell whose declared type is t, lazy fields included. `suffix` is where the
 * cell lives: of a list or dict its key, of an element "/posts/<pk>", of an inline record
 * "/settings" (what is in it then lives at "/settings.notifications"). A record without a pk and
 * with a suffix is taken for an inline one. */
void cell_pack(const struct cell *c, const struct type *t, const char *suffix, size_t suffix_len,
               struct needs *needs, struct buf *out);

/* Builds a record from its wire form (a map), checking all of it: fields, types, defaults filled
 * in, pks generated (UUIDs) where an element has none, or taken from the model's key field, which
 * must agree with "@pk". `pk` is the root's own (NULL for an inline record: has none, and "@pk"
 * in the map is then refused unless nil; for an element: pk=NULL, element=true).
 * A scalar field without default that is not optional must be there: BAD_VALUE with its path.
 * Moves *in. -1: as value_check, and BAD_KEY for a pk. *out only on success. */
enum record_place { RECORD_ROOT, RECORD_INLINE, RECORD_ELEMENT, RECORD_LONE };
int record_build(const struct model *m, enum record_place place, const char *pk, size_t pk_len,
                 struct cursor *in, const char *where, struct record **out, struct fault *f);
/* What the key field of this type holds in a model with this pk. -1: BAD_KEY, it cannot. */
int key_from_pk(const struct type *t, const char *pk, size_t len, struct cell *out,
                struct fault *f);
/* The same for any type. `element`: of a list or dict, so that an atomic model becomes a
 * RECORD_ELEMENT and list<T>, dict<T> a value; else of a field, so that they become an inline
 * record, a list, a dict. */
int cell_build(const struct type *t, bool element, struct cursor *in, const char *where,
               struct cell *out, struct fault *f);

#endif
