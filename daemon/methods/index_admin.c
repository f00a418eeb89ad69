/* index_admin: see index_admin.h. */
#include "daemon/methods/index_admin.h"
#include "daemon/commit/lanes.h"
#include "daemon/methods/index_drop_script.h"
#include "daemon/methods/methods.h"
#include "daemon/redis/bus.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <stdlib.h>

/* A request that waits for Redis. */
struct asking {
    struct exec *exec;
    struct registry *registry;
    struct session *session;
    uint64_t id;
    struct buf params;
    const struct model *model; /* NULL: all */
    uint32_t field;            /* drop */
    uint8_t kinds;
    int attempts;
};

static struct asking *begin(struct exec *e, struct session *s, const struct rpc *msg)
{
    struct asking *a = alloc_zeroed(1, sizeof(*a));
    *a = (struct asking){.exec = e, .session = session_ref(s), .id = msg->id};
    buf_append(&a->params, msg->params.at, (size_t)(msg->params.end - msg->params.at));
    session_defer(s);
    return a;
}

static void end(struct asking *a)
{
    session_settle(a->session);
    session_unref(a->session);
    buf_free(&a->params);
    free(a);
}

static void refuse(struct asking *a, const struct fault *f)
{
    session_fault(a->session, a->id, f);
    end(a);
}

static bool in_cluster(const struct exec *e)
{
    return router_is_cluster(lanes_router(exec_lanes(e)));
}

static struct upstream *upstream_of(const struct asking *a)
{
    return lane_upstream(exec_lane(a->exec));
}

static void unavailable(struct asking *a, const redisReply *reply)
{
    struct fault f;
    index_unanswered(upstream_of(a), reply, &f);
    refuse(a, &f);
}

static void ask(struct asking *a, struct buf *out, upstream_reply_fn *fn)
{
    bool sent = upstream_send(upstream_of(a), out->data, out->len, 1, fn, a);
    buf_free(out);
    if (!sent)
        unavailable(a, NULL);
}

void index_unanswered(const struct upstream *up, const redisReply *reply, struct fault *f)
{
    fault_set(f, FAULT_UNAVAILABLE, "Redis did not answer: %s",
              reply == NULL                      ? upstream_why(up)
              : reply->type == REDIS_REPLY_ERROR ? reply->str
                                                 : "this is no answer");
}

const struct indexes *index_model(struct exec *e, const char *name, size_t len, struct fault *f)
{
    const struct model *m = schema_model(exec_schema(e), name, len);
    const struct indexes *all = m != NULL && m->atomic ? indexes_of(exec_indexes(e), m) : NULL;
    if (m == NULL)
        fault_set(f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined", (int)(len < 80 ? len : 80),
                  name);
    else if (all == NULL)
        fault_set(f, FAULT_NO_INDEX, "model %s has no index", m->name);
    return all;
}

/* [model?] */
static int read_model(struct asking *a, uint32_t nparams, bool needed, struct fault *f)
{
    struct cursor in = cursor_of(a->params.data, a->params.len);
    const char *name;
    size_t len;
    if (nparams == 0 && !needed)
        return 0;
    if (nparams != 1 || cursor_str(&in, &name, &len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "it takes [model%s]", needed ? "" : "?");
    const struct indexes *all = index_model(a->exec, name, len, f);
    a->model = all != NULL ? all->model : NULL;
    return all != NULL ? 0 : -1;
}

/* ---- index.list ---- */

struct listing {
    struct asking *asking;
    const redisReply *states;
    struct buf out;
    uint32_t n;
};

static const redisReply *state_of(const redisReply *states, const char *name)
{
    for (size_t i = 0; i + 1 < states->elements; i += 2) {
        if (strcmp(states->element[i]->str, name) == 0)
            return states->element[i + 1];
    }
    return NULL;
}

/* {model, path, index, unique, state, key}: the key is the one that is spoilt, as far as it is
 * known. */
static void list_one(struct listing *l, const struct model *m, const struct index *ix)
{
    char *name = index_state_name(m, ix);
    const redisReply *state = state_of(l->states, name);
    struct buf complete = BUF_INIT;
    index_state(ix, &complete);
    bool spoilt = state != NULL && state->len > 0 && *state->str == '!';
    bool whole = state != NULL && state->len == complete.len &&
                 memcmp(state->str, complete.data, state->len) == 0;
    pack_map(&l->out, 6);
    pack_cstr(&l->out, "model");
    pack_cstr(&l->out, m->name);
    pack_cstr(&l->out, "path");
    pack_cstr(&l->out, ix->path);
    pack_cstr(&l->out, "index");
    pack_cstr(&l->out, index_kind_name(ix->kind));
    pack_cstr(&l->out, "unique");
    pack_bool(&l->out, ix->unique);
    pack_cstr(&l->out, "state");
    pack_cstr(&l->out, spoilt ? "spoilt" : whole ? "complete" : "building");
    pack_cstr(&l->out, "key");
    if (spoilt && state->len > 1 && utf8_valid(state->str + 1, state->len - 1))
        pack_str(&l->out, state->str + 1, state->len - 1);
    else
        pack_nil(&l->out);
    l->n++;
    buf_free(&complete);
    free(name);
}

static void list_model(const struct model *m, void *arg)
{
    struct listing *l = arg;
    const struct asking *a = l->asking;
    const struct indexes *all = m->atomic ? indexes_of(exec_indexes(a->exec), m) : NULL;
    for (unsigned i = 0; all != NULL && i < all->n; i++) {
        if (a->model == NULL || a->model == m)
            list_one(l, m, &all->all[i]);
    }
}

static void on_states(void *arg, unsigned index, redisReply *reply)
{
    struct asking *a = arg;
    (void)index;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        unavailable(a, reply);
        return;
    }
    struct listing l = {.asking = a, .states = reply};
    schema_each(exec_schema(a->exec), list_model, &l);
    struct buf *out = session_result(a->session, a->id);
    pack_array(out, l.n);
    buf_append(out, l.out.data, l.out.len);
    session_done(a->session);
    buf_free(&l.out);
    end(a);
}

void index_list_request(struct exec *e, struct session *s, const struct rpc *msg)
{
    struct asking *a = begin(e, s, msg);
    struct buf out = BUF_INIT;
    struct fault f;
    if (read_model(a, msg->nparams, false, &f) < 0) {
        refuse(a, &f);
        return;
    }
    char *key = index_states_key(exec_config(e)->key_prefix, in_cluster(e));
    resp_words(&out, "HGETALL", key, NULL);
    free(key);
    ask(a, &out, on_states);
}

/* ---- index.build ---- */

static void on_unmarked(void *arg, unsigned index, redisReply *reply)
{
    struct asking *a = arg;
    (void)index;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
        unavailable(a, reply);
        return;
    }
    struct buf *out = session_result(a->session, a->id);
    pack_uint(out, indexes_of(exec_indexes(a->exec), a->model)->n);
    session_done(a->session);
    end(a);
}

/* None of them is complete any more: whoever builds indexes sees that. */
void index_build_request(struct exec *e, struct session *s, const struct rpc *msg)
{
    struct asking *a = begin(e, s, msg);
    struct buf out = BUF_INIT;
    struct fault f;
    if (read_model(a, msg->nparams, true, &f) < 0) {
        refuse(a, &f);
        return;
    }
    const struct indexes *all = indexes_of(exec_indexes(e), a->model);
    char *key = index_states_key(exec_config(e)->key_prefix, in_cluster(e));
    buf_printf(&out, "*%u\r\n", 2 + all->n);
    resp_bulk(&out, "HDEL", 4);
    resp_bulk(&out, key, strlen(key));
    for (unsigned i = 0; i < all->n; i++) {
        char *name = index_state_name(a->model, &all->all[i]);
        resp_bulk(&out, name, strlen(name));
        free(name);
    }
    free(key);
    ask(a, &out, on_unmarked);
}

/* ---- index.drop ---- */

static void on_dropped(void *arg, bool asked)
{
    struct asking *a = arg;
    (void)asked;
    struct buf *out = session_result(a->session, a->id);
    pack_map(out, 2);
    pack_cstr(out, "model");
    pack_cstr(out, a->model->name);
    pack_cstr(out, "revision");
    pack_uint(out, a->model->revision);
    session_done(a->session);
    end(a);
}

static void drop(struct asking *a);

static void on_stored(void *arg, unsigned index, redisReply *reply)
{
    struct asking *a = arg;
    (void)index;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        unavailable(a, reply);
    else if (reply->integer == 0)
        drop(a); /* somebody has declared meanwhile */
    else
        registry_refresh(a->registry, on_dropped, a);
}

/* The names of the indexes, of whatever model, that the field's declaration makes. */
struct naming {
    const struct asking *asking;
    struct buf words;
    uint32_t n;
};

static void name_dropped(const struct model *m, void *arg)
{
    struct naming *w = arg;
    const struct asking *a = w->asking;
    const struct indexes *all = m->atomic ? indexes_of(exec_indexes(a->exec), m) : NULL;
    for (unsigned i = 0; all != NULL && i < all->n; i++) {
        const struct index *ix = &all->all[i];
        if (ix->declared != a->model || ix->field != a->field || !(ix->kind & a->kinds))
            continue;
        char *name = index_state_name(m, ix);
        resp_bulk(&w->words, name, strlen(name));
        w->n++;
        free(name);
    }
}

static void store(struct asking *a)
{
    const char *prefix = exec_config(a->exec)->key_prefix;
    struct buf was = BUF_INIT, is = BUF_INIT, channel = BUF_INIT, out = BUF_INIT;
    struct naming names_of = {.asking = a};
    char *schema = alloc_text("%s:@schema", prefix),
         *states = index_states_key(prefix, in_cluster(a->exec));
    size_t len;
    const char *news = registry_news(&len);
    schema_pack(a->model, &was);
    schema_pack_unindexed(a->model, a->field, a->kinds, &is);
    bus_channel(exec_config(a->exec), BUS_ALL, &channel);
    schema_each(exec_schema(a->exec), name_dropped, &names_of);
    buf_printf(&out, "*%u\r\n", 10 + names_of.n);
    resp_bulk(&out, "EVAL", 4);
    resp_bulk(&out, index_drop_script, sizeof(index_drop_script) - 1);
    resp_bulk(&out, "2", 1);
    resp_bulk(&out, schema, strlen(schema));
    resp_bulk(&out, states, strlen(states));
    resp_bulk(&out, channel.data, channel.len);
    resp_bulk(&out, news, len);
    resp_bulk(&out, a->model->name, strlen(a->model->name));
    resp_bulk(&out, was.data, was.len);
    resp_bulk(&out, is.data, is.len);
    buf_append(&out, names_of.words.data, names_of.words.len);
    buf_free(&was);
    buf_free(&is);
    buf_free(&channel);
    buf_free(&names_of.words);
    free(schema);
    free(states);
    ask(a, &out, on_stored);
}

/* [model, field, kind?]; what there is by now. */
static int read_drop(struct asking *a, struct fault *f)
{
    struct cursor in = cursor_of(a->params.data, a->params.len);
    const char *name, *path;
    size_t len, path_len;
    uint8_t kinds = INDEX_EXACT | INDEX_RANGE | INDEX_PREFIX | INDEX_TAGS;
    cursor_str(&in, &name, &len);
    cursor_str(&in, &path, &path_len);
    if (in.at < in.end && index_read(&in, &kinds, "index.drop", f) < 0)
        return -1;
    a->model = schema_model(exec_schema(a->exec), name, len);
    if (a->model == NULL)
        return fault_set(f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined",
                         (int)(len < 80 ? len : 80), name);
    int field = model_field(a->model, path, path_len);
    if (field < 0)
        return fault_set(f, FAULT_UNKNOWN_FIELD,
                         "model %s has no field '%.*s'; an index of a model in a field is dropped "
                         "where it is declared",
                         a->model->name, (int)(path_len < 80 ? path_len : 80), path);
    const struct field *of = &a->model->fields[field];
    a->field = (uint32_t)field;
    a->kinds = of->indexes & kinds;
    if (a->kinds == 0)
        return fault_set(f, FAULT_NO_INDEX, "field '%s' of model %s has no such index", of->name,
                         a->model->name);
    if ((of->indexes & INDEX_UNIQUE) && (a->kinds & INDEX_EXACT))
        return fault_set(f, FAULT_SCHEMA_CONFLICT,
                         "field '%s' of model %s is unique, which takes its exact index", of->name,
                         a->model->name);
    return 0;
}

static void on_refreshed(void *arg, bool asked)
{
    struct asking *a = arg;
    struct fault f;
    (void)asked;
    if (read_drop(a, &f) < 0)
        refuse(a, &f);
    else
        store(a);
}

static void drop(struct asking *a)
{
    struct fault f;
    if (++a->attempts <= 5) {
        registry_refresh(a->registry, on_refreshed, a);
        return;
    }
    fault_set(&f, FAULT_BUSY, "others keep declaring this model; try again");
    refuse(a, &f);
}

void index_drop_request(struct exec *e, struct registry *r, struct session *s,
                        const struct rpc *msg)
{
    struct asking *a = begin(e, s, msg);
    struct cursor in = cursor_of(a->params.data, a->params.len);
    struct fault f;
    const char *text;
    size_t len;
    a->registry = r;
    if (msg->nparams < 2 || msg->nparams > 3 || cursor_str(&in, &text, &len) < 0 ||
        cursor_str(&in, &text, &len) < 0) {
        fault_set(&f, FAULT_BAD_REQUEST, "index.drop takes [model, field, kind?]");
        refuse(a, &f);
        return;
    }
    drop(a);
}
