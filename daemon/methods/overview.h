/* overview: what the daemon does now, for a person who looks at it all the time, and how it went in
 * the last hour. All of it is bounded, however many clients, locks and documents there are, and is
 * made anew once a second at most. */
#ifndef RAPYERD_OVERVIEW_H
#define RAPYERD_OVERVIEW_H

#include "daemon/methods/figures.h"

struct overview;

/* Takes a sample every few seconds from here on. methods: n figures, kept by the caller. `names`:
 * it is also about clients, locks and documents. */
struct overview *overview_new(struct event_base *base, const struct admin *a,
                              const struct method_figures *methods, size_t n, bool names);
void overview_free(struct overview *o);
/* One packed value, which lasts until the next call. */
const struct buf *overview_now(struct overview *o);
/* history_pack */
void overview_past(const struct overview *o, int64_t since, struct buf *out);
/* history_resume */
int overview_resume(struct overview *o, struct state_reader *r);

#endif
