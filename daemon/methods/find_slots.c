/* find_slots: a page of what an index has in a cluster, where there is one for each slot.
 *
 *   some slots ─► how many has each ─► a page of those that have any ─► the documents
 *        ▲                                                                │
 *        └────────────── all that are left ◄── they were all had ◄────────┘
 *
 * In no order but that of the slots, which is the same for all: so a place is one of them, and one
 * within its index, and is good wherever the slot is by then. The first that are asked are from
 * all over the cluster, so that all masters work at a time; where there is much they are enough.
 */
#include "daemon/methods/find_inside.h"
#include "daemon/redis/scan_place.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define FIRST 1024
#define APART (SLOTS / FIRST)

/* What a slot has given. */
struct given {
    unsigned position;
    bool good;                  /* it has; */
    char run[UPSTREAM_RUN + 1]; /* this run of a Redis */
    uint64_t looked;
    struct buf next, pks; /* where its next page begins; packed */
};

struct slots_walk {
    struct find *find;
    struct scatter_asks asks;
    uint16_t slots[SLOTS]; /* that are asked */
    unsigned from, nslots; /* their positions */
    unsigned source;       /* of which is known, for the positions [known, unknown), */
    unsigned known, unknown;
    uint32_t counts[SLOTS]; /* how many there are */
    uint64_t *sample;       /* the same of all sources, for the plan */
    /* The page in hand. */
    unsigned at, behind; /* positions */
    struct buf inner;    /* where in the first slot */
    struct given given[PAGE_MAX];
    unsigned ngiven;
};

/* Positions count all slots: neighbours are far from each other. */
static uint16_t slot_at(unsigned position)
{
    return (uint16_t)(position % FIRST * APART + position / FIRST);
}

static struct slots_walk *walk_of(struct find *fi)
{
    if (fi->walk == NULL) {
        fi->walk = alloc_zeroed(1, sizeof(*fi->walk));
        fi->walk->find = fi;
    }
    return fi->walk;
}

static void clear_given(struct slots_walk *w)
{
    for (unsigned i = 0; i < w->ngiven; i++) {
        buf_free(&w->given[i].next);
        buf_free(&w->given[i].pks);
    }
    w->ngiven = 0;
}

void find_slots_free(struct find *fi)
{
    if (fi->walk == NULL)
        return;
    clear_given(fi->walk);
    buf_free(&fi->walk->inner);
    free(fi->walk->sample);
    free(fi->walk);
}

static void ask(struct slots_walk *w, unsigned from, unsigned to, unsigned commands,
                void (*write)(void *, uint16_t, bool, struct buf *),
                void (*take)(void *, unsigned, unsigned, redisReply *, const struct upstream *),
                void (*done)(void *, const char *))
{
    w->asks = (struct scatter_asks){commands, write, take, done};
    w->from = from;
    w->nslots = to - from;
    for (unsigned i = 0; i < w->nslots; i++)
        w->slots[i] = slot_at(from + i);
    scatter_ask(w->find->scatter, w->slots, w->nslots, &w->asks, w);
}

static uint64_t counted(struct slots_walk *w, const struct source *s, const redisReply *reply)
{
    uint64_t n = 0;
    struct fault f;
    if (plan_counted(w->find->plan, s, reply, &n, &f) < 0 && w->find->why.code == FAULT_NONE)
        w->find->why = f;
    return n;
}

/* ---- for the plan: the states of indexes, which are where the declarations are ---- */

static void write_states(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct slots_walk *w = arg;
    (void)slot;
    (void)first;
    (void)plan_ask(w->find->plan, out);
}

static void take_states(void *arg, unsigned i, unsigned which, redisReply *reply,
                        const struct upstream *up)
{
    struct find *fi = ((struct slots_walk *)arg)->find;
    struct fault f;
    (void)i;
    (void)up;
    if (plan_answer(fi->plan, which, reply, &f) < 0)
        fi->why = f;
}

static void on_states(void *arg, const char *why)
{
    struct find *fi = ((struct slots_walk *)arg)->find;
    if (!find_over(fi, why))
        find_planned(fi, NULL);
}

void find_slots_states(struct find *fi)
{
    struct slots_walk *w = walk_of(fi);
    w->asks = (struct scatter_asks){1, write_states, take_states, on_states};
    w->slots[0] = lane_place(exec_lane(fi->exec))->slot;
    scatter_ask(fi->scatter, w->slots, 1, &w->asks, w);
}

/* ---- for the plan: how many there are, as far as the first slots say ---- */

static void write_sample(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct slots_walk *w = arg;
    const struct plan *p = w->find->plan;
    (void)first;
    for (unsigned i = 0; i < p->n; i++)
        plan_ask_count(p, &p->all[i], slot_tag(slot), out);
}

static void take_sample(void *arg, unsigned i, unsigned which, redisReply *reply,
                        const struct upstream *up)
{
    struct slots_walk *w = arg;
    (void)up;
    w->sample[i * w->find->plan->n + which] = counted(w, &w->find->plan->all[which], reply);
}

static void sampled(void *arg, const char *why)
{
    struct slots_walk *w = arg;
    struct plan *p = w->find->plan;
    for (unsigned i = 0; i < FIRST * p->n; i++)
        p->all[i % p->n].count += APART * w->sample[i];
    if (!find_over(w->find, why))
        find_begin(w->find, NULL);
}

void find_slots_sample(struct find *fi)
{
    struct slots_walk *w = walk_of(fi);
    w->sample = alloc_zeroed(FIRST * (size_t)fi->plan->n, sizeof(*w->sample));
    ask(w, 0, FIRST, fi->plan->n, write_sample, take_sample, sampled);
}

/* ---- a page ---- */

static const struct source *source_of(const struct slots_walk *w)
{
    return w->find->plan->chosen[w->find->source];
}

static void place(unsigned position, const struct buf *inner, struct buf *out)
{
    buf_clear(out);
    if (position < SLOTS)
        buf_printf(out, "%u ", position);
    if (inner != NULL)
        buf_append(out, inner->data, inner->len);
}

static void write_page(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct slots_walk *w = arg;
    bool begins = slot == slot_at(w->given[0].position) && w->inner.len > 0;
    plan_page(w->find->plan, source_of(w), slot_tag(slot), begins ? (char *)w->inner.data : "",
              begins ? w->inner.len : 0, PAGE_MAX, !first, out);
}

static void take_pks(struct given *g, const redisReply *reply)
{
    buf_clear(&g->pks);
    buf_clear(&g->next);
    buf_append(&g->next, reply->element[0]->str, reply->element[0]->len);
    g->looked =
        reply->element[1]->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->element[1]->integer : 0;
    for (size_t i = 2; i + 1 < reply->elements; i += 2) {
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            pack_str(&g->pks, reply->element[i]->str, reply->element[i]->len);
    }
    g->good = true;
}

/* Where the script is not there any more it is sent with the next page, which begins there. */
static void take_page(void *arg, unsigned i, unsigned which, redisReply *reply,
                      const struct upstream *up)
{
    struct slots_walk *w = arg;
    struct given *g = &w->given[i];
    (void)which;
    g->good = false;
    scan_run_enter(g->run, up);
    if (find_is_page(reply))
        take_pks(g, reply);
    else if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "NOSCRIPT", 8) != 0)
        find_no_page(w->find, reply);
}

static void add_pks(struct find *fi, const struct given *g)
{
    struct cursor in = cursor_of(g->pks.data, g->pks.len);
    const char *pk;
    size_t len;
    while (in.at < in.end && cursor_str(&in, &pk, &len) == 0)
        find_page_add(fi, pk, len, "", 0);
    fi->looked += g->looked;
}

/* What is behind the first that has more, or has given nothing, is asked for again. */
static void put_together(struct slots_walk *w)
{
    struct find *fi = w->find;
    unsigned i = 0;
    for (; i < w->ngiven && w->given[i].good && w->given[i].next.len == 0; i++)
        add_pks(fi, &w->given[i]);
    const struct given *g = i < w->ngiven ? &w->given[i] : NULL;
    if (g != NULL && g->good)
        add_pks(fi, g);
    if (g != NULL && g->good)
        snprintf(fi->run, sizeof(fi->run), "%s", g->run);
    place(g != NULL ? g->position : w->behind, g != NULL && g->good ? &g->next : NULL, &fi->next);
}

static void on_page(void *arg, const char *why)
{
    struct slots_walk *w = arg;
    struct find *fi = w->find;
    if (find_over(fi, why))
        return;
    size_t array = find_page_open(fi);
    /* What another run has given of a SCAN is of no use: the slot begins anew. */
    if (w->inner.len > 0 && source_of(w)->kind == SOURCE_SET &&
        strcmp(w->given[0].run, fi->run) != 0)
        place(w->at, NULL, &fi->next);
    else
        put_together(w);
    find_page_close(fi, array);
    clear_given(w);
    find_look(fi);
}

/* Those that come to about as many as are wanted. */
static void choose(struct slots_walk *w)
{
    uint64_t sum = 0, want = find_page_size(w->find);
    unsigned position = w->at;
    clear_given(w);
    for (; position < w->unknown && w->ngiven < PAGE_MAX; position++) {
        uint64_t n = w->counts[position];
        if (n == 0 && !(position == w->at && w->inner.len > 0))
            continue;
        if (w->ngiven > 0 && sum + n > want)
            break;
        sum += n;
        w->given[w->ngiven++] = (struct given){.position = position};
    }
    w->behind = position;
}

static void ask_page(struct slots_walk *w)
{
    choose(w);
    if (w->ngiven == 0) {
        size_t array = find_page_open(w->find);
        place(w->behind, NULL, &w->find->next);
        find_page_close(w->find, array);
        find_look(w->find);
        return;
    }
    w->asks = (struct scatter_asks){1, write_page, take_page, on_page};
    for (unsigned i = 0; i < w->ngiven; i++)
        w->slots[i] = slot_at(w->given[i].position);
    scatter_ask(w->find->scatter, w->slots, w->ngiven, &w->asks, w);
}

static void write_count(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct slots_walk *w = arg;
    (void)first;
    plan_ask_count(w->find->plan, source_of(w), slot_tag(slot), out);
}

static void take_count(void *arg, unsigned i, unsigned which, redisReply *reply,
                       const struct upstream *up)
{
    struct slots_walk *w = arg;
    (void)which;
    (void)up;
    uint64_t n = counted(w, source_of(w), reply);
    w->counts[w->from + i] = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void on_counts(void *arg, const char *why)
{
    struct slots_walk *w = arg;
    if (find_over(w->find, why))
        return;
    w->unknown = w->from + w->nslots;
    ask_page(w);
}

static void read_place(struct slots_walk *w)
{
    const struct buf *at = &w->find->at;
    w->at = 0;
    size_t i = 0;
    for (; i < at->len && at->data[i] >= '0' && at->data[i] <= '9' && w->at < SLOTS; i++)
        w->at = 10 * w->at + (at->data[i] - '0');
    i += i < at->len;
    buf_clear(&w->inner);
    buf_append(&w->inner, at->data + i, at->len - i);
}

void find_slots_page(struct find *fi)
{
    struct slots_walk *w = walk_of(fi);
    read_place(w);
    bool begins =
        w->source != fi->source || w->at < w->known || w->at > w->unknown || w->unknown == w->known;
    if (begins) {
        w->source = fi->source;
        w->known = w->unknown = w->at;
    }
    unsigned to = begins && w->at < FIRST ? FIRST : SLOTS;
    if (w->at >= SLOTS || w->at < w->unknown)
        ask_page(w);
    else
        ask(w, w->at, to, 1, write_count, take_count, on_counts);
}
