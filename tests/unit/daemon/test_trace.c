/* trace: what is a traceparent, and what is none. */
#include "daemon/base/trace.h"
#include <criterion/criterion.h>
#include <string.h>

static bool parses(const char *text)
{
    struct trace t;
    return trace_parse(&t, text, strlen(text));
}

Test(trace, reads_what_the_standard_has)
{
    struct trace t;
    char hex[TRACE_TEXT];
    const char *text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    cr_assert(trace_parse(&t, text, strlen(text)));
    trace_hex(hex, t.id, TRACE_ID_BYTES);
    cr_expect_str_eq(hex, "4bf92f3577b34da6a3ce929d0e0e4736");
    trace_hex(hex, t.span, SPAN_ID_BYTES);
    cr_expect_str_eq(hex, "00f067aa0ba902b7");
    cr_expect(t.sampled);
    cr_assert(trace_parse(&t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe", 55));
    cr_expect_not(t.sampled);
    cr_expect(parses("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later"));
}

Test(trace, refuses_what_it_has_not)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "0\"-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(parses(bad[i]), "%s", bad[i]);
}
