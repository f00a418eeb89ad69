/* fds: see fds.h. */
#include "daemon/io/fds.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

int fds_send(int socket, const void *data, size_t len, const int *fds, unsigned n)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof *fds)] = {0};
    struct iovec bytes = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(n * sizeof *fds)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof *fds);
    memcpy(CMSG_DATA(c), fds, n * sizeof *fds);
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 || (size_t)sent == len)
        return sent < 0 ? -1 : 0;
    errno = EPIPE; /* half an answer is of no use */
    return -1;
}

int fds_receive(int socket, int *fds)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof *fds)];
    char byte;
    struct iovec bytes = {.iov_base = &byte, .iov_len = sizeof byte};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = got < 0 ? NULL : CMSG_FIRSTHDR(&message);

    if (!c || c->cmsg_type != SCM_RIGHTS)
        return got < 0 ? -1 : 0;
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
    memcpy(fds, CMSG_DATA(c), n * sizeof *fds);
    return (int)n;
}
