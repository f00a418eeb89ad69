/* lane_recovery: what became of commits when the link was lost, or the slot has moved (lane.h).
 *
 *   old connections killed ─► the marker is looked at ─┬─ its number ─► the batch was applied
 *                                                      ├─ the one before ─► it is sent again
 *                                                      └─ less ─► what is kept is sent again, one
 *                                                                 after the other, then the batch
 *
 * One after the other, as what comes behind one that was not taken (by a slot that is on the move)
 * would cover with its marker that the other is missing.
 */
#include "daemon/base/clock.h"
#include "daemon/commit/lane_inside.h"
#include "daemon/redis/resp.h"
#include <inttypes.h>

#define TOLD_MS 1000

/* What the link has learned. */
struct recovery {
    struct lane *lane;
    uint64_t look;      /* its number: of no use when the lane looks anew, or no more */
    unsigned marker_at; /* index of the marker's reply; behind it is what batch_ask_state asked */
    unsigned last;
    bool found; /* a marker */
    bool swept; /* there may have been one that was removed */
    uint64_t marker;
    char error[200];
    int64_t said[]; /* of the batch in flight, which may be given up meanwhile */
};

void lane_unheard(struct fault *f)
{
    fault_set(f, FAULT_NOT_DURABLE,
              "the change is applied, but the connection to Redis was lost before it was said how "
              "many replicas or disks have it");
}

/* All is as it should be in Redis. */
static void recovered(struct lane *l)
{
    l->abandoned = 0;
    sweeps_send(&l->sweeps);
    if (l->in_flight != NULL && l->in_flight->claiming == NULL) {
        l->place.stats->recovered_resent++;
        l->in_flight->resent = true;
        lane_send(l);
    }
    lane_go_on(l);
}

/* Redis has another state than it acknowledged, and it cannot be made good. */
static void state_lost(struct lane *l, uint64_t marker)
{
    l->place.stats->lost++;
    log_error("Redis came back with marker %" PRIu64 " where %" PRIu64 " was expected: "
              "acknowledged changes may be lost and cannot be applied again",
              marker, l->applied);
    retained_clear(l->place.retained, &l->kept);
    l->applied = marker;
    if (l->in_flight == NULL)
        return;
    struct fault unknown, gone;
    l->place.stats->unknown++;
    fault_set(&unknown, FAULT_UNKNOWN_OUTCOME,
              "the connection to Redis was lost during the commit, and Redis came back without "
              "its state; the change may or may not be there");
    fault_set(&gone, FAULT_UNAVAILABLE,
              "Redis came back without its state; nothing of this was applied");
    lane_refuse_all(l, &unknown, &gone);
}

/* ---- what was acknowledged, and is not there ---- */

static struct kept *kept_after(const struct lane *l, uint64_t marker)
{
    struct kept *k = l->kept;
    while (k != NULL && k->after != marker)
        k = k->next_of_lane;
    return k;
}

static void replay_next(struct lane *l);

/* Their answers were given long ago. */
static void judge_replayed(struct lane *l, const redisReply *reply)
{
    const redisReply *bad = reply->type == REDIS_REPLY_ERROR ? reply : NULL;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        if (reply->element[i]->type == REDIS_REPLY_ERROR)
            bad = reply->element[i];
        unsigned refused = unit_refusals(reply->element[i]);
        if (refused > 0 && l->replay_refused == 0)
            log_error("commits that Redis had lost could not be applied again: their lock is gone, "
                      "or a document has changed");
        l->replay_refused += refused;
        l->place.stats->lost += refused;
    }
    if (bad != NULL)
        log_error("a commit that Redis had lost could not be applied again: %s", bad->str);
}

struct replay {
    struct lane *lane;
    uint64_t look; /* that it is a part of */
    uint64_t number;
    unsigned last;
};

static void on_replayed(void *arg, unsigned index, redisReply *reply)
{
    struct replay *r = arg;
    struct lane *l = r->lane;
    bool current = l->look == r->look;
    if (reply == NULL) { /* the next look goes on from the marker */
        if (current)
            lane_unanswered(l);
        free(r);
        return;
    }
    judge_replayed(l, reply);
    if (index != r->last)
        return;
    if (current) {
        l->open_on = NULL;
        l->replayed = r->number;
        replay_next(l);
    }
    free(r);
}

/* What PUBLISH says by itself: this Redis may not let us, which is no reason to lose the commit. In
 * a cluster nobody is told: it would come behind the names of the keys, and explain others. */
static void send_kept(struct lane *l, const struct kept *k)
{
    size_t exec_at = k->resp.len - EXEC_BYTES;
    size_t news_at = k->news.n > 0 ? k->news.at : exec_at;
    struct buf out = BUF_INIT;
    struct replay *r = alloc_zeroed(1, sizeof(*r));
    *r = (struct replay){.lane = l, .look = l->look, .number = k->number};
    r->last = k->ncommands - k->news.n - 1;
    l->open_on = l->up;
    l->open_epoch = upstream_epoch(l->up);
    if (k->whole) {
        unit_spell_whole(&k->resp, &out);
    } else {
        buf_append(&out, k->resp.data, news_at);
        buf_append(&out, k->resp.data + exec_at, EXEC_BYTES);
    }
    if (!upstream_send(l->up, out.data, out.len, r->last + 1, on_replayed, r))
        free(r);
    if (k->news.n > 0 &&
        l->place.tag == NULL) /* who is not told reads anew from a Redis that has lost something */
        upstream_send(l->up, k->resp.data + news_at, exec_at - news_at, k->news.n, upstream_ignore,
                      NULL);
    buf_free(&out);
}

/* Changes under a lock only as long as Redis would remember who else has had the lock since. */
static void replay_next(struct lane *l)
{
    const struct kept *k = l->replayed != l->applied ? kept_after(l, l->replayed) : NULL;
    if (k == NULL) {
        l->look = 0;
        if (l->replayed != l->applied)
            state_lost(l, l->replayed);
        recovered(l);
        return;
    }
    if (k->nleases > 0 && clock_boot_ms() - l->absent_since < (int64_t)l->config->lock_lease)
        upstream_send(l->up, k->leases.data, k->leases.len, k->nleases, upstream_ignore, NULL);
    send_kept(l, k);
    l->place.stats->recovered_resent++;
}

/* A node that fails over has thousands of slots, which is one line, not thousands. */
static void tell_replay(const struct lane *l, unsigned n)
{
    int64_t now = clock_mono_ms();
    if (l->place.tag == NULL)
        log_warning("Redis came back without the last %u commits; they are applied again", n);
    else if (l->place.retained->told == 0 || now - l->place.retained->told > TOLD_MS)
        log_warning("a master came back, or was replaced, without the last commits; they are "
                    "applied again");
    l->place.retained->told = now;
}

/* A replica that was promoted before it had even the first: no marker was ever set apart. Or it was
 * removed, as nothing was heard of us for too long. */
static bool has_none(const struct lane *l, const struct recovery *r)
{
    return !r->found && l->place.tag != NULL && l->kept != NULL;
}

/* False: what is missing is not kept. */
static bool may_replay(struct lane *l, const struct recovery *r)
{
    unsigned n = 0;
    if (!(r->found || (has_none(l, r) && !r->swept)) || r->marker >= l->applied)
        return false;
    for (const struct kept *k = kept_after(l, r->marker); k != NULL; k = k->next_of_lane)
        n++;
    if (n > 0)
        tell_replay(l, n);
    return n > 0;
}

/* ---- the look ---- */

/* The batch in flight is in Redis, only its answer was lost: it is made up from the versions. */
static void applied_unanswered(struct lane *l, const struct recovery *r)
{
    struct commit *c = l->in_flight;
    l->in_flight = NULL;
    batch_take_state(c->batch, r->said);
    l->place.stats->recovered_applied++;
    lane_retain(l, c);
    l->applied = r->marker;
    sweeps_add(&l->sweeps, c->batch, false);
    struct fault f;
    lane_unheard(&f);
    l->place.stats->not_durable += c->asked;
    l->doubt = c->asked ? &f : NULL;
    lane_settle(l, c, NULL);
    l->doubt = NULL;
}

/* Decides over the batch in flight, and over acknowledged ones that Redis has lost. */
static void recover(struct lane *l, const struct recovery *r)
{
    struct commit *c = l->in_flight;
    bool applied = c != NULL && r->found && r->marker == batch_number(c->batch);
    bool as_left = r->marker == l->applied && (r->found || l->applied == 0);
    bool replica = l->place.tag == NULL && strcmp(upstream_info(l->up)->role, "slave") == 0;
    if (r->error[0] != '\0') {
        if (l->place.tag != NULL)
            lane_doubt_place(l);
        else
            upstream_reset(l->up, r->error);
        return;
    }
    /* What the master has may still be on its way here: only after the promotion is it final. */
    if (replica && !applied && (c != NULL || !as_left)) {
        upstream_reset(l->up, "it is a replica, and it is open whether the last commit gets there");
        return;
    }
    suspects_over(&l->suspects);
    l->open_on = NULL;
    if (applied) {
        applied_unanswered(l, r);
    } else if (r->found && l->abandoned != 0 && r->marker == l->abandoned) {
        /* Its clients know that it may have been applied; it was. */
        retained_clear(l->place.retained, &l->kept);
        l->applied = r->marker;
    } else if (!as_left && may_replay(l, r)) {
        l->replay_refused = 0;
        l->replayed = r->marker;
        replay_next(l);
        return;
    } else if (!as_left) {
        state_lost(l, r->marker);
    }
    l->look = 0;
    recovered(l);
}

/* Whoever removed our marker had not heard of us for commit.forget_after, so what he says there is
 * that much later than our first commit, give or take what clocks differ by. */
static void on_swept(void *arg, unsigned index, redisReply *reply)
{
    struct recovery *r = arg;
    struct lane *l = r->lane;
    bool current = l->look == r->look;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        r->swept = strtoll(reply->str, NULL, 10) >= l->since + (int64_t)l->config->forget_after / 2;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        snprintf(r->error, sizeof(r->error), "%s", reply->str);
    if (current && reply == NULL)
        lane_unanswered(l);
    else if (current)
        recover(l, r);
    free(r);
}

/* Behind the marker: what removes that says so first. */
static bool ask_swept(struct lane *l, struct recovery *r)
{
    struct buf key = BUF_INIT, out = BUF_INIT;
    unit_swept_key(l->config->key_prefix, l->place.tag, &key);
    resp_command(&out, 2, (const char *[]){"GET", (char *)key.data}, (size_t[]){3, key.len});
    bool sent = upstream_send(l->up, out.data, out.len, 1, on_swept, r);
    buf_free(&key);
    buf_free(&out);
    return sent;
}

static void on_recovery(void *arg, unsigned index, redisReply *reply)
{
    struct recovery *r = arg;
    struct lane *l = r->lane;
    bool current = l->look == r->look;
    if (reply == NULL) {
        if (current)
            lane_unanswered(l);
        free(r);
        return;
    }
    bool string = reply->type == REDIS_REPLY_STRING;
    if (index < r->marker_at)
        suspects_answer(reply);
    if (index >= r->marker_at && reply->type == REDIS_REPLY_ERROR)
        snprintf(r->error, sizeof(r->error), "%s", reply->str);
    if (index == r->marker_at) {
        r->found = string;
        r->marker = string ? strtoull(reply->str, NULL, 10) : 0;
        if (current && string && l->in_flight != NULL &&
            r->marker == batch_number(l->in_flight->batch))
            batch_take_marker(l->in_flight->batch, reply->str);
    } else if (index > r->marker_at) {
        r->said[index - r->marker_at - 1] = string ? strtoll(reply->str, NULL, 10) : 0;
    }
    if (index != r->last)
        return;
    if (current && l->in_flight != NULL && index > r->marker_at)
        batch_pop_found(l->in_flight->batch, reply);
    if (current && has_none(l, r) && r->error[0] == '\0' && ask_swept(l, r))
        return;
    if (current)
        recover(l, r);
    free(r);
}

/* Asks for the marker, and for the state of the batch in flight. Without the old connections being
 * killed the transaction that one still has in its buffer could be applied after the marker was
 * read. Those of a cluster are no matter of one lane. */
void lane_recover(struct lane *l)
{
    struct buf out = BUF_INIT, state = BUF_INIT;
    unsigned n = l->in_flight != NULL ? batch_ask_state(l->in_flight->batch, &state) : 0;
    struct recovery *r = alloc_zeroed(1, sizeof(*r) + n * sizeof(*r->said));
    r->lane = l;
    r->look = l->look = ++l->looks;
    if (l->place.tag == NULL)
        r->marker_at = suspects_kill(&l->suspects, upstream_info(l->up), &out);
    r->last = r->marker_at + n;
    const struct buf *marker = lane_marker(l);
    resp_command(&out, 2, (const char *[]){"GET", (char *)marker->data},
                 (size_t[]){3, marker->len});
    buf_append(&out, state.data, state.len);
    if (!upstream_send(l->up, out.data, out.len, r->last + 1, on_recovery, r))
        free(r);
    buf_free(&out);
    buf_free(&state);
}
