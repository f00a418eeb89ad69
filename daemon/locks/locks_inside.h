/* locks_inside: what locks.c, lock_owner.c, lock_notify.c and locks_state.c share, and nobody else:
 * the table, and the lists of what is to be told. */
#ifndef RAPYERD_LOCKS_INSIDE_H
#define RAPYERD_LOCKS_INSIDE_H

#include "daemon/locks/locks.h"
#include "protocol/buf.h"
#include <stdlib.h>

/* What is to be looked at: struct lock's notices. The first two from the loop, the queue at the
 * end of locks_client_gone. */
enum { NOTICE_WANT = 1, NOTICE_EASED = 2, NOTICE_QUEUE = 4 };

struct lock_client {
    UT_hash_handle hh;
    struct locks *table;
    struct lock_who who;
    struct lock_owner *owners;
    unsigned nlocks; /* holds, lost ones too, and waits */
    bool leaving;    /* its owners stay until the end of locks_client_gone */
};

struct locks {
    struct event_base *base;
    const struct locks_limits *limits;
    struct locks_callbacks cb;
    void *arg;
    struct lock *locks;
    struct hold *tokens, *own;
    struct hold *nobodys; /* in both, so that they are not made anew for each only lock */
    struct lock_client *clients;
    uint64_t last_token, last_wait, last_search;
    struct hold *reports; /* lost, */
    struct wait *over;    /* and granted or refused, and nobody was told */
    struct lock *noticed; /* with `notices` */
    struct event *notify; /* runs locks_notify() */
    bool notifying;       /* it will run */
    bool leaving;         /* a client: queues are looked at when all it had is gone */
    struct buf name;      /* scratch */
};

static inline bool covered(const struct lock *l, enum lock_mode mode)
{
    return l->covers >= (uint8_t)mode;
}

/* The only one that writes a hold's state; it does what goes with the step. The queue of its lock
 * is not looked at. */
void hold_set_state(struct hold *h, enum hold_state to);
/* Into the lists and tables of its lock and owner; its timer is due in so many ms. Nothing is
 * granted by it. */
void hold_put(struct hold *h, int64_t ms);
void wait_put(struct wait *w, int64_t ms);
/* Its lock is not covered here, of which `waiting` tells. */
void wait_elsewhere(struct wait *w);
struct lock *lock_new(struct locks *t, const struct lock_name *name);
void lock_timer_set(struct event *timer, int64_t ms);
void hold_timer(evutil_socket_t fd, short what, void *arg);
void wait_timer(evutil_socket_t fd, short what, void *arg);

/* ---- lock_owner.c ---- */

struct lock_client *lock_client_find(struct locks *t, uint64_t number);
void lock_owner_free(struct lock_owner *o);
/* An owner goes when it has nothing left, and its client with the last one. */
void lock_owner_settle(struct lock_owner *o);

/* ---- lock_notify.c ---- */

/* The lock is to be looked at from the loop: NOTICE_*. */
void lock_notify(struct lock *l, unsigned what);
void lock_denotify(struct lock *l); /* not any more */
/* The hold goes on the list of those whose client is to be told that they are lost, or from it. */
void hold_notify(struct hold *h);
void hold_denotify(struct hold *h);
/* One grant of a hold less that is not told of. */
void hold_announced(struct hold *h);
/* The wait, which has left its lock, is over, and done is to be told so. */
void wait_notify(struct wait *w);
/* Takes a wait that is over out of the lists; nobody is told. */
void wait_free(struct locks *t, struct wait *w);
/* Tells all that is to be told: for t->notify. */
void locks_notify(evutil_socket_t fd, short what, void *arg);

#endif
