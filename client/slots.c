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

/* ---- in order of their deadlines ---- */

static struct request **list_of(rapyer *db, const struct request *rq)
{
    return rq->terms.patience ? &db->patient : &db->oldest;
}

/* Those without patience have the same timeout: the latest is the last. */
static void enlist(rapyer *db, struct request *rq)
{
    struct request **list = list_of(db, rq), *before = *list ? (*list)->prev : NULL;
    while (rq->terms.patience && before && before->deadline > rq->deadline)
        before = before == *list ? NULL : before->prev;
    if (before)
        DL_APPEND_ELEM(*list, before, rq);
    else
        DL_PREPEND(*list, rq);
}

static void set_deadline(rapyer *db, struct request *rq)
{
    int64_t now = clock_ms();
    bool endless = rq->terms.patience >= INT64_MAX - now - db->timeout_ms;
    rq->allowed = endless ? INT64_MAX : db->timeout_ms + rq->terms.patience;
    rq->deadline = endless ? INT64_MAX : now + rq->allowed;
}

struct request *slots_due(const rapyer *db)
{
    bool patient = db->patient && (!db->oldest || db->patient->deadline < db->oldest->deadline);
    return patient ? db->patient : db->oldest;
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
    set_deadline(db, rq);
    enlist(db, rq);
    return 0;
}

static void leave_slot(rapyer *db, struct request *rq)
{
    if (rq->slot == NO_SLOT) /* its heir has it */
        return;
    struct slot *slot = &db->slots[rq->slot];
    struct request **list = list_of(db, rq);
    DL_DELETE(*list, rq);
    db->nheirs -= rq->heir;
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
    if (db->trace[0]) {
        rpc_open_notify(&db->out, "trace");
        pack_array(&db->out, 1);
        pack_str(&db->out, db->trace, TRACEPARENT);
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
    rq->sent_on = db->connection;
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

void slots_deliver(rapyer *db)
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
            slots_deliver(db);
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
    while ((rq = slots_due(db))) {
        rq->cb = NULL;
        settle(db, rq, OUTCOME_UNSENT, NULL, &f);
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

/* One that was sent before the one of this number, or NULL. */
static struct request *until(const rapyer *db, uint64_t last)
{
    struct request *rq;
    if (db->oldest && db->oldest->number <= last)
        return db->oldest;
    DL_FOREACH (db->patient, rq) {
        if (rq->number <= last)
            return rq;
    }
    return NULL;
}

void slots_settle_all(rapyer *db, uint64_t sent, const struct fault *why)
{
    /* A callback may send anew: only those that are here now. */
    uint64_t last = db->numbers;
    struct request *rq;
    while ((rq = until(db, last)))
        give_up(db, rq, sent, why);
}

/* The request is given up, but its answer has to be looked at when it comes. */
static void leave_heir(rapyer *db, struct request *rq)
{
    struct request **list = list_of(db, rq), *heir = malloc(sizeof *heir);
    if (!heir)
        return;
    *heir = (struct request){.done = rq->terms.late,
                             .urgent = true,
                             .heir = true,
                             .terms.patience = PATIENCE_ENDLESS,
                             .deadline = INT64_MAX,
                             .number = rq->number,
                             .id = rq->id,
                             .end = rq->end,
                             .sent_on = rq->sent_on,
                             .slot = rq->slot};
    DL_DELETE(*list, rq);
    rq->slot = NO_SLOT;
    db->slots[heir->slot].request = heir;
    db->nheirs++;
    enlist(db, heir);
}

int slots_expire(rapyer *db, int64_t now)
{
    int n = 0;
    struct fault f;
    struct request *rq;
    while ((rq = slots_due(db)) && rq->deadline <= now) {
        fault_set(&f, FAULT_UNAVAILABLE, "no answer from rapyerd within %lld ms",
                  (long long)rq->allowed);
        if (rq->terms.late)
            leave_heir(db, rq);
        db->overdue |= rq->writes;
        give_up(db, rq, UINT64_MAX, &f); /* what is not sent yet will still be */
        n++;
    }
    return n;
}
