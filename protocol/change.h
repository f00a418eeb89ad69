/* change: one operation under way, and the few ways in which it may change the tree.
 *
 * Private to the op files. Each function that changes does three things in this order: the tree,
 * the effects (the replaced part still lives), the undo log (which takes the replaced part).
 */
#ifndef RAPYER_PROTOCOL_CHANGE_H
#define RAPYER_PROTOCOL_CHANGE_H

#include "protocol/place.h"
#include "protocol/undo.h"

struct run {
    const struct op *op;
    const struct op_run *env;
    struct needs *needs; /* never NULL */
    struct cursor args;
    struct buf *result;
    struct fault *f;
    struct place at;
};

#define WHERE_MAX 256

/* The path as the client wrote it, cut to fit, for messages. */
const char *run_where(const struct run *run, char out[static WHERE_MAX]);
/* The operation's name, for messages. */
const char *run_name(const struct run *run);
/* fault_set, and OP_REFUSED. */
#define REFUSE(run, ...) (fault_set((run)->f, __VA_ARGS__), OP_REFUSED)

/* The next argument as an int; `what` is its name. */
enum op_status arg_int(struct run *run, const char *what, int64_t *out);
/* The next argument as a dict key. */
enum op_status arg_key(struct run *run, const char **key, size_t *len);
/* The next argument as what an element, entry or field of type t holds, or (`field`) a field
 * of that type: there an atomic model is inline and a list or dict has elements of its own. `where`
 * is for messages, NULL: the path. `old` is what it replaces, NULL: nothing; lazy fields that its
 * maps leave out are kept from there. */
enum op_status arg_cell(struct run *run, const struct type *t, bool field, const char *where,
                        const struct cell *old, struct cell *out);

/* After a result that may be long was packed, before anything is changed: whether it may be given.
 */
enum op_status check_result(struct run *run);

/* What is told next follows from what the tree holds; see op_run's `computes`. */
void run_computes(const struct run *run);

/* Whether the place is the key field of a record that has a pk: then it is refused. */
enum op_status check_not_key(struct run *run);
/* The value at the place: its canonical bytes or those of the default; *stored says which.
 * OP_DONE with *p == NULL when it was never set. Not for records and containers. */
enum op_status value_read(struct run *run, const uint8_t **p, size_t *len, bool *stored);
/* Puts a value, record or container at the place of any kind, in place of what is there. Takes
 * v; OP_NEEDS and OP_REFUSED free it. */
enum op_status place_store(struct run *run, struct cell v);
/* As place_store of an int that is there already, told as an increment where Redis has one. */
enum op_status place_store_incr(struct run *run, int64_t by, int64_t now);

/* OP_DONE when the place is a field of this type, a container's, else a refusal. */
enum op_status check_container(struct run *run, enum type_kind kind);
/* OP_DONE when the container at the place is loaded. */
enum op_status check_loaded(struct run *run);
/* OP_DONE when the keys of this element (a record, or a value, which has none) are known. */
enum op_status check_drop(struct run *run, const struct cell *element);

/* Tells an effect on the key of the place, at.name[0,len), to whoever wants it. */
void tell(struct run *run, struct effect e);
/* The effects of a record's coming and going in the container whose key is at.name[0,len).
 * Nothing for a value. */
void tell_element(struct run *run, const struct cell *element);
void tell_element_gone(struct run *run, const struct cell *element);
/* What the container in Redis holds for an element: its value, or its pk. */
const struct type *stored_type(const struct type *t);
const struct cell *stored_cell(const struct cell *c);

/* Whether the element's pk (if it is a record) is free in the list; `except` is the index of the
 * one it is going to replace, -1: none. */
enum op_status check_pk(struct run *run, struct list *l, const struct cell *c, int64_t except);
/* Sets entries of the dict at the place (a field) from `from`, which is emptied and freed. A dict
 * of values need not be loaded. */
enum op_status entries_put(struct run *run, struct cell *container, const struct type *of,
                           struct dict *from);
/* The place becomes the element or entry of the container it has been until now. */
void place_to_element(struct place *p, size_t index);
void place_to_entry(struct place *p, const char *key, size_t len);

/* Appends the wire form of an element of the container at the place. */
enum op_status element_pack(struct run *run, const struct cell *c, const struct type *of);

/* What op_run does where the path has led, which came to st: on to what is inside a value, if it
 * must. */
enum op_status op_run_at(struct run *run, enum op_status st);
/* Refuses as there is no value at the place, to which so much of the path leads. */
enum op_status value_unset(struct run *run, size_t path_len);

/* doc.load of a list with a range. */
enum op_status run_load_slice(struct run *run);
/* run_number for a decimal. */
enum op_status run_decimal(struct run *run);
/* What runs the operations; `at` is resolved, args at the first argument. */
#define OP_RUNS(id, wire, lo, hi, res, wr, into, handler) enum op_status handler(struct run *);
OP_TABLE(OP_RUNS)
#undef OP_RUNS

#endif
