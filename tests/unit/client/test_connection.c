#include "client/include/rapyer.h"
#include "fake_server.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

static const rapyer_model Thing = RAPYER_ATOMIC("Thing", RAPYER_FIELD("n", "int", "0"));

static const rapyer_model Shelf = RAPYER_ATOMIC("Shelf", RAPYER_FIELD("things", "list<Thing>"));

static void expect_error(rapyer *db, rapyer_error code, const char *part)
{
    cr_expect_eq(rapyer_errcode(db), code, "%s", rapyer_errmsg(db));
    cr_expect_not_null(strstr(rapyer_errmsg(db), part), "no '%s' in: %s", part, rapyer_errmsg(db));
    rapyer_clear_error(db);
}

static int64_t call_number(rapyer *db)
{
    rapyer_value *v = rapyer_call(db, "number", NULL);
    int64_t n = rapyer_int(v, "", -1);
    rapyer_value_free(v);
    return n;
}

Test(connection, calls_wait_for_their_own_answer)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK, "%s", rapyer_errmsg(db));
    rapyer_value *v = rapyer_call(db, "echo", "{text: %s, n: %d}", "hi", 3);
    cr_expect_str_eq(rapyer_str(v, "text", ""), "hi");
    rapyer_value_free(v);
    cr_expect_null(rapyer_call(db, "error", NULL));
    expect_error(db, RAPYER_NOT_FOUND, "NOT_FOUND: no such thing");
    cr_expect(fcntl(rapyer_fd(db), F_GETFD) & FD_CLOEXEC);
    rapyer_close(db);
    fake_stop(s);
}

static char order[64];
static void note(rapyer *db, const rapyer_value *result, void *user)
{
    cr_expect(result || rapyer_errcode(db));
    strcat(order, result ? rapyer_str(result, "", "?") : "-");
    strcat(order, user);
}

static void run(rapyer *db)
{
    while (rapyer_pending(db)) {
        struct pollfd p = {rapyer_fd(db), rapyer_events(db), 0};
        int n = poll(&p, 1, rapyer_timeout_ms(db));
        rapyer_process(db, n > 0 ? p.revents : 0);
    }
}

Test(connection, answers_come_in_any_order)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    cr_expect_eq(rapyer_send(db, note, "1", "hold", NULL), 0);
    cr_expect_eq(rapyer_send(db, note, "2", "echo", "x"), 0);
    cr_expect_eq(rapyer_pending(db), 2);
    run(db);
    cr_expect_str_eq(order, "x2held1");
    rapyer_close(db);
    fake_stop(s);
}

static void nested(rapyer *db, const rapyer_value *result, void *user)
{
    cr_expect_not_null(result);
    cr_expect_eq(call_number(db), 1);
    rapyer_send(db, note, user, "echo", "y");
}

Test(connection, a_callback_may_call)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    cr_expect_eq(rapyer_send(db, nested, "a", "echo", "z"), 0);
    cr_expect_eq(rapyer_send(db, nested, "b", "echo", "z"), 0);
    cr_expect_eq(rapyer_send(db, nested, "c", "echo", "z"), 0);
    run(db);
    cr_expect_str_eq(order, "yaybyc");
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK, "%s", rapyer_errmsg(db));
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, a_lost_read_is_sent_again_and_a_lost_write_is_not)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    rapyer_define(db, &Thing);
    cr_expect_eq(s->defines, 1);
    s->drop_next = true;
    rapyer_value *v = rapyer_call(db, "doc.get", "%s", "Thing:1");
    cr_expect_str_eq(rapyer_str(v, "", ""), "Thing:1", "%s", rapyer_errmsg(db));
    rapyer_value_free(v);
    cr_expect_eq(s->reads, 2);
    cr_expect_eq(s->connections, 2);
    cr_expect_eq(s->defines, 2); /* declared again by itself */

    s->drop_next = true;
    rapyer_doc *thing = rapyer_new(db, "Thing", "{}");
    cr_expect_eq(rapyer_save(thing), -1);
    expect_error(db, RAPYER_UNKNOWN_OUTCOME, "lost");
    cr_expect_eq(s->writes, 1);
    cr_expect(rapyer_is_draft(thing));
    cr_expect_eq(rapyer_save(thing), 0);
    cr_expect_not(rapyer_is_draft(thing));
    rapyer_free(thing);
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, a_restart_is_bridged)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    fake_close(s);
    cr_expect_null(rapyer_call(db, "drop", NULL));
    expect_error(db, RAPYER_UNKNOWN_OUTCOME, "lost");
    rapyer_set_timeout(db, 50);
    cr_expect_null(rapyer_call(db, "echo", "a"));
    expect_error(db, RAPYER_UNAVAILABLE, "no rapyerd at");
    rapyer_set_timeout(db, 5000);
    fake_open(s);
    cr_expect_eq(call_number(db), 2);
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, time_runs_out)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    rapyer_set_timeout(db, 30);
    cr_expect_null(rapyer_call(db, "silent", NULL));
    expect_error(db, RAPYER_UNKNOWN_OUTCOME, "within 30 ms");
    cr_expect_null(rapyer_call(db, "hold", NULL));
    rapyer_clear_error(db);
    rapyer_set_timeout(db, 5000);
    cr_expect_eq(call_number(db), 1); /* with it comes the late answer, which nobody wants */
    cr_expect_eq(call_number(db), 1);
    cr_expect_eq(rapyer_pending(db), 0);
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, what_is_no_protocol_ends_it)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    cr_expect_null(rapyer_call(db, "garbage", NULL));
    cr_expect_eq(rapyer_errcode(db), RAPYER_UNKNOWN_OUTCOME, "%s", rapyer_errmsg(db));
    cr_expect_eq(call_number(db), 2);
    rapyer_set_max_answer(db, 10000);
    rapyer_clear_error(db);
    cr_expect_eq(rapyer_send(db, note, "h", "echo", "x"), 0);
    run(db);
    cr_expect_null(rapyer_call(db, "drop", NULL));
    cr_expect_null(rapyer_call(db, "huge", NULL));
    expect_error(db, RAPYER_TOO_LARGE, "limit");
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, pending_requests_hear_of_the_end)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    rapyer_send(db, note, "a", "silent", NULL);
    rapyer_send(db, note, "b", "silent", NULL);
    rapyer_close(db);
    cr_expect_str_eq(order, "-a-b");
    fake_stop(s);
}

Test(connection, ten_thousand_requests_fly_at_once)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    for (int i = 0; i < 10000; i++)
        cr_assert_eq(rapyer_send(db, NULL, NULL, "echo", "%d", i), 0);
    cr_expect_eq(rapyer_pending(db), 10000);
    cr_expect_eq(call_number(db), 1);
    run(db);
    cr_expect_eq(rapyer_errcode(db), RAPYER_OK, "%s", rapyer_errmsg(db));
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, a_child_gets_its_own)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    cr_expect_eq(call_number(db), 1);
    rapyer_send(db, note, "p", "hold", NULL);
    pid_t child = fork();
    if (child == 0) {
        int64_t n = call_number(db);
        _exit(n == 2 && rapyer_pending(db) == 0 && order[0] == '\0' ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_expect_eq(status, 0);
    cr_expect_eq(call_number(db), 1);
    run(db);
    cr_expect_str_eq(order, "heldp");
    rapyer_close(db);
    fake_stop(s);
}

Test(connection, nobody_there_is_said_at_once)
{
    rapyer *db = rapyer_connect("/nonexistent/rapyerd.sock");
    expect_error(db, RAPYER_UNAVAILABLE, "/nonexistent/rapyerd.sock");
    cr_expect_null(rapyer_call(db, "echo", "x"));
    expect_error(db, RAPYER_UNAVAILABLE, "/nonexistent/rapyerd.sock");
    cr_expect_eq(rapyer_fd(db), -1);
    cr_expect_eq(rapyer_events(db), 0);
    cr_expect_eq(rapyer_timeout_ms(db), -1);
    cr_expect_eq(rapyer_process(db, 0), 0);
    rapyer_close(db);
}

static void land(rapyer *db, const rapyer_value *result, void *user)
{
    (void)db;
    *(bool *)user = result != NULL;
}

Test(connection, a_draft_on_its_way_is_not_changed)
{
    struct fake_server *s = fake_start();
    rapyer *db = rapyer_connect(s->path);
    rapyer_define(db, &Thing, &Shelf);
    rapyer_doc *shelf = rapyer_open(db, "Shelf:1");
    rapyer_doc *thing = rapyer_new(db, "Thing:t", "{}");
    bool landed = false;
    cr_expect_eq(rapyer_send_op(shelf, land, &landed, "list.append", "things", "%p", (void *)thing),
                 0, "%s", rapyer_errmsg(db));
    cr_expect_eq(rapyer_incr(thing, "n", 1, NULL), -1);
    expect_error(db, RAPYER_BUSY, "on its way");
    run(db);
    cr_expect(landed);
    cr_expect_str_eq(rapyer_key(thing), "Shelf:1");
    cr_expect_str_eq(rapyer_path(thing), "things[\"t\"]");
    rapyer_free(thing);
    rapyer_free(shelf);
    rapyer_close(db);
    fake_stop(s);
}
