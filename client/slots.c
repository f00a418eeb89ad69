/* slots: see slots.h. */
#include "client/slots.h"
#include "protocol/rpc.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SLOT_BITS 16
#define MAX_SLOTS ((uint32_t)1 << SLOT_BITS)
#define NO_SLOT UINT32_MAX

static int grow(rapyer *db)
{
    uint32_t n = db->nslots ? db->nslots * 2 : 16;
    if (db->nslots == MAX_SLOTS)
        return db_failf(db, FAULT_BUSY, "%u requests are without an answer, more are not possible",
                        db->nslots);
    struct slot *slots = reallocarray(db->slots, n, sizeof *slots);
    if (!slots)
        return db_no_memory(db);
    for (uint32_t i = db->nslots; i < n; i++)
        slots[i] = (struct slot){.next_free = i + 1 < n ? i + 1 : NO_SLOT};
    db->first_free = db->nslots;
    db->slots = slots;
    db->nslots = n;
    return 0;
}

static int take_slot(rapyer *db, struct request *rq)
{
    if (db->npending == db->nslots && grow(db) < 0)
        return -1;
    struct slot *slot = &db->slots[db->first_free];
    rq->slot = db->first_free;
    rq->id = (uint64_t)++slot->generation << SLOT_BITS | rq->slot;
    db->first_free = slot->next_free;
    slot->request = rq;
    rq->number = ++db->numbers;
    db->npending++;
    DL_APPEND(db->oldest, rq);
    return 0;
}

static void leave_slot(rapyer *db, struct request *rq)
{
    struct slot *slot = &db->slots[rq->slot];
    DL_DELETE(db->oldest, rq);
    slot->request = NULL;
    slot->next_free = db->first_free;
    db->first_free = rq->slot;
    db->npending--;
}

int slots_queue(rapyer *db, struct request *rq, const char *method, uint32_t nparams,
                const struct buf *params)
{
    size_t before = db->out.len;
    if (!rq)
        return db_no_memory(db);
    if (take_slot(db, rq) < 0) {
        free(rq);
        return -1;
    }
    rpc_open_request(&db->out, rq->id, method);
    pack_array(&db->out, nparams);
    buf_append(&db->out, params->data, params->len);
    if (db->out.failed || params->failed) {
        db->out.len = before;
        db->out.failed = false;
        leave_slot(db, rq);
        free(rq);
        return db_no_memory(db);
    }
    rq->deadline = clock_ms() + db->timeout_ms;
    rq->end = db->out_sent + (db->out.len - db->out_at);
    return 0;
}

static void deliver(rapyer *db, struct request *rq, enum outcome how, rapyer_value *result,
                    const struct fault *f)
{
    if (!rq->urgent)
        db->depth++;
    if (rq->done)
        rq->done(db, rq, how, &result, f);
    if (!rq->urgent)
        db->depth--;
    rapyer_value_free(result);
    free(rq->fault);
    free(rq);
}

static void deliver_ready(rapyer *db)
{
    while (db->ready) {
        struct request *rq = db->ready;
        DL_DELETE(db->ready, rq);
        db->nready--;
        deliver(db, rq, rq->how, rq->result, rq->fault);
    }
}

/* Takes result. */
static void settle(rapyer *db, struct request *rq, enum outcome how, rapyer_value *result,
                   const struct fault *f)
{
    leave_slot(db, rq);
    if (db->depth == 0 || rq->urgent) {
        deliver(db, rq, how, result, f);
        if (db->depth == 0)
            deliver_ready(db);
        return;
    }
    rq->how = how;
    rq->result = result;
    rq->fault = malloc(sizeof *f);
    if (rq->fault)
        *rq->fault = *f;
    DL_APPEND(db->ready, rq);
    db->nready++;
}

int slots_settle(rapyer *db, uint64_t id, rapyer_value *result, const struct fault *f)
{
    uint64_t slot = id & (MAX_SLOTS - 1);
    struct request *rq = slot < db->nslots ? db->slots[slot].request : NULL;
    if (!rq || rq->id != id) {
        rapyer_value_free(result);
        return 0;
    }
    settle(db, rq, OUTCOME_ANSWER, result, f);
    return 1;
}

void slots_forget(rapyer *db)
{
    struct fault f;
    struct request *rq;
    fault_set(&f, FAULT_UNAVAILABLE, "the request is the parent process's");
    DL_FOREACH (db->ready, rq) {
        rq->cb = NULL;
    }
    while (db->oldest) {
        db->oldest->cb = NULL;
        settle(db, db->oldest, OUTCOME_UNSENT, NULL, &f);
    }
}

/* A write of which all bytes were sent may have been done. */
static void give_up(rapyer *db, struct request *rq, uint64_t sent, const struct fault *why)
{
    bool unsent = sent < rq->end;
    struct fault f = *why;
    if (!unsent && rq->writes)
        f.code = FAULT_UNKNOWN_OUTCOME;
    settle(db, rq, unsent ? OUTCOME_UNSENT : OUTCOME_LOST, NULL, &f);
}

void slots_settle_all(rapyer *db, uint64_t sent, const struct fault *why)
{
    /* A callback may send anew: only those that are here now. */
    uint64_t last = db->numbers;
    while (db->oldest && db->oldest->number <= last)
        give_up(db, db->oldest, sent, why);
}

int slots_expire(rapyer *db, int64_t now)
{
    int n = 0;
    struct fault f;
    while (db->oldest && db->oldest->deadline <= now) {
        fault_set(&f, FAULT_UNAVAILABLE, "no answer from rapyerd within %d ms", db->timeout_ms);
        give_up(db, db->oldest, UINT64_MAX, &f); /* what is not sent yet will still be */
        n++;
    }
    return n;
}
