/* plan: see plan.h. */
#include "daemon/methods/plan.h"
#include "daemon/base/hash.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/find_first_script.h"
#include "daemon/methods/find_script.h"
#include "protocol/alloc.h"
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>

#define NEVER UINT64_MAX /* what no index can find */

/* ---- sources ---- */

static struct source *add(struct plan *p, const struct index *ix, enum source_kind kind,
                          const struct expr *leaf, unsigned value)
{
    vec_push(p->all, p->n, p->cap,
             (struct source){.kind = kind, .ix = ix, .leaf = leaf, .value = value});
    return &p->all[p->n - 1];
}

static void name_key(const struct plan *p, struct source *s, const char *text, size_t len)
{
    if (s->overflow)
        buf_printf(&s->key, "%s:@index:%s/%s*", p->prefix, p->model->name, s->ix->path);
    else
        index_key(p->prefix, NULL, p->model, s->ix, text, len, &s->key);
}

/* The text that the value has in Redis; false: it is null. */
static bool raw_of(const struct expr *e, unsigned value, struct buf *out)
{
    size_t len;
    const uint8_t *bytes = cell_bytes(&e->values[value], &len);
    struct cursor in = cursor_of(bytes, len);
    struct item it;
    static const struct type real = {.kind = TYPE_FLOAT};
    const struct type *t = type_bare(e->type);
    if (cursor_peek(&in, &it) < 0 || it.kind == ITEM_NIL)
        return false;
    layout_raw(t->kind == TYPE_INT && it.kind == ITEM_FLOAT ? &real : t, &e->values[value], out);
    return true;
}

/* Documents with too many elements to be in the index may hold it. */
static void add_overflow(struct plan *p, const struct index *ix, const struct expr *e,
                         unsigned value)
{
    if (ix->at == AT_FIELD)
        return;
    struct source *s = add(p, ix, SOURCE_SET, e, value);
    s->overflow = true;
    name_key(p, s, NULL, 0);
}

static void add_set(struct plan *p, const struct index *ix, const struct expr *e, unsigned value,
                    const char *text, size_t len)
{
    struct source *s = add(p, ix, SOURCE_SET, e, value);
    name_key(p, s, text, len);
    add_overflow(p, ix, e, value);
}

static void add_number(struct plan *p, const struct index *ix, const struct expr *e, unsigned value,
                       const struct buf *raw)
{
    struct source *s = add(p, ix, SOURCE_NUMBER, e, value);
    bool low = e->kind == EXPR_LESS || e->kind == EXPR_AT_MOST;
    bool high = e->kind == EXPR_MORE || e->kind == EXPR_AT_LEAST;
    name_key(p, s, NULL, 0);
    if (low)
        buf_printf(&s->from, "-inf");
    else
        index_number(ix->type, (char *)raw->data, raw->len, &s->from);
    if (high)
        buf_printf(&s->to, "+inf");
    else
        index_number(ix->type, (char *)raw->data, raw->len, &s->to);
    add_overflow(p, ix, e, value);
}

static void add_text(struct plan *p, const struct index *ix, const struct expr *e, unsigned value,
                     const struct buf *raw)
{
    struct source *s = add(p, ix, SOURCE_TEXT, e, value);
    size_t len = raw->len < INDEX_TEXT_MAX ? raw->len : INDEX_TEXT_MAX;
    bool low = e->kind == EXPR_LESS || e->kind == EXPR_AT_MOST;
    bool high = e->kind == EXPR_MORE || e->kind == EXPR_AT_LEAST;
    name_key(p, s, NULL, 0);
    buf_printf(&s->from, low ? "-" : "[");
    if (!low)
        buf_append(&s->from, raw->data, len);
    buf_printf(&s->to, high ? "+" : "[");
    if (!high) {
        buf_append(&s->to, raw->data, len);
        buf_append(&s->to, "\xff", 1);
    }
    add_overflow(p, ix, e, value);
}

/* All that indexes can say to one value of a comparison: the best kind of them. */
static void add_value(struct plan *p, const struct expr *e, unsigned value)
{
    const char *path = e->path.text;
    size_t len = strlen(path);
    struct buf raw = BUF_INIT;
    bool some = raw_of(e, value, &raw);
    const char *text = some ? (raw.len > 0 ? (char *)raw.data : "") : NULL; /* NULL: null */
    bool equal = e->kind == EXPR_EQUAL || e->kind == EXPR_IN;
    bool by_text = !some || type_bare(e->type)->kind != TYPE_ZONED; /* one moment has many texts */
    const struct index *exact = index_find(p->indexes, path, len, INDEX_EXACT);
    const struct index *range = index_find(p->indexes, path, len, INDEX_RANGE);
    const struct index *prefix = index_find(p->indexes, path, len, INDEX_PREFIX);
    const struct index *tags = index_find(p->indexes, path, len, INDEX_TAGS);
    bool ordered = e->kind >= EXPR_LESS && e->kind <= EXPR_AT_LEAST;
    if (e->kind == EXPR_HAS && tags != NULL && some && by_text)
        add_set(p, tags, e, value, text, raw.len);
    else if (equal && exact != NULL && by_text && (some || exact->at == AT_FIELD))
        add_set(p, exact, e, value, text, raw.len);
    else if ((equal || ordered) && range != NULL && some)
        add_number(p, range, e, value, &raw);
    else if ((equal || ordered || e->kind == EXPR_PREFIX) && prefix != NULL && some)
        add_text(p, prefix, e, value, &raw);
    buf_free(&raw);
}

static struct source *first_of(const struct plan *p, const struct expr *leaf)
{
    for (unsigned i = 0; i < p->n; i++) {
        if (p->all[i].leaf == leaf)
            return &p->all[i];
    }
    return NULL;
}

/* Bounds of one number from both sides are one range. */
static void join_bounds(struct plan *p, const struct expr *both)
{
    for (const struct expr *a = both->first; a != NULL; a = a->next) {
        struct source *s = first_of(p, a);
        if (s == NULL || s->kind != SOURCE_NUMBER || s->ix->at != AT_FIELD)
            continue;
        for (const struct expr *b = both->first; b != NULL && s->another == NULL; b = b->next) {
            const struct source *o = b != a ? first_of(p, b) : NULL;
            if (o == NULL || o->ix != s->ix || o->kind != SOURCE_NUMBER)
                continue;
            bool lower = s->from.len == 4 && memcmp(s->from.data, "-inf", 4) == 0;
            bool upper = s->to.len == 4 && memcmp(s->to.data, "+inf", 4) == 0;
            const struct buf *bound = lower ? &o->from : &o->to;
            if (!lower && !upper)
                continue;
            struct buf *mine = lower ? &s->from : &s->to;
            if (bound->len == 4 && memcmp(bound->data + 1, "inf", 3) == 0)
                continue;
            buf_clear(mine);
            buf_append(mine, bound->data, bound->len);
            s->another = b;
        }
    }
}

static void collect(struct plan *p, const struct expr *e)
{
    if (e->kind > EXPR_NOT) {
        for (unsigned i = 0; i < e->nvalues; i++)
            add_value(p, e, i);
        return;
    }
    for (const struct expr *part = e->kind == EXPR_NOT ? NULL : e->first; part != NULL;
         part = part->next)
        collect(p, part);
    if (e->kind == EXPR_AND)
        join_bounds(p, e);
}

/* ---- the plan ---- */

struct plan *plan_new(const char *prefix, bool cluster, const struct indexes *indexes,
                      const struct model *m, const struct expr *e, const struct expr_path *sort,
                      bool rev)
{
    struct plan *p = alloc_zeroed(1, sizeof(*p));
    *p = (struct plan){.prefix = prefix,
                       .cluster = cluster,
                       .indexes = indexes,
                       .model = m,
                       .e = e,
                       .sort = sort,
                       .rev = rev};
    p->ready = alloc_zeroed(indexes != NULL ? indexes->n : 1, sizeof(*p->ready));
    collect(p, e);
    p->keys = (struct source){.kind = SOURCE_KEYS, .good = true};
    buf_printf(&p->keys.key, "%s:{%s:", prefix, m->name);
    layout_pattern((char *)p->keys.key.data, p->keys.key.len, &p->keys.from);
    buf_printf(&p->keys.from, "*}");
    return p;
}

static void source_free(struct source *s)
{
    buf_free(&s->key);
    buf_free(&s->from);
    buf_free(&s->to);
}

void plan_free(struct plan *p)
{
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->n; i++)
        source_free(&p->all[i]);
    source_free(&p->keys);
    free(p->all);
    buf_free(&p->how);
    free(p->chosen);
    free(p->filters);
    free(p->ready);
    free(p);
}

/* ---- how many are there ---- */

void plan_key(const struct plan *p, const struct source *s, const char *tag, struct buf *out)
{
    size_t head = tag != NULL ? strlen(p->prefix) + strlen(":@index") : 0;
    buf_append(out, s->key.data, head);
    if (tag != NULL)
        buf_printf(out, "{%s}", tag);
    buf_append(out, s->key.data + head, s->key.len - head);
}

void plan_ask_count(const struct plan *p, const struct source *s, const char *tag, struct buf *out)
{
    struct buf key = BUF_INIT;
    plan_key(p, s, tag, &key);
    const char *argv[] = {s->kind == SOURCE_SET      ? "SCARD"
                          : s->kind == SOURCE_NUMBER ? "ZCOUNT"
                                                     : "ZLEXCOUNT",
                          (char *)key.data, (char *)s->from.data, (char *)s->to.data};
    size_t len[] = {strlen(argv[0]), key.len, s->from.len, s->to.len};
    resp_command(out, s->kind == SOURCE_SET ? 2 : 4, argv, len);
    buf_free(&key);
}

unsigned plan_ask(const struct plan *p, struct buf *out)
{
    if (p->indexes == NULL)
        return 0;
    unsigned n = p->indexes->n;
    char *state = index_states_key(p->prefix, p->cluster);
    buf_printf(out, "*%u\r\n", 2 + n);
    resp_bulk(out, "HMGET", 5);
    resp_bulk(out, state, strlen(state));
    for (unsigned i = 0; i < n; i++) {
        const char *name = p->indexes->all[i].state;
        resp_bulk(out, name, strlen(name));
    }
    for (unsigned i = 0; i < p->n && !p->cluster; i++)
        plan_ask_count(p, &p->all[i], NULL, out);
    free(state);
    return 1 + (p->cluster ? 0 : p->n);
}

static int spoilt(const struct plan *p, const struct index *ix, struct fault *f)
{
    return fault_set(f, FAULT_CORRUPT,
                     "the index on %s: a Redis key that begins with %s:@index:%s/%s is not what "
                     "rapyerd made of it (or it was not, and not all documents are in the index "
                     "yet); index.check with repair removes it, and the index is built anew",
                     ix->path, p->prefix, p->model->name, ix->id);
}

/* The range index that has the documents in their order; NULL: there is none. */
static const struct index *order_index(const struct plan *p)
{
    if (p->sort == NULL || p->sort->type->kind == TYPE_OPTIONAL)
        return NULL;
    const struct index *ix =
        index_find(p->indexes, p->sort->text, strlen(p->sort->text), INDEX_RANGE);
    return ix != NULL && ix->at == AT_FIELD ? ix : NULL;
}

static int take_states(struct plan *p, const redisReply *reply, struct fault *f)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != p->indexes->n)
        return fault_set(f, FAULT_CORRUPT, "the Redis key %s:@index should be a hash", p->prefix);
    for (unsigned i = 0; i < p->indexes->n; i++) {
        const redisReply *r = reply->element[i];
        const struct index *ix = &p->indexes->all[i];
        struct buf state = BUF_INIT;
        index_state(ix, &state);
        bool text = r->type == REDIS_REPLY_STRING;
        p->ready[i] = text && r->len == state.len && memcmp(r->str, state.data, r->len) == 0;
        buf_free(&state);
        if (!text || !index_was_spoilt(r->str, r->len))
            continue;
        for (unsigned s = 0; s < p->n; s++) {
            if (p->all[s].ix == ix)
                return spoilt(p, ix, f);
        }
        if (ix == order_index(p))
            p->noted = ix;
    }
    for (unsigned s = 0; s < p->n; s++)
        p->all[s].good = p->ready[p->all[s].ix - p->indexes->all];
    return 0;
}

int plan_answer(struct plan *p, unsigned i, const redisReply *reply, struct fault *f)
{
    if (i == 0)
        return take_states(p, reply, f);
    struct source *s = &p->all[i - 1];
    return plan_counted(p, s, reply, &s->count, f);
}

bool plan_is_spoilt(struct plan *p, const struct source *s, const redisReply *reply,
                    struct fault *f)
{
    if (s->ix == NULL || reply->type != REDIS_REPLY_ERROR ||
        strstr(reply->str, "WRONGTYPE") == NULL)
        return false;
    p->spoilt = s->ix;
    spoilt(p, s->ix, f);
    return true;
}

int plan_counted(struct plan *p, const struct source *s, const redisReply *reply, uint64_t *count,
                 struct fault *f)
{
    if (plan_is_spoilt(p, s, reply, f))
        return -1;
    if (reply->type != REDIS_REPLY_INTEGER)
        return fault_set(f, FAULT_UNAVAILABLE, "Redis did not count what is in the index on %s",
                         s->ix->path);
    *count = (uint64_t)reply->integer;
    return 0;
}

/* ---- choosing ---- */

/* So many documents have to be looked at, where indexes find them; else NEVER. */
static uint64_t cost_of(const struct plan *p, const struct expr *e)
{
    uint64_t cost = e->kind == EXPR_OR ? 0 : NEVER;
    if (e->kind > EXPR_NOT) {
        unsigned values = 0;
        cost = 0;
        for (unsigned i = 0; i < p->n; i++) {
            const struct source *s = &p->all[i];
            if (s->leaf != e)
                continue;
            if (!s->good)
                return NEVER;
            values += !s->overflow;
            cost += s->count;
        }
        return values == e->nvalues ? cost : NEVER;
    }
    for (const struct expr *part = e->first; part != NULL; part = part->next) {
        uint64_t one = cost_of(p, part);
        if (e->kind == EXPR_AND)
            cost = one < cost ? one : cost;
        else if (e->kind == EXPR_OR)
            cost = one == NEVER || cost == NEVER ? NEVER : cost + one;
    }
    return cost;
}

static void choose(struct plan *p, const struct source *s)
{
    p->chosen = alloc_resized(p->chosen, p->nchosen + 1, sizeof(*p->chosen));
    p->chosen[p->nchosen++] = s;
}

static void choose_for(struct plan *p, const struct expr *e)
{
    if (e->kind > EXPR_NOT) {
        for (unsigned i = 0; i < p->n; i++) {
            if (p->all[i].leaf == e)
                choose(p, &p->all[i]);
        }
        return;
    }
    uint8_t at = 0, best = 0;
    const struct expr *chosen = e->first;
    for (const struct expr *part = e->first; part != NULL; part = part->next, at++) {
        if (e->kind == EXPR_OR) {
            choose_for(p, part);
        } else if (cost_of(p, part) < cost_of(p, chosen)) {
            chosen = part;
            best = at;
        }
    }
    if (e->kind == EXPR_AND) {
        buf_append(&p->how, &best, 1);
        choose_for(p, chosen);
    }
}

/* As choose_for, of each `and` the part that `how` says. -1: it says none that can be chosen. */
static int choose_as(struct plan *p, const struct expr *e, struct cursor *how)
{
    if (e->kind > EXPR_NOT) {
        choose_for(p, e);
        return cost_of(p, e) == NEVER ? -1 : 0;
    }
    if (e->kind != EXPR_AND && e->kind != EXPR_OR)
        return -1;
    const struct expr *part = e->first;
    if (e->kind == EXPR_AND) {
        if (how->at == how->end)
            return -1;
        for (uint8_t n = *how->at++; n > 0 && part != NULL; n--)
            part = part->next;
        return part == NULL ? -1 : choose_as(p, part, how);
    }
    int rc = 0;
    for (; part != NULL && rc == 0; part = part->next)
        rc = choose_as(p, part, how);
    return rc;
}

static bool is_chosen(const struct plan *p, const struct source *s)
{
    for (unsigned i = 0; i < p->nchosen; i++) {
        if (p->chosen[i] == s)
            return true;
    }
    return false;
}

/* What else has to hold, and an index can say of each document. */
static void filter_by(struct plan *p, const struct expr *e)
{
    if (e->kind == EXPR_AND) {
        for (const struct expr *part = e->first; part != NULL; part = part->next)
            filter_by(p, part);
        return;
    }
    const struct source *s = e->kind > EXPR_NOT && e->nvalues == 1 ? first_of(p, e) : NULL;
    if (s == NULL || !s->good || is_chosen(p, s) || s->kind == SOURCE_TEXT ||
        (s->kind == SOURCE_NUMBER && s->ix->at != AT_FIELD))
        return;
    for (unsigned i = 0; i < p->nchosen; i++) { /* it is in the bounds of one that is */
        if (p->chosen[i]->another == e)
            return;
    }
    p->filters = alloc_resized(p->filters, p->nfilters + 1, sizeof(*p->filters));
    p->filters[p->nfilters++] =
        (struct filter){.source = s, .overflow = s->ix->at != AT_FIELD ? s + 1 : NULL};
}

static bool restricts(const struct expr *e)
{
    return e->kind != EXPR_ALL;
}

/* That, if it has all documents. */
static const struct index *order_of(const struct plan *p)
{
    const struct index *ix = order_index(p);
    return ix != NULL && p->ready[ix - p->indexes->all] ? ix : NULL;
}

static void choose_order(struct plan *p, const struct index *ix)
{
    struct source *s = NULL;
    for (const struct expr *part = p->e->kind == EXPR_AND ? p->e->first : p->e;
         part != NULL && s == NULL; part = p->e->kind == EXPR_AND ? part->next : NULL) {
        struct source *of = part->kind > EXPR_NOT && part->nvalues == 1 ? first_of(p, part) : NULL;
        s = of != NULL && of->ix == ix ? of : NULL;
    }
    if (s == NULL) {
        s = &p->keys;
        source_free(s);
        *s = (struct source){.kind = SOURCE_NUMBER, .ix = ix, .good = true};
        name_key(p, s, NULL, 0);
        buf_printf(&s->from, "-inf");
        buf_printf(&s->to, "+inf");
    }
    p->ordered = true;
    choose(p, s);
}

static int refuse(const struct plan *p, struct fault *f)
{
    bool building = false;
    for (unsigned i = 0; i < p->n; i++)
        building = building || !p->all[i].good;
    if (building)
        return fault_set(f, FAULT_NO_INDEX,
                         "an index that would answer this is still being built; wait, or ask "
                         "with scan: true");
    return fault_set(f, FAULT_NO_INDEX,
                     "no index of model %s answers this, so that all its documents would have to "
                     "be looked at; declare a field with an index, or ask with scan: true",
                     p->model->name);
}

int plan_choose(struct plan *p, bool scan, uint64_t sorted_max, struct fault *f)
{
    uint64_t cost = cost_of(p, p->e);
    const struct index *order = order_of(p);
    bool by_order = (p->must_order || cost == NEVER || cost > sorted_max) &&
                    (!restricts(p->e) || scan || cost != NEVER);
    if (p->noted != NULL && by_order)
        return spoilt(p, p->noted, f);
    if (p->must_order && p->sort != NULL && order == NULL)
        return fault_set(f, FAULT_NO_INDEX,
                         "what changes documents goes by the order that a range index on %s has, "
                         "which has to be complete, and of a field that is not optional",
                         p->sort->text);
    if (order != NULL && by_order) {
        buf_append(&p->how, "o", 1);
        choose_order(p, order);
    } else if (cost != NEVER) {
        buf_append(&p->how, "i", 1);
        choose_for(p, p->e);
    } else if (scan) {
        buf_append(&p->how, "k", 1);
        choose(p, &p->keys);
    } else {
        return refuse(p, f);
    }
    filter_by(p, p->e);
    return 0;
}

int plan_choose_again(struct plan *p, bool scan, const void *how, size_t len, struct fault *f)
{
    struct cursor in = cursor_of(how, len);
    const struct index *order = order_of(p);
    int rc = -1;
    char first = len > 0 ? (char)*in.at++ : '\0';
    buf_append(&p->how, how, len);
    bool all = scan || !restricts(p->e) || cost_of(p, p->e) != NEVER;
    if (first == 'o' && p->noted != NULL)
        return spoilt(p, p->noted, f);
    if (first == 'o' && order != NULL && all) {
        choose_order(p, order);
        rc = 0;
    } else if (first == 'i' && !(p->must_order && p->sort != NULL)) {
        rc = choose_as(p, p->e, &in);
    } else if (first == 'k' && scan && !(p->must_order && p->sort != NULL)) {
        choose(p, &p->keys);
        rc = 0;
    }
    if (rc < 0 || in.at != in.end)
        return -1;
    filter_by(p, p->e);
    return 0;
}

uint64_t plan_hash(const struct plan *p)
{
    struct buf all = BUF_INIT;
    for (unsigned i = 0; i < p->nchosen; i++) {
        const struct source *s = p->chosen[i];
        pack_uint(&all, s->kind);
        pack_bin(&all, s->key.data, s->key.len);
        pack_bin(&all, s->from.data, s->from.len);
        pack_bin(&all, s->to.data, s->to.len);
    }
    uint64_t hash = hash_alike(all.data, all.len);
    buf_free(&all);
    return hash;
}

/* ---- pages ---- */

static void bulk(struct buf *out, const struct buf *b)
{
    resp_bulk(out, b->len > 0 ? (char *)b->data : "", b->len);
}

static void text(struct buf *out, const char *s)
{
    resp_bulk(out, s, strlen(s));
}

static void tagged(const struct plan *p, const struct source *s, const char *tag, struct buf *out)
{
    struct buf key = BUF_INIT;
    plan_key(p, s, tag, &key);
    bulk(out, &key);
    buf_free(&key);
}

static const char *find_hash(void)
{
    static char hex[2 * SHA_DIGEST_LENGTH + 1];
    unsigned char digest[SHA_DIGEST_LENGTH];
    if (hex[0] == '\0') {
        EVP_Digest(find_script, sizeof(find_script) - 1, digest, NULL, EVP_sha1(), NULL);
        for (unsigned i = 0; i < sizeof(digest); i++)
            snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    }
    return hex;
}

void plan_page(const struct plan *p, const struct source *s, const char *tag, const char *at,
               size_t at_len, unsigned count, bool by_hash, struct buf *out)
{
    static const char *const kinds[] = {[SOURCE_SET] = "set",
                                        [SOURCE_NUMBER] = "number",
                                        [SOURCE_TEXT] = "text",
                                        [SOURCE_KEYS] = "keys"};
    char number[RESP_DECIMAL_MAX];
    buf_printf(out, "*%u\r\n", 3 + 1 + 2 * p->nfilters + 6 + 3 * p->nfilters);
    text(out, by_hash ? "EVALSHA" : "EVAL");
    if (by_hash)
        text(out, find_hash());
    else
        resp_bulk(out, find_script, sizeof(find_script) - 1);
    resp_bulk(out, number, resp_decimal(number, 1 + 2 * (int64_t)p->nfilters));
    tagged(p, s, tag, out);
    for (unsigned i = 0; i < p->nfilters; i++) {
        const struct filter *by = &p->filters[i];
        tagged(p, by->source, tag, out);
        /* No name that is not ours: the user may have no right to it. */
        tagged(p, by->overflow != NULL ? by->overflow : by->source, tag, out);
    }
    text(out, kinds[s->kind]);
    resp_bulk(out, at, at_len);
    resp_bulk(out, number, resp_decimal(number, count));
    bulk(out, &s->from);
    bulk(out, &s->to);
    text(out, p->ordered && p->rev ? "rev" : "");
    for (unsigned i = 0; i < p->nfilters; i++) {
        const struct source *by = p->filters[i].source;
        text(out, kinds[by->kind]);
        bulk(out, &by->from);
        bulk(out, &by->to);
    }
}

/* It has to hold whatever else does, and a set has all for which it does. */
static bool is_needed(const struct plan *p, const struct source *s)
{
    const struct expr *part = p->e->kind == EXPR_AND ? p->e->first : p->e;
    while (part != NULL && part != s->leaf)
        part = p->e->kind == EXPR_AND ? part->next : NULL;
    return part != NULL && part->nvalues == 1 && s->kind == SOURCE_SET && s->ix->at == AT_FIELD;
}

unsigned plan_ask_first(const struct plan *p, unsigned count, struct buf *out)
{
    char number[RESP_DECIMAL_MAX];
    unsigned n = 0;
    while (n < p->n && is_needed(p, &p->all[n]))
        n++;
    if (p->cluster || n == 0 || n < p->n)
        return 0;
    size_t len = resp_decimal(number, p->n);
    if (n == 1) {
        buf_printf(out, "*5\r\n");
        text(out, "SSCAN");
        bulk(out, &p->all->key);
        text(out, "0");
        text(out, "COUNT");
    } else {
        buf_printf(out, "*%u\r\n", 4 + n);
        text(out, "EVAL");
        resp_bulk(out, find_first_script, sizeof(find_first_script) - 1);
        resp_bulk(out, number, len);
        for (unsigned i = 0; i < n; i++)
            bulk(out, &p->all[i].key);
    }
    resp_bulk(out, number, resp_decimal(number, count));
    return 1;
}

bool plan_take_first(const struct plan *p, const redisReply *reply, struct first_page *out)
{
    const redisReply *pks = reply;
    bool intersected = p->nfilters > 0;
    if (p->ordered || p->nchosen != 1 || p->nfilters + 1 != p->n || *p->chosen == &p->keys)
        return false;
    *out = (struct first_page){.next = "", .looked = p->chosen[0]->count};
    if (!intersected) {
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
            reply->element[0]->type != REDIS_REPLY_STRING)
            return false;
        pks = reply->element[1];
        out->next = strcmp(reply->element[0]->str, "0") == 0 ? "" : reply->element[0]->str;
        out->looked = pks->elements;
    }
    out->pks = pks->element;
    out->npks = pks->elements;
    return pks->type == REDIS_REPLY_ARRAY;
}

static void pack_source(const struct source *s, struct buf *out)
{
    pack_map(out, 3);
    pack_cstr(out, "path");
    if (s->ix != NULL)
        pack_cstr(out, s->ix->path);
    else
        pack_nil(out);
    pack_cstr(out, "index");
    pack_cstr(out, s->ix == NULL ? "scan" : index_kind_name(s->ix->kind));
    pack_cstr(out, "documents");
    if (s->leaf == NULL)
        pack_nil(out);
    else
        pack_uint(out, s->count);
}

void plan_pack(const struct plan *p, uint64_t looked, struct buf *out)
{
    pack_map(out, 4);
    pack_cstr(out, "looked_at");
    pack_uint(out, looked);
    pack_cstr(out, "from");
    pack_array(out, p->nchosen);
    for (unsigned i = 0; i < p->nchosen; i++)
        pack_source(p->chosen[i], out);
    pack_cstr(out, "and");
    pack_array(out, p->nfilters);
    for (unsigned i = 0; i < p->nfilters; i++)
        pack_source(p->filters[i].source, out);
    pack_cstr(out, "sorted");
    pack_cstr(out, p->sort == NULL ? "no" : p->ordered ? "by the index" : "afterwards");
}
