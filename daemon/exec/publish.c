/* publish: see publish.h.
 *
 * When to show is a guess at what comes. A document costs its packing each time it is shown, and a
 * read that finds it there saves more than that, but the daemon does not see those reads. So what
 * was read between two changes is shown anew with the next changes, twice as many each time that it
 * proves true, and then hidden once, to see whether somebody comes and asks for it.
 */
#include "daemon/exec/publish.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/shared/shelf.h"
#include "protocol/alloc.h"
#include <errno.h>

#define TERM_MS 500                /* that readers trust a daemon of which they hear nothing */
#define SMALLEST ((size_t)1 << 20) /* memory; less is not worth its while */
#define WORTH_MAX 64               /* changes that a document is shown anew with, unseen */
#define QUICK 4096u                /* bytes: what is longer is not packed with a change */

struct publisher {
    const struct config *config;
    struct cache *cache;
    struct shelf *shelf; /* NULL: nobody has asked, or it cannot be */
    char *except;        /* the setting that it was made with */
    uint64_t generation; /* of the last that may be, or might have been, read */
    bool up;
    uint64_t hits;
    struct buf packed; /* the record that is made */
};

struct publisher *publisher_new(const struct config *config, struct cache *cache)
{
    struct publisher *p = alloc_zeroed(1, sizeof *p);

    p->config = config;
    p->cache = cache;
    return p;
}

/* ---- the memory ---- */

/* It is part of what documents may take. */
static void set_cache(struct publisher *p)
{
    size_t own = p->shelf != NULL ? shelf_memory(p->shelf) : 0;

    cache_bound(p->cache, p->config->cache_memory - own, p->config->absent);
}

static void close_shelf(struct publisher *p)
{
    shelf_free(p->shelf);
    p->shelf = NULL;
    free(p->except);
    p->except = NULL;
    set_cache(p);
}

void publisher_free(struct publisher *p)
{
    shelf_free(p->shelf);
    free(p->except);
    buf_free(&p->packed);
    free(p);
}

static size_t wanted(const struct publisher *p)
{
    size_t half = p->config->cache_memory / 2;
    size_t memory = p->config->shared_memory < half ? p->config->shared_memory : half;

    return memory < SMALLEST ? 0 : memory & ~(size_t)4095;
}

static void allow(struct publisher *p)
{
    if (p->shelf != NULL)
        segment_allow(shelf_segment(p->shelf), p->up ? p->generation : 0);
}

int publisher_open(struct publisher *p, size_t *size, struct fault *f)
{
    size_t memory = wanted(p);

    if (memory == 0)
        return fault_set(f, FAULT_UNAVAILABLE,
                         "no documents are in shared memory (cache.shared_memory)");
    if (p->shelf == NULL) {
        p->shelf = shelf_new(memory);
        if (p->shelf == NULL) {
            log_warning("no shared memory for documents: %s", strerror(errno));
            return fault_set(f, FAULT_UNAVAILABLE, "no shared memory: %s", strerror(errno));
        }
        p->except = alloc_str(p->config->shared_except);
        set_cache(p);
        allow(p);
    }
    *size = shelf_memory(p->shelf);
    return shelf_fd(p->shelf);
}

void publisher_close(struct publisher *p)
{
    if (p->shelf != NULL)
        close_shelf(p);
}

void publisher_configure(struct publisher *p)
{
    if (p->shelf != NULL &&
        (shelf_memory(p->shelf) != wanted(p) || strcmp(p->except, p->config->shared_except) != 0))
        close_shelf(p);
    else
        set_cache(p);
}

void publisher_allow(struct publisher *p, bool up)
{
    p->up = up;
    p->generation += up;
    allow(p);
}

void publisher_models_changed(struct publisher *p)
{
    p->generation++;
    allow(p);
}

void publisher_beat(struct publisher *p, int64_t now_ms, int64_t trust_ms)
{
    int64_t until = now_ms + TERM_MS < trust_ms ? now_ms + TERM_MS : trust_ms;

    if (p->shelf != NULL)
        segment_beat(shelf_segment(p->shelf), (uint64_t)until * 1000000);
}

bool publisher_shows(const struct publisher *p)
{
    return p->shelf != NULL;
}

/* ---- records ---- */

/* Whether the setting, a list of names, has this one. */
static bool excepted(const struct publisher *p, const struct model *m)
{
    size_t len = strlen(m->name);

    for (const char *at = p->except; (at = strstr(at, m->name)) != NULL; at += len) {
        bool begins = at == p->except || strchr(", ", at[-1]) != NULL;
        if (begins && strchr(", ", at[len]) != NULL) /* the NUL counts */
            return true;
    }
    return false;
}

/* Whether doc.get leaves out something, of the document or of an element in it. */
static bool type_leaves_out(const struct type *t);

static bool leaves_out(const struct model *m)
{
    for (uint32_t i = 0; i < m->nfields; i++) {
        if (m->fields[i].lazy || type_leaves_out(m->fields[i].type))
            return true;
    }
    return false;
}

static bool type_leaves_out(const struct type *t)
{
    while (t->of != NULL)
        t = t->of;
    return t->kind == TYPE_MODEL && leaves_out(t->model);
}

static void not_loaded(void *arg, struct cell *cell, const struct type *t, const char *suffix,
                       size_t len)
{
    (void)arg, (void)cell, (void)t, (void)suffix, (void)len;
}

/* The map of the document with its version, which is the last pair; false: not all is loaded. */
static bool pack(struct publisher *p, const struct doc *d, struct segment_record *r)
{
    struct buf map = BUF_INIT;
    struct needs needs = {.container = not_loaded};
    uint32_t pairs = 0;
    size_t pk_len;
    const char *pk = doc_pk(d, &pk_len);

    record_pack(d->root, pk, pk_len, true, "", 0, &needs, &map);
    struct cursor in = cursor_of(map.data, map.len);
    bool whole = needs.count == 0 && cursor_map(&in, &pairs) == 0;
    if (whole) {
        buf_clear(&p->packed);
        pack_map(&p->packed, pairs + 1);
        buf_append(&p->packed, in.at, (size_t)(in.end - in.at));
        pack_cstr(&p->packed, "@v");
        pack_int(&p->packed, d->version);
        *r = (struct segment_record){
            .key = d->key,
            .key_len = d->key_len,
            .value = p->packed.data,
            .len = p->packed.len,
            .pairs = pairs + 1,
            .items = (uint32_t)cursor_count(cursor_of(p->packed.data, p->packed.len)),
            .generation = p->generation,
            .stamp = d->checked,
            .expires = d->expires,
            .complete = !leaves_out(d->model),
        };
    }
    buf_free(&map);
    return whole;
}

static void show(struct publisher *p, struct doc *d)
{
    struct segment_record r;

    if (pack(p, d, &r)) {
        shelf_put(p->shelf, &d->shown, &r);
        d->shown_len = (uint32_t)(r.len < UINT32_MAX ? r.len : UINT32_MAX);
    } else {
        shelf_take(&d->shown);
    }
    d->unshowable = d->shown == NULL;
    buf_shrink(&p->packed, 1u << 16);
}

/* ---- when ---- */

static bool showable(const struct publisher *p, const struct doc *d)
{
    return p->shelf != NULL && p->up && d->state == DOC_PRESENT && !doc_dirty(d) &&
           !d->unshowable && !excepted(p, d->model);
}

void publisher_read(struct publisher *p, struct doc *d)
{
    if (!showable(p, d) || shelf_shows(d->shown, p->generation, d->checked))
        return;
    unsigned enough = d->worth > 0 ? 1 : 2;
    if (d->shown_len / QUICK > enough)
        enough = d->shown_len / QUICK;
    if (++d->reads < enough)
        return;
    d->worth = d->worth == 0 ? 1 : d->worth < WORTH_MAX ? d->worth * 2 : WORTH_MAX;
    d->credit = d->worth;
    show(p, d);
}

void publisher_hide(struct publisher *p, const struct batch *b)
{
    bool turn = false;

    for (struct batch_doc *bd = batch_docs(b); p->shelf != NULL && bd != NULL; bd = bd->next) {
        struct doc *d = bd->doc;
        d->reads = 0;
        if (d->shown == NULL) {
            d->worth /= 2; /* nobody has read it since the change before */
            continue;
        }
        if (!turn)
            segment_turn_begin(shelf_segment(p->shelf));
        turn = true;
        shelf_hide(d->shown);
    }
    if (turn)
        segment_turn_end(shelf_segment(p->shelf));
}

void publisher_released(struct publisher *p, struct doc *d)
{
    if (d->shown == NULL || !shelf_hidden(d->shown))
        return;
    if (showable(p, d) && d->credit > 0 && d->shown_len <= QUICK) {
        d->credit--;
        show(p, d);
    } else if (!doc_dirty(d)) { /* else the next batch releases it */
        shelf_take(&d->shown);
    }
}

void publisher_hits(struct publisher *p, uint64_t n, const char *key, size_t len)
{
    struct doc *d = cache_find(p->cache, key, len);

    p->hits += n < UINT32_MAX ? n : UINT32_MAX;
    if (d == NULL)
        return;
    cache_use(d);
    if (d->shown != NULL)
        shelf_use(d->shown);
}

void publisher_stats(const struct publisher *p, struct publisher_stats *out)
{
    struct shelf_stats s = {0};

    if (p->shelf != NULL)
        shelf_stats(p->shelf, &s);
    *out = (struct publisher_stats){.memory = s.memory,
                                    .documents = s.shown,
                                    .hits = p->hits,
                                    .shown = s.put,
                                    .displaced = s.displaced};
}
