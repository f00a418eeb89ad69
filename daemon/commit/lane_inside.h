/* lane_inside: what lane.c and lane_recovery.c share, and nobody else. */
#ifndef RAPYERD_LANE_INSIDE_H
#define RAPYERD_LANE_INSIDE_H

#include "daemon/base/log.h"
#include "daemon/commit/claims.h"
#include "daemon/commit/durable.h"
#include "daemon/commit/lane.h"
#include "daemon/commit/sweeps.h"
#include "daemon/redis/suspects.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define EXEC_BYTES 14 /* of EXEC as it is sent */

enum lane_state { LANE_DOWN, LANE_RECOVERING, LANE_READY };

struct commit {
    struct batch *batch;
    struct buf resp;
    struct blob *lent; /* resp is part of it, as others hold it, too; or NULL */
    unsigned ncommands;
    bool whole;             /* it is one script (batch_format_whole) */
    bool pops;              /* Redis says what it takes out (batch_pop_plainly) */
    struct batch_news news; /* in resp */
    unsigned refused;       /* the index of the answer that is in refusal */
    uint64_t work;          /* ns */
    bool waited;            /* for one more turn */
    bool resent;            /* the outage is not over before it is answered */
    bool asked;             /* whether it is durable is asked behind it */
    bool applied;           /* and it is; only that is still open */
    struct durable durable;
    struct lane_times times;
    struct claiming *claiming; /* before it is sent; NULL: all is claimed that it takes */
    char refusal[256];         /* the first error among the QUEUED answers */
};

struct lane {
    const struct config *config;
    struct lane_place place;
    const struct lane_callbacks *cb;
    void *arg;
    struct upstream *up;
    bool kicked; /* lane_turn will be called: what gathered is sent at the end of the turn */
    struct event *watch; /* while the link is down: gives up what waits too long */
    enum lane_state state;
    struct commit *gathering, *in_flight, *spare;
    struct batch_words words;
    int64_t since; /* clock_wall_ms(): it had sent nothing then; 0: who knows (an upgrade) */
    struct claim_epoch epoch; /* of its slot */
    /* The batch in flight was sent there, in this epoch of the link, and is not answered; NULL: it
     * is not open. */
    struct upstream *open_on;
    uint32_t open_epoch;
    bool unsure; /* another node may have the slot: looked for at, and doubling */
    int64_t retry_at, retry_ms;
    uint64_t sent;        /* counts what was sent */
    uint64_t number;      /* of the gathering batch */
    uint64_t applied;     /* of the last batch known to be in Redis: what the marker should say */
    uint64_t abandoned;   /* one whose clients were told that its outcome is unknown; 0: none */
    int64_t down_since;   /* clock_mono_ms(): what waits counts from here */
    int64_t absent_since; /* clock_boot_ms(): what others may have done in Redis, too */
    struct kept *kept;    /* oldest first (retained.h) */
    uint64_t replayed;    /* while commits are sent again: up to this one */
    unsigned replay_refused; /* units, since the link is back */
    uint64_t looks, look;    /* how often it was looked; the one that is on its way, or 0 */
    struct suspects suspects;
    struct sweeps sweeps;
    struct whole_scripts scripts;
    bool scripted;   /* Redis knows all of them */
    int64_t load_at; /* monotonic ms: when it is given them again; 0: with the next link */
    int64_t pops_at; /* monotonic ms; until then Redis is not asked to pop: it does not let us */
    struct lane_times times; /* of the commit that is being decided */
    const struct fault *doubt;
};

/* ---- lane.c ---- */

/* The batch in flight, over the link that is up. */
void lane_send(struct lane *l);
/* It is applied: its text is kept. */
void lane_retain(struct lane *l, struct commit *c);
/* It is decided; it is not in flight any more. */
void lane_settle(struct lane *l, struct commit *c, const struct fault *fault);
/* What Redis refused, or what nobody waits for any more, takes with it what was built upon it:
 * the gathering batch saw the same documents. */
void lane_refuse_all(struct lane *l, const struct fault *in_flight, const struct fault *gathering);
/* What became of the last commit is known: requests may be sent. */
void lane_go_on(struct lane *l);
/* What was asked will not be answered. The link is lost; or another node has the slot, then nothing
 * of it was applied. What became of it is found out when somebody can be asked. */
void lane_unanswered(struct lane *l);
/* It was applied, and then the connection was lost. */
void lane_unheard(struct fault *f);

/* ---- lane_recovery.c ---- */

/* The link is there, and was before. */
void lane_recover(struct lane *l);

#endif
