/* blob: see blob.h. */
#include "daemon/base/blob.h"
#include "protocol/alloc.h"
#include <stdlib.h>

struct blob *blob_new(struct buf *b)
{
    struct blob *blob = alloc_zeroed(1, sizeof(*blob));
    *blob = (struct blob){.refs = 1, .bytes = *b};
    *b = BUF_INIT;
    return blob;
}

struct blob *blob_ref(struct blob *b)
{
    b->refs++;
    return b;
}

void blob_unref(struct blob *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    buf_free(&b->bytes);
    free(b);
}
