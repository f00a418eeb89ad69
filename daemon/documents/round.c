/* round: see round.h. */
#include "daemon/documents/round.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/round_script.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

void round_begin(struct round *r)
{
    buf_clear(&r->resp);
    r->commands = 1;
    r->script = r->refused = r->unanswered = false;
    resp_words(&r->resp, "MULTI", NULL);
}

void round_command(struct round *r, const char *suffix, size_t suffix_len, const char *command,
                   const struct round_word *words, unsigned n)
{
    struct buf key = BUF_INIT;
    layout_key(&key, r->names, r->doc->key, r->doc->key_len, suffix, suffix_len);
    const char **argv = alloc_zeroed(n + 2, sizeof(*argv));
    size_t *len = alloc_zeroed(n + 2, sizeof(*len));
    argv[0] = command;
    len[0] = strlen(command);
    argv[1] = (char *)key.data;
    len[1] = key.len;
    for (unsigned i = 0; i < n; i++) {
        argv[i + 2] = words[i].at;
        len[i + 2] = words[i].len;
    }
    resp_command(&r->resp, (int)n + 2, argv, len);
    free(argv);
    free(len);
    buf_free(&key);
    r->commands++;
    r->script = r->script || strcmp(command, ROUND_LEVEL) == 0;
}

void round_ask(struct round *r, const char *suffix, size_t suffix_len, const char *command,
               const char *a, const char *b)
{
    struct round_word words[] = {round_word(a), round_word(b)};
    round_command(r, suffix, suffix_len, command, words, (a != NULL) + (b != NULL));
}

/* ---- answers ---- */

/* EXEC's, or the script's, which has the same form. */
static void take(struct round *r, redisReply *reply)
{
    struct fault f;
    r->refused = reply->type == REDIS_REPLY_ERROR;
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
    r->unanswered = true;
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

static bool send_as_script(struct round *r)
{
    struct buf words = BUF_INIT, out = BUF_INIT;
    unsigned n = script_words(&r->resp, &words);
    struct buf root = BUF_INIT; /* whoever has not its slot is to say so */
    layout_key(&root, r->names, r->doc->key, r->doc->key_len, "", 0);
    buf_printf(&out, "*%u\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n$1\r\n1\r\n", n + 4,
               sizeof(round_script) - 1, round_script);
    resp_bulk(&out, root.data, root.len);
    buf_free(&root);
    buf_append(&out, words.data, words.len);
    bool sent = upstream_send(r->up, out.data, out.len, 1, on_script, r);
    buf_free(&words);
    buf_free(&out);
    return sent;
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
    if (reply->type != REDIS_REPLY_ERROR || !r->full)
        take(r, reply);
    else if (!send_as_script(r))
        lost(r);
}

bool round_send(struct round *r)
{
    resp_words(&r->resp, "EXEC", NULL);
    r->commands++;
    r->full = false;
    if (r->script)
        return send_as_script(r);
    return upstream_send(r->up, r->resp.data, r->resp.len, r->commands, on_round, r);
}

void round_clear(struct round *r)
{
    buf_free(&r->resp);
}
