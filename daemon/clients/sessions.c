/* sessions: all of them; see session.h. */
#include "daemon/base/clock.h"
#include "daemon/clients/session_inside.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void sessions_unref(struct sessions *all)
{
    if (--all->refs)
        return;
    buf_free(&all->scrap);
    users_free(all->users);
    free(all);
}

void session_log(enum log_level level, const struct session *s, const char *what)
{
    log_about(level,
              &(struct log_about){.client = s->number,
                                  .program = s->peer.program,
                                  .pid = s->peer.pid,
                                  .uid = s->peer.uid},
              "%s", what);
}

/* What they watch, or wait for, was asked for with other rights. */
static void close_outdated(struct sessions *all)
{
    struct session *s, *next;

    DL_FOREACH_SAFE (all->list, s, next) {
        if (!s->outdated)
            continue;
        stream_flush(s->stream);
        session_close(s, "disconnected: what it may do has changed");
    }
    all->rules_changed = false;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct sessions *all = arg;

    (void)fd;
    (void)what;
    for (struct session *s; (s = all->resting);) {
        session_end_rest(s);
        if (session_may_read(s))
            stream_pause(s->stream, false); /* which offers what waits, behind this */
    }
    if (all->rules_changed)
        close_outdated(all);
}

/* One BUSY answer. A fresh socket takes so little at once; if not, closing says enough. */
static void turn_away(struct sessions *all, int fd, const struct fault *f)
{
    struct buf out = BUF_INIT;

    all->turned_away++;
    rpc_pack_error(&out, NULL, f);
    if (send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("could not tell a client that there are too many: %s", strerror(errno));
    buf_free(&out);
    close(fd);
}

void session_join(struct session *s, struct sessions *all, uint64_t number)
{
    s->refs = 1;
    s->all = all;
    all->refs++;
    all->count++;
    s->number = number;
    DL_APPEND(all->list, s);
    HASH_ADD(hh, all->by_number, number, sizeof s->number, s);
}

/* own: what it may, whoever it is; else NULL. Closes fd when it is not taken. */
static bool admit(struct sessions *all, int fd, struct permit *own)
{
    struct fault f;

    if (all->count >= all->config->max_clients) {
        fault_set(&f, FAULT_BUSY,
                  "%u clients are connected, limits.max_clients is %u; try again later", all->count,
                  all->config->max_clients);
        if (!all->full)
            log_warning("%s", f.text);
        all->full = true;
        turn_away(all, fd, &f);
        permit_free(own);
        return false;
    }
    struct session *s = alloc_zeroed(1, sizeof *s);
    peer_read(fd, &s->peer);
    s->user = users_join(all->users, s->peer.uid, &f);
    if (!s->user) {
        turn_away(all, fd, &f);
        permit_free(own);
        free(s);
        return false;
    }
    s->own = own;
    s->permit = own ? own : peer_permit(fd, all->rules, &s->peer);
    s->stream = stream_new(all->base, fd, &session_stream_calls, s);
    if (!s->stream) {
        log_error("cannot take a client: %s", strerror(errno));
        user_leave(s->user);
        permit_free(s->permit);
        free(s);
        return false;
    }
    s->since = clock_mono_ms();
    session_join(s, all, ++all->last_number);
    session_log(LOG_LEVEL_DEBUG, s, "connected");
    return true;
}

void sessions_accept(struct sessions *all, int fd)
{
    admit(all, fd, NULL);
}

int sessions_own(struct sessions *all, unsigned rights)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    if (admit(all, ends[0], permit_for(rights)))
        return ends[1];
    close(ends[1]);
    errno = EAGAIN;
    return -1;
}

struct sessions *sessions_new(struct event_base *base, const struct config *config,
                              const struct session_handler *handler, void *arg)
{
    struct sessions *all = alloc_zeroed(1, sizeof *all);

    all->base = base;
    all->config = config;
    all->handler = *handler;
    all->arg = arg;
    all->refs = 1;
    all->turn = evtimer_new(base, on_turn, all);
    all->users = users_new(config);
    return all;
}

void sessions_set_rules(struct sessions *all, const struct rules *rules)
{
    struct session *s;
    struct timeval soon = {0};

    all->rules = rules;
    DL_FOREACH (all->list, s) {
        if (s->own)
            continue;
        struct permit *fresh = peer_permit(stream_fd(s->stream), rules, &s->peer);
        s->outdated = s->outdated || !permit_same(s->permit, fresh);
        permit_free(s->permit);
        s->permit = fresh;
    }
    all->rules_changed = true;
    evtimer_add(all->turn, &soon);
}

void sessions_free(struct sessions *all)
{
    if (!all)
        return;
    while (all->list) {
        stream_flush(all->list->stream);
        session_leave(all->list, false);
    }
    streams_finish(all->base);
    event_free(all->turn);
    sessions_unref(all);
}

unsigned sessions_count(const struct sessions *all)
{
    return all->count;
}

void sessions_stats(const struct sessions *all, struct sessions_stats *out)
{
    const struct session *s;

    *out = (struct sessions_stats){.count = all->count,
                                   .rings = all->rings,
                                   .accepted = all->last_number,
                                   .turned_away = all->turned_away,
                                   .bytes_in = all->gone_in,
                                   .bytes_out = all->gone_out,
                                   .partial = all->partial};
    memcpy(out->faults, all->faults, sizeof out->faults);
    DL_FOREACH (all->list, s) {
        size_t unsent = stream_unsent(s->stream);
        out->bytes_in += s->bytes_in;
        out->bytes_out += stream_written(s->stream);
        out->paused += s->paused;
        out->unsent_most = unsent > out->unsent_most ? unsent : out->unsent_most;
        out->deferred_most = s->deferred > out->deferred_most ? s->deferred : out->deferred_most;
    }
}

unsigned sessions_rings(const struct sessions *all)
{
    return all->rings;
}

struct session *sessions_find(struct sessions *all, uint64_t number)
{
    struct session *s;

    HASH_FIND(hh, all->by_number, &number, sizeof number, s);
    return s;
}

void sessions_each(struct sessions *all, void (*visit)(struct session *s, void *arg), void *arg)
{
    struct session *s, *next;

    DL_FOREACH_SAFE (all->list, s, next)
        visit(s, arg);
}
