/* purge: see purge.h. One document after the other, and one command after the other: what is left
 * over is in nobody's way. */
#include "daemon/exec/purge.h"
#include "daemon/base/log.h"
#include "daemon/documents/layout.h"
#include "daemon/exec/purge_script.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/router.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define PAGE "500" /* keys that SCAN looks at: a millisecond of Redis' time, and UNLINK another */
#define AGAIN_MS 1000

struct condemned {
    struct condemned *prev, *next;
    size_t len;
    char key[];
};

struct purger {
    const struct router *router;
    const struct names *names;
    void (*gone)(void *arg, const char *key, size_t len);
    void *arg;
    struct condemned *list; /* the first one is being purged (utlist) */
    struct event *again;
    bool named;             /* it is known how keys are made of documents */
    bool busy;              /* an answer will come */
    char name[128];         /* of the hash of those that are there */
    char cursor[24];        /* where SCAN goes on */
    struct listing listing; /* a cluster: the same, of the document's slot; all others are done */
    char why[200];          /* a page of it is none */
    bool last;              /* the root hash goes */
    struct buf found;       /* packed: keys of the page */
    struct buf root;        /* the Redis key of the first one, */
    struct buf match;
};

static void go_on(struct purger *p);

static uint16_t slot_of_first(const struct purger *p)
{
    return router_slot(p->router, (char *)p->root.data, p->root.len);
}

static struct upstream *link_of_first(const struct purger *p)
{
    return router_link(p->router, slot_of_first(p));
}

static struct upstream *link_of_name(const struct purger *p)
{
    return router_link(p->router, router_slot(p->router, p->name, strlen(p->name)));
}

static void begin(struct purger *p)
{
    const struct condemned *c = p->list;
    buf_clear(&p->root);
    buf_clear(&p->match);
    layout_key(&p->root, p->names, c->key, c->len, "", 0);
    layout_pattern((char *)p->root.data, p->root.len, &p->match);
    buf_append(&p->match, "/*", 3);
    strcpy(p->cursor, "0");
    listing_begin(&p->listing);
    memset(p->listing.slots, LISTED_DONE, sizeof(p->listing.slots));
    p->listing.slots[slot_of_first(p)] = LISTED_LEFT;
    p->last = false;
}

static void done(struct purger *p)
{
    struct condemned *c = p->list;
    struct buf out = BUF_INIT;
    resp_words(&out, "HDEL", p->name, c->key, NULL);
    upstream_send(link_of_name(p), out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
    DL_DELETE(p->list, c);
    p->gone(p->arg, c->key, c->len);
    free(c);
    if (p->list != NULL)
        begin(p);
    go_on(p);
}

/* Later, and from the beginning, as what a page had is there yet: a full or read-only Redis, a
 * missing right. */
static void refused(struct purger *p, const char *why)
{
    begin(p);
    log_warning("what is left of the deleted document %s stays for now: %s", p->list->key, why);
    event_add(p->again, &(struct timeval){.tv_sec = AGAIN_MS / 1000});
}

/* The same where the link is lost. In a cluster nobody says when this one's slot can be reached
 * again, or where it has gone. */
static void try_again(struct purger *p)
{
    begin(p);
    if (router_is_cluster(p->router))
        event_add(p->again, &(struct timeval){.tv_sec = AGAIN_MS / 1000});
}

/* False: there is none, as the link is lost; or it is an error. */
static bool is_answer(struct purger *p, const redisReply *reply)
{
    p->busy = false;
    if (reply == NULL)
        try_again(p);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        refused(p, reply->str);
    return reply != NULL && reply->type != REDIS_REPLY_ERROR;
}

static void on_removed(void *arg, unsigned index, redisReply *reply)
{
    struct purger *p = arg;
    (void)index;
    if (!is_answer(p, reply))
        return;
    if (p->last || reply->type != REDIS_REPLY_INTEGER || reply->integer == 0) {
        done(p);
        return;
    }
    p->last = strcmp(p->cursor, "0") == 0;
    go_on(p);
}

/* Keys of a page; or, where all were removed, the root hash. */
static void remove_some(struct purger *p)
{
    struct cursor in = cursor_of(p->found.data, p->found.len);
    uint32_t n = 0;
    if (!p->last)
        (void)cursor_array(&in, &n);
    const char **argv = alloc_zeroed(n + 5, sizeof(*argv));
    size_t *len = alloc_zeroed(n + 5, sizeof(*len));
    char count[RESP_DECIMAL_MAX];
    struct buf out = BUF_INIT;
    int argc = 0;
    argv[argc] = "EVAL", len[argc++] = 4;
    argv[argc] = purge_script, len[argc++] = sizeof(purge_script) - 1;
    argv[argc] = count, len[argc++] = resp_decimal(count, 1 + (int64_t)n);
    argv[argc] = (char *)p->root.data, len[argc++] = p->root.len;
    for (; n > 0; n--, argc++)
        (void)cursor_str(&in, &argv[argc], &len[argc]);
    if (p->last)
        argv[argc] = "root", len[argc++] = 4;
    resp_command(&out, argc, argv, len);
    p->busy = upstream_send(link_of_first(p), out.data, out.len, 1, on_removed, p);
    if (!p->busy)
        try_again(p);
    buf_free(&out);
    free(argv);
    free(len);
}

static bool is_page(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len >= 24 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY || reply->element[1]->elements > 7000)
        return false;
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        if (reply->element[1]->element[i]->type != REDIS_REPLY_STRING)
            return false;
    }
    return true;
}

static void note_page(struct purger *p, const redisReply *reply)
{
    const redisReply *keys = reply->element[1];
    strcpy(p->cursor, reply->element[0]->str);
    buf_clear(&p->found);
    pack_array(&p->found, (uint32_t)keys->elements);
    for (size_t i = 0; i < keys->elements; i++)
        pack_str(&p->found, keys->element[i]->str, keys->element[i]->len);
}

static void on_page(void *arg, unsigned index, redisReply *reply)
{
    struct purger *p = arg;
    (void)index;
    if (!is_answer(p, reply))
        return;
    if (!is_page(reply)) {
        refused(p, "its answer is no page of SCAN");
        return;
    }
    note_page(p, reply);
    remove_some(p);
}

/* The node that has scanned says whether it has the slot, whole, all the time: it never says
 * MOVED to SCAN. */
static void take_node(struct purger *p, const redisReply *nodes)
{
    uint16_t slot = slot_of_first(p);
    if (nodes->type != REDIS_REPLY_STRING ||
        listing_look(&p->listing, nodes->str, nodes->len) < 0) {
        refused(p, "its answer to CLUSTER NODES is none");
    } else if (p->listing.slots[slot] != LISTED_NOW) {
        try_again(p);
    } else {
        listing_scanned(&p->listing, strtoull(p->cursor, NULL, 10));
        remove_some(p);
    }
}

/* Of SCAN, CLUSTER INFO, CLUSTER NODES. One that is cut off from most others has what was. */
static void on_node(void *arg, unsigned index, redisReply *reply)
{
    struct purger *p = arg;
    if (reply == NULL) {
        (void)is_answer(p, reply);
        return;
    }
    const char *text = reply->type == REDIS_REPLY_ARRAY ? "" : reply->str;
    if (p->why[0] != '\0')
        text = "";
    else if (reply->type == REDIS_REPLY_ERROR)
        snprintf(p->why, sizeof(p->why), "%s", text);
    else if (index == 0 && !is_page(reply))
        snprintf(p->why, sizeof(p->why), "its answer is no page of SCAN");
    else if (index == 0)
        note_page(p, reply);
    else if (index == 1 && (text == NULL || strstr(text, "cluster_state:ok") == NULL))
        snprintf(p->why, sizeof(p->why), "the cluster is down, as its node says");
    if (index < 2)
        return;
    p->busy = false;
    if (p->why[0] != '\0')
        refused(p, p->why);
    else
        take_node(p, reply);
}

static void go_on(struct purger *p)
{
    if (p->busy || p->list == NULL)
        return;
    if (p->last) {
        remove_some(p);
        return;
    }
    bool cluster = router_is_cluster(p->router);
    struct upstream *up = link_of_first(p);
    struct buf out = BUF_INIT;
    if (cluster) {
        listing_ask(&p->listing, upstream_info(up)->run_id);
        snprintf(p->cursor, sizeof(p->cursor), "%" PRIu64, p->listing.scan);
        p->why[0] = '\0';
    }
    resp_words(&out, "SCAN", p->cursor, "MATCH", (char *)p->match.data, "COUNT", PAGE, NULL);
    if (cluster) {
        resp_words(&out, "CLUSTER", "INFO", NULL);
        resp_words(&out, "CLUSTER", "NODES", NULL);
    }
    p->busy = upstream_send(up, out.data, out.len, cluster ? 3 : 1, cluster ? on_node : on_page, p);
    if (!p->busy)
        try_again(p);
    buf_free(&out);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    go_on(arg);
}

void purger_note(struct purger *p, const char *key)
{
    struct buf out = BUF_INIT;
    resp_words(&out, "HSET", p->name, key, "1", NULL);
    /* Without it whoever meets the document finds out by itself. */
    upstream_send(link_of_name(p), out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&out);
}

void purger_add(struct purger *p, const char *key, size_t len)
{
    struct condemned *c;
    DL_FOREACH (p->list, c) {
        if (c->len == len && memcmp(c->key, key, len) == 0)
            return;
    }
    c = alloc_zeroed(1, sizeof(*c) + len + 1);
    c->len = len;
    memcpy(c->key, key, len);
    DL_APPEND(p->list, c);
    if (p->list == c)
        begin(p);
    go_on(p);
}

static void on_left(void *arg, unsigned index, redisReply *reply)
{
    struct purger *p = arg;
    (void)index;
    for (size_t i = 0; reply != NULL && reply->type == REDIS_REPLY_ARRAY && i < reply->elements;
         i += 2) {
        const redisReply *key = reply->element[i];
        if (key->type == REDIS_REPLY_STRING && key->len > 0 && strlen(key->str) == key->len)
            purger_add(p, key->str, key->len);
    }
}

void purger_up(struct purger *p)
{
    struct buf out = BUF_INIT;
    if (!p->named)
        return;
    p->busy = false;
    if (p->list != NULL)
        begin(p);
    resp_words(&out, "HGETALL", p->name, NULL);
    upstream_send(link_of_name(p), out.data, out.len, 1, on_left, p);
    buf_free(&out);
    go_on(p);
}

void purger_named(struct purger *p)
{
    p->named = true;
    purger_up(p);
}

struct purger *purger_new(struct event_base *base, const struct router *router,
                          const struct names *names,
                          void (*gone)(void *arg, const char *key, size_t len), void *arg)
{
    struct purger *p = alloc_zeroed(1, sizeof(*p));
    *p = (struct purger){.router = router, .names = names, .gone = gone, .arg = arg};
    p->again = evtimer_new(base, on_again, p);
    snprintf(p->name, sizeof(p->name), "%s:@gone", names->prefix);
    return p;
}

void purger_free(struct purger *p)
{
    struct condemned *c, *next;
    DL_FOREACH_SAFE (p->list, c, next)
        free(c);
    event_free(p->again);
    buf_free(&p->root);
    buf_free(&p->match);
    buf_free(&p->found);
    free(p);
}
