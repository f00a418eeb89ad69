/* lane: see lane.h. */
#include "daemon/base/clock.h"
#include "daemon/commit/lane_inside.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/shards.h"
#include "protocol/tree.h"
#include <inttypes.h>
#include <utlist.h>

/* Redis does not let us PUBLISH: how long commits go without until it is tried again. */
#define MUTE_MS 60000

#define LONG_BYTES (1u << 20)

/* A slot gets another try after so long, doubling, until it was calm for a while. */
#define RETRY_MIN_MS 2
#define RETRY_MAX_MS 100
#define RETRY_CALM_MS 1000

static void watch(struct lane *l);

/* It has one slot, and shares its link with others. */
static bool in_cluster(const struct lane *l)
{
    return l->place.tag != NULL;
}

static void kick(struct lane *l)
{
    if (!l->kicked)
        l->cb->on_kick(l->arg, l);
    l->kicked = true;
}

/* ---- commits ---- */

static struct commit *commit_new(struct lane *l)
{
    struct commit *c = l->spare != NULL ? l->spare : alloc_zeroed(1, sizeof(*c));
    l->spare = NULL;
    memset(c, 0, offsetof(struct commit, refusal)); /* lane_send empties that */
    c->batch = batch_new(l->place.pool, ++l->number, &l->words);
    c->resp = retained_text(l->place.retained);
    return c;
}

/* ---- the scripts of whole batches ---- */

static void on_loaded(void *arg, unsigned index, redisReply *reply)
{
    struct lane *l = arg;
    char *sha = l->scripts.sha[index];
    bool hash = reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == 40;
    if (!hash || strspn(reply->str, "0123456789abcdef") != 40)
        return;
    memcpy(sha, reply->str, 41);
    l->scripted = index == WHOLE_SCRIPTS - 1;
    for (unsigned i = 0; i < index; i++)
        l->scripted = l->scripted && l->scripts.sha[i][0] != '\0';
}

/* A slot has none: what is refused there has to be refused as a whole (batch_words). */
static void load_scripts(struct lane *l)
{
    struct buf out = BUF_INIT;
    l->load_at = 0;
    l->scripted = false;
    memset(&l->scripts, 0, sizeof(l->scripts));
    if (in_cluster(l))
        return;
    for (int i = 0; i < WHOLE_SCRIPTS; i++)
        resp_words(&out, "SCRIPT", "LOAD", unit_whole_script(i), NULL);
    upstream_send(l->up, out.data, out.len, WHOLE_SCRIPTS, on_loaded, l);
    buf_free(&out);
}

/* Transactions say what is wrong with them. */
static void leave_scripts(struct lane *l)
{
    l->scripted = false;
    l->load_at = clock_mono_ms() + MUTE_MS;
}

static bool is_mute(const struct lane *l)
{
    int64_t until = l->place.mute->until;
    return (until != 0 && clock_mono_ms() < until) || (in_cluster(l) && !shards_known(l->up));
}

static void format(struct lane *l, struct commit *c)
{
    bool mute = is_mute(l);
    if (l->load_at != 0 && clock_mono_ms() > l->load_at)
        load_scripts(l);
    if (c->lent != NULL)
        text_free(&c->resp, &c->lent);
    buf_clear(&c->resp);
    c->news.n = 0;
    c->ncommands = 1;
    c->pops = !in_cluster(l) && clock_mono_ms() >= l->pops_at && batch_pop_plainly(c->batch);
    c->whole =
        !c->pops && l->scripted && batch_format_whole(c->batch, &l->scripts, !mute, &c->resp);
    if (!c->whole)
        c->ncommands = batch_format(c->batch, mute ? NULL : &c->news, &c->resp);
}

static void commit_free(struct lane *l, struct commit *c)
{
    batch_free(c->batch);
    text_free(&c->resp, &c->lent);
    free(l->spare);
    l->spare = c;
}

void lane_settle(struct lane *l, struct commit *c, const struct fault *fault)
{
    l->times = c->times;
    if (c->claiming != NULL)
        claims_drop(c->claiming);
    c->claiming = NULL;
    if (l->gathering != NULL)
        batch_follow(l->gathering->batch, c->batch);
    batch_decide(c->batch, fault);
    for (struct commit_listener *at = fault == NULL ? *l->place.listeners : NULL; at != NULL;
         at = at->next)
        batch_each_committed(c->batch, at->on_committed, at->arg);
    l->cb->on_batch(l->arg, l, c->batch, fault);
    commit_free(l, c);
}

void lane_refuse_all(struct lane *l, const struct fault *in_flight, const struct fault *gathering)
{
    struct commit *a = l->in_flight;
    l->in_flight = NULL;
    if (a != NULL) /* while it waits for its claims it was not sent */
        lane_settle(l, a, a->claiming != NULL ? gathering : in_flight);
    struct commit *b = l->gathering; /* only now: more may wait for it meanwhile */
    l->gathering = NULL;
    if (b != NULL)
        lane_settle(l, b, gathering);
    l->place.stats->refused++;
}

void lane_retain(struct lane *l, struct commit *c)
{
    if (!RAPYER_EXACTLY_ONCE)
        return;
    /* An earlier state may let units pass that were refused, and lack a deadline that it gets. */
    if (c->pops)
        c->ncommands -= batch_pop_name(c->batch, &c->news, &c->resp);
    else if (batch_any_refused(c->batch) || batch_any_undated(c->batch))
        format(l, c);
    struct kept *k = retained_add(l->place.retained, &l->kept, c->resp.len);
    if (k == NULL)
        return;
    k->slot = l->place.slot;
    k->number = batch_number(c->batch);
    k->after = l->applied;
    k->resp = c->resp;
    k->lent = c->lent;
    k->ncommands = c->ncommands;
    k->whole = c->whole;
    k->news = c->news;
    k->nleases = batch_format_leases(c->batch, l->config->queue_time, &k->leases);
    retained_grew(l->place.retained, k->leases.len);
    c->resp = BUF_INIT;
    c->lent = NULL;
}

/* ---- commits and their answers ---- */

/* The batch in flight is applied; `doubt`: on fewer replicas or disks than it should be. */
static void conclude(struct lane *l, int64_t now, const struct fault *doubt)
{
    struct commit *c = l->in_flight;
    l->in_flight = NULL;
    c->times.answered = now;
    /* Before the answers, which are written at the end of the turn, too: Redis works meanwhile. */
    if (l->gathering != NULL && !batch_empty(l->gathering->batch))
        kick(l);
    l->place.stats->not_durable += doubt != NULL;
    l->doubt = doubt;
    lane_settle(l, c, NULL);
    l->doubt = NULL;
}

/* An ACL without the channel, or a command that is not there, is no reason to keep nothing: others
 * hear of the commit later. */
static bool mute(struct lane *l, struct commit *c)
{
    bool news = c->refused + 1 + c->news.n >= c->ncommands && c->refused + 1 < c->ncommands;
    if (!news ||
        (strncmp(c->refusal, "NOPERM", 6) != 0 && strncmp(c->refusal, "ERR unknown", 11) != 0))
        return false;
    if (!l->place.mute->logged)
        log_info("other daemons are not told of commits: %s", c->refusal);
    l->place.mute->logged = true;
    l->place.mute->until = clock_mono_ms() + MUTE_MS;
    format(l, c);
    lane_send(l);
    return true;
}

/* Nothing was done: Redis does not know the script any more, or refused its first command. As a
 * transaction it is applied, or refused in a way that is known. */
static bool spell_out(struct lane *l, struct commit *c, const redisReply *reply)
{
    if (!c->whole || reply->type != REDIS_REPLY_ERROR)
        return false;
    if (strncmp(reply->str, "NOSCRIPT", 8) == 0)
        load_scripts(l);
    else
        leave_scripts(l);
    format(l, c);
    lane_send(l);
    return true;
}

/* Nothing was done, as Redis does not let us have it done in this way, or cannot. */
static bool pop_as_unit(struct lane *l, struct commit *c, const redisReply *reply)
{
    bool cannot = strncmp(c->refusal, "NOPERM", 6) == 0 || strstr(c->refusal, "unknown command");
    if (!c->pops || reply->type != REDIS_REPLY_ERROR || !cannot || c->refused > 2)
        return false;
    l->pops_at = clock_mono_ms() + MUTE_MS;
    batch_pop_as_unit(c->batch);
    format(l, c);
    lane_send(l);
    return true;
}

/* That it must not tell others is for a transaction to find out (mute). */
static void look_at_news(struct lane *l, const struct commit *c, const redisReply *reply)
{
    bool told = true;
    for (size_t i = 2; c->whole && i < reply->elements; i++)
        told = told && reply->element[i]->type != REDIS_REPLY_ERROR;
    if (!told)
        leave_scripts(l);
}

void lane_unanswered(struct lane *l)
{
    if (!in_cluster(l) || upstream_state(l->up) != UPSTREAM_UP)
        return;
    l->open_on = NULL;
    lane_doubt_place(l);
}

static void on_reply(void *arg, unsigned index, redisReply *reply)
{
    struct lane *l = arg;
    struct commit *c = l->in_flight;
    if (reply == NULL)
        lane_unanswered(l);
    if (c == NULL || reply == NULL)
        return;
    if (index + 1 < c->ncommands) {
        if (reply->type == REDIS_REPLY_ERROR && c->refusal[0] == '\0') {
            snprintf(c->refusal, sizeof(c->refusal), "%s", reply->str);
            c->refused = index;
        }
        return;
    }
    struct fault f;
    l->open_on = NULL;
    if (spell_out(l, c, reply) || pop_as_unit(l, c, reply))
        return;
    if (batch_answer(c->batch, reply, &f) < 0) {
        if (mute(l, c))
            return;
        if (c->refusal[0] != '\0' && f.code == FAULT_UNAVAILABLE)
            fault_set(&f, FAULT_UNAVAILABLE, "Redis refused the commit, nothing was applied: %s",
                      c->refusal);
        log_warning("commit %" PRIu64 ": %s", batch_number(c->batch), f.text);
        /* It was demoted: a name may lead to the new master by now. A socket's path will not. */
        bool moved = !in_cluster(l) && strncmp(c->refusal, "READONLY", 8) == 0 &&
                     strchr(l->config->redis, ':') && strncmp(l->config->redis, "unix:", 5) != 0;
        lane_refuse_all(l, &f, &f);
        if (moved)
            upstream_reset(l->up, "it is a replica now, and refuses writes");
        return;
    }
    if (in_cluster(l))
        claims_settle(l->place.claims, c->batch, reply, &l->epoch);
    int64_t now = clock_boot_ns();
    histogram_add(&l->place.stats->took, now - c->times.sent);
    l->place.stats->batches++;
    l->place.stats->commands += c->ncommands;
    if (l->place.mute->logged && c->news.n > 0) {
        log_info("other daemons are told of commits again");
        l->place.mute->logged = false;
    }
    look_at_news(l, c, reply);
    lane_retain(l, c);
    l->applied = batch_number(c->batch);
    sweeps_add(&l->sweeps, c->batch, true);
    c->applied = true;
    if (!c->asked)
        conclude(l, now, NULL);
}

/* Of another number: it was sent again meanwhile, perhaps to another node. */
void lane_waited(struct lane *l, uint64_t sent, const redisReply *reply)
{
    struct commit *c = l->in_flight;
    struct fault f;
    if (c == NULL || reply == NULL || !c->applied || sent != l->sent)
        return; /* it was refused, or the link is lost: on_down */
    conclude(l, clock_boot_ns(), durable_judge(&c->durable, reply, &f) < 0 ? &f : NULL);
}

void lane_send(struct lane *l)
{
    struct commit *c = l->in_flight;
    c->refusal[0] = '\0';
    l->open_on = l->up;
    l->open_epoch = upstream_epoch(l->up);
    if (c->resp.len >= BLOB_BYTES && c->lent == NULL) {
        c->lent = blob_new(&c->resp);
        c->resp = c->lent->bytes;
    }
    if (c->lent != NULL)
        upstream_give(l->up, c->lent, c->ncommands, on_reply, l);
    else
        upstream_put(l->up, c->resp.data, c->resp.len, c->ncommands, on_reply, l);
    c->asked = durable_wanted(l->config, &c->durable);
    l->cb->on_sent(l->arg, l, ++l->sent, c->asked);
}

/* The batch that is to be the one in flight. Where the link is lost by now it goes with what is
 * sent again. */
static void send_first(struct lane *l)
{
    struct commit *c = l->in_flight;
    buf_grow(&c->resp, batch_bytes(c->batch) + 512);
    format(l, c);
    c->times.sent = clock_boot_ns();
    if (l->state == LANE_READY)
        lane_send(l);
}

static void on_claimed(void *arg)
{
    struct lane *l = arg;
    l->in_flight->claiming = NULL;
    send_first(l);
}

bool lane_turn(struct lane *l)
{
    l->kicked = false;
    if (l->state != LANE_READY || l->in_flight != NULL || l->gathering == NULL)
        return false;
    struct commit *c = l->gathering;
    /* To put it together takes its time, too: others have a turn before that. */
    if (batch_bytes(c->batch) > LONG_BYTES && !c->waited)
        return l->kicked = c->waited = true;
    l->gathering = NULL;
    l->in_flight = c;
    if (in_cluster(l))
        c->claiming =
            claims_begin(l->place.claims, c->batch, l->place.slot, &l->epoch, on_claimed, l);
    if (c->claiming == NULL)
        send_first(l);
    return false;
}

struct batch *lane_batch(struct lane *l)
{
    if (l->gathering == NULL) {
        l->gathering = commit_new(l);
        if (l->state != LANE_READY)
            watch(l);
    }
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

/* ---- the link ---- */

/* It may be refused again: a slot that is on the move is looked at, and takes nothing. */
static bool is_sent_again(const struct lane *l)
{
    return l->in_flight != NULL && l->in_flight->resent;
}

void lane_go_on(struct lane *l)
{
    l->state = LANE_READY;
    if (!is_sent_again(l))
        event_del(l->watch);
    l->cb->on_ready(l->arg, l);
    if (l->gathering != NULL)
        kick(l);
}

/* So that a marker that is missing later always means that Redis has lost its state. */
static void set_first_marker(struct lane *l)
{
    struct buf out = BUF_INIT;
    buf_append(&out, l->words.set.data, l->words.set.len);
    resp_bulk(&out, "0", 1);
    /* A replica or a full Redis refuses; then it is as if it had been lost. */
    upstream_send(l->up, out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
}

/* No commit was sent yet, so there is nothing to look for. */
static bool is_first(const struct lane *l)
{
    if (!in_cluster(l))
        return upstream_info(l->up)->previous_run_id[0] == '\0';
    return l->applied == 0 && l->abandoned == 0 && l->in_flight == NULL;
}

void lane_link(struct lane *l, struct upstream *up)
{
    l->up = l->sweeps.up = up;
    l->unsure = false;
    l->epoch.known = false;
    load_scripts(l);
    if (is_first(l)) {
        if (!in_cluster(l))
            set_first_marker(l);
        l->cb->on_link(l->arg, l);
        lane_go_on(l);
        return;
    }
    l->state = LANE_RECOVERING;
    lane_recover(l);
    l->cb->on_link(l->arg, l);
}

/* Redis has acknowledged it, and will not say any more whether others have it. */
static void conclude_in_doubt(struct lane *l)
{
    struct fault f;
    if (l->in_flight == NULL || !l->in_flight->applied)
        return;
    lane_unheard(&f);
    conclude(l, clock_boot_ns(), &f);
}

/* Gives up what waits for too long. What no node can have any more was not applied. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct lane *l = arg;
    if (l->state == LANE_READY && !is_sent_again(l))
        event_del(l->watch);
    if (l->state == LANE_READY || clock_mono_ms() - l->down_since < (int64_t)l->config->queue_time)
        return;
    if (l->in_flight == NULL && l->gathering == NULL) {
        if (in_cluster(l))
            event_del(l->watch);
        return;
    }
    struct fault unknown, gone;
    bool open = !in_cluster(l) || l->open_on != NULL;
    fault_set(&gone, FAULT_UNAVAILABLE, "%s; nothing was applied", lane_why(l));
    fault_set(&unknown, FAULT_UNKNOWN_OUTCOME,
              "the connection to Redis was lost during the commit and did not come back for %u "
              "ms; the change may or may not be there",
              l->config->queue_time);
    if (l->in_flight != NULL && open) {
        l->abandoned = batch_number(l->in_flight->batch);
        l->place.stats->unknown++;
    }
    l->open_on = NULL;
    lane_refuse_all(l, open ? &unknown : &gone, &gone);
}

static void watch(struct lane *l)
{
    struct timeval tick = {.tv_usec = 100000};
    if (!event_pending(l->watch, EV_TIMEOUT, NULL))
        event_add(l->watch, &tick);
}

/* Until it is known again where it is and what is there. */
static void stand_still(struct lane *l)
{
    /* A link that comes up and goes again is still the same outage, and so is a batch that is sent
     * again and comes back. */
    if (l->state == LANE_READY) {
        if (!is_sent_again(l))
            l->down_since = clock_mono_ms();
        l->absent_since = upstream_absent_since(l->up);
        watch(l);
    }
    l->state = LANE_DOWN;
    l->look = 0;
}

void lane_unlink(struct lane *l)
{
    if (l->state == LANE_DOWN)
        return;
    stand_still(l);
    conclude_in_doubt(l);
    l->cb->on_down(l->arg, l);
}

void lane_doubt_place(struct lane *l)
{
    int64_t now = clock_mono_ms();
    if (!in_cluster(l) || l->unsure)
        return;
    bool long_ago = now - l->retry_at > RETRY_CALM_MS;
    l->retry_ms = long_ago || l->retry_ms == 0 ? RETRY_MIN_MS
                  : l->retry_ms < RETRY_MAX_MS ? 2 * l->retry_ms
                                               : RETRY_MAX_MS;
    l->retry_at = now + l->retry_ms;
    l->unsure = true;
    lane_unlink(l);
    l->cb->on_unsure(l->arg, l);
}

bool lane_unsure(const struct lane *l, int64_t *retry_at)
{
    *retry_at = l->retry_at;
    return l->unsure;
}

struct upstream *lane_open_on(const struct lane *l, uint32_t *epoch)
{
    *epoch = l->open_epoch;
    return l->open_on;
}

void lane_answered(struct lane *l)
{
    l->open_on = NULL;
}

/* ---- the rest ---- */

struct lane *lane_new(struct event_base *base, const struct config *config,
                      const struct lane_place *place, struct upstream *up,
                      const struct lane_callbacks *cb, void *arg)
{
    struct lane *l = tree_alloc(sizeof(*l));
    l->config = config;
    l->place = *place;
    l->cb = cb;
    l->arg = arg;
    batch_words_make(&l->words, config->key_prefix, place->id, place->tag);
    l->down_since = clock_mono_ms();
    l->since = clock_wall_ms();
    l->watch = event_new(base, -1, EV_PERSIST, on_watch, l);
    l->up = l->sweeps.up = up;
    watch(l);
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
    conclude_in_doubt(l);
    lane_refuse_all(l, &unknown, &gone);
}

void lane_free(struct lane *l)
{
    lane_stop(l);
    retained_clear(l->place.retained, &l->kept);
    sweeps_free(&l->sweeps);
    suspects_free(&l->suspects);
    event_free(l->watch);
    free(l->spare);
    batch_words_free(&l->words);
    tree_free(l);
}

struct upstream *lane_upstream(const struct lane *l)
{
    return l->up;
}

const struct lane_place *lane_place(const struct lane *l)
{
    return &l->place;
}

const struct buf *lane_marker(const struct lane *l)
{
    return &l->words.marker;
}

/* Who is said to have the slot may never have been up, and then it is not our link yet. */
const char *lane_why(const struct lane *l)
{
    const struct upstream *up = router_link(l->place.router, l->place.slot);
    bool looks = l->unsure || (in_cluster(l) && lane_recovers(l));
    return looks && upstream_state(up) == UPSTREAM_UP ? router_why(l->place.router, l->place.slot)
                                                      : upstream_why(up);
}

void lane_tell(struct lane *l, bool own, bool others)
{
    batch_pool_tell(l->place.pool, own, others);
}

bool lane_recovers(const struct lane *l)
{
    return l->state == LANE_RECOVERING;
}

bool lane_ready(const struct lane *l)
{
    return l->state == LANE_READY && upstream_state(l->up) == UPSTREAM_UP;
}

int lane_admit(const struct lane *l, struct fault *f)
{
    if (l->state == LANE_DOWN && clock_mono_ms() - l->down_since >= (int64_t)l->config->queue_time)
        return fault_set(f, FAULT_UNAVAILABLE, "%s", lane_why(l));
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

bool lane_unresolved(const struct lane *l)
{
    return l->abandoned != 0;
}

const struct fault *lane_doubt(const struct lane *l)
{
    return l->doubt;
}

struct lane_times lane_times(const struct lane *l)
{
    return l->times;
}

void lane_bytes(const struct lane *l, size_t *gathering, size_t *in_flight)
{
    *gathering += l->gathering != NULL ? batch_bytes(l->gathering->batch) : 0;
    *in_flight += l->in_flight != NULL ? l->in_flight->resp.len : 0;
}
