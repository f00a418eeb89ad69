/* index: by what documents can be found, as a field's declaration says it.
 *
 *   exact   =, in               the value's text
 *   range   <, <=, >, >=, =     the value as a number
 *   prefix  prefix, =           the text from its beginning
 *   tags    has                 each element of a list or set, each key of a dict
 *   unique  no two documents of a model have the same value; found as by exact
 *
 * Kinds are bits: a field may have several.
 */
#ifndef RAPYER_PROTOCOL_INDEX_H
#define RAPYER_PROTOCOL_INDEX_H

#include "protocol/schema.h"

enum index_kind {
    INDEX_EXACT = 1,
    INDEX_RANGE = 2,
    INDEX_PREFIX = 4,
    INDEX_TAGS = 8,
    INDEX_UNIQUE = 16 /* of an exact one: see above */
};

/* Reads "range", or a list of such. -1: BAD_SCHEMA; `where` begins the text. */
int index_read(struct cursor *in, uint8_t *kinds, const char *where, struct fault *f);
/* "range", of one kind. */
const char *index_kind_name(enum index_kind kind);
/* Whether a field of the model, with its default, can have them. -1: BAD_SCHEMA. */
int index_check(const struct model *m, const struct field *field, const char *where,
                struct fault *f);
/* How many pairs of the declaration say it, and these. */
uint32_t index_pairs(const struct field *field);
void index_pack(const struct field *field, struct buf *out);

/* What stands in a range index: the number that a text in Redis is, as text. False: it is none
 * (null). `text` has the form of the type. */
bool index_number(const struct type *t, const char *text, size_t len, struct buf *out);
/* Whether that takes the digits of the text, as of dates: those are written with their parts
 * from the longest to the shortest, each of one width. Else it is a number already. */
bool index_by_digits(const struct type *t);

#endif
