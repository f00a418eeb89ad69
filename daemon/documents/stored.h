/* stored: what each kind of container is in Redis, and how it is read from there.
 *
 *   list<T>   LRANGE, as many elements as one likes
 *   dict<T>   HGETALL, or page by page with HSCAN
 */
#ifndef RAPYERD_STORED_H
#define RAPYERD_STORED_H

#include "protocol/container.h"

struct stored {
    const char *type;   /* as Redis calls it */
    const char *length; /* the command that counts its elements */
    const char *range;  /* the command that reads from one index to another; NULL: */
    const char *all;    /*   the one that reads all of it, */
    const char *scan;   /*   and the one that reads a page */
    unsigned stride;    /* strings for each element, in what those answer: */
    unsigned value;     /*   where the element is, */
    int key;            /*   and where its key is; -1: it has none */
};
extern const struct stored *const stored_kinds[TYPE_COUNT];

static inline const struct stored *stored_of(const struct type *t)
{
    return stored_kinds[t->kind];
}

#endif
