/* stored: what each kind of container is in Redis, how it is read from there and how changed.
 *
 *   list<T>   a list: LRANGE, as many elements as one likes; has commands of its own for changes
 *   dict<T>   a hash, as the fields of a record: HGETALL, or page by page with HSCAN; HSET, HDEL
 *   set<T>    a set: SMEMBERS, or SSCAN; SADD, SREM
 *   sorted<T> a sorted set: ZRANGE; ZADD, ZREM
 *
 * All kinds but lists have elements with names: what happens to each comes down to one change, so
 * that a batch merges them by name.
 */
#ifndef RAPYERD_STORED_H
#define RAPYERD_STORED_H

#include "protocol/container.h"

/* What the command that sets elements takes for each. */
enum stored_words { NAME_AND_TEXT, NAME_ALONE, TEXT_AND_NAME };

struct stored {
    const char *type;   /* as Redis calls it */
    const char *length; /* the command that counts its elements */

    const char *range;     /* the command that reads from one index to another, */
    const char *range_end; /*   and what stands behind those; NULL: nothing */
    const char *all;       /* where there is no range: the one that reads all of it, */
    const char *scan;      /*   and the one that reads a page */
    unsigned stride;       /* strings for each element, in what those answer: */
    unsigned value;        /*   where the element is, */
    int key, score;        /*   its key and its score; -1: it has none */

    const char *set, *del; /* the commands that set and remove elements; NULL: a list */
    enum stored_words words;
    bool by_value; /* an element's name is what it is; else its key */
};
extern const struct stored stored_hash; /* of records, too */
extern const struct stored *const stored_kinds[TYPE_COUNT];

static inline const struct stored *stored_of(const struct type *t)
{
    return stored_kinds[t->kind];
}

#endif
