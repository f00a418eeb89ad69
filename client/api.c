/* api: the operations of rapyer.h, each a few words to operation.h. */
#include "client/operation.h"
#include "client/shared.h"
#include "client/value.h"
#include <stdlib.h>

/* What an operation answered that returns a number: a length, a count, 0 or 1. */
static int64_t number(struct operation *o)
{
    rapyer_value *v;
    if (operation_end(o, &v) < 0)
        return -1;
    int64_t n = rapyer_kind_of(v) == RAPYER_BOOL ? rapyer_bool(v, "", false) : rapyer_int(v, "", 0);
    rapyer_value_free(v);
    return n;
}

/* The operations that take one value, as a template. */
#define WITH_VALUE(o, at, kind, path, fmt)  \
    do {                                    \
        va_list ap_;                        \
        va_start(ap_, fmt);                 \
        operation_begin(o, at, kind, path); \
        operation_value(o, fmt, &ap_);      \
        va_end(ap_);                        \
    } while (0)

int rapyer_set(rapyer_doc *at, const char *path, const char *fmt, ...)
{
    struct operation o;
    WITH_VALUE(&o, at, OP_SET, path, fmt);
    return operation_end(&o, NULL);
}

/* ---- conditions ---- */

static int condition(rapyer_doc *at, const char *path, int64_t decides, const char *fmt,
                     va_list *ap)
{
    struct operation o;
    operation_begin(&o, at, OP_IF, path);
    operation_value(&o, fmt, ap);
    if (decides > 0)
        operation_int(&o, decides);
    return (int)number(&o);
}

int rapyer_if(rapyer_doc *at, const char *path, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = condition(at, path, 0, fmt, &ap);
    va_end(ap);
    return rc;
}

int rapyer_if_next(rapyer_doc *at, const char *path, unsigned decides, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = condition(at, path, decides, fmt, &ap);
    va_end(ap);
    return rc;
}

/* ---- numbers ---- */

static int arithmetic(rapyer_doc *at, enum op_kind kind, const char *path, int64_t by, int64_t *now)
{
    struct operation o;
    rapyer_value *v;
    int rc = 0;
    operation_begin(&o, at, kind, path);
    operation_int(&o, by);
    if (operation_end(&o, now ? &v : NULL) < 0)
        return -1;
    if (!now)
        return 0;
    if (rapyer_kind_of(v) == RAPYER_INT)
        *now = v->integer;
    else if (rapyer_kind_of(v) != RAPYER_NULL) /* in a pipeline: not known yet */
        rc = db_failf(at->home->db, FAULT_BAD_TYPE,
                      "it was done, but '%s' is a float: use the function that ends in f", path);
    rapyer_value_free(v);
    return rc;
}

static int arithmetic_f(rapyer_doc *at, enum op_kind kind, const char *path, double by, double *now)
{
    struct operation o;
    rapyer_value *v;
    operation_begin(&o, at, kind, path);
    pack_float(&o.args, by);
    o.nargs++;
    if (operation_end(&o, now ? &v : NULL) < 0)
        return -1;
    if (now) {
        *now = rapyer_float(v, "", *now);
        rapyer_value_free(v);
    }
    return 0;
}

#define ARITHMETIC(name, kind)                                                     \
    int rapyer_##name(rapyer_doc *at, const char *path, int64_t by, int64_t *now)  \
    {                                                                              \
        return arithmetic(at, kind, path, by, now);                                \
    }                                                                              \
    int rapyer_##name##f(rapyer_doc *at, const char *path, double by, double *now) \
    {                                                                              \
        return arithmetic_f(at, kind, path, by, now);                              \
    }

ARITHMETIC(incr, OP_NUM_INCR)
ARITHMETIC(mul, OP_NUM_MUL)
ARITHMETIC(div, OP_NUM_DIV)
ARITHMETIC(floordiv, OP_NUM_FLOORDIV)
ARITHMETIC(mod, OP_NUM_MOD)
ARITHMETIC(pow, OP_NUM_POW)

/* ---- str, bytes, datetime ---- */

int rapyer_str_append(rapyer_doc *at, const char *path, const char *text)
{
    struct operation o;
    operation_begin(&o, at, OP_STR_APPEND, path);
    operation_str(&o, text);
    return operation_end(&o, NULL);
}

int rapyer_str_repeat(rapyer_doc *at, const char *path, int64_t times)
{
    struct operation o;
    operation_begin(&o, at, OP_STR_REPEAT, path);
    operation_int(&o, times);
    return operation_end(&o, NULL);
}

int rapyer_bytes_append(rapyer_doc *at, const char *path, const void *p, size_t len)
{
    struct operation o;
    operation_begin(&o, at, OP_BYTES_APPEND, path);
    pack_bin(&o.args, p, len);
    o.nargs++;
    return operation_end(&o, NULL);
}

int rapyer_time_add(rapyer_doc *at, const char *path, double seconds)
{
    struct operation o;
    operation_begin(&o, at, OP_DATETIME_ADD, path);
    pack_float(&o.args, seconds);
    o.nargs++;
    return operation_end(&o, NULL);
}

/* ---- lists ---- */

int64_t rapyer_append(rapyer_doc *at, const char *path, const char *fmt, ...)
{
    struct operation o;
    WITH_VALUE(&o, at, OP_LIST_APPEND, path, fmt);
    return number(&o);
}

int64_t rapyer_extend(rapyer_doc *at, const char *path, const char *fmt, ...)
{
    struct operation o;
    WITH_VALUE(&o, at, OP_LIST_EXTEND, path, fmt);
    return number(&o);
}

int64_t rapyer_extend_strs(rapyer_doc *at, const char *path, const char *const *strs, size_t n)
{
    struct operation o;
    operation_begin(&o, at, OP_LIST_EXTEND, path);
    pack_array(&o.args, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        if (strs[i])
            pack_cstr(&o.args, strs[i]);
        else
            pack_nil(&o.args);
    }
    o.nargs++;
    return number(&o);
}

int64_t rapyer_insert(rapyer_doc *at, const char *path, int64_t index, const char *fmt, ...)
{
    struct operation o;
    va_list ap;
    operation_begin(&o, at, OP_LIST_INSERT, path);
    operation_int(&o, index);
    va_start(ap, fmt);
    operation_value(&o, fmt, &ap);
    va_end(ap);
    return number(&o);
}

int rapyer_list_set(rapyer_doc *at, const char *path, int64_t index, const char *fmt, ...)
{
    struct operation o;
    va_list ap;
    operation_begin(&o, at, OP_LIST_SET, path);
    operation_int(&o, index);
    va_start(ap, fmt);
    operation_value(&o, fmt, &ap);
    va_end(ap);
    return operation_end(&o, NULL);
}

rapyer_value *rapyer_pop(rapyer_doc *at, const char *path, int64_t index)
{
    struct operation o;
    rapyer_value *v;
    operation_begin(&o, at, OP_LIST_POP, path);
    operation_int(&o, index);
    operation_end(&o, &v);
    return v;
}

int64_t rapyer_remove_range(rapyer_doc *at, const char *path, int64_t from, int64_t to)
{
    struct operation o;
    operation_begin(&o, at, OP_LIST_REMOVE_RANGE, path);
    operation_int(&o, from);
    operation_int(&o, to);
    return number(&o);
}

int rapyer_list_remove(rapyer_doc *at, const char *path, const char *fmt, ...)
{
    struct operation o;
    WITH_VALUE(&o, at, OP_LIST_REMOVE, path, fmt);
    return (int)number(&o);
}

int rapyer_list_index(rapyer_doc *at, const char *path, int64_t *index, const char *fmt, ...)
{
    struct operation o;
    rapyer_value *v;
    WITH_VALUE(&o, at, OP_LIST_INDEX, path, fmt);
    if (operation_end(&o, &v) < 0)
        return -1;
    int there = rapyer_kind_of(v) != RAPYER_NULL;
    if (there && index)
        *index = rapyer_int(v, "", 0);
    rapyer_value_free(v);
    return there;
}

int rapyer_list_move(rapyer_doc *at, const char *path, int64_t from, int64_t to)
{
    struct operation o;
    operation_begin(&o, at, OP_LIST_MOVE, path);
    operation_int(&o, from);
    operation_int(&o, to);
    return operation_end(&o, NULL);
}

rapyer_value *rapyer_pop_many(rapyer_doc *at, const char *path, int64_t n)
{
    struct operation o;
    rapyer_value *v;
    operation_begin(&o, at, OP_LIST_POP_MANY, path);
    operation_int(&o, n);
    return operation_end(&o, &v) < 0 ? NULL : v;
}

int rapyer_list_clear(rapyer_doc *at, const char *path)
{
    struct operation o;
    operation_begin(&o, at, OP_LIST_CLEAR, path);
    return operation_end(&o, NULL);
}

/* ---- sets ---- */

#define SET_ANSWERS_NUMBER(type, name, kind)                          \
    type name(rapyer_doc *at, const char *path, const char *fmt, ...) \
    {                                                                 \
        struct operation o;                                           \
        WITH_VALUE(&o, at, kind, path, fmt);                          \
        return (type)number(&o);                                      \
    }

SET_ANSWERS_NUMBER(int, rapyer_set_add, OP_SET_ADD)
SET_ANSWERS_NUMBER(int64_t, rapyer_set_add_many, OP_SET_ADD_MANY)
SET_ANSWERS_NUMBER(int, rapyer_set_remove, OP_SET_REMOVE)
SET_ANSWERS_NUMBER(int, rapyer_set_has, OP_SET_HAS)
SET_ANSWERS_NUMBER(int64_t, rapyer_set_unite, OP_SET_UNITE)
SET_ANSWERS_NUMBER(int64_t, rapyer_set_intersect, OP_SET_INTERSECT)
SET_ANSWERS_NUMBER(int64_t, rapyer_set_subtract, OP_SET_SUBTRACT)

#define SET_ANSWERS_SET(name, kind)                                            \
    rapyer_value *name(rapyer_doc *at, const char *path, const char *fmt, ...) \
    {                                                                          \
        struct operation o;                                                    \
        rapyer_value *v;                                                       \
        WITH_VALUE(&o, at, kind, path, fmt);                                   \
        return operation_end(&o, &v) < 0 ? NULL : v;                           \
    }

SET_ANSWERS_SET(rapyer_set_union, OP_SET_UNION)
SET_ANSWERS_SET(rapyer_set_intersection, OP_SET_INTERSECTION)
SET_ANSWERS_SET(rapyer_set_difference, OP_SET_DIFFERENCE)

rapyer_value *rapyer_set_pop(rapyer_doc *at, const char *path)
{
    struct operation o;
    rapyer_value *v;
    operation_begin(&o, at, OP_SET_POP, path);
    return operation_end(&o, &v) < 0 ? NULL : v;
}

int rapyer_set_clear(rapyer_doc *at, const char *path)
{
    struct operation o;
    operation_begin(&o, at, OP_SET_CLEAR, path);
    return operation_end(&o, NULL);
}

int64_t rapyer_set_size(rapyer_doc *at, const char *path)
{
    struct operation o;
    operation_begin(&o, at, OP_SET_SIZE, path);
    return number(&o);
}

/* ---- sorted ---- */

static rapyer_value *answer(struct operation *o)
{
    rapyer_value *v;
    return operation_end(o, &v) < 0 ? NULL : v;
}

/* The operations whose last arguments are a member, as a template, and a number. */
#define MEMBER_AND_NUMBER(o, at, kind, path, fmt, n) \
    do {                                             \
        WITH_VALUE(o, at, kind, path, fmt);          \
        operation_float(o, n);                       \
    } while (0)

int rapyer_sorted_push(rapyer_doc *at, const char *path, double score, const char *fmt, ...)
{
    struct operation o;
    MEMBER_AND_NUMBER(&o, at, OP_SORTED_PUSH, path, fmt, score);
    return (int)number(&o);
}

SET_ANSWERS_NUMBER(int64_t, rapyer_sorted_push_many, OP_SORTED_PUSH_MANY)
SET_ANSWERS_NUMBER(int, rapyer_sorted_remove, OP_SORTED_REMOVE)

int rapyer_sorted_incr(rapyer_doc *at, const char *path, double by, double *now, const char *fmt,
                       ...)
{
    struct operation o;
    MEMBER_AND_NUMBER(&o, at, OP_SORTED_INCR, path, fmt, by);
    rapyer_value *v;
    if (operation_end(&o, &v) < 0)
        return -1;
    if (now)
        *now = rapyer_float(v, "", *now);
    rapyer_value_free(v);
    return 0;
}

static rapyer_value *at_end(rapyer_doc *at, enum op_kind kind, const char *path, int64_t n)
{
    struct operation o;
    operation_begin(&o, at, kind, path);
    if (n >= 0)
        operation_int(&o, n);
    return answer(&o);
}

rapyer_value *rapyer_pop_min(rapyer_doc *at, const char *path, int64_t n)
{
    return at_end(at, OP_SORTED_POP_MIN, path, n);
}

rapyer_value *rapyer_pop_max(rapyer_doc *at, const char *path, int64_t n)
{
    return at_end(at, OP_SORTED_POP_MAX, path, n);
}

rapyer_value *rapyer_peek(rapyer_doc *at, const char *path, int64_t n)
{
    return at_end(at, OP_SORTED_PEEK, path, n);
}

int rapyer_sorted_score(rapyer_doc *at, const char *path, double *score, const char *fmt, ...)
{
    struct operation o;
    rapyer_value *v;
    WITH_VALUE(&o, at, OP_SORTED_SCORE, path, fmt);
    if (operation_end(&o, &v) < 0)
        return -1;
    int there = rapyer_kind_of(v) != RAPYER_NULL;
    if (there && score)
        *score = rapyer_float(v, "", 0);
    rapyer_value_free(v);
    return there;
}

int rapyer_sorted_rank(rapyer_doc *at, const char *path, int64_t *rank, const char *fmt, ...)
{
    struct operation o;
    rapyer_value *v;
    WITH_VALUE(&o, at, OP_SORTED_RANK, path, fmt);
    if (operation_end(&o, &v) < 0)
        return -1;
    int there = rapyer_kind_of(v) != RAPYER_NULL;
    if (there && rank)
        *rank = rapyer_int(v, "", 0);
    rapyer_value_free(v);
    return there;
}

static void by_rank(struct operation *o, rapyer_doc *at, enum op_kind kind, const char *path,
                    int64_t from, int64_t to)
{
    operation_begin(o, at, kind, path);
    operation_int(o, from);
    operation_int(o, to);
}

static void by_score(struct operation *o, rapyer_doc *at, enum op_kind kind, const char *path,
                     double lowest, double highest)
{
    operation_begin(o, at, kind, path);
    operation_float(o, lowest);
    operation_float(o, highest);
}

rapyer_value *rapyer_sorted_range(rapyer_doc *at, const char *path, int64_t from, int64_t to)
{
    struct operation o;
    by_rank(&o, at, OP_SORTED_RANGE, path, from, to);
    return answer(&o);
}

int64_t rapyer_sorted_remove_range(rapyer_doc *at, const char *path, int64_t from, int64_t to)
{
    struct operation o;
    by_rank(&o, at, OP_SORTED_REMOVE_RANGE, path, from, to);
    return number(&o);
}

rapyer_value *rapyer_sorted_range_by_score(rapyer_doc *at, const char *path, double lowest,
                                           double highest)
{
    struct operation o;
    by_score(&o, at, OP_SORTED_RANGE_BY_SCORE, path, lowest, highest);
    return answer(&o);
}

int64_t rapyer_sorted_remove_by_score(rapyer_doc *at, const char *path, double lowest,
                                      double highest)
{
    struct operation o;
    by_score(&o, at, OP_SORTED_REMOVE_BY_SCORE, path, lowest, highest);
    return number(&o);
}

int64_t rapyer_sorted_size(rapyer_doc *at, const char *path)
{
    struct operation o;
    operation_begin(&o, at, OP_SORTED_SIZE, path);
    return number(&o);
}

int rapyer_sorted_clear(rapyer_doc *at, const char *path)
{
    struct operation o;
    operation_begin(&o, at, OP_SORTED_CLEAR, path);
    return operation_end(&o, NULL);
}

/* ---- dicts ---- */

int rapyer_update(rapyer_doc *at, const char *path, const char *fmt, ...)
{
    struct operation o;
    WITH_VALUE(&o, at, OP_DICT_UPDATE, path, fmt);
    return operation_end(&o, NULL);
}

int rapyer_dict_set(rapyer_doc *at, const char *path, const char *key, const char *fmt, ...)
{
    struct operation o;
    va_list ap;
    operation_begin(&o, at, OP_DICT_SET, path);
    operation_str(&o, key);
    va_start(ap, fmt);
    operation_value(&o, fmt, &ap);
    va_end(ap);
    return operation_end(&o, NULL);
}

int rapyer_dict_del(rapyer_doc *at, const char *path, const char *key)
{
    struct operation o;
    operation_begin(&o, at, OP_DICT_DEL, path);
    operation_str(&o, key);
    return (int)number(&o);
}

rapyer_value *rapyer_dict_pop(rapyer_doc *at, const char *path, const char *key, const char *fmt,
                              ...)
{
    struct operation o;
    rapyer_value *v;
    va_list ap;
    operation_begin(&o, at, OP_DICT_POP, path);
    operation_str(&o, key);
    va_start(ap, fmt);
    if (fmt)
        operation_value(&o, fmt, &ap);
    va_end(ap);
    operation_end(&o, &v);
    return v;
}

rapyer_value *rapyer_dict_popitem(rapyer_doc *at, const char *path)
{
    struct operation o;
    rapyer_value *v;
    operation_begin(&o, at, OP_DICT_POPITEM, path);
    operation_end(&o, &v);
    return v;
}

int rapyer_dict_clear(rapyer_doc *at, const char *path)
{
    struct operation o;
    operation_begin(&o, at, OP_DICT_CLEAR, path);
    return operation_end(&o, NULL);
}

rapyer_value *rapyer_load(rapyer_doc *at, const char *path)
{
    struct operation o;
    rapyer_value *v;
    bool lost = at && at->lock && hold_check(at->lock) < 0; /* as the operation will say */
    v = at && !lost ? shared_place(at, path) : NULL;
    if (v)
        return v;
    operation_begin(&o, at, OP_LOAD, path);
    operation_end(&o, &v);
    return v;
}

rapyer_value *rapyer_load_range(rapyer_doc *at, const char *path, int64_t from, int64_t to)
{
    struct operation o;
    rapyer_value *v;
    operation_begin(&o, at, OP_LOAD, path);
    operation_range(&o, from, to);
    operation_end(&o, &v);
    return v;
}
