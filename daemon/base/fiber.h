/* fiber: a stack of its own for what takes long, so that it can stand still in the middle and go on
 * later. One thread, no parallelism: whoever resumes it gets control back when it yields or ends.
 */
#ifndef RAPYERD_FIBER_H
#define RAPYERD_FIBER_H

#include <stdbool.h>

struct fiber;

/* Runs fn once it is resumed. */
struct fiber *fiber_new(void (*fn)(void *arg), void *arg);
/* Until it yields: true; or ends: false, and it is not resumed any more. */
bool fiber_resume(struct fiber *f);
/* From within it. */
void fiber_yield(struct fiber *f);
/* One that has ended. */
void fiber_free(struct fiber *f);

#endif
