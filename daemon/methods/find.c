/* find: see find.h. */
#include "daemon/methods/find.h"
#include "daemon/base/hash.h"
#include "daemon/methods/find_inside.h"
#include "daemon/redis/scan_place.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define PAGE_MIN 20

static void hit_free(struct hit *h)
{
    buf_free(&h->key);
    buf_free(&h->sort);
    buf_free(&h->document);
}

void find_drop(struct find *fi)
{
    session_settle(fi->session);
    session_unref(fi->session);
    plan_free(fi->plan);
    expression_free(fi->e);
    free(fi->sort.text);
    for (unsigned i = 0; i < fi->nhits; i++)
        hit_free(&fi->hits[i]);
    free(fi->hits);
    free(fi->seen);
    find_change_free(fi);
    find_slots_free(fi);
    find_scan_free(fi);
    find_order_free(fi);
    buf_free(&fi->params);
    buf_free(&fi->cursor);
    buf_free(&fi->at);
    buf_free(&fi->place);
    buf_free(&fi->rest);
    buf_free(&fi->next);
    buf_free(&fi->pks);
    buf_free(&fi->places);
    free(fi);
}

static void answer(struct find *fi, const struct buf *at, const struct buf *rest);

/* Of what has changed documents it is told which: it ends before the page in hand. */
void find_refuse(struct find *fi, const struct fault *f)
{
    if (find_changes(fi) && find_change_stop(fi, f)) {
        answer(fi, &fi->at, &fi->rest);
        return;
    }
    session_fault(fi->session, fi->id, f);
    find_drop(fi);
}

static struct upstream *upstream_of(const struct find *fi)
{
    return lane_upstream(exec_lane(fi->exec));
}

void find_unavailable(struct find *fi, const char *why)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", why);
    find_refuse(fi, &f);
}

static void unavailable(struct find *fi)
{
    find_unavailable(fi, upstream_why(upstream_of(fi)));
}

/* ---- the answer ---- */

/* By the sorted value, then by the key; null last in any case. */
static int by_value(const void *a, const void *b, void *arg)
{
    const struct find *fi = arg;
    const struct hit *x = a, *y = b;
    struct cursor v = cursor_of(x->sort.data, x->sort.len),
                  w = cursor_of(y->sort.data, y->sort.len);
    int c = value_compare(fi->sort.type, v, w);
    bool nil = cursor_nil(&v) || cursor_nil(&w);
    if (c == 0)
        return strcmp((char *)x->key.data, (char *)y->key.data);
    return fi->rev && !nil ? -c : c;
}

static void pack_hits(struct find *fi, struct buf *out)
{
    pack_cstr(out, "keys");
    pack_array(out, fi->nhits);
    for (unsigned i = 0; i < fi->nhits; i++)
        pack_str(out, (char *)fi->hits[i].key.data, fi->hits[i].key.len - 1);
    if (fi->keys)
        return;
    pack_cstr(out, "documents");
    pack_array(out, fi->nhits);
    for (unsigned i = 0; i < fi->nhits; i++)
        buf_append(out, fi->hits[i].document.data, fi->hits[i].document.len);
}

/* How many of them are not behind the place at which the find begins. */
static unsigned count_before(struct find *fi)
{
    struct cursor in = cursor_of(fi->place.data, fi->place.len);
    struct hit place = {0};
    const uint8_t *value;
    const char *key;
    size_t len;
    unsigned n = 0;
    if (fi->place.len == 0)
        return 0;
    cursor_value(&in, &value, &len);
    buf_append(&place.sort, value, len);
    cursor_str(&in, &key, &len);
    buf_append(&place.key, key, len);
    buf_append(&place.key, "", 1);
    while (n < fi->nhits && by_value(&fi->hits[n], &place, fi) <= 0)
        n++;
    hit_free(&place);
    return n;
}

/* Of all that were found those that are wanted. True: there are more behind them, from `place` on.
 */
static bool cut_sorted(struct find *fi)
{
    if (fi->nhits == 0)
        return false;
    qsort_r(fi->hits, fi->nhits, sizeof(*fi->hits), by_value, fi);
    unsigned before = count_before(fi), left = fi->nhits - before;
    unsigned from = before + (fi->offset < left ? (unsigned)fi->offset : left);
    left = fi->nhits - from;
    unsigned n = left < fi->limit ? left : (unsigned)fi->limit;
    for (unsigned i = 0; i < from; i++)
        hit_free(&fi->hits[i]);
    memmove(fi->hits, fi->hits + from, left * sizeof(*fi->hits));
    for (unsigned i = n; i < left; i++)
        hit_free(&fi->hits[i]);
    fi->nhits = n;
    if (n == left)
        return false;
    const struct hit *last = &fi->hits[n - 1];
    buf_clear(&fi->place);
    buf_append(&fi->place, last->sort.data, last->sort.len);
    pack_str(&fi->place, (char *)last->key.data, last->key.len - 1);
    fi->offset = 0;
    return true;
}

static void pack_found(struct find *fi, struct buf *out)
{
    if (find_changes(fi))
        find_change_pack(fi, out);
    else
        pack_hits(fi, out);
}

/* at NULL: there is no more. */
static void answer(struct find *fi, const struct buf *at, const struct buf *rest)
{
    if (fi->what == FIND_COUNT) {
        struct buf *out = session_result(fi->session, fi->id);
        pack_uint(out, fi->counted);
        session_done(fi->session);
        find_drop(fi);
        return;
    }
    static const struct buf none = BUF_INIT;
    const struct fault *f = find_changes(fi) ? find_change_fault(fi) : NULL;
    if (f != NULL) {
        session_fault(fi->session, fi->id, f);
        find_drop(fi);
        return;
    }
    bool more = find_sorts(fi) && cut_sorted(fi);
    struct buf *out = session_result(fi->session, fi->id);
    pack_map(out, (find_changes(fi) ? 4 : 2 + !fi->keys) + fi->explain);
    pack_found(fi, out);
    pack_cstr(out, "cursor");
    if (more)
        find_cursor_pack(fi, 0, &fi->place, &none, out);
    else if (at != NULL)
        find_cursor_pack(fi, fi->source, at, rest, out);
    else
        pack_nil(out);
    if (fi->explain) {
        pack_cstr(out, "explain");
        plan_pack(fi->plan, fi->looked, out);
    }
    session_done(fi->session);
    find_drop(fi);
}

/* ---- pages ---- */

static void ask_page(struct find *fi);

static void next_page(struct find *fi)
{
    static const struct buf none = BUF_INIT;
    bool whole = fi->what == FIND_COUNT || find_sorts(fi);
    buf_clear(&fi->at);
    buf_append(&fi->at, fi->next.data, fi->next.len);
    buf_clear(&fi->rest);
    if (fi->at.len == 0 && ++fi->source >= fi->plan->nchosen) {
        answer(fi, NULL, NULL);
        return;
    }
    if (fi->looked < exec_config(fi->exec)->find_documents) {
        ask_page(fi);
    } else if (!whole) {
        answer(fi, &fi->at, &none);
    } else {
        struct fault f;
        fault_set(&f, FAULT_TOO_LARGE,
                  "more than %u documents would have to be looked at (limits.find_documents); ask "
                  "for less, or find page by page, with the cursor of each answer",
                  exec_config(fi->exec)->find_documents);
        find_refuse(fi, &f);
    }
}

/* ---- what was found ---- */

static bool see(struct find *fi, uint64_t hash)
{
    size_t at = hash & (fi->seen_cap - 1);
    while (fi->seen[at] != 0 && fi->seen[at] != hash)
        at = (at + 1) & (fi->seen_cap - 1);
    bool before = fi->seen[at] == hash;
    fi->nseen += !before;
    fi->seen[at] = hash;
    return before;
}

/* An index on elements has a document once for each of them, and Redis may give any twice. */
static bool seen_before(struct find *fi, const char *key, size_t len)
{
    if (2 * fi->nseen >= fi->seen_cap) {
        uint64_t *had = fi->seen;
        size_t cap = fi->seen_cap;
        fi->seen_cap = cap > 0 ? 2 * cap : 64;
        fi->seen = alloc_zeroed(fi->seen_cap, sizeof(*fi->seen));
        fi->nseen = 0;
        for (size_t i = 0; i < cap; i++) {
            if (had[i] != 0)
                see(fi, had[i]);
        }
        free(had);
    }
    return see(fi, hash_of(key, len) | 1);
}

/* One of [number, sort value, document]. */
struct found {
    int64_t number;
    const char *key;
    size_t key_len;
    const uint8_t *sort, *document;
    size_t sort_len, document_len;
};

/* Numbers go up: `keys` is behind the key of the one before, of which `next` is the number. */
static void read_found(struct cursor *in, struct cursor *keys, int64_t *next, struct found *out)
{
    uint32_t n;
    *out = (struct found){.key = ""};
    cursor_array(in, &n);
    cursor_int(in, &out->number);
    cursor_value(in, &out->sort, &out->sort_len);
    cursor_value(in, &out->document, &out->document_len);
    for (; *next < out->number; ++*next)
        cursor_skip(keys);
    cursor_str(keys, &out->key, &out->key_len);
    ++*next;
}

static void keep(struct find *fi, const struct found *found)
{
    struct hit h = {0};
    buf_append(&h.key, found->key, found->key_len);
    buf_append(&h.key, "", 1);
    buf_append(&h.sort, found->sort, found->sort_len);
    buf_append(&h.document, found->document, found->document_len);
    fi->bytes += found->key_len + found->document_len;
    vec_push(fi->hits, fi->nhits, fi->hits_cap, h);
}

/* Where to go on behind the document of this number: in the source's order behind it; or, where
 * that has none, behind the page, with what is left of it (asked for again it would be another
 * one). */
static void place_behind(struct find *fi, int64_t number, struct buf *at, struct buf *rest)
{
    struct cursor in = cursor_of(fi->places.data, fi->places.len);
    const char *pk, *place;
    size_t pk_len, place_len;
    for (int64_t i = 0; i < fi->npks; i++) {
        cursor_str(&in, &pk, &pk_len);
        cursor_str(&in, &place, &place_len);
        if (i == number && place_len > 0) {
            buf_append(at, place, place_len);
            return;
        }
        if (i > number)
            pack_str(rest, pk, pk_len);
    }
    buf_append(at, fi->next.data, fi->next.len);
}

/* Of one of the page. True: that was the last one that is wanted. */
static bool take_found(struct find *fi, const struct found *found)
{
    if (seen_before(fi, found->key, found->key_len))
        return false;
    fi->counted++;
    if (fi->what == FIND_COUNT)
        return false;
    if (!find_sorts(fi) && fi->offset > 0) {
        fi->offset--;
        return false;
    }
    if (find_changes(fi)) {
        find_change_add(fi, found->key, found->key_len);
        return false;
    }
    keep(fi, found);
    return !find_sorts(fi) && fi->nhits >= fi->limit;
}

static int check_room(const struct find *fi, struct fault *f)
{
    if (session_fits(fi->session, fi->bytes, f) < 0)
        return -1;
    if (!find_sorts(fi) || fi->nhits <= exec_config(fi->exec)->find_sorted)
        return 0;
    return fault_set(f, FAULT_TOO_LARGE,
                     "more than %u documents would have to be sorted (limits.find_sorted); a range "
                     "index on %s has them in order, if it is not optional",
                     exec_config(fi->exec)->find_sorted, fi->sort.text);
}

static void answer_at(struct find *fi, const struct buf *at, const struct buf *rest)
{
    bool end = at->len == 0 && rest->len == 0 && ++fi->source >= fi->plan->nchosen;
    answer(fi, end ? NULL : at, rest);
}

static void answer_behind(struct find *fi, int64_t number)
{
    struct buf at = BUF_INIT, rest = BUF_INIT;
    place_behind(fi, number, &at, &rest);
    answer_at(fi, &at, &rest);
    buf_free(&at);
    buf_free(&rest);
}

void find_changed_page(struct find *fi)
{
    struct buf rest = BUF_INIT;
    find_change_rest(fi, &rest);
    if (find_change_ended(fi))
        answer_at(fi, &fi->next, &rest);
    else
        next_page(fi);
    buf_free(&rest);
}

static void on_looked(void *arg, const struct fault *f, const struct buf *hits)
{
    struct find *fi = arg;
    struct fault full;
    struct found found;
    uint32_t n = 0;
    if (f != NULL) {
        find_refuse(fi, f);
        return;
    }
    struct cursor in = cursor_of(hits->data, hits->len);
    struct cursor keys = cursor_of(fi->pks.data, fi->pks.len);
    int64_t next = 0;
    cursor_array(&keys, &n);
    cursor_array(&in, &n);
    for (uint32_t i = 0; i < n; i++) {
        read_found(&in, &keys, &next, &found);
        bool last = take_found(fi, &found);
        if (check_room(fi, &full) < 0) {
            find_refuse(fi, &full);
            return;
        }
        if (last) {
            answer_behind(fi, found.number);
            return;
        }
    }
    if (find_changes(fi))
        find_change_begin(fi);
    else
        next_page(fi);
}

static void clear_page(struct find *fi)
{
    buf_clear(&fi->pks);
    buf_clear(&fi->places);
    buf_clear(&fi->next);
    fi->npks = 0;
}

size_t find_page_open(struct find *fi)
{
    clear_page(fi);
    return pack_array_open(&fi->pks);
}

void find_page_close(struct find *fi, size_t array)
{
    pack_array_close(&fi->pks, array, fi->npks);
}

void find_page_add(struct find *fi, const char *pk, size_t len, const char *place, size_t place_len)
{
    struct fault f;
    struct buf key = BUF_INIT;
    buf_append(&key, fi->model->name, strlen(fi->model->name));
    buf_append(&key, ":", 1);
    buf_append(&key, pk, strnlen(pk, len));
    if (exec_check_key(fi->exec, (char *)key.data, key.len, &f) == 0) {
        pack_str(&fi->pks, (char *)key.data, key.len);
        pack_str(&fi->places, pk, len);
        pack_str(&fi->places, place, place_len);
        fi->npks++;
    }
    buf_free(&key);
}

static void take_page(struct find *fi, const redisReply *reply)
{
    clear_page(fi);
    buf_append(&fi->next, reply->element[0]->str, reply->element[0]->len);
    fi->looked +=
        reply->element[1]->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->element[1]->integer : 0;
    size_t array = pack_array_open(&fi->pks);
    for (size_t i = 2; i + 1 < reply->elements; i += 2) {
        const redisReply *pk = reply->element[i], *place = reply->element[i + 1];
        if (pk->type == REDIS_REPLY_STRING && place->type == REDIS_REPLY_STRING)
            find_page_add(fi, pk->str, pk->len, place->str, place->len);
    }
    pack_array_close(&fi->pks, array, fi->npks);
}

/* The page that was asked for before there was a plan. False: it is another one that is wanted. */
static bool take_first(struct find *fi, const redisReply *reply)
{
    struct first_page page;
    if (!plan_take_first(fi->plan, reply, &page))
        return false;
    clear_page(fi);
    buf_printf(&fi->next, "%s", page.next);
    fi->looked += page.looked;
    size_t array = pack_array_open(&fi->pks);
    for (size_t i = 0; i < page.npks; i++) {
        if (page.pks[i]->type == REDIS_REPLY_STRING)
            find_page_add(fi, page.pks[i]->str, page.pks[i]->len, "", 0);
    }
    pack_array_close(&fi->pks, array, fi->npks);
    return true;
}

/* What another find has left of a page; behind it is what begins at `at`. */
static void take_rest(struct find *fi)
{
    struct cursor in = cursor_of(fi->rest.data, fi->rest.len);
    const char *pk;
    size_t len;
    clear_page(fi);
    buf_append(&fi->next, fi->at.data, fi->at.len);
    size_t array = pack_array_open(&fi->pks);
    while (in.at < in.end && cursor_str(&in, &pk, &len) == 0)
        find_page_add(fi, pk, len, "", 0);
    pack_array_close(&fi->pks, array, fi->npks);
    fi->looked += fi->npks;
}

void find_look(struct find *fi)
{
    if (fi->npks == 0) {
        next_page(fi);
        return;
    }
    fi->page = (struct page_find){.e = fi->e,
                                  .method = find_name(fi),
                                  .plan = fi->plan,
                                  .source = fi->source,
                                  .sort = find_sorts(fi) ? &fi->sort : NULL,
                                  .get = fi->what != FIND_DOCUMENTS || fi->keys ? NULL : &fi->get,
                                  .fresh = fi->get.fresh,
                                  .done = on_looked,
                                  .arg = fi};
    find_page(fi->exec, &fi->page, fi->session, fi->id, &fi->pks);
}

static void note_spoilt(struct find *fi)
{
    struct buf out = BUF_INIT;
    if (fi->plan->spoilt == NULL)
        return;
    char *key = index_states_key(exec_config(fi->exec)->key_prefix, fi->scatter != NULL);
    char *name = index_state_name(fi->model, fi->plan->spoilt);
    resp_words(&out, "HSET", key, name, "!", NULL);
    upstream_send(upstream_of(fi), out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
    free(key);
    free(name);
}

bool find_over(struct find *fi, const char *why)
{
    note_spoilt(fi);
    if (why != NULL)
        find_unavailable(fi, why);
    else if (fi->why.code != FAULT_NONE)
        find_refuse(fi, &fi->why);
    else if (!session_open(fi->session))
        find_drop(fi); /* nobody waits any more */
    else
        return false;
    return true;
}

bool find_is_page(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 &&
           reply->element[0]->type == REDIS_REPLY_STRING;
}

void find_no_page(struct find *fi, const redisReply *reply)
{
    struct fault f;
    if (!plan_is_spoilt(fi->plan, fi->plan->chosen[fi->source], reply, &f))
        fault_set(&f, FAULT_UNAVAILABLE, "Redis did not give a page of the index: %s",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "its answer is none");
    if (fi->why.code == FAULT_NONE)
        fi->why = f;
}

static void on_page(void *arg, unsigned index, redisReply *reply)
{
    struct find *fi = arg;
    (void)index;
    if (reply == NULL) {
        unavailable(fi);
        return;
    }
    if (!find_is_page(reply))
        find_no_page(fi, reply);
    if (find_over(fi, NULL))
        return;
    take_page(fi, reply);
    find_look(fi);
}

/* How many are asked for in one page; all: not only those that are answered have to be looked at.
 */
static unsigned page_size(const struct find *fi, bool all)
{
    int64_t want = fi->limit - fi->nhits + fi->offset;
    if (all || want > PAGE_MAX)
        return PAGE_MAX;
    return want < PAGE_MIN ? PAGE_MIN : (unsigned)want;
}

/* What another run of Redis has given of a SCAN is of no use here, and the source begins anew: some
 * may be met again. */
static void keep_place(struct find *fi)
{
    enum source_kind kind = fi->plan->chosen[fi->source]->kind;
    bool another = scan_run_enter(fi->run, upstream_of(fi));
    if (another && (kind == SOURCE_SET || kind == SOURCE_KEYS) && fi->at.len > 0) {
        buf_clear(&fi->at);
        buf_clear(&fi->rest);
    }
}

unsigned find_page_size(const struct find *fi)
{
    const struct source *s = fi->plan->chosen[fi->source];
    return page_size(fi, fi->what != FIND_DOCUMENTS || find_sorts(fi) || s->kind == SOURCE_KEYS);
}

static void ask_page(struct find *fi)
{
    struct buf out = BUF_INIT;
    const struct source *s = fi->plan->chosen[fi->source];
    if (fi->scatter != NULL) {
        if (s->kind == SOURCE_KEYS)
            find_scan_page(fi);
        else if (fi->plan->ordered)
            find_order_page(fi);
        else
            find_slots_page(fi);
        return;
    }
    keep_place(fi);
    plan_page(fi->plan, s, NULL, (char *)fi->at.data, fi->at.len, find_page_size(fi), false, &out);
    bool sent = upstream_send(upstream_of(fi), out.data, out.len, 1, on_page, fi);
    buf_free(&out);
    if (!sent)
        unavailable(fi);
}

/* ---- the plan ---- */

void find_begin(struct find *fi, const redisReply *first)
{
    struct fault f;
    int rc = fi->cursor.len > 0
                 ? find_cursor_read(fi, &f)
                 : plan_choose(fi->plan, fi->scan, exec_config(fi->exec)->find_sorted, &f);
    if (rc == 0 && fi->plan->nchosen > 0 && fi->scatter == NULL)
        keep_place(fi);
    if (rc < 0) {
        find_refuse(fi, &f);
    } else if (fi->rest.len > 0) {
        take_rest(fi);
        find_look(fi);
    } else if (fi->plan->nchosen == 0) {
        answer(fi, NULL, NULL); /* an `in` of no values: there is none */
    } else if (first != NULL && take_first(fi, first)) {
        find_look(fi);
    } else {
        ask_page(fi);
    }
}

/* In a cluster nobody counts all of it: only where it depends on that which index is asked. */
static bool wants_sample(const struct find *fi)
{
    return fi->scatter != NULL && fi->cursor.len == 0 &&
           (fi->plan->n > 1 || (fi->plan->n == 1 && (fi->sorts || fi->explain)));
}

void find_planned(struct find *fi, const redisReply *first)
{
    if (wants_sample(fi))
        find_slots_sample(fi);
    else
        find_begin(fi, first);
}

/* What is wrong with one answer is told when all have come. */
static void on_planned(void *arg, unsigned index, redisReply *reply)
{
    struct find *fi = arg;
    struct fault f;
    if (reply == NULL) {
        unavailable(fi);
        return;
    }
    bool last = index + 1 == fi->replies, page = last && fi->first;
    if (!page && fi->why.code == FAULT_NONE && plan_answer(fi->plan, index, reply, &f) < 0)
        fi->why = f;
    if (last && !find_over(fi, NULL))
        find_planned(fi, page ? reply : NULL);
}

static void ask_plan(struct find *fi)
{
    struct buf out = BUF_INIT;
    bool all = fi->what != FIND_DOCUMENTS || fi->sorts;
    fi->replies = plan_ask(fi->plan, &out);
    fi->first = fi->cursor.len == 0 && plan_ask_first(fi->plan, page_size(fi, all), &out) > 0;
    fi->replies += fi->first;
    bool sent = fi->replies == 0 ||
                upstream_send(upstream_of(fi), out.data, out.len, fi->replies, on_planned, fi);
    buf_free(&out);
    if (!sent)
        unavailable(fi);
    else if (fi->replies == 0)
        find_begin(fi, NULL);
}

void find_request(struct exec *e, const struct find_cluster *cluster, struct session *s,
                  const struct rpc *msg, enum find_what what)
{
    struct find *fi = alloc_zeroed(1, sizeof(*fi));
    struct fault f;
    fi->exec = e;
    fi->scatter = cluster->scatter;
    fi->lister = cluster->lister;
    fi->session = session_ref(s);
    fi->id = msg->id;
    fi->what = what;
    session_defer(s);
    buf_append(&fi->params, msg->params.at, (size_t)(msg->params.end - msg->params.at));
    if (find_read(fi, cursor_of(fi->params.data, fi->params.len), msg->nparams, &f) < 0) {
        find_refuse(fi, &f);
        return;
    }
    fi->plan = plan_new(exec_config(e)->key_prefix, fi->scatter != NULL,
                        indexes_of(exec_indexes(e), fi->model), fi->model, fi->e,
                        fi->sorts ? &fi->sort : NULL, fi->rev);
    fi->plan->must_order = find_changes(fi);
    if (fi->scatter != NULL && fi->plan->indexes != NULL)
        find_slots_states(fi);
    else
        ask_plan(fi);
}
