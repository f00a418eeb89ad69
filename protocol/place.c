/* place: the walk along a path.
 *
 * This is on the way of every read and write, so a step is a lookup and a copy of its name,
 * whatever the depth. A list or dict inside a value (a list of lists, a plain model) is the end
 * of the way: what is inside has no name in Redis (inside.h).
 */
#include "protocol/place.h"

#define SHOWN_MAX 160 /* bytes of a path in a message */
#define PICK_FROM 64  /* elements: of shorter containers all are read, */
#define PICK_SHARE 8  /* and when one in so many was picked */

struct walk {
    struct place *p;
    struct needs *needs;
    struct buf *canonical;
    struct fault *f;
    const char *begin;
    size_t shown; /* bytes of the path before the step at hand */
    bool alone;
};

#define SHOWN(w) (int)((w)->shown < SHOWN_MAX ? (w)->shown : SHOWN_MAX), (w)->begin
#define STEP(s) (int)((s)->len < SHOWN_MAX ? (s)->len : SHOWN_MAX), (s)->s

static inline enum op_status name_add(struct walk *w, const char *s, size_t len)
{
    struct place *p = w->p;
    if (len > PLACE_NAME_MAX - p->len) {
        fault_set(w->f, FAULT_BAD_PATH, "'%.*s': its name in Redis would be over %d bytes",
                  SHOWN(w), PLACE_NAME_MAX);
        return OP_REFUSED;
    }
    memcpy(p->name + p->len, s, len);
    p->len += len;
    return OP_DONE;
}

enum op_status place_loaded(struct cell *container, const struct type *t, const char *key,
                            size_t key_len, struct needs *needs, struct fault *f)
{
    if (container_loaded(container->container)) {
        container->container->used = true;
        return OP_DONE;
    }
    if (!needs) {
        fault_set(f, FAULT_INTERNAL, "'%.*s' is not loaded and nothing can load it",
                  (int)(key_len < SHOWN_MAX ? key_len : SHOWN_MAX), key);
        return OP_REFUSED;
    }
    needs_add(needs, container, t, key, key_len);
    return OP_NEEDS;
}

/* On to a field of r, which is entered. */
static enum op_status take_field(struct walk *w, struct record *r, uint32_t field)
{
    struct place *p = w->p;
    const struct field *f = &r->model->fields[field];
    p->kind = PLACE_FIELD;
    p->record = r;
    p->slot = field;
    p->type = f->type;
    p->cell = record_slot(r, field);
    if (!p->cell && (type_atomic(p->type) || type_container(p->type))) {
        fault_set(w->f, FAULT_INTERNAL, "'%s' is newer than the document in memory", f->name);
        return OP_REFUSED;
    }
    return name_add(w, f->name, f->name_len);
}

static enum op_status walk_field(struct walk *w, struct record *r, const struct step *s)
{
    if (s->kind != STEP_NAME) {
        fault_set(w->f, FAULT_BAD_PATH,
                  "'%.*s' is a model %s: its fields are named with '.field', not in brackets",
                  SHOWN(w), r->model->name);
        return OP_REFUSED;
    }
    int i = model_field(r->model, s->s, s->len);
    if (i < 0) {
        if (w->shown)
            fault_set(w->f, FAULT_UNKNOWN_FIELD, "'%.*s': model %s has no field '%.*s'", SHOWN(w),
                      r->model->name, STEP(s));
        else
            fault_set(w->f, FAULT_UNKNOWN_FIELD, "model %s has no field '%.*s'", r->model->name,
                      STEP(s));
        return OP_REFUSED;
    }
    enum op_status st = take_field(w, r, (uint32_t)i);
    if (st == OP_DONE && w->canonical)
        path_add_name(w->canonical, s->s, s->len);
    return st;
}

/* Whether elements of this type are named by their pks. */
static bool has_pks(const struct type *of)
{
    return type_atomic(of) && !of->model->wraps;
}

static enum op_status no_such_pk(struct walk *w, const struct step *s)
{
    fault_set(w->f, FAULT_NOT_FOUND, "'%.*s' has no element with the pk '%.*s'", SHOWN(w), STEP(s));
    return OP_REFUSED;
}

static enum op_status no_such_index(struct walk *w, const struct step *s, size_t len)
{
    fault_set(w->f, FAULT_OUT_OF_RANGE, "'%.*s' has %zu elements, there is no [%lld]", SHOWN(w),
              len, (long long)s->index);
    return OP_REFUSED;
}

/* Where a Python index leads; -1: nowhere. */
static int64_t index_of(const struct step *s, size_t len)
{
    int64_t i = s->index < 0 ? s->index + (int64_t)len : s->index;
    return i < (int64_t)len ? i : -1;
}

static enum op_status walk_pk(struct walk *w, struct list *l, const struct step *s, bool last)
{
    struct place *p = w->p;
    if (last) {
        int64_t i = list_find_pk(l, s->s, s->len);
        if (i >= 0) {
            p->index = (size_t)i;
            p->cell = list_at(l, p->index);
            return OP_DONE;
        }
    } else {
        /* The index is not needed on the way through, and would cost a search. */
        p->record = list_by_pk(l, s->s, s->len);
        if (p->record)
            return OP_DONE;
    }
    return no_such_pk(w, s);
}

static enum op_status walk_index(struct walk *w, struct list *l, const struct step *s)
{
    struct place *p = w->p;
    int64_t i = index_of(s, list_len(l));
    if (i < 0)
        return no_such_index(w, s, list_len(l));
    p->index = (size_t)i;
    p->cell = list_at(l, p->index);
    return OP_DONE;
}

static void canonical_element(struct walk *w)
{
    struct place *p = w->p;
    const char *pk;
    size_t len;
    if (!w->canonical)
        return;
    struct record *r = !has_pks(p->type) ? NULL : p->cell ? p->cell->record : p->record;
    if (r && cell_get_str(&r->pk, &pk, &len) == 0)
        path_add_key(w->canonical, pk, len);
    else
        path_add_index(w->canonical, (int64_t)p->index);
}

/* Whether elements of the container may do, although it is not loaded. */
static bool may_do(const struct container *c, const struct needs *needs)
{
    return c->unloaded && !c->spoilt && c->len >= PICK_FROM && needs && needs->element;
}

static bool may_pick(const struct walk *w, bool last)
{
    return may_do(w->p->cell->container, w->needs) &&
           (w->alone || (type_atomic(w->p->type->of) && !last));
}

/* That element: *c as container_picked has it. OP_NEEDS: it was asked for, or all of them were. */
static enum op_status pick(struct walk *w, const struct named *which, struct cell **c)
{
    struct place *p = w->p;
    struct container *from = p->container->container;
    from->used = true;
    *c = container_picked(from, which);
    if (*c)
        return OP_DONE;
    if (from->picked && dict_len(from->picked) >= from->len / PICK_SHARE)
        return place_loaded(p->container, p->container_type, p->name, p->len, w->needs, w->f);
    w->needs->element(w->needs->arg, p->container, p->container_type, p->name, p->len, which);
    w->needs->count++;
    return OP_NEEDS;
}

static enum op_status pick_from_list(struct walk *w, const struct step *s)
{
    struct place *p = w->p;
    size_t len = p->container->container->len, pk_len;
    struct named which = {.by = BY_KEY, .key = s->s, .len = s->len};
    const char *pk;
    if (s->kind == STEP_INDEX) {
        int64_t i = index_of(s, len);
        if (i < 0)
            return no_such_index(w, s, len);
        which = (struct named){.by = BY_INDEX, .index = p->index = (size_t)i};
    }
    enum op_status st = pick(w, &which, &p->cell);
    if (st == OP_DONE && s->kind == STEP_INDEX && type_atomic(p->type) &&
        cell_get_str(p->cell, &pk, &pk_len) == 0) {
        which = (struct named){.by = BY_KEY, .key = pk, .len = pk_len};
        st = pick(w, &which, &p->cell);
    }
    if (st != OP_DONE)
        p->cell = NULL;
    else if (p->cell->kind == CELL_UNSET && s->kind == STEP_KEY)
        return no_such_pk(w, s);
    else if (p->cell->kind == CELL_UNSET) /* it was appended in the same run */
        return place_loaded(p->container, p->container_type, p->name, p->len, w->needs, w->f);
    return st;
}

/* From the list at p to one of its elements. */
static enum op_status walk_list(struct walk *w, const struct step *s, bool last)
{
    struct place *p = w->p;
    const struct type *of = p->type->of;
    char kind[TYPE_NAME_MAX];
    if (s->kind == STEP_NAME || (s->kind == STEP_KEY && !has_pks(of))) {
        fault_set(w->f, FAULT_BAD_PATH, "'%.*s' is a %s: an element is named %s", SHOWN(w),
                  type_name(p->type, kind, sizeof kind),
                  has_pks(of) ? "[index] or [\"pk\"]" : "[index]");
        return OP_REFUSED;
    }
    bool picks = may_pick(w, last);
    enum op_status st =
        picks ? OP_DONE : place_loaded(p->cell, p->type, p->name, p->len, w->needs, w->f);
    if (st != OP_DONE)
        return st;
    p->container = p->cell;
    p->container_type = p->type;
    p->kind = PLACE_ELEMENT;
    p->type = of;
    p->depth++;
    p->cell = NULL;
    p->record = NULL;
    struct list *l = p->container->list;
    if (picks)
        st = pick_from_list(w, s);
    else
        st = s->kind == STEP_KEY ? walk_pk(w, l, s, last) : walk_index(w, l, s);
    if (st == OP_DONE)
        canonical_element(w);
    return st;
}

/* From the dict at p to one of its entries, there or not. */
static enum op_status walk_dict(struct walk *w, const struct step *s, bool last)
{
    struct place *p = w->p;
    const struct type *of = p->type->of;
    char kind[TYPE_NAME_MAX];
    if (s->kind != STEP_KEY) {
        fault_set(w->f, FAULT_BAD_PATH, "'%.*s' is a %s: an entry is named [\"key\"]", SHOWN(w),
                  type_name(p->type, kind, sizeof kind));
        return OP_REFUSED;
    }
    bool atomic = type_atomic(of), picks = may_pick(w, last);
    if (!picks && (atomic || p->cell->container->spoilt)) {
        enum op_status st = place_loaded(p->cell, p->type, p->name, p->len, w->needs, w->f);
        if (st != OP_DONE)
            return st;
    }
    p->container = p->cell;
    p->container_type = p->type;
    p->kind = PLACE_ENTRY;
    p->type = of;
    p->depth++;
    p->key = s->s;
    p->key_len = s->len;
    struct dict *d = p->container->dict;
    p->container->container->used = true;
    p->cell = dict_loaded(d) ? dict_get(d, s->s, s->len) : NULL;
    if (picks) {
        struct named which = {.by = BY_KEY, .key = s->s, .len = s->len};
        enum op_status st = pick(w, &which, &p->cell);
        if (st != OP_DONE)
            return st;
        p->not_there = p->cell->kind == CELL_UNSET;
        p->cell = p->not_there ? NULL : p->cell;
    }
    if (atomic && !p->cell && !last) {
        fault_set(w->f, FAULT_NOT_FOUND, "'%.*s' has no key '%.*s'", SHOWN(w), STEP(s));
        return OP_REFUSED;
    }
    if (w->canonical)
        path_add_key(w->canonical, s->s, s->len);
    return OP_DONE;
}

/* Into what the optional model at p holds, whose fields the next step names. */
static enum op_status walk_lone(struct walk *w)
{
    struct place *p = w->p;
    struct element e = {0};
    enum op_status st = place_loaded(p->cell, p->type, p->name, p->len, w->needs, w->f);
    if (st != OP_DONE)
        return st;
    if (!container_next(p->cell->container, &e)) {
        fault_set(w->f, FAULT_NOT_FOUND, "'%.*s' is null; set it first", SHOWN(w));
        p->null = true;
        return OP_REFUSED;
    }
    p->container = p->cell;
    p->container_type = p->type;
    p->kind = PLACE_ELEMENT;
    p->type = p->type->of;
    p->index = 0;
    p->cell = e.cell;
    p->lone = e.cell->record;
    p->hidden = true;
    return OP_DONE;
}

/* Into the record at p, whose fields the next step names. */
static enum op_status walk_enter(struct walk *w, struct record **out)
{
    struct place *p = w->p;
    p->depth += !p->type->model->wraps;
    if (p->kind == PLACE_FIELD) {
        *out = p->cell->record;
        return name_add(w, ".", 1);
    }
    *out = p->cell ? p->cell->record : p->record;
    const char *pk;
    size_t len;
    if (cell_get_str(&(*out)->pk, &pk, &len) < 0) {
        fault_set(w->f, FAULT_INTERNAL, "the element at '%.*s' has no pk", SHOWN(w));
        return OP_REFUSED;
    }
    char name[PK_ESCAPED_MAX];
    enum op_status st = name_add(w, "/", 1);
    if (st == OP_DONE && len <= PK_MAX)
        st = name_add(w, name, pk_escape(name, pk, len));
    p->base = p->len;
    return st == OP_DONE ? name_add(w, "/", 1) : st;
}

static enum op_status walk_value(struct walk *w)
{
    struct place *p = w->p;
    char kind[TYPE_NAME_MAX];
    const struct type *t = type_bare(p->type);
    switch (t->kind) {
    case TYPE_MODEL:
    case TYPE_LIST:
    case TYPE_DICT:
    case TYPE_ANY: p->inside = w->shown; break;
    default: break;
    }
    fault_set(w->f, FAULT_BAD_PATH, "'%.*s' is %s, a value: there is nothing to %s inside",
              SHOWN(w), type_name(p->type, kind, sizeof kind),
              p->inside ? "lock or watch" : "address");
    return OP_REFUSED;
}

static enum op_status walk_unnamed(struct walk *w)
{
    char kind[TYPE_NAME_MAX];
    fault_set(w->f, FAULT_BAD_PATH, "'%.*s' is a %s: its members have no paths of their own",
              SHOWN(w), type_name(w->p->type, kind, sizeof kind));
    return OP_REFUSED;
}

/* Through what wraps a container that is in another one. */
static enum op_status walk_unwrap(struct walk *w)
{
    struct place *p = w->p;
    struct record *r;
    enum op_status st = OP_DONE;
    while (st == OP_DONE && type_atomic(p->type) && p->type->model->wraps) {
        p->hidden = true;
        st = walk_enter(w, &r);
        if (st == OP_DONE)
            st = take_field(w, r, 0);
    }
    return st;
}

/* Through what has no step of its own in a path: that, and what an optional holds. */
static enum op_status walk_through(struct walk *w)
{
    struct place *p = w->p;
    enum op_status st = walk_unwrap(w);
    while (st == OP_DONE && p->kind == PLACE_FIELD && p->type->kind == TYPE_MAYBE) {
        st = walk_lone(w);
        if (st == OP_DONE)
            st = walk_unwrap(w);
    }
    return st;
}

static enum op_status walk_step(struct walk *w, const struct step *s, bool last)
{
    struct place *p = w->p;
    struct record *r = p->record;
    if (p->kind == PLACE_ROOT) {
        p->depth = 1;
        return walk_field(w, r, s);
    }
    enum op_status st = walk_through(w);
    if (st == OP_DONE && type_atomic(p->type)) {
        st = walk_enter(w, &r);
        return st == OP_DONE ? walk_field(w, r, s) : st;
    }
    if (st != OP_DONE)
        return st;
    /* A container is one only as a field; inside another it is a value. */
    const struct container_kind *kind = p->kind == PLACE_FIELD ? type_container(p->type) : NULL;
    if (!kind)
        return walk_value(w);
    switch (kind->by) {
    case BY_INDEX: return walk_list(w, s, last);
    case BY_KEY: return walk_dict(w, s, last);
    case BY_NOTHING:
    case BY_ITSELF: return walk_unnamed(w);
    }
    return walk_value(w);
}

enum op_status place_enter(struct place *p, bool lone, struct needs *needs, size_t path_len,
                           struct fault *f)
{
    struct walk w = {.p = p, .needs = needs, .f = f, .begin = p->reader.begin, .shown = path_len};
    if (p->kind == PLACE_ENTRY && !p->cell) {
        fault_set(f, FAULT_NOT_FOUND, "there is no '%.*s'", SHOWN(&w));
        return OP_REFUSED;
    }
    return lone ? walk_through(&w) : walk_unwrap(&w);
}

static void begin(struct place *p, struct record *root)
{
    p->kind = PLACE_ROOT;
    p->type = NULL;
    p->cell = NULL;
    p->record = root;
    p->container = NULL;
    p->lone = NULL;
    p->null = false;
    p->hidden = false;
    p->inside = 0;
    p->depth = 0;
    p->not_there = false;
    p->base = 0;
    p->len = 1;
    p->name[0] = '/';
}

static enum op_status walk_on(struct walk *w)
{
    struct place *p = w->p;
    struct step s;
    int more;
    while ((more = path_next(&p->reader, &s, w->f)) > 0) {
        enum op_status st = walk_step(w, &s, p->reader.at == p->reader.end);
        if (st != OP_DONE)
            return st;
        w->shown = (size_t)(p->reader.at - p->reader.begin);
    }
    return more < 0 ? OP_REFUSED : OP_DONE;
}

enum op_status place_find(struct place *p, struct record *root, const char *path, size_t path_len,
                          bool alone, struct needs *needs, struct buf *canonical, struct fault *f)
{
    struct walk w = {
        .p = p, .needs = needs, .canonical = canonical, .f = f, .begin = path, .alone = alone};
    begin(p, root);
    path_read(&p->reader, path, path_len);
    return walk_on(&w);
}

enum op_status place_find_from(struct place *p, struct record *root, const struct type *type,
                               const char *path, size_t path_len, size_t from, struct fault *f)
{
    struct walk w = {.p = p, .f = f, .begin = path, .shown = from};
    begin(p, root);
    if (type) {
        p->kind = PLACE_FIELD;
        p->type = type;
        p->slot = 0;
        p->cell = record_slot(root, 0);
    }
    path_read(&p->reader, path, path_len);
    path_skip(&p->reader, from);
    return walk_on(&w);
}

int path_resolve(struct record *root, const char *path, size_t len, struct needs *needs,
                 struct buf *canonical, struct fault *f)
{
    struct place p;
    size_t had = canonical->len;
    enum op_status st = place_find(&p, root, path, len, true, needs, canonical, f);
    if (st != OP_DONE)
        canonical->len = had;
    return st;
}

/* ---- several elements of a list ---- */

struct cell *place_slice_at(const struct place *p, size_t i)
{
    const struct container *c = p->cell->container;
    struct named which = {.by = BY_INDEX, .index = i};
    if (container_loaded(c))
        return list_at(p->cell->list, i);
    struct cell *at = container_picked(c, &which);
    if (!at || at->kind == CELL_UNSET || !type_atomic(p->type->of))
        return at;
    which = (struct named){.by = BY_KEY};
    return cell_get_str(at, &which.key, &which.len) < 0 ? NULL : container_picked(c, &which);
}

enum op_status place_slice(struct place *p, size_t from, size_t n, struct needs *needs,
                           struct fault *f)
{
    struct container *c = p->cell->container;
    size_t end = from + n, picked = c->picked ? dict_len(c->picked) : 0;
    const struct cell *at;
    if (!may_do(c, needs))
        return place_loaded(p->cell, p->type, p->name, p->len, needs, f);
    c->used = true;
    while (from < end && (at = place_slice_at(p, from)) && at->kind != CELL_UNSET)
        from++;
    while (from < end && (at = place_slice_at(p, end - 1)) && at->kind != CELL_UNSET)
        end--;
    if (from == end)
        return OP_DONE;
    bool late = false; /* was asked for, and appended in the same run */
    for (size_t i = from; i < end && !late; i++)
        late = (at = place_slice_at(p, i)) && at->kind == CELL_UNSET;
    if (late || end - from + picked > c->len / PICK_SHARE)
        return place_loaded(p->cell, p->type, p->name, p->len, needs, f);
    struct named which = {.by = BY_INDEX, .index = from, .count = end - from};
    needs->element(needs->arg, p->cell, p->type, p->name, p->len, &which);
    needs->count++;
    return OP_NEEDS;
}
