/* arena: see arena.h. */
#include "daemon/base/arena.h"
#include "protocol/alloc.h"
#include <stdbool.h>
#include <stdlib.h>

#define BLOCK 16384

void *arena_more(struct arena *a, size_t n)
{
    size_t size = n > BLOCK ? n : BLOCK;
    struct arena_block *b = alloc_bytes(sizeof(*b) + size);
    b->size = size;
    b->used = n;
    b->next = a->blocks;
    a->blocks = b;
    return b->data;
}

static void shrink(struct arena *a, bool keep_one)
{
    while (a->blocks != NULL &&
           !(keep_one && a->blocks->next == NULL && a->blocks->size == BLOCK)) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    if (a->blocks != NULL)
        a->blocks->used = 0;
}

void arena_empty(struct arena *a)
{
    shrink(a, true);
}

void arena_free(struct arena *a)
{
    shrink(a, false);
}
