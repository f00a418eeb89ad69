/* trace: see trace.h. */
#include "daemon/base/trace.h"
#include <string.h>

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: other than 2 n lower-case digits. */
static bool read_hex(uint8_t *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    while (n > 0 && bytes[n - 1] == 0)
        n--;
    return n == 0;
}

bool trace_parse(struct trace *t, const char *text, size_t len)
{
    uint8_t version, flags;

    if (len < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
        !read_hex(&version, text, 1) || !read_hex(t->id, text + 3, TRACE_ID_BYTES) ||
        !read_hex(t->span, text + 36, SPAN_ID_BYTES) || !read_hex(&flags, text + 53, 1))
        return false;
    if (version == 0xff || (version == 0 ? len != 55 : len > 55 && text[55] != '-'))
        return false;
    t->sampled = flags & 1;
    return !is_zero(t->id, TRACE_ID_BYTES) && !is_zero(t->span, SPAN_ID_BYTES);
}

void trace_hex(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}
