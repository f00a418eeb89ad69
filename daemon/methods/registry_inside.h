/* registry_inside: what the files of the registry share, and nobody else.
 *
 *   registry.c         what is declared, and what Redis has of it
 *   registry_state.c   what the next process is told of it
 */
#ifndef RAPYERD_REGISTRY_INSIDE_H
#define RAPYERD_REGISTRY_INSIDE_H

#include "daemon/methods/registry.h"

struct wait;

struct registry {
    struct schema *schema;
    struct index_table *indexes;
    const struct router *router;
    uint16_t slot;                 /* of its hash */
    char *key;                     /* of the hash in Redis, */
    char *index_key;               /* and of that of the states of indexes */
    struct buf channel;            /* of all daemons */
    struct wait *waiting, *asking; /* for the next question; for that on its way (utlist) */
    struct registry_callbacks cb;
    void *arg;
    void (*on_change)(void *arg);
    void *change_arg;
    bool loaded;
    bool named, tags; /* it is known whether pks have tags; they have */
    bool ahead;       /* Redis may have less of a model than is known here */
    const char *why;  /* it cannot be worked with; NULL: it can, or is not known yet */
    char away[500];   /* which master has it, that is not there */
    bool warned;      /* of that */
};

/* From then on it is known whether pks have tags. */
void registry_name(struct registry *r, bool tags);

#endif
