/* A pipeline that is taken back leaves the tree as it was, whatever was done. */
#include "op_random.h"

static bool same(struct cursor *a, struct cursor *b);

/* The value of a key in a map of n pairs at c; NULL when it is not there. */
static bool find_value(struct cursor c, uint32_t n, const struct cursor *key, struct cursor *out)
{
    while (n-- > 0) {
        const uint8_t *p;
        size_t len;
        cr_assert_eq(cursor_value(&c, &p, &len), 0);
        if (len == (size_t)(key->end - key->at) && memcmp(p, key->at, len) == 0) {
            *out = c;
            return true;
        }
        cr_assert_eq(cursor_skip(&c), 0);
    }
    return false;
}

static bool same_map(struct cursor *a, const struct cursor *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p;
        size_t len;
        struct cursor there;
        cr_assert_eq(cursor_value(a, &p, &len), 0);
        struct cursor key = cursor_of(p, len);
        if (!find_value(*b, n, &key, &there) || !same(a, &there))
            return false;
    }
    return true;
}

/* Whether each of n elements at a is among those at b. */
static bool same_members(struct cursor *a, const struct cursor *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct cursor at = *b, mine = *a;
        uint32_t j = 0;
        while (j < n && !same(&mine, &at)) {
            mine = *a;
            at = *b;
            for (uint32_t k = 0; k <= j; k++)
                cr_assert_eq(cursor_skip(&at), 0);
            j++;
        }
        if (j == n)
            return false;
        cr_assert_eq(cursor_skip(a), 0);
    }
    return true;
}

/* Whether two values are equal but for the order of maps and sets; moves both. That of lists is
 * looked at where they are written (mini_same). */
static bool same(struct cursor *a, struct cursor *b)
{
    struct item x, y;
    const uint8_t *from = a->at, *other = b->at;
    cr_assert_eq(cursor_peek(a, &x), 0);
    cr_assert_eq(cursor_peek(b, &y), 0);
    if (x.kind != y.kind)
        return false;
    if (x.kind != ITEM_ARRAY && x.kind != ITEM_MAP) {
        cr_assert_eq(cursor_skip(a), 0);
        cr_assert_eq(cursor_skip(b), 0);
        size_t len = (size_t)(a->at - from);
        return len == (size_t)(b->at - other) && memcmp(from, other, len) == 0;
    }
    if (x.count != y.count)
        return false;
    cr_assert_eq(cursor_next(a, &x), 0);
    cr_assert_eq(cursor_next(b, &y), 0);
    bool map = x.kind == ITEM_MAP;
    if (map ? !same_map(a, b, x.count) : !same_members(a, b, x.count))
        return false;
    for (uint32_t i = 0; i < x.count * (map ? 2u : 1u); i++)
        cr_assert_eq(cursor_skip(b), 0);
    return true;
}

static void pack_root(const struct fixture *x, struct buf *out)
{
    struct needs none = {0};
    buf_clear(out);
    record_pack(x->root, NULL, 0, false, "", 0, &none, out);
}

static unsigned run_some(struct fixture *x, uint64_t *seed, unsigned ops)
{
    unsigned done = 0;
    while (ops-- > 0) {
        struct buf params = BUF_INIT;
        enum op_kind kind = random_op(&params, seed, x->root->model);
        done += fixture_run(x, kind, &params) == OP_DONE;
        buf_free(&params);
    }
    return done;
}

/* Takes everything back; the tree must be as it was packed in `before` and written in `redis`. */
static void check_rollback(struct fixture *x, const struct buf *before, struct mini *redis)
{
    struct buf after = BUF_INIT;
    char why[512];
    undo_rollback(x->undo);
    pack_root(x, &after);
    struct cursor a = cursor_of(before->data, before->len), b = cursor_of(after.data, after.len);
    cr_assert(same(&a, &b), "the tree reads differently");
    struct mini now = mini_of(x->root);
    cr_assert(mini_same(redis, &now, why, sizeof why), "%s", why);
    mini_free(&x->redis);
    x->redis = now;
    buf_free(&after);
}

Test(undo, takes_any_pipeline_back)
{
    unsigned done = 0;
    for (uint64_t n = 1; n <= 40; n++) {
        struct fixture x;
        struct buf before = BUF_INIT;
        uint64_t seed = n * 104729;
        random_open(&x, &seed);
        x.undo = undo_new();
        for (unsigned round = 0; round < 8; round++) {
            struct mini redis = mini_of(x.root);
            pack_root(&x, &before);
            done += run_some(&x, &seed, 1 + dice(&seed, 40));
            check_rollback(&x, &before, &redis);
            mini_free(&redis);
            run_some(&x, &seed, 10); /* and from elsewhere the next time */
            undo_commit(x.undo);
        }
        buf_free(&before);
        fixture_close(&x);
    }
    cr_assert_gt(done, 1500);
}

Test(undo, works_on_after_a_rollback_of_nothing)
{
    struct fixture x;
    fixture_open(&x, "{name: a}");
    x.undo = undo_new();
    undo_rollback(x.undo);
    undo_commit(x.undo);
    fixture_does(&x, "num.incr", "[n, 1]", "4");
    undo_commit(x.undo);
    undo_rollback(x.undo);
    fixture_does(&x, "doc.load", "[n]", "4");
    fixture_close(&x);
}

/* Ranges at the front, in the middle and at the end go different ways through a list. */
Test(undo, puts_ranges_back_where_they_were)
{
    for (int from = 0; from <= 12; from++) {
        for (int to = from; to <= 12; to++) {
            struct fixture x;
            struct buf before = BUF_INIT;
            char params[64], count[8];
            fixture_open(&x, "{name: a, nums: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}");
            x.undo = undo_new();
            struct mini redis = mini_of(x.root);
            pack_root(&x, &before);
            snprintf(params, sizeof params, "[nums, %d, %d]", from, to);
            snprintf(count, sizeof count, "%d", to - from);
            fixture_does(&x, "list.remove_range", params, count);
            check_rollback(&x, &before, &redis);
            mini_free(&redis);
            buf_free(&before);
            fixture_close(&x);
        }
    }
}
