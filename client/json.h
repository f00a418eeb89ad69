/* json: a value as JSON text (rapyer_to_json). */
#ifndef RAPYER_CLIENT_JSON_H
#define RAPYER_CLIENT_JSON_H

#include "client/include/rapyer.h"
#include "protocol/buf.h"

void json_value(struct buf *out, const rapyer_value *v);
/* The same so that it can be read back as what it was, whatever it holds: a map with keys that are
 * no str or hold a NUL, or that looks like one of these, is {"$map": [[key, value], ...]}. */
void json_exact(struct buf *out, const rapyer_value *v);
void json_text(struct buf *out, const char *s, size_t len); /* quoted and escaped */

#endif
