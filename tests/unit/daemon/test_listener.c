/* The listening socket: whose it is, who may connect, and what happens when it is short of
 * descriptors. */
#include "daemon/base/handed.h"
#include "daemon/clients/listener.h"
#include "turn.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct event_base *base;
static struct config config;
static char dir[64], path[100], lock[110], error[600];
#define SD_FIRST 3 /* SD_LISTEN_FDS_START */

static int accepted[128], naccepted;

static void on_accept(void *arg, int fd)
{
    (void)arg;
    cr_assert_lt(naccepted, 128);
    accepted[naccepted++] = fd;
}

static struct listener *listen_there(void)
{
    error[0] = '\0';
    return listener_open(base, &config, -1, on_accept, NULL, error, sizeof error);
}

static void begin(void)
{
    strcpy(dir, "/tmp/rapyerd-listen-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/run/s", dir);
    snprintf(lock, sizeof lock, "%s.lock", path);
    log_setup(LOG_LEVEL_ERROR, LOG_TEXT);
    config = (struct config){
        .socket = path, .socket_owner = "", .socket_group = "", .socket_mode = 0640};
    base = event_base_new();
}

static void end(void)
{
    char parent[80];

    for (int i = 0; i < naccepted; i++)
        close(accepted[i]);
    unlink(path);
    unlink(lock);
    snprintf(parent, sizeof parent, "%s/run", dir);
    rmdir(parent);
    rmdir(dir);
    event_base_free(base);
}

TestSuite(listener, .init = begin, .fini = end);

static struct sockaddr_un address(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    strcpy(a.sun_path, path);
    return a;
}

/* A connected socket, or a negative errno. */
static int dial(void)
{
    struct sockaddr_un a = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int err = errno;
    close(fd);
    return -err;
}

/* A socket bound to the path; nobody listens there yet. */
static int bind_there(void)
{
    struct sockaddr_un a = address();
    char parent[80];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(parent, sizeof parent, "%s/run", dir);
    mkdir(parent, 0700);
    cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void expect_refusal(const char *part)
{
    cr_assert_null(listen_there());
    cr_expect(strstr(error, part), "<%s> does not say <%s>", error, part);
}

Test(listener, accepts)
{
    struct listener *l = listen_there();
    int fds[100];
    struct stat st;

    cr_assert(l, "%s", error);
    cr_expect_not(listener_from_systemd(l));
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0640);
    for (int i = 0; i < 100; i++)
        cr_assert_geq(fds[i] = dial(), 0);
    turn_until(base, naccepted == 100);
    cr_expect_eq(fcntl(accepted[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    cr_expect_eq(fcntl(accepted[0], F_GETFD), FD_CLOEXEC);
    listener_close(l);
    cr_expect_neq(access(path, F_OK), 0, "the socket is still there");
    for (int i = 0; i < 100; i++)
        close(fds[i]);
}

Test(listener, makes_one_directory_only)
{
    snprintf(path, sizeof path, "%s/a/b/s", dir);
    expect_refusal("listen.socket: cannot make the directory");
    snprintf(path, sizeof path, "relative/s");
    expect_refusal("is not an absolute path");
}

Test(listener, refuses_a_second_daemon)
{
    struct listener *l = listen_there();
    char text[64];

    cr_assert(l, "%s", error);
    snprintf(text, sizeof text, "another rapyerd (pid %ld) has the socket", (long)getpid());
    expect_refusal(text);
    int fd = dial();
    cr_expect_geq(fd, 0, "the first one lost its socket");
    close(fd);
    listener_close(l);
    l = listen_there();
    cr_expect(l, "%s", error);
    listener_close(l);
}

Test(listener, refuses_a_living_stranger)
{
    int stranger = bind_there();

    cr_assert_eq(listen(stranger, 1), 0);
    expect_refusal("a living process answers at");
    cr_expect_eq(access(path, F_OK), 0);
    int fds[3];
    for (int i = 0; i < 3; i++) /* its backlog is full: it lives all the same */
        fds[i] = dial();
    cr_expect_eq(fds[2], -EAGAIN);
    expect_refusal("a living process answers at");
    close(fds[0]);
    close(stranger);
}

Test(listener, replaces_a_dead_socket)
{
    close(bind_there());
    cr_expect_eq(dial(), -ECONNREFUSED);
    struct listener *l = listen_there();
    cr_assert(l, "%s", error);
    int fd = dial();
    cr_expect_geq(fd, 0);
    close(fd);
    listener_close(l);
}

Test(listener, leaves_other_files_alone)
{
    close(bind_there());
    unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
    expect_refusal("is there and is not a socket; remove it");
    cr_expect_eq(access(path, F_OK), 0);
}

Test(listener, removes_only_its_own_socket)
{
    struct listener *l = listen_there();

    cr_assert(l, "%s", error);
    unlink(path);
    int other = bind_there();
    listener_close(l);
    cr_expect_eq(access(path, F_OK), 0);
    close(other);
}

Test(listener, unknown_owner)
{
    config.socket_owner = "no-such-user-here";
    expect_refusal("listen.socket_owner: there is no user \"no-such-user-here\"");
    config.socket_owner = "";
    config.socket_group = "no-such-group-here";
    expect_refusal("listen.socket_group: there is no group");
}

Test(listener, gives_the_socket_away)
{
    char group[32];
    struct stat st;

    snprintf(group, sizeof group, "%u", geteuid() == 0 ? 4242u : (unsigned)getegid());
    config.socket_group = group;
    struct listener *l = listen_there();
    cr_assert(l, "%s", error);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_gid, (gid_t)atoi(group));
    cr_expect_eq(st.st_mode & 07777, 0640);
    listener_close(l);
}

Test(listener, lives_through_a_shortage_of_descriptors)
{
    struct listener *l = listen_there();
    struct rlimit before, none;
    int lowest;

    cr_assert(l, "%s", error);
    log_setup(LOG_LEVEL_ERROR, LOG_TEXT);
    int fd = dial();
    cr_assert_geq(fd, 0);
    cr_assert_geq(lowest = dup(0), 0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)lowest;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 5; i++)
        turn_once(base);
    cr_expect_eq(naccepted, 0);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    turn_until(base, naccepted == 1);
    close(fd);
    listener_close(l);
}

/* --- systemd ----------------------------------------------------------------------------- */

/* In a child, because the numbers of the descriptors matter: 0 when all went well. */
static int child_with(int first, int second)
{
    char pid[32];

    if (first == SD_FIRST || dup2(first, SD_FIRST) != SD_FIRST)
        return 10;
    if (second >= 0 && dup2(second, SD_FIRST + 1) != SD_FIRST + 1)
        return 11;
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", second >= 0 ? "2" : "1", 1);
    struct event_base *own = event_base_new();
    struct handed handed;
    if (handed_take(&handed, error, sizeof error) < 0)
        return strstr(error, "systemd handed over") ? 1 : 12;
    struct listener *l =
        listener_open(own, &config, handed.clients, on_accept, NULL, error, sizeof error);
    if (!l)
        return strstr(error, "systemd handed over") ? 1 : 12;
    if (!listener_from_systemd(l) || getenv("LISTEN_FDS"))
        return 13;
    int fd = dial();
    for (int i = 0; i < 1000 && !naccepted; i++)
        turn_once(own);
    if (fd < 0 || naccepted != 1)
        return 14;
    listener_close(l);
    return access(path, F_OK) == 0 ? 0 : 15;
}

static int run_child(int first, int second)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(child_with(first, second));
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(listener, takes_over_from_systemd)
{
    int fd = fcntl(bind_there(), F_DUPFD, 20);

    cr_expect_eq(run_child(fd, -1), 1, "a socket that does not listen was taken");
    cr_assert_eq(listen(fd, 8), 0);
    cr_expect_eq(run_child(fd, -1), 0);
    cr_expect_eq(run_child(fd, fd), 1, "two sockets were taken");
    int file = fcntl(open("/dev/null", O_RDONLY), F_DUPFD, 20);
    cr_expect_eq(run_child(file, -1), 1, "a file was taken");
    close(file);
    close(fd);
}
