/* request: sending one call, with or without waiting for it. */
#include "client/request.h"
#include "client/slots.h"
#include "client/template.h"
#include "client/value.h"
#include <stdlib.h>
#include <string.h>

bool method_reads(const char *method)
{
    static const char *const reads[] = {
        "hello",      "define",       "doc.get",           "doc.get_many", "doc.load",
        "doc.exists", "doc.keys",     "doc.ttl",           "lock.renew",   "watch",
        "unwatch",    "lock.acquire", "lock.acquire_many", "find",         "find.count",
        "ref.get"};
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        if (method[0] == reads[i][0] && strcmp(method, reads[i]) == 0)
            return true;
    }
    return strncmp(method, "admin.", 6) == 0;
}

static int may_go(rapyer *db, const struct request *rq)
{
    if (!rq || !rq->terms.connection || db->closed)
        return connection_open(db, 0);
    if (connection_is(db, rq->terms.connection))
        return 0;
    return db_failf(db, FAULT_LOCK_LOST, "the lock was lost with the connection that it was of");
}

int request_send(rapyer *db, struct request *rq, const char *method, uint32_t nparams,
                 const struct buf *params)
{
    if (rq)
        rq->writes = !method_reads(method);
    if (may_go(db, rq) < 0) {
        free(rq);
        return -1;
    }
    connection_ask_ring(db);
    if (slots_queue(db, rq, method, nparams, params) < 0)
        return -1;
    if (db->channel) /* at no cost; and who polls now hears of nothing unsent */
        connection_push(db);
    return 0;
}

/* ---- waiting ---- */

struct waiter {
    struct request *request;
    bool over;
    enum outcome how;
    rapyer_value *result;
    uint64_t sent_on;
    struct fault fault;
};

static void wake(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                 const struct fault *f)
{
    struct waiter *w = rq->arg;
    (void)db;
    w->over = true;
    w->how = how;
    w->sent_on = rq->sent_on;
    w->result = *result;
    if (!*result)
        w->fault = *f;
    *result = NULL;
}

/* Runs the connection until the waiter's request is settled: by its answer, the connection's
 * end, or its deadline. */
static void wait_for(rapyer *db, struct waiter *w)
{
    rapyer_process(db, 0);
    while (!w->over)
        connection_wait(db);
}

static int attempt(rapyer *db, struct waiter *w, const struct terms *terms, const char *method,
                   uint32_t nparams, const struct buf *params)
{
    int restart = db->timeout_ms < RESTART_WAIT_MS ? db->timeout_ms : RESTART_WAIT_MS;
    w->over = false;
    w->result = NULL;
    w->fault.code = FAULT_NONE;
    if (!terms->connection && connection_open(db, restart) < 0)
        return -1;
    struct request *rq = calloc(1, sizeof *rq);
    if (!rq)
        return db_no_memory(db);
    rq->done = wake;
    rq->arg = w;
    rq->urgent = true;
    rq->terms = *terms;
    if (request_send(db, rq, method, nparams, params) < 0)
        return -1;
    wait_for(db, w);
    return 0;
}

rapyer_value *request_wait_on(rapyer *db, const struct terms *terms, const char *method,
                              uint32_t nparams, const struct buf *params, uint64_t *sent_on)
{
    static const struct terms none;
    struct waiter w;
    int64_t begin = clock_ms();
    terms = terms ? terms : &none;
    if (params->failed) {
        db_no_memory(db);
        return NULL;
    }
    for (int tries = 1;; tries++) {
        if (attempt(db, &w, terms, method, nparams, params) < 0)
            return NULL;
        if (sent_on)
            *sent_on = w.sent_on;
        if (w.result)
            return w.result;
        /* Nothing is sent again that may have changed something, or that took all the time. */
        bool lost = w.how == OUTCOME_UNSENT || (w.how == OUTCOME_LOST && method_reads(method));
        if (!lost || tries == 2 || clock_ms() - begin - db->timeout_ms >= terms->patience)
            break;
    }
    db_fail(db, &w.fault);
    return NULL;
}

rapyer_value *request_wait(rapyer *db, const char *method, uint32_t nparams,
                           const struct buf *params)
{
    return request_wait_on(db, NULL, method, nparams, params, NULL);
}

rapyer_value *rapyer_call(rapyer *db, const char *method, const char *fmt, ...)
{
    struct buf params = BUF_INIT;
    struct fault f;
    rapyer_value *v = NULL;
    uint32_t n;
    va_list ap;
    if (!db)
        return NULL;
    va_start(ap, fmt);
    if (template_values(fmt, &ap, embed_value, NULL, &params, &n, &f) < 0)
        db_fail(db, &f);
    else
        v = request_wait(db, method, n, &params);
    va_end(ap);
    buf_free(&params);
    return v;
}

/* ---- not waiting ---- */

static void call_back(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                      const struct fault *f)
{
    (void)how;
    if (!*result)
        db_fail(db, f);
    if (rq->cb)
        rq->cb(db, *result, rq->user);
}

int request_call(rapyer *db, rapyer_callback *cb, void *user, const char *method, uint32_t nparams,
                 const struct buf *params)
{
    struct request *rq = calloc(1, sizeof *rq);
    if (!rq)
        return db_no_memory(db);
    *rq = (struct request){.done = call_back, .cb = cb, .user = user};
    return request_send(db, rq, method, nparams, params);
}

int rapyer_send(rapyer *db, rapyer_callback *cb, void *user, const char *method, const char *fmt,
                ...)
{
    struct buf params = BUF_INIT;
    struct fault f;
    uint32_t n;
    int rc = -1;
    va_list ap;
    if (!db)
        return -1;
    va_start(ap, fmt);
    if (template_values(fmt, &ap, embed_value, NULL, &params, &n, &f) < 0) {
        db_fail(db, &f);
    } else {
        rc = request_call(db, cb, user, method, n, &params);
    }
    va_end(ap);
    buf_free(&params);
    return rc;
}

int embed_value(void *arg, void *p, const struct template_spot *spot, struct buf *out,
                struct fault *f)
{
    (void)arg;
    (void)spot;
    f->code = FAULT_NONE;
    if (!p)
        return -1;
    if ((*(const uint32_t *)p & TAG_MASK) != TAG_VALUE)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "%%p takes a rapyer_value * here; a draft is taken "
                         "by rapyer_save and the operations");
    value_pack(p, out);
    return 0;
}
