#include "daemon/redis/embedded.h"
#include "redis_process.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PATIENCE_S 20

static struct event_base *base;
static struct config config;
static struct embedded *embedded;
static char top[64], state_dir[256], address[300], error[400];
static int readies, stops;

static void on_ready(void *arg, const char *where)
{
    (void)arg;
    readies++;
    snprintf(address, sizeof(address), "%s", where);
}

static void on_stopped(void *arg)
{
    (void)arg;
    stops++;
}

static const struct embedded_callbacks callbacks = {.on_ready = on_ready, .on_stopped = on_stopped};

static void setup(void)
{
    strcpy(top, "/tmp/rapyer-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(top));
    snprintf(state_dir, sizeof(state_dir), "%s/state", top);
    config = (struct config){.redis_server = "redis-server", .state_dir = state_dir};
    base = event_base_new();
}

static void teardown(void)
{
    embedded_free(embedded);
    event_base_free(base);
    remove_tree(top);
}

TestSuite(embedded, .init = setup, .fini = teardown, .timeout = 60);

static void too_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    *(bool *)arg = true;
}

#define wait_until(condition)                                      \
    do {                                                           \
        bool late = false;                                         \
        struct event *guard = evtimer_new(base, too_late, &late);  \
        event_add(guard, &(struct timeval){.tv_sec = PATIENCE_S}); \
        while (!(condition) && !late)                              \
            event_base_loop(base, EVLOOP_ONCE);                    \
        event_free(guard);                                         \
        cr_assert(condition, "why: %s", embedded_why(embedded));   \
    } while (0)

static int start(void)
{
    embedded = embedded_new(base, &config, &callbacks, NULL);
    cr_assert_not_null(embedded);
    return embedded_start(embedded, error, sizeof(error));
}

static void start_and_wait(void)
{
    cr_assert_eq(start(), 0, "%s", error);
    wait_until(readies == 1);
    cr_expect_str_eq(embedded_why(embedded), "");
}

/* One command; its answer as text. Tried again while Redis loads its data. */
static const char *ask_as(const char *password, const char *command)
{
    static char answer[400];
    redisContext *c = redisConnectUnix(address + strlen("unix:"));
    cr_assert(c && !c->err, "%s: %s", address, c ? c->errstr : "");
    if (password)
        freeReplyObject(redisCommand(c, "AUTH %s", password));
    redisReply *r;
    while ((r = redisCommand(c, command)) && r->str && strncmp(r->str, "LOADING", 7) == 0)
        freeReplyObject(r);
    cr_assert_not_null(r);
    if (r->type == REDIS_REPLY_ARRAY)
        snprintf(answer, sizeof(answer), "%s", r->elements > 1 ? r->element[1]->str : "");
    else
        snprintf(answer, sizeof(answer), "%s", r->str ? r->str : "");
    freeReplyObject(r);
    redisFree(c);
    return answer;
}

static const char *ask(const char *command)
{
    return ask_as(NULL, command);
}

/* A zombie has ended; who is to wait for it does not matter here. */
static bool runs(pid_t pid)
{
    char path[32], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    const char *paren = strrchr(text, ')');
    return n > 0 && paren && paren[2] != 'Z';
}

Test(embedded, starts_a_durable_redis_without_a_port_and_stops_it)
{
    start_and_wait();
    pid_t pid = embedded_pid(embedded);
    cr_expect(runs(pid));
    cr_expect_str_eq(ask("CONFIG GET port"), "0");
    cr_expect_str_eq(ask("CONFIG GET appendonly"), "yes");
    cr_expect_str_eq(ask("CONFIG GET appendfsync"), "everysec");
    cr_expect_str_eq(ask("CONFIG GET maxmemory-policy"), "noeviction");
    cr_expect_str_eq(ask("CONFIG GET save"), "");
    embedded_stop(embedded);
    cr_expect_eq(stops, 0);
    wait_until(stops == 1);
    cr_expect_eq(embedded_pid(embedded), 0);
    cr_expect_not(runs(pid));
}

Test(embedded, its_directory_is_closed_to_others)
{
    char dir[300];
    struct stat st;
    snprintf(dir, sizeof(dir), "%s/redis", state_dir);
    cr_assert_eq(mkdir(state_dir, 0755), 0);
    cr_assert_eq(mkdir(dir, 0755), 0);
    start_and_wait();
    cr_assert_eq(stat(dir, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0700);
}

Test(embedded, a_killed_one_comes_back_with_its_data)
{
    start_and_wait();
    pid_t pid = embedded_pid(embedded);
    cr_expect_str_eq(ask("SET fruit pear"), "OK");
    kill(pid, SIGKILL);
    wait_until(readies == 2);
    cr_expect_neq(embedded_pid(embedded), pid);
    cr_expect_str_eq(ask("GET fruit"), "pear");
}

Test(embedded, a_missing_program_is_told)
{
    config.redis_server = "redis-server-that-is-not-there";
    cr_assert_eq(start(), -1);
    cr_expect_not_null(strstr(error, "is not installed or not in PATH; install the package "
                                     "redis-server, or set redis.redis to a running one"),
                       "%s", error);
}

Test(embedded, an_unusable_directory_is_told)
{
    FILE *f = fopen(state_dir, "w");
    cr_assert_not_null(f);
    fclose(f);
    cr_assert_eq(start(), -1);
    cr_expect_not_null(strstr(error, state_dir), "%s", error);
}

Test(embedded, a_program_that_fails_is_tried_again)
{
    char script[128];
    snprintf(script, sizeof(script), "%s/broken", top);
    FILE *f = fopen(script, "w");
    cr_assert_not_null(f);
    fprintf(f, "#!/bin/sh\n[ -e again ] && exit 4\n>again\necho no luck >&2\nexit 3\n");
    fclose(f);
    chmod(script, 0700);
    config.redis_server = script;
    cr_assert_eq(start(), 0, "%s", error);
    wait_until(strstr(embedded_why(embedded), "ended with status 3"));
    wait_until(strstr(embedded_why(embedded), "ended with status 4"));
    cr_expect_eq(readies, 0);
    embedded_stop(embedded);
    wait_until(stops == 1);
}

Test(embedded, a_path_longer_than_a_socket_address_is_no_obstacle)
{
    char longer[120];
    memset(longer, 'd', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    snprintf(state_dir, sizeof(state_dir), "%s/%s", top, longer);
    start_and_wait();
    cr_expect_str_eq(ask("SET fruit pear"), "OK");
}

Test(embedded, a_password_works_and_is_not_in_the_process_list)
{
    config.redis_password = "open \"sesame\" \\ \xc3\xa9";
    start_and_wait();
    cr_expect_eq(strncmp(ask("GET fruit"), "NOAUTH", 6), 0);
    cr_expect_str_eq(ask_as(config.redis_password, "SET fruit pear"), "OK");
    char path[32], text[1024] = "";
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)embedded_pid(embedded));
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    cr_assert_gt(n, 0);
    cr_expect_null(memmem(text, (size_t)n, "sesame", 6));
}

Test(embedded, waits_for_the_lock)
{
    char lock[300];
    cr_assert_eq(mkdir(state_dir, 0700), 0);
    snprintf(lock, sizeof(lock), "%s/redis", state_dir);
    cr_assert_eq(mkdir(lock, 0700), 0);
    strcat(lock, "/lock");
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    cr_assert_eq(start(), 0, "%s", error);
    wait_until(strstr(embedded_why(embedded), "still holds"));
    cr_expect_eq(embedded_pid(embedded), 0);
    close(fd);
    wait_until(readies == 1);
}

Test(embedded, stops_while_it_waits_for_the_lock)
{
    cr_assert_eq(start(), 0, "%s", error);
    embedded_stop(embedded);
    wait_until(stops == 1);
    cr_expect_eq(readies, 0);
    cr_expect_eq(embedded_pid(embedded), 0);
}

static void tell_pipe(void *arg, const char *where)
{
    (void)where;
    pid_t pid = embedded_pid(embedded);
    if (write(*(int *)arg, &pid, sizeof(pid)) != sizeof(pid))
        _exit(1);
}

/* A daemon of its own process, which lives until it is killed. */
static void other_daemon(int out) __attribute__((noreturn));
static void other_daemon(int out)
{
    static const struct embedded_callbacks cb = {.on_ready = tell_pipe, .on_stopped = on_stopped};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct event_base *own = event_base_new();
    embedded = embedded_new(own, &config, &cb, &out);
    if (embedded && embedded_start(embedded, error, sizeof(error)) == 0)
        event_base_dispatch(own);
    _exit(1);
}

Test(embedded, the_orphan_of_a_killed_daemon_is_waited_for)
{
    int out[2];
    pid_t orphan = 0;
    cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
    pid_t daemon = fork();
    if (daemon == 0)
        other_daemon(out[1]);
    cr_assert_eq(read(out[0], &orphan, sizeof(orphan)), (ssize_t)sizeof(orphan));
    snprintf(address, sizeof(address), "unix:%s/redis/redis.sock", state_dir);
    cr_expect_str_eq(ask("SET fruit pear"), "OK");
    kill(daemon, SIGKILL);
    waitpid(daemon, NULL, 0);

    start_and_wait();
    cr_expect_not(runs(orphan));
    cr_expect_str_eq(ask("GET fruit"), "pear");
}
