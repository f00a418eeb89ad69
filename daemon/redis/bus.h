/* bus: messages between the daemons of one Redis or cluster, by PUBLISH.
 *
 * Each daemon listens on `<prefix>:@bus:<id>`, and with all others on `<prefix>:@bus:all`, over a
 * connection of its own. A message that was
 * published while nobody listened is lost, and PUBLISH says so (0 receivers): whoever sends must
 * be able to do without. Payloads are one MessagePack array each, a str first: what it is about.
 *
 * In a cluster PUBLISH is heard at all nodes, and counts those who listen at its own. So a daemon
 * listens at each master, to what is said there: `<prefix>:@bus:<run>:<id>`, with the run of that
 * server. What is said to all is heard as often as there are masters.
 */
#ifndef RAPYERD_BUS_H
#define RAPYERD_BUS_H

#include "daemon/base/config.h"
#include "daemon/redis/router.h"

struct bus;

struct bus_callbacks {
    void (*message)(void *arg, const void *payload, size_t len);
    /* To what is said over that link of the router, from now on; messages before may have been
     * missed. */
    void (*listening)(void *arg, struct upstream *up);
};

/* What is sent goes over the links of the router. May be freed after it. */
struct bus *bus_new(struct event_base *base, struct config *config, const char *id,
                    const struct router *router, const struct bus_callbacks *cb, void *arg);
void bus_free(struct bus *b);
void bus_start(struct bus *b);
/* One Redis: as upstream_set_address. */
void bus_set_address(struct bus *b, const char *address);
/* A cluster: other nodes are masters. */
void bus_links(struct bus *b);
/* To what is said over that link. */
bool bus_listening(const struct bus *b, const struct upstream *up);
#define BUS_ALL "all" /* the name that all daemons listen to */
/* The channel of all daemons, or of one in front of one Redis. */
void bus_channel(const struct config *config, const char *id, struct buf *out);
/* The channel of a daemon for what is said over that link, which is up; its beginning, with "". */
void bus_channel_at(const struct bus *b, const struct upstream *up, const char *id,
                    struct buf *out);
/* Sends over that link, and forgets: false when it is down. */
bool bus_send(struct bus *b, struct upstream *up, const char *to, const void *payload, size_t len);

#endif
