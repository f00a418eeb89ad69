/* batch_index: what a batch says to Redis of the indexes of documents that it changes, in the same
 * transaction, so that who finds by an index finds what is acknowledged.
 *
 *   a field was set, from a value that is known    SREM, SADD; ZADD: plain commands beside the HSET
 *   all else (removed, rewritten, elements, ...)   index.lua before the changes, and after them
 *
 * The plain commands go by what the tree held before, and another daemon may have changed that:
 * then an entry stays that should go. So it holds that a document has the entries of what it is,
 * and may have others; who finds it looks at the document itself.
 */
#ifndef RAPYERD_BATCH_INDEX_H
#define RAPYERD_BATCH_INDEX_H

#include "daemon/commit/batch.h"

/* What index.lua is to do; see there. */
enum index_todo { INDEX_LEAVE, INDEX_ENTER, INDEX_SETTLE };

/* One call of it while it is put together. */
struct index_call {
    struct buf keys, words;
    unsigned n;
};
void index_call_add(struct index_call *c, const struct names *names, const struct indexes *of,
                    const char *pk, size_t pk_len);
/* Appends the call, and is ready for another; nothing if nothing was added. Returns how many. tag:
 * of the slot in which all of them are; NULL: there are no slots. */
unsigned index_call_flush(struct index_call *c, enum index_todo todo, const char *prefix,
                          const char *tag, struct buf *out);
/* The same of another script with such arguments. */
void index_call_format(const struct index_call *c, const char *script, size_t script_len,
                       const char *todo, const char *prefix, const char *tag, struct buf *out);
void index_call_free(struct index_call *c);

/* Decides of each document how its entries are put right. Once, before the following. */
void batch_plan_indexes(struct batch *b);
/* Appends the calls of index.lua that are wanted; returns their number, mostly 0. */
unsigned batch_format_indexes(const struct batch *b, enum index_todo todo, struct buf *out);
/* Tells `command` of the plain commands for one document: their words, which it may only look at.
 */
void batch_index_commands(const struct batch *b, const struct batch_doc *bd,
                          void (*command)(void *arg, unsigned argc, const struct buf *argv),
                          void *arg);

#endif
