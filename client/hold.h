/* hold: a lock that was taken, as the handles under it share it.
 *
 *   rapyer_lock ──► handle ─┬─ rapyer_at, rapyer_begin, rapyer_join ──► handles
 *                           └──────────────► hold ◄────────────────────┘
 *                                             │ token, good on one connection only
 *                       HELD ──► RELEASING ──► RELEASED
 *                        ├──────────┘ refused: back to HELD
 *                        └──► LOST   from then on every use is refused here
 *
 * The last of them that is freed lets go of the lock, if nobody has released it.
 */
#ifndef RAPYER_CLIENT_HOLD_H
#define RAPYER_CLIENT_HOLD_H

#include "client/db.h"

enum hold_state { HOLD_HELD, HOLD_RELEASING, HOLD_RELEASED, HOLD_LOST };

struct hold {
    unsigned refs;    /* of handles, gathered operations, and requests on their way */
    unsigned flights; /* writes under it on their way: a release would overtake them */
    rapyer *db;
    enum hold_state state;
    bool let_go; /* the daemon has nothing of the token left to free */
    uint64_t connection;
    unsigned forks; /* db_forks() when it was taken */
    int64_t token;
    rapyer_value *answer; /* of lock.acquire */
    struct fault why;     /* LOST */
    char name[];          /* for texts: 'transfer' of User:1 */
};

/* Of the answer to lock.acquire, which it takes; connection: the one that this came over. NULL:
 * error with db, and what may have been granted is released. */
struct hold *hold_new(rapyer *db, const char *key, const char *path, size_t path_len,
                      const char *action, rapyer_value *answer, uint64_t connection);
struct hold *hold_ref(struct hold *h); /* NULL is fine, in all of these */
void hold_unref(struct hold *h);

/* 0: it is held as far as is known here; -1: the error is with its connection. */
int hold_check(struct hold *h);
/* Whether it can be released now: BUSY while writes under it are on their way. */
int hold_check_release(struct hold *h);
/* Something under it failed: it may have been LOCK_LOST. */
void hold_failed(struct hold *h, const struct fault *f);
/* The answer to its release, alone or with others. f NULL: released; else why not. */
void hold_settle(struct hold *h, const struct fault *f, bool alone);

/* Whether this call is one that goes as a pipeline of one, with the lock. */
bool hold_wraps(const struct hold *h, const char *method, bool writes);
void hold_wrap(const struct hold *h, const char *method, uint32_t nparams, const struct buf *params,
               struct buf *out);
/* The result, and the error, of the only operation in there. */
void hold_unwrap(rapyer_value *v);
void hold_unwrap_fault(struct fault *f);
/* As request_wait, under the lock. */
rapyer_value *hold_request(struct hold *h, rapyer *db, const char *method, bool writes,
                           uint32_t nparams, const struct buf *params);

/* Sends the release of a token, and does not wait; nothing when that connection is gone. */
void token_release(rapyer *db, int64_t token, uint64_t connection);

#endif
