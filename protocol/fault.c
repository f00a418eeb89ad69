/* fault: see fault.h. Its texts quote what strangers sent, so they are cleaned here, once. */
#include "protocol/fault.h"

#include "protocol/cursor.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char *const names[FAULT_COUNT] = {
#define FAULT_NAME(name, text) [FAULT_##name] = #name,
    FAULT_CODES(FAULT_NAME)
#undef FAULT_NAME
};

/* How many bytes the character at p is meant to have, going by its first byte. */
static size_t meant_length(uint8_t first)
{
    if (first < 0x80)
        return 1;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static bool control(const uint8_t *p, size_t len)
{
    return (len == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (len == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

/* Byte by byte, so that the length stays. */
void text_clean(char *text, bool cut)
{
    uint8_t *p = (uint8_t *)text, *end = p + strlen(text);

    while (p < end) {
        size_t len = meant_length(*p);
        if (cut && *p >= 0xc0 && (size_t)(end - p) < len) {
            bool split = true;
            for (uint8_t *q = p + 1; q < end; q++)
                split = split && (*q & 0xc0) == 0x80;
            if (split) {
                *p = '\0';
                return;
            }
        }
        if (len <= (size_t)(end - p) && utf8_valid(p, len) && !control(p, len))
            p += len;
        else
            *p++ = '?';
    }
}

int fault_set(struct fault *f, enum fault_code code, const char *fmt, ...)
{
    char text[FAULT_TEXT_MAX]; /* apart from f->text, which may be among the arguments */
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = '\0';
    text_clean(text, n >= (int)sizeof text);
    f->code = code;
    memcpy(f->text, text, strlen(text) + 1);
    return -1;
}

const char *fault_name(enum fault_code code)
{
    return (unsigned)code < FAULT_COUNT ? names[code] : NULL;
}

enum fault_code fault_parse(const char *s, size_t len, const char **text, size_t *text_len)
{
    for (int code = FAULT_NONE + 1; code < FAULT_COUNT; code++) {
        size_t n = strlen(names[code]);
        if (len <= n || memcmp(s, names[code], n) != 0 || s[n] != ':')
            continue;
        size_t skip = n + 1 < len && s[n + 1] == ' ' ? n + 2 : n + 1;
        *text = s + skip;
        *text_len = len - skip;
        return (enum fault_code)code;
    }
    *text = s;
    *text_len = len;
    return FAULT_INTERNAL;
}
