/* durable: on how many replicas, and disks, a commit has to be before it is acknowledged. Asked by
 * WAIT or WAITAOF behind EXEC, on the same connection; Redis answers nothing else on it meanwhile.
 */
#ifndef RAPYERD_DURABLE_H
#define RAPYERD_DURABLE_H

#include "daemon/base/config.h"
#include "protocol/buf.h"
#include "protocol/fault.h"
#include <hiredis/hiredis.h>

struct durable { /* what was asked for */
    unsigned replicas, ms;
    bool fsync;
};

/* Whether the settings want it. */
bool durable_wanted(const struct config *config, struct durable *d);
/* Appends the command. */
void durable_ask(const struct durable *d, struct buf *out);
/* 0, or -1: the commit is applied, but f says what of it is missing. */
int durable_judge(const struct durable *d, const redisReply *reply, struct fault *f);

#endif
