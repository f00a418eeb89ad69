/* methods: what a client can ask for, by name.
 *
 * Methods on documents are struct method (exec.h) and run in their documents' order; the others
 * answer by themselves.
 */
#ifndef RAPYERD_METHODS_H
#define RAPYERD_METHODS_H

#include "daemon/exec/exec.h"

/* NULL-ended by name; each file of methods has one. */
extern const struct method methods_doc[];
extern const struct method methods_get[];
extern const struct method methods_ref[];
extern const struct method methods_op[OP_COUNT + 1];
extern const struct method methods_pipeline[];

/* BAD_REQUEST unless lo <= nparams <= hi; `form` shows what the method takes. */
int params_count(const struct call *c, unsigned lo, unsigned hi, const char *form, struct fault *f);
/* The str at the cursor, or BAD_REQUEST naming `what`. */
int params_str(struct cursor *c, const char *what, const char **s, size_t *len, struct fault *f);

/* In docs(): the call is about the document whose key is the next parameter; about those of the
 * next n. BAD_REQUEST, BAD_KEY, UNKNOWN_MODEL. */
int params_doc(struct call *c, struct fault *f);
int params_docs(struct call *c, struct cursor *in, uint32_t n, struct fault *f);
/* And about those of the next parameter, which is a list of keys. */
int params_keys(struct call *c, struct fault *f);
/* And about that which an operand of the operation is in, if it is in another one; args: [path,
 * ...]. */
int params_elsewhere(struct call *c, enum op_kind kind, struct cursor args, struct fault *f);
/* Whether the operation, of these args, leaves all unique fields alone. */
bool params_spare_unique(const struct call *c, const struct doc *d, struct cursor args);
/* In run(): the document of the key at the cursor. */
struct doc *params_doc_again(struct call *c, struct cursor *in);

/* Operations on one document, for methods_op and pipelines: call_present must hold. With an undo
 * log it is a rehearsal: the tree changes, Redis is told nothing. */
enum op_status run_op(struct call *c, struct doc *d, enum op_kind kind, struct cursor *args,
                      uint32_t nargs, struct undo *rehearsal, struct buf *out);

/* The operation `if`, also where there is no document. */
enum op_status run_condition(struct call *c, struct doc *d, struct cursor *args, uint32_t nargs,
                             struct undo *rehearsal, struct buf *out);

/* A pipeline as part of another method. admit, from docs(): the operations stand at `in`, within
 * the call's params, their options behind them when `options` says so; the call gets its
 * documents and its guard, and keeps the operations. perform, as run(): appends the list of their
 * results. */
int pipeline_admit(struct call *c, struct cursor in, bool options, bool lock, struct fault *f);
enum op_status pipeline_perform(struct call *c, struct buf *out);

/* The parts of doc.save and doc.delete. doc_keys_known must hold for
 * what is there. */
enum op_status doc_build(struct call *c, struct doc *d, struct cursor *in, struct record **root);
void doc_replace(struct call *c, struct doc *d, struct record *root, bool reset);
/* Whether doc_replace leaves the deadline as it is in Redis: that of a document which is there, of
 * a model without a ttl, unless it is reset. Else it gets a new one. */
bool doc_keeps_deadline(const struct doc *d, bool reset);
int64_t doc_new_deadline(const struct doc *d);
/* {reset_ttl?} of doc.save. */
int doc_save_options(struct cursor *in, bool *reset, struct fault *f);
/* {parts?, replace?} of doc.insert and doc.delete. */
struct doc_parts_options {
    bool parts;   /* slot by slot (in_parts.h) */
    bool replace; /* those that are there, as doc.save */
};
int doc_parts_options(struct cursor *in, struct doc_parts_options *o, struct fault *f);
/* Both of what is in one slot, for in_parts. */
extern const struct method doc_insert_part, doc_delete_part;
/* The parts of doc.duplicate. In docs(): the document that the copy becomes, whose pk is at the
 * cursor if it is given and not nil, else random; NULL: refused. In run(): the copy, to be put
 * there; `from` is present, and `to` known. */
struct doc *doc_copy_target(struct call *c, const struct doc *from, struct cursor *in, bool given,
                            struct fault *f);
enum op_status doc_copy(struct call *c, struct doc *from, struct doc *to, struct record **copy);
void doc_remove(struct call *c, struct doc *d);
/* doc.delete of one that is there, however long it is. */
enum op_status doc_delete(struct call *c, struct doc *d);
/* c NULL: the version is not known yet; as long as any. */
void doc_pack_saved(struct doc *d, struct call *c, struct buf *out);
/* Appends the whole document as doc.get does; OP_NEEDS when something is not loaded. */
enum op_status doc_pack(struct call *c, struct doc *d, struct buf *out);

/* OP_DONE when every Redis key of the document, or of what is left of one whose root hash
 * somebody removed, can be named (no list of atomic models on the way
 * is unloaded). */
enum op_status doc_keys_known(struct call *c, struct doc *d);
/* work_check for what concerns all of the document at once, before anything is changed. */
int doc_whole_check(struct call *c, const struct doc *d);
/* Gives all of them this deadline (unix milliseconds, 0: none); doc_keys_known must hold. */
void doc_expire_at(struct call *c, struct doc *d, int64_t at);
/* {touch: true}: a document that has a deadline, of a model with a ttl, begins its ttl anew, as of
 * now (unix milliseconds), if that is later than what it has; its version stays. To be asked before
 * anything is changed; and done. */
enum op_status doc_may_touch(struct call *c, struct doc *d, int64_t now);
void doc_touch(struct call *c, struct doc *d, int64_t now);
/* All documents of the call that are there, which are known: before anything is changed everything
 * is, and it is clear that the client can be given `out`. */
enum op_status doc_touch_all(struct call *c, const struct buf *out);

#endif
