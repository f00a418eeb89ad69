/* requests: what was asked over a link and is not answered yet, oldest first. */
#ifndef RAPYERD_REQUESTS_H
#define RAPYERD_REQUESTS_H

#include "daemon/redis/upstream.h"

struct request {
    upstream_reply_fn *fn;
    void *arg;
    unsigned nreplies, index;
    bool anyway;  /* it may be answered late (silence.h) */
    int64_t sent; /* clock_boot_ms() */
};

struct requests { /* a ring; its capacity is a power of two; zeroes at first */
    struct request *at;
    size_t cap, head, count;
    uint64_t pushed; /* since the start */
};

void requests_push(struct requests *r, const struct request *request);
struct request *requests_first(struct requests *r); /* NULL: there is none */
void requests_pop(struct requests *r);
/* Tells each that it will not be answered; what they ask meanwhile is none of these. */
void requests_tell_lost(struct requests *r);
void requests_free(struct requests *r);

#endif
