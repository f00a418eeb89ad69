/* op_if: whether what is at a place is as somebody wants it.
 *
 * A condition is a map of tests, all of which must hold: {">=": 18, "<": 65}, {"==": "paid"},
 * {"exists": false}. What it is compared with is a value of the type at the place, checked as one
 * that is stored there. Where there is nothing only "!=" and {"exists": false} hold.
 */
#include "protocol/change.h"
#include "protocol/order.h"
#include "protocol/type.h"
#include "protocol/work.h"
#include <inttypes.h>
#include <string.h>

enum test { EQUAL, UNEQUAL, LESS, AT_MOST, MORE, AT_LEAST, EXISTS, TESTS };

static const char *const names[TESTS] = {"==", "!=", "<", "<=", ">", ">=", "exists"};

/* The next test, its operand comes next. */
static enum op_status next_test(struct cursor *in, enum test *test, struct fault *f)
{
    const char *name;
    size_t len;
    if (cursor_str(in, &name, &len) == 0) {
        for (int t = 0; t < TESTS; t++) {
            *test = (enum test)t;
            if (strlen(names[t]) == len && memcmp(names[t], name, len) == 0)
                return OP_DONE;
        }
    }
    fault_set(f, FAULT_BAD_REQUEST, "if: a test is one of ==, !=, <, <=, >, >=, exists");
    return OP_REFUSED;
}

static enum op_status begin_tests(struct cursor *in, uint32_t *n, struct fault *f)
{
    if (cursor_map(in, n) == 0 && *n > 0)
        return OP_DONE;
    fault_set(f, FAULT_BAD_REQUEST,
              "if takes a map of tests, as in {\">=\": 18} or {\"exists\": true}");
    return OP_REFUSED;
}

static enum op_status wanted(struct cursor *in, bool *exists, struct fault *f)
{
    if (cursor_bool(in, exists) == 0)
        return OP_DONE;
    fault_set(f, FAULT_BAD_REQUEST, "if: \"exists\" is true or false");
    return OP_REFUSED;
}

static bool holds(enum test test, int order)
{
    switch (test) {
    case EQUAL: return order == 0;
    case UNEQUAL: return order != 0;
    case LESS: return order < 0;
    case AT_MOST: return order <= 0;
    case MORE: return order > 0;
    default: return order >= 0;
    }
}

/* Two values: by their order where they have one, else they are the same bytes or not. */
static bool compare(const struct type *t, enum test test, const struct cell *mine,
                    const struct cell *other)
{
    const struct type *bare = type_bare(t);
    size_t len;
    struct item a, b;
    if (cell_is_nil(mine) || cell_is_nil(other) || !type_ordered(bare)) {
        bool same = cell_equal(mine, other);
        return test == EQUAL ? same : test == UNEQUAL && !same;
    }
    const uint8_t *p = cell_bytes(mine, &len);
    struct cursor in = cursor_of(p, len);
    (void)cursor_next(&in, &a);
    p = cell_bytes(other, &len);
    in = cursor_of(p, len);
    (void)cursor_next(&in, &b);
    return holds(test, value_order(bare, &a, &b));
}

/* Whether two loaded containers of values of one type hold the same; the order counts in lists. */
static bool same_elements(const struct container *a, const struct container *b)
{
    struct element mine = {0}, theirs = {0};
    bool same = a->len == b->len;
    while (same && container_next(a, &mine)) {
        const struct cell *cell = NULL;
        double score = mine.score;
        bool known = true;
        if (a->type == TYPE_SET)
            known = set_has(b, mine.cell);
        else if (a->type == TYPE_SORTED)
            known = sorted_score(b, mine.cell, &score);
        else if (a->type == TYPE_DICT)
            cell = dict_get((struct dict *)(uintptr_t)b, mine.key, mine.key_len);
        else
            cell = container_next(b, &theirs) ? theirs.cell : NULL;
        if (a->type == TYPE_LIST || a->type == TYPE_DICT)
            known = cell != NULL && cell_equal(mine.cell, cell);
        same = known && score == mine.score;
    }
    return same;
}

/* What stands at the place: a value (a copy), a container (borrowed), or nothing (CELL_UNSET). */
static enum op_status there_is(struct run *run, struct cell *out)
{
    struct place *at = &run->at;
    const uint8_t *p;
    size_t len;
    bool stored;
    *out = (struct cell){0};
    if (at->cell != NULL && at->cell->kind == CELL_CONTAINER) {
        *out = *at->cell;
        return OP_DONE;
    }
    enum op_status st = value_read(run, &p, &len, &stored);
    if (st == OP_DONE && p != NULL)
        *out = cell_value(p, len);
    return st;
}

/* The document, or a model in it: of these only "exists" can be asked. */
static bool is_model(const struct place *at)
{
    return at->type == NULL || type_atomic(type_bare(at->type));
}

static bool is_there(const struct place *at, const struct cell *mine)
{
    return mine->kind != CELL_UNSET || at->kind == PLACE_ROOT ||
           (at->cell != NULL && at->cell->kind == CELL_RECORD);
}

/* An optional model: of that it can be asked whether it is null. */
static enum op_status test_maybe(struct run *run, enum test test, bool *so)
{
    char where[WHERE_MAX];
    if (!cursor_nil(&run->args))
        return REFUSE(run, FAULT_BAD_TYPE,
                      "if: '%s' is a model; compare it with nil, or what is in it",
                      run_where(run, where));
    enum op_status st = check_loaded(run);
    *so = st == OP_DONE && (run->at.cell->container->len == 0) == (test == EQUAL);
    return st;
}

static enum op_status test_container(struct run *run, enum test test, bool *so)
{
    char where[WHERE_MAX];
    struct cell other;
    if (test != EQUAL && test != UNEQUAL)
        return REFUSE(run, FAULT_BAD_TYPE, "if: '%s' can be compared by == and != only",
                      run_where(run, where));
    if (run->at.type->kind == TYPE_MAYBE)
        return test_maybe(run, test, so);
    if (type_atomic(run->at.type->of))
        return REFUSE(run, FAULT_BAD_TYPE, "if: '%s' holds models; compare what is in them",
                      run_where(run, where));
    enum op_status st = check_loaded(run);
    if (st == OP_DONE)
        st = arg_cell(run, run->at.type, true, NULL, NULL, &other);
    if (st != OP_DONE)
        return st;
    const struct container *mine = run->at.cell->container;
    work_add(mine->len, WORK_NAMED);
    *so = same_elements(mine, other.container) == (test == EQUAL);
    cell_free(&other);
    return OP_DONE;
}

static enum op_status test_value(struct run *run, enum test test, const struct cell *mine, bool *so)
{
    char where[WHERE_MAX], name[TYPE_NAME_MAX];
    const struct type *t = run->at.type, *bare = type_bare(t);
    bool orders = test != EQUAL && test != UNEQUAL;
    struct cell other;
    if (orders && !type_ordered(bare))
        return REFUSE(run, FAULT_BAD_TYPE, "if: '%s' is %s, to be compared by == and != only",
                      run_where(run, where), type_name(t, name, sizeof name));
    enum op_status st =
        arg_cell(run, orders ? bare : t, run->at.kind == PLACE_FIELD, NULL, NULL, &other);
    if (st != OP_DONE)
        return st;
    *so = mine->kind == CELL_UNSET ? test == UNEQUAL : compare(t, test, mine, &other);
    cell_free(&other);
    return OP_DONE;
}

static enum op_status test_place(struct run *run, enum test test, const struct cell *mine, bool *so)
{
    char where[WHERE_MAX];
    bool exists;
    if (test == EXISTS) {
        enum op_status st = wanted(&run->args, &exists, run->f);
        *so = st == OP_DONE && exists == is_there(&run->at, mine);
        return st;
    }
    if (is_model(&run->at))
        return REFUSE(run, FAULT_BAD_TYPE, "if: '%s' is a model; compare what is in it",
                      run_where(run, where));
    return mine->kind == CELL_CONTAINER ? test_container(run, test, so)
                                        : test_value(run, test, mine, so);
}

enum op_status run_if(struct run *run)
{
    struct cell mine = {0};
    uint32_t n;
    bool all = true, so;
    enum op_status st = begin_tests(&run->args, &n, run->f);
    if (st == OP_DONE && !is_model(&run->at))
        st = there_is(run, &mine);
    for (; st == OP_DONE && n > 0; n--) {
        enum test test;
        st = next_test(&run->args, &test, run->f);
        if (st == OP_DONE)
            st = test_place(run, test, &mine, &so);
        all = all && st == OP_DONE && so;
    }
    if (mine.kind != CELL_CONTAINER)
        cell_free(&mine);
    if (st == OP_DONE && work_check(run->f) < 0)
        st = OP_REFUSED;
    if (st == OP_DONE)
        pack_bool(run->result, all);
    return st;
}

enum op_status if_nothing(struct cursor tests, struct buf *result, struct fault *f)
{
    uint32_t n;
    bool all = true;
    enum op_status st = begin_tests(&tests, &n, f);
    for (; st == OP_DONE && n > 0; n--) {
        enum test test;
        bool exists = true;
        st = next_test(&tests, &test, f);
        if (st == OP_DONE && test == EXISTS)
            st = wanted(&tests, &exists, f);
        else
            cursor_skip(&tests);
        all = all && (test == UNEQUAL || !exists);
    }
    if (st == OP_DONE)
        pack_bool(result, all);
    return st;
}

static void say_operand(struct cursor *in, struct buf *out)
{
    struct item it;
    struct cursor from = *in;
    cursor_skip(in);
    if (cursor_next(&from, &it) < 0)
        return;
    if (it.kind == ITEM_STR)
        buf_printf(out, "'%.*s'", (int)(it.bytes.len < 60 ? it.bytes.len : 60),
                   (const char *)it.bytes.p);
    else if (it.kind == ITEM_INT)
        buf_printf(out, "%" PRId64, it.integer);
    else if (it.kind == ITEM_FLOAT)
        buf_printf(out, "%g", it.real);
    else if (it.kind == ITEM_BOOL)
        buf_printf(out, "%s", it.boolean ? "true" : "false");
    else
        buf_printf(out, "%s", item_kind_name(it.kind));
}

void if_say(struct cursor tests, struct buf *out)
{
    uint32_t n = 0;
    (void)cursor_map(&tests, &n);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = "";
        size_t len = 0;
        (void)cursor_str(&tests, &name, &len);
        buf_printf(out, "%s", i > 0 ? " and " : "");
        if (len == strlen(names[EXISTS]) && memcmp(name, names[EXISTS], len) == 0) {
            bool exists = true;
            (void)cursor_bool(&tests, &exists);
            buf_printf(out, "%s", exists ? "there" : "absent");
        } else {
            buf_printf(out, "%.*s ", (int)len, name);
            say_operand(&tests, out);
        }
    }
}
