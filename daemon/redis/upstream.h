/* upstream: the link to one Redis node.
 *
 *   DOWN ──► CONNECTING ──► GREETING (AUTH, INFO, SELECT, CLIENT ID) ──► UP
 *     ▲            │                    │                                │
 *     └── backoff ◄┴────────────────────┴────────── lost ◄───────────────┘
 *
 * Requests are RESP bytes with a known number of replies; replies come back in order. Nothing
 * is queued while the link is not UP: upstream_send refuses. When the link is lost every
 * outstanding request is told so, in order; whether Redis got it is not known then.
 */
#ifndef RAPYERD_UPSTREAM_H
#define RAPYERD_UPSTREAM_H

#include "daemon/base/blob.h"
#include "daemon/base/config.h"
#include "daemon/redis/resp.h"
#include "protocol/buf.h"
#include <event2/event.h>
#include <hiredis/hiredis.h>

struct upstream;

enum upstream_state { UPSTREAM_DOWN, UPSTREAM_CONNECTING, UPSTREAM_GREETING, UPSTREAM_UP };

/* So much of a run_id names the run of a server. A place that SCAN or SSCAN gave is good for that
 * run alone: another one has hashes of its own, and would leave out what it was to give. */
#define UPSTREAM_RUN 16

struct upstream_info { /* of the Redis behind it, valid in UP */
    char run_id[48];
    char version[32];   /* of Redis, or that which it is like */
    char server[48];    /* what it calls itself: "Redis 7.0.15", "Valkey 9.1.2" */
    char mode[16];      /* standalone, cluster, sentinel */
    char role[16];      /* master, slave */
    uint64_t client_id; /* of this connection */
    char tls[64];       /* "TLSv1.3, TLS_AES_256_GCM_SHA384"; "": none */
    int64_t tls_ends;   /* when its certificate does, in seconds since 1970 */
    char previous_run_id[48];
    uint64_t previous_client_id; /* of the connection before; 0: none */
};

struct upstream_callbacks {
    void (*on_up)(void *arg);                    /* requests may be sent from here on */
    void (*on_down)(void *arg, const char *why); /* after outstanding requests were told */
    /* An attempt to connect came to nothing; NULL: that is of no use. */
    void (*on_failed)(void *arg, const char *why);
    /* A message of a channel this connection listens to, or that Redis has ended that as the slot
     * of the channel has left it; the reply as in upstream_reply_fn. NULL: there are none. */
    void (*on_push)(void *arg, redisReply *reply);
    /* A second link to a Redis that another one speaks of: its log lines are level debug. */
    bool quiet;
    /* To a Sentinel: it gets its address by upstream_set_address, and has no role and client id. */
    bool sentinel;
    /* To a node of a cluster, which gets its address so, too. What is answered with MOVED, ASK,
     * TRYAGAIN or CLUSTERDOWN instead is told here, and the request then that it is lost, although
     * the link is not: nothing of it was carried out. */
    void (*on_redirect)(void *arg, const char *error);
    /* The same: it was silent for so long that another may be in its place (upstream_takeover).
     * What it is asked for waits for upstream_trust, or the end of the link. */
    void (*on_silent)(void *arg);
};

/* Called once per reply (`index` from 0) with a reply it may read until it returns; or once with
 * reply NULL when the link was lost before all replies came. Not for the QUEUED of a MULTI, which
 * say nothing yet, nor always for its OK. */
typedef void upstream_reply_fn(void *arg, unsigned index, redisReply *reply);

/* A password that is refused is read again from its file, into config. */
struct upstream *upstream_new(struct event_base *base, struct config *config,
                              const struct upstream_callbacks *cb, void *arg);
/* Outstanding requests are told (reply NULL) before it returns, so what they point to must still
 * be there. Not from within a callback of this upstream. */
void upstream_free(struct upstream *u);
/* Drops the connection for good; outstanding requests are told. */
void upstream_stop(struct upstream *u, const char *why);
void upstream_start(struct upstream *u); /* begins connecting; again for ever, with backoff */
/* The address changes (the embedded server was given its socket, a Sentinel names another master).
 */
void upstream_set_address(struct upstream *u, const char *address);
/* It is of no use to go on there: drops the connection, and makes none until upstream_set_address.
 */
void upstream_hold(struct upstream *u, const char *why);
/* Why there is none yet; for upstream_why, and the log of one that is started. */
void upstream_no_address(struct upstream *u, const char *why);
const char *upstream_address(const struct upstream *u); /* NULL: not known yet */
enum upstream_state upstream_state(const struct upstream *u);
const struct upstream_info *upstream_info(const struct upstream *u);
/* Counts the losses of the link, from 1: what was cached in another epoch must be checked again. */
uint32_t upstream_epoch(const struct upstream *u);
/* Whether one and the same run of a server has answered in both epochs. If not, what it lost may
 * have been replaced by other changes with the same versions: a version is not enough to go by. */
bool upstream_same_server(uint32_t epoch, uint32_t other);
/* From when on, as clock_boot_ms, the Redis behind the link that was lost last may have been
 * without what it had acknowledged, and may have served others: when the last request was sent
 * that it has answered. Not when the answer was read, nor when the loss was noticed: this process
 * may have stood still, or its machine. */
int64_t upstream_absent_since(const struct upstream *u);
const char *upstream_why(const struct upstream *u); /* why it is not UP, for UNAVAILABLE texts */

/* Sends bytes holding exactly nreplies commands. False when not UP (fn is then never called). */
bool upstream_send(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                   upstream_reply_fn *fn, void *arg);
/* The same, but it goes out with upstream_flush, or with what is sent next. */
bool upstream_put(struct upstream *u, const void *resp, size_t len, unsigned nreplies,
                  upstream_reply_fn *fn, void *arg);
void upstream_flush(struct upstream *u);
/* A fn for answers that nobody needs. */
void upstream_ignore(void *arg, unsigned index, redisReply *reply);
/* The same of what is long, which is not copied. */
bool upstream_give(struct upstream *u, struct blob *resp, unsigned nreplies, upstream_reply_fn *fn,
                   void *arg);
/* Of a node of a cluster: after how long a silence another may be in its place. What it answers
 * then is lost, with the link (silence.h). 0, as at first: never. */
void upstream_takeover(struct upstream *u, int64_t ms);
void upstream_trust(struct upstream *u);
/* A question that does not wait for that, and may be answered late: of these one or two words
 * (`second` may be NULL). */
bool upstream_ask(struct upstream *u, upstream_reply_fn *fn, void *arg, const char *first,
                  const char *second);
/* Drops the connection and connects anew (a fault was found in what it sent). */
void upstream_reset(struct upstream *u, const char *why);
size_t upstream_unsent(const struct upstream *u);
uint64_t upstream_asked(const struct upstream *u); /* requests since the start */

#endif
