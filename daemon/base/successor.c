/* successor: see successor.h. The variable is RAPYERD_STATE=<memory> <way back> <report>
 * <returned>: numbers of descriptors, and a bool. */
#include "daemon/base/successor.h"
#include "daemon/base/clock.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "RAPYERD_STATE"
#define FINE "ok "

extern char **environ;

/* ---- in the new program ---- */

struct inheritance successor_inherit(void)
{
    struct inheritance in = {-1, -1, -1, 0};
    const char *text = getenv(VARIABLE);

    if (text == NULL)
        return in;
    if (sscanf(text, "%d %d %d %d", &in.memory, &in.way_back, &in.report, &in.returned) != 4)
        in = (struct inheritance){-1, -1, -1, 0};
    unsetenv(VARIABLE);
    if (in.memory >= 0)
        fcntl(in.memory, F_SETFD, FD_CLOEXEC);
    if (in.way_back >= 0)
        fcntl(in.way_back, F_SETFD, FD_CLOEXEC);
    return in;
}

void successor_report(const struct inheritance *in, const char *why_not)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s", why_not ? why_not : FINE RAPYER_VERSION);

    /* Nothing of what it has made is taken apart: the descriptors are those of the daemon. */
    _exit(write(in->report, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0);
}

/* ---- trying it ---- */

/* The environment with the variable; a trial must not speak to the service manager. */
static char **environment(const char *variable, bool trial)
{
    size_t n = 0, kept = 0;

    while (environ[n])
        n++;
    char **all = alloc_zeroed(n + 2, sizeof *all);
    for (size_t i = 0; i < n; i++)
        if (!trial || (strncmp(environ[i], "NOTIFY_SOCKET=", 14) != 0 &&
                       strncmp(environ[i], "WATCHDOG_", 9) != 0))
            all[kept++] = environ[i];
    all[kept] = (char *)(uintptr_t)variable;
    return all;
}

/* In the child, which has our memory until it executes something else. It ends with us, however we
 * end: it has our sockets, and would stand in the way of the next daemon. */
_Noreturn static void be_tried(const char *program, char *const argv[], char *const env[],
                               const struct state_writer *w, int memory, int report, pid_t daemon,
                               volatile int *failed)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        if (i != SIGPIPE)
            signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != daemon)
        _exit(126);
    fcntl(memory, F_SETFD, 0);
    fcntl(report, F_SETFD, 0);
    for (unsigned i = 0; i < w->nfds; i++)
        fcntl(w->fds[i], F_SETFD, 0);
    execve(program, argv, env);
    *failed = errno;
    _exit(127);
}

/* vfork, as the memory of a daemon may be large. -1: errno, also of what the child could not
 * execute. */
static pid_t spawn(const char *program, char *const argv[], const struct state_writer *w,
                   int memory, int report)
{
    sigset_t all, before;
    char variable[64];
    pid_t daemon = getpid();
    volatile int failed = 0;

    snprintf(variable, sizeof variable, VARIABLE "=%d -1 %d 0", memory, report);
    char **env = environment(variable, true);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0)
        be_tried(program, argv, env, w, memory, report, daemon, &failed);
    int error = pid < 0 ? errno : failed;
    sigprocmask(SIG_SETMASK, &before, NULL);
    free(env);
    while (pid > 0 && error != 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    errno = error;
    return error == 0 ? pid : -1;
}

int successor_try(struct trial *t, const char *program, char *const argv[],
                  const struct state_writer *w, int memory)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    pid_t pid = spawn(program, argv, w, memory, ends[1]);
    int error = errno;
    close(ends[1]);
    if (pid > 0) {
        *t = (struct trial){.pid = pid, .report = ends[0]};
        return 0;
    }
    close(ends[0]);
    errno = error;
    return -1;
}

bool trial_read(struct trial *t)
{
    for (;;) {
        size_t len = strlen(t->text);
        char more[64];
        ssize_t n = read(t->report, more, sizeof more);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 || errno != EAGAIN;
        snprintf(t->text + len, sizeof t->text - len, "%.*s", (int)n, more);
    }
}

bool trial_wait(struct trial *t, int64_t ms)
{
    struct pollfd p = {.fd = t->report, .events = POLLIN};
    int64_t end = clock_mono_ms() + ms;

    while (!trial_read(t)) {
        int64_t left = end - clock_mono_ms();
        if (left <= 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
            return false;
    }
    return true;
}

const char *trial_end(struct trial *t)
{
    size_t fine = strlen(FINE);
    int status = 0;

    if (t->pid == 0)
        return "it does not run";
    close(t->report);
    kill(t->pid, SIGKILL);
    while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    t->pid = 0;
    if (strncmp(t->text, FINE, fine) == 0) {
        memmove(t->text, t->text + fine, strlen(t->text) - fine + 1);
        return NULL;
    }
    if (t->text[0] == '\0' && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        snprintf(t->text, sizeof t->text, "it was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (t->text[0] == '\0')
        snprintf(t->text, sizeof t->text,
                 "it ended without a word; is it a rapyerd that can take over?");
    return t->text;
}

/* ---- going on as another program ---- */

static void keep_open(const struct state_writer *w, bool keep)
{
    for (unsigned i = 0; i < w->nfds; i++)
        fcntl(w->fds[i], F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static int execute(const char *program, char *const argv[], int memory, int way_back)
{
    char variable[64];
    sigset_t all, before;

    snprintf(variable, sizeof variable, VARIABLE "=%d %d -1 %d", memory, way_back, way_back < 0);
    char **env = environment(variable, false);
    fcntl(memory, F_SETFD, 0);
    if (way_back >= 0)
        fcntl(way_back, F_SETFD, 0);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    execve(program, argv, env);
    int error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    free(env);
    errno = error;
    return -1;
}

int successor_exec(const char *program, char *const argv[], const struct state_writer *w,
                   int memory)
{
    int way_back = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    keep_open(w, true);
    execute(program, argv, memory, way_back);
    int error = errno;
    keep_open(w, false);
    if (way_back >= 0)
        close(way_back);
    errno = error;
    return -1;
}

int successor_go_back(const struct inheritance *in, char *const argv[], const struct saved_state *s)
{
    char program[32];

    errno = ENOENT;
    if (in->way_back < 0)
        return -1;
    for (unsigned i = 0; i < s->nfds; i++)
        fcntl(s->numbers[i], F_SETFD, 0);
    snprintf(program, sizeof program, "/proc/self/fd/%d", in->way_back);
    return execute(program, argv, in->memory, -1);
}
