/* ctl_index: rapyerctl index list|check|build|drop: the indexes of models. */
#include "client/ctl.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 600000 /* a check goes through all documents */

static void pack_model(const struct ctl *c, const char *model, struct buf *params)
{
    char *whole = db_whole_name(c->db, model);
    pack_cstr(params, whole != NULL ? whole : model);
    free(whole);
}

static void fill_index(const rapyer_value *v, char **cells)
{
    cells[0] = ctl_form("%s", rapyer_str(v, "model", ""));
    cells[1] = ctl_form("%s", rapyer_str(v, "path", ""));
    cells[2] = ctl_form("%s", rapyer_str(v, "index", ""));
    cells[3] = ctl_form("%s", rapyer_bool(v, "unique", false) ? "yes" : "");
    cells[4] = ctl_form("%s", rapyer_str(v, "state", ""));
    cells[5] = ctl_form("%s", rapyer_str(v, "key", ""));
}

static int run_list(struct ctl *c, int argc, char **argv)
{
    static const char *const titles[] = {"model", "path", "index", "unique", "state", "key"};
    struct buf params = BUF_INIT;
    if (argc > 0)
        pack_model(c, argv[0], &params);
    rapyer_value *v = ctl_ask(c, "index.list", argc > 0, &params);
    if (v == NULL)
        return ctl_answer_error(c);
    if (c->json)
        ctl_print(c, v);
    else
        ctl_table_of(v, titles, 6, fill_index);
    rapyer_value_free(v);
    return 0;
}

/* ---- check ---- */

struct sums {
    int64_t documents, entries, missing, left_over, undeclared, spoilt;
};

/* The spoilt keys go to standard error. */
static void add(struct sums *all, const rapyer_value *v)
{
    const rapyer_value *spoilt = rapyer_get(v, "spoilt");
    all->documents += rapyer_int(v, "documents", 0);
    all->entries += rapyer_int(v, "entries", 0);
    all->missing += rapyer_int(v, "missing", 0);
    all->left_over += rapyer_int(v, "left_over", 0);
    all->undeclared += rapyer_int(v, "undeclared", 0);
    all->spoilt += (int64_t)rapyer_len(spoilt);
    for (size_t i = 0; i < rapyer_len(spoilt); i++) {
        char *key = ctl_form("%s", rapyer_str(rapyer_item(spoilt, i), "", ""));
        fprintf(stderr, "rapyerctl: %s is spoilt\n", key != NULL ? key : "a key");
        free(key);
    }
}

static int print_sums(const struct ctl *c, const struct sums *all, bool repair)
{
    if (c->json)
        printf("{\"documents\":%" PRId64 ",\"entries\":%" PRId64 ",\"missing\":%" PRId64
               ",\"left_over\":%" PRId64 ",\"undeclared\":%" PRId64 ",\"spoilt\":%" PRId64 "}\n",
               all->documents, all->entries, all->missing, all->left_over, all->undeclared,
               all->spoilt);
    else
        printf("documents  %" PRId64 "\nentries    %" PRId64 "\nmissing    %" PRId64
               "\nleft over  %" PRId64 "\nundeclared %" PRId64 "\nspoilt     %" PRId64 "\n",
               all->documents, all->entries, all->missing, all->left_over, all->undeclared,
               all->spoilt);
    if (repair && all->spoilt > 0 && !c->json)
        puts("what was spoilt is being built anew: see index list");
    return !repair && (all->missing > 0 || all->spoilt > 0) ? EXIT_ANSWER : 0;
}

static int run_check(struct ctl *c, int argc, char **argv, bool repair)
{
    struct sums all = {0};
    char *cursor = NULL;
    bool more = true;
    (void)argc;
    rapyer_set_timeout(c->db, PATIENCE_MS);
    while (more) {
        struct buf params = BUF_INIT;
        pack_model(c, argv[0], &params);
        pack_map(&params, 1 + (cursor != NULL));
        pack_cstr(&params, "repair");
        pack_bool(&params, repair);
        if (cursor != NULL) {
            pack_cstr(&params, "cursor");
            pack_cstr(&params, cursor);
        }
        rapyer_value *v = ctl_ask(c, "index.check", 2, &params);
        free(cursor);
        if (v == NULL)
            return ctl_answer_error(c);
        add(&all, v);
        const char *next = rapyer_str(v, "cursor", NULL);
        cursor = next != NULL ? strdup(next) : NULL;
        more = cursor != NULL;
        rapyer_value_free(v);
    }
    return print_sums(c, &all, repair);
}

/* ---- */

static int run_drop(struct ctl *c, int argc, char **argv, bool yes)
{
    struct buf params = BUF_INIT;
    int rc = ctl_confirm(yes, "Drop the %s%sindex on %s of %s?", argc > 2 ? argv[2] : "",
                         argc > 2 ? " " : "", argv[1], argv[0]);
    if (rc != 0)
        return rc;
    pack_model(c, argv[0], &params);
    pack_cstr(&params, argv[1]);
    if (argc > 2)
        pack_cstr(&params, argv[2]);
    return ctl_call(c, "index.drop", argc > 2 ? 3 : 2, &params, true);
}

static int run_build(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;
    (void)argc;
    pack_model(c, argv[0], &params);
    return ctl_call(c, "index.build", 1, &params, true);
}

int ctl_index(struct ctl *c, int argc, char **argv)
{
    static const struct option known[] = {{"repair", no_argument, NULL, 'r'},
                                          {"yes", no_argument, NULL, 'y'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    bool repair = false, yes = false;
    char **all = argv - 1;
    int option, n = argc + 1;
    optind = 0; /* as for the first time: main has used it */
    opterr = 0;
    while ((option = getopt_long(n, all, "jy", known, NULL)) != -1) {
        repair = repair || option == 'r';
        yes = yes || option == 'y';
        c->json = c->json || option == 'j';
        if (option == '?')
            return ctl_usage_error("index takes --repair and --yes", all[optind - 1]);
    }
    n -= optind;
    all += optind;
    const char *what = n > 0 ? all[0] : "";
    if (strcmp(what, "list") == 0 && n <= 2 && !repair)
        return run_list(c, n - 1, all + 1);
    if (strcmp(what, "check") == 0 && n == 2)
        return run_check(c, n - 1, all + 1, repair);
    if (strcmp(what, "build") == 0 && n == 2 && !repair)
        return run_build(c, n - 1, all + 1);
    if (strcmp(what, "drop") == 0 && (n == 3 || n == 4) && !repair)
        return run_drop(c, n - 1, all + 1, yes);
    return ctl_usage_error("index takes list [MODEL], check MODEL [--repair], build MODEL, or drop "
                           "MODEL FIELD [KIND] [--yes]",
                           NULL);
}
