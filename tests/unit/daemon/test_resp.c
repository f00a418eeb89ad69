#include "daemon/redis/resp.h"
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

static void is(struct buf *b, const char *expected, size_t len)
{
    cr_expect(!b->failed && b->len == len && memcmp(b->data, expected, len) == 0, "%.*s",
              (int)b->len, (char *)b->data);
    buf_free(b);
}

#define TEXT(s) s, sizeof(s) - 1

Test(resp, words)
{
    struct buf b = BUF_INIT;
    resp_words(&b, "CLIENT", "ID", NULL);
    resp_words(&b, "ECHO", "", NULL);
    is(&b, TEXT("*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"));
}

Test(resp, any_bytes)
{
    struct buf b = BUF_INIT;
    resp_command(&b, 2, (const char *[]){"ECHO", "a\0\r\nb"}, (size_t[]){4, 5});
    is(&b, TEXT("*2\r\n$4\r\nECHO\r\n$5\r\na\0\r\nb\r\n"));
}

Test(resp, as_many_words_as_there_may_be)
{
    struct buf b = BUF_INIT;
    resp_words(&b, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
               "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29",
               "30", "31", "32", NULL);
    cr_expect_eq(memcmp(b.data, "*32\r\n", 5), 0);
    buf_free(&b);
}

/* The commands are written out in the code: one that is too long shows at its first use. */
Test(resp, too_many_words_are_not_cut, .signal = SIGABRT)
{
    struct buf b = BUF_INIT;
    resp_words(&b, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
               "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29",
               "30", "31", "32", "33", NULL);
}

Test(resp, decimals)
{
    static const int64_t numbers[] = {0,         7,  10,  99,   100,      9007199254740993,
                                      INT64_MAX, -1, -10, -123, INT64_MIN};
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        char expected[24], text[RESP_DECIMAL_MAX];
        int len = snprintf(expected, sizeof(expected), "%" PRId64, numbers[i]);
        cr_expect_eq(resp_decimal(text, numbers[i]), (size_t)len, "%s", expected);
        cr_expect_eq(memcmp(text, expected, (size_t)len), 0, "%s", expected);
    }
}
