/* target: see target.h. */
#include "daemon/documents/target.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/stored.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include "protocol/path.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_MAX ((size_t)1 << 20) /* elements that Redis speaks of, and has not given yet */

/* A hash has no ranges: up to HASH_WHOLE fields it is read at once, beyond with HSCAN, to which the
 * version gives what it does not promise by itself: that nothing has changed between two pages.
 * Where something has (another host keeps writing) slices might never end: then all is read at
 * once. */
#define HASH_WHOLE 10000
#define HASH_SLICE 2000 /* HSCAN takes ten times as long for a field as HGETALL */

/* Redis looks for a pk in a list by comparing one after the other: two milliseconds for 100,000.
 * Longer ones are searched in pieces. */
#define LPOS_MAX 150000
#define LPOS_CALL 100 /* of those cost as much as a call */
#define SEARCH_SLICE 5000

/* name holds "<suffix>/<inline prefix>" and is as it was when this returns. */
static void walk_containers(struct record *r, struct buf *name, visit_fn *visit, void *arg)
{
    size_t base = name->len;
    for (uint32_t i = 0; i < r->nslots; i++) {
        const struct field *f = &r->model->fields[i];
        bool container = type_container(f->type);
        if (!container && !type_atomic(f->type))
            continue;
        buf_append(name, f->name, f->name_len);
        if (container) {
            visit(arg, &r->slots[i], f->type, (const char *)name->data, name->len);
        } else {
            buf_append(name, ".", 1);
            walk_containers(r->slots[i].record, name, visit, arg);
        }
        name->len = base;
    }
}

void each_container(struct record *r, const char *suffix, visit_fn *visit, void *arg)
{
    struct buf name = BUF_INIT;
    buf_append(&name, suffix, strlen(suffix));
    buf_append(&name, "/", 1);
    walk_containers(r, &name, visit, arg);
    buf_free(&name);
}

/* ---- what was asked for ---- */

void target_name(struct target *t, const struct named *which)
{
    t->picks = true;
    t->name = alloc_copy(which->len > 0 ? which->key : "", which->len);
    t->which = *which;
    t->which.key = t->name;
}

void target_clear(struct target *t)
{
    for (size_t j = 0; j < t->nrecords; j++) {
        record_free(t->records[j]);
        if (t->keys != NULL)
            free(t->keys[j]);
    }
    free(t->records);
    free(t->keys);
    free(t->key_lens);
    free(t->spoilt);
    record_free(t->blank);
    cell_free(&t->value);
    *t = (struct target){.cell = t->cell,
                         .type = t->type,
                         .suffix = t->suffix,
                         .suffix_len = t->suffix_len,
                         .total = t->total,
                         .picks = t->picks,
                         .which = t->which,
                         .name = t->name};
}

void target_free(struct target *t)
{
    target_clear(t);
    free(t->suffix);
    free(t->name);
}

/* ---- asking ---- */

struct words {
    struct round_word *at;
    unsigned n, cap;
    struct buf names; /* of containers below the elements, one behind the other */
};

static void add_word(struct words *w, const char *at, size_t len)
{
    vec_push(w->at, w->n, w->cap, (struct round_word){at, len});
}

static void add_text(struct words *w, const char *text)
{
    add_word(w, text, strlen(text));
}

/* The name goes in when all are there: the buffer moves. */
static void add_below(void *arg, struct cell *c, const struct type *t, const char *suffix,
                      size_t len)
{
    struct words *w = arg;
    (void)c;
    add_text(w, stored_of(t)->length);
    add_word(w, NULL, len);
    buf_append(&w->names, suffix, len);
}

static void place_names(struct words *w, unsigned from)
{
    const char *at = (const char *)w->names.data;
    for (unsigned i = from; i + 1 < w->n; i += 2) {
        w->at[i + 1].at = at;
        at += w->at[i + 1].len;
    }
}

/* What one element costs a script. */
static size_t deep_cost(struct target *t)
{
    struct words w = {0};
    if (t->blank == NULL)
        t->blank = record_new(t->type->of->model);
    each_container(t->blank, "", add_below, &w);
    t->nbelow = w.n / 2;
    free(w.at);
    buf_free(&w.names);
    return 1 + t->nbelow;
}

/* find: a command, with what stands behind the key. */
static void ask_deep(struct target *t, struct round *r, const char *how,
                     const struct round_word *find, unsigned nfind)
{
    struct words w = {0};
    char stride[12], value[12], n[12];
    const struct stored *in = stored_of(t->type);
    snprintf(stride, sizeof(stride), "%u", in->stride);
    snprintf(value, sizeof(value), "%u", in->value + 1);
    snprintf(n, sizeof(n), "%u", t->nbelow);
    add_text(&w, how);
    add_text(&w, stride);
    add_text(&w, value);
    add_text(&w, n);
    each_container(t->blank, "", add_below, &w);
    place_names(&w, 4);
    for (unsigned i = 0; i < nfind; i++)
        add_word(&w, find[i].at, find[i].len);
    round_command(r, t->suffix, t->suffix_len, ROUND_LEVEL, w.at, w.n);
    t->deep = t->last = true;
    free(w.at);
    buf_free(&w.names);
}

static void ask_all_deep(struct target *t, struct round *r)
{
    const struct stored *in = stored_of(t->type);
    struct round_word find[] = {round_word(in->range != NULL ? in->range : in->all),
                                round_word("0"), round_word("-1")};
    ask_deep(t, r, "all", find, in->range != NULL ? 3 : 1);
}

/* Less than nothing is nothing. */
static void spend(size_t *left, size_t n)
{
    *left -= n < *left ? n : *left;
}

/* The next piece of a long list. */
static void search(struct target *t, struct round *r)
{
    char from[24], to[24];
    snprintf(from, sizeof(from), "%zu", t->next);
    snprintf(to, sizeof(to), "%zu", t->next + SEARCH_SLICE - 1);
    struct round_word find[] = {
        round_word("LRANGE"), round_word(from), round_word(to), {t->which.key, t->which.len}};
    (void)deep_cost(t);
    t->next += SEARCH_SLICE;
    ask_deep(t, r, "among", find, 4);
    t->last = t->next >= t->total;
}

static bool picks_some(const struct target *t)
{
    return t->picks && t->which.count > 1;
}

/* The next of several elements of a list. */
static void ask_some(struct target *t, struct round *r, struct budget *left)
{
    char from[24], to[24];
    size_t at = t->which.index + t->next, room = left->elements;
    bool atomic = type_atomic(t->type->of);
    size_t cost = atomic ? deep_cost(t) : 1;
    if (atomic && left->calls / cost < room)
        room = left->calls / cost + 1;
    t->slice = t->which.count - t->next;
    if (t->slice > room && !left->whole)
        t->slice = room;
    snprintf(from, sizeof(from), "%zu", at);
    snprintf(to, sizeof(to), "%zu", at + t->slice - 1);
    struct round_word find[] = {round_word("LRANGE"), round_word(from), round_word(to)};
    if (atomic)
        ask_deep(t, r, "all", find, 3);
    else
        round_command(r, t->suffix, t->suffix_len, find[0].at, &find[1], 2);
    spend(&left->calls, atomic ? t->slice * cost : 0);
    spend(&left->elements, t->slice);
    t->next += t->slice;
    t->last = t->next >= t->which.count;
}

static void ask_picked(struct target *t, struct round *r, struct budget *left)
{
    char index[24];
    bool list = t->type->kind == TYPE_LIST, at = t->which.by == BY_INDEX;
    struct round_word find[] = {round_word(at     ? "LINDEX"
                                           : list ? "LPOS"
                                                  : "HGET"),
                                {t->which.key, t->which.len}};
    if (at) {
        snprintf(index, sizeof(index), "%zu", t->which.index);
        find[1] = round_word(index);
    }
    t->last = true;
    if (list && !at && t->total > LPOS_MAX && !left->whole) {
        left->calls = 0;
        search(t, r);
    } else if (type_atomic(t->type->of)) {
        spend(&left->calls, deep_cost(t) + (list && !at ? t->total / LPOS_CALL : 0));
        ask_deep(t, r, list && !at ? "at" : "one", find, 2);
    } else {
        round_command(r, t->suffix, t->suffix_len, find[0].at, &find[1], 1);
    }
}

/* The next elements by their index; at its end whatever there is. */
static size_t ask_range(struct target *t, struct round *r, size_t room)
{
    char from[24], to[24] = "-1";
    const struct stored *in = stored_of(t->type);
    size_t left = t->total > t->next ? t->total - t->next : 0;
    t->last = left <= room;
    snprintf(from, sizeof(from), "%zu", t->next);
    if (!t->last) {
        left = room;
        snprintf(to, sizeof(to), "%zu", t->next + room - 1);
    }
    t->next += left;
    struct round_word words[] = {round_word(from), round_word(to), round_word(in->range_end)};
    round_command(r, t->suffix, t->suffix_len, in->range, words, in->range_end != NULL ? 3 : 2);
    return left;
}

static size_t ask_page(struct target *t, struct round *r, bool whole)
{
    char count[24];
    if (t->total <= HASH_WHOLE || whole) {
        t->last = true;
        round_ask(r, t->suffix, t->suffix_len, stored_of(t->type)->all, NULL, NULL);
        return t->total;
    }
    snprintf(count, sizeof(count), "%d", HASH_SLICE);
    if (t->page[0] == '\0')
        memcpy(t->page, "0", 2);
    struct round_word words[] = {round_word(t->page), round_word("COUNT"), round_word(count)};
    round_command(r, t->suffix, t->suffix_len, stored_of(t->type)->scan, words, 3);
    return HASH_SLICE;
}

/* All of its elements with their content. */
static bool may_be_deep(struct target *t, const struct budget *left)
{
    if (!type_atomic(t->type->of) || t->nrecords > 0 || t->next > 0 || t->page[0] != '\0' ||
        t->total > left->calls)
        return false;
    return t->total * deep_cost(t) <= left->calls;
}

void target_ask(struct target *t, struct round *r, struct budget *left)
{
    t->deep = false;
    t->asked = !t->last && left->elements > 0;
    if (!t->asked)
        return;
    if (t->picks && left->calls == 0 && left->spent && type_atomic(t->type->of)) {
        t->asked = false; /* in the next round */
        return;
    }
    t->picks = t->picks && (left->calls > 0 || !type_atomic(t->type->of)); /* by scripts */
    if (picks_some(t)) {
        ask_some(t, r, left);
    } else if (t->picks) {
        ask_picked(t, r, left);
        spend(&left->elements, 1);
    } else if (may_be_deep(t, left)) {
        ask_all_deep(t, r);
        spend(&left->calls, t->total * (1 + t->nbelow));
        spend(&left->elements, t->total);
    } else if (stored_of(t->type)->range != NULL) {
        spend(&left->elements, ask_range(t, r, left->elements));
    } else {
        spend(&left->elements, ask_page(t, r, left->whole));
    }
}

/* ---- what has come ---- */

const char *wrong_type(char why[static WRONG_TYPE_MAX], const char *type)
{
    snprintf(why, WRONG_TYPE_MAX, "it should be a %s, but another program put something else there",
             type);
    return why;
}

void target_spoil(struct target *t, const char *why)
{
    t->last = true;
    if (t->spoilt == NULL)
        t->spoilt = alloc_copy(why, strlen(why));
}

/* Room for all that is to come, as far as it can be believed that it comes. */
static void reserve(struct container *c, size_t total, size_t n)
{
    size_t sure = n + RESERVE_MAX;
    container_reserve(c, total < n ? n : total < sure ? total : sure);
}

static void take_values(struct target *t, const redisReply *r)
{
    const struct stored *in = stored_of(t->type);
    struct container *node = t->cell->container;
    struct fault why = {.text = "it holds something that is no string"};
    container_set_loaded(node);
    reserve(node, t->total, r->elements / in->stride);
    for (size_t i = 0; i + in->stride <= r->elements; i += in->stride) {
        const redisReply *v = r->element[i + in->value];
        struct cell c = {0};
        struct element e = {.cell = &c};
        if (v->type != REDIS_REPLY_STRING ||
            layout_parse(t->type->of, v->str, v->len, &c, &why) < 0) {
            target_spoil(t, why.text);
            return;
        }
        if (in->key >= 0) {
            e.key = r->element[i + (size_t)in->key]->str;
            e.key_len = r->element[i + (size_t)in->key]->len;
            if (!utf8_valid(e.key, e.key_len)) {
                cell_free(&c);
                target_spoil(t, "a key in it is not UTF-8");
                return;
            }
        }
        if (in->score >= 0 &&
            !layout_read_score(r->element[i + (size_t)in->score]->str, &e.score)) {
            cell_free(&c);
            target_spoil(t, "a score in it is no finite number");
            return;
        }
        container_add(node, &e);
    }
}

/* The pks of atomic elements; their content comes with the next round. */
static void take_pks(struct target *t, const redisReply *r)
{
    const struct stored *in = stored_of(t->type);
    size_t n = r->elements / in->stride, had = t->nrecords;
    t->records = alloc_resized(t->records, had + n, sizeof(*t->records));
    if (in->key >= 0) {
        t->keys = alloc_resized(t->keys, had + n, sizeof(*t->keys));
        t->key_lens = alloc_resized(t->key_lens, had + n, sizeof(*t->key_lens));
    }
    for (size_t i = 0; i < n; i++) {
        const redisReply *pk = r->element[i * in->stride + in->value];
        struct fault why;
        if (pk->type != REDIS_REPLY_STRING || pk_check(pk->str, pk->len, &why) < 0) {
            target_spoil(t, "it should hold pks, and holds something else");
            continue;
        }
        if (in->key >= 0) {
            const redisReply *k = r->element[i * in->stride + (size_t)in->key];
            if (!utf8_valid(k->str, k->len))
                target_spoil(t, "a key in it is not UTF-8");
            t->keys[t->nrecords] = alloc_copy(k->str, k->len);
            t->key_lens[t->nrecords] = k->len;
        }
        t->records[t->nrecords] =
            t->blank != NULL ? record_copy(t->blank) : record_new(t->type->of->model);
        t->records[t->nrecords++]->pk = cell_str(pk->str, pk->len);
    }
}

const char *target_suffix(const struct target *t, size_t i, struct buf *out)
{
    const char *pk;
    size_t len;
    buf_clear(out);
    buf_append(out, t->suffix, t->suffix_len);
    buf_append(out, "/", 1);
    if (cell_get_str(&t->records[i]->pk, &pk, &len) == 0)
        pk_append(out, pk, len);
    buf_append(out, "", 1);
    return (const char *)out->data;
}

void target_install(struct target *t)
{
    struct container *node = t->cell->container;
    container_set_loaded(node);
    container_reserve(node, t->nrecords);
    for (size_t i = 0; i < t->nrecords; i++) {
        struct cell c = {.record = t->records[i]};
        struct element e = {.cell = &c};
        c.kind = CELL_RECORD;
        t->records[i] = NULL;
        if (t->keys != NULL) {
            e.key = t->keys[i];
            e.key_len = t->key_lens[i];
        }
        container_add(node, &e);
    }
}

void target_take(struct target *t, const redisReply *r)
{
    if (t->page[0] != '\0' && r->type == REDIS_REPLY_ARRAY && r->elements == 2) {
        snprintf(t->page, sizeof(t->page), "%s", r->element[0]->str);
        t->last = strcmp(t->page, "0") == 0;
        r = r->element[1];
    }
    char why[WRONG_TYPE_MAX];
    if (r->type != REDIS_REPLY_ARRAY)
        target_spoil(t, wrong_type(why, stored_of(t->type)->type));
    else if (type_atomic(t->type->of))
        take_pks(t, r);
    else
        take_values(t, r);
}

/* The pk of the element that was found; NULL: it is not there, or not what it should be. */
static const char *found_pk(struct target *t, const redisReply *found, size_t *len)
{
    struct fault why;
    const char *pk = NULL;
    if (found->type == REDIS_REPLY_INTEGER) {
        pk = t->which.key;
        *len = t->which.len;
    } else if (found->type == REDIS_REPLY_STRING) {
        pk = found->str;
        *len = found->len;
    }
    t->wrong = pk == NULL ? found->type != REDIS_REPLY_NIL : pk_check(pk, *len, &why) < 0;
    return t->wrong ? NULL : pk;
}

static void take_one(struct target *t, const redisReply *found, const redisReply *content)
{
    size_t len = 0;
    const char *pk = found_pk(t, found, &len);
    if (pk == NULL)
        return;
    t->wrong = content->elements != 1 + t->nbelow || content->element[0]->type != REDIS_REPLY_ARRAY;
    if (t->wrong)
        return;
    t->records = alloc_zeroed(1, sizeof(*t->records));
    t->records[0] = record_copy(t->blank);
    t->records[0]->pk = cell_str(pk, len);
    t->nrecords = 1;
}

const redisReply *target_take_deep(struct target *t, const redisReply *r)
{
    char why[WRONG_TYPE_MAX];
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        r->element[1]->type != REDIS_REPLY_ARRAY) {
        t->wrong = true;
        target_spoil(t, wrong_type(why, stored_of(t->type)->type));
        return NULL;
    }
    if (t->picks && !picks_some(t)) {
        take_one(t, r->element[0], r->element[1]);
        return r->element[1];
    }
    if (picks_some(t)) {
        target_take(t, r->element[0]);
        t->wrong = t->spoilt != NULL || r->element[1]->elements != t->nrecords * (1 + t->nbelow);
    } else
        target_take(t, r->element[0]);
    return r->element[1];
}

/* Those that are not there are known not to be. */
static void take_some(struct target *t, const redisReply *r)
{
    struct container *node = t->cell->container;
    struct named which = {.by = BY_INDEX, .index = t->which.index + t->next - t->slice};
    t->wrong = r->type != REDIS_REPLY_ARRAY || r->elements > t->slice;
    for (size_t i = 0; i < t->slice && !t->wrong; i++, which.index++) {
        const redisReply *v = i < r->elements ? r->element[i] : NULL;
        struct cell value = {0};
        struct fault why;
        t->wrong = v != NULL && (v->type != REDIS_REPLY_STRING ||
                                 layout_parse(t->type->of, v->str, v->len, &value, &why) < 0);
        container_pick(node, &which, value);
    }
}

void target_take_value(struct target *t, const redisReply *r)
{
    struct fault why;
    if (picks_some(t)) {
        take_some(t, r);
        return;
    }
    t->wrong = r->type == REDIS_REPLY_STRING
                   ? layout_parse(t->type->of, r->str, r->len, &t->value, &why) < 0
                   : r->type != REDIS_REPLY_NIL;
}

/* Who has one of them already keeps it: something in it may be on its way. */
static void pick_records(struct target *t)
{
    struct container *node = t->cell->container;
    struct named which = {.by = BY_INDEX, .index = t->which.index + t->next - t->slice};
    for (size_t i = 0; i < t->slice; i++, which.index++) {
        struct named pk = {.by = BY_KEY, .key = ""};
        struct cell value = {0};
        if (i < t->nrecords) {
            value = (struct cell){.record = t->records[i]};
            value.kind = CELL_RECORD;
            (void)cell_get_str(&value.record->pk, &pk.key, &pk.len);
        }
        container_pick(node, &which, i < t->nrecords ? cell_str(pk.key, pk.len) : value);
        const struct cell *known = container_picked(node, &pk);
        if (known != NULL && known->kind == CELL_RECORD)
            cell_free(&value);
        else if (i < t->nrecords)
            container_pick(node, &pk, value);
    }
    t->nrecords = 0;
}

void target_pick(struct target *t)
{
    struct container *node = t->cell->container;
    struct named which = t->which;
    if (t->wrong) {
        target_clear(t);
        t->picks = false;
        return;
    }
    if (picks_some(t)) {
        if (type_atomic(t->type->of))
            pick_records(t);
        t->filled = t->last;
        return;
    }
    if (!t->last && t->nrecords == 0)
        return; /* not in this piece */
    t->last = true;
    if (t->nrecords == 1) {
        t->value = (struct cell){.record = t->records[0]};
        t->value.kind = CELL_RECORD;
        t->nrecords = 0;
        const char *pk = "";
        size_t len = 0;
        (void)cell_get_str(&t->value.record->pk, &pk, &len);
        if (which.by == BY_INDEX) {
            container_pick(node, &which, cell_str(pk, len));
            which = (struct named){.by = BY_KEY, .key = pk, .len = len};
        }
    }
    container_pick(node, &which, t->value);
    t->value = (struct cell){0};
    t->filled = true;
}
