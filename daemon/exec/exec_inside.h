/* exec_inside: what exec.c and call.c share, and nobody else: the executor itself, and how it looks
 * at its calls. */
#ifndef RAPYERD_EXEC_INSIDE_H
#define RAPYERD_EXEC_INSIDE_H

#include "daemon/exec/exec.h"
#include <stdlib.h>

struct exec {
    const struct config *config;
    struct schema *schema;
    struct cache *cache;
    struct lane *lane;
    struct loader *loader;
    struct event *tick;
    struct doc **runnable; /* documents whose queue is to be looked at */
    unsigned nrunnable, runnable_cap;
    bool running;
    uint64_t marks;       /* given out */
    uint32_t good_epoch;  /* of the link when it was last up */
    int64_t lost_at;      /* when it was lost, clock_boot_ms(); 0: it is up, or never was */
    int64_t ticks[2];     /* the same of the last two ticks */
    struct task *waiting; /* queued requests, oldest first (utlist) */
    struct task *again;   /* those of the settled batch that have to be done again, in order */
    uint64_t nagain;      /* how often that was so */
    struct task *spare;   /* for the next ones (utlist) */
    unsigned ntasks, nspare;
    size_t waiting_bytes; /* that the queued ones take */
    size_t kept_bytes;    /* answers that wait for a commit */
    struct buf scratch;   /* the answer of the request that runs */
    struct buf raw;       /* the value that an effect tells */
    struct exec_callbacks cb;
    void *arg;
    uint64_t stamp; /* leases that came to this daemon, and 1 */
    void (*on_lost_lease)(void *arg, struct lock *l, int64_t fence);
    void *lost_arg;
    struct lock_requests *lock_requests;
};

/* Before a run: what the one before left. */
void call_reset(struct call *c);
/* At its end. */
void call_clear(struct call *c);
/* Leaves what the request itself says: docs() comes next. */
void call_begin_again(struct call *c);
/* Nothing may be said of the document before Redis was asked. */
bool call_unfresh(const struct call *c, const struct doc *d);
/* Whether the call may be given the document as it was when the link was lost: fresh then, and
 * with nothing of it on the way to Redis. */
bool call_may_be_stale(struct call *c, const struct doc *d);
/* At the end of a run that waits for this batch, as it changed or saw what that changes: what the
 * call has to do with is of one unit, which tells whether it happens. */
void call_ride(struct call *c, const struct batch *batch);
/* UNAVAILABLE: so many bytes of answers wait already. */
int call_full(struct call *c, size_t bytes);

#endif
