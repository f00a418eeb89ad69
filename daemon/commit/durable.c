/* durable: see durable.h. */
#include "daemon/commit/durable.h"
#include "daemon/redis/resp.h"
#include <stdio.h>

bool durable_wanted(const struct config *config, struct durable *d)
{
    *d = (struct durable){.replicas = config->commit_replicas,
                          .ms = config->commit_wait,
                          .fsync = config->commit_fsync};
    return d->replicas > 0 || d->fsync;
}

void durable_ask(const struct durable *d, struct buf *out)
{
    char replicas[16], ms[16];
    snprintf(replicas, sizeof(replicas), "%u", d->replicas);
    snprintf(ms, sizeof(ms), "%u", d->ms);
    if (d->fsync)
        resp_words(out, "WAITAOF", "1", replicas, ms, NULL);
    else
        resp_words(out, "WAIT", replicas, ms, NULL);
}

static int missing(const struct durable *d, long long here, long long replicas, struct fault *f)
{
    if (here < d->fsync)
        return fault_set(f, FAULT_NOT_DURABLE,
                         "the change is applied, but Redis had not written it to its disk within "
                         "%u ms (commit.fsync)",
                         d->ms);
    if (replicas < d->replicas)
        return fault_set(
            f, FAULT_NOT_DURABLE,
            "the change is applied, but only %lld of %u replicas had it%s within %u ms "
            "(commit.replicas)",
            replicas, d->replicas, d->fsync ? " on their disks" : "", d->ms);
    return 0;
}

int durable_judge(const struct durable *d, const redisReply *r, struct fault *f)
{
    if (r->type == REDIS_REPLY_ERROR)
        return fault_set(f, FAULT_NOT_DURABLE, "the change is applied, but Redis refuses %s: %s",
                         d->fsync ? "WAITAOF (commit.fsync)" : "WAIT (commit.replicas)", r->str);
    if (!d->fsync && r->type == REDIS_REPLY_INTEGER)
        return missing(d, 0, r->integer, f);
    if (d->fsync && r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
        r->element[0]->type == REDIS_REPLY_INTEGER && r->element[1]->type == REDIS_REPLY_INTEGER)
        return missing(d, r->element[0]->integer, r->element[1]->integer, f);
    return fault_set(f, FAULT_NOT_DURABLE,
                     "the change is applied, but Redis does not say how many replicas have it");
}
