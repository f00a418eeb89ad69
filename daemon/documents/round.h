/* round: questions about one document, answered as of one moment.
 *
 * They go in one MULTI; a Redis that is full takes none, not even for reading, so there the same
 * commands go as a script.
 */
#ifndef RAPYERD_ROUND_H
#define RAPYERD_ROUND_H

#include "daemon/documents/doc.h"
#include "daemon/redis/upstream.h"
#include "protocol/fault.h"

/* The answers, in order, readable until it returns; or NULL, and why: UNAVAILABLE. */
typedef void round_done_fn(void *arg, redisReply *answers, const struct fault *fault);

/* Embedded in who asks. */
struct round {
    struct upstream *up;
    const char *prefix;
    const struct doc *doc;
    round_done_fn *done;
    void *arg;
    unsigned commands; /* MULTI and EXEC included */
    bool full;         /* Redis has no memory for a MULTI */
    struct buf resp;
};

#define ROUND_WORDS_MAX 3 /* behind the key */

void round_begin(struct round *r);
/* A command about the document's key with this suffix; words are NULL-ended, if fewer. */
void round_words(struct round *r, const char *suffix, size_t suffix_len, const char *command,
                 const char *const words[ROUND_WORDS_MAX]);
void round_ask(struct round *r, const char *suffix, size_t suffix_len, const char *command,
               const char *a, const char *b);
/* False: the link is down, and done is not called. */
bool round_send(struct round *r);
void round_clear(struct round *r);

#endif
