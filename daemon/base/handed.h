/* handed: what a service manager hands over (sd_listen_fds(3)), told apart by the names that it
 * gives: the sockets that it opened for us, which are its own, before and after this process, and
 * may be where this process may not make one, as on the network; and what a process before this one
 * left with it (manager_keep).
 */
#ifndef RAPYERD_HANDED_H
#define RAPYERD_HANDED_H

#include <stddef.h>

/* -1: none. The first two are listening, non-blocking, close-on-exec. */
struct handed {
    int clients; /* whatever it is called */
    int metrics; /* FileDescriptorName=metrics */
    /* As they were left, close-on-exec. */
    int state;  /* HANDED_STATE: state.h */
    int parcel; /* HANDED_PARCEL: its descriptors (parcel.h) */
};

#define HANDED_STATE "rapyerd-state"
#define HANDED_PARCEL "rapyerd-parcel"

/* Takes them over, and removes what told of them from the environment: a second call finds none. 0,
 * or -1 with a message for a person when there are too many, or what is no listening stream
 * socket. */
int handed_take(struct handed *h, char *error, size_t n);

#endif
