/* admin: see admin.h. */
#include "daemon/methods/admin.h"
#include "daemon/base/clock.h"
#include "daemon/base/settings.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/audit.h"
#include "daemon/exec/publish.h"
#include "daemon/leases/lease.h"
#include "daemon/methods/lock_request.h"
#include "daemon/methods/methods.h"
#include <stdio.h>
#include <stdlib.h>

static void put(struct buf *out, const char *name, uint64_t value)
{
    pack_cstr(out, name);
    pack_uint(out, value);
}

static void put_str(struct buf *out, const char *name, const char *value)
{
    pack_cstr(out, name);
    pack_cstr(out, value);
}

static void put_locks(struct buf *out, const struct lock_requests *d)
{
    uint64_t held = 0, waiting = 0;
    for (const struct lock *l = locks_first(d->locks); l != NULL; l = l->hh.next) {
        held += l->nholds;
        waiting += l->nwaits;
    }
    put(out, "locks_held", held);
    put(out, "locks_waiting", waiting);
    put(out, "locks_granted", d->stats.granted);
    put(out, "locks_lost", d->stats.lost);
    put(out, "lock_timeouts", d->stats.timeouts);
    put(out, "deadlocks", d->stats.deadlocks);
}

/* What was heard of other daemons, and of programs without one. */
static void put_others(struct buf *out, const struct coherence *c)
{
    struct coherence_stats s;
    coherence_stats(c, &s);
    pack_cstr(out, "hears_others");
    pack_bool(out, coherence_hears_all(c));
    put(out, "others_commits", s.commits);
    put(out, "foreign_writes", s.foreign);
    put(out, "gaps", s.gaps);
    put(out, "proofs", s.proofs);
}

static void put_watches(struct buf *out, const struct watches *w)
{
    struct watches_stats s;
    watches_stats(w, &s);
    put(out, "watches", s.watches);
    put(out, "watches_told", s.told);
    put(out, "watches_lost", s.lost);
    put(out, "watches_looks", s.looks);
}

/* How often what is in memory was compared with Redis, and was wrong so long after the bound. */
static void put_audit(struct buf *out, const struct audit *a)
{
    struct audit_stats s;
    audit_stats(a, &s);
    put(out, "audits", s.looks);
    put(out, "audit_wrong", s.wrong[0]);
    put(out, "audit_wrong_1s", s.wrong[1]);
    put(out, "audit_wrong_10s", s.wrong[2]);
}

static void put_nodes(const struct router *r, struct buf *out)
{
    struct router_node n;
    uint32_t count = 0;
    pack_cstr(out, "nodes");
    size_t at = pack_array_open(out);
    for (; router_node(r, count, &n); count++) {
        pack_map(out, 5);
        put_str(out, "address", n.address);
        pack_cstr(out, "up");
        pack_bool(out, n.ready);
        put(out, "slots", n.slots);
        put(out, "requests", upstream_asked(n.up));
        put_str(out, "why", n.ready ? "" : upstream_why(n.up));
    }
    pack_array_close(out, at, count);
}

void admin_stats(const struct admin *a, struct buf *out)
{
    static const char *const states[] = {"down", "connecting", "greeting", "up"};
    const struct lane *lane = exec_lane(a->exec);
    const struct upstream *up = lane_upstream(lane);
    struct lane_stats l;
    lanes_stats(exec_lanes(a->exec), &l);
    const struct router *router = lanes_router(exec_lanes(a->exec));
    pack_map(out, router_is_cluster(router) ? 39 : 38);
    put_str(out, "version", RAPYER_VERSION);
    put(out, "uptime_ms", (uint64_t)(clock_mono_ms() - a->started));
    put_str(out, "redis", states[upstream_state(up)]);
    put_str(out, "redis_version", upstream_info(up)->version);
    put(out, "clients", sessions_count(a->sessions));
    put(out, "waiting", exec_waiting(a->exec));
    put(out, "commits", l.batches);
    put(out, "commands", l.commands);
    put(out, "commits_refused", l.refused);
    put(out, "done_again", exec_done_again(a->exec));
    put(out, "recovered_applied", l.recovered_applied);
    put(out, "recovered_resent", l.recovered_resent);
    put(out, "unknown_outcomes", l.unknown);
    put(out, "not_durable", l.not_durable);
    put(out, "lost_states", l.lost);
    put(out, "gathering_bytes", l.gathering_bytes);
    put(out, "in_flight_bytes", l.in_flight_bytes);
    put(out, "link_epoch", upstream_epoch(up));
    put(out, "memory", tree_memory());
    put_others(out, exec_coherence(a->exec));
    put_watches(out, a->watches);
    put_audit(out, exec_audit(a->exec));
    put_locks(out, exec_lock_requests(a->exec));
    if (router_is_cluster(router))
        put_nodes(router, out);
}

void admin_rights(const struct session *of, struct buf *out)
{
    const struct session_peer *peer = session_peer(of);
    pack_map(out, 5);
    put(out, "number", session_number(of));
    put(out, "pid", (uint64_t)peer->pid);
    put(out, "uid", peer->uid);
    put_str(out, "program", peer->program);
    pack_cstr(out, "rules");
    permit_pack(session_permit(of), out);
}

struct listing {
    struct buf *out;
    uint32_t n;
};

static void put_client(struct session *s, void *arg)
{
    struct listing *l = arg;
    const struct session_peer *peer = session_peer(s);
    struct session_stats st;
    session_stats(s, &st);
    pack_map(l->out, 16);
    put(l->out, "number", session_number(s));
    put(l->out, "pid", (uint64_t)peer->pid);
    put(l->out, "uid", peer->uid);
    put(l->out, "gid", peer->gid);
    put_str(l->out, "program", peer->program);
    put(l->out, "connected_ms", (uint64_t)(clock_mono_ms() - st.since));
    put(l->out, "requests", st.requests);
    put(l->out, "faults", st.faults);
    put(l->out, "busy_us", st.busy_us);
    put(l->out, "memory", st.memory);
    put(l->out, "bytes_in", st.bytes_in);
    put(l->out, "bytes_out", st.bytes_out);
    put(l->out, "unsent", st.unsent);
    put(l->out, "waiting", st.deferred);
    pack_cstr(l->out, "paused");
    pack_bool(l->out, st.paused);
    pack_cstr(l->out, "ring");
    pack_bool(l->out, st.ring);
    l->n++;
}

void admin_clients(const struct admin *a, struct buf *out)
{
    struct listing l = {.out = out};
    size_t at = pack_array_open(out);
    sessions_each(a->sessions, put_client, &l);
    pack_array_close(out, at, l.n);
}

/* ---- the documents that stand out ---- */

#define TOP_LOOKS ((size_t)100000) /* at documents: a few ms */

struct top {
    const struct doc **docs; /* the first `n` of them, the most first */
    unsigned n, most;
    uint64_t (*weight)(const struct doc *d);
};

static uint64_t bytes_of(const struct doc *d)
{
    return d->bytes;
}

static uint64_t asked_for(const struct doc *d)
{
    return d->asked_for;
}

static void place(struct top *t, const struct doc *d)
{
    uint64_t weight = t->weight(d);
    unsigned at = t->n;
    if (t->n == t->most && weight <= t->weight(t->docs[t->n - 1]))
        return;
    if (t->n < t->most)
        t->n++;
    else
        at--;
    for (; at > 0 && t->weight(t->docs[at - 1]) < weight; at--)
        t->docs[at] = t->docs[at - 1];
    t->docs[at] = d;
}

static void visit_doc(const struct doc *d, void *arg)
{
    struct top *tops = arg;
    if (d->state != DOC_PRESENT)
        return;
    place(&tops[0], d);
    place(&tops[1], d);
}

static void put_top(struct buf *out, const char *name, struct top *t)
{
    pack_cstr(out, name);
    pack_array(out, t->n);
    for (unsigned i = 0; i < t->n; i++) {
        pack_map(out, 3);
        pack_cstr(out, "key");
        pack_str(out, t->docs[i]->key, t->docs[i]->key_len);
        put(out, "bytes", t->docs[i]->bytes);
        put(out, "requests", t->docs[i]->asked_for);
    }
    free(t->docs);
}

static void put_tops(const struct admin *a, unsigned most, struct buf *out)
{
    struct top tops[2] = {{.most = most, .weight = bytes_of}, {.most = most, .weight = asked_for}};
    for (int i = 0; i < 2; i++)
        tops[i].docs = alloc_zeroed(most, sizeof(*tops[i].docs));
    put(out, "looked_at", cache_each(exec_cache(a->exec), TOP_LOOKS, visit_doc, tops));
    put_top(out, "biggest", &tops[0]);
    put_top(out, "hottest", &tops[1]);
}

void admin_cache(const struct admin *a, unsigned top, struct buf *out)
{
    struct cache_stats c;
    cache_stats(exec_cache(a->exec), &c);
    pack_map(out, top > 0 ? 15 : 12);
    put(out, "documents", c.documents);
    put(out, "absent", c.absent);
    put(out, "memory", c.memory);
    put(out, "limit", c.limit);
    put(out, "hits", c.hits);
    put(out, "misses", c.misses);
    put(out, "evictions", c.evictions);
    struct publisher_stats p;
    publisher_stats(exec_publisher(a->exec), &p);
    put(out, "shared_memory", p.memory);
    put(out, "shared_documents", p.documents);
    put(out, "shared_hits", p.hits);
    put(out, "shared_puts", p.shown);
    put(out, "shared_displaced", p.displaced);
    if (top > 0)
        put_tops(a, top, out);
}

/* ---- models and settings ---- */

static void put_model(const struct model *m, void *arg)
{
    struct listing *l = arg;
    schema_pack(m, l->out);
    l->n++;
}

void admin_models(const struct admin *a, struct buf *out)
{
    struct listing l = {.out = out};
    size_t at = pack_array_open(out);
    schema_each(exec_schema(a->exec), put_model, &l);
    pack_array_close(out, at, l.n);
}

void admin_config(const struct admin *a, struct buf *out)
{
    struct config *c = a->config;
    char name[128], value[1024];
    pack_array(out, (uint32_t)nsettings);
    for (size_t i = 0; i < nsettings; i++) {
        const struct setting *s = &settings[i];
        snprintf(name, sizeof(name), "%s.%s", s->section, s->name);
        setting_text(value, sizeof(value), c, s);
        pack_map(out, 4);
        put_str(out, "name", name);
        put_str(out, "value", value);
        put_str(out, "default", s->value);
        pack_cstr(out, "reload");
        pack_bool(out, s->reloadable);
    }
}

static void put_who(struct buf *out, const struct lock_owner *o)
{
    const struct lock_who *who = lock_who(o);
    pack_cstr(out, "client");
    pack_uint(out, who->client);
    pack_cstr(out, "pid");
    pack_int(out, who->pid);
    pack_cstr(out, "uid");
    pack_uint(out, who->uid);
    pack_cstr(out, "program");
    pack_cstr(out, who->program);
    pack_cstr(out, "owner");
    pack_str(out, o->name, o->name_len);
}

static const char *mode_name(unsigned mode)
{
    static const char *const names[] = {"none", "shared", "exclusive"};
    return names[mode];
}

static void put_seconds(struct buf *out, const char *name, int64_t ms)
{
    pack_cstr(out, name);
    pack_float(out, (double)ms / 1000);
}

static void put_lock(struct buf *out, const struct lock *l, int64_t now)
{
    const char *elsewhere = lease_elsewhere(l);
    pack_map(out, 9);
    pack_cstr(out, "key");
    pack_str(out, lock_key(l), l->key_len);
    pack_cstr(out, "path");
    pack_str(out, lock_path(l), l->path_len);
    pack_cstr(out, "action");
    pack_str(out, lock_action(l), l->action_len);
    pack_cstr(out, "lease");
    pack_cstr(out, mode_name(l->covers));
    put_seconds(out, "lease_left", l->covers != LOCK_NONE ? lease_left(l) : 0);
    pack_cstr(out, "wanted");
    pack_bool(out, l->demand != LOCK_UNWANTED);
    pack_cstr(out, "elsewhere");
    if (*elsewhere != '\0')
        pack_cstr(out, elsewhere);
    else
        pack_nil(out);
    pack_cstr(out, "holders");
    pack_array(out, l->nholds);
    for (const struct hold *h = l->holds; h != NULL; h = h->next) {
        pack_map(out, 10);
        put_who(out, h->owner);
        pack_cstr(out, "mode");
        pack_cstr(out, mode_name(h->mode));
        pack_cstr(out, "depth");
        pack_uint(out, h->depth);
        pack_cstr(out, "fence");
        pack_int(out, h->fence);
        put_seconds(out, "age", now - h->since);
        put_seconds(out, "ttl_left", h->deadline - now);
    }
    pack_cstr(out, "waiters");
    pack_array(out, l->nwaits);
    for (const struct wait *w = l->waits; w != NULL; w = w->next) {
        pack_map(out, 7);
        put_who(out, w->owner);
        pack_cstr(out, "mode");
        pack_cstr(out, mode_name(w->mode));
        put_seconds(out, "age", now - w->since);
    }
}

void admin_locks(struct locks *locks, const char *key, size_t len, struct buf *out)
{
    uint32_t n = 0;
    int64_t now = clock_boot_ms();
    size_t at = pack_array_open(out);
    for (struct lock *l = locks_first(locks); l != NULL; l = l->hh.next) {
        if (key != NULL && (len != l->key_len || memcmp(key, lock_key(l), len) != 0))
            continue;
        put_lock(out, l, now);
        n++;
    }
    pack_array_close(out, at, n);
}
