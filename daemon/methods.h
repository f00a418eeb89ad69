/* methods: what a client can ask for, by name.
 *
 * Methods on documents are struct method (exec.h) and run in their documents' order; the others
 * answer by themselves.
 */
#ifndef RAPYERD_METHODS_H
#define RAPYERD_METHODS_H

#include "daemon/exec.h"

/* NULL-ended by name; each file of methods has one. */
extern const struct method methods_doc[];
extern const struct method methods_op[OP_COUNT + 1];

/* BAD_REQUEST unless lo <= nparams <= hi; `form` shows what the method takes. */
int params_count(const struct call *c, unsigned lo, unsigned hi, const char *form, struct fault *f);
/* The str at the cursor, or BAD_REQUEST naming `what`. */
int params_str(struct cursor *c, const char *what, const char **s, size_t *len, struct fault *f);

/* Operations on one document, for methods_op and pipelines: call_present must hold. */
enum op_status run_op(struct call *c, struct doc *d, enum op_kind kind, struct cursor *args,
                      uint32_t nargs, struct buf *out);

/* OP_DONE when every Redis key of the document can be named (no list of atomic models on the way
 * is unloaded). */
enum op_status doc_keys_known(struct call *c, struct doc *d);
/* Gives all of them this deadline (unix milliseconds, 0: none); doc_keys_known must hold. */
void doc_expire_at(struct call *c, struct doc *d, int64_t at);
int64_t unix_ms(void);

#endif
