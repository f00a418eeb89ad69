/* ctl_export: documents as lines of JSON, for rapyerctl import and whoever reads JSON.
 *
 *   {"rapyer-export":1,"models":["User"]}
 *   {"define":{"name":"User", ...}}                     each model that is there, inner ones first
 *   {"key":"User:1","ttl":null,"document":{...}}        with its lazy fields; ttl in seconds
 *   {"next":{"model":"User","cursor":"..."}}            behind each page: whoever resumes begins
 * there
 *   {"end":{"documents":1}}
 *
 * One page of keys and one document are in memory at a time.
 */
#include "client/ctl.h"
#include "client/ctl_json.h"
#include "client/json.h"
#include "client/request.h"
#include "client/value.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 1000 /* Redis keys that are looked through for one page */

struct exporting {
    struct ctl *c;
    FILE *out;
    const char *name; /* of the file; NULL: standard output */
    bool resume;
    rapyer_value *header; /* its "models" are what is exported */
    size_t model;         /* of these, which is next, */
    char *cursor;         /* and from where */
    bool ended;
    long long documents, gone, failed;
};

static int out_of_memory(void)
{
    fprintf(stderr, "rapyerctl: no memory\n");
    return EXIT_ANSWER;
}

/* A line, "{" and "}" around it; it is freed. */
static int put_line(struct exporting *e, struct buf *line)
{
    int rc = 0;
    buf_append(line, "\n", 1);
    if (line->failed)
        rc = out_of_memory();
    else if (fwrite(line->data, 1, line->len, e->out) != line->len) {
        fprintf(stderr, "rapyerctl: %s: %s\n", e->name ? e->name : "standard output",
                strerror(errno));
        rc = EXIT_ANSWER;
    }
    buf_free(line);
    return rc;
}

/* ---- models ---- */

static const char *model_name(const struct exporting *e, size_t i)
{
    return rapyer_str(rapyer_item(rapyer_get(e->header, "models"), i), "", "");
}

static size_t models(const struct exporting *e)
{
    return rapyer_len(rapyer_get(e->header, "models"));
}

static const rapyer_value *declared(const rapyer_value *all, const char *name)
{
    for (size_t i = 0; i < rapyer_len(all); i++)
        if (strcmp(rapyer_str(rapyer_item(all, i), "name", ""), name) == 0)
            return rapyer_item(all, i);
    return NULL;
}

/* {"models": [...]}: those that are named, or all that have documents. */
static int begin(struct exporting *e, const rapyer_value *all, int argc, char **argv)
{
    struct buf packed = BUF_INIT;
    struct fault f;
    uint32_t n = 0;
    pack_map(&packed, 2);
    pack_cstr(&packed, "rapyer-export");
    pack_int(&packed, 1);
    pack_cstr(&packed, "models");
    size_t at = pack_array_open(&packed);
    for (int i = 0; i < argc; i++, n++) {
        const rapyer_value *m = declared(all, argv[i]);
        if (!m || strcmp(rapyer_str(m, "kind", ""), "atomic") != 0) {
            fprintf(stderr, "rapyerctl: UNKNOWN_MODEL: there is no atomic model %s\n", argv[i]);
            buf_free(&packed);
            return EXIT_NOT_THERE;
        }
        pack_cstr(&packed, argv[i]);
    }
    for (size_t i = 0; argc == 0 && i < rapyer_len(all); i++) {
        if (strcmp(rapyer_str(rapyer_item(all, i), "kind", ""), "atomic") != 0)
            continue;
        pack_cstr(&packed, rapyer_str(rapyer_item(all, i), "name", ""));
        n++;
    }
    pack_array_close(&packed, at, n);
    e->header =
        packed.failed ? NULL : value_parse(cursor_of(packed.data, packed.len), 0, SIZE_MAX, &f);
    buf_free(&packed);
    e->cursor = strdup("0");
    return e->header && e->cursor ? 0 : out_of_memory();
}

static int put_declarations(struct exporting *e, const rapyer_value *all)
{
    struct buf line = BUF_INIT;
    json_exact(&line, e->header);
    int rc = put_line(e, &line);
    for (size_t i = 0; rc == 0 && i < rapyer_len(all); i++) {
        const rapyer_value *m = rapyer_item(all, i);
        const char *between = "{\"define\":{";
        line = BUF_INIT;
        for (size_t k = 0; k < rapyer_len(m); k++) {
            const char *key = rapyer_item_key(m, k);
            if (strcmp(key, "revision") == 0) /* it counts there, and means nothing elsewhere */
                continue;
            buf_printf(&line, "%s", between);
            json_text(&line, key, strlen(key));
            buf_append(&line, ":", 1);
            json_exact(&line, rapyer_item(m, k));
            between = ",";
        }
        buf_append(&line, "}}", 2);
        rc = put_line(e, &line);
    }
    return rc;
}

/* ---- documents ---- */

/* Its content and its ttl as of one moment. NULL: it is not there any more, or an error. */
static rapyer_value *read_document(struct exporting *e, const char *key)
{
    struct buf params = BUF_INIT;
    pack_array(&params, 2);
    pack_array(&params, 3);
    pack_cstr(&params, "doc.load");
    pack_cstr(&params, key);
    pack_cstr(&params, "");
    pack_array(&params, 2);
    pack_cstr(&params, "doc.ttl");
    pack_cstr(&params, key);
    return ctl_ask(e->c, "pipeline", 1, &params);
}

static int put_document(struct exporting *e, const char *key)
{
    struct buf line = BUF_INIT;
    rapyer_value *v = read_document(e, key);
    rapyer_error code = v ? RAPYER_OK : rapyer_errcode(e->c->db);
    if (code == RAPYER_NOT_FOUND) {
        e->gone++;
        return 0;
    }
    if (code == RAPYER_CORRUPT || code == RAPYER_TOO_LARGE) { /* of this one alone */
        fprintf(stderr, "rapyerctl: %s: %s\n", key, rapyer_errmsg(e->c->db));
        e->failed++;
        return 0;
    }
    if (!v)
        return ctl_answer_error(e->c);
    int64_t ttl = rapyer_int(v, "[1]", -1);
    buf_printf(&line, "{\"key\":");
    json_text(&line, key, strlen(key));
    if (ttl < 0)
        buf_printf(&line, ",\"ttl\":null,\"document\":");
    else
        buf_printf(&line, ",\"ttl\":%lld,\"document\":", (long long)(ttl > 0 ? ttl : 1));
    json_exact(&line, rapyer_get(v, "[0]"));
    buf_append(&line, "}", 1);
    rapyer_value_free(v);
    e->documents++;
    return put_line(e, &line);
}

static rapyer_value *read_page(struct exporting *e)
{
    struct buf params = BUF_INIT;
    pack_cstr(&params, model_name(e, e->model));
    pack_map(&params, 2);
    pack_cstr(&params, "cursor");
    pack_cstr(&params, e->cursor);
    pack_cstr(&params, "count");
    pack_int(&params, PAGE);
    return ctl_ask(e->c, "doc.keys", 2, &params);
}

static int put_page(struct exporting *e)
{
    rapyer_value *page = read_page(e);
    const rapyer_value *keys = rapyer_get(page, "keys");
    struct buf line = BUF_INIT;
    int rc = page ? 0 : ctl_answer_error(e->c);
    for (size_t i = 0; rc == 0 && i < rapyer_len(keys); i++)
        rc = put_document(e, rapyer_str(rapyer_item(keys, i), "", ""));
    free(e->cursor);
    e->cursor = strdup(rapyer_str(page, "cursor", "0"));
    rapyer_value_free(page);
    if (rc || !e->cursor)
        return rc ? rc : out_of_memory();
    if (strcmp(e->cursor, "0") == 0)
        e->model++;
    if (e->model == models(e))
        return 0;
    buf_printf(&line, "{\"next\":{\"model\":");
    json_text(&line, model_name(e, e->model), strlen(model_name(e, e->model)));
    buf_printf(&line, ",\"cursor\":\"%s\"}}", e->cursor);
    rc = put_line(e, &line);
    if (rc == 0 && e->name)
        fflush(e->out);
    return rc;
}

static int put_end(struct exporting *e)
{
    struct buf line = BUF_INIT;
    buf_printf(&line, "{\"end\":{\"documents\":%lld}}", e->documents);
    return put_line(e, &line);
}

/* ---- going on ---- */

static rapyer_value *parse_line(const char *text, size_t len)
{
    char error[CTL_JSON_ERROR_MAX];
    struct buf packed = BUF_INIT;
    struct fault f;
    rapyer_value *v = NULL;
    if (ctl_json_value(text, len, &packed, error) == 0 && !packed.failed)
        v = value_parse(cursor_of(packed.data, packed.len), 0, SIZE_MAX, &f);
    buf_free(&packed);
    return v;
}

static bool begins(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

/* "next" names the place; false: it does not go with the header. */
static bool take_next(struct exporting *e, const rapyer_value *v)
{
    const char *name = rapyer_str(v, "next.model", NULL);
    const char *cursor = rapyer_str(v, "next.cursor", NULL);
    size_t i = 0;
    while (name && i < models(e) && strcmp(model_name(e, i), name) != 0)
        i++;
    char *own = cursor ? strdup(cursor) : NULL;
    if (!name || !own || i == models(e)) {
        free(own);
        return false;
    }
    free(e->cursor);
    e->cursor = own;
    e->model = i;
    return true;
}

/* How far the file is whole: up to the end of its last "next". What is behind that is cut off. */
static int find_place(struct exporting *e)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    long long seen = 0;
    off_t at = 0, whole = -1;
    while (!e->ended && (len = getline(&line, &size, e->out)) > 0 && line[len - 1] == '\n') {
        bool head = at == 0, next = begins(line, "{\"next\":");
        at += len;
        seen += begins(line, "{\"key\":");
        e->ended = begins(line, "{\"end\":");
        rapyer_value *v = head || next ? parse_line(line, (size_t)len) : NULL;
        if (head && rapyer_int(v, "[\"rapyer-export\"]", 0) == 1) {
            e->header = v;
            continue;
        }
        bool good = next && e->header && take_next(e, v);
        if (good) {
            whole = at;
            e->documents = seen;
        }
        rapyer_value_free(v);
        if ((head || next) && !good)
            break;
    }
    free(line);
    if (e->ended)
        return 0;
    if (whole < 0 || !e->cursor) {
        rapyer_value_free(e->header);
        e->header = NULL;
        whole = 0; /* nothing of it can be gone on from */
    }
    if (fflush(e->out) != 0 || ftruncate(fileno(e->out), whole) < 0 ||
        fseeko(e->out, whole, SEEK_SET) < 0) {
        fprintf(stderr, "rapyerctl: %s: %s\n", e->name, strerror(errno));
        return EXIT_ANSWER;
    }
    return 0;
}

static int open_file(struct exporting *e)
{
    e->out = !e->name ? stdout : fopen(e->name, e->resume ? "r+e" : "wxe");
    if (!e->out && e->resume && errno == ENOENT)
        e->out = fopen(e->name, "wxe");
    if (!e->out)
        return ctl_usage_error(e->name, errno == EEXIST
                                            ? "it is there already; --resume goes on with it"
                                            : strerror(errno));
    return e->resume ? find_place(e) : 0;
}

static int export(struct exporting *e, int argc, char **argv)
{
    struct buf none = BUF_INIT;
    int rc = open_file(e);
    if (rc || e->ended)
        return rc;
    rapyer_value *all = ctl_ask(e->c, "admin.models", 0, &none);
    if (!all)
        return ctl_answer_error(e->c);
    if (!e->header) {
        rc = begin(e, all, argc, argv);
        if (rc == 0)
            rc = put_declarations(e, all);
    }
    rapyer_value_free(all);
    while (rc == 0 && e->model < models(e))
        rc = put_page(e);
    return rc == 0 ? put_end(e) : rc;
}

int ctl_export(struct ctl *c, int argc, char **argv)
{
    struct exporting e = {.c = c};
    int n = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--resume") == 0)
            e.resume = true;
        else if (strcmp(argv[i], "--output") == 0 && i + 1 < argc)
            e.name = argv[++i];
        else if (argv[i][0] == '-')
            return ctl_usage_error("export takes models, --output FILE and --resume", argv[i]);
        else if (!(argv[n++] = db_whole_name(c->db, argv[i])))
            return ctl_answer_error(c);
    }
    if (e.resume && !e.name)
        return ctl_usage_error("--resume goes on with the file that --output names", NULL);
    int rc = export(&e, n, argv);
    if (e.out && (e.out == stdout ? fflush(e.out) : fclose(e.out)) != 0 && rc == 0) {
        fprintf(stderr, "rapyerctl: %s: %s\n", e.name ? e.name : "standard output",
                strerror(errno));
        rc = EXIT_ANSWER;
    }
    fprintf(e.name ? stdout : stderr, "{\"documents\":%lld,\"gone\":%lld,\"failed\":%lld}\n",
            e.documents, e.gone, e.failed);
    if (rc && e.name && e.header)
        fprintf(stderr, "rapyerctl: it is not whole; with --resume it goes on where this ended\n");
    rapyer_value_free(e.header);
    free(e.cursor);
    return rc == 0 && e.failed ? EXIT_ANSWER : rc;
}
