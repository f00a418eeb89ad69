/* roundtrip: one client, one request at a time: to the daemon with a prebuilt frame, and to
 * Redis with hiredis. */
#include "bench.h"
#include "client/channel.h"
#include "protocol/cursor.h"
#include "protocol/scan.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (1u << 20)
#define ANSWER_MAX (64u << 20)

void caller_open(struct caller *c, const char *socket, const char *request_file)
{
    FILE *f = fopen(request_file, "rb");

    if (!f)
        die("cannot read %s", request_file);
    *c = (struct caller){.request = malloc(REQUEST_MAX), .answer_cap = 65536};
    c->answer = malloc(c->answer_cap);
    c->request_len = fread(c->request, 1, REQUEST_MAX, f);
    fclose(f);
    c->fd = connect_unix(socket);
}

/* As librapyer does. */
void caller_open_ring(struct caller *c)
{
    static const uint8_t question[] = "\x94\x00\x01\xa9ring.open\x90";
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(CHANNEL_FDS * sizeof(int))];
    uint8_t answer[64];
    struct iovec bytes = {answer, sizeof(answer)};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    int fds[CHANNEL_FDS];

    write_all(c->fd, question, sizeof(question) - 1);
    ssize_t n = recvmsg(c->fd, &message, 0);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    /* [1, 1, nil, {"size": n}] */
    struct cursor size = cursor_of(answer + 10, n > 10 ? (size_t)n - 10 : 0);
    int64_t value;
    if (!rights || cursor_int(&size, &value) < 0)
        die("no ring");
    memcpy(fds, CMSG_DATA(rights), sizeof(fds));
    c->channel = channel_join(fds, (uint64_t)value, c->fd);
    if (!c->channel)
        die("no ring: %s", strerror(errno));
}

static ssize_t read_ring(struct caller *c, uint8_t *p, size_t n)
{
    ssize_t got;

    while ((got = channel_read(c->channel, p, n)) < 0 && errno == EAGAIN) {
        if (channel_sleep(c->channel, RING_BYTES) && channel_wait(c->channel, -1) > 0 &&
            channel_hear(c->channel))
            return 0;
    }
    return got;
}

static void send_request(struct caller *c)
{
    if (!c->channel)
        write_all(c->fd, c->request, c->request_len);
    else if (channel_write(c->channel, c->request, c->request_len) < (ssize_t)c->request_len)
        die("the ring is full");
}

static ssize_t read_some(struct caller *c, uint8_t *p, size_t n)
{
    if (c->channel)
        return read_ring(c, p, n);
    /* A process asleep in read() is also woken when its request is taken, for nothing; one in
     * poll(), as an event loop and librapyer are, is not. */
    poll(&(struct pollfd){.fd = c->fd, .events = POLLIN}, 1, -1);
    return read(c->fd, p, n);
}

void caller_call(struct caller *c)
{
    struct scan scan;
    struct fault fault;
    size_t have = 0;
    enum scan_status status;

    scan_init(&scan, ANSWER_MAX);
    send_request(c);
    do {
        if (have == c->answer_cap)
            c->answer = realloc(c->answer, c->answer_cap *= 2);
        ssize_t n = read_some(c, c->answer + have, c->answer_cap - have);
        if (n <= 0)
            die("the daemon closed the connection");
        have += (size_t)n;
        status = scan_run(&scan, c->answer, have, &fault);
    } while (status == SCAN_MORE);
    /* [1, id, nil, result], with an id that is one byte long as in the prebuilt frames. */
    if (status != SCAN_DONE || have < 4 || c->answer[3] != 0xc0)
        die("the answer is an error: %.*s", (int)(have < 200 ? have : 200), (char *)c->answer);
    c->answer_len = have;
}

void caller_close(struct caller *c)
{
    channel_free(c->channel);
    close(c->fd);
    free(c->request);
    free(c->answer);
}

/* A run of zeros in a request, counted up before each time it is sent. */
#define NUMBER "00000000"

static void count_up(char *number)
{
    size_t at = sizeof(NUMBER) - 2;

    while (at > 0 && number[at] == '9')
        number[at--] = '0';
    number[at]++;
}

/* call <socket> <frame file> <rounds> [cpu]: median ns, bytes of the request and the answer */
int call_main(int argc, char **argv)
{
    struct caller c;

    if (argc < 4)
        die("call <socket> <frame file> <rounds> [cpu]");
    size_t rounds = strtoul(argv[3], NULL, 10);
    pin(argc > 4 ? atoi(argv[4]) : 0);
    caller_open(&c, argv[1], argv[2]);
    char *number = memmem(c.request, c.request_len, NUMBER, sizeof(NUMBER) - 1);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        if (number)
            count_up(number);
        uint64_t start = now_ns();
        caller_call(&c);
        samples[i] = now_ns() - start;
    }
    printf("%llu %zu %zu\n", (unsigned long long)median(samples, rounds), c.request_len,
           c.answer_len);
    free(samples);
    caller_close(&c);
    return 0;
}

/* redis <redis socket> <rounds> <word>...: median ns of that command, one at a time */
int redis_main(int argc, char **argv)
{
    if (argc < 4)
        die("redis <redis socket> <rounds> <word>...");
    size_t rounds = strtoul(argv[2], NULL, 10);
    char *number = NULL;
    for (int i = 3; i < argc; i++)
        number = strcmp(argv[i], NUMBER) == 0 ? argv[i] : number;
    pin(0);
    redisContext *redis = redisConnectUnix(argv[1]);
    if (!redis || redis->err)
        die("no Redis at %s", argv[1]);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        if (number)
            count_up(number);
        uint64_t start = now_ns();
        redisReply *reply = redisCommandArgv(redis, argc - 3, (const char **)&argv[3], NULL);
        samples[i] = now_ns() - start;
        if (!reply || reply->type == REDIS_REPLY_ERROR)
            die("%s: %s", argv[3], reply ? reply->str : redis->errstr);
        freeReplyObject(reply);
    }
    printf("%llu\n", (unsigned long long)median(samples, rounds));
    free(samples);
    redisFree(redis);
    return 0;
}

/* The documents that are in all of these sets: SINTER, then HGETALL of each, in one write. */
static size_t find_once(redisContext *redis, const char *head, int nsets, char **sets)
{
    const char *argv[8] = {"SINTER"};
    redisReply *pks, *reply;

    for (int i = 0; i < nsets; i++)
        argv[1 + i] = sets[i];
    pks = redisCommandArgv(redis, 1 + nsets, argv, NULL);
    if (!pks || pks->type != REDIS_REPLY_ARRAY)
        die("SINTER: %s", pks ? pks->str : redis->errstr);
    for (size_t i = 0; i < pks->elements; i++)
        redisAppendCommand(redis, "HGETALL %s%s}", head, pks->element[i]->str);
    for (size_t i = 0; i < pks->elements; i++) {
        if (redisGetReply(redis, (void **)&reply) != REDIS_OK || reply->elements == 0)
            die("HGETALL: %s", redis->err ? redis->errstr : "no document");
        freeReplyObject(reply);
    }
    size_t found = pks->elements;
    freeReplyObject(pks);
    return found;
}

/* sinter <redis socket> <rounds> <how keys of documents begin> <set>...: median ns, documents */
int sinter_main(int argc, char **argv)
{
    size_t found = 0;

    if (argc < 5 || argc > 10)
        die("sinter <redis socket> <rounds> <how keys of documents begin> <set>...");
    size_t rounds = strtoul(argv[2], NULL, 10);
    pin(0);
    redisContext *redis = redisConnectUnix(argv[1]);
    if (!redis || redis->err)
        die("no Redis at %s", argv[1]);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        found = find_once(redis, argv[3], argc - 4, &argv[4]);
        samples[i] = now_ns() - start;
    }
    printf("%llu %zu\n", (unsigned long long)median(samples, rounds), found);
    free(samples);
    redisFree(redis);
    return 0;
}

/* What the pipeline of tests/bench/run does, as commands: MULTI, 10 increments, 5 fields, 5
 * pushes, EXEC, in one write. */
static void multi_once(redisContext *redis, const char *key)
{
    redisReply *reply;

    redisAppendCommand(redis, "MULTI");
    for (int i = 0; i < 10; i++)
        redisAppendCommand(redis, "HINCRBY %s n%d 1", key, i);
    for (int i = 0; i < 5; i++)
        redisAppendCommand(redis, "HSET %s s%d value", key, i);
    for (int i = 0; i < 5; i++)
        redisAppendCommand(redis, "RPUSH %s/tags%d tag", key, i);
    redisAppendCommand(redis, "EXEC");
    for (int i = 0; i < 22; i++) {
        if (redisGetReply(redis, (void **)&reply) != REDIS_OK || reply->type == REDIS_REPLY_ERROR)
            die("MULTI: %s", redis->err ? redis->errstr : reply->str);
        freeReplyObject(reply);
    }
}

/* multi <redis socket> <key> <rounds>: median ns */
int multi_main(int argc, char **argv)
{
    if (argc != 4)
        die("multi <redis socket> <key> <rounds>");
    size_t rounds = strtoul(argv[3], NULL, 10);
    pin(0);
    redisContext *redis = redisConnectUnix(argv[1]);
    if (!redis || redis->err)
        die("no Redis at %s", argv[1]);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        multi_once(redis, argv[2]);
        samples[i] = now_ns() - start;
    }
    printf("%llu\n", (unsigned long long)median(samples, rounds));
    free(samples);
    redisFree(redis);
    return 0;
}
