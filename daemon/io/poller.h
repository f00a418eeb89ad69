/* poller: looks in each turn of the loop at those that had something to do lately; so they need not
 * say when there is more.
 *
 *   asleep ──poller_wake──► awake ──a turn without work for all, or AWAKE_TURNS only for others──►
 *      ▲                      │                   fall_asleep: it asks to be told, from now on
 *      └─────── true ─────────┴─ false: there is something already, it stays awake
 *
 * While any is awake, the loop does not sleep; it looks at its descriptors in between. One thread.
 */
#ifndef RAPYERD_POLLER_H
#define RAPYERD_POLLER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

/* Lies in what can be polled; zeroes at first. */
struct polled {
    struct polled *prev, *next;
    bool awake;
    unsigned busy_turn; /* the number of the turn in which it was woken last */
    uint8_t misses;     /* how often in a row it was watched for in vain */
    uint8_t skips;      /* so many times it is not watched for, now */
};

struct polled_calls {
    /* A turn; whether there was anything to do: then it has called poller_wake, unless it is gone.
     * May free it, and be the end of all of them. */
    bool (*serve)(struct polled *p);
    bool (*fall_asleep)(struct polled *p);
};

struct poller;

struct poller *poller_new(struct event_base *base, const struct polled_calls *calls);
void poller_free(struct poller *all); /* when none is awake; inside serve, too */
/* For how many microseconds the loop goes on looking before all fall asleep, if one of them is
 * likely to come back by then: who did not is watched for each second time, each fourth, ... each
 * 64th, until it does. The loop gives way to whoever else wants the processor meanwhile. 0, the
 * default: one look. */
void poller_set_watch(struct poller *all, unsigned us);

/* It has something to do, or will have soon. Any of them may be woken or removed inside serve. */
void poller_wake(struct poller *all, struct polled *p);
void poller_remove(struct poller *all, struct polled *p);

#endif
