/* publish: which documents stand in shared memory, where clients read them without asking.
 *
 *   nothing ──read often──► shown ──changed──► hidden ──┬─ committed, and read a lot ─► shown anew
 *      ▲                                                └─ else ─► nothing
 *      └── forgotten, evicted (doc.h), displaced (shelf.h)
 *
 * Shown is what Redis holds, as far as that may be told without asking it. A document is hidden
 * before anybody hears that it was changed; before that, what it was is what readers may see. The
 * memory is made when a client first asks for it.
 */
#ifndef RAPYERD_PUBLISH_H
#define RAPYERD_PUBLISH_H

#include "daemon/base/config.h"
#include "daemon/commit/batch.h"
#include "daemon/documents/cache.h"

struct publisher;

struct publisher *publisher_new(const struct config *config, struct cache *cache);
void publisher_free(struct publisher *p);

/* The memory to be handed to a client, and how long it is; -1: UNAVAILABLE. */
int publisher_open(struct publisher *p, size_t *size, struct fault *f);
/* After the settings have changed: memory of another size, or that must not hold some of what it
 * holds any more, is given up. Clients ask for it again. */
void publisher_configure(struct publisher *p);

/* Gives up the memory, which nobody reads from then on; clients ask for it again. */
void publisher_close(struct publisher *p);

/* Whether what was checked since the link is up may be read. Each true begins anew: what was shown
 * before is not readable any more. */
void publisher_allow(struct publisher *p, bool up);
/* Documents look different now, by other defaults or fields. */
void publisher_models_changed(struct publisher *p);
/* This process runs: readers may rely upon it until it must have run again, on CLOCK_BOOTTIME; but
 * not for longer than what others change is known (coherence_trust). None may, before the first. */
void publisher_beat(struct publisher *p, int64_t now_ms, int64_t trust_ms);
bool publisher_shows(const struct publisher *p); /* somebody has asked for the memory */

/* A client was given the document, or a place in it, as it is in Redis. It may be shown now. */
void publisher_read(struct publisher *p, struct doc *d);
/* The batch is decided: its documents are hidden. Before anybody hears of it. */
void publisher_hide(struct publisher *p, const struct batch *b);
/* The document was in a batch that everybody has heard of. */
void publisher_released(struct publisher *p, struct doc *d);
/* Clients say that they have read so often, and this one last. */
void publisher_hits(struct publisher *p, uint64_t n, const char *key, size_t len);

struct publisher_stats {
    size_t memory, documents;
    uint64_t hits, shown, displaced;
};
void publisher_stats(const struct publisher *p, struct publisher_stats *out);

#endif
