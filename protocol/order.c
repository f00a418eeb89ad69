/* order: see order.h. */
#include "protocol/order.h"
#include "protocol/calendar.h"
#include "protocol/decimal.h"
#include <string.h>

#define ZONE 6 /* bytes of "+02:00" */

/* Less than 0, 0, more than 0. */
#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

bool type_ordered(const struct type *t)
{
    switch (t->kind) {
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_STR:
    case TYPE_BYTES:
    case TYPE_DATETIME:
    case TYPE_DECIMAL:
    case TYPE_DATE:
    case TYPE_TIME:
    case TYPE_TIMEDELTA:
    case TYPE_NAIVE:
    case TYPE_ZONED: return true;
    default: return false;
    }
}

static int order_bytes(const struct item *a, const struct item *b)
{
    uint32_t both = a->bytes.len < b->bytes.len ? a->bytes.len : b->bytes.len;
    int by = both > 0 ? memcmp(a->bytes.p, b->bytes.p, both) : 0;
    return by != 0 ? by : ORDER(a->bytes.len, b->bytes.len);
}

static int order_moments(int64_t a_sec, uint32_t a_nsec, int64_t b_sec, uint32_t b_nsec)
{
    return a_sec != b_sec ? ORDER(a_sec, b_sec) : ORDER(a_nsec, b_nsec);
}

static int order_decimals(const struct item *a, const struct item *b)
{
    struct decimal x = {0}, y = {0};
    decimal_read((const char *)a->bytes.p, a->bytes.len, &x);
    decimal_read((const char *)b->bytes.p, b->bytes.len, &y);
    int x_sign = ORDER(x.digits, 0), y_sign = ORDER(y.digits, 0);
    /* With as many digits behind the point. What does not fit then has more digits than the other
     * can have. */
    for (; x.scale < y.scale; x.scale++)
        if (__builtin_mul_overflow(x.digits, 10, &x.digits))
            return x_sign;
    for (; y.scale < x.scale; y.scale++)
        if (__builtin_mul_overflow(y.digits, 10, &y.digits))
            return -y_sign;
    return ORDER(x.digits, y.digits);
}

/* "2024-01-31T23:59:59.5+02:00", in its one form. */
static void moment_of(const struct item *zoned, int64_t *sec, uint32_t *nsec)
{
    char text[64];
    *sec = *nsec = 0;
    if (zoned->bytes.len < ZONE || zoned->bytes.len > sizeof text)
        return;
    size_t len = zoned->bytes.len - ZONE;
    const char *zone = (const char *)zoned->bytes.p + len;
    memcpy(text, zoned->bytes.p, len);
    text[len] = 'Z';
    calendar_read(text, len + 1, sec, nsec);
    int64_t minutes =
        ((zone[1] - '0') * 10 + zone[2] - '0') * 60 + (zone[4] - '0') * 10 + zone[5] - '0';
    *sec -= (zone[0] == '-' ? -60 : 60) * minutes;
}

/* A long double has all of both. */
static long double number_of(const struct item *it)
{
    return it->kind == ITEM_FLOAT ? (long double)it->real : (long double)it->integer;
}

static int order_numbers(const struct item *a, const struct item *b)
{
    return ORDER(number_of(a), number_of(b));
}

int value_order(const struct type *t, const struct item *a, const struct item *b)
{
    int64_t a_sec, b_sec;
    uint32_t a_nsec, b_nsec;
    switch (t->kind) {
    case TYPE_INT:
    case TYPE_FLOAT: return order_numbers(a, b);
    case TYPE_BOOL: return a->boolean - b->boolean;
    case TYPE_DATETIME: return order_moments(a->time.sec, a->time.nsec, b->time.sec, b->time.nsec);
    case TYPE_DECIMAL:
    case TYPE_TIMEDELTA: return order_decimals(a, b);
    case TYPE_ZONED:
        moment_of(a, &a_sec, &a_nsec);
        moment_of(b, &b_sec, &b_nsec);
        return order_moments(a_sec, a_nsec, b_sec, b_nsec);
    default: return order_bytes(a, b); /* a fraction of seconds that is longer is more */
    }
}
