/* http: the figures for who collects them, over HTTP: /metrics, /healthz, /readyz; and / for a
 * person with a browser, the page viewer.html, which asks for what it shows at /api/.
 *
 * On a unix socket or an address of this host only: it asks nobody who he is. Whoever is slow, says
 * too much, or comes in crowds costs a bounded number of connections for a bounded time, and the
 * text is made once a second at most. A browser may be sent here by a page from elsewhere: what
 * names another host, or says that another site wants to read this, is refused.
 */
#ifndef RAPYERD_HTTP_H
#define RAPYERD_HTTP_H

#include "daemon/base/config.h"
#include "daemon/base/state.h"
#include "daemon/metrics/page.h"
#include <event2/event.h>
#include <sys/types.h>

struct http;
/* One request for /api/NAME: to be answered once, within a few seconds. */
struct http_ask;

struct http_callbacks {
    void (*write)(void *arg, struct page *p); /* the figures, without page_end */
    /* Whether requests are carried out now; `why` says why not, for a person. */
    bool (*ready)(void *arg, char *why, size_t size);
    /* NULL: there is no page. */
    void (*ask)(void *arg, struct http_ask *ask);
};

const char *http_ask_name(const struct http_ask *a); /* behind "/api/" */
/* "User:42" of ?key=User%3A42; NULL: it is not there. */
const char *http_ask_param(const struct http_ask *a, const char *name);
/* One packed value. */
void http_answer(struct http_ask *a, const void *value, size_t len);
/* A text for a person, with a status of HTTP. */
void http_refuse(struct http_ask *a, int status, const char *text);

/* Listens at config->metrics_listen, which is not "off". fd: what was handed over in its place
 * (handed.h), whatever that says; -1: nothing was. NULL with a message for a person. */
struct http *http_open(struct event_base *base, const struct config *config, int fd,
                       const struct http_callbacks *cb, void *arg, char *error, size_t n);
/* Hands it over to another process; h may be NULL. There http_open gets its fd, -1 where it was at
 * another address than config->metrics_listen, and http_adopt the rest. -1: it is not what was
 * saved. */
struct http_left {
    int fd;
    char path[108];
    ino_t ino;
};
void http_save(const struct http *h, struct state_writer *w);
int http_resume(struct http_left *left, const struct config *config, struct state_reader *r);
void http_adopt(struct http *h, const struct http_left *left);
void http_close(struct http *h);
/* Whether http_open could take it: "off", "unix:/path", "127.0.0.1:port", "[::1]:port". */
bool http_address_fits(const char *address);

#endif
