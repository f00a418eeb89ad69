/* log: one line for each event, with who it is about.
 *
 * To standard error, as text, logfmt or JSON; or, where that is the journal of systemd, to the
 * journal with fields of their own (RAPYERD_CLIENT, ...). Of one cause so many lines are written in
 * some seconds, and then how many were not. Set up once; level and format can change at any time.
 */
#ifndef RAPYERD_LOG_H
#define RAPYERD_LOG_H

#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

enum log_format { LOG_TEXT, LOG_LOGFMT, LOG_JSON };

/* Who and what a line is about; what is 0 or NULL is not said. */
struct log_about {
    uint64_t client; /* the number of its connection */
    const char *program;
    long pid, uid;           /* said with `client` */
    const uint64_t *request; /* the id that it gave its request */
    const char *code;        /* of a fault */
    const char *trace;       /* what the client says that it belongs to: a trace id, in hex */
};

void log_setup(enum log_level level, enum log_format format);
/* about may be NULL. */
void log_about(enum log_level level, const struct log_about *about, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Says of what was not written that it was not. At the end. */
void log_end(void);

#define log_line(level, ...) log_about(level, NULL, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
