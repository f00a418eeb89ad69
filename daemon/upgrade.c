/* upgrade: see upgrade.h. */
#include "daemon/upgrade.h"
#include "daemon/base/clock.h"
#include "daemon/io/manager.h"
#include "daemon/io/parcel.h"
#include "daemon/methods/monitor.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define TICK_US 500    /* between two looks whether all is quiet */
#define ANSWER_MS 5000 /* that the answer waits for Redis at most, in the new program */
#define WHY_MAX 600
#define MANAGER_MS 1000 /* that the service manager has to answer */
#define MANAGER_FDS 2   /* that it has to keep: the state, and the parcel */

enum upgrade_state { TRYING, STILL, TAKEN, RETURNED };

struct upgrade {
    enum upgrade_state state;
    struct session *asked; /* a reference; NULL: it is gone */
    uint64_t id;           /* of its request */
    char *program;
    struct trial trial;
    struct event *heard, *tick;
    int64_t deadline;    /* clock_mono_ms(): of this state */
    int64_t still_since; /* clock_boot_ns() */
    unsigned clients;
    char was[64]; /* the version before */
    /* Of a restart: whether it is one, and what is done where it is not, or cannot be. */
    struct manager_question *question;
    void (*stop)(struct daemon *d);
    bool restarted;
};

/* ---- its end ---- */

static void upgrade_free(struct daemon *d)
{
    struct upgrade *u = d->upgrade;
    d->upgrade = NULL;
    if (u->asked != NULL)
        session_unref(u->asked);
    if (u->trial.pid != 0)
        trial_end(&u->trial);
    if (u->heard != NULL)
        event_free(u->heard);
    if (u->tick != NULL)
        event_free(u->tick);
    if (u->question != NULL)
        manager_ask_no_more(u->question);
    free(u->program);
    free(u);
}

static void go_on(struct daemon *d)
{
    if (d->listener != NULL)
        listener_pause(d->listener, false);
    exec_still(d->exec, false);
    sessions_still(d->sessions, false);
}

static void fail(struct daemon *d, const char *why)
{
    struct upgrade *u = d->upgrade;
    struct fault f;
    char text[64] = "";
    void (*stop)(struct daemon *) = u->stop;
    if (u->state == STILL)
        go_on(d);
    if (stop != NULL) {
        log_warning("connections end with this restart: %s", why);
        upgrade_free(d);
        stop(d);
        return;
    }
    if (u->state == STILL || u->state == RETURNED)
        snprintf(text, sizeof(text), "; requests stood still for %.1f ms",
                 (double)(clock_boot_ns() - u->still_since) / 1e6);
    log_error("no upgrade: %s%s", why, text);
    fault_set(&f, FAULT_UNAVAILABLE, "no upgrade, all goes on as before: %s", why);
    if (u->asked != NULL)
        session_fault(u->asked, u->id, &f);
    upgrade_free(d);
}

void upgrade_cancel(struct daemon *d, const char *why)
{
    if (d->upgrade == NULL)
        return;
    if (d->upgrade->stop != NULL)
        upgrade_free(d);
    else if (d->upgrade->state < TAKEN)
        fail(d, why);
    else
        upgrade_done(d); /* who asked for it may be taken over once more, and still wait */
}

/* ---- what goes over ---- */

/* What the state hangs on: of another Redis, or other keys in it, it would say nothing. */
static void pack_place(const struct config *c, struct buf *out)
{
    struct buf text = BUF_INIT;
    bool embedded = strcmp(c->redis, "embedded") == 0;
    buf_printf(&text, "%s %u %s %s", c->redis, c->redis_db, c->key_prefix,
               embedded ? c->state_dir : "");
    pack_str(out, (char *)text.data, text.len);
    buf_free(&text);
}

/* What was set since it runs stays. */
static void save_overrides(const struct daemon *d, struct buf *out)
{
    size_t at = pack_array_open(out);
    uint32_t n = 0;
    for (size_t i = 0; i < d->noverrides; i++) {
        if (d->set[i] == NULL)
            continue;
        pack_cstr(out, d->set[i]);
        n++;
    }
    pack_array_close(out, at, n);
}

static void save_head(const struct daemon *d, struct state_writer *w)
{
    const struct upgrade *u = d->upgrade;
    struct buf *out = &w->out;
    pack_array(out, 10);
    save_overrides(d, out);
    pack_cstr(out, d->id);
    pack_place(&d->config, out);
    pack_cstr(out, RAPYER_VERSION);
    pack_int(out, clock_new_us());
    pack_int(out, u->still_since);
    pack_uint(out, sessions_count(d->sessions));
    pack_bool(out, u->asked != NULL && session_open(u->asked));
    pack_uint(out, u->asked != NULL ? session_number(u->asked) : 0);
    pack_uint(out, u->id);
}

static void save_all(struct daemon *d, struct state_writer *w)
{
    pack_array(&w->out, 12);
    save_head(d, w);
    exec_save(d->exec, w); /* before the sessions, which ask again for what it has */
    sessions_save(d->sessions, w);
    lock_requests_save(d->lock_requests, w);
    leases_save(d->leases, w);
    watches_save(d->watches, w);
    monitors_save(dispatch_monitors(d->dispatch), w);
    pack_array(&w->out, 2);
    listener_save(d->listener, w);
    http_save(d->http, w);
    if (d->embedded != NULL && d->upgrade->stop == NULL)
        embedded_save(d->embedded, w);
    else
        pack_nil(&w->out); /* it ends with this process */
    dispatch_save_past(d->dispatch, w);
    lanes_save(exec_lanes(d->exec), w);
    registry_save(d->registry, w);
}

/* ---- still ---- */

/* What is under way yet; NULL: nothing. */
static const char *unquiet(const struct daemon *d)
{
    if (d->embedded != NULL && !embedded_may_save(d->embedded))
        return "the embedded Redis is mended";
    if (!lanes_quiet(exec_lanes(d->exec)))
        return "a commit";
    if (lanes_unresolved(exec_lanes(d->exec)))
        return "only Redis knows of a commit whether it was applied";
    if (!exec_quiet(d->exec) || sessions_deferred(d->sessions) != exec_parked(d->exec))
        return "requests";
    if (d->lock_requests->granted != NULL)
        return "the models are not read yet";
    if (!locks_quiet(d->locks) || !leases_quiet(d->leases))
        return "locks between hosts";
    if (lanes_unsent(exec_lanes(d->exec)))
        return "Redis takes no more";
    return NULL;
}

/* In a child, on the very state that it would get. */
static const char *try_state(struct daemon *d, const struct state_writer *w, int memory)
{
    struct upgrade *u = d->upgrade;
    static char why[WHY_MAX];
    if (successor_try(&u->trial, u->program, d->argv, w, memory) < 0) {
        snprintf(why, sizeof(why), "%s: %s", u->program, strerror(errno));
        return why;
    }
    bool ended = trial_wait(&u->trial, u->deadline - clock_mono_ms());
    const char *wrong = trial_end(&u->trial);
    if (!ended)
        wrong = "it took longer than upgrade.still_time to look at the state";
    if (wrong == NULL)
        return NULL;
    snprintf(why, sizeof(why), "%s cannot take over: %s", u->program, wrong);
    return why;
}

static void hand_over(struct daemon *d)
{
    struct upgrade *u = d->upgrade;
    struct state_writer w = {.fds = NULL};
    char why[WHY_MAX];
    publisher_close(exec_publisher(d->exec)); /* what is changed from now on is not seen there */
    save_all(d, &w);
    int memory = state_store(&w);
    const char *wrong = memory >= 0 ? try_state(d, &w, memory) : strerror(errno);
    if (wrong == NULL) {
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=being upgraded",
                   (long long)clock_mono_us());
        log_end(); /* else nobody would say what was not written */
        successor_exec(u->program, d->argv, &w, memory);
        wrong = strerror(errno);
        sd_notify(0, "READY=1\nSTATUS=Redis answers");
    }
    snprintf(why, sizeof(why), "%s", wrong);
    if (memory >= 0)
        close(memory);
    state_writer_free(&w);
    fail(d, why);
}

/* Behind it the service manager has both, or none that is of any use. */
static int leave_with_manager(const struct state_writer *w, int memory)
{
    int parcel = parcel_pack(w->fds, w->nfds);
    if (parcel < 0)
        return -1;
    if (manager_keep(memory, HANDED_STATE) == 0 && manager_keep(parcel, HANDED_PARCEL) == 0 &&
        manager_heard(MANAGER_MS) == 0) {
        close(parcel);
        return 0;
    }
    int err = errno;
    parcel_void(parcel);
    manager_forget(HANDED_STATE);
    manager_forget(HANDED_PARCEL);
    errno = err;
    return -1;
}

/* Nothing is taken apart: it is all the next process's. */
static void leave(struct daemon *d)
{
    struct state_writer w = {.fds = NULL};
    char why[WHY_MAX];
    publisher_close(exec_publisher(d->exec));
    save_all(d, &w);
    int memory = state_store(&w);
    if (memory >= 0 && leave_with_manager(&w, memory) == 0) {
        if (d->embedded != NULL)
            embedded_end(d->embedded);
        log_end();
        _exit(0);
    }
    snprintf(why, sizeof(why), "what there is cannot be left with the service manager: %s",
             strerror(errno));
    if (memory >= 0)
        close(memory);
    state_writer_free(&w);
    fail(d, why);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;
    struct upgrade *u = d->upgrade;
    struct timeval tick = {.tv_usec = TICK_US};
    char text[WHY_MAX];
    (void)fd;
    (void)what;
    const char *why = unquiet(d);
    if (why == NULL && u->stop != NULL) {
        leave(d);
    } else if (why == NULL) {
        hand_over(d);
    } else if (clock_mono_ms() < u->deadline) {
        event_add(u->tick, &tick);
    } else {
        snprintf(text, sizeof(text),
                 "what is under way did not end within upgrade.still_time (%s, %u requests wait)",
                 why, sessions_deferred(d->sessions));
        fail(d, text);
    }
}

static void come_to_rest(struct daemon *d)
{
    struct upgrade *u = d->upgrade;
    struct timeval now = {0};
    u->state = STILL;
    u->still_since = clock_boot_ns();
    u->deadline = clock_mono_ms() + d->config.upgrade_still;
    listener_pause(d->listener, true);
    sessions_still(d->sessions, true);
    exec_still(d->exec, true);
    u->tick = evtimer_new(d->base, on_tick, d);
    event_add(u->tick, &now); /* when this turn's requests are carried out */
}

/* ---- trying ---- */

static void on_heard(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;
    struct upgrade *u = d->upgrade;
    char text[WHY_MAX];
    const char *why = NULL;
    (void)fd;
    if (what & EV_TIMEOUT)
        why = "it did not say within upgrade.start_time that it could";
    else if (!trial_read(&u->trial))
        return;
    const char *said = trial_end(&u->trial);
    event_free(u->heard);
    u->heard = NULL;
    why = why != NULL ? why : said;
    if (why == NULL) {
        come_to_rest(d);
        return;
    }
    snprintf(text, sizeof(text), "%s cannot take over: %s", u->program, why);
    fail(d, text);
}

/* With a head alone: only whether it starts, with the settings as they are by now. */
static int begin_trial(struct daemon *d)
{
    struct upgrade *u = d->upgrade;
    struct state_writer w = {.fds = NULL};
    unsigned ms = d->config.upgrade_start;
    struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    pack_array(&w.out, 1);
    save_head(d, &w);
    int memory = state_store(&w);
    int status = memory >= 0 ? successor_try(&u->trial, u->program, d->argv, &w, memory) : -1;
    int err = errno;
    if (memory >= 0)
        close(memory);
    state_writer_free(&w);
    errno = err;
    if (status < 0)
        return -1;
    u->heard = event_new(d->base, u->trial.report, EV_READ | EV_PERSIST, on_heard, d);
    event_add(u->heard, &patience);
    return 0;
}

/* What to execute: what the file names by now, or what was started, which may be another by now. */
static char *find_program(const struct daemon *d, char *error, size_t size)
{
    struct config fresh;
    char *program = NULL;
    if (config_load(&fresh, d->config_file, d->overrides, d->noverrides, error, size) < 0)
        return NULL;
    if (fresh.upgrade_program[0] != '\0')
        program = alloc_str(fresh.upgrade_program);
    config_free(&fresh);
    if (program != NULL)
        return program;
    if (strchr(d->argv[0], '/') != NULL)
        return alloc_str(d->argv[0]);
    if (d->program != NULL)
        return alloc_str(d->program);
    snprintf(error, size, "where this program is, is not known; upgrade.program can say so");
    return NULL;
}

void upgrade_ask(void *arg, struct session *s, uint64_t id)
{
    struct daemon *d = arg;
    struct fault f;
    char error[WHY_MAX];
    if (d->stopping || d->upgrade != NULL) {
        fault_set(&f, FAULT_BUSY,
                  d->stopping ? "rapyerd is stopping" : "an upgrade is under way already");
        session_fault(s, id, &f);
        return;
    }
    d->upgrade = alloc_zeroed(1, sizeof(*d->upgrade));
    d->upgrade->asked = session_ref(s);
    d->upgrade->id = id;
    d->upgrade->program = find_program(d, error, sizeof(error));
    if (d->upgrade->program == NULL) {
        fail(d, error);
    } else if (begin_trial(d) < 0) {
        snprintf(error, sizeof(error), "%s: %s", d->upgrade->program, strerror(errno));
        fail(d, error);
    }
}

/* ---- over a restart ---- */

static void on_job(void *arg, bool restarts, const char *why_not)
{
    struct daemon *d = arg;
    struct upgrade *u = d->upgrade;
    void (*stop)(struct daemon *) = u->stop;
    u->question = NULL;
    if (restarts) {
        come_to_rest(d);
        return;
    }
    if (why_not != NULL)
        log_info("taken as a stop, not as a restart: %s", why_not);
    upgrade_free(d);
    stop(d);
}

bool upgrade_by_restart(struct daemon *d, void (*stop)(struct daemon *d))
{
    enum leave wanted = d->config.upgrade_over_restart;
    if (wanted == LEAVE_NEVER || !manager_there() || d->sessions == NULL)
        return false;
    d->upgrade = alloc_zeroed(1, sizeof(*d->upgrade));
    d->upgrade->stop = stop;
    if (wanted == LEAVE_ALWAYS)
        come_to_rest(d);
    else
        d->upgrade->question = manager_ask(d->base, MANAGER_FDS, MANAGER_MS, on_job, d);
    return true;
}

/* ---- in the new program ---- */

void upgrade_refuse(struct daemon *d, const char *why)
{
    const struct inheritance *in = &d->inherited;
    if (in->memory < 0)
        return;
    if (in->report >= 0)
        successor_report(in, why);
    if (in->way_back >= 0) {
        log_error("back to the program before: %s", why);
        successor_go_back(in, d->argv, &d->state);
        log_error("there is no way back: %s", strerror(errno));
    }
    close(d->inherited.memory);
    d->inherited.memory = -1;
}

struct head {
    int64_t new_us, still_since;
    unsigned clients;
    bool asked;
    uint64_t session, id;
    char place[2 * PATH_MAX], was[64];
};

static bool add_override(struct daemon *d, const char *text, size_t len)
{
    if (d->noverrides == sizeof(d->overrides) / sizeof(*d->overrides))
        return false;
    d->set[d->noverrides] = alloc_copy(text, len);
    d->overrides[d->noverrides] = d->set[d->noverrides];
    d->noverrides++;
    return true;
}

/* Those of the command line come first; of one name the last one counts. */
static void read_overrides(struct daemon *d, struct state_reader *r)
{
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        size_t len;
        const char *text = state_str(r, &len);
        r->bad = r->bad || !add_override(d, text, len);
    }
}

/* A restart with nothing taken over: whom the process before left are disconnected. */
static void start_anew(struct daemon *d, const char *why)
{
    log_warning("connections from before this restart end: %s", why);
    state_free(&d->state);
    close(d->inherited.memory);
    d->inherited.memory = -1;
    d->id[0] = '\0';
    d->restarted = false;
}

/* Once: whatever becomes of it, what it says is not true a second time. */
static void take_what_was_left(struct daemon *d)
{
    struct saved_state *s = &d->state;
    char error[256];
    d->restarted = true;
    d->inherited.memory = d->handed.state;
    manager_forget(HANDED_STATE);
    manager_forget(HANDED_PARCEL);
    if (state_load(s, d->inherited.memory, error, sizeof(error)) < 0) {
        parcel_void(d->handed.parcel);
        start_anew(d, error);
        return;
    }
    if (parcel_unpack(d->handed.parcel, s->fds, s->nfds) == 0)
        return;
    s->nfds = 0;
    start_anew(d, "what was left is not whole, or was taken up before");
}

void upgrade_inherit(struct daemon *d)
{
    char error[256];
    d->program = realpath("/proc/self/exe", NULL);
    if (d->inherited.memory < 0 && d->handed.state >= 0)
        take_what_was_left(d);
    else if (d->inherited.memory >= 0 &&
             state_load(&d->state, d->inherited.memory, error, sizeof(error)) < 0)
        upgrade_refuse(d, error);
    if (d->handed.state < 0 && d->handed.parcel >= 0) { /* nobody can say who is in it */
        manager_forget(HANDED_PARCEL);
        parcel_void(d->handed.parcel);
    }
    if (d->inherited.memory < 0)
        return;
    struct state_reader r = state_read(&d->state);
    (void)state_enter(&r, 1);
    (void)state_enter(&r, 10);
    if (d->restarted) /* as the files say it */
        r.bad = r.bad || cursor_skip(&r.in) < 0;
    else
        read_overrides(d, &r);
    state_text(&r, d->id, sizeof(d->id));
    if (r.bad && d->restarted)
        start_anew(d, "the state cannot be read");
    else if (r.bad)
        upgrade_refuse(d, "the state cannot be read");
}

static void read_head(struct head *h, struct state_reader *r)
{
    struct state_tuple t = state_enter(r, 10);
    r->bad = r->bad || cursor_skip(&r->in) < 0 || cursor_skip(&r->in) < 0;
    state_text(r, h->place, sizeof(h->place));
    state_text(r, h->was, sizeof(h->was));
    h->new_us = state_int(r);
    h->still_since = state_int(r);
    h->clients = (unsigned)state_uint(r);
    h->asked = state_bool(r);
    h->session = state_uint(r);
    h->id = state_uint(r);
    state_leave(r, &t);
}

static bool same_place(const struct daemon *d, const struct head *h)
{
    struct buf place = BUF_INIT;
    const char *text;
    size_t len;
    pack_place(&d->config, &place);
    struct cursor in = cursor_of(place.data, place.len);
    bool same = cursor_str(&in, &text, &len) == 0 && strlen(h->place) == len &&
                memcmp(text, h->place, len) == 0;
    buf_free(&place);
    return same;
}

void upgrade_check(struct daemon *d)
{
    struct head h;
    if (!d->restarted)
        return;
    struct state_reader r = state_read(&d->state);
    uint32_t n = state_count(&r);
    read_head(&h, &r);
    if (r.bad || n < 9)
        start_anew(d, "the state cannot be read");
    else if (!same_place(d, &h))
        start_anew(d, "the configuration names another Redis by now, or other keys in it");
}

static void on_answer_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    upgrade_done(arg);
}

static void note(struct daemon *d, const struct head *h)
{
    struct upgrade *u = d->upgrade = alloc_zeroed(1, sizeof(*u));
    struct timeval patience = {.tv_sec = ANSWER_MS / 1000};
    u->state = d->inherited.returned ? RETURNED : TAKEN;
    u->still_since = h->still_since;
    u->clients = h->clients;
    u->restarted = d->restarted;
    u->id = h->id;
    snprintf(u->was, sizeof(u->was), "%s", h->was);
    u->asked = h->asked ? sessions_find(d->sessions, h->session) : NULL;
    if (u->asked != NULL)
        session_ref(u->asked);
    u->tick = evtimer_new(d->base, on_answer_due, d);
    event_add(u->tick, &patience);
}

/* A restart listens where a start would, and lets the same users come; with the same socket, unless
 * that would be another one. */
static void prefer_handed(struct daemon *d, struct http_left *left)
{
    if (d->handed.clients >= 0 || !listener_is_as_set(d->listener, &d->config)) {
        listener_close(d->listener);
        d->listener = NULL;
    }
    if (d->handed.metrics >= 0 && left->fd >= 0) {
        close(left->fd);
        left->fd = -1;
    }
}

static int resume_rest(struct daemon *d, struct state_reader *r, char *error, size_t size)
{
    struct state_tuple t = state_enter(r, 2);
    struct http_left left;
    d->listener = listener_resume(d->base, r, daemon_accept, d);
    if (d->listener == NULL || http_resume(&left, &d->config, r) < 0)
        return -1;
    if (d->restarted)
        prefer_handed(d, &left);
    if (left.fd >= 0 && (d->http = daemon_http(d, left.fd, error, size)) == NULL)
        return -1;
    if (d->http != NULL)
        http_adopt(d->http, &left);
    state_leave(r, &t);
    if (d->embedded == NULL)
        return r->bad || !cursor_nil(&r->in) ? -1 : 0;
    if (d->restarted)
        return r->bad || !cursor_nil(&r->in) ? -1 : embedded_start(d->embedded, error, size);
    return embedded_resume(d->embedded, r, error, size);
}

/* Where nobody looks any more it is forgotten. What an older program has left has none. */
static int resume_past(struct daemon *d, uint32_t parts, struct state_reader *r)
{
    bool shown = d->config.metrics_viewer != VIEWER_OFF &&
                 (d->handed.metrics >= 0 || strcmp(d->config.metrics_listen, "off") != 0);
    if (parts < 10)
        return 0;
    if (!shown) {
        r->bad = r->bad || cursor_skip(&r->in) < 0;
        return r->bad ? -1 : 0;
    }
    return dispatch_resume_past(d->dispatch, d->base, r);
}

/* What an older program has left has none: it had no cluster. */
static int resume_commits(struct daemon *d, uint32_t parts, struct state_reader *r)
{
    return parts < 11 ? 0 : lanes_resume(exec_lanes(d->exec), r);
}

static int resume_models(struct daemon *d, uint32_t parts, struct state_reader *r)
{
    return parts < 12 ? 0 : registry_resume(d->registry, r);
}

int upgrade_resume(struct daemon *d, char *error, size_t size)
{
    struct state_reader r = state_read(&d->state);
    struct head h;
    uint32_t n = state_count(&r);
    read_head(&h, &r);
    if (!same_place(d, &h)) {
        snprintf(error, size,
                 "the configuration names another Redis, or other keys in it; that takes "
                 "a restart");
        return -1;
    }
    if (n == 1 && d->inherited.report >= 0)
        successor_report(&d->inherited, NULL);
    clock_new_from(h.new_us);
    snprintf(error, size, "what was handed over cannot be taken up: %s", strerror(EPROTO));
    errno = 0;
    if (exec_resume(d->exec, &r) < 0 || sessions_resume(d->sessions, &r) < 0 ||
        lock_requests_resume(d->lock_requests, d->sessions, &r) < 0 ||
        leases_resume(d->leases, &r) < 0 || watches_resume(d->watches, d->sessions, &r) < 0 ||
        monitors_resume(dispatch_monitors(d->dispatch), d->sessions, &r) < 0 ||
        resume_rest(d, &r, error, size) < 0 || resume_past(d, n, &r) < 0 ||
        resume_commits(d, n, &r) < 0 || resume_models(d, n, &r) < 0) {
        if (errno != 0)
            snprintf(error, size, "what was handed over cannot be taken up: %s", strerror(errno));
        return -1;
    }
    if (d->inherited.report >= 0)
        successor_report(&d->inherited, NULL);
    note(d, &h);
    state_free(&d->state);
    close(d->inherited.memory);
    if (d->inherited.way_back >= 0)
        close(d->inherited.way_back);
    d->inherited = (struct inheritance){-1, -1, -1, 0};
    d->taken_over = true;
    return 0;
}

void upgrade_done(struct daemon *d)
{
    struct upgrade *u = d->upgrade;
    if (d->announced)
        lock_requests_see(d->lock_requests);
    if (u != NULL && u->state == RETURNED) {
        fail(d, "the new program could not go on after all; the log says why");
        return;
    }
    if (u == NULL || u->state != TAKEN)
        return;
    double pause = (double)(clock_boot_ns() - u->still_since) / 1e9;
    log_notice("%s from %s to " RAPYER_VERSION
               ": %u connections were taken over, requests stood still for %.1f ms",
               u->restarted ? "restarted" : "upgraded", u->was, u->clients, pause * 1e3);
    if (u->asked != NULL && session_open(u->asked)) {
        struct buf *out = session_result(u->asked, u->id);
        pack_map(out, 5);
        pack_cstr(out, "was");
        pack_cstr(out, u->was);
        pack_cstr(out, "is");
        pack_cstr(out, RAPYER_VERSION);
        pack_cstr(out, "clients");
        pack_uint(out, u->clients);
        pack_cstr(out, "still");
        pack_float(out, pause);
        pack_cstr(out, "ready");
        pack_bool(out, d->announced);
        session_done(u->asked);
    }
    upgrade_free(d);
}
