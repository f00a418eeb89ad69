/* timestamp: see timestamp.h. Calendar arithmetic of its own: timegm depends on nothing, but
 * strptime does on the locale. */
#include "client/timestamp.h"
#include "client/include/rapyer.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct text {
    const char *at, *end;
};

static int digits(struct text *t, int n, int *out)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (t->at == t->end || !isdigit((unsigned char)*t->at))
            return -1;
        v = v * 10 + (*t->at++ - '0');
    }
    *out = v;
    return 0;
}

static int symbol(struct text *t, const char *any)
{
    if (t->at == t->end || !*t->at || !strchr(any, *t->at))
        return -1;
    return *t->at++;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static int fraction(struct text *t, uint32_t *nsec)
{
    uint32_t unit = 100000000, sum = 0;
    const char *begin = t->at;
    while (t->at != t->end && isdigit((unsigned char)*t->at)) {
        sum += unit * (uint32_t)(*t->at++ - '0');
        unit /= 10;
    }
    *nsec = sum;
    return t->at == begin ? -1 : 0;
}

/* hours:minutes[:seconds[.fraction]], checked. */
static int clock_part(struct text *t, struct tm *tm, uint32_t *nsec)
{
    if (digits(t, 2, &tm->tm_hour) < 0 || symbol(t, ":") < 0 || digits(t, 2, &tm->tm_min) < 0)
        return -1;
    if (t->at != t->end && *t->at == ':') {
        t->at++;
        if (digits(t, 2, &tm->tm_sec) < 0)
            return -1;
        if (t->at != t->end && *t->at == '.') {
            t->at++;
            if (fraction(t, nsec) < 0)
                return -1;
        }
    }
    return tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 59 ? -1 : 0;
}

static int offset_part(struct text *t, int64_t *offset)
{
    int sign, hours, minutes;
    if (t->at == t->end)
        return 0;
    if ((sign = symbol(t, "Zz+-")) < 0)
        return -1;
    if (sign == 'Z' || sign == 'z')
        return 0;
    if (digits(t, 2, &hours) < 0)
        return -1;
    if (t->at != t->end && *t->at == ':')
        t->at++;
    if (digits(t, 2, &minutes) < 0 || hours > 23 || minutes > 59)
        return -1;
    *offset = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return 0;
}

int timestamp_parse(const char *s, size_t len, int64_t *sec, uint32_t *nsec)
{
    struct text t = {s, s + len};
    struct tm tm = {0};
    int64_t offset = 0;
    uint32_t fine = 0;
    int year, month, day;
    if (digits(&t, 4, &year) < 0 || symbol(&t, "-") < 0 || digits(&t, 2, &month) < 0 ||
        symbol(&t, "-") < 0 || digits(&t, 2, &day) < 0)
        return -1;
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month))
        return -1;
    if (t.at != t.end &&
        (symbol(&t, "Tt ") < 0 || clock_part(&t, &tm, &fine) < 0 || offset_part(&t, &offset) < 0))
        return -1;
    if (t.at != t.end)
        return -1;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    *sec = (int64_t)timegm(&tm) - offset;
    *nsec = fine;
    return 0;
}

const char *timestamp_text(int64_t sec, uint32_t nsec, char out[TIMESTAMP_MAX])
{
    struct tm tm = {0};
    time_t t = (time_t)sec;
    if (!gmtime_r(&t, &tm)) { /* a year that an int does not hold */
        snprintf(out, TIMESTAMP_MAX, "@%lld", (long long)sec);
        return out;
    }
    int n = snprintf(out, TIMESTAMP_MAX, "%04lld-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900LL,
                     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (nsec) {
        n += snprintf(out + n, TIMESTAMP_MAX - (size_t)n, ".%09u", nsec);
        while (out[n - 1] == '0')
            n--;
    }
    out[n++] = 'Z';
    out[n] = '\0';
    return out;
}

const char *rapyer_now(void)
{
    static _Thread_local char text[TIMESTAMP_MAX];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return timestamp_text(now.tv_sec, (uint32_t)now.tv_nsec / 1000 * 1000, text);
}
