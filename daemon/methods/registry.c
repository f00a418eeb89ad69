/* registry: see registry.h. */
#include "daemon/methods/registry.h"
#include "daemon/base/log.h"
#include "daemon/methods/declare_script.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_MAX 5

struct registry {
    struct schema *schema;
    struct upstream *up;
    char *key; /* of the hash in Redis */
    void (*on_loaded)(void *arg);
    void *arg;
    bool loaded;
};

/* One define on its way: read what is stored, merge, store if it is still what was read. */
struct define {
    struct registry *r;
    struct session *session;
    uint64_t id;
    struct buf declaration;
    struct buf stored; /* what was read; len 0: nothing */
    char name[80];
    unsigned attempts;
};

static void end(struct define *d)
{
    session_settle(d->session);
    session_unref(d->session);
    buf_free(&d->declaration);
    buf_free(&d->stored);
    free(d);
}

static void refuse(struct define *d, const struct fault *f)
{
    session_fault(d->session, d->id, f);
    end(d);
}

static void answer(struct session *s, uint64_t id, const struct model *m)
{
    struct buf *out = session_result(s, id);
    pack_map(out, 2);
    pack_cstr(out, "model");
    pack_cstr(out, m->name);
    pack_cstr(out, "revision");
    pack_uint(out, m->revision);
    session_done(s);
}

static void unavailable(struct define *d)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(d->r->up));
    refuse(d, &f);
}

static void read_stored(struct define *d);

static void on_stored(void *arg, unsigned index, redisReply *reply)
{
    struct define *d = arg;
    (void)index;
    if (reply == NULL) {
        unavailable(d);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        struct fault f;
        fault_set(&f, FAULT_UNAVAILABLE, "Redis would not store the declaration: %s", reply->str);
        refuse(d, &f);
    } else if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        read_stored(d); /* another daemon was faster: see what it wrote */
    } else {
        answer(d->session, d->id, schema_model(d->r->schema, d->name, strlen(d->name)));
        end(d);
    }
}

static void store(struct define *d, const struct model *m)
{
    struct buf packed = BUF_INIT, out = BUF_INIT;
    schema_pack(m, &packed);
    const char *argv[] = {"EVAL",
                          declare_script,
                          "1",
                          d->r->key,
                          d->name,
                          (char *)d->stored.data,
                          (char *)packed.data};
    size_t len[] = {
        4,         sizeof(declare_script) - 1, 1, strlen(d->r->key), strlen(d->name), d->stored.len,
        packed.len};
    if (d->stored.len == 0)
        argv[5] = "";
    resp_command(&out, 7, argv, len);
    bool sent = upstream_send(d->r->up, out.data, out.len, 1, on_stored, d);
    buf_free(&packed);
    buf_free(&out);
    if (!sent)
        unavailable(d);
}

static void on_read(void *arg, unsigned index, redisReply *reply)
{
    struct define *d = arg;
    struct fault f;
    const struct model *m;
    bool changed;
    (void)index;
    if (reply == NULL) {
        unavailable(d);
        return;
    }
    buf_clear(&d->stored);
    if (reply->type == REDIS_REPLY_STRING) {
        buf_append(&d->stored, reply->str, reply->len);
        struct cursor stored = cursor_of(d->stored.data, d->stored.len);
        if (schema_define(d->r->schema, &stored, &m, &changed, &f) < 0)
            log_error("the stored declaration of %s is not usable: %s", d->name, f.text);
    }
    struct cursor c = cursor_of(d->declaration.data, d->declaration.len);
    if (schema_define(d->r->schema, &c, &m, &changed, &f) < 0) {
        refuse(d, &f);
        return;
    }
    /* What memory has may also be there because storing it failed before. */
    struct buf packed = BUF_INIT;
    schema_pack(m, &packed);
    bool same = packed.len == d->stored.len && memcmp(packed.data, d->stored.data, packed.len) == 0;
    buf_free(&packed);
    if (same) {
        answer(d->session, d->id, m);
        end(d);
    } else {
        store(d, m);
    }
}

static void read_stored(struct define *d)
{
    struct buf out = BUF_INIT;
    struct fault f;
    if (++d->attempts > ATTEMPTS_MAX) {
        fault_set(&f, FAULT_BUSY, "other daemons keep changing %s; try again", d->name);
        refuse(d, &f);
        return;
    }
    resp_words(&out, "HGET", d->r->key, d->name, NULL);
    bool sent = upstream_send(d->r->up, out.data, out.len, 1, on_read, d);
    buf_free(&out);
    if (!sent)
        unavailable(d);
}

/* The name in a declaration that schema_check has passed. */
static void name_of(struct cursor c, char *out, size_t size)
{
    uint32_t n = 0;
    const char *key, *s;
    size_t key_len, len;
    cursor_map(&c, &n);
    for (; n > 0; n--) {
        if (cursor_str(&c, &key, &key_len) < 0)
            return;
        if (key_len == 4 && memcmp(key, "name", 4) == 0 && cursor_str(&c, &s, &len) == 0) {
            snprintf(out, size, "%.*s", (int)len, s);
            return;
        }
        cursor_skip(&c);
    }
}

void registry_define(struct registry *r, struct session *s, const struct rpc *msg)
{
    struct fault f;
    bool changed;
    struct cursor c = msg->params;
    if (msg->nparams != 1) {
        fault_set(&f, FAULT_BAD_REQUEST, "define takes [declaration], and got %u parameters",
                  msg->nparams);
        session_fault(s, msg->id, &f);
        return;
    }
    if (schema_check(r->schema, &c, &changed, &f) < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    struct define *d = alloc_zeroed(1, sizeof(*d));
    d->r = r;
    d->session = session_ref(s);
    d->id = msg->id;
    session_defer(s);
    buf_append(&d->declaration, msg->params.at, (size_t)(msg->params.end - msg->params.at));
    name_of(msg->params, d->name, sizeof(d->name));
    read_stored(d);
}

/* ---- loading ---- */

static void take_all(struct registry *r, redisReply *all)
{
    size_t n = all->elements / 2;
    struct cursor *declarations = alloc_zeroed(n + 1, sizeof(*declarations));
    struct fault f;
    for (size_t i = 0; i < n; i++)
        declarations[i] = cursor_of(all->element[2 * i + 1]->str, all->element[2 * i + 1]->len);
    if (schema_restore(r->schema, declarations, n, NULL, &f) < 0)
        log_error("not all of the stored declarations are usable: %s", f.text);
    free(declarations);
}

struct restoring {
    struct registry *registry;
    const redisReply *stored;
};

static void on_restored(void *arg, unsigned index, redisReply *reply)
{
    (void)arg;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        log_warning("a declaration that Redis had lost is not stored again: %s", reply->str);
}

static void restore(const struct model *m, void *arg)
{
    const struct restoring *w = arg;
    for (size_t i = 0; i + 1 < w->stored->elements; i += 2) {
        const redisReply *name = w->stored->element[i];
        if (name->len == strlen(m->name) && memcmp(name->str, m->name, name->len) == 0)
            return;
    }
    struct buf packed = BUF_INIT, out = BUF_INIT;
    schema_pack(m, &packed);
    const char *argv[] = {"HSETNX", w->registry->key, m->name, (char *)packed.data};
    size_t len[] = {6, strlen(w->registry->key), strlen(m->name), packed.len};
    resp_command(&out, 4, argv, len);
    upstream_send(w->registry->up, out.data, out.len, 1, on_restored, NULL);
    buf_free(&packed);
    buf_free(&out);
}

/* A Redis that came back empty: the clients have defined their models and will not do so again,
 * but a daemon that starts later knows only what is stored. */
static void restore_missing(struct registry *r, const redisReply *stored)
{
    struct restoring w = {.registry = r, .stored = stored};
    schema_each(r->schema, restore, &w);
}

static void on_all(void *arg, unsigned index, redisReply *reply)
{
    struct registry *r = arg;
    (void)index;
    if (reply == NULL)
        return; /* the link is lost; it is read again when it is back */
    if (reply->type == REDIS_REPLY_ARRAY) {
        take_all(r, reply);
        restore_missing(r, reply);
    } else {
        log_error("Redis key %s should be a hash of declarations: %s", r->key,
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "it is something else");
    }
    r->loaded = true;
    r->on_loaded(r->arg);
}

void registry_load(struct registry *r)
{
    struct buf out = BUF_INIT;
    resp_words(&out, "HGETALL", r->key, NULL);
    upstream_send(r->up, out.data, out.len, 1, on_all, r);
    buf_free(&out);
}

bool registry_loaded(const struct registry *r)
{
    return r->loaded;
}

struct registry *registry_new(struct schema *schema, struct upstream *up, const char *prefix,
                              void (*on_loaded)(void *arg), void *arg)
{
    struct registry *r = alloc_zeroed(1, sizeof(*r));
    r->key = alloc_text("%s:@schema", prefix);
    r->schema = schema;
    r->up = up;
    r->on_loaded = on_loaded;
    r->arg = arg;
    return r;
}

void registry_free(struct registry *r)
{
    free(r->key);
    free(r);
}
