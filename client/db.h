/* db: a connection, as the parts of the library see it.
 *
 *   operation, document, binding      what the caller asks for
 *      │ template, handle             values and places
 *      ▼
 *   request ──► connection ──► out ──► socket        (rpc.h, one frame per request)
 *      ▲            │
 *      └─ settle ◄──┴──────── in ◄──── socket        (scan.h first, then a rapyer_value)
 *
 * A blocking call is a request plus poll(): there is one way to talk to the daemon. Handles
 * keep the struct alive after rapyer_close; what needs the socket fails from then on.
 */
#ifndef RAPYER_CLIENT_DB_H
#define RAPYER_CLIENT_DB_H

#include "client/address.h"
#include "client/include/rapyer.h"
#include "protocol/buf.h"
#include "protocol/fault.h"
#include "protocol/scan.h"
#include "protocol/schema.h"

#define TRACEPARENT 55 /* characters of it, in version 00 */

#define DEFAULT_TIMEOUT_MS 30000
#define DEFAULT_RING_AFTER 64
#define DEFAULT_SHARED_AFTER 64
#define DEFAULT_MAX_ANSWER ((size_t)64 << 20)
#define MAX_VALUE ((size_t)64 << 20) /* what a value in a draft may grow to */

struct channel;
struct request;
struct watching;

enum ring_state {
    RING_LATER, /* after the first requests of a connection */
    RING_ASKED, /* what was queued behind the question waits for the answer */
    RING_OPEN,  /* there is a channel */
    RING_NONE,  /* the socket is good enough */
};

/* A model as it was declared: for the daemon after a reconnect, for structs their layout. */
struct declaration {
    char *name; /* with its namespace */
    const rapyer_model *model;
    struct buf packed;
    unsigned together; /* those of one rapyer_define have the same */
};

struct slot {
    struct request *request; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct rapyer {
    unsigned refs; /* the caller's one, and one for each home */
    char *socket;
    bool looks;          /* nobody said where it is: it is looked for with each connection */
    int fd;              /* -1: not connected */
    uint64_t connection; /* the number of the one that is or was open, from 1 */
    unsigned forks;      /* db_forks() when fd was opened; another number after a fork */
    bool closed;         /* by rapyer_close */
    bool was_connected;  /* then a daemon that is gone is waited for a little */
    int timeout_ms;
    char trace[TRACEPARENT + 1]; /* "": none */
    size_t max_answer;

    rapyer_error code; /* of the latest error */
    char message[FAULT_TEXT_MAX + 64];

    char *namespace;
    struct schema *schema;
    struct declaration *declarations;
    size_t ndeclarations;
    unsigned defines; /* calls of rapyer_define so far */

    struct buf in; /* read and not yet understood: [in_at, in.len) */
    size_t in_at;
    struct scan scan;
    struct buf out; /* not yet sent: [out_at, out.len) */
    size_t out_at;
    uint64_t out_sent; /* bytes sent on this connection */

    enum ring_state ring;
    uint64_t ring_after;     /* how many requests of a connection come first; 0: never */
    uint64_t first_number;   /* of the first request of this connection */
    uint64_t ring_asked;     /* RING_ASKED: out_sent when the question is gone */
    int ring_fds[3];         /* as they came with the answer, -1: none */
    struct channel *channel; /* RING_OPEN; bytes go there instead of to fd */
    bool awake;              /* the channel will not ring for what is there already */

    struct shared *shared; /* documents to be read without asking, once that was asked for */
    uint64_t shared_after; /* how many reads of a connection come first; 0: never */
    uint64_t reads;        /* of this connection, until then */
    uint64_t stamp;        /* what it reads under its locks has to be of this one, or later */
    bool overdue;          /* a write of this connection was given up, and may be done still */

    struct watching *watching; /* watch.h; NULL: nothing ever was watched */
    int64_t connect_at;        /* clock_ms() of the next try for the sake of that */

    struct slot *slots; /* requests without an answer, by the low bits of their id */
    uint32_t nslots, first_free;
    struct request *oldest;  /* the same, in order, */
    struct request *patient; /* and those that wait for locks, by their deadlines */
    uint64_t numbers;        /* how many there ever were */
    size_t npending;
    size_t nheirs;         /* of those, kept for a late answer alone */
    unsigned depth;        /* callbacks being run */
    struct request *ready; /* settled inside a callback: told when that is over, so that they */
    size_t nready;         /* do not pile up on the stack */
};

/* How often the process has forked on its way here: cheaper to ask than getpid. */
unsigned db_forks(void);
/* Without opening a connection. NULL: no memory. */
rapyer *db_new(const char *socket);
rapyer *db_ref(rapyer *db);
void db_unref(rapyer *db);

/* Leaves an error with the connection; returns -1. A fault without a code keeps the reason that
 * is there (a NULL handle, whose making has failed before). */
int db_fail(rapyer *db, const struct fault *f);
int db_failf(rapyer *db, enum fault_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int db_no_memory(rapyer *db);
/* The latest error, for a caller that looks into it. */
void db_fault(const rapyer *db, struct fault *f);

/* The declaration of this name, as it is or with the namespace, or NULL. */
const struct declaration *db_declaration(const rapyer *db, const char *name, size_t len);
/* The model of this name, as it is or with the namespace, or NULL. */
const struct model *db_model(const rapyer *db, const char *name, size_t len);
/* The name of a model or key with its namespace; to free(). NULL: no memory, an error is left. */
char *db_whole_name(rapyer *db, const char *name);

/* Takes models' declarations, all or none, without a daemon. -1: error left with db. */
int models_declare(rapyer *db, const rapyer_model *const *models);
/* The declarations from *from on that came together, one behind the other; moves it behind them.
 * Says how many. */
uint32_t models_together(const rapyer *db, size_t *from, struct buf *out);

#endif
