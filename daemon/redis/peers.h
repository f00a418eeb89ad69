/* peers: whether other daemons are at the same Redis, so that who is alone need not listen to them.
 *
 *   hello ──PUBLISH──► @peers ──► all daemons, also this one
 *
 * Who says hello learns from Redis how many hear it, and whoever hears it that he is not alone. One
 * is said at the beginning, and then now and then by who takes others to be there: they may have
 * left. Nothing hangs on it but what it costs (changes.h).
 *
 * In a cluster each master is asked by itself, by a channel that has the run of that server in its
 * name: Redis counts those who listen at the node that is asked, but hands hellos on to all of
 * them. So they are rarer there.
 */
#ifndef RAPYERD_PEERS_H
#define RAPYERD_PEERS_H

#include "daemon/base/config.h"
#include "daemon/redis/upstream.h"

struct peers;

/* `fn` is told what is known now, as often as it is heard. `up` is the link that hellos go over,
 * and `id` this daemon's; kept by the caller. */
struct peers *peers_new(const struct config *config, const char *id, struct upstream *up,
                        void (*fn)(void *arg, bool others), void *arg);
void peers_free(struct peers *p);
/* In a cluster, before the channel is listened to: which run of a server it is at. */
void peers_at(struct peers *p, const char *run);

const struct buf *peers_channel(const struct peers *p); /* NUL-terminated */
void peers_hello(struct peers *p);
/* Says hello, but not before some time after the last one. */
void peers_look_again(struct peers *p);
void peers_take(struct peers *p, const redisReply *hello); /* a message of the channel */

#endif
