/* stream_state: how streams go over to another process of the daemon (stream.h). */
#include "daemon/io/stream_inside.h"
#include "protocol/alloc.h"
#include <errno.h>

static void pack_unsent(const struct stream *s, struct state_writer *w)
{
    struct buf unsent = BUF_INIT;

    for (unsigned i = 0; i < s->nahead; i++)
        buf_append(&unsent, s->ahead[i]->bytes.data, s->ahead[i]->bytes.len);
    buf_append(&unsent, s->out.data, s->out.len);
    pack_bin(&w->out, unsent.data + s->sent, unsent.len - s->sent);
    buf_free(&unsent);
}

void stream_save(const struct stream *s, struct state_writer *w)
{
    pack_array(&w->out, 5);
    state_fd(w, s->fd);
    pack_uint(&w->out, s->written);
    pack_bin(&w->out, s->in.data, s->in.len);
    pack_unsent(s, w);
    if (s->channel)
        channel_save(s->channel, w);
    else
        pack_nil(&w->out);
}

static int resume_channel(struct stream *s, struct state_reader *r, unsigned watch_us)
{
    struct stream_loop *l = s->loop;

    if (r->bad || cursor_nil(&r->in))
        return 0;
    struct channel *c = channel_resume(l->base, &l->wakes, r, stream_on_bell, s);
    return c ? stream_use_channel(s, c, watch_us) : -1;
}

struct stream *stream_resume(struct event_base *base, struct state_reader *r, unsigned watch_us,
                             const struct stream_callbacks *cb, void *arg)
{
    struct state_tuple t = state_enter(r, 5);
    int fd = state_take_fd(r);

    errno = EPROTO;
    if (fd < 0)
        return NULL;
    struct stream *s = stream_new(base, fd, cb, arg);
    if (!s)
        return NULL;
    s->written = state_uint(r);
    state_bytes(r, &s->in);
    state_bytes(r, &s->out);
    int status = resume_channel(s, r, watch_us);
    state_leave(r, &t);
    if (status < 0 || r->bad) {
        int error = r->bad ? EPROTO : errno;
        stream_close(s); /* nobody was told of it */
        errno = error;
        return NULL;
    }
    s->reoffer = s->in.len > 0;
    stream_do_later(s);
    return s;
}

void stream_put_before(struct stream *s, const void *data, size_t len)
{
    struct buf all = BUF_INIT;

    if (len == 0)
        return;
    buf_append(&all, data, len);
    buf_append(&all, s->in.data, s->in.len);
    buf_free(&s->in);
    s->in = all;
    s->reoffer = true;
}

void streams_save_dropped(const struct event_base *base, struct state_writer *w)
{
    const struct stream_loop *l = stream_loop_of(base);
    struct stream *s;
    size_t at = pack_array_open(&w->out);
    uint32_t n = 0;

    for (s = l ? l->dropped : NULL; s; s = s->drop_next, n++)
        stream_save(s, w);
    pack_array_close(&w->out, at, n);
}

int streams_resume_dropped(struct event_base *base, struct state_reader *r, unsigned timeout_ms)
{
    static const struct stream_callbacks nobody = {.on_input = NULL};

    for (uint32_t n = state_count(r); n > 0; n--) {
        struct stream *s = stream_resume(base, r, 0, &nobody, NULL);
        if (!s)
            return -1;
        stream_drop(s, timeout_ms);
    }
    return r->bad ? -1 : 0;
}
