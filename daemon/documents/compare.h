/* compare: whether two trees of one document hold the same, as far as both have it.
 *
 * The other tree is read for this; what of it is missing is told, so that it can be read, too. So
 * whoever compares does it again until nothing is missing.
 */
#ifndef RAPYERD_COMPARE_H
#define RAPYERD_COMPARE_H

#include "daemon/documents/loader.h"

struct comparison {
    size_t budget; /* elements that are looked at; containers beyond it only for their length */
    struct missing *missing; /* of `other`; suffixes and array are the caller's to free */
    unsigned nmissing, cap;
    struct buf at; /* where they differ: the suffix of the Redis key, and the field's name */
};

/* Of documents that are there, with the same model. False: c->at says where; nothing is missing
 * then that matters. */
bool compare_documents(struct comparison *c, const struct doc *one, struct doc *other);
/* What is missing, and `at`. */
void comparison_clear(struct comparison *c);

#endif
