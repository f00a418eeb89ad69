/* sorted: the members of a sorted<T> field, each with a score.
 *
 *   scores   a dict from the canonical bytes of a member to its score
 *   blocks   | m0 ... | m200 ... | m350 ... |      members by score, in pieces
 *
 * Members of the same score stand in the order of their text in Redis, as there. A place is found
 * by halving, the blocks first; a member that comes or goes moves those of its block and no others,
 * so that what it costs does not grow with the set. Ranks are counted from block to block, from the
 * one that was looked at last or from either end: to walk, or to take the lowest or highest, is a
 * step each.
 */
#include "protocol/scalar.h"
#include "protocol/tree_private.h"
#include <stdio.h>
#include <string.h>

#define BLOCK_MAX 256 /* members; those of two that have half as many become one */

struct rank {
    struct cell member;
    double score;
};

struct block {
    struct rank *ranks;
    uint32_t n, cap; /* n is never 0 */
};

struct sorted {
    struct container head;
    struct dict *scores; /* NULL while empty or unloaded */
    struct block *blocks;
    uint32_t nblocks, blocks_cap;
    uint32_t near, near_from; /* the block that was looked at last, and the rank of its first */
};

/* Where a member stands, or would. */
struct spot {
    uint32_t block, at;
};

static struct sorted *sorted_of(const struct container *c)
{
    return (struct sorted *)(uintptr_t)c;
}

/* ---- the order ---- */

struct text {
    const void *p;
    size_t len;
    char digits[24]; /* of an int */
    struct buf made; /* of what else has a text */
};

static void text_of(const struct cell *member, struct text *t)
{
    static const enum type_kind kinds[] = {
        [ITEM_BOOL] = TYPE_BOOL, [ITEM_INT] = TYPE_INT,   [ITEM_FLOAT] = TYPE_FLOAT,
        [ITEM_STR] = TYPE_STR,   [ITEM_BIN] = TYPE_BYTES, [ITEM_TIME] = TYPE_DATETIME,
    };
    struct item it;

    t->made = BUF_INIT;
    t->p = cell_bytes(member, &t->len);
    struct cursor in = cursor_of(t->p, t->len);
    if (cursor_next(&in, &it) < 0 || it.kind >= sizeof kinds / sizeof *kinds ||
        it.kind == ITEM_NIL || it.kind == ITEM_UINT)
        return; /* packed in Redis, too */
    if (it.kind == ITEM_STR || it.kind == ITEM_BIN) {
        t->p = it.bytes.p;
        t->len = it.bytes.len;
    } else if (it.kind == ITEM_INT) {
        t->p = t->digits;
        t->len = (size_t)snprintf(t->digits, sizeof t->digits, "%lld", (long long)it.integer);
    } else {
        scalar_of(kinds[it.kind])->write(&it, &t->made);
        t->p = t->made.data;
        t->len = t->made.len;
    }
}

static int compare_members(const struct cell *a, const struct cell *b)
{
    struct text x, y;
    text_of(a, &x);
    text_of(b, &y);
    int order = memcmp(x.p, y.p, x.len < y.len ? x.len : y.len);

    if (order == 0)
        order = x.len < y.len ? -1 : x.len > y.len;
    buf_free(&x.made);
    buf_free(&y.made);
    return order;
}

static bool before(const struct rank *r, double score, const struct cell *member)
{
    return r->score < score ||
           (r->score == score && member && compare_members(&r->member, member) < 0);
}

/* The first place that is not before this score and member; NULL: before any of that score. It may
 * be behind the last one of a block. */
static struct spot lower_bound(const struct sorted *s, double score, const struct cell *member)
{
    struct spot spot = {0};
    uint32_t from = 1, to = s->nblocks;
    const struct block *last = to > 0 ? &s->blocks[to - 1] : NULL;

    if (last && before(&last->ranks[last->n - 1], score, member)) /* as they come from Redis */
        return (struct spot){to - 1, last->n};
    while (from < to) { /* the first block that does not begin before it */
        uint32_t mid = from + (to - from) / 2;
        if (before(&s->blocks[mid].ranks[0], score, member))
            from = mid + 1;
        else
            to = mid;
    }
    spot.block = from - 1;
    to = s->nblocks ? s->blocks[spot.block].n : 0;
    while (spot.at < to) {
        uint32_t mid = spot.at + (to - spot.at) / 2;
        if (before(&s->blocks[spot.block].ranks[mid], score, member))
            spot.at = mid + 1;
        else
            to = mid;
    }
    return spot;
}

/* ---- blocks ---- */

/* Room for a block in front of that one, which has nothing yet. */
static struct block *block_open(struct sorted *s, uint32_t at)
{
    if (s->nblocks == s->blocks_cap) {
        s->blocks_cap = s->blocks_cap ? tree_grown(s->blocks_cap) : 1;
        s->blocks = tree_realloc(s->blocks, s->blocks_cap * sizeof *s->blocks);
    }
    struct block *b = &s->blocks[at];
    memmove(b + 1, b, (s->nblocks++ - at) * sizeof *b);
    *b = (struct block){0};
    return b;
}

static void block_resize(struct block *b, uint32_t cap)
{
    b->ranks = tree_realloc(b->ranks, cap * sizeof *b->ranks);
    b->cap = cap;
}

/* Its members have gone, or are elsewhere. */
static void block_close(struct sorted *s, uint32_t at)
{
    struct block *b = &s->blocks[at];

    tree_free(b->ranks);
    memmove(b, b + 1, (--s->nblocks - at) * sizeof *b);
    if (s->near > at)
        s->near--;
    if (s->near == s->nblocks)
        s->near = s->near_from = 0;
}

/* Moves the members from `from` on into a block of their own. */
static void block_split(struct sorted *s, uint32_t at, uint32_t from)
{
    struct block *more = block_open(s, at + 1), *b = more - 1;

    if (b->n > from) {
        block_resize(more, BLOCK_MAX);
        more->n = b->n - from;
        memcpy(more->ranks, b->ranks + from, more->n * sizeof *more->ranks);
        b->n = from;
    }
    s->near += s->near > at;
}

/* Takes in the one behind it: both are short. */
static void block_join(struct sorted *s, uint32_t at)
{
    struct block *b = &s->blocks[at], *next = b + 1;

    if (s->near == at + 1) {
        s->near = at;
        s->near_from -= b->n;
    }
    if (b->cap < b->n + next->n)
        block_resize(b, BLOCK_MAX / 2);
    memcpy(b->ranks + b->n, next->ranks, next->n * sizeof *b->ranks);
    b->n += next->n;
    block_close(s, at + 1);
}

static bool may_join(const struct sorted *s, uint32_t at)
{
    return at + 1 < s->nblocks && s->blocks[at].n + s->blocks[at + 1].n <= BLOCK_MAX / 2;
}

static void ranks_insert(struct sorted *s, struct spot spot, struct cell member, double score)
{
    if (s->nblocks == 0) {
        (void)block_open(s, 0);
    } else if (s->blocks[spot.block].n == BLOCK_MAX) {
        bool last = spot.block + 1 == s->nblocks && spot.at == BLOCK_MAX;
        uint32_t half = last ? BLOCK_MAX : BLOCK_MAX / 2; /* what comes in order leaves full ones */
        block_split(s, spot.block, half);
        if (spot.at > half || last)
            spot = (struct spot){spot.block + 1, spot.at - half};
    }
    struct block *b = &s->blocks[spot.block];
    if (b->n == b->cap) {
        uint32_t cap = tree_grown(b->cap);
        block_resize(b, cap < BLOCK_MAX ? cap : BLOCK_MAX);
    }
    struct rank *r = &b->ranks[spot.at];
    memmove(r + 1, r, (b->n++ - spot.at) * sizeof *r);
    *r = (struct rank){member, score};
    s->head.len++;
    s->near_from += s->near > spot.block;
}

static struct cell ranks_take(struct sorted *s, struct spot spot)
{
    if (spot.at == s->blocks[spot.block].n)
        spot = (struct spot){spot.block + 1, 0};
    struct block *b = &s->blocks[spot.block];
    struct rank *r = &b->ranks[spot.at];
    struct cell member = r->member;

    memmove(r, r + 1, (--b->n - spot.at) * sizeof *r);
    s->head.len--;
    s->near_from -= s->near > spot.block;
    if (b->n == 0)
        block_close(s, spot.block);
    else if (may_join(s, spot.block))
        block_join(s, spot.block);
    else if (spot.block > 0 && may_join(s, spot.block - 1))
        block_join(s, spot.block - 1);
    else if (b->cap > 16 && b->n < b->cap / 4)
        block_resize(b, b->cap / 2);
    return member;
}

/* ---- ranks ---- */

static void go_to_end(struct sorted *s)
{
    s->near = s->nblocks - 1;
    s->near_from = s->head.len - s->blocks[s->near].n;
}

static void go_back(struct sorted *s)
{
    s->near_from -= s->blocks[--s->near].n;
}

static void go_on(struct sorted *s)
{
    s->near_from += s->blocks[s->near++].n;
}

/* Where the member of this rank is. */
static const struct rank *ranked(const struct container *c, uint32_t rank)
{
    struct sorted *s = sorted_of(c); /* to have looked is no change of what the set is */
    uint32_t away = rank > s->near_from ? rank - s->near_from : s->near_from - rank;

    if (rank < away)
        s->near = s->near_from = 0;
    else if (s->head.len - rank < away)
        go_to_end(s);
    while (rank < s->near_from)
        go_back(s);
    while (rank - s->near_from >= s->blocks[s->near].n)
        go_on(s);
    return &s->blocks[s->near].ranks[rank - s->near_from];
}

static size_t rank_of(const struct container *c, struct spot spot)
{
    struct sorted *s = sorted_of(c);
    uint32_t away = spot.block > s->near ? spot.block - s->near : s->near - spot.block;

    if (s->nblocks == 0)
        return 0;
    if (spot.block < away)
        s->near = s->near_from = 0;
    else if (s->nblocks - spot.block < away)
        go_to_end(s);
    while (spot.block < s->near)
        go_back(s);
    while (spot.block > s->near)
        go_on(s);
    return s->near_from + spot.at;
}

/* ---- by member ---- */

bool sorted_score(const struct container *c, const struct cell *member, double *score)
{
    struct sorted *s = sorted_of(c);
    size_t len;
    const uint8_t *p = cell_bytes(member, &len);
    const struct cell *at = s->scores ? dict_get(s->scores, (const char *)p, len) : NULL;

    return at && cell_get_float(at, score) == 0;
}

size_t sorted_rank(const struct container *c, const struct cell *member, double score)
{
    return rank_of(c, lower_bound(sorted_of(c), score, member));
}

size_t sorted_below(const struct container *c, double score)
{
    return rank_of(c, lower_bound(sorted_of(c), score, NULL));
}

const struct cell *sorted_at(const struct container *c, size_t rank, double *score)
{
    const struct rank *r = ranked(c, (uint32_t)rank);

    *score = r->score;
    return &r->member;
}

bool sorted_take(struct container *c, const struct cell *member, double *score)
{
    struct sorted *s = sorted_of(c);
    size_t len;
    const char *key = (const char *)cell_bytes(member, &len);
    struct cell old = {0};

    if (s->scores)
        old = dict_take(s->scores, key, len);
    bool had = cell_get_float(&old, score) == 0;
    cell_free(&old);
    if (!had)
        return false;
    struct cell taken = ranks_take(s, lower_bound(s, *score, member));
    cell_free(&taken);
    return true;
}

/* Takes the member. */
static bool put(struct sorted *s, struct cell member, double score, double *old)
{
    size_t len;
    const char *key = (const char *)cell_bytes(&member, &len);

    if (!s->scores)
        s->scores = dict_new();
    struct cell was = dict_put(s->scores, key, len, cell_float(score));
    bool had = cell_get_float(&was, old) == 0;
    cell_free(&was);
    if (had) {
        struct cell taken = ranks_take(s, lower_bound(s, *old, &member));
        cell_free(&taken);
    }
    ranks_insert(s, lower_bound(s, score, &member), member, score);
    return had;
}

bool sorted_put(struct container *c, const struct cell *member, double score, double *old)
{
    return put(sorted_of(c), cell_copy(member), score, old);
}

/* ---- what all containers can ---- */

static struct container *sorted_fresh(void)
{
    return tree_alloc(sizeof(struct sorted));
}

static void sorted_empty(struct container *c)
{
    struct sorted *s = sorted_of(c);

    for (uint32_t i = 0; i < s->nblocks; i++) {
        struct block *b = &s->blocks[i];
        for (uint32_t j = 0; j < b->n; j++)
            cell_free(&b->ranks[j].member);
        tree_free(b->ranks);
    }
    tree_free(s->blocks);
    dict_free(s->scores);
    s->blocks = NULL;
    s->scores = NULL;
    s->nblocks = s->blocks_cap = s->near = s->near_from = s->head.len = 0;
}

static void block_copy(struct block *to, const struct block *from)
{
    block_resize(to, from->n);
    for (; to->n < from->n; to->n++) {
        const struct rank *r = &from->ranks[to->n];
        to->ranks[to->n] = (struct rank){cell_copy(&r->member), r->score};
    }
}

static void sorted_fill(struct container *c, const struct container *source)
{
    struct sorted *s = sorted_of(c);
    const struct sorted *from = sorted_of(source);

    for (uint32_t i = 0; i < from->nblocks; i++)
        block_copy(block_open(s, i), &from->blocks[i]);
    s->head.len = from->head.len;
    s->scores = (struct dict *)container_copy((const struct container *)from->scores);
}

static void sorted_reserve(struct container *c, size_t n)
{
    struct sorted *s = sorted_of(c);

    if (!s->scores && n)
        s->scores = dict_new();
    if (n)
        dict_reserve((struct container *)s->scores, n);
}

static bool sorted_next(const struct container *c, struct element *e)
{
    if (!sorted_of(c)->blocks || e->next >= c->len)
        return false;
    const struct rank *r = ranked(c, (uint32_t)e->next++);
    e->cell = (struct cell *)(uintptr_t)&r->member;
    e->score = r->score;
    return true;
}

static void sorted_add(struct container *c, const struct element *e)
{
    double old;

    (void)put(sorted_of(c), *e->cell, e->score, &old); /* a page of Redis may tell one twice */
}

static bool sorted_has(const struct container *c, const struct element *e)
{
    double score;

    return sorted_score(c, e->cell, &score);
}

static void sorted_restore(struct container *c, const char *key, size_t len, struct cell old)
{
    struct cell member = set_member(key, len);
    double score, now;

    if (cell_get_float(&old, &score) == 0)
        (void)sorted_put(c, &member, score, &now);
    else
        (void)sorted_take(c, &member, &now);
}

const struct container_kind sorted_kind = {
    .name = "sorted",
    .wire = ITEM_ARRAY,
    .scored = true,
    .by = BY_NOTHING,
    .values_only = true,
    .put = EFFECT_FIELD_SET,
    .fresh = sorted_fresh,
    .empty = sorted_empty,
    .fill = sorted_fill,
    .reserve = sorted_reserve,
    .next = sorted_next,
    .add = sorted_add,
    .has = sorted_has,
    .restore = sorted_restore,
};
