/* lock_notify: who is told of what has happened to locks, from the loop (locks.h): clients whose
 * holds were lost, waits that are over, and those who see to the lease. locks.c puts it on the
 * lists. */
#include "daemon/locks/locks_inside.h"
#include <assert.h>
#include <utlist.h>

static void notify_soon(struct locks *t)
{
    if (!t->notifying)
        event_active(t->notify, EV_TIMEOUT, 0);
    t->notifying = true;
}

void lock_notify(struct lock *l, unsigned what)
{
    if (l->notices == 0)
        DL_APPEND2(l->table->noticed, l, notice_prev, notice_next);
    l->notices |= (uint8_t)what;
    notify_soon(l->table);
}

void lock_denotify(struct lock *l)
{
    if (l->notices != 0)
        DL_DELETE2(l->table->noticed, l, notice_prev, notice_next);
    l->notices = 0;
}

void hold_notify(struct hold *h)
{
    struct locks *t = h->owner->client->table;
    DL_APPEND(t->reports, h);
    notify_soon(t);
}

void hold_denotify(struct hold *h)
{
    DL_DELETE(h->owner->client->table->reports, h);
}

void hold_announced(struct hold *h)
{
    assert(h->unannounced > 0);
    if (--h->unannounced == 0 && h->state == HOLD_LOST)
        hold_set_state(h, HOLD_REPORTS);
}

void wait_notify(struct wait *w)
{
    struct locks *t = w->owner->client->table;
    DL_APPEND(t->over, w);
    DL_APPEND2(w->owner->over, w, prev_of_owner, next_of_owner);
    notify_soon(t);
}

void wait_free(struct locks *t, struct wait *w)
{
    struct lock_owner *o = w->owner;
    DL_DELETE(t->over, w);
    DL_DELETE2(o->over, w, prev_of_owner, next_of_owner);
    free(w);
    lock_owner_settle(o);
}

/* One callback at a time: the first may free the lock. */
static void notify_lock(struct locks *t, struct lock *l)
{
    const struct wait *w = l->waits;
    bool want = l->notices & NOTICE_WANT;
    if (want && l->notices & NOTICE_EASED)
        l->notices = NOTICE_EASED;
    else
        lock_denotify(l);
    if (want) {
        if (w != NULL && !lock_closing(l) && !covered(l, w->mode))
            t->cb.want(t->arg, l, w->mode);
    } else if (l->holds == NULL && l->pins == 0 &&
               (w == NULL || lock_closing(l) || !covered(l, w->mode))) {
        t->cb.eased(t->arg, l);
    }
}

static void notify_wait(struct locks *t, struct wait *w)
{
    lock_done_fn *done = w->done;
    void *arg = w->arg;
    struct hold *h = w->hold;
    struct fault *why = w->why;
    wait_free(t, w);
    if (h != NULL)
        hold_announced(h);
    done(arg, h, why);
    free(why);
}

void locks_notify(evutil_socket_t fd, short what, void *arg)
{
    struct locks *t = arg;
    (void)fd;
    (void)what;
    for (;;) {
        struct hold *h = t->reports;
        if (h != NULL) {
            hold_set_state(h, HOLD_REPORTED);
            t->cb.lost(t->arg, h);
        } else if (t->over != NULL) {
            notify_wait(t, t->over);
        } else if (t->noticed != NULL) {
            notify_lock(t, t->noticed);
        } else {
            break;
        }
    }
    t->notifying = false;
}
