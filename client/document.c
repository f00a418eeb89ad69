/* document: whole documents: made, saved, read, counted, deleted. */
#include "client/namespace.h"
#include "client/pipeline.h"
#include "client/request.h"
#include "client/shared.h"
#include "client/value.h"
#include "protocol/path.h"
#include <stdlib.h>
#include <string.h>
#include <uuid.h>

/* ---- drafts ---- */

/* "User" or "User:pk", apart. */
static const struct model *find_model(rapyer *db, const char *name, const char **pk)
{
    const char *colon = name ? strchr(name, ':') : NULL;
    size_t len = colon ? (size_t)(colon - name) : name ? strlen(name) : 0;
    const struct model *m = db_model(db, name, len);
    struct fault f;
    *pk = colon ? colon + 1 : NULL;
    if (!m)
        fault_set(&f, FAULT_UNKNOWN_MODEL,
                  "model %.*s is not declared here; rapyer_define it first", (int)len,
                  name ? name : "");
    else if (!m->atomic)
        fault_set(&f, FAULT_BAD_VALUE,
                  "%s is a plain model: a value, to be written out where it belongs", m->name);
    else if (!*pk || pk_check(*pk, strlen(*pk), &f) == 0)
        return m;
    db_fail(db, &f);
    return NULL;
}

/* Builds the record out of a packed map; its pk goes to the home. */
static int fill_draft(struct home *h, const struct model *m, const char *pk, struct buf *map)
{
    struct fault f;
    struct cursor in = cursor_of(map->data, map->len);
    const char *s;
    size_t len;
    if (map->failed)
        return db_no_memory(h->db);
    if (record_build(m, RECORD_ROOT, pk, pk ? strlen(pk) : 0, &in, m->name, &h->draft, &f) < 0)
        return db_fail(h->db, &f);
    if (cell_get_str(&h->draft->pk, &s, &len) == 0)
        h->pk = strndup(s, len);
    cell_free(&h->draft->pk); /* as a model inside another it would have none: kept apart */
    return h->pk ? 0 : db_no_memory(h->db);
}

rapyer_doc *draft_of(rapyer *db, const char *model, struct buf *map, struct home *h,
                     struct moves *moves)
{
    const char *pk;
    const struct model *m = find_model(db, model, &pk);
    if (!m || fill_draft(h, m, pk, map) < 0) {
        moves_free(moves);
        home_unref(h);
        return NULL;
    }
    moves_done(moves, h);
    return handle_new(h, "");
}

rapyer_doc *rapyer_new(rapyer *db, const char *model, const char *fmt, ...)
{
    struct buf map = BUF_INIT;
    struct moves moves = {0};
    struct fault f;
    const char *pk;
    va_list ap;
    const struct model *m = db ? find_model(db, model, &pk) : NULL;
    struct home *h = m ? home_new(db, HOME_DRAFT) : NULL;
    rapyer_doc *draft = NULL;
    if (!m)
        return NULL;
    if (!h) {
        db_no_memory(db);
        return NULL;
    }
    struct embedding e = {.home = h, .model = m, .path = "", .into = INTO_PLACE, .moves = &moves};
    va_start(ap, fmt);
    if (template_value(fmt ? fmt : "{}", &ap, embed_draft, &e, &map, &f) < 0) {
        db_fail(db, &f);
        moves_free(&moves);
        home_unref(h);
    } else {
        draft = draft_of(db, model, &map, h, &moves);
    }
    va_end(ap);
    buf_free(&map);
    return draft;
}

/* Frees an answer that matters only by being there. */
static int done(rapyer_value *v)
{
    int rc = v ? 0 : -1;
    rapyer_value_free(v);
    return rc;
}

static int need_whole_draft(rapyer_doc *at)
{
    if (!at)
        return -1;
    if (!handle_is_whole(at))
        return db_failf(at->home->db, FAULT_BAD_VALUE,
                        "only a whole draft can be saved; this is %s",
                        rapyer_is_draft(at) ? "inside another draft: save that"
                        : at->path[0]       ? "a place in a document: use rapyer_set"
                                            : "in a document that is saved");
    if (at->home->in_flight)
        return db_failf(at->home->db, FAULT_BUSY, "the draft is on its way to the daemon");
    return 0;
}

/* key, map */
static void pack_draft(const struct home *h, const char *key, struct buf *out)
{
    pack_cstr(out, key);
    record_pack(h->draft, h->pk, strlen(h->pk), false, "", 0, NULL, out);
}

/* Takes key. */
static int gather_save(rapyer_doc *draft, char *key)
{
    struct buf params = BUF_INIT;
    pack_draft(draft->home, key, &params);
    int rc = pipeline_add(draft->pipeline, "doc.save", 2, &params, draft->home, true, draft->lock,
                          NULL, NULL);
    buf_free(&params);
    free(key);
    return rc;
}

int rapyer_save(rapyer_doc *draft)
{
    struct buf params = BUF_INIT;
    if (need_whole_draft(draft) < 0)
        return draft && draft->pipeline ? pipeline_spoil(draft->pipeline, "doc.save") : -1;
    struct home *h = home_ref(draft->home);
    char *key = home_future_key(h);
    if (!key) {
        home_unref(h);
        return db_no_memory(draft->home->db);
    }
    if (draft->pipeline) {
        home_unref(h);
        return gather_save(draft, key);
    }
    pack_draft(h, key, &params);
    h->in_flight = true;
    rapyer_value *v = request_wait(h->db, "doc.save", 2, &params);
    h->in_flight = false;
    buf_free(&params);
    if (v)
        home_goes_live(h, key);
    else
        free(key);
    home_unref(h);
    return done(v);
}

static int check_insert(rapyer *db, rapyer_doc *const *drafts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (need_whole_draft(drafts[i]) < 0)
            return -1;
        if (drafts[i]->home->db != db)
            return db_failf(db, FAULT_BAD_VALUE, "draft %zu belongs to another connection", i);
        for (size_t j = 0; j < i; j++) {
            if (drafts[j]->home == drafts[i]->home)
                return db_failf(db, FAULT_BAD_VALUE, "drafts %zu and %zu are the same", j, i);
        }
    }
    return 0;
}

/* Behind the documents: {parts: true}. */
static void pack_parts(struct buf *params)
{
    pack_map(params, 1);
    pack_cstr(params, "parts");
    pack_bool(params, true);
}

/* Whether the answer to doc.insert has the draft of this key: "saved" of one in parts. */
static bool is_saved(const rapyer_value *v, const char *key, bool parts)
{
    const rapyer_value *saved = v && parts ? rapyer_get(v, "saved") : NULL;
    bool found = v && !parts;
    for (size_t i = 0; saved && !found && i < rapyer_len(saved); i++)
        found = strcmp(rapyer_str(rapyer_item(saved, i), "key", ""), key) == 0;
    return found;
}

static rapyer_value *insert(rapyer *db, rapyer_doc *const *drafts, size_t n, bool parts)
{
    struct buf params = BUF_INIT;
    bool complete = true;
    if (!db || check_insert(db, drafts, n) < 0)
        return NULL;
    char **keys = calloc(n + 1, sizeof *keys);
    pack_array(&params, (uint32_t)n);
    for (size_t i = 0; keys && i < n; i++) {
        keys[i] = home_future_key(drafts[i]->home);
        complete = complete && keys[i];
        pack_array(&params, 2);
        pack_draft(drafts[i]->home, keys[i] ? keys[i] : "", &params);
        drafts[i]->home->in_flight = true;
    }
    if (parts)
        pack_parts(&params);
    rapyer_value *v = keys && complete ? request_wait(db, "doc.insert", 1 + parts, &params) : NULL;
    if (!keys || !complete)
        db_no_memory(db);
    for (size_t i = 0; keys && i < n; i++) {
        drafts[i]->home->in_flight = false;
        if (is_saved(v, keys[i], parts))
            home_goes_live(drafts[i]->home, keys[i]);
        else
            free(keys[i]);
    }
    free(keys);
    buf_free(&params);
    return v;
}

int rapyer_insert_many(rapyer *db, rapyer_doc *const *drafts, size_t n)
{
    return done(insert(db, drafts, n, false));
}

rapyer_value *rapyer_insert_parts(rapyer *db, rapyer_doc *const *drafts, size_t n)
{
    return insert(db, drafts, n, true);
}

/* ---- saved ones ---- */

/* The key of a whole saved document; NULL with an error otherwise. */
static const char *need_key(rapyer_doc *at)
{
    if (!at)
        return NULL;
    if (at->home->state == HOME_LIVE && !at->path[0])
        return at->home->key;
    db_failf(at->home->db, FAULT_BAD_VALUE, "this needs a whole saved document, not %s",
             rapyer_is_draft(at) ? "a draft" : "a place inside one");
    return NULL;
}

static rapyer_value *with_key(rapyer_doc *at, const char *method, bool writes)
{
    struct buf params = BUF_INIT;
    const char *key = need_key(at);
    if (!key)
        return NULL;
    pack_cstr(&params, key);
    rapyer_value *v = hold_request(at->lock, at->home->db, method, writes, 1, &params);
    buf_free(&params);
    return v;
}

static int64_t number_of(rapyer_value *v)
{
    int64_t n = v ? rapyer_int(v, "", 0) : -1;
    rapyer_value_free(v);
    return n;
}

static rapyer_value *read_draft(struct home *h)
{
    struct buf out = BUF_INIT;
    struct fault f;
    record_pack(h->draft, h->pk, strlen(h->pk), true, "", 0, NULL, &out);
    struct cursor in = cursor_of(out.data, out.len);
    rapyer_value *v = out.failed ? NULL : value_parse(in, 0, SIZE_MAX, &f);
    buf_free(&out);
    if (!v)
        db_no_memory(h->db);
    return v;
}

/* Without asking the daemon, if that can be. A lock that is lost is told of, whoever answers. */
static rapyer_value *read_shared(rapyer_doc *doc, bool version)
{
    if (doc->home->state != HOME_LIVE || *doc->path || (doc->lock && hold_check(doc->lock) < 0))
        return NULL;
    return shared_document(doc->home->db, doc->home->key, version, false);
}

rapyer_value *rapyer_fetch(rapyer_doc *at)
{
    if (!at)
        return NULL;
    if (handle_is_whole(at))
        return read_draft(at->home);
    if (at->home->state != HOME_LIVE || at->path[0])
        return rapyer_load(at, "");
    rapyer_value *v = read_shared(at, false);
    return v ? v : with_key(at, "doc.get", false);
}

/* params NULL: the document's key. It is freed. */
static int gather(rapyer_doc *doc, const char *method, uint32_t nparams, struct buf *params)
{
    struct buf own = BUF_INIT;
    const char *key = need_key(doc);
    if (!key) {
        if (params)
            buf_free(params);
        return pipeline_spoil(doc->pipeline, method);
    }
    if (!params)
        pack_cstr(&own, key);
    int rc = pipeline_add(doc->pipeline, method, nparams, params ? params : &own, doc->home, false,
                          doc->lock, NULL, NULL);
    buf_free(&own);
    if (params)
        buf_free(params);
    return rc;
}

/* doc.get with one option that is set. */
static rapyer_value *fetch_with(rapyer_doc *doc, const char *key, const char *option)
{
    struct buf params = BUF_INIT;
    pack_cstr(&params, key);
    pack_map(&params, 1);
    pack_cstr(&params, option);
    pack_bool(&params, true);
    rapyer_value *v = hold_request(doc->lock, doc->home->db, "doc.get", false, 2, &params);
    buf_free(&params);
    return v;
}

rapyer_value *rapyer_fetch_version(rapyer_doc *doc)
{
    const char *key = need_key(doc);
    rapyer_value *shared = key ? read_shared(doc, true) : NULL;
    return !key || shared ? shared : fetch_with(doc, key, "version");
}

rapyer_value *rapyer_fetch_refs(rapyer_doc *doc, int depth, const char *const *fields, size_t n)
{
    struct buf params = BUF_INIT;
    const char *key = need_key(doc);
    if (!key)
        return NULL;
    pack_cstr(&params, key);
    pack_map(&params, 2);
    pack_cstr(&params, "depth");
    pack_int(&params, depth);
    pack_cstr(&params, "resolve");
    if (n == 0)
        pack_bool(&params, true);
    else
        pack_array(&params, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        pack_cstr(&params, fields[i] ? fields[i] : "");
    rapyer_value *v = hold_request(doc->lock, doc->home->db, "doc.get", false, 2, &params);
    buf_free(&params);
    return v;
}

rapyer_value *rapyer_fetch_touch(rapyer_doc *doc)
{
    const char *key = need_key(doc);
    return key ? fetch_with(doc, key, "touch") : NULL;
}

/* What is asked for the document that a reference names. -1: error left with the connection. */
static int ask_ref(rapyer_doc *at, const char *path, const char **method, struct buf *params)
{
    struct target t;
    if (handle_target(at, path, &t) < 0)
        return -1;
    size_t len;
    const char *whole = target_path(&t, &len);
    *method = "ref.get";
    pack_cstr(params, t.home->state == HOME_LIVE ? t.home->key : "");
    pack_str(params, whole, len);
    bool draft = t.home->state != HOME_LIVE;
    target_free(&t);
    if (!draft)
        return 2;
    rapyer_value *ref = rapyer_load(at, path);
    const char *key = rapyer_str(ref, "", NULL);
    *method = "doc.get";
    buf_clear(params);
    if (key)
        pack_cstr(params, key);
    else if (ref)
        db_failf(at->home->db, FAULT_BAD_TYPE, "'%s' of the draft names no document", path);
    rapyer_value_free(ref);
    return key ? 1 : -1;
}

rapyer_value *rapyer_fetch_ref(rapyer_doc *at, const char *path)
{
    struct buf params = BUF_INIT;
    const char *method;
    rapyer_value *v = NULL;
    int n = at ? ask_ref(at, path, &method, &params) : -1;
    if (n > 0)
        v = hold_request(at->lock, at->home->db, method, false, (uint32_t)n, &params);
    buf_free(&params);
    return v;
}

int rapyer_send_fetch_ref(rapyer_doc *at, rapyer_callback *cb, void *user, const char *path)
{
    struct buf params = BUF_INIT;
    const char *method;
    int n = at && hold_check(at->lock) == 0 ? ask_ref(at, path, &method, &params) : -1;
    int rc = n > 0 ? request_call(at->home->db, cb, user, method, (uint32_t)n, &params) : -1;
    buf_free(&params);
    return rc;
}

int rapyer_delete(rapyer_doc *doc)
{
    if (doc && doc->pipeline)
        return gather(doc, "doc.delete", 1, NULL);
    return (int)number_of(with_key(doc, "doc.delete", true));
}

int rapyer_exists(rapyer_doc *doc)
{
    if (doc && rapyer_is_draft(doc))
        return 0;
    return (int)number_of(with_key(doc, "doc.exists", false));
}

int64_t rapyer_ttl(rapyer_doc *doc)
{
    rapyer_value *v = with_key(doc, "doc.ttl", false);
    if (!v)
        return -1;
    int64_t left = number_of(v);
    return left < 0 ? 0 : left; /* -1 on the wire: for ever */
}

int rapyer_set_ttl(rapyer_doc *doc, int64_t seconds)
{
    struct buf params = BUF_INIT;
    const char *key = need_key(doc);
    if (!key)
        return -1;
    pack_cstr(&params, key);
    pack_int(&params, seconds);
    if (doc->pipeline)
        return gather(doc, "doc.ttl", 2, &params);
    rapyer_value *v = hold_request(doc->lock, doc->home->db, "doc.ttl", true, 2, &params);
    buf_free(&params);
    return done(v);
}

int rapyer_persist(rapyer_doc *doc)
{
    if (doc && doc->pipeline)
        return gather(doc, "doc.persist", 1, NULL);
    rapyer_value *v = with_key(doc, "doc.persist", true);
    int had = v ? rapyer_bool(v, "", false) : -1;
    rapyer_value_free(v);
    return had;
}

/* Of a pipeline: a handle on what there will be, so its pk must be known here. */
static rapyer_doc *gather_duplicate(rapyer_doc *doc, const char *key, const char *pk)
{
    char random[37];
    uuid_t id;
    struct buf params = BUF_INIT, copy = BUF_INIT;
    if (!pk) {
        uuid_generate_random(id);
        uuid_unparse_lower(id, random);
        pk = random;
    }
    pack_cstr(&params, key);
    pack_cstr(&params, pk);
    buf_printf(&copy, "%.*s:%s", (int)strcspn(key, ":"), key, pk);
    buf_append(&copy, "", 1);
    rapyer_doc *handle = copy.failed ? NULL : rapyer_open(doc->home->db, (char *)copy.data);
    if (copy.failed)
        db_no_memory(doc->home->db);
    buf_free(&copy);
    if (gather(doc, "doc.duplicate", 2, &params) < 0) {
        rapyer_free(handle);
        return NULL;
    }
    return handle;
}

rapyer_doc *rapyer_duplicate(rapyer_doc *doc, const char *pk)
{
    struct buf params = BUF_INIT;
    const char *key = need_key(doc);
    if (!key)
        return NULL;
    if (doc->pipeline)
        return gather_duplicate(doc, key, pk);
    pack_cstr(&params, key);
    if (pk)
        pack_cstr(&params, pk);
    rapyer_value *v =
        hold_request(doc->lock, doc->home->db, "doc.duplicate", true, pk ? 2 : 1, &params);
    buf_free(&params);
    rapyer_doc *copy = v ? rapyer_open(doc->home->db, rapyer_str(v, "key", NULL)) : NULL;
    rapyer_value_free(v);
    return copy;
}

static void pack_keys(const rapyer *db, const char *const *keys, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        struct buf whole = BUF_INIT;
        const char *key = keys[i] ? keys[i] : "";
        namespace_name(db->namespace, key, strlen(key), &whole);
        pack_str(out, whole.len ? (char *)whole.data : "", whole.len);
        out->failed |= whole.failed;
        buf_free(&whole);
    }
}

rapyer_value *rapyer_get_many(rapyer *db, const char *const *keys, size_t n)
{
    struct buf params = BUF_INIT;
    rapyer_value *shared = db && !db->namespace ? shared_many(db, keys, n) : NULL;
    if (!db || shared)
        return shared;
    pack_array(&params, (uint32_t)n);
    pack_keys(db, keys, n, &params);
    rapyer_value *v = request_wait(db, "doc.get_many", 1, &params);
    buf_free(&params);
    return v;
}

rapyer_value *rapyer_delete_parts(rapyer *db, const char *const *keys, size_t n)
{
    struct buf params = BUF_INIT;
    if (!db)
        return NULL;
    pack_keys(db, keys, n, &params);
    pack_parts(&params);
    rapyer_value *v = request_wait(db, "doc.delete", (uint32_t)n + 1, &params);
    buf_free(&params);
    return v;
}

/* ---- keys ---- */

/* Appends the keys of one page, and leaves its cursor. 1: there are more, 0: that was all. */
static int keys_page(rapyer *db, const char *model, char **cursor, struct buf *out, uint32_t *n)
{
    rapyer_value *page =
        rapyer_call(db, "doc.keys", "%s, {cursor: %s, count: 1000}", model, *cursor);
    const rapyer_value *keys = rapyer_get(page, "keys");
    if (!page)
        return -1;
    for (size_t i = 0; i < rapyer_len(keys); i++)
        value_pack(rapyer_item(keys, i), out);
    *n += (uint32_t)rapyer_len(keys);
    free(*cursor);
    *cursor = strdup(rapyer_str(page, "cursor", "0"));
    rapyer_value_free(page);
    if (!*cursor)
        return db_no_memory(db);
    return strcmp(*cursor, "0") != 0;
}

static rapyer_value *all_keys(rapyer *db, const char *model)
{
    struct buf out = BUF_INIT;
    struct fault f;
    uint32_t n = 0;
    char *cursor = strdup("0");
    rapyer_value *all = NULL;
    int more;
    if (!db || !cursor) {
        free(cursor);
        return NULL;
    }
    size_t head = pack_array_open(&out);
    while ((more = keys_page(db, model, &cursor, &out, &n)) > 0)
        continue;
    if (more == 0) {
        pack_array_close(&out, head, n);
        struct cursor in = cursor_of(out.data, out.len);
        all = out.failed ? NULL : value_parse(in, 0, SIZE_MAX, &f);
        if (!all)
            db_no_memory(db);
    }
    free(cursor);
    buf_free(&out);
    return all;
}

rapyer_value *rapyer_keys(rapyer *db, const char *model)
{
    char *whole = db && model ? db_whole_name(db, model) : NULL;
    rapyer_value *keys = db && (whole || !model) ? all_keys(db, whole) : NULL;
    free(whole);
    return keys;
}
