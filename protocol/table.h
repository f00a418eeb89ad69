/* table: hash tables that grow step by step (linear hashing), so that no single call pays for all
 * that is in them: a table of a million entries takes a tenth of a second to be hashed anew.
 *
 *   buckets  | 0 | 1 | 2 | 3 | 4 | 5 |      n = 6: those below 2 are split already
 *
 * Any number of buckets will do. One more takes its entries from one other, which is all that
 * moves.
 */
#ifndef RAPYER_PROTOCOL_TABLE_H
#define RAPYER_PROTOCOL_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* The bucket of a hash among n, 1 at least. */
static inline size_t table_bucket(uint64_t hash, size_t n)
{
    size_t all = n <= 1 ? 1 : (size_t)2 << (63 - __builtin_clzll(n - 1)), at = hash & (all - 1);
    return at < n ? at : at & (all / 2 - 1);
}

/* The one that the bucket with the number n takes its entries from, when there are n; n > 0. */
static inline size_t table_parent(size_t n)
{
    return n & ~((size_t)1 << (63 - __builtin_clzll(n)));
}

/* What stands in the table, first in the struct that it is of. */
struct table_entry {
    struct table_entry *next;
    uint64_t hash;
};

/* All zero: empty. The entries are whoever's who puts them in. */
struct table {
    struct table_entry **buckets;
    size_t n, cap, count;
};

void table_add(struct table *t, struct table_entry *e, uint64_t hash);
/* The first entry with this hash, or NULL; then the next one. */
struct table_entry *table_find(const struct table *t, uint64_t hash);
struct table_entry *table_again(const struct table_entry *e);
void table_remove(struct table *t, struct table_entry *e);
/* Forgets all entries; a few buckets stay for the next ones. */
void table_empty(struct table *t);
/* Frees the buckets. */
void table_clear(struct table *t);

#endif
