/* guard: what must hold in Redis at the moment in which a change is applied there.
 *
 *   lease    our lease on a lock is still there, and has not run out (a change made under a lock)
 *   version  the document has this version (if_version)
 *
 * A change with a guard goes into its batch as a unit (batch.h): a script that looks at all of its
 * guard's checks and then applies all of the change, or nothing. The documents that it changes are
 * sealed until that is decided: whoever comes without the same guard waits, so that nobody builds
 * upon a change that may not happen.
 *
 * Counted: the call and the units that have it keep it, and it keeps its locks pinned, so that no
 * lease is given up while a change under it is on its way.
 */
#ifndef RAPYERD_GUARD_H
#define RAPYERD_GUARD_H

#include "protocol/fault.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct doc;
struct lock;

enum guard_kind { GUARD_LEASE, GUARD_VERSION };

struct guard_check {
    enum guard_kind kind;
    char *key; /* in Redis: the lease, or the document's root hash */
    size_t key_len;
    int64_t number;    /* the lease's fence; the version, 0: there must be no document */
    uint64_t token;    /* LEASE: the hold it was made for */
    struct lock *lock; /* LEASE: pinned */
    char *name;        /* VERSION: the document's key */
    struct doc *doc;   /* VERSION: while its call is not carried out */
};

struct guard {
    unsigned refs;
    unsigned n;
    bool own; /* of one call only: VERSION is among the checks, or its values have to be unique */
    struct guard_check *checks;
};

struct guard *guard_new(void); /* without checks; one reference */
struct guard *guard_ref(struct guard *g);
void guard_unref(struct guard *g); /* NULL is fine */
/* The check's key and name are copied, its lock is pinned. */
void guard_add(struct guard *g, const struct guard_check *check);
/* Whether both hold and fail together: one and the same, or both of the same leases only. NULL is
 * no guard. */
bool guard_same(const struct guard *a, const struct guard *b);
/* Fills in what to say when check i did not hold; `found`: the version that is there instead, -1
 * when it is not known. Returns -1. */
int guard_refusal(const struct guard *g, unsigned i, int64_t found, struct fault *f);

#endif
