/* find: see find.h.
 *
 *   asked ── find {limit, cursor} ──► page: keys, documents ── rapyer_next ──► one after the other
 *     ▲                                 │
 *     └────────── at: its cursor ◄──────┘
 */
#include "client/find.h"
#include "client/db.h"
#include "client/expression_text.h"
#include "client/request.h"
#include <stdlib.h>
#include <string.h>

/* Documents that are asked for at once; those of which only the keys are wanted, or which are
 * sorted for each page; and as many as the daemon gives. */
#define PAGE 100
#define PAGE_OF_KEYS 1000
#define PAGE_MAX 10000

struct rapyer_cursor {
    rapyer *db;
    struct buf asked;   /* packed: the model and the expression, */
    struct buf options; /* and pairs of those options that are the same for each page */
    uint32_t noptions;
    int64_t limit, left; /* left: documents that are still wanted */
    char *at;            /* where the next page begins; NULL: at the beginning */
    bool ended;          /* no page comes any more */
    rapyer_value *page;
    size_t next; /* in it */
};

static void option_true(struct rapyer_cursor *c, const char *name, bool set)
{
    if (!set)
        return;
    pack_cstr(&c->options, name);
    pack_bool(&c->options, true);
    c->noptions++;
}

static void pack_options(struct rapyer_cursor *c, const rapyer_find_options *how)
{
    if (how->sort != NULL) {
        pack_cstr(&c->options, "sort");
        pack_cstr(&c->options, how->sort);
        c->noptions++;
    }
    if (how->npaths > 0) {
        pack_cstr(&c->options, "paths");
        pack_array(&c->options, (uint32_t)how->npaths);
        for (size_t i = 0; i < how->npaths; i++)
            pack_cstr(&c->options, how->paths[i]);
        c->noptions++;
    }
    option_true(c, "keys", how->keys);
    option_true(c, "scan", how->scan);
    option_true(c, "fresh", how->fresh);
    option_true(c, "version", how->version);
}

int find_pack_asked(rapyer *db, const char *model, const struct buf *expression, struct buf *out)
{
    char *whole = db_whole_name(db, model);
    if (whole == NULL)
        return -1;
    pack_cstr(out, whole);
    buf_append(out, expression->data, expression->len);
    out->failed |= expression->failed;
    free(whole);
    return 0;
}

int find_check(rapyer *db, const rapyer_find_options *how)
{
    if (how->limit < 0 || how->page < 0 || how->page > PAGE_MAX)
        return db_failf(db, FAULT_BAD_REQUEST,
                        "find: limit and page cannot be negative, and page is at most %d",
                        PAGE_MAX);
    return 0;
}

void rapyer_cursor_free(rapyer_cursor *c)
{
    if (c == NULL)
        return;
    buf_free(&c->asked);
    buf_free(&c->options);
    free(c->at);
    rapyer_value_free(c->page);
    db_unref(c->db);
    free(c);
}

static rapyer_cursor *cursor_new(rapyer *db, const char *model, const rapyer_find_options *how,
                                 const struct buf *expression)
{
    static const rapyer_find_options none;
    how = how != NULL ? how : &none;
    if (find_check(db, how) < 0)
        return NULL;
    rapyer_cursor *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        db_no_memory(db);
        return NULL;
    }
    c->db = db_ref(db);
    c->limit = how->page > 0 ? how->page : how->keys || how->sort != NULL ? PAGE_OF_KEYS : PAGE;
    c->left = how->limit > 0 ? how->limit : INT64_MAX;
    c->at = how->cursor != NULL ? strdup(how->cursor) : NULL;
    pack_options(c, how);
    bool complete =
        find_pack_asked(db, model, expression, &c->asked) == 0 && (c->at || !how->cursor);
    if (complete)
        return c;
    rapyer_cursor_free(c);
    db_no_memory(db);
    return NULL;
}

static rapyer_value *ask(struct rapyer_cursor *c, int64_t limit, bool explain)
{
    struct buf params = BUF_INIT;
    buf_append(&params, c->asked.data, c->asked.len);
    pack_map(&params, c->noptions + 1 + (c->at != NULL) + explain);
    buf_append(&params, c->options.data, c->options.len);
    pack_cstr(&params, "limit");
    pack_int(&params, limit);
    if (c->at != NULL) {
        pack_cstr(&params, "cursor");
        pack_cstr(&params, c->at);
    }
    if (explain) {
        pack_cstr(&params, "explain");
        pack_bool(&params, true);
    }
    params.failed |= c->asked.failed || c->options.failed;
    rapyer_value *v = request_wait(c->db, "find", 3, &params);
    buf_free(&params);
    return v;
}

/* The next page takes the place of the one that was gone through. */
static int next_page(struct rapyer_cursor *c)
{
    int64_t limit = c->left < c->limit ? c->left : c->limit;
    rapyer_value *page = ask(c, limit, false);
    if (page == NULL)
        return -1;
    const char *cursor = rapyer_str(page, "cursor", NULL);
    char *at = cursor != NULL ? strdup(cursor) : NULL;
    if (cursor != NULL && at == NULL) {
        rapyer_value_free(page);
        return db_no_memory(c->db);
    }
    c->ended = at == NULL;
    free(c->at);
    c->at = at;
    rapyer_value_free(c->page);
    c->page = page;
    c->next = 0;
    return 0;
}

rapyer_cursor *find_begin(rapyer *db, const char *model, const rapyer_find_options *how,
                          const struct buf *expression)
{
    rapyer_cursor *c = cursor_new(db, model, how, expression);
    if (c == NULL || next_page(c) == 0)
        return c;
    rapyer_cursor_free(c);
    return NULL;
}

rapyer_value *find_explain(rapyer *db, const char *model, const rapyer_find_options *how,
                           const struct buf *expression)
{
    rapyer_cursor *c = cursor_new(db, model, how, expression);
    rapyer_value *v = c != NULL ? ask(c, c->left < c->limit ? c->left : c->limit, true) : NULL;
    rapyer_cursor_free(c);
    return v;
}

const char *rapyer_next(rapyer_cursor *c)
{
    if (c == NULL || c->left == 0)
        return NULL;
    const rapyer_value *keys = rapyer_get(c->page, "keys");
    while (c->next >= rapyer_len(keys)) {
        if (c->ended || next_page(c) < 0)
            return NULL;
        keys = rapyer_get(c->page, "keys");
    }
    c->left--;
    return rapyer_str(rapyer_item(keys, c->next++), "", NULL);
}

const rapyer_value *rapyer_found(const rapyer_cursor *c)
{
    if (c == NULL || c->next == 0)
        return NULL;
    return rapyer_item(rapyer_get(c->page, "documents"), c->next - 1);
}

const char *rapyer_cursor_at(const rapyer_cursor *c)
{
    return c != NULL ? c->at : NULL;
}

int64_t find_count(rapyer *db, const char *model, const rapyer_find_options *how,
                   const struct buf *expression)
{
    struct buf params = BUF_INIT;
    if (find_pack_asked(db, model, expression, &params) < 0)
        return -1;
    pack_map(&params, 2);
    pack_cstr(&params, "scan");
    pack_bool(&params, how != NULL && how->scan);
    pack_cstr(&params, "fresh");
    pack_bool(&params, how != NULL && how->fresh);
    rapyer_value *v = request_wait(db, "find.count", 3, &params);
    int64_t n = v != NULL ? rapyer_int(v, "", 0) : -1;
    buf_free(&params);
    rapyer_value_free(v);
    return n;
}

/* ---- with an expression as text ---- */

/* -1: the error is left with the connection, which may be NULL. */
static int pack_text(rapyer *db, const char *model, const char *fmt, va_list *ap, struct buf *out)
{
    struct fault f;
    if (db == NULL)
        return -1;
    if (model == NULL)
        return db_failf(db, FAULT_BAD_REQUEST, "find: the model is NULL");
    return expression_text(fmt, ap, out, &f) < 0 ? db_fail(db, &f) : 0;
}

rapyer_cursor *rapyer_find(rapyer *db, const char *model, const rapyer_find_options *how,
                           const char *fmt, ...)
{
    struct buf expression = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    rapyer_cursor *c = pack_text(db, model, fmt, &ap, &expression) == 0
                           ? find_begin(db, model, how, &expression)
                           : NULL;
    va_end(ap);
    buf_free(&expression);
    return c;
}

int64_t rapyer_find_count(rapyer *db, const char *model, const rapyer_find_options *how,
                          const char *fmt, ...)
{
    struct buf expression = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    int64_t n = pack_text(db, model, fmt, &ap, &expression) == 0
                    ? find_count(db, model, how, &expression)
                    : -1;
    va_end(ap);
    buf_free(&expression);
    return n;
}
