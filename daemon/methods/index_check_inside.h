/* index_check_inside: a comparison of indexes and documents while it goes on, as its files see it:
 * index_check.c, and check_slots.c, which goes through a cluster.
 */
#ifndef RAPYERD_INDEX_CHECK_INSIDE_H
#define RAPYERD_INDEX_CHECK_INSIDE_H

#include "daemon/commit/batch_index.h"
#include "daemon/methods/index_admin.h"
#include "daemon/redis/scan_place.h"

struct check {
    struct exec *exec;
    struct session *session;
    uint64_t id;
    const struct indexes *all;
    bool repair;
    bool documents;            /* what it is at */
    struct scan_place place;   /* of the next page; "0": there is none, or the first one */
    struct check_slots *slots; /* in a cluster; NULL: there is one Redis */
    bool begun;
    struct buf keys; /* packed: those of the page that are still to be looked at */
    size_t at;
    struct buf key;
    struct buf member; /* where in the key the next page begins */
    struct index_call page;
    uint64_t looked, ndocuments, entries, missing, left_over, undeclared;
    struct buf spoilt; /* packed */
    uint32_t nspoilt;
};

/* index_check.c: how it ends, */
void check_free(struct check *c);
void check_refuse(struct check *c, const struct fault *f);
/* and what is done with answers. A page was looked at: the next one, or the answer. */
void check_page_done(struct check *c);
/* The call of the script for a key, from `member` on; tag: of its slot, or NULL. */
void check_write_key(const struct check *c, const char *tag, const struct buf *key,
                     const struct buf *member, struct buf *out);
/* Of an array of n numbers, from the i-th on. */
bool check_numbers(const redisReply *reply, size_t i, size_t n);
void check_take_key(struct check *c, const redisReply *reply);
void check_take_documents(struct check *c, const redisReply *reply);
void check_note_spoilt(struct check *c, const struct buf *key);

/* check_claims.c: in a cluster, the claims of unique values. Of keys that are some, or of
 * documents, which of both are added before check_claims_go; then done is called, and it may be
 * used anew. */
struct claim_check;
struct scatter;
struct claim_check *check_claims_new(struct check *c, struct scatter *s,
                                     void (*done)(struct check *c, const char *why));
void check_claims_free(struct claim_check *in);
void check_claims_key(struct claim_check *in, const char *name, size_t len);
void check_claims_document(struct claim_check *in, const char *pk, size_t len);
void check_claims_go(struct claim_check *in);

/* check_slots.c: the same in a cluster. */
void check_slots_begin(struct check *c, const struct find_cluster *cluster);
void check_slots_free(struct check *c);
void check_slots_place(const struct check *c, struct buf *out);
int check_slots_read(struct check *c, const char *text, size_t len); /* -1: it is none */
/* A page, then check_page_done; or check_refuse. */
void check_slots_page(struct check *c);

#endif
