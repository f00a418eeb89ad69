/* find: see find.h. */
#include "daemon/methods/find.h"
#include "daemon/base/hash.h"
#include "daemon/methods/find_page.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000
#define REST_MAX 100000
#define PAGE_MIN 20
#define PAGE_MAX 250 /* pks that one question to Redis is for: a millisecond of its time */

/* A document that is an answer. */
struct hit {
    struct buf key, sort, document; /* packed */
};

struct find {
    struct exec *exec;
    struct session *session;
    uint64_t id;
    struct buf params; /* what was asked */
    const struct model *model;
    struct expr *e;
    bool count; /* only how many there are */
    /* Options. */
    struct get_options get;
    struct expr_path sort;
    bool sorts, rev, scan, keys, explain;
    int64_t limit, offset;
    struct buf cursor; /* where to begin; empty: at the beginning */
    uint64_t asked;    /* a hash of what was asked, in cursors */
    /* The way. */
    struct plan *plan;
    unsigned replies, source;
    struct fault why;       /* the plan is none */
    struct buf at;          /* where the page in hand begins, in the source */
    struct buf rest;        /* packed pks of the page before that, from a cursor */
    struct buf next;        /* where the next page begins */
    struct buf pks, places; /* packed arrays: of the page, as documents' keys; where each is */
    uint32_t npks;
    uint64_t looked, counted;
    struct page_find page;
    uint64_t *seen; /* hashes of the keys of all that were found; a power of two, 0: free */
    size_t nseen, seen_cap;
    struct hit *hits;
    unsigned nhits, hits_cap;
    size_t bytes; /* of them */
};

static void hit_free(struct hit *h)
{
    buf_free(&h->key);
    buf_free(&h->sort);
    buf_free(&h->document);
}

static void find_free(struct find *fi)
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
    buf_free(&fi->params);
    buf_free(&fi->cursor);
    buf_free(&fi->at);
    buf_free(&fi->rest);
    buf_free(&fi->next);
    buf_free(&fi->pks);
    buf_free(&fi->places);
    free(fi);
}

static void refuse(struct find *fi, const struct fault *f)
{
    session_fault(fi->session, fi->id, f);
    find_free(fi);
}

static struct upstream *upstream_of(const struct find *fi)
{
    return lane_upstream(exec_lane(fi->exec));
}

static void unavailable(struct find *fi)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(upstream_of(fi)));
    refuse(fi, &f);
}

/* ---- cursors: hash, plan, its hash, source, place, the rest of a page, in hexadecimal ---- */

/* source: of what is sorted afterwards, how many come before. */
static void pack_cursor(struct find *fi, int64_t source, const struct buf *at,
                        const struct buf *rest, struct buf *out)
{
    struct buf in = BUF_INIT, text = BUF_INIT;
    pack_uint(&in, fi->asked);
    pack_bin(&in, fi->plan->how.data, fi->plan->how.len);
    pack_uint(&in, plan_hash(fi->plan) >> 1);
    pack_int(&in, source);
    pack_bin(&in, at->data, at->len);
    pack_bin(&in, rest->data, rest->len);
    for (size_t i = 0; i < in.len; i++)
        buf_printf(&text, "%02x", in.data[i]);
    pack_str(out, (char *)text.data, text.len);
    buf_free(&in);
    buf_free(&text);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool sorts_afterwards(const struct find *fi)
{
    return fi->sorts && !fi->plan->ordered;
}

/* Packed pks, not more than one request may name. */
static bool is_rest(const char *s, size_t len)
{
    struct cursor in = cursor_of(s, len);
    const char *pk;
    size_t pk_len;
    unsigned n = 0;
    while (in.at < in.end && n++ < REST_MAX) {
        if (cursor_str(&in, &pk, &pk_len) < 0)
            return false;
    }
    return in.at == in.end;
}

/* Takes the plan of another find, and the place where it ended: what is found by another index has
 * other places. */
static int read_cursor(struct find *fi, struct fault *f)
{
    struct buf bytes = BUF_INIT;
    const char *s = (char *)fi->cursor.data, *how, *at, *rest;
    size_t how_len, at_len, rest_len;
    int64_t asked, plan, source;
    bool good = fi->cursor.len % 2 == 0;
    for (size_t i = 0; i + 1 < fi->cursor.len && good; i += 2) {
        good = digit(s[i]) >= 0 && digit(s[i + 1]) >= 0;
        buf_append(&bytes, &(uint8_t){(uint8_t)(digit(s[i]) * 16 + digit(s[i + 1]))}, 1);
    }
    struct cursor in = cursor_of(bytes.data, bytes.len);
    good = good && cursor_int(&in, &asked) == 0 && (uint64_t)asked == fi->asked &&
           cursor_str(&in, &how, &how_len) == 0 &&
           plan_choose_again(fi->plan, fi->scan, how, how_len) == 0 &&
           cursor_int(&in, &plan) == 0 && (uint64_t)plan == plan_hash(fi->plan) >> 1 &&
           cursor_int(&in, &source) == 0 && source >= 0 &&
           (source < fi->plan->nchosen || sorts_afterwards(fi)) &&
           cursor_str(&in, &at, &at_len) == 0 && cursor_str(&in, &rest, &rest_len) == 0 &&
           is_rest(rest, rest_len);
    if (good && sorts_afterwards(fi)) {
        fi->offset = source < INT64_MAX - fi->offset ? fi->offset + source : INT64_MAX;
    } else if (good) {
        fi->source = (unsigned)source;
        buf_append(&fi->at, at, at_len);
        buf_append(&fi->rest, rest, rest_len);
    }
    buf_free(&bytes);
    return good ? 0
                : fault_set(f, FAULT_BAD_REQUEST,
                            "the cursor is none that this find, with the same expression and sort, "
                            "has given, or indexes have changed since; begin without one");
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

/* Of all that were found those that are wanted. True: there are more behind them. */
static bool cut_sorted(struct find *fi)
{
    if (fi->nhits == 0)
        return false;
    qsort_r(fi->hits, fi->nhits, sizeof(*fi->hits), by_value, fi);
    unsigned from = fi->offset < fi->nhits ? (unsigned)fi->offset : fi->nhits;
    unsigned n = fi->nhits - from < fi->limit ? fi->nhits - from : (unsigned)fi->limit;
    for (unsigned i = 0; i < from; i++)
        hit_free(&fi->hits[i]);
    memmove(fi->hits, fi->hits + from, (fi->nhits - from) * sizeof(*fi->hits));
    for (unsigned i = n; i < fi->nhits - from; i++)
        hit_free(&fi->hits[i]);
    bool more = n < fi->nhits - from;
    fi->nhits = n;
    return more;
}

/* at NULL: there is no more. */
static void answer(struct find *fi, const struct buf *at, const struct buf *rest)
{
    if (fi->count) {
        struct buf *out = session_result(fi->session, fi->id);
        pack_uint(out, fi->counted);
        session_done(fi->session);
        find_free(fi);
        return;
    }
    static const struct buf none = BUF_INIT;
    bool more = sorts_afterwards(fi) && cut_sorted(fi);
    struct buf *out = session_result(fi->session, fi->id);
    pack_map(out, 2 + !fi->keys + fi->explain);
    pack_hits(fi, out);
    pack_cstr(out, "cursor");
    if (more)
        pack_cursor(fi, fi->offset + fi->nhits, &none, &none, out);
    else if (at != NULL)
        pack_cursor(fi, fi->source, at, rest, out);
    else
        pack_nil(out);
    if (fi->explain) {
        pack_cstr(out, "explain");
        plan_pack(fi->plan, fi->looked, out);
    }
    session_done(fi->session);
    find_free(fi);
}

/* ---- pages ---- */

static void ask_page(struct find *fi);

static void next_page(struct find *fi)
{
    static const struct buf none = BUF_INIT;
    bool whole = fi->count || sorts_afterwards(fi);
    buf_clear(&fi->at);
    buf_append(&fi->at, fi->next.data, fi->next.len);
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
        refuse(fi, &f);
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

static void read_found(const struct find *fi, struct cursor *in, struct found *out)
{
    uint32_t n;
    struct cursor keys = cursor_of(fi->pks.data, fi->pks.len);
    *out = (struct found){.key = ""};
    cursor_array(in, &n);
    cursor_int(in, &out->number);
    cursor_value(in, &out->sort, &out->sort_len);
    cursor_value(in, &out->document, &out->document_len);
    cursor_array(&keys, &n);
    for (int64_t i = 0; i < out->number; i++)
        cursor_skip(&keys);
    cursor_str(&keys, &out->key, &out->key_len);
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
    if (fi->count)
        return false;
    if (!sorts_afterwards(fi) && fi->offset > 0) {
        fi->offset--;
        return false;
    }
    keep(fi, found);
    return !sorts_afterwards(fi) && fi->nhits >= fi->limit;
}

static int check_room(const struct find *fi, struct fault *f)
{
    if (session_fits(fi->session, fi->bytes, f) < 0)
        return -1;
    if (!sorts_afterwards(fi) || fi->nhits <= exec_config(fi->exec)->find_sorted)
        return 0;
    return fault_set(f, FAULT_TOO_LARGE,
                     "more than %u documents would have to be sorted (limits.find_sorted); a range "
                     "index on %s has them in order, if it is not optional",
                     exec_config(fi->exec)->find_sorted, fi->sort.text);
}

static void answer_behind(struct find *fi, int64_t number)
{
    struct buf at = BUF_INIT, rest = BUF_INIT;
    place_behind(fi, number, &at, &rest);
    bool end = at.len == 0 && rest.len == 0 && ++fi->source >= fi->plan->nchosen;
    answer(fi, end ? NULL : &at, &rest);
    buf_free(&at);
    buf_free(&rest);
}

static void on_looked(void *arg, const struct fault *f, const struct buf *hits)
{
    struct find *fi = arg;
    struct fault full;
    struct found found;
    uint32_t n = 0;
    if (f != NULL) {
        refuse(fi, f);
        return;
    }
    struct cursor in = cursor_of(hits->data, hits->len);
    cursor_array(&in, &n);
    for (uint32_t i = 0; i < n; i++) {
        read_found(fi, &in, &found);
        bool last = take_found(fi, &found);
        if (check_room(fi, &full) < 0) {
            refuse(fi, &full);
            return;
        }
        if (last) {
            answer_behind(fi, found.number);
            return;
        }
    }
    next_page(fi);
}

static void clear_page(struct find *fi)
{
    buf_clear(&fi->pks);
    buf_clear(&fi->places);
    buf_clear(&fi->next);
    fi->npks = 0;
}

static void add_to_page(struct find *fi, const char *pk, size_t len, const char *place,
                        size_t place_len)
{
    struct fault f;
    char *key = alloc_text("%s:%.*s", fi->model->name, (int)len, pk);
    if (exec_check_key(fi->exec, key, strlen(key), &f) == 0) {
        pack_str(&fi->pks, key, strlen(key));
        pack_str(&fi->places, pk, len);
        pack_str(&fi->places, place, place_len);
        fi->npks++;
    }
    free(key);
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
            add_to_page(fi, pk->str, pk->len, place->str, place->len);
    }
    pack_array_close(&fi->pks, array, fi->npks);
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
        add_to_page(fi, pk, len, "", 0);
    pack_array_close(&fi->pks, array, fi->npks);
    fi->looked += fi->npks;
}

static void look_at_page(struct find *fi)
{
    if (fi->npks == 0) {
        next_page(fi);
        return;
    }
    fi->page = (struct page_find){.e = fi->e,
                                  .plan = fi->plan,
                                  .source = fi->source,
                                  .sort = sorts_afterwards(fi) ? &fi->sort : NULL,
                                  .get = fi->count || fi->keys ? NULL : &fi->get,
                                  .fresh = fi->get.fresh,
                                  .done = on_looked,
                                  .arg = fi};
    find_page(fi->exec, &fi->page, fi->session, fi->id, &fi->pks);
}

static void on_page(void *arg, unsigned index, redisReply *reply)
{
    struct find *fi = arg;
    struct fault f;
    (void)index;
    if (reply == NULL) {
        unavailable(fi);
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        bool wrong = reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "WRONGTYPE") != NULL;
        fault_set(&f, wrong ? FAULT_CORRUPT : FAULT_UNAVAILABLE,
                  "Redis did not give a page of the index: %s",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "its answer is none");
        refuse(fi, &f);
        return;
    }
    if (!session_open(fi->session)) {
        find_free(fi); /* nobody waits any more */
        return;
    }
    take_page(fi, reply);
    look_at_page(fi);
}

static void ask_page(struct find *fi)
{
    struct buf out = BUF_INIT;
    const struct source *s = fi->plan->chosen[fi->source];
    int64_t want = fi->limit - fi->nhits + fi->offset;
    unsigned count = fi->count || sorts_afterwards(fi) || want > PAGE_MAX || s->kind == SOURCE_KEYS
                         ? PAGE_MAX
                     : want < PAGE_MIN ? PAGE_MIN
                                       : (unsigned)want;
    plan_page(fi->plan, s, (char *)fi->at.data, fi->at.len, count, &out);
    bool sent = upstream_send(upstream_of(fi), out.data, out.len, 1, on_page, fi);
    buf_free(&out);
    if (!sent)
        unavailable(fi);
}

/* ---- the plan ---- */

static void begin(struct find *fi)
{
    struct fault f;
    int rc = fi->cursor.len > 0
                 ? read_cursor(fi, &f)
                 : plan_choose(fi->plan, fi->scan, exec_config(fi->exec)->find_sorted, &f);
    if (rc < 0) {
        refuse(fi, &f);
    } else if (fi->rest.len > 0) {
        take_rest(fi);
        look_at_page(fi);
    } else {
        ask_page(fi);
    }
}

static void on_noted(void *arg, unsigned index, redisReply *reply)
{
    (void)arg;
    (void)index;
    (void)reply;
}

/* It is built anew when that key is gone (indexer.h). */
static void note_spoilt(struct find *fi)
{
    struct buf out = BUF_INIT;
    char *key = index_states_key(exec_config(fi->exec)->key_prefix);
    char *name = index_state_name(fi->model, fi->plan->spoilt);
    resp_words(&out, "HSET", key, name, "!", NULL);
    upstream_send(upstream_of(fi), out.data, out.len, 1, on_noted, NULL);
    buf_free(&out);
    free(key);
    free(name);
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
    if (fi->why.code == FAULT_NONE && plan_answer(fi->plan, index, reply, &f) < 0)
        fi->why = f;
    if (index + 1 < fi->replies)
        return;
    if (fi->plan->spoilt != NULL)
        note_spoilt(fi);
    if (fi->why.code != FAULT_NONE)
        refuse(fi, &fi->why);
    else
        begin(fi);
}

/* ---- what is asked ---- */

static int option(struct find *fi, const char *name, size_t len, struct cursor *in, struct fault *f)
{
    const char *s;
    size_t s_len;
    struct cursor value = *in;
    int rc = -1;
#define IS(text) (len == sizeof(text) - 1 && memcmp(name, text, len) == 0)
    if (IS("limit")) {
        rc = cursor_int(in, &fi->limit);
        rc = rc == 0 && fi->limit > 0 && fi->limit <= LIMIT_MAX ? 0 : -1;
    } else if (IS("offset")) {
        rc = cursor_int(in, &fi->offset);
        rc = rc == 0 && fi->offset >= 0 && fi->offset <= INT32_MAX ? 0 : -1;
    } else if (IS("scan")) {
        rc = cursor_bool(in, &fi->scan);
    } else if (IS("keys")) {
        rc = cursor_bool(in, &fi->keys);
    } else if (IS("explain")) {
        rc = cursor_bool(in, &fi->explain);
    } else if (IS("fresh")) {
        rc = cursor_bool(in, &fi->get.fresh);
    } else if (IS("version")) {
        rc = cursor_bool(in, &fi->get.version);
    } else if (IS("cursor")) {
        rc = cursor_nil(in) ? 0 : cursor_str(in, &s, &s_len);
        if (rc == 0 && in->at != value.at + 1)
            buf_append(&fi->cursor, s, s_len);
    } else if (IS("paths")) {
        rc = cursor_array(in, &fi->get.npaths);
        fi->get.has_paths = true;
        fi->get.paths = *in;
        for (uint32_t i = 0; rc == 0 && i < fi->get.npaths; i++)
            rc = cursor_str(in, &s, &s_len);
    } else if (IS("sort")) {
        rc = cursor_str(in, &s, &s_len);
        fi->rev = rc == 0 && s_len > 0 && *s == '-';
        fi->sorts = rc == 0;
        if (rc == 0 && expr_path_read(fi->model, s + fi->rev, s_len - fi->rev, &fi->sort, f) < 0)
            return -1;
        if (rc == 0 && (fi->sort.inner != NULL || type_container(fi->sort.type) != NULL))
            return fault_set(f, FAULT_BAD_PATH, "documents are sorted by a field with one value");
    } else {
        return fault_set(f, FAULT_BAD_REQUEST,
                         "there is no option '%.*s'; there are sort, limit, offset, cursor, paths, "
                         "version, fresh, keys, scan and explain",
                         (int)len, name);
    }
#undef IS
    if (rc == 0)
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST,
                     "option '%.*s' is not what it should be: limit 1 to %d, offset an int, sort, "
                     "cursor a str, paths a list of str, the others bool",
                     (int)len, name, LIMIT_MAX);
}

static int options(struct find *fi, struct cursor *in, struct fault *f)
{
    uint32_t n;
    if (cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the options should be a map");
    for (uint32_t i = 0; i < n; i++) {
        const char *name;
        size_t len;
        if (params_str(in, "an option's name", &name, &len, f) < 0 ||
            option(fi, name, len, in, f) < 0)
            return -1;
        if (fi->count && !(len == 4 && memcmp(name, "scan", 4) == 0) &&
            !(len == 5 && memcmp(name, "fresh", 5) == 0))
            return fault_set(f, FAULT_BAD_REQUEST,
                             "find.count has the options scan and fresh, not '%.*s'", (int)len,
                             name);
    }
    return 0;
}

static int read_request(struct find *fi, struct cursor in, uint32_t nparams, struct fault *f)
{
    const char *name;
    size_t len;
    if (nparams < 1 || nparams > 3 || cursor_str(&in, &name, &len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "%s takes [model, expression?, options?]",
                         fi->count ? "find.count" : "find");
    fi->model = schema_model(exec_schema(fi->exec), name, len);
    if (fi->model == NULL)
        return fault_set(f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined; define it first",
                         (int)(len < 80 ? len : 80), name);
    if (!fi->model->atomic)
        return fault_set(f, FAULT_UNKNOWN_MODEL, "%s is a plain model: it has no documents",
                         fi->model->name);
    if (!permit_may(session_permit(fi->session), fi->model, RIGHT_READ))
        return permit_refuse_model(f, RIGHT_READ, fi->count ? "find.count" : "find", fi->model);
    const uint8_t *from = in.at;
    struct cursor all = cursor_of("\xc0", 1);
    if (expression_parse(fi->model, nparams > 1 ? &in : &all, &fi->e, f) < 0)
        return -1;
    fi->asked = hash_of((const char *)from, nparams > 1 ? (size_t)(in.at - from) : 0) >> 1;
    if (nparams > 2 && options(fi, &in, f) < 0)
        return -1;
    if (fi->sorts)
        fi->asked ^= hash_of(fi->sort.text, strlen(fi->sort.text)) >> (1 + fi->rev);
    return 0;
}

static void request(struct exec *e, struct session *s, const struct rpc *msg, bool count)
{
    struct find *fi = alloc_zeroed(1, sizeof(*fi));
    struct fault f;
    fi->exec = e;
    fi->session = session_ref(s);
    fi->id = msg->id;
    fi->count = count;
    fi->limit = LIMIT_DEFAULT;
    session_defer(s);
    buf_append(&fi->params, msg->params.at, (size_t)(msg->params.end - msg->params.at));
    if (read_request(fi, cursor_of(fi->params.data, fi->params.len), msg->nparams, &f) < 0) {
        refuse(fi, &f);
        return;
    }
    fi->plan = plan_new(exec_config(e)->key_prefix, indexes_of(exec_indexes(e), fi->model),
                        fi->model, fi->e, fi->sorts ? &fi->sort : NULL, fi->rev);
    struct buf out = BUF_INIT;
    fi->replies = plan_ask(fi->plan, &out);
    bool sent = fi->replies == 0 ||
                upstream_send(upstream_of(fi), out.data, out.len, fi->replies, on_planned, fi);
    buf_free(&out);
    if (!sent)
        unavailable(fi);
    else if (fi->replies == 0)
        begin(fi);
}

void find_request(struct exec *e, struct session *s, const struct rpc *msg)
{
    request(e, s, msg, false);
}

void find_count_request(struct exec *e, struct session *s, const struct rpc *msg)
{
    request(e, s, msg, true);
}
