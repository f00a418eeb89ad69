/* hold: see hold.h. */
#include "client/hold.h"
#include "client/request.h"
#include "client/slots.h"
#include "client/value.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- its life ---- */

void token_release(rapyer *db, int64_t token, uint64_t connection)
{
    struct buf params = BUF_INIT;
    if (!connection_is(db, connection))
        return;
    pack_int(&params, token);
    slots_queue(db, calloc(1, sizeof(struct request)), "lock.release", 1, &params);
    connection_push(db);
    buf_free(&params);
}

struct hold *hold_new(rapyer *db, const char *key, const char *path, size_t path_len,
                      const char *action, rapyer_value *answer, uint64_t connection)
{
    int64_t token = rapyer_int(answer, "token", -1);
    uint64_t stamp = (uint64_t)rapyer_int(answer, "stamp", 0);
    size_t size = strlen(key) + path_len + strlen(action) + sizeof "'' of /";
    struct hold *h = token < 0 ? NULL : calloc(1, sizeof *h + size);
    if (!h) {
        rapyer_value_free(answer);
        if (token < 0)
            db_failf(db, FAULT_INTERNAL, "the answer to lock.acquire holds no token");
        else
            db_no_memory(db);
        token_release(db, token, connection);
        return NULL;
    }
    if (stamp > db->stamp)
        db->stamp = stamp;
    h->refs = 1;
    h->db = db_ref(db);
    h->connection = connection;
    h->forks = db_forks();
    h->token = token;
    h->answer = answer;
    snprintf(h->name, size, "'%s' of %s%s%.*s", action, key, path_len ? "/" : "", (int)path_len,
             path);
    return h;
}

struct hold *hold_ref(struct hold *h)
{
    if (h)
        h->refs++;
    return h;
}

void hold_unref(struct hold *h)
{
    if (!h || --h->refs)
        return;
    if (!h->let_go)
        token_release(h->db, h->token, h->connection);
    rapyer_value_free(h->answer);
    db_unref(h->db);
    free(h);
}

/* ---- its states ---- */

static void lose(struct hold *h, const struct fault *why)
{
    h->state = HOLD_LOST;
    h->why = *why;
}

static void lose_connection(struct hold *h)
{
    h->state = HOLD_LOST;
    h->let_go = true;
    fault_set(&h->why, FAULT_LOCK_LOST, "the lock %s %s", h->name,
              h->forks == db_forks()
                  ? "was lost with the connection to rapyerd that held it"
                  : "belongs to the parent process; a fork()ed child takes its own locks");
}

int hold_check(struct hold *h)
{
    if (!h)
        return 0;
    if (h->db->closed)
        return db_failf(h->db, FAULT_UNAVAILABLE, "the connection was closed by rapyer_close");
    if (h->state == HOLD_HELD && !connection_is(h->db, h->connection))
        lose_connection(h);
    switch (h->state) {
    case HOLD_HELD: break;
    case HOLD_RELEASING:
        return db_failf(h->db, FAULT_BUSY, "the lock %s is being released; wait for the answer",
                        h->name);
    case HOLD_RELEASED:
        return db_failf(h->db, FAULT_LOCK_LOST, "the lock %s was released by rapyer_unlock",
                        h->name);
    case HOLD_LOST: return db_fail(h->db, &h->why);
    }
    return 0;
}

int hold_check_release(struct hold *h)
{
    if (hold_check(h) < 0)
        return -1;
    if (!h || !h->flights)
        return 0;
    return db_failf(
        h->db, FAULT_BUSY,
        "writes under the lock %s are without an answer (%u); release it when they have "
        "theirs, or free its handles",
        h->name, h->flights);
}

void hold_failed(struct hold *h, const struct fault *f)
{
    if (h && h->state == HOLD_HELD && f->code == FAULT_LOCK_LOST)
        lose(h, f);
}

void hold_settle(struct hold *h, const struct fault *f, bool alone)
{
    if (!f || f->code == FAULT_NOT_DURABLE) {
        h->state = HOLD_RELEASED;
        h->let_go = true;
        return;
    }
    h->state = HOLD_HELD;
    if (alone)
        hold_failed(h, f);
    if (f->code == FAULT_UNKNOWN_OUTCOME) {
        lose(h, f);
        h->why.code = FAULT_LOCK_LOST;
        h->let_go = true; /* or will be: the release is with the daemon */
    }
}

/* ---- calls under it ---- */

bool hold_wraps(const struct hold *h, const char *method, bool writes)
{
    /* These cannot be in a pipeline, and change nothing inside the document. */
    return h && writes && strcmp(method, "doc.ttl") != 0 && strcmp(method, "doc.duplicate") != 0;
}

void hold_wrap(const struct hold *h, const char *method, uint32_t nparams, const struct buf *params,
               struct buf *out)
{
    pack_array(out, 1);
    pack_array(out, 1 + nparams);
    pack_cstr(out, method);
    buf_append(out, params->data, params->len);
    pack_map(out, 1);
    pack_cstr(out, "lock");
    pack_int(out, h->token);
    out->failed |= params->failed;
}

void hold_unwrap(rapyer_value *v)
{
    if (rapyer_kind_of(v) == RAPYER_LIST && v->len == 1)
        *v = v->items[0];
}

void hold_unwrap_fault(struct fault *f)
{
    static const char head[] = "operation 0 (";
    char *rest = strstr(f->text, "): ");
    if (rest && strncmp(f->text, head, sizeof head - 1) == 0)
        memmove(f->text, rest + 3, strlen(rest + 3) + 1);
}

rapyer_value *hold_request(struct hold *h, rapyer *db, const char *method, bool writes,
                           uint32_t nparams, const struct buf *params)
{
    struct buf wrapped = BUF_INIT;
    struct fault f;
    rapyer_value *v;
    if (!h)
        return request_wait(db, method, nparams, params);
    if (hold_check(h) < 0)
        return NULL;
    struct terms terms = {.connection = h->connection};
    bool wraps = hold_wraps(h, method, writes);
    hold_ref(h); /* a callback may free the handle meanwhile */
    if (wraps)
        hold_wrap(h, method, nparams, params, &wrapped);
    v = request_wait_on(db, &terms, wraps ? "pipeline" : method, wraps ? 2 : nparams,
                        wraps ? &wrapped : params, NULL);
    buf_free(&wrapped);
    if (v && wraps) {
        hold_unwrap(v);
    } else if (!v) {
        db_fault(db, &f);
        hold_failed(h, &f);
        if (wraps && f.code < FAULT_COUNT) {
            hold_unwrap_fault(&f);
            db_fail(db, &f);
        }
    }
    hold_unref(h);
    return v;
}
