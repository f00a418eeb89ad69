/* As much of Criterion as the tests need that are run for another processor, where it is not
 * packaged: each test in turn, in one process, which the first failure ends. */
#ifndef RAPYER_TESTS_CRITERION_H
#define RAPYER_TESTS_CRITERION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_test {
    const char *name;
    void (*run)(void);
    struct plain_test *next;
};

extern struct plain_test *plain_tests;

/* Of the one suite that a program has; each is called around each test. */
struct plain_suite {
    void (*init)(void);
    void (*fini)(void);
    double timeout; /* nobody looks at it */
};

extern struct plain_suite plain_suite;

#define TestSuite(suite, ...)                                  \
    __attribute__((constructor)) static void suite##_add(void) \
    {                                                          \
        plain_suite = (struct plain_suite){__VA_ARGS__};       \
    }                                                          \
    struct plain_suite

#define Test(suite, name, ...)                                                            \
    static void test_##suite##_##name(void);                                              \
    __attribute__((constructor)) static void test_##suite##_##name##_add(void)            \
    {                                                                                     \
        static struct plain_test test = {#suite "::" #name, test_##suite##_##name, NULL}; \
        test.next = plain_tests;                                                          \
        plain_tests = &test;                                                              \
    }                                                                                     \
    static void test_##suite##_##name(void)

#define cr_assert(condition, ...)                                                     \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)
#define cr_expect cr_assert
#define cr_expect_not(condition, ...) cr_assert(!(condition))
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b))
#define cr_expect_eq cr_assert_eq
#define cr_assert_not cr_expect_not
#define cr_assert_fail(...) cr_assert(false)
#define cr_expect_null cr_assert_null
#define cr_assert_float_eq(a, b, epsilon, ...) \
    cr_assert((a) - (b) <= (epsilon) && (b) - (a) <= (epsilon))
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b))
#define cr_assert_null(a, ...) cr_assert((a) == NULL)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0)
#define cr_assert_arr_eq(a, b, size, ...) cr_assert(memcmp(a, b, size) == 0)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b))
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b))
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b))
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b))
#define cr_expect_gt(a, b, ...) cr_assert((a) > (b))

#endif
