/* A redis-server of the test's own: on a unix socket in a fresh directory, gone with the test. */
#ifndef TEST_REDIS_PROCESS_H
#define TEST_REDIS_PROCESS_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct redis_process {
    char dir[64];
    char address[96]; /* "unix:/..." */
    const char *options[12];
    pid_t pid;
};

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static inline void remove_tree(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Starts it, also anew after redis_process_kill. Does not wait until it answers. */
static inline void redis_process_start(struct redis_process *r)
{
    if (!r->dir[0]) {
        strcpy(r->dir, "/tmp/rapyer-unit-XXXXXX");
        cr_assert_not_null(mkdtemp(r->dir));
        snprintf(r->address, sizeof(r->address), "unix:%s/redis.sock", r->dir);
    }
    pid_t parent = getpid();
    r->pid = fork();
    cr_assert_geq(r->pid, 0);
    if (r->pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    const char *argv[40] = {
        "redis-server", "--port", "0", "--unixsocket", r->address + 5, "--dir",
        r->dir,         "--save", "",  "--appendonly", "no",           "--logfile",
        "redis.log"};
    int n = 13;
    for (size_t i = 0; i < sizeof(r->options) / sizeof(*r->options) && r->options[i]; i++)
        argv[n++] = r->options[i];
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

static inline void redis_process_kill(struct redis_process *r)
{
    if (r->pid <= 0)
        return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static inline void redis_process_end(struct redis_process *r)
{
    redis_process_kill(r);
    if (r->dir[0])
        remove_tree(r->dir);
}

#endif
