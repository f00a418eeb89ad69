/* fuzz_region: places that are watched, and what is said to have changed. A key's suffix comes from
 * whoever writes into Redis, a path from any client. The first byte parts the rest into a path, a
 * suffix and a field. Beyond not crashing:
 *   - what of a path is watched, is watched when that is asked for;
 *   - who watches the path that a change is told with is told of the change.
 */
#include "daemon/watches/region.h"
#include "protocol/scan.h"
#include "tests/fuzz/fuzz.h"

static const struct model *model(void)
{
    static struct schema *s;
    static const struct model *m;
    if (m == NULL) {
        s = schema_new();
        add_model(s, "T", (const char *[]){"a", "int", "b", "list<str>", NULL});
        add_model(s, "S", (const char *[]){"c", "str", "d", "dict<int>", "t", "list<T>", NULL});
        m = add_model(s, "U",
                      (const char *[]){"a", "int", "aa", "list<int>", "s", "S", "l", "list<S>", "m",
                                       "dict<S>", "x", "any", "z", "set<str>", NULL});
    }
    return m;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void check_path(const char *path, size_t len)
{
    struct region r, again;
    struct fault f;
    if (region_read(&r, model(), path, len, &f) < 0)
        return;
    require(region_read(&again, model(), (char *)r.path.data, r.path.len, &f) == 0);
    require(same(&r.path, &again.path) && same(&r.name, &again.name) &&
            r.container == again.container);
    region_free(&r);
    region_free(&again);
}

static void check_change(const char *suffix, size_t len, const char *field, size_t field_len)
{
    struct buf path = BUF_INIT;
    struct region r;
    struct fault f;
    region_path(model(), suffix, len, field, field_len, &path);
    if (region_read(&r, model(), (char *)path.data, path.len, &f) == 0) {
        bool no_field = field != NULL && r.container; /* none of a hash has a container's name */
        require(no_field || region_touched(&r, suffix, len, field, field_len));
        region_free(&r);
    }
    buf_free(&path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t path = data[0] % (size - 1), suffix = data[1] % (size - 1 - path);
    const char *at = (const char *)data + 2;
    size_t field = size - 2 - path - suffix;
    if (path + suffix > size - 2)
        return 0;
    check_path(at, path);
    check_change(at + path, suffix, NULL, 0);
    check_change(at + path, suffix, at + path + suffix, field);
    return 0;
}
