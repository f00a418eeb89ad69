/* viewer: what the page in a browser asks for, as far as metrics.viewer allows it.
 *
 *   /api/overview             overview.h
 *   /api/history?since=MS     overview.h
 *   /api/doctor               admin.doctor
 *   /api/models               admin.models      names and more
 *   /api/keys?model=&cursor=  doc.keys          names and more
 *   /api/document?key=        doc.get           contents
 *
 * It asks for the last four as a client that may read and nothing else.
 */
#ifndef RAPYERD_VIEWER_H
#define RAPYERD_VIEWER_H

#include "daemon/clients/session.h"
#include "daemon/methods/overview.h"
#include "daemon/metrics/http.h"

struct viewer;

/* config->metrics_viewer is not VIEWER_OFF. */
struct viewer *viewer_new(struct event_base *base, const struct config *config,
                          struct sessions *sessions, struct overview *overview);
/* why_not: nothing is carried out now, as this text says; "" else. */
void viewer_ask(struct viewer *v, struct http_ask *ask, const char *why_not);
/* Whoever still waits is refused; before the sessions, and http, are closed. v may be NULL. */
void viewer_free(struct viewer *v);

#endif
