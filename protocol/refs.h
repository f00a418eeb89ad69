/* refs: the references (ref<Model>) in documents, and in what models may hold.
 *
 * Where in a document one stands is said by the names of fields alone, "posts.author": through
 * lists, dicts and their like, whatever index or key is on the way.
 */
#ifndef RAPYER_PROTOCOL_REFS_H
#define RAPYER_PROTOCOL_REFS_H

#include "protocol/cursor.h"
#include "protocol/schema.h"

/* Names of fields; n 0: all. A list of them takes in what is at each of the places and below. */
struct ref_fields {
    struct cursor names; /* n str */
    uint32_t n;
    bool texts; /* a str at such a place is taken for a reference as well */
};

/* Reads a list of names, of one at least, and moves *in behind it. -1: it is none. */
int ref_fields_read(struct cursor *in, struct ref_fields *fields);

/* Calls visit with the key of each reference in a document of the model, in its wire form (a map),
 * that the fields take in. */
void refs_each(const struct model *m, struct cursor document, const struct ref_fields *fields,
               void (*visit)(void *arg, const char *key, size_t len), void *arg);

/* Whether each of the fields may hold references in a document of m, or in one that lies up to
 * `depth` - 1 references away. BAD_PATH names one that does not. */
int refs_check(const struct schema *s, const struct model *m, const struct ref_fields *fields,
               unsigned depth, struct fault *f);

#endif
