#include "client/include/rapyer.h"
#include "fake_server.h"

static struct fake_server *server;
static rapyer *db;

static void set_up(void)
{
    server = fake_start();
    db = rapyer_connect(server->path);
}

static void tear_down(void)
{
    rapyer_close(db);
    fake_stop(server);
}

TestSuite(find, .init = set_up, .fini = tear_down);

static void pages(const char *const *texts)
{
    server->pages = texts;
}

static void asked(const char *want)
{
    cr_expect_str_eq(fake_log(server), want);
}

static void next_is(rapyer_cursor *found, const char *key, int64_t n)
{
    const char *next = rapyer_next(found);
    cr_assert_not_null(next, "%s", rapyer_errmsg(db));
    cr_expect_str_eq(next, key);
    cr_expect_eq(rapyer_int(rapyer_found(found), "n", -1), n);
}

Test(find, goes_on_behind_the_cursor_also_of_a_page_with_nothing)
{
    pages((const char *const[]){"{keys: ['A:1', 'A:2'], documents: [{n: 1}, {n: 2}], cursor: c1}",
                                "{keys: [], documents: [], cursor: c2}",
                                "{keys: ['A:3'], documents: [{n: 3}], cursor: null}"});
    rapyer_auto_cursor *found = rapyer_find(db, "A", NULL, "n > %d", 0);
    cr_assert_not_null(found, "%s", rapyer_errmsg(db));
    cr_expect_null(rapyer_found(found));
    next_is(found, "A:1", 1);
    next_is(found, "A:2", 2);
    next_is(found, "A:3", 3);
    cr_expect_null(rapyer_next(found));
    cr_expect_null(rapyer_next(found));
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK);
    asked("find \"A\" [\">\",\"n\",0] {\"limit\":100}\n"
          "find \"A\" [\">\",\"n\",0] {\"limit\":100,\"cursor\":\"c1\"}\n"
          "find \"A\" [\">\",\"n\",0] {\"limit\":100,\"cursor\":\"c2\"}\n");
}

Test(find, a_page_that_fails_is_asked_for_again)
{
    pages((const char *const[]){"{keys: ['A:1'], documents: [{n: 1}], cursor: c1}",
                                "{keys: ['A:2'], documents: [{n: 2}], cursor: null}"});
    rapyer_auto_cursor *found = rapyer_find(db, "A", NULL, NULL);
    next_is(found, "A:1", 1);
    server->fail_next = "UNAVAILABLE: Redis is away";
    cr_expect_null(rapyer_next(found));
    cr_expect_eq(rapyer_errcode(db), RAPYER_UNAVAILABLE);
    rapyer_clear_error(db);
    next_is(found, "A:2", 2);
    cr_expect_null(rapyer_next(found));
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK);
}

Test(find, a_limit_ends_it_and_leaves_a_cursor)
{
    pages((const char *const[]){"{keys: ['A:1', 'A:2'], cursor: c1}", "{keys: ['A:3'], cursor: c2}",
                                "{keys: [], cursor: null}"});
    rapyer_find_options how = {.limit = 3, .page = 2, .keys = true, .scan = true, .sort = "-n"};
    rapyer_auto_cursor *found = rapyer_find(db, "A", &how, NULL);
    int n = 0;
    while (rapyer_next(found) != NULL)
        n++;
    cr_expect_eq(n, 3);
    cr_expect_null(rapyer_found(found));
    how.cursor = rapyer_cursor_at(found);
    cr_assert_str_eq(how.cursor, "c2");
    rapyer_auto_cursor *more = rapyer_find(db, "A", &how, NULL);
    cr_expect_null(rapyer_next(more));
    cr_expect_null(rapyer_cursor_at(more));
    asked("find \"A\" null {\"sort\":\"-n\",\"keys\":true,\"scan\":true,\"limit\":2}\n"
          "find \"A\" null "
          "{\"sort\":\"-n\",\"keys\":true,\"scan\":true,\"limit\":1,\"cursor\":\"c1\"}\n"
          "find \"A\" null "
          "{\"sort\":\"-n\",\"keys\":true,\"scan\":true,\"limit\":2,\"cursor\":\"c2\"}\n");
}

Test(find, what_is_sorted_goes_on_by_the_cursor_until_there_is_none)
{
    pages((const char *const[]){"{keys: ['A:1', 'A:2'], cursor: 'c1'}",
                                "{keys: ['A:3', 'A:4'], cursor: null}"});
    rapyer_find_options how = {.page = 2, .keys = true, .sort = "n"};
    rapyer_auto_cursor *found = rapyer_find(db, "A", &how, NULL);
    int n = 0;
    while (rapyer_next(found) != NULL)
        n++;
    cr_expect_eq(n, 4);
    asked("find \"A\" null {\"sort\":\"n\",\"keys\":true,\"limit\":2}\n"
          "find \"A\" null {\"sort\":\"n\",\"keys\":true,\"limit\":2,\"cursor\":\"c1\"}\n");
}

Test(find, paths_and_the_namespace_and_count)
{
    pages((const char *const[]){"{keys: [], cursor: null}", "12"});
    rapyer_set_namespace(db, "shop");
    rapyer_find_options how = {.paths = (const char *[]){"a", "b.c"}, .npaths = 2, .fresh = true};
    rapyer_cursor_free(rapyer_find(db, "A", &how, "a = %s", "x"));
    cr_expect_eq(rapyer_find_count(db, "A", &how, "a = %s", "x"), 12);
    asked("find \"shop.A\" [\"=\",\"a\",\"x\"] "
          "{\"paths\":[\"a\",\"b.c\"],\"fresh\":true,\"limit\":100}\n"
          "find.count \"shop.A\" [\"=\",\"a\",\"x\"] {\"scan\":false,\"fresh\":true}\n");
}

Test(find, refuses_before_it_asks)
{
    cr_expect_null(rapyer_find(NULL, "A", NULL, "a = 1"));
    cr_expect_eq(rapyer_find_count(NULL, "A", NULL, "a = 1"), -1);
    cr_expect_null(rapyer_find(db, NULL, NULL, "a = 1"));
    cr_expect_eq(rapyer_errcode(db), RAPYER_BAD_REQUEST);
    cr_expect_null(rapyer_find(db, "A", NULL, "a ="));
    cr_expect_null(rapyer_find(db, "A", &(rapyer_find_options){.limit = -1}, "a = 1"));
    cr_expect_null(rapyer_find(db, "A", &(rapyer_find_options){.page = 10001}, "a = 1"));
    cr_expect_eq(rapyer_find_count(db, "A", NULL, "a ="), -1);
    cr_expect_null(rapyer_next(NULL));
    cr_expect_null(rapyer_found(NULL));
    cr_expect_null(rapyer_cursor_at(NULL));
    rapyer_cursor_free(NULL);
    asked("");
}
