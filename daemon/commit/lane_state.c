/* lane_state: what another process of the daemon has to know of the commits before (lanes.h): of
 * each lane what its marker says, and the commits that are kept. Its marker is looked at before
 * anything is sent, as behind a link that was lost. Nothing is in flight, or of unknown outcome. */
#include "daemon/commit/lane_inside.h"

void lane_save(const struct lane *l, struct buf *out)
{
    pack_array(out, 3);
    pack_uint(out, l->place.slot);
    pack_uint(out, l->applied);
    pack_uint(out, l->number);
}

void lane_resume(struct lane *l, uint64_t applied, uint64_t number)
{
    l->applied = applied;
    l->number = number;
    l->since = 0;
}

void kept_save(const struct kept *k, struct buf *out)
{
    pack_array(out, 10);
    pack_uint(out, k->slot);
    pack_uint(out, k->number);
    pack_uint(out, k->after);
    pack_bin(out, k->resp.data, k->resp.len);
    pack_uint(out, k->ncommands);
    pack_bool(out, k->whole);
    pack_uint(out, k->news.at);
    pack_uint(out, k->news.n);
    pack_bin(out, k->leases.data, k->leases.len);
    pack_uint(out, k->nleases);
}

/* What is sent again is cut up by these (lane_recovery.c). */
static bool is_whole(const struct kept *k)
{
    return k->resp.len >= EXEC_BYTES && k->news.n < k->ncommands &&
           k->news.at <= k->resp.len - EXEC_BYTES;
}

void lane_resume_kept(struct lane *l, struct state_reader *r)
{
    struct kept in = {.slot = l->place.slot};
    in.number = state_uint(r);
    in.after = state_uint(r);
    state_bytes(r, &in.resp);
    in.ncommands = (unsigned)state_uint(r);
    in.whole = state_bool(r);
    in.news.at = state_uint(r);
    in.news.n = (unsigned)state_uint(r);
    state_bytes(r, &in.leases);
    in.nleases = (unsigned)state_uint(r);
    r->bad = r->bad || !is_whole(&in);
    struct kept *k =
        r->bad ? NULL : retained_add(l->place.retained, &l->kept, in.resp.len + in.leases.len);
    if (k != NULL) {
        retained_fill(k, &in);
        return;
    }
    buf_free(&in.resp);
    buf_free(&in.leases);
}
