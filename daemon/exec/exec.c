/* exec: see exec.h. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <utlist.h>

#define RUNS_MAX 1000 /* of one request, before its document is said to change too often */
#define DOC_COST 256  /* bytes: what a document that is waited for takes, roughly */

/* A place in a document's queue. */
#define SPARE_TASKS 256             /* kept for the next requests that wait for a commit */
#define SPARE_ANSWER ((size_t)1024) /* with answers of at most this capacity */

struct task_link {
    struct task *task;
    struct doc *doc;
    struct task_link *next;
};

/* A request that could not be answered at once: queued with its parameters, or staged with its
 * answer. */
struct task {
    struct waiter waiter; /* first: the batch has it in its list */
    struct task *prev, *next;
    struct call call; /* keeps its session */
    uint8_t *params;
    size_t params_len;
    struct task_link *links; /* one per document */
    bool queued;
    unsigned runs;
    int64_t again_until; /* done again until then; 0: it was not yet */
    unsigned clear;      /* documents before this one are known not to be in the way */
    size_t cost;         /* counted in waiting_bytes */
    size_t kept;         /* counted in kept_bytes */
    int64_t deadline;
    struct buf answer;
    bool refused;
};

/* ---- answering ---- */

static void make_runnable(struct exec *e, struct doc *d)
{
    if (d->runnable || d->queue == NULL)
        return;
    d->runnable = true;
    vec_push(e->runnable, e->nrunnable, e->runnable_cap, d);
}

static void task_free(struct exec *e, struct task *t)
{
    size_t kept = t->kept;
    struct session *session = t->call.session;
    call_clear(&t->call);
    session_settle(session);
    session_unref(session);
    free(t->params);
    free(t->links);
    e->ntasks--;
    e->kept_bytes -= kept;
    if (e->nspare < SPARE_TASKS && t->answer.cap <= SPARE_ANSWER) {
        LL_PREPEND(e->spare, t);
        e->nspare++;
    } else {
        buf_free(&t->answer);
        free(t);
    }
}

/* Zeroes, but for the memory of an answer. */
static struct task *task_take(struct exec *e)
{
    struct task *t = e->spare;
    if (t == NULL)
        return alloc_zeroed(1, sizeof(*t));
    struct buf answer = t->answer;
    LL_DELETE(e->spare, t);
    e->nspare--;
    *t = (struct task){.answer = answer};
    buf_clear(&t->answer);
    return t;
}

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

static struct task *task_new(struct exec *e, struct call *c)
{
    struct task *t = task_take(e);
    memcpy(&t->call, c, offsetof(struct call, fault));
    if (c->fault.code != FAULT_NONE)
        t->call.fault = c->fault;
    if (c->docs == &c->one_doc)
        t->call.docs = &t->call.one_doc;
    if (c->touched == &c->one_touched)
        t->call.touched = &t->call.one_touched;
    if (c->fixes == &c->one_fix)
        t->call.fixes = &t->call.one_fix;
    c->docs = NULL;
    c->touched = NULL;
    c->missing = NULL;
    c->fixes = NULL;
    c->guard = NULL;
    c->plan = BUF_INIT;
    c->nmissing = c->ntouched = c->nfixes = c->ndocs = 0;
    session_ref(c->session);
    session_defer(c->session);
    e->ntasks++;
    return t;
}

static void keep_params(struct task *t, struct cursor params)
{
    t->params_len = (size_t)(params.end - params.at);
    t->params = alloc_bytes(t->params_len + 1);
    if (t->params_len > 0)
        memcpy(t->params, params.at, t->params_len);
    t->call.params = cursor_of(t->params, t->params_len);
}

/* The one way out: f NULL for a result. */
static void answer(struct call *c, const struct fault *f, const struct buf *out)
{
    if (c->method->finish != NULL)
        c->method->finish(c, f, out);
    else if (f != NULL)
        session_fault(c->session, c->id, f);
    else
        session_answer(c->session, c->id, out->data, out->len);
}

/* Corrects the numbers that turned out otherwise because somebody else wrote in between. */
static void apply_fixes(struct task *t)
{
    struct buf fixed = BUF_INIT;
    size_t at = 0;
    bool any = false;
    for (unsigned i = 0; i < t->call.nfixes; i++)
        any = any || t->call.fixes[i].drift->by != 0;
    if (!any)
        return;
    for (unsigned i = 0; i < t->call.nfixes; i++) {
        const struct fix *f = &t->call.fixes[i];
        buf_append(&fixed, t->answer.data + at, f->at - at);
        pack_int(&fixed, f->value + f->drift->by);
        at = f->at + f->len;
    }
    buf_append(&fixed, t->answer.data + at, t->answer.len - at);
    buf_free(&t->answer);
    t->answer = fixed;
}

/* Nothing of it was applied, as a document was not what it relied upon (or what others did, that
 * it saw). on_batch puts it into the queues, when all others were told. False: for long enough. */
static bool do_again(struct exec *e, struct task *t)
{
    int64_t now = clock_mono_ms();
    if (t->again_until == 0)
        t->again_until = now + (int64_t)e->config->queue_time;
    if (now >= t->again_until)
        return false;
    e->nagain++;
    e->kept_bytes -= t->kept;
    t->kept = 0;
    t->refused = false;
    buf_free(&t->answer);
    DL_APPEND(e->again, t);
    return true;
}

/* Its batch is decided. */
static void settle(struct exec *e, struct task *t, const struct fault *fault, bool exact)
{
    struct fault f;
    if (fault != NULL && fault->code == FAULT_UNKNOWN_OUTCOME && t->call.ntouched == 0) {
        fault_set(&f, FAULT_UNAVAILABLE,
                  "this read saw a change of another request, and the connection to Redis was lost "
                  "before that was committed; read again");
        fault = &f;
    }
    const struct unit *u = t->call.unit != NULL ? unit_whole(t->call.unit) : NULL;
    if (fault == NULL && u != NULL && u->lost != 0) {
        if (!unit_outdated(u))
            unit_refusal(u, &f);
        else if (do_again(e, t))
            return;
        else
            fault_set(&f, FAULT_BUSY,
                      "others changed the same documents in Redis each time that this was tried, "
                      "for %u ms; nothing was applied; try again",
                      e->config->queue_time);
        fault = &f;
    }
    if (fault != NULL) {
        answer(&t->call, fault, NULL);
        task_free(e, t);
        return;
    }
    bool bad = false;
    for (unsigned i = 0; i < t->call.ntouched && !bad; i++) {
        const struct batch_doc *bd = t->call.touched[i];
        bad = bd->failed || bd->gone;
        if (bd->gone)
            fault_set(&f, FAULT_NOT_FOUND,
                      "there is no document %s any more: somebody else removed it from Redis; the "
                      "change was not applied",
                      bd->doc->key);
        else if (bad)
            fault_set(&f, FAULT_CORRUPT,
                      "%s: a Redis key of it holds something that rapyerd did not write; not all "
                      "of the change could be applied",
                      bd->doc->key);
    }
    if (!bad && !exact && t->call.nfixes > 0) {
        bad = true;
        fault_set(&f, FAULT_UNKNOWN_OUTCOME,
                  "the change is applied, but its answer was lost with the connection to Redis and "
                  "another writer has changed the document since");
    }
    if (!bad)
        apply_fixes(t);
    answer(&t->call, bad ? &f : t->refused ? &t->call.fault : NULL, &t->answer);
    task_free(e, t);
}

/* A run that ended with something to say: now, or with the batch it rides on. t is NULL for a
 * request that never had to wait. */
static void conclude(struct exec *e, struct call *c, struct task *t, enum op_status st)
{
    struct batch *batch = rides_on(c);
    if (batch != NULL)
        call_ride(c, batch);
    bool refused = st == OP_REFUSED;
    /* That nothing more is taken is no matter of what the documents hold. */
    if (refused && c->fault.code == FAULT_UNAVAILABLE)
        batch = NULL;
    /* A change that was staged goes out in any case; call_admit bounds those. */
    if (batch != NULL && !refused && c->ntouched == 0 &&
        e->kept_bytes + e->scratch.len > e->config->queue_bytes) {
        call_full(c, e->kept_bytes);
        refused = true;
        batch = NULL;
    }
    if (batch == NULL) {
        answer(c, refused ? &c->fault : NULL, &e->scratch);
        for (unsigned i = 0; i < c->ndocs; i++)
            cache_release(e->cache, c->docs[i]);
        if (t != NULL)
            task_free(e, t);
        return;
    }
    if (t == NULL) {
        t = task_new(e, c);
        if (t->call.unit != NULL) /* it may have to be done again */
            keep_params(t, t->call.params);
    }
    buf_free(&t->call.plan);
    t->refused = refused;
    if (!refused)
        buf_append(&t->answer, e->scratch.data, e->scratch.len);
    t->kept = sizeof(*t) + t->answer.len + t->params_len;
    e->kept_bytes += t->kept;
    batch_wait(batch, &t->waiter);
}

/* ---- running ---- */

static enum op_status run(struct exec *e, struct call *c)
{
    struct cursor params = c->params;
    call_reset(c);
    /* Others may have marked the documents meanwhile. */
    c->mark = ++e->marks;
    for (unsigned i = 0; i < c->ndocs; i++)
        c->docs[i]->mark = c->mark;
    buf_clear(&e->scratch);
    if (e->scratch.cap > 1u << 20)
        buf_shrink(&e->scratch, 1u << 16);
    enum op_status st = c->method->run(c, &e->scratch);
    if (st == OP_DONE && c->ntouched == 0 && call_room(c, &e->scratch) < 0)
        st = OP_REFUSED;
    c->params = params;
    return st;
}

static bool bring(struct exec *e, struct doc *d, const struct missing *missing, unsigned n)
{
    if (d->loading || doc_dirty(d))
        return true; /* it becomes runnable when that is over */
    cache_miss(e->cache);
    if (d->root == NULL)
        d->growths = schema_growths(e->schema);
    if (missing == NULL)
        d->asked = e->stamp;
    return loader_load(e->loader, d, missing == NULL, missing, n);
}

static int by_place(const void *a, const void *b)
{
    const struct missing *x = a, *y = b;
    uintptr_t left = (uintptr_t)(x->doc != y->doc ? (void *)x->doc : (void *)x->cell);
    uintptr_t right = (uintptr_t)(x->doc != y->doc ? (void *)y->doc : (void *)y->cell);
    return (left > right) - (left < right);
}

/* What is missing of each document in one piece, and each container once. */
static void group_missing(struct call *c)
{
    unsigned n = 0;
    if (c->nmissing > 1)
        qsort(c->missing, c->nmissing, sizeof(*c->missing), by_place);
    for (unsigned i = 0; i < c->nmissing; i++) {
        if (n > 0 && c->missing[n - 1].cell == c->missing[i].cell)
            free(c->missing[i].suffix);
        else
            c->missing[n++] = c->missing[i];
    }
    c->nmissing = n;
}

/* Has what is missing brought, or leaves the call waiting for what will make it runnable again
 * (a commit, the link). -1: it cannot be brought. */
static int fetch(struct exec *e, struct call *c)
{
    if (!lane_ready(e->lane))
        return lane_admit(e->lane, &c->fault);
    bool ok = true;
    for (unsigned i = 0; i < c->ndocs && ok; i++) {
        if (call_unfresh(c, c->docs[i]))
            ok = bring(e, c->docs[i], NULL, 0);
    }
    group_missing(c);
    for (unsigned i = 0, n; i < c->nmissing && ok; i += n) {
        for (n = 1; i + n < c->nmissing && c->missing[i + n].doc == c->missing[i].doc; n++)
            ;
        ok = bring(e, c->missing[i].doc, &c->missing[i], n);
    }
    if (ok)
        return 0;
    return fault_set(&c->fault, FAULT_UNAVAILABLE, "%s", upstream_why(lane_upstream(e->lane)));
}

/* Goes on where it stopped the last time: a document that this task is first at, and that is not
 * loading, stays so until the task runs. */
static bool first_everywhere(struct task *t)
{
    for (; t->clear < t->call.ndocs; t->clear++) {
        const struct doc *d = t->call.docs[t->clear];
        if (d->queue != &t->links[t->clear] || d->loading)
            return false;
    }
    t->clear = 0;
    return true;
}

static void link_last(struct doc *d, struct task_link *l)
{
    if (d->tail != NULL)
        d->tail->next = l;
    else
        d->queue = l;
    d->tail = l;
}

static void link_first(struct doc *d, struct task_link *l)
{
    l->next = d->queue;
    if (d->queue != NULL)
        d->queue->task->clear = 0; /* it is not the first any more */
    else
        d->tail = l;
    d->queue = l;
}

static void enqueue(struct exec *e, struct task *t,
                    void (*link)(struct doc *d, struct task_link *l))
{
    free(t->links); /* of the time before */
    t->links = alloc_zeroed(t->call.ndocs, sizeof(*t->links));
    for (unsigned i = 0; i < t->call.ndocs; i++) {
        t->links[i] = (struct task_link){.task = t, .doc = t->call.docs[i]};
        link(t->call.docs[i], &t->links[i]);
    }
    t->queued = true;
    t->deadline = clock_mono_ms() + (int64_t)e->config->queue_time;
    DL_APPEND(e->waiting, t);
    t->cost = sizeof(*t) + t->params_len + t->call.plan.cap + (size_t)t->call.ndocs * DOC_COST;
    e->waiting_bytes += t->cost;
}

static void dequeue(struct exec *e, struct task *t)
{
    for (unsigned i = 0; i < t->call.ndocs; i++) {
        struct doc *d = t->call.docs[i];
        struct task_link **at = &d->queue, *before = NULL;
        while (*at != &t->links[i]) {
            before = *at;
            at = &before->next;
        }
        *at = t->links[i].next;
        if (d->tail == &t->links[i])
            d->tail = before;
        make_runnable(e, d);
    }
    DL_DELETE(e->waiting, t);
    e->waiting_bytes -= t->cost;
    t->queued = false;
}

static void run_task(struct exec *e, struct task *t)
{
    struct fault f;
    enum op_status st = run(e, &t->call);
    if (st == OP_NEEDS && ++t->runs > RUNS_MAX) {
        fault_set(&f, FAULT_BUSY, "%s changes too often to be read", t->call.docs[0]->key);
        t->call.fault = f;
        st = OP_REFUSED;
    }
    if (st == OP_NEEDS && fetch(e, &t->call) < 0)
        st = OP_REFUSED;
    if (st == OP_NEEDS)
        return;
    dequeue(e, t);
    conclude(e, &t->call, t, st);
}

static void run_runnable(struct exec *e)
{
    if (e->running)
        return;
    e->running = true;
    while (e->nrunnable > 0) {
        struct doc *d = e->runnable[--e->nrunnable];
        struct task_link *head = d->queue; /* `runnable` keeps d alive meanwhile */
        while (head != NULL && !d->loading && first_everywhere(head->task)) {
            run_task(e, head->task);
            if (d->queue == head)
                break; /* it waits */
            head = d->queue;
        }
        d->runnable = false;
        cache_release(e->cache, d);
    }
    e->running = false;
}

/* While the link is down writes wait for it; a stale read goes past those of other clients. */
static bool overtakes(struct call *c, const struct doc *d, const struct session *s)
{
    if (!call_may_be_stale(c, d))
        return false;
    for (const struct task_link *l = d->queue; l != NULL; l = l->next) {
        if (l->task->call.session == s)
            return false;
    }
    return true;
}

void exec_request(struct exec *e, const struct method *m, struct session *s, const struct rpc *msg)
{
    exec_call(e, m, s, msg->id, msg->params, msg->nparams, NULL);
}

/* Has the method name the call's documents. */
static int name_documents(struct exec *e, struct call *c)
{
    struct cursor params = c->params;
    c->mark = ++e->marks;
    int rc = c->method->docs(c, &c->fault);
    c->params = params;
    return rc;
}

void exec_call(struct exec *e, const struct method *m, struct session *s, uint64_t id,
               struct cursor params, uint32_t nparams, void *context)
{
    struct call c = {.exec = e,
                     .method = m,
                     .session = s,
                     .id = id,
                     .context = context,
                     .params = params,
                     .nparams = nparams,
                     .since = session_stamp(s)};
    bool busy = false;
    int rc = name_documents(e, &c);
    for (unsigned i = 0; i < c.ndocs; i++)
        busy = busy || c.docs[i]->loading ||
               (c.docs[i]->queue != NULL && !overtakes(&c, c.docs[i], s));
    enum op_status st = OP_NEEDS;
    if (rc < 0) {
        answer(&c, &c.fault, NULL);
        for (unsigned i = 0; i < c.ndocs; i++)
            cache_release(e->cache, c.docs[i]);
        call_clear(&c);
        return;
    }
    if (!busy) {
        st = run(e, &c);
        if (st == OP_NEEDS && fetch(e, &c) < 0)
            st = OP_REFUSED;
    }
    if (st == OP_NEEDS && e->waiting_bytes > e->config->queue_bytes)
        st = fault_set(&c.fault, FAULT_UNAVAILABLE,
                       "%zu bytes of requests wait already (commit.queue_bytes); try again later",
                       e->waiting_bytes);
    if (st != OP_NEEDS) {
        if (st == OP_DONE)
            cache_hit(e->cache);
        conclude(e, &c, NULL, st);
        call_clear(&c);
        return;
    }
    struct task *t = task_new(e, &c);
    keep_params(t, params);
    enqueue(e, t, link_last);
}

/* ---- what has to be done again ---- */

/* As if it had just come: documents that it only read may have left the memory meanwhile. In front
 * of all that came since, so that the requests of a client stay in their order. Where it names
 * what is gone (a lock), that is the answer. */
static void begin_again(struct exec *e, struct task *t)
{
    struct guard *pinned = t->call.guard; /* its locks, until they are named again */
    t->call.guard = NULL;
    call_begin_again(&t->call);
    int rc = name_documents(e, &t->call);
    guard_unref(pinned);
    t->runs = 0;
    t->clear = 0;
    if (rc == 0) {
        enqueue(e, t, link_first);
        for (unsigned i = 0; i < t->call.ndocs; i++)
            make_runnable(e, t->call.docs[i]);
        return;
    }
    answer(&t->call, &t->call.fault, NULL);
    for (unsigned i = 0; i < t->call.ndocs; i++)
        cache_release(e->cache, t->call.docs[i]);
    task_free(e, t);
}

/* The last one first, as each goes in front of the others. */
static void run_again(struct exec *e)
{
    while (e->again != NULL) {
        struct task *t = e->again->prev;
        DL_DELETE(e->again, t);
        begin_again(e, t);
    }
}

/* ---- what makes documents runnable ---- */

/* Who holds it is to know at once. */
static void tell_lost_leases(struct exec *e, struct batch *b)
{
    for (const struct unit *u = batch_units(b); u != NULL; u = u->next) {
        bool guarded = u->lost != 0 && !unit_outdated(u);
        const struct guard_check *c = guarded ? &u->guard->checks[u->lost - 1] : NULL;
        if (c != NULL && c->kind == GUARD_LEASE && e->on_lost_lease != NULL)
            e->on_lost_lease(e->lost_arg, c->lock, c->number);
    }
}

static void on_released(void *arg, struct doc *d)
{
    struct exec *e = arg;
    make_runnable(e, d);
    cache_release(e->cache, d);
}

static void on_batch(void *arg, struct batch *b, const struct fault *fault, bool exact)
{
    struct exec *e = arg;
    for (struct waiter *w = batch_waiters(b), *next; w != NULL; w = next) {
        next = w->next;
        settle(e, (struct task *)w, fault, exact);
    }
    tell_lost_leases(e, b);
    run_again(e);
    batch_release(b, on_released, e);
    run_runnable(e);
    cache_trim(e->cache);
}

static void on_loaded(void *arg, struct doc *d, const struct fault *fault)
{
    struct exec *e = arg;
    make_runnable(e, d);
    if (fault == NULL)
        d->checked = d->asked;
    /* A link that was lost may come back in time: on_tick says when it is too late. */
    bool lost = fault != NULL && fault->code == FAULT_UNAVAILABLE && !lane_ready(e->lane);
    if (fault != NULL && !lost && d->queue != NULL) {
        struct task *t = d->queue->task;
        t->call.fault = *fault;
        dequeue(e, t);
        conclude(e, &t->call, t, OP_REFUSED);
    }
    run_runnable(e);
    cache_trim(e->cache);
}

static void wake_all(struct exec *e)
{
    for (struct task *t = e->waiting; t != NULL; t = t->next) {
        for (unsigned i = 0; i < t->call.ndocs; i++)
            make_runnable(e, t->call.docs[i]);
    }
    run_runnable(e);
}

static void on_lane_link(void *arg)
{
    struct exec *e = arg;
    e->cb.on_link(e->arg);
}

static void on_lane_ready(void *arg)
{
    struct exec *e = arg;
    e->good_epoch = upstream_epoch(lane_upstream(e->lane));
    e->lost_at = 0;
    wake_all(e);
    e->cb.on_ready(e->arg);
}

static void on_lane_down(void *arg)
{
    struct exec *e = arg;
    /* When this process was last seen to run with the link up: it may have stood still since. The
     * last tick may be of the turn in which it went on. */
    if (e->lost_at == 0 && e->good_epoch != 0)
        e->lost_at = e->ticks[0];
    e->cb.on_down(e->arg);
}

static void give_up(struct exec *e, struct task *t)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(lane_upstream(e->lane)));
    dequeue(e, t);
    answer(&t->call, &f, NULL);
    task_free(e, t);
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
    if (lane_ready(e->lane))
        return;
    while (e->waiting != NULL && e->waiting->deadline <= now)
        give_up(e, e->waiting);
    run_runnable(e);
}

/* ---- */

struct exec *exec_new(struct event_base *base, struct config *config, struct schema *schema,
                      const char *id)
{
    static const struct lane_callbacks lane_cb = {.on_batch = on_batch,
                                                  .on_link = on_lane_link,
                                                  .on_ready = on_lane_ready,
                                                  .on_down = on_lane_down};
    struct exec *e = alloc_zeroed(1, sizeof(*e));
    e->config = config;
    e->stamp = 1;
    e->schema = schema;
    e->cache = cache_new(config->cache_memory);
    e->lane = lane_new(base, config, id, &lane_cb, e);
    e->loader = loader_new(lane_upstream(e->lane), config->key_prefix, on_loaded, e);
    e->tick = event_new(base, -1, EV_PERSIST, on_tick, e);
    struct timeval tick = {.tv_usec = 100000};
    event_add(e->tick, &tick);
    e->ticks[0] = e->ticks[1] = clock_boot_ms();
    return e;
}

void exec_stop(struct exec *e)
{
    e->running = true; /* nothing runs any more */
    lane_stop(e->lane);
    while (e->waiting != NULL)
        give_up(e, e->waiting);
}

void exec_free(struct exec *e)
{
    exec_stop(e);
    lane_free(e->lane);
    loader_free(e->loader);
    cache_free(e->cache);
    for (struct task *t = e->spare, *next; t != NULL; t = next) {
        next = t->next;
        buf_free(&t->answer);
        free(t);
    }
    event_free(e->tick);
    buf_free(&e->scratch);
    buf_free(&e->raw);
    free(e->runnable);
    free(e);
}

void exec_start(struct exec *e, const struct exec_callbacks *cb, void *arg)
{
    e->cb = *cb;
    e->arg = arg;
    lane_start(e->lane);
}

struct lane *exec_lane(const struct exec *e)
{
    return e->lane;
}

struct cache *exec_cache(const struct exec *e)
{
    return e->cache;
}

const struct config *exec_config(const struct exec *e)
{
    return e->config;
}

struct schema *exec_schema(const struct exec *e)
{
    return e->schema;
}

unsigned exec_waiting(const struct exec *e)
{
    return e->ntasks;
}

uint64_t exec_done_again(const struct exec *e)
{
    return e->nagain;
}

uint64_t exec_taken(struct exec *e)
{
    return ++e->stamp;
}

void exec_on_lost_lease(struct exec *e, void (*fn)(void *arg, struct lock *l, int64_t fence),
                        void *arg)
{
    e->on_lost_lease = fn;
    e->lost_arg = arg;
}

void exec_set_lock_requests(struct exec *e, struct lock_requests *lock_requests)
{
    e->lock_requests = lock_requests;
}

struct lock_requests *exec_lock_requests(const struct exec *e)
{
    return e->lock_requests;
}
