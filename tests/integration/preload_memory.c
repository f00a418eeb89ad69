/* preload_memory: an allocator that fails once, when it is told to, for one process. It stands in
 * front of the one that the process has (that of ASan, too), and counts only what it is told to:
 * $PRELOAD_MEMORY names a file of struct orders, which the test maps as well. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct orders {
    _Atomic int64_t least;  /* smaller ones are given and not counted */
    _Atomic int64_t until;  /* the one that fails; counts down. 0: none */
    _Atomic int64_t failed; /* bytes that were asked for then */
};

static struct orders *orders;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("PRELOAD_MEMORY");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        orders = at;
}

static int fails(size_t size)
{
    if (!orders || orders->until == 0 || size < (size_t)orders->least ||
        atomic_fetch_sub(&orders->until, 1) != 1)
        return 0;
    orders->failed = (int64_t)size;
    errno = ENOMEM;
    return 1;
}

static size_t product(size_t count, size_t size)
{
    size_t n;
    return __builtin_mul_overflow(count, size, &n) ? SIZE_MAX : n;
}

/* dlsym itself does not allocate when it finds what it is asked for. */
#define REAL(type, name, ...)         \
    static type (*real)(__VA_ARGS__); \
    if (!real)                        \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void *malloc(size_t size)
{
    REAL(void *, "malloc", size_t);
    return fails(size) ? NULL : real(size);
}

void *calloc(size_t count, size_t size)
{
    REAL(void *, "calloc", size_t, size_t);
    return fails(product(count, size)) ? NULL : real(count, size);
}

void *realloc(void *p, size_t size)
{
    REAL(void *, "realloc", void *, size_t);
    return fails(size) ? NULL : real(p, size);
}

void *reallocarray(void *p, size_t count, size_t size)
{
    size_t n = product(count, size);
    if (n == SIZE_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, n);
}
