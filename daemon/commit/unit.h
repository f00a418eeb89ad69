/* unit: changes that are applied together or not at all, as scripts in a MULTI.
 *
 *   EVAL script  marker, the checks' keys  for each unit: number, checks, commands
 *     ──► for each unit: the commands' replies, or "REFUSED i"
 *
 * The checks are those of its guard, if it has one (a refusal is for the client to know), then
 * what its documents rely upon (enum reliance): when that does not hold the trees were behind, and
 * the unit's calls are carried out again, upon what is there. And last that no other document has
 * the values that must be unique (for the client to know, too).
 *
 * A unit that was refused appends its number to the marker ("17 0/1 3/2": of batch 17 the units 0
 * and 3, for their checks 1 and 2; behind "=" the pk of who has a unique value, in hexadecimal), so
 * that it is known also when EXEC's answer is lost, and so that the further calls of a unit that is
 * too long for one do as the first did.
 *
 * A batch of which all is in one such call needs no MULTI: then the script writes the marker, too,
 * and tells others (whole_loop.lua). As it is all or nothing by itself, Redis may be asked for it
 * by its hash.
 */
#ifndef RAPYERD_UNIT_H
#define RAPYERD_UNIT_H

#include "daemon/commit/guard.h"
#include "protocol/buf.h"
#include <hiredis/hiredis.h>

struct batch_doc;
struct index;

/* What a document's part of a unit relies upon: that the document is there (it was not removed by
 * others, whatever they have changed), or that it is the same (nobody has changed it). */
enum reliance { RELIES_ON_NOTHING, RELIES_ON_PRESENCE, RELIES_ON_STATE };

/* A value that no other document of the model may have. */
struct unique_value {
    struct batch_doc *of;
    const struct index *index;
    const char *text; /* as Redis has it */
    size_t len;
};

struct unit {
    struct unit *next; /* of the batch */
    struct batch_doc *docs, *last_doc;
    unsigned ndocs;
    struct guard *guard; /* NULL: only what its documents rely upon */
    struct unit *into;   /* it has become a part of this one, and has no documents any more */
    bool relies;         /* some document does */
    unsigned number;     /* in the batch, from 0 */
    unsigned nrelied;    /* checks of what its documents rely upon */
    struct unique_value *uniques;
    unsigned nuniques;   /* checked behind these */
    unsigned refused_by; /* 1 + the check that did not hold; 0: applied */
    int64_t found;       /* VERSION: the one that is there; -1: not known */
    struct buf holder;   /* a unique value: the pk of who has it; empty: the index is spoilt */
    unsigned
        epoch_check; /* 1 + the check of the epoch of its claims (claims.h); 0: there is none */
    bool unreached;  /* who has its values cannot be asked */
};

/* The unit that this one is a part of by now. */
struct unit *unit_joined(struct unit *u);
/* It was not applied because a document was not what it relied upon. */
bool unit_outdated(const struct unit *u);

/* It is not applied this time, without asking Redis, as if it were outdated. unreached: because
 * those cannot be asked who have its values. */
void unit_put_off(struct unit *u, bool unreached);
/* It is refused without asking Redis: its nth unique value is that of the document `pk`; NULL:
 * nobody can say whose it is. */
void unit_refuse_value(struct unit *u, unsigned nth, const char *pk, size_t len);
/* Its claims were of another epoch than there is. */
bool unit_other_epoch(const struct unit *u);

/* The check of its guard by which it was refused; NULL: it was not, or by another. */
const struct guard_check *unit_refusing(const struct unit *u);

/* One script call while it is put together, of any number of units. */
struct unit_call {
    struct buf keys, words; /* in Redis' form; the words are all that comes behind the keys */
    unsigned nkeys, nwords, nunits;
    struct buf checks, commands; /* of the unit that is being added */
    unsigned nchecks, ncommands; /* checks; words of commands */
    unsigned before;             /* checks that it had in earlier calls */
    bool plain;                  /* nothing in it is more than unit_plain.lua knows */
    bool simple;                 /* nor, in its unit, than whole_one.lua does */
};

/* The scripts for a batch that is one call, by the hashes that Redis has given them; "": it does
 * not know the script. */
enum whole_script { WHOLE_ONE, WHOLE_PLAIN, WHOLE_ANY, WHOLE_SCRIPTS };
struct whole_scripts {
    char sha[WHOLE_SCRIPTS][41];
};

#define UNIT_CHECKS_MAX 65536 /* of one call */

void unit_call_begin(struct unit_call *c); /* a unit */
/* All checks of a unit come before its first command, in as many calls as they need. */
void unit_call_guard(struct unit_call *c, const struct guard *g, const char *daemon);
/* The document's root hash has this version; PRESENCE: or a later one. 0: there is none. */
void unit_call_reliance(struct unit_call *c, enum reliance on, const char *key, size_t key_len,
                        int64_t version);
/* Nobody but the document `pk` has this text in the hash field; `key`: the set of those in the
 * index; `head`: how the root hashes of the model begin. */
void unit_call_unique(struct unit_call *c, const struct buf *key, const struct unique_value *v,
                      const struct buf *head, const char *pk, size_t pk_len);
void unit_call_command(struct unit_call *c, int argc, const char *const *argv, const size_t *len);
/* The unit, or as much of it as this call takes. */
void unit_call_end(struct unit_call *c, unsigned number);
/* Appends the call, and is ready for another. */
void unit_call_flush(struct unit_call *c, const struct buf *marker, struct buf *out);
/* The same of a batch of which it is all (whole_loop.lua). head: nhead words that come in front of
 * the units. */
void unit_call_flush_whole(struct unit_call *c, const struct whole_scripts *known,
                           const struct buf *marker, const struct buf *head, unsigned nhead,
                           struct buf *out);
/* Appends such a call with the script itself: for a Redis that need not know it. */
void unit_spell_whole(const struct buf *call, struct buf *out);
/* One of the scripts, for SCRIPT LOAD. */
const char *unit_whole_script(enum whole_script which);
void unit_call_free(struct unit_call *c);

/* Whether a unit's reply says that it was not applied; u, if given, takes what it says. */
bool unit_refused(const redisReply *reply, struct unit *u);
/* Whether what it says is of a check that the unit has, if it was refused; only the reply of the
 * first of its calls that was names one. */
bool unit_answered(const redisReply *reply, const struct unit *u);
/* How many units a reply of EXEC, a script's or not, says that of. */
unsigned unit_refusals(const redisReply *reply);
/* What the marker, as Redis has it after the batch, says of this unit. */
void unit_take_marker(struct unit *u, const char *marker);
/* Fills in why it was refused, and is not outdated. Returns -1. */
int unit_refusal(const struct unit *u, struct fault *f);

/* Appends commands that take the leases of the guard (NULL: none) back, for so many ms, as far as
 * nobody has them: for a Redis that came back without them, before the batch is sent again. Returns
 * their number. */
unsigned unit_format_leases(const struct guard *g, const char *daemon, int64_t ms, struct buf *out);

/* The key of this daemon's marker; tag: of the slot that it speaks for (slots.h), NULL: of all. */
void unit_marker_key(const char *prefix, const char *daemon, const char *tag, struct buf *out);
/* That of what it took out of a sorted set last (batch_pop.c), beside the marker of all. */
void unit_popped_key(const char *prefix, const char *daemon, struct buf *out);
/* A slot's key that says when (Redis' clock, ms) a marker was last removed there as its daemon was
 * taken for dead (methods/remains.h). */
void unit_swept_key(const char *prefix, const char *tag, struct buf *out);

/* KEYS[1]: a list. ARGV: from, count, marker, value?. Removes count elements from there on, or puts
 * value in there (count 0). marker: a word that no element is. Within a unit the command "splice
 * key from count marker value?" does the same. */
const char *unit_splice_script(void);
/* The same of "follow": KEYS are the root and those that get its deadline. */
const char *unit_follow_script(void);

#endif
