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

struct request;
typedef void request_done(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                          const struct fault *f);

#define PATIENCE_ENDLESS INT64_MAX

/* What a request asks for besides its parameters; zeroes: nothing. */
struct terms {
    uint64_t connection; /* the only one it may go over: LOCK_LOST when that is gone */
    int64_t patience;    /* ms that the answer may take on top of the timeout */
    request_done *late;  /* called with an answer that comes after the deadline: done had none */
};

struct request {
    /* Exactly once. result is NULL for an error, which is in *f; done may take it (set it to
     * NULL). */
    request_done *done;
    rapyer_callback *cb; /* of the caller, for requests that do not wait */
    void *user;
    void *arg;   /* of done */
    bool urgent; /* done runs no code of the caller: at once, even inside a callback */
    bool writes; /* changes something: must not be sent twice */
    bool heir;   /* of one that was given up: waits for the late answer */
    struct terms terms;
    int64_t allowed;  /* ms that the answer may take */
    int64_t deadline; /* monotonic ms; INT64_MAX: none */
    uint64_t sent_on; /* the number of the connection */

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

/* Sends and does not wait: cb gets the result. */
int request_call(rapyer *db, rapyer_callback *cb, void *user, const char *method, uint32_t nparams,
                 const struct buf *params);

/* Sends and waits. The result, or NULL with the error in db. Sends again, once, what is known
 * not to have been done, or only reads. */
rapyer_value *request_wait(rapyer *db, const char *method, uint32_t nparams,
                           const struct buf *params);

/* The same with terms, NULL: none; *sent_on (may be NULL): the connection that the result is of. */
rapyer_value *request_wait_on(rapyer *db, const struct terms *terms, const char *method,
                              uint32_t nparams, const struct buf *params, uint64_t *sent_on);

/* connection.c: opens the socket if it is not open, introduces itself and declares the models.
 * wait_ms: for how long to try again while the daemon restarts. -1 with the error in db. */
int connection_open(rapyer *db, int wait_ms);
/* Closes the socket and settles everything pending. */
void connection_lose(rapyer *db, const struct fault *why);
/* Whether this one is open still, in this process. */
bool connection_is(const rapyer *db, uint64_t number);
/* Before a request is queued: asks for a ring when it is time. */
void connection_ask_ring(rapyer *db);
/* Waits for something to read or for room to write, or the next deadline, and processes it. */
void connection_wait(rapyer *db);
/* The same for so many ms at most, also while there is no connection; one that is wanted for what
 * is watched is opened again then, without leaving an error. */
void connection_wait_for(rapyer *db, int milliseconds);
/* Sends of the output what the socket takes now; what goes wrong is found by the next call. */
void connection_push(rapyer *db);
int64_t clock_ms(void);

#endif
