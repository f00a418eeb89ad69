/* memory: what the daemon does without memory: it ends, with a line in the log that says where in
 * the code and how much. The next one reads from Redis what was acknowledged. To go on would be to
 * answer from half of what was to be there. */
#ifndef RAPYERD_MEMORY_H
#define RAPYERD_MEMORY_H

/* Once, at the very start: from then on no allocation gives NULL, in our code or in that of the
 * libraries which let themselves be told (libevent, and hiredis from 1.0). */
void memory_setup(void);

#endif
