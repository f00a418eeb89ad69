/* listener: see listener.h. The socket gets its owner and mode between bind() and listen(): a
 * connection attempted before that is refused, so there is no moment with wrong permissions. */
#include "daemon/clients/listener.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BACKLOG 4096
#define ACCEPTS_PER_TURN 64
#define PAUSE_MS 100 /* without accepting, when there are no file descriptors left */

struct listener {
    int fd;
    int lock; /* the lock file, or -1 */
    bool from_systemd;
    bool starving; /* out of descriptors, and that was logged */
    bool paused;
    struct sockaddr_un address;
    dev_t dev; /* what was bound: only that file may be removed */
    ino_t ino;
    listener_accept_fn *on_accept;
    void *arg;
    struct event *acceptable, *resume;
    char *error; /* only while opening */
    size_t error_size;
};

static int __attribute__((format(printf, 2, 3))) refuse(struct listener *l, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(l->error, l->error_size, fmt, args);
    va_end(args);
    return -1;
}

/* --- accepting --------------------------------------------------------------------------- */

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)fd;
    (void)what;
    if (!l->paused)
        event_add(l->acceptable, NULL);
}

/* The waiting connections stay in the backlog; asking on would only burn time. */
static void starve(struct listener *l, int err)
{
    struct timeval pause = {.tv_usec = PAUSE_MS * 1000};

    if (!l->starving)
        log_error("cannot accept clients: %s; trying on every %d ms", strerror(err), PAUSE_MS);
    l->starving = true;
    event_del(l->acceptable);
    event_add(l->resume, &pause);
}

static void on_acceptable(evutil_socket_t listening, short what, void *arg)
{
    struct listener *l = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN)
                starve(l, errno);
            return;
        }
        if (l->starving)
            log_notice("accepting clients again");
        l->starving = false;
        l->on_accept(l->arg, fd);
    }
}

/* --- the path ---------------------------------------------------------------------------- */

static const char *path_of(const struct listener *l)
{
    return l->address.sun_path;
}

/* The directory that it is in; "" for the root. */
static void parent_of(const struct listener *l, char parent[sizeof l->address.sun_path])
{
    strcpy(parent, path_of(l));
    *strrchr(parent, '/') = '\0';
}

/* One missing directory is made (/run is emptied at boot); more than one is a wrong path. */
static int make_parent(struct listener *l)
{
    char parent[sizeof l->address.sun_path];
    struct stat st;

    parent_of(l, parent);
    if (!parent[0])
        return 0;
    if (stat(parent, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        return refuse(l, "listen.socket: %s is not a directory", parent);
    }
    if (mkdir(parent, 0755) == 0 || errno == EEXIST)
        return 0;
    return refuse(l, "listen.socket: cannot make the directory %s: %s", parent, strerror(errno));
}

static bool write_pid(const struct listener *l)
{
    char pid[32];
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());

    return ftruncate(l->lock, 0) == 0 && pwrite(l->lock, pid, (size_t)len, 0) == len;
}

static int take_lock(struct listener *l)
{
    char path[sizeof l->address.sun_path + 8], pid[32] = "";

    snprintf(path, sizeof path, "%s.lock", path_of(l));
    l->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->lock < 0)
        return refuse(l, "listen.socket: cannot open the lock file %s: %s", path, strerror(errno));
    if (flock(l->lock, LOCK_EX | LOCK_NB) < 0) {
        int err = errno;
        if (err != EWOULDBLOCK)
            return refuse(l, "listen.socket: cannot lock %s: %s", path, strerror(err));
        ssize_t n = pread(l->lock, pid, sizeof pid - 1, 0);
        pid[n > 0 ? (size_t)n : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return refuse(l, "another rapyerd (pid %s) has the socket %s", pid[0] ? pid : "unknown",
                      path_of(l));
    }
    if (!write_pid(l))
        return refuse(l, "listen.socket: cannot write %s: %s", path, strerror(errno));
    return 0;
}

/* A socket nobody answers at is removed; everything else there is somebody's. */
static int clear_path(struct listener *l)
{
    struct stat st;

    if (lstat(path_of(l), &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return refuse(l, "listen.socket: %s: %s", path_of(l), strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode))
        return refuse(l,
                      "listen.socket: %s is there and is not a socket; remove it or choose "
                      "another path",
                      path_of(l));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return refuse(l, "cannot make a socket: %s", strerror(errno));
    int status = connect(fd, (struct sockaddr *)&l->address, sizeof l->address);
    int err = errno;
    close(fd);
    if (status == 0 || err == EAGAIN)
        return refuse(l, "listen.socket: a living process answers at %s", path_of(l));
    if (err != ECONNREFUSED)
        return refuse(l, "listen.socket: cannot tell whether %s is in use: %s", path_of(l),
                      strerror(err));
    if (unlink(path_of(l)) < 0)
        return refuse(l, "listen.socket: cannot remove the dead socket %s: %s", path_of(l),
                      strerror(errno));
    log_info("replacing the socket %s, whose daemon died", path_of(l));
    return 0;
}

/* A name or number; "" is -1, which chown() takes as "leave it". */
static int find_owner(struct listener *l, const char *name, uid_t *uid)
{
    char *end;

    *uid = (uid_t)-1;
    if (!name[0])
        return 0;
    const struct passwd *pw = getpwnam(name);
    unsigned long number = strtoul(name, &end, 10);
    if (pw)
        *uid = pw->pw_uid;
    else if (*end == '\0' && number < UINT_MAX)
        *uid = (uid_t)number;
    else
        return refuse(l, "listen.socket_owner: there is no user \"%s\"", name);
    return 0;
}

static int find_group(struct listener *l, const char *name, gid_t *gid)
{
    char *end;

    *gid = (gid_t)-1;
    if (!name[0])
        return 0;
    const struct group *gr = getgrnam(name);
    unsigned long number = strtoul(name, &end, 10);
    if (gr)
        *gid = gr->gr_gid;
    else if (*end == '\0' && number < UINT_MAX)
        *gid = (gid_t)number;
    else
        return refuse(l, "listen.socket_group: there is no group \"%s\"", name);
    return 0;
}

static int bind_private(struct listener *l)
{
    mode_t old = umask(0177);
    int status = bind(l->fd, (struct sockaddr *)&l->address, sizeof l->address);
    int err = errno;

    umask(old);
    errno = err;
    return status;
}

static int open_path(struct listener *l, const struct config *config)
{
    struct stat st;
    uid_t uid;
    gid_t gid;

    if (strlen(config->socket) >= sizeof l->address.sun_path || config->socket[0] != '/')
        return refuse(l, "listen.socket: \"%s\" is not an absolute path of less than %zu bytes",
                      config->socket, sizeof l->address.sun_path);
    l->address.sun_family = AF_UNIX;
    strcpy(l->address.sun_path, config->socket);
    if (find_owner(l, config->socket_owner, &uid) < 0 ||
        find_group(l, config->socket_group, &gid) < 0 || make_parent(l) < 0 || take_lock(l) < 0 ||
        clear_path(l) < 0)
        return -1;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return refuse(l, "cannot make a socket: %s", strerror(errno));
    if (bind_private(l) < 0 || lstat(path_of(l), &st) < 0)
        return refuse(l, "listen.socket: cannot make %s: %s", path_of(l), strerror(errno));
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) && lchown(path_of(l), uid, gid) < 0)
        return refuse(l, "listen.socket: cannot give %s to %s:%s: %s", path_of(l),
                      config->socket_owner, config->socket_group, strerror(errno));
    if (chmod(path_of(l), config->socket_mode) < 0)
        return refuse(l, "listen.socket: cannot set the mode of %s: %s", path_of(l),
                      strerror(errno));
    if (listen(l->fd, BACKLOG) < 0)
        return refuse(l, "listen.socket: cannot listen at %s: %s", path_of(l), strerror(errno));
    return 0;
}

/* Who the clients are is asked of the socket, which one on the network cannot say. */
static int check_handed(struct listener *l)
{
    if (sd_is_socket(l->fd, AF_UNIX, SOCK_STREAM, 1) > 0)
        return 0;
    return refuse(l, "the socket for clients that systemd handed over is no unix socket; "
                     "ListenStream= with an absolute path is expected");
}

/* --- public ------------------------------------------------------------------------------ */

static int watch(struct listener *l, struct event_base *base)
{
    l->acceptable = event_new(base, l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
    l->resume = evtimer_new(base, on_resume, l);
    return event_add(l->acceptable, NULL);
}

void listener_pause(struct listener *l, bool paused)
{
    l->paused = paused;
    if (paused)
        event_del(l->acceptable);
    else
        event_add(l->acceptable, NULL);
}

void listener_save(const struct listener *l, struct state_writer *w)
{
    pack_array(&w->out, 6);
    pack_cstr(&w->out, path_of(l));
    pack_uint(&w->out, l->dev);
    pack_uint(&w->out, l->ino);
    pack_bool(&w->out, l->from_systemd);
    state_fd(w, l->fd);
    state_fd(w, l->lock);
}

struct listener *listener_resume(struct event_base *base, struct state_reader *r,
                                 listener_accept_fn *on_accept, void *arg)
{
    struct listener *l = alloc_zeroed(1, sizeof *l);
    struct state_tuple t = state_enter(r, 6);

    *l = (struct listener){.on_accept = on_accept, .arg = arg};
    l->address.sun_family = AF_UNIX;
    state_text(r, l->address.sun_path, sizeof l->address.sun_path);
    l->dev = (dev_t)state_uint(r);
    l->ino = (ino_t)state_uint(r);
    l->from_systemd = state_bool(r);
    l->fd = state_take_fd(r);
    l->lock = state_take_fd(r);
    state_leave(r, &t);
    if (!r->bad && sd_is_socket(l->fd, AF_UNIX, SOCK_STREAM, 1) > 0 &&
        fcntl(l->fd, F_SETFD, FD_CLOEXEC) == 0 &&
        (l->lock < 0 || (fcntl(l->lock, F_SETFD, FD_CLOEXEC) == 0 && write_pid(l))) &&
        watch(l, base) == 0)
        return l;
    l->ino = 0; /* it is another's */
    listener_close(l);
    return NULL;
}

struct listener *listener_open(struct event_base *base, const struct config *config, int handed,
                               listener_accept_fn *on_accept, void *arg, char *error, size_t n)
{
    struct listener *l = alloc_zeroed(1, sizeof *l);

    *l = (struct listener){.fd = handed,
                           .lock = -1,
                           .from_systemd = handed >= 0,
                           .on_accept = on_accept,
                           .arg = arg,
                           .error = error,
                           .error_size = n};
    if (handed >= 0 ? check_handed(l) < 0 : open_path(l, config) < 0) {
        listener_close(l);
        return NULL;
    }
    if (watch(l, base) < 0) {
        refuse(l, "cannot watch the socket: %s", strerror(errno));
        listener_close(l);
        return NULL;
    }
    l->error = NULL;
    return l;
}

void listener_close(struct listener *l)
{
    struct stat st;

    if (!l)
        return;
    if (l->acceptable)
        event_free(l->acceptable);
    if (l->resume)
        event_free(l->resume);
    if (l->fd >= 0)
        close(l->fd);
    if (l->ino && lstat(path_of(l), &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(path_of(l));
    /* The lock file stays: removing it would let two daemons lock two files of that name. */
    if (l->lock >= 0)
        close(l->lock);
    free(l);
}

/* That of a file that is made beside it. */
static gid_t group_there(const struct listener *l)
{
    char parent[sizeof l->address.sun_path];
    struct stat st;

    parent_of(l, parent);
    return stat(parent[0] ? parent : "/", &st) == 0 && st.st_mode & S_ISGID ? st.st_gid : getegid();
}

bool listener_is_as_set(struct listener *l, const struct config *config)
{
    struct stat st;
    uid_t uid;
    gid_t gid;

    if (l->from_systemd || strcmp(path_of(l), config->socket) != 0 || lstat(path_of(l), &st) < 0 ||
        st.st_dev != l->dev || st.st_ino != l->ino ||
        find_owner(l, config->socket_owner, &uid) < 0 ||
        find_group(l, config->socket_group, &gid) < 0)
        return false;
    return (st.st_mode & ALLPERMS) == config->socket_mode &&
           st.st_uid == (uid != (uid_t)-1 ? uid : geteuid()) &&
           st.st_gid == (gid != (gid_t)-1 ? gid : group_there(l));
}

bool listener_from_systemd(const struct listener *l)
{
    return l->from_systemd;
}
