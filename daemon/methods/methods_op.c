/* methods_op: the operations of the wire table, one document each. */
#include "daemon/base/clock.h"
#include "daemon/exec/purge.h"
#include "daemon/methods/methods.h"

int params_count(const struct call *c, unsigned lo, unsigned hi, const char *form, struct fault *f)
{
    if (c->request.nparams >= lo && c->request.nparams <= hi)
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST, "%s takes %s, and got %u parameter%s",
                     c->request.method->name, form, c->request.nparams,
                     c->request.nparams == 1 ? "" : "s");
}

int params_str(struct cursor *c, const char *what, const char **s, size_t *len, struct fault *f)
{
    struct item it;
    if (cursor_str(c, s, len) == 0)
        return 0;
    return fault_set(f, FAULT_BAD_REQUEST, "%s should be a str, found %s", what,
                     cursor_peek(c, &it) < 0 ? "nothing" : item_kind_name(it.kind));
}

int params_elsewhere(struct call *c, enum op_kind kind, struct cursor args, struct fault *f)
{
    const char *key;
    size_t len;
    cursor_skip(&args); /* the path */
    if (!op_elsewhere(kind, args, &key, &len))
        return 0;
    return call_doc(c, key, len, f) != NULL ? 0 : -1;
}

bool params_spare_unique(const struct call *c, const struct doc *d, struct cursor args)
{
    const char *path;
    size_t len;
    return cursor_str(&args, &path, &len) == 0 && call_spares_unique(c, d, path, len);
}

static int op_docs(struct call *c, struct fault *f)
{
    const struct op_info *info = c->request.method->arg;
    const char *key;
    size_t len;
    unsigned lo = 2u + info->min_args, hi = 2u + info->max_args;
    if (c->request.nparams < lo || c->request.nparams > hi)
        return fault_set(f, FAULT_BAD_REQUEST,
                         "%s takes [key, path%s, and got %u parameter%s (it takes %u%s)",
                         info->name, info->max_args > 0 ? ", ...]" : "]", c->request.nparams,
                         c->request.nparams == 1 ? "" : "s", lo, hi > lo ? " or one more" : "");
    if (params_str(&c->request.params, "the key", &key, &len, f) < 0)
        return -1;
    struct doc *d = call_doc(c, key, len, f);
    if (d == NULL)
        return -1;
    c->spares_unique = params_spare_unique(c, d, c->request.params);
    return params_elsewhere(c, (enum op_kind)(info - op_infos), c->request.params, f);
}

/* An operation under way, for what it has to ask. */
struct operand {
    struct call *call;
    struct doc *doc;
    bool exact; /* what it takes from elsewhere must be so where it is applied */
};

/* The document of an operand, which docs() has named. */
static enum op_status elsewhere(void *arg, const char *key, size_t len, struct record **root,
                                struct needs *needs)
{
    const struct operand *o = arg;
    struct call *c = o->call;
    struct doc *d = NULL;
    for (unsigned i = 0; i < c->ndocs && d == NULL; i++) {
        if (c->docs[i]->key_len == len && memcmp(c->docs[i]->key, key, len) == 0)
            d = c->docs[i];
    }
    if (d == NULL)
        return fault_set(&c->fault, FAULT_INTERNAL, "%.*s was not named", (int)len, key);
    enum op_status st = call_present(c, d);
    if (o->exact && st != OP_NEEDS)
        call_computes(c, d);
    *root = d->root;
    *needs = call_needs(c, d);
    return st;
}

/* record_drop names every key of a document; these make it only look, and give each a deadline. */
static void look(void *arg, const struct effect *e)
{
    (void)arg;
    (void)e;
}

/* Of a part that was begun. */
static void expire(void *arg, const struct effect *e)
{
    struct call_effects *c = arg;
    struct batch_doc *bd = c->doc->staged;
    if (e->kind != EFFECT_DROP)
        return;
    batch_expire(call_batch(c->call, c->doc), bd, e->suffix, e->suffix_len);
}

enum op_status doc_keys_known(struct call *c, struct doc *d)
{
    if (d->condemned) { /* all of them go; then it is woken */
        if (!doc_dirty(d))
            purger_add(exec_purger(c->exec), d->key, d->key_len);
        return OP_NEEDS;
    }
    if (d->root == NULL)
        return OP_DONE;
    struct needs needs = call_needs(c, d);
    return record_drop(d->root, "", "", &needs, look, NULL);
}

int doc_whole_check(struct call *c, const struct doc *d)
{
    if (work_check(&c->fault) == 0)
        return 0;
    if (c->fault.code == FAULT_TOO_LARGE && work_exceeded())
        fault_set(
            &c->fault, FAULT_TOO_LARGE,
            "%s has too many elements for this: it would keep all others waiting for more than "
            "%llu ms (limits.max_work), by estimate; remove some of them first, or all by "
            "doc.delete alone, or raise that limit",
            d->key, (unsigned long long)exec_config(c->exec)->max_work);
    return -1;
}

/* All of its keys, which the tree must know. */
static void expire_all(struct call *c, struct doc *d, struct batch_doc *bd, int64_t at)
{
    struct call_effects e = {.call = c, .doc = d};
    struct needs needs = call_needs(c, d);
    d->expires = at;
    batch_deadline(bd, at);
    record_drop(d->root, "", "", &needs, expire, &e);
}

void doc_expire_at(struct call *c, struct doc *d, int64_t at)
{
    call_computes(c, d);
    expire_all(c, d, call_stage(c, d), at);
}

/* A deadline that was put off less than a hundredth of the ttl ago, or a second, is good for
 * another while: what is read all the time is not written all the time. */
static bool wants_touch(const struct doc *d, int64_t now)
{
    int64_t ttl = d->model->ttl * 1000, spare = ttl / 100 < 1000 ? ttl / 100 : 1000;
    return ttl > 0 && d->expires != 0 && d->expires < now + ttl - spare;
}

enum op_status doc_may_touch(struct call *c, struct doc *d, int64_t now)
{
    if (!wants_touch(d, now))
        return OP_DONE;
    if (doc_keys_known(c, d) != OP_DONE)
        return OP_NEEDS;
    return call_admit(c) < 0 || doc_whole_check(c, d) < 0 ? OP_REFUSED : OP_DONE;
}

void doc_touch(struct call *c, struct doc *d, int64_t now)
{
    if (!wants_touch(d, now))
        return;
    call_computes(c, d);
    expire_all(c, d, call_touch(c, d), now + d->model->ttl * 1000);
}

static int result_fits(void *arg, const struct buf *result)
{
    return call_room(arg, result);
}

enum op_status run_op(struct call *c, struct doc *d, enum op_kind kind, struct cursor *args,
                      uint32_t nargs, struct undo *rehearsal, struct buf *out)
{
    struct call_effects effects = {.call = c, .doc = d};
    struct needs needs = call_needs(c, d);
    struct operand operand = {c, d, op_infos[kind].writes || c->all_or_nothing};
    struct op op;
    struct op_run env = {.root = d->root,
                         .effects = rehearsal == NULL ? call_effect : NULL,
                         .effects_arg = &effects,
                         .undo = rehearsal,
                         .needs = &needs,
                         .max_value = exec_config(c->exec)->max_value,
                         .computes = &effects.computes,
                         .fits = result_fits,
                         .fits_arg = c,
                         .nothing = &c->run.nothing,
                         .elsewhere = elsewhere,
                         .elsewhere_arg = &operand,
                         .purge = d->corrupt,
                         .fault = &c->fault};
    if (op_parse(kind, args, nargs, &op, &c->fault) < 0)
        return OP_REFUSED;
    bool refresh = op_infos[kind].writes && d->model->refresh_ttl && d->model->ttl > 0;
    if (refresh && doc_keys_known(c, d) != OP_DONE)
        return OP_NEEDS;
    if (refresh && doc_whole_check(c, d) < 0)
        return OP_REFUSED;
    if (refresh)
        call_computes(c, d); /* as doc_expire_at, to which it comes when something was changed */
    size_t at = out->len, done = rehearsal != NULL ? undo_len(rehearsal) : 0;
    enum op_status st = op_run(&op, &env, out);
    if (st == OP_REFUSED && effects.computes)
        call_computes(c, d); /* it was refused for what is there */
    if (st != OP_DONE)
        return st;
    if (rehearsal != NULL) {
        /* What is read beside changes, or was there to change, is as of the same moment. */
        if (effects.computes || undo_len(rehearsal) == done)
            call_computes(c, d);
        if (op_infos[kind].result == RESULT_VERSION)
            pack_int(out, INT64_MAX); /* as long as any version */
        return OP_DONE;
    }
    if ((effects.computes || op_infos[kind].writes) && !call_touches(c, d))
        call_computes(c, d); /* that there is nothing to change */
    if (refresh && call_touches(c, d))
        doc_expire_at(c, d, clock_wall_ms() + d->model->ttl * 1000);
    if (op_infos[kind].result == RESULT_VERSION) {
        call_pack_version(c, d, out);
        return OP_DONE;
    }
    if (effects.drift == NULL)
        return OP_DONE;
    if (op_infos[kind].result == RESULT_LENGTH) {
        struct cursor in = cursor_of(out->data + at, out->len - at);
        int64_t len;
        if (cursor_int(&in, &len) == 0)
            batch_list_expect(effects.drift, len);
        call_correct(c, effects.drift, at, out);
    } else if (op_infos[kind].result == RESULT_NUMBER) {
        call_correct(c, effects.drift, at, out);
    }
    return OP_DONE;
}

enum op_status run_condition(struct call *c, struct doc *d, struct cursor *args, uint32_t nargs,
                             struct undo *rehearsal, struct buf *out)
{
    struct op op;
    if (d->state != DOC_ABSENT)
        return run_op(c, d, OP_IF, args, nargs, rehearsal, out);
    call_computes(c, d);
    if (op_parse(OP_IF, args, nargs, &op, &c->fault) < 0)
        return OP_REFUSED;
    return if_nothing(op.args, out, &c->fault);
}

static enum op_status if_method(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    enum op_status st = call_known(c, d);
    if (st != OP_DONE)
        return st;
    cursor_skip(&c->request.params);
    return run_condition(c, d, &c->request.params, c->request.nparams - 1, NULL, out);
}

static enum op_status op_method(struct call *c, struct buf *out)
{
    const struct op_info *info = c->request.method->arg;
    struct doc *d = call_doc_at(c, 0);
    if (info == &op_infos[OP_IF])
        return if_method(c, out);
    enum op_status st = call_present(c, d);
    if (st != OP_DONE)
        return st;
    cursor_skip(&c->request.params);
    if (info->writes && call_admit(c) < 0)
        return OP_REFUSED;
    return run_op(c, d, (enum op_kind)(info - op_infos), &c->request.params, c->request.nparams - 1,
                  NULL, out);
}

const struct method methods_op[OP_COUNT + 1] = {
#define OP_METHOD(id, wire, lo, hi, result, writes, into, run_op) \
    {.name = wire,                                                \
     .docs = op_docs,                                             \
     .run = op_method,                                            \
     .arg = &op_infos[OP_##id],                                   \
     .reads = !(writes)},
    OP_TABLE(OP_METHOD)
#undef OP_METHOD
};
