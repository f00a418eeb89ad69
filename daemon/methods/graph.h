/* graph: a document with what it refers to, and what that refers to, read level by level.
 *
 *   the document ──► all that it refers to ──► all that those refer to ──► ... ──► end
 *
 * One call after the other, each about all documents of one level, so that a graph costs as many
 * round trips as it is deep. Each has a budget: how many references further it may lead. One that
 * is reached again is looked into again only where more of a budget has come with that; so circles
 * end by themselves.
 */
#ifndef RAPYERD_GRAPH_H
#define RAPYERD_GRAPH_H

#include "daemon/base/hash.h"
#include "daemon/exec/exec.h"
#include "protocol/refs.h"

/* A document of it, there or not. */
struct reached {
    UT_hash_handle hh;
    uint32_t budget;
    bool due;      /* to be read, with the next level */
    bool missing;  /* it is not there, or nobody has declared its model; or it could not be read */
    uint16_t slot; /* 0, but where calls go by slots */
    size_t len;
    char key[];
};

/* The first member of what a method keeps, which is the context of the calls of its own. */
struct graph {
    const struct graph_use *use;
    struct exec *exec;
    struct session *session; /* while a call of ours is on its way */
    uint64_t id;
    struct reached *all; /* as they were met: the one that was asked for, then the others */
    unsigned n;
    unsigned pending;   /* calls that are on their way, and one while they are begun */
    struct fault fault; /* why it ends here */
};

/* What a method makes of it. */
struct graph_use {
    const struct method *level; /* of params_keys, graph_read or its like, and graph_finish */
    /* NULL: a level is one call. Else it is one for each slot of a cluster, so that a master that
     * is away takes away its documents only; and it is told of what could not be read. */
    void (*lost)(struct graph *g, const struct fault *f);
    const char *too_many; /* limits.max_resolve is passed: what then, and what helps */
    /* Whether one that was reached is to be read. NULL: each is. */
    bool (*wants)(const struct graph *g, const struct reached *s);
    /* One that was read, as get_pack gives it; where it leads to is said with graph_refer. */
    int (*read)(struct graph *g, const struct reached *s, struct cursor document, struct fault *f);
    void (*end)(struct graph *g); /* all is read */
    /* It comes to nothing. NULL: the client gets the fault. */
    void (*refuse)(struct graph *g, const struct fault *f);
    void (*forget)(struct graph *g);
};

/* In the finish() of the call that has read the first document. */
void graph_begin(struct graph *g, const struct graph_use *use, const struct call *c,
                 uint32_t budget, const struct buf *document);
/* The same of several documents, which are read as the others are: it is opened, they are reached,
 * it runs. For the session and the id of a call, in its finish(). */
void graph_open(struct graph *g, const struct graph_use *use, const struct call *c);
void graph_reach(struct graph *g, const char *key, size_t len, uint32_t budget);
void graph_run(struct graph *g);
/* A call of m, [[key, ...]], about those that are picked, or one for each slot. True: all have
 * ended by now, or none is picked; else the finish() of the last of them is told so by
 * graph_ended(). */
bool graph_ask(struct graph *g, const struct method *m,
               bool (*picks)(struct graph *g, struct reached *s));
bool graph_ended(struct graph *g);
/* What a document of m refers to in these fields is reached, each with this budget. */
void graph_refer(struct graph *g, const struct model *m, struct cursor document,
                 const struct ref_fields *fields, uint32_t budget);
/* NULL: nobody has declared it. */
const struct model *graph_model(const struct graph *g, const struct reached *s);
/* Answers with the fault, and forgets all. */
void graph_refuse(struct graph *g, const struct fault *f);
void graph_clear(struct graph *g);

/* The run() of a level, [[key, ...]] -> [document or nil, ...]: the whole documents, but not as
 * they were when the link was lost; and its finish(). */
enum op_status graph_read(struct call *c, struct buf *out);
void graph_finish(struct call *c, const struct fault *f, const struct buf *out);

#endif
