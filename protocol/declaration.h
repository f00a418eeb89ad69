/* declaration: the wire form of a model, read and checked by itself, for schema.c. */
#ifndef RAPYER_PROTOCOL_DECLARATION_H
#define RAPYER_PROTOCOL_DECLARATION_H

#include "protocol/schema.h"

/* Owns what its model points to. depth, slots, number and index are not filled in. */
struct declaration {
    struct model model;
    int64_t revision; /* as declared, 0: not */
    /* Whether a model is only named yet, and nothing may hold it; NULL: none is. */
    bool (*unread)(void *arg, const struct model *m);
    void *arg;
    bool waits; /* refused because of such a one */
};

/* What a declaration is about. */
struct declared {
    const char *name; /* in it */
    size_t len;
    bool atomic;
};
int declaration_head(struct cursor *in, struct declared *out, struct fault *f);

/* Moves *in past the declaration. Types are resolved in s. -1 as schema_define; *d is then
 * empty. */
int declaration_read(const struct schema *s, struct cursor *in, struct declaration *d,
                     struct fault *f);

/* Frees what a field or a model points to, not the struct itself. */
void field_clear(struct field *field);
void model_clear(struct model *m);

/* Builds m->index for its fields. */
void model_index(struct model *m);

/* The model that wraps an inner type (type_within); made where there was none. */
const struct model *schema_wrapper(void *schema, const struct type *inner);

#endif
