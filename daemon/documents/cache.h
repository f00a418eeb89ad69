/* cache: the documents in memory, and which of them stay.
 *
 *            new ──► small ──(used again)──► main ◄─┐ used since: once more around
 *                      │                      │ └───┘
 *                      └──► ghosts (keys)     └──► gone
 *                             └─(asked for)──► main
 *
 * Which ones go is decided by S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need
 * for cache eviction", SOSP 2023): what is new stays for a tenth of the memory, and has to be asked
 * for again until then, or soon after, to be let among the others. So a scan pushes out other
 * scans. Two kinds of documents are kept apart from that:
 *
 *   absent   that there is no such document: a bounded number, the oldest goes first, whatever else
 *            there is
 *   big      more than half of the memory: served, but the first to go once nobody waits for it. It
 *            pushes out nothing.
 *
 * The bound counts all trees and entries of the process. What a document takes of it is measured
 * where trees change, which does not tell all of it: it only serves to find the big ones, and a
 * tenth. A document that goes around in main loses the containers that were not looked at since the
 * last time (container.h, used).
 */
#ifndef RAPYERD_CACHE_H
#define RAPYERD_CACHE_H

#include "daemon/documents/doc.h"

struct cache;
struct router;
struct names;

struct cache *cache_new(size_t memory, size_t absent);
void cache_free(struct cache *c);
/* Bytes, and a number of documents. */
void cache_bound(struct cache *c, size_t memory, size_t absent);

/* In a cluster its documents get the slots that their keys are in. */
void cache_route(struct cache *c, const struct router *router, const struct names *names);

/* The entry of a key, made (UNKNOWN) when there is none. */
struct doc *cache_doc(struct cache *c, const struct model *model, const char *key, size_t len);
/* NULL when there is none. */
struct doc *cache_find(struct cache *c, const char *key, size_t len);
/* Some document, as the number falls; NULL: there are none, or few. */
struct doc *cache_any(const struct cache *c, uint64_t number);
/* One of its own, UNKNOWN, that is in no cache; for doc_alone_free. */
struct doc *doc_alone(const struct model *model, const char *key, size_t len);
void doc_alone_free(struct doc *d);
/* A request uses it: once for each request. */
void cache_use(struct doc *d);

/* What trees take more, or less, than at the time of `before` is of these documents, in equal
 * parts. One may lie within another: what it told is not told twice. */
struct weighing {
    size_t memory;
    int64_t told;
};
struct weighing cache_weigh(const struct cache *c);
void cache_weighed(struct cache *c, struct weighing before, struct doc *const *docs, unsigned n);

/* Evicts idle documents until the bounds hold. Dirty ones stay. */
void cache_trim(struct cache *c);
/* A request has done with it. Frees the entry at once if it says nothing and nobody waits. */
void cache_release(struct cache *c, struct doc *d);

/* Visits so many of the documents in memory at most: those that stay first, of these the newest.
 * Returns how many that were. */
size_t cache_each(const struct cache *c, size_t most, void (*visit)(const struct doc *d, void *arg),
                  void *arg);

struct cache_stats {
    size_t documents, absent, memory, limit; /* absent: so many of the documents */
    uint64_t hits, misses, evictions;
};
void cache_stats(const struct cache *c, struct cache_stats *out);
void cache_hit(struct cache *c);
void cache_miss(struct cache *c);

#endif
