/* decimal: exact numbers as text, "-12.50": a sign, digits, and digits behind the point, as many as
 * were given. Up to 38 digits in all.
 */
#ifndef RAPYER_PROTOCOL_DECIMAL_H
#define RAPYER_PROTOCOL_DECIMAL_H

#include "protocol/buf.h"
#include <stdbool.h>
#include <stddef.h>

struct decimal {
    __int128 digits; /* the number without its point */
    unsigned scale;  /* digits behind it */
};

#define DECIMAL_DIGITS 38

/* False: it is not written like that, or has too many digits. No exponent, no leading zeros but one
 * before the point. */
bool decimal_read(const char *text, size_t len, struct decimal *d);
void decimal_write(struct decimal d, struct buf *text);

/* False: the outcome has too many digits. */
bool decimal_add(struct decimal a, struct decimal b, struct decimal *out);
bool decimal_mul(struct decimal a, struct decimal b, struct decimal *out);
/* b is not 0. False: a / b has no end, or too many digits. */
bool decimal_div(struct decimal a, struct decimal b, struct decimal *out);
/* Rounded towards minus infinity; the remainder has the sign of b. */
bool decimal_floordiv(struct decimal a, struct decimal b, struct decimal *quotient,
                      struct decimal *rest);

#endif
