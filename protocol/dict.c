/* dict: the entries of a dict<T> field, by key and in order of insertion.
 *
 *   entries   | e0 | e1 | hole | e3 | free ... |       used = 4, len = 3
 *   index     hash of a key -> position + 1, open addressing, from INDEX_FROM entries on
 *
 * An entry taken out leaves a hole, so that order and positions stay; the array is packed when
 * there are more holes than entries. The last place in use is never a hole. Hashes are seeded:
 * keys come from clients, who must not be able to choose them so that all collide.
 */
#include "protocol/tree_private.h"
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define INDEX_FROM 16

struct entry {
    struct cell key; /* a str; CELL_UNSET: a hole */
    struct cell value;
};

struct dict {
    struct container head;
    uint32_t used, cap;
    struct entry *entries; /* NULL while empty or unloaded */
    uint32_t *index;
    uint8_t bits; /* the index has 2^bits places */
};

static uint64_t seed_now;

void dict_seed(uint64_t seed)
{
    seed_now = seed;
}

uint64_t tree_hash(const char *s, size_t len)
{
    return XXH3_64bits_withSeed(s, len, seed_now);
}

static bool key_is(const struct cell *c, const char *key, size_t len)
{
    const char *own;
    size_t own_len;

    return cell_get_str(c, &own, &own_len) == 0 && own_len == len && memcmp(own, key, len) == 0;
}

static uint32_t index_mask(const struct dict *d)
{
    return ((uint32_t)1 << d->bits) - 1;
}

static uint32_t index_home(const struct dict *d, const struct entry *e)
{
    const char *key = "";
    size_t len = 0;

    (void)cell_get_str(&e->key, &key, &len);
    return (uint32_t)tree_hash(key, len) & index_mask(d);
}

static void index_put(struct dict *d, uint32_t entry)
{
    uint32_t at = index_home(d, &d->entries[entry]);

    while (d->index[at])
        at = (at + 1) & index_mask(d);
    d->index[at] = entry + 1;
}

/* Takes an entry out while its key is still there, and closes the hole. */
static void index_remove(struct dict *d, uint32_t entry)
{
    uint32_t mask = index_mask(d), hole = index_home(d, &d->entries[entry]), at;

    while (d->index[hole] != entry + 1)
        hole = (hole + 1) & mask;
    for (at = (hole + 1) & mask; d->index[at]; at = (at + 1) & mask) {
        uint32_t home = index_home(d, &d->entries[d->index[at] - 1]);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            d->index[hole] = d->index[at];
            hole = at;
        }
    }
    d->index[hole] = 0;
}

static void index_drop(struct dict *d)
{
    tree_free(d->index);
    d->index = NULL;
    d->bits = 0;
}

/* Anew, for as many entries as the array can hold, at most two thirds full. */
static void index_build(struct dict *d)
{
    uint32_t bits = 5;

    index_drop(d);
    if (d->cap < INDEX_FROM)
        return;
    while (((uint64_t)1 << bits) * 2 < (uint64_t)d->cap * 3)
        bits++;
    d->bits = bits;
    d->index = tree_alloc(sizeof *d->index << bits);
    for (uint32_t i = 0; i < d->used; i++)
        if (d->entries[i].key.kind != CELL_UNSET)
            index_put(d, i);
}

struct container *dict_fresh(void)
{
    return tree_alloc(sizeof(struct dict));
}

struct dict *dict_new(void)
{
    return (struct dict *)container_new(TYPE_DICT);
}

void dict_empty(struct container *c)
{
    struct dict *d = (struct dict *)c;

    for (uint32_t i = 0; i < d->used; i++) {
        cell_free(&d->entries[i].key);
        cell_free(&d->entries[i].value);
    }
    tree_free(d->entries);
    d->entries = NULL;
    d->head.len = d->used = d->cap = 0;
    index_drop(d);
}

void dict_free(struct dict *d)
{
    container_free((struct container *)d);
}

void dict_fill(struct container *c, const struct container *source)
{
    struct dict *d = (struct dict *)c;
    const struct dict *from = (const struct dict *)source;

    d->cap = from->head.len;
    d->entries = tree_alloc(d->cap * sizeof *d->entries);
    for (uint32_t i = 0; i < from->used; i++) {
        if (from->entries[i].key.kind == CELL_UNSET)
            continue;
        d->entries[d->used].key = cell_copy(&from->entries[i].key);
        d->entries[d->used++].value = cell_copy(&from->entries[i].value);
    }
    index_build(d);
}

/* Packs the entries into an array of cap places. */
static void dict_resize(struct dict *d, uint32_t cap)
{
    uint32_t to = 0;

    for (uint32_t i = 0; d->used != d->head.len && i < d->used; i++)
        if (d->entries[i].key.kind != CELL_UNSET)
            d->entries[to++] = d->entries[i];
    d->used = d->head.len;
    if (cap != d->cap)
        d->entries = tree_realloc(d->entries, cap * sizeof *d->entries);
    d->cap = cap;
    index_build(d);
}

void dict_reserve(struct container *c, size_t n)
{
    struct dict *d = (struct dict *)c;

    if (n > d->cap)
        dict_resize(d, (uint32_t)n);
}

static struct entry *dict_find(const struct dict *d, const char *key, size_t len)
{
    if (d->index) {
        uint32_t at = (uint32_t)tree_hash(key, len) & index_mask(d);
        for (; d->index[at]; at = (at + 1) & index_mask(d))
            if (key_is(&d->entries[d->index[at] - 1].key, key, len))
                return &d->entries[d->index[at] - 1];
        return NULL;
    }
    for (uint32_t i = 0; i < d->used; i++)
        if (key_is(&d->entries[i].key, key, len))
            return &d->entries[i];
    return NULL;
}

struct cell *dict_get(struct dict *d, const char *key, size_t len)
{
    struct entry *e = dict_find(d, key, len);

    return e ? &e->value : NULL;
}

struct cell dict_put(struct dict *d, const char *key, size_t len, struct cell c)
{
    struct entry *e = dict_find(d, key, len);
    struct cell old = {0};

    if (e) {
        old = e->value;
        e->value = c;
        return old;
    }
    if (d->used == d->cap)
        dict_resize(d, d->head.len < d->cap - d->cap / 4 ? d->cap : tree_grown(d->cap));
    e = &d->entries[d->used];
    e->key = cell_str(key, len);
    e->value = c;
    if (d->index)
        index_put(d, d->used);
    d->used++;
    d->head.len++;
    return old;
}

struct cell dict_take(struct dict *d, const char *key, size_t len)
{
    struct entry *e = dict_find(d, key, len);
    struct cell taken = {0};

    if (!e)
        return taken;
    taken = e->value;
    if (d->index)
        index_remove(d, (uint32_t)(e - d->entries));
    cell_free(&e->key);
    e->value = (struct cell){0};
    d->head.len--;
    while (d->used && d->entries[d->used - 1].key.kind == CELL_UNSET)
        d->used--;
    if (d->cap > INDEX_FROM && d->head.len < d->cap / 4)
        dict_resize(d, d->cap / 2);
    else if (d->used > 8 && d->head.len < d->used / 2)
        dict_resize(d, d->cap);
    return taken;
}

bool dict_next(const struct dict *d, size_t *it, const char **key, size_t *len, struct cell **c)
{
    while (*it < d->used) {
        struct entry *e = &d->entries[(*it)++];
        if (cell_get_str(&e->key, key, len) == 0) {
            *c = &e->value;
            return true;
        }
    }
    return false;
}

bool dict_last(const struct dict *d, const char **key, size_t *len, struct cell **c)
{
    if (!d->used)
        return false;
    *c = &d->entries[d->used - 1].value;
    return cell_get_str(&d->entries[d->used - 1].key, key, len) == 0;
}

static bool dict_walk(const struct container *c, struct element *e)
{
    return dict_next((const struct dict *)c, &e->next, &e->key, &e->key_len, &e->cell);
}

static void dict_add(struct container *c, const struct element *e)
{
    struct cell old = dict_put((struct dict *)c, e->key, e->key_len, *e->cell);

    cell_free(&old);
}

static bool dict_has(const struct container *c, const struct element *e)
{
    return dict_find((const struct dict *)c, e->key, e->key_len) != NULL;
}

const struct container_kind dict_kind = {
    .name = "dict",
    .wire = ITEM_MAP,
    .by = BY_KEY,
    .put = EFFECT_FIELD_SET,
    .fresh = dict_fresh,
    .empty = dict_empty,
    .fill = dict_fill,
    .reserve = dict_reserve,
    .next = dict_walk,
    .add = dict_add,
    .has = dict_has,
};
