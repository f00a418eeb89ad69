/* unit: changes that are applied together if their guard holds, as scripts in a MULTI.
 *
 *   EVAL script  marker, the checks' keys  number, checks, commands ──► the commands' replies, or
 *                                                                       "REFUSED i"
 *
 * A unit that was refused appends its number to the marker ("17 0/1 3/2": of batch 17 the units 0
 * and 3, for their checks 1 and 2), so that it is known also when EXEC's answer is lost, and so
 * that the further calls of a unit that is too long for one do as the first did.
 */
#ifndef RAPYERD_UNIT_H
#define RAPYERD_UNIT_H

#include "daemon/guard.h"
#include "protocol/buf.h"
#include <hiredis/hiredis.h>

struct batch_doc;

struct unit {
    struct unit *next; /* of the batch */
    struct batch_doc *docs, *last_doc;
    struct guard *guard;
    unsigned number; /* in the batch, from 0 */
    unsigned lost;   /* 1 + the check that did not hold; 0: applied */
    int64_t found;   /* VERSION: the one that is there; -1: not known */
};

/* One script call while it is put together. */
struct unit_call {
    struct buf words; /* of the commands, in Redis' form */
    unsigned nwords;
    bool later; /* an earlier call of the unit has checked */
};

void unit_call_begin(struct unit_call *c); /* a new unit */
void unit_call_command(struct unit_call *c, int argc, const char *const *argv, const size_t *len);
/* Appends the call; the next commands are a further call of the unit. */
void unit_call_flush(struct unit_call *c, const struct guard *g, unsigned number,
                     const char *prefix, const char *daemon, struct buf *out);
void unit_call_free(struct unit_call *c);

/* Whether a reply says that a unit was not applied; u, if given, takes what it says. */
bool unit_refused(const redisReply *reply, struct unit *u);
/* What the marker, as Redis has it after the batch, says of this unit. */
void unit_take_marker(struct unit *u, const char *marker);
/* Fills in why it was refused. Returns -1. */
int unit_refusal(const struct unit *u, struct fault *f);

/* Appends commands that take the leases of the guard back, as far as nobody has them: for a Redis
 * that came back without them, before the batch is sent again. Returns their number. */
unsigned unit_format_leases(const struct guard *g, const char *daemon, struct buf *out);

/* The key of this daemon's marker. */
void unit_marker_key(const char *prefix, const char *daemon, struct buf *out);

/* KEYS[1]: a list. ARGV: from, count, value?. Removes count elements from there on, and puts value
 * in their place. Within a unit the command "splice key from count value?" does the same. */
extern const char unit_splice_script[];

#endif
