/* sorted: the members of a sorted<T> field, each with a score.
 *
 *   scores   a dict from the canonical bytes of a member to its score
 *   ranks    | free | m0 m1 m2 ... | free |      members by score, from `gap` on
 *
 * Members of the same score stand in the order of their text in Redis, as there. A rank is found by
 * halving; a member that comes or goes moves those of the nearer end, so that the lowest and the
 * highest are cheap. Many that come at once, in whatever order, are only put behind the others, and
 * sorted when somebody looks.
 */
#include "protocol/scalar.h"
#include "protocol/tree_private.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rank {
    struct cell member;
    double score;
};

struct sorted {
    struct container head;
    uint32_t gap, cap;
    struct dict *scores; /* NULL while empty or unloaded */
    struct rank *ranks;
    bool loose; /* not all are in order yet */
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

static int compare_ranks(const void *left, const void *right)
{
    const struct rank *a = left, *b = right;

    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return compare_members(&a->member, &b->member);
}

/* Puts them in order, if they are not. That is no change of what the set is. */
static struct sorted *in_order(const struct container *c)
{
    struct sorted *s = sorted_of(c);

    if (s->loose)
        qsort(s->ranks + s->gap, s->head.len, sizeof *s->ranks, compare_ranks);
    s->loose = false;
    return s;
}

/* The first rank that is not before this score and member; NULL: before any of that score. */
static uint32_t lower_bound(const struct sorted *s, double score, const struct cell *member)
{
    uint32_t from = 0, to = s->head.len;

    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        const struct rank *r = &s->ranks[s->gap + mid];
        bool before = r->score < score ||
                      (r->score == score && member && compare_members(&r->member, member) < 0);
        if (before)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* ---- ranks ---- */

static void ranks_resize(struct sorted *s, uint32_t cap, uint32_t gap)
{
    struct rank *to = tree_alloc(cap * sizeof *to);

    if (s->head.len)
        memcpy(to + gap, s->ranks + s->gap, s->head.len * sizeof *to);
    tree_free(s->ranks);
    s->ranks = to;
    s->cap = cap;
    s->gap = gap;
}

static void ranks_insert(struct sorted *s, uint32_t i, struct cell member, double score)
{
    uint32_t len = s->head.len;
    bool front = i * 2 < len;

    if (front ? s->gap == 0 : s->gap + len == s->cap) {
        uint32_t cap = len <= s->cap / 2 && s->cap > 4 ? s->cap : tree_grown(s->cap);
        ranks_resize(s, cap, front ? cap - len - (cap - len) / 4 : (cap - len) / 4);
    }
    if (front) {
        s->gap--;
        memmove(s->ranks + s->gap, s->ranks + s->gap + 1, i * sizeof *s->ranks);
    } else {
        memmove(s->ranks + s->gap + i + 1, s->ranks + s->gap + i, (len - i) * sizeof *s->ranks);
    }
    s->ranks[s->gap + i] = (struct rank){member, score};
    s->head.len++;
}

static struct cell ranks_take(struct sorted *s, uint32_t i)
{
    struct cell member = s->ranks[s->gap + i].member;
    uint32_t after = --s->head.len - i;

    if (i < after) {
        memmove(s->ranks + s->gap + 1, s->ranks + s->gap, i * sizeof *s->ranks);
        s->gap++;
    } else {
        memmove(s->ranks + s->gap + i, s->ranks + s->gap + i + 1, after * sizeof *s->ranks);
    }
    if (s->head.len == 0)
        s->gap = s->cap / 4;
    if (s->cap > 16 && s->head.len < s->cap / 4)
        ranks_resize(s, s->cap / 2, (s->cap / 2 - s->head.len) / 2);
    return member;
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
    return lower_bound(in_order(c), score, member);
}

size_t sorted_below(const struct container *c, double score)
{
    return lower_bound(in_order(c), score, NULL);
}

const struct cell *sorted_at(const struct container *c, size_t rank, double *score)
{
    const struct sorted *s = in_order(c);
    const struct rank *r = &s->ranks[s->gap + rank];

    *score = r->score;
    return &r->member;
}

bool sorted_take(struct container *c, const struct cell *member, double *score)
{
    struct sorted *s = in_order(c);
    size_t len;
    const char *key = (const char *)cell_bytes(member, &len);

    if (!sorted_score(c, member, score))
        return false;
    struct cell taken = ranks_take(s, lower_bound(s, *score, member));
    struct cell old = dict_take(s->scores, key, len);
    cell_free(&old);
    cell_free(&taken);
    return true;
}

bool sorted_put(struct container *c, const struct cell *member, double score, double *old)
{
    struct sorted *s = in_order(c);
    size_t len;
    const char *key = (const char *)cell_bytes(member, &len);
    struct cell own = cell_copy(member);
    bool had = sorted_take(c, member, old);

    if (!s->scores)
        s->scores = dict_new();
    ranks_insert(s, lower_bound(s, score, &own), own, score);
    (void)dict_put(s->scores, key, len, cell_float(score));
    return had;
}

/* ---- what all containers can ---- */

static struct container *sorted_fresh(void)
{
    return tree_alloc(sizeof(struct sorted));
}

static void sorted_empty(struct container *c)
{
    struct sorted *s = sorted_of(c);

    for (uint32_t i = 0; s->ranks && i < s->head.len; i++)
        cell_free(&s->ranks[s->gap + i].member);
    tree_free(s->ranks);
    dict_free(s->scores);
    s->ranks = NULL;
    s->scores = NULL;
    s->gap = s->cap = s->head.len = 0;
    s->loose = false;
}

static void sorted_fill(struct container *c, const struct container *source)
{
    struct sorted *s = sorted_of(c);
    const struct sorted *from = in_order(source);

    ranks_resize(s, from->head.len, 0);
    for (uint32_t i = 0; i < from->head.len; i++) {
        const struct rank *r = &from->ranks[from->gap + i];
        s->ranks[i] = (struct rank){cell_copy(&r->member), r->score};
    }
    s->scores = (struct dict *)container_copy((const struct container *)from->scores);
}

static void sorted_reserve(struct container *c, size_t n)
{
    struct sorted *s = sorted_of(c);

    if (n > s->cap - s->gap)
        ranks_resize(s, s->gap + (uint32_t)n, s->gap);
}

static bool sorted_next(const struct container *c, struct element *e)
{
    const struct sorted *s = e->next == 0 ? in_order(c) : sorted_of(c);

    if (!s->ranks || e->next >= s->head.len)
        return false;
    struct rank *r = &s->ranks[s->gap + e->next++];
    e->cell = &r->member;
    e->score = r->score;
    return true;
}

static void sorted_add(struct container *c, const struct element *e)
{
    struct sorted *s = sorted_of(c);
    struct rank r = {*e->cell, e->score};
    size_t len;
    double old;

    if (sorted_score(c, e->cell, &old)) { /* a page of Redis may tell one twice */
        (void)sorted_put(c, e->cell, e->score, &old);
        cell_free(e->cell);
        return;
    }
    if (!s->scores)
        s->scores = dict_new();
    const char *key = (const char *)cell_bytes(e->cell, &len);
    (void)dict_put(s->scores, key, len, cell_float(e->score));
    if (s->head.len && !s->loose)
        s->loose = compare_ranks(&s->ranks[s->gap + s->head.len - 1], &r) > 0;
    ranks_insert(s, s->head.len, r.member, r.score);
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
