/* tree_private: what cell.c, list.c, dict.c and record.c share among themselves. */
#ifndef RAPYER_PROTOCOL_TREE_PRIVATE_H
#define RAPYER_PROTOCOL_TREE_PRIVATE_H

#include "protocol/tree.h"

/* What a dict's node does, for kinds that are made of one. */
struct container *dict_fresh(void);
void dict_empty(struct container *c);
void dict_shed(struct container *c, size_t n);
void dict_fill(struct container *c, const struct container *from);
void dict_reserve(struct container *c, size_t n);
void dict_restore(struct container *c, const char *key, size_t len, struct cell old);

/* The seeded hash of keys and pks. */
uint64_t tree_hash(const char *s, size_t len);

/* Grows whenever a record is moved to another address by record_widen. A list's index of
 * records is good only for the number it was built at. */
extern _Atomic unsigned tree_moves;

/* A record with nothing in it, not even containers. */
struct record *record_bare(const struct model *m);

/* The capacity to grow to when one more is wanted: 4, then half as much again. */
static inline uint32_t tree_grown(uint32_t cap)
{
    return cap < 4 ? 4 : cap + cap / 2;
}

#endif
