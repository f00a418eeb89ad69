/* crowd: many processes that all increment, each its own document, one request at a time: straight
 * to Redis, or through the daemon, or to a server that does nothing but answer, which is as fast as
 * any daemon on these processors could be. What it costs Redis is read from the kernel. */
#include "bench.h"
#include <hiredis/hiredis.h>
#include <rapyer.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
    atomic_int ready;
    atomic_bool go, stop;
    atomic_ullong done;
};

/* Processor time of a process so far, seconds: all its threads, user and system. */
static double cpu_seconds(int pid)
{
    char path[64], text[1024];
    unsigned long user, kernel;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    /* The program's name, in parentheses, may hold anything. */
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                        &kernel) != 2)
        die("no process %d", pid);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static void wait_for_start(struct shared *s)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    atomic_fetch_add(&s->ready, 1);
    while (!atomic_load(&s->go))
        usleep(1000);
}

/* Which of the hot documents is next; every process goes its own way through all of them. */
static int next_hot(int number, unsigned long long n, int hot)
{
    return (int)((n * 37 + (unsigned long long)number * 11) % (unsigned long long)hot);
}

/* hot > 0: the frame's key ends in three zeros, which become the number of a hot document. */
static unsigned long long through_daemon(struct shared *s, const char *socket, const char *frames,
                                         int number, int hot, bool ring)
{
    char file[4096];
    struct caller c;
    unsigned long long n = 0;

    snprintf(file, sizeof(file), "%s.%d", frames, hot ? 0 : number);
    caller_open(&c, socket, file);
    if (ring)
        caller_open_ring(&c);
    uint8_t *digits = hot ? memmem(c.request, c.request_len, ":000", 4) : NULL;
    if (hot && !digits)
        die("no :000 in the frame");
    caller_call(&c);
    wait_for_start(s);
    for (; !atomic_load(&s->stop); n++) {
        if (hot) {
            char text[8];
            snprintf(text, sizeof(text), "%03d", next_hot(number, n, hot) % 1000);
            memcpy(digits + 1, text, 3);
        }
        caller_call(&c);
    }
    caller_close(&c);
    return n;
}

/* The same with librapyer, in the loop that a worker has. Whether it has a ring is up to the
 * daemon's settings and $RAPYER_RING. */
static unsigned long long through_library(struct shared *s, const char *socket, const char *model,
                                          int number, int hot)
{
    rapyer *db = rapyer_connect(socket);
    rapyer_doc **docs = calloc((size_t)hot, sizeof(*docs));
    unsigned long long n = 0;

    for (int i = 0; i < hot; i++) {
        char key[64];
        snprintf(key, sizeof(key), "%s:%03d", model, i);
        docs[i] = rapyer_open(db, key);
        for (int turn = 0; i == 0 && turn < 100; turn++) /* until it has its ring */
            rapyer_incr(docs[0], "n", 1, NULL);
    }
    wait_for_start(s);
    for (; !atomic_load(&s->stop); n++)
        rapyer_incr(docs[next_hot(number, n, hot)], "n", 1, NULL);
    if (rapyer_errcode(db))
        die("%s", rapyer_errmsg(db));
    for (int i = 0; i < hot; i++)
        rapyer_free(docs[i]);
    free(docs);
    rapyer_close(db);
    return n;
}

static unsigned long long straight(struct shared *s, const char *socket, const char *key,
                                   int number, int hot)
{
    redisContext *redis = redisConnectUnix(socket);
    unsigned long long n = 0;

    if (!redis || redis->err)
        die("no Redis at %s", socket);
    wait_for_start(s);
    for (; !atomic_load(&s->stop); n++) {
        redisReply *reply = redisCommand(redis, "HINCRBY %s:%03d n 1", key,
                                         hot ? next_hot(number, n, hot) : number);
        if (!reply || reply->type != REDIS_REPLY_INTEGER)
            die("HINCRBY failed");
        freeReplyObject(reply);
    }
    redisFree(redis);
    return n;
}

/* Takes connections, and answers whatever comes with the number 1, for ever. */
static void answer_all(int listener)
{
    static const uint8_t answer[] = {0x94, 0x01, 0x01, 0xc0, 0x01};
    struct epoll_event events[64], added = {.events = EPOLLIN, .data.fd = listener};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    char buffer[4096];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &added);
    for (;;) {
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                added.data.fd = accept(listener, NULL, NULL);
                epoll_ctl(epoll, EPOLL_CTL_ADD, added.data.fd, &added);
            } else if (read(fd, buffer, sizeof(buffer)) > 0) {
                write_all(fd, answer, sizeof(answer));
            } else {
                close(fd);
            }
        }
    }
}

static pid_t start_answering(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    unlink(socket_path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 1000) < 0)
        die("no socket %s", socket_path);
    pid_t server = fork();
    if (server == 0)
        answer_all(listener);
    close(listener);
    return server;
}

/* crowd daemon|redis|echo <socket> <frame files|key> <processes> <ms> <pid of Redis> [hot
 * documents] Prints operations per second and microseconds of Redis' processor per operation. */
int crowd_main(int argc, char **argv)
{
    if (argc != 7 && argc != 8)
        die("crowd daemon|redis|echo <socket> <frame files|key> <processes> <ms> <pid of Redis> "
            "[hot]");
    int hot = argc == 8 ? atoi(argv[7]) : 0;
    bool daemon = strcmp(argv[1], "redis") != 0, echo = strcmp(argv[1], "echo") == 0;
    bool library = strcmp(argv[1], "library") == 0, ring = strcmp(argv[1], "ring") == 0;
    int processes = atoi(argv[4]), ms = atoi(argv[5]), redis = atoi(argv[6]);
    struct shared *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (s == MAP_FAILED)
        die("no memory");
    pid_t server = echo ? start_answering(argv[2]) : 0;
    for (int i = 0; i < processes; i++) {
        if (fork() == 0) {
            unsigned long long n = library  ? through_library(s, argv[2], argv[3], i, hot)
                                   : daemon ? through_daemon(s, argv[2], argv[3], i, hot, ring)
                                            : straight(s, argv[2], argv[3], i, hot);
            atomic_fetch_add(&s->done, n);
            _exit(0);
        }
    }
    while (atomic_load(&s->ready) < processes) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            die("a client died before the start");
        usleep(1000);
    }
    double cpu = cpu_seconds(redis);
    uint64_t start = now_ns();
    atomic_store(&s->go, true);
    usleep((useconds_t)ms * 1000);
    atomic_store(&s->stop, true);
    int status, bad = 0;
    for (int i = 0; i < processes; i++) {
        while (wait(&status) == server)
            die("the server ended");
        bad += status != 0;
    }
    if (echo)
        kill(server, SIGKILL);
    double seconds = (double)(now_ns() - start) / 1e9;
    if (bad)
        die("%d clients failed", bad);
    double done = (double)atomic_load(&s->done);
    printf("%.0f %.3f\n", done / seconds, (cpu_seconds(redis) - cpu) * 1e6 / done);
    return 0;
}
