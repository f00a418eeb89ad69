/* session_inside: what session.c, sessions.c and sessions_state.c share, and nobody else.
 *
 *   session.c   one of them: frames in, answers out, limits, its end
 *   sessions.c  all of them: how they come, who has to wait for a turn, what they have together
 *   sessions_state.c  how they go over to another process
 */
#ifndef RAPYERD_SESSION_INSIDE_H
#define RAPYERD_SESSION_INSIDE_H

#include "daemon/base/hash.h"
#include "daemon/base/trace.h"
#include "daemon/clients/session.h"
#include "daemon/clients/users.h"
#include "daemon/io/stream.h"
#include "protocol/scan.h"
#include <utlist.h>

#define TRACED 64

struct traced {
    uint64_t request; /* its id */
    struct trace trace;
};

enum state { OPEN, ENDING, CLOSED };

struct session {
    struct sessions *all;
    struct stream *stream; /* NULL when closed */
    unsigned refs;
    enum state state;
    uint64_t number;
    struct session_peer peer;
    struct permit *permit; /* NULL: for everything */
    bool outdated;         /* its permit has changed: it is closed */
    bool own;              /* the daemon's, with a permit that no rules change */
    struct user *user;     /* until it is closed */
    size_t held;           /* bytes that were counted as the user's */
    struct scan scan;      /* of the frame that begins at the first unused byte */
    bool in_frame;         /* scan has begun */
    bool paused;
    bool rests; /* in all->resting: until the next turn */
    bool ring;  /* its stream has a channel, counted in all->rings */
    unsigned deferred;
    uint64_t answering; /* the id of the result that is being packed, */
    size_t answer_at;   /* and where in the output it begins */
    size_t partial;     /* unused bytes, counted in all->partial */
    uint64_t requests, faults, bytes_in;
    uint64_t inputs, busy;   /* how often there was any; microseconds that they took, about */
    struct traced *traced;   /* the last TRACED requests that belong to something; NULL: none did */
    struct trace next_trace; /* where the next request belongs, */
    bool traces_next;        /* if it does */
    unsigned traced_at;      /* of the next one in `traced` */
    uint64_t told_requests, told_busy; /* session_lately: of these was told before */
    int64_t since;
    uint64_t stamp;      /* session_raise_stamp */
    struct event *check; /* while ENDING */
    struct buf again;    /* session_ask_again: goes before what is unused */
    UT_hash_handle hh;   /* of all, by number */
    struct session *prev, *next, *rest_prev, *rest_next;
};

struct sessions {
    struct event_base *base;
    const struct config *config;
    struct session_handler handler;
    void *arg;
    unsigned refs; /* the owner and each session */
    unsigned count, rings;
    uint64_t last_number, turned_away;
    const struct rules *rules; /* NULL: there are none */
    bool rules_changed;        /* some sessions are outdated */
    struct users *users;
    uint64_t gone_in, gone_out; /* bytes of sessions that are closed */
    uint64_t faults[FAULT_COUNT];
    size_t partial;   /* unfinished input of all sessions */
    bool full;        /* max_clients is reached and was logged */
    struct buf scrap; /* answers to sessions that are gone */
    struct session *list, *by_number;
    bool still;              /* sessions_still */
    struct session *resting; /* linked by rest_prev, rest_next */
    struct event *turn;
};

void session_log(enum log_level level, const struct session *s, const char *what);
/* The one way out. */
void session_leave(struct session *s, bool flush);
void session_end_rest(struct session *s);
void session_end_reading(struct session *s);
void session_pause(struct session *s);
void session_count_partial(struct session *s, size_t now);
bool session_may_read(const struct session *s);
/* It is one of all from now on. */
void session_join(struct session *s, struct sessions *all, uint64_t number);
#define SESSION_FLUSH_MS 10000 /* a closing session's last answers may take this long */
size_t session_held(const struct session *s); /* bytes that the daemon has for it */
void sessions_unref(struct sessions *all);
extern const struct stream_callbacks session_stream_calls;

#endif
