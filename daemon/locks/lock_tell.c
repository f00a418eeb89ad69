/* lock_tell: who is told of what has happened to locks, from the loop (locks.h): clients whose
 * holds were lost, waits that are over, and those who see to the lease. locks.c puts it on the
 * lists. */
#include "daemon/locks/locks_inside.h"
#include <utlist.h>

static void kick(struct locks *t)
{
    if (!t->kicked)
        event_active(t->kick, EV_TIMEOUT, 0);
    t->kicked = true;
}

void lock_stir(struct lock *l, unsigned what)
{
    if (l->stirred == 0)
        DL_APPEND2(l->table->stirred, l, stirred_prev, stirred_next);
    l->stirred |= (uint8_t)what;
    kick(l->table);
}

void lock_calm(struct lock *l)
{
    if (l->stirred != 0)
        DL_DELETE2(l->table->stirred, l, stirred_prev, stirred_next);
    l->stirred = 0;
}

void hold_fall(struct hold *h)
{
    struct locks *t = h->owner->client->table;
    h->falling = true;
    DL_APPEND(t->falling, h);
    kick(t);
}

void hold_untold_less(struct hold *h)
{
    if (--h->untold == 0 && h->lost)
        hold_fall(h);
}

void wait_tell(struct wait *w)
{
    struct locks *t = w->owner->client->table;
    DL_APPEND(t->told, w);
    DL_APPEND2(w->owner->told, w, prev_of_owner, next_of_owner);
    kick(t);
}

void wait_free(struct locks *t, struct wait *w)
{
    struct lock_owner *o = w->owner;
    DL_DELETE(t->told, w);
    DL_DELETE2(o->told, w, prev_of_owner, next_of_owner);
    free(w);
    lock_owner_settle(o);
}

/* One callback at a time: the first may free the lock. */
static void tell_lock(struct locks *t, struct lock *l)
{
    const struct wait *w = l->waits;
    bool want = l->stirred & STIR_WANT;
    if (want && l->stirred & STIR_EASED)
        l->stirred = STIR_EASED;
    else
        lock_calm(l);
    if (want) {
        if (w != NULL && !l->closing && !covered(l, w->mode))
            t->cb.want(t->arg, l, w->mode);
    } else if (l->holds == NULL && l->pins == 0 &&
               (w == NULL || l->closing || !covered(l, w->mode))) {
        t->cb.eased(t->arg, l);
    }
}

static void tell_wait(struct locks *t, struct wait *w)
{
    lock_done_fn *done = w->done;
    void *arg = w->arg;
    struct hold *h = w->hold;
    struct fault *why = w->why;
    wait_free(t, w);
    if (h != NULL)
        hold_untold_less(h);
    done(arg, h, why);
    free(why);
}

void locks_tell(evutil_socket_t fd, short what, void *arg)
{
    struct locks *t = arg;
    (void)fd;
    (void)what;
    for (;;) {
        struct hold *h = t->falling;
        if (h != NULL) {
            DL_DELETE(t->falling, h);
            h->falling = false;
            t->cb.lost(t->arg, h);
        } else if (t->told != NULL) {
            tell_wait(t, t->told);
        } else if (t->stirred != NULL) {
            tell_lock(t, t->stirred);
        } else {
            break;
        }
    }
    t->kicked = false;
}
