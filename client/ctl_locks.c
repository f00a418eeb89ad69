/* ctl_locks: see ctl_locks.h.
 *
 *   KEY     PATH  ACTION    MODE       PID   UID   PROGRAM      AGE
 *   User:1        transfer  exclusive  4711  1000  transfers    0.2
 *     1.                    exclusive  4712  1000  transfers    0.1    waits
 */
#include "client/ctl_locks.h"
#include "client/ctl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY, PATH, ACTION, MODE, PID, UID, PROGRAM, AGE, COLUMNS };

struct table {
    char *(*rows)[COLUMNS];
    size_t n, cap;
};

static char *text(const rapyer_value *v, const char *path)
{
    return ctl_plain(strdup(rapyer_str(v, path, "")));
}

static char *number(const char *fmt, double n)
{
    char *s;
    return asprintf(&s, fmt, n) < 0 ? NULL : s;
}

static char **add_row(struct table *t)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        void *more = reallocarray(t->rows, cap, sizeof *t->rows);
        if (!more)
            return NULL;
        t->rows = more;
        t->cap = cap;
    }
    char **row = t->rows[t->n++];
    memset(row, 0, sizeof t->rows[0]);
    return row;
}

static void add_heads(struct table *t)
{
    static const char *const heads[COLUMNS] = {"KEY", "PATH", "ACTION",  "MODE",
                                               "PID", "UID",  "PROGRAM", "AGE"};
    char **row = add_row(t);
    for (int i = 0; row && i < COLUMNS; i++)
        row[i] = strdup(heads[i]);
}

static void put_name(char **row, const rapyer_value *lock)
{
    row[KEY] = text(lock, "key");
    row[PATH] = text(lock, "path");
    row[ACTION] = text(lock, "action");
}

static void put_who(char **row, const rapyer_value *who, const char *after)
{
    char *age;
    row[MODE] = text(who, "mode");
    row[PID] = number("%.0f", (double)rapyer_int(who, "pid", 0));
    row[UID] = number("%.0f", (double)rapyer_int(who, "uid", 0));
    row[PROGRAM] = text(who, "program");
    row[AGE] = asprintf(&age, "%.1f%s", rapyer_float(who, "age", 0), after) < 0 ? NULL : age;
}

static void add_lock(struct table *t, const rapyer_value *lock)
{
    const rapyer_value *holders = rapyer_get(lock, "holders"),
                       *waiters = rapyer_get(lock, "waiters");
    const char *elsewhere = rapyer_str(lock, "elsewhere", "");
    char **row, *where;
    for (size_t i = 0; i < rapyer_len(holders) && (row = add_row(t)); i++) {
        put_name(row, lock);
        put_who(row, rapyer_item(holders, i), "");
    }
    if (!rapyer_len(holders) && (*elsewhere || rapyer_len(waiters)) && (row = add_row(t))) {
        put_name(row, lock);
        row[MODE] = strdup(*elsewhere ? "elsewhere" : "free");
        if (*elsewhere)
            row[PROGRAM] = asprintf(&where, "daemon %s", elsewhere) < 0 ? NULL : ctl_plain(where);
    }
    for (size_t i = 0; i < rapyer_len(waiters) && (row = add_row(t)); i++) {
        row[KEY] = number("  %.0f.", (double)i + 1);
        put_who(row, rapyer_item(waiters, i), "  waits");
    }
}

/* In characters, as far as they are one column each. */
static int width(const char *s)
{
    int n = 0;
    for (; s && *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_rows(const struct table *t)
{
    int widths[COLUMNS] = {0};
    for (size_t i = 0; i < t->n; i++) {
        for (int c = 0; c < COLUMNS; c++)
            widths[c] = width(t->rows[i][c]) > widths[c] ? width(t->rows[i][c]) : widths[c];
    }
    for (size_t i = 0; i < t->n; i++) {
        for (int c = 0; c < AGE; c++) {
            const char *s = t->rows[i][c] ? t->rows[i][c] : "";
            printf("%s%*s", s, widths[c] - width(s) + 2, "");
        }
        printf("%s\n", t->rows[i][AGE] ? t->rows[i][AGE] : "");
    }
}

int ctl_locks_print(const rapyer_value *locks)
{
    struct table t = {0};
    add_heads(&t);
    for (size_t i = 0; i < rapyer_len(locks); i++)
        add_lock(&t, rapyer_item(locks, i));
    if (t.n > 1)
        print_rows(&t);
    for (size_t i = 0; i < t.n; i++) {
        for (int c = 0; c < COLUMNS; c++)
            free(t.rows[i][c]);
    }
    free(t.rows);
    return t.n ? 0 : -1;
}
