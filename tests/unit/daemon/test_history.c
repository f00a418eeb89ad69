/* history: what is kept are the last samples, in order, and of these what is later than asked for.
 */
#include "daemon/metrics/history.h"
#include "protocol/cursor.h"
#include <criterion/criterion.h>

static const char *const names[] = {"one", "two"};

static void expect(const struct history *h, int64_t since, int64_t first, uint32_t n)
{
    struct buf out = BUF_INIT;
    const char *name;
    size_t len;
    uint32_t count;
    int64_t at;
    double value;

    history_pack(h, since, &out);
    struct cursor in = cursor_of(out.data, out.len);
    cr_assert(cursor_map(&in, &count) == 0 && count == 3);
    cr_assert(cursor_str(&in, &name, &len) == 0 && len == 2 && memcmp(name, "at", 2) == 0);
    cr_assert(cursor_array(&in, &count) == 0 && count == n, "%u", count);
    for (uint32_t i = 0; i < n; i++)
        cr_assert(cursor_int(&in, &at) == 0 && at == first + i);
    for (int row = 0; row < 2; row++) {
        cr_assert(cursor_str(&in, &name, &len) == 0 && strncmp(name, names[row], len) == 0);
        cr_assert(cursor_array(&in, &count) == 0 && count == n);
        for (uint32_t i = 0; i < n; i++)
            cr_assert(cursor_number(&in, &value) == 0 &&
                      value == (double)(first + i) * (row == 0 ? 1 : -1));
    }
    cr_assert(in.at == in.end);
    buf_free(&out);
}

Test(history, keeps_the_last_ones)
{
    struct history *h = history_new(names, 2);
    expect(h, 0, 1, 0);
    for (int64_t at = 1; at <= 2 * HISTORY_SAMPLES + 7; at++) {
        history_add(h, at, (double[]){(double)at, (double)-at});
        int64_t oldest = at > HISTORY_SAMPLES ? at - HISTORY_SAMPLES + 1 : 1;
        expect(h, 0, oldest, (uint32_t)(at - oldest + 1));
        expect(h, at - 1, at, 1);
        expect(h, at, at + 1, 0);
    }
    history_free(h);
}
