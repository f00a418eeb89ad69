/* lease_call: see lease_call.h. */
#include "daemon/leases/lease_call.h"
#include "daemon/base/clock.h"
#include "daemon/leases/lease_script.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#define CHUNK 100 /* locks in one request: Redis serves others in between */

static const char *const op_words[] = {
    [LEASE_TAKE] = "take",   [LEASE_TRY] = "try",     [LEASE_KEEP] = "keep",
    [LEASE_DROP] = "drop",   [LEASE_SHARE] = "share", [LEASE_LEAVE] = "leave",
    [LEASE_BREAK] = "break",
};

struct call {
    UT_hash_handle hh; /* while it gathers: by slot */
    struct call *prev, *next;
    struct lease_calls *all; /* NULL: nobody is interested any more */
    uint16_t slot;
    bool spelled;        /* sent with the text of the script */
    struct upstream *up; /* where it was sent */
    struct buf keys, args;
    unsigned count;
    struct lease_request requests[CHUNK];
};

struct load {
    struct load *prev, *next;
    struct lease_calls *all; /* as in a call */
};

struct lease_calls {
    const struct config *config;
    const char *id;
    struct router *router;
    const struct names *names;
    const struct bus *bus;
    lease_answer_fn *fn;
    void *arg;
    struct call *calls;     /* sent */
    struct call *gathering; /* one for each slot, in the order in which they began */
    struct load *loading;   /* SCRIPT LOADs that are on their way */
    char sha[41];           /* of the script, when Redis has said that it keeps it */
    bool unkept;            /* it does not let us: the text is sent each time */
    int64_t floor;
};

/* ---- writing ---- */

static void word(struct buf *b, const void *p, size_t n)
{
    resp_bulk(b, p, n);
}

static void text(struct buf *b, const char *s)
{
    word(b, s, strlen(s));
}

static void number(struct buf *b, int64_t n)
{
    char digits[RESP_DECIMAL_MAX];
    word(b, digits, resp_decimal(digits, n));
}

static const char *mode_word(enum lock_mode mode)
{
    return mode == LOCK_EXCLUSIVE ? "x" : mode == LOCK_SHARED ? "s" : "-";
}

void lease_key(const struct names *names, const char *kind, const struct lock_name *n,
               struct buf *out)
{
    buf_printf(out, "%s:@%s:", names->prefix, kind);
    names_root(names, n->key, n->key_len, out);
    buf_append(out, "/", 1);
    buf_append(out, n->path, n->path_len);
    buf_append(out, "!", 1);
    buf_append(out, n->action, n->action_len);
}

static void add_key(struct call *c, const char *kind, const struct lock_name *n)
{
    struct buf key = BUF_INIT;
    lease_key(c->all->names, kind, n, &key);
    word(&c->keys, key.data, key.len);
    buf_free(&key);
}

static struct call *call_of_slot(struct lease_calls *lc, uint16_t slot)
{
    struct call *c;
    HASH_FIND(hh, lc->gathering, &slot, sizeof(slot), c);
    if (c == NULL) {
        c = alloc_zeroed(1, sizeof(*c));
        c->all = lc;
        c->slot = slot;
        HASH_ADD(hh, lc->gathering, slot, sizeof(c->slot), c);
    }
    return c;
}

static void call_free(struct call *c)
{
    buf_free(&c->keys);
    buf_free(&c->args);
    free(c);
}

static void flush_call(struct call *c);

void lease_calls_request(struct lease_calls *lc, uint16_t slot, const struct lease_request *request,
                         const struct lock_name *name)
{
    struct call *c = call_of_slot(lc, slot);
    c->requests[c->count++] = *request;
    add_key(c, "lock", name);
    add_key(c, "lockq", name);
    text(&c->args, op_words[request->op]);
    text(&c->args, mode_word(request->mode));
    text(&c->args, mode_word(request->have));
    number(&c->args, request->fence);
    number(&c->args, request->expiry);
    number(&c->args, request->last);
    word(&c->args, name->key, name->key_len);
    word(&c->args, name->path, name->path_len);
    word(&c->args, name->action, name->action_len);
    if (c->count == CHUNK)
        flush_call(c);
}

/* ---- reading ---- */

/* Beyond these no lease.lua goes: it counts in doubles, and leases last an hour at most. */
#define NUMBER_MAX ((int64_t)1 << 53)
#define MS_MAX ((int64_t)60 * 60 * 1000)

static const redisReply *element(const redisReply *r, size_t i)
{
    return r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

static int64_t integer_at(const redisReply *r, size_t i)
{
    const redisReply *e = element(r, i);
    return e != NULL && e->type == REDIS_REPLY_INTEGER ? e->integer : 0;
}

static const char *text_at(const redisReply *r, size_t i)
{
    const redisReply *e = element(r, i);
    return e != NULL && e->type == REDIS_REPLY_STRING ? e->str : "";
}

enum lock_mode lease_mode(const char *word)
{
    return *word == 'x' ? LOCK_EXCLUSIVE : *word == 's' ? LOCK_SHARED : LOCK_NONE;
}

static void read_ids(const redisReply *r, size_t from, struct lease_answer *a)
{
    for (size_t i = from; element(r, i) != NULL && a->nids < LEASE_ELSEWHERE_MAX; i++)
        if (*text_at(r, i) != '\0')
            a->ids[a->nids++] = text_at(r, i);
}

static bool in_bounds(const struct lease_answer *a)
{
    bool numbers = a->fence >= 0 && a->fence < NUMBER_MAX && a->first >= 0 &&
                   a->first < NUMBER_MAX && a->expiry >= 0 && a->expiry < NUMBER_MAX &&
                   a->count >= 0 && a->count < NUMBER_MAX && a->ms >= 0 && a->ms <= MS_MAX;
    return numbers && (a->kind != LEASE_HELD || (a->mode != LOCK_NONE && a->fence > 0));
}

static struct lease_answer read_answer(const redisReply *r)
{
    static const struct lease_answer strange = {.kind = LEASE_ERROR,
                                                .text = "an answer of a strange form"};
    struct lease_answer a = strange;
    const char *what = text_at(r, 0);
    if (r->type == REDIS_REPLY_ERROR) {
        a.text = r->str;
    } else if (strcmp(what, "held") == 0) {
        a.kind = LEASE_HELD;
        a.mode = lease_mode(text_at(r, 1));
        a.fence = integer_at(r, 2);
        a.expiry = integer_at(r, 3);
        a.first = integer_at(r, 4);
        a.wanted = lease_mode(text_at(r, 5));
    } else if (strcmp(what, "queued") == 0) {
        a.kind = LEASE_QUEUED;
        a.ms = integer_at(r, 1);
        read_ids(r, 2, &a);
    } else if (strcmp(what, "lost") == 0) {
        a.kind = LEASE_LOST;
        read_ids(r, 1, &a);
    } else if (strcmp(what, "free") == 0) {
        a.kind = LEASE_FREE;
    } else if (strcmp(what, "broke") == 0) {
        a.kind = LEASE_BROKE;
        a.count = integer_at(r, 1);
    } else if (strcmp(what, "error") == 0) {
        a.text = text_at(r, 1);
    }
    return in_bounds(&a) ? a : strange;
}

/* ---- sending ---- */

static void send_call(struct call *c);

static void on_loaded(void *arg, unsigned index, redisReply *reply)
{
    struct load *l = arg;
    struct lease_calls *lc = l->all;
    (void)index;
    if (lc != NULL) {
        DL_DELETE(lc->loading, l);
        bool kept =
            reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len + 1 == sizeof(lc->sha);
        if (kept)
            memcpy(lc->sha, reply->str, sizeof(lc->sha));
        lc->unkept = reply != NULL && !kept;
    }
    free(l);
}

static void load_script(struct lease_calls *lc, struct upstream *up)
{
    struct buf out = BUF_INIT;
    const char *argv[] = {"SCRIPT", "LOAD", lease_script};
    size_t len[] = {6, 4, sizeof(lease_script) - 1};
    struct load *l = alloc_zeroed(1, sizeof(*l));
    l->all = lc;
    resp_command(&out, 3, argv, len);
    if (upstream_send(up, out.data, out.len, 1, on_loaded, l))
        DL_APPEND(lc->loading, l);
    else
        free(l);
    buf_free(&out);
}

static void on_answer(void *arg, unsigned index, redisReply *reply)
{
    struct call *c = arg;
    struct lease_calls *lc = c->all;
    (void)index;
    if (lc != NULL)
        DL_DELETE(lc->calls, c);
    if (lc != NULL && reply != NULL && reply->type == REDIS_REPLY_ERROR &&
        strncmp(reply->str, "NOSCRIPT", 8) == 0 && !c->spelled) {
        load_script(lc, c->up);
        c->spelled = true;
        send_call(c);
        return;
    }
    bool undone = upstream_state(c->up) == UPSTREAM_UP; /* a redirect (upstream.h) */
    for (unsigned i = 0; i < c->count && lc != NULL; i++) {
        struct lease_answer a = {.kind = undone ? LEASE_UNDONE : LEASE_UNKNOWN};
        if (reply != NULL)
            a = read_answer(element(reply, i) != NULL ? element(reply, i) : reply);
        lc->fn(lc->arg, &c->requests[i], &a);
    }
    call_free(c);
}

/* All in the slot of its locks: the highest fence, and a key that nobody ever makes, by which a
 * slot that is on the move is refused as a whole, and no script is cut off in the middle (as in
 * format_still). */
static void add_keys_of_slot(const struct call *c, struct buf *out)
{
    const char *prefix = c->all->config->key_prefix;
    bool cluster = router_is_cluster(c->all->router);
    struct buf name = BUF_INIT;
    number(out, 1 + 2 * c->count + cluster);
    buf_printf(&name, "%s:@fence", prefix);
    if (cluster)
        buf_printf(&name, "{%s}", slot_tag(c->slot));
    word(out, name.data, name.len);
    buf_append(out, c->keys.data, c->keys.len);
    if (cluster) {
        buf_clear(&name);
        buf_printf(&name, "%s:@still{%s}", prefix, slot_tag(c->slot));
        word(out, name.data, name.len);
    }
    buf_free(&name);
}

static void format_call(const struct call *c, struct buf *out)
{
    const struct lease_calls *lc = c->all;
    struct buf channels = BUF_INIT;
    unsigned nkeys = 1 + 2 * c->count + router_is_cluster(lc->router), nargs = 4 + 9 * c->count;
    buf_printf(out, "*%u\r\n", 3 + nkeys + nargs);
    text(out, c->spelled ? "EVAL" : "EVALSHA");
    if (c->spelled)
        word(out, lease_script, sizeof(lease_script) - 1);
    else
        text(out, lc->sha);
    add_keys_of_slot(c, out);
    text(out, lc->id);
    number(out, lc->config->lock_lease);
    number(out, lc->floor);
    bus_channel_at(lc->bus, c->up, "", &channels);
    word(out, channels.data, channels.len);
    buf_append(out, c->args.data, c->args.len);
    buf_free(&channels);
}

static void send_call(struct call *c)
{
    struct lease_calls *lc = c->all;
    struct buf out = BUF_INIT;
    for (unsigned i = 0; i < c->count; i++) {
        c->requests[i].sent = clock_boot_ms();
        c->requests[i].length = lc->config->lock_lease;
    }
    c->up = router_link(lc->router, c->slot);
    if (lc->sha[0] == '\0' && lc->loading == NULL && !lc->unkept)
        load_script(lc, c->up);
    c->spelled = c->spelled || lc->sha[0] == '\0';
    format_call(c, &out);
    DL_APPEND(lc->calls, c);
    bool sent = upstream_send(c->up, out.data, out.len, 1, on_answer, c);
    buf_free(&out);
    if (!sent)
        on_answer(c, 0, NULL);
}

static void flush_call(struct call *c)
{
    HASH_DELETE(hh, c->all->gathering, c);
    send_call(c);
}

void lease_calls_flush(struct lease_calls *lc)
{
    while (lc->gathering != NULL)
        flush_call(lc->gathering);
}

/* ---- the whole ---- */

void lease_calls_link_up(struct lease_calls *lc)
{
    load_script(lc, router_link(lc->router, 0));
}

bool lease_calls_idle(const struct lease_calls *lc)
{
    return lc->calls == NULL && lc->gathering == NULL;
}

void lease_calls_floor(struct lease_calls *lc, int64_t fence)
{
    if (fence > lc->floor)
        lc->floor = fence;
}

int64_t lease_calls_floor_now(const struct lease_calls *lc)
{
    return lc->floor;
}

struct lease_calls *lease_calls_new(const struct config *config, const char *id,
                                    struct router *router, const struct names *names,
                                    const struct bus *bus, lease_answer_fn *fn, void *arg)
{
    struct lease_calls *lc = alloc_zeroed(1, sizeof(*lc));
    lc->config = config;
    lc->id = id;
    lc->router = router;
    lc->names = names;
    lc->bus = bus;
    lc->fn = fn;
    lc->arg = arg;
    return lc;
}

void lease_calls_free(struct lease_calls *lc)
{
    struct call *c, *next;
    struct load *l;
    HASH_ITER (hh, lc->gathering, c, next) {
        HASH_DELETE(hh, lc->gathering, c);
        call_free(c);
    }
    DL_FOREACH (lc->calls, c)
        c->all = NULL; /* freed when the link tells it */
    DL_FOREACH (lc->loading, l)
        l->all = NULL;
    free(lc);
}
