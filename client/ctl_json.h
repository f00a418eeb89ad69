/* ctl_json: JSON text of the command line as MessagePack.
 *
 * {"$bytes": "base64"} is a bin, {"$time": "2024-01-31T12:00:00Z"} a timestamp, as rapyer_to_json
 * writes them, and {"$map": [[key, value], ...]} a map with whatever keys (json.h).
 */
#ifndef RAPYER_CLIENT_CTL_JSON_H
#define RAPYER_CLIENT_CTL_JSON_H

#include "protocol/buf.h"
#include <stddef.h>
#include <stdint.h>

#define CTL_JSON_ERROR_MAX 256

/* Appends the one value of the text. -1: error says what is wrong with it. */
int ctl_json_value(const char *text, size_t len, struct buf *out, char error[CTL_JSON_ERROR_MAX]);
/* Appends the items of an array, or the one value that is none, and counts them. */
int ctl_json_items(const char *text, size_t len, struct buf *out, uint32_t *count,
                   char error[CTL_JSON_ERROR_MAX]);

#endif
