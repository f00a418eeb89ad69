/* claims: in a cluster, which document a unique value is of: the value has a slot of its own, and
 * a claim there, which is made before the commit that gives it to a document.
 *
 *   a batch that is to be sent ─► each of its values is claimed ─┬─ free, or its own ─► sent
 *                                        ▲                       └─ another document's
 *                                        │                             │ is it so? (claim_look.lua)
 *                  it cannot get it ─► taken over                      ├─ it has it ─► CONFLICT
 *                  it may get it yet ─► a moment later; then its right to it is revoked
 *
 * The right is good in an epoch of the document's slot, a number there that only rises, and each
 * commit with unique values checks that it is still that of its claims. What raises it is that
 * somebody looks for the second time in vain, and each commit by which a document may lose a
 * value: whatever was claimed before is refused then, and claimed anew. So no clock decides.
 *
 *   <prefix>:@unique:User/mail=ada@b   "7 42": of User:42, in epoch 7 of its slot
 *                                      (a long value by its SHA-256, behind "#")
 *   <prefix>:@unique{abc}              hash: "@v" is the epoch of the slot
 *
 * docs/design.md has the cases.
 */
#ifndef RAPYERD_CLAIMS_H
#define RAPYERD_CLAIMS_H

#include "daemon/commit/batch.h"
#include "daemon/redis/router.h"

struct claims;
struct claiming; /* for one batch */

/* Of one slot, as far as is known. */
struct claim_epoch {
    bool known;
    int64_t number;
};

/* All are kept by the caller, the router until claims_stop. */
struct claims *claims_new(struct event_base *base, const struct config *config,
                          const struct router *router, const struct names *names);
/* All links have told what they had to. */
void claims_free(struct claims *c);

/* Of a batch of that slot, which is about to be formatted: units that cannot have their values are
 * refused by the time that done is called, which is not before this has returned. NULL: there is
 * nothing to wait for. The epoch is learned here, and kept by the caller. */
struct claiming *claims_begin(struct claims *c, struct batch *b, uint16_t slot,
                              struct claim_epoch *epoch, void (*done)(void *arg), void *arg);
/* The batch will not be sent; done is not called. */
void claims_drop(struct claiming *g);
/* EXEC has answered, and batch_answer taken it: what documents have no more is let go, and the
 * epoch learned that is there now. */
void claims_settle(struct claims *c, const struct batch *b, const redisReply *exec,
                   struct claim_epoch *epoch);

#endif
