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
#include "daemon/base/clock.h"
#include "daemon/clients/session_inside.h"
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

#define SCRAP_KEEP ((size_t)64 * 1024)
/* The requests of one client in a turn: for how long, which is looked at after so many frames, or
 * one so big. */
#define TURN_US 2000
#define TURN_FRAMES 16
#define MEASURED 16 /* one in so many inputs */
#define TURN_BYTES ((size_t)4 * 1024)

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
    permit_free(s->permit);
    free(s->traced);
    free(s);
}

/* --- ending ------------------------------------------------------------------------------ */

void session_count_partial(struct session *s, size_t now)
{
    s->all->partial += now - s->partial;
    s->partial = now;
}

void session_end_rest(struct session *s)
{
    if (!s->rests)
        return;
    s->rests = false;
    DL_DELETE2(s->all->resting, s, rest_prev, rest_next);
}

/* The one way out. */
void session_leave(struct session *s, bool flush)
{
    struct sessions *all = s->all;

    if (s->state == CLOSED)
        return;
    s->state = CLOSED;
    all->gone_in += s->bytes_in;
    all->gone_out += stream_written(s->stream);
    session_end_rest(s);
    session_count_partial(s, 0);
    if (s->check)
        event_free(s->check);
    s->check = NULL;
    if (flush)
        stream_close_after_flush(s->stream, SESSION_FLUSH_MS);
    else
        stream_close(s->stream);
    s->stream = NULL;
    DL_DELETE(all->list, s);
    HASH_DELETE(hh, all->by_number, s);
    buf_free(&s->again);
    all->count--;
    all->rings -= s->ring;
    user_holds(s->user, &s->held, 0);
    user_waits(s->user, -(int)s->deferred);
    user_leave(s->user);
    s->user = NULL;
    if (all->count < all->config->max_clients)
        all->full = false;
    session_log(LOG_LEVEL_DEBUG, s, "closed");
    all->handler.on_close(all->arg, s);
    session_unref(s);
}

void session_close(struct session *s, const char *why)
{
    if (s->state == CLOSED)
        return;
    session_log(LOG_LEVEL_NOTICE, s, why);
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

void session_end_reading(struct session *s)
{
    struct timeval second = {.tv_sec = 1};

    if (s->state != OPEN)
        return;
    s->state = ENDING;
    session_end_rest(s);
    stream_stop_reading(s->stream);
    session_count_partial(s, 0);
    s->check = event_new(s->all->base, -1, EV_PERSIST, on_check, s);
    if (event_add(s->check, &second) < 0) {
        session_leave(s, true);
        return;
    }
    event_active(s->check, EV_TIMEOUT, 0);
}

/* --- answers ----------------------------------------------------------------------------- */

void session_pause(struct session *s)
{
    if (s->paused || s->state != OPEN)
        return;
    s->paused = true;
    stream_pause(s->stream, true);
}

bool session_may_read(const struct session *s)
{
    return s->state == OPEN && !s->paused && !s->rests && !s->all->still;
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
    if (session_may_read(s))
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

size_t session_held(const struct session *s)
{
    return s->partial + stream_unsent(s->stream) + (s->traced ? TRACED * sizeof *s->traced : 0) +
           (s->ring ? 2 * s->all->config->ring_size + 4096 : 0);
}

/* All of its user's connections together hold more than they may, with `more` bytes for this one.
 */
static bool user_overfull(struct session *s, size_t more)
{
    struct session *other;

    if (s->all->config->user_memory == 0 || user_holds(s->user, &s->held, session_held(s) + more))
        return false;
    DL_FOREACH (s->all->list, other) {
        if (other->user == s->user)
            user_holds(other->user, &other->held, session_held(other) + (other == s ? more : 0));
    }
    return !user_holds(s->user, &s->held, s->held);
}

/* Something of so many bytes was appended to the output of an open session. */
static void output_grew(struct session *s, size_t by)
{
    const struct config *c = s->all->config;

    if (s->state == ENDING)
        event_active(s->check, EV_TIMEOUT, 0);
    if (user_overfull(s, 0)) {
        session_log(LOG_LEVEL_WARNING, s,
                    "disconnected: its user has more than rights.user_memory");
        session_leave(s, false);
        return;
    }
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
        session_log(LOG_LEVEL_WARNING, s, text);
        session_leave(s, false);
    } else if (unsent > c->client_output_pause && !s->paused) {
        stream_set_low(s->stream, c->client_output_pause / 2);
        session_pause(s);
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
    if (s->user)
        user_waits(s->user, 1);
}

void session_settle(struct session *s)
{
    if (s->deferred && s->user)
        user_waits(s->user, -1);
    if (s->deferred)
        s->deferred--;
    resume_reading(s);
    if (s->state == ENDING && !s->deferred)
        event_active(s->check, EV_TIMEOUT, 0);
}

/* --- rings ------------------------------------------------------------------------------- */

static bool may_have_ring(struct session *s, struct fault *f)
{
    const struct sessions *all = s->all;

    f->code = FAULT_NONE;
    if (user_overfull(s, 2 * all->config->ring_size))
        fault_set(f, FAULT_BUSY,
                  "this user has %zu bytes, with a ring more than rights.user_memory",
                  user_memory(s->user));
    else if (s->ring)
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
    session_log(LOG_LEVEL_INFO, s, text);
    answer_fault(s, known ? &id : NULL, f);
    session_end_reading(s);
}

static void note_trace(struct session *s, uint64_t request)
{
    if (!s->traced)
        s->traced = alloc_zeroed(TRACED, sizeof *s->traced);
    s->traced[s->traced_at++ % TRACED] = (struct traced){request, s->next_trace};
    s->traces_next = false;
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
            session_log(LOG_LEVEL_INFO, s, f.text); /* a notification has nobody to tell */
        return;
    }
    if (s->traces_next && m.kind == RPC_REQUEST)
        note_trace(s, m.id);
    if (m.kind == RPC_REQUEST && user_asks(s->user, len, &f) < 0) {
        answer_fault(s, &m.id, &f);
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

    while (used < len && session_may_read(s)) {
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
            session_pause(s);
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

    session_count_partial(s, len);
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
        session_log(LOG_LEVEL_DEBUG, s, strerror(err));
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

const struct stream_callbacks session_stream_calls = {on_input, on_end, on_drained};

struct permit *session_permit(const struct session *s)
{
    return s->permit;
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

void session_lately(struct session *s, uint64_t *requests, uint64_t *busy_us)
{
    *requests = s->requests - s->told_requests;
    *busy_us = s->busy - s->told_busy;
    s->told_requests = s->requests;
    s->told_busy = s->busy;
}

void session_set_trace(struct session *s, const struct trace *t)
{
    s->next_trace = *t;
    s->traces_next = true;
}

const struct trace *session_trace(const struct session *s, uint64_t request)
{
    unsigned n = s->traced_at < TRACED ? s->traced_at : TRACED;

    for (unsigned i = 1; i <= n; i++) { /* an id may have been used before */
        const struct traced *t = &s->traced[(s->traced_at - i) % TRACED];
        if (t->request == request)
            return &t->trace;
    }
    return NULL;
}
