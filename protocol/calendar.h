/* calendar: points in time as text, "2024-01-31T23:59:59.5Z", in the years 1 to 9999.
 *
 * The Gregorian calendar, also before 1582. No function of libc: those go by time zones and by
 * the locale, and this must read the same everywhere.
 */
#ifndef RAPYER_PROTOCOL_CALENDAR_H
#define RAPYER_PROTOCOL_CALENDAR_H

#include "protocol/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALENDAR_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z, in seconds since 1970 */
#define CALENDAR_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

/* The fraction has as many digits as it needs, and is left out when it is 0. */
void calendar_write(int64_t sec, uint32_t nsec, struct buf *text);
/* False: it is not written like that, or no such day. */
bool calendar_read(const char *text, size_t len, int64_t *sec, uint32_t *nsec);

#endif
