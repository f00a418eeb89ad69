/* sweeps: stumps, which a commit leaves of documents that were removed behind our back, are removed
 * again. What Redis has not answered when the link is lost is sent once more: it looks before it
 * removes. */
#ifndef RAPYERD_SWEEPS_H
#define RAPYERD_SWEEPS_H

#include "daemon/commit/batch.h"
#include "daemon/redis/upstream.h"

struct sweep;

struct sweeps {
    struct upstream *up;
    struct sweep *first; /* on the way; in their order */
};

/* What the batch has left, if anything. `now`: it goes out before the next commit, which may be
 * built upon the removed documents too; else with sweeps_send. */
void sweeps_add(struct sweeps *s, struct batch *b, bool now);
void sweeps_send(struct sweeps *s); /* all of them, over a new link */
void sweeps_free(struct sweeps *s); /* when nothing is on the way any more */

#endif
