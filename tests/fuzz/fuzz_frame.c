/* fuzz_frame: what happens to any bytes that a client sends, up to the checked value.
 *
 * The first byte of the input says where the stream is cut in two and in which type's place the
 * values are put; the rest is the stream. Beyond not crashing:
 *   - a stream in two pieces scans to what the whole scans to;
 *   - what was scanned can be walked to its end, and no further, and has as many items as the scan
 *     says;
 *   - a canonical value is its own canonical form.
 */
#include "protocol/rpc.h"
#include "protocol/scan.h"
#include "protocol/schema.h"
#include "protocol/value.h"
#include "tests/fuzz/fuzz.h"

#define LIMIT 65536

static const struct type t_int = {.kind = TYPE_INT}, t_float = {.kind = TYPE_FLOAT},
                         t_bool = {.kind = TYPE_BOOL}, t_str = {.kind = TYPE_STR},
                         t_bytes = {.kind = TYPE_BYTES}, t_time = {.kind = TYPE_DATETIME},
                         t_any = {.kind = TYPE_ANY}, t_floats = {.kind = TYPE_LIST, .of = &t_float},
                         t_maybe = {.kind = TYPE_OPTIONAL, .of = &t_str},
                         t_anys = {.kind = TYPE_DICT, .of = &t_any},
                         t_deep = {.kind = TYPE_DICT, .of = &t_floats},
                         t_set = {.kind = TYPE_SET, .of = &t_any},
                         t_sorted = {.kind = TYPE_SORTED, .of = &t_str},
                         t_decimal = {.kind = TYPE_DECIMAL}, t_span = {.kind = TYPE_TIMEDELTA},
                         t_zoned = {.kind = TYPE_ZONED},
                         t_enum = {.kind = TYPE_ENUM, .names = "a|b"},
                         t_ref = {.kind = TYPE_REF, .names = "User"};
static const struct type *const types[] = {
    &t_int,  &t_float, &t_bool, &t_str,    &t_bytes,   &t_time, &t_any,   &t_floats, &t_maybe,
    &t_anys, &t_deep,  &t_set,  &t_sorted, &t_decimal, &t_span, &t_zoned, &t_enum,   &t_ref};

static void check_value(struct cursor in, const struct type *t)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    struct fault f;

    if (value_check(t, &in, &once, "field", &f) == 0) {
        struct cursor again = cursor_of(once.data, once.len);
        require(value_check(t, &again, &twice, "field", &f) == 0);
        require(cursor_done(&again));
        require(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    } else {
        require(once.len == 0 && f.code != FAULT_NONE && utf8_valid(f.text, strlen(f.text)));
    }
    buf_free(&once);
    buf_free(&twice);
}

static void check_definition(struct cursor in)
{
    struct schema *s = schema_new();
    const struct model *m;
    struct fault f;
    struct buf b = BUF_INIT;
    bool changed;

    if (schema_define(s, &in, &m, &changed, &f) == 0) {
        schema_pack(m, &b);
        struct cursor again = cursor_of(b.data, b.len);
        require(schema_define(s, &again, &m, &changed, &f) == 0 && !changed);
    }
    schema_free(s);
    buf_free(&b);
}

static void check_frame(const uint8_t *frame, size_t len, uint64_t items, const struct type *t)
{
    struct cursor c = cursor_of(frame, len);
    struct rpc m;
    struct fault f;

    require(cursor_skip(&c) == 0 && cursor_done(&c));
    require(cursor_count(cursor_of(frame, len)) == items);
    check_value(cursor_of(frame, len), t);
    if (rpc_parse(&m, frame, len, &f) < 0 || m.kind == RPC_RESPONSE)
        return;
    c = m.params;
    for (uint32_t i = 0; i < m.nparams; i++) {
        check_value(c, t);
        check_definition(c);
        require(cursor_skip(&c) == 0);
    }
    require(cursor_done(&c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scan whole, pieces;
    struct fault f = {0}, g = {0};
    uint64_t id;

    if (size < 1)
        return 0;
    size_t cut = data[0], n = size - 1;
    const struct type *t = types[data[0] % (sizeof types / sizeof *types)];
    data++;
    rpc_guess_id(data, n, &id);
    scan_init(&whole, LIMIT);
    scan_init(&pieces, LIMIT);
    enum scan_status a = scan_run(&whole, data, n, &f);
    enum scan_status b = scan_run(&pieces, data, cut < n ? cut : n, &g);
    if (b == SCAN_MORE)
        b = scan_run(&pieces, data, n, &g);
    require(a == b && f.code == g.code && (a == SCAN_BAD || whole.at == pieces.at));
    require(a != SCAN_DONE || whole.items == pieces.items);
    if (a == SCAN_DONE)
        check_frame(data, whole.at, whole.items, t);
    return 0;
}
