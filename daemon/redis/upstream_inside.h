/* upstream_inside: what the files of upstream share, and nobody else.
 *
 *   upstream.c           the link: how it comes and goes, what is asked and answered
 *   upstream_silence.c   what is asked of a node that was silent
 */
#ifndef RAPYERD_UPSTREAM_INSIDE_H
#define RAPYERD_UPSTREAM_INSIDE_H

#include "daemon/io/stream.h"
#include "daemon/redis/requests.h"
#include "daemon/redis/silence.h"
#include "daemon/redis/upstream.h"

#define WHY_MAX 320

enum greeting {
    GREET_AUTH,
    GREET_SERVER,
    GREET_REPLICATION,
    GREET_SELECT,
    GREET_NAME,
    GREET_ID,
    GREET_MULTI, /* without which nothing works, so that it is said here */
    GREET_EXEC,
    GREET_PING,
    GREET_COUNT
};

struct upstream {
    struct event_base *base;
    struct config *config; /* its password changes when it is refused */
    struct upstream_callbacks cb;
    void *arg;
    char *address; /* NULL: not known yet */
    enum upstream_state state;
    bool started, held;
    struct dial *dial;
    struct stream *stream;
    struct tls *tls; /* the stream's; NULL: it has none */
    struct reply_reader *reader;
    struct reply_reader *spent; /* of a link that was lost while its reply is being looked at */
    bool delivering;
    struct requests requests;
    struct silence silence;
    int64_t probed;          /* clock_boot_ms() of the question whether it is alive; 0: it is */
    struct requests behind;  /* what is asked behind that, */
    struct buf behind_bytes; /* and not sent yet */
    bool late;               /* what comes now does, for that */
    enum greeting steps[GREET_COUNT];
    struct upstream_info info, next; /* next: what the greeting has learned so far */
    struct event *timer;             /* the next attempt, or the end of the greeting's time */
    struct event *overdue;           /* looks whether Redis still answers */
    unsigned attempts;               /* failed, since the link was last up for a while */
    int64_t dialed, up_since;        /* clock_mono_ms() */
    int64_t greeted_at;              /* clock_boot_ms() */
    int64_t last_input;              /* clock_boot_ms(), as the following: */
    int64_t answered;                /* when the last request was sent that was answered */
    int64_t absent_since;            /* the same, of the link before */
    uint64_t links;                  /* changes with every lost link */
    uint32_t epoch;
    char why[WHY_MAX];
    char logged[WHY_MAX]; /* the last trouble that was logged; "": none since it was up */
};

/* From here on answers are awaited: too long, and the link is lost. */
void upstream_watch(struct upstream *u);
/* Asks whether it is alive, if it was silent for long. */
bool upstream_probes(struct upstream *u);
/* Whether what is asked now has to wait until it is known that the node is in its place; then
 * put_behind is for it. */
static inline bool upstream_holds(struct upstream *u)
{
    return u->probed != 0 || (u->silence.takeover > 0 && upstream_probes(u));
}
void upstream_put_behind(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                         upstream_reply_fn *fn, void *arg);

#endif
