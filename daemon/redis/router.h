/* router: over which link the keys of a slot are reached.
 *
 *   one Redis: one link, for all of them
 *   a cluster: a link for each master, and a map: slot ──► master
 *
 * The map is what CLUSTER SLOTS and MOVED say. One that is out of date does no harm: who is asked
 * for what he does not have says so, and that is told as a lost answer (upstream.h). It is asked
 * for anew after such an answer, when a link is lost, and from time to time.
 */
#ifndef RAPYERD_ROUTER_H
#define RAPYERD_ROUTER_H

#include "daemon/redis/upstream.h"

struct router;

struct router_callbacks {
    /* Requests may be sent over it. In a cluster only when the connections before it are gone, and
     * nothing can be applied any more that was sent over them. */
    void (*on_up)(void *arg, struct upstream *up);
    void (*on_down)(void *arg, struct upstream *up); /* after outstanding requests were told */
    void (*on_map)(void *arg);                       /* slots have another link than before */
};

struct router *router_new(struct event_base *base, struct config *config,
                          const struct router_callbacks *cb, void *arg);
void router_free(struct router *r);
void router_start(struct router *r);
void router_stop(struct router *r, const char *why);
bool router_is_cluster(const struct router *r);

/* Never NULL: where nobody is known to have the slot it is a link that is down. They stay what they
 * are until router_free. Without a cluster all keys have slot 0. */
struct upstream *router_link(const struct router *r, uint16_t slot);
/* In a cluster: which node has the slot, as router_node counts them, and as long as the router
 * lives; UINT_MAX where nobody is known to have it. */
unsigned router_number(const struct router *r, uint16_t slot);
/* Whether on_up was called for it, and not on_down since. */
bool router_ready(const struct router *r, const struct upstream *up);
/* As upstream_epoch, of what was read from the slot: another one also when the slot has moved. */
uint32_t router_epoch(const struct router *r, uint16_t slot);
/* Where who has the slot is not there: in which epoch what was read from it last was current. 0: in
 * none, as it was another's before, or never there. */
uint32_t router_epoch_before(const struct router *r, uint16_t slot);
uint16_t router_slot(const struct router *r, const char *redis_key, size_t len);

/* Whatever was sent over that link in that epoch can be applied no more. */
bool router_over(const struct router *r, const struct upstream *up, uint32_t epoch);
/* `to` was a replica of `from` when that was last seen as a master: whatever it may yet apply it
 * will throw away. */
bool router_promoted(const struct router *r, const struct upstream *from,
                     const struct upstream *to);
/* Whether what this node says of its slots is known as of that epoch of its configuration
 * (cluster_current_epoch) or a later one. */
bool router_knows(const struct router *r, const struct upstream *up, uint64_t config_epoch);
/* Asks it which of those it has that it is thought to have, and then calls fn; it has said that its
 * configuration is of that epoch. Without an answer fn is not called. */
void router_learn(struct router *r, struct upstream *up, uint64_t config_epoch,
                  void (*fn)(void *arg), void *arg);
/* Why nothing is carried out in the slot: its link is not up, the node says that the cluster is
 * down, or the slot is on the move. Good until the next call. */
const char *router_why(const struct router *r, uint16_t slot);
/* The same where all masters that are ready say that the cluster is down; NULL: not all do. */
const char *router_down(const struct router *r);
/* Asks for the map, if that was not done a moment ago. */
void router_look(struct router *r);
/* The link of one of the masters of a cluster that is ready; NULL: none is. */
struct upstream *router_any(const struct router *r);
/* Calls fn for the link of each master of a cluster. */
void router_each(const struct router *r, void (*fn)(void *arg, struct upstream *up), void *arg);

struct router_node {
    struct upstream *up;
    const char *address; /* host:port */
    bool ready;          /* router_ready of its link */
    unsigned slots;      /* that it has, as far as is known */
};
/* The nodes of a cluster that links are kept to: true while there is an i-th one. */
bool router_node(const struct router *r, unsigned i, struct router_node *out);
/* How many slots the node of this link has, or NULL nobody; *first is one of them if there is any
 * (it may be NULL), `out` all of them as "0-99 200", cut with "..." at its size. */
unsigned router_ranges(const struct router *r, const struct upstream *up, uint16_t *first,
                       char *out, size_t size);

#endif
