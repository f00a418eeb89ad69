/* proofs: see proofs.h. */
#include "daemon/redis/proofs.h"
#include "daemon/base/clock.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <event2/util.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* That one may take, however short the bound is: the link is slow, not dead. */
#define SLOW_MS 250

struct proofs {
    struct config *config;
    struct router *router;
    struct upstream *up, *link; /* not ours */
    struct proofs_callbacks cb;
    void *arg;
    struct buf channel, realm_key; /* NUL-terminated */
    char realm[33];                /* what stands at realm_key in the database that we are in */
    int64_t at;
    /* The one on its way; it has come back when both its message and its answer have. */
    uint64_t number, proved; /* its number, and that of the last one that has */
    unsigned asked, pinged;  /* answers to come: those of the last proof are the last ones */
    uint64_t learning;       /* the one for which it was asked which slots the master has */
    int64_t sent;
    bool away, heard, answered, another;
    struct event *overdue; /* it does not come back */
};

static uint64_t numbers; /* that were given out */

static void send_proof(struct proofs *p);

static void step(struct proofs *p)
{
    if (!p->heard || !p->answered)
        return;
    p->away = false;
    p->at = p->sent;
    p->proved = p->number;
    event_del(p->overdue);
    if (p->another)
        send_proof(p);
    p->cb.proved(p->arg);
}

static void name_realm(struct proofs *p)
{
    uint64_t random[2];
    evutil_secure_rng_get_bytes(random, sizeof(random));
    snprintf(p->realm, sizeof(p->realm), "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}

/* Another database stands where ours did, or nothing: SWAPDB tells nobody. */
static void check_realm(struct proofs *p, const redisReply *reply)
{
    bool same = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, p->realm) == 0;
    if (same || reply->type == REDIS_REPLY_ERROR)
        return;
    struct buf out = BUF_INIT;
    if (reply->type == REDIS_REPLY_STRING) { /* of daemons that were there first */
        snprintf(p->realm, sizeof(p->realm), "%s", reply->str);
    } else {
        name_realm(p); /* not as it was: others look for that, too */
        resp_words(&out, "SET", (char *)p->realm_key.data, p->realm, "NX", NULL);
        /* The next proof says who was first. */
        upstream_send(p->up, out.data, out.len, 1, upstream_ignore, NULL);
        buf_free(&out);
    }
    p->cb.another_realm(p->arg);
}

/* The realm, then how many have heard the message. */
static void on_answer(void *arg, unsigned index, redisReply *reply)
{
    struct proofs *p = arg;
    if (reply == NULL) {
        p->away = false; /* whoever waits for it is told that the link is down */
        return;
    }
    if (index == 0) {
        check_realm(p, reply);
        return;
    }
    if (!p->away)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        p->cb.refused(p->arg, reply->str);
        return;
    }
    p->answered = true;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0)
        upstream_reset(p->link, "Redis does not know of our subscription");
    else
        step(p);
}

/* ---- in a cluster ---- */

static void answered(struct proofs *p, uint64_t number)
{
    if (!p->away || p->number != number)
        return;
    p->answered = true;
    step(p);
}

static void on_learned(void *arg)
{
    struct proofs *p = arg;
    answered(p, p->learning);
}

static void on_state(void *arg, unsigned index, redisReply *reply)
{
    struct proofs *p = arg;
    (void)index;
    p->asked--;
    p->away = p->away && reply != NULL; /* whoever waits for it is told that the link is down */
    if (p->asked > 0 || !p->away)
        return;
    const char *epoch =
        reply->type == REDIS_REPLY_STRING ? strstr(reply->str, "cluster_current_epoch:") : NULL;
    if (epoch == NULL) {
        p->cb.refused(p->arg, reply->type == REDIS_REPLY_ERROR ? reply->str : "no cluster");
        return;
    }
    uint64_t at = strtoull(epoch + strlen("cluster_current_epoch:"), NULL, 10);
    if (strstr(reply->str, "cluster_state:ok") == NULL)
        upstream_reset(p->link, "the cluster is down for this master");
    else if (router_knows(p->router, p->up, at))
        answered(p, p->number);
    else {
        p->learning = p->number;
        router_learn(p->router, p->up, at, on_learned, p);
    }
}

static void on_pong(void *arg, unsigned index, redisReply *reply)
{
    struct proofs *p = arg;
    (void)index;
    if (--p->pinged > 0 || !p->away || reply == NULL || reply->type == REDIS_REPLY_ERROR)
        return;
    p->heard = true;
    step(p);
}

static bool send_to_master(struct proofs *p)
{
    struct buf out = BUF_INIT;
    resp_words(&out, "CLUSTER", "INFO", NULL);
    bool asked = upstream_send(p->up, out.data, out.len, 1, on_state, p);
    p->asked += asked;
    buf_clear(&out);
    resp_words(&out, "PING", NULL);
    bool pinged = upstream_send(p->link, out.data, out.len, 1, on_pong, p);
    p->pinged += pinged;
    buf_free(&out);
    return asked && pinged;
}

/* ---- */

static bool send_message(struct proofs *p)
{
    struct buf out = BUF_INIT;
    char number[RESP_DECIMAL_MAX + 1];
    number[resp_decimal(number, (int64_t)p->number)] = '\0';
    resp_words(&out, "GET", (char *)p->realm_key.data, NULL);
    resp_words(&out, "PUBLISH", (char *)p->channel.data, number, NULL);
    bool sent = upstream_send(p->up, out.data, out.len, 2, on_answer, p);
    buf_free(&out);
    return sent;
}

static void send_proof(struct proofs *p)
{
    p->number = ++numbers;
    p->away = true;
    p->heard = p->answered = p->another = false;
    p->sent = clock_boot_ms();
    if (!(p->router != NULL ? send_to_master : send_message)(p))
        p->away = false;
    unsigned ms = p->config->coherence_bound > SLOW_MS ? p->config->coherence_bound : SLOW_MS;
    event_add(p->overdue, &(struct timeval){ms / 1000, (suseconds_t)(ms % 1000 * 1000)});
}

static void on_overdue(evutil_socket_t fd, short what, void *arg)
{
    struct proofs *p = arg;
    (void)fd;
    (void)what;
    if (p->away)
        upstream_reset(p->link, "a message to ourselves does not come back");
}

/* ---- interface ---- */

uint64_t proofs_ask(struct proofs *p)
{
    if (upstream_state(p->up) != UPSTREAM_UP)
        return 0;
    if (p->away) {
        p->another = true;
        return ++numbers;
    }
    send_proof(p);
    return p->number;
}

bool proofs_has(const struct proofs *p, uint64_t number)
{
    return p->proved >= number;
}

int64_t proofs_at(const struct proofs *p)
{
    return p->at;
}

const struct buf *proofs_channel(const struct proofs *p)
{
    return &p->channel;
}

void proofs_take(struct proofs *p, const redisReply *message)
{
    if (!p->away || strtoull(message->str, NULL, 10) != p->number)
        return;
    p->heard = true;
    step(p);
}

void proofs_void(struct proofs *p)
{
    p->away = p->another = false;
    p->at = 0;
    event_del(p->overdue);
}

struct proofs *proofs_new(struct event_base *base, struct config *config, const char *id,
                          struct router *router, struct upstream *up, struct upstream *link,
                          const struct proofs_callbacks *cb, void *arg)
{
    struct proofs *p = alloc_zeroed(1, sizeof(*p));
    *p = (struct proofs){
        .config = config, .router = router, .up = up, .link = link, .cb = *cb, .arg = arg};
    buf_printf(&p->channel, "%s:@proof:%s", config->key_prefix, id);
    buf_append(&p->channel, "", 1);
    buf_printf(&p->realm_key, "%s:@realm", config->key_prefix);
    buf_append(&p->realm_key, "", 1);
    name_realm(p);
    p->overdue = evtimer_new(base, on_overdue, p);
    return p;
}

void proofs_free(struct proofs *p)
{
    event_free(p->overdue);
    buf_free(&p->channel);
    buf_free(&p->realm_key);
    free(p);
}
