#include "model_text.h"
#include "protocol/decimal.h"
#include "protocol/scalar.h"

/* The canonical text of a value of this type, or NULL when it is refused. */
static const char *form_of(const char *type, const char *text)
{
    static char out[128];
    char declaration[400];
    struct schema *s = schema_new();
    snprintf(declaration, sizeof declaration,
             "{'name': 'M', 'kind': 'atomic', 'fields': [{'name': 'f', 'type': '%s'}]}", type);
    const struct type *t = define(s, declaration)->fields[0].type;
    struct item it = {.kind = ITEM_STR,
                      .bytes = {(const uint8_t *)text, (uint32_t)strlen(text), 0}};
    struct buf packed = BUF_INIT, raw = BUF_INIT;
    struct fault f = {0};
    const char *form = NULL;
    if (scalars[t->kind].check(t, &it, &packed, &f) == 0) {
        struct cursor in = cursor_of(packed.data, packed.len);
        struct cell c;
        cr_assert_eq(cursor_next(&in, &it), 0);
        scalars[t->kind].write(&it, &raw);
        cr_assert(scalars[t->kind].read(t, (char *)raw.data, raw.len, &c), "it is read back");
        cell_free(&c);
        form = memcpy(out, raw.data, raw.len);
        out[raw.len] = '\0';
    } else {
        cr_assert_eq(f.code, FAULT_BAD_VALUE);
        cr_assert(!scalars[t->kind].read(t, text, strlen(text), &(struct cell){0}));
    }
    buf_free(&packed);
    buf_free(&raw);
    schema_free(s);
    return form;
}

static void is(const char *type, const char *text, const char *wanted)
{
    const char *form = form_of(type, text);
    cr_expect(form && strcmp(form, wanted) == 0, "%s of type %s is '%s'", text, type,
              form ? form : "refused");
}

static void no(const char *type, const char *text)
{
    cr_expect_null(form_of(type, text), "'%s' is no %s", text, type);
}

Test(scalar_text, each_has_one_form)
{
    is("decimal", "-12.50", "-12.50");
    is("decimal", "0.000", "0.000");
    is("decimal", "-0", "0");
    is("decimal", "12345678901234567890123456789012345678",
       "12345678901234567890123456789012345678");
    is("date", "2024-02-29", "2024-02-29");
    is("time", "23:59:59.500", "23:59:59.5");
    is("time", "00:00:00", "00:00:00");
    is("timedelta", "-90.500", "-90.5");
    is("timedelta", "7", "7");
    is("datetime_naive", "0001-01-01T00:00:00", "0001-01-01T00:00:00");
    is("datetime_zoned", "2024-01-31T12:00:00Z", "2024-01-31T12:00:00+00:00");
    is("datetime_zoned", "2024-01-31T12:00:00.10-00:00", "2024-01-31T12:00:00.1+00:00");
    is("datetime_zoned", "2024-01-31T12:00:00-05:30", "2024-01-31T12:00:00-05:30");
    is("uuid", "0B4AC3D2-5e6f-4a7b-8c9d-0e1f2a3b4c5d", "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d");
    is("enum<red|green light|blue>", "green light", "green light");
    is("ref<User>", "User:42", "User:42");
}

Test(scalar_text, what_is_none_is_refused)
{
    static const char *const wrong[][2] = {
        {"decimal", ""},
        {"decimal", "-"},
        {"decimal", "1."},
        {"decimal", ".5"},
        {"decimal", "01"},
        {"decimal", "1e5"},
        {"decimal", "+1"},
        {"decimal", "1.2.3"},
        {"decimal", "NaN"},
        {"decimal", "123456789012345678901234567890123456789"},
        {"date", "2023-02-29"},
        {"date", "2024-1-31"},
        {"date", "2024-01-31T"},
        {"time", "24:00:00"},
        {"time", "12:00"},
        {"time", "12:00:00Z"},
        {"timedelta", "1.0000000001"},
        {"timedelta", "1s"},
        {"datetime_naive", "2024-01-31T12:00:00Z"},
        {"datetime_naive", "2024-01-31"},
        {"datetime_zoned", "2024-01-31T12:00:00"},
        {"datetime_zoned", "2024-01-31T12:00:00+2:00"},
        {"datetime_zoned", "2024-01-31T12:00:00+24:00"},
        {"uuid", "0b4ac3d2"},
        {"uuid", "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5g"},
        {"enum<red|blue>", "green"},
        {"enum<red|blue>", "red|blue"},
        {"enum<red|blue>", ""},
        {"ref<User>", "Other:42"},
        {"ref<User>", "User:"},
        {"ref<User>", "User:x\n"},
        {"ref<User>", "User"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        no(wrong[i][0], wrong[i][1]);
}

static const char *text_of(struct decimal d)
{
    static char out[64];
    struct buf b = BUF_INIT;
    decimal_write(d, &b);
    memcpy(out, b.data, b.len);
    out[b.len] = '\0';
    buf_free(&b);
    return out;
}

static struct decimal dec(const char *s)
{
    struct decimal d;
    cr_assert(decimal_read(s, strlen(s), &d), "%s", s);
    return d;
}

Test(decimal, arithmetic_is_exact)
{
    struct decimal d, rest;
    cr_assert(decimal_add(dec("0.1"), dec("0.20"), &d));
    cr_assert_str_eq(text_of(d), "0.30");
    cr_assert(decimal_add(dec("-5"), dec("4.999"), &d));
    cr_assert_str_eq(text_of(d), "-0.001");
    cr_assert(decimal_mul(dec("1.10"), dec("-3"), &d));
    cr_assert_str_eq(text_of(d), "-3.3");
    cr_assert(decimal_div(dec("1"), dec("8"), &d));
    cr_assert_str_eq(text_of(d), "0.125");
    cr_assert_not(decimal_div(dec("1"), dec("3"), &d));
    cr_assert(decimal_floordiv(dec("-7.5"), dec("2"), &d, &rest));
    cr_assert_str_eq(text_of(d), "-4");
    cr_assert_str_eq(text_of(rest), "0.5");
    cr_assert_not(decimal_add(dec("99999999999999999999999999999999999999"), dec("1"), &d));
    cr_assert_not(decimal_mul(dec("99999999999999999999"), dec("99999999999999999999"), &d));
}
