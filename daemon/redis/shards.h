/* shards: what daemons say of documents in a cluster, by channels of their slots (SPUBLISH).
 *
 *   commit in a slot ──SPUBLISH in its MULTI──► @changes{tag of the slot} ──► who listens at that
 *                                                                             master
 *
 * A channel is in a slot as a key is, so one of the documents' slot can be named in their
 * transaction; and what is said there goes to that master and its replicas, and to no other node.
 * Who has documents of a slot in memory listens to it. A slot that leaves the master ends that
 * (sunsubscribe); who listens again then has missed what was said in between, as who begins late
 * has. That is no harm, as what nobody has told of is read again (changes.h).
 */
#ifndef RAPYERD_SHARDS_H
#define RAPYERD_SHARDS_H

#include "daemon/redis/upstream.h"
#include <stdbool.h>
#include <stdint.h>

struct shards;

/* `link` listens, and to what else it does is not known here. It is the caller's, as is the prefix
 * of all names, and is to be freed first. */
struct shards *shards_new(const char *prefix, struct upstream *link);
void shards_free(struct shards *s);

/* Whether the server has such channels, and looks at the keys of a transaction all the same: Redis
 * 7. Valkey applies one that has SPUBLISH in it also in a slot that is on the move key by key,
 * where none may be (lane.h). The link is up, or was. */
bool shards_known(const struct upstream *up);
/* Appends the name of the channel, with a NUL behind it. `tag`: that of the slot (slots.h). */
void shards_channel(const char *prefix, const char *tag, struct buf *out);

/* Listens to what is said of a slot, if that was not begun yet over this connection. */
void shards_listen(struct shards *s, uint16_t slot);
/* The link is lost. */
void shards_lost(struct shards *s);
/* It is the name of such a channel. */
bool shards_has(const struct shards *s, const redisReply *name);
/* Redis does not tell any more what is said there. */
void shards_left(struct shards *s, const redisReply *name);

#endif
