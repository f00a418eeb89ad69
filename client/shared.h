/* shared: documents read where the daemon keeps them for all to read, without asking it.
 *
 * A read looks there first. Whatever is not as it should be (the document is not there, is being
 * changed, is too old for whom asks, the daemon stands still, requests are under way) is left to
 * the daemon: then these functions give NULL, with no error.
 *
 *   no memory ──(so many reads)──► asked for, on a connection of its own ──► mapped
 *       ▲                                                                      │
 *       └─────── the connection is lost, the process has forked, it is gone ◄──┘
 */
#ifndef RAPYER_CLIENT_SHARED_H
#define RAPYER_CLIENT_SHARED_H

#include "client/handle.h"

struct shared;

/* Unmaps it; NULL is fine. */
void shared_free(struct shared *s);

/* As doc.get. version: with "@v" at the end. complete: only if no field is left out of it. */
rapyer_value *shared_document(rapyer *db, const char *key, bool version, bool complete);
/* As doc.load of a path from the handle's place. */
rapyer_value *shared_place(rapyer_doc *at, const char *path);
/* As doc.get_many; NULL also if one of them is not there. */
rapyer_value *shared_many(rapyer *db, const char *const *keys, size_t n);

#endif
