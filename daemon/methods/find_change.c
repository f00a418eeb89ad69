/* find_change: what find.update and find.delete do with the documents that they find.
 *
 *   a page's documents ──► one call of exec for each: does the expression hold? ──► its commit
 *                ▲                                                                     │
 *                └──── others of the page, while fewer than `limit` were changed ◄─────┘
 *
 * What is decided in a call is relied upon like what an `if` of a pipeline looks at: where Redis
 * holds something else the call is done again. So a document is changed if the expression holds for
 * it when it is changed, as a whole, and else left alone. No two calls are about one document.
 */
#include "daemon/methods/find_inside.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/refresh.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define REFUSED_MAX 100          /* documents that an answer names */
#define AT_ONCE_BYTES (4u << 20) /* of operations, in calls that are on their way */

struct one {
    struct find *find;
    char *key;
    bool again;        /* nothing was done, for a reason that will go away */
    struct buf params; /* of its call */
};

struct changing {
    struct one *all; /* of the page */
    unsigned n, cap;
    unsigned begun;   /* so many of them */
    unsigned pending; /* calls that have not ended */
    int64_t changed;
    struct buf refused; /* packed pairs: key, "CODE: text" */
    uint32_t nrefused;
    struct fault stop; /* why no others are begun */
};

static void one_free(struct one *o)
{
    free(o->key);
    buf_free(&o->params);
}

static void clear(struct changing *ch)
{
    for (unsigned i = 0; i < ch->n; i++)
        one_free(&ch->all[i]);
    ch->n = ch->begun = 0;
}

void find_change_free(struct find *fi)
{
    if (fi->changing == NULL)
        return;
    clear(fi->changing);
    free(fi->changing->all);
    buf_free(&fi->changing->refused);
    free(fi->changing);
}

void find_change_add(struct find *fi, const char *key, size_t len)
{
    if (fi->changing == NULL)
        fi->changing = alloc_zeroed(1, sizeof(*fi->changing));
    struct changing *ch = fi->changing;
    struct one o = {.find = fi, .key = alloc_text("%.*s", (int)len, key)};
    vec_push(ch->all, ch->n, ch->cap, o);
}

/* ---- one document ---- */

static int update_docs(struct call *c, struct fault *f)
{
    return pipeline_admit(c, c->request.params, false, false, f);
}

static int delete_docs(struct call *c, struct fault *f)
{
    c->spares_unique = true; /* what ends a document only sets its values free */
    c->asks = "doc.delete";
    return params_docs(c, &c->request.params, 1, f);
}

static enum op_status change_run(struct call *c, struct buf *out)
{
    const struct one *o = c->request.context;
    struct doc *d = call_doc_at(c, 0);
    bool holds = false;
    enum op_status st = call_known(c, d);
    if (st != OP_DONE)
        return st;
    call_computes(c, d); /* also where it is left alone */
    struct needs needs = call_needs(c, d);
    if (d->state == DOC_PRESENT)
        st = expression_holds(o->find->e, d->root, &needs, &holds, &c->fault);
    if (st != OP_DONE)
        return st;
    if (!holds) {
        pack_nil(out);
        return OP_DONE;
    }
    if (o->find->what == FIND_UPDATE)
        return pipeline_perform(c, out);
    st = doc_delete(c, d);
    pack_bool(out, true);
    return st;
}

/* Whether it is about this document alone: others may do without. */
static bool is_its_own(const struct fault *f)
{
    switch (f->code) {
    case FAULT_NOT_FOUND:
    case FAULT_OUT_OF_RANGE:
    case FAULT_BAD_VALUE:
    case FAULT_CONFLICT:
    case FAULT_CORRUPT:
    case FAULT_TOO_LARGE: return true;
    default: return false;
    }
}

static void note_refused(struct changing *ch, const struct one *o, const struct fault *f)
{
    char *text = alloc_text("%s: %s", fault_name(f->code), f->text);
    pack_array(&ch->refused, 2);
    pack_cstr(&ch->refused, o->key);
    pack_cstr(&ch->refused, text);
    ch->nrefused++;
    free(text);
}

static void take(struct changing *ch, struct one *o, const struct fault *f)
{
    bool unknown = f->code == FAULT_UNKNOWN_OUTCOME || f->code == FAULT_NOT_DURABLE;
    if (f->code == FAULT_NOT_DURABLE)
        ch->changed++;
    if (is_its_own(f) || unknown)
        note_refused(ch, o, f);
    else
        o->again = true;
    if (!is_its_own(f) && ch->stop.code == FAULT_NONE)
        ch->stop = *f;
}

static void go_on(struct find *fi);

static bool was_left(const struct buf *out)
{
    struct cursor in = cursor_of(out->data, out->len);
    return cursor_nil(&in);
}

static void one_ended(void *arg)
{
    const struct one *o = arg;
    if (--o->find->changing->pending == 0)
        go_on(o->find);
}

static void change_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct one *o = c->request.context;
    struct changing *ch = o->find->changing;
    if (f != NULL)
        take(ch, o, f);
    else
        ch->changed += !was_left(out);
    if (f != NULL || !refresh_then(c, one_ended, o))
        one_ended(o);
}

static const struct method update_method = {
    .name = "find.update", .docs = update_docs, .run = change_run, .finish = change_finish};
static const struct method delete_method = {
    .name = "find.delete", .docs = delete_docs, .run = change_run, .finish = change_finish};

/* The operations, each with the key. */
static void pack_operations(struct cursor in, struct one *o)
{
    uint32_t n, words;
    const uint8_t *bytes;
    size_t len;
    cursor_array(&in, &n);
    pack_array(&o->params, n);
    for (uint32_t i = 0; i < n; i++) {
        cursor_array(&in, &words);
        pack_array(&o->params, words + 1);
        for (uint32_t word = 0; word < words; word++) {
            cursor_value(&in, &bytes, &len);
            buf_append(&o->params, bytes, len);
            if (word == 0)
                pack_cstr(&o->params, o->key);
        }
    }
}

static void begin_one(struct find *fi, struct one *o)
{
    bool update = fi->what == FIND_UPDATE;
    if (update)
        pack_operations(fi->operations, o);
    else
        pack_cstr(&o->params, o->key);
    exec_call(fi->exec, update ? &update_method : &delete_method, fi->session, fi->id,
              cursor_of(o->params.data, o->params.len), 1, o);
}

/* ---- a page ---- */

bool find_change_ended(const struct find *fi)
{
    const struct changing *ch = fi->changing;
    return ch != NULL &&
           (ch->stop.code != FAULT_NONE || ch->changed >= fi->limit || ch->nrefused >= REFUSED_MAX);
}

/* No more at a time than may still be changed. Calls may end while others are begun. */
static void go_on(struct find *fi)
{
    struct changing *ch = fi->changing;
    size_t bytes = 0;
    while (ch->pending == 0 && ch->begun < ch->n && !find_change_ended(fi) &&
           session_open(fi->session)) {
        int64_t room = fi->limit - ch->changed;
        ch->pending = 1; /* this */
        for (bytes = 0; ch->begun < ch->n && room > 0 && bytes < AT_ONCE_BYTES; room--) {
            struct one *o = &ch->all[ch->begun++];
            ch->pending++;
            begin_one(fi, o);
            bytes += o->params.len;
        }
        ch->pending--;
    }
    if (ch->pending > 0)
        return;
    if (session_open(fi->session))
        find_changed_page(fi);
    else
        find_drop(fi);
}

void find_change_begin(struct find *fi)
{
    if (fi->changing != NULL && fi->changing->n > 0)
        go_on(fi);
    else
        find_changed_page(fi);
}

static bool is_again(const struct changing *ch, unsigned i)
{
    return i >= ch->begun || ch->all[i].again;
}

void find_change_rest(const struct find *fi, struct buf *rest)
{
    struct changing *ch = fi->changing;
    size_t head = strlen(fi->model->name) + 1;
    for (unsigned i = 0; ch != NULL && i < ch->n; i++) {
        if (is_again(ch, i))
            pack_cstr(rest, ch->all[i].key + head);
    }
    if (ch != NULL)
        clear(ch);
}

bool find_change_stop(struct find *fi, const struct fault *f)
{
    struct changing *ch = fi->changing;
    if (ch == NULL || (ch->changed == 0 && ch->nrefused == 0))
        return false;
    ch->stop = *f;
    return true;
}

const struct fault *find_change_fault(const struct find *fi)
{
    const struct changing *ch = fi->changing;
    bool nothing = ch != NULL && ch->changed == 0 && ch->nrefused == 0;
    return nothing && ch->stop.code != FAULT_NONE ? &ch->stop : NULL;
}

void find_change_pack(const struct find *fi, struct buf *out)
{
    static const struct changing none;
    const struct changing *ch = fi->changing != NULL ? fi->changing : &none;
    pack_cstr(out, fi->what == FIND_UPDATE ? "updated" : "deleted");
    pack_int(out, ch->changed);
    pack_cstr(out, "refused");
    pack_array(out, ch->nrefused);
    buf_append(out, ch->refused.data, ch->refused.len);
    pack_cstr(out, "stopped");
    if (ch->stop.code == FAULT_NONE) {
        pack_nil(out);
        return;
    }
    char *text = alloc_text("%s: %s", fault_name(ch->stop.code), ch->stop.text);
    pack_cstr(out, text);
    free(text);
}
