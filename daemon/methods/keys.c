/* keys: see keys.h. SCAN gives the Redis keys in no order and may give one twice; what it gives
 * is passed on page by page, so that neither side holds more than a page. A page is put together
 * from several SCANs, between which Redis serves others.
 *
 * In a cluster a page may have to wait: for a slot that is on the move, or a master that fails
 * over. It is answered then with what it has, or, if that is nothing, tries again up to
 * commit.queue_time. */
#include "daemon/methods/keys.h"
#include "daemon/base/clock.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/scan_place.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>

#define COUNT_DEFAULT 1000
#define COUNT_MAX 100000

#define STEP 1000 /* keys that one SCAN looks at: 3 ms of Redis' time at most */
#define AGAIN_MS 20

struct page {
    struct page *prev, *next;
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
    unsigned slot;           /* whose master is asked */
    struct buf step;         /* what SCAN gave: struct step_key, the key, and so on; */
    uint64_t scan;           /* and where it is now */
    bool down;
    char why[200]; /* what it gave instead */
    int64_t deadline;
};

struct step_key {
    uint16_t slot, len;
};

struct keys {
    struct exec *exec;
    struct router *router;
    struct page *waiting; /* utlist */
    struct event *again;
    bool stopped;
};

static void page_free(struct page *p)
{
    session_settle(p->session);
    session_unref(p->session);
    buf_free(&p->match);
    buf_free(&p->found);
    buf_free(&p->key);
    buf_free(&p->step);
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
static bool is_listed(struct page *p, const redisReply *name)
{
    const char *suffix;
    size_t suffix_len, head = strlen(p->model->name);
    buf_clear(&p->key);
    return name->type == REDIS_REPLY_STRING &&
           layout_split(exec_names(p->all->exec), name->str, name->len, &p->key, &suffix,
                        &suffix_len) &&
           suffix_len == 0 && p->key.len > head && p->key.data[head] == ':' &&
           memcmp(p->key.data, p->model->name, head) == 0;
}

static void take(struct page *p, const redisReply *names)
{
    for (size_t i = 0; i < names->elements; i++) {
        if (is_listed(p, names->element[i])) {
            pack_str(&p->found, (const char *)p->key.data, p->key.len);
            p->count++;
        }
    }
}

static bool is_scanned(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
           r->element[0]->type == REDIS_REPLY_STRING && r->element[0]->len > 0 &&
           r->element[0]->len < sizeof(((struct page *)0)->place.at) &&
           strspn(r->element[0]->str, "0123456789") == r->element[0]->len &&
           r->element[1]->type == REDIS_REPLY_ARRAY;
}

static void add_scan(struct page *p, const char *cursor, struct buf *out)
{
    char step[24];
    int64_t n = p->left < STEP ? p->left : STEP;
    snprintf(step, sizeof(step), "%" PRId64, n);
    p->left -= n;
    resp_words(out, "SCAN", cursor, "MATCH", (char *)p->match.data, "COUNT", step, "TYPE", "hash",
               NULL);
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
        take(p, reply->element[1]);
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
    p->up = lane_upstream(exec_lane(p->all->exec));
    scan_place_enter(&p->place, p->up);
    add_scan(p, p->place.at, &out);
    if (!upstream_send(p->up, out.data, out.len, 1, on_scanned, p))
        refuse(p, upstream_why(p->up));
    buf_free(&out);
}

/* ---- a cluster ---- */

static void plan_again(struct keys *k)
{
    if (k->waiting != NULL && !event_pending(k->again, EV_TIMEOUT, NULL))
        event_add(k->again, &(struct timeval){.tv_usec = AGAIN_MS * 1000});
}

static void answer_place(struct page *p)
{
    struct buf cursor = BUF_INIT;
    bool all = listing_slot(p->listing, 0) < 0;
    if (!all)
        listing_text(p->listing, &cursor);
    answer(p, all ? "0" : (char *)cursor.data, all ? 1 : cursor.len);
    buf_free(&cursor);
}

static void wait_for(struct page *p, const char *why)
{
    if (p->count > 0) {
        answer_place(p);
    } else if (p->all->stopped || clock_mono_ms() >= p->deadline) {
        refuse(p, why);
    } else {
        p->slot++; /* perhaps that can be listed */
        p->left = p->left > 0 ? p->left : STEP;
        DL_APPEND(p->all->waiting, p);
        plan_again(p->all);
    }
}

/* What SCAN gave is known to be of use only when its node has said which slots it has. */
static void put_by(struct page *p, const redisReply *names)
{
    for (size_t i = 0; i < names->elements; i++) {
        if (!is_listed(p, names->element[i]))
            continue;
        struct step_key head = {
            .slot = router_slot(p->all->router, names->element[i]->str, names->element[i]->len),
            .len = (uint16_t)p->key.len};
        buf_append(&p->step, &head, sizeof(head));
        buf_append(&p->step, p->key.data, p->key.len);
    }
}

static void take_step(struct page *p)
{
    struct step_key head;
    for (size_t at = 0; at < p->step.len; at += sizeof(head) + head.len) {
        memcpy(&head, p->step.data + at, sizeof(head));
        if (p->listing->slots[head.slot] != LISTED_NOW)
            continue;
        pack_str(&p->found, (char *)p->step.data + at + sizeof(head), head.len);
        p->count++;
    }
}

static void ask_node(struct page *p);

static void take_node(struct page *p, const redisReply *nodes)
{
    char why[100];
    if (nodes->type != REDIS_REPLY_STRING || listing_look(p->listing, nodes->str, nodes->len) < 0) {
        refuse(p, "its answer to CLUSTER NODES is none");
        return;
    }
    int slot = listing_slot(p->listing, p->slot);
    if (p->listing->slots[slot] != LISTED_NOW) {
        router_look(p->all->router);
        snprintf(why, sizeof(why), "slot %u is on the move between nodes of the cluster", p->slot);
        wait_for(p, why);
        return;
    }
    take_step(p);
    listing_scanned(p->listing, p->scan);
    if (p->left > 0 && listing_slot(p->listing, 0) >= 0)
        ask_node(p);
    else
        answer_place(p);
}

/* Of SCAN, CLUSTER INFO, CLUSTER NODES. */
static void on_node(void *arg, unsigned index, redisReply *reply)
{
    struct page *p = arg;
    if (reply == NULL) {
        wait_for(p, "the connection was lost");
        return;
    }
    if (p->why[0] != '\0') {
        /* all of them are awaited */
    } else if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(p->why, sizeof(p->why), "%s", reply->str);
    } else if (index == 0 && !is_scanned(reply)) {
        snprintf(p->why, sizeof(p->why), "its answer is no page of SCAN");
    } else if (index == 0) {
        p->scan = strtoull(reply->element[0]->str, NULL, 10);
        put_by(p, reply->element[1]);
    } else if (index == 1) {
        /* One that is cut off has what was, and may not know it: SCAN is not refused there. */
        p->down =
            reply->type != REDIS_REPLY_STRING || strstr(reply->str, "cluster_state:ok") == NULL;
    }
    if (index < 2)
        return;
    if (p->why[0] != '\0')
        refuse(p, p->why);
    else if (p->down)
        wait_for(p, "the cluster is down, as its node says");
    else
        take_node(p, reply);
}

static void ask_node(struct page *p)
{
    struct listing *l = p->listing;
    int slot = listing_slot(l, p->slot);
    if (slot < 0) {
        answer_place(p);
        return;
    }
    struct upstream *up = router_link(p->all->router, (uint16_t)slot);
    struct buf out = BUF_INIT;
    char cursor[24];
    p->slot = (unsigned)slot;
    if (!router_ready(p->all->router, up)) {
        wait_for(p, upstream_why(up));
        return;
    }
    listing_ask(l, upstream_info(up)->run_id);
    snprintf(cursor, sizeof(cursor), "%" PRIu64, l->scan);
    buf_clear(&p->step);
    p->why[0] = '\0';
    p->down = false;
    add_scan(p, cursor, &out);
    resp_words(&out, "CLUSTER", "INFO", NULL);
    resp_words(&out, "CLUSTER", "NODES", NULL);
    if (!upstream_send(up, out.data, out.len, 3, on_node, p))
        wait_for(p, upstream_why(up));
    buf_free(&out);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    struct keys *k = arg;
    struct page *waited = k->waiting, *p, *next;
    (void)fd;
    (void)what;
    k->waiting = NULL;
    DL_FOREACH_SAFE (waited, p, next)
        ask_node(p);
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
    p->deadline = clock_mono_ms() + (int64_t)exec_config(k->exec)->queue_time;
    scan_place_begin(&p->place);
    session_defer(s);
    if (router_is_cluster(k->router))
        p->listing = alloc_zeroed(1, sizeof(*p->listing));
    if (read_request(p, s, msg, &f) < 0) {
        session_fault(s, msg->id, &f);
        page_free(p);
        return;
    }
    make_match(p);
    if (p->listing != NULL)
        ask_node(p);
    else
        scan(p);
}

void keys_stop(struct keys *k)
{
    k->stopped = true;
    while (k->waiting != NULL) {
        struct page *p = k->waiting;
        DL_DELETE(k->waiting, p);
        refuse(p, "rapyerd is stopping");
    }
}

struct keys *keys_new(struct event_base *base, struct exec *exec)
{
    struct keys *k = alloc_zeroed(1, sizeof(*k));
    k->exec = exec;
    k->router = lanes_router(exec_lanes(exec));
    k->again = evtimer_new(base, on_again, k);
    return k;
}

void keys_free(struct keys *k)
{
    keys_stop(k);
    event_free(k->again);
    free(k);
}
