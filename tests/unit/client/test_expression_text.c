#include "client/expression_text.h"
#include "client/json.h"
#include "client/value.h"
#include "protocol/cursor.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a text is packed as, as JSON; "CODE: text" for an error. */
static char *packed(int rc, const struct buf *out, const struct fault *f)
{
    char *text;
    struct fault bad;
    if (rc < 0) {
        cr_assert(asprintf(&text, "%s: %s", fault_name(f->code), f->text) > 0);
        return text;
    }
    rapyer_value *v = value_parse(cursor_of(out->data, out->len), 0, 1 << 20, &bad);
    cr_assert_not_null(v);
    text = rapyer_to_json(v);
    rapyer_value_free(v);
    return text;
}

static char *plain(const char *text)
{
    struct buf out = BUF_INIT;
    struct fault f;
    int rc = expression_text(text, NULL, &out, &f);
    char *json = packed(rc, &out, &f);
    buf_free(&out);
    return json;
}

static char *filled(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *filled(const char *fmt, ...)
{
    struct buf out = BUF_INIT;
    struct fault f;
    va_list ap;
    va_start(ap, fmt);
    int rc = expression_text(fmt, &ap, &out, &f);
    va_end(ap);
    char *json = packed(rc, &out, &f);
    buf_free(&out);
    return json;
}

#define IS(json, text_of)              \
    do {                               \
        char *text_ = text_of;         \
        cr_expect_str_eq(text_, json); \
        free(text_);                   \
    } while (0)
#define GIVES(json, text) IS(json, plain(text))
/* what is wrong, and how many bytes are in front of it */
#define REFUSES(what, offset, text)                                                       \
    do {                                                                                  \
        char *text_ = plain(text), where_[32];                                            \
        snprintf(where_, sizeof where_, " at offset %d of ", offset);                     \
        cr_expect(strncmp(text_, "BAD_REQUEST: expression: ", 25) == 0, "got %s", text_); \
        cr_expect(strstr(text_, what) != NULL && strstr(text_, where_) != NULL,           \
                  "no '%s' and '%s' in: %s", what, where_, text_);                        \
        free(text_);                                                                      \
    } while (0)

Test(expression_text, nothing_is_all_documents)
{
    GIVES("null", NULL);
    GIVES("null", "");
    GIVES("null", " \t\n");
}

Test(expression_text, comparisons)
{
    GIVES("[\"=\",\"age\",30]", "age = 30");
    GIVES("[\"=\",\"age\",30]", "age==30");
    GIVES("[\"!=\",\"age\",-3]", "age!=-3");
    GIVES("[\"<\",\"age\",1.5]", " age<1.5 ");
    GIVES("[\"<=\",\"age\",1]", "age <= 1");
    GIVES("[\">\",\"age\",1]", "age > 1");
    GIVES("[\">=\",\"age\",1]", "age >= 1");
    GIVES("[\"in\",\"city\",[\"Boston\",\"New York\",null]]", "city in [Boston, 'New York', null]");
    GIVES("[\"in\",\"age\",[]]", "age in[]");
    GIVES("[\"prefix\",\"name\",\"Mc\"]", "name prefix 'Mc'");
    GIVES("[\"has\",\"tags\",\"admin\"]", "tags has admin");
}

Test(expression_text, paths)
{
    GIVES("[\"=\",\"settings.theme\",\"dark\"]", "settings.theme = dark");
    GIVES("[\"=\",\"posts[].title\",\"x\"]", "posts[].title = x");
    GIVES("[\"=\",\"a_1[0].b\",1]", "a_1[0].b=1");
    GIVES("[\"=\",\"counts[\\\"a b\\\"]\",1]", "counts[\"a b\"] = 1");
}

Test(expression_text, fields_may_be_called_as_words_of_the_grammar)
{
    GIVES("[\"and\",[\"=\",\"and\",1],[\"=\",\"or\",2]]", "and = 1 and or = 2");
    GIVES("[\"in\",\"in\",[1]]", "in in [1]");
    GIVES("[\"=\",\"not\",1]", "not = 1");
    GIVES("[\"not\",[\"<\",\"not\",1]]", "not not < 1");
    GIVES("[\"=\",\"not.x\",1]", "not.x = 1");
    GIVES("[\"=\",\"nothing\",1]", "nothing = 1");
    GIVES("[\"has\",\"hash\",\"x\"]", "hash has x");
}

Test(expression_text, values)
{
    GIVES("[\"=\",\"x\",null]", "x = null");
    GIVES("[\"=\",\"x\",true]", "x = true");
    GIVES("[\"=\",\"x\",false]", "x = false");
    GIVES("[\"=\",\"x\",-9223372036854775808]", "x = -9223372036854775808");
    GIVES("[\"=\",\"x\",\"12\"]", "x = '12'");
    GIVES("[\"=\",\"x\",\"a\\\"b\\n\u00fc\"]", "x = \"a\\\"b\\n\u00fc\"");
    GIVES("[\"=\",\"x\",\"and\"]", "x = 'and'");
    GIVES("[\"=\",\"x\",\"andy\"]", "x = andy");
    GIVES("[\"=\",\"x\",\"100% %s %%\"]", "x = '100% %s %%'");
    GIVES("[\"=\",\"x\",{\"$bytes\":\"YQ==\"}]", "x = b'a'");
}

Test(expression_text, dates_and_times)
{
    GIVES("[\"<\",\"x\",\"2024-01-31\"]", "x < 2024-01-31");
    GIVES("[\"<\",\"x\",\"12:30\"]", "x < 12:30");
    GIVES("[\"<\",\"x\",\"12:30:01.5\"]", "x < 12:30:01.5");
    GIVES("[\"<\",\"x\",\"2024-01-31T12:30:00.5\"]", "x < 2024-01-31T12:30:00.5");
    GIVES("[\"<\",\"x\",{\"$time\":\"2024-01-31T12:30:00.5Z\"}]", "x < 2024-01-31T12:30:00.5Z");
    GIVES("[\"<\",\"x\",{\"$time\":\"2024-01-31T10:30:00Z\"}]", "x < 2024-01-31T12:30:00+02:00");
    GIVES("[\"<\",\"x\",{\"$time\":\"2024-01-31T00:00:00Z\"}]", "x < @'2024-01-31'");
    GIVES("[\"in\",\"x\",[\"2024-01-31\",\"0001-01-01\"]]", "x in [2024-01-31, 0001-01-01]");
    GIVES("[\"and\",[\"<\",\"x\",\"2024-01-31\"],[\"=\",\"y\",2024]]",
          "x < 2024-01-31 and y = 2024");
}

Test(expression_text, and_or_not)
{
    GIVES("[\"and\",[\"=\",\"a\",1],[\"=\",\"b\",2],[\"=\",\"c\",3]]", "a=1 and b=2 and c=3");
    GIVES("[\"or\",[\"and\",[\"=\",\"a\",1],[\"=\",\"b\",2]],[\"=\",\"c\",3]]",
          "a=1 and b=2 or c=3");
    GIVES("[\"or\",[\"=\",\"a\",1],[\"and\",[\"=\",\"b\",2],[\"=\",\"c\",3]]]",
          "a=1 or b=2 and c=3");
    GIVES("[\"and\",[\"=\",\"a\",1],[\"or\",[\"=\",\"b\",2],[\"=\",\"c\",3]]]",
          "a=1 and(b=2 or c=3)");
    GIVES("[\"and\",[\"not\",[\"=\",\"a\",1]],[\"=\",\"b\",2]]", "not a=1 and b=2");
    GIVES("[\"not\",[\"or\",[\"=\",\"a\",1],[\"=\",\"b\",2]]]", "not (a = 1 or b = 2)");
    GIVES("[\"not\",[\"not\",[\"=\",\"a\",1]]]", "not not a = 1");
    GIVES("[\"=\",\"a\",\"x\"]", "((a = x))");
    GIVES("[\"and\",[\"=\",\"a\",\"x\"],[\"=\",\"b\",\"y\"]]", "a='x'and b=\"y\"");
}

Test(expression_text, placeholders_are_values)
{
    const char *evil = "x' or 1 = 1 %d";
    IS("[\"and\",[\">\",\"age\",30],[\"=\",\"city\",\"x' or 1 = 1 %d\"]]",
       filled("age > %d and city = %s", 30, evil));
    IS("[\"in\",\"age\",[1,2.5,\"ab\"]]", filled("age in [%d, %f, %.*s]", 1, 2.5, 2, "abc"));
    IS("[\"=\",\"seen\",{\"$time\":\"1970-01-01T00:00:07Z\"}]", filled("seen = @%lld", 7LL));
    IS("[\"=\",\"x\",\"50%\"]", filled("x = '50%%'"));
    IS("BAD_REQUEST: expression: a placeholder, where none can be filled, at offset 4 of \"x = "
       "%d\"",
       plain("x = %d"));
}

Test(expression_text, says_what_is_wrong_and_where)
{
    REFUSES("no value", 6, "age > and city = 1");
    REFUSES("the end, where a value is due", 6, "age > ");
    REFUSES("none of = != <", 3, "age");
    REFUSES("none of = != <", 4, "age 30");
    REFUSES("none of = != <", 4, "age ~ 30");
    REFUSES("the end, where a comparison is due", 12, "age = 1 and ");
    REFUSES("the end, where a comparison is due", 4, "not ");
    REFUSES("something else than a field", 0, "30 < age");
    REFUSES("something else than a field", 0, "'age' = 1");
    REFUSES("something else than and, or", 8, "age = 1 city = 2");
    REFUSES("something else than and, or", 7, "age = 1)");
    REFUSES("no )", 8, "(age = 1");
    REFUSES("no )", 9, "(age = 1 ]");
    REFUSES("a bracket that is not closed", 5, "posts[.x = 1");
    REFUSES("a quote that is not closed", 11, "x = 'Boston");
    REFUSES("no , or ]", 10, "x in [1, 2");
    REFUSES("no number", 6, "x = 1z");
    REFUSES("out of range", 23, "x = 9223372036854775808");
    REFUSES("a datetime that is not like", 4, "x = 2024-02-31T00:00:00Z ");
}

static char *nested(const char *open, unsigned n)
{
    size_t len = strlen(open);
    char *text = malloc(n * len + 8);
    cr_assert_not_null(text);
    for (unsigned i = 0; i < n; i++)
        memcpy(text + i * len, open, len);
    memcpy(text + n * len, "a = 1", 6);
    return text;
}

Test(expression_text, depth_is_bounded)
{
    char *deep = nested("not ", EXPRESSION_TEXT_DEPTH - 1), *deeper = nested("(", 1000000);
    char *good = plain(deep);
    cr_expect_eq(good[0], '[', "got %s", good);
    REFUSES("too many parts within each other", EXPRESSION_TEXT_DEPTH, deeper);
    free(good);
    free(deep);
    free(deeper);
}
