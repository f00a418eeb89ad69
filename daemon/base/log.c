/* log: one write(2) per line, so that lines of a forked child and ours never mix. */
#include "daemon/base/log.h"
#include "daemon/base/clock.h"
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static enum log_level threshold = LOG_LEVEL_NOTICE;
static bool to_journal;

static const int priorities[] = {3, 4, 5, 6, 7}; /* of sd-daemon(3), by log_level */
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

void log_setup(enum log_level level)
{
    threshold = level;
    to_journal = stderr_is_journal();
}

static int line_head(char *line, size_t size, enum log_level level)
{
    struct tm tm;

    if (to_journal)
        return snprintf(line, size, "<%d>", priorities[level]);
    int64_t now = clock_wall_ms();
    time_t seconds = now / 1000;
    gmtime_r(&seconds, &tm);
    return snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s: ", tm.tm_year + 1900,
                    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now % 1000),
                    words[level]);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    int saved = errno;
    va_list args;

    if (level > threshold)
        return;
    size_t head = (size_t)line_head(line, sizeof line, level);
    va_start(args, fmt);
    int n = vsnprintf(line + head, sizeof line - head - 1, fmt, args);
    va_end(args);
    size_t len = head + (n < 0 ? 0 : (size_t)n);
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    /* What a client sent may be part of it: nothing in there may forge a second line. */
    for (size_t i = head; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[len++] = '\n';
    while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
        continue;
    errno = saved;
}
