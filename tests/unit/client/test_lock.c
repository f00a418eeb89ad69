#include "client/include/rapyer.h"
#include "fake_server.h"
#include <poll.h>
#include <sys/wait.h>

/* The fake server grants every lock, with tokens 1, 2, 3 and what is {n: 5}; a pipeline answers
 * with its operations. What it was asked is compared word by word. */

static const rapyer_model Thing = RAPYER_ATOMIC("Thing", RAPYER_FIELD("n", "int", "0"));
static const rapyer_model Shelf =
    RAPYER_ATOMIC("Shelf", RAPYER_FIELD("n", "int", "0"), RAPYER_FIELD("names", "list<str>"),
                  RAPYER_FIELD("things", "list<Thing>"));

static struct fake_server *server;
static rapyer *db;
static rapyer_doc *shelf;

static void set_up(void)
{
    server = fake_start();
    db = rapyer_connect(server->path);
    rapyer_define(db, &Thing, &Shelf);
    shelf = rapyer_open(db, "Shelf:1");
}

static void tear_down(void)
{
    rapyer_free(shelf);
    rapyer_close(db);
    fake_stop(server);
}

TestSuite(lock, .init = set_up, .fini = tear_down);

static void expect_error(rapyer_error code, const char *part)
{
    cr_expect_eq(rapyer_errcode(db), code, "%s", rapyer_errmsg(db));
    cr_expect_not_null(strstr(rapyer_errmsg(db), part), "no '%s' in: %s", part, rapyer_errmsg(db));
    rapyer_clear_error(db);
}

/* What was asked since the last time. */
static void expect_asked(const char *want)
{
    rapyer_value_free(rapyer_call(db, "number", NULL));
    cr_expect_str_eq(fake_log(server), want);
}

static void run(void)
{
    while (rapyer_pending(db)) {
        struct pollfd p = {rapyer_fd(db), rapyer_events(db), 0};
        int n = poll(&p, 1, rapyer_timeout_ms(db));
        rapyer_process(db, n > 0 ? p.revents : 0);
    }
}

static rapyer_doc *lock(const char *action)
{
    rapyer_doc *locked = rapyer_lock(shelf, action, NULL);
    cr_assert_not_null(locked, "%s", rapyer_errmsg(db));
    fake_log(server);
    return locked;
}

Test(lock, options_travel)
{
    rapyer_doc *places[4], *names = rapyer_at(shelf, "names");
    places[0] = rapyer_lock(names, "a", NULL);
    places[1] = rapyer_lock(shelf, "b", &(rapyer_lock_options){.nowait = true, .shared = true});
    places[2] = rapyer_lock(shelf, "c", &(rapyer_lock_options){.wait = 2.5, .ttl = 7});
    places[3] = rapyer_lock_from_key(db, "Shelf:2", "d",
                                     &(rapyer_lock_options){.owner = "me", .no_document = true});
    expect_asked("lock.acquire \"Shelf:1\" \"a\" {\"path\":\"names\",\"mode\":\"exclusive\","
                 "\"document\":true}\n"
                 "lock.acquire \"Shelf:1\" \"b\" {\"path\":\"\",\"mode\":\"shared\",\"wait\":0.0,"
                 "\"document\":true}\n"
                 "lock.acquire \"Shelf:1\" \"c\" {\"path\":\"\",\"mode\":\"exclusive\","
                 "\"ttl\":7.0,\"wait\":2.5,\"document\":true}\n"
                 "lock.acquire \"Shelf:2\" \"d\" {\"path\":\"\",\"mode\":\"exclusive\","
                 "\"owner\":\"me\"}\n");
    cr_expect_str_eq(rapyer_path(places[0]), "names");
    cr_expect_str_eq(rapyer_key(places[3]), "Shelf:2");
    cr_expect_eq(rapyer_int(rapyer_locked(places[0]), "n", 0), 5);
    cr_expect_eq(rapyer_fence(places[1]), 102);
    cr_expect_eq(rapyer_lock_version(places[1]), 3);
    for (int i = 0; i < 4; i++)
        rapyer_free(places[i]);
    rapyer_free(names);
    expect_asked("lock.release 1\nlock.release 2\nlock.release 3\nlock.release 4\n");
}

Test(lock, what_is_written_under_it_carries_its_token)
{
    rapyer_auto_doc *locked = lock("a"), *names = rapyer_at(locked, "names");
    rapyer_set(locked, "n", "1");
    rapyer_append(names, "", "x");
    rapyer_delete(locked);
    expect_asked("pipeline [[\"set\",\"Shelf:1\",\"n\",1]] {\"lock\":1}\n"
                 "pipeline [[\"list.append\",\"Shelf:1\",\"names\",\"x\"]] {\"lock\":1}\n"
                 "pipeline [[\"doc.delete\",\"Shelf:1\"]] {\"lock\":1}\n");
    rapyer_value_free(rapyer_load(locked, "n")); /* reads, and what changes no place, do not */
    rapyer_value_free(rapyer_fetch(locked));
    rapyer_set_ttl(locked, 9);
    rapyer_set(shelf, "n", "2"); /* the plain handle is what it was */
    expect_asked("");
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK, "%s", rapyer_errmsg(db));
}

/* The fake server answers with the list of the operations: of which there is one. */
Test(lock, an_operation_has_its_own_result_and_error)
{
    rapyer_auto_doc *locked = lock("a");
    rapyer_auto_value *popped = rapyer_pop(locked, "names", -1);
    cr_expect_str_eq(rapyer_str(popped, "[0]", ""), "list.pop");
    server->fail_next = "OUT_OF_RANGE: operation 0 (list.pop): names (of Shelf:1): it is empty";
    cr_expect_null(rapyer_pop(locked, "names", -1));
    cr_expect_str_eq(rapyer_errmsg(db), "OUT_OF_RANGE: names (of Shelf:1): it is empty");
    rapyer_clear_error(db);
    cr_expect_eq(rapyer_set(locked, "n", "1"), 0);
}

static void keep(rapyer *d, const rapyer_value *result, void *user)
{
    (void)d;
    *(char **)user = rapyer_to_json(result);
}

Test(lock, operations_need_not_wait)
{
    char *answer = NULL;
    rapyer_doc *locked = lock("a");
    rapyer_auto_doc *thing = rapyer_new(db, "Thing:t", "{n: 1}");
    cr_expect_eq(
        rapyer_send_op(locked, keep, &answer, "list.append", "things", "%p", (void *)thing), 0);
    rapyer_free(locked); /* goes when the operation is over */
    run();
    cr_expect_str_eq(answer, "[\"list.append\",\"Shelf:1\",\"things\",{\"@pk\":\"t\",\"n\":1}]");
    cr_expect_str_eq(rapyer_key(thing), "Shelf:1");
    free(answer);
    expect_asked("pipeline [[\"list.append\",\"Shelf:1\",\"things\",{\"@pk\":\"t\",\"n\":1}]] "
                 "{\"lock\":1}\nlock.release 1\n");
}

Test(lock, what_is_sent_without_waiting_finds_out_too)
{
    rapyer_auto_doc *locked = lock("a");
    server->fail_next = "LOCK_LOST: operation 0 (set): broken by pid 7";
    rapyer_send_op(locked, NULL, NULL, "set", "n", "1");
    run();
    cr_expect_str_eq(rapyer_errmsg(db), "LOCK_LOST: broken by pid 7");
    fake_log(server);
    cr_expect_lt(rapyer_send_op(locked, NULL, NULL, "set", "n", "1"), 0);
    expect_error(RAPYER_LOCK_LOST, "broken");
    expect_asked("");
}

Test(lock, a_pipeline_carries_the_locks_of_all_in_it)
{
    rapyer_auto_doc *one = lock("a"), *two = rapyer_lock_from_key(db, "Shelf:2", "a", NULL);
    rapyer_auto_doc *other = rapyer_open(db, "Shelf:3");
    rapyer_doc *p = rapyer_begin(one), *q = rapyer_join(p, two), *r = rapyer_join(q, other);
    fake_log(server);
    rapyer_set(r, "n", "3"); /* under two, by r; under one, by p */
    cr_expect_eq(rapyer_commit(p), 0);
    rapyer_set(q, "n", "2");
    rapyer_abort(p);
    rapyer_set(p, "n", "1");
    rapyer_if_version(p, 3);
    cr_expect_eq(rapyer_commit(p), 0);
    cr_expect_eq(rapyer_commit(p), 0); /* nothing to do */
    expect_asked("pipeline [[\"set\",\"Shelf:3\",\"n\",3]] {\"lock\":[1,2]}\n"
                 "pipeline [[\"set\",\"Shelf:1\",\"n\",1]] "
                 "{\"if_version\":{\"Shelf:1\":3},\"lock\":[1]}\n");
    rapyer_free(p);
    rapyer_free(q);
    rapyer_free(r);
    p = rapyer_begin(other); /* under none, but what is joined is */
    q = rapyer_join(p, two);
    rapyer_set(p, "n", "1");
    rapyer_set(q, "n", "2");
    cr_expect_lt(rapyer_unlock(p), 0);
    expect_error(RAPYER_BAD_VALUE, "not begun under a lock");
    cr_expect_eq(rapyer_commit(p), 0);
    expect_asked("pipeline [[\"set\",\"Shelf:3\",\"n\",1],[\"set\",\"Shelf:2\",\"n\",2]] "
                 "{\"lock\":[2]}\n");
    rapyer_free(p);
    rapyer_free(q);
}

Test(lock, unlock_commits_what_was_gathered)
{
    rapyer_auto_doc *one = lock("a"), *two = rapyer_lock_from_key(db, "Shelf:2", "a", NULL);
    rapyer_auto_doc *p = rapyer_begin(one), *q = rapyer_join(p, two);
    fake_log(server);
    rapyer_set(p, "n", "1");
    rapyer_set(q, "n", "2");
    rapyer_if_version(q, 0);
    cr_expect_lt(rapyer_unlock(q), 0);
    expect_error(RAPYER_BAD_VALUE, "rapyer_lock or rapyer_begin");
    server->fail_next = "CONFLICT: Shelf:2 has version 3";
    cr_expect_lt(rapyer_unlock(p), 0);
    expect_error(RAPYER_CONFLICT, "version 3");
    fake_log(server);
    rapyer_set(p, "n", "3"); /* still held, and the pipeline is empty */
    rapyer_set(q, "n", "4");
    cr_expect_eq(rapyer_unlock(p), 0, "%s", rapyer_errmsg(db));
    cr_expect_eq(rapyer_len(rapyer_results(p)), 2);
    expect_asked(
        "lock.release [1,2] [[\"set\",\"Shelf:1\",\"n\",3],[\"set\",\"Shelf:2\",\"n\",4]]\n");
    cr_expect_lt(rapyer_set(one, "n", "5"), 0);
    expect_error(RAPYER_LOCK_LOST, "'a' of Shelf:1 was released by rapyer_unlock");
    rapyer_set(q, "n", "6");
    cr_expect_lt(rapyer_commit(p), 0);
    expect_error(RAPYER_LOCK_LOST, "released");
    cr_expect_lt(rapyer_unlock(two), 0);
    expect_error(RAPYER_LOCK_LOST, "'a' of Shelf:2");
    expect_asked("");
}

Test(lock, unlock_without_anything_gathered)
{
    rapyer_auto_doc *one = lock("a"), *two = lock("b"), *p = rapyer_begin(two);
    cr_expect_eq(rapyer_unlock(one), 0);
    cr_expect_eq(rapyer_unlock(p), 0, "%s", rapyer_errmsg(db));
    cr_expect_lt(rapyer_unlock(shelf), 0);
    expect_error(RAPYER_BAD_VALUE, "not under a lock");
    cr_expect_lt(rapyer_unlock(NULL), 0);
    expect_asked("lock.release 1\nlock.release [2] []\n");
}

Test(lock, the_last_handle_releases)
{
    rapyer_doc *locked = lock("a"), *names = rapyer_at(locked, "names"), *p = rapyer_begin(names);
    rapyer_append(p, "", "x");
    rapyer_free(locked);
    rapyer_free(names);
    expect_asked("");
    rapyer_free(p);
    expect_asked("lock.release 1\n");
}

Test(lock, what_is_lost_is_refused_here)
{
    rapyer_auto_doc *locked = lock("a"), *p = rapyer_begin(locked);
    server->fail_next = "LOCK_LOST: 'a' of Shelf:1: its ttl of 30 s is over";
    cr_expect_lt(rapyer_set(locked, "n", "1"), 0);
    expect_error(RAPYER_LOCK_LOST, "its ttl");
    fake_log(server);
    cr_expect_lt(rapyer_set(locked, "n", "2"), 0);
    expect_error(RAPYER_LOCK_LOST, "its ttl");
    cr_expect_null(rapyer_load(locked, "n"));
    expect_error(RAPYER_LOCK_LOST, "its ttl");
    rapyer_set(p, "n", "3");
    cr_expect_lt(rapyer_unlock(p), 0);
    expect_error(RAPYER_LOCK_LOST, "its ttl");
    cr_expect_lt(rapyer_renew(locked, 5), 0);
    expect_error(RAPYER_LOCK_LOST, "its ttl");
    cr_expect_eq(rapyer_int(rapyer_locked(locked), "n", 0), 5); /* known is known */
    expect_asked("");
    cr_expect_eq(rapyer_set(shelf, "n", "4"), 0);
}

Test(lock, renew_begins_the_ttl_anew)
{
    rapyer_auto_doc *locked = lock("a");
    cr_expect_eq(rapyer_renew(locked, 0), 0);
    cr_expect_eq(rapyer_renew(locked, 2.5), 0);
    cr_expect_lt(rapyer_renew(shelf, 1), 0);
    expect_error(RAPYER_BAD_VALUE, "not under a lock");
    expect_asked("lock.renew 1\nlock.renew 1 2.5\n");
    server->fail_next = "LOCK_LOST: it was broken by pid 12 (rapyerctl), uid 0";
    cr_expect_lt(rapyer_renew(locked, 1), 0);
    expect_error(RAPYER_LOCK_LOST, "rapyerctl");
    cr_expect_lt(rapyer_set(locked, "n", "1"), 0);
    expect_error(RAPYER_LOCK_LOST, "rapyerctl");
}

Test(lock, a_token_never_goes_to_another_connection)
{
    rapyer_auto_doc *one = lock("a"), *two = lock("b"), *three = lock("c"), *p = rapyer_begin(two);
    rapyer_value_free(rapyer_call(db, "drop", NULL));
    expect_error(RAPYER_UNKNOWN_OUTCOME, "lost");
    cr_expect_lt(rapyer_set(one, "n", "1"), 0);
    expect_error(RAPYER_LOCK_LOST, "'a' of Shelf:1 was lost with the connection");
    cr_expect_eq(rapyer_set(shelf, "n", "1"), 0); /* connects again */
    cr_expect_eq(server->connections, 2);
    cr_expect_lt(rapyer_set(one, "n", "1"), 0);
    expect_error(RAPYER_LOCK_LOST, "connection");
    rapyer_set(p, "n", "1");
    cr_expect_lt(rapyer_commit(p), 0);
    expect_error(RAPYER_LOCK_LOST, "'b' of Shelf:1");
    cr_expect_lt(rapyer_send_unlock(three, NULL, NULL), 0);
    expect_error(RAPYER_LOCK_LOST, "'c' of Shelf:1");
    rapyer_auto_doc *again = rapyer_lock(shelf, "a", NULL);
    cr_expect_eq(rapyer_set(again, "n", "1"), 0);
    fake_log(server);
    expect_asked("");
}

/* The connection breaks under the call itself: a read is sent again elsewhere, but not with this.
 */
Test(lock, nothing_under_it_is_sent_again)
{
    rapyer_auto_doc *one = lock("a");
    server->drop_next = true;
    cr_expect_null(rapyer_load(one, "n"));
    expect_error(RAPYER_LOCK_LOST, "connection");
    rapyer_auto_doc *two = rapyer_lock(shelf, "b", NULL), *p = rapyer_begin(two);
    server->drop_next = true;
    rapyer_set(p, "n", "1");
    cr_expect_lt(rapyer_unlock(p), 0);
    expect_error(RAPYER_UNKNOWN_OUTCOME, "lost");
    cr_expect_lt(rapyer_unlock(p), 0);
    expect_error(RAPYER_LOCK_LOST, "");
    cr_expect_eq(server->connections, 2);
    server->drop_next = true;
    rapyer_auto_doc *three = rapyer_lock(shelf, "c", NULL); /* taking one is: it was not ours yet */
    cr_expect_not_null(three, "%s", rapyer_errmsg(db));
}

static rapyer_doc *granted;
static int answers;

static void take(rapyer *d, rapyer_doc *given, void *user)
{
    (void)d;
    (void)user;
    granted = given;
    answers++;
}

Test(lock, waiting_outlasts_the_timeout)
{
    rapyer_set_timeout(db, 40);
    cr_expect_eq(rapyer_send_lock(shelf, "late", NULL, take, NULL), 0); /* of no end */
    cr_expect_eq(rapyer_timeout_ms(db), -1);
    rapyer_doc *shorter = rapyer_lock(shelf, "b", &(rapyer_lock_options){.wait = 100});
    cr_expect_not_null(shorter);
    run(); /* the late answer came with that one's */
    cr_expect_eq(answers, 1);
    rapyer_free(granted);
    rapyer_free(shorter);

    rapyer_send_lock(shelf, "late", NULL, take, NULL);
    cr_expect_null(rapyer_call(db, "silent", NULL)); /* an ordinary call is not kept waiting */
    expect_error(RAPYER_UNKNOWN_OUTCOME, "within 40 ms");
    cr_expect_eq(answers, 1);
    rapyer_value_free(rapyer_call(db, "number", NULL));
    cr_expect_eq(answers, 2);
    rapyer_free(granted);
    run();

    rapyer_send_lock(shelf, "late", &(rapyer_lock_options){.wait = 60}, take, NULL);
    cr_expect_gt(rapyer_timeout_ms(db), 59000);
    rapyer_value_free(rapyer_call(db, "number", NULL));
    cr_expect_eq(answers, 3);
    rapyer_free(granted);
}

Test(lock, who_waits_least_is_told_first)
{
    static const double waits[] = {0, 60, 0.02, 0, 30};
    rapyer_set_timeout(db, 20);
    for (int i = 0; i < 5; i++)
        rapyer_send_lock(shelf, "never", &(rapyer_lock_options){.wait = waits[i]}, take, NULL);
    cr_expect_leq(rapyer_timeout_ms(db), 41);
    while (!answers) {
        struct pollfd p = {rapyer_fd(db), rapyer_events(db), 0};
        rapyer_process(db, poll(&p, 1, rapyer_timeout_ms(db)) > 0 ? p.revents : 0);
    }
    expect_error(RAPYER_UNAVAILABLE, "within 41 ms");
    cr_expect_gt(rapyer_timeout_ms(db), 29000);
    cr_expect_eq(rapyer_pending(db), 4);
    rapyer_free(shelf);
    shelf = NULL;
    rapyer_close(db);
    cr_expect_eq(answers, 5);
    db = NULL;
}

Test(lock, what_is_granted_too_late_is_given_back)
{
    rapyer_set_timeout(db, 40);
    cr_expect_null(rapyer_lock(shelf, "late", &(rapyer_lock_options){.wait = 0.1}));
    expect_error(RAPYER_UNAVAILABLE, "within 141 ms");
    cr_expect_eq(rapyer_pending(db), 0);
    fake_log(server);
    rapyer_value_free(rapyer_call(db, "number", NULL)); /* brings the answer */
    expect_asked("lock.release 1\n");
}

Test(lock, taking_and_releasing_need_not_wait)
{
    char *answer = NULL;
    rapyer_auto_doc *names = rapyer_at(shelf, "names");
    cr_expect_eq(rapyer_send_lock(names, "a", NULL, take, NULL), 0);
    run();
    cr_assert_eq(answers, 1);
    rapyer_append(granted, "", "x");
    rapyer_doc *p = rapyer_begin(granted);
    rapyer_append(p, "", "y");
    cr_expect_eq(rapyer_send_unlock(p, keep, &answer), 0);
    cr_expect_lt(rapyer_append(granted, "", "z"), 0);
    expect_error(RAPYER_BUSY, "being released");
    rapyer_free(p);
    rapyer_free(granted); /* what is sent is sent */
    run();
    cr_expect_str_eq(answer, "[[\"list.append\",\"Shelf:1\",\"names\",\"y\"]]");
    free(answer);
    expect_asked("lock.acquire \"Shelf:1\" \"a\" {\"path\":\"names\",\"mode\":\"exclusive\","
                 "\"document\":true}\n"
                 "pipeline [[\"list.append\",\"Shelf:1\",\"names\",\"x\"]] {\"lock\":1}\n"
                 "lock.release [1] [[\"list.append\",\"Shelf:1\",\"names\",\"y\"]]\n");

    rapyer_auto_doc *locked = lock("b");
    cr_expect_eq(rapyer_send_unlock(locked, keep, &answer), 0);
    cr_expect_lt(rapyer_send_unlock(locked, keep, &answer), 0);
    expect_error(RAPYER_BUSY, "being released");
    run();
    cr_expect_str_eq(answer, "[]");
    free(answer);
    server->fail_next = "DEADLOCK: pid 1 waits for pid 2";
    rapyer_send_lock(shelf, "c", NULL, take, NULL);
    run();
    cr_expect_null(granted);
    expect_error(RAPYER_DEADLOCK, "pid 2");
    rapyer_send_lock(shelf, "d", NULL, NULL, NULL); /* nobody takes it */
    run();
    fake_log(server);
    expect_asked("");
}

Test(lock, a_release_overtakes_nothing)
{
    rapyer_doc *locked = lock("a"), *p = rapyer_begin(locked), *q = rapyer_begin(locked);
    rapyer_send_op(locked, NULL, NULL, "set", "n", "1");
    cr_expect_lt(rapyer_unlock(locked), 0);
    expect_error(RAPYER_BUSY, "writes under the lock 'a' of Shelf:1 are without an answer (1)");
    rapyer_set(p, "n", "2");
    rapyer_send_commit(p, NULL, NULL);
    rapyer_set(q, "n", "3");
    cr_expect_lt(rapyer_send_unlock(q, NULL, NULL), 0);
    expect_error(RAPYER_BUSY, "(2)");
    run();
    cr_expect_eq(rapyer_unlock(q), 0); /* it has kept what was gathered */
    expect_asked("pipeline [[\"set\",\"Shelf:1\",\"n\",1]] {\"lock\":1}\n"
                 "pipeline [[\"set\",\"Shelf:1\",\"n\",2]] {\"lock\":[1]}\n"
                 "lock.release [1] [[\"set\",\"Shelf:1\",\"n\",3]]\n");
    rapyer_free(p);
    rapyer_free(q);
    rapyer_free(locked);
    locked = lock("b");
    p = rapyer_begin(locked);
    rapyer_send_op(locked, NULL, NULL, "set", "n", "1");
    rapyer_set(p, "n", "2");
    rapyer_send_commit(p, NULL, NULL);
    rapyer_free(p);
    rapyer_free(locked);
    cr_expect_eq(rapyer_pending(db), 2); /* the release is not among them yet */
    run();
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK, "%s", rapyer_errmsg(db));
    expect_asked("pipeline [[\"set\",\"Shelf:1\",\"n\",1]] {\"lock\":2}\n"
                 "pipeline [[\"set\",\"Shelf:1\",\"n\",2]] {\"lock\":[2]}\n"
                 "lock.release 2\n");
}

Test(lock, several_at_once)
{
    rapyer_auto_doc *other = rapyer_open(db, "Shelf:2");
    rapyer_doc *locks[2];
    cr_expect_eq(rapyer_lock_all(db, (rapyer_lock_item[]){{shelf, "a", false}, {other, "b", true}},
                                 2, &(rapyer_lock_options){.wait = 2}, locks),
                 0);
    expect_asked("lock.acquire_many [[\"Shelf:1\",\"a\",{\"path\":\"\",\"mode\":\"exclusive\"}],"
                 "[\"Shelf:2\",\"b\",{\"path\":\"\",\"mode\":\"shared\"}]] "
                 "{\"wait\":2.0,\"document\":true}\n");
    cr_expect_str_eq(rapyer_key(locks[1]), "Shelf:2");
    cr_expect_eq(rapyer_fence(locks[1]), 102);
    cr_expect_eq(rapyer_int(rapyer_locked(locks[1]), "n", 0), 5);
    rapyer_free(locks[0]);
    rapyer_free(locks[1]);
    expect_asked("lock.release 1\nlock.release 2\n");
    server->fail_next = "LOCK_TIMEOUT: 'b' of Shelf:2 is held by pid 7";
    cr_expect_lt(rapyer_lock_all(db, (rapyer_lock_item[]){{shelf, "a", false}, {other, "b", true}},
                                 2, NULL, locks),
                 0);
    expect_error(RAPYER_LOCK_TIMEOUT, "pid 7");
    cr_expect_null(locks[0]);
    cr_expect_null(locks[1]);
    cr_expect_lt(rapyer_lock_all(db, (rapyer_lock_item[]){{shelf, "a", false}, {NULL, NULL, false}},
                                 2, NULL, locks),
                 0);
}

Test(lock, only_places_of_saved_documents_have_locks)
{
    rapyer_auto_doc *draft = rapyer_new(db, "Shelf", "{}");
    cr_expect_null(rapyer_lock(draft, "a", NULL));
    expect_error(RAPYER_BAD_VALUE, "draft");
    cr_expect_null(rapyer_lock(shelf, NULL, NULL));
    expect_error(RAPYER_BAD_VALUE, "action");
    cr_expect_null(rapyer_lock(NULL, "a", NULL));
    cr_expect_null(rapyer_lock_from_key(db, "nokey", "a", NULL));
    expect_error(RAPYER_BAD_KEY, "nokey");
    cr_expect_null(rapyer_locked(shelf));
    expect_error(RAPYER_BAD_VALUE, "not under a lock");
    cr_expect_eq(rapyer_fence(NULL), -1);
    expect_asked("");
}

Test(lock, a_child_has_none_of_them)
{
    rapyer_doc *one = lock("a"), *two = lock("b");
    pid_t child = fork();
    if (child == 0) {
        bool refused = rapyer_set(one, "n", "1") < 0 && rapyer_errcode(db) == RAPYER_LOCK_LOST &&
                       strstr(rapyer_errmsg(db), "parent process");
        rapyer_free(one); /* nothing of the parent's is released, */
        refused = refused && rapyer_set(shelf, "n", "1") == 0; /* not over the new connection, */
        refused = refused && rapyer_unlock(two) < 0;           /* either */
        rapyer_free(two);
        rapyer_value_free(rapyer_call(db, "number", NULL));
        _exit(refused && server->connections == 1 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_expect_eq(status, 0);
    expect_asked("");
    cr_expect_eq(rapyer_set(one, "n", "1"), 0);
    rapyer_free(one);
    rapyer_free(two);
    fake_log(server);
}

Test(lock, handles_may_outlive_the_connection)
{
    rapyer_doc *locked = lock("a"), *p = rapyer_begin(locked);
    rapyer_set(p, "n", "1");
    rapyer_send_lock(shelf, "late", NULL, take, NULL);
    rapyer_close(db);
    cr_expect_eq(answers, 1);
    cr_expect_null(granted);
    cr_expect_lt(rapyer_set(locked, "n", "1"), 0);
    expect_error(RAPYER_UNAVAILABLE, "rapyer_close");
    cr_expect_lt(rapyer_unlock(p), 0);
    expect_error(RAPYER_UNAVAILABLE, "rapyer_close");
    rapyer_free(p);
    cr_expect_eq(rapyer_fence(locked), 101);
    rapyer_free(locked);
    db = NULL;
}
