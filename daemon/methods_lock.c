/* methods_lock: see methods_lock.h. */
#include "daemon/methods_lock.h"
#include "daemon/methods.h"
#include "protocol/place.h"
#include <math.h>
#include <stdlib.h>
#include <utlist.h>

#define ACTION_MAX 200
#define OWNER_MAX 64
#define WANTS_MAX 10000  /* locks of one acquire_many */
#define TOKENS_MAX 10000 /* of one request */

/* One lock of an ask. */
struct want {
    char *text; /* key, path, action; owned */
    struct lock_name name;
    enum lock_mode mode;
    unsigned asked; /* where it stands in the request */
    struct hold *hold;
    unsigned depth; /* of the hold, when it was granted */
};

struct ask {
    struct ask *prev, *next; /* of the client */
    struct desk *desk;
    struct desk_client *client; /* NULL: gone */
    struct session *session;    /* a reference */
    uint64_t id;
    char owner[OWNER_MAX];
    size_t owner_len;
    bool many, document, notify;
    int64_t deadline; /* of all waits together, on lock_now; -1: for ever */
    int64_t ttl;
    struct wait *wait; /* while it waits */
    unsigned n, taken; /* wants; the first `taken` are held */
    struct want *wants;
};

/* A session that has asked for a lock. */
struct desk_client {
    UT_hash_handle hh; /* by number */
    uint64_t number;
    struct session *session;
    struct ask *asks; /* (utlist DL) */
};

struct desk {
    struct exec *exec;
    struct locks *locks;
    struct leases *leases;
    struct desk_client *clients;
};

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

struct desk *desk_new(struct exec *e, struct locks *locks, struct leases *leases)
{
    struct desk *d = must(calloc(1, sizeof(*d)));
    *d = (struct desk){.exec = e, .locks = locks, .leases = leases};
    return d;
}

static struct desk_client *client_of(struct desk *d, struct session *s)
{
    struct desk_client *c;
    uint64_t number = session_number(s);
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    if (c != NULL || !session_open(s))
        return c;
    c = must(calloc(1, sizeof(*c)));
    c->number = number;
    c->session = s;
    HASH_ADD(hh, d->clients, number, sizeof(c->number), c);
    return c;
}

static struct lock_who who_of(struct session *s)
{
    const struct session_peer *peer = session_peer(s);
    struct lock_who who = {.client = session_number(s), .pid = peer->pid, .uid = peer->uid};
    snprintf(who.program, sizeof(who.program), "%s", peer->program);
    return who;
}

/* ---- asks ---- */

static void ask_free(struct ask *a)
{
    if (a->client != NULL)
        DL_DELETE(a->client->asks, a);
    for (unsigned i = 0; i < a->n; i++)
        free(a->wants[i].text);
    free(a->wants);
    session_unref(a->session);
    free(a);
}

/* Gives back what it has taken so far. (When its client is gone that has happened.) */
static void ask_undo(struct ask *a)
{
    for (; a->taken > 0 && a->client != NULL; a->taken--)
        hold_release(a->wants[a->taken - 1].hold);
}

static void ask_fail(struct ask *a, const struct fault *f)
{
    struct fault copy = *f;
    ask_undo(a);
    session_fault(a->session, a->id, &copy);
    ask_free(a);
}

/* ---- READING: what the answer says of the documents ---- */

static int reading_docs(struct call *c, struct fault *f)
{
    const struct ask *a = c->context;
    for (unsigned i = 0; i < a->n; i++) {
        const struct lock_name *name = &a->wants[i].name;
        if (call_doc(c, name->key, name->key_len, f) == NULL)
            return -1;
    }
    return 0;
}

static enum op_status pack_place(struct call *c, struct doc *d, const struct lock_name *name,
                                 struct buf *out)
{
    if (d->state != DOC_PRESENT) {
        pack_nil(out);
        return OP_DONE;
    }
    if (name->path_len == 0)
        return doc_pack(c, d, out);
    struct buf path = BUF_INIT;
    pack_str(&path, name->path, name->path_len);
    struct cursor args = cursor_of(path.data, path.len);
    enum op_status st = run_op(c, d, OP_LOAD, &args, 1, NULL, out);
    buf_free(&path);
    return st;
}

static enum op_status pack_grant(struct call *c, const struct ask *a, const struct want *w,
                                 struct buf *out)
{
    struct doc *d = call_doc(c, w->name.key, w->name.key_len, &c->fault);
    if (d == NULL)
        return OP_REFUSED;
    enum op_status st = call_known(c, d);
    if (st != OP_DONE)
        return st;
    pack_map(out, a->document ? 6 : 5);
    pack_cstr(out, "token");
    pack_uint(out, w->hold->token);
    pack_cstr(out, "fence");
    pack_int(out, w->hold->fence);
    pack_cstr(out, "version");
    pack_int(out, d->state == DOC_PRESENT ? d->version : 0);
    pack_cstr(out, "depth");
    pack_uint(out, w->depth);
    pack_cstr(out, "path");
    pack_str(out, w->name.path, w->name.path_len);
    if (!a->document)
        return OP_DONE;
    pack_cstr(out, "document");
    return pack_place(c, d, &w->name, out);
}

static enum op_status reading_run(struct call *c, struct buf *out)
{
    const struct ask *a = c->context;
    enum op_status all = OP_DONE;
    if (a->client == NULL)
        return fault_set(&c->fault, FAULT_LOCK_LOST, "its client is gone");
    for (unsigned i = 0; i < a->n; i++) {
        if (hold_check(a->wants[i].hold, &c->fault) < 0)
            return OP_REFUSED;
    }
    if (a->many)
        pack_array(out, a->n);
    for (unsigned i = 0; i < a->n; i++) {
        enum op_status st = pack_grant(c, a, &a->wants[i], out);
        if (st == OP_REFUSED || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = OP_NEEDS;
    }
    return all;
}

static void reading_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct ask *a = c->context;
    if (f != NULL) {
        ask_fail(a, f);
        return;
    }
    session_answer(a->session, a->id, out->data, out->len);
    ask_free(a);
}

static const struct method reading = {
    .name = "lock.acquire", .docs = reading_docs, .run = reading_run, .finish = reading_finish};

static int as_asked(const void *left, const void *right)
{
    const struct want *x = left, *y = right;
    return (x->asked > y->asked) - (x->asked < y->asked);
}

static void ask_read(struct ask *a)
{
    if (a->n > 1)
        qsort(a->wants, a->n, sizeof(*a->wants), as_asked);
    for (unsigned i = 0; i < a->n; i++) {
        if (a->wants[i].hold->lock != NULL)
            session_see(a->session, a->wants[i].hold->lock->seen);
    }
    exec_call(a->desk->exec, &reading, a->session, a->id, cursor_of(NULL, 0), 0, a);
}

/* ---- TAKING ---- */

static void take(struct ask *a);

static void has_taken(struct ask *a, struct hold *h)
{
    struct want *w = &a->wants[a->taken++];
    w->hold = h;
    w->depth = h->depth;
    h->notify = h->notify || a->notify;
}

static void on_done(void *arg, struct hold *h, const struct fault *f)
{
    struct ask *a = arg;
    a->wait = NULL;
    if (h == NULL) {
        ask_fail(a, f);
        return;
    }
    has_taken(a, h);
    take(a);
}

static void take(struct ask *a)
{
    struct desk *d = a->desk;
    struct lock_who who = who_of(a->session);
    while (a->taken < a->n) {
        struct want *w = &a->wants[a->taken];
        struct lock_owner *owner = locks_owner(d->locks, &who, a->owner, a->owner_len);
        int64_t wait = a->deadline < 0 ? -1 : a->deadline - lock_now();
        struct hold *h;
        struct fault f;
        if (a->deadline >= 0 && wait < 0)
            wait = 0;
        switch (locks_acquire(d->locks, owner, &w->name, w->mode, wait, a->ttl, on_done, a, &h,
                              &a->wait, &f)) {
        case LOCK_GRANTED: has_taken(a, h); break;
        case LOCK_WAITS: return;
        case LOCK_REFUSED: ask_fail(a, &f); return;
        }
    }
    ask_read(a);
}

/* A fixed order for all who take several locks at once. */
static int by_name(const void *left, const void *right)
{
    const struct want *x = left, *y = right;
    int order = strcmp(x->name.key, y->name.key);
    order = order != 0 ? order : strcmp(x->name.path, y->name.path);
    order = order != 0 ? order : strcmp(x->name.action, y->name.action);
    return order != 0 ? order : (int)y->mode - (int)x->mode;
}

static void ask_take(struct ask *a)
{
    if (a->n > 1)
        qsort(a->wants, a->n, sizeof(*a->wants), by_name);
    take(a);
}

/* ---- PLACING: indexes become pks ---- */

static int placing_docs(struct call *c, struct fault *f)
{
    const struct ask *a = c->context;
    for (unsigned i = 0; i < a->n; i++) {
        const struct lock_name *name = &a->wants[i].name;
        if (name->path_len > 0 && call_doc(c, name->key, name->key_len, f) == NULL)
            return -1;
    }
    return 0;
}

static void set_name(struct want *w, const void *key, size_t key_len, const void *path,
                     size_t path_len, const void *action, size_t action_len)
{
    char *text = must(malloc(key_len + path_len + action_len + 3));
    char *at = text;
    w->name =
        (struct lock_name){.key_len = key_len, .path_len = path_len, .action_len = action_len};
    w->name.key = at;
    at = (char *)mempcpy(at, key, key_len);
    *at++ = '\0';
    w->name.path = at;
    at = (char *)mempcpy(at, path, path_len);
    *at++ = '\0';
    w->name.action = at;
    at = (char *)mempcpy(at, action, action_len);
    *at = '\0';
    free(w->text);
    w->text = text;
}

static enum op_status find_place(struct call *c, struct want *w)
{
    struct doc *d = call_doc(c, w->name.key, w->name.key_len, &c->fault);
    enum op_status st = d != NULL ? call_present(c, d) : OP_REFUSED;
    if (st != OP_DONE)
        return st;
    struct place p;
    struct buf canonical = BUF_INIT;
    struct needs needs = call_needs(c, d);
    st = place_find(&p, d->root, w->name.path, w->name.path_len, &needs, &canonical, &c->fault);
    if (st == OP_DONE)
        set_name(w, w->name.key, w->name.key_len, canonical.data, canonical.len, w->name.action,
                 w->name.action_len);
    buf_free(&canonical);
    return st;
}

static enum op_status placing_run(struct call *c, struct buf *out)
{
    struct ask *a = c->context;
    enum op_status all = OP_DONE;
    (void)out;
    for (unsigned i = 0; i < a->n; i++) {
        if (a->wants[i].name.path_len == 0)
            continue;
        enum op_status st = find_place(c, &a->wants[i]);
        if (st == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = OP_NEEDS;
    }
    return all;
}

static void placing_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct ask *a = c->context;
    (void)out;
    if (a->client == NULL)
        ask_free(a);
    else if (f != NULL)
        ask_fail(a, f);
    else
        ask_take(a);
}

static const struct method placing = {
    .name = "lock.acquire", .docs = placing_docs, .run = placing_run, .finish = placing_finish};

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

static int read_ttl(const struct desk *d, struct cursor *in, int64_t *ms, struct fault *f)
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
    for (size_t i = 0; i < *len; i++) {
        if ((unsigned char)(*s)[i] < 0x20 || (*s)[i] == 0x7f)
            return fault_set(f, FAULT_BAD_VALUE, "%s has a control character at byte %zu", what, i);
    }
    return 0;
}

/* What there is of options: those of a lock, those of the whole ask. */
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

static int read_wait(struct ask *a, struct cursor *in, struct fault *f)
{
    int64_t ms;
    if (cursor_nil(in)) {
        a->deadline = -1;
        return 0;
    }
    if (read_seconds(in, "wait", 0, 1e9, &ms, f) < 0)
        return -1;
    a->deadline = lock_now() + ms;
    return 0;
}

static int read_owner(struct ask *a, struct cursor *in, struct fault *f)
{
    const char *s;
    if (read_text(in, "owner", OWNER_MAX, &s, &a->owner_len, f) < 0)
        return -1;
    memcpy(a->owner, s, a->owner_len);
    return 0;
}

static int read_option(struct ask *a, struct options *o, unsigned kinds, const char *name,
                       size_t len, struct cursor *in, struct fault *f)
{
    if ((kinds & OPTIONS_LOCK) && is(name, len, "path"))
        return read_text(in, "path", PLACE_NAME_MAX, &o->path, &o->path_len, f);
    if ((kinds & OPTIONS_LOCK) && is(name, len, "mode"))
        return read_mode(in, &o->mode, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "ttl"))
        return read_ttl(a->desk, in, &a->ttl, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "wait"))
        return read_wait(a, in, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "owner"))
        return read_owner(a, in, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "document"))
        return read_flag(in, "document", &a->document, f);
    if ((kinds & OPTIONS_ASK) && is(name, len, "notify"))
        return read_flag(in, "notify", &a->notify, f);
    return fault_set(f, FAULT_BAD_REQUEST, "there is no option '%.*s' here; there is %s%s%s",
                     (int)(len > 100 ? 100 : len), name, kinds & OPTIONS_LOCK ? "path, mode" : "",
                     kinds == (OPTIONS_LOCK | OPTIONS_ASK) ? ", " : "",
                     kinds & OPTIONS_ASK ? "ttl, wait, owner, document, notify" : "");
}

static int read_options(struct ask *a, struct options *o, unsigned kinds, struct cursor *in,
                        struct fault *f)
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
            read_option(a, o, kinds, name, len, in, f) < 0)
            return -1;
    }
    return 0;
}

/* key, action, options? */
static int read_want(struct ask *a, struct cursor *in, uint32_t n, unsigned kinds, struct fault *f)
{
    const char *key, *action;
    size_t key_len, action_len;
    struct options o = {.path = "", .mode = LOCK_EXCLUSIVE};
    if (n < 2 || n > 3)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "a lock should be [key, action, {path?, mode?}?], as in [\"User:42\", "
                         "\"transfer\"]");
    if (params_str(in, "the key", &key, &key_len, f) < 0 ||
        exec_check_key(a->desk->exec, key, key_len, f) < 0 ||
        read_text(in, "the action", ACTION_MAX, &action, &action_len, f) < 0)
        return -1;
    if (action_len == 0)
        return fault_set(f, FAULT_BAD_VALUE, "the action is empty; it names what the lock is for");
    if (n == 3 && read_options(a, &o, kinds, in, f) < 0)
        return -1;
    struct want *w = &a->wants[a->n];
    w->mode = o.mode;
    w->asked = a->n++;
    set_name(w, key, key_len, o.path, o.path_len, action, action_len);
    return 0;
}

static struct ask *ask_new(struct desk *d, struct session *s, const struct rpc *msg, unsigned wants)
{
    struct ask *a = must(calloc(1, sizeof(*a)));
    a->desk = d;
    a->session = session_ref(s);
    a->id = msg->id;
    a->deadline = -1;
    a->ttl = exec_config(d->exec)->lock_ttl;
    a->wants = must(calloc(wants, sizeof(*a->wants)));
    a->client = client_of(d, s);
    if (a->client != NULL)
        DL_APPEND(a->client->asks, a);
    return a;
}

static void ask_begin(struct ask *a)
{
    bool places = false;
    for (unsigned i = 0; i < a->n; i++)
        places = places || a->wants[i].name.path_len > 0;
    if (places)
        exec_call(a->desk->exec, &placing, a->session, a->id, cursor_of(NULL, 0), 0, a);
    else
        ask_take(a);
}

void desk_acquire(struct desk *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    struct ask *a = ask_new(d, s, msg, 1);
    struct cursor in = msg->params;
    if (read_want(a, &in, msg->nparams, OPTIONS_LOCK | OPTIONS_ASK, &f) < 0)
        ask_fail(a, &f);
    else
        ask_begin(a);
}

static int read_wants(struct ask *a, struct cursor *in, uint32_t n, struct fault *f)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t m;
        if (cursor_array(in, &m) < 0)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "lock %u should be [key, action, {path?, mode?}?]", i);
        if (read_want(a, in, m, OPTIONS_LOCK, f) < 0) {
            struct fault why = *f;
            return fault_set(f, why.code, "lock %u: %s", i, why.text);
        }
    }
    return 0;
}

void desk_acquire_many(struct desk *d, struct session *s, const struct rpc *msg)
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
    struct ask *a = ask_new(d, s, msg, n);
    a->many = true;
    if (read_wants(a, &in, n, &f) < 0 ||
        (msg->nparams == 2 && read_options(a, NULL, OPTIONS_ASK, &in, &f) < 0))
        ask_fail(a, &f);
    else
        ask_begin(a);
}

/* ---- tokens ---- */

/* The hold of a token, or NULL and LOCK_LOST. */
static struct hold *find_hold(struct desk *d, uint64_t client, int64_t token, struct fault *f)
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
    struct desk *d = exec_desk(c->exec);
    struct hold *h = find_hold(d, session_number(c->session), token, f);
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
    *tokens = must(calloc(*n + 1, sizeof(**tokens)));
    for (uint32_t i = 0; i < *n; i++) {
        if (cursor_int(in, &(*tokens)[i]) < 0)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "a token should be the int that lock.acquire gave, or a list of such");
    }
    return 0;
}

int desk_read_tokens(struct call *c, struct cursor *in, struct fault *f)
{
    uint32_t n;
    int64_t *tokens;
    int rc = read_tokens(in, &tokens, &n, f);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = add_token(c, tokens[i], f);
    free(tokens);
    return rc;
}

int desk_check(struct call *c, struct fault *f)
{
    for (unsigned i = 0; c->guard != NULL && i < c->guard->n; i++) {
        const struct guard_check *check = &c->guard->checks[i];
        if (check->kind == GUARD_LEASE && find_hold(exec_desk(c->exec), session_number(c->session),
                                                    (int64_t)check->token, f) == NULL)
            return -1;
    }
    return 0;
}

/* ---- release ---- */

/* Tokens that are of no use any more: their client has been told, or is about to be. */
static void forget_lost(struct call *c)
{
    struct locks *locks = exec_desk(c->exec)->locks;
    struct cursor in = c->params;
    uint32_t n;
    int64_t *tokens;
    struct fault ignored;
    uint64_t client = session_number(c->session);
    if (read_tokens(&in, &tokens, &n, &ignored) < 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct hold *h = locks_hold(locks, client, (uint64_t)tokens[i]);
        if (h != NULL && h->lost)
            hold_release(h);
    }
    free(tokens);
}

static int release_docs(struct call *c, struct fault *f)
{
    struct cursor in = c->params;
    c->guard = guard_new();
    if (desk_read_tokens(c, &in, f) < 0) {
        forget_lost(c);
        return -1;
    }
    return pipeline_admit(c, in, c->nparams == 3, false, f);
}

static enum op_status release_run(struct call *c, struct buf *out)
{
    struct cursor in = c->params;
    cursor_skip(&in);
    return pipeline_perform(c, in, out);
}

/* Lost ones are forgotten. They are looked up one by one: each may let others run, who may close
 * this very session. */
static void let_go(struct desk *d, uint64_t client, uint64_t token)
{
    struct hold *h = locks_hold(d->locks, client, token);
    if (h != NULL)
        hold_release(h);
}

/* The answer first: what it is made of may be gone once others run. */
static void release_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct desk *d = exec_desk(c->exec);
    uint64_t client = session_number(c->session);
    struct hold *h;
    if (f != NULL)
        session_fault(c->session, c->id, f);
    else
        session_answer(c->session, c->id, out->data, out->len);
    for (unsigned i = 0; c->guard != NULL && i < c->guard->n; i++) {
        const struct guard_check *check = &c->guard->checks[i];
        if (check->kind == GUARD_LEASE &&
            (h = locks_hold(d->locks, client, check->token)) != NULL && (f == NULL || h->lost))
            hold_release(h);
    }
}

static const struct method releasing = {
    .name = "lock.release", .docs = release_docs, .run = release_run, .finish = release_finish};

/* Whether there are operations, so that it is not done at once. */
static bool has_ops(const struct rpc *msg)
{
    struct cursor in = msg->params;
    uint32_t n = 0;
    cursor_skip(&in);
    return msg->nparams == 3 || (msg->nparams == 2 && (cursor_array(&in, &n) < 0 || n > 0));
}

/* Without operations. Those that are held are released, though one be lost. */
static int release_now(struct desk *d, struct session *s, const struct rpc *msg, struct fault *f)
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

void desk_release(struct desk *d, struct session *s, const struct rpc *msg)
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

void desk_renew(struct desk *d, struct session *s, const struct rpc *msg)
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

void desk_break(struct desk *d, struct session *s, const struct rpc *msg)
{
    struct fault f, why;
    struct cursor in = msg->params;
    struct ask *a = ask_new(d, s, msg, 1);
    if (read_want(a, &in, msg->nparams, OPTIONS_LOCK, &f) < 0) {
        ask_fail(a, &f);
        return;
    }
    struct breaking *b = must(calloc(1, sizeof(*b)));
    struct lock *l = locks_find(d->locks, &a->wants[0].name);
    const struct session_peer *peer = session_peer(s);
    *b = (struct breaking){.session = session_ref(s), .id = msg->id};
    session_defer(s);
    fault_set(&why, FAULT_LOCK_LOST, "it was broken by pid %ld (%s), uid %ld", (long)peer->pid,
              peer->program, (long)peer->uid);
    if (l != NULL)
        b->here = lock_break(l, &why);
    leases_break(d->leases, &a->wants[0].name, on_broken, b);
    ask_free(a);
}

/* ---- admin.locks ---- */

static void put_who(struct buf *out, const struct lock_owner *o)
{
    const struct lock_who *who = lock_who(o);
    pack_cstr(out, "client");
    pack_uint(out, who->client);
    pack_cstr(out, "pid");
    pack_int(out, who->pid);
    pack_cstr(out, "uid");
    pack_uint(out, who->uid);
    pack_cstr(out, "program");
    pack_cstr(out, who->program);
    pack_cstr(out, "owner");
    pack_str(out, o->name, o->name_len);
}

static const char *mode_name(unsigned mode)
{
    static const char *const names[] = {"none", "shared", "exclusive"};
    return names[mode];
}

static void put_seconds(struct buf *out, const char *name, int64_t ms)
{
    pack_cstr(out, name);
    pack_float(out, (double)ms / 1000);
}

static void put_lock(struct buf *out, const struct lock *l, int64_t now)
{
    const char *elsewhere = lease_elsewhere(l);
    pack_map(out, 9);
    pack_cstr(out, "key");
    pack_str(out, lock_key(l), l->key_len);
    pack_cstr(out, "path");
    pack_str(out, lock_path(l), l->path_len);
    pack_cstr(out, "action");
    pack_str(out, lock_action(l), l->action_len);
    pack_cstr(out, "lease");
    pack_cstr(out, mode_name(l->covers));
    put_seconds(out, "lease_left", l->covers != LOCK_NONE ? lease_left(l) : 0);
    pack_cstr(out, "wanted");
    pack_bool(out, l->wanted);
    pack_cstr(out, "elsewhere");
    if (*elsewhere != '\0')
        pack_cstr(out, elsewhere);
    else
        pack_nil(out);
    pack_cstr(out, "holders");
    pack_array(out, l->nholds);
    for (const struct hold *h = l->holds; h != NULL; h = h->next) {
        pack_map(out, 10);
        put_who(out, h->owner);
        pack_cstr(out, "mode");
        pack_cstr(out, mode_name(h->mode));
        pack_cstr(out, "depth");
        pack_uint(out, h->depth);
        pack_cstr(out, "fence");
        pack_int(out, h->fence);
        put_seconds(out, "age", now - h->since);
        put_seconds(out, "ttl_left", h->deadline - now);
    }
    pack_cstr(out, "waiters");
    pack_array(out, l->nwaits);
    for (const struct wait *w = l->waits; w != NULL; w = w->next) {
        pack_map(out, 7);
        put_who(out, w->owner);
        pack_cstr(out, "mode");
        pack_cstr(out, mode_name(w->mode));
        put_seconds(out, "age", now - w->since);
    }
}

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

void desk_list(struct desk *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    const char *key;
    size_t len = 0;
    if (read_filter(msg, &key, &len, &f) < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    struct buf *out = session_result(s, msg->id);
    uint32_t n = 0;
    int64_t now = lock_now();
    size_t at = pack_array_open(out);
    for (struct lock *l = locks_first(d->locks); l != NULL; l = l->hh.next) {
        if (key != NULL && !is(key, len, lock_key(l)))
            continue;
        put_lock(out, l, now);
        n++;
    }
    pack_array_close(out, at, n);
    session_done(s);
}

/* ---- clients ---- */

void desk_lost(struct desk *d, struct hold *h)
{
    struct desk_client *c;
    uint64_t number = lock_who(h->owner)->client;
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    if (c == NULL || !h->notify)
        return;
    struct buf params = BUF_INIT;
    pack_array(&params, 5);
    pack_uint(&params, h->token);
    pack_str(&params, h->name.key, h->name.key_len);
    pack_str(&params, h->name.path, h->name.path_len);
    pack_str(&params, h->name.action, h->name.action_len);
    pack_cstr(&params, h->why.text);
    session_notify(c->session, "lock.lost", params.data, params.len);
    buf_free(&params);
}

void desk_client_gone(struct desk *d, struct session *s)
{
    struct desk_client *c;
    struct ask *a, *next;
    uint64_t number = session_number(s);
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    if (c == NULL)
        return;
    HASH_DELETE(hh, d->clients, c);
    DL_FOREACH_SAFE (c->asks, a, next) {
        DL_DELETE(c->asks, a);
        a->client = NULL;
        if (a->wait != NULL)
            ask_free(a); /* the wait itself goes below */
    }
    free(c);
    locks_client_gone(d->locks, number);
}

void desk_free(struct desk *d)
{
    struct desk_client *c, *next;
    HASH_ITER (hh, d->clients, c, next) {
        HASH_DELETE(hh, d->clients, c);
        free(c);
    }
    free(d);
}
