/* lease_call: what leases ask of Redis: the operations of lease.lua, on many locks in one request.
 *
 *   lease_calls_request, again, ... lease_calls_flush ──► EVALSHA ──► an answer for each
 *
 * In a cluster a request is of the locks of one slot, and goes to whoever has it. The script is
 * sent with its text until Redis has said that it keeps it, and again when it does not. Knows
 * nothing of what leases are for; the words are explained in lease.lua.
 */
#ifndef RAPYERD_LEASE_CALL_H
#define RAPYERD_LEASE_CALL_H

#include "daemon/base/config.h"
#include "daemon/locks/locks.h"
#include "daemon/redis/bus.h"
#include "daemon/redis/names.h"
#include "daemon/redis/router.h"

#define LEASE_ELSEWHERE_MAX 8

struct lease_calls;

enum lease_op {
    LEASE_NOTHING,
    LEASE_TAKE,
    LEASE_TRY,
    LEASE_KEEP,
    LEASE_DROP,
    LEASE_SHARE,
    LEASE_LEAVE,
    LEASE_BREAK
};

struct lease_request {
    enum lease_op op;
    enum lock_mode mode;   /* what is wanted */
    enum lock_mode have;   /* the lease that is counted on, LOCK_NONE: */
    int64_t fence, expiry; /* none, and these are 0 */
    int64_t last;          /* the highest fence given on it */
    void *whose;           /* handed back */
    /* Filled in when it is sent: */
    int64_t sent;   /* by clock_boot_ms() */
    int64_t length; /* ms, of a lease that is given */
};

enum lease_kind {
    LEASE_UNKNOWN, /* the link was lost: whether it was done is not known */
    LEASE_UNDONE,  /* it was not: another node has the slot, or it is on the move */
    LEASE_HELD,
    LEASE_QUEUED,
    LEASE_LOST,
    LEASE_FREE,
    LEASE_BROKE,
    LEASE_ERROR
};

struct lease_answer {
    enum lease_kind kind;
    enum lock_mode mode, wanted;          /* HELD */
    int64_t fence, expiry, first;         /* HELD */
    int64_t ms;                           /* QUEUED */
    const char *ids[LEASE_ELSEWHERE_MAX]; /* QUEUED, LOST: who has it */
    size_t nids;
    int64_t count;    /* BROKE */
    const char *text; /* ERROR */
};

typedef void lease_answer_fn(void *arg, const struct lease_request *request,
                             const struct lease_answer *a);

struct lease_calls *lease_calls_new(const struct config *config, const char *id,
                                    struct router *router, const struct names *names,
                                    const struct bus *bus, lease_answer_fn *fn, void *arg);
/* What is not answered yet stays untold; the link may tell it later. */
void lease_calls_free(struct lease_calls *lc);
/* One more operation; it goes out with the next flush, or when many are together. slot: of the
 * lock. */
void lease_calls_request(struct lease_calls *lc, uint16_t slot, const struct lease_request *request,
                         const struct lock_name *name);
void lease_calls_flush(struct lease_calls *lc);
/* No cluster: another connection, perhaps to another server. */
void lease_calls_link_up(struct lease_calls *lc);
bool lease_calls_idle(const struct lease_calls *lc); /* all are answered */
/* Fences given from now on are above this one. */
void lease_calls_floor(struct lease_calls *lc, int64_t fence);
int64_t lease_calls_floor_now(const struct lease_calls *lc);

/* Appends "<prefix>:@<kind>:{<key>}/<path>!<action>": in the slot of the document. */
void lease_key(const struct names *names, const char *kind, const struct lock_name *n,
               struct buf *out);
/* x, s: of answers and messages. */
enum lock_mode lease_mode(const char *word);

#endif
