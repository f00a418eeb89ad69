/* address: see address.h. The places are those of daemon/base/config.c. */
#include "client/address.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What may not be looked at is there. */
static bool is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static bool is_below(const char *variable, const char *name, char path[PATH_MAX])
{
    const char *dir = getenv(variable);
    if (!dir || !*dir)
        return false;
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return is_there(path);
}

char *address_find(void)
{
    char path[PATH_MAX];
    if (geteuid() == 0 || is_there(DEFAULT_SOCKET))
        return strdup(DEFAULT_SOCKET);
    bool own = is_below("XDG_RUNTIME_DIR", "rapyerd/rapyerd.sock", path) ||
               is_below("HOME", ".rapyerd.sock", path);
    return strdup(own ? path : DEFAULT_SOCKET);
}

/* The name of the group that the socket is given to, or "" where that cannot be seen. */
static const char *group_of(const char *path, char *out, size_t size)
{
    struct stat st;
    struct group group, *found = NULL;
    char memory[4096];
    out[0] = '\0';
    if (stat(path, &st) < 0)
        return out;
    if (getgrgid_r(st.st_gid, &group, memory, sizeof memory, &found) == 0 && found)
        snprintf(out, size, "%s", group.gr_name);
    else
        snprintf(out, size, "%u", (unsigned)st.st_gid);
    return out;
}

int address_refused(const char *path, int error, struct fault *f)
{
    char group[128];
    if (error != EACCES && error != EPERM) {
        bool full = error == EAGAIN; /* of connections that wait to be accepted */
        return fault_set(f, full ? FAULT_BUSY : FAULT_UNAVAILABLE, "no rapyerd at %s: %s", path,
                         strerror(error));
    }
    if (*group_of(path, group, sizeof group) == '\0')
        return fault_set(f, FAULT_UNAVAILABLE,
                         "permission denied: this user may not look into the directory of %s",
                         path);
    return fault_set(f, FAULT_UNAVAILABLE,
                     "permission denied: this user may not connect to %s; users of the group '%s' "
                     "may, as far as the socket's mode says so",
                     path, group);
}
