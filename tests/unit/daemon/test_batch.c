#include "daemon/base/hash.h"
#include "daemon/commit/batch.h"
#include "daemon/documents/stale.h"
#include "protocol/tree.h"
#include <criterion/criterion.h>
#include <stdlib.h>

#define PIECE (16 << 10)
#define KEY "rapyer:{User:a}"

static struct batch_pool *pool;
static struct batch_words words;
static struct batch *b;
static struct fault fault;
static struct doc *docs[4];
static unsigned ndocs;

static struct doc *doc_new(const char *key, int64_t version)
{
    struct doc *d = tree_alloc(sizeof(*d) + strlen(key) + 1);
    d->key_len = (uint16_t)strlen(key);
    strcpy(d->key, key);
    static const struct model without_fields;
    d->model = &without_fields;
    d->model_len = (uint16_t)strcspn(key, ":");
    d->state = DOC_PRESENT;
    d->version = version;
    docs[ndocs++] = d;
    return d;
}

static const struct names names = {.prefix = "rapyer"};

static void setup(void)
{
    hash_seed = 1;
    ndocs = 0;
    pool = batch_pool_new(&names, "me");
    batch_words_make(&words, "rapyer", "me", NULL);
    b = batch_new(pool, 7, &words);
}

static void teardown(void)
{
    batch_free(b);
    batch_pool_free(pool);
    batch_words_free(&words);
    while (ndocs > 0) {
        stale_free(docs[--ndocs]->stale);
        tree_free(docs[ndocs]);
    }
}

TestSuite(batch, .init = setup, .fini = teardown);

/* One more change of a document, as the executor stages it. */
static bool exact(struct batch_doc *bd, int64_t version)
{
    batch_unanswered(bd, version);
    return !bd->overtaken;
}

static struct batch_doc *stage(struct doc *d)
{
    struct batch_doc *bd = batch_doc(b, d, NULL);
    d->version++;
    batch_bump(bd, 1);
    return bd;
}

static void set(struct batch_doc *bd, const char *suffix, const char *field, const char *raw)
{
    batch_field_set(b, bd, &stored_hash, suffix, strlen(suffix), field, strlen(field), raw,
                    strlen(raw));
}

static const struct drift *incr(struct batch_doc *bd, const char *field, int64_t by, int64_t now)
{
    return batch_hash_incr(b, bd, "", 0, field, strlen(field), by, now);
}

static void del(struct batch_doc *bd, const char *suffix, const char *field)
{
    batch_field_del(b, bd, &stored_hash, suffix, strlen(suffix), field, strlen(field));
}

static const struct drift *push(struct batch_doc *bd, bool front, const char *raw, int64_t len)
{
    const struct drift *d = batch_list_push(b, bd, "/tags", 5, front, raw, strlen(raw));
    if (len > 0)
        batch_list_expect(d, len);
    return d;
}

static void add_line(struct buf *out, const redisReply *command)
{
    for (size_t i = 0; i < command->elements && i < 10; i++) {
        const redisReply *w = command->element[i];
        const char *gap = i > 0 ? " " : "";
        if (w->len > 60)
            buf_printf(out, "%s(%zu)", gap, w->len);
        else if (strncmp(w->str, KEY, strlen(KEY)) == 0)
            buf_printf(out, "%sK%s", gap, w->str + strlen(KEY));
        else
            buf_printf(out, "%s%s", gap, w->str);
    }
    if (command->elements > 10)
        buf_printf(out, " +%zu", command->elements - 10);
    buf_append(out, "\n", 1);
}

/* The commands of RESP bytes, one a line, with "K" for the document's root key; a word of more
 * than 60 bytes is only counted, and so are words past the tenth. */
static char *lines(const struct buf *resp)
{
    static struct buf out;
    redisReader *reader = redisReaderCreate();
    void *reply;
    buf_clear(&out);
    /* Piece by piece, as the reader moves all that it has for each KB that it took. */
    for (size_t at = 0, n; at < resp->len; at += n) {
        n = resp->len - at < PIECE ? resp->len - at : PIECE;
        redisReaderFeed(reader, (const char *)resp->data + at, n);
        while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
            add_line(&out, reply);
            freeReplyObject(reply);
        }
    }
    redisReaderFree(reader);
    buf_append(&out, "", 1);
    return (char *)out.data;
}

/* What the batch says between MULTI and the marker. */
static char *said(unsigned *ncommands)
{
    struct buf resp = BUF_INIT;
    struct batch_news news;
    unsigned n = batch_format(b, &news, &resp);
    char *text = lines(&resp), *tail = strstr(text, "SET rapyer:~seq:me 7\n");
    if (ncommands != NULL)
        *ncommands = n;
    cr_assert_eq(strncmp(text, "MULTI\n", 6), 0);
    cr_assert_not_null(tail, "no marker: %s", text);
    cr_assert_eq(strncmp(strchr(tail, '\n') + 1, "PUBLISH rapyer:@changes ", 24), 0);
    cr_assert_eq(strcmp(text + strlen(text) - 6, "\nEXEC\n"), 0);
    *tail = '\0';
    buf_free(&resp);
    return text + 6;
}

#define assert_said(text)                              \
    do {                                               \
        char *said_ = said(NULL);                      \
        cr_assert_str_eq(said_, text "", "%s", said_); \
    } while (0)

/* Gives EXEC's answer, without the marker's and PUBLISH's part. */
static int answer(const char *resp)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redisReaderFeed(reader, resp, strlen(resp));
    cr_assert_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
    cr_assert_not_null(reply);
    int rc = batch_answer(b, reply, &fault);
    freeReplyObject(reply);
    redisReaderFree(reader);
    return rc;
}

/* Whether there is a deadline that keys lack which may be new. */
#define LEFT "PTTL K\n"

Test(batch, many_sets_become_one)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    set(bd, "", "name", "x");
    stage(docs[0]);
    set(bd, "", "bio", "y");
    stage(docs[0]);
    set(bd, "", "name", "z");
    set(bd, "/counts", "k", "1");
    assert_said("HSET K name z bio y\n"
                "HSET K/counts k 1\n"
                "HINCRBY K @v 3\n" LEFT);
}

Test(batch, increments_are_summed)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    const struct drift *one = incr(bd, "age", 1, 11);
    const struct drift *two = incr(bd, "age", -4, 7);
    incr(bd, "n", 5, 5);
    assert_said("HINCRBY K age -3\n"
                "HINCRBY K n 5\n"
                "HINCRBY K @v 1\n");
    /* Somebody else added 100 to age: both answers move by as much. */
    cr_assert_eq(answer("*5\r\n:107\r\n:5\r\n:5\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_eq(one->by, 100);
    cr_assert_eq(two->by, 100);
    cr_assert_eq(bd->version.by, 0);
    cr_assert_not(bd->failed);
}

Test(batch, a_set_settles_increments)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    incr(bd, "age", 1, 11);
    set(bd, "", "age", "5");
    cr_assert_null(incr(bd, "age", 2, 7), "the number is certain");
    assert_said("HINCRBY K age 1\n" /* who was told 11 is told the truth by its answer */
                "HSET K age 7\n"
                "HINCRBY K @v 1\n");
}

Test(batch, a_deletion_settles_what_was_before)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    set(bd, "", "name", "x");
    incr(bd, "age", 1, 11);
    del(bd, "", "name");
    del(bd, "", "age");
    del(bd, "", "n");
    cr_assert_null(incr(bd, "n", 3, 3), "it starts from nothing");
    assert_said("HINCRBY K age 1\n"
                "HSET K n 3\n"
                "HDEL K name age\n"
                "HINCRBY K @v 1\n");
}

Test(batch, a_sum_that_does_not_fit_is_set)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    incr(bd, "age", INT64_MAX, 5);
    cr_assert_null(incr(bd, "age", 10, 15), "no HINCRBY can say that");
    assert_said("HINCRBY K age 9223372036854775807\n"
                "HSET K age 15\n"
                "HINCRBY K @v 1\n");
}

Test(batch, pushes_are_joined)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    const struct drift *first = push(bd, false, "a", 3);
    push(bd, false, "b", 4);
    const struct drift *front = push(bd, true, "c", 5);
    push(bd, true, "d", 6);
    push(bd, false, "e", 7);
    assert_said("RPUSH K/tags a b\n"
                "LPUSH K/tags c d\n"
                "RPUSH K/tags e\n"
                "HINCRBY K @v 1\n" LEFT);
    cr_assert_eq(answer("*7\r\n:6\r\n:8\r\n:9\r\n:6\r\n:-1\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_eq(first->by, 2);
    cr_assert_eq(front->by, 2);
    cr_assert_eq(bd->version.by, 1, "somebody else has written");
}

Test(batch, what_comes_between_parts_pushes)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    push(bd, false, "a", 1);
    batch_list_remove(b, bd, "/tags", 5, 0, 1, 3);
    push(bd, false, "b", 3);
    batch_list_set(b, bd, "/tags", 5, 1, "s", 1);
    batch_list_remove(b, bd, "/tags", 5, 2, 1, 3);
    batch_list_remove(b, bd, "/tags", 5, 0, 2, 9);
    batch_list_remove(b, bd, "/tags", 5, 5, 4, 9);
    batch_list_insert(b, bd, "/tags", 5, 0, "f", 1);
    batch_list_remove(b, bd, "/tags", 5, 0, 6, 6);
    assert_said("RPUSH K/tags a\n"
                "LPOP K/tags\n"
                "RPUSH K/tags b\n"
                "LSET K/tags 1 s\n"
                "RPOP K/tags\n"
                "LTRIM K/tags 2 -1\n"
                "LTRIM K/tags 0 4\n"
                "LPUSH K/tags f\n"
                "UNLINK K/tags\n"
                "HINCRBY K @v 1\n" LEFT);
}

Test(batch, the_middle_of_a_list_takes_a_script)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    batch_list_insert(b, bd, "/tags", 5, 2, "f", 1);
    batch_list_remove(b, bd, "/tags", 5, 1, 2, 6);
    char *text = said(NULL);
    cr_assert_eq(strncmp(text, "EVAL (", 6), 0, "%s", text);
    cr_assert_not_null(strstr(text, ") 1 K/tags 2 0 (64) f\nEVAL ("), "%s", text);
    cr_assert_not_null(strstr(text, ") 1 K/tags 1 2 (64)\nHINCRBY K @v 1\n"), "%s", text);
}

Test(batch, a_drop_takes_what_was_before)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    push(bd, false, "a", 3);
    set(bd, "/counts", "k", "1");
    batch_drop(b, bd, "/tags", 5);
    batch_drop(b, bd, "/counts", 7);
    push(bd, false, "b", 1);
    del(bd, "/counts", "k");
    cr_assert_null(batch_hash_incr(b, bd, "/counts", 7, "n", 1, 2, 2), "it starts from nothing");
    assert_said("RPUSH K/tags a\n" /* its length is somebody's answer */
                "UNLINK K/counts\n"
                "HSET K/counts n 2\n"
                "UNLINK K/tags\n"
                "RPUSH K/tags b\n"
                "HINCRBY K @v 1\n" LEFT);
}

Test(batch, many_drops_do_not_take_the_square_of_their_number)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    for (int i = 0; i < 200000; i++) {
        char suffix[24];
        size_t n = (size_t)snprintf(suffix, sizeof(suffix), "/e/%d", i);
        set(bd, suffix, "f", "v");
        batch_drop(b, bd, suffix, n);
    }
    /* A timeout of the whole program is the assertion. */
    unsigned commands;
    said(&commands);
    cr_assert_eq(commands, 200000 + 5);
}

Test(batch, long_commands_are_split)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    const struct drift *early = push(bd, false, "a", 11);
    for (int i = 0; i < 9000; i++)
        push(bd, false, "x", 0);
    const struct drift *late = push(bd, false, "z", 9012);
    for (int i = 0; i < 5000; i++) {
        char field[16];
        snprintf(field, sizeof(field), "f%d", i);
        set(bd, "", field, "v");
    }
    unsigned commands;
    said(&commands);
    cr_assert_eq(commands, 2 + 2 + 2 + 1 + 1 + 2, "two RPUSH, two HSET: %u", commands);
    cr_assert_eq(answer("*8\r\n:8200\r\n:9012\r\n:1\r\n:1\r\n:5\r\n:-1\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_eq(early->by, 0, "off by %ld", (long)early->by);
    cr_assert_eq(late->by, 0);
}

Test(batch, documents_keep_to_themselves)
{
    struct batch_doc *a = stage(doc_new("User:a", 4)), *c = stage(doc_new("User:c", 9));
    set(a, "", "name", "x");
    set(c, "", "name", "y");
    stage(docs[0]);
    incr(a, "age", 1, 1);
    assert_said("HINCRBY K age 1\n"
                "HSET K name x\n"
                "HINCRBY K @v 2\n"
                "HSET rapyer:{User:c} name y\n"
                "HINCRBY rapyer:{User:c} @v 1\n");
    cr_assert_eq(answer("*7\r\n:0\r\n:1\r\n:6\r\n-WRONGTYPE x\r\n:10\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_not(a->failed);
    cr_assert(c->failed);
    cr_assert_eq(batch_docs(b), a);
    cr_assert_eq(a->next, c);
}

Test(batch, a_failed_key_spoils_its_numbers)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    const struct drift *tags = push(bd, false, "a", 3), *age = incr(bd, "age", 1, 1);
    said(NULL);
    cr_assert_eq(answer("*6\r\n-WRONGTYPE x\r\n:1\r\n:5\r\n:-1\r\n+OK\r\n:0\r\n"), 0);
    cr_assert(bd->failed);
    cr_assert(tags->failed);
    cr_assert_not(age->failed);
}

Test(batch, a_refused_transaction_is_told)
{
    set(stage(doc_new("User:a", 4)), "", "name", "x");
    said(NULL);
    cr_assert_eq(answer("-EXECABORT Transaction discarded\r\n"), -1);
    cr_assert_eq(fault.code, FAULT_UNAVAILABLE);
    cr_assert_not_null(strstr(fault.text, "nothing was applied"), "%s", fault.text);
    cr_assert_eq(answer("*1\r\n:1\r\n"), -1);
    cr_assert_eq(fault.code, FAULT_UNKNOWN_OUTCOME);
}

Test(batch, nobody_is_told_where_nobody_listens)
{
    struct buf resp = BUF_INIT;
    struct batch_news news = {.n = 7};
    batch_pool_tell(pool, false, false);
    set(stage(doc_new("User:a", 4)), "", "name", "x");
    cr_assert_eq(batch_format(b, &news, &resp), 5);
    cr_assert_null(strstr(lines(&resp), "PUBLISH"));
    cr_assert_eq(news.n, 0);
    cr_assert_eq(answer("*3\r\n:0\r\n:5\r\n+OK\r\n"), 0);
    buf_free(&resp);
}

Test(batch, a_deleted_document_has_no_version)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    set(bd, "", "name", "x");
    batch_drop(b, bd, "", 0);
    batch_drop(b, bd, "/tags", 5);
    cr_assert(bd->deleted);
    assert_said("UNLINK K\n"
                "UNLINK K/tags\n");
    stage(docs[0]);
    cr_assert_not(bd->deleted);
    set(bd, "", "name", "new");
    assert_said("UNLINK K\n"
                "HSET K name new\n"
                "UNLINK K/tags\n"
                "HINCRBY K @v 1\n");
}

Test(batch, a_document_that_was_gone_is_swept_up)
{
    struct batch_doc *gone = stage(doc_new("User:a", 4)), *there = stage(doc_new("User:c", 9));
    struct buf out = BUF_INIT;
    incr(gone, "age", 1, 37);
    push(gone, false, "a", 3);
    set(there, "", "name", "y");
    said(NULL);
    cr_assert_eq(answer("*8\r\n:1\r\n:1\r\n:1\r\n:-1\r\n:0\r\n:10\r\n+OK\r\n:0\r\n"), 0);
    cr_assert(gone->gone);
    cr_assert_not(there->gone);
    cr_assert_eq(batch_format_sweep(b, &out), 1);
    char *text = lines(&out);
    cr_assert_eq(strncmp(text, "EVAL (", 6), 0, "%s", text);
    cr_assert_not_null(strstr(text, ") 2 K K/tags root\n"), "%s", text);
    buf_free(&out);
}

Test(batch, what_may_be_in_elements_that_are_gone_is_swept_up)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    struct buf out = BUF_INIT;
    set(bd, "", "name", "x");
    set(bd, "/e/1", "f", "v");
    set(bd, "/e/2", "f", "v");
    push(bd, false, "a", 3);
    said(NULL);
    /* The second element has had that field; somebody else was first. */
    cr_assert_eq(answer("*8\r\n:0\r\n:1\r\n:0\r\n:1\r\n:6\r\n:-1\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_eq(bd->version.by, 1);
    cr_assert_eq(batch_format_sweep(b, &out), 1);
    char *text = lines(&out);
    cr_assert_not_null(strstr(text, ") 2 K K/e/1\n"), "%s", text);
    buf_free(&out);
}

Test(batch, a_deadline_that_nobody_knew_of_is_given_to_new_keys)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    struct buf out = BUF_INIT;
    set(bd, "", "name", "x");
    push(bd, false, "a", 3);
    said(NULL);
    cr_assert_not(batch_any_undated(b));
    cr_assert_eq(answer("*6\r\n:0\r\n:3\r\n:5\r\n:900\r\n+OK\r\n:0\r\n"), 0);
    cr_assert(batch_any_undated(b));
    cr_assert_eq(batch_format_sweep(b, &out), 2, "a deadline, or where it is over the end");
    cr_assert_str_eq(lines(&out), "EVAL (211) 2 K K/tags\nEVAL (144) 2 K K/tags\n");
    buf_free(&out);
    char *text = said(NULL); /* for a Redis that has lost it */
    cr_assert_not_null(strstr(text, "EVAL (211) 2 K K/tags\n"), "%s", text);
}

Test(batch, members_that_are_told_of_go_one_by_one)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    const struct stored *set_of = stored_kinds[TYPE_SET], *sorted = stored_kinds[TYPE_SORTED];
    batch_field_set(b, bd, set_of, "/s", 2, "a", 1, "", 0);
    const struct drift *in = batch_member(b, bd, set_of, "/s", 2, true, "b", 1, NULL, 0, 1),
                       *out = batch_member(b, bd, set_of, "/s", 2, false, "a", 1, NULL, 0, 1),
                       *score = batch_member(b, bd, sorted, "/z", 2, true, "m", 1, "7", 1, 0);
    batch_field_set(b, bd, set_of, "/s", 2, "c", 1, "", 0);
    batch_field_del(b, bd, set_of, "/s", 2, "b", 1);
    batch_drop(b, bd, "/z", 2);
    assert_said("SADD K/s a\n"
                "SADD K/s b\n"
                "SREM K/s a\n"
                "SADD K/s c\n"
                "SREM K/s b\n"
                "ZADD K/z 7 m\n" /* who was told of it is told the truth by its answer */
                "UNLINK K/z\n"
                "HINCRBY K @v 1\n" LEFT);
    cr_assert_eq(
        answer("*11\r\n:1\r\n:0\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:5\r\n:-1\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_eq(in->by, -1, "it was there");
    cr_assert_eq(out->by, 0);
    cr_assert_eq(score->by, 1, "it was not");
    cr_assert(batch_drifted(b, &docs[0], 1));
}

Test(batch, a_document_written_whole_may_be_gone_before)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    struct buf out = BUF_INIT;
    batch_rewrite(bd);
    set(bd, "", "@s", "1");
    set(bd, "", "name", "x");
    said(NULL);
    cr_assert_eq(answer("*4\r\n:2\r\n:1\r\n+OK\r\n:0\r\n"), 0);
    cr_assert_not(bd->gone);
    cr_assert_eq(bd->version.by, -4);
    cr_assert_eq(batch_format_sweep(b, &out), 0);
}

Test(batch, others_may_have_written_more_than_we)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    cr_assert(exact(bd, 5));
    cr_assert_eq(bd->version.by, 0);
    cr_assert_not(bd->gone);
    cr_assert_not(exact(bd, 8));
    cr_assert_eq(bd->version.by, 3);
    cr_assert_not(bd->gone);
    cr_assert_not(exact(bd, 1));
    cr_assert(bd->gone);
}

Test(batch, a_document_is_dirty_until_its_batch_is_decided)
{
    struct doc *d = doc_new("User:a", 4);
    cr_assert_not(doc_dirty(d));
    (void)stage(d);
    cr_assert(doc_dirty(d));
    batch_decide(b, NULL);
    cr_assert_not(doc_dirty(d));
    cr_assert_eq(d->state, DOC_PRESENT);
    cr_assert_eq(d->pins, 1, "it stays while the batch names it");
}

Test(batch, a_document_that_the_next_batch_changes_stays_dirty)
{
    struct doc *d = doc_new("User:a", 4);
    struct batch *next = batch_new(pool, 8, &words);
    (void)stage(d);
    struct batch_doc *bd = batch_doc(next, d, NULL);
    batch_decide(b, NULL);
    cr_assert(doc_dirty(d));
    cr_assert_eq(d->staged, bd);
    batch_decide(next, NULL);
    cr_assert_not(doc_dirty(d));
    batch_free(next);
}

Test(batch, what_was_refused_is_forgotten)
{
    struct doc *d = doc_new("User:a", 4);
    (void)stage(d);
    batch_decide(b, &(struct fault){.code = FAULT_UNAVAILABLE});
    cr_assert_not(doc_dirty(d));
    cr_assert_eq(d->state, DOC_UNKNOWN);
}

static void hear_committed(void *arg, const struct committed *committed)
{
    struct committed c = *committed;
    size_t len;
    buf_printf(arg, "%s %d", c.doc->key, (int)c.version);
    for (const char *suffix; (suffix = committed_suffix(&c, &len)) != NULL;) {
        buf_printf(arg, " '%.*s'", (int)len, suffix);
        for (const char *field; (field = committed_field(&c, &len)) != NULL;)
            buf_printf(arg, " .%.*s", (int)len, field);
    }
    buf_printf(arg, "\n");
}

static void give_back(void *arg, struct doc *d)
{
    cr_assert_eq(d->pins, 0);
    ++*(int *)arg;
}

Test(batch, what_was_committed_is_told_with_its_keys)
{
    struct doc *changed = doc_new("User:a", 4), *deleted = doc_new("User:b", 7);
    struct batch_doc *bd = stage(changed);
    struct buf heard = BUF_INIT;
    int given_back = 0;
    (void)batch_doc(b, doc_new("User:c", 1), NULL); /* only looked at */
    set(bd, "", "name", "x");
    push(bd, false, "a", 1);
    batch_drop(b, stage(deleted), "", 0);
    said(NULL);
    cr_assert_eq(answer("*7\r\n:1\r\n:1\r\n:8\r\n:0\r\n:1\r\n+OK\r\n:0\r\n"), 0);
    batch_decide(b, NULL);
    batch_each_committed(b, hear_committed, &heard);
    buf_append(&heard, "", 1);
    cr_assert_str_eq((char *)heard.data, "User:a 8 '' .name '/tags'\nUser:b 0 ''\n");
    cr_assert_not_null(changed->stale, "somebody else has changed it too");
    batch_release(b, give_back, &given_back);
    cr_assert_eq(given_back, 3);
    buf_free(&heard);
}

Test(batch, the_deadline_is_kept_when_the_tree_is_forgotten)
{
    struct doc *d = doc_new("User:a", 4);
    struct batch_doc *bd = stage(d);
    batch_deadline(bd, 1700000000000);
    push(bd, false, "a", 1);
    d->state = DOC_UNKNOWN;
    assert_said("RPUSH K/tags a\n"
                "HINCRBY K @v 1\n"
                "PEXPIREAT K/tags 1700000000000\n"
                "PEXPIREAT K 1700000000000\n");
}

Test(batch, a_deadline_is_set_and_taken_away)
{
    struct doc *d = doc_new("User:a", 4);
    struct batch_doc *bd = stage(d);
    batch_expire(b, bd, "", 0);
    assert_said("HINCRBY K @v 1\n"
                "PERSIST K\n");
    batch_deadline(stage(d), 1800000000000);
    batch_expire(b, bd, "/tags", 5);
    assert_said("HINCRBY K @v 2\n"
                "PEXPIREAT K 1800000000000\n"
                "PEXPIREAT K/tags 1800000000000\n");
}

Test(batch, a_save_gives_its_deadline_to_keys_that_were_changed_before)
{
    struct doc *d = doc_new("User:a", 4);
    struct batch_doc *bd = stage(d);
    set(bd, "", "name", "x");
    push(bd, false, "a", 1);
    batch_deadline(stage(d), 1700000000000);
    batch_drop(b, bd, "/tags", 5);
    set(bd, "", "name", "y");
    assert_said("HSET K name y\n"
                "RPUSH K/tags a\n"
                "UNLINK K/tags\n"
                "HINCRBY K @v 2\n"
                "PEXPIREAT K 1700000000000\n"
                "PEXPIREAT K/tags 1700000000000\n");
}

Test(batch, a_batch_knows_its_size)
{
    cr_assert(batch_empty(b));
    cr_assert_eq(batch_number(b), 7);
    struct batch_doc *bd = stage(doc_new("User:a", 4));
    cr_assert_not(batch_empty(b));
    size_t before = batch_bytes(b);
    char big[1000];
    memset(big, 'x', sizeof(big));
    batch_list_push(b, bd, "/tags", 5, false, big, sizeof(big));
    cr_assert_geq(batch_bytes(b), before + 1000);
    cr_assert_eq(batch_doc(b, docs[0], NULL), bd, "one part per document");
}

Test(batch, a_sweep_of_many_keys_ends_with_the_root)
{
    struct batch_doc *gone = stage(doc_new("User:a", 4));
    struct buf out = BUF_INIT;
    char suffix[24];
    incr(gone, "age", 1, 37);
    for (int i = 0; i < 9000; i++) {
        snprintf(suffix, sizeof(suffix), "/e/%d", i);
        set(gone, suffix, "f", "v");
    }
    said(NULL);
    gone->gone = true;
    cr_assert_eq(batch_format_sweep(b, &out), 3);
    char *text = lines(&out);
    cr_assert_not_null(strstr(text, ") 4096 K K/e/"), "%s", text);
    unsigned roots = 0;
    for (const uint8_t *at = out.data;
         (at = memmem(at, out.len - (size_t)(at - out.data), "\r\nroot\r\n", 8)) != NULL; at++)
        roots++;
    cr_assert_eq(roots, 1);
    buf_free(&out);
}
