/* work: see work.h. */
#include "protocol/work.h"
#include "protocol/cell.h"

static struct work_limits limits;
static _Thread_local struct work *account;

void work_set_limits(const struct work_limits *l)
{
    limits = *l;
}

static size_t bytes_of(const struct work *w)
{
    size_t now = tree_memory();
    return w->bytes + (now > w->memory_then ? now - w->memory_then : 0);
}

struct work *work_open(struct work *w)
{
    struct work *before = account;
    if (before != NULL)
        before->bytes = bytes_of(before);
    if (w != NULL)
        w->memory_then = tree_memory();
    account = w;
    return before;
}

void work_add(uint64_t count, uint64_t ns)
{
    if (account != NULL)
        account->ns += count * ns;
}

int work_check(struct fault *f)
{
    const struct work *w = account;
    if (w == NULL)
        return 0;
    if (limits.ns != 0 && w->ns > limits.ns)
        return fault_set(f, FAULT_TOO_LARGE,
                         "this would keep all others waiting for more than %llu ms "
                         "(limits.max_work), by estimate; do it in parts",
                         (unsigned long long)(limits.ns / 1000000));
    if (limits.bytes != 0 && bytes_of(w) > limits.bytes)
        return fault_set(
            f, FAULT_TOO_LARGE,
            "this would take over %zu bytes of memory (half of cache.cache_memory); do "
            "it in parts",
            limits.bytes);
    return 0;
}
