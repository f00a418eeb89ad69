/* lock_request: see lock_request.h. */
#include "daemon/methods/lock_request.h"
#include "daemon/base/clock.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include "protocol/place.h"
#include <stdlib.h>
#include <utlist.h>

/* A session that has asked for a lock. */
struct lock_request_client {
    UT_hash_handle hh; /* by number */
    uint64_t number;
    struct session *session;
    struct lock_request *requests; /* (utlist DL) */
};

struct lock_requests *lock_requests_new(struct exec *e, struct locks *locks, struct leases *leases)
{
    struct lock_requests *d = alloc_zeroed(1, sizeof(*d));
    *d = (struct lock_requests){.exec = e, .locks = locks, .leases = leases};
    return d;
}

static struct lock_request_client *client_of(struct lock_requests *d, struct session *s)
{
    struct lock_request_client *c;
    uint64_t number = session_number(s);
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    if (c != NULL || !session_open(s))
        return c;
    c = alloc_zeroed(1, sizeof(*c));
    c->number = number;
    c->session = s;
    HASH_ADD(hh, d->clients, number, sizeof(c->number), c);
    return c;
}

static struct lock_who who_of(struct session *s)
{
    const struct session_peer *peer = session_peer(s);
    struct lock_who who = {.client = session_number(s), .pid = peer->pid, .uid = peer->uid};
    memcpy(who.program, peer->program, sizeof(who.program));
    return who;
}

void lock_request_free(struct lock_request *r)
{
    if (r->client != NULL)
        DL_DELETE(r->client->requests, r);
    for (unsigned i = 0; i < r->n; i++)
        free(r->wants[i].text);
    free(r->wants);
    session_unref(r->session);
    free(r);
}

/* NULL: it is gone; its client has released it, by a token that it knew from before, or is gone. */
static struct hold *hold_of(const struct lock_request *r, const struct want *w)
{
    return r->client != NULL ? locks_hold(r->all->locks, r->client->number, w->token) : NULL;
}

/* Gives back what it has taken so far. (When its client is gone that has happened.) */
static void lock_request_undo(struct lock_request *r)
{
    for (; r->taken > 0 && r->client != NULL; r->taken--) {
        struct hold *h = hold_of(r, &r->wants[r->taken - 1]);
        if (h != NULL)
            hold_release(h);
    }
}

void lock_request_fail(struct lock_request *r, const struct fault *f)
{
    struct fault copy = *f;
    struct lock_request_stats *stats = &r->all->stats;
    stats->timeouts += f->code == FAULT_LOCK_TIMEOUT;
    stats->deadlocks += f->code == FAULT_DEADLOCK;
    lock_request_undo(r);
    session_fault(r->session, r->id, &copy);
    lock_request_free(r);
}

static void end_cancelled(struct lock_request *r)
{
    struct fault f;
    fault_set(&f, FAULT_LOCK_TIMEOUT, "the client has cancelled the request (lock.cancel)");
    lock_request_fail(r, &f);
}

bool lock_request_cancel(struct lock_requests *d, struct session *s, uint64_t id)
{
    struct lock_request_client *c;
    struct lock_request *r;
    uint64_t number = session_number(s);
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    if (c == NULL)
        return false;
    DL_FOREACH (c->requests, r) {
        if (r->id == id && !r->cancelled)
            break;
    }
    if (r == NULL)
        return false;
    if (r->wait == NULL) {
        r->cancelled = true; /* exec has it; it ends when that is done with it */
        return true;
    }
    struct wait *w = r->wait;
    r->wait = NULL;
    lock_cancel(w);
    end_cancelled(r);
    return true;
}

/* ---- READING: what the answer says of the documents ---- */

static int reading_docs(struct call *c, struct fault *f)
{
    const struct lock_request *r = c->request.context;
    c->needs = r->document ? RIGHT_LOCK | RIGHT_READ : RIGHT_LOCK;
    for (unsigned i = 0; i < r->n; i++) {
        const struct lock_name *name = &r->wants[i].name;
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
    if (st != OP_REFUSED || c->fault.code != FAULT_NOT_FOUND)
        return st;
    pack_nil(out); /* an entry of a dict that is yet to come, or one that was removed */
    return OP_DONE;
}

static enum op_status pack_grant(struct call *c, const struct lock_request *r, const struct want *w,
                                 struct buf *out)
{
    struct doc *d = call_doc(c, w->name.key, w->name.key_len, &c->fault);
    if (d == NULL)
        return OP_REFUSED;
    enum op_status st = call_known(c, d);
    if (st != OP_DONE)
        return st;
    pack_map(out, r->document ? 7 : 6);
    pack_cstr(out, "token");
    pack_uint(out, w->token);
    pack_cstr(out, "fence");
    pack_int(out, w->fence);
    pack_cstr(out, "version");
    pack_int(out, d->state == DOC_PRESENT ? d->version : 0);
    pack_cstr(out, "depth");
    pack_uint(out, w->depth);
    pack_cstr(out, "path");
    pack_str(out, w->name.path, w->name.path_len);
    pack_cstr(out, "stamp");
    pack_uint(out, session_stamp(r->session));
    if (!r->document)
        return OP_DONE;
    pack_cstr(out, "document");
    return pack_place(c, d, &w->name, out);
}

static enum op_status reading_run(struct call *c, struct buf *out)
{
    const struct lock_request *r = c->request.context;
    enum op_status all = OP_DONE;
    if (r->client == NULL)
        return fault_set(&c->fault, FAULT_LOCK_LOST, "its client is gone");
    for (unsigned i = 0; i < r->n; i++) {
        struct hold *h = hold_of(r, &r->wants[i]);
        if (h == NULL)
            return fault_set(&c->fault, FAULT_LOCK_LOST,
                             "it was released before this was answered");
        if (hold_check(h, &c->fault) < 0)
            return OP_REFUSED;
    }
    if (r->many)
        pack_array(out, r->n);
    for (unsigned i = 0; i < r->n; i++) {
        enum op_status st = pack_grant(c, r, &r->wants[i], out);
        if (st == OP_REFUSED || call_room(c, out) < 0)
            return OP_REFUSED;
        if (st == OP_NEEDS)
            all = OP_NEEDS;
    }
    return all;
}

static void reading_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct lock_request *r = c->request.context;
    if (r->cancelled && r->client != NULL) {
        end_cancelled(r);
        return;
    }
    if (f != NULL) {
        lock_request_fail(r, f);
        return;
    }
    r->all->stats.granted += r->n;
    histogram_add(&r->all->stats.waited, clock_boot_ns() - r->came);
    session_answer(r->session, r->id, out->data, out->len);
    lock_request_free(r);
}

static const struct method reading = {.name = "lock.acquire",
                                      .needs = RIGHT_LOCK,
                                      .apart = true,
                                      .docs = reading_docs,
                                      .run = reading_run,
                                      .finish = reading_finish};

static int as_asked(const void *left, const void *right)
{
    const struct want *x = left, *y = right;
    return (x->asked > y->asked) - (x->asked < y->asked);
}

static void lock_request_read(struct lock_request *r)
{
    if (r->n > 1)
        qsort(r->wants, r->n, sizeof(*r->wants), as_asked);
    for (unsigned i = 0; i < r->n; i++) {
        const struct hold *h = hold_of(r, &r->wants[i]);
        if (h != NULL && h->lock != NULL)
            session_raise_stamp(r->session, h->lock->stamp);
    }
    exec_call(r->all->exec, &reading, r->session, r->id, cursor_of(NULL, 0), 0, r);
}

/* ---- TAKING ---- */

static void take(struct lock_request *r);

static void has_taken(struct lock_request *r, struct hold *h)
{
    struct want *w = &r->wants[r->taken++];
    w->token = h->token;
    w->fence = h->fence;
    w->depth = h->depth;
    h->notify = h->notify || r->notify;
}

static void on_done(void *arg, struct hold *h, const struct fault *f)
{
    struct lock_request *r = arg;
    r->wait = NULL;
    if (h == NULL) {
        lock_request_fail(r, f);
        return;
    }
    has_taken(r, h);
    if (r->all->blind)
        LL_APPEND2(r->all->granted, r, next_granted);
    else
        take(r);
}

void lock_requests_see(struct lock_requests *d)
{
    d->blind = false;
    for (struct lock_request *r; (r = d->granted) != NULL;) {
        LL_DELETE2(d->granted, r, next_granted);
        if (r->client == NULL)
            lock_request_free(r);
        else if (r->cancelled)
            end_cancelled(r);
        else
            take(r);
    }
}

static void take(struct lock_request *r)
{
    struct lock_requests *d = r->all;
    struct lock_who who = who_of(r->session);
    while (r->taken < r->n) {
        struct want *w = &r->wants[r->taken];
        struct lock_owner *owner = locks_owner(d->locks, &who, r->owner, r->owner_len);
        int64_t wait = r->deadline < 0 ? -1 : r->deadline - clock_boot_ms();
        struct hold *h;
        struct fault f;
        if (r->deadline >= 0 && wait < 0)
            wait = 0;
        switch (locks_acquire(d->locks, owner, &w->name, w->mode, wait, r->ttl, on_done, r, &h,
                              &r->wait, &f)) {
        case LOCK_GRANTED: has_taken(r, h); break;
        case LOCK_WAITS: return;
        case LOCK_REFUSED: lock_request_fail(r, &f); return;
        }
    }
    lock_request_read(r);
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

static void lock_request_take(struct lock_request *r)
{
    if (r->n > 1)
        qsort(r->wants, r->n, sizeof(*r->wants), by_name);
    take(r);
}

/* ---- PLACING: indexes become pks ---- */

static int placing_docs(struct call *c, struct fault *f)
{
    const struct lock_request *r = c->request.context;
    for (unsigned i = 0; i < r->n; i++) {
        const struct lock_name *name = &r->wants[i].name;
        if (name->path_len > 0 && call_doc(c, name->key, name->key_len, f) == NULL)
            return -1;
    }
    return 0;
}

void want_name(struct want *w, const void *key, size_t key_len, const void *path, size_t path_len,
               const void *action, size_t action_len)
{
    char *text = alloc_zeroed(key_len + path_len + action_len + 3, 1);
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
    st = place_find(&p, d->root, w->name.path, w->name.path_len, true, &needs, &canonical,
                    &c->fault);
    if (st == OP_DONE)
        want_name(w, w->name.key, w->name.key_len, canonical.data, canonical.len, w->name.action,
                  w->name.action_len);
    buf_free(&canonical);
    return st;
}

static enum op_status placing_run(struct call *c, struct buf *out)
{
    struct lock_request *r = c->request.context;
    enum op_status all = OP_DONE;
    (void)out;
    for (unsigned i = 0; i < r->n; i++) {
        if (r->wants[i].name.path_len == 0)
            continue;
        enum op_status st = find_place(c, &r->wants[i]);
        if (st == OP_REFUSED)
            return st;
        if (st == OP_NEEDS)
            all = OP_NEEDS;
    }
    return all;
}

static void placing_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct lock_request *r = c->request.context;
    (void)out;
    if (r->client == NULL)
        lock_request_free(r);
    else if (r->cancelled)
        end_cancelled(r);
    else if (f != NULL)
        lock_request_fail(r, f);
    else
        lock_request_take(r);
}

static const struct method placing = {.needs = RIGHT_LOCK,
                                      .apart = true,
                                      .name = "lock.acquire",
                                      .docs = placing_docs,
                                      .run = placing_run,
                                      .finish = placing_finish};

struct lock_request *lock_request_new(struct lock_requests *d, struct session *s, uint64_t id,
                                      unsigned wants)
{
    struct lock_request *r = alloc_zeroed(1, sizeof(*r));
    r->all = d;
    r->session = session_ref(s);
    r->id = id;
    r->came = clock_boot_ns();
    r->deadline = -1;
    r->ttl = exec_config(d->exec)->lock_ttl;
    r->wants = alloc_zeroed(wants, sizeof(*r->wants));
    r->client = client_of(d, s);
    if (r->client != NULL)
        DL_APPEND(r->client->requests, r);
    return r;
}

void lock_request_begin(struct lock_request *r)
{
    bool places = false;
    for (unsigned i = 0; i < r->n; i++)
        places = places || r->wants[i].name.path_len > 0;
    if (places)
        exec_call(r->all->exec, &placing, r->session, r->id, cursor_of(NULL, 0), 0, r);
    else
        lock_request_take(r);
}

/* ---- over to another process ---- */

static void save_wait(const struct wait *w, struct state_writer *out)
{
    const struct lock_request *r = w->arg;
    struct buf *b = &out->out;
    pack_array(b, 9);
    pack_uint(b, r->id);
    pack_int(b, r->came);
    pack_bool(b, r->many);
    pack_bool(b, r->document);
    pack_bool(b, r->notify);
    pack_int(b, r->deadline);
    pack_int(b, r->ttl);
    pack_uint(b, r->taken);
    pack_array(b, r->n);
    for (const struct want *want = r->wants; want < r->wants + r->n; want++) {
        pack_array(b, 8);
        lock_name_save(&want->name, b);
        pack_uint(b, want->mode);
        pack_uint(b, want->asked);
        pack_uint(b, want->token);
        pack_int(b, want->fence);
        pack_uint(b, want->depth);
    }
}

void lock_requests_save(const struct lock_requests *d, struct state_writer *w)
{
    pack_array(&w->out, 2);
    pack_array(&w->out, HASH_COUNT(d->clients));
    for (const struct lock_request_client *c = d->clients; c != NULL; c = c->hh.next)
        pack_uint(&w->out, c->number);
    locks_save(d->locks, w, save_wait);
}

static void read_want(struct want *want, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 8);
    struct lock_name n = lock_name_read(r);
    want_name(want, n.key, n.key_len, n.path, n.path_len, n.action, n.action_len);
    want->mode = (enum lock_mode)state_below(r, LOCK_EXCLUSIVE + 1);
    want->asked = (unsigned)state_uint(r);
    want->token = state_uint(r);
    want->fence = state_int(r);
    want->depth = (unsigned)state_uint(r);
    state_leave(r, &tuple);
}

static int take_wait(void *arg, struct wait *w, struct state_reader *r)
{
    struct lock_requests *d = arg;
    struct lock_request_client *c;
    uint64_t number = lock_who(w->owner)->client;
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    struct state_tuple tuple = state_enter(r, 9);
    if (c == NULL || r->bad)
        return -1;
    struct lock_request *q = lock_request_new(d, c->session, state_uint(r), 0);
    q->owner_len = w->owner->name_len < OWNER_MAX ? w->owner->name_len : OWNER_MAX;
    memcpy(q->owner, w->owner->name, q->owner_len);
    q->came = state_int(r);
    q->many = state_bool(r);
    q->document = state_bool(r);
    q->notify = state_bool(r);
    q->deadline = state_int(r);
    q->ttl = state_int(r);
    q->taken = (unsigned)state_uint(r);
    uint32_t n = state_count(r);
    q->wants = alloc_resized(q->wants, n + 1, sizeof(*q->wants));
    memset(q->wants, 0, (n + 1) * sizeof(*q->wants));
    for (; q->n < n && !r->bad; q->n++)
        read_want(&q->wants[q->n], r);
    state_leave(r, &tuple);
    q->wait = w;
    w->done = on_done;
    w->arg = q;
    return r->bad || q->taken >= q->n ? -1 : 0;
}

int lock_requests_resume(struct lock_requests *d, struct sessions *all, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 2);
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        struct session *s = sessions_find(all, state_uint(r));
        if (s == NULL)
            return -1;
        client_of(d, s);
    }
    d->blind = true;
    int rc = locks_resume(d->locks, r, take_wait, d);
    state_leave(r, &tuple);
    return r->bad ? -1 : rc;
}

/* ---- clients ---- */

void lock_requests_lost(struct lock_requests *d, struct hold *h)
{
    struct lock_request_client *c;
    uint64_t number = lock_who(h->owner)->client;
    d->stats.lost++;
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

void lock_requests_client_gone(struct lock_requests *d, struct session *s)
{
    struct lock_request_client *c;
    struct lock_request *r, *next;
    uint64_t number = session_number(s);
    HASH_FIND(hh, d->clients, &number, sizeof(number), c);
    if (c == NULL)
        return;
    HASH_DELETE(hh, d->clients, c);
    DL_FOREACH_SAFE (c->requests, r, next) {
        DL_DELETE(c->requests, r);
        r->client = NULL;
        if (r->wait != NULL)
            lock_request_free(r); /* the wait itself goes below */
    }
    free(c);
    locks_client_gone(d->locks, number);
}

void lock_requests_free(struct lock_requests *d)
{
    struct lock_request_client *c, *next;
    while (d->granted != NULL) { /* their clients are gone */
        struct lock_request *r = d->granted;
        LL_DELETE2(d->granted, r, next_granted);
        lock_request_free(r);
    }
    HASH_ITER (hh, d->clients, c, next) {
        HASH_DELETE(hh, d->clients, c);
        free(c);
    }
    free(d);
}
