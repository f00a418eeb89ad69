/* stream_flow: bytes in and out of a stream's socket, or of its channel (stream.h).
 *
 * What keeps many idle streams cheap and few busy ones fast:
 *   - reading goes into one buffer that all streams of a loop share; only what the owner did
 *     not use up is copied into a buffer of the stream's own, and that one is freed when empty;
 *   - empty output buffers go back to the loop, for the next streams that write;
 *   - one read() per turn: a socket that has more is reported again by the next turn, so no
 *     stream can hold up the others;
 *   - EV_WRITE is armed only after the socket took less than all.
 *
 * A stream with a channel that had something to do lately is awake: each turn of the loop looks at
 * it, and its client need not ring. After a turn without anything for all of them they fall asleep,
 * and the loop may, too. */
#include "daemon/io/fds.h"
#include "daemon/io/stream_inside.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MIN ((size_t)16 * 1024)
#define READ_MAX ((size_t)256 * 1024)
#define KEEP_INPUT ((size_t)256 * 1024) /* a stream's own buffer may stay this big */

/* --- awake and asleep -------------------------------------------------------------------- */

static struct stream *stream_of(struct polled *p)
{
    return (struct stream *)((char *)p - offsetof(struct stream, polled));
}

void stream_wake(struct stream *s)
{
    if (!s->polled.awake)
        channel_wake(s->channel);
    poller_wake(s->loop->poller, &s->polled);
}

/* Unless there is something to do already, the client has to ring from now on. */
bool stream_fall_asleep(struct polled *p)
{
    struct stream *s = stream_of(p);
    uint32_t wants =
        (stream_takes_input(s) ? RING_BYTES : 0) | (s->output == OUTPUT_BLOCKED ? RING_ROOM : 0);

    return channel_sleep(s->channel, wants);
}

/* --- writing ----------------------------------------------------------------------------- */

/* The write side is done for. What the peer sent before it closed still counts: the owner
 * hears of the failure when the read side ends too, and never inside its own call. */
static void write_failed(struct stream *s, int err)
{
    s->failure = err;
    stream_set_output(s, OUTPUT_FAILED);
    stream_do_later(s);
}

static void block(struct stream *s)
{
    /* Moving the rest to the front only when it is the smaller half keeps the cost linear. */
    if (s->nahead == 0 && s->sent >= s->out.len - s->sent) {
        memmove(s->out.data, s->out.data + s->sent, s->out.len - s->sent);
        s->out.len -= s->sent;
        s->sent = 0;
    }
    if (s->channel)
        stream_wake(s);
    stream_set_output(s, OUTPUT_BLOCKED);
}

static void watch_low(struct stream *s)
{
    size_t unsent = stream_unsent(s);

    if (s->low && unsent >= s->low) {
        s->above = true;
    } else if (s->above) {
        s->above = false;
        if (s->cb->on_drained && s->life == STREAM_OWNED) {
            stream_loop_enter(s->loop);
            s->cb->on_drained(s->arg);
            stream_loop_exit(s->loop);
        }
    }
}

void stream_follow_tls(struct stream *s)
{
    if (tls_wants_room(s->tls))
        event_add(&s->writable, NULL);
    else
        event_del(&s->writable);
}

static ssize_t give(struct stream *s, const uint8_t *data, size_t len)
{
    if (s->tls)
        return tls_write(s->tls, data, len);
    if (!s->channel)
        return send(s->fd, data, len, MSG_NOSIGNAL);
    if (s->hung_up && stream_peer_gone(s)) {
        errno = EPIPE; /* there is room perhaps, but nobody takes it */
        return -1;
    }
    ssize_t n = channel_write(s->channel, data, len);
    if (n > 0)
        stream_wake(s); /* who has an answer asks again soon */
    return n;
}

/* Of what is next: whether all of it went. */
static bool write_first(struct stream *s, const struct buf *b)
{
    size_t unsent = b->len - s->sent;
    ssize_t n = give(s, b->data + s->sent, unsent);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        write_failed(s, errno);
        return false;
    }
    if (n > 0) {
        s->sent += (size_t)n;
        s->written += (size_t)n;
    }
    if (n != (ssize_t)unsent)
        block(s); /* taking less than all means full: no second try */
    return n == (ssize_t)unsent;
}

static void drop_first(struct stream *s)
{
    s->ahead_len -= s->ahead[0]->bytes.len;
    s->sent = 0;
    blob_unref(s->ahead[0]);
    memmove(s->ahead, s->ahead + 1, --s->nahead * sizeof(*s->ahead));
    if (s->nahead == 0 && s->out.len == 0)
        stream_set_output(s, OUTPUT_FLOWS);
}

void stream_drop_out(struct stream *s)
{
    for (unsigned i = 0; i < s->nahead; i++)
        blob_unref(s->ahead[i]);
    s->nahead = 0;
    s->ahead_len = 0;
    buf_free(&s->out);
    s->sent = 0;
}

void stream_write_out(struct stream *s)
{
    if (s->life == STREAM_CLOSED)
        return;
    if (s->output == OUTPUT_FAILED) {
        stream_drop_out(s);
        return;
    }
    while (s->nahead > 0) {
        if (!write_first(s, &s->ahead[0]->bytes))
            return;
        drop_first(s);
    }
    if (s->out.len == 0 || !write_first(s, &s->out))
        return;
    stream_loop_keep(s->loop, &s->out);
    s->sent = 0;
    stream_set_output(s, OUTPUT_FLOWS);
}

void stream_give(struct stream *s, struct blob *b)
{
    if (s->out.len > 0) {
        s->ahead_len += s->out.len;
        vec_push(s->ahead, s->nahead, s->ahead_cap, blob_new(&s->out));
    }
    s->ahead_len += b->bytes.len;
    vec_push(s->ahead, s->nahead, s->ahead_cap, blob_ref(b));
}

struct buf *stream_out(struct stream *s)
{
    if (!s->out.data)
        s->out = stream_loop_spare(s->loop);
    return &s->out;
}

void stream_flush(struct stream *s)
{
    stream_loop_enter(s->loop);
    if (s->output != OUTPUT_BLOCKED)
        stream_write_out(s);
    watch_low(s); /* may close it: last */
    stream_loop_exit(s->loop);
}

static void write_more(struct stream *s)
{
    stream_write_out(s);
    if (s->life == STREAM_OWNED)
        watch_low(s);
    else if (s->output == OUTPUT_FAILED)
        stream_close(s);
    else
        stream_linger_when_sent(s);
}

/* --- reading ----------------------------------------------------------------------------- */

static size_t offer(struct stream *s, const uint8_t *data, size_t len)
{
    s->in_input = true;
    size_t used = s->cb->on_input(s->arg, data, len);
    s->in_input = false;
    return used;
}

/* Nothing more of it will be offered. */
static bool input_is_over(const struct stream *s)
{
    return s->input != INPUT_OFFERED && s->input != INPUT_PAUSED;
}

static void input_used(struct stream *s, size_t used)
{
    if (input_is_over(s) || used >= s->in.len) {
        buf_free(&s->in);
        return;
    }
    memmove(s->in.data, s->in.data + used, s->in.len - used);
    s->in.len -= used;
    buf_shrink(&s->in, KEEP_INPUT);
}

void stream_offer_again(struct stream *s)
{
    size_t used = offer(s, s->in.data, s->in.len);

    if (s->life != STREAM_CLOSED)
        input_used(s, used);
}

static ssize_t take(struct stream *s, uint8_t *data, size_t len)
{
    if (s->tls)
        return tls_read(s->tls, data, len);
    return s->channel ? channel_read(s->channel, data, len) : read(s->fd, data, len);
}

/* Reads where the unfinished rest already lies. */
static ssize_t read_on(struct stream *s)
{
    size_t room = s->in.len < READ_MIN ? READ_MIN : s->in.len > READ_MAX ? READ_MAX : s->in.len;

    if (s->in.cap - s->in.len < room)
        buf_grow(&s->in, room);
    ssize_t n = take(s, s->in.data + s->in.len, s->in.cap - s->in.len);
    if (n <= 0)
        return n;
    s->in.len += (size_t)n;
    stream_offer_again(s);
    return n;
}

static ssize_t read_fresh(struct stream *s)
{
    uint8_t *scratch = s->loop->scratch;
    ssize_t n = take(s, scratch, SCRATCH_BYTES);

    if (n <= 0 || s->life != STREAM_OWNED)
        return n;
    size_t used = offer(s, scratch, (size_t)n);
    if (s->life == STREAM_CLOSED || input_is_over(s) || used >= (size_t)n)
        return n;
    buf_append(&s->in, scratch + used, (size_t)n - used);
    return n;
}

/* Whether there was anything. */
static bool read_more(struct stream *s)
{
    ssize_t n = s->in.len ? read_on(s) : read_fresh(s);

    if (s->life == STREAM_CLOSED)
        ; /* by its owner */
    else if (n == 0)
        stream_end(s, 0);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        stream_end(s, errno);
    else if (n > 0 && stream_unsent(s) && s->life == STREAM_OWNED)
        stream_flush(s);
    return n > 0;
}

/* --- what the loop says ------------------------------------------------------------------ */

/* The socket beside a channel carries nothing but its end. That is seen before the last look at the
 * channel, so whatever was put before it counts. */
static void hear_end(struct stream *s)
{
    uint8_t byte;
    ssize_t n = recv(s->fd, &byte, 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    s->hung_up = true;
    if (n > 0 || s->life != STREAM_OWNED)
        stream_end(s, n > 0 ? EPROTO : 0);
    else
        stream_wake(s); /* stream_serve takes what is there yet, when it may */
}

/* A write may have waited for what was read; and what lies in TLS no socket tells of. */
static void read_more_tls(struct stream *s)
{
    read_more(s);
    if (s->life != STREAM_CLOSED && s->output == OUTPUT_BLOCKED && !tls_wants_room(s->tls))
        write_more(s);
    if (s->life == STREAM_CLOSED)
        return;
    stream_follow_tls(s);
    if (tls_holds(s->tls) && s->input != INPUT_ENDED)
        event_active(&s->readable, EV_READ, 0);
}

void stream_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    struct stream_loop *l = s->loop;

    (void)fd;
    (void)what;
    stream_loop_enter(l);
    if (s->channel)
        hear_end(s);
    else if (s->tls)
        read_more_tls(s);
    else
        read_more(s);
    stream_loop_exit(l);
}

void stream_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    struct stream_loop *l = s->loop;

    (void)fd;
    (void)what;
    stream_loop_enter(l);
    write_more(s);
    if (s->tls && s->life != STREAM_CLOSED && s->input != INPUT_ENDED)
        read_more_tls(s); /* which may have been what waited */
    stream_loop_exit(l);
}

/* One turn of a stream that is awake; whether it had anything to do. */
bool stream_serve(struct polled *p)
{
    struct stream *s = stream_of(p);
    struct stream_loop *l = s->loop;
    uint64_t written = s->written;
    bool took = false;

    stream_loop_enter(l);
    if (s->output == OUTPUT_BLOCKED)
        write_more(s);
    if (stream_takes_input(s))
        took = read_more(s);
    took |= s->reoffer; /* what waited goes first */
    if (!took && s->hung_up && stream_takes_input(s))
        stream_end(s, 0);
    took |= s->written != written;
    if (took && s->life != STREAM_CLOSED)
        stream_wake(s);
    stream_loop_exit(l);
    return took;
}

void stream_on_bell(void *arg)
{
    stream_wake(arg); /* its turn comes */
}

/* Edge-triggered: an end that cannot be acted upon yet does not keep the loop awake, and that the
 * other direction ended, too, is told once more. */
static int watch_end(struct stream *s)
{
    event_del(&s->readable);
    event_assign(&s->readable, s->loop->base, s->fd, EV_READ | EV_PERSIST | EV_ET,
                 stream_on_readable, s);
    return event_add(&s->readable, NULL);
}

int stream_use_channel(struct stream *s, struct channel *c, unsigned watch_us)
{
    poller_set_watch(s->loop->poller, watch_us);
    s->channel = c;
    return watch_end(s);
}

/* The socket would take something now. */
static bool drained(struct stream *s)
{
    if (s->output == OUTPUT_FLOWS)
        stream_write_out(s);
    return s->life != STREAM_CLOSED && s->output != OUTPUT_FAILED && !stream_unsent(s);
}

int stream_send_fd(struct stream *s, const void *data, size_t len, int fd)
{
    if (s->channel || s->tls || !drained(s)) {
        errno = s->channel || s->tls ? EBADFD : EAGAIN;
        return -1;
    }
    if (fds_send(s->fd, data, len, &fd, 1) < 0)
        return -1;
    s->written += len;
    return 0;
}

int stream_open_channel(struct stream *s, uint32_t size, unsigned watch_us, const void *last,
                        size_t len)
{
    if (s->tls || !drained(s)) {
        errno = s->tls ? EBADFD : EAGAIN;
        return -1;
    }
    struct channel *c = channel_new(s->loop->base, &s->loop->wakes, size, stream_on_bell, s);
    if (!c)
        return -1;
    if (channel_hand_over(c, s->fd, last, len) < 0) {
        int error = errno;
        channel_free(c);
        errno = error;
        return -1;
    }
    s->written += len;
    if (stream_use_channel(s, c, watch_us) < 0)
        write_failed(s, errno);
    stream_wake(s);
    return 0;
}
