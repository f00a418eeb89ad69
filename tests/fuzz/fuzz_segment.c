/* fuzz_segment: what a reader makes of memory that holds anything: of a daemon that has gone mad,
 * or is in the middle of something. Nothing is read outside of it.
 *
 * The input is laid over a small segment: pairs of an offset (two bytes) and a byte to be put
 * there.
 */
#include "client/value.h"
#include "protocol/segment.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define BUCKETS 4u
#define SLOTS 4u
#define SLOT 256u

static const char key[] = "User:1";

static void show(struct segment *w)
{
    static const uint8_t map[] = "\x83\xa1n\x07\xa4text\xa5hello\xa2@v\x01";
    struct segment_record r = {
        .key = key, .key_len = 6, .value = map, .len = sizeof map - 1, .pairs = 3, .items = 7};

    segment_put(w, segment_slots_at(BUCKETS), &r);
    segment_list(w, segment_hash(w, key, 6), 0, segment_slots_at(BUCKETS));
}

static void take(const struct segment *s, const struct segment_view *v)
{
    uint8_t *bytes;
    size_t from, n;
    rapyer_value *root = value_room(v->items, v->len, &bytes);

    if (root && segment_copy(s, v, 0, v->len, bytes) && value_fill(root, v->items, v->len) == 0)
        rapyer_get(root, "text");
    rapyer_value_free(root);
    if (segment_pair(s, v, "text", 4, &from, &n)) {
        uint8_t *pair = malloc(n);
        segment_copy(s, v, from, n, pair);
        free(pair);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = segment_slots_at(BUCKETS) + (size_t)SLOTS * SLOT;
    uint8_t *memory = calloc(1, len);
    struct segment w, r;
    struct segment_view v;
    bool gone;

    segment_init(&w, memory, len, BUCKETS, 5, 6);
    show(&w);
    for (; size >= 3; data += 3, size -= 3) {
        /* Most of the first page is empty. */
        size_t at = (size_t)data[0] << 8 | data[1];
        memory[at < 0x8000 ? at % 256 : 4096 + at % (len - 4096)] = data[2];
    }
    if (segment_join(&r, memory, len) == 0) {
        segment_readable(&r, 1, &gone);
        if (segment_find(&r, key, 6, &v))
            take(&r, &v);
    }
    free(memory);
    return 0;
}
