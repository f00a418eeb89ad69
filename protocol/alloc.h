/* alloc: memory for what lives as long as the schema. Small, and nothing can go on without it:
 * running out of it ends the process, as in tree_alloc, but it is not counted as the trees'.
 */
#ifndef RAPYER_PROTOCOL_ALLOC_H
#define RAPYER_PROTOCOL_ALLOC_H

#include <stdlib.h>
#include <string.h>

static inline void *alloc_zeroed(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p)
        abort();
    return p;
}

static inline void *alloc_resized(void *p, size_t count, size_t size)
{
    p = reallocarray(p, count ? count : 1, size);
    if (!p)
        abort();
    return p;
}

/* A copy with a NUL behind it. */
static inline void *alloc_copy(const void *from, size_t len)
{
    char *p = alloc_zeroed(len + 1, 1);
    if (len)
        memcpy(p, from, len);
    return p;
}

#endif
