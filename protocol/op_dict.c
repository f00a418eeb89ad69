/* op_dict: what can be done to a dict<> field.
 *
 * Entries of values can be set in a dict that is not in memory; what tells whether a key was
 * there, or gives its value back, needs the dict.
 */
#include "protocol/change.h"
#include <stdio.h>

enum op_status run_dict_update(struct run *run)
{
    struct cell built;
    enum op_status st = check_container(run, TYPE_DICT);
    if (st == OP_DONE && type_atomic(run->at.type->of))
        st = check_loaded(run);
    if (st != OP_DONE ||
        (st = arg_cell(run, run->at.type, true, NULL, run->at.cell, &built)) != OP_DONE)
        return st;
    return entries_put(run, run->at.cell, run->at.type->of, built.dict);
}

enum op_status run_dict_set(struct run *run)
{
    const char *key;
    size_t len;
    char where[WHERE_MAX], entry[WHERE_MAX + 80];
    struct cell c;
    enum op_status st = check_container(run, TYPE_DICT);
    if (st == OP_DONE && type_atomic(run->at.type->of))
        st = check_loaded(run);
    if (st != OP_DONE || (st = arg_key(run, &key, &len)) != OP_DONE)
        return st;
    snprintf(entry, sizeof entry, "%s[\"%.*s\"]", run_where(run, where), (int)(len < 64 ? len : 64),
             key);
    struct dict *d = run->at.cell->dict;
    const struct cell *old = dict_loaded(d) ? dict_get(d, key, len) : NULL;
    if ((st = arg_cell(run, run->at.type->of, false, entry, old, &c)) != OP_DONE)
        return st;
    place_to_entry(&run->at, key, len);
    return place_store(run, c);
}

/* Takes an entry out. The key may be the dict's own. */
static void entry_remove(struct run *run, struct dict *d, const char *key, size_t len)
{
    struct buf name = BUF_INIT;
    buf_append(&name, key, len);
    key = len ? (const char *)name.data : "";
    struct cell old = dict_take(d, key, len);
    tell_element_gone(run, &old);
    tell(run, (struct effect){.kind = EFFECT_FIELD_DEL, .field = key, .field_len = len});
    undo_dict(run->env->undo, d, key, len, old);
    buf_free(&name);
}

/* The dict at the place and the entry of the key in the arguments, NULL: not there. */
static enum op_status entry_find(struct run *run, const char **key, size_t *len, struct cell **c)
{
    enum op_status st = check_container(run, TYPE_DICT);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE ||
        (st = arg_key(run, key, len)) != OP_DONE)
        return st;
    *c = dict_get(run->at.cell->dict, *key, *len);
    return *c ? check_drop(run, *c) : OP_DONE;
}

enum op_status run_dict_del(struct run *run)
{
    const char *key;
    size_t len;
    struct cell *c;
    enum op_status st = entry_find(run, &key, &len, &c);
    if (st != OP_DONE)
        return st;
    run_computes(run); /* whether it was there is the answer */
    pack_bool(run->result, c != NULL);
    if (c)
        entry_remove(run, run->at.cell->dict, key, len);
    return OP_DONE;
}

enum op_status run_dict_pop(struct run *run)
{
    const char *key;
    size_t len;
    struct cell *c;
    char where[WHERE_MAX];
    enum op_status st = entry_find(run, &key, &len, &c);
    if (st != OP_DONE)
        return st;
    if (c) {
        if ((st = element_pack(run, c, run->at.type->of)) != OP_DONE)
            return st;
        run_computes(run);
        entry_remove(run, run->at.cell->dict, key, len);
        return OP_DONE;
    }
    if (run->op->nargs < 2)
        return REFUSE(run, FAULT_NOT_FOUND, "'%s' has no key '%.*s', and no default was given",
                      run_where(run, where), (int)(len < 80 ? len : 80), key);
    buf_append(run->result, run->args.at, (size_t)(run->args.end - run->args.at));
    return check_result(run);
}

enum op_status run_dict_popitem(struct run *run)
{
    const char *key;
    size_t len, had = run->result->len;
    struct cell *c;
    char where[WHERE_MAX];
    enum op_status st = check_container(run, TYPE_DICT);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE)
        return st;
    struct dict *d = run->at.cell->dict;
    if (!dict_last(d, &key, &len, &c))
        return REFUSE(run, FAULT_NOT_FOUND, "dict.popitem: '%s' is empty", run_where(run, where));
    if ((st = check_drop(run, c)) != OP_DONE)
        return st;
    pack_array(run->result, 2);
    pack_str(run->result, key, len);
    if ((st = element_pack(run, c, run->at.type->of)) != OP_DONE) {
        run->result->len = had;
        return st;
    }
    run_computes(run);
    entry_remove(run, d, key, len);
    return OP_DONE;
}

enum op_status run_dict_clear(struct run *run)
{
    enum op_status st = check_container(run, TYPE_DICT);
    if (st != OP_DONE)
        return st;
    return place_store(run, cell_blank(run->at.type));
}
