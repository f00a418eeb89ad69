/* stream: see stream.h for the contract.
 *
 * What keeps many idle streams cheap and few busy ones fast:
 *   - reading goes into one buffer that all streams of a loop share; only what the owner did
 *     not use up is copied into a buffer of the stream's own, and that one is freed when empty;
 *   - empty output buffers go back to the loop, for the next streams that write;
 *   - one read() per turn: a socket that has more is reported again by the next turn, so no
 *     stream can hold up the others;
 *   - EV_WRITE is armed only after the socket took less than all.
 *
 * Streams with a channel that had something to do lately are hot: each turn of the loop looks at
 * them, and their clients need not ring. After a turn without anything they go to sleep, and the
 * loop may, too.
 *
 * Work that must not run inside the owner's call (late flushes, failures of writes, input that
 * waited while paused) goes through the loop's `todo` list, run by one event that is activated
 * when the first stream enters it: libevent runs it after all that is active in this turn.
 */
#include "daemon/io/stream.h"
#include "daemon/io/channel.h"
#include "daemon/io/hot.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define SCRATCH_BYTES ((size_t)128 * 1024)
#define READ_MIN ((size_t)16 * 1024)
#define READ_MAX ((size_t)256 * 1024)
#define KEEP_INPUT ((size_t)256 * 1024) /* a stream's own buffer may stay this big */
#define LINGER_SECONDS 1                /* for the peer to read the last answer and close */
#define SPARES 64
#define KEEP_OUTPUT ((size_t)256 * 1024) /* and so may one of the spare ones, */
#define KEEP_OUTPUTS ((size_t)4 * 1024)  /* the others so big */

/* Shared by all streams of an event base; lives while there are any. */
struct loop {
    struct event_base *base;
    unsigned streams; /* not freed ones */
    unsigned depth;   /* callbacks of streams now running */
    struct event run_todo;
    struct stream *todo;      /* linked by todo_prev, todo_next */
    struct stream *dropped;   /* sending their rest; linked by drop_prev, drop_next */
    struct stream *grave;     /* closed while a callback ran; linked by grave_next */
    struct hots *hots;        /* streams with a channel that are busy */
    struct buf spare[SPARES]; /* empty output buffers */
    unsigned nspare;
    uint8_t *scratch;
    struct loop *next;
};

struct stream {
    struct loop *loop;
    int fd;
    const struct stream_callbacks *cb;
    void *arg;
    struct event readable, writable;
    struct event *deadline;  /* of closing */
    struct channel *channel; /* NULL: bytes flow through fd */
    struct buf in;           /* arrived, not used up */
    struct buf out;          /* out.data[sent..out.len) is unsent */
    size_t sent;
    size_t low;
    uint64_t written;
    int failure;    /* errno of a write, to be told by the todo list */
    bool closed;    /* waits in the grave */
    bool paused;    /* by the owner */
    bool ended;     /* end of stream, or reading failed */
    bool hung_up;   /* with a channel: the socket has ended, the channel may hold bytes yet */
    bool stopped;   /* the owner wants no more input */
    bool dropping;  /* the owner let go of it, it sends the rest */
    bool shut;      /* dropping, and all is sent */
    bool above;     /* more than low is unsent */
    bool blocked;   /* the socket or the channel was full; EV_WRITE is armed for a socket */
    bool in_input;  /* on_input runs: it is flushed when that returns */
    bool handover;  /* unpaused, `in` has to be offered again */
    bool queued;    /* in todo */
    struct hot hot; /* only with a channel */
    struct stream *todo_prev, *todo_next, *drop_prev, *drop_next, *grave_next;
};

static struct loop *loops;

/* --- the loop ---------------------------------------------------------------------------- */

static void run_todo(evutil_socket_t fd, short what, void *arg);
static bool serve(struct hot *h);
static bool on_cold(struct hot *h);

static const struct hot_calls hot_calls = {serve, on_cold};

static struct loop *loop_of(const struct event_base *base)
{
    struct loop *l = loops;

    while (l && l->base != base)
        l = l->next;
    return l;
}

static struct loop *loop_join(struct event_base *base)
{
    struct loop *l = loop_of(base);

    if (l) {
        l->streams++;
        return l;
    }
    l = calloc(1, sizeof *l);
    if (!l || !(l->scratch = malloc(SCRATCH_BYTES)) || !(l->hots = hots_new(base, &hot_calls)) ||
        event_assign(&l->run_todo, base, -1, 0, run_todo, l) < 0) {
        if (l) {
            hots_free(l->hots);
            free(l->scratch);
        }
        free(l);
        return NULL;
    }
    l->base = base;
    l->streams = 1;
    LL_PREPEND(loops, l);
    return l;
}

static void loop_leave(struct loop *l)
{
    if (--l->streams)
        return;
    LL_DELETE(loops, l);
    event_del(&l->run_todo);
    hots_free(l->hots);
    while (l->nspare)
        buf_free(&l->spare[--l->nspare]);
    free(l->scratch);
    free(l);
}

static void stream_free(struct stream *s)
{
    struct loop *l = s->loop;

    buf_free(&s->in);
    buf_free(&s->out);
    free(s);
    loop_leave(l);
}

/* Every callback of libevent runs between enter and leave: what was closed meanwhile is freed
 * when nothing on the stack can know it any more. */
static void enter(struct loop *l)
{
    l->depth++;
}

static void leave(struct loop *l)
{
    if (--l->depth)
        return;
    channels_wake();
    struct stream *s = l->grave;
    l->grave = NULL;
    while (s) {
        struct stream *next = s->grave_next;
        stream_free(s);
        s = next;
    }
}

static void do_later(struct stream *s)
{
    struct loop *l = s->loop;

    if (s->queued)
        return;
    if (!l->todo)
        event_active(&l->run_todo, EV_TIMEOUT, 0);
    DL_APPEND2(l->todo, s, todo_prev, todo_next);
    s->queued = true;
}

/* --- channels: hot and cold -------------------------------------------------------------- */

static struct stream *stream_of(struct hot *h)
{
    return (struct stream *)((char *)h - offsetof(struct stream, hot));
}

/* The loop looks at it without being told, from now on. */
static void heat(struct stream *s)
{
    if (!s->hot.is)
        channel_wake(s->channel);
    hot_add(s->loop->hots, &s->hot);
}

static bool takes_input(const struct stream *s)
{
    return !s->closed && !s->paused && !s->ended && !s->stopped && !s->dropping;
}

/* Unless there is something to do already, the client has to ring from now on. */
static bool on_cold(struct hot *h)
{
    struct stream *s = stream_of(h);
    uint32_t wants = (takes_input(s) ? RING_BYTES : 0) | (s->blocked ? RING_ROOM : 0);

    return channel_sleep(s->channel, wants);
}

/* --- writing ----------------------------------------------------------------------------- */

static void drop_output(struct stream *s)
{
    buf_free(&s->out);
    s->sent = 0;
    if (s->blocked)
        event_del(&s->writable);
    s->blocked = false;
}

/* The write side is done for. What the peer sent before it closed still counts: the owner
 * hears of the failure when the read side ends too, and never inside its own call. */
static void write_failed(struct stream *s, int err)
{
    drop_output(s);
    s->failure = err;
    do_later(s);
}

static void output_empty(struct stream *s)
{
    struct loop *l = s->loop;

    buf_clear(&s->out);
    s->sent = 0;
    if (l->nspare < SPARES && s->out.cap <= (l->nspare ? KEEP_OUTPUTS : KEEP_OUTPUT)) {
        l->spare[l->nspare++] = s->out;
        s->out = BUF_INIT;
    } else {
        buf_free(&s->out);
    }
    if (s->blocked)
        event_del(&s->writable);
    s->blocked = false;
}

static void block(struct stream *s)
{
    /* Moving the rest to the front only when it is the smaller half keeps the cost linear. */
    if (s->sent >= s->out.len - s->sent) {
        memmove(s->out.data, s->out.data + s->sent, s->out.len - s->sent);
        s->out.len -= s->sent;
        s->sent = 0;
    }
    if (s->channel)
        heat(s);
    else if (!s->blocked)
        event_add(&s->writable, NULL);
    s->blocked = true;
}

static void watch_low(struct stream *s)
{
    size_t unsent = stream_unsent(s);

    if (s->low && unsent >= s->low) {
        s->above = true;
    } else if (s->above) {
        s->above = false;
        if (s->cb->on_drained && !s->dropping) {
            enter(s->loop);
            s->cb->on_drained(s->arg);
            leave(s->loop);
        }
    }
}

static ssize_t give(struct stream *s, const uint8_t *data, size_t len)
{
    if (!s->channel)
        return send(s->fd, data, len, MSG_NOSIGNAL);
    if (s->hung_up && stream_peer_gone(s)) {
        errno = EPIPE; /* there is room perhaps, but nobody takes it */
        return -1;
    }
    ssize_t n = channel_write(s->channel, data, len);
    if (n > 0)
        heat(s); /* who has an answer asks again soon */
    return n;
}

static void write_out(struct stream *s)
{
    if (s->closed)
        return;
    if (s->failure) {
        drop_output(s);
        return;
    }
    if (s->out.failed) {
        write_failed(s, ENOMEM);
        return;
    }
    size_t unsent = stream_unsent(s);
    if (!unsent)
        return;
    ssize_t n = give(s, s->out.data + s->sent, unsent);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        write_failed(s, errno);
        return;
    }
    if (n > 0) {
        s->sent += (size_t)n;
        s->written += (size_t)n;
    }
    if (n == (ssize_t)unsent)
        output_empty(s);
    else
        block(s); /* taking less than all means full: no second try */
}

struct buf *stream_out(struct stream *s)
{
    if (!s->out.data && !s->out.failed && s->loop->nspare)
        s->out = s->loop->spare[--s->loop->nspare];
    return &s->out;
}

void stream_flush(struct stream *s)
{
    enter(s->loop);
    if (!s->blocked)
        write_out(s);
    watch_low(s); /* may close it: last */
    leave(s->loop);
}

void stream_flush_later(struct stream *s)
{
    if (!s->in_input && !s->blocked)
        do_later(s);
}

size_t stream_unsent(const struct stream *s)
{
    return s->out.len - s->sent;
}

/* --- closing ----------------------------------------------------------------------------- */

void stream_close(struct stream *s)
{
    struct loop *l = s->loop;

    if (s->closed)
        return;
    s->closed = true;
    event_del(&s->readable);
    event_del(&s->writable);
    if (s->deadline)
        event_free(s->deadline);
    s->deadline = NULL;
    if (s->queued)
        DL_DELETE2(l->todo, s, todo_prev, todo_next);
    if (s->dropping)
        DL_DELETE2(l->dropped, s, drop_prev, drop_next);
    hot_remove(l->hots, &s->hot);
    channel_free(s->channel);
    s->channel = NULL;
    close(s->fd);
    s->fd = -1;
    if (!l->depth) {
        stream_free(s);
        return;
    }
    s->grave_next = l->grave;
    l->grave = s;
}

/* Dropping, and all is sent: waits for the peer to close. */
static void shut_when_sent(struct stream *s)
{
    if (s->shut || stream_unsent(s))
        return;
    struct timeval linger = {.tv_sec = LINGER_SECONDS};
    s->shut = true;
    shutdown(s->fd, SHUT_WR);
    if (s->ended)
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

void stream_close_after_flush(struct stream *s, unsigned timeout_ms)
{
    struct timeval after = {.tv_sec = timeout_ms / 1000,
                            .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};

    if (s->closed || s->dropping)
        return;
    enter(s->loop);
    s->dropping = true;
    DL_APPEND2(s->loop->dropped, s, drop_prev, drop_next);
    if (!s->in_input)
        buf_free(&s->in);
    s->deadline = evtimer_new(s->loop->base, on_deadline, s);
    if (!s->deadline || evtimer_add(s->deadline, &after) < 0 || s->failure) {
        stream_close(s);
    } else {
        if (!s->blocked)
            write_out(s);
        if (s->failure) {
            stream_close(s);
        } else {
            if (!s->ended)
                event_add(&s->readable, NULL);
            shut_when_sent(s);
        }
    }
    leave(s->loop);
}

void streams_finish(struct event_base *base)
{
    struct loop *l;

    /* The loop itself goes with its last stream. */
    while ((l = loop_of(base)) && l->dropped)
        stream_close(l->dropped);
}

/* --- reading ----------------------------------------------------------------------------- */

static size_t offer(struct stream *s, const uint8_t *data, size_t len)
{
    s->in_input = true;
    size_t used = s->cb->on_input(s->arg, data, len);
    s->in_input = false;
    return used;
}

static void end(struct stream *s, int err)
{
    s->ended = true;
    event_del(&s->readable);
    if (s->dropping)
        stream_close(s);
    else
        s->cb->on_end(s->arg, err ? err : s->failure, s->in.len);
}

static void input_used(struct stream *s, size_t used)
{
    if (s->ended || s->stopped || s->dropping || used >= s->in.len) {
        buf_free(&s->in);
        return;
    }
    memmove(s->in.data, s->in.data + used, s->in.len - used);
    s->in.len -= used;
    buf_shrink(&s->in, KEEP_INPUT);
}

static ssize_t take(struct stream *s, uint8_t *data, size_t len)
{
    return s->channel ? channel_read(s->channel, data, len) : read(s->fd, data, len);
}

/* Reads where the unfinished rest already lies. */
static ssize_t read_on(struct stream *s)
{
    size_t room = s->in.len < READ_MIN ? READ_MIN : s->in.len > READ_MAX ? READ_MAX : s->in.len;

    if (s->in.cap - s->in.len < room && !buf_grow(&s->in, room)) {
        errno = ENOMEM;
        return -1;
    }
    ssize_t n = take(s, s->in.data + s->in.len, s->in.cap - s->in.len);
    if (n <= 0)
        return n;
    s->in.len += (size_t)n;
    size_t used = offer(s, s->in.data, s->in.len);
    if (!s->closed)
        input_used(s, used);
    return n;
}

static ssize_t read_fresh(struct stream *s)
{
    uint8_t *scratch = s->loop->scratch;
    ssize_t n = take(s, scratch, SCRATCH_BYTES);

    if (n <= 0 || s->dropping)
        return n;
    size_t used = offer(s, scratch, (size_t)n);
    if (s->closed || s->stopped || s->dropping || used >= (size_t)n)
        return n;
    buf_append(&s->in, scratch + used, (size_t)n - used);
    if (s->in.failed) {
        errno = ENOMEM;
        return -1;
    }
    return n;
}

/* Whether there was anything. */
static bool read_more(struct stream *s)
{
    ssize_t n = s->in.len ? read_on(s) : read_fresh(s);

    if (s->closed)
        ; /* by its owner */
    else if (n == 0)
        end(s, 0);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        end(s, errno);
    else if (n > 0 && stream_unsent(s) && !s->dropping)
        stream_flush(s);
    return n > 0;
}

static void write_more(struct stream *s)
{
    write_out(s);
    if (s->dropping && s->failure)
        stream_close(s);
    else if (s->dropping)
        shut_when_sent(s);
    else
        watch_low(s);
}

/* The socket beside a channel carries nothing but its end. That is seen before the last look at the
 * channel, so whatever was put before it counts. */
static void hear_end(struct stream *s)
{
    uint8_t byte;
    ssize_t n = recv(s->fd, &byte, 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    s->hung_up = true;
    if (n > 0 || s->dropping)
        end(s, n > 0 ? EPROTO : 0);
    else
        heat(s); /* serve takes what is there yet, when it may */
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    struct loop *l = s->loop;

    (void)fd;
    (void)what;
    enter(l);
    if (s->channel)
        hear_end(s);
    else
        read_more(s);
    leave(l);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    struct loop *l = s->loop;

    (void)fd;
    (void)what;
    enter(l);
    write_more(s);
    leave(l);
}

size_t stream_unread(const struct stream *s)
{
    return s->in.len;
}

const uint8_t *stream_unread_data(const struct stream *s)
{
    return s->in.data;
}

void stream_pause(struct stream *s, bool paused)
{
    if (s->paused == paused || s->closed || s->ended || s->stopped || s->dropping)
        return;
    s->paused = paused;
    if (paused) {
        if (!s->channel) /* else it tells of the end, which is of use now, too */
            event_del(&s->readable);
        return;
    }
    if (s->channel)
        heat(s);
    else
        event_add(&s->readable, NULL);
    s->handover = true;
    do_later(s);
}

void stream_stop_reading(struct stream *s)
{
    if (s->closed || s->dropping)
        return;
    s->stopped = true;
    event_del(&s->readable);
    if (!s->in_input)
        buf_free(&s->in);
}

bool stream_peer_gone(const struct stream *s)
{
    struct pollfd p = {.fd = s->fd};

    return s->closed || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)));
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

/* --- channels: what they do -------------------------------------------------------------- */

/* One turn of a hot stream; whether it had anything to do. */
static bool serve(struct hot *h)
{
    struct stream *s = stream_of(h);
    uint64_t written = s->written;
    bool took = false;

    enter(s->loop);
    if (s->blocked)
        write_more(s);
    if (takes_input(s))
        took = read_more(s);
    took |= s->handover; /* what waited goes first */
    if (!took && s->hung_up && takes_input(s))
        end(s, 0);
    took |= s->written != written;
    if (took && !s->closed)
        heat(s);
    leave(s->loop);
    return took;
}

static void on_bell(void *arg)
{
    heat(arg); /* its turn comes */
}

/* Edge-triggered: an end that cannot be acted upon yet does not keep the loop awake, and that the
 * other direction ended, too, is told once more. */
static int watch_end(struct stream *s)
{
    event_del(&s->readable);
    event_assign(&s->readable, s->loop->base, s->fd, EV_READ | EV_PERSIST | EV_ET, on_readable, s);
    return event_add(&s->readable, NULL);
}

int stream_open_channel(struct stream *s, uint32_t size, unsigned watch_us, const void *last,
                        size_t len)
{
    if (!s->blocked)
        write_out(s);
    if (s->closed || s->failure || stream_unsent(s)) {
        errno = EAGAIN;
        return -1;
    }
    struct channel *c = channel_new(s->loop->base, size, on_bell, s);
    if (!c)
        return -1;
    if (channel_hand_over(c, s->fd, last, len) < 0) {
        int error = errno;
        channel_free(c);
        errno = error;
        return -1;
    }
    hots_set_watch(s->loop->hots, watch_us);
    s->channel = c;
    s->written += len;
    heat(s);
    if (watch_end(s) < 0)
        write_failed(s, ENOMEM);
    return 0;
}

bool stream_has_channel(const struct stream *s)
{
    return s->channel;
}

/* --- later ------------------------------------------------------------------------------- */

static void do_now(struct stream *s)
{
    bool at_once = s->failure == ENOMEM || s->failure == EPROTO; /* no use in reading on */

    if (s->failure && (s->ended || s->stopped || s->dropping || at_once)) {
        end(s, s->failure);
        return;
    }
    if (s->handover && !s->paused && !s->ended && !s->stopped && s->in.len) {
        s->handover = false;
        size_t used = offer(s, s->in.data, s->in.len);
        if (s->closed)
            return;
        input_used(s, used);
    }
    s->handover = false;
    if (!s->dropping)
        stream_flush(s);
}

static void run_todo(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    struct stream *s;

    (void)fd;
    (void)what;
    enter(l);
    while ((s = l->todo)) {
        DL_DELETE2(l->todo, s, todo_prev, todo_next);
        s->queued = false;
        do_now(s);
    }
    leave(l);
}

struct stream *stream_new(struct event_base *base, int fd, const struct stream_callbacks *cb,
                          void *arg)
{
    struct stream *s = calloc(1, sizeof *s);
    int flags = fcntl(fd, F_GETFL);

    if (!s || flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || !(s->loop = loop_join(base))) {
        free(s);
        close(fd);
        return NULL;
    }
    s->fd = fd;
    s->cb = cb;
    s->arg = arg;
    if (event_assign(&s->readable, base, fd, EV_READ | EV_PERSIST, on_readable, s) < 0 ||
        event_assign(&s->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, s) < 0 ||
        event_add(&s->readable, NULL) < 0) {
        close(fd);
        stream_free(s);
        return NULL;
    }
    return s;
}
