/* call: a request while it is carried out, as methods see it: its documents, what they may know of
 * them, what they change. call.h has the contract; exec.c says when a call runs. */
#include "daemon/base/clock.h"
#include "daemon/documents/layout.h"
#include "daemon/exec/exec_inside.h"
#include "daemon/locks/locks.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"

#define DOCS_MAX 100000   /* of one request */
#define AHEAD_MAX 1000000 /* declarations that a daemon can have missed */

/* The memory of its arrays is kept for the next one. */
static void run_empty(struct run *r)
{
    for (unsigned i = 0; i < r->nmissing; i++)
        missing_free(&r->missing[i]);
    *r = (struct run){.stale = -1,
                      .missing = r->missing,
                      .missing_cap = r->missing_cap,
                      .touched = r->touched,
                      .touched_cap = r->touched_cap,
                      .corrections = r->corrections,
                      .corrections_cap = r->corrections_cap};
}

void call_empty(struct call *c)
{
    run_empty(&c->run);
    guard_unref(c->guard);
    c->guard = NULL;
    c->ndocs = 0;
    buf_clear(&c->plan);
    c->spares_unique = c->writes_unique = false;
    c->check = c->read_anew = c->fresh_only = c->all_or_nothing = false;
    c->began = 0;
    c->proof = 0;
    c->fault.code = FAULT_NONE;
}

void call_begin_run(struct call *c)
{
    run_empty(&c->run);
    c->run.number = ++c->exec->runs;
    /* Others may have named the documents meanwhile. */
    for (unsigned i = 0; i < c->ndocs; i++)
        c->docs[i]->named = c->run.number;
}

size_t call_memory(const struct call *c)
{
    const struct run *r = &c->run;
    return c->plan.cap + c->docs_cap * sizeof(*c->docs) + r->missing_cap * sizeof(*r->missing) +
           r->touched_cap * sizeof(*r->touched) + r->corrections_cap * sizeof(*r->corrections);
}

void call_free(struct call *c)
{
    call_empty(c);
    free(c->run.missing);
    free(c->run.touched);
    free(c->run.corrections);
    free(c->docs);
    buf_free(&c->plan);
}

struct batch *call_batch(const struct call *c, const struct doc *d)
{
    return lane_batch(exec_lane_of(c->exec, d));
}

uint32_t call_epoch(const struct call *c, const struct doc *d)
{
    return router_epoch(c->exec->router, d->slot);
}

/* The model of a key, NULL: refused. */
static const struct model *model_of(const struct exec *e, const char *key, size_t len,
                                    struct fault *f)
{
    const char *model, *pk;
    size_t model_len, pk_len;
    if (key_parse(key, len, &model, &model_len, &pk, &pk_len, f) < 0)
        return NULL;
    const struct model *m = schema_model(e->schema, model, model_len);
    if (m != NULL && m->atomic)
        return m;
    fault_set(f, FAULT_UNKNOWN_MODEL,
              m == NULL ? "no model %.*s is defined; define it first"
                        : "%.*s is a plain model: it lives only inside "
                          "documents of atomic models",
              (int)model_len, model);
    return NULL;
}

int exec_check_key(const struct exec *e, const char *key, size_t len, struct fault *f)
{
    return model_of(e, key, len, f) != NULL ? 0 : -1;
}

int exec_check_right(const struct exec *e, const struct session *s, const char *method,
                     const char *key, size_t len, unsigned rights, struct fault *f)
{
    const struct model *m = model_of(e, key, len, f);
    if (m == NULL)
        return -1;
    if (permit_may(session_permit(s), m, method, rights))
        return 0;
    return permit_refuse(f, session_permit(s), method, m->name, rights);
}

static const char *tags_text(const struct call *c)
{
    return c->exec->names.tags ? "; pks that begin with the same {tag} are in one slot" : "";
}

/* A change is one transaction, and that is of one slot. */
static bool call_crosses(const struct call *c, const struct doc *d, struct fault *f)
{
    if (c->request.method->reads || c->request.method->apart || c->ndocs == 0 ||
        c->docs[0]->slot == d->slot)
        return false;
    fault_set(f, FAULT_CROSS_SLOT,
              "%s and %s are in different hash slots (%u and %u) of the cluster, so they cannot be "
              "%s together%s",
              c->docs[0]->key, d->key, c->docs[0]->slot, d->slot,
              c->needs == RIGHT_READ ? "done" : "changed", tags_text(c));
    return true;
}

/* Nor can a lock of another slot be looked at in it. */
int call_near_locks(struct call *c, struct fault *f)
{
    for (unsigned i = 0; c->guard != NULL && c->ndocs > 0 && i < c->guard->n; i++) {
        const struct guard_check *check = &c->guard->checks[i];
        const struct doc *d = c->docs[0];
        uint16_t slot = router_slot(c->exec->router, check->key, check->key_len);
        if (check->kind == GUARD_LEASE && slot != d->slot)
            return fault_set(f, FAULT_CROSS_SLOT,
                             "%s and %s are in different hash slots (%u and %u) of the cluster, so "
                             "one cannot be changed under a lock of the other%s",
                             d->key, lock_key(check->lock), d->slot, slot, tags_text(c));
    }
    return 0;
}

static bool call_may(const struct call *c, const struct doc *d, struct fault *f)
{
    struct permit *permit = session_permit(c->request.session);
    if (permit_may(permit, d->model, c->asks, c->needs))
        return true;
    permit_refuse(f, permit, c->asks, d->model->name, c->needs);
    return false;
}

struct doc *call_doc(struct call *c, const char *key, size_t len, struct fault *f)
{
    /* A pipeline names one document again and again, each time for another method. */
    struct doc *last = c->ndocs > 0 ? c->docs[c->ndocs - 1] : NULL;
    if (last != NULL && last->key_len == len && memcmp(last->key, key, len) == 0)
        return call_may(c, last, f) ? last : NULL;
    /* What is in the cache has a good name. */
    struct doc *d = cache_find(c->exec->cache, key, len);
    if (d == NULL) {
        const struct model *m = model_of(c->exec, key, len, f);
        if (m == NULL)
            return NULL;
        d = cache_doc(c->exec->cache, m, key, len);
    }
    if (!call_may(c, d, f)) {
        cache_release(c->exec->cache, d);
        return NULL;
    }
    if (d->named == c->run.number)
        return d;
    if (call_crosses(c, d, f)) {
        cache_release(c->exec->cache, d);
        return NULL;
    }
    if (c->ndocs == DOCS_MAX) {
        fault_set(f, FAULT_TOO_LARGE, "a request may name %d documents", DOCS_MAX);
        cache_release(c->exec->cache, d);
        return NULL;
    }
    work_add(1, WORK_DOCUMENT);
    if (work_check(f) < 0) {
        cache_release(c->exec->cache, d);
        return NULL;
    }
    d->named = c->run.number;
    cache_use(d);
    vec_push(c->docs, c->ndocs, c->docs_cap, d);
    return d;
}

/* One clock per run: a document that is there at its beginning is there to its end. */
static bool expired(struct call *c, const struct doc *d)
{
    if (d->expires == 0)
        return false;
    if (c->run.now == 0)
        c->run.now = clock_wall_ms();
    return d->expires <= c->run.now;
}

/* Its tree was begun before a model got more fields, whatever Redis holds of them. */
static bool outgrown(const struct exec *e, const struct doc *d)
{
    return d->root != NULL && d->growths != schema_growths(e->schema);
}

/* It was written by models that are newer than those known here: the registry is to be read before
 * anything is said of the document. What nobody can have declared is no reason, nor what was asked
 * for in vain. */
bool call_behind(const struct exec *e, const struct doc *d)
{
    int64_t known = schema_known(e->schema);
    return d->written > known && d->written > e->looked_up_to && d->written - known < AHEAD_MAX;
}

/* In a cluster a document may come into being on another node, before its slot is known to be
 * there, and nobody is told. What there is leaves with the slot, and that is told. */
static bool may_have_come(const struct call *c, const struct doc *d)
{
    const struct method *m = c->request.method;
    return c->exec->cluster && d->state == DOC_ABSENT && (m->reads || m->shows) &&
           d->checked < c->request.arrived && c->exec->config->coherence;
}

bool call_unfresh(const struct call *c, const struct doc *d)
{
    const struct exec *e = c->exec;
    return call_behind(e, d) || d->state == DOC_UNKNOWN || d->epoch != call_epoch(c, d) ||
           d->checked < c->request.stamp || (c->check && d->checked < c->request.arrived) ||
           (c->read_anew && d->read < c->request.arrived) || outgrown(e, d) ||
           may_have_come(c, d) ||
           (d->checked < c->request.arrived && !coherence_current(e->coherence, d, c->run.clock));
}

/* What is refused because of what is stored has to be so in Redis. */
static bool depends_on_content(const struct fault *f)
{
    return f->code == FAULT_NOT_FOUND || f->code == FAULT_OUT_OF_RANGE || f->code == FAULT_CONFLICT;
}

bool call_doubtful(const struct call *c, enum op_status st)
{
    bool judged = st == OP_REFUSED && depends_on_content(&c->fault), old = false;
    for (unsigned i = 0; i < c->ndocs; i++) {
        const struct doc *d = c->docs[i];
        judged = judged || (st != OP_NEEDS && d->computed == c->run.number);
        old = old || (d->checked < c->request.arrived && d->state != DOC_UNKNOWN);
    }
    return judged && old && c->run.ntouched == 0 && c->run.stale < 0 && c->exec->config->coherence;
}

bool call_unlearned(struct call *c, enum op_status st)
{
    enum fault_code code = st == OP_REFUSED ? c->fault.code : FAULT_NONE;
    c->run.unlearned = (code == FAULT_UNKNOWN_MODEL || code == FAULT_UNKNOWN_FIELD) &&
                       !c->request.learned && c->exec->learned < c->request.arrived &&
                       c->run.ntouched == 0 && c->ndocs > 0;
    return c->run.unlearned;
}

/* It is not read in pieces again. */
static bool was_written(const struct call *c, struct doc *d)
{
    if (d->moments != DOC_IN_PIECES || coherence_untouched(c->exec->coherence, d))
        return false;
    d->read = 0;
    d->unsteady = true;
    return true;
}

bool call_of_one_moment(struct call *c)
{
    struct coherence *coherence = c->exec->coherence;
    bool pieces = false, written = false;
    for (unsigned i = 0; i < c->ndocs; i++)
        pieces = pieces || c->docs[i]->moments == DOC_IN_PIECES;
    for (unsigned i = 0; i < c->ndocs && pieces; i++)
        pieces = coherence_names_writers(coherence, c->docs[i]);
    if (!c->read_anew || !pieces)
        return true;
    for (unsigned i = 0; i < c->ndocs; i++)
        written = was_written(c, c->docs[i]) || written;
    if (!written && c->proof != 0)
        return !call_awaits_proof(c);
    c->proof = written ? 0 : coherence_prove(coherence, c->docs, c->ndocs);
    return !written && c->proof == 0;
}

bool call_awaits_proof(const struct call *c)
{
    return c->proof != 0 && coherence_awaits(c->exec->coherence, c->docs, c->ndocs, c->proof);
}

/* It holds changes that may still be refused as a whole, with a guard that is not the call's (or
 * such as were made without one, and the call has one); or such as are done again when the document
 * is another than was thought, and are on their way already. */
static bool sealed(const struct call *c, const struct doc *d)
{
    if (!doc_dirty(d))
        return false;
    /* An answer waits for one commit: what several slots hold is told when it is there but for one.
     */
    if (c->run.rides == NULL)
        ((struct call *)c)->run.rides = d;
    if (c->run.rides->slot != d->slot)
        return true;
    const struct unit *u = d->staged->unit;
    return !guard_same(d->seal, c->guard) ||
           (u != NULL && u->relies && d->batch != lane_gathering(exec_lane_of(c->exec, d)));
}

/* A plain read sees what was done elsewhere longer ago than the bound: the document was asked for
 * since, or it is known that we have heard of everything. A proof that was asked for since is good
 * also where it takes longer than the bound to come back. */
static bool unproved(const struct call *c, const struct doc *d)
{
    const struct exec *e = c->exec;
    return c->request.method->reads && d->checked < c->request.arrived &&
           coherence_hearing(e->coherence, d) && !coherence_proved(e->coherence, d, c->run.clock) &&
           coherence_proved_at(e->coherence, d) < c->began;
}

enum op_status call_known(struct call *c, struct doc *d)
{
    if ((expired(c, d) || outgrown(c->exec, d)) && !doc_dirty(d))
        doc_forget(d);
    bool stale = call_unfresh(c, d);
    if ((stale && !call_may_be_stale(c, d)) || sealed(c, d))
        return OP_NEEDS;
    if (d->wrong != NULL && !c->request.method->mends) {
        fault_set(&c->spoilt, FAULT_CORRUPT, "%s", d->wrong);
        c->run.spoilt = true;
        return OP_NEEDS;
    }
    c->run.unproved = !stale && unproved(c, d);
    return c->run.unproved ? OP_NEEDS : OP_DONE;
}

void call_check(struct call *c)
{
    c->check = true;
}

void call_read_anew(struct call *c)
{
    c->read_anew = true;
}

enum op_status call_there(struct call *c, const struct doc *d)
{
    if (d->state != DOC_ABSENT)
        return OP_DONE;
    fault_set(&c->fault, FAULT_NOT_FOUND, "there is no document %s", d->key);
    return OP_REFUSED;
}

enum op_status call_present(struct call *c, struct doc *d)
{
    enum op_status st = call_known(c, d);
    return st == OP_DONE ? call_there(c, d) : st;
}

bool call_touches(const struct call *c, const struct doc *d)
{
    return d->changed == c->run.number && doc_dirty(d);
}

/* Its answer was lost with the connection. What others have done is said as far as it is known. */
static int unanswered(const struct run *r, const struct batch_doc *bd, struct fault *f)
{
    const char *key = bd->doc->key;
    if (bd->unsure && bd->missing)
        return fault_set(
            f, FAULT_UNKNOWN_OUTCOME,
            "the answer was lost with the connection to Redis, and %s is not there any "
            "more: it was removed, or its deadline was over, before the change or "
            "since",
            key);
    if (bd->unsure)
        return fault_set(
            f, FAULT_UNKNOWN_OUTCOME,
            "the answer was lost with the connection to Redis, and somebody else has "
            "changed %s, before the change or since: for all that is known it was gone "
            "in between, and made anew",
            key);
    if (bd->overtaken && r->ncorrections > 0)
        return fault_set(f, FAULT_UNKNOWN_OUTCOME,
                         "the change is applied, but its answer was lost with the connection to "
                         "Redis, and somebody else has changed %s, before it or since",
                         key);
    return 0;
}

int call_outcome(const struct run *r, struct fault *f)
{
    for (unsigned i = 0; i < r->ntouched; i++) {
        const struct batch_doc *bd = r->touched[i];
        if (bd->gone)
            return fault_set(f, FAULT_NOT_FOUND,
                             "there is no document %s any more: its deadline was over, or somebody "
                             "else removed it from Redis; the change was not applied",
                             bd->doc->key);
        if (unanswered(r, bd, f) < 0)
            return -1;
        if (bd->failed)
            return fault_set(f, FAULT_CORRUPT,
                             "%s: a Redis key of it holds something that rapyerd did not write; "
                             "not all of the change could be applied",
                             bd->doc->key);
    }
    return 0;
}

void call_set_right(const struct run *r, struct buf *answer)
{
    struct buf corrected = BUF_INIT;
    size_t at = 0;
    bool any = false;
    for (unsigned i = 0; i < r->ncorrections; i++)
        any = any || r->corrections[i].drift->by != 0;
    if (!any)
        return;
    for (unsigned i = 0; i < r->ncorrections; i++) {
        const struct correction *c = &r->corrections[i];
        buf_append(&corrected, answer->data + at, c->at - at);
        pack_int(&corrected, (int64_t)((uint64_t)c->value + (uint64_t)c->drift->by));
        at = c->at + c->len;
    }
    buf_append(&corrected, answer->data + at, answer->len - at);
    buf_free(answer);
    *answer = corrected;
}

void call_pops(struct call *c, const struct effect *e, const struct popped *popped)
{
    c->run.popped = popped;
    c->run.popped_type = e->type;
}

int call_set_popped(const struct run *r, struct buf *answer, struct fault *f)
{
    struct cell member;
    if (r->popped == NULL || !r->popped->other)
        return 0;
    if (layout_parse(r->popped_type, r->popped->text, r->popped->len, &member, f) < 0)
        return -1;
    size_t len;
    const void *bytes = cell_bytes(&member, &len);
    buf_clear(answer);
    pack_array(answer, 2);
    buf_append(answer, bytes, len);
    pack_float(answer, r->popped->score);
    cell_free(&member);
    return 0;
}

int call_full(struct call *c, size_t bytes)
{
    return fault_set(&c->fault, FAULT_UNAVAILABLE,
                     "%zu bytes of answers wait for Redis already (commit.queue_bytes); try again "
                     "later",
                     bytes);
}

int call_admit(struct call *c)
{
    const struct exec *e = c->exec;
    if (e->kept_bytes > e->config->queue_bytes)
        return call_full(c, e->kept_bytes);
    return lane_admit(call_lane_of_first(c), &c->fault);
}

int call_room(struct call *c, const struct buf *out)
{
    return session_fits(c->request.session, out->len, &c->fault);
}

/* "settings" of "settings.theme" */
static size_t first_name(const char *path, size_t len)
{
    size_t n = 0;
    while (n < len && path[n] != '.' && path[n] != '[')
        n++;
    return n;
}

bool call_spares_unique(const struct call *c, const struct doc *d, const char *path, size_t len)
{
    const struct indexes *all = indexes_of(c->exec->indexes, d->model);
    size_t n = first_name(path, len);
    bool spares = all == NULL || !all->unique || n > 0;
    for (unsigned i = 0; all != NULL && i < all->n; i++) {
        const struct index *ix = &all->all[i];
        bool at = first_name(ix->path, strlen(ix->path)) == n && memcmp(ix->path, path, n) == 0;
        spares = spares && !(ix->unique && at);
    }
    return spares;
}

void call_guard_unique(struct call *c)
{
    for (unsigned i = 0; i < c->ndocs && !c->spares_unique && !c->writes_unique; i++) {
        const struct indexes *all = indexes_of(c->exec->indexes, c->docs[i]->model);
        c->writes_unique = all != NULL && all->unique;
    }
    if (!c->writes_unique)
        return;
    if (c->guard == NULL)
        c->guard = guard_new();
    c->guard->own = true;
}

static void seal(struct call *c, struct doc *d)
{
    if (d->seal == NULL)
        d->seal = guard_ref(c->guard);
}

static void into_unit(struct call *c, struct batch *b, struct doc *d)
{
    struct batch_doc *bd = batch_doc(b, d, c->run.unit);
    c->run.unit = bd->unit;
    if (d->computed == c->run.number)
        batch_rely(bd, RELIES_ON_STATE); /* also where it is only looked at */
    if (c->guard != NULL)
        seal(c, d);
}

/* Whether what it changes may not be applied unless something holds: its guard, that a document is
 * what it was worked out from, or that all of them are there still. The same for what it saw of
 * others' changes of that kind, when it changes more than one document. */
static bool wants_unit(const struct call *c, const struct batch *b, const struct doc *d)
{
    bool wants =
        c->guard != NULL || d->computed == c->run.number || (c->all_or_nothing && c->ndocs > 1);
    for (unsigned i = 0; i < c->ndocs && c->ndocs > 1 && !wants; i++)
        wants = batch_unit_of(b, c->docs[i]) != NULL;
    return wants;
}

/* Documents that are only looked at are sealed as well: nobody changes them in the same batch
 * before that, and they are read anew when it was refused. */
static void begin_unit(struct call *c, struct batch *b, struct doc *d)
{
    c->run.unit = c->guard != NULL ? batch_unit(b, c->guard) : batch_unit_of(b, d);
    if (c->run.unit == NULL)
        c->run.unit = batch_unit(b, NULL);
    for (unsigned i = 0; c->guard != NULL && i < c->guard->n; i++) {
        if (c->guard->checks[i].doc != NULL)
            into_unit(c, b, c->guard->checks[i].doc);
    }
    for (unsigned i = 0; i < c->ndocs && c->ndocs > 1; i++)
        into_unit(c, b, c->docs[i]);
}

static void rely(const struct call *c, const struct doc *d, struct batch_doc *bd)
{
    if (d->wrong != NULL)
        return; /* there is nothing to rely upon */
    if (d->computed == c->run.number)
        batch_rely(bd, RELIES_ON_STATE);
    else if (bd->unit != NULL && (bd->unit->guard == NULL || c->ndocs > 1))
        batch_rely(bd, RELIES_ON_PRESENCE);
}

void call_computes(struct call *c, struct doc *d)
{
    d->computed = c->run.number;
}

void call_stage_written(struct call *c, struct doc *d, struct batch_doc *bd)
{
    char revision[RESP_DECIMAL_MAX];
    size_t len = resp_decimal(revision, d->written);
    batch_field_set(call_batch(c, d), bd, &stored_hash, "", 0, LAYOUT_SCHEMA_FIELD,
                    strlen(LAYOUT_SCHEMA_FIELD), revision, len);
}

/* Of what the run changes, for the first time in it. */
static struct batch_doc *begin_part(struct call *c, struct doc *d)
{
    struct run *r = &c->run;
    struct batch *b = call_batch(c, d);
    if (r->ntouched == 0 && wants_unit(c, b, d))
        begin_unit(c, b, d);
    struct batch_doc *bd = batch_doc(b, d, r->unit);
    r->unit = bd->unit;
    d->changed = r->number;
    d->read = 0; /* another program may write before it does: who wants to see that reads anew */
    if (c->guard != NULL)
        seal(c, d);
    rely(c, d, bd);
    vec_push(r->touched, r->ntouched, r->touched_cap, bd);
    return bd;
}

struct batch_doc *call_touch(struct call *c, struct doc *d)
{
    if (d->changed == c->run.number)
        return d->staged;
    struct batch_doc *bd = begin_part(c, d);
    batch_touch(bd);
    return bd;
}

struct batch_doc *call_stage(struct call *c, struct doc *d)
{
    if (d->changed == c->run.number)
        return d->staged;
    /* Who knows less is to learn before it touches what may be written now. Only rises: so it must
     * be what it was. */
    int64_t known = schema_known(c->exec->schema);
    bool raises = d->state == DOC_PRESENT && d->written < known;
    if (raises) {
        d->written = known;
        call_computes(c, d);
    }
    if (c->writes_unique)
        call_computes(c, d); /* what is checked is what is there then */
    struct batch_doc *bd = begin_part(c, d);
    d->version++;
    batch_bump(bd, 1);
    if (raises)
        call_stage_written(c, d, bd);
    return bd;
}

void call_ride(struct call *c, const struct batch *batch)
{
    for (unsigned i = 0; i < c->ndocs; i++) {
        struct unit *u = c->docs[i]->batch == batch ? c->docs[i]->staged->unit : NULL;
        if (u != NULL)
            c->run.unit = c->run.unit != NULL ? batch_join(unit_joined(c->run.unit), u) : u;
    }
    if (c->run.unit == NULL || c->guard != NULL || c->ndocs == 1 ||
        batch != lane_gathering(call_lane_of_first(c)))
        return;
    /* What its client asks for next waits until this is decided, also where that is for a document
     * that was only read. */
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (c->docs[i]->state != DOC_UNKNOWN)
            into_unit(c, call_batch(c, c->docs[i]), c->docs[i]);
    }
}

void call_correct(struct call *c, const struct drift *drift, size_t at, const struct buf *out)
{
    struct cursor in = cursor_of(out->data + at, out->len - at);
    int64_t value;
    if (drift == NULL || cursor_int(&in, &value) < 0)
        return;
    struct run *r = &c->run;
    vec_push(
        r->corrections, r->ncorrections, r->corrections_cap,
        (struct correction){
            .drift = drift, .at = (uint32_t)at, .len = (uint32_t)(out->len - at), .value = value});
}

void call_pack_version(struct call *c, struct doc *d, struct buf *out)
{
    size_t at = out->len;
    pack_int(out, d->version);
    if (call_touches(c, d))
        call_correct(c, &d->staged->version, at, out);
}
