/* reclaim: see reclaim.h. */
#include "protocol/reclaim.h"
#include "protocol/alloc.h"
#include "protocol/tree_private.h"

#define SMALL 16      /* elements of what never waits */
#define AT_ONCE 10000 /* elements that are freed in a turn before big ones wait */

static _Thread_local struct {
    void (*on_waiting)(void *arg);
    void *arg;
    struct container **waiting; /* the last one is next */
    size_t n, cap;
    size_t freed; /* elements, in this turn */
} reclaim;

void reclaim_later(void (*on_waiting)(void *arg), void *arg)
{
    reclaim.on_waiting = on_waiting;
    reclaim.arg = arg;
    while (on_waiting == NULL && reclaim_some(SIZE_MAX))
        ;
    if (on_waiting == NULL) {
        free(reclaim.waiting);
        reclaim.waiting = NULL;
        reclaim.cap = 0;
    }
}

bool reclaim_waiting(void)
{
    return reclaim.n > 0;
}

bool reclaim_take(struct container *c)
{
    if (reclaim.on_waiting == NULL || !container_loaded(c) || c->len < SMALL ||
        container_kind(c)->shed == NULL)
        return false;
    if (c->len <= AT_ONCE && reclaim.freed <= AT_ONCE - c->len) {
        reclaim.freed += c->len;
        return false;
    }
    vec_push(reclaim.waiting, reclaim.n, reclaim.cap, c);
    if (reclaim.n == 1)
        reclaim.on_waiting(reclaim.arg);
    return true;
}

bool reclaim_some(size_t n)
{
    reclaim.freed = 0;
    while (reclaim.n > 0 && n > 0) {
        struct container *c = reclaim.waiting[--reclaim.n];
        size_t some = n < c->len ? n : c->len;
        reclaim.freed += some; /* what is in them may wait in its turn */
        n -= some;
        container_kind(c)->shed(c, some);
        if (c->len > 0) {
            vec_push(reclaim.waiting, reclaim.n, reclaim.cap, c);
        } else {
            container_kind(c)->empty(c);
            tree_free(c);
        }
    }
    return reclaim.n > 0;
}
