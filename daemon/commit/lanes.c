/* lanes: see lanes.h. In a cluster all that is heard of links and slots only says that something
 * is to be done; it is done at the end of the turn, by one function that looks at each lane, at
 * who has its slot, and at whether he may be asked. */
#include "daemon/commit/lanes.h"
#include "daemon/base/clock.h"
#include "daemon/commit/claims.h"
#include "daemon/commit/durable.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

/* Committed batches that are kept for a Redis that lost the last of them in a restart. */
#define RETAIN_BATCHES 1024
#define RETAIN_BATCHES_CLUSTER 16384 /* they are smaller: each is of one slot */
#define RETAIN_BYTES (16u << 20)

#define TICK_MS 2 /* while a slot is looked for */

/* What was put on a link in one turn, and WAIT is to follow: one is behind all of it, as Redis
 * answers nothing else on a connection meanwhile. */
struct waits {
    struct waits *next;
    struct upstream *up;
    struct sent {
        struct lane *lane;
        uint64_t number;
    } * all;
    unsigned n, cap;
};

struct lanes {
    struct event_base *base;
    struct config *config;
    const char *id;
    struct lanes_callbacks cb;
    void *arg;
    struct router *router;
    struct batch_pool *pool;
    struct claims *claims;
    struct retained retained;
    struct lane_stats stats;
    struct lane_mute mute;
    struct commit_listener *listeners; /* utlist */
    struct event *settle; /* cluster: there is something to do; or, later, to be tried again */
    struct lane *home;
    struct lane **all; /* those that there are */
    unsigned n, cap;
    struct event *turn;    /* active: at the end of this turn of the loop */
    bool turning;          /* it is active */
    struct lane **kicked;  /* lanes that are to be called then */
    struct upstream **put; /* links that have something to be written then, by one call each */
    struct waits *waits;   /* to be asked then, one for each link (utlist) */
    unsigned nkicked, kicked_cap, nput, put_cap;
    bool changed, stopped;
    unsigned forgetting; /* links that are asked for it */
    void (*forgotten)(void *arg);
    void *forgotten_arg;
    struct lane *at[]; /* by slot; NULL: not used yet */
};

static void settle_soon(struct lanes *l)
{
    if (!l->stopped && router_is_cluster(l->router))
        event_add(l->settle, &(struct timeval){0});
}

/* ---- what lanes report ---- */

static void on_batch(void *arg, struct lane *lane, struct batch *b, const struct fault *fault)
{
    struct lanes *l = arg;
    l->cb.on_batch(l->arg, lane, b, fault);
}

static void on_link(void *arg, struct lane *lane)
{
    struct lanes *l = arg;
    if (lane == l->home)
        l->cb.on_link(l->arg);
}

static void changed(struct lanes *l)
{
    l->changed = true;
    settle_soon(l);
}

static void on_ready(void *arg, struct lane *lane)
{
    struct lanes *l = arg;
    if (lane == l->home)
        l->cb.on_ready(l->arg);
    else
        changed(l);
}

static void on_lane_down(void *arg, struct lane *lane)
{
    struct lanes *l = arg;
    if (lane == l->home)
        l->cb.on_down(l->arg);
    else
        changed(l);
}

static void on_unsure(void *arg, struct lane *lane)
{
    struct lanes *l = arg;
    (void)lane;
    router_look(l->router);
    settle_soon(l);
}

/* ---- replicas and disks ---- */

static void waits_free(struct waits *w)
{
    free(w->all);
    free(w);
}

static void wait_for(struct lanes *l, struct lane *lane, uint64_t number)
{
    struct waits *w;
    LL_SEARCH_SCALAR(l->waits, w, up, lane_upstream(lane));
    if (w == NULL) {
        w = alloc_zeroed(1, sizeof(*w));
        w->up = lane_upstream(lane);
        LL_PREPEND(l->waits, w);
    }
    vec_push(w->all, w->n, w->cap, (struct sent){.lane = lane, .number = number});
}

static void on_waited(void *arg, unsigned index, redisReply *reply)
{
    struct waits *w = arg;
    (void)index;
    for (unsigned i = 0; i < w->n; i++)
        lane_waited(w->all[i].lane, w->all[i].number, reply);
    waits_free(w);
}

/* If it cannot be asked the link is lost, which lanes are told. */
static void ask_for_all(struct lanes *l)
{
    struct durable asked;
    struct buf ask = BUF_INIT;
    if (l->waits != NULL && durable_wanted(l->config, &asked))
        durable_ask(&asked, &ask);
    while (l->waits != NULL) {
        struct waits *w = l->waits;
        LL_DELETE(l->waits, w);
        if (!upstream_put(w->up, ask.data, ask.len, 1, on_waited, w))
            waits_free(w);
    }
    buf_free(&ask);
}

/* ---- the end of a turn ---- */

static void turn_soon(struct lanes *l)
{
    if (!l->turning)
        event_active(l->turn, 0, 0);
    l->turning = true;
}

static void on_kick(void *arg, struct lane *lane)
{
    struct lanes *l = arg;
    vec_push(l->kicked, l->nkicked, l->kicked_cap, lane);
    turn_soon(l);
}

static void on_sent(void *arg, struct lane *lane, uint64_t number, bool waits)
{
    struct lanes *l = arg;
    struct upstream *up = lane_upstream(lane);
    unsigned i = l->nput;
    while (i > 0 && l->put[i - 1] != up)
        i--;
    if (i == 0)
        vec_push(l->put, l->nput, l->put_cap, up);
    if (waits)
        wait_for(l, lane, number);
    turn_soon(l);
}

/* What lanes put on a link goes out at once, and with one call: each would wake its Redis. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct lanes *l = arg;
    unsigned again = 0;
    (void)fd;
    (void)what;
    for (unsigned i = 0; i < l->nkicked; i++) {
        if (lane_turn(l->kicked[i]))
            l->kicked[again++] = l->kicked[i];
    }
    l->nkicked = again;
    ask_for_all(l);
    while (l->nput > 0)
        upstream_flush(l->put[--l->nput]);
    l->turning = again > 0;
    if (again > 0)
        event_add(l->turn, &(struct timeval){0});
}

/* ---- where slots are ---- */

/* What was sent of its batch in flight may still be applied where it was sent, unless that is over;
 * before that nobody else may be asked. design.md has the cases. */
static bool may_look(const struct lanes *l, struct lane *lane, const struct upstream *now)
{
    uint32_t epoch;
    const struct upstream *open = lane_open_on(lane, &epoch);
    if (open == NULL)
        return true;
    bool over = router_over(l->router, open, epoch);
    bool asked = router_ready(l->router, open) && !over; /* its answer will come */
    if (!over && !(open != now && !asked && router_promoted(l->router, open, now)))
        return false;
    lane_answered(lane);
    return true;
}

/* True: it is to be tried again soon. */
static bool settle_one(struct lanes *l, struct lane *lane, int64_t now)
{
    int64_t retry_at;
    struct upstream *up = router_link(l->router, lane_place(lane)->slot);
    bool unsure = lane_unsure(lane, &retry_at), moved = up != lane_upstream(lane);
    if (lane_ready(lane) && !moved)
        return false;
    if (moved)
        lane_unlink(lane);
    if (!router_ready(l->router, up))
        return false; /* on_up */
    if (lane_recovers(lane) && !moved)
        return false; /* its answers */
    if (unsure && now < retry_at)
        return true;
    if (!may_look(l, lane, up))
        return true;
    lane_link(lane, up);
    return false;
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    struct lanes *l = arg;
    bool again = false;
    int64_t now = clock_mono_ms();
    (void)fd;
    (void)what;
    if (l->stopped)
        return;
    for (unsigned i = 0; i < l->n; i++)
        again = settle_one(l, l->all[i], now) || again;
    if (l->changed)
        l->cb.on_slots(l->arg);
    l->changed = false;
    if (again && !event_pending(l->settle, EV_TIMEOUT, NULL))
        event_add(l->settle, &(struct timeval){.tv_usec = TICK_MS * 1000});
}

/* ---- what the router reports ---- */

static void links_changed(struct lanes *l)
{
    if (!l->stopped && router_is_cluster(l->router))
        l->cb.on_links(l->arg);
    settle_soon(l);
}

static void on_up(void *arg, struct upstream *up)
{
    struct lanes *l = arg;
    if (router_is_cluster(l->router))
        l->cb.on_node(l->arg, up, true);
    else
        lane_link(l->home, up);
    links_changed(l);
}

static void on_down(void *arg, struct upstream *up)
{
    struct lanes *l = arg;
    for (unsigned i = 0; i < l->n; i++) {
        if (lane_upstream(l->all[i]) == up)
            lane_unlink(l->all[i]);
    }
    if (router_is_cluster(l->router))
        l->cb.on_node(l->arg, up, false);
    links_changed(l);
}

static void on_map(void *arg)
{
    links_changed(arg);
}

/* ---- interface ---- */

static struct lane *open_lane(struct lanes *l, uint16_t slot)
{
    static const struct lane_callbacks cb = {.on_batch = on_batch,
                                             .on_link = on_link,
                                             .on_ready = on_ready,
                                             .on_down = on_lane_down,
                                             .on_unsure = on_unsure,
                                             .on_kick = on_kick,
                                             .on_sent = on_sent};
    bool cluster = router_is_cluster(l->router);
    struct lane_place place = {.id = l->id,
                               .tag = cluster ? slot_tag(slot) : NULL,
                               .slot = slot,
                               .router = l->router,
                               .pool = l->pool,
                               .retained = &l->retained,
                               .stats = &l->stats,
                               .listeners = &l->listeners,
                               .claims = l->claims,
                               .mute = &l->mute};
    struct upstream *up = router_link(l->router, slot);
    struct lane *lane = lane_new(l->base, l->config, &place, up, &cb, l);
    l->at[slot] = lane;
    vec_push(l->all, l->n, l->cap, lane);
    return lane;
}

struct lane *lanes_at(struct lanes *l, uint16_t slot)
{
    struct lane *lane = l->at[slot];
    if (lane != NULL)
        return lane;
    lane = open_lane(l, slot);
    struct upstream *up = lane_upstream(lane);
    if (!l->stopped && router_ready(l->router, up))
        lane_link(lane, up);
    return lane;
}

struct lanes *lanes_new(struct event_base *base, struct config *config, const char *id,
                        const struct names *names, struct index_table *indexes,
                        const struct lanes_callbacks *cb, void *arg)
{
    static const struct router_callbacks router_cb = {
        .on_up = on_up, .on_down = on_down, .on_map = on_map};
    bool cluster = config_cluster(config) != NULL;
    struct lanes *l = alloc_zeroed(1, sizeof(*l) + (cluster ? SLOTS : 1) * sizeof(struct lane *));
    l->base = base;
    l->config = config;
    l->id = id;
    l->cb = *cb;
    l->arg = arg;
    l->router = router_new(base, config, &router_cb, l);
    l->pool = batch_pool_new(names, id);
    batch_pool_index(l->pool, indexes);
    l->claims = claims_new(base, config, l->router, names);
    l->retained = (struct retained){.max = cluster ? RETAIN_BATCHES_CLUSTER : RETAIN_BATCHES,
                                    .max_bytes = RETAIN_BYTES};
    l->settle = evtimer_new(base, on_settle, l);
    l->turn = event_new(base, -1, 0, on_turn, l);
    struct buf key = BUF_INIT;
    buf_printf(&key, "%s:@schema", config->key_prefix);
    l->home = open_lane(l, router_slot(l->router, (char *)key.data, key.len));
    buf_free(&key);
    return l;
}

void lanes_start(struct lanes *l)
{
    router_start(l->router);
}

void lanes_stop(struct lanes *l)
{
    l->stopped = true;
    router_stop(l->router, "rapyerd is stopping");
    for (unsigned i = 0; i < l->n; i++)
        lane_stop(l->all[i]);
}

void lanes_free(struct lanes *l)
{
    lanes_stop(l);
    router_free(l->router);
    for (unsigned i = 0; i < l->n; i++)
        lane_free(l->all[i]);
    free(l->all);
    free(l->kicked);
    free(l->put);
    retained_free(&l->retained);
    batch_pool_free(l->pool);
    claims_free(l->claims);
    while (l->waits != NULL) {
        struct waits *w = l->waits;
        LL_DELETE(l->waits, w);
        waits_free(w);
    }
    event_free(l->settle);
    event_free(l->turn);
    free(l);
}

struct router *lanes_router(const struct lanes *l)
{
    return l->router;
}

struct lane *lanes_home(const struct lanes *l)
{
    return l->home;
}

void lanes_listen(struct lanes *l, struct commit_listener *listener)
{
    LL_APPEND(l->listeners, listener);
}

void lanes_unlisten(struct lanes *l, struct commit_listener *listener)
{
    LL_DELETE(l->listeners, listener);
}

/* ---- the end ---- */

/* Markers that are being removed over one link. */
struct forgetting {
    struct lanes *lanes;
    unsigned last;
};

static void on_forgotten(void *arg, unsigned index, redisReply *reply)
{
    struct forgetting *f = arg;
    struct lanes *l = f->lanes;
    if (reply != NULL && index != f->last)
        return;
    free(f);
    if (--l->forgetting == 0)
        l->forgotten(l->forgotten_arg);
}

static void forget_there(void *arg, struct upstream *up)
{
    struct lanes *l = arg;
    struct buf out = BUF_INIT, popped = BUF_INIT;
    unsigned n = 0;
    if (!router_is_cluster(l->router))
        unit_popped_key(l->config->key_prefix, l->id, &popped);
    for (unsigned i = 0; i < l->n; i++) {
        const struct buf *key = lane_marker(l->all[i]);
        if (lane_upstream(l->all[i]) != up)
            continue;
        const char *unlink[] = {"UNLINK", (char *)key->data, (char *)popped.data};
        resp_command(&out, popped.len > 0 ? 3 : 2, unlink, (size_t[]){6, key->len, popped.len});
        n++;
    }
    struct forgetting *f = alloc_zeroed(1, sizeof(*f));
    *f = (struct forgetting){.lanes = l, .last = n - 1};
    if (n > 0 && upstream_send(up, out.data, out.len, n, on_forgotten, f))
        l->forgetting++;
    else
        free(f);
    buf_free(&out);
    buf_free(&popped);
}

bool lanes_forget(struct lanes *l, void (*fn)(void *arg), void *arg)
{
    l->forgotten = fn;
    l->forgotten_arg = arg;
    if (router_is_cluster(l->router))
        router_each(l->router, forget_there, l);
    else
        forget_there(l, lane_upstream(l->home));
    return l->forgetting > 0;
}

bool lanes_quiet(const struct lanes *l)
{
    bool quiet = true;
    for (unsigned i = 0; i < l->n; i++)
        quiet = quiet && lane_quiet(l->all[i]);
    return quiet;
}

bool lanes_unresolved(const struct lanes *l)
{
    bool unresolved = false;
    for (unsigned i = 0; i < l->n; i++)
        unresolved = unresolved || lane_unresolved(l->all[i]);
    return unresolved;
}

bool lanes_unsent(const struct lanes *l)
{
    bool unsent = false;
    for (unsigned i = 0; i < l->n; i++)
        unsent = unsent || upstream_unsent(lane_upstream(l->all[i])) > 0;
    return unsent;
}

/* ---- another process ---- */

/* What is kept in its own order, over all lanes. */
void lanes_save(const struct lanes *l, struct state_writer *w)
{
    bool cluster = router_is_cluster(l->router);
    const struct kept *k;
    pack_array(&w->out, 2);
    pack_array(&w->out, cluster ? l->n : 0);
    for (unsigned i = 0; cluster && i < l->n; i++)
        lane_save(l->all[i], &w->out);
    pack_array(&w->out, cluster ? l->retained.n : 0);
    DL_FOREACH (l->retained.all, k) {
        if (cluster)
            kept_save(k, &w->out);
    }
}

int lanes_resume(struct lanes *l, struct state_reader *r)
{
    struct state_tuple all = state_enter(r, 2);
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        struct state_tuple t = state_enter(r, 3);
        uint16_t slot = (uint16_t)state_below(r, SLOTS);
        uint64_t applied = state_uint(r), number = state_uint(r);
        r->bad = r->bad || applied > number || !router_is_cluster(l->router);
        if (!r->bad)
            lane_resume(lanes_at(l, slot), applied, number);
        state_leave(r, &t);
    }
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        struct state_tuple t = state_enter(r, 10);
        uint16_t slot = (uint16_t)state_below(r, SLOTS);
        r->bad = r->bad || !router_is_cluster(l->router) || l->at[slot] == NULL;
        if (!r->bad)
            lane_resume_kept(l->at[slot], r);
        state_leave(r, &t);
    }
    state_leave(r, &all);
    return r->bad ? -1 : 0;
}

void lanes_stats(const struct lanes *l, struct lane_stats *out)
{
    *out = l->stats;
    out->gathering_bytes = out->in_flight_bytes = 0;
    for (unsigned i = 0; i < l->n; i++)
        lane_bytes(l->all[i], &out->gathering_bytes, &out->in_flight_bytes);
}
