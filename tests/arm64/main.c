#include "criterion/criterion.h"

struct plain_test *plain_tests;

int main(void)
{
    for (struct plain_test *t = plain_tests; t != NULL; t = t->next) {
        fprintf(stderr, "%s\n", t->name);
        t->run();
    }
    return 0;
}
