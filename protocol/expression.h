/* expression: which documents of a model are wanted, by what they hold.
 *
 *   ["and", ["=", "city", "Boston"], [">", "age", 30]]  ──► parse, checked against the model
 *                                                            │
 *      daemon/methods/plan: which indexes to ask ◄───────────┤
 *                               a document in memory ───────►└─► holds, or not
 *
 * A comparison is of one path: fields, also of models in fields ("settings.theme"), and of the
 * elements of one list or dict of models ("posts[].title"): it holds when it does for one of
 * these. What is null, or was never set, is equal to nil alone, and neither less nor more than
 * anything.
 */
#ifndef RAPYER_PROTOCOL_EXPRESSION_H
#define RAPYER_PROTOCOL_EXPRESSION_H

#include "protocol/op.h"

#define EXPRESSION_DEPTH 16    /* of and, or, not within each other */
#define EXPRESSION_PARTS 256   /* comparisons, and, or, not */
#define EXPRESSION_VALUES 1000 /* of all `in` */

enum expr_kind {
    EXPR_ALL, /* nil: each document */
    EXPR_AND,
    EXPR_OR,
    EXPR_NOT,
    EXPR_EQUAL,
    EXPR_UNEQUAL,
    EXPR_LESS,
    EXPR_AT_MOST,
    EXPR_MORE,
    EXPR_AT_LEAST,
    EXPR_IN,
    EXPR_PREFIX,
    EXPR_HAS /* a list or set has it as an element, a dict as a key */
};

/* A place that is the same in all documents of a model. */
struct expr_path {
    char *text;              /* as it was given */
    size_t load;             /* how much of it leads to what is to be read: in front of "[]" */
    const char *inner;       /* behind "[]."; NULL: there is none */
    const struct type *type; /* of what it leads to */
};

struct expr {
    enum expr_kind kind;
    struct expr *first, *next; /* AND, OR, NOT: what is within; beside it */
    struct expr_path path;     /* comparisons */
    const struct type *type;   /* of the values */
    struct cell *values;       /* canonical; IN has several */
    unsigned nvalues;
};

/* Reads one; moves *in. -1: BAD_REQUEST (its form), BAD_PATH, UNKNOWN_FIELD, BAD_TYPE, BAD_VALUE
 * (a value does not fit its place), TOO_LARGE (too many parts). */
int expression_parse(const struct model *m, struct cursor *in, struct expr **out, struct fault *f);
void expression_free(struct expr *e);

/* Whether it holds for a document. OP_NEEDS: something is not loaded. OP_REFUSED: with the fault.
 */
enum op_status expression_holds(const struct expr *e, struct record *root, struct needs *needs,
                                bool *holds, struct fault *f);
/* The same of a comparison with one of its values alone. */
enum op_status comparison_holds(const struct expr *e, unsigned value, struct record *root,
                                struct needs *needs, bool *holds, struct fault *f);

/* Reads a path. -1: BAD_PATH, UNKNOWN_FIELD. Its text is the caller's to free. */
int expr_path_read(const struct model *m, const char *path, size_t len, struct expr_path *out,
                   struct fault *f);
/* Appends the value there, nil if it was never set; not of a path with "[]". As op_run. */
enum op_status expr_path_load(const struct expr_path *p, struct record *root, struct needs *needs,
                              struct buf *out, struct fault *f);

/* Less than 0, 0, more than 0, as the first value of the type is less, equal or more; null and
 * never set are more than all. */
int value_compare(const struct type *t, struct cursor a, struct cursor b);

#endif
