#include "client/include/rapyer.h"
#include "fake_server.h"
#include <poll.h>

/* The fake server answers a pipeline with its first parameter: the operations as they were sent. */

static const rapyer_model Thing = RAPYER_ATOMIC("Thing", RAPYER_FIELD("n", "int", "0"));
static const rapyer_model Shelf =
    RAPYER_ATOMIC("Shelf", RAPYER_FIELD("n", "int", "0"), RAPYER_FIELD("half", "float", "0.5"),
                  RAPYER_FIELD("names", "list<str>"), RAPYER_FIELD("things", "list<Thing>"));

static const rapyer_model Box = RAPYER_ATOMIC("Box", RAPYER_FIELD("n", "int", "0"));
static const rapyer_model Hall = RAPYER_ATOMIC("Hall", RAPYER_FIELD("boxes", "dict<list<Box>>"),
                                               RAPYER_FIELD("best", "optional<ref<Box>>"),
                                               RAPYER_FIELD("kind", "enum<Box|int>", "'Box'"));

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

TestSuite(pipeline, .init = set_up, .fini = tear_down);

static void expect_error(rapyer_error code, const char *part)
{
    cr_expect_eq(rapyer_errcode(db), code, "%s", rapyer_errmsg(db));
    cr_expect_not_null(strstr(rapyer_errmsg(db), part), "no '%s' in: %s", part, rapyer_errmsg(db));
    rapyer_clear_error(db);
}

static void expect_json(const rapyer_value *v, const char *want)
{
    char *json = rapyer_to_json(v);
    cr_expect_str_eq(json, want);
    free(json);
}

Test(pipeline, operations_travel_in_order)
{
    rapyer_auto_doc *p = rapyer_begin(shelf), *names = rapyer_at(p, "names");
    rapyer_auto_doc *other = rapyer_open(db, "Shelf:2"), *q = rapyer_join(p, other);
    cr_expect_eq(rapyer_append(names, "", "a"), 0);
    cr_expect_eq(rapyer_set(q, "n", "7"), 0);
    cr_expect_eq(rapyer_delete(q), 0);
    cr_expect_null(rapyer_results(p));
    cr_expect_eq(rapyer_commit(p), 0, "%s", rapyer_errmsg(db));
    expect_json(rapyer_results(p), "[[\"list.append\",\"Shelf:1\",\"names\",\"a\"],"
                                   "[\"set\",\"Shelf:2\",\"n\",7],[\"doc.delete\",\"Shelf:2\"]]");
    cr_expect_eq(rapyer_set(p, "n", "8"), 0);
    cr_expect_eq(rapyer_commit(p), 0);
    expect_json(rapyer_results(p), "[[\"set\",\"Shelf:1\",\"n\",8]]");
}

Test(pipeline, conditions_and_whole_documents_travel_too)
{
    rapyer_auto_doc *p = rapyer_begin(shelf);
    rapyer_auto_doc *other = rapyer_open(db, "Shelf:2"), *q = rapyer_join(p, other);
    cr_expect_eq(rapyer_if(q, "n", "{'>=': %d}", 3), 0);
    cr_expect_eq(rapyer_if_next(p, "names", 1, "{exists: true}"), 0);
    cr_expect_eq(rapyer_set_ttl(p, 60), 0);
    cr_expect_eq(rapyer_persist(q), 0);
    rapyer_auto_doc *copy = rapyer_duplicate(p, "3");
    cr_expect_str_eq(rapyer_key(copy), "Shelf:3");
    cr_expect_eq(rapyer_commit(p), 0, "%s", rapyer_errmsg(db));
    expect_json(rapyer_results(p),
                "[[\"if\",\"Shelf:2\",\"n\",{\">=\":3}],"
                "[\"if\",\"Shelf:1\",\"names\",{\"exists\":true},1],[\"doc.ttl\",\"Shelf:1\",60],"
                "[\"doc.persist\",\"Shelf:2\"],[\"doc.duplicate\",\"Shelf:1\",\"3\"]]");
}

Test(pipeline, names_have_their_namespace_before_them)
{
    cr_expect_lt(rapyer_set_namespace(db, "shop"), 0); /* it has models already */
    expect_error(RAPYER_BAD_VALUE, "before");
    rapyer_auto *other = rapyer_connect(server->path);
    cr_expect_lt(rapyer_set_namespace(other, "a b"), 0);
    cr_expect_eq(rapyer_set_namespace(other, "shop"), 0);
    rapyer_clear_error(other);
    rapyer_define(other, &Box, &Hall);
    rapyer_auto_doc *hall = rapyer_new(other, "Hall:1", "{boxes: {a: [{n: 1}]}}");
    cr_assert_not_null(hall, "%s", rapyer_errmsg(other));
    rapyer_auto_doc *box = rapyer_open(other, "Box:1"), *far = rapyer_open(other, "blog.Box:1");
    cr_expect_str_eq(rapyer_key(box), "shop.Box:1");
    cr_expect_str_eq(rapyer_key(far), "blog.Box:1");
    rapyer_auto_doc *p = rapyer_begin(box), *q = rapyer_join(p, hall);
    cr_expect_eq(rapyer_incr(p, "n", 1, NULL), 0);
    cr_expect_eq(rapyer_save(q), 0, "%s", rapyer_errmsg(other));
    cr_expect_eq(rapyer_commit(p), 0, "%s", rapyer_errmsg(other));
    cr_expect_str_eq(rapyer_str(rapyer_results(p), "[0][1]", ""), "shop.Box:1");
    cr_expect_str_eq(rapyer_str(rapyer_results(p), "[1][1]", ""), "shop.Hall:1");
}

Test(pipeline, answers_are_not_made_up)
{
    rapyer_auto_doc *p = rapyer_begin(shelf);
    int64_t now = 99;
    double nowf = 9.5;
    cr_expect_eq(rapyer_incr(p, "n", 1, &now), 0);
    cr_expect_eq(rapyer_incrf(p, "half", 1, &nowf), 0);
    rapyer_auto_value *popped = rapyer_pop(p, "names", -1);
    cr_expect_eq(now, 99);
    cr_expect_eq(nowf, 9.5);
    cr_expect_not_null(popped);
    cr_expect_eq(rapyer_kind_of(popped), RAPYER_NULL);
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK);
}

Test(pipeline, reading_does_not_wait)
{
    rapyer_auto_doc *p = rapyer_begin(shelf);
    rapyer_set(p, "n", "1");
    rapyer_auto_value *v = rapyer_load(p, "n"); /* the fake one answers with the key */
    cr_expect_str_eq(rapyer_str(v, "", ""), "Shelf:1");
    cr_expect_eq(rapyer_commit(p), 0);
    cr_expect_eq(rapyer_len(rapyer_results(p)), 1);
}

Test(pipeline, inner_blocks_join_and_take_back_only_their_own)
{
    rapyer_auto_doc *p = rapyer_begin(shelf);
    rapyer_set(p, "n", "1");
    rapyer_doc *kept = rapyer_begin(p);
    rapyer_set(kept, "n", "2");
    cr_expect_eq(rapyer_commit(kept), 0);
    rapyer_set(kept, "n", "3"); /* the outer one's */
    rapyer_abort(kept);
    rapyer_free(kept);
    rapyer_doc *dropped = rapyer_begin(p);
    rapyer_if_version(dropped, 5);
    cr_expect_lt(rapyer_set(dropped, "n", "{"), 0); /* spoils the inner one alone */
    rapyer_free(dropped);
    rapyer_set(p, "n", "4");
    rapyer_clear_error(db);
    cr_expect_eq(rapyer_commit(p), 0, "%s", rapyer_errmsg(db));
    expect_json(rapyer_results(p), "[[\"set\",\"Shelf:1\",\"n\",1],[\"set\",\"Shelf:1\",\"n\",2],"
                                   "[\"set\",\"Shelf:1\",\"n\",3],[\"set\",\"Shelf:1\",\"n\",4]]");
}

Test(pipeline, blocks_may_end_in_any_order)
{
    rapyer_doc *p = rapyer_begin(shelf);
    rapyer_set(p, "n", "1");
    rapyer_if_version(p, 3);
    rapyer_doc *early = rapyer_begin(p);
    rapyer_set(early, "n", "2");
    rapyer_doc *late = rapyer_begin(early);
    rapyer_set(late, "n", "3");
    rapyer_abort(early); /* and with it what late has gathered */
    rapyer_set(p, "n", "4");
    rapyer_set(late, "n", "5");
    rapyer_abort(p);
    rapyer_set(p, "n", "6");
    rapyer_free(late); /* nothing is left from before it began: back to that */
    rapyer_set(early, "n", "7");
    cr_expect_eq(rapyer_commit(early), 0);
    rapyer_set(p, "n", "8");
    rapyer_free(early);
    cr_expect_eq(rapyer_commit(p), 0, "%s", rapyer_errmsg(db));
    expect_json(rapyer_results(p), "[[\"set\",\"Shelf:1\",\"n\",7],[\"set\",\"Shelf:1\",\"n\",8]]");
    rapyer_set(p, "n", "9");
    rapyer_doc *last = rapyer_begin(p);
    rapyer_free(p);
    cr_expect_lt(rapyer_set(last, "n", "10"), 0);
    cr_expect_lt(rapyer_commit(last), 0);
    expect_error(RAPYER_BAD_REQUEST, "is over");
    rapyer_free(last);
}

Test(pipeline, a_refused_operation_spoils_the_whole)
{
    rapyer_auto_doc *p = rapyer_begin(shelf);
    rapyer_set(p, "n", "1");
    cr_expect_lt(rapyer_append(p, "names", "[a"), 0);
    cr_expect_lt(rapyer_append(p, "names", "%p", NULL), 0);
    rapyer_clear_error(db);
    cr_expect_lt(rapyer_commit(p), 0);
    expect_error(RAPYER_BAD_REQUEST, "operation 1 (list.append): ");
    cr_expect_eq(rapyer_commit(p), 0); /* empty, and good again */
    cr_expect_null(rapyer_results(p));
}

Test(pipeline, drafts_are_held_and_move_when_it_is_done)
{
    rapyer_auto_doc *p = rapyer_begin(shelf);
    rapyer_auto_doc *thing = rapyer_new(db, "Thing", "{n: 1}");
    rapyer_append(p, "things", "%p", thing);
    cr_expect_lt(rapyer_incr(thing, "n", 1, NULL), 0);
    expect_error(RAPYER_BUSY, "on its way");
    cr_expect_lt(rapyer_append(p, "things", "%p", thing), 0);
    rapyer_abort(p);
    cr_expect_eq(rapyer_incr(thing, "n", 1, NULL), 0);

    server->drop_next = true;
    rapyer_append(p, "things", "%p", thing);
    cr_expect_lt(rapyer_commit(p), 0);
    expect_error(RAPYER_UNKNOWN_OUTCOME, "lost");
    cr_expect(rapyer_is_draft(thing));

    rapyer_append(p, "things", "%p", thing);
    cr_expect_eq(rapyer_commit(p), 0);
    cr_expect_not(rapyer_is_draft(thing));
    cr_expect_eq(rapyer_int(rapyer_results(p), "[0][3].n", 0), 2);
    cr_expect(strncmp(rapyer_path(thing), "things[", 7) == 0, "%s", rapyer_path(thing));
    cr_expect_not_null(strstr(rapyer_path(thing), rapyer_pk(thing)));
    cr_expect_str_eq(rapyer_key(thing), "Shelf:1");
}

Test(pipeline, a_draft_is_saved_with_it)
{
    rapyer_auto_doc *fresh = rapyer_new(db, "Shelf:new", "{n: 1}");
    rapyer_auto_doc *p = rapyer_begin(fresh);
    rapyer_set(p, "n", "2"); /* a draft: at once */
    cr_expect_eq(rapyer_if_version(p, 0), 0);
    cr_expect_eq(rapyer_save(p), 0);
    cr_expect(rapyer_is_draft(fresh));
    cr_expect_eq(rapyer_commit(p), 0, "%s", rapyer_errmsg(db));
    cr_expect_str_eq(rapyer_key(fresh), "Shelf:new");
    cr_expect_eq(rapyer_int(rapyer_results(p), "[0][2].n", 0), 2);
    cr_expect_eq(server->writes, 0);
}

static int calls;
static void count(rapyer *d, const rapyer_value *result, void *user)
{
    (void)d;
    cr_expect_not_null(result);
    *(size_t *)user = rapyer_len(result);
    calls++;
}

Test(pipeline, a_commit_need_not_wait)
{
    size_t len = 9;
    rapyer_doc *p = rapyer_begin(shelf);
    cr_expect_eq(rapyer_send_commit(p, count, &len), 0); /* nothing to do: told at once */
    cr_expect_eq(calls, 1);
    cr_expect_eq(len, 0);
    rapyer_auto_doc *thing = rapyer_new(db, "Thing", "{}");
    rapyer_append(p, "things", "%p", thing);
    rapyer_set(p, "n", "1");
    cr_expect_lt(rapyer_send_op(p, count, &len, "set", "n", "2"), 0);
    expect_error(RAPYER_BAD_REQUEST, "rapyer_send_commit");
    cr_expect_lt(rapyer_send_commit(p, count, &len), 0); /* spoiled by that */
    expect_error(RAPYER_BAD_REQUEST, "operation 2 (set)");
    rapyer_append(p, "things", "%p", thing);
    cr_expect_eq(rapyer_send_op(p, NULL, NULL, "set", "n", "2"), 0);
    cr_expect_eq(rapyer_send_commit(p, count, &len), 0);
    rapyer_free(p); /* what is sent is sent */
    cr_expect_eq(calls, 1);
    while (rapyer_pending(db)) {
        struct pollfd fd = {rapyer_fd(db), rapyer_events(db), 0};
        int n = poll(&fd, 1, rapyer_timeout_ms(db));
        rapyer_process(db, n > 0 ? fd.revents : 0);
    }
    cr_expect_eq(calls, 2);
    cr_expect_eq(len, 2);
    cr_expect_not(rapyer_is_draft(thing));
}

Test(pipeline, handles_may_outlive_it_and_the_connection)
{
    rapyer_doc *p = rapyer_begin(shelf), *names = rapyer_at(p, "names");
    rapyer_doc *thing = rapyer_new(db, "Thing", "{}");
    rapyer_append(p, "things", "%p", thing);
    rapyer_free(p);
    cr_expect_lt(rapyer_append(names, "", "a"), 0);
    expect_error(RAPYER_BAD_REQUEST, "is over");
    cr_expect_lt(rapyer_commit(names), 0);
    expect_error(RAPYER_BAD_VALUE, "rapyer_begin");
    cr_expect_null(rapyer_join(shelf, thing));
    expect_error(RAPYER_BAD_VALUE, "rapyer_begin");
    cr_expect_null(rapyer_begin(NULL));

    p = rapyer_begin(shelf);
    rapyer_append(p, "things", "%p", thing);
    rapyer_close(db);
    cr_expect_lt(rapyer_commit(p), 0);
    rapyer_free(p);
    cr_expect_eq(rapyer_set(thing, "n", "1"), 0); /* a draft needs no connection */
    rapyer_free(thing);
    rapyer_free(names);
    db = NULL;
}
