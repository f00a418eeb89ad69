/* dial: from the text of an address to a connected socket, without blocking the loop.
 *
 *   "unix:/path" | "host" | "host:port" | "1.2.3.4:port" | "::1" | "[::1]:port"
 *
 * Names are looked up by libevent's resolver; every address found is tried in turn, each with
 * its share of the time that is left. Used once: it frees itself with its answer.
 */
#ifndef RAPYERD_DIAL_H
#define RAPYERD_DIAL_H

#include <event2/event.h>
#include <stdbool.h>

#define DIAL_DEFAULT_PORT "6379"

struct dial;

/* fd is a connected, non-blocking, close-on-exec socket that is now the callee's; or -1, and why
 * says what failed, address by address. Never called from inside dial_start. */
typedef void dial_done_fn(void *arg, int fd, const char *why);

struct dial *dial_start(struct event_base *base, const char *address, unsigned timeout_ms,
                        dial_done_fn *fn, void *arg);
/* The host of an address, without brackets; false: it has none. */
bool dial_host(const char *address, char *out, size_t size);
/* What goes there does not leave this host. */
bool dial_is_local(const char *address);
/* 0, or -1 with a message for a person where this process may open no socket that leads there, as
 * a service that is kept from the network: no other try would do. */
int dial_allowed(const char *address, char *error, size_t n);
/* Gives up; the callback is not called. */
void dial_cancel(struct dial *d);

#endif
