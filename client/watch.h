/* watch: what the daemon is asked to tell of, over connections that come and go.
 *
 *   rapyer_watch ─► watch ──asked for──► told ─► heard ─┬─► callbacks
 *                     ▲                                 └─► kept, for rapyer_wait_change
 *                     └─ a new connection: asked for again, and told to be looked at
 *
 * What does not fit, or is heard while the connection is gone, makes a watch *lost*: its next
 * change says "look yourself".
 */
#ifndef RAPYER_CLIENT_WATCH_H
#define RAPYER_CLIENT_WATCH_H

#include "client/db.h"
#include "protocol/rpc.h"

struct watching;

/* A notification; what is none of ours is left alone. */
void watch_notified(rapyer *db, const struct rpc *m);
/* A connection is open, and nothing was asked over it yet: appends requests. -1: no memory. */
int watch_reconnected(rapyer *db);
/* Whether something is watched, so that a connection is wanted though nobody asks. */
bool watch_any(const rapyer *db);
/* Outside of callbacks: calls those of watches, and asks again for what was refused for a while. */
void watch_work(rapyer *db);
/* ms until watch_work has something to do by itself; -1: never. */
int watch_due_ms(const rapyer *db);
void watch_free(rapyer *db);

#endif
