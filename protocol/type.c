/* type: the types of fields, read from their text and written back. */
#include "protocol/type.h"
#include "protocol/alloc.h"
#include "protocol/container.h"
#include "protocol/path.h"
#include "protocol/scalar.h"
#include <stdio.h>

/* Of a built-in type; NULL for a model. */
static const char *kind_name(enum type_kind kind)
{
    if (scalar_of(kind))
        return scalar_of(kind)->name;
    if (container_kinds[kind])
        return container_kinds[kind]->name;
    return kind == TYPE_ANY ? "any" : kind == TYPE_OPTIONAL ? "optional" : NULL;
}

/* Every wrapper takes at least 6 bytes of the text ("list<>"). */
#define CHAIN_MAX (TYPE_NAME_MAX / 6 + 2)

static int builtin(const char *name, size_t len)
{
    for (int kind = 0; kind < TYPE_COUNT; kind++) {
        const char *own = kind_name((enum type_kind)kind);
        if (own && strlen(own) == len && memcmp(own, name, len) == 0)
            return kind;
    }
    return -1;
}

bool type_reserved(const char *name, size_t len)
{
    return builtin(name, len) >= 0;
}

static bool wraps(enum type_kind kind)
{
    return container_kinds[kind] || kind == TYPE_OPTIONAL;
}

static int malformed(const char *text, size_t len, const char *where, const char *what,
                     struct fault *f)
{
    return fault_set(f, FAULT_BAD_SCHEMA, "%s: type '%.*s': %s", where, (int)len, text, what);
}

/* Whether these are names: of a model, or several that differ, with | between them. */
static bool names_good(enum type_kind kind, const char *names, size_t len)
{
    const char *end = names + len;
    if (kind == TYPE_REF)
        return model_name_valid(names, len);
    for (const char *at = names, *to; at <= end; at = to + 1) {
        to = memchr(at, '|', (size_t)(end - at));
        to = to ? to : end;
        if (to == at)
            return false;
        for (const char *other = names; other < at;) {
            const char *other_end = memchr(other, '|', (size_t)(at - other));
            if (other_end - other == to - at && memcmp(other, at, (size_t)(to - at)) == 0)
                return false;
            other = other_end + 1;
        }
    }
    return true;
}

/* "<a|b>" at `to` and the n brackets that end it all; the length of the chain. */
static int parse_names(const char *text, size_t len, enum type_kind kind, const char *to, int n,
                       const char *where, struct type *chain, struct fault *f)
{
    const char *end = text + len, *names = to + 1;
    const char *close = to < end && *to == '<' ? memchr(names, '>', (size_t)(end - names)) : NULL;
    if (!close || end - close - 1 != n || strspn(close, ">") <= (size_t)n ||
        !names_good(kind, names, (size_t)(close - names)))
        return malformed(text, len, where,
                         kind == TYPE_REF ? "ref is followed by <Model>"
                                          : "enum is followed by <names>, different ones with | "
                                            "between them",
                         f);
    chain[n] = (struct type){.kind = kind, .names = names};
    return n + 1;
}

/* Fills chain[0..n) from the text; the number of them, or -1. */
static int parse_chain(const char *text, size_t len, type_find *find, void *arg, const char *where,
                       struct type *chain, struct fault *f)
{
    const char *at = text, *end = text + len;
    for (int n = 0; n < CHAIN_MAX; n++) {
        const char *to = at;
        while (to < end && *to != '<' && *to != '>')
            to++;
        size_t name_len = (size_t)(to - at);
        int kind = builtin(at, name_len);
        if (kind >= 0 && wraps((enum type_kind)kind)) {
            if (to == end || *to != '<')
                return fault_set(f, FAULT_BAD_SCHEMA, "%s: type '%.*s': %s is followed by <T>",
                                 where, (int)len, text, kind_name((enum type_kind)kind));
            if (kind == TYPE_OPTIONAL && n > 0 && chain[n - 1].kind == TYPE_OPTIONAL)
                return malformed(text, len, where, "optional of optional says nothing more", f);
            chain[n] = (struct type){.kind = (enum type_kind)kind};
            at = to + 1;
            continue;
        }
        if (kind >= 0 && scalar_of((enum type_kind)kind) && scalar_of((enum type_kind)kind)->named)
            return parse_names(text, len, (enum type_kind)kind, to, n, where, chain, f);
        if (kind < 0 && to < end && *to == '<' && model_name_valid(at, name_len))
            return fault_set(
                f, FAULT_BAD_SCHEMA,
                "%s: type '%.*s': there is no type %.*s<...>; those of other types are "
                "list<T>, dict<T>, set<T>, sorted<T> and optional<T>",
                where, (int)len, text, (int)name_len, at);
        if (n > 0 && chain[n - 1].kind == TYPE_DICT && memchr(at, ',', name_len))
            return malformed(text, len, where,
                             "dict<T> takes the type of its values only; its keys are str", f);
        if (end - to != n || strspn(to, ">") < (size_t)n)
            return malformed(text, len, where, "each '<' has one '>' at the end, and only those",
                             f);
        chain[n] = (struct type){.kind = kind >= 0 ? (enum type_kind)kind : TYPE_MODEL};
        if (kind >= 0)
            return n + 1;
        if (!model_name_valid(at, name_len))
            return malformed(text, len, where, "a built-in type or a model's name expected", f);
        f->code = FAULT_NONE;
        chain[n].model = find(arg, at, name_len, f);
        for (int i = 0; i < n && chain[n].model && chain[n].model->atomic; i++)
            chain[i].kind = chain[i].kind == TYPE_OPTIONAL ? TYPE_MAYBE : chain[i].kind;
        if (chain[n].model)
            return n + 1;
        if (f->code != FAULT_NONE)
            return -1;
        return fault_set(f, FAULT_UNKNOWN_MODEL,
                         "%s: type '%.*s': there is no model or built-in type '%.*s'; define a "
                         "model before those that contain it",
                         where, (int)len, text, (int)name_len, at);
    }
    return malformed(text, len, where, "nested too deeply", f);
}

int type_parse(const char *text, size_t len, type_find *find, void *arg, const char *where,
               struct type **out, struct fault *f)
{
    char copy[TYPE_NAME_MAX];
    struct type chain[CHAIN_MAX];
    if (len >= sizeof copy)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: the type's text has %zu bytes, at most %d are "
                         "allowed",
                         where, len, TYPE_NAME_MAX - 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    int n = parse_chain(copy, len, find, arg, where, chain, f);
    if (n < 0)
        return -1;
    const char *names = chain[n - 1].names;
    size_t names_len = names ? strcspn(names, ">") : 0;
    struct type *t = alloc_zeroed(1, (size_t)n * sizeof *t + names_len + 1);
    if (names) {
        memcpy((char *)&t[n], names, names_len);
        chain[n - 1].names = (const char *)&t[n];
    }
    for (int i = 0; i < n; i++) {
        t[i] = chain[i];
        t[i].of = i + 1 < n ? &t[i + 1] : NULL;
    }
    *out = t;
    return 0;
}

struct type *type_copy(const struct type *t)
{
    size_t n = 1;
    for (const struct type *at = t; at->of; at = at->of)
        n++;
    struct type *copy = alloc_zeroed(n, sizeof *copy);
    for (size_t i = 0; i < n; i++, t = t->of) {
        copy[i] = *t;
        copy[i].of = t->of ? &copy[i + 1] : NULL;
    }
    return copy;
}

void type_wrap(struct type *t, type_wrapper *wrap, void *arg)
{
    const struct model *m = type_model(t);
    if (!m || !m->atomic || !t->of || !wraps(t->of->kind))
        return;
    m = wrap(arg, t->of);
    t[1] = (struct type){.kind = TYPE_MODEL, .model = m}; /* the chain is one block */
}

bool type_equal(const struct type *a, const struct type *b)
{
    while (a->kind == b->kind && wraps(a->kind)) {
        a = a->of;
        b = b->of;
    }
    if (a->kind != b->kind || a->model != b->model)
        return false;
    return !a->names || strcmp(a->names, b->names) == 0;
}

static bool may_be_null(const struct type *t)
{
    return t->kind != TYPE_BYTES && !container_kinds[t->kind] && !type_atomic(t);
}

bool type_covers(const struct type *wide, const struct type *narrow)
{
    const struct type *to = type_bare(wide), *from = type_bare(narrow);
    if (wide->kind != TYPE_OPTIONAL && narrow->kind == TYPE_OPTIONAL)
        return false;
    if (wide->kind == TYPE_OPTIONAL && narrow->kind != TYPE_OPTIONAL && !may_be_null(narrow))
        return false;
    return type_equal(to, from) || (to->kind == TYPE_FLOAT && from->kind == TYPE_INT);
}

struct type *type_join(const struct type *a, const struct type *b)
{
    const struct type *x = type_bare(a), *y = type_bare(b);
    struct type *t = alloc_zeroed(2, sizeof *t);
    t[0] = (struct type){.kind = TYPE_OPTIONAL, .of = &t[1]};
    t[1] = type_covers(x, y) ? *x : *y;
    return t;
}

const char *type_wider(const struct type *t, char *out, size_t size)
{
    char name[TYPE_NAME_MAX];
    if (t->kind == TYPE_INT)
        snprintf(out, size, "float, optional<int> or optional<float>");
    else if (t->kind == TYPE_OPTIONAL)
        snprintf(out, size, "%s", t->of->kind == TYPE_INT ? "optional<float>" : "");
    else if (may_be_null(t))
        snprintf(out, size, "optional<%s>", type_name(t, name, sizeof name));
    else
        snprintf(out, size, "%s", "");
    return out;
}

const struct model *type_model(const struct type *t)
{
    while (wraps((t = type_within(t))->kind))
        t = t->of;
    return t->model;
}

static size_t put(char *out, size_t size, size_t at, const char *s)
{
    for (; *s && at + 1 < size; s++)
        out[at++] = *s;
    return at;
}

const char *type_name(const struct type *t, char *out, size_t size)
{
    size_t at = 0;
    unsigned open = 0;
    for (; wraps(t->kind); t = t->of, open++) {
        at = put(out, size, at, kind_name(t->kind));
        at = put(out, size, at, "<");
    }
    at = put(out, size, at, t->kind == TYPE_MODEL ? t->model->name : kind_name(t->kind));
    if (t->names) {
        at = put(out, size, at, "<");
        at = put(out, size, at, t->names);
        at = put(out, size, at, ">");
    }
    while (open--)
        at = put(out, size, at, ">");
    if (size)
        out[at] = '\0';
    return out;
}
