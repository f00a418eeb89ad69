/* reply: see reply.h. */
#include "daemon/redis/reply.h"
#include "daemon/base/arena.h"
#include "protocol/alloc.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A reader's buffer larger than this is given back once it is empty. hiredis' own limit of 16
 * KiB is below one read of the socket. */
#define READER_KEEP (256u << 10)

/* What one reply may take: what is declared costs memory before it is there. */
#define ELEMENTS_MAX (8u << 20) /* of all its arrays together */
#define BYTES_MAX ((size_t)1 << 30)

struct reply_reader {
    redisReader *reader;
    struct arena arena;
    const uint8_t *at, *end; /* fed, and not looked at yet */
    bool handed;             /* the arena holds a reply that was handed over */
    size_t bytes, elements;  /* of the reply that is being read, so far */
    const char *refused;
};

static struct arena *arena_of(const redisReadTask *task)
{
    return &((struct reply_reader *)task->privdata)->arena;
}

/* ---- what hiredis' reader calls ---- */

static redisReply *make(const redisReadTask *task)
{
    redisReply *reply = arena_zero(arena_of(task), sizeof(*reply));
    reply->type = task->type;
    reply->str = (char *)(uintptr_t) ""; /* nobody has to ask first whether it is a string */
    if (task->parent != NULL)
        ((redisReply *)task->parent->obj)->element[task->idx] = reply;
    return reply;
}

static void *make_string(const redisReadTask *task, char *text, size_t len)
{
    char *copy = arena_take(arena_of(task), len + 1);
    redisReply *reply = make(task);
    memcpy(copy, text, len);
    copy[len] = '\0';
    reply->str = copy;
    reply->len = len;
    return reply;
}

/* NULL: the reader gives up. */
static void *make_elements(const redisReadTask *task, size_t n)
{
    struct reply_reader *r = task->privdata;
    if (n > ELEMENTS_MAX - r->elements) {
        r->refused = "an answer of too many elements";
        return NULL;
    }
    r->elements += n;
    redisReply *reply = make(task);
    reply->elements = n;
    if (n > 0)
        reply->element = arena_zero(arena_of(task), n * sizeof(*reply->element));
    return reply;
}

#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
#define make_array make_elements

/* It reads RESP3 as well, which is never asked for. */
static void *refuse(const redisReadTask *task)
{
    struct reply_reader *r = task->privdata;
    r->refused = "an answer in RESP3, which was not asked for";
    return NULL;
}

static void *refuse_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)value, (void)text, (void)len;
    return refuse(task);
}

static void *refuse_bool(const redisReadTask *task, int value)
{
    (void)value;
    return refuse(task);
}
#else
static void *make_array(const redisReadTask *task, int n)
{
    return make_elements(task, n < 0 ? SIZE_MAX : (size_t)n);
}
#endif

static void *make_integer(const redisReadTask *task, long long value)
{
    redisReply *reply = make(task);
    reply->integer = value;
    return reply;
}

static void *make_nil(const redisReadTask *task)
{
    redisReply *reply = make(task); /* the task says what a nil stands for: a string, an array */
    reply->type = REDIS_REPLY_NIL;
    return reply;
}

static void leave(void *reply)
{
    (void)reply; /* the arena goes as a whole */
}

/* ---- */

struct reply_reader *reply_reader_new(void)
{
    static redisReplyObjectFunctions functions = {
        .createString = make_string,
        .createArray = make_array,
        .createInteger = make_integer,
        .createNil = make_nil,
#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
        .createDouble = refuse_double,
        .createBool = refuse_bool,
#endif
        .freeObject = leave
    };
    struct reply_reader *r = alloc_zeroed(1, sizeof(*r));
    r->reader = redisReaderCreateWithFunctions(&functions);
    if (r->reader == NULL)
        alloc_end(sizeof(*r->reader), ALLOC_HERE);
    r->reader->privdata = r;
    r->reader->maxbuf = READER_KEEP;
    return r;
}

void reply_reader_free(struct reply_reader *r)
{
    if (r == NULL)
        return;
    redisReaderFree(r->reader);
    arena_free(&r->arena);
    free(r);
}

/* hiredis before 1.0 has its own allocations; it takes for a lack of memory what we refuse, too. */
static void look_for_memory(const struct reply_reader *r, size_t size)
{
    if (r->reader->err == REDIS_ERR_OOM && r->refused == NULL)
        alloc_end(size, ALLOC_HERE);
}

/* ---- replies that are there whole ---- */

#define WHOLE_DEPTH 4
#define DIGITS_MAX 18

/* Each of these reads the bytes from p on, and returns where it has ended. NULL: not all of it is
 * there before `end`, or hiredis is to say what it is. */

static const uint8_t *whole_line(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 2 && p[0] == '\r' && p[1] == '\n' ? p + 2 : NULL;
}

/* A number as Redis writes them, and its line's end. */
static const uint8_t *whole_number(const uint8_t *p, const uint8_t *end, long long *n)
{
    const uint8_t *first = p + (p < end && *p == '-'), *at = first;
    const uint8_t *most = end - first > DIGITS_MAX ? first + DIGITS_MAX : end;
    long long v = 0;
    while (at < most && (uint8_t)(*at - '0') < 10)
        v = v * 10 + (*at++ - '0');
    if (at == first || (*first == '0' && (at > first + 1 || first > p)))
        return NULL;
    *n = first == p ? v : -v;
    return whole_line(at, end);
}

static const uint8_t *whole_text(struct arena *a, const uint8_t *p, const uint8_t *end, size_t len,
                                 redisReply *reply)
{
    if ((size_t)(end - p) < len)
        return NULL;
    reply->str = arena_take(a, len + 1);
    memcpy(reply->str, p, len);
    reply->str[len] = '\0';
    reply->len = len;
    return whole_line(p + len, end);
}

static const uint8_t *whole_status(struct arena *a, const uint8_t *p, const uint8_t *end,
                                   redisReply *reply)
{
    if (end - p >= 4 && memcmp(p, "OK\r\n", 4) == 0) { /* as nearly all are */
        reply->str = (char *)(uintptr_t) "OK";
        reply->len = 2;
        return p + 4;
    }
    const uint8_t *line = memchr(p, '\r', (size_t)(end - p));
    return line != NULL ? whole_text(a, p, end, (size_t)(line - p), reply) : NULL;
}

static const uint8_t *whole_reply(struct arena *a, const uint8_t *p, const uint8_t *end,
                                  redisReply *reply, unsigned depth);

static const uint8_t *whole_array(struct arena *a, const uint8_t *p, const uint8_t *end, size_t n,
                                  redisReply *reply, unsigned depth)
{
    if (depth == WHOLE_DEPTH || n > (size_t)(end - p) / 4) /* bytes of the shortest */
        return NULL;
    redisReply *elements = arena_take(a, n * (sizeof(*elements) + sizeof(elements)));
    reply->element = (redisReply **)(elements + n);
    reply->elements = n;
    for (size_t i = 0; i < n && p != NULL; i++) {
        reply->element[i] = &elements[i];
        p = whole_reply(a, p, end, &elements[i], depth + 1);
    }
    return p;
}

/* What begins with its length, or its number of elements; -1: nil. */
static const uint8_t *whole_sized(struct arena *a, const uint8_t *p, const uint8_t *end, int type,
                                  redisReply *reply, unsigned depth)
{
    long long n = 0;
    p = whole_number(p, end, &n);
    if (p == NULL || n < -1)
        return NULL;
    reply->type = n < 0 ? REDIS_REPLY_NIL : type;
    if (n < 0)
        return p;
    return type == REDIS_REPLY_STRING ? whole_text(a, p, end, (size_t)n, reply)
                                      : whole_array(a, p, end, (size_t)n, reply, depth);
}

static const uint8_t *whole_reply(struct arena *a, const uint8_t *p, const uint8_t *end,
                                  redisReply *reply, unsigned depth)
{
    *reply = (redisReply){.str = (char *)(uintptr_t) ""};
    if (p == end)
        return NULL;
    switch (*p++) {
    case '+': reply->type = REDIS_REPLY_STATUS; return whole_status(a, p, end, reply);
    case '-': reply->type = REDIS_REPLY_ERROR; return whole_status(a, p, end, reply);
    case ':': reply->type = REDIS_REPLY_INTEGER; return whole_number(p, end, &reply->integer);
    case '$': return whole_sized(a, p, end, REDIS_REPLY_STRING, reply, depth);
    case '*': return whole_sized(a, p, end, REDIS_REPLY_ARRAY, reply, depth);
    default: return NULL;
    }
}

/* ---- */

int reply_feed(struct reply_reader *r, const void *bytes, size_t len)
{
    r->bytes += len;
    r->at = bytes;
    r->end = r->at + len;
    if (r->bytes <= BYTES_MAX)
        return 0;
    r->refused = "an answer that does not end";
    return -1;
}

/* hiredis' reader is in the middle of nothing. */
static bool idle(const struct reply_reader *r)
{
    return r->reader->ridx == -1 && r->reader->pos == r->reader->len;
}

/* One that can be read where it lies; else what is left goes to hiredis. */
static int next_whole(struct reply_reader *r, void **reply)
{
    const char *from = (const char *)r->at;
    size_t rest = (size_t)(r->end - r->at);
    if (idle(r)) {
        redisReply *next = arena_take(&r->arena, sizeof(*next));
        const uint8_t *p = whole_reply(&r->arena, r->at, r->end, next, 0);
        *reply = p != NULL ? next : NULL;
        if (p == NULL)
            arena_empty(&r->arena);
        r->at = p != NULL ? p : r->at;
    }
    if (*reply != NULL)
        return 0;
    r->at = r->end;
    if (redisReaderFeed(r->reader, from, rest) == REDIS_OK)
        return 0;
    look_for_memory(r, rest);
    return -1;
}

static bool comes(const struct reply_reader *r, const char *text, size_t len)
{
    return (size_t)(r->end - r->at) >= len && memcmp(r->at, text, len) == 0;
}

unsigned reply_queued(struct reply_reader *r, unsigned most, bool first)
{
    static const char ok[] = "+OK\r\n+QUEUED\r\n", *queued = ok + 5;
    unsigned n = 0;
    if (!idle(r))
        return 0;
    if (first && most > 1 && comes(r, ok, sizeof(ok) - 1)) {
        r->at = r->at + sizeof(ok) - 1;
        n = 2;
    }
    for (; n < most && comes(r, queued, 9); n++)
        r->at += 9;
    return n;
}

int reply_next(struct reply_reader *r, redisReply **reply)
{
    void *next = NULL;
    if (r->handed) {
        arena_empty(&r->arena);
        r->handed = false;
    }
    if (r->at == r->end && idle(r))
        return 0;
    if (r->at < r->end && next_whole(r, &next) < 0)
        return -1;
    if (next == NULL && redisReaderGetReply(r->reader, &next) != REDIS_OK) {
        look_for_memory(r, r->reader->len);
        return -1;
    }
    if (next == NULL)
        return 0;
    r->handed = true;
    r->bytes = r->elements = 0;
    *reply = next;
    return 1;
}

const char *reply_error(const struct reply_reader *r)
{
    return r->refused != NULL ? r->refused : r->reader->errstr;
}
