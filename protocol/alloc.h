/* alloc: memory, and what happens when there is none. What daemon and library share allocates
 * here, and so does all of the daemon; the answer is given once for each of the two:
 *
 *   the daemon   ends. It sets a handler at its start that says where in the code and how much, and
 *                does not return. So nothing in it has to look for NULL, and nothing can go on with
 *                half of what it should hold.
 *   the library  reports an error, as it lives in somebody else's process. It sets no handler.
 *
 * What may not fail halfway is asked for by the functions that never give NULL; without a handler
 * they end the process as well. Where the caller can tell his own caller, he uses alloc_try().
 *
 * Not for trees: what they take is counted besides (tree_alloc, in cell.h).
 */
#ifndef RAPYER_PROTOCOL_ALLOC_H
#define RAPYER_PROTOCOL_ALLOC_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALLOC_HERE __FILE__, __LINE__

/* There are not `size` bytes for what stands in this line. */
typedef void alloc_missing_fn(size_t size, const char *file, int line);

/* For the whole process, before anything else; the handler must not allocate. */
void alloc_on_missing(alloc_missing_fn *fn);
/* What does its own allocation reports it here. Returns only where there is no handler. */
void alloc_missing(size_t size, const char *file, int line);
/* The same, where nobody can be told: never returns. */
_Noreturn void alloc_end(size_t size, const char *file, int line);

/* ---- never NULL ---- */

/* count elements of size bytes, all zero. Whoever is given memory by these frees it with free(). */
#define alloc_zeroed(count, size) alloc_zeroed_at(count, size, ALLOC_HERE)
#define alloc_bytes(n) alloc_resized_at(NULL, n, 1, ALLOC_HERE) /* not zeroed */
#define alloc_resized(p, count, size) alloc_resized_at(p, count, size, ALLOC_HERE)
/* A copy of len bytes with a NUL behind it. */
#define alloc_copy(from, len) alloc_copy_at(from, len, ALLOC_HERE)
/* The same of a string. NULL stays NULL. */
#define alloc_str(s) alloc_str_at(s, ALLOC_HERE)
/* As printf. */
#define alloc_text(...) alloc_text_at(ALLOC_HERE, __VA_ARGS__)

void *alloc_zeroed_at(size_t count, size_t size, const char *file, int line);
void *alloc_resized_at(void *p, size_t count, size_t size, const char *file, int line);
void *alloc_copy_at(const void *from, size_t len, const char *file, int line);
char *alloc_str_at(const char *s, const char *file, int line);
char *alloc_text_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- NULL where there is no handler ---- */

/* Not zeroed. */
#define alloc_try(count, size) alloc_try_at(NULL, count, size, ALLOC_HERE)
/* NULL leaves p as it was. */
#define alloc_try_resized(p, count, size) alloc_try_at(p, count, size, ALLOC_HERE)

void *alloc_try_at(void *p, size_t count, size_t size, const char *file, int line);

/* ---- arrays that grow ---- */

/* Makes room behind the n elements of the array at `at` (NULL at first) for `more`. The array is a
 * pointer, n and cap are unsigned integers of any width; at and cap are changed when it moves. */
#define vec_room(at, n, cap, more)                                          \
    do {                                                                    \
        size_t vec_need_ = (size_t)(n) + (more);                            \
        if (vec_need_ > (cap)) {                                            \
            size_t vec_cap_ = alloc_capacity(cap, vec_need_, sizeof *(at)); \
            (at) = alloc_resized(at, vec_cap_, sizeof *(at));               \
            (cap) = (__typeof__(cap))vec_cap_;                              \
        }                                                                   \
    } while (0)

/* Appends one element; n counts it. */
#define vec_push(at, n, cap, ...)  \
    do {                           \
        vec_room(at, n, cap, 1);   \
        (at)[(n)++] = __VA_ARGS__; \
    } while (0)

/* The same for an array that begins in its owner, as the one element `one`: most stay that short.
 */
#define vec_push_inside(at, n, cap, one, ...)                                  \
    do {                                                                       \
        if ((cap) == 0) {                                                      \
            (at) = &(one);                                                     \
            (cap) = 1;                                                         \
        } else if ((n) == (cap)) {                                             \
            __typeof__(at) vec_at_ = (at) == &(one) ? NULL : (at);             \
            vec_at_ = alloc_resized(vec_at_, 2 * (size_t)(cap), sizeof *(at)); \
            if ((at) == &(one))                                                \
                *vec_at_ = (one);                                              \
            (at) = vec_at_;                                                    \
            (cap) *= 2;                                                        \
        }                                                                      \
        (at)[(n)++] = __VA_ARGS__;                                             \
    } while (0)

/* How many places an array with `cap` of them gets that needs `need`: twice as many, for as long
 * as that is not enough, beginning with 64 bytes. */
size_t alloc_capacity(size_t cap, size_t need, size_t size);

#endif
