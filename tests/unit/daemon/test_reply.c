/* What Redis answers, in one piece and byte by byte; and what it should not. */
#include "daemon/redis/reply.h"
#include <criterion/criterion.h>
#include <string.h>

/* How many replies there are in the text; -1: it is refused. */
static int read_all(const char *text, size_t step)
{
    struct reply_reader *r = reply_reader_new();
    size_t len = strlen(text);
    redisReply *reply;
    int n = 0, more = 0;
    for (size_t at = 0; at < len && more >= 0; at += step) {
        more = reply_feed(r, text + at, at + step > len ? len - at : step);
        while (more == 0 && (more = reply_next(r, &reply)) == 1) {
            cr_assert_not_null(reply->str);
            n++;
            more = 0;
        }
    }
    cr_assert(more == 0 || *reply_error(r) != '\0');
    reply_reader_free(r);
    return more < 0 ? -1 : n;
}

Test(reply, replies_are_found_however_they_come)
{
    static const char text[] =
        "+OK\r\n:12\r\n$5\r\nhello\r\n*2\r\n$-1\r\n*1\r\n:-1\r\n-ERR no\r\n*-1\r\n*0\r\n";
    for (size_t step = 1; step < sizeof(text); step++)
        cr_assert_eq(read_all(text, step), 7, "in pieces of %zu", step);
}

Test(reply, what_cannot_be_is_refused)
{
    static const char *const texts[] = {"?\r\n",
                                        "*99999999\r\n",
                                        "*1\r\n*8388608\r\n",
                                        ":x\r\n",
                                        "*2\r\n:1\r\n,1.5\r\n",
                                        "*1\r\n#t\r\n",
                                        ",1\r\n",
                                        "#f\r\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        cr_assert_eq(read_all(texts[i], 64), -1, "%s", texts[i]);
        cr_assert_eq(read_all(texts[i], 1), -1, "%s", texts[i]);
    }
}

/* hiredis 0.14 does not know them, 1 does. */
Test(reply, what_is_of_resp3_does_no_harm)
{
    static const char *const texts[] = {
        "%1\r\n+a\r\n:1\r\n",        ">2\r\n+a\r\n+b\r\n", "~1\r\n+a\r\n", "_\r\n",
        "(12345678901234567890\r\n", "=5\r\ntxt:a\r\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        int n = read_all(texts[i], 64);
        cr_assert(n == -1 || n == 1, "%s", texts[i]);
    }
}
