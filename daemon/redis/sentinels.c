/* sentinels: see sentinels.h. A question is one train of commands over a connection that otherwise
 * listens; Redis lets who is subscribed ask nothing, so it begins with UNSUBSCRIBE and ends with
 * SUBSCRIBE. A +switch-master that falls in between is no loss: the answer is from then. */
#include "daemon/redis/sentinels.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENTINELS_MAX 32
#define ASK_MS 1000
#define HELD_ASK_MS 50
#define FRESH_MS (3 * ASK_MS) /* an answer that counts */
#define FORGET_MS (60 * 1000) /* one that others spoke of and that does not answer */
#define ADDRESS_BYTES 280

#define SWITCH "+switch-master"
#define SELECTED "+selected-slave" /* the replica that it is told to promote next */

enum question { UNSUBSCRIBE, UNSELECT, ADDRESS, MASTER, OTHERS, SUBSCRIBE, SELECT, QUESTIONS };

struct sentinel {
    struct sentinels *all;
    struct upstream *link;
    bool learned;            /* not of the setting */
    bool asked;              /* and has not answered all of it */
    int64_t since, answered; /* clock_mono_ms(); 0: never */
    /* What it said last. */
    char master[ADDRESS_BYTES];
    uint64_t epoch;
    uint64_t others;
    char refusal[160];
};

struct sentinels {
    struct event_base *base;
    struct config *config;
    struct sentinels_callbacks cb;
    void *arg;
    char *name;
    struct sentinel *at[SENTINELS_MAX];
    unsigned n;
    struct event *tick;
    int64_t started;    /* clock_mono_ms() */
    int64_t held_until; /* clock_mono_ms(), of a failover that is on its way; 0: there is none */
    char master[ADDRESS_BYTES]; /* "": not known yet */
    uint64_t epoch;
};

static void ask(struct sentinel *one);
static void arm(struct sentinels *s);

/* ---- what they say ---- */

static bool says_address(const redisReply *host, const redisReply *port, char *out)
{
    if (host->type != REDIS_REPLY_STRING || port->type != REDIS_REPLY_STRING || host->len == 0 ||
        host->len > 255 || port->len == 0 || port->len > 5)
        return false;
    bool v6 = strchr(host->str, ':') != NULL;
    snprintf(out, ADDRESS_BYTES, "%s%s%s:%s", v6 ? "[" : "", host->str, v6 ? "]" : "", port->str);
    return true;
}

/* Of a list of names and values; NULL: it has none of that name. */
static const redisReply *value_of(const redisReply *list, const char *name)
{
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i + 1 < list->elements; i += 2)
        if (list->element[i]->type == REDIS_REPLY_STRING &&
            strcmp(list->element[i]->str, name) == 0 &&
            list->element[i + 1]->type == REDIS_REPLY_STRING)
            return list->element[i + 1];
    return NULL;
}

static uint64_t number_of(const redisReply *list, const char *name)
{
    const redisReply *value = value_of(list, name);
    return value != NULL ? strtoull(value->str, NULL, 10) : 0;
}

static bool is_fresh(const struct sentinel *one, int64_t now)
{
    return one->answered != 0 && one->master[0] != '\0' && now - one->answered <= FRESH_MS;
}

static void adopt(struct sentinels *s, const struct sentinel *one)
{
    s->epoch = one->epoch;
    if (strcmp(s->master, one->master) == 0)
        return;
    s->held_until = 0;
    log_notice("the master %s is at %s, says the Sentinel at %s (epoch %" PRIu64 ")", s->name,
               one->master, upstream_address(one->link), one->epoch);
    memcpy(s->master, one->master, sizeof(s->master));
    s->cb.on_master(s->arg, s->master);
}

/* The one to believe is the newest; and an older one than we knew, if most of all say so. The first
 * to answer may be one that is behind: the others have a moment. */
static void judge(struct sentinels *s)
{
    const struct sentinel *best = NULL;
    int64_t now = clock_mono_ms();
    uint64_t all = s->n;
    unsigned fresh = 0;
    for (unsigned i = 0; i < s->n; i++) {
        const struct sentinel *one = s->at[i];
        if (!is_fresh(one, now))
            continue;
        fresh++;
        if (one->others + 1 > all)
            all = one->others + 1;
        if (best == NULL || one->epoch > best->epoch)
            best = one;
    }
    if (s->master[0] == '\0' && fresh < s->n && now - s->started < ASK_MS)
        return;
    if (best != NULL && (best->epoch >= s->epoch || s->master[0] == '\0' || fresh * 2 > all))
        adopt(s, best);
}

/* ---- who they are ---- */

static void on_up(void *arg)
{
    struct sentinel *one = arg;
    one->asked = false;
    ask(one);
}

static void on_down(void *arg, const char *why)
{
    struct sentinel *one = arg;
    (void)why;
    one->asked = false;
    one->since = clock_mono_ms();
}

static bool is_text(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_STRING && strcmp(reply->str, text) == 0;
}

/* "slave NAME HOST PORT @ MASTER HOST PORT" */
static bool is_of(const redisReply *payload, const char *master)
{
    size_t len = strlen(master);
    const char *at = payload->type == REDIS_REPLY_STRING ? strstr(payload->str, " @ ") : NULL;
    return at != NULL && strncmp(at + 3, master, len) == 0 && at[3 + len] == ' ';
}

/* Until the promoted one says that it is the master a Sentinel lets a second pass, in which the old
 * one takes what is lost when it becomes a replica. So it is given nothing more. */
static void on_push(void *arg, redisReply *reply)
{
    struct sentinel *one = arg;
    struct sentinels *s = one->all;
    if (reply->elements == 3 && is_text(reply->element[1], SELECTED) &&
        is_of(reply->element[2], s->name) && s->master[0] != '\0' && s->held_until == 0) {
        log_notice("a failover of the master %s begins, says the Sentinel at %s", s->name,
                   upstream_address(one->link));
        s->held_until = clock_mono_ms() + HOLD_MS;
        arm(s);
        s->cb.on_failover(s->arg);
    }
    sentinels_ask(s);
}

static void add(struct sentinels *s, const char *address, bool learned)
{
    static const struct upstream_callbacks cb = {
        .on_up = on_up, .on_down = on_down, .on_push = on_push, .quiet = true, .sentinel = true};
    for (unsigned i = 0; i < s->n; i++)
        if (strcmp(upstream_address(s->at[i]->link), address) == 0)
            return;
    if (s->n == SENTINELS_MAX)
        return;
    struct sentinel *one = alloc_zeroed(1, sizeof(*one));
    *one = (struct sentinel){.all = s, .learned = learned, .since = clock_mono_ms()};
    one->link = upstream_new(s->base, s->config, &cb, one);
    upstream_set_address(one->link, address);
    s->at[s->n++] = one;
    if (learned)
        upstream_start(one->link);
}

static void sentinel_free(struct sentinel *one)
{
    upstream_free(one->link);
    free(one);
}

static void learn(struct sentinels *s, const redisReply *list)
{
    char address[ADDRESS_BYTES];
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i < list->elements; i++) {
        const redisReply *host = value_of(list->element[i], "ip");
        const redisReply *port = value_of(list->element[i], "port");
        if (host != NULL && port != NULL && says_address(host, port, address))
            add(s, address, true);
    }
}

/* ---- asking ---- */

static void take(struct sentinel *one, enum question what, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(one->refusal, sizeof(one->refusal), "%s", reply->str);
    } else if (what == ADDRESS) {
        bool good = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                    says_address(reply->element[0], reply->element[1], one->master);
        if (!good) {
            one->master[0] = '\0';
            snprintf(one->refusal, sizeof(one->refusal), "it knows no master of the name %s",
                     one->all->name);
        }
    } else if (what == MASTER) {
        one->epoch = number_of(reply, "config-epoch");
        one->others = number_of(reply, "num-other-sentinels");
        if (one->others >= SENTINELS_MAX)
            one->others = SENTINELS_MAX - 1;
    } else if (what == OTHERS) {
        learn(one->all, reply);
    }
}

static void on_answer(void *arg, unsigned index, redisReply *reply)
{
    struct sentinel *one = arg;
    if (reply == NULL)
        return;
    if (index == UNSUBSCRIBE)
        one->refusal[0] = '\0';
    take(one, (enum question)index, reply);
    if (index + 1 < QUESTIONS)
        return;
    one->asked = false;
    if (one->refusal[0] != '\0') {
        one->master[0] = '\0';
        return;
    }
    one->answered = clock_mono_ms();
    judge(one->all);
}

static void ask(struct sentinel *one)
{
    struct buf out = BUF_INIT;
    const char *name = one->all->name;
    if (one->asked)
        return;
    resp_words(&out, "UNSUBSCRIBE", SWITCH, NULL);
    resp_words(&out, "UNSUBSCRIBE", SELECTED, NULL);
    resp_words(&out, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, NULL);
    resp_words(&out, "SENTINEL", "MASTER", name, NULL);
    resp_words(&out, "SENTINEL", "SENTINELS", name, NULL);
    resp_words(&out, "SUBSCRIBE", SWITCH, NULL);
    resp_words(&out, "SUBSCRIBE", SELECTED, NULL);
    one->asked = upstream_send(one->link, out.data, out.len, QUESTIONS, on_answer, one);
    buf_free(&out);
}

void sentinels_ask(struct sentinels *s)
{
    for (unsigned i = 0; i < s->n; i++)
        ask(s->at[i]);
}

static void arm(struct sentinels *s)
{
    unsigned ms = s->held_until != 0 ? HELD_ASK_MS : ASK_MS;
    event_add(s->tick, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

static bool is_forgotten(const struct sentinel *one)
{
    return one->learned && upstream_state(one->link) != UPSTREAM_UP &&
           clock_mono_ms() - one->since > FORGET_MS;
}

/* All that keeps us from knowing the master, in a line. */
static void tell_trouble(struct sentinels *s)
{
    char why[400];
    int used = snprintf(why, sizeof(why), "no Sentinel says where the master %s is", s->name);
    for (unsigned i = 0; i < s->n && used > 0 && (size_t)used < sizeof(why); i++) {
        const struct sentinel *one = s->at[i];
        bool up = upstream_state(one->link) == UPSTREAM_UP;
        used += snprintf(why + used, sizeof(why) - (size_t)used, "; %s%s%s",
                         up ? upstream_address(one->link) : "", up ? ": " : "",
                         !up                       ? upstream_why(one->link)
                         : one->refusal[0] != '\0' ? one->refusal
                                                   : "no answer yet");
    }
    s->cb.on_trouble(s->arg, why);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct sentinels *s = arg;
    (void)fd;
    (void)what;
    for (unsigned i = 0; i < s->n; i++) {
        if (!is_forgotten(s->at[i]))
            continue;
        sentinel_free(s->at[i]);
        s->at[i--] = s->at[--s->n];
    }
    sentinels_ask(s);
    if (s->held_until != 0 && clock_mono_ms() >= s->held_until) {
        log_warning("the failover of the master %s is not done; it is gone on at %s", s->name,
                    s->master);
        s->held_until = 0;
        s->cb.on_master(s->arg, s->master);
    }
    judge(s);
    if (s->master[0] == '\0')
        tell_trouble(s);
    arm(s);
}

/* ---- interface ---- */

struct sentinels *sentinels_new(struct event_base *base, struct config *config,
                                const struct sentinels_callbacks *cb, void *arg)
{
    struct sentinels *s = alloc_zeroed(1, sizeof(*s));
    const char *text = config->redis + strlen("sentinel:");
    size_t len = strcspn(text, "@");
    *s = (struct sentinels){.base = base, .config = config, .cb = *cb, .arg = arg};
    s->name = alloc_copy(text, len);
    s->tick = evtimer_new(base, on_tick, s);
    for (const char *p = text + len; *p != '\0'; p += len) {
        len = strcspn(++p, ",");
        char *address = alloc_copy(p, len);
        add(s, address, false);
        free(address);
    }
    return s;
}

void sentinels_free(struct sentinels *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->n; i++)
        sentinel_free(s->at[i]);
    event_free(s->tick);
    free(s->name);
    free(s);
}

void sentinels_start(struct sentinels *s)
{
    s->started = clock_mono_ms();
    for (unsigned i = 0; i < s->n; i++)
        upstream_start(s->at[i]->link);
    arm(s);
}

struct sentinels_state sentinels_state(const struct sentinels *s)
{
    struct sentinels_state state = {
        .known = s->n, .epoch = s->epoch, .name = s->name, .master = s->master, .why = ""};
    int64_t now = clock_mono_ms();
    for (unsigned i = 0; i < s->n; i++) {
        const struct sentinel *one = s->at[i];
        if (is_fresh(one, now) && upstream_state(one->link) == UPSTREAM_UP)
            state.answering++;
        else
            state.why = one->refusal[0] != '\0' ? one->refusal : upstream_why(one->link);
    }
    return state;
}
