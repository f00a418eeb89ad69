/* latency: see latency.h. */
#include "daemon/methods/latency.h"
#include "daemon/commit/lanes.h"
#include "daemon/methods/lock_request.h"

static void put_us(struct buf *out, const char *name, uint64_t ns)
{
    pack_cstr(out, name);
    pack_float(out, (double)ns / 1000);
}

static void put_parts(struct buf *out, const struct histogram *h)
{
    uint64_t count = histogram_count(h);

    pack_cstr(out, "count");
    pack_uint(out, count);
    put_us(out, "mean", count > 0 ? h->sum / count : 0);
    put_us(out, "p50", histogram_part(h, 0.5));
    put_us(out, "p99", histogram_part(h, 0.99));
    put_us(out, "p999", histogram_part(h, 0.999));
}

static void put_one(struct buf *out, const char *name, const struct histogram *h)
{
    pack_cstr(out, name);
    pack_map(out, 5);
    put_parts(out, h);
}

static void put_method(struct buf *out, const struct method_figures *m)
{
    static const struct timing none;
    const struct timing *t = m->timing != NULL ? m->timing : &none;
    uint32_t stages = 0;

    pack_cstr(out, m->name);
    pack_map(out, 7);
    pack_cstr(out, "calls");
    pack_uint(out, m->calls);
    put_parts(out, &t->all);
    pack_cstr(out, "stages");
    size_t at = pack_map_open(out);
    for (int i = 0; i < STAGES; i++) {
        if (histogram_count(&t->stages[i]) == 0)
            continue;
        put_one(out, stage_name((enum stage)i), &t->stages[i]);
        stages++;
    }
    pack_map_close(out, at, stages);
}

void latency_pack(const struct admin *a, const struct method_figures *methods, size_t n,
                  struct buf *out)
{
    struct lane_stats l;
    uint32_t called = 0;

    lanes_stats(exec_lanes(a->exec), &l);
    pack_map(out, 3);
    pack_cstr(out, "methods");
    size_t at = pack_map_open(out);
    for (size_t i = 0; i < n; i++) {
        if (methods[i].calls == 0)
            continue;
        put_method(out, &methods[i]);
        called++;
    }
    pack_map_close(out, at, called);
    put_one(out, "commits", &l.took);
    put_one(out, "lock_waits", &exec_lock_requests(a->exec)->stats.waited);
}
