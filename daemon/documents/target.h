/* target: a container whose content is read from Redis, by the loader: what was asked for, and what
 * has come. Values go into the container as they come; of atomic elements the pks come first, and
 * their records wait here until they have their content. */
#ifndef RAPYERD_TARGET_H
#define RAPYERD_TARGET_H

#include "protocol/tree.h"
#include <hiredis/hiredis.h>

struct target {
    struct cell *cell;
    const struct type *type;
    char *suffix;
    size_t suffix_len;
    char **keys; /* of a dict: the keys */
    size_t *key_lens;
    struct record **records; /* with their pks; taken over by the container at the end */
    size_t nrecords;
    size_t total;  /* its length as it is known */
    size_t next;   /* elements asked for so far */
    char page[24]; /* of a scan; "": not begun, or not needed */
    bool asked;    /* in this round */
    bool last;     /* nothing is left to ask for */
    char *spoilt;  /* what is wrong with it, else NULL */
};

/* Forgets what was read of it so far. */
void target_clear(struct target *t);
/* Takes one slice, as Redis has answered. What is wrong with it is noted. */
void target_take(struct target *t, const redisReply *r);
/* No more of it is read. Of its elements it keeps those that were made out, if they are records. */
void target_spoil(struct target *t, const char *why);
/* The suffix of an element's own keys, in `out`. */
const char *target_suffix(const struct target *t, size_t i, struct buf *out);
/* The records have their content: they go into the container. */
void target_install(struct target *t);

/* Under the key of a container, or of an element, there is something else. */
#define WRONG_TYPE_MAX 128
const char *wrong_type(char why[static WRONG_TYPE_MAX], const char *type);

#endif
