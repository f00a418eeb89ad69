/* cost: what operations cost the clients' processors, all frames prebuilt, on either side: to the
 * daemon, through sockets or rings, and to Redis. What it costs the servers is read by whoever runs
 * this. */
#include "bench.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Whether this is all of an answer of Redis: a number, or a text. */
static bool is_reply(const char *p, size_t n)
{
    const char *line = memmem(p, n, "\r\n", 2);

    if (!line)
        return false;
    if (*p == ':')
        return true;
    if (*p != '$')
        die("Redis says %.*s", (int)(line - p), p);
    return n >= (size_t)(line - p) + 2 + strtoul(p + 1, NULL, 10) + 2;
}

static void ask_redis(struct caller *c)
{
    size_t n = 0;

    write_all(c->fd, c->request, c->request_len);
    do {
        ssize_t more = read(c->fd, c->answer + n, c->answer_cap - n);
        if (more <= 0)
            die("Redis has gone");
        n += (size_t)more;
    } while (!is_reply((char *)c->answer, n));
}

static void run(const char *how, const char *socket, const char *file, int calls, long pause_us)
{
    struct timespec pause = {.tv_nsec = pause_us * 1000};
    bool redis = strcmp(how, "redis") == 0;
    struct caller c;

    caller_open(&c, socket, file);
    if (strcmp(how, "ring") == 0)
        caller_open_ring(&c);
    for (int i = 0; i < calls; i++) {
        if (redis)
            ask_redis(&c);
        else
            caller_call(&c);
        if (pause_us > 0)
            nanosleep(&pause, NULL);
    }
    caller_close(&c);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* cost ring|socket|redis <socket> <file of one request> <processes> <calls> <us between them>
 * Prints microseconds of the clients' processors for each call. */
int cost_main(int argc, char **argv)
{
    if (argc != 7)
        die("cost ring|socket|redis <socket> <request file> <processes> <calls> <us between>");
    int processes = atoi(argv[4]), calls = atoi(argv[5]), status, bad = 0;
    struct rusage used;

    for (int i = 0; i < processes; i++) {
        if (fork() == 0) {
            run(argv[1], argv[2], argv[3], calls, atol(argv[6]));
            _exit(0);
        }
    }
    while (wait(&status) > 0)
        bad += status != 0;
    if (bad)
        die("%d clients failed", bad);
    getrusage(RUSAGE_CHILDREN, &used);
    printf("%.3f\n", (seconds(used.ru_utime) + seconds(used.ru_stime)) * 1e6 / calls / processes);
    return 0;
}
