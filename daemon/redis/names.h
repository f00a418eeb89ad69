/* names: how the Redis keys of a document begin. A leaf.
 *
 *   rapyer:{User:42}         of the document User:42
 *   rapyer:{c42}Order:7      of Order:{c42}7, where tags count
 *
 * What is between the first '{' and the next '}' decides the hash slot in a cluster. So that users
 * can put documents together, a pk may begin with {tag}. Tags count in a database that was begun in
 * a cluster, and nowhere else: what is stored elsewhere stays where it is (registry.h). '{', '}'
 * and '/' are escaped everywhere else (path.h), so no two documents have one name; and that of a
 * tagged one is told by the letter behind its '}', where all others end or have a '/'.
 */
#ifndef RAPYERD_NAMES_H
#define RAPYERD_NAMES_H

#include "protocol/buf.h"
#include <stdbool.h>
#include <stddef.h>

struct names {
    const char *prefix; /* of all keys; the caller's */
    bool tags;          /* they count */
};

/* Appends "{User:42}", and says how long that is; the key is "Model:pk", which was checked. */
void names_root(const struct names *n, const char *key, size_t len, struct buf *out);
size_t names_root_len(const struct names *n, const char *key, size_t len);
/* "{c42}" in it: says how long that is; 0: it has no tag. */
size_t names_tag(const struct names *n, const char *key, size_t len, const char **tag);
/* The reverse: appends the key of which `name` begins with the root, and says how long that is; 0:
 * there is none, and nothing is appended. */
size_t names_read(const struct names *n, const char *name, size_t len, struct buf *key);

#endif
