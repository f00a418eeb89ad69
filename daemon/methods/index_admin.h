/* index_admin: the indexes of models, for who looks after them.
 *
 *   index.list   which there are, and in which state
 *   index.build  has them built anew in the background (indexer.h)
 *   index.drop   takes one out of its model's declaration; its keys are removed in the background
 *   index.check  compares them with the documents, and puts right what is not (index_check.c)
 */
#ifndef RAPYERD_INDEX_ADMIN_H
#define RAPYERD_INDEX_ADMIN_H

#include "daemon/exec/exec.h"
#include "daemon/methods/find.h"
#include "daemon/methods/registry.h"

void index_list_request(struct exec *e, struct session *s, const struct rpc *msg);
void index_build_request(struct exec *e, struct session *s, const struct rpc *msg);
void index_drop_request(struct exec *e, struct registry *r, struct session *s,
                        const struct rpc *msg);
void index_check_request(struct exec *e, const struct find_cluster *cluster, struct session *s,
                         const struct rpc *msg);

/* For its files. The atomic model of this name, with indexes. NULL: UNKNOWN_MODEL, NO_INDEX. */
const struct indexes *index_model(struct exec *e, const char *name, size_t len, struct fault *f);
/* UNAVAILABLE: what came in place of the answer that was waited for; NULL: the link was lost. */
void index_unanswered(const struct upstream *up, const redisReply *reply, struct fault *f);

#endif
