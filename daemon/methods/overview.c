/* overview: see overview.h. */
#include "daemon/methods/overview.h"
#include "daemon/base/clock.h"
#include "daemon/commit/lanes.h"
#include "daemon/exec/publish.h"
#include "daemon/methods/latency.h"
#include "daemon/methods/lock_request.h"
#include "daemon/metrics/history.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <stdlib.h>
#include <sys/resource.h>

#define FRESH_MS 1000
#define CLIENTS 20
#define LOCKS 40
#define OF_LOCK 12   /* who holds it, and who waits */
#define DOCUMENTS 10 /* the biggest, and those asked for most, */
#define LOOKS 4000   /* of so many */
#define NAME_BYTES 256

enum figure {
    REQUESTS,
    FAULTS,
    MEAN,
    P50,
    P99,
    REDIS_MEAN,
    REDIS_P99,
    COMMITS,
    FOUND,
    WAITING,
    CLIENTS_NOW,
    LOCKS_HELD,
    LOCKS_WAITING,
    MEMORY,
    PROCESSOR,
    UP,
    FIGURES
};

static const char *const figures[FIGURES] = {
    [REQUESTS] = "requests",           /* a second */
    [FAULTS] = "faults",               /* a second */
    [MEAN] = "mean_us",                /* requests on documents */
    [P50] = "p50_us",                  /* the same */
    [P99] = "p99_us",                  /* the same */
    [REDIS_MEAN] = "redis_us",         /* commits */
    [REDIS_P99] = "redis_p99_us",      /* the same */
    [COMMITS] = "commits",             /* a second */
    [FOUND] = "found",                 /* percent, in memory */
    [WAITING] = "waiting",             /* requests */
    [CLIENTS_NOW] = "clients",         /* that are connected */
    [LOCKS_HELD] = "locks_held",       /* by whom it may be */
    [LOCKS_WAITING] = "locks_waiting", /* requests */
    [MEMORY] = "memory",               /* bytes of documents */
    [PROCESSOR] = "processor",         /* percent of one */
    [UP] = "redis_up",                 /* 0 or 1 */
};

/* What only rises: a sample is by how much it did. */
struct counted {
    int64_t at; /* clock_mono_ms() */
    uint64_t requests, faults, commits, hits, misses, processor_us;
    struct histogram took, redis;
};

struct overview {
    const struct admin *admin;
    const struct method_figures *methods;
    size_t n;
    struct history *history;
    struct counted before;
    struct event *timer;
    bool names;
    struct buf made;
    int64_t made_at; /* clock_mono_ms(); 0: never */
};

/* --- samples ----------------------------------------------------------------------------- */

static void add_up(struct histogram *to, const struct histogram *h)
{
    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
        to->counts[i] += h->counts[i];
    to->sum += h->sum;
}

static void count(const struct overview *o, struct counted *c)
{
    struct sessions_stats s;
    struct lane_stats l;
    struct cache_stats m;
    struct publisher_stats p;
    struct rusage use;

    *c = (struct counted){.at = clock_mono_ms()};
    for (size_t i = 0; i < o->n; i++) {
        c->requests += o->methods[i].calls;
        if (o->methods[i].timing)
            add_up(&c->took, &o->methods[i].timing->all);
    }
    sessions_stats(o->admin->sessions, &s);
    for (int code = FAULT_NONE + 1; code < FAULT_COUNT; code++)
        c->faults += s.faults[code];
    lanes_stats(exec_lanes(o->admin->exec), &l);
    c->commits = l.batches;
    c->redis = l.took;
    cache_stats(exec_cache(o->admin->exec), &m);
    publisher_stats(exec_publisher(o->admin->exec), &p);
    c->hits = m.hits + p.hits;
    c->misses = m.misses;
    getrusage(RUSAGE_SELF, &use);
    c->processor_us = (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 +
                      (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static struct histogram between(const struct histogram *a, const struct histogram *b)
{
    struct histogram h = {.sum = b->sum - a->sum};

    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
        h.counts[i] = b->counts[i] - a->counts[i];
    return h;
}

static double mean_us(const struct histogram *h)
{
    uint64_t n = histogram_count(h);

    return n > 0 ? (double)h->sum / (double)n / 1000 : 0;
}

static double part_us(const struct histogram *h, double part)
{
    return (double)histogram_part(h, part) / 1000;
}

static void put_rates(const struct counted *a, const struct counted *b, double *v)
{
    struct histogram took = between(&a->took, &b->took), redis = between(&a->redis, &b->redis);
    double seconds = (double)(b->at > a->at ? b->at - a->at : 1) / 1000;
    double hits = (double)(b->hits - a->hits), all = hits + (double)(b->misses - a->misses);

    v[REQUESTS] = (double)(b->requests - a->requests) / seconds;
    v[FAULTS] = (double)(b->faults - a->faults) / seconds;
    v[MEAN] = mean_us(&took);
    v[P50] = part_us(&took, 0.5);
    v[P99] = part_us(&took, 0.99);
    v[REDIS_MEAN] = mean_us(&redis);
    v[REDIS_P99] = part_us(&redis, 0.99);
    v[COMMITS] = (double)(b->commits - a->commits) / seconds;
    v[FOUND] = all > 0 ? 100 * hits / all : 100;
    v[PROCESSOR] = (double)(b->processor_us - a->processor_us) / seconds / 1e4;
}

static void put_states(const struct admin *a, double *v)
{
    uint64_t held = 0, waiting = 0;

    for (struct lock *l = locks_first(exec_lock_requests(a->exec)->locks); l; l = l->hh.next) {
        held += l->nholds;
        waiting += l->nwaits;
    }
    v[LOCKS_HELD] = (double)held;
    v[LOCKS_WAITING] = (double)waiting;
    v[WAITING] = exec_waiting(a->exec);
    v[CLIENTS_NOW] = sessions_count(a->sessions);
    v[MEMORY] = (double)tree_memory();
    v[UP] = lane_ready(exec_lane(a->exec));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct overview *o = arg;
    struct counted now;
    double values[FIGURES];

    (void)fd, (void)what;
    count(o, &now);
    put_rates(&o->before, &now, values);
    put_states(o->admin, values);
    history_add(o->history, clock_wall_ms(), values);
    o->before = now;
}

/* --- names ------------------------------------------------------------------------------- */

static void put_number(struct buf *out, const char *name, uint64_t value)
{
    pack_cstr(out, name);
    pack_uint(out, value);
}

/* Where it is cut an ellipsis shows that. */
static void put_name(struct buf *out, const char *name, const char *text, size_t len)
{
    static const char more[] = "\xe2\x80\xa6";
    char cut[NAME_BYTES + sizeof more];
    size_t n = utf8_cut(text, len, NAME_BYTES);

    pack_cstr(out, name);
    if (n == len) {
        pack_str(out, text, len);
        return;
    }
    memcpy(cut, text, n);
    memcpy(cut + n, more, sizeof more - 1);
    pack_str(out, cut, n + sizeof more - 1);
}

struct busy {
    struct session *session;
    uint64_t requests, busy_us;
};

struct busiest {
    struct busy all[CLIENTS];
    unsigned n;
};

/* Those that kept the daemon for longest since the last time, then those that asked most. */
static bool before(const struct busy *a, const struct busy *b)
{
    return a->busy_us != b->busy_us ? a->busy_us > b->busy_us : a->requests > b->requests;
}

static void look_at(struct session *s, void *arg)
{
    struct busiest *top = arg;
    struct busy this = {.session = s};
    unsigned at = top->n;

    session_lately(s, &this.requests, &this.busy_us);
    if (at == CLIENTS && !before(&this, &top->all[--at]))
        return;
    for (; at > 0 && before(&this, &top->all[at - 1]); at--)
        top->all[at] = top->all[at - 1];
    top->all[at] = this;
    top->n += top->n < CLIENTS;
}

static void put_client(struct buf *out, const struct busy *b, double seconds)
{
    const struct session_peer *peer = session_peer(b->session);
    struct session_stats st;

    session_stats(b->session, &st);
    pack_map(out, 11);
    put_number(out, "number", session_number(b->session));
    put_number(out, "pid", (uint64_t)peer->pid);
    put_number(out, "uid", peer->uid);
    pack_cstr(out, "program");
    pack_cstr(out, peer->program);
    pack_cstr(out, "rate");
    pack_float(out, (double)b->requests / seconds);
    pack_cstr(out, "busy"); /* percent */
    pack_float(out, (double)b->busy_us / seconds / 1e4);
    put_number(out, "memory", st.memory);
    put_number(out, "unsent", st.unsent);
    put_number(out, "waiting", st.deferred);
    put_number(out, "faults", st.faults);
    pack_cstr(out, "paused");
    pack_bool(out, st.paused);
}

static void put_clients(const struct overview *o, double seconds, struct buf *out)
{
    struct busiest top = {.n = 0};

    sessions_each(o->admin->sessions, look_at, &top);
    pack_cstr(out, "clients");
    pack_array(out, top.n);
    for (unsigned i = 0; i < top.n; i++)
        put_client(out, &top.all[i], seconds);
}

static void put_owner(struct buf *out, const struct lock_owner *owner, enum lock_mode mode,
                      int64_t since)
{
    const struct lock_who *who = lock_who(owner);

    pack_map(out, 6);
    put_number(out, "client", who->client);
    put_number(out, "pid", (uint64_t)who->pid);
    pack_cstr(out, "program");
    pack_cstr(out, who->program);
    put_name(out, "owner", owner->name, owner->name_len);
    pack_cstr(out, "shared");
    pack_bool(out, mode == LOCK_SHARED);
    pack_cstr(out, "age");
    pack_float(out, (double)(clock_boot_ms() - since) / 1000);
}

static uint32_t shown_of(unsigned n)
{
    return n < OF_LOCK ? n : OF_LOCK;
}

static void put_lock(struct buf *out, const struct lock *l)
{
    const char *elsewhere = lease_elsewhere(l);
    const struct hold *h = l->holds;
    const struct wait *w = l->waits;

    pack_map(out, 8);
    put_name(out, "key", lock_key(l), l->key_len);
    put_name(out, "path", lock_path(l), l->path_len);
    put_name(out, "action", lock_action(l), l->action_len);
    put_name(out, "elsewhere", elsewhere, strlen(elsewhere));
    put_number(out, "holding", l->nholds);
    put_number(out, "waiting", l->nwaits);
    pack_cstr(out, "holders");
    pack_array(out, shown_of(l->nholds));
    for (unsigned i = 0; i < shown_of(l->nholds); i++, h = h->next)
        put_owner(out, h->owner, h->mode, h->since);
    pack_cstr(out, "waiters");
    pack_array(out, shown_of(l->nwaits));
    for (unsigned i = 0; i < shown_of(l->nwaits); i++, w = w->next)
        put_owner(out, w->owner, w->mode, w->since);
}

/* Those that most wait for. */
static void put_locks(const struct overview *o, struct buf *out)
{
    const struct lock *top[LOCKS];
    unsigned n = 0, at;

    for (struct lock *l = locks_first(exec_lock_requests(o->admin->exec)->locks); l;
         l = l->hh.next) {
        if (l->nholds + l->nwaits == 0) /* its lease is only kept */
            continue;
        at = n;
        if (at == LOCKS && l->nwaits <= top[--at]->nwaits)
            continue;
        for (; at > 0 && l->nwaits > top[at - 1]->nwaits; at--)
            top[at] = top[at - 1];
        top[at] = l;
        n += n < LOCKS;
    }
    pack_cstr(out, "locks");
    pack_array(out, n);
    for (unsigned i = 0; i < n; i++)
        put_lock(out, top[i]);
}

struct tops {
    const struct doc *docs[2][DOCUMENTS]; /* asked for most, biggest */
    unsigned n[2];
};

static uint64_t weight(const struct doc *d, int by)
{
    return by == 0 ? d->asked_for : d->bytes;
}

static void visit(const struct doc *d, void *arg)
{
    struct tops *t = arg;

    for (int by = 0; by < 2 && d->state == DOC_PRESENT; by++) {
        unsigned at = t->n[by];
        if (at == DOCUMENTS && weight(d, by) <= weight(t->docs[by][--at], by))
            continue;
        for (; at > 0 && weight(t->docs[by][at - 1], by) < weight(d, by); at--)
            t->docs[by][at] = t->docs[by][at - 1];
        t->docs[by][at] = d;
        t->n[by] += t->n[by] < DOCUMENTS;
    }
}

static void put_documents(const struct overview *o, struct buf *out)
{
    static const char *const kinds[] = {"hottest", "biggest"};
    struct tops tops = {.n = {0}};

    cache_each(exec_cache(o->admin->exec), LOOKS, visit, &tops);
    for (int by = 0; by < 2; by++) {
        pack_cstr(out, kinds[by]);
        pack_array(out, tops.n[by]);
        for (unsigned i = 0; i < tops.n[by]; i++) {
            const struct doc *d = tops.docs[by][i];
            pack_map(out, 3);
            put_name(out, "key", d->key, d->key_len);
            put_number(out, "bytes", d->bytes);
            put_number(out, "requests", d->asked_for);
        }
    }
}

/* --- */

static void make(struct overview *o, int64_t now)
{
    struct buf *out = &o->made;
    double seconds =
        (double)(o->made_at > 0 ? now - o->made_at : now - o->admin->started + 1) / 1000;

    buf_clear(out);
    pack_map(out, o->names ? 8 : 4);
    put_number(out, "at", (uint64_t)clock_wall_ms());
    pack_cstr(out, "stats");
    admin_stats(o->admin, out);
    pack_cstr(out, "latency");
    latency_pack(o->admin, o->methods, o->n, out);
    pack_cstr(out, "cache");
    admin_cache(o->admin, 0, out);
    if (!o->names)
        return;
    put_clients(o, seconds, out);
    put_locks(o, out);
    put_documents(o, out);
}

const struct buf *overview_now(struct overview *o)
{
    int64_t now = clock_mono_ms();

    if (o->made_at == 0 || now - o->made_at >= FRESH_MS) {
        make(o, now);
        o->made_at = now;
    }
    return &o->made;
}

void overview_past(const struct overview *o, int64_t since, struct buf *out)
{
    history_pack(o->history, since, out);
}

int overview_resume(struct overview *o, struct state_reader *r)
{
    return history_resume(o->history, r);
}

struct overview *overview_new(struct event_base *base, const struct admin *a,
                              const struct method_figures *methods, size_t n, bool names)
{
    struct overview *o = alloc_zeroed(1, sizeof *o);
    struct timeval every = {.tv_sec = HISTORY_SECONDS};

    o->admin = a;
    o->methods = methods;
    o->n = n;
    o->names = names;
    o->history = history_new(figures, FIGURES);
    count(o, &o->before);
    o->timer = event_new(base, -1, EV_PERSIST, on_timer, o);
    event_add(o->timer, &every);
    return o;
}

void overview_free(struct overview *o)
{
    if (!o)
        return;
    event_free(o->timer);
    history_free(o->history);
    buf_free(&o->made);
    free(o);
}
