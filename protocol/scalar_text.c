/* scalar_text: the scalars that are a text of some form, on the wire as in Redis (scalar.h).
 *
 *   decimal     "-12.50"                     exact, see decimal.h
 *   date        "2024-01-31"
 *   time        "23:59:59.5"
 *   timedelta   "-90.5"                      seconds, to nine digits behind the point
 *   naive       "2024-01-31T23:59:59.5"      a datetime of no time zone
 *   zoned       "2024-01-31T23:59:59.5+02:00" one that keeps its offset
 *   uuid        "0b4ac3d2-..."               in lower case
 *   enum<a|b>   "a"                          one of the names
 *   ref<Model>  "Model:pk"                   the key of a document, there or not
 *
 * Each has one form only, so that equal values are equal bytes.
 */
#include "protocol/scalar_text.h"
#include "protocol/calendar.h"
#include "protocol/decimal.h"
#include "protocol/path.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Appends the one form of a text; false: it is none of this type. */
typedef bool form_fn(const struct type *t, const char *s, size_t len, struct buf *out);

static bool form_decimal(const struct type *t, const char *s, size_t len, struct buf *out)
{
    struct decimal d;
    (void)t;
    if (!decimal_read(s, len, &d))
        return false;
    decimal_write(d, out); /* without the sign of a zero */
    return true;
}

static bool form_date(const struct type *t, const char *s, size_t len, struct buf *out)
{
    char whole[32];
    int64_t sec;
    uint32_t nsec;
    (void)t;
    if (len != 10)
        return false;
    snprintf(whole, sizeof whole, "%.10sT00:00:00Z", s);
    if (!calendar_read(whole, strlen(whole), &sec, &nsec))
        return false;
    buf_append(out, s, len);
    return true;
}

/* A datetime without what stands behind its seconds. */
static bool moment(const char *s, size_t len, int64_t *sec, uint32_t *nsec)
{
    char whole[64];
    if (len < 8 || len > 40)
        return false;
    snprintf(whole, sizeof whole, "%.*sZ", (int)len, s);
    return calendar_read(whole, len + 1, sec, nsec);
}

static void write_moment(int64_t sec, uint32_t nsec, struct buf *out)
{
    calendar_write(sec, nsec, out);
    out->len--; /* the Z */
}

static bool form_time(const struct type *t, const char *s, size_t len, struct buf *out)
{
    char whole[64];
    int64_t sec;
    uint32_t nsec;
    struct buf text = BUF_INIT;
    (void)t;
    if (len < 8 || len > 20)
        return false;
    snprintf(whole, sizeof whole, "1970-01-01T%.*s", (int)len, s);
    if (!moment(whole, strlen(whole), &sec, &nsec))
        return false;
    write_moment(sec, nsec, &text);
    buf_append(out, text.data + 11, text.len - 11);
    buf_free(&text);
    return true;
}

static bool form_timedelta(const struct type *t, const char *s, size_t len, struct buf *out)
{
    struct decimal d;
    (void)t;
    if (!decimal_read(s, len, &d) || d.scale > 9)
        return false;
    for (; d.scale > 0 && d.digits % 10 == 0; d.scale--)
        d.digits /= 10;
    decimal_write(d, out);
    return true;
}

static bool form_naive(const struct type *t, const char *s, size_t len, struct buf *out)
{
    int64_t sec;
    uint32_t nsec;
    (void)t;
    if (!moment(s, len, &sec, &nsec))
        return false;
    write_moment(sec, nsec, out);
    return true;
}

/* "+02:00"; Z is the same as +00:00. */
static bool form_zoned(const struct type *t, const char *s, size_t len, struct buf *out)
{
    int hours, minutes, end = 0;
    char zone[8];
    if (len > 1 && s[len - 1] == 'Z') {
        if (!form_naive(t, s, len - 1, out))
            return false;
        buf_append(out, "+00:00", 6);
        return true;
    }
    if (len < 7)
        return false;
    snprintf(zone, sizeof zone, "%.6s", s + len - 6);
    if ((zone[0] != '+' && zone[0] != '-') ||
        sscanf(zone + 1, "%2d:%2d%n", &hours, &minutes, &end) != 2 || end != 5 || hours > 23 ||
        minutes > 59 || hours < 0 || minutes < 0 || !form_naive(t, s, len - 6, out))
        return false;
    if (hours == 0 && minutes == 0)
        zone[0] = '+';
    buf_append(out, zone, 6);
    return true;
}

static bool form_uuid(const struct type *t, const char *s, size_t len, struct buf *out)
{
    char lower[36];
    (void)t;
    if (len != sizeof lower)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] - 'A' + 'a') : s[i];
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        lower[i] = c;
    }
    buf_append(out, lower, len);
    return true;
}

static bool form_enum(const struct type *t, const char *s, size_t len, struct buf *out)
{
    for (const char *at = t->names; *at;) {
        size_t n = strcspn(at, "|");
        if (n == len && memcmp(at, s, len) == 0) {
            buf_append(out, s, len);
            return true;
        }
        at += n + (at[n] == '|');
    }
    return false;
}

static bool form_ref(const struct type *t, const char *s, size_t len, struct buf *out)
{
    size_t n = strlen(t->names);
    struct fault ignored;
    if (len < n + 2 || memcmp(s, t->names, n) != 0 || s[n] != ':' ||
        pk_check(s + n + 1, len - n - 1, &ignored) < 0)
        return false;
    buf_append(out, s, len);
    return true;
}

static form_fn *const forms[TYPE_COUNT] = {
    [TYPE_DECIMAL] = form_decimal,     [TYPE_DATE] = form_date,   [TYPE_TIME] = form_time,
    [TYPE_TIMEDELTA] = form_timedelta, [TYPE_NAIVE] = form_naive, [TYPE_ZONED] = form_zoned,
    [TYPE_UUID] = form_uuid,           [TYPE_ENUM] = form_enum,   [TYPE_REF] = form_ref,
};

int check_text(const struct type *t, const struct item *it, struct buf *out, struct fault *f)
{
    struct buf form = BUF_INIT;
    char digits[24];
    const char *s = (const char *)it->bytes.p;
    size_t len = it->bytes.len;
    if (it->kind == ITEM_INT) { /* of those that take one */
        s = digits;
        len = (size_t)snprintf(digits, sizeof digits, "%" PRId64, it->integer);
    }
    bool good = utf8_valid(s, len) && forms[t->kind](t, s, len, &form);
    if (good)
        pack_str(out, (const char *)form.data, form.len);
    buf_free(&form);
    if (good)
        return 0;
    const char *of = t->names ? t->names : "";
    return fault_set(f, FAULT_BAD_VALUE, "'%.*s' is no %s: %s%s", (int)(len < 60 ? len : 60), s,
                     scalars[t->kind].name, scalars[t->kind].looks, of);
}

bool read_text(const struct type *t, const char *text, size_t len, struct cell *out)
{
    struct buf form = BUF_INIT;
    bool good = utf8_valid(text, len) && forms[t->kind](t, text, len, &form) && form.len == len &&
                memcmp(form.data, text, len) == 0;
    buf_free(&form);
    if (good)
        *out = cell_str(text, len);
    return good;
}

void write_text(const struct item *it, struct buf *text)
{
    buf_append(text, it->bytes.p, it->bytes.len);
}
