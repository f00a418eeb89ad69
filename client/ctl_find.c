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

struct finding {
    struct ctl *c;
    rapyer_find_options how;
    const char **paths; /* in the arguments, cut apart */
    bool count, explain;
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
    static const struct option known[] = {{"sort", required_argument, NULL, 's'},
                                          {"limit", required_argument, NULL, 'l'},
                                          {"paths", required_argument, NULL, 'p'},
                                          {"keys", no_argument, NULL, 'k'},
                                          {"count", no_argument, NULL, 'c'},
                                          {"explain", no_argument, NULL, 'e'},
                                          {"scan", no_argument, NULL, 'a'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    int option, rc = 0;
    optind = 0; /* as for the first time: main has used it */
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, "j", known, NULL)) != -1) {
        switch (option) {
        case 's': fi->how.sort = optarg; break;
        case 'l': rc = read_limit(optarg, &fi->how.limit); break;
        case 'p': add_paths(fi, optarg); break;
        case 'k': fi->how.keys = true; break;
        case 'c': fi->count = true; break;
        case 'e': fi->explain = true; break;
        case 'a': fi->how.scan = true; break;
        case 'j': fi->c->json = true; break;
        default:
            rc = ctl_usage_error("find takes --sort PATH, --limit N, --paths PATHS, --keys, "
                                 "--count, --explain, --scan and --json",
                                 argv[optind - 1]);
        }
    }
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

static int find(struct finding *fi, const char *model, const char *text)
{
    struct buf expression = BUF_INIT;
    struct fault f;
    int rc;
    if (expression_text(text, NULL, &expression, &f) < 0)
        rc = ctl_usage_error("find", f.text);
    else if (fi->count)
        rc = run_count(fi, model, &expression);
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
