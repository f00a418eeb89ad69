/* http: see http.h.
 *
 * libevent's server has no bound on connections, and only counts silence: one byte a second would
 * keep a connection for ever. So each connection is a *visit*, which holds a reference to the
 * server's bufferevent: while there are CONNECTIONS of them no more are accepted (they wait in the
 * backlog), and each is shut down after LIFETIME_S. That the server has let go of one is seen by
 * its callbacks, which are gone then.
 */
#include "daemon/metrics/http.h"
#include "daemon/base/clock.h"
#include "daemon/metrics/viewer_page.h"
#include "protocol/alloc.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#define CONNECTIONS 16
#define BACKLOG 16
#define LIFETIME_S 5                     /* of a connection, which is for one request */
#define HEADER_BYTES ((size_t)64 * 1024) /* with the key of a document */
#define BODY_BYTES 1024
#define FRESH_MS 1000 /* the figures are not written more often */

struct visit {
    struct visit *prev, *next;
    struct bufferevent *link;
    int64_t since; /* clock_mono_ms() */
};

#define ADDRESS_BYTES 256

struct http {
    struct event_base *base;
    struct evhttp *server;
    struct evconnlistener *listener; /* the server's */
    struct http_callbacks cb;
    void *arg;
    struct visit *visits;
    unsigned nvisits;
    bool starving;        /* out of descriptors */
    struct event *resume; /* when starving */
    struct event *tick;   /* looks at the visits, while there are any */
    struct page pages[2]; /* by open_metrics */
    int64_t written[2];   /* clock_mono_ms(); 0: never */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": none to be removed */
    ino_t ino;
    char address[ADDRESS_BYTES]; /* metrics.listen when it was opened */
    char policy[512];            /* of the page: what a browser may do with it */
};

struct http_ask {
    struct http *http;
    struct evhttp_request *req;
    char *name;
    struct evkeyvalq params;
};

/* --- connections ------------------------------------------------------------------------- */

static void plan_accepting(struct http *h)
{
    if (h->nvisits < CONNECTIONS && !h->starving)
        evconnlistener_enable(h->listener);
    else
        evconnlistener_disable(h->listener);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct http *h = arg;

    (void)fd, (void)what;
    h->starving = false;
    plan_accepting(h);
}

/* Mostly too many open files: asking on would only burn time. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
    struct http *h = arg;
    struct timeval pause = {.tv_sec = 1};

    (void)l;
    h->starving = true;
    plan_accepting(h);
    evtimer_add(h->resume, &pause);
}

static void drop(struct http *h, struct visit *v)
{
    DL_DELETE(h->visits, v);
    bufferevent_decref(v->link);
    free(v);
    h->nvisits--;
    if (h->server)
        plan_accepting(h);
}

static bool let_go(struct visit *v)
{
    bufferevent_event_cb on_event;

    bufferevent_getcb(v->link, NULL, NULL, &on_event, NULL);
    return !on_event;
}

static void plan_tick(struct http *h)
{
    struct timeval second = {.tv_sec = 1};

    if (h->visits && !evtimer_pending(h->tick, NULL))
        evtimer_add(h->tick, &second);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct http *h = arg;
    struct visit *v, *next;
    int64_t now = clock_mono_ms();

    (void)fd, (void)what;
    DL_FOREACH_SAFE (h->visits, v, next) {
        if (let_go(v))
            drop(h, v);
        else if (now - v->since >= LIFETIME_S * 1000)
            shutdown(bufferevent_getfd(v->link), SHUT_RDWR); /* which the server hears of */
    }
    plan_tick(h);
}

static struct bufferevent *new_connection(struct event_base *base, void *arg)
{
    struct http *h = arg;
    struct visit *v = alloc_zeroed(1, sizeof *v);

    v->link = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_incref(v->link);
    v->since = clock_mono_ms();
    DL_APPEND(h->visits, v);
    h->nvisits++;
    plan_accepting(h);
    plan_tick(h);
    return v->link;
}

/* Of one that was answered; the others are seen by on_tick. */
static void on_closed(struct evhttp_connection *c, void *arg)
{
    struct http *h = arg;
    struct visit *v;

    DL_SEARCH_SCALAR(h->visits, v, link, evhttp_connection_get_bufferevent(c));
    if (v)
        drop(h, v);
}

/* --- answers ----------------------------------------------------------------------------- */

static void answer(struct http *h, struct evhttp_request *req, int code, const char *type,
                   const void *text, size_t len)
{
    struct evkeyvalq *head = evhttp_request_get_output_headers(req);
    struct evhttp_connection *c = evhttp_request_get_connection(req);
    struct evbuffer *body = evbuffer_new();

    evhttp_add_header(head, "Content-Type", type);
    evhttp_add_header(head, "Connection", "close");
    evhttp_add_header(head, "Cache-Control", "no-store");
    evhttp_add_header(head, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(head, "Cross-Origin-Resource-Policy", "same-origin");
    evbuffer_add(body, text, len);
    if (c) /* else it is gone, which evhttp_send_reply knows */
        evhttp_connection_set_closecb(c, on_closed, h);
    evhttp_send_reply(req, code, code == HTTP_OK ? "OK" : NULL, body);
    evbuffer_free(body);
}

static void answer_line(struct http *h, struct evhttp_request *req, int code, const char *text)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s\n", text);

    answer(h, req, code, "text/plain; charset=utf-8", line,
           (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* "localhost", "127.0.0.1", "[::1]", with a port or without: as this host calls itself. A page from
 * elsewhere whose name leads here has its own name there. */
static bool names_us(const char *host)
{
    struct in_addr v4;
    char name[64];
    size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

    if (len >= sizeof name || len > strlen(host))
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

/* False: it was refused. */
static bool may_ask(struct http *h, struct evhttp_request *req)
{
    const char *host = evhttp_find_header(evhttp_request_get_input_headers(req), "Host");

    if (!host || names_us(host))
        return true;
    answer_line(h, req, 421, "ask as localhost, 127.0.0.1 or [::1]");
    return false;
}

static void on_metrics(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;

    if (!may_ask(h, req))
        return;
    const char *accept = evhttp_find_header(evhttp_request_get_input_headers(req), "Accept");
    bool open_metrics = accept && strstr(accept, "application/openmetrics-text");
    struct page *p = &h->pages[open_metrics];
    int64_t now = clock_mono_ms();

    if (h->written[open_metrics] == 0 || now - h->written[open_metrics] >= FRESH_MS) {
        buf_clear(&p->out);
        p->open_metrics = open_metrics;
        h->cb.write(h->arg, p);
        page_end(p);
        h->written[open_metrics] = now;
    }
    answer(h, req, HTTP_OK,
           open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                        : "text/plain; version=0.0.4; charset=utf-8",
           p->out.data, p->out.len);
}

/* That it is answered is what it says: the loop goes around. */
static void on_health(struct evhttp_request *req, void *arg)
{
    answer_line(arg, req, HTTP_OK, "ok");
}

static void on_ready(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    char why[400] = "";

    if (h->cb.ready(h->arg, why, sizeof why))
        answer_line(h, req, HTTP_OK, "ready");
    else
        answer_line(h, req, HTTP_SERVUNAVAIL, why);
}

/* --- the page ---------------------------------------------------------------------------- */

/* What stands between two marks of the page, as its policy names it. */
static void put_hash(struct http *h, const char *directive, const char *from, const char *to)
{
    const char *begin = strstr(viewer_page, from) + strlen(from);
    unsigned char digest[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
    unsigned len;
    size_t used = strlen(h->policy);

    if (!EVP_Digest(begin, (size_t)(strstr(begin, to) - begin), digest, &len, EVP_sha256(), NULL))
        abort();
    EVP_EncodeBlock(text, digest, (int)len);
    snprintf(h->policy + used, sizeof h->policy - used, "; %s 'sha256-%s'", directive, text);
}

/* Its own script and style, nothing else from anywhere, and nobody shows it in his own page. */
static void make_policy(struct http *h)
{
    snprintf(h->policy, sizeof h->policy,
             "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action "
             "'none'; "
             "frame-ancestors 'none'; require-trusted-types-for 'script'");
    put_hash(h, "script-src", "<script>", "</script>");
    put_hash(h, "style-src", "<style>", "</style>");
}

static void answer_page(struct http *h, struct evhttp_request *req)
{
    struct evkeyvalq *head = evhttp_request_get_output_headers(req);

    evhttp_add_header(head, "Content-Security-Policy", h->policy);
    evhttp_add_header(head, "Referrer-Policy", "no-referrer");
    evhttp_add_header(head, "Cross-Origin-Opener-Policy", "same-origin");
    answer(h, req, HTTP_OK, "text/html; charset=utf-8", viewer_page, sizeof viewer_page - 1);
}

/* A page from another site cannot read what is answered; nor is it to have us at work. */
static bool from_elsewhere(struct evhttp_request *req)
{
    const char *site = evhttp_find_header(evhttp_request_get_input_headers(req), "Sec-Fetch-Site");

    return site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
}

static void on_ask(struct http *h, struct evhttp_request *req, const char *name)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));

    if (from_elsewhere(req)) {
        answer_line(h, req, 403, "this is for the page that is here");
        return;
    }
    struct http_ask *a = alloc_zeroed(1, sizeof *a);
    a->http = h;
    a->req = req;
    a->name = alloc_str(name);
    TAILQ_INIT(&a->params);
    if (query)
        evhttp_parse_query_str(query, &a->params);
    h->cb.ask(h->arg, a);
}

static void on_other(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));

    if (!may_ask(h, req))
        return;
    if (!h->cb.ask)
        answer_line(h, req, HTTP_NOTFOUND, "there are /metrics, /healthz and /readyz");
    else if (path && strncmp(path, "/api/", 5) == 0)
        on_ask(h, req, path + 5);
    else if (path && strcmp(path, "/") == 0)
        answer_page(h, req);
    else
        answer_line(h, req, HTTP_NOTFOUND, "there are /, /metrics, /healthz and /readyz");
}

const char *http_ask_name(const struct http_ask *a)
{
    return a->name;
}

const char *http_ask_param(const struct http_ask *a, const char *name)
{
    return evhttp_find_header(&a->params, name);
}

static void ask_free(struct http_ask *a)
{
    evhttp_clear_headers(&a->params);
    free(a->name);
    free(a);
}

void http_answer(struct http_ask *a, const void *value, size_t len)
{
    answer(a->http, a->req, HTTP_OK, "application/msgpack", value, len);
    ask_free(a);
}

void http_refuse(struct http_ask *a, int status, const char *text)
{
    answer_line(a->http, a->req, status, text);
    ask_free(a);
}

/* --- listening --------------------------------------------------------------------------- */

/* An address and port that only this host can reach. */
static bool is_here(const struct sockaddr_storage *at)
{
    if (at->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)at;
        return in->sin_port != 0 && ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)at;
    return at->ss_family == AF_INET6 && in6->sin6_port != 0 &&
           IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* "127.0.0.1:9180" or "[::1]:9180". */
static bool read_address(const char *text, struct sockaddr_storage *to, socklen_t *len)
{
    int size = sizeof *to;

    if (evutil_parse_sockaddr_port(text, (struct sockaddr *)to, &size) < 0)
        return false;
    *len = (socklen_t)size;
    return is_here(to);
}

bool http_address_fits(const char *address)
{
    struct sockaddr_storage at;
    socklen_t len;

    if (strncmp(address, "unix:", 5) == 0)
        return address[5] == '/' &&
               strlen(address + 5) < sizeof(((struct sockaddr_un *)0)->sun_path);
    return strcmp(address, "off") == 0 || read_address(address, &at, &len);
}

static int __attribute__((format(printf, 3, 4))) refuse(char *error, size_t n, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error, n, fmt, args);
    va_end(args);
    return -1;
}

/* A socket that nobody answers at is what a daemon left that died. */
static bool is_dead_socket(const struct sockaddr_un *at)
{
    struct stat st;

    if (lstat(at->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 &&
                errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return dead;
}

static int bind_unix(struct http *h, int fd, const struct config *c)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;

    snprintf(at.sun_path, sizeof at.sun_path, "%s", c->metrics_listen + 5);
    if (is_dead_socket(&at))
        unlink(at.sun_path);
    mode_t old = umask(0177);
    int status = bind(fd, (struct sockaddr *)&at, sizeof at), err = errno;
    umask(old);
    errno = err;
    if (status < 0 || lstat(at.sun_path, &st) < 0)
        return -1;
    snprintf(h->path, sizeof h->path, "%s", at.sun_path);
    h->ino = st.st_ino;
    return chmod(at.sun_path, c->metrics_mode);
}

static int bind_address(struct http *h, const struct config *c)
{
    struct sockaddr_storage at;
    socklen_t len;
    bool local = strncmp(c->metrics_listen, "unix:", 5) == 0;

    if (!local && !read_address(c->metrics_listen, &at, &len)) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(local ? AF_UNIX : at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    int status = local ? bind_unix(h, fd, c) : bind(fd, (struct sockaddr *)&at, len);
    if (status == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

/* Where to listen; -1 with a message. */
static int open_socket(struct http *h, const struct config *c, int handed, char *error, size_t n)
{
    struct sockaddr_storage at = {0};
    int fd;

    if (handed < 0) {
        if ((fd = bind_address(h, c)) >= 0)
            return fd;
        return refuse(error, n, "metrics.listen: cannot listen at %s: %s%s", c->metrics_listen,
                      strerror(errno), errno == EAFNOSUPPORT ? "; see NETWORK in rapyerd(8)" : "");
    }
    if (getsockname(handed, (struct sockaddr *)&at, &(socklen_t){sizeof at}) == 0 &&
        (at.ss_family == AF_UNIX || is_here(&at)))
        return handed;
    close(handed);
    return refuse(error, n,
                  "the socket for metrics that systemd handed over can be reached from "
                  "other hosts; ListenStream= with a path, or an address as "
                  "127.0.0.1:9680, is expected");
}

static void serve(struct http *h, int fd)
{
    h->server = evhttp_new(h->base);
    h->listener = evconnlistener_new(h->base, NULL, NULL,
                                     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    evconnlistener_set_error_cb(h->listener, on_accept_error);
    evhttp_bind_listener(h->server, h->listener);
    evhttp_set_bevcb(h->server, new_connection, h);
    evhttp_set_timeout(h->server, LIFETIME_S);
    evhttp_set_max_headers_size(h->server, HEADER_BYTES);
    evhttp_set_max_body_size(h->server, BODY_BYTES);
    evhttp_set_allowed_methods(h->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_cb(h->server, "/metrics", on_metrics, h);
    evhttp_set_cb(h->server, "/healthz", on_health, h);
    evhttp_set_cb(h->server, "/readyz", on_ready, h);
    evhttp_set_gencb(h->server, on_other, h);
}

struct http *http_open(struct event_base *base, const struct config *config, int fd,
                       const struct http_callbacks *cb, void *arg, char *error, size_t n)
{
    struct http *h = alloc_zeroed(1, sizeof *h);

    h->base = base;
    h->cb = *cb;
    h->arg = arg;
    snprintf(h->address, sizeof h->address, "%s", config->metrics_listen);
    fd = open_socket(h, config, fd, error, n);
    if (fd < 0) {
        http_close(h);
        return NULL;
    }
    h->resume = evtimer_new(base, on_resume, h);
    h->tick = evtimer_new(base, on_tick, h);
    make_policy(h);
    serve(h, fd);
    return h;
}

void http_save(const struct http *h, struct state_writer *w)
{
    if (!h) {
        pack_nil(&w->out);
        return;
    }
    pack_array(&w->out, 4);
    pack_cstr(&w->out, h->address);
    pack_cstr(&w->out, h->path);
    pack_uint(&w->out, h->ino);
    state_fd(w, evconnlistener_get_fd(h->listener));
}

/* No file is an address, which has no mode. */
static bool is_as_set(const struct http_left *left, const struct config *c)
{
    struct stat st;

    return !left->path[0] || (lstat(left->path, &st) == 0 && st.st_ino == left->ino &&
                              (st.st_mode & ALLPERMS) == c->metrics_mode);
}

int http_resume(struct http_left *left, const struct config *config, struct state_reader *r)
{
    char address[ADDRESS_BYTES];

    *left = (struct http_left){.fd = -1};
    if (r->bad || cursor_nil(&r->in))
        return r->bad ? -1 : 0;
    struct state_tuple t = state_enter(r, 4);
    state_text(r, address, sizeof address);
    state_text(r, left->path, sizeof left->path);
    left->ino = (ino_t)state_uint(r);
    left->fd = state_take_fd(r);
    state_leave(r, &t);
    if (r->bad || left->fd < 0 || fcntl(left->fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    if (strcmp(address, config->metrics_listen) == 0 && is_as_set(left, config))
        return 0;
    close(left->fd);
    left->fd = -1;
    return 0;
}

void http_adopt(struct http *h, const struct http_left *left)
{
    memcpy(h->path, left->path, sizeof h->path);
    h->ino = left->ino;
}

void http_close(struct http *h)
{
    struct stat st;

    if (!h)
        return;
    struct evhttp *server = h->server;
    h->server = NULL; /* on_closed may come from here */
    if (server)
        evhttp_free(server);
    if (h->resume)
        event_free(h->resume);
    if (h->tick)
        event_free(h->tick);
    if (h->path[0] && lstat(h->path, &st) == 0 && st.st_ino == h->ino)
        unlink(h->path);
    buf_free(&h->pages[0].out);
    buf_free(&h->pages[1].out);
    while (h->visits)
        drop(h, h->visits);
    free(h);
}
