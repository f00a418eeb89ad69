/* fuzz_answer: what librapyer makes of any bytes, which nobody has looked at before.
 *
 * The first byte says how many items are claimed to be there (0: they are counted). Beyond not
 * crashing: what was taken for a value can be walked, is packed, and read again is the same.
 */
#include "client/value.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void walk(const rapyer_value *v)
{
    size_t len;
    const char *text = rapyer_data(v, &len);

    if (text)
        require(text[len] == '\0');
    rapyer_get(v, "a.b[0]");
    rapyer_get(v, "[-1]['x']");
    for (size_t i = 0; i < rapyer_len(v) && !text; i++) {
        rapyer_item_key(v, i);
        walk(rapyer_item(v, i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    struct fault f;

    if (size < 1)
        return 0;
    rapyer_value *v = value_parse(cursor_of(data + 1, size - 1), data[0], SIZE_MAX, &f);
    if (!v)
        return 0;
    walk(v);
    value_pack(v, &once);
    rapyer_value *same = value_parse(cursor_of(once.data, once.len), 0, SIZE_MAX, &f);
    require(same != NULL);
    value_pack(same, &twice);
    require(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    rapyer_value_free(same);
    rapyer_value_free(v);
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
