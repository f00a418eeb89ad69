/* ask: see ask.h. */
#include "daemon/methods/ask.h"
#include "daemon/base/clock.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include "protocol/place.h"
#include <stdlib.h>
#include <utlist.h>

/* A session that has asked for a lock. */
struct desk_client {
    UT_hash_handle hh; /* by number */
    uint64_t number;
    struct session *session;
    struct ask *asks; /* (utlist DL) */
};

struct desk *desk_new(struct exec *e, struct locks *locks, struct leases *leases)
{
    struct desk *d = alloc_zeroed(1, sizeof(*d));
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
    snprintf(who.program, sizeof(who.program), "%s", peer->program);
    return who;
}

void ask_free(struct ask *a)
{
    if (a->client != NULL)
        DL_DELETE(a->client->asks, a);
    for (unsigned i = 0; i < a->n; i++)
        free(a->wants[i].text);
    free(a->wants);
    session_unref(a->session);
    free(a);
}

/* NULL: it is gone; its client has released it, by a token that it knew from before. */
static struct hold *hold_of(const struct ask *a, const struct want *w)
{
    return locks_hold(a->desk->locks, a->client->number, w->token);
}

/* Gives back what it has taken so far. (When its client is gone that has happened.) */
static void ask_undo(struct ask *a)
{
    for (; a->taken > 0 && a->client != NULL; a->taken--) {
        struct hold *h = hold_of(a, &a->wants[a->taken - 1]);
        if (h != NULL)
            hold_release(h);
    }
}

void ask_fail(struct ask *a, const struct fault *f)
{
    struct fault copy = *f;
    struct desk_stats *stats = &a->desk->stats;
    stats->timeouts += f->code == FAULT_LOCK_TIMEOUT;
    stats->deadlocks += f->code == FAULT_DEADLOCK;
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
    if (st != OP_REFUSED || c->fault.code != FAULT_NOT_FOUND)
        return st;
    pack_nil(out); /* an entry of a dict that is yet to come, or one that was removed */
    return OP_DONE;
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
    pack_uint(out, w->token);
    pack_cstr(out, "fence");
    pack_int(out, w->fence);
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
        struct hold *h = hold_of(a, &a->wants[i]);
        if (h == NULL)
            return fault_set(&c->fault, FAULT_LOCK_LOST,
                             "it was released before this was answered");
        if (hold_check(h, &c->fault) < 0)
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
    a->desk->stats.granted += a->n;
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
        const struct hold *h = hold_of(a, &a->wants[i]);
        if (h != NULL && h->lock != NULL)
            session_see(a->session, h->lock->stamp);
    }
    exec_call(a->desk->exec, &reading, a->session, a->id, cursor_of(NULL, 0), 0, a);
}

/* ---- TAKING ---- */

static void take(struct ask *a);

static void has_taken(struct ask *a, struct hold *h)
{
    struct want *w = &a->wants[a->taken++];
    w->token = h->token;
    w->fence = h->fence;
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
        int64_t wait = a->deadline < 0 ? -1 : a->deadline - clock_boot_ms();
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
    st = place_find(&p, d->root, w->name.path, w->name.path_len, &needs, &canonical, &c->fault);
    if (st == OP_DONE)
        want_name(w, w->name.key, w->name.key_len, canonical.data, canonical.len, w->name.action,
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

struct ask *ask_new(struct desk *d, struct session *s, uint64_t id, unsigned wants)
{
    struct ask *a = alloc_zeroed(1, sizeof(*a));
    a->desk = d;
    a->session = session_ref(s);
    a->id = id;
    a->deadline = -1;
    a->ttl = exec_config(d->exec)->lock_ttl;
    a->wants = alloc_zeroed(wants, sizeof(*a->wants));
    a->client = client_of(d, s);
    if (a->client != NULL)
        DL_APPEND(a->client->asks, a);
    return a;
}

void ask_begin(struct ask *a)
{
    bool places = false;
    for (unsigned i = 0; i < a->n; i++)
        places = places || a->wants[i].name.path_len > 0;
    if (places)
        exec_call(a->desk->exec, &placing, a->session, a->id, cursor_of(NULL, 0), 0, a);
    else
        ask_take(a);
}

/* ---- clients ---- */

void desk_lost(struct desk *d, struct hold *h)
{
    struct desk_client *c;
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
