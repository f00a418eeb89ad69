/* memory: see memory.h. */
#include "daemon/base/memory.h"
#include "daemon/base/log.h"
#include "protocol/alloc.h"
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <malloc.h>

static void die(size_t size, const char *file, int line)
{
    log_error("no memory for %zu bytes at %s:%d; this daemon ends", size, file, line);
    abort();
}

/* ---- for libraries ---- */

static void *bytes(size_t size)
{
    return alloc_bytes(size);
}

static void *resized(void *p, size_t size)
{
    return alloc_resized(p, size, 1);
}

#if HIREDIS_MAJOR >= 1
static void *zeroed(size_t count, size_t size)
{
    return alloc_zeroed(count, size);
}

static char *copy(const char *s)
{
    return alloc_str(s);
}
#endif

void memory_setup(void)
{
    alloc_on_missing(die);
    /* What is long has pages of its own: it grows by moving them, not by being copied, and goes
     * back to the system when it is freed. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    event_set_mem_functions(bytes, resized, free);
#if HIREDIS_MAJOR >= 1
    hiredisAllocFuncs fns = {.mallocFn = bytes,
                             .callocFn = zeroed,
                             .reallocFn = resized,
                             .strdupFn = copy,
                             .freeFn = free};
    hiredisSetAllocators(&fns);
#endif
}
