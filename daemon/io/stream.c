/* stream: see stream.h for the contract.
 *
 * A stream is in three states at once, each moved by one function: whose it is (life), what becomes
 * of its input, and whether its output flows. The bytes themselves are stream_flow.c's. */
#include "daemon/io/stream_inside.h"
#include "protocol/alloc.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_SECONDS 1 /* for the peer to read the last answer and close */

/* --- states ------------------------------------------------------------------------------ */

/* Whether the socket is watched: for bytes, or, beside a channel, for its end. */
static bool is_watched(const struct stream *s, enum stream_input input)
{
    return input == INPUT_OFFERED || input == INPUT_DRAINED ||
           (input == INPUT_PAUSED && s->channel);
}

void stream_set_input(struct stream *s, enum stream_input to)
{
    static const uint8_t from[] = {
        [INPUT_OFFERED] = 1 << INPUT_PAUSED,
        [INPUT_PAUSED] = 1 << INPUT_OFFERED,
        [INPUT_STOPPED] = 1 << INPUT_OFFERED | 1 << INPUT_PAUSED,
        [INPUT_DRAINED] = 1 << INPUT_OFFERED | 1 << INPUT_PAUSED | 1 << INPUT_STOPPED,
        [INPUT_ENDED] =
            1 << INPUT_OFFERED | 1 << INPUT_PAUSED | 1 << INPUT_STOPPED | 1 << INPUT_DRAINED,
    };

    assert(s->life != STREAM_CLOSED && from[to] & 1 << s->input);
    s->input = to;
    if (is_watched(s, to))
        event_add(&s->readable, NULL);
    else
        event_del(&s->readable);
}

void stream_set_output(struct stream *s, enum stream_output to)
{
    assert(s->life != STREAM_CLOSED && s->output != OUTPUT_FAILED);
    if (s->tls)
        stream_follow_tls(s);
    else if (s->output == OUTPUT_BLOCKED && to != OUTPUT_BLOCKED)
        event_del(&s->writable);
    else if (to == OUTPUT_BLOCKED && s->output != to && !s->channel)
        event_add(&s->writable, NULL);
    if (to == OUTPUT_FAILED) {
        assert(s->failure);
        stream_drop_out(s);
    }
    s->output = to;
}

/* It is freed when nothing on the stack can know it any more. */
static void enter_grave(struct stream *s)
{
    struct stream_loop *l = s->loop;

    event_del(&s->readable);
    event_del(&s->writable);
    if (s->deadline)
        event_free(s->deadline);
    s->deadline = NULL;
    if (s->queued)
        DL_DELETE2(l->todo, s, todo_prev, todo_next);
    poller_remove(l->poller, &s->polled);
    channel_free(s->channel);
    s->channel = NULL;
    tls_free(s->tls);
    s->tls = NULL;
    close(s->fd);
    s->fd = -1;
    if (!l->depth) {
        stream_free(s);
        return;
    }
    s->grave_next = l->grave;
    l->grave = s;
}

void stream_set_life(struct stream *s, enum stream_life to)
{
    struct stream_loop *l = s->loop;

    assert(to == s->life + 1 || (to == STREAM_CLOSED && s->life != STREAM_CLOSED));
    if (to == STREAM_DROPPED)
        DL_APPEND2(l->dropped, s, drop_prev, drop_next);
    else if (to == STREAM_CLOSED && s->life != STREAM_OWNED)
        DL_DELETE2(l->dropped, s, drop_prev, drop_next);
    s->life = to;
    if (to == STREAM_CLOSED)
        enter_grave(s);
}

/* --- closing ----------------------------------------------------------------------------- */

void stream_free(struct stream *s)
{
    struct stream_loop *l = s->loop;

    buf_free(&s->in);
    stream_drop_out(s);
    free(s->ahead);
    free(s);
    stream_loop_leave(l);
}

void stream_close(struct stream *s)
{
    if (s->life != STREAM_CLOSED)
        stream_set_life(s, STREAM_CLOSED);
}

void stream_end(struct stream *s, int err)
{
    if (s->input != INPUT_ENDED) /* else a write has failed since */
        stream_set_input(s, INPUT_ENDED);
    if (s->life != STREAM_OWNED)
        stream_close(s);
    else
        s->cb->on_end(s->arg, err ? err : s->failure, s->in.len);
}

void stream_linger_when_sent(struct stream *s)
{
    struct timeval linger = {.tv_sec = LINGER_SECONDS};

    if (s->life == STREAM_LINGERS || stream_unsent(s))
        return;
    stream_set_life(s, STREAM_LINGERS);
    shutdown(s->fd, SHUT_WR);
    if (s->input == INPUT_ENDED)
        stream_close(s);
    else
        evtimer_add(s->deadline, &linger);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    stream_close(arg);
}

/* Sends the rest, as far as that goes; closes it where it does not. */
static void send_rest(struct stream *s)
{
    if (s->output == OUTPUT_FLOWS)
        stream_write_out(s);
    if (s->output == OUTPUT_FAILED) {
        stream_close(s);
        return;
    }
    if (s->input != INPUT_ENDED && s->input != INPUT_DRAINED)
        stream_set_input(s, INPUT_DRAINED);
    stream_linger_when_sent(s);
}

void stream_drop(struct stream *s, unsigned timeout_ms)
{
    struct timeval after = {.tv_sec = timeout_ms / 1000,
                            .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};

    stream_set_life(s, STREAM_DROPPED);
    if (!s->in_input)
        buf_free(&s->in);
    s->deadline = evtimer_new(s->loop->base, on_deadline, s);
    if (!s->deadline || evtimer_add(s->deadline, &after) < 0)
        stream_close(s);
}

void stream_close_after_flush(struct stream *s, unsigned timeout_ms)
{
    struct stream_loop *l = s->loop;

    if (s->life != STREAM_OWNED)
        return;
    stream_loop_enter(l);
    stream_drop(s, timeout_ms);
    if (s->life == STREAM_DROPPED)
        send_rest(s);
    stream_loop_exit(l);
}

void streams_finish(struct event_base *base)
{
    struct stream_loop *l;

    /* The loop itself goes with its last stream. */
    while ((l = stream_loop_of(base)) && l->dropped)
        stream_close(l->dropped);
}

/* --- what its owner says ----------------------------------------------------------------- */

void stream_secure(struct stream *s, struct tls *t)
{
    assert(s->life == STREAM_OWNED && !s->tls && !s->channel && !s->written && !stream_unsent(s));
    s->tls = t;
}

void stream_pause(struct stream *s, bool paused)
{
    assert(!s->tls); /* what is read may be what a write waits for */
    if (s->life != STREAM_OWNED || s->input != (paused ? INPUT_OFFERED : INPUT_PAUSED))
        return;
    stream_set_input(s, paused ? INPUT_PAUSED : INPUT_OFFERED);
    if (paused)
        return;
    if (s->channel)
        stream_wake(s);
    s->reoffer = true;
    stream_do_later(s);
}

void stream_stop_reading(struct stream *s)
{
    if (s->life != STREAM_OWNED)
        return;
    if (s->input == INPUT_OFFERED || s->input == INPUT_PAUSED)
        stream_set_input(s, INPUT_STOPPED);
    if (!s->in_input)
        buf_free(&s->in);
}

void stream_flush_later(struct stream *s)
{
    if (!s->in_input && s->output != OUTPUT_BLOCKED)
        stream_do_later(s);
}

void stream_do_now(struct stream *s)
{
    bool reads = stream_takes_input(s) || s->input == INPUT_PAUSED;
    bool at_once = s->failure == EPROTO; /* no use in reading on */
    bool reoffer = s->reoffer;

    if (s->output == OUTPUT_FAILED && (!reads || at_once)) {
        stream_end(s, s->failure);
        return;
    }
    s->reoffer = false;
    if (reoffer && stream_takes_input(s) && s->in.len)
        stream_offer_again(s);
    if (s->life == STREAM_OWNED)
        stream_flush(s);
    else if (s->life == STREAM_DROPPED)
        send_rest(s);
}

size_t stream_unsent(const struct stream *s)
{
    return s->ahead_len + s->out.len - s->sent;
}

size_t stream_unread(const struct stream *s)
{
    return s->in.len;
}

const uint8_t *stream_unread_data(const struct stream *s)
{
    return s->in.data;
}

bool stream_take_in(struct stream *s, const uint8_t *end, struct buf *out)
{
    if (s->in.data == NULL || end != s->in.data + s->in.len)
        return false;
    *out = s->in;
    s->in = BUF_INIT;
    return true;
}

bool stream_peer_gone(const struct stream *s)
{
    struct pollfd p = {.fd = s->fd};

    return s->life == STREAM_CLOSED || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)));
}

uint64_t stream_written(const struct stream *s)
{
    return s->written;
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}

void stream_set_low(struct stream *s, size_t low)
{
    s->low = low;
    s->above = low && stream_unsent(s) >= low;
}

bool stream_has_channel(const struct stream *s)
{
    return s->channel;
}

struct stream *stream_new(struct event_base *base, int fd, const struct stream_callbacks *cb,
                          void *arg)
{
    struct stream *s = alloc_zeroed(1, sizeof *s);
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || !(s->loop = stream_loop_join(base))) {
        free(s);
        close(fd);
        return NULL;
    }
    s->fd = fd;
    s->cb = cb;
    s->arg = arg;
    if (event_assign(&s->readable, base, fd, EV_READ | EV_PERSIST, stream_on_readable, s) < 0 ||
        event_assign(&s->writable, base, fd, EV_WRITE | EV_PERSIST, stream_on_writable, s) < 0 ||
        event_add(&s->readable, NULL) < 0) {
        close(fd);
        stream_free(s);
        return NULL;
    }
    return s;
}
