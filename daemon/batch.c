/* batch: see batch.h. Commands are kept as structures until batch_format, so that a field that
 * is changed a hundred times is sent once. */
#include "daemon/batch.h"
#include "daemon/arena.h"
#include "daemon/hash.h"
#include "daemon/layout.h"
#include "daemon/resp.h"
#include "protocol/tree.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Words of one command; Redis takes about a million. In a unit they pass through Lua's unpack,
 * which takes less than 8000. */
#define WORDS_MAX 65536
#define UNIT_WORDS_MAX 4096
/* Words of one script call, roughly: what there is more of goes as several calls. */
#define CALL_WORDS_MAX 262144
#define UNIT_BYTES 300 /* of a unit, roughly; and of the script that they share */
#define SCRIPT_BYTES 2500
#define CALL_KEPT (1u << 20)

enum field_kind { FIELD_SET, FIELD_INCR, FIELD_DEL };

/* A field of a hash that changes. */
struct pend_field {
    UT_hash_handle hh; /* in batch->fields, by pend + name */
    struct pend_field *next;
    struct pend *pend;
    enum field_kind kind;
    int64_t by;
    struct drift drift;
    char *raw;
    size_t raw_len, raw_cap;
    size_t name_len; /* the key is the pend's address and the name */
    char key[];
};

enum list_kind { LIST_RPUSH, LIST_LPUSH, LIST_SET, LIST_INSERT, LIST_REMOVE };

/* One list command, or several neighbours of one kind. */
struct list_cmd {
    struct list_cmd *next, *next_of_all;
    enum list_kind kind;
    unsigned nraws;
    struct buf raws; /* u32 length + bytes, each */
    size_t index, count, len_before;
    struct drift drift;
};

/* A Redis key that changes. */
struct pend {
    UT_hash_handle hh; /* in batch->pends, by key */
    struct pend *next; /* of the document */
    struct batch_doc *bd;
    struct pend_field *fields, *last_field;
    struct list_cmd *cmds, *last_cmd;
    bool drop; /* DEL first */
    bool expire;
    size_t suffix_at; /* where the suffix begins in key */
    size_t key_len;
    char key[];
};

/* What the reply at one place in EXEC's array is about. */
struct expectation {
    struct batch_doc *bd;
    struct pend *pend;
    struct drift *number; /* NULL: any reply that is no error */
};

/* One reply in EXEC's array: what it is about. A script call has one for each of its units, which
 * answers for several commands. */
struct part {
    struct unit *unit;   /* NULL: a command by itself */
    unsigned first, n;   /* expectations */
    unsigned reply, sub; /* its index in EXEC's array; that in the script's */
};

struct batch {
    uint64_t number;
    const char *prefix;
    const char *daemon; /* while it is formatted */
    struct batch_doc *docs, *last_doc;
    struct unit *units, *last_unit;
    struct pend *pends;
    struct pend_field *fields;
    struct expectation *expect;
    unsigned nexpect, expect_cap;
    struct part *parts;
    unsigned nparts, parts_cap;
    unsigned nreplies;
    struct list_cmd *all_cmds; /* also those of dropped keys: answers may refer to their drift */
    size_t bytes;
    struct arena arena; /* all parts of the batch */
    struct buf key;     /* scratch */
};

/* Of the batch before, for the next one; one loop, one thread. */
static struct arena spare;

struct batch *batch_new(uint64_t number, const char *prefix)
{
    struct arena arena = spare;
    spare = (struct arena){0};
    struct batch *b = arena_zero(&arena, sizeof(*b));
    b->arena = arena;
    b->number = number;
    b->prefix = prefix;
    return b;
}

/* What a dropped key had gathered; answers may still refer to its numbers. */
static void forget_changes(struct batch *b, struct pend *p)
{
    for (struct pend_field *f = p->fields; f != NULL; f = f->next)
        HASH_DELETE(hh, b->fields, f);
    p->fields = p->last_field = NULL;
    p->cmds = p->last_cmd = NULL;
}

void batch_free(struct batch *b)
{
    for (struct list_cmd *c = b->all_cmds; c != NULL; c = c->next_of_all)
        buf_free(&c->raws);
    HASH_CLEAR(hh, b->pends);
    HASH_CLEAR(hh, b->fields);
    for (struct unit *u = b->units; u != NULL; u = u->next)
        guard_unref(u->guard);
    buf_free(&b->key);
    free(b->expect);
    free(b->parts);
    struct arena arena = b->arena; /* b itself is in it */
    arena_empty(&arena);
    arena_free(&spare);
    spare = arena;
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

static void *must(void *p)
{
    if (p == NULL)
        abort(); /* as tree_alloc: the daemon does not go on without memory */
    return p;
}

struct unit *batch_unit(struct batch *b, struct guard *g)
{
    for (struct unit *u = g == NULL || g->versions ? NULL : b->units; u != NULL; u = u->next) {
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
    return d->staged != NULL && d->batch == b->number ? d->staged : NULL;
}

struct unit *batch_unit_of(const struct batch *b, const struct doc *d)
{
    const struct batch_doc *bd = part_of(b, d);
    return bd != NULL ? bd->unit : NULL;
}

static void close_part(struct batch *b, struct batch_doc *bd);

struct batch_doc *batch_doc(struct batch *b, struct doc *d, struct unit *u)
{
    struct batch_doc *had = part_of(b, d);
    if (had != NULL && had->unit != NULL && u != NULL)
        batch_join(had->unit, u);
    if (had != NULL && (had->unit != NULL || u == NULL))
        return had;
    struct batch_doc *bd = arena_zero(&b->arena, sizeof(*bd));
    bd->doc = d;
    bd->base = d->state == DOC_PRESENT ? d->version : 0;
    if (had != NULL) {
        close_part(b, had);
        had->second = bd;
    }
    if (b->last_doc != NULL)
        b->last_doc->next = bd;
    else
        b->docs = bd;
    b->last_doc = bd;
    if (u != NULL)
        unit_add(u, bd);
    d->staged = bd;
    d->batch = b->number;
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

void batch_bump(struct batch *b, struct batch_doc *bd, int64_t n)
{
    (void)b;
    bd->bump += n;
    bd->deleted = false;
    bd->version.expected = bd->doc->version;
}

/* A tree that is forgotten before the batch goes out takes doc->expires with it. */
static void keep_deadline(struct batch_doc *bd)
{
    if (bd->doc->state != DOC_UNKNOWN)
        bd->expires = bd->doc->expires;
}

static struct pend *pend_of(struct batch *b, struct batch_doc *bd, const char *suffix,
                            size_t suffix_len)
{
    buf_clear(&b->key);
    layout_key(&b->key, b->prefix, bd->doc->key, bd->doc->key_len, suffix, suffix_len);
    struct pend *p;
    keep_deadline(bd);
    HASH_FIND(hh, b->pends, b->key.data, b->key.len, p);
    if (p != NULL) {
        p->expire = p->expire || bd->expires != 0;
        return p;
    }
    p = arena_zero(&b->arena, sizeof(*p) + b->key.len + 1);
    p->bd = bd;
    p->key_len = b->key.len;
    p->suffix_at = b->key.len - suffix_len;
    p->expire = bd->expires != 0;
    memcpy(p->key, b->key.data, b->key.len);
    HASH_ADD(hh, b->pends, key, p->key_len, p);
    if (bd->last_pend != NULL)
        bd->last_pend->next = p;
    else
        bd->pends = p;
    bd->last_pend = p;
    b->bytes += p->key_len + 32;
    return p;
}

static struct pend *root_of(struct batch *b, struct batch_doc *bd)
{
    for (struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (p->key_len == p->suffix_at)
            return p;
    }
    return pend_of(b, bd, "", 0);
}

/* What comes next to its keys is of another part. */
static void close_part(struct batch *b, struct batch_doc *bd)
{
    (void)root_of(b, bd); /* for its version */
    for (struct pend *p = bd->pends; p != NULL; p = p->next)
        HASH_DELETE(hh, b->pends, p);
}

static struct pend_field *field_of(struct batch *b, struct pend *p, const char *field, size_t len,
                                   bool *fresh)
{
    char key[512];
    size_t key_len = sizeof(p) + len;
    char *k = key_len <= sizeof(key) ? key : must(malloc(key_len));
    memcpy(k, &p, sizeof(p));
    memcpy(k + sizeof(p), field, len);
    struct pend_field *f;
    HASH_FIND(hh, b->fields, k, key_len, f);
    *fresh = f == NULL;
    if (f == NULL) {
        f = arena_zero(&b->arena, sizeof(*f) + key_len);
        f->pend = p;
        f->name_len = len;
        memcpy(f->key, k, key_len);
        HASH_ADD(hh, b->fields, key, key_len, f);
        if (p->last_field != NULL)
            p->last_field->next = f;
        else
            p->fields = f;
        p->last_field = f;
        b->bytes += len + 32;
    }
    if (k != key)
        free(k);
    return f;
}

static const char *field_name(const struct pend_field *f)
{
    return f->key + sizeof(f->pend);
}

static void field_set(struct batch *b, struct pend_field *f, const void *raw, size_t raw_len)
{
    if (f->raw_cap < raw_len) {
        f->raw = arena_take(&b->arena, raw_len);
        f->raw_cap = raw_len;
        b->bytes += raw_len;
    }
    if (raw_len > 0) /* an empty raw value may be at NULL */
        memcpy(f->raw, raw, raw_len);
    f->kind = FIELD_SET;
    f->raw_len = raw_len;
}

void batch_hash_set(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                    const char *field, size_t field_len, const void *raw, size_t raw_len)
{
    bool fresh;
    struct pend *p = pend_of(b, bd, suffix, suffix_len);
    field_set(b, field_of(b, p, field, field_len, &fresh), raw, raw_len);
    if (suffix_len == 0 && field_len == 2 && memcmp(field, LAYOUT_SCHEMA_FIELD, 2) == 0)
        bd->whole = true;
}

const struct drift *batch_hash_incr(struct batch *b, struct batch_doc *bd, const char *suffix,
                                    size_t suffix_len, const char *field, size_t field_len,
                                    int64_t by, int64_t now)
{
    bool fresh;
    struct pend *p = pend_of(b, bd, suffix, suffix_len);
    struct pend_field *f = field_of(b, p, field, field_len, &fresh);
    if (fresh && !p->drop) {
        f->kind = FIELD_INCR;
        f->by = by;
        f->drift.expected = now;
        return &f->drift;
    }
    int64_t sum;
    if (f->kind == FIELD_INCR && !__builtin_add_overflow(f->by, by, &sum)) {
        f->by = sum;
        f->drift.expected = now;
        return &f->drift;
    }
    char text[RESP_DECIMAL_MAX];
    field_set(b, f, text, resp_decimal(text, now));
    return NULL;
}

void batch_hash_del(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                    const char *field, size_t field_len)
{
    bool fresh;
    struct pend *p = pend_of(b, bd, suffix, suffix_len);
    field_of(b, p, field, field_len, &fresh)->kind = FIELD_DEL;
}

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

static unsigned words_max(const struct batch_doc *bd)
{
    return bd->unit != NULL ? UNIT_WORDS_MAX : WORDS_MAX;
}

static void list_raw(struct batch *b, struct list_cmd *c, const void *raw, size_t len)
{
    uint32_t n = (uint32_t)len;
    buf_append(&c->raws, &n, sizeof(n));
    buf_append(&c->raws, raw, len);
    c->nraws++;
    b->bytes += len + 16;
}

const struct drift *batch_list_push(struct batch *b, struct batch_doc *bd, const char *suffix,
                                    size_t suffix_len, bool front, const void *raw, size_t raw_len)
{
    struct pend *p = pend_of(b, bd, suffix, suffix_len);
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
}

void batch_list_set(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                    size_t index, const void *raw, size_t raw_len)
{
    struct list_cmd *c = list_cmd(b, pend_of(b, bd, suffix, suffix_len), LIST_SET);
    c->index = index;
    list_raw(b, c, raw, raw_len);
}

void batch_list_insert(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                       size_t index, const void *raw, size_t raw_len)
{
    struct list_cmd *c = list_cmd(b, pend_of(b, bd, suffix, suffix_len), LIST_INSERT);
    c->index = index;
    list_raw(b, c, raw, raw_len);
}

void batch_list_remove(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len,
                       size_t from, size_t count, size_t len_before)
{
    struct list_cmd *c = list_cmd(b, pend_of(b, bd, suffix, suffix_len), LIST_REMOVE);
    c->index = from;
    c->count = count;
    c->len_before = len_before;
    b->bytes += 64;
}

void batch_drop(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len)
{
    struct pend *p = pend_of(b, bd, suffix, suffix_len);
    forget_changes(b, p);
    p->drop = true;
    if (suffix_len == 0) {
        bd->deleted = true;
        bd->whole = false;
        bd->bump = 0;
    }
}

void batch_expire(struct batch *b, struct batch_doc *bd, const char *suffix, size_t suffix_len)
{
    pend_of(b, bd, suffix, suffix_len)->expire = true;
}

bool batch_doc_lost(const struct batch_doc *bd)
{
    return bd->unit != NULL && bd->unit->lost != 0;
}

/* ---- to RESP ---- */

/* A command being put together: words borrowed from the batch. */
struct words {
    const char **argv;
    size_t *len;
    int n, cap;
};

/* Kept from batch to batch, as the scratch memory below; one loop, one thread. */
static struct words words;
static struct buf scratch;

static void word(struct words *w, const void *s, size_t len)
{
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->argv = must(realloc(w->argv, (size_t)w->cap * sizeof(*w->argv)));
        w->len = must(realloc(w->len, (size_t)w->cap * sizeof(*w->len)));
    }
    w->argv[w->n] = s;
    w->len[w->n++] = len;
}

static void begin(struct words *w, const char *name, const struct pend *p)
{
    w->n = 0;
    word(w, name, strlen(name));
    word(w, p->key, p->key_len);
}

static void *room(void *at, unsigned n, unsigned *cap, size_t size)
{
    if (n < *cap)
        return at;
    *cap = *cap ? *cap * 2 : 16;
    return must(realloc(at, *cap * size));
}

static void expect(struct batch *b, struct batch_doc *bd, struct pend *p, struct drift *number)
{
    b->expect = room(b->expect, b->nexpect, &b->expect_cap, sizeof(*b->expect));
    b->expect[b->nexpect++] = (struct expectation){bd, p, number};
}

static void add_part(struct batch *b, struct unit *u, unsigned first, unsigned sub)
{
    b->parts = room(b->parts, b->nparts, &b->parts_cap, sizeof(*b->parts));
    b->parts[b->nparts++] = (struct part){u, first, b->nexpect - first, b->nreplies, sub};
}

/* What is gathered of the next script call; one loop, one thread. */
static struct unit_call call;
static unsigned call_first; /* expectation of the unit */

static void flush_call(struct batch *b, struct buf *out)
{
    if (call.nunits == 0)
        return;
    unit_call_flush(&call, b->prefix, b->daemon, out);
    b->nreplies++;
}

static void end_unit(struct batch *b, struct unit *u, struct buf *out)
{
    add_part(b, u, call_first, call.nunits);
    unit_call_end(&call, u->number);
    call_first = b->nexpect;
    if (call.nwords >= CALL_WORDS_MAX || call.nkeys >= UNIT_CHECKS_MAX)
        flush_call(b, out);
}

static void end(struct batch *b, struct words *w, struct buf *out, struct batch_doc *bd,
                struct pend *p, struct drift *number)
{
    expect(b, bd, p, number);
    if (bd != NULL && bd->unit != NULL) {
        unit_call_command(&call, w->n, w->argv, w->len);
        if (call.ncommands >= CALL_WORDS_MAX)
            end_unit(b, bd->unit, out);
        return;
    }
    resp_command(out, w->n, w->argv, w->len);
    add_part(b, NULL, b->nexpect - 1, 0);
    b->nreplies++;
}

static void format_fields(struct batch *b, struct pend *p, struct words *w, struct buf *out)
{
    begin(w, "HSET", p);
    for (struct pend_field *f = p->fields; f != NULL; f = f->next) {
        if (f->kind != FIELD_SET)
            continue;
        word(w, field_name(f), f->name_len);
        word(w, f->raw, f->raw_len);
        if (w->n >= (int)words_max(p->bd) - 1) {
            end(b, w, out, p->bd, p, NULL);
            begin(w, "HSET", p);
        }
    }
    if (w->n > 2)
        end(b, w, out, p->bd, p, NULL);
    begin(w, "HDEL", p);
    for (struct pend_field *f = p->fields; f != NULL; f = f->next) {
        if (f->kind != FIELD_DEL || p->drop)
            continue;
        word(w, field_name(f), f->name_len);
        if (w->n >= (int)words_max(p->bd) - 1) {
            end(b, w, out, p->bd, p, NULL);
            begin(w, "HDEL", p);
        }
    }
    if (w->n > 2)
        end(b, w, out, p->bd, p, NULL);
    for (struct pend_field *f = p->fields; f != NULL; f = f->next) {
        if (f->kind != FIELD_INCR)
            continue;
        char by[RESP_DECIMAL_MAX];
        begin(w, "HINCRBY", p);
        word(w, field_name(f), f->name_len);
        word(w, by, resp_decimal(by, f->by));
        end(b, w, out, p->bd, p, &f->drift);
    }
}

/* The words up to the count; a unit's script has the function, and no script calls another. */
static void begin_splice(struct words *w, const struct pend *p, const char *from, const char *count)
{
    w->n = 0;
    if (p->bd->unit == NULL) {
        word(w, "EVAL", 4);
        word(w, unit_splice_script, strlen(unit_splice_script));
        word(w, "1", 1);
    } else {
        word(w, "splice", 6);
    }
    word(w, p->key, p->key_len);
    word(w, from, strlen(from));
    word(w, count, strlen(count));
}

static void format_remove(struct batch *b, struct pend *p, struct list_cmd *c, struct words *w,
                          struct buf *out)
{
    char from[24], count[24];
    if (c->count == c->len_before) {
        begin(w, "DEL", p);
    } else if (c->index == 0 && c->count == 1) {
        begin(w, "LPOP", p);
    } else if (c->index == 0) {
        begin(w, "LTRIM", p);
        word(w, from, (size_t)snprintf(from, sizeof(from), "%zu", c->count));
        word(w, "-1", 2);
    } else if (c->index + c->count == c->len_before && c->count == 1) {
        begin(w, "RPOP", p);
    } else if (c->index + c->count == c->len_before) {
        begin(w, "LTRIM", p);
        word(w, "0", 1);
        word(w, from, (size_t)snprintf(from, sizeof(from), "%zu", c->index - 1));
    } else {
        snprintf(from, sizeof(from), "%zu", c->index);
        snprintf(count, sizeof(count), "%zu", c->count);
        begin_splice(w, p, from, count);
    }
    end(b, w, out, p->bd, p, NULL);
}

static void format_list_cmd(struct batch *b, struct pend *p, struct list_cmd *c, struct words *w,
                            struct buf *out)
{
    char index[24];
    struct drift *number = NULL;
    switch (c->kind) {
    case LIST_RPUSH:
        begin(w, "RPUSH", p);
        number = &c->drift;
        break;
    case LIST_LPUSH:
        begin(w, "LPUSH", p);
        number = &c->drift;
        break;
    case LIST_SET:
        begin(w, "LSET", p);
        word(w, index, (size_t)snprintf(index, sizeof(index), "%zu", c->index));
        break;
    case LIST_INSERT:
        if (c->index == 0) {
            begin(w, "LPUSH", p);
        } else {
            snprintf(index, sizeof(index), "%zu", c->index);
            begin_splice(w, p, index, "0");
        }
        break;
    case LIST_REMOVE: format_remove(b, p, c, w, out); return;
    }
    for (size_t at = 0; at < c->raws.len;) {
        uint32_t n;
        memcpy(&n, c->raws.data + at, sizeof(n));
        word(w, c->raws.data + at + sizeof(n), n);
        at += sizeof(n) + n;
    }
    end(b, w, out, p->bd, p, number);
}

static void format_doc(struct batch *b, struct batch_doc *bd, struct words *w, struct buf *out)
{
    for (struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (p->drop) {
            begin(w, "DEL", p);
            end(b, w, out, bd, p, NULL);
        }
        format_fields(b, p, w, out);
        for (struct list_cmd *c = p->cmds; c != NULL; c = c->next)
            format_list_cmd(b, p, c, w, out);
    }
    if (!bd->deleted && bd->bump != 0) {
        char by[RESP_DECIMAL_MAX];
        struct pend *root = root_of(b, bd);
        begin(w, "HINCRBY", root);
        word(w, "@v", 2);
        word(w, by, resp_decimal(by, bd->bump));
        end(b, w, out, bd, root, &bd->version);
    }
    if (bd->deleted)
        return;
    for (struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (!p->expire)
            continue;
        char at[RESP_DECIMAL_MAX];
        if (bd->expires == 0) {
            begin(w, "PERSIST", p);
        } else {
            begin(w, "PEXPIREAT", p);
            word(w, at, resp_decimal(at, bd->expires));
        }
        end(b, w, out, bd, p, NULL);
    }
}

static void format_marker(struct batch *b, const char *daemon, struct words *w, struct buf *out)
{
    buf_clear(&scratch);
    unit_marker_key(b->prefix, daemon, &scratch);
    size_t key_len = scratch.len;
    buf_printf(&scratch, "%" PRIu64, b->number);
    w->n = 0;
    word(w, "SET", 3);
    word(w, scratch.data, key_len);
    word(w, scratch.data + key_len, scratch.len - key_len);
    end(b, w, out, NULL, NULL, NULL);
}

/* [daemon, [[key, version or nil when deleted, [suffix, ...]], ...]] */
static void format_publish(struct batch *b, const char *daemon, struct words *w, struct buf *out)
{
    uint32_t ndocs = 0;
    buf_clear(&scratch);
    buf_append(&scratch, b->prefix, strlen(b->prefix));
    buf_append(&scratch, ":@changes", 9);
    size_t channel_len = scratch.len;
    pack_array(&scratch, 2);
    pack_cstr(&scratch, daemon);
    size_t docs = pack_array_open(&scratch);
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        uint32_t nkeys = 0;
        if (batch_doc_lost(bd) || (bd->bump == 0 && !bd->deleted))
            continue;
        ndocs++;
        pack_array(&scratch, 3);
        pack_str(&scratch, bd->doc->key, bd->doc->key_len);
        if (bd->deleted)
            pack_nil(&scratch);
        else
            pack_int(&scratch, bd->version.expected);
        size_t keys = pack_array_open(&scratch);
        for (struct pend *p = bd->pends; p != NULL; p = p->next, nkeys++)
            pack_str(&scratch, p->key + p->suffix_at, p->key_len - p->suffix_at);
        pack_array_close(&scratch, keys, nkeys);
    }
    pack_array_close(&scratch, docs, ndocs);
    w->n = 0;
    word(w, "PUBLISH", 7);
    word(w, scratch.data, channel_len);
    word(w, scratch.data + channel_len, scratch.len - channel_len);
    end(b, w, out, NULL, NULL, NULL);
}

static void format_checks(struct batch *b, struct unit *u, struct buf *out)
{
    if (u->guard != NULL)
        unit_call_guard(&call, u->guard, b->daemon);
    for (struct batch_doc *bd = u->docs; bd != NULL; bd = bd->next_of_unit) {
        if (bd->relies == RELIES_ON_NOTHING)
            continue;
        if (call.nchecks >= UNIT_CHECKS_MAX)
            end_unit(b, u, out);
        buf_clear(&b->key);
        layout_key(&b->key, b->prefix, bd->doc->key, bd->doc->key_len, "", 0);
        unit_call_reliance(&call, bd->relies, (const char *)b->key.data, b->key.len, bd->base);
    }
}

static void format_unit(struct batch *b, struct unit *u, struct words *w, struct buf *out)
{
    unit_call_begin(&call);
    call_first = b->nexpect;
    format_checks(b, u, out);
    for (struct batch_doc *bd = u->docs; bd != NULL; bd = bd->next_of_unit)
        format_doc(b, bd, w, out);
    end_unit(b, u, out);
}

/* It has come to nothing else when another unit has taken it in. */
static bool changes_something(const struct unit *u)
{
    const struct batch_doc *bd = u->docs;
    while (bd != NULL && bd->bump == 0 && !bd->deleted)
        bd = bd->next_of_unit;
    return bd != NULL;
}

unsigned batch_format(struct batch *b, const char *daemon, struct buf *out)
{
    static const char multi[] = "*1\r\n$5\r\nMULTI\r\n", exec[] = "*1\r\n$4\r\nEXEC\r\n";
    struct words w = words;
    b->nexpect = b->nparts = b->nreplies = 0;
    b->daemon = daemon;
    buf_append(out, multi, sizeof(multi) - 1);
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        if (bd->unit == NULL)
            format_doc(b, bd, &w, out);
    }
    if (RAPYER_EXACTLY_ONCE)
        format_marker(b, daemon, &w, out);
    for (struct unit *u = b->units; u != NULL; u = u->next) {
        if (u->lost == 0 && changes_something(u))
            format_unit(b, u, &w, out);
    }
    flush_call(b, out);
    if (call.words.cap > CALL_KEPT)
        unit_call_free(&call);
    format_publish(b, daemon, &w, out);
    buf_append(out, exec, sizeof(exec) - 1);
    words = w; /* it may have grown */
    return b->nreplies + 2;
}

/* ---- from EXEC ---- */

static void fail(struct expectation *e)
{
    if (e->bd != NULL)
        e->bd->failed = true;
    if (e->pend == NULL)
        return;
    for (struct pend_field *f = e->pend->fields; f != NULL; f = f->next)
        f->drift.failed = true;
    for (struct list_cmd *c = e->pend->cmds; c != NULL; c = c->next)
        c->drift.failed = true;
}

static void take(struct expectation *e, const redisReply *r)
{
    if (r->type == REDIS_REPLY_ERROR)
        fail(e);
    else if (e->number != NULL && r->type == REDIS_REPLY_INTEGER)
        e->number->by = r->integer - e->number->expected;
}

static void take_unit(struct batch *b, const struct part *p, const redisReply *script)
{
    bool whole = script->type == REDIS_REPLY_ARRAY && p->sub < script->elements;
    const redisReply *r = whole ? script->element[p->sub] : script;
    bool refused = unit_refused(r, p->unit);
    for (unsigned i = 0; i < p->n && !refused; i++) {
        struct expectation *e = &b->expect[p->first + i];
        if (whole && r->type == REDIS_REPLY_ARRAY && r->elements == p->n)
            take(e, r->element[i]);
        else
            fail(e); /* the script itself was refused */
    }
}

/* The version that the document had in Redis behind this part: how far it is off, and whether the
 * document was gone (removed behind our back: FLUSHALL, another daemon's delete). */
static void take_version(struct batch_doc *bd, int64_t version)
{
    if (bd->deleted || bd->bump == 0 || batch_doc_lost(bd))
        return;
    bd->version.by = version - bd->version.expected;
    bd->gone = version == bd->bump && bd->version.by != 0 && !bd->whole;
}

int batch_answer(struct batch *b, const redisReply *exec, struct fault *f)
{
    if (exec->type == REDIS_REPLY_ERROR)
        return fault_set(f, FAULT_UNAVAILABLE, "Redis refused the commit, nothing was applied: %s",
                         exec->str);
    if (exec->type != REDIS_REPLY_ARRAY || exec->elements != b->nreplies)
        return fault_set(f, FAULT_UNKNOWN_OUTCOME,
                         "Redis answered the commit with something that is no EXEC reply");
    for (unsigned i = 0; i < b->nparts; i++) {
        const struct part *p = &b->parts[i];
        if (p->unit != NULL)
            take_unit(b, p, exec->element[p->reply]);
        else
            take(&b->expect[p->first], exec->element[p->reply]);
    }
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        if (!bd->failed)
            take_version(bd, bd->version.expected + bd->version.by);
    }
    return 0;
}

void batch_take_marker(struct batch *b, const char *marker)
{
    for (struct unit *u = b->units; u != NULL; u = u->next)
        unit_take_marker(u, marker);
}

bool batch_lost_any(const struct batch *b)
{
    const struct unit *u = b->units;
    while (u != NULL && u->lost == 0)
        u = u->next;
    return u != NULL;
}

void batch_follow(struct batch *b, const struct batch *before)
{
    for (const struct unit *was = before->units; was != NULL; was = was->next) {
        if (was->lost == 0 || unit_outdated(was) || was->guard->versions) /* of one call only */
            continue;
        for (struct unit *u = b->units; u != NULL; u = u->next) {
            if (!guard_same(u->guard, was->guard))
                continue;
            u->lost = was->lost;
            u->found = was->found;
        }
    }
}

unsigned batch_format_leases(struct batch *b, const char *daemon, struct buf *out)
{
    unsigned n = 0;
    for (struct unit *u = b->units; u != NULL; u = u->next)
        n += u->lost == 0 ? unit_format_leases(u->guard, daemon, out) : 0;
    return n;
}

bool batch_unseen(struct batch_doc *bd, int64_t version)
{
    const struct batch_doc *second = bd->second;
    if (batch_doc_lost(bd) || (bd->bump == 0 && !bd->deleted))
        return true;
    bd->unseen = true;
    if (bd->relies == RELIES_ON_STATE)
        return true; /* nobody has changed it before this part, so all is as it was worked out */
    /* What the second part did comes off again. */
    if (second != NULL && !batch_doc_lost(second)) {
        if (second->deleted)
            return true; /* it was there, and had this version, or there was nothing to remove */
        version -= second->bump;
    }
    take_version(bd, version);
    return version == (bd->deleted ? 0 : bd->version.expected);
}

/* Only what this batch put there: as soon as anybody has written since, it is theirs. */
unsigned batch_format_sweep(struct batch *b, struct buf *out)
{
    static const char script[] = "if redis.call('HGET',KEYS[1],'@v')~=ARGV[1] then return 0 end "
                                 "for i=1,#KEYS do redis.call('DEL',KEYS[i]) end return 1";
    struct words w = words;
    unsigned n = 0;
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        char keys[24], version[RESP_DECIMAL_MAX];
        uint32_t nkeys = 1;
        if (!bd->gone)
            continue;
        struct pend *root = root_of(b, bd);
        w.n = 0;
        word(&w, "EVAL", 4);
        word(&w, script, sizeof(script) - 1);
        word(&w, keys, 0); /* put in below */
        word(&w, root->key, root->key_len);
        for (struct pend *p = bd->pends; p != NULL && w.n < WORDS_MAX; p = p->next) {
            if (p == root)
                continue;
            word(&w, p->key, p->key_len);
            nkeys++;
        }
        w.len[2] = (size_t)snprintf(keys, sizeof(keys), "%" PRIu32, nkeys);
        word(&w, version, resp_decimal(version, bd->bump));
        resp_command(out, w.n, w.argv, w.len);
        n++;
    }
    words = w; /* it may have grown */
    return n;
}

void batch_cleanup(void)
{
    arena_free(&spare);
    free(words.argv);
    free(words.len);
    buf_free(&scratch);
    unit_call_free(&call);
    words = (struct words){0};
}
