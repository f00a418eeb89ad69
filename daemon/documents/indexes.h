/* indexes: which indexes the documents of a model have, and where they are in Redis.
 *
 *   fields declared as indexed (protocol/index.h), ──► struct index, one for each field and kind
 *   also those of models within                        the same for commit/index.lua: its spec
 *
 *   <prefix>:@index                   hash: "User/city=" -> what it was built for; "!", "?": spoilt
 *                                     (in a cluster <prefix>:@index{<prefix>:@schema}, so that both
 *                                     are in one slot)
 *   <prefix>:@index:User              hash: pk -> the entries of a document with a deadline
 *   <prefix>:@index:User/city=Boston  set of pks: exact, tags
 *   <prefix>:@index:User/tags*        set of pks: too many elements to be in the index
 *   <prefix>:@index:User/age<         sorted set of pks by their number: range
 *   <prefix>:@index:User/name^        sorted set of "text\0pk", all of score 0: prefix
 *   <prefix>:@index:User/@ttl         sorted set of pks by their deadline, ms
 *
 * In a cluster there is one of each for each slot, of the documents there: behind "@index" stands
 * the tag of the slot, as in <prefix>:@index{abc}:User/age<
 *
 * and <prefix>:@index{abc}:@clean while a dropped one is removed there (methods/clean_slots.h).
 *
 * Whoever commits a change of what is indexed puts the document's entries right in the same
 * transaction (commit/batch_index.h). A document has the entries of what it is; it may have others,
 * of what it was: who finds it looks at the document itself.
 */
#ifndef RAPYERD_INDEXES_H
#define RAPYERD_INDEXES_H

#include "protocol/buf.h"
#include "protocol/index.h"
#include "protocol/schema.h"

/* A longer text is cut: its beginning, length and end; or (prefix) its beginning. */
#define INDEX_TEXT_MAX 128
#define INDEX_TEXT_HEAD 64
#define INDEX_TEXT_TAIL 48
/* Elements of one list, set or dict that are looked at; a document that has more is found by every
 * question, and then looked at itself. */
#define INDEX_ELEMENTS_MAX 1000

enum index_at {
    AT_FIELD,     /* a field of the root hash */
    AT_CONTAINER, /* the elements of a list or set, the keys of a dict */
    AT_ELEMENTS   /* a field of each element of a list or dict of models */
};

struct index {
    enum index_kind kind;
    bool unique; /* FIELD, exact: no two documents have the same value */
    enum index_at at;
    const struct model *declared; /* whose field has it: the model, or one within; */
    uint32_t field;               /* which */
    const struct type *type;      /* of the values */
    const struct type *container; /* CONTAINER, ELEMENTS */
    char *path;                   /* "settings.theme", "tags", "posts[].title" */
    char *id;                     /* the path, and a sign of the kind: "settings.theme=" */
    char *state;                  /* the model and that: its name in the hash of states */
    char *suffix;                 /* CONTAINER, ELEMENTS: of the container's key */
    char *name;                   /* FIELD, ELEMENTS: of the hash field */
    char *fallback;               /* FIELD, ELEMENTS: the text that is read where there is none */
    size_t fallback_len;
};

struct indexes {
    const struct model *model;
    unsigned n;
    struct index *all;
    bool unique;     /* one of them is */
    struct buf spec; /* for index.lua */
};

struct index_table;

struct index_table *index_table_new(const struct schema *schema);
void index_table_free(struct index_table *t);
/* Those of a model, as it is declared by now; they stay as long as the table. NULL: none. */
const struct indexes *indexes_of(struct index_table *t, const struct model *m);
/* The one of this path and kind; NULL: there is none. */
const struct index *index_find(const struct indexes *all, const char *path, size_t len,
                               enum index_kind kind);
/* One on a field of the root hash; NULL: none is. */
const struct index *index_of_field(const struct indexes *all, const char *name, size_t len);
/* What is found as null: no text, or that of null. */
bool index_null(const char *text, size_t len);
/* Appends how the keys of all indexes begin: those of the slot with this tag; NULL: there are no
 * slots. */
void index_head(const char *prefix, const char *tag, struct buf *out);
/* Appends the key in which documents with this value are (text NULL: null); a range or prefix index
 * has one key for all of them. */
void index_key(const char *prefix, const char *tag, const struct model *m, const struct index *ix,
               const char *text, size_t len, struct buf *out);

/* The hash of the states, and the name of an index in it. Theirs to free. */
char *index_states_key(const char *prefix, bool cluster);
char *index_state_name(const struct model *m, const struct index *ix);
/* Appends what is to be noted under that name when all documents are in the index. */
void index_state(const struct index *ix, struct buf *out);
/* What is noted instead: '!' and maybe the key: one that was met is no index; '?' by whoever builds
 * it anew, so that all are told the same until that is done. */
bool index_was_spoilt(const char *state, size_t len);

#endif
