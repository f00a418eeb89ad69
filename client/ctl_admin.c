/* ctl_admin: rapyerctl's commands on the daemon itself. */
#include "client/ctl.h"
#include "client/ctl_locks.h"
#include "client/request.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rapyer_value *ask(struct ctl *c, const char *method)
{
    struct buf none = BUF_INIT;

    return ctl_ask(c, method, 0, &none);
}

static int show(struct ctl *c, const char *method)
{
    struct buf none = BUF_INIT;

    return ctl_call(c, method, 0, &none, false);
}

int ctl_stats(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return show(c, "admin.stats");
}

int ctl_metrics(struct ctl *c, int argc, char **argv)
{
    rapyer_value *v = ask(c, "admin.metrics");
    size_t len;

    (void)argc, (void)argv;
    if (!v)
        return ctl_answer_error(c);
    const char *text = rapyer_data(v, &len);
    fwrite(text, 1, len, stdout);
    rapyer_value_free(v);
    return 0;
}

/* --- clients ----------------------------------------------------------------------------- */

static const char *const client_titles[] = {" CLIENT",   " PID",     " UID",  "PROGRAM",
                                            " REQUESTS", " FAULTS",  " BUSY", " MEMORY",
                                            " UNREAD",   " WAITING", "RING",  " AGE"};

static void fill_client(const rapyer_value *v, char **cells)
{
    cells[0] = ctl_form("%lld", (long long)rapyer_int(v, "number", 0));
    cells[1] = ctl_form("%lld", (long long)rapyer_int(v, "pid", 0));
    cells[2] = ctl_form("%lld", (long long)rapyer_int(v, "uid", 0));
    cells[3] = ctl_form("%s", rapyer_str(v, "program", ""));
    cells[4] = ctl_form("%lld", (long long)rapyer_int(v, "requests", 0));
    cells[5] = ctl_form("%lld", (long long)rapyer_int(v, "faults", 0));
    cells[6] = ctl_form("%.3f s", (double)rapyer_int(v, "busy_us", 0) / 1e6);
    cells[7] = ctl_form("%lld K", (long long)rapyer_int(v, "memory", 0) / 1024);
    cells[8] = ctl_form("%lld", (long long)rapyer_int(v, "unsent", 0));
    cells[9] = ctl_form("%lld%s", (long long)rapyer_int(v, "waiting", 0),
                        rapyer_bool(v, "paused", false) ? " paused" : "");
    cells[10] = ctl_form("%s", rapyer_bool(v, "ring", false) ? "yes" : "");
    cells[11] = ctl_form("%lld s", (long long)rapyer_int(v, "connected_ms", 0) / 1000);
}

int ctl_clients(struct ctl *c, int argc, char **argv)
{
    rapyer_value *v = ask(c, "admin.clients");

    (void)argc, (void)argv;
    if (!v)
        return ctl_answer_error(c);
    if (c->json || !c->terminal)
        ctl_print(c, v);
    else
        ctl_table_of(v, client_titles, 12, fill_client);
    rapyer_value_free(v);
    return 0;
}

static const char *const rule_titles[] = {"WHAT", "MODELS"};

static void fill_rule(const rapyer_value *v, char **cells)
{
    cells[0] = ctl_form("%s", rapyer_str(rapyer_item(v, 0), "", ""));
    cells[1] = ctl_form("%s", rapyer_str(rapyer_item(v, 1), "", ""));
}

int ctl_rights(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    char *end = "";
    long long number = argc > 0 ? strtoll(argv[0], &end, 10) : 1;

    if (*end || number < 1)
        return ctl_usage_error("rights takes the number of a client (rapyerctl clients)", argv[0]);
    if (argc > 0)
        pack_int(&params, number);
    rapyer_value *v = ctl_ask(c, "rights", argc > 0, &params);
    if (!v)
        return ctl_answer_error(c);
    const rapyer_value *rules = rapyer_get(v, "rules");
    if (c->json || !c->terminal)
        ctl_print(c, v);
    else if (rapyer_kind_of(rules) != RAPYER_LIST)
        puts("everything: there are no rules (rights.file)");
    else if (rapyer_len(rules) == 0)
        printf("nothing: no line of the rules (rights.file) speaks of uid %lld or its groups\n",
               (long long)rapyer_int(v, "uid", 0));
    else
        ctl_table_of(rules, rule_titles, 2, fill_rule);
    rapyer_value_free(v);
    return 0;
}

int ctl_kill(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    char *end;
    long long number = strtoll(argv[0], &end, 10);

    (void)argc;
    if (*end || number < 1)
        return ctl_usage_error("kill takes the number of a client (rapyerctl clients)", argv[0]);
    pack_int(&params, number);
    rapyer_value *v = ctl_ask(c, "admin.kill", 1, &params);
    if (!v)
        return ctl_answer_error(c);
    bool was_there = rapyer_bool(v, "", false);
    rapyer_value_free(v);
    if (!was_there)
        fprintf(stderr, "rapyerctl: there is no client %lld\n", number);
    return was_there ? 0 : EXIT_NOT_THERE;
}

/* --- doctor, locks ----------------------------------------------------------------------- */

static const char *colour_of(const char *state)
{
    return strcmp(state, "ok") == 0 ? CTL_GREEN : strcmp(state, "warn") == 0 ? CTL_YELLOW : CTL_RED;
}

static bool same(const rapyer_value *a, const rapyer_value *b, const char *field)
{
    return strcmp(rapyer_str(a, field, ""), rapyer_str(b, field, "")) == 0;
}

/* Of other nodes of a cluster. */
static bool says_the_same(const rapyer_value *a, const rapyer_value *b)
{
    return same(a, b, "check") && same(a, b, "state") && same(a, b, "found");
}

/* Where not all nodes have said this, those that have stand in front. */
static void print_nodes(const rapyer_value *all, size_t at)
{
    const rapyer_value *f = rapyer_item(all, at);
    size_t n = rapyer_len(all), alike = 0, others = 0;
    for (size_t i = 0; i < n; i++) {
        const rapyer_value *other = rapyer_item(all, i);
        if (same(f, other, "check"))
            *(says_the_same(f, other) ? &alike : &others) += 1;
    }
    for (size_t i = at; i < n && others > 0; i++) {
        const rapyer_value *other = rapyer_item(all, i);
        if (says_the_same(f, other))
            printf("%s%s", rapyer_str(other, "node", ""), --alike > 0 ? ", " : ": ");
    }
}

static void print_finding(const struct ctl *c, const rapyer_value *all, size_t at)
{
    const rapyer_value *f = rapyer_item(all, at);
    const char *state = rapyer_str(f, "state", "");
    const char *advice = rapyer_str(f, "advice", "");
    for (size_t i = 0; i < at; i++) {
        if (says_the_same(rapyer_item(all, i), f))
            return; /* it was told there */
    }
    printf("%s%-4s%s  %-12s  ", ctl_paint(c, colour_of(state)), state, ctl_paint(c, CTL_NORMAL),
           rapyer_str(f, "check", ""));
    print_nodes(all, at);
    printf("%s\n", rapyer_str(f, "found", ""));
    if (advice[0])
        printf("      %-12s  %s\n", "", advice);
}

/* What is said of one thing by all nodes of a cluster stands together. */
static void print_doctor(const struct ctl *c, const rapyer_value *all)
{
    for (size_t i = 0; i < rapyer_len(all); i++) {
        const rapyer_value *f = rapyer_item(all, i);
        bool told = false;
        for (size_t k = 0; k < i && !told; k++)
            told = same(rapyer_item(all, k), f, "check");
        for (size_t k = i; k < rapyer_len(all) && !told; k++) {
            if (same(rapyer_item(all, k), f, "check"))
                print_finding(c, all, k);
        }
    }
}

/* A table, with advice below what is not well; EXIT_ANSWER when there is any such. */
int ctl_doctor(struct ctl *c, int argc, char **argv)
{
    rapyer_value *v = ask(c, "admin.doctor");
    int rc = 0;

    (void)argc, (void)argv;
    if (!v)
        return ctl_answer_error(c);
    for (size_t i = 0; i < rapyer_len(v); i++) {
        if (strcmp(rapyer_str(rapyer_item(v, i), "state", ""), "ok") != 0)
            rc = EXIT_ANSWER;
    }
    if (c->json)
        ctl_print(c, v);
    else
        print_doctor(c, v);
    rapyer_value_free(v);
    return rc;
}

/* A table, or JSON. */
int ctl_locks(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    int rc = 0;

    if (argc == 1) {
        pack_map(&params, 1);
        pack_cstr(&params, "key");
        pack_cstr(&params, argv[0]);
    }
    rapyer_value *v = ctl_ask(c, "admin.locks", (uint32_t)argc, &params);
    if (!v)
        return ctl_answer_error(c);
    if (c->json)
        ctl_print(c, v);
    else if (ctl_locks_print(v) < 0)
        rc = EXIT_ANSWER;
    rapyer_value_free(v);
    return rc;
}

/* break KEY ACTION [PATH] */
int ctl_lock(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;

    if (strcmp(argv[0], "break") != 0)
        return ctl_usage_error("lock takes break", argv[0]);
    pack_cstr(&params, argv[1]);
    pack_cstr(&params, argv[2]);
    if (argc == 4) {
        pack_map(&params, 1);
        pack_cstr(&params, "path");
        pack_cstr(&params, argv[3]);
    }
    return ctl_call(c, "lock.break", (uint32_t)argc - 1, &params, false);
}

/* --- cache ------------------------------------------------------------------------------- */

static const char *const doc_titles[] = {"KEY", " BYTES", " REQUESTS"};

static void fill_doc(const rapyer_value *v, char **cells)
{
    cells[0] = ctl_form("%s", rapyer_str(v, "key", ""));
    cells[1] = ctl_form("%lld", (long long)rapyer_int(v, "bytes", 0));
    cells[2] = ctl_form("%lld", (long long)rapyer_int(v, "requests", 0));
}

static void print_cache(const rapyer_value *v)
{
    int64_t hits = rapyer_int(v, "hits", 0), all = hits + rapyer_int(v, "misses", 0);

    printf("%lld documents (%lld known not to be there), %lld of %lld bytes, %.1f %% found, "
           "%lld had to leave\n",
           (long long)rapyer_int(v, "documents", 0), (long long)rapyer_int(v, "absent", 0),
           (long long)rapyer_int(v, "memory", 0), (long long)rapyer_int(v, "limit", 0),
           all > 0 ? 100.0 * (double)hits / (double)all : 0.0,
           (long long)rapyer_int(v, "evictions", 0));
    printf("%lld documents in %lld bytes of shared memory, read there %lld times\n",
           (long long)rapyer_int(v, "shared_documents", 0),
           (long long)rapyer_int(v, "shared_memory", 0),
           (long long)rapyer_int(v, "shared_hits", 0));
    printf("\nBiggest of %lld\n", (long long)rapyer_int(v, "looked_at", 0));
    ctl_table_of(rapyer_get(v, "biggest"), doc_titles, 3, fill_doc);
    printf("\nAsked for most\n");
    ctl_table_of(rapyer_get(v, "hottest"), doc_titles, 3, fill_doc);
}

int ctl_cache(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    char *end = "";
    long n = argc == 1 ? strtol(argv[0], &end, 10) : 10;

    if (*end || n < 0)
        return ctl_usage_error("cache takes how many documents to name", argv[0]);
    pack_int(&params, n);
    rapyer_value *v = ctl_ask(c, "admin.cache", 1, &params);
    if (!v)
        return ctl_answer_error(c);
    if (c->json)
        ctl_print(c, v);
    else
        print_cache(v);
    rapyer_value_free(v);
    return 0;
}

/* --- settings ---------------------------------------------------------------------------- */

/* All, those of a section, or one. */
static bool is_asked(const char *full, const char *name)
{
    size_t len = name ? strlen(name) : 0;

    return !name || strcmp(full, name) == 0 || (strncmp(full, name, len) == 0 && full[len] == '.');
}

static void print_setting(const rapyer_value *s, bool alone)
{
    const char *value = rapyer_str(s, "value", "");

    if (alone)
        puts(value);
    else
        printf("%s = %s%s\n", rapyer_str(s, "name", ""), value,
               strcmp(value, rapyer_str(s, "default", "")) == 0 ? "" : "    (not the default)");
}

static int config_get(struct ctl *c, const char *name)
{
    rapyer_value *v = ask(c, "admin.config");
    size_t shown = 0;

    if (!v)
        return ctl_answer_error(c);
    for (size_t i = 0; i < rapyer_len(v); i++) {
        const rapyer_value *s = rapyer_item(v, i);
        if (!is_asked(rapyer_str(s, "name", ""), name))
            continue;
        if (c->json)
            ctl_print_element(s, shown);
        else
            print_setting(s, name && strcmp(rapyer_str(s, "name", ""), name) == 0);
        shown++;
    }
    rapyer_value_free(v);
    if (c->json && shown)
        puts("]");
    if (shown == 0)
        fprintf(stderr, "rapyerctl: there is no setting or section %s\n", name);
    return shown == 0 ? EXIT_NOT_THERE : 0;
}

static int config_set(struct ctl *c, const char *name, const char *value)
{
    struct buf params = BUF_INIT;

    pack_cstr(&params, name);
    pack_cstr(&params, value);
    rapyer_value *v = ctl_ask(c, "admin.set", 2, &params);
    if (!v)
        return ctl_answer_error(c);
    if (c->json)
        ctl_print(c, v);
    else
        printf("%s = %s, until the next start\n", name, rapyer_str(v, "", ""));
    rapyer_value_free(v);
    return 0;
}

static void print_names(const char *what, const rapyer_value *names)
{
    if (rapyer_len(names) > 0)
        printf("%s:\n", what);
    for (size_t i = 0; i < rapyer_len(names); i++)
        printf("  %s\n", rapyer_str(rapyer_item(names, i), "", ""));
}

static int config_reload(struct ctl *c)
{
    rapyer_value *v = ask(c, "admin.reload");

    if (!v)
        return ctl_answer_error(c);
    if (c->json) {
        ctl_print(c, v);
    } else {
        print_names("taken over", rapyer_get(v, "changed"));
        print_names("takes a restart", rapyer_get(v, "restart"));
        if (rapyer_len(rapyer_get(v, "changed")) + rapyer_len(rapyer_get(v, "restart")) == 0)
            puts("no setting has changed; files that settings name were read again");
    }
    rapyer_value_free(v);
    return 0;
}

int ctl_config(struct ctl *c, int argc, char **argv)
{
    if (strcmp(argv[0], "get") == 0 && argc <= 2)
        return config_get(c, argc == 2 ? argv[1] : NULL);
    if (strcmp(argv[0], "set") == 0 && argc == 3)
        return config_set(c, argv[1], argv[2]);
    if (strcmp(argv[0], "reload") == 0 && argc == 1)
        return config_reload(c);
    return ctl_usage_error("config takes get [NAME], set NAME VALUE, or reload", NULL);
}

int ctl_log(struct ctl *c, int argc, char **argv)
{
    (void)argc;
    return config_set(c, "log.log_level", argv[0]);
}

int ctl_upgrade(struct ctl *c, int argc, char **argv)
{
    rapyer_value *v = ask(c, "admin.upgrade");

    (void)argc, (void)argv;
    if (!v)
        return ctl_answer_error(c);
    if (c->json)
        ctl_print(c, v);
    else
        printf("upgraded from %s to %s: %lld connections were taken over, requests stood still for "
               "%.1f ms%s\n",
               rapyer_str(v, "was", ""), rapyer_str(v, "is", ""),
               (long long)rapyer_int(v, "clients", 0), rapyer_float(v, "still", 0) * 1e3,
               rapyer_bool(v, "ready", false) ? "" : "; Redis does not answer yet");
    rapyer_value_free(v);
    return 0;
}

/* --- models ------------------------------------------------------------------------------ */

static const char *const model_titles[] = {"MODEL", "KIND", " REVISION", " FIELDS", "KEY"};

static void fill_model(const rapyer_value *v, char **cells)
{
    cells[0] = ctl_form("%s", rapyer_str(v, "name", ""));
    cells[1] = ctl_form("%s", rapyer_str(v, "kind", ""));
    cells[2] = ctl_form("%lld", (long long)rapyer_int(v, "revision", 0));
    cells[3] = ctl_form("%zu", rapyer_len(rapyer_get(v, "fields")));
    cells[4] = ctl_form("%s", rapyer_str(v, "key", ""));
}

static const char *const field_titles[] = {"FIELD", "TYPE", "DEFAULT", "INDEX", ""};

/* One word, or a list of some. */
static char *index_of(const rapyer_value *v)
{
    struct buf out = BUF_INIT;
    buf_printf(&out, "%s", rapyer_str(v, "", ""));
    for (size_t i = 0; i < rapyer_len(v) && rapyer_kind_of(v) == RAPYER_LIST; i++)
        buf_printf(&out, "%s%s", i ? " " : "", rapyer_str(rapyer_item(v, i), "", ""));
    char *text = ctl_form("%s", out.len > 0 ? (char *)out.data : "");
    buf_free(&out);
    return text;
}

static void fill_field(const rapyer_value *v, char **cells)
{
    const rapyer_value *fallback = rapyer_get(v, "default");

    cells[0] = ctl_form("%s", rapyer_str(v, "name", ""));
    cells[1] = ctl_form("%s", rapyer_str(v, "type", ""));
    cells[2] = fallback ? ctl_plain(rapyer_to_json(fallback)) : NULL;
    cells[3] = index_of(rapyer_get(v, "index"));
    bool lazy = rapyer_bool(v, "lazy", false), unique = rapyer_bool(v, "unique", false);
    cells[4] =
        ctl_form("%s%s%s", unique ? "unique" : "", unique && lazy ? " " : "", lazy ? "lazy" : "");
}

/* {"author": nil, "series": 2}: what lives on with it. */
static void print_refreshed(const rapyer_value *v)
{
    for (size_t i = 0; i < rapyer_len(v) && rapyer_kind_of(v) == RAPYER_DICT; i++)
        printf("%s%s", i == 0 ? ", with what is at " : ", ", rapyer_item_key(v, i));
}

static void describe(const rapyer_value *m)
{
    int64_t ttl = rapyer_int(m, "ttl", 0);

    printf("%s: %s, revision %lld", rapyer_str(m, "name", ""), rapyer_str(m, "kind", ""),
           (long long)rapyer_int(m, "revision", 0));
    if (rapyer_str(m, "key", NULL))
        printf(", key %s", rapyer_str(m, "key", ""));
    const rapyer_value *refreshed = rapyer_get(m, "refresh_ttl");
    bool refreshes = rapyer_bool(m, "refresh_ttl", false) || rapyer_len(refreshed) > 0;
    if (ttl > 0)
        printf(", lives %lld s%s", (long long)ttl, refreshes ? " from its last change" : "");
    print_refreshed(refreshed);
    printf("\n\n");
    ctl_table_of(rapyer_get(m, "fields"), field_titles, 5, fill_field);
}

int ctl_models(struct ctl *c, int argc, char **argv)
{
    rapyer_value *v = ask(c, "admin.models");
    const rapyer_value *one = NULL;

    if (!v)
        return ctl_answer_error(c);
    for (size_t i = 0; argc == 1 && i < rapyer_len(v); i++)
        if (strcmp(rapyer_str(rapyer_item(v, i), "name", ""), argv[0]) == 0)
            one = rapyer_item(v, i);
    if (argc == 1 && !one)
        fprintf(stderr, "rapyerctl: no model %s is defined\n", argv[0]);
    else if (c->json)
        ctl_print(c, one ? one : v);
    else if (one)
        describe(one);
    else
        ctl_table_of(v, model_titles, 5, fill_model);
    rapyer_value_free(v);
    return argc == 1 && !one ? EXIT_NOT_THERE : 0;
}

/* --- times ------------------------------------------------------------------------------- */

static const char *const latency_titles[] = {"METHOD", "STAGE", " COUNT", " MEAN",
                                             " P50",   " P99",  " P99.9"};

static void add_times(char **cells, const rapyer_value *h)
{
    cells[2] = ctl_form("%lld", (long long)rapyer_int(h, "count", 0));
    cells[3] = ctl_form("%.0f us", rapyer_float(h, "mean", 0));
    cells[4] = ctl_form("%.0f us", rapyer_float(h, "p50", 0));
    cells[5] = ctl_form("%.0f us", rapyer_float(h, "p99", 0));
    cells[6] = ctl_form("%.0f us", rapyer_float(h, "p999", 0));
}

static size_t add_method(char **cells, const char *name, const rapyer_value *m)
{
    const rapyer_value *stages = rapyer_get(m, "stages");
    size_t n = 1;

    cells[0] = ctl_form("%s", name);
    add_times(cells, m);
    for (size_t i = 0; i < rapyer_len(stages); i++, n++) {
        cells[n * 7 + 1] = ctl_form("%s", rapyer_item_key(stages, i));
        add_times(&cells[n * 7], rapyer_item(stages, i));
    }
    return n;
}

int ctl_latency(struct ctl *c, int argc, char **argv)
{
    rapyer_value *v = ask(c, "admin.latency");

    (void)argc, (void)argv;
    if (!v)
        return ctl_answer_error(c);
    const rapyer_value *methods = rapyer_get(v, "methods");
    size_t most = rapyer_len(methods) * 5 + 2, n = 0;
    char **cells = c->json ? NULL : calloc(most * 7, sizeof *cells);
    if (c->json)
        ctl_print(c, v);
    for (size_t i = 0; cells && i < rapyer_len(methods); i++)
        if (rapyer_int(rapyer_item(methods, i), "count", 0) > 0)
            n += add_method(&cells[n * 7], rapyer_item_key(methods, i), rapyer_item(methods, i));
    if (cells) {
        n += add_method(&cells[n * 7], "(commits)", rapyer_get(v, "commits"));
        n += add_method(&cells[n * 7], "(waits for locks)", rapyer_get(v, "lock_waits"));
        ctl_table(latency_titles, 7, cells, n);
    }
    for (size_t i = 0; i < n * 7; i++)
        free(cells[i]);
    free(cells);
    rapyer_value_free(v);
    return 0;
}
