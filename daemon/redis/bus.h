/* bus: messages between the daemons of one Redis, by PUBLISH.
 *
 * Each daemon listens on `<prefix>:@bus:<id>`, and with all others on `<prefix>:@bus:all`, over a
 * connection of its own. A message that was
 * published while nobody listened is lost, and PUBLISH says so (0 receivers): whoever sends must
 * be able to do without. Payloads are one MessagePack array each, a str first: what it is about.
 */
#ifndef RAPYERD_BUS_H
#define RAPYERD_BUS_H

#include "daemon/base/config.h"
#include "daemon/redis/upstream.h"

struct bus;

struct bus_callbacks {
    void (*message)(void *arg, const void *payload, size_t len);
    void (*listening)(void *arg); /* from now on; messages before may have been missed */
    void (*deaf)(void *arg);
};

/* `up` is the link for what is sent. */
struct bus *bus_new(struct event_base *base, struct config *config, const char *id,
                    struct upstream *up, const struct bus_callbacks *cb, void *arg);
void bus_free(struct bus *b);
void bus_start(struct bus *b);
void bus_stop(struct bus *b);
void bus_set_address(struct bus *b, const char *address); /* as upstream_set_address */
bool bus_listening(const struct bus *b);
#define BUS_ALL "all" /* the name that all daemons listen to */
/* The channel of a daemon. */
void bus_channel(const struct config *config, const char *id, struct buf *out);
/* Sends, and forgets: false when the link is down. */
bool bus_send(struct bus *b, const char *to, const void *payload, size_t len);

#endif
