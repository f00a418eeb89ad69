/* ctl_import: documents from lines of JSON, as ctl_export writes them.
 *
 *   line ──► JSON ──► "define": kept until the first document, then declared
 *                └──► "key":    a pipeline [doc.save, doc.ttl], up to WINDOW of them on their way
 *
 * A dry run has the daemon's models and those of the file in a registry of its own, and checks all
 * by the code that the daemon goes by; nothing is sent but what reads.
 */
#include "client/ctl.h"
#include "client/ctl_json.h"
#include "client/namespace.h"
#include "client/request.h"
#include "client/value.h"
#include "protocol/alloc.h"
#include "protocol/path.h"
#include "protocol/tree.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 64              /* documents on their way */
#define WINDOW_BYTES (8 << 20) /* and what they may take together, but for one that is longer */
#define SHOWN 20               /* refusals that are told of */

struct importing {
    struct ctl *c;
    bool dry, if_absent;
    long long from, line;
    struct buf declarations; /* that are to come, each behind the number of its line */
    uint32_t ndeclarations;
    struct schema *schema; /* of a dry run */
    size_t flying;
    int rc;               /* of what ended it */
    long long stopped_at; /* the first line that was not done, 0: none */
    long long models, saved, there, refused;
};

/* One document on its way. */
struct flight {
    struct importing *in;
    long long line;
    size_t bytes;
};

static void refuse(struct importing *in, long long line, const char *why)
{
    if (++in->refused <= SHOWN)
        fprintf(stderr, "rapyerctl: line %lld: %s\n", line, why);
    else if (in->refused == SHOWN + 1)
        fprintf(stderr, "rapyerctl: more are not told of\n");
}

static void stop(struct importing *in, long long line, int rc, const char *why)
{
    if (in->stopped_at == 0 || line < in->stopped_at)
        in->stopped_at = line;
    if (in->rc == 0)
        fprintf(stderr, "rapyerctl: line %lld: %s\n", line, why);
    in->rc = in->rc ? in->rc : rc;
}

/* ---- models ---- */

static int dry_define(struct importing *in, struct cursor *one, struct fault *f)
{
    const struct model *m;
    bool changed;
    return schema_define(in->schema, one, &m, &changed, f);
}

/* Sends it, or in a dry run only tries it. UNKNOWN_MODEL: another one has to come first. */
static int declare(struct importing *in, struct cursor one, struct fault *f)
{
    struct buf packed = BUF_INIT;
    if (in->dry)
        return dry_define(in, &one, f);
    buf_append(&packed, one.at, (size_t)(one.end - one.at));
    rapyer_value *v = ctl_ask(in->c, "define", 1, &packed);
    if (!v)
        db_fault(in->c->db, f);
    rapyer_value_free(v);
    return v ? 0 : -1;
}

/* Those that are left, which may hold each other. */
static int declare_together(struct importing *in, struct fault *f)
{
    struct cursor all = cursor_of(in->declarations.data, in->declarations.len);
    struct buf packed = BUF_INIT;
    uint32_t n = in->ndeclarations;
    struct cursor *each = alloc_zeroed(n, sizeof *each);
    const struct model **models = alloc_zeroed(n, sizeof *models);
    bool *changed = alloc_zeroed(n, sizeof *changed);
    int64_t line;
    const uint8_t *p;
    size_t len;
    int rc = -1;
    for (uint32_t i = 0; i < n && cursor_int(&all, &line) == 0 && cursor_value(&all, &p, &len) == 0;
         i++) {
        each[i] = cursor_of(p, len);
        buf_append(&packed, p, len);
    }
    if (in->dry) {
        rc = schema_define_all(in->schema, each, n, models, changed, f);
        buf_free(&packed);
    } else {
        rapyer_value *v = ctl_ask(in->c, "define", n, &packed);
        if (!v)
            db_fault(in->c->db, f);
        rc = v ? 0 : -1;
        rapyer_value_free(v);
    }
    free(each);
    free(models);
    free(changed);
    return rc;
}

static bool passes(enum fault_code code)
{
    return code == FAULT_UNAVAILABLE || code == FAULT_BUSY || code == FAULT_UNKNOWN_OUTCOME;
}

/* All that have come, in whatever order: again and again while one can be declared. */
static void declare_all(struct importing *in)
{
    struct buf left = BUF_INIT;
    struct fault f = {0};
    int64_t line = in->line;
    for (bool any = true; any && in->ndeclarations && in->rc == 0;) {
        struct cursor all = cursor_of(in->declarations.data, in->declarations.len);
        uint32_t n = in->ndeclarations;
        const uint8_t *p;
        size_t len;
        any = false;
        in->ndeclarations = 0;
        buf_clear(&left);
        for (; n && cursor_int(&all, &line) == 0 && cursor_value(&all, &p, &len) == 0; n--) {
            if (declare(in, cursor_of(p, len), &f) == 0) {
                in->models++;
                any = true;
            } else if (f.code == FAULT_UNKNOWN_MODEL) {
                pack_int(&left, line);
                buf_append(&left, p, len);
                in->ndeclarations++;
            } else if (passes(f.code)) {
                stop(in, line, EXIT_NOT_NOW, f.text);
            } else {
                refuse(in, line, f.text);
            }
        }
        struct buf swapped = in->declarations;
        in->declarations = left;
        left = swapped;
    }
    if (in->ndeclarations > 1 && in->rc == 0 && declare_together(in, &f) == 0) {
        in->models += in->ndeclarations;
        in->ndeclarations = 0;
    }
    for (; in->ndeclarations && in->rc == 0; in->ndeclarations--)
        refuse(in, line, f.text);
    buf_clear(&in->declarations);
    buf_free(&left);
}

static void take_declaration(struct importing *in, struct cursor value)
{
    pack_int(&in->declarations, in->line);
    (void)namespace_declaration(in->c->db->namespace, &value, &in->declarations);
    in->ndeclarations++;
}

/* ---- documents ---- */

static void landed(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                   const struct fault *f)
{
    struct flight *fl = rq->arg;
    struct importing *in = fl->in;
    (void)db;
    in->flying -= fl->bytes;
    if (*result)
        in->saved++;
    else if (f && f->code == FAULT_CONFLICT && in->if_absent)
        in->there++;
    else if (how != OUTCOME_ANSWER || !f || passes(f->code))
        stop(in, fl->line, EXIT_NOT_NOW, f ? f->text : "no memory");
    else
        refuse(in, fl->line, f->text);
    free(fl);
}

/* Until there is room for one of so many bytes more; 0: until none is on its way. */
static void make_room(struct importing *in, size_t bytes)
{
    rapyer *db = in->c->db;
    while (rapyer_pending(db) > 0 &&
           (bytes == 0 || rapyer_pending(db) >= WINDOW || in->flying + bytes > WINDOW_BYTES))
        connection_wait(db);
}

/* pipeline [[["doc.save", key, map], ["doc.ttl", key, ttl] or ["doc.persist", key]],
 * {if_version?}?] */
static uint32_t pack_save(const struct importing *in, const struct buf *key, int64_t ttl,
                          struct cursor document, struct buf *out)
{
    const char *name = (const char *)key->data;
    pack_array(out, 2);
    pack_array(out, 3);
    pack_cstr(out, "doc.save");
    pack_str(out, name, key->len);
    buf_append(out, document.at, (size_t)(document.end - document.at));
    pack_array(out, ttl > 0 ? 3 : 2);
    pack_cstr(out, ttl > 0 ? "doc.ttl" : "doc.persist");
    pack_str(out, name, key->len);
    if (ttl > 0)
        pack_int(out, ttl);
    if (!in->if_absent)
        return 1;
    pack_map(out, 1);
    pack_cstr(out, "if_version");
    pack_map(out, 1);
    pack_str(out, name, key->len);
    pack_int(out, 0);
    return 2;
}

static void send_save(struct importing *in, const struct buf *key, int64_t ttl,
                      struct cursor document)
{
    struct buf params = BUF_INIT;
    uint32_t n = pack_save(in, key, ttl, document, &params);
    struct flight *fl = malloc(sizeof *fl);
    struct request *rq = calloc(1, sizeof *rq);
    make_room(in, params.len);
    if (!fl || !rq || params.failed || in->rc) {
        free(fl);
        free(rq);
        buf_free(&params);
        stop(in, in->line, EXIT_ANSWER, "no memory");
        return;
    }
    *fl = (struct flight){in, in->line, params.len};
    *rq = (struct request){.done = landed, .arg = fl};
    in->flying += fl->bytes;
    if (request_send(in->c->db, rq, "pipeline", n, &params) < 0) {
        in->flying -= fl->bytes;
        free(fl);
        stop(in, in->line, EXIT_NOT_NOW, rapyer_errmsg(in->c->db));
    }
    buf_free(&params);
}

/* What the daemon would say. */
static void try_save(struct importing *in, const struct buf *key, struct cursor document)
{
    const char *model, *pk;
    size_t model_len, pk_len;
    struct fault f;
    struct record *r;
    if (key_parse((char *)key->data, key->len, &model, &model_len, &pk, &pk_len, &f) < 0) {
        refuse(in, in->line, f.text);
        return;
    }
    const struct model *m = schema_model(in->schema, model, model_len);
    if (!m || !m->atomic) {
        refuse(in, in->line, "no such atomic model is defined");
        return;
    }
    if (record_build(m, RECORD_ROOT, pk, pk_len, &document, "", &r, &f) < 0) {
        refuse(in, in->line, f.text);
        return;
    }
    record_free(r);
    struct buf params = BUF_INIT;
    pack_str(&params, (char *)key->data, key->len);
    rapyer_value *v = in->if_absent ? ctl_ask(in->c, "doc.exists", 1, &params) : NULL;
    buf_free(&params);
    if (in->if_absent && !v && rapyer_errcode(in->c->db) != RAPYER_UNKNOWN_MODEL)
        stop(in, in->line, ctl_answer_error(in->c), "it could not be asked whether it is there");
    else if (rapyer_int(v, "", 0) > 0)
        in->there++;
    else
        in->saved++;
    rapyer_value_free(v);
}

static void take_document(struct importing *in, struct cursor key, struct cursor ttl,
                          struct cursor document)
{
    const char *name;
    size_t len;
    int64_t seconds = 0;
    struct buf whole = BUF_INIT;
    bool ends = ttl.at && !cursor_nil(&ttl);
    if (in->ndeclarations)
        declare_all(in);
    if (cursor_str(&key, &name, &len) < 0 || !document.at ||
        (ends && (cursor_int(&ttl, &seconds) < 0 || seconds < 1))) {
        refuse(
            in, in->line,
            "a document is {\"key\": \"Model:pk\", \"ttl\": seconds or null, \"document\": {...}}");
        return;
    }
    namespace_name(in->c->db->namespace, name, len, &whole);
    if (in->rc == 0 && in->dry)
        try_save(in, &whole, document);
    else if (in->rc == 0)
        send_save(in, &whole, seconds, document);
    buf_free(&whole);
}

/* ---- lines ---- */

/* What is called so in a packed map; `at` NULL: nothing is. */
static struct cursor part(struct cursor map, const char *name)
{
    uint32_t n;
    if (cursor_map(&map, &n) < 0)
        return (struct cursor){0};
    for (; n; n--) {
        const char *key;
        size_t len, value_len;
        const uint8_t *value;
        if (cursor_str(&map, &key, &len) < 0 || cursor_value(&map, &value, &value_len) < 0)
            break;
        if (strlen(name) == len && memcmp(name, key, len) == 0)
            return cursor_of(value, value_len);
    }
    return (struct cursor){0};
}

static void take_line(struct importing *in, const char *text, size_t len)
{
    char error[CTL_JSON_ERROR_MAX];
    struct buf packed = BUF_INIT;
    if (strspn(text, " \t\r\n") >= len)
        return;
    if (ctl_json_value(text, len, &packed, error) < 0) {
        refuse(in, in->line, error);
        buf_free(&packed);
        return;
    }
    struct cursor map = cursor_of(packed.data, packed.len), key = part(map, "key");
    struct cursor define = part(map, "define"), version = part(map, "rapyer-export");
    int64_t v = 0;
    if (key.at)
        take_document(in, key, part(map, "ttl"), part(map, "document"));
    else if (define.at)
        take_declaration(in, define);
    else if (version.at && (cursor_int(&version, &v) < 0 || v != 1))
        stop(in, in->line, EXIT_USAGE, "this is of another version than 1");
    else if (!version.at && !part(map, "next").at && !part(map, "end").at)
        refuse(in, in->line, "it is neither a document nor a declaration");
    buf_free(&packed);
}

static int read_lines(struct importing *in, FILE *file, const char *name)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    errno = 0;
    while (in->rc == 0 && (len = getline(&line, &size, file)) > 0) {
        in->line++;
        /* Models are declared in any case: what follows needs them. */
        if (in->line >= in->from || strncmp(line, "{\"define\":", 10) == 0)
            take_line(in, line, (size_t)len);
    }
    if (in->rc == 0 && ferror(file))
        in->rc = ctl_usage_error(name, strerror(errno));
    free(line);
    if (in->rc == 0 && in->ndeclarations)
        declare_all(in);
    make_room(in, 0);
    return in->rc;
}

/* The daemon's models, for a dry run. */
static int learn(struct importing *in)
{
    struct buf none = BUF_INIT, packed = BUF_INIT;
    rapyer_value *all = ctl_ask(in->c, "admin.models", 0, &none);
    struct fault f;
    if (!all)
        return ctl_answer_error(in->c);
    in->schema = schema_new();
    size_t n = rapyer_len(all);
    struct cursor *each = calloc(n + 1, sizeof *each);
    size_t *ends = calloc(n + 1, sizeof *ends);
    for (size_t i = 0; i < n && ends; i++) {
        value_pack(rapyer_item(all, i), &packed);
        ends[i] = packed.len;
    }
    for (size_t i = 0, at = 0; i < n && each && ends; at = ends[i++])
        each[i] = cursor_of(packed.data + at, ends[i] - at);
    int rc = in->schema && each && ends && !packed.failed ? 0 : EXIT_ANSWER;
    if (rc == 0 && schema_restore(in->schema, each, n, NULL, &f) < 0)
        fprintf(stderr, "rapyerctl: %s\n", f.text);
    free(each);
    free(ends);
    buf_free(&packed);
    rapyer_value_free(all);
    return rc;
}

static int read_arguments(struct importing *in, int argc, char **argv, const char **name)
{
    for (int i = 0; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--dry-run") == 0)
            in->dry = true;
        else if (strcmp(argv[i], "--if-absent") == 0)
            in->if_absent = true;
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc) {
            in->from = strtoll(argv[++i], &end, 10);
            if (*end || in->from < 1)
                return ctl_usage_error("--from takes the number of a line", argv[i]);
        } else if ((argv[i][0] == '-' && argv[i][1]) || *name)
            return ctl_usage_error("import takes a FILE, --dry-run, --if-absent and --from LINE",
                                   argv[i]);
        else
            *name = argv[i];
    }
    return *name ? 0 : ctl_usage_error("import takes a FILE, or - for standard input", NULL);
}

int ctl_import(struct ctl *c, int argc, char **argv)
{
    struct importing in = {.c = c};
    const char *name = NULL;
    int rc = read_arguments(&in, argc, argv, &name);
    if (rc)
        return rc;
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    if (!file)
        return ctl_usage_error(name, strerror(errno));
    rc = in.dry ? learn(&in) : 0;
    if (rc == 0)
        rc = read_lines(&in, file, name);
    if (file != stdin)
        fclose(file);
    printf("{\"models\":%lld,\"saved\":%lld,\"there\":%lld,\"refused\":%lld}\n", in.models,
           in.saved, in.there, in.refused);
    if (in.stopped_at)
        fprintf(stderr, "rapyerctl: go on with --from %lld\n", in.stopped_at);
    buf_free(&in.declarations);
    if (in.schema)
        schema_free(in.schema);
    return rc == 0 && in.refused ? EXIT_ANSWER : rc;
}
