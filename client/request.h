/* request: one call on its way, and how it ends. */
#ifndef RAPYER_CLIENT_REQUEST_H
#define RAPYER_CLIENT_REQUEST_H

#include "client/db.h"

#define RESTART_WAIT_MS 2000 /* a daemon that is being restarted is back by then */

enum outcome {
    OUTCOME_ANSWER, /* the daemon has answered, with a result or an error */
    OUTCOME_UNSENT, /* the connection was lost before all of it was sent: not done */
    OUTCOME_LOST,   /* the connection was lost afterwards, or time was up */
};

struct request {
    /* Exactly once. result is NULL for an error, which is in *f; done may take it (set it to
     * NULL). */
    void (*done)(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                 const struct fault *f);
    rapyer_callback *cb; /* of the caller, for requests that do not wait */
    void *user;
    void *arg;        /* of done */
    bool urgent;      /* done runs no code of the caller: at once, even inside a callback */
    bool writes;      /* changes something: must not be sent twice */
    int64_t deadline; /* monotonic ms */

    uint64_t number;  /* counts up, in order of sending */
    uint64_t id, end; /* end: out_sent when its last byte is gone */
    uint32_t slot;
    enum outcome how; /* ready: what to tell */
    rapyer_value *result;
    struct fault *fault;
    struct request *prev, *next;
};

/* Whether a method of the wire only reads (or can be done twice without harm). */
bool method_reads(const char *method);

/* Queues rq (from malloc, now the connection's) with its packed parameters, an array's items;
 * connects when necessary. -1: the error is with db, rq was freed without calling done. */
int request_send(rapyer *db, struct request *rq, const char *method, uint32_t nparams,
                 const struct buf *params);

/* Sends and waits. The result, or NULL with the error in db. Sends again, once, what is known
 * not to have been done, or only reads. */
rapyer_value *request_wait(rapyer *db, const char *method, uint32_t nparams,
                           const struct buf *params);

/* connection.c: opens the socket if it is not open, introduces itself and declares the models.
 * wait_ms: for how long to try again while the daemon restarts. -1 with the error in db. */
int connection_open(rapyer *db, int wait_ms);
/* Closes the socket and settles everything pending. */
void connection_lose(rapyer *db, const struct fault *why);
int64_t clock_ms(void);

#endif
