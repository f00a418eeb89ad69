/* table: see table.h. On average a bucket has one entry. */
#include "protocol/table.h"
#include "protocol/alloc.h"

#define BUCKETS_MIN 16

static void split(struct table *t)
{
    if (t->n == t->cap) {
        t->cap *= 2;
        t->buckets = alloc_resized(t->buckets, t->cap, sizeof *t->buckets);
    }
    struct table_entry **from = &t->buckets[table_parent(t->n)], **to = &t->buckets[t->n++];
    *to = NULL;
    while (*from) {
        struct table_entry *e = *from;
        if (&t->buckets[table_bucket(e->hash, t->n)] != to) {
            from = &e->next;
            continue;
        }
        *from = e->next;
        e->next = *to;
        *to = e;
    }
}

static void join(struct table *t)
{
    struct table_entry *moved = t->buckets[--t->n], **end = &t->buckets[table_parent(t->n)];
    while (*end)
        end = &(*end)->next;
    *end = moved;
    if (t->n * 4 > t->cap)
        return;
    t->cap /= 2;
    t->buckets = alloc_resized(t->buckets, t->cap, sizeof *t->buckets);
}

void table_add(struct table *t, struct table_entry *e, uint64_t hash)
{
    if (!t->buckets) {
        t->n = t->cap = BUCKETS_MIN;
        t->buckets = alloc_zeroed(t->cap, sizeof *t->buckets);
    }
    struct table_entry **at = &t->buckets[table_bucket(hash, t->n)];
    *e = (struct table_entry){*at, hash};
    *at = e;
    if (++t->count > t->n)
        split(t);
}

struct table_entry *table_find(const struct table *t, uint64_t hash)
{
    struct table_entry *e = t->n ? t->buckets[table_bucket(hash, t->n)] : NULL;
    while (e && e->hash != hash)
        e = e->next;
    return e;
}

struct table_entry *table_again(const struct table_entry *e)
{
    uint64_t hash = e->hash;
    do
        e = e->next;
    while (e && e->hash != hash);
    return (struct table_entry *)e;
}

void table_remove(struct table *t, struct table_entry *e)
{
    struct table_entry **at = &t->buckets[table_bucket(e->hash, t->n)];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    t->count--;
    for (int i = 0; i < 2 && t->n > BUCKETS_MIN && t->count < t->n / 2; i++)
        join(t);
}

void table_empty(struct table *t)
{
    if (t->n > BUCKETS_MIN)
        table_clear(t);
    else if (t->count > 0)
        memset(t->buckets, 0, t->n * sizeof *t->buckets);
    t->count = 0;
}

void table_clear(struct table *t)
{
    free(t->buckets);
    *t = (struct table){0};
}
