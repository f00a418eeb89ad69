/* bus: see bus.h. What is sent goes over the link that commits use, so it keeps its order with
 * them; a connection that listens can do nothing else.
 *
 * Such a connection (an *ear*) is silent for as long as nobody sends, so it is asked something now
 * and then: then upstream finds out that it is dead. */
#include "daemon/redis/bus.h"
#include "daemon/base/log.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <stdlib.h>
#include <utlist.h>

#define PAYLOAD_MAX (64 * 1024)

struct ear {
    struct ear *prev, *next;
    struct bus *bus;
    struct upstream *of;   /* the router's link to the same server */
    struct upstream *link; /* listens */
    bool master;           /* it is one */
    bool listening;
    bool refused;        /* one of the channels */
    bool warned;         /* that nothing is heard */
    unsigned deaf_ticks; /* in a row, though the other link is up */
};

struct bus {
    struct event_base *base;
    struct config *config;
    const char *id;
    const struct router *router;
    struct bus_callbacks cb;
    void *arg;
    struct ear *ears;
    struct event *tick;
    bool started;
};

void bus_channel(const struct config *config, const char *id, struct buf *out)
{
    buf_printf(out, "%s:@bus:%s", config->key_prefix, id);
}

void bus_channel_at(const struct bus *b, const struct upstream *up, const char *id, struct buf *out)
{
    bus_channel(b->config, "", out);
    if (router_is_cluster(b->router))
        buf_printf(out, "%.*s:", UPSTREAM_RUN, upstream_info(up)->run_id);
    buf_printf(out, "%s", id);
}

/* ---- listening ---- */

static void on_subscribed(void *arg, unsigned index, redisReply *reply)
{
    struct ear *e = arg;
    struct bus *b = e->bus;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        if (!e->warned)
            log_warning("messages of other daemons cannot be listened to: %s; locks that several "
                        "hosts want will change hands slowly",
                        reply->str);
        e->warned = e->refused = true;
        return;
    }
    if (index == 0) /* the one of all daemons comes first */
        e->refused = false;
    if (index == 0 || e->refused)
        return;
    if (e->warned)
        log_notice("messages of other daemons are heard again");
    e->warned = false;
    e->deaf_ticks = 0;
    e->listening = true;
    b->cb.listening(b->arg, e->of);
}

static void subscribe(struct ear *e)
{
    struct buf out = BUF_INIT, common = BUF_INIT, own = BUF_INIT;
    bus_channel(e->bus->config, BUS_ALL, &common);
    bus_channel_at(e->bus, e->link, e->bus->id, &own);
    resp_words(&out, "SUBSCRIBE", (char *)common.data, NULL);
    resp_words(&out, "SUBSCRIBE", (char *)own.data, NULL);
    upstream_send(e->link, out.data, out.len, 2, on_subscribed, e);
    buf_free(&common);
    buf_free(&own);
    buf_free(&out);
}

static void on_up(void *arg)
{
    subscribe(arg);
}

static void on_down(void *arg, const char *why)
{
    struct ear *e = arg;
    (void)why;
    e->listening = false;
}

static void on_redirect(void *arg, const char *error)
{
    (void)arg; /* nothing that it asks is of a slot */
    (void)error;
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
    struct ear *e = arg;
    struct bus *b = e->bus;
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
static void look_at_deafness(struct ear *e)
{
    if (upstream_state(e->of) != UPSTREAM_UP || upstream_state(e->link) == UPSTREAM_UP) {
        e->deaf_ticks = 0;
        return;
    }
    if (++e->deaf_ticks < 2 || e->warned)
        return;
    e->warned = true;
    log_warning("messages of other daemons are not heard: %s", upstream_why(e->link));
}

static void look_at(struct ear *e)
{
    if (!e->listening) {
        look_at_deafness(e);
        if (upstream_state(e->link) == UPSTREAM_UP && e->warned)
            subscribe(e); /* it was refused: perhaps it is not any more */
        return;
    }
    struct buf out = BUF_INIT;
    resp_words(&out, "PING", NULL);
    upstream_send(e->link, out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct bus *b = arg;
    struct ear *e;
    (void)fd;
    (void)what;
    arm(b);
    DL_FOREACH (b->ears, e)
        look_at(e);
}

/* ---- at whom ---- */

static struct ear *ear_of(const struct bus *b, const struct upstream *up)
{
    struct ear *e;
    DL_SEARCH_SCALAR(b->ears, e, of, up);
    return e;
}

static struct ear *ear_new(struct bus *b, struct upstream *of)
{
    static const struct upstream_callbacks one_cb = {
        .on_up = on_up, .on_down = on_down, .on_push = on_push, .quiet = true};
    static const struct upstream_callbacks node_cb = {.on_up = on_up,
                                                      .on_down = on_down,
                                                      .on_push = on_push,
                                                      .on_redirect = on_redirect,
                                                      .quiet = true};
    bool cluster = router_is_cluster(b->router);
    struct ear *e = alloc_zeroed(1, sizeof(*e));
    e->bus = b;
    e->of = of;
    e->link = upstream_new(b->base, b->config, cluster ? &node_cb : &one_cb, e);
    DL_APPEND(b->ears, e);
    return e;
}

static void ear_free(struct ear *e)
{
    DL_DELETE(e->bus->ears, e);
    upstream_free(e->link);
    free(e);
}

static void listen_at(void *arg, struct upstream *up)
{
    struct bus *b = arg;
    struct ear *e = ear_of(b, up);
    if (e == NULL) {
        e = ear_new(b, up);
        upstream_set_address(e->link, upstream_address(up));
        upstream_start(e->link);
    }
    e->master = true;
}

void bus_links(struct bus *b)
{
    struct ear *e, *next;
    if (!b->started)
        return;
    DL_FOREACH (b->ears, e)
        e->master = false;
    router_each(b->router, listen_at, b);
    DL_FOREACH_SAFE (b->ears, e, next) {
        if (!e->master)
            ear_free(e);
    }
}

bool bus_listening(const struct bus *b, const struct upstream *up)
{
    const struct ear *e = ear_of(b, up);
    return e != NULL && e->listening;
}

/* ---- sending ---- */

static void on_published(void *arg, unsigned index, redisReply *reply)
{
    (void)arg;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        log_debug("a message to another daemon was refused: %s", reply->str);
}

bool bus_send(struct bus *b, struct upstream *up, const char *to, const void *payload, size_t len)
{
    struct buf channel = BUF_INIT, out = BUF_INIT;
    bus_channel_at(b, up, to, &channel);
    const char *argv[] = {"PUBLISH", (char *)channel.data, payload};
    size_t lens[] = {7, channel.len, len};
    resp_command(&out, 3, argv, lens);
    bool sent = upstream_send(up, out.data, out.len, 1, on_published, NULL);
    buf_free(&channel);
    buf_free(&out);
    return sent;
}

/* ---- interface ---- */

struct bus *bus_new(struct event_base *base, struct config *config, const char *id,
                    const struct router *router, const struct bus_callbacks *cb, void *arg)
{
    struct bus *b = alloc_zeroed(1, sizeof(*b));
    b->base = base;
    b->config = config;
    b->id = id;
    b->router = router;
    b->cb = *cb;
    b->arg = arg;
    b->tick = evtimer_new(base, on_tick, b);
    if (!router_is_cluster(router))
        (void)ear_new(b, router_link(router, 0));
    return b;
}

void bus_free(struct bus *b)
{
    if (b == NULL)
        return;
    while (b->ears != NULL)
        ear_free(b->ears);
    event_free(b->tick);
    free(b);
}

void bus_start(struct bus *b)
{
    b->started = true;
    if (router_is_cluster(b->router))
        bus_links(b);
    else
        upstream_start(b->ears->link);
    arm(b);
}

void bus_set_address(struct bus *b, const char *address)
{
    upstream_set_address(b->ears->link, address);
}
