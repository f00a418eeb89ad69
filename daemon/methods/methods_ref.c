/* methods_ref: documents that others name, in fields of type ref<Model>.
 *
 *   ref.get [key, path] ──► read the reference ──► doc.get of what it names
 *
 * Two calls, one after the other: which document the second is about is known only when the first
 * was carried out.
 */
#include "daemon/methods/methods.h"
#include "protocol/place.h"

static int ref_docs(struct call *c, struct fault *f)
{
    const char *key;
    size_t len;
    if (params_count(c, 2, 2, "[key, path]", f) < 0 ||
        params_str(&c->request.params, "the key", &key, &len, f) < 0)
        return -1;
    return call_doc(c, key, len, f) != NULL ? 0 : -1;
}

/* Where a path leads within a value of this type, to which so much of it has led. NULL: to nothing.
 */
static const struct type *type_inside(const struct type *t, const char *path, size_t len,
                                      size_t from)
{
    struct path_reader r;
    struct step s;
    struct fault ignored;
    int more = 0;
    path_read(&r, path, len);
    path_skip(&r, from);
    while (t != NULL && (more = path_next(&r, &s, &ignored)) > 0) {
        const struct type *in = type_bare(t);
        int field =
            in->kind == TYPE_MODEL && s.kind == STEP_NAME ? model_field(in->model, s.s, s.len) : -1;
        bool sub = (in->kind == TYPE_LIST && s.kind == STEP_INDEX) ||
                   (in->kind == TYPE_DICT && s.kind == STEP_KEY);
        t = field >= 0 ? in->model->fields[field].type : sub ? in->of : NULL;
    }
    return t != NULL && more == 0 ? t : NULL;
}

/* A reference, or a refusal: whatever else is there is none. */
static enum op_status check_ref(struct call *c, struct doc *d, struct cursor path)
{
    const char *s;
    size_t len;
    char name[TYPE_NAME_MAX];
    static const struct type document = {.kind = TYPE_ANY};
    if (params_str(&path, "the path", &s, &len, &c->fault) < 0)
        return OP_REFUSED;
    struct place *p = tree_alloc(sizeof(*p));
    struct needs needs = call_needs(c, d);
    enum op_status st = place_find(p, d->root, s, len, true, &needs, NULL, &c->fault);
    const struct type *t = p->type;
    if (st == OP_REFUSED && p->inside > 0) {
        t = type_inside(t, s, len, p->inside);
        st = OP_DONE;
    } else if (st == OP_DONE && t == NULL) {
        t = &document;
    }
    if (st == OP_DONE && (t == NULL || type_bare(t)->kind != TYPE_REF)) {
        fault_set(&c->fault, FAULT_BAD_TYPE, "ref.get needs a ref<Model>: '%.*s' is %s",
                  (int)(len < 160 ? len : 160), s,
                  t == NULL        ? "none"
                  : t == &document ? "the document"
                                   : type_name(t, name, sizeof(name)));
        st = OP_REFUSED;
    }
    tree_free(p);
    return st;
}

static enum op_status ref_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    enum op_status st = call_present(c, d);
    if (st != OP_DONE)
        return st;
    cursor_skip(&c->request.params);
    st = check_ref(c, d, c->request.params);
    return st == OP_DONE ? run_op(c, d, OP_LOAD, &c->request.params, 1, NULL, out) : st;
}

/* [document, or nil if it is not there]. */
static int named_docs(struct call *c, struct fault *f)
{
    const char *key;
    size_t len;
    if (params_str(&c->request.params, "the reference", &key, &len, f) < 0)
        return -1;
    return call_doc(c, key, len, f) != NULL ? 0 : -1;
}

static enum op_status named_run(struct call *c, struct buf *out)
{
    struct doc *d = call_doc_at(c, 0);
    enum op_status st = call_known(c, d);
    if (st != OP_DONE || d->state == DOC_PRESENT)
        return st == OP_DONE ? doc_pack(c, d, out) : st;
    return fault_set(&c->fault, FAULT_NOT_FOUND, "the reference leads to %s, which is not there",
                     d->key);
}

static const struct method named = {
    .name = "ref.get", .docs = named_docs, .run = named_run, .reads = true};

static void ref_finish(struct call *c, const struct fault *f, const struct buf *out)
{
    struct session *s = c->request.session;
    struct cursor in = f == NULL ? cursor_of(out->data, out->len) : (struct cursor){0};
    if (f != NULL)
        session_fault(s, c->request.id, f);
    else if (cursor_nil(&in))
        session_answer(s, c->request.id, out->data, out->len);
    else
        exec_call(c->exec, &named, s, c->request.id, in, 1, NULL);
}

const struct method methods_ref[] = {
    {.name = "ref.get", .docs = ref_docs, .run = ref_run, .finish = ref_finish, .reads = true},
    {.name = NULL},
};
