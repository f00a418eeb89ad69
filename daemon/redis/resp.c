/* resp: see resp.h. */
#include "daemon/redis/resp.h"
#include <assert.h>
#include <stdarg.h>

static unsigned decimal(char *out, uint64_t n)
{
    char digits[20];
    unsigned count = 0;
    if (n < 10) { /* as nearly all are, */
        *out = (char)('0' + n);
        return 1;
    }
    if (n < 100) { /* and most others */
        out[0] = (char)('0' + n / 10);
        out[1] = (char)('0' + n % 10);
        return 2;
    }
    do
        digits[count++] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    for (unsigned i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

size_t resp_decimal(char out[RESP_DECIMAL_MAX], int64_t n)
{
    if (n >= 0)
        return decimal(out, (uint64_t)n);
    *out = '-';
    return 1 + decimal(out + 1, 0 - (uint64_t)n);
}

/* '$' or '*', a number in decimal, CR LF. */
static uint8_t *head(uint8_t *at, char sign, size_t n)
{
    *at++ = (uint8_t)sign;
    at += decimal((char *)at, n);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

enum { HEAD_MAX = 23, TAIL = 2 };

static uint8_t *bulk(uint8_t *at, const void *s, size_t len)
{
    at = head(at, '$', len);
    if (len > 0)
        memcpy(at, s, len);
    at += len;
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

void resp_bulk(struct buf *out, const void *s, size_t len)
{
    if (buf_grow(out, HEAD_MAX + len + TAIL))
        out->len = (size_t)(bulk(out->data + out->len, s, len) - out->data);
}

void resp_command(struct buf *out, int argc, const char *const *argv, const size_t *argvlen)
{
    size_t size = HEAD_MAX;
    for (int i = 0; i < argc; i++)
        size += HEAD_MAX + TAIL + (argvlen != NULL ? argvlen[i] : strlen(argv[i]));
    if (!buf_grow(out, size))
        return;
    uint8_t *at = head(out->data + out->len, '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        size_t len = argvlen != NULL ? argvlen[i] : strlen(argv[i]);
        at = bulk(at, argv[i], len);
    }
    out->len = (size_t)(at - out->data);
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
    assert(!word);
    resp_command(out, argc, argv, NULL);
}
