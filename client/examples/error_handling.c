/* error_handling: when one operation fails, nothing of the order stays. */
#include "example.h"

static const rapyer_model OrderItem =
    RAPYER_ATOMIC("OrderItem", RAPYER_FIELD("product_id", "str"), RAPYER_FIELD("quantity", "int"),
                  RAPYER_FIELD("price", "int"), RAPYER_FIELD("item_metadata", "dict<str>"));

struct order_data {
    int n;
    const char *const *items; /* product ids; NULL: the item has none */
    const char *carrier;
};

/* listing */
static const rapyer_model ComplexOrder = RAPYER_ATOMIC(
    "ComplexOrder", RAPYER_FIELD("customer_id", "str"), RAPYER_FIELD("items", "list<OrderItem>"),
    RAPYER_FIELD("shipping_info", "dict<str>"), RAPYER_FIELD("status", "str", "draft"));

static rapyer_doc *create_complex_order(rapyer *db, const char *customer_id,
                                        const struct order_data *data)
{
    rapyer_doc *order = rapyer_new(db, "ComplexOrder", "{customer_id: %s}", customer_id);
    rapyer_save(order);

    rapyer_auto_doc *pipelined_order = rapyer_begin(order);
    /* Add items */
    for (int i = 0; i < data->n; i++) {
        rapyer_auto_doc *item = rapyer_new(
            db, "OrderItem", "{product_id: %s, quantity: 1, price: 100}", data->items[i]);
        rapyer_append(pipelined_order, "items", "%p", item);
    }

    /* Add shipping info */
    rapyer_update(pipelined_order, "shipping_info", "{carrier: %s}", data->carrier);

    /* Set status */
    rapyer_set(pipelined_order, "status", "confirmed");

    if (rapyer_commit(pipelined_order) == 0) {
        printf("Order created successfully\n");
        return order;
    }
    /* If anything fails, nothing of the entire transaction is done */
    printf("Order creation failed: %s\n", rapyer_errmsg(db));
    rapyer_delete(order); /* Clean up */
    rapyer_free(order);
    return NULL;
}
/* end of the listing */

/* The daemon refuses the second operation: the first must leave no trace. */
static void refused_by_the_daemon(rapyer *db)
{
    rapyer_auto_doc *order = rapyer_new(db, "ComplexOrder:refused", "{customer_id: c9}");
    rapyer_save(order);
    rapyer_auto_doc *p = rapyer_begin(order);
    rapyer_set(p, "status", "confirmed");
    rapyer_set(p, "items[3].quantity", "2");
    EXPECT(rapyer_commit(p) < 0 && rapyer_errcode(db) == RAPYER_OUT_OF_RANGE);
    EXPECT(strstr(rapyer_errmsg(db), "operation 1 (set)") != NULL);
    rapyer_clear_error(db);
    REDIS_IS("draft", "HGET rapyer:{ComplexOrder:refused} status");
}

int main(void)
{
    static const char *const good[] = {"book", "pen"}, *const bad[] = {"book", NULL};
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &OrderItem, &ComplexOrder);

    rapyer_auto_doc *order = create_complex_order(db, "c1", &(struct order_data){2, good, "snail"});
    EXPECT(order != NULL && rapyer_errcode(db) == RAPYER_OK);
    const char *pk = rapyer_pk(order);
    REDIS_IS("confirmed", "HGET rapyer:{ComplexOrder:%s} status", pk);
    REDIS_IS("2", "LLEN rapyer:{ComplexOrder:%s}/items", pk);
    REDIS_IS("snail", "HGET rapyer:{ComplexOrder:%s}/shipping_info carrier", pk);

    EXPECT(create_complex_order(db, "c2", &(struct order_data){2, bad, "snail"}) == NULL);
    EXPECT(rapyer_errcode(db) == RAPYER_BAD_TYPE || rapyer_errcode(db) == RAPYER_BAD_VALUE);
    rapyer_clear_error(db);
    rapyer_auto_value *keys = rapyer_keys(db, "ComplexOrder");
    EXPECT(rapyer_len(keys) == 1); /* the bad one was cleaned up */
    refused_by_the_daemon(db);
    return example_end(db);
}
