/* find_asked: what a find is to find, as its params say it. */
#include "daemon/base/hash.h"
#include "daemon/methods/find_inside.h"
#include "daemon/methods/methods.h"
#include <string.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000

static const struct {
    const char *name, *options;
} kinds[] = {
    [FIND_DOCUMENTS] = {"find", "sort, limit, offset, cursor, paths, version, fresh, keys, "
                                "scan and explain"},
    [FIND_COUNT] = {"find.count", "scan and fresh"},
    [FIND_UPDATE] = {"find.update", "sort, limit, offset, cursor, fresh, scan and explain"},
    [FIND_DELETE] = {"find.delete", "sort, limit, offset, cursor, fresh, scan and explain"}};

const char *find_name(const struct find *fi)
{
    return kinds[fi->what].name;
}

static bool has_option(const struct find *fi, const char *name, size_t len)
{
    const char *at = kinds[fi->what].options;
    for (size_t word; *at != '\0'; at += word + strspn(at + word, ", ")) {
        word = strcspn(at, ", ");
        if (word == len && memcmp(at, name, len) == 0 && memcmp(at, "and ", 4) != 0)
            return true;
    }
    return false;
}

static int option(struct find *fi, const char *name, size_t len, struct cursor *in, struct fault *f)
{
    const char *s;
    size_t s_len;
    struct cursor value = *in;
    int rc = -1;
    if (!has_option(fi, name, len))
        return fault_set(f, FAULT_BAD_REQUEST, "%s has the options %s, not '%.*s'", find_name(fi),
                         kinds[fi->what].options, (int)(len < 80 ? len : 80), name);
#define IS(text) (len == sizeof(text) - 1 && memcmp(name, text, len) == 0)
    if (IS("limit")) {
        rc = cursor_int(in, &fi->limit);
        rc = rc == 0 && fi->limit > 0 && fi->limit <= LIMIT_MAX ? 0 : -1;
    } else if (IS("offset")) {
        rc = cursor_int(in, &fi->offset);
        rc = rc == 0 && fi->offset >= 0 && fi->offset <= INT32_MAX ? 0 : -1;
    } else if (IS("scan")) {
        rc = cursor_bool(in, &fi->scan);
    } else if (IS("keys")) {
        rc = cursor_bool(in, &fi->keys);
    } else if (IS("explain")) {
        rc = cursor_bool(in, &fi->explain);
    } else if (IS("fresh")) {
        rc = cursor_bool(in, &fi->get.fresh);
    } else if (IS("version")) {
        rc = cursor_bool(in, &fi->get.version);
    } else if (IS("cursor")) {
        rc = cursor_nil(in) ? 0 : cursor_str(in, &s, &s_len);
        if (rc == 0 && in->at != value.at + 1)
            buf_append(&fi->cursor, s, s_len);
    } else if (IS("paths")) {
        rc = cursor_array(in, &fi->get.npaths);
        fi->get.has_paths = true;
        fi->get.paths = *in;
        for (uint32_t i = 0; rc == 0 && i < fi->get.npaths; i++)
            rc = cursor_str(in, &s, &s_len);
    } else if (IS("sort")) {
        rc = cursor_str(in, &s, &s_len);
        fi->rev = rc == 0 && s_len > 0 && *s == '-';
        fi->sorts = rc == 0;
        if (rc == 0 && expr_path_read(fi->model, s + fi->rev, s_len - fi->rev, &fi->sort, f) < 0)
            return -1;
        if (rc == 0 && (fi->sort.inner != NULL || type_container(fi->sort.type) != NULL))
            return fault_set(f, FAULT_BAD_PATH, "documents are sorted by a field with one value");
    }
#undef IS
    if (rc == 0)
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST,
                     "option '%.*s' is not what it should be: limit 1 to %d, offset an int, sort, "
                     "cursor a str, paths a list of str, the others bool",
                     (int)len, name, LIMIT_MAX);
}

static int options(struct find *fi, struct cursor *in, struct fault *f)
{
    uint32_t n;
    if (cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the options should be a map");
    for (uint32_t i = 0; i < n; i++) {
        const char *name;
        size_t len;
        if (params_str(in, "an option's name", &name, &len, f) < 0 ||
            option(fi, name, len, in, f) < 0)
            return -1;
    }
    return 0;
}

/* [[method, ...], ...]: as those of a pipeline, without their keys. */
static int read_operations(struct find *fi, struct cursor *in, struct fault *f)
{
    uint32_t n, words;
    const char *name;
    size_t len;
    fi->operations = *in;
    int rc = cursor_array(in, &n);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = cursor_array(in, &words) == 0 && words > 0 ? cursor_str(in, &name, &len) : -1;
        for (uint32_t word = 1; rc == 0 && word < words; word++)
            cursor_skip(in);
    }
    if (rc == 0 && n > 0)
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST,
                     "the operations of find.update should be a list of some [method, ...] without "
                     "keys, as in [[\"num.incr\", \"age\", 1]]");
}

static int read_model(struct find *fi, const char *name, size_t len, struct fault *f)
{
    unsigned rights = find_changes(fi) ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ;
    fi->model = schema_model(exec_schema(fi->exec), name, len);
    if (fi->model == NULL)
        return fault_set(f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined; define it first",
                         (int)(len < 80 ? len : 80), name);
    if (!fi->model->atomic)
        return fault_set(f, FAULT_UNKNOWN_MODEL, "%s is a plain model: it has no documents",
                         fi->model->name);
    struct permit *permit = session_permit(fi->session);
    if (!permit_may(permit, fi->model, find_name(fi), rights))
        return permit_refuse(f, permit, find_name(fi), fi->model->name, rights);
    return 0;
}

int find_read(struct find *fi, struct cursor in, uint32_t nparams, struct fault *f)
{
    static const char *const forms[] = {[FIND_DOCUMENTS] = "[model, expression?, options?]",
                                        [FIND_COUNT] = "[model, expression?, options?]",
                                        [FIND_UPDATE] = "[model, expression, operations, options?]",
                                        [FIND_DELETE] = "[model, expression, options?]"};
    const char *name;
    size_t len;
    /* Nobody deletes all by leaving something out: that is nil. */
    uint32_t most = fi->what == FIND_UPDATE ? 4 : 3, least = find_changes(fi) ? most - 1 : 1;
    fi->limit = LIMIT_DEFAULT;
    if (nparams < least || nparams > most || cursor_str(&in, &name, &len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "%s takes %s", find_name(fi), forms[fi->what]);
    if (read_model(fi, name, len, f) < 0)
        return -1;
    const uint8_t *from = in.at;
    struct cursor all = cursor_of("\xc0", 1);
    if (expression_parse(fi->model, nparams > 1 ? &in : &all, &fi->e, f) < 0)
        return -1;
    fi->asked = hash_alike(from, nparams > 1 ? (size_t)(in.at - from) : 0) >> 1;
    if (fi->what == FIND_UPDATE && read_operations(fi, &in, f) < 0)
        return -1;
    if (nparams == most && options(fi, &in, f) < 0)
        return -1;
    if (fi->sorts)
        fi->asked ^= hash_alike(fi->sort.text, strlen(fi->sort.text)) >> (1 + fi->rev);
    return 0;
}
