/* schema_private: what schema.c, define.c, measure.c and wrapper.c share among themselves. */
#ifndef RAPYER_PROTOCOL_SCHEMA_PRIVATE_H
#define RAPYER_PROTOCOL_SCHEMA_PRIVATE_H

#include "protocol/declaration.h"
#define uthash_malloc(n) alloc_bytes(n)
#include <uthash.h>

struct entry {
    struct model model;
    UT_hash_handle hh;
};

/* A type that is no longer in force, and may be pointed to. */
struct former {
    struct former *next;
    const struct type *type;
};

/* The models that wrap inner types, the last one first. */
struct wrapper {
    struct wrapper *next;
    struct model model;
    struct field field;
};
struct wrappers {
    struct wrapper *first;
};

struct schema {
    struct entry *by_name; /* in order of definition */
    struct former *former;
    struct wrappers *wrappers;
    uint32_t models, fields, growths;
    void (*on_change)(void *arg);
    void *on_change_arg;
    int64_t known;
};

/* What a declaration comes to. */
struct plan {
    struct declaration draft; /* its model is empty where the entry has it already: */
    struct entry *entry;
    bool fresh;   /*   the model is new */
    bool read;    /* the declaration was */
    bool widened; /* a field that was there */
    bool indexed; /* in another way than before */
    bool changed;
    uint32_t added; /* fields */
    unsigned revision;
};

struct entry *schema_find(const struct schema *s, const char *name, size_t len);

/* What a declaration changes in a model that is there: fills in added, widened, indexed and
 * changed, or says what it contradicts. And taking it over. */
int plan_compare(struct plan *p, struct fault *f);
void plan_take(struct schema *s, struct plan *p);

/* Frees the wrappers that were made since `last` was the last one. */
void wrappers_drop(struct wrappers *all, const struct wrapper *last);

struct measure {
    unsigned depth;
    uint32_t slots;
};
/* What all models measure when the plans are carried out, by their numbers. -1: one of them would
 * be too big, or contain itself in a way that has no end. */
int measure_models(const struct schema *s, const struct plan *plans, size_t n, struct measure *out,
                   struct fault *f);

#endif
