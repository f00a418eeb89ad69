/* region: a part of a document that somebody watches: by its path, and by what lies under it in
 * Redis.
 *
 *   path                    name (as place.h)           what touches it
 *   ""                      ""                          everything
 *   settings.theme          /settings.theme             this field of the hash ""
 *   posts["p1"]             /posts/p1                   /posts, /posts/p1, /posts/p1/...
 *   posts["p1"].tags        /posts/p1/tags              /posts, /posts/p1/tags
 *   card.tags (optional)    /card/1/tags                /card, /card/1/tags
 *   posts[0].tags, counts["x"]: cut, as posts, counts
 *
 * What stands at an index is another element after each insert, and which entry of a dict has
 * changed is not told by a Redis key; so a path is cut there. A region is told of too often rather
 * than too seldom.
 */
#ifndef RAPYERD_REGION_H
#define RAPYERD_REGION_H

#include "protocol/buf.h"
#include "protocol/schema.h"

struct region {
    struct buf path, name;
    bool container; /* `name` is the key of one */
};

/* -1: BAD_PATH, UNKNOWN_FIELD, BAD_KEY (no pk); nothing to free then. */
int region_read(struct region *r, const struct model *m, const char *path, size_t len,
                struct fault *f);
void region_free(struct region *r);
/* Whether something of it is in what has changed: the Redis key with this suffix, and of that,
 * where it is the hash of a model, this field; field NULL: any of it. */
bool region_touched(const struct region *r, const char *suffix, size_t suffix_len,
                    const char *field, size_t field_len);
/* Appends the path of what has changed, as exact as the model, as it is known here, can tell. */
void region_path(const struct model *m, const char *suffix, size_t suffix_len, const char *field,
                 size_t field_len, struct buf *path);

#endif
