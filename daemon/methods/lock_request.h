/* lock_request: a client's request for locks, from its admission to its answer; and all of them, by
 * client.
 *
 *   PLACING ──► TAKING ──► READING ──► answered
 *   paths to    one lock   the documents,
 *   pks, by     after the  fresh, by exec
 *   exec        other
 *
 * Exec and locks tell it how it goes on. A request whose client is gone ends where it stands: what
 * it had taken is free already (locks_client_gone).
 */
#ifndef RAPYERD_LOCK_REQUEST_H
#define RAPYERD_LOCK_REQUEST_H

#include "daemon/exec/exec.h"
#include "daemon/leases/lease.h"
#include "daemon/locks/locks.h"

#define OWNER_MAX 64

/* One lock of a request. */
struct want {
    char *text; /* key, path, action; owned */
    struct lock_name name;
    enum lock_mode mode;
    unsigned asked; /* where it stands in the request */
    /* Of the hold, when it was granted: it may be gone since. */
    uint64_t token;
    int64_t fence;
    unsigned depth;
};

struct lock_request {
    struct lock_request *prev, *next; /* of the client */
    struct lock_requests *all;
    struct lock_request_client *client; /* NULL: gone */
    struct session *session;            /* a reference */
    uint64_t id;
    int64_t came; /* clock_boot_ns() */
    char owner[OWNER_MAX];
    size_t owner_len;
    bool many, document, notify;
    bool cancelled;   /* by its client, while exec had it */
    int64_t deadline; /* of all waits together, by clock_boot_ms(); -1: for ever */
    int64_t ttl;
    struct wait *wait; /* while it waits */
    struct lock_request *next_granted;
    unsigned n, taken; /* wants; the first `taken` are held */
    struct want *wants;
};

struct lock_request_client;

/* Since the daemon began; of locks, not of requests. */
struct lock_request_stats {
    uint64_t granted, timeouts, deadlocks, lost;
    struct histogram waited; /* requests, until all of their locks were there */
};

struct lock_requests {
    struct exec *exec;
    struct locks *locks;
    struct leases *leases;
    struct lock_request_client *clients;
    bool blind;                   /* no models are known yet, */
    struct lock_request *granted; /* so these were not told: by next_granted */
    struct lock_request_stats stats;
};

struct lock_requests *lock_requests_new(struct exec *e, struct locks *locks, struct leases *leases);
/* After its sessions. */
void lock_requests_free(struct lock_requests *d);
/* Hands over who waits, and what has been asked for; the locks with it, when they are quiet. -1:
 * what was handed over is not that. */
void lock_requests_save(const struct lock_requests *d, struct state_writer *w);
int lock_requests_resume(struct lock_requests *d, struct sessions *all, struct state_reader *r);
/* Then the models are read, which grants tell of: those that were made meanwhile are told. */
void lock_requests_see(struct lock_requests *d);
/* The session is over: its locks are free, its requests end. */
void lock_requests_client_gone(struct lock_requests *d, struct session *s);
/* For locks_callbacks: tells a client that wanted to know. */
void lock_requests_lost(struct lock_requests *d, struct hold *h);

/* Room for so many wants; the caller fills them in, then begins or fails it. */
struct lock_request *lock_request_new(struct lock_requests *d, struct session *s, uint64_t id,
                                      unsigned wants);
/* Copies the name of a want. */
void want_name(struct want *w, const void *key, size_t key_len, const void *path, size_t path_len,
               const void *action, size_t action_len);
/* From here on it goes by itself, and answers its client. */
void lock_request_begin(struct lock_request *r);
/* Answers with the fault; gives back what it has taken. The request is gone. */
void lock_request_fail(struct lock_request *r, const struct fault *f);
void lock_request_free(struct lock_request *r);
/* Ends the client's request with this id, which is answered LOCK_TIMEOUT; false: there is none that
 * has not been answered. What it had taken is free again. */
bool lock_request_cancel(struct lock_requests *d, struct session *s, uint64_t id);

#endif
