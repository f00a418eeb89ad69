/* arena: see arena.h. */
#include "daemon/base/arena.h"
#include "protocol/alloc.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 16384

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    max_align_t data[];
};

void *arena_take(struct arena *a, size_t n)
{
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct arena_block *b = a->blocks;
    if (b == NULL || b->size - b->used < n) {
        size_t size = n > BLOCK ? n : BLOCK;
        b = alloc_bytes(sizeof(*b) + size);
        b->size = size;
        b->used = 0;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = (char *)b->data + b->used;
    b->used += n;
    return p;
}

void *arena_zero(struct arena *a, size_t n)
{
    return memset(arena_take(a, n), 0, n);
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
