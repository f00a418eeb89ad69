/* handed: the sockets that a service manager opened for us (sd_listen_fds(3)), told apart by the
 * names that it gives them. They are its own: it has them before and after this process, and may
 * have made them where this process may not, as on the network.
 */
#ifndef RAPYERD_HANDED_H
#define RAPYERD_HANDED_H

#include <stddef.h>

/* Listening, non-blocking, close-on-exec; -1: none. */
struct handed {
    int clients; /* whatever it is called */
    int metrics; /* FileDescriptorName=metrics */
};

/* Takes them over, and removes what told of them from the environment: a second call finds none. 0,
 * or -1 with a message for a person when there are too many, or what is no listening stream
 * socket. */
int handed_take(struct handed *h, char *error, size_t n);

#endif
