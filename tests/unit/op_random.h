/* op_random: operations at random places of a document, most of them possible, from a seed.
 *
 * Pks and keys come from a handful, so that they meet often.
 */
#ifndef TESTS_UNIT_OP_RANDOM_H
#define TESTS_UNIT_OP_RANDOM_H

#include "op_fixture.h"
#include "random_value.h"

static inline unsigned dice(uint64_t *seed, unsigned sides)
{
    return (unsigned)(random_next(seed) % sides);
}

static inline void random_name(struct buf *b, uint64_t *seed, char kind, unsigned names)
{
    char name[8];
    snprintf(name, sizeof name, "%c%u", kind, dice(seed, names));
    pack_cstr(b, name);
}

static inline void random_of_type(struct buf *b, uint64_t *seed, const struct type *t,
                                  bool element);

static inline void random_record(struct buf *b, uint64_t *seed, const struct model *m, bool element)
{
    uint32_t n = 0;
    size_t at = pack_map_open(b);
    if (element && m->key_field < 0 && dice(seed, 4)) {
        pack_cstr(b, "@pk");
        random_name(b, seed, 'p', 6);
        n++;
    }
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct field *f = &m->fields[i];
        bool container = type_container(f->type);
        bool needed = !f->fallback && !container && f->type->kind != TYPE_OPTIONAL;
        if (!needed && dice(seed, 3) == 0)
            continue;
        pack_str(b, f->name, f->name_len);
        if ((int)i == m->key_field)
            random_name(b, seed, 'p', 6);
        else
            random_of_type(b, seed, f->type, false);
        n++;
    }
    pack_map_close(b, at, n);
}

static inline void random_scalar(struct buf *b, uint64_t *seed, enum type_kind kind)
{
    static const char *const words[] = {"", "a", "word", "a longer piece of text", "\xc3\xa9"};
    const char *w = words[dice(seed, 5)];
    switch (kind) {
    case TYPE_INT: pack_int(b, (int64_t)dice(seed, 9) - 4); break;
    case TYPE_FLOAT: pack_float(b, ((double)dice(seed, 17) - 8) / 4); break;
    case TYPE_BOOL: pack_bool(b, dice(seed, 2)); break;
    case TYPE_STR: pack_cstr(b, w); break;
    case TYPE_BYTES: pack_bin(b, w, strlen(w)); break;
    case TYPE_DATETIME: pack_time(b, (int64_t)dice(seed, 1000000), dice(seed, 3)); break;
    default:
        pack_array(b, 2);
        pack_cstr(b, w);
        pack_nil(b);
        break;
    }
}

/* A list of different values of a type that has many. */
static inline void random_members(struct buf *b, uint64_t *seed, const struct type *of)
{
    size_t at = pack_array_open(b);
    uint32_t n = 0;
    for (unsigned i = 0; i < 6; i++) {
        if (dice(seed, 2))
            continue;
        if (of->kind == TYPE_INT)
            pack_int(b, (int64_t)i - 2);
        else
            pack_str(b, &"abcdef"[i], 1);
        n++;
    }
    pack_array_close(b, at, n);
}

static inline void random_scored(struct buf *b, uint64_t *seed, const struct type *of)
{
    size_t at = pack_array_open(b);
    uint32_t n = 0;
    for (unsigned i = 0; i < 6; i++) {
        if (dice(seed, 2))
            continue;
        pack_array(b, 2);
        if (of->kind == TYPE_INT)
            pack_int(b, (int64_t)i - 2);
        else
            pack_str(b, &"abcdef"[i], 1);
        pack_float(b, ((double)dice(seed, 9) - 4) / 2);
        n++;
    }
    pack_array_close(b, at, n);
}

static inline void random_member(struct buf *b, uint64_t *seed, const struct type *of)
{
    unsigned i = dice(seed, 6);
    if (of->kind == TYPE_INT)
        pack_int(b, (int64_t)i - 2);
    else
        pack_str(b, &"abcdef"[i], 1);
}

static inline void random_of_type(struct buf *b, uint64_t *seed, const struct type *t, bool element)
{
    size_t at;
    uint32_t n = 0;
    t = type_within(t);
    switch (t->kind) {
    case TYPE_OPTIONAL:
    case TYPE_MAYBE:
        if (dice(seed, 4) == 0)
            pack_nil(b);
        else
            random_of_type(b, seed, t->of, false);
        break;
    case TYPE_LIST:
        n = dice(seed, 4);
        pack_array(b, n);
        while (n-- > 0)
            random_of_type(b, seed, t->of, true);
        break;
    case TYPE_DICT:
        at = pack_map_open(b);
        for (unsigned i = 0; i < 5; i++) {
            char key[4] = {'k', (char)('0' + i)};
            if (dice(seed, 3))
                continue;
            pack_cstr(b, key);
            random_of_type(b, seed, t->of, true);
            n++;
        }
        pack_map_close(b, at, n);
        break;
    case TYPE_SET: random_members(b, seed, t->of); break;
    case TYPE_SORTED: random_scored(b, seed, t->of); break;
    case TYPE_MODEL: random_record(b, seed, t->model, element); break;
    default: random_scalar(b, seed, t->kind); break;
    }
}

/* A path into m that mostly leads somewhere; the type at its end. */
static inline const struct type *random_path(struct buf *path, uint64_t *seed,
                                             const struct model *m)
{
    const struct type *t;
    for (bool first = true;; first = false) {
        const struct field *f = &m->fields[dice(seed, m->nfields)];
        buf_printf(path, "%s%s", first ? "" : ".", f->name);
        t = f->type;
        while ((t->kind == TYPE_LIST || t->kind == TYPE_DICT) && dice(seed, 2)) {
            if (t->kind == TYPE_DICT)
                buf_printf(path, "[\"k%u\"]", dice(seed, 5));
            else if (type_atomic(t->of) && dice(seed, 2))
                buf_printf(path, "[\"p%u\"]", dice(seed, 6));
            else
                buf_printf(path, "[%d]", (int)dice(seed, 5) - 2);
            t = type_within(t->of);
        }
        if (t->kind == TYPE_MAYBE && dice(seed, 4))
            t = t->of;
        t = type_within(t);
        if (!type_atomic(t) || dice(seed, 8) == 0)
            return t;
        m = t->model;
    }
}

static inline enum op_kind random_kind(uint64_t *seed, const struct type *t)
{
    unsigned d = dice(seed, 10);
    if (d == 0)
        return (enum op_kind)dice(seed, OP_COUNT);
    if (d == 1)
        return OP_SET;
    switch (type_bare(t)->kind) {
    case TYPE_INT:
    case TYPE_FLOAT: return (enum op_kind)(OP_NUM_INCR + dice(seed, 6));
    case TYPE_STR: return dice(seed, 4) ? OP_STR_APPEND : OP_STR_REPEAT;
    case TYPE_BYTES: return OP_BYTES_APPEND;
    case TYPE_DATETIME: return OP_DATETIME_ADD;
    case TYPE_SORTED: return (enum op_kind)(OP_SORTED_PUSH + dice(seed, 15));
    case TYPE_SET: return (enum op_kind)(OP_SET_ADD + dice(seed, 13));
    case TYPE_LIST: return (enum op_kind)(OP_LIST_APPEND + dice(seed, 11));
    case TYPE_DICT: return (enum op_kind)(OP_DICT_UPDATE + dice(seed, 6));
    default: return dice(seed, 2) ? OP_SET : OP_LOAD;
    }
}

static inline uint32_t random_args(struct buf *b, uint64_t *seed, enum op_kind kind,
                                   const struct type *t)
{
    static const struct type type_int = {.kind = TYPE_INT};
    const struct type *of = t->of ? t->of : &type_int;
    bool optional = dice(seed, 2);
    switch (kind) {
    case OP_SET: random_of_type(b, seed, t, type_atomic(t) && dice(seed, 2)); return 1;
    case OP_NUM_INCR:
    case OP_NUM_MUL:
    case OP_NUM_DIV:
    case OP_NUM_FLOORDIV:
    case OP_NUM_MOD:
    case OP_NUM_POW:
    case OP_DATETIME_ADD: random_scalar(b, seed, dice(seed, 4) ? TYPE_INT : TYPE_FLOAT); return 1;
    case OP_STR_APPEND: random_scalar(b, seed, TYPE_STR); return 1;
    case OP_STR_REPEAT: pack_int(b, dice(seed, 3)); return 1;
    case OP_BYTES_APPEND: random_scalar(b, seed, TYPE_BYTES); return 1;
    case OP_IF:
        pack_map(b, 1);
        pack_cstr(b, optional ? "==" : "<");
        random_of_type(b, seed, t, false);
        return 1;
    case OP_LIST_APPEND: random_of_type(b, seed, of, true); return 1;
    case OP_LIST_EXTEND:
    case OP_DICT_UPDATE: random_of_type(b, seed, t, false); return 1;
    case OP_LIST_INSERT:
    case OP_LIST_SET:
        pack_int(b, (int64_t)dice(seed, 7) - 3);
        random_of_type(b, seed, of, true);
        return 2;
    case OP_LIST_POP:
        if (optional)
            pack_int(b, (int64_t)dice(seed, 7) - 3);
        return optional;
    case OP_LIST_REMOVE:
    case OP_LIST_INDEX: random_of_type(b, seed, of, true); return 1;
    case OP_LIST_POP_MANY: pack_int(b, (int64_t)dice(seed, 5) - 2); return 1;
    case OP_LIST_MOVE:
    case OP_LIST_REMOVE_RANGE:
        pack_int(b, (int64_t)dice(seed, 9) - 4);
        pack_int(b, (int64_t)dice(seed, 9) - 4);
        return 2;
    case OP_DICT_SET:
        random_name(b, seed, 'k', 5);
        random_of_type(b, seed, of, true);
        return 2;
    case OP_SET_ADD:
    case OP_SET_REMOVE:
    case OP_SET_HAS: random_member(b, seed, of); return 1;
    case OP_SET_UNION:
    case OP_SET_INTERSECTION:
    case OP_SET_DIFFERENCE:
    case OP_SET_UNITE:
    case OP_SET_INTERSECT:
    case OP_SET_SUBTRACT:
        if (dice(seed, 3) == 0) {
            pack_map(b, 1);
            pack_cstr(b, "path");
            pack_cstr(b, of->kind == TYPE_INT ? "others" : "labels");
            return 1;
        }
        random_members(b, seed, of);
        return 1;
    case OP_SET_ADD_MANY: random_members(b, seed, of); return 1;
    case OP_SORTED_PUSH:
    case OP_SORTED_INCR:
        random_member(b, seed, of);
        pack_int(b, (int64_t)dice(seed, 7) - 3);
        return 2;
    case OP_SORTED_PUSH_MANY: random_scored(b, seed, of); return 1;
    case OP_SORTED_REMOVE:
    case OP_SORTED_SCORE:
    case OP_SORTED_RANK: random_member(b, seed, of); return 1;
    case OP_SORTED_POP_MIN:
    case OP_SORTED_POP_MAX:
    case OP_SORTED_PEEK:
        if (optional)
            pack_int(b, dice(seed, 3));
        return optional;
    case OP_SORTED_RANGE:
    case OP_SORTED_REMOVE_RANGE:
        pack_int(b, (int64_t)dice(seed, 9) - 4);
        if (optional)
            pack_int(b, (int64_t)dice(seed, 9) - 4);
        return 1 + optional;
    case OP_SORTED_RANGE_BY_SCORE:
    case OP_SORTED_REMOVE_BY_SCORE:
        pack_int(b, (int64_t)dice(seed, 5) - 3);
        if (optional)
            pack_nil(b);
        else
            pack_int(b, (int64_t)dice(seed, 5) - 1);
        return 2;
    case OP_DICT_DEL:
    case OP_DICT_POP: random_name(b, seed, 'k', 5); return 1;
    default: return 0;
    }
}

/* [path, ...args] for an operation on a document of model m. */
static inline enum op_kind random_op(struct buf *params, uint64_t *seed, const struct model *m)
{
    struct buf path = BUF_INIT, args = BUF_INIT;
    const struct type *t = random_path(&path, seed, m);
    enum op_kind kind = random_kind(seed, t);
    uint32_t n = random_args(&args, seed, kind, t);
    pack_array(params, 1 + n);
    pack_str(params, (char *)path.data, path.len);
    if (args.len)
        buf_append(params, args.data, args.len);
    buf_free(&path);
    buf_free(&args);
    return kind;
}

/* Opens the fixture on a random document. */
static inline void random_open(struct fixture *x, uint64_t *seed)
{
    struct buf b = BUF_INIT;
    *x = (struct fixture){.schema = fixture_schema(), .max_value = 200};
    const struct model *m = schema_model(x->schema, "Doc", 3);
    while (!x->root) { /* the same pk twice in a list is refused */
        buf_clear(&b);
        random_record(&b, seed, m, false);
        struct cursor c = cursor_of(b.data, b.len);
        if (record_build(m, RECORD_ROOT, "d1", 2, &c, "", &x->root, &x->fault) < 0)
            cr_assert(strstr(x->fault.text, "pk"), "%s", x->fault.text);
    }
    buf_free(&b);
    x->redis = mini_of(x->root);
}

#endif
