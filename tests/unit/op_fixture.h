/* op_fixture: a schema with everything in it, a document, and Redis in miniature.
 *
 * The miniature takes effects and keeps what Redis would then hold: hashes and lists by suffix,
 * values as their canonical bytes. Two of them can be compared.
 */
#ifndef TESTS_UNIT_OP_FIXTURE_H
#define TESTS_UNIT_OP_FIXTURE_H

#include "protocol/op.h"
#include "wire_text.h"

static const char *const fixture_models[] = {
    "{name: Address, kind: plain, fields: [{name: street, type: str},"
    " {name: city, type: str, default: Bonn}]}",
    "{name: Settings, kind: atomic, fields: [{name: theme, type: str, default: dark},"
    " {name: volume, type: int, default: 5}, {name: hidden, type: 'list<str>'},"
    " {name: limits, type: 'dict<int>'}, {name: level, type: 'optional<int>'}]}",
    "{name: User, kind: atomic, key: id, fields: [{name: id, type: str},"
    " {name: karma, type: int, default: 0}, {name: badges, type: 'list<str>'}]}",
    "{name: Task, kind: atomic, fields: [{name: title, type: str}, {name: points, type: int,"
    " default: 1}, {name: tags, type: 'list<str>'}, {name: meta, type: 'dict<str>'},"
    " {name: conf, type: Settings}, {name: watchers, type: 'list<User>'}]}",
    "{name: Section, kind: atomic, fields: [{name: name, type: str},"
    " {name: tasks, type: 'list<Task>'}, {name: by, type: 'dict<Task>'},"
    " {name: tags, type: 'list<str>'}, {name: lead, type: 'optional<User>'}]}",
    "{name: Doc, kind: atomic, fields: [{name: name, type: str}, {name: n, type: int, default: 3},"
    " {name: hits, type: 'optional<int>'}, {name: score, type: float, default: 1.5},"
    " {name: ok, type: bool, default: false}, {name: raw, type: bytes, default: #c400#},"
    " {name: at, type: datetime, default: #d6ff00000000#}, {name: any, type: any, default: nil},"
    " {name: note, type: 'optional<str>'}, {name: home, type: 'optional<Address>'},"
    " {name: settings, type: Settings}, {name: tags, type: 'list<str>'},"
    " {name: nums, type: 'list<int>'}, {name: grid, type: 'list<list<int>>'},"
    " {name: scores, type: 'dict<int>'}, {name: ratios, type: 'dict<float>'},"
    " {name: sections, type: 'list<Section>'}, {name: team, type: 'dict<Task>'},"
    " {name: users, type: 'list<User>'}, {name: labels, type: 'set<str>'},"
    " {name: primes, type: 'set<int>'}, {name: others, type: 'set<int>'},"
    " {name: groups, type: 'dict<set<int>>'}, {name: queue, type: 'sorted<str>'},"
    " {name: ranks, type: 'sorted<int>', default: [[1, 1], [10, 1], [9, 1]]},"
    " {name: lines, type: 'dict<list<str>>'}, {name: deep, type: 'list<dict<list<int>>>'},"
    " {name: maybe, type: 'optional<list<int>>'}, {name: homes, type: 'list<Address>'},"
    " {name: alt, type: 'optional<Settings>', default: nil},"
    " {name: main, type: 'optional<Section>'}, {name: boards, type: 'dict<list<Task>>'},"
    " {name: rows, type: 'list<list<User>>'}, {name: trees, type: 'dict<dict<list<User>>>'},"
    " {name: some, type: 'optional<list<User>>'}, {name: seats, type: 'list<optional<User>>'}]}",
};

static inline struct schema *fixture_schema(void)
{
    struct schema *s = schema_new();
    for (size_t i = 0; i < sizeof fixture_models / sizeof *fixture_models; i++) {
        struct buf b = BUF_INIT;
        struct fault f = {0};
        const struct model *m;
        bool changed;
        wire_pack(&b, fixture_models[i]);
        struct cursor c = cursor_of(b.data, b.len);
        cr_assert_eq(schema_define(s, &c, &m, &changed, &f), 0, "%s", f.text);
        buf_free(&b);
    }
    return s;
}

static inline struct record *fixture_build(const struct schema *s, const char *model,
                                           const char *text)
{
    struct buf b = BUF_INIT;
    struct fault f = {0};
    struct record *r = NULL;
    wire_pack(&b, text);
    struct cursor c = cursor_of(b.data, b.len);
    cr_assert_eq(
        record_build(schema_model(s, model, strlen(model)), RECORD_ROOT, "d1", 2, &c, "", &r, &f),
        0, "%s", f.text);
    buf_free(&b);
    return r;
}

/* ---- Redis in miniature ---- */

struct mini_value {
    char *name; /* field; "" in a list */
    size_t name_len;
    uint8_t *bytes;
    size_t len;
    enum type_kind kind;
};

struct mini_key {
    char *suffix;
    bool list;
    size_t n;
    struct mini_value *values;
};

struct mini {
    struct mini_key *keys;
    size_t n;
    unsigned incrs, effects;
};

static inline void *mini_copy(const void *p, size_t n)
{
    char *copy = malloc(n + 1);
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

static inline void mini_value_free(struct mini_value *v)
{
    free(v->name);
    free(v->bytes);
}

static inline void mini_key_free(struct mini *m, struct mini_key *k)
{
    for (size_t i = 0; i < k->n; i++)
        mini_value_free(&k->values[i]);
    free(k->values);
    free(k->suffix);
    *k = m->keys[--m->n];
}

static inline void mini_free(struct mini *m)
{
    while (m->n > 0)
        mini_key_free(m, &m->keys[0]);
    free(m->keys);
    *m = (struct mini){0};
}

static inline struct mini_key *mini_find(struct mini *m, const char *suffix, size_t len)
{
    for (size_t i = 0; i < m->n; i++)
        if (strlen(m->keys[i].suffix) == len && memcmp(m->keys[i].suffix, suffix, len) == 0)
            return &m->keys[i];
    return NULL;
}

static inline struct mini_key *mini_open(struct mini *m, const char *suffix, size_t len, bool list)
{
    struct mini_key *k = mini_find(m, suffix, len);
    m->effects++;
    if (!k) {
        m->keys = realloc(m->keys, (m->n + 1) * sizeof *m->keys);
        k = &m->keys[m->n++];
        *k = (struct mini_key){.suffix = mini_copy(suffix, len), .list = list};
    }
    cr_assert_eq(k->list, list, "'%s' has the wrong type", k->suffix);
    return k;
}

/* Redis removes a key with its last element. */
static inline void mini_close(struct mini *m, struct mini_key *k)
{
    if (k->n == 0)
        mini_key_free(m, k);
}

static inline struct mini_value mini_value_of(const char *name, size_t name_len,
                                              const struct type *t, const struct cell *v)
{
    size_t len;
    cr_assert(cell_is_value(v), "an effect must carry a value");
    const uint8_t *p = cell_bytes(v, &len);
    return (struct mini_value){mini_copy(name, name_len), name_len, mini_copy(p, len), len,
                               type_bare(t)->kind};
}

static inline void mini_insert(struct mini_key *k, size_t i, struct mini_value v)
{
    cr_assert_leq(i, k->n, "insert at %zu of %zu in '%s'", i, k->n, k->suffix);
    k->values = realloc(k->values, (k->n + 1) * sizeof v);
    memmove(&k->values[i + 1], &k->values[i], (k->n - i) * sizeof v);
    k->values[i] = v;
    k->n++;
}

static inline void mini_remove(struct mini_key *k, size_t i)
{
    mini_value_free(&k->values[i]);
    memmove(&k->values[i], &k->values[i + 1], (--k->n - i) * sizeof *k->values);
}

static inline struct mini_value *mini_field(struct mini_key *k, const char *name, size_t len)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->values[i].name_len == len && memcmp(k->values[i].name, name, len) == 0)
            return &k->values[i];
    return NULL;
}

/* What is changed: a field, or a member, which is named by what it is. */
static inline const char *mini_name(const struct effect *e, size_t *len)
{
    *len = e->field_len;
    return e->field ? e->field : (const char *)cell_bytes(e->value, len);
}

static inline void mini_field_set(struct mini_key *k, const struct effect *e, const struct type *t,
                                  const struct cell *v)
{
    size_t len;
    const char *name = mini_name(e, &len);
    struct mini_value *old = mini_field(k, name, len);
    struct cell score = cell_float(e->score);
    struct mini_value now = mini_value_of(name, len, t, e->in == TYPE_SORTED ? &score : v);
    if (old) {
        mini_value_free(old);
        *old = now;
    } else {
        mini_insert(k, k->n, now);
    }
}

static inline void mini_field_incr(struct mini_key *k, const struct effect *e)
{
    static const struct type t = {.kind = TYPE_INT};
    struct mini_value *old = mini_field(k, e->field, e->field_len);
    int64_t had;
    cr_assert(old, "increment of '%.*s', which is not there", (int)e->field_len, e->field);
    struct cell c = cell_value(old->bytes, old->len);
    cr_assert_eq(cell_get_int(&c, &had), 0);
    cell_free(&c);
    cr_assert_eq(had + e->by, e->now, "told %lld, Redis would have %lld", (long long)e->now,
                 (long long)(had + e->by));
    c = cell_int(e->now);
    mini_field_set(k, e, &t, &c);
    cell_free(&c);
}

static inline void mini_field_del(struct mini_key *k, const struct effect *e)
{
    size_t len;
    const char *name = mini_name(e, &len);
    struct mini_value *old = mini_field(k, name, len);
    if (old)
        mini_remove(k, (size_t)(old - k->values));
}

static inline void mini_list_set(struct mini_key *k, const struct effect *e)
{
    cr_assert_lt(e->index, k->n);
    mini_value_free(&k->values[e->index]);
    k->values[e->index] = mini_value_of("", 0, e->type, e->value);
}

static inline void mini_list_remove(struct mini_key *k, const struct effect *e)
{
    cr_assert_eq(k->n, e->len_before);
    cr_assert_leq(e->index + e->count, k->n);
    for (size_t n = e->count; n > 0; n--)
        mini_remove(k, e->index);
}

static inline void mini_tell(void *arg, const struct effect *e)
{
    struct mini *m = arg;
    struct mini_key *k = NULL;
    if (e->kind == EFFECT_DROP) {
        m->effects++;
        if ((k = mini_find(m, e->suffix, e->suffix_len)))
            mini_key_free(m, k);
        return;
    }
    k = mini_open(m, e->suffix, e->suffix_len, e->kind >= EFFECT_PUSH);
    switch (e->kind) {
    case EFFECT_FIELD_SET: mini_field_set(k, e, e->type, e->value); break;
    case EFFECT_FIELD_INCR:
        m->incrs++;
        mini_field_incr(k, e);
        break;
    case EFFECT_FIELD_DEL: mini_field_del(k, e); break;
    case EFFECT_PUSH: mini_insert(k, k->n, mini_value_of("", 0, e->type, e->value)); break;
    case EFFECT_PUSH_FRONT: mini_insert(k, 0, mini_value_of("", 0, e->type, e->value)); break;
    case EFFECT_LIST_SET: mini_list_set(k, e); break;
    case EFFECT_LIST_INSERT:
        mini_insert(k, e->index, mini_value_of("", 0, e->type, e->value));
        break;
    case EFFECT_LIST_REMOVE: mini_list_remove(k, e); break;
    case EFFECT_DROP: break;
    }
    mini_close(m, k);
}

static inline struct mini mini_of(const struct record *r)
{
    struct mini m = {0};
    record_emit(r, "", "", mini_tell, &m);
    return m;
}

static inline bool mini_same_value(const struct mini_value *a, const struct mini_value *b)
{
    return b && a->kind == b->kind && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* Writes the first difference into why; true when there is none. */
static inline bool mini_same(struct mini *a, struct mini *b, char *why, size_t size)
{
    for (size_t i = 0; i < a->n; i++) {
        struct mini_key *k = &a->keys[i], *o = mini_find(b, k->suffix, strlen(k->suffix));
        if (!o || o->list != k->list || o->n != k->n) {
            snprintf(why, size, "'%s' has %zu here and %zu there", k->suffix, k->n, o ? o->n : 0);
            return false;
        }
        for (size_t j = 0; j < k->n; j++) {
            struct mini_value *v = &k->values[j];
            if (mini_same_value(v, k->list ? &o->values[j] : mini_field(o, v->name, v->name_len)))
                continue;
            snprintf(why, size, "'%s' differs at '%s' %zu", k->suffix, v->name, j);
            return false;
        }
    }
    for (size_t i = 0; i < b->n; i++)
        if (!mini_find(a, b->keys[i].suffix, strlen(b->keys[i].suffix))) {
            snprintf(why, size, "'%s' is only there", b->keys[i].suffix);
            return false;
        }
    return true;
}

/* ---- running ---- */

struct fixture {
    struct schema *schema;
    struct record *root;
    struct mini redis;
    struct undo *undo;
    struct needs *needs;
    struct buf result;
    struct fault fault;
    size_t max_value;
    bool computes; /* what the last operation said */
};

static inline void fixture_open(struct fixture *x, const char *text)
{
    *x = (struct fixture){.schema = fixture_schema()};
    x->root = fixture_build(x->schema, "Doc", text);
    x->redis = mini_of(x->root);
}

static inline void fixture_close(struct fixture *x)
{
    undo_free(x->undo);
    record_free(x->root);
    schema_free(x->schema);
    mini_free(&x->redis);
    buf_free(&x->result);
    cr_assert_eq(tree_memory(), 0, "%zu bytes of trees were left", tree_memory());
}

/* params: [path, ...args] as MessagePack. */
static inline enum op_status fixture_run(struct fixture *x, enum op_kind kind, struct buf *params)
{
    struct cursor c = cursor_of(params->data, params->len);
    struct op op;
    uint32_t n;
    buf_clear(&x->result);
    x->fault = (struct fault){0};
    x->computes = false;
    cr_assert_eq(cursor_array(&c, &n), 0);
    if (op_parse(kind, &c, n, &op, &x->fault) < 0)
        return OP_REFUSED;
    struct op_run env = {.root = x->root,
                         .effects = mini_tell,
                         .effects_arg = &x->redis,
                         .undo = x->undo,
                         .needs = x->needs,
                         .max_value = x->max_value,
                         .computes = &x->computes,
                         .fault = &x->fault};
    return op_run(&op, &env, &x->result);
}

/* Runs method with params in words and wants the result in words (NULL: none). After each, the
 * miniature must hold what the tree says. */
static inline void fixture_does(struct fixture *x, const char *method, const char *params,
                                const char *wanted)
{
    struct buf p = BUF_INIT, w = BUF_INIT;
    char why[512];
    int kind = op_by_name(method, strlen(method));
    cr_assert_geq(kind, 0, "%s", method);
    wire_pack(&p, params);
    enum op_status st = fixture_run(x, (enum op_kind)kind, &p);
    cr_assert_eq(st, OP_DONE, "%s %s: %s %s", method, params, fault_name(x->fault.code),
                 x->fault.text);
    if (wanted)
        wire_pack(&w, wanted);
    cr_assert(w.len == x->result.len && (w.len == 0 || memcmp(w.data, x->result.data, w.len) == 0),
              "%s %s does not give %s", method, params, wanted ? wanted : "nothing");
    struct mini now = mini_of(x->root);
    cr_assert(mini_same(&x->redis, &now, why, sizeof why), "%s %s: %s", method, params, why);
    mini_free(&now);
    buf_free(&p);
    buf_free(&w);
}

/* Runs it and wants it refused with this code, and `text` in the words; nothing may change. */
static inline void fixture_refuses(struct fixture *x, const char *method, const char *params,
                                   enum fault_code code, const char *text)
{
    struct buf p = BUF_INIT;
    unsigned effects = x->redis.effects;
    int kind = op_by_name(method, strlen(method));
    cr_assert_geq(kind, 0, "%s", method);
    wire_pack(&p, params);
    cr_assert_eq(fixture_run(x, (enum op_kind)kind, &p), OP_REFUSED, "%s %s", method, params);
    cr_assert_eq(x->fault.code, code, "%s %s: %s %s", method, params, fault_name(x->fault.code),
                 x->fault.text);
    cr_assert(strstr(x->fault.text, text), "%s %s: '%s' lacks '%s'", method, params, x->fault.text,
              text);
    cr_assert_eq(x->redis.effects, effects, "%s %s told effects", method, params);
    cr_assert_eq(x->result.len, 0);
    buf_free(&p);
}

#endif
