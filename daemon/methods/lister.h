/* lister: pages of the names of Redis keys in a cluster (listing.h), each from a node that has the
 * slots of what it gives.
 *
 * In one write it is asked for a page of SCAN, whether it is well, and which slots it has, so that
 * what it gives is known to count. Where no slot that is left can be listed now (it is on the move,
 * or its master is away), it is tried again, as long as its asker has patience.
 */
#ifndef RAPYERD_LISTER_H
#define RAPYERD_LISTER_H

#include "daemon/exec/exec.h"

struct lister;
struct listing;

enum list_end { LISTED_PAGE, LISTED_LATER, LISTED_WRONG };

/* One page after the other; kept by who asks, zeroes at first. */
struct list_page {
    struct listing *listing;  /* where it is */
    unsigned slot;            /* whose node is asked, if that is of use; else the next one's */
    const char *match, *type; /* of SCAN; type NULL: any */
    unsigned count;
    int64_t patience; /* ms; 0: none */
    /* PAGE: `names` has the keys that count, packed, and the listing is behind them. LATER: why;
     * nothing was listed. WRONG: why; a node has said something that is no answer. */
    void (*done)(void *arg, enum list_end end, const char *why);
    void *arg;
    struct buf names;
    /* The lister's own. */
    struct list_page *prev, *next;
    struct lister *lister;
    struct buf given; /* what SCAN gave: struct given_name, the name, and so on; */
    uint64_t scan;    /* and where it is now */
    bool down;
    char why[200]; /* what it gave instead */
    int64_t deadline;
};

struct lister *lister_new(struct event_base *base, struct exec *e);
void lister_free(struct lister *l);
/* Who waits is told, and nobody is waited for any more. */
void lister_stop(struct lister *l);
/* done() is called once, maybe before it returns. The listing must not be at its end. */
void lister_ask(struct lister *l, struct list_page *p);
void list_page_free(struct list_page *p);

#endif
