/* loader: brings documents, or containers of them, from Redis into their trees.
 *
 *   root        the root hash, its deadline, and how long each of its containers is
 *   containers  the content of lists and dicts; of atomic elements the pks, their hashes and the
 *               lengths of their containers: a script that finds them makes that one round, where
 *               they are not many; else the hashes come in rounds of their own
 *   elements    one of a container by its name, or some of a list by their indexes: the others stay
 *               where they are
 *
 * So a document takes as many rounds as it is deep. Big containers come in slices, one a round, so
 * that neither side is held up for long. Each round is one MULTI, so it sees one state, and reads
 * @v: when that is not the tree's version any more, somebody else has written, and the document is
 * read again from its root. What another program spoilt is marked as such in the tree (cell.h,
 * container.h), and the rest of the document is as good as ever; only without a root hash that is
 * ours it is none. While a document is loading nothing else touches its tree.
 */
#ifndef RAPYERD_LOADER_H
#define RAPYERD_LOADER_H

#include "daemon/documents/cache.h"
#include "daemon/documents/coherence.h"
#include "daemon/redis/router.h"

struct loader;

/* doc->loading is false again; fault NULL, or CORRUPT (its root hash is not ours), UNAVAILABLE
 * (the link was lost), BUSY (it kept changing): the document is then UNKNOWN. */
typedef void loader_done_fn(void *arg, struct doc *d, const struct fault *fault);

struct loader *loader_new(const struct router *router, struct cache *cache,
                          struct coherence *coherence, const struct names *names,
                          loader_done_fn *done, void *arg);
void loader_free(struct loader *l);

/* A container that an operation missed, or one element of it. */
struct missing {
    struct doc *doc;
    struct cell *cell;
    const struct type *type;
    char *suffix;
    size_t suffix_len;
    bool one;
    struct named which; /* one */
    char *name;         /* its key */
};

enum load_what {
    LOAD_MISSING, /* the containers that are named */
    LOAD_AT_ONCE, /* the same, and the root with them in one transaction; where only that was read
                   * yet, and they are neither long nor within elements */
    LOAD_CHECK,   /* the version; when it is another one, the document again */
    LOAD_ALL,     /* the document again, whatever its version */
};

/* Reads the root when the document is UNKNOWN, or not current (then it keeps the containers that
 * nobody has changed); checks its version when it is of another epoch; or else does as `what` says.
 * Returns false when the link is down; else sets doc->loading, and done is called later. */
bool loader_load(struct loader *l, struct doc *d, enum load_what what,
                 const struct missing *missing, unsigned n);

#endif
