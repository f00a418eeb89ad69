/* check_claims: index.check in a cluster, of the claims of unique values (claims.h).
 *
 *   of keys       GET ─► whose? ─► HMGET: has it the value? ──no: left over──► revoke ─► release
 *   of documents  HMGET: which values, in which epoch? ─► GET: is it theirs? ──no: missing──► claim
 *
 * Each step is a question for each claim, to whoever has the slot; those of one slot one after the
 * other. What is left over is removed as somebody would who wants the value, so writes go on.
 */
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/claim_release_script.h"
#include "daemon/commit/claim_script.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/check_revoke_script.h"
#include "daemon/methods/index_check_inside.h"
#include "daemon/methods/scatter.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

enum claim_step { WHOSE, HAS_IT, REVOKE, RELEASE, REMOVE, VALUES, THEIRS, CLAIM, OVER };

/* A claim; or (VALUES) a document of which they are not known yet. */
struct claim_item {
    enum claim_step next;
    const struct index *index;
    struct buf key;   /* of the claim */
    struct buf pk;    /* the document's */
    struct buf value; /* of the field, as it was seen */
    bool there;       /* that it was */
    int64_t epoch;    /* of the claim, or its slot */
};

struct claim_check {
    struct check *check;
    struct scatter *scatter;
    struct claim_item *items;
    unsigned n, cap;
    uint16_t *slots;
    unsigned *which, nslots;
    void (*done)(struct check *c, const char *why);
    char why[200];
};

static const char *prefix_of(const struct claim_check *in)
{
    return exec_config(in->check->exec)->key_prefix;
}

static void root_of(const struct claim_check *in, const struct claim_item *t, struct buf *out)
{
    struct buf key = BUF_INIT;
    buf_printf(&key, "%s:", in->check->all->model->name);
    buf_append(&key, t->pk.data, t->pk.len);
    layout_key(out, exec_names(in->check->exec), (char *)key.data, key.len, "", 0);
    buf_free(&key);
}

static bool of_document(const struct claim_item *t)
{
    return t->next == HAS_IT || t->next == REVOKE || t->next == VALUES;
}

static uint16_t slot_of_item(const struct claim_check *in, const struct claim_item *t)
{
    struct buf root = BUF_INIT;
    if (!of_document(t))
        return slot_of((char *)t->key.data, t->key.len);
    root_of(in, t, &root);
    uint16_t slot = slot_of((char *)root.data, root.len);
    buf_free(&root);
    return slot;
}

static void items_free(struct claim_check *in)
{
    for (unsigned i = 0; i < in->n; i++) {
        buf_free(&in->items[i].key);
        buf_free(&in->items[i].pk);
        buf_free(&in->items[i].value);
    }
    in->n = 0;
}

void check_claims_free(struct claim_check *in)
{
    if (in == NULL)
        return;
    items_free(in);
    free(in->items);
    free(in->slots);
    free(in->which);
    free(in);
}

struct claim_check *check_claims_new(struct check *c, struct scatter *s,
                                     void (*done)(struct check *c, const char *why))
{
    struct claim_check *in = alloc_zeroed(1, sizeof(*in));
    *in = (struct claim_check){.check = c, .scatter = s, .done = done};
    return in;
}

/* ---- what is asked ---- */

static void words(struct buf *out, unsigned n, const struct buf *all)
{
    buf_printf(out, "*%u\r\n", n);
    for (unsigned i = 0; i < n; i++)
        resp_bulk(out, all[i].data, all[i].len);
}

#define TEXT(s) ((struct buf){.data = (uint8_t *)(uintptr_t)(s), .len = strlen(s)})

/* "@s" and the fields, beside the epoch. */
static void write_values(const struct claim_check *in, const struct buf *root,
                         const struct buf *epoch, struct buf *out)
{
    static const char script[] = "return {redis.pcall('HMGET',KEYS[1],'@s',unpack(ARGV)),"
                                 "redis.pcall('HGET',KEYS[2],'@v')}";
    const struct indexes *all = in->check->all;
    unsigned n = 0;
    for (unsigned i = 0; i < all->n; i++)
        n += all->all[i].unique;
    buf_printf(out, "*%u\r\n", 5 + n);
    resp_bulk(out, "EVAL", 4);
    resp_bulk(out, script, sizeof(script) - 1);
    resp_bulk(out, "2", 1);
    resp_bulk(out, root->data, root->len);
    resp_bulk(out, epoch->data, epoch->len);
    for (unsigned i = 0; i < all->n; i++) {
        if (all->all[i].unique)
            resp_bulk(out, all->all[i].name, strlen(all->all[i].name));
    }
}

static void write_item(const struct claim_check *in, const struct claim_item *t, uint16_t slot,
                       struct buf *out)
{
    struct buf root = BUF_INIT, key = BUF_INIT;
    char epoch[RESP_DECIMAL_MAX + 1], above[RESP_DECIMAL_MAX + 1];
    const char *field = t->index != NULL ? t->index->name : "";
    epoch[resp_decimal(epoch, t->epoch)] = '\0';
    above[resp_decimal(above, t->epoch + 1)] = '\0';
    unique_epoch_key(prefix_of(in), slot, &key);
    if (of_document(t))
        root_of(in, t, &root);
    switch (t->next) {
    case WHOSE:
    case THEIRS: words(out, 2, (struct buf[]){TEXT("GET"), t->key}); break;
    case HAS_IT: words(out, 4, (struct buf[]){TEXT("HMGET"), root, TEXT("@s"), TEXT(field)}); break;
    case REVOKE:
        words(out, 9,
              (struct buf[]){TEXT("EVAL"), TEXT(check_revoke_script), TEXT("2"), root, key,
                             TEXT(field), TEXT(t->there ? "1" : "0"), t->value, TEXT(epoch)});
        break;
    case RELEASE:
        words(out, 6,
              (struct buf[]){TEXT("EVAL"), TEXT(claim_release_script), TEXT("1"), t->key, t->pk,
                             TEXT(above)});
        break;
    case REMOVE: words(out, 2, (struct buf[]){TEXT("UNLINK"), t->key}); break;
    case CLAIM:
        words(out, 7,
              (struct buf[]){TEXT("EVAL"), TEXT(claim_script), TEXT("1"), t->key, t->pk,
                             TEXT(epoch), TEXT("")});
        break;
    case VALUES: write_values(in, &root, &key, out); break;
    case OVER: break;
    }
    buf_free(&root);
    buf_free(&key);
}

/* ---- what is answered ---- */

static bool is_text(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING;
}

/* "7 42"; false: it is no claim. */
static bool read_claim(const redisReply *r, int64_t *epoch, const char **pk, size_t *len)
{
    char *end;
    if (!is_text(r) || r->str[0] < '0' || r->str[0] > '9')
        return false;
    int64_t number = strtoll(r->str, &end, 10);
    if (*end != ' ' || end - r->str > 15) /* as in claim.lua */
        return false;
    *epoch = number;
    *pk = end + 1;
    *len = r->len - (size_t)(*pk - r->str);
    return true;
}

static bool is_of(const struct claim_check *in, const struct claim_item *t, const redisReply *value)
{
    struct buf key = BUF_INIT;
    unique_key(prefix_of(in), in->check->all->model, t->index, value->str, value->len, &key);
    bool same = key.len == t->key.len && memcmp(key.data, t->key.data, key.len) == 0;
    buf_free(&key);
    return same;
}

static void take_whose(struct claim_check *in, struct claim_item *t, const redisReply *r)
{
    const char *pk;
    size_t len;
    in->check->looked++;
    t->next = OVER;
    if (read_claim(r, &t->epoch, &pk, &len)) {
        buf_append(&t->pk, pk, len);
        t->next = HAS_IT;
    } else if (r->type != REDIS_REPLY_NIL) {
        check_note_spoilt(in->check, &t->key);
        t->next = in->check->repair ? REMOVE : OVER;
    }
}

static void take_has_it(struct claim_check *in, struct claim_item *t, const redisReply *r)
{
    bool known = r->type == REDIS_REPLY_ARRAY && r->elements == 2;
    t->next = OVER;
    t->there = known && is_text(r->element[0]) && is_text(r->element[1]);
    if (t->there && is_of(in, t, r->element[1]))
        return;
    if (t->there)
        buf_append(&t->value, r->element[1]->str, r->element[1]->len);
    in->check->left_over++;
    if (in->check->repair)
        t->next = REVOKE;
}

static void add_value(struct claim_check *in, unsigned at, const struct index *ix,
                      const redisReply *value, int64_t epoch)
{
    struct claim_item t = {.next = THEIRS, .index = ix, .epoch = epoch};
    buf_append(&t.pk, in->items[at].pk.data, in->items[at].pk.len);
    unique_key(prefix_of(in), in->check->all->model, ix, value->str, value->len, &t.key);
    vec_push(in->items, in->n, in->cap, t);
}

static void take_values(struct claim_check *in, unsigned at, const redisReply *r)
{
    const struct indexes *all = in->check->all;
    in->items[at].next = OVER;
    if (r->type != REDIS_REPLY_ARRAY || r->elements == 0 ||
        r->element[0]->type != REDIS_REPLY_ARRAY || r->element[0]->elements == 0 ||
        !is_text(r->element[0]->element[0]))
        return; /* it is gone, or no document */
    int64_t epoch =
        r->elements > 1 && is_text(r->element[1]) ? strtoll(r->element[1]->str, NULL, 10) : 0;
    for (unsigned i = 0, k = 1; i < all->n && k < r->element[0]->elements; i++) {
        if (!all->all[i].unique)
            continue;
        const redisReply *value = r->element[0]->element[k++];
        if (is_text(value) && !index_null(value->str, value->len))
            add_value(in, at, &all->all[i], value, epoch);
    }
}

static void take_theirs(struct claim_check *in, struct claim_item *t, const redisReply *r)
{
    const char *pk;
    size_t len;
    int64_t epoch;
    bool claim = read_claim(r, &epoch, &pk, &len);
    t->next = OVER;
    if (claim && len == t->pk.len && memcmp(pk, t->pk.data, len) == 0)
        return;
    in->check->missing++;
    if (in->check->repair)
        t->next = CLAIM;
}

static void take(void *arg, unsigned i, unsigned which, redisReply *reply,
                 const struct upstream *up)
{
    struct claim_check *in = arg;
    struct claim_item *t = &in->items[in->which[i]];
    (void)which;
    (void)up;
    if (reply->type == REDIS_REPLY_ERROR && t->next != WHOSE && t->next != THEIRS) {
        snprintf(in->why, sizeof(in->why), "%s", reply->str);
        t->next = OVER;
        return;
    }
    switch (t->next) {
    case WHOSE: take_whose(in, t, reply); break;
    case HAS_IT: take_has_it(in, t, reply); break;
    case REVOKE:
        t->next = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1 ? RELEASE : OVER;
        break;
    case VALUES: take_values(in, in->which[i], reply); break;
    case THEIRS: take_theirs(in, t, reply); break;
    case RELEASE:
    case REMOVE:
    case CLAIM:
    case OVER: t->next = OVER; break;
    }
}

/* ---- rounds ---- */

static void go_on(struct claim_check *in);

static void write_one(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct claim_check *in = arg;
    unsigned i = 0;
    (void)first;
    while (in->slots[i] != slot)
        i++;
    write_item(in, &in->items[in->which[i]], slot, out);
}

static void on_asked(void *arg, const char *why)
{
    struct claim_check *in = arg;
    if (why != NULL || in->why[0] != '\0')
        in->done(in->check, why != NULL ? why : in->why);
    else
        go_on(in);
}

static bool has_slot(const struct claim_check *in, uint16_t slot)
{
    unsigned i = 0;
    while (i < in->nslots && in->slots[i] != slot)
        i++;
    return i < in->nslots;
}

static void go_on(struct claim_check *in)
{
    static const struct scatter_asks asks = {1, write_one, take, on_asked};
    in->slots = alloc_resized(in->slots, in->n + 1, sizeof(*in->slots));
    in->which = alloc_resized(in->which, in->n + 1, sizeof(*in->which));
    in->nslots = 0;
    for (unsigned i = 0; i < in->n; i++) {
        if (in->items[i].next == OVER)
            continue;
        uint16_t slot = slot_of_item(in, &in->items[i]);
        if (has_slot(in, slot))
            continue;
        in->slots[in->nslots] = slot;
        in->which[in->nslots++] = i;
    }
    if (in->nslots > 0) {
        scatter_ask(in->scatter, in->slots, in->nslots, &asks, in);
        return;
    }
    items_free(in);
    in->done(in->check, NULL);
}

void check_claims_go(struct claim_check *in)
{
    go_on(in);
}

/* ---- of what ---- */

void check_claims_key(struct claim_check *in, const char *name, size_t len)
{
    const struct indexes *all = in->check->all;
    struct buf head = BUF_INIT;
    for (unsigned i = 0; i < all->n; i++) {
        struct claim_item t = {.next = WHOSE, .index = &all->all[i]};
        if (!t.index->unique)
            continue;
        buf_clear(&head);
        buf_printf(&head, "%s:@unique:%s/%s", prefix_of(in), all->model->name, t.index->path);
        if (len <= head.len || memcmp(name, head.data, head.len) != 0 ||
            (name[head.len] != '=' && name[head.len] != '#'))
            continue;
        buf_append(&t.key, name, len);
        vec_push(in->items, in->n, in->cap, t);
    }
    buf_free(&head);
}

void check_claims_document(struct claim_check *in, const char *pk, size_t len)
{
    struct claim_item t = {.next = VALUES};
    if (!in->check->all->unique)
        return;
    buf_append(&t.pk, pk, len);
    vec_push(in->items, in->n, in->cap, t);
}
