/* channel: a ring with its memory and its two bells, as a client holds them.
 *
 * Reading and writing are like recv(2) and send(2) on a non-blocking socket, without a system
 * call: one is made only to wake a daemon that sleeps. Waiting is done on one descriptor, which
 * tells of the client's bell and of the end of the socket. One thread.
 */
#ifndef RAPYER_CLIENT_CHANNEL_H
#define RAPYER_CLIENT_CHANNEL_H

#include "protocol/ring.h"

/* As the daemon sends them: the memory, the daemon's bell, the client's bell. */
#define CHANNEL_FDS 3

struct channel;

/* Takes the descriptors, also when it fails. size: bytes each way, as the daemon says. socket:
 * whose end is told of; it stays the caller's, and goes after the channel. NULL: errno. */
struct channel *channel_join(const int fds[CHANNEL_FDS], uint64_t size, int socket);
void channel_free(struct channel *c);

/* -1 with errno: EAGAIN when there are no bytes or no room, EPROTO when the daemon's counts are
 * impossible. */
ssize_t channel_read(struct channel *c, void *p, size_t n);
ssize_t channel_write(struct channel *c, const void *p, size_t n);
/* How many of the bytes written the daemon has not taken. After the end of the socket: never will.
 */
size_t channel_untaken(const struct channel *c);

/* Asks for the bell when there is what `wants` says (RING_BYTES, RING_ROOM). False: there is. */
bool channel_sleep(struct channel *c, uint32_t wants);
/* Polls readable when the bell rang or the socket ended, until channel_hear is called. */
int channel_fd(const struct channel *c);
/* Waits for that, at most timeout_ms (-1: for ever). 0: time is up, 1: hear it, -1: errno. */
int channel_wait(struct channel *c, int timeout_ms);
/* Has channel_fd tell of something, as the bell does. */
void channel_nudge(struct channel *c);
/* Takes note of what channel_fd told. Whether the socket has ended: what can be read still was
 * sent before that. */
bool channel_hear(struct channel *c);
void channel_wake(struct channel *c); /* needs no bell any more, looks by itself */

#endif
