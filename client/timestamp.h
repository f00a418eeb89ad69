/* timestamp: points in time as ISO 8601 text, "2024-01-31T12:00:00.5Z". */
#ifndef RAPYER_CLIENT_TIMESTAMP_H
#define RAPYER_CLIENT_TIMESTAMP_H

#include <stddef.h>
#include <stdint.h>

#define TIMESTAMP_MAX 48 /* bytes of the text, with its NUL */

/* Date, 'T' or a space, hours:minutes[:seconds[.fraction]], Z or an offset +02:00; a date alone is
 * its midnight, a text without offset is UTC. -1: something else. */
int timestamp_parse(const char *s, size_t len, int64_t *sec, uint32_t *nsec);
/* Writes it with Z, the fraction only when there is one. Years outside of 0..9999 are written as
 * they come. Returns out. */
const char *timestamp_text(int64_t sec, uint32_t nsec, char out[TIMESTAMP_MAX]);

#endif
