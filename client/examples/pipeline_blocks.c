/* pipeline_blocks: what pipelines can do besides: results, several documents, a condition, blocks
 * inside of blocks, giving up. */
#include "example.h"

static const rapyer_model Coin = RAPYER_ATOMIC("Coin", RAPYER_FIELD("mint", "str"));
static const rapyer_model Purse =
    RAPYER_ATOMIC("Purse", RAPYER_FIELD("gold", "int", "0"), RAPYER_FIELD("log", "list<str>"),
                  RAPYER_FIELD("coins", "list<Coin>"));

static void move_between_documents(rapyer_doc *from, rapyer_doc *to)
{
    rapyer_auto_doc *p = rapyer_begin(from), *q = rapyer_join(p, to);
    rapyer_incr(p, "gold", -30, NULL);
    rapyer_incr(q, "gold", 30, NULL);
    rapyer_append(q, "log", "'got 30'");
    EXPECT(rapyer_commit(p) == 0);
    EXPECT(rapyer_len(rapyer_results(p)) == 3);
    EXPECT(rapyer_int(rapyer_results(p), "[0]", 0) == 70);
    EXPECT(rapyer_int(rapyer_results(p), "[1]", 0) == 30);
    REDIS_IS("70", "HGET rapyer:{Purse:mine} gold");
    REDIS_IS("30", "HGET rapyer:{Purse:yours} gold");
}

/* A function that works on what it is given, be that a document or a pipeline's part of it. */
static void try_to_spend(rapyer_doc *purse, int amount, bool sure)
{
    rapyer_auto_doc *inner = rapyer_begin(purse);
    rapyer_incr(inner, "gold", -amount, NULL);
    rapyer_append(inner, "log", "'spent'");
    if (sure)
        rapyer_commit(inner);
}

static void blocks_in_blocks(rapyer_doc *purse)
{
    rapyer_auto_doc *p = rapyer_begin(purse);
    try_to_spend(p, 5, true);
    try_to_spend(p, 50, false); /* taken back: not committed */
    rapyer_append(p, "log", "'went home'");
    REDIS_IS("70", "HGET rapyer:{Purse:mine} gold"); /* nothing is sent yet */
    EXPECT(rapyer_commit(p) == 0);
    REDIS_IS("65", "HGET rapyer:{Purse:mine} gold");
    REDIS_IS("[spent, went home]", "LRANGE rapyer:{Purse:mine}/log 0 -1");

    rapyer_incr(p, "gold", 1, NULL);
    rapyer_abort(p);
    EXPECT(rapyer_commit(p) == 0);
    try_to_spend(purse, 1, false);
    try_to_spend(purse, 2, true); /* stands alone */
    REDIS_IS("63", "HGET rapyer:{Purse:mine} gold");
}

static void only_if_unchanged(rapyer *db, rapyer_doc *purse)
{
    rapyer_auto_value *read = rapyer_fetch_version(purse);
    int64_t seen = rapyer_int(read, "@v", -1);
    rapyer_auto_doc *p = rapyer_begin(purse);
    rapyer_if_version(p, seen);
    rapyer_set(p, "gold", "%lld", 2ll * rapyer_int(read, "gold", 0));
    EXPECT(rapyer_commit(p) == 0);
    REDIS_IS("126", "HGET rapyer:{Purse:mine} gold");

    rapyer_auto_doc *coin = rapyer_new(db, "Coin", "{mint: Paris}");
    rapyer_if_version(p, seen); /* that was before */
    rapyer_append(p, "coins", "%p", coin);
    EXPECT(rapyer_set(coin, "mint", "Rome") < 0); /* it is held for the commit */
    EXPECT(rapyer_commit(p) < 0 && rapyer_errcode(db) == RAPYER_CONFLICT);
    rapyer_clear_error(db);
    EXPECT(rapyer_is_draft(coin) && rapyer_set(coin, "mint", "Rome") == 0); /* free again */

    rapyer_append(p, "coins", "%p", coin);
    EXPECT(rapyer_commit(p) == 0 && !rapyer_is_draft(coin));
    REDIS_IS("Rome", "HGET rapyer:{Purse:mine}/coins/%s mint", rapyer_pk(coin));
}

static void save_and_delete(rapyer *db, rapyer_doc *purse)
{
    rapyer_auto_doc *fresh = rapyer_new(db, "Purse:fresh", "{gold: 3}");
    rapyer_auto_doc *p = rapyer_begin(purse), *q = rapyer_join(p, fresh);
    rapyer_if_version(q, 0); /* must be new */
    rapyer_delete(p);
    rapyer_save(q);
    EXPECT(rapyer_commit(p) == 0 && !rapyer_is_draft(fresh));
    REDIS_IS("[0, 1]", "EVAL %s 2 rapyer:{Purse:mine} rapyer:{Purse:fresh}",
             "return {redis.call('EXISTS', KEYS[1]), redis.call('EXISTS', KEYS[2])}");
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Coin, &Purse);
    rapyer_auto_doc *mine = rapyer_new(db, "Purse:mine", "{gold: 100}");
    rapyer_auto_doc *yours = rapyer_new(db, "Purse:yours", "{}");
    rapyer_insert_many(db, (rapyer_doc *[]){mine, yours}, 2);
    move_between_documents(mine, yours);
    blocks_in_blocks(mine);
    only_if_unchanged(db, mine);
    save_and_delete(db, mine);
    return example_end(db);
}
