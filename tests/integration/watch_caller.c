/* watch_caller: one connection of librapyer that watches as it is told, for test_watch_client.py.
 *
 *   watch KEY PATH     with a callback; the version
 *   keep KEY PATH      without; the version
 *   unwatch KEY PATH
 *   wait MS            the next change of what is kept
 *   loop MS            an event loop, until a callback was called
 *   nest KEY PATH      with a callback that loads the path, ends the watch, and begins it anew
 *   incr KEY PATH      a call that waits, and so calls back
 *   forked KEY PATH    what a child hears when it is told to wait
 *   timeout MS
 *
 * Words are parted by tabs. Lines of callbacks begin with "called", all others are answers.
 */
#include "client/db.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static rapyer *db;
static char *words[8];
static unsigned called;

static void say_change(const char *what, const rapyer_change *c)
{
    printf("%s\t%s\t%lld\t", what, c->key, (long long)c->version);
    for (size_t i = 0; i < c->npaths; i++)
        printf("%s%s", i ? " " : "", c->npaths && *c->paths[i] ? c->paths[i] : "\"\"");
    printf("%s\n", c->paths ? "" : "anything");
    fflush(stdout);
}

static void say_number(int64_t n)
{
    if (rapyer_errcode(db))
        printf("%s\n", rapyer_errmsg(db));
    else
        printf("%lld\n", (long long)n);
    fflush(stdout);
}

static void on_change(rapyer *of, const rapyer_change *c, void *user)
{
    (void)of;
    called++;
    if (c)
        say_change(user, c);
    else
        printf("called\t%s\n", rapyer_errmsg(db));
    fflush(stdout);
}

static void on_nested(rapyer *of, const rapyer_change *c, void *user)
{
    char *key = strdup(c->key);
    rapyer_auto_doc *doc = rapyer_open(of, key);
    rapyer_auto_value *v = rapyer_load(doc, "age");
    (void)user;
    called++;
    printf("called\t%s\t%lld\t", key, (long long)rapyer_int(v, "", -1));
    printf("%d\t", rapyer_unwatch(of, key, ""));
    printf("%d\n", rapyer_watch(of, key, "", on_nested, NULL) >= c->version);
    fflush(stdout);
    free(key);
}

static void loop(int ms)
{
    unsigned before = called;
    for (int left = ms; left > 0 && called == before;) {
        struct pollfd p = {rapyer_fd(db), rapyer_events(db), 0};
        int due = rapyer_timeout_ms(db), step = due < 0 || due > 20 ? 20 : due;
        int n = poll(&p, 1, step);
        rapyer_process(db, n > 0 ? p.revents : 0);
        left -= step;
    }
    printf("%s\n", called == before ? "nothing" : "done");
    fflush(stdout);
}

static void wait_change(int ms)
{
    const rapyer_change *c;
    int got = rapyer_wait_change(db, ms, &c);
    if (got > 0)
        say_change("change", c);
    else
        printf("%s\n", got == 0 ? "none" : rapyer_errmsg(db));
    fflush(stdout);
}

static void obey(const char *word)
{
    static char tag[] = "called";
    const char *path = words[2] ? words[2] : "";
    int64_t now = 0;
    rapyer_clear_error(db);
    if (strcmp(word, "watch") == 0) {
        say_number(rapyer_watch(db, words[1], path, on_change, tag));
    } else if (strcmp(word, "nest") == 0) {
        say_number(rapyer_watch(db, words[1], path, on_nested, NULL));
    } else if (strcmp(word, "keep") == 0) {
        say_number(rapyer_watch(db, words[1], path, NULL, NULL));
    } else if (strcmp(word, "unwatch") == 0) {
        say_number(rapyer_unwatch(db, words[1], path));
    } else if (strcmp(word, "timeout") == 0) {
        rapyer_set_timeout(db, atoi(words[1]));
        say_number(0);
    } else if (strcmp(word, "incr") == 0) {
        rapyer_auto_doc *doc = rapyer_open(db, words[1]);
        rapyer_incr(doc, path, 1, &now);
        say_number(now);
    } else if (strcmp(word, "wait") == 0) {
        wait_change(atoi(words[1]));
    } else if (strcmp(word, "loop") == 0) {
        loop(atoi(words[1]));
    } else if (strcmp(word, "forked") == 0) {
        if (fork() == 0) {
            wait_change(10000);
            rapyer_close(db);
            _exit(0);
        }
        wait(NULL);
    }
}

int main(void)
{
    static char line[4096];
    db = rapyer_connect(NULL);
    while (fgets(line, sizeof line, stdin)) {
        size_t n = 0;
        line[strcspn(line, "\n")] = '\0';
        memset(words, 0, sizeof words);
        for (char *at = line; at && n < 8; n++)
            words[n] = strsep(&at, "\t");
        obey(words[0]);
    }
    rapyer_close(db);
    return 0;
}
