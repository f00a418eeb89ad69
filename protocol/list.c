/* list: the elements of a list<T> field, in order.
 *
 *   items          gap            gap+len        cap
 *     |--- free ----|-- elements ---|--- free ---|
 *
 * An element put in or taken out moves the shorter side of the list by one place, so both ends
 * are cheap. A list of more than INDEX_FROM records gets, at the first search by pk, a table of
 * pointers to its records, open-addressed by the hash of their pks.
 */
#include "protocol/tree_private.h"
#include <string.h>

#define LONG 65536 /* places; what has more grows by less at a time */
#define INDEX_FROM 16

struct table {
    uint32_t mask;
    unsigned moves; /* tree_moves when it was made */
    struct record *slots[];
};

struct list {
    struct container head;
    uint32_t gap, cap;
    struct cell *items; /* NULL while empty or unloaded */
    struct table *table;
};

static void pk_of(const struct record *r, const char **pk, size_t *len)
{
    if (cell_get_str(&r->pk, pk, len) != 0) {
        *pk = "";
        *len = 0;
    }
}

static bool pk_is(const struct record *r, const char *pk, size_t len)
{
    const char *own;
    size_t own_len;

    pk_of(r, &own, &own_len);
    return own_len == len && memcmp(own, pk, len) == 0;
}

static uint32_t table_home(const struct table *t, const struct record *r)
{
    const char *pk;
    size_t len;

    pk_of(r, &pk, &len);
    return (uint32_t)tree_hash(pk, len) & t->mask;
}

static void table_drop(struct list *l)
{
    tree_free(l->table);
    l->table = NULL;
}

static void table_put(struct table *t, struct record *r)
{
    uint32_t at = table_home(t, r);

    while (t->slots[at])
        at = (at + 1) & t->mask;
    t->slots[at] = r;
}

static struct record *table_find(const struct table *t, const char *pk, size_t len)
{
    uint32_t at = (uint32_t)tree_hash(pk, len) & t->mask;

    for (; t->slots[at]; at = (at + 1) & t->mask)
        if (pk_is(t->slots[at], pk, len))
            return t->slots[at];
    return NULL;
}

/* Closes the hole by moving up whoever was pushed past it. */
static void table_remove(struct table *t, const struct record *r)
{
    uint32_t hole = table_home(t, r), at;

    while (t->slots[hole] != r) {
        if (!t->slots[hole])
            return;
        hole = (hole + 1) & t->mask;
    }
    for (at = (hole + 1) & t->mask; t->slots[at]; at = (at + 1) & t->mask) {
        uint32_t home = table_home(t, t->slots[at]);
        if (((at - home) & t->mask) >= ((at - hole) & t->mask)) {
            t->slots[hole] = t->slots[at];
            hole = at;
        }
    }
    t->slots[hole] = NULL;
}

static void table_build(struct list *l)
{
    uint32_t n = 32;

    table_drop(l);
    while (n < l->head.len * 2u)
        n *= 2;
    l->table = tree_alloc(sizeof *l->table + n * sizeof(struct record *));
    l->table->mask = n - 1;
    l->table->moves = tree_moves;
    for (uint32_t i = 0; i < l->head.len; i++)
        if (l->items[l->gap + i].kind == CELL_RECORD)
            table_put(l->table, l->items[l->gap + i].record);
}

/* The table follows a change when it is worth keeping: not moved away from, not too full. */
static void table_added(struct list *l, const struct cell *c)
{
    if (!l->table)
        return;
    if (l->table->moves != tree_moves || c->kind != CELL_RECORD ||
        l->head.len + l->head.len / 4 > l->table->mask)
        table_drop(l);
    else
        table_put(l->table, c->record);
}

static void table_removed(struct list *l, const struct cell *c)
{
    if (!l->table)
        return;
    if (l->table->moves != tree_moves || c->kind != CELL_RECORD || l->head.len <= INDEX_FROM / 2)
        table_drop(l);
    else
        table_remove(l->table, c->record);
}

static struct container *list_fresh(void)
{
    return tree_alloc(sizeof(struct list));
}

struct list *list_new(void)
{
    return (struct list *)container_new(TYPE_LIST);
}

static void list_empty(struct container *c)
{
    struct list *l = (struct list *)c;

    table_drop(l);
    if (l->items)
        for (uint32_t i = 0; i < l->head.len; i++)
            cell_free(&l->items[l->gap + i]);
    tree_free(l->items);
    l->items = NULL;
    l->gap = l->head.len = l->cap = 0;
}

static void list_shed(struct container *c, size_t n)
{
    struct list *l = (struct list *)c;

    table_drop(l);
    for (; n > 0; n--)
        cell_free(&l->items[l->gap + --l->head.len]);
}

static void list_fill(struct container *c, const struct container *source)
{
    struct list *l = (struct list *)c;
    const struct list *from = (const struct list *)source;

    l->cap = from->head.len;
    l->items = tree_alloc(l->cap * sizeof(struct cell));
    for (uint32_t i = 0; i < l->cap; i++)
        l->items[i] = cell_copy(&from->items[from->gap + i]);
}

void list_adjust_len(struct list *l, int64_t by)
{
    int64_t now = (int64_t)l->head.len + by;

    if (l->head.unloaded)
        l->head.len = now < 0 ? 0 : now > UINT32_MAX ? UINT32_MAX : (uint32_t)now;
}

struct cell *list_at(struct list *l, size_t i)
{
    return &l->items[l->gap + i];
}

/* Moves the elements within an array that gets cap places, behind gap free ones. What is long
 * stays in its memory: new pages are what takes time. */
static void list_resize(struct list *l, uint32_t cap, uint32_t gap)
{
    if (cap > l->cap)
        l->items = tree_realloc(l->items, cap * sizeof(struct cell));
    if (gap != l->gap && l->head.len)
        memmove(l->items + gap, l->items + l->gap, l->head.len * sizeof(struct cell));
    if (cap < l->cap)
        l->items = tree_realloc(l->items, cap * sizeof(struct cell));
    l->gap = gap;
    l->cap = cap;
}

static void list_reserve(struct container *c, size_t n)
{
    struct list *l = (struct list *)c;

    if (n > l->cap - l->gap)
        list_resize(l, l->gap + (uint32_t)n, l->gap);
}

/* Makes a free place at one end. While less than half of the array is in use the elements are
 * put in its middle, else it grows at that end: either way the next such move is far off. */
static void list_room(struct list *l, bool front)
{
    uint32_t cap = l->cap;

    if (front ? l->gap > 0 : l->gap + l->head.len < cap)
        return;
    if (cap > 4 && l->head.len <= cap / 2) {
        list_resize(l, cap, (cap - l->head.len) / 2);
        return;
    }
    cap = front && cap > LONG ? cap + cap / 8 : tree_grown(cap); /* in front all of it moves */
    list_resize(l, cap, front ? l->gap + (cap - l->cap) : l->gap);
}

void list_insert(struct list *l, size_t i, struct cell c)
{
    bool front = i * 2 < l->head.len;
    struct cell *at;

    list_room(l, front);
    if (front) {
        at = l->items + --l->gap;
        memmove(at, at + 1, i * sizeof *at);
    } else {
        at = l->items + l->gap + i;
        memmove(at + 1, at, (l->head.len - i) * sizeof *at);
    }
    l->items[l->gap + i] = c;
    l->head.len++;
    table_added(l, &c);
}

struct cell list_replace(struct list *l, size_t i, struct cell c)
{
    struct cell *at = list_at(l, i), old = *at;

    table_removed(l, &old);
    *at = c;
    table_added(l, &c);
    return old;
}

struct cell list_take(struct list *l, size_t i)
{
    struct cell *at = list_at(l, i), taken = *at;

    table_removed(l, &taken);
    if (i * 2 < l->head.len) {
        memmove(l->items + l->gap + 1, l->items + l->gap, i * sizeof *at);
        l->gap++;
    } else {
        memmove(at, at + 1, (l->head.len - i - 1) * sizeof *at);
    }
    l->head.len--;
    if (l->head.len == 0)
        l->gap = 0;
    if (l->cap > 16 && l->head.len < l->cap / 4)
        list_resize(l, l->cap / 2, (l->cap / 2 - l->head.len) / 2);
    return taken;
}

struct record *list_by_pk(const struct list *l, const char *pk, size_t len)
{
    if (!l->items)
        return NULL;
    if (l->head.len > INDEX_FROM) {
        /* The table is a memory of the search, not part of what the list is. */
        if (!l->table || l->table->moves != tree_moves)
            table_build((struct list *)(uintptr_t)l);
        return table_find(l->table, pk, len);
    }
    for (uint32_t i = 0; i < l->head.len; i++) {
        const struct cell *c = &l->items[l->gap + i];
        if (c->kind == CELL_RECORD && pk_is(c->record, pk, len))
            return c->record;
    }
    return NULL;
}

int64_t list_find_pk(const struct list *l, const char *pk, size_t len)
{
    const struct record *r = list_by_pk(l, pk, len);

    if (r)
        for (uint32_t i = 0; i < l->head.len; i++)
            if (l->items[l->gap + i].record == r)
                return i;
    return -1;
}

static bool list_next(const struct container *c, struct element *e)
{
    const struct list *l = (const struct list *)c;

    if (!l->items || e->next >= l->head.len)
        return false;
    e->cell = &l->items[l->gap + e->next++];
    return true;
}

static void list_add(struct container *c, const struct element *e)
{
    struct list *l = (struct list *)c;

    list_insert(l, l->head.len, *e->cell);
}

const struct container_kind list_kind = {
    .name = "list",
    .wire = ITEM_ARRAY,
    .by = BY_INDEX,
    .put = EFFECT_PUSH,
    .fresh = list_fresh,
    .empty = list_empty,
    .shed = list_shed,
    .fill = list_fill,
    .reserve = list_reserve,
    .next = list_next,
    .add = list_add,
};

/* An optional atomic model: a list that has no element when it is null. */
const struct container_kind maybe_kind = {
    .name = "optional",
    .wire = ITEM_MAP,
    .lone = true,
    .by = BY_ITSELF,
    .put = EFFECT_PUSH,
    .fresh = list_fresh,
    .empty = list_empty,
    .shed = list_shed,
    .fill = list_fill,
    .reserve = list_reserve,
    .next = list_next,
    .add = list_add,
};
