/* clean_slots: see clean_slots.h. */
#include "daemon/methods/clean_slots.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/indexes.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define PAGE_KEYS 500 /* that SCAN looks at */
#define GUARD_MS "5000"

struct index_key {
    uint16_t slot;
    uint32_t len;
    const char *name; /* in the names of the page */
};

struct clean_slots {
    struct exec *exec;
    struct lister *lister;
    struct scatter *scatter;
    struct clean_of of;
    char *name; /* of what was asked for before: where that is ended, or goes on */
    uint64_t revision;
    bool last, path;
    struct listing listing;
    struct list_page page;
    struct buf match;       /* with a NUL */
    struct index_key *keys; /* of the page, by their slots: to be removed */
    unsigned n, cap;
    uint16_t *slots; /* theirs, each once */
    unsigned nslots;
    void (*done)(void *arg, enum clean_end end, const char *why);
    void *arg;
    char why[200];
};

static void go_on(struct clean_slots *c);

static const char *prefix_of(const struct clean_slots *c)
{
    return exec_config(c->exec)->key_prefix;
}

static void end(struct clean_slots *c, enum clean_end how, const char *why)
{
    c->done(c->arg, how, why);
}

/* ---- what the declarations say ---- */

static void on_still(void *arg, unsigned index, redisReply *reply);

/* Renews the lease if the index is still none and the lease ours; and (all) it has no state any
 * more. */
static void ask_still(struct clean_slots *c, bool all)
{
    static const char script[] =
        "if (redis.call('HGET',KEYS[1],'@rev') or '0')~=ARGV[1] or "
        "redis.call('GET',KEYS[3])~=ARGV[2] then return 0 end "
        "redis.call('PEXPIRE',KEYS[3],ARGV[3]) "
        "if ARGV[4] then redis.call('HDEL',KEYS[2],ARGV[4]) return 2 end return 1";
    struct upstream *up = lane_upstream(exec_lane(c->exec));
    char *schema = alloc_text("%s:@schema", prefix_of(c));
    char *states = index_states_key(prefix_of(c), true);
    char revision[RESP_DECIMAL_MAX + 1];
    struct buf out = BUF_INIT;
    revision[resp_decimal(revision, (int64_t)c->revision)] = '\0';
    resp_words(&out, "EVAL", script, "3", schema, states, c->of.lease, revision, c->of.id,
               c->of.lease_ms, all ? c->name : NULL, NULL);
    free(schema);
    free(states);
    bool sent = upstream_send(up, out.data, out.len, 1, on_still, c);
    buf_free(&out);
    if (!sent)
        end(c, CLEAN_LATER, upstream_why(up));
}

/* ---- the slots ---- */

static void write_guard(struct buf *key, const struct clean_slots *c, uint16_t slot)
{
    index_head(prefix_of(c), slot_tag(slot), key);
    buf_printf(key, ":@clean");
    buf_append(key, "", 1);
}

static void write_set(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct clean_slots *c = arg;
    struct buf guard = BUF_INIT;
    (void)first;
    write_guard(&guard, c, slot);
    resp_words(out, "SET", (char *)guard.data, c->of.id, "PX", GUARD_MS, NULL);
    buf_free(&guard);
}

/* Of the guard or of what it guards: 0 is said of the latter when the guard is gone. */
static void take(void *arg, unsigned i, unsigned which, redisReply *reply,
                 const struct upstream *up)
{
    struct clean_slots *c = arg;
    (void)i;
    (void)which;
    (void)up;
    if (reply->type == REDIS_REPLY_ERROR)
        snprintf(c->why, sizeof(c->why), "%s", reply->str);
    else if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0)
        snprintf(c->why, sizeof(c->why), "it took longer than a page may");
}

/* True: that was not for nothing. */
static bool all_done(struct clean_slots *c, const char *why)
{
    if (why == NULL && c->why[0] == '\0')
        return true;
    end(c, CLEAN_LATER, why != NULL ? why : c->why);
    return false;
}

static void on_set(void *arg, const char *why)
{
    struct clean_slots *c = arg;
    if (all_done(c, why))
        ask_still(c, false);
}

static int by_slot(const void *a, const void *b)
{
    const struct index_key *x = a, *y = b;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static void write_removal(void *arg, uint16_t slot, bool first, struct buf *out)
{
    static const char script[] = "if redis.call('GET',KEYS[1])~=ARGV[1] then return 0 end "
                                 "for i=2,#KEYS do redis.call('UNLINK',KEYS[i]) end return 1";
    const struct clean_slots *c = arg;
    struct index_key wanted = {.slot = slot};
    const struct index_key *k = bsearch(&wanted, c->keys, c->n, sizeof(*k), by_slot), *last;
    struct buf guard = BUF_INIT;
    char number[RESP_DECIMAL_MAX + 1];
    (void)first;
    while (k > c->keys && k[-1].slot == slot)
        k--;
    for (last = k; last < c->keys + c->n && last->slot == slot; last++)
        continue;
    number[resp_decimal(number, last - k + 1)] = '\0';
    write_guard(&guard, c, slot);
    buf_printf(out, "*%u\r\n", (unsigned)(last - k) + 5);
    resp_bulk(out, "EVAL", 4);
    resp_bulk(out, script, sizeof(script) - 1);
    resp_bulk(out, number, strlen(number));
    resp_bulk(out, guard.data, guard.len - 1);
    for (; k < last; k++)
        resp_bulk(out, k->name, k->len);
    resp_bulk(out, c->of.id, strlen(c->of.id));
    buf_free(&guard);
}

static void on_removed(void *arg, const char *why)
{
    struct clean_slots *c = arg;
    if (!all_done(c, why))
        return;
    c->n = 0;
    go_on(c);
}

static void on_still(void *arg, unsigned index, redisReply *reply)
{
    static const struct scatter_asks asks = {1, write_removal, take, on_removed};
    struct clean_slots *c = arg;
    (void)index;
    if (reply == NULL)
        end(c, CLEAN_LATER, "the connection was lost");
    else if (reply->type == REDIS_REPLY_ERROR)
        end(c, CLEAN_LATER, reply->str);
    else if (reply->integer == 1)
        scatter_ask(c->scatter, c->slots, c->nslots, &asks, c);
    else
        end(c, reply->integer == 2 ? CLEAN_DONE : CLEAN_OTHERS, NULL);
}

/* ---- pages ---- */

/* Behind "<prefix>:@index{tag}:". */
static bool is_its(const struct clean_slots *c, const char *rest, size_t len)
{
    size_t model = strcspn(c->name, "/"), path = strlen(c->name) - 1;
    if (c->last && len >= model && memcmp(rest, c->name, model) == 0 &&
        (len == model || (len == model + 5 && memcmp(rest + model, "/@ttl", 5) == 0)))
        return true;
    return len > path && memcmp(rest, c->name, path) == 0 &&
           (rest[path] == c->name[path] || (rest[path] == '*' && !c->path));
}

static void take_names(struct clean_slots *c)
{
    struct cursor in = cursor_of(c->page.names.data, c->page.names.len);
    const char *name;
    size_t len;
    while (in.at < in.end && cursor_str(&in, &name, &len) == 0) {
        const char *close = memchr(name, '}', len);
        size_t head = close != NULL ? (size_t)(close - name) + 2 : len;
        struct index_key k = {.slot = slot_of(name, len), .len = (uint32_t)len, .name = name};
        if (head < len && is_its(c, name + head, len - head))
            vec_push(c->keys, c->n, c->cap, k);
    }
    qsort(c->keys, c->n, sizeof(*c->keys), by_slot);
    c->slots = alloc_resized(c->slots, c->n + 1, sizeof(*c->slots));
    c->nslots = 0;
    for (unsigned i = 0; i < c->n; i++) {
        if (i == 0 || c->keys[i].slot != c->keys[i - 1].slot)
            c->slots[c->nslots++] = c->keys[i].slot;
    }
}

static void on_listed(void *arg, enum list_end how, const char *why)
{
    struct clean_slots *c = arg;
    if (how != LISTED_PAGE) {
        end(c, CLEAN_LATER, why);
        return;
    }
    take_names(c);
    go_on(c);
}

static void go_on(struct clean_slots *c)
{
    static const struct scatter_asks asks = {1, write_set, take, on_set};
    c->why[0] = '\0';
    if (c->n > 0)
        scatter_ask(c->scatter, c->slots, c->nslots, &asks, c);
    else if (listing_slot(&c->listing, 0) < 0)
        ask_still(c, true);
    else
        lister_ask(c->lister, &c->page);
}

/* ---- */

static void begin(struct clean_slots *c, uint64_t revision)
{
    const struct clean_of *of = &c->of;
    size_t all = strlen(of->name), model = strcspn(of->name, "/");
    free(c->name);
    c->name = alloc_str(of->name);
    c->revision = revision;
    c->last = of->last;
    c->path = of->path;
    c->n = 0;
    listing_begin(&c->listing);
    buf_clear(&c->match);
    layout_pattern(prefix_of(c), strlen(prefix_of(c)), &c->match);
    buf_printf(&c->match, ":@index{*}:");
    layout_pattern(of->name, of->last ? model : all - 1, &c->match);
    if (of->last)
        buf_printf(&c->match, "*");
    else
        buf_printf(&c->match, of->path ? "[\\%c]*" : "[\\%c*]*", of->name[all - 1]);
    buf_append(&c->match, "", 1);
    c->page.match = (char *)c->match.data;
}

void clean_slots_ask(struct clean_slots *c, const struct clean_of *of,
                     void (*done)(void *arg, enum clean_end end, const char *why), void *arg)
{
    uint64_t revision = (uint64_t)schema_known(exec_schema(c->exec));
    c->of = *of;
    c->done = done;
    c->arg = arg;
    if (c->name == NULL || strcmp(c->name, of->name) != 0 || c->revision != revision ||
        c->last != of->last || c->path != of->path)
        begin(c, revision);
    go_on(c);
}

struct clean_slots *clean_slots_new(struct exec *e, struct lister *l, struct scatter *s)
{
    struct clean_slots *c = alloc_zeroed(1, sizeof(*c));
    c->exec = e;
    c->lister = l;
    c->scatter = s;
    c->page =
        (struct list_page){.listing = &c->listing, .count = PAGE_KEYS, .done = on_listed, .arg = c};
    return c;
}

void clean_slots_free(struct clean_slots *c)
{
    list_page_free(&c->page);
    buf_free(&c->match);
    free(c->name);
    free(c->keys);
    free(c->slots);
    free(c);
}
