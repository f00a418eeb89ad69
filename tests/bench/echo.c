/* echo: the floor. Two processes pass as many bytes to and fro as a request and its answer have,
 * and do nothing else; whatever serves requests over a unix socket costs at least this. */
#include "bench.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int fd, size_t request, size_t answer)
{
    char *buffer = calloc(1, request + answer);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    for (;;) {
        read_all(fd, buffer, request);
        write_all(fd, buffer, answer);
    }
}

/* echo <request bytes> <answer bytes> <rounds> [pause ns]: median ns; pause: between the rounds */
int echo_main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        die("echo <request bytes> <answer bytes> <rounds> [pause ns]");
    size_t request = strtoul(argv[1], NULL, 10), answer = strtoul(argv[2], NULL, 10);
    size_t rounds = strtoul(argv[3], NULL, 10);
    uint64_t pause = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("no socketpair");
    pid_t server = fork();
    if (server == 0)
        serve(ends[1], request, answer);
    close(ends[1]);
    pin(0);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    char *buffer = calloc(1, request + answer);
    for (size_t i = 0; i < rounds; i++) {
        spin(pause);
        uint64_t start = now_ns();
        write_all(ends[0], buffer, request);
        /* As the clients of the daemon are measured: see caller_call. */
        poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, -1);
        read_all(ends[0], buffer, answer);
        samples[i] = now_ns() - start;
    }
    printf("%llu\n", (unsigned long long)median(samples, rounds));
    kill(server, SIGKILL);
    free(samples);
    free(buffer);
    return 0;
}
