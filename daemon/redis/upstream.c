/* Whatever breaks the link ends in lost():
 * it closes, goes DOWN, plans the next attempt and only then tells the owners, so that they see
 * a settled link whatever they call. Nothing is told from inside upstream_send: the stream keeps
 * a failed write to itself until the next turn of the loop. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/redis/dial.h"
#include "daemon/redis/info.h"
#include "daemon/redis/reply.h"
#include "daemon/redis/rights.h"
#include "daemon/redis/upstream_inside.h"
#include "protocol/alloc.h"
#include "protocol/fault.h"
#include <errno.h>
#include <event2/util.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENT_NAME "rapyerd"
#define TLS_ALERT 0x15  /* the first byte that a TLS server says to who speaks none */
#define SERVER_SHIFT 12 /* of the epoch: what is above counts the servers */

static void arm(struct event *e, int64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(e, &tv);
}

/* link */

static void close_link(struct upstream *u)
{
    dial_cancel(u->dial);
    u->dial = NULL;
    if (u->stream)
        stream_close(u->stream);
    u->stream = NULL;
    u->tls = NULL;
    if (u->delivering && !u->spent)
        u->spent = u->reader;
    else
        reply_reader_free(u->reader);
    u->reader = NULL;
    event_del(u->timer);
    event_del(u->overdue);
    u->state = UPSTREAM_DOWN;
    u->probed = 0;
    buf_free(&u->behind_bytes);
    u->links++;
}

static void set_why(struct upstream *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void set_why(struct upstream *u, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(u->why, sizeof(u->why), fmt, args);
    va_end(args);
}

/* Once per reason: an outage of an hour is one line. */
static void log_trouble(struct upstream *u)
{
    if (strcmp(u->why, u->logged) == 0)
        return;
    log_line(u->cb.quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "%s", u->why);
    memcpy(u->logged, u->why, sizeof(u->logged));
}

/* Full jitter: many daemons that lost one Redis do not come back in step. */
static void plan_attempt(struct upstream *u, bool soon)
{
    uint64_t most = u->config->reconnect_min ? u->config->reconnect_min : 1;
    if (!soon) {
        for (unsigned i = 0; i < u->attempts && most < u->config->reconnect_max; i++)
            most *= 2;
        if (most > u->config->reconnect_max && u->config->reconnect_max)
            most = u->config->reconnect_max;
        u->attempts++;
    }
    uint32_t random;
    evutil_secure_rng_get_bytes(&random, sizeof(random));
    arm(u->timer, 1 + random % most);
}

static void tell_lost(struct upstream *u)
{
    requests_tell_lost(&u->requests);
    requests_tell_lost(&u->behind);
}

static void lost(struct upstream *u, bool soon)
{
    bool was_up = u->state == UPSTREAM_UP;
    if (was_up && clock_mono_ms() - u->up_since >= u->config->reconnect_max)
        u->attempts = 0;
    close_link(u);
    log_trouble(u);
    if (u->started && u->address && !u->held)
        plan_attempt(u, soon);
    if (was_up) {
        u->epoch++;
        u->absent_since = u->answered;
    }
    tell_lost(u);
    if (was_up)
        u->cb.on_down(u->arg, u->why);
    else if (u->cb.on_failed != NULL)
        u->cb.on_failed(u->arg, u->why);
}

static const char *who(const struct upstream *u)
{
    return u->cb.sentinel ? "Sentinel" : "Redis";
}

static void lose(struct upstream *u, const char *why)
{
    set_why(u, "%s at %s: %s", who(u), u->address, why);
    lost(u, false);
}

/* greeting */

static const char *password(const struct upstream *u)
{
    return u->cb.sentinel ? u->config->sentinel_password : u->config->redis_password;
}

/* Redis may quote the words of a command that it does not know, the password among them. */
static void auth_refused(struct upstream *u, const char *error)
{
    char why[WHY_MAX / 2];
    if (strncmp(error, "ERR unknown command", 19) == 0 || strstr(error, password(u)))
        error = "it does not know AUTH";
    int reread = config_reread_password(u->config, u->cb.sentinel, why, sizeof(why));
    bool address = strncmp(error, "ERR max number", 14) == 0 || strncmp(error, "DENIED", 6) == 0;
    set_why(u, "%s at %s refuses the %s: %s%s%s", who(u), u->address,
            address ? "connection" : "password", error,
            reread > 0   ? "; its file has another one by now, which is tried next"
            : reread < 0 ? "; "
                         : "",
            why);
    lost(u, reread > 0);
}

static void refused_right(struct upstream *u, enum greeting step, const char *error)
{
    static const char *const rights[GREET_COUNT] = {
        [GREET_SERVER] = "+info",  [GREET_REPLICATION] = "+info", [GREET_SELECT] = "+select",
        [GREET_ID] = "+client|id", [GREET_MULTI] = "+multi",      [GREET_EXEC] = "+exec",
    };
    struct buf line = BUF_INIT;
    rights_line(u->config, rights[step], &line);
    set_why(u, "Redis at %s does not let us: %s. %s", u->address, error, (char *)line.data);
    buf_free(&line);
    lost(u, false);
}

static void greeting_refused(struct upstream *u, enum greeting step, const char *error)
{
    static const char *const words[GREET_COUNT] = {
        [GREET_SERVER] = "INFO server", [GREET_REPLICATION] = "INFO replication",
        [GREET_SELECT] = "SELECT",      [GREET_NAME] = "CLIENT SETNAME",
        [GREET_ID] = "CLIENT ID",       [GREET_MULTI] = "MULTI",
        [GREET_EXEC] = "EXEC",          [GREET_PING] = "PING",
    };
    if (strncmp(error, "LOADING", 7) == 0) {
        set_why(u, "Redis at %s is loading its data", u->address);
        lost(u, true);
        return;
    }
    if (step == GREET_AUTH) {
        auth_refused(u, error);
        return;
    }
    if (strstr(error, "NOPERM") != NULL &&
        !u->cb.sentinel) { /* EXEC says EXECABORT in front of it */
        refused_right(u, step, error);
        return;
    }
    if (strncmp(error, "NOAUTH", 6) == 0)
        set_why(u, "%s at %s wants a password and none is configured", who(u), u->address);
    else if (step == GREET_SELECT && strncmp(error, "ERR DB index", 12) == 0)
        set_why(u, "Redis at %s has no database %u: %s", u->address, u->config->redis_db, error);
    else
        set_why(u, "%s at %s refuses %s: %s", who(u), u->address, words[step], error);
    lost(u, false);
}

/* Where rapyerd cannot do its work at all. The link is lost over it then. */
static void check_server(struct upstream *u)
{
    enum info_wanted wanted = u->cb.sentinel              ? WANTED_SENTINEL
                              : u->cb.on_redirect != NULL ? WANTED_NODE
                                                          : WANTED_REDIS;
    if (info_fits(&u->next, wanted, u->address, u->why, sizeof(u->why)))
        return;
    lost(u, false);
}

/* A Sentinel may not know yet who was promoted, or be behind. What a replica is told is lost. */
static void check_role(struct upstream *u)
{
    if (strcmp(u->next.role, "slave") != 0 || strncmp(u->config->redis, "sentinel:", 9) != 0)
        return;
    set_why(u, "Redis at %s is a replica, though a Sentinel names it as the master", u->address);
    lost(u, false);
}

static void greeted(struct upstream *u)
{
    if (!u->next.run_id[0] || (!u->next.client_id && !u->cb.sentinel)) {
        lose(u, "it does not say its run_id and our client id");
        return;
    }
    if (u->tls) {
        tls_describe(u->tls, u->next.tls, sizeof(u->next.tls));
        u->next.tls_ends = tls_ends(u->tls);
    }
    u->info = u->next;
    bool first = u->info.previous_run_id[0] == '\0';
    if (!first && strcmp(u->info.previous_run_id, u->info.run_id) != 0)
        u->epoch = ((u->epoch >> SERVER_SHIFT) + 1) << SERVER_SHIFT;
    u->state = UPSTREAM_UP;
    u->up_since = clock_mono_ms();
    u->silence.heard = u->greeted_at;
    u->why[0] = '\0';
    event_del(u->timer);
    log_line(u->cb.quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_NOTICE, "%s to %s at %s (%s%s)",
             u->logged[0] ? "connected again" : "connected", u->info.server, u->address,
             u->info.role, u->tls ? ", TLS" : "");
    u->logged[0] = '\0';
    u->cb.on_up(u->arg);
}

static void on_greeting(void *arg, unsigned index, redisReply *reply)
{
    struct upstream *u = arg;
    if (!reply)
        return;
    enum greeting step = u->steps[index];
    /* PING can be refused for a full disk or by an ACL: such a Redis still serves reads. */
    bool optional = step == GREET_NAME || (step == GREET_PING && reply->type == REDIS_REPLY_ERROR &&
                                           strncmp(reply->str, "LOADING", 7) != 0);
    if (reply->type == REDIS_REPLY_ERROR && !optional) {
        greeting_refused(u, step, reply->str);
        return;
    }
    const char *text = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    switch (step) {
    case GREET_ID: u->next.client_id = (uint64_t)reply->integer; break;
    case GREET_SERVER:
        info_server(text, &u->next);
        check_server(u);
        break;
    case GREET_REPLICATION:
        info_field(text, "role", u->next.role, sizeof(u->next.role));
        check_role(u);
        break;
    case GREET_PING: greeted(u); break;
    default: break;
    }
}

static bool has_password(const struct upstream *u)
{
    return password(u) && *password(u);
}

static void pack_auth(struct upstream *u, struct buf *out)
{
    const char *user = u->cb.sentinel ? u->config->sentinel_user : u->config->redis_user;
    if (user && *user)
        resp_words(out, "AUTH", user, password(u), NULL);
    else
        resp_words(out, "AUTH", password(u), NULL);
}

static void expect(struct upstream *u, unsigned nreplies, upstream_reply_fn *fn, void *arg)
{
    struct request request = {.fn = fn, .arg = arg, .nreplies = nreplies, .sent = clock_boot_ms()};
    requests_push(&u->requests, &request);
}

static void put_raw(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                    upstream_reply_fn *fn, void *arg)
{
    expect(u, nreplies, fn, arg);
    buf_append(stream_out(u->stream), resp, len);
}

static unsigned greet_master(struct upstream *u, unsigned n, struct buf *out)
{
    u->steps[n++] = GREET_REPLICATION;
    resp_words(out, "INFO", "replication", NULL);
    if (u->config->redis_db) {
        char db[16];
        snprintf(db, sizeof(db), "%u", u->config->redis_db);
        u->steps[n++] = GREET_SELECT;
        resp_words(out, "SELECT", db, NULL);
    }
    u->steps[n++] = GREET_NAME;
    resp_words(out, "CLIENT", "SETNAME", CLIENT_NAME, NULL);
    u->steps[n++] = GREET_ID;
    resp_words(out, "CLIENT", "ID", NULL);
    u->steps[n++] = GREET_MULTI;
    resp_words(out, "MULTI", NULL);
    u->steps[n++] = GREET_EXEC;
    resp_words(out, "EXEC", NULL);
    return n;
}

static void send_greeting(struct upstream *u)
{
    struct buf out = BUF_INIT;
    unsigned n = 0;
    if (has_password(u)) {
        u->steps[n++] = GREET_AUTH;
        pack_auth(u, &out);
    }
    u->steps[n++] = GREET_SERVER;
    resp_words(&out, "INFO", "server", NULL);
    if (!u->cb.sentinel)
        n = greet_master(u, n, &out);
    u->steps[n++] = GREET_PING;
    resp_words(&out, "PING", NULL);
    put_raw(u, out.data, out.len, n, on_greeting, u);
    stream_flush(u->stream);
    if (has_password(u))
        explicit_bzero(out.data, out.len);
    buf_free(&out);
}

/* stream */

static void settle_delivery(struct upstream *u)
{
    u->delivering = false;
    if (u->spent == NULL)
        return;
    reply_reader_free(u->spent);
    u->spent = NULL;
}

static bool is_push(const struct upstream *u, const redisReply *reply)
{
    if (!u->cb.on_push || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
        return false;
    const redisReply *kind = reply->element[0];
    if (kind->type != REDIS_REPLY_STRING)
        return false;
    return strcmp(kind->str, "message") == 0 || strcmp(kind->str, "smessage") == 0 ||
           strcmp(kind->str, "sunsubscribe") == 0; /* nobody asks for that */
}

static bool is_redirect(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR &&
           (strncmp(reply->str, "MOVED ", 6) == 0 || strncmp(reply->str, "ASK ", 4) == 0 ||
            strncmp(reply->str, "TRYAGAIN", 8) == 0 || strncmp(reply->str, "CLUSTERDOWN", 11) == 0);
}

void upstream_ignore(void *arg, unsigned index, redisReply *reply)
{
    (void)arg;
    (void)index;
    (void)reply;
}

/* False: the link the reply came from is gone. */
static bool take_reply(struct upstream *u, redisReply *reply)
{
    if (is_push(u, reply)) {
        uint64_t link = u->links;
        u->delivering = true;
        u->cb.on_push(u->arg, reply);
        settle_delivery(u);
        return link == u->links;
    }
    struct request *first = requests_first(&u->requests);
    if (!first) {
        bool said = reply->type == REDIS_REPLY_ERROR;
        char why[WHY_MAX / 2];
        snprintf(why, sizeof(why), "an answer that nothing was asked for%s%s", said ? ": " : "",
                 said ? reply->str : "");
        lose(u, why);
        return false;
    }
    if (u->late && !first->anyway) {
        lose(u, "it was silent for so long that another node may be in its place");
        return false;
    }
    uint64_t link = u->links;
    struct request request = *first;
    u->answered = request.sent;
    if (u->cb.on_redirect && is_redirect(reply)) {
        u->cb.on_redirect(u->arg, reply->str);
        reply = NULL;
        first->fn = upstream_ignore; /* it was told that it is lost */
    }
    if (++first->index == first->nreplies)
        requests_pop(&u->requests);
    else if (reply && reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "QUEUED") == 0)
        return true;
    u->delivering = true;
    request.fn(request.arg, request.index, reply);
    settle_delivery(u);
    return link == u->links;
}

/* Nobody waits for QUEUED, nor for the OK in front of it: what becomes of a MULTI is said at its
 * end. Here are those that come in one piece, as nearly all do. */
static void skip_queued(struct upstream *u)
{
    struct request *first = requests_first(&u->requests);
    if (first != NULL)
        first->index +=
            reply_queued(u->reader, first->nreplies - first->index - 1, first->index == 0);
}

static size_t on_input(void *arg, const uint8_t *data, size_t len)
{
    struct upstream *u = arg;
    redisReply *reply;
    bool good = reply_feed(u->reader, data, len) == 0;
    int status = 0;
    bool waits = u->config->commit_replicas > 0 || u->config->commit_fsync;
    int64_t more = waits ? u->config->commit_wait : 0; /* WAIT is answered when it may */
    u->last_input = clock_boot_ms();
    u->late = u->state == UPSTREAM_UP && silence_ends(&u->silence, u->last_input, more);
    if (u->state == UPSTREAM_GREETING && !u->tls && data[0] == TLS_ALERT) {
        lose(u, "it speaks TLS, and redis.tls is 0");
        return 0;
    }
    while (good) {
        skip_queued(u);
        status = reply_next(u->reader, &reply);
        if (status <= 0)
            break;
        if (!take_reply(u, reply))
            return 0;
    }
    if (good && status == 0)
        return len;
    lose(u, reply_error(u->reader));
    return 0;
}

static void on_end(void *arg, int err, size_t rest)
{
    (void)rest;
    struct upstream *u = arg;
    bool silent = u->state == UPSTREAM_GREETING && !u->tls && u->last_input < u->greeted_at;
    if (u->tls && tls_why(u->tls)[0])
        lose(u, tls_why(u->tls));
    else if (silent)
        lose(u, "it closed the connection at once; perhaps it wants TLS (redis.tls = 1)");
    else
        lose(u, err ? strerror(err) : "it closed the connection");
}

static const struct stream_callbacks stream_callbacks = {.on_input = on_input, .on_end = on_end};

static bool secure(struct upstream *u)
{
    const struct config *c = u->config;
    char host[256];
    if (!dial_host(u->address, host, sizeof(host)))
        return false;
    u->tls = tls_new(c->tls_files, stream_fd(u->stream),
                     *c->tls_server_name ? c->tls_server_name : host);
    if (u->tls)
        stream_secure(u->stream, u->tls);
    return u->tls;
}

static void on_dialed(void *arg, int fd, const char *why)
{
    struct upstream *u = arg;
    u->dial = NULL;
    if (fd < 0) {
        lose(u, why);
        return;
    }
    u->stream = stream_new(u->base, fd, &stream_callbacks, u);
    u->reader = reply_reader_new();
    if (!u->stream) {
        lose(u, strerror(errno));
        return;
    }
    if ((u->cb.sentinel ? u->config->sentinel_tls : u->config->tls) && !secure(u)) {
        lose(u, "TLS cannot begin");
        return;
    }
    u->state = UPSTREAM_GREETING;
    u->greeted_at = clock_boot_ms();
    u->next = (struct upstream_info){.previous_client_id = u->info.client_id};
    memcpy(u->next.previous_run_id, u->info.run_id, sizeof(u->info.run_id));
    int64_t spent = clock_mono_ms() - u->dialed;
    arm(u->timer, spent < u->config->connect_timeout ? u->config->connect_timeout - spent : 1);
    send_greeting(u);
}

static void dial_now(struct upstream *u)
{
    u->state = UPSTREAM_CONNECTING;
    u->dialed = clock_mono_ms();
    u->dial = dial_start(u->base, u->address, u->config->connect_timeout, on_dialed, u);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct upstream *u = arg;
    if (u->state == UPSTREAM_GREETING) {
        char why[160];
        bool shaking = u->tls && !tls_shaken(u->tls);
        const char *hint = !shaking ? ""
                           : u->up_since != 0
                               ? "; it stands still, or is too busy"
                               : "; perhaps its port is a plain one (redis.tls = 0), "
                                 "or it stands still";
        snprintf(why, sizeof(why), "connected, but no %s for %u ms%s",
                 shaking ? "TLS handshake" : "answer", u->config->connect_timeout, hint);
        lose(u, why);
    } else if (u->state == UPSTREAM_DOWN) {
        dial_now(u);
    }
}

/* Armed when something is asked and it is not running yet; while answers come it runs on. So a
 * request costs no timer of its own, and a long queue is no fault as long as it moves. */
static void on_overdue(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct upstream *u = arg;
    const struct request *first = requests_first(&u->requests);
    if (!first)
        return;
    int64_t since = first->sent > u->last_input ? first->sent : u->last_input;
    int64_t waited = clock_boot_ms() - since;
    if (waited < u->config->command_timeout) {
        arm(u->overdue, u->config->command_timeout - waited);
        return;
    }
    char why[80];
    snprintf(why, sizeof(why), "no answer for %u ms", u->config->command_timeout);
    lose(u, why);
}

void upstream_watch(struct upstream *u)
{
    if (!event_pending(u->overdue, EV_TIMEOUT, NULL))
        arm(u->overdue, u->config->command_timeout);
}

/* interface */

struct upstream *upstream_new(struct event_base *base, struct config *config,
                              const struct upstream_callbacks *cb, void *arg)
{
    struct upstream *u = alloc_zeroed(1, sizeof(*u));
    u->base = base;
    u->config = config;
    u->cb = *cb;
    u->arg = arg;
    u->epoch = 1;
    u->timer = evtimer_new(base, on_timer, u);
    u->overdue = evtimer_new(base, on_overdue, u);
    bool embedded = !config->redis || strcmp(config->redis, "embedded") == 0;
    bool sentinels = !embedded && strncmp(config->redis, "sentinel:", 9) == 0;
    bool named = sentinels || config_cluster(config) != NULL;
    if (!embedded && !named)
        u->address = alloc_str(config->redis);
    if (embedded)
        set_why(u, "the embedded Redis is starting");
    else if (named)
        set_why(u, sentinels ? "no Sentinel has named the master yet"
                             : "no node of the cluster has said yet who has the document's slot");
    else
        set_why(u, "not connected to Redis at %s yet", u->address);
    return u;
}

void upstream_free(struct upstream *u)
{
    if (!u)
        return;
    u->started = false;
    if (u->timer && u->overdue) {
        close_link(u);
        tell_lost(u);
    }
    requests_free(&u->requests);
    requests_free(&u->behind);
    if (u->timer)
        event_free(u->timer);
    if (u->overdue)
        event_free(u->overdue);
    free(u->address);
    free(u);
}

void upstream_start(struct upstream *u)
{
    u->started = true;
    if (u->address && u->state == UPSTREAM_DOWN)
        arm(u->timer, 0);
}

void upstream_stop(struct upstream *u, const char *why)
{
    u->started = false;
    close_link(u);
    set_why(u, "%s", why);
    tell_lost(u);
}

void upstream_set_address(struct upstream *u, const char *address)
{
    bool same = u->address && strcmp(u->address, address) == 0;
    if (same && u->state != UPSTREAM_DOWN)
        return;
    char *copy = alloc_str(address);
    u->held = false;
    if (u->state != UPSTREAM_DOWN)
        lose(u, "another address is used from now on");
    free(u->address);
    u->address = copy;
    u->attempts = 0;
    if (u->started)
        arm(u->timer, 0);
}

const char *upstream_address(const struct upstream *u)
{
    return u->address;
}

enum upstream_state upstream_state(const struct upstream *u)
{
    return u->state;
}

const struct upstream_info *upstream_info(const struct upstream *u)
{
    return &u->info;
}

void upstream_hold(struct upstream *u, const char *why)
{
    u->held = true;
    event_del(u->timer);
    if (u->state != UPSTREAM_DOWN)
        lose(u, why);
}

void upstream_no_address(struct upstream *u, const char *why)
{
    if (u->address)
        return;
    set_why(u, "%s", why);
    if (u->started)
        log_trouble(u);
}

uint32_t upstream_epoch(const struct upstream *u)
{
    return u->epoch;
}

bool upstream_same_server(uint32_t epoch, uint32_t other)
{
    return epoch >> SERVER_SHIFT == other >> SERVER_SHIFT;
}

int64_t upstream_absent_since(const struct upstream *u)
{
    return u->absent_since;
}

const char *upstream_why(const struct upstream *u)
{
    /* It may be UP again when somebody comes to say that it was not. */
    return u->why[0] != '\0' ? u->why : "the connection to Redis was lost";
}

bool upstream_put(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                  upstream_reply_fn *fn, void *arg)
{
    if (u->state != UPSTREAM_UP)
        return false;
    (upstream_holds(u) ? upstream_put_behind : put_raw)(u, resp, len, nreplies, fn, arg);
    return true;
}

void upstream_flush(struct upstream *u)
{
    if (u->state != UPSTREAM_UP)
        return;
    stream_flush(u->stream);
    if (u->requests.count > 0)
        upstream_watch(u);
}

bool upstream_send(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                   upstream_reply_fn *fn, void *arg)
{
    if (!upstream_put(u, resp, len, nreplies, fn, arg))
        return false;
    upstream_flush(u);
    return true;
}

bool upstream_give(struct upstream *u, struct blob *resp, unsigned nreplies, upstream_reply_fn *fn,
                   void *arg)
{
    if (u->state != UPSTREAM_UP)
        return false;
    if (upstream_holds(u)) {
        upstream_put_behind(u, resp->bytes.data, resp->bytes.len, nreplies, fn, arg);
        return true;
    }
    expect(u, nreplies, fn, arg);
    stream_give(u->stream, resp);
    upstream_flush(u);
    return true;
}

void upstream_reset(struct upstream *u, const char *why)
{
    if (u->state != UPSTREAM_DOWN)
        lose(u, why);
}

uint64_t upstream_asked(const struct upstream *u)
{
    return u->requests.pushed;
}

size_t upstream_unsent(const struct upstream *u)
{
    return u->stream ? stream_unsent(u->stream) + u->behind_bytes.len : 0;
}
