/* dispatch: finds the method of a request and hands it over.
 *
 * Requests that come before the first contact with Redis are held (the declarations are not
 * known yet) for at most queue_time.
 */
#ifndef RAPYERD_DISPATCH_H
#define RAPYERD_DISPATCH_H

#include "daemon/methods/admin.h"
#include "daemon/methods/registry.h"

struct dispatch;

struct dispatch *dispatch_new(struct event_base *base, struct exec *exec,
                              struct registry *registry);
void dispatch_free(struct dispatch *d);
void dispatch_sessions(struct dispatch *d, struct sessions *all); /* for admin.clients */
/* From here on requests are refused; those that were held are answered. */
void dispatch_stop(struct dispatch *d);
void dispatch_message(struct dispatch *d, struct session *s, const struct rpc *msg);
/* The link is up, for the first time or again. */
void dispatch_link_up(struct dispatch *d);
/* The declarations are known: what was held goes on. */
void dispatch_ready(struct dispatch *d);

#endif
