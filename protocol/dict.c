/* dict: the entries of a dict<T> field, by key and in order of insertion.
 *
 *   entries   | e0 | e1 | hole | e3 | free ... |       used = 4, len = 3
 *   buckets   bucket of a key's hash -> position + 1 of the last entry in it, from INDEX_FROM
 *             entries on; each entry knows the one before it in its bucket
 *
 * An entry taken out leaves a hole, so that order and positions stay. When there are many the
 * entries are packed, and no call pays for all of it: each moves a few, as the buckets grow one
 * by one (table.h).
 *
 *   packing   | e0 | e1 | e3 | hole ... hole | e7 | hole | e9 | free ... |
 *                       to ^            from ^               used ^
 *
 * The last place in use is never a hole. Hashes are seeded: keys come from clients, who must not be
 * able to choose them so that all collide.
 */
#include "protocol/table.h"
#include "protocol/tree_private.h"
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define INDEX_FROM 16
#define PACK_STEP 16 /* places that a call looks at */

struct entry {
    struct cell key; /* a str; CELL_UNSET: a hole */
    struct cell value;
};

struct index {
    uint32_t *before; /* of each entry: position + 1 of the next one in its bucket, 0: none */
    uint32_t *buckets;
    uint32_t n, cap;             /* buckets */
    uint32_t pack_to, pack_from; /* 0: it is not being packed */
};

struct dict {
    struct container head;
    uint32_t used, cap;
    struct entry *entries; /* NULL while empty or unloaded */
    struct index *index;
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

static bool is_hole(const struct entry *e)
{
    return e->key.kind == CELL_UNSET;
}

static uint32_t *bucket(const struct dict *d, const char *key, size_t len)
{
    return &d->index->buckets[table_bucket(tree_hash(key, len), d->index->n)];
}

static uint32_t *bucket_of(const struct dict *d, uint32_t entry)
{
    const char *key = "";
    size_t len = 0;

    (void)cell_get_str(&d->entries[entry].key, &key, &len);
    return bucket(d, key, len);
}

/* Where its position stands: in the bucket, or with the entry that came after it. */
static uint32_t *index_place(const struct dict *d, uint32_t entry)
{
    uint32_t *at = bucket_of(d, entry);

    while (*at != entry + 1)
        at = &d->index->before[*at - 1];
    return at;
}

static void index_split(struct dict *d)
{
    if (d->index->n == d->index->cap) {
        d->index->cap *= 2;
        d->index->buckets =
            tree_realloc(d->index->buckets, d->index->cap * sizeof *d->index->buckets);
    }
    uint32_t fresh = d->index->n++, *from = &d->index->buckets[table_parent(fresh)];
    d->index->buckets[fresh] = 0;
    while (*from) {
        uint32_t entry = *from - 1;
        if (bucket_of(d, entry) != &d->index->buckets[fresh]) {
            from = &d->index->before[entry];
            continue;
        }
        *from = d->index->before[entry];
        d->index->before[entry] = d->index->buckets[fresh];
        d->index->buckets[fresh] = entry + 1;
    }
}

static void index_join(struct dict *d)
{
    uint32_t moved = d->index->buckets[--d->index->n],
             *end = &d->index->buckets[table_parent(d->index->n)];

    while (*end)
        end = &d->index->before[*end - 1];
    *end = moved;
    if (d->index->n > d->index->cap / 4)
        return;
    d->index->cap /= 2;
    d->index->buckets = tree_realloc(d->index->buckets, d->index->cap * sizeof *d->index->buckets);
}

static void index_put(struct dict *d, uint32_t entry)
{
    uint32_t *at = bucket_of(d, entry);

    d->index->before[entry] = *at;
    *at = entry + 1;
}

/* Takes an entry out while its key is still there. */
static void index_remove(struct dict *d, uint32_t entry)
{
    *index_place(d, entry) = d->index->before[entry];
    for (int i = 0; i < 2 && d->index->n > INDEX_FROM && d->head.len < d->index->n / 2; i++)
        index_join(d);
}

static void index_drop(struct dict *d)
{
    if (!d->index)
        return;
    tree_free(d->index->buckets);
    tree_free(d->index->before);
    tree_free(d->index);
    d->index = NULL;
}

/* Anew, for as many entries as the array can hold. */
static void index_build(struct dict *d)
{
    index_drop(d);
    if (d->cap < INDEX_FROM)
        return;
    d->index = tree_alloc(sizeof *d->index);
    d->index->n = d->index->cap = d->cap;
    d->index->buckets = tree_alloc(d->cap * sizeof *d->index->buckets);
    d->index->before = tree_alloc(d->cap * sizeof *d->index->before);
    for (uint32_t i = 0; i < d->used; i++)
        if (!is_hole(&d->entries[i]))
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

void dict_shed(struct container *c, size_t n)
{
    struct dict *d = (struct dict *)c;

    index_drop(d);
    while (n > 0) {
        struct entry *e = &d->entries[--d->used];
        if (e->key.kind == CELL_UNSET)
            continue;
        cell_free(&e->key);
        cell_free(&e->value);
        d->head.len--;
        n--;
    }
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

/* Packs the entries into an array of cap places, all at once: of few. */
static void dict_resize(struct dict *d, uint32_t cap)
{
    uint32_t to = 0;

    for (uint32_t i = 0; d->used != d->head.len && i < d->used; i++)
        if (!is_hole(&d->entries[i]))
            d->entries[to++] = d->entries[i];
    d->used = d->head.len;
    if (cap != d->cap)
        d->entries = tree_realloc(d->entries, cap * sizeof *d->entries);
    d->cap = cap;
    index_build(d);
}

static void trim(struct dict *d)
{
    while (d->used && is_hole(&d->entries[d->used - 1]))
        d->used--;
}

/* Another capacity; all stays where it is. Only where there is an index. */
static void dict_recap(struct dict *d, uint32_t cap)
{
    d->entries = tree_realloc(d->entries, cap * sizeof *d->entries);
    d->index->before = tree_realloc(d->index->before, cap * sizeof *d->index->before);
    d->cap = cap;
}

static void pack_move(struct dict *d, uint32_t from, uint32_t to)
{
    uint32_t *place = index_place(d, from);

    *place = to + 1;
    d->index->before[to] = d->index->before[from];
    d->entries[to] = d->entries[from];
    d->entries[from] = (struct entry){0};
}

/* Goes on with packing, or begins it when there are many holes. Only where there is an index: a
 * small dict is packed at once. */
static void pack_some(struct dict *d)
{
    uint32_t looked = 0;

    if (!d->index->pack_from && d->head.len >= d->used / 2)
        return;
    for (; looked < PACK_STEP && d->index->pack_from < d->used; looked++, d->index->pack_from++) {
        if (is_hole(&d->entries[d->index->pack_from]))
            continue;
        if (d->index->pack_from != d->index->pack_to)
            pack_move(d, d->index->pack_from, d->index->pack_to);
        d->index->pack_to++;
    }
    if (d->index->pack_from < d->used)
        return;
    d->used = d->index->pack_to;
    d->index->pack_to = d->index->pack_from = 0;
    trim(d); /* what was taken out meanwhile */
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
        for (uint32_t at = *bucket(d, key, len); at; at = d->index->before[at - 1])
            if (key_is(&d->entries[at - 1].key, key, len))
                return &d->entries[at - 1];
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
    if (d->used == d->cap && d->index)
        dict_recap(d, tree_grown(d->cap));
    else if (d->used == d->cap)
        dict_resize(d, d->head.len < d->cap - d->cap / 4 ? d->cap : tree_grown(d->cap));
    e = &d->entries[d->used];
    e->key = cell_str(key, len);
    e->value = c;
    d->head.len++;
    d->used++;
    if (d->index) {
        index_put(d, d->used - 1);
        if (d->head.len > d->index->n)
            index_split(d);
        pack_some(d);
    }
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
    trim(d);
    if (d->index && d->cap / 2 >= INDEX_FROM) {
        if (d->index->pack_from > d->used)
            d->index->pack_from = d->used;
        pack_some(d);
        if (d->used < d->cap / 4)
            dict_recap(d, d->cap / 2);
    } else if (d->cap > INDEX_FROM && d->head.len < d->cap / 4) {
        dict_resize(d, d->cap / 2);
    } else if (d->used > 8 && d->head.len < d->used / 2) {
        dict_resize(d, d->cap);
    }
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

void dict_restore(struct container *c, const char *key, size_t len, struct cell old)
{
    struct dict *d = (struct dict *)c;
    struct cell now = old.kind == CELL_UNSET ? dict_take(d, key, len) : dict_put(d, key, len, old);

    cell_free(&now);
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
    .shed = dict_shed,
    .fill = dict_fill,
    .reserve = dict_reserve,
    .next = dict_walk,
    .add = dict_add,
    .has = dict_has,
    .restore = dict_restore,
};
