/* embedded: a private redis-server, started, watched and stopped by the daemon.
 *
 *   start ──► wait for the lock ──► spawn ──► wait for its socket ──► running ── on_ready
 *                                     ▲                                  │
 *                                     ├────────── backoff ◄── it ended ──┘
 *                                     └── mend ◄────┘  its file breaks off
 *
 * Everything it has lies in state_dir/redis (0700): its data, redis.conf (written at each
 * start), redis.log, redis.sock and lock. It listens on no port, so no other Redis is in its
 * way and it is in nobody's. It is sent SIGTERM when the daemon dies, however that happens; the
 * lock is shared with it and held until it is gone, so that a new daemon never starts a second
 * one on the same files.
 */
#ifndef RAPYERD_EMBEDDED_H
#define RAPYERD_EMBEDDED_H

#include "daemon/base/config.h"
#include "daemon/base/state.h"
#include <event2/event.h>
#include <sys/types.h>

struct embedded;

struct embedded_callbacks {
    /* It takes connections at this address ("unix:/path"); again after each restart. */
    void (*on_ready)(void *arg, const char *address);
    /* After embedded_stop: the process is gone. Never called from inside embedded_stop. */
    void (*on_stopped)(void *arg);
};

struct embedded *embedded_new(struct event_base *base, const struct config *config,
                              const struct embedded_callbacks *cb, void *arg);
/* 0, or -1 with a text for a person when it can never run: the program is missing, the
 * directory is not usable. What fails later is logged and tried again. */
int embedded_start(struct embedded *e, char *error, size_t error_size);
/* Hands it over to another process of this daemon's pid, of which it stays a child; it may be while
 * embedded_may_save. To be taken up in place of embedded_start. -1: as there. */
bool embedded_may_save(const struct embedded *e);
void embedded_save(const struct embedded *e, struct state_writer *w);
int embedded_resume(struct embedded *e, struct state_reader *r, char *error, size_t error_size);
/* Asks it to save and end; kills it after 10 s. */
void embedded_stop(struct embedded *e);
/* The same in one go, and nothing is called. */
void embedded_end(struct embedded *e);
pid_t embedded_pid(const struct embedded *e);       /* 0: not running now */
const char *embedded_why(const struct embedded *e); /* why it is not ready; "" when it is */
/* Kills the process if it still runs; embedded_stop is the way to end it in peace. */
void embedded_free(struct embedded *e);

#endif
