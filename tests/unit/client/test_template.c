#include "client/json.h"
#include "client/template.h"
#include "client/timestamp.h"
#include "client/value.h"
#include "protocol/cursor.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a template packs, as JSON; "CODE: text" for an error. */
static char *filled(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *filled(const char *fmt, ...)
{
    struct buf out = BUF_INIT;
    struct fault f;
    va_list ap;
    char *text;
    va_start(ap, fmt);
    int rc = template_value(fmt, &ap, embed_value, NULL, &out, &f);
    va_end(ap);
    if (rc < 0) {
        cr_assert(asprintf(&text, "%s: %s", fault_name(f.code), f.text) > 0);
    } else {
        struct cursor in = cursor_of(out.data, out.len);
        rapyer_value *v = value_parse(in, 0, 1 << 20, &f);
        cr_assert_not_null(v);
        text = rapyer_to_json(v);
        rapyer_value_free(v);
    }
    buf_free(&out);
    return text;
}

/* Not a constant, which the compiler would refuse to see given to %s. */
static const char *volatile no_text;

#define GIVES(json, ...)                   \
    do {                                   \
        char *text_ = filled(__VA_ARGS__); \
        cr_expect_str_eq(text_, json);     \
        free(text_);                       \
    } while (0)
#define REFUSES(part, ...)                                                              \
    do {                                                                                \
        char *text_ = filled(__VA_ARGS__);                                              \
        cr_expect(strncmp(text_, "BAD_REQUEST: template: ", 23) == 0, "got %s", text_); \
        cr_expect_not_null(strstr(text_, part), "no '%s' in: %s", part, text_);         \
        free(text_);                                                                    \
    } while (0)

Test(template, scalars_stand_for_themselves)
{
    GIVES("null", "null");
    GIVES("true", " true ");
    GIVES("false", "false");
    GIVES("0", "0");
    GIVES("-9223372036854775808", "-9223372036854775808");
    GIVES("9223372036854775807", "9223372036854775807");
    GIVES("1.5", "1.5");
    GIVES("1000.0", "1e3");
    GIVES("\"text\"", "'text'");
    GIVES("\"it's\"", "\"it's\"");
    GIVES("\"bare-word@example.com\"", "bare-word@example.com");
    GIVES("\"nullable\"", "nullable");
}

Test(template, containers_are_relaxed_json)
{
    GIVES("[]", "[]");
    GIVES("{}", "{ }");
    GIVES("[\"a\",\"b\"]", "[a, b,]");
    GIVES("{\"key\":1,\"a b\":[null,{\"x\":\"y\"}],\"7\":true}",
          "{key: 1, 'a b': [null, {x: y}], 7: true}");
    GIVES("{\"@pk\":\"p1\"}", "{@pk: p1}");
}

Test(template, placeholders_are_values)
{
    long l = -5;
    size_t z = 6;
    GIVES("\"text\"", "%s", "text");
    GIVES("null", "%s", no_text);
    GIVES("\"te\"", "%.*s", 2, "text");
    GIVES("[1,-2,-5,7,6]", "[%d, %lld, %ld, %u, %zu]", 1, -2LL, l, 7u, z);
    GIVES("[1.5,0.1]", "[%f, %g]", 1.5, 0.1);
    GIVES("[true,false]", "[%hhd, %hhd]", (bool)true, (bool)false);
    GIVES("{\"k\":3}", "{%s: %d}", "k", 3);
    GIVES("[\"a\",\"b\"]", "[%s,%s]", "a", "b");
}

Test(template, text_is_never_interpolated)
{
    GIVES("{\"a\":\"', b: 1, c: '\"}", "{a: %s}", "', b: 1, c: '");
    GIVES("[\"%s%n\",\"}]\"]", "[%s, %s]", "%s%n", "}]");
    GIVES("\"null\"", "%s", "null");
    GIVES("{\"}\":0}", "{%s: 0}", "}");
}

Test(template, quoted_text_has_escapes)
{
    GIVES("\"a\\n\\\"\\\\/\"", "'a\\n\\\"\\\\\\/'");
    GIVES("\"\xc3\xa4\xf0\x9f\x98\x80\"", "'\\u00e4\\ud83d\\ude00'");
    GIVES("\"100%\"", "'100%%'");
    REFUSES("surrogate", "'\\ud83d'");
    REFUSES("escape", "'\\x41'");
}

Test(template, bytes_and_datetimes)
{
    GIVES("{\"$bytes\":\"AAH/\"}", "b%.*s", 3, "\x00\x01\xff");
    GIVES("{\"$bytes\":\"aGk=\"}", "b'hi'");
    GIVES("null", "b%s", no_text);
    GIVES("\"b\"", "b");
    GIVES("{\"$time\":\"2024-01-31T12:00:00.5Z\"}", "@'2024-01-31T12:00:00.500Z'");
    GIVES("{\"$time\":\"2024-01-31T10:00:00Z\"}", "@%s", "2024-01-31 12:00+02:00");
    GIVES("{\"$time\":\"1970-01-01T00:00:01Z\"}", "@%lld", 1LL);
    REFUSES("datetime", "@'yesterday'");
    REFUSES("datetime", "@'2023-02-29'");
}

Test(template, values_can_be_put_in)
{
    struct buf b = BUF_INIT;
    struct fault f;
    cr_assert_eq(template_value("{a: [1, 'x']}", NULL, NULL, NULL, &b, &f), 0);
    struct cursor in = cursor_of(b.data, b.len);
    rapyer_value *v = value_parse(in, 0, 1 << 20, &f);
    GIVES("{\"v\":{\"a\":[1,\"x\"]},\"inner\":\"x\"}", "{v: %p, inner: %p}", (void *)v,
          (void *)rapyer_get(v, "a[1]"));
    rapyer_value_free(v);
    buf_free(&b);
}

Test(template, what_is_wrong_is_named_with_its_place)
{
    REFUSES("at offset 3", "[1 2]");
    REFUSES("no , or }", "{a: 1 b: 2}");
    REFUSES("no :", "{a}");
    REFUSES("value is due", " ");
    REFUSES("behind the value", "1, 2");
    REFUSES("no number", "2024-01-31");
    REFUSES("no number", "0x10");
    REFUSES("out of range", "9223372036854775808");
    REFUSES("not closed", "'abc");
    REFUSES("inside quotes", "'hello %s'", "x");
    REFUSES("no str", "{%d: 1}", 5);
}

Test(template, nesting_is_bounded)
{
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    struct buf out = BUF_INIT;
    struct fault f;
    cr_assert_eq(template_value(deep, NULL, NULL, NULL, &out, &f), -1);
    cr_assert_not_null(strstr(f.text, "nesting"));
    buf_free(&out);
}

Test(template, placeholders_need_arguments)
{
    struct buf out = BUF_INIT;
    struct fault f;
    cr_assert_eq(template_value("%s", NULL, NULL, NULL, &out, &f), -1);
    cr_assert_not_null(strstr(f.text, "placeholder"));
    buf_free(&out);
}

static uint32_t counted(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static uint32_t counted(const char *fmt, ...)
{
    struct buf out = BUF_INIT;
    struct fault f;
    uint32_t n;
    va_list ap;
    va_start(ap, fmt);
    cr_assert_eq(template_values(fmt, &ap, NULL, NULL, &out, &n, &f), 0);
    va_end(ap);
    buf_free(&out);
    return n;
}

Test(template, a_sequence_counts_its_values)
{
    cr_expect_eq(counted(NULL), 0);
    cr_expect_eq(counted(" "), 0);
    cr_expect_eq(counted("%s", "a"), 1);
    cr_expect_eq(counted("0, [1, 2], {a: %d}", 3), 3);
}

static char *path_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *path_of(const char *fmt, ...)
{
    struct buf out = BUF_INIT;
    struct fault f;
    va_list ap;
    va_start(ap, fmt);
    int rc = template_path(fmt, &ap, &out, &f);
    va_end(ap);
    if (rc < 0)
        buf_clear(&out);
    buf_append(&out, "", 1);
    return (char *)out.data;
}

Test(template, paths_quote_keys)
{
    char *path = path_of("sections[%d].tasks[%s].%s", 2, "a\"]b", "tags");
    cr_expect_str_eq(path, "sections[2].tasks[\"a\\\"]b\"].tags");
    free(path);
    path = path_of("posts[%zu]", (size_t)7);
    cr_expect_str_eq(path, "posts[7]");
    free(path);
    path = path_of("posts[%g]", 1.5);
    cr_expect_str_eq(path, "");
    free(path);
}

Test(template, timestamps_come_back_as_they_went)
{
    static const struct {
        const char *text;
        int64_t sec;
        uint32_t nsec;
    } all[] = {{"1970-01-01T00:00:00Z", 0, 0},
               {"2024-02-29T23:59:59.123456789Z", 1709251199, 123456789},
               {"1969-12-31T23:59:59.5Z", -1, 500000000},
               {"0001-01-01T00:00:00Z", -62135596800, 0}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[TIMESTAMP_MAX];
        int64_t sec;
        uint32_t nsec;
        cr_expect_str_eq(timestamp_text(all[i].sec, all[i].nsec, text), all[i].text);
        cr_assert_eq(timestamp_parse(text, strlen(text), &sec, &nsec), 0);
        cr_expect_eq(sec, all[i].sec);
        cr_expect_eq(nsec, all[i].nsec);
    }
}
