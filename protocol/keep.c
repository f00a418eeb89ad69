/* keep: see keep.h. The new tree and the one that is there are walked side by side; elements of a
 * list are the same where their pks are, those of a dict where key and pk are. */
#include "protocol/keep.h"
#include "protocol/tree_private.h"

#define SHOWN_MAX 160 /* bytes of a place in a message */

struct keeping {
    struct needs *needs;
    struct fault *f;
    struct buf name; /* of the place at hand, as a Redis key's suffix */
    struct buf scratch;
};

static enum op_status keep_in(struct keeping *k, struct record *made, const struct record *old,
                              char sep);

static bool in_record(const struct record *r);

static bool in_cell(const struct cell *c)
{
    if (c->kind == CELL_RECORD)
        return in_record(c->record);
    if (c->kind != CELL_CONTAINER)
        return c->kind == CELL_KEPT;
    for (struct element e = {0}; container_next(c->container, &e);)
        if (in_cell(e.cell))
            return true;
    return false;
}

static bool in_record(const struct record *r)
{
    for (uint32_t i = 0; i < r->nslots; i++)
        if (in_cell(&r->slots[i]))
            return true;
    return false;
}

static enum op_status nothing(struct keeping *k, const char *what)
{
    size_t len = k->name.len > 1 ? k->name.len - 1 : 0;

    fault_set(k->f, FAULT_NOT_FOUND,
              "'%.*s' is left out of the map (\"@lazy\"), and there is no such %s any more to keep "
              "it from; give it, or take its name out of \"@lazy\" for the default",
              (int)(len < SHOWN_MAX ? len : SHOWN_MAX), len ? (const char *)k->name.data + 1 : "",
              what);
    return OP_REFUSED;
}

/* The field as it is. All of it must be loaded: it is written again. */
static enum op_status keep_field(struct keeping *k, struct cell *slot, const struct type *t,
                                 const struct cell *old)
{
    unsigned needed = k->needs->count;

    if (!old || old->kind == CELL_UNSET) {
        *slot = cell_blank(t);
        return OP_DONE;
    }
    buf_clear(&k->scratch);
    cell_pack(old, t, (const char *)k->name.data, k->name.len, k->needs, &k->scratch);
    if (k->needs->count != needed)
        return OP_NEEDS;
    *slot = cell_copy(old);
    return OP_DONE;
}

static enum op_status keep_element(struct keeping *k, struct record *made, const struct record *old)
{
    const char *pk = "", *old_pk = "";
    size_t len = 0, old_len = 0, mark = k->name.len;

    /* What wraps has a pk that nobody gave: it is the one at this place. */
    (void)cell_get_str(old && made->model->wraps ? &old->pk : &made->pk, &pk, &len);
    if (old)
        (void)cell_get_str(&old->pk, &old_pk, &old_len);
    if (old && (len != old_len || memcmp(pk, old_pk, len) != 0))
        old = NULL; /* another one is at its place now */
    buf_append(&k->name, "/", 1);
    pk_append(&k->name, pk, len);
    enum op_status st = keep_in(k, made, old, '/');
    k->name.len = mark;
    return st;
}

/* Of lists within a list there is only the place to go by, so what is in them must have pks. */
static const struct record *same_place(const struct cell *old, const struct element *e)
{
    size_t i = e->next - 1; /* it was the last step of the walk */

    if (e->cell->record->model->fields[0].type->kind == TYPE_MAYBE || i >= list_len(old->list))
        return NULL;
    return list_at(old->list, i)->record;
}

/* The one with the same pk; where elements have keys, if it is under the same one. */
static const struct record *same_element(const struct cell *old, const struct element *e)
{
    const char *pk;
    size_t len;

    if (!old || cell_get_str(&e->cell->record->pk, &pk, &len) < 0)
        return NULL;
    if (cell_holds(old, TYPE_LIST) && e->cell->record->model->wraps)
        return same_place(old, e);
    if (container_kind(old->container)->by != BY_KEY)
        return list_by_pk(old->list, pk, len);
    const struct cell *c = dict_get(old->dict, e->key, e->key_len);
    return c && c->kind == CELL_RECORD ? c->record : NULL;
}

static enum op_status keep_container(struct keeping *k, struct cell *made, const struct type *t,
                                     const struct cell *old)
{
    enum op_status st, all = OP_DONE;

    if (!type_atomic(t->of) || !in_cell(made))
        return OP_DONE;
    if (old && !container_loaded(old->container)) {
        needs_add(k->needs, old, t, (const char *)k->name.data, k->name.len);
        return OP_NEEDS;
    }
    for (struct element e = {0}; container_next(made->container, &e);) {
        st = keep_element(k, e.cell->record, same_element(old, &e));
        if (st == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = st;
    }
    return all;
}

static enum op_status keep_slot(struct keeping *k, struct cell *slot, const struct type *t,
                                const struct cell *old)
{
    if (slot->kind == CELL_RECORD)
        return keep_in(k, slot->record, old ? old->record : NULL, '.');
    if (slot->kind == CELL_CONTAINER)
        return keep_container(k, slot, t, old);
    return OP_DONE;
}

/* sep stands between the record's name and those of its fields. */
static enum op_status keep_in(struct keeping *k, struct record *made, const struct record *old,
                              char sep)
{
    enum op_status st, all = OP_DONE;
    size_t mark = k->name.len;

    for (uint32_t i = 0; i < made->nslots; i++) {
        const struct field *f = &made->model->fields[i];
        struct cell *slot = &made->slots[i];
        const struct cell *was = old && i < old->nslots ? &old->slots[i] : NULL;
        if (slot->kind == CELL_UNSET || cell_is_value(slot))
            continue;
        buf_append(&k->name, &sep, 1);
        buf_append(&k->name, f->name, f->name_len);
        if (slot->kind != CELL_KEPT)
            st = keep_slot(k, slot, f->type, was);
        else if (!old)
            st = nothing(k, made->pk.kind != CELL_UNSET && mark ? "element" : "document");
        else
            st = keep_field(k, slot, f->type, was);
        k->name.len = mark;
        if (st == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = st;
    }
    return all;
}

static struct keeping begin(const char *suffix, size_t suffix_len, struct needs *needs,
                            struct fault *f)
{
    struct keeping k = {.needs = needs, .f = f};

    if (suffix_len)
        buf_append(&k.name, suffix, suffix_len);
    return k;
}

static enum op_status end(struct keeping *k, enum op_status st)
{
    buf_free(&k->name);
    buf_free(&k->scratch);
    return st;
}

enum op_status keep_record(struct record *made, const struct record *old, const char *suffix,
                           size_t suffix_len, struct needs *needs, struct fault *f)
{
    struct keeping k = begin(suffix, suffix_len, needs, f);

    return end(&k, keep_in(&k, made, old, '/'));
}

enum op_status keep_cell(struct cell *made, const struct type *t, const struct cell *old,
                         const char *suffix, size_t suffix_len, struct needs *needs,
                         struct fault *f)
{
    struct keeping k = begin(suffix, suffix_len, needs, f);
    bool element = made->kind == CELL_RECORD && made->record->pk.kind != CELL_UNSET;

    if (old && old->kind != made->kind)
        old = NULL;
    return end(&k, element ? keep_element(&k, made->record, old ? old->record : NULL)
                           : keep_slot(&k, made, t, old));
}
