/* compare: see compare.h. */
#include "daemon/documents/compare.h"
#include "protocol/alloc.h"
#include "protocol/path.h"
#include <stdlib.h>
#include <string.h>

#define RECORD_PRICE 10 /* elements; an atomic one is a hash of its own */

struct pair {
    struct comparison *c;
    struct doc *other;
    struct buf *name; /* of what is compared */
};

static bool same_record(struct pair *p, const struct record *a, struct record *b, char joint);

/* ---- values ---- */

/* What is answered for a field: where nothing is stored, its default. */
static const uint8_t *shown(const struct field *f, const struct cell *c, size_t *len)
{
    if (cell_is_value(c))
        return cell_bytes(c, len);
    *len = f->fallback_len;
    return f->fallback;
}

static bool same_field(const struct field *f, const struct cell *a, const struct cell *b)
{
    size_t x_len, y_len;
    const uint8_t *x = shown(f, a, &x_len), *y = shown(f, b, &y_len);
    return x == NULL || y == NULL ? x == y : x_len == y_len && memcmp(x, y, x_len) == 0;
}

/* ---- elements ---- */

static int by_bytes(const void *x, size_t x_len, const void *y, size_t y_len)
{
    int order = memcmp(x, y, x_len < y_len ? x_len : y_len);
    return order != 0 ? order : (x_len > y_len) - (x_len < y_len);
}

static int by_name(const void *x, const void *y)
{
    const struct element *a = x, *b = y;
    if (a->key != NULL)
        return by_bytes(a->key, a->key_len, b->key, b->key_len);
    size_t a_len, b_len;
    const uint8_t *a_bytes = cell_bytes(a->cell, &a_len), *b_bytes = cell_bytes(b->cell, &b_len);
    return by_bytes(a_bytes, a_len, b_bytes, b_len);
}

/* Those of a list in their order, others in one of their names: the order in memory says nothing.
 * There are as many as the container says. */
static struct element *elements_of(const struct container *c)
{
    struct element *all = alloc_zeroed(c->len, sizeof(*all)), e = {0};
    for (size_t n = 0; n < c->len && container_next(c, &e); n++) {
        all[n] = e;
        if (e.cell == &e.made)
            all[n].cell = &all[n].made;
    }
    if (container_kind(c)->by == BY_INDEX)
        return all;
    qsort(all, c->len, sizeof(*all), by_name);
    for (size_t n = 0; n < c->len; n++) { /* they have moved */
        if (all[n].made.kind != CELL_UNSET)
            all[n].cell = &all[n].made;
    }
    return all;
}

static bool same_element(struct pair *p, const struct element *a, const struct element *b)
{
    if (a->key != NULL && by_bytes(a->key, a->key_len, b->key, b->key_len) != 0)
        return false;
    if (a->score != b->score || a->cell->kind == CELL_SPOILT || b->cell->kind == CELL_SPOILT)
        return false;
    if (a->cell->kind != CELL_RECORD)
        return cell_equal(a->cell, b->cell);
    const char *pk;
    size_t len, base = p->name->len;
    if (!cell_equal(&a->cell->record->pk, &b->cell->record->pk))
        return false;
    buf_append(p->name, "/", 1);
    if (cell_get_str(&a->cell->record->pk, &pk, &len) == 0)
        pk_append(p->name, pk, len);
    bool same = same_record(p, a->cell->record, b->cell->record, '/');
    if (same)
        p->name->len = base;
    return same;
}

static bool same_elements(struct pair *p, const struct container *a, const struct container *b)
{
    struct element *x = elements_of(a), *y = elements_of(b);
    bool same = true;
    for (size_t i = 0; i < a->len && same; i++)
        same = same_element(p, &x[i], &y[i]);
    free(x);
    free(y);
    return same;
}

static bool same_container(struct pair *p, const struct type *t, const struct container *a,
                           struct cell *b)
{
    size_t price = a->len * (type_atomic(t->of) ? RECORD_PRICE : 1);
    if (!container_loaded(a) || b->container->spoilt != NULL)
        return true;
    if (a->len != b->container->len)
        return false;
    if (a->len == 0 || price > p->c->budget)
        return true;
    p->c->budget -= price;
    if (container_loaded(b->container))
        return same_elements(p, a, b->container);
    struct missing m = {.doc = p->other,
                        .cell = b,
                        .type = t,
                        .suffix = alloc_copy(p->name->data, p->name->len),
                        .suffix_len = p->name->len};
    vec_push(p->c->missing, p->c->nmissing, p->c->cap, m);
    return true;
}

/* ---- records ---- */

/* The name stays as it is where they differ. */
static bool same_record(struct pair *p, const struct record *a, struct record *b, char joint)
{
    size_t base = p->name->len;
    for (uint32_t i = 0; i < a->nslots && i < b->nslots; i++) {
        const struct field *f = &a->model->fields[i];
        const struct cell *x = &a->slots[i];
        struct cell *y = &b->slots[i];
        bool same = true;
        buf_printf(p->name, "%c%s", joint, f->name);
        if (x->kind == CELL_RECORD && y->kind == CELL_RECORD)
            same = same_record(p, x->record, y->record, '.');
        else if (x->kind == CELL_CONTAINER && y->kind == CELL_CONTAINER)
            same = same_container(p, f->type, x->container, y);
        else if (x->kind != CELL_SPOILT && y->kind != CELL_SPOILT)
            same = same_field(f, x, y);
        if (!same)
            return false;
        p->name->len = base;
    }
    return true;
}

bool compare_documents(struct comparison *c, const struct doc *one, struct doc *other)
{
    struct pair p = {.c = c, .other = other, .name = &c->at};
    buf_clear(&c->at);
    bool same = same_record(&p, one->root, other->root, '/');
    buf_append(&c->at, "", 1);
    return same;
}

void comparison_clear(struct comparison *c)
{
    for (unsigned i = 0; i < c->nmissing; i++)
        free(c->missing[i].suffix);
    free(c->missing);
    buf_free(&c->at);
    *c = (struct comparison){0};
}
