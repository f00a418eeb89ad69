/* shared: reads that nobody is asked for, with librapyer; and the peers' reads, over their sockets.
 */
#include "bench.h"
#include <hiredis/hiredis.h>
#include <rapyer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 200 /* reads between two looks at the clock, which costs a third of one */
#define WARM 1000 /* reads before: the memory is asked for, and the document shown */

static rapyer *db;
static rapyer_doc *doc;
static uint64_t sink;

static void read_text(void)
{
    rapyer_value *v = rapyer_fetch(doc);
    const char *text = rapyer_str(v, "text", NULL);

    sink += text ? (uint64_t)(uint8_t)text[999] : 0;
    rapyer_value_free(v);
}

static void read_three(void)
{
    rapyer_value *v = rapyer_fetch(doc);

    sink += (uint64_t)rapyer_int(v, "f19", 0) + (uint64_t)(uint8_t)*rapyer_str(v, "f7", "") +
            rapyer_len(rapyer_get(v, "tags"));
    rapyer_value_free(v);
}

static void read_field(void)
{
    rapyer_value *v = rapyer_load(doc, "n");

    sink += (uint64_t)rapyer_int(v, NULL, 0);
    rapyer_value_free(v);
}

static const struct {
    const char *name, *key;
    void (*once)(void);
} reads[] = {{"text", "Page:1", read_text},
             {"three", "Wide:1", read_three},
             {"field", "Page:1", read_field}};

static void (*open_read(const char *what, const char *socket))(void)
{
    unsigned i = 0;

    while (i < 2 && strcmp(reads[i].name, what) != 0)
        i++;
    db = rapyer_connect(socket);
    doc = rapyer_open(db, reads[i].key);
    for (int n = 0; n < WARM; n++)
        reads[i].once();
    return reads[i].once;
}

static void close_read(void)
{
    if (rapyer_errcode(db))
        die("%s", rapyer_errmsg(db));
    rapyer_free(doc);
    rapyer_close(db);
}

/* ns of one read, the median of batches */
static void one_reader(const char *what, const char *socket, size_t rounds)
{
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    void (*once)(void) = open_read(what, socket);

    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        for (int n = 0; n < BATCH; n++)
            once();
        samples[i] = now_ns() - start;
    }
    close_read();
    printf("%.1f\n", (double)median(samples, rounds) / BATCH);
    free(samples);
}

static uint64_t count_for(void (*once)(void), uint64_t ns)
{
    uint64_t count = 0;

    for (uint64_t end = now_ns() + ns; now_ns() < end; count += BATCH) {
        for (int n = 0; n < BATCH; n++)
            once();
    }
    return count;
}

/* reads a second of so many processes together, each on a processor of its own */
static void readers(unsigned n, const char *socket, uint64_t ns)
{
    uint64_t *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
             all = 0;

    for (unsigned i = 0; i < n; i++) {
        if (fork() == 0) {
            pin((int)i);
            void (*once)(void) = open_read("text", socket);
            counts[i] = count_for(once, ns);
            close_read();
            _exit(0);
        }
    }
    for (unsigned i = 0; i < n; i++)
        wait(NULL);
    for (unsigned i = 0; i < n; i++)
        all += counts[i];
    printf("%.0f\n", (double)all * 1e9 / (double)ns);
}

static void burn(void)
{
    for (volatile int i = 0; i < 100; i++)
        continue;
}

/* increments a second of one client beside processes that read the same document all the time, or
 * that only keep the processors as busy */
static void beside(const char *what, const char *socket, uint64_t ns)
{
    uint64_t count = 0;
    pid_t children[2];

    for (unsigned i = 0; i < 2; i++) {
        if ((children[i] = fork()) == 0) {
            void (*once)(void) = open_read("text", socket);
            count_for(strcmp(what, "readers") == 0 ? once : burn, 2 * ns);
            _exit(0);
        }
    }
    open_read("text", socket);
    for (uint64_t end = now_ns() + ns; now_ns() < end; count++)
        rapyer_incr(doc, "n", 1, NULL);
    close_read();
    for (unsigned i = 0; i < 2; i++)
        waitpid(children[i], NULL, 0);
    printf("%.0f\n", (double)count * 1e9 / (double)ns);
}

/* so many increments of one client, with a read after each `each`, 0: with none */
static void writes(const char *socket, size_t rounds, size_t each)
{
    open_read("text", socket);
    for (size_t i = 1; i <= rounds; i++) {
        rapyer_incr(doc, "n", 1, NULL);
        if (each && i % each == 0)
            read_text();
    }
    close_read();
    printf("0\n");
}

/* ---- peers ---- */

static void hgetall(const char *socket, const char *key, size_t rounds)
{
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    redisContext *c = redisConnectUnix(socket);

    pin(0);
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        redisReply *r = redisCommand(c, "HGETALL %s", key);
        if (!r || r->type != REDIS_REPLY_ARRAY || r->elements < 2)
            die("HGETALL: %s", c->errstr);
        sink += (uint64_t)(uint8_t)r->element[1]->str[0];
        freeReplyObject(r);
        samples[i] = now_ns() - start;
    }
    redisFree(c);
    printf("%llu\n", (unsigned long long)median(samples, rounds));
    free(samples);
}

static void memcached(const char *socket, size_t rounds)
{
    static char answer[4096], text[1001];
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    int fd = connect_unix(socket);

    pin(0);
    memset(text, 'x', 1000);
    dprintf(fd, "set page 0 0 1000\r\n%s\r\n", text);
    read_all(fd, answer, sizeof("STORED\r\n") - 1);
    size_t len = sizeof("VALUE page 0 1000\r\n") - 1 + 1000 + sizeof("\r\nEND\r\n") - 1;
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        write_all(fd, "get page\r\n", 10);
        read_all(fd, answer, len);
        samples[i] = now_ns() - start;
    }
    close(fd);
    printf("%llu\n", (unsigned long long)median(samples, rounds));
    free(samples);
}

/* shared read <text|three|field> <socket> <rounds>     shared readers <n> <socket> <ms>
 * shared beside <readers|burners> <socket> <ms>        shared writes <each> <socket> <rounds>
 * shared hgetall <key> <redis> <rounds>                shared memcached - <socket> <rounds> */
int shared_main(int argc, char **argv)
{
    if (argc != 5)
        die("shared <what> <which> <socket> <how much>");
    const char *what = argv[1], *which = argv[2], *socket = argv[3];
    size_t n = strtoul(argv[4], NULL, 10);
    if (strcmp(what, "read") == 0)
        one_reader(which, socket, n);
    else if (strcmp(what, "readers") == 0)
        readers((unsigned)atoi(which), socket, (uint64_t)n * 1000000);
    else if (strcmp(what, "beside") == 0)
        beside(which, socket, (uint64_t)n * 1000000);
    else if (strcmp(what, "writes") == 0)
        writes(socket, n, strtoul(which, NULL, 10));
    else if (strcmp(what, "hgetall") == 0)
        hgetall(socket, which, n);
    else
        memcached(socket, n);
    return sink == 1; /* it is used */
}
