/* methods_pipeline: several operations as one: all of them, or none.
 *
 *   rehearse  every operation on the trees, with an undo log, Redis told nothing; then undone
 *   perform   the same again, into one batch; nothing can be refused any more
 *
 * So an operation sees what those before it did, a refusal in the middle leaves no trace, and
 * the commit never has to be taken back. A batch is never split, so neither is a pipeline.
 *
 * An `if` decides the operations that follow it, or all of the pipeline. What it looks at is relied
 * upon like all that a pipeline reads, so that it holds in Redis where the pipeline is applied.
 */
#include "daemon/base/clock.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/methods.h"
#include "daemon/methods/methods_lock.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>

/* A document as it was before the rehearsal put another tree into its place, or gave it another
 * deadline. */
struct swapped {
    struct doc *doc;
    struct record *root;
    int64_t expires;
    uint8_t state;
};

struct rehearsal {
    struct undo *undo;
    struct swapped *swapped;
    unsigned n, cap;
};

/* What may stand in a pipeline besides the operations of the wire table. */
enum {
    PLANNED_SAVE = OP_COUNT,
    PLANNED_GET_OR_CREATE,
    PLANNED_DELETE,
    PLANNED_GET,
    PLANNED_EXISTS,
    PLANNED_TTL,
    PLANNED_PERSIST,
    PLANNED_DUPLICATE,
    PLANNED_COUNT
};

static const struct {
    const char *name;
    unsigned least, most; /* params */
} whole[] = {{"doc.save", 2, 3},    {"doc.get_or_create", 2, 2}, {"doc.delete", 1, 1},
             {"doc.get", 1, 1},     {"doc.exists", 1, 1},        {"doc.ttl", 1, 2},
             {"doc.persist", 1, 1}, {"doc.duplicate", 1, 2}};

/* One operation, as docs() keeps it for run(). */
struct planned {
    struct doc *doc;
    struct doc *to; /* doc.duplicate: what becomes the copy */
    size_t args;    /* behind the key; from the beginning of the call's params */
    int kind;       /* enum op_kind, or PLANNED_... */
    uint32_t nargs;
    uint32_t decides; /* `if`: so many of those that follow; 0: all of the pipeline */
};

static const char *kind_name(int kind)
{
    return kind < OP_COUNT ? op_infos[kind].name : whole[kind - OP_COUNT].name;
}

static bool only_reads(int kind, uint32_t nparams)
{
    if (kind < OP_COUNT)
        return !op_infos[kind].writes;
    return kind == PLANNED_GET || kind == PLANNED_EXISTS || (kind == PLANNED_TTL && nparams == 1);
}

/* -1: there is none. */
static int kind_by_name(const char *name, size_t len)
{
    int kind = op_by_name(name, len);
    for (int other = OP_COUNT; kind < 0 && other < PLANNED_COUNT; other++) {
        if (strlen(kind_name(other)) == len && memcmp(kind_name(other), name, len) == 0)
            kind = other;
    }
    return kind;
}

static int check_count(int kind, uint32_t nparams, uint32_t i, struct fault *f)
{
    unsigned lo, hi;
    if (kind < OP_COUNT) {
        lo = 2u + op_infos[kind].min_args;
        hi = 2u + op_infos[kind].max_args + (kind == OP_IF);
    } else {
        lo = whole[kind - OP_COUNT].least;
        hi = whole[kind - OP_COUNT].most;
    }
    if (nparams >= lo && nparams <= hi)
        return 0;
    if (lo == hi)
        return fault_set(f, FAULT_BAD_REQUEST, "operation %u: %s takes %u parameter%s, and got %u",
                         i, kind_name(kind), lo, lo == 1 ? "" : "s", nparams);
    return fault_set(f, FAULT_BAD_REQUEST, "operation %u: %s takes %u to %u parameters, and got %u",
                     i, kind_name(kind), lo, hi, nparams);
}

/* ["if", key, path, tests, how many of the operations behind it it decides?] */
static int read_decides(struct cursor args, struct planned *op, uint32_t i, uint32_t behind,
                        struct fault *f)
{
    int64_t n = 0;
    if (op->kind != OP_IF || op->nargs < 3)
        return 0;
    cursor_skip(&args);
    cursor_skip(&args);
    if (cursor_int(&args, &n) < 0 || n < 1 || n > behind)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "operation %u: the number of an if says how many of the %u operations "
                         "behind it hang on it, 1 at least; without one all of the pipeline does",
                         i, behind);
    op->decides = (uint32_t)n;
    op->nargs--;
    return 0;
}

/* `behind`: how many come after it. */
/* Whether it leaves all unique fields alone: what ends a document only sets their values free. */
static bool spares_unique(const struct call *c, const struct planned *op, struct cursor args)
{
    if (op->kind < OP_COUNT)
        return params_spare_unique(c, op->doc, args);
    return op->kind != PLANNED_SAVE && op->kind != PLANNED_GET_OR_CREATE &&
           op->kind != PLANNED_DUPLICATE;
}

static int read_op(struct call *c, struct cursor *in, uint32_t i, uint32_t behind,
                   struct planned *op, struct fault *f)
{
    uint32_t n;
    const char *name, *key;
    size_t name_len, key_len;
    if (cursor_array(in, &n) < 0 || n < 2 || cursor_str(in, &name, &name_len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "operation %u should be [method, key, ...], as in [\"list.append\", "
                         "\"User:42\", \"tags\", \"x\"]",
                         i);
    op->kind = kind_by_name(name, name_len);
    if (op->kind < 0)
        return fault_set(
            f, FAULT_UNKNOWN_METHOD,
            "operation %u: '%.*s' cannot be in a pipeline; the operations on fields, "
            "lists, dicts, sets and sorted sets can, and if, doc.save, doc.get_or_create, "
            "doc.delete, doc.get, "
            "doc.load, doc.exists, doc.ttl, doc.persist, doc.duplicate",
            i, (int)(name_len > 100 ? 100 : name_len), name);
    if (check_count(op->kind, n - 1, i, f) < 0 ||
        params_str(in, "the key of an operation", &key, &key_len, f) < 0)
        return -1;
    c->asks = kind_name(op->kind);
    c->needs = only_reads(op->kind, n - 1) ? RIGHT_READ : RIGHT_WRITE;
    op->doc = call_doc(c, key, key_len, f);
    op->args = (size_t)(in->at - c->request.params.at);
    op->nargs = n - 2;
    op->decides = 0;
    struct cursor args = *in;
    for (uint32_t arg = 0; arg < op->nargs; arg++)
        cursor_skip(in);
    if (op->doc == NULL)
        return -1;
    c->spares_unique = c->spares_unique && spares_unique(c, op, args);
    if (op->kind < OP_COUNT && params_elsewhere(c, (enum op_kind)op->kind, args, f) < 0)
        return -1;
    if (op->kind != PLANNED_DUPLICATE)
        return read_decides(args, op, i, behind, f);
    op->to = doc_copy_target(c, op->doc, &args, op->nargs > 0, f);
    return op->to != NULL ? 0 : -1;
}

static void add_version(struct call *c, struct doc *d, int64_t version)
{
    struct buf key = BUF_INIT;
    layout_key(&key, exec_names(c->exec), d->key, d->key_len, "", 0);
    struct guard_check check = {.kind = GUARD_VERSION,
                                .key = (char *)key.data,
                                .key_len = key.len,
                                .number = version,
                                .name = d->key,
                                .doc = d};
    guard_add(c->guard, &check);
    buf_free(&key);
}

/* N when the pipeline is about one document, or {key: N, ...}. */
static int read_versions(struct call *c, struct cursor *in, struct fault *f)
{
    uint32_t m = 1;
    bool many = cursor_map(in, &m) == 0;
    for (; m > 0; m--) {
        const char *key = "";
        size_t len;
        int64_t version;
        struct doc *d = c->ndocs > 0 ? c->docs[0] : NULL;
        if (many && params_str(in, "a key in if_version", &key, &len, f) < 0)
            return -1;
        if (many) {
            c->asks = c->request.method->name;
            c->needs = RIGHT_READ;
            d = call_doc(c, key, len, f);
        }
        if (many && d == NULL)
            return -1;
        if ((!many && c->ndocs != 1) || cursor_int(in, &version) < 0)
            return fault_set(f, FAULT_BAD_REQUEST,
                             "if_version should be the expected version of the one document, "
                             "or a map of key to version (0: must not exist)");
        add_version(c, d, version);
    }
    return 0;
}

/* A map {if_version?, lock?}, each at most once. */
static int read_options(struct call *c, struct cursor in, bool lock, struct fault *f)
{
    uint32_t n;
    bool given[2] = {false, false};
    if (cursor_nil(&in))
        return 0;
    if (cursor_map(&in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the options should be a map {if_version?%s}",
                         lock ? ", lock?" : "");
    for (; n > 0; n--) {
        const char *name;
        size_t len;
        if (params_str(&in, "an option's name", &name, &len, f) < 0)
            return -1;
        bool version = len == 10 && memcmp(name, "if_version", 10) == 0;
        if (!version && !(lock && len == 4 && memcmp(name, "lock", 4) == 0))
            return fault_set(f, FAULT_BAD_REQUEST,
                             "there is no option '%.*s'; there is if_version%s",
                             (int)(len > 100 ? 100 : len), name, lock ? ", and lock" : "");
        if (given[version])
            return fault_set(f, FAULT_BAD_REQUEST, "the option %.*s is given twice", (int)len,
                             name);
        given[version] = true;
        if (c->guard == NULL)
            c->guard = guard_new();
        if ((version ? read_versions(c, &in, f) : lock_tokens_read(c, &in, f)) < 0)
            return -1;
    }
    return 0;
}

static int check_versions(struct call *c, struct fault *f)
{
    for (unsigned i = 0; c->guard != NULL && i < c->guard->n; i++) {
        const struct guard_check *check = &c->guard->checks[i];
        if (check->kind != GUARD_VERSION)
            continue;
        int64_t now = check->doc->state == DOC_PRESENT ? check->doc->version : 0;
        if (now != check->number)
            return fault_set(f, FAULT_CONFLICT,
                             "%s has version %" PRId64 ", and %" PRId64 " was expected",
                             check->doc->key, now, check->number);
    }
    return 0;
}

int pipeline_admit(struct call *c, struct cursor in, bool options, bool lock, struct fault *f)
{
    struct planned op;
    uint32_t n;
    if (cursor_array(&in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "the operations should be a list [[method, key, ...], ...]");
    c->spares_unique = true;
    for (uint32_t i = 0; i < n; i++) {
        if (read_op(c, &in, i, n - i - 1, &op, f) < 0)
            return -1;
        buf_append(&c->plan, &op, sizeof(op));
    }
    return options ? read_options(c, in, lock, f) : 0;
}

static int pipeline_docs(struct call *c, struct fault *f)
{
    if (params_count(c, 1, 2, "[[[method, key, ...], ...], {if_version?, lock?}?]", f) < 0)
        return -1;
    return pipeline_admit(c, c->request.params, c->request.nparams == 2, true, f);
}

/* ---- one operation ---- */

static void swap_root(struct call *c, struct rehearsal *r, struct doc *d, struct record *root)
{
    vec_push(r->swapped, r->n, r->cap, (struct swapped){d, d->root, d->expires, d->state});
    d->root = root;
    d->growths = schema_growths(exec_schema(c->exec));
    d->state = root != NULL ? DOC_PRESENT : DOC_ABSENT;
    d->expires = root != NULL ? doc_new_deadline(d) : 0;
}

static enum op_status run_save(struct call *c, struct doc *d, struct cursor *in, bool options,
                               struct rehearsal *r, struct buf *out)
{
    struct record *root;
    bool reset = false;
    if (doc_keys_known(c, d) != OP_DONE)
        return OP_NEEDS;
    if (r != NULL && doc_whole_check(c, d) < 0)
        return OP_REFUSED;
    enum op_status st = doc_build(c, d, in, &root);
    if (st != OP_DONE)
        return st;
    if (options && doc_save_options(in, &reset, &c->fault) < 0) {
        record_free(root);
        return OP_REFUSED;
    }
    if (r != NULL) {
        int64_t deadline = doc_keeps_deadline(d, reset) ? d->expires : doc_new_deadline(d);
        call_computes(c, d);
        swap_root(c, r, d, root);
        d->expires = deadline;
        doc_pack_saved(d, NULL, out);
    } else {
        doc_replace(c, d, root, reset);
        doc_pack_saved(d, c, out);
    }
    return OP_DONE;
}

static enum op_status run_delete(struct call *c, struct doc *d, struct rehearsal *r,
                                 struct buf *out)
{
    bool there = d->state == DOC_PRESENT;
    call_computes(c, d); /* whether it was there is the answer */
    if (there && doc_keys_known(c, d) != OP_DONE)
        return OP_NEEDS;
    if (there && r != NULL && doc_whole_check(c, d) < 0)
        return OP_REFUSED;
    if (there && r != NULL) {
        call_computes(c, d);
        swap_root(c, r, d, NULL);
    } else if (there)
        doc_remove(c, d);
    pack_int(out, there);
    return OP_DONE;
}

/* The document as the map makes it, if there is none. */
static enum op_status run_get_or_create(struct call *c, struct doc *d, struct cursor *in,
                                        struct rehearsal *r, struct buf *out)
{
    bool create = d->state == DOC_ABSENT;
    struct buf saved = BUF_INIT;
    enum op_status st = create ? run_save(c, d, in, false, r, &saved) : OP_DONE;
    buf_free(&saved);
    if (st != OP_DONE)
        return st;
    if (create && r == NULL)
        call_computes(c, d); /* as doc.insert */
    pack_map(out, 3);
    pack_cstr(out, "created");
    pack_bool(out, create);
    pack_cstr(out, "version");
    if (r == NULL)
        call_pack_version(c, d, out);
    else
        pack_int(out, INT64_MAX);
    pack_cstr(out, "document");
    return doc_pack(c, d, out);
}

/* Gives it another deadline, 0: none. */
static enum op_status run_expire(struct call *c, struct doc *d, int64_t at, struct rehearsal *r)
{
    enum op_status st = doc_keys_known(c, d);
    if (st != OP_DONE)
        return st;
    if (r == NULL) {
        doc_expire_at(c, d, at);
        return OP_DONE;
    }
    if (doc_whole_check(c, d) < 0)
        return OP_REFUSED;
    call_computes(c, d);
    vec_push(r->swapped, r->n, r->cap, (struct swapped){d, d->root, d->expires, d->state});
    d->expires = at;
    return OP_DONE;
}

static enum op_status run_ttl(struct call *c, struct doc *d, struct cursor *in, uint32_t nargs,
                              struct rehearsal *r, struct buf *out)
{
    int64_t seconds, now = clock_wall_ms(), left = d->expires - now;
    if (nargs == 0) {
        call_computes(c, d);
        pack_int(out, d->expires == 0 ? -1 : left <= 0 ? 0 : (left + 999) / 1000);
        return OP_DONE;
    }
    if (cursor_int(in, &seconds) < 0 || seconds < 0 || seconds > INT32_MAX)
        return fault_set(&c->fault, FAULT_BAD_REQUEST,
                         "the time to live should be an int of seconds, 0 (for ever) to %d",
                         INT32_MAX);
    pack_int(out, seconds);
    return run_expire(c, d, seconds == 0 ? 0 : now + seconds * 1000, r);
}

static enum op_status run_persist(struct call *c, struct doc *d, struct rehearsal *r,
                                  struct buf *out)
{
    bool had = d->expires != 0;
    pack_bool(out, had);
    return had ? run_expire(c, d, 0, r) : OP_DONE;
}

static enum op_status run_duplicate(struct call *c, struct doc *from, struct doc *to,
                                    struct rehearsal *r, struct buf *out)
{
    struct record *copy;
    enum op_status st = doc_copy(c, from, to, &copy);
    if (st != OP_DONE)
        return st;
    if (r != NULL)
        swap_root(c, r, to, copy);
    else
        doc_replace(c, to, copy, true);
    doc_pack_saved(to, r == NULL ? c : NULL, out);
    return OP_DONE;
}

static enum op_status run_planned(struct call *c, const struct planned *op, struct rehearsal *r,
                                  struct buf *out)
{
    struct doc *d = op->doc;
    struct cursor in = {c->request.params.at + op->args, c->request.params.end};
    if (op->kind == PLANNED_SAVE)
        return run_save(c, d, &in, op->nargs == 2, r, out);
    if (op->kind == PLANNED_GET_OR_CREATE)
        return run_get_or_create(c, d, &in, r, out);
    if (op->kind == PLANNED_DELETE)
        return run_delete(c, d, r, out);
    if (op->kind == PLANNED_EXISTS) {
        call_computes(c, d);
        pack_int(out, d->state == DOC_PRESENT);
        return OP_DONE;
    }
    if (op->kind == OP_IF)
        return run_condition(c, d, &in, op->nargs, r != NULL ? r->undo : NULL, out);
    enum op_status st = call_there(c, d); /* it was known at the beginning */
    if (st != OP_DONE)
        return st;
    if (op->kind == PLANNED_GET) {
        call_computes(c, d);
        return doc_pack(c, d, out);
    }
    if (op->kind == PLANNED_DUPLICATE)
        return run_duplicate(c, d, op->to, r, out);
    if (op->kind == PLANNED_TTL)
        return run_ttl(c, d, &in, op->nargs, r, out);
    if (op->kind == PLANNED_PERSIST)
        return run_persist(c, d, r, out);
    return run_op(c, d, (enum op_kind)op->kind, &in, op->nargs, r != NULL ? r->undo : NULL, out);
}

/* An `if` that does not hold. */
static enum op_status refuse_condition(struct call *c, const struct planned *op)
{
    struct cursor in = {c->request.params.at + op->args, c->request.params.end};
    struct buf tests = BUF_INIT;
    const char *path = "";
    size_t len = 0;
    (void)cursor_str(&in, &path, &len);
    if_say(in, &tests);
    buf_append(&tests, "", 1);
    if (len == 0)
        fault_set(&c->fault, FAULT_CONFLICT, "%s is not %s", op->doc->key, (char *)tests.data);
    else
        fault_set(&c->fault, FAULT_CONFLICT, "'%.*s' of %s is not %s", (int)(len > 100 ? 100 : len),
                  path, op->doc->key, (char *)tests.data);
    buf_free(&tests);
    return OP_REFUSED;
}

/* What follows from the answer of an `if` at out[at..]: *skip operations are left out. */
static enum op_status follow_condition(struct call *c, const struct planned *op, size_t at,
                                       const struct buf *out, uint32_t *skip)
{
    struct cursor in = cursor_of(out->data + at, out->len - at);
    bool holds = true;
    if (op->kind != OP_IF || cursor_bool(&in, &holds) < 0 || holds)
        return OP_DONE;
    *skip = op->decides;
    return op->decides > 0 ? OP_DONE : refuse_condition(c, op);
}

/* All operations in order; a refusal says which one it was. What is missing is collected over
 * all of them, as far as they can go on without it. */
static enum op_status run_all(struct call *c, struct rehearsal *r, struct buf *out)
{
    const struct planned *plan = (const struct planned *)c->plan.data;
    uint32_t n = (uint32_t)(c->plan.len / sizeof(*plan)), skip = 0;
    enum op_status all = OP_DONE;
    pack_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        work_add(1, WORK_OPERATION);
        if (skip > 0) {
            skip--;
            pack_nil(out);
            continue;
        }
        size_t at = out->len;
        enum op_status st = run_planned(c, &plan[i], r, out);
        if (st == OP_DONE)
            st = follow_condition(c, &plan[i], at, out, &skip);
        if (r != NULL && st != OP_REFUSED && (call_room(c, out) < 0 || work_check(&c->fault) < 0))
            return OP_REFUSED;
        if (st == OP_REFUSED && all == OP_DONE) {
            struct fault why = c->fault;
            return fault_set(&c->fault, why.code, "operation %u (%s): %s", i,
                             kind_name(plan[i].kind), why.text);
        }
        if (st != OP_DONE)
            all = OP_NEEDS;
    }
    return all;
}

static void end_rehearsal(struct rehearsal *r)
{
    undo_rollback(r->undo);
    while (r->n > 0) {
        struct swapped *s = &r->swapped[--r->n];
        if (s->doc->root != s->root)
            record_free(s->doc->root);
        s->doc->root = s->root;
        s->doc->expires = s->expires;
        s->doc->state = s->state;
    }
    free(r->swapped);
    undo_free(r->undo);
}

enum op_status pipeline_perform(struct call *c, struct buf *out)
{
    enum op_status st = OP_DONE;
    c->all_or_nothing = c->run.unbroken = true;
    for (unsigned i = 0; i < c->ndocs; i++) {
        if (call_known(c, c->docs[i]) != OP_DONE)
            st = OP_NEEDS;
    }
    if (st != OP_DONE)
        return st;
    if (call_admit(c) < 0 || lock_tokens_check(c, &c->fault) < 0 ||
        check_versions(c, &c->fault) < 0)
        return OP_REFUSED;
    struct rehearsal r = {.undo = undo_new()};
    st = run_all(c, &r, out);
    end_rehearsal(&r);
    if (st != OP_DONE)
        return st;
    buf_clear(out);
    c->run.work.ns = 0; /* it was added up, and let through */
    c->run.work.room = NULL;
    return run_all(c, NULL, out);
}

const struct method methods_pipeline[] = {
    {.name = "pipeline", .docs = pipeline_docs, .run = pipeline_perform, .shows = true},
    {.name = NULL},
};
