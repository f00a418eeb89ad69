/* session: see session.h for the contract.
 *
 *   OPEN ──end of stream, or bytes that are no message──► ENDING ──all answered──► closed
 *     └───────────── socket failed, client reads nothing, daemon ends ────────────────┘
 *
 * OPEN reads requests, except while the client has too much unread output or too many requests
 * in flight. What it has sent is carried out for some ms at most in a turn of the loop; then it
 * rests until the next turn, so that others are served. ENDING reads no more but still delivers the
 * answers that are due. Only session_leave moves a session to closed.
 */
#include "daemon/clients/session.h"
#include "daemon/base/clock.h"
#include "daemon/io/stream.h"
#include "protocol/alloc.h"
#include "protocol/scan.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define FLUSH_MS 10000 /* a closing session's last answers may take this long */
#define SCRAP_KEEP ((size_t)64 * 1024)
/* The requests of one client in a turn: for how long, which is looked at after so many frames, or
 * one so big. */
#define TURN_US 2000
#define TURN_FRAMES 16
#define MEASURED 16 /* one in so many inputs */
#define TURN_BYTES ((size_t)4 * 1024)

enum state { OPEN, ENDING, CLOSED };

struct session {
    struct sessions *all;
    struct stream *stream; /* NULL when closed */
    unsigned refs;
    enum state state;
    uint64_t number;
    struct session_peer peer;
    struct scan scan; /* of the frame that begins at the first unused byte */
    bool in_frame;    /* scan has begun */
    bool paused;
    bool rests; /* in all->resting: until the next turn */
    bool ring;  /* its stream has a channel, counted in all->rings */
    unsigned deferred;
    uint64_t answering; /* the id of the result that is being packed, */
    size_t answer_at;   /* and where in the output it begins */
    size_t partial;     /* unused bytes, counted in all->partial */
    uint64_t requests, faults, bytes_in;
    uint64_t inputs, busy; /* how often there was any; microseconds that they took, about */
    int64_t since;
    uint64_t stamp;      /* session_raise_stamp */
    struct event *check; /* while ENDING */
    struct session *prev, *next, *rest_prev, *rest_next;
};

struct sessions {
    struct event_base *base;
    const struct config *config;
    struct session_handler handler;
    void *arg;
    unsigned refs; /* the owner and each session */
    unsigned count, rings;
    uint64_t last_number, turned_away;
    uint64_t gone_in, gone_out; /* bytes of sessions that are closed */
    uint64_t faults[FAULT_COUNT];
    size_t partial;   /* unfinished input of all sessions */
    bool full;        /* max_clients is reached and was logged */
    struct buf scrap; /* answers to sessions that are gone */
    struct session *list;
    struct session *resting; /* linked by rest_prev, rest_next */
    struct event *turn;
};

static void sessions_unref(struct sessions *all)
{
    if (--all->refs)
        return;
    buf_free(&all->scrap);
    free(all);
}

struct session *session_ref(struct session *s)
{
    s->refs++;
    return s;
}

void session_unref(struct session *s)
{
    if (--s->refs)
        return;
    sessions_unref(s->all);
    free(s);
}

static void log_session(enum log_level level, const struct session *s, const char *what)
{
    log_line(level, "client %llu (%s, pid %ld, uid %ld): %s", (unsigned long long)s->number,
             s->peer.program, (long)s->peer.pid, (long)s->peer.uid, what);
}

/* --- ending ------------------------------------------------------------------------------ */

static void count_partial(struct session *s, size_t now)
{
    s->all->partial += now - s->partial;
    s->partial = now;
}

static void end_rest(struct session *s)
{
    if (!s->rests)
        return;
    s->rests = false;
    DL_DELETE2(s->all->resting, s, rest_prev, rest_next);
}

/* The one way out. */
static void session_leave(struct session *s, bool flush)
{
    struct sessions *all = s->all;

    if (s->state == CLOSED)
        return;
    s->state = CLOSED;
    all->gone_in += s->bytes_in;
    all->gone_out += stream_written(s->stream);
    end_rest(s);
    count_partial(s, 0);
    if (s->check)
        event_free(s->check);
    s->check = NULL;
    if (flush)
        stream_close_after_flush(s->stream, FLUSH_MS);
    else
        stream_close(s->stream);
    s->stream = NULL;
    DL_DELETE(all->list, s);
    all->count--;
    all->rings -= s->ring;
    if (all->count < all->config->max_clients)
        all->full = false;
    log_session(LOG_LEVEL_DEBUG, s, "closed");
    all->handler.on_close(all->arg, s);
    session_unref(s);
}

void session_close(struct session *s, const char *why)
{
    if (s->state == CLOSED)
        return;
    log_session(LOG_LEVEL_NOTICE, s, why);
    session_leave(s, false);
}

/* ENDING: once a second, and when an answer may have been the last. A client that shut down its
 * write side alone shows no event when it dies later, so it is looked at. */
static void on_check(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    (void)fd;
    (void)what;
    if (stream_peer_gone(s->stream))
        session_leave(s, false);
    else if (!s->deferred)
        session_leave(s, true);
}

static void session_end_reading(struct session *s)
{
    struct timeval second = {.tv_sec = 1};

    if (s->state != OPEN)
        return;
    s->state = ENDING;
    end_rest(s);
    stream_stop_reading(s->stream);
    count_partial(s, 0);
    s->check = event_new(s->all->base, -1, EV_PERSIST, on_check, s);
    if (event_add(s->check, &second) < 0) {
        session_leave(s, true);
        return;
    }
    event_active(s->check, EV_TIMEOUT, 0);
}

/* --- answers ----------------------------------------------------------------------------- */

static void pause_reading(struct session *s)
{
    if (s->paused || s->state != OPEN)
        return;
    s->paused = true;
    stream_pause(s->stream, true);
}

/* Resumes some way below the limits, so that it does not go to and fro with each answer. */
static void resume_reading(struct session *s)
{
    const struct config *c = s->all->config;

    if (!s->paused || s->state != OPEN)
        return;
    if (s->deferred > (uint64_t)c->client_requests * 3 / 4)
        return;
    if (stream_unsent(s->stream) >= c->client_output_pause / 2)
        return;
    s->paused = false;
    if (s->all->handler.on_drained != NULL)
        s->all->handler.on_drained(s->all->arg, s);
    if (!s->paused && !s->rests)
        stream_pause(s->stream, false);
}

static void rest(struct session *s)
{
    struct timeval soon = {0};

    if (s->rests || s->paused || s->state != OPEN)
        return;
    s->rests = true;
    stream_pause(s->stream, true);
    if (!s->all->resting)
        evtimer_add(s->all->turn, &soon);
    DL_APPEND2(s->all->resting, s, rest_prev, rest_next);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct sessions *all = arg;

    (void)fd;
    (void)what;
    for (struct session *s; (s = all->resting);) {
        end_rest(s);
        if (!s->paused)
            stream_pause(s->stream, false); /* which offers what waits, behind this */
    }
}

bool session_congested(const struct session *s)
{
    return s->state == OPEN && stream_unsent(s->stream) > s->all->config->client_output_pause;
}

/* More than may be left unread. A single answer that may be given is not held against who has read
 * most of those before it. */
static bool piles_up(const struct config *c, size_t unsent, size_t last)
{
    return unsent > c->client_output && (last >= unsent || unsent - last > c->client_output / 2);
}

/* Something of so many bytes was appended to the output of an open session. */
static void output_grew(struct session *s, size_t by)
{
    const struct config *c = s->all->config;

    if (s->state == ENDING)
        event_active(s->check, EV_TIMEOUT, 0);
    if (stream_unsent(s->stream) <= c->client_output_pause) {
        stream_flush_later(s->stream);
        return;
    }
    stream_flush(s->stream);
    size_t unsent = stream_unsent(s->stream);
    if (piles_up(c, unsent, by)) {
        char text[128];
        snprintf(text, sizeof text,
                 "disconnected: it left %zu bytes of answers unread, limits.client_output is %zu",
                 unsent, c->client_output);
        log_session(LOG_LEVEL_WARNING, s, text);
        session_leave(s, false);
    } else if (unsent > c->client_output_pause && !s->paused) {
        stream_set_low(s->stream, c->client_output_pause / 2);
        pause_reading(s);
    }
}

static struct buf *output_of(struct session *s)
{
    if (s->state != CLOSED)
        return stream_out(s->stream);
    buf_clear(&s->all->scrap);
    buf_shrink(&s->all->scrap, SCRAP_KEEP);
    return &s->all->scrap;
}

struct buf *session_result(struct session *s, uint64_t id)
{
    struct buf *out = output_of(s);

    s->answering = id;
    s->answer_at = out->len;
    rpc_open_result(out, id);
    return out;
}

int session_fits(const struct session *s, size_t len, struct fault *f)
{
    size_t most = s->all->config->client_output;

    if (len <= most)
        return 0;
    return fault_set(f, FAULT_TOO_LARGE,
                     "the answer would have more than %zu bytes (limits.client_output); ask for "
                     "less at a time",
                     most);
}

void session_done(struct session *s)
{
    struct fault f;

    if (s->state == CLOSED)
        return;
    struct buf *out = stream_out(s->stream);
    if (session_fits(s, out->len - s->answer_at, &f) < 0) {
        out->len = s->answer_at;
        session_fault(s, s->answering, &f);
        return;
    }
    output_grew(s, out->len - s->answer_at);
}

void session_answer(struct session *s, uint64_t id, const void *value, size_t len)
{
    buf_append(session_result(s, id), value, len);
    if (s->state != CLOSED)
        output_grew(s, len);
}

bool session_keep_input(struct session *s, const uint8_t *end, struct buf *out)
{
    return s->state == OPEN && stream_take_in(s->stream, end, out);
}

void session_give(struct session *s, uint64_t id, struct buf *value)
{
    if (value->len < BLOB_BYTES || s->state == CLOSED) {
        session_answer(s, id, value->data, value->len);
        return;
    }
    size_t len = value->len;
    struct blob *b = blob_new(value);
    (void)session_result(s, id);
    stream_give(s->stream, b);
    blob_unref(b);
    output_grew(s, len);
}

static void answer_fault(struct session *s, const uint64_t *id, const struct fault *f)
{
    s->all->faults[f->code < FAULT_COUNT ? f->code : FAULT_INTERNAL]++;
    s->faults++;
    if (s->state == CLOSED)
        return;
    struct buf *out = stream_out(s->stream);
    size_t had = out->len;
    rpc_pack_error(out, id, f);
    output_grew(s, out->len - had);
}

void session_fault(struct session *s, uint64_t id, const struct fault *f)
{
    const struct session_handler *h = &s->all->handler;

    if (h->on_fault == NULL || !h->on_fault(s->all->arg, s, id, f))
        answer_fault(s, &id, f);
}

void session_notify(struct session *s, const char *method, const void *params, size_t len)
{
    if (s->state == CLOSED)
        return;
    struct buf *out = stream_out(s->stream);
    rpc_open_notify(out, method);
    buf_append(out, params, len);
    output_grew(s, len);
}

void session_defer(struct session *s)
{
    s->deferred++;
}

void session_settle(struct session *s)
{
    if (s->deferred)
        s->deferred--;
    resume_reading(s);
    if (s->state == ENDING && !s->deferred)
        event_active(s->check, EV_TIMEOUT, 0);
}

/* --- rings ------------------------------------------------------------------------------- */

static bool may_have_ring(const struct session *s, struct fault *f)
{
    const struct sessions *all = s->all;

    f->code = FAULT_NONE;
    if (s->ring)
        fault_set(f, FAULT_BAD_REQUEST, "this connection has its ring already");
    else if (all->rings >= all->config->max_rings)
        fault_set(f, FAULT_BUSY,
                  "%u clients have a ring, limits.max_rings is %u; go on with the socket",
                  all->rings, all->config->max_rings);
    return f->code == FAULT_NONE;
}

void session_open_ring(struct session *s, uint64_t id)
{
    uint32_t size = (uint32_t)s->all->config->ring_size;
    struct buf answer = BUF_INIT;
    struct fault f;

    if (s->state != OPEN)
        return;
    if (!may_have_ring(s, &f)) {
        session_fault(s, id, &f);
        return;
    }
    rpc_open_result(&answer, id);
    pack_map(&answer, 1);
    pack_cstr(&answer, "size");
    pack_uint(&answer, size);
    if (stream_open_channel(s->stream, size, s->all->config->ring_watch, answer.data, answer.len) ==
        0) {
        s->ring = true;
        s->all->rings++;
    } else if (errno == EAGAIN) {
        fault_set(&f, FAULT_BUSY, "there are answers to be read first; then ask for a ring");
        session_fault(s, id, &f);
    } else {
        fault_set(&f, FAULT_UNAVAILABLE, "no ring: %s; go on with the socket", strerror(errno));
        session_fault(s, id, &f);
    }
    buf_free(&answer);
}

void session_answer_fd(struct session *s, uint64_t id, const void *value, size_t len, int fd)
{
    struct buf answer = BUF_INIT;
    struct fault f;

    if (s->state != OPEN)
        return;
    rpc_open_result(&answer, id);
    buf_append(&answer, value, len);
    if (stream_send_fd(s->stream, answer.data, answer.len, fd) < 0) {
        if (errno == EBADFD)
            fault_set(&f, FAULT_BAD_REQUEST,
                      "a ring carries no descriptors; ask on a connection without one");
        else
            fault_set(&f, FAULT_BUSY, "there are answers to be read first (%s)", strerror(errno));
        session_fault(s, id, &f);
    }
    buf_free(&answer);
}

static void on_drained(void *arg)
{
    resume_reading(arg);
}

/* --- requests ---------------------------------------------------------------------------- */

/* These bytes cannot be followed any further: says so, and ends once all is answered. */
static void refuse_bytes(struct session *s, const uint8_t *data, size_t len, const struct fault *f)
{
    char text[FAULT_TEXT_MAX + 64];
    uint64_t id;
    bool known = rpc_guess_id(data, len, &id);

    snprintf(text, sizeof text, "refused what it sent: %s: %s", fault_name(f->code), f->text);
    log_session(LOG_LEVEL_INFO, s, text);
    answer_fault(s, known ? &id : NULL, f);
    session_end_reading(s);
}

static void take_frame(struct session *s, const uint8_t *frame, size_t len)
{
    struct fault f;
    struct rpc m;

    s->requests++;
    if (rpc_parse(&m, frame, len, &f) < 0) {
        if (f.code == FAULT_BAD_FRAME)
            refuse_bytes(s, frame, len, &f);
        else if (m.kind == RPC_REQUEST)
            answer_fault(s, &m.id, &f);
        else
            log_session(LOG_LEVEL_INFO, s, f.text); /* a notification has nobody to tell */
    } else if (m.kind == RPC_RESPONSE) {
        /* Its id is one of ours, not of the client's requests: must not be answered with. */
        fault_set(&f, FAULT_BAD_REQUEST, "a response was sent, but rapyerd asks nothing");
        answer_fault(s, NULL, &f);
    } else {
        s->all->handler.on_message(s->all->arg, s, &m);
    }
}

/* Others want to be served, too. n: frames taken since `begun`, of which the last had `len` bytes.
 */
static bool time_is_up(unsigned n, size_t len, int64_t begun)
{
    return (n % TURN_FRAMES == 0 || len >= TURN_BYTES) && clock_mono_us() - begun >= TURN_US;
}

static size_t take_frames(struct session *s, const uint8_t *data, size_t len)
{
    const struct config *c = s->all->config;
    size_t used = 0;
    unsigned n = 0;
    int64_t begun = 0;
    struct fault f;

    while (used < len && s->state == OPEN && !s->paused && !s->rests) {
        if (!s->in_frame)
            scan_init(&s->scan, c->max_frame);
        s->in_frame = true;
        enum scan_status status = scan_run(&s->scan, data + used, len - used, &f);
        if (status == SCAN_MORE)
            break;
        if (status == SCAN_BAD) {
            refuse_bytes(s, data + used, len - used, &f);
            break;
        }
        s->in_frame = false;
        size_t at = used;
        used += s->scan.at;
        bool more = used < len;
        if (more && begun == 0)
            begun = clock_mono_us();
        bool had_ring = s->ring;
        take_frame(s, data + at, s->scan.at);
        if (s->ring != had_ring && used < len)
            session_close(s, "sent more on the socket after it had asked for a ring");
        if (s->deferred >= c->client_requests)
            pause_reading(s);
        if (more && time_is_up(++n, s->scan.at, begun))
            rest(s);
    }
    return used;
}

/* Room for unfinished frames is shared by all; who would go past it has to start again. */
static void check_partial(struct session *s, const uint8_t *rest, size_t len)
{
    struct sessions *all = s->all;
    struct fault f;

    count_partial(s, len);
    if (!len || !s->in_frame || all->partial <= all->config->total_input)
        return;
    fault_set(&f, FAULT_BUSY,
              "unfinished requests of all clients hold %zu bytes, limits.total_input is %zu; "
              "try again later",
              all->partial, all->config->total_input);
    refuse_bytes(s, rest, len, &f);
}

static size_t on_input(void *arg, const uint8_t *data, size_t len)
{
    struct session *s = session_ref(arg);

    bool measured = s->inputs++ % MEASURED == 0;
    int64_t begun = measured ? clock_mono_us() : 0;

    s->bytes_in += len - s->partial; /* what was left the last time comes again */
    size_t used = take_frames(s, data, len);
    if (measured)
        s->busy += (uint64_t)(clock_mono_us() - begun) * MEASURED;
    if (s->state == OPEN)
        check_partial(s, data + used, len - used);
    session_unref(s);
    return used;
}

static void on_end(void *arg, int err, size_t rest)
{
    struct session *s = arg;
    struct fault f;

    if (err == EPROTO) {
        session_close(s, "broke the rules of its ring");
    } else if (err) {
        log_session(LOG_LEVEL_DEBUG, s, strerror(err));
        session_leave(s, false);
    } else if (stream_peer_gone(s->stream)) {
        session_leave(s, false);
    } else if (rest) {
        fault_set(&f, FAULT_BAD_FRAME, "the stream ended inside a message, after %zu bytes of it",
                  rest);
        refuse_bytes(s, stream_unread_data(s->stream), rest, &f);
    } else {
        session_end_reading(s);
    }
}

/* --- arriving ---------------------------------------------------------------------------- */

static const struct stream_callbacks stream_calls = {on_input, on_end, on_drained};

static void read_peer(int fd, struct session_peer *peer)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    char path[64];

    *peer = (struct session_peer){.uid = (uid_t)-1, .gid = (gid_t)-1, .program = "?"};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return;
    peer->pid = cred.pid;
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    snprintf(path, sizeof path, "/proc/%ld/comm", (long)cred.pid);
    int comm = open(path, O_RDONLY | O_CLOEXEC);
    if (comm < 0)
        return;
    ssize_t n = read(comm, peer->program, sizeof peer->program - 1);
    close(comm);
    if (n > 0 && peer->program[n - 1] == '\n')
        n--;
    if (n > 0)
        peer->program[n] = '\0';
    for (char *p = peer->program; *p; p++) /* a process names itself as it likes */
        if (*p < ' ' || *p > '~')
            *p = '?';
}

static void turn_away(struct sessions *all, int fd)
{
    struct buf out = BUF_INIT;
    struct fault f;

    fault_set(&f, FAULT_BUSY, "%u clients are connected, limits.max_clients is %u; try again later",
              all->count, all->config->max_clients);
    if (!all->full)
        log_warning("%s", f.text);
    all->full = true;
    all->turned_away++;
    rpc_pack_error(&out, NULL, &f);
    /* A fresh socket takes so little at once; if not, closing says enough. */
    if (send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("could not tell a client that there are too many: %s", strerror(errno));
    buf_free(&out);
    close(fd);
}

void sessions_accept(struct sessions *all, int fd)
{
    if (all->count >= all->config->max_clients) {
        turn_away(all, fd);
        return;
    }
    struct session *s = alloc_zeroed(1, sizeof *s);
    read_peer(fd, &s->peer);
    s->stream = stream_new(all->base, fd, &stream_calls, s);
    if (!s->stream) {
        log_error("cannot take a client: %s", strerror(errno));
        free(s);
        return;
    }
    s->refs = 1;
    s->all = all;
    all->refs++;
    all->count++;
    s->number = ++all->last_number;
    s->since = clock_mono_ms();
    DL_APPEND(all->list, s);
    log_session(LOG_LEVEL_DEBUG, s, "connected");
}

struct sessions *sessions_new(struct event_base *base, const struct config *config,
                              const struct session_handler *handler, void *arg)
{
    struct sessions *all = alloc_zeroed(1, sizeof *all);

    all->base = base;
    all->config = config;
    all->handler = *handler;
    all->arg = arg;
    all->refs = 1;
    all->turn = evtimer_new(base, on_turn, all);
    return all;
}

void sessions_free(struct sessions *all)
{
    if (!all)
        return;
    while (all->list) {
        stream_flush(all->list->stream);
        session_leave(all->list, false);
    }
    streams_finish(all->base);
    event_free(all->turn);
    sessions_unref(all);
}

unsigned sessions_count(const struct sessions *all)
{
    return all->count;
}

void sessions_stats(const struct sessions *all, struct sessions_stats *out)
{
    const struct session *s;

    *out = (struct sessions_stats){.count = all->count,
                                   .rings = all->rings,
                                   .accepted = all->last_number,
                                   .turned_away = all->turned_away,
                                   .bytes_in = all->gone_in,
                                   .bytes_out = all->gone_out,
                                   .partial = all->partial};
    memcpy(out->faults, all->faults, sizeof out->faults);
    DL_FOREACH (all->list, s) {
        size_t unsent = stream_unsent(s->stream);
        out->bytes_in += s->bytes_in;
        out->bytes_out += stream_written(s->stream);
        out->paused += s->paused;
        out->unsent_most = unsent > out->unsent_most ? unsent : out->unsent_most;
        out->deferred_most = s->deferred > out->deferred_most ? s->deferred : out->deferred_most;
    }
}

unsigned sessions_rings(const struct sessions *all)
{
    return all->rings;
}

void sessions_each(struct sessions *all, void (*visit)(struct session *s, void *arg), void *arg)
{
    struct session *s, *next;

    DL_FOREACH_SAFE (all->list, s, next)
        visit(s, arg);
}

bool session_open(const struct session *s)
{
    return s->state != CLOSED;
}

uint64_t session_number(const struct session *s)
{
    return s->number;
}

uint64_t session_stamp(const struct session *s)
{
    return s->stamp;
}

void session_raise_stamp(struct session *s, uint64_t stamp)
{
    if (stamp > s->stamp)
        s->stamp = stamp;
}

const struct session_peer *session_peer(const struct session *s)
{
    return &s->peer;
}

void session_stats(const struct session *s, struct session_stats *out)
{
    *out = (struct session_stats){
        .requests = s->requests,
        .faults = s->faults,
        .busy_us = s->busy,
        .since = s->since,
        .memory = s->partial + (s->ring ? 2 * s->all->config->ring_size + 4096 : 0),
        .bytes_in = s->bytes_in,
        .deferred = s->deferred,
        .paused = s->paused,
        .ring = s->ring,
    };
    if (s->stream) {
        out->bytes_out = stream_written(s->stream);
        out->unsent = stream_unsent(s->stream);
        out->memory += out->unsent;
    }
}
