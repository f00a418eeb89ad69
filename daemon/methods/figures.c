/* figures: see figures.h. */
#include "daemon/methods/figures.h"
#include "daemon/base/clock.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/audit.h"
#include "daemon/exec/publish.h"
#include "daemon/methods/lock_request.h"
#include "daemon/metrics/spans.h"
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void label_counter(struct page *p, const char *label, const char *value, uint64_t n)
{
    page_number(p, PAGE_LABELS({label, value}), n);
}

/* --- the process ------------------------------------------------------------------------- */

static uint64_t resident_bytes(void)
{
    unsigned long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void put_process(const struct admin *a, struct page *p)
{
    const struct upstream *up = lane_upstream(exec_lane(a->exec));
    struct rusage use;

    page_family(p, PAGE_GAUGE, "rapyerd_build_info", "Always 1; which rapyerd this is.");
    page_number(p, PAGE_LABELS({"version", RAPYER_VERSION}, {"redis", upstream_info(up)->server}),
                1);
    page_family(p, PAGE_GAUGE, "rapyerd_uptime_seconds", "Since it was started.");
    page_real(p, PAGE_PLAIN, (double)(clock_mono_ms() - a->started) / 1000);
    getrusage(RUSAGE_SELF, &use);
    page_family(p, PAGE_COUNTER, "process_cpu_seconds", "Processor time of rapyerd.");
    page_real(p, PAGE_PLAIN,
              (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                  (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    page_gauge(p, "process_resident_memory_bytes", resident_bytes(), "Memory that rapyerd has.");
}

/* --- requests ---------------------------------------------------------------------------- */

static void put_requests(const struct admin *a, const struct method_figures *methods, size_t n,
                         struct page *p)
{
    struct sessions_stats s;

    sessions_stats(a->sessions, &s);
    page_family(p, PAGE_COUNTER, "rapyerd_requests", "Requests that were taken.");
    for (size_t i = 0; i < n; i++)
        if (methods[i].calls > 0)
            label_counter(p, "method", methods[i].name, methods[i].calls);
    page_family(p, PAGE_COUNTER, "rapyerd_faults", "Requests that were answered with this error.");
    for (int code = FAULT_NONE + 1; code < FAULT_COUNT; code++)
        label_counter(p, "code", fault_name((enum fault_code)code), s.faults[code]);
    page_family(p, PAGE_HISTOGRAM, "rapyerd_request_seconds",
                "From when a request on documents is looked at to its answer.");
    for (size_t i = 0; i < n; i++)
        if (methods[i].timing != NULL)
            page_histogram(p, PAGE_LABELS({"method", methods[i].name}), &methods[i].timing->all);
    page_family(p, PAGE_HISTOGRAM, "rapyerd_stage_seconds",
                "The same in parts; what is answered from memory at once has none.");
    for (size_t i = 0; i < n; i++) {
        for (int stage = 0; methods[i].timing != NULL && stage < STAGES; stage++) {
            const struct histogram *h = &methods[i].timing->stages[stage];
            if (histogram_count(h) > 0)
                page_histogram(p,
                               PAGE_LABELS({"method", methods[i].name},
                                           {"stage", stage_name((enum stage)stage)}),
                               h);
        }
    }
    page_counter(p, "rapyerd_received_bytes", s.bytes_in, "What clients have sent.");
    page_counter(p, "rapyerd_sent_bytes", s.bytes_out, "What clients were sent.");
    page_counter(p, "rapyerd_connections", s.accepted, "Clients that have connected.");
    page_counter(p, "rapyerd_turned_away", s.turned_away,
                 "Connections that were closed, as limits.max_clients was reached.");
    page_gauge(p, "rapyerd_clients", s.count, "Clients that are connected.");
    page_gauge(p, "rapyerd_rings", s.rings, "Clients that talk through shared memory.");
    page_gauge(p, "rapyerd_paused_clients", s.paused,
               "Clients that nothing is read from, as they read too little or ask too much.");
    page_gauge(p, "rapyerd_requests_waiting", exec_waiting(a->exec), "Requests not answered yet.");
}

/* --- Redis ------------------------------------------------------------------------------- */

static void put_redis(const struct admin *a, struct page *p)
{
    const struct lane *lane = exec_lane(a->exec);
    const struct upstream *up = lane_upstream(lane);
    struct lane_stats l;

    lanes_stats(exec_lanes(a->exec), &l);
    page_gauge(p, "rapyerd_redis_up", lane_ready(lane), "Whether Redis answers.");
    page_gauge(p, "rapyerd_link_epoch", upstream_epoch(up),
               "Grows with each loss of the connection to Redis.");
    page_counter(p, "rapyerd_commits", l.batches, "Commits that Redis has confirmed.");
    page_counter(p, "rapyerd_commit_commands", l.commands, "Commands in these.");
    page_family(p, PAGE_HISTOGRAM, "rapyerd_commit_seconds",
                "From when a commit is sent to Redis' answer.");
    page_histogram(p, PAGE_PLAIN, &l.took);
    page_counter(p, "rapyerd_commits_refused", l.refused, "Commits that were given up or refused.");
    page_counter(p, "rapyerd_done_again", exec_done_again(a->exec),
                 "Requests begun again, as another host had changed the document.");
    page_family(p, PAGE_COUNTER, "rapyerd_recovered",
                "Commits of which the connection was lost: applied already, or sent again.");
    label_counter(p, "how", "applied", l.recovered_applied);
    label_counter(p, "how", "resent", l.recovered_resent);
    page_counter(p, "rapyerd_unknown_outcomes", l.unknown,
                 "Commits of which it cannot be known whether they were applied.");
    page_counter(p, "rapyerd_lost_states", l.lost,
                 "How often Redis came back without what it had acknowledged.");
}

static void put_nodes(const struct router *r, struct page *p)
{
    struct router_node n;
    if (!router_is_cluster(r))
        return;
    page_family(p, PAGE_GAUGE, "rapyerd_node_up", "Whether this node of the cluster answers.");
    for (unsigned i = 0; router_node(r, i, &n); i++)
        page_number(p, PAGE_LABELS({"node", n.address}), n.ready);
    page_family(p, PAGE_GAUGE, "rapyerd_node_slots",
                "Hash slots of which this node of the cluster is the master.");
    for (unsigned i = 0; router_node(r, i, &n); i++)
        page_number(p, PAGE_LABELS({"node", n.address}), n.slots);
    page_family(p, PAGE_COUNTER, "rapyerd_node_requests", "What this node was asked.");
    for (unsigned i = 0; router_node(r, i, &n); i++)
        page_number(p, PAGE_LABELS({"node", n.address}), upstream_asked(n.up));
    page_family(p, PAGE_GAUGE, "rapyerd_node_unsent_bytes", "What waits to be sent to it.");
    for (unsigned i = 0; router_node(r, i, &n); i++)
        page_number(p, PAGE_LABELS({"node", n.address}), upstream_unsent(n.up));
}

/* --- others ------------------------------------------------------------------------------ */

static void put_others(const struct admin *a, struct page *p)
{
    static const char *const after[AUDIT_TIMES] = {"0s", "1s", "10s"};
    const struct coherence *c = exec_coherence(a->exec);
    struct coherence_stats s;
    struct audit_stats audit;
    struct watches_stats w;

    coherence_stats(c, &s);
    audit_stats(exec_audit(a->exec), &audit);
    watches_stats(a->watches, &w);
    page_gauge(p, "rapyerd_hears_others", coherence_hears_all(c),
               "Whether changes by others are heard of.");
    page_counter(p, "rapyerd_others_commits", s.commits,
                 "Changes of documents in memory by other daemons.");
    page_counter(p, "rapyerd_foreign_writes", s.foreign,
                 "Keys of documents in memory written by programs without a daemon.");
    page_counter(p, "rapyerd_gaps", s.gaps, "How often something may have been missed.");
    page_counter(p, "rapyerd_proofs", s.proofs, "How often Redis has proved that nothing was.");
    page_counter(p, "rapyerd_audits", audit.looks, "Documents in memory compared with Redis.");
    page_family(p, PAGE_COUNTER, "rapyerd_audit_wrong",
                "Those that were wrong so long after coherence.bound.");
    for (int i = 0; i < AUDIT_TIMES; i++)
        label_counter(p, "after", after[i], audit.wrong[i]);
    page_gauge(p, "rapyerd_watches", w.watches, "Places that are watched.");
    page_counter(p, "rapyerd_watches_told", w.told, "Notifications of changes.");
    page_counter(p, "rapyerd_watches_lost", w.lost, "Those of them that said: look yourself.");
    page_counter(p, "rapyerd_watches_looks", w.looks, "Versions asked of Redis for watches.");
}

static void put_locks(const struct lock_requests *d, struct page *p)
{
    uint64_t held = 0, waiting = 0;

    for (const struct lock *l = locks_first(d->locks); l != NULL; l = l->hh.next) {
        held += l->nholds;
        waiting += l->nwaits;
    }
    page_gauge(p, "rapyerd_locks_held", held, "Locks that clients of this host hold.");
    page_gauge(p, "rapyerd_locks_waiting", waiting, "Clients of this host that wait for one.");
    page_counter(p, "rapyerd_locks_granted", d->stats.granted, "Locks that clients were given.");
    page_counter(p, "rapyerd_locks_lost", d->stats.lost, "Locks that their holders lost.");
    page_counter(p, "rapyerd_lock_timeouts", d->stats.timeouts, "Waits that were too long.");
    page_counter(p, "rapyerd_deadlocks", d->stats.deadlocks,
                 "Waits that would have closed a circle.");
    page_family(p, PAGE_HISTOGRAM, "rapyerd_lock_wait_seconds",
                "From a request for locks to their being given.");
    page_histogram(p, PAGE_PLAIN, &d->stats.waited);
}

static void put_cache(const struct admin *a, struct page *p)
{
    struct cache_stats c;
    struct publisher_stats s;

    cache_stats(exec_cache(a->exec), &c);
    publisher_stats(exec_publisher(a->exec), &s);
    page_gauge(p, "rapyerd_cached_documents", c.documents - c.absent, "Documents in memory.");
    page_gauge(p, "rapyerd_absent_documents", c.absent, "Documents known not to be there.");
    page_gauge(p, "rapyerd_cache_bytes", c.memory, "Memory of documents.");
    page_counter(p, "rapyerd_cache_hits", c.hits, "Requests that found all they need in memory.");
    page_counter(p, "rapyerd_cache_misses", c.misses, "Requests that had to read from Redis.");
    page_counter(p, "rapyerd_cache_evictions", c.evictions, "Documents that had to leave.");
    page_gauge(p, "rapyerd_shared_bytes", s.memory, "Memory that clients read without asking.");
    page_gauge(p, "rapyerd_shared_documents", s.documents, "Documents in it.");
    page_counter(p, "rapyerd_shared_hits", s.hits, "Reads there that clients have told of.");
    page_counter(p, "rapyerd_shared_puts", s.shown, "How often a document was put there.");
    page_counter(p, "rapyerd_shared_displaced", s.displaced, "Those displaced by others.");
}

/* --- limits ------------------------------------------------------------------------------ */

struct limit {
    const char *setting;
    uint64_t most, used;
};

/* Where it is one for each client, the client that is nearest to it counts. */
static void put_limits(const struct admin *a, struct page *p)
{
    const struct config *c = exec_config(a->exec);
    struct sessions_stats s;
    struct watches_stats w;
    struct cache_stats cache;
    struct lane_stats l;
    size_t waiting, kept;

    sessions_stats(a->sessions, &s);
    watches_stats(a->watches, &w);
    cache_stats(exec_cache(a->exec), &cache);
    lanes_stats(exec_lanes(a->exec), &l);
    exec_bytes(a->exec, &waiting, &kept);
    size_t queue = waiting > kept ? waiting : kept;
    const struct limit limits[] = {
        {"limits.max_clients", c->max_clients, s.count},
        {"limits.client_output", c->client_output, s.unsent_most},
        {"limits.client_requests", c->client_requests, s.deferred_most},
        {"limits.total_input", c->total_input, s.partial},
        {"limits.max_rings", c->max_rings, s.rings},
        {"limits.max_watches", c->max_watches, w.watches},
        {"cache.cache_memory", cache.limit, cache.memory},
        {"cache.absent", c->absent, cache.absent},
        {"commit.queue_bytes", c->queue_bytes,
         queue > l.gathering_bytes ? queue : l.gathering_bytes},
        {"locks.client_locks", c->client_locks,
         locks_most_of_a_client(exec_lock_requests(a->exec)->locks)},
    };
    const size_t n = sizeof limits / sizeof *limits;

    page_family(p, PAGE_GAUGE, "rapyerd_limit", "Limits, by their settings.");
    for (size_t i = 0; i < n; i++)
        label_counter(p, "setting", limits[i].setting, limits[i].most);
    page_family(p, PAGE_GAUGE, "rapyerd_limit_used",
                "How much of them is used; of those for a client, by the one that uses most.");
    for (size_t i = 0; i < n; i++)
        label_counter(p, "setting", limits[i].setting, limits[i].used);
}

void figures_write(const struct admin *a, const struct method_figures *methods, size_t n,
                   struct page *p)
{
    struct spans_stats spans;

    put_process(a, p);
    put_requests(a, methods, n, p);
    put_redis(a, p);
    put_nodes(lanes_router(exec_lanes(a->exec)), p);
    put_others(a, p);
    put_locks(exec_lock_requests(a->exec), p);
    put_cache(a, p);
    put_limits(a, p);
    spans_stats(a->spans, &spans);
    page_counter(p, "rapyerd_spans_sent", spans.sent, "Traced requests that the collector took.");
    page_counter(p, "rapyerd_spans_dropped", spans.dropped,
                 "Those that it did not take, or that were too many.");
}
