/* fiber: see fiber.h. The page below the stack is not there, so that one that is too deep ends the
 * process and harms nothing else. AddressSanitizer has to be told of each change of stacks. */
#include "daemon/base/fiber.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES (512u << 10) /* pages that are never touched take no memory */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif
#ifdef SANITIZED
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(save, bottom, size) ((void)(bottom), (void)(size))
#define __sanitizer_finish_switch_fiber(save, bottom, size) ((void)(bottom), (void)(size))
#endif

struct fiber {
    ucontext_t inside, outside;
    void (*fn)(void *arg);
    void *arg;
    char *stack; /* the page that is not there first */
    size_t size;
    const void *outside_stack;
    size_t outside_size;
    bool ended;
};

static void begin(unsigned high, unsigned low)
{
    struct fiber *f = (struct fiber *)((uintptr_t)high << 32 | low);
    __sanitizer_finish_switch_fiber(NULL, &f->outside_stack, &f->outside_size);
    f->fn(f->arg);
    f->ended = true;
    __sanitizer_start_switch_fiber(NULL, f->outside_stack, f->outside_size);
    swapcontext(&f->inside, &f->outside);
    abort();
}

struct fiber *fiber_new(void (*fn)(void *arg), void *arg)
{
    struct fiber *f = alloc_zeroed(1, sizeof(*f));
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    f->fn = fn;
    f->arg = arg;
    f->size = STACK_BYTES + page;
    f->stack = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->stack == MAP_FAILED)
        alloc_end(f->size, ALLOC_HERE);
    mprotect(f->stack, page, PROT_NONE);
    getcontext(&f->inside);
    f->inside.uc_stack.ss_sp = f->stack + page;
    f->inside.uc_stack.ss_size = STACK_BYTES;
    uint64_t self = (uintptr_t)f;
    makecontext(&f->inside, (void (*)(void))begin, 2, (unsigned)(self >> 32), (unsigned)self);
    return f;
}

bool fiber_resume(struct fiber *f)
{
    void *fake = NULL;
    (void)fake;
    __sanitizer_start_switch_fiber(&fake, f->inside.uc_stack.ss_sp, f->inside.uc_stack.ss_size);
    swapcontext(&f->outside, &f->inside);
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
    return !f->ended;
}

void fiber_yield(struct fiber *f)
{
    void *fake = NULL;
    (void)fake;
    __sanitizer_start_switch_fiber(&fake, f->outside_stack, f->outside_size);
    swapcontext(&f->inside, &f->outside);
    __sanitizer_finish_switch_fiber(fake, &f->outside_stack, &f->outside_size);
}

void fiber_free(struct fiber *f)
{
    munmap(f->stack, f->size);
    free(f);
}
