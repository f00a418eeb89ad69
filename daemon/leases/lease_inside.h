/* lease_inside: what lease.c, lease_slot.c, lease_term.c, lease_news.c and lease_state.c share, and
 * nobody else: a lease as this daemon knows it, and the steps of one file that another one takes.
 */
#ifndef RAPYERD_LEASE_INSIDE_H
#define RAPYERD_LEASE_INSIDE_H

#include "daemon/leases/lease.h"
#include "daemon/leases/lease_call.h"
#include <stdlib.h>
#include <utlist.h>

#define ID_MAX 40
#define LOG_MS 1000 /* between two lines on lost locks */

/* What is to be done about the term of a lease that is held. */
enum lease_upkeep {
    LEASE_GOOD,
    LEASE_RENEWS, /* with the next request */
    LEASE_UNUSED /* nobody has used it for a third of its length: given up, unless somebody comes */
};

/* The leases of one hash slot. Without a cluster all are in one. */
struct lease_slot {
    UT_hash_handle hh; /* by slot */
    struct leases *all;
    uint16_t slot;
    struct lease *leases; /* by next_in_slot */
    uint32_t epoch;       /* router_epoch when they were last asked for anew */
    int64_t since;        /* from when on Redis could not be asked for them; 0: it can */
    int64_t next, pause;  /* it is asked again then, and after that so many ms later */
    bool given_up;        /* it lasts for longer than anybody is to wait */
    struct event *timer;
};

struct lease {
    struct lease *prev, *next; /* of all */
    struct lease *prev_in_slot, *next_in_slot;
    struct lease *prev_held, *next_held; /* of those held, by `until` */
    struct lease *prev_due, *next_due;
    struct leases *all;
    struct lock *lock;
    struct lease_slot *slot;
    enum lease_op op; /* in flight */
    bool due;
    enum lock_mode have;   /* counts here, until `until` */
    int64_t fence;         /* of the lease, while `have` */
    int64_t expiry;        /* of the lease, by Redis' clock: past it a late renewal is void */
    int64_t sent, until;   /* when its last good request was sent; when it ends here */
    int64_t tried;         /* when it was last to be renewed */
    int64_t fence_renewed; /* the last one given when it was renewed: has it been used since? */
    enum lease_upkeep upkeep;
    enum lock_mode queued;   /* asked for; we are told, or ask again, when it is free */
    bool in_queue, in_redis; /* Redis may have a place in the queue, a lease of ours */
    enum lock_mode wanted;   /* by another host, as last heard */
    bool heard;              /* a message while a request was in flight: its answer may be older */
    struct event *retry;
    int64_t retry_at, retry_latest; /* when it asks again; not later, whatever is heard */
    bool offered;                   /* it asks because of a message that says it may have it */
    unsigned false_offers;          /* in a row, that Redis knew nothing of, */
    bool gave_way;                  /* the request in flight gives it up for another host */
    unsigned false_wishes;          /* times in a row that no other host was there */
    int64_t wishes_from;            /* what others want is not believed before: */
    enum lock_mode wished;          /* then by `retry` */
    size_t nelsewhere;
    char (*elsewhere)[ID_MAX];
};

struct leases {
    const struct config *config;
    char id[ID_MAX];
    struct router *router;
    const struct names *names;
    struct bus *bus;
    struct locks *locks;
    struct leases_callbacks cb;
    void *arg;
    struct event_base *base;
    struct lease *leases, *held, *due;
    struct lease_slot *slots;
    struct breaking *breaks; /* of lock.break, that are not answered yet (lease_news.c) */
    struct lease_calls *calls;
    struct event *flush, *tick;
    int64_t
        soonest;    /* the next renewals: not before; set when some went out, and by nothing else */
    unsigned nlost; /* leases with holds, since that was last logged */
    int64_t logged;
    char lost_why[FAULT_TEXT_MAX];
    struct event *report;
    int64_t second;   /* which is counted: */
    unsigned unasked; /* offers of what nobody here waits for */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

static inline void arm(struct event *e, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(e, &tv);
}

static inline bool unused_here(const struct lock *l)
{
    return l->nholds == 0 && l->pins == 0;
}

/* ---- lease.c: what comes next ---- */

struct lease *lease_new(struct leases *ls, struct lock *l);

/* decide() will look at it in this turn of the loop, or when its answer is here. */
void lease_set_due(struct lease *le);
/* Only readers are here, nothing they or others before them wrote is on its way, and a reader
 * elsewhere wants to join them. */
bool lease_can_share(const struct lease *le);
/* Ends those waits (or those that only try) that the lease does not cover; not those that are new
 * meanwhile. */
void lease_refuse_waits(struct lease *le, bool tries_only, const struct fault *f);

/* Asks again for all that is not as it should be, or may not be. */
void lease_renew_all(struct lease_slot *s);

/* ---- lease_slot.c: whether Redis can be asked ---- */

uint16_t lease_slot_number(const struct leases *ls, const struct lock_name *name);
void lease_slot_join(struct lease *le, uint16_t slot);
void lease_slot_leave(struct lease *le);
struct upstream *lease_slot_link(const struct lease_slot *s);
/* It is up. */
bool lease_slot_up(const struct lease_slot *s);
/* It is, and has not just said that this is not the time. */
bool lease_slot_may_ask(const struct lease_slot *s);
const char *lease_slot_why(const struct lease_slot *s); /* it cannot be asked */
void lease_slot_answered(struct lease_slot *s);
void lease_slot_unanswered(struct lease_slot *s);
/* Links or slots have changed. */
void lease_slots_look(struct leases *ls);
/* Some that can be reached have been told to ask again later. */
bool lease_slots_pause(const struct leases *ls);

/* ---- lease_term.c: how long it counts ---- */

/* A request sent at `sent` was granted: it counts from then on (whoever had it not before sets
 * `have` next). False: that is over already. */
bool lease_extend(struct lease *le, const struct lease_request *request);
/* It is renewed with the next request, if it is held. */
void lease_renew(struct lease *le);
/* From here on nothing is granted on it. */
void lease_end(struct lease *le, const struct fault *why);
/* The same, against our will: it is asked for anew where it is needed, and it will be logged. */
void lease_lose(struct lease *le, const struct fault *why);
/* by: the daemon that has it now, or "". */
void lease_lose_taken(struct lease *le, const char *by);
/* One line for all that one event has cost, and no more than one in LOG_MS. */
void leases_log_lost(struct leases *ls);
/* Those whose time is over are lost; that is logged. */
void leases_end_over(struct leases *ls);
/* Marks those whose third is over as to be renewed, or given up where nobody has used them since
 * the time before, and sets the earliest moment for the next ones. */
void leases_renew(struct leases *ls);
/* Sets ls->tick to the moment of the next renewal or end. */
void leases_plan_tick(struct leases *ls);

/* ---- lease_news.c: what is heard of it ---- */

/* For lease_calls_new. */
void leases_answer(void *arg, const struct lease_request *request, const struct lease_answer *a);
/* Stops the timer that asks again where no news has come. */
void lease_no_retry(struct lease *le);
/* Ends those that wait to be asked for again. */
void leases_end_breaks(struct leases *ls);

#endif
