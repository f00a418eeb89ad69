/* stream: bytes in and out of one non-blocking socket; knows nothing of what they mean.
 *
 *   fd ──read──► in ──on_input(stream, bytes)──► how many were used
 *   out ◄── stream_out() appends, stream_flush() writes ──► fd
 *
 * With a channel the bytes take that way instead, and the socket only tells when the peer is gone.
 * Reading stops while paused. Output that the socket does not take stays in `out` and goes on
 * when it is writable. With TLS they are encrypted on their way through the socket. Closing is safe
 * inside any callback: the memory is freed one loop later. One thread.
 */
#ifndef RAPYERD_STREAM_H
#define RAPYERD_STREAM_H

#include "daemon/base/blob.h"
#include "daemon/base/state.h"
#include "daemon/io/tls.h"
#include "protocol/buf.h"
#include <event2/event.h>

struct stream;

struct stream_callbacks {
    /* New bytes: data[0..len) is all that was not used yet. Returns how many are used up (may
     * be 0). Not called again before more arrived. May close the stream; then returns 0. */
    size_t (*on_input)(void *arg, const uint8_t *data, size_t len);
    /* The peer is done or the socket failed: err is 0 for end of stream, else an errno: EPROTO
     * when the peer of a channel breaks its rules. `rest` bytes had arrived and were not used. The
     * owner calls stream_close, or, after an end of stream, goes on writing to a peer that still
     * reads; should that fail then, this is called once more with an errno. */
    void (*on_end)(void *arg, int err, size_t rest);
    /* The output buffer went below `low` after having been above it; may be NULL. */
    void (*on_drained)(void *arg);
};

/* Takes the fd (made non-blocking, close-on-exec). A connecting socket may be given: bytes flow
 * once it is writable. NULL on failure, the fd is then closed. */
struct stream *stream_new(struct event_base *base, int fd, const struct stream_callbacks *cb,
                          void *arg);
/* Hands it over to another process: its descriptors, what has arrived and was not used, and what is
 * unsent. There it is taken up again, and goes on in the first turn of the loop. NULL: what was
 * handed over is no stream, or errno. Not with TLS. */
void stream_save(const struct stream *s, struct state_writer *w);
struct stream *stream_resume(struct event_base *base, struct state_reader *r, unsigned watch_us,
                             const struct stream_callbacks *cb, void *arg);
/* The same of those that are being closed after a flush. -1: as NULL. */
/* Bytes that had arrived go before those that are there. */
void stream_put_before(struct stream *s, const void *data, size_t len);
void streams_save_dropped(const struct event_base *base, struct state_writer *w);
int streams_resume_dropped(struct event_base *base, struct state_reader *r, unsigned timeout_ms);
/* Before anything was written: all that passes is encrypted. Takes the tls, which was made for its
 * fd; what ends it is told as EPROTO. Such a stream has no channel and is not paused. */
void stream_secure(struct stream *s, struct tls *t);
void stream_close(struct stream *s);

/* Sends bytes and with them a descriptor, which stays open here. -1 with errno: EAGAIN when output
 * is unsent, EBADFD when it goes through a channel or TLS, or what the socket says. */
int stream_send_fd(struct stream *s, const void *data, size_t len, int fd);

/* Moves to a channel of `size` bytes each way: sends `last` with its descriptors, the last bytes
 * that the socket carries. watch_us: for how long the loop watches its channels after the last of
 * them had something to do, before it sleeps. -1 with errno, and all is as before: EAGAIN when
 * output is unsent, or what keeps it from being made. */
int stream_open_channel(struct stream *s, uint32_t size, unsigned watch_us, const void *last,
                        size_t len);
bool stream_has_channel(const struct stream *s);

struct buf *stream_out(struct stream *s); /* append here, then stream_flush */
/* What is long follows what was appended without being copied; its holder may let go of it. */
void stream_give(struct stream *s, struct blob *b);
void stream_flush(struct stream *s); /* writes what the socket takes now */
/* Marks output as pending; written when this loop turn's input has been handled (many answers,
 * one write). */
void stream_flush_later(struct stream *s);
size_t stream_unsent(const struct stream *s);
size_t stream_unread(const struct stream *s); /* bytes in the input buffer */
const uint8_t *stream_unread_data(const struct stream *s);
/* Within on_input: takes the input buffer, if all of it ends at `end`; what points into it stays
 * good.
 */
bool stream_take_in(struct stream *s, const uint8_t *end, struct buf *out);
void stream_set_low(struct stream *s, size_t low);
void stream_pause(struct stream *s, bool paused); /* of reading; unpausing hands over what waits */
/* For good: what waits is dropped and nothing more is read; writing goes on. */
void stream_stop_reading(struct stream *s);
/* Both directions are shut: what is written from now on reaches nobody. */
bool stream_peer_gone(const struct stream *s);
uint64_t stream_written(const struct stream *s); /* bytes the peer was sent so far */
int stream_fd(const struct stream *s);
/* After what is unsent went out (or `timeout_ms` passed), close. No callback is called any
 * more and the stream is no longer the owner's. What the peer still sends is read and dropped
 * until it closes too or the time is over, so that it can take the last answer in peace. */
void stream_close_after_flush(struct stream *s, unsigned timeout_ms);
/* Closes at once all that stream_close_after_flush still holds, before the base goes. */
void streams_finish(struct event_base *base);

#endif
