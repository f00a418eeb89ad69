/* lane: the commits to one Redis node, one after the other.
 *
 *   gathering ──(idle: at the end of the loop's turn; else when the one before is answered)──►
 *   in flight ──EXEC──► decided: whoever waits for it is told
 *       │
 *       └─ link lost ─► recovering: old connection killed, marker read ─► decided, or sent again
 *
 * While a batch is in flight the next one gathers (group commit), so the load sets the size of
 * batches and no timer is needed. There is one lane for a Redis; in a cluster one for each slot, as
 * data moves and fails over by slots: lanes.h has them, and their links.
 */
#ifndef RAPYERD_LANE_H
#define RAPYERD_LANE_H

#include "daemon/base/histogram.h"
#include "daemon/base/state.h"
#include "daemon/commit/batch.h"
#include "daemon/commit/retained.h"
#include "daemon/redis/router.h"
#include "daemon/redis/upstream.h"

struct lane;

struct lane_callbacks {
    /* The batch is decided, its documents are marked, and the listeners have heard of it: its
     * waiters (batch.h) are to be told. fault NULL: it is committed; drifts and failed documents
     * are filled in. The batch is freed afterwards. */
    void (*on_batch)(void *arg, struct lane *l, struct batch *b, const struct fault *fault);
    /* The link is up, and old connections are gone. What is sent now is before any commit that is
     * sent again. */
    void (*on_link)(void *arg, struct lane *l);
    /* Requests may be sent: first time, and each time after the link was down and the state of
     * the last commit is known. */
    void (*on_ready)(void *arg, struct lane *l);
    void (*on_down)(void *arg, struct lane *l);
    /* Whoever has its slot is to be looked for, and lane_link be called. Comes behind on_down. */
    void (*on_unsure)(void *arg, struct lane *l);
    /* Something is to be sent: lane_turn is to be called at the end of this turn of the loop. */
    void (*on_kick)(void *arg, struct lane *l);
    /* A commit was put on its link, and is to go out with what other lanes have put there in this
     * turn; `waits`: with WAIT behind it, and then lane_waited with this number. */
    void (*on_sent)(void *arg, struct lane *l, uint64_t sent, bool waits);
};

struct lane_stats {
    uint64_t batches, commands, refused, recovered_applied, recovered_resent, unknown, lost;
    uint64_t not_durable;
    uint64_t drifts;
    size_t gathering_bytes, in_flight_bytes;
    struct histogram took; /* commits, from when they were sent to Redis' answer */
};

/* Hears of each document that was committed, before any answer that saw it leaves: for who keeps
 * something beside the documents that has to follow them. Kept by its owner. */
struct commit_listener {
    struct commit_listener *next;
    void (*on_committed)(void *arg, const struct committed *c);
    void *arg;
};

/* Redis does not let us tell others of commits. */
struct lane_mute {
    int64_t until; /* clock_mono_ms(): then it is tried again; 0: it does */
    bool logged;
};

/* What it has in common with other lanes, and whose it is; all of it kept by the caller. */
struct lane_place {
    const char *id;  /* of this daemon */
    const char *tag; /* of its slot (slots.h); NULL: it has all of them */
    uint16_t slot;
    const struct router *router; /* who has that */
    struct batch_pool *pool;
    struct retained *retained;
    struct lane_stats *stats; /* but for the bytes */
    struct commit_listener **listeners;
    struct claims *claims;
    struct lane_mute *mute;
};

/* `up` is not asked before lane_link. */
struct lane *lane_new(struct event_base *base, const struct config *config,
                      const struct lane_place *place, struct upstream *up,
                      const struct lane_callbacks *cb, void *arg);
void lane_free(struct lane *l);
/* The end: nothing more is sent, and whoever waits is told. */
void lane_stop(struct lane *l);
struct upstream *lane_upstream(const struct lane *l);
const struct lane_place *lane_place(const struct lane *l);
const struct buf *lane_marker(const struct lane *l); /* its key */

/* The link to who has its documents is up; where that is another one than before, or was lost in
 * between, nothing that was sent before can be applied any more. */
void lane_link(struct lane *l, struct upstream *up);
/* It is lost, and requests were told. */
void lane_unlink(struct lane *l);
/* In a cluster: what was asked of its slot was not answered, though the link is up. */
void lane_doubt_place(struct lane *l);
/* Whether its slot is to be looked for, and not before when (clock_mono_ms). */
bool lane_unsure(const struct lane *l, int64_t *retry_at);
/* The link that the batch in flight was sent over without an answer yet, and its epoch of then;
 * NULL: there is none. Before that is over lane_link must not be called. */
struct upstream *lane_open_on(const struct lane *l, uint32_t *epoch);
void lane_answered(struct lane *l); /* it is over */

/* Puts what has gathered on its link, if it may. True: in the next turn, for which it is to be
 * called again. */
bool lane_turn(struct lane *l);
/* The answer to WAIT behind what was sent with this number; NULL: it was lost. */
void lane_waited(struct lane *l, uint64_t sent, const redisReply *reply);

/* It looks at the marker, or sends again what is not there. */
bool lane_recovers(const struct lane *l);

const char *lane_why(const struct lane *l); /* why it is not ready */
bool lane_ready(const struct lane *l);
/* Whether a request may wait for this lane. -1: UNAVAILABLE (the link is down for too long, or
 * too much waits already). */
int lane_admit(const struct lane *l, struct fault *f);

/* Whether commits of all lanes say to this daemon what their scripts wrote, and to others what they
 * did (changes.h). */
void lane_tell(struct lane *l, bool own, bool others);

/* The batch that gathers; whatever is put in goes out at the end of this loop turn or later. */
struct batch *lane_batch(struct lane *l);
/* As above; NULL: nothing gathers. */
const struct batch *lane_gathering(const struct lane *l);
/* What the batches come to, in ns (work.h): said by who fills them. */
void lane_weigh(struct lane *l, uint64_t ns);
uint64_t lane_gathering_work(const struct lane *l);
uint64_t lane_in_flight_work(const struct lane *l);

/* Nothing is gathering, in flight, or to be swept up. */
bool lane_quiet(const struct lane *l);
/* Clients were told of a commit that its outcome is unknown, and Redis was not asked since: the
 * rest of it may be on its way there yet. */
bool lane_unresolved(const struct lane *l);

/* Within on_batch: when its commit was sent first, and Redis' answer had come (clock_boot_ns()); 0:
 * it was not, or that got lost. */
struct lane_times {
    int64_t sent, answered;
};
struct lane_times lane_times(const struct lane *l);

/* Within on_batch, of one that is committed: on fewer replicas or disks than the settings want.
 * NULL: on enough. */
const struct fault *lane_doubt(const struct lane *l);

/* Appends [slot, what its marker says, the number of the last batch], for another process; there is
 * nothing in it or of unknown outcome. */
void lane_save(const struct lane *l, struct buf *out);
/* Before the first lane_link. */
void lane_resume(struct lane *l, uint64_t applied, uint64_t number);
/* One that is kept: [slot, ...]. Behind the slot it is read again, in the same order. */
void kept_save(const struct kept *k, struct buf *out);
void lane_resume_kept(struct lane *l, struct state_reader *r);

/* Adds what waits and what is on its way. */
void lane_bytes(const struct lane *l, size_t *gathering, size_t *in_flight);

#endif
