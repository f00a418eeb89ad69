/* peers: see peers.h. */
#include "daemon/redis/peers.h"
#include "daemon/base/clock.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS 3000
#define AGAIN_CLUSTER_MS 60000

struct peers {
    const char *id, *prefix;
    struct upstream *up;
    void (*fn)(void *arg, bool others);
    void *arg;
    struct buf channel;
    int64_t said; /* clock_mono_ms() */
    int64_t again_ms;
    bool heard; /* somebody else's hello, since ours was said last */
};

/* Who came after our hello was counted is not in its answer, and may have been heard before that.
 */
static void on_counted(void *arg, unsigned index, redisReply *reply)
{
    struct peers *p = arg;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER && !p->heard)
        p->fn(p->arg, reply->integer != 1);
}

void peers_hello(struct peers *p)
{
    struct buf out = BUF_INIT;
    p->said = clock_mono_ms();
    p->heard = false;
    resp_words(&out, "PUBLISH", (char *)p->channel.data, p->id, NULL);
    upstream_send(p->up, out.data, out.len, 1, on_counted, p);
    buf_free(&out);
}

void peers_look_again(struct peers *p)
{
    if (clock_mono_ms() - p->said >= p->again_ms)
        peers_hello(p);
}

void peers_take(struct peers *p, const redisReply *hello)
{
    if (hello->len == strlen(p->id) && memcmp(hello->str, p->id, hello->len) == 0)
        return;
    p->heard = true;
    p->fn(p->arg, true);
}

const struct buf *peers_channel(const struct peers *p)
{
    return &p->channel;
}

struct peers *peers_new(const struct config *config, const char *id, struct upstream *up,
                        void (*fn)(void *arg, bool others), void *arg)
{
    struct peers *p = alloc_zeroed(1, sizeof(*p));
    *p = (struct peers){.id = id,
                        .prefix = config->key_prefix,
                        .up = up,
                        .fn = fn,
                        .arg = arg,
                        .again_ms = AGAIN_MS};
    buf_printf(&p->channel, "%s:@peers", p->prefix);
    buf_append(&p->channel, "", 1);
    return p;
}

void peers_at(struct peers *p, const char *run)
{
    p->again_ms = AGAIN_CLUSTER_MS;
    buf_clear(&p->channel);
    buf_printf(&p->channel, "%s:@peers:%.*s", p->prefix, UPSTREAM_RUN, run);
    buf_append(&p->channel, "", 1);
}

void peers_free(struct peers *p)
{
    if (p == NULL)
        return;
    buf_free(&p->channel);
    free(p);
}
