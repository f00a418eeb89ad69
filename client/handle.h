/* handle: what a rapyer_doc addresses.
 *
 *   rapyer_doc ── path ──► home ─┬─ DRAFT  a record in this process
 *                                ├─ LIVE   a key at the daemon
 *                                └─ MOVED  a path in another home, and so on
 *
 * A draft that is put into another document turns from DRAFT to MOVED, in one place, and all
 * handles on it follow.
 */
#ifndef RAPYER_CLIENT_HANDLE_H
#define RAPYER_CLIENT_HANDLE_H

#include "client/hold.h"
#include "client/savepoint.h"
#include "protocol/tree.h"

enum home_state { HOME_DRAFT, HOME_LIVE, HOME_MOVED };

struct home {
    unsigned refs;
    rapyer *db;
    enum home_state state;
    bool in_flight;       /* DRAFT: on its way to the daemon, by a request that does not wait */
    struct record *draft; /* DRAFT; its pk is kept in `pk` */
    char *pk;
    char *key;           /* LIVE */
    struct home *parent; /* MOVED: a reference */
    char *path;          /* MOVED: where in parent */
};

struct rapyer_doc {
    uint32_t tag; /* TAG_DOC */
    struct home *home;
    char *path;                /* from the home on */
    char *shown;               /* what rapyer_path gave last */
    struct pipeline *pipeline; /* a reference: where operations are gathered; NULL: done at once */
    struct savepoint savepoint;
    struct hold *lock; /* a reference: what is done through it is done under this; or NULL */
};

/* Where an operation goes: a home that is DRAFT or LIVE, and the whole path in it. */
struct target {
    struct home *home;
    struct buf path;
};

struct home *home_new(rapyer *db, enum home_state state);
struct home *home_ref(struct home *h);
void home_unref(struct home *h);
/* A handle on the home's root; takes the reference. NULL: no memory, the reference is dropped. */
rapyer_doc *handle_new(struct home *h, const char *path);
/* -1: error left with the connection, nothing to free. */
int handle_target(rapyer_doc *at, const char *path, struct target *out);
void target_free(struct target *t);
const char *target_path(const struct target *t, size_t *len);
/* Whether this handle is a whole draft, not a place inside one. */
bool handle_is_whole(const rapyer_doc *at);
/* The local declaration of a home's model, or NULL. */
const struct model *home_model(const struct home *h);
/* A DRAFT is saved: its record is freed, from now on it is at key. */
void home_goes_live(struct home *h, char *key);
/* A DRAFT is in another document now; takes path. */
void home_moves(struct home *h, struct home *to, char *path);
/* "Model:pk" of a DRAFT; from malloc. */
char *home_future_key(const struct home *h);

#endif
