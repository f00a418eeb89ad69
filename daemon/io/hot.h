/* hot: those that had something to do lately, and are looked at in each turn of the loop instead
 * of having to say when there is more.
 *
 *   cold ──hot_add──► hot ──a turn without work for all, or HOT_TURNS only for others──►
 *     ▲                │                        on_cold: it asks to be told, from now on
 *     └──── true ──────┴─ false: there is something already, it stays hot
 *
 * While any is hot, the loop does not sleep; it looks at its descriptors in between. One thread.
 */
#ifndef RAPYERD_HOT_H
#define RAPYERD_HOT_H

#include <event2/event.h>
#include <stdbool.h>

/* Lies in what can be hot; zeroes at first. */
struct hot {
    struct hot *prev, *next;
    bool is;
    unsigned since; /* the number of the turn in which it was added last */
};

struct hot_calls {
    /* A turn; whether there was anything to do: then it has called hot_add, unless it is gone. May
     * free it, and be the end of all of them. */
    bool (*serve)(struct hot *h);
    bool (*on_cold)(struct hot *h);
};

struct hots;

struct hots *hots_new(struct event_base *base, const struct hot_calls *calls);
void hots_free(struct hots *all); /* when none is hot; inside serve, too */
/* For how many microseconds the loop goes on looking before all are cold; it gives way to whoever
 * else wants the processor meanwhile. 0, the default: one look. */
void hots_set_watch(struct hots *all, unsigned us);

/* It has something to do, or will have soon. Any of them may be added or removed inside serve. */
void hot_add(struct hots *all, struct hot *h);
void hot_remove(struct hots *all, struct hot *h);

#endif
