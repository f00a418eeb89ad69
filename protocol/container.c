/* container: see container.h. */
#include "protocol/reclaim.h"
#include "protocol/tree_private.h"
#include <stdio.h>

/* Each where its node is. */
extern const struct container_kind list_kind, dict_kind, set_kind, sorted_kind, maybe_kind;

const struct container_kind *const container_kinds[TYPE_COUNT] = {
    [TYPE_LIST] = &list_kind,     [TYPE_DICT] = &dict_kind,   [TYPE_SET] = &set_kind,
    [TYPE_SORTED] = &sorted_kind, [TYPE_MAYBE] = &maybe_kind,
};

struct container *container_new(enum type_kind kind)
{
    struct container *c = container_kinds[kind]->fresh();

    c->type = (uint8_t)kind;
    return c;
}

void container_free(struct container *c)
{
    if (!c || reclaim_take(c))
        return;
    container_kind(c)->empty(c);
    container_forget(c);
    tree_free(c->spoilt);
    tree_free(c);
}

struct container *container_copy(const struct container *c)
{
    struct container *copy = container_new(c->type);

    if (!c->unloaded && c->len)
        container_kind(c)->fill(copy, c);
    copy->len = c->len;
    copy->unloaded = c->unloaded;
    if (c->spoilt)
        container_spoil(copy, c->spoilt);
    return copy;
}

static void set_spoilt(struct container *c, char *why)
{
    tree_free(c->spoilt);
    c->spoilt = why;
}

void container_spoil(struct container *c, const char *why)
{
    size_t size = strlen(why) + 1;

    set_spoilt(c, memcpy(tree_alloc(size), why, size));
    if (c->unloaded)
        c->len = 0;
    c->unloaded = false;
    container_forget(c);
}

/* ---- picked elements ---- */

/* No pk begins with a slash, and dicts have no indexes. */
struct pick_name {
    char text[24];
    const char *at;
    size_t len;
};

static struct pick_name pick_name(const struct named *which)
{
    struct pick_name n = {.at = which->key, .len = which->len};

    if (which->by == BY_INDEX) {
        n.len = (size_t)snprintf(n.text, sizeof n.text, "/%zu", which->index);
        n.at = NULL;
    }
    return n;
}

struct cell *container_picked(const struct container *c, const struct named *which)
{
    struct pick_name n = pick_name(which);

    return c->picked ? dict_get(c->picked, n.at ? n.at : n.text, n.len) : NULL;
}

void container_pick(struct container *c, const struct named *which, struct cell cell)
{
    struct pick_name n = pick_name(which);

    if (!c->picked)
        c->picked = dict_new();
    struct cell old = dict_put(c->picked, n.at ? n.at : n.text, n.len, cell);
    cell_free(&old);
}

void container_forget(struct container *c)
{
    if (c->picked)
        dict_free(c->picked);
    c->picked = NULL;
}

void container_unload(struct container *c, size_t known_len)
{
    container_kind(c)->empty(c);
    container_forget(c);
    set_spoilt(c, NULL);
    c->unloaded = true;
    c->len = known_len > UINT32_MAX ? UINT32_MAX : (uint32_t)known_len;
}

void container_set_loaded(struct container *c)
{
    if (c->unloaded)
        c->len = 0;
    c->unloaded = false;
    container_forget(c);
    set_spoilt(c, NULL);
}

void container_reserve(struct container *c, size_t n)
{
    if (!c->unloaded)
        container_kind(c)->reserve(c, n);
}

struct effect element_effect(const struct container *c, const struct type *t,
                             const struct element *e)
{
    bool record = e->cell->kind == CELL_RECORD;

    return (struct effect){.kind = container_kind(c)->put,
                           .in = c->type,
                           .field = e->key,
                           .field_len = e->key_len,
                           .type = record ? &type_str : t->of,
                           .value = record ? &e->cell->record->pk : e->cell,
                           .score = e->score};
}
