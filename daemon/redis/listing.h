/* listing: how far the keys of a cluster are listed. A leaf.
 *
 * SCAN goes through what one node has, and slots move meanwhile, with their keys. So of each slot
 * it is noted where it stands:
 *
 *   LEFT ──a SCAN of its master begins──► NOW ──that SCAN ends──► DONE
 *     ▲                                    │
 *     └─it has moved, or is on the move ───┘
 *
 * Keys are taken of slots that are NOW. With each page the node tells which slots it has, and which
 * of them are on the move. A slot stays NOW if it has it, whole, with each page and in the same
 * epoch of its configuration (which changes when it takes a slot over, so one that was away and is
 * back is noticed). All of a slot's keys that are there all the time lie on the node as long as it
 * is NOW, so SCAN gives them. What is LEFT again is listed once more, and some of it twice.
 *
 * As a text that is all that is kept between two pages, it outlives rapyerd.
 */
#ifndef RAPYERD_LISTING_H
#define RAPYERD_LISTING_H

#include "daemon/redis/slots.h"
#include "daemon/redis/upstream.h"
#include "protocol/buf.h"
#include <stdbool.h>
#include <stdint.h>

enum listed { LISTED_LEFT, LISTED_NOW, LISTED_DONE };

struct listing {
    char run[UPSTREAM_RUN + 1]; /* whose SCAN it is, */
    uint64_t epoch, scan;       /* in which configuration, and its cursor; 0: it is to begin */
    uint8_t slots[SLOTS];       /* enum listed */
};

void listing_begin(struct listing *l);
int listing_read(struct listing *l, const char *text, size_t len); /* -1: it is none */
void listing_text(const struct listing *l, struct buf *out);

/* One that is NOW, else one that is LEFT, from `from` on and around; -1: all are DONE. */
int listing_slot(const struct listing *l, unsigned from);
/* SCAN is to be asked of a node with this run_id: it begins there if it was another's. */
void listing_ask(struct listing *l, const char *run_id);
/* What CLUSTER NODES has said behind that SCAN; -1: it is not readable. */
int listing_look(struct listing *l, const char *nodes, size_t len);
/* Where that SCAN is now, when its keys were taken. */
void listing_scanned(struct listing *l, uint64_t scan);

#endif
