/* handed: see handed.h. */
#include "daemon/base/handed.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int take_one(int *place, int fd, const char *name, char *error, size_t n)
{
    if (*place >= 0) {
        snprintf(error, n,
                 "systemd handed over a second socket, %s; one ListenStream= for clients is "
                 "expected, and one with FileDescriptorName=metrics",
                 name);
        return -1;
    }
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
        snprintf(error, n, "what systemd handed over as %s is not a listening stream socket", name);
        return -1;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        snprintf(error, n, "cannot use the socket %s that systemd handed over: %s", name,
                 strerror(errno));
        return -1;
    }
    *place = fd;
    return 0;
}

/* Of two of a name, which nobody leaves, the last one counts. */
static bool was_left(struct handed *h, int fd, const char *name)
{
    int *place = strcmp(name, HANDED_STATE) == 0    ? &h->state
                 : strcmp(name, HANDED_PARCEL) == 0 ? &h->parcel
                                                    : NULL;
    if (place == NULL)
        return false;
    if (*place >= 0)
        close(*place);
    *place = fd;
    return true;
}

int handed_take(struct handed *h, char *error, size_t n)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names), status = 0; /* makes them close-on-exec */

    *h = (struct handed){-1, -1, -1, -1};
    if (count < 0) {
        snprintf(error, n, "cannot take over the sockets from systemd: %s", strerror(-count));
        return -1;
    }
    for (int i = 0; i < count; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        int *place = strcmp(names[i], "metrics") == 0 ? &h->metrics : &h->clients;
        if (!was_left(h, fd, names[i]) && status == 0)
            status = take_one(place, fd, names[i], error, n);
        free(names[i]);
    }
    free(names);
    return status;
}
