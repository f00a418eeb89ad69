/* lane: see lane.h. */
#include "daemon/commit/lane.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/commit/durable.h"
#include "daemon/commit/sweeps.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include "protocol/tree.h"
#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>

/* Committed batches that are kept for a Redis that lost the last of them in a restart. */
#define RETAIN_BATCHES 1024
#define RETAIN_BYTES (16u << 20)

/* Redis does not let us PUBLISH: how long commits go without until it is tried again. */
#define MUTE_MS 60000

#define LONG_BYTES (1u << 20)

#define EXEC_BYTES 14 /* of EXEC as it is sent */

enum lane_state { LANE_DOWN, LANE_RECOVERING, LANE_READY };

struct commit {
    struct batch *batch;
    struct buf resp;
    struct blob *lent; /* resp is part of it, as others hold it, too; or NULL */
    unsigned ncommands;
    struct batch_news news; /* in resp */
    char refusal[256];      /* the first error among the QUEUED answers */
    unsigned refused;       /* the index of that answer */
    uint64_t work;          /* ns */
    bool waited;            /* for one more turn */
    bool asked;             /* whether it is durable is asked behind it */
    bool applied;           /* and it is; only that is still open */
    struct durable durable;
    struct lane_times times;
};

struct retained {
    uint64_t number;
    uint64_t after; /* what the marker said before it: numbers have gaps where Redis refused */
    struct buf resp;
    struct blob *lent;
    unsigned ncommands;
    struct batch_news news;
    struct buf leases; /* commands that take back what its units need */
    unsigned nleases;
};

static size_t retained_bytes(const struct retained *r)
{
    return r->resp.len + r->leases.len;
}

static void free_text(struct buf *resp, struct blob **lent)
{
    if (*lent == NULL)
        buf_free(resp);
    blob_unref(*lent);
    *resp = BUF_INIT;
    *lent = NULL;
}

static void retained_free(struct retained *r)
{
    free_text(&r->resp, &r->lent);
    buf_free(&r->leases);
}

struct lane {
    const struct config *config;
    const char *id;
    const struct lane_callbacks *cb;
    void *arg;
    struct upstream *up;
    struct event *kick;  /* active: send what gathered, at the end of this turn */
    bool kicked;         /* it is active */
    struct event *watch; /* while the link is down: gives up what waits too long */
    enum lane_state state;
    struct commit *gathering, *in_flight, *spare;
    struct batch_pool *batches;
    uint64_t number;      /* of the gathering batch */
    uint64_t applied;     /* of the last batch known to be in Redis: what the marker should say */
    uint64_t abandoned;   /* one whose clients were told that its outcome is unknown; 0: none */
    int64_t down_since;   /* clock_mono_ms(): what waits counts from here */
    int64_t absent_since; /* clock_boot_ms(): what others may have done in Redis, too */
    struct retained retain[RETAIN_BATCHES];
    unsigned retain_first, retain_n;
    size_t retain_bytes;
    unsigned replay_refused; /* units, since the link is back */
    uint64_t *suspects;      /* connections that may still hold a transaction of ours */
    unsigned nsuspects, suspects_cap;
    struct sweeps sweeps;
    struct commit_listener *listeners;
    int64_t mute_until; /* monotonic ms; until then nothing is published */
    bool mute_logged;
    struct lane_times times; /* of the commit that is being decided */
    const struct fault *doubt;
    struct lane_stats stats;
};

static void kick(struct lane *l)
{
    if (!l->kicked)
        event_active(l->kick, 0, 0);
    l->kicked = true;
}

/* ---- commits ---- */

static struct commit *commit_new(struct lane *l)
{
    struct commit *c = l->spare != NULL ? l->spare : alloc_zeroed(1, sizeof(*c));
    l->spare = NULL;
    *c = (struct commit){.batch = batch_new(l->batches, ++l->number)};
    return c;
}

static void format(struct lane *l, struct commit *c)
{
    bool mute = l->mute_until != 0 && clock_mono_ms() < l->mute_until;
    if (c->lent != NULL)
        free_text(&c->resp, &c->lent);
    buf_clear(&c->resp);
    c->news.n = 0;
    c->ncommands = batch_format(c->batch, mute ? NULL : &c->news, &c->resp);
}

static void commit_free(struct lane *l, struct commit *c)
{
    batch_free(c->batch);
    free_text(&c->resp, &c->lent);
    free(l->spare);
    l->spare = c;
}

static void settle(struct lane *l, struct commit *c, const struct fault *fault)
{
    l->times = c->times;
    if (l->gathering != NULL)
        batch_follow(l->gathering->batch, c->batch);
    batch_decide(c->batch, fault);
    for (struct commit_listener *at = fault == NULL ? l->listeners : NULL; at != NULL;
         at = at->next)
        batch_each_committed(c->batch, at->on_committed, at->arg);
    l->cb->on_batch(l->arg, c->batch, fault);
    commit_free(l, c);
}

/* What Redis refused, or what nobody waits for any more, takes with it what was built upon it:
 * the gathering batch saw the same documents. */
static void refuse_all(struct lane *l, const struct fault *in_flight, const struct fault *gathering)
{
    struct commit *a = l->in_flight;
    l->in_flight = NULL;
    if (a != NULL)
        settle(l, a, in_flight);
    struct commit *b = l->gathering; /* only now: more may wait for it meanwhile */
    l->gathering = NULL;
    if (b != NULL)
        settle(l, b, gathering);
    l->stats.refused++;
}

static void retain(struct lane *l, struct commit *c)
{
    if (!RAPYER_EXACTLY_ONCE)
        return;
    if (batch_any_refused(c->batch)) /* an earlier state may let them pass, and they were refused */
        format(l, c);
    while (l->retain_n > 0 &&
           (l->retain_n == RETAIN_BATCHES || l->retain_bytes + c->resp.len > RETAIN_BYTES)) {
        struct retained *r = &l->retain[l->retain_first];
        l->retain_bytes -= retained_bytes(r);
        retained_free(r);
        l->retain_first = (l->retain_first + 1) % RETAIN_BATCHES;
        l->retain_n--;
    }
    if (c->resp.len > RETAIN_BYTES)
        return; /* nothing before it is of use either: there is a gap behind it */
    struct retained *r = &l->retain[(l->retain_first + l->retain_n++) % RETAIN_BATCHES];
    *r = (struct retained){.number = batch_number(c->batch),
                           .after = l->applied,
                           .resp = c->resp,
                           .lent = c->lent,
                           .ncommands = c->ncommands,
                           .news = c->news};
    r->nleases = batch_format_leases(c->batch, l->config->queue_time, &r->leases);
    l->retain_bytes += retained_bytes(r);
    c->resp = BUF_INIT;
    c->lent = NULL;
}

static void retain_clear(struct lane *l)
{
    for (; l->retain_n > 0; l->retain_n--) {
        retained_free(&l->retain[l->retain_first]);
        l->retain_first = (l->retain_first + 1) % RETAIN_BATCHES;
    }
    l->retain_bytes = 0;
}

/* ---- commits and their answers ---- */

static void send_in_flight(struct lane *l);

/* The batch in flight is applied; `doubt`: on fewer replicas or disks than it should be. */
static void conclude(struct lane *l, const struct fault *doubt)
{
    struct commit *c = l->in_flight;
    l->in_flight = NULL;
    c->times.answered = clock_boot_ns();
    /* Before the answers, which are written at the end of the turn, too: Redis works meanwhile. */
    if (l->gathering != NULL && !batch_empty(l->gathering->batch))
        kick(l);
    l->stats.not_durable += doubt != NULL;
    l->doubt = doubt;
    settle(l, c, NULL);
    l->doubt = NULL;
}

/* An ACL without the channel is no reason to keep nothing: others hear of the commit later. */
static bool mute(struct lane *l, struct commit *c)
{
    bool news = c->refused + 1 + c->news.n >= c->ncommands && c->refused + 1 < c->ncommands;
    if (!news || strncmp(c->refusal, "NOPERM", 6) != 0)
        return false;
    if (!l->mute_logged)
        log_info("other daemons are not told of commits: %s", c->refusal);
    l->mute_logged = true;
    l->mute_until = clock_mono_ms() + MUTE_MS;
    format(l, c);
    send_in_flight(l);
    return true;
}

static void on_reply(void *arg, unsigned index, redisReply *reply)
{
    struct lane *l = arg;
    struct commit *c = l->in_flight;
    if (c == NULL || reply == NULL) {
        return; /* the link is lost: on_up finds out what became of it */
    }
    if (index + 1 < c->ncommands) {
        if (reply->type == REDIS_REPLY_ERROR && c->refusal[0] == '\0') {
            snprintf(c->refusal, sizeof(c->refusal), "%s", reply->str);
            c->refused = index;
        }
        return;
    }
    struct fault f;
    if (batch_answer(c->batch, reply, &f) < 0) {
        if (mute(l, c))
            return;
        if (c->refusal[0] != '\0' && f.code == FAULT_UNAVAILABLE)
            fault_set(&f, FAULT_UNAVAILABLE, "Redis refused the commit, nothing was applied: %s",
                      c->refusal);
        log_warning("commit %" PRIu64 ": %s", batch_number(c->batch), f.text);
        /* It was demoted: a name may lead to the new master by now. A socket's path will not. */
        bool moved = strncmp(c->refusal, "READONLY", 8) == 0 && strchr(l->config->redis, ':') &&
                     strncmp(l->config->redis, "unix:", 5) != 0;
        refuse_all(l, &f, &f);
        if (moved)
            upstream_reset(l->up, "it is a replica now, and refuses writes");
        return;
    }
    histogram_add(&l->stats.took, clock_boot_ns() - c->times.sent);
    l->stats.batches++;
    l->stats.commands += c->ncommands;
    if (l->mute_logged && c->news.n > 0) {
        log_info("other daemons are told of commits again");
        l->mute_logged = false;
    }
    retain(l, c);
    l->applied = batch_number(c->batch);
    sweeps_add(&l->sweeps, c->batch, true);
    c->applied = true;
    if (!c->asked)
        conclude(l, NULL);
}

static void on_waited(void *arg, unsigned index, redisReply *reply)
{
    struct lane *l = arg;
    struct commit *c = l->in_flight;
    struct fault f;
    (void)index;
    if (c == NULL || reply == NULL || !c->applied)
        return; /* it was refused, or the link is lost: on_down */
    conclude(l, durable_judge(&c->durable, reply, &f) < 0 ? &f : NULL);
}

static void send_in_flight(struct lane *l)
{
    struct commit *c = l->in_flight;
    struct buf wait = BUF_INIT;
    c->refusal[0] = '\0';
    if (c->resp.len >= BLOB_BYTES && c->lent == NULL) {
        c->lent = blob_new(&c->resp);
        c->resp = c->lent->bytes;
    }
    if (c->lent != NULL)
        upstream_give(l->up, c->lent, c->ncommands, on_reply, l);
    else
        upstream_send(l->up, c->resp.data, c->resp.len, c->ncommands, on_reply, l);
    c->asked = durable_ask(l->config, &c->durable, &wait);
    if (c->asked)
        upstream_send(l->up, wait.data, wait.len, 1, on_waited, l);
    buf_free(&wait);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct lane *l = arg;
    l->kicked = false;
    if (l->state != LANE_READY || l->in_flight != NULL || l->gathering == NULL)
        return;
    struct commit *c = l->gathering;
    /* To put it together takes its time, too: others have a turn before that. */
    if (batch_bytes(c->batch) > LONG_BYTES && !c->waited) {
        c->waited = true;
        event_add(l->kick, &(struct timeval){0});
        return;
    }
    l->gathering = NULL;
    l->in_flight = c;
    buf_grow(&c->resp, batch_bytes(c->batch) + 512);
    format(l, c);
    c->times.sent = clock_boot_ns();
    send_in_flight(l);
}

struct batch *lane_batch(struct lane *l)
{
    if (l->gathering == NULL)
        l->gathering = commit_new(l);
    if (l->in_flight == NULL)
        kick(l);
    return l->gathering->batch;
}

const struct batch *lane_gathering(const struct lane *l)
{
    return l->gathering != NULL ? l->gathering->batch : NULL;
}

void lane_weigh(struct lane *l, uint64_t ns)
{
    if (l->gathering != NULL)
        l->gathering->work += ns;
}

uint64_t lane_gathering_work(const struct lane *l)
{
    return l->gathering != NULL ? l->gathering->work : 0;
}

uint64_t lane_in_flight_work(const struct lane *l)
{
    return l->in_flight != NULL ? l->in_flight->work : 0;
}

void lane_listen(struct lane *l, struct commit_listener *listener)
{
    LL_APPEND(l->listeners, listener);
}

void lane_unlisten(struct lane *l, struct commit_listener *listener)
{
    LL_DELETE(l->listeners, listener);
}

/* ---- after the link was lost ---- */

static void ready(struct lane *l)
{
    l->state = LANE_READY;
    event_del(l->watch);
    l->cb->on_ready(l->arg);
    if (l->gathering != NULL)
        kick(l);
}

/* Sends again what Redis lost behind `marker`. Their answers were given long ago. */
static void on_replayed(void *arg, unsigned index, redisReply *reply)
{
    struct lane *l = arg;
    (void)index;
    if (reply == NULL)
        return; /* the next connection goes on from the marker */
    const redisReply *bad = reply->type == REDIS_REPLY_ERROR ? reply : NULL;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        if (reply->element[i]->type == REDIS_REPLY_ERROR)
            bad = reply->element[i];
        unsigned refused = unit_refusals(reply->element[i]);
        if (refused > 0 && l->replay_refused == 0)
            log_error("commits that Redis had lost could not be applied again: their lock is gone, "
                      "or a document has changed");
        l->replay_refused += refused;
        l->stats.lost += refused;
    }
    if (bad != NULL)
        log_error("a commit that Redis had lost could not be applied again: %s", bad->str);
}

/* Whatever Redis says to it. */
static void on_anything(void *arg, unsigned index, redisReply *reply)
{
    (void)arg;
    (void)index;
    (void)reply;
}

/* What PUBLISH says by itself: this Redis may not let us, which is no reason to lose the commit. */
static void send_retained(struct lane *l, const struct retained *r)
{
    size_t exec_at = r->resp.len - EXEC_BYTES;
    size_t news_at = r->news.n > 0 ? r->news.at : exec_at;
    struct buf out = BUF_INIT;
    buf_append(&out, r->resp.data, news_at);
    buf_append(&out, r->resp.data + exec_at, EXEC_BYTES);
    upstream_send(l->up, out.data, out.len, r->ncommands - r->news.n, on_replayed, l);
    if (r->news.n > 0) /* who is not told reads anew from a Redis that has lost something */
        upstream_send(l->up, r->resp.data + news_at, exec_at - news_at, r->news.n, on_anything, l);
    buf_free(&out);
}

/* Changes under a lock only as long as Redis would remember who else has had the lock since. */
static bool replay_from(struct lane *l, uint64_t marker)
{
    unsigned i = 0;
    while (i < l->retain_n && l->retain[(l->retain_first + i) % RETAIN_BATCHES].after != marker)
        i++;
    if (i == l->retain_n)
        return false;
    l->replay_refused = 0;
    log_warning("Redis came back without the last %u commits; they are applied again",
                l->retain_n - i);
    for (; i < l->retain_n; i++) {
        struct retained *r = &l->retain[(l->retain_first + i) % RETAIN_BATCHES];
        if (r->nleases > 0 && clock_boot_ms() - l->absent_since < (int64_t)l->config->lock_lease)
            upstream_send(l->up, r->leases.data, r->leases.len, r->nleases, on_anything, l);
        send_retained(l, r);
        l->stats.recovered_resent++;
    }
    return true;
}

/* What the new connection has learned. */
struct recovery {
    struct lane *lane;
    unsigned marker_at; /* index of the marker's reply; behind it is what batch_ask_state asked */
    unsigned last;
    bool found; /* a marker */
    uint64_t marker;
    char error[200];
    int64_t said[]; /* of the batch in flight, which may be given up meanwhile */
};

static void unheard(struct fault *f)
{
    fault_set(f, FAULT_NOT_DURABLE,
              "the change is applied, but the connection to Redis was lost before it was said how "
              "many replicas or disks have it");
}

/* The batch in flight is in Redis, only its answer was lost: it is made up from the versions. */
static void applied_unanswered(struct lane *l, const struct recovery *r)
{
    struct commit *c = l->in_flight;
    l->in_flight = NULL;
    batch_take_state(c->batch, r->said);
    l->stats.recovered_applied++;
    retain(l, c);
    l->applied = r->marker;
    sweeps_add(&l->sweeps, c->batch, false);
    struct fault f;
    unheard(&f);
    l->stats.not_durable += c->asked;
    l->doubt = c->asked ? &f : NULL;
    settle(l, c, NULL);
    l->doubt = NULL;
}

/* Redis has another state than it acknowledged, and it cannot be made good. */
static void state_lost(struct lane *l, const struct recovery *r)
{
    l->stats.lost++;
    log_error("Redis came back with marker %" PRIu64 " where %" PRIu64 " was expected: "
              "acknowledged changes may be lost and cannot be applied again",
              r->marker, l->applied);
    retain_clear(l);
    l->applied = r->marker;
    if (l->in_flight == NULL)
        return;
    struct fault unknown, gone;
    l->stats.unknown++;
    fault_set(&unknown, FAULT_UNKNOWN_OUTCOME,
              "the connection to Redis was lost during the commit, and Redis came back without "
              "its state; the change may or may not be there");
    fault_set(&gone, FAULT_UNAVAILABLE,
              "Redis came back without its state; nothing of this was applied");
    refuse_all(l, &unknown, &gone);
}

/* Decides over the batch in flight, and over acknowledged ones that Redis has lost. */
static void recover(struct lane *l, const struct recovery *r)
{
    struct commit *c = l->in_flight;
    bool applied = c != NULL && r->found && r->marker == batch_number(c->batch);
    bool as_left = r->marker == l->applied && (r->found || l->applied == 0);
    bool replica = strcmp(upstream_info(l->up)->role, "slave") == 0;
    if (r->error[0] != '\0') {
        upstream_reset(l->up, r->error);
        return;
    }
    /* What the master has may still be on its way here: only after the promotion is it final. */
    if (replica && !applied && (c != NULL || !as_left)) {
        upstream_reset(l->up, "it is a replica, and it is open whether the last commit gets there");
        return;
    }
    l->nsuspects = 0;
    if (applied) {
        applied_unanswered(l, r);
    } else if (r->found && l->abandoned != 0 && r->marker == l->abandoned) {
        /* Its clients know that it may have been applied; it was. */
        retain_clear(l);
        l->applied = r->marker;
    } else if (!as_left && !(r->found && r->marker < l->applied && replay_from(l, r->marker))) {
        state_lost(l, r);
    }
    l->abandoned = 0;
    sweeps_send(&l->sweeps);
    bool resend = l->in_flight != NULL;
    if (resend) {
        l->stats.recovered_resent++;
        send_in_flight(l);
    }
    ready(l);
}

static void on_recovery(void *arg, unsigned index, redisReply *reply)
{
    struct recovery *r = arg;
    struct lane *l = r->lane;
    if (reply == NULL) {
        free(r);
        return; /* lost again; the next connection asks again */
    }
    bool string = reply->type == REDIS_REPLY_STRING;
    if (index < r->marker_at && reply->type == REDIS_REPLY_ERROR)
        log_error("CLIENT KILL is refused (%s): a commit may be applied twice after a break of the "
                  "connection; let the user of rapyerd run it",
                  reply->str);
    if (index >= r->marker_at && reply->type == REDIS_REPLY_ERROR)
        snprintf(r->error, sizeof(r->error), "%s", reply->str);
    if (index == r->marker_at) {
        r->found = string;
        r->marker = string ? strtoull(reply->str, NULL, 10) : 0;
        if (string && l->in_flight != NULL && r->marker == batch_number(l->in_flight->batch))
            batch_take_marker(l->in_flight->batch, reply->str);
    } else if (index > r->marker_at) {
        r->said[index - r->marker_at - 1] = string ? strtoll(reply->str, NULL, 10) : 0;
    }
    if (index != r->last)
        return;
    recover(l, r);
    free(r);
}

/* Without this the transaction that an old connection still has in its buffer could be applied
 * after the marker was read. Client ids mean nothing to a restarted server. */
static unsigned kill_suspects(struct lane *l, bool same_server, struct buf *out)
{
    const struct upstream_info *info = upstream_info(l->up);
    if (!same_server)
        l->nsuspects = 0;
    if (!same_server || info->previous_client_id == 0)
        return 0;
    vec_push(l->suspects, l->nsuspects, l->suspects_cap, info->previous_client_id);
    for (unsigned i = 0; i < l->nsuspects; i++) {
        char id[24];
        snprintf(id, sizeof(id), "%" PRIu64, l->suspects[i]);
        resp_words(out, "CLIENT", "KILL", "ID", id, NULL);
    }
    return l->nsuspects;
}

/* Asks for the marker, and for the state of the batch in flight. */
static void ask_state(struct lane *l, bool same_server)
{
    struct buf out = BUF_INIT, key = BUF_INIT, state = BUF_INIT;
    unsigned n = l->in_flight != NULL ? batch_ask_state(l->in_flight->batch, &state) : 0;
    struct recovery *r = alloc_zeroed(1, sizeof(*r) + n * sizeof(*r->said));
    r->lane = l;
    r->marker_at = kill_suspects(l, same_server, &out);
    r->last = r->marker_at + n;
    unit_marker_key(l->config->key_prefix, l->id, &key);
    resp_command(&out, 2, (const char *[]){"GET", (char *)key.data}, (size_t[]){3, key.len});
    buf_append(&out, state.data, state.len);
    if (!upstream_send(l->up, out.data, out.len, r->last + 1, on_recovery, r))
        free(r);
    buf_free(&out);
    buf_free(&key);
    buf_free(&state);
}

/* So that a marker that is missing later always means that Redis has lost its state. */
static void set_first_marker(struct lane *l)
{
    struct buf out = BUF_INIT, key = BUF_INIT;
    unit_marker_key(l->config->key_prefix, l->id, &key);
    const char *set[] = {"SET", (char *)key.data, "0"};
    resp_command(&out, 3, set, (size_t[]){3, key.len, 1});
    /* A replica or a full Redis refuses; then it is as if it had been lost. */
    upstream_send(l->up, out.data, out.len, 1, on_anything, l);
    buf_free(&out);
    buf_free(&key);
}

static void on_up(void *arg)
{
    struct lane *l = arg;
    const struct upstream_info *info = upstream_info(l->up);
    if (info->previous_run_id[0] == '\0') {
        set_first_marker(l);
        l->cb->on_link(l->arg);
        ready(l);
        return;
    }
    l->state = LANE_RECOVERING;
    ask_state(l, strcmp(info->previous_run_id, info->run_id) == 0);
    l->cb->on_link(l->arg);
}

/* Redis has acknowledged it, and will not say any more whether others have it. */
static void conclude_in_doubt(struct lane *l)
{
    struct fault f;
    if (l->in_flight == NULL || !l->in_flight->applied)
        return;
    unheard(&f);
    conclude(l, &f);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct lane *l = arg;
    if (clock_mono_ms() - l->down_since < (int64_t)l->config->queue_time)
        return;
    if (l->in_flight == NULL && l->gathering == NULL)
        return;
    struct fault unknown, gone;
    fault_set(&gone, FAULT_UNAVAILABLE, "%s; nothing was applied", upstream_why(l->up));
    fault_set(&unknown, FAULT_UNKNOWN_OUTCOME,
              "the connection to Redis was lost during the commit and did not come back for %u "
              "ms; the change may or may not be there",
              l->config->queue_time);
    if (l->in_flight != NULL) {
        l->abandoned = batch_number(l->in_flight->batch);
        l->stats.unknown++;
    }
    refuse_all(l, &unknown, &gone);
}

static void on_down(void *arg, const char *why)
{
    struct lane *l = arg;
    (void)why;
    if (l->state == LANE_DOWN)
        return;
    if (l->state == LANE_READY) { /* a link that comes up and goes again is still the same outage */
        struct timeval tick = {.tv_usec = 100000};
        l->down_since = clock_mono_ms();
        l->absent_since = upstream_absent_since(l->up);
        event_add(l->watch, &tick);
    }
    l->state = LANE_DOWN;
    conclude_in_doubt(l);
    l->cb->on_down(l->arg);
}

/* ---- the rest ---- */

struct lane *lane_new(struct event_base *base, struct config *config, const char *id,
                      struct index_table *indexes, const struct lane_callbacks *cb, void *arg)
{
    static const struct upstream_callbacks upstream_cb = {.on_up = on_up, .on_down = on_down};
    struct lane *l = tree_alloc(sizeof(*l));
    l->config = config;
    l->id = id;
    l->cb = cb;
    l->batches = batch_pool_new(config->key_prefix, id);
    batch_pool_index(l->batches, indexes);
    l->arg = arg;
    l->down_since = clock_mono_ms();
    l->kick = event_new(base, -1, 0, on_kick, l);
    l->watch = event_new(base, -1, EV_PERSIST, on_watch, l);
    l->up = upstream_new(base, config, &upstream_cb, l);
    l->sweeps.up = l->up;
    struct timeval tick = {.tv_usec = 100000};
    event_add(l->watch, &tick);
    return l;
}

void lane_stop(struct lane *l)
{
    struct fault gone, unknown;
    fault_set(&gone, FAULT_UNAVAILABLE, "rapyerd is stopping; nothing was applied");
    fault_set(
        &unknown, FAULT_UNKNOWN_OUTCOME,
        "rapyerd is stopping and Redis has not answered the commit; the change may or may not "
        "be there");
    l->state = LANE_DOWN;
    upstream_stop(l->up, "rapyerd is stopping");
    conclude_in_doubt(l);
    refuse_all(l, &unknown, &gone);
}

void lane_free(struct lane *l)
{
    lane_stop(l);
    upstream_free(l->up);
    retain_clear(l);
    sweeps_free(&l->sweeps);
    free(l->suspects);
    event_free(l->kick);
    event_free(l->watch);
    free(l->spare);
    batch_pool_free(l->batches);
    tree_free(l);
}

void lane_start(struct lane *l)
{
    upstream_start(l->up);
}

struct upstream *lane_upstream(const struct lane *l)
{
    return l->up;
}

void lane_explain(struct lane *l, bool on)
{
    batch_pool_explain(l->batches, on);
}

bool lane_ready(const struct lane *l)
{
    return l->state == LANE_READY && upstream_state(l->up) == UPSTREAM_UP;
}

int lane_admit(const struct lane *l, struct fault *f)
{
    if (l->state == LANE_DOWN && clock_mono_ms() - l->down_since >= (int64_t)l->config->queue_time)
        return fault_set(f, FAULT_UNAVAILABLE, "%s", upstream_why(l->up));
    if (l->gathering != NULL && batch_bytes(l->gathering->batch) > l->config->queue_bytes)
        return fault_set(f, FAULT_UNAVAILABLE,
                         "%zu bytes wait for Redis already (commit.queue_bytes); try again later",
                         batch_bytes(l->gathering->batch));
    return 0;
}

bool lane_quiet(const struct lane *l)
{
    return l->in_flight == NULL && l->gathering == NULL && l->sweeps.first == NULL;
}

const struct fault *lane_doubt(const struct lane *l)
{
    return l->doubt;
}

struct lane_times lane_times(const struct lane *l)
{
    return l->times;
}

void lane_stats(const struct lane *l, struct lane_stats *out)
{
    *out = l->stats;
    out->gathering_bytes = l->gathering != NULL ? batch_bytes(l->gathering->batch) : 0;
    out->in_flight_bytes = l->in_flight != NULL ? l->in_flight->resp.len : 0;
}
