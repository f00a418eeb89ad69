/* get_options: what doc.get and its like can be asked for. */
#ifndef RAPYERD_GET_OPTIONS_H
#define RAPYERD_GET_OPTIONS_H

#include "daemon/exec/call.h"
#include "protocol/refs.h"

struct get_options {
    bool fresh, version, touch;
    struct cursor paths;
    uint32_t npaths;
    bool has_paths;
    bool resolve; /* also what the document refers to, */
    struct ref_fields refs;
    unsigned depth; /* and so on */
};

/* Reads them, and moves *in behind them; `present`: there are some. BAD_REQUEST. */
int get_options(struct cursor *in, bool present, struct get_options *o, struct fault *f);
/* {fresh: true}: as it is in Redis, whoever has written it, and however. */
void get_fresh(struct call *c, bool fresh);
/* Appends the whole document, or some of it. */
enum op_status get_pack(struct call *c, struct doc *d, const struct get_options *o,
                        struct buf *out);
/* In run(): appends [document or nil, ...] of the keys at the cursor, an array. */
enum op_status get_all(struct call *c, struct cursor keys, const struct get_options *o,
                       struct buf *out);
/* Makes room for so many more pairs in the packed map at out[at..], which the caller appends. */
void map_widen(struct buf *out, size_t at, uint32_t more);

/* The finish() of a doc.get with {resolve}: goes on with what the document refers to. */
void resolve_begin(struct call *c, const struct fault *f, const struct buf *out);

#endif
