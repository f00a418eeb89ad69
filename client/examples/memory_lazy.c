/* memory_lazy: a field that may be very large is read only when it is asked for. */
#include "example.h"

/* listing */
/* For large nested structures, consider loading specific parts */
static const rapyer_model LargeDataset = RAPYER_ATOMIC(
    "LargeDataset", RAPYER_FIELD("name", "str"), RAPYER_FIELD("metadata", "dict<str>"),
    RAPYER_LAZY("large_data", "list<dict<any>>")); /* Could be very large */

static void load_what_is_needed(rapyer *db)
{
    /* Load only what you need */
    rapyer_auto_doc *dataset = rapyer_open(db, "LargeDataset:123");
    rapyer_auto_value *metadata = rapyer_load(dataset, "metadata"); /* Load only metadata */
    /* large_data is not read until it is asked for, with rapyer_load */
    /* end of the listing */

    EXPECT(strcmp(rapyer_str(metadata, "source", ""), "sensors") == 0);
    rapyer_auto_value *all = rapyer_fetch(dataset);
    EXPECT(strcmp(rapyer_str(all, "name", ""), "measured") == 0);
    EXPECT(rapyer_get(all, "large_data") == NULL);
    rapyer_auto_value *row = rapyer_load(dataset, "large_data[-1]");
    EXPECT(rapyer_int(row, "n", -1) == 999 && rapyer_float(row, "half", -1) == 499.5);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &LargeDataset);
    rapyer_auto_doc *written =
        rapyer_new(db, "LargeDataset:123", "{name: measured, metadata: {source: sensors}}");
    for (int i = 0; i < 1000; i++)
        rapyer_append(written, "large_data", "{n: %d, half: %f}", i, i / 2.0);
    rapyer_save(written);

    load_what_is_needed(db);
    REDIS_IS("sensors", "HGET rapyer:{LargeDataset:123}/metadata source");
    REDIS_IS("1000", "LLEN rapyer:{LargeDataset:123}/large_data");
    return example_end(db);
}
