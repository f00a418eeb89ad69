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
        account->ns += count * ns, account->unpaused += count * ns;
}

bool work_counted(void)
{
    return account != NULL;
}

static bool go_on(struct work *w)
{
    if (w->unpaused < WORK_SLICE || w->pause == NULL || w->stopped)
        return !w->stopped;
    w->unpaused = 0;
    w->stopped = !w->pause(w->arg);
    return !w->stopped;
}

bool work_step(uint64_t ns)
{
    if (account == NULL)
        return true;
    account->unpaused += ns;
    return go_on(account);
}

bool work_copy_long(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    for (size_t some; n > 0; t += some, f += some, n -= some) {
        some = n < WORK_PIECE ? n : WORK_PIECE;
        memcpy(t, f, some);
        if (!work_step(some / 1024 * WORK_MOVED))
            return false;
    }
    return true;
}

bool work_append_long(struct buf *out, const void *p, size_t n)
{
    if (!buf_grow(out, n) || !work_copy_long(out->data + out->len, p, n))
        return false;
    out->len += n;
    return true;
}

int work_command(uint64_t ns, const char *where, struct fault *f)
{
    if (account != NULL && limits.ns != 0 && ns > limits.ns / WORK_COMMAND)
        return fault_set(f, FAULT_TOO_LARGE,
                         "Redis would take %llu ms to find this place in the midst of '%s', by "
                         "estimate, and %llu are allowed (a quarter of limits.max_work); change "
                         "it nearer to one of its ends, or keep it in several",
                         (unsigned long long)(ns / 1000000), where,
                         (unsigned long long)(limits.ns / WORK_COMMAND / 1000000));
    work_add(1, ns);
    return work_check(f);
}

bool work_exceeded(void)
{
    return account != NULL && limits.ns != 0 && account->ns > limits.ns;
}

/* What is small goes along with anything. */
static bool has_room(struct work *w)
{
    if (w->ns > WORK_SMALL && w->room != NULL && !w->stopped)
        w->stopped = !w->room(w->arg, w->ns);
    return !w->stopped;
}

int work_check(struct fault *f)
{
    struct work *w = account;
    if (w == NULL)
        return 0;
    if (!go_on(w) || !has_room(w))
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
