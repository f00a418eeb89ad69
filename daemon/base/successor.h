/* successor: the program that goes on in this process in place of the one that runs (exec).
 *
 *   successor_try ──► a child: the new program takes up the state, says so, and ends
 *   successor_exec ─► this process is the new program; its pid, children and descriptors stay
 *                       └─ it cannot go on after all ─► successor_go_back: the old one again
 *
 * The new program is told by an environment variable where the state is (state.h); the descriptors
 * in it are where they were.
 */
#ifndef RAPYERD_SUCCESSOR_H
#define RAPYERD_SUCCESSOR_H

#include "daemon/base/state.h"
#include <sys/types.h>

/* What this process was started with, and for. */
struct inheritance {
    int memory;   /* -1: it was started anew */
    int way_back; /* the program that ran before; -1: there is none */
    int report;   /* it is only tried: where it says how that went; else -1 */
    int returned; /* the one after it could not go on, and came back */
};

/* At the very start, once: the variable is gone then, so that no child finds it. */
struct inheritance successor_inherit(void);
/* Only tried: says that it could go on, or why not, and ends. */
_Noreturn void successor_report(const struct inheritance *in, const char *why_not);

struct trial {
    pid_t pid; /* 0: none runs */
    int report;
    char text[512]; /* what it has said so far */
};

/* Starts the program with these arguments on this state; its descriptors are there in the child. -1
 * with errno: it cannot be executed. */
int successor_try(struct trial *t, const char *program, char *const argv[],
                  const struct state_writer *w, int memory);
/* Reads what t->report has; true: it has come to its end. */
bool trial_read(struct trial *t);
/* The same, for `ms` at most; false: it has not. */
bool trial_wait(struct trial *t, int64_t ms);
/* Ends it, and says how it went: NULL, and t->text is the version of the new program; or why it
 * cannot go on, for a person. */
const char *trial_end(struct trial *t);

/* Returns only when it fails: -1 with errno, and all is as before. All signals are blocked across
 * it; the new program lets them come when it handles them. */
int successor_exec(const char *program, char *const argv[], const struct state_writer *w,
                   int memory);
/* The same back, for as long as nothing was touched. s: what was taken over, empty if nothing was.
 */
int successor_go_back(const struct inheritance *in, char *const argv[],
                      const struct saved_state *s);

#endif
