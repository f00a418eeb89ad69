/* rules: see rules.h. */
#include "daemon/rules/rules.h"
#include "daemon/base/hash.h"
#include "protocol/alloc.h"
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_BYTES 4096
#define UNKNOWN 0x80 /* of a permit's table: not looked up yet */

static const struct {
    const char *name;
    unsigned right, gives;
} words[] = {
    {"read", RIGHT_READ, RIGHT_READ},
    {"write", RIGHT_WRITE, RIGHT_READ | RIGHT_WRITE},
    {"lock", RIGHT_LOCK, RIGHT_LOCK},
    {"break", RIGHT_BREAK, RIGHT_BREAK},
    {"define", RIGHT_DEFINE, RIGHT_DEFINE},
    {"stats", RIGHT_STATS, RIGHT_STATS},
    {"admin", RIGHT_ADMIN, RIGHT_STATS | RIGHT_ADMIN},
};
#define NWORDS (sizeof words / sizeof words[0])

enum who { ANYBODY, USER, GROUP };

struct rule {
    enum who who;
    unsigned id; /* uid or gid */
    unsigned rights;
    char *methods; /* "doc.get,!find.*": commas between; "" for none */
    char *models;  /* the same: "User,Post" */
};

struct rules {
    struct rule *all;
    size_t n, cap;
};

struct permit {
    const struct rule **lines; /* copies, owned */
    size_t n;
    bool names_methods; /* some line does */
    uint8_t *known;     /* by model->number: rights for any method, or UNKNOWN */
    uint32_t nknown;
};

/* --- names in a list --------------------------------------------------------------------- */

/* "User", "*", or "shop.*" for all of a namespace. */
static bool covers(const char *entry, size_t n, const char *name, size_t len)
{
    if (n > 0 && entry[n - 1] == '*')
        return len >= n - 1 && memcmp(entry, name, n - 1) == 0;
    return n == len && memcmp(entry, name, len) == 0;
}

/* Whether an entry of the list covers the name, of those that exclude, or of the others. */
static bool listed(const char *list, bool excluding, const char *name, size_t len)
{
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        bool excludes = *at == '!';
        if (excludes == excluding && covers(at + excludes, n - excludes, name, len))
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

static bool about(const struct rule *r, const char *name, size_t len)
{
    return listed(r->models, false, name, len) && !listed(r->models, true, name, len);
}

static void list(struct buf *names, const char *name, size_t len)
{
    if (names->len > 0)
        buf_append(names, ",", 1);
    buf_append(names, name, len);
}

static char *list_text(struct buf *names)
{
    buf_append(names, "", 1);
    return (char *)names->data;
}

/* --- the file ---------------------------------------------------------------------------- */

struct reading {
    const char *path;
    const char *const *methods;
    unsigned line;
    char *error;
    size_t size;
};

static int __attribute__((format(printf, 2, 3))) wrong(struct reading *in, const char *fmt, ...)
{
    va_list args;
    int n = snprintf(in->error, in->size, "%s:%u: ", in->path, in->line);

    va_start(args, fmt);
    if (n >= 0 && (size_t)n < in->size)
        vsnprintf(in->error + n, in->size - (size_t)n, fmt, args);
    va_end(args);
    return -1;
}

/* A number, where there is no such name. */
static bool read_id(const char *text, unsigned *id)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    *id = (unsigned)n;
    return isdigit((unsigned char)text[0]) && *end == '\0' && n < UINT_MAX;
}

static int read_who(struct reading *in, const char *text, struct rule *r)
{
    if (strcmp(text, "*") == 0) {
        r->who = ANYBODY;
        return 0;
    }
    if (strncmp(text, "user:", 5) == 0) {
        const struct passwd *pw = getpwnam(text + 5);
        r->who = USER;
        if (pw)
            r->id = pw->pw_uid;
        else if (!read_id(text + 5, &r->id))
            return wrong(in, "there is no user \"%s\"", text + 5);
        return 0;
    }
    if (strncmp(text, "group:", 6) == 0) {
        const struct group *gr = getgrnam(text + 6);
        r->who = GROUP;
        if (gr)
            r->id = gr->gr_gid;
        else if (!read_id(text + 6, &r->id))
            return wrong(in, "there is no group \"%s\"", text + 6);
        return 0;
    }
    return wrong(in, "\"%s\" is not user:NAME, group:NAME or *", text);
}

static bool is_method(const struct reading *in, const char *entry)
{
    for (const char *const *m = in->methods; *m; m++)
        if (covers(entry, strlen(entry), *m, strlen(*m)))
            return entry[0] != '*';
    return false;
}

static int read_word(struct reading *in, const char *word, struct rule *r, struct buf *methods)
{
    for (size_t i = 0; i < NWORDS; i++) {
        if (strcmp(words[i].name, word) == 0) {
            r->rights |= words[i].gives;
            return 0;
        }
    }
    if (!is_method(in, word + (word[0] == '!')))
        return wrong(
            in,
            "\"%s\" is not one of read, write, lock, break, define, stats, admin, and not "
            "a method that needs one of them, as doc.get, list.* or !doc.delete; they have "
            "commas and no spaces between",
            word);
    list(methods, word, strlen(word));
    return 0;
}

static int read_what(struct reading *in, char *text, struct rule *r)
{
    struct buf methods = BUF_INIT;
    bool gives = false;
    int rc = 0;
    char *save;

    for (char *word = strtok_r(text, ",", &save); word && rc == 0;
         word = strtok_r(NULL, ",", &save)) {
        rc = read_word(in, word, r, &methods);
        gives = gives || word[0] != '!';
    }
    r->methods = list_text(&methods);
    if (rc == 0 && !gives)
        return wrong(in, "the line gives nothing: ! takes from what the same line gives, as in "
                         "write,!doc.delete, and not from other lines");
    return rc;
}

/* One form: commas, no spaces. */
static int read_models(struct reading *in, const char *text, struct rule *r)
{
    struct buf out = BUF_INIT;

    for (const char *at = text; *at;) {
        at += strspn(at, ", \t");
        size_t n = strcspn(at, ", \t");
        if (n == 0)
            break;
        list(&out, at, n);
        at += n;
    }
    r->models = list_text(&out);
    if (out.len <= 1)
        return wrong(in, "which models is missing: names, or * for all");
    return 0;
}

static int read_line(struct reading *in, char *line, struct rules *rules)
{
    struct rule r = {0};
    char *save, *who, *what, *models;

    line[strcspn(line, "#\r\n")] = '\0';
    who = strtok_r(line, " \t", &save);
    if (!who)
        return 0;
    what = strtok_r(NULL, " \t", &save);
    models = strtok_r(NULL, "", &save);
    if (!what || !models)
        return wrong(in, "a line is: WHO WHAT MODELS, as in user:www-data read,write User, Post");
    if (read_who(in, who, &r) < 0 || read_what(in, what, &r) < 0 ||
        read_models(in, models, &r) < 0) {
        free(r.methods);
        free(r.models);
        return -1;
    }
    vec_push(rules->all, rules->n, rules->cap, r);
    return 0;
}

static int read_lines(struct reading *in, FILE *f, struct rules *rules)
{
    char line[LINE_BYTES];

    while (fgets(line, sizeof line, f)) {
        in->line++;
        if (strlen(line) == sizeof line - 1)
            return wrong(in, "the line is longer than %d bytes", LINE_BYTES - 2);
        if (read_line(in, line, rules) < 0)
            return -1;
    }
    return ferror(f) ? wrong(in, "cannot be read: %s", strerror(errno)) : 0;
}

struct rules *rules_read(const char *path, const char *const *methods, char *error, size_t size)
{
    struct reading in = {.path = path, .methods = methods, .error = error, .size = size};
    struct rules *rules = alloc_zeroed(1, sizeof *rules);
    FILE *f = fopen(path, "re");
    struct stat st;
    int status;

    if (!f || fstat(fileno(f), &st) < 0)
        status = wrong(&in, "cannot be read: %s", strerror(errno));
    else if (st.st_mode & S_IWOTH)
        status = wrong(&in, "everybody can write to it; chmod o-w it");
    else
        status = read_lines(&in, f, rules);
    if (f)
        fclose(f);
    if (status == 0)
        return rules;
    rules_free(rules);
    return NULL;
}

void rules_free(struct rules *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        free(r->all[i].methods);
        free(r->all[i].models);
    }
    free(r->all);
    free(r);
}

/* --- permits ----------------------------------------------------------------------------- */

static bool speaks_of(const struct rule *r, uid_t uid, const gid_t *groups, size_t n)
{
    if (r->who != GROUP)
        return r->who == ANYBODY || r->id == uid;
    for (size_t i = 0; i < n; i++)
        if (groups[i] == r->id)
            return true;
    return false;
}

struct permit *rules_permit(const struct rules *r, uid_t uid, const gid_t *groups, size_t n)
{
    if (!r)
        return NULL;
    struct permit *p = alloc_zeroed(1, sizeof *p);
    p->lines = alloc_zeroed(r->n + 1, sizeof *p->lines);
    for (size_t i = 0; i < r->n; i++) {
        if (!speaks_of(&r->all[i], uid, groups, n))
            continue;
        struct rule *line = alloc_zeroed(1, sizeof *line);
        *line = r->all[i];
        line->methods = alloc_str(r->all[i].methods);
        line->models = alloc_str(r->all[i].models);
        p->names_methods = p->names_methods || line->methods[0] != '\0';
        p->lines[p->n++] = line;
    }
    return p;
}

struct permit *permit_for(unsigned rights)
{
    struct permit *p = alloc_zeroed(1, sizeof *p);
    struct rule *line = alloc_zeroed(1, sizeof *line);

    *line = (struct rule){
        .who = ANYBODY, .rights = rights, .methods = alloc_str(""), .models = alloc_str("*")};
    p->lines = alloc_zeroed(1, sizeof *p->lines);
    p->lines[p->n++] = line;
    return p;
}

void permit_free(struct permit *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        free(p->lines[i]->methods);
        free(p->lines[i]->models);
        free((void *)(uintptr_t)p->lines[i]);
    }
    free(p->lines);
    free(p->known);
    free(p);
}

bool permit_same(const struct permit *a, const struct permit *b)
{
    if (!a || !b)
        return a == b;
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->lines[i]->rights != b->lines[i]->rights ||
            strcmp(a->lines[i]->methods, b->lines[i]->methods) != 0 ||
            strcmp(a->lines[i]->models, b->lines[i]->models) != 0)
            return false;
    return true;
}

uint64_t permit_digest(const struct permit *p)
{
    uint64_t digest = 0;

    for (size_t i = 0; p && i < p->n; i++) {
        const struct rule *line = p->lines[i];
        digest = XXH3_64bits_withSeed(line->methods, strlen(line->methods), digest + line->rights);
        digest = XXH3_64bits_withSeed(line->models, strlen(line->models), digest);
    }
    return p ? digest + 1 : 0;
}

/* All there are where the line names the method. */
static unsigned rights_for(const struct rule *r, const char *method)
{
    if (listed(r->methods, true, method, strlen(method)))
        return 0;
    return listed(r->methods, false, method, strlen(method)) ? ~0u : r->rights;
}

static unsigned rights_on(const struct permit *p, const char *model, const char *method)
{
    unsigned rights = 0;

    for (size_t i = 0; i < p->n; i++)
        if (about(p->lines[i], model, strlen(model)))
            rights |= rights_for(p->lines[i], method);
    return rights;
}

/* Those that hold for any method. */
static unsigned rights_any(const struct permit *p, const char *model)
{
    unsigned rights = 0;

    for (size_t i = 0; i < p->n; i++)
        if (!strchr(p->lines[i]->methods, '!') && about(p->lines[i], model, strlen(model)))
            rights |= p->lines[i]->rights;
    return rights;
}

static void widen(struct permit *p, uint32_t number)
{
    uint32_t n = (number + 64) / 64 * 64;

    p->known = realloc(p->known, n);
    if (!p->known)
        abort();
    memset(p->known + p->nknown, UNKNOWN, n - p->nknown);
    p->nknown = n;
}

bool permit_may(struct permit *p, const struct model *m, const char *method, unsigned rights)
{
    if (!p)
        return true;
    if (m->number >= p->nknown)
        widen(p, m->number);
    if (p->known[m->number] == UNKNOWN)
        p->known[m->number] = (uint8_t)rights_any(p, m->name);
    if ((p->known[m->number] & rights) == rights)
        return true;
    return p->names_methods && (rights_on(p, m->name, method) & rights) == rights;
}

bool permit_may_name(const struct permit *p, const char *model, const char *method, unsigned rights)
{
    return !p || (rights_on(p, model, method) & rights) == rights;
}

static unsigned rights_somewhere(const struct permit *p, const char *method)
{
    unsigned rights = 0;

    for (size_t i = 0; i < p->n; i++)
        rights |= rights_for(p->lines[i], method);
    return rights;
}

bool permit_somewhere(const struct permit *p, const char *method, unsigned rights)
{
    return !p || (rights_somewhere(p, method) & rights) == rights;
}

static bool names_all(const char *models)
{
    return strcmp(models, "*") == 0 || strncmp(models, "*,", 2) == 0 || strstr(models, ",*,") ||
           (strlen(models) > 2 && strcmp(models + strlen(models) - 2, ",*") == 0);
}

/* One line has to say so: all but one, and that one in another line, is not looked for. */
bool permit_everywhere(const struct permit *p, unsigned rights)
{
    for (size_t i = 0; p && i < p->n; i++)
        if ((p->lines[i]->rights & rights) == rights && names_all(p->lines[i]->models) &&
            !strchr(p->lines[i]->models, '!') && !strchr(p->lines[i]->methods, '!'))
            return true;
    return !p;
}

/* The last, which is the most: of "read" and "write" that. */
static const char *missing_word(unsigned rights)
{
    const char *word = "this";

    for (size_t i = 0; i < NWORDS; i++)
        if (words[i].right & rights)
            word = words[i].name;
    return word;
}

/* Some line takes the method from what it would give. */
static bool excepted(const struct permit *p, const char *method, const char *model)
{
    for (size_t i = 0; i < p->n; i++)
        if ((!model || about(p->lines[i], model, strlen(model))) &&
            listed(p->lines[i]->methods, true, method, strlen(method)))
            return true;
    return false;
}

int permit_refuse(struct fault *f, const struct permit *p, const char *method, const char *model,
                  unsigned rights)
{
    unsigned has = model ? rights_on(p, model, method) : rights_somewhere(p, method);

    return fault_set(f, FAULT_FORBIDDEN,
                     "%s%s%.100s: the rules (rights.file) do not give this user \"%s\" %s\"%s\"",
                     method, model ? " of " : "", model ? model : "", missing_word(rights & ~has),
                     excepted(p, method, model) ? "with " : "or ", method);
}

/* "write,!doc.delete" */
static void pack_what(const struct rule *r, struct buf *out)
{
    struct buf what = BUF_INIT;

    for (size_t i = 0; i < NWORDS; i++)
        if (r->rights & words[i].right)
            list(&what, words[i].name, strlen(words[i].name));
    if (r->methods[0] != '\0')
        list(&what, r->methods, strlen(r->methods));
    pack_str(out, (const char *)what.data, what.len);
    buf_free(&what);
}

void permit_pack(const struct permit *p, struct buf *out)
{
    if (!p) {
        pack_nil(out);
        return;
    }
    pack_array(out, (uint32_t)p->n);
    for (size_t i = 0; i < p->n; i++) {
        pack_array(out, 2);
        pack_what(p->lines[i], out);
        pack_cstr(out, p->lines[i]->models);
    }
}
