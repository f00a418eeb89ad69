/* Sessions over socket pairs: frames, faults, limits, and the ways a client can leave. */
#include "daemon/clients/session.h"
#include "protocol/scan.h"
#include "turn.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFERRED_MAX 64

static struct event_base *base;
static struct config config;
static struct sessions *all;
static int peer;

static struct {
    unsigned messages, notifications, closed;
    struct session *latest;
    struct {
        struct session *s;
        uint64_t id;
    } deferred[DEFERRED_MAX];
    unsigned ndeferred;
} server;

static bool is(const struct rpc *m, const char *method)
{
    return m->method_len == strlen(method) && memcmp(m->method, method, m->method_len) == 0;
}

static void work(double seconds)
{
    for (double end = turn_now() + seconds; turn_now() < end;)
        ;
}

/* echo: the params; later: deferred; zeros n: a bin of n bytes; slow: takes a while; close: closes
 * the session. */
static void on_message(void *arg, struct session *s, const struct rpc *m)
{
    struct cursor params = m->params;

    (void)arg;
    server.messages++;
    server.latest = s;
    if (m->kind == RPC_NOTIFY) {
        server.notifications++;
        return;
    }
    if (is(m, "slow"))
        work(0.001);
    if (is(m, "later")) {
        cr_assert_lt(server.ndeferred, DEFERRED_MAX);
        session_defer(s);
        server.deferred[server.ndeferred].s = session_ref(s);
        server.deferred[server.ndeferred++].id = m->id;
    } else if (is(m, "zeros")) {
        static const char zeros[1 << 20];
        int64_t n;
        cr_assert_eq(cursor_int(&params, &n), 0);
        pack_bin(session_result(s, m->id), zeros, (size_t)n);
        session_done(s);
    } else if (is(m, "close")) {
        session_close(s, "asked to");
    } else {
        struct buf *out = session_result(s, m->id);
        pack_array(out, m->nparams);
        buf_append(out, params.at, (size_t)(params.end - params.at));
        session_done(s);
    }
}

static void on_close(void *arg, struct session *s)
{
    (void)arg;
    cr_expect_not(session_open(s));
    server.closed++;
}

static const struct session_handler handler = {.on_message = on_message, .on_close = on_close};

static int connect_peer(void)
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    sessions_accept(all, fds[1]);
    return fds[0];
}

static void begin(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_TEXT);
    base = event_base_new();
    config = (struct config){
        .max_clients = 3,
        .max_frame = 4 << 20,
        .client_output = 8 << 20,
        .client_output_pause = 1 << 20,
        .client_requests = 4,
        .total_input = 16 << 20,
    };
    all = sessions_new(base, &config, &handler, NULL);
    peer = connect_peer();
}

static void answer_deferred(void)
{
    for (unsigned i = 0; i < server.ndeferred; i++) {
        session_settle(server.deferred[i].s);
        session_answer(server.deferred[i].s, server.deferred[i].id, "\xc3", 1);
        session_unref(server.deferred[i].s);
    }
    server.ndeferred = 0;
}

static void end(void)
{
    unsigned open = sessions_count(all), closed = server.closed;

    sessions_free(all);
    cr_expect_eq(server.closed, closed + open);
    answer_deferred();
    if (peer >= 0)
        close(peer);
    event_base_free(base);
}

TestSuite(session, .init = begin, .fini = end);

/* --- the client's side ------------------------------------------------------------------- */

static void put(const void *p, size_t n)
{
    cr_assert_eq(send(peer, p, n, MSG_NOSIGNAL), (ssize_t)n, "%s", strerror(errno));
}

static void call_with(uint64_t id, const char *method, int64_t n)
{
    struct buf b = BUF_INIT;

    rpc_open_request(&b, id, method);
    pack_array(&b, 1);
    pack_int(&b, n);
    put(b.data, b.len);
    buf_free(&b);
}

static void call(uint64_t id, const char *method)
{
    call_with(id, method, 7);
}

static struct buf inbox;
static struct scan inbox_scan;
static bool inbox_open, at_end;

/* The next answer if it has come; it stays valid until the next look. */
static bool next_answer(struct rpc *m)
{
    static size_t used;
    struct fault f;
    ssize_t n;

    if (used) {
        memmove(inbox.data, inbox.data + used, inbox.len - used);
        inbox.len -= used;
        used = 0;
    }
    cr_assert(buf_grow(&inbox, 65536));
    while ((n = recv(peer, inbox.data + inbox.len, inbox.cap - inbox.len, 0)) > 0) {
        inbox.len += (size_t)n;
        buf_grow(&inbox, 65536);
    }
    at_end = n == 0;
    if (!inbox_open)
        scan_init(&inbox_scan, 64 << 20);
    inbox_open = true;
    if (!inbox.len || scan_run(&inbox_scan, inbox.data, inbox.len, &f) != SCAN_DONE)
        return false;
    inbox_open = false;
    used = inbox_scan.at;
    cr_assert_eq(rpc_parse(m, inbox.data, used, &f), 0, "%s", f.text);
    return true;
}

static struct rpc answer(void)
{
    struct rpc m;

    turn_until(base, next_answer(&m));
    return m;
}

static void expect_result(uint64_t id)
{
    struct rpc m = answer();

    cr_expect(cursor_nil(&m.error), "an error came");
    cr_expect_eq(m.id, id, "%llu is not %llu", (unsigned long long)m.id, (unsigned long long)id);
}

/* id -1: nil. */
static void expect_fault(int64_t id, const char *text)
{
    struct rpc m = answer();
    char error[600] = "";
    const char *s;
    size_t n;

    cr_assert_eq(cursor_str(&m.error, &s, &n), 0, "no error came");
    memcpy(error, s, n);
    cr_expect(strstr(error, text), "<%s> does not say <%s>", error, text);
    cr_expect_eq(m.has_id, id >= 0);
    if (id >= 0)
        cr_expect_eq(m.id, (uint64_t)id);
}

static void expect_end(void)
{
    struct rpc m;

    turn_until(base, (next_answer(&m), at_end));
    turn_until(base, sessions_count(all) == 0);
    cr_expect_eq(server.closed, 1);
}

static struct session_stats stats_of(struct session *s)
{
    struct session_stats stats;

    session_stats(s, &stats);
    return stats;
}

/* --- frames ------------------------------------------------------------------------------ */

Test(session, answers)
{
    call(1, "echo");
    struct rpc m = answer();
    uint32_t n;
    int64_t v;
    cr_expect_eq(m.id, 1);
    cr_expect(cursor_nil(&m.error));
    cr_expect_eq(cursor_array(&m.result, &n), 0);
    cr_expect_eq(cursor_int(&m.result, &v), 0);
    cr_expect_eq(v, 7);
    call(UINT64_MAX, "echo");
    expect_result(UINT64_MAX);
}

Test(session, many_in_one_write)
{
    struct buf b = BUF_INIT;

    for (uint64_t id = 0; id < 1000; id++) {
        rpc_open_request(&b, id, "echo");
        pack_array(&b, 0);
    }
    put(b.data, b.len);
    for (uint64_t id = 0; id < 1000; id++)
        expect_result(id);
    struct session_stats stats = stats_of(server.latest);
    cr_expect_eq(stats.requests, 1000);
    cr_expect_eq(stats.bytes_in, b.len);
    cr_expect_eq(stats.bytes_out, 1000 * 5 + 128 + 744 * 2);
    buf_free(&b);
}

/* Not all of it in one turn, nor in three. */
static void ask_for_much(void)
{
    struct buf b = BUF_INIT;

    for (uint64_t id = 0; id < 200; id++) {
        rpc_open_request(&b, id, "slow");
        pack_array(&b, 0);
    }
    put(b.data, b.len);
    buf_free(&b);
    for (int i = 0; i < 3; i++)
        turn_once(base);
    cr_expect_lt(server.messages, 200);
}

Test(session, one_that_asks_for_much_lets_others_have_their_turn)
{
    int first = peer;

    ask_for_much();
    peer = connect_peer();
    call(7, "echo");
    expect_result(7);
    cr_expect_lt(server.messages, 200);
    close(peer);
    peer = first;
    for (uint64_t id = 0; id < 200; id++)
        expect_result(id);
}

Test(session, who_leaves_while_it_rests_is_let_go)
{
    ask_for_much();
    session_close(server.latest, "as a test");
    turn_settle(base);
    cr_expect_eq(sessions_count(all), 0);
}

Test(session, byte_by_byte)
{
    struct buf b = BUF_INIT;

    rpc_open_request(&b, 9, "echo");
    pack_array(&b, 2);
    pack_cstr(&b, "some text");
    pack_map(&b, 1);
    pack_cstr(&b, "k");
    pack_nil(&b);
    for (size_t i = 0; i < b.len; i++) {
        cr_expect_eq(server.messages, 0);
        put(b.data + i, 1);
        turn_settle(base);
    }
    expect_result(9);
    cr_expect_eq(stats_of(server.latest).bytes_in, b.len);
    buf_free(&b);
}

Test(session, notifications_are_not_answered)
{
    struct buf b = BUF_INIT;

    rpc_open_notify(&b, "hint");
    pack_array(&b, 0);
    put(b.data, b.len);
    buf_free(&b);
    call(2, "echo");
    expect_result(2);
    cr_expect_eq(server.notifications, 1);
}

Test(session, knows_its_peer)
{
    call(1, "echo");
    expect_result(1);
    const struct session_peer *p = session_peer(server.latest);
    cr_expect_eq(p->pid, getpid());
    cr_expect_eq(p->uid, getuid());
    cr_expect_eq(p->gid, getgid());
    cr_expect_str_neq(p->program, "?");
    cr_expect_eq(session_number(server.latest), 1);
}

Test(session, notifies)
{
    call(1, "echo");
    expect_result(1);
    session_notify(server.latest, "changed", "\x90", 1);
    struct rpc m = answer();
    cr_expect_eq(m.kind, RPC_NOTIFY);
    cr_expect(is(&m, "changed"));
}

/* --- what clients do wrong --------------------------------------------------------------- */

Test(session, bytes_that_are_no_message_end_it)
{
    put("GET / HTTP/1.0\r\n\r\n", 18);
    expect_fault(-1, "BAD_FRAME: ");
    expect_end();
    cr_expect_eq(server.messages, 0);
}

Test(session, broken_frame_is_answered_with_its_id)
{
    put("\x94\x00\x05\xa1m\xc1", 6);
    expect_fault(5, "BAD_FRAME: ");
    expect_end();
}

Test(session, requests_before_a_broken_frame_are_answered)
{
    call(1, "later");
    call(2, "echo");
    put("\xc1", 1);
    expect_result(2);
    expect_fault(-1, "BAD_FRAME: ");
    turn_settle(base);
    cr_expect_eq(sessions_count(all), 1);
    answer_deferred();
    expect_result(1);
    expect_end();
}

Test(session, frame_over_the_limit)
{
    put("\x94\x00\x08\xa1m\x91\xc6\x00\x80\x00\x00", 11);
    expect_fault(8, "TOO_LARGE: ");
    expect_end();
}

Test(session, end_inside_a_frame)
{
    put("\x94\x00\x06\xa4"
        "ec",
        6);
    turn_settle(base);
    shutdown(peer, SHUT_WR);
    expect_fault(6, "BAD_FRAME: the stream ended inside a message, after 6 bytes");
    expect_end();
}

Test(session, bad_params_do_not_end_it)
{
    put("\x94\x00\x03\xa4"
        "echo\x01",
        9);
    expect_fault(3, "BAD_REQUEST: ");
    put("\x93\x02\x03\x90", 4); /* a notification whose method is a number */
    call(4, "echo");
    expect_result(4);
}

Test(session, responses_are_refused_without_an_id)
{
    put("\x94\x01\x03\xc0\xc0", 5);
    expect_fault(-1, "BAD_REQUEST: ");
    call(3, "echo");
    expect_result(3);
}

/* --- limits ------------------------------------------------------------------------------ */

Test(session, requests_in_flight_are_limited)
{
    for (uint64_t id = 0; id < 10; id++)
        call(id, "later");
    turn_until(base, server.messages == 4);
    turn_settle(base);
    cr_expect_eq(server.messages, 4);
    cr_expect(stats_of(server.latest).paused);
    for (unsigned round = 0; round < 3; round++) {
        answer_deferred();
        turn_settle(base);
    }
    for (uint64_t id = 0; id < 10; id++)
        expect_result(id);
    cr_expect_eq(server.messages, 10);
    cr_expect_not(stats_of(server.latest).paused);
    cr_expect_eq(stats_of(server.latest).deferred, 0);
}

Test(session, unread_answers_stop_the_reading)
{
    config.client_requests = 1000;
    for (uint64_t id = 0; id < 40; id++)
        call_with(id, "zeros", 300000);
    turn_until(base, server.latest && stats_of(server.latest).paused);
    turn_settle(base);
    cr_expect_lt(server.messages, 10);
    cr_expect_gt(stats_of(server.latest).unsent, config.client_output_pause);
    cr_expect_lt(stats_of(server.latest).unsent, config.client_output_pause + 300100);
    for (uint64_t id = 0; id < 40; id++)
        expect_result(id);
    cr_expect_eq(server.messages, 40);
    cr_expect_not(stats_of(server.latest).paused);
}

Test(session, who_never_reads_is_disconnected)
{
    call(0, "echo");
    expect_result(0);
    struct session *s = session_ref(server.latest);
    struct buf b = BUF_INIT;
    static const char big[1 << 20];
    pack_bin(&b, big, sizeof big);
    for (int i = 0; i < 7; i++)
        session_notify(s, "changed", b.data, b.len);
    cr_expect(session_open(s));
    for (int i = 0; i < 3; i++)
        session_notify(s, "changed", b.data, b.len);
    cr_expect_not(session_open(s));
    cr_expect_eq(server.closed, 1);
    cr_expect_eq(stats_of(s).unsent, 0);
    session_unref(s);
    buf_free(&b);
}

Test(session, too_many_clients)
{
    int second = connect_peer(), third = connect_peer(), fourth = connect_peer();
    int first = peer;

    cr_expect_eq(sessions_count(all), 3);
    peer = fourth;
    expect_fault(-1, "BUSY: 3 clients are connected, limits.max_clients is 3");
    struct rpc m;
    cr_expect_not(next_answer(&m));
    cr_expect(at_end);
    close(second);
    turn_until(base, sessions_count(all) == 2);
    peer = connect_peer();
    call(1, "echo");
    expect_result(1);
    close(first);
    close(third);
    close(fourth);
}

Test(session, unfinished_frames_of_all_are_limited)
{
    int first = peer, second = connect_peer();

    config.total_input = 100000;
    char *part = calloc(1, 60000);
    memcpy(part, "\x94\x00\x08\xa1m\x91\xc6\x00\x01\xd4\xc0", 11); /* 120000 bytes to come */
    put(part, 60000);
    turn_settle(base);
    peer = second;
    put(part, 60000);
    expect_fault(8, "BUSY: unfinished requests of all clients hold 120000 bytes");
    turn_until(base, sessions_count(all) == 1);
    close(second);
    peer = first;
    put(part + 11, 49989);
    put(part + 11, 120000 + 11 - 60000 - 49989);
    expect_result(8);
    free(part);
}

/* --- leaving ----------------------------------------------------------------------------- */

Test(session, a_half_closed_client_gets_its_answers)
{
    call(1, "later");
    call(2, "later");
    shutdown(peer, SHUT_WR);
    turn_until(base, server.ndeferred == 2);
    turn_settle(base);
    cr_expect_eq(sessions_count(all), 1);
    answer_deferred();
    expect_result(1);
    expect_result(2);
    expect_end();
}

Test(session, a_half_closed_client_with_nothing_due_is_closed)
{
    call(1, "echo");
    shutdown(peer, SHUT_WR);
    expect_result(1);
    expect_end();
}

Test(session, a_half_closed_client_that_dies_is_noticed)
{
    call(1, "later");
    shutdown(peer, SHUT_WR);
    turn_until(base, server.ndeferred == 1);
    turn_settle(base);
    cr_expect_eq(server.closed, 0);
    close(peer);
    peer = -1;
    turn_until(base, server.closed == 1);
}

Test(session, answers_to_the_gone_are_dropped)
{
    call(1, "later");
    call(2, "later");
    turn_until(base, server.ndeferred == 2);
    close(peer);
    peer = -1;
    turn_until(base, server.closed == 1);
    struct fault f;
    fault_set(&f, FAULT_BUSY, "no");
    session_fault(server.deferred[0].s, 1, &f);
    session_notify(server.deferred[0].s, "changed", "\x90", 1);
    answer_deferred();
    turn_settle(base);
    cr_expect_eq(server.closed, 1);
}

Test(session, closed_by_its_handler)
{
    call(1, "close");
    call(2, "echo");
    turn_until(base, server.closed == 1);
    turn_settle(base);
    cr_expect_eq(server.messages, 1);
}

Test(session, what_a_dying_client_sent_is_still_done)
{
    call(1, "echo");
    call(2, "echo");
    turn_until(base, server.messages == 2);
    for (uint64_t id = 3; id < 10; id++)
        call(id, "echo");
    close(peer);
    peer = -1;
    turn_until(base, server.closed == 1);
    cr_expect_eq(server.messages, 9);
}
