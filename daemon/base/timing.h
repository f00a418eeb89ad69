/* timing: where the requests for one method spent their time. */
#ifndef RAPYERD_TIMING_H
#define RAPYERD_TIMING_H

#include "daemon/base/histogram.h"

/* The way of a request. One that is answered from memory at once has none of them. */
enum stage {
    STAGE_QUEUE, /* from its arrival to the run that succeeded: behind others, and for what was read
                  */
    STAGE_GATHER, /* from there until its commit was sent */
    STAGE_REDIS,  /* until Redis had answered that */
    STAGE_ANSWER, /* until it was answered itself */
    STAGES
};

struct timing {
    struct histogram all;
    struct histogram stages[STAGES];
};

static inline const char *stage_name(enum stage s)
{
    static const char *const names[STAGES] = {"queue", "gather", "redis", "answer"};
    return names[s];
}

#endif
