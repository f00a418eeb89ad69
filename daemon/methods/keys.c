/* keys: see keys.h. SCAN gives the Redis keys in no order and may give one twice; what it gives
 * is passed on page by page, so that neither side holds more than a page. A page is put together
 * from several SCANs, between which Redis serves others.
 *
 * In a cluster a page may have to wait: for a slot that is on the move, or a master that fails
 * over. It is answered then with what it has, or, if that is nothing, tries again up to
 * commit.queue_time. */
#include "daemon/methods/keys.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/lister.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/scan_place.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>

#define COUNT_DEFAULT 1000
#define COUNT_MAX 100000

#define STEP 1000 /* keys that one SCAN looks at: 3 ms of Redis' time at most */
struct page {
    struct keys *all;
    struct session *session;
    uint64_t id;
    const struct model *model;
    struct upstream *up;
    struct scan_place place; /* of one Redis */
    int64_t left;            /* keys to look at */
    struct buf match;        /* with a NUL */
    struct buf found;        /* MessagePack */
    struct buf key;          /* one of them */
    uint32_t count;

    struct listing *listing; /* NULL: there is one Redis */
    struct list_page step;
};

struct keys {
    struct exec *exec;
    struct lister *lister; /* NULL: there is one Redis */
};

static void page_free(struct page *p)
{
    session_settle(p->session);
    session_unref(p->session);
    buf_free(&p->match);
    buf_free(&p->found);
    buf_free(&p->key);
    list_page_free(&p->step);
    free(p->listing);
    free(p);
}

static void refuse(struct page *p, const char *why)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "Redis did not list the keys: %s", why);
    session_fault(p->session, p->id, &f);
    page_free(p);
}

static void answer(struct page *p, const char *cursor, size_t len)
{
    struct buf *out = session_result(p->session, p->id);
    pack_map(out, 2);
    pack_cstr(out, "cursor");
    pack_str(out, cursor, len);
    pack_cstr(out, "keys");
    pack_array(out, p->count);
    buf_append(out, p->found.data, p->found.len);
    session_done(p->session);
    page_free(p);
}

/* The Redis key of a document of this model, in p->key its own. */
static bool is_listed(struct page *p, const char *name, size_t len)
{
    const char *suffix;
    size_t suffix_len, head = strlen(p->model->name);
    buf_clear(&p->key);
    return layout_split(exec_names(p->all->exec), name, len, &p->key, &suffix, &suffix_len) &&
           suffix_len == 0 && p->key.len > head && p->key.data[head] == ':' &&
           memcmp(p->key.data, p->model->name, head) == 0;
}

static void take(struct page *p, const char *name, size_t len)
{
    if (!is_listed(p, name, len))
        return;
    pack_str(&p->found, (const char *)p->key.data, p->key.len);
    p->count++;
}

static bool is_scanned(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
           r->element[0]->type == REDIS_REPLY_STRING && r->element[0]->len > 0 &&
           r->element[0]->len < sizeof(((struct page *)0)->place.at) &&
           strspn(r->element[0]->str, "0123456789") == r->element[0]->len &&
           r->element[1]->type == REDIS_REPLY_ARRAY;
}

/* How many keys the next SCAN looks at. */
static unsigned next_step(struct page *p)
{
    int64_t n = p->left < STEP ? p->left : STEP;
    p->left -= n;
    return (unsigned)n;
}

/* ---- one Redis ---- */

static void scan(struct page *p);

static void answer_scan(struct page *p)
{
    struct buf text = BUF_INIT;
    bool all = strcmp(p->place.at, "0") == 0;
    scan_place_text(&p->place, &text);
    answer(p, all ? "0" : (char *)text.data, all ? 1 : text.len);
    buf_free(&text);
}

static void on_scanned(void *arg, unsigned index, redisReply *reply)
{
    struct page *p = arg;
    (void)index;
    if (reply == NULL) {
        refuse(p, "the connection was lost");
    } else if (reply->type == REDIS_REPLY_ERROR) {
        refuse(p, reply->str);
    } else if (!is_scanned(reply)) {
        refuse(p, "its answer is no page of SCAN");
    } else {
        for (size_t i = 0; i < reply->element[1]->elements; i++) {
            const redisReply *name = reply->element[1]->element[i];
            if (name->type == REDIS_REPLY_STRING)
                take(p, name->str, name->len);
        }
        strcpy(p->place.at, reply->element[0]->str);
        if (p->left > 0 && strcmp(p->place.at, "0") != 0)
            scan(p);
        else
            answer_scan(p);
    }
}

static void scan(struct page *p)
{
    struct buf out = BUF_INIT;
    char count[16];
    p->up = lane_upstream(exec_lane(p->all->exec));
    scan_place_enter(&p->place, p->up);
    snprintf(count, sizeof(count), "%u", next_step(p));
    resp_words(&out, "SCAN", p->place.at, "MATCH", (char *)p->match.data, "COUNT", count, "TYPE",
               "hash", NULL);
    if (!upstream_send(p->up, out.data, out.len, 1, on_scanned, p))
        refuse(p, upstream_why(p->up));
    buf_free(&out);
}

/* ---- a cluster ---- */

static void answer_place(struct page *p)
{
    struct buf cursor = BUF_INIT;
    bool all = listing_slot(p->listing, 0) < 0;
    if (!all)
        listing_text(p->listing, &cursor);
    answer(p, all ? "0" : (char *)cursor.data, all ? 1 : cursor.len);
    buf_free(&cursor);
}

static void ask_node(struct page *p)
{
    if (listing_slot(p->listing, 0) < 0) {
        answer_place(p);
        return;
    }
    p->step.count = next_step(p);
    /* Who has something to answer does not wait for a slot that is on the move. */
    p->step.patience = p->count > 0 ? 0 : (int64_t)exec_config(p->all->exec)->queue_time;
    lister_ask(p->all->lister, &p->step);
}

static void on_listed(void *arg, enum list_end end, const char *why)
{
    struct page *p = arg;
    struct cursor in = cursor_of(p->step.names.data, p->step.names.len);
    const char *name;
    size_t len;
    if (end == LISTED_LATER && p->count > 0) {
        answer_place(p);
    } else if (end != LISTED_PAGE) {
        refuse(p, why);
    } else {
        while (in.at < in.end && cursor_str(&in, &name, &len) == 0)
            take(p, name, len);
        if (p->left > 0)
            ask_node(p);
        else
            answer_place(p);
    }
}

/* ---- interface ---- */

static bool take_cursor(struct page *p, const char *s, size_t len)
{
    if (len == 1 && *s == '0')
        return true;
    return p->listing != NULL ? listing_read(p->listing, s, len) == 0
                              : scan_place_read(&p->place, s, len);
}

static int options(struct page *p, struct cursor *in, bool present, struct fault *f)
{
    uint32_t n;
    if (!present || cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the options should be a map {cursor?, count?}");
    for (uint32_t i = 0; i < n; i++) {
        const char *name, *s;
        size_t len, s_len;
        if (cursor_str(in, &name, &len) < 0)
            return fault_set(f, FAULT_BAD_REQUEST, "an option's name should be a str");
        if (len == 6 && memcmp(name, "cursor", 6) == 0 && cursor_str(in, &s, &s_len) == 0 &&
            take_cursor(p, s, s_len))
            continue;
        if (!(len == 5 && memcmp(name, "count", 5) == 0 && cursor_int(in, &p->left) == 0 &&
              p->left > 0 && p->left <= COUNT_MAX))
            return fault_set(f, FAULT_BAD_REQUEST,
                             "option '%.*s' is not cursor (a str that the last page gave) or count "
                             "(1 to %d)",
                             (int)len, name, COUNT_MAX);
    }
    return 0;
}

/* With a tag the model's name stands behind that. */
static void make_match(struct page *p)
{
    const struct names *names = exec_names(p->all->exec);
    layout_pattern(names->prefix, strlen(names->prefix), &p->match);
    buf_printf(&p->match, names->tags ? ":{*%s:*" : ":{%s:*}", p->model->name);
    buf_append(&p->match, "", 1);
}

static int read_request(struct page *p, struct session *s, const struct rpc *msg, struct fault *f)
{
    struct cursor in = msg->params;
    const char *name;
    size_t len;
    if (msg->nparams < 1 || msg->nparams > 2 || cursor_str(&in, &name, &len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "doc.keys takes [model, {cursor?, count?}?]");
    if ((p->model = schema_model(exec_schema(p->all->exec), name, len)) == NULL)
        return fault_set(f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined", (int)len, name);
    if (!permit_may(session_permit(s), p->model, "doc.keys", RIGHT_READ))
        return permit_refuse(f, session_permit(s), "doc.keys", p->model->name, RIGHT_READ);
    return options(p, &in, msg->nparams == 2, f);
}

void keys_request(struct keys *k, struct session *s, const struct rpc *msg)
{
    struct fault f;
    struct page *p = alloc_zeroed(1, sizeof(*p));
    p->all = k;
    p->session = session_ref(s);
    p->id = msg->id;
    p->left = COUNT_DEFAULT;
    scan_place_begin(&p->place);
    session_defer(s);
    if (k->lister != NULL)
        p->listing = alloc_zeroed(1, sizeof(*p->listing));
    if (read_request(p, s, msg, &f) < 0) {
        session_fault(s, msg->id, &f);
        page_free(p);
        return;
    }
    make_match(p);
    p->step.listing = p->listing;
    p->step.match = (char *)p->match.data;
    p->step.type = "hash";
    p->step.done = on_listed;
    p->step.arg = p;
    if (p->listing != NULL)
        ask_node(p);
    else
        scan(p);
}

void keys_stop(struct keys *k)
{
    if (k->lister != NULL)
        lister_stop(k->lister);
}

struct lister *keys_lister(const struct keys *k)
{
    return k->lister;
}

struct keys *keys_new(struct event_base *base, struct exec *exec)
{
    struct keys *k = alloc_zeroed(1, sizeof(*k));
    k->exec = exec;
    if (router_is_cluster(lanes_router(exec_lanes(exec))))
        k->lister = lister_new(base, exec);
    return k;
}

void keys_free(struct keys *k)
{
    if (k->lister != NULL)
        lister_free(k->lister);
    free(k);
}
