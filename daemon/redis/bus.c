/* bus: see bus.h. What is sent goes over the link that commits use, so it keeps its order with
 * them; a connection that listens can do nothing else.
 *
 * Such a connection is silent for as long as nobody sends, so it is asked something now and then:
 * then upstream finds out that it is dead. */
#include "daemon/redis/bus.h"
#include "daemon/base/log.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <stdlib.h>

#define PAYLOAD_MAX (64 * 1024)

struct bus {
    const struct config *config;
    struct upstream *up;   /* for what is sent; not ours */
    struct upstream *link; /* listens */
    struct bus_callbacks cb;
    void *arg;
    struct buf channel; /* ours, NUL-terminated */
    struct buf common;  /* of all daemons */
    struct event *tick;
    bool listening;
    bool refused;        /* one of the channels */
    bool warned;         /* that nothing is heard */
    unsigned deaf_ticks; /* in a row, though the other link is up */
};

void bus_channel(const struct config *config, const char *id, struct buf *out)
{
    buf_printf(out, "%s:@bus:%s", config->key_prefix, id);
}

/* ---- listening ---- */

static void set_deaf(struct bus *b)
{
    if (!b->listening)
        return;
    b->listening = false;
    b->cb.deaf(b->arg);
}

static void on_subscribed(void *arg, unsigned index, redisReply *reply)
{
    struct bus *b = arg;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        if (!b->warned)
            log_warning("messages of other daemons cannot be listened to: %s; locks that several "
                        "hosts want will change hands slowly",
                        reply->str);
        b->warned = b->refused = true;
        return;
    }
    if (index == 0) /* the one of all daemons comes first */
        b->refused = false;
    if (index == 0 || b->refused)
        return;
    if (b->warned)
        log_notice("messages of other daemons are heard again");
    b->warned = false;
    b->deaf_ticks = 0;
    b->listening = true;
    b->cb.listening(b->arg);
}

static void subscribe(struct bus *b)
{
    struct buf out = BUF_INIT;
    resp_words(&out, "SUBSCRIBE", (char *)b->common.data, NULL);
    resp_words(&out, "SUBSCRIBE", (char *)b->channel.data, NULL);
    upstream_send(b->link, out.data, out.len, 2, on_subscribed, b);
    buf_free(&out);
}

static void on_up(void *arg)
{
    subscribe(arg);
}

static void on_down(void *arg, const char *why)
{
    (void)why;
    set_deaf(arg);
}

static bool is_message(const redisReply *payload)
{
    struct cursor c = cursor_of(payload->str, payload->len);
    uint32_t n;
    const char *word;
    size_t len;
    return payload->len <= PAYLOAD_MAX && cursor_array(&c, &n) == 0 && n > 0 &&
           cursor_str(&c, &word, &len) == 0;
}

static void on_push(void *arg, redisReply *reply)
{
    struct bus *b = arg;
    const redisReply *payload = reply->elements == 3 ? reply->element[2] : NULL;
    if (payload == NULL || payload->type != REDIS_REPLY_STRING || !is_message(payload)) {
        log_debug("a message that no rapyerd has sent is ignored");
        return;
    }
    b->cb.message(b->arg, payload->str, payload->len);
}

static void arm(struct bus *b)
{
    unsigned ms = b->config->command_timeout;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(b->tick, &tv);
}

/* Deaf for long while the other link is well: that is worth a line. */
static void look_at_deafness(struct bus *b)
{
    if (upstream_state(b->up) != UPSTREAM_UP || upstream_state(b->link) == UPSTREAM_UP) {
        b->deaf_ticks = 0;
        return;
    }
    if (++b->deaf_ticks < 2 || b->warned)
        return;
    b->warned = true;
    log_warning("messages of other daemons are not heard: %s", upstream_why(b->link));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct bus *b = arg;
    (void)fd;
    (void)what;
    arm(b);
    if (!b->listening) {
        look_at_deafness(b);
        if (upstream_state(b->link) == UPSTREAM_UP && b->warned)
            subscribe(b); /* it was refused: perhaps it is not any more */
        return;
    }
    struct buf out = BUF_INIT;
    resp_words(&out, "PING", NULL);
    upstream_send(b->link, out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
}

/* ---- sending ---- */

static void on_published(void *arg, unsigned index, redisReply *reply)
{
    (void)arg;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        log_debug("a message to another daemon was refused: %s", reply->str);
}

bool bus_send(struct bus *b, const char *to, const void *payload, size_t len)
{
    struct buf channel = BUF_INIT, out = BUF_INIT;
    bus_channel(b->config, to, &channel);
    const char *argv[] = {"PUBLISH", (char *)channel.data, payload};
    size_t lens[] = {7, channel.len, len};
    resp_command(&out, 3, argv, lens);
    bool sent = upstream_send(b->up, out.data, out.len, 1, on_published, NULL);
    buf_free(&channel);
    buf_free(&out);
    return sent;
}

/* ---- interface ---- */

struct bus *bus_new(struct event_base *base, struct config *config, const char *id,
                    struct upstream *up, const struct bus_callbacks *cb, void *arg)
{
    static const struct upstream_callbacks link_cb = {
        .on_up = on_up, .on_down = on_down, .on_push = on_push, .quiet = true};
    struct bus *b = alloc_zeroed(1, sizeof(*b));
    b->config = config;
    b->up = up;
    b->cb = *cb;
    b->arg = arg;
    bus_channel(config, id, &b->channel);
    buf_append(&b->channel, "", 1);
    bus_channel(config, BUS_ALL, &b->common);
    buf_append(&b->common, "", 1);
    b->link = upstream_new(base, config, &link_cb, b);
    b->tick = evtimer_new(base, on_tick, b);
    return b;
}

void bus_free(struct bus *b)
{
    if (b == NULL)
        return;
    upstream_free(b->link);
    event_free(b->tick);
    buf_free(&b->channel);
    buf_free(&b->common);
    free(b);
}

void bus_start(struct bus *b)
{
    upstream_start(b->link);
    arm(b);
}

void bus_stop(struct bus *b)
{
    event_del(b->tick);
    upstream_stop(b->link, "rapyerd is stopping");
    set_deaf(b);
}

void bus_set_address(struct bus *b, const char *address)
{
    upstream_set_address(b->link, address);
}

bool bus_listening(const struct bus *b)
{
    return b->listening;
}
