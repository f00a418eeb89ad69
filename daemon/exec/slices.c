/* slices: what would take long is done in pieces, one in each turn of the loop; between them others
 * are served. */
#include "daemon/base/clock.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/reclaim.h"

#define SLICE_US 2000
#define ELEMENTS 1000 /* that are freed between two looks at the clock */

static void soon(void *arg)
{
    struct exec *e = arg;
    event_add(e->slice, &(struct timeval){0});
}

static void on_slice(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct exec *e = arg;
    int64_t end = clock_mono_us() + SLICE_US;
    bool more;
    while ((more = reclaim_some(ELEMENTS)) && clock_mono_us() < end)
        ;
    if (more)
        soon(e);
    else
        cache_trim(e->cache);
}

void slices_begin(struct exec *e, struct event_base *base)
{
    e->slice = evtimer_new(base, on_slice, e);
    reclaim_later(soon, e);
}

void slices_end(struct exec *e)
{
    reclaim_later(NULL, NULL);
    event_free(e->slice);
}
