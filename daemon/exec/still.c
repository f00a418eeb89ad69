/* still: how the executor comes to rest before another process of the daemon takes over (exec.h).
 * All that runs comes to its end; only what waits for clients to read their answers, which may be
 * never, is given back to them: the next process finds it in front of what they send. */
#include "daemon/exec/exec_inside.h"
#include <utlist.h>

void exec_still(struct exec *e, bool still)
{
    e->still = still;
    if (still)
        exec_unpark(e);
}

unsigned exec_parked(const struct exec *e)
{
    const struct task *t;
    unsigned parked = 0;
    DL_COUNT(e->parked, t, parked);
    return parked;
}

bool exec_quiet(const struct exec *e)
{
    return e->ntasks == exec_parked(e);
}

static void ask_again(const struct task *t)
{
    const struct request *r = &t->call.request;
    struct buf frame = BUF_INIT;
    rpc_open_request(&frame, r->id, r->method->name);
    pack_array(&frame, r->nparams);
    buf_append(&frame, r->params.at, (size_t)(r->params.end - r->params.at));
    session_ask_again(r->session, frame.data, frame.len);
    buf_free(&frame);
}

/* Stamps go on rising: sessions, locks and clients keep those they were given. */
void exec_save(struct exec *e, struct state_writer *w)
{
    const struct task *t;
    DL_FOREACH (e->parked, t)
        ask_again(t);
    pack_array(&w->out, 1);
    pack_uint(&w->out, e->stamp);
}

int exec_resume(struct exec *e, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 1);
    e->stamp = state_uint(r) + 1;
    state_leave(r, &tuple);
    return r->bad ? -1 : 0;
}
