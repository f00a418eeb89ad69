/* effects: what operations change in a tree, told to the gathering batch as raw Redis strings. */
#include "daemon/documents/layout.h"
#include "daemon/exec/exec_inside.h"
#include "daemon/redis/resp.h"

static const struct stored *stored_as(const struct effect *e)
{
    return e->in != 0 ? stored_kinds[e->in] : &stored_hash;
}

/* What an element is called in Redis that is named by what it is: an empty one is somewhere, too.
 */
static const char *member_name(const struct buf *raw)
{
    return raw->data != NULL ? (const char *)raw->data : "";
}

/* A field by its name, with its value; or a member, with its score if it has one. */
static void field_set(struct batch *b, struct batch_doc *bd, const struct effect *e,
                      struct buf *raw)
{
    const struct stored *as = stored_as(e);
    if (!as->by_value) {
        const void *bytes;
        size_t raw_len;
        struct held *held = layout_lent(e->type, e->value, &bytes, &raw_len);
        if (held != NULL) {
            batch_field_lend(b, bd, as, e->suffix, e->suffix_len, e->field, e->field_len, bytes,
                             raw_len, held);
            return;
        }
        layout_raw(e->type, e->value, raw);
        batch_field_set(b, bd, as, e->suffix, e->suffix_len, e->field, e->field_len, raw->data,
                        raw->len);
        return;
    }
    layout_raw(e->type, e->value, raw);
    size_t len = raw->len;
    if (as->score >= 0)
        layout_score(e->score, raw);
    batch_field_set(b, bd, as, e->suffix, e->suffix_len, member_name(raw), len,
                    member_name(raw) + len, raw->len - len);
}

/* What is told of it is Redis' word. */
static const struct drift *member(struct batch *b, struct batch_doc *bd, const struct effect *e,
                                  struct buf *raw)
{
    const struct stored *as = stored_as(e);
    bool in = e->kind == EFFECT_FIELD_SET;
    buf_clear(raw);
    layout_raw(e->type, e->value, raw);
    size_t len = raw->len;
    if (in && as->score >= 0)
        layout_score(e->score, raw);
    const char *name = member_name(raw);
    return batch_member(b, bd, as, e->suffix, e->suffix_len, in, name, len, name + len,
                        raw->len - len, e->now);
}

static void field_del(struct batch *b, struct batch_doc *bd, const struct effect *e,
                      const struct buf *raw)
{
    const struct stored *as = stored_as(e);
    if (as->by_value)
        batch_field_del(b, bd, as, e->suffix, e->suffix_len, member_name(raw), raw->len);
    else
        batch_field_del(b, bd, as, e->suffix, e->suffix_len, e->field, e->field_len);
}

/* A length in an answer is that of one list: when an operation pushes to several (elements with
 * lists of their own), the first is meant. */
static void note_push(struct call_effects *c, const struct effect *e, const struct drift *d)
{
    if (!c->told) {
        c->told = true;
        c->drift = d;
        c->suffix_len = e->suffix_len;
        if (c->suffix_len <= sizeof(c->suffix))
            memcpy(c->suffix, e->suffix, e->suffix_len);
    } else if (d != NULL && c->suffix_len == e->suffix_len && e->suffix_len <= sizeof(c->suffix) &&
               memcmp(c->suffix, e->suffix, e->suffix_len) == 0) {
        c->drift = d;
    }
}

/* What a field was that documents are found by: its entry in an index goes. */
static void note_was(struct call_effects *c, struct batch *b, struct batch_doc *bd,
                     const struct effect *e)
{
    if (e->was == NULL || e->suffix_len > 0)
        return;
    const struct indexes *all = indexes_of(c->call->exec->indexes, c->doc->model);
    const struct index *ix = index_of_field(all, e->field, e->field_len);
    if (ix == NULL)
        return;
    struct buf *raw = &c->call->exec->raw;
    const char *was = ix->fallback;
    size_t len = ix->fallback_len;
    buf_clear(raw);
    if (cell_is_value(e->was)) {
        layout_raw(e->type, e->was, raw);
        was = raw->len > 0 ? (char *)raw->data : ""; /* not NULL, which is null */
        len = raw->len;
    }
    batch_field_was(b, bd, e->suffix, e->suffix_len, e->field, e->field_len, was, len);
}

static bool is_unique(const struct call_effects *c, const struct effect *e)
{
    if (!c->call->writes_unique || e->suffix_len > 0)
        return false;
    const struct indexes *all = indexes_of(c->call->exec->indexes, c->doc->model);
    for (unsigned i = 0; all != NULL && i < all->n; i++) {
        const struct index *ix = &all->all[i];
        if (ix->unique && strlen(ix->name) == e->field_len &&
            memcmp(ix->name, e->field, e->field_len) == 0)
            return true;
    }
    return false;
}

/* What is unique is looked for before it is written, so it is said what it comes to: as the part
 * relies upon what there is (call_stage), that is true. */
static const struct drift *set_number(struct batch *b, struct batch_doc *bd, const struct effect *e)
{
    char text[RESP_DECIMAL_MAX];
    size_t len = resp_decimal(text, e->now);
    batch_field_set(b, bd, &stored_hash, e->suffix, e->suffix_len, e->field, e->field_len, text,
                    len);
    return NULL;
}

void call_effect(void *arg, const struct effect *e)
{
    struct call_effects *c = arg;
    if (c->computes)
        call_computes(c->call, c->doc);
    struct batch_doc *bd = call_stage(c->call, c->doc);
    struct batch *b = c->doc->batch;
    const char *key = e->suffix;
    size_t len = e->suffix_len;
    struct buf *raw = &c->call->exec->raw;
    buf_clear(raw);
    if (e->value != NULL && e->kind != EFFECT_FIELD_INCR && e->kind != EFFECT_FIELD_SET)
        layout_raw(e->type, e->value, raw);
    if (e->told) {
        c->drift = member(b, bd, e, raw);
        return;
    }
    switch (e->kind) {
    case EFFECT_FIELD_SET: field_set(b, bd, e, raw); break;
    case EFFECT_FIELD_INCR:
        c->drift = is_unique(c, e)
                       ? set_number(b, bd, e)
                       : batch_hash_incr(b, bd, key, len, e->field, e->field_len, e->by, e->now);
        break;
    case EFFECT_FIELD_DEL:
        field_del(b, bd, e, raw);
        if (e->end != END_NONE && !c->call->all_or_nothing)
            call_pops(c->call, e, batch_pop(b, bd, e->end == END_HIGHEST, e->score));
        break;
    case EFFECT_PUSH:
    case EFFECT_PUSH_FRONT:
        note_push(
            c, e,
            batch_list_push(b, bd, key, len, e->kind == EFFECT_PUSH_FRONT, raw->data, raw->len));
        break;
    case EFFECT_LIST_SET: batch_list_set(b, bd, key, len, e->index, raw->data, raw->len); break;
    case EFFECT_LIST_INSERT:
        note_push(c, e, NULL); /* what is pushed next is to lists within the element */
        batch_list_insert(b, bd, key, len, e->index, raw->data, raw->len);
        break;
    case EFFECT_LIST_REMOVE:
        batch_list_remove(b, bd, key, len, e->index, e->count, e->len_before);
        break;
    case EFFECT_DROP: batch_drop(b, bd, key, len); break;
    }
    note_was(c, b, bd, e);
}
