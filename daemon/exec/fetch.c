/* fetch: has what a run lacks read from Redis, or waits for what will let it be. */
#include "daemon/exec/exec_inside.h"

/* For all that have arrived so far. Who comes while Redis is asked has the next question. */
static void learn(struct exec *e)
{
    if (e->learning != 0)
        return;
    e->learning = e->stamp;
    e->cb.on_behind(e->arg);
    if (e->learning == 0) /* at once: who asked is not in its queues yet, and was not woken */
        exec_plan_turn(e, 1);
}

/* Without an answer they ask again when the link is back. That of the registry is not theirs in a
 * cluster, where nobody would say so. */
void fetch_learned(struct exec *e, bool asked)
{
    e->looked_up_to = e->asked_up_to;
    if (asked || e->cluster)
        e->learned = e->learning;
    e->learning = 0;
}

static bool bring(struct exec *e, struct doc *d, enum load_what what, const struct missing *missing,
                  unsigned n)
{
    if (d->loading || doc_dirty(d))
        return true; /* it becomes runnable when that is over */
    if (call_behind(e, d)) {
        if (e->learning == 0 && d->written > e->asked_up_to)
            e->asked_up_to = d->written;
        learn(e);
        return true; /* then exec_learned */
    }
    cache_miss(e->cache);
    if (d->root == NULL)
        d->growths = schema_growths(e->schema);
    if (what != LOAD_MISSING)
        d->asked = e->stamp;
    return loader_load(e->loader, d, what, missing, n);
}

static bool reachable(const struct exec *e, const struct doc *d)
{
    return !e->cluster || lane_ready(exec_lane_of(e, d));
}

const char *call_why_unreachable(const struct call *c)
{
    unsigned i = 0;
    while (i < c->ndocs && lane_ready(exec_lane_of(c->exec, c->docs[i])))
        i++;
    return lane_why(i < c->ndocs ? exec_lane_of(c->exec, c->docs[i]) : call_lane_of_first(c));
}

int exec_fetch(struct exec *e, struct call *c)
{
    bool ok = true;
    if (!e->cluster && !lane_ready(e->lane))
        return lane_admit(e->lane, &c->fault);
    if (c->run.unlearned)
        learn(e);
    /* What can be reached is brought meanwhile. */
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (!reachable(e, c->docs[i]) && !call_may_be_stale(c, c->docs[i]) &&
            lane_admit(exec_lane_of(e, c->docs[i]), &c->fault) < 0)
            return -1;
    }
    for (unsigned i = 0; i < c->ndocs && ok; i++) {
        if (reachable(e, c->docs[i]) && call_unfresh(c, c->docs[i]))
            ok = bring(e, c->docs[i], c->read_anew ? LOAD_ALL : LOAD_CHECK, NULL, 0);
    }
    missing_group(&c->run);
    for (unsigned i = 0, n; i < c->run.nmissing && ok; i += n) {
        for (n = 1; i + n < c->run.nmissing && c->run.missing[i + n].doc == c->run.missing[i].doc;
             n++)
            ;
        if (!reachable(e, c->run.missing[i].doc))
            continue;
        ok = bring(e, c->run.missing[i].doc, c->read_anew ? LOAD_AT_ONCE : LOAD_MISSING,
                   &c->run.missing[i], n);
    }
    if (ok)
        return 0;
    return fault_set(&c->fault, FAULT_UNAVAILABLE, "%s", call_why_unreachable(c));
}

enum op_status exec_judge_spoilt(struct call *c)
{
    if (c->run.stale < 0)
        call_read_anew(c);
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (c->run.stale < 0 && call_unfresh(c, c->docs[i]))
            return OP_NEEDS;
    }
    c->fault = c->spoilt;
    return OP_REFUSED;
}
