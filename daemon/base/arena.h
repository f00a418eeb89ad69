/* arena: memory that is taken piece by piece and given back as a whole.
 *
 * For what lives and dies together: the parts of a batch, the objects of a reply. Never gives NULL
 * (alloc.h). A zeroed struct is an empty arena.
 */
#ifndef RAPYERD_ARENA_H
#define RAPYERD_ARENA_H

#include <stddef.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    max_align_t data[];
};

struct arena {
    struct arena_block *blocks; /* the one in use first; the last one is kept by arena_empty */
};

void *arena_more(struct arena *a, size_t n); /* of arena_take, where there is no room */

/* Aligned for anything, not cleared. Valid until the arena is emptied. Here, as it is all that most
 * of what is taken costs. */
static inline void *arena_take(struct arena *a, size_t n)
{
    struct arena_block *b = a->blocks;
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (b == NULL || b->size - b->used < n)
        return arena_more(a, n);
    void *p = (char *)b->data + b->used;
    b->used += n;
    return p;
}

static inline void *arena_zero(struct arena *a, size_t n) /* cleared */
{
    return memset(arena_take(a, n), 0, n);
}

/* All that was taken is gone; one block stays, so that a small next use allocates nothing. */
void arena_empty(struct arena *a);
void arena_free(struct arena *a);

#endif
