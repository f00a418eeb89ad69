/* config: reads files and overrides by the table of settings (settings.h), and checks what only
 * shows when all of them are known. */
#include "daemon/base/settings.h"
#include "protocol/alloc.h"
#include "protocol/buf.h"
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

/* What one load knows: where it is, what was set there, and where to say what is wrong. */
struct load {
    struct config *config;
    const char *file;
    FILE *stream;
    unsigned line;
    unsigned *set_at; /* line, UINT_MAX for an override, 0 for not set */
    bool running;     /* an override that is no option of the command line */
    char *error;
    size_t error_size;
    bool failed;
};

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
        snprintf(where, sizeof where, "%s", l->running ? "" : "-o ");
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

static int set_number(struct load *l, const struct setting *s, const char *text)
{
    char min[32], max[32];
    uint64_t v;

    if (setting_read(s->kind, text, &v) < 0)
        return refuse(l, s, "\"%s\" is not %s", text, setting_shape(s->kind));
    if (v < s->min || v > s->max) {
        setting_show(min, sizeof min, s->kind, s->min);
        setting_show(max, sizeof max, s->kind, s->max);
        return refuse(l, s, "%s is out of range, %s to %s are possible", text, min, max);
    }
    if (s->kind == SIZE)
        *(size_t *)setting_field(l->config, s) = v;
    else
        *(unsigned *)setting_field(l->config, s) = (unsigned)v;
    return 0;
}

static int set_text(struct load *l, const struct setting *s, const char *text)
{
    char **field = setting_field(l->config, s);
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

static int set_word(struct load *l, const struct setting *s, const char *text)
{
    const char *const *words = setting_words(s->kind);
    char all[128] = "";

    for (unsigned i = 0; words[i]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *(unsigned *)setting_field(l->config, s) = i;
            return 0;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", words[i]);
    }
    return refuse(l, s, "\"%s\" is not one of %s", text, all);
}

static int set_value(struct load *l, const struct setting *s, const char *text)
{
    switch (s->kind) {
    case TEXT: return set_text(l, s, text);
    case LEVEL:
    case FORMAT:
    case VIEWER:
    case LEAVE: return set_word(l, s, text);
    default: return set_number(l, s, text);
    }
}

/* --- names ----------------------------------------------------------------------------- */

static bool section_known(const char *section)
{
    for (size_t i = 0; i < nsettings; i++)
        if (strcmp(settings[i].section, section) == 0)
            return true;
    return false;
}

static int refuse_section(struct load *l, const char *section)
{
    char known[256] = "";

    for (size_t i = 0; i < nsettings; i++) {
        size_t used = strlen(known);
        if (i == 0 || strcmp(settings[i].section, settings[i - 1].section) != 0)
            snprintf(known + used, sizeof known - used, "%s[%s]", used ? ", " : "",
                     settings[i].section);
    }
    if (!section[0])
        return refuse(l, NULL, "a setting before the first section; sections are %s", known);
    return refuse(l, NULL, "there is no section [%s]; sections are %s", section, known);
}

static int refuse_name(struct load *l, const char *section, const char *name)
{
    char known[1024] = "";

    for (size_t i = 0; i < nsettings; i++) {
        size_t used = strlen(known);
        if (strcmp(settings[i].name, name) == 0)
            return refuse(l, NULL, "%s.%s: there is no such setting; %s belongs to [%s]", section,
                          name, name, settings[i].section);
        if (strcmp(settings[i].section, section) == 0)
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", settings[i].name);
    }
    return refuse(l, NULL, "%s.%s: there is no such setting; [%s] has %s", section, name, section,
                  known);
}

/* One "name = value" from the file or an override. */
static int take(struct load *l, const char *section, const char *name, const char *value)
{
    if (!section_known(section))
        return refuse_section(l, section);
    for (size_t i = 0; i < nsettings; i++) {
        const struct setting *s = &settings[i];
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
    for (size_t i = 0; i < nsettings; i++)
        if (settings[i].offset == offset)
            return &settings[i];
    return NULL;
}

/* Points the line of messages at where the setting was made. */
static bool was_set(struct load *l, const struct setting *s)
{
    l->line = l->set_at[s - settings];
    return l->line != 0;
}

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

static int place_socket(struct load *l)
{
    const struct setting *s = setting_at(offsetof(struct config, socket));
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
    const struct setting *s = setting_at(offsetof(struct config, state_dir));
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

#define CREDENTIAL "credential:"

/* "credential:NAME" becomes the file that the service manager has for us under that name. */
static int place_credential(struct load *l, const struct setting *s)
{
    const char *text = *(char **)setting_field(l->config, s),
               *dir = variable("CREDENTIALS_DIRECTORY");
    char path[PATH_MAX];

    if (strncmp(text, CREDENTIAL, strlen(CREDENTIAL)) != 0)
        return 0;
    const char *name = text + strlen(CREDENTIAL);
    was_set(l, s);
    if (!name[0] || strchr(name, '/') || name[0] == '.')
        return refuse(l, s, "\"%s\" names no credential; one is named as in LoadCredential=", text);
    if (!dir)
        return refuse(l, s,
                      "\"%s\": rapyerd was given no credentials; LoadCredential=%s:/path in the "
                      "unit has it given this one",
                      text, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (access(path, F_OK) < 0)
        return refuse(l, s,
                      "\"%s\": there is no %s; LoadCredential= in the unit names those that are",
                      text, path);
    return set_text(l, s, path);
}

static int place_credentials(struct load *l)
{
    static const size_t files[] = {
        offsetof(struct config, redis_password_file),
        offsetof(struct config, sentinel_password_file),
        offsetof(struct config, tls_ca_file),
        offsetof(struct config, tls_cert_file),
        offsetof(struct config, tls_key_file),
        offsetof(struct config, rights_file),
    };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (place_credential(l, setting_at(files[i])) < 0)
            return -1;
    return 0;
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

static int read_password(struct load *l, size_t file_at, size_t password_at)
{
    const struct setting *s = setting_at(file_at), *password = setting_at(password_at);
    const char *file = *(char **)setting_field(l->config, s);
    char text[PASSWORD_BYTES + 2], why[PATH_MAX + 128];

    if (!file[0])
        return 0;
    if (was_set(l, s) && (*(char **)setting_field(l->config, password))[0])
        return refuse(l, s, "%s is set too; keep one of the two", password->name);
    if (password_of(file, text, why, sizeof why) < 0)
        return refuse(l, s, "%s", why);
    int status = set_text(l, password, text);
    explicit_bzero(text, sizeof text);
    return status;
}

static int read_passwords(struct load *l)
{
    if (read_password(l, offsetof(struct config, redis_password_file),
                      offsetof(struct config, redis_password)) < 0)
        return -1;
    return read_password(l, offsetof(struct config, sentinel_password_file),
                         offsetof(struct config, sentinel_password));
}

/* --- what settings demand of each other -------------------------------------------------- */

static bool is_host_port(const char *address)
{
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    unsigned long port = colon && colon > address && isdigit((unsigned char)colon[1])
                             ? strtoul(colon + 1, &end, 10)
                             : 0;
    bool bracketed = address[0] == '[' && colon && colon[-1] == ']';
    bool bare_v6 = colon && strchr(address, ':') != colon && !bracketed;

    return port >= 1 && port <= 65535 && !*end && !bare_v6;
}

/* host:port,host:port */
static bool are_addresses(const char *p)
{
    for (;; p++) {
        size_t len = strcspn(p, ",");
        char *one = alloc_copy(p, len);
        bool good = is_host_port(one);
        free(one);
        p += len;
        if (!good || !*p)
            return good;
    }
}

/* NAME@host:port,host:port */
static bool are_sentinels(const char *text)
{
    const char *p = strchr(text, '@');

    return p && p != text && strcspn(text, " \t") >= (size_t)(p - text) && are_addresses(p + 1);
}

/* What is not there with a cluster is not taken as if it were. */
static int check_cluster(struct load *l, const struct setting *s)
{
    const struct config *c = l->config;

    if (!are_addresses(config_cluster(c)))
        return refuse(l, s, "\"%s\" is not cluster:host:port,host:port", c->redis);
    if (c->redis_db)
        return refuse(l, s, "a cluster has database 0 only, and redis.redis_db is %u", c->redis_db);
    return 0;
}

static int check_redis(struct load *l)
{
    const struct setting *s = setting_at(offsetof(struct config, redis));
    const char *address = l->config->redis;

    if (l->config->tls && (strcmp(address, "embedded") == 0 || strncmp(address, "unix:", 5) == 0)) {
        const struct setting *tls = setting_at(offsetof(struct config, tls));
        was_set(l, tls);
        return refuse(l, tls, "redis.redis is %s, which is reached without TLS; host:port has it",
                      address);
    }
    was_set(l, s);
    if (strcmp(address, "embedded") == 0)
        return 0;
    if (strncmp(address, "unix:", 5) == 0) {
        if (address[5] == '/')
            return 0;
        return refuse(l, s, "\"%s\": an absolute path has to follow unix:", address);
    }
    bool sentinels = strncmp(address, "sentinel:", 9) == 0;
    if (config_cluster(l->config) != NULL)
        return check_cluster(l, s);
    if (sentinels ? !are_sentinels(address + 9) : !is_host_port(address))
        return refuse(l, s,
                      "\"%s\" is not embedded, unix:/path, host:port, [::1]:6379, "
                      "sentinel:NAME@host:port,host:port or cluster:host:port,host:port",
                      address);
    return 0;
}

static int check_prefix(struct load *l)
{
    const struct setting *s = setting_at(offsetof(struct config, key_prefix));

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
    setting_show(found, sizeof found, s->kind, small_value);
    setting_show(bound, sizeof bound, other->kind, large_value);
    if (was_set(l, s) || !was_set(l, other))
        return refuse(l, s, "%s has to be %s %s.%s, which is %s", found,
                      may_equal ? "at most" : "less than", other->section, other->name, bound);
    return refuse(l, other, "%s has to be %s %s.%s, which is %s", bound,
                  may_equal ? "at least" : "more than", s->section, s->name, found);
}

static int check_ring_size(struct load *l)
{
    const struct setting *s = setting_at(offsetof(struct config, ring_size));
    char found[32];

    was_set(l, s);
    if (ring_size_fits(l->config->ring_size))
        return 0;
    setting_show(found, sizeof found, s->kind, l->config->ring_size);
    return refuse(l, s, "%s is no power of two, as 32K, 64K and 128K are", found);
}

static int check_together(struct load *l)
{
    const struct config *c = l->config;

    if (check_redis(l) < 0 || check_prefix(l) < 0 || check_ring_size(l) < 0)
        return -1;
    if (check_order(l, offsetof(struct config, max_value), c->max_value,
                    offsetof(struct config, max_frame), c->max_frame, true) < 0)
        return -1;
    if (check_order(l, offsetof(struct config, max_frame), c->max_frame,
                    offsetof(struct config, total_input), c->total_input, true) < 0)
        return -1;
    if (check_order(l, offsetof(struct config, client_output_pause), c->client_output_pause,
                    offsetof(struct config, client_output), c->client_output, false) < 0)
        return -1;
    if (check_order(l, offsetof(struct config, lock_ttl), c->lock_ttl,
                    offsetof(struct config, lock_max_ttl), c->lock_max_ttl, true) < 0)
        return -1;
    if ((c->commit_replicas || c->commit_fsync) &&
        check_order(l, offsetof(struct config, commit_wait), c->commit_wait,
                    offsetof(struct config, command_timeout), c->command_timeout, false) < 0)
        return -1;
    return check_order(l, offsetof(struct config, reconnect_min), c->reconnect_min,
                       offsetof(struct config, reconnect_max), c->reconnect_max, true);
}

/* --- public ------------------------------------------------------------------------------ */

int config_load(struct config *c, const char *file, const char *const *overrides, size_t noverrides,
                char *error, size_t error_size)
{
    struct load l = {.config = c, .error = error, .error_size = error_size};
    int status = 0;

    l.set_at = alloc_zeroed(nsettings, sizeof *l.set_at);
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < nsettings && status == 0; i++)
        status = set_value(&l, &settings[i], settings[i].value);
    if (status == 0)
        status = read_file(&l, file);
    for (size_t i = 0; i < noverrides && status == 0; i++)
        status = take_override(&l, overrides[i]);
    l.line = 0;
    if (status == 0 && (place_socket(&l) < 0 || place_state(&l) < 0 || place_credentials(&l) < 0 ||
                        read_passwords(&l) < 0 || check_together(&l) < 0))
        status = -1;
    free(l.set_at);
    if (status < 0)
        config_free(c);
    return status;
}

void config_free(struct config *c)
{
    if (c->redis_password)
        explicit_bzero(c->redis_password, strlen(c->redis_password));
    if (c->sentinel_password)
        explicit_bzero(c->sentinel_password, strlen(c->sentinel_password));
    for (size_t i = 0; i < nsettings; i++)
        if (settings[i].kind == TEXT)
            free(*(char **)setting_field(c, &settings[i]));
    memset(c, 0, sizeof *c);
}

static size_t width_of(enum setting_kind kind)
{
    return kind == SIZE ? sizeof(size_t) : sizeof(unsigned);
}

static bool same(const struct setting *s, struct config *a, struct config *b)
{
    if (s->kind == TEXT)
        return strcmp(*(char **)setting_field(a, s), *(char **)setting_field(b, s)) == 0;
    return memcmp(setting_field(a, s), setting_field(b, s), width_of(s->kind)) == 0;
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
    return s->reloadable && !(s->kind == TEXT && strcmp(s->section, "redis") == 0 &&
                              strcmp(c->redis, "embedded") == 0);
}

static void add_name(const struct setting *s, char *names, size_t size)
{
    size_t used = size ? strlen(names) : 0;

    if (size)
        snprintf(names + used, size - used, "%s%s.%s", used ? ", " : "", s->section, s->name);
}

void config_changes(struct config *c, struct config *fresh, char *taken, size_t taken_size)
{
    taken[0] = '\0';
    for (size_t i = 0; i < nsettings; i++)
        if (!same(&settings[i], c, fresh) && may_change(&settings[i], c))
            add_name(&settings[i], taken, taken_size);
}

void config_reload(struct config *c, struct config *fresh, char *ignored, size_t ignored_size)
{
    if (ignored_size)
        ignored[0] = '\0';
    for (size_t i = 0; i < nsettings; i++) {
        const struct setting *s = &settings[i];
        if (same(s, c, fresh))
            continue;
        if (may_change(s, c)) {
            if (s->kind == TEXT)
                swap_text(setting_field(c, s), setting_field(fresh, s)); /* freed with fresh */
            else
                memcpy(setting_field(c, s), setting_field(fresh, s), width_of(s->kind));
        } else {
            add_name(s, ignored, ignored_size);
        }
    }
}

int config_set(struct config *c, const char *name, const char *value, char *error,
               size_t error_size)
{
    struct config fresh = *c;
    struct load l = {.config = &fresh, .error = error, .error_size = error_size, .running = true};
    struct buf text = BUF_INIT;

    for (size_t i = 0; i < nsettings; i++)
        if (settings[i].kind == TEXT)
            *(char **)setting_field(&fresh, &settings[i]) =
                alloc_str(*(char **)setting_field(c, &settings[i]));
    l.set_at = alloc_zeroed(nsettings, sizeof *l.set_at);
    buf_printf(&text, "%s=%s", name, value);
    buf_append(&text, "", 1);
    int status = take_override(&l, (const char *)text.data);
    if (status == 0 && (place_credentials(&l) < 0 || check_together(&l) < 0))
        status = -1;
    if (status == 0)
        config_reload(c, &fresh, NULL, 0);
    buf_free(&text);
    free(l.set_at);
    config_free(&fresh);
    return status;
}

const char *config_cluster(const struct config *c)
{
    static const char head[] = "cluster:";
    bool is = c->redis != NULL && strncmp(c->redis, head, strlen(head)) == 0;
    return is ? c->redis + strlen(head) : NULL;
}

int config_reread_password(struct config *c, bool sentinel, char *error, size_t error_size)
{
    char text[PASSWORD_BYTES + 2];
    const char *file = sentinel ? c->sentinel_password_file : c->redis_password_file;
    char **password = sentinel ? &c->sentinel_password : &c->redis_password;

    error[0] = '\0';
    if (!file || !file[0] || strcmp(c->redis, "embedded") == 0)
        return 0;
    if (password_of(file, text, error, error_size) < 0)
        return -1;
    char *fresh = strcmp(text, *password) != 0 ? alloc_str(text) : NULL;
    explicit_bzero(text, sizeof text);
    if (!fresh)
        return 0;
    explicit_bzero(*password, strlen(*password));
    free(*password);
    *password = fresh;
    return 1;
}
