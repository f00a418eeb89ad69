/* find_order: a page of what the range index of a cluster has in order, merged from all slots.
 *
 *   each slot: its first few entries ──► heap ──► the page
 *                     ▲                   │
 *                     └── more of it ◄────┘ whose entries were all taken, before any other is
 *
 * A place is a score and a member, as with one Redis: it is the same one wherever the slots are.
 * What was fetched is kept for the next page of the same find.
 */
#include "daemon/methods/find_inside.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define FIRST 3 /* entries of each slot */

/* "score member" */
struct entry {
    double score;
    size_t len, member; /* where it begins */
    char text[];
};

/* Of one slot: [at, n) are not taken yet. */
struct feed {
    struct entry **all;
    unsigned n, cap, at;
    bool more;         /* behind these, */
    struct buf behind; /* from there on */
};

struct order_walk {
    struct find *find;
    struct scatter_asks asks;
    bool begun;
    struct entry *place; /* what is wanted is behind it; NULL: all */
    struct feed feeds[SLOTS];
    unsigned heap[SLOTS], nheap; /* those with entries, the first one on top */
    uint16_t asked[SLOTS];
    unsigned nasked;
};

static struct entry *entry_new(const char *text, size_t len)
{
    struct entry *e = alloc_zeroed(1, sizeof(*e) + len + 1);
    memcpy(e->text, text, len);
    e->len = len;
    e->score = strtod(e->text, NULL);
    const char *space = memchr(text, ' ', len);
    e->member = space != NULL ? (size_t)(space + 1 - text) : len;
    return e;
}

/* In the order that is wanted. */
static int compare(const struct find *fi, const struct entry *a, const struct entry *b)
{
    int c = (a->score > b->score) - (a->score < b->score);
    size_t n = a->len - a->member, m = b->len - b->member;
    if (c == 0)
        c = memcmp(a->text + a->member, b->text + b->member, n < m ? n : m);
    if (c == 0)
        c = (n > m) - (n < m);
    return fi->plan->rev ? -c : c;
}

static void feed_clear(struct feed *f)
{
    for (unsigned i = f->at; i < f->n; i++)
        free(f->all[i]);
    f->n = f->at = 0;
}

static void forget(struct order_walk *w)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        feed_clear(&w->feeds[slot]);
        free(w->feeds[slot].all);
        buf_free(&w->feeds[slot].behind);
    }
    memset(w->feeds, 0, sizeof(w->feeds));
    free(w->place);
    w->place = NULL;
    w->nheap = 0;
    w->begun = false;
}

void find_order_free(struct find *fi)
{
    if (fi->ordering == NULL)
        return;
    forget(fi->ordering);
    free(fi->ordering);
}

/* ---- the heap ---- */

static const struct entry *first_of(const struct order_walk *w, unsigned i)
{
    const struct feed *f = &w->feeds[w->heap[i]];
    return f->all[f->at];
}

static bool before(const struct order_walk *w, unsigned i, unsigned j)
{
    return compare(w->find, first_of(w, i), first_of(w, j)) < 0;
}

static void swap(struct order_walk *w, unsigned i, unsigned j)
{
    unsigned slot = w->heap[i];
    w->heap[i] = w->heap[j];
    w->heap[j] = slot;
}

static void push(struct order_walk *w, unsigned slot)
{
    unsigned i = w->nheap++;
    w->heap[i] = slot;
    for (; i > 0 && before(w, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(w, i, (i - 1) / 2);
}

/* The one on top has another first entry, or none. */
static void sink(struct order_walk *w)
{
    const struct feed *f = &w->feeds[w->heap[0]];
    if (f->at == f->n)
        w->heap[0] = w->heap[--w->nheap];
    for (unsigned i = 0, child; (child = 2 * i + 1) < w->nheap; i = child) {
        child += child + 1 < w->nheap && before(w, child + 1, child);
        if (!before(w, child, i))
            break;
        swap(w, i, child);
    }
}

/* ---- asking ---- */

static void fill(struct order_walk *w);

static void on_answers(void *arg, const char *why)
{
    struct order_walk *w = arg;
    if (!find_over(w->find, why))
        fill(w);
}

static void add_entry(struct order_walk *w, unsigned slot, const char *text, size_t len)
{
    struct feed *f = &w->feeds[slot];
    struct entry *e = entry_new(text, len);
    buf_clear(&f->behind);
    buf_append(&f->behind, text, len);
    if (w->place != NULL && compare(w->find, e, w->place) <= 0)
        free(e);
    else
        vec_push(f->all, f->n, f->cap, e);
}

static void write_first(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct order_walk *w = arg;
    const struct find *fi = w->find;
    const struct source *s = fi->plan->chosen[fi->source];
    struct buf key = BUF_INIT, from = BUF_INIT, to = BUF_INIT;
    bool rev = fi->plan->rev;
    char count[16];
    (void)first;
    plan_key(fi->plan, s, slot_tag(slot), &key);
    buf_append(&from, s->from.data, s->from.len);
    buf_append(&to, s->to.data, s->to.len);
    if (w->place != NULL) {
        struct buf *bound = rev ? &to : &from;
        buf_clear(bound);
        buf_append(bound, w->place->text, w->place->member - 1);
    }
    size_t n = (size_t)snprintf(count, sizeof(count), "%d", FIRST);
    const struct buf *low = rev ? &to : &from, *high = rev ? &from : &to;
    const char *argv[] = {rev ? "ZREVRANGEBYSCORE" : "ZRANGEBYSCORE",
                          (char *)key.data,
                          (char *)low->data,
                          (char *)high->data,
                          "WITHSCORES",
                          "LIMIT",
                          "0",
                          count};
    size_t len[] = {strlen(argv[0]), key.len, low->len, high->len, 10, 5, 1, n};
    resp_command(out, 8, argv, len);
    buf_free(&key);
    buf_free(&from);
    buf_free(&to);
}

static void take_first(void *arg, unsigned i, unsigned which, redisReply *reply,
                       const struct upstream *up)
{
    struct order_walk *w = arg;
    struct feed *f = &w->feeds[i];
    struct buf text = BUF_INIT;
    (void)which;
    (void)up;
    feed_clear(f);
    if (reply->type != REDIS_REPLY_ARRAY) {
        find_no_page(w->find, reply);
        return;
    }
    for (size_t e = 0; e + 1 < reply->elements; e += 2) {
        const redisReply *member = reply->element[e], *score = reply->element[e + 1];
        buf_clear(&text);
        buf_append(&text, score->str, score->len);
        buf_append(&text, " ", 1);
        buf_append(&text, member->str, member->len);
        add_entry(w, i, (char *)text.data, text.len);
    }
    buf_free(&text);
    f->more = reply->elements == (size_t)2 * FIRST;
    /* Of many with one score all of these may be before the place. */
    if (f->more && f->n == 0) {
        buf_clear(&f->behind);
        buf_append(&f->behind, w->place->text, w->place->len);
    }
    if (f->n > 0)
        push(w, i);
}

static void write_more(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct order_walk *w = arg;
    const struct find *fi = w->find;
    const struct buf *behind = &w->feeds[slot].behind;
    plan_page(fi->plan, fi->plan->chosen[fi->source], slot_tag(slot), (char *)behind->data,
              behind->len, PAGE_MAX, !first, out);
}

/* Where the script is not there any more it is sent with the next question. */
static void take_more(void *arg, unsigned i, unsigned which, redisReply *reply,
                      const struct upstream *up)
{
    struct order_walk *w = arg;
    struct feed *f = &w->feeds[w->asked[i]];
    (void)which;
    (void)up;
    feed_clear(f);
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0)
        return;
    if (!find_is_page(reply)) {
        find_no_page(w->find, reply);
        return;
    }
    for (size_t e = 2; e + 1 < reply->elements; e += 2)
        add_entry(w, w->asked[i], reply->element[e + 1]->str, reply->element[e + 1]->len);
    f->more = reply->element[0]->len > 0;
    buf_clear(&f->behind);
    buf_append(&f->behind, reply->element[0]->str, reply->element[0]->len);
    if (f->n > 0)
        push(w, w->asked[i]);
}

static void ask_first(struct order_walk *w)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        w->asked[slot] = (uint16_t)slot;
    w->begun = true;
    w->asks = (struct scatter_asks){1, write_first, take_first, on_answers};
    scatter_ask(w->find->scatter, w->asked, SLOTS, &w->asks, w);
}

/* False: none has run dry. */
static bool ask_more(struct order_walk *w)
{
    w->nasked = 0;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (w->feeds[slot].more && w->feeds[slot].at == w->feeds[slot].n)
            w->asked[w->nasked++] = (uint16_t)slot;
    }
    if (w->nasked == 0)
        return false;
    w->asks = (struct scatter_asks){1, write_more, take_more, on_answers};
    scatter_ask(w->find->scatter, w->asked, w->nasked, &w->asks, w);
    return true;
}

/* ---- the page ---- */

/* The first of all; false: its slot has run dry by that. */
static bool take_one(struct order_walk *w)
{
    struct find *fi = w->find;
    struct feed *f = &w->feeds[w->heap[0]];
    struct entry *e = f->all[f->at++];
    find_page_add(fi, e->text + e->member, e->len - e->member, e->text, e->len);
    buf_clear(&fi->next);
    buf_append(&fi->next, e->text, e->len);
    free(w->place);
    w->place = e;
    fi->looked++;
    bool dry = f->at == f->n && f->more;
    sink(w);
    return !dry;
}

/* As long as no slot has run dry; so a page may be a short one. */
static void fill(struct order_walk *w)
{
    struct find *fi = w->find;
    unsigned want = find_page_size(fi);
    if (ask_more(w))
        return;
    size_t array = find_page_open(fi);
    bool whole = true;
    while (whole && fi->npks < want && w->nheap > 0)
        whole = take_one(w);
    if (whole && w->nheap == 0)
        buf_clear(&fi->next);
    find_page_close(fi, array);
    find_look(fi);
}

static bool goes_on(const struct order_walk *w)
{
    const struct buf *at = &w->find->at;
    return w->begun && w->place != NULL && w->place->len == at->len &&
           memcmp(w->place->text, at->data, at->len) == 0;
}

void find_order_page(struct find *fi)
{
    if (fi->ordering == NULL) {
        fi->ordering = alloc_zeroed(1, sizeof(*fi->ordering));
        fi->ordering->find = fi;
    }
    struct order_walk *w = fi->ordering;
    if (goes_on(w)) {
        fill(w);
        return;
    }
    forget(w);
    if (fi->at.len > 0)
        w->place = entry_new((char *)fi->at.data, fi->at.len);
    ask_first(w);
}
