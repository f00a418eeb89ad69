/* op: one operation of the wire table, run against a tree.
 *
 *   op (name, path, args) ──► resolve path ──► check ──► change tree ──► result
 *                                  │                        ├──► undo log
 *                                  └──► needs (unloaded)    └──► effects, in terms of Redis keys
 *
 * Everything that can be refused is refused before the tree is touched. The same function
 * serves the daemon (effects become Redis commands, undo takes a pipeline back) and the
 * client's drafts (neither).
 *
 * Redis keys are named by their suffix behind the document's root key:
 *   ""                         the root record's hash;      "/posts/<pk>" an element's hash
 *   "/settings.notifications"  a dict or list of the root   "/posts/<pk>/tags" of an element
 *   "/card/1"  the hash of what an optional model holds
 * A field of an inline record is hash field "settings.theme" of the record that holds it.
 */
#ifndef RAPYER_PROTOCOL_OP_H
#define RAPYER_PROTOCOL_OP_H

#include "protocol/effect.h"
#include "protocol/path.h"
#include "protocol/tree.h"

/* What an operation answers. A length or a number is worked out from the tree, and Redis has the
 * last word on it: another daemon may have pushed to the same list, counted with the same field, or
 * added the same member.
 */
enum op_result { RESULT_VALUE, RESULT_VERSION, RESULT_LENGTH, RESULT_NUMBER };

/* Where the value that an operation takes will be: at the place that its path names, in the list
 * there, or in the dict there under the key that it takes as well. */
enum op_into { INTO_PLACE, INTO_LIST, INTO_ENTRY };

/* X(OP enum, wire name, min args, max args, result, writes, into, what runs it). Args are those
 * behind [key, path]: list.append takes 1 (value), list.insert 2 (index, value), list.pop 0..1,
 * dict.set 2, ... dict.pop takes an optional default. */
#define OP_TABLE(X)                                                                               \
    X(LOAD, "doc.load", 0, 1, RESULT_VALUE, false, INTO_PLACE, run_load)                          \
    X(IF, "if", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_if)                                    \
    X(SET, "set", 1, 1, RESULT_VERSION, true, INTO_PLACE, run_set)                                \
    X(NUM_INCR, "num.incr", 1, 1, RESULT_NUMBER, true, INTO_PLACE, run_number)                    \
    X(NUM_MUL, "num.mul", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_number)                       \
    X(NUM_DIV, "num.div", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_number)                       \
    X(NUM_FLOORDIV, "num.floordiv", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_number)             \
    X(NUM_MOD, "num.mod", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_number)                       \
    X(NUM_POW, "num.pow", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_number)                       \
    X(STR_APPEND, "str.append", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_str_append)             \
    X(STR_REPEAT, "str.repeat", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_str_repeat)             \
    X(BYTES_APPEND, "bytes.append", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_bytes_append)       \
    X(DATETIME_ADD, "datetime.add", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_datetime_add)       \
    X(LIST_APPEND, "list.append", 1, 1, RESULT_LENGTH, true, INTO_LIST, run_list_append)          \
    X(LIST_EXTEND, "list.extend", 1, 1, RESULT_LENGTH, true, INTO_PLACE, run_list_extend)         \
    X(LIST_INSERT, "list.insert", 2, 2, RESULT_LENGTH, true, INTO_LIST, run_list_insert)          \
    X(LIST_SET, "list.set", 2, 2, RESULT_VERSION, true, INTO_LIST, run_list_set)                  \
    X(LIST_POP, "list.pop", 0, 1, RESULT_VALUE, true, INTO_PLACE, run_list_pop)                   \
    X(LIST_REMOVE_RANGE, "list.remove_range", 2, 2, RESULT_VALUE, true, INTO_PLACE,               \
      run_list_remove_range)                                                                      \
    X(LIST_REMOVE, "list.remove", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_list_remove)          \
    X(LIST_POP_MANY, "list.pop_many", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_list_pop_many)    \
    X(LIST_MOVE, "list.move", 2, 2, RESULT_VERSION, true, INTO_PLACE, run_list_move)              \
    X(LIST_INDEX, "list.index", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_list_index)            \
    X(LIST_CLEAR, "list.clear", 0, 0, RESULT_VERSION, true, INTO_PLACE, run_list_clear)           \
    X(DICT_UPDATE, "dict.update", 1, 1, RESULT_VERSION, true, INTO_PLACE, run_dict_update)        \
    X(DICT_SET, "dict.set", 2, 2, RESULT_VERSION, true, INTO_ENTRY, run_dict_set)                 \
    X(DICT_DEL, "dict.del", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_dict_del)                   \
    X(DICT_POP, "dict.pop", 1, 2, RESULT_VALUE, true, INTO_PLACE, run_dict_pop)                   \
    X(DICT_POPITEM, "dict.popitem", 0, 0, RESULT_VALUE, true, INTO_PLACE, run_dict_popitem)       \
    X(DICT_CLEAR, "dict.clear", 0, 0, RESULT_VERSION, true, INTO_PLACE, run_dict_clear)           \
    X(SET_ADD, "set.add", 1, 1, RESULT_NUMBER, true, INTO_PLACE, run_set_add)                     \
    X(SET_ADD_MANY, "set.add_many", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_set_add_many)       \
    X(SET_REMOVE, "set.remove", 1, 1, RESULT_NUMBER, true, INTO_PLACE, run_set_remove)            \
    X(SET_POP, "set.pop", 0, 0, RESULT_VALUE, true, INTO_PLACE, run_set_pop)                      \
    X(SET_CLEAR, "set.clear", 0, 0, RESULT_VERSION, true, INTO_PLACE, run_set_clear)              \
    X(SET_HAS, "set.has", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_set_has)                     \
    X(SET_SIZE, "set.size", 0, 0, RESULT_VALUE, false, INTO_PLACE, run_set_size)                  \
    X(SET_UNION, "set.union", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_set_combined)            \
    X(SET_INTERSECTION, "set.intersection", 1, 1, RESULT_VALUE, false, INTO_PLACE,                \
      run_set_combined)                                                                           \
    X(SET_DIFFERENCE, "set.difference", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_set_combined)  \
    X(SET_UNITE, "set.unite", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_set_combine)              \
    X(SET_INTERSECT, "set.intersect", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_set_combine)      \
    X(SET_SUBTRACT, "set.subtract", 1, 1, RESULT_VALUE, true, INTO_PLACE, run_set_combine)        \
    X(SORTED_PUSH, "sorted.push", 2, 2, RESULT_NUMBER, true, INTO_PLACE, run_sorted_push)         \
    X(SORTED_PUSH_MANY, "sorted.push_many", 1, 1, RESULT_VALUE, true, INTO_PLACE,                 \
      run_sorted_push_many)                                                                       \
    X(SORTED_INCR, "sorted.incr", 2, 2, RESULT_VALUE, true, INTO_PLACE, run_sorted_incr)          \
    X(SORTED_POP_MIN, "sorted.pop_min", 0, 1, RESULT_VALUE, true, INTO_PLACE, run_sorted_pop_min) \
    X(SORTED_POP_MAX, "sorted.pop_max", 0, 1, RESULT_VALUE, true, INTO_PLACE, run_sorted_pop_max) \
    X(SORTED_REMOVE, "sorted.remove", 1, 1, RESULT_NUMBER, true, INTO_PLACE, run_sorted_remove)   \
    X(SORTED_REMOVE_RANGE, "sorted.remove_range", 1, 2, RESULT_VALUE, true, INTO_PLACE,           \
      run_sorted_remove_range)                                                                    \
    X(SORTED_REMOVE_BY_SCORE, "sorted.remove_by_score", 2, 2, RESULT_VALUE, true, INTO_PLACE,     \
      run_sorted_remove_by_score)                                                                 \
    X(SORTED_PEEK, "sorted.peek", 0, 1, RESULT_VALUE, false, INTO_PLACE, run_sorted_peek)         \
    X(SORTED_SCORE, "sorted.score", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_sorted_score)      \
    X(SORTED_RANK, "sorted.rank", 1, 1, RESULT_VALUE, false, INTO_PLACE, run_sorted_rank)         \
    X(SORTED_RANGE, "sorted.range", 1, 2, RESULT_VALUE, false, INTO_PLACE, run_sorted_range)      \
    X(SORTED_RANGE_BY_SCORE, "sorted.range_by_score", 2, 2, RESULT_VALUE, false, INTO_PLACE,      \
      run_sorted_range_by_score)                                                                  \
    X(SORTED_SIZE, "sorted.size", 0, 0, RESULT_VALUE, false, INTO_PLACE, run_sorted_size)         \
    X(SORTED_CLEAR, "sorted.clear", 0, 0, RESULT_VERSION, true, INTO_PLACE, run_sorted_clear)

enum op_kind {
#define OP_ENUM(id, ...) OP_##id,
    OP_TABLE(OP_ENUM)
#undef OP_ENUM
        OP_COUNT
};

struct op_info {
    const char *name;
    uint8_t min_args, max_args;
    enum op_result result;
    bool writes;
    enum op_into into;
};
extern const struct op_info op_infos[OP_COUNT];

/* The kind of a wire method, or -1 when it is not an operation of the table. */
int op_by_name(const char *name, size_t len);

struct op {
    enum op_kind kind;
    const char *path;
    size_t path_len;
    struct cursor args; /* at the first value behind [key, path] */
    unsigned nargs;
};

/* Reads [path, ...args] with nparams items from c into *op; arity is checked: BAD_REQUEST. */
int op_parse(enum op_kind kind, struct cursor *c, uint32_t nparams, struct op *op, struct fault *f);

struct undo;
struct undo *undo_new(void);
void undo_free(struct undo *u);
size_t undo_len(const struct undo *u); /* changes in the log */
/* Takes the tree back to where it was when the log was empty (or last committed). */
void undo_rollback(struct undo *u);
/* Forgets the log and frees what the changes replaced. */
void undo_commit(struct undo *u);

enum op_status { OP_DONE = 0, OP_REFUSED = -1, OP_NEEDS = 1 };

struct op_run {
    struct record *root;
    effect_fn *effects; /* NULL: none wanted */
    void *effects_arg;
    struct undo *undo;   /* NULL: replaced cells are freed at once. While it has entries
                          * no record of the tree may be moved (record_widen) */
    struct needs *needs; /* NULL: nothing is ever unloaded */
    size_t max_value;    /* bytes a str or bytes may grow to, 0: no limit */
    bool *computes; /* set, before the first effect is told, if what is told was worked out from
                     * what the tree holds and is wrong where that was changed since: a product,
                     * a text that grew, what is at an index. NULL: not wanted */
    /* Asked, before anything is changed, of a result that may be long: -1 refuses the operation,
     * with the fault set. NULL: any will do. */
    int (*fits)(void *arg, const struct buf *result);
    void *fits_arg;
    /* Set where an operation is refused because the path leads on from null, or to what an `any`
     * does not hold now: it is a good path, and there is nothing there. NULL: not wanted. */
    bool *nothing;
    bool purge; /* something of the tree was spoilt, so that there may be keys in Redis that it does
                 * not know: what new elements could have is removed before they are written */
    /* Another document that an operand is in, and where to report what of it is not loaded; refused
     * with the fault set. NULL: there is none. */
    enum op_status (*elsewhere)(void *arg, const char *key, size_t len, struct record **root,
                                struct needs *needs);
    void *elsewhere_arg;
    struct fault *fault;
};

/* Whether the operand of such an operation may be in another document, and in which: its key. args
 * as in struct op. */
bool op_elsewhere(enum op_kind kind, struct cursor args, const char **key, size_t *len);

/* Where nothing was ever set, a default counts as the value; without one doc.load and all that
 * computes are NOT_FOUND, only num.incr starts at 0. An int that Redis holds and num.incr changes
 * is told as its increment, everything else as its outcome.
 *
 * Runs op. OP_DONE: changed, effects told, and unless the result is a version exactly one value was
 * appended to *result. OP_REFUSED: fault set, nothing changed. OP_NEEDS: something it must see is
 * not loaded; reported to needs, nothing changed, run it again later. */
enum op_status op_run(const struct op *op, const struct op_run *env, struct buf *result);

/* What the operation `if` answers where there is no document: appended as by op_run. */
enum op_status if_nothing(struct cursor tests, struct buf *result, struct fault *f);
/* Its tests in words, ">= 18 and < 65"; they have been carried out, so their form is good. */
void if_say(struct cursor tests, struct buf *out);

/* Effects that write a whole record (its fields, containers and elements) to keys under
 * suffix/prefix, and that remove one. record_drop needs the lists of records below to be
 * loaded: OP_NEEDS otherwise, with nothing told. For a root: suffix "", prefix "". */
void record_emit(const struct record *r, const char *suffix, const char *prefix, effect_fn *tell,
                 void *arg);
enum op_status record_drop(const struct record *r, const char *suffix, const char *prefix,
                           struct needs *needs, effect_fn *tell, void *arg);
/* Removes every key that the record and those in it may have, also where the tree has nothing. */
void record_purge(const struct record *r, const char *suffix, const char *prefix, effect_fn *tell,
                  void *arg);

/* Building what replaces something: record_build and cell_build (tree.h) refuse a map that leaves
 * fields out by "@lazy", as there is nothing they could be kept from. These take them from there.
 */
struct rebuild {
    const struct record *record; /* what is there now; NULL: nothing. For record_rebuild, */
    const struct cell *cell;     /* and for cell_rebuild */
    const char *suffix; /* where that is, as for record_pack and cell_pack (of an element: its */
    size_t suffix_len;  /* container's key) */
    unsigned depth;     /* containers around the place */
    struct needs *needs;
    bool *kept; /* out: something was taken from there, so the result depends on it */
};
enum op_status record_rebuild(const struct model *m, enum record_place place, const char *pk,
                              size_t pk_len, struct cursor *in, const char *where,
                              const struct rebuild *from, struct record **out, struct fault *f);
enum op_status cell_rebuild(const struct type *t, bool element, struct cursor *in,
                            const char *where, const struct rebuild *from, struct cell *out,
                            struct fault *f);

/* Where a path leads, for watch and locks: appends its canonical form, elements by pk. An entry
 * of a dict need not be there. 0, OP_NEEDS, or -1 with a fault (and nothing appended). */
int path_resolve(struct record *root, const char *path, size_t len, struct needs *needs,
                 struct buf *canonical, struct fault *f);

#endif
