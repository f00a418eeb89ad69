/* template: relaxed JSON with printf placeholders, packed as MessagePack.
 *
 * The grammar is in rapyer.h. Arguments are values, never text to be parsed.
 */
#ifndef RAPYER_CLIENT_TEMPLATE_H
#define RAPYER_CLIENT_TEMPLATE_H

#include "protocol/buf.h"
#include "protocol/fault.h"
#include "protocol/scan.h"
#include <stdarg.h>

#define TEMPLATE_MAX_DEPTH (SCAN_MAX_DEPTH - 4) /* the envelope needs the rest */

/* The way from the value's root to a %p. */
struct template_step {
    bool is_key;
    size_t key_at, key_len; /* bytes in the output */
    uint32_t index;
};

struct template_spot {
    unsigned argument; /* which of a sequence's values */
    unsigned nsteps;
    const struct template_step *steps;
};

/* What a %p stands for: packs exactly one value to *out. -1: *f says why, or has no code. */
typedef int template_embed(void *arg, void *p, const struct template_spot *spot, struct buf *out,
                           struct fault *f);

/* One value. fmt without placeholders may come with ap NULL. embed NULL: %p is refused.
 * -1: BAD_REQUEST with the offset; *out has then to be cut back by the caller. */
int template_value(const char *fmt, va_list *ap, template_embed *embed, void *arg, struct buf *out,
                   struct fault *f);
/* None or more values with commas between; fmt may be NULL. */
int template_values(const char *fmt, va_list *ap, template_embed *embed, void *arg, struct buf *out,
                    uint32_t *count, struct fault *f);

/* The one value at *at, which is moved behind it, in the text of an expression
 * (expression_text.h). There dates and times need no quotes: 2024-01-31, 2024-01-31T12:00:00 and
 * 12:00 are texts, as their types have them, and with Z or an offset behind it is a datetime. ap
 * NULL: no placeholders, and % in quotes is a character as any other. */
int template_operand(const char *text, const char **at, va_list *ap, struct buf *out,
                     struct fault *f);

/* The template_embed for values alone: *p is a rapyer_value. */
int embed_value(void *arg, void *p, const struct template_spot *spot, struct buf *out,
                struct fault *f);

/* A path with placeholders: [%d] an index, [%s] a key or pk (quoted as needed), %s a name. */
int template_path(const char *fmt, va_list *ap, struct buf *out, struct fault *f);

#endif
