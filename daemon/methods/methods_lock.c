/* methods_lock: see methods_lock.h. */
#include "daemon/methods/methods_lock.h"
#include "daemon/base/clock.h"
#include "daemon/methods/admin.h"
#include "daemon/methods/lock_request.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/refresh.h"
#include "protocol/alloc.h"
#include "protocol/place.h"
#include <math.h>
#include <stdlib.h>

#define ACTION_MAX 200
#define WANTS_MAX 10000  /* locks of one acquire_many */
#define TOKENS_MAX 10000 /* of one request */

/* ---- what a request says ---- */

/* Seconds on the wire, milliseconds here. */
static int read_seconds(struct cursor *in, const char *what, double lo, double hi, int64_t *ms,
                        struct fault *f)
{
    double s;
    if (cursor_number(in, &s) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "%s should be a number of seconds", what);
    if (!(s >= lo && s <= hi))
        return fault_set(f, FAULT_OUT_OF_RANGE, "%s should be from %g to %g seconds", what, lo, hi);
    *ms = (int64_t)ceil(s * 1000);
    return 0;
}

static int read_ttl(const struct lock_requests *d, struct cursor *in, int64_t *ms, struct fault *f)
{
    return read_seconds(in, "ttl", 0.01, exec_config(d->exec)->lock_max_ttl / 1000.0, ms, f);
}

static int read_text(struct cursor *in, const char *what, size_t most, const char **s, size_t *len,
                     struct fault *f)
{
    if (params_str(in, what, s, len, f) < 0)
        return -1;
    if (*len > most)
        return fault_set(f, FAULT_BAD_VALUE, "%s may have %zu bytes, and has %zu", what, most,
                         *len);
    if (!utf8_valid(*s, *len))
        return fault_set(f, FAULT_BAD_VALUE, "%s is not UTF-8", what);
    for (size_t i = 0; i < *len; i++) {
        if ((unsigned char)(*s)[i] < 0x20 || (*s)[i] == 0x7f)
            return fault_set(f, FAULT_BAD_VALUE, "%s has a control character at byte %zu", what, i);
    }
    return 0;
}

/* What there is of options: those of a lock, those of the whole request. */
enum { OPTIONS_LOCK = 1, OPTIONS_ASK = 2 };

struct options {
    const char *path;
    size_t path_len;
    enum lock_mode mode;
};

static int read_mode(struct cursor *in, enum lock_mode *mode, struct fault *f)
{
    const char *s;
    size_t len;
    if (params_str(in, "mode", &s, &len, f) < 0)
        return -1;
    if (len == 6 && memcmp(s, "shared", 6) == 0)
        *mode = LOCK_SHARED;
    else if (len == 9 && memcmp(s, "exclusive", 9) == 0)
        *mode = LOCK_EXCLUSIVE;
    else
        return fault_set(f, FAULT_BAD_VALUE, "mode should be \"exclusive\" or \"shared\"");
    return 0;
}

static bool is(const char *s, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(s, word, len) == 0;
}

static int read_flag(struct cursor *in, const char *what, bool *flag, struct fault *f)
{
    if (cursor_bool(in, flag) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "%s should be true or false", what);
    return 0;
}

static int read_wait(struct lock_request *r, struct cursor *in, struct fault *f)
{
    int64_t ms = 0;
    if (cursor_nil(in)) {
        r->deadline = -1;
        return 0;
    }
    if (read_seconds(in, "wait", 0, 1e9, &ms, f) < 0)
        return -1;
    r->deadline = clock_boot_ms() + ms;
    return 0;
}

static int read_owner(struct lock_request *r, struct cursor *in, struct fault *f)
{
    const char *s;
    if (read_text(in, "owner", OWNER_MAX, &s, &r->owner_len, f) < 0)
        return -1;
    memcpy(r->owner, s, r->owner_len);
    return 0;
}

static int read_option(struct lock_request *r, struct options *o, unsigned kinds, const char *name,
                       size_t len, struct cursor *in, struct fault *f)
{
    if ((kinds & OPTIONS_LOCK) && is(name, len, "path"))
        return read_text(in, "path", PLACE_NAME_MAX, &o->path, &o->path_len, f);
    if ((kinds & OPTIONS_LOCK) && is(name, len, "mode"))
        return read_mode(in, &o->mode, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "ttl"))
        return read_ttl(r->all, in, &r->ttl, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "wait"))
        return read_wait(r, in, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "owner"))
        return read_owner(r, in, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "document"))
        return read_flag(in, "document", &r->document, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "notify"))
        return read_flag(in, "notify", &r->notify, f);
    return fault_set(f, FAULT_BAD_REQUEST, "there is no option '%.*s' here; there is %s%s%s",
                     (int)(len > 100 ? 100 : len), name, kinds & OPTIONS_LOCK ? "path, mode" : "",
                     kinds == (OPTIONS_LOCK | OPTIONS_ASK) ? ", " : "",
                     kinds & OPTIONS_ASK ? "ttl, wait, owner, document, notify" : "");
}

static int read_options(struct lock_request *r, struct options *o, unsigned kinds,
                        struct cursor *in, struct fault *f)
{
    uint32_t n;
    if (cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the options should be a map, as in {\"wait\": 5}");
    for (; n > 0; n--) {
        const char *name;
        size_t len;
        if (params_str(in, "an option's name", &name, &len, f) < 0 ||
            read_option(r, o, kinds, name, len, in, f) < 0)
            return -1;
    }
    return 0;
}

/* key, action, options? */
static int read_want(struct lock_request *r, struct cursor *in, uint32_t n, unsigned kinds,
                     unsigned right, struct fault *f)
{
    const char *key, *action;
    size_t key_len, action_len;
    const char *method = right == RIGHT_LOCK ? "lock.acquire" : "lock.break";
    struct options o = {.path = "", .mode = LOCK_EXCLUSIVE};
    if (n < 2 || n > 3)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "a lock should be [key, action, {path?, mode?}?], as in [\"User:42\", "
                         "\"transfer\"]");
    if (params_str(in, "the key", &key, &key_len, f) < 0 ||
        exec_check_key(r->all->exec, key, key_len, f) < 0 ||
        exec_check_right(r->all->exec, r->session, method, key, key_len, right, f) < 0 ||
        read_text(in, "the action", ACTION_MAX, &action, &action_len, f) < 0)
        return -1;
    if (action_len == 0)
        return fault_set(f, FAULT_BAD_VALUE, "the action is empty; it names what the lock is for");
    if (n == 3 && read_options(r, &o, kinds, in, f) < 0)
        return -1;
    struct want *w = &r->wants[r->n];
    w->mode = o.mode;
    w->asked = r->n++;
    want_name(w, key, key_len, o.path, o.path_len, action, action_len);
    return 0;
}

void lock_method_acquire(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    struct lock_request *r = lock_request_new(d, s, msg->id, 1);
    struct cursor in = msg->params;
    if (read_want(r, &in, msg->nparams, OPTIONS_LOCK | OPTIONS_ASK, RIGHT_LOCK, &f) < 0)
        lock_request_fail(r, &f);
    else
        lock_request_begin(r);
}

static int read_wants(struct lock_request *r, struct cursor *in, uint32_t n, struct fault *f)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t m;
        if (cursor_array(in, &m) < 0)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "lock %u should be [key, action, {path?, mode?}?]", i);
        if (read_want(r, in, m, OPTIONS_LOCK, RIGHT_LOCK, f) < 0) {
            struct fault why = *f;
            return fault_set(f, why.code, "lock %u: %s", i, why.text);
        }
    }
    return 0;
}

void lock_method_acquire_many(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    struct cursor in = msg->params;
    uint32_t n = 0;
    if (msg->nparams < 1 || msg->nparams > 2 || cursor_array(&in, &n) < 0 || n == 0) {
        fault_set(&f, FAULT_BAD_REQUEST,
                  "lock.acquire_many takes [[[key, action, {path?, mode?}?], ...], {ttl?, wait?, "
                  "owner?, document?, notify?}?], with at least one lock");
        session_fault(s, msg->id, &f);
        return;
    }
    if (n > WANTS_MAX) {
        fault_set(&f, FAULT_TOO_LARGE, "one request may take %d locks", WANTS_MAX);
        session_fault(s, msg->id, &f);
        return;
    }
    struct lock_request *r = lock_request_new(d, s, msg->id, n);
    r->many = true;
    if (read_wants(r, &in, n, &f) < 0 ||
        (msg->nparams == 2 && read_options(r, NULL, OPTIONS_ASK, &in, &f) < 0))
        lock_request_fail(r, &f);
    else
        lock_request_begin(r);
}

/* ---- tokens ---- */

/* The hold of a token, or NULL and LOCK_LOST. */
static struct hold *find_hold(struct lock_requests *d, uint64_t client, int64_t token,
                              struct fault *f)
{
    struct hold *h = locks_hold(d->locks, client, (uint64_t)token);
    if (h == NULL) {
        fault_set(f, FAULT_LOCK_LOST,
                  "this connection has no lock with the token %lld (any more); tokens are good on "
                  "the connection that acquired them",
                  (long long)token);
        return NULL;
    }
    if (hold_check(h, f) == 0)
        return h;
    return NULL;
}

static int add_token(struct call *c, int64_t token, struct fault *f)
{
    struct lock_requests *d = exec_lock_requests(c->exec);
    struct hold *h = find_hold(d, session_number(c->request.session), token, f);
    if (h == NULL)
        return -1;
    struct buf key = BUF_INIT;
    lease_redis_key(d->leases, h->lock, &key);
    struct guard_check check = {.kind = GUARD_LEASE,
                                .key = (char *)key.data,
                                .key_len = key.len,
                                .number = lease_fence(h->lock),
                                .token = h->token,
                                .lock = h->lock};
    guard_add(c->guard, &check);
    buf_free(&key);
    return 0;
}

/* A token, or a list of some; *tokens is malloced. */
static int read_tokens(struct cursor *in, int64_t **tokens, uint32_t *n, struct fault *f)
{
    *n = 1;
    *tokens = NULL;
    if (cursor_array(in, n) == 0 && *n > TOKENS_MAX)
        return fault_set(f, FAULT_TOO_LARGE, "one request may name %d locks", TOKENS_MAX);
    if (*n == 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the list of tokens is empty: no lock is named");
    *tokens = alloc_zeroed(*n, sizeof(**tokens));
    for (uint32_t i = 0; i < *n; i++) {
        if (cursor_int(in, &(*tokens)[i]) < 0)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "a token should be the int that lock.acquire gave, or a list of such");
    }
    return 0;
}

int lock_tokens_read(struct call *c, struct cursor *in, struct fault *f)
{
    uint32_t n;
    int64_t *tokens;
    int rc = read_tokens(in, &tokens, &n, f);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = add_token(c, tokens[i], f);
    free(tokens);
    return rc;
}

int lock_tokens_check(struct call *c, struct fault *f)
{
    for (unsigned i = 0; c->guard != NULL && i < c->guard->n; i++) {
        const struct guard_check *check = &c->guard->checks[i];
        if (check->kind == GUARD_LEASE &&
            find_hold(exec_lock_requests(c->exec), session_number(c->request.session),
                      (int64_t)check->token, f) == NULL)
            return -1;
    }
    return 0;
}

/* ---- cancel ---- */

void lock_method_cancel(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    struct item it;
    struct fault f;
    if (msg->nparams != 1 || cursor_next(&in, &it) < 0 ||
        (it.kind != ITEM_UINT && (it.kind != ITEM_INT || it.integer < 0))) {
        fault_set(&f, FAULT_BAD_REQUEST,
                  "lock.cancel takes [id], the id of a lock.acquire or lock.acquire_many of this "
                  "connection that was not answered yet");
        session_fault(s, msg->id, &f);
        return;
    }
    uint64_t id = it.kind == ITEM_UINT ? it.uinteger : (uint64_t)it.integer;
    session_ref(s); /* others who are granted by it may write to it, and find it closed */
    bool was = lock_request_cancel(d, s, id);
    pack_bool(session_result(s, msg->id), was);
    session_done(s);
    session_unref(s);
}

/* ---- release ---- */

/* Tokens that are of no use any more: their client has been told, or is about to be. */
static void forget_lost(struct call *c)
{
    struct locks *locks = exec_lock_requests(c->exec)->locks;
    struct cursor in = c->request.params;
    uint32_t n;
    int64_t *tokens;
    struct fault ignored;
    uint64_t client = session_number(c->request.session);
    if (read_tokens(&in, &tokens, &n, &ignored) < 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct hold *h = locks_hold(locks, client, (uint64_t)tokens[i]);
        if (h != NULL && hold_lost(h))
            hold_release(h);
    }
    free(tokens);
}

static int release_docs(struct call *c, struct fault *f)
{
    struct cursor in = c->request.params;
    c->guard = guard_new();
    if (lock_tokens_read(c, &in, f) < 0) {
        forget_lost(c);
        return -1;
    }
    return pipeline_admit(c, in, c->request.nparams == 3, false, f);
}

/* Lost ones are forgotten. They are looked up one by one: each may let others run, who may close
 * this very session. */
static void let_go(struct lock_requests *d, uint64_t client, uint64_t token)
{
    struct hold *h = locks_hold(d->locks, client, token);
    if (h != NULL)
        hold_release(h);
}

/* The answer first: what it is made of may be gone once others run. */
static void release_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct lock_requests *d = exec_lock_requests(c->exec);
    uint64_t client = session_number(c->request.session);
    struct hold *h;
    bool applied = f == NULL || f->code == FAULT_NOT_DURABLE;
    if (f != NULL)
        session_fault(c->request.session, c->request.id, f);
    else if (!refresh_answers(c, out))
        session_answer(c->request.session, c->request.id, out->data, out->len);
    for (unsigned i = 0; c->guard != NULL && i < c->guard->n; i++) {
        const struct guard_check *check = &c->guard->checks[i];
        if (check->kind == GUARD_LEASE &&
            (h = locks_hold(d->locks, client, check->token)) != NULL && (applied || hold_lost(h)))
            hold_release(h);
    }
}

static const struct method releasing = {.name = "lock.release",
                                        .docs = release_docs,
                                        .run = pipeline_perform,
                                        .finish = release_finish};

/* Whether there are operations, so that it is not done at once. */
static bool has_ops(const struct rpc *msg)
{
    struct cursor in = msg->params;
    uint32_t n = 0;
    cursor_skip(&in);
    return msg->nparams == 3 || (msg->nparams == 2 && (cursor_array(&in, &n) < 0 || n > 0));
}

/* Without operations. Those that are held are released, though one be lost. */
static int release_now(struct lock_requests *d, struct session *s, const struct rpc *msg,
                       struct fault *f)
{
    struct cursor in = msg->params;
    uint64_t client = session_number(s);
    uint32_t n;
    int64_t *tokens;
    struct fault why;
    int rc = read_tokens(&in, &tokens, &n, f);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        if (find_hold(d, client, tokens[i], &why) == NULL) {
            *f = why;
            rc = -2;
        }
    }
    for (uint32_t i = 0; i < n && rc != -1; i++)
        let_go(d, client, (uint64_t)tokens[i]);
    free(tokens);
    return rc;
}

void lock_method_release(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    session_ref(s);
    if (msg->nparams < 1 || msg->nparams > 3) {
        fault_set(&f, FAULT_BAD_REQUEST,
                  "lock.release takes [token, [[method, key, ...], ...]?, {if_version?}?]");
        session_fault(s, msg->id, &f);
    } else if (has_ops(msg)) {
        exec_call(d->exec, &releasing, s, msg->id, msg->params, msg->nparams, NULL);
    } else if (release_now(d, s, msg, &f) < 0) {
        session_fault(s, msg->id, &f);
    } else {
        pack_array(session_result(s, msg->id), 0);
        session_done(s);
    }
    session_unref(s);
}

/* ---- renew, break ---- */

void lock_method_renew(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    struct cursor in = msg->params;
    int64_t token, ttl;
    struct hold *h = NULL;
    if (msg->nparams < 1 || msg->nparams > 2) {
        fault_set(&f, FAULT_BAD_REQUEST, "lock.renew takes [token, ttl?]");
    } else if (cursor_int(&in, &token) < 0) {
        fault_set(&f, FAULT_BAD_REQUEST, "a token should be the int that lock.acquire gave");
    } else if ((h = find_hold(d, session_number(s), token, &f)) != NULL) {
        ttl = h->ttl;
        if (msg->nparams == 2 && !cursor_nil(&in) && read_ttl(d, &in, &ttl, &f) < 0)
            h = NULL;
    }
    if (h == NULL) {
        session_fault(s, msg->id, &f);
        return;
    }
    hold_renew(h, ttl);
    pack_float(session_result(s, msg->id), (double)ttl / 1000);
    session_done(s);
}

struct breaking {
    struct session *session;
    uint64_t id;
    unsigned here;
};

static void on_broken(void *arg, int64_t daemons, const struct fault *f)
{
    struct breaking *b = arg;
    if (f != NULL && b->here == 0) {
        session_fault(b->session, b->id, f);
    } else {
        pack_int(session_result(b->session, b->id), (int64_t)b->here + (f == NULL ? daemons : 0));
        session_done(b->session);
    }
    session_settle(b->session);
    session_unref(b->session);
    free(b);
}

void lock_method_break(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct fault f, why;
    struct cursor in = msg->params;
    struct lock_request *r = lock_request_new(d, s, msg->id, 1);
    if (read_want(r, &in, msg->nparams, OPTIONS_LOCK, RIGHT_BREAK, &f) < 0) {
        lock_request_fail(r, &f);
        return;
    }
    struct breaking *b = alloc_zeroed(1, sizeof(*b));
    struct lock *l = locks_find(d->locks, &r->wants[0].name);
    const struct session_peer *peer = session_peer(s);
    *b = (struct breaking){.session = session_ref(s), .id = msg->id};
    session_defer(s);
    fault_set(&why, FAULT_LOCK_LOST, "it was broken by pid %ld (%s), uid %ld", (long)peer->pid,
              peer->program, (long)peer->uid);
    if (l != NULL)
        b->here = lock_break(l, &why);
    leases_break(d->leases, &r->wants[0].name, on_broken, b);
    lock_request_free(r);
}

/* ---- admin.locks ---- */

/* [{key?}?] */
static int read_filter(const struct rpc *msg, const char **key, size_t *len, struct fault *f)
{
    struct cursor in = msg->params;
    uint32_t n = 0;
    const char *name;
    size_t name_len;
    *key = NULL;
    if (msg->nparams == 0 || cursor_nil(&in))
        return 0;
    if (msg->nparams > 1 || cursor_map(&in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "admin.locks takes [{key?}?]");
    for (; n > 0; n--) {
        if (params_str(&in, "an option's name", &name, &name_len, f) < 0)
            return -1;
        if (!is(name, name_len, "key"))
            return fault_set(f, FAULT_BAD_REQUEST, "there is no option '%.*s'; there is key",
                             (int)(name_len > 100 ? 100 : name_len), name);
        if (params_str(&in, "the key", key, len, f) < 0)
            return -1;
    }
    return 0;
}

void lock_method_list(struct lock_requests *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    const char *key;
    size_t len = 0;
    if (read_filter(msg, &key, &len, &f) < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    admin_locks(d->locks, key, len, session_result(s, msg->id));
    session_done(s);
}
