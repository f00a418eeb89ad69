/* slot_calls: a script about the indexes of documents anywhere in a cluster, a call for each slot
 * (commit/batch_index.h), over scatter.
 */
#ifndef RAPYERD_SLOT_CALLS_H
#define RAPYERD_SLOT_CALLS_H

#include "daemon/documents/indexes.h"
#include "daemon/methods/scatter.h"

struct slot_calls;

struct slot_script {
    const char *text; /* NULL: index.lua, which settles them */
    size_t len;
    const char *todo;
};

struct slot_calls *slot_calls_new(struct exec *e, struct scatter *s, const struct indexes *of);
void slot_calls_free(struct slot_calls *c);
void slot_calls_add(struct slot_calls *c, const char *pk, size_t len);
/* Those of `names`, packed Redis keys, that are documents of the model. */
void slot_calls_add_names(struct slot_calls *c, const struct buf *names);
/* The pk of each. */
void slot_calls_each(const struct slot_calls *c, void (*fn)(void *arg, const char *pk, size_t len),
                     void *arg);
unsigned slot_calls_n(const struct slot_calls *c); /* documents */
/* Of n > 0. take: each answer, which is no error; done: all of them, or why not. Then it may be
 * asked again, or freed. */
void slot_calls_ask(struct slot_calls *c, struct slot_script script,
                    void (*take)(void *arg, const redisReply *reply),
                    void (*done)(void *arg, const char *why), void *arg);

#endif
