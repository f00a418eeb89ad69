/* declaration: the wire form of a model, read and checked by itself, for schema.c. */
#ifndef RAPYER_PROTOCOL_DECLARATION_H
#define RAPYER_PROTOCOL_DECLARATION_H

#include "protocol/schema.h"

/* Owns what its model points to. depth, slots, number and index are not filled in. */
struct declaration {
    struct model model;
    int64_t revision; /* as declared, 0: not */
};

/* Moves *in past the declaration. Types are resolved in s. -1 as schema_define; *d is then
 * empty. */
int declaration_read(const struct schema *s, struct cursor *in, struct declaration *d,
                     struct fault *f);

/* Frees what a field or a model points to, not the struct itself. */
void field_clear(struct field *field);
void model_clear(struct model *m);

/* Builds m->index for its fields. */
void model_index(struct model *m);

/* A chain of models from `from` to the model called `to`, "A -> B -> C", into out. False when
 * from does not contain it. `seen` has a byte for each model of the registry, 0 at first; it may
 * be passed on to the next search for the same name. */
bool model_reaches(const struct model *from, const char *to, uint8_t *seen, struct buf *out);

/* The model that wraps an inner type (type_within); made where there was none. */
const struct model *schema_wrapper(void *schema, const struct type *inner);

/* How many models there are. */
uint32_t schema_count(const struct schema *s);

#endif
