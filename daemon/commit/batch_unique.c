/* batch_unique: see batch_unique.h. */
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/batch_inside.h"
#include "protocol/alloc.h"
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

static int by_value(const void *a, const void *b)
{
    const struct unique_value *x = *(const struct unique_value *const *)a,
                              *y = *(const struct unique_value *const *)b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->text, y->text, x->len);
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
