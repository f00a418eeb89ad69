/* watcher: a client that watches, and what it was not told yet.
 *
 *   nothing ──changed──► news, one per document ──(end of the loop's turn)──► told
 *                             │  ▲                                              ▲
 *                             ▼  └── the client does not read what it has ──┐   │
 *                           lost: more than limits.watch_memory, or a gap ──┴───┘
 *                           "look yourself", once for each thing that it watches
 *
 * A leaf of watches.c, which says who is told of what.
 */
#ifndef RAPYERD_WATCHER_H
#define RAPYERD_WATCHER_H

#include "daemon/base/hash.h"
#include "daemon/clients/session.h"
#include "daemon/watches/looks.h"

/* A document, or all of a model ("User:*"), that somebody watches. */
struct watched {
    UT_hash_handle hh; /* in watches, by key */
    struct watch *watches;
    int64_t version; /* that was told last; of a model VERSION_UNKNOWN */
    uint16_t slot;   /* of a document, and the epoch that it had (router.h) */
    uint32_t epoch;
    uint64_t told; /* the number of the client that was told to look itself last */
    size_t key_len;
    char key[];
};

struct watch {
    struct watch *prev, *next;       /* of the watcher */
    struct watch *of_prev, *of_next; /* of the watched */
    struct watched *of;              /* NULL: it has ended */
    struct watcher *who;
    struct region region;
    unsigned refs, opening; /* requests that are not answered yet; until one was, it only notes: */
    bool open, missed;
    int64_t missed_version;
};

struct news {
    UT_hash_handle hh; /* of the watcher, by key */
    int64_t version;
    struct touched touched;
    size_t key_len;
    char key[];
};

struct watcher {
    UT_hash_handle hh;           /* in watches, by number */
    struct watcher *prev, *next; /* of those that are due */
    uint64_t number;             /* of the session */
    struct session *session;
    struct watch *watches;
    unsigned n;
    struct news *news;
    size_t bytes; /* of the news */
    bool lost, due;
};

/* The document has this version, and what of `t` is in the region has changed. False: nothing is.
 */
bool watcher_add(struct watcher *w, const char *key, size_t len, int64_t version,
                 const struct touched *t, const struct region *in);
/* Drops the news: all that it watches is to be looked at. */
void watcher_lose(struct watcher *w);

struct watcher_told {
    uint64_t told, lost; /* notifications, and those that say "look yourself" */
};
/* Tells what there is, as far as the client reads. The watcher may be gone when this returns, if
 * its session ends. */
void watcher_tell(struct watcher *w, const struct schema *schema, struct watcher_told *count);

#endif
