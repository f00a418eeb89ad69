/* config: everything about a setting stands in one row of the table below; the parser, the
 * overrides, reload and the sample file only walk over it.
 */
#include "daemon/base/config.h"
#include "protocol/alloc.h"
#include "protocol/ring.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/rapyerd/rapyerd.conf"
#define LINE_BYTES 4096
#define PASSWORD_BYTES 1024

enum kind {
    TEXT,  /* char * */
    COUNT, /* unsigned */
    SIZE,  /* size_t, bytes */
    TIME,  /* unsigned, milliseconds */
    MODE,  /* unsigned, octal */
    LEVEL, /* enum log_level */
};

struct setting {
    const char *section, *name;
    enum kind kind;
    size_t offset;
    const char *value; /* the default, as one would write it */
    uint64_t min, max; /* of numbers; of TEXT: the length in bytes */
    bool reloadable;
    const char *help;
};

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define HOUR (3600u * 1000u)
#define AT(field) offsetof(struct config, field)
#define SOCKET_DEFAULT "/run/rapyerd/rapyerd.sock"
#define STATE_DEFAULT "/var/lib/rapyerd"

static const struct setting table[] = {
    {"listen", "socket", TEXT, AT(socket), SOCKET_DEFAULT, 1,
     sizeof(((struct sockaddr_un *)0)->sun_path) - 1, false,
     "Where clients connect. Below $RUNTIME_DIRECTORY when systemd gives one; for users other\n"
     "than root the default is $XDG_RUNTIME_DIR/rapyerd/rapyerd.sock, or ~/.rapyerd.sock where "
     "that\n"
     "is not set. Not used when systemd hands the socket over."},
    {"listen", "socket_owner", TEXT, AT(socket_owner), "", 0, 255, false,
     "User (name or number) the socket is given to. Empty: the one rapyerd runs as."},
    {"listen", "socket_group", TEXT, AT(socket_group), "", 0, 255, false,
     "Group (name or number) the socket is given to. Empty: the one rapyerd runs as."},
    {"listen", "socket_mode", MODE, AT(socket_mode), "0660", 0, 0777, false,
     "Who may connect, as octal permissions: write permission is what counts."},

    {"limits", "max_clients", COUNT, AT(max_clients), "10000", 1, 1000000, true,
     "Connections at a time; one more is answered BUSY and closed."},
    {"limits", "max_frame", SIZE, AT(max_frame), "32M", KIB, 2 * GIB, true,
     "The longest request. A longer one is answered TOO_LARGE and its connection closed."},
    {"limits", "max_value", SIZE, AT(max_value), "16M", 64, 512 * MIB, true,
     "The longest single str, bytes or composite value. At most max_frame."},
    {"limits", "max_work", TIME, AT(max_work), "20ms", 1, HOUR, true,
     "The longest that one request may keep rapyerd and Redis from all others, by an estimate of\n"
     "what it builds, changes or removes: about 4,000 elements that are atomic models, 50,000\n"
     "entries of dicts or 130,000 values in lists. More is refused with TOO_LARGE, and nothing\n"
     "is changed."},
    {"limits", "client_output", SIZE, AT(client_output), "64M", 64 * KIB, 64 * GIB, true,
     "Answers that a client has not read; one that lets more pile up is disconnected. A single\n"
     "answer that is longer is refused with TOO_LARGE, before anything is changed."},
    {"limits", "client_output_pause", SIZE, AT(client_output_pause), "1M", KIB, 64 * GIB, true,
     "From this many unread bytes on no more requests are taken from a client, until half of\n"
     "them are read. Less than client_output."},
    {"limits", "client_requests", COUNT, AT(client_requests), "10000", 1, 10000000, true,
     "Requests of one client waiting for Redis; past it no more are read from it."},
    {"limits", "total_input", SIZE, AT(total_input), "512M", MIB, 1024 * GIB, true,
     "Requests of all clients together that have arrived in part. Past it the client that\n"
     "sends on is answered BUSY and disconnected. At least max_frame."},
    {"limits", "max_rings", COUNT, AT(max_rings), "1000", 0, 1000000, true,
     "Clients that talk through shared memory instead of their socket, each with twice ring_size\n"
     "of it. One more is answered BUSY and stays with its socket, as all do with 0."},
    {"limits", "ring_size", SIZE, AT(ring_size), "64K", RING_MIN, RING_MAX, true,
     "The shared memory of a client, for each direction: a power of two. Longer messages pass in\n"
     "pieces."},
    {"limits", "ring_watch", COUNT, AT(ring_watch), "50", 0, 1000, true,
     "For how many microseconds rapyerd goes on looking at its rings before it sleeps; it gives "
     "way\n"
     "to all others that want the processor. 0: it sleeps at once, and is woken more often."},

    {"redis", "redis", TEXT, AT(redis), "embedded", 1, 1024, false,
     "The Redis to use: embedded (rapyerd runs one itself, data in state_dir), unix:/path,\n"
     "host:port or [::1]:6379."},
    {"redis", "redis_user", TEXT, AT(redis_user), "", 0, 255, true,
     "User for AUTH. Empty: Redis' default user. This and the password are taken over with the "
     "next\n"
     "connection; those of the embedded Redis by a restart."},
    {"redis", "redis_password", TEXT, AT(redis_password), "", 0, PASSWORD_BYTES, true,
     "Password for AUTH. Better kept in redis_password_file."},
    {"redis", "redis_password_file", TEXT, AT(redis_password_file), "", 0, PATH_MAX - 1, true,
     "File whose first line is the password. Refused when all users of the host can read it. It "
     "is\n"
     "read again by a reload, and when Redis refuses the password that was in it."},
    {"redis", "redis_db", COUNT, AT(redis_db), "0", 0, 65535, false, "Number for SELECT."},
    {"redis", "connect_timeout", TIME, AT(connect_timeout), "2s", 10, HOUR, true,
     "How long connecting and greeting may take before another try begins."},
    {"redis", "command_timeout", TIME, AT(command_timeout), "5s", 10, HOUR, true,
     "How long Redis may leave a command unanswered before the connection counts as lost."},
    {"redis", "reconnect_min", TIME, AT(reconnect_min), "50ms", 1, HOUR, true,
     "The pause before the first new try; it doubles with each further one."},
    {"redis", "reconnect_max", TIME, AT(reconnect_max), "2s", 1, HOUR, true,
     "The longest pause between tries. At least reconnect_min."},
    {"redis", "redis_server", TEXT, AT(redis_server), "redis-server", 1, PATH_MAX - 1, false,
     "The program run when redis = embedded; looked up in PATH when it has no slash."},
    {"redis", "state_dir", TEXT, AT(state_dir), STATE_DEFAULT, 1, PATH_MAX - 1, false,
     "Where the embedded Redis keeps its data. $STATE_DIRECTORY when systemd gives one; for\n"
     "users other than root the default is $XDG_STATE_HOME/rapyerd or ~/.local/state/rapyerd."},
    {"redis", "key_prefix", TEXT, AT(key_prefix), "rapyer", 1, 64, false,
     "How all keys in Redis begin. Daemons that share documents need the same one."},

    {"cache", "cache_memory", SIZE, AT(cache_memory), "256M", 64 * KIB, 1024 * GIB, true,
     "Memory for documents; past it those not used for longest are dropped."},
    {"cache", "stale_reads", TIME, AT(stale_reads), "0", 0, 24 * HOUR, true,
     "For how long documents in memory are still read while Redis cannot be reached. They say so:\n"
     "doc.get with the option version has \"@stale\" then. 0: such reads are UNAVAILABLE."},

    {"cache", "shared_memory", SIZE, AT(shared_memory), "16M", 0, 64 * GIB, true,
     "Memory in which documents that are read often are shown to all clients, who read them there\n"
     "without asking. A part of cache_memory, at most half of it, taken when a client first asks "
     "for\n"
     "it. Every client can see all that is in it. 0, or less than 1M: none."},
    {"cache", "shared_except", TEXT, AT(shared_except), "", 0, 65535, true,
     "Models whose documents are never shown there: names, with commas or spaces between them."},

    {"coherence", "enabled", COUNT, AT(coherence), "1", 0, 1, false,
     "Whether others, daemons on other hosts and programs without one, are listened to. 0: nobody "
     "but\n"
     "this daemon writes into the documents; otherwise what is in memory may be wrong."},
    {"coherence", "bound", TIME, AT(coherence_bound), "1s", 20, HOUR, true,
     "What another has changed is seen by every read that begins so much later; or the read asks\n"
     "Redis. Writes, refusals and reads with {fresh: true} are exact in any case."},

    {"commit", "queue_bytes", SIZE, AT(queue_bytes), "64M", 64 * KIB, 64 * GIB, true,
     "Writes waiting for Redis; past it new ones are answered UNAVAILABLE at once."},
    {"commit", "queue_time", TIME, AT(queue_time), "5s", 1, HOUR, true,
     "How long a write waits for Redis to come back before it is answered UNAVAILABLE; and is "
     "tried\n"
     "again while other hosts change the same document, before it is answered BUSY."},

    {"locks", "lock_ttl", TIME, AT(lock_ttl), "30s", 100, 24 * HOUR, true,
     "How long a client holds a lock, unless it says otherwise or renews it: a client that hangs\n"
     "loses its locks then. At most lock_max_ttl."},
    {"locks", "lock_max_ttl", TIME, AT(lock_max_ttl), "1h", 100, 24 * HOUR, true,
     "The longest ttl that a client may ask for."},
    {"locks", "lock_lease", TIME, AT(lock_lease), "10s", 500, HOUR, true,
     "How long Redis keeps the locks of a rapyerd that it does not hear of. They are renewed "
     "three\n"
     "times as often. When rapyerd dies other hosts wait so long; when Redis cannot be reached "
     "for\n"
     "so long, locks are lost."},
    {"locks", "lock_turns", COUNT, AT(lock_turns), "16", 1, 1000000, true,
     "How often in a row a lock may change hands on this host while another host waits for it."},
    {"locks", "client_locks", COUNT, AT(client_locks), "20000", 1, 10000000, true,
     "Locks that one connection holds and waits for; past it BUSY."},

    {"log", "log_level", LEVEL, AT(log_level), "notice", 0, 0, true,
     "What is logged: error, warning, notice, info or debug."},
};

#define SETTINGS (sizeof table / sizeof table[0])

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};

/* What one load knows: where it is, what was set there, and where to say what is wrong. */
struct load {
    struct config *config;
    const char *file;
    FILE *stream;
    unsigned line;
    unsigned set_at[SETTINGS]; /* line, UINT_MAX for an override, 0 for not set */
    char *error;
    size_t error_size;
    bool failed;
};

static void *field_of(struct config *c, const struct setting *s)
{
    return (char *)c + s->offset;
}

/* Keeps the first error; `s` may be NULL. */
static int __attribute__((format(printf, 3, 4)))
refuse(struct load *l, const struct setting *s, const char *fmt, ...)
{
    char where[LINE_BYTES] = "";
    va_list args;

    if (l->failed)
        return -1;
    l->failed = true;
    if (l->line == UINT_MAX)
        snprintf(where, sizeof where, "-o ");
    else if (l->line)
        snprintf(where, sizeof where, "%s:%u: ", l->file, l->line);
    size_t used = strlen(where);
    if (s)
        snprintf(where + used, sizeof where - used, "%s.%s: ", s->section, s->name);
    snprintf(l->error, l->error_size, "%s", where);
    used = strlen(l->error);
    va_start(args, fmt);
    vsnprintf(l->error + used, l->error_size - used, fmt, args);
    va_end(args);
    return -1;
}

/* --- values ---------------------------------------------------------------------------- */

struct unit {
    const char *word;
    uint64_t factor;
};

static const struct unit size_units[] = {{"", 1}, {"K", KIB}, {"M", MIB}, {"G", GIB}, {0}};
static const struct unit time_units[] = {{"", 1},        {"ms", 1},   {"s", 1000},
                                         {"min", 60000}, {"h", HOUR}, {0}};
static const struct unit no_units[] = {{"", 1}, {0}};

static const struct unit *units_of(enum kind kind)
{
    return kind == SIZE ? size_units : kind == TIME ? time_units : no_units;
}

static const char *shape_of(enum kind kind)
{
    switch (kind) {
    case SIZE: return "a number of bytes like 4096, 64K, 16M or 1G";
    case TIME: return "a time like 200ms, 5s or 2min";
    case MODE: return "octal permissions like 0660";
    default: return "a whole number";
    }
}

/* Writes a number the way one would in the file: with the largest unit that divides it. */
static void show_number(char *out, size_t size, enum kind kind, uint64_t v)
{
    const struct unit *best = &units_of(kind)[0];

    if (kind == MODE) {
        snprintf(out, size, "%04o", (unsigned)v);
        return;
    }
    for (const struct unit *u = units_of(kind); u->word; u++)
        if (v && u->factor >= best->factor && v % u->factor == 0)
            best = u;
    snprintf(out, size, "%llu%s", (unsigned long long)(v / best->factor), best->word);
}

/* 0, or -1 when the text is no number of this kind; what does not fit becomes UINT64_MAX. */
static int read_number(enum kind kind, const char *text, uint64_t *out)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    errno = 0;
    unsigned long long v = strtoull(text, &end, kind == MODE ? 8 : 10);
    if (errno == ERANGE)
        v = UINT64_MAX;
    while (*end == ' ')
        end++;
    for (const struct unit *u = units_of(kind); u->word; u++) {
        if (strcasecmp(end, u->word) != 0)
            continue;
        *out = v > UINT64_MAX / u->factor ? UINT64_MAX : v * u->factor;
        return 0;
    }
    return -1;
}

static int set_number(struct load *l, const struct setting *s, const char *text)
{
    char min[32], max[32];
    uint64_t v;

    if (read_number(s->kind, text, &v) < 0)
        return refuse(l, s, "\"%s\" is not %s", text, shape_of(s->kind));
    if (v < s->min || v > s->max) {
        show_number(min, sizeof min, s->kind, s->min);
        show_number(max, sizeof max, s->kind, s->max);
        return refuse(l, s, "%s is out of range, %s to %s are possible", text, min, max);
    }
    if (s->kind == SIZE)
        *(size_t *)field_of(l->config, s) = v;
    else
        *(unsigned *)field_of(l->config, s) = (unsigned)v;
    return 0;
}

static int set_text(struct load *l, const struct setting *s, const char *text)
{
    char **field = field_of(l->config, s);
    size_t len = strlen(text);

    if (len < s->min)
        return refuse(l, s, "it may not be empty");
    if (len > s->max)
        return refuse(l, s, "it has %zu bytes, at most %zu are possible", len, (size_t)s->max);
    char *copy = alloc_str(text);
    free(*field);
    *field = copy;
    return 0;
}

static int set_level(struct load *l, const struct setting *s, const char *text)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcasecmp(text, level_names[i]) == 0) {
            *(enum log_level *)field_of(l->config, s) = (enum log_level)i;
            return 0;
        }
    }
    return refuse(l, s, "\"%s\" is not one of error, warning, notice, info, debug", text);
}

static int set_value(struct load *l, const struct setting *s, const char *text)
{
    switch (s->kind) {
    case TEXT: return set_text(l, s, text);
    case LEVEL: return set_level(l, s, text);
    default: return set_number(l, s, text);
    }
}

/* --- names ----------------------------------------------------------------------------- */

static bool section_known(const char *section)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (strcmp(table[i].section, section) == 0)
            return true;
    return false;
}

static int refuse_section(struct load *l, const char *section)
{
    char known[256] = "";

    for (size_t i = 0; i < SETTINGS; i++) {
        size_t used = strlen(known);
        if (i == 0 || strcmp(table[i].section, table[i - 1].section) != 0)
            snprintf(known + used, sizeof known - used, "%s[%s]", used ? ", " : "",
                     table[i].section);
    }
    if (!section[0])
        return refuse(l, NULL, "a setting before the first section; sections are %s", known);
    return refuse(l, NULL, "there is no section [%s]; sections are %s", section, known);
}

static int refuse_name(struct load *l, const char *section, const char *name)
{
    char known[1024] = "";

    for (size_t i = 0; i < SETTINGS; i++) {
        size_t used = strlen(known);
        if (strcmp(table[i].name, name) == 0)
            return refuse(l, NULL, "%s.%s: there is no such setting; %s belongs to [%s]", section,
                          name, name, table[i].section);
        if (strcmp(table[i].section, section) == 0)
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", table[i].name);
    }
    return refuse(l, NULL, "%s.%s: there is no such setting; [%s] has %s", section, name, section,
                  known);
}

/* One "name = value" from the file or an override. */
static int take(struct load *l, const char *section, const char *name, const char *value)
{
    if (!section_known(section))
        return refuse_section(l, section);
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &table[i];
        if (strcmp(s->section, section) != 0 || strcmp(s->name, name) != 0)
            continue;
        if (l->line != UINT_MAX && l->set_at[i])
            return refuse(l, s, "it was set in line %u already; keep one of the two", l->set_at[i]);
        l->set_at[i] = l->line;
        return set_value(l, s, value);
    }
    return refuse_name(l, section, name);
}

/* --- the file -------------------------------------------------------------------------- */

static int on_setting(void *arg, const char *section, const char *name, const char *value)
{
    return take(arg, section, name, value) == 0;
}

/* inih hands out no line numbers and says nothing about empty sections: looks at each line
 * before inih does. */
static char *next_line(char *line, int size, void *arg)
{
    struct load *l = arg;

    if (l->failed || !fgets(line, size, l->stream))
        return NULL;
    l->line++;
    size_t len = strlen(line);
    if (len + 1 == (size_t)size && line[len - 1] != '\n') {
        refuse(l, NULL, "the line is longer than %d bytes", size - 2);
        return NULL;
    }
    char *p = line + (strncmp(line, "\xef\xbb\xbf", 3) == 0 && l->line == 1 ? 3 : 0);
    while (isspace((unsigned char)*p))
        p++;
    char *end = *p == '[' ? strchr(p, ']') : NULL;
    if (end) {
        char section[64];
        snprintf(section, sizeof section, "%.*s", (int)(end - p - 1), p + 1);
        if (!section_known(section)) {
            refuse_section(l, section);
            return NULL;
        }
        for (char *q = end + 1; *q && !strchr(";#", *q); q++) {
            if (!isspace((unsigned char)*q)) {
                refuse(l, NULL, "nothing may follow [%s] in its line", section);
                return NULL;
            }
        }
    }
    return line;
}

static int read_file(struct load *l, const char *file)
{
    l->file = file ? file : DEFAULT_FILE;
    l->stream = fopen(l->file, "re");
    if (!l->stream && !file && errno == ENOENT)
        return 0;
    if (!l->stream)
        return refuse(l, NULL, "%s: cannot be read: %s", l->file, strerror(errno));
    /* A password may hold " ;": a comment takes a line of its own. */
    ini_allow_inline_comments = false;
    ini_allow_multiline = false;
    ini_stop_on_first_error = true;
    ini_use_stack = false;
    ini_initial_alloc = ini_max_line = LINE_BYTES;
    int status = ini_parse_stream(next_line, l, on_setting, l);
    if (!l->failed && ferror(l->stream)) {
        l->line = 0;
        refuse(l, NULL, "%s: cannot be read: %s", l->file, strerror(errno));
    } else if (!l->failed && status < 0) {
        alloc_end(LINE_BYTES, ALLOC_HERE); /* inih has its own allocations */
    } else if (!l->failed && status > 0) {
        refuse(l, NULL, "neither [section] nor name = value nor # comment");
    }
    fclose(l->stream);
    l->line = 0;
    return l->failed ? -1 : 0;
}

static int take_override(struct load *l, const char *text)
{
    const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    char section[64], name[64];

    l->line = UINT_MAX;
    if (!dot || !equals || equals < dot)
        return refuse(l, NULL, "\"%s\" is not section.name=value", text);
    snprintf(section, sizeof section, "%.*s", (int)(dot - text), text);
    snprintf(name, sizeof name, "%.*s", (int)(equals - dot - 1), dot + 1);
    return take(l, section, name, equals + 1);
}

/* --- what depends on the surroundings ---------------------------------------------------- */

static const struct setting *setting_at(size_t offset)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (table[i].offset == offset)
            return &table[i];
    return NULL;
}

/* Points the line of messages at where the setting was made. */
static bool was_set(struct load *l, const struct setting *s)
{
    l->line = l->set_at[s - table];
    return l->line != 0;
}

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

static int place_socket(struct load *l)
{
    const struct setting *s = setting_at(AT(socket));
    const char *runtime = variable("RUNTIME_DIRECTORY"), *xdg = variable("XDG_RUNTIME_DIR");
    const char *home = variable("HOME");
    char path[PATH_MAX];

    if (was_set(l, s))
        return 0;
    if (runtime) /* systemd lists several with colons between: the first one is ours */
        snprintf(path, sizeof path, "%.*s/rapyerd.sock", (int)strcspn(runtime, ":"), runtime);
    else if (geteuid() == 0)
        return 0;
    else if (xdg)
        snprintf(path, sizeof path, "%s/rapyerd/rapyerd.sock", xdg);
    else if (home)
        snprintf(path, sizeof path, "%s/.rapyerd.sock", home);
    else
        return refuse(l, s,
                      "none of RUNTIME_DIRECTORY, XDG_RUNTIME_DIR and HOME is set; say where the "
                      "socket should be");
    return set_text(l, s, path);
}

static int place_state(struct load *l)
{
    const struct setting *s = setting_at(AT(state_dir));
    const char *given = variable("STATE_DIRECTORY"), *xdg = variable("XDG_STATE_HOME");
    const char *home = variable("HOME");
    char path[PATH_MAX];

    if (was_set(l, s))
        return 0;
    if (given)
        snprintf(path, sizeof path, "%.*s", (int)strcspn(given, ":"), given);
    else if (geteuid() == 0)
        return 0;
    else if (xdg)
        snprintf(path, sizeof path, "%s/rapyerd", xdg);
    else if (home)
        snprintf(path, sizeof path, "%s/.local/state/rapyerd", home);
    else if (strcmp(l->config->redis, "embedded") != 0)
        return 0;
    else
        return refuse(l, s,
                      "none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set; say where "
                      "the data should be");
    return set_text(l, s, path);
}

/* The first line of a file that not everyone can read. 0, or -1 with the reason. */
static int password_of(const char *path, char text[PASSWORD_BYTES + 2], char *why, size_t size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = -1;

    why[0] = '\0';
    if (fd < 0 || fstat(fd, &st) < 0)
        snprintf(why, size, "%s cannot be read: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        snprintf(why, size, "%s is not a regular file", path);
    else if (st.st_mode & S_IROTH)
        snprintf(why, size, "%s can be read by everyone; chmod o-r it", path);
    else if ((n = read(fd, text, PASSWORD_BYTES + 1)) < 0)
        snprintf(why, size, "%s cannot be read: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return -1;
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (text[0])
        return 0;
    snprintf(why, size, "%s is empty, a password was expected", path);
    return -1;
}

static int read_password(struct load *l)
{
    const struct setting *s = setting_at(AT(redis_password_file));
    struct config *c = l->config;
    char text[PASSWORD_BYTES + 2], why[PATH_MAX + 128];

    if (!c->redis_password_file[0])
        return 0;
    if (was_set(l, s) && c->redis_password[0])
        return refuse(l, s, "redis_password is set too; keep one of the two");
    if (password_of(c->redis_password_file, text, why, sizeof why) < 0)
        return refuse(l, s, "%s", why);
    int status = set_text(l, setting_at(AT(redis_password)), text);
    explicit_bzero(text, sizeof text);
    return status;
}

/* --- what settings demand of each other -------------------------------------------------- */

static int check_redis(struct load *l)
{
    const struct setting *s = setting_at(AT(redis));
    const char *address = l->config->redis, *colon = strrchr(address, ':');
    char *end = NULL;

    was_set(l, s);
    if (strcmp(address, "embedded") == 0)
        return 0;
    if (strncmp(address, "unix:", 5) == 0) {
        if (address[5] == '/')
            return 0;
        return refuse(l, s, "\"%s\": an absolute path has to follow unix:", address);
    }
    unsigned long port = colon && colon > address && isdigit((unsigned char)colon[1])
                             ? strtoul(colon + 1, &end, 10)
                             : 0;
    bool bracketed = address[0] == '[' && colon && colon[-1] == ']';
    bool bare_v6 = colon && strchr(address, ':') != colon && !bracketed;
    if (port < 1 || port > 65535 || *end || bare_v6)
        return refuse(l, s, "\"%s\" is not embedded, unix:/path, host:port or [::1]:6379", address);
    return 0;
}

static int check_prefix(struct load *l)
{
    const struct setting *s = setting_at(AT(key_prefix));

    was_set(l, s);
    for (const char *p = l->config->key_prefix; *p; p++)
        if (*p <= ' ' || *p == 0x7f || strchr("{}*?[]\\", *p))
            return refuse(l, s, "\"%s\": braces, spaces and the letters *?[]\\ are not possible",
                          l->config->key_prefix);
    return 0;
}

static int check_order(struct load *l, size_t small, uint64_t small_value, size_t large,
                       uint64_t large_value, bool may_equal)
{
    const struct setting *s = setting_at(small), *other = setting_at(large);
    char found[32], bound[32];

    if (small_value < large_value || (may_equal && small_value == large_value))
        return 0;
    show_number(found, sizeof found, s->kind, small_value);
    show_number(bound, sizeof bound, other->kind, large_value);
    if (was_set(l, s) || !was_set(l, other))
        return refuse(l, s, "%s has to be %s %s.%s, which is %s", found,
                      may_equal ? "at most" : "less than", other->section, other->name, bound);
    return refuse(l, other, "%s has to be %s %s.%s, which is %s", bound,
                  may_equal ? "at least" : "more than", s->section, s->name, found);
}

static int check_ring_size(struct load *l)
{
    const struct setting *s = setting_at(AT(ring_size));
    char found[32];

    was_set(l, s);
    if (ring_size_fits(l->config->ring_size))
        return 0;
    show_number(found, sizeof found, s->kind, l->config->ring_size);
    return refuse(l, s, "%s is no power of two, as 32K, 64K and 128K are", found);
}

static int check_together(struct load *l)
{
    const struct config *c = l->config;

    if (check_redis(l) < 0 || check_prefix(l) < 0 || check_ring_size(l) < 0)
        return -1;
    if (check_order(l, AT(max_value), c->max_value, AT(max_frame), c->max_frame, true) < 0)
        return -1;
    if (check_order(l, AT(max_frame), c->max_frame, AT(total_input), c->total_input, true) < 0)
        return -1;
    if (check_order(l, AT(client_output_pause), c->client_output_pause, AT(client_output),
                    c->client_output, false) < 0)
        return -1;
    if (check_order(l, AT(lock_ttl), c->lock_ttl, AT(lock_max_ttl), c->lock_max_ttl, true) < 0)
        return -1;
    return check_order(l, AT(reconnect_min), c->reconnect_min, AT(reconnect_max), c->reconnect_max,
                       true);
}

/* --- public ------------------------------------------------------------------------------ */

int config_load(struct config *c, const char *file, const char *const *overrides, size_t noverrides,
                char *error, size_t error_size)
{
    struct load l = {.config = c, .error = error, .error_size = error_size};
    int status = 0;

    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < SETTINGS && status == 0; i++)
        status = set_value(&l, &table[i], table[i].value);
    if (status == 0)
        status = read_file(&l, file);
    for (size_t i = 0; i < noverrides && status == 0; i++)
        status = take_override(&l, overrides[i]);
    l.line = 0;
    if (status == 0 && (place_socket(&l) < 0 || place_state(&l) < 0 || read_password(&l) < 0 ||
                        check_together(&l) < 0))
        status = -1;
    if (status < 0)
        config_free(c);
    return status;
}

void config_free(struct config *c)
{
    if (c->redis_password)
        explicit_bzero(c->redis_password, strlen(c->redis_password));
    for (size_t i = 0; i < SETTINGS; i++)
        if (table[i].kind == TEXT)
            free(*(char **)field_of(c, &table[i]));
    memset(c, 0, sizeof *c);
}

static size_t width_of(enum kind kind)
{
    return kind == SIZE    ? sizeof(size_t)
           : kind == LEVEL ? sizeof(enum log_level)
                           : sizeof(unsigned);
}

static bool same(const struct setting *s, struct config *a, struct config *b)
{
    if (s->kind == TEXT)
        return strcmp(*(char **)field_of(a, s), *(char **)field_of(b, s)) == 0;
    return memcmp(field_of(a, s), field_of(b, s), width_of(s->kind)) == 0;
}

static void swap_text(char **a, char **b)
{
    char *text = *a;
    *a = *b;
    *b = text;
}

/* What the embedded Redis was started with holds until it is started again. */
static bool may_change(const struct setting *s, const struct config *c)
{
    return s->reloadable && !(s->kind == TEXT && strcmp(c->redis, "embedded") == 0);
}

void config_reload(struct config *c, struct config *fresh, char *ignored, size_t ignored_size)
{
    if (ignored_size)
        ignored[0] = '\0';
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &table[i];
        if (same(s, c, fresh))
            continue;
        if (may_change(s, c)) {
            if (s->kind == TEXT)
                swap_text(field_of(c, s), field_of(fresh, s)); /* freed with fresh */
            else
                memcpy(field_of(c, s), field_of(fresh, s), width_of(s->kind));
        } else if (ignored_size) {
            size_t used = strlen(ignored);
            snprintf(ignored + used, ignored_size - used, "%s%s.%s", used ? ", " : "", s->section,
                     s->name);
        }
    }
}

int config_reread_password(struct config *c, char *error, size_t error_size)
{
    char text[PASSWORD_BYTES + 2];

    error[0] = '\0';
    if (!c->redis_password_file || !c->redis_password_file[0] || strcmp(c->redis, "embedded") == 0)
        return 0;
    if (password_of(c->redis_password_file, text, error, error_size) < 0)
        return -1;
    char *fresh = strcmp(text, c->redis_password) != 0 ? alloc_str(text) : NULL;
    explicit_bzero(text, sizeof text);
    if (!fresh)
        return 0;
    explicit_bzero(c->redis_password, strlen(c->redis_password));
    free(c->redis_password);
    c->redis_password = fresh;
    return 1;
}

static void print_help(const char *help)
{
    for (const char *line = help; *line;) {
        size_t len = strcspn(line, "\n");
        printf("# %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

void config_print_sample(void)
{
    char min[32], max[32];

    puts("# Settings of rapyerd. Every line that begins with a # is a comment, and what stands\n"
         "# in it as a setting is the default: change a setting by removing its # and the value\n"
         "# behind the =. Sizes: bytes, or with K, M or G behind the number. Times: 200ms, 5s,\n"
         "# 2min, 1h. A setting marked \"reload\" is taken over by systemctl reload (SIGHUP), the\n"
         "# others by a restart. On the command line: -o section.name=value.");
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &table[i];
        if (i == 0 || strcmp(s->section, table[i - 1].section) != 0)
            printf("\n[%s]\n", s->section);
        putchar('\n');
        print_help(s->help);
        if (s->kind == COUNT || s->kind == SIZE || s->kind == TIME) {
            show_number(min, sizeof min, s->kind, s->min);
            show_number(max, sizeof max, s->kind, s->max);
            printf("# %s to %s%s\n", min, max, s->reloadable ? "; reload" : "");
        } else if (s->reloadable) {
            puts("# reload");
        }
        printf("#%s =%s%s\n", s->name, s->value[0] ? " " : "", s->value);
    }
}
