/* embed: see embed.h. */
#include "client/embed.h"
#include "client/value.h"
#include "protocol/path.h"
#include "protocol/tree.h"
#include <stdlib.h>
#include <string.h>

/* ---- where ---- */

/* Steps down the schema. An element of a list is held back in `element` until it is known
 * whether it is the end of the way, where the draft's own pk names it. */
struct way {
    const struct model *model; /* of the record here, when type is NULL: the root */
    const struct type *type;
    bool in_container;     /* this is an element or entry */
    bool element;          /* of a list: not yet in path */
    struct step step;      /* that element, by index; of kind NAME: not known, it has no pk yet */
    char kept[PK_MAX * 2]; /* step's key, if the reader had to unescape it */
    struct buf path;
    struct fault *fault;
};

static int way_lost(struct way *w, const char *what)
{
    return fault_set(w->fault, FAULT_BAD_PATH, "a draft cannot go to '%.*s': %s", (int)w->path.len,
                     w->path.len ? (const char *)w->path.data : "", what);
}

static int way_flush(struct way *w)
{
    if (!w->element)
        return 0;
    w->element = false;
    if (w->step.kind == STEP_NAME)
        return way_lost(w, "the element that holds it is written out and has no pk yet; make "
                           "that element a draft too");
    if (w->step.kind == STEP_KEY)
        path_add_key(&w->path, w->step.s, w->step.len);
    else
        path_add_index(&w->path, w->step.index);
    return 0;
}

static int way_field(struct way *w, const char *name, size_t len)
{
    const struct model *m = w->type ? w->type->model : w->model;
    int i = model_field(m, name, len);
    if (i < 0)
        return fault_set(w->fault, FAULT_UNKNOWN_FIELD, "model %s has no field '%.*s'", m->name,
                         (int)len, name);
    w->type = m->fields[i].type;
    w->in_container = false;
    path_add_name(&w->path, name, len);
    return 0;
}

static int way_step(struct way *w, const struct step *s)
{
    if (way_flush(w) < 0)
        return -1;
    while (w->type && (w->type = type_within(w->type))->kind == TYPE_MAYBE)
        w->type = w->type->of;
    if (!w->type || type_atomic(w->type))
        return s->len ? way_field(w, s->s, s->len) : way_lost(w, "no index leads into a model");
    const struct container_kind *kind = type_container(w->type);
    if (kind && kind->by == BY_INDEX) {
        w->element = true;
        w->step = *s;
    } else if (kind && kind->by == BY_KEY && s->kind != STEP_INDEX) {
        path_add_key(&w->path, s->s, s->len);
    } else {
        return way_lost(w, "this is a value, replaced whole");
    }
    w->type = w->type->of;
    w->in_container = true;
    return 0;
}

static int way_to_place(struct way *w, const struct embedding *e)
{
    struct path_reader r;
    struct step s;
    int more;
    path_read(&r, e->path, e->path_len);
    while ((more = path_next(&r, &s, w->fault)) > 0) {
        if (way_step(w, &s) < 0)
            return -1;
        if (w->element && s.kind == STEP_KEY && s.s == r.scratch)
            w->step.s = memcpy(w->kept, s.s, s.len);
    }
    return more;
}

static int way_to_spot(struct way *w, const struct embedding *e, const struct template_spot *spot,
                       const struct buf *out)
{
    struct step s = {.kind = STEP_NAME};
    if (e->into == INTO_ENTRY)
        s = (struct step){.kind = STEP_KEY, .s = e->key, .len = strlen(e->key)};
    if (e->into != INTO_PLACE && way_step(w, &s) < 0)
        return -1;
    for (unsigned i = 0; i < spot->nsteps; i++) {
        const struct template_step *t = &spot->steps[i];
        s = (struct step){.kind = STEP_NAME};
        if (t->is_key)
            s = (struct step){
                .kind = STEP_KEY, .s = (const char *)out->data + t->key_at, .len = t->key_len};
        if (way_step(w, &s) < 0)
            return -1;
    }
    return 0;
}

/* ---- what ---- */

static int draft_fits(const struct embedding *e, rapyer_doc *draft, struct fault *f)
{
    struct home *h = draft->home;
    if (!handle_is_whole(draft))
        return fault_set(f, FAULT_BAD_VALUE, "%%p takes a draft; this is %s",
                         draft->path[0] ? "a place inside a document"
                                        : "saved already: give what rapyer_fetch reads");
    if (h->db != e->home->db)
        return fault_set(f, FAULT_BAD_VALUE, "the draft belongs to another connection");
    if (h == e->home)
        return fault_set(f, FAULT_BAD_VALUE, "a draft cannot be put into itself");
    if (h->in_flight)
        return fault_set(f, FAULT_BUSY, "the draft is on its way to the daemon");
    for (size_t i = 0; i < e->moves->n; i++) {
        if (e->moves->all[i].what == h)
            return fault_set(f, FAULT_BAD_VALUE, "the same draft is there twice");
    }
    return 0;
}

static int add_move(struct moves *m, struct home *what, bool element, struct buf *path,
                    struct fault *f)
{
    struct move *more = reallocarray(m->all, m->n + 1, sizeof *more);
    buf_append(path, "", 1);
    if (more)
        m->all = more;
    if (!more || path->failed)
        return fault_set(f, FAULT_NO_MEMORY, "out of memory");
    m->all[m->n++] =
        (struct move){.what = home_ref(what), .path = (char *)path->data, .element = element};
    *path = BUF_INIT;
    return 0;
}

static int place_draft(struct embedding *e, rapyer_doc *draft, const struct template_spot *spot,
                       struct buf *out, struct way *w)
{
    struct home *h = draft->home;
    size_t pk_len = strlen(h->pk);
    if (way_to_place(w, e) < 0 || way_to_spot(w, e, spot, out) < 0)
        return -1;
    const struct type *t = w->type ? type_within(w->type) : NULL;
    if (t && t->kind == TYPE_MAYBE)
        t = t->of;
    if (!t || t->kind != TYPE_MODEL || t->model != h->draft->model) {
        char name[TYPE_NAME_MAX];
        return fault_set(w->fault, FAULT_BAD_TYPE, "'%.*s' takes %s, and the draft is a %s",
                         (int)w->path.len, w->path.len ? (const char *)w->path.data : "",
                         w->type ? type_name(w->type, name, sizeof name) : w->model->name,
                         h->draft->model->name);
    }
    if (w->element) /* the way ends here: by its pk */
        path_add_key(&w->path, h->pk, pk_len);
    record_pack(h->draft, w->in_container ? h->pk : NULL, w->in_container ? pk_len : 0, false, "",
                0, NULL, out);
    return add_move(e->moves, h, w->in_container, &w->path, w->fault);
}

int embed_draft(void *arg, void *p, const struct template_spot *spot, struct buf *out,
                struct fault *f)
{
    struct embedding *e = arg;
    f->code = FAULT_NONE;
    if (!p || (*(const uint32_t *)p & TAG_MASK) != TAG_DOC)
        return embed_value(NULL, p, spot, out, f);
    rapyer_doc *draft = p;
    if (draft_fits(e, draft, f) < 0)
        return -1;
    if (!e->model)
        return fault_set(f, FAULT_UNKNOWN_MODEL,
                         "the model of %s is not declared here; rapyer_define it before a draft "
                         "is put into it",
                         e->home->key ? e->home->key : "the target");
    struct way w = {.model = e->model, .fault = f};
    int rc = place_draft(e, draft, spot, out, &w);
    buf_free(&w.path);
    return rc;
}

/* ---- moving ---- */

void moves_free(struct moves *m)
{
    for (size_t i = 0; i < m->n; i++) {
        home_unref(m->all[i].what);
        free(m->all[i].path);
    }
    free(m->all);
    *m = (struct moves){0};
}

void moves_done(struct moves *m, struct home *to)
{
    for (size_t i = 0; i < m->n; i++) {
        struct move *move = &m->all[i];
        home_moves(move->what, to, move->path);
        move->path = NULL;
        if (!move->element) {
            free(move->what->pk);
            move->what->pk = NULL;
        }
    }
    moves_free(m);
}

void moves_hold(struct moves *m, bool in_flight)
{
    for (size_t i = 0; i < m->n; i++)
        m->all[i].what->in_flight = in_flight;
}
