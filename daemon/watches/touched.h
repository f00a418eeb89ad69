/* touched: what of a document has changed: Redis keys of it by their suffixes (layout.h), and of
 * the hashes of models the fields, where they are known. */
#ifndef RAPYERD_TOUCHED_H
#define RAPYERD_TOUCHED_H

#include "daemon/watches/region.h"

/* More places, or more bytes of them, are all of it. */
#define TOUCHED_MAX 32
#define TOUCHED_BYTES 4096

struct touched {
    bool all;          /* anything may have */
    uint32_t n;        /* places, */
    struct buf places; /* each a packed suffix, and a packed field or nil */
};

/* field NULL: any of it. A place that is there already is not added. */
void touched_add(struct touched *t, const char *suffix, size_t suffix_len, const char *field,
                 size_t field_len);
void touched_all(struct touched *t);
/* Adds what of the other is in the region. False: nothing is. */
bool touched_join(struct touched *t, const struct touched *other, const struct region *in);
/* Appends the list of paths, or nil: anything. */
void touched_pack(const struct touched *t, const struct model *m, struct buf *out);
void touched_free(struct touched *t);

#endif
