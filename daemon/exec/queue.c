/* queue: the requests that wait for a document, first come first served (exec.h). A request on
 * several documents joins all of their queues at the same moment, and runs when it is first in
 * each: so no two can wait for each other. */
#include "daemon/exec/exec_inside.h"
#include "protocol/alloc.h"

static void join_last(struct doc *d, struct place_in_queue *p)
{
    if (d->tail != NULL)
        d->tail->next = p;
    else
        d->queue = p;
    d->tail = p;
}

static void join_first(struct doc *d, struct place_in_queue *p)
{
    p->next = d->queue;
    d->spoilt = d->held; /* who stands still on it lets go, and is run anew after that */
    if (d->queue != NULL)
        d->queue->task->nfirst = 0; /* it is not the first any more */
    else
        d->tail = p;
    d->queue = p;
}

void queue_join(struct task *t)
{
    unsigned n = t->call.ndocs;
    vec_room(t->places, 0, t->places_cap, n);
    t->nplaces = n;
    t->nfirst = 0;
    for (unsigned i = 0; i < n; i++) {
        t->places[i] = (struct place_in_queue){.task = t};
        (t->again_until != 0 ? join_first : join_last)(t->call.docs[i], &t->places[i]);
    }
}

void queue_leave(struct exec *e, struct task *t)
{
    for (unsigned i = 0; i < t->nplaces; i++) {
        struct doc *d = t->call.docs[i];
        struct place_in_queue **at = &d->queue, *before = NULL;
        while (*at != &t->places[i]) {
            before = *at;
            at = &before->next;
        }
        *at = t->places[i].next;
        if (d->tail == &t->places[i])
            d->tail = before;
        queue_wake(e, d);
    }
}

void queue_wake(struct exec *e, struct doc *d)
{
    if (d->runnable || d->queue == NULL)
        return;
    d->runnable = true;
    vec_push(e->runnable, e->nrunnable, e->runnable_cap, d);
}

void queue_wake_task(struct exec *e, const struct task *t)
{
    if (t->call.ndocs > 0)
        queue_wake(e, t->call.docs[0]);
}

struct doc *queue_woken(struct exec *e)
{
    return e->nrunnable > 0 ? e->runnable[--e->nrunnable] : NULL;
}

void queue_looked_at(struct exec *e, struct doc *d)
{
    d->runnable = false;
    cache_release(e->cache, d);
}

bool queue_yields(struct task *t, const struct doc *d)
{
    int64_t left = d->yields != 0 && !t->call.request.method->reads && t->again_until == 0
                       ? coherence_yields(d)
                       : 0;
    if (left > 0)
        exec_plan_turn(t->call.exec, left);
    return left > 0;
}

/* Goes on where it stopped the last time: where it is first, and nothing is loading, that stays so
 * until it runs. */
static bool first_everywhere(struct task *t)
{
    for (; t->nfirst < t->nplaces; t->nfirst++) {
        const struct doc *d = t->call.docs[t->nfirst];
        if (d->queue != &t->places[t->nfirst] || d->loading || d->held)
            return false;
    }
    t->nfirst = 0;
    for (unsigned i = 0; i < t->nplaces; i++) {
        if (queue_yields(t, t->call.docs[i]))
            return false;
    }
    return true;
}

struct task *queue_ready(struct doc *d)
{
    bool ready = d->queue != NULL && !d->loading && first_everywhere(d->queue->task);
    return ready ? d->queue->task : NULL;
}

bool queue_has(const struct doc *d, const struct session *s)
{
    const struct place_in_queue *p = d->queue;
    while (p != NULL && p->task->call.request.session != s)
        p = p->next;
    return p != NULL;
}
