/* indexer: sees to it that indexes have all documents, and none that have ended.
 *
 *   an index whose state in Redis is not that of a complete one (declared for a model that had
 *   documents; Redis came back while empty; a key of it was spoilt)
 *       ──► all documents of its model are looked at, a page at a time; writes go on ──► complete
 *   an index that is dropped ──► its keys are removed, a page at a time
 *   documents that ended by themselves ──► their entries are taken out within some seconds
 *
 * One daemon of all does it, as long as it has the lease for it; when it dies another one goes on.
 */
#ifndef RAPYERD_INDEXER_H
#define RAPYERD_INDEXER_H

#include "daemon/exec/exec.h"

struct indexer;

struct indexer *indexer_new(struct event_base *base, struct exec *e, const char *id);
/* Models may be others than before, or Redis another. */
void indexer_wake(struct indexer *x);
/* The end: nothing more is looked at. */
void indexer_stop(struct indexer *x);
/* Behind its exec, which tells it of requests on their way. */
void indexer_free(struct indexer *x);

#endif
