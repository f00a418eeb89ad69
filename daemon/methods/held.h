/* held: requests that wait, in the order in which they came, for what dispatch must know before it
 * can take them up: copies of them, each with a hold on its session. */
#ifndef RAPYERD_METHODS_HELD_H
#define RAPYERD_METHODS_HELD_H

#include "daemon/clients/session.h"
#include "protocol/buf.h"
#include "protocol/rpc.h"

struct held {
    struct held *prev, *next;
    struct session *session;
    struct rpc msg; /* method and params in bytes */
    struct buf bytes;
    int64_t deadline; /* clock_mono_ms() */
};

/* Zeroed: empty. */
struct held_list {
    struct held *first; /* (utlist DL) */
    size_t bytes;       /* of memory, all of them */
};

/* The session owes one answer more until it is freed. */
void held_append(struct held_list *all, struct session *s, const struct rpc *msg, int64_t deadline);

/* Moves all of `first` in front of what is there. */
void held_prepend(struct held_list *all, struct held_list *first);

/* Takes the first out; it is the caller's to free. The list is not empty. */
struct held *held_take(struct held_list *all);

void held_free(struct held *h);

bool held_has(const struct held_list *all, const struct session *s);

/* Those of this session, or of all (NULL): nobody is answered. */
void held_drop(struct held_list *all, const struct session *s);

#endif
