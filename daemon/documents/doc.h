/* doc: one document as the daemon knows it; cache.h has all of them.
 *
 *   UNKNOWN ──load──► PRESENT (root tree) or ABSENT
 *      ▲                  │
 *      └──── forget ◄─────┘   evicted, changed by someone else, or a commit's outcome is open
 *
 * The tree runs ahead of Redis: it holds all staged changes, in order. From a change on until its
 * batch is decided the document is dirty, and answers that saw it wait. The batch marks it so, and
 * clean again (batch.h). Requests for a document wait in its queue, first come first served.
 */
#ifndef RAPYERD_DOC_H
#define RAPYERD_DOC_H

#include "protocol/table.h"
#include "protocol/tree.h"

struct guard;
struct batch;
struct batch_doc;
struct place_in_queue;
struct stale;
struct row;

enum doc_state { DOC_UNKNOWN, DOC_PRESENT, DOC_ABSENT };

/* Of which moments what is known of it is. A version moves with each change by a daemon; but not
 * with those of other programs, which may come between two rounds of a load. */
enum doc_moments {
    DOC_ROOT,     /* of one: only its root was read yet */
    DOC_AT_ONCE,  /* of one: it was read in one transaction */
    DOC_IN_PIECES /* of several */
};

struct doc {
    struct table_entry entry;            /* by key */
    struct doc *prev, *next;             /* in its row of the cache, the newest first */
    struct row *row;                     /* cache.c */
    size_t bytes;                        /* of its tree, about */
    struct place_in_queue *queue, *tail; /* requests waiting for this document */
    const struct model *model;
    struct record *root; /* PRESENT; ABSENT: what is left of it without its root hash */
    int64_t version;     /* with all staged changes */
    int64_t stump;       /* ABSENT: the version that a change has left which found nothing; 0 */
    struct batch *batch; /* dirty: the last one that changes it; clean: NULL */
    struct batch_doc *staged; /* dirty: its part of that one */
    /* The number of the last run (call.h) that names it, that changed it, and that worked out its
     * change from the tree. */
    uint64_t named, changed, computed;
    struct guard *seal;      /* dirty: of whom changed it; or NULL */
    uint64_t checked, asked; /* exec's stamp when Redis was last asked for its version; is asked */
    uint64_t read;           /* the same for all of its content */
    struct stale *stale;     /* what others have changed since it was read (coherence.h), or NULL */
    int64_t suspect;         /* since when (clock_boot_ms) some of that is not sure; 0: it is */
    struct stale *suspects;  /* what of it; or NULL: at most what is short */
    int64_t others;      /* what other daemons have added to the version since, as far as heard */
    int64_t others_from; /* that version; INT64_MAX: it is being read */
    int64_t yields;      /* writes wait until then (clock_mono_ms): another daemon's turn; or 0 */
    int64_t wanted;      /* when we have last asked others to wait so */
    uint32_t hearing;    /* how often others could not be heard when it was read */
    uint64_t reading;    /* the number of that reading, of its root; never the same twice */
    int64_t expires;     /* unix milliseconds, 0: never; as it was when last heard of: Redis says */
    int64_t written;     /* "@s": up to which revision its writers knew the models (schema_known) */
    uint32_t epoch;      /* of the link when it was last known to be fresh */
    uint32_t growths;    /* schema_growths when the tree was begun */
    uint32_t pins;       /* parts of batches, and answers that wait for one: it stays */
    struct shown *shown; /* what clients can read of it in shared memory; NULL: nothing */
    uint32_t shown_len;  /* bytes, when it was there last */
    uint8_t reads, worth, credit; /* publish.c: whether it is worth to be there */
    bool unshowable;              /* too long, or not all of it is loaded */
    bool suspect_listed;          /* coherence.c: it is taken from there in time */
    uint8_t uses;                 /* cache.c: since it came into its row */
    uint32_t asked_for;           /* requests that named it, since it is in memory */
    uint8_t state;
    uint8_t moments;
    bool loading;
    bool rereading;     /* loading: all of it */
    bool unanswered;    /* what was last asked of it was lost */
    bool held;          /* a request stands still in the middle of its run, and looks at the tree */
    bool spoilt;        /* held: it is forgotten when that run has ended */
    bool unsteady;      /* somebody else wrote while it was read in slices: read it at once */
    bool condemned;     /* ABSENT: its keys are still being removed (exec/purge.h) */
    char *wrong;        /* ABSENT: what another program made of its root hash (CORRUPT); or NULL */
    bool corrupt;       /* another program spoilt something of it, as it was read (container.h) */
    bool runnable;      /* waits in the executor's list to be looked at */
    uint16_t slot;      /* of its keys, in a cluster (router.h); else 0 */
    uint16_t model_len; /* key = Model ':' pk */
    uint16_t key_len;
    char key[];
};

static inline const char *doc_pk(const struct doc *d, size_t *len)
{
    *len = (size_t)d->key_len - d->model_len - 1;
    return d->key + d->model_len + 1;
}

/* Its tree holds changes of which it is not decided whether they are in Redis. */
static inline bool doc_dirty(const struct doc *d)
{
    return d->batch != NULL;
}

/* Drops what is known of the content, and what clients can read of it: nobody is told it any more.
 * The entry stays while something waits for it, and so does the tree while it is held. */
void doc_forget(struct doc *d);

#endif
