/* calendar: see calendar.h. */
#include "protocol/calendar.h"
#include <inttypes.h>
#include <string.h>

#define DAY_SECONDS 86400

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

void calendar_write(int64_t sec, uint32_t nsec, struct buf *out)
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

bool calendar_read(const char *s, size_t len, int64_t *sec, uint32_t *nsec)
{
    struct text here = {s, s + len}, *t = &here;
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
