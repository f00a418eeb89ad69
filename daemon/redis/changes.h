/* changes: what others do to documents in Redis, heard over a connection of its own.
 *
 *   commit of another daemon ──PUBLISH in its MULTI──► @changes ──┐
 *   scripts of our own commits ──PUBLISH in the MULTI──► @own ────┼─► this connection, in the
 *   write of others to a key ──CLIENT TRACKING, BCAST, NOLOOP─────┘   order of Redis
 *
 * A daemon says what it did as it does it, and Redis what of it was refused; at the end of the turn
 * of its loop Redis names the keys that were written in it. So a key that nobody has explained in
 * the same turn was written by a program that knows nothing of daemons. A key that was explained
 * may have been written by such a program, too; nothing can tell. Where a turn ends the markers
 * say: each commit writes that of its daemon, Redis tells prefixes in their order, and theirs is
 * behind that of documents. They are tracked from when we first listen to other daemons. Behind
 * what our own scripts write one of them writes a key that begins as those of documents do.
 *
 * What we have written ourselves is not named, as most writes are ours, and to be told of each
 * costs Redis half as much as the write. The link of our commits tracks, for the connection that
 * listens; so nothing is heard without either. What scripts write is named all the same, whoever
 * called them. Who is alone at his Redis does not listen to what daemons do, which would be himself
 * (peers.h), and need not say it either; as long as one of two does not know of the other, what is
 * written is named, and unexplained.
 *
 * Silence says nothing: the link may be dead, we may be behind, or were frozen. A *proof* does: a
 * message to ourselves, sent over the link that reads documents. When it has come back, all that
 * was acknowledged to anybody before it was sent has been told (proofs.h).
 *
 * In a cluster there is one of these for each master. There daemons say what they did on a channel
 * of the slot (shards.h), in the transaction as well; it is listened to for the slots of documents
 * that are read (changes_follow), and what is said in others is lost. Markers are not tracked:
 * where we write ourselves what another daemon has written, our own message, which is heard there,
 * is behind the other's, and what that explained is forgotten. What our own scripts write is named,
 * and unexplained. Keys that leave a master or come to it with their slot are named as well.
 */
#ifndef RAPYERD_CHANGES_H
#define RAPYERD_CHANGES_H

#include "daemon/base/config.h"
#include "daemon/redis/names.h"
#include "daemon/redis/router.h"
#include "protocol/cursor.h"

/* How the keys of markers go on behind the prefix of all keys; then there is the daemon's name. */
#define COMMIT_MARKER "~seq:"
/* The key that a commit with scripts writes and removes, so that its turn is named. */
#define TURN_KEY "{~turn}"

struct changes;

struct change { /* of one document, by another daemon; valid in the callback */
    const char *key;
    size_t key_len;
    bool deleted;
    int64_t version;      /* as that daemon expected it: it may have been overtaken */
    int64_t bump;         /* what it has added to the version, for certain */
    int64_t expires;      /* unless 0 only its deadline has changed, to this (unix milliseconds) */
    struct cursor places; /* of change_next */
    uint32_t nplaces;
};

/* One of the keys that it wrote; that of the root is among them when more than its version changed.
 */
struct change_place {
    const char *suffix;
    size_t suffix_len;
    const char *field; /* of a model's hash only this has changed; NULL: any of it */
    size_t field_len;
    bool rewritten; /* no key, but that all of the document was written anew */
};

/* The next place; false: there are no more. A suffix comes once for each of its fields. */
bool change_next(struct change *c, struct change_place *place);

struct changes_callbacks {
    void (*committed)(void *arg, const struct change *change);
    /* A Redis key of the document was written, but not by this daemon outside of scripts;
     * `explained`: by what some daemon, also this one, has told of just now, if not by others as
     * well. */
    void (*written)(void *arg, const char *key, size_t key_len, const char *suffix,
                    size_t suffix_len, bool explained);
    /* Another daemon was too late with a change of the document, and wants its turn. */
    void (*wanted)(void *arg, const char *key, size_t key_len);
    void (*others)(void *arg);     /* changes_alone has changed */
    void (*everything)(void *arg); /* FLUSHALL, SWAPDB: nothing is as it was */
    void (*proved)(void *arg);     /* changes_proved_at has moved */
    void (*hearing)(void *arg);    /* from now on; what was before may have been missed */
    void (*deaf)(void *arg);
};

/* `up` is the link that documents are read and written over; `id` is this daemon's, `names` those
 * of Redis keys; all are kept by the caller. */
struct changes *changes_new(struct event_base *base, struct config *config, const char *id,
                            const struct names *names, struct router *router, struct upstream *up,
                            const struct changes_callbacks *cb, void *arg);
void changes_free(struct changes *c);
void changes_start(struct changes *c);
void changes_stop(struct changes *c);
void changes_link(struct changes *c, bool up); /* `up` is there now, or not any more */
void changes_set_address(struct changes *c, const char *address); /* as upstream_set_address */

bool changes_hearing(const struct changes *c);
/* No other daemon is at this Redis, as far as is known: nobody need be told of commits. Who comes
 * takes them for those of a program without a daemon, until its hello was heard. */
bool changes_alone(const struct changes *c);
/* Whether Redis names the keys that were written; else only daemons are heard of. */
bool changes_tracking(const struct changes *c);
/* All that was acknowledged before this moment (clock_boot_ms) has been told; 0: nothing is sure.
 */
int64_t changes_proved_at(const struct changes *c);
/* Asks for a proof as of now, or later. `proved` follows, or `deaf`. Its number; 0: nothing can be
 * sent. */
uint64_t changes_prove(struct changes *c);
/* That proof, or a later one, has come back. */
bool changes_has_proved(const struct changes *c, uint64_t number);
/* Tells the other daemons that this one wants its turn with a document of that slot (`wanted`). */
void changes_want(struct changes *c, uint16_t slot, const char *key, size_t key_len);
/* In a cluster: what daemons say of documents in that slot is to be heard from now on, if there are
 * others. */
void changes_follow(struct changes *c, uint16_t slot);

#endif
