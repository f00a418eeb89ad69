/* cache: see doc.h. The bound counts all trees and entries of the process. */
#include "daemon/base/hash.h"
#include "daemon/documents/doc.h"
#include "daemon/documents/stale.h"
#include "daemon/shared/shelf.h"
#include "protocol/reclaim.h"
#include <stdlib.h>
#include <utlist.h>

struct cache {
    struct table by_key;
    struct doc *recent; /* utlist; the tail is the next to go */
    size_t memory;
    uint64_t hits, misses, evictions;
};

struct cache *cache_new(size_t memory)
{
    struct cache *c = tree_alloc(sizeof(*c));
    c->memory = memory;
    return c;
}

static void drop(struct cache *c, struct doc *d)
{
    table_remove(&c->by_key, &d->entry);
    DL_DELETE(c->recent, d);
    shelf_take(&d->shown);
    record_free(d->root);
    stale_free(d->stale);
    tree_free(d);
}

void cache_free(struct cache *c)
{
    while (c->recent != NULL)
        drop(c, c->recent);
    table_clear(&c->by_key);
    tree_free(c);
}

void cache_set_memory(struct cache *c, size_t memory)
{
    c->memory = memory;
}

static struct doc *find(const struct cache *c, const char *key, size_t len, uint64_t hash)
{
    struct doc *d = (struct doc *)table_find(&c->by_key, hash);
    while (d != NULL && (d->key_len != len || memcmp(d->key, key, len) != 0))
        d = (struct doc *)table_again(&d->entry);
    return d;
}

static struct doc *move_to_front(struct cache *c, struct doc *d)
{
    if (d != NULL && d != c->recent) {
        DL_DELETE(c->recent, d);
        DL_PREPEND(c->recent, d);
    }
    return d;
}

struct doc *cache_use(struct cache *c, const char *key, size_t len)
{
    return move_to_front(c, find(c, key, len, hash_of(key, len)));
}

struct doc *cache_doc(struct cache *c, const struct model *model, const char *key, size_t len)
{
    uint64_t hash = hash_of(key, len);
    struct doc *d = move_to_front(c, find(c, key, len, hash));
    if (d != NULL)
        return d;
    d = tree_alloc(sizeof(*d) + len + 1);
    d->model = model;
    d->key_len = (uint16_t)len;
    d->model_len = (uint16_t)strlen(model->name);
    memcpy(d->key, key, len);
    table_add(&c->by_key, &d->entry, hash);
    DL_PREPEND(c->recent, d);
    return d;
}

struct doc *cache_find(struct cache *c, const char *key, size_t len)
{
    return find(c, key, len, hash_of(key, len));
}

void doc_forget(struct doc *d)
{
    shelf_take(&d->shown);
    if (d->held) {
        d->spoilt = true;
        return;
    }
    record_free(d->root);
    d->root = NULL;
    d->state = DOC_UNKNOWN;
    d->expires = 0;
    d->unshowable = d->corrupt = false;
    d->stump = 0;
}

static bool idle(const struct doc *d)
{
    return d->queue == NULL && !d->loading && !d->runnable && !doc_dirty(d) && d->pins == 0;
}

void cache_trim(struct cache *c)
{
    unsigned looked = 0;
    struct doc *d = c->recent != NULL ? c->recent->prev : NULL;
    /* What waits to be freed counts still: what is enough shows when it is gone. */
    while (tree_memory() > c->memory && !reclaim_waiting() && d != NULL && d != c->recent &&
           looked++ < 1000) {
        struct doc *prev = d->prev;
        if (idle(d)) {
            drop(c, d);
            c->evictions++;
        }
        d = prev;
    }
}

void cache_release(struct cache *c, struct doc *d)
{
    if (d->state == DOC_UNKNOWN && idle(d))
        drop(c, d);
}

void cache_stats(const struct cache *c, struct cache_stats *out)
{
    *out = (struct cache_stats){.documents = c->by_key.count,
                                .memory = tree_memory(),
                                .limit = c->memory,
                                .hits = c->hits,
                                .misses = c->misses,
                                .evictions = c->evictions};
}

void cache_hit(struct cache *c)
{
    c->hits++;
}

void cache_miss(struct cache *c)
{
    c->misses++;
}
