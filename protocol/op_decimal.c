/* op_decimal: arithmetic on decimal fields, elements and entries; exact, or refused.
 *
 * What is told is the outcome, which is computed from what was there. The number is a str in
 * decimal, or an int.
 */
#include "protocol/change.h"
#include "protocol/decimal.h"
#include <stdio.h>

static enum op_status decimal_arg(struct run *run, struct decimal *d)
{
    char where[WHERE_MAX];
    struct item it;
    if (cursor_next(&run->args, &it) < 0)
        return REFUSE(run, FAULT_BAD_REQUEST, "%s: the number is missing", run_name(run));
    if (it.kind == ITEM_INT) {
        *d = (struct decimal){it.integer, 0};
        return OP_DONE;
    }
    if (it.kind == ITEM_STR && decimal_read((const char *)it.bytes.p, it.bytes.len, d))
        return OP_DONE;
    return REFUSE(run, it.kind == ITEM_STR ? FAULT_BAD_VALUE : FAULT_BAD_TYPE,
                  "%s: '%s' is a decimal: it takes an int, or a str like \"-12.50\"", run_name(run),
                  run_where(run, where));
}

static enum op_status decimal_now(struct run *run, struct decimal *d)
{
    char where[WHERE_MAX];
    const uint8_t *p;
    const char *s;
    size_t len;
    bool stored;
    enum op_status st = value_read(run, &p, &len, &stored);
    if (st != OP_DONE)
        return st;
    *d = (struct decimal){0};
    if (!p && run->op->kind == OP_NUM_INCR)
        return OP_DONE;
    if (!p)
        return REFUSE(run, FAULT_NOT_FOUND, "%s: '%s' was never set (num.incr starts at 0)",
                      run_name(run), run_where(run, where));
    struct cursor in = cursor_of(p, len);
    if (cursor_str(&in, &s, &len) == 0 && decimal_read(s, len, d))
        return OP_DONE;
    return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s' is null; set it to a number first", run_name(run),
                  run_where(run, where));
}

static bool power(struct decimal base, int64_t exponent, struct decimal *out)
{
    *out = (struct decimal){1, 0};
    if (base.digits == 0 || (base.scale == 0 && base.digits == 1)) {
        *out = exponent == 0 ? *out : base;
        return true;
    }
    for (; exponent > 0; exponent--) {
        if (exponent > 2 * DECIMAL_DIGITS * 4 || !decimal_mul(*out, base, out))
            return false;
    }
    return true;
}

static enum op_status compute(struct run *run, struct decimal a, struct decimal b,
                              struct decimal *out)
{
    char where[WHERE_MAX];
    enum op_kind kind = run->op->kind;
    struct decimal quotient, rest;
    bool divides = kind == OP_NUM_DIV || kind == OP_NUM_FLOORDIV || kind == OP_NUM_MOD;
    bool done;
    if (divides && b.digits == 0)
        return REFUSE(run, FAULT_BAD_VALUE, "%s: '%s' cannot be divided by zero", run_name(run),
                      run_where(run, where));
    if (kind == OP_NUM_POW && (b.scale != 0 || b.digits < 0 || b.digits > INT64_MAX))
        return REFUSE(run, FAULT_BAD_VALUE,
                      "num.pow: the exponent of a decimal must be an int from 0 on");
    if (kind == OP_NUM_INCR) {
        done = decimal_add(a, b, out);
    } else if (kind == OP_NUM_MUL) {
        done = decimal_mul(a, b, out);
    } else if (kind == OP_NUM_POW) {
        done = power(a, (int64_t)b.digits, out);
    } else if (kind == OP_NUM_DIV) {
        done = decimal_div(a, b, out);
    } else {
        done = decimal_floordiv(a, b, &quotient, &rest);
        *out = kind == OP_NUM_MOD ? rest : quotient;
    }
    if (done)
        return OP_DONE;
    return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: '%s' would have more than %d digits%s",
                  run_name(run), run_where(run, where), DECIMAL_DIGITS,
                  kind == OP_NUM_DIV ? "; num.floordiv and num.mod are exact" : "");
}

enum op_status run_decimal(struct run *run)
{
    struct decimal now, by, v;
    struct buf text = BUF_INIT;
    enum op_status st = check_not_key(run);
    if (st != OP_DONE || (st = decimal_arg(run, &by)) != OP_DONE ||
        (st = decimal_now(run, &now)) != OP_DONE || (st = compute(run, now, by, &v)) != OP_DONE)
        return st;
    run_computes(run);
    decimal_write(v, &text);
    st = place_store(run, cell_str((const char *)text.data, text.len));
    if (st == OP_DONE)
        pack_str(run->result, (const char *)text.data, text.len);
    buf_free(&text);
    return st;
}
