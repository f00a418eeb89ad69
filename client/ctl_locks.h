/* ctl_locks: the answer to admin.locks as a table. */
#ifndef RAPYER_CLIENT_CTL_LOCKS_H
#define RAPYER_CLIENT_CTL_LOCKS_H

#include "client/include/rapyer.h"

/* A line for each holder, and below them one for each who waits, in order. What nobody of this
 * host or another holds or waits for is left out. -1: no memory. */
int ctl_locks_print(const rapyer_value *locks);

#endif
