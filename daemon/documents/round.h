/* round: questions about one document, answered as of one moment.
 *
 * They go in one MULTI; a Redis that is full takes none, not even for reading, so there the same
 * commands go as a script.
 */
#ifndef RAPYERD_ROUND_H
#define RAPYERD_ROUND_H

#include "daemon/documents/doc.h"
#include "daemon/redis/names.h"
#include "daemon/redis/upstream.h"
#include "protocol/fault.h"
#include <string.h>

/* The answers, in order, readable until it returns; or NULL, and why: UNAVAILABLE. */
typedef void round_done_fn(void *arg, redisReply *answers, const struct fault *fault);

/* Embedded in who asks. */
struct round {
    struct upstream *up;
    const struct names *names;
    const struct doc *doc;
    round_done_fn *done;
    void *arg;
    unsigned commands; /* MULTI and EXEC included */
    bool script;       /* it is one, as it has commands that Redis does not know */
    bool refused;      /* Redis has answered with an error */
    bool full;         /* Redis has no memory for a MULTI */
    bool unanswered;   /* it was lost, or the slot has moved */
    struct buf resp;
};

/* A word of a command; of a text: up to its NUL. */
struct round_word {
    const char *at;
    size_t len;
};
static inline struct round_word round_word(const char *text)
{
    return (struct round_word){text, text != NULL ? strlen(text) : 0};
}

/* A command that is none of Redis: elements of a container together with what they hold, by a
 * script (round.lua says what its words are). It answers two things: what finds the elements
 * answers; and, one behind the other, their hashes, each with the lengths of the containers below
 * it. */
#define ROUND_LEVEL "LEVEL"

void round_begin(struct round *r);
/* A command about the document's key with this suffix, with what stands behind the key. */
void round_command(struct round *r, const char *suffix, size_t suffix_len, const char *command,
                   const struct round_word *words, unsigned n);
void round_ask(struct round *r, const char *suffix, size_t suffix_len, const char *command,
               const char *a, const char *b);
/* False: the link is down, and done is not called. */
bool round_send(struct round *r);
void round_clear(struct round *r);

#endif
