/* batch_unique: see batch_unique.h. */
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/batch_inside.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <openssl/evp.h>
#include <string.h>

/* What the field is after all changes of the root hash. NULL: untouched, or it was dropped. */
static struct pend_field *last_of(const struct batch_doc *bd, const struct index *ix)
{
    struct pend_field *found = NULL;
    for (const struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (p->key_len != p->suffix_at)
            continue;
        if (p->drop)
            found = NULL;
        for (struct pend_field *f = p->fields; f != NULL; f = f->next) {
            if (strlen(ix->name) == f->name_len && memcmp(ix->name, f->name, f->name_len) == 0)
                found = f;
        }
    }
    return found;
}

bool batch_unique_text(const struct batch_doc *bd, const struct index *ix, const char **text,
                       size_t *len)
{
    struct pend_field *f = ix->unique && !part_ends(bd) ? last_of(bd, ix) : NULL;
    if (f == NULL || f->kind != FIELD_SET)
        return false;
    *text = f->raw;
    *len = f->raw_len;
    return !index_null(f->raw, f->raw_len);
}

static void note(struct unit *u, unsigned *cap, const struct batch *b, struct batch_doc *bd)
{
    const struct indexes *all = indexes_of(b->pool->indexes, bd->doc->model);
    for (unsigned i = 0; all != NULL && all->unique && i < all->n; i++) {
        struct unique_value v = {.of = bd, .index = &all->all[i]};
        if (batch_unique_text(bd, v.index, &v.text, &v.len))
            vec_push(u->uniques, u->nuniques, *cap, v);
    }
}

/* Of the texts of a value that which is taken for all of them. */
static const char *common(const struct index *ix, const char *text, size_t *len)
{
    if (type_bare(ix->type)->kind != TYPE_FLOAT || *len != 2 || memcmp(text, "-0", 2) != 0)
        return text;
    *len = 1;
    return "0";
}

const char *unique_other(const struct index *ix, const char *text, size_t len, size_t *other_len)
{
    *other_len = len;
    if (type_bare(ix->type)->kind != TYPE_FLOAT || len != 1 || *text != '0')
        return common(ix, text, other_len);
    *other_len = 2;
    return "-0";
}

static int by_value(const void *a, const void *b)
{
    const struct unique_value *x = *(const struct unique_value *const *)a,
                              *y = *(const struct unique_value *const *)b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    size_t x_len = x->len, y_len = y->len;
    const char *x_text = common(x->index, x->text, &x_len);
    const char *y_text = common(y->index, y->text, &y_len);
    if (x_len != y_len)
        return x_len < y_len ? -1 : 1;
    return memcmp(x_text, y_text, x_len);
}

static void refuse(struct unit *u, const struct unique_value *v, const struct unique_value *other)
{
    size_t len;
    const char *pk = doc_pk(other->of->doc, &len);
    u->refused_by = 1 + (u->guard != NULL ? u->guard->n : 0) + u->nrelied;
    u->refused_by += (unsigned)(v - u->uniques);
    buf_append(&u->holder, pk, len);
}

static void compare(struct unit *u)
{
    struct unique_value **sorted = alloc_zeroed(u->nuniques, sizeof(*sorted));
    for (unsigned i = 0; i < u->nuniques; i++)
        sorted[i] = &u->uniques[i];
    qsort(sorted, u->nuniques, sizeof(*sorted), by_value);
    for (unsigned i = 1; i < u->nuniques && u->refused_by == 0; i++) {
        if (by_value(&sorted[i - 1], &sorted[i]) == 0)
            refuse(u, sorted[i], sorted[i - 1]);
    }
    free(sorted);
}

void batch_plan_uniques(struct batch *b)
{
    for (struct unit *u = b->pool->indexes != NULL ? b->units : NULL; u != NULL; u = u->next) {
        unsigned cap = u->nuniques;
        u->nuniques = 0;
        for (struct batch_doc *bd = u->docs; bd != NULL; bd = bd->next_of_unit)
            note(u, &cap, b, bd);
        if (u->nuniques > 1 && u->refused_by == 0)
            compare(u);
    }
}

void batch_unique_check(const struct batch *b, const struct unique_value *v, struct unit_call *c)
{
    struct buf key = BUF_INIT, head = BUF_INIT;
    const struct model *m = v->of->doc->model;
    size_t pk_len;
    const char *pk = doc_pk(v->of->doc, &pk_len);
    index_key(b->pool->prefix, NULL, m, v->index, v->text, v->len, &key);
    buf_printf(&head, "%s:{%s:", b->pool->prefix, m->name);
    unit_call_unique(c, &key, v, &head, pk, pk_len);
    buf_free(&key);
    buf_free(&head);
}

/* ---- in a cluster ---- */

static void append_digest(const char *text, size_t len, struct buf *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_Digest(text, len, digest, &n, EVP_sha256(), NULL);
    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "%02x", digest[i]);
}

void unique_key(const char *prefix, const struct model *m, const struct index *ix, const char *text,
                size_t len, struct buf *out)
{
    text = common(ix, text, &len);
    buf_printf(out, "%s:@unique:%s/%s%c", prefix, m->name, ix->path,
               len <= INDEX_TEXT_MAX ? '=' : '#');
    if (len > INDEX_TEXT_MAX)
        append_digest(text, len, out);
    else
        buf_append(out, text, len);
}

void unique_epoch_key(const char *prefix, uint16_t slot, struct buf *out)
{
    buf_printf(out, "%s:@unique{%s}", prefix, slot_tag(slot));
}

bool batch_has_uniques(struct batch *b)
{
    const struct unit *u = b->units;
    batch_plan_uniques(b);
    while (u != NULL && (u->nuniques == 0 || u->refused_by != 0))
        u = u->next;
    return u != NULL;
}

void batch_claimed(struct batch *b, int64_t epoch)
{
    b->epoch = epoch;
}

static void epoch_key(const struct batch *b, struct buf *out)
{
    unique_epoch_key(b->pool->prefix, b->docs->doc->slot, out);
}

void batch_epoch_check(const struct batch *b, struct unit *u, struct unit_call *c)
{
    struct buf key = BUF_INIT;
    epoch_key(b, &key);
    unit_call_reliance(c, RELIES_ON_STATE, (char *)key.data, key.len, b->epoch);
    u->nrelied++;
    u->epoch_check = (u->guard != NULL ? u->guard->n : 0) + u->nrelied;
    buf_free(&key);
}

static bool same_as_before(const struct pend_field *f)
{
    return f->kind == FIELD_SET && f->was_known && f->was != NULL && f->was_len == f->raw_len &&
           memcmp(f->was, f->raw, f->raw_len) == 0;
}

/* Whether a value may be a document's no more by this part; or it was claimed in vain. */
static bool may_free(const struct batch_doc *bd, const struct indexes *all)
{
    const struct unit *u = bd->unit;
    if (u != NULL && u->refused_by != 0)
        return u->nuniques > 1 && !unit_outdated(u);
    if (!part_changes(bd) || bd->second != NULL)
        return false;
    if (part_ends(bd))
        return true;
    bool may = bd->rewritten && bd->base != 0;
    for (unsigned i = 0; i < all->n && !may; i++) {
        const struct pend_field *f = all->all[i].unique ? last_of(bd, &all->all[i]) : NULL;
        may = f != NULL && bd->base != 0 && !same_as_before(f);
    }
    return may;
}

static void ask_was(struct batch *b, struct batch_doc *bd, const struct indexes *all,
                    struct buf *out)
{
    const struct pend *root = batch_root(b, bd);
    unsigned n = 0;
    for (unsigned i = 0; i < all->n; i++)
        n += all->all[i].unique;
    buf_printf(out, "*%u\r\n", 2 + n);
    resp_bulk(out, "HMGET", 5);
    resp_bulk(out, root->key, root->key_len);
    for (unsigned i = 0; i < all->n; i++) {
        if (all->all[i].unique)
            resp_bulk(out, all->all[i].name, strlen(all->all[i].name));
    }
}

static const struct indexes *uniques_of(const struct batch *b, const struct batch_doc *bd)
{
    const struct indexes *all =
        b->pool->indexes != NULL ? indexes_of(b->pool->indexes, bd->doc->model) : NULL;
    return all != NULL && all->unique ? all : NULL;
}

unsigned batch_format_was(struct batch *b, struct buf *out)
{
    unsigned n = 0;
    if (b->words->still.len == 0)
        return 0; /* no cluster */
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next)
        bd->was_at = 0;
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        const struct indexes *all = uniques_of(b, bd);
        if (bd->second != NULL)
            bd->second->is_second = true; /* which of both counts is left to who wants the value */
        if (all == NULL || bd->is_second || !may_free(bd, all))
            continue;
        bd->was_at = b->nreplies + n++;
        ask_was(b, bd, all, out);
    }
    b->epoch_at = 0;
    b->raises = n > 0;
    return n;
}

/* Behind all units, which check it. */
unsigned batch_format_epoch(struct batch *b, struct buf *out)
{
    struct buf key = BUF_INIT;
    if (!b->raises)
        return 0;
    epoch_key(b, &key);
    resp_command(out, 4, (const char *[]){"HINCRBY", (char *)key.data, LAYOUT_VERSION_FIELD, "1"},
                 (size_t[]){7, key.len, strlen(LAYOUT_VERSION_FIELD), 1});
    buf_free(&key);
    b->epoch_at = b->nreplies;
    return 1;
}

bool batch_epoch(const struct batch *b, const redisReply *exec, int64_t *epoch)
{
    const redisReply *r = b->epoch_at > 0 ? exec->element[b->epoch_at] : NULL;
    if (r == NULL || r->type != REDIS_REPLY_INTEGER)
        return false;
    *epoch = r->integer;
    return true;
}

struct freeing {
    const struct batch *b;
    const struct batch_doc *bd;
    void (*fn)(void *arg, const struct buf *key, const char *pk, size_t pk_len);
    void *arg;
};

static void tell_freed(const struct freeing *f, const struct buf *key, const struct buf *kept)
{
    size_t pk_len;
    const char *pk = doc_pk(f->bd->doc, &pk_len);
    if (key->len > 0 && (key->len != kept->len || memcmp(key->data, kept->data, key->len) != 0))
        f->fn(f->arg, key, pk, pk_len);
}

/* was: the field before the part. */
static void free_value(const struct freeing *f, const struct index *ix, const redisReply *was)
{
    const struct batch_doc *bd = f->bd;
    struct buf before = BUF_INIT, wanted = BUF_INIT;
    const char *prefix = f->b->pool->prefix, *text;
    size_t len;
    if (was->type == REDIS_REPLY_STRING && !index_null(was->str, was->len))
        unique_key(prefix, bd->doc->model, ix, was->str, was->len, &before);
    if (batch_unique_text(bd, ix, &text, &len))
        unique_key(prefix, bd->doc->model, ix, text, len, &wanted);
    if (batch_doc_refused(bd))
        tell_freed(f, &wanted, &before);
    else if (part_ends(bd) || bd->rewritten || last_of(bd, ix) != NULL)
        tell_freed(f, &before, &wanted);
    buf_free(&before);
    buf_free(&wanted);
}

void batch_each_freed(const struct batch *b, const redisReply *exec,
                      void (*fn)(void *arg, const struct buf *key, const char *pk, size_t pk_len),
                      void *arg)
{
    for (const struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        const struct indexes *all = bd->was_at > 0 ? uniques_of(b, bd) : NULL;
        const redisReply *was = all != NULL ? exec->element[bd->was_at] : NULL;
        bool again = bd->unit != NULL && unit_outdated(bd->unit);
        if (was == NULL || was->type != REDIS_REPLY_ARRAY || again || bd->gone || bd->failed)
            continue;
        for (unsigned i = 0, k = 0; i < all->n && k < was->elements; i++) {
            if (all->all[i].unique)
                free_value(&(struct freeing){b, bd, fn, arg}, &all->all[i], was->element[k++]);
        }
    }
}
