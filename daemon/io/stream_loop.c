/* stream_loop: what all streams of one loop share: memory, and the work that must not run inside an
 * owner's call.
 *
 * Such work (late flushes, failures of writes, input that waited while paused) goes through the
 * todo list, run by one event that is activated when the first stream enters it: libevent runs it
 * after all that is active in this turn. */
#include "daemon/io/stream_inside.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define SPARES 64
#define KEEP_OUTPUT ((size_t)256 * 1024) /* one of the spare buffers may stay this big, */
#define KEEP_OUTPUTS ((size_t)4 * 1024)  /* the others so big */

/* By their event bases, which have no place for what is ours: one, but for the unit tests. */
static struct stream_loop *loops;

static const struct polled_calls polled_calls = {stream_serve, stream_fall_asleep};

struct stream_loop *stream_loop_of(const struct event_base *base)
{
    struct stream_loop *l = loops;

    while (l && l->base != base)
        l = l->next;
    return l;
}

static void run_todo(evutil_socket_t fd, short what, void *arg)
{
    struct stream_loop *l = arg;
    struct stream *s;

    (void)fd;
    (void)what;
    stream_loop_enter(l);
    while ((s = l->todo)) {
        DL_DELETE2(l->todo, s, todo_prev, todo_next);
        s->queued = false;
        stream_do_now(s);
    }
    stream_loop_exit(l);
}

static void loop_free(struct stream_loop *l)
{
    poller_free(l->poller);
    while (l->nspare)
        buf_free(&l->spare[--l->nspare]);
    free(l->spare);
    free(l->scratch);
    free(l);
}

struct stream_loop *stream_loop_join(struct event_base *base)
{
    struct stream_loop *l = stream_loop_of(base);

    if (l) {
        l->streams++;
        return l;
    }
    l = alloc_zeroed(1, sizeof *l);
    l->base = base;
    l->scratch = alloc_bytes(SCRATCH_BYTES);
    l->spare = alloc_zeroed(SPARES, sizeof *l->spare);
    l->poller = poller_new(base, &polled_calls);
    if (!l->poller || event_assign(&l->run_todo, base, -1, 0, run_todo, l) < 0) {
        loop_free(l);
        return NULL;
    }
    l->streams = 1;
    LL_PREPEND(loops, l);
    return l;
}

void stream_loop_leave(struct stream_loop *l)
{
    if (--l->streams)
        return;
    LL_DELETE(loops, l);
    event_del(&l->run_todo);
    loop_free(l);
}

void stream_loop_enter(struct stream_loop *l)
{
    l->depth++;
}

void stream_loop_exit(struct stream_loop *l)
{
    if (--l->depth)
        return;
    channels_wake(&l->wakes);
    struct stream *s = l->grave;
    l->grave = NULL;
    while (s) {
        struct stream *next = s->grave_next;
        stream_free(s);
        s = next;
    }
}

void stream_do_later(struct stream *s)
{
    struct stream_loop *l = s->loop;

    if (s->queued)
        return;
    if (!l->todo)
        event_active(&l->run_todo, EV_TIMEOUT, 0);
    DL_APPEND2(l->todo, s, todo_prev, todo_next);
    s->queued = true;
}

void stream_loop_keep(struct stream_loop *l, struct buf *out)
{
    buf_clear(out);
    if (l->nspare < SPARES && out->cap <= (l->nspare ? KEEP_OUTPUTS : KEEP_OUTPUT)) {
        l->spare[l->nspare++] = *out;
        *out = BUF_INIT;
    } else {
        buf_free(out);
    }
}

struct buf stream_loop_spare(struct stream_loop *l)
{
    return l->nspare ? l->spare[--l->nspare] : BUF_INIT;
}
