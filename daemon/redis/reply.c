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
    bool handed;            /* the arena holds a reply that was handed over */
    size_t bytes, elements; /* of the reply that is being read, so far */
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

#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
typedef size_t elements_t;
#else
typedef int elements_t;
#endif

/* NULL: the reader gives up. */
static void *make_array(const redisReadTask *task, elements_t n)
{
    struct reply_reader *r = task->privdata;
    if (n < 0 || (size_t)n > ELEMENTS_MAX - r->elements) {
        r->refused = "an answer of too many elements";
        return NULL;
    }
    r->elements += (size_t)n;
    redisReply *reply = make(task);
    reply->elements = (size_t)n;
    if (n > 0)
        reply->element = arena_zero(arena_of(task), (size_t)n * sizeof(*reply->element));
    return reply;
}

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
    static redisReplyObjectFunctions functions = {.createString = make_string,
                                                  .createArray = make_array,
                                                  .createInteger = make_integer,
                                                  .createNil = make_nil,
                                                  .freeObject = leave};
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

int reply_feed(struct reply_reader *r, const void *bytes, size_t len)
{
    r->bytes += len;
    if (r->bytes > BYTES_MAX) {
        r->refused = "an answer that does not end";
        return -1;
    }
    if (redisReaderFeed(r->reader, bytes, len) == REDIS_OK)
        return 0;
    look_for_memory(r, len);
    return -1;
}

int reply_next(struct reply_reader *r, redisReply **reply)
{
    void *next = NULL;
    if (r->handed) {
        arena_empty(&r->arena);
        r->handed = false;
    }
    if (redisReaderGetReply(r->reader, &next) != REDIS_OK) {
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

bool reply_idle(const struct reply_reader *r)
{
    return r->reader->ridx == -1 && r->reader->pos == r->reader->len;
}

const char *reply_error(const struct reply_reader *r)
{
    return r->refused != NULL ? r->refused : r->reader->errstr;
}
