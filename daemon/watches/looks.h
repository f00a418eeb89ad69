/* looks: which version a document has in Redis, when somebody else has changed it.
 *
 *   heard of a change ──► due ──(end of the loop's turn)──► asked ──HMGET @v @s──► seen
 *
 * What others say of their commits is what they expected of them. So Redis is asked, over the link
 * that commits go over: what is seen there has one order with our own. In a cluster that is a link
 * for each master.
 */
#ifndef RAPYERD_LOOKS_H
#define RAPYERD_LOOKS_H

#include "daemon/redis/router.h"
#include "daemon/watches/touched.h"

#define VERSION_UNKNOWN (-1)

struct looks;
struct names;

/* version 0: it is not there; VERSION_UNKNOWN: Redis could not say. */
typedef void looks_fn(void *arg, const char *key, size_t key_len, int64_t version,
                      const struct touched *t);

/* The names are kept by the caller. */
struct looks *looks_new(const struct router *router, const struct names *names, looks_fn *seen,
                        void *arg);
/* When the upstream is gone. */
void looks_free(struct looks *l);
/* The document is to be looked at, as this of it has changed (touched_add, touched_all). */
void looks_add(struct looks *l, const char *key, size_t len, const char *suffix, size_t suffix_len,
               const char *field, size_t field_len);
void looks_all(struct looks *l, const char *key, size_t len);
void looks_send(struct looks *l);          /* all that are due */
size_t looks_bytes(const struct looks *l); /* of those that are due or asked for */
void looks_drop(struct looks *l);          /* those that are due */

#endif
