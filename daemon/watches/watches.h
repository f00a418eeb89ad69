/* watches: who wants to be told of changes, and what has changed.
 *
 *   lane       ──own commits, with their versions──────────────────┐
 *   coherence  ──other daemons, programs without one──► looks ──────┴─► watcher ─► session
 *              ──a gap──► everybody: look yourself
 *
 * A client that is told of a version and reads then never reads an older one: what is in memory of
 * another version is marked before. Nothing of this runs while nobody watches. While somebody does,
 * a proof is asked for each half of coherence.bound, also if nothing is read: silence says nothing.
 */
#ifndef RAPYERD_WATCHES_H
#define RAPYERD_WATCHES_H

#include "daemon/base/config.h"
#include "daemon/clients/session.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/coherence.h"
#include "daemon/watches/looks.h"

struct watches;
struct watch;

struct watches *watches_new(struct event_base *base, const struct config *config,
                            const struct names *names, const struct schema *schema,
                            struct lanes *lanes, struct coherence *coherence);
/* When sessions and lanes are gone. */
void watches_free(struct watches *w);

/* The session watches the region, which is taken, of a document, or with pk "*" of all of the
 * model's. To be followed by watch_answered or watch_refused; until then nobody is told. One that
 * is there already is given once more. NULL: BUSY. */
struct watch *watches_add(struct watches *w, struct session *s, const char *key, size_t len,
                          struct region *region, struct fault *f);
const struct region *watch_region(const struct watch *w);
/* The client knows of the version. What has changed since watches_add is told. */
void watch_answered(struct watches *all, struct watch *w, int64_t version);
void watch_refused(struct watches *all, struct watch *w);
/* False: it was not watched. */
bool watches_remove(struct watches *w, struct session *s, const char *key, size_t len,
                    const struct region *region);
void watches_client_gone(struct watches *w, struct session *s);
/* It reads again. */
void watches_client_drained(struct watches *w, struct session *s);
/* Hands over who watches what, and takes that up there. All are told to look then: what others
 * change meanwhile nobody hears of. -1: what was handed over is not that. */
void watches_save(const struct watches *w, struct state_writer *out);
int watches_resume(struct watches *w, struct sessions *all, struct state_reader *r);
/* Something may have been missed. */
void watches_gap(struct watches *w);
/* In a cluster links are there or lost, or slots have another one: in these something may. */
void watches_links(struct watches *w);

struct watches_stats {
    unsigned watches;
    uint64_t told, lost, looks;
};
void watches_stats(const struct watches *w, struct watches_stats *out);

#endif
