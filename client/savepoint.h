/* savepoint: how far a pipeline had come when a handle began to gather; see pipeline.h. */
#ifndef RAPYER_CLIENT_SAVEPOINT_H
#define RAPYER_CLIENT_SAVEPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;

/* Where a handle of rapyer_begin may go back to. */
struct savepoint {
    bool begins; /* the handle is one of rapyer_begin */
    bool inner;  /* it joined a pipeline that was there */
    bool joined; /* and was committed: what it gathers is the outer one's */
    size_t n;    /* what was gathered until then: operations, */
    uint32_t nversions;
    size_t versions_len; /* and what they hang on */
    struct savepoint *prev, *next;
};

#endif
