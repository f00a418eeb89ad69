/* op_list: what can be done to a list<> field.
 *
 * A list of values that is not in memory can be appended to and cleared all the same: Redis
 * needs no index for that. Everything else, and all of a list of records (whose pks must stay
 * unique), needs the list.
 */
#include "protocol/change.h"
#include "protocol/work.h"

/* A Python index: from the end when negative. `end` allows the place behind the last. */
static enum op_status index_in(struct run *run, int64_t i, size_t len, bool end, size_t *out)
{
    char where[WHERE_MAX];
    int64_t at = i < 0 ? i + (int64_t)len : i;
    if (at >= 0 && at < (int64_t)len + end) {
        *out = (size_t)at;
        return OP_DONE;
    }
    if (len == 0 && !end)
        return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: '%s' is empty", run_name(run),
                      run_where(run, where));
    return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: index %lld is outside '%s', which has %zu elements",
                  run_name(run), (long long)i, run_where(run, where), len);
}

static void tell_inserted(struct run *run, const struct cell *c, size_t i, size_t len_before)
{
    enum effect_kind kind = i == len_before ? EFFECT_PUSH
                            : i == 0        ? EFFECT_PUSH_FRONT
                                            : EFFECT_LIST_INSERT;
    tell(run, (struct effect){.kind = kind,
                              .index = i,
                              .type = stored_type(run->at.type->of),
                              .value = stored_cell(c)});
    tell_element(run, c);
}

/* What splice.lua in daemon/commit does, and how it weighs what is cheapest. */
static enum op_status check_splice(struct run *run, size_t len, size_t from, size_t count,
                                   bool inserts)
{
    char where[WHERE_MAX];
    uint64_t head = from, tail = len - from - count, near = head < tail ? head : tail;
    if (near == 0)
        return OP_DONE; /* what an end has a command for */
    uint64_t search = (inserts ? head : (10 + near / 1000) * count + near) * WORK_PASSED;
    uint64_t copy = near * WORK_COPIED;
    return work_command(search < copy ? search : copy, run_where(run, where), run->f) < 0
               ? OP_REFUSED
               : OP_DONE;
}

/* The list at the place, with what an append needs. */
static enum op_status check_append(struct run *run)
{
    enum op_status st = check_container(run, TYPE_LIST);
    if (st == OP_DONE && type_atomic(run->at.type->of))
        st = check_loaded(run);
    return st;
}

enum op_status run_list_append(struct run *run)
{
    struct cell c;
    enum op_status st = check_append(run);
    if (st != OP_DONE || (st = arg_cell(run, run->at.type->of, false, NULL, NULL, &c)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    size_t len = list_len(l);
    if ((st = check_pk(run, l, &c, -1)) != OP_DONE) {
        cell_free(&c);
        return st;
    }
    if (list_loaded(l)) {
        list_insert(l, len, c);
        tell_inserted(run, &c, len, len);
        undo_list_inserted(run->env->undo, l, len, 1);
    } else {
        list_adjust_len(l, 1);
        tell_inserted(run, &c, len, len);
        undo_list_len(run->env->undo, l, 1);
        cell_free(&c);
    }
    pack_uint(run->result, len + 1);
    return OP_DONE;
}

/* Appends all elements of `from`, which is left empty. A pk that is taken shows only on the way
 * (the list's own index tells): then what was appended is given back. */
static enum op_status extend_loaded(struct run *run, struct list *l, struct list *from)
{
    size_t len = list_len(l), n = list_len(from);
    for (size_t i = 0; i < n; i++) {
        enum op_status st = check_pk(run, l, list_at(from, 0), -1);
        if (st != OP_DONE) {
            while (list_len(l) > len) {
                struct cell c = list_take(l, list_len(l) - 1);
                cell_free(&c);
            }
            return st;
        }
        list_insert(l, list_len(l), list_take(from, 0));
    }
    if (run->env->effects)
        for (size_t i = len; i < len + n; i++)
            tell_inserted(run, list_at(l, i), i, i);
    undo_list_inserted(run->env->undo, l, len, n);
    return OP_DONE;
}

enum op_status run_list_extend(struct run *run)
{
    struct cell built;
    enum op_status st = check_append(run);
    if (st != OP_DONE || (st = arg_cell(run, run->at.type, true, NULL, NULL, &built)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    size_t len = list_len(l), n = list_len(built.list);
    if (list_loaded(l)) {
        st = extend_loaded(run, l, built.list);
    } else {
        list_adjust_len(l, (int64_t)n);
        for (size_t i = 0; i < n; i++)
            tell_inserted(run, list_at(built.list, i), len + i, len + i);
        undo_list_len(run->env->undo, l, (int64_t)n);
    }
    cell_free(&built);
    if (st == OP_DONE)
        pack_uint(run->result, len + n);
    return st;
}

enum op_status run_list_insert(struct run *run)
{
    int64_t index;
    size_t i;
    struct cell c;
    enum op_status st = check_container(run, TYPE_LIST);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    size_t len = list_len(l);
    if ((st = arg_int(run, "index", &index)) != OP_DONE ||
        (st = index_in(run, index, len, true, &i)) != OP_DONE ||
        (st = check_splice(run, len, i, 0, true)) != OP_DONE ||
        (st = arg_cell(run, run->at.type->of, false, NULL, NULL, &c)) != OP_DONE)
        return st;
    if ((st = check_pk(run, l, &c, -1)) != OP_DONE) {
        cell_free(&c);
        return st;
    }
    if (index != 0 || len == 0) /* else it is the front, wherever that is */
        run_computes(run);
    list_insert(l, i, c);
    tell_inserted(run, &c, i, len);
    undo_list_inserted(run->env->undo, l, i, 1);
    pack_uint(run->result, len + 1);
    return OP_DONE;
}

enum op_status run_list_set(struct run *run)
{
    int64_t index;
    size_t i;
    struct cell c;
    enum op_status st = check_container(run, TYPE_LIST);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE ||
        (st = arg_int(run, "index", &index)) != OP_DONE ||
        (st = index_in(run, index, list_len(run->at.cell->list), false, &i)) != OP_DONE ||
        (st = arg_cell(run, run->at.type->of, false, NULL, list_at(run->at.cell->list, i), &c)) !=
            OP_DONE)
        return st;
    place_to_element(&run->at, i);
    return place_store(run, c);
}

/* Takes n > 0 elements at i out; what they need to be dropped has been checked. */
static void remove_range(struct run *run, struct list *l, size_t i, size_t n)
{
    size_t len = list_len(l);
    struct cell *taken = tree_alloc(n * sizeof *taken);
    run_computes(run);
    list_cut(l, i, n, taken);
    for (size_t k = 0; k < n; k++)
        tell_element_gone(run, &taken[k]);
    tell(run,
         (struct effect){.kind = EFFECT_LIST_REMOVE, .index = i, .count = n, .len_before = len});
    undo_list_taken(run->env->undo, l, i, n, taken);
}

enum op_status run_list_pop(struct run *run)
{
    int64_t index = -1;
    size_t i;
    enum op_status st = check_container(run, TYPE_LIST);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    if (run->op->nargs > 0 && (st = arg_int(run, "index", &index)) != OP_DONE)
        return st;
    if ((st = index_in(run, index, list_len(l), false, &i)) != OP_DONE ||
        (st = check_splice(run, list_len(l), i, 1, false)) != OP_DONE ||
        (st = check_drop(run, list_at(l, i))) != OP_DONE ||
        (st = element_pack(run, list_at(l, i), run->at.type->of)) != OP_DONE)
        return st;
    remove_range(run, l, i, 1);
    return OP_DONE;
}

/* As in a Python slice: from the end when negative, then cut to what is there. */
static size_t slice_bound(int64_t i, size_t len)
{
    if (i < 0)
        i += (int64_t)len;
    return i < 0 ? 0 : i > (int64_t)len ? len : (size_t)i;
}

enum op_status run_list_remove_range(struct run *run)
{
    int64_t from, to;
    enum op_status all = OP_DONE, st = check_container(run, TYPE_LIST);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE ||
        (st = arg_int(run, "start of the range", &from)) != OP_DONE ||
        (st = arg_int(run, "end of the range", &to)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    size_t begin = slice_bound(from, list_len(l)), end = slice_bound(to, list_len(l));
    size_t n = end > begin ? end - begin : 0;
    if (n > 0 && (st = check_splice(run, list_len(l), begin, n, false)) != OP_DONE)
        return st;
    for (size_t i = begin; i < begin + n; i++) {
        if ((st = check_drop(run, list_at(l, i))) == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = st;
    }
    if (all != OP_DONE)
        return all;
    if (n > 0)
        remove_range(run, l, begin, n);
    pack_uint(run->result, n);
    return OP_DONE;
}

static bool named(const char *name, size_t len, const char *what)
{
    return strlen(what) == len && memcmp(name, what, len) == 0;
}

/* {from, to}, either of which may be left out or nil. */
static enum op_status slice_arg(struct run *run, size_t len, size_t *begin, size_t *end)
{
    const char *name;
    size_t name_len;
    uint32_t n;
    int64_t i;
    *begin = 0;
    *end = len;
    if (cursor_map(&run->args, &n) < 0)
        return REFUSE(run, FAULT_BAD_REQUEST,
                      "%s: a range is a map, as in {\"from\": 0, \"to\": 100}", run_name(run));
    for (; n > 0; n--) {
        bool from = false;
        if (cursor_str(&run->args, &name, &name_len) < 0 ||
            !((from = named(name, name_len, "from")) || named(name, name_len, "to")))
            return REFUSE(run, FAULT_BAD_REQUEST, "%s: a range has \"from\" and \"to\" only",
                          run_name(run));
        if (cursor_nil(&run->args))
            continue;
        enum op_status st = arg_int(run, from ? "start of the range" : "end of the range", &i);
        if (st != OP_DONE)
            return st;
        *(from ? begin : end) = slice_bound(i, len);
    }
    if (*end < *begin)
        *end = *begin;
    return OP_DONE;
}

enum op_status run_load_slice(struct run *run)
{
    struct place *at = &run->at;
    size_t begin, end, had = run->result->len;
    enum op_status all = OP_DONE, st = check_container(run, TYPE_LIST);
    if (st == OP_DONE && at->cell->container->spoilt)
        st = check_loaded(run);
    if (st != OP_DONE || (st = slice_arg(run, at->cell->container->len, &begin, &end)) != OP_DONE ||
        (st = place_slice(at, begin, end - begin, run->env->needs, run->f)) != OP_DONE)
        return st;
    pack_array(run->result, (uint32_t)(end - begin));
    for (size_t i = begin; i < end && st != OP_REFUSED; i++) {
        if ((st = element_pack(run, place_slice_at(at, i), at->type->of)) == OP_NEEDS)
            all = st;
    }
    st = st == OP_REFUSED ? st : all;
    if (st != OP_DONE)
        run->result->len = had;
    return st;
}

enum op_status run_list_clear(struct run *run)
{
    enum op_status st = check_container(run, TYPE_LIST);
    if (st != OP_DONE)
        return st;
    return place_store(run, cell_blank(run->at.type));
}

/* The first element that is equal to the value in the arguments; the length: there is none. */
static enum op_status find_value(struct run *run, size_t *at)
{
    char where[WHERE_MAX];
    struct cell v;
    enum op_status st = check_container(run, TYPE_LIST);
    if (st == OP_DONE && type_atomic(run->at.type->of))
        return REFUSE(run, FAULT_BAD_TYPE,
                      "%s: '%s' holds models, which are found by their pk: a path [\"pk\"]",
                      run_name(run), run_where(run, where));
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE ||
        (st = arg_cell(run, run->at.type->of, false, NULL, NULL, &v)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    size_t i = 0, len = list_len(l);
    while (i < len && work_step(WORK_COMPARED) && !cell_equal(list_at(l, i), &v))
        i++;
    cell_free(&v);
    *at = i;
    return work_check(run->f) < 0 ? OP_REFUSED : OP_DONE;
}

enum op_status run_list_remove(struct run *run)
{
    size_t i;
    enum op_status st = find_value(run, &i);
    if (st != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    bool there = i < list_len(l);
    if (there && (st = check_splice(run, list_len(l), i, 1, false)) != OP_DONE)
        return st;
    if (there)
        remove_range(run, l, i, 1);
    pack_uint(run->result, there);
    return OP_DONE;
}

enum op_status run_list_index(struct run *run)
{
    size_t i;
    enum op_status st = find_value(run, &i);
    if (st != OP_DONE)
        return st;
    if (i < list_len(run->at.cell->list))
        pack_uint(run->result, i);
    else
        pack_nil(run->result);
    return OP_DONE;
}

/* n > 0: the last n; n < 0: the first -n; as many as there are. In the order they stood in. */
enum op_status run_list_pop_many(struct run *run)
{
    int64_t n;
    size_t had = run->result->len;
    enum op_status all = OP_DONE, st = check_container(run, TYPE_LIST);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE ||
        (st = arg_int(run, "count", &n)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    uint64_t wanted = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    size_t len = list_len(l), count = wanted < len ? (size_t)wanted : len;
    size_t from = n < 0 ? 0 : len - count;
    pack_array(run->result, (uint32_t)count);
    for (size_t i = from; i < from + count && all != OP_REFUSED; i++) {
        st = check_drop(run, list_at(l, i));
        if (st == OP_DONE)
            st = element_pack(run, list_at(l, i), run->at.type->of);
        all = st == OP_DONE ? all : st;
    }
    if (all == OP_DONE)
        all = check_result(run);
    if (all != OP_DONE) {
        run->result->len = had;
        return all;
    }
    if (count > 0)
        remove_range(run, l, from, count);
    return OP_DONE;
}

/* What lies under the element's own keys stays where it is. */
enum op_status run_list_move(struct run *run)
{
    int64_t index, to_index;
    size_t from, to;
    enum op_status st = check_container(run, TYPE_LIST);
    if (st != OP_DONE || (st = check_loaded(run)) != OP_DONE)
        return st;
    struct list *l = run->at.cell->list;
    size_t len = list_len(l);
    if ((st = arg_int(run, "index", &index)) != OP_DONE ||
        (st = index_in(run, index, len, false, &from)) != OP_DONE ||
        (st = arg_int(run, "new index", &to_index)) != OP_DONE ||
        (st = index_in(run, to_index, len, false, &to)) != OP_DONE ||
        (st = check_splice(run, len, from, 1, false)) != OP_DONE ||
        (st = check_splice(run, len - 1, to, 0, true)) != OP_DONE)
        return st;
    run_computes(run);
    struct cell moved = list_take(l, from);
    tell(run,
         (struct effect){.kind = EFFECT_LIST_REMOVE, .index = from, .count = 1, .len_before = len});
    list_insert(l, to, moved);
    tell(run, (struct effect){.kind = to == len - 1 ? EFFECT_PUSH
                                      : to == 0     ? EFFECT_PUSH_FRONT
                                                    : EFFECT_LIST_INSERT,
                              .index = to,
                              .type = stored_type(run->at.type->of),
                              .value = stored_cell(&moved)});
    undo_list_moved(run->env->undo, l, from, to);
    return OP_DONE;
}
