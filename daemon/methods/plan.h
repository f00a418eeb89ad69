/* plan: which indexes find the documents that an expression wants.
 *
 *   expression ──► sources: what each comparison would have an index say
 *                     │  how many are in each, and which indexes are complete? ──► Redis
 *                     ▼
 *                  chosen: of an `and` the part with the fewest, of an `or` all parts;
 *                  other comparisons of the outermost `and` as filters
 *
 * What a plan finds is more than what is wanted: entries may be left over, bounds are rounded,
 * texts are cut. Each document is looked at before it is answered.
 */
#ifndef RAPYERD_PLAN_H
#define RAPYERD_PLAN_H

#include "daemon/documents/indexes.h"
#include "daemon/redis/resp.h"
#include "protocol/expression.h"
#include <hiredis/hiredis.h>

enum source_kind { SOURCE_SET, SOURCE_NUMBER, SOURCE_TEXT, SOURCE_KEYS };

/* What an index has for one comparison, or for two that bound a number from both sides. */
struct source {
    enum source_kind kind;
    const struct index *ix;            /* NULL: KEYS */
    const struct expr *leaf, *another; /* NULL: each document; there is no second one */
    unsigned value;                    /* of the leaf; of several: from there on all */
    bool all_values;
    bool overflow; /* the documents with too many elements to be in the index */
    bool good;     /* the index is complete */
    struct buf key, from, to;
    uint64_t count;
};

struct filter {
    const struct source *source, *overflow; /* the second may be NULL */
};

struct plan {
    const char *prefix;
    bool cluster; /* keys of sources are without the tag of a slot, which is put in (plan_key) */
    const struct indexes *indexes; /* NULL: the model has none */
    const struct model *model;
    const struct expr *e;
    struct source *all;
    unsigned n, cap;
    const struct source **chosen;
    unsigned nchosen;
    struct filter *filters;
    unsigned nfilters;
    bool *ready;                /* of each index */
    const struct index *noted;  /* the one to sort by, whose key was spoilt; or NULL */
    const struct index *spoilt; /* of which a key was met that is none; or NULL */
    bool must_order;            /* what is sorted is by an index, or refused; the owner's to set */
    bool ordered, rev;          /* the documents come in the order that is asked for */
    const struct expr_path *sort;
    struct source keys; /* all documents there are */
    struct buf how;     /* what was chosen: 'o'rder, 'i'ndexes or 'k'eys; of each `and` the part */
};

/* `sort` may be NULL. All that is given stays its owner's, and outlives the plan. */
struct plan *plan_new(const char *prefix, bool cluster, const struct indexes *indexes,
                      const struct model *m, const struct expr *e, const struct expr_path *sort,
                      bool rev);
void plan_free(struct plan *p);
/* Appends the questions; returns how many, 0: there are none. In a cluster they are about the
 * states alone, and go to the slot of the declarations. */
unsigned plan_ask(const struct plan *p, struct buf *out);
/* Takes the answer to one. -1: CORRUPT, UNAVAILABLE. */
int plan_answer(struct plan *p, unsigned i, const redisReply *reply, struct fault *f);
/* Of one source: how many entries it has in the slot of this tag (NULL: there are no slots). */
void plan_ask_count(const struct plan *p, const struct source *s, const char *tag, struct buf *out);
int plan_counted(struct plan *p, const struct source *s, const redisReply *reply, uint64_t *count,
                 struct fault *f);
/* Whether Redis says that a key of the source is none of an index, and then CORRUPT in *f. */
bool plan_is_spoilt(struct plan *p, const struct source *s, const redisReply *reply,
                    struct fault *f);
/* A key of a source in the slot of this tag. */
void plan_key(const struct plan *p, const struct source *s, const char *tag, struct buf *out);
/* What to do; `sorted_max`: how many documents can be sorted without an index. scan: all may be
 * looked at. -1: NO_INDEX; CORRUPT: it would go by the order of an index that is spoilt. */
int plan_choose(struct plan *p, bool scan, uint64_t sorted_max, struct fault *f);
/* The same as another plan of the same expression and sort has chosen, whose `how` this is, however
 * many documents there are by now. -1: that cannot be chosen (any more); f has a code where there
 * is a reason to be told. */
int plan_choose_again(struct plan *p, bool scan, const void *how, size_t len, struct fault *f);
/* Of what was chosen: another number where entries are in other places. */
uint64_t plan_hash(const struct plan *p);
/* Appends a map that tells a person of it, and how many entries were looked at. */
void plan_pack(const struct plan *p, uint64_t looked, struct buf *out);

/* Appends a question for the first page, to go along with those of plan_ask: where exact values are
 * all that indexes can be asked for, and all have to hold, there is no other one. Returns how many,
 * 0 or 1. */
unsigned plan_ask_first(const struct plan *p, unsigned count, struct buf *out);
/* What its answer says: the pks, how many were looked at, where the next page begins ("": there is
 * none). False: that is no page of what was chosen. */
struct first_page {
    redisReply *const *pks;
    size_t npks;
    uint64_t looked;
    const char *next;
};
bool plan_take_first(const struct plan *p, const redisReply *reply, struct first_page *out);

/* Appends the question for a page of a source. by_hash: Redis has the script already. */
void plan_page(const struct plan *p, const struct source *s, const char *tag, const char *at,
               size_t at_len, unsigned count, bool by_hash, struct buf *out);

#endif
