/* segment_caller: one connection of librapyer that reads as it is told, for test_segment.py.
 *
 *   fetch KEY             version KEY         load KEY PATH       many KEY [KEY ...]
 *   set KEY PATH TEXT     lock KEY            locked              unlock
 *   forked KEY            what a child says to `fetch KEY`
 *   slow MS               the timeout
 *   send KEY PATH N       an increment that nobody waits for
 *
 * Words are parted by tabs. The answer is a line: "shared" or "asked", which is whether the daemon
 * was asked, and the value as JSON, or the text of the error.
 */
#include "client/db.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 4096

static rapyer *db;
static rapyer_doc *lock;
static char *words[WORDS];

static void say(uint64_t before, rapyer_value *v)
{
    char *json = v ? rapyer_to_json(v) : NULL;

    printf("%s\t%s\n", db->numbers == before ? "shared" : "asked",
           rapyer_errcode(db) ? rapyer_errmsg(db)
           : json             ? json
                              : "null");
    fflush(stdout);
    free(json);
    rapyer_value_free(v);
}

static rapyer_value *act(const char *word, rapyer_doc *doc, size_t n)
{
    if (strcmp(word, "fetch") == 0)
        return rapyer_fetch(doc);
    if (strcmp(word, "version") == 0)
        return rapyer_fetch_version(doc);
    if (strcmp(word, "load") == 0)
        return rapyer_load(doc, words[2]);
    if (strcmp(word, "many") == 0)
        return rapyer_get_many(db, (const char *const *)words + 1, n - 1);
    if (strcmp(word, "set") == 0)
        rapyer_set(doc, words[2], "%s", words[3]);
    else if (strcmp(word, "slow") == 0)
        rapyer_set_timeout(db, atoi(words[1]));
    else if (strcmp(word, "send") == 0)
        rapyer_send_op(doc, NULL, NULL, "num.incr", words[2], "%d", atoi(words[3]));
    else if (strcmp(word, "lock") == 0)
        lock = rapyer_lock(doc, "edit", &(rapyer_lock_options){.no_document = true});
    else if (strcmp(word, "locked") == 0)
        return rapyer_fetch(lock);
    else if (strcmp(word, "unlock") == 0)
        rapyer_free(lock);
    return NULL;
}

static void obey(size_t n)
{
    uint64_t before = db->numbers;
    bool keyed = n > 1 && strchr(words[1], ':') != NULL;
    rapyer_auto_doc *doc = keyed ? rapyer_open(db, words[1]) : NULL;

    rapyer_clear_error(db);
    if (strcmp(words[0], "forked") != 0) {
        say(before, act(words[0], doc, n));
    } else if (fork() == 0) {
        say(before, rapyer_fetch(doc));
        rapyer_free(doc);
        rapyer_close(db);
        _exit(0);
    } else {
        wait(NULL);
    }
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;

    db = rapyer_connect(NULL);
    while (getline(&line, &cap, stdin) > 0) {
        size_t n = 0;
        line[strcspn(line, "\n")] = '\0';
        for (char *rest = line, *word; n < WORDS && (word = strsep(&rest, "\t")) != NULL;)
            words[n++] = word;
        obey(n);
    }
    free(line);
    rapyer_close(db);
    return 0;
}
