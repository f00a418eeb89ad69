/* embedded: see embedded.h. */
#include "daemon/redis/embedded.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "protocol/alloc.h"
#include "protocol/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCK_POLL_MIN 50 /* all times in ms */
#define LOCK_POLL_MAX 1000
#define LOCK_PATIENCE 30000
#define PROBE_MIN 2
#define PROBE_MAX 100
#define RESTART_MIN 100
#define RESTART_MAX 5000
#define STOP_PATIENCE 10000
#define LOG_KEEP (1 << 20) /* bytes; a larger log is put aside at the next start */

/* What it says as its last words when its append-only file breaks off. From Redis 7 on there are
 * several, and the name of that one follows. */
#define BROKEN_OFF "Unexpected end of file reading the append only file"
#define ONLY_FILE "appendonly.aof"
#define PARTS_DIR "appendonlydir/"

enum state { IDLE, LOCKING, MENDING, STARTING, RUNNING, BACKOFF, STOPPING, STOPPED };

struct embedded {
    struct event_base *base;
    const struct config *config;
    struct embedded_callbacks cb;
    void *arg;
    enum state state;
    char *program;
    char *dir; /* state_dir/redis */
    int dir_fd, lock_fd;
    char address[sizeof(struct sockaddr_un) + 8];
    pid_t pid;
    char broken[128];    /* the file that breaks off: to be mended before it is started; "": none */
    off_t log_start;     /* where the log of this run begins */
    struct event *timer; /* the next step of the state */
    struct event *child; /* SIGCHLD */
    unsigned delay;      /* of the next poll or probe */
    unsigned failures;   /* ends since it last ran for a while */
    int64_t since;       /* clock_mono_ms(), the state's begin */
    bool complained;     /* about the lock */
    char why[256];
};

static void arm(struct embedded *e, int64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(e->timer, &tv);
}

static void enter(struct embedded *e, enum state state, const char *why, ...)
    __attribute__((format(printf, 3, 4)));
static void enter(struct embedded *e, enum state state, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    vsnprintf(e->why, sizeof(e->why), why, args);
    va_end(args);
    e->state = state;
    e->since = clock_mono_ms();
    event_del(e->timer);
}

static int refuse(char *error, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(char *error, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error, size, fmt, args);
    va_end(args);
    return -1;
}

/* files */

static bool runnable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Its path, allocated; NULL when there is none. */
static char *find_program(const char *name)
{
    if (strchr(name, '/'))
        return runnable(name) ? realpath(name, NULL) : NULL;
    const char *at = getenv("PATH");
    if (!at || !*at)
        at = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        char path[PATH_MAX];
        int len = (int)strcspn(at, ":");
        if (len > 0 && snprintf(path, sizeof(path), "%.*s/%s", len, at, name) < PATH_MAX &&
            runnable(path))
            return alloc_str(path);
        if (!at[len])
            return NULL;
        at += len + 1;
    }
}

static int make_dirs(const char *path)
{
    char part[PATH_MAX];
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return mkdir(part, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

static int open_dir(struct embedded *e, char *error, size_t size)
{
    struct stat st;
    e->dir = alloc_text("%s/redis", e->config->state_dir);
    if (strlen(e->dir) >= PATH_MAX - 32)
        return refuse(error, size, "redis.state_dir is too long");
    if (make_dirs(e->dir) < 0)
        return refuse(error, size, "%s cannot be created: %s", e->dir, strerror(errno));
    e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->dir_fd < 0 || fstat(e->dir_fd, &st) < 0)
        return refuse(error, size, "%s cannot be opened: %s", e->dir, strerror(errno));
    if (st.st_uid != geteuid())
        return refuse(error, size, "%s belongs to user %u, but rapyerd runs as %u", e->dir,
                      (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) && fchmod(e->dir_fd, 0700) < 0)
        return refuse(error, size, "%s cannot be closed to others: %s", e->dir, strerror(errno));
    e->lock_fd = openat(e->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (e->lock_fd < 0)
        return refuse(error, size, "%s/lock cannot be opened: %s", e->dir, strerror(errno));
    return 0;
}

/* Where a path is too long for a socket address, the directory is reached by its descriptor. */
static void set_address(struct embedded *e)
{
    char *full = realpath(e->dir, NULL);
    size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/redis.sock");
    if (full && strlen(full) <= room)
        snprintf(e->address, sizeof(e->address), "unix:%s/redis.sock", full);
    else
        snprintf(e->address, sizeof(e->address), "unix:/proc/self/fd/%d/redis.sock", e->dir_fd);
    free(full);
}

static void quote(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s \"", name);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if (*p < ' ' || *p > '~')
            buf_printf(out, "\\x%02x", *p);
        else
            buf_append(out, p, 1);
    }
    buf_printf(out, "\"\n");
}

/* A file and not arguments: the password would be in everyone's ps. aof-load-truncated: where it
 * was killed while it wrote a transaction, Redis would cut off the last command only, and apply the
 * others at a later start. It shall end instead, so that the file can be mended. */
static int write_conf(struct embedded *e)
{
    const struct config *c = e->config;
    struct buf out = BUF_INIT;
    buf_printf(&out, "# Written by rapyerd at each start.\n"
                     "port 0\n"
                     "unixsocket redis.sock\n"
                     "unixsocketperm 700\n"
                     "daemonize no\n"
                     "supervised no\n"
                     "logfile redis.log\n"
                     "appendonly yes\n"
                     "appendfsync everysec\n"
                     "aof-load-truncated no\n"
                     "save \"\"\n"
                     "maxmemory 0\n"
                     "maxmemory-policy noeviction\n"
                     "maxclients 100\n");
    buf_printf(&out, "databases %u\n", c->redis_db < 16 ? 16 : c->redis_db + 1);
    if (c->redis_password && *c->redis_password)
        quote(&out, "requirepass", c->redis_password);
    int fd = openat(e->dir_fd, "redis.conf", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write(fd, out.data, out.len) == (ssize_t)out.len;
    int err = errno;
    if (fd >= 0)
        close(fd);
    buf_free(&out);
    errno = err;
    return written ? 0 : -1;
}

static int open_log(struct embedded *e)
{
    struct stat st;
    if (fstatat(e->dir_fd, "redis.log", &st, 0) == 0 && st.st_size > LOG_KEEP)
        renameat(e->dir_fd, "redis.log", e->dir_fd, "redis.log.1");
    int fd = openat(e->dir_fd, "redis.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    e->log_start = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    return fd;
}

/* The last line that this run has logged, into out; "" when there is none. */
static void last_line(struct embedded *e, char *out, size_t size)
{
    char tail[2048];
    *out = '\0';
    int fd = openat(e->dir_fd, "redis.log", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END), from = e->log_start;
    if (end - from > (off_t)sizeof(tail) - 1)
        from = end - (off_t)sizeof(tail) + 1;
    ssize_t n = pread(fd, tail, sizeof(tail) - 1, from);
    close(fd);
    while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == '\r'))
        n--;
    if (n <= 0)
        return;
    tail[n] = '\0';
    const char *line = strrchr(tail, '\n');
    line = line ? line + 1 : tail;
    snprintf(out, size, "%.*s", (int)(size - 1), line);
}

/* process */

/* Which file breaks off, by the last words. */
static void find_broken(struct embedded *e, const char *line)
{
    const char *at = strstr(line, BROKEN_OFF);
    e->broken[0] = '\0';
    if (at == NULL)
        return;
    at += strlen(BROKEN_OFF);
    int len = *at == ' ' ? (int)strspn(++at, "abcdefghijklmnopqrstuvwxyz.0123456789") : 0;
    while (len > 0 && at[len - 1] == '.') /* the end of the sentence */
        len--;
    snprintf(e->broken, sizeof(e->broken), "%s%.*s", len > 0 ? PARTS_DIR : ONLY_FILE, len, at);
}

/* Cuts off what was not written to its end, whole transactions at a time: redis-server is
 * redis-check-aof, too, when it is called so. It looks at this file alone: that of Valkey 9.1 does
 * not know the form of the snapshot which its own server puts in front. */
static char *const *mend_argv(struct embedded *e)
{
    static char name[] = "redis-check-aof", mend[] = "--fix";
    static char *argv[] = {name, mend, NULL, NULL};
    argv[2] = e->broken;
    return argv;
}

static char *const *serve_argv(const struct embedded *e)
{
    static char conf[] = "redis.conf";
    static char *argv[] = {NULL, conf, NULL};
    argv[0] = e->program;
    return argv;
}

/* Before it cuts it asks. */
static int open_yes(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    if (write(ends[1], "y\n", 2) != 2) {
        close(ends[0]);
        ends[0] = -1;
    }
    close(ends[1]);
    return ends[0];
}

/* In the child: between fork and exec only calls that a signal handler may make. All signals
 * are blocked here: the daemon's handlers would tell the daemon what was meant for the child. */
static void run_child(const struct embedded *e, char *const argv[], int in_fd, int log_fd,
                      pid_t daemon) __attribute__((noreturn));
static void run_child(const struct embedded *e, char *const argv[], int in_fd, int log_fd,
                      pid_t daemon)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* ^C at a terminal is for the daemon, which then stops it in order */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != daemon || fchdir(e->dir_fd) < 0 || dup2(in_fd, 0) < 0 || dup2(log_fd, 1) < 0 ||
        dup2(log_fd, 2) < 0 || fcntl(e->lock_fd, F_SETFD, 0) < 0)
        _exit(126);
    execv(e->program, argv);
    _exit(127);
}

static void restart_later(struct embedded *e)
{
    uint64_t delay = RESTART_MIN;
    for (unsigned i = 0; i < e->failures && delay < RESTART_MAX; i++)
        delay *= 2;
    e->failures++;
    arm(e, delay < RESTART_MAX ? delay : RESTART_MAX);
}

static void write_pid(struct embedded *e)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%d\n", (int)e->pid);
    if (ftruncate(e->lock_fd, 0) < 0 || pwrite(e->lock_fd, text, (size_t)len, 0) < 0)
        log_warning("%s/lock cannot be written: %s", e->dir, strerror(errno));
}

static pid_t fork_child(struct embedded *e, int in_fd, int log_fd)
{
    char *const *argv = *e->broken ? mend_argv(e) : serve_argv(e);
    sigset_t all, before;
    pid_t daemon = getpid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        run_child(e, argv, in_fd, log_fd, daemon);
    int err = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = err;
    return pid;
}

static void spawn(struct embedded *e)
{
    int log_fd = open_log(e);
    int in_fd = *e->broken ? open_yes() : open("/dev/null", O_RDONLY | O_CLOEXEC);
    bool ready = log_fd >= 0 && in_fd >= 0 && write_conf(e) == 0;
    pid_t pid = ready ? fork_child(e, in_fd, log_fd) : -1;
    int err = errno;
    if (log_fd >= 0)
        close(log_fd);
    if (in_fd >= 0)
        close(in_fd);
    if (pid < 0) {
        enter(e, BACKOFF, "the embedded Redis cannot be started in %s: %s", e->dir, strerror(err));
        log_error("%s", e->why);
        restart_later(e);
        return;
    }
    e->pid = pid;
    write_pid(e);
    if (*e->broken) {
        enter(e, MENDING, "the append-only file of the embedded Redis is being mended");
        return;
    }
    enter(e, STARTING, "the embedded Redis is starting");
    e->delay = PROBE_MIN;
    arm(e, e->delay);
}

static void try_lock(struct embedded *e)
{
    if (flock(e->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        spawn(e);
        return;
    }
    char pid[24] = "";
    ssize_t n = pread(e->lock_fd, pid, sizeof(pid) - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
    snprintf(e->why, sizeof(e->why),
             "the embedded Redis waits for redis-server%s%s of another rapyerd, which still holds "
             "%.120s/lock",
             *pid ? " pid " : "", pid, e->dir);
    if (e->delay == LOCK_POLL_MIN)
        log_notice("%s", e->why);
    if (!e->complained && clock_mono_ms() - e->since > LOCK_PATIENCE) {
        log_error("%s; two daemons cannot share one redis.state_dir", e->why);
        e->complained = true;
    }
    arm(e, e->delay);
    e->delay = e->delay * 2 < LOCK_POLL_MAX ? e->delay * 2 : LOCK_POLL_MAX;
}

/* A connect to a unix socket does not block: it is there or it is not. */
static bool answers(const struct embedded *e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", e->address + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool connected = fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0;
    if (fd >= 0)
        close(fd);
    return connected;
}

static void probe(struct embedded *e)
{
    if (!answers(e)) {
        e->delay = e->delay * 2 < PROBE_MAX ? e->delay * 2 : PROBE_MAX;
        arm(e, e->delay);
        return;
    }
    enter(e, RUNNING, "%s", "");
    log_info("the embedded Redis runs at %s (pid %d)", e->address, (int)e->pid);
    e->cb.on_ready(e->arg, e->address);
}

static void stopped(struct embedded *e)
{
    enter(e, STOPPED, "the embedded Redis is stopped");
    e->cb.on_stopped(e->arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct embedded *e = arg;
    switch (e->state) {
    case LOCKING: try_lock(e); break;
    case STARTING: probe(e); break;
    case BACKOFF: spawn(e); break;
    case STOPPING:
        if (!e->pid) {
            stopped(e);
            break;
        }
        log_warning("the embedded Redis (pid %d) did not end within %d ms, it is killed",
                    (int)e->pid, STOP_PATIENCE);
        kill(e->pid, SIGKILL);
        break;
    case IDLE:
    case MENDING:
    case RUNNING:
    case STOPPED: break;
    }
}

/* Whether it worked the next start says. */
static void mended(struct embedded *e)
{
    char line[200];
    last_line(e, line, sizeof(line));
    log_warning("the append-only file of the embedded Redis broke off, as it was killed while it "
                "wrote; redis-check-aof says: %s",
                line);
    e->broken[0] = '\0';
    spawn(e);
}

static void ended(struct embedded *e, int status)
{
    char how[48], line[200];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof(how), "was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 127)
        snprintf(how, sizeof(how), "could not be executed");
    else
        snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
    if (e->state == RUNNING && clock_mono_ms() - e->since > RESTART_MAX)
        e->failures = 0;
    last_line(e, line, sizeof(line));
    find_broken(e, line);
    enter(e, BACKOFF, "the embedded Redis %s", how);
    log_error("the embedded Redis (%s) %s%s%s; it is started again", e->program, how,
              *line ? "; its last line: " : "", line);
    restart_later(e);
}

static void on_child(evutil_socket_t signal_number, short what, void *arg)
{
    (void)signal_number;
    (void)what;
    struct embedded *e = arg;
    int status;
    if (!e->pid || waitpid(e->pid, &status, WNOHANG) != e->pid)
        return;
    e->pid = 0;
    if (e->state == STOPPING)
        stopped(e);
    else if (e->state == MENDING)
        mended(e);
    else
        ended(e, status);
}

/* interface */

struct embedded *embedded_new(struct event_base *base, const struct config *config,
                              const struct embedded_callbacks *cb, void *arg)
{
    struct embedded *e = alloc_zeroed(1, sizeof(*e));
    *e = (struct embedded){
        .base = base, .config = config, .cb = *cb, .arg = arg, .dir_fd = -1, .lock_fd = -1};
    e->timer = evtimer_new(base, on_timer, e);
    e->child = evsignal_new(base, SIGCHLD, on_child, e);
    enter(e, IDLE, "the embedded Redis is not started");
    return e;
}

static int prepare(struct embedded *e, char *error, size_t error_size)
{
    const struct config *c = e->config;
    if (e->state != IDLE)
        return refuse(error, error_size, "the embedded Redis was started before");
    if (c->redis_user && *c->redis_user && strcmp(c->redis_user, "default") != 0)
        return refuse(error, error_size,
                      "redis.redis_user must be empty when redis.redis is embedded");
    e->program = find_program(c->redis_server);
    if (!e->program)
        return refuse(error, error_size,
                      "%s is not installed or not in PATH; install the package redis-server, or "
                      "set redis.redis to a running one",
                      c->redis_server);
    if (open_dir(e, error, error_size) < 0)
        return -1;
    set_address(e);
    if (event_add(e->child, NULL) < 0)
        return refuse(error, error_size, "SIGCHLD cannot be watched");
    return 0;
}

int embedded_start(struct embedded *e, char *error, size_t error_size)
{
    if (prepare(e, error, error_size) < 0)
        return -1;
    enter(e, LOCKING, "the embedded Redis is starting");
    e->delay = LOCK_POLL_MIN;
    arm(e, 0);
    return 0;
}

bool embedded_may_save(const struct embedded *e)
{
    return e->pid == 0 || e->state == RUNNING || e->state == STARTING;
}

void embedded_save(const struct embedded *e, struct state_writer *w)
{
    pack_array(&w->out, 4);
    pack_int(&w->out, e->pid);
    pack_int(&w->out, e->log_start);
    pack_cstr(&w->out, e->broken);
    state_fd(w, e->lock_fd);
}

int embedded_resume(struct embedded *e, struct state_reader *r, char *error, size_t error_size)
{
    if (prepare(e, error, error_size) < 0)
        return -1;
    struct state_tuple t = state_enter(r, 4);
    pid_t pid = (pid_t)state_int(r);
    e->log_start = (off_t)state_int(r);
    state_text(r, e->broken, sizeof(e->broken));
    int lock_fd = state_take_fd(r);
    state_leave(r, &t);
    if (r->bad || lock_fd < 0 || fcntl(lock_fd, F_SETFD, FD_CLOEXEC) < 0)
        return refuse(error, error_size, "what is known of the embedded Redis is spoilt");
    close(e->lock_fd); /* one of its own of the same file, without the lock */
    e->lock_fd = lock_fd;
    e->pid = pid;
    if (pid == 0) {
        enter(e, LOCKING, "the embedded Redis is starting");
        e->delay = LOCK_POLL_MIN;
    } else {
        enter(e, STARTING, "the embedded Redis is starting");
        e->delay = PROBE_MIN;
        event_active(e->child, EV_SIGNAL, 1); /* it may have ended meanwhile */
    }
    arm(e, 0);
    return 0;
}

void embedded_stop(struct embedded *e)
{
    if (e->state == STOPPING || e->state == STOPPED)
        return;
    enter(e, STOPPING, "the embedded Redis is stopping");
    if (e->pid)
        kill(e->pid, SIGTERM);
    arm(e, e->pid ? STOP_PATIENCE : 0);
}

/* Without the loop, which would go on with what is not ours any more. */
void embedded_end(struct embedded *e)
{
    struct timespec pause = {.tv_nsec = 1000000};
    int64_t patience = clock_mono_ms() + STOP_PATIENCE;
    if (e->pid)
        kill(e->pid, SIGTERM);
    while (e->pid && waitpid(e->pid, NULL, WNOHANG) == 0) {
        if (clock_mono_ms() > patience) {
            log_warning("the embedded Redis (pid %d) did not end within %d ms, it is killed",
                        (int)e->pid, STOP_PATIENCE);
            kill(e->pid, SIGKILL);
            waitpid(e->pid, NULL, 0);
            break;
        }
        nanosleep(&pause, NULL);
    }
    e->pid = 0;
    enter(e, STOPPED, "the embedded Redis is stopped");
}

pid_t embedded_pid(const struct embedded *e)
{
    return e->pid;
}

const char *embedded_why(const struct embedded *e)
{
    return e->why;
}

void embedded_free(struct embedded *e)
{
    if (!e)
        return;
    if (e->pid) {
        kill(e->pid, SIGKILL);
        waitpid(e->pid, NULL, 0);
    }
    if (e->timer)
        event_free(e->timer);
    if (e->child)
        event_free(e->child);
    if (e->lock_fd >= 0)
        close(e->lock_fd);
    if (e->dir_fd >= 0)
        close(e->dir_fd);
    free(e->program);
    free(e->dir);
    free(e);
}
