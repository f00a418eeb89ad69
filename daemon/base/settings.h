/* settings: the table of them. Everything about a setting stands in one row: config.c, which reads
 * files and overrides, and the sample file only walk over it. */
#ifndef RAPYERD_SETTINGS_H
#define RAPYERD_SETTINGS_H

#include "daemon/base/config.h"

enum setting_kind {
    TEXT,  /* char * */
    COUNT, /* unsigned */
    SIZE,  /* size_t, bytes */
    TIME,  /* unsigned, milliseconds */
    MODE,  /* unsigned, octal */
    /* One word of several (setting_words), as an enum: */
    LEVEL,  /* enum log_level */
    FORMAT, /* enum log_format */
    VIEWER, /* enum viewer_level */
    LEAVE,  /* enum leave */
};

struct setting {
    const char *section, *name;
    enum setting_kind kind;
    size_t offset;
    const char *value; /* the default, as one would write it */
    uint64_t min, max; /* of numbers; of TEXT: the length in bytes */
    bool reloadable;
    const char *help;
};

#define PASSWORD_BYTES 1024
#define SOCKET_DEFAULT "/run/rapyerd/rapyerd.sock"
#define STATE_DEFAULT "/var/lib/rapyerd"

extern const struct setting settings[];
extern const size_t nsettings;

static inline void *setting_field(struct config *c, const struct setting *s)
{
    return (char *)c + s->offset;
}

/* The words of a kind in the order of their enum, NULL at the end; NULL: it has none. */
const char *const *setting_words(enum setting_kind kind);
/* What a text of this kind looks like, for messages. */
const char *setting_shape(enum setting_kind kind);
/* Writes a number the way one would in the file: with the largest unit that divides it. */
void setting_show(char *out, size_t size, enum setting_kind kind, uint64_t v);
/* What a setting is now, as one would write it; a secret as "(set)". Cut at `size`. */
void setting_text(char *out, size_t size, struct config *c, const struct setting *s);
/* "limits.max_frame"; NULL: there is none of that name. */
const struct setting *setting_named(const char *name);
/* 0, or -1 when the text is no number of this kind; what does not fit becomes UINT64_MAX. */
int setting_read(enum setting_kind kind, const char *text, uint64_t *out);

#endif
