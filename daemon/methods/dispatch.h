/* dispatch: finds the method of a request and hands it over.
 *
 * Requests that come before the first contact with Redis are held (the declarations are not
 * known yet) for at most queue_time.
 */
#ifndef RAPYERD_DISPATCH_H
#define RAPYERD_DISPATCH_H

#include "daemon/methods/admin.h"
#include "daemon/methods/manage.h"
#include "daemon/methods/registry.h"
#include "daemon/metrics/page.h"

struct dispatch;
struct monitors;
struct sentinels;

/* The methods that the lines of rules.h may name, NULL behind the last: those that need a right. */
const char *const *dispatch_ruled(void);

struct dispatch *dispatch_new(struct event_base *base, struct exec *exec, struct registry *registry,
                              struct watches *watches);
void dispatch_free(struct dispatch *d);
void dispatch_sessions(struct dispatch *d, struct sessions *all);       /* for admin.clients */
void dispatch_sentinels(struct dispatch *d, const struct sentinels *s); /* for admin.doctor */
void dispatch_manage(struct dispatch *d, struct config *config, const struct manage_hooks *hooks);
void dispatch_client_gone(struct dispatch *d, const struct session *s);
struct monitors *dispatch_monitors(const struct dispatch *d);
void dispatch_reloaded(struct dispatch *d); /* the settings have changed */
struct overview;
/* Begun with the first call; the sessions are known by then. */
struct overview *dispatch_overview(struct dispatch *d, struct event_base *base);
/* The last hour of it, for another process of the daemon; there as dispatch_overview. -1: it is not
 * what was saved. */
void dispatch_save_past(const struct dispatch *d, struct state_writer *w);
int dispatch_resume_past(struct dispatch *d, struct event_base *base, struct state_reader *r);
/* All figures, without page_end. */
void dispatch_figures(const struct dispatch *d, struct page *p);
/* Whether requests are carried out now; else `why` says why not. */
bool dispatch_may_serve(const struct dispatch *d, char *why, size_t size);
/* From here on requests are refused; those that were held are answered. */
void dispatch_stop(struct dispatch *d);
void dispatch_message(struct dispatch *d, struct session *s, const struct rpc *msg);
/* A request is about to be answered with this fault (session_handler.on_fault). Where it names a
 * model or a field that is not known here, the registry is asked first, and the request taken
 * again. */
bool dispatch_fault(struct dispatch *d, struct session *s, uint64_t id, const struct fault *f);
/* The link is up, for the first time or again. */
void dispatch_link_up(struct dispatch *d);
/* The declarations are known, for the first time or again: what was held goes on. */
void dispatch_ready(struct dispatch *d);

#endif
