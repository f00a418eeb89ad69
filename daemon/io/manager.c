/* manager: see manager.h. What is asked are properties, one after the other: the job of our unit,
 * the type of that job, and how many descriptors are kept for us. */
#include "daemon/io/manager.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#define SYSTEMD "org.freedesktop.systemd1"
#define OUR_UNIT "/org/freedesktop/systemd1/unit/self" /* of whoever asks */

struct manager_question {
    struct event_base *base;
    sd_bus *bus;
    struct event *io, *timer;
    unsigned room;
    bool over, restarts;
    char why[200]; /* "": it is a stop */
    manager_answer_fn *fn;
    void *arg;
};

bool manager_there(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

/* ---- the question ---- */

static void __attribute__((format(printf, 2, 3)))
give_up(struct manager_question *q, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(q->why, sizeof q->why, fmt, args);
    va_end(args);
    q->over = true;
}

static int get(struct manager_question *q, const char *object, const char *kind, const char *name,
               sd_bus_message_handler_t then)
{
    char interface[64];

    snprintf(interface, sizeof interface, SYSTEMD ".%s", kind);
    int status =
        sd_bus_call_method_async(q->bus, NULL, SYSTEMD, object, "org.freedesktop.DBus.Properties",
                                 "Get", then, q, "ss", interface, name);
    if (status < 0)
        give_up(q, "the bus: %s", strerror(-status));
    return 0;
}

/* What was got: in a variant, of this type. */
static bool open_answer(struct manager_question *q, sd_bus_message *m, const char *type)
{
    const sd_bus_error *error = sd_bus_message_get_error(m);

    if (error)
        give_up(q, "systemd: %s", error->message ? error->message : error->name);
    else if (sd_bus_message_enter_container(m, 'v', type) <= 0)
        give_up(q, "systemd says what is not understood");
    return !q->over;
}

static int on_room(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct manager_question *q = arg;
    uint32_t room = 0;

    (void)error;
    if (!open_answer(q, m, "u"))
        return 0;
    sd_bus_message_read(m, "u", &room);
    q->restarts = room >= q->room;
    if (q->restarts)
        q->over = true;
    else
        give_up(q, "FileDescriptorStoreMax= of the unit is %u, and %u are needed", room, q->room);
    return 0;
}

static int on_type(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct manager_question *q = arg;
    const char *type = "";

    (void)error;
    if (!open_answer(q, m, "s"))
        return 0;
    sd_bus_message_read(m, "s", &type);
    if (strcmp(type, "restart") == 0)
        return get(q, OUR_UNIT, "Service", "FileDescriptorStoreMax", on_room);
    q->over = true;
    return 0;
}

static int on_job(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct manager_question *q = arg;
    const char *object = NULL;
    uint32_t job = 0;

    (void)error;
    if (!open_answer(q, m, "(uo)"))
        return 0;
    if (sd_bus_message_read(m, "(uo)", &job, &object) > 0 && job != 0)
        return get(q, object, "Job", "JobType", on_type);
    q->over = true; /* somebody else has sent the signal */
    return 0;
}

static void finish(struct manager_question *q)
{
    manager_answer_fn *fn = q->fn;
    void *arg = q->arg;
    bool restarts = q->restarts;
    char why[sizeof q->why];

    memcpy(why, q->why, sizeof why);
    manager_ask_no_more(q);
    fn(arg, restarts, why[0] ? why : NULL);
}

static void on_bus(evutil_socket_t fd, short what, void *arg);

static void listen_to_bus(struct manager_question *q)
{
    int wanted = sd_bus_get_events(q->bus);
    short what = (short)((wanted & POLLOUT ? EV_WRITE : 0) | EV_READ);

    if (q->io)
        event_free(q->io);
    q->io = event_new(q->base, sd_bus_get_fd(q->bus), what, on_bus, q);
    event_add(q->io, NULL);
}

static void on_bus(evutil_socket_t fd, short what, void *arg)
{
    struct manager_question *q = arg;
    int status = 1;

    (void)fd, (void)what;
    while (!q->over && (status = sd_bus_process(q->bus, NULL)) > 0)
        continue;
    if (!q->over && status < 0)
        give_up(q, "the bus: %s", strerror(-status));
    if (q->over)
        finish(q);
    else
        listen_to_bus(q);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    struct manager_question *q = arg;

    (void)fd, (void)what;
    if (!q->over)
        give_up(q, "the bus does not answer");
    finish(q);
}

struct manager_question *manager_ask(struct event_base *base, unsigned room, unsigned ms,
                                     manager_answer_fn *fn, void *arg)
{
    struct manager_question *q = alloc_zeroed(1, sizeof *q);
    struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

    *q = (struct manager_question){.base = base, .room = room, .fn = fn, .arg = arg};
    q->timer = evtimer_new(base, on_late, q);
    int status = sd_bus_open_system(&q->bus);
    if (status < 0)
        give_up(q, "the bus: %s", strerror(-status));
    else
        get(q, OUR_UNIT, "Unit", "Job", on_job);
    if (q->over) {
        patience = (struct timeval){0};
    } else {
        listen_to_bus(q);
        event_active(q->io, EV_WRITE, 0);
    }
    event_add(q->timer, &patience);
    return q;
}

void manager_ask_no_more(struct manager_question *q)
{
    if (q->io)
        event_free(q->io);
    event_free(q->timer);
    sd_bus_close_unref(q->bus);
    free(q);
}

/* ---- what it keeps ---- */

/* FDPOLL=0: it would let go of what looks closed. */
int manager_keep(int fd, const char *name)
{
    char text[128];

    snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    int status = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
    errno = status < 0 ? -status : ENOTCONN;
    return status > 0 ? 0 : -1;
}

void manager_forget(const char *name)
{
    sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

int manager_heard(unsigned ms)
{
    int status = sd_notify_barrier(0, (uint64_t)ms * 1000);

    errno = status < 0 ? -status : ENOTCONN;
    return status > 0 ? 0 : -1;
}
