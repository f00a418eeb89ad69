/* scan: finds the end of one MessagePack frame in a stream, without trusting it.
 *
 * The first thing that touches bytes from a socket. It allocates nothing, never reads twice
 * what it has seen (a frame that arrives byte by byte costs linear time), and refuses a frame
 * as soon as what it declares cannot fit: depth, size, or more elements than bytes left under
 * the limit. After SCAN_DONE everything that reads the frame may rely on its structure: every
 * length and count is inside it.
 */
#ifndef RAPYER_PROTOCOL_SCAN_H
#define RAPYER_PROTOCOL_SCAN_H

#include "protocol/fault.h"
#include <stddef.h>
#include <stdint.h>

#define SCAN_MAX_DEPTH 32 /* containers within containers; the limit compiled into msgpack-c */

enum scan_status { SCAN_DONE, SCAN_MORE, SCAN_BAD };

struct scan {
    size_t at;                         /* bytes of this frame seen and understood */
    size_t limit;                      /* the frame may not be longer; bytes */
    uint64_t items;                    /* among those bytes, containers counted too */
    uint64_t open;                     /* items still due in all open containers */
    unsigned depth;                    /* open containers */
    uint64_t left[SCAN_MAX_DEPTH + 1]; /* items still due at each depth; left[0] is the frame */
};

void scan_init(struct scan *s, size_t limit);

/* Looks on in data[0..len), where data[0] is the frame's first byte at every call and len never
 * shrinks. SCAN_DONE: the frame is data[0..s->at). SCAN_MORE: come back with more bytes.
 * SCAN_BAD: *f says why (BAD_FRAME, TOO_LARGE); the stream cannot be followed any further. */
enum scan_status scan_run(struct scan *s, const uint8_t *data, size_t len, struct fault *f);

#endif
