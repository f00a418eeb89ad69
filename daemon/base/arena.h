/* arena: memory that is taken piece by piece and given back as a whole.
 *
 * For what lives and dies together: the parts of a batch, the objects of a reply. Never gives NULL
 * (alloc.h). A zeroed struct is an empty arena.
 */
#ifndef RAPYERD_ARENA_H
#define RAPYERD_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* the one in use first; the last one is kept by arena_empty */
};

/* Aligned for anything, not cleared. Valid until the arena is emptied. */
void *arena_take(struct arena *a, size_t n);
void *arena_zero(struct arena *a, size_t n); /* cleared */
/* All that was taken is gone; one block stays, so that a small next use allocates nothing. */
void arena_empty(struct arena *a);
void arena_free(struct arena *a);

#endif
