/* sessions_state: how they go over to another process of the daemon (session.h): everything that
 * the next one needs for no client to notice. A frame that has arrived in part is scanned anew. */
#include "daemon/clients/session_inside.h"
#include "protocol/alloc.h"
#include <stdlib.h>

void sessions_still(struct sessions *all, bool still)
{
    struct session *s;

    all->still = still;
    DL_FOREACH (all->list, s) {
        if (s->state != OPEN)
            continue;
        if (still)
            stream_pause(s->stream, true);
        else if (session_may_read(s))
            stream_pause(s->stream, false);
    }
}

unsigned sessions_deferred(const struct sessions *all)
{
    const struct session *s;
    unsigned n = 0;

    DL_FOREACH (all->list, s)
        n += s->deferred;
    return n;
}

void session_ask_again(struct session *s, const void *frame, size_t len)
{
    if (s->state == OPEN)
        buf_append(&s->again, frame, len);
}

/* ---- saving ---- */

static void save_one(struct session *s, struct state_writer *w)
{
    struct buf *out = &w->out;

    pack_array(out, 15);
    pack_uint(out, s->number);
    pack_int(out, s->peer.pid);
    pack_uint(out, s->peer.uid);
    pack_uint(out, s->peer.gid);
    pack_cstr(out, s->peer.program);
    pack_uint(out, permit_digest(s->permit));
    pack_bool(out, s->state == ENDING);
    pack_int(out, s->since);
    pack_uint(out, s->stamp);
    pack_uint(out, s->requests);
    pack_uint(out, s->faults);
    pack_uint(out, s->bytes_in);
    pack_uint(out, s->busy);
    pack_bin(out, s->again.data, s->again.len);
    buf_free(&s->again); /* should nobody take it over, they are asked here */
    stream_save(s->stream, w);
}

void sessions_save(struct sessions *all, struct state_writer *w)
{
    struct session *s;
    size_t at;
    uint32_t n = 0;

    pack_array(&w->out, 4);
    pack_uint(&w->out, all->last_number);
    pack_uint(&w->out, all->turned_away);
    at = pack_array_open(&w->out);
    DL_FOREACH (all->list, s) {
        if (s->own) /* the other end is here, too, and is closed */
            continue;
        save_one(s, w);
        n++;
    }
    pack_array_close(&w->out, at, n);
    streams_save_dropped(all->base, w);
}

/* ---- taking up ---- */

static void read_peer(struct session_peer *peer, struct state_reader *r)
{
    peer->pid = (pid_t)state_int(r);
    peer->uid = (uid_t)state_uint(r);
    peer->gid = (gid_t)state_uint(r);
    state_text(r, peer->program, sizeof peer->program);
}

/* What had to wait goes in front of what came behind it. */
static int resume_stream(struct session *s, struct sessions *all, struct state_reader *r,
                         const struct buf *again)
{
    const struct config *c = all->config;

    s->stream = stream_resume(all->base, r, c->ring_watch, &session_stream_calls, s);
    if (!s->stream)
        return -1;
    stream_put_before(s->stream, again->data, again->len);
    s->ring = stream_has_channel(s->stream);
    all->rings += s->ring;
    return 0;
}

/* As it was when its last answer was written. */
static void go_on(struct session *s, bool ending)
{
    const struct config *c = s->all->config;

    session_count_partial(s, stream_unread(s->stream));
    user_holds(s->user, &s->held, session_held(s));
    if (ending) {
        session_end_reading(s);
    } else if (stream_unsent(s->stream) > c->client_output_pause) {
        stream_set_low(s->stream, c->client_output_pause / 2);
        session_pause(s);
    }
}

static int resume_one(struct sessions *all, struct state_reader *r)
{
    struct state_tuple t = state_enter(r, 15);
    struct session *s = alloc_zeroed(1, sizeof *s);
    struct buf again = BUF_INIT;
    uint64_t number = state_uint(r);

    read_peer(&s->peer, r);
    uint64_t permit = state_uint(r);
    bool ending = state_bool(r);
    s->since = state_int(r);
    s->stamp = state_uint(r);
    s->requests = state_uint(r);
    s->faults = state_uint(r);
    s->bytes_in = state_uint(r);
    s->busy = state_uint(r);
    state_bytes(r, &again);
    int status =
        r->bad || sessions_find(all, number) != NULL ? -1 : resume_stream(s, all, r, &again);
    buf_free(&again);
    if (status < 0) {
        free(s);
        return -1;
    }
    state_leave(r, &t);
    session_join(s, all, number);
    s->user = users_join_always(all->users, s->peer.uid);
    s->permit = peer_permit(stream_fd(s->stream), all->rules, &s->peer);
    s->outdated = permit_digest(s->permit) != permit;
    all->rules_changed = all->rules_changed || s->outdated;
    go_on(s, ending);
    return 0;
}

int sessions_resume(struct sessions *all, struct state_reader *r)
{
    struct state_tuple t = state_enter(r, 4);
    struct timeval soon = {0};

    all->last_number = state_uint(r);
    all->turned_away = state_uint(r);
    for (uint32_t n = state_count(r); n > 0; n--)
        if (resume_one(all, r) < 0)
            return -1;
    if (streams_resume_dropped(all->base, r, SESSION_FLUSH_MS) < 0)
        return -1;
    state_leave(r, &t);
    if (all->rules_changed)
        evtimer_add(all->turn, &soon);
    return r->bad ? -1 : 0;
}
