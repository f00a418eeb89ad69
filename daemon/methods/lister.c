/* lister: see lister.h. */
#include "daemon/methods/lister.h"
#include "daemon/base/clock.h"
#include "daemon/commit/lanes.h"
#include "daemon/redis/listing.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>

#define AGAIN_MS 20
#define MORE 1000 /* keys that SCAN looks at: 3 ms at most */

struct lister {
    struct router *router;
    struct list_page *waiting; /* utlist */
    struct event *again;
    bool stopped;
};

struct given_name {
    uint16_t slot;
    uint32_t len;
};

static void ask_node(struct list_page *p);

static void wait_for(struct list_page *p, const char *why)
{
    struct lister *l = p->lister;
    if (l->stopped || clock_mono_ms() >= p->deadline) {
        p->done(p->arg, LISTED_LATER, why);
        return;
    }
    p->slot++; /* perhaps that can be listed */
    /* Slots that move have SCAN begin anew: it is to come further next time. */
    p->count = p->count < MORE ? MORE : p->count;
    DL_APPEND(l->waiting, p);
    if (!event_pending(l->again, EV_TIMEOUT, NULL))
        event_add(l->again, &(struct timeval){.tv_usec = AGAIN_MS * 1000});
}

/* What SCAN gave is known to be of use only when its node has said which slots it has. */
static void put_by(struct list_page *p, const redisReply *names)
{
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        if (name->type != REDIS_REPLY_STRING)
            continue;
        struct given_name head = {.slot = router_slot(p->lister->router, name->str, name->len),
                                  .len = (uint32_t)name->len};
        buf_append(&p->given, &head, sizeof(head));
        buf_append(&p->given, name->str, name->len);
    }
}

static void take_given(struct list_page *p)
{
    struct given_name head;
    for (size_t at = 0; at < p->given.len; at += sizeof(head) + head.len) {
        memcpy(&head, p->given.data + at, sizeof(head));
        if (p->listing->slots[head.slot] == LISTED_NOW)
            pack_str(&p->names, (char *)p->given.data + at + sizeof(head), head.len);
    }
}

static void take_node(struct list_page *p, const redisReply *nodes)
{
    char why[100];
    if (nodes->type != REDIS_REPLY_STRING || listing_look(p->listing, nodes->str, nodes->len) < 0) {
        p->done(p->arg, LISTED_WRONG, "its answer to CLUSTER NODES is none");
        return;
    }
    int slot = listing_slot(p->listing, p->slot);
    if (p->listing->slots[slot] != LISTED_NOW) {
        router_look(p->lister->router);
        snprintf(why, sizeof(why), "slot %u is on the move between nodes of the cluster", p->slot);
        wait_for(p, why);
        return;
    }
    take_given(p);
    listing_scanned(p->listing, p->scan);
    p->done(p->arg, LISTED_PAGE, NULL);
}

static bool is_scanned(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
           r->element[0]->type == REDIS_REPLY_STRING && r->element[0]->len > 0 &&
           r->element[1]->type == REDIS_REPLY_ARRAY;
}

/* Of SCAN, CLUSTER INFO, CLUSTER NODES. */
static void on_node(void *arg, unsigned index, redisReply *reply)
{
    struct list_page *p = arg;
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
        p->done(p->arg, LISTED_WRONG, p->why);
    else if (p->down)
        wait_for(p, "the cluster is down, as its node says");
    else
        take_node(p, reply);
}

static void ask_node(struct list_page *p)
{
    struct listing *l = p->listing;
    struct buf out = BUF_INIT;
    char cursor[24], count[24];
    p->slot = (unsigned)listing_slot(l, p->slot);
    struct upstream *up = router_link(p->lister->router, (uint16_t)p->slot);
    if (!router_ready(p->lister->router, up)) {
        wait_for(p, upstream_why(up));
        return;
    }
    listing_ask(l, upstream_info(up)->run_id);
    snprintf(cursor, sizeof(cursor), "%" PRIu64, l->scan);
    snprintf(count, sizeof(count), "%u", p->count);
    buf_clear(&p->given);
    buf_clear(&p->names);
    p->why[0] = '\0';
    p->down = false;
    resp_words(&out, "SCAN", cursor, "MATCH", p->match, "COUNT", count,
               p->type != NULL ? "TYPE" : NULL, p->type, NULL);
    resp_words(&out, "CLUSTER", "INFO", NULL);
    resp_words(&out, "CLUSTER", "NODES", NULL);
    if (!upstream_send(up, out.data, out.len, 3, on_node, p))
        wait_for(p, upstream_why(up));
    buf_free(&out);
}

void lister_ask(struct lister *l, struct list_page *p)
{
    p->lister = l;
    p->deadline = clock_mono_ms() + p->patience;
    ask_node(p);
}

void list_page_free(struct list_page *p)
{
    buf_free(&p->names);
    buf_free(&p->given);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    struct lister *l = arg;
    struct list_page *waited = l->waiting, *p, *next;
    (void)fd;
    (void)what;
    l->waiting = NULL;
    DL_FOREACH_SAFE (waited, p, next)
        ask_node(p);
}

void lister_stop(struct lister *l)
{
    l->stopped = true;
    while (l->waiting != NULL) {
        struct list_page *p = l->waiting;
        DL_DELETE(l->waiting, p);
        p->done(p->arg, LISTED_LATER, "rapyerd is stopping");
    }
}

struct lister *lister_new(struct event_base *base, struct exec *e)
{
    struct lister *l = alloc_zeroed(1, sizeof(*l));
    l->router = lanes_router(exec_lanes(e));
    l->again = evtimer_new(base, on_again, l);
    return l;
}

void lister_free(struct lister *l)
{
    lister_stop(l);
    event_free(l->again);
    free(l);
}
