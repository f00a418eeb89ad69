/* inquiry: one request of the daemon to itself, as a client that may little. What it asks for is
 * bounded, checked and counted like everybody's. */
#ifndef RAPYERD_INQUIRY_H
#define RAPYERD_INQUIRY_H

#include "daemon/clients/session.h"

struct inquiry;

/* result: one packed value, NULL when it was refused: then error says why, "CODE: text". Both last
 * as long as the call, and the inquiry is gone after it. */
typedef void inquiry_done_fn(void *arg, const void *result, size_t len, const char *error);

/* rights: enum right. params: nparams packed values. An answer of more than `most` bytes, or none
 * after `ms`, is an error. done is called once, from the loop; NULL: there can be no more
 * connections. */
struct inquiry *inquiry_begin(struct event_base *base, struct sessions *sessions, unsigned rights,
                              const char *method, const struct buf *params, uint32_t nparams,
                              size_t most, unsigned ms, inquiry_done_fn *done, void *arg);
void inquiry_cancel(struct inquiry *q); /* nobody wants to know any more; NULL is no matter */

#endif
