/* fault: texts that are safe to show, and codes that survive the wire. */
#include "protocol/cursor.h"
#include "protocol/fault.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(fault, set_fills_and_refuses)
{
    struct fault f;

    cr_assert_eq(fault_set(&f, FAULT_BAD_PATH, "no %s in %d", "x", 5), -1);
    cr_assert_eq(f.code, FAULT_BAD_PATH);
    cr_assert_str_eq(f.text, "no x in 5");
}

Test(fault, its_own_text_may_be_an_argument)
{
    struct fault f;

    fault_set(&f, FAULT_BAD_TYPE, "inner");
    fault_set(&f, FAULT_BAD_TYPE, "outer: %s", f.text);
    cr_assert_str_eq(f.text, "outer: inner");
}

Test(fault, unfit_bytes_become_question_marks)
{
    struct fault f;

    fault_set(&f, FAULT_BAD_KEY, "%s",
              "a\nb\x1b\x7f"
              "c\xff\xc3\xa4\xe2\x82\xed\xa0\x80\xc2\x85.");
    cr_assert_str_eq(f.text, "a?b??c?\xc3\xa4???????.");
    cr_assert(utf8_valid(f.text, strlen(f.text)));
}

Test(fault, long_texts_are_cut_at_a_character)
{
    struct fault f;
    char text[1000];

    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        fault_set(&f, FAULT_BAD_VALUE, "%s", text);
        size_t len = strlen(f.text);
        cr_assert_lt(len, (size_t)FAULT_TEXT_MAX);
        cr_assert_geq(len, (size_t)FAULT_TEXT_MAX - 4);
        cr_assert(memcmp(f.text, text, len) == 0, "cut, not changed");
        cr_assert_eq((len - shift) % 4, 0u);
    }
}

Test(fault, names)
{
    cr_assert_null(fault_name(FAULT_NONE));
    cr_assert_null(fault_name(FAULT_COUNT));
    cr_assert_null(fault_name((enum fault_code) - 1));
    cr_assert_str_eq(fault_name(FAULT_BAD_FRAME), "BAD_FRAME");
    cr_assert_str_eq(fault_name(FAULT_INTERNAL), "INTERNAL");
}

Test(fault, every_code_is_parsed_back)
{
    for (int code = FAULT_NONE + 1; code < FAULT_COUNT; code++) {
        char wire[100];
        const char *text;
        size_t len;
        int n = snprintf(wire, sizeof wire, "%s: why: so", fault_name((enum fault_code)code));

        cr_assert_eq(fault_parse(wire, (size_t)n, &text, &len), (enum fault_code)code);
        cr_assert_eq(len, 7u);
        cr_assert(memcmp(text, "why: so", 7) == 0);
    }
}

Test(fault, foreign_texts_are_internal)
{
    static const char *const foreign[] = {"", "BAD_PATH", "BAD_PATHS: x", "bad_path: x", ": x"};
    const char *text;
    size_t len;

    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        cr_assert_eq(fault_parse(foreign[i], strlen(foreign[i]), &text, &len), FAULT_INTERNAL);
        cr_assert_eq(text, foreign[i]);
        cr_assert_eq(len, strlen(foreign[i]));
    }
    cr_assert_eq(fault_parse("CONFLICT:", 9, &text, &len), FAULT_CONFLICT);
    cr_assert_eq(len, 0u);
}
