/* op_value: strings, bytes and datetimes that grow from what they are.
 */
#include "protocol/calendar.h"
#include "protocol/change.h"
#include "protocol/scalar.h"
#include "protocol/value.h"
#include "protocol/work.h"
#include <math.h>

#define NANO INT64_C(1000000000)

/* The value at the place, which must have this type and be there. */
static enum op_status value_item(struct run *run, enum type_kind kind, struct item *it)
{
    struct place *at = &run->at;
    char where[WHERE_MAX], have[TYPE_NAME_MAX];
    const uint8_t *p;
    size_t len;
    bool stored;
    if (!at->type || type_bare(at->type)->kind != kind)
        return REFUSE(run, FAULT_BAD_TYPE, "%s needs a %s: '%s' is %s", run_name(run),
                      scalar_of(kind)->name, run_where(run, where),
                      at->type ? type_name(at->type, have, sizeof have) : "the document");
    enum op_status st = check_not_key(run);
    if (st != OP_DONE || (st = value_read(run, &p, &len, &stored)) != OP_DONE)
        return st;
    run_computes(run);
    if (!p)
        return REFUSE(run, FAULT_NOT_FOUND, "%s: '%s' was never set", run_name(run),
                      run_where(run, where));
    struct cursor c = cursor_of(p, len);
    if (cursor_next(&c, it) < 0)
        return REFUSE(run, FAULT_INTERNAL, "%s: '%s' holds no value", run_name(run),
                      run_where(run, where));
    if (it->kind == ITEM_NIL)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s' is null; set it first", run_name(run),
                      run_where(run, where));
    return OP_DONE;
}

static enum op_status check_size(struct run *run, size_t len)
{
    char where[WHERE_MAX];
    size_t max = run->env->max_value;
    if (len >= WORK_LONG) /* beside its own price: it relies on what was there, by a script */
        work_add(len / 1024, 3 * WORK_KIB);
    if (max == 0 || len <= max)
        return work_check(run->f) < 0 ? OP_REFUSED : OP_DONE;
    return REFUSE(run, FAULT_TOO_LARGE, "%s: '%s' would have %zu bytes, at most %zu are allowed",
                  run_name(run), run_where(run, where), len, max);
}

/* Stores and answers it. */
static enum op_status finish(struct run *run, struct cell value)
{
    size_t had = run->result->len, len;
    const uint8_t *bytes = cell_bytes(&value, &len);
    work_append(run->result, bytes, len);
    enum op_status st = work_check(run->f) < 0 ? OP_REFUSED : check_result(run);
    if (st != OP_DONE) {
        cell_free(&value);
    } else {
        run_computes(run);
        st = place_store(run, value);
    }
    if (st != OP_DONE)
        run->result->len = had;
    return st;
}

static enum op_status append(struct run *run, enum type_kind kind)
{
    struct item now, more;
    struct cell arg;
    struct type t = {.kind = kind};
    size_t len;
    enum op_status st = value_item(run, kind, &now);
    if (st != OP_DONE || (st = arg_cell(run, &t, false, NULL, NULL, &arg)) != OP_DONE)
        return st;
    const uint8_t *p = cell_bytes(&arg, &len);
    struct cursor c = cursor_of(p, len);
    if (cursor_next(&c, &more) < 0)
        more = (struct item){.kind = ITEM_STR};
    st = check_size(run, (size_t)now.bytes.len + more.bytes.len);
    if (st == OP_DONE)
        st = finish(run, cell_joined(kind == TYPE_STR, now.bytes.p, now.bytes.len, more.bytes.p,
                                     more.bytes.len));
    cell_free(&arg);
    return st;
}

enum op_status run_str_append(struct run *run)
{
    return append(run, TYPE_STR);
}

enum op_status run_bytes_append(struct run *run)
{
    return append(run, TYPE_BYTES);
}

enum op_status run_str_repeat(struct run *run)
{
    struct item now;
    struct buf content = BUF_INIT;
    int64_t n;
    size_t len;
    enum op_status st = value_item(run, TYPE_STR, &now);
    if (st != OP_DONE || (st = arg_int(run, "count", &n)) != OP_DONE)
        return st;
    if (n < 0)
        return REFUSE(run, FAULT_BAD_VALUE,
                      "str.repeat: the count must not be negative, it is %lld", (long long)n);
    if (__builtin_mul_overflow((size_t)n, (size_t)now.bytes.len, &len))
        len = SIZE_MAX;
    if (len > UINT32_MAX - 5)
        return REFUSE(run, FAULT_TOO_LARGE, "str.repeat: %lld times %u bytes is too long",
                      (long long)n, now.bytes.len);
    if ((st = check_size(run, len)) != OP_DONE)
        return st;
    if (len > 0 && buf_grow(&content, len))
        for (int64_t i = 0; i < n; i++)
            buf_append(&content, now.bytes.p, now.bytes.len);
    const char *text = len > 0 ? (const char *)content.data : "";
    struct cell value = cell_str(text, content.len);
    buf_free(&content);
    return finish(run, value);
}

/* x seconds as whole seconds and nanoseconds [0, 10^9). */
static enum op_status seconds_of(struct run *run, double x, int64_t *sec, int64_t *nsec)
{
    if (!isfinite(x))
        return REFUSE(run, FAULT_BAD_VALUE, "datetime.add: the seconds must be a finite number");
    double whole = floor(x);
    if (fabs(whole) > 1e12)
        return REFUSE(run, FAULT_OUT_OF_RANGE,
                      "datetime.add: %g seconds leads out of the years 1 to 9999", x);
    *sec = (int64_t)whole;
    *nsec = (int64_t)llround((x - whole) * (double)NANO);
    return OP_DONE;
}

enum op_status run_datetime_add(struct run *run)
{
    struct item now, by;
    int64_t sec, nsec = 0;
    struct buf value = BUF_INIT;
    char where[WHERE_MAX];
    enum op_status st = value_item(run, TYPE_DATETIME, &now);
    if (st != OP_DONE)
        return st;
    if (cursor_next(&run->args, &by) < 0 ||
        (by.kind != ITEM_INT && by.kind != ITEM_UINT && by.kind != ITEM_FLOAT))
        return REFUSE(run, FAULT_BAD_TYPE, "datetime.add: the seconds must be an int or float");
    if (by.kind == ITEM_FLOAT) {
        if ((st = seconds_of(run, by.real, &sec, &nsec)) != OP_DONE)
            return st;
    } else {
        sec = by.kind == ITEM_INT ? by.integer : INT64_MAX;
    }
    nsec += now.time.nsec;
    int64_t carry = nsec / NANO;
    if (__builtin_add_overflow(sec, now.time.sec, &sec) ||
        __builtin_add_overflow(sec, carry, &sec) || sec < CALENDAR_MIN || sec > CALENDAR_MAX)
        return REFUSE(run, FAULT_OUT_OF_RANGE, "datetime.add: '%s' would leave the years 1 to 9999",
                      run_where(run, where));
    pack_time(&value, sec, (uint32_t)(nsec % NANO));
    struct cell c = cell_value(value.data, value.len);
    buf_free(&value);
    return finish(run, c);
}
