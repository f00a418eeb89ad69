/* operation: one call of op.h's table through a handle: on a draft by op_run, else by the daemon.
 */
#ifndef RAPYER_CLIENT_OPERATION_H
#define RAPYER_CLIENT_OPERATION_H

#include "client/pipeline.h"
#include "protocol/op.h"

struct operation {
    rapyer *db; /* NULL: begin failed */
    enum op_kind kind;
    struct pipeline *pipeline; /* NULL: done at once */
    struct hold *lock;         /* a reference, or NULL */
    struct target target;
    struct buf args; /* behind [key, path] */
    uint32_t nargs;
    const char *key; /* of DICT_SET, for drafts */
    struct moves moves;
    int failed; /* -1 once something was wrong; the error is with db */
};

/* Each after begin does nothing when something failed before. Every begin needs an end. */
void operation_begin(struct operation *o, rapyer_doc *at, enum op_kind kind, const char *path);
void operation_value(struct operation *o, const char *fmt, va_list *ap);
void operation_values(struct operation *o, const char *fmt, va_list *ap);
void operation_int(struct operation *o, int64_t v);
void operation_float(struct operation *o, double v); /* an infinity: null, which is no bound */
void operation_str(struct operation *o, const char *s);
void operation_range(struct operation *o, int64_t from, int64_t to); /* INT64_MAX: to the end */
/* Runs it; 0 and the result in *out (may be NULL; nothing on a draft when it is a version). */
int operation_end(struct operation *o, rapyer_value **out);
int operation_end_async(struct operation *o, rapyer_callback *cb, void *user);

#endif
