/* utf8: is this text? MessagePack calls a str UTF-8 but nobody on the way checks it. */
#include "protocol/cursor.h"

#include <string.h>

/* Length of the well-formed sequence that begins with the non-ASCII byte p[0], 0 when there is
 * none within n bytes. The second byte alone decides about overlong forms, surrogates and
 * what lies above U+10FFFF. */
static size_t sequence(const uint8_t *p, size_t n)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t len;

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        len = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        len = 3;
        if (p[0] == 0xe0)
            low = 0xa0;
        else if (p[0] == 0xed)
            high = 0x9f;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        len = 4;
        if (p[0] == 0xf0)
            low = 0x90;
        else if (p[0] == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (n < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool utf8_valid(const void *data, size_t n)
{
    const uint8_t *p = data;
    const uint64_t high_bits = 0x8080808080808080u;

    while (n > 0) {
        if (n >= 8) { /* most text is ASCII: eight bytes at a time */
            uint64_t word;
            memcpy(&word, p, 8);
            if (!(word & high_bits)) {
                p += 8;
                n -= 8;
                continue;
            }
        }
        size_t len = p[0] < 0x80 ? 1 : sequence(p, n);
        if (len == 0)
            return false;
        p += len;
        n -= len;
    }
    return true;
}

size_t utf8_cut(const char *s, size_t n, size_t most)
{
    if (n <= most)
        return n;
    while (most > 0 && ((unsigned char)s[most] & 0xc0) == 0x80)
        most--;
    return most;
}
