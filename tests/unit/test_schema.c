/* schema: every rule of a declaration and of a redefinition, both ways, and their words. */
#include "protocol/schema.h"
#include "protocol/type.h"
#include "wire_text.h"

static struct schema *s;
static struct fault fault;
static const struct model *model;
static bool changed;

static void begin(void)
{
    s = schema_new();
}

static void end(void)
{
    schema_free(s);
}

TestSuite(schema, .init = begin, .fini = end);

/* Both check and define, which must agree, and check must change nothing. */
static int define_bytes(const struct buf *b)
{
    struct cursor in = cursor_of(b->data, b->len);
    struct fault checked = {0};
    bool would_change = false;
    int check = schema_check(s, &in, &would_change, &checked);
    in = cursor_of(b->data, b->len);
    fault = (struct fault){0};
    int done = schema_define(s, &in, &model, &changed, &fault);
    cr_assert_eq(check, done, "check and define disagree");
    cr_assert_str_eq(checked.text, fault.text);
    cr_assert_eq(checked.code, fault.code);
    if (done == 0) {
        cr_assert_eq(would_change, changed);
        cr_assert(cursor_done(&in));
    }
    return done;
}

static int define(const char *text)
{
    struct buf b = BUF_INIT;
    wire_pack(&b, text);
    int done = define_bytes(&b);
    buf_free(&b);
    return done;
}

static void defined(const char *text)
{
    cr_assert_eq(define(text), 0, "%s: %s", text, fault.text);
}

static void refused(const char *text, enum fault_code code, const char *why)
{
    cr_assert_eq(define(text), -1, "%s", text);
    cr_assert_str_eq(fault.text, why);
    cr_assert_eq(fault.code, code, "%s instead of %s", fault_name(fault.code), fault_name(code));
}

/* A model of one field. */
static const char *one(const char *kind, const char *field)
{
    static char text[1000];
    snprintf(text, sizeof text, "{name: M, kind: %s, fields: [{%s}]}", kind, field);
    return text;
}

static const struct field *field_of(const struct model *m, const char *name)
{
    int i = model_field(m, name, strlen(name));
    cr_assert_geq(i, 0, "%s", name);
    return &m->fields[i];
}

static void fallback_is(const char *name, const char *text)
{
    const struct field *f = field_of(model, name);
    struct buf b = BUF_INIT;
    wire_pack(&b, text);
    cr_assert_not_null(f->fallback, "%s", name);
    cr_assert(f->fallback_len == b.len && memcmp(f->fallback, b.data, b.len) == 0, "%s", name);
    buf_free(&b);
}

Test(schema, a_whole_declaration)
{
    defined("{name: User, kind: atomic, key: email, ttl: 60, refresh_ttl: true, fields: ["
            "{name: email, type: str}, {name: age, type: int, default: 18},"
            "{name: notes, type: 'list<dict<any>>', lazy: true}]}");
    cr_assert(changed);
    cr_assert_str_eq(model->name, "User");
    cr_assert(model->atomic);
    cr_assert_eq(model->key_field, 0);
    cr_assert_eq(model->ttl, 60);
    cr_assert(model->refresh_ttl);
    cr_assert_eq(model->nfields, 3u);
    cr_assert_eq(model->revision, 1u);
    cr_assert_eq(model->depth, 23u);
    cr_assert_eq(model->slots, 3u);
    cr_assert_str_eq(model->fields[1].name, "age");
    cr_assert_eq(model->fields[0].packed_name_len, 6u);
    cr_assert(memcmp(model->fields[0].packed_name,
                     "\xa5"
                     "email",
                     6) == 0);
    cr_assert_null(model->fields[0].fallback);
    fallback_is("age", "18");
    fallback_is("notes", "[]");
    cr_assert(model->fields[2].lazy);
    cr_assert_not(model->fields[1].lazy);
    cr_assert_eq(schema_model(s, "User", 4), model);
    cr_assert_null(schema_model(s, "Use", 3));
    cr_assert_null(schema_model(s, "User2", 5));
}

Test(schema, keys_in_any_order_and_nil_for_absent)
{
    defined("{fields: [{lazy: nil, default: 1, type: int, name: a}], refresh_ttl: nil, ttl: nil,"
            " key: nil, kind: atomic, name: M}");
    fallback_is("a", "1");
    cr_assert_eq(model->key_field, -1);
    defined("{name: Empty, kind: plain, fields: []}");
    cr_assert_eq(model->nfields, 0u);
    cr_assert_eq(model->depth, 1u);
}

Test(schema, the_declarations_shape)
{
    refused("[]", FAULT_BAD_SCHEMA, "a model's declaration: a map expected");
    refused("{1: 2}", FAULT_BAD_SCHEMA, "a model's declaration: the map's keys must be str");
    refused("{}", FAULT_BAD_SCHEMA, "a model's declaration: 'name' is missing");
    refused("{name: 1}", FAULT_BAD_SCHEMA, "a model's declaration: 'name' must be a str");
    refused("{name: M}", FAULT_BAD_SCHEMA, "model 'M': 'kind' is missing");
    refused("{name: M, kind: odd, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': 'kind' must be atomic or plain, not 'odd'");
    refused("{name: M, kind: atomic}", FAULT_BAD_SCHEMA, "model 'M': 'fields' is missing");
    refused("{name: M, kind: atomic, fields: {}}", FAULT_BAD_SCHEMA,
            "model 'M': 'fields' must be a list");
    refused("{name: M, kind: atomic, fields: [1]}", FAULT_BAD_SCHEMA,
            "model 'M', fields[0]: a map expected");
    refused("{name: M, kind: atomic, fields: [{}]}", FAULT_BAD_SCHEMA,
            "model 'M', fields[0]: 'name' is missing");
    refused("{name: M, kind: atomic, fields: [{name: a}]}", FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': 'type' is missing");
    refused("{name: M, name: N}", FAULT_BAD_SCHEMA, "a model's declaration: 'name' is there twice");
    refused("{name: M, knid: atomic, fields: [], primary: a}", FAULT_BAD_SCHEMA,
            "a model's declaration: unknown key 'knid', 'primary'; known are name, kind, key, "
            "ttl, refresh_ttl, fields, revision");
    refused("{name: M, kind: atomic, fields: [{name: a, type: int, indexed: true}]}",
            FAULT_BAD_SCHEMA,
            "model 'M', fields[0]: unknown key 'indexed'; known are name, type, default, lazy, "
            "was, index, unique");
    refused("{name: M, kind: atomic, fields: [{name: a, type: int, lazy: 1}]}", FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': 'lazy' must be true or false");
    cr_assert_null(schema_model(s, "M", 1));
}

Test(schema, ttl_and_refresh_ttl)
{
    refused("{name: M, kind: atomic, ttl: -1, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': 'ttl' must be an int from 0 on");
    refused("{name: M, kind: atomic, ttl: 1.5, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': 'ttl' must be an int from 0 on");
    refused("{name: M, kind: atomic, refresh_ttl: 1, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': 'refresh_ttl' must be true or false, or a map of field -> depth");
    refused("{name: M, kind: plain, ttl: 5, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': a plain model is a value and has no ttl of its own");
    refused("{name: M, kind: plain, refresh_ttl: true, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': a plain model is a value and has no ttl of its own");
    refused("{name: M, kind: atomic, refresh_ttl: {a: nil}, fields: []}", FAULT_BAD_SCHEMA,
            "model 'M': 'refresh_ttl' names 'a', which is no field of it");
    refused("{name: M, kind: atomic, refresh_ttl: {a: 1}, fields: [{name: a, type: 'list<int>'}]}",
            FAULT_BAD_SCHEMA, "model 'M': 'refresh_ttl' names 'a', which refers to nothing");
    refused("{name: M, kind: atomic, refresh_ttl: {a: -1}, fields: [{name: a, type: str}]}",
            FAULT_BAD_SCHEMA,
            "model 'M': 'refresh_ttl' is a map of field -> depth, nil or an int from 0 to 100000");
    defined("{name: M, kind: atomic, ttl: 0, refresh_ttl: false, fields: []}");
    cr_assert_eq(model->ttl, 0);
}

Test(schema, names)
{
    char text[400];
    const char *bad[] = {"''", "'a b'", "'9a'", "@pk", "'a..b'"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{name: %s, kind: atomic, fields: []}", bad[i]);
        cr_assert_eq(define(text), -1, "%s", text);
        cr_assert_eq(fault.code, FAULT_BAD_SCHEMA);
        snprintf(text, sizeof text, "name: %s, type: int", bad[i]);
        cr_assert_eq(define(one("atomic", text)), -1, "%s", text);
        cr_assert_eq(fault.code, FAULT_BAD_SCHEMA);
    }
    refused("{name: 'a-b', kind: atomic, fields: []}", FAULT_BAD_SCHEMA,
            "'a-b' cannot be a model's name; it has 1 to 64 letters, digits and _, does not begin "
            "with a digit, and may have a namespace before a dot");
    refused(one("atomic", "name: '@pk', type: str"), FAULT_BAD_SCHEMA,
            "model 'M', fields[0]: '@pk' cannot be a field's name; it has 1 to 64 letters, digits "
            "and _, and does not begin with a digit");
    refused("{name: datetime, kind: plain, fields: []}", FAULT_BAD_SCHEMA,
            "'datetime' is a built-in type and cannot be a model's name");
    snprintf(text, sizeof text, "{name: %064d, kind: atomic, fields: []}", 0);
    memset(text + 7, 'x', 64);
    defined(text);
    snprintf(text, sizeof text, "{name: %065d, kind: atomic, fields: []}", 0);
    memset(text + 7, 'x', 65);
    cr_assert_eq(define(text), -1);
}

Test(schema, a_field_twice)
{
    refused("{name: M, kind: atomic, fields: [{name: a, type: int}, {name: b, type: int},"
            "{name: a, type: int}]}",
            FAULT_BAD_SCHEMA, "model 'M': the field 'a' is there twice");
}

/* A model of n fields f0, f1, ... of type int with a default. */
static int define_many(const char *name, unsigned from, unsigned n)
{
    struct buf text = BUF_INIT;
    buf_printf(&text, "{name: %s, kind: atomic, fields: [", name);
    for (unsigned i = from; i < from + n; i++)
        buf_printf(&text, "{name: f%u, type: int, default: %u}, ", i, i);
    buf_append(&text, "]}", 3); /* with its NUL */
    int done = define((char *)text.data);
    buf_free(&text);
    return done;
}

Test(schema, at_most_1024_fields)
{
    cr_assert_eq(define_many("M", 0, 700), 0, "%s", fault.text);
    cr_assert_eq(define_many("M", 600, 424), 0, "%s", fault.text);
    cr_assert_eq(model->nfields, 1024u);
    for (unsigned i = 0; i < 1024; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "f%u", i);
        cr_assert_eq(model_field(model, name, (size_t)len), (int)i);
    }
    cr_assert_eq(model_field(model, "f1024", 5), -1);
    cr_assert_eq(define_many("M", 1000, 25), -1);
    cr_assert_str_eq(fault.text, "model 'M' would have 1025 fields with those that are stored, at "
                                 "most 1024 are allowed");
    cr_assert_eq(define_many("N", 0, 1025), -1);
    cr_assert_str_eq(fault.text, "model 'N' has 1025 fields, at most 1024 are allowed");
}

Test(schema, types_are_printed_as_they_were_read)
{
    const char *types[] = {"int",           "float",
                           "bool",          "str",
                           "bytes",         "datetime",
                           "any",           "list<int>",
                           "dict<str>",     "dict<list<int>>",
                           "optional<str>", "P",
                           "list<P>",       "optional<list<optional<dict<P>>>>"};
    char text[200], name[TYPE_NAME_MAX];
    defined("{name: P, kind: plain, fields: []}");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(text, sizeof text, "{name: M%zu, kind: atomic, fields: [{name: a, type: '%s'}]}",
                 i, types[i]);
        defined(text);
        cr_assert_str_eq(type_name(model->fields[0].type, name, sizeof name), types[i]);
    }
    cr_assert_str_eq(type_name(model->fields[0].type, name, 12), "optional<li");
    cr_assert_eq(type_bare(model->fields[0].type)->kind, TYPE_LIST);
}

static void type_refused(const char *type, enum fault_code code, const char *why)
{
    char field[400], text[400];
    snprintf(field, sizeof field, "name: a, type: '%s'", type);
    snprintf(text, sizeof text, "field 'a' of model 'M': type '%s': %s", type, why);
    refused(one("atomic", field), code, text);
}

Test(schema, malformed_types)
{
    const char *brackets = "each '<' has one '>' at the end, and only those";
    const char *inner = "list is followed by <T>";
    const char *name = "a built-in type or a model's name expected";
    type_refused("list", FAULT_BAD_SCHEMA, inner);
    type_refused("dict<list>", FAULT_BAD_SCHEMA, inner);
    type_refused("list<int", FAULT_BAD_SCHEMA, brackets);
    type_refused("list<int>>", FAULT_BAD_SCHEMA, brackets);
    type_refused("int>", FAULT_BAD_SCHEMA, brackets);
    type_refused("int<str>", FAULT_BAD_SCHEMA, brackets);
    type_refused("list<int>x", FAULT_BAD_SCHEMA, brackets);
    type_refused("list<int<", FAULT_BAD_SCHEMA, brackets);
    type_refused("list<list<int>x", FAULT_BAD_SCHEMA, brackets);
    type_refused("list<>", FAULT_BAD_SCHEMA, name);
    type_refused("", FAULT_BAD_SCHEMA, name);
    type_refused("list< int>", FAULT_BAD_SCHEMA, name);
    type_refused("9", FAULT_BAD_SCHEMA, name);
    type_refused("map<int>", FAULT_BAD_SCHEMA,
                 "there is no type map<...>; those of other types are list<T>, dict<T>, set<T>, "
                 "sorted<T> and optional<T>");
    type_refused("dict<str,int>", FAULT_BAD_SCHEMA,
                 "dict<T> takes the type of its values only; its keys are str");
    type_refused("optional<optional<int>>", FAULT_BAD_SCHEMA,
                 "optional of optional says nothing more");
    type_refused("list<Nope>", FAULT_UNKNOWN_MODEL,
                 "there is no model or built-in type 'Nope'; define a model before those that "
                 "contain it");
    type_refused("integer", FAULT_UNKNOWN_MODEL,
                 "there is no model or built-in type 'integer'; define a model before those that "
                 "contain it");
    refused(one("atomic", "name: a, type: 5"), FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': 'type' must be a str");
}

Test(schema, a_types_text_fits_its_buffer)
{
    char field[300] = "name: a, type: '", *at = field + strlen(field);
    memset(at, 'x', 159);
    memcpy(at + 159, "'", 2);
    cr_assert_eq(define(one("atomic", field)), -1);
    cr_assert_eq(fault.code, FAULT_BAD_SCHEMA);
    memset(at, 'x', 160);
    memcpy(at + 160, "'", 2);
    refused(one("atomic", field), FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': the type's text has 160 bytes, at most 159 are allowed");
}

Test(schema, key_is_a_str_or_int_field)
{
    defined(
        "{name: A, kind: atomic, key: id, fields: [{name: x, type: int}, {name: id, type: int}]}");
    cr_assert_eq(model->key_field, 1);
    defined("{name: B, kind: atomic, key: id, fields: [{name: id, type: str}]}");
    refused("{name: C, kind: atomic, key: id, fields: [{name: id, type: 'optional<str>'}]}",
            FAULT_BAD_SCHEMA,
            "model 'C': the key field 'id' has type optional<str>, a key is str, int, uuid, "
            "datetime, or "
            "another that is a text on the wire");
    refused("{name: C, kind: atomic, key: id, fields: [{name: id, type: float}]}", FAULT_BAD_SCHEMA,
            "model 'C': the key field 'id' has type float, a key is str, int, uuid, datetime, or "
            "another that is a text on the wire");
    refused("{name: C, kind: atomic, key: no, fields: [{name: id, type: str}]}", FAULT_BAD_SCHEMA,
            "model 'C': the key 'no' is none of its fields");
    refused("{name: C, kind: atomic, key: 1, fields: []}", FAULT_BAD_SCHEMA,
            "model 'C': 'key' must be a str");
    refused("{name: C, kind: plain, key: id, fields: [{name: id, type: str}]}", FAULT_BAD_SCHEMA,
            "model 'C': a plain model is a value and has no key");
}

Test(schema, where_an_atomic_model_may_stand)
{
    const char *why = "can only be a field's type, or in lists, dicts and "
                      "optionals; elsewhere declare it kind plain";
    char text[300];
    defined("{name: A, kind: atomic, fields: []}");
    defined("{name: P, kind: plain, fields: []}");
    defined("{name: Good, kind: atomic, fields: [{name: a, type: A}, {name: b, type: 'list<A>'},"
            "{name: c, type: 'dict<A>'}, {name: d, type: 'optional<P>'},"
            "{name: e, type: 'list<list<P>>'}, {name: f, type: 'optional<A>'},"
            "{name: g, type: 'optional<A>', default: nil}]}");
    cr_assert(type_atomic(field_of(model, "a")->type));
    cr_assert_not(type_atomic(field_of(model, "b")->type));
    cr_assert(type_atomic(field_of(model, "b")->type->of));
    cr_assert_not(type_atomic(field_of(model, "e")->type->of->of));
    cr_assert_eq(field_of(model, "d")->type->kind, TYPE_OPTIONAL);
    cr_assert_eq(field_of(model, "f")->type->kind, TYPE_MAYBE);
    cr_assert(type_equal(field_of(model, "f")->type, field_of(model, "g")->type));
    char name[TYPE_NAME_MAX];
    cr_assert_str_eq(type_name(field_of(model, "f")->type, name, sizeof name), "optional<A>");
    refused(one("atomic", "name: a, type: 'optional<A>', default: {}"), FAULT_BAD_VALUE,
            "default of M.a: only null can be the default of optional<A>");

    const char *bad[] = {"set<A>", "list<set<A>>", "optional<set<A>>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "the atomic model 'A' %s", why);
        type_refused(bad[i], FAULT_BAD_SCHEMA, text);
    }
    const char *in_plain[] = {"A", "list<A>", "dict<A>"};
    for (size_t i = 0; i < sizeof in_plain / sizeof *in_plain; i++) {
        snprintf(text, sizeof text, "name: a, type: '%s'", in_plain[i]);
        refused(one("plain", text), FAULT_BAD_SCHEMA,
                "field 'a' of model 'M': the plain model 'M' is one value and cannot hold the "
                "atomic model 'A'; declare 'A' with kind plain, or 'M' with kind atomic");
    }
    refused(one("plain", "name: a, type: int, lazy: true"), FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': a plain model is read whole, its fields cannot be lazy");
}

/* Several at once: rc, and how many there are then. */
static int define_together(size_t n, const char *const *texts, const struct model **out)
{
    struct buf b[8] = {{0}};
    struct cursor in[8];
    bool was_changed[8];
    for (size_t i = 0; i < n; i++) {
        wire_pack(&b[i], texts[i]);
        in[i] = cursor_of(b[i].data, b[i].len);
    }
    bool would[8];
    struct fault checked = {0};
    fault = (struct fault){0};
    int check = schema_check_all(s, in, n, would, &checked);
    int rc = schema_define_all(s, in, n, out, was_changed, &fault);
    cr_assert_eq(check, rc);
    cr_assert_str_eq(checked.text, fault.text);
    for (size_t i = 0; i < n; i++)
        buf_free(&b[i]);
    return rc;
}

Test(schema, a_model_contains_itself_where_that_has_an_end)
{
    defined("{name: Node, kind: atomic, fields: [{name: v, type: int},"
            "{name: children, type: 'list<Node>'}, {name: parent, type: 'optional<Node>', default: "
            "nil},"
            "{name: by, type: 'dict<list<Node>>'}]}");
    cr_assert_eq(model->depth, 3u);
    cr_assert_eq(model->slots, 4u);
    cr_assert_eq(field_of(model, "children")->type->of->model, model);
    cr_assert_eq(type_model(field_of(model, "by")->type), model);
    defined("{name: Doc, kind: atomic, fields: [{name: root, type: Node}, {name: all, type: "
            "'list<Node>'}]}");
    cr_assert_eq(model->depth, 5u);
    cr_assert_eq(model->slots, 6u);
    defined("{name: A, kind: atomic, fields: []}");
    defined("{name: B, kind: atomic, fields: [{name: a, type: A}]}");
    defined("{name: A, kind: atomic, fields: [{name: b, type: 'optional<B>'}]}");
    refused(
        "{name: A, kind: atomic, fields: [{name: c, type: B}]}", FAULT_BAD_SCHEMA,
        "model 'A' would contain itself without end: A -> B -> A; put an optional, list or dict in "
        "between");
    refused(one("atomic", "name: a, type: M"), FAULT_BAD_SCHEMA,
            "model 'M' would contain itself without end: M -> M; put an optional, list or dict in "
            "between");
    cr_assert_null(schema_model(s, "M", 1));
}

Test(schema, no_plain_model_contains_itself)
{
    refused(one("plain", "name: a, type: 'list<M>'"), FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': the plain model 'M' would contain itself: plain models are "
            "values; "
            "declare them with kind atomic, or keep the other's key in a field of type ref<M>");
    defined("{name: A, kind: plain, fields: []}");
    defined("{name: Side, kind: plain, fields: [{name: x, type: int}]}");
    defined("{name: B, kind: plain, fields: [{name: s, type: Side}, {name: a, type: 'dict<A>'}]}");
    defined("{name: C, kind: plain, fields: [{name: s, type: Side}, {name: b, type: B}]}");
    cr_assert_eq(
        define("{name: A, kind: plain, fields: [{name: s, type: 'optional<Side>'}, {name: c, type:"
               " 'optional<C>'}]}"),
        -1);
    cr_assert(strstr(fault.text, "would contain itself without end: "), "%s", fault.text);
    cr_assert(strstr(fault.text, "plain models are values"), "%s", fault.text);
    cr_assert_eq(schema_model(s, "A", 1)->nfields, 0u);
    defined("{name: Side, kind: plain, fields: [{name: a, type: 'list<A>', default: []}]}");
}

Test(schema, several_are_declared_in_whatever_order)
{
    const struct model *out[8];
    const char *good[] = {
        "{name: Forest, kind: atomic, fields: [{name: trees, type: 'dict<Tree>'},"
        " {name: at, type: Spot, default: {x: 1}}]}",
        "{name: Tree, kind: atomic, fields: [{name: in, type: 'optional<Forest>'},"
        " {name: birds, type: 'list<list<Bird>>'}]}",
        "{name: Bird, kind: atomic, fields: [{name: nest, type: 'optional<Tree>'}]}",
        "{name: Spot, kind: plain, fields: [{name: x, type: int}, {name: y, type: int, default: "
        "7}]}"};
    cr_assert_eq(define_together(3, good, out), -1);
    cr_assert_eq(fault.code, FAULT_UNKNOWN_MODEL, "%s", fault.text);
    cr_assert_null(schema_model(s, "Forest", 6));
    cr_assert_eq(define_together(4, good, out), 0, "%s", fault.text);
    cr_assert_eq(out[0], schema_model(s, "Forest", 6));
    cr_assert_eq(field_of(out[0], "at")->fallback_len, 7u);
    cr_assert_eq(field_of(out[1], "in")->type->of->model, out[0]);
    cr_assert_eq(out[2]->revision, 1u);

    const char *twice[] = {good[0], good[0]};
    cr_assert_eq(define_together(2, twice, out), -1);
    cr_assert_str_eq(fault.text, "model 'Forest' is declared twice");
    /* What is wrong with one leaves nothing of the others. */
    const char *bad[] = {
        "{name: New, kind: atomic, fields: [{name: old, type: 'list<Forest>'}]}",
        ("{name: Bird, kind: atomic, fields: [{name: nest, type: 'optional<Tree>'},"
         " {name: news, type: 'list<New>'}]}"),
        "{name: Tree, kind: atomic, fields: [{name: in, type: 'list<Forest>'}]}"};
    cr_assert_eq(define_together(3, bad, out), -1);
    cr_assert_eq(fault.code, FAULT_SCHEMA_CONFLICT, "%s", fault.text);
    cr_assert_null(schema_model(s, "New", 3));
    cr_assert_eq(schema_model(s, "Bird", 4)->nfields, 1u);
    cr_assert_eq(define_together(2, bad, out), 0, "%s", fault.text);
    cr_assert_eq(out[1]->revision, 2u);
    const char *loop[] = {"{name: P, kind: plain, fields: [{name: q, type: Q}]}",
                          "{name: Q, kind: plain, fields: [{name: p, type: 'list<P>'}]}"};
    cr_assert_eq(define_together(2, loop, out), -1);
    cr_assert(strstr(fault.text, "would contain itself"), "%s", fault.text);
    cr_assert_null(schema_model(s, "P", 1));
    const char *direct[] = {
        "{name: P, kind: atomic, fields: [{name: q, type: Q}]}",
        "{name: Q, kind: atomic, fields: [{name: r, type: R}]}",
        "{name: R, kind: atomic, fields: [{name: x, type: 'list<P>'}, {name: p, type: P}]}"};
    cr_assert_eq(define_together(3, direct, out), -1);
    cr_assert(strstr(fault.text, " -> "), "%s", fault.text);
}

/* 4^24 ways to the same model must not be walked one by one. */
Test(schema, many_ways_to_the_same_model, .timeout = 10)
{
    char text[300];
    defined("{name: L0, kind: plain, fields: []}");
    for (int i = 1; i < 25; i++) {
        snprintf(text, sizeof text,
                 "{name: L%d, kind: plain, fields: [{name: a, type: L%d}, {name: b, type: L%d},"
                 "{name: c, type: L%d}, {name: d, type: L%d}]}",
                 i, i - 1, i - 1, i - 1, i - 1);
        defined(text);
    }
    defined("{name: Other, kind: plain, fields: []}");
    defined("{name: Other, kind: plain, fields: [{name: a, type: 'optional<L24>'}]}");
    cr_assert_eq(model->depth, 26u);
}

Test(schema, at_most_26_containers)
{
    char text[300];
    defined("{name: L1, kind: atomic, fields: [{name: x, type: int}]}");
    cr_assert_eq(model->depth, 1u);
    for (int i = 3; i <= 25; i += 2) {
        snprintf(text, sizeof text,
                 "{name: L%d, kind: atomic, fields: [{name: a, type: 'list<L%d>'}]}", i, i - 2);
        defined(text);
        cr_assert_eq(model->depth, (unsigned)i);
    }
    refused("{name: Top, kind: atomic, fields: [{name: a, type: 'list<L25>'}]}", FAULT_BAD_SCHEMA,
            "model 'Top' would nest 27 containers, at most 26 are allowed (every model, list and "
            "dict is one, an any counts as 20)");
    defined("{name: Top, kind: atomic, fields: [{name: a, type: L25}]}");
    refused("{name: Top, kind: atomic, fields: [{name: b, type: 'dict<L25>'}]}", FAULT_BAD_SCHEMA,
            "model 'Top' would nest 27 containers, at most 26 are allowed (every model, list and "
            "dict is one, an any counts as 20)");

    refused("{name: L1, kind: atomic, fields: [{name: y, type: 'list<int>'}]}", FAULT_BAD_SCHEMA,
            "because of what is new in 'L1', model 'Top' would nest 27 containers, at most 26 are "
            "allowed (every model, list and dict is one, an any counts as 20)");
    cr_assert_eq(schema_model(s, "L1", 2)->nfields, 1u);
    cr_assert_eq(schema_model(s, "Top", 3)->depth, 26u);

    defined("{name: Any6, kind: atomic, fields: [{name: a, type: "
            "'list<dict<list<dict<list<any>>>>>'}]}");
    cr_assert_eq(model->depth, 26u);
    cr_assert_eq(define("{name: Any7, kind: atomic, fields: [{name: a, type:"
                        " 'list<dict<list<dict<list<dict<any>>>>>>'}]}"),
                 -1);
}

Test(schema, growth_is_passed_on_to_those_around)
{
    defined("{name: In, kind: atomic, fields: [{name: x, type: int}]}");
    defined("{name: Mid, kind: atomic, fields: [{name: i, type: In}]}");
    defined("{name: Out, kind: atomic, fields: [{name: m, type: Mid}, {name: n, type: Mid}]}");
    cr_assert_eq(model->depth, 3u);
    cr_assert_eq(model->slots, 6u);
    defined("{name: In, kind: atomic, fields: [{name: y, type: 'list<int>'}]}");
    cr_assert_eq(model->depth, 2u);
    cr_assert_eq(schema_model(s, "Mid", 3)->depth, 3u);
    cr_assert_eq(schema_model(s, "Mid", 3)->slots, 3u);
    cr_assert_eq(schema_model(s, "Out", 3)->depth, 4u);
    cr_assert_eq(schema_model(s, "Out", 3)->slots, 8u);
}

Test(schema, growth_is_passed_on_whatever_the_order_of_definition)
{
    defined("{name: Out, kind: atomic, fields: []}");
    defined("{name: Mid, kind: atomic, fields: []}");
    defined("{name: In, kind: atomic, fields: []}");
    defined("{name: Out, kind: atomic, fields: [{name: m, type: 'list<Mid>'}]}");
    defined("{name: Mid, kind: atomic, fields: [{name: i, type: 'list<In>'}]}");
    defined("{name: In, kind: atomic, fields: [{name: y, type: 'list<int>'}]}");
    cr_assert_eq(schema_model(s, "In", 2)->depth, 2u);
    cr_assert_eq(schema_model(s, "Mid", 3)->depth, 4u);
    cr_assert_eq(schema_model(s, "Out", 3)->depth, 6u);
}

Test(schema, atomic_models_within_are_not_multiplied_without_bound)
{
    cr_assert_eq(define_many("L0", 0, 1000), 0);
    defined("{name: L1, kind: atomic, fields: [{name: a, type: L0}, {name: b, type: L0}]}");
    cr_assert_eq(model->slots, 2002u);
    refused("{name: L2, kind: atomic, fields: [{name: a, type: L1}, {name: b, type: L0}]}",
            FAULT_BAD_SCHEMA,
            "model 'L2' would have 3004 fields with those of the atomic models in it, at most 2048 "
            "are allowed");
    cr_assert_eq(define_many("L0", 1000, 24), -1);
    cr_assert_str_eq(fault.text,
                     "because of what is new in 'L0', model 'L1' would have 2050 fields "
                     "with those of the atomic models in it, at most 2048 are allowed");
    cr_assert_eq(schema_model(s, "L1", 2)->slots, 2002u);
}

Test(schema, defaults_are_checked_and_made_canonical)
{
    defined("{name: P, kind: plain, fields: [{name: x, type: float, default: 2}]}");
    fallback_is("x", "2.0");
    defined("{name: M, kind: atomic, fields: [{name: a, type: int, default: #cd0005#},"
            "{name: b, type: 'optional<str>', default: nil}, {name: c, type: P, default: {}},"
            "{name: d, type: 'list<P>', default: [{}, {x: 1.5}]},"
            "{name: e, type: 'dict<int>', default: {k: 1}}, {name: f, type: 'list<int>'},"
            "{name: g, type: 'dict<P>'}, {name: h, type: any, default: nil},"
            "{name: i, type: P}]}");
    fallback_is("a", "5");
    fallback_is("b", "nil");
    fallback_is("c", "{x: 2.0}");
    fallback_is("d", "[{x: 2.0}, {x: 1.5}]");
    fallback_is("e", "{k: 1}");
    fallback_is("f", "[]");
    fallback_is("g", "{}");
    fallback_is("h", "nil");
    cr_assert_null(field_of(model, "i")->fallback);
    defined("{name: Q, kind: plain, fields: [{name: l, type: 'list<int>'}]}");
    cr_assert_null(field_of(model, "l")->fallback);
}

Test(schema, wrong_defaults)
{
    refused(one("atomic", "name: a, type: int, default: x"), FAULT_BAD_TYPE,
            "default of M.a: int expected, found str");
    refused(one("atomic", "name: a, type: int, default: nil"), FAULT_BAD_TYPE,
            "default of M.a: int expected, found nil");
    refused(one("atomic", "name: a, type: 'list<int>', default: [1, x]"), FAULT_BAD_TYPE,
            "default of M.a[1]: int expected, found str");
    refused(one("atomic", "name: a, type: 'list<int>', default: nil"), FAULT_BAD_TYPE,
            "default of M.a: list<int> expected, found nil");
    refused(one("plain", "name: a, type: str, default: #a1ff#"), FAULT_BAD_VALUE,
            "default of M.a: the str is not valid UTF-8; bytes can hold it");
}

Test(schema, defaults_of_atomic_models_are_empty)
{
    defined("{name: A, kind: atomic, fields: [{name: x, type: int, default: 1}]}");
    defined("{name: Good, kind: atomic, fields: [{name: a, type: A, default: {}},"
            "{name: b, type: 'list<A>', default: []}, {name: c, type: 'dict<A>', default: {}},"
            "{name: d, type: 'list<A>'}, {name: e, type: 'dict<A>'}, {name: f, type: A}]}");
    cr_assert_null(field_of(model, "a")->fallback);
    cr_assert_null(field_of(model, "f")->fallback);
    fallback_is("b", "[]");
    fallback_is("c", "{}");
    fallback_is("d", "[]");
    fallback_is("e", "{}");
    refused(one("atomic", "name: a, type: A, default: {x: 1}"), FAULT_BAD_VALUE,
            "default of M.a: only the empty map can be the default of A");
    refused(one("atomic", "name: a, type: A, default: nil"), FAULT_BAD_VALUE,
            "default of M.a: only the empty map can be the default of A");
    refused(one("atomic", "name: a, type: 'list<A>', default: [{}]"), FAULT_BAD_VALUE,
            "default of M.a: only the empty list can be the default of list<A>");
    refused(one("atomic", "name: a, type: 'list<A>', default: {}"), FAULT_BAD_VALUE,
            "default of M.a: only the empty list can be the default of list<A>");
    refused(one("atomic", "name: a, type: 'dict<A>', default: {k: {}}"), FAULT_BAD_VALUE,
            "default of M.a: only the empty map can be the default of dict<A>");
}

static int define_default_of(const char *name, size_t len)
{
    struct buf b = BUF_INIT;
    char *text = malloc(len);
    memset(text, 'd', len);
    pack_map(&b, 3);
    wire_pack(&b, "name");
    wire_pack(&b, "M");
    wire_pack(&b, "kind");
    wire_pack(&b, "atomic");
    wire_pack(&b, "fields");
    pack_array(&b, 1);
    pack_map(&b, 3);
    wire_pack(&b, "name");
    wire_pack(&b, name);
    wire_pack(&b, "type");
    wire_pack(&b, "str");
    wire_pack(&b, "default");
    pack_str(&b, text, len);
    int done = define_bytes(&b);
    buf_free(&b);
    free(text);
    return done;
}

Test(schema, defaults_are_bounded)
{
    cr_assert_eq(define_default_of("a", SCHEMA_MAX_DEFAULTS - 2), -1);
    cr_assert_str_eq(fault.text, "model 'M': the defaults have more than 65536 bytes in all");
    cr_assert_eq(define_default_of("a", SCHEMA_MAX_DEFAULTS - 3), 0, "%s", fault.text);
    cr_assert_eq(define_default_of("a", SCHEMA_MAX_DEFAULTS - 4), 0, "the old one does not count");
    cr_assert_eq(define_default_of("b", 2000), -1);
    cr_assert_str_eq(fault.text, "model 'M': the defaults, with those that are stored, have more "
                                 "than 65536 bytes in all");
    cr_assert_eq(define_default_of("a", 2000), 0, "%s", fault.text);
    cr_assert_eq(define_default_of("b", 2000), 0, "%s", fault.text);
}

/* A few bytes that stand for many, often: counted as they come. */
Test(schema, defaults_made_of_defaults_are_bounded)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "{name: P, kind: plain, fields: [{name: a, type: str, default: '");
    for (int i = 0; i < 1000; i++)
        buf_append(&b, "x", 1);
    buf_printf(&b, "'}]}%c", 0);
    defined((char *)b.data);
    buf_clear(&b);
    buf_printf(&b, "{name: L, kind: atomic, fields: [{name: a, type: 'list<P>', default: [");
    for (int i = 0; i < 66; i++)
        buf_append(&b, "{}", 2);
    buf_printf(&b, "]}]}%c", 0);
    refused((char *)b.data, FAULT_BAD_SCHEMA,
            "model 'L': the defaults have more than 65536 bytes in all");
    buf_free(&b);
}

Test(schema, the_same_again_changes_nothing)
{
    const char *text = "{name: M, kind: atomic, key: id, ttl: 5, fields: [{name: id, type: str},"
                       "{name: a, type: 'optional<int>', default: 3, lazy: true},"
                       "{name: b, type: 'list<str>'}]}";
    defined(text);
    const struct model *first = model;
    defined(text);
    cr_assert_not(changed);
    cr_assert_eq(model, first);
    cr_assert_eq(model->revision, 1u);
    cr_assert_eq(model->nfields, 3u);
    defined("{name: M, kind: atomic, key: id, ttl: 5, fields: [{name: id, type: str}]}");
    cr_assert_not(changed, "fields that are left out stay");
    cr_assert_eq(model->nfields, 3u);
}

Test(schema, what_a_redefinition_takes_over)
{
    defined("{name: M, kind: atomic, fields: [{name: a, type: int, default: 1}]}");
    const struct model *first = model;
    const char *name = model->fields[0].name;
    defined("{name: M, kind: atomic, fields: [{name: a, type: int, default: 2}]}");
    cr_assert(changed);
    cr_assert_eq(model->revision, 2u);
    fallback_is("a", "2");
    defined("{name: M, kind: atomic, fields: [{name: a, type: int, default: 2, lazy: true}]}");
    cr_assert(changed && model->fields[0].lazy);
    defined(
        "{name: M, kind: atomic, ttl: 9, fields: [{name: a, type: int, default: 2, lazy: true}]}");
    cr_assert(changed && model->ttl == 9);
    defined("{name: M, kind: atomic, ttl: 9, refresh_ttl: true, fields: []}");
    cr_assert(changed && model->refresh_ttl && model->ttl == 9);
    cr_assert_eq(model->revision, 5u);
    defined("{name: M, kind: atomic, fields: [{name: a, type: int}]}");
    cr_assert(changed);
    fallback_is("a", "2"); /* documents may lack the field by now */
    cr_assert_not(model->fields[0].lazy);
    cr_assert_eq(model->ttl, 0);
    cr_assert_eq(model, first, "a model never moves");
    cr_assert_eq(model->fields[0].name, name);
}

Test(schema, new_fields)
{
    defined("{name: Ready, kind: atomic, fields: [{name: x, type: int, default: 0},"
            "{name: y, type: 'optional<int>'}, {name: z, type: 'list<int>'}]}");
    defined("{name: Nested, kind: atomic, fields: [{name: r, type: Ready}]}");
    defined(
        "{name: Needs, kind: atomic, fields: [{name: r, type: Ready}, {name: must, type: str}]}");
    defined("{name: P, kind: plain, fields: []}");
    defined("{name: M, kind: atomic, fields: [{name: old, type: int}]}");
    defined("{name: M, kind: atomic, fields: [{name: a, type: int, default: 1},"
            "{name: b, type: 'optional<int>'}, {name: c, type: 'list<int>'},"
            "{name: d, type: 'dict<Needs>'}, {name: e, type: Nested}, {name: old, type: int},"
            "{name: f, type: P, default: {}}]}");
    cr_assert(changed);
    cr_assert_eq(model->revision, 2u);
    cr_assert_eq(model->nfields, 7u);
    cr_assert_eq(model_field(model, "old", 3), 0);
    cr_assert_eq(model_field(model, "a", 1), 1);
    cr_assert_eq(model_field(model, "f", 1), 6);
    refused("{name: M, kind: atomic, fields: [{name: g, type: int}]}", FAULT_SCHEMA_CONFLICT,
            "the new field 'g' of model 'M': stored documents lack it; give it a default or the "
            "type optional<int>");
    refused("{name: M, kind: atomic, fields: [{name: g, type: P}]}", FAULT_SCHEMA_CONFLICT,
            "the new field 'g' of model 'M': stored documents lack it; give it a default or the "
            "type optional<P>");
    refused("{name: P, kind: plain, fields: [{name: l, type: 'list<int>'}]}", FAULT_SCHEMA_CONFLICT,
            "the new field 'l' of model 'P': stored documents lack it; give it a default or the "
            "type optional<list<int>>");
    refused("{name: M, kind: atomic, fields: [{name: g, type: Needs}]}", FAULT_SCHEMA_CONFLICT,
            "the new field 'g' of model 'M': stored documents lack it, and the field 'must' (str) "
            "of 'Needs' inside has no default");
    cr_assert_eq(schema_model(s, "M", 1)->nfields, 7u);
    cr_assert_eq(schema_model(s, "M", 1)->revision, 2u);
}

Test(schema, adding_field_by_field_keeps_the_index)
{
    char text[100], name[16];
    defined("{name: M, kind: atomic, fields: []}");
    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof text,
                 "{name: M, kind: atomic, fields: [{name: f%d, type: int, default: 0}]}", i);
        defined(text);
        for (int k = 0; k <= i; k++)
            cr_assert_eq(model_field(model, name, (size_t)snprintf(name, sizeof name, "f%d", k)),
                         k);
        cr_assert_eq(model_field(model, "g", 1), -1);
    }
    cr_assert_eq(model->revision, 41u);
}

Test(schema, what_cannot_change)
{
    defined("{name: P, kind: plain, fields: [{name: x, type: int, default: 0}]}");
    defined("{name: Q, kind: plain, fields: [{name: x, type: int, default: 0}]}");
    defined("{name: M, kind: atomic, key: id, fields: [{name: id, type: str},"
            "{name: a, type: 'dict<list<int>>'}, {name: p, type: P}]}");
    refused("{name: M, kind: atomic, key: id, fields: [{name: id, type: str}, {name: a, type:"
            " 'dict<list<str>>'}]}",
            FAULT_SCHEMA_CONFLICT,
            "field 'a' of model 'M' is stored as dict<list<int>> and declared as dict<list<str>>; "
            "its type cannot change, for another use a new name");
    refused("{name: M, kind: atomic, key: id, fields: [{name: id, type: str}, {name: p, type: Q}]}",
            FAULT_SCHEMA_CONFLICT,
            "field 'p' of model 'M' is stored as P and declared as Q; its type can only become "
            "optional<P>, for another use a new name");
    refused("{name: M, kind: atomic, key: id, fields: [{name: id, type: 'optional<str>'}]}",
            FAULT_BAD_SCHEMA,
            "model 'M': the key field 'id' has type optional<str>, a key is str, int, uuid, "
            "datetime, or "
            "another that is a text on the wire");
    refused("{name: M, kind: plain, fields: []}", FAULT_SCHEMA_CONFLICT,
            "model 'M' is stored as atomic and declared as plain; its kind cannot change, use "
            "a new name");
    refused("{name: M, kind: atomic, fields: []}", FAULT_SCHEMA_CONFLICT,
            "model 'M' is stored with the key id and declared with no key; its key cannot change, "
            "use a new name");
    refused("{name: M, kind: atomic, key: b, fields: [{name: b, type: int, default: 0}]}",
            FAULT_SCHEMA_CONFLICT,
            "model 'M' is stored with the key id and declared with the key b; its key cannot "
            "change, use a new name");
    defined("{name: N, kind: atomic, fields: [{name: a, type: str}]}");
    refused("{name: N, kind: atomic, key: a, fields: [{name: a, type: str}]}",
            FAULT_SCHEMA_CONFLICT,
            "model 'N' is stored with no key and declared with the key a; its key cannot change, "
            "use a new name");
}

static void declares(const char *type, const char *more)
{
    char text[200];
    snprintf(text, sizeof text, "{name: M, kind: atomic, fields: [{name: a, type: '%s'%s}]}", type,
             more);
    defined(text);
}

static void type_is(const char *wanted)
{
    char have[TYPE_NAME_MAX];
    cr_assert_str_eq(type_name(model->fields[0].type, have, sizeof have), wanted);
}

Test(schema, types_widen)
{
    static const char *const steps[][2] = {
        {"int", "float"},
        {"int", "optional<int>"},
        {"int", "optional<float>"},
        {"optional<int>", "optional<float>"},
        {"float", "optional<float>"},
        {"str", "optional<str>"},
        {"P", "optional<P>"},
        {"any", "optional<any>"},
        {"enum<a|b>", "optional<enum<a|b>>"},
        {"ref<X>", "optional<ref<X>>"},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        schema_free(s);
        s = schema_new();
        defined("{name: P, kind: plain, fields: []}");
        declares(steps[i][0], "");
        const struct type *before = model->fields[0].type;
        declares(steps[i][1], "");
        type_is(steps[i][1]);
        cr_assert(changed);
        cr_assert_eq(schema_growths(s), 1u, "trees are built anew");
        char name[TYPE_NAME_MAX];
        cr_assert_str_eq(type_name(before, name, sizeof name), steps[i][0], "it may be in use");
        /* By a program that does not know yet. */
        declares(steps[i][0], "");
        type_is(steps[i][1]);
        cr_assert_not(changed);
        cr_assert_eq(model->revision, 2u);
        cr_assert_eq(schema_growths(s), 1u);
    }
}

Test(schema, types_that_do_not_widen)
{
    static const char *const steps[][3] = {
        {"float", "int", "can only become optional<float>"},
        {"optional<int>", "int", "can only become optional<float>"},
        {"optional<int>", "float", "can only become optional<float>"},
        {"float", "optional<int>", "can only become optional<float>"},
        {"optional<str>", "str", "cannot change"},
        {"int", "str", "can only become float, optional<int> or optional<float>"},
        {"bytes", "optional<bytes>", "cannot change"},
        {"list<int>", "optional<list<int>>", "cannot change"},
        {"list<int>", "list<float>", "cannot change"},
        {"str", "enum<a>", "can only become optional<str>"},
    };
    char text[200];
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        schema_free(s);
        s = schema_new();
        declares(steps[i][0], "");
        snprintf(text, sizeof text, "{name: M, kind: atomic, fields: [{name: a, type: '%s'}]}",
                 steps[i][1]);
        cr_assert_eq(define(text), -1, "%s", text);
        cr_assert_eq(fault.code, FAULT_SCHEMA_CONFLICT);
        snprintf(text, sizeof text, "its type %s, for another use a new name", steps[i][2]);
        cr_assert(strstr(fault.text, text), "%s", fault.text);
    }
}

Test(schema, both_sides_widen)
{
    declares("int", ", default: 5");
    declares("optional<int>", ", default: 6");
    declares("float", ", default: 7");
    type_is("optional<float>");
    fallback_is("a", "6.0");
    declares("int", ", default: 5, lazy: true");
    fallback_is("a", "6.0");
    cr_assert_not(model->fields[0].lazy);
    declares("optional<int>", ", default: 1");
    cr_assert_not(changed);
    declares("optional<float>", ", default: 1");
    fallback_is("a", "1.0");
}

Test(schema, a_default_is_kept_by_the_wider_type)
{
    declares("int", ", default: 5");
    declares("float", "");
    fallback_is("a", "5.0");
}

Test(schema, what_a_type_was_is_packed)
{
    struct buf b = BUF_INIT, again = BUF_INIT;
    declares("int", ", default: 5");
    declares("float", "");
    schema_pack(model, &b);
    schema_free(s);
    s = schema_new();
    cr_assert_eq(define_bytes(&b), 0, "%s", fault.text);
    schema_pack(model, &again);
    cr_assert(b.len == again.len && memcmp(b.data, again.data, b.len) == 0);
    declares("int", "");
    cr_assert_not(changed);
    type_is("float");
    buf_free(&b);
    buf_free(&again);
    refused("{name: M, kind: atomic, fields: [{name: a, type: int, was: float}]}", FAULT_BAD_SCHEMA,
            "field 'a' of model 'M': int has not become of 'was' float");
}

Test(schema, a_refused_redefinition_leaves_nothing_behind)
{
    struct buf before = BUF_INIT, after = BUF_INIT;
    defined("{name: M, kind: atomic, ttl: 1, fields: [{name: a, type: int, default: 1}]}");
    schema_pack(model, &before);
    cr_assert_eq(define("{name: M, kind: atomic, ttl: 2, fields: [{name: a, type: int, default: 2},"
                        "{name: b, type: int, default: 5}, {name: c, type: int}]}"),
                 -1);
    schema_pack(schema_model(s, "M", 1), &after);
    cr_assert(before.len == after.len && memcmp(before.data, after.data, after.len) == 0);
    buf_free(&before);
    buf_free(&after);
}

Test(schema, check_changes_nothing)
{
    struct buf b = BUF_INIT, before = BUF_INIT, after = BUF_INIT;
    defined("{name: M, kind: atomic, ttl: 1, fields: [{name: a, type: int, default: 1}]}");
    schema_pack(model, &before);
    wire_pack(&b, "{name: M, kind: atomic, fields: [{name: a, type: int, default: 2},"
                  "{name: b, type: 'list<int>'}]}");
    struct cursor in = cursor_of(b.data, b.len);
    bool would = false;
    cr_assert_eq(schema_check(s, &in, &would, &fault), 0, "%s", fault.text);
    cr_assert(would);
    schema_pack(schema_model(s, "M", 1), &after);
    cr_assert(before.len == after.len && memcmp(before.data, after.data, after.len) == 0);
    buf_clear(&b);
    wire_pack(&b, "{name: New, kind: atomic, fields: []}");
    in = cursor_of(b.data, b.len);
    cr_assert_eq(schema_check(s, &in, &would, &fault), 0);
    cr_assert_null(schema_model(s, "New", 3));
    buf_free(&b);
    buf_free(&before);
    buf_free(&after);
}

/* The model's declaration, which changes nothing when it comes again. */
static void packs_as(const char *text)
{
    struct buf b = BUF_INIT, want = BUF_INIT;
    schema_pack(model, &b);
    wire_pack(&want, text);
    cr_assert(b.len == want.len && memcmp(b.data, want.data, b.len) == 0);
    cr_assert_eq(define_bytes(&b), 0, "%s", fault.text);
    cr_assert_not(changed);
    buf_free(&b);
    buf_free(&want);
}

Test(schema, packs_into_a_declaration_of_itself)
{
    defined("{name: P, kind: plain, fields: []}");
    defined("{name: M, kind: atomic, key: id, ttl: 7, refresh_ttl: true, fields: [{name: id, type:"
            " str}, {name: l, type: 'list<dict<P>>', lazy: true}, {name: n, type: 'optional<int>',"
            " default: nil}]}");
    packs_as("{name: M, kind: atomic, key: id, ttl: 7, refresh_ttl: true, fields: ["
             "{name: id, type: str},"
             "{name: l, type: 'list<dict<P>>', default: [], lazy: true},"
             "{name: n, type: 'optional<int>', default: nil}], revision: 1}");
}

Test(schema, packs_by_which_fields_it_refreshes)
{
    defined("{name: M, kind: atomic, refresh_ttl: {a: 3, b: nil}, fields: [{name: a, type: str},"
            " {name: c, type: int}, {name: b, type: 'ref<M>'}]}");
    packs_as("{name: M, kind: atomic, refresh_ttl: {a: 3, b: nil}, fields: ["
             "{name: a, type: str}, {name: c, type: int}, {name: b, type: 'ref<M>'}],"
             " revision: 1}");
}

Test(schema, revision_is_taken_over_when_higher)
{
    defined("{name: M, kind: atomic, fields: [], revision: 7}");
    cr_assert_eq(model->revision, 7u);
    defined("{name: M, kind: atomic, fields: [], revision: 6}");
    cr_assert_eq(model->revision, 7u);
    cr_assert_not(changed);
    defined("{name: M, kind: atomic, fields: [{name: a, type: 'list<int>'}], revision: 3}");
    cr_assert_eq(model->revision, 8u);
    defined("{name: M, kind: atomic, fields: [], revision: 12}");
    cr_assert_eq(model->revision, 12u);
    cr_assert(changed);
    refused("{name: M, kind: atomic, fields: [], revision: -1}", FAULT_BAD_SCHEMA,
            "model 'M': 'revision' must be an int from 0 on");
    refused("{name: M, kind: atomic, fields: [], revision: 2147483648}", FAULT_BAD_SCHEMA,
            "model 'M': 'revision' is at most 2147483647");
}

Test(schema, restores_in_any_order)
{
    const char *texts[] = {
        "{name: Out, kind: atomic, fields: [{name: m, type: 'list<Mid>'}], revision: 4}",
        "{name: Lost, kind: atomic, fields: [{name: x, type: Gone}]}",
        "{name: Mid, kind: atomic, fields: [{name: i, type: In}]}",
        "{name: Bad, kind: atomic, fields: [{name: x, type: 'list<'}]}",
        "{name: In, kind: atomic, fields: []}",
    };
    struct buf bytes[5] = {0};
    struct cursor in[5];
    bool taken[5];
    for (int i = 0; i < 5; i++) {
        wire_pack(&bytes[i], texts[i]);
        in[i] = cursor_of(bytes[i].data, bytes[i].len);
    }
    cr_assert_eq(schema_restore(s, in, 5, taken, &fault), -1);
    cr_assert_eq(fault.code, FAULT_UNKNOWN_MODEL);
    cr_assert(strstr(fault.text, "'Gone'"), "%s", fault.text);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(taken[i], i % 2 == 0, "%d", i);
    cr_assert_eq(schema_model(s, "Out", 3)->depth, 4u);
    cr_assert_eq(schema_model(s, "Out", 3)->revision, 4u);
    cr_assert_null(schema_model(s, "Lost", 4));
    in[1] = in[2];
    in[3] = in[4];
    cr_assert_eq(schema_restore(s, in, 5, NULL, &fault), 0);
    cr_assert_eq(schema_model(s, "Out", 3)->revision, 4u, "the same again is no change");
    cr_assert_eq(schema_restore(s, NULL, 0, NULL, &fault), 0);
    for (int i = 0; i < 5; i++)
        buf_free(&bytes[i]);
}

static void collect(const struct model *m, void *arg)
{
    strcat(strcat(arg, m->name), " ");
}

Test(schema, each_in_order_of_definition)
{
    char names[100] = "";
    defined("{name: Z, kind: atomic, fields: []}");
    defined("{name: A, kind: atomic, fields: []}");
    defined("{name: M, kind: atomic, fields: []}");
    defined("{name: A, kind: atomic, ttl: 1, fields: []}");
    schema_each(s, collect, names);
    cr_assert_str_eq(names, "Z A M ");
}

Test(schema, the_registry_is_bounded)
{
    char text[100];
    for (int i = 0; i < SCHEMA_MAX_MODELS; i++) {
        snprintf(text, sizeof text, "{name: M%d, kind: atomic, fields: []}", i);
        defined(text);
    }
    refused("{name: More, kind: atomic, fields: []}", FAULT_BAD_SCHEMA,
            "model 'More' would be one too many, at most 1024 are allowed");
    defined("{name: M0, kind: atomic, ttl: 5, fields: []}");
}

Test(schema, the_fields_of_all_models_are_bounded)
{
    char name[16];
    for (int i = 0; i < SCHEMA_MAX_ALL_FIELDS / 1024; i++) {
        snprintf(name, sizeof name, "M%d", i);
        cr_assert_eq(define_many(name, 0, 1024), 0);
    }
    refused("{name: X, kind: atomic, fields: [{name: a, type: int}]}", FAULT_BAD_SCHEMA,
            "with model 'X' all models would have 65537 fields, at most 65536 are allowed");
}

/* Every prefix of a declaration, and every byte of it turned into others. */
Test(schema, damaged_declarations_are_refused_or_harmless)
{
    struct buf b = BUF_INIT;
    wire_pack(&b, "{name: M, kind: atomic, key: a, ttl: 1, fields: [{name: a, type: str},"
                  "{name: b, type: 'list<any>', default: [1, 2.5, {k: [nil]}], lazy: true}]}");
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, b.data, n);
        struct cursor in = cursor_of(exact, n);
        cr_assert_eq(schema_define(s, &in, &model, &changed, &fault), -1, "%zu", n);
        free(exact);
    }
    for (size_t n = 0; n < b.len; n++) {
        uint8_t was = b.data[n];
        for (unsigned v = 0; v < 256; v += 5) {
            struct schema *fresh = schema_new();
            b.data[n] = (uint8_t)v;
            struct cursor in = cursor_of(b.data, b.len);
            int done = schema_define(fresh, &in, &model, &changed, &fault);
            cr_assert(done == 0 || (done == -1 && fault.code != FAULT_NONE && fault.text[0]));
            schema_free(fresh);
        }
        b.data[n] = was;
    }
    buf_free(&b);
}
