/* spans: what requests did, for a collector of OpenTelemetry, over OTLP/HTTP with JSON.
 *
 * Whoever waits for the collector is nobody: spans are gathered up to a number and sent in batches,
 * one at a time; what the collector does not take, or not in time, is dropped and counted.
 */
#ifndef RAPYERD_SPANS_H
#define RAPYERD_SPANS_H

#include "daemon/base/timing.h"
#include "daemon/base/trace.h"
#include <event2/event.h>

struct spans;

/* One request. Its stages follow each other from its beginning and become spans within its own. */
struct span {
    const struct trace *trace;
    const char *method;
    const char *key;   /* of its first document, NULL: none; may be cut */
    const char *fault; /* its code; NULL: it went well */
    uint64_t client, request;
    long pid;
    int64_t ended;               /* ns since 1970 */
    int64_t all, stages[STAGES]; /* ns; -1: it was not in that */
};

struct spans_stats {
    uint64_t sent, dropped; /* requests */
};

/* "http://127.0.0.1:4318/v1/traces": an address in numbers, or localhost, since asking for a name
 * would stop the loop; without a query. */
bool spans_address_fits(const char *url);
/* NULL: url is "off". */
struct spans *spans_new(struct event_base *base, const char *url);
void spans_free(struct spans *all);
void spans_add(struct spans *all, const struct span *s);
void spans_stats(const struct spans *all, struct spans_stats *out); /* all NULL: zeros */

#endif
