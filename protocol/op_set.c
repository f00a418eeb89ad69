/* op_set: what can be done to a set<> field.
 *
 * What was there before decides every answer, so all but the size need the set; and what is told of
 * a change was worked out from it, so that it is exact whoever else works on the set. Only whether
 * one member was there is said by Redis, as it puts it in or takes it out. The other
 * side of a union or the like is an array of members, or {"path": ...}: another set of the
 * document, or with "key" of another one.
 */
#include "protocol/change.h"
#include "protocol/type.h"
#include "protocol/work.h"
#include <stdio.h>

/* The set at the place, loaded. */
static enum op_status check_set(struct run *run)
{
    enum op_status st = check_container(run, TYPE_SET);
    return st == OP_DONE ? check_loaded(run) : st;
}

static enum op_status member_arg(struct run *run, struct cell *member)
{
    enum op_status st = check_set(run);
    return st == OP_DONE ? arg_cell(run, run->at.type->of, false, NULL, NULL, member) : st;
}

/* Puts a member in or takes it out; false: it was so already. Borrows the member. told: no more is
 * answered, and Redis says it. */
static bool change_member(struct run *run, const struct cell *member, bool in, bool told)
{
    struct container *set = run->at.cell->container;
    struct dict *members = set_members(set);
    size_t len;
    const char *key = (const char *)cell_bytes(member, &len);
    struct cell old = in ? dict_put(members, key, len, cell_nil()) : dict_take(members, key, len);
    if ((old.kind == CELL_UNSET) != in)
        return false; /* what a set has for a member says nothing */
    if (!told)
        run_computes(run);
    tell(run, (struct effect){.kind = in ? EFFECT_FIELD_SET : EFFECT_FIELD_DEL,
                              .in = TYPE_SET,
                              .type = run->at.type->of,
                              .value = member,
                              .told = told,
                              .now = 1});
    undo_dict(run->env->undo, members, key, len, old);
    return true;
}

static enum op_status change_one(struct run *run, bool in)
{
    struct cell member;
    enum op_status st = member_arg(run, &member);
    if (st != OP_DONE)
        return st;
    pack_uint(run->result, change_member(run, &member, in, true));
    cell_free(&member);
    return OP_DONE;
}

enum op_status run_set_add(struct run *run)
{
    return change_one(run, true);
}

enum op_status run_set_remove(struct run *run)
{
    return change_one(run, false);
}

enum op_status run_set_add_many(struct run *run)
{
    uint32_t n, added = 0;
    char where[WHERE_MAX];
    struct cell member;
    enum op_status st = check_set(run);
    if (st != OP_DONE)
        return st;
    struct cursor in = run->args;
    struct list *members = list_new();
    if (cursor_array(&run->args, &n) < 0)
        st = REFUSE(run, FAULT_BAD_TYPE, "set.add_many: '%s' takes a list of members",
                    run_where(run, where));
    for (uint32_t i = 0; st == OP_DONE && i < n; i++) {
        st = arg_cell(run, run->at.type->of, false, NULL, NULL, &member);
        if (st == OP_DONE)
            list_insert(members, i, member);
    }
    for (size_t i = 0; st == OP_DONE && i < list_len(members); i++)
        added += change_member(run, list_at(members, i), true, false);
    container_free((struct container *)members);
    run->args = in;
    if (st == OP_DONE)
        pack_uint(run->result, added);
    return st;
}

enum op_status run_set_pop(struct run *run)
{
    char where[WHERE_MAX];
    size_t had = run->result->len;
    struct element e = {0};
    enum op_status st = check_set(run);
    if (st != OP_DONE)
        return st;
    if (!container_next(run->at.cell->container, &e))
        return REFUSE(run, FAULT_NOT_FOUND, "set.pop: '%s' is empty", run_where(run, where));
    struct cell member = cell_copy(e.cell);
    if ((st = element_pack(run, &member, run->at.type->of)) == OP_DONE)
        (void)change_member(run, &member, false, false);
    else
        run->result->len = had;
    cell_free(&member);
    return st;
}

enum op_status run_set_clear(struct run *run)
{
    enum op_status st = check_container(run, TYPE_SET);
    return st == OP_DONE ? place_store(run, cell_blank(run->at.type)) : st;
}

enum op_status run_set_has(struct run *run)
{
    struct cell member;
    enum op_status st = member_arg(run, &member);
    if (st != OP_DONE)
        return st;
    pack_bool(run->result, set_has(run->at.cell->container, &member));
    cell_free(&member);
    return OP_DONE;
}

enum op_status run_set_size(struct run *run)
{
    enum op_status st = check_container(run, TYPE_SET);
    if (st == OP_DONE)
        pack_uint(run->result, run->at.cell->container->len);
    return st;
}

/* ---- two sets ---- */

/* A set that is a value, as one that is a field. */
static enum op_status set_of_value(struct run *there, const char *path, struct cell *other)
{
    const uint8_t *value;
    size_t len;
    bool stored;
    enum op_status st = value_read(there, &value, &len, &stored);
    if (st != OP_DONE)
        return st;
    if (!value)
        return REFUSE(there, FAULT_NOT_FOUND, "there is no '%s'", path);
    struct cursor in = cursor_of(value, len);
    return cell_build(there->at.type, false, &in, path, other, there->f) < 0 ? OP_REFUSED : OP_DONE;
}

static enum op_status take_other(struct run *run, struct run *there, const char *path,
                                 struct cell *other)
{
    char mine[TYPE_NAME_MAX], theirs[TYPE_NAME_MAX];
    struct place *p = &there->at;
    enum op_status st;
    if (!p->type || !type_equal(p->type, run->at.type))
        return REFUSE(run, FAULT_BAD_TYPE, "%s: '%s' is %s, where a %s is wanted", run_name(run),
                      path, p->type ? type_name(p->type, theirs, sizeof theirs) : "the document",
                      type_name(run->at.type, mine, sizeof mine));
    if (p->kind != PLACE_FIELD)
        return set_of_value(there, path, other);
    st = place_loaded(p->cell, p->type, p->name, p->len, there->env->needs, run->f);
    if (st == OP_DONE)
        *other = cell_copy(p->cell);
    return st;
}

/* Where the other side is, when it is no list of members. */
struct elsewhere {
    const char *key, *path; /* key NULL: in this document */
    size_t key_len, path_len;
};

/* {"path": p, "key": k}, each once at most, the key or not. */
static bool read_elsewhere(struct cursor in, struct elsewhere *e)
{
    uint32_t n;
    *e = (struct elsewhere){0};
    if (cursor_map(&in, &n) < 0 || n < 1 || n > 2)
        return false;
    for (; n > 0; n--) {
        const char *word, *text;
        size_t len, text_len;
        if (cursor_str(&in, &word, &len) < 0 || cursor_str(&in, &text, &text_len) < 0 ||
            !utf8_valid(text, text_len))
            return false;
        if (len == 4 && memcmp(word, "path", 4) == 0 && !e->path) {
            e->path = text;
            e->path_len = text_len;
        } else if (len == 3 && memcmp(word, "key", 3) == 0 && !e->key) {
            e->key = text;
            e->key_len = text_len;
        } else {
            return false;
        }
    }
    return e->path != NULL;
}

bool op_elsewhere(enum op_kind kind, struct cursor args, const char **key, size_t *len)
{
    struct elsewhere e;
    if (kind < OP_SET_UNION || kind > OP_SET_SUBTRACT || !read_elsewhere(args, &e) || !e.key)
        return false;
    *key = e.key;
    *len = e.key_len;
    return true;
}

/* The set that is named. */
static enum op_status other_by_path(struct run *run, const struct elsewhere *e, struct cell *other)
{
    struct op_run env = *run->env;
    struct needs needs;
    char where[WHERE_MAX];
    enum op_status st = OP_DONE;
    if (e->key && !env.elsewhere)
        return REFUSE(run, FAULT_BAD_REQUEST, "%s: there is no other document here", run_name(run));
    if (e->key) {
        st = env.elsewhere(env.elsewhere_arg, e->key, e->key_len, &env.root, &needs);
        env.needs = &needs;
    }
    if (st != OP_DONE)
        return st;
    struct run *there = tree_alloc(sizeof *there);
    there->op = run->op;
    there->env = &env;
    there->needs = env.needs ? env.needs : run->needs;
    there->f = run->f;
    snprintf(where, sizeof where, "%.*s", (int)(e->path_len < 160 ? e->path_len : 160), e->path);
    st = place_find(&there->at, env.root, e->path, e->path_len, false, env.needs, NULL, run->f);
    if (st == OP_DONE)
        st = take_other(run, there, where, other);
    tree_free(there);
    return st;
}

/* The other side, which the caller frees. */
static enum op_status other_arg(struct run *run, struct cell *other)
{
    struct cursor in = run->args;
    struct elsewhere e;
    uint32_t pairs;
    if (cursor_map(&in, &pairs) < 0)
        return arg_cell(run, run->at.type, true, NULL, NULL, other);
    if (!read_elsewhere(run->args, &e))
        return REFUSE(
            run, FAULT_BAD_REQUEST,
            "%s takes a list of members, {\"path\": p} for another set of the document, or "
            "{\"key\": k, \"path\": p} for one of another document",
            run_name(run));
    return other_by_path(run, &e, other);
}

static enum op_status both_sets(struct run *run, struct cell *other)
{
    enum op_status st = check_set(run);
    return st == OP_DONE ? other_arg(run, other) : st;
}

/* Whether a member of ours stays in what the operation comes to. */
static bool stays(enum op_kind kind, bool theirs)
{
    bool both = kind == OP_SET_INTERSECTION || kind == OP_SET_INTERSECT;
    bool all = kind == OP_SET_UNION || kind == OP_SET_UNITE;
    return all || theirs == both;
}

struct answer {
    struct run *run;
    uint32_t n;
    bool pack; /* else only counted */
};

static enum op_status answer_add(struct answer *a, const struct cell *member)
{
    a->n++;
    return a->pack ? element_pack(a->run, member, a->run->at.type->of) : OP_DONE;
}

/* What the operation comes to: of ours those that stay, then for a union those we lack. */
static enum op_status answer_all(struct answer *a, const struct container *mine,
                                 const struct container *other)
{
    enum op_kind kind = a->run->op->kind;
    enum op_status st = OP_DONE;
    for (struct element e = {0}; st == OP_DONE && container_next(mine, &e);)
        if (stays(kind, set_has(other, e.cell)))
            st = answer_add(a, e.cell);
    for (struct element e = {0};
         kind == OP_SET_UNION && st == OP_DONE && container_next(other, &e);)
        if (!set_has(mine, e.cell))
            st = answer_add(a, e.cell);
    return st;
}

/* An answer: the set itself stays as it is. */
enum op_status run_set_combined(struct run *run)
{
    struct cell other;
    enum op_status st = both_sets(run, &other);
    if (st != OP_DONE)
        return st;
    const struct container *mine = run->at.cell->container;
    struct answer a = {.run = run};
    (void)answer_all(&a, mine, other.container);
    pack_array(run->result, a.n);
    a.pack = true;
    st = answer_all(&a, mine, other.container);
    cell_free(&other);
    return st;
}

/* In place; the answer is how many members there are then. */
enum op_status run_set_combine(struct run *run)
{
    enum op_kind kind = run->op->kind;
    struct cell other;
    enum op_status st = both_sets(run, &other);
    if (st != OP_DONE)
        return st;
    struct container *mine = run->at.cell->container;
    work_add((uint64_t)mine->len + other.container->len, WORK_NAMED);
    if (work_check(run->f) < 0) {
        cell_free(&other);
        return OP_REFUSED;
    }
    struct container *was = container_copy(mine);
    run_computes(run);
    for (struct element e = {0}; container_next(was, &e);)
        if (!stays(kind, set_has(other.container, e.cell)))
            (void)change_member(run, e.cell, false, false);
    for (struct element e = {0}; kind == OP_SET_UNITE && container_next(other.container, &e);)
        (void)change_member(run, e.cell, true, false);
    container_free(was);
    cell_free(&other);
    pack_uint(run->result, mine->len);
    return OP_DONE;
}
