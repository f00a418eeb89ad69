/* spans: see spans.h. */
#include "daemon/metrics/spans.h"
#include "daemon/base/log.h"
#include "protocol/alloc.h"
#include "protocol/buf.h"
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BATCH 128     /* requests that are sent together */
#define KEPT 1024     /* requests that wait for that */
#define EVERY_MS 1000 /* or as soon as there are BATCH of them */
#define TIMEOUT_S 5   /* of the collector */
#define PAUSE_MS 5000 /* after it has failed */
#define ANSWER_BYTES 4096

struct spans {
    struct event_base *base;
    struct evhttp_uri *url;
    struct buf waiting; /* spans as JSON, commas between */
    unsigned nwaiting, nsending;
    struct evhttp_connection *link; /* while a batch is on its way */
    struct event *timer;
    bool failing;
    struct spans_stats stats;
};

/* --- where to ------------------------------------------------------------------------------ */

static bool is_numeric(const char *host)
{
    struct in6_addr any;
    char inner[INET6_ADDRSTRLEN];
    size_t len = strlen(host);

    if (len > 2 && host[0] == '[' && host[len - 1] == ']' && len - 2 < sizeof inner) {
        memcpy(inner, host + 1, len - 2);
        inner[len - 2] = '\0';
        return inet_pton(AF_INET6, inner, &any) == 1;
    }
    return inet_pton(AF_INET, host, &any) == 1 || strcmp(host, "localhost") == 0;
}

bool spans_address_fits(const char *url)
{
    if (strcmp(url, "off") == 0)
        return true;
    struct evhttp_uri *uri = evhttp_uri_parse(url);
    if (!uri)
        return false;
    const char *scheme = evhttp_uri_get_scheme(uri), *host = evhttp_uri_get_host(uri);
    bool fits = scheme && strcmp(scheme, "http") == 0 && host && is_numeric(host) &&
                !evhttp_uri_get_userinfo(uri) && !evhttp_uri_get_query(uri);
    evhttp_uri_free(uri);
    return fits;
}

/* --- what ------------------------------------------------------------------------------- */

static void put_quoted(struct buf *out, const char *text)
{
    buf_append(out, "\"", 1);
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            buf_append(out, (const char[]){'\\', *at}, 2);
        else if ((unsigned char)*at < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*at);
        else
            buf_append(out, at, 1);
    }
    buf_append(out, "\"", 1);
}

/* A span up to its attributes; who is its parent gives eight bytes. */
static void put_head(struct buf *out, const struct span *s, const uint8_t *id,
                     const uint8_t *parent, const char *name, int kind, int64_t from, int64_t to)
{
    char trace[TRACE_TEXT], own[TRACE_TEXT], above[TRACE_TEXT];

    trace_hex(trace, s->trace->id, TRACE_ID_BYTES);
    trace_hex(own, id, SPAN_ID_BYTES);
    trace_hex(above, parent, SPAN_ID_BYTES);
    buf_printf(out,
               "{\"traceId\":\"%s\",\"spanId\":\"%s\",\"parentSpanId\":\"%s\",\"name\":\"%s\","
               "\"kind\":%d,\"startTimeUnixNano\":\"%" PRId64 "\",\"endTimeUnixNano\":\"%" PRId64
               "\"",
               trace, own, above, name, kind, from, to);
}

static void put_text(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "{\"key\":\"%s\",\"value\":{\"stringValue\":", name);
    put_quoted(out, value);
    buf_printf(out, "}}");
}

static void put_int(struct buf *out, const char *name, int64_t value)
{
    buf_printf(out, ",{\"key\":\"%s\",\"value\":{\"intValue\":\"%" PRId64 "\"}}", name, value);
}

static void put_request(struct buf *out, const struct span *s, const uint8_t *id)
{
    put_head(out, s, id, s->trace->span, s->method, 2, s->ended - s->all, s->ended);
    buf_printf(out, ",\"attributes\":[");
    put_text(out, "rpc.method", s->method);
    if (s->key) {
        buf_append(out, ",", 1);
        put_text(out, "rapyerd.key", s->key);
    }
    put_int(out, "rapyerd.client", (int64_t)s->client);
    put_int(out, "rapyerd.request", (int64_t)s->request);
    put_int(out, "rapyerd.client.pid", s->pid);
    buf_printf(out, "],\"status\":{");
    if (s->fault) {
        buf_printf(out, "\"code\":2,\"message\":");
        put_quoted(out, s->fault);
    }
    buf_printf(out, "}}");
}

static void put_stages(struct buf *out, const struct span *s, const uint8_t *parent)
{
    uint8_t id[SPAN_ID_BYTES];
    int64_t at = s->ended - s->all;

    for (int i = 0; i < STAGES; i++) {
        if (s->stages[i] < 0)
            continue;
        memcpy(id, parent, sizeof id);
        id[SPAN_ID_BYTES - 1] ^= (uint8_t)(i + 1); /* unlike the others of this trace */
        buf_append(out, ",", 1);
        put_head(out, s, id, parent, stage_name((enum stage)i), 1, at, at + s->stages[i]);
        buf_append(out, "}", 1);
        at += s->stages[i];
    }
}

/* --- sending ------------------------------------------------------------------------------ */

static void plan(struct spans *all, unsigned ms)
{
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    evtimer_add(all->timer, &in);
}

static void drop_link(struct spans *all)
{
    if (all->link)
        evhttp_connection_free(all->link);
    all->link = NULL;
    all->nsending = 0;
}

/* NULL: there was no answer. The connection may not be freed in here. */
static void on_answer(struct evhttp_request *req, void *arg)
{
    struct spans *all = arg;
    int code = req ? evhttp_request_get_response_code(req) : 0;
    bool taken = code >= 200 && code < 300;

    if (taken)
        all->stats.sent += all->nsending;
    else
        all->stats.dropped += all->nsending;
    all->nsending = 0;
    if (!taken && !all->failing)
        log_warning("spans are not taken by the collector (metrics.traces): %s %d; they are "
                    "dropped until it does",
                    code ? "status" : "no answer,", code);
    if (taken && all->failing)
        log_notice("spans are taken by the collector again");
    all->failing = !taken;
    plan(all, !taken ? PAUSE_MS : all->nwaiting >= BATCH ? 0 : EVERY_MS);
}

static void send_batch(struct spans *all)
{
    static const char head[] = "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":"
                               "\"service.name\",\"value\":{\"stringValue\":\"rapyerd\"}}]},"
                               "\"scopeSpans\":[{\"scope\":{\"name\":\"rapyerd\"},\"spans\":[";
    struct evhttp_request *req = evhttp_request_new(on_answer, all);
    const char *host = evhttp_uri_get_host(all->url), *path = evhttp_uri_get_path(all->url);
    int port = evhttp_uri_get_port(all->url);
    char bare[INET6_ADDRSTRLEN + 2], where[INET6_ADDRSTRLEN + 16];
    struct evbuffer *body = evhttp_request_get_output_buffer(req);

    port = port > 0 ? port : 80;
    snprintf(bare, sizeof bare, "%.*s", (int)(strlen(host) - 2 * (host[0] == '[')),
             host + (host[0] == '['));
    snprintf(where, sizeof where, "%s:%d", host, port);
    all->link = evhttp_connection_base_new(all->base, NULL, bare, (uint16_t)port);
    evhttp_connection_set_timeout(all->link, TIMEOUT_S);
    evhttp_connection_set_max_body_size(all->link, ANSWER_BYTES);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Host", where);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "application/json");
    evhttp_add_header(evhttp_request_get_output_headers(req), "Connection", "close");
    evbuffer_add(body, head, sizeof head - 1);
    evbuffer_add(body, all->waiting.data, all->waiting.len);
    evbuffer_add(body, "]}]}]}", 6);
    all->nsending = all->nwaiting;
    all->nwaiting = 0;
    buf_clear(&all->waiting);
    if (evhttp_make_request(all->link, req, EVHTTP_REQ_POST, path && path[0] ? path : "/") < 0)
        on_answer(NULL, all);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct spans *all = arg;

    (void)fd, (void)what;
    if (all->nsending > 0)
        return; /* its answer plans the next one */
    drop_link(all);
    if (all->nwaiting > 0)
        send_batch(all);
}

void spans_add(struct spans *all, const struct span *s)
{
    uint8_t id[SPAN_ID_BYTES];

    if (all->nwaiting >= KEPT || getrandom(id, sizeof id, GRND_NONBLOCK) != sizeof id) {
        all->stats.dropped++;
        return;
    }
    if (all->nwaiting > 0)
        buf_append(&all->waiting, ",", 1);
    put_request(&all->waiting, s, id);
    put_stages(&all->waiting, s, id);
    all->nwaiting++;
    if (all->nsending > 0 || all->failing)
        return;
    if (all->nwaiting == BATCH)
        plan(all, 0);
    else if (!evtimer_pending(all->timer, NULL))
        plan(all, EVERY_MS);
}

/* --- */

void spans_stats(const struct spans *all, struct spans_stats *out)
{
    *out = all ? all->stats : (struct spans_stats){.sent = 0};
}

struct spans *spans_new(struct event_base *base, const char *url)
{
    if (strcmp(url, "off") == 0)
        return NULL;
    struct spans *all = alloc_zeroed(1, sizeof *all);
    all->base = base;
    all->url = evhttp_uri_parse(url);
    all->timer = evtimer_new(base, on_timer, all);
    if (!all->url || !all->timer)
        abort();
    return all;
}

void spans_free(struct spans *all)
{
    if (!all)
        return;
    drop_link(all);
    event_free(all->timer);
    evhttp_uri_free(all->url);
    buf_free(&all->waiting);
    free(all);
}
