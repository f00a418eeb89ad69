/* doctor_inside: what a Redis has said, and what is judged of it, as doctor's files see it.
 *
 *   doctor         asks one Redis or each node of a cluster, and tells what was found
 *   doctor_checks  judges: each finding by itself, of the texts that were answered
 */
#ifndef RAPYERD_DOCTOR_INSIDE_H
#define RAPYERD_DOCTOR_INSIDE_H

#include "daemon/methods/doctor.h"
#include "daemon/redis/rights.h"
#include "daemon/redis/router.h"
#include "protocol/buf.h"

#define FOUND_MAX 768
#define NODE_MAX 300   /* host:port */
#define RANGES_MAX 200 /* of slots, as text */

enum config_value {
    APPENDONLY,
    APPENDFSYNC,
    TRUNCATED,
    SAVE,
    MAXMEMORY,
    POLICY,
    MIN_REPLICAS,
    NODE_TIMEOUT,
    FULL_COVERAGE,
    CONFIG_COUNT
};

/* What a Redis said; NULL where it would not tell. */
struct probe {
    struct round *round;
    struct doctor *doctor;
    struct upstream *up;
    char node[NODE_MAX]; /* of a cluster; "": it is none */
    unsigned slots;      /* that the node has, as it stands in the map */
    char ranges[RANGES_MAX];
    char lost[FOUND_MAX / 2]; /* why it has not answered; "": it has */
    char *info, *cluster, *config[CONFIG_COUNT];
    char refusal[128]; /* why CONFIG GET was not answered */
    struct rights_terms terms;
    struct rights rights;
    unsigned asked, rehearsed;      /* commands */
    char no_rights[256];            /* why they could not be rehearsed */
    bool no_slot;                   /* as nothing is carried out in its slots, whoever asks */
    uint16_t slot;                  /* one of them */
    unsigned nmoving;               /* of them to another node */
    char moving[2 * NODE_MAX + 64]; /* the first of those, and between whom */
};

enum state { OK, WARN, BAD };

struct finding {
    enum state state;
    char found[FOUND_MAX];
    const char *advice; /* NULL: none */
};

struct doctor {
    struct router *router;
    const struct config *config;
    const struct audit *audit;
    const struct sentinels *sentinels; /* NULL: none are asked */
    struct round *rounds;              /* that are under way (utlist) */
    struct warned *warned;             /* what was logged last (utlist) */
    struct buf advice;                 /* of the last finding that made up its own */
};

struct finding finding(enum state state, const char *advice, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Of which Redis something is judged. */
enum of { OF_EACH, OF_ONE /* that is in no cluster */, OF_NODE /* of a cluster */ };

struct check {
    const char *name; /* NULL: the end */
    enum of of;
    struct finding (*look)(const struct probe *p); /* of one that has answered */
};

extern const struct check doctor_checks[];
extern const struct check doctor_logged[]; /* of these what is not well is logged */
struct finding doctor_coherence(const struct doctor *d);

#endif
