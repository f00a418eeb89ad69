/* blob: a long run of bytes that several hold and nobody changes any more: so that it need not be
 * copied from who made it to who sends it. */
#ifndef RAPYERD_BLOB_H
#define RAPYERD_BLOB_H

#include "protocol/buf.h"

#define BLOB_BYTES ((size_t)64 * 1024) /* what is shorter is copied */

struct blob {
    unsigned refs;
    struct buf bytes;
};

/* Takes the bytes, *b is BUF_INIT afterwards; held once. */
struct blob *blob_new(struct buf *b);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is no matter */

#endif
