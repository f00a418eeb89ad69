/* embed: drafts inside of values: %p in the template of an operation.
 *
 * The draft is packed into the value, and where it will be is worked out from the schema: an
 * element of a list is found by its pk, an entry of a dict by its key, a model in a field by the
 * field's name. Once the operation is done the drafts move there.
 */
#ifndef RAPYER_CLIENT_EMBED_H
#define RAPYER_CLIENT_EMBED_H

#include "client/handle.h"
#include "client/template.h"
#include "protocol/op.h"

struct move {
    struct home *what; /* a reference */
    char *path;        /* where it will be in the target */
    bool element;      /* in a list or dict: keeps its pk */
};

struct moves {
    struct move *all;
    size_t n;
};

/* Where the values of a template go. */
struct embedding {
    struct home *home;         /* the target */
    const struct model *model; /* of the target, NULL: not declared here */
    const char *path;          /* of the place the operation names */
    size_t path_len;
    enum op_into into;
    const char *key; /* INTO_ENTRY */
    struct moves *moves;
};

/* The template_embed for values and drafts; arg is a struct embedding. */
int embed_draft(void *arg, void *p, const struct template_spot *spot, struct buf *out,
                struct fault *f);

void moves_done(struct moves *m, struct home *to); /* the operation was done; frees the list */
void moves_free(struct moves *m);                  /* it was not */
void moves_hold(struct moves *m, bool in_flight);

/* document.c: makes h the draft of a packed map; takes h and moves. NULL: error with db. model as
 * in rapyer_new. */
rapyer_doc *draft_of(rapyer *db, const char *model, struct buf *map, struct home *h,
                     struct moves *moves);

#endif
