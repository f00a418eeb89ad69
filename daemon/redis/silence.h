/* silence: whether a node of a cluster may have been replaced since it was heard of last.
 *
 * A master that nobody hears for cluster-node-timeout is replaced by a replica, half a second later
 * at the soonest. One that was frozen for so long, and wakes, does not know it yet: it carries out
 * what waits in its clients' sockets, and reads what the other nodes have sent only then. So
 *
 * - what it answers after so long a silence counts as lost, with the link. Whatever comes of it, a
 *   read or a commit, is asked for anew, of whoever is master then.
 * - who has not been asked for long is asked something of no consequence first (PING). When that is
 *   answered the node has run through all that was in its sockets, and has taken up the connections
 *   of other nodes; what they have said there it reads before it reads what comes then. Where the
 *   answer came after such a silence another node is asked as well whether this one is in its
 *   place, as connections with TLS take longer than that to be there.
 */
#ifndef RAPYERD_SILENCE_H
#define RAPYERD_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

struct silence {
    int64_t takeover; /* ms, the timeout; 0: nobody takes its place */
    int64_t heard;    /* clock_boot_ms() from when on it was alive */
};

/* It is to be asked something of no consequence first. */
static inline bool silence_is_long(const struct silence *s, int64_t now)
{
    return s->takeover > 0 && now - s->heard > s->takeover / 2;
}

/* Something came; `more`: for so long it may wait with an answer (ms). True: too late. Whether this
 * process stood still itself is no matter: then nobody knows for how long the node did. */
static inline bool silence_ends(struct silence *s, int64_t now, int64_t more)
{
    if (s->takeover > 0 && now - s->heard > s->takeover + more)
        return true;
    s->heard = now;
    return false;
}

#endif
