/* upstream_silence: what is asked of a node of a cluster that was silent waits until it is known
 * that no other is in its place (silence.h).
 *
 *   silent for half of the timeout ──PING──► answered ─┬─ in time ───────────────► what waits
 *                                                      └─ late ─► on_silent ─► trusted ─► is sent
 */
#include "daemon/base/clock.h"
#include "daemon/redis/upstream_inside.h"

void upstream_takeover(struct upstream *u, int64_t ms)
{
    u->silence.takeover = ms;
}

bool upstream_ask(struct upstream *u, upstream_reply_fn *fn, void *arg, const char *first,
                  const char *second)
{
    if (u->state != UPSTREAM_UP)
        return false;
    requests_push(
        &u->requests,
        &(struct request){
            .fn = fn, .arg = arg, .nreplies = 1, .anyway = true, .sent = clock_boot_ms()});
    resp_words(stream_out(u->stream), first, second, NULL);
    stream_flush(u->stream);
    upstream_watch(u);
    return true;
}

void upstream_trust(struct upstream *u)
{
    int64_t now = clock_boot_ms();
    if (u->probed == 0)
        return;
    u->probed = 0;
    for (struct request *r; (r = requests_first(&u->behind)) != NULL; requests_pop(&u->behind)) {
        r->sent = now;
        requests_push(&u->requests, r);
    }
    buf_append(stream_out(u->stream), u->behind_bytes.data, u->behind_bytes.len);
    buf_free(&u->behind_bytes);
    stream_flush(u->stream);
    upstream_watch(u);
}

static void on_alive(void *arg, unsigned index, redisReply *reply)
{
    struct upstream *u = arg;
    (void)index;
    if (reply == NULL)
        return;
    if (!u->late) {
        upstream_trust(u);
        return;
    }
    u->silence.heard = u->probed;
    u->cb.on_silent(u->arg);
}

/* While answers are on their way they tell (silence_ends). */
bool upstream_probes(struct upstream *u)
{
    const struct request *first = requests_first(&u->requests);
    if (first != NULL && !first->anyway)
        return false;
    int64_t now = clock_boot_ms();
    if (!silence_is_long(&u->silence, now))
        return false;
    u->probed = now;
    (void)upstream_ask(u, on_alive, u, "PING", NULL);
    return true;
}

void upstream_put_behind(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                         upstream_reply_fn *fn, void *arg)
{
    requests_push(
        &u->behind,
        &(struct request){.fn = fn, .arg = arg, .nreplies = nreplies, .sent = clock_boot_ms()});
    buf_append(&u->behind_bytes, resp, len);
}
