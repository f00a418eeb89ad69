/* decimal: see decimal.h. */
#include "protocol/decimal.h"

/* 10^38 fits; 2 * 10^38 does not. */
static bool fits(__int128 digits)
{
    const __int128 limit = (__int128)10000000000000000000ULL * 10000000000000000000ULL;
    return digits > -limit && digits < limit;
}

bool decimal_read(const char *s, size_t len, struct decimal *d)
{
    size_t i = len && s[0] == '-', begin = i, point = len;
    unsigned n = 0;
    *d = (struct decimal){0};
    for (; i < len; i++) {
        if (s[i] == '.' && point == len && i > begin) {
            point = i;
            continue;
        }
        if (s[i] < '0' || s[i] > '9' || ++n > DECIMAL_DIGITS)
            return false;
        d->digits = d->digits * 10 + (s[i] - '0');
    }
    size_t whole = point - begin;
    if (whole == 0 || point + 1 == len || (whole > 1 && s[begin] == '0'))
        return false;
    d->scale = point < len ? (unsigned)(len - point - 1) : 0;
    if (begin)
        d->digits = -d->digits;
    return true;
}

void decimal_write(struct decimal d, struct buf *text)
{
    char digits[DECIMAL_DIGITS * 2 + 4], *at = digits + sizeof digits;
    bool negative = d.digits < 0;
    unsigned __int128 rest = negative ? -(unsigned __int128)d.digits : (unsigned __int128)d.digits;
    unsigned n = 0;
    do {
        if (n == d.scale && n > 0)
            *--at = '.';
        *--at = (char)('0' + (int)(rest % 10));
        rest /= 10;
        n++;
    } while (rest || n <= d.scale);
    if (negative)
        *--at = '-';
    buf_append(text, at, (size_t)(digits + sizeof digits - at));
}

static bool raise(struct decimal *d, unsigned scale)
{
    for (; d->scale < scale; d->scale++) {
        if (__builtin_mul_overflow(d->digits, 10, &d->digits) || !fits(d->digits))
            return false;
    }
    return true;
}

static bool align(struct decimal *a, struct decimal *b)
{
    return raise(a, b->scale) && raise(b, a->scale);
}

bool decimal_add(struct decimal a, struct decimal b, struct decimal *out)
{
    if (!align(&a, &b))
        return false;
    *out = (struct decimal){a.digits + b.digits, a.scale};
    return fits(out->digits);
}

/* Zeros at the end that nobody gave go, as far as `scale`. */
static struct decimal shorten(struct decimal d, unsigned scale)
{
    for (; d.scale > scale && d.digits % 10 == 0; d.scale--)
        d.digits /= 10;
    return d;
}

bool decimal_mul(struct decimal a, struct decimal b, struct decimal *out)
{
    out->scale = a.scale + b.scale;
    if (__builtin_mul_overflow(a.digits, b.digits, &out->digits))
        return false;
    *out = shorten(*out, 0);
    return fits(out->digits) && out->scale < DECIMAL_DIGITS;
}

bool decimal_div(struct decimal a, struct decimal b, struct decimal *out)
{
    unsigned scale = 0;
    if (!align(&a, &b))
        return false;
    while (a.digits % b.digits != 0) {
        if (++scale >= DECIMAL_DIGITS || __builtin_mul_overflow(a.digits, 10, &a.digits))
            return false;
    }
    *out = (struct decimal){a.digits / b.digits, scale};
    return fits(out->digits);
}

bool decimal_floordiv(struct decimal a, struct decimal b, struct decimal *quotient,
                      struct decimal *rest)
{
    if (!align(&a, &b))
        return false;
    __int128 q = a.digits / b.digits, r = a.digits % b.digits;
    if (r != 0 && (r < 0) != (b.digits < 0)) {
        q--;
        r += b.digits;
    }
    *quotient = (struct decimal){q, 0};
    *rest = (struct decimal){r, a.scale};
    return true;
}
