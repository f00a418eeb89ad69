#include "daemon/resp.h"
#include <hiredis/hiredis.h>
#include <stdarg.h>

void resp_command(struct buf *out, int argc, const char *const *argv, const size_t *argvlen)
{
    sds command = NULL;
    /* The formatter only reads the words; its type lacks the second const. */
    long long len = redisFormatSdsCommandArgv(&command, argc, (const char **)argv, argvlen);
    if (len < 0) {
        out->failed = true;
        return;
    }
    buf_append(out, command, (size_t)len);
    redisFreeSdsCommand(command);
}

void resp_words(struct buf *out, ...)
{
    const char *argv[RESP_WORDS_MAX];
    int argc = 0;
    va_list words;
    va_start(words, out);
    const char *word;
    while ((word = va_arg(words, const char *)) && argc < RESP_WORDS_MAX)
        argv[argc++] = word;
    va_end(words);
    if (word) {
        out->failed = true;
        return;
    }
    resp_command(out, argc, argv, NULL);
}
