/* rapyer_bench: measures single things, driven by tests/bench/run. */
#include "bench.h"
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("rapyer_bench: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void spin(uint64_t ns)
{
    for (uint64_t start = now_ns(); now_ns() - start < ns;)
        ;
}

void pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        die("cannot run on CPU %d", cpu);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t median(uint64_t *samples, size_t n)
{
    qsort(samples, n, sizeof(*samples), by_size);
    return samples[n / 2];
}

int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("cannot connect to %s", path);
    return fd;
}

void write_all(int fd, const void *p, size_t n)
{
    for (const char *at = p; n > 0;) {
        ssize_t done = write(fd, at, n);
        if (done <= 0)
            die("cannot write");
        at += done;
        n -= (size_t)done;
    }
}

void read_all(int fd, void *p, size_t n)
{
    for (char *at = p; n > 0;) {
        ssize_t done = read(fd, at, n);
        if (done <= 0)
            die("the other end is gone");
        at += done;
        n -= (size_t)done;
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"echo", echo_main},   {"call", call_main},         {"redis", redis_main},
                    {"multi", multi_main}, {"crowd", crowd_main},       {"library", library_main},
                    {"lock", lock_main},   {"handover", handover_main}, {"shared", shared_main},
                    {"cost", cost_main},   {"sinter", sinter_main}};

    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    die("usage: rapyer_bench echo|call|redis|multi|crowd|library|lock|handover|shared|cost|sinter "
        "...");
}
