/* admin: what the daemon says about itself. */
#ifndef RAPYERD_ADMIN_H
#define RAPYERD_ADMIN_H

#include "daemon/exec/exec.h"
#include "daemon/locks/locks.h"
#include "daemon/watches/watches.h"

struct admin {
    struct exec *exec;
    struct sessions *sessions;
    const struct watches *watches;
    struct config *config;
    const struct spans *spans; /* NULL: they are not exported */
    int64_t started;           /* clock_mono_ms() */
};

/* Each packs one value. */
void admin_stats(const struct admin *a, struct buf *out);
void admin_clients(const struct admin *a, struct buf *out);
/* top: so many of the biggest documents, and of those asked for most; 0: none. */
void admin_cache(const struct admin *a, unsigned top, struct buf *out);
void admin_models(const struct admin *a, struct buf *out);
void admin_config(const struct admin *a, struct buf *out);
/* Who it is, and what the rules let it do. */
void admin_rights(const struct session *of, struct buf *out);

/* The locks of this document, or of all (key NULL). */
void admin_locks(struct locks *locks, const char *key, size_t len, struct buf *out);

#endif
