/* bench: what the measuring programs share. They die on the first thing that is not as expected:
 * a figure from a run that half worked would be worse than none. */
#ifndef RAPYER_BENCH_H
#define RAPYER_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_ns(void);
void spin(uint64_t ns); /* keeps the processor busy for so long */
void pin(int cpu);      /* this process, from here on; -1: leave it to the scheduler */
/* Sorts. */
uint64_t median(uint64_t *samples, size_t n);
int connect_unix(const char *path);
void write_all(int fd, const void *p, size_t n);
void read_all(int fd, void *p, size_t n);

/* A request read from a file: one prebuilt MessagePack-RPC frame, and where it goes to. */
struct caller {
    int fd;
    struct channel *channel; /* NULL: bytes go through fd */
    uint8_t *request;
    size_t request_len;
    uint8_t *answer;
    size_t answer_cap, answer_len;
};

void caller_open(struct caller *c, const char *socket, const char *request_file);
/* From now on through a ring. */
void caller_open_ring(struct caller *c);
/* One round trip. Dies when the answer is an error. */
void caller_call(struct caller *c);
void caller_close(struct caller *c);

/* The subcommands; each prints its figures, one line. */
int echo_main(int argc, char **argv);
int call_main(int argc, char **argv);
int redis_main(int argc, char **argv);
int sinter_main(int argc, char **argv);
int library_main(int argc, char **argv);
int multi_main(int argc, char **argv);
int crowd_main(int argc, char **argv);
int shared_main(int argc, char **argv);
int lock_main(int argc, char **argv);
int handover_main(int argc, char **argv);
int cost_main(int argc, char **argv);

#endif
