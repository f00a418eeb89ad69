/* log: see log.h. One write(2) for each line, so that lines of a forked child and ours never mix;
 * and no memory is asked for, as the lack of it is logged, too. */
#include "daemon/base/log.h"
#include "daemon/base/clock.h"
#include "protocol/cursor.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define TEXT_BYTES 2048
#define LINE_BYTES (6 * TEXT_BYTES + 1024) /* each byte of a text may take six in JSON */
#define FIELDS 10

/* Lines of one cause in so many ms. */
#define BURST 20
#define BURST_MS 10000
#define CAUSES 64
#define BEGINNING 60 /* bytes of a line that say which one it was */

struct cause {
    uint64_t name; /* 0: none */
    int64_t since;
    unsigned lines;
    enum log_level level;
    char text[BEGINNING];
};

struct line {
    char text[LINE_BYTES];
    size_t len;
};

static enum log_level threshold = LOG_LEVEL_NOTICE;
static enum log_format format;
static bool to_journal;
static struct cause causes[CAUSES];

static const int priorities[] = {3, 4, 5, 6, 7}; /* of syslog(3), by log_level */
static const char *const words[] = {"error", "warning", "notice", "info", "debug"};

/* JOURNAL_STREAM may be inherited by a daemon whose standard error was sent elsewhere since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_setup(enum log_level level, enum log_format as)
{
    threshold = level;
    format = as;
    to_journal = stderr_is_journal();
}

/* --- forms ------------------------------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3))) put(struct line *l, const char *fmt, ...)
{
    va_list args;
    size_t room = sizeof l->text - 1 - l->len; /* one for the end of the line */

    va_start(args, fmt);
    int n = vsnprintf(l->text + l->len, room, fmt, args);
    va_end(args);
    l->len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* In quotes; both forms escape in this way. */
static void put_quoted(struct line *l, const char *text)
{
    put(l, "\"");
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            put(l, "\\%c", *at);
        else
            put(l, "%c", *at);
    }
    put(l, "\"");
}

static void put_pair(struct line *l, const char *name, const char *text)
{
    if (format == LOG_JSON)
        put(l, "%s\"%s\":", l->len == 1 ? "" : ",", name);
    else
        put(l, "%s%s=", l->len == 0 ? "" : " ", name);
    if (format == LOG_LOGFMT && *text && !strpbrk(text, " \"=\\"))
        put(l, "%s", text);
    else
        put_quoted(l, text);
}

static void put_number(struct line *l, const char *name, int64_t n)
{
    put(l, format == LOG_JSON ? ",\"%s\":%" PRId64 : " %s=%" PRId64, name, n);
}

static void put_time(char *out, size_t size)
{
    int64_t now = clock_wall_ms();
    time_t seconds = now / 1000;
    struct tm tm;

    gmtime_r(&seconds, &tm);
    snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now % 1000));
}

static void put_fields(struct line *l, enum log_level level, const struct log_about *about,
                       const char *text)
{
    char when[64];

    put_time(when, sizeof when);
    if (format == LOG_JSON)
        put(l, "{");
    put_pair(l, "time", when);
    put_pair(l, "level", words[level]);
    if (about && about->client) {
        put_number(l, "client", (int64_t)about->client);
        put_pair(l, "program", about->program);
        put_number(l, "pid", about->pid);
        put_number(l, "uid", about->uid);
    }
    if (about && about->request)
        put_number(l, "request", (int64_t)*about->request);
    if (about && about->trace)
        put_pair(l, "trace", about->trace);
    if (about && about->code)
        put_pair(l, "code", about->code);
    put_pair(l, "msg", text);
    if (format == LOG_JSON)
        put(l, "}");
}

/* Who it is about stands before what is said. */
static void put_about(struct line *l, const struct log_about *about)
{
    if (about && about->client)
        put(l, "client %" PRIu64 " (%s, pid %ld, uid %ld)%s", about->client, about->program,
            about->pid, about->uid, about->request ? ", " : ": ");
    if (about && about->request)
        put(l, "request %" PRIu64, *about->request);
    if (about && about->trace)
        put(l, ", trace %s", about->trace);
    if (about && about->request)
        put(l, ": ");
}

static void put_text(struct line *l, enum log_level level, const struct log_about *about,
                     const char *text)
{
    char when[64];

    if (to_journal) {
        put(l, "<%d>", priorities[level]);
    } else {
        put_time(when, sizeof when);
        put(l, "%s %s: ", when, words[level]);
    }
    put_about(l, about);
    put(l, "%s", text);
}

/* --- the journal ------------------------------------------------------------------------- */

struct fields {
    char texts[FIELDS][TEXT_BYTES + 128];
    struct iovec all[FIELDS];
    int n;
};

static void __attribute__((format(printf, 2, 3))) add(struct fields *f, const char *fmt, ...)
{
    va_list args;
    char *text = f->texts[f->n];

    va_start(args, fmt);
    vsnprintf(text, sizeof f->texts[0], fmt, args);
    va_end(args);
    f->all[f->n++] = (struct iovec){text, strlen(text)};
}

static bool tell_journal(enum log_level level, const struct log_about *about, const char *text)
{
    static struct fields f; /* who logs may stand on a small stack */
    static struct line who;

    f.n = 0;
    who.len = 0;
    put_about(&who, about);
    add(&f, "MESSAGE=%.*s%s", (int)who.len, who.text, text);
    add(&f, "PRIORITY=%d", priorities[level]);
    add(&f, "SYSLOG_IDENTIFIER=rapyerd");
    if (about && about->client) {
        add(&f, "RAPYERD_CLIENT=%" PRIu64, about->client);
        add(&f, "RAPYERD_PROGRAM=%s", about->program);
        add(&f, "RAPYERD_PID=%ld", about->pid);
        add(&f, "RAPYERD_UID=%ld", about->uid);
    }
    if (about && about->request)
        add(&f, "RAPYERD_REQUEST=%" PRIu64, *about->request);
    if (about && about->trace)
        add(&f, "RAPYERD_TRACE=%s", about->trace);
    if (about && about->code)
        add(&f, "RAPYERD_CODE=%s", about->code);
    return sd_journal_sendv(f.all, f.n) == 0;
}

/* --- */

static void tell(enum log_level level, const struct log_about *about, const char *text)
{
    static struct line l;

    if (to_journal && tell_journal(level, about, text))
        return;
    l.len = 0;
    if (format == LOG_TEXT || to_journal)
        put_text(&l, level, about, text);
    else
        put_fields(&l, level, about, text);
    l.text[l.len++] = '\n';
    while (write(STDERR_FILENO, l.text, l.len) < 0 && errno == EINTR)
        continue;
}

/* What a client sent may be part of it: nothing in there may forge a second line, and a text that
 * was cut within a character is UTF-8 all the same. */
static void make_plain(char *text, size_t cut_at)
{
    size_t len = strlen(text);

    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    if (len >= cut_at) {
        while (len > 0 && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
            len--;
        if (len > 0 && (unsigned char)text[len - 1] >= 0xc0)
            len--;
        text[len] = '\0';
    }
    for (char *at = text; *at && !utf8_valid(text, len); at++) /* of a Redis that says anything */
        if ((unsigned char)*at >= 0x80)
            *at = '?';
}

/* --- how often --------------------------------------------------------------------------- */

/* A line is one of a cause by what stands in the code; by what it says where that is all. */
static uint64_t cause_of(const char *fmt, const char *text)
{
    uint64_t hash = 1469598103934665603u;

    if (strcmp(fmt, "%s") != 0)
        return (uintptr_t)fmt;
    for (const char *at = text; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    return hash | 1;
}

static void close_cause(struct cause *c)
{
    char text[BEGINNING + 128];

    if (c->lines > BURST) {
        snprintf(text, sizeof text, "%u more lines in %d s as \"%s\" were not written",
                 c->lines - BURST, BURST_MS / 1000, c->text);
        tell(c->level, NULL, text);
    }
    c->name = 0;
}

/* One that has the place of another ends that. */
static bool may_tell(enum log_level level, const char *fmt, const char *text)
{
    int64_t now = clock_mono_ms();
    uint64_t name = cause_of(fmt, text);
    struct cause *mine = &causes[(name >> 4) % CAUSES];

    for (struct cause *c = causes; c < causes + CAUSES; c++)
        if (c->name && (now - c->since >= BURST_MS || (c == mine && c->name != name)))
            close_cause(c);
    if (mine->name == 0) {
        *mine = (struct cause){.name = name, .since = now, .level = level};
        snprintf(mine->text, sizeof mine->text, "%s", text);
        make_plain(mine->text, sizeof mine->text - 1);
    }
    return ++mine->lines <= BURST;
}

void log_about(enum log_level level, const struct log_about *about, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    int saved = errno;
    va_list args;

    if (level > threshold)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    make_plain(text, sizeof text - 1);
    if (level >= LOG_LEVEL_INFO || may_tell(level, fmt, text))
        tell(level, about, text);
    errno = saved;
}

void log_end(void)
{
    for (struct cause *c = causes; c < causes + CAUSES; c++)
        if (c->name)
            close_cause(c);
}
