/* find_inside: a find while it is carried out, as its files see it.
 *
 *   find_asked   what is wanted          find.c        its way: the plan, pages, the answer
 *   find_cursor  where it goes on        find_change   what it does with what it has found
 *   find_slots   pages of a cluster      find_order    the same, sorted by an index
 *   find_scan    the same without one
 */
#ifndef RAPYERD_FIND_INSIDE_H
#define RAPYERD_FIND_INSIDE_H

#include "daemon/methods/find.h"
#include "daemon/methods/find_page.h"
#include "daemon/methods/scatter.h"

#define FIND_REST_MAX 100000 /* pks in a cursor */
#define PAGE_MAX 250         /* pks that one question to Redis is for: a millisecond of its time */

struct slots_walk;
struct scan_walk;
struct order_walk;
struct lister;

/* A document that is an answer. */
struct hit {
    struct buf key, sort, document; /* packed */
};

struct find {
    struct exec *exec;
    struct scatter *scatter; /* both NULL: there is one Redis */
    struct lister *lister;
    struct session *session;
    uint64_t id;
    struct buf params; /* what was asked */
    const struct model *model;
    struct expr *e;
    enum find_what what;
    struct cursor operations; /* of an update: [[method, ...], ...] without keys */
    /* Options. */
    struct get_options get;
    struct expr_path sort;
    bool sorts, rev, scan, keys, explain;
    int64_t limit, offset;
    struct buf cursor; /* where to begin; empty: at the beginning */
    uint64_t asked;    /* a hash of what was asked, in cursors */
    /* The way. */
    struct plan *plan;
    unsigned replies, source;
    bool first;                 /* the last of the replies is a page (plan_ask_first) */
    struct fault why;           /* what was wrong with the first answer with which anything was */
    struct buf place;           /* of one that sorts: behind what; packed: the value, the key */
    struct buf at;              /* where the page in hand begins, in the source */
    char run[UPSTREAM_RUN + 1]; /* whose SCAN that is of, where it is of one */
    struct buf rest;            /* packed pks of the page before that, from a cursor */
    struct buf next;            /* where the next page begins */
    struct buf pks, places;     /* packed arrays: of the page, as documents' keys; where each is */
    uint32_t npks;
    uint64_t looked, counted;
    struct page_find page;
    uint64_t *seen; /* hashes of the keys of all that were found; a power of two, 0: free */
    size_t nseen, seen_cap;
    struct changing *changing; /* NULL: it changes nothing */
    struct slots_walk *walk;   /* of a cluster, as the following; NULL: not begun */
    struct scan_walk *scanning;
    struct order_walk *ordering;
    struct hit *hits;
    unsigned nhits, hits_cap;
    size_t bytes; /* of them */
};

/* Its name as a method. */
const char *find_name(const struct find *fi);
static inline bool find_changes(const struct find *fi)
{
    return fi->what == FIND_UPDATE || fi->what == FIND_DELETE;
}
/* The documents that it finds are sorted here, not by an index. */
static inline bool find_sorts(const struct find *fi)
{
    return fi->sorts && !fi->plan->ordered;
}

/* find_asked: reads the params, which stay. -1: refused. */
int find_read(struct find *fi, struct cursor in, uint32_t nparams, struct fault *f);

/* find_cursor. Appends one, as a str: `source` and `at`, of one that sorts its place; and what of a
 * page is left to be looked at. */
void find_cursor_pack(struct find *fi, int64_t source, const struct buf *at, const struct buf *rest,
                      struct buf *out);
/* Takes the plan of another find, and the place where it ended: what is found by another index has
 * other places. -1: BAD_REQUEST. */
int find_cursor_read(struct find *fi, struct fault *f);

/* find.c: goes on behind the page, as its documents are changed. */
void find_changed_page(struct find *fi);
void find_refuse(struct find *fi, const struct fault *f);
void find_unavailable(struct find *fi, const char *why);
/* States, and with one Redis counts, are known; first: a page that may be the first, or NULL. */
void find_planned(struct find *fi, const redisReply *first);
/* So are all counts. */
void find_begin(struct find *fi, const redisReply *first);
/* Answers have come, or will not (why). True: it is over, as something is wrong with them
 * (fi->why), or nobody waits for it. Says in Redis that an index is spoilt, if one was found to be.
 */
bool find_over(struct find *fi, const char *why);
/* The answer of find.lua; or it is none: fi->why is CORRUPT or UNAVAILABLE. */
bool find_is_page(const redisReply *reply);
void find_no_page(struct find *fi, const redisReply *reply);
/* How many pks are wanted yet, as far as is known. */
unsigned find_page_size(const struct find *fi);
/* A page: opened, filled, closed; fi->next says where the next one begins (empty: the source ends);
 * then its documents are looked at. */
size_t find_page_open(struct find *fi);
void find_page_add(struct find *fi, const char *pk, size_t len, const char *place,
                   size_t place_len);
void find_page_close(struct find *fi, size_t array);
void find_look(struct find *fi);

/* find_slots: for the plan the states of indexes, then find_planned, and counts, as far as some
 * slots say, then find_begin; a page from fi->at on, then find_look. Or find_refuse, find_drop. */
void find_slots_states(struct find *fi);
void find_slots_sample(struct find *fi);
void find_slots_page(struct find *fi);
void find_slots_free(struct find *fi);
/* find_order: the same, in the order of a range index. */
void find_order_page(struct find *fi);
void find_order_free(struct find *fi);
/* find_scan: the same of all documents. */
void find_scan_page(struct find *fi);
void find_scan_free(struct find *fi);

/* No find, as nobody waits for it any more. */
void find_drop(struct find *fi);

/* find_change: add, each document of a page that was found, then begin. It calls find_changed_page,
 * or find_drop. */
void find_change_add(struct find *fi, const char *key, size_t len);
void find_change_begin(struct find *fi);
/* Whether there is no more to do, and which of the page (packed pks) are to be looked at again. */
bool find_change_ended(const struct find *fi);
void find_change_rest(const struct find *fi, struct buf *rest);
/* Nothing more is changed, for this reason. False: nothing was changed before. */
bool find_change_stop(struct find *fi, const struct fault *f);
/* What is to be said instead of an answer; NULL: nothing. */
const struct fault *find_change_fault(const struct find *fi);
/* Appends three pairs of the answer. */
void find_change_pack(const struct find *fi, struct buf *out);
void find_change_free(struct find *fi);

#endif
