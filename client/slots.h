/* slots: the requests without an answer, found by id and by age.
 *
 * An id is a slot's number and how often the slot was used: a late answer to a request that was
 * given up finds nobody.
 */
#ifndef RAPYER_CLIENT_SLOTS_H
#define RAPYER_CLIENT_SLOTS_H

#include "client/request.h"

/* Appends the request to the output of an open connection; takes rq (NULL is taken for "no
 * memory"). params: nparams packed items. -1: error in db, rq freed. */
int slots_queue(rapyer *db, struct request *rq, const char *method, uint32_t nparams,
                const struct buf *params);
/* The answer to one; takes result, NULL for the error in *f. How many it settled: 0 or 1. */
int slots_settle(rapyer *db, uint64_t id, rapyer_value *result, const struct fault *f);
/* Tells those that were settled inside a callback; outside of all. */
void slots_deliver(rapyer *db);
/* The connection is lost, `sent` bytes of it had been sent. */
void slots_settle_all(rapyer *db, uint64_t sent, const struct fault *why);
/* The one whose time is up next, or NULL. */
struct request *slots_due(const rapyer *db);
/* Gives up those whose time is up. How many. */
int slots_expire(rapyer *db, int64_t now);
/* Ends them all without telling the caller: they are those of the parent process. */
void slots_forget(rapyer *db);

#endif
