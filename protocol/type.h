/* type: types from their text, for schema.c. A type is one block of memory that holds the whole
 * chain ("dict<list<int>>" is three of them in a row) and is freed by free().
 */
#ifndef RAPYER_PROTOCOL_TYPE_H
#define RAPYER_PROTOCOL_TYPE_H

#include "protocol/schema.h"

/* Parses a type. Names that are not built in are looked up by find. -1: BAD_SCHEMA for the form,
 * UNKNOWN_MODEL when find gives NULL; the text begins with `where` ("field 'x' of model 'M'"). A
 * fault that find itself has set is left as it is. */
typedef const struct model *type_find(void *arg, const char *name, size_t len, struct fault *f);
int type_parse(const char *text, size_t len, type_find *find, void *arg, const char *where,
               struct type **out, struct fault *f);

/* Where a list, dict or optional of atomic models is within another one, the outer one gets the
 * model that wraps it, which `wrap` gives for the inner type. Once for each type that was parsed.
 */
typedef const struct model *type_wrapper(void *arg, const struct type *inner);
void type_wrap(struct type *t, type_wrapper *wrap, void *arg);
/* A copy of its own. */
struct type *type_copy(const struct type *t);

/* Whether a name is that of a built-in type, so that no model may have it. */
bool type_reserved(const char *name, size_t len);

bool type_equal(const struct type *a, const struct type *b);

/* Whether a field of type `narrow` can become one of type `wide`: all values that it may have are
 * good ones then, and their text in Redis is read as what it was. So T becomes optional<T>, but not
 * where null takes another form of storing (bytes, containers, atomic models), and int float. */
bool type_covers(const struct type *wide, const struct type *narrow);

/* The narrowest type that covers both, of which neither covers the other, but both cover a third:
 * one of them has the null, the other the fractions. */
struct type *type_join(const struct type *a, const struct type *b);

/* What a field of the type can become, "float or optional<int>"; "" when nothing. */
#define TYPE_WIDER_MAX (TYPE_NAME_MAX + 64)
const char *type_wider(const struct type *t, char *out, size_t size);

/* The model at the end of the chain, through those that wrap; or NULL. */
const struct model *type_model(const struct type *t);

#endif
