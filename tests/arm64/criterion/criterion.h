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

#define Test(suite, name, ...)                                                     \
    static void suite##_##name(void);                                              \
    __attribute__((constructor)) static void suite##_##name##_add(void)            \
    {                                                                              \
        static struct plain_test test = {#suite "::" #name, suite##_##name, NULL}; \
        test.next = plain_tests;                                                   \
        plain_tests = &test;                                                       \
    }                                                                              \
    static void suite##_##name(void)

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
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b))
#define cr_expect_gt(a, b, ...) cr_assert((a) > (b))

#endif
