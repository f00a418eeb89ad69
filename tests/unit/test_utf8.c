/* utf8: each border of RFC 3629's table, and all of Unicode against a plain encoder. */
#include "protocol/cursor.h"

#include <criterion/criterion.h>
#include <string.h>

#define VALID(s) cr_assert(utf8_valid(s, sizeof(s) - 1), "%s", #s)
#define INVALID(s) cr_assert_not(utf8_valid(s, sizeof(s) - 1), "%s", #s)

Test(utf8, well_formed)
{
    VALID("");
    VALID("plain text of more than eight bytes");
    VALID("a\0b");
    VALID("\xc2\x80");
    VALID("\xdf\xbf");
    VALID("\xe0\xa0\x80");
    VALID("\xed\x9f\xbf");
    VALID("\xee\x80\x80");
    VALID("\xef\xbf\xbf");
    VALID("\xf0\x90\x80\x80");
    VALID("\xf4\x8f\xbf\xbf");
    VALID("1234567\xc3\xa4"
          "890");
}

Test(utf8, ill_formed)
{
    INVALID("\x80");
    INVALID("\xbf");
    INVALID("\xc0\x80"); /* overlong */
    INVALID("\xc1\xbf");
    INVALID("\xe0\x80\x80");
    INVALID("\xe0\x9f\xbf");
    INVALID("\xf0\x80\x80\x80");
    INVALID("\xf0\x8f\xbf\xbf");
    INVALID("\xed\xa0\x80"); /* surrogates */
    INVALID("\xed\xbf\xbf");
    INVALID("\xf4\x90\x80\x80"); /* above U+10FFFF */
    INVALID("\xf5\x80\x80\x80");
    INVALID("\xff");
    INVALID("\xfe");
    INVALID("\xc2"); /* cut off */
    INVALID("\xe2\x82");
    INVALID("\xf0\x9f\x98");
    INVALID("\xc2z");
    INVALID("\xe2\x82z");
    INVALID("\xf0\x9f\x98z");
}

Test(utf8, a_bad_byte_is_found_at_every_offset)
{
    char text[40];

    for (size_t at = 0; at < sizeof text; at++) {
        memset(text, 'x', sizeof text);
        cr_assert(utf8_valid(text, sizeof text));
        text[at] = (char)0x80;
        cr_assert_not(utf8_valid(text, sizeof text), "at %zu", at);
    }
}

static size_t encode(uint32_t cp, uint8_t *out)
{
    static const uint8_t mark[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; cp >>= 6)
        out[i] = (uint8_t)(0x80 | (cp & 0x3f));
    out[0] = (uint8_t)(mark[n] | cp);
    return n;
}

Test(utf8, every_code_point)
{
    for (uint32_t cp = 0; cp < 0x120000; cp++) {
        uint8_t s[4];
        size_t n = encode(cp, s);
        bool scalar = cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff);

        if (utf8_valid(s, n) != scalar || (n > 1 && utf8_valid(s, n - 1)))
            cr_assert_fail("U+%04X", cp);
    }
}

Test(utf8, is_cut_where_a_character_ends)
{
    const char *text = "a\u00e4\u20ac\U0001f600";
    const size_t cut[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};

    for (size_t most = 0; most < sizeof cut / sizeof *cut; most++)
        cr_expect(utf8_cut(text, 10, most) == cut[most], "at most %zu", most);
}
