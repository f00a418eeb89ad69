/* methods_watch: what clients ask about watches (daemon/watches), by name. */
#ifndef RAPYERD_METHODS_WATCH_H
#define RAPYERD_METHODS_WATCH_H

#include "daemon/exec/exec.h"
#include "daemon/watches/watches.h"

/* Plain methods, as in dispatch. */
void watch_method_begin(struct exec *e, struct watches *w, struct session *s,
                        const struct rpc *msg);
void watch_method_end(struct exec *e, struct watches *w, struct session *s, const struct rpc *msg);

#endif
