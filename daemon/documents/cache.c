/* cache: see cache.h. */
#include "daemon/documents/cache.h"
#include "daemon/base/hash.h"
#include "daemon/documents/ghosts.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/stale.h"
#include "daemon/redis/router.h"
#include "daemon/shared/shelf.h"
#include "protocol/reclaim.h"
#include <stdlib.h>
#include <utlist.h>

#define SMALL_SHARE 10 /* one part in so many is for what is new */
#define USES_MAX 3
#define PROVEN 1       /* uses, beside the first one, that let it into main */
#define LOOKS_MAX 1000 /* in one trim: the next one goes on */
#define VAIN_MAX 16    /* at documents that have to stay: a request may use all of a row */

struct row {
    struct cache *cache;
    struct doc *docs; /* utlist; the tail is the next to go */
    size_t n, bytes;
};

struct cache {
    const struct router *router; /* NULL: no cluster */
    const struct names *names;
    struct table by_key;
    struct row small, main, absent, big;
    struct ghosts ghosts;
    size_t memory, absent_max;
    unsigned looked, vain;     /* in this trim */
    const struct doc *growing; /* the last one that grew; of interest while it is not idle */
    int64_t told;              /* bytes that documents were told to be theirs, all in all */
    uint64_t hits, misses, evictions;
};

/* ---- rows ---- */

static size_t size_of(const struct doc *d)
{
    return sizeof(*d) + d->key_len + d->bytes;
}

static void join(struct row *row, struct doc *d)
{
    DL_PREPEND(row->docs, d);
    d->row = row;
    row->n++;
    row->bytes += size_of(d);
    d->uses = 0;
}

static void leave(struct doc *d)
{
    DL_DELETE(d->row->docs, d);
    d->row->n--;
    d->row->bytes -= size_of(d);
}

static void move(struct row *to, struct doc *d)
{
    leave(d);
    join(to, d);
}

static struct doc *last_of(const struct row *row)
{
    return row->docs != NULL ? row->docs->prev : NULL;
}

static void to_front(struct doc *d)
{
    DL_DELETE(d->row->docs, d);
    DL_PREPEND(d->row->docs, d);
}

static void set_bytes(struct doc *d, size_t bytes)
{
    if (bytes == d->bytes || d->row == NULL)
        return;
    d->row->cache->told += (int64_t)bytes - (int64_t)d->bytes;
    d->row->bytes += bytes - d->bytes;
    d->bytes = bytes;
}

/* ---- the cache ---- */

struct cache *cache_new(size_t memory, size_t absent)
{
    struct cache *c = tree_alloc(sizeof(*c));
    c->small.cache = c->main.cache = c->absent.cache = c->big.cache = c;
    cache_bound(c, memory, absent);
    return c;
}

struct doc *doc_alone(const struct model *model, const char *key, size_t len)
{
    struct doc *d = tree_alloc(sizeof(*d) + len + 1);
    d->model = model;
    d->key_len = (uint16_t)len;
    d->model_len = (uint16_t)strlen(model->name);
    memcpy(d->key, key, len);
    return d;
}

void doc_alone_free(struct doc *d)
{
    shelf_take(&d->shown);
    record_free(d->root);
    stale_free(d->stale);
    stale_free(d->suspects);
    free(d->wrong);
    tree_free(d);
}

static void drop(struct cache *c, struct doc *d)
{
    table_remove(&c->by_key, &d->entry);
    set_bytes(d, 0);
    leave(d);
    if (c->growing == d)
        c->growing = NULL;
    doc_alone_free(d);
}

void cache_free(struct cache *c)
{
    struct row *const rows[] = {&c->small, &c->main, &c->absent, &c->big};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        while (rows[i]->docs != NULL)
            drop(c, rows[i]->docs);
    }
    ghosts_clear(&c->ghosts);
    table_clear(&c->by_key);
    tree_free(c);
}

void cache_bound(struct cache *c, size_t memory, size_t absent)
{
    c->memory = memory;
    c->absent_max = absent;
}

static struct doc *find(const struct cache *c, const char *key, size_t len, uint64_t hash)
{
    struct doc *d = (struct doc *)table_find(&c->by_key, hash);
    while (d != NULL && (d->key_len != len || memcmp(d->key, key, len) != 0))
        d = (struct doc *)table_again(&d->entry);
    return d;
}

struct doc *cache_find(struct cache *c, const char *key, size_t len)
{
    return find(c, key, len, hash_of(key, len));
}

void cache_route(struct cache *c, const struct router *router, const struct names *names)
{
    c->router = router_is_cluster(router) ? router : NULL;
    c->names = names;
}

static void find_slot(const struct cache *c, struct doc *d)
{
    struct buf root = BUF_INIT;
    layout_key(&root, c->names, d->key, d->key_len, "", 0);
    d->slot = router_slot(c->router, (char *)root.data, root.len);
    buf_free(&root);
}

struct doc *cache_doc(struct cache *c, const struct model *model, const char *key, size_t len)
{
    uint64_t hash = hash_of(key, len);
    struct doc *d = find(c, key, len, hash);
    if (d != NULL)
        return d;
    d = doc_alone(model, key, len);
    if (c->router != NULL)
        find_slot(c, d);
    table_add(&c->by_key, &d->entry, hash);
    join(ghosts_take(&c->ghosts, hash, c->main.n) ? &c->main : &c->small, d);
    return d;
}

void cache_use(struct doc *d)
{
    d->asked_for += d->asked_for < UINT32_MAX;
    if (d->uses < USES_MAX)
        d->uses++;
}

#define LOOKS 64 /* at buckets: of those half are empty, or more where much was evicted */

struct doc *cache_any(const struct cache *c, uint64_t number)
{
    const struct table *t = &c->by_key;
    struct table_entry *e = NULL;
    for (unsigned i = 0; i < LOOKS && e == NULL && t->n > 0; i++)
        e = t->buckets[(number + i) % t->n];
    for (number >>= 32; e != NULL && e->next != NULL && number % 2 == 1; number /= 2)
        e = e->next; /* of several in a bucket any may be it */
    return (struct doc *)e;
}

void doc_forget(struct doc *d)
{
    shelf_take(&d->shown);
    if (d->held) {
        d->spoilt = true;
        return;
    }
    set_bytes(d, 0);
    record_free(d->root);
    d->root = NULL;
    d->state = DOC_UNKNOWN;
    d->expires = 0;
    d->unshowable = d->corrupt = d->condemned = false;
    free(d->wrong);
    d->wrong = NULL;
    d->stump = 0;
}

/* ---- what documents take ---- */

struct weighing cache_weigh(const struct cache *c)
{
    return (struct weighing){.memory = tree_memory(), .told = c->told};
}

static void grow(struct cache *c, struct doc *d, int64_t by)
{
    if (d->row == NULL) /* it is in no cache */
        return;
    set_bytes(d, by >= 0 || d->bytes > (size_t)-by ? (size_t)((int64_t)d->bytes + by) : 0);
    if (by > 0)
        c->growing = d;
    if (d->bytes > c->memory / 2 && d->row != &c->big)
        move(&c->big, d);
}

void cache_weighed(struct cache *c, struct weighing before, struct doc *const *docs, unsigned n)
{
    int64_t more = (int64_t)(tree_memory() - before.memory) - (c->told - before.told);
    if (more == 0)
        return;
    for (unsigned i = 0; i < n; i++)
        grow(c, docs[i], more / n);
}

/* ---- which ones go ---- */

static bool idle(const struct doc *d)
{
    return d->queue == NULL && !d->loading && !d->runnable && !doc_dirty(d) && d->pins == 0;
}

static void evict(struct cache *c, struct doc *d)
{
    drop(c, d);
    c->evictions++;
}

/* Where it belongs, which may have changed since it came to its row. */
static struct row *row_for(struct cache *c, const struct doc *d)
{
    if (d->state == DOC_ABSENT)
        return &c->absent;
    if (d->bytes > c->memory / 2)
        return &c->big;
    if (d->row == &c->absent)
        return &c->small;
    return d->row == &c->big ? &c->main : d->row;
}

/* The last one of a row that may go is looked at; NULL: it stays, or has moved. */
static struct doc *candidate(struct cache *c, struct row *row)
{
    struct doc *d = last_of(row);
    c->looked++;
    if (row_for(c, d) != row) {
        move(row_for(c, d), d);
        return NULL;
    }
    if (idle(d))
        return d;
    to_front(d);
    c->vain++;
    return NULL;
}

static void look_at_small(struct cache *c)
{
    struct doc *d = candidate(c, &c->small);
    if (d == NULL)
        return;
    if (d->uses > PROVEN) {
        move(&c->main, d);
        return;
    }
    ghosts_add(&c->ghosts, d->entry.hash, c->main.n);
    evict(c, d);
}

/* Whoever looks for it next reads it again. */
static void unload(struct cell *cell)
{
    struct container *cold = cell->container;
    cell->container = container_new(cold->type);
    container_unload(cell->container, cold->len);
    container_free(cold);
}

static void unload_cold(struct record *r)
{
    for (uint32_t i = 0; i < r->nslots; i++) {
        struct cell *c = &r->slots[i];
        if (c->kind == CELL_RECORD)
            unload_cold(c->record);
        if (c->kind != CELL_CONTAINER ||
            !(container_loaded(c->container) || c->container->picked != NULL))
            continue;
        if (c->container->len > 0 && !c->container->used)
            unload(c);
        else
            c->container->used = false;
    }
}

static void go_around(struct cache *c, struct doc *d)
{
    struct weighing before = cache_weigh(c);
    if (d->state == DOC_PRESENT)
        unload_cold(d->root);
    cache_weighed(c, before, &d, 1);
    d->uses--;
    to_front(d);
}

static void look_at_main(struct cache *c)
{
    struct doc *d = candidate(c, &c->main);
    if (d == NULL)
        return;
    if (d->uses == 0)
        evict(c, d);
    else
        go_around(c, d);
}

static void look_at_one(struct cache *c)
{
    size_t all = c->small.bytes + c->main.bytes;
    bool small = c->small.bytes > all / SMALL_SHARE || c->main.n == 0;
    if (small && c->small.n > 0)
        look_at_small(c);
    else
        look_at_main(c);
}

static void look_at_row(struct cache *c, struct row *row)
{
    struct doc *d = candidate(c, row);
    if (d != NULL)
        evict(c, d);
}

/* What is being read does not push out others before it is known how long it is. */
static size_t beside(const struct cache *c)
{
    const struct doc *d = c->growing;
    return c->big.bytes + (d != NULL && d->row != &c->big && !idle(d) ? d->bytes : 0);
}

static bool looks_on(const struct cache *c)
{
    return c->looked < LOOKS_MAX && c->vain < VAIN_MAX;
}

void cache_trim(struct cache *c)
{
    c->looked = c->vain = 0;
    size_t big = c->big.n, absent_share = c->memory / SMALL_SHARE;
    while ((c->absent.n > c->absent_max || c->absent.bytes > absent_share) && looks_on(c))
        look_at_row(c, &c->absent);
    c->looked = c->vain = 0;
    /* What waits to be freed counts still: what is enough shows when it is gone. */
    for (; tree_memory() > c->memory && !reclaim_waiting() && big > 0; big--)
        look_at_row(c, &c->big);
    while (tree_memory() > c->memory + beside(c) && !reclaim_waiting() &&
           c->small.n + c->main.n > 0 && looks_on(c))
        look_at_one(c);
}

void cache_release(struct cache *c, struct doc *d)
{
    if (d->state == DOC_UNKNOWN && idle(d))
        drop(c, d);
    else if (row_for(c, d) != d->row)
        move(row_for(c, d), d);
}

/* ---- figures ---- */

size_t cache_each(const struct cache *c, size_t most, void (*visit)(const struct doc *d, void *arg),
                  void *arg)
{
    const struct row *rows[] = {&c->big, &c->main, &c->small};
    const struct doc *d;
    size_t n = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        DL_FOREACH (rows[i]->docs, d) {
            if (n++ == most)
                return most;
            visit(d, arg);
        }
    }
    return n;
}

void cache_stats(const struct cache *c, struct cache_stats *out)
{
    *out = (struct cache_stats){.documents = c->by_key.count,
                                .absent = c->absent.n,
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
