/* scatter: the same question to some slots of a cluster, each to whoever has it now.
 *
 *   slots ─► by their masters ─► one write to each ─► an answer for each slot ─► done
 *                ▲                                        │
 *                └── redirected, or the link was lost ◄───┘ a moment later, up to commit.queue_time
 *
 * A slot that moves meanwhile is asked where it is then, so none is left out and none is asked of
 * somebody who has only a part of it (a key that is not there is answered with a redirect while a
 * slot is on the move). What is asked may be asked twice: it changes nothing, or nothing a second
 * time.
 */
#ifndef RAPYERD_SCATTER_H
#define RAPYERD_SCATTER_H

#include "daemon/exec/exec.h"
#include <hiredis/hiredis.h>

struct scatter;
struct scattered; /* one question */

struct scatter_asks {
    unsigned commands; /* for each slot */
    /* Appends them. first: of those that go over one link. */
    void (*write)(void *arg, uint16_t slot, bool first, struct buf *out);
    /* To the i-th of the slots its command `which` was answered, maybe with an error, by `up`; all
     * of them again, if the others were not. */
    void (*take)(void *arg, unsigned i, unsigned which, redisReply *reply,
                 const struct upstream *up);
    /* All have; why NULL. Else some could not be reached, or rapyerd is stopping. */
    void (*done)(void *arg, const char *why);
};

struct scatter *scatter_new(struct event_base *base, struct exec *e);
void scatter_free(struct scatter *s);
/* Whoever waits is told; nobody asks any more. */
void scatter_stop(struct scatter *s);
/* n > 0. `asks` stays; done() is called once, not before this has returned. */
void scatter_ask(struct scatter *s, const uint16_t *slots, unsigned n,
                 const struct scatter_asks *asks, void *arg);

#endif
