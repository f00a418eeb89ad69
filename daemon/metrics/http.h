/* http: the figures for who collects them, over HTTP: /metrics, /healthz, /readyz.
 *
 * On a unix socket or an address of this host only: it asks nobody who he is. Whoever is slow, says
 * too much, or comes in crowds costs a bounded number of connections for a bounded time, and the
 * text is made once a second at most.
 */
#ifndef RAPYERD_HTTP_H
#define RAPYERD_HTTP_H

#include "daemon/base/config.h"
#include "daemon/metrics/page.h"
#include <event2/event.h>

struct http;

struct http_callbacks {
    void (*write)(void *arg, struct page *p); /* the figures, without page_end */
    /* Whether requests are carried out now; `why` says why not, for a person. */
    bool (*ready)(void *arg, char *why, size_t size);
};

/* Listens at config->metrics_listen, which is not "off". fd: what was handed over in its place
 * (handed.h), whatever that says; -1: nothing was. NULL with a message for a person. */
struct http *http_open(struct event_base *base, const struct config *config, int fd,
                       const struct http_callbacks *cb, void *arg, char *error, size_t n);
void http_close(struct http *h);
/* Whether http_open could take it: "off", "unix:/path", "127.0.0.1:port", "[::1]:port". */
bool http_address_fits(const char *address);

#endif
