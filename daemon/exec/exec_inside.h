/* exec_inside: what the files of this room share, and nobody else: the executor itself, its tasks,
 * and how it looks at its calls.
 *
 *   exec.c     when a call runs, and what its end means
 *   task.c     the states that a request passes through, from its beginning to its answer
 *   queue.c    the queues of documents
 *   fetch.c    what a run lacks
 *   slices.c   what is done in pieces
 *   still.c    how all of it comes to rest
 *   room.c     what waits until less is on its way to Redis
 *   call.c, effects.c    what a run knows and changes
 *   missing.c            what it has to be brought
 *   outages.c            what it may be given as it was when a link was lost
 */
#ifndef RAPYERD_EXEC_INSIDE_H
#define RAPYERD_EXEC_INSIDE_H

#include "daemon/commit/lanes.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/publish.h"
#include "daemon/exec/purge.h"
#include <stdlib.h>

enum exec_state {
    EXEC_IDLE,
    EXEC_RUNNING, /* the queues are looked at: who wakes a document need not */
    EXEC_STOPPED  /* nothing runs any more */
};

struct exec {
    const struct config *config;
    struct names names; /* of Redis keys */
    struct schema *schema;
    struct index_table *indexes;
    struct cache *cache;
    struct publisher *publisher;
    struct lanes *lanes;
    struct lane *lane; /* of what is no document (lanes.h) */
    struct router *router;
    bool cluster;
    struct lane *deciding; /* whose batch is being told of; NULL: none is */
    struct coherence *coherence;
    struct loader *loader;
    struct purger *purger;
    struct audit *audit;
    struct event *tick;
    struct event *turn;    /* over: another daemon's turn with a document that is waited for */
    struct event *slice;   /* slices.c */
    struct task *standing; /* still, in the middle of their runs; who is next first (utlist) */
    struct task *lined_up; /* to be run in slices when fewer stand; oldest first (utlist) */
    unsigned nstanding;
    struct task *heavy;    /* room.c: QUEUED ones, oldest first (utlist) */
    struct doc **runnable; /* documents whose queue is to be looked at */
    unsigned nrunnable, runnable_cap;
    enum exec_state state;
    uint64_t runs;        /* numbers of runs that were given out */
    int64_t looked_up_to; /* documents written by models of this revision, and what was asked for */
    int64_t asked_up_to;  /* last: the registry was read for them */
    uint64_t learned;     /* what arrived up to this stamp: the registry was read since, */
    uint64_t learning;    /* or is being read for it; 0: it is not */
    uint32_t good_epoch;  /* of the link when it was last up; without a cluster */
    int64_t ticks[2];     /* the last two, clock_boot_ms() */
    struct outage *outages; /* links that are lost, and were there before (utlist) */
    struct task *waiting;   /* queued requests, oldest first (utlist) */
    bool still;             /* exec_still */
    struct task *parked;    /* whose clients have to read their answers first (utlist) */
    struct task *again;     /* those of the decided batch that have to be done again, in order */
    uint64_t nagain;        /* how often that was so */
    struct task *spare;     /* for the next ones (utlist) */
    unsigned ntasks, nspare;
    size_t waiting_bytes;    /* that the queued ones take */
    size_t kept_bytes;       /* answers that wait for a commit */
    struct buf scratch;      /* the answer of the request that runs */
    struct buf raw;          /* the value that an effect tells */
    struct lane_times times; /* of the batch that is being told of; 0: none is */
    struct exec_callbacks cb;
    void *arg;
    uint64_t stamp; /* requests, and leases that came to this daemon */
    void (*on_lost_lease)(void *arg, struct lock *l, int64_t fence);
    bool (*answers)(struct call *c, const struct buf *out); /* exec_on_written */
    void *lost_arg;
    int64_t observe_from; /* ns: who takes so long is told of */
    void (*on_done)(void *arg, const struct done *d);
    void *done_arg;
    struct lock_requests *lock_requests;
};

static inline struct lane *exec_lane_of(const struct exec *e, const struct doc *d)
{
    return e->cluster ? lanes_at(e->lanes, d->slot) : e->lane;
}

/* The tick runs while something needs it: requests that wait for a link that is down; stale reads,
 * which want to know when this process was last seen to run; readers of the shared memory, who want
 * to hear of it. */
void exec_plan_tick(struct exec *e);
/* What waits looks again in so many ms, if not before. */
void exec_plan_turn(struct exec *e, int64_t ms);

/* ---- tasks: requests, as exec sees them ---- */

/*          ┌──► QUEUED ──┐
 *   SPARE ─► OPEN ◄──────┤ ─► PARKED ─► OPEN       Each but OPEN is a list that it stands in.
 *     ▲      │ └──► STAGED ─► OPEN ─► AGAIN ─► OPEN ─► QUEUED, in front
 *     └──────┘ answered
 */
enum task_state {
    TASK_SPARE,  /* nobody's: the next request gets it, and its memory */
    TASK_OPEN,   /* is carried out */
    TASK_QUEUED, /* waits in the queues of its documents */
    TASK_PARKED, /* out of the way of others, as its client does not read what it has already */
    TASK_STAGED, /* its answer waits for a batch */
    TASK_AGAIN   /* is done again when all others of its batch were told */
};

/* A place in a document's queue. */
struct place_in_queue {
    struct task *task;
    struct place_in_queue *next;
};

struct task {
    struct waiter waiter; /* first: the batch has it in its list */
    struct task *prev, *next;
    enum task_state state;
    bool rode;    /* with the batch that is being told of */
    bool counted; /* how long it took */
    bool keeps;   /* its session, from when it first had to wait */
    bool refused; /* STAGED: with call.fault */
    struct call call;
    struct buf params; /* of the request, once it had to wait; before they are its session's */
    struct place_in_queue *places; /* QUEUED: one for each document */
    unsigned nplaces, places_cap;
    unsigned nfirst; /* QUEUED: of so many documents it is known that it is first and none loads */
    unsigned runs;
    bool is_long;               /* its next run goes in slices */
    struct fiber *fiber;        /* QUEUED: of such a run */
    struct task *next_standing; /* QUEUED, with a fiber */
    bool spoilt;                /* what that run saw is not so any more */
    bool lined_up;
    struct task *prev_lined, *next_lined; /* QUEUED, lined_up */
    bool no_room, heavy; /* its run was stopped for that; it waits for room (room.c) */
    struct task *prev_heavy, *next_heavy; /* QUEUED, heavy */
    uint32_t epoch, growths;              /* when that run began, of link and schema */
    enum op_status ended;                 /* what that run came to */
    struct buf out;                       /* its answer */
    int64_t again_until;                  /* done again until then; 0: it was not yet */
    int64_t deadline;                     /* QUEUED */
    size_t cost;       /* QUEUED: counted in waiting_bytes; STAGED: in kept_bytes */
    struct buf answer; /* STAGED */
};

/* Of the first of its documents; a change has all of them in one. */
static inline struct lane *call_lane_of_first(const struct call *c)
{
    return c->ndocs > 0 ? exec_lane_of(c->exec, c->docs[0]) : c->exec->lane;
}

/* Of the first of its documents that cannot be reached. */
const char *call_why_unreachable(const struct call *c);

/* Whether it cannot go on, as one of its documents cannot be reached. */
bool task_stuck(const struct task *t);

/* OPEN, for a request that has just come. */
struct task *task_new(struct exec *e, const struct request *r);
/* Moves it to another state, and so to another list; one of both is OPEN. */
void task_move(struct exec *e, struct task *t, enum task_state to);
/* Whether more would wait with it than may (commit.queue_bytes). */
bool task_overfills(const struct exec *e, const struct task *t);
/* Counts how long an OPEN task took, that is about to be answered. Once; task_answer does it for
 * who has not, but then its documents are not known any more. */
void task_count(struct exec *e, struct task *t, const struct fault *f);
/* Answers an OPEN task, f NULL: with `out`, of which a long one is taken; it is SPARE then. */
void task_answer(struct exec *e, struct task *t, const struct fault *f, struct buf *out);
void task_free_spares(struct exec *e);

/* The parts of exec.c that slices.c needs: one run, and what follows when that of a QUEUED task has
 * come to an end. */
enum op_status exec_run(struct task *t, struct buf *out);
void exec_ran(struct exec *e, struct task *t, enum op_status st);

/* Of what is parked it begins again what comes from no request (exec_still). */
void exec_unpark(struct exec *e);

/* Has what is missing brought, or leaves the call waiting for what will make it runnable again
 * (a commit, the link). -1: it cannot be brought. */
int exec_fetch(struct exec *e, struct call *c);
/* The registry was read, for what was behind or unlearned; or it could not be. */
void fetch_learned(struct exec *e, bool asked);
/* It needs what another program spoilt. That, or somebody else, may have mended it since: no
 * message tells of it. So it is refused when all was read after the request came. */
enum op_status exec_judge_spoilt(struct call *c);

/* ---- slices ---- */

/* Where work pauses (work.h), arg is the task. A run that is not in slices is stopped, nothing is
 * changed yet, and it is_long. */
bool slices_pause(void *arg);
/* Runs a QUEUED task that is first in all of its queues in slices, now or when fewer stand. */
void slices_run(struct exec *e, struct task *t);
/* Whether it may not run, as it waits for its turn in slices. */
bool slices_wait(const struct task *t);
/* It is not QUEUED any more. */
void slices_leave(struct exec *e, struct task *t);
/* Ends such a run, with nothing done. */
void slices_stop(struct exec *e, struct task *t);

void slices_begin(struct exec *e, struct event_base *base);
/* When all trees are freed. */
void slices_end(struct exec *e);

/* ---- room ---- */

/* Where work may be too much (work.h), arg is the task. A run that finds no room is stopped,
 * nothing is changed yet, and no_room. */
bool room_for(void *arg, uint64_t ns);
/* A QUEUED task, the run of which had no_room. */
void room_wait(struct exec *e, struct task *t);
/* Of a change that is long: whether others wait for room already, so that it need not begin. */
bool room_queues(struct exec *e, struct task *t);
/* Whether it may run: it does not wait, or has come first, and there is some room. */
bool room_turn(const struct task *t);
/* Less may be on its way: the documents of who is first are woken. */
void room_wake(struct exec *e);
/* It is not QUEUED any more. */
void room_leave(struct exec *e, struct task *t);

/* ---- queues ---- */

/* It is another daemon's turn to change the document: the task waits until that is over. Not who
 * was late itself. */
bool queue_yields(struct task *t, const struct doc *d);

/* At the end of its documents' queues; or in front, when it is done again. */
void queue_join(struct task *t);
/* Its documents are woken. */
void queue_leave(struct exec *e, struct task *t);
/* The document's queue is looked at soon. */
void queue_wake(struct exec *e, struct doc *d);
/* The same for a QUEUED task: one of its queues will do, as it has to be first in all of them. It
 * would run once for each. */
void queue_wake_task(struct exec *e, const struct task *t);
/* The next document that was woken; NULL: none. It stays in the cache until queue_looked_at. */
struct doc *queue_woken(struct exec *e);
void queue_looked_at(struct exec *e, struct doc *d);
/* Who is first in the queues of all of its documents and in this one, none of which is loading;
 * NULL: nobody. */
struct task *queue_ready(struct doc *d);
/* Whether a request of this session waits for the document. */
bool queue_has(const struct doc *d, const struct session *s);

/* ---- what is missing ---- */

void missing_free(struct missing *m);
/* What is missing of each document in one piece, and nothing twice. */
void missing_group(struct run *r);

/* ---- outages ---- */

/* The link is lost, if it was not before; it is there again. */
void outage_begins(struct exec *e, const struct upstream *link);
void outage_ends(struct exec *e, const struct upstream *link);
void outages_free(struct exec *e);

/* ---- calls ---- */

/* Leaves the request, and memory; docs() comes next. */
void call_empty(struct call *c);
void call_begin_run(struct call *c);
size_t call_memory(const struct call *c); /* bytes that it holds beside itself */
void call_free(struct call *c);
/* The locks of its guard are in the slot of its documents; -1: CROSS_SLOT. */
int call_near_locks(struct call *c, struct fault *f);
/* Nothing may be said of it before the registry was read. */
bool call_behind(const struct exec *e, const struct doc *d);
/* Nothing may be said of the document before Redis was asked. */
bool call_unfresh(const struct call *c, const struct doc *d);
/* A refusal, or that there is nothing to change, is judged by documents of which one was not
 * checked since the request came. */
bool call_doubtful(const struct call *c, enum op_status st);
/* It is refused as it names a model or a field that nobody has declared here, and the registry was
 * not read since it came: the run notes so. */
bool call_unlearned(struct call *c, enum op_status st);
/* Whether what a run that changed nothing has read anew is of one moment, or not known to be: then
 * the proof is awaited, or it is read once more. */
bool call_of_one_moment(struct call *c);
/* A proof is awaited, without which a run is in vain. */
bool call_awaits_proof(const struct call *c);
/* Whether the call may be given the document as it was when the link was lost: fresh then, and
 * with nothing of it on the way to Redis. */
bool call_may_be_stale(struct call *c, const struct doc *d);
/* At the end of a run that waits for this batch, as it changed or saw what that changes: what the
 * call has to do with is of one unit, which tells whether it happens. */
void call_ride(struct call *c, const struct batch *batch);
/* What it writes may have to be unique: then it is refused by itself, or not at all. */
void call_guard_unique(struct call *c);
/* What became of the documents that a run has changed, which was committed. -1: not what
 * it should. */
int call_outcome(const struct run *r, struct fault *f);
/* Corrects the numbers in its answer that turned out otherwise because somebody else wrote in
 * between. */
void call_set_right(const struct run *r, struct buf *answer);
/* It has told that the member of one end of a sorted set is taken out, and answers with it. */
void call_pops(struct call *c, const struct effect *e, const struct popped *popped);
/* The answer is what Redis has taken out instead, if it has. -1: that is not what it should be. */
int call_set_popped(const struct run *r, struct buf *answer, struct fault *f);
/* UNAVAILABLE: so many bytes of answers wait already. */
int call_full(struct call *c, size_t bytes);

#endif
