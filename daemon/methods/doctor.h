/* doctor: looks at the Redis behind the daemon, or at each node of a cluster, and says which
 * guarantee it weakens.
 *
 * One pipelined question each (INFO and a few CONFIG GET), and a rehearsal of what rapyerd may do
 * there (rights.h); each finding is judged by itself, and what the daemon's user may not see there
 * is "cannot be checked", not taken for good.
 */
#ifndef RAPYERD_DOCTOR_H
#define RAPYERD_DOCTOR_H

#include "daemon/clients/session.h"
#include "daemon/redis/router.h"

struct audit;
struct sentinels;
struct doctor;

/* `audit` says whether what is in memory was what Redis holds. */
struct doctor *doctor_new(struct router *router, const struct config *config,
                          const struct audit *audit);
/* Those that say where the master is; without this there are none. */
void doctor_sentinels(struct doctor *d, const struct sentinels *s);
void doctor_free(struct doctor *d);
/* Answers admin.doctor [] -> [{node?, check, state, found, advice}, ...]; state is "ok", "warn" or
 * "bad", advice "" where there is none, node "host:port" of what is said of a node of a cluster. */
void doctor_request(struct doctor *d, struct session *s, const struct rpc *msg);
/* Some link may have come up: what may lose documents there is logged, once until it changes. */
void doctor_links(struct doctor *d);

#endif
