/* change: how operations read and change the place that their path led to.
 *
 *   value field      hash_set, hash_incr          inline record   drop + emit of its fields
 *   list element     list_set                     list, dict      drop + emit of the container
 *   dict entry       hash_set, hash_incr          record element  its pk, drop + emit of its keys
 */
#include "protocol/change.h"
#include "protocol/work.h"

const char *run_where(const struct run *run, char out[static WHERE_MAX])
{
    size_t n = run->op->path_len < WHERE_MAX - 4 ? run->op->path_len : WHERE_MAX - 4;
    memcpy(out, run->op->path, n);
    strcpy(out + n, n < run->op->path_len ? "..." : "");
    return out;
}

const char *run_name(const struct run *run)
{
    return op_infos[run->op->kind].name;
}

/* ---- arguments ---- */

enum op_status arg_int(struct run *run, const char *what, int64_t *out)
{
    struct item it;
    if (cursor_next(&run->args, &it) < 0)
        return REFUSE(run, FAULT_BAD_REQUEST, "%s: the %s is missing", run_name(run), what);
    if (it.kind == ITEM_UINT)
        return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: the %s does not fit 64 bits", run_name(run),
                      what);
    if (it.kind != ITEM_INT)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: the %s must be an int, not %s", run_name(run), what,
                      item_kind_name(it.kind));
    *out = it.integer;
    return OP_DONE;
}

enum op_status arg_key(struct run *run, const char **key, size_t *len)
{
    struct item it;
    if (cursor_next(&run->args, &it) < 0)
        return REFUSE(run, FAULT_BAD_REQUEST, "%s: the key is missing", run_name(run));
    if (it.kind != ITEM_STR)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: a dict's key must be a str, not %s", run_name(run),
                      item_kind_name(it.kind));
    if (!utf8_valid(it.bytes.p, it.bytes.len))
        return REFUSE(run, FAULT_BAD_VALUE, "%s: the key is not valid UTF-8", run_name(run));
    *key = (const char *)it.bytes.p;
    *len = it.bytes.len;
    return OP_DONE;
}

enum op_status arg_cell(struct run *run, const struct type *t, bool field, const char *where,
                        const struct cell *old, struct cell *out)
{
    char text[WHERE_MAX];
    bool kept = false;
    struct rebuild from = {.cell = old,
                           .suffix = run->at.name,
                           .suffix_len = run->at.len,
                           .depth = run->at.depth + (t != run->at.type),
                           .needs = run->needs,
                           .kept = &kept};
    if (!where)
        where = run_where(run, text);
    enum op_status st = cell_rebuild(t, !field, &run->args, where, &from, out, run->f);
    if (kept)
        run_computes(run); /* what is kept is written again */
    return st;
}

void run_computes(const struct run *run)
{
    if (run->env->computes != NULL)
        *run->env->computes = true;
}

enum op_status check_result(struct run *run)
{
    const struct op_run *env = run->env;
    return env->fits == NULL || env->fits(env->fits_arg, run->result) == 0 ? OP_DONE : OP_REFUSED;
}

/* ---- reading ---- */

enum op_status check_not_key(struct run *run)
{
    const struct place *p = &run->at;
    if (p->kind != PLACE_FIELD || p->record->pk.kind == CELL_UNSET || p->record == p->lone ||
        p->record->model->key_field != (int)p->slot)
        return OP_DONE;
    return REFUSE(run, FAULT_BAD_VALUE,
                  "'%s' is the key field of model %s: it is what names the %s and cannot change",
                  p->record->model->fields[p->slot].name, p->record->model->name,
                  p->record == run->env->root ? "document" : "element");
}

/* A place that another program spoilt is wanted for more than to be replaced. */
static enum op_status report(struct run *run)
{
    const struct place *at = &run->at;
    if (!run->env->needs)
        return REFUSE(run, FAULT_CORRUPT, "%s", cell_wrong(at->cell));
    needs_add(run->env->needs, at->cell, at->type, at->name, at->len);
    return OP_NEEDS;
}

enum op_status value_read(struct run *run, const uint8_t **p, size_t *len, bool *stored)
{
    struct place *at = &run->at;
    *p = NULL;
    *len = 0;
    *stored = false;
    if (at->kind == PLACE_ENTRY && !at->cell && !at->not_there) {
        enum op_status st = place_loaded(at->container, at->container_type, at->name, at->len,
                                         run->env->needs, run->f);
        if (st != OP_DONE)
            return st;
    }
    if (at->cell && at->cell->kind == CELL_SPOILT)
        return report(run);
    if (at->cell && cell_is_value(at->cell)) {
        *p = cell_bytes(at->cell, len);
        *stored = true;
    } else if (at->kind == PLACE_FIELD) {
        const struct field *f = &at->record->model->fields[at->slot];
        *p = f->fallback;
        *len = f->fallback_len;
    }
    return OP_DONE;
}

enum op_status element_pack(struct run *run, const struct cell *c, const struct type *of)
{
    struct place *at = &run->at;
    size_t len = at->len, had = run->result->len;
    unsigned needed = run->needs->count;
    const char *pk;
    size_t pk_len;
    if (c->kind == CELL_RECORD && cell_get_str(&c->record->pk, &pk, &pk_len) == 0 &&
        pk_len <= PK_MAX) {
        at->name[len++] = '/';
        len += pk_escape(at->name + len, pk, pk_len);
    }
    cell_pack(c, of, at->name, len, run->needs, run->result);
    if (work_check(run->f) < 0)
        return OP_REFUSED;
    if (run->needs->count == needed)
        return check_result(run);
    run->result->len = had;
    return run->env->needs ? OP_NEEDS : REFUSE(run, FAULT_INTERNAL, "an element is not loaded");
}

/* Whatever was there: these are ways out of what another program spoilt. */
static bool replaces(enum op_kind kind)
{
    return kind == OP_LIST_CLEAR || kind == OP_DICT_CLEAR || kind == OP_SET_CLEAR ||
           kind == OP_SORTED_CLEAR;
}

enum op_status check_container(struct run *run, enum type_kind kind)
{
    const struct place *at = &run->at;
    char where[WHERE_MAX], have[TYPE_NAME_MAX];
    bool same = at->type && at->type->kind == kind;
    if (at->kind == PLACE_FIELD && same)
        return at->cell->container->spoilt && !replaces(run->op->kind) ? report(run) : OP_DONE;
    return REFUSE(run, FAULT_BAD_TYPE, "%s needs a field of type %s<>: '%s' is %s%s", run_name(run),
                  container_kinds[kind]->name, run_where(run, where),
                  at->type ? type_name(at->type, have, sizeof have) : "the document",
                  same ? ", a value inside another: replace it whole" : "");
}

enum op_status check_loaded(struct run *run)
{
    struct place *at = &run->at;
    return place_loaded(at->cell, at->type, at->name, at->len, run->env->needs, run->f);
}

/* ---- effects of records and containers ---- */

void tell(struct run *run, struct effect e)
{
    if (!run->env->effects)
        return;
    e.suffix = run->at.name;
    e.suffix_len = run->at.len;
    run->env->effects(run->env->effects_arg, &e);
}

const struct type *stored_type(const struct type *t)
{
    return type_atomic(t) ? &type_str : t;
}

const struct cell *stored_cell(const struct cell *c)
{
    return c->kind == CELL_RECORD ? &c->record->pk : c;
}

/* The element's own key, NUL-terminated, behind its container's; the place's len stays. */
static const char *element_key(struct place *at, const struct record *r)
{
    const char *pk = "";
    size_t len = 0;
    (void)cell_get_str(&r->pk, &pk, &len);
    if (len > PK_MAX)
        len = PK_MAX;
    at->name[at->len] = '/';
    len = pk_escape(at->name + at->len + 1, pk, len);
    at->name[at->len + 1 + len] = '\0';
    return at->name;
}

/* OP_NEEDS from the tree is a defect where nothing can load. */
static enum op_status needed(struct run *run, enum op_status st)
{
    if (st == OP_NEEDS && !run->env->needs)
        return REFUSE(run, FAULT_INTERNAL, "a part of the document is not loaded");
    return st;
}

/* What goes with all that is below it: wrong where there is more than the tree knows of. */
enum op_status check_drop(struct run *run, const struct cell *element)
{
    if (element->kind != CELL_RECORD)
        return OP_DONE;
    if (work_check(run->f) < 0)
        return OP_REFUSED;
    run_computes(run);
    enum op_status st =
        needed(run, record_drop(element->record, element_key(&run->at, element->record), "",
                                run->needs, NULL, NULL));
    return st == OP_DONE && work_check(run->f) < 0 ? OP_REFUSED : st;
}

void tell_element(struct run *run, const struct cell *element)
{
    if (element->kind != CELL_RECORD || !run->env->effects)
        return;
    const char *key = element_key(&run->at, element->record);
    if (run->env->purge)
        record_purge(element->record, key, "", run->env->effects, run->env->effects_arg);
    record_emit(element->record, key, "", run->env->effects, run->env->effects_arg);
}

void tell_element_gone(struct run *run, const struct cell *element)
{
    if (element->kind == CELL_RECORD && run->env->effects)
        record_drop(element->record, element_key(&run->at, element->record), "", run->needs,
                    run->env->effects, run->env->effects_arg);
}

static enum op_status check_container_drop(struct run *run, const struct type *t)
{
    enum op_status st, all = OP_DONE;
    if (!type_atomic(t->of))
        return OP_DONE;
    if (!run->at.cell->container->spoilt && (st = check_loaded(run)) != OP_DONE)
        return st;
    run_computes(run); /* there may be elements by now */
    for (struct element e = {0}; container_next(run->at.cell->container, &e);) {
        if ((st = check_drop(run, e.cell)) == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = st; /* the others' needs are worth one and the same wait */
    }
    return all;
}

static void tell_container_gone(struct run *run, const struct cell *c, const struct type *t)
{
    if (!run->env->effects)
        return;
    if (type_atomic(t->of))
        for (struct element e = {0}; container_next(c->container, &e);)
            tell_element_gone(run, e.cell);
    tell(run, (struct effect){.kind = EFFECT_DROP});
}

static void tell_container(struct run *run, const struct cell *c, const struct type *t)
{
    if (!run->env->effects)
        return;
    for (struct element e = {0}; container_next(c->container, &e);) {
        tell(run, element_effect(c->container, t, &e));
        tell_element(run, e.cell);
    }
}

/* ---- storing ---- */

void place_to_element(struct place *p, size_t index)
{
    p->container = p->cell;
    p->container_type = p->type;
    p->kind = PLACE_ELEMENT;
    p->type = p->type->of;
    p->index = index;
    p->cell = list_at(p->container->list, index);
}

void place_to_entry(struct place *p, const char *key, size_t len)
{
    p->container = p->cell;
    p->container_type = p->type;
    p->kind = PLACE_ENTRY;
    p->type = p->type->of;
    p->key = key;
    p->key_len = len;
    p->cell = dict_loaded(p->container->dict) ? dict_get(p->container->dict, key, len) : NULL;
}

/* Of the form of a random UUID (version 4): nobody else makes the same one. Whether another one is
 * free must be so in Redis. */
static bool pk_is_random(const char *pk, size_t len)
{
    static const char form[] = "xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx";
    if (len != sizeof form - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool hex = (pk[i] >= '0' && pk[i] <= '9') || (pk[i] >= 'a' && pk[i] <= 'f');
        if (form[i] == 'x' ? !hex : pk[i] != form[i])
            return false;
    }
    return true;
}

enum op_status check_pk(struct run *run, struct list *l, const struct cell *c, int64_t except)
{
    const char *pk;
    size_t len;
    char where[WHERE_MAX];
    if (c->kind != CELL_RECORD || cell_get_str(&c->record->pk, &pk, &len) < 0)
        return OP_DONE;
    if (!pk_is_random(pk, len))
        run_computes(run);
    const struct record *r = list_by_pk(l, pk, len);
    if (!r || (except >= 0 && list_at(l, (size_t)except)->record == r))
        return OP_DONE;
    return REFUSE(run, FAULT_BAD_VALUE, "'%s' already has an element with the pk '%.*s'",
                  run_where(run, where), (int)(len < 80 ? len : 80), pk);
}

/* by: NULL, or what an int that was there has grown by. */
static void tell_value(struct run *run, const struct cell *v, const struct cell *was,
                       const int64_t *by, int64_t now)
{
    const struct place *at = &run->at;
    struct effect e = {.kind = EFFECT_FIELD_SET,
                       .suffix = at->name,
                       .suffix_len = at->kind == PLACE_FIELD ? at->base : at->len,
                       .type = at->type,
                       .value = v,
                       .was = was};
    if (at->kind == PLACE_ELEMENT) {
        e.kind = EFFECT_LIST_SET;
        e.index = at->index;
    } else if (at->kind == PLACE_ENTRY) {
        e.field = at->key;
        e.field_len = at->key_len;
    } else {
        e.field = at->name + at->base + 1;
        e.field_len = at->len - at->base - 1;
    }
    if (by && at->kind != PLACE_ELEMENT) {
        e.kind = EFFECT_FIELD_INCR;
        e.value = NULL;
        e.by = *by;
        e.now = now;
    }
    if (run->env->effects)
        run->env->effects(run->env->effects_arg, &e);
}

/* An entry of a dict that is not loaded was set to v, which it takes. */
static void entry_picked(struct run *run, struct container *c, const char *key, size_t len,
                         struct cell v)
{
    if (!c->picked) {
        cell_free(&v);
        return;
    }
    struct cell old = dict_put(c->picked, key, len, v);
    undo_dict(run->env->undo, c->picked, key, len, old);
}

static void value_put(struct run *run, struct cell v, const int64_t *by, int64_t now)
{
    struct place *at = &run->at;
    struct undo *u = run->env->undo;
    struct cell old;
    switch (at->kind) {
    case PLACE_FIELD:
        old = *at->cell;
        *at->cell = v;
        tell_value(run, &v, &old, by, now);
        undo_slot(u, at->record, at->slot, old);
        break;
    case PLACE_ELEMENT:
        old = list_replace(at->container->list, at->index, v);
        tell_value(run, &v, NULL, by, now);
        undo_list_replaced(u, at->container->list, at->index, old);
        break;
    case PLACE_ENTRY:
        if (!dict_loaded(at->container->dict)) {
            tell_value(run, &v, NULL, by, now);
            entry_picked(run, at->container->container, at->key, at->key_len, v);
            break;
        }
        old = dict_put(at->container->dict, at->key, at->key_len, v);
        tell_value(run, &v, NULL, by, now);
        undo_dict(u, at->container->dict, at->key, at->key_len, old);
        break;
    case PLACE_ROOT: cell_free(&v); break;
    }
}

static enum op_status container_put(struct run *run, struct cell v)
{
    struct place *at = &run->at;
    enum op_status st = check_container_drop(run, at->type);
    if (st != OP_DONE) {
        cell_free(&v);
        return st;
    }
    struct cell old = *at->cell;
    *at->cell = v;
    tell_container_gone(run, &old, at->type);
    tell_container(run, at->cell, at->type);
    undo_slot(run->env->undo, at->record, at->slot, old);
    return OP_DONE;
}

/* An inline record: its fields are in the hash of the record around it. */
static enum op_status inline_put(struct run *run, struct cell v)
{
    struct place *at = &run->at;
    const char *suffix = at->name, *prefix = at->name + at->base + 1;
    char dividing = at->name[at->base];
    run_computes(run); /* as check_drop */
    memcpy(at->name + at->len, ".", 2);
    at->name[at->base] = '\0';
    enum op_status st =
        needed(run, record_drop(at->cell->record, suffix, prefix, run->needs, NULL, NULL));
    if (st == OP_DONE && work_check(run->f) < 0)
        st = OP_REFUSED;
    if (st == OP_DONE) {
        struct cell old = *at->cell;
        *at->cell = v;
        if (run->env->effects) {
            record_drop(old.record, suffix, prefix, run->needs, run->env->effects,
                        run->env->effects_arg);
            if (run->env->purge)
                record_purge(v.record, suffix, prefix, run->env->effects, run->env->effects_arg);
            record_emit(v.record, suffix, prefix, run->env->effects, run->env->effects_arg);
        }
        undo_slot(run->env->undo, at->record, at->slot, old);
    } else {
        cell_free(&v);
    }
    at->name[at->base] = dividing;
    return st;
}

static enum op_status element_put(struct run *run, struct cell v)
{
    struct place *at = &run->at;
    struct list *l = at->container->list;
    enum op_status st = check_pk(run, l, &v, (int64_t)at->index);
    if (st == OP_DONE)
        st = check_drop(run, at->cell);
    if (st != OP_DONE) {
        cell_free(&v);
        return st;
    }
    struct cell old = list_replace(l, at->index, v);
    tell_element_gone(run, &old);
    tell(run, (struct effect){.kind = EFFECT_LIST_SET,
                              .index = at->index,
                              .type = &type_str,
                              .value = &v.record->pk});
    tell_element(run, &v);
    undo_list_replaced(run->env->undo, l, at->index, old);
    return OP_DONE;
}

enum op_status place_store(struct run *run, struct cell v)
{
    struct place *at = &run->at;
    if (at->kind == PLACE_FIELD && !at->cell) {
        cell_free(&v);
        return REFUSE(run, FAULT_INTERNAL, "'%s' is newer than the document in memory",
                      at->record->model->fields[at->slot].name);
    }
    if (v.kind == CELL_HEAP && v.heap_len >= WORK_LONG && work_check(run->f) < 0) {
        cell_free(&v);
        return OP_REFUSED;
    }
    if (at->kind == PLACE_ELEMENT)
        run_computes(run); /* it is told by its index, wherever it is now */
    if (at->kind == PLACE_FIELD && v.kind == CELL_RECORD)
        return inline_put(run, v);
    if (at->kind == PLACE_FIELD && v.kind == CELL_CONTAINER)
        return container_put(run, v);
    if (at->kind == PLACE_ELEMENT && v.kind == CELL_RECORD)
        return element_put(run, v);
    if (at->kind == PLACE_ENTRY && v.kind == CELL_RECORD) {
        struct dict *one = dict_new();
        dict_put(one, at->key, at->key_len, v);
        return entries_put(run, at->container, at->type, one);
    }
    value_put(run, v, NULL, 0);
    return OP_DONE;
}

enum op_status place_store_incr(struct run *run, int64_t by, int64_t now)
{
    if (run->at.kind == PLACE_ELEMENT)
        run_computes(run);
    value_put(run, cell_int(now), &by, now);
    return OP_DONE;
}

/* ---- many entries of a dict ---- */

/* A pk names one record in its dict, under whatever key. */
static enum op_status check_entry_pks(struct run *run, struct dict *d, struct dict *from)
{
    struct dict *pks = dict_new();
    struct cell *c;
    const char *key, *pk, *twice = NULL;
    size_t it, len, pk_len, twice_len = 0;
    for (it = 0; !twice && dict_next(from, &it, &key, &len, &c);) {
        if (cell_get_str(&c->record->pk, &pk, &pk_len) < 0)
            continue;
        if (!pk_is_random(pk, pk_len))
            run_computes(run);
        if (dict_put(pks, pk, pk_len, cell_nil()).kind != CELL_UNSET) {
            twice = pk;
            twice_len = pk_len;
        }
    }
    for (it = 0; !twice && dict_next(d, &it, &key, &len, &c);) {
        if (cell_get_str(&c->record->pk, &pk, &pk_len) == 0 && dict_get(pks, pk, pk_len) &&
            !dict_get(from, key, len)) {
            twice = pk;
            twice_len = pk_len;
        }
    }
    dict_free(pks);
    if (!twice)
        return OP_DONE;
    char where[WHERE_MAX];
    return REFUSE(run, FAULT_BAD_VALUE, "'%s' would have two entries with the pk '%.*s'",
                  run_where(run, where), (int)(twice_len < 80 ? twice_len : 80), twice);
}

static enum op_status check_entries(struct run *run, struct cell *container, struct dict *from)
{
    enum op_status st, all = OP_DONE;
    const char *key;
    size_t it = 0, len;
    struct cell *c, *old;
    st = check_entry_pks(run, container->dict, from);
    run_computes(run); /* another daemon may have put something there, whose content would stay */
    while (st == OP_DONE && dict_next(from, &it, &key, &len, &c)) {
        old = dict_get(container->dict, key, len);
        if (old && (st = check_drop(run, old)) == OP_NEEDS) {
            all = st;
            st = OP_DONE;
        }
    }
    return st == OP_DONE ? all : st;
}

static void tell_entry(struct run *run, const char *key, size_t len, const struct type *of,
                       const struct cell *c)
{
    tell(run, (struct effect){.kind = EFFECT_FIELD_SET,
                              .field = key,
                              .field_len = len,
                              .type = stored_type(of),
                              .value = stored_cell(c)});
}

static void entries_move(struct run *run, struct dict *d, const struct type *of, struct dict *from)
{
    size_t it, len, n = 0;
    const char *key;
    struct cell *c;
    struct cell *olds = tree_alloc(dict_len(from) * sizeof *olds);
    for (it = 0; dict_next(from, &it, &key, &len, &c);)
        olds[n++] = dict_put(d, key, len, *c);
    for (size_t i = 0; i < n; i++)
        tell_element_gone(run, &olds[i]);
    for (it = 0, n = 0; dict_next(from, &it, &key, &len, &c);) {
        tell_entry(run, key, len, of, c);
        tell_element(run, c);
        undo_dict(run->env->undo, d, key, len, olds[n++]);
        *c = (struct cell){0}; /* it lives in d now */
    }
    tree_free(olds);
}

enum op_status entries_put(struct run *run, struct cell *container, const struct type *of,
                           struct dict *from)
{
    struct dict *d = container->dict;
    enum op_status st = type_atomic(of) ? check_entries(run, container, from) : OP_DONE;
    if (st == OP_DONE && dict_loaded(d)) {
        entries_move(run, d, of, from);
    } else if (st == OP_DONE) {
        const char *key;
        size_t it = 0, len;
        struct cell *c;
        while (dict_next(from, &it, &key, &len, &c)) {
            tell_entry(run, key, len, of, c);
            entry_picked(run, container->container, key, len, *c);
            *c = (struct cell){0};
        }
    }
    dict_free(from);
    return st;
}
