/* ctl_find: rapyerctl find MODEL 'age > 30 and city = "Boston"': a line for each document. */
#include "client/ctl.h"
#include "client/expression_text.h"
#include "client/find.h"
#include "client/json.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct finding {
    struct ctl *c;
    rapyer_find_options how;
    const char **paths; /* in the arguments, cut apart */
    const char *update; /* operations as JSON */
    bool count, explain, delete, yes;
};

/* "name,counts["a,b"]": paths, cut at the commas that are outside of brackets. */
static void add_paths(struct finding *fi, char *list)
{
    const char **room =
        realloc(fi->paths, (fi->how.npaths + strlen(list) + 1) * sizeof(*fi->paths));
    bool in_brackets = false;
    if (room == NULL)
        abort();
    fi->paths = room;
    fi->how.paths = room;
    room[fi->how.npaths++] = list;
    for (char *p = list; *p; p++) {
        in_brackets = *p == '[' || (in_brackets && *p != ']');
        if (*p != ',' || in_brackets)
            continue;
        *p = '\0';
        room[fi->how.npaths++] = p + 1;
    }
}

static int read_limit(const char *text, int64_t *limit)
{
    char *end;
    errno = 0;
    *limit = strtoll(text, &end, 10);
    if (*end || end == text || errno || *limit < 1)
        return ctl_usage_error("--limit takes how many documents at most, 1 or more", text);
    return 0;
}

/* argv[0] is the command. optind is then at what is no option. */
static int read_options(struct finding *fi, int argc, char **argv)
{
    static const struct option known[] = {
        {"sort", required_argument, NULL, 's'},   {"limit", required_argument, NULL, 'l'},
        {"paths", required_argument, NULL, 'p'},  {"keys", no_argument, NULL, 'k'},
        {"count", no_argument, NULL, 'c'},        {"explain", no_argument, NULL, 'e'},
        {"scan", no_argument, NULL, 'a'},         {"delete", no_argument, NULL, 'd'},
        {"update", required_argument, NULL, 'u'}, {"yes", no_argument, NULL, 'y'},
        {"json", no_argument, NULL, 'j'},         {0}};
    int option, rc = 0;
    optind = 0; /* as for the first time: main has used it */
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, "jy", known, NULL)) != -1) {
        switch (option) {
        case 's': fi->how.sort = optarg; break;
        case 'l': rc = read_limit(optarg, &fi->how.limit); break;
        case 'p': add_paths(fi, optarg); break;
        case 'k': fi->how.keys = true; break;
        case 'c': fi->count = true; break;
        case 'e': fi->explain = true; break;
        case 'a': fi->how.scan = true; break;
        case 'd': fi->delete = true; break;
        case 'u': fi->update = optarg; break;
        case 'y': fi->yes = true; break;
        case 'j': fi->c->json = true; break;
        default:
            rc = ctl_usage_error("find takes --sort PATH, --limit N, --paths PATHS, --keys, "
                                 "--count, --explain, --scan, --update OPERATIONS, --delete, "
                                 "--yes and --json",
                                 argv[optind - 1]);
        }
    }
    if (rc == 0 && fi->count + fi->explain + fi->delete + (fi->update != NULL) > 1)
        rc = ctl_usage_error("one of --count, --explain, --update and --delete at a time", NULL);
    if (rc == 0 && (fi->delete || fi->update != NULL) && (fi->how.keys || fi->how.npaths > 0))
        rc = ctl_usage_error("--keys and --paths are of what is printed", NULL);
    return rc;
}

static int run_count(struct finding *fi, const char *model, const struct buf *expression)
{
    int64_t n = find_count(fi->c->db, model, &fi->how, expression);
    if (n < 0)
        return ctl_answer_error(fi->c);
    printf("%lld\n", (long long)n);
    return 0;
}

static int run_explain(struct finding *fi, const char *model, const struct buf *expression)
{
    rapyer_value *v = find_explain(fi->c->db, model, &fi->how, expression);
    if (v == NULL)
        return ctl_answer_error(fi->c);
    ctl_print(fi->c, rapyer_get(v, "explain"));
    rapyer_value_free(v);
    return 0;
}

/* {"key": ..., "document": ...}, as import takes it, too. */
static void print_document(const struct ctl *c, const char *key, const rapyer_value *document)
{
    struct buf line = BUF_INIT;
    char *indented = NULL;
    buf_printf(&line, "{\"key\":");
    json_text(&line, key, strlen(key));
    buf_printf(&line, ",\"document\":");
    json_exact(&line, document);
    buf_append(&line, "}", 2); /* with its NUL */
    if (c->terminal && !c->json && !line.failed)
        indented = ctl_indented((char *)line.data);
    puts(indented ? indented : line.failed ? "" : (char *)line.data);
    free(indented);
    buf_free(&line);
}

static int run_list(struct finding *fi, const char *model, const struct buf *expression)
{
    rapyer *db = fi->c->db;
    rapyer_cursor *found = find_begin(db, model, &fi->how, expression);
    const char *key;
    if (found == NULL)
        return ctl_answer_error(fi->c);
    while ((key = rapyer_next(found)) != NULL && !ferror(stdout)) {
        if (fi->how.keys)
            puts(key);
        else
            print_document(fi->c, key, rapyer_found(found));
    }
    int rc = rapyer_errcode(db) ? ctl_answer_error(fi->c) : 0;
    rapyer_cursor_free(found);
    return rc;
}

/* ---- changing ---- */

/* How many it would be is found out first. 0: go on, else the exit status. */
static int confirm(struct finding *fi, const char *model, const struct buf *expression)
{
    const char *verb = fi->delete ? "Delete" : "Change";
    if (fi->yes || !isatty(STDIN_FILENO))
        return ctl_confirm(fi->yes, "%s", verb);
    int64_t n = find_count(fi->c->db, model, &fi->how, expression);
    if (n < 0 && rapyer_errcode(fi->c->db) != RAPYER_TOO_LARGE)
        return ctl_answer_error(fi->c);
    if (n < 0)
        return ctl_confirm(false, "%s very many documents of %s?", verb, model);
    if (fi->how.limit > 0 && n > fi->how.limit)
        n = fi->how.limit;
    return ctl_confirm(false, "%s %lld documents of %s?", verb, (long long)n, model);
}

static void print_refused(void *arg, const char *key, const char *why)
{
    (void)arg;
    fprintf(stderr, "rapyerctl: %s: %s\n", key, why);
}

/* Prints how many were changed, also where an error ended it. */
static int run_change(struct finding *fi, const char *model, const struct buf *expression)
{
    struct buf operations = BUF_INIT;
    struct find_changes done = {.on_refused = print_refused};
    int rc = fi->update != NULL ? ctl_read_json(fi->update, &operations, NULL) : 0;
    if (rc == 0)
        rc = confirm(fi, model, expression);
    if (rc == 0) {
        bool whole = find_change(fi->c->db, model, &fi->how, expression,
                                 fi->update != NULL ? &operations : NULL, &done) == 0;
        if (whole || done.changed > 0)
            printf("%lld\n", (long long)done.changed);
        rc = !whole ? ctl_answer_error(fi->c) : done.refused > 0 ? EXIT_ANSWER : 0;
    }
    buf_free(&operations);
    return rc;
}

static int find(struct finding *fi, const char *model, const char *text)
{
    struct buf expression = BUF_INIT;
    struct fault f;
    int rc;
    if (expression_text(text, NULL, &expression, &f) < 0)
        rc = ctl_usage_error("find", f.text);
    else if (fi->count)
        rc = run_count(fi, model, &expression);
    else if (fi->delete || fi->update != NULL)
        rc = run_change(fi, model, &expression);
    else if (fi->explain)
        rc = run_explain(fi, model, &expression);
    else
        rc = run_list(fi, model, &expression);
    buf_free(&expression);
    return rc;
}

int ctl_find(struct ctl *c, int argc, char **argv)
{
    struct finding fi = {.c = c};
    char **all = argv - 1;
    int rc = read_options(&fi, argc + 1, all);
    int words = argc + 1 - optind;
    if (rc == 0 && (words < 1 || words > 2))
        rc = ctl_usage_error("find takes a model and one expression, in quotes for the shell",
                             words > 2 ? all[optind + 2] : NULL);
    if (rc == 0)
        rc = find(&fi, all[optind], words == 2 ? all[optind + 1] : NULL);
    free(fi.paths);
    return rc;
}
