/* round: see round.h. */
#include "daemon/documents/round.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/round_script.h"
#include "daemon/redis/resp.h"
#include <stdlib.h>
#include <string.h>

void round_begin(struct round *r)
{
    buf_clear(&r->resp);
    r->commands = 1;
    resp_words(&r->resp, "MULTI", NULL);
}

void round_words(struct round *r, const char *suffix, size_t suffix_len, const char *command,
                 const char *const words[ROUND_WORDS_MAX])
{
    struct buf key = BUF_INIT;
    layout_key(&key, r->prefix, r->doc->key, r->doc->key_len, suffix, suffix_len);
    const char *argv[2 + ROUND_WORDS_MAX] = {command, (char *)key.data};
    size_t len[2 + ROUND_WORDS_MAX] = {strlen(command), key.len};
    int n = 2;
    for (; n < 2 + ROUND_WORDS_MAX && words[n - 2] != NULL; n++) {
        argv[n] = words[n - 2];
        len[n] = strlen(argv[n]);
    }
    resp_command(&r->resp, n, argv, len);
    buf_free(&key);
    r->commands++;
}

void round_ask(struct round *r, const char *suffix, size_t suffix_len, const char *command,
               const char *a, const char *b)
{
    round_words(r, suffix, suffix_len, command, (const char *[ROUND_WORDS_MAX]){a, b});
}

/* ---- answers ---- */

/* EXEC's, or the script's, which has the same form. */
static void take(struct round *r, redisReply *reply)
{
    struct fault f;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == r->commands - 2) {
        r->done(r->arg, reply, NULL);
        return;
    }
    fault_set(&f, FAULT_UNAVAILABLE, "Redis would not let %s be read: %s", r->doc->key,
              reply->type == REDIS_REPLY_ERROR ? reply->str : "no EXEC reply");
    r->done(r->arg, NULL, &f);
}

static void lost(struct round *r)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "the connection to Redis was lost while %s was read",
              r->doc->key);
    r->done(r->arg, NULL, &f);
}

static void on_script(void *arg, unsigned index, redisReply *reply)
{
    (void)index;
    if (reply == NULL)
        lost(arg);
    else
        take(arg, reply);
}

/* The words of the commands between MULTI and EXEC, each with their number in front. */
static unsigned script_words(const struct buf *resp, struct buf *out)
{
    const char *at = (const char *)resp->data, *end = at + resp->len;
    unsigned all = 0;
    while (at < end) {
        char *next;
        unsigned words = (unsigned)strtoul(at + 1, &next, 10);
        at = next + 2;
        if (words > 1) {
            buf_printf(out, "$%d\r\n%u\r\n", snprintf(NULL, 0, "%u", words), words);
            all += words + 1;
        }
        for (unsigned i = 0; i < words; i++) {
            size_t len = strtoul(at + 1, &next, 10);
            size_t whole = (size_t)(next - at) + 2 + len + 2;
            if (words > 1) /* MULTI and EXEC are the only ones of one word */
                buf_append(out, at, whole);
            at += whole;
        }
    }
    return all;
}

static void send_as_script(struct round *r)
{
    struct buf words = BUF_INIT, out = BUF_INIT;
    unsigned n = script_words(&r->resp, &words);
    buf_printf(&out, "*%u\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n$1\r\n0\r\n", n + 3,
               sizeof(round_script) - 1, round_script);
    buf_append(&out, words.data, words.len);
    if (!upstream_send(r->up, out.data, out.len, 1, on_script, r))
        lost(r);
    buf_free(&words);
    buf_free(&out);
}

static void on_round(void *arg, unsigned index, redisReply *reply)
{
    struct round *r = arg;
    if (reply == NULL) {
        lost(r);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "OOM", 3) == 0)
        r->full = true;
    if (index + 1 < r->commands)
        return;
    if (reply->type == REDIS_REPLY_ERROR && r->full)
        send_as_script(r);
    else
        take(r, reply);
}

bool round_send(struct round *r)
{
    resp_words(&r->resp, "EXEC", NULL);
    r->commands++;
    r->full = false;
    return upstream_send(r->up, r->resp.data, r->resp.len, r->commands, on_round, r);
}

void round_clear(struct round *r)
{
    buf_free(&r->resp);
}
