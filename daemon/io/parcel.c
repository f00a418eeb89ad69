/* parcel: see parcel.h. */
#include "daemon/io/parcel.h"
#include "daemon/io/fds.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM INT32_MAX /* for what is in the queue: as much as the system lets us have */

static int put_all(int socket, const int *fds, unsigned n)
{
    for (unsigned done = 0; done < n; done += FDS_MAX)
        if (fds_send(socket, "", 1, fds + done, n - done < FDS_MAX ? n - done : FDS_MAX) < 0)
            return -1;
    return 0;
}

int parcel_pack(const int *fds, unsigned n)
{
    int ends[2], room = ROOM;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    int status = setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (status == 0)
        status = put_all(ends[0], fds, n);
    int error = errno == EAGAIN ? ETOOMANYREFS : errno;
    close(ends[0]);
    if (status == 0)
        return ends[1];
    close(ends[1]);
    errno = error;
    return -1;
}

/* How many there were, of which the first n are left open. */
static unsigned take_all(int parcel, int *fds, unsigned n)
{
    unsigned all = 0;
    int some[FDS_MAX], got;

    while ((got = fds_receive(parcel, some)) > 0 || (got < 0 && errno == EINTR))
        for (int i = 0; i < got; i++, all++)
            if (all < n)
                fds[all] = some[i];
            else
                close(some[i]);
    return all;
}

int parcel_unpack(int parcel, int *fds, unsigned n)
{
    unsigned all = take_all(parcel, fds, n);

    close(parcel);
    if (all == n)
        return 0;
    for (unsigned i = 0; i < n && i < all; i++)
        close(fds[i]);
    return -1;
}

void parcel_void(int parcel)
{
    take_all(parcel, NULL, 0);
    close(parcel);
}
