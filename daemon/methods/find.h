/* find: documents by what they hold.
 *
 *   find ─► plan ─► Redis: how many are in each index ─► a page of pks ─► the documents of the page
 *                                                            ▲                │ (find_page)
 *                                                            └── more? ◄──────┘
 *
 * What changes documents does so to each of a page in a commit of its own, where the expression is
 * judged again (find_change.c).
 *
 * Redis is asked for a page at a time, and documents are looked at a page at a time, so that
 * neither Redis nor the daemon is kept from others, however many there are.
 */
#ifndef RAPYERD_FIND_H
#define RAPYERD_FIND_H

#include "daemon/exec/exec.h"

enum find_what { FIND_DOCUMENTS, FIND_COUNT, FIND_UPDATE, FIND_DELETE };

struct scatter;
struct lister;

struct find_cluster { /* what asks its nodes; NULL: there is one Redis */
    struct scatter *scatter;
    struct lister *lister;
};

/* Answers find, find.count, find.update, find.delete. */
void find_request(struct exec *e, const struct find_cluster *cluster, struct session *s,
                  const struct rpc *msg, enum find_what what);

#endif
