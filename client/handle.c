/* handle: see handle.h. */
#include "client/handle.h"
#include "client/pipeline.h"
#include "client/template.h"
#include "client/value.h"
#include "protocol/path.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- homes ---- */

struct home *home_new(rapyer *db, enum home_state state)
{
    struct home *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->refs = 1;
    h->db = db_ref(db);
    h->state = state;
    return h;
}

struct home *home_ref(struct home *h)
{
    h->refs++;
    return h;
}

void home_unref(struct home *h)
{
    while (h && --h->refs == 0) { /* a loop: chains of moved homes may be long */
        struct home *parent = h->parent;
        record_free(h->draft);
        free(h->pk);
        free(h->key);
        free(h->path);
        db_unref(h->db);
        free(h);
        h = parent;
    }
}

const struct model *home_model(const struct home *h)
{
    const char *colon = h->key ? strchr(h->key, ':') : NULL;
    if (h->draft)
        return h->draft->model;
    return colon ? schema_model(h->db->schema, h->key, (size_t)(colon - h->key)) : NULL;
}

static void leave_draft(struct home *h)
{
    record_free(h->draft);
    h->draft = NULL;
    h->in_flight = false;
}

void home_goes_live(struct home *h, char *key)
{
    leave_draft(h);
    h->state = HOME_LIVE;
    h->key = key;
}

void home_moves(struct home *h, struct home *to, char *path)
{
    leave_draft(h);
    h->state = HOME_MOVED;
    h->parent = home_ref(to);
    h->path = path;
}

char *home_future_key(const struct home *h)
{
    char *key;
    return asprintf(&key, "%s:%s", h->draft->model->name, h->pk) < 0 ? NULL : key;
}

/* ---- handles ---- */

rapyer_doc *handle_new(struct home *h, const char *path)
{
    rapyer_doc *at = calloc(1, sizeof *at);
    if (at)
        *at = (rapyer_doc){.tag = TAG_DOC, .home = h, .path = strdup(path)};
    if (at && at->path)
        return at;
    db_no_memory(h->db);
    home_unref(h);
    free(at);
    return NULL;
}

void rapyer_free(rapyer_doc *at)
{
    if (!at)
        return;
    pipeline_leave(at->pipeline, &at->savepoint);
    hold_unref(at->lock);
    home_unref(at->home);
    free(at->path);
    free(at->shown);
    free(at);
}

bool handle_is_whole(const rapyer_doc *at)
{
    return at->path[0] == '\0' && at->home->state == HOME_DRAFT;
}

static void join(struct buf *path, const char *more)
{
    if (path->len && *more && *more != '[')
        buf_append(path, ".", 1);
    buf_append(path, more, strlen(more));
}

/* From the outermost home to this one: the paths on the way. */
static struct home *follow(struct home *h, struct buf *path)
{
    if (h->state != HOME_MOVED)
        return h;
    struct home *base = follow(h->parent, path);
    join(path, h->path);
    return base;
}

/* A chain is as long as a document is deep: each home is an element of the one before. */
static int resolve(const rapyer_doc *at, const char *path, struct target *out)
{
    *out = (struct target){0};
    out->home = follow(at->home, &out->path);
    join(&out->path, at->path);
    join(&out->path, path ? path : "");
    return out->path.failed ? -1 : 0;
}

int handle_target(rapyer_doc *at, const char *path, struct target *out)
{
    if (!at)
        return -1;
    if (resolve(at, path, out) < 0) {
        buf_free(&out->path);
        out->home = NULL;
        return db_no_memory(at->home->db);
    }
    if (out->home->in_flight) {
        buf_free(&out->path);
        out->home = NULL;
        return db_failf(at->home->db, FAULT_BUSY,
                        "the draft is on its way to the daemon; wait for the answer");
    }
    home_ref(out->home); /* a callback may free the handle meanwhile */
    return 0;
}

void target_free(struct target *t)
{
    buf_free(&t->path);
    home_unref(t->home);
    t->home = NULL;
}

const char *target_path(const struct target *t, size_t *len)
{
    *len = t->path.len;
    return t->path.len ? (const char *)t->path.data : "";
}

rapyer_doc *rapyer_open(rapyer *db, const char *key)
{
    const char *model, *pk;
    size_t model_len, pk_len;
    struct fault f;
    if (!db)
        return NULL;
    if (!key || key_parse(key, strlen(key), &model, &model_len, &pk, &pk_len, &f) < 0) {
        if (key)
            db_fail(db, &f);
        else
            db_failf(db, FAULT_BAD_KEY, "the key is NULL");
        return NULL;
    }
    char *whole = db_whole_name(db, key);
    if (!whole)
        return NULL;
    struct home *h = home_new(db, HOME_LIVE);
    if (!h) {
        free(whole);
        db_no_memory(db);
        return NULL;
    }
    h->key = whole;
    h->pk = strdup(pk);
    if (h->key && h->pk)
        return handle_new(h, "");
    home_unref(h);
    db_no_memory(db);
    return NULL;
}

rapyer_doc *rapyer_at(rapyer_doc *at, const char *path_fmt, ...)
{
    struct buf path = BUF_INIT;
    struct fault f;
    rapyer_doc *inside = NULL;
    va_list ap;
    if (!at)
        return NULL;
    va_start(ap, path_fmt);
    join(&path, at->path);
    if (path.len && path_fmt && *path_fmt && *path_fmt != '[')
        buf_append(&path, ".", 1);
    int rc = template_path(path_fmt, &ap, &path, &f);
    va_end(ap);
    buf_append(&path, "", 1);
    if (rc < 0)
        db_fail(at->home->db, &f);
    else if (path.failed)
        db_no_memory(at->home->db);
    else
        inside = handle_new(home_ref(at->home), (const char *)path.data);
    if (inside) {
        inside->pipeline = pipeline_ref(at->pipeline);
        inside->lock = hold_ref(at->lock);
    } else if (at->pipeline)
        pipeline_spoil(at->pipeline, "rapyer_at");
    buf_free(&path);
    return inside;
}

/* ---- what they are ---- */

const char *rapyer_pk(rapyer_doc *at)
{
    return at && at->path[0] == '\0' ? at->home->pk : NULL;
}

const char *rapyer_key(rapyer_doc *at)
{
    struct home *h = at ? at->home : NULL;
    while (h && h->state == HOME_MOVED)
        h = h->parent;
    return h ? h->key : NULL;
}

const char *rapyer_path(rapyer_doc *at)
{
    struct target t;
    if (!at)
        return NULL;
    resolve(at, "", &t);
    buf_append(&t.path, "", 1);
    free(at->shown);
    at->shown = t.path.failed ? NULL : (char *)t.path.data;
    if (t.path.failed)
        buf_free(&t.path);
    return at->shown;
}

bool rapyer_is_draft(rapyer_doc *at)
{
    struct home *h = at ? at->home : NULL;
    while (h && h->state == HOME_MOVED)
        h = h->parent;
    return h && h->state == HOME_DRAFT;
}
