#include "daemon/redis/upstream.h"
#include "redis_process.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <event2/listener.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PATIENCE_S 20

static struct event_base *base;
static struct config config;
static struct redis_process server;
static struct upstream *up;
static struct evconnlistener *fake;
static struct buf heard; /* what came back, in order: "id:index=reply " for each */
static int ups, downs;
static char down_why[400];

static void on_up(void *arg)
{
    (void)arg;
    ups++;
}

static void on_down(void *arg, const char *why)
{
    (void)arg;
    downs++;
    snprintf(down_why, sizeof(down_why), "%s", why);
    cr_expect_eq(upstream_state(up), UPSTREAM_DOWN);
}

static void too_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    *(bool *)arg = true;
}

/* Runs the loop until the condition holds. */
#define wait_until(condition)                                      \
    do {                                                           \
        bool late = false;                                         \
        struct event *guard = evtimer_new(base, too_late, &late);  \
        event_add(guard, &(struct timeval){.tv_sec = PATIENCE_S}); \
        while (!(condition) && !late)                              \
            event_base_loop(base, EVLOOP_ONCE);                    \
        event_free(guard);                                         \
        cr_assert(condition, "why: %s", upstream_why(up));         \
    } while (0)

static void setup(void)
{
    config = (struct config){
        .connect_timeout = 5000, .command_timeout = 5000, .reconnect_min = 2, .reconnect_max = 50};
    base = event_base_new();
}

static void teardown(void)
{
    upstream_free(up);
    if (fake)
        evconnlistener_free(fake);
    event_base_free(base);
    buf_free(&heard);
    redis_process_end(&server);
}

TestSuite(upstream, .init = setup, .fini = teardown, .timeout = 60);

static void begin(const char *address)
{
    static const struct upstream_callbacks cb = {.on_up = on_up, .on_down = on_down};
    config.redis = (char *)address;
    up = upstream_new(base, &config, &cb, NULL);
    cr_assert_not_null(up);
    upstream_start(up);
}

static void begin_with_server(void)
{
    redis_process_start(&server);
    begin(server.address);
    wait_until(ups == 1);
}

static bool why_has(const char *text)
{
    return strstr(upstream_why(up), text) != NULL;
}

static void hear(void *arg, unsigned index, redisReply *reply)
{
    buf_printf(&heard, "%d:%u=", (int)(intptr_t)arg, index);
    if (!reply)
        buf_printf(&heard, "lost ");
    else if (reply->type == REDIS_REPLY_INTEGER)
        buf_printf(&heard, "%lld ", reply->integer);
    else if (reply->type == REDIS_REPLY_ARRAY)
        buf_printf(&heard, "[%zu] ", reply->elements);
    else
        buf_printf(&heard, "%s ", reply->str ? reply->str : "nil");
}

static const char *heard_text(void)
{
    buf_append(&heard, "", 1);
    heard.len--;
    return (const char *)heard.data;
}

static bool send_words(int id, const char *a, const char *b, const char *c)
{
    struct buf out = BUF_INIT;
    resp_words(&out, a, b, c, NULL);
    bool sent = upstream_send(up, out.data, out.len, 1, hear, (void *)(intptr_t)id);
    buf_free(&out);
    return sent;
}

Test(upstream, greets_and_learns_who_answers)
{
    begin_with_server();
    const struct upstream_info *info = upstream_info(up);
    cr_expect_eq(upstream_state(up), UPSTREAM_UP);
    cr_expect_eq(strlen(info->run_id), 40);
    cr_expect_str_eq(info->role, "master");
    cr_expect_geq(atoi(info->version), 6);
    cr_expect_neq(info->client_id, 0);
    cr_expect_eq(info->previous_client_id, 0);
    cr_expect_str_eq(info->previous_run_id, "");
}

Test(upstream, answers_come_in_the_order_of_the_requests)
{
    begin_with_server();
    struct buf expected = BUF_INIT;
    for (int i = 1; i <= 500; i++) {
        cr_assert(send_words(i, "INCR", "n", NULL));
        buf_printf(&expected, "%d:0=%d ", i, i);
    }
    wait_until(heard.len >= expected.len);
    buf_append(&expected, "", 1);
    cr_expect_str_eq(heard_text(), (char *)expected.data);
    buf_free(&expected);
}

static int pushes;

static void on_push(void *arg, redisReply *reply)
{
    (void)arg;
    cr_expect_eq(reply->elements, 3);
    cr_expect_str_eq(reply->element[1]->str, "news");
    if (++pushes == 100)
        upstream_reset(up, "a test");
}

/* Messages come in between answers, whoever waits for one; also one after which the link is gone.
 */
Test(upstream, messages_are_no_answers)
{
    static const struct upstream_callbacks cb = {
        .on_up = on_up, .on_down = on_down, .on_push = on_push};
    redis_process_start(&server);
    config.redis = server.address;
    struct upstream *other = upstream_new(
        base, &config, &(struct upstream_callbacks){.on_up = on_up, .on_down = on_down}, NULL);
    up = upstream_new(base, &config, &cb, NULL);
    upstream_start(up);
    upstream_start(other);
    wait_until(ups == 2);
    cr_assert(send_words(1, "SUBSCRIBE", "news", NULL));
    wait_until(strcmp(heard_text(), "1:0=[3] ") == 0);
    struct buf out = BUF_INIT;
    resp_words(&out, "PUBLISH", "news", "a", NULL);
    for (int i = 0; i < 100; i++) {
        cr_assert(upstream_send(other, out.data, out.len, 1, hear, (void *)(intptr_t)2));
        if (i % 10 == 0)
            cr_assert(send_words(3, "PING", NULL, NULL));
    }
    wait_until(downs == 1);
    cr_expect_eq(pushes, 100);
    wait_until(ups == 3);
    upstream_free(other);
    buf_free(&out);
}

Test(upstream, one_request_can_have_many_replies)
{
    begin_with_server();
    struct buf out = BUF_INIT;
    resp_words(&out, "MULTI", NULL);
    resp_words(&out, "INCR", "n", NULL);
    resp_words(&out, "INCR", "n", NULL);
    resp_words(&out, "EXEC", NULL);
    cr_assert(upstream_send(up, out.data, out.len, 4, hear, (void *)1));
    buf_free(&out);
    cr_assert(send_words(2, "GET", "n", NULL));
    wait_until(strstr(heard_text(), "2:"));
    const char *said = heard_text(); /* the OK only if it came by itself */
    cr_expect_str_eq(strncmp(said, "1:0=OK ", 7) == 0 ? said + 7 : said, "1:3=[2] 2:0=2 ");
}

static void measure(void *arg, unsigned index, redisReply *reply)
{
    (void)index;
    cr_assert_not_null(reply);
    *(size_t *)arg = reply->type == REDIS_REPLY_STATUS ? 1 : reply->len;
}

Test(upstream, values_of_many_megabytes_pass_both_ways)
{
    begin_with_server();
    size_t size = 12 << 20, set = 0, got = 0;
    char *value = malloc(size);
    memset(value, 'x', size);
    struct buf out = BUF_INIT;
    resp_command(&out, 3, (const char *[]){"SET", "big", value}, (size_t[]){3, 3, size});
    cr_assert(upstream_send(up, out.data, out.len, 1, measure, &set));
    buf_clear(&out);
    resp_words(&out, "GET", "big", NULL);
    cr_assert(upstream_send(up, out.data, out.len, 1, measure, &got));
    cr_expect_gt(upstream_unsent(up), 0);
    wait_until(got);
    cr_expect_eq(set, 1);
    cr_expect_eq(got, size);
    cr_expect_eq(upstream_unsent(up), 0);
    buf_free(&out);
    free(value);
}

Test(upstream, a_killed_server_loses_the_outstanding_requests_in_order)
{
    begin_with_server();
    struct upstream_info before = *upstream_info(up);
    uint32_t epoch = upstream_epoch(up);
    kill(server.pid, SIGSTOP);
    for (int i = 1; i <= 3; i++)
        cr_assert(send_words(i, "INCR", "n", NULL));
    redis_process_kill(&server);
    wait_until(downs == 1);
    cr_expect_str_eq(heard_text(), "1:0=lost 2:0=lost 3:0=lost ");
    cr_expect_not(send_words(4, "INCR", "n", NULL));
    cr_expect_not_null(strstr(down_why, server.address));

    redis_process_start(&server);
    wait_until(ups == 2);
    const struct upstream_info *after = upstream_info(up);
    cr_expect_str_eq(after->previous_run_id, before.run_id);
    cr_expect_str_neq(after->run_id, before.run_id);
    cr_expect_eq(after->previous_client_id, before.client_id);
    cr_expect_not(upstream_same_server(upstream_epoch(up), epoch));
    cr_assert(send_words(5, "INCR", "n", NULL));
    wait_until(strstr(heard_text(), "5:0=1 "));
}

Test(upstream, a_server_that_does_not_answer_is_given_up)
{
    config.command_timeout = 100;
    begin_with_server();
    struct upstream_info before = *upstream_info(up);
    uint32_t epoch = upstream_epoch(up);
    kill(server.pid, SIGSTOP);
    cr_assert(send_words(1, "INCR", "n", NULL));
    wait_until(downs == 1);
    cr_expect_str_eq(heard_text(), "1:0=lost ");
    cr_expect_not_null(strstr(down_why, "no answer for 100 ms"), "%s", down_why);
    kill(server.pid, SIGCONT);
    wait_until(ups == 2);
    cr_expect_str_eq(upstream_info(up)->run_id, before.run_id);
    cr_expect_eq(upstream_info(up)->previous_client_id, before.client_id);
    cr_expect_neq(upstream_epoch(up), epoch);
    cr_expect(upstream_same_server(upstream_epoch(up), epoch));
}

static void count_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ++*(int *)arg;
}

Test(upstream, silence_is_no_fault_while_nothing_is_asked)
{
    config.command_timeout = 20;
    begin_with_server();
    int ticks = 0;
    cr_assert(send_words(1, "INCR", "n", NULL));
    struct event *tick = event_new(base, -1, EV_PERSIST, count_tick, &ticks);
    event_add(tick, &(struct timeval){.tv_usec = 50000});
    wait_until(ticks == 3);
    event_free(tick);
    cr_expect_eq(downs, 0);
    cr_expect_str_eq(heard_text(), "1:0=1 ");
}

static void reset_then_send(void *arg, unsigned index, redisReply *reply)
{
    hear(arg, index, reply);
    upstream_reset(up, "something is wrong");
    cr_expect_not(send_words(9, "PING", NULL, NULL));
}

Test(upstream, a_reset_from_within_an_answer_loses_the_rest)
{
    begin_with_server();
    struct buf out = BUF_INIT;
    for (int i = 0; i < 3; i++)
        resp_words(&out, "INCR", "n", NULL);
    cr_assert(upstream_send(up, out.data, out.len, 3, reset_then_send, (void *)1));
    buf_free(&out);
    cr_assert(send_words(2, "INCR", "n", NULL));
    wait_until(ups == 2);
    cr_expect_str_eq(heard_text(), "1:0=1 1:1=lost 2:0=lost ");
    cr_expect_eq(downs, 1);
    cr_expect_not_null(strstr(down_why, "something is wrong"));
}

Test(upstream, freeing_tells_what_is_outstanding)
{
    begin_with_server();
    cr_assert(send_words(1, "INCR", "n", NULL));
    upstream_free(up);
    up = NULL;
    cr_expect_str_eq(heard_text(), "1:0=lost ");
}

Test(upstream, the_right_password_opens)
{
    server.options[0] = "--requirepass";
    server.options[1] = "sesame seed";
    config.redis_password = "sesame seed";
    config.redis_user = "default";
    config.redis_db = 3;
    begin_with_server();
}

Test(upstream, a_wrong_password_is_told_and_not_shown)
{
    server.options[0] = "--requirepass";
    server.options[1] = "sesame";
    config.redis_password = "barley";
    redis_process_start(&server);
    begin(server.address);
    wait_until(why_has("refuses the password: WRONGPASS"));
    cr_expect_not(why_has("barley"));
    cr_expect(why_has(server.address));
    cr_expect_eq(ups + downs, 0);
}

Test(upstream, a_missing_password_is_told)
{
    server.options[0] = "--requirepass";
    server.options[1] = "sesame";
    redis_process_start(&server);
    begin(server.address);
    wait_until(why_has("wants a password and none is configured"));
}

Test(upstream, a_database_that_is_not_there_is_told)
{
    config.redis_db = 99;
    redis_process_start(&server);
    begin(server.address);
    wait_until(why_has("has no database 99"));
}

static int bound_socket(int port, int *chosen)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof(in);
    cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *chosen = ntohs(in.sin_port);
    return fd;
}

static void connects_by(const char *host)
{
    int port;
    char number[16], address[64];
    close(bound_socket(0, &port));
    snprintf(number, sizeof(number), "%d", port);
    server.options[0] = "--port";
    server.options[1] = number;
    snprintf(address, sizeof(address), "%s:%d", host, port);
    redis_process_start(&server);
    begin(address);
    wait_until(ups == 1);
    cr_assert(send_words(1, "INCR", "n", NULL));
    wait_until(strstr(heard_text(), "1:0=1 "));
}

Test(upstream, connects_by_ip_address)
{
    connects_by("127.0.0.1");
}

Test(upstream, connects_by_host_name)
{
    connects_by("localhost");
}

Test(upstream, a_refused_connection_is_told)
{
    int port;
    char address[64];
    int fd = bound_socket(0, &port); /* bound, but nobody listens */
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    begin(address);
    wait_until(why_has("Connection refused"));
    cr_expect(why_has(address));
    close(fd);
}

Test(upstream, an_address_that_is_none_is_told)
{
    begin("localhost:many");
    wait_until(why_has("host:port or unix:/path is expected"));
}

Test(upstream, the_embedded_address_comes_later)
{
    redis_process_start(&server);
    begin("embedded");
    cr_expect(why_has("embedded Redis is starting"));
    upstream_set_address(up, server.address);
    wait_until(ups == 1);
    upstream_set_address(up, server.address);
    cr_expect_eq(upstream_state(up), UPSTREAM_UP);
}

/* A server that says what it is told to, whatever it is asked: script[i] to the i-th client. */
static const char *script[4];
static int scripted;

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *peer, int len,
                      void *arg)
{
    (void)l, (void)peer, (void)len, (void)arg;
    const char *text = script[scripted < 3 ? scripted++ : 3];
    if (text)
        cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void fake_server(char *address, size_t size)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fake = evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 8,
                                   (struct sockaddr *)&in, sizeof(in));
    cr_assert_not_null(fake);
    socklen_t len = sizeof(in);
    getsockname(evconnlistener_get_fd(fake), (struct sockaddr *)&in, &len);
    snprintf(address, size, "127.0.0.1:%d", ntohs(in.sin_port));
}

static void fake_says(const char *first, const char *then)
{
    static char address[64];
    script[0] = first;
    script[1] = script[2] = script[3] = then;
    fake_server(address, sizeof(address));
    begin(address);
}

#define OK "+OK\r\n"
#define SERVER(version) "$41\r\nredis_version:" version "\r\nrun_id:abcdefghij\r\n\r\n"
#define GOOD SERVER("7.0.15") "$13\r\nrole:master\r\n\r\n" OK ":7\r\n" OK "*0\r\n"

Test(upstream, an_old_server_is_refused)
{
    fake_says(SERVER("6.0.16"), NULL);
    wait_until(why_has("version \"6.0.16\"; 6.2 or newer is needed"));
}

Test(upstream, a_loading_server_is_tried_again_soon)
{
    fake_says(GOOD "-LOADING Redis is loading the dataset in memory\r\n", GOOD "+PONG\r\n");
    wait_until(why_has("is loading its data"));
    wait_until(ups == 1);
}

Test(upstream, an_answer_to_nothing_breaks_the_link)
{
    fake_says(GOOD "+PONG\r\n:5\r\n", GOOD "+PONG\r\n");
    wait_until(downs == 1);
    cr_expect_not_null(strstr(down_why, "nothing was asked for"), "%s", down_why);
    wait_until(ups == 2);
}

Test(upstream, bytes_that_are_no_resp_break_the_link)
{
    fake_says("HTTP/1.1 400 Bad Request\r\n", GOOD "+PONG\r\n");
    wait_until(why_has("Protocol error"));
    wait_until(ups == 1);
    cr_expect_eq(downs, 0);
}

Test(upstream, a_server_that_never_greets_is_given_up)
{
    config.connect_timeout = 60;
    fake_says(NULL, NULL);
    wait_until(why_has("connected, but no answer for 60 ms"));
}

Test(upstream, a_password_that_is_quoted_back_is_not_shown)
{
    config.redis_password = "sesame";
    fake_says("-ERR unknown command `AUTH`, with args beginning with: `sesame`\r\n", NULL);
    wait_until(why_has("refuses the password"));
    cr_expect_not(why_has("sesame"), "%s", upstream_why(up));
}
