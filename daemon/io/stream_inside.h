/* stream_inside: what stream.c, stream_flow.c, stream_loop.c and stream_state.c share, and nobody
 * else.
 *
 *   stream.c       its states, and what its owner says
 *   stream_flow.c  bytes in and out of the socket or the channel
 *   stream_loop.c  what all streams of one loop share
 *   stream_state.c how they go over to another process
 */
#ifndef RAPYERD_STREAM_INSIDE_H
#define RAPYERD_STREAM_INSIDE_H

#include "daemon/io/channel.h"
#include "daemon/io/poller.h"
#include "daemon/io/stream.h"
#include <event2/event_struct.h>
#include <utlist.h>

/* Whose it is. OWNED ──► DROPPED ──all is sent──► LINGERS, and from each of them ──► CLOSED. */
enum stream_life {
    STREAM_OWNED,   /* its owner's, who is called back */
    STREAM_DROPPED, /* its owner let go of it; it sends the rest */
    STREAM_LINGERS, /* all is sent; it waits for the peer to close */
    STREAM_CLOSED   /* waits in the grave to be freed */
};

/* What becomes of bytes that arrive. */
enum stream_input {
    INPUT_OFFERED, /* the owner has them */
    INPUT_PAUSED,  /* by the owner: nothing is read */
    INPUT_STOPPED, /* for good, by the owner */
    INPUT_DRAINED, /* nobody's any more: read, and thrown away */
    INPUT_ENDED    /* there are no more: the end of the stream, or reading has failed */
};

enum stream_output {
    OUTPUT_FLOWS,
    OUTPUT_BLOCKED, /* the socket or the channel is full */
    OUTPUT_FAILED   /* what is written is dropped; `failure` says why */
};

/* Shared by all streams of an event base; lives while there are any. */
struct stream_loop {
    struct event_base *base;
    unsigned streams; /* not freed ones */
    unsigned depth;   /* callbacks of streams now running */
    struct event run_todo;
    struct stream *todo;    /* linked by todo_prev, todo_next */
    struct stream *dropped; /* sending their rest; linked by drop_prev, drop_next */
    struct stream *grave;   /* closed while a callback ran; linked by grave_next */
    struct poller *poller;  /* of streams with a channel */
    struct channel_wakes wakes;
    struct buf *spare; /* empty output buffers */
    unsigned nspare;
    uint8_t *scratch; /* SCRATCH_BYTES, to read into */
    struct stream_loop *next;
};

#define SCRATCH_BYTES ((size_t)128 * 1024)

struct stream {
    struct stream_loop *loop;
    int fd;
    const struct stream_callbacks *cb;
    void *arg;
    struct event readable, writable;
    struct event *deadline;  /* DROPPED, LINGERS: of closing */
    struct channel *channel; /* NULL: bytes flow through fd */
    struct polled polled;    /* only with a channel */
    struct tls *tls;         /* NULL: bytes flow as they are */
    enum stream_life life;
    enum stream_input input;
    enum stream_output output;
    int failure;         /* errno of a write */
    struct buf in;       /* arrived, not used up */
    struct blob **ahead; /* goes before `out`, the first one first */
    unsigned nahead, ahead_cap;
    size_t ahead_len; /* bytes of them all */
    struct buf out;   /* unsent */
    size_t sent;      /* of what is first, be it ahead or `out` */
    size_t low;
    uint64_t written;
    bool hung_up;  /* the socket beside the channel has ended; the channel may hold bytes yet */
    bool above;    /* at least `low` bytes are unsent; on_drained will say when they are less */
    bool in_input; /* on_input runs: it is flushed when that returns */
    bool reoffer;  /* was paused: `in` has to be offered again */
    bool queued;   /* in todo */
    struct stream *todo_prev, *todo_next, *drop_prev, *drop_next, *grave_next;
};

static inline bool stream_takes_input(const struct stream *s)
{
    return s->life == STREAM_OWNED && s->input == INPUT_OFFERED;
}

/* ---- stream.c ---- */

/* The only ones that write life, input and output: they do what goes with the step, and end the
 * process on one that there is not. */
void stream_set_life(struct stream *s, enum stream_life to);
void stream_set_input(struct stream *s, enum stream_input to);
void stream_set_output(struct stream *s, enum stream_output to);
/* The peer is done (0), or the socket failed: tells the owner, or closes what has none. */
void stream_end(struct stream *s, int err);
/* Dropped, and all is sent: waits for the peer to close. */
void stream_linger_when_sent(struct stream *s);
/* Lets go of its owner: the rest is sent when its turn comes, and it is closed. */
void stream_drop(struct stream *s, unsigned timeout_ms);
/* From the todo list, when its turn comes. */
void stream_do_now(struct stream *s);

/* ---- stream_flow.c ---- */

/* For the events of the socket, and for the poller. */
void stream_on_readable(evutil_socket_t fd, short what, void *arg);
void stream_on_writable(evutil_socket_t fd, short what, void *arg);
bool stream_serve(struct polled *p);
bool stream_fall_asleep(struct polled *p);
/* With TLS reading may wait for room and writing for bytes: listens for what it waits for. */
void stream_follow_tls(struct stream *s);
/* The channel is looked at without being told, from now on. */
void stream_wake(struct stream *s);
/* Writes what is taken now. */
void stream_write_out(struct stream *s);
/* Nothing is left to send. */
void stream_drop_out(struct stream *s);
/* Offers the owner what waits. May close it. */
void stream_offer_again(struct stream *s);

/* ---- stream_loop.c ---- */

struct stream_loop *stream_loop_of(const struct event_base *base); /* NULL: it has no streams */
/* One stream more, and one less: the last one ends it. NULL: errno. */
struct stream_loop *stream_loop_join(struct event_base *base);
void stream_loop_leave(struct stream_loop *l);
/* Every callback of libevent runs between the two: what was closed meanwhile is freed when nothing
 * on the stack can know it any more. */
void stream_loop_enter(struct stream_loop *l);
void stream_loop_exit(struct stream_loop *l);
/* stream_do_now, behind all that is active in this turn of the loop. */
void stream_do_later(struct stream *s);
/* Takes the buffer of an output that is all sent, and gives one for a new one. */
void stream_loop_keep(struct stream_loop *l, struct buf *out);
struct buf stream_loop_spare(struct stream_loop *l);

void stream_free(struct stream *s);

/* ---- stream_flow.c, for stream_state.c ---- */

/* Bytes flow through the channel from now on. */
int stream_use_channel(struct stream *s, struct channel *c, unsigned watch_us);
void stream_on_bell(void *arg);

#endif
