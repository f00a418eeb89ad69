/* The stream over a socket pair: what is offered, what is written when, and closing anywhere. */
#include "daemon/io/stream.h"
#include "turn.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct event_base *base;
static int peer;

/* What one owner saw, and how it is to behave. */
static struct owner {
    struct stream *stream;
    uint8_t seen[4096]; /* the latest offer */
    size_t seen_len, total;
    unsigned inputs, ends, drained;
    int end_error;
    size_t rest;
    size_t use; /* bytes to use up of each offer; SIZE_MAX: all */
    bool close_in_input, leave_in_input, close_in_end, pause_in_input, later_in_input;
    const char *answer; /* appended in on_input */
} own;

static size_t on_input(void *arg, const uint8_t *data, size_t len)
{
    struct owner *o = arg;

    o->inputs++;
    o->seen_len = len < sizeof o->seen ? len : sizeof o->seen;
    memcpy(o->seen, data, o->seen_len);
    if (o->answer)
        buf_append(stream_out(o->stream), o->answer, strlen(o->answer));
    if (o->later_in_input)
        stream_flush_later(o->stream);
    if (o->pause_in_input)
        stream_pause(o->stream, true);
    if (o->leave_in_input) {
        stream_close_after_flush(o->stream, 20000);
        o->stream = NULL;
        return 0;
    }
    if (o->close_in_input) {
        stream_close(o->stream);
        o->stream = NULL;
        return 0;
    }
    size_t used = o->use < len ? o->use : len;
    o->total += used;
    return used;
}

static void on_end(void *arg, int err, size_t rest)
{
    struct owner *o = arg;

    o->ends++;
    o->end_error = err;
    o->rest = rest;
    if (o->close_in_end) {
        stream_close(o->stream);
        o->stream = NULL;
    }
}

static void on_drained(void *arg)
{
    ((struct owner *)arg)->drained++;
}

static const struct stream_callbacks calls = {on_input, on_end, on_drained};

static void begin_as(int type)
{
    int fds[2];

    base = event_base_new();
    cr_assert_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    peer = fds[0];
    fcntl(peer, F_SETFL, O_NONBLOCK);
    own = (struct owner){.use = SIZE_MAX};
    own.stream = stream_new(base, fds[1], &calls, &own);
    cr_assert(own.stream);
}

static void begin(void)
{
    begin_as(SOCK_STREAM);
}

static void end(void)
{
    if (own.stream)
        stream_close(own.stream);
    if (peer >= 0)
        close(peer);
    event_base_free(base);
}

TestSuite(stream, .init = begin, .fini = end);

static void say(const char *text)
{
    cr_assert_eq(send(peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static bool seen(const char *text)
{
    return own.seen_len == strlen(text) && memcmp(own.seen, text, own.seen_len) == 0;
}

/* What the peer can read now. */
static const char *heard(void)
{
    static char text[4096];
    ssize_t n = recv(peer, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return n < 0 ? "<nothing>" : n == 0 ? "<end>" : text;
}

static size_t read_all(size_t want)
{
    static uint8_t chunk[65536];
    size_t got = 0;

    turn_until(base, ({
                   ssize_t n = recv(peer, chunk, sizeof chunk, 0);
                   got += n > 0 ? (size_t)n : 0;
                   got >= want;
               }));
    return got;
}

static void fill(size_t len)
{
    struct buf *out = stream_out(own.stream);

    cr_assert(buf_grow(out, len));
    memset(out->data + out->len, 'x', len);
    out->len += len;
}

Test(stream, offers_what_was_not_used_again)
{
    own.use = 0;
    say("abc");
    turn_until(base, own.inputs == 1);
    cr_expect(seen("abc"));
    cr_expect_eq(stream_unread(own.stream), 3);
    cr_expect_eq(memcmp(stream_unread_data(own.stream), "abc", 3), 0);
    own.use = 2;
    say("de");
    turn_until(base, own.inputs == 2);
    cr_expect(seen("abcde"));
    own.use = SIZE_MAX;
    say("f");
    turn_until(base, own.inputs == 3);
    cr_expect(seen("cdef"));
    cr_expect_eq(stream_unread(own.stream), 0);
    turn_settle(base);
    cr_expect_eq(own.inputs, 3);
}

Test(stream, takes_much_with_little_used)
{
    static char block[100000];
    size_t sent = 0;

    own.use = 0;
    while (sent < 3000000) {
        ssize_t n = send(peer, block, sizeof block, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        turn_once(base);
    }
    turn_until(base, stream_unread(own.stream) == sent);
    own.use = SIZE_MAX;
    say("!");
    turn_until(base, own.total == sent + 1);
    cr_expect_eq(stream_unread(own.stream), 0);
}

Test(stream, answers_at_the_end_of_input)
{
    own.answer = "pong";
    say("ping");
    turn_until(base, own.inputs == 1);
    cr_expect_str_eq(heard(), "pong");
}

Test(stream, end_of_stream_then_failed_write)
{
    own.use = 1;
    say("abc");
    turn_until(base, own.inputs == 1);
    shutdown(peer, SHUT_WR);
    turn_until(base, own.ends == 1);
    cr_expect_eq(own.end_error, 0);
    cr_expect_eq(own.rest, 2);
    cr_expect_not(stream_peer_gone(own.stream));
    buf_append(stream_out(own.stream), "late", 4);
    stream_flush(own.stream);
    cr_expect_str_eq(heard(), "late");
    close(peer);
    peer = -1;
    cr_expect(stream_peer_gone(own.stream));
    buf_append(stream_out(own.stream), "later", 5);
    stream_flush(own.stream);
    cr_expect_eq(own.ends, 1, "told inside stream_flush");
    turn_until(base, own.ends == 2);
    cr_expect_eq(own.end_error, EPIPE);
    turn_settle(base);
    cr_expect_eq(own.ends, 2);
}

Test(stream, what_came_before_a_failed_write_counts)
{
    say("last words");
    close(peer);
    peer = -1;
    buf_append(stream_out(own.stream), "x", 1);
    stream_flush(own.stream);
    turn_until(base, own.ends == 1);
    cr_expect(seen("last words"));
    cr_expect_eq(own.end_error, EPIPE);
    cr_expect_eq(stream_unsent(own.stream), 0);
}

Test(stream, closes_in_input)
{
    own.close_in_input = true;
    say("abc");
    turn_until(base, own.inputs == 1);
    cr_expect_str_eq(heard(), "<end>");
    turn_settle(base);
    cr_expect_eq(own.ends, 0);
}

Test(stream, closes_in_end)
{
    own.close_in_end = true;
    close(peer);
    peer = -1;
    turn_until(base, own.ends == 1);
    cr_expect_eq(own.end_error, 0);
}

Test(stream, closes_with_work_left_to_do)
{
    fill(10000000);
    stream_flush(own.stream);
    stream_flush_later(own.stream);
    own.use = 0;
    say("abc");
    turn_until(base, own.inputs == 1);
    stream_pause(own.stream, true);
    stream_pause(own.stream, false);
    stream_close(own.stream);
    own.stream = NULL;
    turn_settle(base);
    cr_expect_eq(own.inputs, 1);
    cr_expect_eq(own.ends, 0);
}

Test(stream, pauses_and_hands_over)
{
    own.pause_in_input = true;
    own.use = 1;
    say("abc");
    turn_until(base, own.inputs == 1);
    say("d");
    turn_settle(base);
    cr_expect_eq(own.inputs, 1);
    own.pause_in_input = false;
    own.use = SIZE_MAX;
    stream_pause(own.stream, false);
    cr_expect_eq(own.inputs, 1, "handed over inside stream_pause");
    turn_until(base, own.total == 4);
}

Test(stream, hands_over_without_anything_new)
{
    own.pause_in_input = true;
    own.use = 1;
    say("abc");
    turn_until(base, own.inputs == 1);
    own.pause_in_input = false;
    own.use = SIZE_MAX;
    stream_pause(own.stream, false);
    turn_until(base, own.inputs == 2);
    cr_expect(seen("bc"));
    cr_expect_eq(stream_unread(own.stream), 0);
}

Test(stream, tells_when_drained)
{
    stream_set_low(own.stream, 1000);
    fill(5000000);
    stream_flush(own.stream);
    cr_assert_gt(stream_unsent(own.stream), 1000);
    cr_expect_eq(own.drained, 0);
    cr_expect_eq(read_all(5000000), 5000000);
    turn_until(base, own.drained == 1);
    cr_expect_eq(stream_unsent(own.stream), 0);
    cr_expect_eq(stream_written(own.stream), 5000000);
    fill(10);
    stream_flush(own.stream);
    turn_settle(base);
    cr_expect_eq(own.drained, 1);
}

Test(stream, output_keeps_its_order_under_pressure)
{
    static uint32_t words[1 << 20];
    size_t got = 0;
    uint32_t next = 0;

    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 1 << 17; i++, next++)
            buf_append(stream_out(own.stream), &next, sizeof next);
        stream_flush(own.stream);
        ssize_t n = recv(peer, (char *)words + got, 150001, 0);
        got += n > 0 ? (size_t)n : 0;
        turn_once(base);
    }
    turn_until(base, ({
                   ssize_t n = recv(peer, (char *)words + got, sizeof words - got, 0);
                   got += n > 0 ? (size_t)n : 0;
                   got == sizeof words;
               }));
    for (uint32_t i = 0; i < 1 << 20; i++)
        cr_assert_eq(words[i], i);
}

Test(stream, closes_after_flush)
{
    fill(2000000);
    stream_flush(own.stream);
    cr_assert_gt(stream_unsent(own.stream), 0);
    stream_close_after_flush(own.stream, 20000);
    own.stream = NULL;
    say("still talking");
    cr_expect_eq(read_all(2000000), 2000000);
    turn_until(base, strcmp(heard(), "<end>") == 0);
    say("and on"); /* taken and dropped, not refused */
    turn_settle(base);
    cr_expect_eq(own.inputs, 0);
    cr_expect_eq(own.ends, 0);
    turn_until(base, turn_idle(base)); /* it does not wait for the peer for ever */
}

Test(stream, closes_after_flush_in_input)
{
    own.answer = "bye";
    own.use = 0;
    own.leave_in_input = true;
    say("abc");
    turn_until(base, own.inputs == 1);
    cr_expect_str_eq(heard(), "bye");
    cr_expect_str_eq(heard(), "<end>");
    close(peer);
    peer = -1;
    turn_until(base, turn_idle(base));
}

Test(stream, gives_up_on_a_peer_that_does_not_read)
{
    fill(10000000);
    stream_close_after_flush(own.stream, 30);
    own.stream = NULL;
    turn_until(base, turn_idle(base));
}

Test(stream, stops_reading_but_writes)
{
    own.use = 0;
    say("abc");
    turn_until(base, own.inputs == 1);
    stream_stop_reading(own.stream);
    cr_expect_eq(stream_unread(own.stream), 0);
    say("def");
    turn_settle(base);
    cr_expect_eq(own.inputs, 1);
    buf_append(stream_out(own.stream), "yes", 3);
    stream_flush_later(own.stream);
    turn_settle(base);
    cr_expect_str_eq(heard(), "yes");
}

static void begin_packets(void)
{
    begin_as(SOCK_SEQPACKET);
}

/* On a packet socket each write() can be counted. */
TestSuite(writes, .init = begin_packets, .fini = end);

Test(writes, later_ones_become_one)
{
    buf_append(stream_out(own.stream), "a", 1);
    stream_flush_later(own.stream);
    buf_append(stream_out(own.stream), "b", 1);
    stream_flush_later(own.stream);
    cr_expect_str_eq(heard(), "<nothing>");
    turn_settle(base);
    cr_expect_str_eq(heard(), "ab");
    cr_expect_str_eq(heard(), "<nothing>");
}

Test(writes, later_in_input_is_at_its_end)
{
    own.answer = "pong";
    own.later_in_input = true;
    say("ping");
    turn_until(base, own.inputs == 1);
    cr_expect_str_eq(heard(), "pong");
    turn_settle(base);
    cr_expect_str_eq(heard(), "<nothing>");
}
