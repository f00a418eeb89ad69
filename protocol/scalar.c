/* scalar: see scalar.h. */
#include "protocol/scalar.h"
#include "protocol/calendar.h"
#include "protocol/scalar_text.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(kind) (1u << (kind))

static struct cell cell_of_buf(struct buf *b)
{
    struct cell c = cell_value(b->data, b->len);
    buf_free(b);
    return c;
}

/* ---- int ---- */

static int check_int(const struct type *t, const struct item *it, struct buf *out, struct fault *f)
{
    (void)t;
    if (it->kind == ITEM_UINT)
        return fault_set(f, FAULT_OUT_OF_RANGE, "%" PRIu64 " is above %" PRId64, it->uinteger,
                         INT64_MAX);
    pack_int(out, it->integer);
    return 0;
}

static void write_int(const struct item *it, struct buf *text)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = it->integer < 0 ? 0 - (uint64_t)it->integer : (uint64_t)it->integer;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (it->integer < 0)
        *--at = '-';
    buf_append(text, at, (size_t)(digits + sizeof digits - at));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* As strict as Redis: no sign but '-', no leading zero, no "-0". */
static bool read_int(const struct type *t, const char *raw, size_t len, struct cell *out)
{
    char text[24];
    (void)t;
    if (len == 0 || len >= sizeof text)
        return false;
    const char *digits = raw + (raw[0] == '-');
    size_t n = (size_t)(raw + len - digits);
    if (n == 0 || (digits[0] == '0' && len > 1))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_digit(digits[i]))
            return false;
    memcpy(text, raw, len);
    text[len] = '\0';
    errno = 0;
    int64_t v = strtoll(text, NULL, 10);
    if (errno != 0)
        return false;
    *out = cell_int(v);
    return true;
}

/* ---- float ---- */

static int check_float(const struct type *t, const struct item *it, struct buf *out,
                       struct fault *f)
{
    double v = it->kind == ITEM_FLOAT ? it->real
               : it->kind == ITEM_INT ? (double)it->integer
                                      : (double)it->uinteger;
    (void)t;
    if (!isfinite(v))
        return fault_set(f, FAULT_BAD_VALUE, "%s is not a number that can be kept",
                         isnan(v) ? "NaN" : "infinity");
    pack_float(out, v);
    return 0;
}

#define WHOLE_MAX 1e15  /* below that a whole number is written in its digits */
#define WHOLE_DIGITS 15 /* of which there are so many */

static void write_float(const struct item *it, struct buf *out)
{
    double v = it->kind == ITEM_FLOAT ? it->real : (double)it->integer;
    char text[40];
    if (fabs(v) < WHOLE_MAX && v == (double)(int64_t)v && (v != 0 || !signbit(v))) {
        write_int(&(struct item){.kind = ITEM_INT, .integer = (int64_t)v}, out);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_append(out, text, strlen(text));
}

/* Digits alone, which most scores are; else false. */
static bool read_whole(const char *raw, size_t len, struct cell *out)
{
    bool minus = len > 0 && raw[0] == '-';
    int64_t n = 0;
    size_t at = minus;
    for (; at < len && at < WHOLE_DIGITS && is_digit(raw[at]); at++)
        n = 10 * n + (raw[at] - '0');
    if (at < len || len == minus || (minus && n == 0))
        return false;
    *out = cell_float(minus ? -(double)n : (double)n);
    return true;
}

/* HINCRBYFLOAT writes up to 17 digits behind the point and never an exponent, which makes 1e300
 * three hundred digits long. */
static bool read_float(const struct type *t, const char *raw, size_t len, struct cell *out)
{
    char text[512], *end;
    (void)t;
    if (read_whole(raw, len, out))
        return true;
    if (len == 0 || len >= sizeof text)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_digit(raw[i]) && !strchr("+-.eE", raw[i]))
            return false;
    memcpy(text, raw, len);
    text[len] = '\0';
    double v = strtod(text, &end);
    if (end != text + len || !isfinite(v))
        return false;
    *out = cell_float(v);
    return true;
}

/* ---- bool ---- */

static int check_bool(const struct type *t, const struct item *it, struct buf *out, struct fault *f)
{
    (void)t, (void)f;
    pack_bool(out, it->boolean);
    return 0;
}

static void write_bool(const struct item *it, struct buf *text)
{
    buf_append(text, it->boolean ? "1" : "0", 1);
}

static bool read_bool(const struct type *t, const char *raw, size_t len, struct cell *out)
{
    (void)t;
    if (len != 1 || (raw[0] != '0' && raw[0] != '1'))
        return false;
    *out = cell_value(raw[0] == '1' ? "\xc3" : "\xc2", 1);
    return true;
}

/* ---- str, bytes ---- */

static int check_str(const struct type *t, const struct item *it, struct buf *out, struct fault *f)
{
    (void)t;
    if (!utf8_valid(it->bytes.p, it->bytes.len))
        return fault_set(f, FAULT_BAD_VALUE, "the str is not valid UTF-8; bytes can hold it");
    pack_str(out, (const char *)it->bytes.p, it->bytes.len);
    return 0;
}

static void write_bytes(const struct item *it, struct buf *text)
{
    buf_append(text, it->bytes.p, it->bytes.len);
}

static bool read_str(const struct type *t, const char *raw, size_t len, struct cell *out)
{
    (void)t;
    if (!utf8_valid(raw, len))
        return false;
    *out = cell_str(raw, len);
    return true;
}

static int check_bytes(const struct type *t, const struct item *it, struct buf *out,
                       struct fault *f)
{
    (void)t, (void)f;
    pack_bin(out, it->bytes.p, it->bytes.len);
    return 0;
}

static bool read_bytes(const struct type *t, const char *raw, size_t len, struct cell *out)
{
    struct buf b = BUF_INIT;
    (void)t;
    pack_bin(&b, raw, len);
    *out = cell_of_buf(&b);
    return true;
}

/* ---- datetime ---- */

static int check_datetime(const struct type *t, const struct item *it, struct buf *out,
                          struct fault *f)
{
    (void)t;
    if (it->kind == ITEM_EXT) /* -1, but not one of the three forms, or its fraction is none */
        return fault_set(f, FAULT_BAD_VALUE,
                         "a timestamp has 4, 8 or 12 bytes and less than 10^9 nanoseconds");
    if (it->time.sec < CALENDAR_MIN || it->time.sec > CALENDAR_MAX)
        return fault_set(f, FAULT_OUT_OF_RANGE,
                         "the datetime lies outside the years 1 to 9999 (%" PRId64 " s)",
                         it->time.sec);
    pack_time(out, it->time.sec, it->time.nsec);
    return 0;
}

static void write_datetime(const struct item *it, struct buf *text)
{
    calendar_write(it->time.sec, it->time.nsec, text);
}

static bool read_datetime(const struct type *t, const char *raw, size_t len, struct cell *out)
{
    struct buf b = BUF_INIT;
    int64_t sec;
    uint32_t nsec;
    (void)t;
    if (!calendar_read(raw, len, &sec, &nsec))
        return false;
    pack_time(&b, sec, nsec);
    *out = cell_of_buf(&b);
    return true;
}

/* ---- the table ---- */

const struct scalar scalars[TYPE_COUNT] = {
    [TYPE_INT] = {"int", BIT(ITEM_INT) | BIT(ITEM_UINT), check_int, write_int, read_int,
                  "64 bits in decimal", false},
    [TYPE_FLOAT] = {"float", BIT(ITEM_FLOAT) | BIT(ITEM_INT) | BIT(ITEM_UINT), check_float,
                    write_float, read_float, "a finite number in decimal", false},
    [TYPE_BOOL] = {"bool", BIT(ITEM_BOOL), check_bool, write_bool, read_bool, "1 or 0", false},
    [TYPE_STR] = {"str", BIT(ITEM_STR), check_str, write_bytes, read_str, "UTF-8", false},
    [TYPE_BYTES] = {"bytes", BIT(ITEM_BIN), check_bytes, write_bytes, read_bytes, "any bytes",
                    false},
    [TYPE_DATETIME] = {"datetime", BIT(ITEM_TIME) | BIT(ITEM_EXT), check_datetime, write_datetime,
                       read_datetime, "like 2024-01-31T23:59:59.5Z", false},
    [TYPE_DECIMAL] = {"decimal", BIT(ITEM_STR) | BIT(ITEM_INT), check_text, write_text, read_text,
                      "like -12.50, up to 38 digits", false},
    [TYPE_DATE] = {"date", BIT(ITEM_STR), check_text, write_text, read_text, "like 2024-01-31",
                   false},
    [TYPE_TIME] = {"time", BIT(ITEM_STR), check_text, write_text, read_text, "like 23:59:59.5",
                   false},
    [TYPE_TIMEDELTA] = {"timedelta", BIT(ITEM_STR) | BIT(ITEM_INT), check_text, write_text,
                        read_text, "seconds, like -90.5", false},
    [TYPE_NAIVE] = {"datetime_naive", BIT(ITEM_STR), check_text, write_text, read_text,
                    "like 2024-01-31T23:59:59.5", false},
    [TYPE_ZONED] = {"datetime_zoned", BIT(ITEM_STR), check_text, write_text, read_text,
                    "like 2024-01-31T23:59:59.5+02:00", false},
    [TYPE_UUID] = {"uuid", BIT(ITEM_STR), check_text, write_text, read_text,
                   "like 0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d", false},
    [TYPE_ENUM] = {"enum", BIT(ITEM_STR), check_text, write_text, read_text, "one of ", true},
    [TYPE_REF] = {"ref", BIT(ITEM_STR), check_text, write_text, read_text,
                  "the key of a document, pk behind the colon, of model ", true},
};
