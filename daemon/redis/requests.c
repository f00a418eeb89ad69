/* requests: see requests.h. at[(head + i) & (cap - 1)] is the one behind i others. */
#include "daemon/redis/requests.h"
#include "protocol/alloc.h"
#include <stdlib.h>

void requests_push(struct requests *r, const struct request *request)
{
    r->pushed++;
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct request *at = alloc_zeroed(cap, sizeof(*at));
        for (size_t i = 0; i < r->count; i++)
            at[i] = r->at[(r->head + i) & (r->cap - 1)];
        free(r->at);
        *r = (struct requests){.at = at, .cap = cap, .count = r->count, .pushed = r->pushed};
    }
    r->at[(r->head + r->count++) & (r->cap - 1)] = *request;
}

struct request *requests_first(struct requests *r)
{
    return r->count ? &r->at[r->head] : NULL;
}

void requests_pop(struct requests *r)
{
    r->head = (r->head + 1) & (r->cap - 1);
    r->count--;
}

void requests_tell_lost(struct requests *r)
{
    struct requests lost = *r;
    *r = (struct requests){.pushed = lost.pushed};
    for (; lost.count; requests_pop(&lost)) {
        struct request *request = requests_first(&lost);
        request->fn(request->arg, request->index, NULL);
    }
    free(lost.at);
}

void requests_free(struct requests *r)
{
    free(r->at);
}
