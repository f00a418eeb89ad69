/* purge: removes what is left of documents that were too long to be deleted in one commit.
 *
 *   doc.delete ──commit──► the root hash has "@d" and no "@s": there is no document any more
 *   purge      ──SCAN, UNLINK, a page at a time──► all keys are gone, the root hash last
 *
 * "<prefix>:@gone" has the keys of such documents, so that a daemon that starts goes on where
 * another one ended; two may do it at once. Until the end nobody makes the document anew.
 */
#ifndef RAPYERD_PURGE_H
#define RAPYERD_PURGE_H

#include "daemon/redis/upstream.h"

struct names;
struct purger;
struct router;

/* The names are kept by the caller. gone: nothing is left under this key (or somebody else is at
 * it); it may add to the purger. */
struct purger *purger_new(struct event_base *base, const struct router *router,
                          const struct names *names,
                          void (*gone)(void *arg, const char *key, size_t len), void *arg);
void purger_free(struct purger *p);
/* The names are what they will be: what is left is looked for from then on. */
void purger_named(struct purger *p);
/* Notes in Redis that the document is going to be deleted; before the commit that does. */
void purger_note(struct purger *p, const char *key);
/* The document is deleted: the rest of it is removed soon. */
void purger_add(struct purger *p, const char *key, size_t len);
/* The link is up: goes on, and looks for what others have left. */
void purger_up(struct purger *p);

#endif
