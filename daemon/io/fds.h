/* fds: descriptors handed over a socket of the unix domain. */
#ifndef RAPYERD_FDS_H
#define RAPYERD_FDS_H

#include <stddef.h>

#define FDS_MAX 253u /* that Linux takes */

/* Sends all of the bytes, and with the first of them n <= FDS_MAX descriptors, which stay open
 * here. -1 with errno. */
int fds_send(int socket, const void *data, size_t len, const int *fds, unsigned n);
/* What comes with the next message, into at most FDS_MAX places, close-on-exec: how many, 0 at the
 * end. -1 with errno. */
int fds_receive(int socket, int *fds);

#endif
