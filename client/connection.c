/* connection: bytes to the daemon and back, without ever blocking.
 *
 *   closed ──open──► open ──(end of file, error, bad frame, fork)──► closed
 *                     │                                       every request is settled
 *                     └─ out drained, in parsed frame by frame
 *
 * Callbacks run from inside rapyer_process and may send, wait and so come here again: nothing
 * about the buffers is kept in local variables across one.
 */
#include "client/channel.h"
#include "client/request.h"
#include "client/shared.h"
#include "client/slots.h"
#include "client/value.h"
#include "client/watch.h"
#include "protocol/rpc.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 << 10)
#define KEEP_SIZE ((size_t)256 << 10) /* buffers larger than that are given back when empty */
#define READS_PER_CALL 16
#define RESTART_PAUSE_MS 10
#define ENVELOPE_ITEMS 4 /* of an answer: the array, its type, the id, nil */

int64_t clock_ms(void)
{
    struct timespec now;
    /* Asked several times for each request; no deadline is so short that a tick matters. */
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- open ---- */

static void ring_clear(rapyer *db)
{
    channel_free(db->channel);
    db->channel = NULL;
    db->ring = RING_LATER;
    db->awake = false;
    for (int i = 0; i < CHANNEL_FDS; i++) {
        if (db->ring_fds[i] >= 0)
            close(db->ring_fds[i]);
        db->ring_fds[i] = -1;
    }
}

static void buffers_clear(rapyer *db)
{
    ring_clear(db);
    shared_free(db->shared);
    db->shared = NULL;
    db->reads = db->stamp = 0;
    db->overdue = false;
    buf_clear(&db->in);
    buf_clear(&db->out);
    db->in_at = db->out_at = 0;
    db->out_sent = 0;
    scan_init(&db->scan, db->max_answer);
}

static void look_for_socket(rapyer *db)
{
    char *now = db->looks ? address_find() : NULL;
    if (!now)
        return;
    free(db->socket);
    db->socket = now;
}

static int try_connect(rapyer *db, struct fault *f)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    look_for_socket(db);
    size_t len = strlen(db->socket);
    if (len >= sizeof to.sun_path)
        return fault_set(f, FAULT_BAD_REQUEST, "the socket's path is longer than %zu bytes: %s",
                         sizeof to.sun_path - 1, db->socket);
    memcpy(to.sun_path, db->socket, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fault_set(f, FAULT_UNAVAILABLE, "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        address_refused(db->socket, errno, f);
        close(fd);
        return -1;
    }
    buffers_clear(db);
    db->fd = fd;
    db->connection++;
    db->first_number = db->numbers + 1;
    db->forks = db_forks();
    db->was_connected = true;
    return 0;
}

/* A server of another protocol is none for us. What does not know hello is fine. */
static void on_hello(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                     const struct fault *f)
{
    struct fault why;
    int64_t protocol = rapyer_int(*result, "protocol", RPC_PROTOCOL_VERSION);
    (void)rq;
    if (how != OUTCOME_ANSWER)
        db_fail(db, f);
    if (protocol == RPC_PROTOCOL_VERSION)
        return;
    fault_set(&why, FAULT_UNAVAILABLE, "the server at %s speaks protocol %lld, this library %d",
              db->socket, (long long)protocol, RPC_PROTOCOL_VERSION);
    db_fail(db, &why);
    connection_lose(db, &why);
}

/* What a new connection says first. The answers to the declarations matter to nobody: a model
 * that was refused is refused again where it is used. */
static int introduce(rapyer *db)
{
    struct request *hello = calloc(1, sizeof *hello);
    if (hello)
        hello->done = on_hello;
    struct buf params = BUF_INIT;
    pack_map(&params, 2);
    pack_cstr(&params, "client");
    pack_cstr(&params, "librapyer " RAPYER_VERSION);
    pack_cstr(&params, "protocol");
    pack_int(&params, RPC_PROTOCOL_VERSION);
    int rc = slots_queue(db, hello, "hello", 1, &params);
    for (size_t i = 0; rc == 0 && i < db->ndeclarations;) {
        buf_clear(&params);
        uint32_t n = models_together(db, &i, &params);
        rc = params.failed
                 ? db_no_memory(db)
                 : slots_queue(db, calloc(1, sizeof(struct request)), "define", n, &params);
    }
    buf_free(&params);
    return rc == 0 ? watch_reconnected(db) : rc;
}

static void check_fork(rapyer *db)
{
    if (db->fd < 0 || db->forks == db_forks())
        return;
    close(db->fd); /* the parent's socket stays open, and so do its requests */
    db->fd = -1;
    slots_forget(db);
    buffers_clear(db);
}

int connection_open(rapyer *db, int wait_ms)
{
    struct fault f;
    check_fork(db);
    if (db->fd >= 0)
        return 0;
    if (db->closed)
        return db_failf(db, FAULT_UNAVAILABLE, "the connection was closed by rapyer_close");
    for (int64_t until = clock_ms() + wait_ms; try_connect(db, &f) < 0;) {
        bool passing = f.code == FAULT_BUSY || (f.code == FAULT_UNAVAILABLE && db->was_connected);
        if (!passing || clock_ms() >= until)
            return db_fail(db, &f);
        poll(NULL, 0, RESTART_PAUSE_MS);
    }
    return introduce(db);
}

/* For what is watched: nobody asks, so nobody is told when it is in vain. */
static void open_again(rapyer *db)
{
    struct fault f;
    int64_t now = clock_ms();
    if (db->fd >= 0 || db->closed || !watch_any(db) || now < db->connect_at)
        return;
    db->connect_at = now + RESTART_PAUSE_MS;
    if (try_connect(db, &f) == 0)
        (void)introduce(db);
}

bool connection_is(const rapyer *db, uint64_t number)
{
    return db->fd >= 0 && db->connection == number && db->forks == db_forks();
}

void connection_lose(rapyer *db, const struct fault *why)
{
    uint64_t sent = db->out_sent;
    check_fork(db);
    int fd = db->fd;
    db->fd = -1;
    buffers_clear(db);
    if (fd >= 0)
        close(fd);
    slots_settle_all(db, sent, why);
}

/* ---- write ---- */

/* Who is one too many is told so, by an answer to nothing, and the connection is closed. */
static bool turns_away(const struct rpc *m, struct fault *f)
{
    struct cursor error = m->error;
    const char *s, *text;
    size_t len, text_len;
    if (m->kind != RPC_RESPONSE || m->has_id || cursor_str(&error, &s, &len) < 0 ||
        fault_parse(s, len, &text, &text_len) != FAULT_BUSY)
        return false;
    fault_set(f, FAULT_BUSY, "%.*s", (int)text_len, text);
    return true;
}

/* What is said may find the connection closed before that answer is read. */
static bool turned_away(rapyer *db, struct fault *f)
{
    uint8_t last[512];
    struct rpc m;
    struct scan scan;
    struct fault ignored;
    if (db->fd < 0 || db->channel || db->in.len > db->in_at)
        return false;
    ssize_t n = recv(db->fd, last, sizeof last, MSG_PEEK);
    scan_init(&scan, sizeof last);
    return n > 0 && scan_run(&scan, last, (size_t)n, &ignored) == SCAN_DONE &&
           rpc_parse(&m, last, scan.at, &ignored) == 0 && turns_away(&m, f);
}

static int lost(rapyer *db, const char *what)
{
    struct fault f;
    if (!turned_away(db, &f))
        fault_set(&f, FAULT_UNAVAILABLE, "the connection to rapyerd at %s was lost: %s", db->socket,
                  what);
    connection_lose(db, &f);
    return -1;
}

/* How many bytes may go: what is behind a question for a ring waits for its answer. */
static size_t sendable(const rapyer *db)
{
    return db->ring == RING_ASKED ? (size_t)(db->ring_asked - db->out_sent)
                                  : db->out.len - db->out_at;
}

static ssize_t give(rapyer *db, const uint8_t *data, size_t n)
{
    return db->channel ? channel_write(db->channel, data, n) : send(db->fd, data, n, MSG_NOSIGNAL);
}

/* What the way to the daemon takes; 0, or an errno. */
static int send_some(rapyer *db)
{
    while (sendable(db)) {
        ssize_t n = give(db, db->out.data + db->out_at, sendable(db));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : errno;
        db->out_at += (size_t)n;
        db->out_sent += (uint64_t)n;
    }
    if (db->out_at < db->out.len)
        return 0;
    db->out_at = 0;
    buf_clear(&db->out);
    buf_shrink(&db->out, KEEP_SIZE);
    return 0;
}

static int write_some(rapyer *db)
{
    int error = send_some(db);
    return error ? lost(db, strerror(error)) : 0;
}

/* Asks to be woken for what is not there yet. */
static void sleep_lightly(rapyer *db)
{
    uint32_t wants = RING_BYTES | (sendable(db) ? RING_ROOM : 0);
    db->awake = !channel_sleep(db->channel, wants);
    if (db->awake)
        channel_nudge(db->channel);
}

void connection_push(rapyer *db)
{
    if (!connection_is(db, db->connection))
        return;
    send_some(db);
    if (db->channel && sendable(db))
        sleep_lightly(db);
}

/* ---- read ---- */

static rapyer_value *read_result(rapyer *db, const struct rpc *m, struct fault *f)
{
    struct cursor error = m->error, result = m->result;
    const char *s, *text;
    size_t len, text_len;
    f->code = FAULT_NONE;
    if (!cursor_nil(&error)) {
        if (cursor_str(&error, &s, &len) < 0) {
            fault_set(f, FAULT_INTERNAL, "an error that is no str");
        } else {
            enum fault_code code = fault_parse(s, len, &text, &text_len);
            fault_set(f, code, "%.*s", (int)text_len, text);
        }
        return NULL;
    }
    /* A small item takes 16 bytes here and 1 there: the limit is a multiple of the frame's. */
    uint64_t items = db->scan.items - ENVELOPE_ITEMS;
    rapyer_value *v = value_parse(result, items, 8 * db->max_answer, f);
    if (!v && f->code == FAULT_NONE)
        fault_set(f, FAULT_NO_MEMORY, "no memory for an answer");
    return v;
}

/* One frame, which is all of in[in_at, in_at + len). */
static int take_frame(rapyer *db, size_t len)
{
    struct rpc m;
    struct fault f;
    if (rpc_parse(&m, db->in.data + db->in_at, len, &f) < 0) {
        connection_lose(db, &f);
        return -1;
    }
    if (turns_away(&m, &f)) {
        connection_lose(db, &f);
        return -1;
    }
    rapyer_value *result = m.kind == RPC_RESPONSE && m.has_id ? read_result(db, &m, &f) : NULL;
    bool response = m.kind == RPC_RESPONSE && m.has_id;
    if (m.kind == RPC_NOTIFY)
        watch_notified(db, &m);
    db->in_at += len;
    scan_init(&db->scan, db->max_answer);
    return response ? slots_settle(db, m.id, result, &f) : 0;
}

/* Of a response that is not all there. */
static bool response_id(const uint8_t *data, size_t len, uint64_t *id)
{
    struct cursor c = cursor_of(data, len);
    uint32_t count;
    int64_t type, n;
    if (cursor_array(&c, &count) < 0 || count != 4 || cursor_int(&c, &type) < 0 || type != 1 ||
        cursor_int(&c, &n) < 0)
        return false;
    *id = (uint64_t)n;
    return true;
}

/* An answer over the limit: who waits for it learns why, before the connection goes. */
static int refuse_frame(rapyer *db, const struct fault *f)
{
    uint64_t id;
    if (response_id(db->in.data + db->in_at, db->in.len - db->in_at, &id))
        slots_settle(db, id, NULL, f);
    struct fault why = *f;
    if (why.code == FAULT_TOO_LARGE)
        why.code = FAULT_UNAVAILABLE;
    connection_lose(db, &why);
    return -1;
}

/* All whole frames that are there; how many requests they settled. */
static int take_frames(rapyer *db)
{
    int settled = 0;
    while (db->fd >= 0 && db->in_at < db->in.len) {
        struct fault f;
        enum scan_status status =
            scan_run(&db->scan, db->in.data + db->in_at, db->in.len - db->in_at, &f);
        if (status == SCAN_MORE)
            break;
        int n = status == SCAN_BAD ? refuse_frame(db, &f) : take_frame(db, db->scan.at);
        if (n < 0)
            return -1;
        settled += n;
    }
    return settled;
}

static void compact(rapyer *db)
{
    if (db->in_at == 0)
        return;
    memmove(db->in.data, db->in.data + db->in_at, db->in.len - db->in_at);
    db->in.len -= db->in_at;
    db->in_at = 0;
    if (db->in.len == 0)
        buf_shrink(&db->in, KEEP_SIZE);
}

/* Descriptors come with the answer to the question for a ring, and only then. */
static void keep_fds(rapyer *db, struct msghdr *message)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof db->ring_fds) && db->ring_fds[0] < 0)
        memcpy(db->ring_fds, CMSG_DATA(c), sizeof db->ring_fds);
}

static ssize_t receive(rapyer *db, uint8_t *data, size_t n)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof db->ring_fds)];
    struct iovec bytes = {data, n};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    if (db->channel)
        return channel_read(db->channel, data, n);
    if (db->ring != RING_ASKED)
        return recv(db->fd, data, n, 0);
    ssize_t got = recvmsg(db->fd, &message, MSG_CMSG_CLOEXEC);
    if (got > 0)
        keep_fds(db, &message);
    return got;
}

/* 1: there may be more, 0: drained, -1: lost. */
static int read_once(rapyer *db)
{
    compact(db);
    if (!buf_grow(&db->in, READ_SIZE))
        return lost(db, "no memory for an answer");
    for (;;) {
        size_t room = db->in.cap - db->in.len;
        ssize_t n = receive(db, db->in.data + db->in.len, room);
        if (n > 0) {
            db->in.len += (size_t)n;
            return (size_t)n == room;
        }
        if (n == 0)
            return lost(db, "it was closed by the daemon");
        if (errno == EINTR)
            continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : lost(db, strerror(errno));
    }
}

/* ---- rings ---- */

/* Runs inside take_frame, before anything else is read or sent. */
static void on_ring(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                    const struct fault *f)
{
    struct fault why;
    (void)rq;
    (void)f;
    if (how != OUTCOME_ANSWER)
        return;
    db->ring = RING_NONE;
    if (!*result)
        return;     /* there are enough already, or it is not known there: the socket will do */
    errno = EPROTO; /* somebody in between took the descriptors */
    if (db->ring_fds[0] >= 0)
        db->channel = channel_join(db->ring_fds, (uint64_t)rapyer_int(*result, "size", 0), db->fd);
    for (int i = 0; i < CHANNEL_FDS; i++)
        db->ring_fds[i] = -1; /* the channel has them */
    if (db->channel) {
        db->ring = RING_OPEN;
        sleep_lightly(db);
        return;
    }
    db->ring_after = 0; /* nor with the next connection */
    fault_set(&why, FAULT_UNAVAILABLE, "no ring from rapyerd at %s: %s", db->socket,
              strerror(errno));
    connection_lose(db, &why);
}

void connection_ask_ring(rapyer *db)
{
    struct buf none = BUF_INIT;
    if (db->ring != RING_LATER || !db->ring_after || db->fd < 0 || db->npending ||
        db->numbers - db->first_number < db->ring_after)
        return;
    struct request *rq = calloc(1, sizeof *rq);
    if (rq)
        *rq = (struct request){.done = on_ring, .urgent = true, .terms.patience = PATIENCE_ENDLESS};
    db->ring = RING_NONE;
    if (slots_queue(db, rq, "ring.open", 0, &none) < 0)
        return;
    db->ring = RING_ASKED;
    db->ring_asked = db->out_sent + (db->out.len - db->out_at);
}

/* ---- process ---- */

/* Reads what there is, up to a bound; how many requests that settled, -1: lost. */
static int read_some(rapyer *db)
{
    int settled = 0;
    bool more = true;
    for (int i = 0; more && i < READS_PER_CALL; i++) {
        int got = read_once(db);
        int n = got < 0 ? -1 : take_frames(db);
        if (n < 0)
            return -1;
        settled += n;
        more = got > 0 && db->fd >= 0;
    }
    return settled;
}

/* What the daemon has not taken from the ring was not sent: nothing of it was done. */
static int ring_ended(rapyer *db)
{
    db->out_sent -= channel_untaken(db->channel);
    return lost(db, "it was closed by the daemon");
}

static int read_channel(rapyer *db, bool told)
{
    bool ended = told && channel_hear(db->channel);
    channel_wake(db->channel);
    int settled = read_some(db);
    if (settled < 0 || !db->channel)
        return settled;
    if (write_some(db) < 0) /* callbacks have sent something */
        return -1;
    sleep_lightly(db);
    return ended && !db->awake ? ring_ended(db) : settled;
}

static int process(rapyer *db, short revents)
{
    int settled = 0;
    check_fork(db);
    open_again(db);
    if (db->fd < 0)
        return 0;
    if (write_some(db) < 0)
        return -1;
    if (db->channel && (revents || db->awake))
        settled = read_channel(db, revents);
    else if (db->channel && sendable(db))
        sleep_lightly(db);
    else if (revents)
        settled = read_some(db);
    if (settled < 0)
        return -1;
    return settled + slots_expire(db, clock_ms());
}

int rapyer_process(rapyer *db, short revents)
{
    int settled = db ? process(db, revents) : -1;
    if (db)
        watch_work(db);
    return settled;
}

int rapyer_fd(const rapyer *db)
{
    if (db && db->channel)
        return channel_fd(db->channel);
    return db ? db->fd : -1;
}

short rapyer_events(const rapyer *db)
{
    if (!db || db->fd < 0)
        return 0;
    return sendable(db) && !db->channel ? POLLIN | POLLOUT : POLLIN;
}

int rapyer_timeout_ms(const rapyer *db)
{
    const struct request *first = db ? slots_due(db) : NULL;
    int due = db ? watch_due_ms(db) : -1;
    if (!first || first->deadline == INT64_MAX)
        return due;
    int64_t left = first->deadline - clock_ms();
    if (due >= 0 && due < left)
        return due;
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

void connection_wait(rapyer *db)
{
    connection_wait_for(db, INT32_MAX);
}

void connection_wait_for(rapyer *db, int milliseconds)
{
    struct pollfd p = {db->fd, rapyer_events(db), POLLIN};
    int timeout = rapyer_timeout_ms(db);
    if (milliseconds < INT32_MAX && (timeout < 0 || timeout > milliseconds))
        timeout = milliseconds;
    int rc = db->channel ? channel_wait(db->channel, timeout) : poll(&p, 1, timeout);
    if (rc < 0 && errno != EINTR)
        lost(db, strerror(errno));
    else
        rapyer_process(db, rc > 0 ? p.revents : 0);
}

size_t rapyer_pending(const rapyer *db)
{
    return db ? db->npending - db->nheirs - (db->ring == RING_ASKED) + db->nready : 0;
}

rapyer *rapyer_connect(const char *socket)
{
    rapyer *db = db_new(socket);
    if (!db || connection_open(db, RESTART_WAIT_MS) < 0)
        return db;
    while (db->fd >= 0 && db->npending) /* hello: is it a rapyerd that listens there? */
        connection_wait(db);
    return db;
}
