/* parts: what exec is made of and counts, for the rooms above. */
#include "daemon/exec/exec_inside.h"

struct lanes *exec_lanes(const struct exec *e)
{
    return e->lanes;
}

struct lane *exec_lane(const struct exec *e)
{
    return e->lane;
}

struct coherence *exec_coherence(const struct exec *e)
{
    return e->coherence;
}

struct purger *exec_purger(const struct exec *e)
{
    return e->purger;
}

struct audit *exec_audit(const struct exec *e)
{
    return e->audit;
}

struct cache *exec_cache(const struct exec *e)
{
    return e->cache;
}

struct publisher *exec_publisher(const struct exec *e)
{
    return e->publisher;
}

const struct config *exec_config(const struct exec *e)
{
    return e->config;
}

const struct names *exec_names(const struct exec *e)
{
    return &e->names;
}

void exec_named(struct exec *e, bool tags)
{
    e->names.tags = tags;
    purger_named(e->purger);
}

struct index_table *exec_indexes(const struct exec *e)
{
    return e->indexes;
}

struct schema *exec_schema(const struct exec *e)
{
    return e->schema;
}

unsigned exec_waiting(const struct exec *e)
{
    return e->ntasks;
}

void exec_bytes(const struct exec *e, size_t *waiting, size_t *kept)
{
    *waiting = e->waiting_bytes;
    *kept = e->kept_bytes;
}

uint64_t exec_done_again(const struct exec *e)
{
    return e->nagain;
}

uint64_t exec_taken(struct exec *e)
{
    return ++e->stamp;
}

void exec_on_written(struct exec *e, bool (*answers)(struct call *c, const struct buf *out))
{
    e->answers = answers;
}

void exec_on_lost_lease(struct exec *e, void (*fn)(void *arg, struct lock *l, int64_t fence),
                        void *arg)
{
    e->on_lost_lease = fn;
    e->lost_arg = arg;
}

void exec_set_lock_requests(struct exec *e, struct lock_requests *lock_requests)
{
    e->lock_requests = lock_requests;
}

struct lock_requests *exec_lock_requests(const struct exec *e)
{
    return e->lock_requests;
}
