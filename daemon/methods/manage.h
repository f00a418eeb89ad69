/* manage: what an administrator changes while the daemon runs: settings, and who is connected. */
#ifndef RAPYERD_MANAGE_H
#define RAPYERD_MANAGE_H

#include "daemon/methods/admin.h"

/* What only main can do. Names are "limits.max_frame"; lists of them have commas between. */
struct manage_hooks {
    /* Reads the file again. taken, left: what has changed, and what takes a restart to; -1: nothing
     * has, `error` says why. */
    int (*reload)(void *arg, char *taken, char *left, char *error, size_t size);
    /* One setting, until the next start. -1: it cannot be that. */
    int (*set)(void *arg, const char *name, const char *value, char *error, size_t size);
    /* Answers, sooner or later. */
    void (*upgrade)(void *arg, struct session *s, uint64_t id);
    void *arg;
};
#define MANAGE_TEXT 2048 /* bytes of each of these texts */

/* admin.reload, admin.set, admin.upgrade, admin.kill: each answers; the first has no parameters. */
void manage_reload(const struct manage_hooks *h, struct session *s, const struct rpc *msg);
void manage_set(const struct admin *a, const struct manage_hooks *h, struct session *s,
                const struct rpc *msg);
void manage_upgrade(const struct manage_hooks *h, struct session *s, const struct rpc *msg);
void manage_rights(const struct admin *a, struct session *s, const struct rpc *msg);
void manage_kill(const struct admin *a, struct session *s, const struct rpc *msg);

#endif
