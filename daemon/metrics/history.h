/* history: the last hour of some figures, one sample after the other, in a ring of fixed size.
 * Knows nothing of what they say. */
#ifndef RAPYERD_HISTORY_H
#define RAPYERD_HISTORY_H

#include "daemon/base/state.h"

#define HISTORY_SECONDS 10 /* between two samples, by who adds them */
#define HISTORY_SAMPLES 360

struct history;

/* names: of the figures of a sample; kept by the caller. */
struct history *history_new(const char *const *names, unsigned n);
void history_free(struct history *h);
/* at: clock_wall_ms(); values: one for each name. The oldest sample gives way. */
void history_add(struct history *h, int64_t at, const double *values);
/* Packs {"at": [ms, ...], name: [value, ...], ...}, of what is later than `since`, oldest first. */
void history_pack(const struct history *h, int64_t since, struct buf *out);
/* Begins with what history_pack has packed in another process of the daemon; figures that it did
 * not have are 0 there. -1: it is something else. */
int history_resume(struct history *h, struct state_reader *r);

#endif
