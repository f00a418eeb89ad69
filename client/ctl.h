/* ctl: what the commands of rapyerctl share: asking the daemon, printing, how it ends. */
#ifndef RAPYER_CLIENT_CTL_H
#define RAPYER_CLIENT_CTL_H

#include "client/db.h"

enum {
    EXIT_ANSWER = 1,    /* the daemon answered with another error */
    EXIT_USAGE = 2,     /* wrong usage, or JSON that is none */
    EXIT_CONNECT = 3,   /* there is no daemon */
    EXIT_NOT_THERE = 4, /* no such document, element, model, field */
    EXIT_NOT_NOW = 5,   /* Redis is away, a limit is reached, a lock is taken: try again later */
    EXIT_CHANGED = 6,   /* somebody else was faster: CONFLICT, LOCK_LOST */
    EXIT_DENIED = 7,    /* not allowed to */
    EXIT_UNKNOWN = 8,   /* done or not done */
};

struct ctl {
    rapyer *db;
    bool raw;      /* a str without quotes */
    bool json;     /* no tables, no indents */
    bool terminal; /* standard output is one */
};

/* Both say what is wrong and give the exit status. */
int ctl_usage_error(const char *what, const char *detail);
int ctl_answer_error(struct ctl *c);

/* Asks with packed parameters, which it frees. NULL: ctl_answer_error says why. */
rapyer_value *ctl_ask(struct ctl *c, const char *method, uint32_t n, struct buf *params);
/* The same, and prints the result unless quiet; the exit status. */
int ctl_call(struct ctl *c, const char *method, uint32_t n, struct buf *params, bool quiet);
/* As JSON: in several lines with indents on a terminal, else in one. */
void ctl_print(const struct ctl *c, const rapyer_value *v);
/* One of an array of JSON, before which n were printed; how it ends is up to the caller. */
void ctl_print_element(const rapyer_value *v, size_t n);
/* Compact JSON with line breaks and indents in it; free it. */
char *ctl_indented(const char *json);

/* What a program or a key is called is what somebody else says: nothing of it is to reach the
 * terminal as a command, or turn what stands beside it. Changes it in place, and returns it; NULL:
 * NULL. */
char *ctl_plain(char *s);
/* A text of a cell, as ctl_plain leaves it; free it. NULL: no memory. */
char *ctl_form(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What begins a colour on a terminal, and ends it; "" where none are wanted ($NO_COLOR). */
#define CTL_RED "\033[31m"
#define CTL_GREEN "\033[32m"
#define CTL_YELLOW "\033[33m"
#define CTL_NORMAL "\033[0m"
const char *ctl_paint(const struct ctl *c, const char *colour);

/* A table: rows of texts, columns as wide as they have to be; those whose title begins with a space
 * go to the right. On a terminal long cells are cut. `cells` is rows * columns texts, owned by the
 * caller. */
void ctl_table(const char *const *titles, unsigned columns, char *const *cells, size_t rows);
/* The same of a list, a row for each item that `fill` has filled; frees the cells. */
void ctl_table_of(const rapyer_value *list, const char *const *titles, unsigned columns,
                  void (*fill)(const rapyer_value *item, char **cells));

/* Whether the question on standard error is answered with yes: 0, or the exit status. `yes`: it is
 * not asked. Who cannot be asked has to say --yes. */
int ctl_confirm(bool yes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The whole of a file, "-": of standard input. -1: errno says why. */
int ctl_read_file(const char *name, struct buf *out);
/* JSON of an argument, "-": of standard input. items: those of an array, counted; may be NULL. 0,
 * or the exit status. */
int ctl_read_json(const char *arg, struct buf *out, uint32_t *items);

/* ctl_admin.c, ctl_top.c, ctl_monitor.c, ctl_edit.c, ctl_export.c, ctl_find.c, ctl_import.c,
 * ctl_index.c: commands, as rapyerctl.c lists them. */
typedef int ctl_command(struct ctl *c, int argc, char **argv);
ctl_command ctl_stats, ctl_metrics, ctl_clients, ctl_doctor, ctl_locks, ctl_lock, ctl_kill,
    ctl_cache, ctl_config, ctl_log, ctl_models, ctl_latency, ctl_slowlog, ctl_top, ctl_monitor,
    ctl_trace, ctl_edit, ctl_export, ctl_find, ctl_import, ctl_index, ctl_upgrade, ctl_rights;

#endif
