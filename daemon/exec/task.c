/* task: a request from its beginning to its answer. It is made where it stays, so that nothing of
 * it is ever copied; what it was made of goes to the next one. exec_inside.h has its states. */
#include "daemon/base/clock.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/alloc.h"
#include <assert.h>
#include <utlist.h>

#define SPARES_MAX 256     /* kept for the next requests */
#define SPARE_MEMORY 16384 /* bytes that one of them may hold */
#define DOC_COST 2048      /* bytes: what a document that is waited for takes, and reading it */

struct task *task_new(struct exec *e, const struct request *r)
{
    struct task *t = e->spare;
    if (t != NULL) {
        task_move(e, t, TASK_OPEN);
    } else {
        t = alloc_zeroed(1, sizeof(*t));
        t->call.exec = e;
        t->state = TASK_OPEN;
    }
    t->call.request = *r;
    return t;
}

static void task_free(struct task *t)
{
    call_free(&t->call);
    buf_free(&t->params);
    buf_free(&t->answer);
    free(t->places);
    free(t);
}

void task_free_spares(struct exec *e)
{
    for (struct task *t = e->spare, *next; t != NULL; t = next) {
        next = t->next;
        task_free(t);
    }
    e->spare = NULL;
}

/* It has to wait: what it has of its session's for this turn only becomes its own. */
static void keep(struct exec *e, struct task *t, bool params)
{
    struct request *r = &t->call.request;
    struct buf spare;
    if (t->keeps)
        return;
    t->keeps = true;
    session_ref(r->session);
    session_defer(r->session);
    e->ntasks++;
    size_t len = params ? (size_t)(r->params.end - r->params.at) : 0;
    if (len >= BLOB_BYTES && session_keep_input(r->session, r->params.end, &spare)) {
        buf_free(&t->params);
        t->params = spare;
        return;
    }
    if (params)
        buf_append(&t->params, r->params.at, len);
    r->params = cursor_of(t->params.data, t->params.len);
}

static size_t cost_of(const struct task *t, size_t params)
{
    return sizeof(*t) + params + t->call.plan.cap + (size_t)t->call.ndocs * DOC_COST;
}

bool task_overfills(const struct exec *e, const struct task *t)
{
    const struct cursor *params = &t->call.request.params;
    size_t most = e->config->queue_bytes;
    size_t cost = cost_of(t, (size_t)(params->end - params->at));
    return e->waiting_bytes > most ||
           (e->waiting_bytes > 0 && e->waiting_bytes + cost > most + most / 2);
}

static void join_queues(struct exec *e, struct task *t)
{
    if (t->call.request.came == 0)
        t->call.request.came = clock_boot_ns();
    keep(e, t, true);
    queue_join(t);
    t->deadline = clock_mono_ms() + (int64_t)e->config->queue_time;
    DL_APPEND(e->waiting, t);
    t->cost = cost_of(t, t->params.cap);
    e->waiting_bytes += t->cost;
    if (e->cluster || !lane_ready(e->lane))
        exec_plan_tick(e);
}

static void leave_queues(struct exec *e, struct task *t)
{
    queue_leave(e, t);
    room_leave(e, t);
    slices_leave(e, t);
    DL_DELETE(e->waiting, t);
    e->waiting_bytes -= t->cost;
}

static void stage(struct exec *e, struct task *t)
{
    /* Then it may have to be done again. */
    keep(e, t, t->call.run.unit != NULL || t->call.run.ntouched == 0);
    t->cost = sizeof(*t) + t->answer.len + t->params.len;
    e->kept_bytes += t->cost;
}

static void give_back(struct exec *e, struct task *t)
{
    struct session *s = t->call.request.session;
    call_empty(&t->call);
    if (t->keeps) {
        session_settle(s);
        session_unref(s);
        e->ntasks--;
    }
    size_t memory =
        call_memory(&t->call) + t->params.cap + t->answer.cap + t->places_cap * sizeof(*t->places);
    if (e->nspare == SPARES_MAX || memory > SPARE_MEMORY) {
        task_free(t);
        return;
    }
    buf_clear(&t->params);
    buf_clear(&t->answer);
    t->keeps = t->rode = t->counted = t->refused = t->is_long = t->no_room = t->spoilt = false;
    t->runs = 0;
    t->again_until = 0;
    LL_PREPEND(e->spare, t);
    e->nspare++;
}

static void leave(struct exec *e, struct task *t)
{
    switch (t->state) {
    case TASK_OPEN: break;
    case TASK_QUEUED: leave_queues(e, t); break;
    case TASK_PARKED:
        DL_DELETE(e->parked, t);
        e->waiting_bytes -= t->cost;
        break;
    case TASK_STAGED: e->kept_bytes -= t->cost; break; /* its batch is decided, and has no list */
    case TASK_AGAIN: DL_DELETE(e->again, t); break;
    case TASK_SPARE:
        LL_DELETE(e->spare, t);
        e->nspare--;
        break;
    }
}

void task_move(struct exec *e, struct task *t, enum task_state to)
{
    assert((t->state == TASK_OPEN) != (to == TASK_OPEN));
    leave(e, t);
    t->state = to;
    switch (to) {
    case TASK_OPEN: break;
    case TASK_QUEUED: join_queues(e, t); break;
    case TASK_PARKED:
        DL_APPEND(e->parked, t);
        e->waiting_bytes += t->cost;
        break;
    case TASK_STAGED: stage(e, t); break;
    case TASK_AGAIN: DL_APPEND(e->again, t); break;
    case TASK_SPARE: give_back(e, t); break;
    }
}

void exec_observe(struct exec *e, int64_t from, void (*fn)(void *arg, const struct done *d),
                  void *arg)
{
    e->observe_from = from;
    e->on_done = fn;
    e->done_arg = arg;
}

static void tell_of(struct exec *e, struct task *t, const struct fault *f, struct done *d)
{
    const struct call *c = &t->call;
    d->session = c->request.session;
    d->id = c->request.id;
    d->method = c->request.method->name;
    d->documents = c->ndocs;
    d->fault = f;
    if (c->ndocs > 0) {
        d->key = c->docs[0]->key;
        d->key_len = c->docs[0]->key_len;
    }
    e->on_done(e->done_arg, d);
}

/* Where its time went. What was in no queue, or in no commit, has no such stage. */
static void count_stages(struct exec *e, struct task *t, int64_t now, struct done *d)
{
    const struct lane_times *batch = &e->times;
    int64_t began = t->call.run.began, came = t->call.request.came;
    if (t->keeps && began > came)
        d->stages[STAGE_QUEUE] = began - came;
    if (t->rode && batch->answered != 0) {
        d->stages[STAGE_GATHER] = batch->sent - began;
        d->stages[STAGE_REDIS] = batch->answered - batch->sent;
        d->stages[STAGE_ANSWER] = now - batch->answered;
    }
    for (int i = 0; i < STAGES; i++) {
        if (d->stages[i] >= 0)
            histogram_add(&t->call.request.timing->stages[i], d->stages[i]);
    }
}

void task_count(struct exec *e, struct task *t, const struct fault *f)
{
    const struct request *r = &t->call.request;
    struct done d = {.stages = {-1, -1, -1, -1}};
    if (t->counted || r->timing == NULL)
        return;
    t->counted = true;
    if (r->came != 0) { /* else it was refused for what it asked */
        int64_t now = clock_boot_ns();
        d.all = now - r->came;
        histogram_add(&r->timing->all, d.all);
        if (t->keeps)
            count_stages(e, t, now, &d);
    }
    if (d.all >= e->observe_from)
        tell_of(e, t, f, &d);
}

void task_answer(struct exec *e, struct task *t, const struct fault *f, struct buf *out)
{
    struct call *c = &t->call;
    const struct request *r = &c->request;
    task_count(e, t, f);
    if (r->method->finish != NULL)
        r->method->finish(c, f, out);
    else if (f != NULL)
        session_fault(r->session, r->id, f);
    else if (c->run.ntouched == 0 || e->answers == NULL || !e->answers(c, out))
        session_give(r->session, r->id, out);
    task_move(e, t, TASK_SPARE);
}
