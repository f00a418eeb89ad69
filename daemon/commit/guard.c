/* guard: see guard.h. */
#include "daemon/commit/guard.h"
#include "daemon/locks/lock_text.h"
#include "daemon/locks/locks.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct guard *guard_new(void)
{
    struct guard *g = alloc_zeroed(1, sizeof(*g));
    g->refs = 1;
    return g;
}

struct guard *guard_ref(struct guard *g)
{
    g->refs++;
    return g;
}

void guard_unref(struct guard *g)
{
    if (g == NULL || --g->refs > 0)
        return;
    for (unsigned i = 0; i < g->n; i++) {
        if (g->checks[i].lock != NULL)
            lock_unpin(g->checks[i].lock);
        free(g->checks[i].key);
        free(g->checks[i].name);
    }
    free(g->checks);
    free(g);
}

void guard_add(struct guard *g, const struct guard_check *check)
{
    g->checks = alloc_resized(g->checks, g->n + 1, sizeof(*g->checks));
    struct guard_check *c = &g->checks[g->n++];
    *c = *check;
    c->key = alloc_copy(check->key, check->key_len);
    c->name = alloc_str(check->name);
    g->own = g->own || c->kind == GUARD_VERSION;
    if (c->lock != NULL)
        lock_pin(c->lock);
}

bool guard_same(const struct guard *a, const struct guard *b)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL || a->n != b->n || a->own || b->own)
        return false;
    for (unsigned i = 0; i < a->n; i++) {
        const struct guard_check *x = &a->checks[i], *y = &b->checks[i];
        if (x->lock != y->lock || x->number != y->number)
            return false;
    }
    return true;
}

int guard_refusal(const struct guard *g, unsigned i, int64_t found, struct fault *f)
{
    const struct guard_check *c = &g->checks[i];
    if (c->kind == GUARD_LEASE)
        return fault_set(
            f, FAULT_LOCK_LOST,
            "%s: its lease is gone in Redis, as rapyerd was not heard of in time; nothing "
            "was applied",
            LOCK_TEXT(c->lock));
    char now[48] = "another one now";
    if (found >= 0)
        snprintf(now, sizeof(now), "version %" PRId64 " now", found);
    return fault_set(f, FAULT_CONFLICT,
                     "%s has %s, and %" PRId64 " was expected: somebody else has changed it in "
                     "Redis; nothing was applied",
                     c->name, now, c->number);
}
