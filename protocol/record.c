/* record: the nodes for atomic models, and how a tree is written out.
 *
 *   suffix "/posts/p1" ── record ─┬─ "/" tags                     "/posts/p1/tags"
 *                                 └─ "/" settings ── "." hidden    "/posts/p1/settings.hidden"
 *
 * Writing out is what every read costs, so it copies names and values that lie there packed,
 * and the Redis keys of containers are put together only for those that turn out not to be
 * loaded: until then a place is a chain of frames on the stack.
 */
#include "protocol/path.h"
#include "protocol/tree_private.h"
#include "protocol/work.h"
#include <string.h>

const struct type type_str = {.kind = TYPE_STR};
_Atomic unsigned tree_moves;

/* ---- nodes ---- */

struct cell cell_blank(const struct type *t)
{
    struct cell c = {0};

    if (type_atomic(t)) {
        c.record = record_new(t->model);
        c.kind = CELL_RECORD;
    } else if (type_container(t)) {
        c.container = container_new(t->kind);
        c.kind = CELL_CONTAINER;
    }
    return c;
}

struct record *record_bare(const struct model *m)
{
    struct record *r = tree_alloc(sizeof *r + m->nfields * sizeof(struct cell));

    r->model = m;
    r->nslots = m->nfields;
    return r;
}

struct record *record_new(const struct model *m)
{
    struct record *r = record_bare(m);

    for (uint32_t i = 0; i < r->nslots; i++)
        r->slots[i] = cell_blank(m->fields[i].type);
    return r;
}

void record_free(struct record *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->nslots; i++)
        cell_free(&r->slots[i]);
    cell_free(&r->pk);
    tree_free(r);
}

struct record *record_copy(const struct record *r)
{
    struct record *copy = tree_alloc(sizeof *r + r->nslots * sizeof(struct cell));

    copy->model = r->model;
    copy->nslots = r->nslots;
    copy->pk = cell_copy(&r->pk);
    for (uint32_t i = 0; i < r->nslots; i++)
        copy->slots[i] = cell_copy(&r->slots[i]);
    return copy;
}

struct record *record_widen(struct record *r)
{
    const struct model *m = r->model;

    if (r->nslots >= m->nfields)
        return r;
    r = tree_realloc(r, sizeof *r + m->nfields * sizeof(struct cell));
    tree_moves++;
    for (; r->nslots < m->nfields; r->nslots++)
        r->slots[r->nslots] = cell_blank(m->fields[r->nslots].type);
    return r;
}

struct cell *record_slot(struct record *r, uint32_t field)
{
    return field < r->nslots ? &r->slots[field] : NULL;
}

/* ---- where a cell lives in Redis ---- */

struct frame {
    const struct frame *up;
    const char *name;
    size_t len;
    char sep; /* before the name; 0: none */
};

static void frame_write(const struct frame *at, struct buf *out)
{
    if (at->up)
        frame_write(at->up, out);
    if (at->sep)
        buf_append(out, &at->sep, 1);
    if (at->len && at->sep)
        pk_append(out, at->name, at->len); /* names of fields are the same */
    else if (at->len)
        buf_append(out, at->name, at->len);
}

static void frame_need(const struct frame *at, struct needs *needs, const struct cell *c,
                       const struct type *t)
{
    struct buf suffix = BUF_INIT;

    frame_write(at, &suffix);
    needs_add(needs, c, t, suffix.len ? (const char *)suffix.data : "", suffix.len);
    buf_free(&suffix);
}

/* ---- writing out ---- */

struct packing {
    struct needs *needs;
    struct buf *out;
    bool skip_lazy;
};

/* Twice for each field of what is read: the call would be a tenth of it. */
static inline __attribute__((always_inline)) void put(struct buf *out, const void *p, size_t n)
{
    if (out->cap - out->len < n && !buf_grow(out, n))
        return;
    memcpy(out->data + out->len, p, n);
    out->len += n;
}

static inline __attribute__((always_inline)) void put_value(struct buf *out, const void *p,
                                                            size_t n)
{
    if (n < WORK_PIECE)
        put(out, p, n);
    else
        work_append_long(out, p, n);
}

static void pack_cell(const struct packing *p, const struct cell *c, const struct type *t,
                      const struct frame *at);

static bool field_shown(const struct packing *p, const struct field *f, const struct cell *c)
{
    if (f->lazy && p->skip_lazy)
        return false;
    return (c && c->kind != CELL_UNSET) || f->fallback || type_container(f->type) ||
           type_atomic(f->type);
}

static void pack_fields(const struct packing *p, const struct model *m, const struct cell *slots,
                        uint32_t nslots, const struct frame *at, char sep);

static void pack_head(struct buf *out, const struct container_kind *kind, uint32_t n)
{
    if (kind->lone && n)
        return;
    if (kind->lone)
        pack_nil(out);
    else if (kind->wire == ITEM_MAP)
        pack_map(out, n);
    else
        pack_array(out, n);
}

/* A place that was added to the model after the record was made. */
static void pack_absent(const struct packing *p, const struct type *t)
{
    if (type_atomic(t)) {
        pack_fields(p, t->model, NULL, 0, NULL, 0);
    } else if (type_container(t)) {
        pack_head(p->out, type_container(t), 0);
    } else {
        pack_nil(p->out);
    }
}

static void pack_field(const struct packing *p, const struct field *f, const struct cell *c,
                       const struct frame *at, char sep)
{
    struct frame here = {.up = at, .name = f->name, .len = f->name_len, .sep = sep};

    put(p->out, f->packed_name, f->packed_name_len);
    if (c && c->kind == CELL_INLINE)
        put(p->out, c->small, c->small_len);
    else if (c && c->kind == CELL_HEAP)
        put_value(p->out, c->heap, c->heap_len);
    else if (c && c->kind != CELL_UNSET)
        pack_cell(p, c, f->type, &here);
    else if (f->fallback && !type_container(f->type) && !type_atomic(f->type))
        put(p->out, f->fallback, f->fallback_len);
    else
        pack_absent(p, f->type);
}

static uint32_t count_shown(const struct packing *p, const struct model *m,
                            const struct cell *slots, uint32_t nslots)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->nfields; i++)
        n += field_shown(p, &m->fields[i], i < nslots ? &slots[i] : NULL);
    return n;
}

/* Fields that are left out are named, so that what comes back is known to lack them. */
static uint32_t count_lazy(const struct packing *p, const struct model *m)
{
    return p->skip_lazy ? m->nlazy : 0;
}

static void pack_lazy(const struct packing *p, const struct model *m, uint32_t n)
{
    if (!n)
        return;
    put(p->out, "\xa5@lazy", 6);
    pack_array(p->out, n);
    for (uint32_t i = 0; i < m->nfields; i++)
        if (m->fields[i].lazy)
            put(p->out, m->fields[i].packed_name, m->fields[i].packed_name_len);
}

static void pack_slots(const struct packing *p, const struct model *m, const struct cell *slots,
                       uint32_t nslots, const struct frame *at, char sep)
{
    for (uint32_t i = 0; i < m->nfields; i++) {
        const struct cell *c = i < nslots ? &slots[i] : NULL;
        if (field_shown(p, &m->fields[i], c))
            pack_field(p, &m->fields[i], c, at, sep);
    }
}

static void pack_fields(const struct packing *p, const struct model *m, const struct cell *slots,
                        uint32_t nslots, const struct frame *at, char sep)
{
    uint32_t lazy = count_lazy(p, m);

    pack_map(p->out, count_shown(p, m, slots, nslots) + (lazy > 0));
    pack_lazy(p, m, lazy);
    pack_slots(p, m, slots, nslots, at, sep);
}

/* What a record wraps is all that it is. */
static void pack_wrapped(const struct packing *p, const struct record *r, const struct frame *at)
{
    const struct field *f = &r->model->fields[0];
    struct frame here = {.up = at, .name = f->name, .len = f->name_len, .sep = '/'};

    pack_cell(p, &r->slots[0], f->type, &here);
}

static void pack_record(const struct packing *p, const struct record *r, const char *pk,
                        size_t pk_len, const struct frame *at, char sep)
{
    bool named = pk || r->pk.kind != CELL_UNSET;
    const uint8_t *own;
    size_t own_len;
    uint32_t lazy = count_lazy(p, r->model);

    if (r->model->wraps) {
        pack_wrapped(p, r, at);
        return;
    }
    pack_map(p->out, count_shown(p, r->model, r->slots, r->nslots) + named + (lazy > 0));
    if (named)
        put(p->out, "\xa3@pk", 4);
    if (r->pk.kind != CELL_UNSET) {
        own = cell_bytes(&r->pk, &own_len);
        put(p->out, own, own_len);
    } else if (pk) {
        pack_str(p->out, pk, pk_len);
    }
    pack_lazy(p, r->model, lazy);
    pack_slots(p, r->model, r->slots, r->nslots, at, sep);
}

/* An element, whose own place is behind its container's by its pk. */
static void pack_element(const struct packing *p, const struct cell *c, const struct type *of,
                         const struct frame *at)
{
    struct frame here = {.up = at, .name = "", .sep = '/'};
    const uint8_t *bytes;
    size_t len;

    if (c->kind == CELL_RECORD) {
        (void)cell_get_str(&c->record->pk, &here.name, &here.len);
        pack_record(p, c->record, NULL, 0, &here, '/');
    } else if (cell_is_value(c)) {
        bytes = cell_bytes(c, &len);
        put_value(p->out, bytes, len);
    } else {
        pack_absent(p, of);
    }
}

/* The one of a lone container: a map as that of an inline record. */
static void pack_lone(const struct packing *p, const struct container *node, const struct frame *at)
{
    struct frame here = {.up = at, .name = LONE_PK, .len = strlen(LONE_PK), .sep = '/'};
    struct element e = {0};

    if (!container_next(node, &e))
        return;
    if (e.cell->record->model->wraps)
        pack_wrapped(p, e.cell->record, &here);
    else
        pack_fields(p, e.cell->record->model, e.cell->record->slots, e.cell->record->nslots, &here,
                    '/');
}

static void pack_container(const struct packing *p, const struct cell *c, const struct type *t,
                           const struct frame *at)
{
    struct container *node = c->container;
    const struct container_kind *kind = container_kind(node);
    struct element e;

    node->used = true;
    if (!container_loaded(node) && p->needs)
        frame_need(at, p->needs, c, t);
    pack_head(p->out, kind, container_loaded(node) ? node->len : 0);
    if (!container_loaded(node) || node->len == 0)
        return;
    if (kind->lone) {
        pack_lone(p, node, at);
        return;
    }
    e.next = 0;
    while (work_step(WORK_PACKED) && kind->next(node, &e)) {
        if (kind->wire == ITEM_MAP)
            pack_str(p->out, e.key, e.key_len);
        if (kind->scored)
            pack_array(p->out, 2);
        pack_element(p, e.cell, t->of, at);
        if (kind->scored)
            pack_float(p->out, e.score);
    }
}

/* What is not a value; an inline record's fields go on behind its own name. */
static void pack_cell(const struct packing *p, const struct cell *c, const struct type *t,
                      const struct frame *at)
{
    switch (c->kind) {
    case CELL_RECORD: pack_record(p, c->record, NULL, 0, at, '.'); break;
    case CELL_CONTAINER: pack_container(p, c, t, at); break;
    case CELL_SPOILT:
        if (p->needs)
            frame_need(at, p->needs, c, t);
        pack_nil(p->out);
        break;
    case CELL_UNSET:
    case CELL_INLINE:
    case CELL_HEAP: pack_absent(p, t); break;
    }
}

void record_pack(const struct record *r, const char *pk, size_t pk_len, bool skip_lazy,
                 const char *suffix, size_t suffix_len, struct needs *needs, struct buf *out)
{
    struct packing p = {.needs = needs, .out = out, .skip_lazy = skip_lazy};
    struct frame at = {.name = suffix, .len = suffix_len};
    bool in_line = r->pk.kind == CELL_UNSET && suffix_len > 0;

    pack_record(&p, r, pk, pk_len, &at, in_line ? '.' : '/');
}

void cell_pack(const struct cell *c, const struct type *t, const char *suffix, size_t suffix_len,
               struct needs *needs, struct buf *out)
{
    struct packing p = {.needs = needs, .out = out};
    struct frame at = {.name = suffix, .len = suffix_len};
    const uint8_t *bytes;
    size_t len;

    if (c->kind == CELL_RECORD) {
        record_pack(c->record, NULL, 0, false, suffix, suffix_len, needs, out);
    } else if (cell_is_value(c)) {
        bytes = cell_bytes(c, &len);
        put_value(out, bytes, len);
    } else {
        pack_cell(&p, c, t, &at);
    }
}
