/* probe: finds waits that go in a circle over several hosts.
 *
 *   here: A waits for L, which daemon D has ──["probe", ...]──► D: who holds L, and waits for M?
 *      M held at D: followed there.   M at another daemon: the probe is sent on.
 *      M held by A: the circle is closed. The youngest wait in it is told DEADLOCK.
 *
 * Chandy, Misra, Haas: Distributed Deadlock Detection (1983), their edge chasing for the AND
 * model. A wait for what another host has is probed for soon after it begins and again from time
 * to time, so a lost message costs time only. Of all daemons that see a circle only the one of
 * its youngest wait ends it, so one wait is refused, not each.
 */
#ifndef RAPYERD_PROBE_H
#define RAPYERD_PROBE_H

#include "daemon/leases/lease.h"
#include "daemon/locks/locks.h"
#include "daemon/redis/bus.h"

struct probes;

struct probes *probes_new(struct event_base *base, const struct config *config, const char *id,
                          struct bus *bus, struct locks *locks);
void probes_free(struct probes *p);
/* From locks_callbacks. */
void probes_waiting(struct probes *p, struct wait *w);
void probes_ended(struct probes *p, struct wait *w);
/* A message of another daemon; false when it is no probe. */
bool probes_message(struct probes *p, const void *payload, size_t len);

#endif
