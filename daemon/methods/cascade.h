/* cascade: doc.ttl with {cascade}: also the documents that a document refers to get a time to live.
 */
#ifndef RAPYERD_CASCADE_H
#define RAPYERD_CASCADE_H

#include "daemon/exec/call.h"
#include "protocol/refs.h"

/* Where it goes on to. A budget is how many references further away documents are reached. */
struct cascade_options {
    bool cascade;
    struct ref_fields fields; /* n 0: all references, or those that the plan names */
    struct cursor plan;       /* nmodels times: model, {field: budget, or nil for what is left} */
    uint32_t nmodels;
    bool has_plan;
    uint32_t depth; /* budget of the document itself */
};

/* Reads {cascade?, depth?}, and moves *in behind it. BAD_REQUEST. */
int cascade_options(struct cursor *in, struct cascade_options *o, struct fault *f);
/* In docs() of doc.ttl, whose document is named: the options name models and references that there
 * are. The call goes on as a cascade. BAD_PATH, UNKNOWN_MODEL. */
int cascade_admit(struct call *c, const struct cascade_options *o, struct fault *f);

#endif
