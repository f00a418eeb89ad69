/* expression_text: see expression_text.h. A recursive descent over the text. */
#include "client/expression_text.h"
#include "client/template.h"
#include <ctype.h>
#include <string.h>

struct text {
    const char *begin, *at;
    va_list *ap;
    struct fault *fault;
    unsigned depth;
};

static int refuse(struct text *t, const char *what)
{
    return fault_set(t->fault, FAULT_BAD_REQUEST, "expression: %s at offset %zu of \"%s\"", what,
                     (size_t)(t->at - t->begin), t->begin);
}

static bool name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static void skip_space(struct text *t)
{
    while (*t->at != '\0' && strchr(" \t\r\n", *t->at) != NULL)
        t->at++;
}

/* Whether this word, or sign, is next. */
static bool is_next(struct text *t, const char *word)
{
    size_t len = strlen(word);
    skip_space(t);
    return strncmp(t->at, word, len) == 0 && !(name_byte(word[0]) && name_byte(t->at[len]));
}

static bool take(struct text *t, const char *word)
{
    bool is = is_next(t, word);
    if (is)
        t->at += strlen(word);
    return is;
}

/* ---- comparisons ---- */

/* Names with points between them, and brackets with whatever is in them. */
static int read_path(struct text *t, const char **path, size_t *len)
{
    skip_space(t);
    if (*t->at == '\0')
        return refuse(t, "the end, where a comparison is due,");
    if (!name_byte(*t->at) || isdigit((unsigned char)*t->at))
        return refuse(t, "something else than a field, with which a comparison begins,");
    *path = t->at;
    while (name_byte(*t->at) || *t->at == '.' || *t->at == '[') {
        const char *end = *t->at == '[' ? strchr(t->at, ']') : t->at;
        if (end == NULL)
            return refuse(t, "a bracket that is not closed,");
        t->at = end + 1;
    }
    *len = (size_t)(t->at - *path);
    return 0;
}

/* The wire's name of the comparison. NULL: it is none. */
static const char *read_sign(struct text *t)
{
    /* What begins as another one stands before that. */
    static const char *const signs[] = {"==", "=", "!=", "<=",  "<",
                                        ">=", ">", "in", "has", "prefix"};
    for (size_t i = 0; i < sizeof(signs) / sizeof(*signs); i++) {
        if (take(t, signs[i]))
            return i == 0 ? "=" : signs[i];
    }
    refuse(t, "none of = != < <= > >= in prefix has behind a field");
    return NULL;
}

static int read_comparison(struct text *t, struct buf *out)
{
    const char *path, *sign;
    size_t len;
    if (read_path(t, &path, &len) < 0 || (sign = read_sign(t)) == NULL)
        return -1;
    skip_space(t);
    if (is_next(t, "and") || is_next(t, "or"))
        return refuse(t, "no value (if this word is one, it has to be in quotes)");
    pack_array(out, 3);
    pack_cstr(out, sign);
    pack_str(out, path, len);
    return template_operand(t->begin, &t->at, t->ap, out, t->fault);
}

/* ---- and, or, not ---- */

static int read_either(struct text *t, struct buf *out);

static int read_within(struct text *t, struct buf *out)
{
    if (read_either(t, out) < 0)
        return -1;
    return take(t, ")") ? 0 : refuse(t, "no ) or and or or");
}

/* A field may be called so, too. */
static bool take_not(struct text *t)
{
    const char *at = t->at;
    if (take(t, "not") && *t->at != '.' && *t->at != '[') {
        skip_space(t);
        if (*t->at == '\0' || strchr("=!<>", *t->at) == NULL)
            return true;
    }
    t->at = at;
    return false;
}

static int read_one(struct text *t, struct buf *out)
{
    int rc;
    if (t->depth == EXPRESSION_TEXT_DEPTH)
        return refuse(t, "too many parts within each other");
    t->depth++;
    if (take(t, "(")) {
        rc = read_within(t, out);
    } else if (take_not(t)) {
        pack_array(out, 2);
        pack_cstr(out, "not");
        rc = read_one(t, out);
    } else {
        rc = read_comparison(t, out);
    }
    t->depth--;
    return rc;
}

/* Parts with a word between them, each read by `part`. */
static int read_parts(struct text *t, const char *word, int (*part)(struct text *, struct buf *),
                      struct buf *out)
{
    struct buf parts = BUF_INIT;
    uint32_t n = 0;
    int rc;
    do {
        rc = part(t, &parts);
        n++;
    } while (rc == 0 && take(t, word));
    if (n > 1) {
        pack_array(out, n + 1);
        pack_cstr(out, word);
    }
    buf_append(out, parts.data, parts.len);
    out->failed |= parts.failed;
    buf_free(&parts);
    return rc;
}

static int read_both(struct text *t, struct buf *out)
{
    return read_parts(t, "and", read_one, out);
}

static int read_either(struct text *t, struct buf *out)
{
    return read_parts(t, "or", read_both, out);
}

int expression_text(const char *fmt, va_list *ap, struct buf *out, struct fault *f)
{
    struct text t = {.begin = fmt ? fmt : "", .at = fmt ? fmt : "", .ap = ap, .fault = f};
    skip_space(&t);
    if (*t.at == '\0') {
        pack_nil(out);
        return 0;
    }
    if (read_either(&t, out) < 0)
        return -1;
    skip_space(&t);
    return *t.at ? refuse(&t, "something else than and, or, and the end") : 0;
}
