/* admin: see admin.h. */
#include "daemon/admin.h"
#include "daemon/methods.h"

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

void admin_stats(const struct admin *a, struct buf *out)
{
    static const char *const states[] = {"down", "connecting", "greeting", "up"};
    const struct lane *lane = exec_lane(a->exec);
    const struct upstream *up = lane_upstream(lane);
    struct lane_stats l;
    lane_stats(lane, &l);
    pack_map(out, 17);
    put_str(out, "version", RAPYER_VERSION);
    put(out, "uptime_ms", (uint64_t)(unix_ms() - a->started));
    put_str(out, "redis", states[upstream_state(up)]);
    put_str(out, "redis_version", upstream_info(up)->version);
    put(out, "clients", sessions_count(a->sessions));
    put(out, "waiting", exec_waiting(a->exec));
    put(out, "commits", l.batches);
    put(out, "commands", l.commands);
    put(out, "commits_refused", l.refused);
    put(out, "recovered_applied", l.recovered_applied);
    put(out, "recovered_resent", l.recovered_resent);
    put(out, "unknown_outcomes", l.unknown);
    put(out, "lost_states", l.lost);
    put(out, "gathering_bytes", l.gathering_bytes);
    put(out, "in_flight_bytes", l.in_flight_bytes);
    put(out, "link_epoch", lane_epoch(lane));
    put(out, "memory", tree_memory());
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
    pack_map(l->out, 11);
    put(l->out, "number", session_number(s));
    put(l->out, "pid", (uint64_t)peer->pid);
    put(l->out, "uid", peer->uid);
    put(l->out, "gid", peer->gid);
    put_str(l->out, "program", peer->program);
    put(l->out, "requests", st.requests);
    put(l->out, "bytes_in", st.bytes_in);
    put(l->out, "bytes_out", st.bytes_out);
    put(l->out, "unsent", st.unsent);
    put(l->out, "waiting", st.deferred);
    pack_cstr(l->out, "paused");
    pack_bool(l->out, st.paused);
    l->n++;
}

void admin_clients(const struct admin *a, struct buf *out)
{
    struct listing l = {.out = out};
    size_t at = pack_array_open(out);
    sessions_each(a->sessions, put_client, &l);
    pack_array_close(out, at, l.n);
}

void admin_cache(const struct admin *a, struct buf *out)
{
    struct cache_stats c;
    cache_stats(exec_cache(a->exec), &c);
    pack_map(out, 6);
    put(out, "documents", c.documents);
    put(out, "memory", c.memory);
    put(out, "limit", c.limit);
    put(out, "hits", c.hits);
    put(out, "misses", c.misses);
    put(out, "evictions", c.evictions);
}
