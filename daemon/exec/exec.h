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

#include "daemon/exec/call.h"

struct lanes;

struct exec *exec_new(struct event_base *base, struct config *config, struct schema *schema,
                      const char *id);
void exec_free(struct exec *e);
struct exec_callbacks {
    void (*on_link)(void *arg);  /* the link is up; before anything is sent again over it */
    void (*on_ready)(void *arg); /* requests are carried out */
    void (*on_down)(void *arg);
    void (*on_links)(void *arg); /* lanes.h */
    /* A document was written by newer models, or a request names what is not declared here: the
     * registry is to be read, then exec_learned. Once until then. */
    void (*on_behind)(void *arg);
};
/* All models that Redis had at the time of on_behind are known; not `asked`: it was not there. */
void exec_learned(struct exec *e, bool asked);
void exec_start(struct exec *e, const struct exec_callbacks *cb, void *arg);
/* That of what is no document (lanes.h). */
struct lane *exec_lane(const struct exec *e);
struct lanes *exec_lanes(const struct exec *e);
struct coherence *exec_coherence(const struct exec *e);
struct audit *exec_audit(const struct exec *e);
/* publisher_open; from then on the daemon says several times a second that it is there. */
int exec_share(struct exec *e, size_t *size, struct fault *f);
/* Its settings have changed. */
void exec_reloaded(struct exec *e);
struct purger *exec_purger(const struct exec *e);
struct cache *exec_cache(const struct exec *e);
struct publisher *exec_publisher(const struct exec *e);
const struct config *exec_config(const struct exec *e);
const struct names *exec_names(const struct exec *e); /* of all Redis keys */
/* It is known whether pks have tags (names.h); before the first request. */
void exec_named(struct exec *e, bool tags);
struct schema *exec_schema(const struct exec *e);
struct index_table *exec_indexes(const struct exec *e);
/* The end: all that waits is answered, and nothing is carried out any more. */
void exec_stop(struct exec *e);
/* Nothing new comes: what waits for its client to read stands where it can be handed over. */
void exec_still(struct exec *e, bool still);
/* Nothing is being carried out, but for that. */
bool exec_quiet(const struct exec *e);
unsigned exec_parked(const struct exec *e); /* requests that wait so */
/* For another process, before the sessions: they ask for that again there. */
void exec_save(struct exec *e, struct state_writer *w);
int exec_resume(struct exec *e, struct state_reader *r); /* -1: it is not what was saved */
unsigned exec_waiting(const struct exec *e);             /* requests not answered yet */
/* Bytes of requests that wait, and of answers that wait for a commit: commit.queue_bytes each. */
void exec_bytes(const struct exec *e, size_t *waiting, size_t *kept);
/* How often requests were done again, as a document was not as the tree had it. */
uint64_t exec_done_again(const struct exec *e);

/* Takes a request; it is answered exactly once. timing: what counts how long that took. learned:
 * the registry was read since it came. */
void exec_request(struct exec *e, const struct method *m, struct session *s, const struct rpc *msg,
                  struct timing *timing, bool learned);
/* The session reads again, or is gone: what was held back for it goes on. */
void exec_drained(struct exec *e, struct session *s);
/* The same for other methods of this daemon, with a context for the call; params stand behind the
 * array head, as in a request. May finish before it returns. */
void exec_call(struct exec *e, const struct method *m, struct session *s, uint64_t id,
               struct cursor params, uint32_t nparams, void *context);

/* A request on documents that is about to be answered. */
struct done {
    struct session *session;
    uint64_t id; /* that its client gave it */
    const char *method;
    const char *key; /* of its first document, NULL: it named none */
    size_t key_len;
    unsigned documents;
    const struct fault *fault;   /* NULL: it went well */
    int64_t all, stages[STAGES]; /* ns; -1: it was not in that */
};
/* Tells fn of all those that took so long at least (ns; 0: all, INT64_MAX: none). */
void exec_observe(struct exec *e, int64_t from, void (*fn)(void *arg, const struct done *d),
                  void *arg);

/* A lease came to this daemon: who reads under it has to see what was written elsewhere before.
 * Returns the stamp for session_raise_stamp. */
uint64_t exec_taken(struct exec *e);
/* Whom to tell that Redis has refused a change because a lease was gone. */
void exec_on_lost_lease(struct exec *e, void (*fn)(void *arg, struct lock *l, int64_t fence),
                        void *arg);
/* Whom to ask whether what changed documents, and is committed, is answered by him with this,
 * later. */
void exec_on_written(struct exec *e, bool (*answers)(struct call *c, const struct buf *out));
/* What the methods on locks need (methods_lock.h); exec only keeps it. */
struct lock_requests;
void exec_set_lock_requests(struct exec *e, struct lock_requests *lock_requests);
struct lock_requests *exec_lock_requests(const struct exec *e);

#endif
