/* op_sorted: what can be done to a sorted<> field.
 *
 * What was there before decides every answer, so all but the size need the members; and what is
 * told of a change was worked out from them, so that it is exact whoever else works on the field:
 * two who pop at once get two members. Only whether one member was there is said by Redis, as it
 * puts it in or takes it out.
 */
#include "protocol/change.h"
#include "protocol/work.h"
#include <math.h>

/* The members at the place, loaded. */
static enum op_status check_sorted(struct run *run)
{
    enum op_status st = check_container(run, TYPE_SORTED);
    return st == OP_DONE ? check_loaded(run) : st;
}

static enum op_status member_arg(struct run *run, struct cell *member)
{
    return arg_cell(run, run->at.type->of, false, NULL, NULL, member);
}

static enum op_status score_arg(struct run *run, const char *what, double *score)
{
    char where[WHERE_MAX];
    if (cursor_number(&run->args, score) < 0)
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s': the %s must be an int or float",
                      run_name(run), run_where(run, where), what);
    if (!isfinite(*score))
        return REFUSE(run, FAULT_BAD_VALUE, "%s: '%s': the %s must be a finite number",
                      run_name(run), run_where(run, where), what);
    *score += 0.0; /* there is one zero */
    return OP_DONE;
}

static void undo_score(struct run *run, const struct cell *member, bool had, double old)
{
    size_t len;
    const char *key = (const char *)cell_bytes(member, &len);
    struct cell was = had ? cell_float(old) : (struct cell){0};
    undo_element(run->env->undo, run->at.cell->container, key, len, was);
}

/* Gives a member this score; false: it was there. told: no more is answered, and Redis says it. */
static bool member_put(struct run *run, const struct cell *member, double score, bool told)
{
    struct container *c = run->at.cell->container;
    double old = 0;
    if (!told)
        run_computes(run);
    bool had = sorted_put(c, member, score, &old);
    tell(run, (struct effect){.kind = EFFECT_FIELD_SET,
                              .in = TYPE_SORTED,
                              .type = run->at.type->of,
                              .value = member,
                              .score = score,
                              .told = told,
                              .now = !had});
    undo_score(run, member, had, old);
    return !had;
}

/* told: no more is answered than whether it was there, and Redis says it. end: it is what is
 * answered. */
static bool member_take(struct run *run, const struct cell *member, bool told, enum effect_end end)
{
    struct cell own = cell_copy(member); /* it may be the container's */
    double old = 0;
    bool had = sorted_take(run->at.cell->container, &own, &old);
    if (had) {
        if (!told)
            run_computes(run);
        tell(run, (struct effect){.kind = EFFECT_FIELD_DEL,
                                  .in = TYPE_SORTED,
                                  .type = run->at.type->of,
                                  .value = &own,
                                  .score = old,
                                  .end = end,
                                  .told = told,
                                  .now = 1});
        undo_score(run, &own, true, old);
    }
    cell_free(&own);
    return had;
}

enum op_status run_sorted_push(struct run *run)
{
    struct cell member;
    double score;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = member_arg(run, &member)) != OP_DONE)
        return st;
    if ((st = score_arg(run, "score", &score)) == OP_DONE)
        pack_uint(run->result, member_put(run, &member, score, true));
    cell_free(&member);
    return st;
}

enum op_status run_sorted_push_many(struct run *run)
{
    struct cell built;
    uint32_t added = 0;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = arg_cell(run, run->at.type, true, NULL, NULL, &built)) != OP_DONE)
        return st;
    for (struct element e = {0}; container_next(built.container, &e);)
        added += member_put(run, e.cell, e.score, false);
    cell_free(&built);
    pack_uint(run->result, added);
    return OP_DONE;
}

enum op_status run_sorted_incr(struct run *run)
{
    struct cell member;
    double by, score = 0;
    char where[WHERE_MAX];
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = member_arg(run, &member)) != OP_DONE)
        return st;
    if ((st = score_arg(run, "number", &by)) == OP_DONE) {
        (void)sorted_score(run->at.cell->container, &member, &score);
        score += by;
        if (!isfinite(score))
            st = REFUSE(run, FAULT_OUT_OF_RANGE, "sorted.incr: '%s': the score would be infinite",
                        run_where(run, where));
    }
    if (st == OP_DONE) {
        (void)member_put(run, &member, score, false);
        pack_float(run->result, score);
    }
    cell_free(&member);
    return st;
}

enum op_status run_sorted_remove(struct run *run)
{
    struct cell member;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = member_arg(run, &member)) != OP_DONE)
        return st;
    pack_uint(run->result, member_take(run, &member, true, END_NONE));
    cell_free(&member);
    return OP_DONE;
}

enum op_status run_sorted_clear(struct run *run)
{
    enum op_status st = check_container(run, TYPE_SORTED);
    return st == OP_DONE ? place_store(run, cell_blank(run->at.type)) : st;
}

/* ---- one member ---- */

/* Answers with the score of the member in the arguments, or its rank; nil when it is not there. */
static enum op_status answer_of_member(struct run *run, bool rank)
{
    struct cell member;
    double score;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = member_arg(run, &member)) != OP_DONE)
        return st;
    const struct container *c = run->at.cell->container;
    if (!sorted_score(c, &member, &score))
        pack_nil(run->result);
    else if (rank)
        pack_uint(run->result, sorted_rank(c, &member, score));
    else
        pack_float(run->result, score);
    cell_free(&member);
    return OP_DONE;
}

enum op_status run_sorted_score(struct run *run)
{
    return answer_of_member(run, false);
}

enum op_status run_sorted_rank(struct run *run)
{
    return answer_of_member(run, true);
}

enum op_status run_sorted_size(struct run *run)
{
    enum op_status st = check_container(run, TYPE_SORTED);
    if (st == OP_DONE)
        pack_uint(run->result, run->at.cell->container->len);
    return st;
}

/* ---- several ---- */

struct ranks {
    size_t from, n;
    bool backwards; /* the highest of them first */
};

static size_t rank_at(const struct ranks *r, size_t i)
{
    return r->backwards ? r->from + r->n - 1 - i : r->from + i;
}

/* Packs [member, score]. */
static enum op_status pack_ranked(struct run *run, size_t rank)
{
    double score;
    const struct cell *member = sorted_at(run->at.cell->container, rank, &score);
    pack_array(run->result, 2);
    enum op_status st = element_pack(run, member, run->at.type->of);
    pack_float(run->result, score);
    return st;
}

static enum op_status pack_ranks(struct run *run, const struct ranks *r)
{
    enum op_status st = OP_DONE;
    size_t had = run->result->len;
    pack_array(run->result, (uint32_t)r->n);
    for (size_t i = 0; i < r->n && st == OP_DONE; i++)
        st = pack_ranked(run, rank_at(r, i));
    if (st != OP_DONE)
        run->result->len = had;
    return st;
}

/* What it costs to take them out; OP_REFUSED: too much. */
static enum op_status check_ranks(struct run *run, const struct ranks *r)
{
    work_add(r->n, WORK_NAMED);
    return work_check(run->f) < 0 ? OP_REFUSED : OP_DONE;
}

static void take_ranks(struct run *run, const struct ranks *r, enum effect_end end)
{
    double score;
    for (size_t i = r->n; i-- > 0;)
        (void)member_take(run, sorted_at(run->at.cell->container, r->from + i, &score), false, end);
}

/* At one end: without a count one pair, which must be there; else a list of up to so many. */
static enum op_status at_end(struct run *run, bool highest, bool take)
{
    int64_t n = 1;
    char where[WHERE_MAX];
    bool one = run->op->nargs == 0;
    size_t had = run->result->len;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (!one && (st = arg_int(run, "count", &n)) != OP_DONE))
        return st;
    size_t len = run->at.cell->container->len;
    if (n < 0)
        return REFUSE(run, FAULT_OUT_OF_RANGE, "%s: the count must not be negative", run_name(run));
    if (one && len == 0)
        return REFUSE(run, FAULT_NOT_FOUND, "%s: '%s' is empty", run_name(run),
                      run_where(run, where));
    struct ranks r = {.n = (uint64_t)n < len ? (size_t)n : len, .backwards = highest};
    r.from = highest ? len - r.n : 0;
    st = one ? pack_ranked(run, r.from) : pack_ranks(run, &r);
    if (st == OP_DONE && take && (st = check_result(run)) == OP_DONE &&
        (st = check_ranks(run, &r)) == OP_DONE)
        take_ranks(run, &r, !one ? END_NONE : highest ? END_HIGHEST : END_LOWEST);
    if (st != OP_DONE)
        run->result->len = had;
    return st;
}

enum op_status run_sorted_pop_min(struct run *run)
{
    return at_end(run, false, true);
}

enum op_status run_sorted_pop_max(struct run *run)
{
    return at_end(run, true, true);
}

enum op_status run_sorted_peek(struct run *run)
{
    return at_end(run, false, false);
}

/* The ranks that [from, to) names, as a Python slice; `to` nil or left out: to the end. */
static enum op_status ranks_arg(struct run *run, struct ranks *r)
{
    int64_t from, to, len;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = arg_int(run, "start of the range", &from)) != OP_DONE)
        return st;
    to = len = run->at.cell->container->len;
    if (run->op->nargs > 1 && !cursor_nil(&run->args) &&
        (st = arg_int(run, "end of the range", &to)) != OP_DONE)
        return st;
    from = from < 0 ? (from + len < 0 ? 0 : from + len) : from > len ? len : from;
    to = to < 0 ? (to + len < 0 ? 0 : to + len) : to > len ? len : to;
    *r = (struct ranks){.from = (size_t)from, .n = to > from ? (size_t)(to - from) : 0};
    return OP_DONE;
}

/* A bound, which counts itself; nil: none. */
static enum op_status bound_arg(struct run *run, const char *what, double none, double *bound)
{
    *bound = none;
    return cursor_nil(&run->args) ? OP_DONE : score_arg(run, what, bound);
}

static enum op_status scores_arg(struct run *run, struct ranks *r)
{
    double lowest, highest;
    enum op_status st = check_sorted(run);
    if (st != OP_DONE || (st = bound_arg(run, "lowest score", -INFINITY, &lowest)) != OP_DONE ||
        (st = bound_arg(run, "highest score", INFINITY, &highest)) != OP_DONE)
        return st;
    const struct container *c = run->at.cell->container;
    size_t from = sorted_below(c, lowest);
    size_t to = isinf(highest) ? c->len : sorted_below(c, nextafter(highest, INFINITY));
    *r = (struct ranks){.from = from, .n = to > from ? to - from : 0};
    return OP_DONE;
}

enum op_status run_sorted_range(struct run *run)
{
    struct ranks r;
    enum op_status st = ranks_arg(run, &r);
    return st == OP_DONE ? pack_ranks(run, &r) : st;
}

enum op_status run_sorted_range_by_score(struct run *run)
{
    struct ranks r;
    enum op_status st = scores_arg(run, &r);
    return st == OP_DONE ? pack_ranks(run, &r) : st;
}

static enum op_status remove_ranks(struct run *run, enum op_status st, const struct ranks *r)
{
    if (st != OP_DONE || (st = check_ranks(run, r)) != OP_DONE)
        return st;
    pack_uint(run->result, r->n);
    take_ranks(run, r, END_NONE);
    return OP_DONE;
}

enum op_status run_sorted_remove_range(struct run *run)
{
    struct ranks r;
    enum op_status st = ranks_arg(run, &r);
    return remove_ranks(run, st, &r);
}

enum op_status run_sorted_remove_by_score(struct run *run)
{
    struct ranks r;
    enum op_status st = scores_arg(run, &r);
    return remove_ranks(run, st, &r);
}
