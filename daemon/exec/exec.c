/* exec: see exec.h. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/documents/audit.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/alloc.h"
#include <assert.h>
#include <inttypes.h>
#include <utlist.h>

#define RUNS_MAX 1000          /* of one request, before its document is said to change too often */
#define SCRATCH_MAX (1u << 20) /* bytes that are kept for the answers to come */

/* ---- what the end of a run means ---- */

/* The last of the batches whose changes the call saw or made; NULL: all of it is committed. */
static struct batch *rides_on(const struct call *c)
{
    struct batch *last = NULL;
    for (unsigned i = 0; i < c->ndocs; i++) {
        struct batch *b = c->docs[i]->batch;
        if (b != NULL && (last == NULL || batch_number(b) > batch_number(last)))
            last = b;
    }
    return last;
}

/* Answers what waits for nothing. Its documents go first: the answer may lead to other requests. */
static void answer_now(struct exec *e, struct task *t, const struct fault *f)
{
    struct call *c = &t->call;
    task_count(e, t, f);
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (c->request.method->reads && f == NULL && c->run.stale < 0 &&
            coherence_current(e->coherence, c->docs[i], c->run.clock)) {
            publisher_read(e->publisher, c->docs[i]);
            coherence_shown(e->coherence, c->docs[i]);
        }
        cache_release(e->cache, c->docs[i]);
    }
    c->ndocs = 0;
    task_answer(e, t, f, &e->scratch);
}

/* A run of an open task has ended with something to say: now, or with the batch it rides on. */
static void conclude(struct exec *e, struct task *t, enum op_status st)
{
    struct call *c = &t->call;
    struct batch *batch = rides_on(c);
    if (batch != NULL)
        call_ride(c, batch);
    bool refused = st == OP_REFUSED;
    /* That nothing more is taken is no matter of what the documents hold. */
    if (refused && c->fault.code == FAULT_UNAVAILABLE)
        batch = NULL;
    /* A change that was staged goes out in any case; call_admit bounds those. */
    if (batch != NULL && !refused && c->run.ntouched == 0 &&
        e->kept_bytes + e->scratch.len > e->config->queue_bytes) {
        call_full(c, e->kept_bytes);
        refused = true;
        batch = NULL;
    }
    if (batch == NULL) {
        answer_now(e, t, refused ? &c->fault : NULL);
        return;
    }
    t->refused = refused;
    if (!refused && e->scratch.len >= BLOB_BYTES) {
        buf_free(&t->answer);
        t->answer = e->scratch;
        e->scratch = BUF_INIT;
    } else if (!refused) {
        buf_append(&t->answer, e->scratch.data, e->scratch.len);
    }
    if (c->ndocs > 0)
        c->docs[0]->pins++; /* who observes is told of it; others that it only reads may go */
    task_move(e, t, TASK_STAGED);
    batch_wait(batch, &t->waiter);
}

/* ---- a batch is decided ---- */

/* Nothing of it was applied, as a document was not what it relied upon (or what others did, that
 * it saw). It is put into the queues when all others were told. False: for long enough. */
static bool do_again(struct exec *e, struct task *t)
{
    int64_t now = clock_mono_ms();
    if (t->again_until == 0)
        t->again_until = now + (int64_t)e->config->queue_time;
    if (now >= t->again_until)
        return false;
    e->nagain++;
    for (unsigned i = 0; i < t->call.run.ntouched; i++)
        coherence_want_turn(e->coherence, t->call.run.touched[i]->doc);
    t->refused = t->rode = false;
    buf_free(&t->answer);
    task_move(e, t, TASK_AGAIN);
    return true;
}

/* Its batch is decided, and was not refused. */
static void settle_committed(struct exec *e, struct task *t, const struct batch *b)
{
    struct fault f;
    const struct run *r = &t->call.run;
    const struct unit *u = r->unit != NULL ? unit_joined(r->unit) : NULL;
    if (u != NULL && u->refused_by != 0) {
        if (!unit_outdated(u))
            unit_refusal(u, &f);
        else if (do_again(e, t))
            return;
        else if (u->unreached)
            fault_set(&f, FAULT_UNAVAILABLE,
                      "the nodes of the cluster that say who has its unique values did not answer "
                      "for %u ms; nothing was applied",
                      e->config->queue_time);
        else
            fault_set(&f, FAULT_BUSY,
                      "others changed the same documents in Redis each time that this was tried, "
                      "for %u ms; nothing was applied; try again",
                      e->config->queue_time);
        task_answer(e, t, &f, NULL);
        return;
    }
    /* It changed nothing, and saw changes that were made to something else than was thought. */
    if (r->ntouched == 0 && batch_drifted(b, t->call.docs, t->call.ndocs)) {
        if (do_again(e, t))
            return;
        fault_set(&f, FAULT_BUSY, "the document changes too often to be read");
        task_answer(e, t, &f, NULL);
        return;
    }
    if (call_outcome(r, &f) < 0) {
        task_answer(e, t, &f, &t->answer);
        return;
    }
    if (r->ntouched > 0 && lane_doubt(e->deciding) != NULL) {
        task_answer(e, t, lane_doubt(e->deciding), NULL);
        return;
    }
    if (call_set_popped(r, &t->answer, &f) < 0) {
        task_answer(e, t, &f, NULL);
        return;
    }
    call_set_right(&t->call.run, &t->answer);
    task_answer(e, t, t->refused ? &t->call.fault : NULL, &t->answer);
}

static void settle(struct exec *e, struct task *t, const struct batch *b, const struct fault *fault)
{
    task_move(e, t, TASK_OPEN);
    t->rode = true;
    if (fault == NULL) {
        settle_committed(e, t, b);
        return;
    }
    struct fault f;
    if (fault->code == FAULT_UNKNOWN_OUTCOME && t->call.run.ntouched == 0) {
        fault_set(&f, FAULT_UNAVAILABLE,
                  "this read saw a change of another request, and the connection to Redis was lost "
                  "before that was committed; read again");
        fault = &f;
    }
    task_answer(e, t, fault, NULL);
}

/* ---- running ---- */

static bool hears_all_of(const struct call *c)
{
    bool all = true;
    for (unsigned i = 0; i < c->ndocs && all; i++)
        all = coherence_hearing(c->exec->coherence, c->docs[i]);
    return all;
}

enum op_status exec_run(struct task *t, struct buf *out)
{
    struct call *c = &t->call;
    struct exec *e = c->exec;
    struct cursor params = c->request.params;
    c->run.began = clock_boot_ns();
    c->run.clock = c->run.began / 1000000;
    if (c->request.came == 0)
        c->request.came = c->run.began;
    if (c->began == 0)
        c->began = c->run.clock;
    /* Nobody is heard: Redis has to be asked each time. */
    bool shows = c->request.method->reads || (e->cluster && c->request.method->shows);
    if (shows && e->config->coherence && (e->cluster || lane_ready(e->lane)) && !hears_all_of(c))
        call_read_anew(c);
    t->is_long = t->no_room = false;
    if (call_awaits_proof(c))
        return OP_NEEDS;
    c->run.work.pause = slices_pause;
    c->run.work.room = c->request.method->reads ? NULL : room_for;
    c->run.work.arg = t;
    buf_clear(out);
    if (out->cap > SCRATCH_MAX)
        buf_shrink(out, SCRATCH_MAX / 16);
    struct work *before = work_open(&c->run.work);
    struct weighing weight = cache_weigh(e->cache);
    enum op_status st = c->request.method->run(c, out);
    if (t->fiber == NULL) /* else slices.c does */
        cache_weighed(e->cache, weight, c->docs, c->ndocs);
    work_open(before);
    if (st == OP_DONE && c->run.ntouched == 0 && call_room(c, out) < 0)
        st = OP_REFUSED;
    if (t->is_long || t->no_room) {
        st = OP_NEEDS;
    } else if (call_doubtful(c, st)) {
        call_check(c);
        st = OP_NEEDS;
    } else if (call_unlearned(c, st)) {
        st = OP_NEEDS;
    } else if (st == OP_NEEDS && c->run.spoilt) {
        st = exec_judge_spoilt(c);
    } else if (st == OP_NEEDS) {
        c->proof = 0;
    } else if (c->run.ntouched == 0 && !call_of_one_moment(c)) {
        st = OP_NEEDS;
    }
    if (c->run.ntouched > 0)
        lane_weigh(call_lane_of_first(c), c->run.work.ns);
    /* What is staged goes out; done once more it would be there twice. */
    assert(st != OP_NEEDS || c->run.ntouched == 0);
    c->request.params = params;
    return st;
}

/* A run of a queued task has ended. True: so has the task, and is not first any more. */
static bool ran(struct exec *e, struct task *t, enum op_status st)
{
    struct call *c = &t->call;
    if (st == OP_NEEDS && t->no_room) {
        room_wait(e, t);
        return false;
    }
    if (st == OP_NEEDS && ++t->runs > RUNS_MAX) {
        fault_set(&c->fault, FAULT_BUSY, "%s changes too often to be read", c->docs[0]->key);
        st = OP_REFUSED;
    }
    if (st == OP_NEEDS && exec_fetch(e, c) < 0)
        st = OP_REFUSED;
    if (st == OP_NEEDS)
        return false;
    task_move(e, t, TASK_OPEN);
    conclude(e, t, st);
    return true;
}

/* A part of a request (exec_call), when all is to stand still: it could not be asked again. */
static bool must_end(const struct exec *e, const struct task *t)
{
    return e->still && t->call.request.timing == NULL;
}

static bool run_queued(struct exec *e, struct task *t)
{
    if (slices_wait(t) || !room_turn(t))
        return false;
    if (session_congested(t->call.request.session) && !must_end(e, t)) {
        task_move(e, t, TASK_OPEN);
        task_move(e, t, TASK_PARKED);
        return true;
    }
    enum op_status st = OP_NEEDS;
    if (!t->is_long) {
        call_begin_run(&t->call);
        st = exec_run(t, &e->scratch);
    }
    if (!t->is_long)
        return ran(e, t, st);
    if (!room_queues(e, t))
        slices_run(e, t);
    return false;
}

static void run_runnable(struct exec *e)
{
    if (e->state != EXEC_IDLE)
        return;
    e->state = EXEC_RUNNING;
    for (struct doc *d; (d = queue_woken(e)) != NULL;) {
        struct task *t;
        while ((t = queue_ready(d)) != NULL && run_queued(e, t))
            ;
        queue_looked_at(e, d);
    }
    if (e->state == EXEC_RUNNING)
        e->state = EXEC_IDLE;
}

void exec_ran(struct exec *e, struct task *t, enum op_status st)
{
    if (t->spoilt)
        st = OP_NEEDS;
    if (!ran(e, t, st) && t->spoilt)
        queue_wake_task(e, t);
    run_runnable(e);
    cache_trim(e->cache);
}

/* While the link is down writes wait for it; a stale read goes past those of other clients. */
static bool is_busy(struct call *c, const struct doc *d)
{
    return d->loading ||
           (d->queue != NULL && (!call_may_be_stale(c, d) || queue_has(d, c->request.session)));
}

/* Has the method name the call's documents. */
static int name_documents(struct exec *e, struct call *c)
{
    struct cursor params = c->request.params;
    const struct method *m = c->request.method;
    c->run.number = ++e->runs;
    c->spares_unique = false;
    c->asks = m->name;
    c->needs = m->needs != 0 ? m->needs : m->reads ? RIGHT_READ : RIGHT_WRITE;
    struct work *before = work_open(&c->run.work);
    int rc = c->request.method->docs(c, &c->fault);
    work_open(before);
    c->request.params = params;
    if (rc == 0 && e->cluster)
        rc = call_near_locks(c, &c->fault);
    if (rc == 0 && !m->reads && (m->needs == 0 || (m->needs & RIGHT_WRITE)))
        call_guard_unique(c);
    return rc;
}

static int check_waiting(const struct exec *e, struct task *t)
{
    if (!task_overfills(e, t))
        return 0;
    return fault_set(&t->call.fault, FAULT_UNAVAILABLE,
                     "%zu bytes of requests wait already (commit.queue_bytes); try again later",
                     e->waiting_bytes);
}

/* At once, if nobody is in its way. Its documents have just been named, for this run. */
static enum op_status try_at_once(struct exec *e, struct task *t)
{
    struct call *c = &t->call;
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (is_busy(c, c->docs[i]) || queue_yields(t, c->docs[i]))
            return OP_NEEDS;
    }
    c->run.stale = -1; /* that it may be, is no matter yet */
    enum op_status st = exec_run(t, &e->scratch);
    /* Nothing is read for who is not going to wait for it. */
    if (st == OP_NEEDS &&
        (check_waiting(e, t) < 0 || (!t->is_long && !t->no_room && exec_fetch(e, c) < 0)))
        return OP_REFUSED;
    if (st == OP_DONE)
        cache_hit(e->cache);
    return st;
}

static void take(struct exec *e, const struct request *r)
{
    struct task *t = task_new(e, r);
    struct call *c = &t->call;
    if (name_documents(e, c) < 0) {
        answer_now(e, t, &c->fault);
        return;
    }
    enum op_status st = try_at_once(e, t);
    if (st == OP_NEEDS && check_waiting(e, t) < 0)
        st = OP_REFUSED;
    if (st != OP_NEEDS) {
        conclude(e, t, st);
        return;
    }
    task_move(e, t, TASK_QUEUED);
    if (t->no_room)
        room_wait(e, t);
    else if (t->is_long && queue_ready(c->docs[0]) == t && !room_queues(e, t))
        slices_run(e, t);
}

void exec_request(struct exec *e, const struct method *m, struct session *s, const struct rpc *msg,
                  struct timing *timing, bool learned)
{
    take(e, &(struct request){.method = m,
                              .session = s,
                              .id = msg->id,
                              .params = msg->params,
                              .nparams = msg->nparams,
                              .arrived = ++e->stamp,
                              .timing = timing,
                              .learned = learned,
                              .stamp = session_stamp(s)});
}

void exec_call(struct exec *e, const struct method *m, struct session *s, uint64_t id,
               struct cursor params, uint32_t nparams, void *context)
{
    take(e, &(struct request){.method = m,
                              .session = s,
                              .id = id,
                              .context = context,
                              .params = params,
                              .nparams = nparams,
                              .arrived = ++e->stamp,
                              .stamp = session_stamp(s)});
}

/* ---- what has to be done again ---- */

/* As if it had just come: documents that it only read may have left the memory meanwhile. In front
 * of all that came since, so that the requests of a client stay in their order. Where it names
 * what is gone (a lock), that is the answer. */
static void begin_again(struct exec *e, struct task *t)
{
    struct call *c = &t->call;
    struct guard *pinned = c->guard; /* its locks, until they are named again */
    c->guard = NULL;
    call_empty(c);
    task_move(e, t, TASK_OPEN);
    int rc = name_documents(e, c);
    guard_unref(pinned);
    t->runs = 0;
    if (rc < 0) {
        answer_now(e, t, &c->fault);
        return;
    }
    task_move(e, t, TASK_QUEUED);
    queue_wake_task(e, t);
}

/* In their order, and no more than it reads. Its requests that have come since are behind them, as
 * nothing was read from it meanwhile. */
void exec_drained(struct exec *e, struct session *s)
{
    struct task *t, *next;
    DL_FOREACH_SAFE (e->parked, t, next) {
        if (t->call.request.session == s)
            begin_again(e, t);
    }
    run_runnable(e);
}

void exec_unpark(struct exec *e)
{
    struct task *t, *next;
    DL_FOREACH_SAFE (e->parked, t, next) {
        if (must_end(e, t))
            begin_again(e, t);
    }
    run_runnable(e);
}

/* The last one first, as each goes in front of the others. */
static void run_again(struct exec *e)
{
    while (e->again != NULL)
        begin_again(e, e->again->prev);
}

/* ---- what makes documents runnable ---- */

/* Who holds it is to know at once. */
static void tell_lost_leases(struct exec *e, struct batch *b)
{
    for (const struct unit *u = batch_units(b); u != NULL; u = u->next) {
        const struct guard_check *c = unit_refusing(u);
        if (c != NULL && c->kind == GUARD_LEASE && e->on_lost_lease != NULL)
            e->on_lost_lease(e->lost_arg, c->lock, c->number);
    }
}

static void on_released(void *arg, struct doc *d)
{
    struct exec *e = arg;
    if (coherence_current(e->coherence, d, clock_boot_ms()))
        publisher_released(e->publisher, d);
    coherence_shown(e->coherence, d);
    queue_wake(e, d);
    cache_release(e->cache, d);
}

/* What was deleted without its contents. */
static void purge_deleted(struct exec *e, struct batch *b)
{
    for (const struct batch_doc *bd = batch_docs(b); bd != NULL; bd = bd->next) {
        if (bd->doc->condemned && !doc_dirty(bd->doc))
            purger_add(e->purger, bd->doc->key, bd->doc->key_len);
    }
}

static void on_purged(void *arg, const char *key, size_t len)
{
    struct exec *e = arg;
    struct doc *d = cache_find(e->cache, key, len);
    if (d == NULL || !d->condemned)
        return;
    doc_forget(d);
    queue_wake(e, d);
    cache_release(e->cache, d);
    run_runnable(e);
}

static void on_written(void *arg, const struct committed *c)
{
    struct exec *e = arg;
    struct committed at = *c;
    size_t len;
    int64_t sent = e->times.sent / 1000000;
    coherence_wrote(e->coherence, c->doc, sent, "", 0);
    for (const char *suffix; (suffix = committed_suffix(&at, &len)) != NULL;)
        coherence_wrote(e->coherence, c->doc, sent, suffix, len);
}

static void on_batch(void *arg, struct lane *lane, struct batch *b, const struct fault *fault)
{
    struct exec *e = arg;
    publisher_hide(e->publisher, b);
    e->deciding = lane;
    e->times = lane_times(lane);
    if (fault == NULL)
        batch_each_committed(b, on_written, e);
    for (struct waiter *w = batch_waiters(b), *next; w != NULL; w = next) {
        struct task *t = (struct task *)w;
        struct doc *named = t->call.ndocs > 0 ? t->call.docs[0] : NULL;
        next = w->next;
        settle(e, t, b, fault);
        if (named != NULL) {
            named->pins--;
            cache_release(e->cache, named);
        }
    }
    e->times = (struct lane_times){0};
    e->deciding = NULL;
    tell_lost_leases(e, b);
    if (fault == NULL)
        purge_deleted(e, b);
    run_again(e);
    batch_release(b, on_released, e);
    room_wake(e);
    run_runnable(e);
    cache_trim(e->cache);
}

static void on_loaded(void *arg, struct doc *d, const struct fault *fault)
{
    struct exec *e = arg;
    queue_wake(e, d);
    if (fault == NULL)
        d->checked = d->asked;
    if (fault == NULL && d->rereading)
        d->read = d->asked;
    /* A link that was lost may come back in time: on_tick says when it is too late. */
    if (d->unanswered && e->cluster)
        lane_doubt_place(exec_lane_of(e, d));
    bool link_lost =
        fault != NULL && fault->code == FAULT_UNAVAILABLE && !lane_ready(exec_lane_of(e, d));
    /* What newer models wrote is read by them, when they are known (bring). */
    bool behind = fault != NULL && call_behind(e, d);
    if (fault != NULL && !link_lost && !behind && d->queue != NULL) {
        struct task *t = d->queue->task;
        t->call.fault = *fault;
        task_move(e, t, TASK_OPEN);
        conclude(e, t, OP_REFUSED);
    }
    run_runnable(e);
    cache_trim(e->cache);
}

static void wake_all(struct exec *e)
{
    for (struct task *t = e->waiting; t != NULL; t = t->next)
        queue_wake_task(e, t);
    run_runnable(e);
}

/* Readers that do not ask may go on for a while. */
static void exec_beat(struct exec *e)
{
    if (publisher_shows(e->publisher))
        publisher_beat(e->publisher, clock_boot_ms(), coherence_trust(e->coherence));
}

/* It is known that we have heard of everything: who waited for that goes on. */
static void on_proved(void *arg)
{
    struct exec *e = arg;
    exec_beat(e);
    wake_all(e);
}

/* What may be read without asking: what was checked since the link is up, and others are heard. */
static void allow_readers(struct exec *e)
{
    bool ready = e->cluster || lane_ready(e->lane);
    publisher_allow(
        e->publisher,
        ready && (e->cluster || e->config->coherence ? coherence_hears_all(e->coherence) : true));
}

/* Deaf, or not any more, or nothing is as it was; alone, or not any more. */
static void on_gap(void *arg)
{
    struct exec *e = arg;
    lane_tell(e->lane, !e->cluster && coherence_hears_all(e->coherence),
              !coherence_alone(e->coherence));
    allow_readers(e);
    wake_all(e);
}

static void on_lane_link(void *arg)
{
    struct exec *e = arg;
    if (!e->cluster)
        coherence_link(e->coherence, lane_upstream(e->lane), true);
    e->cb.on_link(e->arg);
}

void exec_learned(struct exec *e, bool asked)
{
    fetch_learned(e, asked);
    wake_all(e);
}

static void on_lane_ready(void *arg)
{
    struct exec *e = arg;
    if (!e->cluster)
        e->good_epoch = upstream_epoch(lane_upstream(e->lane));
    if (!e->cluster)
        outage_ends(e, lane_upstream(e->lane));
    allow_readers(e);
    purger_up(e->purger);
    wake_all(e);
    e->cb.on_ready(e->arg);
}

static void on_node(void *arg, struct upstream *up, bool is_up)
{
    struct exec *e = arg;
    if (is_up)
        outage_ends(e, up);
    else
        outage_begins(e, up);
    coherence_link(e->coherence, up, is_up); /* what waits looks again */
}

static void on_slots(void *arg)
{
    struct exec *e = arg;
    exec_plan_tick(e);
    wake_all(e);
}

/* What is shown was of slots that are elsewhere now, or of a master that cannot be reached. */
static void on_links(void *arg)
{
    struct exec *e = arg;
    allow_readers(e);
    e->cb.on_links(e->arg);
}

static void on_lane_down(void *arg)
{
    struct exec *e = arg;
    publisher_allow(e->publisher, false);
    if (!e->cluster && e->good_epoch != 0)
        outage_begins(e, lane_upstream(e->lane));
    if (!e->cluster)
        coherence_link(e->coherence, lane_upstream(e->lane), false);
    exec_plan_tick(e);
    e->cb.on_down(e->arg);
}

static void on_models_changed(void *arg)
{
    struct exec *e = arg;
    publisher_models_changed(e->publisher);
}

static void on_taken(void *arg, struct doc *d)
{
    struct exec *e = arg;
    queue_wake(e, d);
    run_runnable(e);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    wake_all(arg);
}

void exec_plan_turn(struct exec *e, int64_t ms)
{
    struct timeval left = {.tv_usec = (suseconds_t)ms * 1000};
    if (!event_pending(e->turn, EV_TIMEOUT, NULL))
        event_add(e->turn, &left);
}

static void give_up(struct exec *e, struct task *t)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", call_why_unreachable(&t->call));
    slices_stop(e, t);
    task_move(e, t, TASK_OPEN);
    task_answer(e, t, &f, NULL);
}

void exec_plan_tick(struct exec *e)
{
    struct timeval tick = {.tv_usec = 100000};
    bool needed = e->config->stale_reads > 0 || publisher_shows(e->publisher) ||
                  (e->waiting != NULL && (e->cluster || !lane_ready(e->lane)));
    if (needed && !event_pending(e->tick, EV_TIMEOUT, NULL))
        event_add(e->tick, &tick);
}

bool task_stuck(const struct task *t)
{
    const struct exec *e = t->call.exec;
    bool stuck = !e->cluster && !lane_ready(e->lane);
    for (unsigned i = 0; i < t->call.ndocs && e->cluster && !stuck; i++)
        stuck = !lane_ready(exec_lane_of(e, t->call.docs[i]));
    return stuck;
}

/* They stand in the order of their deadlines. */
static struct task *overdue(const struct exec *e, int64_t now)
{
    struct task *t = e->waiting;
    while (t != NULL && t->deadline <= now && !task_stuck(t))
        t = t->next;
    return t != NULL && t->deadline <= now ? t : NULL;
}

/* Requests that wait for the link for too long are told so. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct exec *e = arg;
    int64_t now = clock_mono_ms();
    e->ticks[0] = e->ticks[1];
    e->ticks[1] = clock_boot_ms();
    exec_beat(e);
    for (struct task *t; (t = overdue(e, now)) != NULL;)
        give_up(e, t);
    run_runnable(e);
    exec_plan_tick(e);
}

/* ---- */

struct exec *exec_new(struct event_base *base, struct config *config, struct schema *schema,
                      const char *id)
{
    static const struct lanes_callbacks lanes_cb = {.on_batch = on_batch,
                                                    .on_link = on_lane_link,
                                                    .on_ready = on_lane_ready,
                                                    .on_down = on_lane_down,
                                                    .on_node = on_node,
                                                    .on_slots = on_slots,
                                                    .on_links = on_links};
    struct exec *e = alloc_zeroed(1, sizeof(*e));
    e->config = config;
    e->names.prefix = config->key_prefix;
    e->stamp = 1;
    e->observe_from = INT64_MAX;
    e->schema = schema;
    e->indexes = index_table_new(schema);
    e->cache = cache_new(config->cache_memory, config->absent);
    e->publisher = publisher_new(config, e->cache);
    schema_on_change(schema, on_models_changed, e);
    e->lanes = lanes_new(base, config, id, &e->names, e->indexes, &lanes_cb, e);
    e->lane = lanes_home(e->lanes);
    e->router = lanes_router(e->lanes);
    e->cluster = router_is_cluster(e->router);
    cache_route(e->cache, e->router, &e->names);
    static const struct coherence_callbacks coherence_cb = {
        .proved = on_proved, .changed = on_gap, .taken = on_taken};
    e->coherence =
        coherence_new(base, config, id, &e->names, e->router, e->cache, &coherence_cb, e);
    e->loader = loader_new(e->router, e->cache, e->coherence, &e->names, on_loaded, e);
    e->purger = purger_new(base, e->router, &e->names, on_purged, e);
    e->audit = audit_new(base, config, e->router, &e->names, e->coherence, e->cache, e->schema);
    slices_begin(e, base);
    e->tick = evtimer_new(base, on_tick, e);
    e->turn = evtimer_new(base, on_turn, e);
    exec_plan_tick(e);
    e->ticks[0] = e->ticks[1] = clock_boot_ms();
    return e;
}

int exec_share(struct exec *e, size_t *size, struct fault *f)
{
    int fd = publisher_open(e->publisher, size, f);
    exec_beat(e);
    exec_plan_tick(e);
    return fd;
}

void exec_reloaded(struct exec *e)
{
    publisher_configure(e->publisher);
    exec_plan_tick(e);
}

void exec_stop(struct exec *e)
{
    e->state = EXEC_STOPPED;
    coherence_stop(e->coherence);
    lanes_stop(e->lanes);
    while (e->parked != NULL)
        give_up(e, e->parked);
    while (e->waiting != NULL)
        give_up(e, e->waiting);
}

void exec_free(struct exec *e)
{
    exec_stop(e);
    lanes_free(e->lanes);
    index_table_free(e->indexes);
    audit_free(e->audit);
    loader_free(e->loader);
    purger_free(e->purger);
    publisher_free(e->publisher);
    coherence_free(e->coherence);
    cache_free(e->cache);
    slices_end(e);
    outages_free(e);
    task_free_spares(e);
    event_free(e->tick);
    event_free(e->turn);
    buf_free(&e->scratch);
    buf_free(&e->raw);
    free(e->runnable);
    free(e);
}

void exec_start(struct exec *e, const struct exec_callbacks *cb, void *arg)
{
    e->cb = *cb;
    e->arg = arg;
    lanes_start(e->lanes);
    coherence_start(e->coherence);
}
