/* coherence: which documents in memory may be given out, although others change them in Redis.
 *
 *   changes ──► marks on documents: what of them has to be read again, before they are used
 *           ──► proofs: how long ago we knew of everything
 *
 * A document that is used is *current*: nothing of it is marked, and there was no gap in what we
 * have heard since it was read. A plain read wants, besides, that we knew of everything no longer
 * ago than coherence.bound; and asks for a proof in good time, so that it seldom waits for one.
 * When nothing is heard every read asks Redis.
 *
 * All of this is said of a document by the master of its slot, of which a cluster has several: who
 * loses one of them has documents that are not known to be current, and others that are.
 */
#ifndef RAPYERD_COHERENCE_H
#define RAPYERD_COHERENCE_H

#include "daemon/base/config.h"
#include "daemon/documents/cache.h"
#include "daemon/redis/router.h"

struct coherence;

struct coherence_callbacks {
    void (*proved)(void *arg);  /* what waits for a proof goes on, or asks again */
    void (*changed)(void *arg); /* deaf, or alone, or not any more: what waits looks again */
    void (*taken)(void *arg, struct doc *d); /* another daemon has taken its turn */
};

/* `id` is this daemon's name, `names` those of Redis keys. */
struct coherence *coherence_new(struct event_base *base, struct config *config, const char *id,
                                const struct names *names, struct router *router,
                                struct cache *cache, const struct coherence_callbacks *cb,
                                void *arg);
void coherence_free(struct coherence *c);
void coherence_start(struct coherence *c);
void coherence_stop(struct coherence *c);
/* This link of the router's is there now, or not any more. */
void coherence_link(struct coherence *c, struct upstream *link, bool up);
void coherence_set_address(struct coherence *c, const char *address); /* as upstream_set_address */

/* Whether others' changes of the document are heard. */
bool coherence_hearing(const struct coherence *c, const struct doc *d);
bool coherence_hears_all(const struct coherence *c); /* of whatever document */
/* Nobody listens to what this daemon says, at any master (changes_alone). */
bool coherence_alone(const struct coherence *c);
/* What other daemons say of documents in that slot is to be heard, though none of them is read. */
void coherence_follow(struct coherence *c, uint16_t slot);
/* Nothing is known to have changed in the document since it was read. At one moment (now,
 * clock_boot_ms) for all of a request: what was current must not stop to be half way through it. */
bool coherence_current(const struct coherence *c, const struct doc *d, int64_t now);
/* It was so when others were last heard: for reads that take what is stale. */
bool coherence_was_current(const struct coherence *c, const struct doc *d, int64_t now);
/* We knew of everything that was done to the document within the bound, as of now. */
bool coherence_proved(struct coherence *c, const struct doc *d, int64_t now);
/* Until when (clock_boot_ms) that is so of all documents; new proofs are asked for in good time.
 * For who gives documents to readers that do not ask. */
int64_t coherence_trust(struct coherence *c);
/* Asks for a proof as of now for these documents. Its number; 0: of some nothing is heard. */
uint64_t coherence_prove(struct coherence *c, struct doc *const *docs, unsigned n);
/* That proof, or a later one, has not come back yet, and it can. */
bool coherence_awaits(const struct coherence *c, struct doc *const *docs, unsigned n,
                      uint64_t number);
/* For what is known of the document to be of one moment: whether programs without a daemon would be
 * heard of, and nobody was, since its root was read. */
bool coherence_names_writers(const struct coherence *c, const struct doc *d);
bool coherence_untouched(const struct coherence *c, const struct doc *d);
/* All that was acknowledged of it before this moment (clock_boot_ms) has been told; 0: nothing is
 * sure. */
int64_t coherence_proved_at(const struct coherence *c, const struct doc *d);
/* Calls fn once, when somebody next relies on what is in memory (coherence_proved). */
void coherence_on_next_use(struct coherence *c, void (*fn)(void *arg), void *arg);

/* ---- taking turns ----
 *
 * A change that was computed from what is in memory is in vain when another daemon was faster. Who
 * has to do it again needs two round trips, and the other, who need not read, one: left to chance,
 * who was late is late again. So it says that it wants its turn; the others let no writes of theirs
 * go out to that document until they hear of its change, or TURN_MS are over.
 */
void coherence_want_turn(struct coherence *c, struct doc *d);
/* How long (ms) it is another daemon's turn yet; 0: it is not. */
int64_t coherence_yields(const struct doc *d);

/* The document is read now: what is marked has been taken over by the caller (stale_free), and what
 * is marked from here on counts for the time after. NULL: nothing was. */
struct stale *coherence_read(struct coherence *c, struct doc *d);

/* This daemon has written this key of the document, with what was sent at that moment
 * (clock_boot_ms). */
void coherence_wrote(struct coherence *c, struct doc *d, int64_t sent, const char *suffix,
                     size_t len);
/* It is shown to readers that do not ask. */
void coherence_shown(struct coherence *c, struct doc *d);

/* Redis has just said that this is the document's version, 0: it is not there. What is in memory of
 * another one is read again before it is used. */
void coherence_seen(struct coherence *c, const char *key, size_t len, int64_t version);

/* Whoever wants to hear of what others change, also of documents that are not in memory: before
 * anybody is given what is older. One at most; kept by the caller; NULL: nobody. */
struct change;
struct coherence_listener {
    void (*committed)(void *arg, const struct change *change); /* by another daemon (changes.h) */
    /* A Redis key of the document, by a program without a daemon. True: somebody is told, and may
     * read it at once. */
    bool (*written)(void *arg, const char *key, size_t key_len, const char *suffix,
                    size_t suffix_len);
    void (*gap)(void *arg); /* something may have been missed */
};
void coherence_listen(struct coherence *c, const struct coherence_listener *listener, void *arg);

struct coherence_stats {
    uint64_t commits; /* of other daemons, on documents in memory */
    uint64_t foreign; /* keys of documents in memory that no daemon has written */
    uint64_t gaps;    /* times that something may have been missed */
    uint64_t proofs;
};
void coherence_stats(const struct coherence *c, struct coherence_stats *out);

#endif
