/* lock: taking locks, releasing them, and what is known of them.
 *
 * Taken in three steps, which blocking calls, calls that do not wait and several at once share:
 *   wish     the parameters of lock.acquire, and the terms on which to wait for the answer
 *   answer   of the daemon: {token, fence, version, document}
 *   grant    a handle with a hold (hold.h)
 */
#include "client/hold.h"
#include "client/pipeline.h"
#include "client/request.h"
#include "client/value.h"
#include <stdlib.h>
#include <string.h>

#define MAX_WAIT_S 1e9 /* longer is for ever */

/* ---- wish ---- */

/* What a handle on the lock is made of. */
struct wish {
    struct home *home; /* of the handle that is locked: a reference */
    char *path;
    struct target at; /* what the daemon is told */
    char *action;
    rapyer_lock_callback *cb; /* for calls that do not wait */
    void *user;
};

static void wish_free(struct wish *w)
{
    home_unref(w->home);
    free(w->path);
    target_free(&w->at);
    free(w->action);
    *w = (struct wish){0};
}

/* -1: error with the connection, nothing to free. */
static int wish_init(struct wish *w, rapyer_doc *at, const char *action)
{
    const char *wrong = NULL;
    *w = (struct wish){0};
    if (handle_target(at, "", &w->at) < 0)
        return -1;
    rapyer *db = at->home->db;
    w->home = home_ref(at->home);
    if (w->at.home->state == HOME_DRAFT)
        wrong = "a draft cannot be locked: save it first, or lock its key";
    else if (!action)
        wrong = "a lock needs an action, such as \"transfer\"";
    if (wrong) {
        db_failf(db, FAULT_BAD_VALUE, "%s", wrong);
    } else {
        w->path = strdup(at->path);
        w->action = strdup(action);
        if (w->path && w->action)
            return 0;
        db_no_memory(db);
    }
    wish_free(w);
    return -1;
}

/* A wait that was reckoned, and came out negative, is over. */
static bool waits_not(const rapyer_lock_options *how)
{
    return how->nowait || how->wait < 0;
}

static bool waits_for_ever(const rapyer_lock_options *how)
{
    return !how->nowait && (how->wait == 0 || how->wait > MAX_WAIT_S);
}

static uint32_t pack_option(struct buf *out, const char *name, double seconds)
{
    pack_cstr(out, name);
    pack_float(out, seconds);
    return 1;
}

/* What holds for all locks of a call. The number of pairs. */
static uint32_t pack_how(const rapyer_lock_options *how, struct buf *out)
{
    uint32_t n = 0;
    if (how->ttl != 0)
        n += pack_option(out, "ttl", how->ttl);
    if (!waits_for_ever(how))
        n += pack_option(out, "wait", waits_not(how) ? 0 : how->wait);
    if (how->owner) {
        pack_cstr(out, "owner");
        pack_cstr(out, how->owner);
        n++;
    }
    if (!how->no_document) {
        pack_cstr(out, "document");
        pack_bool(out, true);
        n++;
    }
    return n;
}

/* What holds for one. The number of pairs. */
static uint32_t pack_place(const struct wish *w, bool shared, struct buf *out)
{
    size_t len;
    const char *path = target_path(&w->at, &len);
    pack_cstr(out, "path");
    pack_str(out, path, len);
    pack_cstr(out, "mode");
    pack_cstr(out, shared ? "shared" : "exclusive");
    return 2;
}

static int64_t token_of(const rapyer_value *answer)
{
    return rapyer_int(answer, "token", -1);
}

/* What was granted after its deadline is nobody's. */
static void give_back(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                      const struct fault *f)
{
    bool many = rapyer_kind_of(*result) == RAPYER_LIST;
    (void)how;
    (void)f;
    for (size_t i = 0; *result && i < (many ? rapyer_len(*result) : 1); i++)
        token_release(db, token_of(many ? rapyer_item(*result, i) : *result), rq->sent_on);
}

static struct terms terms_of(const rapyer_lock_options *how)
{
    struct terms terms = {.late = give_back};
    if (waits_for_ever(how))
        terms.patience = PATIENCE_ENDLESS;
    else if (how->wait > 0 && !how->nowait)
        terms.patience = (int64_t)(how->wait * 1000) + 1;
    return terms;
}

static const rapyer_lock_options *options_of(const rapyer_lock_options *how)
{
    static const rapyer_lock_options defaults;
    return how ? how : &defaults;
}

/* key, action, {...} */
static void pack_wish(const struct wish *w, const rapyer_lock_options *how, struct buf *out)
{
    pack_cstr(out, w->at.home->key);
    pack_cstr(out, w->action);
    size_t head = pack_map_open(out);
    uint32_t n = pack_place(w, how->shared, out);
    pack_map_close(out, head, n + pack_how(how, out));
}

/* ---- grant ---- */

/* Takes answer. The handle is on the place that was asked for; where that is an element named by
 * its index, on the element itself, which the daemon's answer names by its pk. */
static rapyer_doc *grant(const struct wish *w, rapyer_value *answer, uint64_t connection)
{
    size_t len;
    const char *asked = target_path(&w->at, &len), *locked = rapyer_str(answer, "path", NULL);
    bool same = !locked || (strlen(locked) == len && memcmp(locked, asked, len) == 0);
    struct hold *hold =
        hold_new(w->home->db, w->at.home->key, asked, len, w->action, answer, connection);
    if (!hold)
        return NULL;
    rapyer_doc *lock = handle_new(home_ref(same ? w->home : w->at.home), same ? w->path : locked);
    if (lock)
        lock->lock = hold;
    else
        hold_unref(hold);
    return lock;
}

rapyer_doc *rapyer_lock(rapyer_doc *at, const char *action, const rapyer_lock_options *how)
{
    struct wish w;
    struct buf params = BUF_INIT;
    uint64_t connection = 0;
    if (wish_init(&w, at, action) < 0)
        return NULL;
    struct terms terms = terms_of(options_of(how));
    pack_wish(&w, options_of(how), &params);
    rapyer_value *answer =
        request_wait_on(w.home->db, &terms, "lock.acquire", 3, &params, &connection);
    rapyer_doc *lock = answer ? grant(&w, answer, connection) : NULL;
    wish_free(&w);
    buf_free(&params);
    return lock;
}

rapyer_doc *rapyer_lock_from_key(rapyer *db, const char *key, const char *action,
                                 const rapyer_lock_options *how)
{
    rapyer_doc *at = rapyer_open(db, key), *lock = rapyer_lock(at, action, how);
    rapyer_free(at);
    return lock;
}

/* ---- several ---- */

static void wishes_free(struct wish *wishes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wish_free(&wishes[i]);
    free(wishes);
}

/* [key, action, {path, mode}], for each; NULL: error with db. */
static struct wish *wishes_new(rapyer *db, const rapyer_lock_item *items, size_t n, bool shared,
                               struct buf *out)
{
    struct wish *wishes = calloc(n + 1, sizeof *wishes);
    if (!wishes) {
        db_no_memory(db);
        return NULL;
    }
    pack_array(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        if (wish_init(&wishes[i], items[i].at, items[i].action) < 0) {
            wishes_free(wishes, i);
            return NULL;
        }
        pack_array(out, 3);
        pack_cstr(out, wishes[i].at.home->key);
        pack_cstr(out, items[i].action);
        pack_map(out, 2);
        pack_place(&wishes[i], shared || items[i].shared, out);
    }
    return wishes;
}

static rapyer_value *copy(const rapyer_value *v)
{
    struct buf bytes = BUF_INIT;
    struct fault f;
    value_pack(v, &bytes);
    struct cursor in = cursor_of(bytes.data, bytes.len);
    rapyer_value *same = bytes.failed ? NULL : value_parse(in, 0, SIZE_MAX, &f);
    buf_free(&bytes);
    return same;
}

static int grant_all(rapyer *db, const struct wish *wishes, size_t n, const rapyer_value *answers,
                     uint64_t connection, rapyer_doc **locks)
{
    bool failed = false;
    for (size_t i = 0; i < n; i++) {
        rapyer_value *answer = copy(rapyer_item(answers, i));
        if (answer) {
            locks[i] = grant(&wishes[i], answer, connection);
        } else { /* without it there would be nobody to release it */
            db_no_memory(db);
            token_release(db, token_of(rapyer_item(answers, i)), connection);
        }
        failed |= !locks[i];
    }
    for (size_t i = 0; failed && i < n; i++) {
        rapyer_free(locks[i]);
        locks[i] = NULL;
    }
    return failed ? -1 : 0;
}

int rapyer_lock_all(rapyer *db, const rapyer_lock_item *items, size_t n,
                    const rapyer_lock_options *how, rapyer_doc **locks)
{
    struct buf params = BUF_INIT;
    uint64_t connection = 0;
    if (!db)
        return -1;
    how = options_of(how);
    for (size_t i = 0; i < n; i++)
        locks[i] = NULL;
    struct wish *wishes = wishes_new(db, items, n, how->shared, &params);
    if (!wishes) {
        buf_free(&params);
        return -1;
    }
    size_t head = pack_map_open(&params);
    pack_map_close(&params, head, pack_how(how, &params));
    struct terms terms = terms_of(how);
    rapyer_value *answers =
        request_wait_on(db, &terms, "lock.acquire_many", 2, &params, &connection);
    int rc = answers ? grant_all(db, wishes, n, answers, connection, locks) : -1;
    rapyer_value_free(answers);
    wishes_free(wishes, n);
    buf_free(&params);
    return rc;
}

/* ---- release ---- */

/* -1 with an error when it is not a handle to unlock by itself. */
static int check_lock(rapyer_doc *at)
{
    if (!at)
        return -1;
    if (at->lock && !at->pipeline)
        return hold_check_release(at->lock);
    return db_failf(at->home->db, FAULT_BAD_VALUE,
                    at->lock ? "rapyer_unlock takes the handle that rapyer_lock or rapyer_begin "
                               "gave"
                             : "the handle is not under a lock");
}

static rapyer_value *call_with_token(struct hold *h, const char *method, double argument)
{
    struct buf params = BUF_INIT;
    struct terms terms = {.connection = h->connection};
    pack_int(&params, h->token);
    if (argument != 0)
        pack_float(&params, argument);
    rapyer_value *v = request_wait_on(h->db, &terms, method, argument != 0 ? 2 : 1, &params, NULL);
    buf_free(&params);
    return v;
}

int rapyer_unlock(rapyer_doc *at)
{
    struct fault f;
    if (at && at->savepoint.begins)
        return pipeline_commit(at, true);
    if (check_lock(at) < 0)
        return -1;
    struct hold *h = hold_ref(at->lock);
    h->state = HOLD_RELEASING;
    rapyer_value *v = call_with_token(h, "lock.release", 0);
    if (!v)
        db_fault(h->db, &f);
    hold_settle(h, v ? NULL : &f, true);
    hold_unref(h);
    rapyer_value_free(v);
    return v ? 0 : -1;
}

static void land(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                 const struct fault *f)
{
    static const struct fault none;
    (void)how;
    hold_settle(rq->arg, *result ? NULL : f ? f : &none, true);
    if (!*result)
        db_fail(db, f);
    if (rq->cb)
        rq->cb(db, *result, rq->user);
    hold_unref(rq->arg);
}

int rapyer_send_unlock(rapyer_doc *at, rapyer_callback *cb, void *user)
{
    struct buf params = BUF_INIT;
    if (at && at->savepoint.begins)
        return pipeline_send_commit(at, true, cb, user);
    if (check_lock(at) < 0)
        return -1;
    struct hold *h = at->lock;
    struct request *rq = calloc(1, sizeof *rq);
    if (rq)
        *rq = (struct request){
            .done = land, .cb = cb, .user = user, .arg = h, .terms.connection = h->connection};
    pack_int(&params, h->token);
    int rc = request_send(h->db, rq, "lock.release", 1, &params);
    if (rc == 0)
        hold_ref(h)->state = HOLD_RELEASING;
    buf_free(&params);
    return rc;
}

int rapyer_renew(rapyer_doc *at, double ttl)
{
    struct fault f;
    if (!at)
        return -1;
    if (!at->lock)
        return db_failf(at->home->db, FAULT_BAD_VALUE, "the handle is not under a lock");
    if (hold_check(at->lock) < 0)
        return -1;
    struct hold *h = hold_ref(at->lock);
    rapyer_value *v = call_with_token(h, "lock.renew", ttl);
    if (!v) {
        db_fault(h->db, &f);
        hold_failed(h, &f);
    }
    hold_unref(h);
    rapyer_value_free(v);
    return v ? 0 : -1;
}

/* ---- taking without waiting ---- */

static void land_lock(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                      const struct fault *f)
{
    struct wish *w = rq->arg;
    rapyer_doc *lock = NULL;
    (void)how;
    if (*result)
        lock = grant(w, *result, rq->sent_on);
    else
        db_fail(db, f);
    *result = NULL;
    if (w->cb)
        w->cb(db, lock, w->user);
    else
        rapyer_free(lock);
    wish_free(w);
    free(w);
}

int rapyer_send_lock(rapyer_doc *at, const char *action, const rapyer_lock_options *how,
                     rapyer_lock_callback *cb, void *user)
{
    struct buf params = BUF_INIT;
    if (!at)
        return -1;
    rapyer *db = at->home->db;
    struct wish *w = calloc(1, sizeof *w);
    struct request *rq = calloc(1, sizeof *rq);
    int rc = w && rq ? wish_init(w, at, action) : db_no_memory(db);
    if (rc < 0) {
        free(w);
        free(rq);
        return -1;
    }
    w->cb = cb;
    w->user = user;
    *rq = (struct request){.done = land_lock, .arg = w, .terms = terms_of(options_of(how))};
    pack_wish(w, options_of(how), &params);
    rc = request_send(db, rq, "lock.acquire", 3, &params);
    if (rc < 0) {
        wish_free(w);
        free(w);
    }
    buf_free(&params);
    return rc;
}

/* ---- what is known ---- */

static const rapyer_value *answer_of(rapyer_doc *at)
{
    if (at && at->lock)
        return at->lock->answer;
    if (at)
        db_failf(at->home->db, FAULT_BAD_VALUE, "the handle is not under a lock");
    return NULL;
}

const rapyer_value *rapyer_locked(rapyer_doc *at)
{
    const rapyer_value *document = rapyer_get(answer_of(at), "document");
    return rapyer_kind_of(document) == RAPYER_NULL ? NULL : document;
}

int64_t rapyer_lock_version(rapyer_doc *at)
{
    return rapyer_int(answer_of(at), "version", -1);
}

int64_t rapyer_fence(rapyer_doc *at)
{
    return rapyer_int(answer_of(at), "fence", -1);
}
