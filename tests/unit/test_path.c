/* path: every form of step, every refusal, and that what is written reads back the same. */
#include "protocol/path.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static int first_fault(const char *path, size_t len, struct fault *f)
{
    struct path_reader r;
    struct step s;
    int got;
    path_read(&r, path, len);
    while ((got = path_next(&r, &s, f)) > 0)
        ;
    return got;
}

static void refused(const char *path, const char *text)
{
    struct fault f;
    cr_assert_eq(first_fault(path, strlen(path), &f), -1, "%s", path);
    cr_assert_eq(f.code, FAULT_BAD_PATH, "%s", path);
    cr_assert_str_eq(f.text, text);
}

static void is_name(struct path_reader *r, const char *name)
{
    struct step s;
    struct fault f;
    cr_assert_eq(path_next(r, &s, &f), 1);
    cr_assert_eq(s.kind, STEP_NAME);
    cr_assert(s.len == strlen(name) && memcmp(s.s, name, s.len) == 0, "%s", name);
}

static void is_index(struct path_reader *r, int64_t index)
{
    struct step s;
    struct fault f;
    cr_assert_eq(path_next(r, &s, &f), 1);
    cr_assert_eq(s.kind, STEP_INDEX);
    cr_assert_eq(s.index, index);
}

static void is_key(struct path_reader *r, const char *key, size_t len)
{
    struct step s;
    struct fault f;
    int got = path_next(r, &s, &f);
    cr_assert_eq(got, 1, "%s", f.text);
    cr_assert_eq(s.kind, STEP_KEY);
    cr_assert(s.len == len && memcmp(s.s, key, len) == 0, "%.*s", (int)s.len, s.s);
}

static void is_end(struct path_reader *r)
{
    struct step s;
    struct fault f;
    cr_assert_eq(path_next(r, &s, &f), 0);
    cr_assert_eq(path_next(r, &s, &f), 0);
}

static void reads_key(const char *path, const char *key, size_t len)
{
    struct path_reader r;
    path_read(&r, path, strlen(path));
    is_name(&r, "d");
    is_key(&r, key, len);
    is_end(&r);
}

Test(path, of_all_kinds_of_steps)
{
    struct path_reader r;
    const char *path = "sections[0].tasks[\"t 1\"].tags[-1][-0]";
    path_read(&r, path, strlen(path));
    is_name(&r, "sections");
    is_index(&r, 0);
    is_name(&r, "tasks");
    is_key(&r, "t 1", 3);
    is_name(&r, "tags");
    is_index(&r, -1);
    is_index(&r, 0);
    is_end(&r);
}

Test(path, empty_is_the_whole_document)
{
    struct path_reader r;
    path_read(&r, "", 0);
    is_end(&r);
    path_read(&r, NULL, 0);
    is_end(&r);
}

Test(path, indexes_of_64_bits)
{
    struct path_reader r;
    const char *path = "a[9223372036854775807][-9223372036854775808]";
    path_read(&r, path, strlen(path));
    is_name(&r, "a");
    is_index(&r, INT64_MAX);
    is_index(&r, INT64_MIN);
    is_end(&r);
    refused("a[9223372036854775808]",
            "path 'a[9223372036854775808]', byte 2: the index does not fit 64 bits");
    refused("a[-9223372036854775809]",
            "path 'a[-9223372036854775809]', byte 2: the index does not fit 64 bits");
    refused("a[99999999999999999999]",
            "path 'a[99999999999999999999]', byte 2: the index does not fit 64 bits");
}

Test(path, keys_with_escapes)
{
    reads_key("d[\"\"]", "", 0);
    reads_key("d[\"a.b[c]\"]", "a.b[c]", 6);
    reads_key("d[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", "\"\\/\b\f\n\r\t", 8);
    reads_key("d[\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"]", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
              10);
    reads_key("d[\"x\\u0000y\"]", "x\0y", 3);
    reads_key("d[\"\xc3\xa9\"]", "\xc3\xa9", 2);
}

Test(path, a_long_key_needs_no_scratch_unless_it_has_escapes)
{
    char path[700] = "d[\"", key[600];
    memset(key, 'k', sizeof key);
    memcpy(path + 3, key, 600);
    memcpy(path + 603, "\"]", 3);
    reads_key(path, key, 600);

    memcpy(path + 601, "\\n", 2);
    struct fault f;
    cr_assert_eq(first_fault(path, strlen(path), &f), -1);
    cr_assert(strstr(f.text, "a key with escapes has at most 508 bytes"), "%s", f.text);

    memcpy(path + 3 + 507, "\\n\"]", 5);
    key[507] = '\n';
    reads_key(path, key, 508);
    memcpy(path + 3 + 507, "k\\n\"]", 6);
    cr_assert_eq(first_fault(path, strlen(path), &f), -1);
}

Test(path, refused_names)
{
    const char *want = "a field name expected (letters, digits and _, no digit first)";
    const char *bad[] = {".a", "1a", "[0]", "a.", "a..b", "a.1", "-", "a.[0]", " a"};
    struct fault f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(first_fault(bad[i], strlen(bad[i]), &f), -1, "%s", bad[i]);
        cr_assert_eq(f.code, FAULT_BAD_PATH);
        cr_assert(strstr(f.text, want), "%s: %s", bad[i], f.text);
    }
    refused("a.", "path 'a.', byte 2: a field name expected (letters, digits and _, no digit "
                  "first)");
    char name[66];
    memset(name, 'n', 65);
    name[65] = '\0';
    cr_assert_eq(first_fault(name, 64, &f), 0);
    cr_assert_eq(first_fault(name, 65, &f), -1);
    cr_assert(strstr(f.text, "a field name has at most 64 characters"), "%s", f.text);
}

Test(path, refused_brackets)
{
    refused("a b", "path 'a b', byte 1: '.' or '[' expected");
    refused("a[0]b", "path 'a[0]b', byte 4: '.' or '[' expected");
    refused("a[", "path 'a[', byte 2: an index like 0 or -1, or a key in double quotes expected");
    refused("a[]", "path 'a[]', byte 2: an index like 0 or -1, or a key in double quotes expected");
    refused("a[-]",
            "path 'a[-]', byte 2: an index like 0 or -1, or a key in double quotes expected");
    refused("a[x]",
            "path 'a[x]', byte 2: an index like 0 or -1, or a key in double quotes expected");
    refused("a[0", "path 'a[0', byte 3: ']' expected");
    refused("a[0x]", "path 'a[0x]', byte 3: ']' expected");
    refused("a[\"k\"", "path 'a[\"k\"', byte 5: ']' expected");
    refused("a[\"k]", "path 'a[\"k]', byte 2: the key's closing double quote is missing");
    refused("a[\"k\\\"]", "path 'a[\"k\\\"]', byte 2: the key's closing double quote is missing");
    refused("a[\"\\", "path 'a[\"\\', byte 2: the key's closing double quote is missing");
}

Test(path, refused_keys)
{
    const char *escape = "an escape is one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX";
    const char *unicode = "\\u needs four hexadecimal digits, surrogates come in pairs";
    const struct {
        const char *path, *text;
    } bad[] = {
        {"d[\"\\x\"]", escape},
        {"d[\"\\u12\"]", unicode},
        {"d[\"\\u12g4\"]", unicode},
        {"d[\"\\ud83d\"]", unicode},
        {"d[\"\\ud83d\\u0041\"]", unicode},
        {"d[\"\\ude00\"]", unicode},
        {"d[\"a\nb\"]", "a control character in a key is written as \\n, \\u0001, ..."},
        {"d[\"\xff\"]", "the key is not valid UTF-8"},
        {"d[\"\\n\xc3\"]", "the key is not valid UTF-8"},
    };
    struct fault f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(first_fault(bad[i].path, strlen(bad[i].path), &f), -1, "%s", bad[i].path);
        cr_assert_eq(f.code, FAULT_BAD_PATH);
        cr_assert(strstr(f.text, bad[i].text), "%s: %s", bad[i].path, f.text);
    }
}

Test(path, has_at_most_64_steps)
{
    struct buf b = BUF_INIT;
    struct fault f;
    path_add_name(&b, "a", 1);
    for (int i = 1; i < PATH_MAX_STEPS; i++)
        path_add_index(&b, i);
    cr_assert_eq(first_fault((char *)b.data, b.len, &f), 0);
    path_add_index(&b, 64);
    cr_assert_eq(first_fault((char *)b.data, b.len, &f), -1);
    cr_assert(strstr(f.text, "a path has at most 64 steps"), "%s", f.text);
    buf_free(&b);
}

Test(path, written_in_canonical_form)
{
    struct buf b = BUF_INIT;
    path_add_name(&b, "sections", 8);
    path_add_index(&b, -1);
    path_add_name(&b, "tasks", 5);
    path_add_key(&b, "a\"b\\c/\n\x01\xc3\xa9", 10);
    const char *want = "sections[-1].tasks[\"a\\\"b\\\\c/\\n\\u0001\xc3\xa9\"]";
    cr_assert(b.len == strlen(want) && memcmp(b.data, want, b.len) == 0, "%.*s", (int)b.len,
              (char *)b.data);
    buf_free(&b);
}

Test(path, every_byte_of_a_key_reads_back)
{
    struct buf b = BUF_INIT;
    char key[0x80];
    for (int i = 0; i < 0x80; i++)
        key[i] = (char)i;
    path_add_name(&b, "d", 1);
    path_add_key(&b, key, sizeof key);
    struct path_reader r;
    path_read(&r, (char *)b.data, b.len);
    is_name(&r, "d");
    is_key(&r, key, sizeof key);
    is_end(&r);
    buf_free(&b);
}

Test(path, never_reads_past_its_end)
{
    const char *path = "ab[\"k\\u0041\"][-12].cd";
    for (size_t n = 0; n <= strlen(path); n++) {
        char *exact = malloc(n ? n : 1);
        struct fault f;
        memcpy(exact, path, n);
        int got = first_fault(exact, n, &f);
        bool whole = n <= 2 || n == 13 || n == 18 || n >= 20;
        cr_assert_eq(got, whole ? 0 : -1, "%zu", n);
        free(exact);
    }
}

Test(name, valid)
{
    char longest[65];
    memset(longest, 'x', sizeof longest);
    cr_assert(name_valid("A", 1));
    cr_assert(name_valid("_a9Z", 4));
    cr_assert(name_valid(longest, 64));
    cr_assert_not(name_valid(longest, 65));
    cr_assert_not(name_valid("", 0));
    cr_assert_not(name_valid("9a", 2));
    cr_assert_not(name_valid("@pk", 3));
    cr_assert_not(name_valid("a-b", 3));
    cr_assert_not(name_valid("a\0b", 3));
    cr_assert_not(name_valid("\xc3\xa9", 2));
}

static void key_is(const char *key, const char *model, const char *pk)
{
    const char *m, *p;
    size_t m_len, p_len;
    struct fault f;
    cr_assert_eq(key_parse(key, strlen(key), &m, &m_len, &p, &p_len, &f), 0, "%s", f.text);
    cr_assert(m_len == strlen(model) && memcmp(m, model, m_len) == 0);
    cr_assert(p_len == strlen(pk) && memcmp(p, pk, p_len) == 0);
}

static void key_refused(const char *key, const char *text)
{
    const char *m, *p;
    size_t m_len, p_len;
    struct fault f;
    cr_assert_eq(key_parse(key, strlen(key), &m, &m_len, &p, &p_len, &f), -1, "%s", key);
    cr_assert_eq(f.code, FAULT_BAD_KEY);
    cr_assert_str_eq(f.text, text);
}

Test(key, taken_apart)
{
    key_is("User:42", "User", "42");
    key_is("User:a:b:", "User", "a:b:");
    key_is("_x:\xc3\xa9", "_x", "\xc3\xa9");
}

Test(key, refused)
{
    key_refused("", "'' has no ':'; a key is Model:pk");
    key_refused("User", "'User' has no ':'; a key is Model:pk");
    key_refused(":1", "':1' does not begin with a model's name and ':'; a key is Model:pk");
    key_refused("Us er:1", "'Us er:1' does not begin with a model's name and ':'; a key is "
                           "Model:pk");
    key_refused("User:", "the pk is empty");
    key_refused("User:a\tb", "the pk 'a?b' holds the control character 0x09 at byte 1");
    key_refused("User:a\x7f", "the pk 'a?' holds the control character 0x7f at byte 1");
    key_refused("User:\xff", "the pk is not valid UTF-8");
}

static void key_is_written(const char *pk, const char *in_redis)
{
    char text[64];
    size_t len;
    struct buf b = BUF_INIT;
    pk_append(&b, pk, strlen(pk));
    cr_assert_eq(b.len, strlen(in_redis));
    cr_assert_eq(memcmp(b.data, in_redis, b.len), 0, "%s", pk);
    cr_assert_eq(pk_escaped_len(pk, strlen(pk)), b.len);
    cr_assert(pk_unescape(text, (char *)b.data, b.len, &len));
    cr_assert(len == strlen(pk) && memcmp(text, pk, len) == 0);
    buf_free(&b);
}

Test(key, what_has_a_meaning_in_redis_is_escaped_there)
{
    static const char *const none[] = {"a/b", "a}",   "{",     "{2",  "{2F",
                                       "{61", "{7b7", "a{2f{", "{{7b"};
    char text[64];
    size_t len;
    key_is_written("plain:42%2f*?[]", "plain:42%2f*?[]");
    key_is_written("http://x.org/?a={1}", "http:{2f{2fx.org{2f?a={7b1{7d");
    key_is_written("{2f", "{7b2f");
    key_is_written("///", "{2f{2f{2f");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_expect(i == 6 || !pk_unescape(text, none[i], strlen(none[i]), &len), "%s", none[i]);
    cr_expect(pk_unescape(text, "{7b7", 4, &len) && len == 2 && memcmp(text, "{7", 2) == 0);
}

Test(key, pk_has_at_most_256_bytes)
{
    char pk[PK_MAX + 1];
    struct fault f;
    memset(pk, 'p', sizeof pk);
    cr_assert_eq(pk_check(pk, PK_MAX, &f), 0);
    cr_assert_eq(pk_check(pk, PK_MAX + 1, &f), -1);
    cr_assert_str_eq(f.text, "the pk has 257 bytes, at most 256 are allowed");
}
