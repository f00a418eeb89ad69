/* inquiry: see inquiry.h. */
#include "daemon/clients/inquiry.h"
#include "protocol/alloc.h"
#include "protocol/scan.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD_BYTES 64 /* of a response, around its result */

struct inquiry {
    struct bufferevent *link;
    struct event *timer;
    struct scan scan;
    size_t most;
    inquiry_done_fn *done;
    void *arg;
};

void inquiry_cancel(struct inquiry *q)
{
    if (!q)
        return;
    bufferevent_free(q->link);
    event_free(q->timer);
    free(q);
}

static void end(struct inquiry *q, const void *result, size_t len, const char *error)
{
    q->done(q->arg, result, len, error);
    inquiry_cancel(q);
}

static void end_with(struct inquiry *q, const uint8_t *frame, size_t len)
{
    struct rpc m;
    struct fault f;
    const char *text;
    size_t n;
    char error[FAULT_TEXT_MAX + 64];

    if (rpc_parse(&m, frame, len, &f) < 0 || m.kind != RPC_RESPONSE) {
        end(q, NULL, 0, "INTERNAL: this is no answer");
    } else if (cursor_str(&m.error, &text, &n) == 0) {
        snprintf(error, sizeof error, "%.*s", (int)n, text);
        end(q, NULL, 0, error);
    } else {
        end(q, m.result.at, (size_t)(m.result.end - m.result.at), NULL);
    }
}

static void on_read(struct bufferevent *link, void *arg)
{
    struct inquiry *q = arg;
    struct evbuffer *in = bufferevent_get_input(link);
    size_t len = evbuffer_get_length(in);
    const uint8_t *data = evbuffer_pullup(in, -1);
    struct fault f;
    enum scan_status status = scan_run(&q->scan, data, len, &f);

    if (status == SCAN_DONE)
        end_with(q, data, q->scan.at);
    else if (status == SCAN_BAD || len > q->most)
        end(q, NULL, 0, "TOO_LARGE: this is more than a page can show");
}

static void on_event(struct bufferevent *link, short what, void *arg)
{
    (void)link, (void)what;
    end(arg, NULL, 0, "UNAVAILABLE: rapyerd has ended the connection");
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    end(arg, NULL, 0, "UNAVAILABLE: no answer in time");
}

struct inquiry *inquiry_begin(struct event_base *base, struct sessions *sessions, unsigned rights,
                              const char *method, const struct buf *params, uint32_t nparams,
                              size_t most, unsigned ms, inquiry_done_fn *done, void *arg)
{
    struct buf out = BUF_INIT;
    struct timeval time = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    int fd = sessions_own(sessions, rights);

    if (fd < 0)
        return NULL;
    struct inquiry *q = alloc_zeroed(1, sizeof *q);
    q->most = most;
    q->done = done;
    q->arg = arg;
    scan_init(&q->scan, most + HEAD_BYTES);
    q->link = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    q->timer = evtimer_new(base, on_timer, q);
    if (!q->link || !q->timer)
        abort();
    evtimer_add(q->timer, &time);
    rpc_open_request(&out, 1, method);
    pack_array(&out, nparams);
    buf_append(&out, params->data, params->len);
    bufferevent_setcb(q->link, on_read, NULL, on_event, q);
    bufferevent_enable(q->link, EV_READ | EV_WRITE);
    bufferevent_write(q->link, out.data, out.len);
    buf_free(&out);
    return q;
}
