/* Runs the tests; and has what the protocol takes of libuuid, which is not there for arm64 either.
 */
#include "criterion/criterion.h"
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uuid.h>

void uuid_generate_random(uuid_t out)
{
    cr_assert(getrandom(out, sizeof(uuid_t), 0) == sizeof(uuid_t));
    out[6] = (unsigned char)((out[6] & 0x0f) | 0x40);
    out[8] = (unsigned char)((out[8] & 0x3f) | 0x80);
}

void uuid_unparse_lower(const uuid_t id, char *out)
{
    for (int i = 0; i < 16; i++)
        out += sprintf(out, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id[i]);
}

struct plain_test *plain_tests;
struct plain_suite plain_suite;

/* Each in a process of its own, as Criterion has it. */
static void run(const struct plain_test *t)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (plain_suite.init != NULL)
            plain_suite.init();
        t->run();
        if (plain_suite.fini != NULL)
            plain_suite.fini();
        exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        exit(1);
}

int main(void)
{
    for (struct plain_test *t = plain_tests; t != NULL; t = t->next) {
        fprintf(stderr, "%s\n", t->name);
        run(t);
    }
    return 0;
}
