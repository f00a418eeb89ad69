/* batch_answer: what Redis says to a batch (batch.h): EXEC's replies beside what batch_text.c has
 * noted of each, and, where the answer was lost, what the marker and the versions tell in its
 * place. */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/commit/batch_inside.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/stale.h"
#include "daemon/redis/resp.h"

/* Redis may answer any number: without a sign nothing overflows. */
static int64_t off_by(int64_t is, int64_t expected)
{
    return (int64_t)((uint64_t)is - (uint64_t)expected);
}

static int64_t with_drift(const struct drift *d)
{
    return (int64_t)((uint64_t)d->expected + (uint64_t)d->by);
}

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

/* Somebody else had changed it before: what of it was not heard of yet is read again, and who saw
 * the tree until now has seen what never was. */
void part_drifted(struct batch *b, struct batch_doc *bd, const char *suffix, size_t len)
{
    stale_mark(bd->doc, suffix, len);
    bd->doc->checked = bd->doc->read =
        0; /* whatever was asked before, the tree is not as in Redis */
    bd->drifted = b->drifted = true;
}

bool batch_drifted(const struct batch *b, struct doc *const *docs, unsigned n)
{
    for (const struct batch_doc *bd = b->docs; b->drifted && bd != NULL; bd = bd->next) {
        for (unsigned i = 0; i < n && bd->drifted; i++) {
            if (docs[i] == bd->doc)
                return true;
        }
    }
    return false;
}

/* Whether the key may have been made by this command: all that is there now is what it put there.
 */
static bool may_be_fresh(const struct expectation *e, const redisReply *r)
{
    const struct pend *p = e->pend;
    if (r->type != REDIS_REPLY_INTEGER)
        return false;
    if (e->number == NULL)
        return r->integer > 0;
    const char *at = (const char *)e->number;
    if (p->cmds != NULL)
        return r->integer <=
               ((const struct list_cmd *)(at - offsetof(struct list_cmd, drift)))->nraws;
    return r->integer == ((const struct pend_field *)(at - offsetof(struct pend_field, drift)))->by;
}

static void take(struct batch *b, struct expectation *e, const redisReply *r)
{
    if (e->pend != NULL && in_element(e->pend))
        e->pend->fresh = e->pend->fresh || may_be_fresh(e, r);
    if (r->type == REDIS_REPLY_ERROR)
        fail(e);
    else if (e->number != NULL && r->type == REDIS_REPLY_INTEGER)
        e->number->by = off_by(r->integer, e->number->expected);
    if (e->number != NULL && e->number->known && e->number->by != 0)
        part_drifted(b, e->bd, e->pend->key + e->pend->suffix_at,
                     e->pend->key_len - e->pend->suffix_at);
}

/* The reply of a unit's part; the script's, when that itself was refused. */
static const redisReply *unit_reply(const struct part *p, const redisReply *script)
{
    bool answered = script->type == REDIS_REPLY_ARRAY && p->sub < script->elements;
    return answered ? script->element[p->sub] : script;
}

static void take_unit(struct batch *b, const struct part *p, const redisReply *script)
{
    const redisReply *r = unit_reply(p, script);
    bool refused = unit_refused(r, p->unit);
    for (unsigned i = 0; i < p->n && !refused; i++) {
        struct expectation *e = &b->expect[p->first + i];
        if (r != script && r->type == REDIS_REPLY_ARRAY && r->elements == p->n)
            take(b, e, r->element[i]);
        else
            fail(e);
    }
}

/* ---- without an answer ---- */

/* A number that the part leaves in a hash, and of which somebody is told. Not one that the same
 * part has replaced since: what is there then is another. */
static struct pend_field *told_number(const struct expectation *e)
{
    if (e->number == NULL || !e->number->known || e->pend == NULL || e->pend->cmds != NULL ||
        e->pend->behind)
        return NULL;
    struct pend_field *f =
        (struct pend_field *)((char *)e->number - offsetof(struct pend_field, drift));
    return f->kind == FIELD_INCR && e->bd->second == NULL ? f : NULL;
}

unsigned batch_ask_state(const struct batch *b, struct buf *out)
{
    unsigned n = 0;
    struct buf key = BUF_INIT;
    for (const struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        buf_clear(&key);
        layout_key(&key, b->pool->names, bd->doc->key, bd->doc->key_len, "", 0);
        resp_command(out, 3, (const char *[]){"HGET", (char *)key.data, LAYOUT_VERSION_FIELD},
                     (size_t[]){4, key.len, strlen(LAYOUT_VERSION_FIELD)});
        n++;
    }
    buf_free(&key);
    for (unsigned i = 0; i < b->nexpect; i++) {
        const struct expectation *e = &b->expect[i];
        const struct pend_field *f = told_number(e);
        if (f == NULL)
            continue;
        resp_command(out, 3, (const char *[]){"HGET", e->pend->key, f->name},
                     (size_t[]){4, e->pend->key_len, f->name_len});
        n++;
    }
    return n + batch_pop_ask(b, out);
}

/* Versions begin at the clock; what is below was counted from nothing. */
#define STUMP_MAX (1LL << 40)

/* The version that the document had in Redis behind this part: how far it is off, and whether the
 * document was gone (removed behind our back: FLUSHALL, another daemon's delete). */
static void take_version(struct batch_doc *bd, int64_t version)
{
    if (bd->deleted || bd->bump == 0 || batch_doc_refused(bd))
        return;
    bd->version.by = off_by(version, bd->version.expected);
    /* Not if the unit made sure that it was there: a version as low as this is of one that was
     * removed and saved again since. */
    bd->gone = version < STUMP_MAX && bd->version.by < 0 && !bd->rewritten &&
               bd->relies == RELIES_ON_NOTHING;
}

static bool is_exec_reply(const struct batch *b, const redisReply *exec)
{
    bool is = exec->type == REDIS_REPLY_ARRAY && exec->elements == b->nreplies;
    for (unsigned i = 0; is && i < b->nparts; i++) {
        const struct part *p = &b->parts[i];
        is = p->unit == NULL || unit_answered(unit_reply(p, exec->element[p->reply]), p->unit);
    }
    return is;
}

/* MULTI was refused, and what was to be its transaction carried out one by one. */
static bool without_multi(const redisReply *exec)
{
    return exec->type == REDIS_REPLY_ERROR && strstr(exec->str, "EXEC without MULTI") != NULL;
}

int batch_answer(struct batch *b, const redisReply *exec, struct fault *f)
{
    if (without_multi(exec))
        return fault_set(f, FAULT_UNKNOWN_OUTCOME,
                         "Redis does not let us begin a transaction (ACL: +multi), and has carried "
                         "out what was to be in it");
    if (exec->type == REDIS_REPLY_ERROR)
        return fault_set(f, FAULT_UNAVAILABLE, "Redis refused the commit, nothing was applied: %s",
                         exec->str);
    if (!is_exec_reply(b, exec))
        return fault_set(f, FAULT_UNKNOWN_OUTCOME,
                         "Redis answered the commit with something that is no EXEC reply");
    for (unsigned i = 0; i < b->nparts; i++) {
        const struct part *p = &b->parts[i];
        if (p->unit != NULL)
            take_unit(b, p, exec->element[p->reply]);
        else
            take(b, &b->expect[p->first], exec->element[p->reply]);
    }
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        bd->undated = bd->left.by > 0;
        if (!bd->failed)
            take_version(bd, with_drift(&bd->version));
    }
    batch_pop_take(b, exec);
    return 0;
}

void batch_take_marker(struct batch *b, const char *marker)
{
    for (struct unit *u = b->units; u != NULL; u = u->next)
        unit_take_marker(u, marker);
}

bool batch_any_refused(const struct batch *b)
{
    const struct unit *u = b->units;
    while (u != NULL && u->refused_by == 0)
        u = u->next;
    return u != NULL;
}

bool batch_any_undated(const struct batch *b)
{
    const struct batch_doc *bd = b->docs;
    while (bd != NULL && !bd->undated)
        bd = bd->next;
    return bd != NULL;
}

void batch_follow(struct batch *b, const struct batch *before)
{
    for (const struct unit *was = before->units; was != NULL; was = was->next) {
        if (was->refused_by == 0 || unit_outdated(was) || was->guard == NULL ||
            was->guard->own) /* of one call only */
            continue;
        for (struct unit *u = b->units; u != NULL; u = u->next) {
            if (!guard_same(u->guard, was->guard))
                continue;
            u->refused_by = was->refused_by;
            u->found = was->found;
        }
    }
}

/* The one place where documents become clean; batch_doc makes them dirty. */
static void mark_clean(const struct batch *b, struct doc *d)
{
    if (d->batch != b)
        return; /* the next batch changes it too */
    guard_unref(d->seal);
    d->seal = NULL;
    d->batch = NULL;
    d->staged = NULL;
}

void batch_decide(struct batch *b, const struct fault *fault)
{
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        mark_clean(b, bd->doc);
        if (bd->version.by != 0)
            log_debug("%s was changed by another writer", bd->doc->key);
        if (bd->version.by != 0 || bd->failed || bd->gone)
            part_drifted(b, bd, "", 0);
        if (fault != NULL || batch_doc_refused(bd) || bd->failed || bd->gone || bd->unanswered)
            doc_forget(bd->doc);
    }
}

bool part_overtaken(const struct batch_doc *bd)
{
    return !batch_doc_refused(bd) && part_changes(bd) && !bd->deleted &&
           bd->relies != RELIES_ON_STATE && (bd->version.by != 0 || bd->overtaken || bd->unsure);
}

bool part_ends(const struct batch_doc *bd)
{
    const char *name = LAYOUT_SCHEMA_FIELD;
    for (const struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (p->key_len != p->suffix_at)
            continue;
        for (const struct pend_field *f = p->fields; f != NULL; f = f->next) {
            if (f->kind == FIELD_DEL && f->name_len == strlen(name) &&
                memcmp(f->name, name, f->name_len) == 0)
                return true;
        }
    }
    return bd->deleted;
}

void batch_each_committed(const struct batch *b, void (*fn)(void *arg, const struct committed *c),
                          void *arg)
{
    for (const struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        if (batch_doc_refused(bd) || bd->gone || !part_changes(bd) || part_touches(bd))
            continue;
        struct committed c = {.doc = bd->doc, .next = bd->pends, .rewritten = bd->rewritten};
        c.version = part_ends(bd) ? 0 : with_drift(&bd->version);
        fn(arg, &c);
    }
}

const char *committed_suffix(struct committed *c, size_t *len)
{
    const struct pend *p = c->next;
    while (p != NULL && only_version(p))
        p = p->next;
    if (p == NULL)
        return NULL;
    c->next = p->next;
    c->field = pend_fields(p);
    *len = p->key_len - p->suffix_at;
    return p->key + p->suffix_at;
}

const char *committed_field(struct committed *c, size_t *len)
{
    const struct pend_field *f = c->field;
    while (f != NULL && field_own(f))
        f = f->next;
    c->field = f != NULL ? f->next : NULL;
    if (f == NULL)
        return NULL;
    *len = f->name_len;
    return f->name;
}

#define LONG_US 10000000 /* more than the clocks of hosts differ */

/* With another version it may have been removed and made anew since, and removed before, for all we
 * know. But such a one begins at the clock: for a document that is not new, a few changes by others
 * do not look like that. */
static bool surely_there(const struct batch_doc *bd, int64_t version)
{
    int64_t age = clock_wall_us() - bd->version.expected;
    int64_t by = off_by(version, bd->version.expected);
    return bd->rewritten || bd->relies != RELIES_ON_NOTHING || by == 0 ||
           (by > 0 && age > LONG_US && by < age / 2);
}

void batch_unanswered(struct batch_doc *bd, int64_t version)
{
    const struct batch_doc *second = bd->second;
    bd->overtaken = false;
    if (batch_doc_refused(bd) || !part_changes(bd))
        return;
    bd->unanswered = true;
    bd->undated = bd->left.expected != 0; /* it may be */
    if (bd->relies == RELIES_ON_STATE)
        return; /* nobody has changed it before this part, so all is as it was worked out */
    bd->missing = version == 0;
    /* What the second part did comes off again. */
    if (second != NULL && !batch_doc_refused(second)) {
        if (second->deleted)
            return; /* it was there, and had this version, or there was nothing to remove */
        version -= second->bump;
    }
    bool stump = version == bd->bump && version < STUMP_MAX; /* just what this part leaves */
    bd->unsure = !bd->deleted && !stump && !surely_there(bd, version);
    take_version(bd, version);
    bd->gone = bd->gone && !bd->unsure;
    bd->overtaken = version != (bd->deleted ? 0 : bd->version.expected);
}

void batch_take_state(struct batch *b, const int64_t *said)
{
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next)
        batch_unanswered(bd, *said++);
    /* A program without rapyerd may have left the version alone. */
    for (unsigned i = 0; i < b->nexpect; i++) {
        struct expectation *e = &b->expect[i];
        if (told_number(e) != NULL && *said++ != e->number->expected && !batch_doc_refused(e->bd))
            e->bd->overtaken = true;
    }
    batch_pop_unanswered(b);
}
