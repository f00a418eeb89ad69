/* expression_text: which documents are wanted, as people write it.
 *
 *   age > 30 and (city = Boston or not tags has red)
 *     ──► ["and", [">", "age", 30],
 *                 ["or", ["=", "city", "Boston"], ["not", ["has", "tags", "red"]]]]
 *
 *   either      both { "or" both }
 *   both        one { "and" one }
 *   one         "not" one | "(" either ")" | comparison
 *   comparison  path ( = | == | != | < | <= | > | >= | "in" | "prefix" | "has" ) value
 *
 * A path is settings.theme or posts[].title, a value that of a template (template.h), with its
 * placeholders. What can be compared with what is the daemon's to say.
 */
#ifndef RAPYER_CLIENT_EXPRESSION_TEXT_H
#define RAPYER_CLIENT_EXPRESSION_TEXT_H

#include "protocol/buf.h"
#include "protocol/fault.h"
#include <stdarg.h>

#define EXPRESSION_TEXT_DEPTH 64 /* of "not" and parentheses within each other */

/* Appends the expression as `find` takes it: nil for a text of nothing, or NULL. ap NULL: without
 * placeholders, and % is a character as any other. -1: BAD_REQUEST with the offset; *out has then
 * to be cut back by the caller. */
int expression_text(const char *fmt, va_list *ap, struct buf *out, struct fault *f);

#endif
