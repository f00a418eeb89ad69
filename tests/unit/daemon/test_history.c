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

/* As another process of the daemon takes them up, of a history of these figures. */
static int resume(struct history *to, const struct history *from)
{
    struct buf out = BUF_INIT;

    history_pack(from, INT64_MIN, &out);
    struct state_reader r = {.in = cursor_of(out.data, out.len)};
    int status = history_resume(to, &r);
    buf_free(&out);
    return status;
}

Test(history, goes_on_in_another_process)
{
    for (int64_t last = 0; last <= 2 * HISTORY_SAMPLES; last += HISTORY_SAMPLES / 2) {
        struct history *from = history_new(names, 2), *to = history_new(names, 2);
        for (int64_t at = 1; at <= last; at++)
            history_add(from, at, (double[]){(double)at, (double)-at});
        cr_assert_eq(resume(to, from), 0);
        for (int64_t at = last + 1; at <= last + 3; at++)
            history_add(to, at, (double[]){(double)at, (double)-at});
        int64_t oldest = last + 3 > HISTORY_SAMPLES ? last + 3 - HISTORY_SAMPLES + 1 : 1;
        expect(to, 0, oldest, (uint32_t)(last + 3 - oldest + 1));
        history_free(from);
        history_free(to);
    }
}

Test(history, of_other_figures)
{
    static const char *const others[] = {"two", "three"};
    struct history *from = history_new(names, 2), *to = history_new(others, 2);
    struct buf out = BUF_INIT, wanted = BUF_INIT;

    history_add(from, 7, (double[]){1, 2});
    cr_assert_eq(resume(to, from), 0);
    history_pack(to, 0, &out);
    pack_map(&wanted, 3);
    pack_cstr(&wanted, "at");
    pack_array(&wanted, 1);
    pack_int(&wanted, 7);
    pack_cstr(&wanted, "two");
    pack_array(&wanted, 1);
    pack_float(&wanted, 2);
    pack_cstr(&wanted, "three");
    pack_array(&wanted, 1);
    pack_float(&wanted, 0);
    cr_assert(out.len == wanted.len && memcmp(out.data, wanted.data, out.len) == 0);
    buf_free(&out);
    buf_free(&wanted);
    history_free(from);
    history_free(to);
}

Test(history, that_is_none)
{
    struct history *h = history_new(names, 2);
    struct state_reader r = {.in = cursor_of((const uint8_t *)"\x81\xa2"
                                                              "at\x91\xa1x",
                                             7)};

    cr_expect_eq(history_resume(h, &r), -1);
    expect(h, 0, 1, 0);
    history_free(h);
}
