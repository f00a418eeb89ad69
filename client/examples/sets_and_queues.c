/* sets_and_queues: sets and priority queues, in a document, in a draft and in a struct. */
#include "example.h"
#include <math.h>

struct shop {
    char *pk;
    rapyer_list tags;    /* of char * */
    rapyer_sorted queue; /* of char * */
};

static const rapyer_model Shop = {
    .name = "Shop",
    .size = sizeof(struct shop),
    .fields = RAPYER_FIELDS(
        RAPYER_PK(struct shop, pk), RAPYER_MEMBER(struct shop, tags, "set<str>"),
        RAPYER_MEMBER(struct shop, queue, "sorted<str>"), RAPYER_FIELD("regulars", "set<int>"))};

static void sets(rapyer_doc *shop)
{
    EXPECT(rapyer_set_add(shop, "tags", "new") == 1);
    EXPECT(rapyer_set_add(shop, "tags", "new") == 0);
    EXPECT(rapyer_set_add_many(shop, "tags", "[sale, %s]", "old") == 2);
    EXPECT(rapyer_set_has(shop, "tags", "sale") == 1);
    EXPECT(rapyer_set_remove(shop, "tags", "old") == 1);
    EXPECT(rapyer_set_unite(shop, "regulars", "[7, %d, 9]", 8) == 3);
    EXPECT(rapyer_set_subtract(shop, "regulars", "[9]") == 2);
    EXPECT(rapyer_set_intersect(shop, "regulars", "[7, 100]") == 1);
    rapyer_value *both = rapyer_set_intersection(shop, "tags", "{path: tags}");
    EXPECT(rapyer_len(both) == 2);
    rapyer_value_free(both);
}

static void queue(rapyer_doc *shop)
{
    double score = 0;
    int64_t rank = -1;
    EXPECT(rapyer_sorted_push(shop, "queue", 2, "%s", "second") == 1);
    EXPECT(rapyer_sorted_push_many(shop, "queue", "[[first, 1], [third, 3.5], [late, 9]]") == 3);
    EXPECT(rapyer_sorted_incr(shop, "queue", -0.5, &score, "third") == 0 && score == 3);
    EXPECT(rapyer_sorted_rank(shop, "queue", &rank, "third") == 1 && rank == 2);
    EXPECT(rapyer_sorted_rank(shop, "queue", &rank, "nobody") == 0);
    rapyer_value *next = rapyer_pop_min(shop, "queue", -1);
    EXPECT(strcmp(rapyer_str(next, "[0]", ""), "first") == 0 && rapyer_float(next, "[1]", 0) == 1);
    rapyer_value_free(next);
    rapyer_value *soon = rapyer_sorted_range_by_score(shop, "queue", -INFINITY, 3);
    EXPECT(rapyer_len(soon) == 2);
    rapyer_value_free(soon);
    EXPECT(rapyer_sorted_remove_by_score(shop, "queue", 9, INFINITY) == 1);
    EXPECT(rapyer_sorted_size(shop, "queue") == 2);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Shop);

    rapyer_auto_doc *shop = rapyer_new(db, "Shop:corner", "{tags: [], queue: []}");
    sets(shop); /* as a draft: in memory, by the same rules */
    queue(shop);
    EXPECT(rapyer_save(shop) == 0);
    REDIS_IS("[second, 2, third, 3]", "ZRANGE rapyer:{Shop:corner}/queue 0 -1 WITHSCORES");
    REDIS_IS("[7]", "SMEMBERS rapyer:{Shop:corner}/regulars");

    EXPECT(rapyer_set_clear(shop, "tags") == 0);
    EXPECT(rapyer_set_clear(shop, "regulars") == 0);
    EXPECT(rapyer_sorted_clear(shop, "queue") == 0);
    sets(shop); /* in Redis */
    queue(shop);
    REDIS_IS("2", "SCARD rapyer:{Shop:corner}/tags");
    REDIS_IS("[second, 2, third, 3]", "ZRANGE rapyer:{Shop:corner}/queue 0 -1 WITHSCORES");

    struct shop read;
    EXPECT(rapyer_get_struct(db, &Shop, "Shop:corner", &read) == 0);
    EXPECT(read.queue.len == 2 && read.queue.scores[1] == 3 && read.tags.len == 2);
    EXPECT(strcmp(((char **)read.queue.items)[0], "second") == 0);
    EXPECT(rapyer_save_struct(db, &Shop, "copy", &read) == 0);
    rapyer_struct_free(db, &Shop, &read);
    REDIS_IS("[second, 2, third, 3]", "ZRANGE rapyer:{Shop:copy}/queue 0 -1 WITHSCORES");
    return example_end(db);
}
