/* expression: what is read and what is refused, in which words; for what documents it holds; and
 * that no bytes hurt. */
#include "protocol/expression.h"
#include "protocol/tree.h"
#include "wire_text.h"

static struct schema *s;
static const struct model *user;
static struct fault fault;

static struct buf packed(const char *text)
{
    struct buf b = BUF_INIT;
    wire_pack(&b, text);
    return b;
}

static const struct model *define(const char *text)
{
    const struct model *m = NULL;
    struct buf b = packed(text);
    struct cursor in = cursor_of(b.data, b.len);
    bool changed;
    cr_assert_eq(schema_define(s, &in, &m, &changed, &fault), 0, "%s: %s", text, fault.text);
    buf_free(&b);
    return m;
}

static struct record *make_user(const char *text)
{
    struct record *r = NULL;
    struct buf b = packed(text);
    struct cursor in = cursor_of(b.data, b.len);
    cr_assert_eq(record_build(user, RECORD_ROOT, "u", 1, &in, "", &r, &fault), 0, "%s", fault.text);
    buf_free(&b);
    return r;
}

static void begin(void)
{
    s = schema_new();
    define("{name: Post, kind: atomic, fields: [{name: title, type: str}, {name: n, type: int}]}");
    define("{name: Place, kind: atomic, fields: [{name: town, type: str}]}");
    define("{name: Point, kind: plain, fields: [{name: x, type: int}]}");
    user = define(
        "{name: User, kind: atomic, fields: [{name: name, type: str}, {name: age, type: int},"
        "{name: score, type: float, default: 1.5}, {name: city, type: 'optional<str>'},"
        "{name: tags, type: 'list<str>'}, {name: labels, type: 'dict<int>'},"
        "{name: home, type: Place}, {name: posts, type: 'list<Post>'},"
        "{name: by, type: 'dict<Post>'}, {name: at, type: Point}, {name: any, type: any},"
        "{name: raw, type: bytes, default: #c400#}, {name: ok, type: bool, default: false},"
        "{name: kind, type: 'enum<a|b>', default: a}, {name: day, type: date, default: "
        "'2024-01-31'}, {name: queue, type: 'sorted<str>'}, {name: other, type: "
        "'optional<Place>'}]}");
}

static void end(void)
{
    schema_free(s);
}

TestSuite(expression, .init = begin, .fini = end);

static struct expr *parse_bytes(const struct buf *b)
{
    struct expr *e = NULL;
    struct cursor in = cursor_of(b->data, b->len);
    fault = (struct fault){0};
    int rc = expression_parse(user, &in, &e, &fault);
    cr_assert_eq(rc == 0, e != NULL);
    cr_assert_eq(rc == 0, fault.code == FAULT_NONE);
    return e;
}

/* The same, and frees them. */
static struct expr *parse(struct buf b)
{
    struct expr *e = parse_bytes(&b);
    buf_free(&b);
    return e;
}

static void refused(const char *text, enum fault_code code, const char *part)
{
    struct expr *e = parse(packed(text));
    cr_assert_null(e, "%s", text);
    cr_assert_eq(fault.code, code, "%s: %s", text, fault.text);
    cr_assert_not_null(strstr(fault.text, part), "%s: %s", text, fault.text);
}

static bool holds(const char *text, struct record *r)
{
    struct expr *e = parse(packed(text));
    cr_assert_not_null(e, "%s: %s", text, fault.text);
    struct needs needs = {0};
    bool so = false;
    cr_assert_eq(expression_holds(e, r, &needs, &so, &fault), OP_DONE, "%s: %s", text, fault.text);
    expression_free(e);
    return so;
}

Test(expression, what_holds)
{
    static const struct {
        const char *text;
        bool so;
    } all[] = {
        {"nil", true},
        {"['=', age, 36]", true},
        {"['=', age, 36.0]", true},
        {"['!=', age, 36]", false},
        {"['<', age, 36.5]", true},
        {"['<=', age, 35]", false},
        {"['>', age, 35]", true},
        {"['>=', age, 36]", true},
        {"['in', age, [1, 36]]", true},
        {"['in', age, []]", false},
        {"['=', score, 1.5]", true},
        {"['=', city, nil]", true},
        {"['!=', city, nil]", false},
        {"['in', city, ['x', nil]]", true},
        {"['<', city, 'x']", false},
        {"['>=', city, 'x']", false},
        {"['prefix', city, '']", false},
        {"['prefix', name, 'Ad']", true},
        {"['prefix', name, '']", true},
        {"['prefix', name, 'Adams']", false},
        {"['>', name, 'Ad']", true},
        {"['has', tags, a]", true},
        {"['has', tags, z]", false},
        {"['has', labels, k]", true},
        {"['=', 'home.town', Ulm]", true},
        {"['=', 'other.town', Ulm]", false},
        {"['=', 'other.town', nil]", true},
        {"['=', 'posts[].title', two]", true},
        {"['>', 'posts[].n', 2]", false},
        {"['!=', 'posts[].n', 2]", true},
        {"['=', 'by[].n', 7]", true},
        {"['=', raw, #c400#]", true},
        {"['=', kind, a]", true},
        {"['<', day, '2024-02-01']", true},
        {"['and', ['=', age, 36], ['has', tags, a]]", true},
        {"['and', ['=', age, 36], ['has', tags, z]]", false},
        {"['or', ['=', age, 1], ['has', tags, a]]", true},
        {"['or', ['=', age, 1], ['has', tags, z]]", false},
        {"['not', ['not', nil]]", true},
        {"['not', ['or', ['=', age, 1], ['=', age, 36]]]", false},
    };
    struct record *r = make_user("{name: Ada, age: 36, tags: [a, b], labels: {k: 1}, home: {town: "
                                 "Ulm}, posts: [{title: one, n: 1}, {title: two, n: 2}], by: {x: "
                                 "{title: t, n: 7}}, at: {x: 1}, any: 1}");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_assert_eq(holds(all[i].text, r), all[i].so, "%s", all[i].text);
    record_free(r);
}

Test(expression, form)
{
    refused("1", FAULT_BAD_REQUEST, "an expression is");
    refused("{}", FAULT_BAD_REQUEST, "an expression is");
    refused("[]", FAULT_BAD_REQUEST, "an expression is");
    refused("[1]", FAULT_BAD_REQUEST, "an expression is");
    refused("['like', name, x]", FAULT_BAD_REQUEST, "an expression is");
    refused("['and']", FAULT_BAD_REQUEST, "an expression is");
    refused("['not', nil, nil]", FAULT_BAD_REQUEST, "an expression is");
    refused("['=', name]", FAULT_BAD_REQUEST, "an expression is");
    refused("['=', 1, 1]", FAULT_BAD_REQUEST, "an expression is");
    refused("['in', age, 1]", FAULT_BAD_REQUEST, "in takes a list");
    refused("['and', ['=', age, 1], 7]", FAULT_BAD_REQUEST, "an expression is");
}

Test(expression, places)
{
    refused("['=', none, 1]", FAULT_UNKNOWN_FIELD, "model User has no field 'none'");
    refused("['=', '', 1]", FAULT_UNKNOWN_FIELD, "no field ''");
    refused("['=', 'home.none', 1]", FAULT_UNKNOWN_FIELD, "model Place");
    refused("['=', home, 1]", FAULT_BAD_PATH, "a whole model");
    refused("['=', other, nil]", FAULT_BAD_PATH, "a whole model");
    refused("['=', posts, nil]", FAULT_BAD_TYPE, "asked with has");
    refused("['=', 'posts[]', 1]", FAULT_BAD_PATH, "of a field");
    refused("['=', 'posts[0].n', 1]", FAULT_BAD_PATH, "of a field");
    refused("['=', 'posts[].n[].x', 1]", FAULT_BAD_PATH, "of a field");
    refused("['=', 'age.x', 1]", FAULT_BAD_PATH, "of a field");
    refused("['=', 'at.x', 1]", FAULT_BAD_PATH, "of a field");
    refused("['=', #a1ff#, 1]", FAULT_BAD_PATH, "UTF-8");
}

Test(expression, values)
{
    refused("['=', age, x]", FAULT_BAD_TYPE, "age: int expected");
    refused("['in', age, [1, x]]", FAULT_BAD_TYPE, "age");
    refused("['<', age, nil]", FAULT_BAD_VALUE, "nil is compared with");
    refused("['prefix', name, nil]", FAULT_BAD_VALUE, "nil is compared with");
    refused("['prefix', age, 'x']", FAULT_BAD_TYPE, "not for it");
    refused("['<', ok, true]", FAULT_BAD_TYPE, "not for it");
    refused("['=', any, 1]", FAULT_BAD_TYPE, "not for it");
    refused("['=', at, {x: 1}]", FAULT_BAD_TYPE, "not for it");
    refused("['has', name, x]", FAULT_BAD_TYPE, "has something");
    refused("['has', posts, x]", FAULT_BAD_TYPE, "has something");
    refused("['has', queue, x]", FAULT_BAD_TYPE, "has something");
    refused("['=', kind, c]", FAULT_BAD_VALUE, "kind");
    refused("['=', day, '2024-13-01']", FAULT_BAD_VALUE, "day");
    refused("['=', score, #cb7ff8000000000000#]", FAULT_BAD_VALUE, "score");
    refused("['=', name, #a1ff#]", FAULT_BAD_VALUE, "UTF-8");
}

/* So many `not` around nil; as many parts; so many values of one `in`. */
static struct buf deep(unsigned n)
{
    struct buf b = BUF_INIT;
    for (unsigned i = 0; i < n; i++) {
        pack_array(&b, 2);
        pack_cstr(&b, "not");
    }
    pack_nil(&b);
    return b;
}

static struct buf wide(unsigned n)
{
    struct buf b = BUF_INIT;
    pack_array(&b, n + 1);
    pack_cstr(&b, "or");
    for (unsigned i = 0; i < n; i++)
        pack_nil(&b);
    return b;
}

static struct buf many(unsigned n)
{
    struct buf b = BUF_INIT;
    pack_array(&b, 3);
    pack_cstr(&b, "in");
    pack_cstr(&b, "age");
    pack_array(&b, n);
    for (unsigned i = 0; i < n; i++)
        pack_uint(&b, i);
    return b;
}

Test(expression, bounds)
{
    static struct {
        struct buf (*of)(unsigned n);
        unsigned most;
    } all[] = {
        {deep, EXPRESSION_DEPTH - 1}, {wide, EXPRESSION_PARTS - 1}, {many, EXPRESSION_VALUES}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct expr *e = parse(all[i].of(all[i].most));
        cr_assert_not_null(e, "%zu: %s", i, fault.text);
        expression_free(e);
        cr_assert_null(parse(all[i].of(all[i].most + 1)), "%zu", i);
        cr_assert_eq(fault.code, FAULT_TOO_LARGE);
        cr_assert_null(parse(all[i].of(60000)), "%zu", i);
        cr_assert_eq(fault.code, FAULT_TOO_LARGE);
    }
}

/* Cut off anywhere, or with any byte in any place: read or refused. */
Test(expression, hostile_bytes)
{
    struct buf b = packed("['and', ['=', 'posts[].title', x], ['not', ['in', age, [1, 2.5]]], "
                          "['has', labels, k], ['prefix', name, 'A']]");
    for (size_t len = 0; len < b.len; len++) {
        struct buf cut = BUF_INIT;
        buf_append(&cut, b.data, len);
        cr_assert_null(parse_bytes(&cut), "%zu bytes", len);
        buf_free(&cut);
    }
    for (size_t at = 0; at < b.len; at++) {
        uint8_t was = b.data[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            b.data[at] = (uint8_t)byte;
            expression_free(parse_bytes(&b));
        }
        b.data[at] = was;
    }
    buf_free(&b);
}

Test(expression, sorting)
{
    static const struct type number = {.kind = TYPE_INT};
    struct buf one = packed("1"), two = packed("2"), none = packed("nil");
    struct cursor a = cursor_of(one.data, one.len), b = cursor_of(two.data, two.len),
                  c = cursor_of(none.data, none.len), nothing = cursor_of("", 0);
    cr_assert_lt(value_compare(&number, a, b), 0);
    cr_assert_gt(value_compare(&number, b, a), 0);
    cr_assert_eq(value_compare(&number, a, a), 0);
    cr_assert_lt(value_compare(&number, b, c), 0);
    cr_assert_gt(value_compare(&number, c, a), 0);
    cr_assert_eq(value_compare(&number, c, nothing), 0);
    buf_free(&one);
    buf_free(&two);
    buf_free(&none);
}
