/* expression: see expression.h. */
#include "protocol/expression.h"
#include "protocol/alloc.h"
#include "protocol/order.h"
#include "protocol/value.h"
#include <stdlib.h>

#define SHOWN(len) (int)((len) < 80 ? (len) : 80)

static const struct {
    const char *name;
    enum expr_kind kind;
} kinds[] = {{"and", EXPR_AND},     {"or", EXPR_OR},  {"not", EXPR_NOT},       {"=", EXPR_EQUAL},
             {"!=", EXPR_UNEQUAL},  {"<", EXPR_LESS}, {"<=", EXPR_AT_MOST},    {">", EXPR_MORE},
             {">=", EXPR_AT_LEAST}, {"in", EXPR_IN},  {"prefix", EXPR_PREFIX}, {"has", EXPR_HAS}};

void expression_free(struct expr *e)
{
    while (e) {
        struct expr *next = e->next;
        expression_free(e->first);
        for (unsigned i = 0; i < e->nvalues; i++)
            cell_free(&e->values[i]);
        free(e->values);
        free(e->path.text);
        free(e);
        e = next;
    }
}

/* ---- paths ---- */

static int refuse_path(const char *path, size_t len, const char *why, struct fault *f)
{
    return fault_set(f, FAULT_BAD_PATH, "'%.*s': %s", SHOWN(len), path, why);
}

/* One name, and where the path goes on behind it. */
static const struct field *step(const struct model *m, const char **at, const char *end,
                                struct fault *f)
{
    const char *name = *at;
    while (*at < end && **at != '.' && **at != '[')
        (*at)++;
    int i = model_field(m, name, (size_t)(*at - name));
    if (i >= 0)
        return &m->fields[i];
    fault_set(f, FAULT_UNKNOWN_FIELD, "model %s has no field '%.*s'", m->name, SHOWN(*at - name),
              name);
    return NULL;
}

int expr_path_read(const struct model *m, const char *path, size_t len, struct expr_path *out,
                   struct fault *f)
{
    const char *at = path, *end = path + len;
    *out = (struct expr_path){.load = len};
    for (;;) {
        const struct field *field = step(m, &at, end, f);
        if (!field)
            return -1;
        out->type = field->type;
        const struct container_kind *container = type_container(out->type);
        if (at == end)
            break;
        bool maybe = out->type->kind == TYPE_MAYBE && type_atomic(out->type->of);
        if ((type_atomic(out->type) || maybe) && *at == '.') {
            m = maybe ? out->type->of->model : out->type->model;
        } else if (container && !maybe && type_atomic(out->type->of) && end - at > 3 &&
                   memcmp(at, "[].", 3) == 0 && out->load == len) {
            out->load = (size_t)(at - path);
            at += 2;
            m = out->type->of->model;
        } else {
            return refuse_path(path, len,
                               "a comparison is of a field, of one of a model in a field "
                               "(settings.theme), or of the elements of one list or dict of "
                               "models (posts[].title)",
                               f);
        }
        at++;
    }
    if (type_atomic(out->type) || out->type->kind == TYPE_MAYBE ||
        (type_container(out->type) && out->load < len))
        return refuse_path(path, len,
                           "a whole model, and a list within an element, is compared "
                           "with nothing",
                           f);
    out->text = alloc_text("%.*s", (int)len, path);
    if (out->load < len)
        out->inner = out->text + out->load + 3;
    return 0;
}

/* ---- parsing ---- */

struct parse {
    const struct model *model;
    struct fault *f;
    unsigned parts, values, depth;
};

static int refuse(struct parse *p)
{
    return fault_set(p->f, FAULT_BAD_REQUEST,
                     "an expression is [\"and\", ...], [\"or\", ...], [\"not\", expression], or "
                     "[\"=\", path, value] with =, !=, <, <=, >, >=, in, prefix or has; nil is "
                     "each document");
}

static int kind_of(struct parse *p, struct cursor *in, enum expr_kind *kind)
{
    const char *s;
    size_t len;
    if (cursor_str(in, &s, &len) < 0)
        return refuse(p);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strlen(kinds[i].name) == len && memcmp(kinds[i].name, s, len) == 0) {
            *kind = kinds[i].kind;
            return 0;
        }
    }
    return refuse(p);
}

/* What values a comparison takes at the place. -1: none. */
static int check_kind(struct parse *p, struct expr *e)
{
    const struct type *t = e->path.type;
    char name[TYPE_NAME_MAX];
    const unsigned texts = 1u << TYPE_STR | 1u << TYPE_REF | 1u << TYPE_ENUM | 1u << TYPE_UUID;
    const unsigned keys =
        1u << TYPE_UUID | 1u << TYPE_REF; /* by their text, as an index has them */
    unsigned bit = 1u << type_bare(t)->kind;
    static const struct type key = {.kind = TYPE_STR};
    bool can = e->kind == EXPR_HAS      ? type_container(t) && t->kind != TYPE_SORTED
               : type_container(t)      ? false
               : e->kind == EXPR_PREFIX ? bit & texts
               : e->kind >= EXPR_LESS && e->kind <= EXPR_AT_LEAST
                   ? type_ordered(type_bare(t)) || bit & keys
                   : bit != 1u << TYPE_ANY && bit != 1u << TYPE_MODEL;
    e->type = e->kind != EXPR_HAS ? t : t->kind == TYPE_DICT ? &key : t->of;
    if (can && (e->kind != EXPR_HAS || !type_atomic(e->type)))
        return 0;
    return fault_set(p->f, FAULT_BAD_TYPE, "'%s' is %s: %s", e->path.text,
                     type_name(t, name, sizeof name),
                     e->kind == EXPR_HAS ? "only a list or set of values, or a dict, has something"
                     : type_container(t) ? "a list, set or dict is asked with has"
                                         : "this comparison is not for it");
}

static int read_value(struct parse *p, struct expr *e, struct cursor *in)
{
    const struct type *t = e->type;
    static const struct type real = {.kind = TYPE_FLOAT}, text = {.kind = TYPE_STR};
    struct item it;
    struct buf value = BUF_INIT;
    if (cursor_peek(in, &it) < 0)
        return refuse(p);
    if (it.kind == ITEM_NIL && e->kind >= EXPR_LESS && e->kind != EXPR_IN)
        return fault_set(p->f, FAULT_BAD_VALUE, "%s: nil is compared with =, != and in alone",
                         e->path.text);
    if (type_bare(t)->kind == TYPE_INT && it.kind == ITEM_FLOAT)
        t = &real;
    if (e->kind == EXPR_PREFIX)
        t = &text;
    if (it.kind == ITEM_NIL) {
        cursor_skip(in);
        pack_nil(&value);
    } else if (value_check(type_bare(t), in, &value, e->path.text, p->f) < 0) {
        buf_free(&value);
        return -1;
    }
    e->values = alloc_resized(e->values, e->nvalues + 1, sizeof *e->values);
    e->values[e->nvalues++] = cell_value(value.data, value.len);
    buf_free(&value);
    return 0;
}

static int read_comparison(struct parse *p, struct expr *e, struct cursor *in, uint32_t n)
{
    const char *path;
    size_t len;
    uint32_t nvalues = 1;
    if (n != 3 || cursor_str(in, &path, &len) < 0)
        return refuse(p);
    if (!utf8_valid(path, len))
        return fault_set(p->f, FAULT_BAD_PATH, "the path is not valid UTF-8");
    if (expr_path_read(p->model, path, len, &e->path, p->f) < 0 || check_kind(p, e) < 0)
        return -1;
    if (e->kind == EXPR_IN && cursor_array(in, &nvalues) < 0)
        return fault_set(p->f, FAULT_BAD_REQUEST, "in takes a list of values");
    p->values += nvalues;
    if (p->values > EXPRESSION_VALUES)
        return fault_set(p->f, FAULT_TOO_LARGE, "an expression has at most %d values",
                         EXPRESSION_VALUES);
    for (uint32_t i = 0; i < nvalues; i++)
        if (read_value(p, e, in) < 0)
            return -1;
    return 0;
}

static struct expr *parse(struct parse *p, struct cursor *in);

static int read_parts(struct parse *p, struct expr *e, struct cursor *in, uint32_t n)
{
    struct expr **end = &e->first;
    if (n < 2 || (e->kind == EXPR_NOT && n != 2))
        return refuse(p);
    for (uint32_t i = 1; i < n; i++) {
        *end = parse(p, in);
        if (!*end)
            return -1;
        end = &(*end)->next;
    }
    return 0;
}

static struct expr *parse(struct parse *p, struct cursor *in)
{
    struct expr *e = alloc_zeroed(1, sizeof *e);
    uint32_t n;
    int done = 0;
    if (++p->parts > EXPRESSION_PARTS || ++p->depth > EXPRESSION_DEPTH)
        done = fault_set(p->f, FAULT_TOO_LARGE,
                         "an expression has at most %d parts, %d within each other",
                         EXPRESSION_PARTS, EXPRESSION_DEPTH);
    else if (cursor_nil(in))
        e->kind = EXPR_ALL;
    else if (cursor_array(in, &n) < 0 || n < 1)
        done = refuse(p);
    else if (kind_of(p, in, &e->kind) < 0)
        done = -1;
    else
        done = e->kind <= EXPR_NOT ? read_parts(p, e, in, n) : read_comparison(p, e, in, n);
    p->depth--;
    if (done == 0)
        return e;
    expression_free(e);
    return NULL;
}

int expression_parse(const struct model *m, struct cursor *in, struct expr **out, struct fault *f)
{
    struct parse p = {.model = m, .f = f};
    struct expr *e = parse(&p, in);
    if (!e)
        return -1;
    *out = e;
    return 0;
}

/* ---- comparing ---- */

/* The next item; what is not there, too, is nil. */
static struct item item_of(struct cursor c)
{
    struct item it;
    if (cursor_next(&c, &it) < 0)
        it.kind = ITEM_NIL;
    return it;
}

int value_compare(const struct type *t, struct cursor a, struct cursor b)
{
    struct item x = item_of(a), y = item_of(b);
    if (x.kind == ITEM_NIL || y.kind == ITEM_NIL)
        return (x.kind == ITEM_NIL) - (y.kind == ITEM_NIL);
    return value_order(type_bare(t), &x, &y);
}

static bool begins(const struct item *text, const struct item *with)
{
    return text->bytes.len >= with->bytes.len &&
           memcmp(text->bytes.p, with->bytes.p, with->bytes.len) == 0;
}

static bool compares(const struct expr *e, unsigned value, struct cursor found)
{
    size_t len;
    const uint8_t *bytes = cell_bytes(&e->values[value], &len);
    struct item it = item_of(found), want = item_of(cursor_of(bytes, len));
    bool null = it.kind == ITEM_NIL || want.kind == ITEM_NIL;
    int c = null ? 0 : e->kind == EXPR_PREFIX ? 0 : value_order(type_bare(e->type), &it, &want);
    switch (e->kind) {
    case EXPR_EQUAL:
    case EXPR_HAS:
    case EXPR_IN: return null ? it.kind == want.kind : c == 0;
    case EXPR_UNEQUAL: return null ? it.kind != want.kind : c != 0;
    case EXPR_LESS: return !null && c < 0;
    case EXPR_AT_MOST: return !null && c <= 0;
    case EXPR_MORE: return !null && c > 0;
    case EXPR_AT_LEAST: return !null && c >= 0;
    case EXPR_PREFIX: return !null && begins(&it, &want);
    default: return false;
    }
}

/* ---- documents ---- */

static enum op_status load(const char *path, size_t len, struct record *root, struct needs *needs,
                           struct buf *out, struct fault *f)
{
    struct op op = {.kind = OP_LOAD, .path = path, .path_len = len, .args = cursor_of("", 0)};
    struct fault unset;
    struct op_run env = {.root = root, .needs = needs, .fault = &unset};
    size_t had = out->len;
    enum op_status st = op_run(&op, &env, out);
    if (st == OP_REFUSED && unset.code != FAULT_NOT_FOUND)
        *f = unset;
    if (st == OP_REFUSED && unset.code == FAULT_NOT_FOUND) {
        out->len = had;
        pack_nil(out);
        st = OP_DONE;
    }
    return st;
}

enum op_status expr_path_load(const struct expr_path *p, struct record *root, struct needs *needs,
                              struct buf *out, struct fault *f)
{
    return load(p->text, p->load, root, needs, out, f);
}

/* From a map to the value behind names with points between them; nil: it is not there. */
static struct cursor inside(struct cursor c, const char *names)
{
    while (*names) {
        size_t len = strcspn(names, ".");
        uint32_t n = 0;
        bool found = false;
        if (cursor_map(&c, &n) < 0)
            break;
        for (; n > 0 && !found; n--) {
            const char *key;
            size_t key_len;
            if (cursor_str(&c, &key, &key_len) < 0)
                return cursor_of("\xc0", 1);
            found = key_len == len && memcmp(key, names, len) == 0;
            if (!found)
                cursor_skip(&c);
        }
        if (!found)
            return cursor_of("\xc0", 1);
        names += len + (names[len] == '.');
    }
    return c;
}

/* Each element of an array; of a map its keys, or (`values`) what they lead to. */
static bool any_element(const struct expr *e, unsigned value, struct cursor c, bool keys)
{
    uint32_t n = 0;
    bool map = cursor_array(&c, &n) < 0 && cursor_map(&c, &n) == 0;
    for (; n > 0; n--) {
        if (map && !keys)
            cursor_skip(&c);
        if (compares(e, value, e->path.inner ? inside(c, e->path.inner) : c))
            return true;
        cursor_skip(&c);
        if (map && keys)
            cursor_skip(&c);
    }
    return false;
}

static bool found_holds(const struct expr *e, unsigned value, struct cursor c)
{
    if (e->path.inner)
        return any_element(e, value, c, false);
    return e->kind == EXPR_HAS ? any_element(e, value, c, true) : compares(e, value, c);
}

static enum op_status comparison(const struct expr *e, unsigned from, unsigned to,
                                 struct record *root, struct needs *needs, bool *holds,
                                 struct fault *f)
{
    struct buf found = BUF_INIT;
    enum op_status st = expr_path_load(&e->path, root, needs, &found, f);
    *holds = false;
    for (unsigned i = from; st == OP_DONE && i < to && !*holds; i++)
        *holds = found_holds(e, i, cursor_of(found.data, found.len));
    buf_free(&found);
    return st;
}

enum op_status comparison_holds(const struct expr *e, unsigned value, struct record *root,
                                struct needs *needs, bool *holds, struct fault *f)
{
    return comparison(e, value, value + 1, root, needs, holds, f);
}

enum op_status expression_holds(const struct expr *e, struct record *root, struct needs *needs,
                                bool *holds, struct fault *f)
{
    enum op_status st = OP_DONE, all = OP_DONE;
    if (e->kind > EXPR_NOT)
        return comparison(e, 0, e->nvalues, root, needs, holds, f);
    *holds = e->kind != EXPR_OR;
    for (const struct expr *part = e->first; part; part = part->next) {
        bool one;
        st = expression_holds(part, root, needs, &one, f);
        if (st == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = st; /* what the others need is brought with it */
        else if (e->kind == EXPR_NOT)
            *holds = !one;
        else if (one == (e->kind == EXPR_OR)) {
            *holds = one;
            return OP_DONE;
        }
    }
    return all;
}
