/* find_change: changes what an expression finds, a question for some of it after the other.
 *
 *   asked ── find.update {limit, cursor} ──► updated, refused, cursor ─┐
 *     ▲                                                                │
 *     └────────────────────────────────────────────────────────────────┘
 */
#include "client/db.h"
#include "client/expression_text.h"
#include "client/find.h"
#include "client/request.h"
#include "client/template.h"
#include <stdlib.h>
#include <string.h>

#define SHARE 1000 /* documents that are asked for at once */

struct asking {
    rapyer *db;
    const rapyer_find_options *how;
    bool update;
    struct buf asked; /* packed: what is the same in each question */
    char *at;         /* a cursor; NULL: at the beginning */
};

static void pack_options(const struct asking *a, int64_t limit, struct buf *out)
{
    const rapyer_find_options *how = a->how;
    pack_map(out, 3 + (how->sort != NULL) + (a->at != NULL));
    pack_cstr(out, "limit");
    pack_int(out, limit);
    pack_cstr(out, "scan");
    pack_bool(out, how->scan);
    pack_cstr(out, "fresh");
    pack_bool(out, how->fresh);
    if (how->sort != NULL) {
        pack_cstr(out, "sort");
        pack_cstr(out, how->sort);
    }
    if (a->at != NULL) {
        pack_cstr(out, "cursor");
        pack_cstr(out, a->at);
    }
}

static rapyer_value *ask(const struct asking *a, int64_t limit)
{
    struct buf params = BUF_INIT;
    buf_append(&params, a->asked.data, a->asked.len);
    pack_options(a, limit, &params);
    params.failed |= a->asked.failed;
    rapyer_value *v =
        request_wait(a->db, a->update ? "find.update" : "find.delete", a->update ? 4 : 3, &params);
    buf_free(&params);
    return v;
}

static void tell_refused(const rapyer_value *refused, struct find_changes *done)
{
    for (size_t i = 0; i < rapyer_len(refused); i++) {
        const rapyer_value *one = rapyer_item(refused, i);
        const char *key = rapyer_str(rapyer_item(one, 0), "", "");
        done->on_refused(done->arg, key, rapyer_str(rapyer_item(one, 1), "", ""));
    }
    done->refused += (int64_t)rapyer_len(refused);
}

/* An error of the daemon, "CODE: text", as one of this call. */
static int fail_as(rapyer *db, const char *error)
{
    struct fault f;
    const char *text;
    size_t len;
    enum fault_code code = fault_parse(error, strlen(error), &text, &len);
    fault_set(&f, code, "%.*s", (int)len, text);
    return db_fail(db, &f);
}

/* Moves on behind what was done. -1: it ended before. */
static int take(struct asking *a, const rapyer_value *v, struct find_changes *done)
{
    const char *cursor = rapyer_str(v, "cursor", NULL), *why = rapyer_str(v, "stopped", NULL);
    done->changed += rapyer_int(v, a->update ? "updated" : "deleted", 0);
    tell_refused(rapyer_get(v, "refused"), done);
    free(a->at);
    a->at = cursor != NULL ? strdup(cursor) : NULL;
    if (cursor != NULL && a->at == NULL)
        return db_no_memory(a->db);
    return why != NULL ? fail_as(a->db, why) : 0;
}

int find_change(rapyer *db, const char *model, const rapyer_find_options *how,
                const struct buf *expression, const struct buf *operations,
                struct find_changes *done)
{
    static const rapyer_find_options none;
    struct asking a = {.db = db, .how = how != NULL ? how : &none, .update = operations != NULL};
    int64_t limit = a.how->limit;
    if (find_check(db, a.how) < 0 || find_pack_asked(db, model, expression, &a.asked) < 0)
        return -1;
    if (operations != NULL)
        buf_append(&a.asked, operations->data, operations->len);
    a.at = a.how->cursor != NULL ? strdup(a.how->cursor) : NULL;
    int rc = a.how->cursor != NULL && a.at == NULL ? db_no_memory(db) : 0;
    bool more = true;
    while (rc == 0 && more && (limit == 0 || done->changed < limit)) {
        int64_t share = limit == 0 || limit - done->changed > SHARE ? SHARE : limit - done->changed;
        rapyer_value *v = ask(&a, share);
        rc = v != NULL ? take(&a, v, done) : -1;
        more = a.at != NULL;
        rapyer_value_free(v);
    }
    free(a.at);
    buf_free(&a.asked);
    return rc;
}

/* ---- with an expression as text ---- */

/* The first refusal is what the call ends with, when all that could be done is. */
static void note_first(void *arg, const char *key, const char *why)
{
    struct buf *first = arg;
    const char *text;
    size_t len;
    enum fault_code code = fault_parse(why, strlen(why), &text, &len);
    if (first->len == 0) {
        buf_printf(first, "%s: %s: ", fault_name(code), key);
        buf_append(first, text, len);
        buf_append(first, "", 1);
    }
}

static int64_t change(rapyer *db, const char *model, const rapyer_find_options *how,
                      const char *operations, const char *fmt, va_list *ap)
{
    struct buf packed = BUF_INIT, expression = BUF_INIT, first = BUF_INIT;
    struct fault f;
    struct find_changes done = {.on_refused = note_first, .arg = &first};
    if (db == NULL)
        return -1;
    int rc = model == NULL ? db_failf(db, FAULT_BAD_REQUEST, "find: the model is NULL") : 0;
    if (rc == 0 && ((operations != NULL &&
                     template_value(operations, ap, embed_value, NULL, &packed, &f) < 0) ||
                    expression_text(fmt, ap, &expression, &f) < 0))
        rc = db_fail(db, &f);
    if (rc == 0)
        rc = find_change(db, model, how, &expression, operations != NULL ? &packed : NULL, &done);
    if (rc == 0 && done.refused > 0)
        rc = first.failed ? db_no_memory(db) : fail_as(db, (char *)first.data);
    buf_free(&first);
    buf_free(&packed);
    buf_free(&expression);
    return rc == 0 ? done.changed : -1;
}

int64_t rapyer_find_update(rapyer *db, const char *model, const rapyer_find_options *how,
                           const char *operations, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int64_t n = change(db, model, how, operations != NULL ? operations : "[]", fmt, &ap);
    va_end(ap);
    return n;
}

int64_t rapyer_find_delete(rapyer *db, const char *model, const rapyer_find_options *how,
                           const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int64_t n = change(db, model, how, NULL, fmt, &ap);
    va_end(ap);
    return n;
}
