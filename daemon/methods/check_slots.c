/* check_slots: index.check in a cluster.
 *
 *   keys       listed (lister.h) ─► one of each slot at a time: of what document is each entry?
 *   documents  listed ─► those of each slot: is each entry there?
 *
 * What is spoilt is removed when the indexes of the model are noted as not complete: so whatever
 * happens in between, nobody finds by a part of one.
 */
#include "daemon/commit/lanes.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/index_check_inside.h"
#include "daemon/methods/index_check_script.h"
#include "daemon/methods/lister.h"
#include "daemon/methods/scatter.h"
#include "daemon/methods/slot_calls.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define STEP 500 /* keys that SCAN looks at */

struct index_name {
    uint16_t slot;
    bool done, spoilt;
    struct buf key, member; /* where its next page begins */
};

struct check_slots {
    struct find_cluster asks;
    struct listing listing;
    struct list_page page;
    struct buf match; /* with a NUL */
    struct slot_calls *calls;
    struct claim_check *claims;
    struct index_name *keys;
    unsigned n, cap;
    uint16_t *slots; /* that are asked, each about one of these: */
    unsigned *which, nslots;
    bool removing; /* those that are spoilt */
    char why[200];
};

static void clear_keys(struct check_slots *in)
{
    for (unsigned i = 0; i < in->n; i++) {
        buf_free(&in->keys[i].key);
        buf_free(&in->keys[i].member);
    }
    in->n = 0;
}

void check_slots_free(struct check *c)
{
    struct check_slots *in = c->slots;
    if (in == NULL)
        return;
    clear_keys(in);
    list_page_free(&in->page);
    slot_calls_free(in->calls);
    check_claims_free(in->claims);
    buf_free(&in->match);
    free(in->keys);
    free(in->slots);
    free(in->which);
    free(in);
}

void check_slots_place(const struct check *c, struct buf *out)
{
    static const struct listing beginning;
    listing_text(strcmp(c->place.at, "0") == 0 ? &beginning : &c->slots->listing, out);
}

int check_slots_read(struct check *c, const char *text, size_t len)
{
    strcpy(c->place.at, "1"); /* not at its beginning */
    return listing_read(&c->slots->listing, text, len);
}

/* True: it is over. */
static bool failed(struct check *c, const char *why)
{
    struct fault f;
    if (why == NULL)
        return false;
    fault_set(&f, FAULT_UNAVAILABLE, "Redis did not answer: %s", why);
    check_refuse(c, &f);
    return true;
}

/* ---- keys ---- */

static void ask_keys(struct check *c);

/* As it is asked about this slot. */
static struct index_name *key_of(const struct check_slots *in, uint16_t slot)
{
    unsigned i = 0;
    while (in->slots[i] != slot)
        i++;
    return &in->keys[in->which[i]];
}

static void write_key(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct check *c = arg;
    const struct index_name *k = key_of(c->slots, slot);
    (void)first;
    if (!c->slots->removing) {
        check_write_key(c, slot_tag(slot), &k->key, &k->member, out);
        return;
    }
    const char *argv[] = {"UNLINK", (char *)k->key.data};
    resp_command(out, 2, argv, (size_t[]){6, k->key.len});
}

static void take_key(void *arg, unsigned i, unsigned which, redisReply *reply,
                     const struct upstream *up)
{
    struct check *c = arg;
    struct check_slots *in = c->slots;
    struct index_name *k = &in->keys[in->which[i]];
    (void)which;
    (void)up;
    if (in->removing) {
        k->spoilt = false;
        return;
    }
    if (!check_numbers(reply, 1, 5) || reply->element[0]->type != REDIS_REPLY_STRING) {
        snprintf(in->why, sizeof(in->why), "%s",
                 reply->type == REDIS_REPLY_ERROR ? reply->str : "this is no answer");
        k->done = true;
        return;
    }
    check_take_key(c, reply);
    k->spoilt = reply->element[3]->integer != 0;
    if (k->spoilt)
        check_note_spoilt(c, &k->key);
    buf_clear(&k->member);
    buf_append(&k->member, reply->element[0]->str, reply->element[0]->len);
    k->done = strcmp(reply->element[0]->str, "0") == 0;
}

static void on_keys(void *arg, const char *why)
{
    struct check *c = arg;
    if (!failed(c, why != NULL ? why : c->slots->why[0] != '\0' ? c->slots->why : NULL))
        ask_keys(c);
}

/* The next one of each slot that is to be looked at, or removed. */
static void choose(struct check_slots *in)
{
    in->slots = alloc_resized(in->slots, in->n + 1, sizeof(*in->slots));
    in->which = alloc_resized(in->which, in->n + 1, sizeof(*in->which));
    in->nslots = 0;
    for (unsigned i = 0; i < in->n; i++) {
        const struct index_name *k = &in->keys[i];
        unsigned had = 0;
        while (had < in->nslots && in->slots[had] != k->slot)
            had++;
        if (had < in->nslots || (in->removing ? !k->spoilt : k->done))
            continue;
        in->slots[in->nslots] = k->slot;
        in->which[in->nslots++] = i;
    }
}

static void on_marked(void *arg, unsigned index, redisReply *reply)
{
    struct check *c = arg;
    (void)index;
    if (failed(c, reply == NULL                      ? "the connection was lost"
                  : reply->type == REDIS_REPLY_ERROR ? reply->str
                                                     : NULL))
        return;
    c->slots->removing = true;
    ask_keys(c);
}

/* As index.build does. */
static void mark_incomplete(struct check *c)
{
    struct buf out = BUF_INIT;
    char *states = index_states_key(exec_config(c->exec)->key_prefix, true);
    struct upstream *up = lane_upstream(exec_lane(c->exec));
    buf_printf(&out, "*%u\r\n", 2 + c->all->n);
    resp_bulk(&out, "HDEL", 4);
    resp_bulk(&out, states, strlen(states));
    for (unsigned i = 0; i < c->all->n; i++)
        resp_bulk(&out, c->all->all[i].state, strlen(c->all->all[i].state));
    bool sent = upstream_send(up, out.data, out.len, 1, on_marked, c);
    buf_free(&out);
    free(states);
    if (!sent)
        failed(c, upstream_why(up));
}

static bool any_spoilt(const struct check_slots *in)
{
    bool found = false;
    for (unsigned i = 0; i < in->n; i++)
        found = found || in->keys[i].spoilt;
    return found;
}

static void ask_keys(struct check *c)
{
    static const struct scatter_asks asks = {1, write_key, take_key, on_keys};
    struct check_slots *in = c->slots;
    choose(in);
    if (in->nslots > 0) {
        scatter_ask(in->asks.scatter, in->slots, in->nslots, &asks, c);
    } else if (c->repair && any_spoilt(in)) {
        mark_incomplete(c);
    } else {
        in->removing = false;
        clear_keys(in);
        check_claims_go(in->claims);
    }
}

static void on_claims(struct check *c, const char *why)
{
    if (!failed(c, why))
        check_page_done(c);
}

/* "<prefix>:@index{tag}:Model", or that and "/..."; or a claim of it. */
static void add_key(struct check *c, const char *name, size_t len)
{
    struct check_slots *in = c->slots;
    const char *model = c->all->model->name, *close = memchr(name, '}', len);
    size_t left = close != NULL ? (size_t)(name + len - close) : 0, n = strlen(model);
    check_claims_key(in->claims, name, len);
    if (left < n + 2 || close[1] != ':' || memcmp(close + 2, model, n) != 0 ||
        (left > n + 2 && close[n + 2] != '/'))
        return;
    struct index_name k = {.slot = slot_of(name, len)};
    buf_append(&k.key, name, len);
    buf_append(&k.member, "0", 1);
    vec_push(in->keys, in->n, in->cap, k);
}

/* ---- documents ---- */

static void ignore(void *arg, const redisReply *reply)
{
    (void)arg;
    (void)reply;
}

static void on_settled(void *arg, const char *why)
{
    struct check *c = arg;
    slot_calls_free(c->slots->calls);
    c->slots->calls = NULL;
    if (!failed(c, why))
        check_claims_go(c->slots->claims);
}

static void take_compared(void *arg, const redisReply *reply)
{
    if (check_numbers(reply, 0, 3))
        check_take_documents(arg, reply);
}

static void on_compared(void *arg, const char *why)
{
    struct check *c = arg;
    if (why != NULL || !c->repair)
        on_settled(c, why);
    else
        slot_calls_ask(c->slots->calls, (struct slot_script){0}, ignore, on_settled, c);
}

static void add_document(void *arg, const char *pk, size_t len)
{
    struct check *c = arg;
    check_claims_document(c->slots->claims, pk, len);
}

static void compare(struct check *c)
{
    struct check_slots *in = c->slots;
    in->calls = slot_calls_new(c->exec, in->asks.scatter, c->all);
    slot_calls_add_names(in->calls, &in->page.names);
    slot_calls_each(in->calls, add_document, c);
    if (slot_calls_n(in->calls) == 0) {
        on_settled(c, NULL);
        return;
    }
    struct slot_script script = {index_check_script, sizeof(index_check_script) - 1, "documents"};
    slot_calls_ask(in->calls, script, take_compared, on_compared, c);
}

/* ---- pages ---- */

static void on_listed(void *arg, enum list_end end, const char *why)
{
    struct check *c = arg;
    struct check_slots *in = c->slots;
    struct cursor names = cursor_of(in->page.names.data, in->page.names.len);
    const char *name;
    size_t len;
    if (failed(c, end != LISTED_PAGE ? why : NULL))
        return;
    strcpy(c->place.at, listing_slot(&in->listing, 0) < 0 ? "0" : "1");
    if (c->documents) {
        compare(c);
        return;
    }
    while (names.at < names.end && cursor_str(&names, &name, &len) == 0)
        add_key(c, name, len);
    ask_keys(c);
}

void check_slots_page(struct check *c)
{
    struct check_slots *in = c->slots;
    const struct names *names = exec_names(c->exec);
    const char *model = c->all->model->name;
    struct fault f;
    if (strcmp(c->place.at, "0") == 0) {
        listing_begin(&in->listing);
    } else if (listing_slot(&in->listing, 0) < 0) {
        fault_set(&f, FAULT_BAD_REQUEST, "the cursor is none that index.check has given");
        check_refuse(c, &f);
        return;
    }
    buf_clear(&in->match);
    layout_pattern(names->prefix, strlen(names->prefix), &in->match);
    if (!c->documents)
        buf_printf(&in->match, ":@*:%s*", model); /* also claims */
    else
        buf_printf(&in->match, names->tags ? ":{*%s:*" : ":{%s:*}", model);
    buf_append(&in->match, "", 1);
    in->page.match = (char *)in->match.data;
    in->page.type = c->documents ? "hash" : NULL;
    lister_ask(in->asks.lister, &in->page);
}

void check_slots_begin(struct check *c, const struct find_cluster *cluster)
{
    struct check_slots *in = alloc_zeroed(1, sizeof(*in));
    *in = (struct check_slots){.asks = *cluster,
                               .page = {.count = STEP,
                                        .patience = (int64_t)exec_config(c->exec)->queue_time,
                                        .done = on_listed,
                                        .arg = c}};
    in->page.listing = &in->listing;
    in->claims = check_claims_new(c, cluster->scatter, on_claims);
    c->slots = in;
}
