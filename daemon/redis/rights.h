/* rights: what Redis has to let our user do, and what of it is missing.
 *
 * Redis looks at the rights of a command when a transaction queues it. So all commands that
 * rapyerd ever sends, also those in scripts, are rehearsed in a MULTI that is thrown away: nothing
 * is done, and each refusal names itself.
 */
#ifndef RAPYERD_RIGHTS_H
#define RAPYERD_RIGHTS_H

#include "daemon/base/config.h"
#include "daemon/redis/resp.h"
#include <hiredis/hiredis.h>

struct rights_terms {
    const char *prefix; /* of all keys */
    const char *tag;    /* of a slot that the node has; NULL: it is in no cluster */
    bool shards;        /* the node has channels of slots (shards.h) */
};

struct rights {
    char missing[800]; /* as ACL SETUSER takes them: "+eval &rapyer:*"; "": none */
    char lacking[800]; /* what does not work without them, as sentences */
    char absent[400];  /* commands that it does not know, or not by their names; "": none */
    bool grave;        /* more than speed and advice is lost */
    bool cut;          /* more is missing than there was room for */
    uint16_t without;  /* the sentences that are there */
};

/* Whether the user may rehearse at all: MULTI, DISCARD, EXEC. The reply to DISCARD, the second of
 * the three, is an error when it may not; EXEC then ends the transaction that is left open. */
#define RIGHTS_MAY_REHEARSE 3
void rights_ask_discard(struct buf *out);
/* Appends the rehearsal; returns the number of its commands. To be sent only after it is known that
 * the user may. */
unsigned rights_rehearse(const struct rights_terms *terms, struct buf *out);
/* Takes the reply at `index` of the rehearsal. */
void rights_take(struct rights *r, unsigned index, const struct rights_terms *terms,
                 const redisReply *reply);

/* The line that gives our user what is missing, as in rights.missing, with a NUL. */
void rights_line(const struct config *config, const char *missing, struct buf *out);

#endif
