/* pipeline_order: items, totals and state of an order, all at once or not at all. */
#include "example.h"

/* listing */
static const rapyer_model OrderItem =
    RAPYER_ATOMIC("OrderItem", RAPYER_FIELD("product_id", "str"), RAPYER_FIELD("quantity", "int"),
                  RAPYER_FIELD("price", "int"), /* in cents */
                  RAPYER_FIELD("item_metadata", "dict<str>"));

static const rapyer_model Order = RAPYER_ATOMIC(
    "Order", RAPYER_FIELD("customer_id", "str"), RAPYER_FIELD("items", "list<OrderItem>"),
    RAPYER_FIELD("order_metadata", "dict<str>"), RAPYER_FIELD("total_amount", "int", "0"),
    RAPYER_FIELD("status", "str", "pending"));

struct item_data {
    const char *product_id;
    int quantity, price;
};

static int process_order_with_items(rapyer *db, rapyer_doc *order, const struct item_data *items,
                                    int n)
{
    /* Complex atomic transaction involving nested models */
    rapyer_auto_doc *pipelined_order = rapyer_begin(order);
    int total = 0;
    char count[16];

    for (const struct item_data *data = items; data < items + n; data++) {
        /* Create order item */
        rapyer_auto_doc *item =
            rapyer_new(db, "OrderItem", "{product_id: %s, quantity: %d, price: %d}",
                       data->product_id, data->quantity, data->price);

        /* Add metadata to nested item */
        rapyer_update(item, "item_metadata", "{added_at: %s, source: web_order}", rapyer_now());

        /* Add item to order */
        rapyer_append(pipelined_order, "items", "%p", item);
        total += data->price * data->quantity;
    }

    /* Update order totals and metadata */
    snprintf(count, sizeof count, "%d", n);
    rapyer_set(pipelined_order, "total_amount", "%d", total);
    rapyer_update(pipelined_order, "order_metadata", "{processed_at: %s, item_count: %s}",
                  rapyer_now(), count);
    rapyer_set(pipelined_order, "status", "confirmed");
    if (rapyer_commit(pipelined_order) < 0)
        return -1;

    printf("Order processed with %d items, total: $%.2f\n", n, total / 100.0);
    return 0;
}
/* end of the listing */

int main(void)
{
    static const struct item_data items[] = {{"keyboard", 1, 4999}, {"cable", 3, 750}};
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &OrderItem, &Order);
    rapyer_auto_doc *order = rapyer_new(db, "Order", "{customer_id: 'customer-7'}");
    rapyer_save(order);
    EXPECT(process_order_with_items(db, order, items, 2) == 0);

    const char *pk = rapyer_pk(order);
    rapyer_auto_value *first = rapyer_fetch(order);
    const char *item = rapyer_str(first, "items[1].@pk", "?");
    REDIS_IS("[7249, confirmed]", "HMGET rapyer:{Order:%s} total_amount status", pk);
    REDIS_IS("2", "HGET rapyer:{Order:%s}/order_metadata item_count", pk);
    REDIS_IS("2", "LLEN rapyer:{Order:%s}/items", pk);
    REDIS_IS("[cable, 3, 750]", "HMGET rapyer:{Order:%s}/items/%s product_id quantity price", pk,
             item);
    REDIS_IS("web_order", "HGET rapyer:{Order:%s}/items/%s/item_metadata source", pk, item);
    return example_end(db);
}
