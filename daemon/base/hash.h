/* hash: uthash with a seeded XXH3, so that clients cannot choose colliding keys. Include this
 * instead of uthash.h. hash_seed is set once at start, before any table exists. */
#ifndef RAPYERD_HASH_H
#define RAPYERD_HASH_H

#include "protocol/alloc.h"
#include <stdint.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

extern uint64_t hash_seed;

static inline uint64_t hash_of(const void *key, size_t len)
{
    return XXH3_64bits_withSeed(key, len, hash_seed);
}

/* The same in each process: of what is given out and comes back, perhaps to another one. */
static inline uint64_t hash_alike(const void *key, size_t len)
{
    return XXH3_64bits(key, len);
}

#define HASH_FUNCTION(key, len, hashv)         \
    do {                                       \
        (hashv) = (unsigned)hash_of(key, len); \
    } while (0)
/* Many tables are short-lived and small: those of a batch. */
#define HASH_INITIAL_NUM_BUCKETS 8U
#define HASH_INITIAL_NUM_BUCKETS_LOG2 3U
#define uthash_malloc(n) alloc_bytes(n)
#include <uthash.h>

#endif
