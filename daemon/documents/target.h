/* target: a container whose content is read from Redis, by the loader: what was asked for, and what
 * has come. Values go into the container as they come; of atomic elements the pks come first, and
 * their records wait here until they have their content: at once, where a script can find it, or
 * with rounds of their own. Or elements of a container are *picked* (container.h): one, or some of
 * a list that follow each other.
 */
#ifndef RAPYERD_TARGET_H
#define RAPYERD_TARGET_H

#include "daemon/documents/round.h"
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

    struct record *blank; /* deep: what its elements are like, when it was asked for */
    unsigned nbelow;      /* containers of each */
    bool deep;            /* this round brings the elements with their content */
    bool filled;          /* they have it */

    bool picks; /* these elements only: */
    struct named which;
    size_t slice;      /*   of several, those that this round asks for */
    char *name;        /*   its key */
    struct cell value; /*   what it is, where it is no record; */
    bool wrong;        /*   it is not what it should be */
};

/* Only this element of it, or these; the name is copied. */
void target_name(struct target *t, const struct named *which);
/* Forgets what was read of it so far. */
void target_clear(struct target *t);
void target_free(struct target *t);

/* What one round may ask for: elements; calls of a script, 0: there are none. `whole`: slices were
 * in vain, all of a container is read at once. */
struct budget {
    size_t elements, calls;
    bool whole;
    bool spent; /* there were calls */
};
/* Asks for one slice, if there is anything left to ask for, within the budget. */
void target_ask(struct target *t, struct round *r, struct budget *left);

/* Takes one slice, as Redis has answered. What is wrong with it is noted. */
void target_take(struct target *t, const redisReply *r);
/* Takes the pks of a slice that is deep. What comes with them; NULL: nothing that could be used. */
const redisReply *target_take_deep(struct target *t, const redisReply *r);
/* Takes elements that are picked and are values. */
void target_take_value(struct target *t, const redisReply *r);
/* What was picked goes to its container. Where it was not what it should be all is read. */
void target_pick(struct target *t);
/* No more of it is read. Of its elements it keeps those that were made out, if they are records. */
void target_spoil(struct target *t, const char *why);
/* The suffix of an element's own keys, in `out`. */
const char *target_suffix(const struct target *t, size_t i, struct buf *out);
/* The records have their content: they go into the container. */
void target_install(struct target *t);

/* Calls visit for each container of a record and of the inline records in it, with its suffix. */
typedef void visit_fn(void *arg, struct cell *c, const struct type *t, const char *suffix,
                      size_t len);
void each_container(struct record *r, const char *suffix, visit_fn *visit, void *arg);

/* Under the key of a container, or of an element, there is something else. */
#define WRONG_TYPE_MAX 128
const char *wrong_type(char why[static WRONG_TYPE_MAX], const char *type);

#endif
