/* peer: the process at the other end of a socket, as the kernel says. */
#ifndef RAPYERD_PEER_H
#define RAPYERD_PEER_H

#include "daemon/rules/rules.h"
#include <sys/types.h>

struct session_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    char program[32]; /* from /proc/<pid>/comm at accept */
};

void peer_read(int fd, struct session_peer *peer);
/* With all of its groups, as they were when it connected. */
struct permit *peer_permit(int fd, const struct rules *rules, const struct session_peer *peer);

#endif
