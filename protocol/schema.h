/* schema: what models are there and what types their fields have.
 *
 * A registry of named models. `define` takes the wire form of a declaration, checks it by
 * itself and against the definition that is there, and makes it the current one. Models are
 * never freed or moved while the registry lives: trees point to them. A redefinition adds
 * fields at the end of the same struct model (`nfields` grows, indexes stay), so that a tree
 * built before has fewer slots than nfields, which readers treat as never set. The type of a field
 * only widens; what it was stays in memory, as operations on their way may point to it.
 */
#ifndef RAPYER_PROTOCOL_SCHEMA_H
#define RAPYER_PROTOCOL_SCHEMA_H

#include "protocol/buf.h"
#include "protocol/cursor.h"
#include "protocol/fault.h"

enum type_kind {
    TYPE_INT,
    TYPE_FLOAT,
    TYPE_BOOL,
    TYPE_STR,
    TYPE_BYTES,
    TYPE_DATETIME,
    TYPE_DECIMAL,
    TYPE_DATE,
    TYPE_TIME,
    TYPE_TIMEDELTA,
    TYPE_NAIVE,
    TYPE_ZONED,
    TYPE_UUID,
    TYPE_ENUM,
    TYPE_REF,
    TYPE_ANY,
    TYPE_OPTIONAL, /* of a scalar or any other value */
    TYPE_LIST,
    TYPE_DICT,
    TYPE_SET,
    TYPE_SORTED,
    TYPE_MAYBE, /* optional<> of an atomic model: a container of one at most */
    TYPE_MODEL,
};

#define TYPE_COUNT (TYPE_MODEL + 1)

struct model;

struct type {
    enum type_kind kind;
    const struct type *of;     /* OPTIONAL and containers: of what */
    const struct model *model; /* MODEL */
    const char *names;         /* ENUM: "a|b|c"; REF: the model's name, which need not be there */
};

struct field {
    char *name;
    size_t name_len;
    const struct type *type;
    const struct type *was; /* the narrowest that it was declared with; NULL: no other than type */
    uint8_t *fallback;      /* the default, canonical MessagePack; NULL: none. A list or dict of an
                             * atomic model always has one, be it the empty one; a field that is
                             * an atomic model never has: its own fields' defaults count */
    size_t fallback_len;
    bool lazy;             /* left out of doc.get unless named */
    bool refreshes;        /* a write to the document touches what this refers to, and what */
    int32_t refresh_depth; /* that refers to, so many references further; -1: as far as they lead */
    uint8_t indexes;       /* by what documents are found (index.h), bits */
    uint8_t *packed_name;  /* the name as a packed str, ready to append */
    size_t packed_name_len;
};

struct model {
    char *name;
    bool atomic;      /* else plain: a value, replaced whole */
    bool wraps;       /* of nobody's making: see type_within */
    int key_field;    /* index of the declared key field, -1: a generated UUID */
    int64_t ttl;      /* seconds a document lives, 0: for ever */
    bool refresh_ttl; /* writes start the ttl anew, */
    bool cascades;    /* and that of what some of its fields refer to */
    uint32_t nfields;
    uint32_t nlazy; /* of these */
    struct field *fields;
    unsigned revision; /* 1 for the first definition, +1 for each that changed it */
    unsigned depth;    /* containers its deepest value nests, its own map included */
    uint32_t slots;    /* fields, with those of the atomic models directly in it */
    uint32_t number;   /* in order of definition, from 0 */
    uint16_t *index;   /* field numbers + 1 by hash of the name; NULL when there are few */
    uint32_t index_mask;
};

/* Limits of a declaration, and of a registry. */
#define SCHEMA_MAX_FIELDS 1024      /* of one model */
#define SCHEMA_MAX_SLOTS 2048       /* of one model, with the atomic models directly in it */
#define SCHEMA_MAX_DEPTH 26         /* containers: leaves 6 of the wire's 32 to the envelope */
#define SCHEMA_MAX_DEFAULTS 65536   /* bytes of all defaults of a model */
#define SCHEMA_MAX_MODELS 1024      /* in a registry */
#define SCHEMA_MAX_ALL_FIELDS 65536 /* in a registry */

struct schema;

struct schema *schema_new(void); /* NULL: no memory, in the library */
void schema_free(struct schema *s);

/* NULL when there is none of that name. */
const struct model *schema_model(const struct schema *s, const char *name, size_t len);
/* Of the document "Model:pk"; NULL also when the key is none. */
const struct model *schema_model_of(const struct schema *s, const char *key, size_t len);
/* Whom to tell that a model is not what it was: its documents look different now. One at most. */
void schema_on_change(struct schema *s, void (*fn)(void *arg), void *arg);
/* How often a model got fields, or wider ones, or other indexes, or other defaults of what is
 * indexed, after its first definition: trees built before are not what they would be now. */
uint32_t schema_growths(const struct schema *s);
/* Where a registry is stored somewhere for several to share: up to which revision of it, counted
 * over all models, this one has all of them. Only rises; 0 at first. */
int64_t schema_known(const struct schema *s);
void schema_know(struct schema *s, int64_t revision);
/* Calls visit for every model, in order of definition. */
void schema_each(const struct schema *s, void (*visit)(const struct model *m, void *arg),
                 void *arg);

/* Takes one declaration {name, kind, key?, ttl?, refresh_ttl?, fields: [{name, type, default?,
 * lazy?, was?, index?}]}. `changed` says whether it differs from what was there (a new revision).
 * -1 and nothing changed: BAD_SCHEMA (names, types, recursion, nesting deeper than the wire allows,
 * an atomic model in a value's place), UNKNOWN_MODEL, SCHEMA_CONFLICT (names the field, its stored
 * and its new type), BAD_TYPE/BAD_VALUE for a default. Fields missing from a redefinition stay,
 * as they may be in stored documents, and so do defaults, which those that lack the field need. A
 * wider type (type_covers) is taken over; one that the field had before changes nothing of it.
 * Indexes come and stay, whoever declares without them; but for a declaration with a later
 * `revision`, as it is stored for all: that says what there is. */
int schema_define(struct schema *s, struct cursor *declaration, const struct model **out,
                  bool *changed, struct fault *f);
/* As schema_define, but only checks: what define would say, nothing is changed. */
int schema_check(struct schema *s, struct cursor *declaration, bool *changed, struct fault *f);

/* Several at once, all or none, in whatever order: they may name each other, also in circles. Each
 * has its place in out and changed. */
int schema_define_all(struct schema *s, const struct cursor *declarations, size_t n,
                      const struct model **out, bool *changed, struct fault *f);
int schema_check_all(struct schema *s, const struct cursor *declarations, size_t n, bool *changed,
                     struct fault *f);

/* Defines those of a registry that is stored somewhere, as many as can be taken. -1: some could
 * not, f says why of the first of them. Marks those that were (taken[i], n of them, may be NULL).
 */
int schema_restore(struct schema *s, const struct cursor *declarations, size_t n, bool *taken,
                   struct fault *f);

/* The declaration of a model as the wire form, with `revision` added (ignored by define when
 * lower than or equal to the model's, else taken over, so that a registry can be restored). */
void schema_pack(const struct model *m, struct buf *out);

/* The same as a later revision without these of a field's indexes (index.h): that of a unique one
 * stays. */
void schema_pack_unindexed(const struct model *m, uint32_t field, uint8_t kinds, struct buf *out);

/* Index of a field, or -1. */
int model_field(const struct model *m, const char *name, size_t len);

/* A list, dict or optional of atomic models that is in another one (dict<list<Post>>) needs a name
 * in Redis for what it holds. So there it is an atomic model of its own, which *wraps* it: its only
 * field is of that type, and on the wire it is what that holds. Through those to the type that was
 * declared.
 */
static inline const struct type *type_within(const struct type *t)
{
    while (t->kind == TYPE_MODEL && t->model->wraps)
        t = t->model->fields[0].type;
    return t;
}
#define WRAPPED_FIELD "items"

/* "dict<list<int>>": writes at most size bytes, NUL-terminated; returns buf. */
const char *type_name(const struct type *t, char *out, size_t size);
#define TYPE_NAME_MAX 160

/* Through optional<> to what is inside. */
static inline const struct type *type_bare(const struct type *t)
{
    return t->kind == TYPE_OPTIONAL ? t->of : t;
}
static inline bool type_atomic(const struct type *t)
{
    return t->kind == TYPE_MODEL && t->model->atomic;
}

#endif
