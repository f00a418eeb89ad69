/* monitor: who watches what others ask for, as it is answered; and what took long, kept for later.
 *
 * A monitor that does not read what it is told loses lines, and is told how many. It never keeps
 * anybody waiting.
 */
#ifndef RAPYERD_MONITOR_H
#define RAPYERD_MONITOR_H

#include "daemon/exec/exec.h"
#include "daemon/metrics/spans.h"

struct monitors;

/* What dispatch knows of methods and requests. */
struct monitors_hooks {
    bool (*knows)(void *arg, const char *method); /* whether there is such a method */
    /* Whether this fault is no answer yet, as the request is taken once more. */
    bool (*retakes)(void *arg, const struct session *s, uint64_t id, enum fault_code code);
    void *arg;
};

/* spans: where sampled requests are told, or NULL; kept by the caller. */
struct monitors *monitors_new(struct exec *exec, struct spans *spans,
                              const struct monitors_hooks *hooks);
void monitors_free(struct monitors *all);
void monitors_reloaded(struct monitors *all); /* the settings have changed */
/* Of a method that answers by itself: its beginning. */
void monitors_taken(struct monitors *all, struct session *s, const struct rpc *msg);
/* Hands over who monitors what. -1: what was handed over is not that. */
void monitors_save(const struct monitors *all, struct state_writer *w);
int monitors_resume(struct monitors *all, struct sessions *sessions, struct state_reader *r);
/* The notification `trace`: where the next request belongs. */
void monitors_trace(struct monitors *all, struct session *s, const struct rpc *msg);
void monitors_client_gone(struct monitors *all, const struct session *s);

/* admin.monitor, admin.unmonitor, admin.slowlog: each answers. */
void monitors_begin(struct monitors *all, struct session *s, const struct rpc *msg);
void monitors_end(struct monitors *all, struct session *s, const struct rpc *msg);
void monitors_slow(struct monitors *all, struct session *s, const struct rpc *msg);

#endif
