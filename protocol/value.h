/* value: checks one wire value against its type and writes it in canonical form.
 *
 * Canonical: one encoding per value, so that equal values are equal bytes. Integers in their
 * shortest form, floats as float64, str checked as UTF-8, timestamps shortest, no duplicate map
 * keys, plain models with their fields in declared order, defaults filled in, no unknown ones.
 * Atomic models are not values; record.h builds them.
 */
#ifndef RAPYER_PROTOCOL_VALUE_H
#define RAPYER_PROTOCOL_VALUE_H

#include "protocol/schema.h"

/* Containers an `any` may nest; in a declared type it counts as that many. */
#define VALUE_ANY_DEPTH 20
/* Bytes of a canonical value: bounds what defaults can make of a small input. */
#define VALUE_MAX_BYTES (64u << 20)

/* Reads one value from *in (moves it past the value) and appends its canonical form to *out.
 * `where` is the path so far, for messages ("items[0].price"); the message for a fault inside a
 * composite value goes on from there. Integers may fill a float's place; nothing else converts.
 * -1: BAD_TYPE (path, expected, found), BAD_VALUE (UTF-8, NaN, infinity, duplicate key, missing
 * field), OUT_OF_RANGE (an int above INT64_MAX, a datetime outside the
 * years 1 to 9999), UNKNOWN_FIELD, TOO_LARGE; *out is as it was. */
int value_check(const struct type *t, struct cursor *in, struct buf *out, const char *where,
                struct fault *f);

/* Bytes that one str, bytes or composite value given by a client may have, for the whole process;
 * 0, as at the start: no limit below VALUE_MAX_BYTES. What lies in Redis already is not held to
 * it, so that it can be lowered. */
void value_set_limit(size_t bytes);
/* Whether a canonical value keeps to it; of a str or bytes the content counts. -1: TOO_LARGE. */
int value_check_limit(const struct buf *value, const char *where, struct fault *f);

#endif
