/* audit: whether what is in memory is what Redis holds, looked at while the daemon works.
 *
 *   some document ──► read into a tree of its own ──same──► (nothing)
 *                                  │ differs
 *                                  ▼
 *      what was acknowledged when it was read is proved to be heard of, coherence.bound is over,
 *      and the document is as it was: given out, not read again, changed or marked
 *                                  │
 *                                  ▼ read once more: differs
 *                            counted, logged; and again later, until it is read anew
 *
 * The cache is not told of any of this, so that a look mends nothing that others would have got
 * wrong; but for the last one, after which the document is read again when it is next used.
 * It looks only while documents are used, and less often where they are big.
 */
#ifndef RAPYERD_AUDIT_H
#define RAPYERD_AUDIT_H

#include "daemon/documents/coherence.h"

struct audit;
struct names;

/* The names are kept by the caller. */
struct audit *audit_new(struct event_base *base, const struct config *config,
                        const struct router *router, const struct names *names,
                        struct coherence *coherence, struct cache *cache,
                        const struct schema *schema);
/* When the links have told all that were outstanding; before cache and coherence. */
void audit_free(struct audit *a);

#define AUDIT_TIMES 3 /* when the bound is over, 1 s and 10 s later */

struct audit_stats {
    uint64_t looks;              /* at documents, that came to an end */
    uint64_t wrong[AUDIT_TIMES]; /* were given out otherwise than Redis had them, so long after */
};
void audit_stats(const struct audit *a, struct audit_stats *out);

#endif
