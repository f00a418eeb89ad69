/*   dial_start ──► look up ──► try target 0 ──► try target 1 ... ──► done
 *                     │             ▲  │
 *                     └── timer ────┘  └── writable, refused, or its time is up
 *
 * Each step begins in the timer's callback, never inside the resolver's: the resolver can then
 * be freed at any step, and no answer is given before dial_start has returned. */
#include "daemon/redis/dial.h"
#include "daemon/base/clock.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TARGETS_MAX 16

struct target {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* What the resolver holds on to: it may answer after the dial has gone. */
struct lookup {
    struct dial *dial;
};

struct dial {
    struct event_base *base;
    dial_done_fn *fn;
    void *arg;
    int64_t deadline; /* clock_mono_ms() */
    struct target targets[TARGETS_MAX];
    unsigned ntargets, next;
    struct evdns_base *dns;
    struct lookup *lookup; /* not NULL while the resolver works */
    int fd;                /* connecting */
    struct event *writable, *timer;
    char why[256];
};

static void say_why(struct dial *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say_why(struct dial *d, const char *fmt, ...)
{
    size_t at = strlen(d->why);
    if (at > 0 && at + 2 < sizeof(d->why)) {
        strcpy(d->why + at, "; ");
        at += 2;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(d->why + at, sizeof(d->why) - at, fmt, args);
    va_end(args);
}

static void dial_close(struct dial *d)
{
    if (d->writable)
        event_free(d->writable);
    d->writable = NULL;
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

void dial_cancel(struct dial *d)
{
    if (!d)
        return;
    dial_close(d);
    if (d->lookup)
        d->lookup->dial = NULL;
    if (d->dns)
        evdns_base_free(d->dns, 1);
    event_free(d->timer);
    free(d);
}

static void finish(struct dial *d, int fd)
{
    dial_done_fn *fn = d->fn;
    void *arg = d->arg;
    char why[sizeof(d->why)];
    memcpy(why, d->why, sizeof(why));
    d->fd = -1;
    dial_cancel(d);
    fn(arg, fd, why);
}

static void target_failed(struct dial *d, const char *reason)
{
    const struct target *t = &d->targets[d->next++];
    char host[INET6_ADDRSTRLEN] = "?";
    dial_close(d);
    if (t->addr.ss_family == AF_INET)
        evutil_inet_ntop(AF_INET, &((const struct sockaddr_in *)&t->addr)->sin_addr, host,
                         sizeof(host));
    else if (t->addr.ss_family == AF_INET6)
        evutil_inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&t->addr)->sin6_addr, host,
                         sizeof(host));
    if (d->dns) /* else the address is what the caller gave */
        say_why(d, "%s: %s", host, reason);
    else
        say_why(d, "%s", reason);
}

static void set_options(int fd, int family)
{
    if (family == AF_UNIX)
        return;
    int on = 1, idle = 15, interval = 5, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static void try_targets(struct dial *d);

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct dial *d = arg;
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err == 0) {
        event_free(d->writable);
        d->writable = NULL;
        finish(d, fd);
        return;
    }
    target_failed(d, strerror(err));
    try_targets(d);
}

/* An equal share of what is left for each target that is left. */
static void arm_timer(struct dial *d, unsigned shares)
{
    int64_t now = clock_mono_ms();
    int64_t ms = now < d->deadline ? (d->deadline - now) / (shares ? shares : 1) : 0;
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(d->timer, &tv);
}

/* 1 connected, 0 on its way, -1 failed. */
static int try_one(struct dial *d, const struct target *t)
{
    d->fd = socket(t->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return -1;
    set_options(d->fd, t->addr.ss_family);
    if (connect(d->fd, (const struct sockaddr *)&t->addr, t->len) == 0)
        return 1;
    if (errno != EINPROGRESS)
        return -1;
    d->writable = event_new(d->base, d->fd, EV_WRITE, on_writable, d);
    if (!d->writable || event_add(d->writable, NULL) < 0)
        return -1;
    arm_timer(d, d->ntargets - d->next);
    return 0;
}

static void try_targets(struct dial *d)
{
    while (d->next < d->ntargets) {
        int r = try_one(d, &d->targets[d->next]);
        if (r == 0)
            return;
        if (r > 0) {
            finish(d, d->fd);
            return;
        }
        target_failed(d, strerror(errno));
    }
    finish(d, -1);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct dial *d = arg;
    if (d->lookup)
        say_why(d, "the name server does not answer");
    else if (d->fd >= 0)
        target_failed(d, "no answer");
    try_targets(d);
}

static void add_targets(struct dial *d, const struct evutil_addrinfo *list)
{
    for (; list && d->ntargets < TARGETS_MAX; list = list->ai_next) {
        struct target *t = &d->targets[d->ntargets];
        if (list->ai_addrlen > sizeof(t->addr))
            continue;
        memcpy(&t->addr, list->ai_addr, list->ai_addrlen);
        t->len = (socklen_t)list->ai_addrlen;
        d->ntargets++;
    }
}

static void on_lookup(int err, struct evutil_addrinfo *list, void *arg)
{
    struct lookup *lookup = arg;
    struct dial *d = lookup->dial;
    free(lookup);
    if (d) {
        d->lookup = NULL;
        if (err)
            say_why(d, "cannot look up the host name: %s", evutil_gai_strerror(err));
        else
            add_targets(d, list);
        event_active(d->timer, EV_TIMEOUT, 0);
    }
    if (list)
        evutil_freeaddrinfo(list);
}

static void look_up(struct dial *d, const char *host, const char *port)
{
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct evutil_addrinfo *list = NULL;
    hints.ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV;
    if (evutil_getaddrinfo(host, port, &hints, &list) == 0) {
        add_targets(d, list);
        evutil_freeaddrinfo(list);
        return;
    }
    /* A new resolver each time, so that changes of resolv.conf and hosts are seen. */
    d->dns = evdns_base_new(d->base,
                            EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!d->dns) {
        say_why(d, "cannot look up the host name: no resolver");
        return;
    }
    struct lookup *lookup = alloc_zeroed(1, sizeof(*lookup));
    lookup->dial = d;
    d->lookup = lookup;
    hints.ai_flags = EVUTIL_AI_ADDRCONFIG;
    evdns_getaddrinfo(d->dns, host, port, &hints, on_lookup, lookup);
}

static void add_unix(struct dial *d, const char *path)
{
    struct target *t = &d->targets[0];
    struct sockaddr_un *un = (struct sockaddr_un *)&t->addr;
    if (strlen(path) >= sizeof(un->sun_path)) {
        say_why(d, "the socket's path is longer than %zu bytes", sizeof(un->sun_path) - 1);
        return;
    }
    un->sun_family = AF_UNIX;
    strcpy(un->sun_path, path);
    t->len = sizeof(*un);
    d->ntargets = 1;
}

/* Splits "host:port" in place; a colon inside an unbracketed IPv6 address is none of a port. */
static bool split_host(char *text, char **host, char **port)
{
    static char default_port[] = DIAL_DEFAULT_PORT;
    *port = default_port;
    *host = text;
    char *colon;
    if (*text == '[') {
        char *close = strchr(text, ']');
        if (!close || (close[1] && close[1] != ':'))
            return false;
        *host = text + 1;
        colon = close[1] ? close + 1 : NULL;
        *close = '\0';
    } else {
        colon = strchr(text, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL;
    }
    if (colon) {
        *colon = '\0';
        *port = colon + 1;
    }
    char *end;
    unsigned long number = strtoul(*port, &end, 10);
    return **host && **port >= '0' && **port <= '9' && !*end && number > 0 && number < 65536;
}

bool dial_host(const char *address, char *out, size_t size)
{
    char *text = alloc_str(address), *host, *port;
    bool has =
        strncmp(text, "unix:", 5) != 0 && split_host(text, &host, &port) && strlen(host) < size;
    if (has)
        strcpy(out, host);
    free(text);
    return has;
}

bool dial_is_local(const char *address)
{
    char host[256];
    return !dial_host(address, host, sizeof(host)) || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

int dial_allowed(const char *address, char *error, size_t n)
{
    if (strncmp(address, "unix:", 5) == 0)
        return 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT)
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || errno != EAFNOSUPPORT)
        return 0;
    snprintf(error, n,
             "redis.redis: %s is on the network, which this process may not use; see NETWORK in "
             "rapyerd(8)",
             address);
    return -1;
}

struct dial *dial_start(struct event_base *base, const char *address, unsigned timeout_ms,
                        dial_done_fn *fn, void *arg)
{
    struct dial *d = alloc_zeroed(1, sizeof(*d));
    *d = (struct dial){.base = base, .fn = fn, .arg = arg, .fd = -1};
    d->deadline = clock_mono_ms() + timeout_ms;
    d->timer = evtimer_new(base, on_timer, d);
    char *text = alloc_str(address);
    char *host, *port;
    if (strncmp(text, "unix:", 5) == 0)
        add_unix(d, text + 5);
    else if (split_host(text, &host, &port))
        look_up(d, host, port);
    else
        say_why(d, "\"%s\" is no address; host:port or unix:/path is expected", address);
    free(text);
    if (d->lookup)
        arm_timer(d, 1);
    else
        event_active(d->timer, EV_TIMEOUT, 0);
    return d;
}
