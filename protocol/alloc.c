/* alloc: see alloc.h. */
#include "protocol/alloc.h"

#include <stdio.h>

#define FIRST_BYTES 64

static alloc_missing_fn *handler;

void alloc_on_missing(alloc_missing_fn *fn)
{
    handler = fn;
}

void alloc_missing(size_t size, const char *file, int line)
{
    if (handler)
        handler(size, file, line);
}

_Noreturn void alloc_end(size_t size, const char *file, int line)
{
    alloc_missing(size, file, line);
    fprintf(stderr, "%s:%d: no memory for %zu bytes\n", file, line, size);
    abort();
}

/* What a failed request was about, for the message: it may have been more than there can be. */
static size_t product(size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes;
}

void *alloc_zeroed_at(size_t count, size_t size, const char *file, int line)
{
    void *p = calloc(count ? count : 1, size);
    if (!p)
        alloc_end(product(count, size), file, line);
    return p;
}

void *alloc_resized_at(void *p, size_t count, size_t size, const char *file, int line)
{
    p = reallocarray(p, count ? count : 1, size);
    if (!p)
        alloc_end(product(count, size), file, line);
    return p;
}

void *alloc_copy_at(const void *from, size_t len, const char *file, int line)
{
    char *p = alloc_resized_at(NULL, len + 1, 1, file, line);
    if (len)
        memcpy(p, from, len);
    p[len] = '\0';
    return p;
}

char *alloc_str_at(const char *s, const char *file, int line)
{
    return s ? alloc_copy_at(s, strlen(s), file, line) : NULL;
}

char *alloc_text_at(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    char *text;

    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        alloc_end(strlen(fmt), file, line);
    return text;
}

void *alloc_try_at(void *p, size_t count, size_t size, const char *file, int line)
{
    p = reallocarray(p, count ? count : 1, size);
    if (!p)
        alloc_missing(product(count, size), file, line);
    return p;
}

size_t alloc_capacity(size_t cap, size_t need, size_t size)
{
    if (cap == 0)
        cap = size < FIRST_BYTES ? FIRST_BYTES / size : 1;
    while (cap < need)
        cap = cap > PTRDIFF_MAX / 2 ? need : cap * 2;
    return cap;
}
