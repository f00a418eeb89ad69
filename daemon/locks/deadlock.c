/* deadlock: see deadlock.h. The search needs no memory: its queue goes through the owners. */
#include "daemon/locks/deadlock.h"
#include "daemon/locks/lock_text.h"
#include "protocol/buf.h"

/* A link of the cycle: an owner, and the lock it waits for, which the next one holds. */
struct link {
    const struct lock_owner *owner;
    const struct lock *lock;
};

/* At most so many are named: half of them from the beginning, the others from the end. */
#define LINKS_NAMED 8

/* Names `keep` of n links; `links` are the first and last of them. */
static void cycle_format(struct buf *b, const struct link *links, size_t n, size_t keep, size_t max)
{
    buf_clear(b);
    buf_printf(
        b, "waiting would close a cycle of %zu, where each waits for what the next one has: ", n);
    for (size_t i = 0; i < keep; i++) {
        const struct link *k = &links[i];
        if (i == (keep + 1) / 2 && keep < n)
            buf_printf(b, "... %zu more ...; ", n - keep);
        buf_printf(b, "%s for %s%s", LOCK_WHO_TEXT(k->owner), lock_text(k->lock, max, LOCK_WORDS),
                   i + 1 < keep ? "; " : "");
    }
}

/* The cycle ends with `last`, who waits for `by`, which `o` has. */
static int cycle_fault(struct fault *f, const struct lock_owner *o, const struct lock_owner *last,
                       const struct lock *by)
{
    struct link links[LINKS_NAMED];
    struct buf text = BUF_INIT;
    const struct lock_owner *p;
    const struct lock *l;
    size_t n = 1, at;

    for (p = last; p != o; p = p->search_from)
        n++;
    size_t keep = n < LINKS_NAMED ? n : LINKS_NAMED, max = 64;
    for (;;) {
        size_t tail = keep / 2, head = keep - tail;
        for (p = last, l = by, at = n; at-- > 0; l = p->search_by, p = p->search_from) {
            if (at < head)
                links[at] = (struct link){p, l};
            else if (at >= n - tail)
                links[at - (n - keep)] = (struct link){p, l};
        }
        cycle_format(&text, links, n, keep, max);
        if (text.len < FAULT_TEXT_MAX || max < 64)
            break;
        if (keep > 2)
            keep--;
        else
            max = 24; /* this always fits */
    }
    fault_set(f, FAULT_DEADLOCK, "%.*s", (int)text.len, (char *)text.data);
    buf_free(&text);
    return -1;
}

/* A wait waits for all who hold its lock: also a shared one beside shared holds, as it is in the
 * queue only because of an exclusive one before it, or because the lock is closing, until nobody
 * has it. So each lock is looked at once. Breadth first finds the shortest cycle. */
int deadlock_search(struct lock_owner *o, struct lock *wanted, uint64_t search, struct fault *f)
{
    struct lock_owner *from = o, *last = o;
    struct lock *l = wanted;
    struct wait *w = NULL; /* of `from`, for l */

    o->search = search;
    o->search_from = o->search_next = NULL;
    o->search_by = NULL;
    for (;;) {
        if (l->search != search) {
            l->search = search;
            for (struct hold *h = l->holds; h != NULL; h = h->next) {
                struct lock_owner *p = h->owner;
                if (p == o)
                    return cycle_fault(f, o, from, l);
                if (p->search == search)
                    continue;
                p->search = search;
                p->search_from = from;
                p->search_by = l;
                p->search_next = NULL;
                last = last->search_next = p;
            }
        }
        w = w != NULL ? w->next_of_owner : NULL;
        while (w == NULL) {
            from = from->search_next;
            if (from == NULL)
                return 0;
            w = from->waits;
        }
        l = w->lock;
    }
}
