/* loader: see loader.h. */
#include "daemon/documents/loader.h"
#include "daemon/base/clock.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/round.h"
#include "daemon/documents/stale.h"
#include "daemon/documents/stored.h"
#include "daemon/documents/target.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include "protocol/path.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_MAX 8 /* of reading a document that others keep changing */

/* What one round asks for at most, so that Redis serves others in between. */
#define SLICE 10000
#define SLICE_RECORDS 2000
#define DEEP_CALLS 1000 /* of a script */

struct loader {
    const struct router *router;
    struct cache *cache;
    struct coherence *coherence;
    const struct names *names;
    loader_done_fn *done;
    void *arg;
    uint64_t readings; /* of roots, so far */
    uint32_t flat;     /* the epoch in which Redis did not let scripts be used; 0: none */
};

struct load {
    struct loader *loader;
    struct doc *doc;
    uint32_t epoch;
    unsigned attempts;
    int64_t asked; /* clock_wall_ms() when the root was asked for: its deadline counts from here */
    bool (*next)(struct load *l, redisReply *exec, struct fault *f); /* false: finished */
    /* Read again: the tree until now, of which those parts are kept that nobody has changed, when
     * all changes up to the version that is there have been heard. */
    struct record *before;
    struct stale *stale;
    int64_t heard;       /* that version */
    struct record *root; /* has the containers that were asked for: the model may grow meanwhile */
    struct target *targets;
    unsigned ntargets;
    unsigned record_target; /* the first element that the second kind of round is about: */
    size_t record_at;       /* in this target, this one */
    struct round round;
};

static void targets_free(struct load *l)
{
    for (unsigned i = 0; i < l->ntargets; i++) {
        target_free(&l->targets[i]);
    }
    free(l->targets);
    l->targets = NULL;
    l->ntargets = 0;
}

static void load_free(struct load *l)
{
    struct weighing before = cache_weigh(l->loader->cache);
    l->doc->loading = false;
    record_free(l->root);
    record_free(l->before);
    stale_free(l->stale);
    targets_free(l);
    round_clear(&l->round);
    cache_weighed(l->loader->cache, before, &l->doc, 1);
    free(l);
}

static void finish(struct load *l, const struct fault *fault)
{
    struct loader *loader = l->loader;
    struct doc *d = l->doc;
    d->unanswered = fault != NULL && l->round.unanswered;
    if (fault != NULL)
        doc_forget(d);
    else if (l->ntargets > 0)
        d->unsteady = false;
    load_free(l);
    loader->done(loader->arg, d, fault);
}

/* ---- a round ---- */

/* What the containers were asked for, once more from the start. */
static bool begin_anew(struct load *l);

static void on_answers(void *arg, redisReply *answers, const struct fault *fault)
{
    struct load *l = arg;
    struct fault f = {.code = FAULT_NONE};
    if (answers == NULL && l->round.script && l->round.refused && l->loader->flat != l->epoch) {
        l->loader->flat = l->epoch;
        if (begin_anew(l))
            return;
    }
    if (answers == NULL) {
        finish(l, fault);
        return;
    }
    struct weighing before = cache_weigh(l->loader->cache);
    bool more = l->next(l, answers, &f);
    cache_weighed(l->loader->cache, before, &l->doc, 1);
    if (!more)
        finish(l, f.code == FAULT_NONE ? NULL : &f);
}

/* True when the round is on its way. */
static bool send_round(struct load *l, bool (*next)(struct load *, redisReply *, struct fault *))
{
    l->next = next;
    return round_send(&l->round);
}

static bool send_or(struct load *l, bool sent, struct fault *f)
{
    if (!sent)
        fault_set(f, FAULT_UNAVAILABLE, "%s", upstream_why(l->round.up));
    return sent;
}

/* ---- records ---- */

static void ask_length(void *arg, struct cell *c, const struct type *t, const char *suffix,
                       size_t len)
{
    (void)c;
    struct load *l = arg;
    round_ask(&l->round, suffix, len, stored_of(t)->length, NULL, NULL);
}

struct lengths {
    struct load *load;
    redisReply **at;
};

/* What models that contain themselves can lead to in Redis, if another program has made it. */
static bool too_deep(const char *suffix, size_t len)
{
    unsigned slashes = 0;
    for (size_t i = 0; i < len; i++)
        slashes += suffix[i] == '/';
    return slashes > 2 * SCHEMA_MAX_DEPTH;
}

static void spoil(struct load *l, struct container *c, const char *why)
{
    container_spoil(c, why);
    l->doc->corrupt = true;
}

static void take_length(void *arg, struct cell *c, const struct type *t, const char *suffix,
                        size_t len)
{
    struct lengths *w = arg;
    const redisReply *r = *w->at++;
    char why[WRONG_TYPE_MAX];
    if (r->type != REDIS_REPLY_INTEGER || r->integer < 0)
        spoil(w->load, c->container, wrong_type(why, stored_of(t)->type));
    else if (r->integer > 0 && too_deep(suffix, len))
        spoil(w->load, c->container, "it is nested deeper than a document can be");
    else if (r->integer > 1 && type_container(t)->lone)
        spoil(w->load, c->container,
              "it should hold one at most, but another program put more there");
    else if (r->integer > 0)
        container_unload(c->container, (size_t)r->integer);
}

/* Moves *at behind the answers of this record. */
static void take_lengths(struct load *l, struct record *rec, const char *suffix, redisReply ***at)
{
    struct lengths w = {.load = l, .at = *at};
    each_container(rec, suffix, take_length, &w);
    *at = w.at;
}

/* Puts one hash field where it belongs; fields the model does not have are not ours to judge. */
static void take_field(struct load *l, struct record *r, const char *name, size_t len,
                       const redisReply *value)
{
    for (;;) {
        const char *dot = memchr(name, '.', len);
        size_t n = dot != NULL ? (size_t)(dot - name) : len;
        int i = model_field(r->model, name, n);
        struct cell *slot = i < 0 ? NULL : record_slot(r, (uint32_t)i);
        if (slot == NULL)
            return;
        if (dot != NULL) {
            if (slot->kind != CELL_RECORD)
                return;
            r = slot->record;
            len -= n + 1;
            name = dot + 1;
            continue;
        }
        const struct type *t = r->model->fields[i].type;
        if (type_atomic(t) || type_container(t))
            return;
        struct fault why = {.text = "it is no string"};
        struct cell c = {0};
        if (value->type != REDIS_REPLY_STRING ||
            layout_parse(t, value->str, value->len, &c, &why) < 0) {
            c = cell_spoilt(why.text);
            l->doc->corrupt = true;
        }
        cell_free(slot);
        *slot = c;
        return;
    }
}

static void take_hash(struct load *l, struct record *r, const redisReply *hash)
{
    for (size_t i = 0; i + 1 < hash->elements; i += 2) {
        const redisReply *name = hash->element[i];
        if (name->len > 0 && name->str[0] == '@')
            continue;
        take_field(l, r, name->str, name->len, hash->element[i + 1]);
    }
}

/* ---- the root ---- */

/* A number that counting up from leads to no overflow. */
static bool read_number(const redisReply *r, int64_t *number)
{
    if (r->type != REDIS_REPLY_STRING)
        return false;
    *number = strtoll(r->str, NULL, 10);
    return *number > 0 && *number < INT64_MAX / 2;
}

/* One of the fields that every document has, "@v" or "@s". */
static bool find_number(const redisReply *hash, const char *name, int64_t *number)
{
    for (size_t i = 0; i + 1 < hash->elements; i += 2) {
        if (hash->element[i]->len == 2 && memcmp(hash->element[i]->str, name, 2) == 0)
            return read_number(hash->element[i + 1], number);
    }
    return false;
}

/* A change that came when the document had just been removed has made a hash of its own, with a
 * version and no revision. It will be swept away; it never was a document. */
static bool is_stump(const redisReply *hash, int64_t *version)
{
    for (size_t i = 0; i + 1 < hash->elements; i += 2) {
        if (strcmp(hash->element[i]->str, LAYOUT_SCHEMA_FIELD) == 0)
            return false;
    }
    return find_number(hash, LAYOUT_VERSION_FIELD, version);
}

static bool is_condemned(const redisReply *hash)
{
    for (size_t i = 0; i + 1 < hash->elements; i += 2) {
        if (strcmp(hash->element[i]->str, LAYOUT_DELETED_FIELD) == 0)
            return true;
    }
    return false;
}

static int64_t deadline_of(const struct load *l, const redisReply *pttl)
{
    bool known = pttl->type == REDIS_REPLY_INTEGER && pttl->integer >= 0 &&
                 pttl->integer < INT64_MAX - l->asked;
    return known ? l->asked + pttl->integer : 0;
}

static void note_remains(void *arg, struct cell *c, const struct type *t, const char *suffix,
                         size_t len)
{
    bool *remains = arg;
    (void)t;
    (void)suffix;
    (void)len;
    if (c->container->len > 0 || c->container->spoilt != NULL)
        *remains = true;
}

/* All of its content, or some. */
static bool holds_something(const struct container *c)
{
    return container_loaded(c) || c->picked != NULL;
}

/* Moves the contents of containers from the tree before into the new one. */
static void keep_contents(struct load *l, struct record *to, struct record *from, struct buf *name)
{
    size_t base = name->len;
    for (uint32_t i = 0; i < to->nslots && i < from->nslots; i++) {
        const struct field *f = &to->model->fields[i];
        struct cell *new = &to->slots[i], *old = &from->slots[i];
        if (!type_container(f->type) && !type_atomic(f->type))
            continue;
        buf_append(name, f->name, f->name_len);
        if (type_atomic(f->type)) {
            buf_append(name, ".", 1);
            keep_contents(l, new->record, old->record, name);
        } else if (holds_something(old->container) && old->container->len == new->container->len &&
                   !stale_covers(l->stale, (const char *)name->data, name->len, old->container->len,
                                 type_atomic(f->type->of))) {
            struct cell swapped = *new;
            *new = *old;
            *old = swapped;
        }
        name->len = base;
    }
}

static void keep_unchanged(struct load *l)
{
    struct buf name = BUF_INIT;
    l->doc->moments = DOC_ROOT;
    if (l->before == NULL || l->heard != l->doc->version)
        return;
    l->doc->moments = DOC_IN_PIECES;
    buf_append(&name, "/", 1);
    keep_contents(l, l->root, l->before, &name);
    buf_free(&name);
    record_free(l->before);
    l->before = NULL;
}

/* Another program put something else where its root hash should be: to be replaced, or removed with
 * all that is left below it. */
static void ruined(struct load *l, redisReply **lengths, const char *why)
{
    struct doc *d = l->doc;
    take_lengths(l, l->root, "", &lengths);
    free(d->wrong);
    struct buf root = BUF_INIT;
    layout_key(&root, l->loader->names, d->key, d->key_len, "", 0);
    d->wrong = alloc_text("%s: the Redis key %.*s %s; save the whole document, or delete it",
                          d->key, (int)root.len, (char *)root.data, why);
    buf_free(&root);
    d->root = l->root;
    l->root = NULL;
    d->written = d->stump = 0;
    d->state = DOC_ABSENT;
    d->epoch = l->epoch;
}

static bool on_root(struct load *l, redisReply *exec, struct fault *f)
{
    (void)f;
    struct doc *d = l->doc;
    const redisReply *hash = exec->element[0], *ttl = exec->element[1];
    redisReply **lengths = &exec->element[2];
    int64_t stump = 0;
    d->reading = ++l->loader->readings;
    if (hash->type == REDIS_REPLY_ARRAY && (hash->elements == 0 || is_stump(hash, &stump))) {
        bool remains = false;
        take_lengths(l, l->root, "", &lengths);
        each_container(l->root, "", note_remains, &remains);
        d->condemned = is_condemned(hash);
        free(d->wrong);
        d->wrong = NULL;
        if (remains && !d->condemned) {
            d->root = l->root;
            l->root = NULL;
        }
        d->state = DOC_ABSENT;
        d->stump = stump;
        d->epoch = l->epoch;
        return false;
    }
    d->condemned = false;
    free(d->wrong);
    d->wrong = NULL;
    if (hash->type != REDIS_REPLY_ARRAY) {
        ruined(l, lengths, "should be a hash, but another program put something else there");
        return false;
    }
    if (!find_number(hash, LAYOUT_VERSION_FIELD, &d->version)) {
        ruined(l, lengths, "has no version in @v: it was not written by rapyerd");
        return false;
    }
    d->others_from = d->version;
    /* Who cannot read it is to see whether newer models wrote it. */
    if (!find_number(hash, LAYOUT_SCHEMA_FIELD, &d->written))
        d->written = 0;
    take_hash(l, l->root, hash);
    take_lengths(l, l->root, "", &lengths);
    d->expires = deadline_of(l, ttl);
    keep_unchanged(l);
    d->root = l->root;
    l->root = NULL;
    d->state = DOC_PRESENT;
    d->epoch = l->epoch;
    return false;
}

/* The tree as it is, for what of it can be kept. */
static void put_aside(struct load *l)
{
    struct doc *d = l->doc;
    record_free(l->before);
    stale_free(l->stale);
    l->before = NULL;
    l->heard = d->version + d->others;
    l->stale = coherence_read(l->loader->coherence, d);
    if (d->state != DOC_PRESENT || stale_all(l->stale))
        return;
    l->before = d->root;
    d->root = NULL;
}

/* Begins a round with all that on_root looks at. */
static void begin_root(struct load *l)
{
    /* The containers that there may be are known by the model alone. */
    record_free(l->root);
    l->root = record_new(l->doc->model);
    size_t pk_len;
    const char *pk = doc_pk(l->doc, &pk_len);
    l->root->pk = cell_str(pk, pk_len);
    put_aside(l);
    doc_forget(l->doc);
    l->asked = clock_wall_ms();
    round_begin(&l->round);
    round_ask(&l->round, "", 0, "HGETALL", NULL, NULL);
    round_ask(&l->round, "", 0, "PTTL", NULL, NULL);
    each_container(l->root, "", ask_length, l);
}

static bool ask_root(struct load *l)
{
    begin_root(l);
    return send_round(l, on_root);
}

static bool ask_whole(struct load *l);

/* The version as HGET told it; someone else's write means reading all of it again. */
static bool same_version(struct load *l, const redisReply *v, bool *again, struct fault *f)
{
    *again = false;
    int64_t expected = l->doc->state == DOC_PRESENT ? l->doc->version : l->doc->stump;
    int64_t version = v->type == REDIS_REPLY_STRING ? strtoll(v->str, NULL, 10) : 0;
    if (version == expected)
        return true;
    bool whole = l->ntargets > 0 && l->doc->unsteady && l->attempts + 2 < ATTEMPTS_MAX;
    l->doc->unsteady = l->ntargets > 0;
    if (!whole)
        targets_free(l);
    if (++l->attempts >= ATTEMPTS_MAX) {
        fault_set(f, FAULT_BUSY, "%s was changed by others each time it was read; try again",
                  l->doc->key);
        return false;
    }
    *again = send_or(l, whole ? ask_whole(l) : ask_root(l), f);
    return false;
}

static bool on_check(struct load *l, redisReply *exec, struct fault *f)
{
    bool again;
    if (!same_version(l, exec->element[0], &again, f))
        return again;
    l->doc->expires = deadline_of(l, exec->element[1]);
    l->doc->epoch = l->epoch;
    return false;
}

/* ---- containers ---- */

/* What is wrong is said when all is in its place. */
static void spoil_containers(struct load *l)
{
    for (unsigned i = 0; i < l->ntargets; i++) {
        struct target *t = &l->targets[i];
        if (t->spoilt == NULL)
            continue;
        if (!type_atomic(t->type->of))
            container_unload(t->cell->container, 0);
        spoil(l, t->cell->container, t->spoilt);
    }
}

static bool ask_elements(struct load *l, struct fault *f);

/* To the element at (i, j), or the first behind it. */
static bool next_record(const struct load *l, unsigned *i, size_t *j)
{
    for (; *i < l->ntargets && (l->targets[*i].filled || *j >= l->targets[*i].nrecords); *j = 0)
        ++*i;
    return *i < l->ntargets;
}

/* Moves *at behind its answers. */
static void take_element(struct load *l, struct target *t, size_t j, redisReply ***at)
{
    struct buf suffix = BUF_INIT;
    const char *s = target_suffix(t, j, &suffix);
    const redisReply *hash = *(*at)++;
    char it[WRONG_TYPE_MAX];
    if (hash->type == REDIS_REPLY_ARRAY) {
        take_hash(l, t->records[j], hash);
    } else {
        struct buf why = BUF_INIT;
        buf_printf(&why, "its element %s, at ", s + t->suffix_len + 1);
        layout_key(&why, l->loader->names, l->doc->key, l->doc->key_len, s, strlen(s));
        buf_printf(&why, ": %s", wrong_type(it, stored_hash.type));
        target_spoil(t, (char *)why.data);
        buf_free(&why);
    }
    take_lengths(l, t->records[j], s, at);
    buf_free(&suffix);
}

static bool on_elements(struct load *l, redisReply *exec, struct fault *f)
{
    bool again;
    if (!same_version(l, exec->element[0], &again, f))
        return again;
    redisReply **at = &exec->element[1], **end = exec->element + exec->elements;
    unsigned i = l->record_target;
    size_t j = l->record_at;
    for (; at < end && next_record(l, &i, &j); j++)
        take_element(l, &l->targets[i], j, &at);
    l->record_target = i;
    l->record_at = j;
    return ask_elements(l, f);
}

/* All is here: elements go into their containers. */
static bool install(struct load *l)
{
    for (unsigned i = 0; i < l->ntargets; i++) {
        struct target *t = &l->targets[i];
        if (!t->picks && type_atomic(t->type->of))
            target_install(t);
    }
    spoil_containers(l);
    return false;
}

static bool ask_elements(struct load *l, struct fault *f)
{
    struct buf suffix = BUF_INIT;
    unsigned i = l->record_target;
    size_t j = l->record_at;
    if (!next_record(l, &i, &j))
        return install(l);
    l->doc->moments = DOC_IN_PIECES;
    round_begin(&l->round);
    round_ask(&l->round, "", 0, "HGET", LAYOUT_VERSION_FIELD, NULL);
    for (unsigned n = 0; next_record(l, &i, &j) && (n < SLICE_RECORDS || l->doc->unsteady);
         n++, j++) {
        struct target *t = &l->targets[i];
        const char *s = target_suffix(t, j, &suffix);
        round_ask(&l->round, s, strlen(s), "HGETALL", NULL, NULL);
        each_container(t->records[j], s, ask_length, l);
    }
    buf_free(&suffix);
    return send_or(l, send_round(l, on_elements), f);
}

static bool ask_containers(struct load *l);

/* Its elements with what they hold. */
static void take_deep(struct load *l, struct target *t, const redisReply *r)
{
    const redisReply *content = target_take_deep(t, r);
    if (content == NULL || content->elements != t->nrecords * (1 + t->nbelow))
        return; /* then the elements are asked for */
    redisReply **at = content->element;
    for (size_t j = 0; j < t->nrecords; j++)
        take_element(l, t, j, &at);
    t->filled = true;
}

/* One element, or some. Where they are not what they should be all are read, and what is wrong is
 * found there. */
static void take_picked(struct load *l, struct target *t, const redisReply *r)
{
    bool deep = type_atomic(t->type->of);
    const redisReply *content = deep ? target_take_deep(t, r) : NULL;
    if (!deep)
        target_take_value(t, r);
    redisReply **at = t->nrecords > 0 ? content->element : NULL;
    for (size_t j = 0; j < t->nrecords && !t->wrong; j++)
        take_element(l, t, j, &at);
    target_pick(t);
}

static void take_answer(struct load *l, struct target *t, const redisReply *r)
{
    if (t->picks)
        take_picked(l, t, r);
    else if (t->deep)
        take_deep(l, t, r);
    else
        target_take(t, r);
}

static bool on_containers(struct load *l, redisReply *exec, struct fault *f)
{
    bool again, all = true;
    if (!same_version(l, exec->element[0], &again, f))
        return again;
    redisReply **at = &exec->element[1];
    for (unsigned i = 0; i < l->ntargets; i++) {
        struct target *t = &l->targets[i];
        if (t->asked)
            take_answer(l, t, *at++);
        all = all && t->last;
    }
    return all ? ask_elements(l, f) : send_or(l, ask_containers(l), f);
}

static struct budget budget(const struct load *l, size_t elements)
{
    bool scripts = l->loader->flat != l->epoch;
    return (struct budget){.elements = elements,
                           .calls = scripts ? DEEP_CALLS : 0,
                           .spent = scripts,
                           .whole = l->doc->unsteady};
}

static bool ask_containers(struct load *l)
{
    struct budget left = budget(l, l->doc->unsteady ? SIZE_MAX : SLICE);
    l->doc->moments = DOC_IN_PIECES;
    round_begin(&l->round);
    round_ask(&l->round, "", 0, "HGET", LAYOUT_VERSION_FIELD, NULL);
    for (unsigned i = 0; i < l->ntargets; i++)
        target_ask(&l->targets[i], &l->round, &left);
    return send_round(l, on_containers);
}

static bool begin_anew(struct load *l)
{
    for (unsigned i = 0; i < l->ntargets; i++)
        target_clear(&l->targets[i]);
    l->record_target = 0;
    l->record_at = 0;
    return l->next == on_containers ? ask_containers(l) : ask_root(l);
}

/* ---- all in one round ---- */

static void find_target(void *arg, struct cell *c, const struct type *t, const char *suffix,
                        size_t len)
{
    struct load *l = arg;
    for (unsigned i = 0; i < l->ntargets; i++) {
        struct target *at = &l->targets[i];
        if (at->suffix_len == len && memcmp(at->suffix, suffix, len) == 0) {
            at->cell = c;
            at->type = t;
        }
    }
}

static bool on_whole(struct load *l, redisReply *exec, struct fault *f)
{
    redisReply **at = &exec->element[exec->elements - l->ntargets];
    f->code = FAULT_NONE;
    (void)on_root(l, exec, f);
    if (f->code != FAULT_NONE || l->doc->state != DOC_PRESENT)
        return false;
    l->doc->moments = DOC_AT_ONCE;
    bool all = true;
    for (unsigned i = 0; i < l->ntargets; i++) {
        take_answer(l, &l->targets[i], at[i]);
        all = all && l->targets[i].last;
    }
    return all ? ask_elements(l, f) : send_or(l, ask_containers(l), f);
}

/* Reads the root and the containers again, as of one moment. Those within elements have no place
 * in the new tree yet: who needs them asks again. */
static bool ask_whole(struct load *l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->ntargets; i++)
        target_clear(&l->targets[i]);
    for (unsigned i = 0; i < l->ntargets; i++)
        l->targets[i].cell = NULL;
    begin_root(l);
    each_container(l->root, "", find_target, l); /* the root stays where it is */
    for (unsigned i = 0; i < l->ntargets; i++) {
        if (l->targets[i].cell != NULL)
            l->targets[n++] = l->targets[i];
        else
            target_free(&l->targets[i]);
    }
    l->ntargets = n;
    l->record_target = 0;
    l->record_at = 0;
    for (unsigned i = 0; i < n; i++) {
        struct budget all = budget(l, SIZE_MAX);
        target_ask(&l->targets[i], &l->round, &all);
    }
    return send_round(l, on_whole);
}

/* Whether all of it can be read in one transaction that keeps nobody waiting, or must be. */
static bool fits_one_round(const struct doc *d, const struct missing *missing, unsigned n)
{
    size_t elements = 0;
    for (unsigned i = 0; i < n; i++) {
        if (memchr(missing[i].suffix + 1, '/', missing[i].suffix_len - 1) != NULL)
            return false; /* within an element: where that is, the root does not tell */
        elements += !missing[i].one              ? missing[i].cell->container->len
                    : missing[i].which.count > 1 ? missing[i].which.count
                                                 : 1;
    }
    return d->moments == DOC_ROOT && (elements <= SLICE || d->unsteady);
}

static void name_targets(struct load *l, const struct missing *missing, unsigned n)
{
    l->targets = alloc_zeroed(n, sizeof(*l->targets));
    for (unsigned i = 0; i < n; i++) {
        struct target *t = &l->targets[i];
        t->cell = missing[i].cell;
        t->type = missing[i].type;
        t->total = missing[i].cell->container->len;
        t->suffix = alloc_copy(missing[i].suffix, missing[i].suffix_len);
        t->suffix_len = missing[i].suffix_len;
        if (missing[i].one)
            target_name(t, &missing[i].which);
    }
    l->ntargets = n;
}

/* ---- */

struct loader *loader_new(const struct router *router, struct cache *cache,
                          struct coherence *coherence, const struct names *names,
                          loader_done_fn *done, void *arg)
{
    struct loader *l = tree_alloc(sizeof(*l));
    *l = (struct loader){.router = router,
                         .cache = cache,
                         .coherence = coherence,
                         .names = names,
                         .done = done,
                         .arg = arg};
    return l;
}

void loader_free(struct loader *l)
{
    tree_free(l);
}

bool loader_load(struct loader *loader, struct doc *d, enum load_what what,
                 const struct missing *missing, unsigned n)
{
    struct upstream *up = router_link(loader->router, d->slot);
    if (upstream_state(up) != UPSTREAM_UP)
        return false;
    struct load *l = alloc_zeroed(1, sizeof(*l));
    l->loader = loader;
    l->doc = d;
    l->epoch = router_epoch(loader->router, d->slot);
    l->round =
        (struct round){.up = up, .names = loader->names, .doc = d, .done = on_answers, .arg = l};
    bool sent;
    d->loading = true;
    if (d->state == DOC_UNKNOWN || !upstream_same_server(d->epoch, l->epoch))
        what = LOAD_ALL;
    if (what == LOAD_AT_ONCE && !fits_one_round(d, missing, n))
        what = LOAD_MISSING;
    d->rereading = what == LOAD_ALL || what == LOAD_AT_ONCE;
    if (d->rereading)
        stale_mark_all(d);
    bool current = coherence_current(loader->coherence, d, clock_boot_ms());
    if (what == LOAD_ALL || (what == LOAD_CHECK && !current)) {
        sent = ask_root(l);
    } else if (what == LOAD_AT_ONCE) {
        name_targets(l, missing, n);
        sent = ask_whole(l);
    } else if (d->epoch != l->epoch || what == LOAD_CHECK) {
        round_begin(&l->round);
        round_ask(&l->round, "", 0, "HGET", LAYOUT_VERSION_FIELD, NULL);
        round_ask(&l->round, "", 0, "PTTL", NULL, NULL);
        l->asked = clock_wall_ms();
        sent = send_round(l, on_check);
    } else {
        name_targets(l, missing, n);
        sent = ask_containers(l);
    }
    if (!sent)
        load_free(l);
    return sent;
}
