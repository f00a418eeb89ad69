/* peer: see peer.h. */
#include "daemon/clients/peer.h"
#include "protocol/alloc.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void peer_read(int fd, struct session_peer *peer)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    char path[64];

    *peer = (struct session_peer){.uid = (uid_t)-1, .gid = (gid_t)-1, .program = "?"};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return;
    peer->pid = cred.pid;
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    snprintf(path, sizeof path, "/proc/%ld/comm", (long)cred.pid);
    int comm = open(path, O_RDONLY | O_CLOEXEC);
    if (comm < 0)
        return;
    ssize_t n = read(comm, peer->program, sizeof peer->program - 1);
    close(comm);
    if (n > 0 && peer->program[n - 1] == '\n')
        n--;
    if (n > 0)
        peer->program[n] = '\0';
    for (char *p = peer->program; *p; p++) /* a process names itself as it likes */
        if (*p < ' ' || *p > '~')
            *p = '?';
}

struct permit *peer_permit(int fd, const struct rules *rules, const struct session_peer *peer)
{
    socklen_t len = 0;
    gid_t *groups;

    if (!rules)
        return NULL;
    /* It says how long they are. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0)
        len = 0;
    groups = alloc_zeroed(len / sizeof *groups + 1, sizeof *groups);
    if (len > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        len = 0;
    size_t n = len / sizeof *groups;
    groups[n++] = peer->gid;
    struct permit *p = rules_permit(rules, peer->uid, groups, n);
    free(groups);
    return p;
}
