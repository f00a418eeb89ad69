/* listener: the socket clients connect to: made, or taken over from systemd.
 *
 * Only one daemon can have a path: the lock file `<socket>.lock` is held as long as the listener
 * lives. A socket left behind by a daemon that died is replaced, a living one's never is.
 */
#ifndef RAPYERD_LISTENER_H
#define RAPYERD_LISTENER_H

#include "daemon/base/config.h"
#include "daemon/base/state.h"
#include <event2/event.h>

struct listener;

/* Takes over the fd: non-blocking, close-on-exec. */
typedef void listener_accept_fn(void *arg, int fd);

/* Listens at config->socket with its owner, group and mode, or on the unix socket that was handed
 * over (handed.h); -1: none was. NULL with a message for a person. */
struct listener *listener_open(struct event_base *base, const struct config *config, int handed,
                               listener_accept_fn *on_accept, void *arg, char *error, size_t n);
/* Takes no connections, which wait, or goes on. */
void listener_pause(struct listener *l, bool paused);
/* Hands it over to another process; and takes it up there in place of listener_open: whatever
 * config->socket is by now. NULL: what was handed over is not that. */
void listener_save(const struct listener *l, struct state_writer *w);
struct listener *listener_resume(struct event_base *base, struct state_reader *r,
                                 listener_accept_fn *on_accept, void *arg);
/* Stops listening. Removes the socket when it is ours and still the same file. */
void listener_close(struct listener *l);
/* It is its own, still there, and where and whose the settings say: listener_open would make
 * another just like it. */
bool listener_is_as_set(struct listener *l, const struct config *config);
/* Whether systemd owns the socket; then it outlives us. */
bool listener_from_systemd(const struct listener *l);

#endif
