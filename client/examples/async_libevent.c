/* async_libevent: a thousand increments and a pipeline under way at once, driven by libevent; a
 * timer beside them sees when all is answered. */
#include "example.h"
#include <event2/event.h>
#include <poll.h>

#define N 1000

static const rapyer_model Counter =
    RAPYER_ATOMIC("Counter", RAPYER_FIELD("n", "int", "0"), RAPYER_FIELD("log", "list<str>"));

struct app {
    struct event_base *base;
    struct event *io;
    rapyer *db;
    int answers;
    int64_t highest, pipelined;
};

static void on_io(evutil_socket_t fd, short what, void *arg);

/* Asks libevent for what the connection waits for now. */
static void watch(struct app *app)
{
    short want = rapyer_events(app->db);
    short events = (short)((want & POLLIN ? EV_READ : 0) | (want & POLLOUT ? EV_WRITE : 0));
    int ms = rapyer_timeout_ms(app->db);
    struct timeval timeout = {ms / 1000, ms % 1000 * 1000};
    event_free(app->io);
    app->io = event_new(app->base, rapyer_fd(app->db), events, on_io, app);
    event_add(app->io, ms < 0 ? NULL : &timeout);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct app *app = arg;
    (void)fd;
    rapyer_process(app->db,
                   (short)((what & EV_READ ? POLLIN : 0) | (what & EV_WRITE ? POLLOUT : 0)));
    if (rapyer_pending(app->db) > 0)
        watch(app);
}

static void counted(rapyer *db, const rapyer_value *result, void *user)
{
    struct app *app = user;
    int64_t n = rapyer_int(result, "", -1);
    if (!result)
        fprintf(stderr, "%s\n", rapyer_errmsg(db));
    app->highest = n > app->highest ? n : app->highest;
    app->answers++;
}

static void committed(rapyer *db, const rapyer_value *results, void *user)
{
    struct app *app = user;
    (void)db;
    app->pipelined = rapyer_int(results, "[1]", -1);
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
    struct app *app = arg;
    (void)fd;
    (void)what;
    if (rapyer_pending(app->db) == 0)
        event_base_loopbreak(app->base);
}

static void send_all(struct app *app, rapyer_doc *counter)
{
    for (int i = 0; i < N; i++)
        EXPECT(rapyer_send_op(counter, counted, app, "num.incr", "n", "1") == 0);
    rapyer_auto_doc *p = rapyer_begin(counter);
    rapyer_append(p, "log", "sent");
    rapyer_append(p, "log", "%s", "and waited for");
    EXPECT(rapyer_send_commit(p, committed, app) == 0);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    struct app app = {.base = event_base_new(), .db = db};
    struct timeval soon = {0, 5000};
    rapyer_define(db, &Counter);
    rapyer_auto_doc *counter = rapyer_new(db, "Counter:libevent", "{}");
    rapyer_save(counter);

    send_all(&app, counter);
    struct event *timer = event_new(app.base, -1, EV_PERSIST, tick, &app);
    event_add(timer, &soon);
    app.io = event_new(app.base, rapyer_fd(db), EV_READ, on_io, &app);
    watch(&app);
    event_base_dispatch(app.base);

    EXPECT(app.answers == N && app.highest == N && app.pipelined == 2);
    REDIS_IS("1000", "HGET rapyer:{Counter:libevent} n");
    REDIS_IS("2", "LLEN rapyer:{Counter:libevent}/log");
    event_free(timer);
    event_free(app.io);
    event_base_free(app.base);
    return example_end(db);
}
