/* methods_doc: whole documents: save, insert, delete, and what is known about them. */
#include "daemon/base/clock.h"
#include "daemon/documents/layout.h"
#include "daemon/exec/purge.h"
#include "daemon/methods/cascade.h"
#include "daemon/methods/in_parts.h"
#include "daemon/methods/methods.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <uuid/uuid.h>

#define MISSING_MAX 1000 /* containers that are read to find out what there is to delete */

int params_doc(struct call *c, struct fault *f)
{
    const char *key;
    size_t len;
    if (params_str(&c->request.params, "the key", &key, &len, f) < 0)
        return -1;
    return call_doc(c, key, len, f) != NULL ? 0 : -1;
}

/* The document of the key at the cursor; docs() has seen that it is good. */
struct doc *params_doc_again(struct call *c, struct cursor *in)
{
    const char *key = "";
    size_t len = 0;
    struct fault f;
    if (cursor_str(in, &key, &len) < 0)
        return NULL;
    return call_doc(c, key, len, &f);
}

int params_docs(struct call *c, struct cursor *in, uint32_t n, struct fault *f)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *key;
        size_t len;
        if (params_str(in, "a key", &key, &len, f) < 0 || call_doc(c, key, len, f) == NULL)
            return -1;
    }
    return 0;
}

int params_keys(struct call *c, struct fault *f)
{
    uint32_t n = 0;
    cursor_array(&c->request.params, &n);
    return params_docs(c, &c->request.params, n, f);
}

/* ---- writing whole documents ---- */

/* The root hash stays for its version; its fields go one by one. */
static void drop_content(void *arg, const struct effect *e)
{
    if (e->kind != EFFECT_DROP || e->suffix_len > 0)
        call_effect(arg, e);
}

/* Those that the record has, or `all` that there may be. prefix is as it was when this returns. */
static void drop_fields(struct call_effects *e, const struct record *r, bool all,
                        struct buf *prefix)
{
    size_t base = prefix->len;
    for (uint32_t i = 0; i < r->nslots; i++) {
        const struct field *f = &r->model->fields[i];
        buf_append(prefix, f->name, f->name_len);
        bool scalar = !type_atomic(f->type) && type_container(f->type) == NULL;
        if (scalar && (all || r->slots[i].kind != CELL_UNSET)) {
            call_effect(e, &(struct effect){.kind = EFFECT_FIELD_DEL,
                                            .suffix = "",
                                            .field = (const char *)prefix->data,
                                            .field_len = prefix->len});
        } else if (type_atomic(f->type)) {
            buf_append(prefix, ".", 1);
            drop_fields(e, r->slots[i].record, all, prefix);
        }
        prefix->len = base;
    }
}

/* One stump has a version like the other: it may be another one by now, of other keys. */
static void clear_stump(struct call_effects *e, const struct record *root)
{
    struct buf prefix = BUF_INIT;
    record_purge(root, "", "", drop_content, e);
    drop_fields(e, root, true, &prefix);
    buf_free(&prefix);
}

bool doc_keeps_deadline(const struct doc *d, bool reset)
{
    return !reset && d->model->ttl == 0 && d->state == DOC_PRESENT && d->wrong == NULL;
}

int64_t doc_new_deadline(const struct doc *d)
{
    return d->model->ttl > 0 ? clock_wall_ms() + d->model->ttl * 1000 : 0;
}

/* Puts a tree that was built into the document's place, new or not. What is there goes with all
 * that is below it, so it must be what the tree knows. */
void doc_replace(struct call *c, struct doc *d, struct record *root, bool reset)
{
    struct call_effects e = {.call = c, .doc = d};
    struct batch *b = call_batch(c, d);
    bool fresh = d->state == DOC_ABSENT, keeps = doc_keeps_deadline(d, reset);
    if (!keeps)
        d->expires = doc_new_deadline(d);
    d->written = schema_known(exec_schema(c->exec));
    bool ruined = d->wrong != NULL;
    if (!ruined)
        call_computes(c, d); /* what goes is what we know of it */
    if (fresh) {
        /* Versions begin at the clock: a document that is deleted and made again never comes
         * back to a version somebody may remember, also when the clock is set back. In
         * microseconds: a document that is written more than once in a millisecond would run
         * ahead of that. */
        int64_t clock = clock_new_us();
        int64_t first = clock > d->version ? clock : d->version + 1;
        d->version = d->others_from = first - 1;
        struct batch_doc *bd = call_stage(c, d);
        batch_bump(bd, first - 1);
    }
    struct batch_doc *bd = call_stage(c, d);
    if (!keeps) /* else it is as in Redis, whoever has set it */
        batch_deadline(bd, d->expires);
    if (d->root != NULL) {
        struct needs none = call_needs(c, d);
        record_drop(d->root, "", "", &none, ruined ? call_effect : drop_content, &e);
        struct buf prefix = BUF_INIT;
        drop_fields(&e, d->root, false, &prefix);
        buf_free(&prefix);
        record_free(d->root);
        /* What is left of elements that could not be made out is not to turn up in new ones. */
        if (d->corrupt || ruined)
            record_purge(root, "", "", drop_content, &e);
        d->corrupt = false;
    }
    if (fresh && d->stump != 0)
        clear_stump(&e, root);
    if (ruined)
        batch_bump(bd, d->version); /* of a hash that is new */
    free(d->wrong);
    d->wrong = NULL;
    batch_rewrite(bd);
    call_stage_written(c, d, bd);
    if (d->expires == 0 && !fresh && !keeps)
        batch_expire(b, bd, "", 0);
    d->root = root;
    d->growths = schema_growths(exec_schema(c->exec));
    d->state = DOC_PRESENT;
    d->epoch = call_epoch(c, d);
    record_emit(root, "", "", call_effect, &e);
}

enum op_status doc_build(struct call *c, struct doc *d, struct cursor *in, struct record **root)
{
    size_t pk_len;
    const char *pk = doc_pk(d, &pk_len);
    struct needs needs = call_needs(c, d);
    bool kept = false;
    struct rebuild from = {.record = d->state == DOC_PRESENT ? d->root : NULL,
                           .suffix = "",
                           .needs = &needs,
                           .kept = &kept};
    enum op_status st =
        record_rebuild(d->model, RECORD_ROOT, pk, pk_len, in, "", &from, root, &c->fault);
    if (kept)
        call_computes(c, d); /* what is kept is written again */
    return st;
}

void doc_pack_saved(struct doc *d, struct call *c, struct buf *out)
{
    pack_map(out, 2);
    pack_cstr(out, "key");
    pack_str(out, d->key, d->key_len);
    pack_cstr(out, "version");
    if (c != NULL)
        call_pack_version(c, d, out);
    else
        pack_int(out, INT64_MAX);
}

int doc_save_options(struct cursor *in, bool *reset, struct fault *f)
{
    uint32_t n;
    const char *name;
    size_t len;
    *reset = false;
    if (cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) == 0 &&
        (n == 0 || (n == 1 && cursor_str(in, &name, &len) == 0 && len == 9 &&
                    memcmp(name, "reset_ttl", 9) == 0 && cursor_bool(in, reset) == 0)))
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST,
                     "the options of doc.save are a map {reset_ttl?}, true or false");
}

static int save_docs(struct call *c, struct fault *f)
{
    struct cursor options = c->request.params;
    bool reset;
    if (params_count(c, 2, 3, "[key, map, {reset_ttl?}?]", f) < 0)
        return -1;
    cursor_skip(&options);
    cursor_skip(&options);
    if (c->request.nparams == 3 && doc_save_options(&options, &reset, f) < 0)
        return -1;
    return params_doc(c, f);
}

static enum op_status save_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    struct record *root;
    bool reset = false;
    enum op_status st = call_known(c, d);
    if (st == OP_DONE)
        st = doc_keys_known(c, d);
    if (st != OP_DONE)
        return st;
    if (call_admit(c) < 0 || doc_whole_check(c, d) < 0)
        return OP_REFUSED;
    cursor_skip(&c->request.params);
    st = doc_build(c, d, &c->request.params, &root);
    if (st != OP_DONE)
        return st;
    if (c->request.nparams == 3)
        (void)doc_save_options(&c->request.params, &reset, &c->fault);
    doc_replace(c, d, root, reset);
    doc_pack_saved(d, c, out);
    return OP_DONE;
}

int doc_parts_options(struct cursor *in, struct doc_parts_options *o, struct fault *f)
{
    uint32_t n = 0;
    const char *name;
    size_t len;
    *o = (struct doc_parts_options){.parts = false};
    int rc = cursor_nil(in) ? 0 : cursor_map(in, &n);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        rc = cursor_str(in, &name, &len);
        if (rc == 0 && len == 5 && memcmp(name, "parts", 5) == 0)
            rc = cursor_bool(in, &o->parts);
        else if (rc == 0 && len == 7 && memcmp(name, "replace", 7) == 0)
            rc = cursor_bool(in, &o->replace);
        else
            rc = -1;
    }
    return rc == 0 ? 0
                   : fault_set(f, FAULT_BAD_REQUEST,
                               "the options are a map: doc.insert {parts?, replace?}, doc.delete "
                               "{parts?}, true or false");
}

static int insert_docs(struct call *c, struct fault *f)
{
    uint32_t n, two;
    struct doc_parts_options o;
    if (params_count(c, 1, 2, "[[[key, map], ...], {parts?, replace?}?]", f) < 0)
        return -1;
    if (cursor_array(&c->request.params, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "doc.insert takes a list of [key, map]");
    for (uint32_t i = 0; i < n; i++) {
        if (cursor_array(&c->request.params, &two) < 0 || two != 2)
            return fault_set(f, FAULT_BAD_REQUEST, "document %u is not [key, map]", i);
        unsigned before = c->ndocs;
        if (params_doc(c, f) < 0)
            return -1;
        if (c->ndocs == before)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "document %u has a key that is in the list "
                             "already",
                             i);
        cursor_skip(&c->request.params);
    }
    return c->request.nparams == 2 ? doc_parts_options(&c->request.params, &o, f) : 0;
}

/* Whether those that are there are replaced, by options that were read before. */
static bool inserts_over(const struct call *c)
{
    struct cursor in = c->request.params;
    struct doc_parts_options o = {.replace = false};
    struct fault none;
    cursor_skip(&in);
    return c->request.nparams == 2 && doc_parts_options(&in, &o, &none) == 0 && o.replace;
}

/* Builds all of them before anything is changed. */
static enum op_status insert_run(struct call *c, struct buf *out)
{
    struct cursor in = c->request.params;
    enum op_status st = OP_DONE;
    uint32_t n = 0, two;
    bool over = inserts_over(c);
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (call_known(c, c->docs[i]) != OP_DONE || doc_keys_known(c, c->docs[i]) != OP_DONE)
            st = OP_NEEDS;
    }
    if (st != OP_DONE)
        return st;
    if (call_admit(c) < 0)
        return OP_REFUSED;
    for (unsigned i = 0; over && i < c->ndocs; i++) {
        if (doc_whole_check(c, c->docs[i]) < 0)
            return OP_REFUSED;
    }
    struct record **roots = alloc_zeroed(c->ndocs + 1, sizeof(*roots));
    cursor_array(&in, &n);
    for (unsigned i = 0; i < c->ndocs && st == OP_DONE; i++) {
        struct doc *d = c->docs[i];
        cursor_array(&in, &two);
        cursor_skip(&in);
        if (d->state != DOC_ABSENT && !over)
            st = fault_set(&c->fault, FAULT_CONFLICT,
                           "%s is there already, with version %" PRId64 "; doc.save replaces it",
                           d->key, d->version);
        else
            st = doc_build(c, d, &in, &roots[i]);
    }
    if (st == OP_DONE) {
        pack_array(out, c->ndocs);
        for (unsigned i = 0; i < c->ndocs; i++)
            call_computes(c, c->docs[i]); /* that it is new holds only for what we know */
        for (unsigned i = 0; i < c->ndocs; i++)
            doc_replace(c, c->docs[i], roots[i], !over);
        for (unsigned i = 0; i < c->ndocs; i++)
            doc_pack_saved(c->docs[i], c, out);
    } else {
        for (unsigned i = 0; i < c->ndocs; i++)
            record_free(roots[i]);
    }
    free(roots);
    return st;
}

struct doc *doc_copy_target(struct call *c, const struct doc *from, struct cursor *in, bool given,
                            struct fault *f)
{
    const char *pk, *tag;
    size_t len;
    struct buf key = BUF_INIT;
    buf_printf(&key, "%s:", from->model->name);
    if (given && !cursor_nil(in)) {
        if (params_str(in, "the new pk", &pk, &len, f) < 0) {
            buf_free(&key);
            return NULL;
        }
        buf_append(&key, pk, len);
    } else {
        char uuid[37];
        uuid_t id;
        uuid_generate_random(id);
        uuid_unparse_lower(id, uuid);
        len = names_tag(exec_names(c->exec), from->key, from->key_len, &tag);
        buf_append(&key, tag, len); /* in a cluster it has to be in the same slot */
        buf_append(&key, uuid, 36);
    }
    struct doc *to = call_doc(c, (char *)key.data, key.len, f);
    buf_free(&key);
    if (to != from)
        return to;
    fault_set(f, FAULT_CONFLICT, "%s cannot become its own copy", to->key);
    return NULL;
}

static int duplicate_docs(struct call *c, struct fault *f)
{
    if (params_count(c, 1, 2, "[key, new pk?]", f) < 0 || params_doc(c, f) < 0)
        return -1;
    struct cursor *in = &c->request.params;
    return doc_copy_target(c, c->docs[0], in, c->request.nparams == 2, f) != NULL ? 0 : -1;
}

/* A copy of the tree under another identity, which is its pk and, if the model has one, its key
 * field. */
static struct record *copy_as(struct call *c, const struct doc *from, const struct doc *to)
{
    size_t len;
    const char *pk = doc_pk(to, &len);
    const struct model *m = from->model;
    struct cell key = {0};
    if (m->key_field >= 0 &&
        key_from_pk(m->fields[m->key_field].type, pk, len, &key, &c->fault) < 0)
        return NULL;
    struct record *copy = record_copy(from->root);
    if (copy->pk.kind != CELL_UNSET) {
        cell_free(&copy->pk);
        copy->pk = cell_str(pk, len);
    }
    if (m->key_field >= 0) {
        struct cell *slot = record_slot(copy, (uint32_t)m->key_field);
        cell_free(slot);
        *slot = key;
    }
    return copy;
}

/* A copy is written like a save, and costs what that does. */
static void weigh(void *arg, const struct effect *e)
{
    (void)arg;
    bool element = e->kind == EFFECT_PUSH;
    work_add(1, element ? WORK_VALUE : WORK_NAMED);
    work_add(e->type == &type_str, WORK_RECORD); /* a pk */
}

enum op_status doc_copy(struct call *c, struct doc *from, struct doc *to, struct record **copy)
{
    struct buf all = BUF_INIT;
    if (to->state == DOC_PRESENT)
        return fault_set(&c->fault, FAULT_CONFLICT, "%s is there already", to->key);
    struct needs needs = call_needs(c, from);
    record_pack(from->root, NULL, 0, false, "", 0, &needs, &all); /* says what is not loaded */
    buf_free(&all);
    if (work_check(&c->fault) < 0)
        return OP_REFUSED;
    if (needs.count > 0 || doc_keys_known(c, to) != OP_DONE)
        return OP_NEEDS;
    record_emit(from->root, "", "", weigh, NULL);
    if (doc_whole_check(c, from) < 0)
        return OP_REFUSED;
    *copy = copy_as(c, from, to);
    if (*copy == NULL)
        return OP_REFUSED;
    call_computes(c, from);
    call_computes(c, to); /* as doc.insert */
    return OP_DONE;
}

static enum op_status duplicate_run(struct call *c, struct buf *out)
{
    struct doc *from = c->docs[0], *to = c->docs[1];
    struct record *copy;
    enum op_status a = call_present(c, from), b = call_known(c, to);
    if (a != OP_DONE)
        return a;
    if (b != OP_DONE)
        return b;
    if (to->state != DOC_PRESENT && call_admit(c) < 0)
        return OP_REFUSED;
    enum op_status st = doc_copy(c, from, to, &copy);
    if (st != OP_DONE)
        return st;
    doc_replace(c, to, copy, true);
    doc_pack_saved(to, c, out);
    return OP_DONE;
}

/* ---- existence ---- */

static bool is_map(const struct cursor *at)
{
    struct cursor in = *at;
    uint32_t n;
    return cursor_map(&in, &n) == 0;
}

static int delete_docs(struct call *c, struct fault *f)
{
    struct doc_parts_options o;
    struct cursor *in = &c->request.params;
    if (params_count(c, 1, UINT32_MAX, "[key, ..., {parts?}?]", f) < 0)
        return -1;
    c->spares_unique = true; /* what ends a document only sets its values free */
    if (params_docs(c, in, c->request.nparams - 1, f) < 0)
        return -1;
    if (c->ndocs == 0 || !is_map(in))
        return params_docs(c, in, 1, f);
    if (doc_parts_options(in, &o, f) < 0)
        return -1;
    return o.replace ? fault_set(f, FAULT_BAD_REQUEST, "doc.delete has the option parts") : 0;
}

static int exists_docs(struct call *c, struct fault *f)
{
    call_check(c);
    if (params_count(c, 1, UINT32_MAX, "[key, ...]", f) < 0)
        return -1;
    return params_docs(c, &c->request.params, c->request.nparams, f);
}

static enum op_status all_known(struct call *c)
{
    enum op_status all = OP_DONE;
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (call_known(c, c->docs[i]) != OP_DONE)
            all = OP_NEEDS;
    }
    return all;
}

static enum op_status exists_run(struct call *c, struct buf *out)
{
    int64_t count = 0;
    if (all_known(c) != OP_DONE)
        return OP_NEEDS;
    for (unsigned i = 0; i < c->ndocs; i++)
        count += c->docs[i]->state == DOC_PRESENT;
    pack_int(out, count);
    return OP_DONE;
}

void doc_remove(struct call *c, struct doc *d)
{
    struct call_effects e = {.call = c, .doc = d};
    struct needs none = call_needs(c, d);
    d->written = schema_known(exec_schema(c->exec));
    if (d->wrong == NULL)
        call_computes(c, d); /* as doc_replace */
    call_stage(c, d);
    record_drop(d->root, "", "", &none, call_effect, &e);
    record_free(d->root);
    free(d->wrong);
    d->wrong = NULL;
    d->root = NULL;
    d->state = DOC_ABSENT;
    d->expires = 0;
}

/* The document is there no more with this commit; its keys go later (exec/purge.h), as it has too
 * many to go with it. */
static void doc_condemn(struct call *c, struct doc *d)
{
    struct batch *b = call_batch(c, d);
    d->written = schema_known(exec_schema(c->exec));
    if (d->wrong == NULL)
        call_computes(c, d);
    purger_note(exec_purger(c->exec), d->key);
    struct batch_doc *bd = call_stage(c, d);
    if (d->wrong != NULL) {
        batch_drop(b, bd, "", 0);
        batch_bump(bd, d->version);
    }
    free(d->wrong);
    d->wrong = NULL;
    batch_field_set(b, bd, &stored_hash, "", 0, LAYOUT_DELETED_FIELD, strlen(LAYOUT_DELETED_FIELD),
                    "1", 1);
    batch_field_del(b, bd, &stored_hash, "", 0, LAYOUT_SCHEMA_FIELD, strlen(LAYOUT_SCHEMA_FIELD));
    record_free(d->root);
    d->root = NULL;
    d->state = DOC_ABSENT;
    d->stump = d->version;
    d->condemned = true;
    d->expires = 0;
}

/* Elements with keys of their own, as far as its containers are known. */
static size_t elements_of(const struct record *r)
{
    size_t n = 0;
    for (uint32_t i = 0; i < r->nslots; i++) {
        const struct type *t = r->model->fields[i].type;
        if (type_container(t) && type_atomic(t->of))
            n += r->slots[i].container->len;
        else if (type_atomic(t))
            n += elements_of(r->slots[i].record);
    }
    return n;
}

/* Whether it is too long to be removed in one commit; OP_NEEDS: that is not known yet. */
static enum op_status too_long(struct call *c, struct doc *d, bool *heavy)
{
    uint64_t share = (uint64_t)exec_config(c->exec)->max_work * 1000000 / WORK_COMMAND;
    uint64_t before = c->run.work.ns;
    *heavy = elements_of(d->root) * WORK_GONE > share;
    if (*heavy)
        return OP_DONE;
    unsigned missing = c->run.nmissing;
    enum op_status st = doc_keys_known(c, d);
    *heavy = (c->run.work.ns - before) > share || c->run.nmissing - missing > MISSING_MAX;
    if (!*heavy)
        return st;
    c->run.work.ns = before;
    return OP_DONE;
}

/* Or something else where it was. */
static bool is_there(const struct doc *d)
{
    return d->state == DOC_PRESENT || d->wrong != NULL;
}

enum op_status doc_delete(struct call *c, struct doc *d)
{
    bool heavy;
    enum op_status st = too_long(c, d, &heavy);
    if (st == OP_DONE && (call_admit(c) < 0 || work_check(&c->fault) < 0))
        st = OP_REFUSED;
    if (st == OP_DONE && heavy)
        doc_condemn(c, d);
    else if (st == OP_DONE)
        doc_remove(c, d);
    return st;
}

static enum op_status delete_run(struct call *c, struct buf *out)
{
    int64_t count = 0;
    enum op_status st = all_known(c);
    if (st != OP_DONE)
        return st;
    bool *heavy = alloc_zeroed(c->ndocs + 1, sizeof(*heavy));
    for (unsigned i = 0; i < c->ndocs && st == OP_DONE; i++) {
        if (is_there(c->docs[i]))
            st = too_long(c, c->docs[i], &heavy[i]);
    }
    if (st == OP_DONE && (call_admit(c) < 0 || work_check(&c->fault) < 0))
        st = OP_REFUSED;
    for (unsigned i = 0; i < c->ndocs && st == OP_DONE; i++) {
        if (c->docs[i]->wrong == NULL)
            call_computes(c, c->docs[i]);
        if (!is_there(c->docs[i]))
            continue;
        if (heavy[i])
            doc_condemn(c, c->docs[i]);
        else
            doc_remove(c, c->docs[i]);
        count++;
    }
    free(heavy);
    if (st == OP_DONE)
        pack_int(out, count);
    return st;
}

static int ttl_docs(struct call *c, struct fault *f)
{
    struct cursor *in = &c->request.params;
    struct cascade_options o = {.cascade = false};
    int64_t seconds;
    if (c->request.nparams >= 2)
        c->needs = RIGHT_WRITE;
    if (c->request.nparams == 3)
        c->needs |= RIGHT_READ;
    if (params_count(c, 1, 3, "[key, seconds?, {cascade?, depth?}?]", f) < 0 ||
        params_doc(c, f) < 0)
        return -1;
    if (c->request.nparams == 1)
        return 0;
    bool own = c->request.nparams == 3 && cursor_nil(in);
    if (!own && (cursor_int(in, &seconds) < 0 || seconds < 0 || seconds > INT32_MAX))
        return fault_set(f, FAULT_BAD_REQUEST,
                         "the time to live should be an int of seconds, 0 (for ever) to %d",
                         INT32_MAX);
    if (c->request.nparams == 3 && cascade_options(in, &o, f) < 0)
        return -1;
    if (own && !o.cascade)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "nil for the model's own time to live goes with cascade");
    return o.cascade ? cascade_admit(c, &o, f) : 0;
}

static enum op_status ttl_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    int64_t seconds;
    c->fresh_only = c->request.nparams >= 2;
    enum op_status st = call_present(c, d);
    if (st != OP_DONE)
        return st;
    cursor_skip(&c->request.params);
    if (c->request.nparams == 1) {
        int64_t left = d->expires - clock_wall_ms();
        pack_int(out, d->expires == 0 ? -1 : left <= 0 ? 0 : (left + 999) / 1000);
        return OP_DONE;
    }
    st = doc_keys_known(c, d);
    if (st != OP_DONE)
        return st;
    if (call_admit(c) < 0 || doc_whole_check(c, d) < 0)
        return OP_REFUSED;
    cursor_int(&c->request.params, &seconds);
    doc_expire_at(c, d, seconds == 0 ? 0 : clock_wall_ms() + seconds * 1000);
    pack_int(out, seconds);
    return OP_DONE;
}

static int persist_docs(struct call *c, struct fault *f)
{
    c->spares_unique = true;
    return params_count(c, 1, 1, "[key]", f) < 0 ? -1 : params_doc(c, f);
}

/* Whether it had a deadline. */
static enum op_status persist_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    enum op_status st = call_present(c, d);
    if (st == OP_DONE)
        st = doc_keys_known(c, d);
    if (st != OP_DONE)
        return st;
    bool had = d->expires != 0;
    if (had && (call_admit(c) < 0 || doc_whole_check(c, d) < 0))
        return OP_REFUSED;
    if (had)
        doc_expire_at(c, d, 0);
    else
        call_computes(c, d); /* that there is nothing to change */
    pack_bool(out, had);
    return OP_DONE;
}

static int get_or_create_docs(struct call *c, struct fault *f)
{
    return params_count(c, 2, 2, "[key, map]", f) < 0 ? -1 : params_doc(c, f);
}

/* {created, version, document}. The map is checked also where nothing is made of it. */
static enum op_status get_or_create_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    struct record *root;
    size_t pk_len;
    const char *pk = doc_pk(d, &pk_len);
    enum op_status st = call_known(c, d);
    bool create = d->state == DOC_ABSENT;
    if (st == OP_DONE && create)
        st = doc_keys_known(c, d);
    if (st != OP_DONE || (create && call_admit(c) < 0))
        return st != OP_DONE ? st : OP_REFUSED;
    cursor_skip(&c->request.params);
    if (record_build(d->model, RECORD_ROOT, pk, pk_len, &c->request.params, "", &root, &c->fault) <
        0)
        return OP_REFUSED;
    if (create) {
        call_computes(c, d); /* as doc.insert */
        doc_replace(c, d, root, true);
    } else {
        record_free(root);
        call_computes(c, d);
    }
    pack_map(out, 3);
    pack_cstr(out, "created");
    pack_bool(out, create);
    pack_cstr(out, "version");
    call_pack_version(c, d, out);
    pack_cstr(out, "document");
    return doc_pack(c, d, out);
}

const struct method doc_insert_part = {
    .name = "doc.insert", .docs = insert_docs, .run = insert_run, .finish = in_parts_finish};
const struct method doc_delete_part = {.name = "doc.delete",
                                       .docs = delete_docs,
                                       .run = delete_run,
                                       .finish = in_parts_finish,
                                       .mends = true};

const struct method methods_doc[] = {
    {.name = "doc.save", .docs = save_docs, .run = save_run, .mends = true},
    {.name = "doc.insert", .docs = insert_docs, .run = insert_run},
    {.name = "doc.delete", .docs = delete_docs, .run = delete_run, .mends = true},
    {.name = "doc.exists", .docs = exists_docs, .run = exists_run, .reads = true},
    {.name = "doc.ttl", .docs = ttl_docs, .run = ttl_run, .reads = true},
    {.name = "doc.persist", .docs = persist_docs, .run = persist_run},
    {.name = "doc.get_or_create",
     .docs = get_or_create_docs,
     .run = get_or_create_run,
     .shows = true},
    {.name = "doc.duplicate", .docs = duplicate_docs, .run = duplicate_run},
    {.name = NULL},
};
