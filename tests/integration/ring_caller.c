/* ring_caller: one connection of librapyer that does what it is told, for test_rings.py.
 *
 *   incr N     N increments of User:ada, one after the other     ► the last number
 *   bytes N    stores N bytes there, and reads them again        ► N
 *   fork N     incr N in a child, and at the same time here      ► the last number here
 *   lock 0     takes the lock "edit" of User:ada                 ► 0
 *   locked N   sets its age to N under that lock                 ► 0
 *
 * An answer is a line; for what failed, the text of the error.
 */
#include <rapyer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY "User:ada"

static rapyer *db;
static rapyer_doc *lock;

static long long increments(long n)
{
    long long last = 0;

    for (long i = 0; i < n; i++) {
        rapyer_auto_value *v = rapyer_call(db, "num.incr", "%s, age, 1", KEY);
        last = v ? rapyer_int(v, "", 0) : -1;
    }
    return last;
}

static long long both(long n)
{
    int status = 1;
    pid_t child = fork();

    if (child == 0)
        _exit(increments(n) > 0 && !rapyer_errcode(db) ? 0 : 1);
    long long last = increments(n);
    waitpid(child, &status, 0);
    return status == 0 ? last : -1;
}

static long long bytes(long n)
{
    char *text = malloc((size_t)n + 1);

    for (long i = 0; i < n; i++)
        text[i] = (char)('a' + i % 23);
    text[n] = '\0';
    rapyer_auto_value *set = rapyer_call(db, "set", "%s, bio, %s", KEY, text);
    rapyer_auto_value *v = rapyer_call(db, "doc.load", "%s, bio", KEY);
    bool same = set && v && strcmp(rapyer_str(v, "", ""), text) == 0;
    free(text);
    return same ? n : -1;
}

static long long obey(const char *word, long n)
{
    if (strcmp(word, "incr") == 0)
        return increments(n);
    if (strcmp(word, "bytes") == 0)
        return bytes(n);
    if (strcmp(word, "fork") == 0)
        return both(n);
    if (strcmp(word, "lock") == 0)
        return (lock = rapyer_lock_from_key(db, KEY, "edit", NULL)) ? 0 : -1;
    return rapyer_set(lock, "age", "%ld", n);
}

int main(void)
{
    char word[16];
    long n;

    db = rapyer_connect(NULL);
    while (scanf("%15s %ld", word, &n) == 2) {
        rapyer_clear_error(db);
        long long result = obey(word, n);
        if (rapyer_errcode(db))
            printf("%s\n", rapyer_errmsg(db));
        else
            printf("%lld\n", result);
        fflush(stdout);
    }
    rapyer_free(lock);
    rapyer_close(db);
    return 0;
}
