/* missing: what a run has met that is not loaded: containers, or single elements of long ones; and
 * what another program spoilt. The loader brings the ones, the others are refused. */
#include "daemon/documents/layout.h"
#include "daemon/exec/exec_inside.h"
#include "protocol/alloc.h"

#define LOOK_BACK 64 /* for the same place, reported before */
#define PICKS_MAX 32 /* of one container in one run; for more all of it is read */

void missing_free(struct missing *m)
{
    free(m->suffix);
    free(m->name);
}

/* A field's suffix is that of its record's key, and its name in that hash. */
static void note_spoilt(struct call *c, const struct cell *cell, const char *suffix, size_t len)
{
    const struct doc *d = c->run.missing_of;
    struct buf root = BUF_INIT;
    layout_key(&root, &c->exec->names, d->key, d->key_len, "", 0);
    buf_append(&root, "", 1);
    const char *name = suffix + len;
    while (name > suffix && name[-1] != '/')
        name--;
    int at = name > suffix ? (int)(name - suffix) - 1 : 0;
    if (cell->kind == CELL_CONTAINER)
        fault_set(&c->spoilt, FAULT_CORRUPT,
                  "%s: the Redis key %s%.*s: %s; set or clear this %s, save the whole document, or "
                  "delete it",
                  d->key, (char *)root.data, (int)len, suffix, cell_wrong(cell),
                  container_kind(cell->container)->name);
    else
        fault_set(&c->spoilt, FAULT_CORRUPT,
                  "%s: field %.*s of the Redis key %s%.*s: %s, which another program put there; "
                  "set this field, save the whole document, or delete it",
                  d->key, (int)(suffix + len - name), name, (char *)root.data, at, suffix,
                  cell_wrong(cell));
    buf_free(&root);
}

static bool same(const struct missing *m, const struct cell *cell, const struct named *which)
{
    if (m->cell != cell || m->one != (which != NULL))
        return false;
    return !m->one || (m->which.by == which->by && m->which.index == which->index &&
                       m->which.count == which->count && m->which.len == which->len &&
                       (which->len == 0 || memcmp(m->which.key, which->key, which->len) == 0));
}

static void add(struct call *c, struct cell *cell, const struct type *t, const char *suffix,
                size_t len, const struct named *which)
{
    struct run *r = &c->run;
    for (unsigned i = r->nmissing; i > 0 && r->nmissing - i < LOOK_BACK; i--) {
        if (same(&r->missing[i - 1], cell, which))
            return;
    }
    struct missing m = {.doc = r->missing_of,
                        .cell = cell,
                        .type = t,
                        .suffix = alloc_copy(suffix, len),
                        .suffix_len = len};
    if (which != NULL) {
        m.one = true;
        m.which = *which;
        m.which.key = m.name = alloc_copy(which->len > 0 ? which->key : "", which->len);
    }
    vec_push(r->missing, r->nmissing, r->missing_cap, m);
}

static void on_container(void *arg, struct cell *cell, const struct type *t, const char *suffix,
                         size_t len)
{
    struct call *c = arg;
    if (cell_wrong(cell) == NULL) {
        add(c, cell, t, suffix, len, NULL);
        return;
    }
    if (!c->run.spoilt)
        note_spoilt(c, cell, suffix, len);
    c->run.spoilt = true;
}

static void on_element(void *arg, struct cell *cell, const struct type *t, const char *suffix,
                       size_t len, const struct named *which)
{
    add(arg, cell, t, suffix, len, which);
}

struct needs call_needs(struct call *c, struct doc *d)
{
    c->run.missing_of = d;
    return (struct needs){.container = on_container, .element = on_element, .arg = c};
}

/* By document, then by container; whole ones before single elements of them. */
static int by_place(const void *a, const void *b)
{
    const struct missing *x = a, *y = b;
    uintptr_t left = (uintptr_t)(x->doc != y->doc ? (void *)x->doc : (void *)x->cell);
    uintptr_t right = (uintptr_t)(x->doc != y->doc ? (void *)y->doc : (void *)y->cell);
    return left != right ? (left > right) - (left < right) : x->one - y->one;
}

/* How many of those from i on are of one container. */
static unsigned of_one_container(const struct run *r, unsigned i)
{
    unsigned n = 1;
    while (i + n < r->nmissing && r->missing[i + n].cell == r->missing[i].cell)
        n++;
    return n;
}

void missing_group(struct run *r)
{
    unsigned kept = 0;
    if (r->nmissing > 1)
        qsort(r->missing, r->nmissing, sizeof(*r->missing), by_place);
    for (unsigned i = 0, n; i < r->nmissing; i += n) {
        n = of_one_container(r, i);
        if (n > PICKS_MAX)
            r->missing[i].one = false;
        unsigned keep = r->missing[i].one ? n : 1;
        for (unsigned j = 0; j < n; j++) {
            if (j < keep)
                r->missing[kept++] = r->missing[i + j];
            else
                missing_free(&r->missing[i + j]);
        }
    }
    r->nmissing = kept;
}
