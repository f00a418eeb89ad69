/* retained: committed batches that are kept for a Redis that comes back without the last of them.
 * There is one for all lanes: past its bounds the oldest goes, whosever it is. */
#ifndef RAPYERD_RETAINED_H
#define RAPYERD_RETAINED_H

#include "daemon/base/blob.h"
#include "daemon/commit/batch.h"
#include "protocol/buf.h"

struct kept {
    struct kept *prev, *next;                 /* of all, oldest first (utlist) */
    struct kept *prev_of_lane, *next_of_lane; /* of one lane, the same */
    struct kept **lane;                       /* where its list begins */
    uint16_t slot;                            /* of the lane */
    uint64_t number;
    uint64_t after; /* what the marker said before it: numbers have gaps where Redis refused */
    struct buf resp;
    struct blob *lent; /* resp is part of it, as others hold it, too; or NULL */
    unsigned ncommands;
    bool whole; /* one script (batch_format_whole) */
    struct batch_news news;
    struct buf leases; /* commands that take back what its units need */
    unsigned nleases;
};

struct retained {
    struct kept *all, *spare;
    unsigned n, max;
    size_t bytes, max_bytes;
    /* Memory of those that went, for others: as many as there are batches of one turn, mostly. */
    struct buf texts[32];
    unsigned ntexts;
    int64_t told; /* clock_mono_ms(): when the log was told that some are sent again */
};

/* One more in the list that begins at *lane, to be filled in, but for what it links; of so many
 * bytes, with those that leases will take. NULL: too big, and nothing before it is of use. */
struct kept *retained_add(struct retained *r, struct kept **lane, size_t bytes);
/* All that `from` says, but for what it links; its texts are the other's from then on. */
void retained_fill(struct kept *k, const struct kept *from);
/* It has become longer by so much. */
void retained_grew(struct retained *r, size_t bytes);
void retained_clear(struct retained *r, struct kept **lane);
void retained_free(struct retained *r); /* when all lanes were cleared */
/* An empty text for another commit. */
struct buf retained_text(struct retained *r);

/* Frees a text, or gives back what it lies in. */
void text_free(struct buf *resp, struct blob **lent);

#endif
