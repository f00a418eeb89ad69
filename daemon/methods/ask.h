/* ask: a client's request for locks, from its admission to its answer; and the desk that keeps all
 * asks, by client.
 *
 *   PLACING ──► TAKING ──► READING ──► answered
 *   paths to    one lock   the documents,
 *   pks, by     after the  fresh, by exec
 *   exec        other
 *
 * Exec and locks tell it how it goes on. An ask whose client is gone ends where it stands: what it
 * had taken is free already (locks_client_gone).
 */
#ifndef RAPYERD_ASK_H
#define RAPYERD_ASK_H

#include "daemon/exec/exec.h"
#include "daemon/leases/lease.h"
#include "daemon/locks/locks.h"

#define OWNER_MAX 64

/* One lock of an ask. */
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

struct ask {
    struct ask *prev, *next; /* of the client */
    struct desk *desk;
    struct desk_client *client; /* NULL: gone */
    struct session *session;    /* a reference */
    uint64_t id;
    char owner[OWNER_MAX];
    size_t owner_len;
    bool many, document, notify;
    int64_t deadline; /* of all waits together, by clock_boot_ms(); -1: for ever */
    int64_t ttl;
    struct wait *wait; /* while it waits */
    unsigned n, taken; /* wants; the first `taken` are held */
    struct want *wants;
};

struct desk_client;

/* Since the daemon began; of locks, not of requests. */
struct desk_stats {
    uint64_t granted, timeouts, deadlocks, lost;
};

struct desk {
    struct exec *exec;
    struct locks *locks;
    struct leases *leases;
    struct desk_client *clients;
    struct desk_stats stats;
};

struct desk *desk_new(struct exec *e, struct locks *locks, struct leases *leases);
/* After its sessions. */
void desk_free(struct desk *d);
/* The session is over: its locks are free, its asks end. */
void desk_client_gone(struct desk *d, struct session *s);
/* For locks_callbacks: tells a client that wanted to know. */
void desk_lost(struct desk *d, struct hold *h);

/* Room for so many wants; the caller fills them in, then begins or fails the ask. */
struct ask *ask_new(struct desk *d, struct session *s, uint64_t id, unsigned wants);
/* Copies the name of a want. */
void want_name(struct want *w, const void *key, size_t key_len, const void *path, size_t path_len,
               const void *action, size_t action_len);
/* From here on it goes by itself, and answers its client. */
void ask_begin(struct ask *a);
/* Answers with the fault; gives back what it has taken. The ask is gone. */
void ask_fail(struct ask *a, const struct fault *f);
void ask_free(struct ask *a);

#endif
