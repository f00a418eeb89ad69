/* session: one connected client: frames in, answers out, limits.
 *
 * Owns a stream and a scan. Each complete request goes to the handler given at creation; its
 * answer may come at once or later, in any order. Answers to a session that is gone are
 * dropped. Sessions are reference-counted: whoever keeps one for later holds a reference.
 */
#ifndef RAPYERD_SESSION_H
#define RAPYERD_SESSION_H

#include "daemon/base/config.h"
#include "daemon/base/state.h"
#include "daemon/base/trace.h"
#include "daemon/clients/peer.h"
#include "protocol/rpc.h"
#include <event2/event.h>
#include <sys/types.h>

struct session;
struct sessions; /* all of them */

struct session_handler {
    /* One request or notification. msg points into the input buffer: copy what is kept. */
    void (*on_message)(void *arg, struct session *s, const struct rpc *msg);
    /* It has read enough of its answers to be given more (session_congested). NULL: nobody waits.
     */
    void (*on_drained)(void *arg, struct session *s);
    /* The session is over (once, also for sessions that never sent anything). */
    void (*on_close)(void *arg, struct session *s);
    /* A request is about to be answered with this fault. True: it is not, it is going to be carried
     * out once more. May be NULL. */
    bool (*on_fault)(void *arg, struct session *s, uint64_t id, const struct fault *f);
};

struct sessions *sessions_new(struct event_base *base, const struct config *config,
                              const struct session_handler *handler, void *arg);
/* Takes over an accepted socket; closes it when there are too many (after one BUSY answer). */
void sessions_accept(struct sessions *all, int fd);
/* The other end of a connection of the daemon to itself, which may no more than `rights` (rules.h);
 * non-blocking, to be closed. -1: errno says why not. */
int sessions_own(struct sessions *all, unsigned rights);
/* Closes all of them, after writing what their sockets take at once. Before the base goes. */
void sessions_free(struct sessions *all);
unsigned sessions_count(const struct sessions *all);
/* Of all of them; what was counted of those that are gone is in it. */
struct sessions_stats {
    unsigned count, rings, paused;
    uint64_t accepted, turned_away, bytes_in, bytes_out;
    size_t partial;               /* bytes of requests that have arrived in part */
    size_t unsent_most;           /* of one client */
    unsigned deferred_most;       /* the same */
    uint64_t faults[FAULT_COUNT]; /* requests answered with a code */
};
void sessions_stats(const struct sessions *all, struct sessions_stats *out);
struct session *sessions_find(struct sessions *all, uint64_t number); /* NULL: there is none */
void sessions_each(struct sessions *all, void (*visit)(struct session *s, void *arg), void *arg);

/* Takes no requests any more, from anybody; what has come is carried out. Or goes on. */
void sessions_still(struct sessions *all, bool still);
unsigned sessions_deferred(const struct sessions *all); /* requests of theirs that wait */
/* Hands them over to another process, when they are still. There they are taken up again, with
 * their numbers, and go on in the first turn of the loop; who may something else than before is
 * disconnected then. -1: what was handed over is not that, or errno. */
void sessions_save(struct sessions *all, struct state_writer *w);
int sessions_resume(struct sessions *all, struct state_reader *r);
/* Between still and save: what a client has asked, and is to be taken again before all else. */
void session_ask_again(struct session *s, const void *frame, size_t len);

struct session *session_ref(struct session *s);
void session_unref(struct session *s);
bool session_open(const struct session *s);
void session_close(struct session *s, const char *why); /* at once; `why` goes into the log */
uint64_t session_number(const struct session *s);       /* unique in the daemon's life */
const struct session_peer *session_peer(const struct session *s);
/* What its user may do, by the rules of now; NULL: everything. */
struct permit *session_permit(const struct session *s);
/* There are these rules now, or none (NULL); kept by the caller. Who may do something else than
 * before is disconnected, after this turn of the loop. */
void sessions_set_rules(struct sessions *all, const struct rules *rules);
/* What it reads must have been checked in Redis since this stamp of exec's (0 at first): a lock
 * came to it from another host. Only rises. */
uint64_t session_stamp(const struct session *s);
void session_raise_stamp(struct session *s, uint64_t stamp);

/* Answers. Each request must get exactly one. session_result packs the envelope's head and
 * gives the buffer: append exactly one value, then session_done, which answers TOO_LARGE in its
 * place when it has become too long: only for what changes nothing. */
struct buf *session_result(struct session *s, uint64_t id);
void session_done(struct session *s);
/* A packed value. Who changes something has asked session_fits before. */
void session_answer(struct session *s, uint64_t id, const void *value, size_t len);
/* Within on_message, of a long request that is to be kept: takes the memory that its params lie in,
 * up to `end`, so that they need not be copied. False: it is shared with other requests. */
bool session_keep_input(struct session *s, const uint8_t *end, struct buf *out);
/* As session_answer; takes the bytes of a long one, *value is BUF_INIT then. */
void session_give(struct session *s, uint64_t id, struct buf *value);
/* Whether an answer of so many bytes may be given: TOO_LARGE. */
bool session_congested(const struct session *s); /* it should read what it has first */
int session_fits(const struct session *s, size_t len, struct fault *f);
void session_fault(struct session *s, uint64_t id, const struct fault *f);
void session_notify(struct session *s, const char *method, const void *params, size_t len);
/* A request was taken that will be answered later: it counts against client_requests, and keeps
 * the session of a client that only reads any more, until session_settle. Answer and settle in
 * the same turn of the loop, in any order. */
void session_defer(struct session *s);
void session_settle(struct session *s); /* one deferred request was answered */

/* Answers a request for a ring: the answer and the descriptors are the last that the socket
 * carries, everything else goes through the ring from then on, or it is a fault and all is as
 * before: BUSY when there are max_rings already or the client has answers to read first,
 * BAD_REQUEST when it has a ring, UNAVAILABLE when the system gives no memory or descriptors. */
void session_open_ring(struct session *s, uint64_t id);
/* Answers with a packed value and a descriptor, which stays open here. The value must be short.
 * BUSY, BAD_REQUEST: as above, but of a connection that has a ring. */
void session_answer_fd(struct session *s, uint64_t id, const void *value, size_t len, int fd);
unsigned sessions_rings(const struct sessions *all);

struct session_stats {
    uint64_t requests, faults, bytes_in, bytes_out;
    uint64_t busy_us;      /* that its input kept the daemon, about: each 16th time is measured */
    int64_t since;         /* clock_mono_ms(): connected */
    size_t unsent, memory; /* memory: bytes that the daemon has for it, with those */
    unsigned deferred;
    bool paused, ring;
};
void session_stats(const struct session *s, struct session_stats *out);
/* The next request of this client belongs there. */
void session_set_trace(struct session *s, const struct trace *t);
/* Where a request belongs, by its id; NULL: nowhere, or too many others that do came after it. */
const struct trace *session_trace(const struct session *s, uint64_t request);
/* What was added since this was last asked. */
void session_lately(struct session *s, uint64_t *requests, uint64_t *busy_us);

#endif
