/* What a batch with guarded changes says, what it makes of the answers, and what a real Redis makes
 * of its scripts. */
#include "daemon/base/hash.h"
#include "daemon/commit/batch.h"
#include "daemon/documents/stale.h"
#include "protocol/tree.h"
#include "redis_process.h"
#include <stdlib.h>
#include <time.h>

#define A "rapyer:{User:a}"
#define LEASE "rapyer:@lock:{User:a}/!edit"
#define MARKER "rapyer:~seq:me"

static struct batch_pool *pool;
static struct batch_words words;
static struct batch *b;
static struct fault fault;
static struct doc *docs[8];
static unsigned ndocs;
static struct guard *guards[8];
static unsigned nguards;
static struct redis_process server;
static redisContext *redis;

static void doc_free(struct doc *d)
{
    stale_free(d->stale);
    tree_free(d);
}

static struct doc *doc_new(const char *key, int64_t version)
{
    struct doc *d = tree_alloc(sizeof(*d) + strlen(key) + 1);
    d->key_len = (uint16_t)strlen(key);
    strcpy(d->key, key);
    d->model_len = (uint16_t)strcspn(key, ":");
    d->state = DOC_PRESENT;
    d->version = version;
    docs[ndocs++] = d;
    return d;
}

static struct guard *guard(enum guard_kind kind, const char *key, int64_t number)
{
    struct guard *g = guard_new();
    struct guard_check check = {.kind = kind,
                                .key = (char *)key,
                                .key_len = strlen(key),
                                .number = number,
                                .name = kind == GUARD_VERSION ? "User:a" : NULL};
    guard_add(g, &check);
    guards[nguards++] = g;
    return g;
}

static const struct names names = {.prefix = "rapyer"};

static void setup(void)
{
    hash_seed = 1;
    ndocs = nguards = 0;
    pool = batch_pool_new(&names, "me");
    batch_words_make(&words, "rapyer", "me", NULL);
    b = batch_new(pool, 7, &words);
}

static void teardown(void)
{
    batch_free(b);
    while (ndocs > 0)
        doc_free(docs[--ndocs]);
    while (nguards > 0)
        guard_unref(guards[--nguards]);
    batch_pool_free(pool);
    batch_words_free(&words);
}

TestSuite(unit, .init = setup, .fini = teardown);

/* One more change of a document under a guard, as the executor stages it. */
static bool exact(struct batch_doc *bd, int64_t version)
{
    batch_unanswered(bd, version);
    return !bd->overtaken;
}

static struct batch_doc *stage(struct doc *d, struct guard *g)
{
    struct batch_doc *bd = batch_doc(b, d, g != NULL ? batch_unit(b, g) : NULL);
    d->version++;
    batch_bump(bd, 1);
    return bd;
}

/* The same, of this unit, which has no guard. */
static struct batch_doc *stage_in(struct doc *d, struct unit *u)
{
    struct batch_doc *bd = batch_doc(b, d, u);
    d->version++;
    batch_bump(bd, 1);
    return bd;
}

static void set(struct batch_doc *bd, const char *field, const char *raw)
{
    batch_field_set(b, bd, &stored_hash, "", 0, field, strlen(field), raw, strlen(raw));
}

static const struct drift *incr(struct batch_doc *bd, const char *field, int64_t by, int64_t now)
{
    return batch_hash_incr(b, bd, "", 0, field, strlen(field), by, now);
}

static const struct drift *push(struct batch_doc *bd, const char *raw, int64_t len)
{
    const struct drift *d = batch_list_push(b, bd, "/tags", 5, false, raw, strlen(raw));
    batch_list_expect(d, len);
    return d;
}

/* The commands of RESP bytes, one a line; words of more than 60 bytes are only counted, and so are
 * words past the 26th. */
static char *lines(const struct buf *resp)
{
    static struct buf out;
    redisReader *reader = redisReaderCreate();
    void *reply;
    buf_clear(&out);
    redisReaderFeed(reader, (const char *)resp->data, resp->len);
    while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        const redisReply *command = reply;
        for (size_t i = 0; i < command->elements && i < 26; i++) {
            const redisReply *w = command->element[i];
            if (w->len > 60)
                buf_printf(&out, "%s(long)", i > 0 ? " " : "");
            else
                buf_printf(&out, "%s%s", i > 0 ? " " : "", w->str);
        }
        if (command->elements > 26)
            buf_printf(&out, " +%zu", command->elements - 26);
        buf_append(&out, "\n", 1);
        freeReplyObject(reply);
    }
    redisReaderFree(reader);
    buf_append(&out, "", 1);
    return (char *)out.data;
}

/* What the batch says, but for the words of PUBLISH. */
static char *said(void)
{
    struct buf resp = BUF_INIT;
    struct batch_news news;
    batch_format(b, &news, &resp);
    char *text = lines(&resp), *publish = strstr(text, "PUBLISH");
    cr_assert_not_null(publish);
    cr_assert_str_eq(strrchr(publish, 'E'), "EC\n");
    strcpy(publish, "PUBLISH\n");
    buf_free(&resp);
    return text;
}

#define assert_said(text)                              \
    do {                                               \
        char *said_ = said();                          \
        cr_assert_str_eq(said_, text "", "%s", said_); \
    } while (0)

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

/* ---- what it says ---- */

Test(unit, units_come_behind_the_marker)
{
    struct guard *lease = guard(GUARD_LEASE, LEASE, 5), *version = guard(GUARD_VERSION, A, 4);
    set(stage(doc_new("User:a", 4), version), "name", "x");
    set(stage(doc_new("User:b", 9), NULL), "name", "y");
    set(stage(doc_new("User:c", 1), lease), "name", "z");
    assert_said("MULTI\n"
                "HSET rapyer:{User:b} name y\n"
                "HINCRBY rapyer:{User:b} @v 1\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 3 " MARKER " " A " " LEASE " 0 0 1 10 version @v 4 "
                "4 HSET " A " name x 4 HINCRBY " A " @v 1 "
                "1 0 1 +14\n"
                "PUBLISH\n");
}

Test(unit, the_same_leases_are_one_unit)
{
    struct guard *one = guard(GUARD_LEASE, LEASE, 5), *same = guard(GUARD_LEASE, LEASE, 5);
    struct guard *later = guard(GUARD_LEASE, LEASE, 6);
    struct guard *version = guard(GUARD_VERSION, A, 4), *again = guard(GUARD_VERSION, A, 4);
    cr_assert_eq(batch_unit(b, one), batch_unit(b, same));
    cr_assert_neq(batch_unit(b, one), batch_unit(b, later), "another fence");
    cr_assert_neq(batch_unit(b, version), batch_unit(b, again), "each call for itself");
    cr_assert_not(guard_same(version, again));
    cr_assert(guard_same(version, version));
    cr_assert(guard_same(NULL, NULL));
    cr_assert_not(guard_same(one, NULL));
    set(stage(doc_new("User:a", 4), one), "name", "x");
    set(stage(doc_new("User:c", 1), same), "name", "z");
    assert_said("MULTI\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 2 " MARKER " " LEASE " 0 0 1 20 lease me 5 "
                "4 HSET " A " name x 4 HINCRBY " A " @v 1 "
                "4 HSET rapyer:{User:c} name +6\n"
                "PUBLISH\n");
}

Test(unit, several_checks)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5);
    struct guard_check second = {
        .kind = GUARD_LEASE, .key = (char *)"L2", .key_len = 2, .number = 9};
    struct guard_check third = {
        .kind = GUARD_VERSION, .key = (char *)A, .key_len = strlen(A), .name = (char *)"User:a"};
    guard_add(g, &second);
    guard_add(g, &third);
    incr(stage(doc_new("User:b", 4), g), "age", 1, 1);
    assert_said("MULTI\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 4 " MARKER " " LEASE " L2 " A
                " 0 0 3 10 lease me 5 lease me 9 version @v 0 "
                "4 HINCRBY rapyer:{User:b} age 1 4 +4\n"
                "PUBLISH\n");
}

Test(unit, a_splice_is_no_script_in_a_script)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4), guard(GUARD_LEASE, LEASE, 5));
    batch_list_insert(b, bd, "/tags", 5, 2, "f", 1);
    batch_list_remove(b, bd, "/tags", 5, 1, 2, 6);
    assert_said("MULTI\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 2 " MARKER " " LEASE " 0 0 1 22 lease me 5 "
                "6 splice " A "/tags 2 0 (long) f 5 splice " A "/tags 1 2 (long) 4 +8\n"
                "PUBLISH\n");
}

Test(unit, a_document_only_looked_at_is_not_changed)
{
    struct guard *g = guard(GUARD_VERSION, "rapyer:{User:b}", 9);
    batch_doc(b, doc_new("User:b", 9), batch_unit(b, g));
    set(stage(doc_new("User:a", 4), g), "name", "x");
    struct buf resp = BUF_INIT;
    struct batch_news news;
    batch_format(b, &news, &resp);
    const char *publish = memmem(resp.data, resp.len, "PUBLISH\r\n", 9);
    size_t left = resp.len - (size_t)(publish - (char *)resp.data);
    cr_assert_not_null(memmem(publish, left, "User:a", 6));
    cr_assert_null(memmem(publish, left, "User:b", 6));
    buf_free(&resp);
}

Test(unit, a_lost_unit_is_not_said)
{
    struct guard *lost = guard(GUARD_LEASE, LEASE, 5), *good = guard(GUARD_VERSION, A, 4);
    set(stage(doc_new("User:c", 1), lost), "name", "z");
    set(stage(doc_new("User:a", 4), good), "name", "x");
    cr_assert_not(batch_any_refused(b));
    batch_units(b)->refused_by = 1;
    cr_assert(batch_any_refused(b));
    assert_said("MULTI\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 2 " MARKER " " A " 1 0 1 10 version @v 4 "
                "4 HSET " A " name x 4 HINCRBY " A " @v 1\n"
                "PUBLISH\n");
    struct buf leases = BUF_INIT;
    cr_assert_eq(batch_format_leases(b, 5000, &leases), 0);
    buf_free(&leases);
}

Test(unit, what_was_built_upon_a_lost_unit_is_lost)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5), *same = guard(GUARD_LEASE, LEASE, 5);
    struct guard *other = guard(GUARD_LEASE, "L2", 6);
    struct batch *later = batch_new(pool, 8, &words);
    struct unit *follows = batch_unit(later, same), *stays = batch_unit(later, other);
    set(stage(doc_new("User:a", 4), g), "name", "x");
    batch_follow(later, b);
    cr_assert_eq(follows->refused_by, 0);
    batch_units(b)->refused_by = 1;
    batch_units(b)->found = -1;
    batch_follow(later, b);
    cr_assert_eq(follows->refused_by, 1);
    cr_assert_eq(follows->found, -1);
    cr_assert_eq(stays->refused_by, 0);
    batch_free(later);
}

/* ---- without a guard ---- */

Test(unit, what_it_relies_upon_is_as_before_its_part)
{
    struct batch_doc *same = stage_in(doc_new("User:a", 4), batch_unit(b, NULL)), *there, *missing;
    struct doc *fresh = doc_new("User:c", 8);
    batch_rely(same, RELIES_ON_PRESENCE);
    batch_rely(same, RELIES_ON_STATE);
    batch_rely(same, RELIES_ON_PRESENCE); /* never less */
    there = stage_in(doc_new("User:b", 6), batch_unit(b, NULL));
    batch_rely(there, RELIES_ON_PRESENCE);
    batch_bump(there, 1);
    fresh->state = DOC_ABSENT;
    missing = stage_in(fresh, batch_unit(b, NULL));
    batch_rely(missing, RELIES_ON_PRESENCE);
    assert_said("MULTI\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 4 " MARKER " " A " rapyer:{User:b} rapyer:{User:c} "
                "0 0 1 5 version @v 4 4 HINCRBY " A " @v 1 "
                "1 0 1 5 present @v 6 +17\n"
                "PUBLISH\n");
    cr_assert_eq(missing->relies, RELIES_ON_STATE, "that it is missing still");
    cr_assert_eq(missing->base, 0);
}

Test(unit, a_document_of_two_units_makes_them_one)
{
    struct doc *d = doc_new("User:b", 6);
    struct unit *one = batch_unit(b, NULL), *two = batch_unit(b, NULL),
                *three = batch_unit(b, NULL);
    struct batch_doc *a = stage_in(doc_new("User:a", 4), one), *shared = stage_in(d, one);
    struct batch_doc *c = stage_in(doc_new("User:c", 1), two);
    cr_assert_eq(batch_unit_of(b, d), one);
    cr_assert_eq(stage_in(d, two), shared, "one part");
    cr_assert_eq(a->unit, shared->unit);
    cr_assert_eq(c->unit, shared->unit);
    cr_assert_eq(unit_joined(two), unit_joined(one));
    cr_assert_eq(unit_joined(one)->ndocs, 3);
    cr_assert_eq(batch_join(unit_joined(two), three), unit_joined(one));
    cr_assert_eq(stage(d, NULL), shared, "whoever comes without");
    char *text = said();
    cr_assert_eq(strstr(strstr(text, "EVAL") + 1, "EVAL"), NULL, "%s", text);
    cr_assert_not_null(strstr(text, "EVAL (long) 1 " MARKER " 0 0 0 15 "), "%s", text);
}

Test(unit, what_was_changed_before_comes_first)
{
    struct doc *d = doc_new("User:a", 4);
    struct batch_doc *first = stage(d, NULL), *second;
    const struct drift *n = incr(first, "n", 1, 1);
    push(first, "x", 1);
    second = stage_in(d, batch_unit(b, NULL));
    batch_rely(second, RELIES_ON_STATE);
    cr_assert_neq(second, first);
    cr_assert_eq(first->second, second);
    cr_assert_eq(batch_unit_of(b, d), second->unit);
    set(second, "n", "30");
    push(second, "y", 2);
    cr_assert_eq(stage(d, NULL), second, "what comes now comes behind");
    assert_said("MULTI\n"
                "HINCRBY " A " n 1\n"
                "RPUSH " A "/tags x\n"
                "HINCRBY " A " @v 1\n"
                "PTTL " A "\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 2 " MARKER " " A " 0 0 1 18 version @v 5 "
                "4 HSET " A " n 30 3 RPUSH " A "/tags y 4 HINCRBY " A " @v 2 +4\n"
                "PUBLISH\n");
    cr_assert_eq(answer("*7\r\n:5\r\n:1\r\n:9\r\n:-1\r\n+OK\r\n*1\r\n+REFUSED 1 9\r\n:0\r\n"), 0);
    cr_assert(unit_outdated(second->unit));
    cr_assert(batch_doc_refused(second));
    cr_assert_not(batch_doc_refused(first));
    cr_assert_eq(n->by, 4);
    cr_assert_eq(first->version.by, 4);
    cr_assert_eq(second->version.by, 0);
}

Test(unit, parts_whose_answer_was_lost)
{
    struct doc *d = doc_new("User:a", 4);
    struct batch_doc *first = stage(d, NULL), *second = stage_in(d, batch_unit(b, NULL));
    batch_rely(second, RELIES_ON_PRESENCE);
    cr_assert(exact(first, 6));
    cr_assert(exact(second, 6));
    cr_assert_not(exact(first, 9));
    cr_assert_eq(first->version.by, 3);
    cr_assert_not(exact(second, 9));
    cr_assert_eq(second->version.by, 3);
    batch_rely(second, RELIES_ON_STATE);
    cr_assert(exact(second, 9), "what others did came behind it");
    second->unit->refused_by = 1;
    cr_assert(exact(first, 5));
    cr_assert_not(exact(first, 1));
    cr_assert(first->gone);
}

Test(unit, a_guard_and_what_it_relies_upon)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5), *same = guard(GUARD_LEASE, LEASE, 5);
    struct batch *later = batch_new(pool, 8, &words);
    struct batch_doc *bd = stage(doc_new("User:a", 4), g);
    struct unit *follows = batch_unit(later, same);
    batch_rely(bd, RELIES_ON_PRESENCE);
    assert_said("MULTI\n"
                "SET " MARKER " 7\n"
                "EVAL (long) 3 " MARKER " " LEASE " " A " 0 0 2 5 lease me 5 present @v 4 "
                "4 HINCRBY " A " @v 1\n"
                "PUBLISH\n");
    batch_take_marker(b, "7 0/2");
    cr_assert(unit_outdated(bd->unit));
    batch_follow(later, b);
    cr_assert_eq(follows->refused_by, 0, "the lease is as it was");
    batch_take_marker(b, "7 0/1");
    cr_assert_not(unit_outdated(bd->unit));
    batch_follow(later, b);
    cr_assert_eq(follows->refused_by, 1);
    batch_free(later);
}

/* ---- what it makes of the answers ---- */

Test(unit, replies_stand_in_the_units_array)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5);
    struct batch_doc *plain = stage(doc_new("User:b", 9), NULL),
                     *bd = stage(doc_new("User:a", 4), g);
    const struct drift *age = incr(bd, "age", 1, 11), *tags = push(bd, "x", 3),
                       *n = incr(plain, "n", 1, 1);
    said();
    cr_assert_eq(answer("*5\r\n:3\r\n:11\r\n+OK\r\n*1\r\n*4\r\n:17\r\n:3\r\n:6\r\n:0\r\n:0\r\n"),
                 0);
    cr_assert_eq(n->by, 2);
    cr_assert_eq(age->by, 6);
    cr_assert_eq(tags->by, 0);
    cr_assert_eq(plain->version.by, 1);
    cr_assert_eq(bd->version.by, 1);
    cr_assert_not(bd->failed);
    cr_assert_eq(bd->unit->refused_by, 0);
}

Test(unit, an_error_in_the_array_is_its_commands)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5);
    struct batch_doc *bd = stage(doc_new("User:a", 4), g), *c = stage(doc_new("User:c", 1), g);
    const struct drift *age = incr(bd, "age", 1, 11), *tags = push(bd, "x", 3);
    set(c, "name", "z");
    said();
    cr_assert_eq(
        answer("*3\r\n+OK\r\n*1\r\n*6\r\n:11\r\n-WRONGTYPE x\r\n:5\r\n:0\r\n:1\r\n:2\r\n:0\r\n"),
        0);
    cr_assert(bd->failed);
    cr_assert(tags->failed);
    cr_assert_not(age->failed);
    cr_assert_not(c->failed);
    cr_assert_eq(bd->unit->refused_by, 0);
}

Test(unit, refused)
{
    struct batch_doc *plain = stage(doc_new("User:b", 9), NULL);
    struct batch_doc *bd = stage(doc_new("User:a", 4), guard(GUARD_VERSION, A, 4));
    struct batch_doc *c = stage(doc_new("User:c", 1), guard(GUARD_LEASE, LEASE, 5));
    incr(bd, "age", 1, 11);
    set(c, "name", "z");
    set(plain, "name", "y");
    said();
    cr_assert_eq(
        answer("*5\r\n:0\r\n:10\r\n+OK\r\n*2\r\n+REFUSED 1 12\r\n*2\r\n:0\r\n:2\r\n:0\r\n"), 0);
    cr_assert_eq(bd->unit->refused_by, 1);
    cr_assert_eq(bd->unit->found, 12);
    cr_assert_eq(bd->version.by, 0);
    cr_assert_not(bd->failed);
    cr_assert_not(bd->gone);
    cr_assert_eq(c->unit->refused_by, 0);
    cr_assert_eq(c->version.by, 0);
    cr_assert_eq(plain->version.by, 0);
    cr_assert_eq(unit_refusal(bd->unit, &fault), -1);
    cr_assert_eq(fault.code, FAULT_CONFLICT);
    cr_assert_not_null(strstr(fault.text, "User:a has version 12 now, and 4 was expected"), "%s",
                       fault.text);
}

Test(unit, refused_by_a_check_that_it_has_not)
{
    struct batch_doc *bd = stage(doc_new("User:a", 4), guard(GUARD_VERSION, A, 4));
    static const char *const not_its[] = {"0", "2", "18446744073709551617", "-1", "x"};
    incr(bd, "age", 1, 11);
    said();
    for (size_t i = 0; i < sizeof(not_its) / sizeof(*not_its); i++) {
        char resp[80];
        snprintf(resp, sizeof(resp), "*3\r\n+OK\r\n*1\r\n+REFUSED %s\r\n:0\r\n", not_its[i]);
        cr_assert_eq(answer(resp), -1, "%s", not_its[i]);
        cr_assert_eq(fault.code, FAULT_UNKNOWN_OUTCOME);
        cr_assert_eq(bd->unit->refused_by, 0, "the marker is asked then");
    }
    batch_take_marker(b, "7 0/2=61");
    cr_assert_eq(unit_refusal(bd->unit, &fault), -1);
    cr_assert_eq(fault.code, FAULT_CORRUPT);
    cr_assert_not_null(strstr(fault.text, "check 2 of this change"), "%s", fault.text);
}

Test(unit, a_script_that_was_refused_fails_all_of_it)
{
    struct batch_doc *plain = stage(doc_new("User:b", 9), NULL);
    struct batch_doc *bd = stage(doc_new("User:a", 4), guard(GUARD_LEASE, LEASE, 5));
    const struct drift *age = incr(bd, "age", 1, 11);
    set(plain, "name", "y");
    said();
    cr_assert_eq(answer("*5\r\n:0\r\n:10\r\n+OK\r\n-NOPERM no EVAL for you\r\n:0\r\n"), 0);
    cr_assert(bd->failed);
    cr_assert(age->failed);
    cr_assert_not(plain->failed);
    /* An array of another length is no answer of ours either. */
    bd->failed = false;
    cr_assert_eq(answer("*5\r\n:0\r\n:10\r\n+OK\r\n*1\r\n*1\r\n:11\r\n:0\r\n"), 0);
    cr_assert(bd->failed);
    bd->failed = false;
    cr_assert_eq(answer("*5\r\n:0\r\n:10\r\n+OK\r\n*0\r\n:0\r\n"), 0);
    cr_assert(bd->failed);
}

Test(unit, the_marker_names_units_and_checks)
{
    struct unit *u[12];
    for (int i = 0; i < 12; i++) {
        char key[16];
        snprintf(key, sizeof(key), "L%d", i);
        if (nguards == 8) /* the batch keeps its own reference */
            guard_unref(guards[--nguards]);
        u[i] = batch_unit(b, guard(GUARD_LEASE, key, i));
    }
    batch_take_marker(b, "7");
    for (int i = 0; i < 12; i++)
        cr_assert_eq(u[i]->refused_by, 0);
    batch_take_marker(b, "17 11/1 3/2");
    for (int i = 0; i < 12; i++)
        cr_assert_eq(u[i]->refused_by,
                     i == 11  ? 1u
                     : i == 3 ? 2u
                              : 0,
                     "unit %d: %u", i, u[i]->refused_by);
    cr_assert_eq(u[3]->found, -1);
    batch_take_marker(b, "17 0/13");
    cr_assert_eq(u[0]->refused_by, 13);
    cr_assert_eq(u[1]->refused_by, 0);
    batch_take_marker(b, "1 ");
    batch_take_marker(b, "1  / 4 x/y");
    cr_assert_eq(u[4]->refused_by, 0);
}

/* ---- in a real Redis ---- */

static void redis_setup(void)
{
    setup();
    redis_process_start(&server);
    struct timespec tick = {.tv_nsec = 5000000};
    for (int i = 0; i < 2000; i++) {
        redis = redisConnectUnix(server.address + 5);
        if (redis != NULL && redis->err == 0)
            return;
        redisFree(redis);
        nanosleep(&tick, NULL);
    }
    cr_assert_fail("no redis-server");
}

static void redis_teardown(void)
{
    redisFree(redis);
    redis_process_end(&server);
    teardown();
}

TestSuite(unit_redis, .init = redis_setup, .fini = redis_teardown);

static redisReply *ask(const char *format, ...)
{
    static redisReply *last;
    va_list args;
    va_start(args, format);
    if (last != NULL)
        freeReplyObject(last);
    last = NULL;
    if (format != NULL)
        last = redisvCommand(redis, format, args);
    va_end(args);
    return last;
}

#define assert_string(text, ...)                        \
    do {                                                \
        redisReply *r_ = ask(__VA_ARGS__);              \
        cr_assert_not_null(r_->str);                    \
        cr_assert_str_eq(r_->str, text, "%s", r_->str); \
        ask(NULL);                                      \
    } while (0)

#define assert_integer(n, ...)                                                        \
    do {                                                                              \
        redisReply *r_ = ask(__VA_ARGS__);                                            \
        cr_assert_eq(r_->integer, n, "%lld %s", r_->integer, r_->str ? r_->str : ""); \
        ask(NULL);                                                                    \
    } while (0)

static void give_lease(const char *key, const char *daemon, const char *what, long long ms)
{
    redisReply *r = ask("TIME");
    long long now = atoll(r->element[0]->str) * 1000 + atoll(r->element[1]->str) / 1000;
    ask("HSET %s %s %s%lld%s", key, daemon, what, now + ms, " 10000");
    ask(NULL);
}

/* Sends the batch and takes what EXEC answers. */
static void commit(void)
{
    struct buf resp = BUF_INIT;
    struct batch_news news;
    unsigned n = batch_format(b, &news, &resp);
    redisReply *reply = NULL;
    redisAppendFormattedCommand(redis, (const char *)resp.data, resp.len);
    for (unsigned i = 0; i < n; i++) {
        if (reply != NULL)
            freeReplyObject(reply);
        cr_assert_eq(redisGetReply(redis, (void **)&reply), REDIS_OK);
    }
    cr_assert_eq(batch_answer(b, reply, &fault), 0, "%s", fault.text);
    freeReplyObject(reply);
    buf_free(&resp);
}

Test(unit_redis, a_lease_that_holds)
{
    struct batch_doc *bd = stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5));
    const struct drift *age = incr(bd, "age", 3, 3);
    set(bd, "name", "x\r\n");
    give_lease(LEASE, "me", "x 5 ", 10000);
    commit();
    cr_assert_eq(bd->unit->refused_by, 0);
    cr_assert_eq(age->by, 0);
    cr_assert_not(bd->failed);
    assert_string("3", "HGET %s age", A);
    assert_string("x\r\n", "HGET %s name", A);
    assert_string("1", "HGET %s @v", A);
    assert_string("7", "GET %s", MARKER);
}

/* mode, fence, ms left, of whom; applied? */
static const struct {
    const char *daemon, *what;
    long long ms;
} wrong[] = {
    {"me", "x 6 ", 10000},  {"me", "x 4 ", 10000},    {"me", "x 55 ", 10000},
    {"you", "x 5 ", 10000}, {"me", "something ", 99}, {"me2", "x 5 ", 10000},
};

Test(unit_redis, a_lease_that_does_not)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct batch_doc *bd = stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5));
        struct batch_doc *plain = stage(doc_new("User:b", 0), NULL);
        incr(bd, "age", 3, 3);
        incr(plain, "age", 3, 3);
        ask("FLUSHALL");
        give_lease(LEASE, wrong[i].daemon, wrong[i].what, wrong[i].ms);
        commit();
        cr_assert_eq(bd->unit->refused_by, 1, "%zu", i);
        assert_string("7 0/1", "GET %s", MARKER);
        assert_integer(0, "EXISTS %s", A);
        assert_string("3", "HGET rapyer:{User:b} age");
        teardown();
        setup();
    }
}

/* Whoever had taken the lock since would have removed it. */
Test(unit_redis, a_lease_that_is_there_though_the_clock_says_that_it_is_over)
{
    struct batch_doc *bd = stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5));
    incr(bd, "age", 3, 3);
    give_lease(LEASE, "me", "x 5 ", -3600000);
    commit();
    cr_assert_eq(bd->unit->refused_by, 0);
    assert_string("3", "HGET %s age", A);
}

Test(unit_redis, keys_of_the_wrong_type_do_not_hold)
{
    struct batch_doc *bd = stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5));
    struct batch_doc *c = stage(doc_new("User:c", 0), guard(GUARD_VERSION, "rapyer:{User:c}", 0));
    incr(bd, "age", 3, 3);
    set(c, "name", "x");
    ask("SET %s what", LEASE);
    ask("SET rapyer:{User:c} what");
    commit();
    cr_assert_eq(bd->unit->refused_by, 1);
    cr_assert_eq(c->unit->refused_by, 1);
    cr_assert_eq(c->unit->found, -1);
    assert_string("7 0/1 1/1", "GET %s", MARKER);
    assert_integer(0, "EXISTS %s", A);
}

Test(unit_redis, versions)
{
    struct batch_doc *there = stage(doc_new("User:a", 4), guard(GUARD_VERSION, A, 4));
    struct batch_doc *other =
        stage(doc_new("User:b", 4), guard(GUARD_VERSION, "rapyer:{User:b}", 4));
    struct batch_doc *fresh =
        stage(doc_new("User:c", 0), guard(GUARD_VERSION, "rapyer:{User:c}", 0));
    struct batch_doc *taken =
        stage(doc_new("User:d", 0), guard(GUARD_VERSION, "rapyer:{User:d}", 0));
    struct batch_doc *gone =
        stage(doc_new("User:e", 4), guard(GUARD_VERSION, "rapyer:{User:e}", 4));
    struct batch_doc *all[] = {there, other, fresh, taken, gone};
    for (int i = 0; i < 5; i++)
        set(all[i], "name", "x");
    ask("HSET %s @v 4", A);
    ask("HSET rapyer:{User:b} @v 40");
    ask("HSET rapyer:{User:d} @v 4");
    commit();
    cr_assert_eq(there->unit->refused_by, 0);
    cr_assert_eq(there->version.by, 0);
    cr_assert_eq(other->unit->found, 40);
    cr_assert_eq(fresh->unit->refused_by, 0);
    cr_assert_eq(taken->unit->found, 4);
    cr_assert_eq(gone->unit->refused_by, 1);
    cr_assert_eq(gone->unit->found, 0);
    assert_string("7 1/1 3/1 4/1", "GET %s", MARKER);
    assert_integer(0, "EXISTS rapyer:{User:e}");
    assert_string("5", "HGET %s @v", A);
}

Test(unit_redis, the_second_check_is_named)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5);
    struct guard_check second = {
        .kind = GUARD_LEASE, .key = (char *)"L2", .key_len = 2, .number = 9};
    guard_add(g, &second);
    struct batch_doc *bd = stage(doc_new("User:a", 0), g);
    set(bd, "name", "x");
    give_lease(LEASE, "me", "s 5 ", 10000);
    commit();
    cr_assert_eq(bd->unit->refused_by, 2);
    assert_string("7 0/2", "GET %s", MARKER);
    give_lease("L2", "me", "x 9 ", 10000);
    bd->unit->refused_by = 0;
    commit();
    cr_assert_eq(bd->unit->refused_by, 0, "the marker begins anew");
    assert_string("x", "HGET %s name", A);
    assert_string("7", "GET %s", MARKER);
}

Test(unit_redis, each_error_stays_in_its_place)
{
    struct batch_doc *bd = stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5));
    const struct drift *tags = push(bd, "x", 1), *age = incr(bd, "age", 3, 3);
    batch_list_insert(b, bd, "/rows", 5, 2, "f", 1);
    batch_list_remove(b, bd, "/rows", 5, 1, 2, 6);
    batch_list_insert(b, bd, "/good", 5, 1, "new", 3);
    give_lease(LEASE, "me", "x 5 ", 10000);
    ask("SET %s/tags text", A);
    ask("SET %s/rows text", A);
    ask("RPUSH %s/good a b", A);
    commit();
    cr_assert(bd->failed);
    cr_assert(tags->failed);
    cr_assert_not(age->failed);
    assert_string("3", "HGET %s age", A);
    assert_string("text", "GET %s/rows", A);
    assert_string("new", "LINDEX %s/good 1", A);
    assert_string("7", "GET %s", MARKER);
}

/* More than one script call: the others do as the first. */
static struct batch_doc *long_unit(struct guard *g)
{
    struct batch_doc *bd = stage(doc_new("User:a", 0), g);
    for (int i = 1; i <= 300000; i++)
        push(bd, "x", i);
    for (int i = 0; i < 30000; i++) {
        char field[16];
        snprintf(field, sizeof(field), "f%d", i);
        set(bd, field, "v");
    }
    return bd;
}

Test(unit_redis, a_unit_of_several_calls, .timeout = 60)
{
    struct batch_doc *first =
        stage(doc_new("User:b", 0), guard(GUARD_VERSION, "rapyer:{User:b}", 1));
    set(first, "name", "x");
    struct batch_doc *bd = long_unit(guard(GUARD_LEASE, LEASE, 5));
    struct buf resp = BUF_INIT;
    struct batch_news news;
    unsigned n = batch_format(b, &news, &resp);
    buf_free(&resp);
    cr_assert_geq(n, 4 + 2, "%u", n);
    commit();
    cr_assert_eq(bd->unit->refused_by, 1);
    cr_assert_eq(bd->unit->found, -1);
    cr_assert_eq(first->unit->refused_by, 1);
    assert_string("7 0/1 1/1", "GET %s", MARKER);
    assert_integer(0, "EXISTS %s %s/tags", A, A);
    bd->unit->refused_by = 0;
    give_lease(LEASE, "me", "x 5 ", 10000);
    commit();
    cr_assert_eq(bd->unit->refused_by, 0);
    cr_assert_not(bd->failed);
    cr_assert_eq(bd->version.by, 0);
    assert_integer(300000, "LLEN %s/tags", A);
    assert_integer(30001, "HLEN %s", A);
}

Test(unit_redis, what_a_document_is)
{
    static const char *const there[] = {"5", "4", "9", "3", "6", "", "9", "x"};
    static const bool holds[] = {false, true, true, false, true, true, false, false};
    struct batch_doc *bd[8];
    for (int i = 0; i < 8; i++) { /* 0 and 1: the same; 5 and 6: missing; else present */
        char key[24];
        snprintf(key, sizeof(key), "User:%d", i);
        struct doc *d = doc_new(key, 4);
        d->state = i == 5 || i == 6 ? DOC_ABSENT : DOC_PRESENT;
        bd[i] = stage_in(d, batch_unit(b, NULL));
        batch_rely(bd[i], i < 2 ? RELIES_ON_STATE : RELIES_ON_PRESENCE);
        if (there[i][0] != '\0')
            ask("HSET rapyer:{User:%d} @v %s", i, there[i]);
    }
    commit();
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(bd[i]->unit->refused_by, !holds[i], "%d", i);
        cr_assert_eq(unit_outdated(bd[i]->unit), !holds[i], "%d", i);
    }
    assert_string("7 0/1 3/1 6/1 7/1", "GET %s", MARKER);
}

/* More checks than one call takes: all of them come before the first command. */
Test(unit_redis, a_unit_of_many_documents, .timeout = 60)
{
    enum { MANY = UNIT_CHECKS_MAX + 10 };
    struct unit *u = batch_unit(b, NULL);
    struct doc **many = calloc(MANY, sizeof(*many));
    for (int i = 0; i < MANY; i++) {
        char key[24];
        snprintf(key, sizeof(key), "User:%d", i);
        many[i] = doc_new(key, 4);
        ndocs = 0; /* freed here */
        batch_rely(stage_in(many[i], u), RELIES_ON_PRESENCE);
        redisAppendCommand(redis, "HSET rapyer:{%s} @v 4", key);
    }
    for (int i = 0; i < MANY; i++) {
        redisReply *r;
        cr_assert_eq(redisGetReply(redis, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    ask("DEL rapyer:{User:%d}", MANY - 1);
    commit();
    cr_assert_eq(u->refused_by, MANY);
    assert_string("4", "HGET rapyer:{User:0} @v");
    ask("HSET rapyer:{User:%d} @v 5", MANY - 1);
    u->refused_by = 0;
    commit();
    cr_assert_eq(u->refused_by, 0);
    assert_string("5", "HGET rapyer:{User:0} @v");
    assert_string("6", "HGET rapyer:{User:%d} @v", MANY - 1);
    for (int i = 0; i < MANY; i++)
        doc_free(many[i]);
    free(many);
}

Test(unit_redis, leases_are_taken_back_where_nobody_has_them)
{
    struct guard *g = guard(GUARD_LEASE, LEASE, 5);
    struct guard_check second = {
        .kind = GUARD_LEASE, .key = (char *)"L2", .key_len = 2, .number = 9};
    struct guard_check third = {
        .kind = GUARD_VERSION, .key = (char *)A, .key_len = strlen(A), .name = (char *)"User:a"};
    struct buf out = BUF_INIT;
    guard_add(g, &second);
    guard_add(g, &third);
    batch_unit(b, g);
    cr_assert_eq(batch_format_leases(b, 5000, &out), 2);
    give_lease(LEASE, "you", "x 1 ", -10);
    give_lease("L2", "you", "s 8 ", 10000);
    redisReply *reply;
    redisAppendFormattedCommand(redis, (const char *)out.data, out.len);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(redisGetReply(redis, (void **)&reply), REDIS_OK);
        cr_assert_eq(reply->integer, i == 0, "%s", reply->str ? reply->str : "");
        freeReplyObject(reply);
    }
    reply = ask("HGET %s me", LEASE);
    cr_assert_eq(strncmp(reply->str, "x 5 ", 4), 0, "%s", reply->str);
    assert_integer(0, "HEXISTS L2 me");
    long long now = atoll(ask("TIME")->element[0]->str) * 1000;
    reply = ask("HGET %s me", LEASE);
    long long expiry = atoll(reply->str + 4);
    cr_assert(expiry > now && expiry <= now + 6000, "%lld", expiry - now);
    assert_integer(0, "HEXISTS %s you", LEASE);
    reply = ask("PTTL %s", LEASE);
    cr_assert_gt(reply->integer, 5000);
    ask(NULL);
    buf_free(&out);
}

/* ---- as one script ---- */

static struct whole_scripts known;

static void load(void)
{
    for (int i = 0; i < WHOLE_SCRIPTS; i++) {
        redisReply *r = ask("SCRIPT LOAD %s", unit_whole_script(i));
        snprintf(known.sha[i], sizeof(known.sha[i]), "%s", r->str);
    }
    ask(NULL);
}

static redisReply *reply_to(const struct buf *resp)
{
    redisReply *reply = NULL;
    redisAppendFormattedCommand(redis, (const char *)resp->data, resp->len);
    cr_assert_eq(redisGetReply(redis, (void **)&reply), REDIS_OK);
    return reply;
}

static void commit_whole(bool spelled)
{
    struct buf resp = BUF_INIT, text = BUF_INIT;
    cr_assert(batch_format_whole(b, &known, true, &resp));
    unit_spell_whole(&resp, &text);
    redisReply *reply = reply_to(spelled ? &text : &resp);
    cr_assert_eq(batch_answer(b, reply, &fault), 0, "%s", fault.text);
    freeReplyObject(reply);
    buf_free(&resp);
    buf_free(&text);
}

Test(unit_redis, a_whole_batch)
{
    struct batch_doc *bd = stage_in(doc_new("User:a", 4), batch_unit(b, NULL));
    batch_rely(bd, RELIES_ON_STATE);
    const struct drift *age = incr(bd, "age", 3, 3);
    push(bd, "red", 1);
    load();
    ask("HSET %s @v 4", A);
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 0);
    cr_assert_eq(age->by, 0);
    cr_assert_not(bd->failed);
    assert_string("5", "HGET %s @v", A);
    assert_integer(1, "LLEN %s/tags", A);
    assert_string("7", "GET %s", MARKER);
}

/* The script for those that need no more (whole_one.lua). */
static struct batch_doc *one_of_version(int64_t version)
{
    struct batch_doc *bd = stage_in(doc_new("User:a", version), batch_unit(b, NULL));
    batch_rely(bd, RELIES_ON_STATE);
    set(bd, "name", "x");
    batch_member(b, bd, stored_kinds[TYPE_SORTED], "/queue", 6, false, "job", 3, NULL, 0, 1);
    load();
    known.sha[WHOLE_PLAIN][0] = known.sha[WHOLE_ANY][0] = 'x';
    return bd;
}

Test(unit_redis, a_whole_batch_of_one)
{
    struct batch_doc *bd = one_of_version(4);
    ask("HSET %s @v 4", A);
    ask("ZADD %s/queue 1 job 2 other", A);
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 0);
    cr_assert_not(bd->failed);
    cr_assert_eq(bd->version.by, 0);
    assert_string("5", "HGET %s @v", A);
    assert_string("x", "HGET %s name", A);
    assert_integer(1, "ZCARD %s/queue", A);
    assert_string("7", "GET %s", MARKER);
}

/* Whoever hears of batches, as other daemons and this one do. */
static redisContext *listener(void)
{
    redisContext *c = redisConnectUnix(server.address + 5);
    void *second;
    freeReplyObject(redisCommand(c, "SUBSCRIBE rapyer:@changes rapyer:@own:me"));
    redisGetReply(c, &second);
    freeReplyObject(second);
    return c;
}

/* [daemon, [the marker]], on each channel. */
static void assert_told_refused(redisContext *c)
{
    static const char wanted[] = "\x92\xa2me\x91\xa5"
                                 "7 0/1";
    for (int i = 0; i < 2; i++) {
        redisReply *message;
        struct timeval soon = {.tv_sec = 10};
        redisSetTimeout(c, soon);
        cr_assert_eq(redisGetReply(c, (void **)&message), REDIS_OK, "nobody was told");
        cr_assert_eq(message->element[2]->len, sizeof(wanted) - 1);
        cr_assert_eq(memcmp(message->element[2]->str, wanted, sizeof(wanted) - 1), 0);
        freeReplyObject(message);
    }
    redisFree(c);
}

Test(unit_redis, a_whole_batch_of_one_that_is_refused)
{
    struct batch_doc *bd = one_of_version(4);
    ask("HSET %s @v 6", A);
    redisContext *told = listener();
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 1);
    cr_assert(unit_outdated(bd->unit));
    cr_assert_eq(bd->unit->found, 6);
    assert_string("6", "HGET %s @v", A);
    assert_string("7 0/1", "GET %s", MARKER);
    assert_told_refused(told);
}

Test(unit_redis, a_whole_batch_of_one_where_nothing_is)
{
    struct batch_doc *bd = one_of_version(4);
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 1);
    cr_assert_eq(bd->unit->found, 0);
    assert_integer(0, "EXISTS %s", A);
}

Test(unit_redis, a_whole_batch_of_one_where_something_else_is)
{
    struct batch_doc *bd = one_of_version(4);
    ask("SET %s text", A);
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 1);
    cr_assert_eq(bd->unit->found, -1);
    assert_string("text", "GET %s", A);
}

Test(unit_redis, a_whole_batch_of_one_of_which_a_command_fails)
{
    struct batch_doc *bd = one_of_version(4);
    ask("HSET %s @v 4", A);
    ask("SET %s/queue text", A);
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 0);
    cr_assert(bd->failed);
    assert_string("5", "HGET %s @v", A);
}

Test(unit_redis, a_whole_batch_of_one_that_is_new)
{
    struct batch_doc *bd = stage_in(doc_new("User:a", 0), batch_unit(b, NULL));
    batch_rely(bd, RELIES_ON_STATE);
    set(bd, "name", "x");
    load();
    known.sha[WHOLE_PLAIN][0] = known.sha[WHOLE_ANY][0] = 'x';
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 0);
    assert_string("x", "HGET %s name", A);
}

Test(unit_redis, a_whole_batch_that_is_refused)
{
    struct batch_doc *bd = stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5));
    set(bd, "name", "x");
    load();
    redisContext *told = listener();
    commit_whole(false);
    cr_assert_eq(bd->unit->refused_by, 1);
    assert_integer(0, "EXISTS %s", A);
    assert_string("7 0/1", "GET %s", MARKER);
    assert_told_refused(told);
}

Test(unit_redis, a_whole_batch_for_who_does_not_know_its_script)
{
    struct batch_doc *bd = stage_in(doc_new("User:a", 4), batch_unit(b, NULL));
    struct buf resp = BUF_INIT;
    batch_rely(bd, RELIES_ON_STATE);
    set(bd, "name", "x");
    load();
    ask("SCRIPT FLUSH");
    ask("HSET %s @v 4", A);
    cr_assert(batch_format_whole(b, &known, true, &resp));
    redisReply *reply = reply_to(&resp);
    cr_assert_eq(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    assert_integer(0, "EXISTS %s", MARKER);
    commit_whole(true);
    assert_string("x", "HGET %s name", A);
    assert_string("7", "GET %s", MARKER);
    buf_free(&resp);
}

/* Of what is refused by its first command nothing is there. */
Test(unit_redis, a_whole_batch_without_a_marker)
{
    struct batch_doc *bd = stage_in(doc_new("User:a", 4), batch_unit(b, NULL));
    struct buf resp = BUF_INIT;
    batch_rely(bd, RELIES_ON_STATE);
    set(bd, "name", "x");
    load();
    ask("HSET %s @v 4", A);
    ask("CONFIG SET maxmemory 1");
    cr_assert(batch_format_whole(b, &known, true, &resp));
    redisReply *reply = reply_to(&resp);
    cr_assert_eq(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    assert_integer(0, "EXISTS %s", MARKER);
    assert_string("4", "HGET %s @v", A);
    buf_free(&resp);
}

Test(unit, what_is_no_unit_is_no_whole_batch)
{
    struct buf resp = BUF_INIT;
    set(stage(doc_new("User:a", 0), guard(GUARD_LEASE, LEASE, 5)), "name", "x");
    cr_assert(batch_format_whole(b, &known, true, &resp));
    buf_clear(&resp);
    set(stage(doc_new("User:b", 0), NULL), "name", "x");
    cr_assert_not(batch_format_whole(b, &known, true, &resp));
    cr_assert_eq(resp.len, 0);
    buf_free(&resp);
}
