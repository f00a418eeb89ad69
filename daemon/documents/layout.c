/* The reading side trusts nothing: other programs may have written to our keys. It takes exactly
 * what Redis' own commands would take (an int with a leading zero would make HINCRBY fail in the
 * middle of a transaction), and normalizes MessagePack that is valid but not canonical. */
#include "daemon/documents/layout.h"
#include "protocol/cursor.h"
#include "protocol/scan.h"
#include "protocol/tree.h"
#include "protocol/value.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RAW_NULL 0xC0
#define FOUND_MAX 40 /* bytes of the raw string that a message shows */
#define DAY_SECONDS 86400

/* Keys */

void layout_key(struct buf *out, const char *prefix, const char *key, size_t key_len,
                const char *suffix, size_t suffix_len)
{
    buf_append(out, prefix, strlen(prefix));
    buf_append(out, ":{", 2);
    buf_append(out, key, key_len);
    buf_append(out, "}", 1);
    buf_append(out, suffix, suffix_len);
}

bool layout_split(const char *prefix, const char *redis_key, size_t len, const char **key,
                  size_t *key_len, const char **suffix, size_t *suffix_len)
{
    size_t head = strlen(prefix);
    if (len < head + 2 || memcmp(redis_key, prefix, head) != 0 ||
        memcmp(redis_key + head, ":{", 2) != 0)
        return false;
    const char *begin = redis_key + head + 2;
    const char *close = memchr(begin, '}', (size_t)(redis_key + len - begin));
    if (!close || close == begin)
        return false;
    const char *rest = close + 1, *end = redis_key + len;
    if (rest < end && *rest != '/')
        return false;
    *key = begin;
    *key_len = (size_t)(close - begin);
    *suffix = rest;
    *suffix_len = (size_t)(end - rest);
    return true;
}

/* Types */

static const struct type *bare(const struct type *t)
{
    while (t->kind == TYPE_OPTIONAL)
        t = t->of;
    return t;
}

/* Whether the raw string is the value's MessagePack. A null of optional<bytes> would look like
 * the one byte C0, which is also a value: so these are packed, too. */
static bool is_packed(const struct type *t)
{
    switch (bare(t)->kind) {
    case TYPE_ANY:
    case TYPE_LIST:
    case TYPE_DICT:
    case TYPE_OPTIONAL: return true;
    case TYPE_MODEL: return !bare(t)->model->atomic;
    case TYPE_BYTES: return t->kind == TYPE_OPTIONAL;
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_BOOL:
    case TYPE_STR:
    case TYPE_DATETIME: break;
    }
    return false;
}

/* Dates: days since 1970-01-01 and the Gregorian calendar, also before 1582. The year is
 * counted from March, so that the leap day is its last one. */

struct date {
    int64_t year;
    int month, day;
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t days_of(struct date d)
{
    int64_t year = d.month <= 2 ? d.year - 1 : d.year;
    int64_t cycle = floor_div(year, 400); /* of 146097 days */
    int64_t in_cycle = year - cycle * 400;
    int64_t month = (d.month + 9) % 12;
    int64_t day = (153 * month + 2) / 5 + d.day - 1;
    /* 719468 days lie between 0000-03-01 and 1970-01-01. */
    return cycle * 146097 + in_cycle * 365 + in_cycle / 4 - in_cycle / 100 + day - 719468;
}

static struct date date_of(int64_t days)
{
    days += 719468;
    int64_t cycle = floor_div(days, 146097);
    int64_t day = days - cycle * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= year * 365 + year / 4 - year / 100;
    int64_t month = (5 * day + 2) / 153;
    struct date d = {.day = (int)(day - (153 * month + 2) / 5 + 1),
                     .month = (int)(month < 10 ? month + 3 : month - 9)};
    d.year = cycle * 400 + year + (d.month <= 2);
    return d;
}

static void raw_time(struct buf *out, int64_t sec, uint32_t nsec)
{
    int64_t days = floor_div(sec, DAY_SECONDS);
    int rest = (int)(sec - days * DAY_SECONDS);
    struct date d = date_of(days);
    buf_printf(out, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d", d.year, d.month, d.day, rest / 3600,
               rest / 60 % 60, rest % 60);
    if (nsec > 0) {
        int digits = 9;
        for (; nsec % 10 == 0; nsec /= 10)
            digits--;
        buf_printf(out, ".%0*" PRIu32, digits, nsec);
    }
    buf_append(out, "Z", 1);
}

struct text {
    const char *at, *end;
};

static bool text_char(struct text *t, char c)
{
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Between lo and hi digits; says how many there were. */
static int text_digits(struct text *t, int lo, int hi, int64_t *v)
{
    int n = 0;
    for (*v = 0; n < hi && t->at < t->end && is_digit(*t->at); n++)
        *v = *v * 10 + (*t->at++ - '0');
    return n >= lo ? n : 0;
}

static bool text_date(struct text *t, struct date *d)
{
    int64_t month, day;
    if (!text_digits(t, 4, 4, &d->year) || !text_char(t, '-') || !text_digits(t, 2, 2, &month) ||
        !text_char(t, '-') || !text_digits(t, 2, 2, &day))
        return false;
    d->month = (int)month;
    d->day = (int)day;
    if (d->year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    struct date real = date_of(days_of(*d)); /* 31 April comes back as 1 May */
    return real.day == d->day;
}

static bool text_time(struct text *t, int64_t *sec, uint32_t *nsec)
{
    struct date d;
    int64_t hour, minute, second, fraction = 0;
    if (!text_date(t, &d) || !text_char(t, 'T') || !text_digits(t, 2, 2, &hour) ||
        !text_char(t, ':') || !text_digits(t, 2, 2, &minute) || !text_char(t, ':') ||
        !text_digits(t, 2, 2, &second))
        return false;
    if (text_char(t, '.')) {
        int n = text_digits(t, 1, 9, &fraction);
        if (!n)
            return false;
        for (; n < 9; n++)
            fraction *= 10;
    }
    if (!text_char(t, 'Z') || t->at != t->end || hour > 23 || minute > 59 || second > 59)
        return false;
    *sec = days_of(d) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    *nsec = (uint32_t)fraction;
    return true;
}

/* Cell to raw */

static void raw_float(struct buf *out, double v)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_append(out, text, strlen(text));
}

static void raw_item(const struct item *it, const struct type *t, struct buf *out)
{
    switch (it->kind) {
    case ITEM_INT:
        if (t->kind == TYPE_FLOAT)
            raw_float(out, (double)it->integer);
        else
            buf_printf(out, "%" PRId64, it->integer);
        break;
    case ITEM_FLOAT: raw_float(out, it->real); break;
    case ITEM_BOOL: buf_append(out, it->boolean ? "1" : "0", 1); break;
    case ITEM_STR:
    case ITEM_BIN: buf_append(out, it->bytes.p, it->bytes.len); break;
    case ITEM_TIME: raw_time(out, it->time.sec, it->time.nsec); break;
    case ITEM_NIL: buf_append(out, &(uint8_t){RAW_NULL}, 1); break;
    case ITEM_UINT:
    case ITEM_EXT:
    case ITEM_ARRAY:
    case ITEM_MAP: break; /* only in packed types */
    }
}

void layout_raw(const struct type *t, const struct cell *c, struct buf *out)
{
    const struct cell *value = c->kind == CELL_RECORD ? &c->record->pk : c;
    if (!cell_is_value(value))
        return;
    size_t len;
    const uint8_t *bytes = cell_bytes(value, &len);
    if (is_packed(t)) {
        buf_append(out, bytes, len);
        return;
    }
    struct cursor in = cursor_of(bytes, len);
    struct item it;
    if (cursor_next(&in, &it) == 0)
        raw_item(&it, bare(t), out);
}

/* Raw to cell */

static int corrupt(struct fault *f, const struct type *t, const char *expected, const char *raw,
                   size_t len)
{
    char name[TYPE_NAME_MAX];
    return fault_set(f, FAULT_CORRUPT, "%s expected (%s), found \"%.*s\"%s (%zu bytes)",
                     type_name(t, name, sizeof(name)), expected,
                     (int)(len < FOUND_MAX ? len : FOUND_MAX), raw, len > FOUND_MAX ? "..." : "",
                     len);
}

/* As strict as Redis: no sign but '-', no leading zero, no "-0". */
static bool parse_int(const char *raw, size_t len, int64_t *v)
{
    char text[24];
    if (len == 0 || len >= sizeof(text))
        return false;
    const char *digits = raw + (raw[0] == '-');
    size_t n = (size_t)(raw + len - digits);
    if (n == 0 || (digits[0] == '0' && len > 1))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(digits[i]))
            return false;
    }
    memcpy(text, raw, len);
    text[len] = '\0';
    errno = 0;
    *v = strtoll(text, NULL, 10);
    return errno == 0;
}

/* HINCRBYFLOAT writes up to 17 digits behind the point and never an exponent, which makes 1e300
 * three hundred digits long. */
static bool parse_float(const char *raw, size_t len, double *v)
{
    char text[512];
    if (len == 0 || len >= sizeof(text))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(raw[i]) && !strchr("+-.eE", raw[i]))
            return false;
    }
    memcpy(text, raw, len);
    text[len] = '\0';
    char *end;
    *v = strtod(text, &end);
    return end == text + len && isfinite(*v);
}

static struct cell cell_of_buf(struct buf *b)
{
    struct cell c = cell_value(b->data, b->len);
    buf_free(b);
    return c;
}

static struct cell cell_bin(const char *raw, size_t len)
{
    struct buf b = BUF_INIT;
    pack_bin(&b, raw, len);
    return cell_of_buf(&b);
}

static struct cell cell_time(int64_t sec, uint32_t nsec)
{
    struct buf b = BUF_INIT;
    pack_time(&b, sec, nsec);
    return cell_of_buf(&b);
}

static int parse_packed(const struct type *t, const char *raw, size_t len, struct cell *out,
                        struct fault *f)
{
    struct scan scan;
    struct fault inner = {0};
    scan_init(&scan, len);
    if (len == 0 || scan_run(&scan, (const uint8_t *)raw, len, &inner) != SCAN_DONE ||
        scan.at != len)
        return corrupt(f, t, "exactly one MessagePack value", raw, len);
    struct cursor in = cursor_of(raw, len);
    struct buf b = BUF_INIT;
    if (value_check(t, &in, &b, "value", &inner) < 0) {
        char name[TYPE_NAME_MAX];
        buf_free(&b);
        return fault_set(f, FAULT_CORRUPT, "%s expected: %s", type_name(t, name, sizeof(name)),
                         inner.text);
    }
    *out = cell_of_buf(&b);
    return 0;
}

static int parse_str(const struct type *t, const char *raw, size_t len, struct cell *out,
                     struct fault *f)
{
    if (!utf8_valid(raw, len))
        return corrupt(f, t, "UTF-8", raw, len);
    *out = cell_str(raw, len);
    return 0;
}

static int parse_scalar(const struct type *t, const char *raw, size_t len, struct cell *out,
                        struct fault *f)
{
    int64_t integer;
    uint32_t nsec;
    double real;
    switch (bare(t)->kind) {
    case TYPE_INT:
        if (!parse_int(raw, len, &integer))
            return corrupt(f, t, "64 bits in decimal", raw, len);
        *out = cell_int(integer);
        return 0;
    case TYPE_FLOAT:
        if (!parse_float(raw, len, &real))
            return corrupt(f, t, "a finite number in decimal", raw, len);
        *out = cell_float(real);
        return 0;
    case TYPE_BOOL:
        if (len != 1 || (raw[0] != '0' && raw[0] != '1'))
            return corrupt(f, t, "1 or 0", raw, len);
        *out = cell_value(raw[0] == '1' ? "\xc3" : "\xc2", 1);
        return 0;
    case TYPE_DATETIME:
        if (!text_time(&(struct text){raw, raw + len}, &integer, &nsec))
            return corrupt(f, t, "like 2024-01-31T23:59:59.5Z", raw, len);
        *out = cell_time(integer, nsec);
        return 0;
    case TYPE_BYTES: *out = cell_bin(raw, len); return 0;
    default: return parse_str(t, raw, len, out, f); /* str, and the pk of an element */
    }
}

int layout_parse(const struct type *t, const void *raw, size_t len, struct cell *out,
                 struct fault *f)
{
    const char *s = len ? raw : "";
    if (is_packed(t))
        return parse_packed(t, s, len, out, f);
    if (t->kind == TYPE_OPTIONAL && len == 1 && (uint8_t)s[0] == RAW_NULL) {
        *out = cell_nil();
        return 0;
    }
    return parse_scalar(t, s, len, out, f);
}
