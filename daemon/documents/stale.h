/* stale: what of a document others have changed in Redis since it was read.
 *
 * A mark names a Redis key of the document by its suffix ("" is the root's hash). Besides, a key
 * may be suspect: one that a daemon and a program without one write in the same turn of Redis' loop
 * is named once, and the daemon explains it. So what was written, by whomever, is read again after
 * a while, and with it all of the document that is short.
 */
#ifndef RAPYERD_STALE_H
#define RAPYERD_STALE_H

#include "daemon/documents/doc.h"

struct stale;

/* On a document of which nothing is known there is nothing to mark. */
void stale_mark(struct doc *d, const char *suffix, size_t len);
void stale_mark_all(struct doc *d);
void stale_suspect(struct doc *d, int64_t now, const char *suffix, size_t len); /* clock_boot_ms */

/* Hands the marks over to who reads the document now; NULL: there are none. */
struct stale *stale_take(struct doc *d);
/* Whether what lies under this suffix has to be read again: a container of so many elements; if
 * `deep` they are models. For NULL: no. */
bool stale_covers(const struct stale *s, const char *suffix, size_t suffix_len, size_t len,
                  bool deep);
bool stale_all(const struct stale *s);
void stale_free(struct stale *s);

#endif
