/* ghosts: which keys were evicted lately; by their hashes, so that one is taken for another once in
 * 2^30 times. */
#ifndef RAPYERD_GHOSTS_H
#define RAPYERD_GHOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: none. */
struct ghosts {
    struct ghost *slots;
    size_t n;      /* slots, a power of two */
    uint32_t turn; /* how many were added */
};

/* One more; `last` is how many of them are of interest. Where there is room for far fewer, all are
 * forgotten and there is room for so many. */
void ghosts_add(struct ghosts *g, uint64_t hash, size_t last);
/* Whether it is among the last ones; it is forgotten. */
bool ghosts_take(struct ghosts *g, uint64_t hash, size_t last);
void ghosts_clear(struct ghosts *g);

#endif
