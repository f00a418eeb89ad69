/* batch: what one MULTI … EXEC will say, merged while it gathers.
 *
 *   effects of admitted operations ──► per Redis key: fields to set, add to, delete;
 *                                      list commands in order, neighbours of a kind joined
 *   batch_format ──► RESP: MULTI, the commands, @v per document, marker, news, EXEC
 *   batch_answer ◄── EXEC's array: did every element do what was expected?
 *
 * Changes to different keys, and to different fields of a hash, commute, so only the state of
 * each field at the end is sent; increments stay increments, as other daemons may add to the
 * same number. What Redis answers is compared with what the tree said: `drift` is by how much
 * a number, length or version was off because somebody else wrote in between.
 *
 * Changes with a guard (guard.h), or that rely upon what their documents are, stand apart, as a
 * unit: a script in the same MULTI that looks if all of that holds and then runs the unit's
 * commands. A unit for which it does not hold leaves its number in the marker, so that this is
 * known also when EXEC's answer is lost.
 *
 * A leaf: knows documents only by the handle it is given, and no sockets.
 */
#ifndef RAPYERD_BATCH_H
#define RAPYERD_BATCH_H

#include "daemon/commit/unit.h"
#include "daemon/documents/doc.h"
#include "daemon/documents/indexes.h"
#include "daemon/documents/stored.h"
#include "daemon/redis/names.h"
#include "protocol/buf.h"
#include "protocol/fault.h"
#include <hiredis/hiredis.h>

struct batch;

/* A number in an answer that Redis has the last word on. */
struct drift {
    int64_t expected; /* at the end of the batch */
    int64_t by;       /* what Redis said minus expected */
    bool failed;      /* Redis refused the command: the key holds something else */
    bool known;       /* `expected` is; lengths that nobody asked for are not */
};

/* How its entries in the indexes of its model are put right (batch_index.h). */
enum indexing { INDEXED_NOT, INDEXED_PLAINLY, INDEXED_BY_SCRIPT };

/* One document's part of a batch. There may be two: what was changed without a unit comes first. */
struct batch_doc {
    struct batch_doc *next, *next_of_unit;
    struct batch_doc *second; /* the document's part behind this one; or NULL */
    struct doc *doc;
    struct unit *unit;    /* NULL: none */
    enum reliance relies; /* of the unit on this document */
    int64_t base;         /* its version before this part; 0: there was none, or a stump's */
    struct pend *pends, *last_pend; /* its keys that change, in order of first use */
    struct pend *root;              /* of these, the last of the root hash; or NULL */
    struct drift version;
    int64_t bump;  /* to add to @v; 0: deleted, or only looked at by a guard */
    bool deadline; /* an operation asked for one: expires, 0: none. Else new keys get that of the
                    * root as Redis has it */
    int64_t expires;
    bool touched;      /* to be given a deadline, if nothing else: changes although bump is 0 */
    bool deleted;      /* has no @v at the end of the batch */
    bool rewritten;    /* the batch writes all of it, so that it may be missing before */
    bool failed;       /* a command of it failed */
    bool gone;         /* it was not in Redis any more: what the batch left there is a stump */
    bool unanswered;   /* the answer was lost: failed commands are not known */
    bool overtaken;    /* unanswered: its version is another one than this part has left */
    bool unsure;       /* unanswered: nor is it known whether it was still there */
    bool missing;      /* unsure: it is not there now */
    bool drifted;      /* what was seen of it until now never was */
    bool undated;      /* it had a deadline that nobody knew of here: keys that it made have none */
    struct drift left; /* where that is asked, PTTL's answer beside that there is none */
    enum indexing indexed;
    bool is_second;  /* it is that of another part */
    unsigned was_at; /* the reply that has its unique values of before; 0: they are not asked for */
};

/* Embedded in what waits for the batch: an answer that may only leave when that is decided. */
struct waiter {
    struct waiter *next;
};

/* The one member that a call takes out of an end of a sorted set, and answers with. */
struct popped {
    bool other;       /* Redis has taken out another one, or it had another score: */
    const char *text; /* what it is there */
    size_t len;
    double score;
};

/* What the batches of a lane share: how Redis keys begin, this daemon's id, and memory. The strings
 * are kept by the caller; freed after its batches. */
struct batch_pool *batch_pool_new(const struct names *names, const char *daemon);
void batch_pool_free(struct batch_pool *p);
/* Whose indexes the batches keep right; kept by the caller. */
void batch_pool_index(struct batch_pool *p, struct index_table *indexes);
/* Whom batches tell what they did: this daemon, where a script did it; all others. At first only
 * those. */
void batch_pool_tell(struct batch_pool *p, bool own, bool others);

/* What all batches of a lane say alike. */
struct batch_words {
    struct buf marker; /* the key that their number is written to, */
    struct buf set;    /* and SET of it, up to the number, as RESP */
    /* A look at a key in the same slot that nobody ever makes, as RESP: a slot of which keys are on
     * the move takes no transaction with it. Empty: there are no slots. */
    struct buf still;
};

void batch_words_make(struct batch_words *w, const char *prefix, const char *daemon,
                      const char *tag);
void batch_words_free(struct batch_words *w);
/* The words are kept by the caller. */
struct batch *batch_new(struct batch_pool *p, uint64_t number, const struct batch_words *words);
void batch_free(struct batch *b);
uint64_t batch_number(const struct batch *b);
/* Whether one of these turned out to be another than was thought when the batch was decided. They
 * are compared, not looked at: they may be gone. */
bool batch_drifted(const struct batch *b, struct doc *const *docs, unsigned n);
bool batch_empty(const struct batch *b);
size_t batch_bytes(const struct batch *b); /* roughly what it will send */

void batch_wait(struct batch *b, struct waiter *w);
struct waiter *batch_waiters(const struct batch *b); /* the first; they stand in their order */

/* The unit of a guard (or one that is the same), made on first use. NULL: a new one without. */
struct unit *batch_unit(struct batch *b, struct guard *g);
struct unit *batch_units(const struct batch *b); /* the first of the list */
/* The document's last part, made on first use. u NULL: whatever unit that is of. Else it is of u:
 * a part without a unit is left as it is, and gets a second one behind it; that of another unit
 * makes the two one, bd->unit (sealing (exec) sees to it that neither has a guard then). */
struct batch_doc *batch_doc(struct batch *b, struct doc *d, struct unit *u);
/* The unit of the document's last part; NULL: it has none. */
struct unit *batch_unit_of(const struct batch *b, const struct doc *d);
/* Two units without a guard become one. Returns it. */
struct unit *batch_join(struct unit *a, struct unit *other);
/* The part, which has a unit, relies at least on this of what was there before it. */
void batch_rely(struct batch_doc *bd, enum reliance on);
struct batch_doc *batch_docs(const struct batch *b); /* the first of the list */
/* One more change of the document: its version goes up by n. */
void batch_bump(struct batch_doc *bd, int64_t n);

/* Raw Redis strings; suffixes as in op.h. Elements that have names: `as` says what their key is. */
void batch_field_set(struct batch *b, struct batch_doc *bd, const struct stored *as,
                     const char *suffix, size_t suffix_len, const char *field, size_t field_len,
                     const void *raw, size_t raw_len);
/* The same of a long value that is not copied; takes over `held`, which is what raw is in. */
void batch_field_lend(struct batch *b, struct batch_doc *bd, const struct stored *as,
                      const char *suffix, size_t suffix_len, const char *field, size_t field_len,
                      const void *raw, size_t raw_len, struct held *held);
void batch_field_del(struct batch *b, struct batch_doc *bd, const struct stored *as,
                     const char *suffix, size_t suffix_len, const char *field, size_t field_len);
/* Behind the first change of a field of a hash: the text that the tree had before; NULL: none. */
void batch_field_was(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                     const char *field, size_t field_len, const void *raw, size_t raw_len);
/* The same of a member of a set or sorted set, where nothing but whether this adds one, or takes
 * one out, is to be told: `expected` is 1 if so. Never NULL. */
const struct drift *batch_member(struct batch *b, struct batch_doc *bd, const struct stored *as,
                                 const char *suffix, size_t suffix_len, bool in, const char *member,
                                 size_t member_len, const void *score, size_t score_len,
                                 int64_t expected);
/* Behind the removal of a member of a sorted set, which was its lowest or highest and had this
 * score: what its call answers with. Several in one batch are what the tree says: NULL. */
const struct popped *batch_pop(struct batch *b, struct batch_doc *bd, bool highest, double score);
/* Of a hash. `now` is the value after it; returns what to look at for the result, NULL when the
 * field is set in this batch and the result is certain. */
const struct drift *batch_hash_incr(struct batch *b, struct batch_doc *bd, const char *suffix,
                                    size_t suffix_len, const char *field, size_t field_len,
                                    int64_t by, int64_t now);
const struct drift *batch_list_push(struct batch *b, struct batch_doc *bd, const char *suffix,
                                    size_t suffix_len, bool front, const void *raw, size_t raw_len);
/* The list's length at this point, as the tree has it: what the last push should answer. */
void batch_list_expect(const struct drift *d, int64_t len);
void batch_list_set(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                    size_t index, const void *raw, size_t raw_len);
void batch_list_insert(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                       size_t index, const void *raw, size_t raw_len);
void batch_list_remove(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                       size_t from, size_t count, size_t len_before);
void batch_drop(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len);
/* All of the document is written anew in this part, so that it may be missing before. */
void batch_rewrite(struct batch_doc *bd);
/* What is written from here on has this deadline (unix milliseconds, 0: none), */
void batch_deadline(struct batch_doc *bd, int64_t at);
/* and so has this key, written or not. */
void batch_expire(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len);

/* It gets a deadline without a new version. */
void batch_touch(struct batch_doc *bd);

/* What daemons are told of the transaction: its last commands in front of EXEC, each a PUBLISH, or
 * in a cluster SPUBLISH. */
struct batch_news {
    size_t at; /* where the first of them begins */
    unsigned n;
};

/* Appends the transaction; returns the number of commands, MULTI and EXEC included. news NULL:
 * nobody is told of it. Without the units that are lost already: once more after the answer, it is
 * what is to be applied if Redis loses its state. */
unsigned batch_format(struct batch *b, struct batch_news *news, struct buf *out);
/* The same as one call of a script that Redis knows by its hash (whole_loop.lua), which is answered
 * as EXEC would be, or with an error where nothing was done. news: others are told by it. False,
 * and nothing is appended: not all of it is units, or it is too long. */
bool batch_format_whole(struct batch *b, const struct whole_scripts *known, bool news,
                        struct buf *out);
/* Whether all of the batch is one such member: from here on it is what Redis has at that end, by
 * ZPOPMIN or ZPOPMAX in a transaction without a unit. Nothing is formatted yet, or it is to be done
 * once more. */
bool batch_pop_plainly(struct batch *b);
/* It is the member that the tree has after all, as a unit: nothing of the text was applied. */
void batch_pop_as_unit(struct batch *b);
/* Puts the member that was taken out, by its name, into the text of what is applied: it may be
 * applied once more. Returns by how many commands it is shorter. */
unsigned batch_pop_name(const struct batch *b, struct batch_news *news, struct buf *resp);
/* The last reply to what batch_ask_state asked. */
void batch_pop_found(struct batch *b, const redisReply *reply);
/* Takes EXEC's reply. 0: applied; drifts and `failed` are filled in (look at each document).
 * -1: not applied at all, *f says why. */
int batch_answer(struct batch *b, const redisReply *exec, struct fault *f);
/* What became of the batch is known (fault NULL: it is applied), and nobody was told yet. Its
 * documents are clean from here on, unless the next batch changes them too; what cannot be relied
 * upon is forgotten. */
void batch_decide(struct batch *b, const struct fault *fault);
/* Gives back the documents, which stay in the cache for it until then: each to fn, once for each
 * part. Nothing but batch_free comes behind it. */
void batch_release(struct batch *b, void (*fn)(void *arg, struct doc *d), void *arg);

/* A document that a decided batch has changed; readable as long as the batch is there. */
struct committed {
    struct doc *doc;         /* UNKNOWN when others have changed it too */
    int64_t version;         /* that Redis has; 0: deleted */
    bool rewritten;          /* all of it was written anew */
    const struct pend *next; /* of committed_suffix */
    const struct pend_field *field;
};
/* Tells fn of each document that the batch has changed in Redis; of one with two parts twice, the
 * last time with what is there. After batch_decide. */
void batch_each_committed(const struct batch *b, void (*fn)(void *arg, const struct committed *c),
                          void *arg);
/* The suffixes (layout.h) of the document's keys that have changed: the first, each next; at the
 * end NULL. "" is the root hash. */
const char *committed_suffix(struct committed *c, size_t *len);
/* The fields of the model's hash with the suffix that was given last: the first, each next; at the
 * end NULL, which without a first one is: any of what is under it. */
const char *committed_field(struct committed *c, size_t *len);
/* No more of the document changes by this part than its deadline, with a version or without. */
bool batch_doc_only_ends(const struct batch_doc *bd);
/* Its unit was refused. */
bool batch_doc_refused(const struct batch_doc *bd);
/* The batch is applied, and its answer was lost: takes the version that the document has in Redis
 * now (0: there is none), for each part: where that is another one than it should be, others have
 * changed it too, before or since, and numbers are uncertain; where it may have been gone before,
 * the part is unsure. */
void batch_unanswered(struct batch_doc *bd, int64_t version);
/* For all of them: appends commands that ask for the versions, and for the numbers that clients are
 * to be told; returns how many. Then takes what Redis says, 0 where there is nothing. A number that
 * is another one is uncertain, too. */
unsigned batch_ask_state(const struct batch *b, struct buf *out);
void batch_take_state(struct batch *b, const int64_t *said);
/* Appends commands that remove what the batch left of documents that were gone, and of elements
 * that others had removed; each does nothing when somebody has made that anew since. And those that
 * put deadlines right. Returns their number. */
unsigned batch_format_sweep(struct batch *b, struct buf *out);
/* Takes the marker as Redis has it after this batch: which units were not applied. */
void batch_take_marker(struct batch *b, const char *marker);
bool batch_any_refused(const struct batch *b); /* some unit was not applied */
/* Some document turned out to have a deadline, which keys of it lack: its sweep gives it to them,
 * and what is formatted from now on. */
bool batch_any_undated(const struct batch *b);
/* The units of b with the guard of one that was not applied `before` are not applied either: they
 * were built upon it, and their guard may hold again by then. */
void batch_follow(struct batch *b, const struct batch *before);
/* Appends commands that take back the leases of its units, for so many ms, as far as nobody else
 * has them: for a Redis that came back without them, before the batch is sent again. Returns their
 * number. */
unsigned batch_format_leases(struct batch *b, int64_t ms, struct buf *out);

#endif
