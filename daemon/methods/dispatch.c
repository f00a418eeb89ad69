/* dispatch: see dispatch.h. */
#include "daemon/methods/dispatch.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/commit/lanes.h"
#include "daemon/exec/publish.h"
#include "daemon/methods/doctor.h"
#include "daemon/methods/figures.h"
#include "daemon/methods/find.h"
#include "daemon/methods/held.h"
#include "daemon/methods/in_parts.h"
#include "daemon/methods/index_admin.h"
#include "daemon/methods/keys.h"
#include "daemon/methods/latency.h"
#include "daemon/methods/manage.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/methods_lock.h"
#include "daemon/methods/methods_watch.h"
#include "daemon/methods/monitor.h"
#include "daemon/methods/overview.h"
#include "daemon/methods/scatter.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

#define METHODS_MAX (OP_COUNT + 64) /* operations, and others */

#define TOP_MAX 100 /* of admin.cache */

typedef void plain_fn(struct dispatch *d, struct session *s, const struct rpc *msg);

#define SLOTS 512 /* a power of two */
_Static_assert(2 * METHODS_MAX < SLOTS, "or finding a method takes long");

/* A name, and either a method on documents or a function that answers by itself. */
struct entry {
    const char *name;
    size_t len;
    const struct method *method;
    plain_fn *plain;
    struct method_figures *figures;
    bool early;    /* is answered before Redis is known */
    bool parts;    /* may be asked for slot by slot (in_parts.h) */
    uint8_t right; /* what its user needs, on whatever (rules.h); 0: nothing here, */
    bool models;   /* but on models, which it asks for itself */
};

struct dispatch {
    struct exec *exec;
    struct registry *registry;
    struct watches *watches;
    struct admin admin;
    struct doctor *doctor;
    struct keys *keys;
    struct scatter *scatter; /* NULL: there is one Redis */
    struct manage_hooks hooks;
    struct spans *spans; /* NULL: they are not exported */
    struct monitors *monitors;
    struct overview *overview;         /* NULL: nobody looks */
    struct entry entries[METHODS_MAX]; /* sorted by name */
    size_t nentries;
    struct method_figures figures[METHODS_MAX]; /* in the same order */
    const struct entry
        *slots[SLOTS];     /* by the hash of their names; the next one where it is taken */
    struct held_list held; /* until the models are read */
    struct held_list unknown,
        learning;          /* name what is not known here: not asked for yet, asked for */
    const struct rpc *msg; /* that is being taken, */
    struct session *from;  /* of this session; */
    bool learned;          /* what it names was asked for before */
    bool asking;           /* the registry asks what is new */
    struct event *tick;
    bool stopping, cluster;
};

/* ---- methods that answer by themselves ---- */

static void do_hello(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    /* What is no method, but was not always there. */
    static const char *const kinds[] = {"define.many",       "define.unique",   "define.refresh",
                                        "models.optional",   "models.nested",   "models.recursive",
                                        "models.namespaces", "types.texts",     "types.inside",
                                        "keys.any",          "pipeline.if",     "doc.get.resolve",
                                        "doc.get.touch",     "doc.ttl.cascade", "doc.parts"};
    struct buf *out = session_result(s, msg->id);
    uint32_t features = 0;
    pack_map(out, 3);
    pack_cstr(out, "server");
    pack_cstr(out, "rapyerd " RAPYER_VERSION);
    pack_cstr(out, "protocol");
    pack_int(out, RPC_PROTOCOL_VERSION);
    pack_cstr(out, "features");
    size_t at = pack_array_open(out);
    for (size_t i = 0; i < d->nentries; i++) {
        pack_cstr(out, d->entries[i].name);
        features++;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++, features++)
        pack_cstr(out, kinds[i]);
    pack_array_close(out, at, features);
    session_done(s);
}

/* False: it has some, and is refused. */
static bool without_params(struct session *s, const struct rpc *msg)
{
    struct fault f;
    if (msg->nparams == 0)
        return true;
    fault_set(&f, FAULT_BAD_REQUEST, "%.*s takes no parameters", (int)msg->method_len, msg->method);
    session_fault(s, msg->id, &f);
    return false;
}

static void do_ring(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    (void)d;
    if (without_params(s, msg))
        session_open_ring(s, msg->id);
}

static void do_segment(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    size_t size = 0;
    /* It shows documents of all models, whoever maps it. */
    if (!permit_everywhere(session_permit(s), RIGHT_READ)) {
        fault_set(
            &f, FAULT_FORBIDDEN,
            "segment.open: shared memory has documents of all models, and no line of the rules "
            "(rights.file) gives this user \"read\" on * without exception");
        session_fault(s, msg->id, &f);
        return;
    }
    if (!without_params(s, msg))
        return;
    int fd = exec_share(d->exec, &size, &f);
    if (fd < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    struct buf answer = BUF_INIT;
    pack_map(&answer, 1);
    pack_cstr(&answer, "size");
    pack_uint(&answer, size);
    session_answer_fd(s, msg->id, answer.data, answer.len, fd);
    buf_free(&answer);
}

/* The one thing that clients notify of; what is wrong with it has nobody to be told. */
static void take_hits(struct dispatch *d, const struct rpc *msg)
{
    struct cursor in = msg->params;
    const char *key;
    size_t len;
    int64_t n;
    if (msg->nparams == 2 && cursor_int(&in, &n) == 0 && n >= 0 && cursor_str(&in, &key, &len) == 0)
        publisher_hits(exec_publisher(d->exec), (uint64_t)n, key, len);
}

static void do_rights(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    manage_rights(&d->admin, s, msg);
}

static void do_define(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    registry_define(d->registry, s, msg);
}

static void do_keys(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    keys_request(d->keys, s, msg);
}

static void admin_answer(struct dispatch *d, struct session *s, const struct rpc *msg,
                         void (*pack)(const struct admin *a, struct buf *out))
{
    if (!without_params(s, msg))
        return;
    pack(&d->admin, session_result(s, msg->id));
    session_done(s);
}

#define ADMIN_METHOD(fn)                                                              \
    static void do_##fn(struct dispatch *d, struct session *s, const struct rpc *msg) \
    {                                                                                 \
        admin_answer(d, s, msg, admin_##fn);                                          \
    }
ADMIN_METHOD(stats)
ADMIN_METHOD(clients)
ADMIN_METHOD(models)
ADMIN_METHOD(config)

static void do_cache(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    int64_t top = 0;
    struct fault f;
    if (msg->nparams > 1 ||
        (msg->nparams == 1 && (cursor_int(&in, &top) < 0 || top < 0 || top > TOP_MAX))) {
        fault_set(&f, FAULT_BAD_REQUEST,
                  "admin.cache takes nothing, or how many documents to name, %d at most", TOP_MAX);
        session_fault(s, msg->id, &f);
        return;
    }
    admin_cache(&d->admin, (unsigned)top, session_result(s, msg->id));
    session_done(s);
}

static void do_reload(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    if (without_params(s, msg))
        manage_reload(&d->hooks, s, msg);
}

static void do_set(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    manage_set(&d->admin, &d->hooks, s, msg);
}

static void do_upgrade(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    manage_upgrade(&d->hooks, s, msg);
}

static void do_kill(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    manage_kill(&d->admin, s, msg);
}

static void do_monitor(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    monitors_begin(d->monitors, s, msg);
}

static void do_unmonitor(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    if (without_params(s, msg))
        monitors_end(d->monitors, s, msg);
}

static void do_slowlog(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    monitors_slow(d->monitors, s, msg);
}

static void do_latency(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    if (!without_params(s, msg))
        return;
    latency_pack(&d->admin, d->figures, d->nentries, session_result(s, msg->id));
    session_done(s);
}

static void do_doctor(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    doctor_request(d->doctor, s, msg);
}

static void do_metrics(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    struct page page = {0};
    if (!without_params(s, msg))
        return;
    dispatch_figures(d, &page);
    pack_str(session_result(s, msg->id), (const char *)page.out.data, page.out.len);
    session_done(s);
    buf_free(&page.out);
}

static void do_index_list(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    index_list_request(d->exec, s, msg);
}

static void do_index_build(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    index_build_request(d->exec, s, msg);
}

static void do_index_drop(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    index_drop_request(d->exec, d->registry, s, msg);
}

static void do_index_check(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    index_check_request(d->exec, &(struct find_cluster){d->scatter, keys_lister(d->keys)}, s, msg);
}

#define FIND_METHOD(fn, what)                                                                   \
    static void do_##fn(struct dispatch *d, struct session *s, const struct rpc *msg)           \
    {                                                                                           \
        find_request(d->exec, &(struct find_cluster){d->scatter, keys_lister(d->keys)}, s, msg, \
                     what);                                                                     \
    }
FIND_METHOD(find, FIND_DOCUMENTS)
FIND_METHOD(find_count, FIND_COUNT)
FIND_METHOD(find_update, FIND_UPDATE)
FIND_METHOD(find_delete, FIND_DELETE)

#define LOCK_METHOD(fn)                                                               \
    static void do_##fn(struct dispatch *d, struct session *s, const struct rpc *msg) \
    {                                                                                 \
        lock_method_##fn(exec_lock_requests(d->exec), s, msg);                        \
    }
LOCK_METHOD(acquire)
LOCK_METHOD(acquire_many)
LOCK_METHOD(release)
LOCK_METHOD(cancel)
LOCK_METHOD(renew)
LOCK_METHOD(break)
LOCK_METHOD(list)

static void do_watch(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    watch_method_begin(d->exec, d->watches, s, msg);
}

static void do_unwatch(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    watch_method_end(d->exec, d->watches, s, msg);
}

static const struct entry plain_entries[] = {
    {.name = "lock.acquire", .plain = do_acquire, .models = true},
    {.name = "lock.acquire_many", .plain = do_acquire_many},
    {.name = "lock.release", .plain = do_release},
    {.name = "lock.renew", .plain = do_renew},
    {.name = "lock.cancel", .plain = do_cancel},
    {.name = "lock.break", .plain = do_break, .models = true},
    {.name = "admin.locks", .plain = do_list, .early = true, .right = RIGHT_STATS},
    {.name = "hello", .plain = do_hello, .early = true},
    {.name = "ring.open", .plain = do_ring, .early = true},
    {.name = "segment.open", .plain = do_segment, .early = true},
    {.name = "define", .plain = do_define},
    {.name = "doc.keys", .plain = do_keys, .models = true},
    {.name = "find", .plain = do_find, .models = true},
    {.name = "find.count", .plain = do_find_count, .models = true},
    {.name = "find.update", .plain = do_find_update, .models = true},
    {.name = "find.delete", .plain = do_find_delete, .models = true},
    {.name = "rights", .plain = do_rights, .early = true},
    {.name = "index.list", .plain = do_index_list, .right = RIGHT_STATS},
    {.name = "index.check", .plain = do_index_check, .right = RIGHT_ADMIN},
    {.name = "index.build", .plain = do_index_build, .right = RIGHT_ADMIN},
    {.name = "index.drop", .plain = do_index_drop, .right = RIGHT_ADMIN},
    {.name = "admin.stats", .plain = do_stats, .early = true, .right = RIGHT_STATS},
    {.name = "admin.clients", .plain = do_clients, .early = true, .right = RIGHT_STATS},
    {.name = "admin.cache", .plain = do_cache, .early = true, .right = RIGHT_STATS},
    {.name = "admin.doctor", .plain = do_doctor, .early = true, .right = RIGHT_STATS},
    {.name = "admin.metrics", .plain = do_metrics, .early = true, .right = RIGHT_STATS},
    {.name = "admin.models", .plain = do_models, .right = RIGHT_STATS},
    {.name = "admin.config", .plain = do_config, .early = true, .right = RIGHT_STATS},
    {.name = "admin.reload", .plain = do_reload, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.set", .plain = do_set, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.upgrade", .plain = do_upgrade, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.kill", .plain = do_kill, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.monitor", .plain = do_monitor, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.unmonitor", .plain = do_unmonitor, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.slowlog", .plain = do_slowlog, .early = true, .right = RIGHT_ADMIN},
    {.name = "admin.latency", .plain = do_latency, .early = true, .right = RIGHT_STATS},
    {.name = "watch", .plain = do_watch, .models = true},
    {.name = "unwatch", .plain = do_unwatch},
};

/* ---- what rules may name ---- */

static void name_all(const char **names, size_t *n, const struct method *m)
{
    for (; m->name != NULL; m++)
        names[(*n)++] = m->name;
}

/* Those that need a right: a pipeline is what is in it, and who has a lock may give it back. */
const char *const *dispatch_ruled(void)
{
    static const char *names[METHODS_MAX + 1]; /* NULL behind the last */
    size_t n = 0;
    name_all(names, &n, methods_doc);
    name_all(names, &n, methods_get);
    name_all(names, &n, methods_op);
    name_all(names, &n, methods_ref);
    for (size_t i = 0; i < sizeof(plain_entries) / sizeof(*plain_entries); i++) {
        const struct entry *e = &plain_entries[i];
        if (e->models || e->right != 0)
            names[n++] = e->name;
    }
    return names;
}

/* ---- finding ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void add(struct dispatch *d, struct entry e)
{
    if (d->nentries == METHODS_MAX)
        abort(); /* a bigger table is needed; seen at the first start */
    e.len = strlen(e.name);
    d->entries[d->nentries++] = e;
}

static size_t slot_of(const char *name, size_t len)
{
    return hash_of(name, len) % SLOTS;
}

static void sort_entries(struct dispatch *d)
{
    qsort(d->entries, d->nentries, sizeof(d->entries[0]), by_name);
    for (size_t i = 0; i < d->nentries; i++) {
        d->figures[i].name = d->entries[i].name;
        d->entries[i].figures = &d->figures[i];
        size_t at = slot_of(d->entries[i].name, d->entries[i].len);
        while (d->slots[at] != NULL)
            at = (at + 1) % SLOTS;
        d->slots[at] = &d->entries[i];
    }
}

static const struct entry *find(const struct dispatch *d, const char *name, size_t len)
{
    const struct entry *e;
    for (size_t at = slot_of(name, len); (e = d->slots[at]) != NULL; at = (at + 1) % SLOTS) {
        if (e->len == len && memcmp(e->name, name, len) == 0)
            return e;
    }
    return NULL;
}

static bool knows(void *arg, const char *method)
{
    return find(arg, method, strlen(method)) != NULL;
}

/* ---- holding ---- */

static const char stopping_text[] = "rapyerd is stopping; nothing was applied";

static int may_hold(const struct dispatch *d, struct fault *f)
{
    size_t bytes = d->held.bytes + d->unknown.bytes + d->learning.bytes;
    if (bytes > exec_config(d->exec)->queue_bytes)
        return fault_set(f, FAULT_UNAVAILABLE,
                         "%zu bytes of requests wait already (commit.queue_bytes); try again later",
                         bytes);
    if (lane_admit(exec_lane(d->exec), f) == 0)
        return 0;
    return registry_loaded(d->registry) ? -1 : registry_refuse(d->registry, f);
}

/* While something is held: who waits for too long is told so. */
static void plan_tick(struct dispatch *d)
{
    struct timeval tick = {.tv_usec = 100000};
    if ((d->held.first != NULL || d->unknown.first != NULL) &&
        !event_pending(d->tick, EV_TIMEOUT, NULL))
        event_add(d->tick, &tick);
}

static void hold(struct dispatch *d, struct held_list *list, struct session *s,
                 const struct rpc *msg)
{
    held_append(list, s, msg, clock_mono_ms() + (int64_t)exec_config(d->exec)->queue_time);
    plan_tick(d);
}

static void refuse_first(struct held_list *list, const struct fault *f)
{
    struct held *h = held_take(list);
    session_fault(h->session, h->msg.id, f);
    held_free(h);
}

/* It is in no list meanwhile: what it leads to may be the end of its client. */
static void take_up_first(struct dispatch *d, struct held_list *list)
{
    struct held *h = held_take(list);
    dispatch_message(d, h->session, &h->msg);
    held_free(h);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct dispatch *d = arg;
    struct fault f;
    (void)fd;
    (void)what;
    while (d->held.first != NULL && d->held.first->deadline <= clock_mono_ms()) {
        registry_refuse(d->registry, &f);
        refuse_first(&d->held, &f);
    }
    fault_set(&f, FAULT_UNAVAILABLE, "%s", lane_why(exec_lane(d->exec)));
    while (d->unknown.first != NULL && d->unknown.first->deadline <= clock_mono_ms())
        refuse_first(&d->unknown, &f);
    plan_tick(d);
}

void dispatch_stop(struct dispatch *d)
{
    struct fault f;
    d->stopping = true;
    fault_set(&f, FAULT_UNAVAILABLE, stopping_text);
    while (d->held.first != NULL)
        refuse_first(&d->held, &f);
    while (d->unknown.first != NULL)
        refuse_first(&d->unknown, &f);
    while (d->learning.first != NULL)
        refuse_first(&d->learning, &f);
    keys_stop(d->keys);
    if (d->scatter != NULL)
        scatter_stop(d->scatter);
}

static void learn(struct dispatch *d);

void dispatch_ready(struct dispatch *d)
{
    while (d->held.first != NULL)
        take_up_first(d, &d->held);
    learn(d);
}

/* ---- what is not known here may have been declared through another daemon ---- */

static void on_learned(void *arg, bool asked)
{
    struct dispatch *d = arg;
    if (!asked && !d->cluster) { /* they wait until the link is back, as long as they may */
        held_prepend(&d->unknown, &d->learning);
        d->asking = false;
        plan_tick(d);
        return;
    }
    d->learned = true;
    while (d->learning.first != NULL)
        take_up_first(d, &d->learning);
    d->learned = d->asking = false;
    learn(d);
}

static void learn(struct dispatch *d)
{
    if (d->unknown.first == NULL || d->asking || !lane_ready(exec_lane(d->exec)))
        return;
    d->asking = true;
    d->learning = d->unknown;
    d->unknown = (struct held_list){0};
    registry_refresh(d->registry, on_learned, d);
}

/* What its client cannot mend: it may not do this, or something is broken here or in Redis. */
static void log_fault(const struct session *s, uint64_t id, const struct fault *f)
{
    const struct session_peer *peer = session_peer(s);
    const struct trace *t = session_trace(s, id);
    char trace[TRACE_TEXT];
    bool denied = f->code == FAULT_FORBIDDEN;
    if (!denied && f->code != FAULT_INTERNAL && f->code != FAULT_CORRUPT)
        return;
    if (t != NULL)
        trace_hex(trace, t->id, TRACE_ID_BYTES);
    log_about(denied ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR,
              &(struct log_about){.client = session_number(s),
                                  .program = peer->program,
                                  .pid = peer->pid,
                                  .uid = peer->uid,
                                  .request = &id,
                                  .trace = t != NULL ? trace : NULL,
                                  .code = fault_name(f->code)},
              denied ? "refused: %s" : "failed: %s", f->text);
}

/* It names what is not known here, and is the request that is being taken, for the first time. */
static bool retakes(void *arg, const struct session *s, uint64_t id, enum fault_code code)
{
    const struct dispatch *d = arg;
    bool unknown = code == FAULT_UNKNOWN_MODEL || code == FAULT_UNKNOWN_FIELD;
    return unknown && !d->learned && !d->stopping && s == d->from && id == d->msg->id;
}

bool dispatch_fault(struct dispatch *d, struct session *s, uint64_t id, const struct fault *f)
{
    struct fault full;
    log_fault(s, id, f);
    if (!retakes(d, s, id, f->code))
        return false;
    if (may_hold(d, &full) < 0)
        session_fault(s, id, &full);
    else
        hold(d, &d->unknown, s, d->msg);
    return true;
}

/* Then what the same client asks for next waits behind it. */
static bool waits_to_know(const struct dispatch *d, const struct session *s)
{
    return held_has(&d->learning, s) || held_has(&d->unknown, s);
}

/* ---- */

static void carry_out(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    const struct entry *e = find(d, msg->method, msg->method_len);
    if (e == NULL) {
        fault_set(&f, FAULT_UNKNOWN_METHOD,
                  "there is no method '%.*s'; hello lists those there are",
                  (int)(msg->method_len > 100 ? 100 : msg->method_len), msg->method);
        session_fault(s, msg->id, &f);
    } else if (e->right != 0 && !permit_somewhere(session_permit(s), e->name, e->right)) {
        permit_refuse(&f, session_permit(s), e->name, NULL, e->right);
        session_fault(s, msg->id, &f);
    } else if (!e->early && d->stopping) {
        fault_set(&f, FAULT_UNAVAILABLE, stopping_text);
        session_fault(s, msg->id, &f);
    } else if (!e->early &&
               (!registry_loaded(d->registry) || (!d->learned && waits_to_know(d, s)))) {
        if (may_hold(d, &f) < 0)
            session_fault(s, msg->id, &f);
        else
            hold(d, registry_loaded(d->registry) ? &d->unknown : &d->held, s, msg);
    } else if (e->plain == do_define && !d->learned &&
               !registry_may_define(d->registry, s, msg)) { /* as a write to a slot that is away */
        if (may_hold(d, &f) < 0)
            session_fault(s, msg->id, &f);
        else
            hold(d, &d->unknown, s, msg);
    } else if (e->parts && in_parts_wanted(msg)) {
        e->figures->calls++;
        monitors_taken(d->monitors, s, msg);
        in_parts_request(d->exec, e->name, s, msg);
    } else if (e->method != NULL) {
        e->figures->calls += !d->learned; /* else it was counted */
        if (e->figures->timing == NULL)
            e->figures->timing = alloc_zeroed(1, sizeof(*e->figures->timing));
        exec_request(d->exec, e->method, s, msg, e->figures->timing, d->learned);
    } else {
        e->figures->calls++;
        monitors_taken(d->monitors, s, msg);
        e->plain(d, s, msg);
    }
}

void dispatch_message(struct dispatch *d, struct session *s, const struct rpc *msg)
{
    if (msg->kind == RPC_NOTIFY) {
        if (msg->method_len == 12 && memcmp(msg->method, "segment.hits", 12) == 0)
            take_hits(d, msg);
        else if (msg->method_len == 5 && memcmp(msg->method, "trace", 5) == 0)
            monitors_trace(d->monitors, s, msg);
        return;
    }
    d->msg = msg;
    d->from = s;
    carry_out(d, s, msg);
    d->from = NULL;
    learn(d);
}

static void add_all(struct dispatch *d, const struct method *m)
{
    for (; m->name != NULL; m++)
        add(d, (struct entry){.name = m->name, .method = m, .parts = in_parts_may(m->name)});
}

struct dispatch *dispatch_new(struct event_base *base, struct exec *exec, struct registry *registry,
                              struct watches *watches)
{
    struct dispatch *d = alloc_zeroed(1, sizeof(*d));
    d->exec = exec;
    d->registry = registry;
    d->watches = watches;
    d->cluster = router_is_cluster(lanes_router(exec_lanes(exec)));
    d->admin = (struct admin){.exec = exec, .watches = watches, .started = clock_mono_ms()};
    d->spans = spans_new(base, exec_config(exec)->traces);
    d->admin.spans = d->spans;
    d->monitors = monitors_new(exec, d->spans, &(struct monitors_hooks){knows, retakes, d});
    d->keys = keys_new(base, exec);
    if (d->cluster)
        d->scatter = scatter_new(base, exec);
    d->doctor = doctor_new(lanes_router(exec_lanes(exec)), exec_config(exec), exec_audit(exec));
    add_all(d, methods_doc);
    add_all(d, methods_get);
    add_all(d, methods_op);
    add_all(d, methods_ref);
    add_all(d, methods_pipeline);
    for (size_t i = 0; i < sizeof(plain_entries) / sizeof(*plain_entries); i++)
        add(d, plain_entries[i]);
    sort_entries(d);
    d->tick = evtimer_new(base, on_tick, d);
    return d;
}

void dispatch_free(struct dispatch *d)
{
    held_drop(&d->held, NULL);
    registry_cancel(d->registry, d);
    held_drop(&d->unknown, NULL);
    held_drop(&d->learning, NULL);
    for (size_t i = 0; i < d->nentries; i++)
        free(d->figures[i].timing);
    event_free(d->tick);
    overview_free(d->overview);
    doctor_free(d->doctor);
    keys_free(d->keys);
    if (d->scatter != NULL)
        scatter_free(d->scatter);
    monitors_free(d->monitors);
    spans_free(d->spans);
    free(d);
}

struct monitors *dispatch_monitors(const struct dispatch *d)
{
    return d->monitors;
}

void dispatch_link_up(struct dispatch *d)
{
    doctor_links(d->doctor);
}

struct overview *dispatch_overview(struct dispatch *d, struct event_base *base)
{
    bool names = exec_config(d->exec)->metrics_viewer >= VIEWER_NAMES;

    if (d->overview == NULL)
        d->overview = overview_new(base, &d->admin, d->figures, d->nentries, names);
    return d->overview;
}

void dispatch_save_past(const struct dispatch *d, struct state_writer *w)
{
    if (d->overview != NULL)
        overview_past(d->overview, INT64_MIN, &w->out);
    else
        pack_nil(&w->out);
}

int dispatch_resume_past(struct dispatch *d, struct event_base *base, struct state_reader *r)
{
    if (r->bad || cursor_nil(&r->in))
        return r->bad ? -1 : 0;
    return overview_resume(dispatch_overview(d, base), r);
}

void dispatch_figures(const struct dispatch *d, struct page *p)
{
    figures_write(&d->admin, d->figures, d->nentries, p);
}

bool dispatch_may_serve(const struct dispatch *d, char *why, size_t size)
{
    /* In a cluster a master that is away takes down what it has. */
    bool some = registry_loaded(d->registry) && router_any(lanes_router(exec_lanes(d->exec)));
    const char *down = router_down(lanes_router(exec_lanes(d->exec)));
    if (d->stopping)
        snprintf(why, size, "rapyerd is stopping");
    else if (down != NULL)
        snprintf(why, size, "%s", down);
    else if (!registry_loaded(d->registry))
        snprintf(why, size, "%s", registry_why(d->registry));
    else if (!some && !lane_ready(exec_lane(d->exec)))
        snprintf(why, size, "%s", lane_why(exec_lane(d->exec)));
    else
        return true;
    return false;
}

void dispatch_client_gone(struct dispatch *d, const struct session *s)
{
    monitors_client_gone(d->monitors, s);
    /* Nobody hears what becomes of these, and what a connection has (locks, watches) would stay. */
    held_drop(&d->held, s);
    held_drop(&d->unknown, s);
    held_drop(&d->learning, s);
}

void dispatch_reloaded(struct dispatch *d)
{
    monitors_reloaded(d->monitors);
}

void dispatch_manage(struct dispatch *d, struct config *config, const struct manage_hooks *hooks)
{
    d->admin.config = config;
    d->hooks = *hooks;
}

void dispatch_sentinels(struct dispatch *d, const struct sentinels *s)
{
    doctor_sentinels(d->doctor, s);
}

void dispatch_sessions(struct dispatch *d, struct sessions *all)
{
    d->admin.sessions = all;
}
