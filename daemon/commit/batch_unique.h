/* batch_unique: which values of a batch no other document may have. Each is checked by the script
 * of its unit, before the unit's commands (unit.lua): whom the index names for the value, and
 * whether that document has it. So an entry that was left over refuses nothing.
 *
 * In a cluster documents with the same value may be in different slots: there they are claimed
 * before the batch is sent (claims.h), and the script checks that this still counts.
 *
 * All calls that may write a unique field have a guard of their own (exec), so that such a refusal
 * is that of one call.
 */
#ifndef RAPYERD_BATCH_UNIQUE_H
#define RAPYERD_BATCH_UNIQUE_H

#include "daemon/commit/batch.h"

/* Notes the values in their units. A unit that gives one value to two documents is refused without
 * asking Redis. Before the batch is formatted. */
void batch_plan_uniques(struct batch *b);
/* The text that a unique field has after this part, which sets it. False: it does not, or to null,
 * or the index is not a unique one. */
bool batch_unique_text(const struct batch_doc *bd, const struct index *ix, const char **text,
                       size_t *len);
/* The other text of the same value: 0.0 is -0.0. Of any other value it is the text itself. */
const char *unique_other(const struct index *ix, const char *text, size_t len, size_t *other_len);
void batch_unique_check(const struct batch *b, const struct unique_value *v, struct unit_call *c);

/* ---- in a cluster ---- */

/* Appends the key of what is known of a value, and of the epoch of a slot. */
void unique_key(const char *prefix, const struct model *m, const struct index *ix, const char *text,
                size_t len, struct buf *out);
void unique_epoch_key(const char *prefix, uint16_t slot, struct buf *out);
/* Plans them, and says whether any unit has one that is not refused. */
bool batch_has_uniques(struct batch *b);
/* All units that are not refused have their values in this epoch. */
void batch_claimed(struct batch *b, int64_t epoch);
void batch_epoch_check(const struct batch *b, struct unit *u, struct unit_call *c);
/* Appends commands that ask which values documents have, as far as they may lose them, and those
 * that raise the epoch behind that; returns their number. */
unsigned batch_format_was(struct batch *b, struct buf *out);
unsigned batch_format_epoch(struct batch *b, struct buf *out);
/* What that has come to, once batch_answer has taken it; false: it is not raised. */
bool batch_epoch(const struct batch *b, const redisReply *exec, int64_t *epoch);
/* Tells each value that a document has no more, or was to have and has not, by its key. */
void batch_each_freed(const struct batch *b, const redisReply *exec,
                      void (*fn)(void *arg, const struct buf *key, const char *pk, size_t pk_len),
                      void *arg);

#endif
