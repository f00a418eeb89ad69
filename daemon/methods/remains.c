/* remains: see remains.h. */
#include "daemon/methods/remains.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/commit/lanes.h"
#include "daemon/commit/unit.h"
#include "daemon/methods/scatter.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SIGNS 24         /* that a daemon gives before it is taken for dead; */
#define UNHEARD (1. / 8) /* and of that time, how long somebody has to listen in vain */
#define FIRST_MS 10000   /* and the first one is given */
#define AT_ONCE 512      /* slots */
#define ID_MAX 64
#define CLAIM_MS "600000" /* one daemon at a time removes, unless it dies over it */

struct seen {
    UT_hash_handle hh;
    char id[ID_MAX];
    char sign[64]; /* the last one */
    int64_t since; /* clock_mono_ms(): no other was seen */
    bool there;
};

struct remains {
    struct exec *exec;
    struct router *router;
    const char *id;
    char *key; /* of the hash */
    struct event *tick;
    struct seen *all;
    struct seen
        dead; /* whose markers are being removed, if its id is not ""; there: no error yet */
    struct scatter *scatter; /* NULL: one Redis has all */
    uint16_t slots[AT_ONCE];
    unsigned at;
    bool stopped;
};

static const char *prefix_of(const struct remains *r)
{
    return exec_config(r->exec)->key_prefix;
}

static struct upstream *link_of(const struct remains *r)
{
    return router_link(r->router, router_slot(r->router, r->key, strlen(r->key)));
}

static int64_t forget_after(const struct remains *r)
{
    return (int64_t)exec_config(r->exec)->forget_after;
}

static void plan_tick(struct remains *r, int64_t most)
{
    int64_t ms = forget_after(r) / SIGNS;
    if (ms > most)
        ms = most;
    if (!r->stopped)
        event_add(r->tick, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

static void give_up(struct remains *r, const char *why)
{
    log_info("the markers of %s are not removed yet: %s", r->dead.id, why);
    r->dead.id[0] = '\0';
}

static void ask(struct remains *r, struct buf *out, upstream_reply_fn *fn)
{
    if (!upstream_send(link_of(r), out->data, out->len, 1, fn, r))
        r->dead.id[0] = '\0';
    buf_free(out);
}

/* ---- removing ---- */

static void on_over(void *arg, unsigned index, redisReply *reply)
{
    struct remains *r = arg;
    (void)index;
    if (reply != NULL && reply->type != REDIS_REPLY_ERROR)
        log_notice("the daemon %s was not heard of for so long that its markers are removed",
                   r->dead.id);
    r->dead.id[0] = '\0';
}

static void ask_over(struct remains *r)
{
    static const char script[] = "if redis.call('HGET',KEYS[1],ARGV[1])==ARGV[2] then "
                                 "redis.call('HDEL',KEYS[1],ARGV[1]) end "
                                 "return redis.call('HDEL',KEYS[1],'@claim')";
    struct buf out = BUF_INIT;
    resp_words(&out, "EVAL", script, "1", r->key, r->dead.id, r->dead.sign, NULL);
    ask(r, &out, on_over);
}

static void write_removal(void *arg, uint16_t slot, bool first, struct buf *out)
{
    static const char script[] =
        "if redis.call('EXISTS',KEYS[1])==1 then local t=redis.call('TIME') "
        "redis.call('SET',KEYS[2],t[1]*1000+math.floor(t[2]/1000)) "
        "redis.call('UNLINK',KEYS[1]) end return 1";
    const struct remains *r = arg;
    struct buf marker = BUF_INIT, swept = BUF_INIT;
    (void)first;
    unit_marker_key(prefix_of(r), r->dead.id, slot_tag(slot), &marker);
    unit_swept_key(prefix_of(r), slot_tag(slot), &swept);
    buf_append(&marker, "", 1);
    buf_append(&swept, "", 1);
    resp_words(out, "EVAL", script, "2", (char *)marker.data, (char *)swept.data, NULL);
    buf_free(&marker);
    buf_free(&swept);
}

static void take_removal(void *arg, unsigned i, unsigned which, redisReply *reply,
                         const struct upstream *up)
{
    struct remains *r = arg;
    (void)i;
    (void)which;
    (void)up;
    if (reply->type == REDIS_REPLY_ERROR && r->dead.there) {
        r->dead.there = false;
        give_up(r, reply->str);
    }
}

static void remove_some(struct remains *r);

static void on_removal(void *arg, const char *why)
{
    struct remains *r = arg;
    if (why != NULL && r->dead.id[0] != '\0')
        give_up(r, why);
    if (r->dead.id[0] == '\0')
        return; /* the next look begins anew; who removes one twice changes nothing */
    if (r->at < SLOTS)
        remove_some(r);
    else
        ask_over(r);
}

static void remove_some(struct remains *r)
{
    static const struct scatter_asks asks = {1, write_removal, take_removal, on_removal};
    for (unsigned i = 0; i < AT_ONCE; i++)
        r->slots[i] = (uint16_t)(r->at + i);
    r->at += AT_ONCE;
    scatter_ask(r->scatter, r->slots, AT_ONCE, &asks, r);
}

static void on_removed(void *arg, unsigned index, redisReply *reply)
{
    struct remains *r = arg;
    (void)index;
    if (reply == NULL)
        r->dead.id[0] = '\0';
    else if (reply->type == REDIS_REPLY_ERROR)
        give_up(r, reply->str);
    else
        ask_over(r);
}

static void on_claimed(void *arg, unsigned index, redisReply *reply)
{
    struct remains *r = arg;
    (void)index;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER || reply->integer != 1) {
        r->dead.id[0] = '\0';
        return;
    }
    r->at = 0;
    r->dead.there = true;
    if (r->scatter != NULL) {
        remove_some(r);
        return;
    }
    struct buf out = BUF_INIT, marker = BUF_INIT, popped = BUF_INIT;
    unit_marker_key(prefix_of(r), r->dead.id, NULL, &marker);
    unit_popped_key(prefix_of(r), r->dead.id, &popped);
    buf_append(&marker, "", 1);
    buf_append(&popped, "", 1);
    resp_words(&out, "UNLINK", (char *)marker.data, (char *)popped.data, NULL);
    buf_free(&marker);
    buf_free(&popped);
    ask(r, &out, on_removed);
}

static void claim(struct remains *r, const struct seen *s)
{
    static const char script[] = "if redis.call('HGET',KEYS[1],ARGV[1])~=ARGV[2] then return 0 end "
                                 "local t=redis.call('TIME') local now=t[1]*1000 "
                                 "local had=redis.call('HGET',KEYS[1],'@claim') "
                                 "if had and math.abs(now-had)<tonumber(ARGV[3]) then return 0 end "
                                 "redis.call('HSET',KEYS[1],'@claim',now) return 1";
    struct buf out = BUF_INIT;
    r->dead = *s;
    resp_words(&out, "EVAL", script, "1", r->key, s->id, s->sign, CLAIM_MS, NULL);
    ask(r, &out, on_claimed);
}

/* ---- who is there ---- */

static bool is_id(const char *id)
{
    size_t n = 0;
    while (isalnum((unsigned char)id[n]) || id[n] == '-')
        n++;
    return n > 0 && n < ID_MAX && id[n] == '\0';
}

static void note(struct remains *r, const char *id, const char *sign)
{
    struct seen *s;
    HASH_FIND_STR(r->all, id, s);
    if (s == NULL) {
        s = alloc_zeroed(1, sizeof(*s));
        strcpy(s->id, id);
        HASH_ADD_STR(r->all, id, s);
    }
    s->there = true;
    if (strcmp(s->sign, sign) == 0)
        return;
    snprintf(s->sign, sizeof(s->sign), "%s", sign);
    s->since = clock_mono_ms();
}

/* By what it has said itself of how often it gives a sign. */
static bool is_dead(const struct seen *s, int64_t now)
{
    int64_t at, after;
    return sscanf(s->sign, "%" SCNd64 " %" SCNd64, &at, &after) == 2 && now - at > after &&
           clock_mono_ms() - s->since > (int64_t)((double)after * UNHEARD);
}

static void take_all(struct remains *r, int64_t now, const redisReply *all)
{
    struct seen *s, *next, *dead = NULL;
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const char *id = all->element[i]->str;
        if (is_id(id) && strcmp(id, r->id) != 0)
            note(r, id, all->element[i + 1]->str);
    }
    HASH_ITER (hh, r->all, s, next) {
        if (!s->there) {
            HASH_DEL(r->all, s);
            free(s);
            continue;
        }
        s->there = false;
        if (dead == NULL && is_dead(s, now))
            dead = s;
    }
    if (dead != NULL)
        claim(r, dead);
}

static void on_all(void *arg, unsigned index, redisReply *reply)
{
    struct remains *r = arg;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_ARRAY && r->dead.id[0] == '\0' && !r->stopped)
        take_all(r, strtoll(reply->element[0]->str, NULL, 10), reply->element[1]);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    static const char script[] = "local t=redis.call('TIME') "
                                 "local now=string.format('%.0f',t[1]*1000+math.floor(t[2]/1000)) "
                                 "redis.call('HSET',KEYS[1],ARGV[1],now..' '..ARGV[2]) "
                                 "return {now,redis.call('HGETALL',KEYS[1])}";
    struct remains *r = arg;
    char after[RESP_DECIMAL_MAX + 1];
    struct buf out = BUF_INIT;
    (void)fd;
    (void)what;
    after[resp_decimal(after, forget_after(r))] = '\0';
    resp_words(&out, "EVAL", script, "1", r->key, r->id, after, NULL);
    upstream_send(link_of(r), out.data, out.len, 1, on_all, r);
    buf_free(&out);
    plan_tick(r, INT64_MAX);
}

/* ---- */

struct remains *remains_new(struct event_base *base, struct exec *e, const char *id)
{
    struct remains *r = alloc_zeroed(1, sizeof(*r));
    r->exec = e;
    r->router = lanes_router(exec_lanes(e));
    r->id = id;
    r->key = alloc_text("%s:@daemons", exec_config(e)->key_prefix);
    if (router_is_cluster(r->router))
        r->scatter = scatter_new(base, e);
    r->tick = evtimer_new(base, on_tick, r);
    plan_tick(r, FIRST_MS);
    return r;
}

void remains_stop(struct remains *r)
{
    struct buf out = BUF_INIT;
    if (r->stopped)
        return;
    r->stopped = true;
    event_del(r->tick);
    resp_words(&out, "HDEL", r->key, r->id, NULL);
    upstream_send(link_of(r), out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
    if (r->scatter != NULL)
        scatter_stop(r->scatter);
}

void remains_free(struct remains *r)
{
    struct seen *s, *next;
    HASH_ITER (hh, r->all, s, next) {
        HASH_DEL(r->all, s);
        free(s);
    }
    if (r->scatter != NULL)
        scatter_free(r->scatter);
    event_free(r->tick);
    free(r->key);
    free(r);
}
