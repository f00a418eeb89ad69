/* exec: carries out requests on documents, in order per document.
 *
 *   request ──► its documents' queues ──► run ──┬─ needs something ─► load, or wait, run again
 *                (skipped when nobody waits)    ├─ saw only committed state ─► answer now
 *                    ▲                          └─ saw staged changes ─► answer with that batch
 *                    └── in front: a document was not as the tree had it ◄──┘
 *
 * A request runs when it is first in the queue of each of its documents. It runs against the
 * tree, which holds all staged changes; so one order is fixed here, and an answer is released
 * when Redis has all that it is based upon. A request that needs something is run again from
 * its beginning once that is there: until it succeeds it changes nothing.
 */
#ifndef RAPYERD_EXEC_H
#define RAPYERD_EXEC_H

#include "daemon/clients/session.h"
#include "daemon/commit/lane.h"
#include "daemon/documents/loader.h"
#include "protocol/op.h"

struct exec;
struct call;

/* A method on documents. */
struct method {
    const char *name;
    /* Names the documents: call_doc for each. Before the first run, and again when all of it has
     * to be done again. -1: refused. */
    int (*docs)(struct call *c, struct fault *f);
    /* Appends the result, one value. Runs each time something that was missing has come. */
    enum op_status (*run)(struct call *c, struct buf *out);
    const void *arg; /* for both, in call->method */
    bool reads;      /* changes nothing, and may be given what was true when the link was lost */
    /* NULL: the client gets the result or the fault. Else this is called in place of that, once,
     * when all that the run saw and did is committed; f NULL: it went well. `out` is gone when it
     * returns or when it makes another request. */
    void (*finish)(struct call *c, const struct fault *f, const struct buf *out);
};

/* A number in an answer that depends on what Redis says in the end. */
struct fix {
    const struct drift *drift;
    uint32_t at, len; /* where in the answer it is packed */
    int64_t value;
};

struct call {
    struct exec *exec;
    const struct method *method;
    struct session *session;
    uint64_t id;
    void *context;        /* of exec_call */
    struct cursor params; /* behind the array head, at its beginning in each run */
    uint32_t nparams;
    struct buf plan; /* what docs() wants to tell run(); nothing by address in the params */
    struct doc **docs;
    unsigned ndocs, docs_cap;
    struct doc *one_doc;
    uint64_t mark;       /* its documents have the same, so that each is listed once */
    struct guard *guard; /* its changes are made only if that holds; set by docs(); owned */
    struct unit *unit;   /* what it changed is of this one, or what it saw; see unit_whole */
    uint64_t since;      /* session_stamp */
    bool checked;        /* {fresh: true} has asked Redis */
    bool no_stale;       /* only what is fresh will do */
    bool whole;          /* changes all of its documents or none, whatever became of them */
    /* Of one run: */
    int64_t now;             /* unix milliseconds, once somebody has asked; 0 before */
    int64_t stale;           /* what it saw is so old, in ms since the link was lost; -1: fresh */
    struct missing *missing; /* what was met that is not loaded */
    unsigned nmissing, missing_cap;
    struct doc *missing_doc; /* the one that reports */
    struct batch_doc **touched;
    unsigned ntouched, touched_cap;
    struct batch_doc *one_touched;
    struct fix *fixes;
    unsigned nfixes, fixes_cap;
    struct fix one_fix;
    struct fault fault; /* last: long, and mostly empty */
};

struct exec *exec_new(struct event_base *base, struct config *config, struct schema *schema,
                      const char *id);
void exec_free(struct exec *e);
struct exec_callbacks {
    void (*on_link)(void *arg);  /* the link is up; before anything is sent again over it */
    void (*on_ready)(void *arg); /* requests are carried out */
    void (*on_down)(void *arg);
};
void exec_start(struct exec *e, const struct exec_callbacks *cb, void *arg);
struct lane *exec_lane(const struct exec *e);
struct cache *exec_cache(const struct exec *e);
const struct config *exec_config(const struct exec *e);
struct schema *exec_schema(const struct exec *e);
/* The end: all that waits is answered, and nothing is carried out any more. */
void exec_stop(struct exec *e);
unsigned exec_waiting(const struct exec *e); /* requests not answered yet */
/* How often requests were done again, as a document was not as the tree had it. */
uint64_t exec_done_again(const struct exec *e);

/* Takes a request; it is answered exactly once. */
void exec_request(struct exec *e, const struct method *m, struct session *s, const struct rpc *msg);
/* The same for other methods of this daemon, with a context for the call; params stand behind the
 * array head, as in a request. May finish before it returns. */
void exec_call(struct exec *e, const struct method *m, struct session *s, uint64_t id,
               struct cursor params, uint32_t nparams, void *context);

/* A lease came to this daemon: who reads under it has to see what was written elsewhere before.
 * Returns the stamp for session_raise_stamp. */
uint64_t exec_taken(struct exec *e);
/* Whom to tell that Redis has refused a change because a lease was gone. */
void exec_on_lost_lease(struct exec *e, void (*fn)(void *arg, struct lock *l, int64_t fence),
                        void *arg);
/* What the methods on locks need (methods_lock.h); exec only keeps it. */
struct lock_requests;
void exec_set_lock_requests(struct exec *e, struct lock_requests *lock_requests);
struct lock_requests *exec_lock_requests(const struct exec *e);

/* ---- for methods ---- */

/* Adds the document of a key to the call and gives it back, or NULL: BAD_KEY, UNKNOWN_MODEL. The
 * same key twice gives the same document, listed once. */
struct doc *call_doc(struct call *c, const char *key, size_t len, struct fault *f);
/* Whether a key may name a document: BAD_KEY, UNKNOWN_MODEL. */
int exec_check_key(const struct exec *e, const char *key, size_t len, struct fault *f);
/* The i-th distinct document. */
static inline struct doc *call_doc_at(struct call *c, unsigned i)
{
    return c->docs[i];
}
/* Knows whether the document is there, and it is fresh, or a method that reads may do with it as
 * it was when the link was lost (cache.stale_reads; call->stale tells). OP_NEEDS otherwise.
 * Expired documents are ABSENT. */
enum op_status call_known(struct call *c, struct doc *d);
/* As call_known, and OP_REFUSED with NOT_FOUND when there is none. */
enum op_status call_present(struct call *c, struct doc *d);
/* Where tree code reports what is not loaded of d. */
struct needs call_needs(struct call *c, struct doc *d);
/* What the run changes in d is worked out from what d's tree holds: it is applied only if Redis
 * holds the same, else the call is done again. Before the first call_stage of d. */
void call_computes(struct call *c, struct doc *d);
/* The document's part of the gathering batch. The first time in a run its version goes up. */
struct batch_doc *call_stage(struct call *c, struct doc *d);
bool call_touches(const struct call *c, const struct doc *d);
/* Before a change: -1 when no more can be taken, UNAVAILABLE (lane_admit; or the answers that wait
 * for their commit are too many already). */
int call_admit(struct call *c);
/* -1 when the answer grows beyond what a client could be given: TOO_LARGE. What only reads is held
 * to it at its end in any case; a change asks before it changes anything, and so does what packs
 * many documents, between them. */
int call_room(struct call *c, const struct buf *out);
/* Packs a document's version as a result; when the call changes it, as of then. */
void call_pack_version(struct call *c, struct doc *d, struct buf *out);
/* A number of the answer, packed at out[at..], that `drift` may correct. */
void call_fix(struct call *c, const struct drift *drift, size_t at, const struct buf *out);
/* Effects of tree changes on d; arg is a struct call_effects. */
struct call_effects {
    struct call *call;
    struct doc *doc;
    const struct drift *drift; /* of the last number told */
    char suffix[64];           /* of the pushes, when all were to one list */
    bool told;
    bool computes; /* the operation's; before its first effect */
};
effect_fn call_effect;

#endif
