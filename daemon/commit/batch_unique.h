/* batch_unique: which values of a batch no other document may have. Each is checked by the script
 * of its unit, before the unit's commands (unit.lua): whom the index names for the value, and
 * whether that document has it. So an entry that was left over refuses nothing.
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
void batch_unique_check(const struct batch *b, const struct unique_value *v, struct unit_call *c);

#endif
