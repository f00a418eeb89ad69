/* proofs: that all that was acknowledged to anybody until some moment has been told (changes.h).
 *
 *   asked ──a message to ourselves──► sent over the link that reads documents, and tracks for us
 *     ▲                                  ├──► its answer, over that link
 *     └──(another was asked for)── back ◄┴──► the message, over the one that listens
 *
 * Each also looks at the name of the database, the *realm*: SWAPDB tells nobody.
 *
 * In a cluster a message would go to all nodes. There the master is asked over the one link whether
 * the cluster is up for it, and in which epoch of its configuration it is, and over the other one
 * for nothing (PING): who listens there is told in the order in which that master worked. If it is
 * another epoch it is asked which slots it has: of those that it has lost it proves nothing.
 */
#ifndef RAPYERD_PROOFS_H
#define RAPYERD_PROOFS_H

#include "daemon/base/config.h"
#include "daemon/redis/router.h"

struct proofs;

struct proofs_callbacks {
    void (*proved)(void *arg);        /* proofs_at has moved */
    void (*another_realm)(void *arg); /* another database stands where ours did */
    void (*refused)(void *arg, const char *why);
};

/* `up` is the link that tracks, `link` the one that listens, which is reset when no message comes
 * back over it; `id` this daemon's name, `router` that of a cluster, else NULL. All are kept by the
 * caller. */
struct proofs *proofs_new(struct event_base *base, struct config *config, const char *id,
                          struct router *router, struct upstream *up, struct upstream *link,
                          const struct proofs_callbacks *cb, void *arg);
void proofs_free(struct proofs *p);

const struct buf *proofs_channel(const struct proofs *p); /* NUL-terminated */
void proofs_take(struct proofs *p, const redisReply *message);
void proofs_void(struct proofs *p); /* nothing is heard any more: what was proved is void */

/* Asks for one as of now, or later. Its number; 0: nothing can be sent. Numbers rise over all
 * proofs of this process: of several that were asked for at one moment the lowest stands for all.
 */
uint64_t proofs_ask(struct proofs *p);
/* That one, or a later one, has come back. */
bool proofs_has(const struct proofs *p, uint64_t number);
/* As of when the last one was that has (clock_boot_ms); 0: there is none. */
int64_t proofs_at(const struct proofs *p);

#endif
