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
        account->ns += count * ns, account->since += count * ns;
}

bool work_counted(void)
{
    return account != NULL;
}

static bool go_on(struct work *w)
{
    if (w->since < WORK_SLICE || w->pause == NULL || w->stopped)
        return !w->stopped;
    w->since = 0;
    w->stopped = !w->pause(w->arg);
    return !w->stopped;
}

bool work_step(uint64_t ns)
{
    if (account == NULL)
        return true;
    account->since += ns;
    return go_on(account);
}

int work_check(struct fault *f)
{
    struct work *w = account;
    if (w == NULL)
        return 0;
    if (!go_on(w))
        return fault_set(f, FAULT_BUSY, "the document changed meanwhile; try again");
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
