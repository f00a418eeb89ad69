/* daemon: all of its parts, as main.c puts them together, and upgrade.c hands them over. */
#ifndef RAPYERD_DAEMON_H
#define RAPYERD_DAEMON_H

#include "daemon/base/config.h"
#include "daemon/base/handed.h"
#include "daemon/base/successor.h"
#include "daemon/clients/listener.h"
#include "daemon/commit/lanes.h"
#include "daemon/exec/publish.h"
#include "daemon/leases/probe.h"
#include "daemon/methods/dispatch.h"
#include "daemon/methods/indexer.h"
#include "daemon/methods/lock_request.h"
#include "daemon/methods/remains.h"
#include "daemon/methods/viewer.h"
#include "daemon/metrics/http.h"
#include "daemon/redis/embedded.h"
#include "daemon/redis/sentinels.h"
#include "daemon/watches/watches.h"

struct daemon {
    struct event_base *base;
    struct config config;
    const char *config_file;
    const char *overrides[64];
    size_t noverrides;
    char *set[64]; /* those of them that were set since it runs: the memory of their texts */
    struct schema *schema;
    struct exec *exec;
    struct locks_limits lock_limits;
    struct locks *locks;
    struct bus *bus;
    struct leases *leases;
    struct probes *probes;
    struct lock_requests *lock_requests;
    struct registry *registry;
    struct indexer *indexer;
    struct remains *remains;
    struct watches *watches;
    struct dispatch *dispatch;
    struct sessions *sessions;
    struct listener *listener;
    struct rules *rules;   /* NULL: whoever connects may everything */
    struct http *http;     /* NULL: figures are not told over it */
    struct viewer *viewer; /* NULL: there is no page */
    struct embedded *embedded;
    struct sentinels *sentinels; /* NULL: none are asked */
    struct upgrade *upgrade;     /* NULL: none is under way, or was just made */
    char **argv;                 /* as it was started */
    char *program; /* where it was then, as its file may be another one later; or NULL */
    struct inheritance inherited;
    struct handed handed;                         /* by the service manager */
    struct saved_state state;                     /* which was inherited */
    struct event *signals, *stop_tick, *watchdog; /* watchdog NULL: nobody watches */
    char id[40];
    bool taken_over;                   /* from a program before */
    bool restarted;                    /* that one was another process, which ended */
    bool stopping, announced, leaving; /* leaving: the markers are being removed */
    int64_t stop_deadline;             /* clock_mono_ms() */
};

/* For listener and http, wherever they are made. */
void daemon_accept(void *arg, int fd);
struct http *daemon_http(struct daemon *d, int fd, char *error, size_t size); /* as http_open */

#endif
