/* indexer: see indexer.h. */
#include "daemon/methods/indexer.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/commit/batch_index.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/clean_slots.h"
#include "daemon/methods/index_clean_script.h"
#include "daemon/methods/lister.h"
#include "daemon/methods/scatter.h"
#include "daemon/methods/slot_calls.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>

#define SOON 1  /* seconds to the next look, while an index is to be built; */
#define LATER 5 /* else, as long as there are any */
#define LEASE_MS "10000"
/* Between the moment in which an index is seen to be wanted and the first document that is looked
 * at: by then all daemons have heard of it, and write its entries. */
#define SETTLE_MS 2500
/* From the end of one building to the next: a key may be spoilt for long. */
#define AGAIN_MS 10000
#define PAGE_KEYS 500 /* that SCAN looks at */
#define PAGE "500"
#define SWEEP "200"

enum doing { NOTHING, LEASING, READING, SCANNING, ENTERING, NOTING, MARKING, SWEEPING, CLEANING };

struct indexer {
    struct exec *exec;
    const char *id;
    struct event *tick;
    enum doing doing;
    int64_t wanted_since;          /* something is to be built; 0: nothing is */
    int64_t built;                 /* the last time; 0: never */
    const struct indexes **models; /* with indexes: all that there are */
    bool *incomplete;              /* so is one of each */
    unsigned n, at;
    char cursor[24];
    bool sweep;    /* what is entered was found by its deadline */
    char *dropped; /* an index that has a state, and no model declares; NULL: there is none */
    int64_t dropped_since;
    char clean[24];             /* where the next page of its keys begins */
    struct in_cluster *cluster; /* NULL: there is one Redis */
};

/* What asks the nodes of a cluster. */
struct in_cluster {
    struct lister *lister;
    struct scatter *scatter;
    struct listing listing;
    struct list_page page;
    struct buf match;         /* with a NUL */
    struct slot_calls *calls; /* NULL: none are on their way */
    unsigned *spoilt;         /* which of the model's indexes, as far as it is built */
    unsigned nspoilt, cap;
    struct clean_slots *clean;
    char *lease; /* its key */
    uint16_t slots[SLOTS];
    unsigned swept; /* how many models: one each time */
};

static void go_on(struct indexer *x);
static const struct indexes *to_build(struct indexer *x);

static struct upstream *upstream_of(const struct indexer *x)
{
    return lane_upstream(exec_lane(x->exec));
}

static const char *prefix_of(const struct indexer *x)
{
    return exec_config(x->exec)->key_prefix;
}

static void plan_tick(struct indexer *x)
{
    struct timeval next = {.tv_sec = x->wanted_since != 0 || x->dropped != NULL ? SOON : LATER};
    if (x->n > 0 || x->dropped != NULL)
        event_add(x->tick, &next);
}

static void on_reply(void *arg, unsigned index, redisReply *reply);

static void ask(struct indexer *x, enum doing doing, struct buf *out)
{
    x->doing = doing;
    if (!upstream_send(upstream_of(x), out->data, out->len, 1, on_reply, x))
        x->doing = NOTHING;
    buf_free(out);
}

/* ---- which models have indexes, and are they complete? ---- */

static void note_model(const struct model *m, void *arg)
{
    struct indexer *x = arg;
    const struct indexes *all = m->atomic ? indexes_of(exec_indexes(x->exec), m) : NULL;
    if (all == NULL)
        return;
    x->models = alloc_resized(x->models, x->n + 1, sizeof(*x->models));
    x->incomplete = alloc_resized(x->incomplete, x->n + 1, sizeof(*x->incomplete));
    x->incomplete[x->n] = false;
    x->models[x->n++] = all;
}

static void note_models(struct indexer *x)
{
    x->n = 0;
    schema_each(exec_schema(x->exec), note_model, x);
}

static bool is_complete(const redisReply *all, const struct model *m, const struct index *ix)
{
    struct buf state = BUF_INIT;
    char *name = index_state_name(m, ix);
    bool found = false;
    index_state(ix, &state);
    for (size_t i = 0; i + 1 < all->elements && !found; i += 2) {
        const redisReply *key = all->element[i], *value = all->element[i + 1];
        found = strcmp(key->str, name) == 0 && value->len == state.len &&
                memcmp(value->str, state.data, state.len) == 0;
    }
    buf_free(&state);
    free(name);
    return found;
}

static bool is_declared(const struct indexer *x, const char *name)
{
    bool found = false;
    for (unsigned m = 0; m < x->n && !found; m++) {
        for (unsigned i = 0; i < x->models[m]->n && !found; i++) {
            char *one = index_state_name(x->models[m]->model, &x->models[m]->all[i]);
            found = strcmp(one, name) == 0;
            free(one);
        }
    }
    return found;
}

/* The first one, if there is one. */
static void find_dropped(struct indexer *x, const redisReply *all)
{
    const char *found = NULL;
    for (size_t i = 0; i + 1 < all->elements && found == NULL; i += 2) {
        const char *name = all->element[i]->str;
        if (strchr(name, '/') != NULL && !is_declared(x, name))
            found = name;
    }
    if (found != NULL && x->dropped != NULL && strcmp(found, x->dropped) == 0)
        return;
    free(x->dropped);
    x->dropped = found != NULL ? alloc_str(found) : NULL;
    x->dropped_since = clock_mono_ms();
    strcpy(x->clean, "0");
}

static void take_states(struct indexer *x, const redisReply *all)
{
    bool any = false;
    note_models(x);
    find_dropped(x, all);
    for (unsigned m = 0; m < x->n; m++) {
        for (unsigned i = 0; i < x->models[m]->n; i++) {
            if (!is_complete(all, x->models[m]->model, &x->models[m]->all[i]))
                x->incomplete[m] = true;
        }
        any = any || x->incomplete[m];
    }
    if (!any)
        x->wanted_since = 0;
    else if (x->wanted_since == 0)
        x->wanted_since = clock_mono_ms();
    x->at = 0;
    strcpy(x->cursor, "0");
}

/* ---- in a cluster ---- */

/* What is not done is done at the next look, from the beginning. */
static void give_up(struct indexer *x, const char *why)
{
    x->doing = NOTHING;
    log_info("indexes are not looked after: %s", why);
}

static bool is_noted(const struct in_cluster *in, unsigned index)
{
    bool found = false;
    for (unsigned i = 0; i < in->nspoilt; i++)
        found = found || in->spoilt[i] == index;
    return found;
}

/* Which indexes have a spoilt key in that slot, or how many entries were put in. */
static void take_settled(void *arg, const redisReply *reply)
{
    struct indexer *x = arg;
    struct in_cluster *in = x->cluster;
    const struct indexes *all = to_build(x);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        for (unsigned n = 0; all != NULL && n < all->n; n++) {
            if (strcmp(reply->element[i]->str, all->all[n].state) == 0 && !is_noted(in, n))
                vec_push(in->spoilt, in->nspoilt, in->cap, n);
        }
    }
}

static void on_settled(void *arg, const char *why)
{
    struct indexer *x = arg;
    slot_calls_free(x->cluster->calls);
    x->cluster->calls = NULL;
    x->doing = NOTHING;
    if (why != NULL)
        give_up(x, why);
    else
        go_on(x);
}

static void settle_slots(struct indexer *x)
{
    struct in_cluster *in = x->cluster;
    if (slot_calls_n(in->calls) == 0) {
        on_settled(x, NULL);
        return;
    }
    x->doing = ENTERING;
    slot_calls_ask(in->calls, (struct slot_script){0}, take_settled, on_settled, x);
}

static void begin_calls(struct indexer *x, const struct indexes *all)
{
    x->cluster->calls = slot_calls_new(x->exec, x->cluster->scatter, all);
}

static void on_listed(void *arg, enum list_end end, const char *why)
{
    struct indexer *x = arg;
    struct in_cluster *in = x->cluster;
    const struct indexes *all = to_build(x);
    if (end != LISTED_PAGE || all == NULL) {
        give_up(x, end != LISTED_PAGE ? why : "the models are others by now");
        return;
    }
    strcpy(x->cursor, listing_slot(&in->listing, 0) < 0 ? "end" : "more");
    begin_calls(x, all);
    slot_calls_add_names(in->calls, &in->page.names);
    settle_slots(x);
}

/* All of the model's documents, as SCAN gives them. */
static void list_page(struct indexer *x, const struct model *m)
{
    struct in_cluster *in = x->cluster;
    const struct names *names = exec_names(x->exec);
    if (strcmp(x->cursor, "0") == 0)
        listing_begin(&in->listing);
    buf_clear(&in->match);
    layout_pattern(names->prefix, strlen(names->prefix), &in->match);
    buf_printf(&in->match, names->tags ? ":{*%s:*" : ":{%s:*}", m->name);
    buf_append(&in->match, "", 1);
    in->page.match = (char *)in->match.data;
    x->doing = SCANNING;
    lister_ask(in->lister, &in->page);
}

/* Those of a model that have ended, in each slot. */
static void write_ended(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct indexer *x = arg;
    struct buf key = BUF_INIT;
    char now[32];
    (void)first;
    index_head(prefix_of(x), slot_tag(slot), &key);
    buf_printf(&key, ":%s/@ttl", x->models[x->at]->model->name);
    buf_append(&key, "", 1);
    snprintf(now, sizeof(now), "%" PRId64, clock_wall_ms());
    resp_words(out, "ZRANGEBYSCORE", (char *)key.data, "-inf", now, "LIMIT", "0", SWEEP, NULL);
    buf_free(&key);
}

static void take_ended(void *arg, unsigned i, unsigned which, redisReply *reply,
                       const struct upstream *up)
{
    struct indexer *x = arg;
    (void)i;
    (void)which;
    (void)up;
    for (size_t e = 0; reply->type == REDIS_REPLY_ARRAY && e < reply->elements; e++)
        slot_calls_add(x->cluster->calls, reply->element[e]->str, reply->element[e]->len);
}

static void on_ended(void *arg, const char *why)
{
    struct indexer *x = arg;
    x->at = x->n; /* no other model this time */
    if (why != NULL)
        on_settled(x, why);
    else
        settle_slots(x);
}

/* There are 16384 to be asked: one model at each look. */
static void ask_slots(struct indexer *x)
{
    static const struct scatter_asks asks = {1, write_ended, take_ended, on_ended};
    struct in_cluster *in = x->cluster;
    x->at = in->swept++ % x->n;
    begin_calls(x, x->models[x->at]);
    x->doing = SWEEPING;
    scatter_ask(in->scatter, in->slots, SLOTS, &asks, x);
}

/* Of whoever looks after indexes. */
static char *lease_key(const struct indexer *x, bool cluster)
{
    char *states = index_states_key(prefix_of(x), cluster);
    char *key = alloc_text("%s:@builder", states);
    free(states);
    return key;
}

static struct in_cluster *in_cluster_new(struct event_base *base, struct indexer *x)
{
    struct in_cluster *in = alloc_zeroed(1, sizeof(*in));
    in->lister = lister_new(base, x->exec);
    in->scatter = scatter_new(base, x->exec);
    in->clean = clean_slots_new(x->exec, in->lister, in->scatter);
    in->lease = lease_key(x, true);
    in->page = (struct list_page){
        .listing = &in->listing, .type = "hash", .count = PAGE_KEYS, .done = on_listed, .arg = x};
    for (unsigned slot = 0; slot < SLOTS; slot++)
        in->slots[slot] = (uint16_t)slot;
    return in;
}

static void in_cluster_free(struct in_cluster *in)
{
    lister_free(in->lister);
    scatter_free(in->scatter);
    clean_slots_free(in->clean);
    free(in->spoilt);
    list_page_free(&in->page);
    buf_free(&in->match);
    free(in->lease);
    free(in);
}

/* ---- looking at documents ---- */

/* The model at hand, or the next one that lacks something; NULL: none does. */
static const struct indexes *to_build(struct indexer *x)
{
    while (x->at < x->n && !x->incomplete[x->at])
        x->at++;
    return x->at < x->n ? x->models[x->at] : NULL;
}

static void ask_lease(struct indexer *x)
{
    struct buf out = BUF_INIT;
    char *key = lease_key(x, x->cluster != NULL);
    static const char script[] =
        "local had=redis.call('GET',KEYS[1]) if had and had~=ARGV[1] then return 0 end "
        "redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) return 1";
    resp_words(&out, "EVAL", script, "1", key, x->id, LEASE_MS, NULL);
    free(key);
    ask(x, LEASING, &out);
}

static void ask_states(struct indexer *x)
{
    struct buf out = BUF_INIT;
    char *key = index_states_key(prefix_of(x), x->cluster != NULL);
    resp_words(&out, "HGETALL", key, NULL);
    free(key);
    ask(x, READING, &out);
}

static void ask_page(struct indexer *x, const struct model *m)
{
    if (x->cluster != NULL) {
        list_page(x, m);
        return;
    }
    struct buf out = BUF_INIT, match = BUF_INIT;
    layout_pattern(prefix_of(x), strlen(prefix_of(x)), &match);
    buf_printf(&match, ":{%s:*}", m->name);
    buf_append(&match, "", 1);
    resp_words(&out, "SCAN", x->cursor, "MATCH", (char *)match.data, "COUNT", PAGE, "TYPE", "hash",
               NULL);
    buf_free(&match);
    ask(x, SCANNING, &out);
}

/* One of the scripts below, with the names of the model's indexes in the hash of the states, and
 * (`states`) each with the state of one that has all documents. */
static void ask_script(struct indexer *x, enum doing doing, const char *script,
                       const struct indexes *all, bool states)
{
    struct buf out = BUF_INIT;
    char *key = index_states_key(prefix_of(x), x->cluster != NULL);
    buf_printf(&out, "*%u\r\n", 4 + (states ? 2 : 1) * all->n);
    resp_bulk(&out, "EVAL", 4);
    resp_bulk(&out, script, strlen(script));
    resp_bulk(&out, "1", 1);
    resp_bulk(&out, key, strlen(key));
    for (unsigned i = 0; i < all->n; i++) {
        struct buf state = BUF_INIT;
        char *name = index_state_name(all->model, &all->all[i]);
        index_state(&all->all[i], &state);
        resp_bulk(&out, name, strlen(name));
        if (states)
            resp_bulk(&out, state.data, state.len);
        buf_free(&state);
        free(name);
    }
    free(key);
    ask(x, doing, &out);
}

/* All of the model were looked at: its indexes are complete, but for those that were found spoilt
 * meanwhile. */
static void ask_mark(struct indexer *x, const struct indexes *all)
{
    static const char script[] = "for i=1,#ARGV,2 do local had=redis.call('HGET',KEYS[1],ARGV[i]) "
                                 "if not (had and string.sub(had,1,1)=='!') then "
                                 "redis.call('HSET',KEYS[1],ARGV[i],ARGV[i+1]) "
                                 "end end return 1";
    ask_script(x, MARKING, script, all, true);
}

/* In a cluster, where the script that met them cannot. */
static void note_spoilt(struct indexer *x, const struct indexes *all)
{
    struct in_cluster *in = x->cluster;
    struct buf out = BUF_INIT;
    char *key = index_states_key(prefix_of(x), true);
    buf_printf(&out, "*%u\r\n", 2 + 2 * in->nspoilt);
    resp_bulk(&out, "HSET", 4);
    resp_bulk(&out, key, strlen(key));
    for (unsigned i = 0; i < in->nspoilt; i++) {
        const char *name = all->all[in->spoilt[i]].state;
        resp_bulk(&out, name, strlen(name));
        resp_bulk(&out, "!", 1);
    }
    in->nspoilt = 0;
    free(key);
    ask(x, NOTING, &out);
}

/* Before the first page: what was found spoilt may have been mended. */
static void forget_spoilt(struct indexer *x, const struct indexes *all)
{
    if (x->cluster != NULL)
        x->cluster->nspoilt = 0;
    static const char script[] = "for i=1,#ARGV do local had=redis.call('HGET',KEYS[1],ARGV[i]) "
                                 "if had and string.sub(had,1,1)=='!' then "
                                 "redis.call('HSET',KEYS[1],ARGV[i],'?') end end return 1";
    ask_script(x, ENTERING, script, all, false);
}

static void settle(struct indexer *x, const struct indexes *all, const redisReply *found, bool keys)
{
    struct index_call call = {0};
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < found->elements; i++) {
        const redisReply *one = found->element[i];
        struct buf key = BUF_INIT;
        const char *suffix;
        size_t suffix_len = 0, head = strlen(all->model->name) + 1;
        if (!keys)
            index_call_add(&call, exec_names(x->exec), all, one->str, one->len);
        else if (layout_split(exec_names(x->exec), one->str, one->len, &key, &suffix,
                              &suffix_len) &&
                 suffix_len == 0 && key.len > head)
            index_call_add(&call, exec_names(x->exec), all, (char *)key.data + head,
                           key.len - head);
        buf_free(&key);
    }
    unsigned n = index_call_flush(&call, INDEX_SETTLE, prefix_of(x), NULL, &out);
    index_call_free(&call);
    if (n == 1)
        ask(x, ENTERING, &out);
    else
        x->doing = NOTHING;
    buf_free(&out);
}

static void take_page(struct indexer *x, const redisReply *reply)
{
    const struct indexes *all = to_build(x);
    if (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY || all == NULL)
        return;
    snprintf(x->cursor, sizeof(x->cursor), "%s", reply->element[0]->str);
    if (strcmp(x->cursor, "0") == 0)
        strcpy(x->cursor, "end");
    settle(x, all, reply->element[1], true);
    if (x->doing == NOTHING)
        go_on(x);
}

/* ---- those that were dropped ---- */

static bool may_clean(const struct indexer *x)
{
    return x->dropped != NULL && clock_mono_ms() - x->dropped_since >= SETTLE_MS;
}

static bool has_indexes(const struct indexer *x, const char *model, size_t len)
{
    bool found = false;
    for (unsigned m = 0; m < x->n && !found; m++) {
        const char *name = x->models[m]->model->name;
        found = strlen(name) == len && memcmp(name, model, len) == 0;
    }
    return found;
}

/* Whether there is another index at this path, with which it shares the set of documents that have
 * too many elements. */
static bool has_path(const struct indexer *x, const char *name, size_t len)
{
    bool found = false;
    for (unsigned m = 0; m < x->n && !found; m++) {
        for (unsigned i = 0; i < x->models[m]->n && !found; i++) {
            char *one = index_state_name(x->models[m]->model, &x->models[m]->all[i]);
            found = strlen(one) == len + 1 && memcmp(one, name, len) == 0;
            free(one);
        }
    }
    return found;
}

static void removed(struct indexer *x)
{
    log_info("the index %s is removed", x->dropped);
    free(x->dropped);
    x->dropped = NULL;
}

static void on_cleaned(void *arg, enum clean_end end, const char *why)
{
    struct indexer *x = arg;
    x->doing = NOTHING;
    if (end == CLEAN_DONE) {
        removed(x);
    } else if (end == CLEAN_LATER) {
        x->built = clock_mono_ms(); /* nothing of this one may be on its way when it is built */
        give_up(x, why);
    }
}

static void clean_slots(struct indexer *x, bool last, bool path)
{
    const struct clean_of of = {x->dropped, last, path, x->cluster->lease, x->id, LEASE_MS};
    x->doing = CLEANING;
    clean_slots_ask(x->cluster->clean, &of, on_cleaned, x);
}

static void ask_clean(struct indexer *x)
{
    size_t len = strcspn(x->dropped, "/"), all = strlen(x->dropped);
    bool last = !has_indexes(x, x->dropped, len);
    bool path = has_path(x, x->dropped, all - 1);
    if (x->cluster != NULL) {
        clean_slots(x, last, path);
        return;
    }
    char revision[RESP_DECIMAL_MAX + 1];
    struct buf out = BUF_INIT, match = BUF_INIT;
    char *states = index_states_key(prefix_of(x), x->cluster != NULL),
         *schema = alloc_text("%s:@schema", prefix_of(x));
    char *notes = alloc_text("%s:%.*s", states, (int)len, x->dropped);
    char *ends = alloc_text("%s/@ttl", notes);
    revision[resp_decimal(revision, schema_known(exec_schema(x->exec)))] = '\0';
    layout_pattern(states, strlen(states), &match);
    buf_printf(&match, ":");
    layout_pattern(x->dropped, all - 1, &match);
    buf_printf(&match, path ? "[\\%c]*" : "[\\%c*]*", x->dropped[all - 1]);
    buf_append(&match, "", 1);
    resp_words(&out, "EVAL", index_clean_script, "2", states, schema, x->dropped, revision,
               (char *)match.data, x->clean, last ? notes : NULL, ends, NULL);
    buf_free(&match);
    free(states);
    free(schema);
    free(notes);
    free(ends);
    ask(x, CLEANING, &out);
}

static void take_cleaned(struct indexer *x, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_STRING || reply->len == 0 ||
        (size_t)reply->len >= sizeof(x->clean))
        return; /* it is looked at anew */
    strcpy(x->clean, reply->str);
    if (strcmp(x->clean, "0") != 0) {
        ask_clean(x);
        return;
    }
    removed(x);
}

/* ---- those that have ended ---- */

static void ask_ended(struct indexer *x)
{
    if (x->cluster != NULL) {
        ask_slots(x);
        return;
    }
    struct buf out = BUF_INIT;
    char *key = alloc_text("%s:@index:%s/@ttl", prefix_of(x), x->models[x->at]->model->name);
    char now[32];
    snprintf(now, sizeof(now), "%" PRId64, clock_wall_ms());
    resp_words(&out, "ZRANGEBYSCORE", key, "-inf", now, "LIMIT", "0", SWEEP, NULL);
    free(key);
    ask(x, SWEEPING, &out);
}

/* ---- */

static void go_on(struct indexer *x)
{
    if (x->sweep) {
        if (x->at < x->n)
            ask_ended(x);
        return;
    }
    const struct indexes *all = to_build(x);
    if (all == NULL) {
        x->sweep = true;
        x->at = 0;
        return;
    }
    if (strcmp(x->cursor, "end") == 0 && x->cluster != NULL && x->cluster->nspoilt > 0)
        note_spoilt(x, all);
    else if (strcmp(x->cursor, "end") == 0)
        ask_mark(x, all);
    else
        ask_page(x, all->model);
}

static bool may_build(const struct indexer *x)
{
    int64_t now = clock_mono_ms();
    return x->wanted_since != 0 && now - x->wanted_since >= SETTLE_MS &&
           (x->built == 0 || now - x->built >= AGAIN_MS);
}

static void take(struct indexer *x, const redisReply *reply)
{
    enum doing done = x->doing;
    x->doing = NOTHING;
    if (reply->type == REDIS_REPLY_ERROR) {
        log_warning("indexes are not looked after: %s", reply->str);
        return;
    }
    switch (done) {
    case NOTHING: break;
    case READING:
        if (reply->type == REDIS_REPLY_ARRAY)
            take_states(x, reply);
        plan_tick(x);
        if (x->n > 0 || x->dropped != NULL)
            ask_lease(x);
        break;
    case LEASING:
        if (reply->integer != 1)
            break; /* another one does it */
        if (may_clean(x)) {
            ask_clean(x);
            break;
        }
        x->sweep = !may_build(x);
        x->at = 0;
        if (!x->sweep && to_build(x) != NULL && strcmp(x->cursor, "0") == 0)
            forget_spoilt(x, to_build(x));
        else
            go_on(x);
        break;
    case SCANNING: take_page(x, reply); break;
    case ENTERING:
    case NOTING: go_on(x); break;
    case MARKING:
        log_info("the indexes of %s have all its documents", x->models[x->at]->model->name);
        x->built = clock_mono_ms();
        x->at++;
        strcpy(x->cursor, "0");
        if (to_build(x) != NULL)
            forget_spoilt(x, to_build(x));
        else
            go_on(x);
        break;
    case CLEANING: take_cleaned(x, reply); break;
    case SWEEPING:
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0) {
            settle(x, x->models[x->at], reply, false);
            break;
        }
        x->at++;
        go_on(x);
        break;
    }
}

static void on_reply(void *arg, unsigned index, redisReply *reply)
{
    struct indexer *x = arg;
    (void)index;
    if (reply == NULL) {
        x->doing = NOTHING;
        strcpy(x->clean, "0"); /* another run of Redis cannot go on with that */
    } else
        take(x, reply);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct indexer *x = arg;
    (void)fd;
    (void)what;
    bool free = x->doing == NOTHING;
    if (free)
        note_models(x);
    if (free && lane_ready(exec_lane(x->exec)))
        ask_states(x);
    plan_tick(x);
}

void indexer_wake(struct indexer *x)
{
    struct timeval next = {.tv_sec = 0, .tv_usec = 1000};
    if (x->doing == NOTHING)
        note_models(x);
    event_add(x->tick, &next);
}

struct indexer *indexer_new(struct event_base *base, struct exec *e, const char *id)
{
    struct indexer *x = alloc_zeroed(1, sizeof(*x));
    x->exec = e;
    x->id = id;
    if (router_is_cluster(lanes_router(exec_lanes(e))))
        x->cluster = in_cluster_new(base, x);
    x->tick = evtimer_new(base, on_tick, x);
    return x;
}

void indexer_stop(struct indexer *x)
{
    event_del(x->tick);
    if (x->cluster == NULL)
        return;
    lister_stop(x->cluster->lister);
    scatter_stop(x->cluster->scatter);
}

void indexer_free(struct indexer *x)
{
    if (x->cluster != NULL)
        in_cluster_free(x->cluster);
    event_free(x->tick);
    free(x->models);
    free(x->incomplete);
    free(x->dropped);
    free(x);
}
