/* emit: a whole record as Redis keys: written, or removed.
 *
 *   key of the record   suffix                     hash of its own and its inline records' fields
 *   key of a container  suffix "/" prefix name     hash, or list
 *   key of an element   key of container "/" pk    a record again, with a prefix of its own ("")
 *
 * All names are put together in one buffer, which is cut back after use.
 */
#include "protocol/op.h"
#include "protocol/work.h"
#include <string.h>

struct emitting {
    effect_fn *tell; /* NULL: only what is needed for it */
    void *arg;
    struct needs *needs;
    unsigned needed;
    bool purge; /* also what is not there as far as the tree knows */
    struct buf names;
};

/* A name within the buffer; good as long as the buffer does not grow: ask again after that. */
struct span {
    size_t at, len;
};

static const char *span_text(const struct emitting *m, struct span s)
{
    return s.len ? (const char *)m->names.data + s.at : "";
}

/* Appends up to four pieces, one behind the other. */
static struct span span_make(struct emitting *m, struct span a, const char *sep, struct span b,
                             const char *name, size_t len)
{
    struct span s = {.at = m->names.len, .len = a.len + strlen(sep) + b.len + len};

    /* Room first: the pieces may lie in the same buffer. */
    if (!buf_grow(&m->names, s.len + 1))
        return (struct span){0};
    if (a.len)
        buf_append(&m->names, m->names.data + a.at, a.len);
    buf_append(&m->names, sep, strlen(sep));
    if (b.len)
        buf_append(&m->names, m->names.data + b.at, b.len);
    if (len)
        buf_append(&m->names, name, len);
    return s;
}

static const struct span nothing = {0, 0};

static struct span span_start(struct emitting *m, const char *s)
{
    return span_make(m, nothing, "", nothing, s, strlen(s));
}

static struct span element_key(struct emitting *m, struct span container, const struct record *r)
{
    const char *pk = "";
    size_t len = 0;

    char name[PK_ESCAPED_MAX];
    if (cell_get_str(&r->pk, &pk, &len) == 0 && len <= PK_MAX)
        len = pk_escape(name, pk, len);
    return span_make(m, container, "/", nothing, len > 0 ? name : "", len);
}

/* ---- writing ---- */

static void emit_record(struct emitting *m, const struct record *r, struct span suffix,
                        struct span prefix);

static void tell_field(struct emitting *m, enum effect_kind kind, struct span suffix,
                       const char *field, size_t len, const struct type *t, const struct cell *v)
{
    struct effect e = {.kind = kind,
                       .suffix = span_text(m, suffix),
                       .suffix_len = suffix.len,
                       .field = field,
                       .field_len = len,
                       .type = t,
                       .value = v};

    m->tell(m->arg, &e);
}

static void emit_container(struct emitting *m, const struct cell *c, const struct type *t,
                           struct span key)
{
    for (struct element e = {0}; container_next(c->container, &e);) {
        struct effect put = element_effect(c->container, t, &e);
        put.suffix = span_text(m, key);
        put.suffix_len = key.len;
        m->tell(m->arg, &put);
        if (e.cell->kind == CELL_RECORD)
            emit_record(m, e.cell->record, element_key(m, key, e.cell->record), nothing);
    }
}

static void emit_field(struct emitting *m, const struct field *f, const struct cell *c,
                       struct span suffix, struct span prefix)
{
    struct span s;

    switch (c->kind) {
    case CELL_UNSET:
    case CELL_SPOILT: /* whoever writes a tree has read all of it */
    case CELL_KEPT: break;
    case CELL_INLINE:
    case CELL_HEAP:
        s = span_make(m, nothing, "", prefix, f->name, f->name_len);
        tell_field(m, EFFECT_FIELD_SET, suffix, span_text(m, s), s.len, f->type, c);
        break;
    case CELL_RECORD:
        s = span_make(m, nothing, "", prefix, f->name, f->name_len);
        buf_append(&m->names, ".", 1);
        s.len++;
        emit_record(m, c->record, suffix, s);
        break;
    case CELL_CONTAINER:
        emit_container(m, c, f->type, span_make(m, suffix, "/", prefix, f->name, f->name_len));
        break;
    }
}

static void emit_record(struct emitting *m, const struct record *r, struct span suffix,
                        struct span prefix)
{
    size_t mark = m->names.len;

    for (uint32_t i = 0; i < r->nslots; i++) {
        emit_field(m, &r->model->fields[i], &r->slots[i], suffix, prefix);
        m->names.len = mark;
    }
}

void record_emit(const struct record *r, const char *suffix, const char *prefix, effect_fn *tell,
                 void *arg)
{
    struct emitting m = {.tell = tell, .arg = arg};
    struct span at = span_start(&m, suffix), in = span_start(&m, prefix);

    emit_record(&m, r, at, in);
    buf_free(&m.names);
}

/* ---- removing ---- */

/* Walks everything below a record. With m->tell it tells what to remove; without it reports the
 * containers of records that must be loaded for that. `shared`: the fields lie in a hash that
 * stays, so that they are removed one by one. */
static void drop_record(struct emitting *m, const struct record *r, struct span suffix,
                        struct span prefix, bool shared);

static void drop_element(struct emitting *m, const struct cell *c, struct span container)
{
    size_t mark = m->names.len;

    if (c->kind != CELL_RECORD)
        return;
    drop_record(m, c->record, element_key(m, container, c->record), nothing, false);
    m->names.len = mark;
}

/* Whoever only looks stands still now and then, and has seen enough when it is too much anyway. */
static bool goes_on(struct emitting *m)
{
    if (m->tell)
        return true;
    if (work_exceeded())
        return false;
    if (work_step(WORK_PACKED))
        return true;
    m->needed++;
    return false;
}

static void drop_container(struct emitting *m, const struct cell *c, const struct type *t,
                           struct span key)
{
    bool loaded = !c->container->unloaded;

    if (container_loaded(c->container) && !c->container->len && !m->purge)
        return;
    if (m->tell)
        tell_field(m, EFFECT_DROP, key, NULL, 0, NULL, NULL);
    if (!type_atomic(t->of))
        return;
    for (struct element e = {0}; goes_on(m) && container_next(c->container, &e);)
        drop_element(m, e.cell, key);
    if (!loaded && !m->tell) {
        m->needed++;
        if (m->needs)
            needs_add(m->needs, c, t, span_text(m, key), key.len);
    }
}

static void drop_field(struct emitting *m, const struct field *f, const struct cell *c,
                       struct span suffix, struct span prefix, bool shared)
{
    struct span s;

    switch (c->kind) {
    case CELL_UNSET:
    case CELL_KEPT: break;
    case CELL_INLINE:
    case CELL_HEAP:
    case CELL_SPOILT:
        s = span_make(m, nothing, "", prefix, f->name, f->name_len);
        if (m->tell && shared)
            tell_field(m, EFFECT_FIELD_DEL, suffix, span_text(m, s), s.len, NULL, NULL);
        break;
    case CELL_RECORD:
        s = span_make(m, nothing, "", prefix, f->name, f->name_len);
        buf_append(&m->names, ".", 1);
        s.len++;
        drop_record(m, c->record, suffix, s, shared);
        break;
    case CELL_CONTAINER:
        drop_container(m, c, f->type, span_make(m, suffix, "/", prefix, f->name, f->name_len));
        break;
    }
}

static void drop_record(struct emitting *m, const struct record *r, struct span suffix,
                        struct span prefix, bool shared)
{
    size_t mark;

    if (!m->tell && !shared)
        work_add(1, WORK_GONE);
    if (m->tell && !shared && !prefix.len)
        tell_field(m, EFFECT_DROP, suffix, NULL, 0, NULL, NULL);
    mark = m->names.len;
    for (uint32_t i = 0; i < r->nslots; i++) {
        drop_field(m, &r->model->fields[i], &r->slots[i], suffix, prefix, shared);
        m->names.len = mark;
    }
}

void record_purge(const struct record *r, const char *suffix, const char *prefix, effect_fn *tell,
                  void *arg)
{
    struct emitting m = {.tell = tell, .arg = arg, .purge = true};
    struct span at = span_start(&m, suffix), in = span_start(&m, prefix);

    drop_record(&m, r, at, in, *prefix != 0);
    buf_free(&m.names);
}

enum op_status record_drop(const struct record *r, const char *suffix, const char *prefix,
                           struct needs *needs, effect_fn *tell, void *arg)
{
    struct emitting m = {.arg = arg, .needs = needs};
    struct span at = span_start(&m, suffix), in = span_start(&m, prefix);

    drop_record(&m, r, at, in, *prefix != 0);
    if (!m.needed && tell) {
        m.tell = tell;
        drop_record(&m, r, at, in, *prefix != 0);
    }
    buf_free(&m.names);
    return m.needed ? OP_NEEDS : OP_DONE;
}
