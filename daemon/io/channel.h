/* channel: a ring with its memory and its two bells, as the daemon holds them.
 *
 *   client ── put ──► ring memory ──► channel_read      bell of the daemon: an eventfd
 *   client ◄── take ── ring memory ◄── channel_write    bell of the client: a socket
 *
 * Reading and writing are like read(2) and send(2) on a non-blocking socket, without a system
 * call: one is made only to wake a client that sleeps. Nothing that the client does to the memory
 * or the descriptors can block or crash the daemon: the memory cannot shrink, the daemon's bell is
 * never read, and the write end of the client's bell is the daemon's own. One thread.
 */
#ifndef RAPYERD_CHANNEL_H
#define RAPYERD_CHANNEL_H

#include "daemon/base/state.h"
#include "protocol/ring.h"
#include <event2/event.h>

struct channel;

/* Clients that wait on a futex are woken two at a time: this one by the next write to another, or
 * by channels_wake, which is due before the loop sleeps. One for each loop; zeroes at first. */
struct channel_wakes {
    struct channel *pending;
};

typedef void channel_bell_fn(void *arg); /* there may be bytes or room again */

/* size: bytes each way, as ring_size_fits says. The bell is heard from the loop. NULL: errno. */
struct channel *channel_new(struct event_base *base, struct channel_wakes *wakes, uint32_t size,
                            channel_bell_fn *on_bell, void *arg);
void channel_free(struct channel *c);
/* Hands it over to another process, and there takes it up again: the bell rings in the first turn
 * of the loop. NULL: what was handed over is no channel, or errno. */
void channel_save(const struct channel *c, struct state_writer *w);
struct channel *channel_resume(struct event_base *base, struct channel_wakes *wakes,
                               struct state_reader *r, channel_bell_fn *on_bell, void *arg);
/* Sends `last` through the socket, and with it what the client needs, in this order: the memory,
 * the daemon's bell, its own bell. -1 with errno. */
int channel_hand_over(struct channel *c, int socket, const void *last, size_t len);

/* -1 with errno: EAGAIN when there are no bytes or no room, EPROTO when the client's counts are
 * impossible. Never 0 for n > 0: whether the client is there is not known here. */
ssize_t channel_read(struct channel *c, void *p, size_t n);
ssize_t channel_write(struct channel *c, const void *p, size_t n);

void channels_wake(struct channel_wakes *wakes);

/* Asks for the bell when there is what `wants` says (RING_BYTES, RING_ROOM). False: there is. */
bool channel_sleep(struct channel *c, uint32_t wants);
void channel_wake(struct channel *c); /* needs no bell any more, looks by itself */

#endif
