/* locks_state: how holds and waits go over to another process of the daemon (locks.h). Times are of
 * clock_boot_ms(), which is the same there. What the lease covers goes along; lease itself follows.
 */
#include "daemon/base/clock.h"
#include "daemon/locks/locks_inside.h"
#include "protocol/alloc.h"
#include <string.h>
#include <utlist.h>

bool locks_quiet(const struct locks *t)
{
    return t->reports == NULL && t->over == NULL && t->noticed == NULL;
}

/* ---- saving ---- */

void lock_name_save(const struct lock_name *n, struct buf *out)
{
    pack_str(out, n->key, n->key_len);
    pack_str(out, n->path, n->path_len);
    pack_str(out, n->action, n->action_len);
}

static void save_owner(const struct lock_owner *o, struct buf *out)
{
    const struct lock_who *who = lock_who(o);
    pack_uint(out, who->client);
    pack_int(out, who->pid);
    pack_uint(out, who->uid);
    pack_cstr(out, who->program);
    pack_str(out, o->name, o->name_len);
}

static void save_hold(const struct hold *h, struct buf *out)
{
    pack_array(out, 13);
    save_owner(h->owner, out);
    pack_uint(out, h->mode);
    pack_uint(out, h->token);
    pack_int(out, h->fence);
    pack_uint(out, h->depth);
    pack_int(out, h->since);
    pack_int(out, h->deadline);
    pack_int(out, h->ttl);
    pack_bool(out, h->notify);
}

static void save_lost(const struct hold *h, struct buf *out)
{
    pack_array(out, 6);
    save_hold(h, out);
    lock_name_save(&h->name, out);
    pack_uint(out, h->why.code);
    pack_cstr(out, h->why.text);
}

static void save_lock(const struct lock *l, struct state_writer *w,
                      void (*wait)(const struct wait *w, struct state_writer *out))
{
    struct buf *out = &w->out;
    struct lock_name name = lock_name_of(l);
    pack_array(out, 11);
    lock_name_save(&name, out);
    pack_uint(out, l->covers);
    pack_uint(out, l->demand);
    pack_uint(out, l->turns);
    pack_int(out, l->fence);
    pack_uint(out, l->stamp);
    pack_int(out, l->until);
    pack_array(out, l->nholds);
    for (const struct hold *h = l->holds; h != NULL; h = h->next)
        save_hold(h, out);
    pack_array(out, l->nwaits);
    for (const struct wait *at = l->waits; at != NULL; at = at->next) {
        pack_array(out, 13);
        save_owner(at->owner, out);
        pack_uint(out, at->mode);
        pack_int(out, at->since);
        pack_int(out, at->ttl);
        pack_int(out, at->deadline);
        pack_bool(out, at->try);
        pack_bool(out, at->elsewhere);
        pack_uint(out, at->number);
        wait(at, w);
    }
}

static uint32_t save_lost_of(const struct lock_client *c, struct buf *out)
{
    uint32_t n = 0;
    for (const struct lock_owner *o = c->owners; o != NULL; o = o->hh.next) {
        for (const struct hold *h = o->lost; h != NULL; h = h->next_of_owner, n++)
            save_lost(h, out);
    }
    return n;
}

void locks_save(const struct locks *t, struct state_writer *w,
                void (*wait)(const struct wait *w, struct state_writer *out))
{
    uint32_t nlost = 0;
    pack_array(&w->out, 4);
    pack_uint(&w->out, t->last_token);
    pack_uint(&w->out, t->last_wait);
    pack_array(&w->out, HASH_COUNT(t->locks));
    for (const struct lock *l = t->locks; l != NULL; l = l->hh.next)
        save_lock(l, w, wait);
    size_t at = pack_array_open(&w->out);
    for (const struct lock_client *c = t->clients; c != NULL; c = c->hh.next)
        nlost += save_lost_of(c, &w->out);
    pack_array_close(&w->out, at, nlost);
}

/* ---- taking up ---- */

struct lock_name lock_name_read(struct state_reader *r)
{
    struct lock_name n;
    n.key = state_str(r, &n.key_len);
    n.path = state_str(r, &n.path_len);
    n.action = state_str(r, &n.action_len);
    return n;
}

static struct lock_owner *read_owner(struct locks *t, struct state_reader *r)
{
    struct lock_who who = {.client = state_uint(r)};
    size_t len;
    who.pid = (pid_t)state_int(r);
    who.uid = (uid_t)state_uint(r);
    state_text(r, who.program, sizeof(who.program));
    const char *name = state_str(r, &len);
    return locks_owner(t, &who, name, len);
}

/* Not in any list yet. */
static struct hold *read_hold(struct locks *t, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 13);
    struct hold *h = alloc_zeroed(1, sizeof(*h));
    h->owner = read_owner(t, r);
    h->mode = (enum lock_mode)state_below(r, LOCK_EXCLUSIVE + 1);
    h->token = state_uint(r);
    h->fence = state_int(r);
    h->depth = (unsigned)state_uint(r);
    h->since = state_int(r);
    h->deadline = state_int(r);
    h->ttl = state_int(r);
    h->notify = state_bool(r);
    state_leave(r, &tuple);
    return h;
}

static void read_lost(struct locks *t, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 6);
    struct hold *h = read_hold(t, r);
    struct lock_name n = lock_name_read(r);
    char *at = alloc_zeroed(n.key_len + n.path_len + n.action_len + 3, 1);
    h->name = n;
    h->name.key = at;
    at = (char *)mempcpy(at, n.key, n.key_len) + 1;
    h->name.path = at;
    at = (char *)mempcpy(at, n.path, n.path_len) + 1;
    h->name.action = at;
    memcpy(at, n.action, n.action_len);
    h->why.code = (enum fault_code)state_below(r, FAULT_COUNT);
    state_text(r, h->why.text, sizeof(h->why.text));
    state_leave(r, &tuple);
    h->state = HOLD_REPORTED;
    DL_APPEND2(h->owner->lost, h, prev_of_owner, next_of_owner);
    h->owner->client->nlocks++;
    HASH_ADD(hh, t->tokens, token, sizeof(h->token), h);
}

static int read_wait(struct lock *l, struct state_reader *r, int64_t now,
                     int (*fn)(void *arg, struct wait *w, struct state_reader *r), void *arg)
{
    struct state_tuple tuple = state_enter(r, 13);
    struct wait *w = alloc_zeroed(1, sizeof(*w));
    w->lock = l;
    w->owner = read_owner(l->table, r);
    w->mode = (enum lock_mode)state_below(r, LOCK_EXCLUSIVE + 1);
    w->since = state_int(r);
    w->ttl = state_int(r);
    w->deadline = state_int(r);
    w->try = state_bool(r);
    bool elsewhere = state_bool(r);
    w->number = state_uint(r);
    int rc = r->bad ? -1 : fn(arg, w, r);
    state_leave(r, &tuple);
    wait_put(w, w->deadline - now);
    if (elsewhere && rc == 0)
        wait_elsewhere(w);
    return rc;
}

static int read_lock(struct locks *t, struct state_reader *r, int64_t now,
                     int (*wait)(void *arg, struct wait *w, struct state_reader *r), void *arg)
{
    struct state_tuple tuple = state_enter(r, 11);
    struct lock_name name = lock_name_read(r);
    if (r->bad || locks_find(t, &name) != NULL)
        return -1;
    struct lock *l = lock_new(t, &name);
    l->covers = (uint8_t)state_below(r, LOCK_EXCLUSIVE + 1);
    l->demand = (enum lock_demand)state_below(r, LOCK_CLOSING + 1);
    l->turns = (unsigned)state_uint(r);
    l->fence = state_int(r);
    l->stamp = state_uint(r);
    l->until = state_int(r);
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        struct hold *h = read_hold(t, r);
        h->lock = l;
        hold_put(h, h->deadline - now);
    }
    int rc = 0;
    for (uint32_t n = state_count(r); n > 0 && !r->bad && rc == 0; n--)
        rc = read_wait(l, r, now, wait, arg);
    state_leave(r, &tuple);
    lock_notify(l, NOTICE_WANT | NOTICE_EASED);
    return rc;
}

int locks_resume(struct locks *t, struct state_reader *r,
                 int (*wait)(void *arg, struct wait *w, struct state_reader *r), void *arg)
{
    struct state_tuple tuple = state_enter(r, 4);
    int64_t now = clock_boot_ms();
    t->last_token = state_uint(r);
    t->last_wait = state_uint(r);
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        if (read_lock(t, r, now, wait, arg) < 0)
            return -1;
    }
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--)
        read_lost(t, r);
    state_leave(r, &tuple);
    return r->bad ? -1 : 0;
}
