/* work: what one request costs those who wait meanwhile, by estimate.
 *
 * Daemon and Redis do one thing at a time, and a change reaches Redis whole: what it takes there
 * nobody can cut into slices. So whoever builds, changes or drops adds up what that will cost, and
 * the request is refused before anything is changed. The prices (WORK_...) are what daemon and
 * Redis together take for one of a kind on a small machine; they are meant to be roughly right, and
 * always the same: what is refused is refused every time.
 *
 * The account is its owner's; the thread knows whose is open. Without one, as in the library,
 * nothing is refused.
 */
#ifndef RAPYER_PROTOCOL_WORK_H
#define RAPYER_PROTOCOL_WORK_H

#include "protocol/fault.h"
#include <stddef.h>
#include <stdint.h>

/* Nanoseconds. */
enum {
    WORK_RECORD = 4000,   /* an atomic model that is written: a key of its own */
    WORK_GONE = 1000,     /* one that is removed */
    WORK_NAMED = 400,     /* a value under a name: a field, or an entry of a dict */
    WORK_VALUE = 150,     /* an element of a list of values */
    WORK_DOCUMENT = 2000, /* one that is named: it may have to be looked for in Redis */
    WORK_OPERATION = 1500 /* one of a pipeline */
};
#define WORK_SLICE 1000000 /* ns between two pauses */
#define WORK_PACKED 100    /* an element in an answer; only done */

/* What a request may take; 0: there is no limit. */
struct work_limits {
    uint64_t ns;  /* of all that is added up */
    size_t bytes; /* of the trees that are built for it */
};
void work_set_limits(const struct work_limits *l);

struct work {
    uint64_t ns;
    uint64_t since;     /* the last pause; with what was only done */
    size_t bytes;       /* of trees, until it was paused last */
    size_t memory_then; /* tree_memory() when it was opened last */
    /* Called each WORK_SLICE: it is the turn of others. True: go on; false: end as refused, and
     * change nothing. NULL: it is done at one go. */
    bool (*pause)(void *arg);
    void *arg;
    bool stopped; /* pause said so */
};

/* From here on it is this account that is added to; NULL: none. Gives back whose it was, to be
 * opened again. An account begins zeroed. */
struct work *work_open(struct work *w);
/* `count` at a price. */
void work_add(uint64_t count, uint64_t ns);
/* Whether there is an account open. */
bool work_counted(void);
/* Something that costs Redis nothing. False: stop here; work_check() says why. */
bool work_step(uint64_t ns);
/* -1: it has come to more than is allowed, TOO_LARGE; or it was stopped, BUSY.
 * Looked at before anything is changed. */
int work_check(struct fault *f);

#endif
