/* lanes: which lane a document's commits go through, and over which link.
 *
 *   one Redis: one lane, over one link
 *   a cluster: a lane for each slot that is used, over the link of whoever has the slot now
 *
 * The *home* lane is that of what belongs to no document (the declarations of the models).
 */
#ifndef RAPYERD_LANES_H
#define RAPYERD_LANES_H

#include "daemon/commit/lane.h"
#include "daemon/redis/router.h"

struct lanes;

struct lanes_callbacks {
    void (*on_batch)(void *arg, struct lane *l, struct batch *b, const struct fault *fault);
    void (*on_link)(void *arg); /* of the home lane, as the following (lane.h) */
    void (*on_ready)(void *arg);
    void (*on_down)(void *arg);
    /* Of a cluster: a node can be reached over this link, or not any more (router.h). */
    void (*on_node)(void *arg, struct upstream *up, bool is_up);
    void (*on_slots)(void *arg); /* some other lanes are ready, or not any more */
    /* A cluster: links are up or down, or slots have another one (router.h); before anything is
     * sent again. */
    void (*on_links)(void *arg);
};

/* Their commits keep the indexes right that are in `indexes`. The caller keeps these and the
 * names. */
struct lanes *lanes_new(struct event_base *base, struct config *config, const char *id,
                        const struct names *names, struct index_table *indexes,
                        const struct lanes_callbacks *cb, void *arg);
void lanes_free(struct lanes *l);
void lanes_start(struct lanes *l);
/* The end: nothing more is sent, and whoever waits is told. */
void lanes_stop(struct lanes *l);

struct router *lanes_router(const struct lanes *l);
struct lane *lanes_home(const struct lanes *l);
struct lane *lanes_at(struct lanes *l, uint16_t slot); /* of its documents (doc.h) */

/* Removes the markers: those of a daemon that ends in peace tell nobody anything. Calls fn when
 * that is done; false: there is nobody to ask, and fn is not called. */
bool lanes_forget(struct lanes *l, void (*fn)(void *arg), void *arg);
/* To what all of them commit. */
void lanes_listen(struct lanes *l, struct commit_listener *listener);
void lanes_unlisten(struct lanes *l, struct commit_listener *listener);
bool lanes_quiet(const struct lanes *l); /* nothing is gathering or in flight */
/* Clients were told of a commit that its outcome is unknown, and nobody was asked since. */
bool lanes_unresolved(const struct lanes *l);
/* Bytes that a link has not taken yet. */
bool lanes_unsent(const struct lanes *l);

/* For another process of the daemon, in a cluster, once all is quiet and nothing unresolved: what
 * the markers say, and the commits that are kept. With one Redis the marker begins anew. */
void lanes_save(const struct lanes *l, struct state_writer *w);
int lanes_resume(struct lanes *l, struct state_reader *r); /* before lanes_start */
void lanes_stats(const struct lanes *l, struct lane_stats *out);

#endif
