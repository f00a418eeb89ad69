/* locks: who holds and who waits, on this host.
 *
 *   acquire ──► may it be granted? ──yes──► hold ──release, ttl, client gone, break──► next wait
 *                     │ no                   ▲
 *                     └──► wait, in the lock's queue, first come first served
 *
 * A lock is named by (document, path, action); locks of other names never exclude each other.
 * Between hosts it is a lease in Redis (lease.h): a lock grants only what its lease covers, and
 * nothing while it is closing. All else happens here, without Redis, and in no time: a release
 * grants the next wait before it returns.
 *
 * Nobody is told of anything from within the functions below (but for `waiting` and `ended`):
 * `done` and the callbacks come from the loop, later in the same turn of it. So whoever calls
 * them may go on with what he has in his hands, and the callbacks may call everything but
 * locks_free.
 *
 * Knows neither Redis, nor sessions, nor documents. One loop, one thread. Times are milliseconds.
 */
#ifndef RAPYERD_LOCKS_H
#define RAPYERD_LOCKS_H

#include "daemon/base/hash.h"
#include "daemon/base/state.h"
#include "protocol/fault.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>
#include <sys/types.h>

enum lock_mode { LOCK_NONE, LOCK_SHARED, LOCK_EXCLUSIVE };

struct locks;
struct lock_client;

/* The bytes hold no NUL; less than 4 GiB each. */
struct lock_name {
    const char *key, *path, *action;
    size_t key_len, path_len, action_len;
};

/* A client as others are told of it. */
struct lock_who {
    uint64_t client; /* the session's number */
    pid_t pid;
    uid_t uid;
    char program[32];
};

/* The structs below are read by lease*.c, probe.c and the methods; locks.c and lock_notify.c alone
 * write them, except where it says otherwise. */

/* A line of execution of a client: it waits for one thing at a time, and may take a lock that it
 * holds again. It has never a hold and a wait of the same lock. */
struct lock_owner {
    UT_hash_handle hh; /* of the client, by name */
    struct lock_client *client;
    struct hold *holds; /* not the lost ones; by next_of_owner */
    struct hold *lost;  /* by next_of_owner */
    struct wait *waits; /* by next_of_owner */
    struct wait *over;  /* those whose done is not called yet; by next_of_owner */
    /* Of the search that saw it last: */
    uint64_t search;
    struct lock_owner *search_from, *search_next;
    struct lock *search_by; /* what search_from waits for, and this one holds */
    size_t name_len;
    char name[];
};

/* What other hosts want of a lock that this one has. */
enum lock_demand {
    LOCK_UNWANTED,
    LOCK_WANTED, /* one waits; `turns` more grants may be made here */
    LOCK_CLOSING /* nothing more is granted until lock_cover */
};

struct lock {
    UT_hash_handle hh;
    struct locks *table;
    struct hold *holds; /* oldest first (utlist DL) */
    struct wait *waits; /* in order (utlist DL) */
    unsigned nholds, nwaits;
    unsigned nexclusive; /* of the waits */
    unsigned pins;       /* writes under it that are on their way to Redis: lock_pin */
    void *lease;         /* lease's; NULL at first */
    int64_t until;       /* lease's: when the lease ends, by clock_boot_ms(); 0: no end. A grant and
                          * hold_check look at it, as a timer may be late */
    /* What lease says by the functions below: */
    uint8_t covers; /* enum lock_mode: what may be granted */
    enum lock_demand demand;
    unsigned turns; /* WANTED: grants since then */
    int64_t fence;  /* of the last grant; the next one has at least 1 more */
    uint64_t stamp; /* the methods': exec's when the lease came */
    /* Within locks.c and lock_notify.c: */
    struct lock *notice_prev, *notice_next;
    uint8_t notices; /* what is to be looked at, from the loop */
    uint64_t search; /* of the search that saw it last */
    uint32_t key_len, path_len, action_len;
    char name[]; /* key NUL path NUL action NUL */
};

static inline bool lock_closing(const struct lock *l)
{
    return l->demand == LOCK_CLOSING;
}
static inline const char *lock_key(const struct lock *l)
{
    return l->name;
}
static inline const char *lock_path(const struct lock *l)
{
    return l->name + l->key_len + 1;
}
static inline const char *lock_action(const struct lock *l)
{
    return l->name + l->key_len + l->path_len + 2;
}
static inline struct lock_name lock_name_of(const struct lock *l)
{
    return (struct lock_name){.key = lock_key(l),
                              .path = lock_path(l),
                              .action = lock_action(l),
                              .key_len = l->key_len,
                              .path_len = l->path_len,
                              .action_len = l->action_len};
}

/* HELD ──► LOST ──► REPORTED: until its client lets go of the token, or is gone. */
enum hold_state {
    HOLD_HELD,
    HOLD_LOST,     /* and some wait does not know yet that it was granted: that comes first */
    HOLD_REPORTS,  /* on the list of those whose loss is told next */
    HOLD_REPORTED, /* `lost` was called */
};

struct hold {
    struct hold *prev, *next;                   /* of the lock; of the lost ones not told of */
    struct hold *prev_of_owner, *next_of_owner; /* (utlist DL) */
    UT_hash_handle hh;                          /* by token */
    UT_hash_handle hh_own;                      /* by lock and owner, when not lost */
    struct lock *lock;                          /* NULL when lost */
    struct lock_owner *owner;
    enum lock_mode mode;
    uint64_t token;
    int64_t fence;
    unsigned depth;       /* how often its owner took it */
    unsigned unannounced; /* of depth: granted to waits whose done is not called yet */
    int64_t since, deadline, ttl;
    struct event timer; /* while HELD */
    bool notify;        /* the methods': its client wants to be told when it is lost */
    enum hold_state state;
    struct lock_name name; /* of the lock, when lost; a copy */
    struct fault why;      /* LOCK_LOST, when lost */
};

static inline bool hold_lost(const struct hold *h)
{
    return h->state != HOLD_HELD;
}

/* Told once, w is gone then. h when granted: it may be lost since, then `lost` is told next. Else
 * NULL and f: LOCK_TIMEOUT, DEADLOCK, or what lock_refuse said. */
typedef void lock_done_fn(void *arg, struct hold *h, const struct fault *f);

struct wait {
    struct wait *prev, *next;                   /* of the lock; of those whose done is not called */
    struct wait *prev_of_owner, *next_of_owner; /* (utlist DL) */
    struct lock *lock;                          /* NULL when it is over */
    struct lock_owner *owner;
    enum lock_mode mode;
    int64_t since, ttl;
    int64_t deadline;  /* 0: none */
    bool try;          /* does not wait for what another host holds */
    bool elsewhere;    /* `waiting` was said of it */
    struct hold *hold; /* when it is over: granted, */
    struct fault *why; /* or refused */
    struct event *timer;
    uint64_t number; /* rises with each wait of this table */
    void *probe;     /* probe.c's */
    lock_done_fn *done;
    void *arg;
};

struct locks_callbacks {
    /* The first of the queue needs more than the lease covers. Said again each time that may have
     * changed, so not lock_advance in here; the lock is not closing. */
    void (*want)(void *arg, struct lock *l, enum lock_mode mode);
    /* Nobody holds it any more and nothing is pinned; waits there may be, when it is closing or
     * the first needs more than is covered. Said when the last hold, wait or pin went, and after
     * lock_cover, lock_uncover and lock_wanted. It may be freed in here: by lock_free. */
    void (*eased)(void *arg, struct lock *l);
    /* A hold was lost; h->why says how. lock NULL already, but h->name names it; h lives on until
     * its client lets go of the token or is gone. Told before the next one is told its grant. */
    void (*lost)(void *arg, struct hold *h);
    /* A wait begins, in the queue of a lock that another host holds or may hold (covers does not
     * reach), or the lease of its lock went away; for probe.c. Once for each wait; and `ended` for
     * the same waits when they leave the queue. These two are called from in here: they may look,
     * and call no function that changes anything. */
    void (*waiting)(void *arg, struct wait *w);
    void (*ended)(void *arg, struct wait *w);
    /* Who else has it, for the text of LOCK_TIMEOUT: "another host". NULL when that is not known;
     * may be NULL itself. */
    const char *(*where)(void *arg, const struct lock *l);
    /* Why Redis cannot be asked for it now; NULL: it can, or that is not known. May be NULL itself.
     */
    const char *(*away)(void *arg, const struct lock *l);
};

struct locks_limits {
    unsigned per_client; /* holds, waits and lost holds of one client together */
    unsigned turns;      /* grants in a row when another host waits */
};

/* `limits` is read at each use. */
struct locks *locks_new(struct event_base *base, const struct locks_limits *limits,
                        const struct locks_callbacks *cb, void *arg);
void locks_free(struct locks *t); /* of everything in it; nobody is told */

/* The owner of this name of a client, made when there is none. For locks_acquire: it goes when it
 * has nothing left, also when that refuses. */
struct lock_owner *locks_owner(struct locks *t, const struct lock_who *who, const char *name,
                               size_t len);
const struct lock_who *lock_who(const struct lock_owner *o);
/* Its waits end untold, its holds are released. */
void locks_client_gone(struct locks *t, uint64_t client);

enum lock_answer { LOCK_GRANTED, LOCK_WAITS, LOCK_REFUSED };

/* Takes a lock, or queues. wait: -1 for ever, 0 not at all. An owner that holds it in this mode,
 * or exclusively, holds it once more: the same token, fence and hold, its ttl begun anew if that
 * ends later.
 * LOCK_GRANTED: *h. LOCK_WAITS: *w, and done is called later, never from in here. LOCK_REFUSED: *f
 * is LOCK_TIMEOUT (wait 0, and somebody of this host is in the way, or the lock is closing: then
 * another host has its turn), DEADLOCK (waiting would close a cycle on this host, which is named:
 * keys, actions, pids; or the owner has it shared and asks for it exclusively), BUSY (per_client).
 */
enum lock_answer locks_acquire(struct locks *t, struct lock_owner *o, const struct lock_name *name,
                               enum lock_mode mode, int64_t wait, int64_t ttl, lock_done_fn *done,
                               void *arg, struct hold **h, struct wait **w, struct fault *f);
/* Ends a wait untold, also one that is over and not told yet: what it was granted is released. */
void lock_cancel(struct wait *w);
/* Ends a wait: done is told f. Nothing when it is over already. As with each function that ends
 * one, others of the queue may be granted by it: do not go on along w->next. */
void lock_refuse(struct wait *w, const struct fault *f);

/* The hold of a token, lost ones too; NULL when this client has none such (or was not told of it
 * yet). */
struct hold *locks_hold(struct locks *t, uint64_t client, uint64_t token);
/* 0, or -1 with LOCK_LOST: it was lost, or its ttl or lease is over though no timer said so yet
 * (then it is lost from here on). h is good after it. */
int hold_check(struct hold *h, struct fault *f);
/* One time less; the last one frees the hold and grants the next wait. A lost one is freed. True
 * when it is gone. */
bool hold_release(struct hold *h);
void hold_renew(struct hold *h, int64_t ttl);
/* All holds of it are lost (lock.break). The number. */
unsigned lock_break(struct lock *l, const struct fault *why);

/* ---- for lease ---- */

/* The lease covers this much from now on, and no less than before unless nobody holds more;
 * closing and wanted end. fence is the first that may be given: grants count up from there (or
 * go on from the last one, where that is higher). Grants what may be granted. (Set `until` before,
 * not after.) */
void lock_cover(struct lock *l, enum lock_mode covers, int64_t fence);
/* The lease is gone: all holds are lost; closing and wanted end, until is 0. Waits stay; want is
 * said for them at the next lock_advance. */
void lock_uncover(struct lock *l, const struct fault *why);
/* Another host waits: after `turns` more grants, or when nobody waits here, the lock is closing;
 * eased is called as soon as nobody holds it. */
void lock_wanted(struct lock *l);
void lock_unwanted(struct lock *l);
/* Looks at the queue again: grants, or says want. */
void lock_advance(struct lock *l);
/* Waits that were only to try end with LOCK_TIMEOUT; `who` has it ("another host"). */
void lock_elsewhere(struct lock *l, const char *who);
/* Frees a lock that nobody holds, waits for or pins (a no-op otherwise: false). What `lease` points
 * to is lease's to free. */
bool lock_free(struct lock *l);
struct lock *locks_find(struct locks *t, const struct lock_name *name);
/* Of all clients the one with most holds and waits has so many (locks_limits.per_client). */
unsigned locks_most_of_a_client(const struct locks *t);
struct lock *locks_first(struct locks *t); /* then by hh.next */
size_t locks_count(const struct locks *t);

/* ---- for probe ---- */

uint64_t locks_new_search(struct locks *t);
/* Whether this search (the last one) is at the owner for the first time. */
bool lock_owner_first_seen(struct lock_owner *o, uint64_t search);

/* ---- over to another process ---- */

/* Nobody is to be told of anything. */
bool locks_quiet(const struct locks *t);
void lock_name_save(const struct lock_name *n, struct buf *out);
struct lock_name lock_name_read(struct state_reader *r); /* it points into the state */
/* All of it when it is quiet and nothing is pinned: holds with their tokens, waits with their
 * places. `wait` is called for each to put a value, and there again to take it: it sets done and
 * arg. -1: what was handed over is not that. */
void locks_save(const struct locks *t, struct state_writer *w,
                void (*wait)(const struct wait *w, struct state_writer *out));
int locks_resume(struct locks *t, struct state_reader *r,
                 int (*wait)(void *arg, struct wait *w, struct state_reader *r), void *arg);

/* ---- writes under a lock ---- */

/* While pinned the lock is not freed and `eased` waits. */
void lock_pin(struct lock *l);
void lock_unpin(struct lock *l);

#endif
