/* ghosts: see ghosts.h. A slot is one of four in its bucket; a new ghost takes that of the oldest
 * one there. */
#include "daemon/documents/ghosts.h"
#include "protocol/cell.h"

#define WAYS 4
#define SLOTS_MIN 1024

struct ghost {
    uint32_t mark; /* of the hash; 0: none */
    uint32_t turn;
};

static uint32_t mark_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1;
}

static struct ghost *bucket_of(const struct ghosts *g, uint64_t hash)
{
    return &g->slots[hash & (g->n - 1) & ~(uint64_t)(WAYS - 1)];
}

static void make_room(struct ghosts *g, size_t last)
{
    if (g->n >= last)
        return;
    size_t n = g->n < SLOTS_MIN ? SLOTS_MIN : g->n;
    while (n < last * 2)
        n *= 2;
    tree_free(g->slots);
    g->slots = tree_alloc(n * sizeof(*g->slots));
    g->n = n;
}

void ghosts_add(struct ghosts *g, uint64_t hash, size_t last)
{
    make_room(g, last > 0 ? last : 1);
    struct ghost *at = bucket_of(g, hash), *oldest = at;
    for (int i = 0; i < WAYS && oldest->mark != 0; i++) {
        if (at[i].mark == 0 || g->turn - at[i].turn > g->turn - oldest->turn)
            oldest = &at[i];
    }
    *oldest = (struct ghost){.mark = mark_of(hash), .turn = g->turn++};
}

bool ghosts_take(struct ghosts *g, uint64_t hash, size_t last)
{
    if (g->slots == NULL)
        return false;
    struct ghost *at = bucket_of(g, hash);
    for (int i = 0; i < WAYS; i++) {
        if (at[i].mark != mark_of(hash))
            continue;
        bool late = g->turn - at[i].turn > last;
        at[i].mark = 0;
        return !late;
    }
    return false;
}

void ghosts_clear(struct ghosts *g)
{
    tree_free(g->slots);
    *g = (struct ghosts){0};
}
