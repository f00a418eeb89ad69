/* index_check: compares the indexes of a model with its documents, some thousands in each request.
 *
 *   keys       SCAN ─► each key of an index, a page at a time: of what document is each entry?
 *   documents  SCAN ─► a page of documents: is each entry there?
 *
 * Each step is a script, which sees documents and entries of one moment; so writes go on. To
 * repair, spoilt keys are removed and their index noted as such, which has it built anew, entries
 * that are left over are taken out, and those that are missing put in.
 */
#include "daemon/commit/batch_index.h"
#include "daemon/documents/layout.h"
#include "daemon/methods/index_check_inside.h"
#include "daemon/methods/index_check_script.h"
#include "daemon/methods/methods.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/scan_place.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define KEYS_PAGE "500"
#define ENTRIES_PAGE "200" /* of one key; for each its document is read */
#define DOCUMENTS_PAGE "200"
#define NAMED_MAX 100 /* spoilt keys that an answer names */

void check_free(struct check *c)
{
    session_settle(c->session);
    session_unref(c->session);
    buf_free(&c->keys);
    buf_free(&c->key);
    buf_free(&c->member);
    buf_free(&c->spoilt);
    index_call_free(&c->page);
    check_slots_free(c);
    free(c);
}

void check_refuse(struct check *c, const struct fault *f)
{
    session_fault(c->session, c->id, f);
    check_free(c);
}

static const char *prefix_of(const struct check *c)
{
    return exec_config(c->exec)->key_prefix;
}

static struct upstream *upstream_of(const struct check *c)
{
    return lane_upstream(exec_lane(c->exec));
}

static void unavailable(struct check *c, const redisReply *reply)
{
    struct fault f;
    index_unanswered(upstream_of(c), reply, &f);
    check_refuse(c, &f);
}

static void ask(struct check *c, struct buf *out, upstream_reply_fn *fn)
{
    bool sent = upstream_send(upstream_of(c), out->data, out->len, 1, fn, c);
    buf_free(out);
    if (!sent)
        unavailable(c, NULL);
}

bool check_numbers(const redisReply *reply, size_t i, size_t n)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n)
        return false;
    for (; i < n; i++) {
        if (reply->element[i]->type != REDIS_REPLY_INTEGER)
            return false;
    }
    return true;
}

static uint64_t number(const redisReply *reply, size_t i)
{
    return (uint64_t)reply->element[i]->integer;
}

static void pack_count(struct buf *out, const char *name, uint64_t n)
{
    pack_cstr(out, name);
    pack_uint(out, n);
}

static void answer(struct check *c, bool more)
{
    struct buf *out = session_result(c->session, c->id);
    pack_map(out, 7);
    pack_count(out, "documents", c->ndocuments);
    pack_count(out, "entries", c->entries);
    pack_count(out, "missing", c->missing);
    pack_count(out, "left_over", c->left_over);
    pack_count(out, "undeclared", c->undeclared);
    pack_cstr(out, "spoilt");
    pack_array(out, c->nspoilt);
    buf_append(out, c->spoilt.data, c->spoilt.len);
    pack_cstr(out, "cursor");
    if (more) {
        struct buf text = BUF_INIT;
        buf_append(&text, c->documents ? "d" : "k", 1);
        if (c->slots != NULL)
            check_slots_place(c, &text);
        else
            scan_place_text(&c->place, &text);
        pack_str(out, (char *)text.data, text.len);
        buf_free(&text);
    } else {
        pack_nil(out);
    }
    session_done(c->session);
    check_free(c);
}

static void ask_page(struct check *c);

void check_page_done(struct check *c)
{
    if (!session_open(c->session)) {
        check_free(c); /* nobody waits any more */
        return;
    }
    if (strcmp(c->place.at, "0") == 0 && c->documents) {
        answer(c, false);
        return;
    }
    c->documents = c->documents || strcmp(c->place.at, "0") == 0;
    if (c->looked >= exec_config(c->exec)->find_documents)
        answer(c, true);
    else
        ask_page(c);
}

/* ---- documents ---- */

static void on_settled(void *arg, unsigned index, redisReply *reply)
{
    struct check *c = arg;
    (void)index;
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER)
        unavailable(c, reply);
    else
        check_page_done(c);
}

void check_take_documents(struct check *c, const redisReply *reply)
{
    c->ndocuments += number(reply, 0);
    c->entries += number(reply, 1);
    c->missing += number(reply, 2);
    c->looked += number(reply, 0);
}

static void on_compared(void *arg, unsigned index, redisReply *reply)
{
    struct check *c = arg;
    struct buf out = BUF_INIT;
    (void)index;
    if (reply == NULL || !check_numbers(reply, 0, 3)) {
        unavailable(c, reply);
        return;
    }
    check_take_documents(c, reply);
    if (!c->repair) {
        check_page_done(c);
        return;
    }
    index_call_flush(&c->page, INDEX_SETTLE, prefix_of(c), NULL, &out);
    ask(c, &out, on_settled);
}

static void compare_documents(struct check *c, const redisReply *found)
{
    struct buf out = BUF_INIT;
    index_call_free(&c->page);
    c->page = (struct index_call){0};
    for (size_t i = 0; i < found->elements; i++) {
        const redisReply *one = found->element[i];
        struct buf key = BUF_INIT;
        const char *suffix;
        size_t suffix_len = 0, head = strlen(c->all->model->name) + 1;
        if (layout_split(exec_names(c->exec), one->str, one->len, &key, &suffix, &suffix_len) &&
            suffix_len == 0 && key.len > head)
            index_call_add(&c->page, exec_names(c->exec), c->all, (char *)key.data + head,
                           key.len - head);
        buf_free(&key);
    }
    if (c->page.n == 0) {
        check_page_done(c);
        return;
    }
    index_call_format(&c->page, index_check_script, sizeof(index_check_script) - 1, "documents",
                      prefix_of(c), NULL, &out);
    ask(c, &out, on_compared);
}

/* ---- keys ---- */

static void next_key(struct check *c);
static void ask_key(struct check *c);

void check_note_spoilt(struct check *c, const struct buf *key)
{
    if (c->nspoilt == NAMED_MAX || !utf8_valid((char *)key->data, key->len))
        return;
    pack_str(&c->spoilt, (char *)key->data, key->len);
    c->nspoilt++;
}

void check_take_key(struct check *c, const redisReply *reply)
{
    c->looked += number(reply, 1);
    c->left_over += number(reply, 2);
    c->undeclared += number(reply, 4);
}

static void on_key(void *arg, unsigned index, redisReply *reply)
{
    struct check *c = arg;
    (void)index;
    if (reply == NULL || !check_numbers(reply, 1, 5) ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        unavailable(c, reply);
        return;
    }
    check_take_key(c, reply);
    if (number(reply, 3) != 0)
        check_note_spoilt(c, &c->key);
    buf_clear(&c->member);
    buf_append(&c->member, reply->element[0]->str, reply->element[0]->len);
    if (c->member.len == 1 && *c->member.data == '0')
        next_key(c);
    else
        ask_key(c);
}

void check_write_key(const struct check *c, const char *tag, const struct buf *key,
                     const struct buf *member, struct buf *out)
{
    struct buf text = BUF_INIT;
    const struct model *m = c->all->model;
    buf_printf(out, "*%u\r\n", 12 + (tag != NULL));
    resp_bulk(out, "EVAL", 4);
    resp_bulk(out, index_check_script, sizeof(index_check_script) - 1);
    resp_bulk(out, tag != NULL ? "2" : "1", 1);
    resp_bulk(out, key->data, key->len);
    if (tag != NULL) { /* as index_call_format */
        buf_printf(&text, "%s:@still{%s}", prefix_of(c), tag);
        resp_bulk(out, text.data, text.len);
        buf_clear(&text);
    }
    index_head(prefix_of(c), tag, &text);
    resp_bulk(out, "key", 3);
    resp_bulk(out, text.data, text.len);
    resp_bulk(out, m->name, strlen(m->name));
    resp_bulk(out, c->all->spec.data, c->all->spec.len);
    resp_bulk(out, member->data, member->len);
    resp_bulk(out, ENTRIES_PAGE, strlen(ENTRIES_PAGE));
    resp_bulk(out, c->repair ? "repair" : "", c->repair ? 6 : 0);
    resp_bulk(out, "tags", exec_names(c->exec)->tags ? 4 : 0);
    buf_free(&text);
}

static void ask_key(struct check *c)
{
    struct buf out = BUF_INIT;
    check_write_key(c, NULL, &c->key, &c->member, &out);
    ask(c, &out, on_key);
}

static void next_key(struct check *c)
{
    struct cursor in = cursor_of(c->keys.data + c->at, c->keys.len - c->at);
    const char *key;
    size_t len;
    if (cursor_str(&in, &key, &len) < 0) {
        check_page_done(c);
        return;
    }
    buf_clear(&c->key);
    buf_append(&c->key, key, len);
    buf_clear(&c->member);
    buf_append(&c->member, "0", 1);
    c->at = c->keys.len - (size_t)(in.end - in.at);
    ask_key(c);
}

/* ---- pages ---- */

static void on_page(void *arg, unsigned index, redisReply *reply)
{
    struct check *c = arg;
    (void)index;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY || reply->element[0]->len >= 24) {
        unavailable(c, reply);
        return;
    }
    strcpy(c->place.at, reply->element[0]->str);
    if (c->documents) {
        compare_documents(c, reply->element[1]);
        return;
    }
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        const redisReply *key = reply->element[1]->element[i];
        if (key->type == REDIS_REPLY_STRING)
            pack_str(&c->keys, key->str, key->len);
    }
    next_key(c);
}

static void ask_page(struct check *c)
{
    struct buf match = BUF_INIT, out = BUF_INIT;
    const char *model = c->all->model->name;
    if (c->slots != NULL) {
        check_slots_page(c);
        return;
    }
    scan_place_enter(&c->place, upstream_of(c));
    buf_clear(&c->keys);
    c->at = 0;
    layout_pattern(prefix_of(c), strlen(prefix_of(c)), &match);
    if (c->documents) {
        buf_printf(&match, ":{%s:*}", model);
    } else {
        buf_printf(&match, ":@index:%s/*", model);
        if (!c->begun) { /* that of what documents with a deadline have */
            char *key = alloc_text("%s:@index:%s", prefix_of(c), model);
            pack_cstr(&c->keys, key);
            free(key);
        }
    }
    c->begun = true;
    buf_append(&match, "", 1);
    resp_words(&out, "SCAN", c->place.at, "MATCH", (char *)match.data, "COUNT",
               c->documents ? DOCUMENTS_PAGE : KEYS_PAGE, c->documents ? "TYPE" : NULL, "hash",
               NULL);
    buf_free(&match);
    ask(c, &out, on_page);
}

/* ---- what is asked ---- */

static int read_cursor(struct check *c, const char *s, size_t len, struct fault *f)
{
    bool good = len >= 2 && (*s == 'k' || *s == 'd');
    if (good && c->slots != NULL)
        good = check_slots_read(c, s + 1, len - 1) == 0;
    else if (good)
        good = scan_place_read(&c->place, s + 1, len - 1);
    if (!good)
        return fault_set(f, FAULT_BAD_REQUEST, "the cursor is none that index.check has given");
    c->documents = *s == 'd';
    c->begun = true;
    return 0;
}

static int options(struct check *c, struct cursor *in, struct fault *f)
{
    uint32_t n;
    const char *name, *s;
    size_t len, s_len;
    if (cursor_nil(in))
        return 0;
    int rc = cursor_map(in, &n);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        if (params_str(in, "an option's name", &name, &len, f) < 0)
            return -1;
        if (len == 6 && memcmp(name, "repair", 6) == 0)
            rc = cursor_bool(in, &c->repair);
        else if (len == 6 && memcmp(name, "cursor", 6) == 0 && cursor_nil(in))
            continue;
        else if (len == 6 && memcmp(name, "cursor", 6) == 0 && cursor_str(in, &s, &s_len) == 0)
            rc = read_cursor(c, s, s_len, f);
        else
            rc = -1;
    }
    return rc == 0 ? 0
                   : fault_set(f, FAULT_BAD_REQUEST,
                               "index.check takes [model, {repair?, cursor?}?]: a bool, and the "
                               "cursor of the answer before");
}

void index_check_request(struct exec *e, const struct find_cluster *cluster, struct session *s,
                         const struct rpc *msg)
{
    struct check *c = alloc_zeroed(1, sizeof(*c));
    struct cursor in = msg->params;
    struct fault f;
    const char *name;
    size_t len;
    *c = (struct check){.exec = e, .session = session_ref(s), .id = msg->id};
    scan_place_begin(&c->place);
    if (cluster->scatter != NULL)
        check_slots_begin(c, cluster);
    session_defer(s);
    if (msg->nparams < 1 || msg->nparams > 2 || cursor_str(&in, &name, &len) < 0) {
        fault_set(&f, FAULT_BAD_REQUEST, "index.check takes [model, {repair?, cursor?}?]");
        check_refuse(c, &f);
        return;
    }
    c->all = index_model(e, name, len, &f);
    if (c->all == NULL || (msg->nparams == 2 && options(c, &in, &f) < 0)) {
        check_refuse(c, &f);
        return;
    }
    ask_page(c);
}
