/* layout: how a document looks in Redis ("native"); pure functions between cells and raw strings.
 *
 *   rapyer:{User:42}                     root key: a hash of the root's fields, "@v" and "@s"
 *   rapyer:{User:42}/posts/<pk>/tags     root key + suffix (op.h says how suffixes grow)
 *
 * '{', '}' and '/' in a pk are written "{7b", "{7d", "{2f" there (path.h), and nowhere else;
 * names.h says where a pk has a {tag}.
 *
 * One raw string per cell, so that HINCRBY and any other program can work on it:
 *
 *   int       decimal, as Redis itself writes it      bool      "1" or "0"
 *   float     shortest text that reads back the same  str       the bytes
 *   datetime  "2024-01-01T00:00:00.5Z"                bytes     the bytes
 *   any, plain model, nested list or dict, optional<bytes>      MessagePack
 *   null of an optional                               the single byte 0xC0
 *   element of a list or dict of atomic models        its pk
 *   optional<> of an atomic model                     a list of one such element, with the pk "1"
 *
 * 0xC0 is nil in MessagePack and can begin no UTF-8 text, so it is never taken for a str.
 */
#ifndef RAPYERD_LAYOUT_H
#define RAPYERD_LAYOUT_H

#include "daemon/redis/names.h"
#include "protocol/buf.h"
#include "protocol/cell.h"
#include "protocol/fault.h"
#include "protocol/schema.h"

#define LAYOUT_VERSION_FIELD "@v" /* of the root hash: the document's version */
/* The revision of all models that its writers knew; only rises. */
#define LAYOUT_SCHEMA_FIELD "@s"
/* There is no document any more, and its keys are being removed (exec/purge.h). */
#define LAYOUT_DELETED_FIELD "@d"

/* How long "<prefix>:{<key>}<suffix>" is, with the key as it is written there (names.h). */
size_t layout_key_len(const struct names *names, const char *key, size_t key_len,
                      size_t suffix_len);
/* Appends it; key is "Model:pk". The suffix is in its form for Redis already. */
void layout_key(struct buf *out, const struct names *names, const char *key, size_t key_len,
                const char *suffix, size_t suffix_len);
/* The reverse: the key, appended, and where the suffix is in a Redis key; false when it is none of
 * ours, as one is whose pk is no UTF-8. */
bool layout_split(const struct names *names, const char *redis_key, size_t len, struct buf *key,
                  const char **suffix, size_t *suffix_len);

/* Appends a text so that a pattern of Redis (MATCH) has each byte of it mean itself. */
void layout_pattern(const char *text, size_t len, struct buf *out);

/* Appends the raw string of a value whose declared type is t. A record (element of a list or
 * dict of atomic models) is written as its pk. CELL_UNSET appends nothing. */
void layout_raw(const struct type *t, const struct cell *c, struct buf *out);
/* The same where it lies as it is in a long value, which is held: a text or bytes. Else NULL. */
struct held *layout_lent(const struct type *t, const struct cell *c, const void **bytes,
                         size_t *len);

/* Appends the text of a member's score. */
void layout_score(double score, struct buf *out);
bool layout_read_score(const char *text, double *score);

/* The reverse of layout_raw: a canonical cell (the pk as a str for atomic models), owned by the
 * caller. -1: CORRUPT, the text says what was expected and what was found; *out is as it was. */
int layout_parse(const struct type *t, const void *raw, size_t len, struct cell *out,
                 struct fault *f);

#endif
