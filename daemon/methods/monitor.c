/* monitor: see monitor.h. */
#include "daemon/methods/monitor.h"
#include "daemon/base/clock.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define KEY_SHOWN 128 /* bytes of a key, or a filter */

/* What somebody asked for, and how it went. */
struct line {
    int64_t at; /* clock_wall_ms() */
    uint64_t client, request;
    struct session_peer peer;
    struct trace trace;
    bool traced; /* it belongs to `trace` */
    char method[32], key[KEY_SHOWN];
    size_t key_len;     /* all of it; more than is here: it is cut */
    unsigned documents; /* 0: it is not about documents */
    const char *fault;  /* its code, or NULL */
    int64_t all, stages[STAGES];
};

struct monitor {
    struct monitor *prev, *next;
    struct session *session; /* a reference */
    char method[32], key[KEY_SHOWN];
    bool faults;
    uint64_t client;
    int64_t slower; /* ns */
    uint64_t lost;  /* since it was last told something */
};

struct monitors {
    struct exec *exec;
    struct monitors_hooks hooks;
    struct spans *spans; /* NULL: they are not exported */
    bool traced;         /* some request has told where it belongs */
    struct monitor *list;
    unsigned count;
    struct line *slow; /* a ring */
    size_t cap, next, kept;
};

/* --- lines ------------------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *name, const char *value)
{
    pack_cstr(out, name);
    pack_cstr(out, value);
}

static void put_number(struct buf *out, const char *name, int64_t value)
{
    pack_cstr(out, name);
    pack_int(out, value);
}

static void put_times(struct buf *out, const struct line *l)
{
    size_t at = pack_map_open(out);
    uint32_t n = 1;

    for (int i = 0; i < STAGES; i++) {
        if (l->stages[i] < 0)
            continue;
        put_number(out, stage_name((enum stage)i), l->stages[i] / 1000);
        n++;
    }
    put_number(out, "all", l->all / 1000);
    pack_map_close(out, at, n);
}

static void put_line(struct buf *out, const struct line *l, uint64_t lost)
{
    char trace[TRACE_TEXT];

    pack_map(out, 12);
    pack_cstr(out, "at");
    pack_float(out, (double)l->at / 1000);
    put_number(out, "client", (int64_t)l->client);
    pack_cstr(out, "request");
    pack_uint(out, l->request);
    pack_cstr(out, "trace");
    trace_hex(trace, l->trace.id, TRACE_ID_BYTES);
    if (l->traced)
        pack_cstr(out, trace);
    else
        pack_nil(out);
    put_number(out, "pid", l->peer.pid);
    put_number(out, "uid", l->peer.uid);
    put_text(out, "program", l->peer.program);
    put_text(out, "method", l->method);
    pack_cstr(out, "key");
    if (l->key_len == 0)
        pack_nil(out);
    else
        pack_cstr(out, l->key);
    pack_cstr(out, "fault");
    if (l->fault == NULL)
        pack_nil(out);
    else
        pack_cstr(out, l->fault);
    pack_cstr(out, "us");
    if (l->documents > 0)
        put_times(out, l);
    else
        pack_nil(out);
    put_number(out, "lost", (int64_t)lost);
}

static void set_key(struct line *l, const char *key, size_t len)
{
    size_t n = utf8_cut(key, len, sizeof l->key - 1);

    memcpy(l->key, key, n);
    l->key[n] = '\0';
    l->key_len = len;
}

static void set_who(struct line *l, const struct session *s, uint64_t request)
{
    const struct trace *t = session_trace(s, request);

    l->at = clock_wall_ms();
    l->client = session_number(s);
    l->request = request;
    l->peer = *session_peer(s);
    l->traced = t != NULL;
    if (t != NULL)
        l->trace = *t;
}

/* --- who watches ------------------------------------------------------------------------- */

static bool concerns(const struct monitor *m, const struct line *l)
{
    size_t len = strlen(m->key);

    if (m->method[0] && strcmp(m->method, l->method) != 0)
        return false;
    /* "User:*" is all of a model. */
    if (len > 0 && m->key[len - 1] == '*'
            ? strncmp(m->key, l->key, len - 1) != 0
            : len > 0 && (len != l->key_len || strcmp(m->key, l->key) != 0))
        return false;
    if (m->client != 0 && m->client != l->client)
        return false;
    return (!m->faults || l->fault != NULL) && l->all >= m->slower;
}

static void tell(struct monitors *all, const struct line *l)
{
    struct buf out = BUF_INIT;
    struct session_stats st;
    struct monitor *m, *next;

    DL_FOREACH_SAFE (all->list, m, next) {
        if (!concerns(m, l))
            continue;
        session_stats(m->session, &st);
        if (st.unsent > exec_config(all->exec)->watch_memory) {
            m->lost++;
            continue;
        }
        buf_clear(&out);
        pack_array(&out, 1);
        put_line(&out, l, m->lost);
        m->lost = 0;
        session_notify(m->session, "monitor", out.data, out.len);
    }
    buf_free(&out);
}

static void keep(struct monitors *all, const struct line *l)
{
    if (all->cap == 0)
        return;
    all->slow[all->next] = *l;
    all->next = (all->next + 1) % all->cap;
    all->kept += all->kept < all->cap;
}

static int64_t slow_ns(const struct monitors *all)
{
    unsigned ms = exec_config(all->exec)->slow_time;

    return ms > 0 && all->cap > 0 ? (int64_t)ms * 1000000 : INT64_MAX;
}

static bool is_sampled(const struct done *d)
{
    const struct trace *t = session_trace(d->session, d->id);

    return t != NULL && t->sampled;
}

static void record(struct monitors *all, const struct done *d, const struct line *l)
{
    struct span s = {.trace = &l->trace,
                     .method = l->method,
                     .key = l->key_len > 0 ? l->key : NULL,
                     .fault = l->fault,
                     .client = l->client,
                     .request = l->request,
                     .pid = l->peer.pid,
                     .ended = clock_wall_us() * 1000,
                     .all = d->all};

    memcpy(s.stages, d->stages, sizeof s.stages);
    spans_add(all->spans, &s);
}

static void on_done(void *arg, const struct done *d)
{
    struct monitors *all = arg;
    bool slow = d->all >= slow_ns(all);

    if (all->list == NULL && !slow && (all->spans == NULL || !is_sampled(d)))
        return;
    if (d->fault != NULL && all->hooks.retakes(all->hooks.arg, d->session, d->id, d->fault->code))
        return;
    struct line l = {.documents = d->documents > 0 ? d->documents : 1,
                     .fault = d->fault != NULL ? fault_name(d->fault->code) : NULL,
                     .all = d->all};

    set_who(&l, d->session, d->id);
    snprintf(l.method, sizeof l.method, "%s", d->method);
    if (d->key != NULL)
        set_key(&l, d->key, d->key_len);
    memcpy(l.stages, d->stages, sizeof l.stages);
    if (slow)
        keep(all, &l);
    if (all->spans != NULL && l.traced && l.trace.sampled)
        record(all, d, &l);
    tell(all, &l);
}

void monitors_taken(struct monitors *all, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    struct line l = {0};
    const char *key;
    size_t len;

    if (all->list == NULL)
        return;
    set_who(&l, s, msg->id);
    snprintf(l.method, sizeof l.method, "%.*s", (int)msg->method_len, msg->method);
    if (msg->nparams > 0 && cursor_str(&in, &key, &len) == 0)
        set_key(&l, key, len);
    tell(all, &l);
}

static void observe(struct monitors *all)
{
    bool each = all->list != NULL || (all->spans != NULL && all->traced);

    exec_observe(all->exec, each ? 0 : slow_ns(all), on_done, all);
}

void monitors_trace(struct monitors *all, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    struct trace t;
    const char *text;
    size_t len;

    if (msg->nparams != 1 || cursor_str(&in, &text, &len) < 0 || !trace_parse(&t, text, len))
        return; /* as the standard says of what is not understood */
    session_set_trace(s, &t);
    if (!all->traced) {
        all->traced = true;
        observe(all);
    }
}

/* --- methods ----------------------------------------------------------------------------- */

static int read_text(struct cursor *in, char *out, size_t size, const char *what, struct fault *f)
{
    const char *s;
    size_t len;

    if (cursor_str(in, &s, &len) < 0 || len >= size)
        return fault_set(f, FAULT_BAD_REQUEST, "%s is a str of less than %zu bytes", what, size);
    memcpy(out, s, len);
    out[len] = '\0';
    return 0;
}

static int read_option(struct monitor *m, struct cursor *in, const char *name, size_t len,
                       struct fault *f)
{
    int64_t n;

    if (len == 3 && memcmp(name, "key", 3) == 0)
        return read_text(in, m->key, sizeof m->key, "key", f);
    if (len == 6 && memcmp(name, "method", 6) == 0)
        return read_text(in, m->method, sizeof m->method, "method", f);
    if (len == 6 && memcmp(name, "client", 6) == 0 && cursor_int(in, &n) == 0 && n > 0) {
        m->client = (uint64_t)n;
        return 0;
    }
    if (len == 6 && memcmp(name, "slower", 6) == 0 && cursor_int(in, &n) == 0 && n >= 0 &&
        n < INT64_MAX / 1000) {
        m->slower = n * 1000;
        return 0;
    }
    if (len == 6 && memcmp(name, "faults", 6) == 0 && cursor_bool(in, &m->faults) == 0)
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST,
                     "admin.monitor takes [{key?: \"User:42\" or \"User:*\", method?, client?: its "
                     "number, slower?: microseconds, faults?: bool}]");
}

static int read_filter(struct monitor *m, const struct rpc *msg, struct fault *f)
{
    struct cursor in = msg->params;
    uint32_t n = 0;
    const char *name;
    size_t len;

    if (msg->nparams > 1 || (msg->nparams == 1 && cursor_map(&in, &n) < 0))
        return fault_set(f, FAULT_BAD_REQUEST, "admin.monitor takes [{...}], the map of a filter");
    for (; n > 0; n--) {
        if (cursor_str(&in, &name, &len) < 0)
            len = 0;
        if (read_option(m, &in, name, len, f) < 0)
            return -1;
    }
    return 0;
}

static void end(struct monitors *all, struct monitor *m)
{
    DL_DELETE(all->list, m);
    all->count--;
    session_unref(m->session);
    free(m);
    observe(all);
}

static struct monitor *find(const struct monitors *all, const struct session *s)
{
    struct monitor *m;

    DL_SEARCH_SCALAR(all->list, m, session, s);
    return m;
}

/* Of a filter that nothing can ever fit, its author would wait for lines. */
static int check_filter(const struct monitors *all, const struct monitor *m, struct fault *f)
{
    if (m->method[0] && !all->hooks.knows(all->hooks.arg, m->method))
        return fault_set(f, FAULT_UNKNOWN_METHOD,
                         "method: there is no method '%s'; hello lists those there are", m->method);
    if (m->key[0] && !strchr(m->key, ':'))
        return fault_set(f, FAULT_BAD_REQUEST,
                         "key: '%s' is no key of a document; \"%s:*\" is all of a model", m->key,
                         m->key);
    return 0;
}

static void add(struct monitors *all, const struct monitor *as)
{
    struct monitor *m = alloc_zeroed(1, sizeof *m);

    *m = *as;
    session_ref(m->session);
    DL_APPEND(all->list, m);
    all->count++;
    observe(all);
}

void monitors_save(const struct monitors *all, struct state_writer *w)
{
    const struct monitor *m;

    pack_array(&w->out, all->count);
    DL_FOREACH (all->list, m) {
        pack_array(&w->out, 7);
        pack_uint(&w->out, session_number(m->session));
        pack_cstr(&w->out, m->method);
        pack_cstr(&w->out, m->key);
        pack_bool(&w->out, m->faults);
        pack_uint(&w->out, m->client);
        pack_int(&w->out, m->slower);
        pack_uint(&w->out, m->lost);
    }
}

int monitors_resume(struct monitors *all, struct sessions *sessions, struct state_reader *r)
{
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        struct state_tuple t = state_enter(r, 7);
        struct monitor m = {.session = sessions_find(sessions, state_uint(r))};
        state_text(r, m.method, sizeof m.method);
        state_text(r, m.key, sizeof m.key);
        m.faults = state_bool(r);
        m.client = state_uint(r);
        m.slower = state_int(r);
        m.lost = state_uint(r);
        state_leave(r, &t);
        if (r->bad || m.session == NULL)
            return -1;
        add(all, &m);
    }
    return r->bad ? -1 : 0;
}

void monitors_begin(struct monitors *all, struct session *s, const struct rpc *msg)
{
    struct monitor filter = {.session = s}, *m = find(all, s);
    unsigned most = exec_config(all->exec)->max_monitors;
    struct fault f;

    if (read_filter(&filter, msg, &f) < 0 || check_filter(all, &filter, &f) < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    if (m != NULL)
        end(all, m);
    if (all->count >= most) {
        fault_set(&f, FAULT_BUSY, "%u connections monitor, limits.max_monitors is %u", all->count,
                  most);
        session_fault(s, msg->id, &f);
        return;
    }
    add(all, &filter);
    pack_bool(session_result(s, msg->id), true);
    session_done(s);
}

void monitors_end(struct monitors *all, struct session *s, const struct rpc *msg)
{
    struct monitor *m = find(all, s);

    if (m != NULL)
        end(all, m);
    pack_bool(session_result(s, msg->id), m != NULL);
    session_done(s);
}

void monitors_client_gone(struct monitors *all, const struct session *s)
{
    struct monitor *m = find(all, s);

    if (m != NULL)
        end(all, m);
}

void monitors_slow(struct monitors *all, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    struct fault f;
    const char *word;
    size_t len;
    bool clear = msg->nparams == 1 && cursor_str(&in, &word, &len) == 0 && len == 5 &&
                 memcmp(word, "clear", 5) == 0;

    if (msg->nparams > 0 && !clear) {
        fault_set(&f, FAULT_BAD_REQUEST, "admin.slowlog takes nothing, or \"clear\"");
        session_fault(s, msg->id, &f);
        return;
    }
    struct buf *out = session_result(s, msg->id);
    pack_array(out, (uint32_t)all->kept);
    for (size_t i = 1; i <= all->kept; i++)
        put_line(out, &all->slow[(all->next + all->cap - i) % all->cap], 0);
    session_done(s);
    if (clear)
        all->kept = 0;
}

/* --- */

void monitors_reloaded(struct monitors *all)
{
    size_t cap = exec_config(all->exec)->slow_entries;

    if (cap != all->cap) {
        free(all->slow);
        all->slow = cap > 0 ? alloc_zeroed(cap, sizeof *all->slow) : NULL;
        all->cap = cap;
        all->next = all->kept = 0;
    }
    observe(all);
}

struct monitors *monitors_new(struct exec *exec, struct spans *spans,
                              const struct monitors_hooks *hooks)
{
    struct monitors *all = alloc_zeroed(1, sizeof *all);

    all->exec = exec;
    all->spans = spans;
    all->hooks = *hooks;
    monitors_reloaded(all);
    return all;
}

void monitors_free(struct monitors *all)
{
    while (all->list != NULL)
        end(all, all->list);
    free(all->slow);
    free(all);
}
