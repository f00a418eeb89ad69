/* template: see template.h. A recursive descent over the format, at most TEMPLATE_MAX_DEPTH deep;
 * what it reads goes straight to the output. */
#include "client/template.h"
#include "client/timestamp.h"
#include "protocol/path.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *begin, *at;
    va_list *ap;
    struct buf *out;
    struct fault *fault;
    template_embed *embed;
    void *arg;
    unsigned argument, depth;
    bool operand; /* of an expression, not a template of its own */
    struct template_step steps[TEMPLATE_MAX_DEPTH];
};

/* What a placeholder was filled with. */
struct filled {
    enum {
        FILLED_NULL,
        FILLED_STR,
        FILLED_INT,
        FILLED_UINT,
        FILLED_BOOL,
        FILLED_FLOAT,
        FILLED_PTR
    } kind;
    union {
        const char *s;
        long long i;
        unsigned long long u;
        double d;
        void *p;
    };
    size_t len;
};

static int refuse(struct reader *r, const char *what)
{
    return fault_set(r->fault, FAULT_BAD_REQUEST, "%s: %s at offset %zu of \"%s\"",
                     r->operand ? "expression" : "template", what, (size_t)(r->at - r->begin),
                     r->begin);
}

static void skip_space(struct reader *r)
{
    while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')
        r->at++;
}

static bool word_byte(unsigned char c)
{
    return isalnum(c) || c >= 0x80 || (c && strchr("_.@/+-$", c));
}

/* ---- placeholders ---- */

enum length {
    LENGTH_INT,
    LENGTH_CHAR,
    LENGTH_SHORT,
    LENGTH_LONG,
    LENGTH_LLONG,
    LENGTH_SIZE,
    LENGTH_MAX
};

static enum length read_length(const char **at)
{
    static const struct {
        const char *text;
        enum length length;
    } all[] = {{"hh", LENGTH_CHAR}, {"h", LENGTH_SHORT}, {"ll", LENGTH_LLONG}, {"l", LENGTH_LONG},
               {"z", LENGTH_SIZE},  {"t", LENGTH_SIZE},  {"j", LENGTH_MAX}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t n = strlen(all[i].text);
        if (strncmp(*at, all[i].text, n) == 0) {
            *at += n;
            return all[i].length;
        }
    }
    return LENGTH_INT;
}

static long long take_signed(va_list *ap, enum length length)
{
    switch (length) {
    case LENGTH_CHAR:
    case LENGTH_SHORT:
    case LENGTH_INT: return va_arg(*ap, int);
    case LENGTH_LONG: return va_arg(*ap, long);
    case LENGTH_LLONG: return va_arg(*ap, long long);
    case LENGTH_SIZE: return (long long)va_arg(*ap, ssize_t);
    case LENGTH_MAX: return va_arg(*ap, intmax_t);
    }
    return 0;
}

static unsigned long long take_unsigned(va_list *ap, enum length length)
{
    switch (length) {
    case LENGTH_CHAR:
    case LENGTH_SHORT:
    case LENGTH_INT: return va_arg(*ap, unsigned);
    case LENGTH_LONG: return va_arg(*ap, unsigned long);
    case LENGTH_LLONG: return va_arg(*ap, unsigned long long);
    case LENGTH_SIZE: return va_arg(*ap, size_t);
    case LENGTH_MAX: return va_arg(*ap, uintmax_t);
    }
    return 0;
}

static void fill_str(struct filled *f, const char *s, int precision)
{
    f->kind = s ? FILLED_STR : FILLED_NULL;
    f->s = s;
    f->len = 0;
    if (s)
        f->len = precision < 0 ? strlen(s) : (size_t)precision;
}

/* at is behind the '%'. With a precision %s takes exactly so many bytes, NUL or not: the length
 * of a string is known to who gives it. NULL: no such placeholder, no argument was taken. */
static const char *placeholder(const char *at, va_list *ap, struct filled *f)
{
    int precision = -1;
    if (*at == '.') {
        if (strncmp(at, ".*s", 3) != 0)
            return NULL;
        precision = va_arg(*ap, int);
        fill_str(f, va_arg(*ap, const char *), precision);
        return at + 3;
    }
    enum length length = read_length(&at);
    switch (*at) {
    case 's':
        if (length != LENGTH_INT)
            return NULL;
        fill_str(f, va_arg(*ap, const char *), precision);
        return at + 1;
    case 'd':
    case 'i':
        f->kind = length == LENGTH_CHAR ? FILLED_BOOL : FILLED_INT;
        f->i = take_signed(ap, length);
        return at + 1;
    case 'u':
        f->kind = FILLED_UINT;
        f->u = take_unsigned(ap, length);
        return at + 1;
    case 'f':
    case 'g':
    case 'e':
        if (length != LENGTH_INT && length != LENGTH_LONG)
            return NULL;
        f->kind = FILLED_FLOAT;
        f->d = va_arg(*ap, double);
        return at + 1;
    case 'p':
        f->kind = FILLED_PTR;
        f->p = va_arg(*ap, void *);
        return at + 1;
    default: return NULL;
    }
}

static int take(struct reader *r, struct filled *f)
{
    if (!r->ap)
        return refuse(r, "a placeholder, where none can be filled,");
    const char *end = placeholder(r->at + 1, r->ap, f);
    if (!end)
        return refuse(r, "not one of %s %.*s %d %ld %lld %zd %f %hhd %p");
    r->at = end;
    return 0;
}

static int embedded(struct reader *r, void *p)
{
    struct template_spot spot = {r->argument, r->depth, r->steps};
    if (!r->embed)
        return refuse(r, "%p, which can stand for nothing here,");
    return r->embed(r->arg, p, &spot, r->out, r->fault);
}

static int read_placeholder(struct reader *r)
{
    struct filled f;
    if (take(r, &f) < 0)
        return -1;
    switch (f.kind) {
    case FILLED_NULL: pack_nil(r->out); break;
    case FILLED_STR: pack_str(r->out, f.s, f.len); break;
    case FILLED_INT: pack_int(r->out, f.i); break;
    case FILLED_UINT: pack_uint(r->out, f.u); break;
    case FILLED_BOOL: pack_bool(r->out, f.i != 0); break;
    case FILLED_FLOAT: pack_float(r->out, f.d); break;
    case FILLED_PTR: return embedded(r, f.p);
    }
    return 0;
}

/* ---- text ---- */

static int hex4(const char *s, unsigned *out)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)s[i]))
            return -1;
        v = v * 16 + (unsigned)(isdigit((unsigned char)s[i]) ? s[i] - '0' : (s[i] | 32) - 'a' + 10);
    }
    *out = v;
    return 0;
}

static void append_utf8(struct buf *b, unsigned c)
{
    uint8_t u[4];
    size_t n = 0;
    if (c < 0x80) {
        u[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        u[n++] = (uint8_t)(0xc0 | c >> 6);
        u[n++] = (uint8_t)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        u[n++] = (uint8_t)(0xe0 | c >> 12);
        u[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        u[n++] = (uint8_t)(0x80 | (c & 63));
    } else {
        u[n++] = (uint8_t)(0xf0 | c >> 18);
        u[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
        u[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        u[n++] = (uint8_t)(0x80 | (c & 63));
    }
    buf_append(b, u, n);
}

/* at is behind "\u". */
static int read_unicode(struct reader *r, struct buf *text)
{
    unsigned c, low;
    if (hex4(r->at, &c) < 0 || (c >= 0xdc00 && c <= 0xdfff))
        return refuse(r, "a bad \\u escape");
    r->at += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (r->at[0] != '\\' || r->at[1] != 'u' || hex4(r->at + 2, &low) < 0 || low < 0xdc00 ||
            low > 0xdfff)
            return refuse(r, "half of a surrogate pair");
        r->at += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(text, c);
    return 0;
}

static int read_escape(struct reader *r, struct buf *text)
{
    static const char from[] = "ntrbf\\/'\"", to[] = "\n\t\r\b\f\\/'\"";
    char c = *r->at;
    const char *known = c ? strchr(from, c) : NULL;
    if (c != 'u' && !known)
        return refuse(r, "an unknown escape");
    r->at++;
    if (c == 'u')
        return read_unicode(r, text);
    buf_append(text, &to[known - from], 1);
    return 0;
}

/* A quoted text, at its opening quote. */
static int read_quoted(struct reader *r, struct buf *text)
{
    char quote = *r->at++;
    while (*r->at != quote) {
        if (!*r->at)
            return refuse(r, "a quote that is not closed,");
        if (*r->at == '%' && (r->ap || !r->operand)) {
            if (r->at[1] != '%' && r->ap)
                return refuse(r, "a placeholder inside quotes (give the whole text as one %s)");
            r->at += r->at[1] == '%';
        } else if (*r->at == '\\') {
            r->at++;
            if (read_escape(r, text) < 0)
                return -1;
            continue;
        }
        buf_append(text, r->at++, 1);
    }
    r->at++;
    return 0;
}

/* Text as the output has it: a str, or a bin. */
static int read_text(struct reader *r, bool bytes)
{
    struct buf text = BUF_INIT;
    int rc = read_quoted(r, &text);
    if (rc == 0 && bytes)
        pack_bin(r->out, text.data, text.len);
    else if (rc == 0)
        pack_str(r->out, (const char *)text.data, text.len);
    r->out->failed |= text.failed;
    buf_free(&text);
    return rc;
}

static int read_bytes(struct reader *r)
{
    struct filled f;
    r->at++; /* b */
    if (*r->at != '%')
        return read_text(r, true);
    if (take(r, &f) < 0)
        return -1;
    if (f.kind != FILLED_STR && f.kind != FILLED_NULL)
        return refuse(r, "b with another placeholder than %s or %.*s");
    if (f.kind == FILLED_NULL)
        pack_nil(r->out);
    else
        pack_bin(r->out, f.s, f.len);
    return 0;
}

/* Bytes of an ISO 8601 text. */
static int pack_iso(struct reader *r, const char *s, size_t len)
{
    int64_t sec;
    uint32_t nsec;
    if (timestamp_parse(s, len, &sec, &nsec) < 0)
        return refuse(r, "a datetime that is not like 2024-01-31T12:00:00.5Z,");
    pack_time(r->out, sec, nsec);
    return 0;
}

static int read_datetime(struct reader *r)
{
    struct filled f;
    r->at++; /* @ */
    if (*r->at == '\'' || *r->at == '"') {
        struct buf text = BUF_INIT;
        int rc = read_quoted(r, &text);
        if (rc == 0)
            rc = pack_iso(r, (const char *)text.data, text.len);
        buf_free(&text);
        return rc;
    }
    if (*r->at != '%')
        return refuse(r, "@ without seconds or an ISO 8601 text");
    if (take(r, &f) < 0)
        return -1;
    switch (f.kind) {
    case FILLED_NULL: pack_nil(r->out); return 0;
    case FILLED_STR: return pack_iso(r, f.s, f.len);
    case FILLED_INT: pack_time(r->out, f.i, 0); return 0;
    default: return refuse(r, "@ with another placeholder than %s or %lld");
    }
}

/* ---- values ---- */

static int read_number(struct reader *r, const char *s, size_t n)
{
    char text[64], *end;
    if (n >= sizeof text)
        return refuse(r, "a number that is too long");
    memcpy(text, s, n);
    text[n] = '\0';
    bool real = strpbrk(text, ".eE") != NULL;
    if (strpbrk(text, "xXpPnN"))
        return refuse(r, "something that is no number (quote it to make it a str)");
    errno = 0;
    long long i = real ? 0 : strtoll(text, &end, 10);
    double d = real ? strtod(text, &end) : 0;
    if (*end || end == text)
        return refuse(r, "something that is no number (quote it to make it a str)");
    if (errno == ERANGE && (!real || d > 1 || d < -1))
        return refuse(r, "a number out of range");
    if (real)
        pack_float(r->out, d);
    else
        pack_int(r->out, i);
    return 0;
}

static int read_word(struct reader *r)
{
    const char *s = r->at;
    while (word_byte((unsigned char)*r->at))
        r->at++;
    size_t n = (size_t)(r->at - s);
    if (n == 0)
        return refuse(r, *r->at ? "an unexpected character" : "the end, where a value is due,");
    if (isdigit((unsigned char)*s) || *s == '-' || *s == '+' || *s == '.')
        return read_number(r, s, n);
    if (n == 4 && memcmp(s, "null", 4) == 0)
        pack_nil(r->out);
    else if (n == 4 && memcmp(s, "true", 4) == 0)
        pack_bool(r->out, true);
    else if (n == 5 && memcmp(s, "false", 5) == 0)
        pack_bool(r->out, false);
    else
        pack_str(r->out, s, n);
    return 0;
}

static bool begins_as(const char *s, const char *form)
{
    for (; *form; s++, form++) {
        if (*form == '0' ? !isdigit((unsigned char)*s) : *s != *form)
            return false;
    }
    return true;
}

/* A date or a time that nobody has put into quotes. False: it is none. */
static bool read_date(struct reader *r, int *rc)
{
    const char *s = r->at;
    bool date = begins_as(s, "0000-00-00");
    if (!date && !begins_as(s, "00:00"))
        return false;
    while (word_byte((unsigned char)*r->at) || *r->at == ':')
        r->at++;
    size_t len = (size_t)(r->at - s), day = sizeof "0000-00-00" - 1;
    bool moment = date && len > day && strcspn(s + day, "Zz+-") < len - day;
    const char *end = r->at;
    r->at = s; /* where it is, if it is wrong */
    *rc = moment ? pack_iso(r, s, len) : 0;
    if (!moment)
        pack_str(r->out, s, len);
    if (*rc == 0)
        r->at = end;
    return true;
}

static int read_any(struct reader *r);

static int descend(struct reader *r)
{
    if (r->depth == TEMPLATE_MAX_DEPTH)
        return refuse(r, "more nesting than the protocol takes");
    r->depth++;
    return 0;
}

/* Behind an item: true when the container is closed. -1 for something else than , or close. */
static int closes(struct reader *r, char close)
{
    skip_space(r);
    if (*r->at == ',')
        r->at++;
    else if (*r->at != close)
        return refuse(r, close == ']' ? "no , or ]" : "no , or }");
    skip_space(r);
    if (*r->at != close)
        return 0;
    r->at++;
    return 1;
}

static int read_list(struct reader *r)
{
    size_t head = pack_array_open(r->out);
    uint32_t n = 0;
    int closed = 0;
    if (descend(r) < 0)
        return -1;
    r->at++;
    skip_space(r);
    if (*r->at == ']') {
        r->at++;
        closed = 1;
    }
    while (!closed) {
        r->steps[r->depth - 1] = (struct template_step){.index = n};
        if (read_any(r) < 0)
            return -1;
        n++;
        if ((closed = closes(r, ']')) < 0)
            return -1;
    }
    r->depth--;
    pack_array_close(r->out, head, n);
    return 0;
}

/* A key is always a str. */
static int read_key(struct reader *r)
{
    struct template_step *step = &r->steps[r->depth - 1];
    size_t before = r->out->len;
    if (*r->at == '%') {
        struct filled f;
        if (take(r, &f) < 0)
            return -1;
        if (f.kind != FILLED_STR)
            return refuse(r, "a key that is no str");
        pack_str(r->out, f.s, f.len);
    } else if (*r->at == '\'' || *r->at == '"') {
        if (read_text(r, false) < 0)
            return -1;
    } else {
        const char *s = r->at;
        while (word_byte((unsigned char)*r->at))
            r->at++;
        if (r->at == s)
            return refuse(r, "no key");
        pack_str(r->out, s, (size_t)(r->at - s));
    }
    /* Of what was written the key's bytes are the last, behind a head of 1, 2, 3 or 5. */
    size_t wrote = r->out->len - before;
    size_t head = wrote <= 32 ? 1 : wrote <= 2 + 0xff ? 2 : wrote <= 3 + 0xffff ? 3 : 5;
    *step = (struct template_step){
        .is_key = true, .key_at = before + head, .key_len = wrote > head ? wrote - head : 0};
    skip_space(r);
    if (*r->at != ':')
        return refuse(r, "no : behind a key");
    r->at++;
    return 0;
}

static int read_dict(struct reader *r)
{
    size_t head = pack_map_open(r->out);
    uint32_t n = 0;
    int closed = 0;
    if (descend(r) < 0)
        return -1;
    r->at++;
    skip_space(r);
    if (*r->at == '}') {
        r->at++;
        closed = 1;
    }
    while (!closed) {
        if (read_key(r) < 0 || read_any(r) < 0)
            return -1;
        n++;
        if ((closed = closes(r, '}')) < 0)
            return -1;
    }
    r->depth--;
    pack_map_close(r->out, head, n);
    return 0;
}

static int read_any(struct reader *r)
{
    int rc;
    skip_space(r);
    if (r->operand && read_date(r, &rc))
        return rc;
    switch (*r->at) {
    case '[': return read_list(r);
    case '{': return read_dict(r);
    case '\'':
    case '"': return read_text(r, false);
    case '%': return read_placeholder(r);
    case '@': return read_datetime(r);
    case 'b':
        if (r->at[1] == '\'' || r->at[1] == '"' || r->at[1] == '%')
            return read_bytes(r);
        return read_word(r);
    default: return read_word(r);
    }
}

static struct reader reader_of(const char *fmt, va_list *ap, template_embed *embed, void *arg,
                               struct buf *out, struct fault *f)
{
    return (struct reader){
        .begin = fmt, .at = fmt, .ap = ap, .out = out, .fault = f, .embed = embed, .arg = arg};
}

int template_value(const char *fmt, va_list *ap, template_embed *embed, void *arg, struct buf *out,
                   struct fault *f)
{
    if (!fmt)
        return fault_set(f, FAULT_BAD_REQUEST, "a template is NULL, where a value is due");
    struct reader r = reader_of(fmt, ap, embed, arg, out, f);
    if (read_any(&r) < 0)
        return -1;
    skip_space(&r);
    return *r.at ? refuse(&r, "something behind the value") : 0;
}

int template_values(const char *fmt, va_list *ap, template_embed *embed, void *arg, struct buf *out,
                    uint32_t *count, struct fault *f)
{
    *count = 0;
    if (!fmt)
        return 0;
    struct reader r = reader_of(fmt, ap, embed, arg, out, f);
    skip_space(&r);
    while (*r.at) {
        r.argument = *count;
        if (read_any(&r) < 0)
            return -1;
        ++*count;
        skip_space(&r);
        if (*r.at == ',')
            r.at++;
        else if (*r.at)
            return refuse(&r, "no , between two values");
        skip_space(&r);
    }
    return 0;
}

int template_operand(const char *text, const char **at, va_list *ap, struct buf *out,
                     struct fault *f)
{
    struct reader r = reader_of(text, ap, embed_value, NULL, out, f);
    r.at = *at;
    r.operand = true;
    if (read_any(&r) < 0)
        return -1;
    *at = r.at;
    return 0;
}

/* ---- paths ---- */

static int path_text(struct reader *r, const struct filled *f, bool in_brackets)
{
    bool number = f->kind == FILLED_INT || f->kind == FILLED_UINT;
    if (!in_brackets && f->kind == FILLED_STR) {
        buf_append(r->out, f->s, f->len);
        return 0;
    }
    if (!in_brackets || (!number && f->kind != FILLED_STR))
        return refuse(r, "not one of %s [%s] [%d] in a path");
    if (r->at[0] != ']')
        return refuse(r, "no ] behind [%");
    r->at++;
    if (number)
        path_add_index(r->out, (int64_t)f->i);
    else
        path_add_key(r->out, f->s, f->len);
    return 0;
}

int template_path(const char *fmt, va_list *ap, struct buf *out, struct fault *f)
{
    struct reader r = reader_of(fmt ? fmt : "", ap, NULL, NULL, out, f);
    while (*r.at) {
        bool in_brackets = r.at[0] == '[' && r.at[1] == '%';
        struct filled filled;
        if (*r.at != '%' && !in_brackets) {
            buf_append(out, r.at++, 1);
            continue;
        }
        r.at += in_brackets;
        if (r.at[1] == '%') {
            if (in_brackets)
                return refuse(&r, "%% in brackets");
            buf_append(out, "%", 1);
            r.at += 2;
        } else if (take(&r, &filled) < 0 || path_text(&r, &filled, in_brackets) < 0) {
            return -1;
        }
    }
    return 0;
}
