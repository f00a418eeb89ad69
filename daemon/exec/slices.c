/* slices: what would take long is done in pieces, one in each turn of the loop; between them others
 * are served.
 *
 *   run ──(has worked for WORK_SLICE)──► stopped: nothing is changed yet ──► runs again, on a fiber
 *   fiber ──(each WORK_SLICE)──► stands still, its documents held ──next turn──► goes on
 *
 * A run stands still only until its first change: then it goes through to its end, so that nothing
 * is ever half in a batch. Meanwhile it is first in the queues of its documents, so nobody else is
 * carried out on them; what it looks at stays in memory, but may be outdated (a commit was refused,
 * another writer, the link, a model): then what it has found so far is thrown away. Few stand at a
 * time, as each may hold a tree of half the cache; the others have not begun.
 */
#include "daemon/base/clock.h"
#include "daemon/base/fiber.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/reclaim.h"
#include <utlist.h>

#define SLICE_US 2000
#define STANDING_MAX 3
#define ELEMENTS 1000 /* that are freed between two looks at the clock */

static void soon(void *arg)
{
    struct exec *e = arg;
    event_add(e->slice, &(struct timeval){0});
}

/* Of the links that its documents are read over; their sum, as each of them only rises. */
static uint32_t epochs(const struct task *t)
{
    const struct exec *e = t->call.exec;
    uint32_t sum = e->cluster ? 0 : router_epoch(e->router, 0);
    for (unsigned i = 0; i < t->call.ndocs && e->cluster; i++)
        sum += router_epoch(e->router, t->call.docs[i]->slot);
    return sum;
}

/* Whether what it has seen still holds. */
static bool holds(struct task *t)
{
    struct exec *e = t->call.exec;
    bool same = t->epoch == epochs(t) && t->growths == schema_growths(e->schema);
    for (unsigned i = 0; i < t->call.ndocs && same; i++)
        same = !t->call.docs[i]->spoilt;
    t->spoilt = t->spoilt || !same;
    return !t->spoilt;
}

static void hold(struct task *t)
{
    for (unsigned i = 0; i < t->call.ndocs; i++)
        t->call.docs[i]->held = true;
}

static bool go_on_with(struct task *t)
{
    const struct call *c = &t->call;
    if (!holds(t))
        return false;
    for (unsigned i = 0; i < c->ndocs; i++) {
        c->docs[i]->held = false;
        c->docs[i]->named = c->run.number;
    }
    return true;
}

bool slices_pause(void *arg)
{
    struct task *t = arg;
    struct call *c = &t->call;
    if (c->run.ntouched > 0 || c->run.unbroken)
        return true;
    if (t->fiber == NULL) {
        t->is_long = true;
        return false;
    }
    hold(t);
    struct work *mine = work_open(NULL);
    fiber_yield(t->fiber);
    work_open(mine);
    return go_on_with(t);
}

static void run_on_fiber(void *arg)
{
    struct task *t = arg;
    t->ended = OP_NEEDS;
    if (!go_on_with(t))
        return;
    call_begin_run(&t->call);
    t->ended = exec_run(t, &t->out);
}

bool slices_wait(const struct task *t)
{
    return t->fiber != NULL || t->lined_up;
}

void slices_leave(struct exec *e, struct task *t)
{
    if (!t->lined_up)
        return;
    t->lined_up = false;
    DL_DELETE2(e->lined_up, t, prev_lined, next_lined);
}

static void line_up(struct exec *e, struct task *t)
{
    t->is_long = false;
    t->lined_up = true;
    DL_APPEND2(e->lined_up, t, prev_lined, next_lined);
}

/* Who was first in its queues may not be any more: it is woken, and finds out again that it is
 * long. */
static void call_up(struct exec *e)
{
    struct task *t = e->lined_up;
    if (t == NULL || e->nstanding >= STANDING_MAX)
        return;
    slices_leave(e, t);
    for (unsigned i = 0; i < t->call.ndocs; i++)
        queue_wake(e, t->call.docs[i]);
}

void slices_run(struct exec *e, struct task *t)
{
    if (e->nstanding >= STANDING_MAX) {
        line_up(e, t);
        return;
    }
    e->nstanding++;
    t->is_long = t->spoilt = false;
    t->epoch = epochs(t);
    t->growths = schema_growths(e->schema);
    t->fiber = fiber_new(run_on_fiber, t);
    hold(t);
    LL_APPEND2(e->standing, t, next_standing);
    soon(e);
}

static void ended(struct exec *e, struct task *t)
{
    LL_DELETE2(e->standing, t, next_standing);
    fiber_free(t->fiber);
    t->fiber = NULL;
    e->nstanding--;
    call_up(e);
    for (unsigned i = 0; i < t->call.ndocs; i++) {
        struct doc *d = t->call.docs[i];
        bool spoilt = d->spoilt;
        d->held = d->spoilt = false;
        if (spoilt)
            doc_forget(d);
        queue_wake(e, d);
    }
}

static bool resume(struct exec *e, struct task *t)
{
    struct weighing before = cache_weigh(e->cache);
    bool more = fiber_resume(t->fiber);
    cache_weighed(e->cache, before, t->call.docs, t->call.ndocs);
    return more;
}

void slices_stop(struct exec *e, struct task *t)
{
    if (t->fiber == NULL)
        return;
    t->spoilt = true;
    while (resume(e, t))
        ;
    ended(e, t);
    buf_free(&t->out);
}

/* The next one gets its turn. */
static void go_on(struct exec *e)
{
    struct task *t = e->standing;
    if (t == NULL)
        return;
    if (resume(e, t)) {
        LL_DELETE2(e->standing, t, next_standing);
        LL_APPEND2(e->standing, t, next_standing);
        return;
    }
    ended(e, t);
    buf_free(&e->scratch);
    e->scratch = t->out;
    t->out = BUF_INIT;
    exec_ran(e, t, t->ended);
}

static void on_slice(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct exec *e = arg;
    go_on(e);
    int64_t end = clock_mono_us() + SLICE_US;
    bool more;
    while ((more = reclaim_some(ELEMENTS)) && clock_mono_us() < end)
        ;
    if (!more)
        cache_trim(e->cache);
    if (more || e->standing != NULL)
        soon(e);
}

void slices_begin(struct exec *e, struct event_base *base)
{
    e->slice = evtimer_new(base, on_slice, e);
    reclaim_later(soon, e);
}

void slices_end(struct exec *e)
{
    reclaim_later(NULL, NULL);
    event_free(e->slice);
}
