/* held: see held.h. */
#include "daemon/methods/held.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

static size_t size_of(const struct held *h)
{
    return sizeof(*h) + h->bytes.len;
}

void held_append(struct held_list *all, struct session *s, const struct rpc *msg, int64_t deadline)
{
    struct held *h = alloc_zeroed(1, sizeof(*h));
    size_t params_len = (size_t)(msg->params.end - msg->params.at);
    buf_append(&h->bytes, msg->method, msg->method_len);
    buf_append(&h->bytes, msg->params.at, params_len);
    h->msg = *msg;
    h->msg.method = (const char *)h->bytes.data;
    h->msg.params = cursor_of(h->bytes.data + msg->method_len, params_len);
    h->session = session_ref(s);
    h->deadline = deadline;
    session_defer(s);
    DL_APPEND(all->first, h);
    all->bytes += size_of(h);
}

void held_prepend(struct held_list *all, struct held_list *first)
{
    DL_CONCAT(first->first, all->first);
    all->first = first->first;
    all->bytes += first->bytes;
    *first = (struct held_list){0};
}

static void take_out(struct held_list *all, struct held *h)
{
    DL_DELETE(all->first, h);
    all->bytes -= size_of(h);
}

struct held *held_take(struct held_list *all)
{
    struct held *h = all->first;
    take_out(all, h);
    return h;
}

void held_free(struct held *h)
{
    session_settle(h->session);
    session_unref(h->session);
    buf_free(&h->bytes);
    free(h);
}

bool held_has(const struct held_list *all, const struct session *s)
{
    const struct held *h;
    DL_FOREACH (all->first, h) {
        if (h->session == s)
            return true;
    }
    return false;
}

void held_drop(struct held_list *all, const struct session *s)
{
    struct held *h, *next;
    DL_FOREACH_SAFE (all->first, h, next) {
        if (s != NULL && h->session != s)
            continue;
        take_out(all, h);
        held_free(h);
    }
}
