/* claims: see claims.h. Each question may be asked twice, so what is not answered is asked again,
 * of whoever has the slot then. */
#include "daemon/commit/claims.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/claim_look_script.h"
#include "daemon/commit/claim_release_script.h"
#include "daemon/commit/claim_script.h"
#include "daemon/commit/durable.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include "protocol/table.h"
#include <event2/util.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A commit that may be on its way is left so much time to get there: the first look, and two more.
 * Who is revoked claims anew, so less would only have two daemons disturb each other. */
#define LOOKS 3
#define PAUSE_MS 2
#define PAUSE_MAX_MS 32
/* Others in the slot of the document wait as well: what cannot be asked for longer is done again.
 */
#define PATIENCE_MS 200
#define WINDOW 256      /* questions at a time: a batch may have any number of values */
#define RELEASES 10000  /* of a batch; what is left over of more does no harm */
#define EPOCH_DIGITS 15 /* as many as a number of Lua has */
#define SILENCE_MS 1000 /* the same where nothing says that the question was lost */

struct claims {
    struct event_base *base;
    const struct config *config;
    const struct router *router;
    const struct names *names;
};

/* What claim.lua has said. */
enum said { SAID_NOTHING, SAID_CLAIMED, SAID_HELD, SAID_SPOILT };

struct claim {
    struct table_entry entry; /* first; by its key */
    struct claiming *of;
    struct unit *unit;
    unsigned nth;              /* among its values */
    const struct model *model; /* those of before a change of the schema stay in memory */
    const struct index *index;
    char *text, *pk;
    size_t len, pk_len;
    struct buf key;    /* in Redis */
    struct buf holder; /* what stands there */
    bool look;         /* at the holder, next */
    bool over;         /* that may be taken over */
    unsigned looks;
    bool waits; /* for the timer */
    bool asked, claimed;
    enum said said;
    int64_t epoch;    /* that it is asked for */
    int64_t asked_at; /* clock_mono_ms() */
    int64_t lost_at;  /* since when nobody answers; 0: somebody does */
    struct durable durable;
    unsigned last; /* answer of those to the question */
};

struct claiming {
    struct claims *all;
    struct batch *batch; /* NULL: dropped */
    uint16_t slot;
    struct claim_epoch *epoch;
    void (*done)(void *arg);
    void *arg;
    struct claim *claims;
    unsigned n;
    struct table by_key;
    unsigned at;    /* those behind it were not asked for yet, or are to be again */
    unsigned asked; /* answers that will come */
    bool asks_epoch;
    int64_t lost_at; /* as that of a claim: of the epoch */
    struct event *timer;
    int64_t pause;
    struct event *watch; /* over those that are asked */
};

static void go_on(struct claiming *g);
static void finish(struct claiming *g);
static void answered(struct claim *c);

struct claims *claims_new(struct event_base *base, const struct config *config,
                          const struct router *router, const struct names *names)
{
    struct claims *c = alloc_zeroed(1, sizeof(*c));
    *c = (struct claims){.base = base, .config = config, .router = router, .names = names};
    return c;
}

void claims_free(struct claims *c)
{
    free(c);
}

static void claiming_free(struct claiming *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        free(g->claims[i].text);
        free(g->claims[i].pk);
        buf_free(&g->claims[i].key);
        buf_free(&g->claims[i].holder);
    }
    free(g->claims);
    table_clear(&g->by_key);
    event_free(g->timer);
    event_free(g->watch);
    free(g);
}

void claims_drop(struct claiming *g)
{
    g->batch = NULL;
    event_del(g->timer);
    event_del(g->watch);
    if (g->asked == 0)
        claiming_free(g);
}

/* An answer is there. True: nobody wants it any more, and g may be gone. */
static bool is_dropped(struct claiming *g)
{
    g->asked--;
    if (g->batch == NULL && g->asked == 0) {
        claiming_free(g);
        return true;
    }
    return g->batch == NULL;
}

/* ---- what is asked ---- */

static bool send_to(struct claiming *g, const struct buf *key, const struct buf *out, unsigned n,
                    upstream_reply_fn *fn, void *arg)
{
    const struct router *r = g->all->router;
    struct upstream *up = router_link(r, router_slot(r, (char *)key->data, key->len));
    bool sent = upstream_send(up, out->data, out->len, n, fn, arg);
    g->asked += sent;
    return sent;
}

static void later(struct claiming *g)
{
    /* Not all at once, when several wait for each other. */
    uint8_t random;
    evutil_secure_rng_get_bytes(&random, 1);
    struct timeval pause = {.tv_usec = (suseconds_t)(g->pause * 1000 + random * g->pause * 4)};
    if (!event_pending(g->timer, EV_TIMEOUT, NULL))
        event_add(g->timer, &pause);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct claiming *g = arg;
    (void)fd;
    (void)what;
    if (g->pause < PAUSE_MAX_MS)
        g->pause *= 2;
    g->at = 0;
    go_on(g);
}

/* It has a turn again when the timer says so. True: that was so for too long. */
static bool unanswered(struct claiming *g, int64_t *lost_at)
{
    int64_t now = clock_mono_ms();
    if (*lost_at == 0)
        *lost_at = now;
    later(g);
    return now - *lost_at > PATIENCE_MS;
}

static void put_off_all(struct claiming *g)
{
    for (unsigned i = 0; i < g->n; i++)
        unit_put_off(g->claims[i].unit, true);
}

/* Another program has written there what is no epoch. */
static bool is_spoilt(const redisReply *r)
{
    if (r != NULL && r->type == REDIS_REPLY_ERROR)
        return strncmp(r->str, "WRONGTYPE", 9) == 0;
    return r != NULL && r->type == REDIS_REPLY_STRING &&
           (r->len == 0 || r->len > EPOCH_DIGITS || strspn(r->str, "0123456789") != r->len ||
            (*r->str == '0' && r->len > 1));
}

static void on_epoch(void *arg, unsigned index, redisReply *reply)
{
    struct claiming *g = arg;
    (void)index;
    g->asks_epoch = false;
    if (is_dropped(g))
        return;
    if (is_spoilt(reply)) {
        for (unsigned i = 0; i < g->n; i++)
            unit_refuse_value(g->claims[i].unit, g->claims[i].nth, NULL, 0);
        finish(g);
        return;
    }
    bool number = reply != NULL && reply->type == REDIS_REPLY_STRING;
    g->at = 0;
    if (number || (reply != NULL && reply->type == REDIS_REPLY_NIL))
        *g->epoch = (struct claim_epoch){true, number ? strtoll(reply->str, NULL, 10) : 0};
    else if (unanswered(g, &g->lost_at))
        put_off_all(g);
    go_on(g);
}

static void ask_epoch(struct claiming *g)
{
    struct buf key = BUF_INIT, out = BUF_INIT;
    unique_epoch_key(g->all->names->prefix, g->slot, &key);
    resp_command(&out, 3, (const char *[]){"HGET", (char *)key.data, LAYOUT_VERSION_FIELD},
                 (size_t[]){4, key.len, strlen(LAYOUT_VERSION_FIELD)});
    g->asks_epoch = send_to(g, &key, &out, 1, on_epoch, g);
    if (!g->asks_epoch && unanswered(g, &g->lost_at))
        put_off_all(g);
    buf_free(&key);
    buf_free(&out);
}

/* Whoever claims in the slot of this batch is to do it in that epoch. */
static void learn(struct claiming *g, int64_t epoch)
{
    if (epoch <= g->epoch->number)
        return;
    g->epoch->number = epoch;
    g->at = 0;
}

/* ---- a claim ---- */

static bool is_open(const struct claiming *g, const struct claim *c)
{
    bool claimed = c->claimed && c->epoch == g->epoch->number;
    return !claimed && c->unit->refused_by == 0;
}

static void lost(struct claim *c)
{
    c->waits = true;
    if (unanswered(c->of, &c->lost_at))
        unit_put_off(c->unit, true);
}

static enum said said_of(const redisReply *reply, struct buf *holder)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        return reply->integer == 1 ? SAID_CLAIMED : SAID_SPOILT;
    if (reply->type != REDIS_REPLY_STRING || memchr(reply->str, ' ', reply->len) == NULL)
        return SAID_NOTHING;
    buf_clear(holder);
    buf_append(holder, reply->str, reply->len);
    return SAID_HELD;
}

static void take(struct claim *c)
{
    switch (c->said) {
    case SAID_NOTHING: lost(c); break;
    case SAID_SPOILT: unit_refuse_value(c->unit, c->nth, NULL, 0); break;
    case SAID_CLAIMED: c->claimed = true; break;
    case SAID_HELD:
        c->look = true;
        c->over = false;
        break;
    }
    if (c->said != SAID_NOTHING)
        c->lost_at = 0;
    answered(c);
}

/* Behind it WAIT, where commits have to be on replicas: so has a claim. */
static void on_claimed(void *arg, unsigned index, redisReply *reply)
{
    struct claim *c = arg;
    struct fault f;
    if (reply != NULL && index == 0)
        c->said = c->of->batch != NULL ? said_of(reply, &c->holder) : SAID_NOTHING;
    if (reply != NULL && index < c->last)
        return;
    if (reply == NULL || (index > 0 && durable_judge(&c->durable, reply, &f) < 0))
        c->said = SAID_NOTHING;
    c->asked = false;
    if (!is_dropped(c->of))
        take(c);
}

static void ask_claim(struct claim *c)
{
    struct buf out = BUF_INIT;
    char epoch[RESP_DECIMAL_MAX];
    c->epoch = c->of->epoch->number;
    c->claimed = false;
    c->said = SAID_NOTHING;
    const char *argv[] = {"EVAL",
                          claim_script,
                          "1",
                          (char *)c->key.data,
                          c->pk,
                          epoch,
                          c->over ? (char *)c->holder.data : ""};
    const size_t len[] = {4,
                          sizeof(claim_script) - 1,
                          1,
                          c->key.len,
                          c->pk_len,
                          resp_decimal(epoch, c->epoch),
                          c->over ? c->holder.len : 0};
    resp_command(&out, 7, argv, len);
    c->last = durable_wanted(c->of->all->config, &c->durable);
    if (c->last > 0)
        durable_ask(&c->durable, &out);
    c->asked_at = clock_mono_ms();
    c->asked = send_to(c->of, &c->key, &out, c->last + 1, on_claimed, c);
    if (!c->asked)
        lost(c);
    buf_free(&out);
}

/* ---- the look at who has one ---- */

static bool is_look(const redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
           r->element[0]->type == REDIS_REPLY_INTEGER && r->element[1]->type == REDIS_REPLY_INTEGER;
}

static const char *holder_pk(const struct claim *c, size_t *len)
{
    const char *space = memchr(c->holder.data, ' ', c->holder.len);
    *len = c->holder.len - (size_t)(space + 1 - (char *)c->holder.data);
    return space + 1;
}

static uint16_t holder_root(const struct claim *c, struct buf *root)
{
    struct buf name = BUF_INIT;
    size_t len;
    const char *pk = holder_pk(c, &len);
    buf_printf(&name, "%s:", c->model->name);
    buf_append(&name, pk, len);
    layout_key(root, c->of->all->names, (char *)name.data, name.len, "", 0);
    buf_free(&name);
    return router_slot(c->of->all->router, (char *)root->data, root->len);
}

static void on_looked(void *arg, unsigned index, redisReply *reply)
{
    struct claim *c = arg;
    struct claiming *g = c->of;
    struct buf root = BUF_INIT;
    size_t len;
    (void)index;
    c->asked = false;
    if (is_dropped(g))
        return;
    c->look = false;
    c->lost_at = is_look(reply) ? 0 : c->lost_at;
    switch (is_look(reply) ? reply->element[0]->integer : -1) {
    case -1: lost(c); break;
    case 1: {
        const char *pk = holder_pk(c, &len);
        unit_refuse_value(c->unit, c->nth, pk, len);
        break;
    }
    case 3: unit_refuse_value(c->unit, c->nth, NULL, 0); break;
    case 2:
        c->over = true;
        if (holder_root(c, &root) == g->slot)
            learn(g, reply->element[1]->integer);
        break;
    default:
        c->looks++;
        c->waits = true;
        later(g);
    }
    buf_free(&root);
    answered(c);
}

static void ask_holder(struct claim *c)
{
    struct buf root = BUF_INIT, epoch = BUF_INIT, out = BUF_INIT;
    uint16_t slot = holder_root(c, &root);
    size_t other_len;
    const char *at = (char *)c->holder.data;
    const char *other = unique_other(c->index, c->text, c->len, &other_len);
    unique_epoch_key(c->of->all->names->prefix, slot, &epoch);
    const char *argv[] = {"EVAL",
                          claim_look_script,
                          "2",
                          (char *)root.data,
                          (char *)epoch.data,
                          c->index->name,
                          c->text,
                          other,
                          at,
                          c->looks + 1 >= LOOKS ? "1" : "0"};
    const size_t len[] = {4,
                          sizeof(claim_look_script) - 1,
                          1,
                          root.len,
                          epoch.len,
                          strlen(c->index->name),
                          c->len,
                          other_len,
                          (size_t)((char *)memchr(at, ' ', c->holder.len) - at),
                          1};
    resp_command(&out, 10, argv, len);
    c->asked_at = clock_mono_ms();
    c->asked = send_to(c->of, &root, &out, 1, on_looked, c);
    if (!c->asked) {
        c->look = false;
        lost(c);
    }
    buf_free(&root);
    buf_free(&epoch);
    buf_free(&out);
}

/* ---- all of them ---- */

static void finish(struct claiming *g)
{
    void (*done)(void *arg) = g->done;
    void *arg = g->arg;
    batch_claimed(g->batch, g->epoch->number);
    claims_drop(g);
    done(arg);
}

static bool all_decided(const struct claiming *g)
{
    unsigned i = 0;
    while (i < g->n && !is_open(g, &g->claims[i]))
        i++;
    return i == g->n;
}

static void ask(struct claim *c)
{
    bool waits = c->waits && event_pending(c->of->timer, EV_TIMEOUT, NULL);
    if (!is_open(c->of, c) || c->asked || waits)
        return;
    c->waits = false;
    if (c->look)
        ask_holder(c);
    else
        ask_claim(c);
}

static void go_on(struct claiming *g)
{
    if (!g->epoch->known && !g->asks_epoch && !event_pending(g->timer, EV_TIMEOUT, NULL))
        ask_epoch(g);
    while (g->epoch->known && g->at < g->n && g->asked < WINDOW)
        ask(&g->claims[g->at++]);
    if (g->asked == 0 && all_decided(g))
        finish(g);
}

static void answered(struct claim *c)
{
    if (c->of->epoch->known)
        ask(c);
    go_on(c->of);
}

/* A master that stands still is no reason that others do: what waits behind these goes on. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct claiming *g = arg;
    int64_t now = clock_mono_ms();
    (void)fd;
    (void)what;
    for (unsigned i = 0; i < g->n; i++) {
        const struct claim *c = &g->claims[i];
        if (is_open(g, c) && (c->asked || g->asks_epoch) && now - c->asked_at > SILENCE_MS)
            unit_put_off(c->unit, true);
    }
    if (all_decided(g))
        finish(g);
}

/* ---- the claims of a batch ---- */

/* What another unit of the batch is to have is decided by that. */
static bool is_sought(const struct claiming *g, const struct claim *c)
{
    struct table_entry *e = table_find(&g->by_key, c->entry.hash);
    for (; e != NULL; e = table_again(e)) {
        const struct claim *other = (const struct claim *)e;
        if (other->unit->refused_by == 0 && other->key.len == c->key.len &&
            memcmp(other->key.data, c->key.data, c->key.len) == 0)
            return true;
    }
    return false;
}

static void add(struct claiming *g, struct unit *u, unsigned nth)
{
    const struct unique_value *v = &u->uniques[nth];
    struct claim c = {.of = g, .unit = u, .nth = nth, .index = v->index, .len = v->len};
    const char *pk = doc_pk(v->of->doc, &c.pk_len);
    c.model = v->of->doc->model;
    c.asked_at = clock_mono_ms();
    unique_key(g->all->names->prefix, c.model, v->index, v->text, v->len, &c.key);
    c.entry.hash = hash_of(c.key.data, c.key.len);
    if (is_sought(g, &c)) {
        unit_put_off(u, false);
        buf_free(&c.key);
        return;
    }
    c.text = alloc_copy(v->text, v->len);
    c.pk = alloc_copy(pk, c.pk_len);
    struct claim *at = &g->claims[g->n++];
    *at = c;
    table_add(&g->by_key, &at->entry, c.entry.hash);
}

struct claiming *claims_begin(struct claims *all, struct batch *b, uint16_t slot,
                              struct claim_epoch *epoch, void (*done)(void *arg), void *arg)
{
    size_t n = 0;
    if (!batch_has_uniques(b))
        return NULL;
    struct claiming *g = alloc_zeroed(1, sizeof(*g));
    *g = (struct claiming){.all = all, .batch = b, .slot = slot, .epoch = epoch};
    g->done = done;
    g->arg = arg;
    g->pause = PAUSE_MS;
    for (const struct unit *u = batch_units(b); u != NULL; u = u->next)
        n += u->nuniques;
    g->claims = alloc_zeroed(n, sizeof(*g->claims));
    for (struct unit *u = batch_units(b); u != NULL; u = u->next) {
        for (unsigned i = 0; i < u->nuniques && u->refused_by == 0; i++)
            add(g, u, i);
    }
    g->timer = evtimer_new(all->base, on_timer, g);
    g->watch = event_new(all->base, -1, EV_PERSIST, on_watch, g);
    if (all_decided(g)) {
        claiming_free(g);
        return NULL;
    }
    event_add(g->watch, &(struct timeval){.tv_usec = PATIENCE_MS * 1000});
    go_on(g);
    return g;
}

/* ---- what is let go ---- */

struct releasing {
    const struct claims *all;
    unsigned n;
    int64_t epoch; /* from which on it may be the document's again */
};

/* What of it is lost the next one finds out who wants the value. */
static void release(void *arg, const struct buf *key, const char *pk, size_t pk_len)
{
    struct releasing *r = arg;
    if (r->n++ >= RELEASES)
        return;
    const struct router *router = r->all->router;
    struct buf out = BUF_INIT;
    char epoch[RESP_DECIMAL_MAX];
    const char *argv[] = {"EVAL", claim_release_script, "1", (char *)key->data, pk, epoch};
    const size_t len[] = {4,      sizeof(claim_release_script) - 1, 1, key->len,
                          pk_len, resp_decimal(epoch, r->epoch)};
    resp_command(&out, 6, argv, len);
    upstream_put(router_link(router, router_slot(router, (char *)key->data, key->len)), out.data,
                 out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
}

static void flush(void *arg, struct upstream *up)
{
    (void)arg;
    upstream_flush(up);
}

void claims_settle(struct claims *all, const struct batch *b, const redisReply *exec,
                   struct claim_epoch *epoch)
{
    struct releasing r = {.all = all};
    if (batch_epoch(b, exec, &r.epoch)) {
        *epoch = (struct claim_epoch){true, r.epoch};
        batch_each_freed(b, exec, release, &r);
        router_each(all->router, flush, NULL);
        return;
    }
    for (const struct unit *u = batch_units(b); u != NULL; u = u->next) {
        if (unit_other_epoch(u))
            *epoch = (struct claim_epoch){u->found >= 0, u->found};
    }
}
