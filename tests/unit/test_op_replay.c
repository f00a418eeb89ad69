/* Memory and Redis never part: the effects of any sequence of operations, applied one by one to
 * a Redis in miniature, leave it with exactly what the tree would write as a whole. */
#include "op_random.h"

static void check_agrees(struct fixture *x, const struct buf *params, enum op_kind kind)
{
    char why[512];
    struct mini now = mini_of(x->root);
    cr_assert(mini_same(&x->redis, &now, why, sizeof why), "%s %.*s: %s", op_infos[kind].name,
              (int)params->len, (char *)params->data, why);
    mini_free(&now);
}

/* Returns how many of the operations were done. */
static unsigned replay(uint64_t seed, unsigned ops, unsigned done[OP_COUNT])
{
    struct fixture x;
    unsigned total = 0;
    random_open(&x, &seed);
    for (unsigned i = 0; i < ops; i++) {
        struct buf params = BUF_INIT;
        unsigned effects = x.redis.effects;
        enum op_kind kind = random_op(&params, &seed, x.root->model);
        enum op_status st = fixture_run(&x, kind, &params);
        cr_assert_neq(st, OP_NEEDS);
        cr_assert_neq(x.fault.code, FAULT_INTERNAL, "%s", x.fault.text);
        if (st == OP_REFUSED) {
            cr_assert_eq(x.redis.effects, effects, "refused, but told effects");
            cr_assert_eq(x.result.len, 0);
        } else {
            done[kind]++;
            total++;
            cr_assert_eq(x.result.len > 0, op_infos[kind].result != RESULT_VERSION);
        }
        check_agrees(&x, &params, kind);
        buf_free(&params);
    }
    fixture_close(&x);
    return total;
}

Test(op_replay, effects_leave_in_redis_what_the_tree_holds)
{
    unsigned done[OP_COUNT] = {0}, total = 0;
    for (uint64_t seed = 1; seed <= 60; seed++)
        total += replay(seed * 7919, 120, done);
    cr_assert_gt(total, 1500, "only %u operations were possible", total);
    for (int i = 0; i < OP_COUNT; i++)
        cr_assert_gt(done[i], 0, "%s was never done", op_infos[i].name);
}

Test(op_replay, a_refused_operation_changes_nothing)
{
    uint64_t seed = 4711;
    unsigned refused = 0;
    struct fixture x;
    random_open(&x, &seed);
    struct buf before = BUF_INIT, after = BUF_INIT;
    for (unsigned i = 0; i < 3000; i++) {
        struct buf params = BUF_INIT;
        struct needs none = {0};
        enum op_kind kind = random_op(&params, &seed, x.root->model);
        buf_clear(&before);
        record_pack(x.root, NULL, 0, false, "", 0, &none, &before);
        if (fixture_run(&x, kind, &params) == OP_REFUSED) {
            refused++;
            buf_clear(&after);
            record_pack(x.root, NULL, 0, false, "", 0, &none, &after);
            cr_assert(after.len == before.len && memcmp(after.data, before.data, after.len) == 0,
                      "%s: %s", op_infos[kind].name, x.fault.text);
        }
        buf_free(&params);
    }
    cr_assert_gt(refused, 300);
    buf_free(&before);
    buf_free(&after);
    fixture_close(&x);
}
