/* outages: which links are lost, and what may be read meanwhile as it was then (cache.stale_reads).
 * In a cluster that is a matter of the master of the document's slot: what the others have is read
 * as ever. */
#include "daemon/base/clock.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/alloc.h"
#include <utlist.h>

struct outage {
    struct outage *next;
    const struct upstream *link;
    int64_t since; /* clock_boot_ms() */
};

static struct outage *outage_of(const struct exec *e, const struct upstream *link)
{
    struct outage *o;
    LL_SEARCH_SCALAR(e->outages, o, link, link);
    return o;
}

/* When this process was last seen to run with the link up: it may have stood still since. The last
 * tick may be of the turn in which it went on. */
void outage_begins(struct exec *e, const struct upstream *link)
{
    if (outage_of(e, link) != NULL)
        return;
    struct outage *o = alloc_zeroed(1, sizeof(*o));
    o->link = link;
    o->since = e->ticks[0];
    LL_PREPEND(e->outages, o);
}

void outage_ends(struct exec *e, const struct upstream *link)
{
    struct outage *o = outage_of(e, link);
    if (o == NULL)
        return;
    LL_DELETE(e->outages, o);
    free(o);
}

void outages_free(struct exec *e)
{
    while (e->outages != NULL)
        outage_ends(e, e->outages->link);
}

/* How many ms ago the document's link was lost; -1: it was not. */
static int64_t lost_for(const struct exec *e, const struct doc *d)
{
    const struct outage *o =
        e->outages != NULL ? outage_of(e, router_link(e->router, d->slot)) : NULL;
    return o != NULL ? clock_boot_ms() - o->since : -1;
}

/* In a cluster one that was not there may come into being behind the back of whoever was asked
 * last: that was never relied upon. */
static bool was_good(const struct call *c, const struct doc *d)
{
    const struct exec *e = c->exec;
    uint32_t epoch = e->cluster ? router_epoch_before(e->router, d->slot) : e->good_epoch;
    return d->state != DOC_UNKNOWN && !(e->cluster && d->state == DOC_ABSENT) &&
           d->epoch == epoch && !d->loading && !d->held && !doc_dirty(d) &&
           coherence_was_current(e->coherence, d, c->run.clock);
}

bool call_may_be_stale(struct call *c, const struct doc *d)
{
    const struct exec *e = c->exec;
    if (e->config->stale_reads == 0 || !c->request.method->reads || c->fresh_only ||
        !was_good(c, d))
        return false;
    int64_t ms = lost_for(e, d);
    bool recent = ms >= 0 && ms <= (int64_t)e->config->stale_reads;
    if (recent && ms > c->run.stale)
        c->run.stale = ms;
    return recent;
}

int64_t call_stale_for(const struct call *c, const struct doc *d)
{
    if (c->run.stale < 0 || !call_unfresh(c, d))
        return -1;
    int64_t ms = lost_for(c->exec, d);
    return ms >= 0 ? ms : c->run.stale; /* it came back while this run stood still */
}
