/* reply: see reply.h. The arena is a list of blocks; the first stays, the others are given back
 * when it is emptied. */
#include "daemon/reply.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 16384
/* A reader's buffer larger than this is given back once it is empty. hiredis' own limit of 16
 * KiB is below one read of the socket. */
#define READER_KEEP (256u << 10)

struct block {
    struct block *next;
    size_t size, used;
    max_align_t data[];
};

struct reply_reader {
    redisReader *reader;
    struct block *blocks; /* the one in use first; the last one stays */
    bool handed;          /* the arena holds a reply that was handed over */
};

static void *take(struct reply_reader *r, size_t n)
{
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct block *b = r->blocks;
    if (b == NULL || b->size - b->used < n) {
        size_t size = n > BLOCK ? n : BLOCK;
        b = malloc(sizeof(*b) + size);
        if (b == NULL)
            return NULL;
        b->size = size;
        b->used = 0;
        b->next = r->blocks;
        r->blocks = b;
    }
    void *p = (char *)b->data + b->used;
    b->used += n;
    return p;
}

static void empty(struct reply_reader *r, bool all)
{
    while (r->blocks != NULL && (all || r->blocks->next != NULL || r->blocks->size > BLOCK)) {
        struct block *next = r->blocks->next;
        free(r->blocks);
        r->blocks = next;
    }
    if (r->blocks != NULL)
        r->blocks->used = 0;
}

/* ---- what hiredis' reader calls ---- */

static redisReply *make(const redisReadTask *task)
{
    redisReply *reply = take(task->privdata, sizeof(*reply));
    if (reply == NULL)
        return NULL;
    memset(reply, 0, sizeof(*reply));
    reply->type = task->type;
    if (task->parent != NULL)
        ((redisReply *)task->parent->obj)->element[task->idx] = reply;
    return reply;
}

static void *make_string(const redisReadTask *task, char *text, size_t len)
{
    char *copy = take(task->privdata, len + 1);
    redisReply *reply = copy != NULL ? make(task) : NULL;
    if (reply == NULL)
        return NULL;
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

static void *make_array(const redisReadTask *task, elements_t n)
{
    redisReply **elements = NULL;
    if (n > 0) {
        elements = take(task->privdata, (size_t)n * sizeof(*elements));
        if (elements == NULL)
            return NULL;
        memset(elements, 0, (size_t)n * sizeof(*elements));
    }
    redisReply *reply = make(task);
    if (reply == NULL)
        return NULL;
    reply->elements = (size_t)n;
    reply->element = elements;
    return reply;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    redisReply *reply = make(task);
    if (reply != NULL)
        reply->integer = value;
    return reply;
}

static void *make_nil(const redisReadTask *task)
{
    redisReply *reply = make(task); /* the task says what a nil stands for: a string, an array */
    if (reply != NULL)
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
    struct reply_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->reader = redisReaderCreateWithFunctions(&functions);
    if (r->reader == NULL) {
        free(r);
        return NULL;
    }
    r->reader->privdata = r;
    r->reader->maxbuf = READER_KEEP;
    return r;
}

void reply_reader_free(struct reply_reader *r)
{
    if (r == NULL)
        return;
    redisReaderFree(r->reader);
    empty(r, true);
    free(r);
}

int reply_feed(struct reply_reader *r, const void *bytes, size_t len)
{
    return redisReaderFeed(r->reader, bytes, len) == REDIS_OK ? 0 : -1;
}

int reply_next(struct reply_reader *r, redisReply **reply)
{
    void *next = NULL;
    if (r->handed) {
        empty(r, false);
        r->handed = false;
    }
    if (redisReaderGetReply(r->reader, &next) != REDIS_OK)
        return -1;
    if (next == NULL)
        return 0;
    r->handed = true;
    *reply = next;
    return 1;
}

const char *reply_error(const struct reply_reader *r)
{
    return r->reader->errstr;
}
