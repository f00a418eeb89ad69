/* target: see target.h. */
#include "daemon/documents/target.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/stored.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include "protocol/path.h"
#include <stdio.h>
#include <stdlib.h>

#define RESERVE_MAX ((size_t)1 << 20) /* elements that Redis speaks of, and has not given yet */

void target_clear(struct target *t)
{
    for (size_t j = 0; j < t->nrecords; j++) {
        record_free(t->records[j]);
        if (t->keys != NULL)
            free(t->keys[j]);
    }
    free(t->records);
    free(t->keys);
    free(t->key_lens);
    free(t->spoilt);
    *t = (struct target){.type = t->type, .suffix = t->suffix, .suffix_len = t->suffix_len};
}

const char *wrong_type(char why[static WRONG_TYPE_MAX], const char *type)
{
    snprintf(why, WRONG_TYPE_MAX, "it should be a %s, but another program put something else there",
             type);
    return why;
}

void target_spoil(struct target *t, const char *why)
{
    t->last = true;
    if (t->spoilt == NULL)
        t->spoilt = alloc_copy(why, strlen(why));
}

/* Room for all that is to come, as far as it can be believed that it comes. */
static void reserve(struct container *c, size_t total, size_t n)
{
    size_t sure = n + RESERVE_MAX;
    container_reserve(c, total < n ? n : total < sure ? total : sure);
}

static void take_values(struct target *t, const redisReply *r)
{
    const struct stored *in = stored_of(t->type);
    struct container *node = t->cell->container;
    struct fault why = {.text = "it holds something that is no string"};
    container_set_loaded(node);
    reserve(node, t->total, r->elements / in->stride);
    for (size_t i = 0; i + in->stride <= r->elements; i += in->stride) {
        const redisReply *v = r->element[i + in->value];
        struct cell c = {0};
        struct element e = {.cell = &c};
        if (v->type != REDIS_REPLY_STRING ||
            layout_parse(t->type->of, v->str, v->len, &c, &why) < 0) {
            target_spoil(t, why.text);
            return;
        }
        if (in->key >= 0) {
            e.key = r->element[i + (size_t)in->key]->str;
            e.key_len = r->element[i + (size_t)in->key]->len;
            if (!utf8_valid(e.key, e.key_len)) {
                cell_free(&c);
                target_spoil(t, "a key in it is not UTF-8");
                return;
            }
        }
        if (in->score >= 0 &&
            !layout_read_score(r->element[i + (size_t)in->score]->str, &e.score)) {
            cell_free(&c);
            target_spoil(t, "a score in it is no finite number");
            return;
        }
        container_add(node, &e);
    }
}

/* The pks of atomic elements; their content comes with the next round. */
static void take_pks(struct target *t, const redisReply *r)
{
    const struct stored *in = stored_of(t->type);
    size_t n = r->elements / in->stride, had = t->nrecords;
    t->records = alloc_resized(t->records, had + n, sizeof(*t->records));
    if (in->key >= 0) {
        t->keys = alloc_resized(t->keys, had + n, sizeof(*t->keys));
        t->key_lens = alloc_resized(t->key_lens, had + n, sizeof(*t->key_lens));
    }
    for (size_t i = 0; i < n; i++) {
        const redisReply *pk = r->element[i * in->stride + in->value];
        struct fault why;
        if (pk->type != REDIS_REPLY_STRING || pk_check(pk->str, pk->len, &why) < 0) {
            target_spoil(t, "it should hold pks, and holds something else");
            continue;
        }
        if (in->key >= 0) {
            const redisReply *k = r->element[i * in->stride + (size_t)in->key];
            if (!utf8_valid(k->str, k->len))
                target_spoil(t, "a key in it is not UTF-8");
            t->keys[t->nrecords] = alloc_copy(k->str, k->len);
            t->key_lens[t->nrecords] = k->len;
        }
        t->records[t->nrecords] = record_new(t->type->of->model);
        t->records[t->nrecords++]->pk = cell_str(pk->str, pk->len);
    }
}

const char *target_suffix(const struct target *t, size_t i, struct buf *out)
{
    const char *pk;
    size_t len;
    buf_clear(out);
    buf_append(out, t->suffix, t->suffix_len);
    buf_append(out, "/", 1);
    if (cell_get_str(&t->records[i]->pk, &pk, &len) == 0)
        buf_append(out, pk, len);
    buf_append(out, "", 1);
    return (const char *)out->data;
}

void target_install(struct target *t)
{
    struct container *node = t->cell->container;
    container_set_loaded(node);
    container_reserve(node, t->nrecords);
    for (size_t i = 0; i < t->nrecords; i++) {
        struct cell c = {.record = t->records[i]};
        struct element e = {.cell = &c};
        c.kind = CELL_RECORD;
        t->records[i] = NULL;
        if (t->keys != NULL) {
            e.key = t->keys[i];
            e.key_len = t->key_lens[i];
        }
        container_add(node, &e);
    }
}

void target_take(struct target *t, const redisReply *r)
{
    if (t->page[0] != '\0' && r->type == REDIS_REPLY_ARRAY && r->elements == 2) {
        snprintf(t->page, sizeof(t->page), "%s", r->element[0]->str);
        t->last = strcmp(t->page, "0") == 0;
        r = r->element[1];
    }
    char why[WRONG_TYPE_MAX];
    if (r->type != REDIS_REPLY_ARRAY)
        target_spoil(t, wrong_type(why, stored_of(t->type)->type));
    else if (type_atomic(t->type->of))
        take_pks(t, r);
    else
        take_values(t, r);
}
