/* rapyerd: puts the parts together, and takes them apart in order.
 *
 *   listener ─► sessions ─► dispatch ─► exec ─► lane ─► upstream ─► Redis
 *                              └──► registry ───────────────┘         └─ embedded, if so configured
 */
#include "daemon/base/clock.h"
#include "daemon/base/memory.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/refresh.h"
#include "daemon/metrics/spans.h"
#include "daemon/redis/credentials.h"
#include "daemon/redis/dial.h"
#include "daemon/reload.h"
#include "daemon/upgrade.h"
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <uuid/uuid.h>

#define STOP_TIMEOUT_MS 5000 /* for commits that are under way */

/* ---- what the parts report ---- */

static void on_message(void *arg, struct session *s, const struct rpc *msg)
{
    struct daemon *d = arg;
    dispatch_message(d->dispatch, s, msg);
}

static bool on_fault(void *arg, struct session *s, uint64_t id, const struct fault *f)
{
    struct daemon *d = arg;
    return dispatch_fault(d->dispatch, s, id, f);
}

static void on_drained(void *arg, struct session *s)
{
    struct daemon *d = arg;
    exec_drained(d->exec, s);
    watches_client_drained(d->watches, s);
}

static void on_close(void *arg, struct session *s)
{
    struct daemon *d = arg;
    exec_drained(d->exec, s);
    watches_client_gone(d->watches, s);
    dispatch_client_gone(d->dispatch, s);
    lock_requests_client_gone(d->lock_requests, s);
}

static void on_want(void *arg, struct lock *l, enum lock_mode mode)
{
    struct daemon *d = arg;
    leases_want(d->leases, l, mode);
}

static void on_eased(void *arg, struct lock *l)
{
    struct daemon *d = arg;
    leases_eased(d->leases, l);
}

static void on_lost(void *arg, struct hold *h)
{
    struct daemon *d = arg;
    lock_requests_lost(d->lock_requests, h);
}

static void on_waiting(void *arg, struct wait *w)
{
    struct daemon *d = arg;
    probes_waiting(d->probes, w);
}

static void on_ended(void *arg, struct wait *w)
{
    struct daemon *d = arg;
    probes_ended(d->probes, w);
}

static void on_metrics(void *arg, struct page *p)
{
    struct daemon *d = arg;
    dispatch_figures(d->dispatch, p);
}

static bool on_ready_asked(void *arg, char *why, size_t size)
{
    struct daemon *d = arg;
    return dispatch_may_serve(d->dispatch, why, size);
}

static void on_ask(void *arg, struct http_ask *ask)
{
    struct daemon *d = arg;
    char why[400] = "";
    dispatch_may_serve(d->dispatch, why, sizeof(why));
    if (d->viewer != NULL)
        viewer_ask(d->viewer, ask, why);
    else
        http_refuse(ask, 503, why);
}

static const char *where(void *arg, const struct lock *l)
{
    (void)arg;
    return lease_where(l);
}

static const char *away(void *arg, const struct lock *l)
{
    (void)arg;
    return lease_away(l);
}

static void on_taken(void *arg, struct lock *l)
{
    struct daemon *d = arg;
    l->stamp = exec_taken(d->exec);
}

static void on_lost_lease(void *arg, struct lock *l, int64_t fence)
{
    struct daemon *d = arg;
    leases_refused(d->leases, l, fence);
}

static void on_bus_message(void *arg, const void *payload, size_t len)
{
    struct daemon *d = arg;
    if (!registry_message(d->registry, payload, len) && !leases_message(d->leases, payload, len))
        (void)probes_message(d->probes, payload, len);
}

static void on_bus_listening(void *arg, struct upstream *up)
{
    struct daemon *d = arg;
    leases_listening(d->leases, up);
    if (up == lane_upstream(exec_lane(d->exec)))
        registry_refresh(d->registry, NULL, NULL); /* what was said before was not heard */
}

void daemon_accept(void *arg, int fd)
{
    struct daemon *d = arg;
    sessions_accept(d->sessions, fd);
}

static void serve(struct daemon *d, const struct upstream *up)
{
    bool first = !d->announced;
    d->announced = true;
    if (first) {
        log_notice("ready: serving %s from %s", d->config.socket, upstream_info(up)->server);
        sd_notify(0, "READY=1\nSTATUS=Redis answers");
    }
    dispatch_ready(d->dispatch);
    if (first)
        upgrade_done(d);
}

static void on_schema(void *arg)
{
    struct daemon *d = arg;
    serve(d, lane_upstream(exec_lane(d->exec)));
}

/* A master that is just back says so of all slots; it is looked for again, and then read. */
static void on_schema_elsewhere(void *arg)
{
    struct daemon *d = arg;
    lane_doubt_place(exec_lane(d->exec));
}

static void on_named(void *arg, bool tags)
{
    struct daemon *d = arg;
    exec_named(d->exec, tags);
}

static void on_link(void *arg)
{
    struct daemon *d = arg;
    if (!router_is_cluster(lanes_router(exec_lanes(d->exec))))
        leases_link_up(d->leases);
}

static void on_links(void *arg)
{
    struct daemon *d = arg;
    bus_links(d->bus);
    leases_links(d->leases);
    dispatch_link_up(d->dispatch);
    watches_links(d->watches);
    /* The models are known from the process before: any master will do. */
    const struct upstream *up = router_any(lanes_router(exec_lanes(d->exec)));
    if (!d->announced && registry_loaded(d->registry) && up != NULL)
        serve(d, up);
}

static void on_link_ready(void *arg)
{
    struct daemon *d = arg;
    watches_gap(d->watches);
    registry_load(d->registry);
    dispatch_link_up(d->dispatch);
    if (d->announced)
        sd_notify(0, "STATUS=Redis answers");
}

static void on_learned(void *arg, bool asked)
{
    struct daemon *d = arg;
    exec_learned(d->exec, asked);
}

/* Some of them may have indexes now. */
static void on_models(void *arg)
{
    struct daemon *d = arg;
    indexer_wake(d->indexer);
}

static void on_behind(void *arg)
{
    struct daemon *d = arg;
    registry_refresh(d->registry, on_learned, d);
}

static void on_link_down(void *arg)
{
    struct daemon *d = arg;
    if (!router_is_cluster(lanes_router(exec_lanes(d->exec))))
        leases_link_down(d->leases);
    if (d->sentinels != NULL)
        sentinels_ask(d->sentinels);
    sd_notify(0, "STATUS=Redis cannot be reached");
}

static void connect_redis(struct daemon *d)
{
    static const struct exec_callbacks cb = {.on_link = on_link,
                                             .on_ready = on_link_ready,
                                             .on_down = on_link_down,
                                             .on_links = on_links,
                                             .on_behind = on_behind};
    exec_start(d->exec, &cb, d);
    bus_start(d->bus);
}

/* The embedded Redis has its socket; Sentinels name the master. */
static void on_address(void *arg, const char *address)
{
    struct daemon *d = arg;
    upstream_set_address(lane_upstream(exec_lane(d->exec)), address);
    bus_set_address(d->bus, address);
    coherence_set_address(exec_coherence(d->exec), address);
    if (upstream_state(lane_upstream(exec_lane(d->exec))) == UPSTREAM_DOWN)
        connect_redis(d);
}

static void on_failover(void *arg)
{
    struct daemon *d = arg;
    upstream_hold(lane_upstream(exec_lane(d->exec)), "a replica is about to take its place");
}

static void on_no_master(void *arg, const char *why)
{
    struct daemon *d = arg;
    upstream_no_address(lane_upstream(exec_lane(d->exec)), why);
}

static void on_embedded_stopped(void *arg)
{
    struct daemon *d = arg;
    event_base_loopbreak(d->base);
}

/* ---- stopping ---- */

/* Answers whoever still waits, and closes the sessions. */
static void dismiss(struct daemon *d)
{
    struct sessions *all = d->sessions;
    d->sessions = NULL; /* on_markers_gone may come from here */
    if (all == NULL)
        return;
    viewer_free(d->viewer);
    d->viewer = NULL;
    dispatch_stop(d->dispatch);
    indexer_stop(d->indexer);
    remains_stop(d->remains);
    exec_stop(d->exec);
    sessions_free(all);
}

static void end(struct daemon *d)
{
    event_del(d->stop_tick);
    dismiss(d);
    if (d->embedded != NULL) {
        sd_notify(0, "STATUS=stopping: the embedded Redis saves, for 10 s more at most");
        embedded_stop(d->embedded);
    } else {
        event_base_loopbreak(d->base);
    }
}

static void on_markers_gone(void *arg)
{
    struct daemon *d = arg;
    if (d->sessions != NULL)
        end(d);
}

static void on_leases_gone(void *arg)
{
    struct daemon *d = arg;
    remains_stop(d->remains); /* its answer is ahead of those */
    if (!lanes_forget(exec_lanes(d->exec), on_markers_gone, d))
        end(d);
}

static void on_stop_tick(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;
    (void)fd;
    (void)what;
    if (clock_mono_ms() > d->stop_deadline) {
        if (exec_waiting(d->exec) > 0)
            log_warning("stopping; %u requests could not be carried out", exec_waiting(d->exec));
        end(d);
        return;
    }
    long long left = d->stop_deadline - clock_mono_ms();
    if (d->leaving) {
        sd_notifyf(0,
                   "STATUS=stopping: locks are given back to other hosts, for %lld ms more at most",
                   left);
        return;
    }
    if (!lanes_quiet(exec_lanes(d->exec)) || exec_waiting(d->exec) > 0) {
        sd_notifyf(0, "STATUS=stopping: %u requests wait for Redis, for %lld ms more at most",
                   exec_waiting(d->exec), left);
        return;
    }
    d->leaving = true;
    leases_stop(d->leases, on_leases_gone, d);
}

static void stop(struct daemon *d)
{
    struct timeval tick = {.tv_usec = 10000};
    listener_close(d->listener);
    d->listener = NULL;
    dispatch_stop(d->dispatch);
    d->stop_deadline = clock_mono_ms() + STOP_TIMEOUT_MS;
    event_add(d->stop_tick, &tick);
}

static void on_stop(struct daemon *d, int sig)
{
    if (d->stopping) {
        event_base_loopbreak(d->base); /* asked twice: at once */
        return;
    }
    d->stopping = true;
    upgrade_cancel(d, "rapyerd is stopping");
    log_notice("stopping on %s", strsignal(sig));
    sd_notify(0, "STOPPING=1");
    if (sig != SIGTERM || !upgrade_by_restart(d, stop))
        stop(d);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct signalfd_siginfo sig;
    (void)what;
    while (read(fd, &sig, sizeof(sig)) == (ssize_t)sizeof(sig)) {
        if (sig.ssi_signo == SIGHUP)
            reload_on_signal(arg);
        else
            on_stop(arg, (int)sig.ssi_signo);
    }
}

/* From the loop: who stands still in it is not alive. */
static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    sd_notify(0, "WATCHDOG=1");
}

static void feed_watchdog(struct daemon *d)
{
    uint64_t us = 0;
    if (sd_watchdog_enabled(0, &us) <= 0)
        return;
    struct timeval third = {.tv_sec = (time_t)(us / 3 / 1000000),
                            .tv_usec = (suseconds_t)(us / 3 % 1000000)};
    d->watchdog = event_new(d->base, -1, EV_PERSIST, on_watchdog, d);
    event_add(d->watchdog, &third);
}

/* ---- starting ---- */

static void start_locks(struct daemon *d)
{
    static const struct locks_callbacks locks_cb = {.want = on_want,
                                                    .eased = on_eased,
                                                    .lost = on_lost,
                                                    .waiting = on_waiting,
                                                    .ended = on_ended,
                                                    .where = where,
                                                    .away = away};
    static const struct leases_callbacks leases_cb = {.taken = on_taken};
    static const struct bus_callbacks bus_cb = {.message = on_bus_message,
                                                .listening = on_bus_listening};
    struct router *router = lanes_router(exec_lanes(d->exec));
    reload_limits(d);
    d->locks = locks_new(d->base, &d->lock_limits, &locks_cb, d);
    d->bus = bus_new(d->base, &d->config, d->id, router, &bus_cb, d);
    d->leases = leases_new(d->base, &d->config, d->id, router, exec_names(d->exec), d->bus,
                           d->locks, &leases_cb, d);
    d->probes = probes_new(d->base, &d->config, d->id, d->bus, d->locks);
    d->lock_requests = lock_requests_new(d->exec, d->locks, d->leases);
    exec_set_lock_requests(d->exec, d->lock_requests);
    exec_on_lost_lease(d->exec, on_lost_lease, d);
    exec_on_written(d->exec, refresh_answers);
}

/* The page asks as a client, so the sessions are there by now. */
struct http *daemon_http(struct daemon *d, int fd, char *error, size_t size)
{
    struct http_callbacks cb = {.write = on_metrics, .ready = on_ready_asked};
    if (d->config.metrics_viewer != VIEWER_OFF) {
        d->viewer =
            viewer_new(d->base, &d->config, d->sessions, dispatch_overview(d->dispatch, d->base));
        cb.ask = on_ask;
    }
    return http_open(d->base, &d->config, fd, &cb, d, error, size);
}

static void make_parts(struct daemon *d)
{
    static const struct session_handler handler = {.on_message = on_message,
                                                   .on_drained = on_drained,
                                                   .on_close = on_close,
                                                   .on_fault = on_fault};
    static const struct registry_callbacks registry_cb = {
        .on_named = on_named, .on_loaded = on_schema, .on_elsewhere = on_schema_elsewhere};
    d->schema = schema_new();
    d->exec = exec_new(d->base, &d->config, d->schema, d->id);
    d->indexer = indexer_new(d->base, d->exec, d->id);
    d->remains = remains_new(d->base, d->exec, d->id);
    start_locks(d);
    d->registry = registry_new(d->schema, exec_indexes(d->exec), lanes_router(exec_lanes(d->exec)),
                               &d->config, &registry_cb, d);
    registry_on_change(d->registry, on_models, d);
    d->watches = watches_new(d->base, &d->config, exec_names(d->exec), d->schema,
                             exec_lanes(d->exec), exec_coherence(d->exec));
    d->dispatch = dispatch_new(d->base, d->exec, d->registry, d->watches);
    d->sessions = sessions_new(d->base, &d->config, &handler, d);
    sessions_set_rules(d->sessions, d->rules);
    dispatch_sessions(d->dispatch, d->sessions);
    dispatch_manage(
        d->dispatch, &d->config,
        &(struct manage_hooks){
            .reload = reload_asked, .set = reload_set, .upgrade = upgrade_ask, .arg = d});
}

/* What was not taken over. */
static int listen_there(struct daemon *d, char *error, size_t size)
{
    const struct handed *handed = &d->handed;
    if (d->listener == NULL)
        d->listener =
            listener_open(d->base, &d->config, handed->clients, daemon_accept, d, error, size);
    if (d->listener == NULL)
        return -1;
    if (d->http != NULL || (handed->metrics < 0 && strcmp(d->config.metrics_listen, "off") == 0))
        return 0;
    d->http = daemon_http(d, handed->metrics, error, size);
    return d->http != NULL ? 0 : -1;
}

static int start_redis(struct daemon *d, char *error, size_t size)
{
    if (strncmp(d->config.redis, "sentinel:", 9) == 0) {
        static const struct sentinels_callbacks sentinels_cb = {
            .on_master = on_address, .on_failover = on_failover, .on_trouble = on_no_master};
        d->sentinels = sentinels_new(d->base, &d->config, &sentinels_cb, d);
        dispatch_sentinels(d->dispatch, d->sentinels);
        sentinels_start(d->sentinels);
        connect_redis(d); /* when they have named one */
        return 0;
    }
    if (strcmp(d->config.redis, "embedded") != 0)
        connect_redis(d);
    else if (!d->taken_over) /* else it is there */
        return embedded_start(d->embedded, error, size);
    return 0;
}

/* What was handed over is taken up before anything is asked of Redis: until then there is a way
 * back. */
static int start(struct daemon *d)
{
    static const struct embedded_callbacks embedded_cb = {.on_ready = on_address,
                                                          .on_stopped = on_embedded_stopped};
    char error[512] = "";
    bool embedded = strcmp(d->config.redis, "embedded") == 0;
    make_parts(d);
    if (embedded)
        d->embedded = embedded_new(d->base, &d->config, &embedded_cb, d);
    if (d->inherited.memory >= 0 && upgrade_resume(d, error, sizeof(error)) < 0)
        upgrade_refuse(d, error);
    else if ((embedded || dial_allowed(d->config.redis, error, sizeof(error)) == 0) &&
             listen_there(d, error, sizeof(error)) == 0 &&
             start_redis(d, error, sizeof(error)) == 0)
        return 0;
    log_error("%s", error);
    return -1;
}

/* They are blocked for good, and read: one that comes while this program becomes another
 * (upgrade.h) waits for that one, where a handler would have been told of it in vain. */
static void take_signals(struct daemon *d)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGHUP);
    sigprocmask(SIG_SETMASK, &ours, NULL); /* all others come again (successor_exec) */
    int fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        abort();
    d->signals = event_new(d->base, fd, EV_READ | EV_PERSIST, on_signal, d);
    event_add(d->signals, NULL);
}

static void allow_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void setup(struct daemon *d)
{
    uint64_t seeds[2];
    uuid_t id;
    if (getrandom(seeds, sizeof(seeds), 0) != sizeof(seeds))
        abort();
    hash_seed = seeds[0];
    dict_seed(seeds[1]);
    uuid_generate_random(id);
    if (d->id[0] == '\0')
        uuid_unparse_lower(id, d->id);
    signal(SIGPIPE, SIG_IGN);
    d->base = event_base_new();
    if (d->base == NULL)
        abort();
    take_signals(d);
    d->stop_tick = event_new(d->base, -1, EV_PERSIST, on_stop_tick, d);
}

static void take_apart(struct daemon *d)
{
    upgrade_cancel(d, "rapyerd is stopping");
    if (d->listener != NULL)
        listener_close(d->listener);
    dismiss(d); /* before http: it may owe an answer to a page */
    http_close(d->http);
    sentinels_free(d->sentinels);
    d->sentinels = NULL;
    dispatch_free(d->dispatch);
    exec_free(d->exec); /* tells the leases and watches about requests on the way */
    indexer_free(d->indexer);
    remains_free(d->remains);
    watches_free(d->watches);
    lock_requests_free(d->lock_requests);
    probes_free(d->probes);
    leases_free(d->leases);
    bus_free(d->bus);
    locks_free(d->locks);
    registry_free(d->registry);
    if (d->embedded != NULL)
        embedded_free(d->embedded);
    schema_free(d->schema);
    close(event_get_fd(d->signals));
    event_free(d->signals);
    event_free(d->stop_tick);
    if (d->watchdog != NULL)
        event_free(d->watchdog);
    event_base_free(d->base);
    free(d->program);
    log_end();
    rules_free(d->rules);
    for (size_t i = 0; i < sizeof(d->set) / sizeof(*d->set); i++)
        free(d->set[i]);
    credentials_free(&d->config);
    config_free(&d->config);
}

static const char usage[] =
    "usage: rapyerd [options]\n"
    "Serves nested models in Redis to the processes of this host, over a unix socket.\n"
    "\n"
    "  -c, --config FILE              settings; /etc/rapyerd/rapyerd.conf if it is there\n"
    "  -o, --option SECTION.NAME=VALUE  one setting, over the file; may be repeated\n"
    "      --check                    reads the settings, says what is wrong, and ends\n"
    "      --print-sample             prints a commented sample of the settings\n"
    "  -V, --version\n"
    "  -h, --help\n"
    "\n"
    "It runs in the foreground and logs to standard error. SIGTERM stops it, SIGHUP reads the\n"
    "settings again.\n";

/* What the command line asks for: -1 to go on, else the exit status. */
static int arguments(struct daemon *d, int argc, char **argv, bool *check)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"option", required_argument, NULL, 'o'},
        {"check", no_argument, NULL, 'k'},
        {"print-sample", no_argument, NULL, 'p'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "c:o:Vh", options, NULL)) != -1) {
        switch (c) {
        case 'c': d->config_file = optarg; break;
        case 'o':
            if (d->noverrides == sizeof(d->overrides) / sizeof(*d->overrides)) {
                fprintf(stderr, "rapyerd: too many options; use a file\n");
                return 2;
            }
            d->overrides[d->noverrides++] = optarg;
            break;
        case 'k': *check = true; break;
        case 'p': config_print_sample(); return 0;
        case 'V': puts("rapyerd " RAPYER_VERSION); return 0;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "rapyerd: unexpected argument '%s'\n%s", argv[optind], usage);
        return 2;
    }
    return -1;
}

/* -1: `error` says what is wrong with them. */
static int read_settings(struct daemon *d, char *error, size_t size)
{
    struct config *c = &d->config;
    if (config_load(c, d->config_file, d->overrides, d->noverrides, error, size) < 0)
        return -1;
    if (!http_address_fits(c->metrics_listen))
        snprintf(error, size,
                 "metrics.listen: \"%s\" is not off, unix:/path, or an address of this host with a "
                 "port, as 127.0.0.1:9680 or [::1]:9680",
                 c->metrics_listen);
    else if (!spans_address_fits(c->traces))
        snprintf(error, size,
                 "metrics.traces: \"%s\" is not off, or as http://127.0.0.1:4318/v1/traces with an "
                 "address in numbers or localhost, and no query",
                 c->traces);
    else if (c->rights_file[0] != '\0' &&
             (d->rules = rules_read(c->rights_file, dispatch_ruled(), error, size)) == NULL)
        ;
    else if (credentials_load(c, error, size) == 0)
        return 0;
    rules_free(d->rules);
    config_free(c);
    return -1;
}

int main(int argc, char **argv)
{
    struct daemon d = {.inherited = successor_inherit(), .argv = argv};
    char error[512];
    bool check = false;
    memory_setup();
    int rc = arguments(&d, argc, argv, &check);
    if (rc >= 0)
        return rc;
    log_setup(LOG_LEVEL_INFO, LOG_TEXT);
    allow_files(); /* before any comes */
    if (handed_take(&d.handed, error, sizeof(error)) < 0) {
        log_error("%s", error);
        return 1;
    }
    upgrade_inherit(&d);
    if (read_settings(&d, error, sizeof(error)) < 0) {
        upgrade_refuse(&d, error);
        free(d.program);
        fprintf(stderr, "rapyerd: %s\n", error);
        return 2;
    }
    log_setup(d.config.log_level, d.config.log_format);
    if (check) {
        free(d.program);
        rules_free(d.rules);
        credentials_free(&d.config);
        config_free(&d.config);
        return 0;
    }
    upgrade_check(&d);
    setup(&d);
    feed_watchdog(&d);
    rc = start(&d) < 0 ? 1 : 0;
    if (rc == 0)
        event_base_dispatch(d.base);
    take_apart(&d);
    return rc;
}
