/* effects: what operations change in a tree, told to the gathering batch as raw Redis strings. */
#include "daemon/documents/layout.h"
#include "daemon/exec/exec.h"

static struct batch_doc *stage(struct call_effects *e, struct batch **b)
{
    *b = lane_batch(exec_lane(e->call->exec));
    if (e->computes)
        call_computes(e->call, e->doc);
    return call_stage(e->call, e->doc);
}

static struct buf raw; /* scratch of the effects; one loop, one thread */

static void raw_of(const struct type *t, const struct cell *v)
{
    buf_clear(&raw);
    layout_raw(t, v, &raw);
}

static void on_hash_set(void *arg, const char *suffix, size_t suffix_len, const char *field,
                        size_t field_len, const struct type *t, const struct cell *v)
{
    struct batch *b;
    struct batch_doc *bd = stage(arg, &b);
    raw_of(t, v);
    batch_hash_set(b, bd, suffix, suffix_len, field, field_len, raw.data, raw.len);
}

static void on_hash_incr(void *arg, const char *suffix, size_t suffix_len, const char *field,
                         size_t field_len, int64_t by, int64_t now)
{
    struct call_effects *e = arg;
    struct batch *b;
    struct batch_doc *bd = stage(e, &b);
    e->drift = batch_hash_incr(b, bd, suffix, suffix_len, field, field_len, by, now);
}

static void on_hash_del(void *arg, const char *suffix, size_t suffix_len, const char *field,
                        size_t field_len)
{
    struct batch *b;
    struct batch_doc *bd = stage(arg, &b);
    batch_hash_del(b, bd, suffix, suffix_len, field, field_len);
}

static void on_list_push(void *arg, const char *suffix, size_t suffix_len, bool front,
                         const struct type *t, const struct cell *v)
{
    struct call_effects *e = arg;
    struct batch *b;
    struct batch_doc *bd = stage(e, &b);
    raw_of(t, v);
    const struct drift *d = batch_list_push(b, bd, suffix, suffix_len, front, raw.data, raw.len);
    /* A length in an answer is that of one list: when an operation pushes to several (elements
     * with lists of their own), the first is meant. */
    if (!e->told) {
        e->told = true;
        e->drift = d;
        snprintf(e->suffix, sizeof(e->suffix), "%.*s", (int)suffix_len, suffix);
    } else if (strlen(e->suffix) == suffix_len && memcmp(e->suffix, suffix, suffix_len) == 0) {
        e->drift = d;
    }
}

static void on_list_set(void *arg, const char *suffix, size_t suffix_len, size_t index,
                        const struct type *t, const struct cell *v)
{
    struct batch *b;
    struct batch_doc *bd = stage(arg, &b);
    raw_of(t, v);
    batch_list_set(b, bd, suffix, suffix_len, index, raw.data, raw.len);
}

static void on_list_insert(void *arg, const char *suffix, size_t suffix_len, size_t index,
                           const struct type *t, const struct cell *v)
{
    struct call_effects *e = arg;
    struct batch *b;
    struct batch_doc *bd = stage(e, &b);
    e->told = true; /* what is pushed next is to lists within the element */
    snprintf(e->suffix, sizeof(e->suffix), "%.*s", (int)suffix_len, suffix);
    raw_of(t, v);
    batch_list_insert(b, bd, suffix, suffix_len, index, raw.data, raw.len);
}

static void on_list_remove(void *arg, const char *suffix, size_t suffix_len, size_t from,
                           size_t count, size_t len_before)
{
    struct batch *b;
    struct batch_doc *bd = stage(arg, &b);
    batch_list_remove(b, bd, suffix, suffix_len, from, count, len_before);
}

static void on_drop(void *arg, const char *suffix, size_t suffix_len)
{
    struct batch *b;
    struct batch_doc *bd = stage(arg, &b);
    batch_drop(b, bd, suffix, suffix_len);
}

const struct effects call_effects = {
    .hash_set = on_hash_set,
    .hash_incr = on_hash_incr,
    .hash_del = on_hash_del,
    .list_push = on_list_push,
    .list_set = on_list_set,
    .list_insert = on_list_insert,
    .list_remove = on_list_remove,
    .drop = on_drop,
};

void call_effects_cleanup(void)
{
    buf_free(&raw);
}
