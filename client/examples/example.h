/* example: what the examples share: a look into Redis itself, past the daemon.
 *
 * Each example is one listing of the product's text as a C program, between two marks, and a few
 * checks of what lies in Redis afterwards. It finds the daemon by $RAPYER_SOCKET, Redis by
 * $RAPYER_EXAMPLE_REDIS (a unix socket), and ends with status 0 when all is as it should be.
 */
#ifndef RAPYER_EXAMPLE_H
#define RAPYER_EXAMPLE_H

#include <hiredis/hiredis.h>
#include <rapyer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int example_failures;

#define EXPECT(condition)                                                           \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            example_failures++;                                                     \
        }                                                                           \
    } while (0)

/* A reply as text: nil, 12, word, [a, b, [c]]. */
static inline void example_text(const redisReply *r, char *out, size_t size)
{
    size_t used = 0;
    switch (r->type) {
    case REDIS_REPLY_NIL: snprintf(out, size, "nil"); break;
    case REDIS_REPLY_INTEGER: snprintf(out, size, "%lld", r->integer); break;
    case REDIS_REPLY_ARRAY:
        used += (size_t)snprintf(out, size, "[");
        for (size_t i = 0; i < r->elements && used + 16 < size; i++) {
            used += (size_t)snprintf(out + used, size - used, "%s", i ? ", " : "");
            example_text(r->element[i], out + used, size - used - 2);
            used += strlen(out + used);
        }
        snprintf(out + used, size - used, "]");
        break;
    default: snprintf(out, size, "%.*s", (int)r->len, r->str); break;
    }
}

/* Compares the answer to a Redis command with a text; with part, looks for the text in it. */
static inline void example_redis(const char *file, int line, bool part, const char *want,
                                 const char *command, ...)
{
    static redisContext *redis;
    char text[4096] = "no answer";
    va_list ap;
    if (!redis)
        redis = redisConnectUnix(getenv("RAPYER_EXAMPLE_REDIS"));
    va_start(ap, command);
    redisReply *reply = redis && !redis->err ? redisvCommand(redis, command, ap) : NULL;
    va_end(ap);
    if (reply)
        example_text(reply, text, sizeof text);
    bool fits =
        part ? memmem(text, sizeof text, want, strlen(want)) != NULL : strcmp(text, want) == 0;
    if (!reply || !fits) {
        fprintf(stderr, "%s:%d: %s\n  is     %s\n  not    %s\n", file, line, command, text, want);
        example_failures++;
    }
    freeReplyObject(reply);
}

/* REDIS_IS("[redis, orm]", "LRANGE rapyer:{Author:%s}/tags 0 -1", pk) */
#define REDIS_IS(...) example_redis(__FILE__, __LINE__, false, __VA_ARGS__)
/* The same for a part of it, where the value is MessagePack or holds a time. */
#define REDIS_HAS(...) example_redis(__FILE__, __LINE__, true, __VA_ARGS__)

/* The exit status. Calls that failed unseen are failures too: their reason is still there. */
static inline int example_end(rapyer *db)
{
    if (rapyer_errcode(db)) {
        fprintf(stderr, "%s\n", rapyer_errmsg(db));
        example_failures++;
    }
    return example_failures ? 1 : 0;
}

#endif
