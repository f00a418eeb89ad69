/* rapyerctl: the protocol on the command line. JSON goes in and comes out.
 *
 * A command packs the parameters of one method; what they are is the daemon's to check.
 */
#include "client/ctl_json.h"
#include "client/ctl_locks.h"
#include "client/json.h"
#include "client/request.h"
#include "protocol/cursor.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_ANSWER = 1, EXIT_USAGE = 2, EXIT_CONNECT = 3 };

struct ctl {
    rapyer *db;
    bool raw;  /* a str without quotes */
    bool json; /* no tables */
};

struct command {
    const char *name, *args, *help;
    int min, max; /* arguments behind the name; max -1: any number */
    int (*run)(struct ctl *c, int argc, char **argv);
};

/* ---- in and out ---- */

static int usage_error(const char *what, const char *detail)
{
    fprintf(stderr, "rapyerctl: %s%s%s\nTry: rapyerctl --help\n", what, detail ? ": " : "",
            detail ? detail : "");
    return EXIT_USAGE;
}

/* The whole of a file, "-": of standard input. */
static int read_file(const char *name, struct buf *out)
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

/* JSON of an argument, "-": of standard input. items: those of an array, counted. */
static int read_json(const char *arg, struct buf *out, uint32_t *items)
{
    char error[CTL_JSON_ERROR_MAX];
    struct buf text = BUF_INIT;
    int rc;
    if (strcmp(arg, "-") != 0)
        buf_append(&text, arg, strlen(arg));
    else if (read_file("-", &text) < 0)
        return usage_error("standard input", strerror(errno));
    if (items)
        rc = ctl_json_items((const char *)text.data, text.len, out, items, error);
    else
        rc = ctl_json_value((const char *)text.data, text.len, out, error);
    buf_free(&text);
    return rc < 0 ? usage_error(arg, error) : 0;
}

static int answer_error(struct ctl *c)
{
    fprintf(stderr, "rapyerctl: %s\n", rapyer_errmsg(c->db));
    return EXIT_ANSWER;
}

static void print_value(const struct ctl *c, const rapyer_value *v)
{
    size_t len;
    if (c->raw && rapyer_kind_of(v) == RAPYER_STR) {
        const char *s = rapyer_data(v, &len);
        fwrite(s, 1, len, stdout);
        putchar('\n');
        return;
    }
    char *json = rapyer_to_json(v);
    puts(json ? json : "");
    free(json);
}

/* Calls with packed parameters, which it frees; prints the result unless quiet. */
static int call(struct ctl *c, const char *method, uint32_t n, struct buf *params, bool quiet)
{
    rapyer_value *v = request_wait(c->db, method, n, params);
    buf_free(params);
    if (!v)
        return answer_error(c);
    if (!quiet)
        print_value(c, v);
    rapyer_value_free(v);
    return 0;
}

static void pack_args(struct buf *params, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        pack_cstr(params, argv[i]);
}

/* ---- commands ---- */

static int run_get(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    pack_cstr(&params, argv[0]);
    if (argc == 1)
        return call(c, "doc.get", 1, &params, false);
    if (argc == 2) {
        pack_cstr(&params, argv[1]);
        return call(c, "doc.load", 2, &params, false);
    }
    pack_map(&params, 1);
    pack_cstr(&params, "paths");
    pack_array(&params, (uint32_t)argc - 1);
    pack_args(&params, argc - 1, argv + 1);
    return call(c, "doc.get", 2, &params, false);
}

/* KEY [PATH] JSON, where only errors are told. */
static int with_json(struct ctl *c, const char *method, int argc, char **argv, bool quiet)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc - 1, argv);
    int rc = read_json(argv[argc - 1], &params, NULL);
    if (rc == 0)
        return call(c, method, (uint32_t)argc, &params, quiet);
    buf_free(&params);
    return rc;
}

static int run_set(struct ctl *c, int argc, char **argv)
{
    return with_json(c, "set", argc, argv, true);
}

static int run_save(struct ctl *c, int argc, char **argv)
{
    return with_json(c, "doc.save", argc, argv, true);
}

static int run_append(struct ctl *c, int argc, char **argv)
{
    return with_json(c, "list.append", argc, argv, false);
}

static int run_incr(struct ctl *c, int argc, char **argv)
{
    char one[] = "1";
    char *all[] = {argv[0], argv[1], argc == 3 ? argv[2] : one};
    return with_json(c, "num.incr", 3, all, false);
}

static int run_keys(struct ctl *c, int argc, char **argv)
{
    rapyer_value *keys = rapyer_keys(c->db, argv[0]);
    (void)argc;
    if (!keys)
        return answer_error(c);
    for (size_t i = 0; i < rapyer_len(keys); i++)
        printf("%s\n", rapyer_str(rapyer_item(keys, i), "", ""));
    rapyer_value_free(keys);
    return 0;
}

static int run_delete(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc, argv);
    return call(c, "doc.delete", (uint32_t)argc, &params, false);
}

static int run_exists(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    pack_args(&params, argc, argv);
    return call(c, "doc.exists", (uint32_t)argc, &params, false);
}

static int run_ttl(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    if (argc == 2)
        return with_json(c, "doc.ttl", 2, argv, false);
    pack_cstr(&params, argv[0]);
    return call(c, "doc.ttl", 1, &params, false);
}

/* One declaration after the other, as the file has them. */
static int define_all(struct ctl *c, const struct buf *items, uint32_t n)
{
    struct cursor in = cursor_of(items->data, items->len);
    for (uint32_t i = 0; i < n; i++) {
        struct buf one = BUF_INIT;
        const uint8_t *p;
        size_t len;
        if (cursor_value(&in, &p, &len) < 0)
            return usage_error("the file cannot be read as declarations", NULL);
        buf_append(&one, p, len);
        int rc = call(c, "define", 1, &one, false);
        if (rc)
            return rc;
    }
    return 0;
}

static int run_define(struct ctl *c, int argc, char **argv)
{
    struct buf text = BUF_INIT, items = BUF_INIT;
    char error[CTL_JSON_ERROR_MAX];
    uint32_t n;
    int rc;
    (void)argc;
    if (read_file(argv[0], &text) < 0)
        rc = usage_error(argv[0], strerror(errno));
    else if (ctl_json_items((const char *)text.data, text.len, &items, &n, error) < 0)
        rc = usage_error(argv[0], error);
    else
        rc = define_all(c, &items, n);
    buf_free(&text);
    buf_free(&items);
    return rc;
}

static int run_stats(struct ctl *c, int argc, char **argv)
{
    struct buf none = BUF_INIT;
    (void)argc;
    (void)argv;
    return call(c, "admin.stats", 0, &none, false);
}

static int run_clients(struct ctl *c, int argc, char **argv)
{
    struct buf none = BUF_INIT;
    (void)argc;
    (void)argv;
    return call(c, "admin.clients", 0, &none, false);
}

static int run_metrics(struct ctl *c, int argc, char **argv)
{
    struct buf none = BUF_INIT;
    rapyer_value *v = request_wait(c->db, "admin.metrics", 0, &none);
    size_t len;
    (void)argc;
    (void)argv;
    if (!v)
        return answer_error(c);
    const char *text = rapyer_data(v, &len);
    fwrite(text, 1, len, stdout);
    rapyer_value_free(v);
    return 0;
}

/* A table, with advice below what is not well; EXIT_ANSWER when there is any such. */
static int run_doctor(struct ctl *c, int argc, char **argv)
{
    struct buf none = BUF_INIT;
    rapyer_value *v = request_wait(c->db, "admin.doctor", 0, &none);
    int rc = 0;
    (void)argc;
    (void)argv;
    buf_free(&none);
    if (!v)
        return answer_error(c);
    if (c->json)
        print_value(c, v);
    for (size_t i = 0; i < rapyer_len(v); i++) {
        const rapyer_value *f = rapyer_item(v, i);
        const char *state = rapyer_str(f, "state", "");
        const char *advice = rapyer_str(f, "advice", "");
        if (strcmp(state, "ok") != 0)
            rc = EXIT_ANSWER;
        if (c->json)
            continue;
        printf("%-4s  %-12s  %s\n", state, rapyer_str(f, "check", ""), rapyer_str(f, "found", ""));
        if (advice[0])
            printf("      %-12s  %s\n", "", advice);
    }
    rapyer_value_free(v);
    return rc;
}

/* A table, or JSON. */
static int run_locks(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    if (argc == 1) {
        pack_map(&params, 1);
        pack_cstr(&params, "key");
        pack_cstr(&params, argv[0]);
    }
    rapyer_value *v = request_wait(c->db, "admin.locks", (uint32_t)argc, &params);
    int rc = 0;
    buf_free(&params);
    if (!v)
        return answer_error(c);
    if (c->json)
        print_value(c, v);
    else if (ctl_locks_print(v) < 0)
        rc = EXIT_ANSWER;
    rapyer_value_free(v);
    return rc;
}

/* break KEY ACTION [PATH] */
static int run_lock(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    if (strcmp(argv[0], "break") != 0)
        return usage_error("lock takes break", argv[0]);
    pack_args(&params, 2, argv + 1);
    if (argc == 4) {
        pack_map(&params, 1);
        pack_cstr(&params, "path");
        pack_cstr(&params, argv[3]);
    }
    return call(c, "lock.break", (uint32_t)argc - 1, &params, false);
}

static int run_call(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    uint32_t n = 0;
    int rc = argc == 2 ? read_json(argv[1], &params, &n) : 0;
    if (rc == 0)
        return call(c, argv[0], n, &params, false);
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
        return answer_error(c);
    print_change(argv[0], model ? -1 : version, NULL);
    while (rapyer_wait_change(c->db, -1, &change) > 0)
        print_change(change->key, change->version, change);
    return answer_error(c);
}

static const struct command commands[] = {
    {"get", "KEY [PATH...]", "a document, or what is at paths in it", 1, -1, run_get},
    {"set", "KEY PATH JSON", "sets what is at a path", 3, 3, run_set},
    {"save", "KEY JSON", "saves a whole document", 2, 2, run_save},
    {"keys", "MODEL", "the keys of a model's documents, one a line", 1, 1, run_keys},
    {"delete", "KEY...", "deletes documents; how many there were", 1, -1, run_delete},
    {"exists", "KEY...", "how many of these documents there are", 1, -1, run_exists},
    {"ttl", "KEY [SECONDS]", "how long a document lives, -1: for ever; or sets it", 1, 2, run_ttl},
    {"incr", "KEY PATH [N]", "adds N, or 1, to a number; the new one", 2, 3, run_incr},
    {"append", "KEY PATH JSON", "appends to a list; its new length", 3, 3, run_append},
    {"define", "FILE", "declares the model, or array of models, in a JSON file", 1, 1, run_define},
    {"watch", "KEY|MODEL:* [PATH]", "a line for each change, [key, version, [path...]]", 1, 2,
     run_watch},
    {"locks", "[KEY]", "who holds locks, and who waits for them", 0, 1, run_locks},
    {"lock", "break KEY ACTION [PATH]", "takes a lock from who holds it; from how many", 3, 4,
     run_lock},
    {"stats", "", "counters and states of the daemon", 0, 0, run_stats},
    {"metrics", "", "all figures, as text that Prometheus reads", 0, 0, run_metrics},
    {"clients", "", "who is connected", 0, 0, run_clients},
    {"doctor", "", "whether the Redis behind the daemon weakens a guarantee", 0, 0, run_doctor},
    {"call", "METHOD [JSON]", "any method of the protocol, JSON: the array of parameters", 1, 2,
     run_call},
};

/* ---- the command line ---- */

static void help(void)
{
    printf("Usage: rapyerctl [OPTION...] COMMAND [ARGUMENT...]\n"
           "Reads and changes the documents of rapyerd. JSON may be -, for standard input.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-7s %-24s%s\n", commands[i].name, commands[i].args, commands[i].help);
    printf("\n"
           "  -s, --socket PATH      where rapyerd listens ($RAPYER_SOCKET, or\n"
           "                         " DEFAULT_SOCKET ", or where one of\n"
           "                         this user does)\n"
           "  -t, --timeout SECONDS  how long to wait for an answer, 30 at first\n"
           "  -r, --raw              prints a str as it is, not as JSON\n"
           "  -j, --json             prints JSON, not a table (locks, doctor)\n"
           "  -V, --version\n"
           "  -h, --help\n\n"
           "Exit status: 0, 1 the daemon answered with an error, 2 wrong usage, 3 no daemon.\n");
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
    const char *socket;
    int timeout_ms;
    bool raw, json, done;
};

/* 0, or the exit status; done: nothing is left to do. */
static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {{"socket", required_argument, NULL, 's'},
                                          {"timeout", required_argument, NULL, 't'},
                                          {"raw", no_argument, NULL, 'r'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int option;
    while ((option = getopt_long(argc, argv, "+s:t:rjVh", known, NULL)) != -1) {
        char *end = NULL;
        switch (option) {
        case 's': o->socket = optarg; break;
        case 't': {
            double seconds = strtod(optarg, &end);
            if (*end || !(seconds > 0 && seconds < 1e6))
                return usage_error("--timeout takes seconds", optarg);
            o->timeout_ms = (int)(seconds * 1000) + 1;
            break;
        }
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

int main(int argc, char **argv)
{
    struct options o = {.timeout_ms = DEFAULT_TIMEOUT_MS};
    int rc = read_options(&o, argc, argv);
    if (rc || o.done)
        return rc;
    if (optind == argc)
        return usage_error("a command is missing", NULL);
    const struct command *command = find_command(argv[optind]);
    int n = argc - optind - 1;
    if (!command)
        return usage_error("there is no such command", argv[optind]);
    if (n < command->min || (command->max >= 0 && n > command->max)) {
        fprintf(stderr, "Usage: rapyerctl %s %s\n", command->name, command->args);
        return EXIT_USAGE;
    }
    struct ctl c = {.db = rapyer_connect(o.socket), .raw = o.raw, .json = o.json};
    if (rapyer_errcode(c.db)) {
        fprintf(stderr, "rapyerctl: %s\n", rapyer_errmsg(c.db));
        rc = access(c.db->socket, W_OK) < 0 && errno == EACCES ? EXIT_ANSWER : EXIT_CONNECT;
        rapyer_close(c.db);
        return rc;
    }
    rapyer_set_timeout(c.db, o.timeout_ms);
    rc = command->run(&c, n, argv + optind + 1);
    rapyer_close(c.db);
    if (fflush(stdout) != 0 && rc == 0) {
        perror("rapyerctl: standard output");
        rc = EXIT_ANSWER;
    }
    return rc;
}
