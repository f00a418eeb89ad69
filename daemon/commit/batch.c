/* batch: see batch.h. This file gathers: changes are kept as structures until batch_format, so that
 * a field that is changed a hundred times is sent once. batch_text.c writes what they have become,
 * batch_answer.c takes what Redis says to it. */
#include "daemon/base/hash.h"
#include "daemon/commit/batch_inside.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/changes.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <utlist.h>

#define UNIT_BYTES 300 /* of a unit, roughly; and of the script that they share */
#define SCRIPT_BYTES 2500
#define NOTES_KEPT 4096     /* expectations and parts, for the next batch */
#define NOTES_KEPT_MORE 128 /* and for those after it */

struct batch_pool *batch_pool_new(const struct names *names, const char *daemon)
{
    struct batch_pool *p = alloc_zeroed(1, sizeof(*p));
    p->names = names;
    p->prefix = names->prefix;
    p->daemon = daemon;
    p->prefix_len = strlen(names->prefix);
    p->tells_others = true;
    buf_printf(&p->channel, "%s:@changes", names->prefix);
    buf_printf(&p->turn, "%s:" TURN_KEY, names->prefix);
    buf_printf(&p->own, "%s:@own:%s", names->prefix, daemon);
    unit_popped_key(names->prefix, daemon, &p->popped);
    return p;
}

void batch_pool_tell(struct batch_pool *p, bool own, bool others)
{
    p->tells_own = own;
    p->tells_others = others;
}

static void memory_free(struct batch_memory *m)
{
    arena_free(&m->arena);
    free(m->expect);
    free(m->parts);
    table_clear(&m->pends);
    table_clear(&m->fields);
}

void batch_pool_free(struct batch_pool *p)
{
    for (unsigned i = 0; i < p->nspares; i++)
        memory_free(&p->spares[i]);
    buf_free(&p->channel);
    buf_free(&p->own);
    buf_free(&p->turn);
    buf_free(&p->popped);
    writer_free(&p->writer);
    free(p);
}

void batch_pool_index(struct batch_pool *p, struct index_table *indexes)
{
    p->indexes = indexes;
}

void batch_words_make(struct batch_words *w, const char *prefix, const char *daemon,
                      const char *tag)
{
    *w = (struct batch_words){.marker = BUF_INIT};
    unit_marker_key(prefix, daemon, tag, &w->marker);
    buf_printf(&w->set, "*3\r\n$3\r\nSET\r\n");
    resp_bulk(&w->set, w->marker.data, w->marker.len);
    if (tag == NULL)
        return;
    struct buf key = BUF_INIT;
    buf_printf(&key, "%s:@still{%s}", prefix, tag);
    resp_command(&w->still, 2, (const char *[]){"EXISTS", (char *)key.data},
                 (size_t[]){6, key.len});
    buf_free(&key);
}

void batch_words_free(struct batch_words *w)
{
    buf_free(&w->marker);
    buf_free(&w->set);
    buf_free(&w->still);
}

struct batch *batch_new(struct batch_pool *p, uint64_t number, const struct batch_words *words)
{
    struct batch_memory m = {.expect = NULL};
    if (p->nspares > 0)
        m = p->spares[--p->nspares];
    struct batch *b = arena_zero(&m.arena, sizeof(*b));
    b->arena = m.arena;
    b->number = number;
    b->words = words;
    b->pool = p;
    b->expect = m.expect;
    b->expect_cap = m.expect_cap;
    b->parts = m.parts;
    b->parts_cap = m.parts_cap;
    b->pends = m.pends;
    b->fields = m.fields;
    return b;
}

/* What a dropped key had gathered; answers may still refer to its numbers. */
static void forget_changes(struct batch *b, struct pend *p)
{
    for (struct pend_field *f = p->fields; f != NULL; f = f->next)
        table_remove(&b->fields, &f->entry);
    p->fields = p->last_field = NULL;
    p->cmds = p->last_cmd = NULL;
}

/* For the next ones; more notes than most batches have are not kept. */
static void keep_memory(struct batch_pool *p, struct batch_memory *m)
{
    if (p->nspares == SPARES) {
        memory_free(m);
        return;
    }
    if (m->expect_cap + m->parts_cap > (p->nspares == 0 ? NOTES_KEPT : NOTES_KEPT_MORE)) {
        free(m->expect);
        free(m->parts);
        m->expect = NULL;
        m->parts = NULL;
        m->expect_cap = m->parts_cap = 0;
    }
    table_empty(&m->pends);
    table_empty(&m->fields);
    arena_empty(&m->arena);
    p->spares[p->nspares++] = *m;
}

void batch_free(struct batch *b)
{
    for (struct list_cmd *c = b->all_cmds; c != NULL; c = c->next_of_all)
        buf_free(&c->raws);
    for (unsigned i = 0; i < b->nheld; i++)
        held_let_go(b->held[i]);
    free(b->held);
    for (struct unit *u = b->units; u != NULL; u = u->next) {
        guard_unref(u->guard);
        buf_free(&u->holder);
        free(u->uniques);
    }
    struct batch_memory m = {.arena = b->arena, /* b itself is in it */
                             .pends = b->pends,
                             .fields = b->fields,
                             .expect = b->expect,
                             .parts = b->parts,
                             .expect_cap = b->expect_cap,
                             .parts_cap = b->parts_cap};
    keep_memory(b->pool, &m);
}

uint64_t batch_number(const struct batch *b)
{
    return b->number;
}

bool batch_empty(const struct batch *b)
{
    return b->docs == NULL;
}

size_t batch_bytes(const struct batch *b)
{
    return b->bytes;
}

void batch_wait(struct batch *b, struct waiter *w)
{
    w->next = NULL;
    if (b->last_waiter != NULL)
        b->last_waiter->next = w;
    else
        b->waiters = w;
    b->last_waiter = w;
}

struct waiter *batch_waiters(const struct batch *b)
{
    return b->waiters;
}

struct unit *batch_unit(struct batch *b, struct guard *g)
{
    for (struct unit *u = g == NULL || g->own ? NULL : b->units; u != NULL; u = u->next) {
        if (guard_same(u->guard, g))
            return u;
    }
    struct unit *u = arena_zero(&b->arena, sizeof(*u));
    u->guard = g != NULL ? guard_ref(g) : NULL;
    if (b->last_unit != NULL) {
        u->number = b->last_unit->number + 1;
        b->last_unit->next = u;
    } else {
        b->units = u;
    }
    if (b->last_unit == NULL)
        b->bytes += SCRIPT_BYTES;
    b->last_unit = u;
    b->bytes += UNIT_BYTES;
    return u;
}

struct unit *batch_units(const struct batch *b)
{
    return b->units;
}

static void unit_add(struct unit *u, struct batch_doc *bd)
{
    bd->unit = u;
    if (u->last_doc != NULL)
        u->last_doc->next_of_unit = bd;
    else
        u->docs = bd;
    u->last_doc = bd;
    u->ndocs++;
}

struct unit *batch_join(struct unit *a, struct unit *other)
{
    if (a == other)
        return a;
    struct unit *u = a->ndocs < other->ndocs ? other : a, *gone = u == a ? other : a;
    for (struct batch_doc *bd = gone->docs, *next; bd != NULL; bd = next) {
        next = bd->next_of_unit;
        bd->next_of_unit = NULL;
        unit_add(u, bd);
    }
    u->relies = u->relies || gone->relies;
    gone->docs = gone->last_doc = NULL;
    gone->into = u;
    return u;
}

static struct batch_doc *part_of(const struct batch *b, const struct doc *d)
{
    return d->batch == b ? d->staged : NULL;
}

struct unit *batch_unit_of(const struct batch *b, const struct doc *d)
{
    const struct batch_doc *bd = part_of(b, d);
    return bd != NULL ? bd->unit : NULL;
}

struct batch_doc *batch_doc(struct batch *b, struct doc *d, struct unit *u)
{
    struct batch_doc *had = part_of(b, d);
    if (had != NULL && had->unit != NULL && u != NULL)
        batch_join(had->unit, u);
    if (had != NULL && (had->unit != NULL || u == NULL))
        return had;
    struct batch_doc *bd = arena_zero(&b->arena, sizeof(*bd));
    bd->doc = d;
    bd->base = d->state == DOC_PRESENT ? d->version : d->stump;
    if (had != NULL)
        had->second = bd;
    if (b->last_doc != NULL)
        b->last_doc->next = bd;
    else
        b->docs = bd;
    b->last_doc = bd;
    if (u != NULL)
        unit_add(u, bd);
    d->staged = bd;
    d->batch = b;
    d->pins++;
    b->bytes += 100;
    return bd;
}

void batch_rely(struct batch_doc *bd, enum reliance on)
{
    if (bd->base == 0 && on == RELIES_ON_PRESENCE)
        on = RELIES_ON_STATE; /* that it is still missing */
    if (on > bd->relies)
        bd->relies = on;
    bd->unit->relies = bd->unit->relies || on != RELIES_ON_NOTHING;
}

struct batch_doc *batch_docs(const struct batch *b)
{
    return b->docs;
}

void batch_bump(struct batch_doc *bd, int64_t n)
{
    bd->bump += n;
    bd->deleted = false;
    bd->version.expected = bd->doc->version;
}

/* What has this name, of whoever it belongs to. */
static uint64_t hash_in(const void *owner, const char *name, size_t len)
{
    return XXH3_64bits_withSeed(name, len, hash_seed ^ (uintptr_t)owner);
}

static struct pend *pend_new(struct batch *b, struct batch_doc *bd, const char *suffix,
                             size_t suffix_len)
{
    const struct doc *d = bd->doc;
    const struct pend *other = bd->pends; /* begins as it does */
    size_t root_len =
        other != NULL ? other->suffix_at : layout_key_len(b->pool->names, d->key, d->key_len, 0);
    struct pend *p = arena_zero(&b->arena, sizeof(*p) + root_len + suffix_len + 1);
    struct buf key = {.data = (uint8_t *)p->key, .cap = root_len};
    if (other != NULL)
        memcpy(p->key, other->key, root_len);
    else
        layout_key(&key, b->pool->names, d->key, d->key_len, "", 0);
    if (suffix_len > 0)
        memcpy(p->key + root_len, suffix, suffix_len);
    p->bd = bd;
    p->key_len = root_len + suffix_len;
    p->suffix_at = root_len;
    p->expire = bd->deadline && bd->expires != 0;
    if (suffix_len == 0)
        bd->root = p;
    else
        table_add(&b->pends, &p->entry, hash_in(bd, suffix, suffix_len));
    if (bd->last_pend != NULL)
        bd->last_pend->next = p;
    else
        bd->pends = p;
    bd->last_pend = p;
    b->bytes += p->key_len + 32;
    return p;
}

static struct pend *find_pend(const struct batch *b, const struct batch_doc *bd, const char *suffix,
                              size_t len)
{
    if (len == 0)
        return bd->root;
    struct pend *p = (struct pend *)table_find(&b->pends, hash_in(bd, suffix, len));
    while (p != NULL && (p->bd != bd || p->key_len - p->suffix_at != len ||
                         memcmp(p->key + p->suffix_at, suffix, len) != 0))
        p = (struct pend *)table_again(&p->entry);
    return p;
}

struct pend *batch_key(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len)
{
    struct pend *p = find_pend(b, bd, suffix, suffix_len);
    if (p == NULL)
        return pend_new(b, bd, suffix, suffix_len);
    p->expire = p->expire || (bd->deadline && bd->expires != 0);
    return p;
}

struct pend *batch_root(struct batch *b, struct batch_doc *bd)
{
    return bd->root != NULL ? bd->root : pend_new(b, bd, "", 0);
}

static struct pend_field *field_of(struct batch *b, struct pend *p, const char *name, size_t len,
                                   bool *fresh)
{
    uint64_t hash = hash_in(p, name, len);
    struct pend_field *f = (struct pend_field *)table_find(&b->fields, hash);
    while (f != NULL && (f->pend != p || f->name_len != len || memcmp(f->name, name, len) != 0))
        f = (struct pend_field *)table_again(&f->entry);
    *fresh = f == NULL;
    if (f != NULL) {
        f->changes++;
        return f;
    }
    f = arena_zero(&b->arena, sizeof(*f) + len);
    f->pend = p;
    f->changes = 1;
    f->name_len = len;
    memcpy(f->name, name, len);
    table_add(&b->fields, &f->entry, hash);
    if (p->last_field != NULL)
        p->last_field->next = f;
    else
        p->fields = f;
    p->last_field = f;
    b->bytes += len + 32;
    return f;
}

static void field_set(struct batch *b, struct pend_field *f, const void *raw, size_t raw_len)
{
    if (f->raw == NULL || f->raw_cap < raw_len) {
        f->raw = arena_take(&b->arena, raw_len + 1); /* also an empty one is somewhere: no null */
        f->raw_cap = raw_len;
        b->bytes += raw_len;
    }
    if (raw_len > 0) /* an empty raw value may be at NULL */
        memcpy(f->raw, raw, raw_len);
    f->kind = FIELD_SET;
    f->raw_len = raw_len;
}

/* Changes to names within a key. */
static struct pend *fields_of(struct batch *b, struct batch_doc *bd, const struct stored *as,
                              const char *suffix, size_t suffix_len)
{
    struct pend *p = batch_key(b, bd, suffix, suffix_len);
    p->as = as;
    return p;
}

/* ---- commands that go in their order ---- */

static struct list_cmd *list_cmd(struct batch *b, struct pend *p, enum list_kind kind)
{
    struct list_cmd *c = arena_zero(&b->arena, sizeof(*c));
    c->kind = kind;
    c->next_of_all = b->all_cmds;
    b->all_cmds = c;
    if (p->last_cmd != NULL)
        p->last_cmd->next = c;
    else
        p->cmds = c;
    p->last_cmd = c;
    return c;
}

static void list_raw(struct batch *b, struct list_cmd *c, const void *raw, size_t len)
{
    uint32_t n = (uint32_t)len;
    buf_append(&c->raws, &n, sizeof(n));
    buf_append(&c->raws, raw, len);
    c->nraws++;
    b->bytes += len + 16;
}

static struct list_cmd *member_cmd(struct batch *b, struct pend *p, enum list_kind kind,
                                   const char *member, size_t len, const void *score,
                                   size_t score_len)
{
    struct list_cmd *c = list_cmd(b, p, kind);
    if (kind == MEMBERS_IN && p->as->words == TEXT_AND_NAME)
        list_raw(b, c, score, score_len);
    list_raw(b, c, member, len);
    return c;
}

const struct drift *batch_member(struct batch *b, struct batch_doc *bd, const struct stored *as,
                                 const char *suffix, size_t suffix_len, bool in, const char *member,
                                 size_t member_len, const void *score, size_t score_len,
                                 int64_t expected)
{
    struct pend *p = fields_of(b, bd, as, suffix, suffix_len);
    struct list_cmd *c =
        member_cmd(b, p, in ? MEMBERS_IN : MEMBERS_OUT, member, member_len, score, score_len);
    c->drift.expected = expected;
    c->drift.known = true;
    return &c->drift;
}

/* ---- fields ---- */

void batch_field_set(struct batch *b, struct batch_doc *bd, const struct stored *as,
                     const char *suffix, size_t suffix_len, const char *field, size_t field_len,
                     const void *raw, size_t raw_len)
{
    bool fresh;
    struct pend *p = fields_of(b, bd, as, suffix, suffix_len);
    if (p->cmds != NULL) { /* behind those */
        (void)member_cmd(b, p, MEMBERS_IN, field, field_len, raw, raw_len);
        return;
    }
    field_set(b, field_of(b, p, field, field_len, &fresh), raw, raw_len);
}

void batch_field_lend(struct batch *b, struct batch_doc *bd, const struct stored *as,
                      const char *suffix, size_t suffix_len, const char *field, size_t field_len,
                      const void *raw, size_t raw_len, struct held *held)
{
    bool fresh;
    struct pend *p = fields_of(b, bd, as, suffix, suffix_len);
    struct pend_field *f = field_of(b, p, field, field_len, &fresh);
    vec_push(b->held, b->nheld, b->held_cap, held);
    b->bytes += raw_len;
    f->kind = FIELD_SET;
    f->raw = (char *)(uintptr_t)raw; /* is only read: with no room of its own it is never written */
    f->raw_len = raw_len;
    f->raw_cap = 0;
}

const struct drift *batch_hash_incr(struct batch *b, struct batch_doc *bd, const char *suffix,
                                    size_t suffix_len, const char *field, size_t field_len,
                                    int64_t by, int64_t now)
{
    bool fresh;
    struct pend *p = fields_of(b, bd, &stored_hash, suffix, suffix_len);
    struct pend_field *f = field_of(b, p, field, field_len, &fresh);
    if (fresh && !p->drop) {
        f->kind = FIELD_INCR;
        f->counted = true;
        f->by = by;
        f->drift.expected = now;
        f->drift.known = true;
        return &f->drift;
    }
    int64_t sum;
    if (f->kind == FIELD_INCR && !__builtin_add_overflow(f->by, by, &sum)) {
        f->by = sum;
        f->drift.expected = now;
        f->drift.known = true;
        return &f->drift;
    }
    char text[RESP_DECIMAL_MAX];
    field_set(b, f, text, resp_decimal(text, now));
    return NULL;
}

void batch_field_del(struct batch *b, struct batch_doc *bd, const struct stored *as,
                     const char *suffix, size_t suffix_len, const char *field, size_t field_len)
{
    bool fresh;
    struct pend *p = fields_of(b, bd, as, suffix, suffix_len);
    if (p->cmds != NULL)
        (void)member_cmd(b, p, MEMBERS_OUT, field, field_len, NULL, 0);
    else
        field_of(b, p, field, field_len, &fresh)->kind = FIELD_DEL;
}

void batch_field_was(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                     const char *field, size_t field_len, const void *raw, size_t raw_len)
{
    bool fresh;
    struct pend_field *f =
        field_of(b, batch_key(b, bd, suffix, suffix_len), field, field_len, &fresh);
    if (--f->changes != 1 || f->was_known)
        return;
    f->was_known = true;
    if (raw == NULL)
        return;
    f->was = arena_take(&b->arena, raw_len + 1);
    f->was_len = raw_len;
    if (raw_len > 0)
        memcpy(f->was, raw, raw_len);
    b->bytes += raw_len;
}

const struct drift *batch_list_push(struct batch *b, struct batch_doc *bd, const char *suffix,
                                    size_t suffix_len, bool front, const void *raw, size_t raw_len)
{
    struct pend *p = batch_key(b, bd, suffix, suffix_len);
    enum list_kind kind = front ? LIST_LPUSH : LIST_RPUSH;
    struct list_cmd *c = p->last_cmd;
    if (c == NULL || c->kind != kind || c->nraws >= words_max(bd) - 2)
        c = list_cmd(b, p, kind);
    list_raw(b, c, raw, raw_len);
    c->drift.expected++; /* from what batch_list_expect said last */
    return &c->drift;
}

void batch_list_expect(const struct drift *d, int64_t len)
{
    ((struct drift *)d)->expected = len;
    ((struct drift *)d)->known = true;
}

void batch_list_set(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                    size_t index, const void *raw, size_t raw_len)
{
    struct list_cmd *c = list_cmd(b, batch_key(b, bd, suffix, suffix_len), LIST_SET);
    c->index = index;
    list_raw(b, c, raw, raw_len);
}

void batch_list_insert(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                       size_t index, const void *raw, size_t raw_len)
{
    struct list_cmd *c = list_cmd(b, batch_key(b, bd, suffix, suffix_len), LIST_INSERT);
    c->index = index;
    list_raw(b, c, raw, raw_len);
}

void batch_list_remove(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                       size_t from, size_t count, size_t len_before)
{
    struct list_cmd *c = list_cmd(b, batch_key(b, bd, suffix, suffix_len), LIST_REMOVE);
    c->index = from;
    c->count = count;
    c->len_before = len_before;
    b->bytes += 64;
}

/* Somebody's answer depends on what Redis says to it, though all of it goes now. */
static bool tells(const struct pend *p)
{
    for (const struct list_cmd *c = p->cmds; c != NULL; c = c->next) {
        if (c->drift.known)
            return true;
    }
    for (const struct pend_field *f = p->fields; f != NULL; f = f->next) {
        if (f->counted)
            return true;
    }
    return false;
}

void batch_drop(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len)
{
    struct pend *p = batch_key(b, bd, suffix, suffix_len);
    if (tells(p)) {
        if (suffix_len > 0)
            table_remove(&b->pends, &p->entry);
        p->expire = false;
        p->behind = true;
        p = pend_new(b, bd, suffix, suffix_len); /* behind it */
    }
    forget_changes(b, p);
    p->drop = true;
    if (suffix_len == 0) {
        bd->deleted = true;
        bd->rewritten = false;
        bd->bump = 0;
    }
}

void batch_rewrite(struct batch_doc *bd)
{
    bd->rewritten = true;
}

void batch_deadline(struct batch_doc *bd, int64_t at)
{
    bd->deadline = true;
    bd->expires = at;
}

void batch_touch(struct batch_doc *bd)
{
    bd->touched = true;
    bd->version.expected = bd->doc->version;
}

void batch_expire(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len)
{
    batch_key(b, bd, suffix, suffix_len)->expire = true;
}

void batch_release(struct batch *b, void (*fn)(void *arg, struct doc *d), void *arg)
{
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        bd->doc->pins--;
        fn(arg, bd->doc);
    }
}

bool batch_doc_only_ends(const struct batch_doc *bd)
{
    bool only = bd->deadline && !bd->deleted;
    for (const struct pend *p = bd->pends; p != NULL && only; p = p->next) {
        const struct pend_field *f = p->fields;
        while (f != NULL && field_own(f))
            f = f->next;
        only = f == NULL && p->cmds == NULL && !p->drop;
    }
    return only;
}

bool batch_doc_refused(const struct batch_doc *bd)
{
    return bd->unit != NULL && bd->unit->refused_by != 0;
}
