/* preload_journal: a journal of the test's own. With this library preloaded what goes to the socket
 * of the system's journal goes to that at $PRELOAD_JOURNAL. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static ssize_t (*real)(int, const struct msghdr *, int);
    const struct sockaddr_un *to = message->msg_name;
    const char *path = getenv("PRELOAD_JOURNAL");
    struct sockaddr_un ours = {.sun_family = AF_UNIX};
    struct msghdr m = *message;
    if (!real)
        real = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    if (path && to && to->sun_family == AF_UNIX &&
        strcmp(to->sun_path, "/run/systemd/journal/socket") == 0) {
        snprintf(ours.sun_path, sizeof ours.sun_path, "%s", path);
        m.msg_name = &ours;
        m.msg_namelen = sizeof ours;
    }
    return real(fd, &m, flags);
}
