/* clean_slots: removes the keys of an index that was dropped, in a cluster, where each slot has its
 * own.
 *
 *   listed (lister.h) ──► a guard in the slot of each ──► is it still none, and the lease ours?
 *        ▲                                                              │
 *        └──────────── removed, in slots where the guard is yet ◄───────┘
 *
 * The declarations are in another slot than the keys, so no transaction can look at the one and
 * remove the other. The guard is a key that ends by itself, sooner than the lease that is renewed
 * behind it. Whoever builds an index that was declared anew has that lease first; by then the guard
 * is over, and what of a removal may still be on its way removes nothing.
 */
#ifndef RAPYERD_CLEAN_SLOTS_H
#define RAPYERD_CLEAN_SLOTS_H

#include "daemon/exec/exec.h"
#include "daemon/methods/lister.h"
#include "daemon/methods/scatter.h"

struct clean_slots;

struct clean_of {
    const char *name;       /* in the hash of states: "Model/path=" */
    bool last;              /* its model has no other: what all of them share goes as well */
    bool path;              /* another one at this path stays, with which it shares a set */
    const char *lease, *id; /* the key of the lease, and what is in it if it is ours; */
    const char *lease_ms;   /* for how long */
};

/* DONE: all are removed, and its state is. OTHERS: the declarations are others by now, or the lease
 * is. LATER: why; what is asked again goes on where it was. */
enum clean_end { CLEAN_DONE, CLEAN_OTHERS, CLEAN_LATER };

struct clean_slots *clean_slots_new(struct exec *e, struct lister *l, struct scatter *s);
void clean_slots_free(struct clean_slots *c);
/* One at a time; what `of` points to stays until done(). */
void clean_slots_ask(struct clean_slots *c, const struct clean_of *of,
                     void (*done)(void *arg, enum clean_end end, const char *why), void *arg);

#endif
