/* op_number: arithmetic on int and float fields, elements and entries, as Python does it.
 *
 * Only an int's increment is told as one, since increments commute; whatever else is told as
 * the outcome, which is computed from what was there.
 */
#include "protocol/change.h"
#include <math.h>

struct number {
    bool real;
    int64_t i;
    double d;
};

static enum op_status over(struct run *run)
{
    char where[WHERE_MAX];
    return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: '%s' would not fit 64 bits", run_name(run),
                  run_where(run, where));
}

static enum op_status by_zero(struct run *run)
{
    char where[WHERE_MAX];
    return REFUSE(run, FAULT_BAD_VALUE, "%s: '%s' cannot be divided by zero", run_name(run),
                  run_where(run, where));
}

/* Rounds towards minus infinity; the remainder has the divisor's sign. */
static void floor_divide(int64_t a, int64_t b, int64_t *quotient, int64_t *rest)
{
    *quotient = a / b;
    *rest = a % b;
    if (*rest != 0 && (*rest < 0) != (b < 0)) {
        *quotient -= 1;
        *rest += b;
    }
}

static enum op_status divide(struct run *run, int64_t a, int64_t b, int64_t *out)
{
    enum op_kind kind = run->op->kind;
    int64_t quotient, rest;
    if (b == 0)
        return by_zero(run);
    if (a == INT64_MIN && b == -1) {
        if (kind != OP_NUM_MOD)
            return over(run);
        *out = 0;
        return OP_DONE;
    }
    floor_divide(a, b, &quotient, &rest);
    if (kind == OP_NUM_DIV && rest != 0) {
        char where[WHERE_MAX];
        return REFUSE(run, FAULT_BAD_VALUE,
                      "num.div: '%s' is an int and %lld / %lld is none; use num.floordiv, or a "
                      "float field",
                      run_where(run, where), (long long)a, (long long)b);
    }
    *out = kind == OP_NUM_MOD ? rest : quotient;
    return OP_DONE;
}

static enum op_status power(struct run *run, int64_t base, int64_t exponent, int64_t *out)
{
    int64_t result = 1;
    if (exponent < 0)
        return REFUSE(run, FAULT_BAD_VALUE,
                      "num.pow: the exponent of an int must not be negative, it is %lld",
                      (long long)exponent);
    for (;;) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return over(run);
        exponent >>= 1;
        if (exponent == 0)
            break;
        /* The square is a factor of what is to come, so its overflow is the result's. */
        if (__builtin_mul_overflow(base, base, &base))
            return over(run);
    }
    *out = result;
    return OP_DONE;
}

static enum op_status compute_int(struct run *run, int64_t a, int64_t b, int64_t *out)
{
    enum op_kind kind = run->op->kind;
    if (kind == OP_NUM_INCR)
        return __builtin_add_overflow(a, b, out) ? over(run) : OP_DONE;
    if (kind == OP_NUM_MUL)
        return __builtin_mul_overflow(a, b, out) ? over(run) : OP_DONE;
    return kind == OP_NUM_POW ? power(run, a, b, out) : divide(run, a, b, out);
}

static double mod(double a, double b)
{
    double rest = fmod(a, b);
    if (rest == 0)
        return copysign(0.0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

static double floor_div(double a, double b)
{
    double quotient = (a - mod(a, b)) / b, whole = floor(quotient);
    if (quotient == 0)
        return copysign(0.0, a / b);
    return quotient - whole > 0.5 ? whole + 1 : whole; /* the division may have rounded down */
}

static enum op_status compute_float(struct run *run, double a, double b, double *out)
{
    enum op_kind kind = run->op->kind;
    char where[WHERE_MAX];
    if (b == 0 && (kind == OP_NUM_DIV || kind == OP_NUM_FLOORDIV || kind == OP_NUM_MOD))
        return by_zero(run);
    double v = kind == OP_NUM_INCR       ? a + b
               : kind == OP_NUM_MUL      ? a * b
               : kind == OP_NUM_DIV      ? a / b
               : kind == OP_NUM_FLOORDIV ? floor_div(a, b)
               : kind == OP_NUM_MOD      ? mod(a, b)
                                         : pow(a, b);
    if (!isfinite(v))
        return REFUSE(run, FAULT_BAD_VALUE, "%s: '%s' would be %s, which cannot be stored",
                      run_name(run), run_where(run, where), isnan(v) ? "not a number" : "infinite");
    *out = v;
    return OP_DONE;
}

/* The number at the place. *stored: it is there itself, not by default or as the start at 0. */
static enum op_status number_read(struct run *run, bool real, struct number *n, bool *stored)
{
    char where[WHERE_MAX];
    const uint8_t *p;
    size_t len;
    struct item it = {.kind = ITEM_INT};
    enum op_status st = value_read(run, &p, &len, stored);
    if (st != OP_DONE)
        return st;
    if (run->op->kind != OP_NUM_INCR)
        run_computes(run);
    if (!p && run->op->kind != OP_NUM_INCR)
        return REFUSE(run, FAULT_NOT_FOUND, "%s: '%s' was never set (num.incr starts at 0)",
                      run_name(run), run_where(run, where));
    struct cursor c = cursor_of(p, len);
    if (p && cursor_next(&c, &it) < 0)
        it.kind = ITEM_EXT;
    if (it.kind == ITEM_NIL)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s' is null; set it to a number first",
                      run_name(run), run_where(run, where));
    if (it.kind != ITEM_INT && !(real && it.kind == ITEM_FLOAT))
        return REFUSE(run, FAULT_INTERNAL, "%s: '%s' holds no number", run_name(run),
                      run_where(run, where));
    n->real = real;
    n->i = it.kind == ITEM_INT ? it.integer : 0;
    n->d = it.kind == ITEM_INT ? (double)it.integer : it.real;
    return OP_DONE;
}

static enum op_status number_arg(struct run *run, bool real, struct number *n)
{
    char where[WHERE_MAX];
    struct item it;
    if (cursor_next(&run->args, &it) < 0)
        return REFUSE(run, FAULT_BAD_REQUEST, "%s: the number is missing", run_name(run));
    if (it.kind == ITEM_FLOAT && !real)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s' is an int, the number must be one too",
                      run_name(run), run_where(run, where));
    if (it.kind == ITEM_UINT && !real)
        return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: the number does not fit 64 bits",
                      run_name(run));
    if (it.kind != ITEM_INT && it.kind != ITEM_UINT && it.kind != ITEM_FLOAT)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s' takes a number, not %s", run_name(run),
                      run_where(run, where), item_kind_name(it.kind));
    n->real = real;
    n->i = it.kind == ITEM_INT ? it.integer : 0;
    n->d = it.kind == ITEM_FLOAT  ? it.real
           : it.kind == ITEM_UINT ? (double)it.uinteger
                                  : (double)it.integer;
    return OP_DONE;
}

enum op_status run_number(struct run *run)
{
    const struct place *at = &run->at;
    char where[WHERE_MAX], have[TYPE_NAME_MAX];
    struct number now, by;
    bool stored;
    enum type_kind kind = at->type ? type_bare(at->type)->kind : TYPE_MODEL;
    bool real = kind == TYPE_FLOAT;
    if (kind == TYPE_DECIMAL)
        return run_decimal(run);
    if (kind != TYPE_INT && !real)
        return REFUSE(run, FAULT_BAD_TYPE, "%s needs an int, float or decimal: '%s' is %s",
                      run_name(run), run_where(run, where),
                      at->type ? type_name(at->type, have, sizeof have) : "the document");
    enum op_status st = check_not_key(run);
    if (st != OP_DONE || (st = number_arg(run, real, &by)) != OP_DONE ||
        (st = number_read(run, real, &now, &stored)) != OP_DONE)
        return st;
    if (real || run->op->kind != OP_NUM_INCR || !stored)
        run_computes(run);
    if (real) {
        double v;
        if ((st = compute_float(run, now.d, by.d, &v)) != OP_DONE ||
            (st = place_store(run, cell_float(v))) != OP_DONE)
            return st;
        pack_float(run->result, v);
        return OP_DONE;
    }
    int64_t v;
    if ((st = compute_int(run, now.i, by.i, &v)) != OP_DONE)
        return st;
    if (run->op->kind == OP_NUM_INCR && stored)
        st = place_store_incr(run, by.i, v);
    else
        st = place_store(run, cell_int(v));
    if (st == OP_DONE)
        pack_int(run->result, v);
    return st;
}
