/* scatter: see scatter.h. */
#include "daemon/methods/scatter.h"
#include "daemon/base/clock.h"
#include "daemon/commit/lanes.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

#define AGAIN_MS 20

/* What went over one link: its slots in the order of their commands. */
struct share {
    struct scattered *of;
    struct upstream *up;
    struct buf out;
    unsigned *slots; /* which of all */
    unsigned n, cap;
};

struct scattered {
    struct scattered *prev, *next;
    struct scatter *all;
    const struct scatter_asks *asks;
    void *arg;
    uint16_t *slots;
    bool *answered;
    unsigned n, left;
    unsigned pending; /* shares that are on their way */
    int64_t deadline;
    char why[400]; /* the last of them that was not answered */
};

struct scatter {
    struct exec *exec;
    struct router *router;
    struct scattered *waiting; /* to be asked (again) (utlist) */
    struct event *again;
    bool stopped;
};

static void end(struct scattered *q, const char *why)
{
    q->asks->done(q->arg, why);
    free(q->slots);
    free(q->answered);
    free(q);
}

static void wait_for(struct scattered *q, int64_t ms)
{
    struct scatter *s = q->all;
    DL_APPEND(s->waiting, q);
    if (!event_pending(s->again, EV_TIMEOUT, NULL) || ms == 0)
        event_add(s->again, &(struct timeval){.tv_usec = ms * 1000});
}

/* All shares of a round have come back, or could not be sent. */
static void round_over(struct scattered *q)
{
    if (q->left == 0) {
        end(q, NULL);
    } else if (q->all->stopped || clock_mono_ms() >= q->deadline) {
        end(q, q->all->stopped ? "rapyerd is stopping" : q->why);
    } else {
        router_look(q->all->router);
        wait_for(q, AGAIN_MS);
    }
}

static void share_free(struct share *sh)
{
    buf_free(&sh->out);
    free(sh->slots);
    free(sh);
}

static void on_reply(void *arg, unsigned index, redisReply *reply)
{
    struct share *sh = arg;
    struct scattered *q = sh->of;
    if (reply == NULL) {
        bool up = router_ready(q->all->router, sh->up);
        uint16_t slot = q->slots[sh->slots[index / q->asks->commands]];
        snprintf(q->why, sizeof(q->why), "%s",
                 up ? router_why(q->all->router, slot) : upstream_why(sh->up));
    } else {
        unsigned n = q->asks->commands, i = sh->slots[index / n], which = index % n;
        q->answered[i] = which + 1 == n;
        q->left -= q->answered[i];
        q->asks->take(q->arg, i, which, reply, sh->up);
    }
    if (reply != NULL && index + 1 < sh->n * q->asks->commands)
        return;
    share_free(sh);
    if (--q->pending == 0)
        round_over(q);
}

static struct share *share_of(struct share **shares, unsigned n, const struct upstream *up)
{
    unsigned i = 0;
    while (i < n && shares[i]->up != up)
        i++;
    return i < n ? shares[i] : NULL;
}

static void ask(struct scattered *q)
{
    struct share **shares = NULL, *last = NULL;
    unsigned n = 0, cap = 0;
    for (unsigned i = 0; i < q->n; i++) {
        struct upstream *up = router_link(q->all->router, q->slots[i]);
        if (q->answered[i])
            continue;
        if (!router_ready(q->all->router, up)) {
            snprintf(q->why, sizeof(q->why), "%s", upstream_why(up));
            continue;
        }
        if (last == NULL || last->up != up)
            last = share_of(shares, n, up);
        if (last == NULL) {
            last = alloc_zeroed(1, sizeof(*last));
            *last = (struct share){.of = q, .up = up};
            vec_push(shares, n, cap, last);
        }
        q->asks->write(q->arg, q->slots[i], last->n == 0, &last->out);
        vec_push(last->slots, last->n, last->cap, i);
    }
    q->pending = n + 1; /* this */
    for (unsigned i = 0; i < n; i++) {
        struct share *sh = shares[i];
        if (!upstream_send(sh->up, sh->out.data, sh->out.len, sh->n * q->asks->commands, on_reply,
                           sh)) {
            q->pending--;
            share_free(sh);
        }
    }
    free(shares);
    if (--q->pending == 0)
        round_over(q);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    struct scatter *s = arg;
    struct scattered *waited = s->waiting, *q, *next;
    (void)fd;
    (void)what;
    s->waiting = NULL;
    DL_FOREACH_SAFE (waited, q, next)
        ask(q);
}

void scatter_ask(struct scatter *s, const uint16_t *slots, unsigned n,
                 const struct scatter_asks *asks, void *arg)
{
    struct scattered *q = alloc_zeroed(1, sizeof(*q));
    *q = (struct scattered){.all = s,
                            .asks = asks,
                            .arg = arg,
                            .slots = alloc_zeroed(n, sizeof(*q->slots)),
                            .answered = alloc_zeroed(n, sizeof(*q->answered)),
                            .n = n,
                            .left = n};
    q->deadline = clock_mono_ms() + (int64_t)exec_config(s->exec)->queue_time;
    memcpy(q->slots, slots, n * sizeof(*slots));
    wait_for(q, 0);
}

void scatter_stop(struct scatter *s)
{
    s->stopped = true;
    while (s->waiting != NULL) {
        struct scattered *q = s->waiting;
        DL_DELETE(s->waiting, q);
        end(q, "rapyerd is stopping");
    }
}

struct scatter *scatter_new(struct event_base *base, struct exec *e)
{
    struct scatter *s = alloc_zeroed(1, sizeof(*s));
    s->exec = e;
    s->router = lanes_router(exec_lanes(e));
    s->again = evtimer_new(base, on_again, s);
    return s;
}

void scatter_free(struct scatter *s)
{
    scatter_stop(s);
    event_free(s->again);
    free(s);
}
