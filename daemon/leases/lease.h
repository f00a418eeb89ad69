/* lease: what makes a lock of this host one of all hosts.
 *
 *   NONE ──want──► ASKING ──granted──► HELD ──given up (wanted, idle)──► NONE
 *                   │  ▲                └── ended, taken, broken ──► NONE, holds lost
 *                queued │
 *                   └───┘ offered by who gives it up, or asked again when it must have run out
 *
 * One Redis hash per lock: who has the lease, in which mode, with which fence, until when by
 * Redis' clock; beside it a sorted set of the daemons that wait. All that happens to them is one
 * script, so every step is atomic. In a cluster all of it is in the slot of the document that the
 * lock is named by, and moves with it (lease_slot.c). The lease counts here from the moment its
 * request was sent, on CLOCK_BOOTTIME, so it ends here before it ends in Redis.
 *
 * Whoever gives a lease up offers it to the first that waits and tells it so on its channel; one
 * whose channel nobody listens to is passed over at once. No polling: only a lease whose holder
 * died is asked for again, when it must have run out.
 */
#ifndef RAPYERD_LEASE_H
#define RAPYERD_LEASE_H

#include "daemon/base/config.h"
#include "daemon/locks/locks.h"
#include "daemon/redis/bus.h"
#include "daemon/redis/names.h"
#include "daemon/redis/router.h"

struct leases;

struct leases_callbacks {
    /* A lease was taken from Redis: what is cached of any document may be older than what its
     * holder before wrote. Before its waits are granted. */
    void (*taken)(void *arg, struct lock *l);
};

/* `router` has the links that commits use as well. id: this daemon's. May be freed after it. */
struct leases *leases_new(struct event_base *base, const struct config *config, const char *id,
                          struct router *router, const struct names *names, struct bus *bus,
                          struct locks *locks, const struct leases_callbacks *cb, void *arg);
void leases_free(struct leases *ls);

/* From locks_callbacks. */
void leases_want(struct leases *ls, struct lock *l, enum lock_mode mode);
void leases_eased(struct leases *ls, struct lock *l);

/* A link is up (before it is used for commits: leases that are held are renewed, or taken
 * again where Redis has lost them and nobody else has them) or down (they run on, to their end); in
 * a cluster also when slots have another one. */
void leases_link_up(struct leases *ls);
void leases_link_down(struct leases *ls);
void leases_links(struct leases *ls);
/* The bus listens (again) to what is said over that link: messages may have been missed. */
void leases_listening(struct leases *ls, const struct upstream *up);
/* A message of another daemon; false when it is not about leases. */
bool leases_message(struct leases *ls, const void *payload, size_t len);

/* The check that a commit made under the lock carries (batch.h). */
void lease_redis_key(const struct leases *ls, const struct lock *l, struct buf *key);
int64_t lease_fence(const struct lock *l); /* of the lease: 0 when there is none */
int64_t lease_left(const struct lock *l);  /* ms that it counts on; <= 0: none, or over */
/* Who has it, as far as known: "" or the daemon's id. For DEADLOCK and admin. */
const char *lease_elsewhere(const struct lock *l);
/* A shared lease can be at several: the i-th from 0, NULL past the last one known. */
const char *lease_elsewhere_at(const struct lock *l, size_t i);
/* The link that it is asked for over; it has one (lease_elsewhere_at). */
struct upstream *lease_link(const struct lock *l);
/* "another host (daemon 1a2b3c4d)", or NULL when nobody is known to have it; until the next call.
 * For locks_callbacks' where. */
const char *lease_where(const struct lock *l);
/* Why its Redis, or slot, cannot be asked for it; NULL: it can. For locks_callbacks' away. */
const char *lease_away(const struct lock *l);
/* A commit was refused because Redis has another lease, or none: if it is still this one it is
 * lost, and its holds with it. */
void leases_refused(struct leases *ls, struct lock *l, int64_t fence);

/* Takes the lock from whoever has it on other hosts; done is told how many daemons lost it, or a
 * fault. */
typedef void lease_broken_fn(void *arg, int64_t daemons, const struct fault *f);
void leases_break(struct leases *ls, const struct lock_name *name, lease_broken_fn *done,
                  void *arg);
/* Nothing is asked of Redis, or is about to be. */
bool leases_quiet(const struct leases *ls);
/* Hands them over to another process of this daemon when they are quiet, and takes them up there,
 * after the locks. What others have said meanwhile is asked for when the bus listens. -1: what was
 * handed over is not that. */
void leases_save(const struct leases *ls, struct state_writer *w);
int leases_resume(struct leases *ls, struct state_reader *r);
/* Gives all leases up: the daemon ends. done is called when Redis has answered, or at once. */
void leases_stop(struct leases *ls, void (*done)(void *arg), void *arg);

#endif
