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

#include "protocol/buf.h"
#include "protocol/fault.h"
#include <stddef.h>
#include <stdint.h>

/* Nanoseconds. */
enum {
    WORK_RECORD = 4000, /* an atomic model that is written: a key of its own */
    WORK_GONE = 1000,   /* one that is removed */
    WORK_NAMED = 400,   /* a value under a name: a field, or an entry of a dict */
    WORK_VALUE = 150,   /* an element of a list of values */
    WORK_KIB = 1000,    /* 1024 bytes of a long value */
    WORK_INNER =
        250, /* an entry of a dict inside a value, taken apart or put together (inside.h), */
    WORK_INNER_ITEM = 30, /* and an element of a list there */
    WORK_PASSED = 20,     /* an element that Redis looks at on the way to another one, */
    WORK_COPIED = 400,    /* or takes off and puts back (splice.lua) */
    WORK_DOCUMENT = 2000, /* one that is named: it may have to be looked for in Redis */
    WORK_OPERATION = 1500 /* one of a pipeline */
};
#define WORK_SLICE 1000000 /* ns between two pauses */
#define WORK_LONG 4096     /* bytes of a value that are counted */
#define WORK_PIECE ((size_t)256 * 1024)
#define WORK_SMALL 10000 /* ns: what is added up to so much there is always room for */
#define WORK_PACKED 100  /* an element in an answer; only done */
#define WORK_MOVED 500   /* 1024 bytes that are copied; only done */
#define WORK_COMPARED 10 /* an element that is searched for here; only done */
#define WORK_COMMAND 4   /* of what a request may take, the share of one command of it */

/* What a request may take; 0: there is no limit. */
struct work_limits {
    uint64_t ns;  /* of all that is added up */
    size_t bytes; /* of the trees that are built for it */
};
void work_set_limits(const struct work_limits *l);

struct work {
    uint64_t ns;
    uint64_t unpaused;  /* of it, since the last pause; with what was only done */
    size_t bytes;       /* of trees, until it was paused last */
    size_t memory_then; /* tree_memory() when it was opened last */
    /* Called each WORK_SLICE: it is the turn of others. True: go on; false: end as refused, and
     * change nothing. NULL: it is done at one go. */
    bool (*pause)(void *arg);
    /* Called with the ns so far where it may have been too much for those who wait already: whether
     * there is room for it now. As pause. */
    bool (*room)(void *arg, uint64_t ns);
    void *arg;
    bool stopped; /* pause or room said so */
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
/* For values, of which most are short: copies in pieces. False: stopped. */
bool work_copy_long(void *to, const void *from, size_t n);
bool work_append_long(struct buf *out, const void *p, size_t n);
static inline void work_copy(void *to, const void *from, size_t n)
{
    if (n < WORK_PIECE)
        memcpy(to, from, n);
    else
        work_copy_long(to, from, n);
}
static inline void work_append(struct buf *out, const void *p, size_t n)
{
    if (n < WORK_PIECE)
        buf_append(out, p, n);
    else
        work_append_long(out, p, n);
}
/* -1: it has come to more than is allowed, TOO_LARGE; or it was stopped, BUSY.
 * Looked at before anything is changed. */
int work_check(struct fault *f);
/* What work_check would say, for who can be done earlier: it has come to more than is allowed. */
bool work_exceeded(void);
/* A command that takes Redis so long in one piece, to get to the middle of something that has
 * grown too long for that; `where` names it. As work_check. */
int work_command(uint64_t ns, const char *where, struct fault *f);

#endif
