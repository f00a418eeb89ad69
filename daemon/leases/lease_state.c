/* lease_state: how leases go over to another process of the daemon (lease.h). In Redis they are the
 * daemon's, whose name stays; so nothing changes there, and no other host hears of it. Whether they
 * wait in a queue there is asked for anew with the link. */
#include "daemon/leases/lease_inside.h"
#include "protocol/alloc.h"

bool leases_quiet(const struct leases *ls)
{
    return ls->due == NULL && lease_calls_idle(ls->calls) && ls->breaks == NULL;
}

/* ---- saving ---- */

static void save_one(const struct lease *le, struct buf *out)
{
    struct lock_name name = lock_name_of(le->lock);
    pack_array(out, 14);
    lock_name_save(&name, out);
    pack_uint(out, le->have);
    pack_int(out, le->fence);
    pack_int(out, le->expiry);
    pack_int(out, le->sent);
    pack_int(out, le->tried);
    pack_int(out, le->fence_renewed);
    pack_uint(out, le->upkeep);
    pack_bool(out, le->in_queue);
    pack_bool(out, le->in_redis);
    pack_uint(out, le->wanted);
    pack_array(out, (uint32_t)le->nelsewhere);
    for (size_t i = 0; i < le->nelsewhere; i++)
        pack_cstr(out, le->elsewhere[i]);
}

/* Those that are held in the order in which they end. */
void leases_save(const struct leases *ls, struct state_writer *w)
{
    const struct lease *le;
    uint32_t n = 0;
    pack_array(&w->out, 2);
    pack_int(&w->out, lease_calls_floor_now(ls->calls));
    size_t at = pack_array_open(&w->out);
    for (le = ls->held; le != NULL; le = le->next_held, n++)
        save_one(le, &w->out);
    for (le = ls->leases; le != NULL; le = le->next) {
        if (le->have != LOCK_NONE)
            continue;
        save_one(le, &w->out);
        n++;
    }
    pack_array_close(&w->out, at, n);
}

/* ---- taking up ---- */

static void read_elsewhere(struct lease *le, struct state_reader *r)
{
    uint32_t n = state_count(r);
    le->elsewhere = n > 0 ? alloc_zeroed(n, sizeof(*le->elsewhere)) : NULL;
    for (uint32_t i = 0; i < n && !r->bad; i++)
        state_text(r, le->elsewhere[le->nelsewhere++], ID_MAX);
}

static int resume_one(struct leases *ls, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 14);
    struct lock_name name = lock_name_read(r);
    struct lock *l = r->bad ? NULL : locks_find(ls->locks, &name);
    if (l == NULL || l->lease != NULL)
        return -1;
    struct lease *le = lease_new(ls, l);
    le->have = (enum lock_mode)state_below(r, LOCK_EXCLUSIVE + 1);
    le->fence = state_int(r);
    le->expiry = state_int(r);
    le->sent = state_int(r);
    le->tried = state_int(r);
    le->fence_renewed = state_int(r);
    le->upkeep = (enum lease_upkeep)state_below(r, LEASE_UNUSED + 1);
    le->in_queue = state_bool(r);
    le->in_redis = state_bool(r);
    le->wanted = (enum lock_mode)state_below(r, LOCK_EXCLUSIVE + 1);
    le->until = l->until;
    if (le->have != LOCK_NONE)
        DL_APPEND2(ls->held, le, prev_held, next_held);
    read_elsewhere(le, r);
    state_leave(r, &tuple);
    return 0;
}

int leases_resume(struct leases *ls, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 2);
    lease_calls_floor(ls->calls, state_int(r));
    for (uint32_t n = state_count(r); n > 0; n--) {
        if (resume_one(ls, r) < 0)
            return -1;
    }
    state_leave(r, &tuple);
    leases_plan_tick(ls);
    return r->bad ? -1 : 0;
}
