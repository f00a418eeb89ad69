/* rapyerctl: the protocol on the command line. JSON goes in and comes out.
 *
 * A command packs the parameters of one method; what they are is the daemon's to check.
 */
#include "client/ctl.h"
#include "client/ctl_json.h"
#include "client/json.h"
#include "client/namespace.h"
#include "client/request.h"
#include "client/value.h"
#include "protocol/cursor.h"
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct command {
    const char *name, *args, *help;
    int min, max; /* arguments behind the name; max -1: any number */
    int (*run)(struct ctl *c, int argc, char **argv);
};

/* ---- in and out ---- */

int ctl_usage_error(const char *what, const char *detail)
{
    fprintf(stderr, "rapyerctl: %s%s%s\nTry: rapyerctl --help\n", what, detail ? ": " : "",
            detail ? detail : "");
    return EXIT_USAGE;
}

int ctl_confirm(bool yes, const char *format, ...)
{
    char answer[16] = "";
    va_list ap;
    if (yes)
        return 0;
    if (!isatty(STDIN_FILENO))
        return ctl_usage_error("nobody can be asked whether that is meant: say --yes", NULL);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputs(" [y/N] ", stderr);
    if (fgets(answer, sizeof(answer), stdin) != NULL && (*answer == 'y' || *answer == 'Y'))
        return 0;
    fputs("rapyerctl: nothing was changed\n", stderr);
    return EXIT_ANSWER;
}

int ctl_read_file(const char *name, struct buf *out)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    char block[16384];
    size_t n;
    if (!f)
        return -1;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_append(out, block, n);
    int rc = ferror(f) ? -1 : 0;
    if (f != stdin)
        fclose(f);
    return rc;
}

int ctl_read_json(const char *arg, struct buf *out, uint32_t *items)
{
    char error[CTL_JSON_ERROR_MAX];
    struct buf text = BUF_INIT;
    int rc;
    if (strcmp(arg, "-") != 0)
        buf_append(&text, arg, strlen(arg));
    else if (ctl_read_file("-", &text) < 0)
        return ctl_usage_error("standard input", strerror(errno));
    if (items)
        rc = ctl_json_items((const char *)text.data, text.len, out, items, error);
    else
        rc = ctl_json_value((const char *)text.data, text.len, out, error);
    buf_free(&text);
    return rc < 0 ? ctl_usage_error(arg, error) : 0;
}

/* The exit status says what can be done about it. */
static int status_of(rapyer_error code)
{
    switch (code) {
    case RAPYER_NOT_FOUND:
    case RAPYER_UNKNOWN_MODEL:
    case RAPYER_UNKNOWN_FIELD: return EXIT_NOT_THERE;
    case RAPYER_UNAVAILABLE:
    case RAPYER_BUSY:
    case RAPYER_LOCK_TIMEOUT:
    case RAPYER_DEADLOCK: return EXIT_NOT_NOW;
    case RAPYER_CONFLICT:
    case RAPYER_LOCK_LOST: return EXIT_CHANGED;
    case RAPYER_NOT_DURABLE:
    case RAPYER_UNKNOWN_OUTCOME: return EXIT_UNKNOWN;
    case RAPYER_FORBIDDEN: return EXIT_DENIED;
    default: return EXIT_ANSWER;
    }
}

int ctl_answer_error(struct ctl *c)
{
    fprintf(stderr, "rapyerctl: %s\n", rapyer_errmsg(c->db));
    return status_of(rapyer_errcode(c->db));
}

rapyer_value *ctl_ask(struct ctl *c, const char *method, uint32_t n, struct buf *params)
{
    rapyer_value *v = request_wait(c->db, method, n, params);
    buf_free(params);
    return v;
}

/* Prints what was answered, unless quiet, and frees it. */
static int answered(struct ctl *c, rapyer_value *v, bool quiet)
{
    if (!v)
        return ctl_answer_error(c);
    if (!quiet)
        ctl_print(c, v);
    rapyer_value_free(v);
    return 0;
}

int ctl_call(struct ctl *c, const char *method, uint32_t n, struct buf *params, bool quiet)
{
    return answered(c, ctl_ask(c, method, n, params), quiet);
}

static void pack_args(struct buf *params, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        pack_cstr(params, argv[i]);
}

/* ---- commands ---- */

/* "Model:pk"; a path has a field first, and behind that a dot or a bracket. */
static bool is_key(const char *arg)
{
    const char *p = arg;
    while (isalnum((unsigned char)*p) || *p == '_' || *p == '.')
        p++;
    return p > arg && *p == ':';
}

/* A line for each; those that are not there are null. */
static int get_many(struct ctl *c, int argc, char **argv, bool touch)
{
    struct buf params = BUF_INIT;
    pack_array(&params, (uint32_t)argc);
    pack_args(&params, argc, argv);
    pack_map(&params, 1);
    pack_cstr(&params, "touch");
    pack_bool(&params, touch);
    rapyer_value *v = ctl_ask(c, "doc.get_many", 2, &params);
    int rc = 0;
    if (!v)
        return ctl_answer_error(c);
    for (size_t i = 0; i < rapyer_len(v); i++) {
        ctl_print(c, rapyer_item(v, i));
        if (rapyer_kind_of(rapyer_item(v, i)) == RAPYER_NULL)
            rc = EXIT_NOT_THERE;
    }
    rapyer_value_free(v);
    return rc;
}

/* A path that ends as "[10:20]", either of which may be left out: the range goes behind the path.
 */
static bool pack_range(struct buf *params, const char *path)
{
    const char *open = strrchr(path, '['), *p = open;
    char *end;
    if (open == NULL || strspn(open + 1, "-0123456789:") + 2 != strlen(open) ||
        path[strlen(path) - 1] != ']' || strchr(open, ':') == NULL)
        return false;
    pack_str(params, path, (size_t)(open - path));
    size_t at = pack_map_open(params);
    uint32_t n = 0;
    for (int to = 0; to < 2; to++, p = end) {
        long long i = strtoll(p + 1, &end, 10);
        if (end == p + 1)
            continue;
        pack_cstr(params, to ? "to" : "from");
        pack_int(params, i);
        n++;
    }
    pack_map_close(params, at, n);
    return true;
}

static int run_get(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    bool touch = strcmp(argv[argc - 1], "--touch") == 0;
    argc -= touch;
    if (argc == 0)
        return ctl_usage_error("get takes a KEY before", "--touch");
    if (argc > 1 && is_key(argv[1]))
        return get_many(c, argc, argv, touch);
    pack_cstr(&params, argv[0]);
    if (argc == 1 && !touch)
        return ctl_call(c, "doc.get", 1, &params, false);
    if (argc == 2 && !touch && pack_range(&params, argv[1]))
        return ctl_call(c, "doc.load", 3, &params, false);
    if (argc == 2 && !touch) {
        pack_cstr(&params, argv[1]);
        return ctl_call(c, "doc.load", 2, &params, false);
    }
    pack_map(&params, (argc > 1) + touch);
    if (touch) {
        pack_cstr(&params, "touch");
        pack_bool(&params, true);
    }
    if (argc > 1) {
        pack_cstr(&params, "paths");
        pack_array(&params, (uint32_t)argc - 1);
        pack_args(&params, argc - 1, argv + 1);
    }
    return ctl_call(c, "doc.get", 2, &params, false);
}

/* KEY [PATH] JSON, where only errors are told. */
static int with_json(struct ctl *c, const char *method, int argc, char **argv, bool quiet)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc - 1, argv);
    int rc = ctl_read_json(argv[argc - 1], &params, NULL);
    if (rc == 0)
        return ctl_call(c, method, (uint32_t)argc, &params, quiet);
    buf_free(&params);
    return rc;
}

/* What begins as JSON does for what cannot be a plain word is meant as such. */
static bool means_json(const char *arg)
{
    return strcmp(arg, "-") == 0 || strchr("{[\"", arg[0]) != NULL;
}

static int as_text(struct ctl *c, const char *method, int argc, char **argv, bool quiet)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc, argv);
    return ctl_call(c, method, (uint32_t)argc, &params, quiet);
}

/* KEY PATH VALUE: JSON, or a text without quotes. Where it could be both, as 12 or true, it is JSON
 * unless the place says that it takes a text. */
static int with_value(struct ctl *c, const char *method, int argc, char **argv, bool quiet)
{
    const char *arg = argv[argc - 1];
    struct buf params = BUF_INIT;
    char error[CTL_JSON_ERROR_MAX];
    if (means_json(arg))
        return with_json(c, method, argc, argv, quiet);
    pack_args(&params, argc - 1, argv);
    if (ctl_json_value(arg, strlen(arg), &params, error) < 0) {
        buf_free(&params);
        return as_text(c, method, argc, argv, quiet);
    }
    rapyer_value *v = ctl_ask(c, method, (uint32_t)argc, &params);
    if (!v && rapyer_errcode(c->db) == RAPYER_BAD_TYPE &&
        strstr(rapyer_errmsg(c->db), "str expected"))
        return as_text(c, method, argc, argv, quiet);
    return answered(c, v, quiet);
}

static int run_set(struct ctl *c, int argc, char **argv)
{
    return with_value(c, "set", argc, argv, true);
}

static void random_pk(char out[37])
{
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        abort();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        at += snprintf(out + at, 3, "%02x", b[i]);
    }
}

/* The field that is the key of a model, into `out`; "": it has none. 0, or the exit status. */
static int key_field(struct ctl *c, const char *model, char *out, size_t size)
{
    struct buf none = BUF_INIT;
    rapyer_value *v = ctl_ask(c, "admin.models", 0, &none);
    int rc = EXIT_NOT_THERE;
    if (!v)
        return ctl_answer_error(c);
    for (size_t i = 0; i < rapyer_len(v); i++) {
        const rapyer_value *m = rapyer_item(v, i);
        if (strcmp(rapyer_str(m, "name", ""), model) != 0)
            continue;
        snprintf(out, size, "%s", rapyer_str(m, "key", ""));
        rc = 0;
    }
    rapyer_value_free(v);
    if (rc)
        fprintf(stderr, "rapyerctl: UNKNOWN_MODEL: no model %s is defined\n", model);
    return rc;
}

/* The value of a field in a packed map, as it is written in a key. */
static void pk_of(const struct buf *map, const char *field, struct buf *key)
{
    struct fault f;
    rapyer_value *v = value_parse(cursor_of(map->data, map->len), 0, SIZE_MAX, &f);
    for (size_t i = 0; v && rapyer_kind_of(v) == RAPYER_DICT && i < rapyer_len(v); i++) {
        const rapyer_value *item = rapyer_item(v, i);
        if (strcmp(rapyer_item_key(v, i), field) != 0)
            continue;
        if (rapyer_kind_of(item) == RAPYER_STR)
            buf_printf(key, "%s", rapyer_str(item, "", ""));
        else if (rapyer_kind_of(item) == RAPYER_INT)
            buf_printf(key, "%lld", (long long)rapyer_int(item, "", 0));
    }
    rapyer_value_free(v);
}

/* MODEL JSON: the pk is that of the key field, or "@pk", or a new one; the key is printed. */
static int save_new(struct ctl *c, const char *model, const char *json)
{
    struct buf map = BUF_INIT, key = BUF_INIT, params = BUF_INIT;
    char field[256], pk[37];
    int rc = key_field(c, model, field, sizeof field);
    if (rc == 0)
        rc = ctl_read_json(json, &map, NULL);
    if (rc == 0) {
        buf_printf(&key, "%s:", model);
        size_t head = key.len;
        pk_of(&map, field[0] ? field : "@pk", &key);
        if (key.len == head) {
            random_pk(pk);
            buf_append(&key, pk, 36);
        }
        pack_str(&params, (char *)key.data, key.len);
        buf_append(&params, map.data, map.len);
        rc = ctl_call(c, "doc.save", 2, &params, true);
    }
    if (rc == 0)
        printf("%.*s\n", (int)key.len, (char *)key.data);
    buf_free(&map);
    buf_free(&key);
    return rc;
}

static int run_save(struct ctl *c, int argc, char **argv)
{
    if (!strchr(argv[0], ':'))
        return save_new(c, argv[0], argv[1]);
    return with_json(c, "doc.save", argc, argv, true);
}

static int run_append(struct ctl *c, int argc, char **argv)
{
    return with_value(c, "list.append", argc, argv, false);
}

static int run_incr(struct ctl *c, int argc, char **argv)
{
    char one[] = "1";
    char *all[] = {argv[0], argv[1], argc == 3 ? argv[2] : one};
    return with_json(c, "num.incr", 3, all, false);
}

/* All of a model, or those that a pattern of its keys fits, as a shell would match it. */
static int run_keys(struct ctl *c, int argc, char **argv)
{
    const char *pattern = strchr(argv[0], ':') ? argv[0] : NULL;
    char *model = strndup(argv[0], strcspn(argv[0], ":"));
    rapyer_value *keys = model ? rapyer_keys(c->db, model) : NULL;
    size_t shown = 0;

    (void)argc;
    free(model);
    if (!keys)
        return ctl_answer_error(c);
    for (size_t i = 0; i < rapyer_len(keys); i++) {
        const rapyer_value *key = rapyer_item(keys, i);
        if (pattern && fnmatch(pattern, rapyer_str(key, "", ""), 0) != 0)
            continue;
        if (c->json)
            ctl_print_element(key, shown);
        else
            printf("%s\n", rapyer_str(key, "", ""));
        shown++;
    }
    if (c->json)
        puts(shown ? "]" : "[]");
    rapyer_value_free(keys);
    return 0;
}

static int run_ref(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc, argv);
    return ctl_call(c, "ref.get", (uint32_t)argc, &params, false);
}

static int run_delete(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc, argv);
    if (argc == 1)
        return ctl_call(c, "doc.delete", 1, &params, false);
    pack_map(&params, 1);
    pack_cstr(&params, "parts");
    pack_bool(&params, true);
    rapyer_value *v = ctl_ask(c, "doc.delete", (uint32_t)argc + 1, &params);
    if (!v)
        return ctl_answer_error(c);
    const rapyer_value *refused = rapyer_get(v, "refused");
    int rc = rapyer_len(refused) > 0 ? EXIT_ANSWER : 0;
    printf("%lld\n", (long long)rapyer_int(v, "deleted", 0));
    for (size_t i = 0; i < rapyer_len(refused); i++)
        fprintf(stderr, "rapyerctl: %s: %s\n", rapyer_str(rapyer_item(refused, i), "[0]", ""),
                rapyer_str(rapyer_item(refused, i), "[1]", ""));
    rapyer_value_free(v);
    return rc;
}

static int run_exists(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc, argv);
    return ctl_call(c, "doc.exists", (uint32_t)argc, &params, false);
}

static int run_ttl(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    char cascade[] = "{\"cascade\": true}";
    if (argc == 3 && strcmp(argv[2], "--cascade") != 0)
        return ctl_usage_error("ttl takes --cascade, not", argv[2]);
    if (argc == 3) {
        pack_cstr(&params, argv[0]);
        int rc = ctl_read_json(argv[1], &params, NULL);
        if (rc != 0) {
            buf_free(&params);
            return rc;
        }
        (void)ctl_read_json(cascade, &params, NULL);
        return ctl_call(c, "doc.ttl", 3, &params, false);
    }
    if (argc == 2)
        return with_json(c, "doc.ttl", 2, argv, false);
    pack_cstr(&params, argv[0]);
    return ctl_call(c, "doc.ttl", 1, &params, false);
}

/* All at once, in whatever order the file has them; one line for each. */
static int define_all(struct ctl *c, const struct buf *items, uint32_t n)
{
    struct cursor in = cursor_of(items->data, items->len);
    struct buf all = BUF_INIT;
    int rc = 0;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        const uint8_t *p;
        size_t len;
        rc = cursor_value(&in, &p, &len);
        struct cursor declaration = rc == 0 ? cursor_of(p, len) : in;
        if (rc == 0)
            rc = namespace_declaration(c->db->namespace, &declaration, &all);
    }
    rapyer_value *v = rc == 0 && n > 0 ? request_wait(c->db, "define", n, &all) : NULL;
    buf_free(&all);
    if (rc < 0)
        return ctl_usage_error("the file cannot be read as declarations", NULL);
    if (n > 0 && !v)
        return ctl_answer_error(c);
    for (size_t i = 0; i < n; i++)
        ctl_print(c, n > 1 ? rapyer_item(v, i) : v);
    rapyer_value_free(v);
    return 0;
}

static int run_define(struct ctl *c, int argc, char **argv)
{
    struct buf text = BUF_INIT, items = BUF_INIT;
    char error[CTL_JSON_ERROR_MAX];
    uint32_t n;
    int rc;
    (void)argc;
    if (ctl_read_file(argv[0], &text) < 0)
        rc = ctl_usage_error(argv[0], strerror(errno));
    else if (ctl_json_items((const char *)text.data, text.len, &items, &n, error) < 0)
        rc = ctl_usage_error(argv[0], error);
    else
        rc = define_all(c, &items, n);
    buf_free(&text);
    buf_free(&items);
    return rc;
}

static int run_call(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    uint32_t n = 0;
    int rc = argc == 2 ? ctl_read_json(argv[1], &params, &n) : 0;
    if (rc == 0)
        return ctl_call(c, argv[0], n, &params, false);
    buf_free(&params);
    return rc;
}

static void print_change(const char *key, int64_t version, const rapyer_change *change)
{
    struct buf line = BUF_INIT;
    buf_append(&line, "[", 1);
    json_text(&line, key, strlen(key));
    if (version < 0)
        buf_printf(&line, ",null,");
    else
        buf_printf(&line, ",%lld,", (long long)version);
    if (!change || !change->paths)
        buf_printf(&line, "null");
    for (size_t i = 0; change && i < change->npaths; i++) {
        buf_append(&line, i == 0 ? "[" : ",", 1);
        json_text(&line, change->paths[i], strlen(change->paths[i]));
    }
    if (change && change->paths)
        buf_printf(&line, change->npaths ? "]" : "[]");
    printf("%.*s]\n", (int)line.len, (char *)line.data);
    fflush(stdout);
    buf_free(&line);
}

/* Until it is ended, or what it writes to is. */
static int run_watch(struct ctl *c, int argc, char **argv)
{
    size_t len = strlen(argv[0]);
    bool model = len > 2 && strcmp(argv[0] + len - 2, ":*") == 0;
    const rapyer_change *change;
    int64_t version = rapyer_watch(c->db, argv[0], argc == 2 ? argv[1] : NULL, NULL, NULL);
    if (version < 0)
        return ctl_answer_error(c);
    print_change(argv[0], model ? -1 : version, NULL);
    while (rapyer_wait_change(c->db, -1, &change) > 0)
        print_change(change->key, change->version, change);
    return ctl_answer_error(c);
}

static const struct command commands[] = {
    {"get", "KEY [PATH...] [--touch]",
     "a document, or what is at paths in it; or several: KEY KEY...", 1, -1, run_get},
    {"ref", "KEY PATH", "the document that the reference there names", 2, 2, run_ref},
    {"set", "KEY PATH VALUE", "sets what is at a path: JSON, or a text without quotes", 3, 3,
     run_set},
    {"save", "KEY|MODEL JSON", "saves a whole document; for a MODEL with a new pk, printed", 2, 2,
     run_save},
    {"edit", "KEY", "a document in $EDITOR, saved if nobody changed it meanwhile", 1, 1, ctl_edit},
    {"keys", "MODEL | PATTERN", "keys of documents, one a line: User, 'User:2024-*'", 1, 1,
     run_keys},
    {"find", "Model [EXPRESSION] [OPTION...]",
     "documents: 'age > 30 and city = \"Boston\"' --sort -age --limit 10; or changes them: "
     "--update '[[\"num.incr\", \"visits\", 1]]', --delete",
     1, -1, ctl_find},
    {"delete", "KEY...", "deletes documents; how many there were", 1, -1, run_delete},
    {"exists", "KEY...", "how many of these documents there are", 1, -1, run_exists},
    {"ttl", "KEY [SECONDS [--cascade]]", "how long a document lives, -1: for ever; or sets it", 1,
     3, run_ttl},
    {"incr", "KEY PATH [N]", "adds N, or 1, to a number; the new one", 2, 3, run_incr},
    {"append", "KEY PATH VALUE", "appends to a list; its new length", 3, 3, run_append},
    {"export", "[--output FILE [--resume]] [Model...]",
     "documents as lines of JSON, all or those of models", 0, -1, ctl_export},
    {"import", "FILE [--dry-run] [--if-absent] [--from LINE]", "saves such documents", 1, -1,
     ctl_import},
    {"define", "FILE", "declares the model, or array of models, in a JSON file", 1, 1, run_define},
    {"models", "[MODEL]", "which models there are, or the fields of one", 0, 1, ctl_models},
    {"index", "list|check|build|drop [MODEL] [FIELD]",
     "indexes: their states; whether they are as the documents, --repair; built anew; dropped", 1,
     -1, ctl_index},
    {"watch", "KEY|MODEL:* [PATH]", "a line for each change, [key, version, [path...]]", 1, 2,
     run_watch},
    {"locks", "[KEY]", "who holds locks, and who waits for them", 0, 1, ctl_locks},
    {"lock", "break KEY ACTION [PATH]", "takes a lock from who holds it; from how many", 3, 4,
     ctl_lock},
    {"top", "[SECONDS [TIMES]]", "what the daemon does now, again and again", 0, 2, ctl_top},
    {"monitor", "[FILTER...]", "each request as it is answered, with how long it took", 0, 5,
     ctl_monitor},
    {"trace", "KEY", "the requests for one document, and where they spent their time", 1, 1,
     ctl_trace},
    {"slowlog", "[clear]", "the last requests that took long (log.slow_time)", 0, 1, ctl_slowlog},
    {"latency", "", "how long requests take, by method and stage", 0, 0, ctl_latency},
    {"clients", "", "who is connected, and what each costs", 0, 0, ctl_clients},
    {"rights", "[CLIENT]", "what the rules let us do, or another client", 0, 1, ctl_rights},
    {"kill", "CLIENT", "ends a connection, by its number", 1, 1, ctl_kill},
    {"cache", "[N]", "what is in memory, and the N documents that are biggest and hottest", 0, 1,
     ctl_cache},
    {"config", "get|set|reload ...", "the settings of the running daemon", 1, 3, ctl_config},
    {"log", "LEVEL", "what is logged, until the next start", 1, 1, ctl_log},
    {"upgrade", "", "the program on the disk goes on in place of the running one", 0, 0,
     ctl_upgrade},
    {"stats", "", "counters and states of the daemon", 0, 0, ctl_stats},
    {"metrics", "", "all figures, as text that Prometheus reads", 0, 0, ctl_metrics},
    {"doctor", "", "whether the Redis behind the daemon weakens a guarantee", 0, 0, ctl_doctor},
    {"call", "METHOD [JSON]", "any method of the protocol, JSON: the array of parameters", 1, 2,
     run_call},
};

/* ---- the command line ---- */

#define HELP_ARGS 24 /* columns; more have a line of their own */
#define HELP_INDENT "                                  "

static void help(void)
{
    printf("Usage: rapyerctl [OPTION...] COMMAND [ARGUMENT...]\n"
           "Reads and changes the documents of rapyerd. JSON may be -, for standard input.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *c = &commands[i];
        const char *gap = strlen(c->args) < HELP_ARGS ? "" : "\n" HELP_INDENT;
        printf("  %-7s %-*s%s%s\n", c->name, HELP_ARGS, c->args, gap, c->help);
    }
    printf("\n"
           "  -s, --socket PATH      where rapyerd listens ($RAPYER_SOCKET, or\n"
           "                         " DEFAULT_SOCKET ", or where one of\n"
           "                         this user does)\n"
           "  -t, --timeout SECONDS  how long to wait for an answer, 30 at first\n"
           "  -n, --namespace NAME   of models: User is NAME.User, but for those of call\n"
           "  -r, --raw              prints a str as it is, not as JSON\n"
           "  -j, --json             prints JSON in one line, not a table and not with indents\n"
           "  -V, --version\n"
           "  -h, --help\n\n"
           "Exit status: 0, 1 another error, 2 wrong usage, 3 no daemon, 4 not there, 5 not now "
           "(Redis\n"
           "is away, a limit, a lock), 6 somebody was faster, 7 not allowed, 8 unknown outcome.\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

struct options {
    const char *socket, *namespace;
    int timeout_ms;
    bool raw, json, done;
};

/* 0, or the exit status; done: nothing is left to do. */
static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {{"socket", required_argument, NULL, 's'},
                                          {"timeout", required_argument, NULL, 't'},
                                          {"namespace", required_argument, NULL, 'n'},
                                          {"raw", no_argument, NULL, 'r'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int option;
    while ((option = getopt_long(argc, argv, "+s:t:n:rjVh", known, NULL)) != -1) {
        char *end = NULL;
        switch (option) {
        case 's': o->socket = optarg; break;
        case 't': {
            double seconds = strtod(optarg, &end);
            if (*end || !(seconds > 0 && seconds < 1e6))
                return ctl_usage_error("--timeout takes seconds", optarg);
            o->timeout_ms = (int)(seconds * 1000) + 1;
            break;
        }
        case 'n': o->namespace = optarg; break;
        case 'r': o->raw = true; break;
        case 'j': o->json = true; break;
        case 'V':
            printf("rapyerctl %s\n", rapyer_version());
            o->done = true;
            return 0;
        case 'h':
            help();
            o->done = true;
            return 0;
        default: fputs("Try: rapyerctl --help\n", stderr); return EXIT_USAGE;
        }
    }
    return 0;
}

/* The arguments that are keys or models by their whole names; those after the last word of `args`
 * are as that one. What stands for a path may be a key. */
static int qualify(struct ctl *c, const struct command *command, int argc, char **argv)
{
    const char *word = command->args;
    for (int i = 0; i < argc; i++) {
        bool model = strncmp(word, "KEY", 3) == 0 || strncmp(word, "MODEL", 5) == 0 ||
                     strncmp(word, "[KEY", 4) == 0 || strncmp(word, "[MODEL", 6) == 0;
        bool either = strncmp(word, "[PATH...", 8) == 0 && is_key(argv[i]);
        if ((model || either) && !(argv[i] = db_whole_name(c->db, argv[i])))
            return ctl_answer_error(c);
        const char *next = strchr(word, ' ');
        word = next ? next + 1 : word;
    }
    return 0;
}

/* Options that stand behind the command, where no value may stand. */
static void read_behind(struct options *o, const struct command *c, int *argc, char **argv)
{
    bool takes_values = strstr(c->args, "VALUE") || strstr(c->args, "JSON");
    while (*argc > 0 && !takes_values) {
        const char *last = argv[*argc - 1];
        if (strcmp(last, "--json") == 0 || strcmp(last, "-j") == 0)
            o->json = true;
        else if (strcmp(last, "--raw") == 0 || strcmp(last, "-r") == 0)
            o->raw = true;
        else if (strcmp(last, "--help") == 0 || strcmp(last, "-h") == 0)
            o->done = true;
        else
            break;
        --*argc;
    }
    if (o->done)
        printf("Usage: rapyerctl %s %s\n  %s\n", c->name, c->args, c->help);
}

int main(int argc, char **argv)
{
    struct options o = {.timeout_ms = DEFAULT_TIMEOUT_MS};
    int rc = read_options(&o, argc, argv);
    if (rc || o.done)
        return rc;
    if (optind == argc)
        return ctl_usage_error("a command is missing", NULL);
    const struct command *command = find_command(argv[optind]);
    int n = argc - optind - 1;
    if (!command)
        return ctl_usage_error("there is no such command", argv[optind]);
    read_behind(&o, command, &n, argv + optind + 1);
    if (o.done)
        return 0;
    if (n < command->min || (command->max >= 0 && n > command->max)) {
        fprintf(stderr, "Usage: rapyerctl %s %s\n", command->name, command->args);
        return EXIT_USAGE;
    }
    struct ctl c = {
        .db = rapyer_connect(o.socket), .raw = o.raw, .json = o.json, .terminal = isatty(1)};
    if (rapyer_errcode(c.db)) {
        fprintf(stderr, "rapyerctl: %s\n", rapyer_errmsg(c.db));
        rc = access(c.db->socket, W_OK) < 0 && errno == EACCES ? EXIT_DENIED
             : rapyer_errcode(c.db) == RAPYER_BUSY             ? EXIT_NOT_NOW
                                                               : EXIT_CONNECT;
        rapyer_close(c.db);
        return rc;
    }
    rapyer_set_timeout(c.db, o.timeout_ms);
    if (rapyer_set_trace(c.db, getenv("TRACEPARENT")) < 0)
        rapyer_clear_error(c.db); /* as the standard says of what is not understood */
    if (rapyer_set_namespace(c.db, o.namespace) < 0)
        rc = ctl_usage_error("--namespace", rapyer_errmsg(c.db));
    else if (o.namespace)
        rc = qualify(&c, command, n, argv + optind + 1);
    if (rc == 0)
        rc = command->run(&c, n, argv + optind + 1);
    rapyer_close(c.db);
    if (fflush(stdout) != 0 && rc == 0) {
        perror("rapyerctl: standard output");
        rc = EXIT_ANSWER;
    }
    return rc;
}
