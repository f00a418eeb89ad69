/* suspects: connections of ours, to one server, that may still hold a transaction in a buffer
 * although they were lost. Before anybody looks what became of it they are killed. */
#ifndef RAPYERD_SUSPECTS_H
#define RAPYERD_SUSPECTS_H

#include "daemon/redis/upstream.h"

struct suspects {
    uint64_t *ids;
    unsigned n, cap;
};

/* Over a link that is up again: appends the commands that kill the connections before it. Returns
 * their number; 0: there are none, or the server was started anew, for which their ids mean
 * nothing. */
unsigned suspects_kill(struct suspects *s, const struct upstream_info *link, struct buf *out);
/* For each of the answers. */
void suspects_answer(const redisReply *reply);
void suspects_over(struct suspects *s); /* all were answered */
void suspects_free(struct suspects *s);

#endif
