/* undo: the log behind a pipeline's "all or nothing".
 *
 * Operations run against the live tree one after the other, so that each sees what the ones
 * before it did. When a later one is refused, or Redis does not take the transaction, the log is
 * walked backwards. A change of Redis' own knowledge (a container loaded or dropped meanwhile)
 * is no business of the log: such a container has nothing of ours in it.
 */
#include "protocol/undo.h"

enum change {
    CHANGE_SLOT,
    CHANGE_INSERTED,
    CHANGE_TAKEN,
    CHANGE_REPLACED,
    CHANGE_ENTRY,
    CHANGE_MOVED, /* from `at` to `count` */
    CHANGE_LEN,
};

struct entry {
    enum change change;
    union {
        struct record *record;
        struct list *list;
        struct container *container;
    };
    size_t at;    /* slot or index; for an entry the length of its key */
    size_t count; /* elements */
    union {
        struct cell old;
        struct cell *taken; /* count of them */
        int64_t by;
    };
    char *key;
};

struct undo {
    struct entry *log;
    size_t len, cap;
};

struct undo *undo_new(void)
{
    return tree_alloc(sizeof(struct undo));
}

void undo_free(struct undo *u)
{
    if (!u)
        return;
    undo_commit(u);
    tree_free(u->log);
    tree_free(u);
}

size_t undo_len(const struct undo *u)
{
    return u->len;
}

static struct entry *undo_add(struct undo *u, enum change change)
{
    if (u->len == u->cap) {
        u->cap = alloc_capacity(u->cap, u->len + 1, sizeof *u->log);
        u->log = tree_realloc(u->log, u->cap * sizeof *u->log);
    }
    struct entry *e = &u->log[u->len++];
    memset(e, 0, sizeof *e);
    e->change = change;
    return e;
}

void undo_slot(struct undo *u, struct record *r, uint32_t slot, struct cell old)
{
    if (!u) {
        cell_free(&old);
        return;
    }
    struct entry *e = undo_add(u, CHANGE_SLOT);
    e->record = r;
    e->at = slot;
    e->old = old;
}

void undo_list_inserted(struct undo *u, struct list *l, size_t i, size_t n)
{
    if (!u || n == 0)
        return;
    struct entry *e = undo_add(u, CHANGE_INSERTED);
    e->list = l;
    e->at = i;
    e->count = n;
}

static void cells_free(struct cell *cells, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cell_free(&cells[i]);
    tree_free(cells);
}

void undo_list_taken(struct undo *u, struct list *l, size_t i, size_t n, struct cell *taken)
{
    if (!u || n == 0) {
        cells_free(taken, n);
        return;
    }
    struct entry *e = undo_add(u, CHANGE_TAKEN);
    e->list = l;
    e->at = i;
    e->count = n;
    e->taken = taken;
}

void undo_list_replaced(struct undo *u, struct list *l, size_t i, struct cell old)
{
    if (!u) {
        cell_free(&old);
        return;
    }
    struct entry *e = undo_add(u, CHANGE_REPLACED);
    e->list = l;
    e->at = i;
    e->old = old;
}

void undo_element(struct undo *u, struct container *c, const char *key, size_t len, struct cell old)
{
    if (!u) {
        cell_free(&old);
        return;
    }
    struct entry *e = undo_add(u, CHANGE_ENTRY);
    e->container = c;
    e->key = tree_alloc(len + 1);
    memcpy(e->key, key, len);
    e->at = len;
    e->old = old;
}

void undo_dict(struct undo *u, struct dict *d, const char *key, size_t len, struct cell old)
{
    undo_element(u, (struct container *)d, key, len, old);
}

void undo_list_moved(struct undo *u, struct list *l, size_t from, size_t to)
{
    if (!u)
        return;
    struct entry *e = undo_add(u, CHANGE_MOVED);
    e->list = l;
    e->at = from;
    e->count = to;
}

void undo_list_len(struct undo *u, struct list *l, int64_t by)
{
    if (!u)
        return;
    struct entry *e = undo_add(u, CHANGE_LEN);
    e->list = l;
    e->by = by;
}

/* A list is cheap at both its ends only: what lies between the cut and the nearer end is set
 * aside and put back. One element in the middle is left to the list itself. */
void list_cut(struct list *l, size_t i, size_t n, struct cell *taken)
{
    size_t len = list_len(l), before = i, after = len - i - n;
    if (n == 1) {
        taken[0] = list_take(l, i);
        return;
    }
    size_t aside = before < after ? before : after;
    struct cell *kept = aside ? tree_alloc(aside * sizeof *kept) : NULL;
    if (before < after) {
        for (size_t k = 0; k < before; k++)
            kept[k] = list_take(l, 0);
        for (size_t k = 0; k < n; k++)
            taken[k] = list_take(l, 0);
        for (size_t k = before; k-- > 0;)
            list_insert(l, 0, kept[k]);
    } else {
        for (size_t k = after; k-- > 0;)
            kept[k] = list_take(l, list_len(l) - 1);
        for (size_t k = n; k-- > 0;)
            taken[k] = list_take(l, list_len(l) - 1);
        for (size_t k = 0; k < after; k++)
            list_insert(l, list_len(l), kept[k]);
    }
    tree_free(kept);
}

void list_mend(struct list *l, size_t i, size_t n, const struct cell *taken)
{
    size_t before = i, after = list_len(l) - i;
    if (n == 1) {
        list_insert(l, i, taken[0]);
        return;
    }
    size_t aside = before < after ? before : after;
    struct cell *kept = aside ? tree_alloc(aside * sizeof *kept) : NULL;
    if (before < after) {
        for (size_t k = 0; k < before; k++)
            kept[k] = list_take(l, 0);
        for (size_t k = n; k-- > 0;)
            list_insert(l, 0, taken[k]);
        for (size_t k = before; k-- > 0;)
            list_insert(l, 0, kept[k]);
    } else {
        for (size_t k = after; k-- > 0;)
            kept[k] = list_take(l, list_len(l) - 1);
        for (size_t k = 0; k < n; k++)
            list_insert(l, list_len(l), taken[k]);
        for (size_t k = 0; k < after; k++)
            list_insert(l, list_len(l), kept[k]);
    }
    tree_free(kept);
}

static void undo_inserted(struct entry *e)
{
    if (!list_loaded(e->list))
        return;
    struct cell *gone = tree_alloc(e->count * sizeof *gone);
    list_cut(e->list, e->at, e->count, gone);
    cells_free(gone, e->count);
}

static void undo_entry(struct entry *e)
{
    if (container_loaded(e->container))
        container_kind(e->container)->restore(e->container, e->key, e->at, e->old);
    else
        cell_free(&e->old);
    tree_free(e->key);
}

static void undo_one(struct entry *e)
{
    struct cell now;
    switch (e->change) {
    case CHANGE_SLOT:
        now = e->record->slots[e->at];
        e->record->slots[e->at] = e->old;
        cell_free(&now);
        break;
    case CHANGE_INSERTED: undo_inserted(e); break;
    case CHANGE_TAKEN:
        if (!list_loaded(e->list)) {
            cells_free(e->taken, e->count);
            break;
        }
        list_mend(e->list, e->at, e->count, e->taken);
        tree_free(e->taken);
        break;
    case CHANGE_REPLACED:
        if (list_loaded(e->list))
            e->old = list_replace(e->list, e->at, e->old);
        cell_free(&e->old);
        break;
    case CHANGE_ENTRY: undo_entry(e); break;
    case CHANGE_MOVED:
        if (list_loaded(e->list))
            list_insert(e->list, e->at, list_take(e->list, e->count));
        break;
    case CHANGE_LEN:
        if (!list_loaded(e->list))
            list_adjust_len(e->list, -e->by);
        break;
    }
}

void undo_rollback(struct undo *u)
{
    while (u->len > 0)
        undo_one(&u->log[--u->len]);
}

void undo_commit(struct undo *u)
{
    for (size_t i = 0; i < u->len; i++) {
        struct entry *e = &u->log[i];
        switch (e->change) {
        case CHANGE_SLOT:
        case CHANGE_REPLACED: cell_free(&e->old); break;
        case CHANGE_ENTRY:
            cell_free(&e->old);
            tree_free(e->key);
            break;
        case CHANGE_TAKEN: cells_free(e->taken, e->count); break;
        case CHANGE_INSERTED:
        case CHANGE_MOVED:
        case CHANGE_LEN: break;
        }
    }
    u->len = 0;
}
