/* address: where rapyerd listens. */
#ifndef RAPYER_CLIENT_ADDRESS_H
#define RAPYER_CLIENT_ADDRESS_H

#include "protocol/fault.h"

#define DEFAULT_SOCKET "/run/rapyerd/rapyerd.sock"

/* Where a client looks that was not told: DEFAULT_SOCKET, or where a rapyerd listens that an
 * ordinary user has started; the first that is there, else DEFAULT_SOCKET. The caller's; NULL: no
 * memory. */
char *address_find(void);

/* The fault for a connect() to the socket at `path` that failed with `error`. Returns -1. */
int address_refused(const char *path, int error, struct fault *f);

#endif
