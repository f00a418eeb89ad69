/* path: the text form of places in a document, and of documents.
 *
 * A leaf: knows nothing of schemas. Paths are read step by step, in place; only a quoted key
 * with escapes is copied, into the reader's scratch.
 */
#include "protocol/path.h"
#include "protocol/cursor.h"

#define SHOWN 120 /* bytes of a path or key that a message repeats */
/* Bytes of a key with escapes: the scratch, less room for one more character. */
#define ESCAPED_MAX (sizeof((struct path_reader *)0)->scratch - 4)

enum { NAME_ON = 1, NAME_FIRST = 2 }; /* may go on with it, begin with it */

/* clang-format off */
static const uint8_t name_chars[256] = {
    ['A' ... 'Z'] = NAME_ON | NAME_FIRST,
    ['a' ... 'z'] = NAME_ON | NAME_FIRST,
    ['_'] = NAME_ON | NAME_FIRST,
    ['0' ... '9'] = NAME_ON,
};
/* clang-format on */

static bool name_start(char c)
{
    return name_chars[(uint8_t)c] & NAME_FIRST;
}

static bool name_char(char c)
{
    return name_chars[(uint8_t)c];
}

bool name_valid(const char *s, size_t len)
{
    if (len == 0 || len > NAME_MAX_LEN || !name_start(s[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!name_char(s[i]))
            return false;
    return true;
}

bool model_name_valid(const char *s, size_t len)
{
    const char *end = s + len, *dot;
    if (len == 0 || len > NAME_MAX_LEN)
        return false;
    for (; (dot = memchr(s, '.', (size_t)(end - s))) != NULL; s = dot + 1)
        if (!name_valid(s, (size_t)(dot - s)))
            return false;
    return name_valid(s, (size_t)(end - s));
}

void path_read(struct path_reader *r, const char *path, size_t len)
{
    r->begin = r->at = len ? path : "";
    r->end = r->begin + len;
    r->steps = 0;
}

static int bad(const struct path_reader *r, const char *what, struct fault *f)
{
    size_t len = (size_t)(r->end - r->begin);
    return fault_set(f, FAULT_BAD_PATH, "path '%.*s%s', byte %zu: %s",
                     (int)(len < SHOWN ? len : SHOWN), r->begin, len > SHOWN ? "..." : "",
                     (size_t)(r->at - r->begin), what);
}

static int next_name(struct path_reader *r, struct step *s, struct fault *f)
{
    const char *from = r->at, *to = from;
    while (to < r->end && name_char(*to))
        to++;
    if (to == from || to - from > NAME_MAX_LEN || !name_start(*from))
        return bad(r,
                   to - from > NAME_MAX_LEN
                       ? "a field name has at most 64 characters"
                       : "a field name expected (letters, digits and _, no digit first)",
                   f);
    r->at = to;
    *s = (struct step){.kind = STEP_NAME, .s = from, .len = (size_t)(to - from)};
    return 1;
}

static int next_index(struct path_reader *r, struct step *s, struct fault *f)
{
    const char *p = r->at;
    bool negative = p < r->end && *p == '-';
    if (negative)
        p++;
    const char *digits = p;
    int64_t v = 0;
    for (; p < r->end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, *p - '0', &v))
            return bad(r, "the index does not fit 64 bits", f);
    if (p == digits)
        return bad(r, "an index like 0 or -1, or a key in double quotes expected", f);
    if (!negative && __builtin_sub_overflow(0, v, &v))
        return bad(r, "the index does not fit 64 bits", f);
    r->at = p;
    *s = (struct step){.kind = STEP_INDEX, .index = v};
    return 1;
}

static int hex4(const char *p, const char *end, unsigned *v)
{
    if (end - p < 4)
        return -1;
    *v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        unsigned d;
        if (c >= '0' && c <= '9')
            d = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            d = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            d = (unsigned)(c - 'A') + 10;
        else
            return -1;
        *v = *v << 4 | d;
    }
    return 0;
}

/* The character behind "\u", as UTF-8 into out (4 bytes of room). Bytes written, or -1. */
static int unescape_unicode(const char **p, const char *end, char *out)
{
    unsigned c, low;
    if (hex4(*p, end, &c) < 0)
        return -1;
    *p += 4;
    if (c >= 0xd800 && c < 0xdc00) {
        if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u' || hex4(*p + 2, end, &low) < 0 ||
            low < 0xdc00 || low > 0xdfff)
            return -1;
        *p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        return -1;
    }
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* The letters of JSON's escapes, and what they stand for at the same place. */
static const char escape_letters[] = "\"\\/bfnrt";
static const char escape_meanings[] = "\"\\/\b\f\n\r\t";

static int unescape(struct path_reader *r, const char *from, const char *to, struct step *s,
                    struct fault *f)
{
    size_t n = 0;
    for (const char *p = from; p < to && n <= ESCAPED_MAX;) {
        if (*p != '\\') {
            r->scratch[n++] = *p++;
            continue;
        }
        p++;
        if (*p == 'u') {
            p++;
            int more = unescape_unicode(&p, to, r->scratch + n);
            if (more < 0)
                return bad(r, "\\u needs four hexadecimal digits, surrogates come in pairs", f);
            n += (size_t)more;
            continue;
        }
        const char *letter = *p ? strchr(escape_letters, *p) : NULL;
        if (!letter)
            return bad(r, "an escape is one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX", f);
        r->scratch[n++] = escape_meanings[letter - escape_letters];
        p++;
    }
    if (n > ESCAPED_MAX)
        return bad(r, "a key with escapes has at most 508 bytes", f);
    *s = (struct step){.kind = STEP_KEY, .s = r->scratch, .len = n};
    return 1;
}

static int next_key(struct path_reader *r, struct step *s, struct fault *f)
{
    const char *from = r->at + 1, *to = from;
    bool escapes = false;
    while (to < r->end && *to != '"') {
        if ((unsigned char)*to < 0x20)
            return bad(r, "a control character in a key is written as \\n, \\u0001, ...", f);
        if (*to == '\\') {
            escapes = true;
            to++;
        }
        to++;
    }
    if (to >= r->end)
        return bad(r, "the key's closing double quote is missing", f);
    if (!utf8_valid(from, (size_t)(to - from)))
        return bad(r, "the key is not valid UTF-8", f);
    *s = (struct step){.kind = STEP_KEY, .s = from, .len = (size_t)(to - from)};
    if (escapes && unescape(r, from, to, s, f) < 0)
        return -1;
    r->at = to + 1;
    return 1;
}

void path_skip(struct path_reader *r, size_t bytes)
{
    r->at = r->begin + bytes;
    r->steps = 1;
}

int path_next(struct path_reader *r, struct step *s, struct fault *f)
{
    if (r->at == r->end)
        return 0;
    if (r->steps == PATH_MAX_STEPS)
        return bad(r, "a path has at most 64 steps", f);
    bool first = r->steps++ == 0;
    if (first)
        return next_name(r, s, f);
    char c = *r->at;
    if (c == '.') {
        r->at++;
        return next_name(r, s, f);
    }
    if (c != '[')
        return bad(r, "'.' or '[' expected", f);
    r->at++;
    int got = r->at < r->end && *r->at == '"' ? next_key(r, s, f) : next_index(r, s, f);
    if (got < 0)
        return -1;
    if (r->at == r->end || *r->at != ']')
        return bad(r, "']' expected", f);
    r->at++;
    return got;
}

void path_add_name(struct buf *path, const char *name, size_t len)
{
    if (path->len)
        buf_append(path, ".", 1);
    buf_append(path, name, len);
}

void path_add_index(struct buf *path, int64_t index)
{
    buf_printf(path, "[%lld]", (long long)index);
}

void path_add_key(struct buf *path, const char *key, size_t len)
{
    buf_append(path, "[\"", 2);
    size_t plain = 0; /* what is before it has been written */
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)key[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(path, key + plain, i - plain);
        plain = i + 1;
        const char *meaning = c ? strchr(escape_meanings, c) : NULL;
        if (meaning) {
            char pair[2] = {'\\', escape_letters[meaning - escape_meanings]};
            buf_append(path, pair, 2);
        } else {
            buf_printf(path, "\\u%04x", c);
        }
    }
    buf_append(path, key + plain, len - plain);
    buf_append(path, "\"]", 2);
}

int key_parse(const char *key, size_t len, const char **model, size_t *model_len, const char **pk,
              size_t *pk_len, struct fault *f)
{
    const char *colon = len ? memchr(key, ':', len) : NULL;
    int shown = (int)(len < SHOWN ? len : SHOWN);
    if (!colon)
        return fault_set(f, FAULT_BAD_KEY, "'%.*s' has no ':'; a key is Model:pk", shown, key);
    size_t name_len = (size_t)(colon - key);
    if (!model_name_valid(key, name_len))
        return fault_set(f, FAULT_BAD_KEY,
                         "'%.*s' does not begin with a model's name and ':'; a key is Model:pk",
                         shown, key);
    if (pk_check(colon + 1, len - name_len - 1, f) < 0)
        return -1;
    *model = key;
    *model_len = name_len;
    *pk = colon + 1;
    *pk_len = len - name_len - 1;
    return 0;
}

int pk_check(const char *pk, size_t len, struct fault *f)
{
    if (len == 0)
        return fault_set(f, FAULT_BAD_KEY, "the pk is empty");
    if (len > PK_MAX)
        return fault_set(f, FAULT_BAD_KEY, "the pk has %zu bytes, at most %d are allowed", len,
                         PK_MAX);
    if (!utf8_valid(pk, len))
        return fault_set(f, FAULT_BAD_KEY, "the pk is not valid UTF-8");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)pk[i];
        if (c < 0x20 || c == 0x7f)
            return fault_set(f, FAULT_BAD_KEY,
                             "the pk '%.*s' holds the control character 0x%02x at byte %zu",
                             (int)(len < SHOWN ? len : SHOWN), pk, c, i);
    }
    return 0;
}

static bool has_meaning(char c)
{
    return c == '{' || c == '}' || c == '/';
}

size_t pk_escaped_len(const char *pk, size_t len)
{
    size_t n = len;
    for (size_t i = 0; i < len; i++)
        n += has_meaning(pk[i]) ? 2 : 0;
    return n;
}

size_t pk_escape(char *out, const char *pk, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)pk[i];
        bool plain = !has_meaning(pk[i]);
        *at++ = plain ? pk[i] : '{';
        if (plain)
            continue;
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    return (size_t)(at - out);
}

void pk_append(struct buf *out, const char *pk, size_t len)
{
    size_t escaped = pk_escaped_len(pk, len);
    if (escaped == len)
        buf_append(out, pk, len);
    else if (buf_grow(out, escaped))
        out->len += pk_escape((char *)out->data + out->len, pk, len);
}

bool pk_unescape(char *out, const char *name, size_t len, size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == '{') {
            const char *hex = name + i + 1;
            size_t left = len - i - 1;
            c = left < 2                    ? 0
                : memcmp(hex, "7b", 2) == 0 ? '{'
                : memcmp(hex, "7d", 2) == 0 ? '}'
                : memcmp(hex, "2f", 2) == 0 ? '/'
                                            : 0;
            i += 2;
        } else if (has_meaning(c)) {
            c = 0;
        }
        if (c == 0)
            return false;
        out[n++] = c;
    }
    *out_len = n;
    return true;
}
