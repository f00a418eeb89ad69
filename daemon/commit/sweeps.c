/* sweeps: see sweeps.h. */
#include "daemon/commit/sweeps.h"
#include "daemon/base/log.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

struct sweep {
    struct sweep *next;
    struct sweeps *all;
    struct buf resp;
    unsigned ncommands;
};

static void on_swept(void *arg, unsigned index, redisReply *reply)
{
    struct sweep *one = arg;
    if (reply == NULL)
        return; /* sent again when the link is back */
    if (reply->type == REDIS_REPLY_ERROR)
        log_error("what is left of a removed document stays in Redis: %s", reply->str);
    if (index + 1 < one->ncommands)
        return;
    LL_DELETE(one->all->first, one);
    buf_free(&one->resp);
    free(one);
}

static void send_one(struct sweep *one)
{
    upstream_send(one->all->up, one->resp.data, one->resp.len, one->ncommands, on_swept, one);
}

void sweeps_add(struct sweeps *s, struct batch *b, bool now)
{
    struct buf resp = BUF_INIT;
    unsigned n = batch_format_sweep(b, &resp);
    if (n == 0)
        return;
    struct sweep *one = alloc_zeroed(1, sizeof(*one));
    *one = (struct sweep){.all = s, .resp = resp, .ncommands = n};
    LL_APPEND(s->first, one);
    if (now)
        send_one(one);
}

void sweeps_send(struct sweeps *s)
{
    for (struct sweep *one = s->first; one != NULL; one = one->next)
        send_one(one);
}

void sweeps_free(struct sweeps *s)
{
    struct sweep *one, *next;
    LL_FOREACH_SAFE (s->first, one, next) {
        buf_free(&one->resp);
        free(one);
    }
}
