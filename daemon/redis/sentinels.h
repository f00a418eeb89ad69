/* sentinels: asks Redis Sentinels who the master is, and says when it is another.
 *
 *   each Sentinel: its answer, each second, and at once after +switch-master
 *        └─► the highest configuration epoch counts ──► on_master(address)
 *
 * There is a connection to each that the setting names, and to those that they know of. One that is
 * behind (it was cut off, or has just started) has a lower epoch than the others; alone it is
 * believed only as long as nobody has told of a higher one, or when most of all Sentinels say the
 * same (they were set up anew).
 */
#ifndef RAPYERD_SENTINELS_H
#define RAPYERD_SENTINELS_H

#include "daemon/base/config.h"
#include "daemon/redis/upstream.h"

#define HOLD_MS 4000

struct sentinels;

struct sentinels_callbacks {
    /* The master is at this address: the first time, and when it is another one. */
    void (*on_master)(void *arg, const char *address);
    /* A replica was chosen and will be promoted: what the master is given from now on may be lost.
     * on_master follows, within HOLD_MS at most, and be it the one of before. */
    void (*on_failover)(void *arg);
    /* None is known yet; why, for a person. */
    void (*on_trouble)(void *arg, const char *why);
};

/* config->redis is sentinel:NAME@host:port,... */
struct sentinels *sentinels_new(struct event_base *base, struct config *config,
                                const struct sentinels_callbacks *cb, void *arg);
void sentinels_free(struct sentinels *s);
void sentinels_start(struct sentinels *s);
/* The master is gone: they are asked at once. */
void sentinels_ask(struct sentinels *s);

struct sentinels_state {
    unsigned known, answering;
    uint64_t epoch;
    const char *name, *master; /* "": not known yet */
    const char *why;           /* of the last that does not answer; "": all do */
};
struct sentinels_state sentinels_state(const struct sentinels *s);

#endif
