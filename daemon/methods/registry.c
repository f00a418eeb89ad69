/* registry: see registry.h. */
#include "daemon/base/log.h"
#include "daemon/methods/declare_script.h"
#include "daemon/methods/registry_inside.h"
#include "daemon/redis/bus.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define ATTEMPTS_MAX 5
/* In the hash, beside the models, whose names have no such sign. */
#define REVISION "@rev"
#define TAGS "@tags"

static const char news[] = "\x91\xa6models"; /* to all daemons: something was declared */

/* Who wants to know what is new. */
struct wait {
    struct wait *next;
    void (*fn)(void *arg, bool asked);
    void *arg;
};

static struct upstream *link_of(const struct registry *r)
{
    return router_link(r->router, r->slot);
}

/* One declaration of a define. */
struct one {
    struct cursor declaration; /* in the define's copy */
    struct buf stored;         /* what was read; len 0: nothing */
    struct buf states;         /* of its indexes, as declare.lua takes them */
    char name[80];
};

/* One define on its way: read what is stored, merge, store if it is still what was read. */
struct define {
    struct registry *r;
    struct session *session;
    uint64_t id;
    struct buf declarations;
    struct one *all;
    uint32_t n;
    unsigned attempts;
};

static void end(struct define *d)
{
    session_settle(d->session);
    session_unref(d->session);
    buf_free(&d->declarations);
    for (uint32_t i = 0; i < d->n; i++) {
        buf_free(&d->all[i].stored);
        buf_free(&d->all[i].states);
    }
    free(d->all);
    free(d);
}

static void refuse(struct define *d, const struct fault *f)
{
    session_fault(d->session, d->id, f);
    end(d);
}

/* One map; of several declarations an array of them. */
static void answer(struct define *d)
{
    struct buf *out = session_result(d->session, d->id);
    if (d->n > 1)
        pack_array(out, d->n);
    for (uint32_t i = 0; i < d->n; i++) {
        const char *name = d->all[i].name;
        pack_map(out, 2);
        pack_cstr(out, "model");
        pack_cstr(out, name);
        pack_cstr(out, "revision");
        pack_uint(out, schema_model(d->r->schema, name, strlen(name))->revision);
    }
    session_done(d->session);
    end(d);
}

static void unavailable(struct define *d)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "%s", router_why(d->r->router, d->r->slot));
    refuse(d, &f);
}

/* It is known here, and Redis may not have it. */
static void not_stored(struct define *d, const redisReply *reply)
{
    struct fault f;
    d->r->ahead = true;
    if (reply == NULL) {
        unavailable(d);
        return;
    }
    fault_set(&f, FAULT_UNAVAILABLE, "Redis would not store the declaration: %s", reply->str);
    refuse(d, &f);
}

static void read_stored(struct define *d);

static void tell_change(struct registry *r)
{
    if (r->on_change != NULL)
        r->on_change(r->change_arg);
}

static void on_refreshed(void *arg, bool asked)
{
    struct define *d = arg;
    (void)asked;
    tell_change(d->r);
    answer(arg);
}

static void on_stored(void *arg, unsigned index, redisReply *reply)
{
    struct define *d = arg;
    (void)index;
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        not_stored(d, reply);
    } else if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0) {
        read_stored(d); /* another daemon was faster: see what it wrote */
    } else if (reply->type == REDIS_REPLY_INTEGER &&
               reply->integer == schema_known(d->r->schema) + 1) {
        schema_know(d->r->schema, reply->integer);
        on_refreshed(d, true);
    } else {
        registry_refresh(d->r, on_refreshed, d); /* others have declared, too */
    }
}

#define HEAD 7 /* words of declare.lua, */
#define BODY 4 /* and for each model */

struct word {
    const void *at;
    size_t len;
};

/* The names of the model's indexes in the hash of their states, each with the state of one that has
 * all documents. */
static void pack_states(struct registry *r, struct one *one)
{
    const struct model *m = schema_model(r->schema, one->name, strlen(one->name));
    const struct indexes *all = indexes_of(r->indexes, m);
    unsigned n = all != NULL ? all->n : 0;
    buf_clear(&one->states);
    pack_array(&one->states, 2 * n);
    for (unsigned i = 0; i < n; i++) {
        struct buf state = BUF_INIT;
        char *name = index_state_name(m, &all->all[i]);
        index_state(&all->all[i], &state);
        pack_cstr(&one->states, name);
        pack_str(&one->states, (char *)state.data, state.len);
        buf_free(&state);
        free(name);
    }
}

/* The models whose text is not the one that is stored: n of them. */
static void store(struct define *d, const struct buf *packed, uint32_t n)
{
    uint32_t words = 0;
    const char **argv = alloc_zeroed(HEAD + BODY * (size_t)n, sizeof(*argv));
    size_t *len = alloc_zeroed(HEAD + BODY * (size_t)n, sizeof(*len));
    struct buf out = BUF_INIT;
    const struct word head[HEAD] = {{"EVAL", 4},
                                    {declare_script, sizeof(declare_script) - 1},
                                    {"2", 1},
                                    {d->r->key, strlen(d->r->key)},
                                    {d->r->index_key, strlen(d->r->index_key)},
                                    {d->r->channel.data, d->r->channel.len},
                                    {news, sizeof(news) - 1}};
    for (; words < HEAD; words++) {
        argv[words] = head[words].at;
        len[words] = head[words].len;
    }
    for (uint32_t i = 0; i < d->n; i++) {
        struct one *one = &d->all[i];
        if (packed[i].len == 0)
            continue;
        pack_states(d->r, one);
        const struct word body[BODY] = {
            {one->name, strlen(one->name)},
            {one->stored.len > 0 ? one->stored.data : (uint8_t *)"", one->stored.len},
            {packed[i].data, packed[i].len},
            {one->states.data, one->states.len}};
        for (int k = 0; k < BODY; k++, words++) {
            argv[words] = body[k].at;
            len[words] = body[k].len;
        }
    }
    resp_command(&out, (int)words, argv, len);
    bool sent = upstream_send(link_of(d->r), out.data, out.len, 1, on_stored, d);
    buf_free(&out);
    free(argv);
    free(len);
    if (!sent)
        not_stored(d, NULL);
}

/* What memory has may also be there because storing it failed before. */
static void store_news(struct define *d)
{
    struct buf *packed = alloc_zeroed(d->n, sizeof(*packed));
    uint32_t n = 0, all = d->n;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct one *one = &d->all[i];
        schema_pack(schema_model(d->r->schema, one->name, strlen(one->name)), &packed[i]);
        if (packed[i].len == one->stored.len &&
            memcmp(packed[i].data, one->stored.data, packed[i].len) == 0)
            buf_clear(&packed[i]);
        else
            n++;
    }
    if (n == 0)
        answer(d);
    else
        store(d, packed, n);
    for (uint32_t i = 0; i < all; i++) /* d may be gone */
        buf_free(&packed[i]);
    free(packed);
}

/* The declarations of a define, or what is stored of its models. */
static int merge(struct define *d, bool stored, struct fault *f)
{
    struct cursor *in = alloc_zeroed(d->n, sizeof(*in));
    const struct model **models = alloc_zeroed(d->n, sizeof(*models));
    bool *changed = alloc_zeroed(d->n, sizeof(*changed));
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct buf *text = &d->all[i].stored;
        if (!stored)
            in[n++] = d->all[i].declaration;
        else if (text->len > 0)
            in[n++] = cursor_of(text->data, text->len);
    }
    int rc = stored ? schema_restore(d->r->schema, in, n, NULL, f)
                    : schema_define_all(d->r->schema, in, n, models, changed, f);
    free(in);
    free(models);
    free(changed);
    return rc;
}

static void on_read(void *arg, unsigned index, redisReply *reply)
{
    struct define *d = arg;
    struct fault f;
    (void)index;
    if (reply == NULL) {
        unavailable(d);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        fault_set(&f, FAULT_UNAVAILABLE, "Redis refused to tell what is declared: %s", reply->str);
        refuse(d, &f);
        return;
    }
    for (uint32_t i = 0; i < d->n; i++) {
        const redisReply *one =
            reply->type == REDIS_REPLY_ARRAY && i < reply->elements ? reply->element[i] : NULL;
        buf_clear(&d->all[i].stored);
        if (one != NULL && one->type == REDIS_REPLY_STRING)
            buf_append(&d->all[i].stored, one->str, one->len);
    }
    if (merge(d, true, &f) < 0)
        log_error("a stored declaration, of %s, is not usable: %s", d->all[0].name, f.text);
    if (merge(d, false, &f) < 0)
        refuse(d, &f);
    else
        store_news(d);
}

static void read_stored(struct define *d)
{
    struct buf out = BUF_INIT;
    struct fault f;
    if (++d->attempts > ATTEMPTS_MAX) {
        fault_set(&f, FAULT_BUSY, "other daemons keep changing %s; try again", d->all[0].name);
        refuse(d, &f);
        return;
    }
    const char **argv = alloc_zeroed(2 + (size_t)d->n, sizeof(*argv));
    size_t *len = alloc_zeroed(2 + (size_t)d->n, sizeof(*len));
    argv[0] = "HMGET";
    argv[1] = d->r->key;
    for (uint32_t i = 0; i < d->n; i++)
        argv[2 + i] = d->all[i].name;
    for (uint32_t i = 0; i < 2 + d->n; i++)
        len[i] = strlen(argv[i]);
    resp_command(&out, (int)d->n + 2, argv, len);
    bool sent = upstream_send(link_of(d->r), out.data, out.len, 1, on_read, d);
    buf_free(&out);
    free(argv);
    free(len);
    if (!sent)
        unavailable(d);
}

/* The name in a declaration that was checked. */
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

/* Each of them by itself. */
static void take_declarations(struct define *d)
{
    struct cursor in = cursor_of(d->declarations.data, d->declarations.len);
    d->all = alloc_zeroed(d->n, sizeof(*d->all));
    for (uint32_t i = 0; i < d->n; i++) {
        const uint8_t *p;
        size_t len;
        if (cursor_value(&in, &p, &len) == 0)
            d->all[i].declaration = cursor_of(p, len);
    }
}

/* What is so already needs no right: programs declare what they use each time they begin. */
static int may_declare(const struct define *d, const char *name, struct fault *f)
{
    if (permit_may_name(session_permit(d->session), name, "define", RIGHT_DEFINE))
        return 0;
    return fault_set(
        f, FAULT_FORBIDDEN,
        "define of %.80s, which is not so yet: the rules (rights.file) do not give this "
        "user \"define\"",
        name);
}

static int check_declarations(struct define *d, bool *equal, struct fault *f)
{
    struct cursor *in = alloc_zeroed(d->n, sizeof(*in));
    bool *changed = alloc_zeroed(d->n, sizeof(*changed));
    for (uint32_t i = 0; i < d->n; i++)
        in[i] = d->all[i].declaration;
    int rc = schema_check_all(d->r->schema, in, d->n, changed, f);
    for (uint32_t i = 0; i < d->n && rc == 0; i++)
        name_of(in[i], d->all[i].name, sizeof(d->all[i].name));
    *equal = rc == 0;
    for (uint32_t i = 0; i < d->n && rc == 0; i++) {
        rc = changed[i] ? may_declare(d, d->all[i].name, f) : 0;
        *equal = *equal && !changed[i];
    }
    free(in);
    free(changed);
    return rc;
}

static struct define *define_new(struct registry *r, struct session *s, const struct rpc *msg)
{
    struct define *d = alloc_zeroed(1, sizeof(*d));
    d->r = r;
    d->session = session_ref(s);
    d->id = msg->id;
    d->n = msg->nparams;
    session_defer(s);
    buf_append(&d->declarations, msg->params.at, (size_t)(msg->params.end - msg->params.at));
    take_declarations(d);
    return d;
}

static bool has_some(const struct rpc *msg)
{
    return msg->nparams >= 1 && msg->nparams <= SCHEMA_MAX_MODELS;
}

/* The master that has them is away, and others are not: programs begin there, too, with what they
 * have always declared. */
static bool answers_from_memory(const struct registry *r, bool equal)
{
    return router_is_cluster(r->router) && equal && !r->ahead &&
           upstream_state(link_of(r)) != UPSTREAM_UP;
}

bool registry_may_define(struct registry *r, struct session *s, const struct rpc *msg)
{
    struct fault f;
    bool equal;
    if (upstream_state(link_of(r)) == UPSTREAM_UP || !has_some(msg))
        return true;
    struct define *d = define_new(r, s, msg);
    bool may = check_declarations(d, &equal, &f) < 0 || answers_from_memory(r, equal);
    end(d);
    return may;
}

void registry_define(struct registry *r, struct session *s, const struct rpc *msg)
{
    struct fault f;
    bool equal;
    if (!has_some(msg)) {
        fault_set(&f, FAULT_BAD_REQUEST,
                  "define takes [declaration, ...], 1 to %d of them, and got %u parameters",
                  SCHEMA_MAX_MODELS, msg->nparams);
        session_fault(s, msg->id, &f);
        return;
    }
    struct define *d = define_new(r, s, msg);
    if (check_declarations(d, &equal, &f) < 0)
        refuse(d, &f);
    else if (answers_from_memory(r, equal))
        answer(d);
    else
        read_stored(d);
}

/* ---- loading ---- */

static bool is_model(const redisReply *name)
{
    return name->len > 0 && name->str[0] != '@';
}

/* The revision in Redis. */
static int64_t take_all(struct registry *r, redisReply *all)
{
    size_t n = 0;
    int64_t revision = 0;
    struct cursor *declarations = alloc_zeroed(all->elements / 2 + 1, sizeof(*declarations));
    struct fault f;
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        const redisReply *name = all->element[i], *value = all->element[i + 1];
        if (is_model(name))
            declarations[n++] = cursor_of(value->str, value->len);
        else if (strcmp(name->str, REVISION) == 0)
            revision = strtoll(value->str, NULL, 10);
    }
    if (schema_restore(r->schema, declarations, n, NULL, &f) < 0)
        log_error("not all of the stored declarations are usable: %s", f.text);
    free(declarations);
    return revision;
}

/* ---- whether pks have tags ---- */

static const redisReply *value_in(const redisReply *all, const char *name)
{
    for (size_t i = 0; i + 1 < all->elements; i += 2) {
        if (all->element[i]->type == REDIS_REPLY_STRING && strcmp(all->element[i]->str, name) == 0)
            return all->element[i + 1];
    }
    return NULL;
}

void registry_name(struct registry *r, bool tags)
{
    r->named = true;
    r->tags = tags;
    r->cb.on_named(r->arg, tags);
}

/* False: documents would be looked for where they are not. */
static bool take_tags(struct registry *r, const redisReply *all)
{
    bool tags = value_in(all, TAGS) != NULL;
    const char *why = NULL;
    if (tags && !router_is_cluster(r->router))
        why = "this database was begun in a cluster, so its pks have tags; take its documents out "
              "with rapyerctl export there, and import them here";
    else if (tags && r->named && !r->tags)
        why = "the database was emptied, and begun anew with tags in pks; start rapyerd anew";
    if (why != NULL && r->why == NULL)
        log_error("Redis key %s: %s", r->key, why);
    r->why = why;
    if (why == NULL && !r->named)
        registry_name(r, tags);
    return why == NULL;
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
    const redisReply *stored = value_in(w->stored, m->name);
    struct buf packed = BUF_INIT, out = BUF_INIT;
    schema_pack(m, &packed);
    bool same = stored != NULL && stored->len == packed.len &&
                memcmp(stored->str, packed.data, packed.len) == 0;
    w->registry->ahead = w->registry->ahead || !same;
    if (stored != NULL) {
        buf_free(&packed);
        return;
    }
    static const char script[] = "if redis.call('HSETNX',KEYS[1],ARGV[1],ARGV[2])==1 then "
                                 "redis.call('HINCRBY',KEYS[1],ARGV[3],1) end return 1";
    const char *argv[] = {"EVAL",  script, "1", w->registry->key, m->name, (char *)packed.data,
                          REVISION};
    size_t len[] = {4,          sizeof(script) - 1, 1, strlen(w->registry->key), strlen(m->name),
                    packed.len, strlen(REVISION)};
    resp_command(&out, 7, argv, len);
    upstream_send(link_of(w->registry), out.data, out.len, 1, on_restored, NULL);
    buf_free(&packed);
    buf_free(&out);
}

/* A revision is in documents that other daemons may have in memory: it must not come again. */
static void restore_revision(struct registry *r)
{
    static const char script[] =
        "if tonumber(redis.call('HGET',KEYS[1],ARGV[1]) or 0)<tonumber(ARGV[2]) "
        "then redis.call('HSET',KEYS[1],ARGV[1],ARGV[2]) end return 1";
    char revision[RESP_DECIMAL_MAX];
    const char *argv[] = {"EVAL", script, "1", r->key, REVISION, revision};
    size_t len[] = {4,
                    sizeof(script) - 1,
                    1,
                    strlen(r->key),
                    strlen(REVISION),
                    resp_decimal(revision, schema_known(r->schema))};
    struct buf out = BUF_INIT;
    resp_command(&out, 6, argv, len);
    upstream_send(link_of(r), out.data, out.len, 1, on_restored, NULL);
    buf_free(&out);
}

static void restore_tags(struct registry *r)
{
    struct buf out = BUF_INIT;
    resp_words(&out, "HSET", r->key, TAGS, "1", NULL);
    upstream_send(link_of(r), out.data, out.len, 1, on_restored, NULL);
    buf_free(&out);
}

/* A Redis that came back empty: the clients have defined their models and will not do so again,
 * but a daemon that starts later knows only what is stored. */
static void restore_missing(struct registry *r, const redisReply *stored, int64_t revision)
{
    struct restoring w = {.registry = r, .stored = stored};
    r->ahead = false;
    if (r->tags && value_in(stored, TAGS) == NULL) /* before any model */
        restore_tags(r);
    schema_each(r->schema, restore, &w);
    if (revision < schema_known(r->schema))
        restore_revision(r);
}

static bool take_reply(struct registry *r, redisReply *reply, int64_t *revision)
{
    if (reply->type != REDIS_REPLY_ARRAY) {
        log_error("Redis key %s should be a hash of declarations: %s", r->key,
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "it is something else");
        return false;
    }
    if (!take_tags(r, reply))
        return false;
    *revision = take_all(r, reply);
    schema_know(r->schema, *revision);
    return true;
}

static void on_all(void *arg, unsigned index, redisReply *reply)
{
    struct registry *r = arg;
    int64_t revision;
    (void)index;
    if (reply == NULL) { /* it is read again when the link is back */
        if (upstream_state(link_of(r)) == UPSTREAM_UP)
            r->cb.on_elsewhere(r->arg);
        return;
    }
    if (take_reply(r, reply, &revision))
        restore_missing(r, reply, revision);
    if (r->why != NULL || !r->named)
        return;
    r->loaded = true;
    tell_change(r);
    r->cb.on_loaded(r->arg);
}

static bool read_models(struct registry *r, const char *command, const char *field,
                        upstream_reply_fn *fn)
{
    struct buf out = BUF_INIT;
    resp_words(&out, command, r->key, field, NULL);
    bool sent = upstream_send(link_of(r), out.data, out.len, 1, fn, r);
    buf_free(&out);
    return sent;
}

/* Begins the database where there is none. */
static void begin_tagged(struct registry *r)
{
    static const char script[] =
        "if redis.call('EXISTS',KEYS[1])==0 then redis.call('HSET',KEYS[1],ARGV[1],'1') end "
        "return redis.call('HGETALL',KEYS[1])";
    struct buf out = BUF_INIT;
    resp_words(&out, "EVAL", script, "1", r->key, TAGS, NULL);
    upstream_send(link_of(r), out.data, out.len, 1, on_all, r);
    buf_free(&out);
}

void registry_load(struct registry *r)
{
    if (router_is_cluster(r->router) && !r->named)
        begin_tagged(r);
    else
        read_models(r, "HGETALL", NULL, on_all);
}

/* ---- what is new ---- */

static void ask_revision(struct registry *r);

/* Who has come since is asked for again: what he has seen may be newer. */
static void refreshed(struct registry *r, bool asked)
{
    struct wait *told = r->asking;
    r->asking = NULL;
    while (told != NULL) {
        struct wait *w = told;
        LL_DELETE(told, w);
        w->fn(w->arg, asked);
        free(w);
    }
    ask_revision(r);
}

static void on_news(void *arg, unsigned index, redisReply *reply)
{
    int64_t revision;
    (void)index;
    if (reply != NULL)
        (void)take_reply(arg, reply, &revision);
    tell_change(arg);
    refreshed(arg, reply != NULL);
}

static void on_revision(void *arg, unsigned index, redisReply *reply)
{
    struct registry *r = arg;
    (void)index;
    bool newer = reply != NULL && reply->type == REDIS_REPLY_STRING &&
                 strtoll(reply->str, NULL, 10) > schema_known(r->schema);
    if (!newer || !read_models(r, "HGETALL", NULL, on_news))
        refreshed(r, reply != NULL && !newer);
}

static void ask_revision(struct registry *r)
{
    if (r->asking != NULL || r->waiting == NULL)
        return;
    r->asking = r->waiting;
    r->waiting = NULL;
    if (!read_models(r, "HGET", REVISION, on_revision))
        refreshed(r, false);
}

static void nobody(void *arg, bool asked)
{
    (void)arg;
    (void)asked;
}

void registry_cancel(struct registry *r, void *arg)
{
    struct wait *w;
    LL_FOREACH (r->waiting, w)
        w->fn = w->arg == arg ? nobody : w->fn;
    LL_FOREACH (r->asking, w)
        w->fn = w->arg == arg ? nobody : w->fn;
}

void registry_refresh(struct registry *r, void (*fn)(void *arg, bool asked), void *arg)
{
    struct wait *w = alloc_zeroed(1, sizeof(*w));
    *w = (struct wait){.fn = fn != NULL ? fn : nobody, .arg = arg};
    LL_APPEND(r->waiting, w);
    ask_revision(r);
}

const char *registry_news(size_t *len)
{
    *len = sizeof(news) - 1;
    return news;
}

bool registry_message(struct registry *r, const void *payload, size_t len)
{
    if (len != sizeof(news) - 1 || memcmp(payload, news, len) != 0)
        return false;
    if (r->waiting == NULL) /* however many are sent: one question at a time */
        registry_refresh(r, NULL, NULL);
    return true;
}

bool registry_loaded(const struct registry *r)
{
    return r->loaded && r->why == NULL;
}

const char *registry_why(struct registry *r)
{
    const struct upstream *link = link_of(r);
    if (upstream_state(link) == UPSTREAM_UP)
        return r->why != NULL ? r->why : "the models are not read yet";
    if (!router_is_cluster(r->router))
        return upstream_why(link);
    /* All documents wait for them, also those that other masters have. */
    snprintf(r->away, sizeof(r->away), "the declarations (%s) are not read yet: %s", r->key,
             upstream_why(link));
    return r->away;
}

int registry_refuse(struct registry *r, struct fault *f)
{
    const char *why = registry_why(r);
    if (why == r->away && !r->warned)
        log_warning("nothing can be served: %s", why);
    r->warned = r->warned || why == r->away;
    return fault_set(f, FAULT_UNAVAILABLE, "%s", why);
}

struct registry *registry_new(struct schema *schema, struct index_table *indexes,
                              const struct router *router, const struct config *config,
                              const struct registry_callbacks *cb, void *arg)
{
    struct registry *r = alloc_zeroed(1, sizeof(*r));
    r->key = alloc_text("%s:@schema", config->key_prefix);
    r->slot = router_slot(router, r->key, strlen(r->key));
    r->index_key = index_states_key(config->key_prefix, router_is_cluster(router));
    r->indexes = indexes;
    bus_channel(config, BUS_ALL, &r->channel);
    r->schema = schema;
    r->router = router;
    r->cb = *cb;
    r->arg = arg;
    if (!router_is_cluster(router))
        registry_name(r, false);
    return r;
}

void registry_on_change(struct registry *r, void (*fn)(void *arg), void *arg)
{
    r->on_change = fn;
    r->change_arg = arg;
}

void registry_free(struct registry *r)
{
    while (r->waiting != NULL) {
        struct wait *w = r->waiting;
        LL_DELETE(r->waiting, w);
        free(w);
    }
    while (r->asking != NULL) {
        struct wait *w = r->asking;
        LL_DELETE(r->asking, w);
        free(w);
    }
    buf_free(&r->channel);
    free(r->key);
    free(r->index_key);
    free(r);
}
