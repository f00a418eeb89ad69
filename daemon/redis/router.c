/* router: see router.h. */
#include "daemon/redis/router.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "daemon/redis/suspects.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_APART_MS 100   /* two questions for the map, at least */
#define LOOK_AGAIN_MS 500   /* while a master is not there */
#define LOOK_EVERY_MS 10000 /* while all is well */
#define EPOCH_STEP 4096     /* each is as if of another server: all is read anew (upstream.h) */
#define ID_BYTES 64
/* That are known: a cluster has 1000 at most, and they may get new addresses. */
#define NODES_MAX 2000
/* cluster-node-timeout of who does not tell it, as Redis has it. */
#define TAKEOVER_MS 15000

struct node {
    struct router *router;
    struct upstream *up;
    struct suspects suspects;
    unsigned number;       /* in nodes */
    uint64_t config_epoch; /* what it said of its slots is of this one; 0: nothing */
    bool ready, took_over; /* it had no slots, and has others' now */
    /* It says that the cluster is down; whether it still is is asked; it does not let us ask. */
    bool down, asked, untold;
    unsigned nslots, killing; /* answers to CLIENT KILL that are awaited */
    char id[ID_BYTES];        /* "": not known */
    char (*replicas)[ID_BYTES];
    unsigned nreplicas, replicas_cap;
    char address[]; /* host:port */
};

struct router {
    struct event_base *base;
    struct config *config;
    struct router_callbacks cb;
    void *arg;
    struct upstream *only; /* no cluster; or the link of slots that nobody has */
    struct node **nodes;   /* NULL: no cluster */
    unsigned nnodes, nodes_cap;
    struct node *owner[SLOTS]; /* NULL: nobody is known */
    uint32_t epochs[SLOTS];
    uint32_t before[SLOTS]; /* its epoch when its owner's link was lost; 0: it was another's */
    uint32_t epoch;         /* the last one that was given */
    struct event *timer;
    struct node *hint; /* who is to be asked next; or NULL */
    bool cluster, asking, known, stopped, warned;
    bool well;     /* all masters that are known are there */
    bool down;     /* one has said that the cluster is, and that is in the log */
    unsigned turn; /* whom to ask next */
    int64_t asked; /* clock_mono_ms() */
};

/* ---- one Redis ---- */

static void on_only_up(void *arg)
{
    struct router *r = arg;
    r->cb.on_up(r->arg, r->only);
}

static void on_only_down(void *arg, const char *why)
{
    struct router *r = arg;
    (void)why;
    r->cb.on_down(r->arg, r->only);
}

/* ---- nodes ---- */

static void plan_look(struct router *r, int64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(r->timer, &tv);
}

void router_look(struct router *r)
{
    if (!r->cluster || r->stopped)
        return;
    int64_t left = r->asked + LOOK_APART_MS - clock_mono_ms();
    plan_look(r, left > 0 ? left : 0);
}

static void node_ready(struct node *n)
{
    suspects_over(&n->suspects);
    n->ready = true;
    if (!n->router->known)
        router_look(n->router);
    n->router->cb.on_up(n->router->arg, n->up);
}

/* ["cluster-node-timeout", "15000"]; who may not ask is told so. */
static void on_timeout(void *arg, unsigned index, redisReply *reply)
{
    struct node *n = arg;
    (void)index;
    bool said = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[1]->type == REDIS_REPLY_STRING;
    long long ms = said ? atoll(reply->element[1]->str) : 0;
    if (ms > 0)
        upstream_takeover(n->up, ms);
}

static void on_killed(void *arg, unsigned index, redisReply *reply)
{
    struct node *n = arg;
    (void)index;
    if (reply == NULL)
        return; /* they are killed over the next link */
    suspects_answer(reply);
    if (--n->killing == 0)
        node_ready(n);
}

static void on_up(void *arg)
{
    struct node *n = arg;
    struct buf out = BUF_INIT;
    resp_words(&out, "CONFIG", "GET", "cluster-node-timeout", NULL);
    upstream_send(n->up, out.data, out.len, 1, on_timeout, n);
    buf_clear(&out);
    n->killing = suspects_kill(&n->suspects, upstream_info(n->up), &out);
    if (n->killing == 0)
        node_ready(n);
    else
        upstream_send(n->up, out.data, out.len, n->killing, on_killed, n);
    buf_free(&out);
}

/* As long as nobody has said who has which slot that is why nothing can be asked for. */
static void on_failed(void *arg, const char *why)
{
    const struct node *n = arg;
    char text[400];
    snprintf(text, sizeof(text),
             "no node of the cluster can be asked who has the document's slot: %s", why);
    if (!n->router->known)
        upstream_no_address(n->router->only, text);
}

static void on_down(void *arg, const char *why)
{
    struct node *n = arg;
    struct router *r = n->router;
    (void)why;
    bool was_ready = n->ready;
    n->ready = n->down = n->untold = r->well = false;
    r->epoch += EPOCH_STEP;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (r->owner[slot] != n)
            continue;
        if (was_ready)
            r->before[slot] = r->epochs[slot];
        r->epochs[slot] = r->epoch;
    }
    router_look(r);
    if (was_ready)
        r->cb.on_down(r->arg, n->up);
}

static void on_redirect(void *arg, const char *error);
static void on_silent(void *arg);

/* NULL: too many are known. */
static struct node *node_at(struct router *r, const char *address)
{
    static const struct upstream_callbacks cb = {.on_up = on_up,
                                                 .on_down = on_down,
                                                 .on_failed = on_failed,
                                                 .on_redirect = on_redirect,
                                                 .on_silent = on_silent};
    for (unsigned i = 0; i < r->nnodes; i++) {
        if (strcmp(r->nodes[i]->address, address) == 0)
            return r->nodes[i];
    }
    if (r->nnodes == NODES_MAX)
        return NULL;
    struct node *n = alloc_zeroed(1, sizeof(*n) + strlen(address) + 1);
    n->router = r;
    n->number = r->nnodes;
    strcpy(n->address, address);
    n->up = upstream_new(r->base, r->config, &cb, n);
    upstream_set_address(n->up, address);
    upstream_takeover(n->up, TAKEOVER_MS);
    vec_push(r->nodes, r->nnodes, r->nodes_cap, n);
    return n;
}

static struct node *node_of(const struct router *r, const struct upstream *up)
{
    for (unsigned i = 0; i < r->nnodes; i++) {
        if (r->nodes[i]->up == up)
            return r->nodes[i];
    }
    return NULL;
}

static void node_free(struct node *n)
{
    upstream_free(n->up);
    suspects_free(&n->suspects);
    free(n->replicas);
    free(n);
}

/* In a new epoch. True: it was another's. */
static bool give_slot(struct router *r, unsigned slot, struct node *n)
{
    if (r->owner[slot] == n)
        return false;
    bool known = r->owner[slot] != NULL;
    if (known)
        r->owner[slot]->nslots--;
    r->owner[slot] = n;
    if (n != NULL) {
        n->took_over = n->took_over || (known && n->nslots == 0);
        n->nslots++;
        upstream_start(n->up);
    }
    r->epochs[slot] = r->epoch;
    r->before[slot] = 0;
    return true;
}

/* ---- the map ---- */

/* "host:port"; one without a host is that of who says it. */
static bool read_address(const struct node *from, const char *host, size_t host_len, long long port,
                         char *out, size_t size)
{
    const char *colon = strrchr(from->address, ':');
    if (host_len == 0) {
        host = from->address;
        host_len = (size_t)(colon - from->address);
    }
    bool v6 = memchr(host, ':', host_len) != NULL && host[0] != '[';
    int n = snprintf(out, size, v6 ? "[%.*s]:%lld" : "%.*s:%lld", (int)host_len, host, port);
    return port >= 1 && port <= 65535 && n > 0 && (size_t)n < size;
}

static void moved(struct router *r, unsigned slot, struct node *to)
{
    if (to == NULL)
        return;
    r->hint = to;
    r->epoch += EPOCH_STEP;
    if (give_slot(r, slot, to))
        r->cb.on_map(r->arg);
}

/* ---- whether the cluster is down ---- */

/* As Redis says it of all slots; not "CLUSTERDOWN Hash slot not served". */
#define CLUSTER_DOWN "CLUSTERDOWN The cluster is down"

static const char *down_text(const struct node *n)
{
    static char text[512];
    snprintf(text, sizeof(text),
             "%s says that the cluster is down (slots without a master, "
             "cluster-require-full-coverage yes; or it is cut off from most masters)",
             n->address);
    return text;
}

/* One that does not let us ask would be down for ever. */
static bool is_down(const struct node *n)
{
    return n->ready && n->nslots > 0 && n->down && !n->untold;
}

static void begin_down(struct node *n)
{
    struct router *r = n->router;
    n->down = true;
    if (!r->down)
        log_warning("%s: requests are UNAVAILABLE until it is up", down_text(n));
    r->down = true;
}

static void end_down(struct node *n)
{
    struct router *r = n->router;
    n->down = false;
    for (unsigned i = 0; i < r->nnodes; i++) {
        if (is_down(r->nodes[i]))
            return;
    }
    if (r->down)
        log_notice("the cluster is up again, as %s says", n->address);
    r->down = false;
}

/* Of CLUSTER INFO. */
static void on_state(void *arg, unsigned index, redisReply *reply)
{
    struct node *n = arg;
    (void)index;
    n->asked = false;
    if (reply == NULL || n->router->stopped)
        return;
    n->untold = reply->type != REDIS_REPLY_STRING;
    if (!n->untold && strstr(reply->str, "cluster_state:ok") != NULL)
        end_down(n);
    else if (!n->untold && n->nslots > 0)
        begin_down(n);
}

/* Nodes that have requests say it themselves; the others are asked when a master is away. */
static void ask_states(struct router *r)
{
    for (unsigned i = 0; i < r->nnodes; i++) {
        struct node *n = r->nodes[i];
        if (n->ready && n->nslots > 0 && !n->asked && !n->untold)
            n->asked = upstream_ask(n->up, on_state, n, "CLUSTER", "INFO");
    }
}

/* "MOVED 3999 127.0.0.1:6381": it counts at once, and he is asked for all of the map. */
static void on_redirect(void *arg, const char *error)
{
    struct node *from = arg;
    struct router *r = from->router;
    char address[300], *end;
    if (strncmp(error, "MOVED ", 6) == 0) {
        unsigned long slot = strtoul(error + 6, &end, 10);
        const char *host = end + 1, *colon = *end == ' ' ? strrchr(host, ':') : NULL;
        if (slot < SLOTS && colon != NULL &&
            read_address(from, host, (size_t)(colon - host), atoll(colon + 1), address,
                         sizeof(address))) {
            moved(r, (unsigned)slot, node_at(r, address));
        }
    }
    if (strncmp(error, CLUSTER_DOWN, strlen(CLUSTER_DOWN)) == 0)
        begin_down(from);
    else
        from->down = false; /* Redis looks at that first */
    router_look(r);
}

/* [host, port, id, ...]; NULL: it is none. */
static struct node *read_node(struct node *from, const redisReply *said)
{
    char address[300];
    if (said->type != REDIS_REPLY_ARRAY || said->elements < 3 ||
        (said->element[0]->type != REDIS_REPLY_STRING &&
         said->element[0]->type != REDIS_REPLY_NIL) ||
        said->element[1]->type != REDIS_REPLY_INTEGER ||
        said->element[2]->type != REDIS_REPLY_STRING || said->element[2]->len >= ID_BYTES)
        return NULL;
    const redisReply *host = said->element[0];
    bool named = host->type == REDIS_REPLY_STRING && strcmp(host->str, "?") != 0;
    if (!read_address(from, named ? host->str : "", named ? host->len : 0,
                      said->element[1]->integer, address, sizeof(address)))
        return NULL;
    struct node *n = node_at(from->router, address);
    if (n != NULL)
        memcpy(n->id, said->element[2]->str, said->element[2]->len + 1);
    return n;
}

static void read_replicas(struct node *master, const redisReply *range)
{
    master->nreplicas = 0;
    for (size_t i = 3; i < range->elements; i++) {
        const redisReply *said = range->element[i];
        if (said->type != REDIS_REPLY_ARRAY || said->elements < 3 ||
            said->element[2]->type != REDIS_REPLY_STRING || said->element[2]->len >= ID_BYTES)
            continue;
        vec_room(master->replicas, master->nreplicas, master->replicas_cap, 1);
        memcpy(master->replicas[master->nreplicas++], said->element[2]->str,
               said->element[2]->len + 1);
    }
}

/* [first, last, master, replica, ...] */
static bool read_range(struct node *from, const redisReply *range, struct node **owner)
{
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        range->element[0]->type != REDIS_REPLY_INTEGER ||
        range->element[1]->type != REDIS_REPLY_INTEGER)
        return false;
    long long first = range->element[0]->integer, last = range->element[1]->integer;
    struct node *master = read_node(from, range->element[2]);
    if (first < 0 || last < first || last >= SLOTS || master == NULL)
        return false;
    for (long long slot = first; slot <= last; slot++)
        owner[slot] = master;
    read_replicas(master, range);
    return true;
}

/* Of all slots: who has them, NULL where nobody has. The caller's; NULL: it does not say. */
static struct node **read_map(struct node *from, const redisReply *said)
{
    struct node **owner = alloc_zeroed(SLOTS, sizeof(struct node *));
    bool good = said->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; good && i < said->elements; i++)
        good = read_range(from, said->element[i], owner);
    if (good)
        return owner;
    free(owner);
    return NULL;
}

/* A failover is over. The link of the new master, which may have been up all along, does not say
 * so. */
static void log_takeovers(struct router *r)
{
    char slots[100];
    for (unsigned i = 0; i < r->nnodes; i++) {
        struct node *n = r->nodes[i];
        if (n->took_over && router_ranges(r, n->up, NULL, slots, sizeof(slots)) > 0)
            log_notice("%s is the master of slots %s now", n->address, slots);
        n->took_over = false;
    }
}

/* Slots that nobody has for the moment stay with who had them: he says so himself. */
static void take_map(struct node *from, const redisReply *said)
{
    struct router *r = from->router;
    struct node **owner = read_map(from, said);
    bool good = owner != NULL, other = false;
    r->epoch += EPOCH_STEP;
    for (unsigned slot = 0; good && slot < SLOTS; slot++)
        other = (owner[slot] != NULL && give_slot(r, slot, owner[slot])) || other;
    free(owner);
    if (!good && !r->warned)
        log_warning("%s does not say who has the slots of its cluster: %s", from->address,
                    said->type == REDIS_REPLY_ERROR ? said->str : "no answer to CLUSTER SLOTS");
    r->warned = !good;
    r->known = r->known || other;
    log_takeovers(r);
    if (other)
        r->cb.on_map(r->arg);
}

static void on_slots(void *arg, unsigned index, redisReply *reply)
{
    struct node *n = arg;
    struct router *r = n->router;
    (void)index;
    r->asking = false;
    if (r->stopped)
        return;
    if (reply != NULL)
        take_map(n, reply);
    r->well = reply != NULL && r->known;
    for (unsigned i = 0; i < r->nnodes && r->well; i++)
        r->well = r->nodes[i]->ready || r->nodes[i]->nslots == 0;
    if (!event_pending(r->timer, EV_TIMEOUT, NULL))
        plan_look(r, r->well && !r->down ? LOOK_EVERY_MS : LOOK_AGAIN_MS);
}

/* ---- whether a node that was silent is in its place ---- */

struct vouching {
    struct router *router;
    struct node *node;
    uint32_t epoch;     /* of its link */
    struct node *asked; /* another one */
};

static void on_vouched(void *arg, unsigned index, redisReply *reply);

static void ask_another(struct vouching *v)
{
    struct router *r = v->router;
    for (unsigned i = 0; i < r->nnodes; i++) {
        struct node *other = r->nodes[r->turn++ % r->nnodes];
        if (other != v->node && other->ready &&
            upstream_ask(other->up, on_vouched, v, "CLUSTER", "SLOTS")) {
            v->asked = other;
            return;
        }
    }
    upstream_trust(v->node->up); /* there is nobody to ask */
    free(v);
}

/* Who has taken its place has told all others so. */
static void on_vouched(void *arg, unsigned index, redisReply *reply)
{
    struct vouching *v = arg;
    struct node *n = v->node;
    (void)index;
    if (v->router->stopped || upstream_epoch(n->up) != v->epoch) {
        free(v);
        return;
    }
    unsigned had = n->nslots;
    if (reply == NULL) {
        ask_another(v);
        return;
    }
    take_map(v->asked, reply);
    if (n->nslots < had)
        upstream_reset(n->up, "it was silent, and another node is in its place");
    else
        upstream_trust(n->up);
    free(v);
}

static void on_silent(void *arg)
{
    struct vouching *v = alloc_zeroed(1, sizeof(*v));
    v->node = arg;
    v->router = v->node->router;
    v->epoch = upstream_epoch(v->node->up);
    ask_another(v);
}

/* ---- what one node has ---- */

struct learning {
    struct node *node;
    uint64_t config_epoch;
    void (*fn)(void *arg);
    void *arg;
};

/* Those it had, and has not any more. What it says of others' slots may be older than what they
 * have said. */
static void take_lost(struct node *n, struct node **owner)
{
    struct router *r = n->router;
    bool other = false;
    r->epoch += EPOCH_STEP;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (r->owner[slot] == n && owner[slot] != NULL)
            other = give_slot(r, slot, owner[slot]) || other;
    }
    log_takeovers(r);
    if (other)
        r->cb.on_map(r->arg);
}

static void on_learned(void *arg, unsigned index, redisReply *reply)
{
    struct learning *l = arg;
    struct node *n = l->node;
    (void)index;
    struct node **owner = reply != NULL && !n->router->stopped ? read_map(n, reply) : NULL;
    if (owner != NULL) {
        take_lost(n, owner);
        n->config_epoch = l->config_epoch;
        l->fn(l->arg);
    }
    free(owner);
    free(l);
}

bool router_knows(const struct router *r, const struct upstream *up, uint64_t config_epoch)
{
    const struct node *n = node_of(r, up);
    return n != NULL && n->config_epoch >= config_epoch;
}

void router_learn(struct router *r, struct upstream *up, uint64_t config_epoch,
                  void (*fn)(void *arg), void *arg)
{
    struct node *n = node_of(r, up);
    struct buf out = BUF_INIT;
    if (n == NULL)
        return;
    struct learning *l = alloc_zeroed(1, sizeof(*l));
    *l = (struct learning){.node = n, .config_epoch = config_epoch, .fn = fn, .arg = arg};
    resp_words(&out, "CLUSTER", "SLOTS", NULL);
    if (!upstream_send(up, out.data, out.len, 1, on_learned, l))
        free(l);
    buf_free(&out);
}

/* Who was named by a redirect, else one after the other: one that is cut off is not the only one
 * that is asked. */
static struct node *whom_to_ask(struct router *r)
{
    struct node *n = r->hint;
    r->hint = NULL;
    if (n != NULL && n->ready)
        return n;
    for (unsigned i = 0; i < r->nnodes; i++) {
        n = r->nodes[r->turn++ % r->nnodes];
        if (n->ready)
            return n;
    }
    return NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct router *r = arg;
    struct node *n = r->asking ? NULL : whom_to_ask(r);
    (void)fd;
    (void)what;
    plan_look(r, LOOK_AGAIN_MS);
    if (!r->well || r->down)
        ask_states(r);
    if (n == NULL)
        return;
    r->asked = clock_mono_ms();
    r->asking = upstream_ask(n->up, on_slots, n, "CLUSTER", "SLOTS");
    if (r->asking)
        event_del(r->timer); /* the answer plans it */
}

/* ---- interface ---- */

struct router *router_new(struct event_base *base, struct config *config,
                          const struct router_callbacks *cb, void *arg)
{
    static const struct upstream_callbacks only_cb = {.on_up = on_only_up, .on_down = on_only_down};
    struct router *r = alloc_zeroed(1, sizeof(*r));
    r->base = base;
    r->config = config;
    r->cb = *cb;
    r->arg = arg;
    const char *at = config_cluster(config);
    r->cluster = at != NULL;
    r->only = upstream_new(base, config, &only_cb, r);
    r->timer = evtimer_new(base, on_timer, r);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        r->epochs[slot] = 1;
    while (at != NULL && *at != '\0') {
        size_t len = strcspn(at, ",");
        char *address = alloc_copy(at, len);
        (void)node_at(r, address);
        free(address);
        at += len + (at[len] == ',');
    }
    return r;
}

void router_free(struct router *r)
{
    r->stopped = true;
    event_free(r->timer);
    for (unsigned i = 0; i < r->nnodes; i++)
        node_free(r->nodes[i]);
    free(r->nodes);
    upstream_free(r->only);
    free(r);
}

void router_start(struct router *r)
{
    if (!r->cluster)
        upstream_start(r->only);
    for (unsigned i = 0; i < r->nnodes; i++)
        upstream_start(r->nodes[i]->up);
}

void router_stop(struct router *r, const char *why)
{
    r->stopped = true;
    event_del(r->timer);
    upstream_stop(r->only, why);
    for (unsigned i = 0; i < r->nnodes; i++) {
        r->nodes[i]->ready = false;
        upstream_stop(r->nodes[i]->up, why);
    }
}

bool router_is_cluster(const struct router *r)
{
    return r->cluster;
}

struct upstream *router_link(const struct router *r, uint16_t slot)
{
    return r->owner[slot] != NULL ? r->owner[slot]->up : r->only;
}

unsigned router_number(const struct router *r, uint16_t slot)
{
    return r->owner[slot] != NULL ? r->owner[slot]->number : UINT_MAX;
}

bool router_ready(const struct router *r, const struct upstream *up)
{
    const struct node *n = node_of(r, up);
    return n != NULL ? n->ready : !r->cluster && upstream_state(up) == UPSTREAM_UP;
}

uint32_t router_epoch(const struct router *r, uint16_t slot)
{
    return r->cluster ? r->epochs[slot] : upstream_epoch(r->only);
}

uint32_t router_epoch_before(const struct router *r, uint16_t slot)
{
    return r->before[slot];
}

uint16_t router_slot(const struct router *r, const char *redis_key, size_t len)
{
    return r->cluster ? slot_of(redis_key, len) : 0;
}

bool router_over(const struct router *r, const struct upstream *up, uint32_t epoch)
{
    return router_ready(r, up) && upstream_epoch(up) != epoch;
}

bool router_promoted(const struct router *r, const struct upstream *from, const struct upstream *to)
{
    const struct node *master = node_of(r, from), *replica = node_of(r, to);
    for (unsigned i = 0; master != NULL && replica != NULL && i < master->nreplicas; i++) {
        if (replica->id[0] != '\0' && strcmp(master->replicas[i], replica->id) == 0)
            return true;
    }
    return false;
}

const char *router_why(const struct router *r, uint16_t slot)
{
    static char text[400];
    const struct node *n = r->owner[slot];
    if (n == NULL || !n->ready)
        return upstream_why(router_link(r, slot));
    if (n->down)
        return down_text(n);
    snprintf(text, sizeof(text), "slot %u is on the move between nodes of the cluster (%s has it)",
             slot, n->address);
    return text;
}

const char *router_down(const struct router *r)
{
    const struct node *down = NULL;
    for (unsigned i = 0; i < r->nnodes; i++) {
        const struct node *n = r->nodes[i];
        if (is_down(n))
            down = n;
        else if (n->ready && n->nslots > 0)
            return NULL;
    }
    return down != NULL ? down_text(down) : NULL;
}

struct upstream *router_any(const struct router *r)
{
    for (unsigned i = 0; i < r->nnodes; i++) {
        if (r->nodes[i]->ready && r->nodes[i]->nslots > 0)
            return r->nodes[i]->up;
    }
    return NULL;
}

void router_each(const struct router *r, void (*fn)(void *arg, struct upstream *up), void *arg)
{
    for (unsigned i = 0; i < r->nnodes; i++) {
        if (r->nodes[i]->nslots > 0)
            fn(arg, r->nodes[i]->up);
    }
}

bool router_node(const struct router *r, unsigned i, struct router_node *out)
{
    if (i >= r->nnodes)
        return false;
    const struct node *n = r->nodes[i];
    *out = (struct router_node){
        .up = n->up, .address = n->address, .ready = n->ready, .slots = n->nslots};
    return true;
}

static void put_range(unsigned from, unsigned to, char *out, size_t size)
{
    char range[24];
    size_t used = strlen(out);
    snprintf(range, sizeof(range), from == to ? "%u" : "%u-%u", from, to);
    if (used + strlen(range) + sizeof(" ...") + 1 <= size)
        snprintf(out + used, size - used, "%s%s", used > 0 ? " " : "", range);
    else if (used < 3 || strcmp(out + used - 3, "...") != 0)
        snprintf(out + used, size - used, " ...");
}

unsigned router_ranges(const struct router *r, const struct upstream *up, uint16_t *first,
                       char *out, size_t size)
{
    const struct node *n = up != NULL ? node_of(r, up) : NULL;
    unsigned count = 0;
    out[0] = '\0';
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        unsigned from = slot;
        while (slot < SLOTS && r->owner[slot] == n)
            slot++;
        if (slot == from)
            continue;
        if (first != NULL && count == 0)
            *first = (uint16_t)from;
        count += slot - from;
        put_range(from, slot - 1, out, size);
    }
    return count;
}
