/* batch_index: see batch_index.h. */
#include "daemon/commit/batch_index.h"
#include "daemon/commit/batch_inside.h"
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/index_script.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define CALL_MAX 500                  /* documents of one call: a few ms of Redis' time */
#define COUNTS_MAX (INT64_C(1) << 50) /* up to which a score counts as exactly as the number */

/* ---- calls of index.lua ---- */

void index_call_add(struct index_call *c, const struct names *names, const struct indexes *of,
                    const char *pk, size_t pk_len)
{
    struct buf name = BUF_INIT, key = BUF_INIT;
    buf_printf(&name, "%s:", of->model->name);
    buf_append(&name, pk, pk_len);
    layout_key(&key, names, (char *)name.data, name.len, "", 0);
    resp_bulk(&c->keys, key.data, key.len);
    buf_free(&name);
    buf_free(&key);
    resp_bulk(&c->words, of->model->name, strlen(of->model->name));
    resp_bulk(&c->words, of->spec.data, of->spec.len);
    resp_bulk(&c->words, pk, pk_len);
    c->n++;
}

void index_call_format(const struct index_call *c, const char *script, size_t script_len,
                       const char *todo, const char *prefix, const char *tag, struct buf *out)
{
    char n[RESP_DECIMAL_MAX];
    struct buf text = BUF_INIT;
    unsigned nkeys = c->n + (tag != NULL);
    buf_printf(out, "*%u\r\n", 5 + nkeys + 3 * c->n);
    resp_bulk(out, "EVAL", 4);
    resp_bulk(out, script, script_len);
    resp_bulk(out, n, resp_decimal(n, nkeys));
    buf_append(out, c->keys.data, c->keys.len);
    if (tag != NULL) { /* nobody ever makes it: a slot that is on the move has no keys like that */
        buf_printf(&text, "%s:@still{%s}", prefix, tag);
        resp_bulk(out, text.data, text.len);
        buf_clear(&text);
    }
    resp_bulk(out, todo, strlen(todo));
    index_head(prefix, tag, &text);
    resp_bulk(out, text.data, text.len);
    buf_append(out, c->words.data, c->words.len);
    buf_free(&text);
}

unsigned index_call_flush(struct index_call *c, enum index_todo todo, const char *prefix,
                          const char *tag, struct buf *out)
{
    static const char *const todos[] = {
        [INDEX_LEAVE] = "leave", [INDEX_ENTER] = "enter", [INDEX_SETTLE] = "settle"};
    if (c->n == 0)
        return 0;
    index_call_format(c, index_script, sizeof(index_script) - 1, todos[todo], prefix, tag, out);
    buf_clear(&c->keys);
    buf_clear(&c->words);
    c->n = 0;
    return 1;
}

void index_call_free(struct index_call *c)
{
    buf_free(&c->keys);
    buf_free(&c->words);
}

/* ---- how the entries of a document are put right ---- */

static const struct pend_field *field_in(const struct batch_doc *bd, const struct index *ix)
{
    for (const struct pend *p = bd->pends; p != NULL; p = p->next) {
        for (const struct pend_field *f = p->key_len == p->suffix_at ? p->fields : NULL; f != NULL;
             f = f->next) {
            if (strlen(ix->name) == f->name_len && memcmp(ix->name, f->name, f->name_len) == 0)
                return f;
        }
    }
    return NULL;
}

/* The document was not there before this part, and Redis makes sure of it. */
static bool is_new(const struct batch_doc *bd)
{
    return bd->rewritten && bd->base == 0 && bd->relies == RELIES_ON_STATE;
}

/* What becomes of the field is known, as what it was. */
static bool field_plain(const struct batch_doc *bd, const struct index *ix,
                        const struct pend_field *f)
{
    if (is_new(bd))
        return f == NULL || f->kind == FIELD_SET;
    if (f->kind == FIELD_INCR)
        return ix->kind == INDEX_RANGE && ix->type->kind == TYPE_INT &&
               llabs(f->drift.expected) < COUNTS_MAX && llabs(f->by) < COUNTS_MAX;
    return f->kind == FIELD_SET && (f->was_known || ix->kind == INDEX_RANGE);
}

/* Whether what is written under this key may be of the index, which is one of a container. */
static bool concerns(const struct index *ix, const struct pend *p)
{
    const char *suffix = p->key + p->suffix_at;
    size_t len = p->key_len - p->suffix_at, own = strlen(ix->suffix);
    if (len < own || memcmp(suffix, ix->suffix, own) != 0)
        return false;
    return len == own || (ix->at == AT_ELEMENTS && suffix[own] == '/');
}

static bool touches(const struct batch_doc *bd, const struct index *ix)
{
    if (ix->at == AT_FIELD)
        return field_in(bd, ix) != NULL;
    const struct pend *p = bd->pends;
    while (p != NULL && !concerns(ix, p))
        p = p->next;
    return p != NULL;
}

static enum indexing plan(const struct batch_doc *bd, const struct indexes *all)
{
    enum indexing found = INDEXED_NOT;
    bool whole = (bd->rewritten && !is_new(bd)) || bd->deadline || part_ends(bd);
    if (!part_changes(bd))
        return INDEXED_NOT;
    for (unsigned i = 0; i < all->n && found != INDEXED_BY_SCRIPT; i++) {
        const struct index *ix = &all->all[i];
        if (whole)
            return INDEXED_BY_SCRIPT;
        if (!is_new(bd) && !touches(bd, ix))
            continue;
        found =
            bd->doc->expires != 0 || ix->at != AT_FIELD || !field_plain(bd, ix, field_in(bd, ix))
                ? INDEXED_BY_SCRIPT
                : INDEXED_PLAINLY;
    }
    return found;
}

void batch_plan_indexes(struct batch *b)
{
    b->scripted = false;
    for (struct batch_doc *bd = b->docs; bd != NULL && b->pool->indexes != NULL; bd = bd->next) {
        const struct indexes *all = indexes_of(b->pool->indexes, bd->doc->model);
        bd->indexed = all != NULL ? plan(bd, all) : INDEXED_NOT;
        b->scripted = b->scripted || bd->indexed == INDEXED_BY_SCRIPT;
    }
    /* The script stands before the first part of a document, and behind the last. */
    for (struct batch_doc *bd = b->docs; bd != NULL && b->scripted; bd = bd->next) {
        struct batch_doc *second = bd->second;
        if (second != NULL &&
            (bd->indexed == INDEXED_BY_SCRIPT || second->indexed == INDEXED_BY_SCRIPT))
            bd->indexed = second->indexed = INDEXED_BY_SCRIPT;
    }
}

/* Of the slot that all documents of the batch are in; NULL: there are no slots. */
static const char *tag_of(const struct batch *b, const struct batch_doc *bd)
{
    return b->words->still.len > 0 ? slot_tag(bd->doc->slot) : NULL;
}

unsigned batch_format_indexes(const struct batch *b, enum index_todo todo, struct buf *out)
{
    struct index_call call = {0};
    unsigned n = 0;
    if (!b->scripted)
        return 0;
    const char *tag = tag_of(b, b->docs);
    for (const struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        bool absent = todo == INDEX_LEAVE && is_new(bd) && bd->doc->model->ttl == 0;
        if (bd->indexed != INDEXED_BY_SCRIPT || batch_doc_refused(bd) || absent)
            continue;
        size_t pk_len;
        const char *pk = doc_pk(bd->doc, &pk_len);
        index_call_add(&call, b->pool->names, indexes_of(b->pool->indexes, bd->doc->model), pk,
                       pk_len);
        if (call.n == CALL_MAX)
            n += index_call_flush(&call, todo, b->pool->prefix, tag, out);
    }
    n += index_call_flush(&call, todo, b->pool->prefix, tag, out);
    index_call_free(&call);
    return n;
}

/* ---- plain commands ---- */

struct words {
    void (*command)(void *arg, unsigned argc, const struct buf *argv);
    void *arg;
    const struct batch *b;
    const struct batch_doc *bd;
    const struct index *ix;
    struct buf argv[4]; /* command, key, and what it takes */
};

static void begin(struct words *w, const char *command, const char *text, size_t len)
{
    for (unsigned i = 0; i < 4; i++)
        buf_clear(&w->argv[i]);
    buf_printf(&w->argv[0], "%s", command);
    index_key(w->b->pool->prefix, tag_of(w->b, w->bd), w->bd->doc->model, w->ix, text, len,
              &w->argv[1]);
}

static void say(struct words *w, unsigned argc)
{
    w->command(w->arg, argc, w->argv);
}

static void add_pk(struct words *w, struct buf *out)
{
    size_t len;
    const char *pk = doc_pk(w->bd->doc, &len);
    buf_append(out, pk, len);
}

/* In the set of this value, or not any more. */
static void say_exact(struct words *w, const char *command, const char *text, size_t len)
{
    begin(w, command, text, len);
    add_pk(w, &w->argv[2]);
    say(w, 3);
}

static void say_prefix(struct words *w, bool in, const char *text, size_t len)
{
    struct buf *member = &w->argv[in ? 3 : 2];
    if (index_null(text, len))
        return;
    begin(w, in ? "ZADD" : "ZREM", NULL, 0);
    if (in)
        buf_printf(&w->argv[2], "0");
    buf_append(member, text, len < INDEX_TEXT_MAX ? len : INDEX_TEXT_MAX);
    buf_append(member, "", 1);
    add_pk(w, member);
    say(w, in ? 4 : 3);
}

static void say_range(struct words *w, const char *text, size_t len)
{
    begin(w, index_null(text, len) ? "ZREM" : "ZADD", NULL, 0);
    if (!index_null(text, len))
        index_number(w->ix->type, text, len, &w->argv[2]);
    add_pk(w, &w->argv[index_null(text, len) ? 2 : 3]);
    say(w, index_null(text, len) ? 3 : 4);
}

static void say_incr(struct words *w, int64_t by)
{
    begin(w, "ZINCRBY", NULL, 0);
    buf_printf(&w->argv[2], "%lld", (long long)by);
    add_pk(w, &w->argv[3]);
    say(w, 4);
}

/* Both texts are one entry: they are cut, or both are zero. */
static bool same_entry(const struct words *w, const char *text, size_t len, const char *other,
                       size_t other_len)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    bool cut = len > INDEX_TEXT_MAX || other_len > INDEX_TEXT_MAX;
    if (!cut && (len > 2 || other_len > 2))
        return len == other_len && memcmp(text, other, len) == 0;
    if (w->ix->kind == INDEX_EXACT) {
        index_key("", NULL, w->bd->doc->model, w->ix, text, len, &a);
        index_key("", NULL, w->bd->doc->model, w->ix, other, other_len, &b);
    } else {
        buf_append(&a, text, len < INDEX_TEXT_MAX ? len : INDEX_TEXT_MAX);
        buf_append(&b, other, other_len < INDEX_TEXT_MAX ? other_len : INDEX_TEXT_MAX);
    }
    bool same = a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
    buf_free(&a);
    buf_free(&b);
    return same;
}

static void say_index(struct words *w, const struct pend_field *f)
{
    const char *is = f != NULL ? f->raw : w->ix->fallback;
    size_t len = f != NULL ? f->raw_len : w->ix->fallback_len;
    bool was = f != NULL && f->was_known && !is_new(w->bd);
    bool same = was && w->ix->kind != INDEX_RANGE && same_entry(w, f->was, f->was_len, is, len);
    if (w->ix->kind == INDEX_RANGE && f != NULL && f->kind == FIELD_INCR) {
        say_incr(w, f->by);
    } else if (w->ix->kind == INDEX_RANGE) {
        say_range(w, is, len);
    } else if (w->ix->kind == INDEX_EXACT) {
        if (was && !same)
            say_exact(w, "SREM", f->was, f->was_len);
        say_exact(w, "SADD", is, len);
    } else {
        if (was && !same)
            say_prefix(w, false, f->was, f->was_len);
        say_prefix(w, true, is, len);
    }
}

/* Also where the script enters all others in the end: units between now and then look for it. */
static void say_unique(struct words *w)
{
    const char *text;
    size_t len;
    if (batch_unique_text(w->bd, w->ix, &text, &len))
        say_exact(w, "SADD", text, len);
}

void batch_index_commands(const struct batch *b, const struct batch_doc *bd,
                          void (*command)(void *arg, unsigned argc, const struct buf *argv),
                          void *arg)
{
    struct words w = {.command = command, .arg = arg, .b = b, .bd = bd};
    if (bd->indexed == INDEXED_NOT)
        return;
    const struct indexes *all = indexes_of(b->pool->indexes, bd->doc->model);
    for (unsigned i = 0; i < all->n; i++) {
        w.ix = &all->all[i];
        if (bd->indexed == INDEXED_BY_SCRIPT) {
            say_unique(&w);
            continue;
        }
        const struct pend_field *f = w.ix->at == AT_FIELD ? field_in(bd, w.ix) : NULL;
        if (f != NULL || is_new(bd))
            say_index(&w, f);
    }
    for (unsigned i = 0; i < 4; i++)
        buf_free(&w.argv[i]);
}
