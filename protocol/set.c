/* set: the members of a set<T> field.
 *
 * A set is a dict whose keys are the canonical bytes of the members, and whose values say nothing:
 * what a dict can do with keys is all that a set needs, undo included. A member is put together
 * again from its key when somebody walks by.
 */
#include "protocol/tree_private.h"

struct dict *set_members(const struct container *set)
{
    return (struct dict *)(uintptr_t)set;
}

bool set_has(const struct container *set, const struct cell *member)
{
    size_t len;
    const uint8_t *p = cell_bytes(member, &len);

    return dict_get(set_members(set), (const char *)p, len) != NULL;
}

struct cell set_member(const char *key, size_t len)
{
    struct cell c = {.kind = CELL_HEAP};

    c.heap = (uint8_t *)(uintptr_t)key;
    c.heap_len = (uint32_t)len;
    return c;
}

static bool set_next(const struct container *c, struct element *e)
{
    const char *key;
    size_t len;
    struct cell *nothing;

    if (!dict_next(set_members(c), &e->next, &key, &len, &nothing))
        return false;
    e->made = set_member(key, len);
    e->cell = &e->made;
    return true;
}

static void set_add(struct container *c, const struct element *e)
{
    size_t len;
    const uint8_t *p = cell_bytes(e->cell, &len);

    (void)dict_put(set_members(c), (const char *)p, len, cell_nil());
    cell_free(e->cell);
}

static bool set_holds(const struct container *c, const struct element *e)
{
    return set_has(c, e->cell);
}

const struct container_kind set_kind = {
    .name = "set",
    .wire = ITEM_ARRAY,
    .by = BY_NOTHING,
    .values_only = true,
    .put = EFFECT_FIELD_SET,
    .fresh = dict_fresh,
    .empty = dict_empty,
    .shed = dict_shed,
    .fill = dict_fill,
    .reserve = dict_reserve,
    .next = set_next,
    .add = set_add,
    .has = set_holds,
    .restore = dict_restore,
};
