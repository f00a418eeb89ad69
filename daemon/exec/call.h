/* call: a request on documents while it is carried out, as methods see it. It has three parts:
 *
 *   request  who asks, and for what; as long as the call
 *   call     its documents, and on what conditions they may change; named once, and again when all
 *            of it is done again
 *   run      what one run has found and done; empty at the beginning of each
 *
 * exec.h says when it runs.
 */
#ifndef RAPYERD_CALL_H
#define RAPYERD_CALL_H

#include "daemon/base/timing.h"
#include "daemon/clients/session.h"
#include "daemon/commit/lane.h"
#include "daemon/documents/coherence.h"
#include "daemon/documents/loader.h"
#include "daemon/redis/router.h"
#include "protocol/op.h"
#include "protocol/work.h"

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
    const void *arg; /* for both, in call->request.method */
    uint8_t needs; /* rights (rules.h) on its documents; 0: to read, or to write unless it reads */
    bool mends;    /* replaces or removes whole documents, whatever another program made of them */
    bool reads;    /* changes nothing, and may be given what was true when the link was lost */
    bool apart;    /* changes nothing together: its documents may be in several slots */
    bool shows;    /* may change something, and answers with what else is there as well */
    /* NULL: the client gets the result or the fault. Else this is called in place of that, once,
     * when all that the run saw and did is committed; f NULL: it went well. `out` is gone when it
     * returns or when it makes another request. */
    void (*finish)(struct call *c, const struct fault *f, const struct buf *out);
};

struct request {
    const struct method *method;
    struct session *session;
    uint64_t id;
    void *context;        /* of exec_call */
    struct cursor params; /* behind the array head, at its beginning in each run */
    uint32_t nparams;
    struct timing *timing; /* where it is counted; NULL: nowhere */
    int64_t came;          /* clock_boot_ns(), once it was looked at; 0 before */
    uint64_t stamp;        /* session_stamp when it came: documents must have been checked since */
    uint64_t arrived;      /* exec's stamp of then */
    bool learned;          /* the registry was read since it came */
};

/* A number in an answer that is another when somebody else wrote in between. */
struct correction {
    const struct drift *drift;
    uint32_t at, len; /* where in the answer it is packed */
    int64_t value;
};

struct run {
    const struct doc *rides; /* the first that is dirty: the answer waits for its commit; or NULL */
    uint64_t number;         /* of this run, among all: documents note it (doc.h) */
    struct work work;        /* what it has come to */
    bool unbroken;           /* trees are changed, to be taken back: it may not stand still */
    int64_t began, clock;    /* clock_boot_ns() and the same in ms, at its beginning */
    int64_t now;             /* unix milliseconds, once somebody has asked; 0 before */
    bool unproved;           /* the last proof of coherence is too old for it */
    int64_t stale;           /* some of what it saw is so old (call_stale_for); -1: none */
    struct unit *unit;       /* what it changed is of this one, or what it saw; see unit_joined */
    struct missing *missing; /* what was met that is not loaded */
    unsigned nmissing, missing_cap;
    struct doc *missing_of; /* the one that reports */
    bool nothing;           /* a path led on from null (op.h) */
    bool unlearned;         /* it names what is not declared here */
    bool spoilt;            /* it needs what another program spoilt: call->spoilt says what */
    struct batch_doc **touched;
    unsigned ntouched, touched_cap;
    struct correction *corrections;
    unsigned ncorrections, corrections_cap;
    const struct popped *popped; /* what its answer is, if Redis gives another; or NULL */
    const struct type *popped_type;
};

struct call {
    struct exec *exec;
    struct request request;
    struct buf plan; /* what docs() wants to tell run(); nothing by address in the params */
    struct doc **docs;
    unsigned ndocs, docs_cap;
    int64_t began;       /* clock_boot_ms() at its first run; 0: there was none */
    unsigned needs;      /* rights on the documents that are named next, */
    const char *asks;    /* for this method; docs() may change both */
    struct guard *guard; /* its changes are made only if that holds; set by docs(); owned */
    bool spares_unique;  /* no unique field is changed; set by docs() */
    bool writes_unique;  /* one may be */
    bool check;          /* its documents must have been checked since it arrived, */
    bool read_anew;      /* or all of their content been read, */
    uint64_t proof;      /* that nobody has written while it was (coherence_prove); 0: none */
    bool fresh_only;     /* what was true when the link was lost will not do */
    bool all_or_nothing; /* changes all of its documents or none, whatever became of them */
    struct run run;
    struct fault fault, spoilt; /* of the first place that was met, as CORRUPT */
};

/* What gathers the changes of the document. */
struct batch *call_batch(const struct call *c, const struct doc *d);
/* As upstream_epoch, of the link that it is read over. */
uint32_t call_epoch(const struct call *c, const struct doc *d);

/* Adds the document of a key to the call and gives it back, or NULL: BAD_KEY, UNKNOWN_MODEL. The
 * same key twice gives the same document, listed once. */
struct doc *call_doc(struct call *c, const char *key, size_t len, struct fault *f);
/* Whether a key may name a document: BAD_KEY, UNKNOWN_MODEL. */
int exec_check_key(const struct exec *e, const char *key, size_t len, struct fault *f);
/* Whether the session's user has all of these rights for the method on documents of the key's
 * model, for which exec_check_key is 0: FORBIDDEN. */
int exec_check_right(const struct exec *e, const struct session *s, const char *method,
                     const char *key, size_t len, unsigned rights, struct fault *f);
/* Whether an operation at this path leaves all unique fields of the document alone. */
bool call_spares_unique(const struct call *c, const struct doc *d, const char *path, size_t len);
/* The i-th distinct document. */
static inline struct doc *call_doc_at(struct call *c, unsigned i)
{
    return c->docs[i];
}
/* Knows whether the document is there, and it is fresh, or a method that reads may do with it as
 * it was when the link was lost (cache.stale_reads; call_stale_for tells). OP_NEEDS otherwise.
 * Expired documents are ABSENT. */
enum op_status call_known(struct call *c, struct doc *d);
/* How many ms ago the link was lost, when the document was as the run has seen it; -1: it is fresh.
 */
int64_t call_stale_for(const struct call *c, const struct doc *d);
/* What the call answers has to be true in Redis, not only here: its documents are checked, once it
 * has them. call_read_anew: all of their content, whatever their versions say. */
void call_check(struct call *c);
void call_read_anew(struct call *c);
/* OP_REFUSED with NOT_FOUND when there is none. Of one that the run has found to be known. */
enum op_status call_there(struct call *c, const struct doc *d);
/* Both. */
enum op_status call_present(struct call *c, struct doc *d);
/* Where tree code reports what is not loaded of d. */
struct needs call_needs(struct call *c, struct doc *d);
/* What the run changes in d, or answers, is worked out from what d's tree holds: it is applied only
 * if Redis holds the same, else the call is done again. Before the first call_stage of d. */
void call_computes(struct call *c, struct doc *d);
/* The document's part of the gathering batch. The first time in a run its version goes up. */
struct batch_doc *call_stage(struct call *c, struct doc *d);
/* The same where it is only given another deadline, and stays what it is, version and all. What is
 * known of it must be so in Redis (call_computes). */
struct batch_doc *call_touch(struct call *c, struct doc *d);
/* Writes d->written to the document: by which models it is written. call_stage does so by itself
 * where the document was written by older ones. */
void call_stage_written(struct call *c, struct doc *d, struct batch_doc *bd);
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
void call_correct(struct call *c, const struct drift *drift, size_t at, const struct buf *out);
/* Effects of tree changes on d; arg is a struct call_effects. */
struct call_effects {
    struct call *call;
    struct doc *doc;
    const struct drift *drift; /* of the last number told */
    char suffix[64];           /* of the pushes, when all were to one list */
    size_t suffix_len;
    bool told;
    bool computes; /* the operation's; before its first effect */
};
effect_fn call_effect;

#endif
