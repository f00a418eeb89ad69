/* find: documents by what they hold.
 *
 *   find ─► plan ─► Redis: how many are in each index ─► a page of pks ─► the documents of the page
 *                                                            ▲                │ (find_page)
 *                                                            └── more? ◄──────┘
 *
 * Redis is asked for a page at a time, and documents are looked at a page at a time, so that
 * neither Redis nor the daemon is kept from others, however many there are.
 */
#ifndef RAPYERD_FIND_H
#define RAPYERD_FIND_H

#include "daemon/exec/exec.h"

/* Answers find, find.count: by what the method is called. */
void find_request(struct exec *e, struct session *s, const struct rpc *msg);
void find_count_request(struct exec *e, struct session *s, const struct rpc *msg);

#endif
