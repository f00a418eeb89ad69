/* clock: what time it is, the only place that asks. There are three clocks, and a time of one says
 * nothing on another; so the name of each function says which it is, and the unit.
 *
 *   monotonic  goes on evenly; stands still while the machine is suspended. For what the daemon
 *              itself waits for: deadlines, how long something has lasted.
 *   boot       the same, but goes on in a suspended machine. For terms that somebody outside
 *              counts as well: leases in Redis, locks.
 *   wall       what people and other hosts call the time. It jumps when it is set. For what is
 *              written down or compared with such: expiry in Redis, versions, the log.
 */
#ifndef RAPYERD_CLOCK_H
#define RAPYERD_CLOCK_H

#include <stdint.h>

/* To the tick of the kernel (4 ms, or 10), in exchange for a fifth of the price. */
int64_t clock_mono_ms(void);
/* Exact. Not to be mixed with the one above: that may lie a tick behind. */
int64_t clock_mono_us(void);
int64_t clock_boot_ms(void);
int64_t clock_boot_ns(void);
int64_t clock_wall_ms(void); /* since 1970 */
int64_t clock_wall_us(void);
/* The wall clock; but where that was set back it goes on as if it had not been, and it never says
 * the same twice. For what must be new. */
int64_t clock_new_us(void);
void clock_new_from(int64_t us); /* nor what a process before has said, up to this */

#endif
